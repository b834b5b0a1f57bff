/*
 * What a failure is to people: sentences from the schema's table of errors, parameters by their names,
 * references as uuid and name. Words that scripts match are the field's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"

static void say_stderr(struct xe_line *line, const struct xn_buf *text)
{
	xe_say_stderr(line, text->data, text->len);
}

/* ---- API errors ---- */

static void print_value(struct xe_line *line, const char *value, struct xn_buf *out)
{
	struct xn_db *db = line->engine->rpc->db;
	const struct xn_row *row =
		strncmp(value, "OpaqueRef:", 10) == 0 ? xn_db_get_any(db, value) : NULL;
	int name;

	if (!row || !*xn_row_uuid(row)) {
		xn_buf_add_string(out, value);
		return;
	}
	xn_buf_add_string(out, xn_row_uuid(row));
	name = xn_classes[xn_row_class(row)].name_label_field;
	if (name >= 0)
		xn_buf_printf(out, " (%s)", xn_row_string(row, name));
}

static void print_params(struct xe_line *line, const char *names, const struct xn_error *err,
			 struct xn_buf *out)
{
	unsigned i = 0;

	while (*names) {
		size_t len = strcspn(names, ",");

		xn_buf_printf(out, "%.*s: ", (int)len, names);
		if (i < err->n_params)
			print_value(line, err->params[i++], out);
		else
			xn_buf_add_string(out, "<unknown>");
		xn_buf_add_char(out, '\n');
		names += len + (names[len] == ',');
		names += *names == ' ';
	}
	for (; i < err->n_params; i++) {
		xn_buf_add_string(out, "<extra>: ");
		print_value(line, err->params[i], out);
		xn_buf_add_char(out, '\n');
	}
}

void xe_complaint_print(struct xe_line *line, const struct xn_error *err, struct xn_buf *out)
{
	const struct xn_error_info *info = xn_error_find(err->code);

	if (!info) {
		xn_buf_printf(out, "%s\n", err->code);
		print_params(line, "", err, out);
	} else {
		xn_buf_printf(out, "%s\n", info->doc);
		print_params(line, info->params, err, out);
	}
}

/* ---- saying it ---- */

static void say_hint(struct xe_line *line)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!line->hint || !line->is_ours)
		return;
	xn_buf_printf(&text, "%s%s\n", line->hint,
		      line->hint[strlen(line->hint) - 1] == '?' ? "" : ".");
	say_stderr(line, &text);
}

static void say_trace(struct xe_line *line, const struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!line->trace)
		return;
	xn_buf_printf(&text, "Raised Server_error(%s, [", err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_buf_printf(&text, "%s%s", i ? "; " : " ", err->params[i]);
	xn_buf_add_string(&text, " ])\nBacktrace:\n\n");
	say_stderr(line, &text);
}

static void say_error(struct xe_line *line, const struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	say_trace(line, err);
	if (!line->talk)
		return;
	if (!xn_error_find(err->code)) {
		xe_talk_error(line->talk, err->code, (const char *const *)err->params,
			      err->n_params);
		return;
	}
	xe_complaint_print(line, err, &text);
	say_stderr(line, &text);
	xe_hint_error(line, err);
}

void xe_complain(struct xe_line *line, const struct xe *x)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (x->error.code) {
		say_error(line, &x->error);
	} else if (x->sentence) {
		xn_buf_printf(&text, "Error: %s\n", x->sentence);
		say_stderr(line, &text);
	}
	say_hint(line);
}

void xe_complain_error(struct xe_line *line, const struct xn_error *err)
{
	say_error(line, err);
	say_hint(line);
	xe_line_exit(line, 1);
}

static void complain(struct xe_line *line, bool usage, const char *fmt, va_list ap)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	char *sentence = xn_vasprintf(fmt, ap);

	xn_buf_printf(&text, "%s\n", sentence);
	free(sentence);
	say_stderr(line, &text);
	if (usage && !(line->is_ours && line->hint)) {
		static const char where[] = "For usage run: 'xe help'\n";

		xe_say_stderr(line, where, sizeof(where) - 1);
	}
	say_hint(line);
	xe_line_exit(line, 1);
}

void xe_complain_sentence(struct xe_line *line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(line, false, fmt, ap);
	va_end(ap);
}

void xe_complain_usage(struct xe_line *line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(line, true, fmt, ap);
	va_end(ap);
}
