/*
 * Proof of the rows: types, uniqueness, both ends of relations; and the hash that simulation
 * compares. Nothing here changes anything.
 */
#include "modules/db/db_internal.h"

static bool is_member(const struct xn_enum *e, const char *text)
{
	for (unsigned i = 0; i < e->n_values; i++)
		if (strcmp(e->values[i], text) == 0)
			return true;
	return false;
}

static bool set_fits(const struct xn_type *type, const struct xn_value *v)
{
	if (v->kind != XN_SET)
		return false;
	for (size_t i = 0; i < xn_set_len(v); i++)
		if (!xn_value_fits(type->value, xn_set_at(v, i)))
			return false;
	return true;
}

static bool map_fits(const struct xn_type *type, const struct xn_value *v)
{
	if (v->kind != XN_MAP)
		return false;
	for (size_t i = 0; i < xn_map_len(v); i++)
		if (!xn_value_fits(type->value, xn_map_at(v, i)))
			return false;
	return true;
}

bool xn_value_fits(const struct xn_type *type, const struct xn_value *v)
{
	switch (type->kind) {
	case XN_T_STRING:
	case XN_T_REF:
		return v->kind == XN_STRING;
	case XN_T_ENUM:
		return v->kind == XN_STRING && is_member(type->enumeration, xn_value_string(v));
	case XN_T_INT:
		return v->kind == XN_INT;
	case XN_T_FLOAT:
		return v->kind == XN_FLOAT;
	case XN_T_BOOL:
		return v->kind == XN_BOOL;
	case XN_T_DATETIME:
		return v->kind == XN_DATETIME;
	case XN_T_SET:
		return set_fits(type, v);
	case XN_T_MAP:
		return map_fits(type, v);
	case XN_T_RECORD:
		return v->kind == XN_MAP;
	case XN_T_OPTION:
		return v->kind == XN_NIL || xn_value_fits(type->value, v);
	case XN_T_VOID:
		return v->kind == XN_NIL;
	}
	return false;
}

/* ---- the check ---- */

struct check {
	struct xn_db *db;
	struct xn_buf *report;
	unsigned n;
};

static void found(struct check *check, const struct xn_row *row, const char *field,
		  const char *what, const char *about)
{
	check->n++;
	xn_buf_printf(check->report, "%s %s%s%s: %s %s\n", row->table->cls->name, xn_row_ref(row),
		      *field ? " " : "", field, what, about);
}

/* The other row's end must name this row. */
static void check_link(struct check *check, const struct xn_row *row, const struct xn_field *f,
		       const char *ref)
{
	const struct xn_row *other = xn_db_get(check->db, f->other_class, ref);
	const struct xn_value *end;
	bool whole;

	if (!other) {
		/* A reference may outlive its row; a set that the database keeps may not. */
		if (f->relation != XN_REL_MANY_TO_ONE)
			found(check, row, f->name, "names a row that is gone:", ref);
		return;
	}
	end = other->fields[f->other_field];
	whole = end->kind == XN_SET ? xn_set_has_string(end, xn_row_ref(row)) :
				      strcmp(xn_value_string(end), xn_row_ref(row)) == 0;
	if (!whole)
		found(check, row, f->name, "is not answered by the other end of", ref);
}

static void check_relation(struct check *check, const struct xn_row *row, const struct xn_field *f,
			   const struct xn_value *v)
{
	if (v->kind == XN_STRING)
		check_link(check, row, f, xn_value_string(v));
	for (size_t i = 0; v->kind == XN_SET && i < xn_set_len(v); i++)
		check_link(check, row, f, xn_value_string(xn_set_at(v, i)));
}

static void check_unique(struct check *check, struct xn_row *row)
{
	const char *uuid = xn_row_uuid(row);

	if (xn_db_get(check->db, xn_row_class(row), xn_row_ref(row)) != row)
		found(check, row, "", "is not the row found under", xn_row_ref(row));
	if (*uuid && xn_db_by_uuid(check->db, xn_row_class(row), uuid) != row)
		found(check, row, "uuid", "is also another row's:", uuid);
	if (row->modified < row->created || row->modified >= check->db->generation)
		found(check, row, "", "has a stamp that cannot be", "");
}

static void check_row(struct check *check, struct xn_row *row)
{
	const struct xn_class *cls = row->table->cls;
	const struct xn_row *next = xn_db_next(check->db, row);

	check_unique(check, row);
	if (next && next->modified < row->modified)
		found(check, row, "", "lies in the wrong order before", xn_row_ref(next));
	for (unsigned f = 0; f < cls->n_fields; f++) {
		if (!xn_value_fits(cls->fields[f].type, row->fields[f]))
			found(check, row, cls->fields[f].name, "is not of the type",
			      cls->fields[f].type->text);
		else if (xn_field_is_related(cls, &cls->fields[f]))
			check_relation(check, row, &cls->fields[f], row->fields[f]);
	}
}

unsigned xn_db_check(struct xn_db *db, struct xn_buf *report)
{
	struct check check = {.db = db, .report = report};

	for (int c = 0; c < XN_CLASS_COUNT; c++)
		for (struct xn_row *row = xn_db_first(db, c); row; row = xn_db_next(db, row))
			check_row(&check, row);
	return check.n;
}

/* ---- the state hash ---- */

/* Not xn_hash_bytes: that one is seeded by the process. */
static uint64_t hash_bytes(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325u;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	h ^= h >> 32;
	return h * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_row(const struct xn_row *row, struct xn_buf *bytes)
{
	bytes->len = 0;
	xn_put_string(bytes, xn_row_ref(row));
	xn_put_fixed(bytes, row->created);
	xn_put_fixed(bytes, row->modified);
	for (unsigned f = 0; f < row->table->cls->n_fields; f++)
		xn_put_value(bytes, row->fields[f]);
	return hash_bytes(bytes->data, bytes->len);
}

static uint64_t hash_tombstone(const struct xn_tombstone *tomb, struct xn_buf *bytes)
{
	bytes->len = 0;
	xn_put_string(bytes, tomb->ref);
	xn_put_fixed(bytes, tomb->created);
	xn_put_fixed(bytes, tomb->deleted);
	return hash_bytes(bytes->data, bytes->len);
}

uint64_t xn_db_state_hash(struct xn_db *db)
{
	struct xn_buf bytes = {0};
	uint64_t sum = 0; /* in any order */

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_tombstone *tomb = xn_db_tombstone(db, c, NULL);

		xn_list_each(link, &db->tables[c].rows)
			sum += hash_row(xn_list_entry(link, struct xn_row, link), &bytes);
		for (; tomb; tomb = xn_db_tombstone(db, c, tomb))
			sum += hash_tombstone(tomb, &bytes);
	}
	xn_buf_clear(&bytes);
	return sum;
}
