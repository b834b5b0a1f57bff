/* The cached list of domains; see domain_table.h. */
#include "modules/domain/libxl/domain_table.h"

#include <stdio.h>
#include <stdlib.h>

struct entry {
	struct xn_hnode by_domid, by_uuid;
	struct xn_domain_info info;
	uint64_t born;	  /* the clock when it was first seen: younger domains have more */
	uint64_t changed; /* ... when the end of a call told of it; 0: only read */
	uint64_t seen;	  /* the latest reading that had it */
	bool gone;	  /* destroyed; stays until a reading that was asked later */
};

static struct entry *find_entry(const struct xn_domain_table *table, uint32_t domid)
{
	struct xn_hnode *node = xn_hmap_first_same(&table->by_domid, domid);

	return node ? xn_container_of(node, struct entry, by_domid) : NULL;
}

static void drop(struct xn_domain_table *table, struct entry *entry)
{
	xn_hmap_remove(&table->by_domid, &entry->by_domid);
	xn_hmap_remove(&table->by_uuid, &entry->by_uuid);
	free(entry);
}

/* The entry of @info's domain, filled; another one when the number has gone to another domain. */
static struct entry *set(struct xn_domain_table *table, const struct xn_domain_info *info)
{
	struct entry *entry = find_entry(table, info->domid);

	if (entry && strcmp(entry->info.uuid, info->uuid) != 0) {
		drop(table, entry);
		entry = NULL;
	}
	if (!entry) {
		entry = xn_calloc(1, sizeof(*entry));
		entry->born = ++table->clock;
		xn_hmap_insert(&table->by_domid, &entry->by_domid, info->domid);
		xn_hmap_insert(&table->by_uuid, &entry->by_uuid, xn_hash_string(info->uuid));
	}
	entry->info = *info;
	entry->gone = false;
	return entry;
}

/* ---- readings ---- */

static uint64_t size_of(const struct xn_value *map, const char *key)
{
	int64_t n = xn_map_get_int(map, key, 0);

	return n > 0 ? (uint64_t)n : 0;
}

static const char *text_of(const struct xn_value *map, const char *key)
{
	const struct xn_value *v = xn_map_get(map, key);

	return v && v->kind == XN_STRING ? xn_value_string(v) : "";
}

static bool read_info(const struct xn_value *map, struct xn_domain_info *out)
{
	int64_t domid, code;

	if (map->kind != XN_MAP)
		return false;
	domid = xn_map_get_int(map, "domid", -1);
	code = xn_map_get_int(map, "shutdown_code", XN_SHUTDOWN_NONE);
	if (domid <= 0 || domid > UINT16_MAX || strlen(text_of(map, "uuid")) != 36)
		return false;
	*out = (struct xn_domain_info){
		.domid = (uint32_t)domid,
		.paused = xn_map_get_bool(map, "paused", false),
		.dying = xn_map_get_bool(map, "dying", false),
		.shut_down = xn_map_get_bool(map, "shut_down", false),
		.shutdown_code = code < XN_SHUTDOWN_NONE || code > XN_SHUTDOWN_SOFT_RESET
					 ? XN_SHUTDOWN_CRASH
					 : (enum xn_domain_shutdown)code,
		.memory_bytes = size_of(map, "memory_bytes"),
		.max_memory_bytes = size_of(map, "max_memory_bytes"),
		.vcpus = (unsigned)size_of(map, "vcpus"),
		.cpu_ns = size_of(map, "cpu_ns"),
	};
	snprintf(out->uuid, sizeof(out->uuid), "%s", text_of(map, "uuid"));
	snprintf(out->type, sizeof(out->type), "%s", text_of(map, "type"));
	return true;
}

uint64_t xn_domain_table_ask(struct xn_domain_table *table)
{
	return ++table->clock;
}

bool xn_domain_table_read(struct xn_domain_table *table, uint64_t stamp,
			  const struct xn_value *list)
{
	struct xn_hnode *node, *next;
	struct xn_domain_info info;
	bool stale = false;

	for (size_t i = 0; i < xn_set_len(list); i++) {
		struct entry *entry;

		if (!read_info(xn_set_at(list, i), &info))
			continue;
		entry = find_entry(table, info.domid);
		if (entry && entry->changed > stamp)
			continue;
		set(table, &info)->seen = stamp;
	}
	for (node = xn_hmap_first(&table->by_domid); node; node = next) {
		struct entry *entry = xn_container_of(node, struct entry, by_domid);

		next = xn_hmap_next(&table->by_domid, node);
		if (entry->changed > stamp)
			stale = true;
		else if (entry->seen != stamp)
			drop(table, entry);
	}
	return stale;
}

/* ---- changes ---- */

void xn_domain_table_put(struct xn_domain_table *table, const struct xn_domain_info *info)
{
	struct entry *entry = set(table, info);

	entry->changed = ++table->clock;
}

void xn_domain_table_remove(struct xn_domain_table *table, uint32_t domid)
{
	struct entry *entry = find_entry(table, domid);

	if (!entry)
		return;
	entry->gone = true;
	entry->changed = ++table->clock;
}

void xn_domain_table_clear(struct xn_domain_table *table)
{
	struct xn_hnode *node;

	while ((node = xn_hmap_first(&table->by_domid)))
		drop(table, xn_container_of(node, struct entry, by_domid));
	xn_hmap_clear(&table->by_domid);
	xn_hmap_clear(&table->by_uuid);
	free(table->infos);
	*table = (struct xn_domain_table){0};
}

/* ---- readers ---- */

const struct xn_domain_info *xn_domain_table_get(const struct xn_domain_table *table, uint32_t domid)
{
	const struct entry *entry = find_entry(table, domid);

	return entry && !entry->gone ? &entry->info : NULL;
}

const struct xn_domain_info *xn_domain_table_find(const struct xn_domain_table *table,
						  const char *uuid)
{
	struct xn_hnode *node = xn_hmap_first_same(&table->by_uuid, xn_hash_string(uuid));
	const struct entry *found = NULL;

	for (; node; node = xn_hmap_next_same(node)) {
		const struct entry *entry = xn_container_of(node, struct entry, by_uuid);

		if (!entry->gone && !entry->info.dying && !strcmp(entry->info.uuid, uuid) &&
		    (!found || entry->born > found->born))
			found = entry;
	}
	return found ? &found->info : NULL;
}

const struct xn_domain_info *xn_domain_table_list(struct xn_domain_table *table, size_t *n_out)
{
	struct xn_hnode *node = xn_hmap_first(&table->by_domid);
	size_t n = 0;

	if (table->by_domid.count > table->n_infos) {
		table->n_infos = table->by_domid.count * 2;
		free(table->infos);
		table->infos = xn_malloc(table->n_infos * sizeof(table->infos[0]));
	}
	for (; node; node = xn_hmap_next(&table->by_domid, node)) {
		const struct entry *entry = xn_container_of(node, struct entry, by_domid);

		if (!entry->gone)
			table->infos[n++] = entry->info;
	}
	*n_out = n;
	return table->infos;
}
