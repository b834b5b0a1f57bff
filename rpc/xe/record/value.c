/*
 * How a field's value reads on the command line. The way from a record to the value is the table's
 * (through references, sets of them, all hosts); how it is printed follows from its type, but for
 * the few printers that records.txt names.
 */
#include "rpc/xe/record/record_internal.h"

#include <inttypes.h>

#include "rpc/xe/record/record_printers.h"

static const char not_there[] = "<not in database>", unknown[] = "<unknown>";

struct xe_item xe_item_of(struct xn_record *record)
{
	return (struct xe_item){.record = record, .ref = xn_record_ref(record)};
}

const struct xn_value *xe_item_get(const struct xe_item *item, int class_id, int field)
{
	if (item->record)
		return xn_record_get(item->record, field);
	return xn_map_get(item->fields, xn_classes[class_id].fields[field].name);
}

static const struct xe_told *told_of(const struct xe_look *look)
{
	unsigned field = (unsigned)(look->field - xe_field_row(look->kind, 0));

	for (unsigned i = 0; i < look->item->n_told; i++)
		if (look->item->told[i].field == field)
			return &look->item->told[i];
	return NULL;
}

/* ---- from the record to the leaves ---- */

struct way {
	const struct xe_look *look;
	xe_leaf *leaf;
	void *arg;
};

static bool go(const struct way *way, const char *key, const struct xn_type *type,
	       const struct xn_value *value, unsigned depth);

/* On from a reference: what it names, or one of its fields. */
static bool go_through(const struct way *way, const char *key, const struct xn_type *type,
		       const struct xn_value *value, unsigned depth)
{
	int field = way->look->field->path[depth + 1];
	const struct xn_row *row = xn_db_get(way->look->db, type->class_id, xn_value_string(value));

	if (!row)
		return way->leaf(way->arg, key, type, NULL);
	return go(way, key, xn_classes[type->class_id].fields[field].type, xn_row_get(row, field),
		  depth + 1);
}

static bool go(const struct way *way, const char *key, const struct xn_type *type,
	       const struct xn_value *value, unsigned depth)
{
	const uint8_t *path = way->look->field->path;

	if (!value)
		return way->leaf(way->arg, key, type, NULL);
	if (type->kind == XN_T_SET) {
		for (size_t i = 0; i < xn_set_len(value); i++)
			if (!go(way, NULL, type->value, xn_set_at(value, i), depth))
				return false;
		return true;
	}
	if (type->kind == XN_T_MAP) {
		/* Of operations that go on the keys are tasks, which nobody shows. */
		bool has_keys = type->value->kind != XN_T_ENUM;

		for (size_t i = 0; i < xn_map_len(value); i++)
			if (!go(way, has_keys ? xn_map_key_at(value, i) : NULL, type->value,
				xn_map_at(value, i), depth))
				return false;
		return true;
	}
	if (type->kind == XN_T_REF && depth < 2 && path[depth + 1] != XE_PATH_END)
		return go_through(way, key, type, value, depth);
	return way->leaf(way->arg, key, type, value);
}

static bool go_to_hosts(const struct way *way)
{
	int field = way->look->field->path[1];
	const struct xn_type *type = xn_classes[XN_CLASS_host].fields[field].type;

	for (struct xn_row *host = xn_db_first(way->look->db, XN_CLASS_host); host;
	     host = xn_db_next(way->look->db, host))
		if (!go(way, NULL, type, xn_row_get(host, field), 1))
			return false;
	return true;
}

bool xe_look_leaves(const struct xe_look *look, xe_leaf *leaf, void *arg)
{
	struct way way = {look, leaf, arg};
	const struct xe_field *f = look->field;

	if (f->flags & XE_F_CALL) {
		const struct xe_told *answer = told_of(look);
		const struct xn_method *method = xn_method_find(xe_string(xe_call_of(f)->method));

		if (!answer || !answer->value || answer->value->kind == XN_NIL)
			return true;
		return go(&way, NULL, method->result, answer->value, 2);
	}
	if (f->path[0] == XE_PATH_HOSTS)
		return go_to_hosts(&way);
	if (f->path[0] == XE_PATH_END)
		return true;
	return go(&way, NULL, xn_classes[look->kind->class_id].fields[f->path[0]].type,
		  xe_item_get(look->item, look->kind->class_id, f->path[0]), 0);
}

/* ---- a leaf ---- */

static const char *missing_text(const struct xe_field *f)
{
	return f->printer == XE_PRINT_ELSE_FALSE  ? "false"
	       : f->printer == XE_PRINT_ELSE_TIME ? "<unknown time>"
						  : not_there;
}

static void print_ref(const struct xe_look *look, int class_id, const char *ref, struct xn_buf *out)
{
	const struct xn_row *row =
		class_id < 0 ? xn_db_get_any(look->db, ref) : xn_db_get(look->db, class_id, ref);

	xn_buf_add_string(out, row ? xn_row_uuid(row) : not_there);
}

void xe_leaf_print(const struct xe_look *look, const struct xn_type *type,
		   const struct xn_value *value, struct xn_buf *out)
{
	const char *text = NULL;
	char date[19];

	enum xn_type_kind kind = value ? type->kind : XN_T_VOID;

	if (kind == XN_T_DATETIME && value->kind == XN_STRING)
		kind = XN_T_STRING; /* of a result that came as text */
	switch (kind) {
	case XN_T_STRING:
		if (look->field->printer == XE_PRINT_REFERENCE_TEXTS)
			print_ref(look, -1, xn_value_string(value), out);
		else
			xn_buf_add(out, xn_value_string(value), xn_value_string_len(value));
		break;
	case XN_T_ENUM:
		if (look->field->printer >= XE_PRINT_ENUM)
			text = xe_enum_text(look->field, type, xn_value_string(value));
		xn_buf_add_string(out, text ? text : xn_value_string(value));
		break;
	case XN_T_INT:
		xn_buf_add_int(out, xn_value_int(value));
		break;
	case XN_T_FLOAT:
		xn_buf_printf(out, "%.3f", xn_value_float(value));
		break;
	case XN_T_BOOL:
		xn_buf_add_string(out, xn_value_bool(value) ? "true" : "false");
		break;
	case XN_T_DATETIME:
		xn_date_print(xn_value_int(value), date);
		xn_buf_add_string(out, date);
		break;
	case XN_T_REF:
		print_ref(look, type->class_id, xn_value_string(value), out);
		break;
	default:
		xn_buf_add_string(out, missing_text(look->field));
	}
}

/* ---- a whole value ---- */

struct joining {
	const struct xe_look *look;
	struct xn_buf *out;
	unsigned n;
};

static bool join(void *arg, const char *key, const struct xn_type *type,
		 const struct xn_value *value)
{
	struct joining *j = arg;

	if (j->n++)
		xn_buf_add_string(j->out, j->look->field->flags & XE_F_COMMAS ? ", " : "; ");
	if (key) {
		xn_buf_add_string(j->out, key);
		xn_buf_add_string(j->out, ": ");
	}
	xe_leaf_print(j->look, type, value, j->out);
	return true;
}

static void join_all(const struct xe_look *look, struct xn_buf *out)
{
	struct joining j = {look, out, 0};

	xe_look_leaves(look, join, &j);
}

/* What all hosts say, if it is the same. */
static bool add_if_other(void *arg, const char *key, const struct xn_type *type,
			 const struct xn_value *value)
{
	struct joining *j = arg;
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	(void)key;
	xe_leaf_print(j->look, type, value, &text);
	if (!j->n++) {
		xn_buf_add(j->out, text.data, text.len);
		return true;
	}
	return text.len == j->out->len && !memcmp(text.data, j->out->data, text.len);
}

static void print_common(const struct xe_look *look, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	struct joining j = {look, &text, 0};

	if (xe_look_leaves(look, add_if_other, &j))
		xn_buf_add(out, text.data, text.len);
	else
		xn_buf_add_string(out, "<inconsistent>");
}

static bool is_true(void *arg, const char *key, const struct xn_type *type,
		    const struct xn_value *value)
{
	(void)arg;
	(void)key;
	(void)type;
	return value && xn_value_bool(value);
}

static const struct xn_value *of_record(const struct xe_look *look, const char *name)
{
	int class_id = look->kind->class_id;

	return xe_item_get(look->item, class_id, xn_field_find(&xn_classes[class_id], name));
}

static void print_live_only(const struct xe_look *look, struct xn_buf *out)
{
	const char *state = xn_value_string(of_record(look, "power_state"));

	if (strcmp(state, "Running") && strcmp(state, "Paused"))
		xn_buf_add_char(out, '0');
	else
		join_all(look, out);
}

static void print_only_one(const struct xe_look *look, struct xn_buf *out)
{
	size_t n = xn_set_len(xe_item_get(look->item, look->kind->class_id, look->field->path[0]));

	if (n == 1)
		join_all(look, out);
	else
		xn_buf_add_string(out, n ? "<shared>" : not_there);
}

static void print_duplex(const struct xe_look *look, struct xn_buf *out)
{
	const char *ref = xn_value_string(of_record(look, "metrics"));
	const struct xn_row *row = xn_db_get(look->db, XN_CLASS_PIF_metrics, ref);

	xn_buf_add_string(out, !row                                       ? not_there
			       : xn_row_bool(row, XN_PIF_metrics_duplex)  ? "full"
			       : xn_row_bool(row, XN_PIF_metrics_carrier) ? "half"
									  : "unknown");
}

static void print_mbit(const struct xe_look *look, struct xn_buf *out)
{
	size_t before = out->len;

	join_all(look, out);
	if (out->len > before && out->data[before] != '<')
		xn_buf_add_string(out, " Mbit/s");
}

static void print_lengths(const struct xe_look *look, struct xn_buf *out)
{
	const struct xn_value *map =
		xe_item_get(look->item, look->kind->class_id, look->field->path[0]);

	for (size_t i = 0; i < xn_map_len(map); i++)
		xn_buf_printf(out, "%s%s:(%zu bytes)", i ? "; " : "", xn_map_key_at(map, i),
			      xn_value_string_len(xn_map_at(map, i)));
}

/* name/value of each row of a set. */
static void print_by_name(const struct xe_look *look, struct xn_buf *out)
{
	const struct xe_field *f = look->field;
	const struct xn_type *type =
		xn_classes[look->kind->class_id].fields[f->path[0]].type->value;
	const struct xn_class *cls = &xn_classes[type->class_id];
	const struct xn_value *refs = xe_item_get(look->item, look->kind->class_id, f->path[0]);
	int name = xn_field_find(cls, "name");

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const struct xn_row *row =
			xn_db_get(look->db, cls->id, xn_value_string(xn_set_at(refs, i)));

		xn_buf_add_string(out, i ? "; " : "");
		xn_buf_add_string(out, row ? xn_row_string(row, name) : not_there);
		if (!row)
			continue;
		xn_buf_add_char(out, '/');
		xe_leaf_print(look, cls->fields[f->path[1]].type, xn_row_get(row, f->path[1]), out);
	}
}

static bool is_ref(void *arg, const char *key, const struct xn_type *type,
		   const struct xn_value *value)
{
	const char *ref = arg;

	(void)key;
	(void)type;
	return !value || strcmp(xn_value_string(value), ref) != 0;
}

static void print_answer(const struct xe_look *look, struct xn_buf *out)
{
	const struct xe_told *answer = told_of(look);

	if (!answer)
		xn_buf_add_string(out, unknown);
	else if (look->field->printer != XE_PRINT_NO_ERROR)
		answer->error
			? xn_buf_add_string(out, look->field->flags & XE_F_SHAPE ? "" : unknown)
			: join_all(look, out);
	else if (!answer->error)
		xn_buf_add_string(out, "true");
	else
		xn_buf_printf(out, "false (error: %s)", answer->error->code);
}

static void print_text_or(const struct xe_look *look, const char *otherwise, struct xn_buf *out)
{
	size_t before = out->len;

	join_all(look, out);
	if (out->len == before)
		xn_buf_add_string(out, otherwise);
}

static void print_resolution(const struct xe_look *look, struct xn_buf *out)
{
	xn_buf_printf(out, "%" PRId64 "x%" PRId64,
		      xn_value_int(of_record(look, "max_resolution_x")),
		      xn_value_int(of_record(look, "max_resolution_y")));
}

void xe_look_print(const struct xe_look *look, struct xn_buf *out)
{
	if (look->field->flags & XE_F_CALL) {
		print_answer(look, out);
		return;
	}
	switch (look->field->printer) {
	case XE_PRINT_UNKNOWN:
		xn_buf_add_string(out, unknown);
		break;
	case XE_PRINT_NOT_THERE:
		xn_buf_add_string(out, not_there);
		break;
	case XE_PRINT_ALL_TRUE:
		xn_buf_add_string(out, xe_look_leaves(look, is_true, NULL) ? "true" : "false");
		break;
	case XE_PRINT_LIVE_ONLY:
		print_live_only(look, out);
		break;
	case XE_PRINT_QUOTED:
		xn_buf_add_char(out, '\'');
		join_all(look, out);
		xn_buf_add_char(out, '\'');
		break;
	case XE_PRINT_NOT_SET:
		print_text_or(look, "<not set>", out);
		break;
	case XE_PRINT_EMPTY_DRIVE:
		if (xn_value_bool(of_record(look, "empty")))
			xn_buf_add_string(out, "<EMPTY>");
		else
			join_all(look, out);
		break;
	case XE_PRINT_ONLY_ONE:
		print_only_one(look, out);
		break;
	case XE_PRINT_MBIT:
		print_mbit(look, out);
		break;
	case XE_PRINT_DUPLEX:
		print_duplex(look, out);
		break;
	case XE_PRINT_RESOLUTION:
		print_resolution(look, out);
		break;
	case XE_PRINT_LENGTHS:
		print_lengths(look, out);
		break;
	case XE_PRINT_BY_NAME:
		print_by_name(look, out);
		break;
	case XE_PRINT_IS_SELF:
		xn_buf_add_string(out, xe_look_leaves(look, is_ref, (void *)look->item->ref)
					       ? "false"
					       : "true");
		break;
	default:
		if (look->field->path[0] == XE_PATH_HOSTS)
			print_common(look, out);
		else
			join_all(look, out);
	}
}

/* ---- by number of field ---- */

static struct xe_look look_at(struct xn_db *db, const struct xe_kind *kind, unsigned field,
			      const struct xe_item *item)
{
	return (struct xe_look){db, kind, xe_field_row(kind, field), item};
}

void xe_field_print(struct xn_db *db, const struct xe_kind *kind, unsigned field,
		    const struct xe_item *item, struct xn_buf *out)
{
	struct xe_look look = look_at(db, kind, field, item);

	xe_look_print(&look, out);
}

struct search {
	const struct xe_look *look;
	const char *text;
	struct xn_buf *out; /* NULL: only whether it is there */
};

static bool is_other_member(void *arg, const char *key, const struct xn_type *type,
			    const struct xn_value *value)
{
	struct search *s = arg;
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	(void)key;
	xe_leaf_print(s->look, type, value, &text);
	return strcmp(xn_buf_cstr(&text), s->text) != 0;
}

bool xe_field_contains(struct xn_db *db, const struct xe_kind *kind, unsigned field,
		       const struct xe_item *item, const char *member)
{
	struct xe_look look = look_at(db, kind, field, item);
	struct search s = {&look, member, NULL};

	return !xe_look_leaves(&look, is_other_member, &s);
}

static bool is_other_key(void *arg, const char *key, const struct xn_type *type,
			 const struct xn_value *value)
{
	struct search *s = arg;

	if (!key || strcmp(key, s->text))
		return true;
	xe_leaf_print(s->look, type, value, s->out);
	return false;
}

bool xe_field_print_key(struct xn_db *db, const struct xe_kind *kind, unsigned field,
			const struct xe_item *item, const char *key, struct xn_buf *out)
{
	struct xe_look look = look_at(db, kind, field, item);
	struct search s = {&look, key, out};

	return !xe_look_leaves(&look, is_other_key, &s);
}
