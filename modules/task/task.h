/*
 * Tasks: rows that tell a client how its Async. call or operation goes, their end, cancel, garbage
 * collection; the journal of running operations behind core/op.h, and what a restart makes of it.
 */
#ifndef XN_TASK_H
#define XN_TASK_H

#include "core/module.h"
#include "core/op.h"

extern const struct xn_module xn_task_module;

struct xn_tasks;

static inline struct xn_tasks *xn_tasks_of(struct xn_core *core)
{
	return xn_module_state(core, "task");
}

/* A pending task row; its reference in @ref. @label: "Async.VM.start". */
void xn_task_create(struct xn_tasks *tasks, const char *label, const char *description,
		    const struct xn_caller *owner, char ref[48]);
/*
 * The end: applied only while the task is pending, and seen by nobody before it survives power
 * loss. @result: typed by @type, stored as XML-RPC text; NULL for void. @done may be NULL.
 */
void xn_task_succeed(struct xn_tasks *tasks, const char *ref, const struct xn_type *type,
		     const struct xn_value *result, void (*done)(void *arg), void *arg);
void xn_task_fail(struct xn_tasks *tasks, const char *ref, const struct xn_error *err,
		  void (*done)(void *arg), void *arg); /* code TASK_CANCELLED ends as cancelled */
void xn_task_progress(struct xn_tasks *tasks, const char *ref, double fraction); /* rate-limited */
/* What is being done for it: other_config xn:step. A client's task with one fails at a restart, as the
 * transfer that worked under it is gone. */
void xn_task_step(struct xn_tasks *tasks, const char *ref, const char *step);
/*
 * What the task waits for, in other_config: xn:waiting_for @what, xn:waiting_since, and
 * xn:waiting_for_task @holders, the task or {tasks} that hold it (may be ""). @what "": nothing any
 * more. Rows of others than tasks under way are left alone.
 */
void xn_task_waiting(struct xn_tasks *tasks, const char *ref, const char *what,
		     const char *holders);
/* What task.cancel does while the task runs; NULL when it can no longer be cancelled. */
void xn_task_on_cancel(struct xn_tasks *tasks, const char *ref, void (*cancel)(void *arg),
		       void *arg);
/* Before a caller's task is made: 0, or -1 with TOO_MANY_PENDING_TASKS when pending-tasks are not
 * finished. Looks through their rows. */
int xn_task_check_room(struct xn_tasks *tasks, struct xn_error *err);
/* The same before task.create, for which client-tasks and account-tasks count, too: so nobody takes
 * the places of others' operations with tasks that he does not end. */
int xn_task_check_clients_room(struct xn_tasks *tasks, const struct xn_caller *maker,
			       struct xn_error *err);
enum xn_task_limit {
	XN_TASKS_PENDING,
	XN_TASKS_OF_CLIENTS,
	XN_TASKS_OF_ACCOUNT,
	XN_TASK_LIMITS,
};
extern const char *const xn_task_limits[XN_TASK_LIMITS]; /* rows of the configuration */
uint64_t xn_tasks_refused(const struct xn_tasks *tasks, enum xn_task_limit limit); /* so many */
/* Whether a client made this task, for a transfer to work under, and it is pending. */
bool xn_task_is_clients(struct xn_tasks *tasks, const char *ref);
/* Whether @caller may do something to the task: it is its own, or its role is high enough. 0, or -1
 * with HANDLE_INVALID or RBAC_PERMISSION_DENIED (@err may be NULL). */
int xn_task_permit(struct xn_tasks *tasks, const struct xn_caller *caller, const char *ref,
		   struct xn_error *err);
/* A synchronous call's row is removed when its reply is out. */
void xn_task_forget(struct xn_tasks *tasks, const char *ref);

/* Operation kinds are registered by their modules in init, so that a restart finds them. */
void xn_task_register_kind(struct xn_tasks *tasks, const struct xn_op_kind *kind);
/*
 * After all modules started: each journaled operation is resumed or undone. @on_end of its module
 * (registered with the kind) runs as usual, so locks in current_operations are released there. The
 * task ends here: with the operation's argument "result", where it has one, as the call's result.
 */
void xn_task_register_on_end(struct xn_tasks *tasks, const struct xn_op_kind *kind,
			     void (*restarted)(struct xn_op *op, void *arg),
			     void (*on_end)(struct xn_op *op, const struct xn_error *err,
					    void *arg),
			     void *arg);

#endif
