/*
 * Which records a command line's arguments mean: "name-label=web", "other-config:owner=anna",
 * "tags:contains=blue". All have to hold; what is compared is what would be printed.
 */
#include "rpc/xe/record/record_internal.h"

#include <stdlib.h>
#include <strings.h>

struct condition {
	enum { EQUALS, KEY, CONTAINS, NAMED } how;
	unsigned field;
	const char *key; /* of a map */
	const char *value;
};

struct xe_filter {
	const struct xe_kind *kind;
	struct condition *conditions;
	unsigned n, cap;
	const char *unknown;
	struct xn_buf scratch;
};

static void add(struct xe_filter *filter, struct condition condition)
{
	if (filter->n == filter->cap) {
		filter->cap = filter->cap ? 2 * filter->cap : 4;
		filter->conditions =
			xn_realloc(filter->conditions, filter->cap * sizeof(*filter->conditions));
	}
	filter->conditions[filter->n++] = condition;
}

void xe_filter_add(struct xe_filter *filter, const char *name, const char *value)
{
	int field = xe_field_find(filter->kind, name, strlen(name));
	size_t len = strcspn(name, ":");
	const char *rest = name + len + 1;
	unsigned shape;

	if (field != XE_NO_FIELD) {
		add(filter, (struct condition){EQUALS, (unsigned)field, NULL, value});
		return;
	}
	field = name[len] ? xe_field_find(filter->kind, name, len) : XE_NO_FIELD;
	shape = field == XE_NO_FIELD ? XE_SCALAR
				     : xe_field_flags(filter->kind, (unsigned)field) & XE_F_SHAPE;
	if (shape == XE_MAP)
		add(filter, (struct condition){KEY, (unsigned)field, rest, value});
	else if (shape == XE_SET && !strcmp(rest, "contains"))
		add(filter, (struct condition){CONTAINS, (unsigned)field, NULL, value});
	else if (!filter->unknown)
		filter->unknown = name;
}

void xe_filter_add_named(struct xe_filter *filter, const char *value)
{
	add(filter, (struct condition){.how = NAMED, .value = value});
}

void xe_filter_add_implied(struct xe_filter *filter)
{
	const struct xe_kind *kind = filter->kind;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(kind->only) && kind->only[i].field < kind->n; i++)
		add(filter, (struct condition){EQUALS, kind->only[i].field, NULL,
					       xe_string(kind->only[i].value)});
}

struct xe_filter *xe_filter_new(const struct xe_kind *kind, const struct xe_arguments *arguments,
				bool (*is_own)(void *arg, const char *name), void *arg)
{
	struct xe_filter *filter = xn_calloc(1, sizeof(*filter));

	filter->kind = kind;
	for (unsigned i = 0; i < arguments->n; i++) {
		const struct xe_argument *a = &arguments->items[i];

		if (!xe_argument_is_general(a->name) && !(is_own && is_own(arg, a->name)))
			xe_filter_add(filter, a->name, a->value);
	}
	return filter;
}

void xe_filter_free(struct xe_filter *filter)
{
	if (!filter)
		return;
	xn_buf_clear(&filter->scratch);
	free(filter->conditions);
	free(filter);
}

const char *xe_filter_unknown(const struct xe_filter *filter)
{
	return filter->unknown;
}

bool xe_filter_is_empty(const struct xe_filter *filter)
{
	return !filter->n && !filter->unknown;
}

/* ---- does it pass ---- */

static bool is_named(const struct xe_kind *kind, const struct xe_item *item, const char *name)
{
	static const char *const fields[] = {"uuid", "name_label", "hostname"};
	const struct xn_class *cls = &xn_classes[kind->class_id];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(fields); i++) {
		int field = xn_field_find(cls, fields[i]);
		const struct xn_value *value =
			field < 0 ? NULL : xe_item_get(item, kind->class_id, field);

		if (value && !strcmp(xn_value_string(value), name))
			return true;
	}
	return false;
}

static bool holds(struct xe_filter *filter, const struct condition *c, struct xn_db *db,
		  const struct xe_item *item)
{
	const struct xe_kind *kind = filter->kind;
	struct xn_buf *text = &filter->scratch;

	text->len = 0;
	switch (c->how) {
	case NAMED:
		return is_named(kind, item, c->value);
	case CONTAINS:
		return xe_field_contains(db, kind, c->field, item, c->value);
	case KEY:
		return xe_field_print_key(db, kind, c->field, item, c->key, text) &&
		       !strcmp(xn_buf_cstr(text), c->value);
	default:
		xe_field_print(db, kind, c->field, item, text);
		return !(xe_field_flags(kind, c->field) & XE_F_ANY_CASE ? strcasecmp : strcmp)(
			xn_buf_cstr(text), c->value);
	}
}

bool xe_filter_passes(const struct xe_filter *filter, struct xn_db *db, const struct xe_item *item)
{
	for (unsigned i = 0; i < filter->n; i++)
		if (!holds((struct xe_filter *)filter, &filter->conditions[i], db, item))
			return false;
	return true;
}

bool xe_filter_looks_at(const struct xe_filter *filter, unsigned field)
{
	for (unsigned i = 0; i < filter->n; i++)
		if (filter->conditions[i].how != NAMED && filter->conditions[i].field == field)
			return true;
	return false;
}

unsigned xe_filter_steps(const struct xe_filter *filter)
{
	return filter->n;
}
