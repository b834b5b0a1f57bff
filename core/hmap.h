/*
 * Intrusive hash table: the node sits in the element, the caller compares keys. Grows by
 * doubling. Keys from outside are hashed with a process-wide secret seed (xn_hash_seed), which
 * simulation sets by hand; iteration order must therefore never reach a client or the disk.
 */
#ifndef XN_HMAP_H
#define XN_HMAP_H

#include "core/base.h"

struct xn_hnode {
	struct xn_hnode *next;
	uint64_t hash;
};

struct xn_hmap {
	struct xn_hnode **buckets;
	size_t n_buckets; /* a power of two, or 0 */
	size_t count;
};

/* Set once at start-up, before the first table is filled. */
void xn_hash_set_seed(uint64_t seed);
uint64_t xn_hash_bytes(const void *data, size_t len);
uint64_t xn_hash_string(const char *s);

/* A map of all zero bytes is an empty map. clear frees the buckets, not the elements. */
void xn_hmap_clear(struct xn_hmap *map);
void xn_hmap_insert(struct xn_hmap *map, struct xn_hnode *node, uint64_t hash);
void xn_hmap_remove(struct xn_hmap *map, struct xn_hnode *node);

/* First node with @hash, or NULL; then xn_hmap_next_same() until NULL: compare keys yourself. */
struct xn_hnode *xn_hmap_first_same(const struct xn_hmap *map, uint64_t hash);
struct xn_hnode *xn_hmap_next_same(const struct xn_hnode *node);

/* Whole-table walk; the current node may be removed if its successor was taken first. */
struct xn_hnode *xn_hmap_first(const struct xn_hmap *map);
struct xn_hnode *xn_hmap_next(const struct xn_hmap *map, const struct xn_hnode *node);

#endif
