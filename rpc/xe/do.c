/*
 * The commands that are one API call: a line "do: VIF.move(uuid, network-uuid)" of commands.txt, read
 * here against the message's row in the schema. The build has checked names and numbers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "rpc/xe/engine_internal.h"

/* One argument of the line: its parameter, and what it is where that was not given. */
struct wanted {
	char name[48], otherwise[64];
	bool has_otherwise, is_literal, is_map;
};

static void read_wanted(const char *text, size_t len, struct wanted *w)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;

	*w = (struct wanted){.has_otherwise = equals != NULL};
	w->is_literal = len && *text == '"';
	if (!w->is_literal && name_len && text[name_len - 1] == ':') {
		w->is_map = true;
		name_len--;
	}
	snprintf(w->name, sizeof(w->name), "%.*s", (int)name_len, text);
	if (equals)
		snprintf(w->otherwise, sizeof(w->otherwise), "%.*s", (int)(len - name_len - 1),
			 equals + 1);
	if (w->is_literal || w->otherwise[0] == '"') { /* without the quotes */
		char *quoted = w->is_literal ? w->name : w->otherwise;
		size_t n = strlen(quoted);

		memmove(quoted, quoted + 1, n);
		if (n > 1)
			quoted[n - 2] = '\0';
	}
}

static struct xn_value *reference(struct xe *x, const struct xn_type *type, const char *text)
{
	const char *ref;

	if (strcmp(text, "!host") == 0)
		return xn_string(xe_host(x));
	if (strcmp(text, "!pool") == 0)
		return xn_string(xe_pool(x));
	return xe_by_uuid(x, type->class_id, text, &ref) ? xn_string(ref) : NULL;
}

static struct xn_value *list(struct xe *x, const struct xn_type *type, const char *text);

/* A parameter's text as the message wants it; NULL: the run has failed. */
static struct xn_value *convert(struct xe *x, const struct xn_type *type, const char *name,
				const char *text)
{
	struct xn_error err = {0};
	struct xn_value *v;
	int64_t n;
	bool b;

	switch (type->kind) {
	case XN_T_REF:
		return reference(x, type, text);
	case XN_T_INT:
		if (xe_size_parse(text, &n))
			return xn_int(n);
		xe_fail(x, "Parameter %s takes a number, not '%s'", name, text);
		return NULL;
	case XN_T_BOOL:
		if (xe_bool_parse(text, &b))
			return xn_bool(b);
		xe_fail(x, "Parameter %s takes true or false, not '%s'", name, text);
		return NULL;
	case XN_T_SET:
		return list(x, type->value, text);
	case XN_T_FLOAT: {
		char *end;
		double d = strtod(text, &end);

		if (end != text && !*end)
			return xn_float(d);
		xe_fail(x, "Parameter %s takes a number, not '%s'", name, text);
		return NULL;
	}
	default:
		v = xn_type_check(type, xn_string(text), name, &err);
		if (!v)
			xe_fail_api(x, &err);
		return v;
	}
}

static struct xn_value *list(struct xe *x, const struct xn_type *type, const char *text)
{
	struct xn_value *set = xn_set_new();

	while (*text) {
		size_t len = strcspn(text, ",");
		char item[256];
		struct xn_value *v;

		snprintf(item, sizeof(item), "%.*s", (int)len, text);
		v = len ? convert(x, type, "", item) : NULL;
		if (v)
			xn_set_append(&set, v);
		else if (len) {
			xn_value_unref(set);
			return NULL;
		}
		text += len + (text[len] == ',');
	}
	return set;
}

/* The value of what was not given. */
static struct xn_value *empty(const struct xn_type *type)
{
	switch (type->kind) {
	case XN_T_REF:
		return xn_string(XN_NULL_REF);
	case XN_T_INT:
		return xn_int(0);
	case XN_T_FLOAT:
		return xn_float(0);
	case XN_T_BOOL:
		return xn_bool(false);
	case XN_T_DATETIME:
		return xn_datetime(0);
	case XN_T_SET:
		return xn_set_new();
	case XN_T_MAP:
		return xn_map_new();
	default:
		return xn_string("");
	}
}

static bool is_required(const struct xe *x, const char *name)
{
	return xe_command_list_has(xe_command_text(x->line->row->required), name);
}

static struct xn_value *make(struct xe *x, const struct wanted *w, const struct xn_param *param)
{
	const char *text = xe_param(x, w->name);

	if (strcmp(w->name, "@") == 0)
		return xn_string(xe_object(x));
	if (w->is_map)
		return xn_value_ref(xe_param_map(x, w->name));
	if (w->is_literal)
		return *w->name ? convert(x, param->type, param->name, w->name)
				: empty(param->type);
	if (!text && w->has_otherwise)
		text = w->otherwise;
	if (text && !*text && param->type->kind != XN_T_STRING && !is_required(x, w->name))
		text = NULL; /* nothing, where nothing may be */
	if (text)
		return convert(x, param->type, w->name, text);
	return param->default_json ? xn_param_default(param) : empty(param->type);
}

/* The arguments that the line's text names; NULL: the run has failed. */
static struct xn_value *arguments(struct xe *x, const struct xn_method *method, const char *at)
{
	struct xn_value *params = xn_set_new();

	for (unsigned i = 0; *at && *at != ')'; i++) {
		size_t len = strcspn(at, ",)");
		struct wanted w;
		struct xn_value *v;

		read_wanted(at, len, &w);
		v = make(x, &w, &method->params[i]);
		if (!v) {
			xn_value_unref(params);
			return NULL;
		}
		xn_set_append(&params, v);
		at += len;
		at += strspn(at, ", ");
	}
	return params;
}

/* ---- what came back ---- */

static void print_one(struct xe *x, const struct xn_type *type, const struct xn_value *v)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	switch (v->kind) {
	case XN_STRING:
		if (type->kind == XN_T_REF)
			xe_value_uuid(x, type->class_id, xn_value_string(v));
		else
			xe_value(x, xn_value_string(v));
		return;
	case XN_FLOAT:
		xn_buf_printf(&text, "%.3f", xn_value_float(v));
		break;
	default:
		if (!xn_value_add_plain(v, &text))
			xn_json_write(v, &text);
	}
	xe_value(x, xn_buf_cstr(&text));
}

void xe_print_result(struct xe *x, const struct xn_type *type, const struct xn_value *v)
{
	if (type->kind == XN_T_VOID || v->kind == XN_NIL)
		return;
	if (v->kind == XN_MAP && xe_is_json(x)) {
		struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};

		xn_json_write(v, &json);
		xe_raw(x, json.data, json.len);
	} else if (v->kind == XN_SET) {
		for (size_t i = 0; i < xn_set_len(v); i++)
			print_one(x, type->value, xn_set_at(v, i));
	} else if (v->kind == XN_MAP && type->kind == XN_T_MAP) {
		for (size_t i = 0; i < xn_map_len(v); i++) {
			const struct xn_value *item = xn_map_at(v, i);
			struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

			if (item->kind != XN_STRING)
				xn_json_write(item, &text);
			xe_value(x, xe_text(x, "%s: %s", xn_map_key_at(v, i),
					    text.len ? xn_buf_cstr(&text)
						     : xn_value_string(item)));
		}
	} else {
		print_one(x, type, v);
	}
}

void xe_run_do(struct xe *x)
{
	const char *action = xe_command_text(x->line->row->action);
	size_t len = strcspn(action, "(");
	const char *name = xe_text(x, "%.*s", (int)len, action);
	const struct xn_method *method = xn_method_find(name);
	const struct xn_value *result;
	struct xn_value *params;

	if (!method)
		return; /* the build has checked it */
	params = arguments(x, method, action + len + 1);
	if (params && xe_call_with(x, &result, method->name, params))
		xe_print_result(x, method->result, result);
}
