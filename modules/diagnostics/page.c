/* Diagnostics as a page for people: maps as indented lines, sets as one line an entry. */
#include "core/json.h"
#include "modules/diagnostics/diagnostics.h"

static void put_scalar(const struct xn_value *v, struct xn_buf *out)
{
	if (v->kind == XN_STRING)
		xn_buf_add_string(out, xn_value_string(v));
	else if (v->kind == XN_FLOAT)
		xn_buf_printf(out, "%.3f", xn_value_float(v));
	else
		xn_json_write(v, out);
}

static bool is_nested(const struct xn_value *v)
{
	return v->kind == XN_MAP || v->kind == XN_SET;
}

static void put_lines(const struct xn_value *v, int depth, struct xn_buf *out);

/* "kind: VM.start, step: create domain": what is nested follows in lines of its own. */
static void put_entry(const struct xn_value *v, int depth, struct xn_buf *out)
{
	const char *comma = "";

	xn_buf_printf(out, "%*s- ", depth * 2, "");
	for (size_t i = 0; i < xn_map_len(v); i++) {
		if (is_nested(xn_map_at(v, i)))
			continue;
		xn_buf_printf(out, "%s%s: ", comma, xn_map_key_at(v, i));
		put_scalar(xn_map_at(v, i), out);
		comma = ", ";
	}
	xn_buf_add_char(out, '\n');
	for (size_t i = 0; i < xn_map_len(v); i++) {
		if (!is_nested(xn_map_at(v, i)))
			continue;
		xn_buf_printf(out, "%*s%s\n", depth * 2 + 2, "", xn_map_key_at(v, i));
		put_lines(xn_map_at(v, i), depth + 2, out);
	}
}

static void put_lines(const struct xn_value *v, int depth, struct xn_buf *out)
{
	for (size_t i = 0; v->kind == XN_SET && i < xn_set_len(v); i++) {
		if (xn_set_at(v, i)->kind == XN_MAP) {
			put_entry(xn_set_at(v, i), depth, out);
			continue;
		}
		xn_buf_printf(out, "%*s- ", depth * 2, "");
		put_scalar(xn_set_at(v, i), out);
		xn_buf_add_char(out, '\n');
	}
	for (size_t i = 0; v->kind == XN_MAP && i < xn_map_len(v); i++) {
		const struct xn_value *member = xn_map_at(v, i);

		xn_buf_printf(out, "%*s%s:", depth * 2, "", xn_map_key_at(v, i));
		if (is_nested(member)) {
			xn_buf_add_char(out, '\n');
			put_lines(member, depth + 1, out);
		} else {
			xn_buf_add_char(out, ' ');
			put_scalar(member, out);
			xn_buf_add_char(out, '\n');
		}
	}
}

void xn_diagnostics_page(const struct xn_value *all, struct xn_buf *out)
{
	put_lines(all, 0, out);
}
