/*
 * Whether a caller may make a call: by its role, and where a map's keys have roles of their own by
 * every key that the call would add, change or remove. What is needed is in the schema. Dispatch
 * asks before any handler runs; handlers that change such a map later ask once more.
 */
#include "modules/auth/auth_internal.h"

#include <ctype.h>
#include <stdio.h>

/* ---- names ---- */

static void add_lower(struct xn_buf *out, const char *text)
{
	for (; *text; text++)
		xn_buf_add_char(out, (char)tolower((unsigned char)*text));
}

void auth_permission_name(const char *method, const char *key, struct xn_buf *out)
{
	add_lower(out, method);
	if (key) {
		xn_buf_add_string(out, "/key:");
		add_lower(out, key);
	}
}

/* ---- roles ---- */

/* Nobody's role is XN_ROLE_LOCAL_ROOT, so only superusers pass what needs that. */
bool auth_role_may(enum xn_role role, enum xn_role needed)
{
	return role <= needed && needed != XN_ROLE_LOCAL_ROOT;
}

int xn_auth_denied(const char *permission, enum xn_role needed, struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *comma = "";

	xn_buf_add_string(&text, "No permission in user session. (Roles with this permission: ");
	for (int role = XN_ROLE_POOL_ADMIN; role <= (int)needed; role++) {
		if (role == XN_ROLE_CLIENT_CERT && needed != XN_ROLE_CLIENT_CERT)
			continue; /* not for people */
		xn_buf_printf(&text, "%s%s", comma, xn_role_names[role]);
		comma = ", ";
	}
	xn_buf_add_char(&text, ')');
	return xn_error_set(err, XN_ERR_RBAC_PERMISSION_DENIED, permission, xn_buf_cstr(&text));
}

int xn_auth_permit_named(const struct xn_caller *caller, const char *permission,
			 enum xn_role needed, struct xn_error *err)
{
	if (caller->is_superuser || auth_role_may(caller->role, needed))
		return 0;
	return xn_auth_denied(permission, needed, err);
}

/* ---- keys ---- */

/* Without regard to case, as permissions are. */
static bool key_matches(const char *pattern, const char *key)
{
	size_t len = strlen(pattern);

	if (len && pattern[len - 1] == '*')
		return strncasecmp(pattern, key, len - 1) == 0;
	return strcasecmp(pattern, key) == 0;
}

static const struct xn_key_role *find_key_role(const struct xn_key_role *kr, const char *key)
{
	while (kr && kr->key && !key_matches(kr->key, key))
		kr++;
	return kr && kr->key ? kr : NULL;
}

int xn_auth_permit(const struct xn_caller *caller, const struct xn_method *method, const char *key,
		   struct xn_error *err)
{
	const struct xn_key_role *kr = key ? find_key_role(method->key_roles, key) : NULL;
	enum xn_role needed = kr ? kr->role : method->min_role;
	struct xn_buf name XN_CLEANUP(xn_buf_clear_p) = {0};

	if (caller->is_superuser || auth_role_may(caller->role, needed) ||
	    (caller->role == XN_ROLE_CLIENT_CERT && (method->flags & XN_MF_CLIENT_CERT)))
		return 0;
	auth_permission_name(method->name, kr ? kr->key : NULL, &name);
	return xn_auth_denied(xn_buf_cstr(&name), needed, err);
}

/* ---- whole maps ---- */

/* What changing one key of a field is called: "VM.add_to_other_config". */
static const struct xn_method *key_method(const struct xn_class *cls, const struct xn_field *field,
					  bool adds)
{
	char name[128];

	snprintf(name, sizeof(name), "%s.%s_%s", cls->name, adds ? "add_to" : "remove_from",
		 field->name);
	return xn_method_find(name);
}

/* Each key of @one that @other has not, or not so. */
static int permit_keys(const struct xn_caller *caller, const struct xn_method *method,
		       const struct xn_key_role *roles, const struct xn_value *one,
		       const struct xn_value *other, struct xn_error *err)
{
	for (size_t i = 0; i < xn_map_len(one); i++) {
		const char *key = xn_map_key_at(one, i);
		const struct xn_value *theirs = xn_map_get(other, key);
		const struct xn_key_role *kr = find_key_role(roles, key);
		struct xn_buf name XN_CLEANUP(xn_buf_clear_p) = {0};

		if (!kr || auth_role_may(caller->role, kr->role) ||
		    (theirs && xn_value_equal(theirs, xn_map_at(one, i))))
			continue;
		auth_permission_name(method->name, kr->key, &name);
		return xn_auth_denied(xn_buf_cstr(&name), kr->role, err);
	}
	return 0;
}

int xn_auth_permit_map(const struct xn_caller *caller, int class_id, int field_id,
		       const struct xn_value *old_map, const struct xn_value *new_map,
		       struct xn_error *err)
{
	const struct xn_class *cls = &xn_classes[class_id];
	const struct xn_field *field = &cls->fields[field_id];

	if (caller->is_superuser || !field->key_roles)
		return 0;
	if (permit_keys(caller, key_method(cls, field, true), field->key_roles, new_map, old_map,
			err) < 0)
		return -1;
	return permit_keys(caller, key_method(cls, field, false), field->key_roles, old_map, new_map,
			   err);
}

/* ---- calls ---- */

/* The field with key roles that set_FIELD gives a whole map, or -1. */
static int field_set(const struct xn_method *method)
{
	const struct xn_class *cls = &xn_classes[method->class_id];
	int field;

	if (strncmp(method->message, "set_", 4) != 0 || method->n_params < 2)
		return -1;
	field = xn_field_find(cls, method->message + 4);
	return field >= 0 && cls->fields[field].key_roles ? field : -1;
}

/* A task's set_other_config leaves alone what its caller may not change, and refuses nothing. */
static int permit_set(struct xn_auth *auth, const struct xn_call *call, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	int field = field_set(method);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *none = xn_map_new();
	const struct xn_row *row;

	if (field < 0 || method->class_id == XN_CLASS_task)
		return 0;
	row = xn_db_get(auth->db, method->class_id, xn_call_string(call, 0));
	return xn_auth_permit_map(&call->caller, method->class_id, field,
				  row ? xn_row_get(row, field) : none, call->args[1], err);
}

int xn_auth_permit_record(const struct xn_caller *caller, int class_id,
			  const struct xn_value *record, struct xn_error *err)
{
	const struct xn_class *cls = &xn_classes[class_id];
	XN_CLEANUP(xn_value_unref_p) struct xn_value *none = xn_map_new();

	for (unsigned i = 0; i < cls->n_public; i++) {
		const struct xn_value *map =
			cls->fields[i].key_roles ? xn_map_get(record, cls->fields[i].name) : NULL;

		if (map && map->kind == XN_MAP &&
		    xn_auth_permit_map(caller, class_id, (int)i, none, map, err) < 0)
			return -1;
	}
	return 0;
}

int xn_auth_permit_call(struct xn_auth *auth, const struct xn_call *call, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	bool names_key = method->key_roles && method->n_params > 1 &&
			 strcmp(method->params[1].name, "key") == 0;

	if (call->caller.is_superuser)
		return 0;
	if (xn_auth_permit(&call->caller, method, names_key ? xn_call_string(call, 1) : NULL, err) <
	    0)
		return -1;
	if (permit_set(auth, call, err) < 0)
		return -1;
	for (unsigned i = 0; i < method->n_params; i++)
		if (method->params[i].type->kind == XN_T_RECORD &&
		    xn_auth_permit_record(&call->caller, method->params[i].type->class_id,
					  call->args[i], err) < 0)
			return -1;
	return 0;
}
