/* Questions of the protocol's server that are no requests of a client's own. */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

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

int xn_xs_conn_generation(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			  uint64_t *generation_out)
{
	struct xn_xs_tx *t = tx ? xn_xs_tx_find(conn, tx) : NULL;
	struct xn_xs_view view = {.store = conn->store,
				  .who = conn->domain,
				  .overlay = t ? xn_xs_tx_overlay(t) : NULL};
	struct xn_xs_path resolved;
	struct xn_xs_node *node;
	int rc = xn_xs_path_for(&resolved, conn->domain, path);

	if (!rc)
		rc = xn_xs_do_read(&view, resolved.text, resolved.len, &node);
	if (rc < 0)
		return rc;
	/* A transaction's own nodes have no generation. */
	*generation_out = node->generation + (t ? xn_xs_tx_changes(t) : 0);
	return 0;
}

/* ---- long lists, in parts ---- */

/* Where the last part ended, so that the next one need not count from the beginning. */
struct xn_xs_list_end {
	uint64_t generation, path_hash;
	size_t at;       /* byte of the whole list */
	size_t name_len; /* of the next name */
	char name[];
};

static void remember_end(struct xn_xs_conn *conn, const struct xn_xs_node *dir, uint64_t path_hash,
			 size_t at, const struct xn_xs_node *next)
{
	struct xn_xs_list_end *end = xn_malloc(sizeof(*end) + next->name_len);

	*end = (struct xn_xs_list_end){.generation = dir->generation,
				       .path_hash = path_hash,
				       .at = at,
				       .name_len = next->name_len};
	memcpy(end->name, next->name, next->name_len);
	free(conn->list_end);
	conn->list_end = end;
}

/* The child whose name is at byte *from of the list, or is cut there; *from: bytes cut off it. */
static struct xn_xs_node *child_at(struct xn_xs_conn *conn, const struct xn_xs_node *dir,
				   uint64_t path_hash, size_t *from)
{
	const struct xn_xs_list_end *end = conn->list_end;
	struct xn_xs_kid_walk walk;
	struct xn_xs_node *kid;

	if (end && end->generation == dir->generation && end->path_hash == path_hash &&
	    end->at == *from) {
		*from = 0;
		return xn_xs_node_kid_from(dir, end->name, end->name_len);
	}
	xn_xs_kid_walk_init(&walk, dir);
	while ((kid = xn_xs_kid_walk_next(&walk)) && kid->name_len < *from)
		*from -= kid->name_len + 1u;
	return kid;
}

static bool list_tree(struct xn_xs_conn *conn, const struct xn_xs_path *path,
		      const struct xn_xs_node *dir, size_t from, size_t at_most,
		      struct xn_buf *names)
{
	uint64_t hash = xn_hash_bytes(path->text, path->len);
	size_t start = names->len, cut = from;
	struct xn_xs_node *kid = child_at(conn, dir, hash, &cut);
	struct xn_xs_kid_walk walk;

	if (!kid)
		return true;
	xn_xs_kid_walk_from(&walk, kid);
	while ((kid = xn_xs_kid_walk_next(&walk))) {
		size_t len = kid->name_len + 1u - cut;

		if (names->len - start + len > at_most)
			break;
		xn_buf_add(names, kid->name + cut, len);
		cut = 0;
	}
	if (kid && !cut)
		remember_end(conn, dir, hash, from + (names->len - start), kid);
	return !kid;
}

/* A transaction's list is told whole, because all of it must be true at the commit. */
static int list_in_transaction(struct xn_xs_tx *tx, const struct xn_xs_path *path, size_t from,
			       size_t at_most, struct xn_buf *names, bool *is_end_out)
{
	struct xn_buf all XN_CLEANUP(xn_buf_clear_p) = {0};
	int rc = xn_xs_tx_directory(tx, path, &all);
	size_t end = from;

	if (rc < 0)
		return rc;
	while (end < all.len) {
		size_t next = end + strlen(all.data + end) + 1;

		if (next - from > at_most)
			break;
		end = next;
	}
	if (end > from)
		xn_buf_add(names, all.data + from, end - from);
	*is_end_out = end >= all.len;
	return 0;
}

int xn_xs_conn_list(struct xn_xs_conn *conn, uint32_t tx, const char *path, size_t from,
		    size_t at_most, struct xn_buf *names, bool *is_end_out)
{
	struct xn_xs_view view = {.store = conn->store, .who = conn->domain};
	struct xn_xs_tx *t = tx ? xn_xs_tx_find(conn, tx) : NULL;
	struct xn_xs_path resolved;
	struct xn_xs_node *dir;
	int rc = xn_xs_path_for(&resolved, conn->domain, path);

	if (rc < 0 || (tx && !t))
		return rc < 0 ? rc : -ENOENT;
	if (t)
		return list_in_transaction(t, &resolved, from, at_most, names, is_end_out);
	rc = xn_xs_do_read(&view, resolved.text, resolved.len, &dir);
	if (rc < 0)
		return rc;
	*is_end_out = list_tree(conn, &resolved, dir, from, at_most, names);
	return 0;
}
