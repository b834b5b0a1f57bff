/*
 * What is read in xenstore for the rows of a VM whose domain runs, in two parts: its devices, from
 * the back ends' side, where no guest can write; and what the guest says of itself, which has a
 * quota. A change makes only its part be read again, so neither a guest that writes without pause nor
 * a VM with hundreds of disks makes the other part dear.
 *
 * Called by the reconcilers (vm_reconcile.c), which write what was read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum {
	N_PARTS = 2,
	GUEST_DEPTH = 4,
	DEVICES_MAX = 4 << 20, /* bytes; some nodes for each device row, so rows are the bound */
	PATH_MAX_LEN = XN_BACKEND_PATH_MAX,
};

struct part_read {
	struct xn_reading *reading;
	enum xn_domain_part part;
	struct xn_xs_request *request; /* NULL: not under way */
};

struct xn_reading {
	struct xn_list link; /* in d->reconciles */
	struct xn_domains *d;
	struct xn_reconcile *r;
	uint32_t domid;
	char uuid[37];
	unsigned parts, again; /* again: asked for while it was under way */
	bool is_stale;         /* one that began later reads the same */
	struct part_read reads[N_PARTS];
};

/* ---- paths ---- */

const char *const xn_disk_backends[] = {"vbd", "qdisk", NULL};
const char *const xn_nic_backends[] = {"vif", NULL};

void xn_backend_path(char out[XN_BACKEND_PATH_MAX], const char *backend, uint32_t domid, int devid,
		     const char *key)
{
	snprintf(out, XN_BACKEND_PATH_MAX, "/local/domain/0/backend/%s/%u/%d/%s", backend, domid,
		 devid, key);
}

struct paths {
	char (*text)[PATH_MAX_LEN];
	size_t n, cap;
};

static char *add_path(struct paths *paths)
{
	if (paths->n == paths->cap) {
		paths->cap = paths->cap ? paths->cap * 2 : 32;
		paths->text = xn_realloc(paths->text, paths->cap * sizeof(paths->text[0]));
	}
	return paths->text[paths->n++];
}

static void add_device(struct paths *paths, const char *const *backends, uint32_t domid, int devid,
		       const char *key)
{
	for (; *backends; backends++)
		xn_backend_path(add_path(paths), *backends, domid, devid, key);
}

static void add_disk(struct paths *paths, const struct xn_row *vbd, bool hvm, uint32_t domid)
{
	int position = xn_disk_position(xn_row_string(vbd, XN_VBD_userdevice));
	bool is_cdrom = strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0;
	struct xn_disk_name name;

	if (position < 0)
		return;
	xn_disk_name(position, hvm, is_cdrom, &name);
	add_device(paths, xn_disk_backends, domid, name.devid, "state");
	if (is_cdrom)
		add_device(paths, xn_disk_backends, domid, name.devid, "params");
}

static void add_devices(struct paths *paths, struct xn_domains *d, const struct xn_row *vm,
			const struct xn_domain_info *info)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs), *vifs = xn_row_get(vm, XN_VM_VIFs);
	bool hvm = strcmp(info->type, "hvm") == 0;

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd)
			add_disk(paths, vbd, hvm, info->domid);
	}
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		const struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));
		int devid = vif ? xn_nic_position(xn_row_string(vif, XN_VIF_device)) : -1;

		if (devid >= 0)
			add_device(paths, xn_nic_backends, info->domid, devid, "state");
	}
	for (int i = 0; xn_vm_may_have_pcis(vm) && i < XN_PCI_MAX; i++) {
		char key[16];

		snprintf(key, sizeof(key), "dev-%d", i);
		xn_backend_path(add_path(paths), "pci", info->domid, 0, key);
	}
}

/* What the toolstack writes first: what a guest writes may use up the limit. */
static void add_guest(struct paths *paths, const struct xn_domain_info *info)
{
	static const char *const below[] = {
		"console", "cpu",            "control", "feature", "drivers",
		"attr",    "xenserver/attr", "data",    "vm-data",
	};

	snprintf(add_path(paths), PATH_MAX_LEN, "/vm/%s/rtc", info->uuid);
	for (size_t i = 0; i < XN_ARRAY_SIZE(below); i++)
		snprintf(add_path(paths), PATH_MAX_LEN, "/local/domain/%u/%s", info->domid,
			 below[i]);
}

/* ---- reading ---- */

static void end(struct xn_reading *reading)
{
	struct xn_domains *d = reading->d;

	for (size_t i = 0; i < N_PARTS; i++)
		if (reading->reads[i].request)
			return;
	if (reading->again & XN_PART_DEVICES)
		xn_updates_touch(d->updates, "devices", reading->uuid);
	if (reading->again & XN_PART_GUEST)
		xn_updates_touch(d->updates, "guest", reading->uuid);
	xn_list_remove(&reading->link);
	xn_updates_done(reading->r);
	free(reading);
}

static void on_read(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct part_read *read = arg;
	struct xn_reading *reading = read->reading;
	struct xn_domains *d = reading->d;

	read->request = NULL;
	if (rc < 0)
		xn_log_warn(d->core->log, "domain", "cannot read domain %u in xenstore: %s",
			    reading->domid, strerror(-rc));
	else if (!reading->is_stale &&
		 !xn_vm_write_part(d, reading->uuid, reading->domid, read->part, snap))
		xn_updates_touch(d->updates, "VM", reading->uuid); /* it changed meanwhile */
	end(reading);
}

static void start(struct part_read *read, const struct paths *paths, unsigned depth, size_t limit)
{
	struct xn_domains *d = read->reading->d;
	const char **list = xn_calloc(paths->n + 1, sizeof(list[0]));

	for (size_t i = 0; i < paths->n; i++)
		list[i] = paths->text[i];
	read->request = xn_xs_snapshot(d->xs, list, paths->n, depth, limit, on_read, read);
	free(list);
	free(paths->text);
}

/*
 * Two readings of one VM: the later one that reads everything has newer answers than the earlier; a
 * part that is being read is read again afterwards. False: nothing is left to do now.
 */
static bool settle_with_others(struct xn_domains *d, const char *uuid, unsigned parts)
{
	xn_list_each(node, &d->reconciles) {
		struct xn_reading *other = xn_list_entry(node, struct xn_reading, link);

		if (!(other->parts & parts) || strcmp(other->uuid, uuid) != 0)
			continue;
		if (other->parts == XN_PART_ALL && parts != XN_PART_ALL) {
			other->again |= parts;
			return false;
		}
		other->is_stale = true;
	}
	return true;
}

void xn_domain_read(struct xn_domains *d, struct xn_reconcile *r, const struct xn_row *vm,
		    const struct xn_domain_info *info, unsigned parts)
{
	struct xn_reading *reading;
	struct paths devices = {0}, guest = {0};

	if (!settle_with_others(d, info->uuid, parts)) {
		xn_updates_done(r);
		return;
	}
	reading = xn_calloc(1, sizeof(*reading));
	reading->d = d;
	reading->r = r;
	reading->domid = info->domid;
	reading->parts = parts;
	memcpy(reading->uuid, info->uuid, sizeof(reading->uuid));
	for (size_t i = 0; i < N_PARTS; i++)
		reading->reads[i] =
			(struct part_read){.reading = reading, .part = 1u << i};
	xn_list_push(&d->reconciles, &reading->link);
	if (parts & XN_PART_DEVICES) {
		add_devices(&devices, d, vm, info);
		start(&reading->reads[0], &devices, 0, DEVICES_MAX);
	}
	if (parts & XN_PART_GUEST) {
		add_guest(&guest, info);
		start(&reading->reads[1], &guest, GUEST_DEPTH, XN_XENSTORE_MAX);
	}
}

void xn_domain_read_stop(struct xn_domains *d)
{
	xn_list_each_safe(node, &d->reconciles) {
		struct xn_reading *reading = xn_list_entry(node, struct xn_reading, link);

		for (size_t i = 0; i < N_PARTS; i++)
			if (reading->reads[i].request)
				xn_xs_cancel(reading->reads[i].request);
		xn_list_remove(&reading->link);
		free(reading);
	}
}
