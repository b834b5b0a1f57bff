/*
 * Whole operations: claims, then the step table, then the end of the claims and the answer. Ties an
 * API call, its task row, the engine of core/op.h and the claims of claim.c together.
 *
 * What is held is written into the operation's journaled arguments, so that after a restart the
 * same objects are held before its steps go on.
 *
 *	claiming --granted--> running --on_end--> ended
 *	    \-- refused, cancelled ----------------/
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/operation/operation_internal.h"

#define ARG_HELD "operation.held" /* set of "class reference operation" */

struct xn_run {
	struct xn_list link;
	struct xn_operations *ops;
	struct xn_op *op;
	struct xn_call *call; /* NULL: internal, or after a restart */
	struct xn_run_spec spec;
	char task[48];
	bool own_task; /* a row made for a synchronous call, or for what nobody called */
	bool running;  /* the engine has the operation */
	bool all_listed;
	struct xn_claim **claims;
	unsigned n_claims, taken;
	struct xn_job abort;
	struct xn_error error;
};

/* A registered kind: what a restart needs to know. */
struct kind {
	struct xn_list link;
	struct xn_operations *ops;
	const struct xn_op_kind *kind;
	void (*restarted)(struct xn_op *op, void *arg);
	void (*ended)(struct xn_op *op, const struct xn_error *err, void *arg);
	struct xn_value *(*result)(struct xn_op *op);
	void *arg;
};

/* ---- the end ---- */

static void release_all(struct xn_run *run)
{
	while (run->n_claims > 0) {
		struct xn_claim *claim = run->claims[--run->n_claims];

		xn_operation_release(claim);
		free(claim);
	}
}

static void free_run(struct xn_run *run)
{
	xn_job_cancel(&run->abort);
	release_all(run);
	free(run->claims);
	xn_error_clear(&run->error);
	xn_list_remove(&run->link);
	free(run);
}

/* @op is NULL when it never ran; @err NULL: success. */
static void answer(struct xn_run *run, struct xn_op *op, const struct xn_error *err)
{
	struct xn_call *call = run->call;
	void (*over)(const struct xn_error *err, void *arg) = run->spec.over;
	void *over_arg = run->spec.arg;
	struct xn_error copy = {0};
	struct xn_value *result = NULL;

	if (run->task[0])
		xn_task_on_cancel(run->ops->tasks, run->task, NULL, NULL);
	if (op && run->spec.ended)
		run->spec.ended(op, err, run->spec.arg);
	if (!err && op && run->spec.result)
		result = run->spec.result(op);
	else if (!err && op && xn_map_get(op->args, "result"))
		result = xn_value_ref(xn_map_get(op->args, "result"));
	if (err)
		xn_error_copy(&copy, err);
	if (run->own_task)
		xn_task_forget(run->ops->tasks, run->task);
	free_run(run);
	if (over)
		over(err, over_arg);
	if (!call) {
		xn_value_unref(result);
		xn_error_clear(&copy);
	} else if (xn_error_is_set(&copy)) {
		xn_call_fail(call, &copy);
	} else if (result) {
		xn_call_reply(call, result);
	} else {
		xn_call_reply_void(call);
	}
}

static void on_op_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	answer(arg, op, err);
}

/* Before the engine had the operation. Takes what @err holds. */
static void give_up(struct xn_run *run, struct xn_error *err)
{
	struct xn_error own XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_move(&own, err);
	xn_op_free(run->op);
	answer(run, NULL, &own);
}

/* In a callback of somebody else, or of the loop. */
static void say_for_whom(const struct xn_run *run)
{
	if (run->call)
		xn_db_set_origin_of(run->ops->db, &run->call->caller, run->call->task);
}

static void abort_claiming(struct xn_job *job)
{
	struct xn_run *run = xn_container_of(job, struct xn_run, abort);

	say_for_whom(run);
	give_up(run, &run->error);
}

static void cancel(void *arg)
{
	struct xn_run *run = arg;

	if (run->running) {
		xn_op_cancel(run->op);
		return;
	}
	xn_error_set(&run->error, XN_ERR_TASK_CANCELLED, run->task);
	xn_loop_defer(run->ops->core->loop, &run->abort, XN_PRIO_OPERATION, abort_claiming);
}

static void cancel_by_claim(struct xn_claim *claim)
{
	cancel(claim->arg);
}

/* ---- claiming ---- */

static void claim_next(struct xn_run *run);

void xn_run_also_take(struct xn_run *run, int class_id, const char *ref, const char *operation)
{
	struct xn_claim *claim;

	for (unsigned i = 0; i < run->n_claims; i++) /* two VBDs of one VM may name the same VDI */
		if (strcmp(run->claims[i]->object, ref) == 0 &&
		    strcmp(run->claims[i]->operation, operation) == 0)
			return;
	claim = xn_calloc(1, sizeof(*claim));
	claim->class_id = class_id;
	claim->operation = operation;
	memcpy(claim->object, ref, strnlen(ref, sizeof(claim->object) - 1));
	run->claims = xn_realloc(run->claims, (run->n_claims + 1) * sizeof(*run->claims));
	run->claims[run->n_claims++] = claim;
}

static void note_what_is_held(struct xn_run *run)
{
	struct xn_value *held = xn_set_new();

	for (unsigned i = 0; i < run->n_claims; i++) {
		const struct xn_claim *claim = run->claims[i];

		xn_set_append(&held, xn_stringf("%s %s %s", xn_classes[claim->class_id].name,
						claim->object, claim->operation));
	}
	xn_op_set_arg(run->op, ARG_HELD, held);
}

static void begin(struct xn_run *run)
{
	if (run->n_claims > 0)
		note_what_is_held(run);
	run->running = true;
	if (run->call) {
		memcpy(run->op->session, run->call->caller.session, sizeof(run->op->session));
		xn_origin_print(&run->call->caller, run->op->on_behalf);
	}
	xn_op_start(run->op, run->task, on_op_end, run);
}

static void on_granted(struct xn_claim *claim, struct xn_error *err)
{
	struct xn_run *run = claim->arg;

	say_for_whom(run);
	if (err) {
		give_up(run, err);
		return;
	}
	if (xn_job_is_pending(&run->abort))
		return; /* cancelled between the grant and now: it ends there */
	run->taken++;
	claim_next(run);
}

static int by_object(const void *a, const void *b)
{
	const struct xn_claim *const *left = a, *const *right = b;

	return strcmp((*left)->object, (*right)->object);
}

/* In one order for all operations, so that two which want the same objects never hold one each. */
static void list_further(struct xn_run *run)
{
	run->all_listed = true;
	if (!run->spec.also)
		return;
	run->spec.also(run->op, run);
	qsort(run->claims + run->taken, run->n_claims - run->taken, sizeof(struct xn_claim *),
	      by_object);
}

static void claim_next(struct xn_run *run)
{
	struct xn_claim *claim;
	struct xn_claim wanted;

	if (run->taken == run->n_claims && !run->all_listed)
		list_further(run);
	if (run->taken == run->n_claims) {
		begin(run);
		return;
	}
	claim = run->claims[run->taken];
	wanted = *claim;
	xn_operation_take(run->ops, claim, wanted.class_id, wanted.object, wanted.operation,
			  run->task, run->spec.wait_ms ? run->spec.wait_ms : XN_OPERATION_WAIT_MS,
			  on_granted, run);
	claim->cancel = cancel_by_claim;
}

/* ---- beginning ---- */

static struct xn_run *new_run(struct xn_op *op, const struct xn_run_spec *spec)
{
	struct xn_run *run = xn_calloc(1, sizeof(*run));

	run->ops = xn_operations_of(op->core);
	run->op = op;
	run->spec = *spec;
	xn_list_push(&run->ops->runs, &run->link);
	return run;
}

static void start(struct xn_run *run)
{
	if (run->spec.ref)
		xn_run_also_take(run, run->spec.class_id, run->spec.ref, run->spec.operation);
	/* Borrowed for the call only; the claim has its copy. */
	run->spec.ref = run->spec.operation = NULL;
	claim_next(run);
}

/* Whether one more task may be, for a call that would begin it. */
static bool has_room(struct xn_run *run)
{
	return xn_operation_is_urgent(run->ops, run->call->method) ||
	       xn_task_check_room(run->ops->tasks, &run->error) == 0;
}

void xn_operation_run_spec(struct xn_call *call, struct xn_op *op, const struct xn_run_spec *spec)
{
	struct xn_run *run = new_run(op, spec);

	run->call = call;
	if (!call->task[0] && (call->method->flags & XN_MF_ASYNC)) {
		if (!has_room(run)) {
			xn_loop_defer(run->ops->core->loop, &run->abort, XN_PRIO_OPERATION,
				      abort_claiming);
			return;
		}
		xn_task_create(run->ops->tasks, call->method->name, "", &call->caller, call->task);
		run->own_task = true;
		xn_db_set_origin_of(run->ops->db, &call->caller, call->task);
	}
	memcpy(run->task, call->task, sizeof(run->task));
	if (run->task[0])
		xn_task_on_cancel(run->ops->tasks, run->task, cancel, run);
	else
		xn_ref_new(run->ops->core->loop, run->task);
	start(run);
}

void xn_operation_run(struct xn_call *call, struct xn_op *op,
		      struct xn_value *(*result)(struct xn_op *op))
{
	const struct xn_method *method = call->method;
	struct xn_run_spec spec = {.result = result};

	if (method->lock_param >= 0 && method->operation) {
		spec.class_id = method->params[method->lock_param].type->class_id;
		spec.ref = xn_call_string(call, (unsigned)method->lock_param);
		spec.operation = method->operation;
	}
	xn_operation_run_spec(call, op, &spec);
}

struct xn_run *xn_operation_run_internal(struct xn_op *op, const struct xn_run_spec *spec)
{
	struct xn_run *run = new_run(op, spec);

	xn_task_create(run->ops->tasks, op->kind->name, "", NULL, run->task);
	run->own_task = true;
	xn_task_on_cancel(run->ops->tasks, run->task, cancel, run);
	start(run);
	return run;
}

void xn_run_cancel(struct xn_run *run)
{
	cancel(run);
}

void xn_operation_let_go(struct xn_op *op)
{
	struct xn_operations *ops = xn_operations_of(op->core);

	xn_list_each(node, &ops->runs)
	{
		struct xn_run *run = xn_list_entry(node, struct xn_run, link);

		if (run->op != op)
			continue;
		release_all(run);
		run->taken = 0;
		return;
	}
}

/* ---- after a restart ---- */

static void hold_again(struct xn_run *run, const char *line)
{
	char class_name[32], ref[48];
	const char *operation;
	const struct xn_class *cls;
	struct xn_claim *claim;
	int at = 0;

	if (sscanf(line, "%31s %47s %n", class_name, ref, &at) != 2 || at == 0)
		return;
	operation = line + at; /* lives as long as the operation's arguments */
	cls = xn_class_find(class_name);
	if (!cls)
		return;
	xn_run_also_take(run, cls->id, ref, operation);
	claim = run->claims[run->n_claims - 1];
	xn_claim_force(run->ops, claim, cls->id, ref, operation, run->task);
	claim->arg = run;
	claim->cancel = cancel_by_claim;
}

static void on_restarted(struct xn_op *op, void *arg)
{
	struct kind *kind = arg;
	struct xn_run_spec spec = {.ended = kind->ended, .result = kind->result, .arg = kind->arg};
	struct xn_run *run = new_run(op, &spec);
	const struct xn_value *held = xn_map_get(op->args, ARG_HELD);

	run->running = true;
	if (op->task[0])
		memcpy(run->task, op->task, sizeof(run->task));
	else
		xn_ref_new(op->core->loop, run->task);
	for (size_t i = 0; held && i < xn_set_len(held); i++)
		hold_again(run, xn_value_string(xn_set_at(held, i)));
	if (kind->restarted)
		kind->restarted(op, kind->arg);
}

static void on_restarted_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct kind *kind = arg;

	xn_list_each(node, &kind->ops->runs) {
		struct xn_run *run = xn_list_entry(node, struct xn_run, link);

		if (run->op == op) {
			answer(run, op, err);
			return;
		}
	}
}

void xn_operation_register_kind(struct xn_operations *ops, const struct xn_op_kind *op_kind,
				void (*restarted)(struct xn_op *op, void *arg),
				void (*ended)(struct xn_op *op, const struct xn_error *err,
					      void *arg),
				struct xn_value *(*result)(struct xn_op *op), void *arg)
{
	struct kind *kind = xn_calloc(1, sizeof(*kind));

	*kind = (struct kind){.ops = ops,
			      .kind = op_kind,
			      .restarted = restarted,
			      .ended = ended,
			      .result = result,
			      .arg = arg};
	xn_list_push(&ops->kinds, &kind->link);
	xn_task_register_kind(ops->tasks, op_kind);
	xn_task_register_on_end(ops->tasks, op_kind, on_restarted, on_restarted_end, kind);
}

void xn_operation_each_kind(const struct xn_operations *ops,
			    void (*visit)(const struct xn_op_kind *kind, void *arg), void *arg)
{
	xn_list_each(node, &ops->kinds)
		visit(xn_list_entry(node, struct kind, link)->kind, arg);
}

void xn_runs_stop(struct xn_operations *ops)
{
	xn_list_each_safe(node, &ops->runs) {
		struct xn_run *run = xn_list_entry(node, struct xn_run, link);

		xn_job_cancel(&run->abort);
		for (unsigned i = 0; i < run->n_claims; i++) {
			xn_claim_cut(run->claims[i]);
			free(run->claims[i]);
		}
		free(run->claims);
		if (run->call)
			xn_call_abandon(run->call);
		xn_error_clear(&run->error);
		xn_list_remove(&run->link);
		free(run);
	}
	xn_list_each_safe(node, &ops->kinds) {
		xn_list_remove(node);
		free(xn_list_entry(node, struct kind, link));
	}
}
