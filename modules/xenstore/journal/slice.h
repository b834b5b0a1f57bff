/*
 * The tree as slices of bytes (record.h), and back: so many nodes at a time that the loop does not
 * notice, and a start reads a hundred thousand nodes in the time in which it could write a few
 * thousand.
 */
#ifndef XN_XENSTORE_SLICE_H
#define XN_XENSTORE_SLICE_H

#include "modules/xenstore/journal/record.h"

/*
 * Appends a slice of the @at_most nodes after @cursor, a path in a buffer of XN_XS_PATH_MAX + 1
 * bytes ("" begins, with the root), which moves on; it ends early behind @max_bytes. *n_nodes counts.
 * Return whether there are more. The store may change between two calls.
 */
bool xn_xs_slice_put(struct xn_xs_store *store, char *cursor, unsigned at_most, size_t max_bytes,
		     struct xn_buf *out, uint64_t *n_nodes);

/*
 * Puts back the nodes of slices; those that are there get their values. Domains that permissions
 * name are restored before. Nobody is told, no quota refuses. 0, or -EINVAL for bytes that are no
 * slice; what came before the wrong ones is then in the tree.
 */
struct xn_xs_loading;
struct xn_xs_loading *xn_xs_loading_new(struct xn_xs_store *store);
void xn_xs_loading_free(struct xn_xs_loading *loading);
int xn_xs_loading_add(struct xn_xs_loading *loading, struct xn_xs_text slice);
int xn_xs_slice_load(struct xn_xs_store *store, struct xn_xs_text slice); /* a single one */

#endif
