/* What all answers share: opening, times, bounds, errors; see answer.h. */
#include "modules/history/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

void history_defaults_init(struct history_defaults *defaults)
{
	size_t *starts[XN_CLASS_COUNT];

	*defaults = (struct history_defaults){0};
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_class *cls = &xn_classes[c];

		starts[c] = xn_calloc(cls->n_fields + 1, sizeof(**starts));
		for (unsigned f = 0; f < cls->n_fields; f++) {
			struct xn_value *v = xn_field_default(cls, f);

			starts[c][f] = defaults->bytes.len;
			xn_put_value(&defaults->bytes, v);
			xn_value_unref(v);
		}
		starts[c][cls->n_fields] = defaults->bytes.len;
	}
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		unsigned n = xn_classes[c].n_fields;

		defaults->of[c] = xn_calloc(n, sizeof(struct xn_slice));
		for (unsigned f = 0; f < n; f++)
			defaults->of[c][f] = (struct xn_slice){
				(unsigned char *)defaults->bytes.data + starts[c][f],
				starts[c][f + 1] - starts[c][f]};
		free(starts[c]);
	}
}

void history_defaults_clear(struct history_defaults *defaults)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		free(defaults->of[c]);
	xn_buf_clear(&defaults->bytes);
	*defaults = (struct history_defaults){0};
}

/* ---- small things ---- */

bool history_shows(const struct history_asking *a, int class_id, int field)
{
	const struct xn_class *cls = &xn_classes[class_id];
	const struct xn_field *f = &cls->fields[field];

	if (f->internal || a->q->role > f->role_read)
		return false;
	if (f->relation == XN_REL_ONE_TO_MANY)
		return xn_history_keeps_class(&a->options->skip, class_id) &&
		       xn_history_keeps_field(&a->options->skip, f->other_class, f->other_field);
	return xn_history_keeps_field(&a->options->skip, class_id, field);
}

/* In one class. 1: it is told; 0: it has none of that name; -1, *follows: from where, or NULL. */
static int find_field(const struct history_asking *a, int class_id, bool tells_sets,
		      const struct xn_field **follows)
{
	const struct xn_class *cls = &xn_classes[class_id];
	int field = xn_field_find(cls, a->q->field_name);

	if (field < 0 || cls->fields[field].internal || cls->internal || !cls->in_database)
		return 0;
	if (!history_shows(a, class_id, field))
		return -1;
	if (cls->fields[field].relation != XN_REL_ONE_TO_MANY || tells_sets)
		return 1;
	*follows = &cls->fields[field];
	return -1;
}

static int refuse_field(struct history_asking *a, const struct xn_field *follows)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;

	if (follows)
		why = xn_asprintf("it follows from %s.%s: ask for that",
				  xn_classes[follows->other_class].name,
				  xn_classes[follows->other_class].fields[follows->other_field].name);
	return xn_error_set(a->err, XN_ERR_VALUE_NOT_SUPPORTED, "field", a->q->field_name,
			    why ? why : "history leaves it out");
}

int history_check_kept(struct history_asking *a, int class_id, bool tells_sets)
{
	int first = class_id < 0 ? 0 : class_id, last = class_id < 0 ? XN_CLASS_COUNT - 1 : class_id;
	const struct xn_field *follows = NULL;
	bool is_left_out = false;

	if (class_id >= 0 && !xn_history_keeps_class(&a->options->skip, class_id))
		return xn_error_set(a->err, XN_ERR_VALUE_NOT_SUPPORTED, "class",
				    xn_classes[class_id].name, "history leaves it out");
	for (int c = first; *a->q->field_name && c <= last; c++) {
		int found = find_field(a, c, tells_sets, &follows);

		if (found > 0)
			return 0;
		is_left_out |= found < 0;
	}
	return is_left_out ? refuse_field(a, follows) : 0;
}

void history_ref_text(const struct xn_slice *ref, char out[48])
{
	struct xn_cursor in = xn_cursor(ref->data, ref->len);

	if (xn_take_string(&in, out, 48) < 0)
		*out = '\0';
}

struct xn_slice history_pair(const struct history_asking *a, int class_id, int field,
			     struct xn_slice pairs, bool *is_given)
{
	struct xn_cursor in = xn_cursor(pairs.data, pairs.len);
	struct xn_slice value;
	uint32_t no;

	*is_given = true;
	while (xn_take_pair(&in, &no, &value) == 1)
		if (xn_names_field(xn_history_names(a->h), class_id, no) == field)
			return value;
	*is_given = false;
	return a->defaults->of[class_id][field];
}

int history_failed(struct history_asking *a, int rc)
{
	return xn_error_from_errno(a->err, rc, "reading the history");
}

/* ---- times ---- */

static int unknown(struct history_asking *a, const struct xn_moment *when, const char *name,
		   uint64_t generation)
{
	const struct xn_history_bounds *b = xn_history_bounds(a->h);
	char text[40];
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_moment_print(b->from_us, text);
	if (!b->from_us) {
		xn_buf_add_string(&why, "there is no history yet");
	} else if (b->n_gaps && generation + 1 >= b->first) {
		const struct xn_history_gap *gap = &b->gaps[b->n_gaps - 1];

		xn_moment_print(gap->from_us, text);
		xn_buf_printf(&why, "a part of the history is missing from %s (generation %" PRIu64
				    ") on: %s",
			      text, gap->first, gap->why);
	} else {
		xn_buf_printf(&why, "older than what is kept: the history begins at %s, "
				    "generation %" PRIu64,
			      text, b->first);
	}
	return xn_error_set(a->err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text,
			    xn_buf_cstr(&why));
}

static int in_future(struct history_asking *a, const struct xn_moment *when, const char *name)
{
	char *why XN_CLEANUP(xn_free_p) =
		xn_asprintf("it is in the future: the last change has generation %" PRIu64,
			    xn_history_bounds(a->h)->next - 1);

	return xn_error_set(a->err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static int set_back(struct history_asking *a, const struct xn_moment *when, const char *name,
		    uint64_t first)
{
	char *why XN_CLEANUP(xn_free_p) = xn_time_search_why_not(first);

	return xn_error_set(a->err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static bool is_now(const struct xn_moment *when)
{
	return when->is_now || !when->is_given;
}

/* The last change that is known. */
static bool is_behind(const struct xn_history_bounds *b, const struct xn_moment *when)
{
	if (is_now(when))
		return true;
	return when->is_time ? when->us > b->to_us : when->generation >= b->next;
}

int history_generation(struct history_asking *a, const struct xn_moment *when, const char *name,
		       uint64_t *out)
{
	const struct xn_history_bounds *b = xn_history_bounds(a->h);
	int rc = 0;

	if (b->ends_in_gap && is_behind(b, when))
		return unknown(a, when, name, b->next);
	if (is_now(when)) {
		*out = b->next - 1;
	} else if (!when->is_time) {
		*out = when->generation;
		if (*out >= b->next)
			return in_future(a, when, name);
	} else {
		if (when->us > a->now_us)
			return in_future(a, when, name);
		rc = xn_history_generation_at(a->h, when->us, out);
		if (rc == -ENODATA)
			return unknown(a, when, name, *out);
		if (rc == -ENOTUNIQ)
			return set_back(a, when, name, *out);
	}
	return rc < 0 ? history_failed(a, rc) : 0;
}

int history_rows(struct history_asking *a, const struct xn_moment *when, const char *name,
		 bool (*wants)(void *arg, const struct xn_slice *ref, int class_id), void *arg,
		 uint64_t *generation_out, struct xn_history_rows **out)
{
	int rc;

	if (history_generation(a, when, name, generation_out) < 0)
		return -1;
	rc = xn_history_rows_at(a->h, *generation_out, wants, arg, out);
	if (rc == -ENODATA)
		return unknown(a, when, name, *generation_out);
	return rc < 0 ? history_failed(a, rc) : 0;
}

/* ---- what is kept ---- */

static void put_moment(struct history_asking *a, const char *key, uint64_t generation, int64_t us)
{
	bool outer;

	xn_writer_key(&a->w, key, strlen(key));
	xn_writer_map_begin(&a->w, &outer);
	xn_writer_member_int(&a->w, "generation", (int64_t)generation);
	xn_writer_key(&a->w, "time", 4);
	if (us)
		xn_writer_put_time(&a->w, us);
	else
		xn_writer_put_text(&a->w, "", 0);
	xn_writer_map_end(&a->w, outer);
}

static void put_gap(struct history_asking *a, const struct xn_history_gap *gap)
{
	bool outer;

	xn_writer_map_begin(&a->w, &outer);
	put_moment(a, "from", gap->first, gap->from_us);
	put_moment(a, "to", gap->next, gap->to_us);
	xn_writer_member(&a->w, "why", gap->why);
	xn_writer_map_end(&a->w, outer);
}

void history_put_limits(struct history_asking *a, bool is_complete)
{
	const struct xn_history_bounds *b = xn_history_bounds(a->h);
	bool outer;

	xn_writer_key(&a->w, "complete", strlen("complete"));
	xn_writer_put_bool(&a->w, is_complete);
	put_moment(a, "oldest", b->first, b->from_us);
	xn_writer_key(&a->w, "gaps", strlen("gaps"));
	xn_writer_set_begin(&a->w, &outer);
	for (size_t i = 0; i < b->n_gaps; i++)
		put_gap(a, &b->gaps[i]);
	xn_writer_set_end(&a->w, outer);
}

static int note_time(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	int64_t *newest_us = arg;

	*newest_us = head->wall_us;
	return 0;
}

/* All of it is read: what is damaged is found by that only. */
static int answer_bounds(struct history_asking *a)
{
	const struct xn_history_bounds *b = xn_history_bounds(a->h);
	int64_t newest_us = b->to_us;
	bool outer;
	int rc = xn_history_walk(a->h, 0, UINT64_MAX, INT64_MIN, INT64_MAX, note_time, &newest_us);

	if (rc < 0)
		return history_failed(a, rc);
	xn_writer_map_begin(&a->w, &outer);
	history_put_limits(a, b->is_whole && !b->n_gaps);
	put_moment(a, "newest", b->next - 1, newest_us);
	xn_writer_key(&a->w, "since_the_beginning", strlen("since_the_beginning"));
	xn_writer_put_bool(&a->w, b->is_whole);
	xn_writer_member_int(&a->w, "bytes", (int64_t)b->bytes);
	xn_writer_member_int(&a->w, "size_limit", (int64_t)b->limit);
	xn_writer_member_int(&a->w, "age_limit_days", a->options->age_us / 1000000 / 86400);
	xn_writer_member_int(&a->w, "files", b->files);
	xn_writer_map_end(&a->w, outer);
	return 0;
}

void history_put_next(struct history_asking *a, const struct history_place *next)
{
	char *text XN_CLEANUP(xn_free_p) =
		next ? xn_asprintf("%" PRIu64 ".%u", next->generation, next->index)
		     : xn_strdup("");

	xn_writer_member(&a->w, "next", text);
}

/* ---- any question ---- */

static int answer(struct history_asking *a)
{
	switch (a->q->question) {
	case HISTORY_CHANGES:
		return history_answer_changes(a);
	case HISTORY_RECORD:
		return history_answer_record(a);
	case HISTORY_ALL_RECORDS:
		return history_answer_all_records(a);
	case HISTORY_DIFFERENCE:
		return history_answer_difference(a);
	case HISTORY_BOUNDS:
		return answer_bounds(a);
	}
	return -1;
}

int history_answer(const char *dir, const struct xn_history_options *options,
		   const struct history_defaults *defaults, const struct history_query *query,
		   enum xn_format format, int64_t now_us, struct xn_buf *out,
		   struct xn_error *err)
{
	struct history_asking a = {.q = query,
				   .options = options,
				   .defaults = defaults,
				   .w = {.out = out, .format = format},
				   .now_us = now_us,
				   .err = err};
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_history_open(dir, options, &a.h, &why);

	if (rc < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s", why);
	rc = answer(&a);
	if (rc == 0 && out->len > HISTORY_ANSWER_MAX)
		rc = xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "limit", "",
				  "the answer is too large: ask for less at a time");
	xn_history_close(a.h);
	return rc;
}
