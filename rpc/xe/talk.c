/*
 * Conversations in the thin CLI protocol; see talk.h. What comes from the client is read by input.c;
 * what goes to it is queued here. HTTP's own limits end where a connection is taken from it, so these
 * are this file's: how many talk, how long each thing may take, how much may wait on either side.
 *
 *   GREETING --(their hello)--> OPEN --(exit, or the client broke a rule)--> LEAVING
 *      |                          |                                             |
 *      |                          |                           (all is sent: our end is closed)
 *      v                          v                                             v
 *     gone <----------(the client is gone, or too slow)------------------- LINGERING
 */
#include "rpc/xe/talk.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/list.h"
#include "core/module.h"
#include "rpc/rpc_internal.h"
#include "rpc/xe/input.h"

enum {
	FULL_BYTES = 262144, /* a source of output waits */
	ROOM_BYTES = 65536,  /* and goes on */
	LINE_BYTES = 65536,  /* of an answer to a prompt */
	READ_BYTES = 65536,
	REFUSING = 32, /* conversations that are only there to say that there are too many */
	TRUSTED_SHARE = 8, /* this part of all is for the Unix socket's trusted peers */
};

enum state { GREETING, OPEN, LEAVING, LINGERING };

enum awaited { NOTHING, A_FILE, A_LINE, A_TRANSFER };

struct limits { /* as configured */
	unsigned conversations, strangers;
	size_t load, all_loads, output;
	int64_t greeting_us, answer_us, reading_us, strange_reading_us, blob_us, linger_us;
};

struct counts {
	uint64_t begun, refused, broken, timed_out;
};

struct xe_talks {
	struct xn_core *core;
	struct xn_http *http;
	const struct xe_talk_ops *ops;
	void *arg;
	struct xn_http_route route;
	struct limits limits;
	struct xn_list talks;
	unsigned n, n_strangers, n_refusing;
	size_t loaded; /* bytes of files in all conversations */
	size_t unread;
	struct counts counts;
	char *scratch; /* READ_BYTES that reads go to */
	struct xn_metrics_source metrics;
};

struct xe_talk {
	struct xn_list link;
	struct xe_talks *talks;
	void *command; /* NULL: none, or none any more */
	struct xe_request request;
	char *body, *local_host;
	int fd;
	struct xn_io *io;
	int events;
	enum state state;
	enum awaited awaited;
	bool is_stranger, is_refused;
	bool was_full;	     /* ops.room() is owed */
	bool has_overflowed; /* nobody reads what is still being said */
	bool peer_ended;
	struct xe_input input;
	size_t loaded; /* of talks->loaded */
	struct xn_buf out;
	size_t out_done;
	int64_t since_us;  /* of the state */
	int64_t heard_us;  /* the client said something that counts */
	int64_t moved_us;  /* it took something, or there was nothing to take */
	struct xn_rpc_reader reader; /* of what holds records */
	struct xn_timer deadline;
	struct xn_job job; /* sends what was queued */
};

static void flush(struct xe_talk *talk);
static void settle(struct xe_talk *talk);

static int64_t now_us(const struct xe_talk *talk)
{
	return xn_now_us(talk->talks->core->loop);
}

static size_t unsent(const struct xe_talk *talk)
{
	return talk->out.len - talk->out_done;
}

/* ---- life ---- */

static void set_state(struct xe_talk *talk, enum state state)
{
	assert(state > talk->state);
	talk->state = state;
	talk->since_us = now_us(talk);
}

void xe_talk_set_authenticated(struct xe_talk *talk)
{
	if (talk->is_stranger)
		talk->talks->n_strangers--;
	talk->is_stranger = false;
}

static void drop_blob(struct xe_talk *talk)
{
	talk->talks->loaded -= talk->loaded;
	talk->loaded = 0;
	xn_buf_clear(&talk->input.blob);
}

static void drop_output(struct xe_talk *talk)
{
	talk->talks->unread -= unsent(talk);
	xn_buf_clear(&talk->out);
	talk->out_done = 0;
}

/* The command hears of nothing any more. */
static void end_command(struct xe_talk *talk)
{
	void *command = talk->command;

	talk->command = NULL;
	talk->awaited = NOTHING;
	if (command)
		talk->talks->ops->end(command);
}

static void talk_free(struct xe_talk *talk)
{
	struct xe_talks *talks = talk->talks;

	if (talk->state < LEAVING)
		talk->state = LEAVING; /* what the command still says goes nowhere */
	end_command(talk);
	xe_talk_set_authenticated(talk);
	talks->n--;
	talks->n_refusing -= talk->is_refused;
	xn_list_remove(&talk->link);
	xn_rpc_reader_leaves(&talk->reader);
	xn_timer_cancel(&talk->deadline);
	xn_job_cancel(&talk->job);
	xn_io_free(talk->io);
	if (talk->fd >= 0)
		close(talk->fd);
	drop_blob(talk);
	drop_output(talk);
	xe_input_clear(&talk->input);
	free(talk->body);
	free(talk->local_host);
	free(talk);
}

/* ---- output ---- */

static void moves(struct xe_talk *talk)
{
	talk->moved_us = now_us(talk);
	if (talk->reader.cut)
		xn_rpc_reader_moves(talk->talks->core, &talk->reader);
}

static void on_job(struct xn_job *job)
{
	struct xe_talk *talk = xn_container_of(job, struct xe_talk, job);

	flush(talk);
	settle(talk);
}

static void queue(struct xe_talk *talk, const struct xe_message *message)
{
	struct xe_talks *talks = talk->talks;
	size_t before = talk->out.len;

	if (talk->state >= LEAVING || talk->has_overflowed)
		return;
	if (!unsent(talk))
		moves(talk);
	xe_message_write(&talk->out, message);
	talks->unread += talk->out.len - before;
	talk->has_overflowed = unsent(talk) > talks->limits.output;
	xn_loop_defer(talks->core->loop, &talk->job, XN_PRIO_REPLY, on_job);
}

static void say(struct xe_talk *talk, enum xe_tag tag, const char *text, size_t len)
{
	queue(talk, &(struct xe_message){.kind = XE_COMMAND, .tag = tag, .text = {text, len}});
}

static void say_number(struct xe_talk *talk, enum xe_tag tag, int number, const char *text)
{
	queue(talk, &(struct xe_message){.kind = XE_COMMAND,
					 .tag = tag,
					 .number = number,
					 .text = {text, strlen(text)}});
}

void xe_talk_print(struct xe_talk *talk, const char *text, size_t len)
{
	say(talk, XE_PRINT, text, len);
}

void xe_talk_print_stderr(struct xe_talk *talk, const char *text, size_t len)
{
	say(talk, XE_PRINT_STDERR, text, len);
}

void xe_talk_debug(struct xe_talk *talk, const char *text)
{
	say(talk, XE_DEBUG, text, strlen(text));
}

void xe_talk_error(struct xe_talk *talk, const char *code, const char *const *params, unsigned n)
{
	struct xe_message message = {
		.kind = XE_COMMAND, .tag = XE_ERROR, .text = {code, strlen(code)}};

	for (unsigned i = 0; i < n && i < XE_MAX_PARAMS; i++)
		message.params[message.n_params++] = (struct xe_bytes){params[i], strlen(params[i])};
	queue(talk, &message);
}

/* ---- questions ---- */

static void await(struct xe_talk *talk, enum awaited what, const struct xe_message *message)
{
	if (talk->state != OPEN)
		return;
	assert(talk->awaited == NOTHING);
	talk->awaited = what;
	talk->heard_us = now_us(talk);
	queue(talk, message);
}

static void await_transfer(struct xe_talk *talk, enum xe_tag tag, const char *filename,
			   const char *url)
{
	await(talk, A_TRANSFER, &(struct xe_message){.kind = XE_COMMAND,
						     .tag = tag,
						     .text = {filename, strlen(filename)},
						     .url = {url, strlen(url)}});
}

void xe_talk_load(struct xe_talk *talk, const char *filename)
{
	await(talk, A_FILE, &(struct xe_message){.kind = XE_COMMAND,
						 .tag = XE_LOAD,
						 .text = {filename, strlen(filename)}});
}

void xe_talk_prompt(struct xe_talk *talk)
{
	xe_input_expect_blob(&talk->input, LINE_BYTES);
	await(talk, A_LINE, &(struct xe_message){.kind = XE_COMMAND, .tag = XE_PROMPT});
}

void xe_talk_get(struct xe_talk *talk, const char *filename, const char *url)
{
	await_transfer(talk, XE_HTTP_GET, filename, url);
}

void xe_talk_put(struct xe_talk *talk, const char *filename, const char *url)
{
	await_transfer(talk, XE_HTTP_PUT, filename, url);
}

void xe_talk_connect(struct xe_talk *talk, const char *url)
{
	await_transfer(talk, XE_HTTP_CONNECT, "", url);
}

/* Who does not read needs no news of how it goes. */
void xe_talk_progress(struct xe_talk *talk, int thousandths, const char *text)
{
	if (talk->request.is_ours && unsent(talk) < FULL_BYTES)
		say_number(talk, XE_PROGRESS, thousandths, text);
}

void xe_talk_interruptible(struct xe_talk *talk, const char *question)
{
	if (talk->request.is_ours)
		say(talk, XE_INTERRUPTIBLE, question, strlen(question));
}

void xe_talk_exit(struct xe_talk *talk, int code)
{
	if (talk->state >= LEAVING)
		return;
	say_number(talk, XE_EXIT, code, "");
	set_state(talk, LEAVING);
}

bool xe_talk_is_full(struct xe_talk *talk)
{
	talk->was_full = talk->was_full || unsent(talk) >= FULL_BYTES;
	return talk->was_full;
}

/* The daemon's own last word, where a command has none. */
static void break_off(struct xe_talk *talk, const char *sentence)
{
	end_command(talk);
	xe_talk_print_stderr(talk, sentence, strlen(sentence));
	xe_talk_exit(talk, 1);
}

/* ---- sending ---- */

/* Whether the socket is lost. */
static bool send_some(struct xe_talk *talk)
{
	while (unsent(talk)) {
		ssize_t n = send(talk->fd, talk->out.data + talk->out_done, unsent(talk),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno != EAGAIN && errno != EWOULDBLOCK;
		talk->out_done += (size_t)n;
		talk->talks->unread -= (size_t)n;
		moves(talk);
	}
	return false;
}

/* What is sent need not be kept; moving the rest is worth it when that is the smaller part. */
static void forget_sent(struct xe_talk *talk)
{
	if (!unsent(talk)) {
		xn_buf_clear(&talk->out);
		talk->out_done = 0;
	} else if (talk->out_done > talk->out.len / 2) {
		xn_buf_drop(&talk->out, talk->out_done);
		talk->out_done = 0;
	}
}

/* Sends what it can. settle() follows, and looks at what it set. */
static void flush(struct xe_talk *talk)
{
	if (send_some(talk)) {
		talk->peer_ended = true;
		drop_output(talk);
		return;
	}
	forget_sent(talk);
	if (talk->was_full && unsent(talk) <= ROOM_BYTES) {
		talk->was_full = false;
		if (talk->command && talk->state == OPEN)
			talk->talks->ops->room(talk->command);
	}
}

/* ---- what the client says ---- */

static void answer(struct xe_talk *talk, enum xe_answer what, const char *data, size_t len)
{
	talk->awaited = NOTHING;
	if (talk->command)
		talk->talks->ops->answer(talk->command, what, data, len);
}

static void on_blob(struct xe_talk *talk)
{
	bool is_line = talk->awaited == A_LINE;
	struct xn_buf blob = talk->input.blob; /* the answer may ask for another */
	XN_CLEANUP(xn_free_p) char *why = NULL;

	talk->input.blob = (struct xn_buf){0};
	if (is_line) {
		answer(talk, XE_ANSWER_LINE, xn_buf_cstr(&blob), blob.len);
	} else if (talk->input.is_cut) {
		why = talk->input.max_blob < talk->talks->limits.load
			      ? xn_strdup("other commands have files here now, and there is no room for it")
			      : xn_asprintf("it is too large, with more than %zu bytes",
					    talk->input.max_blob);
		answer(talk, XE_ANSWER_FAILED, why, strlen(why));
	} else {
		answer(talk, XE_ANSWER_OK, xn_buf_cstr(&blob), blob.len);
	}
	xn_buf_clear(&blob);
	drop_blob(talk);
}

static void begin(struct xe_talk *talk)
{
	struct xe_talks *talks = talk->talks;

	set_state(talk, OPEN);
	talks->counts.begun++;
	talk->command = talks->ops->begin(talk, &talk->request, talks->arg);
}

/* 0, or -EPROTO: nothing of the kind was asked for. */
static int on_event(struct xe_talk *talk, int event)
{
	bool asked = talk->awaited == A_TRANSFER ||
		     (talk->awaited == A_FILE && !talk->input.expects_blob);

	switch (event) {
	case XE_INPUT_HELLO:
		begin(talk);
		return 0;
	case XE_INPUT_WAIT:
		return 0;
	case XE_INPUT_INTERRUPT:
		if (!talk->request.is_ours)
			return -EPROTO;
		if (talk->command)
			talk->talks->ops->interrupt(talk->command);
		return 0;
	case XE_INPUT_BLOB:
		on_blob(talk);
		return 0;
	case XE_INPUT_OK:
		if (asked && talk->awaited == A_FILE)
			xe_input_expect_blob(&talk->input, talk->talks->limits.load);
		else if (asked)
			answer(talk, XE_ANSWER_OK, "", 0);
		return asked ? 0 : -EPROTO;
	case XE_INPUT_FAILED:
		if (asked)
			answer(talk, XE_ANSWER_FAILED, "", 0);
		return asked ? 0 : -EPROTO;
	default:
		return event;
	}
}

/* All conversations' files together have a limit, too: then this one's gets no more room. */
static void charge_blob(struct xe_talk *talk)
{
	struct xe_talks *talks = talk->talks;
	size_t len = talk->input.blob.len;

	talks->loaded += len - talk->loaded;
	talk->loaded = len;
	if (talks->loaded > talks->limits.all_loads && talk->input.max_blob > len)
		talk->input.max_blob = len;
}

static void on_broken(struct xe_talk *talk, int rc)
{
	talk->talks->counts.broken++;
	xn_log_info(talk->talks->core->log, "rpc", "xe: %s broke the protocol: %s",
		    talk->request.caller.origin,
		    rc == -EPROTONOSUPPORT ? "another version of it" : "bytes that mean nothing here");
	if (talk->state == GREETING) /* nobody there who understands a sentence */
		set_state(talk, LEAVING);
	else
		break_off(talk, "The client did not keep to the protocol.\n");
}

static void on_bytes(struct xe_talk *talk, const char *data, size_t len)
{
	int event, rc = 0;

	talk->heard_us = now_us(talk);
	while (rc == 0 && talk->state < LEAVING) {
		event = xe_input_take(&talk->input, &data, &len);
		charge_blob(talk);
		if (event == XE_INPUT_MORE)
			return;
		rc = event < 0 ? event : on_event(talk, event);
	}
	if (rc < 0 && talk->state < LEAVING)
		on_broken(talk, rc);
}

static void read_some(struct xe_talk *talk)
{
	ssize_t n = recv(talk->fd, talk->talks->scratch, READ_BYTES, MSG_DONTWAIT);

	if (n > 0)
		on_bytes(talk, talk->talks->scratch, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		talk->peer_ended = true;
}

static void on_ready(int fd, int events, void *arg)
{
	struct xe_talk *talk = arg;

	if (events & XN_IO_READ)
		read_some(talk);
	flush(talk);
	settle(talk);
}

/* ---- after each step: what next, and until when? ---- */

static bool is_in_blob(const struct xe_talk *talk)
{
	return talk->input.expects_blob && (talk->awaited == A_FILE || talk->loaded);
}

static int64_t deadline_of(const struct xe_talk *talk)
{
	const struct limits *limits = &talk->talks->limits;

	if (talk->state == LINGERING)
		return talk->since_us + limits->linger_us;
	if (talk->state == GREETING)
		return talk->since_us + limits->greeting_us;
	if (unsent(talk))
		return talk->moved_us + (talk->is_stranger || talk->is_refused
						 ? limits->strange_reading_us
						 : limits->reading_us);
	if (is_in_blob(talk))
		return talk->heard_us + limits->blob_us;
	/* Clients before this version do not say that they are still at it. */
	if (talk->awaited == NOTHING || (talk->awaited == A_TRANSFER && talk->input.minor < XE_MINOR))
		return INT64_MAX;
	return talk->heard_us + limits->answer_us;
}

/* What it did not read in time is not kept for it by the kernel either. */
static void hang_up(struct xe_talk *talk)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(talk->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	talk_free(talk);
}

static bool cut_reader(struct xn_rpc_reader *reader)
{
	struct xe_talk *talk = xn_container_of(reader, struct xe_talk, reader);

	if (talk->state != OPEN || !unsent(talk))
		return false;
	hang_up(talk);
	return true;
}

void xe_talk_holds_records(struct xe_talk *talk)
{
	talk->reader.cut = cut_reader;
	moves(talk);
}

static void on_deadline(struct xn_timer *timer)
{
	struct xe_talk *talk = xn_container_of(timer, struct xe_talk, deadline);

	if (deadline_of(talk) > now_us(talk)) {
		settle(talk);
		return;
	}
	if (talk->state == LINGERING) {
		talk_free(talk);
		return;
	}
	talk->talks->counts.timed_out++;
	if (talk->state == OPEN && !unsent(talk)) {
		break_off(talk, "No answer came in time.\n");
		settle(talk);
		return;
	}
	hang_up(talk);
}

/* The timer is left alone while it comes early enough: it looks again. */
static void plan(struct xe_talk *talk)
{
	int64_t deadline = deadline_of(talk);

	if (deadline == INT64_MAX)
		xn_timer_cancel(&talk->deadline);
	else if (!xn_timer_is_armed(&talk->deadline) || talk->deadline.due_us > deadline)
		xn_timer_arm(talk->talks->core->loop, &talk->deadline,
			     deadline > now_us(talk) ? deadline - now_us(talk) : 0, on_deadline);
}

/* May free it. */
static void settle(struct xe_talk *talk)
{
	int events;

	if (talk->state == LEAVING && !unsent(talk)) {
		shutdown(talk->fd, SHUT_WR);
		set_state(talk, LINGERING);
	}
	/* A client that only ended its own side still gets what is on its way, if that is the last. */
	if (talk->has_overflowed || (talk->peer_ended && (talk->state != LEAVING || !unsent(talk)))) {
		talk_free(talk);
		return;
	}
	events = (talk->peer_ended ? 0 : XN_IO_READ) | (unsent(talk) ? XN_IO_WRITE : 0);
	if (events != talk->events)
		xn_io_set(talk->io, events);
	talk->events = events;
	plan(talk);
}

/* ---- the request ---- */

/* "columns=120 colour stdin stderr": what our own client has at its ends. */
static void read_terminal(const char *text, struct xe_request *request)
{
	char word[32];
	int at = 0;

	while (text && sscanf(text, " %31s%n", word, &at) == 1) {
		text += at;
		if (strncmp(word, "columns=", 8) == 0)
			request->columns = (unsigned)strtoul(word + 8, NULL, 10) % 10000;
		request->colour = request->colour || strcmp(word, "colour") == 0;
		request->stdin_is_terminal =
			request->stdin_is_terminal || strcmp(word, "stdin") == 0;
		request->stderr_is_terminal =
			request->stderr_is_terminal || strcmp(word, "stderr") == 0;
	}
}

/* Clients never speak TLS to the address 127.0.0.1, whatever they are told, but they do to its name. */
static char *local_host_of(const struct xn_http_request *req)
{
	static const char loopback[] = "127.0.0.1:";
	char local[64];

	xn_http_local_address(req->conn, local, sizeof(local));
	if (req->is_over_tls && strncmp(local, loopback, sizeof(loopback) - 1) == 0)
		return xn_asprintf("localhost:%s", local + sizeof(loopback) - 1);
	return xn_strdup(local);
}

static void read_request(struct xe_talk *talk, const struct xn_http_request *req)
{
	static const char ours[] = "xe-cli/Xenolith/";
	struct xe_request *request = &talk->request;
	const char *agent = xn_http_header(req, "user-agent");

	talk->body = xn_malloc(req->body_len + 1);
	memcpy(talk->body, req->body, req->body_len);
	talk->body[req->body_len] = '\0';
	request->body = talk->body;
	request->len = req->body_len;
	request->caller.is_trusted_socket = req->peer_is_trusted;
	snprintf(request->caller.origin, sizeof(request->caller.origin), "%s", req->peer);
	xn_text_copy(request->user_agent, sizeof(request->user_agent), agent ? agent : "");
	xn_rpc_read_trace(req, request->trace);
	talk->local_host = local_host_of(req);
	request->local_host = talk->local_host;
	request->is_ours = strncmp(request->user_agent, ours, sizeof(ours) - 1) == 0;
	if (request->is_ours)
		read_terminal(xn_http_header(req, "xe-terminal"), request);
}

/* Of the strangers at their cap the one goes that is longest at what needs no daemon: saying hello, or
 * reading its last words. */
static void make_room(struct xe_talks *talks)
{
	if (talks->n_strangers < talks->limits.strangers)
		return;
	xn_list_each(node, &talks->talks) {
		struct xe_talk *talk = xn_list_entry(node, struct xe_talk, link);

		if (talk->is_stranger && talk->state != OPEN) {
			talks->counts.refused++;
			talk_free(talk);
			return;
		}
	}
}

static bool has_room(struct xe_talks *talks, bool is_trusted)
{
	const struct limits *limits = &talks->limits;

	if (is_trusted)
		return talks->n - talks->n_refusing < limits->conversations;
	make_room(talks);
	return talks->n - talks->n_refusing <
		       limits->conversations - limits->conversations / TRUSTED_SHARE &&
	       talks->n_strangers < limits->strangers;
}

static void reply_error(const struct xn_http_request *req, int status, const char *text)
{
	xn_http_reply(req->conn, status, "text/plain", NULL, text, strlen(text));
}

static struct xe_talk *talk_new(struct xe_talks *talks, const struct xn_http_request *req,
				bool is_refused)
{
	struct xe_talk *talk = xn_calloc(1, sizeof(*talk));

	talk->talks = talks;
	talk->since_us = talk->moved_us = talk->heard_us = xn_now_us(talks->core->loop);
	read_request(talk, req);
	talk->fd = -1;
	talk->is_refused = is_refused;
	talk->is_stranger = !talk->is_refused && !req->peer_is_trusted;
	talks->n++;
	talks->n_strangers += talk->is_stranger;
	talks->n_refusing += talk->is_refused;
	xn_list_push(&talks->talks, &talk->link);
	return talk;
}

static void greet(struct xe_talk *talk)
{
	xe_hello_write(&talk->out);
	talk->talks->unread += talk->out.len;
	if (!talk->is_refused)
		return;
	talk->talks->counts.refused++;
	break_off(talk, "Too many xe commands are running on this host: try again in a moment.\n");
}

static void on_request(const struct xn_http_request *req, void *arg)
{
	struct xe_talks *talks = arg;
	struct xn_buf ahead XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xe_talk *talk;
	bool is_refused;

	if (!xn_http_header(req, "content-length")) {
		reply_error(req, 411, "411 Length Required\n");
		return;
	}
	is_refused = !has_room(talks, req->peer_is_trusted);
	if (is_refused && talks->n_refusing >= REFUSING) {
		talks->counts.refused++;
		reply_error(req, 503, "503 Service Unavailable: too many xe commands\n");
		return;
	}
	talk = talk_new(talks, req, is_refused);
	talk->fd = xn_http_take_over(req->conn, 0, NULL, &ahead);
	if (talk->fd < 0) {
		talk_free(talk);
		return;
	}
	talk->events = XN_IO_READ;
	talk->io = xn_io_new(talks->core->loop, talk->fd, talk->events | XN_IO_CLIENT, on_ready, talk);
	greet(talk);
	on_bytes(talk, ahead.data, ahead.len);
	flush(talk);
	settle(talk);
}

/* ---- all of them ---- */

static int64_t seconds(const struct xn_config *config, const char *key)
{
	return xn_config_int(config, key) * 1000000;
}

static void read_limits(struct limits *limits, const struct xn_config *config)
{
	struct rlimit files;

	*limits = (struct limits){
		.conversations = (unsigned)xn_config_int(config, "xe-conversations"),
		.strangers = (unsigned)xn_config_int(config, "xe-strangers"),
		.load = (size_t)xn_config_int(config, "xe-load"),
		.all_loads = (size_t)xn_config_int(config, "xe-all-loads"),
		.output = (size_t)xn_config_int(config, "xe-output"),
		.greeting_us = seconds(config, "xe-handshake-time"),
		.answer_us = seconds(config, "xe-answer-time"),
		.reading_us = seconds(config, "xe-write-idle"),
		.strange_reading_us = seconds(config, "http-write-idle"),
		.blob_us = seconds(config, "http-body-idle"),
		.linger_us = seconds(config, "http-linger"),
	};
	/* Over TLS one takes three descriptors; the daemon's other work is not to go without. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 16 < limits->conversations)
		limits->conversations = files.rlim_cur / 16 < 8 ? 8 : (unsigned)files.rlim_cur / 16;
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xe_talks *talks = xn_container_of(source, struct xe_talks, metrics);

	xn_metrics_gauge(page, "xenolith_xe_conversations", "", "Commands of xe under way.",
			 talks->n);
	xn_metrics_gauge(page, "xenolith_xe_conversations_most", "",
			 "Commands of xe that may be, as the limit of open files allows.",
			 talks->limits.conversations);
	xn_metrics_gauge(page, "xenolith_xe_strangers", "", "Of these, those not logged in.",
			 talks->n_strangers);
	xn_metrics_gauge(page, "xenolith_xe_unread_bytes", "bytes",
			 "Output that their clients have not taken.", (int64_t)talks->unread);
	xn_metrics_gauge(page, "xenolith_xe_loaded_bytes", "bytes",
			 "Files of clients held for their commands.", (int64_t)talks->loaded);
	xn_metrics_counter(page, "xenolith_xe_commands", "", "Commands of xe begun.",
			   talks->counts.begun);
	xn_metrics_counter(page, "xenolith_xe_refused", "", "Commands refused at a limit.",
			   talks->counts.refused);
	xn_metrics_counter(page, "xenolith_xe_broken", "",
			   "Conversations that their clients broke off by a wrong byte.",
			   talks->counts.broken);
	xn_metrics_counter(page, "xenolith_xe_timed_out", "",
			   "Conversations whose clients were too slow to speak or to read.",
			   talks->counts.timed_out);
	return 0;
}

struct xe_talks *xe_talk_open(struct xn_core *core, struct xn_http *http,
			      const struct xe_talk_ops *ops, void *arg)
{
	struct xe_talks *talks = xn_calloc(1, sizeof(*talks));

	talks->core = core;
	talks->http = http;
	talks->ops = ops;
	talks->arg = arg;
	read_limits(&talks->limits, core->config);
	xn_list_init(&talks->talks);
	talks->scratch = xn_malloc(READ_BYTES);
	talks->route = (struct xn_http_route){
		.method = "POST",
		.path = "/cli",
		.kind = XN_HTTP_TAKE_OVER,
		.max_body = (size_t)xn_config_int(core->config, "xe-arguments"),
		.run = on_request,
	};
	xn_http_add_route(http, &talks->route, talks);
	talks->metrics.write = write_metrics;
	if (core->metrics)
		xn_metrics_add(core->metrics, &talks->metrics);
	return talks;
}

void xe_talk_close(struct xe_talks *talks)
{
	if (!talks)
		return;
	xn_http_remove_routes(talks->http, talks);
	xn_metrics_remove(&talks->metrics);
	while (!xn_list_empty(&talks->talks)) {
		struct xe_talk *talk = xn_list_entry(talks->talks.next, struct xe_talk, link);

		send_some(talk);
		talk_free(talk);
	}
	free(talks->scratch);
	free(talks);
}
