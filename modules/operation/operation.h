/*
 * One operation at a time an object: current_operations, allowed_operations, and the queue of those
 * that wait for their turn. The rules (which operation is refused when) are tables a class; the
 * queue is the same for all. Knows rows, not hypervisors.
 *
 * A claim waits in the queue of the object that is in its way (usually its own) and is looked at
 * again when a claim on that object ends: nobody polls. After a restart no claim is left but those
 * of the operations that the journal brings back.
 */
#ifndef XN_OPERATION_H
#define XN_OPERATION_H

#include "core/module.h"
#include "core/op.h"
#include "modules/db/db.h"

extern const struct xn_module xn_operation_module;

struct xn_operations;
struct xn_claimed; /* an object with claims */

static inline struct xn_operations *xn_operations_of(struct xn_core *core)
{
	return xn_module_state(core, "operation");
}

/* ---- rules of a class ---- */

enum { XN_OPERATION_MAX_ADVERTISED = 64 };

struct xn_operation_rules {
	int class_id;
	int current_field, allowed_field; /* XN_VM_current_operations ... */
	/* Operations that allowed_operations may list; NULL-terminated, at most 64. */
	const char *const *advertised;
	/* Operations that pass by those that wait (hard_shutdown); NULL-terminated or NULL. */
	const char *const *urgent;
	/*
	 * Whether @operation is possible on @row now: 0 to go on, -1 with @err to refuse. @err may
	 * be NULL: only the answer is wanted (xn_error_set knows). @self: the task that already
	 * holds the object, to be ignored; NULL for none. OTHER_OPERATION_IN_PROGRESS [class, ref,
	 * ...] means: wait until that object's holder ends and ask again.
	 */
	int (*refuse)(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		      struct xn_error *err);
	/* All of `advertised` in one go, bit n for the nth: for classes with many. NULL: refuse()
	 * each. */
	uint64_t (*allowed)(struct xn_db *db, struct xn_row *row);
	/* Visits rows whose allowed_operations look at @row (a VM's devices); NULL: none. */
	void (*dependents)(struct xn_db *db, struct xn_row *row,
			   void (*visit)(struct xn_row *row, void *arg), void *arg);
};
void xn_operation_register_rules(struct xn_operations *ops, const struct xn_operation_rules *rules);

/* The rules' answer without taking anything: assert_operation_valid, dry runs. */
int xn_operation_check(struct xn_operations *ops, int class_id, const char *ref,
		       const char *operation, struct xn_error *err);
/* Whether a call of @method ends something, and so passes by those that wait. */
bool xn_operation_is_urgent(const struct xn_operations *ops, const struct xn_method *method);
/* allowed_operations of @row written anew (after a power state or device change). */
void xn_operation_refresh(struct xn_operations *ops, struct xn_row *row);
/* The same for it and its dependents. */
void xn_operation_refresh_all(struct xn_operations *ops, struct xn_row *row);

/* The parameters of OTHER_OPERATION_IN_PROGRESS: class, ref, and the operations and tasks of
 * @current (two names, or {a,b} lists joined with @comma when there are several). Returns -1. */
int xn_operation_busy(struct xn_error *err, const char *class_name, const char *ref,
		      const struct xn_value *current, const char *self, const char *comma);

/* Hosts of different releases are in the pool: what could confuse them is refused meanwhile. */
bool xn_pool_is_upgrading(struct xn_db *db);

/* ---- claims ---- */

/* A claim on one object for one operation; embedded in the caller's object. All zero: not in use.
 */
struct xn_claim {
	struct xn_list link;
	struct xn_operations *ops;
	struct xn_claimed *at;       /* the object it holds, or in whose queue it waits */
	char object[48], holder[48]; /* object and task (or pseudo task) references */
	int class_id;
	const char *operation; /* static or interned: the schema's */
	bool held;
	struct xn_hnode by_holder; /* while it waits */
	int64_t since_us;	   /* it holds, or waits */
	uint64_t caller; /* for whom; see core/loop.h */
	struct xn_error refused;
	struct xn_timer deadline;
	struct xn_job wake;
	void (*granted)(struct xn_claim *claim, struct xn_error *err); /* err set: refused */
	void (*cancel)(struct xn_claim *claim); /* see xn_operation_cancel_holders; may be NULL */
	void *arg;
};

/*
 * xn_operation_take - wait for the object, then hold it
 * Checks the rules now; a refusal other than "busy" is told at once. Busy: queues in arrival order
 * (at most 100 an object, then TOO_MANY_PENDING_TASKS; at @wait_ms OTHER_OPERATION_IN_PROGRESS with
 * the holder; the same at once where waiting could not end, because the holder waits for this one).
 * What it waits for shows in the task @holder. granted() is always called from the loop, once, unless cancelled before.
 */
void xn_operation_take(struct xn_operations *ops, struct xn_claim *claim, int class_id,
		       const char *ref, const char *operation, const char *holder, unsigned wait_ms,
		       void (*granted)(struct xn_claim *claim, struct xn_error *err), void *arg);
/* Holds at once or refuses (busy included): for devices taken along with their VM. */
int xn_operation_take_now(struct xn_operations *ops, struct xn_claim *claim, int class_id,
			  const char *ref, const char *operation, const char *holder,
			  struct xn_error *err);
/* Holds without asking: after a restart, and what the caller makes itself. There need be no row yet; it
 * is to be made with this among its current_operations then. */
void xn_claim_force(struct xn_operations *ops, struct xn_claim *claim, int class_id,
		    const char *ref, const char *operation, const char *holder);
/* Releases or withdraws; recomputes allowed_operations, wakes the next. Not in use: harmless. */
void xn_operation_release(struct xn_claim *claim);

/* Cuts it off without telling anybody: at the stop. */
void xn_claim_cut(struct xn_claim *claim);

/* Cancels whoever but @self holds @ref for one of @operations (NULL-terminated; NULL: any). */
void xn_operation_cancel_holders(struct xn_operations *ops, const char *ref,
				 const char *const *operations, const char *self);
/* Whether @holder (NULL: nobody) is the only one with a claim on @ref. When that changes, the bus
 * tells operation_ended of the object. */
bool xn_operation_is_alone(const struct xn_operations *ops, const char *ref, const char *holder);

/* For diagnostics: objects with somebody in their queue or holding them; a new set of maps
 * {object, class, held, waiting} of at most a thousand objects. */
struct xn_value *xn_operations_describe(const struct xn_operations *ops);

/* ---- whole operations ---- */

/* Further objects that an operation takes once it holds its main one; see struct xn_run_spec. */
struct xn_run;
void xn_run_also_take(struct xn_run *run, int class_id, const char *ref, const char *operation);

struct xn_run_spec {
	int class_id; /* with .ref and .operation: what it holds. .ref NULL: no object. */
	const char *ref, *operation;
	unsigned wait_ms; /* in the queue; 0: XN_OPERATION_WAIT_MS */
	/* Calls xn_run_also_take() for each further object; each is waited for. */
	void (*also)(struct xn_op *op, struct xn_run *run);
	/* What the call returns on success; NULL: the operation's argument "result", else void. */
	struct xn_value *(*result)(struct xn_op *op);
	/* Told once at the end, while the objects are still held; @err NULL: success. May be NULL.
	 */
	void (*ended)(struct xn_op *op, const struct xn_error *err, void *arg);
	/* Told in any case, last: also when the rules refused it before it began. May be NULL. */
	void (*over)(const struct xn_error *err, void *arg);
	void *arg;
};
enum { XN_OPERATION_WAIT_MS = 7200 * 1000, XN_OPERATION_MAX_WAITING = 100 };

/*
 * xn_operation_run - the usual whole of an API call: take the object, run the step table, release,
 * answer. @op is taken. The call's method names operation and object (schema: lock_param). A
 * synchronous call gets a task row for the time it runs, and is refused where that is one too many
 * (urgent ones are not); cancelling the task withdraws the claim or cancels the operation.
 * @result: as in struct xn_run_spec.
 */
void xn_operation_run(struct xn_call *call, struct xn_op *op,
		      struct xn_value *(*result)(struct xn_op *op));
/* The same with everything said; @spec is copied, its strings are borrowed for the call only. */
void xn_operation_run_spec(struct xn_call *call, struct xn_op *op, const struct xn_run_spec *spec);
/* Without a call: what the daemon does by itself (a guest shut down). Its task's row is there while it
 * runs, so that it can be looked at and cancelled. */
struct xn_run *xn_operation_run_internal(struct xn_op *op, const struct xn_run_spec *spec);
/* As task.cancel would; valid until spec.over() was told. */
void xn_run_cancel(struct xn_run *run);
/*
 * xn_operation_let_go - its objects are free for others though @op goes on
 * For a last step that only lets time pass. Held again after a restart until it says so again.
 */
void xn_operation_let_go(struct xn_op *op);

/*
 * xn_operation_run_short - for a call whose work is over at once, when the rules allow it
 * @operation: NULL: the method's. @body may refuse; on success the call returns void. Runs now when
 * the object is free, else in its turn of the queue.
 */
void xn_operation_run_short(struct xn_call *call, const char *operation,
			    int (*body)(struct xn_call *call, struct xn_error *err));

/*
 * Makes a kind known to the journal. After a restart its operations hold their objects again,
 * without a question, before they go on; @restarted (may be NULL) rebuilds what the steps expect in
 * memory; @ended as in the spec.
 */
void xn_operation_register_kind(struct xn_operations *ops, const struct xn_op_kind *kind,
				void (*restarted)(struct xn_op *op, void *arg),
				void (*ended)(struct xn_op *op, const struct xn_error *err,
					      void *arg),
				struct xn_value *(*result)(struct xn_op *op), void *arg);
/* Every kind that was made known. */
void xn_operation_each_kind(const struct xn_operations *ops,
			    void (*visit)(const struct xn_op_kind *kind, void *arg), void *arg);

#endif
