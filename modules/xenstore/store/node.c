/* Nodes: one allocation each for name and small value, children sorted by name in an array. */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <stdlib.h>

/* malloc gives 8 bytes more than a multiple of 16: a node takes all that it gets. */
static size_t round_up(size_t size)
{
	return (size + 7) / 16 * 16 + 8;
}

struct xn_xs_node *xn_xs_node_new(const char *name, size_t name_len, const void *value,
				  size_t value_len, struct xn_xs_perms *perms)
{
	size_t fixed = offsetof(struct xn_xs_node, name) + name_len + 1;
	/* Long values live outside, and there must be room for their address. */
	size_t size = round_up(fixed + (value_len <= 64 && value_len > 8 ? value_len : 8));
	struct xn_xs_node *node;

	assert(name_len <= XN_XS_PATH_MAX && value_len <= XN_XS_VALUE_MAX);
	if (size < sizeof(*node))
		size = round_up(sizeof(*node));
	node = xn_malloc(size);
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
	free(outside(node));
	free(node->kids);
	free(node);
}

void xn_xs_node_drop(struct xn_xs_node *node)
{
	xn_xs_perms_unref(node->perms);
	xn_xs_node_free(node);
}

static int order(const char *a, size_t a_len, const struct xn_xs_node *b)
{
	int order = memcmp(a, b->name, a_len < b->name_len ? a_len : b->name_len);

	return order ? order : (int)a_len - (int)b->name_len;
}

/* Where @name is among the kids, or would be. */
static uint32_t kid_index(const struct xn_xs_node *node, const char *name, size_t len, bool *found)
{
	uint32_t low = 0, high = xn_xs_node_n_kids(node);

	*found = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int which = order(name, len, node->kids->at[mid]);

		if (!which) {
			*found = true;
			return mid;
		}
		if (which < 0)
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

	return found ? node->kids->at[index] : NULL;
}

/* With the header 24, 56, 120 bytes ...: what fits malloc's sizes. */
static void resize_kids(struct xn_xs_node *node, uint32_t cap)
{
	if (!cap) {
		free(node->kids);
		node->kids = NULL;
		return;
	}
	if (!node->kids)
		node->kids = xn_calloc(1, sizeof(*node->kids) + cap * sizeof(node->kids->at[0]));
	else
		node->kids = xn_realloc(node->kids,
					sizeof(*node->kids) + cap * sizeof(node->kids->at[0]));
	node->kids->cap = cap;
}

static void insert_kid(struct xn_xs_node *parent, uint32_t index, struct xn_xs_node *node)
{
	struct xn_xs_kids *kids = parent->kids;

	if (!kids || kids->n == kids->cap) {
		resize_kids(parent, kids ? kids->cap * 2 + 2 : 2);
		kids = parent->kids;
	}
	memmove(kids->at + index + 1, kids->at + index, (kids->n - index) * sizeof(kids->at[0]));
	kids->at[index] = node;
	kids->n++;
	node->parent = parent;
}

void xn_xs_node_attach(struct xn_xs_node *parent, struct xn_xs_node *node)
{
	bool found;
	uint32_t index = kid_index(parent, node->name, node->name_len, &found);

	assert(!found);
	insert_kid(parent, index, node);
}

struct xn_xs_node *xn_xs_node_attach_last(struct xn_xs_node *parent, struct xn_xs_node *node)
{
	uint32_t n = xn_xs_node_n_kids(parent);
	bool found = false;

	if (n && order(node->name, node->name_len, parent->kids->at[n - 1]) <= 0)
		n = kid_index(parent, node->name, node->name_len, &found);
	if (found)
		return NULL;
	insert_kid(parent, n, node);
	return node;
}

void xn_xs_node_detach(struct xn_xs_node *node)
{
	struct xn_xs_node *parent = node->parent;
	struct xn_xs_kids *kids = parent->kids;
	bool found;
	uint32_t index = kid_index(parent, node->name, node->name_len, &found);

	assert(found);
	kids->n--;
	memmove(kids->at + index, kids->at + index + 1, (kids->n - index) * sizeof(kids->at[0]));
	if (!kids->n)
		resize_kids(parent, 0);
	else if (kids->cap > 2 && kids->n <= kids->cap / 4)
		resize_kids(parent, kids->cap / 2 - 1);
	node->parent = NULL;
}

struct xn_xs_node *xn_xs_node_skip(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level)
{
	while (node != top) {
		bool found;
		uint32_t index = kid_index(node->parent, node->name, node->name_len, &found);

		if (index + 1 < node->parent->kids->n)
			return node->parent->kids->at[index + 1];
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
	return node->kids->at[0];
}

void xn_xs_node_free_tree(struct xn_xs_node *top, void (*drop)(struct xn_xs_node *node))
{
	struct xn_xs_node *node = top;

	while (node) {
		struct xn_xs_node *parent = node->parent;

		if (xn_xs_node_n_kids(node)) {
			node = node->kids->at[--node->kids->n];
			continue;
		}
		drop(node);
		node = node == top ? NULL : parent;
	}
}

/* The same for equal nodes, however they came to be: accounts survive a restart. */
size_t xn_xs_node_bytes(const struct xn_xs_node *node)
{
	enum { FIXED = 64 }; /* header, terminator, place among the parent's kids, rounding */

	return FIXED + (size_t)node->name_len + node->value_len;
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
		bool found;
		uint32_t index = kid_index(node, name, name_len, &found);

		if (!found && index < xn_xs_node_n_kids(node))
			return node->kids->at[index];
		if (!found)
			return xn_xs_node_skip(root, node, &level);
		node = node->kids->at[index];
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
