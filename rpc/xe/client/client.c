/* See client.h. */
#include "rpc/xe/client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "rpc/xe/client/http.h"
#include "rpc/xe/client/interrupt.h"
#include "rpc/xe/client/terminal.h"

enum {
	READ_BYTES = 65536,
	MESSAGE_MAX_BYTES = 1 << 28,
	FLUSH_BYTES = 1 << 16,
	LOAD_MAX_BYTES = 64 << 20,
	LOG_MAX_BYTES = 1 << 20,
	STRANGER_MAX_BYTES = 65536, /* of an answer that is not the protocol's */
	HELLO_TIMEOUT_MS = 60000,
};

/* ---- what the user sees ---- */

int xe_client_write_out(struct xe_client *client, int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = {fd, POLLOUT, 0};

			poll(&wait, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		} else if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

void xe_client_flush(struct xe_client *client)
{
	int rc;

	xe_progress_clear(&client->progress);
	if (!client->out.len)
		return;
	rc = xe_client_write_out(client, client->outside->out, client->out.data, client->out.len);
	client->out.len = 0;
	if (rc < 0 && !client->is_over)
		xe_client_fail(client, "Standard output cannot be written: %s.", strerror(-rc));
}

static void write_err(struct xe_client *client, const char *text, size_t len)
{
	xe_client_flush(client);
	xe_client_write_out(client, client->outside->err, text, len);
}

void xe_client_complain(struct xe_client *client, const char *format, ...)
{
	struct xn_buf line = {0};
	char *text;
	va_list ap;

	va_start(ap, format);
	text = xn_vasprintf(format, ap);
	va_end(ap);
	xn_buf_printf(&line, "%s\n", text);
	write_err(client, line.data, line.len);
	xn_buf_clear(&line);
	free(text);
}

void xe_client_fail(struct xe_client *client, const char *format, ...)
{
	char *text;
	va_list ap;

	client->is_over = true;
	client->exit_code = 1;
	va_start(ap, format);
	text = xn_vasprintf(format, ap);
	va_end(ap);
	xe_client_complain(client, "%s", text);
	free(text);
}

/* A session is as good as a password. */
static void add_masked(struct xn_buf *out, const char *text)
{
	static const char secret[] = "session_id=";
	const char *found;

	while ((found = strstr(text, secret))) {
		found += sizeof(secret) - 1;
		xn_buf_add(out, text, (size_t)(found - text));
		xn_buf_add_string(out, "...");
		text = found + strcspn(found, "& \n\"");
	}
	xn_buf_add_string(out, text);
}

void xe_client_debug(struct xe_client *client, const char *format, ...)
{
	const struct xe_settings *settings = client->settings;
	struct xn_buf line = {0};
	char *text;
	va_list ap;

	if (!settings->debug && !settings->debug_on_fail)
		return;
	va_start(ap, format);
	text = xn_vasprintf(format, ap);
	va_end(ap);
	add_masked(&line, text);
	xn_buf_add_char(&line, '\n');
	if (settings->debug)
		write_err(client, line.data, line.len);
	else if (client->log.len + line.len < LOG_MAX_BYTES)
		xn_buf_add(&client->log, line.data, line.len);
	xn_buf_clear(&line);
	free(text);
}

static void debug_message(struct xe_client *client, const char *verb, const struct xe_message *message)
{
	static const struct {
		enum xe_tag tag;
		const char *name;
	} names[] = {
		{XE_PRINT, "Print"}, {XE_LOAD, "Load"}, {XE_PROMPT, "Prompt"}, {XE_EXIT, "Exit"},
		{XE_HTTP_GET, "HttpGet"}, {XE_HTTP_PUT, "HttpPut"}, {XE_ERROR, "Error"},
		{XE_DEBUG, "Debug"}, {XE_PRINT_STDERR, "PrintStderr"},
		{XE_HTTP_CONNECT, "HttpConnect"}, {XE_PROGRESS, "Progress"},
		{XE_INTERRUPTIBLE, "Interruptible"}, {XE_OK, "OK"}, {XE_FAILED, "Failed"},
		{XE_WAIT, "Wait"}, {XE_INTERRUPT, "Interrupt"}, {XE_CHUNK, "Chunk"}, {XE_END, "End"},
	};
	const char *name = "?";

	if (!client->settings->debug && !client->settings->debug_on_fail)
		return;
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (names[i].tag == message->tag)
			name = names[i].name;
	xe_client_debug(client, "%s: %s %d \"%.*s\" \"%.*s\" and %u parameters", verb, name,
			message->number, (int)message->text.len,
			message->text.len ? message->text.data : "", (int)message->url.len,
			message->url.len ? message->url.data : "", message->n_params);
}

/* ---- waiting ---- */

static void on_interrupt(struct xe_client *client)
{
	struct xn_buf question = {0};

	if (!client->is_cancellable)
		return;
	xe_client_flush(client);
	if (client->question.len && xe_terminal_can_ask()) {
		xe_progress_format(&question, client->question.data, client->question.len, -1, "",
				   INT16_MAX);
		xn_buf_add_string(&question, xn_buf_cstr(&question)[question.len - 1] == '?' ? "" : "?");
		xn_buf_add_string(&question, " [yes/no] ");
		if (!xe_terminal_confirm(xn_buf_cstr(&question), true)) {
			xn_buf_clear(&question);
			xe_interrupt_forget();
			xe_client_complain(client, "Not cancelled; it goes on.");
			return;
		}
		xn_buf_clear(&question);
	} else if (isatty(client->outside->err)) {
		xe_client_complain(client, "Cancelling; Ctrl-C again leaves at once.");
	}
	client->is_cancelled = true;
	xe_client_answer(client, XE_RESPONSE, XE_INTERRUPT, 0);
}

/* What goes on beside everything that takes long. */
static void tick(struct xe_client *client)
{
	if (client->is_writing)
		return;
	if (client->next_wait_ms && client->outside->now_ms(client->outside->arg) >= client->next_wait_ms) {
		client->next_wait_ms += (int64_t)client->settings->heartbeat_s * 1000;
		if (client->minor >= XE_MINOR) /* older servers do not know it */
			xe_client_answer(client, XE_RESPONSE, XE_WAIT, 0);
	}
	if (client->is_cancellable && xe_interrupt_take())
		on_interrupt(client);
}

static int time_left(const struct xe_client *client, int timeout_ms)
{
	int64_t left;

	if (!client->next_wait_ms)
		return timeout_ms;
	left = client->next_wait_ms - client->outside->now_ms(client->outside->arg);
	left = left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : left;
	return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : (int)left;
}

unsigned xe_client_wait(struct xe_client *client, struct xe_stream *stream, int fd, short events,
			int timeout_ms)
{
	bool has_control = client->control->fd >= 0 && stream != client->control;
	struct pollfd fds[] = {
		{stream ? stream->fd : -1, stream ? stream->wants : 0, 0},
		{fd, events, 0},
		{has_control ? client->control->fd : -1, POLLRDHUP, 0},
		{xe_interrupt_fd(), POLLIN, 0},
	};
	int left = time_left(client, timeout_ms);
	unsigned ready = 0;
	int n;

	if (stream && stream->fd < 0)
		return XE_READY_STREAM;
	n = poll(fds, XN_ARRAY_SIZE(fds), left);
	if (n > 0) {
		ready |= fds[0].revents ? XE_READY_STREAM : 0;
		ready |= fds[1].revents ? XE_READY_FD : 0;
		ready |= fds[2].revents ? XE_HUNG_UP : 0;
	}
	if (n == 0 && timeout_ms >= 0 && left == timeout_ms)
		ready |= XE_TIMED_OUT;
	tick(client);
	return ready;
}

int xe_client_write(struct xe_client *client, struct xe_stream *stream, const void *data, size_t len)
{
	const char *at = data;
	int rc = 0;

	client->is_writing = stream == client->control;
	while (len && rc == 0) {
		ssize_t n = xe_stream_write(stream, at, len);

		if (n == -EAGAIN) {
			if (xe_client_wait(client, stream, -1, 0, -1) & XE_HUNG_UP)
				rc = -ECANCELED;
		} else if (n < 0) {
			rc = (int)n;
		} else {
			at += n;
			len -= (size_t)n;
		}
	}
	client->is_writing = false;
	return rc;
}

ssize_t xe_client_read(struct xe_client *client, struct xe_stream *stream, void *to, size_t len)
{
	ssize_t n;

	tick(client);
	while ((n = xe_stream_read(stream, to, len)) == -EAGAIN)
		if (xe_client_wait(client, stream, -1, 0, -1) & XE_HUNG_UP)
			return -ECANCELED;
	return n;
}

/* ---- messages ---- */

int xe_client_answer(struct xe_client *client, enum xe_message_kind kind, enum xe_tag tag, int32_t number)
{
	struct xe_message message = {.kind = kind, .tag = tag, .number = number};
	struct xn_buf bytes = {0};
	int rc;

	xe_message_write(&bytes, &message);
	rc = xe_client_write(client, client->control, bytes.data, bytes.len);
	debug_message(client, "Written", &message);
	xn_buf_clear(&bytes);
	return rc;
}

/* Raw bytes between Chunk and End. */
static void answer_blob(struct xe_client *client, const char *data, size_t len)
{
	xe_client_answer(client, XE_BLOB, XE_CHUNK, (int32_t)len);
	xe_client_write(client, client->control, data, len);
	xe_client_answer(client, XE_BLOB, XE_END, 0);
}

/* More of what the daemon says. False: it has ended, which is told. */
static bool read_more(struct xe_client *client)
{
	ssize_t n;

	if (client->in_done > client->in.len / 2) {
		xn_buf_drop(&client->in, client->in_done);
		client->in_done = 0;
	}
	n = xe_client_read(client, client->control, xn_buf_reserve(&client->in, READ_BYTES), READ_BYTES);
	if (n > 0) {
		client->in.len += (size_t)n;
		return true;
	}
	if (n < 0)
		xe_client_debug(client, "Reading from the server failed: %s", strerror((int)-n));
	xe_client_fail(client, "Lost connection to the server.");
	return false;
}

bool xe_client_permits(struct xe_client *client, const char *path, const char *what)
{
	char *whole;

	if (xe_settings_name_file(client->settings, path))
		return true;
	whole = xe_normalised_path(path);
	xe_client_fail(client,
		       "File not permitted: Blocked %s, the server asked for %s, which no argument of this command names.",
		       what, whole);
	free(whole);
	return false;
}

void xe_client_fail_file(struct xe_client *client, const char *path, int error)
{
	xe_client_answer(client, XE_RESPONSE, XE_FAILED, 0);
	if (error == -EEXIST)
		xe_client_fail(client,
			       "Operation failed. %s: File exists; xe never overwrites: choose another name or remove it first.",
			       path);
	else
		xe_client_fail(client, "Operation failed. %s: %s.", path, strerror(-error));
}

/* ---- the daemon's commands ---- */

static void on_print(struct xe_client *client, const struct xe_message *message)
{
	xe_progress_clear(&client->progress);
	xn_buf_add(&client->out, message->text.data, message->text.len);
	xn_buf_add_char(&client->out, '\n');
	client->last_download.len = 0;
	if (client->out.len >= FLUSH_BYTES)
		xe_client_flush(client);
}

static void on_print_stderr(struct xe_client *client, const struct xe_message *message)
{
	write_err(client, message->text.data, message->text.len);
}

static void on_error(struct xe_client *client, const struct xe_message *message)
{
	struct xn_buf text = {0};

	xn_buf_add_string(&text, "Error code: ");
	xn_buf_add(&text, message->text.data, message->text.len);
	xn_buf_add_string(&text, "\nError parameters: ");
	for (unsigned i = 0; i < message->n_params; i++) {
		xn_buf_add_string(&text, i ? ", " : "");
		xn_buf_add(&text, message->params[i].data, message->params[i].len);
	}
	xn_buf_add_char(&text, '\n');
	write_err(client, text.data, text.len);
	xn_buf_clear(&text);
}

static void on_debug(struct xe_client *client, const struct xe_message *message)
{
	/* That it was read is shown already, with its text. */
}

/* A whole file; -errno. */
static int read_file(struct xe_client *client, const char *path, struct xn_buf *out)
{
	int fd = client->outside->open(client->outside->arg, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return fd;
	do {
		n = read(fd, xn_buf_reserve(out, READ_BYTES), READ_BYTES);
		out->len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 || (n < 0 && errno == EINTR)) && out->len <= LOAD_MAX_BYTES);
	n = n < 0 ? -errno : n > 0 ? -EFBIG : 0;
	close(fd);
	return (int)n;
}

static void on_load(struct xe_client *client, const struct xe_message *message)
{
	char *path XN_CLEANUP(xn_free_p) = xn_strndup(message->text.data, message->text.len);
	struct xn_buf file XN_CLEANUP(xn_buf_clear_p) = {0};
	int rc;

	if (!xe_client_permits(client, path, "upload"))
		return;
	rc = read_file(client, path, &file);
	if (rc < 0) {
		xe_client_debug(client, "%s cannot be loaded: %s", path, strerror(-rc));
		xe_client_answer(client, XE_RESPONSE, XE_FAILED, 0);
		return;
	}
	xe_client_answer(client, XE_RESPONSE, XE_OK, 0);
	answer_blob(client, file.data, file.len);
}

static void on_prompt(struct xe_client *client, const struct xe_message *message)
{
	struct xn_buf line = {0};

	xe_interrupt_offer(false); /* nothing is under way: Ctrl-C is an answer, too */
	xe_client_flush(client);
	if (xe_read_line(client->outside->in, &line))
		answer_blob(client, line.data, line.len);
	else
		xe_client_fail(client,
			       "The question was not answered: standard input has ended.");
	xe_interrupt_offer(client->is_cancellable);
	xn_buf_clear(&line);
}

static void on_exit_code(struct xe_client *client, const struct xe_message *message)
{
	xe_client_flush(client);
	if (!client->is_over)
		client->exit_code = message->number;
	client->is_over = true;
	if (!client->exit_code || !client->last_download.len)
		return;
	if (client->is_cancelled && unlink(xn_buf_cstr(&client->last_download)) == 0)
		xe_client_complain(client, "%s was removed.", xn_buf_cstr(&client->last_download));
	else
		xe_client_complain(client, "%s may be incomplete.", xn_buf_cstr(&client->last_download));
}

static void begin_heartbeat(struct xe_client *client)
{
	client->next_wait_ms = client->outside->now_ms(client->outside->arg) +
			       (int64_t)client->settings->heartbeat_s * 1000;
}

static void on_http_get(struct xe_client *client, const struct xe_message *message)
{
	char *path XN_CLEANUP(xn_free_p) = xn_strndup(message->text.data, message->text.len);

	begin_heartbeat(client);
	xe_transfer_get(client, path, message->url);
	client->next_wait_ms = 0;
}

static void on_http_put(struct xe_client *client, const struct xe_message *message)
{
	char *path XN_CLEANUP(xn_free_p) = xn_strndup(message->text.data, message->text.len);

	begin_heartbeat(client);
	xe_transfer_put(client, path, message->url);
	client->next_wait_ms = 0;
}

static void on_http_connect(struct xe_client *client, const struct xe_message *message)
{
	begin_heartbeat(client);
	xe_console(client, message->url);
	client->next_wait_ms = 0;
}

static void on_progress(struct xe_client *client, const struct xe_message *message)
{
	if (client->out.len)
		xe_client_flush(client);
	if (message->number < 0)
		xe_progress_clear(&client->progress);
	else
		xe_progress_show(&client->progress, message->text.data, message->text.len,
				 message->number);
}

static void on_interruptible(struct xe_client *client, const struct xe_message *message)
{
	client->question.len = 0;
	xn_buf_add(&client->question, message->text.data, message->text.len);
	client->is_cancellable = true;
	xe_interrupt_offer(true);
}

static const struct {
	enum xe_tag tag;
	void (*act)(struct xe_client *client, const struct xe_message *message);
} commands[] = {
	{XE_PRINT, on_print},
	{XE_LOAD, on_load},
	{XE_PROMPT, on_prompt},
	{XE_EXIT, on_exit_code},
	{XE_HTTP_GET, on_http_get},
	{XE_HTTP_PUT, on_http_put},
	{XE_ERROR, on_error},
	{XE_DEBUG, on_debug},
	{XE_PRINT_STDERR, on_print_stderr},
	{XE_HTTP_CONNECT, on_http_connect},
	{XE_PROGRESS, on_progress},
	{XE_INTERRUPTIBLE, on_interruptible},
};

static void obey(struct xe_client *client, const struct xe_message *message)
{
	debug_message(client, "Read", message);
	for (size_t i = 0; message->kind == XE_COMMAND && i < XN_ARRAY_SIZE(commands); i++)
		if (commands[i].tag == message->tag) {
			commands[i].act(client, message);
			return;
		}
	xe_client_fail(client, "The server sent a response where a command was due; it speaks another protocol.");
}

static void obey_all(struct xe_client *client)
{
	struct xe_message message;
	ssize_t n;

	while (!client->is_over) {
		n = xe_message_read(client->in.data + client->in_done, client->in.len - client->in_done,
				    MESSAGE_MAX_BYTES, &message);
		if (n > 0) {
			obey(client, &message);
			client->in_done += (size_t)n;
		} else if (n < 0) {
			xe_client_fail(client,
				       "The server sent what xe does not understand; it may need a newer xe.");
		} else {
			/* Nothing is waited for while something is unseen, but the progress stays. */
			if (client->out.len)
				xe_client_flush(client);
			if (!client->is_over && !read_more(client))
				return;
		}
	}
}

/* ---- the beginning ---- */

static bool is_one_line(const char *text)
{
	return text && *text && !strpbrk(text, "\r\n");
}

static int send_request(struct xe_client *client)
{
	const struct xe_settings *settings = client->settings;
	struct xn_buf request = {0}, body = {0}, terminal = {0};
	int rc;

	xe_settings_write_body(settings, &body);
	xe_terminal_describe(settings, &terminal);
	xn_buf_reserve(&request, body.len + 16384); /* the password must not be left behind by a move */
	xn_buf_add_string(&request, "POST /cli HTTP/1.0\r\n"
				    "User-agent: xe-cli/Xenolith/" XN_VERSION "\r\n"
				    "originator: cli\r\n");
	if (!settings->is_completion)
		xn_buf_printf(&request, "xe-terminal: %s\r\n", xn_buf_cstr(&terminal));
	if (is_one_line(settings->traceparent))
		xn_buf_printf(&request, "traceparent: %.1000s\r\n", settings->traceparent);
	if (is_one_line(settings->baggage))
		xn_buf_printf(&request, "baggage: %.8192s\r\n", settings->baggage);
	xn_buf_printf(&request, "content-length: %zu\r\n\r\n", body.len);
	xn_buf_add(&request, body.data, body.len);
	rc = xe_client_write(client, client->control, request.data, request.len);
	xe_wipe(request.data, request.len);
	xe_wipe(body.data, body.len);
	xn_buf_clear(&request);
	xn_buf_clear(&body);
	xn_buf_clear(&terminal);
	return rc;
}

/* Something else than the protocol's first bytes. Reads on, to say what it is. */
static void fail_stranger(struct xe_client *client)
{
	struct xe_http_reply reply = {0};
	struct xn_buf *in = &client->in;
	ssize_t n = 1;

	if (in->len && (in->data[0] == 0x15 || in->data[0] == 0x16)) {
		xe_client_fail(client,
			       "Unable to contact server %s: that port wants TLS. Leave out --nossl; for this machine use -s localhost.",
			       client->server);
		return;
	}
	while (n > 0 && in->len < STRANGER_MAX_BYTES && strncasecmp(in->data, "HTTP", 4) == 0) {
		n = xe_client_read(client, client->control, xn_buf_reserve(in, READ_BYTES), READ_BYTES);
		in->len += n > 0 ? (size_t)n : 0;
	}
	if (in->len >= 4 && strncasecmp(in->data, "HTTP", 4) == 0) {
		n = xe_http_read_head(in->data, in->len, &reply);
		free(n > 0 ? reply.location : NULL);
		/* A port for TLS often answers plain text so. */
		xe_client_fail(client,
			       "Server internal error. %s answered \"%s\" instead of xe's protocol: check that -s and -p name a XenAPI server%s.",
			       client->server, n > 0 ? reply.line : "HTTP",
			       n > 0 && reply.status == 400 ?
				       ", and whether that port wants TLS (then no --nossl; this machine as -s localhost)" : "");
	} else {
		xe_client_fail(client,
			       "Failed to contact a running management agent. %s speaks another protocol: check -s and -p.",
			       client->server);
	}
}

static bool shake_hands(struct xe_client *client)
{
	int64_t end = client->outside->now_ms(client->outside->arg) + HELLO_TIMEOUT_MS;
	struct xn_buf *in = &client->in;
	struct xn_buf hello = {0};
	ssize_t n, got;
	int rc;

	while ((n = xe_hello_read(in->data, in->len, &client->minor)) == 0) {
		got = xe_stream_read(client->control, xn_buf_reserve(in, READ_BYTES), READ_BYTES);
		if (got > 0) {
			in->len += (size_t)got;
		} else if (got == -EAGAIN) {
			int64_t left = end - client->outside->now_ms(client->outside->arg);

			if (left > 0 && !(xe_client_wait(client, client->control, -1, 0, (int)left) &
					  XE_TIMED_OUT))
				continue;
			xe_client_fail(client,
				       "Unable to contact server %s: it took the connection and does not answer. Check -p, and the daemon's log there.",
				       client->server);
			return false;
		} else if (!in->len) {
			xe_client_fail(client,
				       "Unable to contact server %s: it closed the connection without a word. Please check server and port settings (does that port want TLS, or %s?).",
				       client->server, client->settings->nossl ? "no --nossl" : "--nossl");
			return false;
		} else {
			n = -EPROTO;
			break;
		}
	}
	if (n == -EPROTONOSUPPORT) {
		xe_client_fail(client, "%s speaks another version of the protocol than this xe (%d.%d).",
			       client->server, XE_MAJOR, XE_MINOR);
		return false;
	}
	if (n < 0) {
		fail_stranger(client);
		return false;
	}
	client->in_done = (size_t)n;
	xe_hello_write(&hello);
	rc = xe_client_write(client, client->control, hello.data, hello.len);
	xn_buf_clear(&hello);
	if (rc < 0)
		xe_client_fail(client, "Lost connection to the server.");
	return rc == 0;
}

int xe_client_run(struct xe_client *client)
{
	/* A write that failed: what the server said before it hung up tells more. */
	send_request(client);
	if (shake_hands(client))
		obey_all(client);
	xe_client_flush(client);
	xe_interrupt_offer(false);
	if (client->exit_code && client->log.len)
		xe_client_write_out(client, client->outside->err, client->log.data, client->log.len);
	return client->exit_code;
}

void xe_client_clear(struct xe_client *client)
{
	for (size_t i = 0; i < client->n_lingering; i++)
		xe_stream_free(client->lingering[i]);
	free(client->lingering);
	xn_buf_clear(&client->in);
	xn_buf_clear(&client->out);
	xn_buf_clear(&client->log);
	xn_buf_clear(&client->question);
	xn_buf_clear(&client->last_download);
}
