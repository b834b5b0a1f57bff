/*
 * Proof of the rows: types, classes of references, uniqueness, both ends of relations, stamps,
 * tombstones, what a restart needs of operations; and the hash that simulation
 * compares. Nothing here changes anything.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

void xn_finding(struct xn_findings *findings, const char *fmt, ...)
{
	va_list ap;
	char *line;

	va_start(ap, fmt);
	line = xn_vasprintf(fmt, ap);
	va_end(ap);
	findings->n++;
	xn_buf_add_string(findings->report, line);
	xn_buf_add_char(findings->report, '\n');
	free(line);
}

struct check {
	struct xn_db *db;
	struct xn_findings findings;
};

static bool is_null(const char *ref)
{
	return !*ref || strcmp(ref, XN_NULL_REF) == 0;
}

static void found(struct check *check, const struct xn_row *row, const char *field,
		  const char *what, const char *about)
{
	xn_finding(&check->findings, "%s %s%s%s: %s%s%s", row->table->cls->name, xn_row_ref(row),
		   *field ? " " : "", field, what, *about ? " " : "", about);
}

/* The other row's end must name this row. */
static void check_link(struct check *check, const struct xn_row *row, const struct xn_field *f,
		       const char *ref)
{
	const struct xn_row *other = xn_db_get(check->db, f->other_class, ref);
	const struct xn_value *end;
	bool whole;

	if (!other) {
		if (!is_null(ref) && !xn_db_get_any(check->db, ref))
			found(check, row, f->name, "names a row that is gone:", ref);
		return; /* one of another class was told by check_ref() */
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

/* A reference without another end may outlive its row, but names no row of another class. */
static void check_ref(struct check *check, const struct xn_row *row, const char *field,
		      int class_id, const char *ref)
{
	const struct xn_row *other = is_null(ref) ? NULL : xn_db_get_any(check->db, ref);

	if (other && xn_row_class(other) != class_id)
		xn_finding(&check->findings, "%s %s %s: is for %s but names a %s: %s",
			   row->table->cls->name, xn_row_ref(row), field,
			   xn_classes[class_id].name, other->table->cls->name, ref);
}

static void check_text(struct check *check, const struct xn_row *row, const char *field,
		       const char *text)
{
	if (!xn_text_is_valid(text, strlen(text)))
		found(check, row, field, "holds text that is not valid UTF-8", "");
}

/* Of a value that fits its type. */
static void check_value(struct check *check, const struct xn_row *row, const char *field,
			const struct xn_type *type, const struct xn_value *v)
{
	switch (v->kind) {
	case XN_STRING:
		if (type->kind == XN_T_REF)
			check_ref(check, row, field, type->class_id, xn_value_string(v));
		check_text(check, row, field, xn_value_string(v));
		break;
	case XN_SET:
		for (size_t i = 0; i < xn_set_len(v); i++)
			check_value(check, row, field, type->value, xn_set_at(v, i));
		break;
	case XN_MAP:
		for (size_t i = 0; type->kind == XN_T_MAP && i < xn_map_len(v); i++) {
			check_text(check, row, field, xn_map_key_at(v, i));
			if (type->key->kind == XN_T_REF)
				check_ref(check, row, field, type->key->class_id,
					  xn_map_key_at(v, i));
			check_value(check, row, field, type->value, xn_map_at(v, i));
		}
		break;
	default:
		break;
	}
}

static void check_unique(struct check *check, struct xn_row *row)
{
	const char *uuid = xn_row_uuid(row);

	if (xn_db_get(check->db, xn_row_class(row), xn_row_ref(row)) != row)
		found(check, row, "", "is not the row found under", xn_row_ref(row));
	if (*uuid && xn_db_by_uuid(check->db, xn_row_class(row), uuid) != row)
		found(check, row, "uuid", "is also another row's:", uuid);
}

/* Once there are that many, the first one is joined of older ones and has rows in it. */
static size_t first_whole_range(const struct xn_db *db)
{
	return db->n_skipped == XN_SKIPPED_MAX ? 1 : 0;
}

static void check_stamps(struct check *check, const struct xn_row *row)
{
	const struct xn_db *db = check->db;
	const struct xn_row *next = xn_db_next(check->db, row);

	if (row->modified < row->created || row->modified >= db->generation)
		found(check, row, "", "has a stamp that cannot be", "");
	for (size_t i = first_whole_range(db); i < db->n_skipped; i++)
		if (row->modified >= db->skipped[i].first && row->modified < db->skipped[i].end)
			found(check, row, "", "has a stamp of a range that was skipped", "");
	if (next && next->modified < row->modified)
		found(check, row, "", "lies in the wrong order before", xn_row_ref(next));
}

static void check_row(struct check *check, struct xn_row *row)
{
	const struct xn_class *cls = row->table->cls;

	check_unique(check, row);
	check_stamps(check, row);
	for (unsigned i = 0; i < cls->n_fields; i++) {
		const struct xn_field *f = &cls->fields[i];

		if (!xn_value_fits(f->type, row->fields[i])) {
			found(check, row, f->name, "is not of the type", f->type->text);
			continue;
		}
		check_value(check, row, f->name, f->type, row->fields[i]);
		if (xn_field_is_related(cls, f))
			check_relation(check, row, f, row->fields[i]);
	}
}

/* What a restart reads to go on with an operation. */
static void check_operation(struct check *check, const struct xn_row *row)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *args = NULL;
	const char *text = xn_row_string(row, XN_xn_operation_args_json);

	if (!*xn_row_string(row, XN_xn_operation_kind))
		found(check, row, "kind", "is empty: no restart could go on with it", "");
	if (xn_json_parse(text, strlen(text), &args, NULL) < 0 || args->kind != XN_MAP)
		found(check, row, "args_json", "is no JSON object", "");
	if (xn_row_int(row, XN_xn_operation_step) < -1)
		found(check, row, "step", "is before the first", "");
}

/* Those that wait become changes of rows without another look. */
static void check_later(struct check *check, const struct xn_later *later)
{
	const struct xn_class *cls = &xn_classes[later->class_id];
	const struct xn_row *row = xn_db_get(check->db, later->class_id, later->ref);

	for (size_t i = 0; i < xn_map_len(later->fields); i++) {
		const struct xn_value *v = xn_map_at(later->fields, i);
		int field = xn_field_find(cls, xn_map_key_at(later->fields, i));

		if (field < 0 || !xn_value_fits(cls->fields[field].type, v))
			xn_finding(&check->findings, "%s %s %s: what waits is not of its type",
				   cls->name, later->ref, xn_map_key_at(later->fields, i));
		else if (row)
			check_value(check, row, cls->fields[field].name, cls->fields[field].type,
				    v);
	}
}

static void check_tombstones(struct check *check, int class_id)
{
	const struct xn_tombstone *tomb = xn_db_tombstone(check->db, class_id, NULL);
	const char *name = xn_classes[class_id].name;
	uint64_t newer = check->db->generation;

	for (; tomb; tomb = xn_db_tombstone(check->db, class_id, tomb)) {
		const struct xn_row *row = xn_db_get_any(check->db, tomb->ref);

		if (tomb->created > tomb->deleted || tomb->deleted >= check->db->generation)
			xn_finding(&check->findings,
				   "%s %s: its deletion has a stamp that cannot be", name,
				   tomb->ref);
		if (tomb->deleted > newer)
			xn_finding(&check->findings, "%s %s: deletions are in the wrong order",
				   name, tomb->ref);
		if (row && row->created < tomb->deleted)
			found(check, row, "", "is also told to be deleted", "");
		newer = tomb->deleted;
	}
}

static void check_skipped(struct check *check)
{
	const struct xn_db *db = check->db;
	uint64_t last = 0;

	for (size_t i = 0; i < db->n_skipped; i++) {
		if (db->skipped[i].first < last || db->skipped[i].end < db->skipped[i].first ||
		    db->skipped[i].end > db->generation)
			xn_finding(&check->findings,
				   "generations: the skipped range from %" PRIu64 " to %" PRIu64
				   " cannot be",
				   db->skipped[i].first, db->skipped[i].end);
		last = db->skipped[i].end;
	}
	if (db->floor >= db->generation && db->floor)
		xn_finding(&check->findings,
			   "generations: deletions up to %" PRIu64
			   " are forgotten, but the next stamp is %" PRIu64,
			   db->floor, db->generation);
}

unsigned xn_db_check(struct xn_db *db, struct xn_buf *report)
{
	struct check check = {.db = db, .findings = {.report = report}};

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		for (struct xn_row *row = xn_db_first(db, c); row; row = xn_db_next(db, row)) {
			check_row(&check, row);
			if (c == XN_CLASS_xn_operation)
				check_operation(&check, row);
		}
		check_tombstones(&check, c);
	}
	xn_list_each(link, &db->laters)
		check_later(&check, xn_list_entry(link, struct xn_later, link));
	check_skipped(&check);
	return check.findings.n;
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
