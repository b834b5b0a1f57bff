/*
 * Requests of HTTP handlers that are no API calls: who sends it, whether that role may, and the
 * task that the request works under. Between the server's routes and modules/auth; see rpc.h.
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
	struct xn_http_request *kept; /* while the password is checked, or the line not safe */
	struct xn_buf subject;        /* of the audit log's lines about it */
	uint64_t line;                /* the first of them; 0: it gets none, or not yet */
	struct xn_db_wait stored;
	struct xn_audit_wait written;
};

static void visit_free(struct visit *visit)
{
	xn_list_remove(&visit->link);
	xn_db_wait_cancel(&visit->stored);
	xn_audit_wait_cancel(&visit->written);
	xn_auth_leave(&visit->auth);
	xn_http_drop_request(visit->kept);
	xn_buf_clear(&visit->subject);
	free(visit);
}

static struct xn_rpc_visit_facts facts_of(const struct visit *visit)
{
	return (struct xn_rpc_visit_facts){
		.door = visit->door->name,
		.caller = &visit->auth.caller,
		.task = visit->visible.task,
		.created = visit->visible.created,
		.subject = &visit->subject,
	};
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
		{XN_ERR_INTERNAL_ERROR, 503}, /* nothing can be stored */
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(table); i++)
		if (strcmp(table[i].code, code) == 0)
			return table[i].status;
	return 400;
}

static void reply_refusal(const struct visit *visit, struct xn_http_conn *conn,
			  const struct xn_error *err)
{
	int status = status_of(err->code);
	/* What a stranger has shown is not said again. */
	const char *why = status == 503 && err->n_params ? err->params[0] : "";
	char *text XN_CLEANUP(xn_free_p) =
		xn_asprintf("%d %s%s%s\n", status, err->code, *why ? ": " : "", why);
	char headers[160] = "";

	if (status == 401)
		snprintf(headers, sizeof(headers), "WWW-Authenticate: Basic realm=\"%s\"\r\n",
			 visit->door->name);
	xn_http_reply(conn, status, "text/plain", headers, text, strlen(text));
}

/* What somebody admitted does under a task ends it, and nobody else's request. */
static bool is_under_way(const struct xn_rpc *rpc, const char *task)
{
	xn_list_each(link, &rpc->entered)
		if (strcmp(xn_list_entry(link, struct visit, link)->visible.task, task) == 0)
			return true;
	return false;
}

/* A client that waits for its task hears there, too, that nothing comes of it. Who is not logged in
 * ends none: a task's reference is no secret, and the client reads its 401. */
static void fail_task(struct visit *visit, const struct xn_http_request *req,
		      const struct xn_error *why)
{
	struct xn_tasks *tasks = visit->rpc->tasks;
	const char *task = cookie_or_query(req, "task_id");

	if (status_of(why->code) != 401 && task && xn_task_is_clients(tasks, task) &&
	    !is_under_way(visit->rpc, task) &&
	    xn_task_permit(tasks, &visit->auth.caller, task, NULL) == 0)
		xn_task_fail(tasks, task, why, NULL, NULL);
}

static void refuse(struct visit *visit, const struct xn_http_request *req,
		   const struct xn_error *err)
{
	struct xn_rpc_visit_facts facts = facts_of(visit);

	xn_log_info(visit->rpc->core->log, "rpc", "%s refused for %s from %s: %s",
		    visit->door->name,
		    visit->auth.caller.user[0] ? visit->auth.caller.user : "nobody", req->peer,
		    err->code);
	xn_rpc_audit_visit_refused(visit->rpc, &facts, err);
	fail_task(visit, req, err);
	xn_http_on_close(req->conn, NULL, NULL);
	reply_refusal(visit, req->conn, err);
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

/* ---- the audit log ---- */

/* Its lines, where it gets any, may wait for the disk. */
static int check_room(const struct visit *visit, struct xn_error *err)
{
	int audit = xn_audit_has_room(visit->rpc->audit, XN_AUDIT_WORK);

	if (visit->door->role == XN_ROLE_READ_ONLY && !visit->auth.own_session[0])
		return 0;
	return audit < 0 ? xn_audit_error(audit, err) : 0;
}

static int check_storable(const struct visit *visit, struct xn_error *err)
{
	int audit = xn_audit_writable(visit->rpc->audit);

	if (!visit->door->changes)
		return 0;
	if (xn_db_check_writable(visit->rpc->db, err) < 0)
		return -1;
	return audit < 0 ? xn_audit_error(audit, err) : 0;
}

/* Before it runs: afterwards they may be gone. */
static void note_objects(struct visit *visit, const struct xn_http_request *req)
{
	const struct xn_rpc_door *door = visit->door;
	const struct xn_row *rows[XN_ARRAY_SIZE(door->objects)], *row;
	struct xn_db *db = visit->rpc->db;
	unsigned n = 0;

	for (size_t i = 0; i < XN_ARRAY_SIZE(door->objects) && door->objects[i].param; i++) {
		int class_id = door->objects[i].class_id;
		const char *name = xn_http_query(req, door->objects[i].param);

		if (!name)
			name = xn_http_cookie(req, door->objects[i].param);
		row = name ? xn_db_get(db, class_id, name) : NULL;
		if (name && !row)
			row = xn_db_by_uuid(db, class_id, name);
		if (row)
			rows[n++] = row;
	}
	xn_audit_describe_rows(db, rows, n, &visit->subject);
}

static void note_begun(struct visit *visit, const struct xn_http_request *req)
{
	struct xn_rpc_visit_facts facts = facts_of(visit);

	if (visit->door->role == XN_ROLE_READ_ONLY)
		return;
	note_objects(visit, req);
	visit->line = xn_rpc_audit_visit_begun(visit->rpc, &facts);
}

/* ---- admission ---- */

static void set_origin(const struct visit *visit)
{
	xn_db_set_origin_of(visit->rpc->db, &visit->auth.caller, visit->visible.task);
}

static void run(struct visit *visit, const struct xn_http_request *req)
{
	struct xn_db *db = visit->rpc->db;

	set_origin(visit);
	visit->door->run(req, &visit->visible, visit->arg); /* the visit may have ended */
	xn_db_set_origin(db, NULL);
}

static void on_gone(void *arg)
{
	struct visit *visit = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_CLIENT_ERROR, "the client has hung up");
	xn_rpc_leave(&visit->visible, &err);
}

/* Or not, for @why_not, which may be empty. */
static void go_on(struct visit *visit, const struct xn_error *why_not)
{
	struct xn_http_request *req = visit->kept;

	visit->kept = NULL;
	xn_http_on_close(req->conn, NULL, NULL);
	if (xn_error_is_set(why_not)) {
		reply_refusal(visit, req->conn, why_not);
		xn_rpc_leave(&visit->visible, why_not);
	} else {
		run(visit, req);
	}
	xn_http_drop_request(req);
}

static void on_written(struct xn_audit_wait *wait, int rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (rc < 0)
		xn_audit_error(rc, &err);
	go_on(xn_container_of(wait, struct visit, written), &err);
}

static void on_stored(struct xn_db_wait *wait, int rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct visit *visit = xn_container_of(wait, struct visit, stored);

	if (rc < 0)
		xn_error_not_stored(&err, rc);
	if (rc < 0 || xn_audit_is_written(visit->rpc->audit, visit->line))
		go_on(visit, &err);
	else
		xn_audit_when_written(visit->rpc->audit, &visit->written, visit->line, on_written);
}

/* Who sends it is known. */
static void enter(struct visit *visit, const struct xn_http_request *req)
{
	const struct xn_rpc_door *door = visit->door;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	char permission[80];

	if (check_room(visit, &err) < 0) {
		refuse(visit, req, &err);
		return;
	}
	if (visit->auth.own_session[0])
		xn_rpc_audit_visitor(visit->rpc, &visit->auth.caller,
				     xn_http_header(req, "user-agent"));
	snprintf(permission, sizeof(permission), "http/%s", door->name);
	if (xn_auth_permit_named(&visit->auth.caller, permission, door->role, &err) < 0 ||
	    check_storable(visit, &err) < 0 || settle_task(visit, req, &err) < 0) {
		refuse(visit, req, &err);
		return;
	}
	xn_http_set_authenticated(req->conn);
	xn_http_on_close(req->conn, NULL, NULL);
	visit->visible.caller = visit->auth.caller;
	xn_list_push(&visit->rpc->entered, &visit->link);
	note_begun(visit, req);
	if (!door->changes) {
		run(visit, req);
		return;
	}
	visit->kept = xn_http_keep_request(req);
	xn_http_on_close(req->conn, on_gone, visit);
	xn_db_when_durable(visit->rpc->db, &visit->stored, on_stored);
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
	struct xn_rpc_visit_facts facts = facts_of(visit);

	if (visit->line)
		xn_rpc_audit_visit_ended(visit->rpc, &facts, err);
	set_origin(visit);
	if (visible->task[0] && err)
		xn_task_fail(tasks, visible->task, err, NULL, NULL);
	else if (visible->task[0])
		xn_task_succeed(tasks, visible->task, NULL, NULL, NULL, NULL);
	visit_free(visit);
	xn_db_set_origin(db, NULL);
}

static void cut(struct xn_list *list, const void *arg)
{
	xn_list_each_safe(link, list) {
		struct visit *visit = xn_list_entry(link, struct visit, link);

		if (visit->kept && (!arg || visit->arg == arg))
			xn_http_cut(visit->kept->conn); /* on_closed(), on_gone() take it out */
	}
}

void xn_rpc_drop_visits(struct xn_rpc *rpc, const void *arg)
{
	cut(&rpc->visits, arg);
	cut(&rpc->entered, arg);
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

	if (!rpc->http)
		return;
	xn_http_remove_routes(rpc->http, arg);
	xn_rpc_drop_visits(rpc, arg);
}
