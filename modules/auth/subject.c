/*
 * Subjects: accounts and groups of this host that may log in through PAM, with the roles that their
 * rows name. A row's subject_identifier is the account's name, or @ and the group's; the calls of
 * class auth look these up, as clients do before they create a row.
 */
#include "modules/auth/auth_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what a login gets ---- */

static bool names(const struct pam_answer *account, bool is_group, const char *name)
{
	if (!is_group)
		return strcmp(name, account->user) == 0;
	for (unsigned i = 0; i < account->n_groups; i++)
		if (strcmp(name, account->groups[i]) == 0)
			return true;
	return false;
}

static bool is_about(const struct xn_row *subject, const struct pam_answer *account, bool groups)
{
	const char *id = xn_row_string(subject, XN_subject_subject_identifier);
	const char *name = xn_row_map_string(subject, XN_subject_other_config, "subject-name");
	const char *said = xn_row_map_string(subject, XN_subject_other_config, "subject-is-group");
	bool is_group = *id == '@' || (said && strcmp(said, "true") == 0);

	if (is_group != groups)
		return false;
	return names(account, is_group, id + (*id == '@')) ||
	       (name && names(account, is_group, name + (*name == '@')));
}

/* The greatest of its roles; XN_ROLE_COUNT when it has none. */
static enum xn_role role_of(const struct xn_row *subject)
{
	const struct xn_value *roles = xn_row_get(subject, XN_subject_roles);
	enum xn_role best = XN_ROLE_COUNT;

	for (size_t i = 0; i < xn_set_len(roles); i++) {
		enum xn_role role = auth_role_by_ref(xn_value_string(xn_set_at(roles, i)));

		if (role < best)
			best = role;
	}
	return best;
}

/* An account's own row counts before those of its groups where both give the same. */
int auth_subject_login(struct xn_auth *auth, const struct pam_answer *account,
		       struct login *login, struct xn_error *err)
{
	const struct xn_row *best = NULL;

	for (int groups = 0; groups <= 1; groups++) {
		for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_subject); row;
		     row = xn_db_next(auth->db, row))
			if (is_about(row, account, groups) &&
			    (!best || role_of(row) < role_of(best)))
				best = row;
	}
	if (!best)
		return xn_error_set(err, XN_ERR_SESSION_AUTHORIZATION_FAILED, account->user,
				    "neither this account nor a group of it is a subject here");
	login->role = role_of(best);
	snprintf(login->subject, sizeof(login->subject), "%s", xn_row_ref(best));
	if (login->role == XN_ROLE_COUNT)
		return xn_error_set(err, XN_ERR_RBAC_PERMISSION_DENIED,
				    "session.login_with_password", "this subject has no role");
	return 0;
}

/* ---- class subject ---- */

static int check_create(struct xn_call *call, struct xn_error *err)
{
	struct xn_auth *auth = call->state;
	const char *id = xn_map_get_string(call->args[0], "subject_identifier");

	if (!id || !*id)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "subject_identifier", id ? id : "");
	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_subject); row;
	     row = xn_db_next(auth->db, row))
		if (strcmp(xn_row_string(row, XN_subject_subject_identifier), id) == 0)
			return xn_error_set(err, XN_ERR_SUBJECT_ALREADY_EXISTS);
	return 0;
}

/* It may do nothing until it is given a role. */
static void subject_create(struct xn_call *call)
{
	static const char *const taken[] = {"subject_identifier", "other_config"};
	struct xn_auth *auth = call->state;
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	for (size_t i = 0; i < XN_ARRAY_SIZE(taken); i++) {
		const struct xn_value *value = xn_map_get(call->args[0], taken[i]);

		if (value)
			xn_map_put(&fields, taken[i], xn_value_ref(value));
	}
	xn_map_put(&fields, "roles", xn_set_new());
	row = xn_db_create(auth->db, XN_CLASS_subject, NULL, fields);
	xn_value_unref(fields);
	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	struct xn_auth *auth = call->state;

	return xn_db_need(auth->db, XN_CLASS_subject, xn_call_string(call, 0), err) ? 0 : -1;
}

static struct xn_row *self_row(struct xn_call *call)
{
	struct xn_auth *auth = call->state;

	return xn_db_get(auth->db, XN_CLASS_subject, xn_call_string(call, 0));
}

struct to_end {
	const struct xn_row *subject;
	struct xn_value *refs;
};

static void note_to_end(const struct session_facts *facts, void *arg)
{
	struct to_end *end = arg;

	if (strcmp(facts->subject, xn_row_ref(end->subject)) == 0)
		xn_set_append_string(&end->refs, facts->ref);
}

/* Who got in by this row leaves with it, also who removes it. */
static void end_sessions(struct xn_auth *auth, const struct xn_row *subject)
{
	struct to_end end = {subject, xn_set_new()};

	auth_sessions_each(auth, note_to_end, &end);
	auth_sessions_end_all(auth, end.refs);
}

static void subject_destroy(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	struct xn_row *row = self_row(call);

	end_sessions(auth, row);
	xn_db_delete(auth->db, row);
	xn_call_reply_void(call);
}

static int check_role(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	if (auth_role_by_ref(xn_call_string(call, 1)) == XN_ROLE_COUNT)
		return xn_error_set(err, XN_ERR_ROLE_NOT_FOUND);
	return 0;
}

static bool has_role(struct xn_call *call)
{
	return xn_set_has_string(xn_row_get(self_row(call), XN_subject_roles),
				 xn_call_string(call, 1));
}

static int check_add(struct xn_call *call, struct xn_error *err)
{
	if (check_role(call, err) < 0)
		return -1;
	return has_role(call) ? xn_error_set(err, XN_ERR_ROLE_ALREADY_EXISTS) : 0;
}

static void subject_add_to_roles(struct xn_call *call)
{
	struct xn_auth *auth = call->state;

	xn_db_set_add(auth->db, self_row(call), XN_subject_roles, xn_call_string(call, 1));
	xn_call_reply_void(call);
}

static int check_remove(struct xn_call *call, struct xn_error *err)
{
	if (check_role(call, err) < 0)
		return -1;
	return has_role(call) ? 0 : xn_error_set(err, XN_ERR_ROLE_NOT_FOUND);
}

static void subject_remove_from_roles(struct xn_call *call)
{
	struct xn_auth *auth = call->state;

	xn_db_set_remove(auth->db, self_row(call), XN_subject_roles, xn_call_string(call, 1));
	xn_call_reply_void(call);
}

static void subject_get_permissions_name_label(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	enum xn_role role = role_of(self_row(call));

	xn_call_reply(call, role == XN_ROLE_COUNT ? xn_set_new() : auth_role_permissions(auth, role));
}

/* ---- class auth: accounts of the system ---- */

struct look_up {
	struct xn_call *call;
	struct pam_ask *ask;
	char name[USER_MAX + 2];
	bool tried_group;
	struct xn_value *(*reply)(const struct pam_answer *account);
};

static void begin_look_up(struct look_up *look_up);

static void finish(struct look_up *look_up, const struct pam_answer *account)
{
	struct xn_call *call = look_up->call;
	struct xn_error err = {0};

	if (account && account->verdict == PAM_RIGHT) {
		xn_call_reply(call, look_up->reply(account));
	} else {
		if (account && account->verdict == PAM_WRONG)
			xn_error_set(&err, XN_ERR_SUBJECT_CANNOT_BE_RESOLVED);
		else
			xn_error_set(&err, XN_ERR_AUTH_SERVICE_ERROR,
				     "the accounts of the system could not be asked");
		xn_call_fail(call, &err);
	}
	free(look_up);
}

static void on_looked_up(const struct pam_answer *account, void *arg)
{
	struct look_up *look_up = arg;
	char name[sizeof(look_up->name)];

	if (account->verdict != PAM_WRONG || look_up->name[0] == '@') {
		finish(look_up, account);
		return;
	}
	memcpy(name, look_up->name, sizeof(name));
	snprintf(look_up->name, sizeof(look_up->name), "@%.*s", USER_MAX, name);
	begin_look_up(look_up);
}

static void begin_look_up(struct look_up *look_up)
{
	const struct pam_ask_spec spec = {
		.task = PAM_LOOK_UP,
		.user = look_up->name,
		.origin = look_up->call->caller.origin,
		.answered = on_looked_up,
		.arg = look_up,
	};

	look_up->ask = auth_pam_ask(look_up->call->state, &spec);
}

static void look_up(struct xn_call *call, struct xn_value *(*reply)(const struct pam_answer *))
{
	struct look_up *look_up = xn_calloc(1, sizeof(*look_up));

	look_up->call = call;
	look_up->reply = reply;
	snprintf(look_up->name, sizeof(look_up->name), "%s", xn_call_string(call, 0));
	begin_look_up(look_up);
}

static int check_name(struct xn_call *call, struct xn_error *err)
{
	const struct xn_auth *auth = call->state;
	const char *name = xn_call_string(call, 0);

	if (!auth->pam)
		return xn_error_set(err, XN_ERR_AUTH_IS_DISABLED);
	if (!*name || strlen(name) > USER_MAX)
		return xn_error_set(err, XN_ERR_SUBJECT_CANNOT_BE_RESOLVED);
	return 0;
}

static struct xn_value *reply_identifier(const struct pam_answer *account)
{
	return xn_string(account->user);
}

static void auth_get_subject_identifier(struct xn_call *call)
{
	look_up(call, reply_identifier);
}

static struct xn_value *reply_information(const struct pam_answer *account)
{
	struct xn_value *map = xn_map_new();
	bool is_group = account->user[0] == '@';

	xn_map_put_string(&map, "subject-name", account->user + is_group);
	xn_map_put_string(&map, "subject-sid", account->user);
	xn_map_put_string(&map, "subject-is-group", is_group ? "true" : "false");
	return map;
}

static void auth_get_subject_information(struct xn_call *call)
{
	look_up(call, reply_information);
}

static struct xn_value *reply_groups(const struct pam_answer *account)
{
	struct xn_value *groups = xn_set_new();

	for (unsigned i = 0; i < account->n_groups; i++)
		xn_set_append(&groups, xn_stringf("@%s", account->groups[i]));
	return groups;
}

static void auth_get_group_membership(struct xn_call *call)
{
	look_up(call, reply_groups);
}

/* ---- external directories: none can be joined ---- */

static int check_object(struct xn_call *call, struct xn_error *err)
{
	struct xn_auth *auth = call->state;
	int class_id = call->method->params[0].type->class_id;

	return xn_db_need(auth->db, class_id, xn_call_string(call, 0), err) ? 0 : -1;
}

static int refuse_type(struct xn_call *call, struct xn_error *err)
{
	return check_object(call, err) < 0
		       ? -1
		       : xn_error_set(err, XN_ERR_AUTH_UNKNOWN_TYPE, xn_call_string(call, 3));
}

static int refuse_disabled(struct xn_call *call, struct xn_error *err)
{
	return check_object(call, err) < 0 ? -1 : xn_error_set(err, XN_ERR_AUTH_IS_DISABLED);
}

/* Leaving a directory that nobody joined. */
static void nothing_to_do(struct xn_call *call)
{
	xn_call_reply_void(call);
}

const struct xn_method_impl auth_subject_methods[] = {
	{"subject.create", subject_create, check_create},
	{"subject.destroy", subject_destroy, check_self},
	{"subject.add_to_roles", subject_add_to_roles, check_add},
	{"subject.remove_from_roles", subject_remove_from_roles, check_remove},
	{"subject.get_permissions_name_label", subject_get_permissions_name_label, check_self},
	{"auth.get_subject_identifier", auth_get_subject_identifier, check_name},
	{"auth.get_subject_information_from_identifier", auth_get_subject_information, check_name},
	{"auth.get_group_membership", auth_get_group_membership, check_name},
	{"host.enable_external_auth", nothing_to_do, refuse_type},
	{"host.disable_external_auth", nothing_to_do, check_object},
	{"host.external_auth_set_ldaps", nothing_to_do, refuse_disabled},
	{"pool.enable_external_auth", nothing_to_do, refuse_type},
	{"pool.disable_external_auth", nothing_to_do, check_object},
	{"pool.external_auth_set_ldaps", nothing_to_do, refuse_disabled},
	{NULL},
};
