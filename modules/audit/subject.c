/*
 * What a line tells of a call's arguments. By type and not by name, so that nothing secret can get in
 * by a method that is added later: references with their objects' uuids and names, numbers, flags,
 * enums, dates. Text only under a few names that stand for names of things; maps, records and
 * passwords never.
 */
#include "core/json.h"
#include "modules/audit/audit_internal.h"

enum { MAX_OBJECTS = 8, MAX_TEXT = 128 };

static void put_text(struct xn_buf *out, const char *text)
{
	size_t len = strnlen(text, MAX_TEXT + 1);

	if (len > MAX_TEXT)
		for (len = MAX_TEXT; len && ((unsigned char)text[len] & 0xc0) == 0x80;)
			len--;
	xn_json_write_string(text, len, out);
}

static void put_name(struct xn_buf *out, const char *before, const char *name)
{
	xn_buf_add_string(out, before);
	xn_buf_add_char(out, '"');
	xn_buf_add_string(out, name);
	xn_buf_add(out, "\":", 2);
}

static void put_member(struct xn_buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	put_name(out, ",", name);
	put_text(out, text);
}

static bool is_a_name(const char *param)
{
	static const char *const names[] = {
		"key", "name", "new_name", "name_label", "label", "uname", "user", "username", "uuid",
		"device", "userdevice", "bridge", "subject_identifier", "cls", "class", "hostname",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (strcmp(param, names[i]) == 0)
			return true;
	return false;
}

/* The argument of a setter of a name is a name, too. */
static bool is_text_to_tell(const struct xn_method *method, const struct xn_param *param)
{
	/* Not the name at a login either: people type passwords there. Who it was is told as the
	 * caller, once it is known to be the name of somebody. */
	if (method->flags & XN_MF_SECRET)
		return false;
	if (method->kind == XN_M_SET && strcmp(method->message, "set_name_label") == 0)
		return true;
	return is_a_name(param->name);
}

/* ---- arguments ---- */

static void put_scalar(const struct xn_value *v, struct xn_buf *out)
{
	if (v->kind == XN_STRING)
		put_text(out, xn_value_string(v));
	else
		xn_json_write(v, out);
}

/* What names nothing may be a secret that was put in a wrong place: a session's looks like any
 * reference. */
static bool names_something(struct xn_db *db, int class_id, const struct xn_value *ref)
{
	const char *text = xn_value_string(ref);

	return strcmp(text, XN_NULL_REF) == 0 || xn_db_get(db, class_id, text);
}

static bool is_told(struct xn_db *db, const struct xn_method *method, const struct xn_param *param,
		    const struct xn_value *arg)
{
	switch (param->type->kind) {
	case XN_T_INT:
	case XN_T_FLOAT:
	case XN_T_BOOL:
	case XN_T_DATETIME:
		return !(method->flags & XN_MF_SECRET);
	case XN_T_ENUM:
		return true;
	case XN_T_REF: /* a session's reference can be its secret */
		return param->type->class_id != XN_CLASS_session &&
		       names_something(db, param->type->class_id, arg);
	case XN_T_STRING:
		return is_text_to_tell(method, param);
	default:
		return false;
	}
}

static void put_args(struct xn_db *db, const struct xn_method *method,
		     struct xn_value *const *args, unsigned n, struct xn_buf *out)
{
	const char *before = ",\"args\":{";

	for (unsigned i = 0; i < n && i < method->n_params; i++) {
		const struct xn_param *param = &method->params[i];

		if (!is_told(db, method, param, args[i]))
			continue;
		put_name(out, before, param->name);
		put_scalar(args[i], out);
		before = ",";
	}
	if (*before == ',' && before[1] == '\0')
		xn_buf_add_char(out, '}');
}

/* ---- objects ---- */

struct listing {
	struct xn_db *db;
	struct xn_buf *out;
	unsigned n;
};

static void put_object(struct listing *l, int class_id, const char *ref)
{
	const struct xn_class *cls;
	struct xn_row *row;

	if (class_id == XN_CLASS_session || strcmp(ref, XN_NULL_REF) == 0 ||
	    l->n >= MAX_OBJECTS || !(row = xn_db_get(l->db, class_id, ref)))
		return;
	cls = &xn_classes[class_id];
	xn_buf_add_string(l->out, l->n++ ? "," : ",\"objects\":[");
	put_name(l->out, "{", "class");
	put_text(l->out, cls->name);
	put_member(l->out, "ref", ref);
	put_member(l->out, "uuid", xn_row_uuid(row));
	if (cls->name_label_field >= 0)
		put_member(l->out, "name", xn_row_string(row, cls->name_label_field));
	xn_buf_add_char(l->out, '}');
}

static void put_objects(struct listing *l, const struct xn_type *type, const struct xn_value *v)
{
	if (type->kind == XN_T_REF)
		put_object(l, type->class_id, xn_value_string(v));
	else if (type->kind == XN_T_SET && type->value->kind == XN_T_REF)
		for (size_t i = 0; i < xn_set_len(v); i++)
			put_object(l, type->value->class_id, xn_value_string(xn_set_at(v, i)));
}

static void end_objects(struct listing *l)
{
	if (l->n)
		xn_buf_add_char(l->out, ']');
}

void xn_audit_describe(struct xn_db *db, const struct xn_method *method,
		       struct xn_value *const *args, unsigned n_args, struct xn_buf *out)
{
	struct listing l = {.db = db, .out = out};

	put_args(db, method, args, n_args, out);
	for (unsigned i = 0; i < n_args && i < method->n_params; i++)
		put_objects(&l, method->params[i].type, args[i]);
	end_objects(&l);
}

void xn_audit_describe_rows(struct xn_db *db, const struct xn_row *const *rows, unsigned n,
			    struct xn_buf *out)
{
	struct listing l = {.db = db, .out = out};

	for (unsigned i = 0; i < n; i++)
		put_object(&l, xn_row_class(rows[i]), xn_row_ref(rows[i]));
	end_objects(&l);
}
