/*
 * Rows in memory: one pointer a field to a shared immutable value, found by reference and UUID,
 * read through the functions of db.h.
 */
#include "modules/db/db_internal.h"

#include <assert.h>
#include <stdlib.h>

/* ---- life ---- */

struct xn_row *xn_row_new(struct xn_table *table, struct xn_value *ref_taken, uint64_t created,
			  uint64_t modified)
{
	unsigned n = table->cls->n_fields;
	struct xn_row *row = xn_malloc(sizeof(*row) + n * sizeof(row->fields[0]));

	*row = (struct xn_row){
		.table = table, .ref = ref_taken, .created = created, .modified = modified};
	xn_list_init(&row->link);
	for (unsigned f = 0; f < n; f++)
		row->fields[f] = xn_value_ref(table->defaults[f]);
	return row;
}

void xn_row_free(struct xn_row *row)
{
	xn_record_leave(row);
	xn_list_remove(&row->link);
	for (unsigned f = 0; f < row->table->cls->n_fields; f++)
		xn_value_unref(row->fields[f]);
	xn_value_unref(row->ref);
	free(row);
}

void xn_row_uuid_enter(struct xn_row *row)
{
	const char *uuid = xn_row_uuid(row);

	if (*uuid)
		xn_hmap_insert(&row->table->db->by_uuid, &row->by_uuid, xn_hash_string(uuid));
}

void xn_row_uuid_leave(struct xn_row *row)
{
	if (*xn_row_uuid(row))
		xn_hmap_remove(&row->table->db->by_uuid, &row->by_uuid);
}

void xn_row_enter(struct xn_row *row)
{
	struct xn_table *table = row->table;
	struct xn_list *at = &table->rows;

	xn_hmap_insert(&table->db->by_ref, &row->by_ref, xn_hash_string(xn_row_ref(row)));
	xn_row_uuid_enter(row);
	while (!table->db->loading && at->prev != &table->rows &&
	       xn_list_entry(at->prev, struct xn_row, link)->modified > row->modified)
		at = at->prev;
	xn_list_insert(at, &row->link);
	table->n_rows++;
}

void xn_row_leave(struct xn_row *row)
{
	struct xn_table *table = row->table;

	xn_hmap_remove(&table->db->by_ref, &row->by_ref);
	xn_row_uuid_leave(row);
	xn_list_remove(&row->link);
	table->n_rows--;
}

/* ---- find ---- */

struct xn_row *xn_db_get_any(struct xn_db *db, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&db->by_ref, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_row *row = xn_container_of(node, struct xn_row, by_ref);

		if (strcmp(xn_row_ref(row), ref) == 0)
			return row;
	}
	return NULL;
}

struct xn_row *xn_db_get(struct xn_db *db, int class_id, const char *ref)
{
	struct xn_row *row = xn_db_get_any(db, ref);

	return row && xn_row_class(row) == class_id ? row : NULL;
}

struct xn_row *xn_db_by_uuid(struct xn_db *db, int class_id, const char *uuid)
{
	struct xn_hnode *node = xn_hmap_first_same(&db->by_uuid, xn_hash_string(uuid));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_row *row = xn_container_of(node, struct xn_row, by_uuid);

		if (xn_row_class(row) == class_id && strcmp(xn_row_uuid(row), uuid) == 0)
			return row;
	}
	return NULL;
}

struct xn_row *xn_db_need(struct xn_db *db, int class_id, const char *ref, struct xn_error *err)
{
	struct xn_row *row = xn_db_get(db, class_id, ref);

	if (!row)
		xn_error_set(err, XN_ERR_HANDLE_INVALID, xn_classes[class_id].name, ref);
	return row;
}

struct xn_row *xn_db_need_uuid(struct xn_db *db, int class_id, const char *uuid,
			       struct xn_error *err)
{
	struct xn_row *row = xn_db_by_uuid(db, class_id, uuid);

	if (!row)
		xn_error_set(err, XN_ERR_UUID_INVALID, xn_classes[class_id].name, uuid);
	return row;
}

size_t xn_db_count(const struct xn_db *db, int class_id)
{
	return db->tables[class_id].n_rows;
}

static struct xn_row *row_at(struct xn_table *table, struct xn_list *link)
{
	return link == &table->rows ? NULL : xn_list_entry(link, struct xn_row, link);
}

struct xn_row *xn_db_first(struct xn_db *db, int class_id)
{
	struct xn_table *table = xn_table_of(db, class_id);

	return row_at(table, table->rows.next);
}

struct xn_row *xn_db_next(struct xn_db *db, const struct xn_row *row)
{
	return row_at(row->table, row->link.next);
}

struct xn_row *xn_db_newest(struct xn_db *db, int class_id)
{
	struct xn_table *table = xn_table_of(db, class_id);

	return row_at(table, table->rows.prev);
}

struct xn_row *xn_db_older(struct xn_db *db, const struct xn_row *row)
{
	return row_at(row->table, row->link.prev);
}

/* ---- read ---- */

int xn_row_class(const struct xn_row *row)
{
	return row->table->cls->id;
}

const char *xn_row_ref(const struct xn_row *row)
{
	return xn_value_string(row->ref);
}

const char *xn_row_uuid(const struct xn_row *row)
{
	int field = row->table->cls->uuid_field;

	return field < 0 ? "" : xn_value_string(row->fields[field]);
}

uint64_t xn_row_created(const struct xn_row *row)
{
	return row->created;
}

uint64_t xn_row_modified(const struct xn_row *row)
{
	return row->modified;
}

const struct xn_value *xn_row_get(const struct xn_row *row, int field)
{
	assert(field >= 0 && (unsigned)field < row->table->cls->n_fields);
	return row->fields[field];
}

const char *xn_row_string(const struct xn_row *row, int field)
{
	return xn_value_string(xn_row_get(row, field));
}

int64_t xn_row_int(const struct xn_row *row, int field)
{
	return xn_value_int(xn_row_get(row, field));
}

bool xn_row_bool(const struct xn_row *row, int field)
{
	return xn_value_bool(xn_row_get(row, field));
}

struct xn_row *xn_row_follow(struct xn_db *db, const struct xn_row *row, int field)
{
	assert(xn_row_field(row, field)->type->kind == XN_T_REF);
	return xn_db_get(db, xn_row_field(row, field)->type->class_id, xn_row_string(row, field));
}

const char *xn_row_map_string(const struct xn_row *row, int field, const char *key)
{
	return xn_map_get_string(xn_row_get(row, field), key);
}

struct xn_value *xn_row_to_map(const struct xn_row *row)
{
	const struct xn_class *cls = row->table->cls;
	struct xn_value *map = xn_map_new();

	for (unsigned f = 0; f < cls->n_public; f++)
		xn_map_put(&map, cls->fields[f].name, xn_value_ref(row->fields[f]));
	return map;
}

/* ---- shared values ---- */

static struct xn_value *share_ref(struct xn_db *db, struct xn_value *v)
{
	struct xn_row *target;

	if (v->refs == UINT32_MAX) /* the null reference, the empty text */
		return v;
	target = xn_db_get_any(db, xn_value_string(v));
	if (!target || target->ref == v)
		return v;
	xn_value_unref(v);
	return xn_value_ref(target->ref);
}

struct xn_value *xn_db_share_refs(struct xn_db *db, struct xn_value *v)
{
	if (v->kind == XN_STRING)
		return share_ref(db, v);
	if (v->refs == 1)
		for (uint32_t i = 0; i < v->set.len; i++)
			v->set.items[i] = share_ref(db, v->set.items[i]);
	return v;
}

struct xn_value *xn_db_share(struct xn_db *db, const struct xn_type *type, struct xn_value *v)
{
	if (xn_type_is_refs(type))
		return xn_db_share_refs(db, v);
	return xn_intern(&db->values, v);
}
