/* Answers as text; see writer.h. */
#include "modules/history/writer.h"

#include "core/json.h"
#include "core/xml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* Between two values of a set. */
static void separate(struct history_writer *w)
{
	if (w->format == XN_FORMAT_JSON && w->comma && !w->in_map)
		xn_buf_add_char(w->out, ',');
}

static void begin(struct history_writer *w, bool is_map, bool *was_in_map)
{
	static const char *const texts[2][2] = {{"[", "{"},
						{"<value><array><data>", "<value><struct>"}};

	separate(w);
	xn_buf_add_string(w->out, texts[w->format == XN_FORMAT_XML][is_map]);
	*was_in_map = w->in_map;
	w->in_map = is_map;
	w->comma = false;
}

static void end(struct history_writer *w, const char *json, const char *xml, bool was_in_map)
{
	xn_buf_add_string(w->out, w->format == XN_FORMAT_XML ? xml : json);
	w->in_map = was_in_map;
	w->comma = true;
}

void history_map_begin(struct history_writer *w, bool *was_in_map)
{
	begin(w, true, was_in_map);
}

void history_set_begin(struct history_writer *w, bool *was_in_map)
{
	begin(w, false, was_in_map);
}

void history_map_end(struct history_writer *w, bool was_in_map)
{
	if (w->format == XN_FORMAT_XML && w->comma)
		xn_buf_add_string(w->out, "</member>");
	end(w, "}", "</struct></value>", was_in_map);
}

void history_set_end(struct history_writer *w, bool was_in_map)
{
	end(w, "]", "</data></array></value>", was_in_map);
}

void history_key(struct history_writer *w, const char *key, size_t len)
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

void history_put_text(struct history_writer *w, const char *s, size_t len)
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

static void put_scalar(struct history_writer *w, const struct xn_value *v)
{
	separate(w);
	if (w->format == XN_FORMAT_JSON)
		xn_json_write(v, w->out);
	else
		xn_xml_write(v, w->out);
	w->comma = true;
}

void history_put_int(struct history_writer *w, int64_t i)
{
	const struct xn_value v = {.kind = XN_INT, .i = i};

	put_scalar(w, &v);
}

void history_put_bool(struct history_writer *w, bool b)
{
	const struct xn_value v = {.kind = XN_BOOL, .i = b};

	put_scalar(w, &v);
}

void history_put_null(struct history_writer *w)
{
	separate(w);
	xn_buf_add_string(w->out, w->format == XN_FORMAT_JSON ? "null" : "<value></value>");
	w->comma = true;
}

void history_time_print(int64_t us, char out[40])
{
	int64_t s = us / 1000000;
	time_t seconds = (time_t)s;
	struct tm tm = {0};
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, 40 - len, ".%06uZ", (unsigned)(us - s * 1000000) % 1000000);
}

void history_put_time(struct history_writer *w, int64_t us)
{
	char text[40];

	history_time_print(us, text);
	history_put_text(w, text, strlen(text));
}

static int put_value(struct history_writer *w, struct xn_cursor *in)
{
	struct xn_token token;
	bool outer;

	if (xn_take_token(in, &token) < 0)
		return -EBADMSG;
	if (token.kind == XN_STRING) {
		history_put_text(w, (const char *)token.text.data, token.text.len);
	} else if (token.kind == XN_SET) {
		history_set_begin(w, &outer);
		for (uint64_t i = 0; i < token.n; i++)
			if (put_value(w, in) < 0)
				return -EBADMSG;
		history_set_end(w, outer);
	} else if (token.kind == XN_MAP) {
		history_map_begin(w, &outer);
		for (uint64_t i = 0; i < token.n; i++) {
			struct xn_slice key;

			if (xn_take_text(in, &key) < 0 ||
			    !xn_text_is_valid((const char *)key.data, key.len))
				return -EBADMSG;
			history_key(w, (const char *)key.data, key.len);
			if (put_value(w, in) < 0)
				return -EBADMSG;
		}
		history_map_end(w, outer);
	} else {
		struct xn_value v = {.kind = token.kind, .i = token.i};

		if (token.kind == XN_FLOAT)
			v.f = token.f;
		put_scalar(w, &v);
	}
	return 0;
}

int history_put_bytes(struct history_writer *w, const struct xn_slice *value)
{
	struct xn_cursor in = xn_cursor(value->data, value->len), checked = in;

	if (xn_skip_value(&checked) < 0) /* its depth is bounded */
		return -EBADMSG;
	return put_value(w, &in);
}

void history_member(struct history_writer *w, const char *key, const char *text)
{
	history_key(w, key, strlen(key));
	history_put_text(w, text, strlen(text));
}

void history_member_int(struct history_writer *w, const char *key, int64_t i)
{
	history_key(w, key, strlen(key));
	history_put_int(w, i);
}
