/* Commands about who may do what: passwords, subjects and their roles, sessions, secrets. */
#include "rpc/xe/commands/make.h"

xe_handler xe_cmd_user_password_change, xe_cmd_subject_add, xe_cmd_subject_role_add,
	xe_cmd_subject_role_remove, xe_cmd_session_subject_identifier_list,
	xe_cmd_session_subject_identifier_logout_all, xe_cmd_secret_create;

void xe_cmd_user_password_change(struct xe *x)
{
	if (!xe_call(x, NULL, "session.change_password", "ss", xe_param_or(x, "old", ""),
		     xe_param(x, "new")))
		return;
}

/* ---- subjects ---- */

void xe_cmd_subject_add(struct xe *x)
{
	const struct xn_value *identifier;

	if (xe_call(x, &identifier, "auth.get_subject_identifier", "s",
		    xe_param(x, "subject-name")))
		xe_make(x, XN_CLASS_subject,
			xe_fields("subject_identifier", 'm', identifier, "other_config", 'v',
				  xn_map_new(), NULL));
}

static bool role_of(struct xe *x, const char **ref_out)
{
	const char *uuid = xe_param(x, "role-uuid"), *name = xe_param(x, "role-name");
	const struct xn_value *roles;
	struct xn_error err = {0};

	if (uuid && !*uuid)
		uuid = NULL;
	if (name && !*name)
		name = NULL;
	if (!uuid == !name) {
		xe_fail(x, uuid ? "Parameters role-uuid and role-name cannot be used together"
				: "Required parameter not found: role-uuid or role-name");
		return false;
	}
	if (uuid)
		return xe_by_uuid(x, XN_CLASS_role, uuid, ref_out);
	if (!xe_call(x, &roles, "role.get_by_name_label", "s", name))
		return false;
	if (xn_set_len(roles)) {
		*ref_out = xn_value_string(xn_set_at(roles, 0));
		return true;
	}
	xe_hint(x, "'xe role-list params=name' tells which there are");
	xn_error_set(&err, XN_ERR_ROLE_NOT_FOUND);
	xe_fail_api(x, &err);
	return false;
}

static void change_role(struct xe *x, const char *method)
{
	const char *role, *subject;

	if (!role_of(x, &role) ||
	    !xe_by_uuid(x, XN_CLASS_subject, xe_param(x, "uuid"), &subject) ||
	    !xe_call(x, NULL, method, "ss", subject, role))
		return;
}

void xe_cmd_subject_role_add(struct xe *x)
{
	change_role(x, "subject.add_to_roles");
}

void xe_cmd_subject_role_remove(struct xe *x)
{
	change_role(x, "subject.remove_from_roles");
}

/* ---- sessions ---- */

void xe_cmd_session_subject_identifier_list(struct xe *x)
{
	const char *key = xe_is_json(x) ? "subject-identifier" : "subject-identifier ( RO)";
	const struct xn_value *all;
	struct xn_value *rows;

	if (!xe_call(x, &all, "session.get_all_subject_identifiers", ""))
		return;
	rows = xn_set_new();
	for (size_t i = 0; i < xn_set_len(all); i++)
		xn_set_append(&rows, xe_fields(key, 'm', xn_set_at(all, i), NULL));
	xe_table(x, rows, NULL);
}

void xe_cmd_session_subject_identifier_logout_all(struct xe *x)
{
	const struct xn_value *all;

	if (!xe_call(x, &all, "session.get_all_subject_identifiers", ""))
		return;
	for (size_t i = 0; i < xn_set_len(all); i++)
		if (!xe_call(x, NULL, "session.logout_subject_identifier", "m", xn_set_at(all, i)))
			return;
}

/* ---- secrets ---- */

void xe_cmd_secret_create(struct xe *x)
{
	xe_make(x, XN_CLASS_secret,
		xe_fields("value", 's', xe_param(x, "value"), "other_config", 'm',
			  xe_param_map(x, "other-config"), NULL));
}
