/*
 * A whole HTTP connection on a socket pair: whatever arrives, in one piece or in many, is answered
 * with the same answers; then the connection ends and leaves no byte behind.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/http_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_echo(const struct xn_http_request *req, void *arg)
{
	const char *header = xn_http_header(req, "x-thing");
	const char *query = xn_http_query(req, "q");
	const char *cookie = xn_http_cookie(req, "c");
	struct xn_http_piece pieces[3] = {
		{req->path, strlen(req->path)},
		{query ? query : header ? header : cookie ? cookie : "-", 1},
		{req->body, req->body_len},
	};

	xn_http_reply_pieces(req->conn, 200, "text/plain", NULL, pieces, 3);
}

static void give(struct xn_http_conn *conn, void *arg)
{
	xn_http_stream_write(conn, "some", 4);
	xn_http_stream_end(conn, true);
}

static void run_out(const struct xn_http_request *req, void *arg)
{
	xn_http_stream_begin(req->conn, 200, NULL, -1, give, NULL);
}

static size_t take(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg)
{
	if (!len) {
		if (xn_http_stream_was_cut(conn))
			xn_http_stream_end(conn, false);
		else
			xn_http_reply(conn, 200, NULL, NULL, "taken", 5);
		return len;
	}
	xn_http_stream_resume(conn);
	return len > 5 ? 5 : len;
}

static void run_in(const struct xn_http_request *req, void *arg)
{
	xn_http_stream_read(req->conn, take, NULL);
}

static void run_take_over(const struct xn_http_request *req, void *arg)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) read_ahead = {0};
	int fd = xn_http_take_over(req->conn, 101, NULL, &read_ahead);

	if (fd >= 0)
		close(fd);
}

static const struct xn_http_route routes[] = {
	{.method = "POST", .path = "", .max_body = 1000, .run = run_echo},
	{.method = "GET", .path = "/p", .prefix = true, .max_body = 10, .run = run_echo},
	{.method = "GET", .path = "/out", .kind = XN_HTTP_STREAM_OUT, .run = run_out},
	{.method = "PUT", .path = "/in", .kind = XN_HTTP_STREAM_IN, .run = run_in},
	{.method = "GET", .path = "/socket", .kind = XN_HTTP_TAKE_OVER, .run = run_take_over},
	{.method = "POST", .path = "/cli", .kind = XN_HTTP_TAKE_OVER, .max_body = 100,
	 .run = run_take_over},
};

static int64_t no_time(void *arg)
{
	return 0;
}

static struct xn_http *server(void)
{
	static struct xn_core core;
	static struct xn_http *http;

	if (http)
		return http;
	core.loop = xn_loop_new();
	core.log = xn_log_new(XN_LOG_ERROR, false, 2);
	xn_log_set_clock(core.log, no_time, NULL);
	http = xn_http_new(&core);
	/* Nothing here may depend on how fast the machine is. */
	http->limits.head_idle_us = http->limits.head_total_us = http->limits.linger_us =
		http->limits.body_idle_us = http->limits.grace_us = INT64_C(3600000000);
	for (size_t i = 0; i < XN_ARRAY_SIZE(routes); i++)
		xn_http_add_route(http, &routes[i], NULL);
	return http;
}

static void collect(struct xn_http *http, int fd, struct xn_buf *out)
{
	char chunk[16384];
	ssize_t n;
	bool ran;

	do {
		ran = xn_loop_turn(http->core->loop, 0);
		while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
			xn_buf_add(out, chunk, (size_t)n);
	} while (ran);
}

/* The answers to @data sent in pieces of @step bytes, without what may differ: dates, and when a
 * client was told to go on. */
static void answers(const uint8_t *data, size_t size, size_t step, struct xn_buf *out)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct xn_http *http = server();
	int fds[2];
	char *at;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	xn_http_conn_new(http, fds[1], XN_DOOR_UNIX, true, "unix");
	for (size_t sent = 0; sent < size;) {
		ssize_t n = send(fds[0], data + sent, size - sent < step ? size - sent : step,
				 MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break; /* it has closed */
		sent += n > 0 ? (size_t)n : 0;
		collect(http, fds[0], out);
	}
	shutdown(fds[0], SHUT_WR);
	collect(http, fds[0], out);
	close(fds[0]);
	collect(http, fds[0], out);
	assert(http->n_open == 0 && http->n_kept == 0);
	assert(http->stats.buffered == 0 && http->strangers_bytes == 0);
	assert(http->n_strangers[XN_DOOR_UNIX] == 0 && !http->active && !http->out.len);
	xn_buf_cstr(out);
	while ((at = out->len ? strstr(out->data, "\r\nDate: ") : NULL) && strlen(at) >= 37)
		memset(at + 2, 'D', 35);
	while ((at = out->len ? strstr(out->data, go_on) : NULL)) {
		memmove(at, at + sizeof(go_on) - 1, strlen(at + sizeof(go_on) - 1) + 1);
		out->len -= sizeof(go_on) - 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) whole = {0};
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) pieces = {0};

	if (!size || size > 4096)
		return 0;
	answers(data, size, size, &whole);
	answers(data, size, 1 + data[0] % 16, &pieces);
	assert(whole.len == pieces.len);
	assert(!whole.len || memcmp(whole.data, pieces.data, whole.len) == 0);
	assert(!whole.len || memcmp(whole.data, "HTTP/1.1 ", 9) == 0);
	return 0;
}
