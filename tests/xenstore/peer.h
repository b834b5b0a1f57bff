/*
 * A client of the xenstore's server whose link (server/link.h) is memory: what it sends lies there
 * until the server takes it, and the server's bytes come as far as there is room for them. With the
 * daemon around it, on a virtual loop: the store and the server, without files, sockets and guests.
 */
#ifndef XN_TEST_XENSTORE_PEER_H
#define XN_TEST_XENSTORE_PEER_H

#include "core/module.h"
#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/server/ring_table.h"
#include "modules/xenstore/server/ring_twin.h"
#include "modules/xenstore/server/server.h"
#include "modules/xenstore/wire.h"

struct peer_daemon {
	struct xn_core core;
	struct xn_xs_store *store;
	struct xn_xs_journal *journal; /* or NULL */
	struct xn_xs_server *server;
	struct xn_xs_carrier *twin; /* of guests' rings; NULL: there are none */
	struct xn_xs_rings *rings;
	struct xn_list peers;
	struct xn_job deliver;
	bool is_dead; /* killed, though its memory is still there: nothing of it is heard any more */
	/* Something is about to happen that others could see. Or NULL. */
	void (*at)(void *arg);
	void *arg;
};
void peer_daemon_start(struct peer_daemon *d);
/* With a journal, and with rings. xn_xs_rings_start() is left to the caller. */
void peer_daemon_start_on(struct peer_daemon *d, struct xn_xs_media *media);
/* With the peers that are left. */
void peer_daemon_stop(struct peer_daemon *d);
void peer_daemon_settle(struct peer_daemon *d); /* until nothing is left to do */
/* A domain that is introduced, with a directory of its own, as a toolstack leaves it. */
struct xn_xs_domain *peer_daemon_guest(struct peer_daemon *d, uint32_t domid);

struct peer {
	struct xn_xs_link link;
	struct xn_list at; /* the daemon's */
	struct peer_daemon *daemon;
	struct xn_xs_connection *connection; /* NULL: the server has closed it */
	struct xn_buf to_server, from_server;
	size_t n_sent;		       /* of to_server, by the server */
	size_t n_taken;		       /* of from_server, by this side */
	size_t room;		       /* so many unread bytes are accepted */
	size_t gulp, trickle;	       /* at most so many in one read, one write; 0: all */
	bool wants_input, wants_output;
	struct xn_xs_twin_guest *guest; /* it speaks by this one's ring instead; it is no connection's */
	struct xn_job ready;
	uint32_t last_request;
};
struct peer *peer_new(struct peer_daemon *d, struct xn_xs_domain *domain);
/* A guest that is introduced already, at its ring. */
struct peer *peer_new_ring(struct peer_daemon *d, uint32_t domid);
void peer_free(struct peer *peer); /* hangs up; NULL is fine */
void peer_set_room(struct peer *peer, size_t room); /* and says so to the server */
/* Bytes as they are. */
void peer_put(struct peer *peer, const void *bytes, size_t len);
/* A request with the body @len bytes of @body; its number. */
uint32_t peer_send(struct peer *peer, uint32_t type, uint32_t tx, const void *body, size_t len);

struct peer_frame {
	uint32_t type, request, tx, len;
	char body[XN_XS_BODY_MAX + 1]; /* terminated */
};
/* What has come, oldest first. */
bool peer_take(struct peer *peer, struct peer_frame *out);
/* The same, but events only; the others stay. */
bool peer_take_event(struct peer *peer, struct peer_frame *out);
/* Sends, runs the daemon, and takes the answer to this request: 0 or -errno. -ENOTCONN: none. */
int peer_call(struct peer *peer, uint32_t type, uint32_t tx, const void *body, size_t len,
	      struct peer_frame *out);

/* The answer to a request that was sent. */
int peer_wait(struct peer *peer, uint32_t request, uint32_t type, uint32_t tx,
	      struct peer_frame *out);
bool peer_pump(struct peer *peer); /* what a ring has room for, and has; whether there was any */

/* Common requests. Strings of a body one behind the other, each with its NUL: "a\0b" */
#define PEER_BODY(text) (text), sizeof(text)
int peer_write(struct peer *peer, uint32_t tx, const char *path, const char *value);
int peer_read(struct peer *peer, uint32_t tx, const char *path, struct peer_frame *out);
int peer_rm(struct peer *peer, uint32_t tx, const char *path);
int peer_list(struct peer *peer, uint32_t tx, const char *path, struct peer_frame *out);
int peer_set_perms(struct peer *peer, uint32_t tx, const char *path, const char *perms); /* "n1 r2" */
int peer_watch(struct peer *peer, const char *path, const char *token);
uint32_t peer_begin(struct peer *peer); /* 0: refused */
int peer_end(struct peer *peer, uint32_t tx, bool commit);
int peer_string(struct peer *peer, uint32_t type, const char *text, struct peer_frame *out);

#endif
