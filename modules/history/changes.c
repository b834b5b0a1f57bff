/*
 * What changed: a walk over transactions, each entry held against the question. A change is named by
 * its generation and its number among the changes of that generation, so that an answer in pages
 * goes on where it ended, whatever was written or removed meanwhile.
 */
#include "modules/history/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct looking {
	struct history_asking *a;
	struct xn_slice origin[3]; /* of the entries that follow */
	struct xn_slice caller_user, caller_origin;
	const struct xn_tx_head *head;
	struct xn_tx_entry was; /* .op XN_TX_WAS: of the entry that follows */
	struct xn_buf ref;	/* encoded; len 0: any */
	struct history_place place; /* of the change that is looked at */
	unsigned limit, n;
	bool is_full, has_more;
	struct history_place last;
	struct xn_writer before; /* the change that was begun last */
	size_t before_len;
	/* Newest first: a ring of the places of the last ones, then a walk that writes those. */
	struct history_place *ring;
	bool only_counts;
	size_t n_found;
	struct history_place first; /* of the ring */
	size_t *starts; /* of the texts, in the order of the walk */
	size_t n_starts;
	bool saw_object;
	int object_class; /* where the question names one; -1: not seen */
};

/* ---- who ---- */

static const struct xn_slice nothing = {(const unsigned char *)"", 0};
static const struct xn_slice daemon = {(const unsigned char *)"xenolithd", 9};

/* "root@10.0.0.5:41234"; without an @: a part of the daemon itself. */
static void split_caller(struct looking *l)
{
	const struct xn_slice *text = &l->origin[2];
	size_t at = text->len;

	l->caller_user = nothing;
	l->caller_origin = text->len ? *text : daemon;
	while (at > 0 && text->data[at - 1] != '@')
		at--;
	if (!at)
		return;
	l->caller_user = (struct xn_slice){text->data, at - 1};
	l->caller_origin = (struct xn_slice){text->data + at, text->len - at};
}

static void forget_origin(struct looking *l)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(l->origin); i++)
		l->origin[i] = nothing;
	split_caller(l);
}

static bool is_text(const struct xn_slice *slice, const char *text)
{
	return !*text ||
	       (slice->len == strlen(text) && memcmp(slice->data, text, slice->len) == 0);
}

/* An address matches with and without its port. */
static bool origin_matches(const struct xn_slice *origin, const char *wanted)
{
	size_t len = strlen(wanted);

	return is_text(origin, wanted) ||
	       (origin->len > len && memcmp(origin->data, wanted, len) == 0 &&
		origin->data[len] == ':');
}

/* ---- which ---- */

static bool is_after(const struct history_place *p, const struct history_place *q)
{
	return p->generation != q->generation ? p->generation > q->generation
					      : p->index > q->index;
}

static bool when_matches(const struct looking *l, uint64_t stamp)
{
	const struct history_query *q = l->a->q;

	if (q->since.is_given && !q->since.is_time && stamp <= q->since.generation)
		return false;
	if (q->until.is_given && !q->until.is_time && stamp > q->until.generation)
		return false;
	return true; /* times: the walk's */
}

static bool place_matches(const struct looking *l)
{
	const struct history_query *q = l->a->q;

	if (!q->has_after)
		return true;
	return q->newest ? is_after(&q->after, &l->place) : is_after(&l->place, &q->after);
}

static bool entry_matches(const struct looking *l, int class_id, const struct xn_tx_entry *entry,
			  enum history_operation operation, int field)
{
	const struct history_query *q = l->a->q;

	if (q->operation != HISTORY_ANY && q->operation != operation)
		return false;
	if (field >= 0 && (!history_shows(l->a, class_id, field) ||
			   (*q->field_name &&
			    strcmp(xn_classes[class_id].fields[field].name, q->field_name) != 0)))
		return false;
	return when_matches(l, entry->stamp) && is_text(&l->origin[0], q->session) &&
	       is_text(&l->origin[1], q->task) && is_text(&l->caller_user, q->user) &&
	       origin_matches(&l->caller_origin, q->origin) && place_matches(l);
}

/* ---- written ---- */

static void put_slice(struct xn_writer *w, const char *key, const struct xn_slice *text)
{
	bool good = xn_text_is_valid((const char *)text->data, text->len);

	xn_writer_key(w, key, strlen(key));
	xn_writer_put_text(w, (const char *)text->data, good ? text->len : 0);
}

static void put_head(struct looking *l, int class_id, const struct xn_tx_entry *entry,
		     const char *operation, const char *field)
{
	struct xn_writer *w = &l->a->w;
	char ref[48];

	history_ref_text(&entry->ref, ref);
	xn_writer_member_int(w, "generation", (int64_t)entry->stamp);
	xn_writer_key(w, "time", strlen("time"));
	xn_writer_put_time(w, l->head->wall_us);
	xn_writer_member(w, "class", xn_classes[class_id].name);
	xn_writer_member(w, "ref", ref);
	xn_writer_member(w, "operation", operation);
	xn_writer_member(w, "field", field);
	put_slice(w, "session", &l->origin[0]);
	put_slice(w, "task", &l->origin[1]);
	put_slice(w, "user", &l->caller_user);
	put_slice(w, "origin", &l->caller_origin);
}

/* All public fields of a row that was made or removed. */
static int put_fields(struct looking *l, int class_id, struct xn_slice pairs)
{
	struct xn_cursor in = xn_cursor(pairs.data, pairs.len);
	struct xn_writer *w = &l->a->w;
	struct xn_slice value;
	uint32_t no;
	bool outer;

	xn_writer_map_begin(w, &outer);
	while (xn_take_pair(&in, &no, &value) == 1) {
		int field = xn_names_field(xn_history_names(l->a->h), class_id, no);
		const char *name;

		if (field < 0 || !history_shows(l->a, class_id, field))
			continue;
		name = xn_classes[class_id].fields[field].name;
		xn_writer_key(w, name, strlen(name));
		if (history_put_bytes(w, &value) < 0)
			return -EBADMSG;
	}
	xn_writer_map_end(w, outer);
	return 0;
}

/* Whether the change is to be written now. */
static bool admit(struct looking *l)
{
	const struct history_query *q = l->a->q;

	if (l->only_counts) {
		l->ring[l->n_found++ % l->limit] = l->place;
		return false;
	}
	if (q->newest && is_after(&l->first, &l->place))
		return false;
	if (l->is_full) {
		l->has_more = true;
		return false;
	}
	l->last = l->place;
	l->n++;
	l->is_full = l->n == l->limit;
	l->before = l->a->w;
	l->before_len = l->a->w.out->len;
	if (l->starts) {
		l->a->w.comma = false; /* put together later */
		l->starts[l->n_starts++] = l->before_len;
	}
	return true;
}

/* It cannot be written to its end: its block is left out from there on, the answer goes on. */
static void withdraw(struct looking *l)
{
	l->a->w = l->before;
	l->a->w.out->len = l->before_len;
	l->n--;
	l->is_full = false;
	if (l->starts)
		l->n_starts--;
}

/* A row made or removed, or one field of it when the question is about a field. */
static int look_at_row(struct looking *l, int class_id, const struct xn_tx_entry *entry,
		       bool is_create, struct xn_slice pairs)
{
	const struct history_asking *a = l->a;
	struct xn_writer *w = &l->a->w;
	enum history_operation op = is_create ? HISTORY_CREATE : HISTORY_DELETE;
	int field = *a->q->field_name ? xn_field_find(&xn_classes[class_id], a->q->field_name) : -1;
	const char *present = is_create ? "new" : "old", *absent = is_create ? "old" : "new";
	bool outer, is_given;
	int rc;

	if ((*a->q->field_name && field < 0) || !entry_matches(l, class_id, entry, op, field) ||
	    !admit(l))
		return 0;
	xn_writer_map_begin(w, &outer);
	put_head(l, class_id, entry, is_create ? "create" : "delete",
		 field < 0 ? "" : xn_classes[class_id].fields[field].name);
	xn_writer_key(w, absent, strlen(absent));
	xn_writer_put_null(w);
	xn_writer_key(w, present, strlen(present));
	if (!pairs.data) {
		xn_writer_put_null(w); /* what it was got lost */
		rc = 0;
	} else if (field >= 0) {
		struct xn_slice value = history_pair(a, class_id, field, pairs, &is_given);

		rc = history_put_bytes(w, &value);
	} else {
		rc = put_fields(l, class_id, pairs);
	}
	xn_writer_map_end(w, outer);
	if (rc < 0)
		withdraw(l);
	return rc;
}

static int write_set(struct looking *l, int class_id, const struct xn_tx_entry *entry, int field,
		     const struct xn_slice *value)
{
	struct xn_writer *w = &l->a->w;
	struct xn_slice old;
	bool outer, is_given;
	int rc = 0;

	xn_writer_map_begin(w, &outer);
	put_head(l, class_id, entry, "set", xn_classes[class_id].fields[field].name);
	xn_writer_key(w, "old", 3);
	if (l->was.op == XN_TX_WAS) {
		old = history_pair(l->a, class_id, field, l->was.pairs, &is_given);
		rc = history_put_bytes(w, &old);
	} else {
		xn_writer_put_null(w); /* it got lost */
	}
	xn_writer_key(w, "new", 3);
	if (rc == 0)
		rc = history_put_bytes(w, value);
	xn_writer_map_end(w, outer);
	if (rc < 0)
		withdraw(l);
	return rc;
}

static void next_place(struct looking *l, uint64_t stamp)
{
	if (l->place.generation == stamp)
		l->place.index++;
	else
		l->place = (struct history_place){stamp, 0};
}

static int look_at_set(struct looking *l, int class_id, const struct xn_tx_entry *entry)
{
	struct xn_cursor in = xn_cursor(entry->pairs.data, entry->pairs.len);
	struct xn_slice value;
	uint32_t no;
	int rc = 0;

	while (rc == 0 && xn_take_pair(&in, &no, &value) == 1) {
		int field = xn_names_field(xn_history_names(l->a->h), class_id, no);

		next_place(l, entry->stamp);
		if (field < 0 || !entry_matches(l, class_id, entry, HISTORY_SET, field) ||
		    !admit(l))
			continue;
		rc = write_set(l, class_id, entry, field, &value);
	}
	return rc;
}

static bool is_object(const struct looking *l, const struct xn_tx_entry *entry, int class_id)
{
	const struct history_query *q = l->a->q;

	if (q->class_id >= 0 && q->class_id != class_id)
		return false;
	return !l->ref.len || (l->ref.len == entry->ref.len &&
			       memcmp(l->ref.data, entry->ref.data, entry->ref.len) == 0);
}

static int look_at(struct looking *l, const struct xn_tx_entry *entry)
{
	int class_id = xn_names_class(xn_history_names(l->a->h), entry->class_no);
	int rc = 0;

	if (entry->op == XN_TX_ORIGIN) {
		memcpy(l->origin, entry->texts, sizeof(l->origin));
		split_caller(l);
		return 0;
	}
	if (entry->op != XN_TX_WAS && class_id >= 0 &&
	    xn_history_keeps_class(&l->a->options->skip, class_id)) {
		bool is_it = is_object(l, entry, class_id);

		l->saw_object |= is_it;
		if (is_it && l->ref.len)
			l->object_class = class_id;
		if (entry->op == XN_TX_SET && is_it) {
			rc = look_at_set(l, class_id, entry);
		} else {
			next_place(l, entry->stamp);
			if (is_it && entry->op == XN_TX_CREATE)
				rc = look_at_row(l, class_id, entry, true, entry->pairs);
			else if (is_it && entry->op == XN_TX_DELETE)
				rc = look_at_row(l, class_id, entry, false,
						 l->was.op == XN_TX_WAS ? l->was.pairs
									: (struct xn_slice){0});
		}
	}
	l->was = *entry;
	return rc;
}

static int visit(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	struct looking *l = arg;
	struct xn_tx_entry entry;
	int rc = 0, more = 0;

	l->head = head;
	l->was.op = XN_TX_ORIGIN;
	forget_origin(l);
	while (rc == 0 && (more = xn_take_tx_entry(&in, head, &entry)) == 1)
		rc = look_at(l, &entry);
	if (rc == 0 && more < 0)
		rc = -EBADMSG;
	if (rc == 0 && l->has_more)
		rc = 1; /* enough */
	if (rc == 0 && !l->starts && l->a->w.out->len > HISTORY_ANSWER_MAX / 4)
		l->is_full = true; /* a page is bounded in bytes, too */
	return rc;
}

/* ---- the object ---- */

/* A row's uuid is in what it was made with. */
struct search {
	const struct history_asking *a;
	struct xn_buf uuid; /* encoded */
	char ref[48];
};

static void search_pairs(struct search *s, int class_id, const struct xn_slice *ref,
			 struct xn_slice pairs)
{
	int field = class_id < 0 ? -1 : xn_classes[class_id].uuid_field;
	struct xn_slice value;
	bool is_given;

	if (field < 0 || (s->a->q->class_id >= 0 && s->a->q->class_id != class_id))
		return;
	value = history_pair(s->a, class_id, field, pairs, &is_given);
	if (value.len == s->uuid.len && memcmp(value.data, s->uuid.data, value.len) == 0)
		history_ref_text(ref, s->ref);
}

static int search_tx(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	struct search *s = arg;
	struct xn_tx_entry entry;

	while (xn_take_tx_entry(&in, head, &entry) == 1) {
		int class_id = xn_names_class(xn_history_names(s->a->h), entry.class_no);

		if (entry.op == XN_TX_CREATE || entry.op == XN_TX_WAS || entry.op == XN_TX_SET)
			search_pairs(s, class_id, &entry.ref, entry.pairs);
	}
	return *s->ref ? 1 : 0;
}

static int search_rows(struct search *s, uint64_t generation)
{
	struct xn_history_rows *rows;

	if (xn_history_rows_at(s->a->h, generation, NULL, NULL, &rows) < 0)
		return 0; /* then the walk is all there is */
	for (size_t i = 0; i < xn_history_rows_count(rows) && !*s->ref; i++) {
		const struct xn_history_row *row = xn_history_row(rows, i);

		search_pairs(s, row->class_id, &row->ref, row->pairs);
	}
	xn_history_rows_free(rows);
	return 0;
}

/* The newest rows first: what is there now is asked for most. */
static int find_uuid(struct history_asking *a, char ref[48])
{
	struct search s = {.a = a};
	int rc;

	xn_put_string(&s.uuid, a->q->uuid);
	search_rows(&s, xn_history_bounds(a->h)->next - 1);
	rc = *s.ref ? 0
		    : xn_history_walk(a->h, 0, UINT64_MAX, INT64_MIN, INT64_MAX, search_tx, &s);
	xn_buf_clear(&s.uuid);
	if (rc < 0)
		return history_failed(a, rc);
	if (!*s.ref)
		return xn_error_set(a->err, XN_ERR_UUID_INVALID,
				    a->q->class_id < 0 ? "any" : xn_classes[a->q->class_id].name,
				    a->q->uuid);
	strcpy(ref, s.ref);
	return 0;
}

static int name_object(struct looking *l)
{
	const struct history_query *q = l->a->q;
	char ref[48];

	strcpy(ref, q->ref);
	if (!*ref && *q->uuid && find_uuid(l->a, ref) < 0)
		return -1;
	if (*ref)
		xn_put_string(&l->ref, ref);
	return 0;
}

static bool is_ref(void *arg, const struct xn_slice *ref, int class_id)
{
	const struct looking *l = arg;

	return ref->len == l->ref.len && memcmp(ref->data, l->ref.data, ref->len) == 0;
}

/* Nothing was told of the object: because nothing happened to it, or because there is none? */
static int check_object(struct looking *l)
{
	const struct history_query *q = l->a->q;
	struct xn_history_rows *rows;
	struct looking again = {.a = l->a, .ref = l->ref, .object_class = -1};
	bool known = false;

	if (!l->ref.len || l->saw_object || l->n)
		return 0;
	if (xn_history_rows_at(l->a->h, xn_history_bounds(l->a->h)->next - 1, is_ref, l, &rows) ==
	    0) {
		known = xn_history_rows_count(rows) > 0;
		if (known)
			l->object_class = xn_history_row(rows, 0)->class_id;
		xn_history_rows_free(rows);
	}
	again.limit = 1;
	again.is_full = true;
	forget_origin(&again);
	if (!known && xn_history_walk(l->a->h, 0, UINT64_MAX, INT64_MIN, INT64_MAX, visit,
				      &again) >= 0) {
		known = again.saw_object;
		l->object_class = again.object_class;
	}
	return known ? 0
		     : xn_error_set(l->a->err, XN_ERR_HANDLE_INVALID,
				    q->class_id < 0 ? "any" : xn_classes[q->class_id].name,
				    *q->ref ? q->ref : q->uuid);
}

/* ---- the answer ---- */

static int walk(struct looking *l)
{
	const struct history_query *q = l->a->q;
	uint64_t after = 0, until = UINT64_MAX;
	int64_t from_us = INT64_MIN, to_us = INT64_MAX;

	if (q->since.is_given && q->since.is_time)
		from_us = q->since.is_now ? l->a->now_us : q->since.us;
	else if (q->since.is_given)
		after = q->since.generation;
	if (q->until.is_given && q->until.is_time)
		to_us = q->until.is_now ? l->a->now_us : q->until.us;
	else if (q->until.is_given)
		until = q->until.generation;
	if (q->has_after && !q->newest && q->after.generation > after)
		after = q->after.generation - 1;
	if (q->has_after && q->newest && q->after.generation < until)
		until = q->after.generation;
	if (q->newest && !l->only_counts && l->first.generation > after)
		after = l->first.generation - 1;
	l->place = (struct history_place){0};
	forget_origin(l);
	return xn_history_walk(l->a->h, after, until, from_us, to_us, visit, l);
}

/* The last ones: first where they begin, then they themselves. */
static int find_newest(struct looking *l)
{
	int rc;

	l->ring = xn_calloc(l->limit, sizeof(*l->ring));
	l->only_counts = true;
	rc = walk(l);
	l->only_counts = false;
	if (l->n_found)
		l->first = l->ring[l->n_found > l->limit ? l->n_found % l->limit : 0];
	else
		l->first.generation = UINT64_MAX;
	free(l->ring);
	l->starts = xn_calloc(l->limit + 1, sizeof(*l->starts));
	return rc;
}

/* What was written lies oldest first. */
static void turn_around(struct looking *l, size_t begin)
{
	struct xn_writer *w = &l->a->w;
	size_t len = w->out->len - begin;
	char *texts = xn_malloc(len + 1);

	memcpy(texts, w->out->data + begin, len);
	l->starts[l->n_starts] = begin + len;
	w->out->len = begin;
	for (size_t i = l->n_starts; i > 0; i--) {
		if (i < l->n_starts && w->format == XN_FORMAT_JSON)
			xn_buf_add_char(w->out, ',');
		xn_buf_add(w->out, texts + (l->starts[i - 1] - begin),
			   l->starts[i] - l->starts[i - 1]);
	}
	free(texts);
	w->comma = true;
}

static bool is_complete(const struct history_asking *a)
{
	const struct xn_history_bounds *b = xn_history_bounds(a->h);
	const struct xn_moment *since = &a->q->since;

	if (b->n_gaps)
		return false;
	if (b->is_whole)
		return true;
	return since->is_given && (since->is_time ? since->us >= b->from_us
						  : since->generation + 1 >= b->first);
}

static int answer_with(struct looking *l)
{
	struct history_asking *a = l->a;
	struct xn_writer *w = &a->w;
	struct history_place next;
	bool outer, outer_set;
	size_t begin;
	int rc = a->q->newest ? find_newest(l) : 0;

	if (rc < 0)
		return history_failed(a, rc);
	xn_writer_map_begin(w, &outer);
	xn_writer_key(w, "changes", strlen("changes"));
	xn_writer_set_begin(w, &outer_set);
	begin = w->out->len;
	rc = walk(l);
	if (rc < 0)
		return history_failed(a, rc);
	if (l->starts)
		turn_around(l, begin);
	xn_writer_set_end(w, outer_set);
	next = a->q->newest ? l->first : l->last;
	history_put_next(a, (a->q->newest ? l->n_found > l->limit : l->has_more) ? &next : NULL);
	history_put_limits(a, is_complete(a));
	xn_writer_map_end(w, outer);
	rc = check_object(l);
	return rc == 0 && l->object_class >= 0 ? history_check_kept(a, l->object_class, false) : rc;
}

int history_answer_changes(struct history_asking *a)
{
	struct looking l = {.a = a,
			    .limit = a->q->limit ? a->q->limit : HISTORY_LIMIT,
			    .object_class = -1};
	bool has_object = *a->q->ref || *a->q->uuid; /* its class is seen later */
	int rc = has_object && a->q->class_id < 0 ? 0
						  : history_check_kept(a, a->q->class_id, false);

	if (rc == 0)
		rc = name_object(&l);

	if (rc == 0)
		rc = answer_with(&l);
	xn_buf_clear(&l.ref);
	free(l.starts);
	return rc;
}
