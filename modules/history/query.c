/* Questions to history, word by word; see query.h. */
#include "modules/history/query.h"

#include <errno.h>
#include <stddef.h>

void history_query_init(struct history_query *query)
{
	*query = (struct history_query){.class_id = -1, .field = -1, .role = XN_ROLE_LOCAL_ROOT};
}

/* ---- words ---- */

static int set_class(void *question, const char *value)
{
	struct history_query *q = question;
	const struct xn_class *cls = xn_class_find(value);

	if (!cls)
		cls = xn_class_find_event(value);
	if (!cls || cls->internal || !cls->in_database)
		return -EINVAL;
	q->class_id = cls->id;
	return 0;
}

/* GENERATION.INDEX of a list of changes; a reference of one of records. */
static int set_after(void *question, const char *value)
{
	struct history_query *q = question;
	int64_t generation, index;
	const char *end;

	if (!*value)
		return 0;
	if (xn_number_take(value, &end, &generation) == 0 && *end == '.' &&
	    xn_number_take(end + 1, &end, &index) == 0 && !*end && index <= UINT32_MAX) {
		q->has_after = true;
		q->after = (struct history_place){(uint64_t)generation, (unsigned)index};
		return 0;
	}
	if (strlen(value) >= sizeof(q->ref_after))
		return -EINVAL;
	strcpy(q->ref_after, value);
	q->has_ref_after = true;
	return 0;
}

#define WORD(kind_, member)                                                                       \
	.kind = kind_, XN_WORD_OF(struct history_query, member)

static const struct xn_word words[] = {
	{"class", set_class},
	{"ref", WORD(XN_WORD_TEXT, ref)},
	{"uuid", WORD(XN_WORD_TEXT, uuid)},
	{"field", WORD(XN_WORD_TEXT, field_name)},
	{"since", WORD(XN_WORD_MOMENT, since)},
	{"until", WORD(XN_WORD_MOMENT, until)},
	{"at", WORD(XN_WORD_MOMENT, at)},
	{"from", WORD(XN_WORD_MOMENT, from)},
	{"to", WORD(XN_WORD_MOMENT, to)},
	{"session", WORD(XN_WORD_TEXT, session)},
	{"task", WORD(XN_WORD_TEXT, task)},
	{"user", WORD(XN_WORD_TEXT, user)},
	{"origin", WORD(XN_WORD_TEXT, origin)},
	{"operation", WORD(XN_WORD_CHOICE, operation), .choices = "any|create|set|delete"},
	{"limit", .kind = XN_WORD_COUNT, .offset = offsetof(struct history_query, limit),
	 .size = HISTORY_LIMIT_MAX},
	{"after", set_after},
	{"order", WORD(XN_WORD_CHOICE, newest), .choices = "oldest|newest"},
	{"format", WORD(XN_WORD_CHOICE, json), .choices = "text|json"},
	{"bounds", WORD(XN_WORD_FLAG, wants_bounds)},
	{"json", WORD(XN_WORD_FLAG, json)},
	{"newest", WORD(XN_WORD_FLAG, newest)},
	{NULL},
};

int history_query_set(struct history_query *query, const char *name, const char *value,
		      struct xn_error *err)
{
	return xn_question_set(words, query, name, value, err);
}

int history_query_set_all(struct history_query *query, const struct xn_value *map,
			  struct xn_error *err)
{
	return xn_question_set_all(words, query, map, err);
}

/* ---- all of them ---- */

static int settle_field(struct history_query *q, struct xn_error *err)
{
	bool is_known = false;

	if (!*q->field_name)
		return 0;
	if (q->class_id >= 0) {
		q->field = xn_field_find(&xn_classes[q->class_id], q->field_name);
		is_known = q->field >= 0 && !xn_classes[q->class_id].fields[q->field].internal;
	}
	for (int c = 0; q->class_id < 0 && !is_known && c < XN_CLASS_COUNT; c++)
		is_known = xn_field_find(&xn_classes[c], q->field_name) >= 0;
	return is_known ? 0 : xn_error_set(err, XN_ERR_INVALID_VALUE, "field", q->field_name);
}

int history_query_settle(struct history_query *q, struct xn_error *err)
{
	if (settle_field(q, err) < 0)
		return -1;
	if (q->wants_bounds)
		q->question = HISTORY_BOUNDS;
	else if (q->at.is_given)
		q->question = *q->ref || *q->uuid ? HISTORY_RECORD : HISTORY_ALL_RECORDS;
	else if (q->from.is_given || q->to.is_given)
		q->question = HISTORY_DIFFERENCE;
	else
		q->question = HISTORY_CHANGES;
	if (q->question == HISTORY_ALL_RECORDS && q->class_id < 0)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "class", "");
	if (q->question == HISTORY_DIFFERENCE && !q->from.is_given)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "from", "");
	if (q->has_ref_after && q->question == HISTORY_CHANGES)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "after", q->ref_after);
	return 0;
}

int history_query_parse(struct history_query *query, const char *text, struct xn_error *err)
{
	if (xn_question_parse(words, query, text, err) < 0)
		return -1;
	return history_query_settle(query, err);
}
