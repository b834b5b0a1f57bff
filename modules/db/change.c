/*
 * Changes of rows: the memory, the open transaction's bytes and the undo list move together.
 * commit.c ends the turn.
 */
#include "modules/db/db_internal.h"

#include <assert.h>
#include <stdlib.h>

/* ---- the open transaction ---- */

static void open_turn(struct xn_db *db)
{
	static const char head[XN_TX_HEAD_SIZE]; /* filled in when it is closed */

	if (!db->turn.bytes.len)
		xn_buf_add(&db->turn.bytes, head, sizeof(head));
	xn_origin_settle(db);
	if (db->turn.origin_written)
		return;
	db->turn.origin_written = true;
	xn_buf_add_char(&db->turn.bytes, XN_TX_ORIGIN);
	for (size_t i = 0; i < XN_ARRAY_SIZE(db->origin); i++)
		xn_put_text(&db->turn.bytes, db->origin[i], strlen(db->origin[i]));
}

static void put_row_entry(struct xn_db *db, enum xn_tx_op op, const struct xn_row *row)
{
	open_turn(db);
	xn_buf_add_char(&db->turn.bytes, (char)op);
	xn_put_varint(&db->turn.bytes, db->names.class_no[xn_row_class(row)]);
	xn_put_string(&db->turn.bytes, xn_row_ref(row));
}

static void put_pair(struct xn_db *db, int class_id, unsigned field, const struct xn_value *v)
{
	xn_put_varint(&db->turn.bytes, db->names.field_no[class_id][field]);
	xn_put_value(&db->turn.bytes, v);
}

void xn_turn_put_set(struct xn_db *db, const struct xn_row *row, int field, uint64_t stamp)
{
	put_row_entry(db, XN_TX_SET, row);
	xn_put_varint(&db->turn.bytes, stamp - db->turn.first);
	xn_put_varint(&db->turn.bytes, 1);
	put_pair(db, xn_row_class(row), (unsigned)field, row->fields[field]);
}

static void put_stamp(struct xn_db *db, const struct xn_row *row, uint64_t stamp)
{
	put_row_entry(db, XN_TX_STAMP, row);
	xn_put_varint(&db->turn.bytes, stamp - db->turn.first);
}

static void put_create(struct xn_db *db, const struct xn_row *row)
{
	const struct xn_class *cls = row->table->cls;
	unsigned n = 0;

	for (unsigned f = 0; f < cls->n_fields; f++)
		if (!xn_field_is_derived(&cls->fields[f]) &&
		    row->fields[f] != row->table->defaults[f])
			n++;
	put_row_entry(db, XN_TX_CREATE, row);
	xn_put_varint(&db->turn.bytes, row->created - db->turn.first);
	xn_put_varint(&db->turn.bytes, n);
	for (unsigned f = 0; f < cls->n_fields; f++)
		if (!xn_field_is_derived(&cls->fields[f]) &&
		    row->fields[f] != row->table->defaults[f])
			put_pair(db, cls->id, f, row->fields[f]);
}

void xn_turn_put_meta(struct xn_db *db, const char *key, const void *value, size_t len)
{
	open_turn(db);
	xn_buf_add_char(&db->turn.bytes, XN_TX_META);
	xn_put_text(&db->turn.bytes, key, strlen(key));
	xn_put_text(&db->turn.bytes, value, len);
}

void xn_turn_put_skipped(struct xn_db *db)
{
	struct xn_buf skipped = {0};

	xn_skipped_put(db, &skipped);
	xn_turn_put_meta(db, XN_META_SKIPPED, skipped.data, skipped.len);
	xn_buf_clear(&skipped);
}

void xn_turn_put_later(struct xn_db *db, const struct xn_later *later)
{
	const struct xn_class *cls = &xn_classes[later->class_id];

	open_turn(db);
	xn_buf_add_char(&db->turn.bytes, XN_TX_LATER);
	xn_put_varint(&db->turn.bytes, later->id);
	xn_put_varint(&db->turn.bytes, db->names.class_no[cls->id]);
	xn_put_string(&db->turn.bytes, later->ref);
	xn_put_varint(&db->turn.bytes, xn_map_len(later->fields));
	for (size_t i = 0; i < xn_map_len(later->fields); i++) {
		int field = xn_field_find(cls, xn_map_key_at(later->fields, i));

		assert(field >= 0);
		put_pair(db, cls->id, (unsigned)field, xn_map_at(later->fields, i));
	}
}

void xn_turn_put_later_done(struct xn_db *db, uint64_t id)
{
	open_turn(db);
	xn_buf_add_char(&db->turn.bytes, XN_TX_LATER_DONE);
	xn_put_varint(&db->turn.bytes, id);
}

/* ---- undo ---- */

void xn_turn_undo_add(struct xn_db *db, struct xn_undo undo)
{
	struct xn_turn *turn = &db->turn;

	if (turn->n_undo == turn->cap_undo) {
		turn->cap_undo = turn->cap_undo ? turn->cap_undo * 2 : 64;
		turn->undo = xn_realloc(turn->undo, turn->cap_undo * sizeof(*turn->undo));
	}
	turn->undo[turn->n_undo++] = undo;
}

static bool undo_owns_value(const struct xn_undo *undo)
{
	return undo->kind == XN_UNDO_FIELD || undo->kind == XN_UNDO_LINKED ||
	       undo->kind == XN_UNDO_UNLINKED;
}

static void take_back_field(struct xn_row *row, int field, struct xn_value *old)
{
	bool is_uuid = field == row->table->cls->uuid_field;

	if (is_uuid)
		xn_row_uuid_leave(row);
	xn_value_unref(row->fields[field]);
	row->fields[field] = old;
	if (is_uuid)
		xn_row_uuid_enter(row);
}

static void take_back(struct xn_db *db, struct xn_undo *undo)
{
	struct xn_row *row = undo->row;

	xn_record_leave(row);
	switch (undo->kind) {
	case XN_UNDO_FIELD:
		take_back_field(row, undo->field, undo->value);
		break;
	case XN_UNDO_LINKED:
		xn_set_remove_sorted(&row->fields[undo->field], xn_value_string(undo->value));
		xn_value_unref(undo->value);
		break;
	case XN_UNDO_UNLINKED:
		xn_set_insert_sorted(&row->fields[undo->field], undo->value);
		break;
	case XN_UNDO_STAMP:
		xn_row_unstamp(row, undo->stamp);
		break;
	case XN_UNDO_CREATE:
		/* Callers of this turn may still hold the row: it goes with the deleted ones. */
		xn_row_leave(row);
		row->deleted = true;
		xn_list_push(&db->turn.deleted, &row->link);
		return;
	case XN_UNDO_DELETE:
		xn_list_remove(&row->link);
		row->deleted = false;
		xn_row_enter(row);
		break;
	}
}

static void reset_turn(struct xn_db *db)
{
	struct xn_turn *turn = &db->turn;
	struct xn_list *link;
	enum { KEPT = 256 << 10 };

	turn->n_undo = 0;
	while ((link = xn_list_pop(&turn->deleted)))
		xn_row_free(xn_list_entry(link, struct xn_row, link));
	if (turn->bytes.cap > KEPT)
		xn_buf_clear(&turn->bytes);
	turn->bytes.len = 0;
	turn->changes = 0;
	turn->first = db->generation;
	turn->tombstones = db->n_graves;
	/* The daemon is who is meant by nothing. */
	turn->origin_written = !*db->origin[0] && !*db->origin[1] && !*db->origin[2];
}

/* What is written again when the store works, by whoever it belongs to. */
static bool is_mark(const struct xn_undo *undo)
{
	const struct xn_class *cls = undo->row->table->cls;
	const char *field;

	if (cls->id == XN_CLASS_xn_operation || cls->id == XN_CLASS_task ||
	    cls->id == XN_CLASS_session)
		return true;
	if (undo->kind != XN_UNDO_FIELD) /* stamps and derived ends follow other changes */
		return undo->kind != XN_UNDO_CREATE && undo->kind != XN_UNDO_DELETE;
	field = cls->fields[undo->field].name;
	return strcmp(field, "current_operations") == 0 || strcmp(field, "allowed_operations") == 0;
}

static bool has_more_than_marks(const struct xn_turn *turn)
{
	for (size_t i = 0; i < turn->n_undo; i++)
		if (!is_mark(&turn->undo[i]))
			return true;
	return false;
}

uint64_t xn_db_losses(const struct xn_db *db)
{
	return db->losses;
}

void xn_turn_roll_back(struct xn_db *db)
{
	struct xn_turn *turn = &db->turn;

	if (has_more_than_marks(turn))
		db->losses++;
	while (turn->n_undo)
		take_back(db, &turn->undo[--turn->n_undo]);
	xn_tombstones_drop_newest(db, db->n_graves - turn->tombstones);
	db->generation = turn->first;
	xn_walks_restart(db);
	xn_last_records_take_back(db, turn->first);
	reset_turn(db);
}

void xn_turn_end(struct xn_db *db)
{
	struct xn_turn *turn = &db->turn;

	for (size_t i = 0; i < turn->n_undo; i++)
		if (undo_owns_value(&turn->undo[i]))
			xn_value_unref(turn->undo[i].value);
	reset_turn(db);
}

/* ---- changes ---- */

static uint64_t spend_generation(struct xn_db *db)
{
	db->turn.changes++;
	return db->generation++;
}

static void stamp_row(struct xn_db *db, struct xn_row *row, uint64_t stamp)
{
	if (row->modified < db->turn.first)
		xn_turn_undo_add(db, (struct xn_undo){.kind = XN_UNDO_STAMP,
						      .row = row,
						      .stamp = row->modified});
	xn_row_stamp(row, stamp);
}

void xn_turn_stamp_other(struct xn_db *db, struct xn_row *row, uint64_t stamp)
{
	stamp_row(db, row, stamp);
	put_stamp(db, row, stamp);
}

/* Many-to-many sets are kept sorted, so that both ends compare and search alike. */
static struct xn_value *sorted(struct xn_value *set)
{
	struct xn_value *ordered = xn_set_new();

	for (size_t i = 0; i < xn_set_len(set); i++)
		xn_set_insert_sorted(&ordered, xn_value_ref(xn_set_at(set, i)));
	xn_value_unref(set);
	return ordered;
}

static struct xn_value *as_kept(struct xn_db *db, const struct xn_table *table, int field,
				struct xn_value *v)
{
	const struct xn_field *f = &table->cls->fields[field];

	if (v == table->defaults[field])
		return v;
	if (xn_value_equal(v, table->defaults[field])) {
		xn_value_unref(v);
		return xn_value_ref(table->defaults[field]);
	}
	v = xn_value_cleaned(db, table->cls, field, v);
	if (f->relation == XN_REL_MANY_TO_MANY && xn_field_is_related(table->cls, f))
		v = sorted(v);
	return xn_db_share(db, f->type, v);
}

static void fill_fields(struct xn_db *db, struct xn_row *row, const struct xn_value *fields)
{
	const struct xn_class *cls = row->table->cls;

	for (size_t i = 0; fields && i < xn_map_len(fields); i++) {
		int field = xn_field_find(cls, xn_map_key_at(fields, i));
		struct xn_value *v;

		if (field < 0 || xn_field_is_derived(&cls->fields[field]))
			continue;
		v = as_kept(db, row->table, field, xn_value_ref(xn_map_at(fields, i)));
		xn_value_unref(row->fields[field]);
		row->fields[field] = v;
	}
	if (cls->uuid_field >= 0 && !*xn_row_uuid(row)) {
		char uuid[XN_UUID_LEN];

		xn_uuid_new(db->core->loop, uuid);
		xn_value_unref(row->fields[cls->uuid_field]);
		row->fields[cls->uuid_field] = xn_string(uuid);
	}
}

struct xn_row *xn_db_create(struct xn_db *db, int class_id, const char *ref,
			    const struct xn_value *fields)
{
	struct xn_table *table = xn_table_of(db, class_id);
	uint64_t stamp = spend_generation(db);
	char fresh[XN_REF_LEN];
	struct xn_row *row;

	if (!ref)
		xn_ref_new(db->core->loop, fresh);
	assert(!ref || (strlen(ref) < XN_REF_LEN && !xn_db_get_any(db, ref)));
	row = xn_row_new(table, xn_string(ref ? ref : fresh), stamp, stamp);
	fill_fields(db, row, fields);
	xn_row_enter(row);
	xn_turn_undo_add(db, (struct xn_undo){.kind = XN_UNDO_CREATE, .row = row});
	put_create(db, row);
	for (unsigned n = 0; n < table->n_related; n++) {
		int f = table->related[n];

		xn_relation_moved(db, row, f, table->defaults[f], row->fields[f], stamp);
	}
	if (ref)
		xn_relations_adopt(db, row);
	return row;
}

void xn_db_delete(struct xn_db *db, struct xn_row *row)
{
	bool was_seen = row->created < db->turn.first && row->table->cls->has_events;
	uint64_t stamp = spend_generation(db);

	assert(!row->deleted);
	put_row_entry(db, XN_TX_DELETE, row);
	xn_put_varint(&db->turn.bytes, stamp - db->turn.first);
	xn_put_fixed(&db->turn.bytes, was_seen ? row->created : 0);
	xn_relations_empty(db, row, stamp);
	if (was_seen)
		xn_tombstone_add(db, xn_row_class(row), xn_row_ref(row), row->created, stamp);
	xn_turn_undo_add(db, (struct xn_undo){.kind = XN_UNDO_DELETE, .row = row});
	if (was_seen)
		xn_record_is_last(row, stamp);
	xn_row_changes(row);
	xn_row_leave(row);
	row->deleted = true;
	xn_list_push(&db->turn.deleted, &row->link);
}

bool xn_db_set(struct xn_db *db, struct xn_row *row, int field, struct xn_value *value)
{
	const struct xn_class *cls = row->table->cls;
	const struct xn_field *f = xn_row_field(row, field);
	struct xn_value *old = row->fields[field];
	uint64_t stamp;

	assert(!row->deleted);
	if (xn_field_is_derived(f) || xn_value_equal(old, value)) {
		xn_value_unref(value);
		return false;
	}
	value = as_kept(db, row->table, field, value);
	if (f->relation == XN_REL_MANY_TO_MANY && xn_value_equal(old, value)) {
		/* It differed only in its order. */
		xn_value_unref(value);
		return false;
	}
	stamp = spend_generation(db);
	xn_row_changes(row);
	if (field == cls->uuid_field)
		xn_row_uuid_leave(row);
	row->fields[field] = value;
	if (field == cls->uuid_field)
		xn_row_uuid_enter(row);
	xn_turn_undo_add(
		db,
		(struct xn_undo){.kind = XN_UNDO_FIELD, .row = row, .field = field, .value = old});
	stamp_row(db, row, stamp);
	xn_turn_put_set(db, row, field, stamp);
	if (xn_field_is_related(cls, f))
		xn_relation_moved(db, row, field, old, value, stamp);
	return true;
}

bool xn_db_set_string(struct xn_db *db, struct xn_row *row, int field, const char *s)
{
	if (strcmp(xn_row_string(row, field), s) == 0)
		return false;
	return xn_db_set(db, row, field, xn_string(s));
}

bool xn_db_set_int(struct xn_db *db, struct xn_row *row, int field, int64_t i)
{
	bool is_date = xn_row_field(row, field)->type->kind == XN_T_DATETIME;

	if (xn_row_int(row, field) == i)
		return false;
	return xn_db_set(db, row, field, is_date ? xn_datetime(i) : xn_int(i));
}

bool xn_db_set_bool(struct xn_db *db, struct xn_row *row, int field, bool b)
{
	return xn_db_set(db, row, field, xn_bool(b));
}

bool xn_db_map_put(struct xn_db *db, struct xn_row *row, int field, const char *key, const char *s)
{
	const char *old = xn_row_map_string(row, field, key);
	struct xn_value *map;

	if (old && strcmp(old, s) == 0)
		return false;
	map = xn_value_ref(row->fields[field]);
	xn_map_put_string(&map, key, s);
	return xn_db_set(db, row, field, map);
}

bool xn_db_map_remove(struct xn_db *db, struct xn_row *row, int field, const char *key)
{
	struct xn_value *map = xn_value_ref(row->fields[field]);

	xn_map_remove(&map, key);
	return xn_db_set(db, row, field, map);
}

bool xn_db_set_add(struct xn_db *db, struct xn_row *row, int field, const char *item)
{
	struct xn_value *set;

	if (xn_set_has_string(row->fields[field], item))
		return false;
	set = xn_value_ref(row->fields[field]);
	xn_set_append_string(&set, item);
	return xn_db_set(db, row, field, set);
}

bool xn_db_set_remove(struct xn_db *db, struct xn_row *row, int field, const char *item)
{
	struct xn_value *set = xn_value_ref(row->fields[field]);

	xn_set_remove_string(&set, item);
	return xn_db_set(db, row, field, set);
}

uint64_t xn_db_touch(struct xn_db *db, struct xn_row *row)
{
	uint64_t stamp = spend_generation(db);

	xn_row_changes(row);
	db->generation++; /* xapi spends two: clients compare the token it answers with */
	xn_turn_stamp_other(db, row, stamp);
	return stamp - 1;
}

uint64_t xn_db_turn_changes(const struct xn_db *db)
{
	return db->turn.changes;
}
