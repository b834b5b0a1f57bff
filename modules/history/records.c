/*
 * The database at a time: rows as they were, and the sets that follow from references of other rows
 * (VM.VBDs from VBD.VM), which are stored with those.
 */
#include "modules/history/answer.h"

#include <errno.h>
#include <stdlib.h>

struct history_link { /* a reference from another row */
	struct xn_slice target, from; /* encoded */
	char text[48]; /* from: sets are in the order of the texts */
	int class_id, field; /* of the reference */
};

/* ---- which rows ---- */

struct wanted {
	int class_id; /* -1: all */
	bool also[XN_CLASS_COUNT]; /* have references to it that are one end of a relation */
};

static bool is_wanted(void *arg, const struct xn_slice *ref, int class_id)
{
	const struct wanted *wanted = arg;

	return wanted->class_id < 0 || wanted->class_id == class_id || wanted->also[class_id];
}

static void note_relations(struct wanted *wanted, int class_id)
{
	const struct xn_class *cls = &xn_classes[class_id];

	for (unsigned f = 0; f < cls->n_fields; f++)
		if (cls->fields[f].relation == XN_REL_ONE_TO_MANY &&
		    cls->fields[f].other_class >= 0)
			wanted->also[cls->fields[f].other_class] = true;
}

/* ---- links ---- */

static int by_bytes(const struct xn_slice *a, const struct xn_slice *b)
{
	size_t common = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->data, b->data, common);

	return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

static int by_target(const void *a, const void *b)
{
	const struct history_link *left = a, *right = b;
	int order = by_bytes(&left->target, &right->target);

	if (!order)
		order = left->class_id - right->class_id;
	if (!order)
		order = left->field - right->field;
	return order ? order : strcmp(left->text, right->text);
}

static void add_links(const struct history_asking *a, struct history_state *state,
		      const struct xn_history_row *row, size_t *cap)
{
	const struct xn_class *cls = &xn_classes[row->class_id];
	struct xn_cursor in = xn_cursor(row->pairs.data, row->pairs.len);
	struct xn_slice value;
	uint32_t no;

	while (xn_take_pair(&in, &no, &value) == 1) {
		int field = xn_names_field(xn_history_names(a->h), row->class_id, no);
		struct history_link *link;

		if (field < 0 || cls->fields[field].relation != XN_REL_MANY_TO_ONE)
			continue;
		if (state->n_links == *cap) {
			*cap = *cap ? *cap * 2 : 256;
			state->links = xn_realloc(state->links, *cap * sizeof(*link));
		}
		link = &state->links[state->n_links++];
		*link = (struct history_link){value, row->ref, "", row->class_id, field};
		history_ref_text(&row->ref, link->text);
	}
}

int history_state_load(struct history_asking *a, const struct xn_moment *when, const char *name,
		       int class_id, struct history_state *state)
{
	struct wanted wanted = {.class_id = class_id};
	size_t cap = 0;

	*state = (struct history_state){0};
	if (class_id >= 0)
		note_relations(&wanted, class_id);
	if (history_rows(a, when, name, is_wanted, &wanted, &state->generation, &state->rows) < 0)
		return -1;
	for (size_t i = 0; i < xn_history_rows_count(state->rows); i++)
		add_links(a, state, xn_history_row(state->rows, i), &cap);
	if (state->n_links)
		qsort(state->links, state->n_links, sizeof(*state->links), by_target);
	return 0;
}

void history_state_clear(struct history_state *state)
{
	xn_history_rows_free(state->rows);
	free(state->links);
	*state = (struct history_state){0};
}

/* The first link that is not before. */
static size_t find_links(const struct history_state *state, const struct history_link *key)
{
	size_t low = 0, high = state->n_links;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (by_target(&state->links[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void put_derived(const struct history_state *state, const struct xn_history_row *row,
			const struct xn_field *f, struct xn_buf *out)
{
	const struct history_link key = {row->ref, {0}, "", f->other_class, f->other_field};
	size_t first = find_links(state, &key), n = 0;

	while (first + n < state->n_links &&
	       by_bytes(&state->links[first + n].target, &row->ref) == 0 &&
	       state->links[first + n].class_id == f->other_class &&
	       state->links[first + n].field == f->other_field)
		n++;
	xn_put_set_head(out, n);
	for (size_t i = 0; i < n; i++)
		xn_buf_add(out, state->links[first + i].from.data, state->links[first + i].from.len);
}

void history_state_value(const struct history_asking *a, const struct history_state *state,
			 const struct xn_history_row *row, int field, struct xn_buf *out)
{
	const struct xn_field *f = &xn_classes[row->class_id].fields[field];
	struct xn_slice value;
	bool is_given;

	out->len = 0;
	if (f->relation == XN_REL_ONE_TO_MANY && f->other_class >= 0) {
		put_derived(state, row, f, out);
		return;
	}
	value = history_pair(a, row->class_id, field, row->pairs, &is_given);
	xn_buf_add(out, value.data, value.len);
}

/* ---- records ---- */

static int put_record(struct history_asking *a, const struct history_state *state,
		      const struct xn_history_row *row)
{
	const struct xn_class *cls = &xn_classes[row->class_id];
	struct xn_buf value XN_CLEANUP(xn_buf_clear_p) = {0};
	bool outer;

	xn_writer_map_begin(&a->w, &outer);
	for (unsigned f = 0; f < cls->n_public; f++) {
		struct xn_slice bytes;

		if (!history_shows(a, cls->id, (int)f))
			continue;
		history_state_value(a, state, row, (int)f, &value);
		bytes = (struct xn_slice){(unsigned char *)value.data, value.len};
		xn_writer_key(&a->w, cls->fields[f].name, strlen(cls->fields[f].name));
		if (history_put_bytes(&a->w, &bytes) < 0)
			return history_failed(a, -EBADMSG);
	}
	xn_writer_map_end(&a->w, outer);
	return 0;
}

bool history_row_has_uuid(const struct history_asking *a, const struct xn_history_row *row,
			  const struct xn_buf *uuid)
{
	int field = xn_classes[row->class_id].uuid_field;
	struct xn_slice value;
	bool is_given;

	if (field < 0)
		return false;
	value = history_pair(a, row->class_id, field, row->pairs, &is_given);
	return value.len == uuid->len && memcmp(value.data, uuid->data, value.len) == 0;
}

static const struct xn_history_row *find_row(const struct history_asking *a,
					     const struct history_state *state)
{
	const struct history_query *q = a->q;
	const struct xn_history_row *found = NULL;
	struct xn_buf key XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_slice ref;

	xn_put_string(&key, *q->ref ? q->ref : q->uuid);
	ref = (struct xn_slice){(unsigned char *)key.data, key.len};
	if (*q->ref)
		found = xn_history_row_find(state->rows, &ref);
	for (size_t i = 0; !*q->ref && !found && i < xn_history_rows_count(state->rows); i++)
		if (history_row_has_uuid(a, xn_history_row(state->rows, i), &key) &&
		    (q->class_id < 0 || xn_history_row(state->rows, i)->class_id == q->class_id))
			found = xn_history_row(state->rows, i);
	if (found && q->class_id >= 0 && found->class_id != q->class_id)
		found = NULL;
	return found;
}

static int no_such_row(struct history_asking *a)
{
	const struct history_query *q = a->q;
	const char *cls = q->class_id < 0 ? "any" : xn_classes[q->class_id].name;

	if (*q->ref)
		return xn_error_set(a->err, XN_ERR_HANDLE_INVALID, cls, q->ref);
	return xn_error_set(a->err, XN_ERR_UUID_INVALID, cls, q->uuid);
}

int history_answer_record(struct history_asking *a)
{
	const struct xn_history_row *row;
	struct history_state state;
	int rc;

	if (history_state_load(a, &a->q->at, "at", a->q->class_id, &state) < 0)
		return -1;
	row = find_row(a, &state);
	rc = row ? put_record(a, &state, row) : no_such_row(a);
	history_state_clear(&state);
	return rc;
}

/* All of a class, as a map; with a limit, so many behind a reference, in the order of references. */
static int put_records(struct history_asking *a, const struct history_state *state)
{
	const struct history_query *q = a->q;
	struct xn_buf after XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_slice after_ref;
	unsigned n = 0;
	bool outer;
	int rc = 0;

	if (q->has_ref_after)
		xn_put_string(&after, q->ref_after);
	after_ref = (struct xn_slice){(unsigned char *)after.data, after.len};
	xn_writer_map_begin(&a->w, &outer);
	for (size_t i = 0; rc == 0 && i < xn_history_rows_count(state->rows); i++) {
		const struct xn_history_row *row = xn_history_row(state->rows, i);
		char ref[48];

		if (row->class_id != q->class_id ||
		    (after.len && by_bytes(&row->ref, &after_ref) <= 0))
			continue;
		if (q->limit && n++ == q->limit)
			break;
		if (a->w.out->len > HISTORY_ANSWER_MAX)
			break; /* refused */
		history_ref_text(&row->ref, ref);
		xn_writer_key(&a->w, ref, strlen(ref));
		rc = put_record(a, state, row);
	}
	xn_writer_map_end(&a->w, outer);
	return rc;
}

int history_answer_all_records(struct history_asking *a)
{
	struct history_state state;
	int rc;

	if (history_check_kept(a, a->q->class_id, true) < 0 ||
	    history_state_load(a, &a->q->at, "at", a->q->class_id, &state) < 0)
		return -1;
	rc = put_records(a, &state);
	history_state_clear(&state);
	return rc;
}
