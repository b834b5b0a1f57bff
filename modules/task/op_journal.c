/*
 * The journal of running operations: rows of the internal class xn_operation, written by the step
 * engine through struct xn_op_store, and what a restart makes of the rows it finds.
 */
#include "core/json.h"
#include "modules/task/task_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- written ---- */

static struct xn_value *error_set(const struct xn_error *err)
{
	struct xn_value *set = xn_set_new();

	if (!err->code)
		return set;
	xn_set_append_string(&set, err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_set_append_string(&set, err->params[i]);
	return set;
}

static struct xn_value *args_json(const struct xn_op *op)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!op->args)
		return xn_string("{}");
	xn_json_write(op->args, &text);
	return xn_string_len(text.data, text.len);
}

static void create_entry(struct xn_tasks *tasks, const struct xn_op *op)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "kind", op->kind->name);
	xn_map_put(&fields, "version", xn_int(op->kind->version));
	xn_map_put(&fields, "step", xn_int(op->step));
	xn_map_put(&fields, "undoing", xn_bool(op->undoing));
	xn_map_put(&fields, "args_json", args_json(op));
	xn_map_put_string(&fields, "task", *op->task ? op->task : XN_NULL_REF);
	xn_map_put(&fields, "error", error_set(&op->error));
	xn_map_put_string(&fields, "session", op->session);
	xn_map_put_string(&fields, "on_behalf", op->on_behalf);
	xn_map_put(&fields, "created", xn_datetime(xn_wall_s(tasks->core->loop)));
	xn_db_create(tasks->db, XN_CLASS_xn_operation, op->id, fields);
}

static void change_entry(struct xn_tasks *tasks, struct xn_row *row, const struct xn_op *op)
{
	xn_db_set_int(tasks->db, row, XN_xn_operation_step, op->step);
	xn_db_set_bool(tasks->db, row, XN_xn_operation_undoing, op->undoing);
	xn_db_set(tasks->db, row, XN_xn_operation_args_json, args_json(op));
	xn_db_set(tasks->db, row, XN_xn_operation_error, error_set(&op->error));
}

/* An entry on its way to the journal; the operation may end before it is there. */
struct saving {
	struct xn_list link;
	struct xn_tasks *tasks;
	struct xn_db_wait wait;
	struct xn_op_saving which;
	uint64_t losses; /* of the database, before */
	bool is_undo;
};

static void on_saved(struct xn_db_wait *wait, int rc)
{
	struct saving *saving = xn_container_of(wait, struct saving, wait);
	struct xn_op_saving which = saving->which;
	struct xn_tasks *tasks = saving->tasks;
	bool lost = xn_db_losses(tasks->db) != saving->losses;

	/* An undo that is tried again changes nothing in its entry, so no turn was refused: but the
	 * undo would be. */
	if (rc == 0 && saving->is_undo)
		rc = xn_db_writable(tasks->db);
	xn_list_remove(&saving->link);
	free(saving);
	xn_op_saved(tasks->core, &which, rc, lost);
}

static void journal_save(struct xn_core *core, const struct xn_op *op)
{
	struct xn_tasks *tasks = xn_tasks_of(core);
	struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_xn_operation, op->id);
	struct saving *saving = xn_calloc(1, sizeof(*saving));
	struct live *live = task_live(tasks, op->task);

	if (live)
		live->is_operation = true;
	if (row)
		change_entry(tasks, row, op);
	else
		create_entry(tasks, op);
	saving->tasks = tasks;
	saving->losses = xn_db_losses(tasks->db);
	saving->which = xn_op_saving(op);
	saving->is_undo = op->undoing;
	xn_list_push(&tasks->savings, &saving->link);
	xn_db_when_visible(tasks->db, &saving->wait, on_saved);
}

static void journal_remove(struct xn_core *core, const struct xn_op *op)
{
	struct xn_tasks *tasks = xn_tasks_of(core);
	struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_xn_operation, op->id);

	if (row)
		xn_db_delete(tasks->db, row);
}

static void journal_progress(struct xn_core *core, const struct xn_op *op, double fraction)
{
	struct xn_tasks *tasks = xn_tasks_of(core);

	char step[80];

	if (!*op->task)
		return;
	snprintf(step, sizeof(step), "%s%s", op->undoing ? "undo: " : "", xn_op_step_name(op));
	xn_task_progress(tasks, op->task, fraction);
	xn_task_step(tasks, op->task, step);
	xn_task_waiting(tasks, op->task, op->waiting_for, "");
}

/* A reference that is no task's is only the name under which it holds objects. */
static void journal_acts(struct xn_core *core, const struct xn_op *op)
{
	struct xn_tasks *tasks = xn_tasks_of(core);
	bool has_task = *op->task && xn_db_get(tasks->db, XN_CLASS_task, op->task);
	const struct xn_db_origin origin = {
		.session = op->session,
		.task = has_task ? op->task : "",
		.caller = *op->on_behalf ? op->on_behalf : op->kind->name,
	};

	xn_db_set_origin(tasks->db, &origin);
}

const struct xn_op_store task_op_store = {
	.acts = journal_acts,
	.save = journal_save,
	.remove = journal_remove,
	.progress = journal_progress,
};

/* ---- kinds ---- */

static struct kind_entry *find_kind(struct xn_tasks *tasks, const char *name)
{
	xn_list_each(link, &tasks->kinds)
	{
		struct kind_entry *entry = xn_list_entry(link, struct kind_entry, link);

		if (strcmp(entry->kind->name, name) == 0)
			return entry;
	}
	return NULL;
}

void xn_task_register_kind(struct xn_tasks *tasks, const struct xn_op_kind *kind)
{
	struct kind_entry *entry;

	if (find_kind(tasks, kind->name))
		return;
	entry = xn_calloc(1, sizeof(*entry));
	entry->kind = kind;
	xn_list_push(&tasks->kinds, &entry->link);
}

void xn_task_register_on_end(struct xn_tasks *tasks, const struct xn_op_kind *kind,
			     void (*restarted)(struct xn_op *op, void *arg),
			     void (*on_end)(struct xn_op *op, const struct xn_error *err,
					    void *arg),
			     void *arg)
{
	struct kind_entry *entry;

	xn_task_register_kind(tasks, kind);
	entry = find_kind(tasks, kind->name);
	entry->restarted = restarted;
	entry->on_end = on_end;
	entry->arg = arg;
}

/* ---- read at start ---- */

static void fail_interrupted(struct xn_tasks *tasks, const char *task, const char *why)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_INTERNAL_ERROR, why);
	xn_task_fail(tasks, task, &err, NULL, NULL);
	xn_error_clear(&err);
}

void task_journal_read(struct xn_tasks *tasks)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *working = xn_set_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *orphans = xn_set_new();

	tasks->interrupted = xn_set_new();
	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_xn_operation); row;
	     row = xn_db_next(tasks->db, row)) {
		xn_set_append_string(&tasks->interrupted, xn_row_ref(row));
		xn_set_insert_sorted(&working, xn_string(xn_row_string(row, XN_xn_operation_task)));
	}
	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_task); row;
	     row = xn_db_next(tasks->db, row)) {
		bool is_idle = xn_row_bool(row, XN_task_xn_made_by_client) &&
			       !xn_row_map_string(row, XN_task_other_config, XN_OP_STEP_KEY);

		if (task_row_is_pending(row) && !is_idle &&
		    !xn_set_has_string(working, xn_row_ref(row)))
			xn_set_append_string(&orphans, xn_row_ref(row));
	}
	for (size_t i = 0; i < xn_set_len(orphans); i++)
		fail_interrupted(tasks, xn_value_string(xn_set_at(orphans, i)),
				 "interrupted by a restart of the server");
}

/* ---- restarted ---- */

struct restart { /* one operation that goes on after a restart */
	struct xn_list link;
	struct xn_tasks *tasks;
	struct kind_entry *entry;
	struct xn_op *op;
	char task[XN_REF_LEN];
};

static void restart_free(struct restart *restart)
{
	xn_list_remove(&restart->link);
	free(restart);
}

/* The caller is gone, so its task is told here. A call's result is the operation's argument
 * "result", where it has one. */
static void end_task(struct restart *restart, const struct xn_error *err)
{
	const struct xn_method *method = xn_method_find(restart->op->kind->name);

	if (!*restart->task)
		return;
	if (err)
		xn_task_fail(restart->tasks, restart->task, err, NULL, NULL);
	else
		xn_task_succeed(restart->tasks, restart->task, method ? method->result : NULL,
				restart->op->args ? xn_map_get(restart->op->args, "result") : NULL,
				NULL, NULL);
}

static void on_restarted_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct restart *restart = arg;

	if (restart->entry->on_end)
		restart->entry->on_end(op, err, restart->entry->arg);
	end_task(restart, err);
	restart_free(restart);
}

static void cancel_restarted(void *arg)
{
	struct restart *restart = arg;

	xn_op_cancel(restart->op);
}

static struct xn_op *make_op(struct xn_tasks *tasks, const struct kind_entry *entry,
			     const struct xn_row *row)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *args = NULL;
	const char *text = xn_row_string(row, XN_xn_operation_args_json);

	if (!entry || xn_json_parse(text, strlen(text), &args, NULL) < 0)
		return NULL;
	return entry->kind->make(tasks->core, args);
}

static void take_error(struct xn_op *op, const struct xn_value *error)
{
	if (!xn_set_len(error))
		return;
	xn_error_clear(&op->error);
	op->error.own_code = xn_strdup(xn_value_string(xn_set_at(error, 0)));
	op->error.code = op->error.own_code;
	for (size_t i = 1; i < xn_set_len(error); i++)
		xn_error_add_param(&op->error, xn_value_string(xn_set_at(error, i)));
}

/* No code of this release knows how to go on: say so, and let go of the object. */
static void give_up(struct xn_tasks *tasks, struct xn_row *row)
{
	const char *task = xn_row_string(row, XN_xn_operation_task);

	xn_log_error(tasks->core->log, "task", "operation %s (%s) cannot be restarted: dropped",
		     xn_row_ref(row), xn_row_string(row, XN_xn_operation_kind));
	fail_interrupted(tasks, task,
			 "interrupted by a restart; this release cannot go on with it");
	xn_db_delete(tasks->db, row);
}

/* What was decided, where people look for it. */
static void tell_restart(struct xn_tasks *tasks, const struct xn_op *op)
{
	const char *how = op->finished && op->undoing ? "undone before, only its end was missing"
			  : op->finished	      ? "done before, only its end was missing"
			  : op->undoing		      ? "undone from step"
						      : "resumed at step";
	struct xn_row *task = xn_db_get(tasks->db, XN_CLASS_task, op->task);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add_string(&text, how);
	if (!op->finished)
		xn_buf_printf(&text, " \"%s\"", xn_op_step_name(op));
	xn_log_info(tasks->core->log, "task", "after a restart: %s %s (%s): %s", op->kind->name,
		    op->id, op->task, xn_buf_cstr(&text));
	if (task)
		xn_db_map_put(tasks->db, task, XN_task_other_config, TASK_RESTART_KEY,
			      xn_buf_cstr(&text));
}

static void restart_op(struct xn_tasks *tasks, struct xn_row *row)
{
	const char *task = xn_row_string(row, XN_xn_operation_task);
	struct kind_entry *entry = find_kind(tasks, xn_row_string(row, XN_xn_operation_kind));
	struct xn_op *op = make_op(tasks, entry, row);
	bool undoing = xn_row_bool(row, XN_xn_operation_undoing);
	struct restart *restart;
	char id[XN_REF_LEN];

	if (!op) {
		give_up(tasks, row);
		return;
	}
	restart = xn_calloc(1, sizeof(*restart));
	restart->tasks = tasks;
	restart->entry = entry;
	restart->op = op;
	if (strcmp(task, XN_NULL_REF) != 0)
		snprintf(restart->task, sizeof(restart->task), "%s", task);
	xn_list_push(&tasks->restarted, &restart->link);
	take_error(op, xn_row_get(row, XN_xn_operation_error));
	if (xn_row_int(row, XN_xn_operation_version) != (int64_t)entry->kind->version) {
		undoing = true;
		if (!op->error.code)
			xn_error_set(&op->error, XN_ERR_INTERNAL_ERROR,
				     "interrupted by a restart into another release");
	}
	snprintf(op->task, sizeof(op->task), "%s", restart->task); /* who holds the objects */
	snprintf(op->session, sizeof(op->session), "%s",
		 xn_row_string(row, XN_xn_operation_session));
	snprintf(op->on_behalf, sizeof(op->on_behalf), "%s",
		 xn_row_string(row, XN_xn_operation_on_behalf));
	/* Its work takes turns with its session's other work, as before. */
	xn_loop_set_own_caller(tasks->core->loop,
			       *op->session ? xn_hash_string(op->session) : 0);
	journal_acts(tasks->core, op);
	op->step = (int)xn_row_int(row, XN_xn_operation_step); /* it looks how far this was */
	op->undoing = undoing || entry->kind->on_restart == XN_RESTART_UNDO;
	if (entry->restarted)
		entry->restarted(op, entry->arg);
	snprintf(id, sizeof(id), "%s", xn_row_ref(row));
	xn_op_restart(op, id, restart->task, (int)xn_row_int(row, XN_xn_operation_step), undoing,
		      on_restarted_end, restart);
	tell_restart(tasks, op);
	if (*restart->task)
		xn_task_on_cancel(tasks, restart->task, cancel_restarted, restart);
	xn_db_set_origin(tasks->db, NULL);
	xn_loop_set_caller(tasks->core->loop, 0);
}

void task_journal_restart(struct xn_tasks *tasks)
{
	struct xn_value *refs = tasks->interrupted;

	tasks->interrupted = NULL;
	for (size_t i = 0; refs && i < xn_set_len(refs); i++) {
		struct xn_row *row = xn_db_get(tasks->db, XN_CLASS_xn_operation,
					       xn_value_string(xn_set_at(refs, i)));

		if (row)
			restart_op(tasks, row);
	}
	xn_value_unref(refs);
}

/* ---- after turns that were rolled back ---- */

static void note_live(const struct xn_op *op, void *arg)
{
	struct xn_value **live = arg;

	xn_set_insert_sorted(live, xn_string(op->id));
}

void task_journal_restore(struct xn_tasks *tasks)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *live = xn_set_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *ended = xn_set_new();

	xn_op_save_all(tasks->core);
	if (tasks->interrupted)
		return; /* not begun again yet: all of them stay */
	xn_op_each(tasks->core, note_live, &live);
	for (struct xn_row *row = xn_db_first(tasks->db, XN_CLASS_xn_operation); row;
	     row = xn_db_next(tasks->db, row))
		if (!xn_set_has_string(live, xn_row_ref(row)))
			xn_set_append_string(&ended, xn_row_ref(row));
	for (size_t i = 0; i < xn_set_len(ended); i++)
		xn_db_delete(tasks->db, xn_db_get(tasks->db, XN_CLASS_xn_operation,
						  xn_value_string(xn_set_at(ended, i))));
}

void task_journal_clear(struct xn_tasks *tasks)
{
	struct xn_list *link;

	while ((link = tasks->restarted.next) != &tasks->restarted)
		restart_free(xn_list_entry(link, struct restart, link));
	while ((link = xn_list_pop(&tasks->kinds)))
		free(xn_list_entry(link, struct kind_entry, link));
	while ((link = xn_list_pop(&tasks->savings))) {
		struct saving *saving = xn_list_entry(link, struct saving, link);

		xn_db_wait_cancel(&saving->wait);
		free(saving);
	}
	xn_value_unref(tasks->interrupted);
	tasks->interrupted = NULL;
}
