/* Read copies of subtrees: how the clients fill what xenstore.h lets others read. */
#ifndef XN_XENSTORE_SNAPSHOT_H
#define XN_XENSTORE_SNAPSHOT_H

#include "modules/xenstore/store/store.h"
#include "modules/xenstore/xenstore.h"

struct xn_xs_snapshot *xn_xs_snapshot_new(size_t max_bytes);
void xn_xs_snapshot_free(struct xn_xs_snapshot *snap);
/* Adds @path to @depth levels, as @conn may see it. 0 (also when absent), or -EINVAL. */
int xn_xs_snapshot_add(struct xn_xs_snapshot *snap, struct xn_xs_conn *conn, const char *path,
		       unsigned depth);

/* The same by hand: a root, then the nodes below it as the walk of store.h would visit them: a
 * parent first (the root itself has level 0), siblings in byte order. False: it is full. */
void xn_xs_snapshot_root(struct xn_xs_snapshot *snap, const char *path);
bool xn_xs_snapshot_node(struct xn_xs_snapshot *snap, const char *name, size_t name_len,
			 unsigned level, const char *value, size_t value_len);
void xn_xs_snapshot_cut(struct xn_xs_snapshot *snap); /* there was more */
size_t xn_xs_snapshot_bytes(const struct xn_xs_snapshot *snap);

#endif
