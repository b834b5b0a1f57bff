/* Intrusive hash table; see hmap.h. The string hash is FNV-1a folded with a secret seed. */
#include "core/hmap.h"

#include <stdlib.h>

static uint64_t hash_seed = 0x9e3779b97f4a7c15u; /* process-wide by need: see hmap.h */

void xn_hash_set_seed(uint64_t seed)
{
	hash_seed = seed;
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53u;
	h ^= h >> 33;
	return h;
}

uint64_t xn_hash_bytes(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = hash_seed ^ (len * 0x100000001b3u);

	while (len >= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		h = mix(h ^ word);
		p += 8;
		len -= 8;
	}
	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	return mix(h);
}

uint64_t xn_hash_string(const char *s)
{
	return xn_hash_bytes(s, strlen(s));
}

void xn_hmap_clear(struct xn_hmap *map)
{
	free(map->buckets);
	*map = (struct xn_hmap){0};
}

static void grow(struct xn_hmap *map)
{
	size_t n = map->n_buckets ? map->n_buckets * 2 : 8;
	struct xn_hnode **fresh = xn_calloc(n, sizeof(*fresh));

	for (size_t i = 0; i < map->n_buckets; i++) {
		struct xn_hnode *node = map->buckets[i];

		while (node) {
			struct xn_hnode *next = node->next;

			node->next = fresh[node->hash & (n - 1)];
			fresh[node->hash & (n - 1)] = node;
			node = next;
		}
	}
	free(map->buckets);
	map->buckets = fresh;
	map->n_buckets = n;
}

void xn_hmap_insert(struct xn_hmap *map, struct xn_hnode *node, uint64_t hash)
{
	struct xn_hnode **slot;

	if (map->count >= map->n_buckets)
		grow(map);
	slot = &map->buckets[hash & (map->n_buckets - 1)];
	node->hash = hash;
	node->next = *slot;
	*slot = node;
	map->count++;
}

void xn_hmap_remove(struct xn_hmap *map, struct xn_hnode *node)
{
	struct xn_hnode **slot = &map->buckets[node->hash & (map->n_buckets - 1)];

	while (*slot != node)
		slot = &(*slot)->next;
	*slot = node->next;
	node->next = NULL;
	map->count--;
}

struct xn_hnode *xn_hmap_first_same(const struct xn_hmap *map, uint64_t hash)
{
	struct xn_hnode *node;

	if (!map->n_buckets)
		return NULL;
	node = map->buckets[hash & (map->n_buckets - 1)];
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct xn_hnode *xn_hmap_next_same(const struct xn_hnode *node)
{
	uint64_t hash = node->hash;

	do
		node = node->next;
	while (node && node->hash != hash);
	return (struct xn_hnode *)node;
}

static struct xn_hnode *first_from(const struct xn_hmap *map, size_t bucket)
{
	for (; bucket < map->n_buckets; bucket++)
		if (map->buckets[bucket])
			return map->buckets[bucket];
	return NULL;
}

struct xn_hnode *xn_hmap_first(const struct xn_hmap *map)
{
	return first_from(map, 0);
}

struct xn_hnode *xn_hmap_next(const struct xn_hmap *map, const struct xn_hnode *node)
{
	if (node->next)
		return node->next;
	return first_from(map, (node->hash & (map->n_buckets - 1)) + 1);
}
