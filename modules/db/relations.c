/*
 * Relations between rows: whichever end is written, the other follows in the same generation. The
 * "many" end of a one-to-many relation is never stored: it follows from the references that
 * name its row. Both ends of a many-to-many relation are stored and kept in step.
 */
#include "modules/db/db_internal.h"

#include <stdlib.h>

bool xn_field_is_related(const struct xn_class *cls, const struct xn_field *f)
{
	if (f->relation == XN_REL_NONE || f->other_class < 0)
		return false;
	/* The model also lists fields that are their own other end (subject.roles): plain sets. */
	return f->other_class != cls->id || &cls->fields[f->other_field] != f;
}

static int by_ref(const void *ref, const void *item)
{
	const struct xn_value *const *v = item;

	return strcmp(ref, xn_value_string(*v));
}

/* Of a sorted set. */
static bool is_member(const struct xn_value *set, const char *ref)
{
	return xn_set_len(set) && bsearch(ref, set->set.items, set->set.len,
					  sizeof(set->set.items[0]), by_ref);
}

/* Whoever names what is not there is looked for when it comes: tables are searched only then. */
static void note_awaited(struct xn_db *db, const struct xn_field *f, const char *ref)
{
	if (f->relation == XN_REL_MANY_TO_ONE && *ref && strcmp(ref, XN_NULL_REF) != 0)
		db->tables[f->other_class].is_awaited = true;
}

/* Puts @row into the set on the other side, or takes it out. */
static void link_other(struct xn_db *db, struct xn_row *row, const struct xn_field *f,
		       const char *other_ref, bool in, uint64_t stamp)
{
	struct xn_row *other = xn_db_get(db, f->other_class, other_ref);

	if (!other && in)
		note_awaited(db, f, other_ref);
	if (!other || is_member(other->fields[f->other_field], xn_row_ref(row)) == in)
		return;
	xn_row_changes(other);
	if (in)
		xn_set_insert_sorted(&other->fields[f->other_field], xn_value_ref(row->ref));
	else
		xn_set_remove_sorted(&other->fields[f->other_field], xn_row_ref(row));
	xn_turn_undo_add(db, (struct xn_undo){.kind = in ? XN_UNDO_LINKED : XN_UNDO_UNLINKED,
					      .row = other,
					      .field = f->other_field,
					      .value = xn_value_ref(row->ref)});
	xn_turn_stamp_other(db, other, stamp);
	if (f->relation == XN_REL_MANY_TO_MANY)
		xn_turn_put_set(db, other, f->other_field, stamp);
}

static void sets_moved(struct xn_db *db, struct xn_row *row, const struct xn_field *f,
		       const struct xn_value *old, const struct xn_value *new, uint64_t stamp)
{
	for (size_t i = 0; i < xn_set_len(old); i++) {
		const char *ref = xn_value_string(xn_set_at(old, i));

		if (!xn_set_has_string(new, ref))
			link_other(db, row, f, ref, false, stamp);
	}
	for (size_t i = 0; i < xn_set_len(new); i++) {
		const char *ref = xn_value_string(xn_set_at(new, i));

		if (!xn_set_has_string(old, ref))
			link_other(db, row, f, ref, true, stamp);
	}
}

void xn_relation_moved(struct xn_db *db, struct xn_row *row, int field, const struct xn_value *old,
		       const struct xn_value *new, uint64_t stamp)
{
	const struct xn_field *f = xn_row_field(row, field);

	if (f->relation == XN_REL_MANY_TO_MANY) {
		sets_moved(db, row, f, old, new, stamp);
	} else if (f->relation == XN_REL_MANY_TO_ONE) {
		link_other(db, row, f, xn_value_string(old), false, stamp);
		link_other(db, row, f, xn_value_string(new), true, stamp);
	}
}

/* The rows that refer to @row through its derived set @f refer to nothing from now on. */
static void release_members(struct xn_db *db, struct xn_row *row, unsigned field, uint64_t stamp)
{
	const struct xn_field *f = xn_row_field(row, (int)field);
	const struct xn_value *members = row->fields[field];

	for (size_t i = 0; i < xn_set_len(members); i++) {
		struct xn_row *member =
			xn_db_get(db, f->other_class, xn_value_string(xn_set_at(members, i)));

		if (!member || member == row)
			continue;
		xn_row_changes(member);
		xn_turn_undo_add(db, (struct xn_undo){.kind = XN_UNDO_FIELD,
						      .row = member,
						      .field = f->other_field,
						      .value = member->fields[f->other_field]});
		member->fields[f->other_field] = xn_string(XN_NULL_REF);
		xn_turn_stamp_other(db, member, stamp);
		xn_turn_put_set(db, member, f->other_field, stamp);
	}
}

void xn_relations_empty(struct xn_db *db, struct xn_row *row, uint64_t stamp)
{
	const struct xn_table *table = row->table;

	for (unsigned n = 0; n < table->n_related; n++) {
		unsigned i = table->related[n];
		const struct xn_field *f = &table->cls->fields[i];

		if (f->relation == XN_REL_ONE_TO_MANY)
			release_members(db, row, i, stamp);
		else if (f->relation == XN_REL_MANY_TO_ONE)
			link_other(db, row, f, xn_value_string(row->fields[i]), false, stamp);
		else
			for (size_t k = 0; k < xn_set_len(row->fields[i]); k++)
				link_other(db, row, f,
					   xn_value_string(xn_set_at(row->fields[i], k)), false,
					   stamp);
	}
}

void xn_relations_adopt(struct xn_db *db, struct xn_row *row)
{
	const struct xn_table *table = row->table;

	for (unsigned n = 0; table->is_awaited && n < table->n_related; n++) {
		unsigned i = table->related[n];
		const struct xn_field *f = &table->cls->fields[i];
		struct xn_row *member;

		if (f->relation != XN_REL_ONE_TO_MANY)
			continue;
		for (member = xn_db_first(db, f->other_class); member;
		     member = xn_db_next(db, member))
			if (strcmp(xn_row_string(member, f->other_field), xn_row_ref(row)) == 0)
				xn_set_insert_sorted(&row->fields[i], xn_value_ref(member->ref));
	}
}

/* ---- after loading ---- */

static int by_text(const void *a, const void *b)
{
	const struct xn_value *const *left = a, *const *right = b;

	return strcmp(xn_value_string(*left), xn_value_string(*right));
}

/* Adds the row to the set on the other side; sort_derived() brings it in order. */
static void derive_from(struct xn_db *db, struct xn_row *row, unsigned field)
{
	const struct xn_field *f = xn_row_field(row, (int)field);
	struct xn_row *other;

	if (f->relation != XN_REL_MANY_TO_ONE)
		return;
	other = xn_db_get(db, f->other_class, xn_value_string(row->fields[field]));
	if (other)
		xn_set_append(&other->fields[f->other_field], xn_value_ref(row->ref));
	else
		note_awaited(db, f, xn_value_string(row->fields[field]));
}

static void sort_derived(struct xn_row *row, unsigned field)
{
	struct xn_value *set = row->fields[field];

	/* Its own: derive_from() has appended to it. */
	if (xn_field_is_derived(xn_row_field(row, (int)field)) && set->set.len > 1)
		qsort(set->set.items, set->set.len, sizeof(set->set.items[0]), by_text);
}

static void each_row(struct xn_db *db, void (*visit)(struct xn_db *db, struct xn_row *row))
{
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		for (struct xn_row *row = xn_db_first(db, c); row; row = xn_db_next(db, row))
			visit(db, row);
}

static void share_and_derive(struct xn_db *db, struct xn_row *row)
{
	const struct xn_table *table = row->table;

	for (unsigned n = 0; n < table->n_refs; n++)
		row->fields[table->refs[n]] =
			xn_db_share_refs(db, row->fields[table->refs[n]]);
	for (unsigned n = 0; n < table->n_related; n++)
		derive_from(db, row, table->related[n]);
}

static void sort_all_derived(struct xn_db *db, struct xn_row *row)
{
	const struct xn_table *table = row->table;

	for (unsigned n = 0; n < table->n_related; n++)
		sort_derived(row, table->related[n]);
}

void xn_relations_derive(struct xn_db *db)
{
	each_row(db, share_and_derive);
	each_row(db, sort_all_derived);
}
