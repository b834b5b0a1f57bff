/*
 * A selection: the events of one event.from answer. Chosen by the rows' stamps, so it is exact for
 * any token; encoded once a format from the rows' cached bytes and shared by equal waiters.
 */
#include "modules/event/event_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const operation_names[OP_COUNT] = {"add", "mod", "del"};

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
	change->row = NULL;
	return change;
}

static void add_row(struct selection *sel, struct xn_row *row)
{
	bool is_new = xn_row_created(row) > sel->since;

	add_change(sel, is_new ? OP_ADD : OP_MOD, xn_row_class(row),
		   is_new ? xn_row_created(row) : xn_row_modified(row))
		->row = row;
}

static void add_tombstone(struct selection *sel, const struct xn_tombstone *t)
{
	struct change *change;

	if (t->created > sel->since) /* the client never heard of it */
		return;
	change = add_change(sel, OP_DEL, t->class_id, t->deleted);
	snprintf(change->ref, sizeof(change->ref), "%s", t->ref);
}

static void select_class(struct selection *sel, int class_id)
{
	const struct xn_tombstone *t = NULL;

	for (struct xn_row *row = xn_db_newest(sel->db, class_id);
	     row && xn_row_modified(row) > sel->since; row = xn_db_older(sel->db, row))
		add_row(sel, row);
	if (!sel->since) /* from the beginning: nothing was known that could be gone */
		return;
	while ((t = xn_db_tombstone(sel->db, class_id, t)) && t->deleted > sel->since)
		add_tombstone(sel, t);
}

/* The objects of one class: found one by one, their tombstones in one walk. */
static size_t select_objects(struct selection *sel, const struct subscription *sub, size_t i)
{
	int class_id = sub->objects[i].class_id;
	const struct xn_tombstone *t = NULL;

	for (; i < sub->n_objects && sub->objects[i].class_id == class_id; i++) {
		struct xn_row *row = xn_db_get(sel->db, class_id, sub->objects[i].ref);

		if (row && xn_row_modified(row) > sel->since)
			add_row(sel, row);
	}
	while (sel->since && (t = xn_db_tombstone(sel->db, class_id, t)) && t->deleted > sel->since)
		if (subscription_wants(sub, class_id, t->ref))
			add_tombstone(sel, t);
	return i;
}

static int by_operation_and_stamp(const void *pa, const void *pb)
{
	const struct change *a = pa, *b = pb;

	if (a->operation != b->operation)
		return a->operation < b->operation ? -1 : 1;
	if (a->stamp != b->stamp)
		return a->stamp < b->stamp ? -1 : 1;
	return a->class_id - b->class_id; /* both ends of a relation carry one stamp */
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
	for (int i = 0; i < XN_CLASS_COUNT; i++)
		if (sub ? sub->classes[i] : xn_classes[i].has_events)
			select_class(sel, i);
	for (size_t i = 0; sub && i < sub->n_objects;)
		i = select_objects(sel, sub, i);
	if (sel->n_changes)
		qsort(sel->changes, sel->n_changes, sizeof(*sel->changes), by_operation_and_stamp);
	return sel;
}

void selection_unref(struct selection *sel)
{
	if (!sel || --sel->refs)
		return;
	free(sel->changes);
	xn_buf_clear(&sel->bytes[XN_FORMAT_JSON]);
	xn_buf_clear(&sel->bytes[XN_FORMAT_XML]);
	free(sel);
}

/* ---- encoding. Class names, references and stamps need no escapes in either format. ---- */

static void literal(struct xn_buf *out, const char *text)
{
	xn_buf_add_string(out, text);
}

static const char *change_ref(const struct change *change)
{
	return change->row ? xn_row_ref(change->row) : change->ref;
}

static void json_event(const struct selection *sel, const struct change *change, struct xn_buf *out)
{
	size_t len;

	literal(out, "{\"id\":\"");
	xn_buf_add_int(out, (int64_t)change->stamp);
	literal(out, "\",\"timestamp\":\"");
	xn_buf_add_int(out, sel->time_s);
	literal(out, "\",\"class\":\"");
	literal(out, xn_classes[change->class_id].event_name);
	literal(out, "\",\"operation\":\"");
	literal(out, operation_names[change->operation]);
	literal(out, "\",\"ref\":\"");
	literal(out, change_ref(change));
	xn_buf_add_char(out, '"');
	if (change->row) {
		const char *record = xn_row_json(change->row, &len);

		literal(out, ",\"snapshot\":");
		xn_buf_add(out, record, len);
	}
	xn_buf_add_char(out, '}');
}

static bool is_counted(const struct xn_class *cls)
{
	return !cls->internal && (cls->in_database || cls->has_events);
}

static void write_json(const struct selection *sel, struct xn_buf *out)
{
	const char *separator = "";

	literal(out, "{\"events\":[");
	for (size_t i = 0; i < sel->n_changes; i++) {
		if (i)
			xn_buf_add_char(out, ',');
		json_event(sel, &sel->changes[i], out);
	}
	literal(out, "],\"valid_ref_counts\":{");
	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		if (!is_counted(&xn_classes[i]))
			continue;
		xn_buf_printf(out, "%s\"%s\":%zu", separator, xn_classes[i].event_name,
			      xn_db_count(sel->db, i));
		separator = ",";
	}
	literal(out, "},\"token\":\"");
	event_token_print(sel->upto, out);
	literal(out, "\"}");
}

static void xml_member(struct xn_buf *out, const char *name)
{
	literal(out, "<member><name>");
	literal(out, name);
	literal(out, "</name>");
}

static void xml_string_member(struct xn_buf *out, const char *name, const char *value)
{
	xml_member(out, name);
	literal(out, "<value>");
	literal(out, value);
	literal(out, "</value></member>");
}

static void xml_event(const struct selection *sel, const struct change *change, struct xn_buf *out)
{
	char number[24];

	literal(out, "<value><struct>");
	snprintf(number, sizeof(number), "%" PRIu64, change->stamp);
	xml_string_member(out, "id", number);
	snprintf(number, sizeof(number), "%" PRId64, sel->time_s);
	xml_string_member(out, "timestamp", number);
	xml_string_member(out, "class", xn_classes[change->class_id].event_name);
	xml_string_member(out, "operation", operation_names[change->operation]);
	xml_string_member(out, "ref", change_ref(change));
	if (change->row) {
		struct xn_value *record = xn_row_record(change->row);

		xml_member(out, "snapshot");
		record->embed.ops->write(record->embed.object, XN_FORMAT_XML, out);
		literal(out, "</member>");
		xn_value_unref(record);
	}
	literal(out, "</struct></value>");
}

static void write_xml(const struct selection *sel, struct xn_buf *out)
{
	literal(out, "<value><struct>");
	xml_member(out, "events");
	literal(out, "<value><array><data>");
	for (size_t i = 0; i < sel->n_changes; i++)
		xml_event(sel, &sel->changes[i], out);
	literal(out, "</data></array></value></member>");
	xml_member(out, "valid_ref_counts");
	literal(out, "<value><struct>");
	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		if (!is_counted(&xn_classes[i]))
			continue;
		xml_member(out, xn_classes[i].event_name);
		xn_buf_printf(out, "<value><i4>%zu</i4></value></member>", xn_db_count(sel->db, i));
	}
	literal(out, "</struct></value></member>");
	xml_member(out, "token");
	literal(out, "<value>");
	event_token_print(sel->upto, out);
	literal(out, "</value></member></struct></value>");
}

static void write_result(const void *object, enum xn_format format, struct xn_buf *out)
{
	struct selection *sel = (struct selection *)object; /* its bytes are a cache */
	struct xn_buf *bytes = &sel->bytes[format];

	if (sel->refs == 1) { /* nobody to share with */
		if (format == XN_FORMAT_JSON)
			write_json(sel, out);
		else
			write_xml(sel, out);
		return;
	}
	if (!bytes->len && format == XN_FORMAT_JSON)
		write_json(sel, bytes);
	else if (!bytes->len)
		write_xml(sel, bytes);
	xn_buf_add(out, bytes->data, bytes->len);
}

static void release_result(void *object)
{
	selection_unref(object);
}

static const struct xn_embed_ops result_ops = {.write = write_result, .release = release_result};

struct xn_value *selection_result(struct selection *sel)
{
	sel->refs++;
	return xn_embed(&result_ops, sel);
}
