/* JSON; see json.h. */
#include "core/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* 0: written as it is; else the character behind the backslash, 'u' for \u00XX. */
static const char escapes[256] = {
	[0] = 'u', [1] = 'u', [2] = 'u', [3] = 'u', [4] = 'u', [5] = 'u', [6] = 'u', [7] = 'u',
	['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [11] = 'u', ['\f'] = 'f', ['\r'] = 'r',
	[14] = 'u', [15] = 'u', [16] = 'u', [17] = 'u', [18] = 'u', [19] = 'u', [20] = 'u',
	[21] = 'u', [22] = 'u', [23] = 'u', [24] = 'u', [25] = 'u', [26] = 'u', [27] = 'u',
	[28] = 'u', [29] = 'u', [30] = 'u', [31] = 'u', ['"'] = '"', ['\\'] = '\\',
};

static void write_escape(char c, struct xn_buf *out)
{
	char escape = escapes[(unsigned char)c];

	if (escape == 'u') {
		xn_buf_printf(out, "\\u%04x", (unsigned char)c);
	} else {
		xn_buf_add_char(out, '\\');
		xn_buf_add_char(out, escape);
	}
}

/* Whether one of the 8 bytes is below 0x20, a quotation mark or a backslash. */
static bool word_needs_escape(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	uint64_t quote = w ^ ones * '"', backslash = w ^ ones * '\\';
	/* Each term: the top bit of bytes that are below the limit (0x20 or 1); a borrow may mark a
	 * byte too many, never one too few. */
	uint64_t hit = ((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) |
		       ((backslash - ones) & ~backslash);

	return hit & tops;
}

void xn_json_write_string(const char *s, size_t len, struct xn_buf *out)
{
	size_t plain = 0, i = 0; /* plain: start of the run not yet copied */

	xn_buf_reserve(out, len + 2);
	xn_buf_add_char(out, '"');
	while (i < len) {
		uint64_t word;

		if (len - i >= sizeof(word)) {
			memcpy(&word, s + i, sizeof(word));
			if (!word_needs_escape(word)) {
				i += sizeof(word);
				continue;
			}
		}
		for (size_t end = len - i > 8 ? i + 8 : len; i < end; i++) {
			if (!escapes[(unsigned char)s[i]])
				continue;
			xn_buf_add(out, s + plain, i - plain);
			write_escape(s[i], out);
			plain = i + 1;
		}
	}
	if (len > plain) /* else @s may be NULL */
		xn_buf_add(out, s + plain, len - plain);
	xn_buf_add_char(out, '"');
}

void xn_json_write_float(double f, struct xn_buf *out)
{
	char text[40];

	if (!isfinite(f)) { /* JSON has no word for it */
		xn_buf_add_string(out, "null");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, f);
		if (strtod(text, NULL) == f)
			break;
	}
	xn_buf_add_string(out, text);
	if (!strpbrk(text, ".e"))
		xn_buf_add_string(out, ".0");
}

static void write_set(const struct xn_value *set, struct xn_buf *out)
{
	xn_buf_add_char(out, '[');
	for (uint32_t i = 0; i < set->set.len; i++) {
		if (i)
			xn_buf_add_char(out, ',');
		xn_json_write(set->set.items[i], out);
	}
	xn_buf_add_char(out, ']');
}

static void write_map(const struct xn_value *map, struct xn_buf *out)
{
	xn_buf_add_char(out, '{');
	for (uint32_t i = 0; i < map->map.len; i++) {
		const struct xn_value *key = map->map.entries[i].key;

		if (i)
			xn_buf_add_char(out, ',');
		xn_json_write_string(key->string.bytes, key->string.len, out);
		xn_buf_add_char(out, ':');
		xn_json_write(map->map.entries[i].value, out);
	}
	xn_buf_add_char(out, '}');
}

void xn_json_write(const struct xn_value *v, struct xn_buf *out)
{
	char date[19];

	switch ((enum xn_kind)v->kind) {
	case XN_NIL: /* a void result is an empty string on both wires */
		xn_buf_add(out, "\"\"", 2);
		break;
	case XN_STRING:
		xn_json_write_string(v->string.bytes, v->string.len, out);
		break;
	case XN_INT:
		xn_buf_add_int(out, v->i);
		break;
	case XN_FLOAT:
		xn_json_write_float(v->f, out);
		break;
	case XN_BOOL:
		xn_buf_add_string(out, v->i ? "true" : "false");
		break;
	case XN_DATETIME:
		xn_date_print(v->i, date);
		xn_json_write_string(date, strlen(date), out);
		break;
	case XN_SET:
		write_set(v, out);
		break;
	case XN_MAP:
		write_map(v, out);
		break;
	case XN_EMBED:
		xn_embed_write(v, XN_FORMAT_JSON, out);
		break;
	}
}

/* ---- parsing ---- */

static struct xn_value *from_jansson(const json_t *json, unsigned depth);

static struct xn_value *array_from(const json_t *json, unsigned depth)
{
	struct xn_value *set = xn_set_new();
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)json, i, item) {
		struct xn_value *v = from_jansson(item, depth + 1);

		if (!v) {
			xn_value_unref(set);
			return NULL;
		}
		xn_set_append(&set, v);
	}
	return set;
}

static struct xn_value *object_from(const json_t *json, unsigned depth)
{
	struct xn_value *map = xn_map_new();
	const char *key;
	json_t *item;

	json_object_foreach ((json_t *)json, key, item) {
		struct xn_value *v = from_jansson(item, depth + 1);

		if (!v) {
			xn_value_unref(map);
			return NULL;
		}
		xn_map_put(&map, key, v);
	}
	return map;
}

/* NULL: nested too deep. */
static struct xn_value *from_jansson(const json_t *json, unsigned depth)
{
	if (depth > XN_JSON_MAX_DEPTH)
		return NULL;
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return object_from(json, depth);
	case JSON_ARRAY:
		return array_from(json, depth);
	case JSON_STRING:
		return xn_string_len(json_string_value(json), json_string_length(json));
	case JSON_INTEGER:
		return xn_int(json_integer_value(json));
	case JSON_REAL:
		return xn_float(json_real_value(json));
	case JSON_TRUE:
		return xn_bool(true);
	case JSON_FALSE:
		return xn_bool(false);
	case JSON_NULL:
		return xn_nil();
	}
	return NULL;
}

/* Behind the string whose text begins at @at. */
static const char *after_string(const char *at, const char *end)
{
	while (at < end && *at != '"')
		at += *at == '\\' && end - at > 1 ? 2 : 1;
	return at < end ? at + 1 : end;
}

const char *xn_json_exceeds(const char *text, size_t len, size_t max_values, unsigned max_depth)
{
	const char *at = text, *end = text + len;
	unsigned depth = 0;
	size_t n = 1;

	while (at < end) {
		char c = *at++;

		if (c == '"')
			at = after_string(at, end);
		else if (c == ',' || c == '[' || c == '{' || c == ':')
			n++;
		if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth)
			depth--;
		if (n > max_values)
			return "too many values";
		if (depth > max_depth)
			return "nested too deeply";
	}
	return NULL;
}

int xn_json_parse(const char *text, size_t len, struct xn_value **v_out, struct xn_buf *why)
{
	json_error_t error;
	json_t *json = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
	struct xn_value *v;

	if (!json) {
		if (why)
			xn_buf_printf(why, "%s at byte %d", error.text, error.position);
		return -1;
	}
	v = from_jansson(json, 0);
	json_decref(json);
	if (!v) {
		if (why)
			xn_buf_add_string(why, "nested too deeply");
		return -1;
	}
	*v_out = v;
	return 0;
}
