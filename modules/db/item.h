/*
 * Entries of a checkpoint in memory, as bytes: a table by space and key. For those who gather what
 * transactions do (fold.c) and for history's rows; on any thread.
 */
#ifndef XN_DB_ITEM_H
#define XN_DB_ITEM_H

#include "core/hmap.h"
#include "modules/db/codec.h"
#include "modules/db/store.h"

struct xn_item {
	struct xn_hnode node;
	enum xn_space space;
	bool present; /* else .value is what it was, or nothing */
	bool changed; /* the user's */
	struct xn_buf value;
	size_t key_len;
	unsigned char key[];
};

struct xn_items { /* all zero bytes: empty */
	struct xn_hmap map; /* of .node, for walks */
};

struct xn_item *xn_items_find(const struct xn_items *items, enum xn_space space, const void *key,
			      size_t len); /* or NULL */
/* One that is not there yet; not present. */
struct xn_item *xn_items_add(struct xn_items *items, enum xn_space space, const void *key,
			     size_t len);
void xn_items_clear(struct xn_items *items);

static inline struct xn_slice xn_item_key(const struct xn_item *item)
{
	return (struct xn_slice){item->key, item->key_len};
}

static inline struct xn_slice xn_item_value(const struct xn_item *item)
{
	return (struct xn_slice){(unsigned char *)item->value.data, item->value.len};
}

/* The order of keys in a checkpoint: < 0, 0, > 0. */
int xn_slice_order(const struct xn_slice *a, const struct xn_slice *b);

#endif
