/* Questions to history, word by word; see query.h. */
#include "modules/history/query.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void history_query_init(struct history_query *query)
{
	*query = (struct history_query){.class_id = -1, .field = -1, .role = XN_ROLE_LOCAL_ROOT};
}

/* ---- words ---- */

static int set_class(struct history_query *q, const char *value)
{
	const struct xn_class *cls = xn_class_find(value);

	if (!cls)
		cls = xn_class_find_event(value);
	if (!cls || cls->internal || !cls->in_database)
		return -EINVAL;
	q->class_id = cls->id;
	return 0;
}

static int set_limit(struct history_query *q, const char *value)
{
	const char *end;
	int64_t n;

	if (xn_number_take(value, &end, &n) < 0 || *end || n < 1 || n > HISTORY_LIMIT_MAX)
		return -EINVAL;
	q->limit = (unsigned)n;
	return 0;
}

/* GENERATION.INDEX of a list of changes; a reference of one of records. */
static int set_after(struct history_query *q, const char *value)
{
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

static int set_operation(struct history_query *q, const char *value)
{
	static const char *const names[] = {[HISTORY_CREATE] = "create",
					    [HISTORY_SET] = "set",
					    [HISTORY_DELETE] = "delete"};

	for (int i = HISTORY_CREATE; i <= HISTORY_DELETE; i++) {
		if (strcmp(value, names[i]) != 0)
			continue;
		q->operation = (enum history_operation)i;
		return 0;
	}
	return -EINVAL;
}

static int set_order(struct history_query *q, const char *value)
{
	q->newest = strcmp(value, "newest") == 0;
	return q->newest || strcmp(value, "oldest") == 0 ? 0 : -EINVAL;
}

static int set_format(struct history_query *q, const char *value)
{
	q->json = strcmp(value, "json") == 0;
	return q->json || strcmp(value, "text") == 0 ? 0 : -EINVAL;
}

#define TEXT(name, member)                                                                         \
	{name, NULL, offsetof(struct history_query, member),                                       \
	 sizeof(((struct history_query *)NULL)->member), false}
#define WHEN(name, member) {name, NULL, offsetof(struct history_query, member), 0, true}

static const struct word {
	const char *name;
	int (*set)(struct history_query *q, const char *value); /* or: */
	size_t offset, size; /* of a text */
	bool is_when;
} words[] = {
	{"class", set_class},
	TEXT("ref", ref),
	TEXT("uuid", uuid),
	TEXT("field", field_name),
	WHEN("since", since),
	WHEN("until", until),
	WHEN("at", at),
	WHEN("from", from),
	WHEN("to", to),
	TEXT("session", session),
	TEXT("task", task),
	TEXT("user", user),
	TEXT("origin", origin),
	{"operation", set_operation},
	{"limit", set_limit},
	{"after", set_after},
	{"order", set_order},
	{"format", set_format},
};

static int set_word(struct history_query *q, const struct word *word, const char *value)
{
	char *member = (char *)q + word->offset;

	if (word->set)
		return word->set(q, value);
	if (word->is_when)
		return xn_moment_parse((struct xn_moment *)member, value);
	if (strlen(value) >= word->size)
		return -EINVAL;
	strcpy(member, value);
	return 0;
}

int history_query_set(struct history_query *query, const char *name, const char *value,
		      struct xn_error *err)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++)
		if (strcmp(words[i].name, name) == 0)
			return set_word(query, &words[i], value) < 0
				       ? xn_error_set(err, XN_ERR_INVALID_VALUE, name, value)
				       : 0;
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", name);
}

int history_query_set_all(struct history_query *query, const struct xn_value *map,
			  struct xn_error *err)
{
	for (size_t i = 0; i < xn_map_len(map); i++)
		if (history_query_set(query, xn_map_key_at(map, i),
				      xn_value_string(xn_map_at(map, i)), err) < 0)
			return -1;
	return 0;
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

/* ---- the flag's text ---- */

static int take_word(struct history_query *q, char *word, struct xn_error *err)
{
	char *value = strchr(word, '=');

	if (value) {
		*value++ = '\0';
		return history_query_set(q, word, value, err);
	}
	if (strcmp(word, "bounds") == 0)
		q->wants_bounds = true;
	else if (strcmp(word, "json") == 0)
		q->json = true;
	else if (strcmp(word, "newest") == 0)
		q->newest = true;
	else
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", word);
	return 0;
}

int history_query_parse(struct history_query *query, const char *text, struct xn_error *err)
{
	char *copy XN_CLEANUP(xn_free_p) = NULL, *at, *word;

	if (strlen(text) > HISTORY_QUERY_MAX || !xn_text_is_valid(text, strlen(text)))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", "");
	copy = at = xn_strdup(text);
	while ((word = xn_words_next(&at))) {
		if (!at)
			return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", word);
		if (take_word(query, word, err) < 0)
			return -1;
	}
	return history_query_settle(query, err);
}
