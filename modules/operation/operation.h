/*
 * One operation at a time an object: current_operations, allowed_operations, and the queue of those
 * that wait for their turn. The rules (which operation is refused when) are tables a class; the
 * queue is the same for all. Knows rows, not hypervisors.
 */
#ifndef XN_OPERATION_H
#define XN_OPERATION_H

#include "core/module.h"
#include "core/op.h"
#include "modules/db/db.h"

extern const struct xn_module xn_operation_module;

struct xn_operations;

static inline struct xn_operations *xn_operations_of(struct xn_core *core)
{
	return xn_module_state(core, "operation");
}

/* One refusal check. Return 0 to go on, -1 with @err to refuse. */
struct xn_operation_rules {
	int class_id;
	int current_field, allowed_field; /* XN_VM_current_operations ... */
	const char *const *advertised;	  /* operations that allowed_operations may list; NULL-terminated */
	/* Whether @operation is possible on @row now. @self: the task that already holds the object, to
	 * be ignored; NULL for none. OTHER_OPERATION_IN_PROGRESS means: wait and ask again. */
	int (*refuse)(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		      struct xn_error *err);
};
void xn_operation_register_rules(struct xn_operations *ops, const struct xn_operation_rules *rules);

/* A claim on one object for one operation; embedded in the caller's object. */
struct xn_claim {
	struct xn_list link;
	struct xn_operations *ops;
	char object[48], holder[48]; /* object and task (or pseudo task) references */
	int class_id;
	const char *operation;
	bool held;
	struct xn_timer deadline;
	struct xn_job wake;
	void (*granted)(struct xn_claim *claim, struct xn_error *err); /* err set: refused */
	void *arg;
};

/*
 * xn_operation_take - wait for the object, then hold it
 * Checks the rules now; a refusal other than "busy" is told at once. Busy: queues in arrival order
 * (at most 100 an object, then TOO_MANY_PENDING_TASKS; at @wait_ms OTHER_OPERATION_IN_PROGRESS with
 * the holder). granted() is always called from the loop, once, unless cancelled before.
 */
void xn_operation_take(struct xn_operations *ops, struct xn_claim *claim, int class_id,
		       const char *ref, const char *operation, const char *holder, unsigned wait_ms,
		       void (*granted)(struct xn_claim *claim, struct xn_error *err), void *arg);
/* Holds at once or refuses (busy included): for devices taken along with their VM. */
int xn_operation_take_now(struct xn_operations *ops, struct xn_claim *claim, int class_id,
			  const char *ref, const char *operation, const char *holder,
			  struct xn_error *err);
/* Releases or withdraws; recomputes allowed_operations, wakes the next. Not held: harmless. */
void xn_operation_release(struct xn_claim *claim);
/* allowed_operations of @row written anew (after a power state or device change). */
void xn_operation_refresh(struct xn_operations *ops, struct xn_row *row);

/*
 * xn_operation_run - the usual whole of an API call: take the object, run the step table, release,
 * answer. @op is taken. The call's method names operation and object (schema: lock_param).
 * @result: what the call returns on success; NULL callback: void.
 */
void xn_operation_run(struct xn_call *call, struct xn_op *op,
		      struct xn_value *(*result)(struct xn_op *op));

#endif
