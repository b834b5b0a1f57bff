/*
 * Roles: their rows, made at the first start with the references that clients know, and the checks
 * whether a caller may make a call. What a call needs is in the schema.
 */
#include "modules/auth/auth_internal.h"

#include <ctype.h>
#include <stdio.h>

/* These identifiers are part of the published interface: subjects name roles by them. */
static const struct role_row {
	const char *uuid, *description;
	bool is_internal;
} role_rows[XN_ROLE_COUNT] = {
	[XN_ROLE_POOL_ADMIN] = {"0165f154-ba3e-034e-6b27-5d271af109ba",
				"May do everything, including managing users and roles"},
	[XN_ROLE_POOL_OPERATOR] = {"b9ce9791-0604-50cd-0649-09b3284c7dfd",
				   "May manage hosts, storage and networks"},
	[XN_ROLE_VM_POWER_ADMIN] = {"7955168d-7bec-10ed-105f-c6a7e6e63249",
				    "May create, change and place virtual machines"},
	[XN_ROLE_VM_ADMIN] = {"aaa00ab5-7340-bfbc-0d1b-7cf342639a6e",
			      "May create and change virtual machines"},
	[XN_ROLE_VM_OPERATOR] = {"fb8d4ff9-310c-a959-0613-54101535d3d5",
				 "May start, stop and use virtual machines"},
	[XN_ROLE_CLIENT_CERT] = {"f0d6ad1c-54a5-4c5b-8f0e-6f9d4d5f9c33",
				 "May what a client with a certificate needs", .is_internal = true},
	[XN_ROLE_READ_ONLY] = {"7233b8e3-eacb-d7da-2c95-f2e581cdbf4e", "May look at everything"},
};

static void role_ref(enum xn_role role, char ref[XN_REF_LEN])
{
	snprintf(ref, XN_REF_LEN, "OpaqueRef:%s", role_rows[role].uuid);
}

void auth_roles_create(struct xn_auth *auth)
{
	for (int i = XN_ROLE_POOL_ADMIN; i < XN_ROLE_COUNT; i++) {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
		char ref[XN_REF_LEN];

		role_ref((enum xn_role)i, ref);
		if (xn_db_get(auth->db, XN_CLASS_role, ref))
			continue;
		xn_map_put_string(&fields, "uuid", role_rows[i].uuid);
		xn_map_put_string(&fields, "name_label", xn_role_names[i]);
		xn_map_put_string(&fields, "name_description", role_rows[i].description);
		xn_map_put(&fields, "is_internal", xn_bool(role_rows[i].is_internal));
		xn_db_create(auth->db, XN_CLASS_role, ref, fields);
	}
}

enum xn_role auth_role_by_name(const char *name)
{
	int i = 0;

	while (i < XN_ROLE_COUNT && strcmp(xn_role_names[i], name) != 0)
		i++;
	return (enum xn_role)i;
}

/* ---- checks ---- */

static bool key_matches(const char *pattern, const char *key)
{
	size_t len = strlen(pattern);

	if (len && pattern[len - 1] == '*')
		return strncmp(pattern, key, len - 1) == 0;
	return strcmp(pattern, key) == 0;
}

static const struct xn_key_role *find_key_role(const struct xn_method *method, const char *key)
{
	const struct xn_key_role *kr = method->key_roles;

	if (!kr || !key)
		return NULL;
	while (kr->key && !key_matches(kr->key, key))
		kr++;
	return kr->key ? kr : NULL;
}

static void add_lower(struct xn_buf *out, const char *text)
{
	for (; *text; text++)
		xn_buf_add_char(out, (char)tolower((unsigned char)*text));
}

int xn_auth_denied(const char *permission, enum xn_role needed, struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add_string(&text, "No permission in user session. (Roles with this permission: ");
	for (int role = XN_ROLE_POOL_ADMIN; role <= (int)needed; role++) {
		if (role_rows[role].is_internal && role != (int)needed)
			continue;
		if (role > XN_ROLE_POOL_ADMIN)
			xn_buf_add_string(&text, ", ");
		xn_buf_add_string(&text, xn_role_names[role]);
	}
	xn_buf_add_char(&text, ')');
	return xn_error_set(err, XN_ERR_RBAC_PERMISSION_DENIED, permission, xn_buf_cstr(&text));
}

int xn_auth_permit_named(const struct xn_caller *caller, const char *permission,
			 enum xn_role needed, struct xn_error *err)
{
	/* A caller never holds XN_ROLE_LOCAL_ROOT, so only superusers pass what needs it. */
	if (caller->is_superuser || (caller->role <= needed && needed != XN_ROLE_LOCAL_ROOT))
		return 0;
	return xn_auth_denied(permission, needed, err);
}

int xn_auth_permit(const struct xn_caller *caller, const struct xn_method *method, const char *key,
		   struct xn_error *err)
{
	const struct xn_key_role *key_role;
	struct xn_buf permission XN_CLEANUP(xn_buf_clear_p) = {0};
	enum xn_role needed;

	if (caller->is_superuser)
		return 0;
	key_role = find_key_role(method, key);
	needed = key_role ? key_role->role : method->min_role;
	/* A caller never holds XN_ROLE_LOCAL_ROOT, so only superusers pass what needs it. */
	if (caller->role <= needed && needed != XN_ROLE_LOCAL_ROOT)
		return 0;
	if (caller->role == XN_ROLE_CLIENT_CERT && (method->flags & XN_MF_CLIENT_CERT))
		return 0;
	add_lower(&permission, method->name);
	if (key_role) {
		xn_buf_add_string(&permission, "/key:");
		add_lower(&permission, key_role->key);
	}
	return xn_auth_denied(xn_buf_cstr(&permission), needed, err);
}

/* Whether the value of @key differs between the two maps. */
static bool key_changes(const struct xn_value *a, const struct xn_value *b, const char *key)
{
	const struct xn_value *va = xn_map_get(a, key), *vb = xn_map_get(b, key);

	return !va || !vb || !xn_value_equal(va, vb);
}

int xn_auth_permit_map(const struct xn_caller *caller, const struct xn_method *method,
		       const struct xn_value *old_map, const struct xn_value *new_map,
		       struct xn_error *err)
{
	const struct xn_value *maps[] = {old_map, new_map};

	if (caller->is_superuser)
		return 0;
	if (xn_value_equal(old_map, new_map))
		return xn_auth_permit(caller, method, NULL, err);
	for (unsigned m = 0; m < XN_ARRAY_SIZE(maps); m++) {
		for (size_t i = 0; i < xn_map_len(maps[m]); i++) {
			const char *key = xn_map_key_at(maps[m], i);

			if (key_changes(old_map, new_map, key) &&
			    xn_auth_permit(caller, method, key, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* ---- API ---- */

enum xn_role auth_role_by_ref(const char *ref)
{
	char known[XN_REF_LEN];
	int i = XN_ROLE_POOL_ADMIN;

	for (; i < XN_ROLE_COUNT; i++) {
		role_ref((enum xn_role)i, known);
		if (strcmp(known, ref) == 0)
			break;
	}
	return (enum xn_role)i;
}

static void add_name(struct xn_value **names, const char *method, const char *key)
{
	struct xn_buf name XN_CLEANUP(xn_buf_clear_p) = {0};

	add_lower(&name, method);
	if (key) {
		xn_buf_add_string(&name, "/key:");
		add_lower(&name, key);
	}
	xn_set_append_string(names, xn_buf_cstr(&name));
}

static bool may(enum xn_role role, enum xn_role needed)
{
	return role <= needed && needed != XN_ROLE_LOCAL_ROOT;
}

struct xn_value *auth_role_permissions(enum xn_role role)
{
	struct xn_value *names = xn_set_new();

	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];
		bool by_certificate =
			role == XN_ROLE_CLIENT_CERT && (method->flags & XN_MF_CLIENT_CERT);

		if (may(role, method->min_role) || by_certificate)
			add_name(&names, method->name, NULL);
		if (method->kind == XN_M_SET)
			continue; /* asks for those of add_to_ and remove_from_ */
		for (const struct xn_key_role *kr = method->key_roles; kr && kr->key; kr++)
			if (may(role, kr->role))
				add_name(&names, method->name, kr->key);
	}
	return names;
}

void role_get_permissions_name_label(struct xn_call *call)
{
	enum xn_role role = auth_role_by_ref(xn_call_string(call, 0));
	struct xn_error err = {0};

	if (role == XN_ROLE_COUNT) {
		xn_error_set(&err, XN_ERR_HANDLE_INVALID, "role", xn_call_string(call, 0));
		xn_call_fail(call, &err);
		return;
	}
	xn_call_reply(call, auth_role_permissions(role));
}

void role_get_by_permission_name_label(struct xn_call *call)
{
	const char *label = xn_call_string(call, 0);
	struct xn_value *roles = xn_set_new();

	for (unsigned i = 0; i < xn_n_methods; i++) {
		if (strcasecmp(xn_methods[i].name, label) != 0)
			continue;
		for (int r = XN_ROLE_POOL_ADMIN; r <= (int)xn_methods[i].min_role; r++) {
			char ref[XN_REF_LEN];

			role_ref((enum xn_role)r, ref);
			xn_set_append_string(&roles, ref);
		}
	}
	xn_call_reply(call, roles);
}
