/*
 * What a command says. Several runs of one line speak in the order of their objects: who is not the
 * speaker has its words kept until it is. With --minimal and --json values are collected and said as
 * one at the end, and what is only for people is left out.
 */
#include <stdlib.h>

#include "core/json.h"
#include "rpc/xe/engine_internal.h"

/* Bytes of values that are said as one: a line for the field's client, so in one piece. */
enum { COLLECTED_MOST = 4 << 20 };

/* ---- in turn ---- */

static void queue(struct xe *x, void (*say)(struct xe_line *line, const char *text, size_t len),
		  const char *text, size_t len)
{
	struct xe_output *output = xn_malloc(sizeof(*output) + len + 1);

	output->next = NULL;
	output->say = say;
	output->len = len;
	memcpy(output->text, text, len);
	output->text[len] = '\0';
	*x->last = output;
	x->last = &output->next;
}

void xe_say(struct xe *x, void (*say)(struct xe_line *line, const char *text, size_t len),
	    const char *text, size_t len)
{
	if (x->line->speaker == x->index)
		say(x->line, text, len);
	else
		queue(x, say, text, len);
}

void xe_say_queued(struct xe *x)
{
	struct xe_output *output;

	while ((output = x->first)) {
		x->first = output->next;
		output->say(x->line, output->text, output->len);
		free(output);
	}
	x->last = &x->first;
}

void xe_say_print(struct xe_line *line, const char *text, size_t len)
{
	if (line->talk)
		xe_talk_print(line->talk, text, len);
}

void xe_say_stderr(struct xe_line *line, const char *text, size_t len)
{
	if (line->talk)
		xe_talk_print_stderr(line->talk, text, len);
}

static void collect(struct xe_line *line, const char *text, size_t len)
{
	if (!line->values)
		line->values = xn_set_new();
	line->values_bytes += len;
	if (line->values_bytes > COLLECTED_MOST)
		return;
	xn_set_append(&line->values, xn_string_len(text, len));
}

/* ---- what handlers say ---- */

static bool is_said(struct xe *x)
{
	bool is_new;

	xe_effect_next(x, XE_DID_OUTPUT, &is_new);
	return !is_new;
}

void xe_print(struct xe *x, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (is_said(x) || x->line->minimal || x->line->json)
		return;
	va_start(ap, fmt);
	text = xn_vasprintf(fmt, ap);
	va_end(ap);
	xe_say(x, xe_say_print, text, strlen(text));
	free(text);
}

void xe_value(struct xe *x, const char *text)
{
	bool collects = x->line->minimal || x->line->json;

	if (!is_said(x))
		xe_say(x, collects ? collect : xe_say_print, text, strlen(text));
}

void xe_value_uuid(struct xe *x, int class_id, const char *ref)
{
	const struct xn_row *row = xn_db_get(xe_db(x), class_id, ref);

	xe_value(x, row ? xn_row_uuid(row) : "<not in database>");
}

void xe_warn(struct xe *x, const char *fmt, ...)
{
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};
	va_list ap;
	char *text;

	if (is_said(x) || x->line->minimal)
		return;
	va_start(ap, fmt);
	text = xn_vasprintf(fmt, ap);
	va_end(ap);
	xn_buf_printf(&line, "%s\n", text);
	free(text);
	xe_say(x, xe_say_stderr, line.data, line.len);
}

static void say_raw(struct xe_line *line, const char *text, size_t len)
{
	line->has_raw = true;
	xe_say_print(line, text, len);
}

void xe_raw(struct xe *x, const char *text, size_t len)
{
	if (!is_said(x))
		xe_say(x, say_raw, text, len);
}

/* ---- at the end ---- */

static void add_escaped(struct xn_buf *out, const char *text)
{
	for (size_t len; *text; text += len) {
		if (*text == ',' || *text == '\\')
			xn_buf_add_char(out, '\\');
		len = 1 + strcspn(text + 1, ",\\");
		xn_buf_add(out, text, len);
	}
}

bool xe_say_collected(struct xe_line *line)
{
	static const char too_much[] =
		"These values are more than 4 MiB: ask for fewer of them, or without --minimal\n";
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t n = line->values ? xn_set_len(line->values) : 0;

	if (line->values_bytes > COLLECTED_MOST) {
		xe_say_stderr(line, too_much, sizeof(too_much) - 1);
		return false;
	}
	if (line->json) {
		if (!n)
			return true;
		xn_json_write(line->values, &text);
	} else {
		for (size_t i = 0; i < n; i++) {
			if (i)
				xn_buf_add_char(&text, ',');
			add_escaped(&text, xn_value_string(xn_set_at(line->values, i)));
		}
	}
	xe_say_print(line, text.len ? text.data : "", text.len);
	return true;
}
