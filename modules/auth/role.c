/*
 * Roles: their rows, made at the first start with the references that clients know, and what each
 * may. Whether a caller may make a call is asked in permit.c.
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

	auth_permission_name(method, key, &name);
	xn_set_append_string(names, xn_buf_cstr(&name));
}

static struct xn_value *list_permissions(enum xn_role role)
{
	struct xn_value *names = xn_set_new();

	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];
		bool by_certificate =
			role == XN_ROLE_CLIENT_CERT && (method->flags & XN_MF_CLIENT_CERT);

		if (auth_role_may(role, method->min_role) || by_certificate)
			add_name(&names, method->name, NULL);
		if (strncmp(method->message, "set_", 4) == 0)
			continue; /* asks for those of add_to_ and remove_from_ */
		for (const struct xn_key_role *kr = method->key_roles; kr && kr->key; kr++)
			if (auth_role_may(role, kr->role))
				add_name(&names, method->name, kr->key);
	}
	return names;
}

struct xn_value *auth_role_permissions(struct xn_auth *auth, enum xn_role role)
{
	if (!auth->role_names[role])
		auth->role_names[role] = list_permissions(role);
	return xn_value_ref(auth->role_names[role]);
}
