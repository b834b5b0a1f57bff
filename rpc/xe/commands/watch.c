/*
 * watch: changes of the database as they come, one line each: class, operation, name and uuid, and what
 * changed. It keeps a share of each row's last record, which costs a reference until the row changes,
 * and walks what has a newer stamp than the last line it printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/hmap.h"
#include "core/json.h"
#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

xe_handler xe_cmd_watch;

enum { SLICE = 256, VALUE_MAX = 60 };

struct seen { /* a row's last record */
	struct xn_hnode node;
	struct xn_record *record;
};

struct change {
	uint64_t stamp;
	int class_id;
	struct xn_row *row; /* NULL: deleted */
	const char *ref;
};

struct watching {
	bool is_begun, walks;
	bool wanted[XN_CLASS_COUNT];
	int class_id; /* whose rows are being taken */
	struct xn_walk walk;
	struct xn_hmap seen;
	uint64_t since; /* all up to this stamp is printed */
};

/* ---- what was seen ---- */

static struct seen *find_seen(const struct watching *w, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&w->seen, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct seen *seen = xn_container_of(node, struct seen, node);

		if (strcmp(xn_record_ref(seen->record), ref) == 0)
			return seen;
	}
	return NULL;
}

static void forget(struct watching *w, struct seen *seen)
{
	xn_hmap_remove(&w->seen, &seen->node);
	xn_record_unref(seen->record);
	free(seen);
}

/* Takes the record. */
static void remember(struct watching *w, struct xn_record *record)
{
	struct seen *old = find_seen(w, xn_record_ref(record)), *seen;

	if (old)
		forget(w, old);
	seen = xn_calloc(1, sizeof(*seen));
	seen->record = record;
	xn_hmap_insert(&w->seen, &seen->node, xn_hash_string(xn_record_ref(record)));
}

static void clear_watching(void *state)
{
	struct watching *w = state;
	struct xn_hnode *node;

	if (w->walks)
		xn_walk_end(&w->walk);
	while ((node = xn_hmap_first(&w->seen)))
		forget(w, xn_container_of(node, struct seen, node));
	xn_hmap_clear(&w->seen);
}

/* ---- which classes ---- */

/* "vm" is the class of the kind of records of that name, too. */
static int class_of(const char *name)
{
	const struct xe_kind *kind = xe_kind_find(name, strlen(name));
	const struct xn_class *cls = kind ? &xn_classes[xe_kind_class(kind)] : xn_class_find_event(name);

	return cls && cls->has_events ? cls->id : -1;
}

static bool choose(struct xe *x, struct watching *w)
{
	const struct xn_value *names = xe_param_list(x, "class");

	for (int c = 0; c < XN_CLASS_COUNT; c++)
		w->wanted[c] = !xn_set_len(names) && xn_classes[c].has_events;
	for (size_t i = 0; i < xn_set_len(names); i++) {
		const char *name = xn_value_string(xn_set_at(names, i));
		int class_id = class_of(name);

		if (class_id < 0) {
			xe_fail(x, "There is no class '%s' with events", name);
			return false;
		}
		w->wanted[class_id] = true;
	}
	return true;
}

/* What there is, a slice at a time. False: not yet. */
static bool take_all(struct xe *x, struct watching *w)
{
	for (; w->class_id < XN_CLASS_COUNT; w->class_id++) {
		if (!w->wanted[w->class_id])
			continue;
		if (!w->walks)
			xn_walk_begin(&w->walk, xe_db(x), w->class_id, 0);
		w->walks = true;
		if (!xn_walk_step(&w->walk, SLICE))
			return xe_yield(x);
		for (size_t i = 0; i < w->walk.n; i++)
			remember(w, xn_record_share(w->walk.records[i]));
		xn_walk_end(&w->walk);
		w->walks = false;
	}
	return true;
}

/* ---- changes ---- */

static int by_stamp(const void *a, const void *b)
{
	uint64_t one = ((const struct change *)a)->stamp, other = ((const struct change *)b)->stamp;

	return one < other ? -1 : one > other;
}

static void add_change(struct change **all, size_t *n, struct change change)
{
	if ((*n & (*n - 1)) == 0)
		*all = xn_realloc(*all, sizeof(**all) * (*n ? *n * 2 : 1));
	(*all)[(*n)++] = change;
}

/* What clients may see and was not printed yet, the oldest first; the caller frees it. */
static struct change *find_changes(struct xn_db *db, const struct watching *w, size_t *n)
{
	uint64_t end = xn_db_committed_generation(db);
	struct change *all = NULL;

	*n = 0;
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_tombstone *stone = NULL;

		if (!w->wanted[c])
			continue;
		for (struct xn_row *row = xn_db_newest(db, c); row && xn_row_modified(row) > w->since;
		     row = xn_db_older(db, row))
			if (xn_row_modified(row) < end)
				add_change(&all, n, (struct change){xn_row_modified(row), c, row,
								    xn_row_ref(row)});
		while ((stone = xn_db_tombstone(db, c, stone)) && stone->deleted > w->since)
			if (stone->deleted < end)
				add_change(&all, n, (struct change){stone->deleted, c, NULL,
								    stone->ref});
	}
	if (*n)
		qsort(all, *n, sizeof(*all), by_stamp);
	return all;
}

/* ---- how values read ---- */

static void add_text(struct xn_buf *out, const char *text)
{
	size_t len = strlen(text), cut = len;

	if (len > VALUE_MAX)
		for (cut = VALUE_MAX; ((unsigned char)text[cut] & 0xc0) == 0x80; cut--)
			;
	for (size_t i = 0; i < cut; i++)
		xn_buf_add_char(out, (unsigned char)text[i] < ' ' ? ' ' : text[i]);
	if (cut < len)
		xn_buf_add_string(out, "...");
}

/* References as what people call the row. */
static void add_value(struct xn_db *db, const struct xn_value *v, struct xn_buf *out)
{
	struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *text = v->kind == XN_STRING ? xn_value_string(v) : NULL;
	const struct xn_row *row =
		text && strncmp(text, "OpaqueRef:", 10) == 0 ? xn_db_get_any(db, text) : NULL;

	if (row) {
		int name = xn_classes[xn_row_class(row)].name_label_field;

		text = name >= 0 && *xn_row_string(row, name) ? xn_row_string(row, name)
							      : xn_row_uuid(row);
	} else if (text && strcmp(text, XN_NULL_REF) == 0) {
		text = "nothing";
	} else if (text && !*text) {
		text = "\"\"";
	} else if (!text) {
		xn_json_write(v, &json);
		text = xn_buf_cstr(&json);
		if (v->kind == XN_DATETIME && json.len > 2) /* without its quotes */
			json.data[json.len - 1] = '\0', text++;
	}
	add_text(out, text);
}

static bool set_has(const struct xn_value *set, const struct xn_value *item)
{
	for (size_t i = 0; i < xn_set_len(set); i++)
		if (xn_value_equal(xn_set_at(set, i), item))
			return true;
	return false;
}

static void add_members(struct xn_db *db, const struct xn_value *those, const struct xn_value *not_in,
			char sign, struct xn_buf *out)
{
	for (size_t i = 0; i < xn_set_len(those); i++)
		if (!set_has(not_in, xn_set_at(those, i))) {
			xn_buf_printf(out, " %c", sign);
			add_value(db, xn_set_at(those, i), out);
		}
}

static void add_keys(struct xn_db *db, const struct xn_value *old, const struct xn_value *new,
		     struct xn_buf *out)
{
	for (size_t i = 0; i < xn_map_len(old); i++)
		if (!xn_map_get(new, xn_map_key_at(old, i)))
			xn_buf_printf(out, " -%s", xn_map_key_at(old, i));
	for (size_t i = 0; i < xn_map_len(new); i++) {
		const struct xn_value *was = xn_map_get(old, xn_map_key_at(new, i));

		if (was && xn_value_equal(was, xn_map_at(new, i)))
			continue;
		xn_buf_printf(out, " %s%s=", was ? "" : "+", xn_map_key_at(new, i));
		add_value(db, xn_map_at(new, i), out);
	}
}

static void add_difference(struct xn_db *db, const struct xn_value *old, const struct xn_value *new,
			   struct xn_buf *out)
{
	if (new->kind == XN_SET && old->kind == XN_SET) {
		add_members(db, new, old, '+', out);
		add_members(db, old, new, '-', out);
	} else if (new->kind == XN_MAP && old->kind == XN_MAP) {
		add_keys(db, old, new, out);
	} else {
		xn_buf_add_char(out, ' ');
		add_value(db, old, out);
		xn_buf_add_string(out, " -> ");
		add_value(db, new, out);
	}
}

/* ---- a line ---- */

struct line {
	struct xn_db *db;
	const struct xn_caller *caller;
	const struct xn_class *cls;
	const char *operation;
	struct xn_record *old, *new; /* one may be NULL */
};

static const char *field_text(const struct line *l, int field)
{
	return field >= 0 ? xn_value_string(xn_record_get(l->new ? l->new : l->old, field)) : "";
}

/* Whether this caller may read the field's values. */
static bool may_read(const struct line *l, const struct xn_field *field)
{
	return l->caller->is_superuser || l->caller->role <= field->role_read;
}

static bool has_changed(const struct line *l, unsigned field)
{
	return l->old && l->new && !xn_value_equal(xn_record_get(l->old, (int)field),
						   xn_record_get(l->new, (int)field));
}

static unsigned count_changed(const struct line *l)
{
	unsigned n = 0;

	for (unsigned f = 0; f < l->cls->n_public; f++)
		n += has_changed(l, f);
	return n;
}

/* What follows from all else, and is long: told behind it, and in short. */
static bool is_aside(const struct xn_field *field)
{
	return strcmp(field->name, "allowed_operations") == 0 ||
	       strcmp(field->name, "current_operations") == 0;
}

static unsigned count_members(const struct xn_value *those, const struct xn_value *not_in)
{
	unsigned n = 0;

	for (size_t i = 0; i < xn_set_len(those); i++)
		n += !set_has(not_in, xn_set_at(those, i));
	return n;
}

static void add_operations(const struct xn_value *those, const struct xn_value *not_in, char sign,
			   struct xn_buf *out)
{
	for (size_t i = 0; i < xn_map_len(those); i++)
		if (!xn_map_get(not_in, xn_map_key_at(those, i)))
			xn_buf_printf(out, " %c%s", sign, xn_value_string(xn_map_at(those, i)));
}

static void add_aside(const struct xn_value *old, const struct xn_value *new, struct xn_buf *out)
{
	if (new->kind == XN_MAP) {
		add_operations(new, old, '+', out);
		add_operations(old, new, '-', out);
	} else {
		xn_buf_printf(out, " %u more, %u less", count_members(new, old),
			      count_members(old, new));
	}
}

static unsigned print_fields(const struct line *l, bool aside, unsigned n, struct xn_buf *out)
{
	for (unsigned f = 0; f < l->cls->n_public; f++) {
		const struct xn_field *field = &l->cls->fields[f];
		const struct xn_value *old, *new;

		if (is_aside(field) != aside || !has_changed(l, f))
			continue;
		xn_buf_printf(out, "%s %s", n++ ? ";" : ":", field->name);
		old = xn_record_get(l->old, (int)f);
		new = xn_record_get(l->new, (int)f);
		if (!may_read(l, field))
			continue;
		if (aside)
			add_aside(old, new, out);
		else
			add_difference(l->db, old, new, out);
	}
	return n;
}

static void print_plain(const struct line *l, struct xn_buf *out)
{
	const char *name = field_text(l, l->cls->name_label_field);
	const char *uuid = field_text(l, l->cls->uuid_field);

	xn_buf_printf(out, "%s %s ", l->cls->event_name, l->operation);
	if (*name)
		add_text(out, name);
	xn_buf_printf(out, *name ? " (%s)" : "%s", uuid);
	print_fields(l, true, print_fields(l, false, 0, out), out);
}

static struct xn_value *changes_of(const struct line *l)
{
	struct xn_value *changes = xn_map_new();

	for (unsigned f = 0; f < l->cls->n_public; f++) {
		struct xn_value *both = xn_map_new();

		if (!has_changed(l, f)) {
			xn_value_unref(both);
			continue;
		}
		if (may_read(l, &l->cls->fields[f])) {
			xn_map_put(&both, "old", xn_value_ref(xn_record_get(l->old, (int)f)));
			xn_map_put(&both, "new", xn_value_ref(xn_record_get(l->new, (int)f)));
		}
		xn_map_put(&changes, l->cls->fields[f].name, both);
	}
	return changes;
}

static void print_json(const struct line *l, const char *time, struct xn_buf *out)
{
	struct xn_value *map = xn_map_new();

	xn_map_put_string(&map, "time", time);
	xn_map_put_string(&map, "class", l->cls->event_name);
	xn_map_put_string(&map, "operation", l->operation);
	xn_map_put_string(&map, "ref", xn_record_ref(l->new ? l->new : l->old));
	xn_map_put_string(&map, "uuid", field_text(l, l->cls->uuid_field));
	xn_map_put_string(&map, "name", field_text(l, l->cls->name_label_field));
	xn_map_put(&map, "changes", changes_of(l));
	xn_json_write(map, out);
	xn_value_unref(map);
}

static void print(struct xe *x, const struct line *l)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *only = xe_param(x, "uuid");
	char time[19];

	if (only && strcmp(only, field_text(l, l->cls->uuid_field)) != 0)
		return;

	xn_date_print(xn_wall_s(xe_core(x)->loop), time);
	if (xe_is_json(x)) {
		print_json(l, time, &text);
	} else if (xe_is_minimal(x)) {
		xn_buf_printf(&text, "%s,%s,%s", l->cls->event_name, l->operation,
			      field_text(l, l->cls->uuid_field));
	} else {
		xn_buf_printf(&text, "%s ", time);
		print_plain(l, &text);
	}
	xe_raw(x, text.data, text.len);
}

/* One change; nothing where nobody could see one. */
static void tell(struct xe *x, struct watching *w, const struct change *change)
{
	struct seen *seen = find_seen(w, change->ref);
	struct line l = {.db = xe_db(x),
			 .caller = xe_caller(x),
			 .cls = &xn_classes[change->class_id],
			 .old = seen ? seen->record : NULL};

	if (!change->row) {
		l.operation = "del";
		if (seen) {
			print(x, &l);
			forget(w, seen);
		}
		return;
	}
	if (seen && xn_record_modified(seen->record) >= change->stamp)
		return; /* it was taken as it is */
	l.new = xn_row_take(change->row);
	l.operation = seen ? "mod" : "add";
	if (!seen || count_changed(&l))
		print(x, &l);
	remember(w, l.new);
}

void xe_cmd_watch(struct xe *x)
{
	struct watching *w = xe_state(x, sizeof(*w), clear_watching);
	struct change *all;
	size_t n;
	bool room = true;

	if (!w->is_begun) {
		if (!choose(x, w))
			return;
		w->since = xn_db_committed_generation(xe_db(x)) - 1;
		w->is_begun = true;
		xe_holds_records(x);
	}
	if (!xe_is_logged_in(x) || !take_all(x, w))
		return;
	all = find_changes(xe_db(x), w, &n);
	for (size_t i = 0; i < n && i < SLICE && (room = xe_room(x)); i++) {
		tell(x, w, &all[i]);
		w->since = all[i].stamp;
	}
	free(all);
	if (!room)
		return;
	(void)!(n > SLICE ? xe_yield(x) : xe_wait_change(x));
}
