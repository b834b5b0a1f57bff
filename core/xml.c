/* XML-RPC text of values; see xml.h. */
#include "core/xml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void xn_xml_write_text(const char *s, size_t len, struct xn_buf *out)
{
	size_t plain = 0;

	xn_buf_reserve(out, len);
	for (size_t i = 0; i < len; i++) {
		const char *escaped;

		switch (s[i]) {
		case '<':
			escaped = "&lt;";
			break;
		case '>':
			escaped = "&gt;";
			break;
		case '&':
			escaped = "&amp;";
			break;
		case '"':
			escaped = "&quot;";
			break;
		case '\r':
			escaped = "&#13;";
			break;
		default:
			continue;
		}
		xn_buf_add(out, s + plain, i - plain);
		xn_buf_add_string(out, escaped);
		plain = i + 1;
	}
	xn_buf_add(out, s + plain, len - plain);
}

static void write_float(double f, struct xn_buf *out)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, f);
		if (!isfinite(f) || strtod(text, NULL) == f)
			break;
	}
	xn_buf_printf(out, "<double>%s</double>", text);
}

static void write_set(const struct xn_value *set, struct xn_buf *out)
{
	xn_buf_add_string(out, "<array><data>");
	for (size_t i = 0; i < xn_set_len(set); i++)
		xn_xml_write(xn_set_at(set, i), out);
	xn_buf_add_string(out, "</data></array>");
}

static void write_map(const struct xn_value *map, struct xn_buf *out)
{
	xn_buf_add_string(out, "<struct>");
	for (size_t i = 0; i < xn_map_len(map); i++) {
		const struct xn_value *key = map->map.entries[i].key;

		xn_buf_add_string(out, "<member><name>");
		xn_xml_write_text(key->string.bytes, key->string.len, out);
		xn_buf_add_string(out, "</name>");
		xn_xml_write(map->map.entries[i].value, out);
		xn_buf_add_string(out, "</member>");
	}
	xn_buf_add_string(out, "</struct>");
}

void xn_xml_write(const struct xn_value *v, struct xn_buf *out)
{
	char date[19];

	if (v->kind == XN_EMBED) { /* brings its own <value> */
		xn_embed_write(v, XN_FORMAT_XML, out);
		return;
	}
	xn_buf_add_string(out, "<value>");
	switch ((enum xn_kind)v->kind) {
	case XN_NIL:
	case XN_EMBED:
		break;
	case XN_STRING:
		xn_xml_write_text(v->string.bytes, v->string.len, out);
		break;
	case XN_INT:
		xn_buf_add_int(out, v->i);
		break;
	case XN_FLOAT:
		write_float(v->f, out);
		break;
	case XN_BOOL:
		xn_buf_add_string(out, v->i ? "<boolean>1</boolean>" : "<boolean>0</boolean>");
		break;
	case XN_DATETIME:
		xn_date_print(v->i, date);
		xn_buf_printf(out, "<dateTime.iso8601>%s</dateTime.iso8601>", date);
		break;
	case XN_SET:
		write_set(v, out);
		break;
	case XN_MAP:
		write_map(v, out);
		break;
	}
	xn_buf_add_string(out, "</value>");
}
