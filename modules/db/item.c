/* Entries in memory; see item.h. */
#include "modules/db/item.h"

#include <stdlib.h>

static uint64_t hash_of(enum xn_space space, const void *key, size_t len)
{
	return xn_hash_bytes(key, len) + (uint64_t)space;
}

struct xn_item *xn_items_find(const struct xn_items *items, enum xn_space space, const void *key,
			      size_t len)
{
	struct xn_hnode *node = xn_hmap_first_same(&items->map, hash_of(space, key, len));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_item *item = xn_container_of(node, struct xn_item, node);

		if (item->space == space && item->key_len == len &&
		    memcmp(item->key, key, len) == 0)
			return item;
	}
	return NULL;
}

struct xn_item *xn_items_add(struct xn_items *items, enum xn_space space, const void *key,
			     size_t len)
{
	struct xn_item *item = xn_calloc(1, sizeof(*item) + len);

	item->space = space;
	item->key_len = len;
	memcpy(item->key, key, len);
	xn_hmap_insert(&items->map, &item->node, hash_of(space, key, len));
	return item;
}

void xn_items_clear(struct xn_items *items)
{
	struct xn_hnode *node, *next;

	for (node = xn_hmap_first(&items->map); node; node = next) {
		struct xn_item *item = xn_container_of(node, struct xn_item, node);

		next = xn_hmap_next(&items->map, node);
		xn_buf_clear(&item->value);
		free(item);
	}
	xn_hmap_clear(&items->map);
}

int xn_slice_order(const struct xn_slice *a, const struct xn_slice *b)
{
	size_t common = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->data, b->data, common);

	if (order || a->len == b->len)
		return order;
	return a->len < b->len ? -1 : 1;
}
