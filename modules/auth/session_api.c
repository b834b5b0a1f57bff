/* The API calls of the class session: logins, logouts, passwords. */
#include "modules/auth/auth_internal.h"

#include <stdio.h>

static void reply_session(struct xn_call *call, const struct login *login)
{
	char secret[XN_REF_LEN];

	auth_session_begin(call->state, login, secret);
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply(call, xn_string(secret));
}

/* The Unix socket's peers are root or the daemon's own user: they need no password. */
static int authenticate(struct xn_call *call, struct xn_error *err)
{
	if (call->caller.is_trusted_socket)
		return 0;
	return auth_password_check(call->state, xn_call_string(call, 0), xn_call_string(call, 1),
				   err);
}

static void log_in(struct xn_call *call, const char *originator, bool local)
{
	struct xn_auth *auth = call->state;
	struct xn_error err = {0};
	const struct login login = {
		.user = xn_call_string(call, 0),
		.originator = originator,
		.role = XN_ROLE_POOL_ADMIN,
		.superuser = true,
		.local = local,
	};

	if (!local && xn_db_writable(auth->db) < 0) {
		xn_error_from_errno(&err, xn_db_writable(auth->db), "the database refuses changes");
	} else if (authenticate(call, &err) == 0) {
		snprintf(call->caller.user, sizeof(call->caller.user), "%s", login.user);
		reply_session(call, &login);
		return;
	} else {
		xn_log_info(auth->core->log, "auth", "failed login from %s", call->caller.origin);
	}
	xn_call_fail(call, &err);
}

static void session_login_with_password(struct xn_call *call)
{
	log_in(call, xn_call_string(call, 3), false);
}

static void session_slave_local_login_with_password(struct xn_call *call)
{
	log_in(call, "", true);
}

/* No pool has been joined, so there is no pool secret that could be right. */
static void refuse_pool_secret(struct xn_call *call)
{
	struct xn_error err = {0};
	bool names_host = call->method->n_params == 2; /* slave_login(host, psecret) */

	xn_error_set(&err, XN_ERR_SESSION_AUTHENTICATION_FAILED,
		     names_host ? xn_call_string(call, 0) : "localhost",
		     "Pool credentials invalid");
	xn_call_fail(call, &err);
}

static void session_logout(struct xn_call *call)
{
	auth_session_end(call->state, call->caller.session);
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply_void(call);
}

static void session_local_logout(struct xn_call *call)
{
	struct session *s = auth_session_by_ref(call->state, call->caller.session);

	if (s && s->local)
		auth_session_end(call->state, call->caller.session);
	call->durability = XN_REPLY_AT_ONCE;
	xn_call_reply_void(call);
}

static void session_change_password(struct xn_call *call)
{
	struct xn_error err = {0};

	if (!call->caller.is_superuser) {
		xn_error_set(&err, XN_ERR_USER_IS_NOT_LOCAL_SUPERUSER,
			     "only the local superuser may change the password");
	} else if (auth_password_check(call->state, "root", xn_call_string(call, 0), &err) < 0) {
		xn_error_set(&err, XN_ERR_CHANGE_PASSWORD_REJECTED, "the old password is wrong");
	} else {
		auth_password_change(call->state, call, xn_call_string(call, 1));
		return;
	}
	xn_call_fail(call, &err);
}

static void session_get_all_subject_identifiers(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	struct xn_value *ids = xn_set_new();

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row)) {
		const char *sid = xn_row_string(row, XN_session_auth_user_sid);

		if (*sid && !xn_row_bool(row, XN_session_is_local_superuser))
			xn_set_insert_sorted(&ids, xn_string(sid));
	}
	xn_call_reply(call, ids);
}

static void session_logout_subject_identifier(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	const char *sid = xn_call_string(call, 0);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_set_new();

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row)) {
		if (strcmp(xn_row_string(row, XN_session_auth_user_sid), sid) == 0 &&
		    !xn_row_bool(row, XN_session_is_local_superuser) &&
		    strcmp(xn_row_ref(row), call->caller.session) != 0)
			xn_set_append_string(&refs, xn_row_ref(row));
	}
	for (size_t i = 0; i < xn_set_len(refs); i++)
		auth_session_end(auth, xn_value_string(xn_set_at(refs, i)));
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply_void(call);
}

const struct xn_method_impl auth_methods[] = {
	{"session.login_with_password", session_login_with_password},
	{"session.slave_login", refuse_pool_secret},
	{"session.slave_local_login", refuse_pool_secret},
	{"session.slave_local_login_with_password", session_slave_local_login_with_password},
	{"session.local_logout", session_local_logout},
	{"session.logout", session_logout},
	{"session.change_password", session_change_password},
	{"session.get_all_subject_identifiers", session_get_all_subject_identifiers},
	{"session.logout_subject_identifier", session_logout_subject_identifier},
	{"role.get_permissions_name_label", role_get_permissions_name_label},
	{"role.get_by_permission_name_label", role_get_by_permission_name_label},
	{NULL},
};
