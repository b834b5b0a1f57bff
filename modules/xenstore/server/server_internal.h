/* What the server's files share. */
#ifndef XN_XENSTORE_SERVER_INTERNAL_H
#define XN_XENSTORE_SERVER_INTERNAL_H

#include "modules/xenstore/server/server.h"
#include "modules/xenstore/wire.h"

enum {
	/* Taken from a link at once, and carried out at most in one go; then others have a turn. */
	XN_XS_READ_SIZE = 16384,
	XN_XS_REQUESTS_A_TURN = 64,
	/* A guest's turn ends with the request that passes this: about what one request of the
	 * control domain takes with all its system calls, which may be waiting. */
	XN_XS_GUEST_TURN_US = 20,
	XN_XS_MODEST_REQUESTS = 8, /* of a peer that is served at once the next time, too */
	/* Unsent bytes of a connection beyond which no more requests and events are taken. */
	XN_XS_UNSENT_SOCKET = 65536,
	XN_XS_UNSENT_GUEST = 8192,
	XN_XS_WIRE_TYPES = XN_XS_WIRE_SET_QUOTA + 1,
};

/* The connections of one domain, which share its turns. */
struct xn_xs_share {
	struct xn_hnode node;
	uint64_t birth; /* of the domain */
	struct xn_list turn; /* in server->turns while one of its connections has work left */
	struct xn_list work; /* those connections, the next one first */
	unsigned n_connections;
};

struct xn_xs_server {
	struct xn_core *core;
	struct xn_xs_store *store;
	struct xn_xs_journal *journal;
	struct xn_xs_host *host;
	struct xn_xs_listener *listener;
	struct xn_list connections;
	unsigned n_connections, n_sockets, most_sockets;
	unsigned long last_id;
	struct xn_hmap shares;
	struct xn_list turns; /* shares with work left, the next one first */
	struct xn_job work;
	struct xn_list dirty; /* connections with bytes to send that nobody sends */
	struct xn_job flush;
	bool is_logging; /* "log on": each request, in the daemon's log */
	/* Used inside one turn only. */
	char in[XN_XS_FRAME_HEADER + XN_XS_BODY_MAX + XN_XS_READ_SIZE];
	struct xn_buf out, scratch;
	/* Counted for the metrics. */
	uint64_t n_requests[XN_XS_WIRE_TYPES], n_unknown, n_errors[XN_XS_ERRORS];
	uint64_t n_soft, n_hard;
	int64_t hard_told_us;
	struct xn_histogram wait_times, turn_times;
	uint64_t n_events, n_refused, n_stalls, n_broken, n_held;
};

struct xn_xs_connection {
	struct xn_list all;  /* the server's */
	struct xn_list work; /* its share's, while there is more to carry out */
	struct xn_list dirty;
	struct xn_xs_server *server;
	struct xn_xs_share *share;
	struct xn_xs_domain *domain;
	struct xn_xs_conn *conn; /* the store's */
	struct xn_xs_link *link;
	struct xn_buf in;  /* taken, and not carried out yet */
	struct xn_buf out; /* not sent yet, from out_from on */
	size_t out_from, most_unsent, charged;
	uint32_t out_at; /* the link's position behind all that is queued */
	bool is_kept;	 /* recorded in the journal */
	bool is_busy;	 /* inside a call that uses it: it is freed when that ends */
	bool is_over;
	bool is_greedy; /* brought many requests the last time */
	bool is_held; /* its next request begins a transaction that must wait */
	bool has_whole; /* the start of `in` is a whole request */
	bool has_more;	/* the link may have more */
	bool wants_input, wants_output;
	uint64_t n_requests;
	unsigned long id;
	struct xn_timer hold;
	int64_t waits_since_us; /* in its share's work */
};

/* ---- requests.c ---- */
struct xn_xs_call {
	struct xn_xs_connection *connection;
	struct xn_xs_frame frame;
	struct xn_buf *reply; /* a handler appends its reply's body */
};
/* Carries out one request and appends its reply's frame to @out. */
void xn_xs_serve(struct xn_xs_connection *connection, const struct xn_xs_frame *frame,
		 struct xn_buf *out);
const char *xn_xs_wire_name(uint32_t type); /* "read"; NULL: no such */
bool xn_xs_wire_is_change(uint32_t type);    /* of what others may watch */

int xn_xs_reply_ok(struct xn_xs_call *call);
/* The body's strings, @most of them; how many there are, or more than @most. */
size_t xn_xs_call_strings(const struct xn_xs_call *call, const char **out, size_t most);

/* ---- quota.c ---- */
void xn_xs_quota_configure(struct xn_xs_server *server);
int xn_xs_do_get_quota(struct xn_xs_call *call);
int xn_xs_do_set_quota(struct xn_xs_call *call);
/* 0, -EINVAL: no number, -ENOENT: no such domain. */
int xn_xs_quota_domain(const struct xn_xs_server *server, const char *domid,
		       struct xn_xs_domain **out);
/* @domain: NULL: for all that have none of their own. -EINVAL */
int xn_xs_quota_set(struct xn_xs_server *server, struct xn_xs_domain *domain, const char *name,
		    const char *value);
void xn_xs_quota_list(const struct xn_xs_server *server, bool soft, struct xn_buf *out);
void xn_xs_quota_list_domain(const struct xn_xs_domain *domain, struct xn_buf *out);

/* ---- control.c ---- */
int xn_xs_control(struct xn_xs_call *call);

/* ---- connection.c ---- */
void xn_xs_connection_turn(struct xn_xs_connection *connection); /* may free it */
void xn_xs_connection_flush(struct xn_xs_connection *connection); /* may free it */
/* Its peer begins anew: nothing of what was hangs on it any more. */
void xn_xs_connection_reset(struct xn_xs_connection *connection);

/* ---- kept.c: what the journal is told of a connection that outlives a crash; else nothing ---- */
void xn_xs_kept_begin(struct xn_xs_connection *connection);
void xn_xs_kept_end(struct xn_xs_connection *connection);
/* Input up to position @at is done with but for @partial, the start of a request. */
void xn_xs_kept_input(struct xn_xs_connection *connection, uint32_t at, const void *partial,
		      size_t len);
/* Bytes were queued, with so many of the store's events. Before they can be seen. */
void xn_xs_kept_output(struct xn_xs_connection *connection, const void *bytes, size_t len,
		       unsigned events);
/* The link has all bytes up to its out_at. */
void xn_xs_kept_sent(struct xn_xs_connection *connection);
void xn_xs_kept_watch(struct xn_xs_connection *connection, const char *path, const char *token,
		      int depth);
/* Both NULL: all of them. */
void xn_xs_kept_unwatch(struct xn_xs_connection *connection, const char *path, const char *token);
void xn_xs_kept_transaction(struct xn_xs_connection *connection, uint32_t id);

/* ---- server.c ---- */
void xn_xs_share_join(struct xn_xs_connection *connection);
void xn_xs_share_leave(struct xn_xs_connection *connection);
void xn_xs_share_work(struct xn_xs_connection *connection); /* it has more to carry out */
void xn_xs_server_flush(struct xn_job *job);

/* ---- socket.c ---- */
void xn_xs_listener_free(struct xn_xs_listener *listener); /* NULL is fine */

#endif
