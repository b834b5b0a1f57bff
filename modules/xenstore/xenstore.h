/*
 * The xenstore as a client sees it, asynchronously: the same interface for the embedded store (in
 * process) and for the xenstored of a Xen host (over its socket, wire_client.c). Requests are
 * answered from the loop, never inside the call. They may overtake each other: who needs an order
 * waits for the answer. The store itself is store.h, for this folder and for the simulated
 * hypervisor, which plays the domains.
 */
#ifndef XN_XENSTORE_H
#define XN_XENSTORE_H

#include "core/module.h"

extern const struct xn_module xn_xenstore_module;

struct xn_xenstore;

static inline struct xn_xenstore *xn_xenstore_of(struct xn_core *core)
{
	return xn_module_state(core, "xenstore");
}

/* The store itself (store.h), for the simulated hypervisor; NULL when the xenstored is a foreign
 * one. */
struct xn_xs_store;
struct xn_xs_store *xn_xenstore_embedded(struct xn_xenstore *xs);

/*
 * A read copy of some subtrees: so that a reconciler reads everything it needs at once and then
 * works without waiting. From the embedded store it is one moment's; from a foreign one each node is
 * its own moment's, so whoever reads what may change watches it, and reads again when told. Values
 * are recoded to valid text.
 */
struct xn_xs_snapshot;
const char *xn_xs_get(const struct xn_xs_snapshot *snap, const char *path); /* or NULL */
/* Names of the children of @path, sorted; *n_out of them; borrowed. */
const char *const *xn_xs_list(const struct xn_xs_snapshot *snap, const char *path, size_t *n_out);
/* Whether reading stopped early, at max_bytes; what was read is whole up to there, in the order of
 * the paths given. */
bool xn_xs_is_cut(const struct xn_xs_snapshot *snap);

struct xn_xs_request;
/* Return of all requests: a handle for cancel, valid until the callback. rc is -EIO while a foreign
 * xenstored cannot be reached. */

/* @paths: n roots, each read whole to @depth levels (0: the node only), at most @max_bytes in all.
 * A missing root is simply absent. rc: 0 or -errno. The snapshot is freed after the callback. */
struct xn_xs_request *
xn_xs_snapshot(struct xn_xenstore *xs, const char *const *paths, size_t n, unsigned depth,
	       size_t max_bytes, void (*done)(int rc, const struct xn_xs_snapshot *snap, void *arg),
	       void *arg);

struct xn_xs_change {
	const char *path;
	const char *value; /* NULL: remove the node and all below (absent: nothing) */
	const char *perms; /* "n0 r5" style, space separated; NULL: as the parent's */
};
/* All changes in one transaction, or none: then rc < 0. Copied. */
struct xn_xs_request *xn_xs_write(struct xn_xenstore *xs, const struct xn_xs_change *changes,
				  size_t n, void (*done)(int rc, void *arg), void *arg);
void xn_xs_cancel(struct xn_xs_request *request); /* the callback will not come */

/*
 * For the flags --xenstore-history QUERY, --xenstore-at MOMENT [PATH] and --xenstore-export: print on
 * stdout what the embedded store was and how it changed. They only read the state folder; a daemon
 * may run on it. What is missing goes to stderr. 0, or -1 with a sentence in *why (the caller frees).
 */
int xn_xenstore_print_history(struct xn_config *config, const char *query, char **why);
int xn_xenstore_print_tree(struct xn_config *config, const char *at, const char *path_or_null,
			   char **why);
int xn_xenstore_export(struct xn_config *config, char **why);

struct xn_xs_watch;
/* Fires once at once, then for each change at or below @path; bursts may coalesce per path, and
 * many different paths into one firing for @path itself: something below it has changed. Also
 * "@introduceDomain" and "@releaseDomain". NULL: not a path. When a foreign xenstored was lost and
 * is back, every watch fires again as at first. */
struct xn_xs_watch *xn_xs_watch(struct xn_xenstore *xs, const char *path,
				void (*fired)(const char *path, void *arg), void *arg);
void xn_xs_unwatch(struct xn_xs_watch *watch); /* NULL is fine */

#endif
