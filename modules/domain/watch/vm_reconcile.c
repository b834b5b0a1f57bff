/*
 * Reconciling a VM: takes what its domain is and what xenstore says about it (domain_read.c) and
 * writes the rows that differ: the VM, its devices, metrics, consoles. The only way by which a
 * domain's state reaches the database.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* ---- devices ---- */

/* The backend's state, from the side of a device that no guest can write. NULL: no such device.
 * Which backend serves a disk is the hypervisor's choice. */
static const char *device_state(const struct xn_xs_snapshot *snap, uint32_t domid,
				const char *const *backends, int devid)
{
	const char *state = NULL;
	char path[XN_BACKEND_PATH_MAX];

	for (; *backends && !state; backends++) {
		xn_backend_path(path, *backends, domid, devid, "state");
		state = xn_xs_get(snap, path);
	}
	return state;
}

/* A guest can push out its CD by itself: the back end's medium is then gone. */
static bool medium_is_gone(const struct xn_xs_snapshot *snap, uint32_t domid, int devid)
{
	const char *params = NULL;
	char path[XN_BACKEND_PATH_MAX];

	for (const char *const *kind = xn_disk_backends; *kind && !params; kind++) {
		xn_backend_path(path, *kind, domid, devid, "params");
		params = xn_xs_get(snap, path);
	}
	return params && !*params;
}

static bool is_connected(const char *state)
{
	return state && strcmp(state, "4") == 0;
}

/* *connected: becomes true when its guest's driver runs it. */
static bool write_vbd(struct xn_domains *d, struct xn_row *vbd, bool hvm, uint32_t domid,
		      const struct xn_xs_snapshot *snap, bool *connected)
{
	int position = xn_disk_position(xn_row_string(vbd, XN_VBD_userdevice));
	bool is_cdrom = strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0;
	struct xn_disk_name name;
	const char *state;
	bool attached, changed = false;

	if (position < 0)
		return false;
	xn_disk_name(position, hvm, is_cdrom, &name);
	state = device_state(snap, domid, xn_disk_backends, name.devid);
	attached = state != NULL;
	*connected |= is_connected(state);
	changed |= xn_db_set_bool(d->db, vbd, XN_VBD_currently_attached, attached);
	if (attached)
		changed |= xn_db_set_string(d->db, vbd, XN_VBD_device, name.vdev);
	if (attached && is_cdrom && !xn_row_bool(vbd, XN_VBD_empty) &&
	    xn_map_len(xn_row_get(vbd, XN_VBD_current_operations)) == 0 &&
	    medium_is_gone(snap, domid, name.devid)) {
		struct xn_row *vdi = xn_row_follow(d->db, vbd, XN_VBD_VDI);

		changed |= xn_db_set_bool(d->db, vbd, XN_VBD_empty, true);
		changed |= xn_db_set_string(d->db, vbd, XN_VBD_VDI, XN_NULL_REF);
		if (vdi)
			xn_operation_refresh(d->ops, vdi);
	}
	return changed;
}

static bool write_devices(struct xn_domains *d, struct xn_row *vm,
			  const struct xn_domain_info *info, const struct xn_xs_snapshot *snap)
{
	bool hvm = strcmp(info->type, "hvm") == 0, connected = false;
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vbds = xn_value_ref(xn_row_get(vm, XN_VM_VBDs));
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vifs = xn_value_ref(xn_row_get(vm, XN_VM_VIFs));
	bool changed = false;

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd)
			changed |= write_vbd(d, vbd, hvm, info->domid, snap, &connected);
	}
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));
		int devid = vif ? xn_nic_position(xn_row_string(vif, XN_VIF_device)) : -1;
		const char *state;

		if (devid < 0)
			continue;
		state = device_state(snap, info->domid, xn_nic_backends, devid);
		connected |= is_connected(state);
		changed |= xn_db_set_bool(d->db, vif, XN_VIF_currently_attached, state != NULL);
	}
	if (xn_vm_may_have_pcis(vm))
		changed |= xn_vm_write_pcis(d, vm, info->domid, snap);
	changed |= xn_guest_metrics_write_drivers(d, vm, connected);
	return changed;
}

static bool detach_all(struct xn_domains *d, const struct xn_row *vm, int refs_field, int class_id,
		       int attached_field)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *refs = xn_value_ref(xn_row_get(vm, refs_field));
	bool changed = false;

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *row =
			xn_db_get(d->db, class_id, xn_value_string(xn_set_at(refs, i)));

		if (row)
			changed |= xn_db_set_bool(d->db, row, attached_field, false);
	}
	return changed;
}

/* ---- metrics ---- */

static struct xn_row *metrics_of(struct xn_domains *d, struct xn_row *vm)
{
	struct xn_row *metrics = xn_row_follow(d->db, vm, XN_VM_metrics);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *none = NULL;

	if (metrics)
		return metrics;
	none = xn_map_new();
	metrics = xn_db_create(d->db, XN_CLASS_VM_metrics, NULL, none);
	xn_db_set_string(d->db, vm, XN_VM_metrics, xn_row_ref(metrics));
	return metrics;
}

static bool platform_says(const struct xn_row *vm, const char *key)
{
	const char *value = xn_row_map_string(vm, XN_VM_platform, key);

	return value && (strcmp(value, "1") == 0 || strcmp(value, "true") == 0);
}

/* What is decided when a domain boots. */
static void write_new_domain(struct xn_domains *d, struct xn_row *vm, struct xn_row *metrics)
{
	struct xn_row *guest = xn_row_follow(d->db, vm, XN_VM_guest_metrics);

	xn_db_set(d->db, metrics, XN_VM_metrics_start_time, xn_datetime(xn_wall_s(d->core->loop)));
	xn_db_set_bool(d->db, metrics, XN_VM_metrics_nested_virt, platform_says(vm, "nested-virt"));
	xn_db_set_bool(d->db, metrics, XN_VM_metrics_nomigrate, platform_says(vm, "nomigrate"));
	xn_db_set_string(d->db, vm, XN_VM_guest_metrics, XN_NULL_REF);
	if (guest)
		xn_db_delete(d->db, guest);
}

static bool write_metrics(struct xn_domains *d, struct xn_row *vm,
			  const struct xn_domain_info *info, bool is_new)
{
	struct xn_row *metrics = metrics_of(d, vm);
	bool changed;

	if (is_new)
		write_new_domain(d, vm, metrics);
	changed = xn_db_set_string(d->db, metrics, XN_VM_metrics_current_domain_type, info->type);
	xn_db_set_bool(d->db, metrics, XN_VM_metrics_hvm, strcmp(info->type, "hvm") == 0);
	xn_db_set_int(d->db, metrics, XN_VM_metrics_memory_actual, (int64_t)info->memory_bytes);
	if (is_new)
		xn_db_set_int(d->db, metrics, XN_VM_metrics_VCPUs_number, info->vcpus);
	xn_memory_see(d, vm, info);
	return changed;
}

/* ---- console ---- */

static void write_console(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			  const struct xn_xs_snapshot *snap)
{
	const struct xn_row *host = xn_domains_host(d);
	char path[64];
	const char *vnc, *tty;

	snprintf(path, sizeof(path), "/local/domain/%u/console/vnc-port", domid);
	vnc = xn_xs_get(snap, path);
	snprintf(path, sizeof(path), "/local/domain/%u/console/tty", domid);
	tty = xn_xs_get(snap, path);
	xn_console_sync(d->db, vm,
			vnc   ? "rfb"
			: tty ? "vt100"
			      : NULL,
			vnc ? atoi(vnc) : -1, host ? xn_row_string(host, XN_host_address) : "");
}

/* ---- the clock ---- */

/* How far its clock is from the host's: the device model writes it when the guest sets its clock.
 * Zero is what a clock that was never set has. */
static void write_clock(struct xn_domains *d, struct xn_row *vm, const struct xn_xs_snapshot *snap)
{
	const char *had = xn_row_map_string(vm, XN_VM_platform, "timeoffset"), *offset;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *platform = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/vm/%s/rtc/timeoffset", xn_row_uuid(vm));
	offset = xn_xs_get(snap, path);
	if (!offset || !*offset || strlen(offset) > 12 ||
	    strspn(offset, "-0123456789") != strlen(offset))
		return;
	if (had ? strcmp(had, offset) == 0 : strcmp(offset, "0") == 0)
		return;
	platform = xn_value_ref(xn_row_get(vm, XN_VM_platform));
	xn_map_put_string(&platform, "timeoffset", offset);
	xn_db_set(d->db, vm, XN_VM_platform, xn_value_ref(platform));
}

/* ---- the VM ---- */

static bool write_state(struct xn_domains *d, struct xn_row *vm, const char *state, int64_t domid,
			const char *resident_on)
{
	bool changed = xn_db_set_string(d->db, vm, XN_VM_power_state, state);

	changed |= xn_db_set_int(d->db, vm, XN_VM_domid, domid);
	changed |= xn_db_set_string(d->db, vm, XN_VM_resident_on, resident_on);
	return changed;
}

static void write_no_domain(struct xn_domains *d, struct xn_row *vm)
{
	bool suspended = xn_row_follow(d->db, vm, XN_VM_suspend_VDI) != NULL;
	struct xn_row *metrics = xn_row_follow(d->db, vm, XN_VM_metrics);
	bool changed = write_state(d, vm, suspended ? "Suspended" : "Halted", -1, XN_NULL_REF);

	changed |= detach_all(d, vm, XN_VM_VBDs, XN_CLASS_VBD, XN_VBD_currently_attached);
	changed |= detach_all(d, vm, XN_VM_VIFs, XN_CLASS_VIF, XN_VIF_currently_attached);
	xn_memory_gone(d, xn_row_uuid(vm));
	changed |= xn_db_set(d->db, vm, XN_VM_attached_PCIs, xn_set_new());
	if (!changed)
		return;
	xn_db_set_bool(d->db, vm, XN_VM_requires_reboot, false);
	if (metrics && !suspended)
		xn_db_set_string(d->db, metrics, XN_VM_metrics_current_domain_type, "unspecified");
	xn_console_sync(d->db, vm, NULL, -1, "");
	xn_operation_refresh_all(d->ops, vm);
}

static bool write_domain(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info)
{
	const struct xn_row *host = xn_domains_host(d);
	bool is_new = xn_row_int(vm, XN_VM_domid) != info->domid;
	bool changed = write_metrics(d, vm, info, is_new);

	changed |= write_state(d, vm, info->paused && !info->shut_down ? "Paused" : "Running",
			       info->domid, host ? xn_row_ref(host) : XN_NULL_REF);
	return changed;
}

/* A domain that is down but not gone: the operation on the VM takes care of it, or else we do. */
static void write_down(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info)
{
	if (!xn_operation_is_alone(d->ops, xn_row_ref(vm), NULL))
		return;
	if (!xn_vm_is(vm, "Running") && !xn_vm_is(vm, "Paused") && write_domain(d, vm, info))
		xn_operation_refresh_all(d->ops, vm);
	xn_guest_shutdown(d, vm, info);
}

/* As many as the guest was told to use: it follows in its own time, if at all. */
static void write_vcpus(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			const struct xn_xs_snapshot *snap)
{
	char path[64];
	size_t n;
	int64_t online = 0;
	const char *const *names;

	snprintf(path, sizeof(path), "/local/domain/%u/cpu", domid);
	names = xn_xs_list(snap, path, &n);
	for (size_t i = 0; i < n; i++) {
		const char *value;

		snprintf(path, sizeof(path), "/local/domain/%u/cpu/%.16s/availability", domid,
			 names[i]);
		value = xn_xs_get(snap, path);
		online += value && strcmp(value, "online") == 0;
	}
	if (online > 0)
		xn_db_set_int(d->db, metrics_of(d, vm), XN_VM_metrics_VCPUs_number, online);
}

/* ---- parts ---- */

/* Not an operation's doing, but where one has the VM, it is what came of it. */
static void tell_origin(struct xn_domains *d, const struct xn_row *vm)
{
	const struct xn_value *current = xn_row_get(vm, XN_VM_current_operations);
	const char *task = xn_map_len(current) ? xn_map_key_at(current, 0) : "";
	const struct xn_db_origin origin = {
		.task = xn_db_get(d->db, XN_CLASS_task, task) ? task : "",
		.caller = "watcher",
	};

	xn_db_set_origin(d->db, &origin);
}

static struct xn_row *row_to_write(struct xn_domains *d, const char *uuid)
{
	struct xn_row *vm = xn_db_by_uuid(d->db, XN_CLASS_VM, uuid);

	if (!vm || xn_row_bool(vm, XN_VM_is_control_domain) || xn_vm_is_held(d, uuid))
		return NULL;
	tell_origin(d, vm);
	return vm;
}

static bool is_live(const struct xn_domain_info *info)
{
	return info && !info->shut_down && !info->dying;
}

static bool write_guest(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info,
			const struct xn_xs_snapshot *snap)
{
	bool is_cut = xn_xs_is_cut(snap);

	if (is_cut)
		xn_domain_watch_complain(d, info->domid);
	write_console(d, vm, info->domid, snap);
	write_clock(d, vm, snap);
	write_vcpus(d, vm, info->domid, snap);
	if (!is_cut)
		xn_vm_write_xenstore_data(d, vm, info->domid, snap);
	return xn_guest_metrics_write(d, vm, info->domid, snap, is_cut);
}

bool xn_vm_write_part(struct xn_domains *d, const char *uuid, uint32_t domid,
		      enum xn_domain_part part, const struct xn_xs_snapshot *snap)
{
	struct xn_row *vm = row_to_write(d, uuid);
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, uuid);
	bool changed;

	if (!vm || !is_live(info) || info->domid != domid)
		return false;
	changed = write_domain(d, vm, info);
	changed |= part == XN_PART_DEVICES ? write_devices(d, vm, info, snap)
					   : write_guest(d, vm, info, snap);
	if (changed)
		xn_operation_refresh_all(d->ops, vm);
	return true;
}

void xn_vm_reconcile(struct xn_reconcile *r, const char *uuid, void *arg)
{
	struct xn_domains *d = arg;
	struct xn_row *vm = row_to_write(d, uuid);
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, uuid);

	if (!xn_db_by_uuid(d->db, XN_CLASS_VM, uuid))
		xn_updates_drop(d->updates, "VM", uuid);
	if (vm && is_live(info)) {
		xn_domain_read(d, r, vm, info, XN_PART_ALL);
		return;
	}
	if (vm && !info)
		write_no_domain(d, vm);
	else if (vm && info->shut_down)
		write_down(d, vm, info);
	xn_updates_done(r);
}

/* One that does not run is seen to by the VM's own signal. */
static void reconcile_part(struct xn_domains *d, struct xn_reconcile *r, const char *uuid,
			   const char *kind, enum xn_domain_part part)
{
	struct xn_row *vm = row_to_write(d, uuid);
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, uuid);

	if (vm && is_live(info)) {
		xn_domain_read(d, r, vm, info, part);
		return;
	}
	if (!info)
		xn_updates_drop(d->updates, kind, uuid);
	xn_updates_done(r);
}

void xn_vm_reconcile_devices(struct xn_reconcile *r, const char *uuid, void *arg)
{
	reconcile_part(arg, r, uuid, "devices", XN_PART_DEVICES);
}

void xn_vm_reconcile_guest(struct xn_reconcile *r, const char *uuid, void *arg)
{
	reconcile_part(arg, r, uuid, "guest", XN_PART_GUEST);
}

/* ---- the start of the daemon ---- */

/* Stopped by an operation of the daemon before this, maybe, which holds the row as soon as it goes
 * on: before the refresh that follows. */
static bool may_become_held(const struct xn_domains *d, const struct xn_row *vm,
			    const struct xn_domain_info *info)
{
	return info->paused && xn_vm_is(vm, "Running") &&
	       xn_db_count(d->db, XN_CLASS_xn_operation) > 0;
}

void xn_vm_reconcile_now(struct xn_domains *d, struct xn_row *vm)
{
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, xn_row_uuid(vm));

	if (xn_row_bool(vm, XN_VM_is_control_domain) || xn_vm_is_held(d, xn_row_uuid(vm)))
		return;
	if (!info) {
		write_no_domain(d, vm);
		return;
	}
	/* One that is down and kept is not made to run, not even in its row. */
	if ((!info->shut_down || xn_row_int(vm, XN_VM_domid) != info->domid) &&
	    !may_become_held(d, vm, info))
		write_domain(d, vm, info);
	xn_updates_touch(d->updates, "VM", xn_row_uuid(vm)); /* the rest, from xenstore */
}
