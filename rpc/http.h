/*
 * HTTP/1.1 server on plain loop descriptors: listeners (TCP, Unix socket; TLS later behind the same
 * transport struct), connections, keep-alive, routing by method and longest path prefix. Four kinds of
 * handler: whole body in and one reply out; stream out; stream in (200 before the body); taken-over socket.
 */
#ifndef XN_HTTP_H
#define XN_HTTP_H

#include "core/buf.h"
#include "core/call.h"
#include "core/module.h"

struct xn_http;	     /* the server */
struct xn_http_conn; /* one connection */

struct xn_http_request {
	const char *method, *path; /* path decoded once, without the query; both terminated */
	const char *query;	   /* raw, without '?'; "" when absent */
	const char *body;	   /* whole (reply handlers only); not terminated */
	size_t body_len;
	int minor_version; /* HTTP/1.x */
	bool keep_alive;
	const char *peer;	 /* "10.0.0.5:41234" or "unix" */
	bool peer_is_trusted;	 /* Unix socket, root or the daemon's own user */
	struct xn_http_conn *conn;
};
/* Header, query or cookie value, decoded; borrowed until the handler returns. NULL: absent. */
const char *xn_http_header(const struct xn_http_request *req, const char *name);
const char *xn_http_query(const struct xn_http_request *req, const char *name);
const char *xn_http_cookie(const struct xn_http_request *req, const char *name);

enum xn_http_kind { XN_HTTP_REPLY, XN_HTTP_STREAM_OUT, XN_HTTP_STREAM_IN, XN_HTTP_TAKE_OVER };

struct xn_http_route {
	const char *method; /* "POST" */
	const char *path;   /* matches itself and, when prefix, everything below; "" = any path */
	bool prefix;
	enum xn_http_kind kind;
	size_t max_body; /* 413 beyond; 0: none allowed */
	/* Called when the whole request (REPLY) or its head (other kinds) is there. It answers now or
	 * later through conn, in one of the ways below; pipelined requests wait meanwhile. */
	void (*run)(const struct xn_http_request *req, void *arg);
};
void xn_http_add_route(struct xn_http *http, const struct xn_http_route *route, void *arg);

/*
 * One reply. @headers: extra header lines, each ended by CRLF, or NULL. @body is copied into the
 * connection's output or written at once. Content-Length is added; keep-alive as the request asked.
 */
void xn_http_reply(struct xn_http_conn *conn, int status, const char *content_type,
		   const char *headers, const void *body, size_t len);
/* The same with up to 3 body pieces, so that a large cached middle is not copied twice. */
struct xn_http_piece { const void *data; size_t len; };
void xn_http_reply_pieces(struct xn_http_conn *conn, int status, const char *content_type,
			  const char *headers, const struct xn_http_piece *pieces, unsigned n);
/* A reply that takes long: headers and white space now, so that the client does not hang up; the body
 * follows with xn_http_reply (its status and headers are then ignored, chunked on HTTP/1.1). */
void xn_http_keep_waiting(struct xn_http_conn *conn, const char *content_type, const char *headers);

/* Told once when the connection ends before the reply was given; then conn is gone. */
void xn_http_on_close(struct xn_http_conn *conn, void (*closed)(void *arg), void *arg);

/* ---- streams (XN_HTTP_STREAM_OUT, XN_HTTP_STREAM_IN), with back-pressure ---- */
/* @length: -1 unknown: chunked on HTTP/1.1, to EOF on 1.0. want() is called when output may be added. */
void xn_http_stream_begin(struct xn_http_conn *conn, int status, const char *headers, int64_t length,
			  void (*want)(struct xn_http_conn *conn, void *arg), void *arg);
void xn_http_stream_write(struct xn_http_conn *conn, const void *data, size_t len);
void xn_http_stream_end(struct xn_http_conn *conn, bool ok); /* !ok: cuts the connection */
/* data() gets body bytes as they come, len 0 at the end (declared length reached or EOF); returns how
 * many it takes now: fewer stops reading until xn_http_stream_resume(). Own end mark: xn_http_reply or _end. */
void xn_http_stream_read(struct xn_http_conn *conn,
			 size_t (*data)(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg),
			 void *arg);
void xn_http_stream_resume(struct xn_http_conn *conn);
/* XN_HTTP_TAKE_OVER: after the 101/200 the descriptor is the caller's, with bytes read ahead. */
int xn_http_take_over(struct xn_http_conn *conn, struct xn_buf *read_ahead);

/* ---- server ---- */
struct xn_http *xn_http_new(struct xn_core *core);
void xn_http_free(struct xn_http *http);
/* @addr: "127.0.0.1:80", "[::1]:8080"; port 0 picks one. -1 with @err. */
int xn_http_listen_tcp(struct xn_http *http, const char *addr, struct xn_error *err);
int xn_http_listen_unix(struct xn_http *http, const char *path, struct xn_error *err);
/* Addresses being served, for the ready line; borrowed, NULL-terminated. */
const char *const *xn_http_addresses(const struct xn_http *http);
/* Stops accepting; replies under way are sent; then all is closed. */
void xn_http_drain(struct xn_http *http);

#endif
