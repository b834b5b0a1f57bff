/* Nodes: one allocation each for name and small value; walks over them. Children: kids.c. */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <stdlib.h>

enum { STEP = 16, LARGEST = XN_XS_NODE_SIZES * STEP };

void xn_xs_node_sizes_init(struct xn_xs_store *store)
{
	for (unsigned i = 0; i < XN_XS_NODE_SIZES; i++)
		xn_slab_init(&store->node_sizes[i], (i + 1) * STEP);
}

void xn_xs_node_sizes_clear(struct xn_xs_store *store)
{
	for (unsigned i = 0; i < XN_XS_NODE_SIZES; i++)
		xn_slab_clear(&store->node_sizes[i]);
}

static size_t fixed_size(size_t name_len)
{
	return offsetof(struct xn_xs_node, name) + name_len + 1;
}

struct xn_xs_node *xn_xs_node_new(struct xn_xs_store *store, const char *name, size_t name_len,
				  const void *value, size_t value_len, struct xn_xs_perms *perms)
{
	size_t fixed = fixed_size(name_len);
	/* Long values live outside, and there must be room for their address. */
	size_t size = fixed + (value_len <= 64 && value_len > 8 ? value_len : 8);
	struct xn_xs_node *node;

	assert(name_len <= XN_XS_PATH_MAX && value_len <= XN_XS_VALUE_MAX);
	size = (size + STEP - 1) / STEP * STEP;
	node = size > LARGEST ? xn_malloc(size)
			      : xn_slab_alloc(&store->node_sizes[size / STEP - 1]);
	*node = (struct xn_xs_node){.perms = perms, .name_len = (uint16_t)(name_len & 0xfff)};
	node->room = (uint8_t)(size - fixed);
	memcpy(node->name, name, name_len);
	node->name[name_len] = '\0';
	xn_xs_node_set_value(node, value, value_len);
	return node;
}

static char *inside(const struct xn_xs_node *node)
{
	return (char *)node->name + node->name_len + 1;
}

/* The allocated value, or NULL when it is inside. */
static char *outside(const struct xn_xs_node *node)
{
	char *value;

	if (node->value_len <= node->room)
		return NULL;
	memcpy(&value, inside(node), sizeof(value));
	return value;
}

const char *xn_xs_node_value(const struct xn_xs_node *node)
{
	return node->value_len <= node->room ? inside(node) : outside(node);
}

void xn_xs_node_set_value(struct xn_xs_node *node, const void *value, size_t len)
{
	char *old = outside(node), *fresh;

	if (len <= node->room) {
		if (len)
			memmove(inside(node), value, len);
	} else {
		fresh = xn_malloc(len);
		memcpy(fresh, value, len);
		memcpy(inside(node), &fresh, sizeof(fresh));
	}
	node->value_len = (uint16_t)len;
	free(old);
}

void xn_xs_node_free(struct xn_xs_node *node)
{
	assert(!node->kids);
	free(outside(node));
	if (fixed_size(node->name_len) + node->room > LARGEST)
		free(node);
	else
		xn_slab_free_any(node);
}

void xn_xs_node_drop(struct xn_xs_node *node)
{
	xn_xs_perms_unref(node->perms);
	xn_xs_node_free(node);
}

struct xn_xs_node *xn_xs_node_skip(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level)
{
	while (node != top) {
		struct xn_xs_node *sibling = xn_xs_node_sibling(node);

		if (sibling)
			return sibling;
		node = node->parent;
		--*level;
	}
	return NULL;
}

struct xn_xs_node *xn_xs_node_next(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level)
{
	if (!node->kids)
		return xn_xs_node_skip(top, node, level);
	++*level;
	return xn_xs_node_first_kid(node);
}

void xn_xs_node_free_tree(struct xn_xs_node *top, void (*drop)(struct xn_xs_node *node))
{
	struct xn_xs_node *node = top;

	while (node) {
		struct xn_xs_node *parent = node->parent, *kid = xn_xs_node_pop_kid(node);

		if (kid) {
			node = kid;
			continue;
		}
		drop(node);
		node = node == top ? NULL : parent;
	}
}

/* The same for equal nodes, however they came to be: accounts survive a restart. */
size_t xn_xs_node_bytes(const struct xn_xs_node *node)
{
	enum { FIXED = 88, A_PERMISSION = 24 }; /* header, rounding, place among the siblings */

	return FIXED + (size_t)node->name_len + node->value_len +
	       (node->perms->n - 1) * (size_t)A_PERMISSION;
}

struct xn_xs_node *xn_xs_node_find(struct xn_xs_node *root, const char *path, size_t len)
{
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	while (root && (name = xn_xs_path_next(&at, end, &name_len)))
		root = xn_xs_node_kid(root, name, name_len);
	return root;
}

struct xn_xs_node *xn_xs_node_after(struct xn_xs_node *root, const char *path, size_t len)
{
	const char *at = path, *end = path + len, *name;
	struct xn_xs_node *node = root;
	unsigned level = 0;
	size_t name_len;

	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		struct xn_xs_node *kid = xn_xs_node_kid_from(node, name, name_len);

		if (!kid)
			return xn_xs_node_skip(root, node, &level);
		if (kid->name_len != name_len || memcmp(kid->name, name, name_len) != 0)
			return kid;
		node = kid;
	}
	return xn_xs_node_next(root, node, &level);
}

const char *xn_xs_node_path(const struct xn_xs_node *node, char room[XN_XS_PATH_MAX + 1])
{
	char *at = room + XN_XS_PATH_MAX;

	*at = '\0';
	if (!node->parent)
		*--at = '/';
	for (; node->parent; node = node->parent) {
		at -= node->name_len;
		memcpy(at, node->name, node->name_len);
		*--at = '/';
	}
	return at;
}
