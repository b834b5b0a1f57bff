/* The API calls of the class task. A task belongs to who made it. */
#include "modules/auth/auth.h"
#include "modules/task/task_internal.h"

#include <stdlib.h>

static bool is_owner(struct xn_tasks *tasks, const struct xn_caller *caller,
		     const struct xn_row *row)
{
	struct xn_row *theirs = xn_row_follow(tasks->db, row, XN_task_session);
	struct xn_row *ours = xn_db_get(tasks->db, XN_CLASS_session, caller->session);

	if (!theirs || !ours)
		return false;
	return strcmp(xn_row_string(theirs, XN_session_auth_user_sid),
		      xn_row_string(ours, XN_session_auth_user_sid)) == 0 &&
	       strcmp(xn_row_string(theirs, XN_session_auth_user_name),
		      xn_row_string(ours, XN_session_auth_user_name)) == 0;
}

bool xn_task_is_clients(struct xn_tasks *tasks, const char *ref)
{
	struct xn_row *row = task_pending(tasks, ref);

	return row && xn_row_bool(row, XN_task_xn_made_by_client);
}

int xn_task_permit(struct xn_tasks *tasks, const struct xn_caller *caller, const char *ref,
		   struct xn_error *err)
{
	struct xn_row *row = xn_db_need(tasks->db, XN_CLASS_task, ref, err);

	if (!row)
		return -1;
	if (caller->is_superuser || caller->role <= XN_ROLE_POOL_OPERATOR ||
	    is_owner(tasks, caller, row))
		return 0;
	return xn_auth_denied("task.destroy/any", XN_ROLE_POOL_OPERATOR, err);
}

/* The task in argument 0, or NULL with @err: unknown, or not the caller's. */
static struct xn_row *need_own_task(struct xn_call *call, struct xn_error *err)
{
	struct xn_tasks *tasks = call->state;
	const char *ref = xn_call_string(call, 0);

	return xn_task_permit(tasks, &call->caller, ref, err) < 0
		       ? NULL
		       : xn_db_get(tasks->db, XN_CLASS_task, ref);
}

/* The same, for what only makes sense on a task that the server does not end by itself. */
static struct xn_row *need_settable_task(struct xn_call *call, struct xn_error *err)
{
	struct xn_tasks *tasks = call->state;
	struct xn_row *row = need_own_task(call, err);

	if (row && task_live(tasks, xn_row_ref(row)) &&
	    !xn_row_bool(row, XN_task_xn_made_by_client)) {
		xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
			     "the server works on this task and reports its state itself");
		return NULL;
	}
	return row;
}

static void finish_call(struct xn_call *call, struct xn_error *err)
{
	if (xn_error_is_set(err))
		xn_call_fail(call, err);
	else
		xn_call_reply_void(call);
}

static void task_create(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	struct xn_row *row = task_row_create(tasks, xn_call_string(call, 0),
					     xn_call_string(call, 1), &call->caller, true);

	xn_db_set_add(tasks->db, row, XN_task_allowed_operations, "cancel");
	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

static void task_destroy(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};
	struct xn_row *row = need_own_task(call, &err);

	if (row && task_live(tasks, xn_row_ref(row)))
		xn_db_map_put(tasks->db, row, XN_task_current_operations, "task", "destroy");
	else if (row)
		xn_db_delete(tasks->db, row);
	finish_call(call, &err);
}

static void task_cancel_call(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};
	struct xn_row *row = need_own_task(call, &err);
	char canceller[XN_REF_LEN];

	if (row && task_row_is_pending(row)) {
		xn_ref_new(tasks->core->loop, canceller); /* a synchronous call has no task row */
		task_cancel(tasks, row, *call->task ? call->task : canceller);
	}
	finish_call(call, &err);
}

/* Where the disk refuses, the end is kept and tried again; until then it is no success. */
static void on_status_recorded(void *arg)
{
	struct xn_call *call = arg;
	const struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};

	xn_db_check_writable(tasks->db, &err);
	finish_call(call, &err);
}

static void task_set_status(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};
	struct xn_row *row = need_settable_task(call, &err);
	const char *status = xn_call_string(call, 1);
	struct xn_value *fields;

	if (!row || !task_row_is_pending(row)) {
		finish_call(call, &err);
		return;
	}
	if (strcmp(status, "pending") == 0 || strcmp(status, "cancelling") == 0) {
		xn_db_set_string(tasks->db, row, XN_task_status, status);
		finish_call(call, &err);
		return;
	}
	fields = xn_map_new();
	xn_map_put_string(&fields, "status", status);
	task_end(tasks, xn_row_ref(row), fields, on_status_recorded, call);
}

/* set_progress, set_result, set_error_info: argument 1 into the row. */
static void set_field(struct xn_call *call, int field)
{
	struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};
	struct xn_row *row = need_settable_task(call, &err);

	if (row)
		xn_db_set(tasks->db, row, field, xn_value_ref(call->args[1]));
	finish_call(call, &err);
}

static void task_set_progress(struct xn_call *call)
{
	double fraction = xn_value_float(call->args[1]);
	struct xn_error err = {0};

	if (!(fraction >= 0.0 && fraction <= 1.0)) {
		xn_error_setf(&err, XN_ERR_INVALID_VALUE, "progress");
		xn_error_add_param(&err, "not between 0 and 1");
		xn_call_fail(call, &err);
		return;
	}
	set_field(call, XN_task_progress);
}

static void task_set_result(struct xn_call *call)
{
	set_field(call, XN_task_result);
}

static void task_set_error_info(struct xn_call *call)
{
	set_field(call, XN_task_error_info);
}

/* ---- other_config: keys of the map may need a role of their own ---- */

static void task_add_to_other_config(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	const char *key = xn_call_string(call, 1);
	struct xn_error err = {0};
	struct xn_row *row = need_own_task(call, &err);

	if (row && xn_auth_permit(&call->caller, call->method, key, &err) == 0) {
		if (xn_row_map_string(row, XN_task_other_config, key))
			xn_error_set(&err, XN_ERR_MAP_DUPLICATE_KEY, "task", "other_config",
				     xn_row_ref(row), key);
		else
			xn_db_map_put(tasks->db, row, XN_task_other_config, key,
				      xn_call_string(call, 2));
	}
	finish_call(call, &err);
}

static void task_remove_from_other_config(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	const char *key = xn_call_string(call, 1);
	struct xn_error err = {0};
	struct xn_row *row = need_own_task(call, &err);

	if (row && xn_auth_permit(&call->caller, call->method, key, &err) == 0)
		xn_db_map_remove(tasks->db, row, XN_task_other_config, key);
	finish_call(call, &err);
}

/* Entries that the caller may not change keep their value, or stay absent. The roles of keys are
 * told at the method that adds one. */
static struct xn_value *permitted_map(const struct xn_caller *caller, const struct xn_value *old,
				      const struct xn_value *wanted)
{
	const struct xn_method *add = xn_method_find("task.add_to_other_config");
	struct xn_value *merged = xn_map_new();

	for (size_t i = 0; i < xn_map_len(wanted); i++) {
		const char *key = xn_map_key_at(wanted, i);

		if (xn_auth_permit(caller, add, key, NULL) == 0)
			xn_map_put(&merged, key, xn_value_ref(xn_map_at(wanted, i)));
	}
	for (size_t i = 0; i < xn_map_len(old); i++) {
		const char *key = xn_map_key_at(old, i);

		if (xn_auth_permit(caller, add, key, NULL) < 0)
			xn_map_put(&merged, key, xn_value_ref(xn_map_at(old, i)));
	}
	return merged;
}

static void task_set_other_config(struct xn_call *call)
{
	struct xn_tasks *tasks = call->state;
	struct xn_error err = {0};
	struct xn_row *row = need_own_task(call, &err);

	if (row)
		xn_db_set(tasks->db, row, XN_task_other_config,
			  permitted_map(&call->caller, xn_row_get(row, XN_task_other_config),
					call->args[1]));
	finish_call(call, &err);
}

const struct xn_method_impl task_methods[] = {
	{"task.create", task_create},
	{"task.destroy", task_destroy},
	{"task.cancel", task_cancel_call},
	{"task.set_status", task_set_status},
	{"task.set_progress", task_set_progress},
	{"task.set_result", task_set_result},
	{"task.set_error_info", task_set_error_info},
	{"task.set_other_config", task_set_other_config},
	{"task.add_to_other_config", task_add_to_other_config},
	{"task.remove_from_other_config", task_remove_from_other_config},
	{NULL},
};
