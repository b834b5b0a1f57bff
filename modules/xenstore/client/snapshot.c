/*
 * A read copy of some subtrees: paths and values in one arena, found by a hash of the path,
 * siblings linked in order. Values are made valid text here, so that nobody behind it has to care.
 */
#include "modules/xenstore/client/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { MAX_LEVELS = 1600, NONE = -1 };

struct item {
	uint32_t path_at, value_at; /* in the arena */
	uint32_t name_at;           /* 0: not among the kids of another item */
	uint32_t path_len;
	uint64_t hash;
	int32_t first_kid, last_kid, next_sibling, next_same_slot;
	uint32_t n_kids;
	const char **names; /* made when first asked for */
};

struct xn_xs_snapshot {
	struct xn_buf arena;
	struct item *items;
	int32_t n_items, cap_items;
	int32_t *slots;
	uint32_t n_slots;
	size_t max_bytes;
	bool is_cut;
	/* While adding: */
	const char *root;
	size_t root_len;
	int32_t at_level[MAX_LEVELS];
};

struct xn_xs_snapshot *xn_xs_snapshot_new(size_t max_bytes)
{
	struct xn_xs_snapshot *snap = xn_malloc(sizeof(*snap));

	memset(snap, 0, offsetof(struct xn_xs_snapshot, at_level));
	snap->max_bytes = max_bytes < UINT32_MAX / 4 ? max_bytes : UINT32_MAX / 4;
	return snap;
}

void xn_xs_snapshot_free(struct xn_xs_snapshot *snap)
{
	if (!snap)
		return;
	for (int32_t i = 0; i < snap->n_items; i++)
		free(snap->items[i].names);
	free(snap->items);
	free(snap->slots);
	xn_buf_clear(&snap->arena);
	free(snap);
}

static int32_t find(const struct xn_xs_snapshot *snap, const char *path, size_t len, uint64_t hash)
{
	int32_t at = snap->n_slots ? snap->slots[hash & (snap->n_slots - 1)] : NONE;

	for (; at != NONE; at = snap->items[at].next_same_slot) {
		const struct item *item = &snap->items[at];

		if (item->hash == hash && item->path_len == len &&
		    !memcmp(snap->arena.data + item->path_at, path, len))
			break;
	}
	return at;
}

static void link_slot(struct xn_xs_snapshot *snap, int32_t index)
{
	int32_t *slot = &snap->slots[snap->items[index].hash & (snap->n_slots - 1)];

	snap->items[index].next_same_slot = *slot;
	*slot = index;
}

static void grow(struct xn_xs_snapshot *snap)
{
	snap->cap_items = snap->cap_items ? snap->cap_items * 2 : 64;
	snap->items = xn_realloc(snap->items, (size_t)snap->cap_items * sizeof(snap->items[0]));
	snap->n_slots = (uint32_t)snap->cap_items;
	free(snap->slots);
	snap->slots = xn_malloc(snap->n_slots * sizeof(snap->slots[0]));
	for (uint32_t i = 0; i < snap->n_slots; i++)
		snap->slots[i] = NONE;
	for (int32_t i = 0; i < snap->n_items; i++)
		link_slot(snap, i);
}

/* The path is the last @path_len bytes (terminated) of the arena. */
static int32_t add_item(struct xn_xs_snapshot *snap, size_t path_len, uint64_t hash)
{
	int32_t index;
	struct item *item;

	if (snap->n_items == snap->cap_items)
		grow(snap);
	index = snap->n_items++;
	item = &snap->items[index];
	*item = (struct item){.path_at = (uint32_t)(snap->arena.len - path_len - 1),
			      .path_len = (uint32_t)path_len,
			      .hash = hash,
			      .first_kid = NONE,
			      .last_kid = NONE,
			      .next_sibling = NONE};
	link_slot(snap, index);
	return index;
}

static void link_kid(struct xn_xs_snapshot *snap, int32_t parent, int32_t index)
{
	struct item *up = &snap->items[parent], *item = &snap->items[index];

	if (item->name_at) /* linked already: two roots overlap */
		return;
	item->name_at = item->path_at + up->path_len + (up->path_len > 1);
	if (up->last_kid == NONE)
		up->first_kid = index;
	else
		snap->items[up->last_kid].next_sibling = index;
	up->last_kid = index;
	up->n_kids++;
}

/* Appends the path of a node to the arena; returns its length. */
static size_t add_path(struct xn_xs_snapshot *snap, const char *name, size_t name_len,
		       unsigned level)
{
	size_t start = snap->arena.len;

	if (!level) {
		xn_buf_add(&snap->arena, snap->root, snap->root_len);
	} else {
		const struct item *up = &snap->items[snap->at_level[level - 1]];
		size_t up_len = up->path_len > 1 ? up->path_len : 0;
		char *room = xn_buf_reserve(&snap->arena, up_len + 1 + name_len);

		memcpy(room, snap->arena.data + up->path_at, up_len);
		room[up_len] = '/';
		memcpy(room + up_len + 1, name, name_len);
		snap->arena.len += up_len + 1 + name_len;
	}
	xn_buf_add_char(&snap->arena, '\0');
	return snap->arena.len - start - 1;
}

static int on_node(const char *name, size_t name_len, unsigned level, const char *value,
		   size_t value_len, void *arg)
{
	struct xn_xs_snapshot *snap = arg;
	int32_t index;
	size_t path_len;
	uint64_t hash;

	if (snap->arena.len + snap->root_len + name_len + value_len > snap->max_bytes) {
		snap->is_cut = true;
		return 1;
	}
	path_len = add_path(snap, name, name_len, level);
	hash = xn_hash_bytes(snap->arena.data + snap->arena.len - path_len - 1, path_len);
	index = find(snap, snap->arena.data + snap->arena.len - path_len - 1, path_len, hash);
	if (index == NONE) {
		index = add_item(snap, path_len, hash);
		snap->items[index].value_at = (uint32_t)snap->arena.len;
		xn_text_recode(value, value_len, &snap->arena);
		xn_buf_add_char(&snap->arena, '\0');
	} else {
		snap->arena.len -= path_len + 1;
	}
	if (level)
		link_kid(snap, snap->at_level[level - 1], index);
	snap->at_level[level] = index;
	return 0;
}

void xn_xs_snapshot_root(struct xn_xs_snapshot *snap, const char *path)
{
	snap->root = path;
	snap->root_len = strlen(path);
}

bool xn_xs_snapshot_node(struct xn_xs_snapshot *snap, const char *name, size_t name_len,
			 unsigned level, const char *value, size_t value_len)
{
	return on_node(name, name_len, level, value, value_len, snap) == 0;
}

void xn_xs_snapshot_cut(struct xn_xs_snapshot *snap)
{
	snap->is_cut = true;
}

size_t xn_xs_snapshot_bytes(const struct xn_xs_snapshot *snap)
{
	return snap->arena.len;
}

int xn_xs_snapshot_add(struct xn_xs_snapshot *snap, struct xn_xs_conn *conn, const char *path,
		       unsigned depth)
{
	int rc;

	if (snap->is_cut)
		return 0;
	xn_xs_snapshot_root(snap, path);
	rc = xn_xs_conn_walk(conn, path, depth, on_node, snap);
	return rc == -EINVAL ? rc : 0;
}

/* ---- what xenstore.h shows ---- */

static const struct item *lookup(const struct xn_xs_snapshot *snap, const char *path)
{
	size_t len = strlen(path);
	int32_t at = find(snap, path, len, xn_hash_bytes(path, len));

	return at == NONE ? NULL : &snap->items[at];
}

const char *xn_xs_get(const struct xn_xs_snapshot *snap, const char *path)
{
	const struct item *item = lookup(snap, path);

	return item ? snap->arena.data + item->value_at : NULL;
}

const char *const *xn_xs_list(const struct xn_xs_snapshot *snap, const char *path, size_t *n_out)
{
	const struct item *found = lookup(snap, path);
	struct item *item;
	int32_t kid;
	size_t n = 0;

	*n_out = 0;
	if (!found || !found->n_kids)
		return NULL;
	item = &snap->items[found - snap->items];
	*n_out = item->n_kids;
	if (item->names)
		return item->names;
	item->names = xn_malloc(item->n_kids * sizeof(item->names[0]));
	for (kid = item->first_kid; kid != NONE; kid = snap->items[kid].next_sibling)
		item->names[n++] = snap->arena.data + snap->items[kid].name_at;
	return item->names;
}

bool xn_xs_is_cut(const struct xn_xs_snapshot *snap)
{
	return snap->is_cut;
}
