/*
 * The calls of class role. Clients know single permissions as roles, too: these have no rows, but are
 * made up from the schema when somebody asks, with references that follow from their names.
 */
#include "modules/auth/auth_internal.h"
#include "core/sha256.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct permissions {
	struct permission {
		char ref[XN_REF_LEN];
		struct xn_value *name;
	} *items;
	size_t n;
};

static void ref_of_permission(const char *name, char ref[XN_REF_LEN])
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned char hash[32];

	xn_buf_printf(&text, "permission %s", name);
	xn_sha256(text.data, text.len, hash);
	auth_ref_of_hash(hash, ref);
}

/* All there are: what a superuser may, and nobody else. */
static struct permissions *permissions_of(struct xn_auth *auth)
{
	struct permissions *all = auth->permissions;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *names = NULL;

	if (all)
		return all;
	names = auth_role_permissions(auth, XN_ROLE_POOL_ADMIN);
	all = auth->permissions = xn_calloc(1, sizeof(*all));
	all->n = xn_set_len(names);
	all->items = xn_calloc(all->n, sizeof(*all->items));
	for (size_t i = 0; i < all->n; i++) {
		all->items[i].name = xn_value_ref(xn_set_at(names, i));
		ref_of_permission(xn_value_string(all->items[i].name), all->items[i].ref);
	}
	return all;
}

void auth_permissions_clear(struct xn_auth *auth)
{
	struct permissions *all = auth->permissions;

	for (int role = 0; role < XN_ROLE_COUNT; role++)
		xn_value_unref(auth->role_names[role]);
	for (size_t i = 0; all && i < all->n; i++)
		xn_value_unref(all->items[i].name);
	if (all)
		free(all->items);
	free(all);
	auth->permissions = NULL;
}

static const struct permission *find_permission(struct xn_auth *auth, const char *ref)
{
	struct permissions *all = permissions_of(auth);

	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->items[i].ref, ref) == 0)
			return &all->items[i];
	return NULL;
}

bool xn_auth_is_permission(struct xn_auth *auth, const char *ref)
{
	return find_permission(auth, ref) != NULL;
}

/* ---- what a role consists of, and who has a permission ---- */

/* A role's names stand in the order of all: one walk finds them, and no hash is made. */
static struct xn_value *refs_of(struct xn_auth *auth, const struct xn_value *names)
{
	const struct permissions *all = permissions_of(auth);
	struct xn_value *refs = xn_set_new();
	size_t at = 0;

	for (size_t i = 0; i < xn_set_len(names); i++) {
		const char *name = xn_value_string(xn_set_at(names, i));

		while (strcmp(xn_value_string(all->items[at].name), name) != 0) {
			at++;
			assert(at < all->n);
		}
		xn_set_append_string(&refs, all->items[at].ref);
	}
	return refs;
}

/* The names that a role, or a permission, stands for. NULL with @err: it is neither. */
static struct xn_value *names_of(struct xn_auth *auth, const char *ref, struct xn_error *err)
{
	enum xn_role role = auth_role_by_ref(ref);
	const struct permission *permission;
	struct xn_value *names;

	if (role != XN_ROLE_COUNT)
		return auth_role_permissions(auth, role);
	permission = find_permission(auth, ref);
	if (!permission) {
		xn_error_set(err, XN_ERR_HANDLE_INVALID, "role", ref);
		return NULL;
	}
	names = xn_set_new();
	xn_set_append(&names, xn_value_ref(permission->name));
	return names;
}

static void role_get_permissions_name_label(struct xn_call *call)
{
	struct xn_error err = {0};
	struct xn_value *names = names_of(call->state, xn_call_string(call, 0), &err);

	if (names)
		xn_call_reply(call, names);
	else
		xn_call_fail(call, &err);
}

static void role_get_permissions(struct xn_call *call)
{
	struct xn_auth *auth = call->state;
	struct xn_error err = {0};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *names =
		names_of(auth, xn_call_string(call, 0), &err);

	if (names)
		xn_call_reply(call, refs_of(auth, names));
	else
		xn_call_fail(call, &err);
}

static struct xn_value *holders_of(struct xn_auth *auth, const char *permission)
{
	struct xn_value *roles = xn_set_new();

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_role); row;
	     row = xn_db_next(auth->db, row)) {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *names = NULL;
		enum xn_role role = auth_role_by_ref(xn_row_ref(row));

		if (role == XN_ROLE_COUNT)
			continue;
		names = auth_role_permissions(auth, role);
		for (size_t i = 0; i < xn_set_len(names); i++) {
			if (strcasecmp(xn_value_string(xn_set_at(names, i)), permission) != 0)
				continue;
			xn_set_append_string(&roles, xn_row_ref(row));
			break;
		}
	}
	return roles;
}

static void role_get_by_permission_name_label(struct xn_call *call)
{
	xn_call_reply(call, holders_of(call->state, xn_call_string(call, 0)));
}

static void role_get_by_permission(struct xn_call *call)
{
	const char *ref = xn_call_string(call, 0);
	const struct permission *permission = find_permission(call->state, ref);
	struct xn_error err = {0};

	if (permission) {
		xn_call_reply(call, holders_of(call->state, xn_value_string(permission->name)));
		return;
	}
	xn_error_set(&err, XN_ERR_HANDLE_INVALID, "role", ref);
	xn_call_fail(call, &err);
}

/* ---- fields: of rows, and of permissions ---- */

static struct xn_value *permission_record(const struct permission *permission)
{
	struct xn_value *record = xn_map_new();

	xn_map_put_string(&record, "uuid", permission->ref + strlen("OpaqueRef:"));
	xn_map_put(&record, "name_label", xn_value_ref(permission->name));
	xn_map_put_string(&record, "name_description", "A single permission");
	xn_map_put(&record, "subroles", xn_set_new());
	xn_map_put(&record, "is_internal", xn_bool(false));
	return record;
}

static struct xn_value *role_record(struct xn_auth *auth, const struct xn_row *row)
{
	struct xn_value *record = xn_row_to_map(row);
	struct xn_value *names = names_of(auth, xn_row_ref(row), NULL);

	if (names)
		xn_map_put(&record, "subroles", refs_of(auth, names));
	xn_value_unref(names);
	return record;
}

/* NULL with HANDLE_INVALID. */
static struct xn_value *record_of(struct xn_call *call, struct xn_error *err)
{
	struct xn_auth *auth = call->state;
	const char *ref = xn_call_string(call, 0);
	const struct xn_row *row = xn_db_get(auth->db, XN_CLASS_role, ref);
	const struct permission *permission = row ? NULL : find_permission(auth, ref);

	if (row)
		return role_record(auth, row);
	if (permission)
		return permission_record(permission);
	xn_error_set(err, XN_ERR_HANDLE_INVALID, "role", ref);
	return NULL;
}

static struct xn_value *role_records(struct xn_auth *auth)
{
	struct xn_value *records = xn_map_new();

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_role); row;
	     row = xn_db_next(auth->db, row))
		xn_map_put(&records, xn_row_ref(row), role_record(auth, row));
	return records;
}

static int by_ref(const void *a, const void *b)
{
	const struct permission *const *x = a, *const *y = b;

	return strcmp((*x)->ref, (*y)->ref);
}

static struct xn_value *permission_records(struct xn_auth *auth)
{
	const struct permissions *all = permissions_of(auth);
	const struct permission **sorted XN_CLEANUP(xn_free_p) = xn_calloc(all->n, sizeof(*sorted));
	struct xn_value *records = xn_map_new();

	for (size_t i = 0; i < all->n; i++)
		sorted[i] = &all->items[i];
	qsort(sorted, all->n, sizeof(*sorted), by_ref); /* a map is filled fastest in order */
	for (size_t i = 0; i < all->n; i++)
		xn_map_put(&records, sorted[i]->ref, permission_record(sorted[i]));
	return records;
}

struct xn_value *xn_auth_role_records(struct xn_auth *auth, const char *expression)
{
	if (strcmp(expression, "subroles<>[]") == 0)
		return role_records(auth);
	if (strcmp(expression, "subroles=[]") == 0)
		return permission_records(auth);
	return NULL;
}

static void role_get_record(struct xn_call *call)
{
	struct xn_error err = {0};
	struct xn_value *record = record_of(call, &err);

	if (record)
		xn_call_reply(call, record);
	else
		xn_call_fail(call, &err);
}

static void role_get_field(struct xn_call *call)
{
	const char *name = xn_classes[XN_CLASS_role].fields[call->method->field].name;
	struct xn_error err = {0};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = record_of(call, &err);

	if (record)
		xn_call_reply(call, xn_value_ref(xn_map_get(record, name)));
	else
		xn_call_fail(call, &err);
}

const struct xn_method_impl auth_role_methods[] = {
	{"role.get_permissions", role_get_permissions},
	{"role.get_permissions_name_label", role_get_permissions_name_label},
	{"role.get_by_permission", role_get_by_permission},
	{"role.get_by_permission_name_label", role_get_by_permission_name_label},
	{"role.get_record", role_get_record},
	{"role.get_uuid", role_get_field},
	{"role.get_name_label", role_get_field},
	{"role.get_name_description", role_get_field},
	{"role.get_subroles", role_get_field},
	{"role.get_is_internal", role_get_field},
	{NULL},
};
