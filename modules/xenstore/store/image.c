/*
 * The tree as bytes, in slices, and back: so that a start reads a hundred thousand nodes in the
 * time in which it could write a few thousand.
 *
 * A slice: path of the parent of its first node; table of permissions as text; nodes with their
 * depth (1: below the root), index of permissions, generation, name, value. Counts come first.
 */
#include "core/bytes.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { MAX_LEVELS = XN_XS_PATH_MAX / 2 + 1, MAX_SLICE_PERMS = 4096 };

/* ---- dump ---- */

struct slice {
	const struct xn_xs_perms
		*perms[64]; /* neighbours share a few lists; a miss only costs bytes */
	size_t n_perms;
	struct xn_buf perms_text, nodes;
	enum xn_xs_names names;
	uint32_t n_nodes;
};

static size_t index_of_perms(struct slice *slice, const struct xn_xs_perms *perms)
{
	struct xn_buf text = {0};
	size_t kept = XN_ARRAY_SIZE(slice->perms);

	for (size_t back = 1; back <= kept && back <= slice->n_perms; back++)
		if (slice->perms[(slice->n_perms - back) % kept] == perms)
			return slice->n_perms - back;
	slice->perms[slice->n_perms % kept] = perms;
	if (slice->names == XN_XS_BY_BIRTH)
		xn_xs_perms_print_births(perms, &text);
	else
		xn_xs_perms_print(perms, ' ', &text);
	xn_put_u16(&slice->perms_text, text.len);
	xn_buf_add(&slice->perms_text, text.data, text.len);
	xn_buf_clear(&text);
	return slice->n_perms++;
}

static void put_node(struct slice *slice, const struct xn_xs_node *node, unsigned level)
{
	struct xn_buf *out = &slice->nodes;
	size_t perms = index_of_perms(slice, node->perms);

	xn_put_u16(out, level);
	xn_put_u16(out, perms);
	xn_put_u64(out, node->generation);
	xn_put_u16(out, node->name_len);
	xn_put_u16(out, node->value_len);
	xn_buf_add(out, node->name, node->name_len);
	xn_buf_add(out, xn_xs_node_value(node), node->value_len);
	slice->n_nodes++;
}

static unsigned level_of(const struct xn_xs_node *node)
{
	unsigned level = 0;

	for (; node->parent; node = node->parent)
		level++;
	return level;
}

bool xn_xs_store_dump(struct xn_xs_store *store, char *cursor, unsigned at_most,
		      enum xn_xs_names names, struct xn_buf *out)
{
	struct xn_xs_node *node = xn_xs_node_after(store->root, cursor, strlen(cursor));
	struct xn_xs_node *last = node;
	char room[XN_XS_PATH_MAX + 1];
	struct slice slice = {.names = names};
	const char *path;
	unsigned level;

	if (!node)
		return false;
	level = level_of(node);
	path = xn_xs_node_path(node->parent, room);
	xn_put_u16(out, strlen(path));
	xn_buf_add_string(out, path);
	for (; node && slice.n_nodes < at_most && slice.n_perms < MAX_SLICE_PERMS;
	     node = xn_xs_node_next(store->root, node, &level)) {
		put_node(&slice, node, level);
		last = node;
	}
	xn_put_u16(out, slice.n_perms);
	xn_buf_add(out, slice.perms_text.data, slice.perms_text.len);
	xn_put_u32(out, slice.n_nodes);
	xn_buf_add(out, slice.nodes.data, slice.nodes.len);
	xn_buf_clear(&slice.perms_text);
	xn_buf_clear(&slice.nodes);
	path = xn_xs_node_path(last, room);
	memcpy(cursor, path, strlen(path) + 1);
	return node != NULL;
}

/* ---- load ---- */

struct loading {
	struct xn_xs_store *store;
	struct xn_reader in;
	struct xn_xs_perms **perms;
	unsigned n_perms;
	unsigned level; /* of the last node, or of the slice's parent */
	struct xn_xs_node *nodes[MAX_LEVELS + 1];
	uint16_t path_len[MAX_LEVELS + 1];
};

static int load_parent(struct loading *load)
{
	size_t len = xn_take_u16(&load->in);
	const char *path = xn_take(&load->in, len), *at = path, *name;
	size_t name_len;

	if (!path || len > XN_XS_PATH_MAX)
		return -EINVAL;
	load->nodes[0] = load->store->root;
	while ((name = xn_xs_path_next(&at, path + len, &name_len))) {
		struct xn_xs_node *kid = xn_xs_node_kid(load->nodes[load->level], name, name_len);

		if (!kid)
			return -EINVAL;
		load->nodes[++load->level] = kid;
		load->path_len[load->level] = (uint16_t)(at - path);
	}
	return 0;
}

static int load_perms(struct loading *load)
{
	unsigned n = xn_take_u16(&load->in);

	if (load->in.is_short || n > MAX_SLICE_PERMS)
		return -EINVAL;
	load->perms = xn_calloc(n, sizeof(load->perms[0]));
	for (; load->n_perms < n; load->n_perms++) {
		size_t len = xn_take_u16(&load->in);
		const char *text = xn_take(&load->in, len);
		bool births = text && memchr(text, '.', len);

		if (!text || xn_xs_perms_read(load->store, text, len, births,
					      &load->perms[load->n_perms]) < 0)
			return -EINVAL;
	}
	return 0;
}

static void put_back(struct loading *load, unsigned level, const char *name, size_t name_len,
		     const char *value, size_t value_len, unsigned perms, uint64_t generation)
{
	struct xn_xs_node *parent = load->nodes[level - 1];
	struct xn_xs_node *node = xn_xs_node_new(load->store, name, name_len, value, value_len,
						 xn_xs_perms_ref(load->perms[perms]));

	if (!xn_xs_node_attach_last(parent, node)) {
		struct xn_xs_node *old = xn_xs_node_kid(parent, name, name_len);

		xn_xs_discharge(old);
		xn_xs_perms_unref(old->perms);
		old->perms = node->perms;
		xn_xs_node_free(node);
		node = old;
		xn_xs_node_set_value(node, value, value_len);
	}
	node->generation = generation;
	xn_xs_charge(node);
	load->nodes[level] = node;
	load->path_len[level] = (uint16_t)(load->path_len[level - 1] + 1 + name_len);
	load->level = level;
	if (generation > load->store->generation)
		load->store->generation = generation;
}

static int load_node(struct loading *load)
{
	unsigned level = xn_take_u16(&load->in), perms = xn_take_u16(&load->in);
	uint64_t generation = xn_take_u64(&load->in);
	size_t name_len = xn_take_u16(&load->in), value_len = xn_take_u16(&load->in);
	const char *name = xn_take(&load->in, name_len), *value = xn_take(&load->in, value_len);

	if (!name || !value || !level || level > load->level + 1 || level > MAX_LEVELS ||
	    perms >= load->n_perms || value_len > XN_XS_VALUE_MAX ||
	    load->path_len[level - 1] + 1 + name_len > XN_XS_PATH_MAX ||
	    !xn_xs_name_is_valid(name, name_len))
		return -EINVAL;
	put_back(load, level, name, name_len, value, value_len, perms, generation);
	return 0;
}

int xn_xs_store_load(struct xn_xs_store *store, const void *bytes, size_t len)
{
	struct loading *load = xn_malloc(sizeof(*load));
	uint32_t n;
	int rc;

	*load = (struct loading){.store = store, .in = {.at = bytes, .left = len}};
	rc = load_parent(load);
	if (!rc)
		rc = load_perms(load);
	n = rc ? 0 : xn_take_u32(&load->in);
	while (n-- && !rc)
		rc = load_node(load);
	if (!rc && (load->in.is_short || load->in.left))
		rc = -EINVAL;
	for (unsigned i = 0; i < load->n_perms; i++)
		xn_xs_perms_unref(load->perms[i]);
	free(load->perms);
	free(load);
	return rc;
}
