/*
 * VM.xenstore_data: keys that a VM finds in its part of xenstore, below vm-data/. What a client
 * sets while the VM runs is written there at once; what the guest writes there itself comes back
 * with the reconciler. Other keys of the map are kept, but no guest sees them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum { MAX_KEY = 256, MAX_BYTES = 64 << 10 /* of a map that a guest can fill */ };

/* Where a VM's data may not pass for something else. */
static bool is_shown(const char *key)
{
	return strncmp(key, "vm-data/", 8) == 0 || strncmp(key, "FIST/", 5) == 0;
}

static bool is_path(const char *key)
{
	size_t len = strlen(key);

	return len < MAX_KEY && key[len - 1] != '/' && !strstr(key, "//") &&
	       strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@") ==
		       len;
}

/* ---- from the guest ---- */

struct reading {
	const struct xn_xs_snapshot *snap;
	struct xn_value *map;
	size_t root, bytes; /* root: length of the domain's path and a slash */
};

static void read_below(struct reading *r, const char *path, unsigned depth)
{
	size_t n;
	const char *const *names = xn_xs_list(r->snap, path, &n);

	for (size_t i = 0; i < n; i++) {
		char child[512];
		const char *value;

		if ((size_t)snprintf(child, sizeof(child), "%s/%s", path, names[i]) >=
		    sizeof(child))
			continue;
		value = xn_xs_get(r->snap, child);
		/* A folder has no value of its own. */
		if (value && *value) {
			r->bytes += strlen(child) + strlen(value);
			if (r->bytes > MAX_BYTES)
				return;
			xn_map_put_string(&r->map, child + r->root, value);
		}
		if (depth > 0)
			read_below(r, child, depth - 1);
	}
}

/* In a map of values without folders a key may be empty only when somebody set it so. */
static void keep_empty(struct reading *r, const struct xn_row *vm, const char *root)
{
	const struct xn_value *old = xn_row_get(vm, XN_VM_xenstore_data);

	for (size_t i = 0; i < xn_map_len(old); i++) {
		const char *key = xn_map_key_at(old, i), *now;
		char path[512];

		if (!is_shown(key) || strncmp(key, "vm-data/", 8) != 0) {
			xn_map_put(&r->map, key, xn_value_ref(xn_map_at(old, i)));
			continue;
		}
		if ((size_t)snprintf(path, sizeof(path), "%s%s", root, key) >= sizeof(path))
			continue;
		now = xn_xs_get(r->snap, path);
		if (now && !*now && !*xn_value_string(xn_map_at(old, i)))
			xn_map_put_string(&r->map, key, "");
	}
}

bool xn_vm_write_xenstore_data(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			       const struct xn_xs_snapshot *snap)
{
	struct reading r = {.snap = snap};
	char root[64], path[80];

	if (xn_xs_is_cut(snap))
		return false;
	r.root = (size_t)snprintf(root, sizeof(root), "/local/domain/%u/", domid);
	snprintf(path, sizeof(path), "%svm-data", root);
	r.map = xn_map_new();
	keep_empty(&r, vm, root);
	read_below(&r, path, 4);
	return xn_db_set(d->db, vm, XN_VM_xenstore_data, r.map);
}

/* ---- from clients ---- */

struct setting { /* a call that waits for xenstore */
	struct xn_call *call;
	char vm[48];
};

/* As the row is then: another call may have changed it meanwhile. NULL: MAP_DUPLICATE_KEY. */
static struct xn_value *wanted_map(const struct xn_call *call, const struct xn_row *vm)
{
	const struct xn_value *old = xn_row_get(vm, XN_VM_xenstore_data);
	bool adds = strncmp(call->method->message, "add_to_", 7) == 0;
	struct xn_value *map;

	if (strncmp(call->method->message, "set_", 4) == 0)
		return xn_value_ref(call->args[1]);
	if (adds && xn_map_get(old, xn_call_string(call, 1)))
		return NULL;
	map = xn_value_ref(old);
	if (adds)
		xn_map_put(&map, xn_call_string(call, 1), xn_value_ref(call->args[2]));
	else
		xn_map_remove(&map, xn_call_string(call, 1));
	return map;
}

static void finish(struct setting *setting, int rc)
{
	struct xn_call *call = setting->call;
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, setting->vm, &err);

	if (vm && rc < 0)
		xn_error_from_errno(&err, rc, "writing to xenstore");
	if (vm && rc == 0) {
		struct xn_value *map = wanted_map(call, vm);

		if (map) /* else what a reconciler read back is the same already */
			xn_db_set(d->db, vm, XN_VM_xenstore_data, map);
		xn_call_reply_void(call);
	} else {
		xn_call_fail(call, &err);
	}
	free(setting);
}

static void on_written(int rc, void *arg)
{
	finish(arg, rc);
}

struct changes {
	struct xn_xs_change *list;
	size_t n;
};

static void add_change(struct changes *changes, uint32_t domid, const char *key, const char *value)
{
	changes->list = xn_realloc(changes->list, (changes->n + 1) * sizeof(*changes->list));
	changes->list[changes->n++] = (struct xn_xs_change){
		.path = xn_asprintf("/local/domain/%u/%s", domid, key), .value = value};
}

/* What differs, in the part that the guest sees. @old NULL: everything. */
static void compare(struct changes *changes, uint32_t domid, const struct xn_value *old,
		    const struct xn_value *new)
{
	for (size_t i = 0; old && i < xn_map_len(old); i++)
		if (is_shown(xn_map_key_at(old, i)) && is_path(xn_map_key_at(old, i)) &&
		    !xn_map_get(new, xn_map_key_at(old, i)))
			add_change(changes, domid, xn_map_key_at(old, i), NULL);
	for (size_t i = 0; i < xn_map_len(new); i++) {
		const char *key = xn_map_key_at(new, i);
		const char *before = old ? xn_map_get_string(old, key) : NULL;
		const char *value = xn_value_string(xn_map_at(new, i));

		if (is_shown(key) && is_path(key) && (!before || strcmp(before, value) != 0))
			add_change(changes, domid, key, value);
	}
}

static void free_changes(struct changes *changes)
{
	for (size_t i = 0; i < changes->n; i++)
		free((char *)changes->list[i].path);
	free(changes->list);
}

void xn_vm_tell_xenstore_data(struct xn_domains *d, const struct xn_row *vm, uint32_t domid)
{
	struct changes changes = {0};
	char perms[16];

	snprintf(perms, sizeof(perms), "n%u", domid);
	add_change(&changes, domid, "vm-data", "");
	changes.list[0].perms = perms;
	compare(&changes, domid, NULL, xn_row_get(vm, XN_VM_xenstore_data));
	xn_xs_write(d->xs, changes.list, changes.n, NULL, NULL);
	free_changes(&changes);
}

static void write_changes(struct xn_call *call, struct xn_row *vm, const struct xn_value *map)
{
	struct xn_domains *d = call->state;
	const struct xn_domain_info *domain = d->backend->ops->find(d->backend, xn_row_uuid(vm));
	struct setting *setting = xn_calloc(1, sizeof(*setting));
	struct changes changes = {0};

	setting->call = call;
	snprintf(setting->vm, sizeof(setting->vm), "%s", xn_row_ref(vm));
	if (domain)
		compare(&changes, domain->domid, xn_row_get(vm, XN_VM_xenstore_data), map);
	if (changes.n > 0)
		xn_xs_write(d->xs, changes.list, changes.n, on_written, setting);
	else
		finish(setting, 0);
	free_changes(&changes);
}

static void change(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_value *map = vm ? wanted_map(call, vm) : NULL;

	if (map) {
		write_changes(call, vm, map);
		xn_value_unref(map);
		return;
	}
	if (vm)
		xn_error_set(&err, XN_ERR_MAP_DUPLICATE_KEY, "VM", "xenstore_data", xn_row_ref(vm),
			     xn_call_string(call, 1));
	xn_call_fail(call, &err);
}

const struct xn_method_impl xn_xenstore_data_methods[] = {
	{"VM.set_xenstore_data", change, NULL, false},
	{"VM.add_to_xenstore_data", change, NULL, false},
	{"VM.remove_from_xenstore_data", change, NULL, false},
	{NULL, NULL, NULL, false},
};
