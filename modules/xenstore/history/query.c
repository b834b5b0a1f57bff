/* Questions to the store's history, word by word; see query.h. */
#include "modules/xenstore/history/query.h"

#include <errno.h>

#include "modules/xenstore/store/path.h"

void past_query_init(struct past_query *query)
{
	*query = (struct past_query){.path = "/", .path_len = 1};
}

static int set_path(void *question, const char *value)
{
	struct past_query *q = question;
	size_t len;

	if (*value != '/' || !xn_xs_path_is_valid(value, &len))
		return -EINVAL;
	memcpy(q->path, value, len + 1);
	q->path_len = len;
	return 0;
}

static int set_number(const char *value, int64_t max, int64_t *out)
{
	const char *end;

	return xn_number_take(value, &end, out) < 0 || *end || *out > max ? -EINVAL : 0;
}

static int set_domain(void *question, const char *value)
{
	struct past_query *q = question;
	int64_t n;

	if (set_number(value, XN_XS_DOMID_END - 1, &n) < 0)
		return -EINVAL;
	q->has_domain = true;
	q->domain = (uint32_t)n;
	return 0;
}

static int set_birth(void *question, const char *value)
{
	struct past_query *q = question;
	int64_t n;

	if (set_number(value, INT64_MAX, &n) < 0)
		return -EINVAL;
	q->has_birth = true;
	q->birth = (uint64_t)n;
	return 0;
}

static int set_transaction(void *question, const char *value)
{
	struct past_query *q = question;
	int64_t n;

	if (set_number(value, UINT32_MAX, &n) < 0)
		return -EINVAL;
	q->has_transaction = true;
	q->transaction = (uint32_t)n;
	return 0;
}

/* GENERATION.INDEX of a list of changes; a path of one of nodes; "": from the beginning. */
static int set_after(void *question, const char *value)
{
	struct past_query *q = question;
	int64_t generation, index;
	const char *end;
	size_t len;

	q->has_after = false;
	q->path_after[0] = '\0';
	if (!*value)
		return 0;
	if (*value == '/' && xn_xs_path_is_valid(value, &len)) {
		memcpy(q->path_after, value, len + 1);
		return 0;
	}
	if (xn_number_take(value, &end, &generation) < 0 || *end != '.' ||
	    set_number(end + 1, UINT32_MAX, &index) < 0)
		return -EINVAL;
	q->has_after = true;
	q->after = (struct past_place){(uint64_t)generation, (unsigned)index};
	return 0;
}

#define WORD(kind_, member)                                                                        \
	.kind = kind_, XN_WORD_OF(struct past_query, member)

static const struct xn_word words[] = {
	{"path", set_path},
	{"since", WORD(XN_WORD_MOMENT, since)},
	{"until", WORD(XN_WORD_MOMENT, until)},
	{"at", WORD(XN_WORD_MOMENT, at)},
	{"domain", set_domain},
	{"birth", set_birth},
	{"transaction", set_transaction},
	{"operation", WORD(XN_WORD_CHOICE, operation),
	 .choices = "any|create|set|permissions|delete"},
	{"limit", .kind = XN_WORD_COUNT, .offset = offsetof(struct past_query, limit),
	 .size = PAST_LIMIT_MAX},
	{"after", set_after},
	{"order", WORD(XN_WORD_CHOICE, newest), .choices = "oldest|newest"},
	{"format", WORD(XN_WORD_CHOICE, json), .choices = "text|json"},
	{"bounds", WORD(XN_WORD_FLAG, wants_bounds)},
	{"json", WORD(XN_WORD_FLAG, json)},
	{"newest", WORD(XN_WORD_FLAG, newest)},
	{NULL},
};

int past_query_set(struct past_query *query, const char *name, const char *value,
		   struct xn_error *err)
{
	return xn_question_set(words, query, name, value, err);
}

int past_query_set_all(struct past_query *query, const struct xn_value *map, struct xn_error *err)
{
	return xn_question_set_all(words, query, map, err);
}

/* Whether @path is @query's path or below it. */
static bool is_asked(const struct past_query *q, const char *path)
{
	return q->path_len == 1 || (strncmp(path, q->path, q->path_len) == 0 &&
				    (!path[q->path_len] || path[q->path_len] == '/'));
}

int past_query_settle(struct past_query *q, struct xn_error *err)
{
	q->question = q->wants_bounds  ? PAST_BOUNDS
		      : q->at.is_given ? PAST_NODES
				       : PAST_CHANGES;
	if (q->question == PAST_CHANGES && *q->path_after)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "after", q->path_after);
	if (q->question == PAST_NODES &&
	    (q->has_after || (*q->path_after && !is_asked(q, q->path_after))))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "after", q->path_after);
	return 0;
}

int past_query_parse(struct past_query *query, const char *text, struct xn_error *err)
{
	if (xn_question_parse(words, query, text, err) < 0)
		return -1;
	return past_query_settle(query, err);
}
