/* Answers as text; see writer.h. */
#include "core/writer.h"

#include "core/json.h"
#include "core/moment.h"
#include "core/xml.h"

/* Between two values of a set. */
static void separate(struct xn_writer *w)
{
	if (w->format == XN_FORMAT_JSON && w->comma && !w->in_map)
		xn_buf_add_char(w->out, ',');
}

static void begin(struct xn_writer *w, bool is_map, bool *was_in_map)
{
	static const char *const texts[2][2] = {{"[", "{"},
						{"<value><array><data>", "<value><struct>"}};

	separate(w);
	xn_buf_add_string(w->out, texts[w->format == XN_FORMAT_XML][is_map]);
	*was_in_map = w->in_map;
	w->in_map = is_map;
	w->comma = false;
}

static void end(struct xn_writer *w, const char *json, const char *xml, bool was_in_map)
{
	xn_buf_add_string(w->out, w->format == XN_FORMAT_XML ? xml : json);
	w->in_map = was_in_map;
	w->comma = true;
}

void xn_writer_map_begin(struct xn_writer *w, bool *was_in_map)
{
	begin(w, true, was_in_map);
}

void xn_writer_set_begin(struct xn_writer *w, bool *was_in_map)
{
	begin(w, false, was_in_map);
}

void xn_writer_map_end(struct xn_writer *w, bool was_in_map)
{
	if (w->format == XN_FORMAT_XML && w->comma)
		xn_buf_add_string(w->out, "</member>");
	end(w, "}", "</struct></value>", was_in_map);
}

void xn_writer_set_end(struct xn_writer *w, bool was_in_map)
{
	end(w, "]", "</data></array></value>", was_in_map);
}

void xn_writer_key(struct xn_writer *w, const char *key, size_t len)
{
	if (w->format == XN_FORMAT_JSON) {
		if (w->comma)
			xn_buf_add_char(w->out, ',');
		xn_json_write_string(key, len, w->out);
		xn_buf_add_char(w->out, ':');
		return;
	}
	if (w->comma)
		xn_buf_add_string(w->out, "</member>");
	xn_buf_add_string(w->out, "<member><name>");
	xn_xml_write_text(key, len, w->out);
	xn_buf_add_string(w->out, "</name>");
}

/* ---- values ---- */

void xn_writer_put_text(struct xn_writer *w, const char *s, size_t len)
{
	separate(w);
	if (w->format == XN_FORMAT_JSON) {
		xn_json_write_string(s, len, w->out);
	} else {
		xn_buf_add_string(w->out, "<value>");
		xn_xml_write_text(s, len, w->out);
		xn_buf_add_string(w->out, "</value>");
	}
	w->comma = true;
}

void xn_writer_put_scalar(struct xn_writer *w, const struct xn_value *v)
{
	separate(w);
	if (w->format == XN_FORMAT_JSON)
		xn_json_write(v, w->out);
	else
		xn_xml_write(v, w->out);
	w->comma = true;
}

void xn_writer_put_int(struct xn_writer *w, int64_t i)
{
	const struct xn_value v = {.kind = XN_INT, .i = i};

	xn_writer_put_scalar(w, &v);
}

void xn_writer_put_bool(struct xn_writer *w, bool b)
{
	const struct xn_value v = {.kind = XN_BOOL, .i = b};

	xn_writer_put_scalar(w, &v);
}

void xn_writer_put_null(struct xn_writer *w)
{
	separate(w);
	xn_buf_add_string(w->out, w->format == XN_FORMAT_JSON ? "null" : "<value></value>");
	w->comma = true;
}

void xn_writer_put_time(struct xn_writer *w, int64_t us)
{
	char text[40];

	xn_moment_print(us, text);
	xn_writer_put_text(w, text, strlen(text));
}

void xn_writer_member(struct xn_writer *w, const char *key, const char *text)
{
	xn_writer_key(w, key, strlen(key));
	xn_writer_put_text(w, text, strlen(text));
}

void xn_writer_member_int(struct xn_writer *w, const char *key, int64_t i)
{
	xn_writer_key(w, key, strlen(key));
	xn_writer_put_int(w, i);
}

void xn_writer_member_bool(struct xn_writer *w, const char *key, bool b)
{
	xn_writer_key(w, key, strlen(key));
	xn_writer_put_bool(w, b);
}
