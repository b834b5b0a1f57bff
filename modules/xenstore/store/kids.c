/*
 * The children of a node, sorted by name. Few are in one array, a leaf; many in leaves under an
 * index, so that another child among a million moves a few hundred pointers and not all of them.
 */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

enum { LEAF_MAX = 254 }; /* nodes of a leaf under an index: 2 KiB with the header */

struct xn_xs_kids {
	uint32_t n, cap : 31, is_index : 1;
	union {
		struct xn_xs_node *nodes[0];
		struct xn_xs_kids *leaves[0]; /* none is empty */
	};
};

/* A place among the children: an entry, or where one would be. */
struct place {
	struct xn_xs_kids *leaf;
	uint32_t leaf_at, at;
	bool is_there;
};

static inline uint64_t eight_bytes(const char *at)
{
	uint64_t bytes;

	memcpy(&bytes, at, sizeof(bytes));
	return be64toh(bytes);
}

/* By bytes, the shorter one first; most names are too short for a call to pay. */
static inline int order(const char *a, size_t a_len, const struct xn_xs_node *b)
{
	size_t n = a_len < b->name_len ? a_len : b->name_len, i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t x = eight_bytes(a + i), y = eight_bytes(b->name + i);

		if (x != y)
			return x < y ? -1 : 1;
	}
	for (; i < n; i++)
		if (a[i] != b->name[i])
			return (unsigned char)a[i] - (unsigned char)b->name[i];
	return (int)a_len - (int)b->name_len;
}

/* The last leaf that begins at or before the name; the first one if none does. */
static uint32_t find_leaf(const struct xn_xs_kids *index, const char *name, size_t len)
{
	uint32_t low = 0, high = index->n;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (order(name, len, index->leaves[mid]->nodes[0]) < 0)
			high = mid;
		else
			low = mid;
	}
	return low;
}

static inline struct place find(struct xn_xs_kids *kids, const char *name, size_t len)
{
	struct place place = {.leaf = kids};
	uint32_t low = 0, high;

	if (kids->is_index) {
		place.leaf_at = find_leaf(kids, name, len);
		place.leaf = kids->leaves[place.leaf_at];
	}
	for (high = place.leaf->n; low < high;) {
		uint32_t mid = low + (high - low) / 2;
		int which = order(name, len, place.leaf->nodes[mid]);

		if (!which) {
			place.is_there = true;
			low = mid;
			break;
		}
		if (which < 0)
			high = mid;
		else
			low = mid + 1;
	}
	place.at = low;
	return place;
}

static struct place find_node(const struct xn_xs_node *node)
{
	struct place place = find(node->parent->kids, node->name, node->name_len);

	assert(place.is_there);
	return place;
}

struct xn_xs_node *xn_xs_node_kid(const struct xn_xs_node *node, const char *name, size_t len)
{
	struct place place;

	if (!node->kids)
		return NULL;
	place = find(node->kids, name, len);
	return place.is_there ? place.leaf->nodes[place.at] : NULL;
}

/* ---- in order ---- */

void xn_xs_kid_walk_init(struct xn_xs_kid_walk *walk, const struct xn_xs_node *node_or_null)
{
	*walk = (struct xn_xs_kid_walk){.kids = node_or_null ? node_or_null->kids : NULL};
}

void xn_xs_kid_walk_from(struct xn_xs_kid_walk *walk, const struct xn_xs_node *kid)
{
	struct place place = find_node(kid);

	*walk = (struct xn_xs_kid_walk){
		.kids = kid->parent->kids, .leaf = place.leaf_at, .at = place.at};
}

struct xn_xs_node *xn_xs_kid_walk_next(struct xn_xs_kid_walk *walk)
{
	const struct xn_xs_kids *leaf = walk->kids;

	if (!leaf)
		return NULL;
	if (leaf->is_index) {
		if (walk->leaf == leaf->n)
			return NULL;
		leaf = leaf->leaves[walk->leaf];
	}
	if (walk->at == leaf->n)
		return NULL; /* of the only leaf */
	if (walk->kids->is_index && walk->at + 1 == leaf->n) {
		walk->leaf++;
		walk->at = 0;
		return leaf->nodes[leaf->n - 1];
	}
	return leaf->nodes[walk->at++];
}

struct xn_xs_node *xn_xs_node_first_kid(const struct xn_xs_node *node)
{
	if (!node->kids)
		return NULL;
	return node->kids->is_index ? node->kids->leaves[0]->nodes[0] : node->kids->nodes[0];
}

/* What is at @place, or after it when there is nothing. */
static struct xn_xs_node *node_from(const struct xn_xs_kids *kids, const struct place *place)
{
	if (place->at < place->leaf->n)
		return place->leaf->nodes[place->at];
	if (kids->is_index && place->leaf_at + 1 < kids->n)
		return kids->leaves[place->leaf_at + 1]->nodes[0];
	return NULL;
}

struct xn_xs_node *xn_xs_node_kid_from(const struct xn_xs_node *node, const char *name, size_t len)
{
	struct place place;

	if (!node->kids)
		return NULL;
	place = find(node->kids, name, len);
	return node_from(node->kids, &place);
}

struct xn_xs_node *xn_xs_node_sibling(const struct xn_xs_node *node)
{
	struct place place = find_node(node);

	place.at++;
	return node_from(node->parent->kids, &place);
}

static struct xn_xs_kids *last_leaf(struct xn_xs_kids *kids)
{
	return kids->is_index ? kids->leaves[kids->n - 1] : kids;
}

/* ---- changes ---- */

static struct xn_xs_kids *resize(struct xn_xs_kids *kids, uint32_t cap)
{
	struct xn_xs_kids *fresh = xn_realloc(kids, sizeof(*kids) + cap * sizeof(kids->nodes[0]));

	if (!kids)
		fresh->n = fresh->is_index = 0;
	fresh->cap = cap & INT32_MAX;
	return fresh;
}

/* With the header 24, 56, 120 bytes ...: what fits malloc's sizes. */
static struct xn_xs_kids *with_room(struct xn_xs_kids *kids)
{
	if (kids && kids->n < kids->cap)
		return kids;
	return resize(kids, kids ? kids->cap * 2 + 2 : 2);
}

static void insert_pointer(struct xn_xs_kids *kids, uint32_t at, void *pointer)
{
	memmove(kids->nodes + at + 1, kids->nodes + at, (kids->n - at) * sizeof(kids->nodes[0]));
	kids->nodes[at] = pointer;
	kids->n++;
}

static void remove_pointer(struct xn_xs_kids *kids, uint32_t at)
{
	kids->n--;
	memmove(kids->nodes + at, kids->nodes + at + 1, (kids->n - at) * sizeof(kids->nodes[0]));
}

/* The children get an index with a single leaf. */
static struct xn_xs_kids *make_index(struct xn_xs_kids *leaf)
{
	struct xn_xs_kids *index = resize(NULL, 2);

	index->is_index = 1;
	index->leaves[0] = leaf;
	index->n = 1;
	return index;
}

/* Splits the full leaf at *place, which goes on at the half it falls into. At the very end nothing
 * moves: names that come in order leave full leaves. */
static void split(struct xn_xs_node *parent, struct place *place)
{
	struct xn_xs_kids *leaf = place->leaf, *right = resize(NULL, LEAF_MAX);
	bool is_last = place->leaf_at + 1 == parent->kids->n && place->at == leaf->n;
	uint32_t half = is_last ? leaf->n : leaf->n / 2;

	right->n = leaf->n - half;
	memcpy(right->nodes, leaf->nodes + half, right->n * sizeof(right->nodes[0]));
	leaf->n = half;
	parent->kids = with_room(parent->kids);
	insert_pointer(parent->kids, place->leaf_at + 1, right);
	if (place->at < half || (place->at == half && !is_last))
		return;
	place->leaf = right;
	place->leaf_at++;
	place->at -= half;
}

static void insert_at(struct xn_xs_node *parent, struct place *place, struct xn_xs_node *node)
{
	node->parent = parent;
	if (place->leaf && place->leaf->n == LEAF_MAX) {
		if (!parent->kids->is_index)
			parent->kids = make_index(place->leaf);
		split(parent, place);
	} else if (!parent->kids || !parent->kids->is_index) {
		place->leaf = parent->kids = with_room(parent->kids);
	}
	insert_pointer(place->leaf, place->at, node);
}

void xn_xs_node_attach(struct xn_xs_node *parent, struct xn_xs_node *node)
{
	struct place place = {0};

	if (parent->kids)
		place = find(parent->kids, node->name, node->name_len);
	assert(!place.is_there);
	insert_at(parent, &place, node);
}

struct xn_xs_node *xn_xs_node_attach_last(struct xn_xs_node *parent, struct xn_xs_node *node)
{
	struct place place = {0};

	if (parent->kids) {
		place.leaf = last_leaf(parent->kids);
		place.leaf_at = parent->kids->is_index ? parent->kids->n - 1 : 0;
		place.at = place.leaf->n;
		if (order(node->name, node->name_len, place.leaf->nodes[place.at - 1]) <= 0)
			place = find(parent->kids, node->name, node->name_len);
	}
	if (place.is_there)
		return NULL;
	insert_at(parent, &place, node);
	return node;
}

/* A leaf became smaller: none is left empty, and the last one needs no index. */
static void tidy(struct xn_xs_node *parent, const struct place *place)
{
	struct xn_xs_kids *kids = parent->kids;

	if (kids->is_index && !place->leaf->n) {
		free(place->leaf);
		remove_pointer(kids, place->leaf_at);
		if (kids->n == 1) {
			parent->kids = kids->leaves[0];
			free(kids);
		}
		return;
	}
	if (kids->is_index)
		return;
	if (!kids->n) {
		free(kids);
		parent->kids = NULL;
	} else if (kids->cap > 2 && kids->n <= kids->cap / 4) {
		parent->kids = resize(kids, kids->cap / 2 - 1);
	}
}

void xn_xs_node_detach(struct xn_xs_node *node)
{
	struct xn_xs_node *parent = node->parent;
	struct place place = find_node(node);

	remove_pointer(place.leaf, place.at);
	tidy(parent, &place);
	node->parent = NULL;
}

struct xn_xs_node *xn_xs_node_pop_kid(struct xn_xs_node *parent)
{
	struct place place = {0};

	if (!parent->kids)
		return NULL;
	place.leaf = last_leaf(parent->kids);
	place.leaf_at = parent->kids->n - 1;
	if (--place.leaf->n) /* room is given back at the end */
		return place.leaf->nodes[place.leaf->n];
	{
		struct xn_xs_node *kid = place.leaf->nodes[0];

		tidy(parent, &place);
		return kid;
	}
}
