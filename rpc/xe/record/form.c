/* A record as plain lines, as JSON and as pairs. */
#include "rpc/xe/record/form.h"

#include "core/json.h"
#include "rpc/xe/record/colour.h"
#include "rpc/xe/record/record_printers.h"
#include "rpc/xe/record/width.h"

void xe_sight_print(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
		    struct xn_buf *out)
{
	if (sight->is_list && (xe_field_flags(sight->kind, field) & XE_F_EXPENSIVE))
		xn_buf_add_string(out, "<expensive field>");
	else
		xe_field_print(sight->db, sight->kind, field, item, out);
}

int xe_sight_first(const struct xe_sight *sight)
{
	for (unsigned i = 0; i < sight->kind->n; i++)
		if (xe_columns_has(&sight->columns, i))
			return (int)i;
	return XE_NO_FIELD;
}

/* ---- plain ---- */

static void add_key(const struct xe_kind *kind, unsigned field, struct xn_buf *out)
{
	static const char shapes[] = " SM";
	unsigned flags = xe_field_flags(kind, field);
	/* Of sets and maps it says whether members can be added. */
	bool is_rw = flags & (flags & XE_F_SHAPE ? XE_F_ADD : XE_F_SET);

	xn_buf_add_string(out, xe_field_name(kind, field));
	xn_buf_add_string(out, " (");
	xn_buf_add_char(out, shapes[flags & XE_F_SHAPE]);
	xn_buf_add_string(out, is_rw ? "RW)" : "RO)");
	if (flags & XE_F_DEPRECATED)
		xn_buf_add_string(out, " [DEPRECATED]");
}

void xe_form_plain(const struct xe_sight *sight, const struct xe_item *item, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf key = {0};
	size_t width = 0;
	bool is_first = true;

	for (unsigned i = 0; i < sight->kind->n; i++) {
		if (!xe_columns_has(&sight->columns, i))
			continue;
		key.len = 0;
		add_key(sight->kind, i, &key);
		if (key.len > width)
			width = key.len;
	}
	width += 4;
	for (unsigned i = 0; i < sight->kind->n; i++) {
		if (!xe_columns_has(&sight->columns, i))
			continue;
		key.len = 0;
		add_key(sight->kind, i, &key);
		if (!is_first) {
			xn_buf_add_char(out, '\n');
			xe_width_pad(key.len, width, out);
		}
		xn_buf_add(out, key.data, key.len);
		if (is_first)
			xe_width_pad(key.len, width, out);
		is_first = false;
		xn_buf_add_string(out, ": ");
		xe_sight_print(sight, i, item, out);
	}
	xn_buf_add_string(out, "\n\n");
}

/* ---- JSON ---- */

struct writing {
	const struct xe_look *look;
	struct xn_buf *out;
	unsigned n;
};

static void write_text(const struct xn_buf *text, struct xn_buf *out)
{
	xn_json_write_string(text->len ? text->data : "", text->len, out);
}

static void write_leaf(const struct xe_look *look, const struct xn_type *type,
		       const struct xn_value *value, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	if (!value && look->field->printer == XE_PRINT_ELSE_FALSE) {
		xn_buf_add_string(out, "false");
		return;
	}
	if (!value ||
	    (type->kind == XN_T_REF && !xn_db_get_any(look->db, xn_value_string(value)))) {
		xn_buf_add_string(out, "null");
		return;
	}
	if (type->kind == XN_T_INT || type->kind == XN_T_BOOL || type->kind == XN_T_FLOAT) {
		xn_json_write(value, out);
		return;
	}
	xe_leaf_print(look, type, value, &text);
	write_text(&text, out);
}

/* What the schema says that it is, also where the command line shows it as text. */
static enum xe_shape native_shape(const struct xe_look *look)
{
	const struct xe_field *f = look->field;
	const struct xn_type *type;

	if ((f->flags & XE_F_SHAPE) || (f->flags & XE_F_CALL) || f->path[0] >= XE_PATH_HOSTS)
		return f->flags & XE_F_SHAPE;
	type = xn_classes[look->kind->class_id].fields[f->path[0]].type;
	for (unsigned i = 1; type->kind == XN_T_REF && i < 3 && f->path[i] != XE_PATH_END; i++)
		type = xn_classes[type->class_id].fields[f->path[i]].type;
	if (type->kind == XN_T_MAP)
		return type->value->kind == XN_T_ENUM ? XE_SET : XE_MAP;
	return type->kind == XN_T_SET ? XE_SET : XE_SCALAR;
}

static bool write_member(void *arg, const char *key, const struct xn_type *type,
			 const struct xn_value *value)
{
	struct writing *w = arg;

	if (!value && !key && native_shape(w->look) == XE_MAP)
		return true; /* a map behind a reference that names nothing */
	if (w->n++)
		xn_buf_add_char(w->out, ',');
	if (key) {
		xn_json_write_string(key, strlen(key), w->out);
		xn_buf_add_char(w->out, ':');
	}
	write_leaf(w->look, type, value, w->out);
	return true;
}

/* The one value of a scalar. */
static bool write_one(void *arg, const char *key, const struct xn_type *type,
		      const struct xn_value *value)
{
	struct writing *w = arg;

	(void)key;
	w->n++;
	write_leaf(w->look, type, value, w->out);
	return false;
}

static void write_printed(const struct xe_look *look, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	xe_look_print(look, &text);
	if (text.len && text.data[0] == '<' && text.data[text.len - 1] == '>')
		xn_buf_add_string(out, "null");
	else if (look->field->printer == XE_PRINT_ALL_TRUE ||
		 look->field->printer == XE_PRINT_LIVE_ONLY ||
		 look->field->printer == XE_PRINT_IS_SELF)
		xn_buf_add(out, text.data, text.len);
	else
		write_text(&text, out);
}

void xe_form_json_field(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
			struct xn_buf *out)
{
	struct xe_look look = {sight->db, sight->kind, xe_field_row(sight->kind, field), item};
	struct writing w = {&look, out, 0};
	enum xe_shape shape = native_shape(&look);
	unsigned printer = look.field->printer;
	bool is_plain = printer == XE_PRINT_PLAIN || printer == XE_PRINT_ELSE_FALSE ||
			printer == XE_PRINT_ELSE_TIME || printer == XE_PRINT_REFERENCE_TEXTS ||
			printer == XE_PRINT_NOTHING || printer >= XE_PRINT_ENUM;

	if (sight->is_list && (look.field->flags & XE_F_EXPENSIVE)) {
		xn_buf_add_string(out, "null");
	} else if (!is_plain || look.field->path[0] == XE_PATH_HOSTS) {
		write_printed(&look, out);
	} else if (shape == XE_SCALAR) {
		xe_look_leaves(&look, write_one, &w);
		if (!w.n)
			write_printed(&look, out);
	} else {
		xn_buf_add_char(out, shape == XE_MAP ? '{' : '[');
		/* What is behind a reference to nothing has no members. */
		xe_look_leaves(&look, write_member, &w);
		xn_buf_add_char(out, shape == XE_MAP ? '}' : ']');
	}
}

struct key_writing {
	struct writing w;
	const char *key;
};

static bool write_if_key(void *arg, const char *key, const struct xn_type *type,
			 const struct xn_value *value)
{
	struct key_writing *k = arg;

	if (!key || strcmp(key, k->key))
		return true;
	write_leaf(k->w.look, type, value, k->w.out);
	return false;
}

void xe_form_json_key(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
		      const char *key, struct xn_buf *out)
{
	struct xe_look look = {sight->db, sight->kind, xe_field_row(sight->kind, field), item};
	struct key_writing k = {{&look, out, 0}, key};

	xe_look_leaves(&look, write_if_key, &k);
}

void xe_form_json(const struct xe_sight *sight, const struct xe_item *item, const char *title,
		  struct xn_buf *out)
{
	const char *comma = "";

	xn_buf_add_char(out, '{');
	if (title) {
		xn_buf_add_string(out, "\"title\":");
		xn_json_write_string(title, strlen(title), out);
		comma = ",";
	}
	for (unsigned i = 0; i < sight->kind->n; i++) {
		const char *name = xe_field_name(sight->kind, i);

		if (!xe_columns_has(&sight->columns, i))
			continue;
		xn_buf_add_string(out, comma);
		xn_json_write_string(name, strlen(name), out);
		xn_buf_add_char(out, ':');
		xe_form_json_field(sight, i, item, out);
		comma = ",";
	}
	xn_buf_add_char(out, '}');
}

/* ---- pairs ---- */

/* One member a line, below each other, where all in one line would be too long. */
static bool add_line(void *arg, const char *key, const struct xn_type *type,
		     const struct xn_value *value)
{
	struct writing *w = arg;

	if (w->n++)
		xn_buf_add_char(w->out, '\n');
	if (key)
		xn_buf_printf(w->out, "%s: ", key);
	xe_leaf_print(w->look, type, value, w->out);
	return true;
}

static void add_lines(struct xn_buf *text, size_t indent, struct xn_buf *out)
{
	char *line = (char *)xn_buf_cstr(text);

	for (bool is_first = true; line; is_first = false) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		if (!is_first) {
			xn_buf_add_char(out, '\n');
			xe_width_pad(0, indent, out);
		}
		xe_width_add(line, SIZE_MAX, out);
		line = end ? end + 1 : NULL;
	}
}

void xe_form_pairs(const struct xe_sight *sight, const struct xe_item *item,
		   struct xe_screen screen, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	size_t width = 0, indent;
	const char *newline = "";

	for (unsigned i = 0; i < sight->kind->n; i++)
		if (xe_columns_has(&sight->columns, i) &&
		    strlen(xe_field_name(sight->kind, i)) > width)
			width = strlen(xe_field_name(sight->kind, i));
	if (width + 2 + 36 > screen.columns) /* a uuid still has its line */
		width = screen.columns > 56 ? screen.columns - 38 : 18;
	indent = width + 2;
	for (unsigned i = 0; i < sight->kind->n; i++) {
		const char *name = xe_field_name(sight->kind, i);
		struct xe_look look = {sight->db, sight->kind, xe_field_row(sight->kind, i), item};
		struct writing w = {&look, &text, 0};

		if (!xe_columns_has(&sight->columns, i))
			continue;
		xn_buf_add_string(out, newline);
		newline = "\n";
		xe_colour_begin(screen, XE_DIM, out);
		xn_buf_add_string(out, name);
		xe_colour_end(screen, XE_DIM, out);
		xe_width_pad(strlen(name), indent, out);
		if (strlen(name) > width)
			xn_buf_add_string(out, "  ");
		text.len = 0;
		xe_sight_print(sight, i, item, &text);
		if ((look.field->flags & XE_F_SHAPE) && !(look.field->flags & XE_F_CALL) &&
		    indent + xe_width(xn_buf_cstr(&text)) > screen.columns) {
			text.len = 0;
			xe_look_leaves(&look, add_line, &w);
		}
		xe_colour_begin(screen, xe_colour_of(xn_buf_cstr(&text)), out);
		add_lines(&text, indent, out);
		xe_colour_end(screen, xe_colour_of(xn_buf_cstr(&text)), out);
	}
	xn_buf_add_char(out, '\n');
}
