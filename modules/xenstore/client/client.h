/*
 * Between what xenstore.h shows (xenstore.c) and the two clients behind it: client_local.c on the
 * embedded store, wire_client.c on a foreign xenstored. The front holds requests and watches; a
 * client carries out requests and watches paths, each path once however many ask for it.
 */
#ifndef XN_XENSTORE_CLIENT_H
#define XN_XENSTORE_CLIENT_H

#include "core/hmap.h"
#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/client/snapshot.h"
#include "modules/xenstore/store/store.h"
#include "modules/xenstore/xenstore.h"

struct xn_xs_write {
	char *path, *value, *perms; /* value, perms: or NULL, as in struct xn_xs_change */
};

struct xn_xs_request {
	struct xn_list link;
	struct xn_xenstore *xs;
	bool is_snapshot;
	char **paths; /* snapshot */
	unsigned depth;
	size_t max_bytes;
	struct xn_xs_write *writes;
	size_t n; /* of either */
	void (*snapped)(int rc, const struct xn_xs_snapshot *snap, void *arg);
	void (*written)(int rc, void *arg);
	void *arg;
	void *work; /* the client's */
};

/* A watched path. */
struct xn_xs_watched {
	struct xn_hnode node;
	struct xn_xenstore *xs;
	struct xn_list watches;
	struct xn_list *next; /* while it fires: the watch whose turn is next */
	bool is_told;         /* the store's first event for it has come */
	void *work;           /* the client's */
	char path[];
};

struct xn_xs_client_ops {
	const char *name;
	int (*start)(struct xn_xenstore *xs, struct xn_error *err);
	/* Requests and spots are gone before. */
	void (*free)(struct xn_xenstore *xs);
	/* Ends later, in xn_xs_request_end(). */
	void (*begin)(struct xn_xs_request *request);
	void (*forget)(struct xn_xs_request *request); /* it is about to be freed, unanswered */
	/* Calls xn_xs_watched_fire() from then on, first once soon. -EINVAL: not a path. */
	int (*watch)(struct xn_xs_watched *spot);
	void (*unwatch)(struct xn_xs_watched *spot);
};

struct xn_xenstore {
	struct xn_core *core;
	const struct xn_xs_client_ops *ops;
	void *client; /* its state */
	struct xn_list requests;
	struct xn_hmap spots;
	uint64_t n_reads, n_writes, n_failed; /* requests that have ended */
	struct xn_metrics_source metrics;
	struct xn_xs_journal *journal; /* of the embedded store; NULL: it is in memory only */
	struct xn_xs_server *server; /* of the embedded store; NULL: nobody asked for it */
	struct xn_xs_rings *rings;   /* its guests' */
	struct past_service *past; /* questions to the history */
};

/* Calls back and frees. @snap: NULL, or taken. */
void xn_xs_request_end(struct xn_xs_request *request, int rc, struct xn_xs_snapshot *snap);
/* From a deferred call only. The spot may be gone afterwards. */
void xn_xs_watched_fire(struct xn_xs_watched *spot, const char *path);

/* client_local.c */
extern const struct xn_xs_client_ops xn_xs_local_ops;
void xn_xs_local_new(struct xn_xenstore *xs);
struct xn_xs_store *xn_xs_local_store(struct xn_xenstore *xs);
/* wire_client.c */
extern const struct xn_xs_client_ops xn_xs_wire_ops;
void xn_xs_wire_new(struct xn_xenstore *xs);

#endif
