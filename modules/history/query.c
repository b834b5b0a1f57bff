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

/* ---- times ---- */

/* Up to six digits behind a point, as microseconds. NULL: none. */
static const char *take_fraction(const char *at, int64_t *us)
{
	int64_t unit = 100000;

	*us = 0;
	if (*at != '.' || !isdigit((unsigned char)at[1]))
		return *at == '.' ? NULL : at;
	for (at++; isdigit((unsigned char)*at); at++, unit /= 10)
		*us += (*at - '0') * unit;
	return at;
}

static int take_number(const char *text, const char **end, int64_t *out)
{
	char *stop;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*out = strtoll(text, &stop, 10);
	*end = stop;
	return errno ? -EINVAL : 0;
}

static int parse_epoch(struct history_when *when, const char *text)
{
	int64_t s, us;
	const char *end;

	if (take_number(text, &end, &s) < 0 || s > INT64_MAX / 1000001)
		return -EINVAL;
	end = take_fraction(end, &us);
	if (!end || *end)
		return -EINVAL;
	when->us = s * 1000000 + us;
	return 0;
}

/* What the XenAPI takes for a date, and a fraction of a second. */
static int parse_date(struct history_when *when, const char *text)
{
	const char *point = strchr(text, '.');
	char whole[64];
	int64_t s, us = 0;
	int len;

	if (!strpbrk(text, "Tt ") && strlen(text) == strlen("2026-11-21"))
		len = snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
	else if (point)
		len = snprintf(whole, sizeof(whole), "%.*s%s", (int)(point - text), text,
			       take_fraction(point, &us) ? take_fraction(point, &us) : "?");
	else
		len = snprintf(whole, sizeof(whole), "%s", text);
	if (len < 0 || (size_t)len >= sizeof(whole) || xn_date_parse(whole, &s) < 0)
		return -EINVAL;
	if (s > INT64_MAX / 1000001 || s < 0)
		return -EINVAL;
	when->us = s * 1000000 + us;
	return 0;
}

int history_when_parse(struct history_when *when, const char *text)
{
	size_t len = strlen(text);
	const char *end;
	int64_t n;

	if (!len || len >= sizeof(when->text))
		return -EINVAL;
	*when = (struct history_when){.is_given = true, .is_time = true};
	memcpy(when->text, text, len + 1);
	if (strcmp(text, "now") == 0) {
		when->is_now = true;
		return 0;
	}
	if (*text == '@')
		return parse_epoch(when, text + 1);
	if (take_number(text, &end, &n) == 0 && !*end) {
		when->is_time = false;
		when->generation = (uint64_t)n;
		return 0;
	}
	return parse_date(when, text);
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

	if (take_number(value, &end, &n) < 0 || *end || n < 1 || n > HISTORY_LIMIT_MAX)
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
	if (take_number(value, &end, &generation) == 0 && *end == '.' &&
	    take_number(end + 1, &end, &index) == 0 && !*end && index <= UINT32_MAX) {
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
		return history_when_parse((struct history_when *)member, value);
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

/* The next word, unquoted, in place. NULL: none; *at NULL: a quote that never ends. */
static char *next_word(char **at)
{
	char *read = *at, *write, *word, quote = 0;

	while (isspace((unsigned char)*read))
		read++;
	if (!*read)
		return NULL;
	word = write = read;
	for (; *read && (quote || !isspace((unsigned char)*read)); read++) {
		if (quote ? *read == quote : *read == '\'' || *read == '"')
			quote = quote ? 0 : *read;
		else
			*write++ = *read;
	}
	*at = quote ? NULL : *read ? read + 1 : read;
	*write = '\0';
	return word;
}

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
	while ((word = next_word(&at))) {
		if (!at)
			return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", word);
		if (take_word(query, word, err) < 0)
			return -1;
	}
	return history_query_settle(query, err);
}
