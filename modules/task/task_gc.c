/*
 * Garbage collection of tasks, every 30 seconds and when many were made: finished ones by age and
 * by number, pending ones that nobody works on and nobody moves. Running work is never touched.
 * One call chooses which go, others remove them a few at a time: it may be all that there may be.
 */
#include "modules/task/task_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	GC_PERIOD_S = 30,
	FINISHED_TIMEOUT_S = 3900,
	PENDING_TIMEOUT_S = 86400,
	MAX_TASKS = 200,       /* beyond: the oldest finished go ... */
	SETTLE_S = 60,         /* ... but leave watchers time to see the end, up to ... */
	MAX_TASKS_HARD = 1000, /* ... this many tasks */
};

/* A pending task past its time; goes when its progress is the same at the next pass. */
struct suspect {
	struct xn_hnode by_ref;
	char ref[XN_REF_LEN];
	double progress;
	bool seen; /* in the pass under way */
};

struct finished {
	struct xn_row *row;
	int64_t finished_s;
	uint64_t modified;
};

struct task_victim {
	char ref[XN_REF_LEN];
	bool is_pending; /* one that has ended since it was chosen is to be seen first */
};

static struct suspect *find_suspect(struct xn_tasks *tasks, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&tasks->probation, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct suspect *suspect = xn_container_of(node, struct suspect, by_ref);

		if (strcmp(suspect->ref, ref) == 0)
			return suspect;
	}
	return NULL;
}

/* Whether the task had its second chance. */
static bool is_stuck(struct xn_tasks *tasks, struct xn_row *row)
{
	struct suspect *suspect = find_suspect(tasks, xn_row_ref(row));
	double progress = xn_value_float(xn_row_get(row, XN_task_progress));

	if (suspect) {
		bool moved = progress > suspect->progress;

		suspect->seen = true;
		suspect->progress = progress;
		return !moved;
	}
	suspect = xn_calloc(1, sizeof(*suspect));
	snprintf(suspect->ref, sizeof(suspect->ref), "%s", xn_row_ref(row));
	suspect->progress = progress;
	suspect->seen = true;
	xn_hmap_insert(&tasks->probation, &suspect->by_ref, xn_hash_string(suspect->ref));
	return false;
}

/* Those not met in this pass have ended, gone, or been removed by it. */
static void drop_suspects(struct xn_tasks *tasks, bool all)
{
	struct xn_hnode *node = xn_hmap_first(&tasks->probation);

	while (node) {
		struct suspect *suspect = xn_container_of(node, struct suspect, by_ref);

		node = xn_hmap_next(&tasks->probation, node);
		if (all || !suspect->seen) {
			xn_hmap_remove(&tasks->probation, &suspect->by_ref);
			free(suspect);
		} else {
			suspect->seen = false;
		}
	}
}

static bool is_marked(const struct xn_row *row)
{
	const char *mark = xn_row_map_string(row, XN_task_current_operations, "task");

	return mark && strcmp(mark, "destroy") == 0;
}

/* Adds what is too old to @victims; returns how many tasks stay, the finished ones in @out. */
static size_t sort_out(struct xn_tasks *tasks, struct xn_row **victims, size_t *n_victims,
		       struct finished *out, size_t *n_out)
{
	int64_t now = xn_wall_s(tasks->core->loop);
	size_t n_staying = 0;

	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_task); row;
	     row = xn_db_next(tasks->db, row)) {
		int64_t finished_s = xn_row_int(row, XN_task_finished);
		bool is_pending = task_row_is_pending(row), goes;

		if (task_live(tasks, xn_row_ref(row))) {
			n_staying++;
			continue;
		}
		if (is_pending)
			goes = now - xn_row_int(row, XN_task_created) > PENDING_TIMEOUT_S &&
			       is_stuck(tasks, row);
		else
			goes = is_marked(row) || now - finished_s > FINISHED_TIMEOUT_S;
		if (goes) {
			victims[(*n_victims)++] = row;
			continue;
		}
		n_staying++;
		if (!is_pending)
			out[(*n_out)++] = (struct finished){row, finished_s, xn_row_modified(row)};
	}
	return n_staying;
}

static int by_age(const void *pa, const void *pb)
{
	const struct finished *a = pa, *b = pb;

	if (a->finished_s != b->finished_s)
		return a->finished_s < b->finished_s ? -1 : 1;
	return a->modified < b->modified ? -1 : a->modified > b->modified;
}

/* ---- removing ---- */

static void remove_one(struct xn_tasks *tasks, const struct task_victim *victim)
{
	struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_task, victim->ref);

	if (!row || task_row_is_pending(row) != victim->is_pending || task_live(tasks, victim->ref))
		return;
	if (victim->is_pending)
		xn_log_warn(tasks->core->log, "task", "%s is pending without progress: removed",
			    victim->ref);
	xn_db_delete(tasks->db, row);
}

static void drop_victims(struct xn_tasks *tasks)
{
	free(tasks->victims);
	tasks->victims = NULL;
	tasks->n_victims = tasks->victim_at = 0;
}

static void on_remove_job(struct xn_job *job)
{
	enum { A_SLICE = 200 };
	struct xn_tasks *tasks = xn_container_of(job, struct xn_tasks, remove_job);
	bool may_write = xn_db_writable(tasks->db) == 0; /* else the next pass chooses again */

	xn_db_set_origin(tasks->db, &(struct xn_db_origin){.caller = "task expiry"});
	for (int i = 0; i < A_SLICE && may_write && tasks->victim_at < tasks->n_victims; i++)
		remove_one(tasks, &tasks->victims[tasks->victim_at++]);
	xn_db_set_origin(tasks->db, NULL);
	if (may_write && tasks->victim_at < tasks->n_victims)
		xn_loop_defer(tasks->core->loop, job, XN_PRIO_IDLE, on_remove_job);
	else
		drop_victims(tasks);
}

static void remove_later(struct xn_tasks *tasks, struct xn_row *const *rows, size_t n)
{
	tasks->victims = xn_calloc(n, sizeof(*tasks->victims));
	tasks->n_victims = n;
	for (size_t i = 0; i < n; i++) {
		struct task_victim *victim = &tasks->victims[i];

		snprintf(victim->ref, sizeof(victim->ref), "%s", xn_row_ref(rows[i]));
		victim->is_pending = task_row_is_pending(rows[i]);
	}
	xn_loop_defer(tasks->core->loop, &tasks->remove_job, XN_PRIO_IDLE, on_remove_job);
}

/* ---- choosing ---- */

void task_gc_run(struct xn_tasks *tasks)
{
	size_t count = xn_db_count(tasks->db, XN_CLASS_task);
	struct xn_row **victims;
	struct finished *finished;
	int64_t now = xn_wall_s(tasks->core->loop);
	size_t n_victims = 0, n_finished = 0, n_staying;

	if (tasks->victims || xn_db_writable(tasks->db) < 0)
		return;
	victims = xn_calloc(count, sizeof(struct xn_row *));
	finished = xn_calloc(count, sizeof(*finished));
	n_staying = sort_out(tasks, victims, &n_victims, finished, &n_finished);
	if (n_staying > MAX_TASKS)
		qsort(finished, n_finished, sizeof(*finished), by_age);
	for (size_t i = 0; i < n_finished && n_staying > MAX_TASKS; i++) {
		if (now - finished[i].finished_s < SETTLE_S && n_staying <= MAX_TASKS_HARD)
			break;
		victims[n_victims++] = finished[i].row;
		n_staying--;
	}
	drop_suspects(tasks, false);
	if (n_victims)
		remove_later(tasks, victims, n_victims);
	free(victims);
	free(finished);
}

static void on_gc_timer(struct xn_timer *timer)
{
	struct xn_tasks *tasks = xn_container_of(timer, struct xn_tasks, gc_timer);

	task_gc_run(tasks);
	task_gc_start(tasks);
}

void task_gc_start(struct xn_tasks *tasks)
{
	xn_timer_arm(tasks->core->loop, &tasks->gc_timer, GC_PERIOD_S * INT64_C(1000000),
		     on_gc_timer);
}

static void on_gc_job(struct xn_job *job)
{
	task_gc_run(xn_container_of(job, struct xn_tasks, gc_job));
}

void task_gc_soon(struct xn_tasks *tasks)
{
	/* At each hundredth above the limit, so that a pass over all is shared by many tasks. */
	size_t count = xn_db_count(tasks->db, XN_CLASS_task);

	if (count > MAX_TASKS_HARD && count % 100 == 0)
		xn_loop_defer(tasks->core->loop, &tasks->gc_job, XN_PRIO_IDLE, on_gc_job);
}

void task_gc_clear(struct xn_tasks *tasks)
{
	xn_timer_cancel(&tasks->gc_timer);
	xn_job_cancel(&tasks->gc_job);
	xn_job_cancel(&tasks->remove_job);
	drop_victims(tasks);
	drop_suspects(tasks, true);
	xn_hmap_clear(&tasks->probation);
}
