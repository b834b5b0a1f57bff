/*
 * Requests of HTTP handlers that are no API calls: who sends it, whether that role may, and the task
 * that the request works under. Between the server's routes and modules/auth; see rpc.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/rpc_internal.h"

struct visit {
	struct xn_rpc_visit visible;
	struct xn_auth_visit auth;
	struct xn_rpc *rpc;
	struct xn_list link; /* xn_rpc.visits while it is not decided, then .entered */
	const struct xn_rpc_door *door;
	void *arg;
	struct xn_http_request *kept; /* while the password is checked */
};

static void visit_free(struct visit *visit)
{
	xn_list_remove(&visit->link);
	xn_auth_leave(&visit->auth);
	xn_http_drop_request(visit->kept);
	free(visit);
}

static const char *cookie_or_query(const struct xn_http_request *req, const char *name)
{
	const char *cookie = xn_http_cookie(req, name);

	return cookie ? cookie : xn_http_query(req, name);
}

/* ---- refusals ---- */

static int status_of(const char *code)
{
	static const struct {
		const char *code;
		int status;
	} table[] = {
		{XN_ERR_RBAC_PERMISSION_DENIED, 403},
		{XN_ERR_SESSION_AUTHENTICATION_FAILED, 401},
		{XN_ERR_SESSION_AUTHORIZATION_FAILED, 401},
		{XN_ERR_SESSION_INVALID, 401},
		{XN_ERR_TOO_MANY_PENDING_TASKS, 503},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(table); i++)
		if (strcmp(table[i].code, code) == 0)
			return table[i].status;
	return 400;
}

static void reply_refusal(const struct visit *visit, const struct xn_http_request *req,
			  const struct xn_error *err)
{
	char headers[160] = "", text[64];
	int status = status_of(err->code);
	int len = snprintf(text, sizeof(text), "%d %s\n", status, err->code);

	if (status == 401)
		snprintf(headers, sizeof(headers), "WWW-Authenticate: Basic realm=\"%s\"\r\n",
			 visit->door->name);
	xn_http_reply(req->conn, status, "text/plain", headers, text, (size_t)len);
}

/* What somebody admitted does under a task ends it, and nobody else's request. */
static bool is_under_way(const struct xn_rpc *rpc, const char *task)
{
	xn_list_each(link, &rpc->entered)
		if (strcmp(xn_list_entry(link, struct visit, link)->visible.task, task) == 0)
			return true;
	return false;
}

/* A client that waits for its task hears there, too, that nothing comes of it. Nobody is logged in
 * yet, so this ends no task but one that a client made for such a request. */
static void fail_task(struct visit *visit, const struct xn_http_request *req,
		      const struct xn_error *why)
{
	const char *task = cookie_or_query(req, "task_id");
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (!task || !xn_task_is_clients(visit->rpc->tasks, task) || is_under_way(visit->rpc, task))
		return;
	if (strcmp(why->code, XN_ERR_RBAC_PERMISSION_DENIED) == 0) {
		if (xn_task_permit(visit->rpc->tasks, &visit->auth.caller, task, NULL) < 0)
			return;
		xn_error_copy(&err, why);
	} else {
		xn_error_set(&err, XN_ERR_SESSION_AUTHENTICATION_FAILED);
	}
	xn_task_fail(visit->rpc->tasks, task, &err, NULL, NULL);
}

static void refuse(struct visit *visit, const struct xn_http_request *req,
		   const struct xn_error *err)
{
	xn_log_info(visit->rpc->core->log, "rpc", "%s refused for %s from %s: %s",
		    visit->door->name,
		    visit->auth.caller.user[0] ? visit->auth.caller.user : "nobody", req->peer,
		    err->code);
	xn_rpc_audit_visit(visit->rpc, visit->door->name, &visit->auth.caller, NULL, err);
	fail_task(visit, req, err);
	xn_http_on_close(req->conn, NULL, NULL);
	reply_refusal(visit, req, err);
	visit_free(visit);
}

/* ---- the task ---- */

/* Clients set a task's progress to -1 to see whether their request has come through. */
static void show_reached(struct xn_db *db, const char *task)
{
	struct xn_row *row = xn_db_get(db, XN_CLASS_task, task);

	if (xn_value_float(xn_row_get(row, XN_task_progress)) < 0)
		xn_db_set(db, row, XN_task_progress, xn_float(0.0));
}

static int take_clients_task(struct visit *visit, const char *task, struct xn_error *err)
{
	struct xn_tasks *tasks = visit->rpc->tasks;

	if (xn_task_permit(tasks, &visit->auth.caller, task, err) < 0)
		return -1;
	if (!xn_task_is_clients(tasks, task))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "this task is not for a request to work under");
	snprintf(visit->visible.task, sizeof(visit->visible.task), "%s", task);
	show_reached(visit->rpc->db, task);
	return 0;
}

static int make_task(struct visit *visit, const char *parent, struct xn_error *err)
{
	struct xn_tasks *tasks = visit->rpc->tasks;
	struct xn_db *db = visit->rpc->db;

	if ((parent && xn_task_permit(tasks, &visit->auth.caller, parent, err) < 0) ||
	    xn_task_check_room(tasks, err) < 0)
		return -1;
	xn_task_create(tasks, visit->door->task_label, "", &visit->auth.caller,
		       visit->visible.task);
	if (parent)
		xn_db_set_string(db, xn_db_get(db, XN_CLASS_task, visit->visible.task),
				 XN_task_subtask_of, parent);
	return 0;
}

static int settle_task(struct visit *visit, const struct xn_http_request *req, struct xn_error *err)
{
	const char *task = cookie_or_query(req, "task_id");

	if (task)
		return take_clients_task(visit, task, err);
	if (visit->door->task_label)
		return make_task(visit, cookie_or_query(req, "subtask_of"), err);
	return 0;
}

/* ---- admission ---- */

static void set_origin(const struct visit *visit)
{
	xn_db_set_origin_of(visit->rpc->db, &visit->auth.caller, visit->visible.task);
}

/* Who sends it is known. */
static void enter(struct visit *visit, const struct xn_http_request *req)
{
	const struct xn_rpc_door *door = visit->door;
	struct xn_db *db = visit->rpc->db;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	char permission[80];

	snprintf(permission, sizeof(permission), "http/%s", door->name);
	if (xn_auth_permit_named(&visit->auth.caller, permission, door->role, &err) < 0 ||
	    settle_task(visit, req, &err) < 0) {
		refuse(visit, req, &err);
		return;
	}
	xn_http_set_authenticated(req->conn);
	xn_http_on_close(req->conn, NULL, NULL);
	visit->visible.caller = visit->auth.caller;
	xn_list_push(&visit->rpc->entered, &visit->link);
	if (door->role != XN_ROLE_READ_ONLY)
		xn_rpc_audit_visit(visit->rpc, door->name, &visit->visible.caller,
				   visit->visible.task, NULL);
	set_origin(visit);
	door->run(req, &visit->visible, visit->arg); /* the visit may have ended */
	xn_db_set_origin(db, NULL);
}

static void on_decided(struct xn_auth_visit *auth, const struct xn_error *err)
{
	struct visit *visit = xn_container_of(auth, struct visit, auth);
	struct xn_http_request *req = visit->kept;

	visit->kept = NULL;
	xn_list_remove(&visit->link);
	if (err)
		refuse(visit, req, err);
	else
		enter(visit, req);
	xn_http_drop_request(req);
}

static void on_closed(void *arg)
{
	visit_free(arg);
}

void xn_rpc_admit(struct xn_core *core, const struct xn_http_request *req,
		  const struct xn_rpc_door *door, void *arg)
{
	struct visit *visit = xn_calloc(1, sizeof(*visit));
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	const struct xn_auth_shown shown = {
		.origin = req->peer,
		.is_trusted_socket = req->peer_is_trusted,
		.session_cookie = xn_http_cookie(req, "session_id"),
		.session_query = xn_http_query(req, "session_id"),
		.authorization = xn_http_header(req, "authorization"),
		.user_agent = xn_http_header(req, "user-agent"),
	};
	int rc;

	visit->rpc = xn_module_state(core, "rpc");
	visit->door = door;
	visit->arg = arg;
	xn_list_init(&visit->link);
	rc = xn_auth_admit(visit->rpc->auth, &visit->auth, &shown, on_decided, &err);
	if (rc < 0) {
		refuse(visit, req, &err);
	} else if (rc > 0) {
		enter(visit, req);
	} else {
		visit->kept = xn_http_keep_request(req);
		xn_list_push(&visit->rpc->visits, &visit->link);
		xn_http_on_close(req->conn, on_closed, visit);
	}
}

void xn_rpc_leave(struct xn_rpc_visit *visible, const struct xn_error *err)
{
	struct visit *visit = xn_container_of(visible, struct visit, visible);
	struct xn_tasks *tasks = visit->rpc->tasks;
	struct xn_db *db = visit->rpc->db;

	set_origin(visit);
	if (visible->task[0] && err)
		xn_task_fail(tasks, visible->task, err, NULL, NULL);
	else if (visible->task[0])
		xn_task_succeed(tasks, visible->task, NULL, NULL, NULL, NULL);
	visit_free(visit);
	xn_db_set_origin(db, NULL);
}

void xn_rpc_drop_visits(struct xn_rpc *rpc)
{
	while (!xn_list_empty(&rpc->visits)) /* on_closed() takes it out */
		xn_http_cut(xn_list_entry(rpc->visits.next, struct visit, link)->kept->conn);
}

/* ---- routes ---- */

void xn_rpc_add_route(struct xn_core *core, const struct xn_http_route *route, void *arg)
{
	struct xn_rpc *rpc = xn_module_state(core, "rpc");

	if (rpc->http)
		xn_http_add_route(rpc->http, route, arg);
}

void xn_rpc_remove_routes(struct xn_core *core, const void *arg)
{
	struct xn_rpc *rpc = xn_module_state(core, "rpc");

	if (rpc->http)
		xn_http_remove_routes(rpc->http, arg);
}
