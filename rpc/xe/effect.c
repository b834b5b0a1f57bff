/*
 * What a command does: calls the API, looks for objects, asks the client. Each function here is met
 * again when its handler runs again, and then only tells what came of it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/json.h"
#include "rpc/xe/engine_internal.h"

enum { PROGRESS_AFTER_US = 400000, PROGRESS_FIRST_US = 1000, PROGRESS_EVERY_US = 200000 };

/* ---- progress and Ctrl-C, for our own client ---- */

static struct xn_row *task_of(struct xe *x)
{
	const char *ref = x->call ? x->call->call.task : "";

	if (x->awaited && x->awaited->kind == XE_DID_TRANSFER)
		ref = xn_buf_cstr(&x->awaited->bytes);
	return *ref ? xn_db_get(x->line->engine->rpc->db, XN_CLASS_task, ref) : NULL;
}

static bool shows_progress(const struct xe *x)
{
	const struct xe_line *line = x->line;

	if (!line->talk || line->speaker != x->index || (line->minimal && !line->is_ours))
		return false;
	return xe_arguments_get(&line->arguments, "progress")
		       ? xe_arguments_have(&line->arguments, "progress")
		       : line->is_ours && line->stderr_is_terminal;
}

static void tell_progress(struct xe *x, int thousandths)
{
	char text[32];
	int len;

	if (x->line->is_ours) {
		xe_talk_progress(x->line->talk, thousandths, x->line->name);
	} else {
		len = thousandths < 0 ? snprintf(text, sizeof(text), "\r    \r")
				      : snprintf(text, sizeof(text), "\r%3d%%", thousandths / 10);
		xe_talk_print_stderr(x->line->talk, text, (size_t)len);
	}
	x->told_progress = thousandths;
}

static void on_progress(struct xn_timer *timer)
{
	struct xe *x = xn_container_of(timer, struct xe, progress);
	const struct xn_row *task = task_of(x);
	int now = task ? (int)(xn_value_float(xn_row_get(task, XN_task_progress)) * 1000) : -1;

	if (now >= 0 && shows_progress(x) && now != x->told_progress)
		tell_progress(x, now);
	xn_timer_arm(x->line->engine->core->loop, timer, PROGRESS_EVERY_US, on_progress);
}

void xe_progress_begin(struct xe *x)
{
	x->told_progress = -1;
	/* Who asked in words gets some, however short it takes. */
	xn_timer_arm(x->line->engine->core->loop, &x->progress,
		     x->line->is_ours ? PROGRESS_AFTER_US : PROGRESS_FIRST_US, on_progress);
}

void xe_progress_end(struct xe *x)
{
	xn_timer_cancel(&x->progress);
	if (x->told_progress >= 0 && x->line->talk)
		tell_progress(x, -1);
	x->told_progress = -1;
}

void xe_run_interrupt(struct xe *x)
{
	struct xn_value *params;
	struct xn_rpc_call *rc = x->call;

	if (x->state == XE_ENDED)
		return;
	if (rc && rc->call.task[0]) {
		params = xn_set_new();
		xn_set_append_string(&params, x->line->session);
		xn_set_append_string(&params, rc->call.task);
		xn_rpc_invoke(x->line->engine->rpc, "task.cancel", params, &x->line->from,
			      x->line->user_agent, NULL, NULL);
	} else if (rc && rc->call.on_cancel) {
		rc->call.on_cancel(&rc->call);
	} else if (x->awaited && x->awaited->kind == XE_DID_TRANSFER) {
		xe_transfer_interrupt(x, x->awaited);
	} else {
		struct xn_error err = {0};

		xn_error_set(&err, XN_ERR_TASK_CANCELLED, x->line->name);
		xe_fail_api(x, &err);
		xe_run_later(x);
	}
}

/* ---- calls ---- */

static struct xn_value *plain(const struct xn_value *result)
{
	struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v;

	if (result->kind != XN_EMBED)
		return xn_value_ref(result);
	xn_embed_write(result, XN_FORMAT_JSON, &json);
	return xn_json_parse(xn_buf_cstr(&json), json.len, &v, NULL) == 0 ? v : xn_nil();
}

static void on_told(const struct xn_value *result, const struct xn_error *err, void *arg)
{
	struct xe *x = arg;
	struct xe_effect *effect = x->awaited;

	x->call = NULL;
	xe_progress_end(x);
	if (err)
		xn_error_copy(&effect->error, err);
	else
		effect->result = plain(result);
	xe_effect_done(x, effect);
}

static struct xn_value *argument(char type, va_list *ap)
{
	switch (type) {
	case 's':
		return xn_string(va_arg(*ap, const char *));
	case 'i':
		return xn_int(va_arg(*ap, int64_t));
	case 'b':
		return xn_bool(va_arg(*ap, int));
	case 'd':
		return xn_float(va_arg(*ap, double));
	case 'v':
		return va_arg(*ap, struct xn_value *);
	default:
		assert(type == 'm');
		return xn_value_ref(va_arg(*ap, const struct xn_value *));
	}
}

static void begin_call(struct xe *x, struct xe_effect *effect, const char *method,
		       struct xn_value *params)
{
	struct xe_line *line = x->line;
	const struct xn_method *row = xn_method_find(method);
	struct xn_rpc_call *rc;

	x->told_progress = -1;
	xe_effect_await(x, effect);
	rc = xn_rpc_invoke(line->engine->rpc, method, params, &line->from, line->user_agent,
			   on_told, x);
	if (effect->is_done)
		return; /* refused at once */
	x->call = rc;
	if (row && row->operation) {
		xe_progress_begin(x);
		if (line->is_ours && line->talk && line->speaker == x->index) {
			char *question = xn_asprintf("Cancel %s and undo what it did", line->name);

			xe_talk_interruptible(line->talk, question);
			free(question);
		}
	}
}

/* The effect of a call; it is begun when it is new. @params: the session first; taken. */
static struct xe_effect *call_with(struct xe *x, const char *method, struct xn_value *params)
{
	bool is_new;
	struct xe_effect *effect = xe_effect_next(x, XE_DID_CALL, &is_new);

	if (is_new)
		begin_call(x, effect, method, params);
	else
		xn_value_unref(params);
	return effect;
}

static struct xe_effect *call(struct xe *x, const char *method, const char *types, va_list *ap)
{
	struct xn_value *params = xn_set_new();

	xn_set_append_string(&params, x->line->session);
	for (const char *t = types; *t; t++)
		xn_set_append(&params, argument(*t, ap));
	return call_with(x, method, params);
}

bool xe_call(struct xe *x, const struct xn_value **result, const char *method, const char *types,
	     ...)
{
	const struct xe_effect *effect;
	va_list ap;

	va_start(ap, types);
	effect = call(x, method, types, &ap);
	va_end(ap);
	if (result)
		*result = effect->result;
	return xe_effect_result(x, effect);
}

bool xe_try(struct xe *x, const struct xn_value **result, const struct xn_error **err,
	    const char *method, const char *types, ...)
{
	const struct xe_effect *effect;
	va_list ap;

	va_start(ap, types);
	effect = call(x, method, types, &ap);
	va_end(ap);
	if (result)
		*result = effect->result;
	*err = effect->error.code ? &effect->error : NULL;
	return effect->is_done;
}

bool xe_call_with(struct xe *x, const struct xn_value **result, const char *method,
		  struct xn_value *params)
{
	const struct xe_effect *effect;
	struct xn_value *all = xn_set_new();

	xn_set_append_string(&all, x->line->session);
	for (size_t i = 0; i < xn_set_len(params); i++)
		xn_set_append(&all, xn_value_ref(xn_set_at(params, i)));
	xn_value_unref(params);
	effect = call_with(x, method, all);
	if (result)
		*result = effect->result;
	return xe_effect_result(x, effect);
}

/* ---- finding ---- */

static bool found(struct xe *x, struct xe_effect *effect, const char **ref_out)
{
	effect->is_done = true;
	if (effect->result)
		*ref_out = xn_value_string(effect->result);
	return xe_effect_result(x, effect);
}

bool xe_by_uuid(struct xe *x, int class_id, const char *uuid, const char **ref_out)
{
	bool is_new;
	struct xe_effect *effect = xe_effect_next(x, XE_DID_FIND, &is_new);
	const struct xn_row *row;

	if (is_new) {
		row = xn_db_need_uuid(xe_db(x), class_id, uuid, &effect->error);
		if (row)
			effect->result = xn_string(xn_row_ref(row));
	}
	return found(x, effect, ref_out);
}

bool xe_by_name(struct xe *x, int class_id, const char *name, const char **ref_out)
{
	bool is_new;
	struct xe_effect *effect = xe_effect_next(x, XE_DID_FIND, &is_new);
	const struct xn_class *cls = &xn_classes[class_id];
	const struct xn_row *row, *match = NULL;
	unsigned n = 0;

	if (!is_new)
		return found(x, effect, ref_out);
	match = xn_db_by_uuid(xe_db(x), class_id, name);
	for (row = match ? NULL : xn_db_first(xe_db(x), class_id); row; row = xn_db_next(xe_db(x), row))
		if (strcmp(xn_row_string(row, cls->name_label_field), name) == 0) {
			match = row;
			n++;
		}
	if (match && n <= 1) {
		effect->result = xn_string(xn_row_ref(match));
		return found(x, effect, ref_out);
	}
	if (n > 1)
		xe_fail(x, "%u objects of class %s have the name '%s'. Use the uuid of one", n,
			cls->name, name);
	else
		xe_fail(x, "No %s has the name or uuid '%s'", cls->name, name);
	return false;
}

static const char *only(struct xe *x, int class_id)
{
	const struct xn_row *row = xn_db_first(xe_db(x), class_id);

	return row ? xe_text(x, "%s", xn_row_ref(row)) : XN_NULL_REF;
}

const char *xe_host(struct xe *x)
{
	return only(x, XN_CLASS_host);
}

const char *xe_pool(struct xe *x)
{
	return only(x, XN_CLASS_pool);
}

struct xn_row *xe_row(struct xe *x, int class_id, const char *ref)
{
	return xn_db_get(xe_db(x), class_id, ref);
}

/* ---- asking the client ---- */

bool xe_may_ask(struct xe *x)
{
	if (xe_is_alone(x))
		xe_done(x);
	else if (x->line->speaker != x->index)
		x->wants_room = true; /* run again when it is its turn */
	else
		return true;
	return false;
}

bool xe_confirm(struct xe *x)
{
	bool is_new;
	struct xe_effect *effect;
	const char *said, *rest;
	size_t len;

	if (!xe_may_ask(x))
		return false;
	effect = xe_effect_next(x, XE_DID_CONFIRM, &is_new);
	if (is_new) {
		static const char question[] = "Type 'yes' to continue";

		xe_effect_await(x, effect);
		x->asks = true;
		xe_talk_print(x->line->talk, question, sizeof(question) - 1);
		xe_talk_prompt(x->line->talk);
	}
	if (!effect->is_done)
		return false;
	said = xn_buf_cstr(&effect->bytes);
	said += strspn(said, " \t\r");
	len = strcspn(said, " \t\r\n");
	rest = said + len;
	while (*rest && strchr(" \t\r\n", *rest))
		rest++;
	if (len == 3 && strncasecmp(said, "yes", len) == 0 && !*rest)
		return true;
	xe_print(x, "Aborted (you typed: '%s')", xn_text_is_valid(said, strlen(said)) ? said : "?");
	xe_done(x);
	return false;
}

bool xe_load(struct xe *x, const char *filename, struct xn_buf const **bytes_out)
{
	bool is_new;
	struct xe_effect *effect;

	if (!xe_may_ask(x))
		return false;
	effect = xe_effect_next(x, XE_DID_LOAD, &is_new);
	if (is_new) {
		xe_effect_await(x, effect);
		x->asks = true;
		xe_talk_load(x->line->talk, filename);
	}
	*bytes_out = &effect->bytes;
	if (effect->is_done && effect->answer != XE_ANSWER_OK) {
		xe_fail(x, "The file %s could not be read%s%s", filename,
			effect->bytes.len ? ": " : "", xn_buf_cstr(&effect->bytes));
		return false;
	}
	return effect->is_done;
}
