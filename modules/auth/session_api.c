/* The API calls of the class session: logins, logouts, passwords. */
#include "modules/auth/auth_internal.h"

#include <stdio.h>
#include <stdlib.h>

static void reply_session(struct xn_call *call, const struct login *login)
{
	char secret[XN_REF_LEN];

	auth_session_begin(call->state, login, secret);
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply(call, xn_string(secret));
}

/* ---- logins ---- */

struct login_call {
	struct xn_call *call;
	struct auth_claim *claim;
	bool local;
};

static void on_login_decided(const struct login *decided, struct xn_error *err, void *arg)
{
	struct login_call *waiting = arg;
	struct xn_call *call = waiting->call;
	struct xn_auth *auth = call->state;
	struct login login = *decided;
	bool local = login.local = waiting->local;

	free(waiting);
	call->on_cancel = NULL;
	xn_text_copy(call->caller.user, sizeof(call->caller.user), login.user);
	/* A session with this host alone may do everything: it is for superusers. */
	if (!xn_error_is_set(err) && local && !login.superuser)
		xn_error_set(err, XN_ERR_SESSION_AUTHORIZATION_FAILED, login.user,
			     "only superusers may log in to this host alone");
	if (xn_error_is_set(err)) {
		/* Nobody was let in; who is known by that name is told to the audit log. */
		if (!auth_may_be_named(auth, login.user))
			call->caller.user[0] = '\0';
		xn_call_fail(call, err);
		return;
	}
	auth->counters.logins++;
	reply_session(call, &login);
}

/* The client hung up: its password is not worth checking any more. */
static void on_login_cancelled(struct xn_call *call)
{
	struct login_call *waiting = call->waiting;
	struct xn_error err = {0};

	auth_claim_drop(waiting->claim);
	free(waiting);
	call->on_cancel = NULL;
	xn_error_set(&err, XN_ERR_TASK_CANCELLED, "");
	xn_call_fail(call, &err);
}

static void check_login(struct xn_call *call, const char *originator, bool local)
{
	struct login_call *waiting = xn_calloc(1, sizeof(*waiting));
	const struct auth_claim_spec spec = {
		.user = xn_call_string(call, 0),
		.password = xn_call_string(call, 1),
		.origin = call->caller.origin,
		.originator = originator,
		.user_agent = call->user_agent,
		.decided = on_login_decided,
		.arg = waiting,
	};

	waiting->call = call;
	waiting->local = local;
	call->waiting = waiting;
	call->on_cancel = on_login_cancelled;
	waiting->claim = auth_claim_begin(call->state, &spec);
}

static void log_in(struct xn_call *call, const char *originator, bool local)
{
	struct xn_auth *auth = call->state;
	const struct login login = {
		.user = xn_call_string(call, 0),
		.originator = originator,
		.role = XN_ROLE_POOL_ADMIN,
		.superuser = true,
		.local = local,
	};

	if (call->caller.is_trusted_socket) {
		/* Its peers are root or the daemon's own user: they need no password. */
		auth->counters.logins_trusted++;
		xn_text_copy(call->caller.user, sizeof(call->caller.user), login.user);
		reply_session(call, &login);
	} else {
		check_login(call, originator, local);
	}
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

/* A row that cannot be deleted would let its session in again after a restart. */
static int check_logout(struct xn_call *call, struct xn_error *err)
{
	struct xn_auth *auth = call->state;

	if (!xn_db_get(auth->db, XN_CLASS_session, call->caller.session))
		return 0;
	return xn_db_check_writable(auth->db, err);
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

/* ---- change of password ---- */

struct password_change {
	struct xn_call *call;
	char user[USER_MAX + 1];
};

static void reject(struct xn_call *call, const char *why)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_CHANGE_PASSWORD_REJECTED, why);
	xn_call_fail(call, &err);
}

static void on_pam_changed(const struct pam_answer *answer, void *arg)
{
	struct xn_call *call = arg;

	if (answer->verdict == PAM_RIGHT)
		xn_call_reply_void(call);
	else if (answer->verdict == PAM_REFUSED)
		reject(call, answer->text);
	else
		reject(call, "PAM could not change the password");
}

/* The file holds root's password where there is one; other passwords are PAM's. */
static void change_password(struct password_change *change)
{
	struct xn_call *call = change->call;
	struct xn_auth *auth = call->state;
	const struct pam_ask_spec spec = {
		.task = PAM_CHANGE,
		.user = change->user,
		.password = xn_call_string(call, 0),
		.fresh = xn_call_string(call, 1),
		.origin = call->caller.origin,
		.answered = on_pam_changed,
		.arg = call,
	};

	if (auth->password_path && strcmp(change->user, "root") == 0)
		auth_password_change(auth, call, xn_call_string(call, 1));
	else
		auth_pam_ask(auth, &spec);
}

static void on_old_password_checked(const struct login *login, struct xn_error *err, void *arg)
{
	struct password_change *change = arg;
	bool is_password = strcmp(err->code ? err->code : "",
				  XN_ERR_SESSION_AUTHENTICATION_FAILED) != 0;

	/* What the account may do besides does not matter here. */
	if (is_password)
		change_password(change);
	else if (strcmp(err->params[1], auth_wrong_password) == 0)
		reject(change->call, "the old password is wrong");
	else
		reject(change->call, err->params[1]); /* nobody said that it is wrong */
	free(change);
}

/*
 * Whose: the session's own account, or root's for who came by the Unix socket, where any name may be
 * said. Clients that never ask for the old password will be refused: it is checked.
 */
static void session_change_password(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	struct password_change *change;
	struct auth_claim_spec spec = {
		.password = xn_call_string(call, 0),
		.origin = call->caller.origin,
		.user_agent = call->user_agent,
		.decided = on_old_password_checked,
	};
	struct xn_error err = {0};
	const char *fresh = xn_call_string(call, 1);

	if (!call->caller.is_superuser) {
		xn_error_set(&err, XN_ERR_USER_IS_NOT_LOCAL_SUPERUSER,
			     "only the local superuser may change the password");
		xn_call_fail(call, &err);
		return;
	}
	if (!*fresh || strlen(fresh) > PASSWORD_MAX || strpbrk(fresh, "\r\n")) {
		reject(call, "the new password is empty, too long, or more than one line");
		return;
	}
	change = xn_calloc(1, sizeof(*change));
	change->call = call;
	snprintf(change->user, sizeof(change->user), "%s",
		 call->caller.is_trusted_socket || !auth->pam || !*call->caller.user
			 ? "root"
			 : call->caller.user);
	spec.user = change->user;
	spec.arg = change;
	auth_claim_begin(auth, &spec);
}

static void add_subject_identifier(const struct session_facts *facts, void *arg)
{
	struct xn_value **ids = arg;

	if (*facts->sid && !facts->superuser)
		xn_set_insert_sorted(ids, xn_string(facts->sid));
}

static void session_get_all_subject_identifiers(struct xn_call *call)
{
	struct xn_value *ids = xn_set_new();

	auth_sessions_each(call->state, add_subject_identifier, &ids);
	xn_call_reply(call, ids);
}

static void session_logout_subject_identifier(struct xn_call *call)
{
	auth_sessions_end_of(call->state, xn_call_string(call, 0), call->caller.session);
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply_void(call);
}

/* ---- what a session may: told by its role, not kept in each row ---- */

/* A new reference, or NULL with HANDLE_INVALID. */
static struct xn_value *self_field(struct xn_call *call, int field, struct xn_error *err)
{
	struct xn_auth *auth = call->state;
	const char *given = xn_call_string(call, 0), *ref = xn_auth_session_ref(auth, given);
	struct xn_value *rowless = xn_auth_rowless_get(auth, given, field);
	struct xn_row *row;

	if (rowless)
		return rowless;
	row = xn_db_need(auth->db, XN_CLASS_session, ref ? ref : given, err);
	return row ? xn_value_ref(xn_row_get(row, field)) : NULL;
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	struct xn_value *uuid = self_field(call, XN_session_uuid, err);

	xn_value_unref(uuid);
	return uuid ? 0 : -1;
}

/* A superuser's is empty: nothing is asked of it. */
static struct xn_value *permissions_of_self(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *name = self_field(call, XN_session_xn_role, NULL);
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *superuser = self_field(call, XN_session_is_local_superuser, NULL);
	enum xn_role role = auth_role_by_name(xn_value_string(name));

	if (xn_value_bool(superuser) || role == XN_ROLE_COUNT)
		return xn_set_new();
	return auth_role_permissions(call->state, role);
}

static void session_get_rbac_permissions(struct xn_call *call)
{
	xn_call_reply(call, permissions_of_self(call));
}

static void session_get_record(struct xn_call *call)
{
	const struct xn_class *cls = &xn_classes[XN_CLASS_session];
	struct xn_value *record = xn_map_new();

	for (unsigned f = 0; f < cls->n_public; f++)
		xn_map_put(&record, cls->fields[f].name, self_field(call, (int)f, NULL));
	xn_map_put(&record, "rbac_permissions", permissions_of_self(call));
	xn_call_reply(call, record);
}

const struct xn_method_impl auth_methods[] = {
	{"session.login_with_password", session_login_with_password},
	{"session.slave_login", refuse_pool_secret},
	{"session.slave_local_login", refuse_pool_secret},
	{"session.slave_local_login_with_password", session_slave_local_login_with_password},
	{"session.local_logout", session_local_logout},
	{"session.logout", session_logout, check_logout},
	{"session.change_password", session_change_password},
	{"session.get_all_subject_identifiers", session_get_all_subject_identifiers},
	{"session.logout_subject_identifier", session_logout_subject_identifier},
	{"session.get_record", session_get_record, check_self},
	{"session.get_rbac_permissions", session_get_rbac_permissions, check_self},
	{NULL},
};
