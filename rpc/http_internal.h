/*
 * What the files of the HTTP server share. Bytes go: http_conn.c reads and cuts them into requests,
 * http_server.c routes, a handler answers, http_reply.c writes; http_stream.c is for bodies that do
 * not fit in memory. Nothing here is reached from outside but through http.h.
 */
#ifndef XN_HTTP_INTERNAL_H
#define XN_HTTP_INTERNAL_H

#include <sys/types.h>
#include <sys/uio.h>

#include "core/list.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "core/module.h"
#include "core/slab.h"
#include "rpc/http.h"
#include "rpc/http_parse.h"
#include "rpc/tls.h"

/*
 *            +--------------------------------+
 *            v                                |
 *   HEAD --> RUNNING --(answered, kept)-------+
 *    | ^        |
 *    v |        +-------(answered, last)----> LINGER --> CLOSED
 *   BODY --> RUNNING                             ^          ^
 *    +------------------(refused)----------------+          |
 *   any --------------(peer gone, too slow)-----------------+
 */
enum xn_http_state {
	XN_CONN_HEAD,	 /* waiting for a request, or for the rest of its head */
	XN_CONN_BODY,	 /* for the rest of a body that is wanted whole */
	XN_CONN_RUNNING, /* a handler has the request */
	XN_CONN_LINGER,	 /* last bytes written; reads until the peer has closed too */
	XN_CONN_CLOSED,	 /* no descriptor; the struct waits until nobody holds it */
	XN_CONN_STATES
};

/* Where a connection came in. */
enum xn_http_door { XN_DOOR_TCP, XN_DOOR_TLS, XN_DOOR_UNIX, XN_N_DOORS };

/* Times and sizes, from the configuration; per server so that tests need not wait. */
struct xn_http_limits {
	int64_t head_idle_us, head_total_us; /* the first byte of a new connection too */
	int64_t handshake_us;		     /* from the connection's first moment on */
	int64_t body_idle_us, body_total_us;
	int64_t kept_us;   /* between requests of a kept connection */
	int64_t write_us;  /* without progress */
	int64_t linger_us; /* for the peer's close after ours */
	int64_t grace_us;  /* for the answer after the peer's end of file */
	int64_t drain_us;
	int64_t sweep_us; /* how often the others are looked at */
	unsigned max_open, max_door[XN_N_DOORS];
	unsigned max_strangers[XN_N_DOORS]; /* connections that showed no session yet */
	size_t max_strangers_bytes; /* buffered for all of them */
	size_t max_head; /* at most XN_HTTP_MAX_HEAD */
};
/* @config NULL: the defaults. */
void xn_http_limits_read(struct xn_http_limits *limits, const struct xn_config *config);
/* False: the limit of open files allows fewer connections, and that is the limit now. */
bool xn_http_limits_fit(struct xn_http_limits *limits);

/* How bytes get through. read and write as read(2) and sendmsg(2). */
struct xn_http_transport {
	ssize_t (*read)(struct xn_http_conn *conn, void *to, size_t len);
	ssize_t (*write)(struct xn_http_conn *conn, const struct iovec *iov, int n);
};

struct xn_http_stream; /* http_stream.c */

/* What a connection without a session does, in the order in which such go for somebody else. */
enum xn_http_stranger {
	XN_STRANGER_KEPT,  /* it is between requests */
	XN_STRANGER_SENDS, /* it has not said yet what it wants */
	XN_STRANGER_READS, /* it has not read the whole answer */
	XN_STRANGER_KINDS
};

struct xn_http_conn {
	struct xn_http *http;
	struct xn_list link; /* in http->kept, ->timed or ->untimed */
	struct xn_list stranger; /* in http->strangers, unless its request is being answered */
	int64_t filed_us;	 /* there */
	struct xn_io *io;
	const struct xn_http_transport *transport;
	struct xn_tls_conn *tls; /* or NULL */
	int fd;
	uint8_t state;	      /* enum xn_http_state */
	uint8_t door;	      /* enum xn_http_door */
	uint8_t events;	      /* that io waits for */
	uint8_t minor_version; /* of the request under way */
	bool is_trusted : 1, is_authenticated : 1;
	bool is_new : 1;	 /* no request yet */
	bool keep_alive : 1;	 /* after this answer, if nothing else speaks against it */
	bool closing : 1;	 /* LINGER as soon as the output is out */
	bool is_head : 1;	 /* HEAD: the answer has no body */
	bool waiting_sent : 1;	 /* xn_http_keep_waiting() was called */
	bool end_of_input : 1;	 /* read */
	bool broken : 1;	 /* a write failed: closed as soon as nobody is at work on it */
	bool held : 1;		 /* closed, but a handler without on_close still has to answer */
	bool stalled : 1;	 /* in may hold whole requests that wait for their turn */
	bool in_kept : 1;	 /* of http->kept */
	bool continue_sent : 1;
	bool is_shaking : 1;	 /* TLS: the handshake is not over */
	bool wrote : 1;		 /* output, since the deadline was looked at */
	bool awaits_reader : 1;	 /* the deadline is the one for that */
	uint8_t depth; /* of our functions on the stack: not freed before they return */
	struct xn_buf in; /* what was read and not used; empty between requests */
	struct xn_buf out;
	size_t out_done;  /* bytes of out that are written */
	size_t need;	  /* BODY: bytes of the whole request; chunked: of the body so far */
	size_t body_seen; /* chunked, BODY: bytes after the head that chunks has read */
	struct xn_http_chunks chunks;
	int64_t deadline_us;	  /* in http->kept or ->timed */
	int64_t request_since_us; /* its first byte, or accept; 0: none */
	size_t charged;		  /* in http->buffered for this connection */
	size_t lingered;	  /* bytes thrown away */
	void (*closed)(void *arg);
	void *closed_arg;
	struct xn_http_stream *stream;
	struct xn_job job; /* goes on with what was read */
	char peer[56];
};

struct xn_http_entry { /* a route as registered */
	const struct xn_http_route *route;
	void *arg;
	size_t path_len;
};

struct xn_http_listener;

struct xn_http {
	struct xn_core *core;
	struct xn_http_limits limits;
	struct xn_slab conns;
	struct xn_list kept;	/* between requests, the longest idle first */
	struct xn_list timed;	/* others with a deadline */
	struct xn_list untimed; /* a handler is at work */
	/* Who moved least recently first: at a full door the next to go is found without a walk. */
	struct xn_list strangers[XN_N_DOORS][XN_STRANGER_KINDS];
	struct xn_list gone;	/* closed, and a handler without on_close still has to answer */
	struct xn_timer sweep;
	unsigned n_open, n_kept;
	unsigned n_door[XN_N_DOORS], n_strangers[XN_N_DOORS]; /* TLS: with those taken over */
	struct xn_tls *tls; /* NULL: no such listener */
	struct xn_list relays; /* taken over behind TLS */
	size_t strangers_bytes;
	bool draining;
	int reserve_fd; /* given up for a moment when descriptors run out */
	/* Output of the connection that is being served, so that its pipelined answers leave in one
	 * write and an idle connection owns no buffer. */
	struct xn_http_conn *active;
	struct xn_buf out;
	char *scratch; /* XN_HTTP_SCRATCH bytes that reads go to */
	int64_t date_s;
	char date[40]; /* "Date: ...\r\n" of that second */
	unsigned date_len;
	struct xn_http_entry *entries;
	size_t n_entries;
	struct xn_http_listener **listeners;
	size_t n_listeners;
	const char **addresses; /* NULL-terminated */
	struct xn_http_stats stats;
	struct xn_metrics_source metrics;
	size_t freed; /* bytes, since the last trim was planned */
	struct xn_timer trim;
};

enum {
	XN_HTTP_SCRATCH = 65536,
	XN_HTTP_BATCH = 32,	       /* pipelined requests answered in one go */
	XN_HTTP_BATCH_BYTES = 131072,  /* or bytes of their answers */
	XN_HTTP_COPY_MAX = 16384,      /* larger bodies are written from where they are */
	XN_HTTP_AHEAD_MAX = 65536,     /* read while a handler is at work */
	XN_HTTP_LINGER_MAX = 1048576,
};

/* http_server.c */
struct xn_http_target {
	const struct xn_http_route *route;
	void *arg;
};
/* Always finds one: 404, 405 and OPTIONS are routes too. */
struct xn_http_target xn_http_route(struct xn_http *http, const char *method, const char *path);
void xn_http_plan_sweep(struct xn_http *http);

/* http_trim.c */
void xn_http_count_freed(struct xn_http *http, size_t bytes);

/* http_limits.c */
void xn_http_add_metrics(struct xn_http *http);

/* http_conn.c */
/* Serves @fd, non-blocking and connected; taken. @peer: for the log and the callers. */
struct xn_http_conn *xn_http_conn_new(struct xn_http *http, int fd, enum xn_http_door door,
				      bool is_trusted, const char *peer);
void xn_http_conn_close(struct xn_http_conn *conn); /* frees, unless somebody still holds it */
void xn_http_conn_enter(struct xn_http_conn *conn); /* around whatever may end the connection */
void xn_http_conn_leave(struct xn_http_conn *conn);
void xn_http_conn_set_state(struct xn_http_conn *conn, enum xn_http_state state);
/* The answer is complete: on to the next request, or to the end. */
void xn_http_conn_answered(struct xn_http_conn *conn);
void xn_http_conn_on_deadline(struct xn_http_conn *conn);

/* http_reply.c */
enum { XN_HTTP_LENGTH_NONE = -1, XN_HTTP_LENGTH_CHUNKED = -2 };
bool xn_http_output_begin(struct xn_http_conn *conn); /* pairs with _end, which gets the result */
void xn_http_output_end(struct xn_http_conn *conn, bool begun);
struct xn_buf *xn_http_output(struct xn_http_conn *conn); /* where answers are added */
void xn_http_output_pieces(struct xn_http_conn *conn, const struct xn_http_piece *pieces,
			   unsigned n);
/* Writes what waits; whether all is out. Sets broken on failure. */
bool xn_http_output_flush(struct xn_http_conn *conn);
void xn_http_output_flush_now(struct xn_http_conn *conn); /* and what is shared */
static inline size_t xn_http_output_left(const struct xn_http_conn *conn)
{
	return conn->out.len - conn->out_done;
}
void xn_http_add_head(struct xn_http_conn *conn, int status, const char *content_type,
		      const char *headers, int64_t length);
void xn_http_reply_error(struct xn_http_conn *conn, int status); /* then closes, unless kept */
extern const struct xn_http_transport xn_http_plain, xn_http_over_tls;

/* http_stream.c */
void xn_http_stream_open(struct xn_http_conn *conn, enum xn_http_kind kind,
			 const struct xn_http_head *head);
void xn_http_stream_close(struct xn_http_conn *conn); /* NULL stream is fine */
bool xn_http_stream_reads(const struct xn_http_conn *conn); /* the socket, now */
bool xn_http_stream_is_in(const struct xn_http_conn *conn);
bool xn_http_stream_awaits_peer(const struct xn_http_conn *conn); /* for the next bytes of its body */
/* The same, and how long it was already waited for since its last bytes that count. To be called
 * whenever waiting may have begun or ended. */
bool xn_http_stream_book_waiting(struct xn_http_conn *conn, int64_t now_us, int64_t *awaited_us);
bool xn_http_stream_input_is_over(const struct xn_http_conn *conn);
bool xn_http_stream_has_work(const struct xn_http_conn *conn);
void xn_http_stream_work(struct xn_http_conn *conn); /* feeds data(), calls want() */
bool xn_http_stream_has_begun(const struct xn_http_conn *conn);

#endif
