/* HttpConnect: the user's terminal on a guest's console, until Ctrl-]; see client.h. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "rpc/xe/client/client.h"
#include "rpc/xe/client/terminal.h"

enum {
	ESCAPE = 0x1d, /* Ctrl-] */
	PIECE = 16384,
	RETRY_MS = 250,
	RETRY_MAX_MS = 5000,
	GIVE_UP_MS = 60000,
};

/* Retried while the console cannot be reached: it may be the guest that starts anew. */
static struct xe_stream *open_console(struct xe_client *client, struct xe_bytes url,
				      struct xn_buf *rest)
{
	struct xe_stream *stream;
	int status, waited_ms = 0, wait_ms = RETRY_MS;
	int64_t length;

	for (;;) {
		stream = xe_transfer_open(client, "CONNECT", url, "content-length: 0\r\n", &status,
					  &length, rest);
		if (status == 404)
			xe_client_complain(client, "The console is not available; is the VM running?");
		if (stream || status || waited_ms >= GIVE_UP_MS)
			break;
		client->is_quiet = true; /* said once */
		if (xe_client_wait(client, NULL, -1, 0, wait_ms) & XE_HUNG_UP)
			break;
		waited_ms += wait_ms;
		wait_ms = wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
	}
	client->is_quiet = false;
	return stream;
}

/* What the guest says. False: no more. */
static bool take_output(struct xe_client *client, struct xe_stream *stream)
{
	char piece[PIECE];
	ssize_t n;

	while ((n = xe_stream_read(stream, piece, sizeof(piece))) > 0)
		if (xe_client_write_out(client, client->outside->out, piece, (size_t)n) < 0)
			return false;
	return n == -EAGAIN;
}

/* What the user types. False: the escape, or the end. */
static bool take_input(struct xe_client *client, struct xn_buf *typed)
{
	char piece[1024];
	ssize_t n = read(client->outside->in, piece, sizeof(piece));
	const char *escape;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	escape = memchr(piece, ESCAPE, (size_t)n);
	xn_buf_add(typed, piece, escape ? (size_t)(escape - piece) : (size_t)n);
	return n > 0 && !escape;
}

static bool give_input(struct xe_stream *stream, struct xn_buf *typed)
{
	while (typed->len) {
		ssize_t n = xe_stream_write(stream, typed->data, typed->len);

		if (n < 0)
			return n == -EAGAIN;
		xn_buf_drop(typed, (size_t)n);
	}
	return true;
}

static void talk(struct xe_client *client, struct xe_stream *stream)
{
	struct xn_buf typed XN_CLEANUP(xn_buf_clear_p) = {0};
	bool goes_on = true;

	while (goes_on && take_output(client, stream) && give_input(stream, &typed)) {
		unsigned ready;

		stream->wants = (short)(POLLIN | (typed.len ? POLLOUT : 0));
		/* Typing waits while the guest does not read. */
		ready = xe_client_wait(client, stream, typed.len < PIECE ? client->outside->in : -1,
				       POLLIN, -1);
		if (ready & XE_READY_FD)
			goes_on = take_input(client, &typed);
		goes_on = goes_on && !(ready & XE_HUNG_UP);
	}
	give_input(stream, &typed);
}

void xe_console(struct xe_client *client, struct xe_bytes url)
{
	struct xn_buf rest XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xe_stream *stream = NULL;
	struct termios saved;

	xe_client_flush(client);
	if (!isatty(client->outside->in))
		xe_client_complain(client, "A console needs a terminal: standard input is none.");
	else
		stream = open_console(client, url, &rest);
	if (!stream || xe_terminal_make_raw(&saved) < 0) {
		xe_stream_free(stream);
		xe_client_answer(client, XE_RESPONSE, XE_FAILED, 0);
		return;
	}
	if (xe_client_write_out(client, client->outside->out, rest.data, rest.len) == 0)
		talk(client, stream);
	xe_terminal_put_back(&saved);
	xe_client_write_out(client, client->outside->out, "\r\n", 2);
	stream->ops->end(stream);
	xe_stream_free(stream);
	xe_client_answer(client, XE_RESPONSE, XE_OK, 0);
}
