/*
 * HTTP/1.1 server on plain loop descriptors: listeners (TCP, TLS, Unix socket), connections,
 * keep-alive, routing by method and longest path prefix. Four kinds of handler: whole body in and
 * one reply out; stream out; stream in (200 before the body); taken-over socket.
 *
 * Who may touch a connection: between run() and the answer (xn_http_reply, xn_http_stream_end,
 * xn_http_take_over, or the on_close callback, whichever comes first) it is the handler's;
 * afterwards it must not be touched.
 */
#ifndef XN_HTTP_H
#define XN_HTTP_H

#include "core/base.h"
#include "core/buf.h"

struct xn_core;
struct xn_error;
struct xn_http;	     /* the server */
struct xn_http_conn; /* one connection */
struct xn_tls_identity;

struct xn_http_request {
	const char *method, *path; /* path decoded once, without the query; both terminated */
	const char *query;	   /* raw, without '?'; "" when absent */
	const char *body;	   /* whole (reply handlers only); not terminated */
	size_t body_len;
	int64_t body_length; /* stream in: the declared length; -1: chunked, or until EOF */
	int minor_version;   /* HTTP/1.x */
	bool keep_alive;
	const char *peer;	 /* "10.0.0.5:41234", "unix"; of a user not trusted "unix-1000" */
	bool peer_is_trusted;	 /* Unix socket, root or the daemon's own user */
	bool is_over_tls;
	struct xn_http_conn *conn;
};
/* Header, query or cookie value, decoded; borrowed until the handler returns. NULL: absent. */
const char *xn_http_header(const struct xn_http_request *req, const char *name);
const char *xn_http_query(const struct xn_http_request *req, const char *name);
const char *xn_http_cookie(const struct xn_http_request *req, const char *name);

/* Where the peer reached us: "10.0.0.1:80", "" by the Unix socket. */
void xn_http_local_address(const struct xn_http_conn *conn, char *out, size_t size);

/* A copy that outlives the handler's return, for an answer that comes later. */
struct xn_http_request *xn_http_keep_request(const struct xn_http_request *req);
void xn_http_drop_request(struct xn_http_request *kept); /* NULL is fine */

enum xn_http_kind { XN_HTTP_REPLY, XN_HTTP_STREAM_OUT, XN_HTTP_STREAM_IN, XN_HTTP_TAKE_OVER };

struct xn_http_route {
	const char *method; /* "POST"; HEAD is answered by GET's reply handlers */
	/* Matches itself and, when prefix, everything below. "" takes what no route of any method
	 * knows, and "/" too when that has no route of this method. */
	const char *path;
	bool prefix;
	enum xn_http_kind kind;
	size_t max_body; /* 413 beyond; 0: none allowed. Stream in: no limit */
	/* Called when the whole request (REPLY; TAKE_OVER with max_body) or its head (else) is
	 * there. It answers now or later through conn, in one of the ways below; pipelined requests
	 * wait meanwhile. */
	void (*run)(const struct xn_http_request *req, void *arg);
};
/* @route stays the caller's and must outlive the server. */
void xn_http_add_route(struct xn_http *http, const struct xn_http_route *route, void *arg);
/* Every route that was added with @arg. What they have begun still has to be answered. */
void xn_http_remove_routes(struct xn_http *http, const void *arg);

/*
 * One reply. @headers: extra header lines, each ended by CRLF, or NULL. @body is copied into the
 * connection's output or written at once. Content-Length is added; keep-alive as the request asked.
 */
void xn_http_reply(struct xn_http_conn *conn, int status, const char *content_type,
		   const char *headers, const void *body, size_t len);
/* The same with up to 3 body pieces, so that a large cached middle is not copied twice. */
struct xn_http_piece { const void *data; size_t len; };
enum { XN_HTTP_MAX_PIECES = 3 };
void xn_http_reply_pieces(struct xn_http_conn *conn, int status, const char *content_type,
			  const char *headers, const struct xn_http_piece *pieces, unsigned n);
/* A reply that takes long: headers and white space now, so that the client does not hang up; the
 * body follows with xn_http_reply (its status and headers are then ignored, chunked on HTTP/1.1).
 * Called again it sends one more space: clients count the seconds since the last byte. */
void xn_http_keep_waiting(struct xn_http_conn *conn, const char *content_type, const char *headers);

/* Told once when the connection ends before the reply was given; then conn is gone. */
void xn_http_on_close(struct xn_http_conn *conn, void (*closed)(void *arg), void *arg);

/* Ends the connection without an answer; on_close is told. */
void xn_http_cut(struct xn_http_conn *conn);

/* The peer showed a valid session, or logged in: its connection leaves the caps on strangers. */
void xn_http_set_authenticated(struct xn_http_conn *conn);
bool xn_http_is_authenticated(const struct xn_http_conn *conn);

/* ---- streams (XN_HTTP_STREAM_OUT, XN_HTTP_STREAM_IN), with back-pressure ---- */
/* Handlers of whole bodies may answer so, too. @length: -1 unknown: chunked on HTTP/1.1, to EOF on 1.0.
 * After xn_http_keep_waiting() what is given here is ignored. want() is called, from the loop, each
 * time that output may be added; NULL for none. */
void xn_http_stream_begin(struct xn_http_conn *conn, int status, const char *headers,
			  int64_t length, void (*want)(struct xn_http_conn *conn, void *arg),
			  void *arg);
/* All of @data is taken; a source that keeps to want() has at most one piece waiting here. */
void xn_http_stream_write(struct xn_http_conn *conn, const void *data, size_t len);
/* Of what was written, not all is out: want() will come. */
bool xn_http_stream_is_waiting(const struct xn_http_conn *conn);
void xn_http_stream_end(struct xn_http_conn *conn, bool ok); /* !ok: cuts the connection */
/* data() gets body bytes as they come, from the loop; returns how many it takes now: fewer stops
 * reading until xn_http_stream_resume(). Once with len 0 at the end: declared length reached, last
 * chunk, or EOF; see xn_http_stream_was_cut(). Own end mark: xn_http_reply or _end at any time. */
void xn_http_stream_read(struct xn_http_conn *conn,
			 size_t (*data)(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg),
			 void *arg);
void xn_http_stream_resume(struct xn_http_conn *conn);
/* The peer's silence ends its connection (http-body-idle) from xn_http_stream_read() on, while it is
 * read for. Not while the sink is @busy with what it has taken: then nobody waits for the peer. */
void xn_http_stream_set_busy(struct xn_http_conn *conn, bool busy);
/* EOF came before the declared length or the last chunk. */
bool xn_http_stream_was_cut(const struct xn_http_conn *conn);
/*
 * xn_http_take_over - end of HTTP on this connection (XN_HTTP_TAKE_OVER)
 * @status: of the answer that is sent first; 0: none, the protocol starts at once
 * @headers: extra header lines, or NULL
 * @read_ahead: gets what the peer sent behind its request
 *
 * Return: the descriptor (non-blocking), the caller's; or -errno. conn is gone either way. Of a TLS
 * connection it is one end of a socket pair that stands for it.
 */
int xn_http_take_over(struct xn_http_conn *conn, int status, const char *headers,
		      struct xn_buf *read_ahead) XN_MUST_CHECK;

/* ---- server ---- */
struct xn_http *xn_http_new(struct xn_core *core);
/* Closes everything; on_close callbacks are called. */
void xn_http_free(struct xn_http *http);
/* @addr: "127.0.0.1:80", "[::1]:8080", "localhost:80"; port 0 picks one. -1 with @err. */
int xn_http_listen_tcp(struct xn_http *http, const char *addr, struct xn_error *err) XN_MUST_CHECK;
/* The same with TLS. Nobody is accepted before there is a certificate; who comes waits meanwhile. */
int xn_http_listen_tls(struct xn_http *http, const char *addr, struct xn_error *err) XN_MUST_CHECK;
/* What new connections are shown from now on; taken. Older ones go on with theirs. */
void xn_http_use_identity(struct xn_http *http, struct xn_tls_identity *identity);
/* Mode 0600; a missing folder is made; a socket file that nobody listens on is replaced. */
int xn_http_listen_unix(struct xn_http *http, const char *path, struct xn_error *err) XN_MUST_CHECK;
/* Addresses being served, for the ready line; borrowed, NULL-terminated. */
const char *const *xn_http_addresses(const struct xn_http *http);
/*
 * Stops accepting; requests under way are answered, at most for 500 ms; then all is closed. Turns
 * the loop itself, so it is called outside of the loop's callbacks (from a module's stop). Whoever
 * holds long waits (event.from) cuts them first.
 */
void xn_http_drain(struct xn_http *http);

struct xn_http_stats {
	unsigned open, open_unix, open_tls, idle; /* connections now */
	uint64_t accepted;
	uint64_t refused;   /* at a cap, or out of descriptors */
	uint64_t evicted;   /* closed, being the oldest idle one, to make room */
	uint64_t timed_out; /* too slow to send or to read */
	uint64_t requests, bad_requests;
	uint64_t replies[6]; /* by hundreds of the status */
	uint64_t bytes_in, bytes_out;
	size_t buffered; /* waiting in connections' own buffers, in and out */
};
void xn_http_stats(const struct xn_http *http, struct xn_http_stats *out);

#endif
