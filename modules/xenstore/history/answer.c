/* What all answers share: opening, moments, bounds, secrets; see answer.h. */
#include "modules/xenstore/history/answer.h"

#include "core/past.h"

#include <errno.h>
#include <inttypes.h>

int past_failed(struct xn_error *err, int rc)
{
	if (rc == -ENODATA)
		return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "at", "",
				    "there is no history yet");
	if (rc == -EPROTO)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the xenstore's history is of another version");
	return xn_error_from_errno(err, rc, "reading the xenstore's history");
}

/* ---- moments ---- */

static int unknown(struct past *past, const struct xn_moment *when, const char *name,
		   struct xn_error *err)
{
	const struct past_bounds *b = past_bounds(past);
	char text[40], *why XN_CLEANUP(xn_free_p) = NULL;

	xn_moment_print(b->first_us, text);
	why = b->first_us ? xn_asprintf("older than what is kept: the history begins at %s, "
					"generation %" PRIu64,
					text, b->first)
			  : xn_strdup("there is no history yet");
	return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static int in_gap(const struct past_gap *gap, const struct xn_moment *when, const char *name,
		  struct xn_error *err)
{
	char text[40], *why XN_CLEANUP(xn_free_p) = NULL;

	xn_moment_print(gap->from_us, text);
	why = xn_asprintf("a part of the history is missing from %s (generation %" PRIu64 ") on",
			  text, gap->first);
	return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static int in_future(struct past *past, const struct xn_moment *when, const char *name,
		     struct xn_error *err)
{
	char *why XN_CLEANUP(xn_free_p) =
		xn_asprintf("it is in the future: the last change has generation %" PRIu64,
			    past_bounds(past)->last);

	return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static int set_back(const struct xn_moment *when, const char *name, uint64_t first,
		    struct xn_error *err)
{
	char *why XN_CLEANUP(xn_free_p) = xn_time_search_why_not(first);

	return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, name, when->text, why);
}

static bool is_in(const struct past_gap *gap, const struct xn_moment *when, uint64_t generation)
{
	if (when->is_time && !when->is_now)
		return when->us > gap->from_us && when->us < gap->to_us;
	return generation >= gap->first && generation < gap->next;
}

int past_find_generation(struct past *past, const struct xn_moment *when, const char *name,
			 int64_t now_us, uint64_t *out, struct xn_error *err)
{
	const struct past_bounds *b = past_bounds(past);
	int rc = 0;

	if (!b->first_us)
		return unknown(past, when, name, err);
	if (when->is_now) {
		*out = b->last;
	} else if (!when->is_time) {
		*out = when->generation;
		if (*out > b->last)
			return in_future(past, when, name, err);
	} else {
		if (when->us > now_us)
			return in_future(past, when, name, err);
		rc = past_generation_at(past, when->us, out);
	}
	if (rc == -ENOTUNIQ)
		return set_back(when, name, *out, err);
	if (rc < 0)
		return past_failed(err, rc);
	if (*out < b->first || (when->is_time && !when->is_now && when->us < b->first_us))
		return unknown(past, when, name, err);
	for (size_t i = 0; i < b->n_gaps; i++)
		if (is_in(&b->gaps[i], when, *out))
			return in_gap(&b->gaps[i], when, name, err);
	return 0;
}

/* ---- what is kept ---- */

void past_put_moment(struct past_answering *a, const char *key, uint64_t generation, int64_t us)
{
	bool outer;

	xn_writer_key(&a->w, key, strlen(key));
	xn_writer_map_begin(&a->w, &outer);
	xn_writer_member_int(&a->w, "generation", (int64_t)generation);
	xn_writer_key(&a->w, "time", strlen("time"));
	if (us)
		xn_writer_put_time(&a->w, us);
	else
		xn_writer_put_text(&a->w, "", 0);
	xn_writer_map_end(&a->w, outer);
}

void past_put_limits(struct past_answering *a, bool is_complete)
{
	const struct past_bounds *b = past_bounds(a->past);
	bool outer, outer_gap;

	xn_writer_member_bool(&a->w, "complete", is_complete);
	past_put_moment(a, "oldest", b->first, b->first_us);
	xn_writer_key(&a->w, "gaps", strlen("gaps"));
	xn_writer_set_begin(&a->w, &outer);
	for (size_t i = 0; i < b->n_gaps; i++) {
		xn_writer_map_begin(&a->w, &outer_gap);
		past_put_moment(a, "from", b->gaps[i].first, b->gaps[i].from_us);
		past_put_moment(a, "to", b->gaps[i].next, b->gaps[i].to_us);
		xn_writer_map_end(&a->w, outer_gap);
	}
	xn_writer_set_end(&a->w, outer);
}

static int answer_bounds(struct past_answering *a)
{
	const struct past_bounds *b = past_bounds(a->past);
	bool outer;

	xn_writer_map_begin(&a->w, &outer);
	past_put_limits(a, b->is_whole && !b->n_gaps);
	past_put_moment(a, "newest", b->last, b->last_us);
	xn_writer_member_bool(&a->w, "since_the_beginning", b->is_whole);
	xn_writer_member_int(&a->w, "bytes", (int64_t)b->bytes);
	xn_writer_member_int(&a->w, "size_limit", (int64_t)a->asking->size_limit);
	xn_writer_member_int(&a->w, "files", b->files);
	xn_writer_map_end(&a->w, outer);
	return 0;
}

/* ---- nodes ---- */

static bool hides(const struct past_answering *a, const char *path, size_t len)
{
	size_t at = len;

	while (at > 0 && path[at - 1] != '/')
		at--;
	return a->q->hides_secrets && xn_past_hides(path + at, len - at);
}

void past_put_value(struct past_answering *a, const char *path, size_t path_len, const char *value,
		    size_t len)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (hides(a, path, path_len)) {
		xn_writer_put_text(&a->w, "(hidden)", strlen("(hidden)"));
		return;
	}
	if (!len || xn_text_is_valid(value, len)) {
		xn_writer_put_text(&a->w, len ? value : "", len);
		return;
	}
	xn_text_recode(value, len, &text);
	xn_writer_put_text(&a->w, text.data, text.len);
}

void past_put_perms_text(struct past_answering *a, const struct xn_xs_text *perms)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	past_perms_print(&a->tree, perms, ' ', &text);
	xn_writer_put_text(&a->w, text.data, text.len);
}

void past_put_perms(struct past_answering *a, const struct past_perms *perms)
{
	past_put_perms_text(a, &(struct xn_xs_text){perms->text, perms->len});
}

/* ---- any question ---- */

static int answer(struct past_answering *a)
{
	switch (a->q->question) {
	case PAST_CHANGES:
		return past_answer_changes(a);
	case PAST_NODES:
		return past_answer_nodes(a);
	case PAST_BOUNDS:
		return answer_bounds(a);
	}
	return -1;
}

static int answer_once(const struct past_asking *asking, struct xn_buf *out, struct xn_error *err)
{
	struct past_answering a = {.asking = asking,
				   .q = asking->query,
				   .w = {.out = out, .format = asking->format},
				   .err = err};
	int rc = past_open(asking->media, &a.past);

	if (rc < 0)
		return rc;
	past_tree_init(&a.tree, asking->query->path, asking->query->path_len);
	rc = answer(&a);
	past_tree_clear(&a.tree);
	past_close(a.past);
	return rc;
}

/* -1: there is an error already; other negative numbers are yet to become one. */
int past_answer(const struct past_asking *asking, struct xn_buf *out, struct xn_error *err)
{
	size_t before = out->len;
	int rc = -ESTALE;

	/* Old files go when they must: then a fresh look tells what is left. */
	for (int tries = 0; tries < 3 && rc == -ESTALE; tries++) {
		out->len = before;
		rc = answer_once(asking, out, err);
	}
	if (rc < 0 && !xn_error_is_set(err))
		(void)past_failed(err, rc);
	if (rc == 0 && out->len - before > PAST_ANSWER_MAX)
		rc = xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "limit", "",
				  "the answer is too large: ask for less at a time");
	return rc < 0 ? -1 : 0;
}
