/*
 * Long work as a table of named steps. The engine runs them in order, each with a deadline (since
 * its last progress), undoes backwards on failure, cancel or time-out, journals at step boundaries,
 * and can always say what it is waiting for. It knows nothing of Xen, HTTP or the database: it
 * reaches the journal through struct xn_op_store.
 *
 *	            all steps over
 *	  forwards ----------------------> ended, success
 *	     | a step failed, timed out, cancel
 *	     v
 *	  undoing: from the step it was in (itself too) down to the first ----> ended, error
 *
 * The step that failed is undone like the others, so an undo copes with a run that did nothing, did
 * half, or is still under way. An undo that fails or times out is logged and runs once more (undos
 * are idempotent); when that fails, too, the next one runs.
 * A step begins once the journal has accepted its entry: what a crash finds in the journal is never
 * behind what was done. While the journal refuses (a full disk), an operation that has not begun
 * fails, and one between two steps waits up to the deadline of the next. So does an undo (what it
 * takes back may be rows), but then it goes on without: the entry that it leaves behind is of a
 * step that a restart runs again or undoes.
 */
#ifndef XN_OP_H
#define XN_OP_H

#include "core/error.h"
#include "core/gate.h"
#include "core/hmap.h"
#include "core/loop.h"
#include "core/value.h"

/* Of a task's other_config: what is being done for it. A pending task that a client made and that
 * has none is nobody's work. */
#define XN_OP_STEP_KEY "xn:step"

struct xn_core;
struct xn_op;

enum xn_step_flags {
	XN_STEP_NO_CANCEL = 1, /* a cancel waits until this step is over */
	XN_STEP_SKIP_ON_RESUME = 2, /* interrupted by a restart in this step: go on with the next */
	XN_STEP_UNDO_ON_RESTART = 4, /* in this step: undo, although the kind is resumed */
};

struct xn_step {
	const char *name;
	void (*run)(struct xn_op *op);	/* ends in exactly one xn_op_done() or xn_op_fail() */
	void (*undo)(struct xn_op *op); /* the same; idempotent; NULL: nothing to undo */
	unsigned timeout_ms; /* since the start of the step or its last progress; never 0 */
	unsigned weight;		/* share of the operation's progress; 0 counts as 1 */
	unsigned flags;
};

/* What becomes of an operation that a crash or stop interrupted. */
enum xn_on_restart {
	XN_RESTART_UNDO,   /* undo from the step it was in */
	XN_RESTART_RESUME, /* run the step it was in again (steps are idempotent) */
};

struct xn_op_kind {
	const char *name; /* "VM.start"; journaled, so never reused for something else */
	unsigned version; /* a journaled operation of another version is undone */
	const struct xn_step *steps; /* ends with .name == NULL */
	enum xn_on_restart on_restart;
	/* A new operation from its journaled arguments: allocates, calls xn_op_init(), no I/O. */
	struct xn_op *(*make)(struct xn_core *core, const struct xn_value *args);
	void (*free)(struct xn_op *op); /* what make() allocated; called by xn_op_free() only */
};

/* Defines the kind @id (@linkage: static, or nothing) whose make() is @maker(core, &id, args). */
#define XN_OP_KIND(linkage, id, kind_name, step_table, restart, maker, freer)                      \
	static struct xn_op *make_##id(struct xn_core *core, const struct xn_value *args);         \
	linkage const struct xn_op_kind id = {                                                     \
		.name = kind_name,                                                                 \
		.version = 1,                                                                      \
		.steps = step_table,                                                               \
		.on_restart = restart,                                                             \
		.make = make_##id,                                                                 \
		.free = freer,                                                                     \
	};                                                                                         \
	static struct xn_op *make_##id(struct xn_core *core, const struct xn_value *args)          \
	{                                                                                          \
		return maker(core, &id, args);                                                     \
	}

struct xn_op {
	const struct xn_op_kind *kind;
	struct xn_core *core;
	struct xn_value *args; /* map; everything a restart needs; change with xn_op_set_arg */
	char id[48];	       /* journal key; unique */
	char task[48];	       /* task row it reports to, or "" */
	int step;	       /* index in kind->steps */
	bool undoing, cancelled, finished;
	bool running; /* the step's run or undo was called and has not ended */
	bool begun;   /* the step may have done something: an undo starts with it */
	bool fails_after; /* XN_FAULT_FAIL_AFTER */
	bool undone_again; /* this undo has failed once */
	int undone_step;   /* whose undo has ended and is not in the journal; -1: none */
	unsigned attempt;  /* counts the runs of steps and undos */
	unsigned saves;	  /* numbers them; only the answer to the last one counts */
	bool journaled;	  /* the journal has an entry, maybe of an earlier step */
	bool awaits_journal;		  /* the next step begins when it is saved */
	void (*saved)(struct xn_op *op); /* what xn_op_save() was given */
	struct xn_error error; /* why it is being undone */
	double step_progress;
	uint64_t caller; /* xn_loop_caller() when it was started */
	char session[48], on_behalf[136]; /* whom it works for, for history; journaled */
	const struct xn_gate *gate; /* where `in_line` of its members wait */
	unsigned in_line;
	uint64_t gate_moves;
	char waiting_for[160]; /* "guest to acknowledge shutdown": shown by task-explain */
	int64_t waiting_since_us, step_started_us;
	int64_t started_us; /* in this life of the daemon */
	struct xn_timer deadline;
	struct xn_job advance;
	/* Told once at the end, after undo; then the operation is freed. @err NULL: success. */
	void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg);
	void *on_end_arg;
	struct xn_list link; /* engine's list of those made, then of those live */
	struct xn_hnode node; /* by id */
};

/* For make(): fills @op, which is all zero bytes. @args (a map; NULL: empty) is borrowed. */
void xn_op_init(struct xn_op *op, const struct xn_op_kind *kind, struct xn_core *core,
		const struct xn_value *args);
/* Frees an operation that was never started; the engine frees the others. NULL is fine. */
void xn_op_free(struct xn_op *op);

/* Journal and progress sink, set in core->op_store by modules/task. NULL in tests. */
struct xn_op_store {
	/* At each step boundary. Answered by one xn_op_saved(), later, from the loop: the entry
	 * survives SIGKILL, or was refused. The operation may be gone by then. */
	void (*save)(struct xn_core *core, const struct xn_op *op);
	void (*remove)(struct xn_core *core, const struct xn_op *op);
	/* @fraction of the whole; while it undoes: of what was done before. Also when step or
	 * waiting_for changed. */
	void (*progress)(struct xn_core *core, const struct xn_op *op, double fraction);
	/* What follows in this callback is the operation's doing. May be NULL. */
	void (*acts)(struct xn_core *core, const struct xn_op *op);
};
/* Which save of which operation; the store keeps it for its answer. */
struct xn_op_saving {
	char id[48];
	unsigned number;
};
struct xn_op_saving xn_op_saving(const struct xn_op *op);
/* @lost: what the step changed in the database went with the refusal; see on_refused() in op.c. */
void xn_op_saved(struct xn_core *core, const struct xn_op_saving *saving, int rc, bool lost);
/* The journal accepts again after it refused, and may lack what it refused: all operations that it
 * has heard of are saved again. */
void xn_op_save_all(struct xn_core *core);

/*
 * xn_op_start - run @op (made by its kind's make()) from its first step
 * Takes @op. on_end is called later from the loop, never inside. @task may be "".
 */
void xn_op_start(struct xn_op *op, const char *task,
		 void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg),
		 void *arg);
/* After a restart: goes on at @step by the kind's on_restart, or undoes when @undoing. op->error,
 * where the caller has set it from the journal, is what the operation ends with when it is undone.
 */
void xn_op_restart(struct xn_op *op, const char *id, const char *task, int step, bool undoing,
		   void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg),
		   void *arg);

/* End of the current step (run or undo). 0, or -errno: INTERNAL_ERROR with the step's name. The end
 * of a step that may have timed out or been cancelled meanwhile needs the token; see below. */
void xn_op_done(struct xn_op *op, int rc);
void xn_op_fail(struct xn_op *op, struct xn_error *err); /* takes what @err holds */
/*
 * A completion that may come late (after the deadline passed) keeps a token from the step's start
 * and asks before it touches the operation: false means that it is somebody else's turn or the
 * operation is gone.
 */
struct xn_op_token { char id[48]; int step; bool undoing; unsigned attempt; };
struct xn_op_token xn_op_token(const struct xn_op *op);
struct xn_op *xn_op_find(struct xn_core *core, const struct xn_op_token *token); /* or NULL */
/* xn_op_done() and xn_op_fail() for whoever may be too late: then only @err is cleared. */
void xn_op_done_late(struct xn_core *core, const struct xn_op_token *token, int rc);
void xn_op_fail_late(struct xn_core *core, const struct xn_op_token *token, struct xn_error *err);

void xn_op_progress(struct xn_op *op, double fraction_of_step); /* also restarts the deadline */
void xn_op_waiting(struct xn_op *op, const char *fmt, ...) XN_PRINTF(2, 3);
/* One more, or one less, of what the step does waits for its turn at @gate. Its deadline does not run
 * out meanwhile, as long as others leave the gate. */
void xn_op_waits_turn(struct xn_op *op, const struct xn_gate *gate, const char *what);
void xn_op_has_turn(struct xn_op *op);
/* TASK_CANCELLED [task] and undo, at the next moment allowed. A run that is under way goes on
 * beside its undo unless that stops it. Too late after the last step; never stops an undo. */
void xn_op_cancel(struct xn_op *op);
void xn_op_set_arg(struct xn_op *op, const char *key, struct xn_value *taken); /* journaled at the
										next boundary */
/* Inside a step: journals now, and goes on with @saved (may be NULL) once that is accepted. Refused:
 * waits for the disk, until the step's deadline; fails when changes of rows were refused with it. */
void xn_op_save(struct xn_op *op, void (*saved)(struct xn_op *op));

/*
 * xn_group_start - "do all of these" as a step of @op
 * @n: child jobs (0: the step ends at once); @width: at most so many at a time, a sliding window
 * run(i) ends in one xn_group_done(), inside or later, also when the step timed out or was
 * cancelled meanwhile: the group lives until every child that was begun has ended. The first error
 * wins; no child begins after it, those under way end first; then the step ends. Each end is
 * progress.
 * Return: the group, or NULL when all ended inside: the step is over.
 */
struct xn_group;
struct xn_group *xn_group_start(struct xn_op *op, unsigned n, unsigned width,
				void (*run)(struct xn_group *group, unsigned index, void *arg),
				void *arg);
void xn_group_done(struct xn_group *group, unsigned index, struct xn_error *err_or_null);

const char *xn_op_step_name(const struct xn_op *op); /* "" past the last one */
/* For diagnostics. The visitor must not end or cancel an operation. */
void xn_op_each(struct xn_core *core, void (*visit)(const struct xn_op *op, void *arg), void *arg);

/*
 * For tests: what goes wrong in a step or an undo that is about to run, or in one member of a group
 * (core->op_fault; NULL: nothing). It sees op->undoing; @member is -1 for the whole step.
 */
enum xn_op_fault {
	XN_FAULT_NONE,
	XN_FAULT_FAIL,	     /* it fails and has done nothing */
	XN_FAULT_FAIL_AFTER, /* it has done its work and then fails */
	XN_FAULT_HANG,	     /* it does nothing, until its deadline */
	XN_FAULT_CANCEL,     /* it begins and is cancelled at once; of steps only */
	XN_FAULT_LATE,	     /* its deadline passes at once, its work goes on; not of members */
};

/* The engine itself: one a core; created before modules start. */
struct xn_engine;
void xn_engine_init(struct xn_core *core);
/* Drops all operations, started or not, without undo: as SIGKILL would. Before the modules stop. */
void xn_engine_drop(struct xn_core *core);
void xn_engine_free(struct xn_core *core);

#endif
