/*
 * One run of a command's handler: it is called again from its beginning each time that what it waited
 * for has come, and meets again what it did before. What it does is in effect.c, output.c, transfer.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"

/* ---- what it remembers ---- */

static void effect_free(struct xe_effect *effect)
{
	if (effect->kind == XE_DID_OUTPUT)
		return; /* they are all the same one */
	xn_value_unref(effect->result);
	xn_error_clear(&effect->error);
	xn_buf_clear(&effect->bytes);
	free(effect);
}

static void forget_from(struct xe *x, unsigned from)
{
	while (x->n_effects > from)
		effect_free(x->effects[--x->n_effects]);
	if (x->at > from)
		x->at = from;
}

static void forget_texts(struct xe *x)
{
	while (x->n_texts)
		free(x->texts[--x->n_texts]);
	while (x->n_values)
		xn_value_unref(x->values[--x->n_values]);
}

/* The handler went another way than before: it decided by what changes between its runs. */
static struct xe_effect *astray(struct xe *x)
{
	xn_error_setf(&x->astray.error, XN_ERR_INTERNAL_ERROR, "%s lost its way", x->line->name);
	xn_error_copy(&x->error, &x->astray.error);
	x->astray.is_done = x->failed = true;
	return &x->astray;
}

struct xe_effect *xe_effect_next(struct xe *x, enum xe_effect_kind kind, bool *is_new)
{
	static struct xe_effect output = {.kind = XE_DID_OUTPUT, .is_done = true};
	struct xe_effect *effect;

	*is_new = x->at == x->n_effects;
	if (!*is_new)
		return x->effects[x->at]->kind == kind ? x->effects[x->at++] : astray(x);
	if (kind == XE_DID_OUTPUT) {
		effect = &output;
	} else {
		effect = xn_calloc(1, sizeof(*effect));
		effect->kind = kind;
	}
	if ((x->n_effects & (x->n_effects - 1)) == 0)
		x->effects = xn_realloc(x->effects, sizeof(*x->effects) *
							    (x->n_effects ? x->n_effects * 2 : 1));
	x->effects[x->n_effects++] = effect;
	x->at = x->n_effects;
	return effect;
}

void xe_effect_await(struct xe *x, struct xe_effect *effect)
{
	x->awaited = effect;
}

void xe_effect_done(struct xe *x, struct xe_effect *effect)
{
	effect->is_done = true;
	if (x->awaited != effect)
		return; /* it came at once */
	x->awaited = NULL;
	x->asks = false;
	xe_run_later(x);
}

bool xe_effect_result(struct xe *x, const struct xe_effect *effect)
{
	if (!effect->is_done)
		return false;
	if (!effect->error.code)
		return true;
	x->failed = true;
	xn_error_copy(&x->error, &effect->error);
	return false;
}

bool xe_is_alone(const struct xe *x)
{
	return !x->line->talk;
}

/* ---- rounds ---- */

void *xe_state(struct xe *x, size_t size, void (*clear)(void *state))
{
	if (!x->place) {
		x->place = xn_calloc(1, size);
		x->clear_place = clear;
		x->mark = x->at;
	}
	return x->place;
}

bool xe_yield(struct xe *x)
{
	forget_from(x, x->mark);
	x->wants_room = true;
	xn_loop_defer_as(x->line->engine->core->loop, &x->job, XN_PRIO_BULK, x->job.run,
			 x->line->turn);
	return false;
}

bool xe_room(struct xe *x)
{
	struct xe_line *line = x->line;

	if (!line->talk) { /* nobody reads what would be said */
		xe_done(x);
		return false;
	}
	if (line->speaker == x->index && !xe_talk_is_full(line->talk))
		return true;
	forget_from(x, x->mark);
	x->wants_room = true;
	return false;
}

void xe_holds_records(struct xe *x)
{
	if (x->line->talk)
		xe_talk_holds_records(x->line->talk);
}

void xe_wake_on_change(struct xe *x)
{
	xn_list_remove(&x->wait);
	xn_list_push(&x->line->engine->waiters, &x->wait);
}

bool xe_wait_change(struct xe *x)
{
	if (!x->line->talk) {
		xe_done(x);
		return false;
	}
	forget_from(x, x->mark);
	x->wants_room = true;
	xe_wake_on_change(x);
	return false;
}

/* ---- its life ---- */

static void end(struct xe *x)
{
	x->state = XE_ENDED;
	xn_list_remove(&x->wait);
	if (x->clear_place)
		x->clear_place(x->place);
	free(x->place);
	x->place = NULL;
	x->clear_place = NULL;
	forget_from(x, 0);
	xe_line_go_on(x->line);
}

static void on_run(struct xn_job *job)
{
	struct xe *x = xn_container_of(job, struct xe, job);
	struct xe_line *line = x->line;
	struct xn_loop *loop = line->engine->core->loop;

	if (x->state == XE_ENDED)
		return;
	if (x->failed || x->stopped) { /* from outside, while it waited */
		end(x);
		return;
	}
	xn_loop_set_own_caller(loop, line->turn);
	xn_loop_name_callback(loop, "xe");
	xn_list_remove(&x->wait);
	x->wants_room = false;
	if (!x->began)
		x->began = xn_db_generation(xe_db(x));
	x->state = XE_WAITS;
	x->at = 0;
	if (x->place)
		x->at = x->mark;
	forget_texts(x);
	line->run(x);
	forget_texts(x);
	if (!x->failed && !x->stopped && (x->awaited || x->wants_room))
		return;
	if (!x->failed)
		xe_tell_messages(x);
	end(x);
}

void xe_run_later(struct xe *x)
{
	if (x->state != XE_ENDED)
		xn_loop_defer_as(x->line->engine->core->loop, &x->job, XN_PRIO_EVENT, on_run,
				 x->line->turn);
}

struct xe *xe_run_new(struct xe_line *line, const char *object)
{
	struct xe *x = xn_calloc(1, sizeof(*x));

	x->line = line;
	x->last = &x->first;
	x->job.run = on_run;
	xn_list_init(&x->wait);
	snprintf(x->object, sizeof(x->object), "%s", object);
	return x;
}

void xe_run_free(struct xe *x)
{
	struct xe_output *output;

	if (x->call)
		xn_rpc_invoke_forget(x->call);
	xn_job_cancel(&x->job);
	xn_timer_cancel(&x->progress);
	xn_list_remove(&x->wait);
	if (x->clear_place)
		x->clear_place(x->place);
	free(x->place);
	forget_from(x, 0);
	forget_texts(x);
	free(x->effects);
	free(x->texts);
	free(x->values);
	while ((output = x->first)) {
		x->first = output->next;
		free(output);
	}
	xn_error_clear(&x->error);
	xn_error_clear(&x->astray.error);
	free(x->sentence);
	free(x);
}

void xe_run_answered(struct xe *x, enum xe_answer answer, const char *data, size_t len)
{
	struct xe_effect *effect = x->awaited;

	if (!effect || !x->asks)
		return; /* nothing was asked */
	effect->answer = answer;
	if (effect->kind == XE_DID_TRANSFER) {
		xe_transfer_answered(x, effect);
		return;
	}
	if (len)
		xn_buf_add(&effect->bytes, data, len);
	xe_effect_done(x, effect);
}

void xe_run_gone(struct xe *x)
{
	if (x->state == XE_ENDED)
		return;
	if (x->asks && x->awaited->kind == XE_DID_TRANSFER) {
		x->awaited->answer = XE_ANSWER_FAILED;
		xe_transfer_answered(x, x->awaited);
	} else if (x->asks) {
		xe_done(x);
		x->awaited = NULL;
		xe_run_later(x);
	} else if (x->wants_room) {
		xe_run_later(x);
	}
}

/* ---- texts of a run ---- */

const char *xe_text(struct xe *x, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = xn_vasprintf(fmt, ap);
	va_end(ap);
	if ((x->n_texts & (x->n_texts - 1)) == 0)
		x->texts = xn_realloc(x->texts,
				      sizeof(*x->texts) * (x->n_texts ? x->n_texts * 2 : 1));
	return x->texts[x->n_texts++] = text;
}

struct xn_value *xe_keep_value(struct xe *x, struct xn_value *value)
{
	if ((x->n_values & (x->n_values - 1)) == 0)
		x->values = xn_realloc(x->values,
				       sizeof(*x->values) * (x->n_values ? x->n_values * 2 : 1));
	return x->values[x->n_values++] = value;
}

/* ---- ends ---- */

void xe_done(struct xe *x)
{
	x->stopped = true;
}

void xe_exit(struct xe *x, int code)
{
	x->line->code = code;
	x->stopped = true;
}

void xe_fail(struct xe *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	free(x->sentence);
	x->sentence = xn_vasprintf(fmt, ap);
	va_end(ap);
	x->failed = true;
}

void xe_fail_api(struct xe *x, struct xn_error *err)
{
	xn_error_move(&x->error, err);
	x->failed = true;
}

void xe_fail_code(struct xe *x, const char *code, const char *param)
{
	struct xn_error err = {.code = NULL};

	err.code = err.own_code = xn_strdup(code);
	if (param)
		xn_error_add_param(&err, param);
	xe_fail_api(x, &err);
}

void xe_hint(struct xe *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	free(x->line->hint);
	x->line->hint = xn_vasprintf(fmt, ap);
	va_end(ap);
}

/* ---- whose run it is ---- */

const char *xe_object(const struct xe *x)
{
	return x->object;
}

bool xe_is_minimal(const struct xe *x)
{
	return x->line->minimal;
}

bool xe_is_json(const struct xe *x)
{
	return x->line->json;
}

const struct xe_kind *xe_kind(const struct xe *x)
{
	return x->line->kind;
}

const char *xe_command_name(const struct xe *x)
{
	return x->line->name;
}

const struct xe_arguments *xe_arguments(struct xe *x)
{
	return &x->line->arguments;
}

struct xn_db *xe_db(struct xe *x)
{
	return x->line->engine->rpc->db;
}

struct xn_core *xe_core(struct xe *x)
{
	return x->line->engine->core;
}

const struct xn_caller *xe_caller(struct xe *x)
{
	return &x->line->caller;
}

const char *xe_session(struct xe *x)
{
	return x->line->session;
}

struct xe_screen xe_screen(const struct xe *x)
{
	return x->line->screen;
}
