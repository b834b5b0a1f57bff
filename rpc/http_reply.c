/*
 * Answers: response heads, bodies, and getting them out. Answers of the connection being served are
 * collected in one shared buffer and leave in one write; only what the socket does not take is kept
 * with the connection, which then reads no further request until it is out.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rpc/http_internal.h"

/* ---- getting bytes out ---- */

static ssize_t plain_read(struct xn_http_conn *conn, void *to, size_t len)
{
	return recv(conn->fd, to, len, MSG_DONTWAIT);
}

static ssize_t plain_write(struct xn_http_conn *conn, const struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

	if (n == 1)
		return send(conn->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

const struct xn_http_transport xn_http_plain = {plain_read, plain_write};

static ssize_t tls_read(struct xn_http_conn *conn, void *to, size_t len)
{
	return xn_tls_read(conn->tls, to, len);
}

static ssize_t tls_write(struct xn_http_conn *conn, const struct iovec *iov, int n)
{
	return xn_tls_write(conn->tls, iov, n);
}

const struct xn_http_transport xn_http_over_tls = {tls_read, tls_write};

/* Bytes written; 0 when the socket takes none now, or ever again (then broken is set). */
static size_t write_some(struct xn_http_conn *conn, const struct iovec *iov, int n)
{
	ssize_t written;

	if (conn->broken || conn->state == XN_CONN_CLOSED)
		return 0;
	do
		written = conn->transport->write(conn, iov, n);
	while (written < 0 && errno == EINTR);
	if (written < 0) {
		conn->broken = errno != EAGAIN && errno != EWOULDBLOCK;
		return 0;
	}
	conn->http->stats.bytes_out += (uint64_t)written;
	conn->wrote |= written > 0;
	return (size_t)written;
}

bool xn_http_output_flush(struct xn_http_conn *conn)
{
	struct iovec iov;

	if (!conn->out.len)
		return true;
	iov = (struct iovec){conn->out.data + conn->out_done, xn_http_output_left(conn)};
	conn->out_done += write_some(conn, &iov, 1);
	if (xn_http_output_left(conn) && !conn->broken)
		return false;
	xn_buf_clear(&conn->out);
	conn->out_done = 0;
	return true;
}

bool xn_http_output_begin(struct xn_http_conn *conn)
{
	if (conn->http->active)
		return false;
	conn->http->active = conn;
	return true;
}

struct xn_buf *xn_http_output(struct xn_http_conn *conn)
{
	return conn->http->active == conn && !conn->out.len ? &conn->http->out : &conn->out;
}

static void keep_rest(struct xn_http_conn *conn, const struct iovec *iov, unsigned n,
		      size_t written)
{
	if (conn->broken || conn->state == XN_CONN_CLOSED)
		return;
	for (unsigned i = 0; i < n; i++) {
		size_t skip = written < iov[i].iov_len ? written : iov[i].iov_len;

		xn_buf_add(&conn->out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		written -= skip;
	}
}

static void flush_shared(struct xn_http_conn *conn)
{
	enum { KEEP = 262144 };
	struct xn_buf *out = &conn->http->out;
	struct iovec iov = {out->data, out->len};

	if (!out->len)
		return;
	keep_rest(conn, &iov, 1, write_some(conn, &iov, 1));
	out->len = 0;
	if (out->cap > KEEP)
		xn_buf_clear(out);
}

void xn_http_output_flush_now(struct xn_http_conn *conn)
{
	if (conn->http->active == conn)
		flush_shared(conn);
	xn_http_output_flush(conn);
}

void xn_http_output_end(struct xn_http_conn *conn, bool begun)
{
	if (begun) {
		flush_shared(conn);
		conn->http->active = NULL;
	} else if (conn->http->active != conn) {
		/* Another connection is being served and its handler answered this one. */
		xn_http_output_flush(conn);
	}
}

void xn_http_output_pieces(struct xn_http_conn *conn, const struct xn_http_piece *pieces,
			   unsigned n)
{
	struct iovec iov[1 + XN_HTTP_MAX_PIECES];
	struct xn_buf *out = xn_http_output(conn);
	size_t total = 0;

	assert(n <= XN_HTTP_MAX_PIECES);
	for (unsigned i = 0; i < n; i++)
		total += pieces[i].len;
	if (total <= XN_HTTP_COPY_MAX || out == &conn->out) {
		for (unsigned i = 0; i < n; i++)
			xn_buf_add(out, pieces[i].data, pieces[i].len);
		return;
	}
	iov[0] = (struct iovec){out->data, out->len};
	for (unsigned i = 0; i < n; i++)
		iov[i + 1] = (struct iovec){(void *)pieces[i].data, pieces[i].len};
	keep_rest(conn, iov, n + 1, write_some(conn, iov, (int)n + 1));
	out->len = 0;
}

/* ---- heads ---- */

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{101, "Switching Protocols"}, {200, "OK"}, {204, "No Content"},
		{206, "Partial Content"}, {302, "Found"}, {304, "Not Modified"},
		{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
		{404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
		{409, "Conflict"}, {411, "Length Required"}, {413, "Content Too Large"},
		{414, "URI Too Long"}, {416, "Range Not Satisfiable"}, {417, "Expectation Failed"},
		{426, "Upgrade Required"}, {429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
		{501, "Not Implemented"}, {503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "Status";
}

static void add_date(struct xn_http *http, struct xn_buf *out)
{
	int64_t now_s = xn_wall_s(http->core->loop);

	if (now_s != http->date_s || !http->date_len) {
		time_t t = (time_t)now_s;
		struct tm tm = {0};

		gmtime_r(&t, &tm);
		http->date_len = (unsigned)strftime(http->date, sizeof(http->date),
						    "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		http->date_s = now_s;
	}
	xn_buf_add(out, http->date, http->date_len);
}

static void add_literal(struct xn_buf *out, const char *text)
{
	xn_buf_add(out, text, strlen(text));
}

static void add_status_line(struct xn_buf *out, int status)
{
	if (status == 200) {
		add_literal(out, "HTTP/1.1 200 OK\r\n");
		return;
	}
	add_literal(out, "HTTP/1.1 ");
	xn_buf_add_int(out, status);
	xn_buf_add_char(out, ' ');
	xn_buf_add_string(out, status_text(status));
	add_literal(out, "\r\n");
}

static void add_connection(struct xn_http_conn *conn, struct xn_buf *out)
{
	if (!conn->keep_alive)
		add_literal(out, "Connection: close\r\n");
	else if (conn->minor_version == 0)
		add_literal(out, "Connection: keep-alive\r\n");
}

void xn_http_add_head(struct xn_http_conn *conn, int status, const char *content_type,
		      const char *headers, int64_t length)
{
	struct xn_buf *out = xn_http_output(conn);

	if (conn->http->draining)
		conn->keep_alive = false;
	add_status_line(out, status);
	add_date(conn->http, out);
	if (content_type) {
		add_literal(out, "Content-Type: ");
		xn_buf_add_string(out, content_type);
		add_literal(out, "\r\n");
	}
	if (headers)
		xn_buf_add_string(out, headers);
	if (length == XN_HTTP_LENGTH_CHUNKED) {
		add_literal(out, "Transfer-Encoding: chunked\r\n");
	} else if (length >= 0) {
		add_literal(out, "Content-Length: ");
		xn_buf_add_int(out, length);
		add_literal(out, "\r\n");
	}
	if (status != 101)
		add_connection(conn, out);
	add_literal(out, "\r\n");
	if (status >= 100 && status < 600)
		conn->http->stats.replies[status / 100]++;
	xn_log_debug(conn->http->core->log, "rpc", "%s: answered %d", conn->peer, status);
}

/* ---- answers ---- */

static void finish_waiting(struct xn_http_conn *conn, const struct xn_http_piece *pieces,
			   unsigned n)
{
	bool chunked = conn->minor_version > 0;
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += pieces[i].len;
	if (chunked && total)
		xn_buf_printf(xn_http_output(conn), "%zx\r\n", total);
	xn_http_output_pieces(conn, pieces, n);
	if (chunked)
		xn_buf_add_string(xn_http_output(conn), total ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
}

void xn_http_reply_pieces(struct xn_http_conn *conn, int status, const char *content_type,
			  const char *headers, const struct xn_http_piece *pieces, unsigned n)
{
	bool begun;
	size_t total = 0;

	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	if (conn->state == XN_CONN_CLOSED) {
		/* The peer is gone and this handler did not ask to be told. */
	} else if (xn_http_stream_has_begun(conn)) {
		/* The head is out: what follows can only be the stream's last bytes. */
		for (unsigned i = 0; i < n; i++)
			xn_http_stream_write(conn, pieces[i].data, pieces[i].len);
		xn_http_stream_end(conn, true);
		xn_http_output_end(conn, begun);
		xn_http_conn_leave(conn);
		return;
	} else if (conn->waiting_sent) {
		finish_waiting(conn, pieces, n);
	} else {
		for (unsigned i = 0; i < n; i++)
			total += pieces[i].len;
		if (conn->stream && !xn_http_stream_input_is_over(conn))
			conn->keep_alive = false;
		xn_http_add_head(conn, status, content_type, headers, (int64_t)total);
		if (!conn->is_head)
			xn_http_output_pieces(conn, pieces, n);
	}
	xn_http_conn_answered(conn);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

void xn_http_reply(struct xn_http_conn *conn, int status, const char *content_type,
		   const char *headers, const void *body, size_t len)
{
	struct xn_http_piece piece = {body, len};

	xn_http_reply_pieces(conn, status, content_type, headers, &piece, 1);
}

void xn_http_reply_error(struct xn_http_conn *conn, int status)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "%d %s\n", status, status_text(status));

	xn_http_reply(conn, status, "text/plain", NULL, text, (size_t)len);
}

void xn_http_keep_waiting(struct xn_http_conn *conn, const char *content_type, const char *headers)
{
	bool begun;

	if (conn->state == XN_CONN_CLOSED || conn->is_head)
		return;
	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	if (!conn->waiting_sent) {
		/* To the end of file is the only framing that HTTP/1.0 has for this. */
		if (conn->minor_version == 0)
			conn->keep_alive = false;
		xn_http_add_head(conn, 200, content_type, headers,
				 conn->minor_version > 0 ? XN_HTTP_LENGTH_CHUNKED : XN_HTTP_LENGTH_NONE);
		conn->waiting_sent = true;
	}
	/* A reader that is so slow gets its spaces later; they must not pile up. */
	if (!conn->out.len)
		xn_buf_add_string(xn_http_output(conn), conn->minor_version > 0 ? "1\r\n \r\n" : " ");
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}
