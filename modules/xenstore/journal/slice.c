/* Slices of the tree; see slice.h. */
#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { MAX_LEVELS = XN_XS_PATH_MAX / 2 + 2 };

/* ---- from the tree ---- */

static void put_node(struct xn_buf *out, const struct xn_xs_node *node, unsigned level,
		     const struct xn_xs_perms **last)
{
	xn_put_u16(out, level);
	xn_put_u64(out, node->generation);
	xn_put_u16(out, node->name_len);
	xn_put_u16(out, node->value_len);
	if (node->perms == *last)
		xn_put_u16(out, 0);
	else
		xn_xs_put_perms(out, node->perms);
	*last = node->perms;
	xn_buf_add(out, node->name, node->name_len);
	xn_buf_add(out, xn_xs_node_value(node), node->value_len);
}

static unsigned level_of(const struct xn_xs_node *node)
{
	unsigned level = 0;

	for (; node->parent; node = node->parent)
		level++;
	return level;
}

bool xn_xs_slice_put(struct xn_xs_store *store, char *cursor, unsigned at_most, size_t max_bytes,
		     struct xn_buf *out, uint64_t *n_nodes)
{
	bool is_first = !*cursor;
	struct xn_xs_node *node = is_first ? store->root
					   : xn_xs_node_after(store->root, cursor, strlen(cursor));
	const struct xn_xs_perms *perms = NULL;
	struct xn_xs_node *last = node;
	char room[XN_XS_PATH_MAX + 1];
	size_t end = out->len + max_bytes;
	struct xn_xs_text parent = {"", 0};
	unsigned level;
	const char *path;

	if (!node)
		return false;
	level = level_of(node);
	if (!is_first) {
		parent.bytes = xn_xs_node_path(node->parent, room);
		parent.len = strlen(parent.bytes);
	}
	xn_xs_put_text(out, parent);
	for (; node && at_most && out->len < end; at_most--, ++*n_nodes) {
		put_node(out, node, level, &perms);
		last = node;
		node = xn_xs_node_next(store->root, node, &level);
	}
	path = xn_xs_node_path(last, room);
	memcpy(cursor, path, strlen(path) + 1);
	return node != NULL;
}

/* ---- and back ---- */

struct xn_xs_loading {
	struct xn_xs_store *store;
	struct xn_buf perms_text; /* what the last permissions were made of */
	struct xn_xs_perms *perms;
	struct xn_xs_slice slice;
	struct xn_xs_node *nodes[MAX_LEVELS]; /* by level */
};

struct xn_xs_loading *xn_xs_loading_new(struct xn_xs_store *store)
{
	struct xn_xs_loading *loading = xn_calloc(1, sizeof(*loading));

	loading->store = store;
	return loading;
}

void xn_xs_loading_free(struct xn_xs_loading *loading)
{
	xn_xs_perms_unref(loading->perms);
	xn_buf_clear(&loading->perms_text);
	free(loading);
}

/* Borrowed until the next. Neighbours mostly have the same. */
static struct xn_xs_perms *perms_of(struct xn_xs_loading *loading, struct xn_xs_text text)
{
	struct xn_xs_perms *perms;

	if (loading->perms && loading->perms_text.len == text.len &&
	    !memcmp(loading->perms_text.data, text.bytes, text.len))
		return loading->perms;
	if (xn_xs_perms_read(loading->store, text.bytes, text.len, true, &perms) < 0)
		return NULL;
	xn_xs_perms_unref(loading->perms);
	loading->perms = perms;
	loading->perms_text.len = 0;
	xn_buf_add(&loading->perms_text, text.bytes, text.len);
	return perms;
}

/* The nodes on the way to where the slice begins. */
static int open_slice(struct xn_xs_loading *loading, struct xn_xs_text bytes)
{
	struct xn_xs_node *node = loading->store->root;
	const char *at, *end, *name;
	unsigned level = 0;
	size_t name_len;
	int rc = xn_xs_slice_open(&loading->slice, bytes);

	loading->nodes[0] = node;
	if (rc < 0)
		return rc;
	at = loading->slice.path;
	end = at + loading->slice.path_len;
	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		node = xn_xs_node_kid(node, name, name_len);
		if (!node || level + 1 >= MAX_LEVELS)
			return -EINVAL;
		loading->nodes[++level] = node;
	}
	return level == loading->slice.level ? 0 : -EINVAL;
}

static void overwrite(struct xn_xs_node *node, const struct xn_xs_slice_node *shown,
		      struct xn_xs_perms *perms)
{
	xn_xs_discharge(node);
	xn_xs_perms_ref(perms);
	xn_xs_perms_unref(node->perms);
	node->perms = perms;
	xn_xs_node_set_value(node, shown->value.bytes, shown->value.len);
	xn_xs_charge(node);
}

static void put_back(struct xn_xs_loading *loading, const struct xn_xs_slice_node *shown,
		     struct xn_xs_perms *perms)
{
	struct xn_xs_node *parent = shown->level ? loading->nodes[shown->level - 1] : NULL;
	struct xn_xs_node *node = loading->store->root;

	if (parent) {
		node = xn_xs_node_new(loading->store, shown->name.bytes, shown->name.len, shown->value.bytes,
				      shown->value.len, xn_xs_perms_ref(perms));
		if (xn_xs_node_attach_last(parent, node)) {
			xn_xs_charge(node);
		} else {
			xn_xs_node_drop(node);
			node = xn_xs_node_kid(parent, shown->name.bytes, shown->name.len);
			overwrite(node, shown, perms);
		}
	} else {
		overwrite(node, shown, perms);
	}
	node->generation = shown->generation;
	loading->nodes[shown->level] = node;
	xn_xs_store_restore_counters(loading->store, shown->generation, 0);
}

int xn_xs_loading_add(struct xn_xs_loading *loading, struct xn_xs_text slice)
{
	struct xn_xs_slice_node node;
	int rc = open_slice(loading, slice);

	if (rc < 0)
		return rc;
	while ((rc = xn_xs_slice_next(&loading->slice, &node)) > 0) {
		struct xn_xs_perms *perms = perms_of(loading, node.perms);

		if (!perms || node.level >= MAX_LEVELS)
			return -EINVAL;
		put_back(loading, &node, perms);
	}
	return rc;
}

int xn_xs_slice_load(struct xn_xs_store *store, struct xn_xs_text slice)
{
	struct xn_xs_loading *loading = xn_xs_loading_new(store);
	int rc = xn_xs_loading_add(loading, slice);

	xn_xs_loading_free(loading);
	return rc;
}
