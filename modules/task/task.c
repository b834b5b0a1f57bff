/*
 * Task rows and their life: made, reported on, cancelled, ended. An end is journaled and synced
 * before anybody sees it. Called by dispatch, the step engine's store (op_journal.c) and handlers.
 */
#include "core/xml.h"
#include "modules/task/task_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FLUSH_PERIOD_MS = 100 };
static const double PROGRESS_STEP = 0.001; /* smaller ones are not worth an event */

/* ---- live tasks ---- */

struct live *task_live(struct xn_tasks *tasks, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&tasks->live, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct live *live = xn_container_of(node, struct live, by_ref);

		if (strcmp(live->ref, ref) == 0)
			return live;
	}
	return NULL;
}

static struct live *live_new(struct xn_tasks *tasks, const char *ref)
{
	struct live *live = xn_calloc(1, sizeof(*live));

	live->tasks = tasks;
	live->losses = xn_db_losses(tasks->db);
	snprintf(live->ref, sizeof(live->ref), "%s", ref);
	xn_list_init(&live->dirty);
	xn_list_init(&live->end_watchers);
	xn_list_init(&live->refused);
	xn_hmap_insert(&tasks->live, &live->by_ref, xn_hash_string(live->ref));
	return live;
}

static void live_free(struct live *live)
{
	struct xn_list *link;

	xn_hmap_remove(&live->tasks->live, &live->by_ref);
	xn_job_cancel(&live->cancel_job);
	xn_list_remove(&live->dirty);
	xn_list_remove(&live->refused);
	while ((link = xn_list_pop(&live->end_watchers)))
		free(xn_list_entry(link, struct end_watcher, link));
	xn_value_unref(live->end);
	free(live);
}

bool task_row_is_pending(const struct xn_row *row)
{
	const char *status = xn_row_string(row, XN_task_status);

	return strcmp(status, "pending") == 0 || strcmp(status, "cancelling") == 0;
}

const char *const xn_task_limits[XN_TASK_LIMITS] = {
	[XN_TASKS_PENDING] = "pending-tasks",
	[XN_TASKS_OF_CLIENTS] = "client-tasks",
	[XN_TASKS_OF_ACCOUNT] = "account-tasks",
};

static size_t limit_of(const struct xn_tasks *tasks, unsigned limit)
{
	return (size_t)xn_config_int(tasks->core->config, xn_task_limits[limit]);
}

/* Kept in the row: a session may end before its tasks do. */
static char *maker_of(struct xn_tasks *tasks, const struct xn_caller *caller)
{
	struct xn_row *session = xn_db_get(tasks->db, XN_CLASS_session, caller->session);

	return session ? xn_asprintf("%s %s", xn_row_string(session, XN_session_auth_user_sid),
				     xn_row_string(session, XN_session_auth_user_name))
		       : xn_asprintf(" %s", caller->user);
}

static void count_pending(struct xn_tasks *tasks, const char *maker, size_t used[XN_TASK_LIMITS])
{
	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_task); row;
	     row = xn_db_next(tasks->db, row)) {
		const char *made_by = xn_row_string(row, XN_task_xn_maker);

		if (!task_row_is_pending(row))
			continue;
		used[XN_TASKS_PENDING]++;
		used[XN_TASKS_OF_CLIENTS] += *made_by != '\0';
		used[XN_TASKS_OF_ACCOUNT] += maker && strcmp(made_by, maker) == 0;
	}
}

/* @maker NULL: of an operation, for which only the first limit counts. */
static int check_room(struct xn_tasks *tasks, const char *maker, struct xn_error *err)
{
	unsigned n_limits = maker ? XN_TASK_LIMITS : XN_TASKS_PENDING + 1;
	size_t rows = xn_db_count(tasks->db, XN_CLASS_task), used[XN_TASK_LIMITS] = {0};
	bool may_be_full = false;

	for (unsigned i = 0; i < n_limits; i++)
		may_be_full |= rows >= limit_of(tasks, i);
	if (!may_be_full)
		return 0;
	count_pending(tasks, maker, used);
	for (unsigned i = 0; i < n_limits; i++) {
		if (used[i] < limit_of(tasks, i))
			continue;
		tasks->n_refused[i]++;
		return xn_error_set(err, XN_ERR_TOO_MANY_PENDING_TASKS);
	}
	return 0;
}

int xn_task_check_room(struct xn_tasks *tasks, struct xn_error *err)
{
	return check_room(tasks, NULL, err);
}

int xn_task_check_clients_room(struct xn_tasks *tasks, const struct xn_caller *maker,
			       struct xn_error *err)
{
	char *name XN_CLEANUP(xn_free_p) = maker_of(tasks, maker);

	return check_room(tasks, name, err);
}

uint64_t xn_tasks_refused(const struct xn_tasks *tasks, enum xn_task_limit limit)
{
	return tasks->n_refused[limit];
}

struct xn_row *task_pending(struct xn_tasks *tasks, const char *ref)
{
	struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_task, ref);

	return row && task_row_is_pending(row) ? row : NULL;
}

/* Also for tasks that a client made and a transfer now works on. NULL: not pending. */
static struct live *need_live(struct xn_tasks *tasks, const char *ref)
{
	struct live *live = task_live(tasks, ref);

	if (live)
		return live;
	return task_pending(tasks, ref) ? live_new(tasks, ref) : NULL;
}

/* ---- made ---- */

static const char *this_host(struct xn_tasks *tasks)
{
	struct xn_row *pool = xn_db_first(tasks->db, XN_CLASS_pool);
	struct xn_row *host = pool ? xn_row_follow(tasks->db, pool, XN_pool_master) : NULL;

	return host ? xn_row_ref(host) : XN_NULL_REF;
}

struct xn_row *task_row_create(struct xn_tasks *tasks, const char *label, const char *description,
			       const struct xn_caller *owner, bool made_by_client)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	char *maker XN_CLEANUP(xn_free_p) = made_by_client ? maker_of(tasks, owner) : NULL;
	bool has_session = owner && xn_db_get(tasks->db, XN_CLASS_session, owner->session);

	xn_map_put_string(&fields, "name_label", label);
	xn_map_put_string(&fields, "name_description", description);
	xn_map_put(&fields, "created", xn_datetime(xn_wall_s(tasks->core->loop)));
	xn_map_put_string(&fields, "status", "pending");
	xn_map_put_string(&fields, "session", has_session ? owner->session : XN_NULL_REF);
	xn_map_put_string(&fields, "resident_on", this_host(tasks));
	xn_map_put_string(&fields, "type", "<none/>");
	xn_map_put_string(&fields, "subtask_of", XN_NULL_REF);
	xn_map_put(&fields, "xn_made_by_client", xn_bool(made_by_client));
	xn_map_put_string(&fields, "xn_maker", maker ? maker : "");
	task_gc_soon(tasks);
	return xn_db_create(tasks->db, XN_CLASS_task, NULL, fields);
}

void xn_task_create(struct xn_tasks *tasks, const char *label, const char *description,
		    const struct xn_caller *owner, char ref[48])
{
	struct xn_row *row = task_row_create(tasks, label, description, owner, false);

	snprintf(ref, XN_REF_LEN, "%s", xn_row_ref(row));
	live_new(tasks, ref);
}

void xn_task_forget(struct xn_tasks *tasks, const char *ref)
{
	struct live *live = task_live(tasks, ref);
	struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_task, ref);

	if (row)
		xn_db_delete(tasks->db, row);
	if (live && live->is_recording)
		live->is_forgotten = true; /* freed when the database answers */
	else if (live)
		live_free(live);
}

/* ---- progress ---- */

static void write_note(struct xn_tasks *tasks, struct xn_row *row, const char *key,
		       const char *text)
{
	if (*text)
		xn_db_map_put(tasks->db, row, XN_task_other_config, key, text);
	else
		xn_db_map_remove(tasks->db, row, XN_task_other_config, key);
}

/* In the API's own form of a date. */
static const char *since_text(const struct live *live, char out[24])
{
	time_t when = live->since_s;
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(out, 24, "%Y%m%dT%H:%M:%SZ", &tm);
	return out;
}

static void flush(struct live *live)
{
	struct xn_tasks *tasks = live->tasks;
	struct xn_row *row = task_pending(tasks, live->ref);
	char since[24];

	xn_list_remove(&live->dirty);
	if (!row || live->end)
		return;
	live->written_us = xn_now_us(tasks->core->loop);
	if (fabs(live->progress - xn_value_float(xn_row_get(row, XN_task_progress))) >=
	    PROGRESS_STEP)
		xn_db_set(tasks->db, row, XN_task_progress, xn_float(live->progress));
	write_note(tasks, row, XN_OP_STEP_KEY, live->step);
	write_note(tasks, row, TASK_WAITING_KEY, live->waiting_for);
	write_note(tasks, row, TASK_SINCE_KEY, *live->waiting_for ? since_text(live, since) : "");
	write_note(tasks, row, TASK_HOLDERS_KEY, *live->waiting_for ? live->holders : "");
}

static void on_flush_timer(struct xn_timer *timer)
{
	struct xn_tasks *tasks = xn_container_of(timer, struct xn_tasks, flush_timer);

	xn_list_each_safe(link, &tasks->dirty) flush(xn_list_entry(link, struct live, dirty));
}

/* Now, when the last write is long enough ago; else with the next beat. */
static void flush_soon(struct live *live)
{
	struct xn_loop *loop = live->tasks->core->loop;

	if (xn_now_us(loop) - live->written_us >= FLUSH_PERIOD_MS * 1000) {
		flush(live);
		return;
	}
	if (xn_list_empty(&live->dirty))
		xn_list_push(&live->tasks->dirty, &live->dirty);
	if (!xn_timer_is_armed(&live->tasks->flush_timer))
		xn_timer_arm(loop, &live->tasks->flush_timer, FLUSH_PERIOD_MS * 1000,
			     on_flush_timer);
}

void xn_task_progress(struct xn_tasks *tasks, const char *ref, double fraction)
{
	struct live *live = need_live(tasks, ref);

	if (!live || live->end || !(fraction > live->progress))
		return; /* never backwards; not a number neither */
	live->progress = fraction < 1.0 ? fraction : 1.0;
	flush_soon(live);
}

void xn_task_waiting(struct xn_tasks *tasks, const char *ref, const char *what, const char *holders)
{
	struct live *live = need_live(tasks, ref);

	if (!live || live->end ||
	    (strcmp(live->waiting_for, what) == 0 && strcmp(live->holders, holders) == 0))
		return;
	snprintf(live->waiting_for, sizeof(live->waiting_for), "%s", what);
	snprintf(live->holders, sizeof(live->holders), "%s", holders);
	live->since_s = xn_wall_s(tasks->core->loop);
	flush_soon(live);
}

void xn_task_step(struct xn_tasks *tasks, const char *ref, const char *step)
{
	struct live *live = need_live(tasks, ref);

	if (!live || live->end || strcmp(live->step, step) == 0)
		return;
	snprintf(live->step, sizeof(live->step), "%s", step);
	flush_soon(live);
}

/* ---- cancelled ---- */

static void set_cancellable(struct xn_tasks *tasks, struct xn_row *row, bool yes)
{
	struct xn_value *allowed = xn_set_new();

	if (yes)
		xn_set_append_string(&allowed, "cancel");
	xn_db_set(tasks->db, row, XN_task_allowed_operations, allowed);
}

static void on_cancel_job(struct xn_job *job)
{
	struct live *live = xn_container_of(job, struct live, cancel_job);

	if (live->cancel && !live->end)
		live->cancel(live->cancel_arg); /* may free @live */
}

static void defer_cancel(struct live *live)
{
	xn_loop_defer(live->tasks->core->loop, &live->cancel_job, XN_PRIO_OPERATION, on_cancel_job);
}

void xn_task_on_cancel(struct xn_tasks *tasks, const char *ref, void (*cancel)(void *arg),
		       void *arg)
{
	struct live *live = need_live(tasks, ref);
	struct xn_row *row = task_pending(tasks, ref);

	if (!live || !row || live->end)
		return;
	live->cancel = cancel;
	live->cancel_arg = arg;
	set_cancellable(tasks, row, cancel != NULL);
	if (cancel && live->cancel_asked) /* asked while nothing could be done about it */
		defer_cancel(live);
}

static void end_cancelled(struct xn_tasks *tasks, const char *ref)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_TASK_CANCELLED, ref);
	xn_task_fail(tasks, ref, &err, NULL, NULL);
	xn_error_clear(&err);
}

/* A task that nobody here works on ends at once; others end when their work has stopped. */
void task_cancel(struct xn_tasks *tasks, struct xn_row *row, const char *canceller)
{
	struct live *live = task_live(tasks, xn_row_ref(row));
	bool is_idle = !live || (!live->cancel && xn_row_bool(row, XN_task_xn_made_by_client));

	if (live && live->end)
		return; /* too late: its end is on its way to the disk */
	xn_db_map_put(tasks->db, row, XN_task_current_operations, canceller, "cancel");
	if (is_idle) {
		end_cancelled(tasks, xn_row_ref(row));
		return;
	}
	live->cancel_asked = true;
	if (live->cancel)
		defer_cancel(live);
}

/* ---- ended ---- */

static void on_idle_watcher(struct xn_job *job)
{
	struct end_watcher *watcher = xn_container_of(job, struct end_watcher, job);

	xn_list_remove(&watcher->link);
	watcher->done(watcher->arg);
	free(watcher);
}

static void watch_end(struct xn_tasks *tasks, struct live *live, void (*done)(void *arg), void *arg)
{
	struct end_watcher *watcher;

	if (!done)
		return;
	watcher = xn_calloc(1, sizeof(*watcher));
	watcher->done = done;
	watcher->arg = arg;
	if (live) {
		xn_list_push(&live->end_watchers, &watcher->link);
		return;
	}
	xn_list_push(&tasks->idle_watchers, &watcher->link);
	xn_loop_defer(tasks->core->loop, &watcher->job, XN_PRIO_REPLY, on_idle_watcher);
}

static void tell_end_watchers(struct live *live)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&live->end_watchers))) {
		struct end_watcher *watcher = xn_list_entry(link, struct end_watcher, link);

		watcher->done(watcher->arg);
		free(watcher);
	}
}

static struct xn_value *failure_fields(const struct xn_error *err);

static void replace_end(struct live *live, const struct xn_error *err)
{
	struct xn_value *fields = failure_fields(err);

	xn_map_put(&fields, "finished", xn_value_ref(xn_map_get(live->end, "finished")));
	xn_map_put(&fields, "allowed_operations", xn_set_new());
	xn_value_unref(live->end);
	live->end = fields;
}

/* What a call of one or a few turns changed went with a turn that was refused: it has not succeeded,
 * and a later turn must not say so. */
static void fail_what_was_lost(struct live *live, int rc)
{
	const char *status = xn_map_get_string(live->end, "status");
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (live->is_operation || strcmp(status, "success") != 0 ||
	    live->losses == xn_db_losses(live->tasks->db))
		return;
	xn_error_not_stored(&err, rc);
	replace_end(live, &err);
}

/* Turns of others that are too large do not follow on each other like that: it is the end. */
static void fail_what_is_too_large(struct live *live, int rc)
{
	enum { TRIES = 3 };
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (rc != -EMSGSIZE || ++live->n_too_large < TRIES)
		return;
	xn_error_not_stored(&err, rc);
	replace_end(live, &err);
}

static void on_end_recorded(int rc, void *arg)
{
	struct live *live = arg;
	struct xn_tasks *tasks = live->tasks;

	live->is_recording = false;
	if (rc < 0 && rc != -ENOENT && !live->is_forgotten) { /* on_db_failed tries again */
		xn_log_error(tasks->core->log, "task", "the end of %s is not recorded: %s",
			     live->ref, strerror(-rc));
		fail_what_was_lost(live, rc);
		fail_what_is_too_large(live, rc);
		xn_list_push(&tasks->refused, &live->refused);
		tell_end_watchers(live);
		return;
	}
	tell_end_watchers(live);
	live_free(live);
}

/* Nobody is about to cancel what has ended. A mark that it shall go (task_gc.c) stays. */
static void drop_cancels(struct xn_tasks *tasks, struct xn_row *row)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *current = xn_value_ref(xn_row_get(row, XN_task_current_operations));

	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), "cancel") == 0)
			xn_db_map_remove(tasks->db, row, XN_task_current_operations,
					 xn_map_key_at(current, i));
}

static void record_end(struct live *live)
{
	struct xn_tasks *tasks = live->tasks;
	struct xn_row *row = task_pending(tasks, live->ref);

	if (row)
		drop_cancels(tasks, row);
	live->is_recording = true;
	xn_db_set_later(tasks->db, live->ref, XN_CLASS_task, xn_value_ref(live->end),
			on_end_recorded, live);
}

void task_end(struct xn_tasks *tasks, const char *ref, struct xn_value *fields,
	      void (*done)(void *arg), void *arg)
{
	static const char *const passing[] = {XN_OP_STEP_KEY, TASK_WAITING_KEY, TASK_SINCE_KEY,
					      TASK_HOLDERS_KEY};
	struct live *live = need_live(tasks, ref);
	struct xn_row *row = task_pending(tasks, ref);

	if (live && !row && !live->end) { /* its creation was refused, or a client removed it */
		live_free(live);
		live = NULL;
	}
	watch_end(tasks, live, done, arg);
	if (!live || live->end) { /* the first end wins */
		xn_value_unref(fields);
		return;
	}
	xn_job_cancel(&live->cancel_job);
	xn_list_remove(&live->dirty);
	for (size_t i = 0; i < XN_ARRAY_SIZE(passing); i++)
		xn_db_map_remove(tasks->db, row, XN_task_other_config, passing[i]);
	xn_map_put(&fields, "finished", xn_datetime(xn_wall_s(tasks->core->loop)));
	xn_map_put(&fields, "allowed_operations", xn_set_new());
	live->end = fields;
	fail_what_was_lost(live, -EIO); /* before this end's own turn */
	record_end(live);
}

void xn_task_succeed(struct xn_tasks *tasks, const char *ref, const struct xn_type *type,
		     const struct xn_value *result, void (*done)(void *arg), void *arg)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *fields = xn_map_new();

	if (result)
		xn_xml_write(result, &text);
	else
		xn_buf_add_string(&text, "<value></value>");
	xn_map_put_string(&fields, "status", "success");
	xn_map_put(&fields, "progress", xn_float(1.0));
	xn_map_put(&fields, "result", xn_string_len(text.data, text.len));
	task_end(tasks, ref, fields, done, arg);
}

static struct xn_value *failure_fields(const struct xn_error *err)
{
	struct xn_value *fields = xn_map_new(), *info = xn_set_new();
	bool is_cancel = strcmp(err->code, XN_ERR_TASK_CANCELLED) == 0;

	xn_set_append_string(&info, err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_set_append_string(&info, err->params[i]);
	xn_map_put_string(&fields, "status", is_cancel ? "cancelled" : "failure");
	xn_map_put(&fields, "progress", xn_float(1.0));
	xn_map_put(&fields, "error_info", info);
	return fields;
}

void xn_task_fail(struct xn_tasks *tasks, const char *ref, const struct xn_error *err,
		  void (*done)(void *arg), void *arg)
{
	task_end(tasks, ref, failure_fields(err), done, arg);
}

/* Rows whose removal was refused: their calls are over, and nobody will end them. */
static void drop_forgotten(struct xn_tasks *tasks)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_set_new();

	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_task); row;
	     row = xn_db_next(tasks->db, row))
		if (task_row_is_pending(row) && !xn_row_bool(row, XN_task_xn_made_by_client) &&
		    !task_live(tasks, xn_row_ref(row)))
			xn_set_append_string(&refs, xn_row_ref(row));
	for (size_t i = 0; i < xn_set_len(refs); i++)
		xn_db_delete(tasks->db, xn_db_get(tasks->db, XN_CLASS_task,
						  xn_value_string(xn_set_at(refs, i))));
}

static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	struct xn_tasks *tasks = arg;
	struct xn_list *link;
	struct xn_list again;

	if (ev->error)
		return;
	xn_list_init(&again);
	while ((link = xn_list_pop(&tasks->refused)))
		xn_list_push(&again, link);
	while ((link = xn_list_pop(&again)))
		record_end(xn_list_entry(link, struct live, refused));
	task_journal_restore(tasks);
	if (!tasks->interrupted) /* else tasks of operations that are not begun again yet */
		drop_forgotten(tasks);
}

/* ---- module ---- */

static void on_daemon_ready(const struct xn_ev_daemon_ready *ev, void *arg)
{
	task_journal_restart(arg);
}

static int task_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_tasks *tasks = xn_calloc(1, sizeof(*tasks));

	tasks->core = core;
	xn_list_init(&tasks->dirty);
	xn_list_init(&tasks->refused);
	xn_list_init(&tasks->idle_watchers);
	xn_list_init(&tasks->kinds);
	xn_list_init(&tasks->restarted);
	xn_list_init(&tasks->savings);
	core->op_store = &task_op_store;
	tasks->on_ready = xn_subscribe_daemon_ready(core->bus, "task", on_daemon_ready, tasks);
	tasks->on_db_failed = xn_subscribe_db_failed(core->bus, "task", on_db_failed, tasks);
	*state_out = tasks;
	return 0;
}

static int task_start(void *state, struct xn_error *err)
{
	struct xn_tasks *tasks = state;

	tasks->db = xn_db_of(tasks->core);
	task_journal_read(tasks);
	task_gc_start(tasks);
	return 0;
}

static void task_stop(void *state)
{
	struct xn_tasks *tasks = state;
	struct xn_hnode *node;
	struct xn_list *link;

	xn_bus_unsubscribe(tasks->on_ready);
	xn_bus_unsubscribe(tasks->on_db_failed);
	xn_timer_cancel(&tasks->flush_timer);
	task_gc_clear(tasks);
	task_journal_clear(tasks);
	while ((node = xn_hmap_first(&tasks->live)))
		live_free(xn_container_of(node, struct live, by_ref));
	xn_hmap_clear(&tasks->live);
	while ((link = xn_list_pop(&tasks->idle_watchers))) {
		struct end_watcher *watcher = xn_list_entry(link, struct end_watcher, link);

		xn_job_cancel(&watcher->job);
		free(watcher);
	}
	if (tasks->core->op_store == &task_op_store)
		tasks->core->op_store = NULL;
	free(tasks);
}

static const char *const task_needs[] = {"auth", "db", NULL};

const struct xn_module xn_task_module = {
	.name = "task",
	.needs = task_needs,
	.methods = task_methods,
	.init = task_init,
	.start = task_start,
	.stop = task_stop,
};
