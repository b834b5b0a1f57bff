/*
 * The step engine on the virtual loop. Besides single behaviours, one generated test takes a sample
 * table through every fault at every step: failed at once, failed later, late beyond the deadline,
 * cancelled, stopped and restarted; the world ends as it began or the work is whole.
 */
#include "core/op.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/module.h"

enum { N_STEPS = 5, TIMEOUT_MS = 1000, STEP_US = 1000 };

/* How a step (or its undo) behaves; indexed by step. */
enum fault {
	FINE, FINE_AT_ONCE, FAIL_AT_ONCE, FAIL_LATER,
	TOO_LATE, NEVER, CANCELLED_MEANWHILE, CANCELLED_AFTER,
};

struct fixture {
	struct xn_core core;
	struct xn_buf trace;
	enum fault run_faults[N_STEPS], undo_faults[N_STEPS];
	bool world[N_STEPS]; /* what each step made */
	unsigned ended;
	char error[400]; /* "" success, else "CODE param param" */
	double progress;
	unsigned saves, removes;
	int journal_step; /* of the last save */
	bool journal_undoing, journaled;
	bool journal_refuses, journal_loses;
	struct xn_value *journal_args;
	char journal_id[48];
	struct xn_op *op; /* the last made */
	unsigned frees;
};

struct sample {
	struct xn_op op;
	struct fixture *f;
};

/* A completion on its way: like a worker's or a back end's, it may come when nobody waits. */
struct late {
	struct xn_timer timer;
	struct fixture *f;
	struct xn_op_token token;
	int rc, step;
	bool makes, undoes;
};

static void note(struct fixture *f, const char *what, int step)
{
	xn_buf_printf(&f->trace, "%s%d ", what, step);
}

static void on_late(struct xn_timer *timer)
{
	struct late *late = xn_container_of(timer, struct late, timer);

	if (xn_op_find(&late->f->core, &late->token)) {
		if (late->makes)
			late->f->world[late->step] = true;
		if (late->undoes)
			late->f->world[late->step] = false;
	}
	xn_op_done_late(&late->f->core, &late->token, late->rc);
	free(late);
}

static void finish_later(struct sample *s, int64_t delay_us, int rc)
{
	struct late *late = calloc(1, sizeof(*late));

	late->f = s->f;
	late->token = xn_op_token(&s->op);
	late->rc = rc;
	late->step = s->op.step;
	late->makes = !s->op.undoing && rc == 0;
	late->undoes = s->op.undoing && rc == 0;
	xn_timer_arm(s->f->core.loop, &late->timer, delay_us, on_late);
}

static void behave(struct xn_op *op, enum fault fault)
{
	struct sample *s = xn_container_of(op, struct sample, op);
	struct xn_error err = {0};

	switch (fault) {
	case FINE:
		finish_later(s, STEP_US, 0);
		break;
	case FINE_AT_ONCE:
		s->f->world[op->step] = !op->undoing;
		xn_op_done(op, 0);
		break;
	case FAIL_AT_ONCE:
		xn_error_set(&err, XN_ERR_VM_BAD_POWER_STATE, "a", "b");
		xn_op_fail(op, &err);
		break;
	case FAIL_LATER:
		finish_later(s, STEP_US, -EIO);
		break;
	case TOO_LATE:
		finish_later(s, TIMEOUT_MS * 1500, 0);
		break;
	case CANCELLED_MEANWHILE:
		finish_later(s, STEP_US, 0);
		xn_op_cancel(op);
		break;
	case CANCELLED_AFTER:
		s->f->world[op->step] = true;
		xn_op_done(op, 0);
		xn_op_cancel(op);
		break;
	case NEVER:
		break;
	}
}

static void run_sample(struct xn_op *op)
{
	struct sample *s = xn_container_of(op, struct sample, op);

	note(s->f, "run", op->step);
	/* What the journal holds is never behind what is done. */
	if (s->f->core.op_store) {
		assert_int_equal(s->f->journal_step, op->step);
		assert_false(s->f->journal_undoing);
	}
	behave(op, s->f->run_faults[op->step]);
}

static void undo_sample(struct xn_op *op)
{
	struct sample *s = xn_container_of(op, struct sample, op);

	note(s->f, "undo", op->step);
	if (s->f->core.op_store && !s->f->journal_refuses) {
		assert_int_equal(s->f->journal_step, op->step);
		assert_true(s->f->journal_undoing);
	}
	behave(op, s->f->undo_faults[op->step]);
}

static struct fixture *the_fixture; /* make() gets no argument but the core */

static struct xn_op *make_sample(struct xn_core *core, const struct xn_value *args);
static void free_sample(struct xn_op *op);

static const struct xn_step sample_steps[] = {
	{"zero", run_sample, undo_sample, TIMEOUT_MS},
	{"one", run_sample, undo_sample, TIMEOUT_MS, .weight = 3},
	{"two", run_sample, NULL, TIMEOUT_MS},
	{"three", run_sample, undo_sample, TIMEOUT_MS, .flags = XN_STEP_NO_CANCEL},
	{"four", run_sample, undo_sample, TIMEOUT_MS},
	{NULL},
};
static const struct xn_op_kind undo_kind = {
	"sample", 1, sample_steps, XN_RESTART_UNDO, make_sample, free_sample,
};
static const struct xn_op_kind resume_kind = {
	"sample", 1, sample_steps, XN_RESTART_RESUME, make_sample, free_sample,
};

static struct xn_op *make_kind(struct xn_core *core, const struct xn_op_kind *kind,
			       const struct xn_value *args)
{
	struct sample *s = calloc(1, sizeof(*s));

	s->f = the_fixture;
	s->f->op = &s->op;
	xn_op_init(&s->op, kind, core, args);
	return &s->op;
}

static struct xn_op *make_sample(struct xn_core *core, const struct xn_value *args)
{
	return make_kind(core, &undo_kind, args);
}

static void free_sample(struct xn_op *op)
{
	struct sample *s = xn_container_of(op, struct sample, op);

	s->f->frees++;
	s->f->op = NULL;
	free(s);
}

/* ---- the journal ---- */

/* The journal's answer on its way. */
struct answer {
	struct xn_timer timer;
	struct fixture *f;
	struct xn_op_saving saving;
	int rc;
};

static void on_answer(struct xn_timer *timer)
{
	struct answer *answer = xn_container_of(timer, struct answer, timer);

	xn_op_saved(&answer->f->core, &answer->saving, answer->rc,
		    answer->rc < 0 && answer->f->journal_loses);
	free(answer);
}

static void store_save(struct xn_core *core, const struct xn_op *op)
{
	struct fixture *f = xn_container_of(core, struct fixture, core);
	struct answer *answer = calloc(1, sizeof(*answer));

	answer->f = f;
	answer->saving = xn_op_saving(op);
	answer->rc = f->journal_refuses ? -ENOSPC : 0;
	xn_timer_arm(core->loop, &answer->timer, 0, on_answer);
	f->saves++;
	if (f->journal_refuses)
		return;
	f->journaled = true;
	f->journal_step = op->step;
	f->journal_undoing = op->undoing;
	xn_value_unref(f->journal_args);
	f->journal_args = xn_value_ref(op->args);
	memcpy(f->journal_id, op->id, sizeof(f->journal_id));
}

static void store_remove(struct xn_core *core, const struct xn_op *op)
{
	struct fixture *f = xn_container_of(core, struct fixture, core);

	f->removes++;
	f->journaled = false;
}

static void store_progress(struct xn_core *core, const struct xn_op *op, double fraction)
{
	struct fixture *f = xn_container_of(core, struct fixture, core);

	if (op->undoing)
		return;
	assert_true(fraction >= f->progress);
	f->progress = fraction;
}

static const struct xn_op_store store = {store_save, store_remove, store_progress};

/* ---- fixture ---- */

static struct fixture *new_fixture(uint64_t seed)
{
	struct fixture *f = calloc(1, sizeof(*f));

	xn_core_init(&f->core, xn_loop_new_virtual(seed), NULL, NULL);
	f->core.op_store = &store;
	the_fixture = f;
	return f;
}

static void free_fixture(struct fixture *f)
{
	struct xn_loop *loop = f->core.loop;

	xn_engine_free(&f->core);
	xn_engine_init(&f->core);
	xn_loop_run(loop); /* late completions free themselves */
	xn_core_clear(&f->core);
	xn_loop_free(loop);
	xn_value_unref(f->journal_args);
	xn_buf_clear(&f->trace);
	free(f);
}

static int set_up(void **state)
{
	*state = new_fixture(1);
	return 0;
}

static int tear_down(void **state)
{
	free_fixture(*state);
	return 0;
}

static void on_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct fixture *f = arg;

	f->ended++;
	f->error[0] = '\0';
	if (!err)
		return;
	strcat(f->error, err->code);
	for (unsigned i = 0; i < err->n_params; i++) {
		strcat(f->error, " ");
		strcat(f->error, err->params[i]);
	}
}

static struct xn_op *start(struct fixture *f)
{
	struct xn_op *op = make_sample(&f->core, NULL);

	xn_op_start(op, "OpaqueRef:task", on_end, f);
	return op;
}

static void run_to_end(struct fixture *f)
{
	xn_loop_run(f->core.loop);
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->frees, 1);
	assert_false(f->journaled);
}

static void assert_trace(struct fixture *f, const char *expected)
{
	assert_string_equal(xn_buf_cstr(&f->trace), expected);
}

static unsigned things_in(const struct fixture *f)
{
	unsigned n = 0;

	for (int i = 0; i < N_STEPS; i++)
		n += f->world[i];
	return n;
}

/* ---- single behaviours ---- */

static void steps_run_in_order_and_success_is_told_once(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(f->ended, 0); /* never inside start */
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 run4 ");
	assert_string_equal(f->error, "");
	assert_int_equal(f->saves, N_STEPS + 1);
	assert_true(f->progress > 0.999);
}

static void a_failure_undoes_backwards_from_the_step_that_failed(void **state)
{
	struct fixture *f = *state;

	f->run_faults[3] = FAIL_AT_ONCE;
	start(f);
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 undo3 undo1 undo0 ");
	assert_string_equal(f->error, "VM_BAD_POWER_STATE a b");
}

static void an_errno_becomes_an_internal_error_that_names_the_step(void **state)
{
	struct fixture *f = *state;

	f->run_faults[1] = FAIL_LATER;
	start(f);
	run_to_end(f);
	assert_string_equal(f->error, "INTERNAL_ERROR sample, step \"one\": Input/output error");
}

static void a_step_past_its_deadline_is_undone_and_its_late_end_ignored(void **state)
{
	struct fixture *f = *state;
	struct xn_op *op;

	f->run_faults[1] = TOO_LATE;
	f->undo_faults[1] = NEVER;
	op = start(f);
	xn_loop_turn(f->core.loop, 0);
	xn_loop_turn(f->core.loop, 0);
	assert_ptr_equal(op, f->op);
	run_to_end(f);
	/* The run's completion comes while its own undo waits: it must not end the undo. */
	assert_trace(f, "run0 run1 undo1 undo1 undo0 ");
	assert_non_null(strstr(f->error, "step \"one\": no end and no progress in 1000 ms"));
	assert_true(f->world[1] == false);
}

static void on_progress(struct xn_timer *timer)
{
	struct late *late = xn_container_of(timer, struct late, timer);
	struct xn_op *op = xn_op_find(&late->f->core, &late->token);

	if (op && late->rc < 5) {
		late->rc++;
		xn_op_progress(op, late->rc / 5.0);
		xn_timer_arm(late->f->core.loop, timer, TIMEOUT_MS * 900, on_progress);
		return;
	}
	xn_op_done_late(&late->f->core, &late->token, 0);
	free(late);
}

static void progress_restarts_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct late *late = calloc(1, sizeof(*late));

	f->run_faults[1] = NEVER;
	start(f);
	while (!f->op->running || f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	late->f = f;
	late->token = xn_op_token(f->op);
	xn_timer_arm(f->core.loop, &late->timer, TIMEOUT_MS * 900, on_progress);
	run_to_end(f);
	assert_string_equal(f->error, "");
	assert_trace(f, "run0 run1 run2 run3 run4 ");
}

static void progress_counts_weights_and_the_share_of_the_step(void **state)
{
	struct fixture *f = *state;

	f->run_faults[1] = NEVER;
	start(f);
	while (!f->op->running || f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	assert_true(f->progress > 0.142 && f->progress < 0.143); /* 1 of 1+3+1+1+1 */
	xn_op_progress(f->op, 0.5);
	assert_true(f->progress > 0.357 && f->progress < 0.358); /* 2.5 of 7 */
	xn_op_progress(f->op, 7); /* nonsense is bounded */
	assert_true(f->progress > 0.571 && f->progress < 0.572);
}

static void what_it_waits_for_is_told_until_the_step_ends(void **state)
{
	struct fixture *f = *state;

	f->run_faults[1] = TOO_LATE;
	start(f);
	while (!f->op->running || f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	xn_op_waiting(f->op, "guest %d to answer", 7);
	assert_string_equal(f->op->waiting_for, "guest 7 to answer");
	run_to_end(f);
	assert_non_null(strstr(f->error, "waiting for guest 7 to answer"));
}

static void a_failing_or_hanging_undo_is_tried_twice_and_does_not_stop_the_next_one(void **state)
{
	struct fixture *f = *state;

	f->run_faults[4] = FAIL_AT_ONCE;
	f->undo_faults[4] = FAIL_AT_ONCE;
	f->undo_faults[3] = NEVER;
	f->undo_faults[1] = TOO_LATE;
	start(f);
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 run4 undo4 undo4 undo3 undo3 undo1 undo1 undo0 ");
	assert_string_equal(f->error, "VM_BAD_POWER_STATE a b");
}

static void a_cancel_before_the_first_step_undoes_nothing(void **state)
{
	struct fixture *f = *state;

	xn_op_cancel(start(f));
	run_to_end(f);
	assert_trace(f, "");
	assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
}

static void a_cancel_between_steps_does_not_undo_the_one_that_has_not_begun(void **state)
{
	struct fixture *f = *state;

	f->run_faults[0] = f->run_faults[1] = FINE_AT_ONCE;
	start(f);
	while (f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	assert_false(f->op->running);
	xn_op_cancel(f->op);
	run_to_end(f);
	assert_trace(f, "run0 undo0 ");
}

static void a_cancel_waits_for_a_step_that_says_so(void **state)
{
	struct fixture *f = *state;

	f->run_faults[3] = CANCELLED_MEANWHILE;
	start(f);
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 undo3 undo1 undo0 ");
	assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
	assert_int_equal(things_in(f), 1); /* step two, which has no undo */
}

static void a_cancel_after_the_last_step_is_too_late(void **state)
{
	struct fixture *f = *state;

	f->run_faults[N_STEPS - 1] = CANCELLED_AFTER;
	start(f);
	run_to_end(f);
	assert_string_equal(f->error, "");
}

static void note_saved(struct xn_op *op)
{
	note(xn_container_of(op, struct sample, op)->f, "saved", op->step);
}

static void arguments_set_in_a_step_are_in_the_journal_at_the_next_boundary(void **state)
{
	struct fixture *f = *state;

	f->run_faults[1] = NEVER;
	start(f);
	while (!f->op->running)
		xn_loop_turn(f->core.loop, -1);
	xn_op_set_arg(f->op, "domid", xn_int(12));
	assert_null(xn_map_get(f->journal_args, "domid"));
	while (f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	assert_int_equal(xn_map_get_int(f->journal_args, "domid", 0), 12);
	xn_op_set_arg(f->op, "domid", xn_int(13));
	while (!f->op->running)
		xn_loop_turn(f->core.loop, -1);
	xn_op_save(f->op, note_saved);
	assert_int_equal(xn_map_get_int(f->journal_args, "domid", 0), 13);
	assert_trace(f, "run0 run1 ");
	xn_loop_turn(f->core.loop, -1);
	assert_trace(f, "run0 run1 saved1 ");
}

/* ---- a journal that refuses ---- */

static void an_operation_that_the_journal_never_had_does_not_begin(void **state)
{
	struct fixture *f = *state;

	f->journal_refuses = true;
	start(f);
	run_to_end(f);
	assert_trace(f, "");
	assert_non_null(strstr(f->error, "No space left"));
}

/* Up to the boundary before step 1, which the journal refuses. */
static void stop_before_step_one(struct fixture *f)
{
	start(f);
	while (f->trace.len == 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true;
	while (strcmp(f->op->waiting_for, "") == 0)
		xn_loop_turn(f->core.loop, -1);
	assert_string_equal(f->op->waiting_for, "the disk to accept changes");
	xn_loop_turn(f->core.loop, TIMEOUT_MS * 500);
	assert_trace(f, "run0 ");
	assert_int_equal(f->journal_step, 0);
}

static void a_step_waits_until_the_journal_has_its_entry(void **state)
{
	struct fixture *f = *state;

	stop_before_step_one(f);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 run4 ");
	assert_string_equal(f->error, "");
}

static void a_step_that_waits_for_the_disk_beyond_its_deadline_is_not_begun(void **state)
{
	struct fixture *f = *state;

	stop_before_step_one(f);
	run_to_end(f);
	assert_trace(f, "run0 undo0 ");
	assert_non_null(strstr(f->error, "waiting for the disk to accept changes"));
}

static void a_step_whose_rows_were_refused_with_its_end_is_undone(void **state)
{
	struct fixture *f = *state;

	f->journal_loses = true;
	start(f);
	while (f->op->step < 1)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true; /* the next answer */
	xn_op_save_all(&f->core);
	while (!f->op->undoing)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 undo0 ");
	assert_non_null(strstr(f->error, "the database could not store the change"));
}

static void the_last_step_too_is_over_when_its_rows_are_in_the_journal(void **state)
{
	struct fixture *f = *state;

	f->journal_loses = true;
	start(f);
	while (f->op->step < N_STEPS)
		xn_loop_turn(f->core.loop, -1);
	assert_int_equal(f->ended, 0);
	f->journal_refuses = true;
	xn_op_save_all(&f->core);
	while (!f->op->undoing)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 run1 run2 run3 run4 undo4 undo3 undo1 undo0 ");
	assert_string_not_equal(f->error, "");
}

static void an_undo_whose_rows_were_refused_is_made_again(void **state)
{
	struct fixture *f = *state;

	f->journal_loses = true;
	f->run_faults[1] = FAIL_AT_ONCE;
	start(f);
	while (!f->op || f->op->step >= 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true;
	xn_op_save_all(&f->core);
	while (strcmp(f->op->waiting_for, "") == 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 run1 undo1 undo0 undo0 ");
}

static void an_undo_that_is_refused_before_it_begins_begins_where_it_should(void **state)
{
	struct fixture *f = *state;

	f->journal_loses = true;
	f->run_faults[1] = FAIL_AT_ONCE;
	start(f);
	while (!f->op->undoing)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true;
	xn_op_save_all(&f->core);
	while (strcmp(f->op->waiting_for, "") == 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 run1 undo1 undo0 ");
}

static void an_undo_waits_for_the_disk_and_then_goes_on_without(void **state)
{
	struct fixture *f = *state;

	stop_before_step_one(f);
	xn_op_cancel(f->op);
	xn_loop_turn(f->core.loop, 0);
	assert_string_equal(f->op->waiting_for, "the disk to accept changes");
	assert_trace(f, "run0 ");
	run_to_end(f);
	assert_trace(f, "run0 undo0 ");
	assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
}

static void inside_a_step_a_save_that_was_refused_with_rows_fails_it(void **state)
{
	struct fixture *f = *state;

	f->journal_loses = true;
	f->run_faults[0] = NEVER;
	start(f);
	while (f->trace.len == 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true;
	xn_op_save(f->op, note_saved);
	while (!f->op->undoing)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	run_to_end(f);
	assert_trace(f, "run0 undo0 ");
}

static void inside_a_step_a_refused_save_waits_for_the_disk(void **state)
{
	struct fixture *f = *state;

	f->run_faults[0] = NEVER;
	start(f);
	while (f->trace.len == 0)
		xn_loop_turn(f->core.loop, -1);
	f->journal_refuses = true;
	xn_op_save(f->op, note_saved);
	xn_loop_turn(f->core.loop, TIMEOUT_MS * 500);
	assert_string_equal(f->op->waiting_for, "the disk to accept changes");
	f->journal_refuses = false;
	xn_op_save_all(&f->core);
	xn_loop_turn(f->core.loop, 0);
	assert_trace(f, "run0 saved0 ");
	xn_op_done(f->op, 0);
	run_to_end(f);
}

/* ---- restart ---- */

static void restart(struct fixture *f, const struct xn_op_kind *kind, int step, bool undoing)
{
	struct xn_op *op = make_kind(&f->core, kind, NULL);

	xn_op_restart(op, "OpaqueRef:old", "OpaqueRef:task", step, undoing, on_end, f);
	assert_string_equal(op->id, "OpaqueRef:old");
}

static void a_restart_undoes_from_the_step_it_was_in(void **state)
{
	struct fixture *f = *state;

	restart(f, &undo_kind, 3, false);
	run_to_end(f);
	assert_trace(f, "undo3 undo1 undo0 ");
	assert_string_equal(f->error,
			    "INTERNAL_ERROR sample was interrupted by a restart of the server");
}

static void a_restart_resumes_the_step_it_was_in(void **state)
{
	struct fixture *f = *state;

	restart(f, &resume_kind, 3, false);
	run_to_end(f);
	assert_trace(f, "run3 run4 ");
	assert_string_equal(f->error, "");
}

static void a_restart_of_an_undo_goes_on_undoing(void **state)
{
	struct fixture *f = *state;

	restart(f, &resume_kind, 1, true);
	run_to_end(f);
	assert_trace(f, "undo1 undo0 ");
}

static void a_restarted_undo_ends_with_the_journaled_error(void **state)
{
	struct fixture *f = *state;
	struct xn_op *op = make_sample(&f->core, NULL);

	xn_error_set(&op->error, XN_ERR_TASK_CANCELLED, "OpaqueRef:task");
	xn_op_restart(op, "OpaqueRef:old", "OpaqueRef:task", 1, true, on_end, f);
	run_to_end(f);
	assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
}

static void a_journaled_step_beyond_the_table_is_past_the_end(void **state)
{
	struct fixture *f = *state;

	restart(f, &resume_kind, 99, true);
	run_to_end(f);
	assert_trace(f, "undo4 undo3 undo1 undo0 ");
}

static void a_token_is_good_for_its_step_only(void **state)
{
	struct fixture *f = *state;
	struct xn_op_token token;

	f->run_faults[0] = FINE;
	f->run_faults[1] = NEVER;
	start(f);
	while (!f->op->running)
		xn_loop_turn(f->core.loop, -1);
	token = xn_op_token(f->op);
	assert_ptr_equal(xn_op_find(&f->core, &token), f->op);
	while (f->op->step < 1 || !f->op->running)
		xn_loop_turn(f->core.loop, -1);
	assert_null(xn_op_find(&f->core, &token));
	token = xn_op_token(f->op);
	run_to_end(f);
	assert_null(xn_op_find(&f->core, &token));
}

static void count_ops(const struct xn_op *op, void *arg)
{
	++*(unsigned *)arg;
}

static void dropping_the_engine_frees_what_is_live_without_undo(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	f->run_faults[1] = NEVER;
	start(f);
	start(f);
	xn_loop_turn(f->core.loop, 10 * STEP_US);
	xn_op_each(&f->core, count_ops, &n);
	assert_int_equal(n, 2);
	xn_engine_free(&f->core);
	assert_int_equal(f->frees, 2);
	assert_int_equal(f->ended, 0);
	xn_engine_init(&f->core);
}

/* ---- groups ---- */

struct fan {
	struct fixture *f;
	struct xn_group *group;
	unsigned n, width, live, most_live, begun;
	int failing; /* index, or -1 */
	bool at_once;
};

struct child {
	struct xn_timer timer;
	struct fan *fan;
	struct xn_group *group;
	unsigned index;
};

static struct fan *the_fan;

static void end_child(struct fan *fan, struct xn_group *group, unsigned index)
{
	struct xn_error err = {0};

	fan->live--;
	if ((int)index >= fan->failing && fan->failing >= 0)
		xn_error_setf(&err, XN_ERR_INTERNAL_ERROR, "child %u", index);
	xn_group_done(group, index, &err);
}

static void on_child(struct xn_timer *timer)
{
	struct child *child = xn_container_of(timer, struct child, timer);

	end_child(child->fan, child->group, child->index);
	free(child);
}

static void run_child(struct xn_group *group, unsigned index, void *arg)
{
	struct fan *fan = arg;
	struct child *child;

	assert_int_equal(index, fan->begun);
	fan->begun++;
	fan->live++;
	if (fan->live > fan->most_live)
		fan->most_live = fan->live;
	if (fan->at_once) {
		end_child(fan, group, index);
		return;
	}
	child = calloc(1, sizeof(*child));
	child->fan = fan;
	child->group = group;
	child->index = index;
	xn_timer_arm(fan->f->core.loop, &child->timer, 900000, on_child);
}

static void run_fan(struct xn_op *op)
{
	the_fan->group = xn_group_start(op, the_fan->n, the_fan->width, run_child, the_fan);
}

static const struct xn_step fan_steps[] = {{"fan", run_fan, NULL, TIMEOUT_MS}, {NULL}};

static struct xn_op *make_fan(struct xn_core *core, const struct xn_value *args);
static const struct xn_op_kind fan_kind = {
	"fan", 1, fan_steps, XN_RESTART_UNDO, make_fan, free_sample,
};

static struct xn_op *make_fan(struct xn_core *core, const struct xn_value *args)
{
	return make_kind(core, &fan_kind, args);
}

static struct xn_op *start_fan(struct fixture *f, struct fan *fan)
{
	struct xn_op *op = make_fan(&f->core, NULL);

	fan->f = f;
	the_fan = fan;
	xn_op_start(op, "OpaqueRef:task", on_end, f);
	return op;
}

static void a_group_slides_its_window_and_ends_the_step(void **state)
{
	struct fixture *f = *state;
	struct fan fan = {.n = 25, .width = 10, .failing = -1};
	int64_t began = xn_now_us(f->core.loop);

	start_fan(f, &fan);
	run_to_end(f); /* each child's end restarts the deadline of the step */
	assert_string_equal(f->error, "");
	assert_int_equal(fan.begun, 25);
	assert_int_equal(fan.most_live, 10);
	assert_int_equal(xn_now_us(f->core.loop) - began, 3 * 900000);
}

static void a_group_of_none_and_one_that_ends_inside_end_the_step(void **state)
{
	struct fixture *f = *state;
	struct fan none = {.n = 0, .width = 1, .failing = -1},
		   inside = {.n = 5000, .width = 3, .failing = -1, .at_once = true};

	start_fan(f, &none);
	run_to_end(f);
	f->ended = f->frees = 0;
	f->progress = 0;
	start_fan(f, &inside);
	run_to_end(f);
	assert_int_equal(inside.begun, 5000);
	assert_string_equal(f->error, "");
}

static void the_first_error_of_a_group_wins_and_nothing_begins_after_it(void **state)
{
	struct fixture *f = *state;
	struct fan fan = {.n = 25, .width = 4, .failing = 5};

	start_fan(f, &fan);
	run_to_end(f);
	assert_string_equal(f->error, "INTERNAL_ERROR child 5");
	assert_int_equal(fan.begun, 9); /* 0-3, then 4-7, of which 5 fails after 8 began */
	assert_int_equal(fan.live, 0);
}

static void a_cancelled_group_begins_no_more_and_outlives_the_operation(void **state)
{
	struct fixture *f = *state;
	struct fan fan = {.n = 25, .width = 4, .failing = -1};
	struct xn_op *op = start_fan(f, &fan);

	while (!fan.live)
		xn_loop_turn(f->core.loop, -1);
	xn_op_cancel(op);
	run_to_end(f);
	assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
	assert_int_equal(fan.begun, 4);
	assert_int_equal(fan.live, 0);
}

/* ---- every fault at every step ---- */

static void check_world(struct fixture *f, int step, enum fault fault)
{
	bool failed = f->error[0] != '\0';

	if (!failed) {
		assert_int_equal(things_in(f), N_STEPS);
		return;
	}
	for (int i = 0; i < N_STEPS; i++)
		if (sample_steps[i].undo && f->world[i])
			fail_msg("step %d, fault %d: what step %d made is left", step, fault, i);
}

static void one_fault(int step, enum fault fault, enum fault usual)
{
	struct fixture *f = new_fixture(step * 100 + fault);

	for (int i = 0; i < N_STEPS; i++)
		f->run_faults[i] = f->undo_faults[i] = usual;
	f->run_faults[step] = fault;
	start(f);
	run_to_end(f);
	if (fault == FINE || fault == FINE_AT_ONCE ||
	    (step == N_STEPS - 1 && fault == CANCELLED_AFTER))
		assert_string_equal(f->error, "");
	else if (fault == CANCELLED_MEANWHILE || fault == CANCELLED_AFTER)
		assert_string_equal(f->error, "TASK_CANCELLED OpaqueRef:task");
	else
		assert_string_not_equal(f->error, "");
	check_world(f, step, fault);
	free_fixture(f);
}

static void every_fault_at_every_step_leaves_the_world_whole(void **state)
{
	for (int step = 0; step < N_STEPS; step++) {
		for (int fault = FINE; fault <= CANCELLED_AFTER; fault++) {
			one_fault(step, fault, FINE);
			one_fault(step, fault, FINE_AT_ONCE);
		}
	}
}

/* Stops as SIGKILL does after @us of an operation whose step @step fails, then restarts from the
 * journal what is in it. The world stays as it was. */
static void one_crash(const struct xn_op_kind *kind, int step, int64_t us)
{
	struct fixture *f = new_fixture(step);
	struct xn_op *op;
	int64_t end;

	if (step < N_STEPS)
		f->run_faults[step] = FAIL_LATER;
	end = xn_now_us(f->core.loop) + us;
	op = make_kind(&f->core, kind, NULL);
	xn_op_start(op, "OpaqueRef:task", on_end, f);
	while (!f->ended && xn_now_us(f->core.loop) < end)
		xn_loop_turn(f->core.loop, end - xn_now_us(f->core.loop));
	if (!f->ended) {
		xn_engine_free(&f->core);
		xn_engine_init(&f->core);
		f->frees = 0;
		assert_true(f->journaled);
		op = make_kind(&f->core, kind, f->journal_args);
		f->progress = 0;
		xn_op_restart(op, f->journal_id, "OpaqueRef:task", f->journal_step,
			      f->journal_undoing, on_end, f);
	}
	run_to_end(f);
	check_world(f, step, (enum fault)us);
	free_fixture(f);
}

static void a_crash_at_any_moment_ends_undone_or_complete(void **state)
{
	for (int step = 0; step <= N_STEPS; step++) {
		for (int64_t us = 0; us <= (2 * N_STEPS + 2) * STEP_US; us += STEP_US / 2) {
			one_crash(&undo_kind, step, us);
			one_crash(&resume_kind, step, us);
		}
	}
}

static void an_hour_of_operations_takes_seconds(void **state)
{
	struct fixture *f = *state;
	int64_t hour = xn_now_us(f->core.loop) + 3600 * INT64_C(1000000);
	unsigned started = 0;

	while (xn_now_us(f->core.loop) < hour) { /* about 200,000 operations one after the other */
		f->progress = 0;
		f->ended = 0;
		start(f);
		started++;
		while (!f->ended)
			xn_loop_turn(f->core.loop, -1);
		xn_loop_turn(f->core.loop, 10000);
		f->trace.len = 0;
	}
	assert_int_equal(f->frees, started);
	assert_true(started > 100000);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(steps_run_in_order_and_success_is_told_once),
		TEST(a_failure_undoes_backwards_from_the_step_that_failed),
		TEST(an_errno_becomes_an_internal_error_that_names_the_step),
		TEST(a_step_past_its_deadline_is_undone_and_its_late_end_ignored),
		TEST(progress_restarts_the_deadline),
		TEST(progress_counts_weights_and_the_share_of_the_step),
		TEST(what_it_waits_for_is_told_until_the_step_ends),
		TEST(a_failing_or_hanging_undo_is_tried_twice_and_does_not_stop_the_next_one),
		TEST(a_cancel_before_the_first_step_undoes_nothing),
		TEST(a_cancel_between_steps_does_not_undo_the_one_that_has_not_begun),
		TEST(a_cancel_waits_for_a_step_that_says_so),
		TEST(a_cancel_after_the_last_step_is_too_late),
		TEST(arguments_set_in_a_step_are_in_the_journal_at_the_next_boundary),
		TEST(an_operation_that_the_journal_never_had_does_not_begin),
		TEST(a_step_waits_until_the_journal_has_its_entry),
		TEST(a_step_that_waits_for_the_disk_beyond_its_deadline_is_not_begun),
		TEST(a_step_whose_rows_were_refused_with_its_end_is_undone),
		TEST(the_last_step_too_is_over_when_its_rows_are_in_the_journal),
		TEST(an_undo_whose_rows_were_refused_is_made_again),
		TEST(an_undo_that_is_refused_before_it_begins_begins_where_it_should),
		TEST(inside_a_step_a_save_that_was_refused_with_rows_fails_it),
		TEST(an_undo_waits_for_the_disk_and_then_goes_on_without),
		TEST(inside_a_step_a_refused_save_waits_for_the_disk),
		TEST(a_restart_undoes_from_the_step_it_was_in),
		TEST(a_restart_resumes_the_step_it_was_in),
		TEST(a_restart_of_an_undo_goes_on_undoing),
		TEST(a_restarted_undo_ends_with_the_journaled_error),
		TEST(a_journaled_step_beyond_the_table_is_past_the_end),
		TEST(a_token_is_good_for_its_step_only),
		TEST(dropping_the_engine_frees_what_is_live_without_undo),
		TEST(a_group_slides_its_window_and_ends_the_step),
		TEST(a_group_of_none_and_one_that_ends_inside_end_the_step),
		TEST(the_first_error_of_a_group_wins_and_nothing_begins_after_it),
		TEST(a_cancelled_group_begins_no_more_and_outlives_the_operation),
		TEST(every_fault_at_every_step_leaves_the_world_whole),
		TEST(a_crash_at_any_moment_ends_undone_or_complete),
		TEST(an_hour_of_operations_takes_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
