/* Questions of the protocol's server that are no requests of a client's own. */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>

bool xn_xs_conn_has_transaction(struct xn_xs_conn *conn, uint32_t tx)
{
	return xn_xs_tx_find(conn, tx);
}

int xn_xs_conn_check_watch_path(const struct xn_xs_conn *conn, const char *path)
{
	struct xn_xs_path resolved;

	if (xn_xs_path_is_special(path))
		return xn_xs_special_index(path) < 0 ? -EINVAL : 0;
	return xn_xs_path_for(&resolved, conn->domain, path);
}

int xn_xs_conn_list(struct xn_xs_conn *conn, uint32_t tx, const char *path, struct xn_buf *names,
		    uint64_t *generation_out)
{
	struct xn_xs_tx *t = tx ? xn_xs_tx_find(conn, tx) : NULL;
	struct xn_xs_node *overlay = t ? xn_xs_tx_overlay(t) : NULL;
	struct xn_xs_path resolved;
	struct xn_xs_spot spot;
	int rc = xn_xs_conn_directory(conn, tx, path, names);

	if (!rc)
		rc = xn_xs_path_for(&resolved, conn->domain, path);
	if (rc < 0)
		return rc;
	xn_xs_find(conn->store, overlay, resolved.text, resolved.len, &spot);
	/* A transaction's own nodes have no generation. */
	*generation_out = spot.node->generation + (t ? xn_xs_tx_changes(t) : 0);
	return 0;
}
