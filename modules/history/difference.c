/*
 * The difference of two times: what was made, removed, and which fields are not the same; whatever
 * happened in between. By class and reference, so that pages go on where they ended.
 */
#include "modules/history/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct comparing {
	struct history_asking *a;
	struct history_state from, to;
	struct xn_buf old, new, after, uuid;
	unsigned limit, n;
	bool has_more;
	char last[48];
	int class_id; /* of what was compared last; -1: nothing was */
};

static bool is_about(const struct comparing *c, const struct xn_history_row *row)
{
	const struct history_query *q = c->a->q;
	char ref[48];

	if (q->class_id >= 0 && row->class_id != q->class_id)
		return false;
	if (*q->ref) {
		history_ref_text(&row->ref, ref);
		return strcmp(ref, q->ref) == 0;
	}
	return !*q->uuid || history_row_has_uuid(c->a, row, &c->uuid);
}

static void put_head(struct comparing *c, const struct xn_history_row *row, const char *operation,
		     const char *field)
{
	struct xn_writer *w = &c->a->w;
	char ref[48];

	history_ref_text(&row->ref, ref);
	xn_writer_member(w, "class", xn_classes[row->class_id].name);
	xn_writer_member(w, "ref", ref);
	xn_writer_member(w, "operation", operation);
	xn_writer_member(w, "field", field);
}

static int put_row(struct comparing *c, const struct history_state *state,
		   const struct xn_history_row *row, bool is_new)
{
	const struct xn_class *cls = &xn_classes[row->class_id];
	const char *absent = is_new ? "old" : "new", *present = is_new ? "new" : "old";
	struct xn_writer *w = &c->a->w;
	bool outer, outer_row;

	xn_writer_map_begin(w, &outer);
	put_head(c, row, is_new ? "create" : "delete", "");
	xn_writer_key(w, absent, strlen(absent));
	xn_writer_put_null(w);
	xn_writer_key(w, present, strlen(present));
	xn_writer_map_begin(w, &outer_row);
	for (unsigned f = 0; f < cls->n_public; f++) {
		struct xn_slice value;

		if (!history_shows(c->a, cls->id, (int)f))
			continue;
		history_state_value(c->a, state, row, (int)f, &c->new);
		value = (struct xn_slice){(unsigned char *)c->new.data, c->new.len};
		xn_writer_key(w, cls->fields[f].name, strlen(cls->fields[f].name));
		if (history_put_bytes(w, &value) < 0)
			return -EBADMSG;
	}
	xn_writer_map_end(w, outer_row);
	xn_writer_map_end(w, outer);
	return 0;
}

static int put_field(struct comparing *c, const struct xn_history_row *row, const char *field)
{
	const struct xn_slice old = {(unsigned char *)c->old.data, c->old.len};
	const struct xn_slice new = {(unsigned char *)c->new.data, c->new.len};
	struct xn_writer *w = &c->a->w;
	bool outer;

	xn_writer_map_begin(w, &outer);
	put_head(c, row, "set", field);
	xn_writer_key(w, "old", 3);
	if (history_put_bytes(w, &old) < 0)
		return -EBADMSG;
	xn_writer_key(w, "new", 3);
	if (history_put_bytes(w, &new) < 0)
		return -EBADMSG;
	xn_writer_map_end(w, outer);
	return 0;
}

static int compare_fields(struct comparing *c, const struct xn_history_row *old,
			  const struct xn_history_row *new)
{
	const struct xn_class *cls = &xn_classes[new->class_id];
	const char *wanted = c->a->q->field_name;
	int rc = 0;

	for (unsigned f = 0; rc == 0 && f < cls->n_public; f++) {
		if (!history_shows(c->a, cls->id, (int)f) ||
		    (*wanted && strcmp(wanted, cls->fields[f].name) != 0))
			continue;
		history_state_value(c->a, &c->from, old, (int)f, &c->old);
		history_state_value(c->a, &c->to, new, (int)f, &c->new);
		if (c->old.len != c->new.len ||
		    memcmp(c->old.data, c->new.data, c->old.len) != 0)
			rc = put_field(c, new, cls->fields[f].name);
	}
	return rc;
}

/* One object; either may be NULL. Pages end between objects. */
static int compare(struct comparing *c, const struct xn_history_row *old,
		   const struct xn_history_row *new)
{
	const struct xn_history_row *row = new ? new : old;
	size_t before = c->a->w.out->len;
	int rc;

	if (!is_about(c, row))
		return 0;
	c->class_id = row->class_id;
	if (c->n >= c->limit || before > HISTORY_ANSWER_MAX / 4) {
		c->has_more = true;
		return 0;
	}
	if (old && new)
		rc = compare_fields(c, old, new);
	else if (*c->a->q->field_name)
		rc = 0;
	else
		rc = new ? put_row(c, &c->to, new, true) : put_row(c, &c->from, old, false);
	if (c->a->w.out->len != before)
		c->n++;
	history_ref_text(&row->ref, c->last);
	return rc;
}

static int by_ref(const struct xn_slice *a, const struct xn_slice *b)
{
	size_t common = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->data, b->data, common);

	return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

static bool is_behind(const struct comparing *c, const struct xn_history_row *row)
{
	const struct xn_slice after = {(unsigned char *)c->after.data, c->after.len};

	return !after.len || by_ref(&row->ref, &after) > 0;
}

static int compare_all(struct comparing *c)
{
	size_t n = xn_history_rows_count(c->from.rows), m = xn_history_rows_count(c->to.rows);
	size_t i = 0, k = 0;
	int rc = 0;

	while (rc == 0 && !c->has_more && (i < n || k < m)) {
		const struct xn_history_row *old = i < n ? xn_history_row(c->from.rows, i) : NULL;
		const struct xn_history_row *new = k < m ? xn_history_row(c->to.rows, k) : NULL;
		int order = !old ? 1 : !new ? -1 : by_ref(&old->ref, &new->ref);

		if (order > 0)
			old = NULL;
		if (order < 0)
			new = NULL;
		i += old != NULL;
		k += new != NULL;
		if (is_behind(c, new ? new : old))
			rc = compare(c, old, new);
	}
	return rc;
}

static int answer(struct comparing *c)
{
	struct history_asking *a = c->a;
	bool outer, outer_set;

	if (a->q->has_ref_after)
		xn_put_string(&c->after, a->q->ref_after);
	xn_put_string(&c->uuid, a->q->uuid);
	xn_writer_map_begin(&a->w, &outer);
	xn_writer_member_int(&a->w, "from_generation", (int64_t)c->from.generation);
	xn_writer_member_int(&a->w, "to_generation", (int64_t)c->to.generation);
	xn_writer_key(&a->w, "changes", strlen("changes"));
	xn_writer_set_begin(&a->w, &outer_set);
	if (compare_all(c) < 0)
		return history_failed(a, -EBADMSG);
	xn_writer_set_end(&a->w, outer_set);
	xn_writer_member(&a->w, "next", c->has_more ? c->last : "");
	xn_writer_map_end(&a->w, outer);
	if ((*a->q->ref || *a->q->uuid) && c->class_id >= 0)
		return history_check_kept(a, c->class_id, true);
	return 0;
}

int history_answer_difference(struct history_asking *a)
{
	const struct history_query *q = a->q;
	struct comparing c = {
		.a = a, .limit = q->limit ? q->limit : HISTORY_LIMIT, .class_id = -1};
	int rc = history_check_kept(a, q->class_id, true);

	if (rc == 0)
		rc = history_state_load(a, &q->from, "from", q->class_id, &c.from);
	if (rc == 0)
		rc = history_state_load(a, &q->to, "to", q->class_id, &c.to);
	if (rc == 0)
		rc = answer(&c);
	history_state_clear(&c.from);
	history_state_clear(&c.to);
	xn_buf_clear(&c.old);
	xn_buf_clear(&c.new);
	xn_buf_clear(&c.after);
	xn_buf_clear(&c.uuid);
	return rc;
}
