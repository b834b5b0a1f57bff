/* One copy of equal values; see intern.h. */
#include "modules/db/intern.h"

#include "core/hmap.h"

#include <stdlib.h>

enum { FIRST_SLOTS = 1024, IMMORTAL = UINT32_MAX, MAX_MEMBERS = 256 };

static uint64_t hash_value(const struct xn_value *v);

static uint64_t combine(uint64_t h, uint64_t more)
{
	return (h ^ more) * 0x9e3779b97f4a7c15u + (h >> 29);
}

static uint64_t hash_members(const struct xn_value *v)
{
	uint64_t h = v->kind;

	if (v->kind == XN_SET)
		for (uint32_t i = 0; i < v->set.len; i++)
			h = combine(h, hash_value(v->set.items[i]));
	else
		for (uint32_t i = 0; i < v->map.len; i++)
			h = combine(combine(h, hash_value(v->map.entries[i].key)),
				    hash_value(v->map.entries[i].value));
	return h;
}

static uint64_t hash_value(const struct xn_value *v)
{
	if (v->kind == XN_STRING)
		return xn_hash_bytes(v->string.bytes, v->string.len);
	if (v->kind == XN_SET || v->kind == XN_MAP)
		return hash_members(v);
	return combine(v->kind, (uint64_t)v->i);
}

static struct xn_value **find_slot(const struct xn_intern *table, const struct xn_value *v)
{
	size_t at = hash_value(v) & (table->n_slots - 1);

	while (table->slots[at] && !xn_value_equal(table->slots[at], v))
		at = (at + 1) & (table->n_slots - 1);
	return &table->slots[at];
}

/* Entries that only the table holds go; the others move to a table of a size that suits them. */
static void rebuild(struct xn_intern *table)
{
	struct xn_intern old = *table;
	size_t alive = 0;

	for (size_t i = 0; i < old.n_slots; i++)
		alive += old.slots[i] && old.slots[i]->refs > 1;
	*table = (struct xn_intern){.n_slots = FIRST_SLOTS};
	while (table->n_slots < 4 * alive)
		table->n_slots *= 2;
	table->sweep_at = table->n_slots / 2;
	table->slots = xn_calloc(table->n_slots, sizeof(struct xn_value *));
	for (size_t i = 0; i < old.n_slots; i++) {
		if (!old.slots[i])
			continue;
		if (old.slots[i]->refs > 1) {
			*find_slot(table, old.slots[i]) = old.slots[i];
			table->n++;
		} else {
			xn_value_unref(old.slots[i]);
		}
	}
	free(old.slots);
}

static bool is_worth_it(const struct xn_value *v)
{
	enum { SHORT = 24 }; /* longer texts are mostly names, of which there is one each */

	switch ((enum xn_kind)v->kind) {
	case XN_STRING:
		return v->string.len <= SHORT;
	case XN_INT:
		return true;
	case XN_SET:
		return v->set.len && v->set.len <= MAX_MEMBERS;
	case XN_MAP:
		return v->map.len && v->map.len <= MAX_MEMBERS;
	default:
		return false;
	}
}

static void intern_members(struct xn_intern *table, struct xn_value *v)
{
	if (v->refs != 1)
		return;
	if (v->kind == XN_SET) {
		for (uint32_t i = 0; i < v->set.len; i++)
			v->set.items[i] = xn_intern(table, v->set.items[i]);
	} else if (v->kind == XN_MAP) {
		for (uint32_t i = 0; i < v->map.len; i++) {
			struct xn_map_entry *entry = &v->map.entries[i];

			entry->key = xn_intern(table, entry->key);
			entry->value = xn_intern(table, entry->value);
		}
	}
}

struct xn_value *xn_intern(struct xn_intern *table, struct xn_value *v)
{
	struct xn_value **slot;

	if (v->refs == IMMORTAL || !is_worth_it(v))
		return v;
	if (table->n >= table->sweep_at)
		rebuild(table);
	slot = find_slot(table, v);
	if (!*slot) {
		intern_members(table, v);
		/* That may have rebuilt the table. */
		slot = find_slot(table, v);
		*slot = xn_value_ref(v);
		table->n++;
		return v;
	}
	xn_value_unref(v);
	return xn_value_ref(*slot);
}

void xn_intern_clear(struct xn_intern *table)
{
	for (size_t i = 0; i < table->n_slots; i++)
		xn_value_unref(table->slots[i]);
	free(table->slots);
	*table = (struct xn_intern){0};
}
