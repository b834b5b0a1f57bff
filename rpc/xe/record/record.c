/*
 * The tables of records and what is found in them. They are made from records.txt and the schema,
 * see gen.py; only this file sees them as they are.
 */
#include "rpc/xe/record/record_internal.h"

#include "rpc/xe/record/record_printers.h"
#include "rpc/xe/record/record_tables.h"

_Static_assert(sizeof(struct xe_field) == 8, "a row a field, and there are many");

enum { N_KINDS = XN_ARRAY_SIZE(xe_kinds), N_ENUMS = XN_ARRAY_SIZE(xe_enum_texts) };

const char *xe_string(uint16_t offset)
{
	return xe_strings + offset;
}

const struct xe_field *xe_field_row(const struct xe_kind *kind, unsigned field)
{
	return &xe_fields[kind->first + field];
}

const struct xe_call_row *xe_call_of(const struct xe_field *field)
{
	return &xe_calls[field->path[0]];
}

const char *xe_enum_text(const struct xe_field *field, const struct xn_type *type,
			 const char *value)
{
	const uint16_t *texts;
	int index = xn_enum_find(type->enumeration, value);

	if (field->printer < XE_PRINT_ENUM || index < 0)
		return NULL;
	texts = xe_enum_values + xe_enum_texts[field->printer - XE_PRINT_ENUM];
	return xe_string(texts[index]);
}

/* ---- kinds ---- */

const struct xe_kind *xe_kind_find(const char *prefix, size_t len)
{
	for (unsigned low = 0, high = N_KINDS; low < high;) {
		unsigned middle = (low + high) / 2;
		const char *name = xe_string(xe_kinds[middle].prefix);
		int order = strncmp(prefix, name, len);

		if (!order && !name[len])
			return &xe_kinds[middle];
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct xe_kind *xe_kind_at(unsigned index)
{
	return index < N_KINDS ? &xe_kinds[index] : NULL;
}

const char *xe_kind_prefix(const struct xe_kind *kind)
{
	return xe_string(kind->prefix);
}

int xe_kind_class(const struct xe_kind *kind)
{
	return kind->class_id;
}

unsigned xe_field_count(const struct xe_kind *kind)
{
	return kind->n;
}

int xe_field_find(const struct xe_kind *kind, const char *name, size_t len)
{
	for (unsigned i = 0; i < kind->n; i++) {
		const char *known = xe_field_name(kind, i);

		if (!strncmp(known, name, len) && !known[len])
			return (int)i;
	}
	return XE_NO_FIELD;
}

const char *xe_field_name(const struct xe_kind *kind, unsigned field)
{
	return xe_string(xe_field_row(kind, field)->name);
}

unsigned xe_field_flags(const struct xe_kind *kind, unsigned field)
{
	return xe_field_row(kind, field)->flags;
}

bool xe_field_is_own(const struct xe_kind *kind, unsigned field)
{
	const struct xe_field *f = xe_field_row(kind, field);

	return f->path[0] < XE_PATH_HOSTS && f->path[1] == XE_PATH_END &&
	       (f->printer == XE_PRINT_PLAIN || f->printer >= XE_PRINT_ENUM);
}

/* ---- columns ---- */

bool xe_columns_has(const struct xe_columns *columns, unsigned field)
{
	return columns->bits[field / 64] >> field % 64 & 1;
}

static void add_column(struct xe_columns *columns, unsigned field)
{
	columns->bits[field / 64] |= UINT64_C(1) << field % 64;
}

void xe_columns_parse(const struct xe_kind *kind, const char *text, struct xe_columns *columns)
{
	if (!text) {
		*columns = kind->columns;
		return;
	}
	*columns = (struct xe_columns){0};
	for (size_t len; *text; text += len + (text[len] == ',')) {
		int field;

		len = strcspn(text, ",");
		field = xe_field_find(kind, text, len);
		if (field != XE_NO_FIELD && !(xe_field_flags(kind, (unsigned)field) & XE_F_HIDDEN))
			add_column(columns, (unsigned)field);
		if (len != 3 || memcmp(text, "all", 3))
			continue;
		for (unsigned i = 0; i < kind->n; i++)
			if (!(xe_field_flags(kind, i) & XE_F_HIDDEN))
				add_column(columns, i);
	}
}

/* ---- generated commands ---- */

static const struct verb {
	const char *suffix, *required;
	unsigned needs;   /* a field with one of these; 0: always there */
	bool is_for_sets; /* or one that is a set or a map */
} verbs[XE_VERBS] = {
	[XE_LIST] = {"-list", ""},
	[XE_PARAM_LIST] = {"-param-list", "uuid"},
	[XE_PARAM_GET] = {"-param-get", "uuid,param-name"},
	[XE_PARAM_SET] = {"-param-set", "uuid", XE_F_SET | XE_F_SET_KEY},
	[XE_PARAM_ADD] = {"-param-add", "uuid,param-name", XE_F_ADD},
	[XE_PARAM_REMOVE] = {"-param-remove", "uuid,param-name,param-key", XE_F_REMOVE},
	[XE_PARAM_CLEAR] = {"-param-clear", "uuid,param-name", XE_F_SET, true},
};

const char *xe_verb_suffix(enum xe_verb verb)
{
	return verbs[verb].suffix;
}

const char *xe_verb_required(enum xe_verb verb)
{
	return verbs[verb].required;
}

bool xe_kind_has(const struct xe_kind *kind, enum xe_verb verb)
{
	const struct verb *v = &verbs[verb];

	if (!v->needs)
		return true;
	for (unsigned i = 0; i < kind->n; i++) {
		unsigned flags = xe_field_flags(kind, i);

		if ((flags & v->needs) || (v->is_for_sets && (flags & XE_F_SHAPE)) ||
		    (verb == XE_PARAM_SET && (flags & XE_F_SHAPE) == XE_MAP && (flags & XE_F_ADD)))
			return true;
	}
	return false;
}

const struct xe_kind *xe_generated_find(const char *command, enum xe_verb *verb_out)
{
	size_t len = strlen(command);

	/* Backwards: -param-list ends in -list too. */
	for (int verb = XE_VERBS - 1; verb >= 0; verb--) {
		size_t end = strlen(verbs[verb].suffix);
		const struct xe_kind *kind;

		if (len <= end || strcmp(command + len - end, verbs[verb].suffix))
			continue;
		kind = xe_kind_find(command, len - end);
		if (!kind || !xe_kind_has(kind, (enum xe_verb)verb))
			return NULL;
		*verb_out = (enum xe_verb)verb;
		return kind;
	}
	return NULL;
}

bool xe_generated_is_standard(const struct xe_kind *kind, enum xe_verb verb)
{
	static const char *const standard[] = {"network", "sr", "vm", NULL};

	return verb == XE_LIST && xn_is_one_of(xe_kind_prefix(kind), standard);
}

static void add_word(struct xn_buf *out, const char *word, const char *end)
{
	if (out->len && out->data[out->len - 1] != ',')
		xn_buf_add_char(out, ',');
	xn_buf_add_string(out, word);
	xn_buf_add_string(out, end);
}

static void list_fields(const struct xe_kind *kind, const char *end, unsigned shape,
			unsigned wanted, struct xn_buf *out)
{
	for (unsigned i = 0; i < kind->n; i++) {
		unsigned flags = xe_field_flags(kind, i);

		if ((flags & XE_F_HIDDEN) || (wanted && !(flags & wanted)) ||
		    (shape != XE_F_SHAPE && (flags & XE_F_SHAPE) != shape))
			continue;
		add_word(out, xe_field_name(kind, i), end);
	}
}

void xe_generated_optional(const struct xe_kind *kind, enum xe_verb verb, struct xn_buf *out)
{
	switch (verb) {
	case XE_LIST:
		xn_buf_add_string(out, "params,database:");
		list_fields(kind, "", XE_F_SHAPE, 0, out);
		list_fields(kind, ":contains", XE_SET, 0, out);
		break;
	case XE_PARAM_LIST:
		xn_buf_add_string(out, "database:");
		break;
	case XE_PARAM_GET:
		xn_buf_add_string(out, "param-key,database:");
		break;
	case XE_PARAM_SET:
		list_fields(kind, "", XE_F_SHAPE, XE_F_SET, out);
		list_fields(kind, ":", XE_MAP, XE_F_ADD | XE_F_SET_KEY, out);
		break;
	case XE_PARAM_ADD:
		xn_buf_add_string(out, "param-key");
		break;
	default:
		break;
	}
}
