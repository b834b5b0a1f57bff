/*
 * Short operations: calls that may only be made when the rules allow an operation, but whose work
 * is over at once (a setter). Free: done at once, nobody sees it in current_operations. Busy:
 * queued like the others, under a task row, so that it can be cancelled.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/operation/operation_internal.h"

struct short_run {
	struct xn_list link;
	struct xn_operations *ops;
	struct xn_call *call;
	int (*body)(struct xn_call *call, struct xn_error *err);
	struct xn_claim claim;
	bool own_task;
	struct xn_job abort;
};

static void answer(struct xn_call *call, int rc, struct xn_error *err)
{
	if (rc < 0)
		xn_call_fail(call, err);
	else
		xn_call_reply_void(call);
}

static void free_short(struct short_run *run)
{
	xn_operation_release(&run->claim);
	xn_job_cancel(&run->abort);
	xn_list_remove(&run->link);
	free(run);
}

/* Takes what @err holds. */
static void end(struct short_run *run, int rc, struct xn_error *err)
{
	struct xn_call *call = run->call;

	xn_task_on_cancel(run->ops->tasks, call->task, NULL, NULL);
	if (run->own_task)
		xn_task_forget(run->ops->tasks, call->task);
	free_short(run);
	answer(call, rc, err);
}

static void on_granted(struct xn_claim *claim, struct xn_error *err)
{
	struct short_run *run = claim->arg;
	struct xn_error own = {0};
	int rc = -1;

	xn_db_set_origin_of(run->ops->db, &run->call->caller, run->call->task);
	if (err)
		xn_error_move(&own, err);
	else
		rc = run->body(run->call, &own);
	end(run, rc, &own);
}

static void abort_now(struct xn_job *job)
{
	struct short_run *run = xn_container_of(job, struct short_run, abort);
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_TASK_CANCELLED, run->call->task);
	end(run, -1, &err);
}

static void cancel(void *arg)
{
	struct short_run *run = arg;

	xn_loop_defer(run->ops->core->loop, &run->abort, XN_PRIO_OPERATION, abort_now);
}

static void queue(struct xn_operations *ops, struct xn_call *call, int class_id, const char *ref,
		  const char *operation, int (*body)(struct xn_call *call, struct xn_error *err))
{
	struct short_run *run = xn_calloc(1, sizeof(*run));

	run->ops = ops;
	run->call = call;
	run->body = body;
	xn_list_push(&ops->shorts, &run->link);
	if (!call->task[0]) {
		xn_task_create(ops->tasks, call->method->name, "", &call->caller, call->task);
		run->own_task = true;
	}
	xn_task_on_cancel(ops->tasks, call->task, cancel, run);
	xn_operation_take(ops, &run->claim, class_id, ref, operation, call->task,
			  XN_OPERATION_WAIT_MS, on_granted, run);
}

void xn_operation_run_short(struct xn_call *call, const char *operation,
			    int (*body)(struct xn_call *call, struct xn_error *err))
{
	struct xn_operations *ops = xn_operations_of(call->core);
	const struct xn_method *method = call->method;
	unsigned param = method->lock_param < 0 ? 0 : (unsigned)method->lock_param;
	int class_id = method->params[param].type->class_id;
	const char *ref = xn_call_string(call, param);
	const char *name = operation ? operation : method->operation;
	struct xn_error err = {0};
	int rc = name ? xn_operation_check(ops, class_id, ref, name, &err) : 0;

	if (rc == 0) {
		rc = body(call, &err);
	} else if (strcmp(err.code, XN_ERR_OTHER_OPERATION_IN_PROGRESS) == 0) {
		xn_error_clear(&err);
		if (call->task[0] || xn_task_check_room(ops->tasks, &err) == 0) {
			queue(ops, call, class_id, ref, name, body);
			return;
		}
	}
	answer(call, rc, &err);
}

void xn_shorts_stop(struct xn_operations *ops)
{
	xn_list_each_safe(node, &ops->shorts) {
		struct short_run *run = xn_list_entry(node, struct short_run, link);

		xn_claim_cut(&run->claim);
		xn_job_cancel(&run->abort);
		xn_list_remove(&run->link);
		free(run);
	}
}
