/* Read copies of subtrees: how client_local.c fills what xenstore.h lets others read. */
#ifndef XN_XENSTORE_SNAPSHOT_H
#define XN_XENSTORE_SNAPSHOT_H

#include "modules/xenstore/store.h"
#include "modules/xenstore/xenstore.h"

struct xn_xs_snapshot *xn_xs_snapshot_new(size_t max_bytes);
void xn_xs_snapshot_free(struct xn_xs_snapshot *snap);
/* Adds @path to @depth levels, as @conn may see it. 0 (also when absent), or -EINVAL. */
int xn_xs_snapshot_add(struct xn_xs_snapshot *snap, struct xn_xs_conn *conn, const char *path,
		       unsigned depth);

#endif
