/*
 * What the audit log is told of calls and of HTTP requests: who changed what, and what was denied.
 * Between dispatch, visit.c and modules/audit. A reply to a change goes out once the line about it is
 * written (reply.c).
 */
#include "rpc/rpc_internal.h"

static bool is_denial(const struct xn_method *method, const char *code)
{
	static const char *const codes[] = {
		XN_ERR_RBAC_PERMISSION_DENIED, XN_ERR_SESSION_AUTHENTICATION_FAILED,
		XN_ERR_SESSION_AUTHORIZATION_FAILED, XN_ERR_SESSION_INVALID,
		XN_ERR_USER_IS_NOT_LOCAL_SUPERUSER,
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(codes); i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return method && method->flags & XN_MF_POOL_INTERNAL &&
	       strcmp(code, XN_ERR_INTERNAL_ERROR) == 0;
}

/* Waiting for events is no change, whatever it does to the session's subscriptions. */
static bool is_audited(const struct xn_method *method)
{
	return xn_rpc_changes_something(method) && method->class_id != XN_CLASS_event;
}

static uint64_t add(struct xn_rpc_call *rc, enum xn_audit_event event, const char *result,
		    const char *session, const char *created)
{
	const struct xn_call *call = &rc->call;
	const struct xn_audit_entry entry = {
		.event = event,
		.caller = &call->caller,
		.method = xn_value_string(rc->request.method),
		.result = result,
		.task = call->task,
		.trace = call->trace,
		.user_agent = call->method->class_id == XN_CLASS_session ? call->user_agent : NULL,
		.session = session,
		.created = created,
		.subject = &rc->subject,
	};

	return xn_audit_add(rc->rpc->audit, &entry);
}

void xn_rpc_audit_prepared(struct xn_rpc_call *rc)
{
	const struct xn_call *call = &rc->call;

	rc->audited = is_audited(call->method);
	if (rc->audited && xn_audit_is_kept(rc->rpc->audit))
		xn_audit_describe(rc->rpc->db, call->method, call->args, call->n_args,
				  &rc->subject);
}

void xn_rpc_audit_goes_on(struct xn_rpc_call *rc)
{
	/* A login is nothing before its end. */
	if (rc->audited && !(rc->call.method->flags & XN_MF_NO_SESSION))
		rc->audit_line = add(rc, XN_AUDIT_BEGUN, NULL, NULL, NULL);
}

/* The session was right when the call began, and ended while it waited: an ordinary logout. */
static bool is_session_over(const struct xn_call *call, const struct xn_error *err)
{
	return call->caller.session[0] && strcmp(err->code, XN_ERR_SESSION_INVALID) == 0;
}

void xn_rpc_audit_ended(struct xn_rpc_call *rc, const struct xn_value *result,
			const struct xn_error *err)
{
	const struct xn_method *method = rc->call.method;
	bool is_denied = err && is_denial(method, err->code);
	const char *ref = result && result->kind == XN_STRING && method->result &&
					  method->result->kind == XN_T_REF
				  ? xn_value_string(result)
				  : NULL;
	const char *session = NULL;

	if (!rc->audited && (!is_denied || is_session_over(&rc->call, err)))
		return;
	if (method->class_id == XN_CLASS_session) { /* what it returns is the secret */
		session = ref ? xn_auth_session_ref(rc->rpc->auth, ref) : NULL;
		ref = NULL;
	}
	rc->audit_line = add(rc, is_denied ? XN_AUDIT_DENIED : XN_AUDIT_CALL,
			     err ? err->code : "Success", session, ref);
}

void xn_rpc_audit_refused(struct xn_rpc_call *rc, const struct xn_error *err)
{
	struct xn_call *call = &rc->call;

	if (!call->method || !is_denial(call->method, err->code))
		return;
	if (call->caller.session[0]) /* of strangers not even a look at the objects */
		xn_audit_describe(rc->rpc->db, call->method, call->args, call->n_args,
				  &rc->subject);
	rc->audit_line = add(rc, XN_AUDIT_DENIED, err->code, NULL, NULL);
}

/* ---- requests of HTTP handlers ---- */

void xn_rpc_audit_visitor(struct xn_rpc *rpc, const struct xn_caller *caller,
			  const char *user_agent)
{
	const struct xn_audit_entry entry = {
		.event = XN_AUDIT_CALL,
		.caller = caller,
		.method = "session.login_with_password",
		.result = "Success",
		.user_agent = user_agent,
	};

	(void)!xn_audit_add(rpc->audit, &entry);
}

static uint64_t add_visit(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts,
			  enum xn_audit_event event, const char *result)
{
	char *method XN_CLEANUP(xn_free_p) = xn_asprintf("http/%s", facts->door);
	const struct xn_audit_entry entry = {
		.event = event,
		.caller = facts->caller,
		.method = method,
		.result = result,
		.task = facts->task,
		.created = facts->created,
		.subject = facts->subject,
	};

	return xn_audit_add(rpc->audit, &entry);
}

void xn_rpc_audit_visit_refused(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts,
				const struct xn_error *err)
{
	if (is_denial(NULL, err->code))
		add_visit(rpc, facts, XN_AUDIT_DENIED, err->code);
}

uint64_t xn_rpc_audit_visit_begun(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts)
{
	return add_visit(rpc, facts, XN_AUDIT_BEGUN, NULL);
}

void xn_rpc_audit_visit_ended(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts,
			      const struct xn_error *err)
{
	bool is_denied = err && is_denial(NULL, err->code);

	add_visit(rpc, facts, is_denied ? XN_AUDIT_DENIED : XN_AUDIT_CALL,
		  err ? err->code : "Success");
}
