/* Nodes: one allocation each for name and small value, children sorted by name in an array. */
#include "modules/xenstore/store_internal.h"

#include <assert.h>
#include <stdlib.h>

struct xn_xs_node *xn_xs_node_new(const char *name, size_t name_len, const void *value,
				  size_t value_len, struct xn_xs_perms *perms)
{
	/* Up to what malloc rounds to anyway; longer values live outside. */
	size_t want = value_len <= 64 ? value_len : 0;
	size_t size = (offsetof(struct xn_xs_node, name) + name_len + 1 + want + 8 + 15) / 16 * 16 - 8;
	struct xn_xs_node *node;

	assert(name_len <= XN_XS_PATH_MAX && value_len <= XN_XS_VALUE_MAX);
	if (size < sizeof(*node))
		size = sizeof(*node);
	node = xn_malloc(size);
	*node = (struct xn_xs_node){.perms = perms, .name_len = (uint16_t)name_len};
	node->room = (uint16_t)(size - offsetof(struct xn_xs_node, name) - name_len - 1);
	memcpy(node->name, name, name_len);
	node->name[name_len] = '\0';
	xn_xs_node_set_value(node, value, value_len);
	return node;
}

static char *inside(struct xn_xs_node *node)
{
	return node->name + node->name_len + 1;
}

void xn_xs_node_set_value(struct xn_xs_node *node, const void *value, size_t len)
{
	char *outside = node->value == inside(node) ? NULL : node->value;

	if (len <= node->room)
		node->value = inside(node);
	else
		node->value = xn_malloc(len);
	if (len)
		memmove(node->value, value, len);
	node->value_len = (uint16_t)len;
	free(outside);
}

void xn_xs_node_free(struct xn_xs_node *node)
{
	if (node->value != inside(node))
		free(node->value);
	free(node->kids);
	free(node);
}

void xn_xs_node_drop(struct xn_xs_node *node)
{
	xn_xs_perms_unref(node->perms);
	xn_xs_node_free(node);
}

/* Where @name is among the kids, or would be. */
static uint32_t kid_index(const struct xn_xs_node *node, const char *name, size_t len, bool *found)
{
	uint32_t low = 0, high = node->n_kids;

	*found = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct xn_xs_node *kid = node->kids[mid];
		int order = memcmp(name, kid->name, len < kid->name_len ? len : kid->name_len);

		if (!order && len == kid->name_len) {
			*found = true;
			return mid;
		}
		if (order < 0 || (!order && len < kid->name_len))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct xn_xs_node *xn_xs_node_kid(const struct xn_xs_node *node, const char *name, size_t len)
{
	bool found;
	uint32_t index = kid_index(node, name, len, &found);

	return found ? node->kids[index] : NULL;
}

/* 3, 7, 15 ...: what fits malloc's sizes without waste. */
static void resize_kids(struct xn_xs_node *node, uint32_t cap)
{
	if (cap) {
		node->kids = xn_realloc(node->kids, cap * sizeof(node->kids[0]));
	} else {
		free(node->kids);
		node->kids = NULL;
	}
	node->cap_kids = cap;
}

void xn_xs_node_attach(struct xn_xs_node *parent, struct xn_xs_node *node)
{
	bool found;
	uint32_t index = kid_index(parent, node->name, node->name_len, &found);

	assert(!found);
	if (parent->n_kids == parent->cap_kids)
		resize_kids(parent, parent->cap_kids ? parent->cap_kids * 2 + 1 : 3);
	memmove(parent->kids + index + 1, parent->kids + index,
		(parent->n_kids - index) * sizeof(parent->kids[0]));
	parent->kids[index] = node;
	parent->n_kids++;
	node->parent = parent;
}

void xn_xs_node_detach(struct xn_xs_node *node)
{
	struct xn_xs_node *parent = node->parent;
	bool found;
	uint32_t index = kid_index(parent, node->name, node->name_len, &found);

	assert(found);
	parent->n_kids--;
	memmove(parent->kids + index, parent->kids + index + 1,
		(parent->n_kids - index) * sizeof(parent->kids[0]));
	if (!parent->n_kids)
		resize_kids(parent, 0);
	else if (parent->cap_kids > 3 && parent->n_kids <= parent->cap_kids / 4)
		resize_kids(parent, parent->cap_kids / 2);
	node->parent = NULL;
}

struct xn_xs_node *xn_xs_node_skip(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level)
{
	while (node != top) {
		bool found;
		uint32_t index = kid_index(node->parent, node->name, node->name_len, &found);

		if (index + 1 < node->parent->n_kids)
			return node->parent->kids[index + 1];
		node = node->parent;
		--*level;
	}
	return NULL;
}

struct xn_xs_node *xn_xs_node_next(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level)
{
	if (!node->n_kids)
		return xn_xs_node_skip(top, node, level);
	++*level;
	return node->kids[0];
}

void xn_xs_node_free_tree(struct xn_xs_node *top, void (*drop)(struct xn_xs_node *node))
{
	struct xn_xs_node *node = top;

	while (node) {
		struct xn_xs_node *parent = node->parent;

		if (node->n_kids) {
			node = node->kids[--node->n_kids];
			continue;
		}
		drop(node);
		node = node == top ? NULL : parent;
	}
}

size_t xn_xs_node_bytes(const struct xn_xs_node *node)
{
	size_t bytes = offsetof(struct xn_xs_node, name) + node->name_len + 1u + node->room;

	if (node->value_len > node->room)
		bytes += node->value_len;
	return bytes + sizeof(void *); /* its place among its parent's kids */
}

struct xn_xs_node *xn_xs_node_find(struct xn_xs_node *root, const char *path, size_t len)
{
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	while (root && (name = xn_xs_path_next(&at, end, &name_len)))
		root = xn_xs_node_kid(root, name, name_len);
	return root;
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
