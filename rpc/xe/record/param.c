/*
 * PREFIX-param-list, -get, -set, -add, -remove, -clear. Changes are the API's messages, so that
 * roles, checks and the audit are theirs: set_NAME, add_to_NAME or add_NAME, remove_from_NAME or
 * remove_NAME of the class; where a class has none to add, the whole is set.
 */
#include "rpc/xe/record/form.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "rpc/xe/record/record_printers.h"

/* What a param- command is about. */
struct aim {
	struct xe *x;
	const struct xe_kind *kind;
	const char *cls;
	const char *ref;
	unsigned field;
	const char *name; /* the field's, as given */
	unsigned flags;
};

/* ---- reading ---- */

static bool begin_sight(struct xe *x, struct xe_sight *sight, struct xe_item *item)
{
	*sight = (struct xe_sight){.db = xe_db(x), .kind = xe_kind(x)};
	return xe_item_by_uuid(x, sight->kind, xe_param(x, "uuid"), item);
}

static void param_list(struct xe *x)
{
	XN_CLEANUP(xe_item_clear_p) struct xe_item item = {0};
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	struct xe_told told[XE_TOLD_MAX];
	struct xe_screen screen = xe_screen(x);
	struct xe_sight sight;

	if (!begin_sight(x, &sight, &item))
		return;
	xe_columns_parse(sight.kind, "all", &sight.columns);
	if (!xe_item_tell(x, sight.kind, &sight.columns, &item, told))
		return;
	if (xe_is_minimal(x)) {
		xe_show_minimal(x, &sight, &item);
		return;
	}
	if (xe_is_json(x))
		xe_form_json(&sight, &item, NULL, &text);
	else if (screen.columns)
		xe_form_pairs(&sight, &item, screen, &text);
	else
		xe_form_plain(&sight, &item, &text);
	xe_show_text(x, &text);
}

/* The field that param-name= names. */
static bool find_field(struct xe *x, const char *name, unsigned *field_out)
{
	const struct xe_kind *kind = xe_kind(x);
	int field = xe_field_find(kind, name, strlen(name));

	if (field == XE_NO_FIELD) {
		xe_hint_field(x, kind, name);
		if (xe_screen(x).is_ours)
			xe_fail(x, "Unknown field '%s'", name);
		else
			xe_fail_code(x, "Missing parameter", name);
		return false;
	}
	*field_out = (unsigned)field;
	return true;
}

static bool get_key(struct xe *x, const struct xe_sight *sight, unsigned field,
		    const struct xe_item *item, const char *key, struct xn_buf *out)
{
	if ((xe_field_flags(sight->kind, field) & XE_F_SHAPE) != XE_MAP) {
		xe_fail(x, "Field '%s' is not a map: it has no keys",
			xe_field_name(sight->kind, field));
		return false;
	}
	if (xe_field_print_key(sight->db, sight->kind, field, item, key, out))
		return true;
	xe_fail(x, "Key %s not found in map", key);
	return false;
}

static void param_get(struct xe *x)
{
	XN_CLEANUP(xe_item_clear_p) struct xe_item item = {0};
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	const char *key = xe_param(x, "param-key");
	struct xe_told told[XE_TOLD_MAX];
	struct xe_sight sight;
	unsigned field;

	if (!begin_sight(x, &sight, &item) || !find_field(x, xe_param(x, "param-name"), &field))
		return;
	sight.columns.bits[field / 64] = UINT64_C(1) << field % 64;
	if (!xe_item_tell(x, sight.kind, &sight.columns, &item, told))
		return;
	if (key) {
		if (!get_key(x, &sight, field, &item, key, &text))
			return;
		if (xe_is_json(x) && !xe_is_minimal(x)) {
			text.len = 0;
			xe_form_json_key(&sight, field, &item, key, &text);
			xe_show_text(x, &text);
			return;
		}
	} else if (xe_is_json(x) && !xe_is_minimal(x)) {
		xe_form_json_field(&sight, field, &item, &text);
		xe_show_text(x, &text);
		return;
	} else {
		xe_sight_print(&sight, field, &item, &text);
	}
	xe_value(x, xn_buf_cstr(&text));
}

/* ---- values for messages ---- */

/* An enum's value as the API spells it: the command line's spelling is taken too. */
static const char *enum_value(const struct aim *aim, const struct xn_type *type, const char *text)
{
	const struct xe_field *f = xe_field_row(aim->kind, aim->field);

	for (unsigned i = 0; f->printer >= XE_PRINT_ENUM && i < type->enumeration->n_values; i++) {
		const char *value = type->enumeration->values[i];

		if (!strcasecmp(xe_enum_text(f, type, value), text))
			return value;
	}
	return text;
}

static struct xn_value *number(const struct aim *aim, const char *text)
{
	bool is_size = !strncmp(aim->name, "memory-", 7) || strstr(aim->name, "size");
	char *end;
	int64_t n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (*text && !*end && !errno)
		return xn_int(n);
	if (is_size && xe_size_parse(text, &n))
		return xn_int(n);
	xe_fail(aim->x, "Field '%s' takes %s, not '%s'", aim->name,
		is_size ? "a size such as 1024 or 2GiB" : "an integer", text);
	return NULL;
}

static struct xn_value *fraction(const struct aim *aim, const char *text)
{
	char *end;
	double f = strtod(text, &end);

	if (*text && !*end)
		return xn_float(f);
	xe_fail(aim->x, "Field '%s' takes a number, not '%s'", aim->name, text);
	return NULL;
}

static struct xn_value *reference(const struct aim *aim, const struct xn_type *type,
				  const char *text)
{
	const char *ref;

	if (!*text)
		return xn_string(XN_NULL_REF);
	return xe_by_uuid(aim->x, type->class_id, text, &ref) ? xn_string(ref) : NULL;
}

/* Of what was typed, a value for a message's parameter. NULL: not yet, or it is none and the run
 * has failed. */
static struct xn_value *value_of(const struct aim *aim, const struct xn_type *type,
				 const char *text);

static struct xn_value *members(const struct aim *aim, const struct xn_type *type, const char *text)
{
	struct xn_value *set = xn_set_new();

	for (size_t len; *text; text += len + (text[len] == ',')) {
		char *member;
		struct xn_value *value;

		len = strcspn(text, ",");
		member = xn_strndup(text, len);
		value = value_of(aim, type->value, member);
		free(member);
		if (!value) {
			xn_value_unref(set);
			return NULL;
		}
		xn_set_append(&set, value);
	}
	return set;
}

static struct xn_value *value_of(const struct aim *aim, const struct xn_type *type,
				 const char *text)
{
	bool b;

	switch (type->kind) {
	case XN_T_INT:
		return number(aim, text);
	case XN_T_FLOAT:
		return fraction(aim, text);
	case XN_T_BOOL:
		if (xe_bool_parse(text, &b))
			return xn_bool(b);
		xe_fail(aim->x, "Field '%s' takes true or false, not '%s'", aim->name, text);
		return NULL;
	case XN_T_REF:
		return reference(aim, type, text);
	case XN_T_ENUM:
		return xn_string(enum_value(aim, type, text));
	case XN_T_SET:
		return members(aim, type, text);
	default:
		return xn_string(text);
	}
}

/* ---- messages of a field ---- */

/* The field's own name: the last on its way; of fields that are elsewhere, by what it is called. */
static const char *api_name(const struct aim *aim)
{
	const struct xe_field *f = xe_field_row(aim->kind, aim->field);
	char *name;

	if (f->path[0] < XE_PATH_HOSTS && !(f->flags & XE_F_CALL))
		return xn_classes[aim->kind->class_id].fields[f->path[0]].name;
	name = (char *)xe_text(aim->x, "%s", xe_field_name(aim->kind, aim->field));
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	return name;
}

static const char *singular(struct xe *x, const char *name)
{
	size_t len = strlen(name);

	if (len > 3 && !strcmp(name + len - 3, "ies"))
		return xe_text(x, "%.*sy", (int)len - 3, name);
	return xe_text(x, "%.*s", (int)(name[len - 1] == 's' ? len - 1 : len), name);
}

/* CLASS.VERBname, or of its singular; NULL: there is neither. */
static const struct xn_method *message(const struct aim *aim, const char *verb)
{
	const char *name = api_name(aim);
	const struct xn_method *method =
		xn_method_find(xe_text(aim->x, "%s.%s%s", aim->cls, verb, name));

	return method ? method
		      : xn_method_find(
				xe_text(aim->x, "%s.%s%s", aim->cls, verb, singular(aim->x, name)));
}

static bool has_no_message(const struct aim *aim)
{
	xe_fail(aim->x, "Field '%s' is read-only.", aim->name);
	return false;
}

/* What changes members, of a field that has none, or whose are not to be changed. */
static bool has_no_members(const struct aim *aim)
{
	if ((aim->flags & XE_F_SHAPE) != XE_SCALAR || !(aim->flags & XE_F_SET))
		return has_no_message(aim);
	xe_fail(aim->x, "Field '%s' is neither a set nor a map", aim->name);
	return false;
}

static bool set_to(const struct aim *aim, struct xn_value *value)
{
	const struct xn_method *method = message(aim, "set_");

	if (method)
		return xe_call(aim->x, NULL, method->name, "sv", aim->ref, value);
	xn_value_unref(value);
	return has_no_message(aim);
}

/* The field as it is now; what a handler decides by is what it was told, not the row of today. */
static bool get(const struct aim *aim, const struct xn_value **out)
{
	return xe_call(aim->x, out, xe_text(aim->x, "%s.get_%s", aim->cls, api_name(aim)), "s",
		       aim->ref);
}

/* ---- changing ---- */

static bool begin_aim(struct xe *x, struct aim *aim)
{
	struct xe_item item = {0};

	*aim = (struct aim){.x = x, .kind = xe_kind(x)};
	aim->cls = xn_classes[aim->kind->class_id].name;
	if (!xe_item_by_uuid(x, aim->kind, xe_param(x, "uuid"), &item))
		return false;
	aim->ref = xe_text(x, "%s", item.ref);
	xe_item_clear(&item);
	return true;
}

static bool aim_at(struct aim *aim, const char *name)
{
	aim->name = name;
	if (!find_field(aim->x, name, &aim->field))
		return false;
	aim->flags = xe_field_flags(aim->kind, aim->field);
	return true;
}

static bool set_field(const struct aim *aim, const char *text)
{
	const struct xn_method *method = message(aim, "set_");
	struct xn_value *value;

	if (!(aim->flags & XE_F_SET) || !method || method->n_params < 2) {
		switch (aim->flags & XE_F_SHAPE) {
		case XE_SET:
			xe_fail(aim->x, "Cannot param-set on set fields");
			return false;
		case XE_MAP:
			if (aim->flags & (XE_F_ADD | XE_F_SET_KEY)) {
				xe_fail(aim->x,
					"Field '%s' is a map: set its keys one by one, as in "
					"name:key=value (%s:KEY=VALUE)",
					aim->name, aim->name);
				return false;
			}
			return has_no_message(aim);
		default:
			return has_no_message(aim);
		}
	}
	value = value_of(aim, method->params[1].type, text);
	return value && xe_call(aim->x, NULL, method->name, "sv", aim->ref, value);
}

/* A key of a map without messages to add one: set by a message of its own, or all keys of the
 * command line at once, with the first. What can also be added to keeps what it has. */
static bool set_key_otherwise(const struct aim *aim, const char *key, const char *text)
{
	const struct xn_method *method = message(aim, "set_");
	const struct xe_arguments *arguments = xe_arguments(aim->x);
	size_t len = strlen(aim->name);
	const struct xn_value *now;
	struct xn_value *map;
	bool is_first = true;

	if (method && method->n_params == 3)
		return xe_call(aim->x, NULL, method->name, "sss", aim->ref, key, text);
	if ((aim->flags & XE_F_ADD) && !get(aim, &now))
		return false;
	map = aim->flags & XE_F_ADD ? xn_value_ref(now) : xn_map_new();
	for (unsigned i = 0; i < arguments->n; i++) {
		const struct xe_argument *a = &arguments->items[i];

		if (strncmp(a->name, aim->name, len) || a->name[len] != ':')
			continue;
		if (is_first && strcmp(a->name + len + 1, key)) {
			xn_value_unref(map);
			return true; /* it went with the first */
		}
		is_first = false;
		xn_map_put_string(&map, a->name + len + 1, a->value);
	}
	if (is_first) /* param-add's */
		xn_map_put_string(&map, key, text);
	return set_to(aim, map);
}

static bool set_key(const struct aim *aim, const char *key, const char *text)
{
	const struct xn_method *add = message(aim, "add_to_");
	const struct xn_method *remove = message(aim, "remove_from_");
	const struct xn_value *now;

	if ((aim->flags & XE_F_SHAPE) != XE_MAP || !(aim->flags & (XE_F_ADD | XE_F_SET_KEY)))
		return has_no_members(aim);
	if ((aim->flags & XE_F_SET_KEY) || !add || !remove)
		return set_key_otherwise(aim, key, text);
	if (!get(aim, &now))
		return false;
	if (xn_map_get(now, key) && !xe_call(aim->x, NULL, remove->name, "ss", aim->ref, key))
		return false;
	return xe_call(aim->x, NULL, add->name, "sss", aim->ref, key, text);
}

static bool is_own(const char *name)
{
	static const char *const own[] = {"uuid", "param-name", "param-key", NULL};

	return xe_argument_is_general(name) || xn_is_one_of(name, own) ||
	       !strncmp(name, "database:", 9);
}

static bool set_one(struct aim *aim, const char *name, const char *value)
{
	const char *colon = strchr(name, ':');

	if (!colon)
		return aim_at(aim, name) && set_field(aim, value);
	return aim_at(aim, xe_text(aim->x, "%.*s", (int)(colon - name), name)) &&
	       set_key(aim, colon + 1, value);
}

static void param_set(struct xe *x)
{
	const struct xe_arguments *arguments = xe_arguments(x);
	struct aim aim;

	if (!begin_aim(x, &aim))
		return;
	for (unsigned i = 0; i < arguments->n; i++)
		if (!is_own(arguments->items[i].name) &&
		    !set_one(&aim, arguments->items[i].name, arguments->items[i].value))
			return;
}

static bool begin_change(struct xe *x, struct aim *aim, unsigned needs)
{
	if (!begin_aim(x, aim) || !aim_at(aim, xe_param(x, "param-name")))
		return false;
	return (aim->flags & needs) ? true : has_no_members(aim);
}

/* The type of the field's members, as the API has it. */
static const struct xn_type *member_type(const struct aim *aim)
{
	const struct xe_field *f = xe_field_row(aim->kind, aim->field);

	return xn_classes[aim->kind->class_id].fields[f->path[0]].type->value;
}

static size_t find_member(const struct xn_value *set, const struct xn_value *member)
{
	size_t i = 0;

	while (i < xn_set_len(set) && !xn_value_equal(xn_set_at(set, i), member))
		i++;
	return i;
}

static void add_member(const struct aim *aim)
{
	const char *text = xe_param(aim->x, "param-key");
	const struct xn_method *add = message(aim, "add_");
	const struct xn_value *now;
	struct xn_value *value, *set;

	if (!text) {
		xe_fail(aim->x, "Required parameter not found: param-key");
		return;
	}
	value = value_of(aim, member_type(aim), text);
	if (!value)
		return;
	if (add) {
		(void)!xe_call(aim->x, NULL, add->name, "sv", aim->ref, value);
		return;
	}
	if (!get(aim, &now)) {
		xn_value_unref(value);
		return;
	}
	set = xn_value_ref(now);
	if (find_member(set, value) == xn_set_len(set))
		xn_set_append(&set, xn_value_ref(value));
	xn_value_unref(value);
	(void)!set_to(aim, set);
}

static void param_add(struct xe *x)
{
	const struct xe_arguments *arguments = xe_arguments(x);
	const struct xn_method *add;
	struct aim aim;

	if (!begin_change(x, &aim, XE_F_ADD))
		return;
	if ((aim.flags & XE_F_SHAPE) == XE_SET) {
		add_member(&aim);
		return;
	}
	add = message(&aim, "add_to_");
	for (unsigned i = 0; i < arguments->n; i++) {
		const struct xe_argument *a = &arguments->items[i];

		if (is_own(a->name))
			continue;
		if (add ? !xe_call(x, NULL, add->name, "sss", aim.ref, a->name, a->value)
			: !set_key_otherwise(&aim, a->name, a->value))
			return;
	}
}

static bool remove_key(const struct aim *aim, const struct xn_value *now, const char *key)
{
	const struct xn_method *remove = message(aim, "remove_from_");
	struct xn_value *rest;

	if (remove)
		return xe_call(aim->x, NULL, remove->name, "ss", aim->ref, key);
	rest = xn_value_ref(now);
	xn_map_remove(&rest, key);
	return set_to(aim, rest);
}

static bool remove_member(const struct aim *aim, const struct xn_value *now,
			  const struct xn_value *member)
{
	const struct xn_method *remove = message(aim, "remove_");
	struct xn_value *rest;

	if (remove)
		return xe_call(aim->x, NULL, remove->name, "sm", aim->ref, member);
	rest = xn_set_new();
	for (size_t i = 0; i < xn_set_len(now); i++)
		if (!xn_value_equal(xn_set_at(now, i), member))
			xn_set_append(&rest, xn_value_ref(xn_set_at(now, i)));
	return set_to(aim, rest);
}

static void param_remove(struct xe *x)
{
	const char *key = xe_param(x, "param-key");
	const struct xn_value *now;
	struct xn_value *member;
	struct aim aim;

	if (!begin_change(x, &aim, XE_F_REMOVE) || !get(&aim, &now))
		return;
	if ((aim.flags & XE_F_SHAPE) == XE_MAP) {
		if (xn_map_get(now, key))
			(void)!remove_key(&aim, now, key);
		else
			xe_fail(x, "Key %s is not in map", key);
		return;
	}
	member = value_of(&aim, member_type(&aim), key);
	if (!member)
		return;
	if (find_member(now, member) < xn_set_len(now))
		(void)!remove_member(&aim, now, member);
	else
		xe_fail(x, "Key %s is not in the set", key);
	xn_value_unref(member);
}

static void clear_all(const struct aim *aim)
{
	bool is_map = (aim->flags & XE_F_SHAPE) == XE_MAP;
	const struct xn_value *now;

	if ((aim->flags & XE_F_CLEAR) || !message(aim, is_map ? "remove_from_" : "remove_")) {
		(void)!set_to(aim, is_map ? xn_map_new() : xn_set_new());
		return;
	}
	if (!get(aim, &now))
		return;
	for (size_t i = 0; i < (is_map ? xn_map_len(now) : xn_set_len(now)); i++)
		if (is_map ? !remove_key(aim, now, xn_map_key_at(now, i))
			   : !remove_member(aim, now, xn_set_at(now, i)))
			return;
}

static void param_clear(struct xe *x)
{
	struct aim aim;

	if (!begin_change(x, &aim, XE_F_SET | XE_F_REMOVE | XE_F_CLEAR))
		return;
	if (aim.flags & XE_F_SHAPE)
		clear_all(&aim);
	else
		(void)!set_field(&aim, "");
}

xe_handler *xe_verb_handler(enum xe_verb verb)
{
	static xe_handler *const handlers[XE_VERBS] = {
		[XE_LIST] = xe_list,
		[XE_PARAM_LIST] = param_list,
		[XE_PARAM_GET] = param_get,
		[XE_PARAM_SET] = param_set,
		[XE_PARAM_ADD] = param_add,
		[XE_PARAM_REMOVE] = param_remove,
		[XE_PARAM_CLEAR] = param_clear,
	};

	return handlers[verb];
}
