/* What several groups of commands share; see make.h. */
#include "rpc/xe/commands/make.h"

#include <string.h>

#include "core/json.h"
#include "modules/auth/auth.h"
#include "rpc/xe/commands/vm.h"
#include "rpc/xe/engine_internal.h"

/* ---- new objects ---- */

struct xn_value *xe_fields(const char *name, ...)
{
	struct xn_value *fields = xn_map_new(), *value;
	va_list ap;

	va_start(ap, name);
	for (; name; name = va_arg(ap, const char *)) {
		switch (va_arg(ap, int)) {
		case 's':
			value = xn_string(va_arg(ap, const char *));
			break;
		case 'i':
			value = xn_int(va_arg(ap, int64_t));
			break;
		case 'b':
			value = xn_bool(va_arg(ap, int));
			break;
		case 'd':
			value = xn_float(va_arg(ap, double));
			break;
		case 'v':
			value = va_arg(ap, struct xn_value *);
			break;
		default: /* 'm' */
			value = xn_value_ref(va_arg(ap, const struct xn_value *));
		}
		xn_map_put(&fields, name, value);
	}
	va_end(ap);
	return fields;
}

void xe_make(struct xe *x, int class_id, struct xn_value *fields)
{
	const struct xn_value *made;

	if (xe_call(x, &made, xe_text(x, "%s.create", xn_classes[class_id].name), "v", fields))
		xe_value_uuid(x, class_id, xn_value_string(made));
}

/* ---- parameters that several have ---- */

bool xe_pool_named(struct xe *x, const char **ref_out)
{
	const char *uuid = xe_param(x, "uuid");

	*ref_out = xe_pool(x);
	return !uuid || xe_by_uuid(x, XN_CLASS_pool, uuid, ref_out);
}

bool xe_host_named(struct xe *x, const char *param, const char **ref_out)
{
	const char *uuid = xe_param(x, param);

	*ref_out = xe_host(x);
	return !uuid || xe_by_uuid(x, XN_CLASS_host, uuid, ref_out);
}

bool xe_is_logged_in(struct xe *x)
{
	struct xn_error err = {0};

	if (xn_auth_session_ref(xn_module_state(xe_core(x), "auth"), xe_caller(x)->session))
		return true;
	xn_error_set(&err, XN_ERR_SESSION_INVALID, xe_caller(x)->session);
	xe_fail_api(x, &err);
	return false;
}

bool xe_load_text(struct xe *x, const char *filename, const char *what, const char **out)
{
	const struct xn_buf *bytes;

	if (!xe_load(x, filename, &bytes))
		return false;
	*out = xe_text(x, "%.*s", (int)bytes->len, bytes->len ? bytes->data : "");
	if (strlen(*out) == bytes->len && xn_text_is_valid(*out, bytes->len))
		return true;
	xe_fail(x, "The %s is no text", what);
	return false;
}

bool xe_file_args(struct xe *x, const char *name, const struct xn_value **out)
{
	const struct xn_value *given = xe_param_map(x, name);
	struct xn_value *args = xn_map_new();

	for (size_t i = 0; i < xn_map_len(given); i++) {
		const char *key = xn_map_key_at(given, i);
		const char *value = xn_value_string(xn_map_at(given, i));
		size_t len = strlen(key);
		bool is_file = len > 5 && strcmp(key + len - 5, ":file") == 0;

		if (is_file && !xe_load_text(x, value, "file", &value)) {
			xn_value_unref(args);
			return false;
		}
		xn_map_put_string(&args, xe_text(x, "%.*s", (int)(is_file ? len - 5 : len), key),
				  value);
	}
	*out = xe_keep_value(x, args);
	return true;
}

/* ---- tables ---- */

/* The keys of a row in the order they are shown; how many. */
static size_t pairs_of(const struct xn_value *row, const char *const *order, struct xe_pair *pairs,
		       size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; !order && i < xn_map_len(row) && n < cap; i++)
		pairs[n++].key = xn_map_key_at(row, i);
	for (; order && *order && n < cap; order++)
		if (xn_map_get(row, *order))
			pairs[n++].key = *order;
	for (size_t i = 0; i < n; i++)
		pairs[i].value = xn_map_get_string(row, pairs[i].key);
	return n;
}

void xe_table(struct xe *x, struct xn_value *rows, const char *const *order)
{
	struct xe_pair pairs[64];

	xe_keep_value(x, rows);
	if (xe_is_json(x)) {
		struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};

		xn_json_write(rows, &json);
		xe_raw(x, json.data, json.len);
		return;
	}
	for (size_t i = 0; i < xn_set_len(rows); i++)
		xe_show_pairs(x, pairs,
			      pairs_of(xn_set_at(rows, i), order, pairs, XN_ARRAY_SIZE(pairs)));
}

void xe_table_of(struct xe *x, const char *method, const char *ref, const char *const *order,
		 const char *hidden_key)
{
	const struct xn_value *map;
	struct xn_value *rows, *row;

	if (!xe_call(x, &map, method, ref ? "s" : "", ref))
		return;
	rows = xn_set_new();
	row = xn_value_ref(map);
	if (hidden_key)
		xn_map_remove(&row, hidden_key);
	xn_set_append(&rows, row);
	xe_table(x, rows, order);
}

struct xn_value *xe_as_texts(const struct xn_value *record)
{
	struct xn_value *texts = xn_map_new();

	for (size_t i = 0; i < xn_map_len(record); i++) {
		const struct xn_value *v = xn_map_at(record, i);
		struct xn_value *text;

		switch (v->kind) {
		case XN_INT:
			text = xn_stringf("%lld", (long long)xn_value_int(v));
			break;
		case XN_FLOAT:
			text = xn_stringf("%.3f", xn_value_float(v));
			break;
		case XN_BOOL:
			text = xn_string(xn_value_bool(v) ? "true" : "false");
			break;
		case XN_STRING:
			text = xn_value_ref(v);
			break;
		default:
			continue;
		}
		xn_map_put(&texts, xn_map_key_at(record, i), text);
	}
	return texts;
}
