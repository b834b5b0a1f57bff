/* Client data held against a type of the schema: xn_type_check(), declared in schema.h. */
#include "core/schema/schema.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Refusals free the value and return NULL, so that each is one line. */
static struct xn_value *wrong_shape(struct xn_value *v, const char *name, struct xn_error *err)
{
	xn_value_unref(v);
	xn_error_set(err, XN_ERR_FIELD_TYPE_ERROR, name);
	return NULL;
}

static struct xn_value *bad_content(struct xn_value *v, const char *name, struct xn_error *err)
{
	enum { SHOWN = 200 }; /* an error must not carry a megabyte back */
	size_t len = xn_value_string_len(v);
	char *shown;

	if (!xn_text_is_valid(xn_value_string(v), len))
		shown = xn_strdup("(text with characters that the API cannot carry)");
	else if (len > SHOWN)
		shown = xn_asprintf("(%zu bytes of text)", len);
	else
		shown = xn_strdup(xn_value_string(v));
	xn_error_set(err, XN_ERR_INVALID_VALUE, name, shown);
	free(shown);
	xn_value_unref(v);
	return NULL;
}

static bool is_clean(const struct xn_value *s)
{
	return xn_text_is_valid(xn_value_string(s), xn_value_string_len(s));
}

static struct xn_value *check_string(struct xn_value *v, const char *name, struct xn_error *err)
{
	if (v->kind != XN_STRING)
		return wrong_shape(v, name, err);
	return is_clean(v) ? v : bad_content(v, name, err);
}

static struct xn_value *check_int(struct xn_value *v, const char *name, struct xn_error *err)
{
	struct xn_value *n;
	const char *text;
	char *end;
	int64_t i;

	if (v->kind == XN_INT)
		return v;
	if (v->kind != XN_STRING)
		return wrong_shape(v, name, err);
	text = xn_value_string(v);
	errno = 0;
	i = strtoll(text, &end, 10);
	if (errno || end == text || *end || strlen(text) != xn_value_string_len(v) ||
	    (*text != '-' && *text != '+' && (*text < '0' || *text > '9')))
		return bad_content(v, name, err);
	n = xn_int(i);
	xn_value_unref(v);
	return n;
}

static struct xn_value *check_float(struct xn_value *v, const char *name, struct xn_error *err)
{
	struct xn_value *f;
	char *end;
	double d;

	if (v->kind == XN_INT) {
		d = (double)xn_value_int(v);
	} else if (v->kind == XN_STRING) {
		d = strtod(xn_value_string(v), &end);
		if (end == xn_value_string(v) || *end)
			return bad_content(v, name, err);
	} else if (v->kind == XN_FLOAT) {
		d = xn_value_float(v);
	} else {
		return wrong_shape(v, name, err);
	}
	if (!isfinite(d)) { /* JSON could not carry it back */
		xn_value_unref(v);
		xn_error_set(err, XN_ERR_INVALID_VALUE, name, "not a finite number");
		return NULL;
	}
	if (v->kind == XN_FLOAT)
		return v;
	f = xn_float(d);
	xn_value_unref(v);
	return f;
}

static struct xn_value *check_date(struct xn_value *v, const char *name, struct xn_error *err)
{
	struct xn_value *date;
	int64_t seconds;

	if (v->kind == XN_DATETIME)
		return v;
	if (v->kind != XN_STRING)
		return wrong_shape(v, name, err);
	if (xn_date_parse(xn_value_string(v), &seconds) < 0)
		return bad_content(v, name, err);
	date = xn_datetime(seconds);
	xn_value_unref(v);
	return date;
}

static struct xn_value *check_enum(const struct xn_enum *e, struct xn_value *v, const char *name,
				   struct xn_error *err)
{
	struct xn_value *canonical;
	int index;

	if (v->kind != XN_STRING)
		return wrong_shape(v, name, err);
	index = xn_enum_find(e, xn_value_string(v));
	if (index < 0)
		return bad_content(v, name, err);
	if (strcmp(e->values[index], xn_value_string(v)) == 0)
		return v;
	canonical = xn_string(e->values[index]);
	xn_value_unref(v);
	return canonical;
}

static struct xn_value *check_set(const struct xn_type *type, struct xn_value *v, const char *name,
				  struct xn_error *err)
{
	struct xn_value *out = xn_set_new();

	if (v->kind != XN_SET) {
		xn_value_unref(out);
		return wrong_shape(v, name, err);
	}
	for (size_t i = 0; i < xn_set_len(v); i++) {
		struct xn_value *item =
			xn_type_check(type->value, xn_value_ref(xn_set_at(v, i)), name, err);

		if (!item) {
			xn_value_unref(out);
			out = NULL;
			break;
		}
		xn_set_append(&out, item);
	}
	xn_value_unref(v);
	return out;
}

static struct xn_value *check_map(const struct xn_type *type, struct xn_value *v, const char *name,
				  struct xn_error *err)
{
	struct xn_value *out = xn_map_new();

	if (v->kind != XN_MAP) {
		xn_value_unref(out);
		return wrong_shape(v, name, err);
	}
	for (size_t i = 0; i < xn_map_len(v); i++) {
		struct xn_value *key, *value;

		key = xn_type_check(type->key, xn_value_ref(v->map.entries[i].key), name, err);
		value = key ? xn_type_check(type->value, xn_value_ref(xn_map_at(v, i)), name, err)
			    : NULL;
		if (!value) {
			xn_value_unref(key);
			xn_value_unref(out);
			out = NULL;
			break;
		}
		if (key->kind == XN_STRING) {
			xn_map_put(&out, xn_value_string(key), value);
		} else { /* an integer key: its digits, without leading zeros */
			struct xn_buf digits XN_CLEANUP(xn_buf_clear_p) = {0};

			xn_buf_add_int(&digits, xn_value_int(key));
			xn_map_put(&out, xn_buf_cstr(&digits), value);
		}
		xn_value_unref(key);
	}
	xn_value_unref(v);
	return out;
}

static struct xn_value *check_record(const struct xn_class *cls, struct xn_value *v,
				     const char *name, struct xn_error *err)
{
	struct xn_value *out = xn_map_new();

	if (v->kind != XN_MAP) {
		xn_value_unref(out);
		return wrong_shape(v, name, err);
	}
	for (size_t i = 0; i < xn_map_len(v); i++) {
		const char *member = xn_map_key_at(v, i);
		int field = xn_field_find(cls, member);
		struct xn_value *value = xn_value_ref(xn_map_at(v, i));

		if (field >= 0 && strcmp(cls->fields[field].name, member) == 0)
			value = xn_type_check(cls->fields[field].type, value, member, err);
		if (!value) {
			xn_value_unref(out);
			out = NULL;
			break;
		}
		xn_map_put(&out, member, value);
	}
	xn_value_unref(v);
	return out;
}

struct xn_value *xn_type_check(const struct xn_type *type, struct xn_value *v, const char *name,
			       struct xn_error *err)
{
	switch (type->kind) {
	case XN_T_VOID:
		return v;
	case XN_T_STRING:
	case XN_T_REF:
		return check_string(v, name, err);
	case XN_T_INT:
		return check_int(v, name, err);
	case XN_T_FLOAT:
		return check_float(v, name, err);
	case XN_T_BOOL:
		return v->kind == XN_BOOL ? v : wrong_shape(v, name, err);
	case XN_T_DATETIME:
		return check_date(v, name, err);
	case XN_T_ENUM:
		return check_enum(type->enumeration, v, name, err);
	case XN_T_SET:
		return check_set(type, v, name, err);
	case XN_T_MAP:
		return check_map(type, v, name, err);
	case XN_T_RECORD:
		return check_record(&xn_classes[type->class_id], v, name, err);
	case XN_T_OPTION:
		return xn_type_check(type->value, v, name, err);
	}
	return wrong_shape(v, name, err);
}
