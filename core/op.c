/*
 * The step engine; see op.h. One operation moves by two events: its `advance` job begins the next
 * step or undo; xn_op_done() (or the deadline, or a cancel) ends it and decides what comes next.
 */
#include "core/op_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void advance(struct xn_job *job);

/* ---- life ---- */

void xn_engine_init(struct xn_core *core)
{
	core->engine = xn_calloc(1, sizeof(*core->engine));
	xn_list_init(&core->engine->made);
	xn_list_init(&core->engine->live);
	xn_list_init(&core->engine->groups);
	xn_op_metrics_init_(core);
}

static void leave_engine(struct xn_op *op)
{
	xn_timer_cancel(&op->deadline);
	xn_job_cancel(&op->advance);
	xn_list_remove(&op->link);
	xn_hmap_remove(&op->core->engine->by_id, &op->node);
}

void xn_engine_drop(struct xn_core *core)
{
	struct xn_engine *engine = core->engine;

	while (engine && !xn_list_empty(&engine->live)) {
		struct xn_op *op = xn_list_entry(engine->live.next, struct xn_op, link);

		leave_engine(op);
		xn_op_counts_(op)->running--;
		xn_op_free(op);
	}
	while (engine && !xn_list_empty(&engine->made))
		xn_op_free(xn_list_entry(engine->made.next, struct xn_op, link));
}

void xn_engine_free(struct xn_core *core)
{
	struct xn_engine *engine = core->engine;

	if (!engine)
		return;
	xn_engine_drop(core);
	xn_groups_free_(engine);
	xn_op_metrics_clear_(engine);
	xn_hmap_clear(&engine->by_id);
	free(engine);
	core->engine = NULL;
}

void xn_op_init(struct xn_op *op, const struct xn_op_kind *kind, struct xn_core *core,
		const struct xn_value *args)
{
	op->kind = kind;
	op->core = core;
	op->args = args ? xn_value_ref(args) : xn_map_new();
	xn_ref_new(core->loop, op->id);
	op->undone_step = -1;
	xn_list_push(&core->engine->made, &op->link);
}

void xn_op_free(struct xn_op *op)
{
	if (!op)
		return;
	xn_list_remove(&op->link);
	xn_value_unref(op->args);
	op->args = NULL;
	xn_error_clear(&op->error);
	op->kind->free(op);
}

/* ---- small things ---- */

static const struct xn_step *step_of(const struct xn_op *op)
{
	return &op->kind->steps[op->step];
}

const char *xn_op_step_name(const struct xn_op *op)
{
	return op->step >= 0 && step_of(op)->name ? step_of(op)->name : "";
}

static bool is_past_last_step(const struct xn_op *op)
{
	return !step_of(op)->name;
}

static void log_op(const struct xn_op *op, enum xn_log_level level, const char *text,
		   const char *more)
{
	if (xn_log_wants(op->core->log, level))
		xn_log_write(op->core->log, level, "op", op->task, NULL, "%s %s, step \"%s\": %s%s",
			     op->kind->name, op->id, step_of(op)->name, text, more);
}

static struct xn_op *find_by_id(struct xn_core *core, const char *id)
{
	struct xn_hnode *node = xn_hmap_first_same(&core->engine->by_id, xn_hash_string(id));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_op *op = xn_container_of(node, struct xn_op, node);

		if (strcmp(op->id, id) == 0)
			return op;
	}
	return NULL;
}

static double fraction_done(const struct xn_op *op)
{
	double before = 0, total = 0;
	int i = 0;

	for (const struct xn_step *step = op->kind->steps; step->name; step++, i++) {
		double weight = step->weight ? step->weight : 1;

		total += weight;
		if (i < op->step)
			before += weight;
		else if (i == op->step)
			before += weight * op->step_progress;
	}
	return total > 0 ? before / total : 1;
}

static void tell_progress(struct xn_op *op)
{
	const struct xn_op_store *store = op->core->op_store;

	if (store && store->progress && !(op->finished && op->undoing))
		store->progress(op->core, op, fraction_done(op));
}

/* ---- the journal ---- */

struct xn_op_saving xn_op_saving(const struct xn_op *op)
{
	struct xn_op_saving saving = {.number = op->saves};

	memcpy(saving.id, op->id, sizeof(saving.id));
	return saving;
}

static void save(struct xn_op *op)
{
	op->saves++;
	op->core->op_store->save(op->core, op);
}

void xn_op_save(struct xn_op *op, void (*saved)(struct xn_op *op))
{
	assert(op->running);
	if (!op->core->op_store) {
		saved(op);
		return;
	}
	op->saved = saved;
	save(op);
}

void xn_op_save_all(struct xn_core *core)
{
	xn_list_each(node, &core->engine->live) {
		struct xn_op *op = xn_list_entry(node, struct xn_op, link);

		/* One that it never had was refused for good, and is about to hear of it. */
		if (!op->finished && op->journaled)
			save(op);
	}
}

/* ---- ending ---- */

/* Before its steps, its end and late completions: changes are told as its own. */
static void act(struct xn_op *op)
{
	const struct xn_op_store *store = op->core->op_store;

	xn_loop_set_own_caller(op->core->loop, op->caller);
	if (store && store->acts)
		store->acts(op->core, op);
}

static void end(struct xn_op *op)
{
	const struct xn_op_store *store = op->core->op_store;

	leave_engine(op);
	xn_op_count_end_(op);
	if (store && store->remove)
		store->remove(op->core, op);
	if (op->on_end)
		op->on_end(op, op->error.code ? &op->error : NULL, op->on_end_arg);
	xn_op_free(op);
}

/* ---- moving ---- */

static void begin_step(struct xn_op *op)
{
	op->awaits_journal = false;
	xn_timer_cancel(&op->deadline);
	xn_loop_defer_as(op->core->loop, &op->advance, XN_PRIO_OPERATION, advance, op->caller);
}

static bool is_over(const struct xn_op *op)
{
	return op->undoing ? op->step < 0 : is_past_last_step(op);
}

static void finish(struct xn_op *op)
{
	op->awaits_journal = false;
	op->finished = true;
	xn_timer_cancel(&op->deadline);
	xn_loop_defer_as(op->core->loop, &op->advance, XN_PRIO_REPLY, advance, op->caller);
}

static void move(struct xn_op *op)
{
	if (is_over(op))
		finish(op);
	else
		begin_step(op);
}

/* The position in @op is new: before a step does anything, the journal knows that it may have, and
 * before the end is told, that what the last one did was kept. */
static void go_on(struct xn_op *op)
{
	op->running = false;
	op->saved = NULL;
	op->awaits_journal = false;
	op->gate = NULL;
	op->in_line = 0;
	op->step_progress = 0;
	op->waiting_for[0] = '\0';
	if (op->undoing)
		while (op->step >= 0 && !step_of(op)->undo)
			op->step--;
	if (op->core->op_store && (op->journaled || !is_over(op))) {
		op->awaits_journal = true;
		save(op);
	} else {
		move(op);
	}
}

/* Takes what @err holds. */
static void begin_undo(struct xn_op *op, struct xn_error *err)
{
	xn_error_move(&op->error, err);
	xn_job_cancel(&op->advance);
	xn_timer_cancel(&op->deadline);
	op->undoing = true;
	op->undone_step = -1;
	if (!op->begun)
		op->step--;
	go_on(op);
}

static void begin_undo_for_cancel(struct xn_op *op)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_TASK_CANCELLED, op->task);
	begin_undo(op, &err);
}

/* @err: empty on success; what it holds is taken. */
static void end_step(struct xn_op *op, struct xn_error *err)
{
	op->running = false;
	xn_timer_cancel(&op->deadline);
	if (op->fails_after && !err->code)
		xn_error_from_errno(err, -EIO, "a test broke it");
	op->fails_after = false;
	if (op->undoing) {
		if (err->code)
			log_op(op, XN_LOG_ERROR, "undo failed: ",
			       err->n_params ? err->params[0] : err->code);
		op->undone_again = err->code && !op->undone_again;
		op->undone_step = op->step;
		if (!op->undone_again)
			op->step--;
		xn_error_clear(err);
		go_on(op);
		return;
	}
	if (err->code) {
		log_op(op, XN_LOG_INFO, "failed: ", err->n_params ? err->params[0] : err->code);
		begin_undo(op, err);
		return;
	}
	op->step++;
	if (op->cancelled && !is_past_last_step(op)) {
		op->begun = false;
		begin_undo_for_cancel(op);
		return;
	}
	op->begun = false;
	go_on(op);
	tell_progress(op);
}

static void arm_deadline(struct xn_op *op);

static void on_deadline(struct xn_timer *timer)
{
	struct xn_op *op = xn_container_of(timer, struct xn_op, deadline);
	const struct xn_step *step = step_of(op);
	struct xn_error err = {0};

	if (op->awaits_journal && op->undoing) {
		begin_step(op);
		return;
	}
	if (op->gate && xn_gate_moves(op->gate) != op->gate_moves) {
		arm_deadline(op);
		return;
	}
	xn_op_counts_(op)->deadlines++;
	xn_error_setf(&err, XN_ERR_INTERNAL_ERROR,
		      "%s, step \"%s\"%s: no end and no progress in %u ms%s%s", op->kind->name,
		      step->name, op->undoing ? " (undo)" : "", step->timeout_ms,
		      op->waiting_for[0] ? ", waiting for " : "", op->waiting_for);
	end_step(op, &err);
}

static void arm_deadline(struct xn_op *op)
{
	op->gate_moves = op->gate ? xn_gate_moves(op->gate) : 0;
	xn_timer_arm(op->core->loop, &op->deadline, step_of(op)->timeout_ms * INT64_C(1000),
		     on_deadline);
}

/* ---- what the journal answers ---- */

/* The rows that the step has changed are as before it. What was done is undone; what was undone is
 * undone again, once the disk accepts it. */
static void on_lost(struct xn_op *op, int rc)
{
	struct xn_error err = {0};

	xn_error_not_stored(&err, rc);
	if (op->saved) {
		op->saved = NULL;
		end_step(op, &err);
	} else if (!op->undoing) {
		begin_undo(op, &err);
	} else {
		xn_error_clear(&err);
		if (op->undone_step >= 0)
			op->step = op->undone_step;
	}
}

static void on_refused(struct xn_op *op, int rc)
{
	struct xn_error err = {0};

	if (op->awaits_journal && !op->journaled) {
		xn_error_from_errno(&err, rc, "the database could not note the operation");
		begin_undo(op, &err);
	} else if (is_over(op)) {
		finish(op);
	} else {
		xn_op_waiting(op, "the disk to accept changes");
		if (!xn_timer_is_armed(&op->deadline))
			arm_deadline(op);
	}
}

static void on_accepted(struct xn_op *op)
{
	void (*saved)(struct xn_op *op) = op->saved;

	op->journaled = true;
	op->undone_step = -1;
	op->saved = NULL;
	if (saved)
		saved(op);
	else
		move(op);
}

void xn_op_saved(struct xn_core *core, const struct xn_op_saving *saving, int rc, bool lost)
{
	struct xn_op *op = find_by_id(core, saving->id);

	if (!op || op->saves != saving->number || !(op->saved || op->awaits_journal))
		return;
	if (rc < 0 && lost && op->journaled) {
		bool undid = op->undoing && op->awaits_journal;

		on_lost(op, rc);
		if (undid)
			on_refused(op, rc);
	} else if (rc < 0) {
		on_refused(op, rc);
	} else {
		on_accepted(op);
	}
}

enum xn_op_fault xn_op_fault_of(const struct xn_op *op, int member)
{
	const struct xn_core *core = op->core;

	return core->op_fault ? core->op_fault(op, member, core->op_fault_arg) : XN_FAULT_NONE;
}

static void run_step(struct xn_op *op, const struct xn_step *step)
{
	enum xn_op_fault fault = xn_op_fault_of(op, -1);
	struct xn_op_token at = xn_op_token(op);

	if (fault == XN_FAULT_FAIL) {
		xn_op_done(op, -EIO);
		return;
	}
	if (fault == XN_FAULT_HANG)
		return;
	op->fails_after = fault == XN_FAULT_FAIL_AFTER;
	if (op->undoing)
		step->undo(op);
	else
		step->run(op);
	/* An operation is freed from the loop only, so it is still there. */
	if (fault == XN_FAULT_CANCEL)
		xn_op_cancel(op);
	else if (fault == XN_FAULT_LATE && xn_op_find(op->core, &at))
		xn_timer_arm(op->core->loop, &op->deadline, 0, on_deadline);
}

static void advance(struct xn_job *job)
{
	struct xn_op *op = xn_container_of(job, struct xn_op, advance);
	const struct xn_step *step;

	act(op);
	if (op->finished) {
		end(op);
		return;
	}
	step = step_of(op);
	xn_loop_name_callback(op->core->loop, step->name);
	log_op(op, XN_LOG_DEBUG, op->undoing ? "undo" : "run", "");
	op->running = op->begun = true;
	op->attempt++;
	op->step_started_us = op->waiting_since_us = xn_now_us(op->core->loop);
	arm_deadline(op);
	if (op->undoing || op->step == 0)
		tell_progress(op);
	run_step(op, step);
}

static void join_engine(struct xn_op *op, const char *task,
			void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg),
			void *arg)
{
	struct xn_engine *engine = op->core->engine;

	for (const struct xn_step *step = op->kind->steps; step->name; step++)
		assert(step->timeout_ms > 0 && step->run);
	snprintf(op->task, sizeof(op->task), "%s", task ? task : "");
	op->caller = xn_loop_caller(op->core->loop);
	op->on_end = on_end;
	op->on_end_arg = arg;
	op->started_us = xn_now_us(op->core->loop);
	xn_op_counts_(op)->running++;
	xn_list_remove(&op->link);
	xn_list_push(&engine->live, &op->link);
	xn_hmap_insert(&engine->by_id, &op->node, xn_hash_string(op->id));
}

void xn_op_start(struct xn_op *op, const char *task,
		 void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg), void *arg)
{
	join_engine(op, task, on_end, arg);
	go_on(op);
}

static int count_steps(const struct xn_op_kind *kind)
{
	int n = 0;

	while (kind->steps[n].name)
		n++;
	return n;
}

void xn_op_restart(struct xn_op *op, const char *id, const char *task, int step, bool undoing,
		   void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg),
		   void *arg)
{
	int n = count_steps(op->kind);

	op->journaled = true;
	snprintf(op->id, sizeof(op->id), "%s", id);
	join_engine(op, task, on_end, arg);
	xn_op_counts_(op)->restarted++;
	/* The journal may be another release's: a step that this table lacks is past the end. */
	op->step = step < n ? step : n;
	op->begun = op->step < n;
	op->undoing = undoing ||
		      (op->step < n && (op->kind->on_restart == XN_RESTART_UNDO ||
					step_of(op)->flags & XN_STEP_UNDO_ON_RESTART));
	if (op->undoing) {
		if (!op->begun)
			op->step--;
		if (!op->error.code)
			xn_error_setf(&op->error, XN_ERR_INTERNAL_ERROR,
				      "%s was interrupted by a restart of the server",
				      op->kind->name);
	} else if (op->step < n && step_of(op)->flags & XN_STEP_SKIP_ON_RESUME) {
		op->step++;
		op->begun = false;
	}
	go_on(op);
}

/* ---- what steps call ---- */

void xn_op_fail(struct xn_op *op, struct xn_error *err)
{
	struct xn_error own = {0};

	assert(op->running);
	xn_error_move(&own, err); /* @err may hang off something that the next step frees */
	end_step(op, &own);
}

void xn_op_done(struct xn_op *op, int rc)
{
	struct xn_error err = {0};

	assert(op->running);
	if (rc < 0)
		xn_error_setf(&err, XN_ERR_INTERNAL_ERROR, "%s, step \"%s\": %s", op->kind->name,
			      step_of(op)->name, strerror(-rc));
	end_step(op, &err);
}

struct xn_op_token xn_op_token(const struct xn_op *op)
{
	struct xn_op_token token = {
		.step = op->step, .undoing = op->undoing, .attempt = op->attempt};

	memcpy(token.id, op->id, sizeof(token.id));
	return token;
}

struct xn_op *xn_op_find(struct xn_core *core, const struct xn_op_token *token)
{
	struct xn_op *op = find_by_id(core, token->id);

	if (!op || !op->running || op->step != token->step || op->undoing != token->undoing ||
	    op->attempt != token->attempt)
		return NULL;
	act(op);
	return op;
}

void xn_op_done_late(struct xn_core *core, const struct xn_op_token *token, int rc)
{
	struct xn_op *op = xn_op_find(core, token);

	if (op)
		xn_op_done(op, rc);
}

void xn_op_fail_late(struct xn_core *core, const struct xn_op_token *token, struct xn_error *err)
{
	struct xn_op *op = xn_op_find(core, token);

	if (op)
		xn_op_fail(op, err);
	else
		xn_error_clear(err);
}

void xn_op_progress(struct xn_op *op, double fraction_of_step)
{
	if (!op->running)
		return;
	op->step_progress = fraction_of_step < 0 ? 0 : fraction_of_step > 1 ? 1 : fraction_of_step;
	arm_deadline(op);
	tell_progress(op);
}

void xn_op_waiting(struct xn_op *op, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(op->waiting_for, sizeof(op->waiting_for), fmt, ap);
	va_end(ap);
	op->waiting_since_us = xn_now_us(op->core->loop);
	tell_progress(op);
}

void xn_op_waits_turn(struct xn_op *op, const struct xn_gate *gate, const char *what)
{
	op->in_line++;
	if (op->gate)
		return;
	op->gate = gate;
	arm_deadline(op);
	xn_op_waiting(op, "a turn: the host %s %u at a time", what, xn_gate_limit(gate));
}

void xn_op_has_turn(struct xn_op *op)
{
	if (!op->gate || --op->in_line > 0)
		return;
	op->gate = NULL;
	arm_deadline(op);
	xn_op_waiting(op, "%s", "");
}

void xn_op_cancel(struct xn_op *op)
{
	if (op->undoing || is_over(op) || op->cancelled)
		return;
	op->cancelled = true;
	if (op->running && step_of(op)->flags & XN_STEP_NO_CANCEL)
		return;
	begin_undo_for_cancel(op);
}

void xn_op_set_arg(struct xn_op *op, const char *key, struct xn_value *taken)
{
	xn_map_put(&op->args, key, taken);
}

void xn_op_each(struct xn_core *core, void (*visit)(const struct xn_op *op, void *arg), void *arg)
{
	xn_list_each(node, &core->engine->live)
		visit(xn_list_entry(node, struct xn_op, link), arg);
}
