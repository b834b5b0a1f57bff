/*
 * A selection: the events of one event.from answer. Chosen by the rows' stamps, so it is exact for
 * any token; written from the rows' records in parts, or, where equal waiters share a short one, once.
 */
#include "modules/event/event_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	ROWS_AT_ONCE = 2000,	/* gathered when it is made; and in each step later */
	SHARED_CHANGES_MAX = 64, /* whose bytes are kept for others */
};

/* ---- choosing ---- */

static struct change *add_change(struct selection *sel, enum operation operation, int class_id,
				 uint64_t stamp)
{
	struct change *change;

	if (sel->n_changes == sel->cap) {
		sel->cap = sel->cap ? sel->cap * 2 : 16;
		sel->changes = xn_realloc(sel->changes, sel->cap * sizeof(*sel->changes));
	}
	change = &sel->changes[sel->n_changes++];
	change->operation = operation;
	change->class_id = class_id;
	change->stamp = stamp;
	return change;
}

static void add_record(struct selection *sel, struct xn_record *record_taken)
{
	uint64_t created = xn_record_created(record_taken);
	bool is_new = created > sel->since;

	add_change(sel, is_new ? OP_ADD : OP_MOD, xn_record_class(record_taken),
		   is_new ? created : xn_record_modified(record_taken))
		->record = record_taken;
}

static void add_tombstone(struct selection *sel, const struct xn_tombstone *t)
{
	if (t->created <= sel->since) /* else the client never heard of it */
		add_change(sel, OP_DEL, t->class_id, t->deleted)->ref = xn_strdup(t->ref);
}

static bool has_newer_rows(const struct selection *sel, int class_id)
{
	struct xn_row *row = xn_db_newest(sel->db, class_id);

	return row && xn_row_modified(row) > sel->since;
}

static void select_class(struct selection *sel, int class_id)
{
	const struct xn_tombstone *t = NULL;

	if (has_newer_rows(sel, class_id))
		xn_walk_begin(&sel->walks[sel->n_walks++], sel->db, class_id, sel->since);
	if (!sel->since) /* from the beginning: nothing was known that could be gone */
		return;
	while ((t = xn_db_tombstone(sel->db, class_id, t)) && t->deleted > sel->since)
		add_tombstone(sel, t);
}

static void select_classes(struct selection *sel, const struct subscription *sub)
{
	bool wanted[XN_CLASS_COUNT];
	unsigned n = 0;

	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		wanted[i] = sub ? sub->classes[i] : xn_classes[i].has_events;
		n += wanted[i] && has_newer_rows(sel, i);
	}
	if (n)
		sel->walks = xn_calloc(n, sizeof(*sel->walks));
	for (int i = 0; i < XN_CLASS_COUNT; i++)
		if (wanted[i])
			select_class(sel, i);
}

/* The objects of one class: found one by one, their tombstones in one walk. */
static size_t select_objects(struct selection *sel, const struct subscription *sub, size_t i)
{
	int class_id = sub->objects[i].class_id;
	const struct xn_tombstone *t = NULL;

	for (; i < sub->n_objects && sub->objects[i].class_id == class_id; i++) {
		struct xn_row *row = xn_db_get(sel->db, class_id, sub->objects[i].ref);

		if (row && xn_row_modified(row) > sel->since)
			add_record(sel, xn_row_take(row));
	}
	while (sel->since && (t = xn_db_tombstone(sel->db, class_id, t)) && t->deleted > sel->since)
		if (subscription_wants(sub, class_id, t->ref))
			add_tombstone(sel, t);
	return i;
}

/* ---- order: by operation, stamp, class; both ends of a relation carry one stamp ---- */

static unsigned digit_of(const struct change *change, unsigned digit)
{
	return digit < 8 ? change->stamp >> 8 * digit & 0xff : change->operation;
}

/* One pass of a radix sort, stable; false: this digit is the same everywhere. */
static bool sort_by_digit(const struct change *from, struct change *to, size_t n, unsigned digit)
{
	size_t starts[256] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		starts[digit_of(&from[i], digit)]++;
	if (starts[digit_of(&from[0], digit)] == n)
		return false;
	for (size_t i = 0; i < XN_ARRAY_SIZE(starts); i++) {
		size_t count = starts[i];

		starts[i] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[starts[digit_of(&from[i], digit)]++] = from[i];
	return true;
}

/* In time that grows with the changes only: a million of them must not take long. Classes were gone
 * through in their order. */
static void sort_changes(struct selection *sel)
{
	struct change *spare;

	if (sel->n_changes < 2)
		return;
	spare = xn_malloc(sel->n_changes * sizeof(*spare));
	for (unsigned digit = 0; digit <= 8; digit++) {
		struct change *sorted = spare;

		if (!sort_by_digit(sel->changes, sorted, sel->n_changes, digit))
			continue;
		spare = sel->changes;
		sel->changes = sorted;
		sel->cap = sel->n_changes;
	}
	free(spare);
}

/* ---- gathering ---- */

static void end_walks(struct selection *sel)
{
	for (unsigned i = 0; i < sel->n_walks; i++)
		xn_walk_end(&sel->walks[i]);
	free(sel->walks);
	sel->walks = NULL;
	sel->n_walks = 0;
}

static void take_records(struct selection *sel, struct xn_walk *walk)
{
	for (size_t i = 0; i < walk->n; i++)
		add_record(sel, walk->records[i]);
	walk->n = 0; /* they are ours now */
}

/* A step on; whether all is there. */
static bool gather_some(struct selection *sel, unsigned rows)
{
	for (unsigned i = 0; i < sel->n_walks; i++) {
		struct xn_walk *walk = &sel->walks[i];
		size_t had = walk->n;

		if (!xn_walk_step(walk, rows))
			return false;
		rows -= walk->n - had < rows ? walk->n - had : rows;
	}
	for (unsigned i = 0; i < sel->n_walks; i++)
		take_records(sel, &sel->walks[i]);
	end_walks(sel);
	sort_changes(sel);
	return true;
}

void selection_gather(struct selection *sel)
{
	while (sel->walks && !gather_some(sel, ROWS_AT_ONCE))
		;
}

struct selection *selection_new(struct xn_core *core, struct xn_db *db,
				const struct subscription *sub, uint64_t since)
{
	struct selection *sel = xn_calloc(1, sizeof(*sel));

	sel->refs = 1;
	sel->db = db;
	sel->since = since;
	sel->upto = latest_stamp(db);
	sel->time_s = xn_wall_s(core->loop);
	if (since >= sel->upto)
		return sel;
	select_classes(sel, sub);
	for (size_t i = 0; sub && i < sub->n_objects;)
		i = select_objects(sel, sub, i);
	gather_some(sel, ROWS_AT_ONCE);
	return sel;
}

bool selection_is_empty(const struct selection *sel)
{
	return !sel->n_changes && !sel->walks;
}

const char *change_ref(const struct change *change)
{
	return change->operation == OP_DEL ? change->ref : xn_record_ref(change->record);
}

struct selection *selection_ref(struct selection *sel)
{
	sel->refs++;
	return sel;
}

void selection_unref(struct selection *sel)
{
	if (!sel || --sel->refs)
		return;
	end_walks(sel);
	for (size_t i = 0; i < sel->n_changes; i++) {
		if (sel->changes[i].operation == OP_DEL)
			free(sel->changes[i].ref);
		else
			xn_record_unref(sel->changes[i].record);
	}
	free(sel->changes);
	free(sel->counts);
	xn_buf_clear(&sel->bytes[XN_FORMAT_JSON]);
	xn_buf_clear(&sel->bytes[XN_FORMAT_XML]);
	free(sel);
}

/* ---- encoding ---- */

static void get_event(const void *from, size_t i, struct event_text *out)
{
	const struct selection *sel = from;
	const struct change *change = &sel->changes[i];

	*out = (struct event_text){
		.id = (int64_t)change->stamp,
		.time_s = sel->time_s,
		.time_suffix = "",
		.operation = change->operation,
		.class_id = change->class_id,
		.ref = change_ref(change),
		.record = change->operation == OP_DEL ? NULL : change->record,
	};
}

static struct event_texts texts_of(const struct selection *sel)
{
	return (struct event_texts){.n = sel->n_changes, .get = get_event, .from = sel};
}

static bool is_counted(const struct xn_class *cls)
{
	return !cls->internal && (cls->in_database || cls->has_events);
}

static void begin_result(enum xn_format format, struct xn_buf *out)
{
	if (format == XN_FORMAT_JSON) {
		xn_buf_add_string(out, "{\"events\":[");
		return;
	}
	xn_buf_add_string(out, "<value><struct>");
	event_xml_name(out, "events");
	xn_buf_add_string(out, "<value><array><data>");
}

static void end_json(const struct selection *sel, struct xn_buf *out)
{
	const char *separator = "\"";

	xn_buf_add_string(out, "],\"valid_ref_counts\":{");
	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		if (!is_counted(&xn_classes[i]))
			continue;
		xn_buf_add_string(out, separator); /* not printf(): it is half of a short answer */
		xn_buf_add_string(out, xn_classes[i].event_name);
		xn_buf_add_string(out, "\":");
		xn_buf_add_int(out, sel->counts[i]);
		separator = ",\"";
	}
	xn_buf_add_string(out, "},\"token\":\"");
	event_token_print(sel->upto, out);
	xn_buf_add_string(out, "\"}");
}

static void end_xml(const struct selection *sel, struct xn_buf *out)
{
	xn_buf_add_string(out, "</data></array></value></member>");
	event_xml_name(out, "valid_ref_counts");
	xn_buf_add_string(out, "<value><struct>");
	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		if (!is_counted(&xn_classes[i]))
			continue;
		event_xml_name(out, xn_classes[i].event_name);
		xn_buf_add_string(out, "<value><i4>");
		xn_buf_add_int(out, sel->counts[i]);
		xn_buf_add_string(out, "</i4></value></member>");
	}
	xn_buf_add_string(out, "</struct></value></member>");
	event_xml_name(out, "token");
	xn_buf_add_string(out, "<value>");
	event_token_print(sel->upto, out);
	xn_buf_add_string(out, "</value></member></struct></value>");
}

static void end_result(const struct selection *sel, enum xn_format format, struct xn_buf *out)
{
	if (format == XN_FORMAT_JSON)
		end_json(sel, out);
	else
		end_xml(sel, out);
}

static bool write_some(struct selection *sel, enum xn_format format, size_t *at,
		       struct xn_buf *out)
{
	struct event_texts texts = texts_of(sel);

	if (!*at)
		begin_result(format, out);
	if (event_texts_write(&texts, format, at, out))
		return true;
	end_result(sel, format, out);
	return false;
}

static bool write_part(const void *object, enum xn_format format, size_t *at, struct xn_buf *out)
{
	struct selection *sel = (struct selection *)object; /* its bytes are a cache */
	struct xn_buf *bytes = &sel->bytes[format];
	size_t from = 0;

	if (sel->walks && !gather_some(sel, ROWS_AT_ONCE))
		return true;
	if (*at || (!bytes->len && sel->refs == 1) || sel->n_changes > SHARED_CHANGES_MAX)
		return write_some(sel, format, at, out);
	if (!bytes->len)
		while (write_some(sel, format, &from, bytes))
			;
	xn_buf_add(out, bytes->data, bytes->len);
	return false;
}

static int64_t measure(const void *object, enum xn_format format)
{
	struct selection *sel = (struct selection *)object;
	struct xn_buf around XN_CLEANUP(xn_buf_clear_p) = {0};
	struct event_texts texts;

	if (sel->walks && !gather_some(sel, ROWS_AT_ONCE))
		return -1;
	texts = texts_of(sel);
	if (!event_texts_measure(&texts, format, &sel->measured[format]))
		return -1;
	begin_result(format, &around);
	end_result(sel, format, &around);
	return sel->measured[format].bytes + (int64_t)around.len;
}

static size_t held(const void *object)
{
	const struct selection *sel = object;
	enum { RECORD = 96 };
	size_t n = sel->n_changes;

	for (unsigned i = 0; i < sel->n_walks; i++)
		n += sel->walks[i].cap;
	return sizeof(*sel) + n * (sizeof(struct change) + RECORD);
}

static void release_result(void *object)
{
	selection_unref(object);
}

static const struct xn_embed_ops result_ops = {
	.part = write_part,
	.measure = measure,
	.held = held,
	.release = release_result,
};

struct xn_value *selection_result(struct selection *sel)
{
	if (!sel->counts) {
		sel->counts = xn_calloc(XN_CLASS_COUNT, sizeof(*sel->counts));
		for (int i = 0; i < XN_CLASS_COUNT; i++)
			sel->counts[i] = (uint32_t)xn_db_count(sel->db, i);
	}
	return xn_embed(&result_ops, selection_ref(sel));
}
