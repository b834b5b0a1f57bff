/*
 * From a parsed request to a handler and back: name, count, types, session, role (in xapi's order),
 * Async., and the reply that waits until what it promises is visible or durable.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/rpc_internal.h"

enum { PATIENCE_US = 240 * 1000000 }; /* clients hang up at 300 s of silence */

void xn_rpc_call_drop(struct xn_rpc_call *rc)
{
	if (--rc->holders)
		return;
	xn_rpc_close_account(rc);
	xn_list_remove(&rc->link);
	xn_timer_cancel(&rc->patience);
	xn_db_wait_cancel(&rc->wait);
	xn_audit_wait_cancel(&rc->audit_wait);
	xn_buf_clear(&rc->subject);
	xn_request_clear(&rc->request);
	xn_buf_clear(&rc->body);
	xn_value_unref(rc->rest);
	xn_value_unref(rc->result);
	xn_error_clear(&rc->failure);
	free(rc);
}

void xn_rpc_malformed(struct xn_rpc_call *rc, const char *why)
{
	xn_rpc_answer_malformed(rc, why);
}

/* ---- the handler's end ---- */

/* By the names that the model gives to questions; whatever else there is may change something. */
static bool only_asks(const struct xn_method *method)
{
	static const char *const prefixes[] = {"get_", "assert_", "compute_", "query_"};
	static const char *const others[] = {"event.from", "event.next", "Diagnostics.get"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(prefixes); i++)
		if (strncmp(method->message, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	for (size_t i = 0; i < XN_ARRAY_SIZE(others); i++)
		if (strcmp(method->name, others[i]) == 0)
			return true;
	return false;
}

bool xn_rpc_changes_something(const struct xn_method *method)
{
	switch (method->kind) {
	case XN_M_EXPLICIT:
		return !only_asks(method);
	case XN_M_SET:
	case XN_M_ADD:
	case XN_M_REMOVE:
	case XN_M_CREATE:
	case XN_M_DESTROY:
		return true;
	default:
		return false;
	}
}

static bool gives_session(const struct xn_method *method)
{
	const struct xn_type *result = method->result;

	return method->flags & XN_MF_NO_SESSION && result && result->kind == XN_T_REF &&
	       result->class_id == XN_CLASS_session;
}

/* A line a call: what changes things and is more than a field at info, the rest at debug. */
static void log_end(const struct xn_rpc_call *rc, const struct xn_error *err)
{
	const struct xn_call *call = &rc->call;
	const struct xn_method *method = call->method;
	enum xn_log_level level =
		method->kind == XN_M_EXPLICIT && xn_rpc_changes_something(method) &&
				method->class_id != XN_CLASS_event
			? XN_LOG_INFO
			: XN_LOG_DEBUG;

	if (!xn_log_wants(call->core->log, level))
		return;
	xn_log_write(call->core->log, level, "rpc", call->task[0] ? call->task : NULL,
		     call->trace[0] ? call->trace : NULL, "%s by %s from %s: %s, %.3f ms",
		     xn_value_string(rc->request.method),
		     call->caller.user[0] ? call->caller.user : "nobody", call->caller.origin,
		     err ? err->code : "done",
		     (double)(xn_now_us(call->core->loop) - rc->began_us) / 1000);
}

/* Others read a task's row: a session's secret, put in a wrong place, does not get there. */
static void fail_task(struct xn_rpc_call *rc, const struct xn_error *err)
{
	struct xn_error shown XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_copy(&shown, err);
	for (unsigned i = 0; i < shown.n_params; i++) {
		const char *ref = xn_auth_session_of_secret(rc->rpc->auth, shown.params[i]);

		if (!ref)
			continue;
		free(shown.params[i]);
		shown.params[i] = xn_strdup(ref);
	}
	xn_task_fail(rc->rpc->tasks, rc->task, &shown, NULL, NULL);
}

static void on_finish(struct xn_call *call, const struct xn_value *result,
		      const struct xn_error *err)
{
	struct xn_rpc_call *rc = call->sink_data;

	log_end(rc, err);
	if (!rc->rpc)
		return;
	xn_rpc_audit_ended(rc, result, err);
	xn_rpc_count(rc->rpc, call->method, xn_now_us(call->core->loop) - rc->began_us, err);
	if (rc->async) {
		if (err)
			fail_task(rc, err);
		else
			xn_task_succeed(rc->rpc->tasks, rc->task, call->method->result, result,
					NULL, NULL);
	} else if (err) {
		xn_rpc_answer_error(rc, err);
	} else {
		if (rc->conn && gives_session(call->method))
			xn_http_set_authenticated(rc->conn);
		xn_rpc_answer(rc, result, false, call->durability);
	}
}

static void on_released(struct xn_call *call)
{
	struct xn_rpc_call *rc = call->sink_data;

	if (!rc->rpc && !rc->async)
		xn_rpc_call_drop(rc); /* the reply's hold: nobody sends it any more */
	xn_rpc_call_drop(rc);
}

void xn_rpc_abandon(struct xn_rpc_call *rc)
{
	struct xn_rpc *rpc = rc->rpc;
	bool waits = xn_rpc_answer_waits(rc);
	bool begins = !rc->answered && xn_fair_is_queued(&rc->turn);
	bool is_left = !rc->answered && rc->call.sink && rc->holders == 1; /* by its handler */

	xn_list_remove(&rc->link);
	xn_timer_cancel(&rc->patience);
	xn_db_wait_cancel(&rc->wait);
	xn_audit_wait_cancel(&rc->audit_wait);
	xn_fair_remove(begins ? &rpc->begins : &rpc->slices, &rc->turn);
	xn_rpc_close_account(rc);
	rc->rpc = NULL;
	rc->conn = NULL;
	rc->reply = NULL;
	rc->told = NULL;
	if (is_left || (rc->answered && (waits || rc->rest))) {
		xn_rpc_call_drop(rc);
	} else if (begins) { /* neither handler nor reply will be */
		rc->holders = 1;
		xn_rpc_call_drop(rc);
	}
}

static const struct xn_call_sink sink = {.finish = on_finish, .released = on_released};

static void on_patience_over(struct xn_timer *timer)
{
	struct xn_rpc_call *rc = xn_container_of(timer, struct xn_rpc_call, patience);

	if (!rc->conn)
		return;
	rc->waited = true;
	xn_http_keep_waiting(rc->conn, xn_protocol_content_type(rc->request.protocol),
			     "Access-Control-Allow-Origin: *\r\n"
			     "Access-Control-Allow-Headers: X-Requested-With\r\n");
	xn_timer_arm(rc->rpc->core->loop, timer, PATIENCE_US, on_patience_over);
}

void xn_rpc_client_gone(struct xn_rpc_call *rc)
{
	struct xn_call *call = &rc->call;

	rc->conn = NULL;
	if (rc->answered) {
		xn_rpc_answer_unread(rc);
		return;
	}
	/* What has a task row goes on without its client; what only waits for the client ends. */
	if (call->on_cancel && !call->task[0])
		call->on_cancel(call);
}

/* ---- the way in ---- */

/* VM_start for VM.start. Not for tasks: Xen Orchestra means other calls by task_create and
 * task_set_status, and the tasks that it made so would stay pending for ever. */
static const struct xn_method *find_underscored(const char *name)
{
	const struct xn_method *method = NULL;
	char dotted[XN_METHOD_NAME_MAX + 1];

	if (strlen(name) > XN_METHOD_NAME_MAX || strncmp(name, "task_", strlen("task_")) == 0)
		return NULL;
	strcpy(dotted, name);
	for (char *c = dotted; *c && !method; c++) {
		if (*c != '_')
			continue;
		*c = '.';
		method = xn_method_find(dotted);
		*c = '_';
	}
	return method;
}

/* "Async.", "InternalAsync." in front, or an underscore for the dot. NULL: unknown. */
static const struct xn_method *find_method(const char *name, bool *async_out)
{
	static const char *const prefixes[] = {"Async.", "InternalAsync."};
	const struct xn_method *method;

	*async_out = false;
	for (size_t i = 0; i < XN_ARRAY_SIZE(prefixes); i++) {
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
			*async_out = true;
			return xn_method_find(name + strlen(prefixes[i]));
		}
	}
	method = xn_method_find(name);
	return method || strchr(name, '.') ? method : find_underscored(name);
}

static int check_count(const struct xn_method *method, const struct xn_value *params,
		       struct xn_error *err)
{
	bool session = !(method->flags & XN_MF_NO_SESSION);
	long received = (long)xn_set_len(params) - session;
	char expected_text[24], received_text[24];

	if (received >= (long)method->n_required &&
	    (received <= (long)method->n_params || method->n_required < method->n_params))
		return 0;
	snprintf(expected_text, sizeof(expected_text), "%u", method->n_required);
	snprintf(received_text, sizeof(received_text), "%ld", received);
	return xn_error_set(err, XN_ERR_MESSAGE_PARAMETER_COUNT_MISMATCH, method->name,
			    expected_text, received_text);
}

static int convert_args(struct xn_call *call, const struct xn_value *params, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	size_t skip = method->flags & XN_MF_NO_SESSION ? 0 : 1;

	for (unsigned i = 0; i < method->n_params; i++) {
		const struct xn_param *param = &method->params[i];
		struct xn_value *v;

		if (i + skip < xn_set_len(params))
			v = xn_type_check(param->type, xn_value_ref(xn_set_at(params, i + skip)),
					  param->name, err);
		else
			v = xn_param_default(param);
		if (!v)
			return -1;
		call->args[call->n_args++] = v;
	}
	return 0;
}

static int check_session(struct xn_rpc_call *rc, struct xn_error *err)
{
	struct xn_call *call = &rc->call;
	const struct xn_value *secret;

	if (call->method->flags & XN_MF_NO_SESSION)
		return 0;
	secret = xn_set_at(rc->request.params, 0);
	if (secret->kind != XN_STRING)
		return xn_error_set(err, XN_ERR_FIELD_TYPE_ERROR, "session_id");
	if (xn_auth_session(rc->rpc->auth, xn_value_string(secret), &call->caller, err) < 0)
		return -1;
	if (rc->conn)
		xn_http_set_authenticated(rc->conn);
	if (call->method->class_id == XN_CLASS_session || call->method->class_id == XN_CLASS_event)
		snprintf(call->secret, sizeof(call->secret), "%s", xn_value_string(secret));
	return 0;
}

static int check_role(const struct xn_rpc_call *rc, struct xn_error *err)
{
	const struct xn_method *method = rc->call.method;

	if (method->flags & XN_MF_NO_SESSION)
		return 0;
	if (method->flags & XN_MF_POOL_INTERNAL)
		return xn_error_set(err, XN_ERR_INTERNAL_ERROR,
				    "only hosts of the pool may call this");
	return xn_auth_permit_call(rc->rpc->auth, &rc->call, err);
}

static bool is_known(struct xn_rpc *rpc, int class_id, const char *ref)
{
	if (class_id == XN_CLASS_session)
		return xn_auth_session_ref(rpc->auth, ref) != NULL;
	return xn_db_get(rpc->db, class_id, ref) ||
	       (class_id == XN_CLASS_role && xn_auth_is_permission(rpc->auth, ref));
}

/* What a call names is there and of its class, whether its handler looks or not. */
static int check_refs(const struct xn_rpc_call *rc, struct xn_error *err)
{
	const struct xn_method *method = rc->call.method;

	for (unsigned i = 0; i < method->n_params; i++) {
		const struct xn_type *type = method->params[i].type;
		const char *ref;

		if (type->kind != XN_T_REF)
			continue;
		ref = xn_call_string(&rc->call, i);
		if (i > 0 && (!*ref || strcmp(ref, XN_NULL_REF) == 0)) /* which may mean none */
			continue;
		if (!is_known(rc->rpc, type->class_id, ref))
			return xn_error_set(err, XN_ERR_HANDLE_INVALID,
					    xn_classes[type->class_id].name, ref);
	}
	return 0;
}

static void set_origin(const struct xn_rpc_call *rc)
{
	xn_db_set_origin_of(rc->rpc->db, &rc->call.caller, rc->task);
}

/* The task's reference is the reply; the handler's end goes to the task. */
static void begin_async(struct xn_rpc_call *rc)
{
	struct xn_value *ref;

	xn_task_create(rc->rpc->tasks, xn_value_string(rc->request.method), "", &rc->call.caller,
		       rc->task);
	snprintf(rc->call.task, sizeof(rc->call.task), "%s", rc->task);
	xn_rpc_audit_goes_on(rc);
	ref = xn_string(rc->task);
	xn_rpc_answer(rc, ref, false, XN_REPLY_WHEN_DURABLE);
	xn_value_unref(ref);
}

/* Whoever comes while nothing can be stored may look: such a session lives in memory. */
static bool is_for_emergencies(const struct xn_method *method)
{
	static const char *const names[] = {
		"session.login_with_password",
		"session.slave_local_login_with_password",
		"session.logout",
		"session.local_logout",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (strcmp(method->name, names[i]) == 0)
			return true;
	return false;
}

static int check_storable(struct xn_rpc_call *rc, struct xn_error *err)
{
	int db = xn_db_writable(rc->rpc->db), audit = xn_audit_writable(rc->rpc->audit);

	rc->is_emergency = (db < 0 || audit < 0) && is_for_emergencies(rc->call.method);
	if (rc->is_emergency)
		audit = xn_audit_has_room(rc->rpc->audit, rc->call.caller.is_trusted_socket
								  ? XN_AUDIT_LOCAL
								  : XN_AUDIT_LOGINS);
	else if (db < 0)
		return xn_db_error(db, err);
	if (audit < 0)
		return xn_audit_error(audit, err);
	rc->call.durability = rc->is_emergency ? XN_REPLY_AT_ONCE : XN_REPLY_WHEN_DURABLE;
	return 0;
}

static int prepare(struct xn_rpc_call *rc, bool async, const struct xn_method_impl **impl_out,
		   struct xn_error *err)
{
	struct xn_call *call = &rc->call;
	const struct xn_method *method = call->method;

	if (check_count(method, rc->request.params, err) < 0 ||
	    convert_args(call, rc->request.params, err) < 0 || check_session(rc, err) < 0)
		return -1;
	if (method->flags & XN_MF_REMOVED)
		return xn_error_set(err, XN_ERR_MESSAGE_REMOVED);
	if (check_role(rc, err) < 0)
		return -1;
	if (method->flags & XN_MF_DEPRECATED_UPSTREAM)
		return xn_error_set(err, XN_ERR_MESSAGE_DEPRECATED);
	*impl_out = xn_methods_find(call->core->methods, method, &call->state);
	if (!*impl_out)
		return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, method->name);
	if (xn_rpc_check_quotas(rc, async, err) < 0)
		return -1;
	return xn_rpc_changes_something(method) ? check_storable(rc, err) : 0;
}

static void refuse(struct xn_rpc_call *rc, struct xn_error *err)
{
	xn_rpc_audit_refused(rc, err);
	xn_rpc_count(rc->rpc, rc->call.method, xn_now_us(rc->rpc->core->loop) - rc->began_us, err);
	for (unsigned i = 0; i < rc->call.n_args; i++)
		xn_value_unref(rc->call.args[i]);
	rc->call.n_args = 0;
	xn_rpc_call_drop(rc); /* the handler's hold: it never ran */
	xn_rpc_answer_error(rc, err);
}

static void list_methods(struct xn_rpc_call *rc)
{
	struct xn_value *names = xn_set_new();

	for (unsigned i = 0; i < xn_n_methods; i++)
		if (!(xn_methods[i].flags & (XN_MF_HIDDEN | XN_MF_REMOVED)))
			xn_set_append_string(&names, xn_methods[i].name);
	xn_set_append_string(&names, "system.listMethods");
	xn_rpc_call_drop(rc);
	xn_rpc_answer(rc, names, true, XN_REPLY_AT_ONCE);
	xn_value_unref(names);
}

static void run_method(struct xn_rpc_call *rc, bool async, struct xn_error *err)
{
	struct xn_db *db = rc->rpc->db;
	struct xn_call *call = &rc->call;
	const struct xn_method_impl *impl = NULL;

	set_origin(rc); /* a check may already write, such as a session's last_active */
	if (prepare(rc, async, &impl, err) < 0) {
		refuse(rc, err);
		return;
	}
	xn_rpc_audit_prepared(rc);
	set_origin(rc); /* who it is, is known now */
	if (async) {
		rc->async = true;
		begin_async(rc);
		set_origin(rc); /* the task is known now */
	}
	rc->holders++; /* the handler may end at once */
	if (check_refs(rc, err) < 0 || (impl->check && impl->check(call, err) < 0))
		xn_call_fail(call, err); /* of an Async. call: its task fails */
	else
		impl->run(call);
	xn_db_set_origin(db, NULL);
	xn_db_bound_turn(db);
	if (!rc->answered) {
		xn_rpc_audit_goes_on(rc);
		xn_timer_arm(call->core->loop, &rc->patience, PATIENCE_US, on_patience_over);
	}
	xn_rpc_call_drop(rc);
}

static void dispatch(struct xn_rpc_call *rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	const char *name = xn_value_string(rc->request.method);
	bool async;

	if (strcmp(name, "system.listMethods") == 0) {
		list_methods(rc);
		return;
	}
	rc->call.method = find_method(name, &async);
	if (!rc->call.method) {
		xn_error_set(&err, XN_ERR_MESSAGE_METHOD_UNKNOWN,
			     xn_text_is_valid(name, strlen(name)) ? name : "");
		refuse(rc, &err);
	} else if (async && !(rc->call.method->flags & XN_MF_ASYNC)) {
		/* xapi's own code for this, which is in no table of codes */
		xn_error_setf(&err, "Fault", "No async mode for this operation (rpc: %s)", name);
		refuse(rc, &err);
	} else {
		run_method(rc, async, &err);
	}
}

void xn_rpc_find_address(struct xn_rpc_call *rc)
{
	const char *origin = rc->call.caller.origin;
	const char *port = strrchr(origin, ':');

	rc->address = xn_hash_bytes(origin, port ? (size_t)(port - origin) : strlen(origin));
}

/* Who takes turns with whom: addresses; for each its sessions. */
static void find_caller(struct xn_rpc_call *rc)
{
	const struct xn_value *params = rc->request.params;
	const struct xn_value *first = params && xn_set_len(params) ? xn_set_at(params, 0) : NULL;
	const char *session =
		first && first->kind == XN_STRING
			? xn_auth_session_of_secret(rc->rpc->auth, xn_value_string(first))
			: NULL;

	xn_rpc_find_address(rc);
	rc->caller = session ? xn_hash_string(session) : rc->address;
}

/* One call of whoever's turn it is: what a caller has queued does not come before another's. */
static void on_begin(struct xn_job *job)
{
	struct xn_rpc *rpc = xn_container_of(job, struct xn_rpc, begin_job);
	struct xn_loop *loop = rpc->core->loop;
	struct xn_fair_item *item = xn_fair_take(&rpc->begins, NULL, NULL);
	struct xn_rpc_call *rc;

	if (rpc->begins.count)
		xn_loop_defer_as(loop, job, XN_PRIO_EVENT, on_begin, 0);
	if (!item)
		return;
	rc = xn_container_of(item, struct xn_rpc_call, turn);
	xn_loop_set_own_caller(loop, rc->caller);
	dispatch(rc);
}

void xn_rpc_dispatch(struct xn_rpc_call *rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_rpc *rpc = rc->rpc;

	rc->holders = 2; /* the reply, the handler */
	rc->began_us = xn_now_us(rpc->core->loop);
	rc->call.core = rpc->core;
	rc->call.format = xn_protocol_format(rc->request.protocol);
	rc->call.sink = &sink;
	rc->call.sink_data = rc;
	find_caller(rc);
	if (xn_rpc_open_account(rc, &err) < 0) {
		xn_rpc_count(rpc, NULL, 0, &err);
		xn_rpc_call_drop(rc); /* the handler's hold */
		xn_rpc_answer_error(rc, &err);
		return;
	}
	xn_fair_put(&rpc->begins, &rc->turn, rc->address, rc->caller);
	xn_loop_defer_as(rpc->core->loop, &rpc->begin_job, XN_PRIO_EVENT, on_begin, 0);
}

bool xn_rpc_ask_again(struct xn_rpc_call *rc)
{
	enum { MOST = 100 };

	const struct xn_method *method = rc->call.method;

	if (rc->async || !method || rc->asked_again >= MOST || !rc->rpc || rc->rpc->stopping ||
	    (xn_rpc_changes_something(method) && !is_for_emergencies(method)))
		return false;
	rc->asked_again++;
	rc->answered = false;
	xn_value_unref(rc->rest);
	rc->rest = NULL;
	rc->rest_at = 0;
	rc->body.len = 0;
	rc->call.durability = XN_REPLY_AT_ONCE;
	rc->call.on_cancel = NULL;
	xn_rpc_close_account(rc); /* it is opened again */
	xn_rpc_dispatch(rc);
	return true;
}
