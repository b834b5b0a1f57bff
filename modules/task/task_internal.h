/* What the files of modules/task share. */
#ifndef XN_TASK_INTERNAL_H
#define XN_TASK_INTERNAL_H

#include "core/events.h"
#include "core/hmap.h"
#include "modules/db/db.h"
#include "modules/task/task.h"

/* Keys of other_config by which a task explains itself; README tells clients. */
#define TASK_WAITING_KEY "xn:waiting_for"
#define TASK_SINCE_KEY "xn:waiting_since"
#define TASK_HOLDERS_KEY "xn:waiting_for_task"
#define TASK_RESTART_KEY "xn:restart"

struct kind_entry { /* an operation kind that a restart can find */
	struct xn_list link;
	const struct xn_op_kind *kind;
	void (*restarted)(struct xn_op *op, void *arg);
	void (*on_end)(struct xn_op *op, const struct xn_error *err, void *arg);
	void *arg;
};

/* A pending task that this process works on; rows alone say nothing about callbacks. */
struct live {
	struct xn_hnode by_ref;
	char ref[XN_REF_LEN];
	struct xn_tasks *tasks;
	/* cancel */
	void (*cancel)(void *arg);
	void *cancel_arg;
	bool cancel_asked;
	struct xn_job cancel_job;
	/* progress and waiting_for, written to the row at most every FLUSH_PERIOD_MS */
	struct xn_list dirty; /* xn_tasks.dirty */
	double progress;
	char waiting_for[200], holders[200], step[80];
	int64_t since_s;
	int64_t written_us;
	/* the end, on its way to the disk */
	struct xn_value *end; /* fields; NULL: not ending */
	bool is_recording, is_forgotten;
	unsigned n_too_large; /* times that it was in a turn too large for the journal */
	bool is_operation; /* of the step engine, which ends when what it did is in the journal */
	uint64_t losses;   /* of the database, when this began */
	struct xn_list end_watchers; /* struct end_watcher */
	struct xn_list refused;      /* xn_tasks.refused */
};

struct end_watcher {
	struct xn_list link;
	struct xn_job job; /* when there is nothing to wait for */
	void (*done)(void *arg);
	void *arg;
};

struct xn_tasks {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_hmap live; /* by ref */
	struct xn_list dirty;
	struct xn_timer flush_timer;
	struct xn_list refused; /* ends that the database would not take; tried again */
	uint64_t n_refused[XN_TASK_LIMITS];
	struct xn_timer gc_timer;
	struct xn_job gc_job;
	/* task_gc.c: */
	struct xn_hmap probation;
	struct task_victim *victims; /* to be removed, from .victim_at on */
	size_t n_victims, victim_at;
	struct xn_job remove_job;
	struct xn_list idle_watchers; /* end_watchers whose job is pending */
	struct xn_list kinds;
	struct xn_value *interrupted; /* references of operations journaled before this start */
	struct xn_list restarted;     /* op_journal.c */
	struct xn_list savings;	      /* op_journal.c */
	struct xn_subscription *on_ready, *on_db_failed;
};

/* ---- task.c ---- */
struct live *task_live(struct xn_tasks *tasks, const char *ref); /* or NULL */
/* The pending row, or NULL. */
struct xn_row *task_pending(struct xn_tasks *tasks, const char *ref);
void task_end(struct xn_tasks *tasks, const char *ref, struct xn_value *fields_taken,
	      void (*done)(void *arg), void *arg);
void task_cancel(struct xn_tasks *tasks, struct xn_row *row, const char *canceller);
bool task_row_is_pending(const struct xn_row *row);
struct xn_row *task_row_create(struct xn_tasks *tasks, const char *label, const char *description,
			       const struct xn_caller *owner, bool made_by_client);

/* ---- task_gc.c ---- */
void task_gc_start(struct xn_tasks *tasks);
void task_gc_soon(struct xn_tasks *tasks);
void task_gc_run(struct xn_tasks *tasks);
void task_gc_clear(struct xn_tasks *tasks);

/* ---- op_journal.c ---- */
extern const struct xn_op_store task_op_store;
/* Notes what is journaled; ends tasks whose call was interrupted and left no operation. */
void task_journal_read(struct xn_tasks *tasks);
void task_journal_restart(struct xn_tasks *tasks);
/* After turns that the disk refused: the journal holds the operations that run, and no other. */
void task_journal_restore(struct xn_tasks *tasks);
void task_journal_clear(struct xn_tasks *tasks);

/* ---- task_api.c ---- */
extern const struct xn_method_impl task_methods[];

#endif
