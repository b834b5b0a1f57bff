/*
 * VM.clone, VM.copy and VM.snapshot: first the disks, then the rows, all at once. The references of
 * everything new are chosen and journaled before anything is made, so that an operation that failed
 * or died leaves nothing behind.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/schema/schema.h"
#include "modules/domain/domain_internal.h"

/* Arguments: "how" is clone, copy or snapshot; "new" the new VM; "sr" for copy or ""; "disks" a set
 * of maps {vbd, vdi, new}. */
static void list_disks(struct xn_op *op);
static void quiet_guest(struct xn_op *op);
static void wake_guest(struct xn_op *op);
static void make_disks(struct xn_op *op);
static void make_rows(struct xn_op *op);
static void delete_rows(struct xn_op *op);

static const struct xn_step clone_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"list disks", list_disks, NULL, 1000},
	{"hold rows", xn_step_hold, xn_step_hold_undo, 10000},
	{"pause the guest", quiet_guest, wake_guest, 10000},
	{"copy disks", make_disks, xn_step_delete_disks, 300000, 20},
	{"let the guest go on", wake_guest, NULL, 10000},
	{"make the VM's rows", make_rows, delete_rows, 1000},
	{"see it in the database", xn_step_sync, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_clone_kind, "VM.clone", clone_steps, XN_RESTART_UNDO)

static bool is_snapshot(const struct xn_op *op)
{
	return strcmp(xn_map_get_string(op->args, "how"), "snapshot") == 0;
}

/* ---- disks ---- */

static bool is_ignored(const struct xn_op *op, const char *vdi)
{
	const struct xn_value *ignored = xn_map_get(op->args, "ignore");

	return ignored && xn_set_has_string(ignored, vdi);
}

static void list_disks(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	struct xn_value *disks;
	const struct xn_value *vbds;

	if (!vm)
		return;
	disks = xn_set_new();
	vbds = xn_row_get(vm, XN_VM_VBDs);
	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const char *ref = xn_value_string(xn_set_at(vbds, i));
		struct xn_row *vbd = xn_db_get(vmo->d->db, XN_CLASS_VBD, ref);
		struct xn_row *vdi = vbd ? xn_row_follow(vmo->d->db, vbd, XN_VBD_VDI) : NULL;
		struct xn_value *disk;
		char fresh[48];

		if (!vdi || strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0 ||
		    is_ignored(op, xn_row_ref(vdi)))
			continue;
		xn_ref_new(vmo->d->core->loop, fresh);
		disk = xn_map_new();
		xn_map_put_string(&disk, "vbd", ref);
		xn_map_put_string(&disk, "vdi", xn_row_ref(vdi));
		xn_map_put_string(&disk, "new", fresh);
		xn_set_append(&disks, disk);
	}
	xn_op_set_arg(op, "disks", disks);
	xn_op_done(op, 0);
}

/* All disks of a running guest are to show the same moment. */
static void quiet_guest(struct xn_op *op)
{
	const struct xn_domain_info *domain = xn_vm_op_domain(xn_vm_op_of(op));

	if (!domain || domain->paused || domain->shut_down || xn_vm_count_disks(op) == 0) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_set_arg(op, "paused_by_us", xn_bool(true));
	xn_op_save(op, xn_step_pause);
}

static void wake_guest(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (xn_map_get_bool(op->args, "paused_by_us", false) && xn_vm_op_domain(vmo))
		xn_step_unpause(op);
	else
		xn_op_done(op, 0);
}

static void make_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	const char *sr = xn_map_get_string(vmo->op.args, "sr");
	struct xn_vdi_plan plan = {
		.source = xn_map_get_string(xn_vm_disk_at(&vmo->op, index), "vdi"),
		.sr = sr && *sr ? sr : NULL,
		.snapshot = is_snapshot(&vmo->op),
	};

	xn_vm_make_disk(vmo, group, index, &plan);
}

static void make_disks(struct xn_op *op)
{
	xn_group_start(op, xn_vm_count_disks(op), 1, make_disk, xn_vm_op_of(op));
}

/* ---- the VM's row ---- */

/* What a copy does not have in common with its source. */
static const char *const own_fields[] = {
	"uuid",
	"allowed_operations",
	"current_operations",
	"power_state",
	"resident_on",
	"scheduled_to_be_resident_on",
	"domid",
	"metrics",
	"guest_metrics",
	"suspend_VDI",
	"last_booted_record",
	"is_a_snapshot",
	"snapshot_of",
	"snapshot_time",
	"snapshot_info",
	"snapshot_metadata",
	"transportable_snapshot_id",
	"parent",
	"ha_always_run",
	"ha_restart_priority",
	"appliance",
	"start_delay",
	"shutdown_delay",
	"order",
	"snapshot_schedule",
	"protection_policy",
	"is_snapshot_from_vmpp",
	"is_vmss_snapshot",
	"is_default_template",
	"attached_PCIs",
	"blobs",
	"requires_reboot",
	"groups",
	"is_control_domain",
	"pending_guidances",
	"pending_guidances_recommended",
	"pending_guidances_full",
};

static struct xn_value *copied_other_config(struct xn_op *op, const struct xn_row *vm)
{
	struct xn_value *config = xn_value_ref(xn_row_get(vm, XN_VM_other_config));
	char seed[37];

	xn_map_remove(&config, "default_template");
	xn_map_remove(&config, "xensource_internal");
	if (is_snapshot(op))
		return config;
	if (xn_row_bool(vm, XN_VM_is_a_template) && !xn_row_bool(vm, XN_VM_is_a_snapshot))
		xn_map_put(&config, "base_template_name",
			   xn_value_ref(xn_row_get(vm, XN_VM_name_label)));
	xn_uuid_new(op->core->loop, seed);
	xn_map_put_string(&config, "mac_seed", seed);
	return config;
}

static void put_snapshot_fields(struct xn_op *op, const struct xn_row *vm, struct xn_value **fields)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_value *info = xn_map_new();
	size_t len;
	const char *record = xn_row_json(xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm), &len);

	xn_map_put_string(&info, "power-state-at-snapshot", xn_row_string(vm, XN_VM_power_state));
	xn_map_put_string(&info, "disk-snapshot-type", "crash_consistent");
	xn_map_put(fields, "snapshot_info", info);
	xn_map_put(fields, "snapshot_metadata", xn_string_len(record, len));
	xn_map_put(fields, "is_a_snapshot", xn_bool(true));
	xn_map_put(fields, "is_a_template", xn_bool(true));
	xn_map_put_string(fields, "snapshot_of", xn_row_ref(vm));
	xn_map_put(fields, "snapshot_time", xn_datetime(xn_wall_s(op->core->loop)));
	xn_map_put(fields, "parent", xn_value_ref(xn_row_get(vm, XN_VM_parent)));
}

static struct xn_value *copied_fields(struct xn_op *op, const struct xn_row *vm)
{
	struct xn_value *fields = xn_row_to_map(vm);

	for (size_t i = 0; i < XN_ARRAY_SIZE(own_fields); i++)
		xn_map_remove(&fields, own_fields[i]);
	xn_map_put_string(&fields, "name_label", xn_map_get_string(op->args, "name"));
	xn_map_put(&fields, "other_config", copied_other_config(op, vm));
	if (is_snapshot(op))
		put_snapshot_fields(op, vm, &fields);
	else if (*xn_row_string(vm, XN_VM_generation_id))
		xn_map_remove(&fields, "generation_id"); /* a new one: it is another machine */
	return fields;
}

/* ---- devices' rows ---- */

static const char *copy_of_disk(const struct xn_op *op, const char *vbd)
{
	for (unsigned i = 0; i < xn_vm_count_disks(op); i++)
		if (strcmp(xn_map_get_string(xn_vm_disk_at(op, i), "vbd"), vbd) == 0)
			return xn_map_get_string(xn_vm_disk_at(op, i), "new");
	return NULL;
}

static void drop_device_state(struct xn_value **fields, const char *vm)
{
	static const char *const state[] = {
		"uuid",        "allowed_operations", "current_operations", "currently_attached",
		"status_code", "status_detail",      "runtime_properties", "metrics"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(state); i++)
		xn_map_remove(fields, state[i]);
	xn_map_put_string(fields, "VM", vm);
}

static void copy_vbd(struct xn_op *op, const struct xn_row *vbd, const struct xn_row *copy)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *fresh = copy_of_disk(op, xn_row_ref(vbd));
	bool is_cd = strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;

	if (!fresh && !is_cd && !xn_row_bool(vbd, XN_VBD_empty))
		return; /* left out by the caller */
	fields = xn_row_to_map(vbd);
	drop_device_state(&fields, xn_row_ref(copy));
	if (fresh) {
		struct xn_value *config = xn_value_ref(xn_row_get(vbd, XN_VBD_other_config));

		xn_map_put_string(&config, "owner", "");
		xn_map_put(&fields, "other_config", config);
		xn_map_put_string(&fields, "VDI", fresh);
	}
	xn_operation_refresh_all(vmo->d->ops, xn_db_create(vmo->d->db, XN_CLASS_VBD, NULL, fields));
}

static void copy_vif(struct xn_op *op, const struct xn_row *vif, const struct xn_row *copy)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_row_to_map(vif);
	const char *seed = xn_row_map_string(copy, XN_VM_other_config, "mac_seed");
	char mac[18];

	drop_device_state(&fields, xn_row_ref(copy));
	if (!is_snapshot(op)) {
		xn_mac_from_seed(seed, xn_nic_position(xn_row_string(vif, XN_VIF_device)), mac);
		xn_map_put_string(&fields, "MAC", mac);
		xn_map_put(&fields, "MAC_autogenerated", xn_bool(true));
	}
	xn_operation_refresh(vmo->d->ops, xn_db_create(vmo->d->db, XN_CLASS_VIF, NULL, fields));
}

static void copy_devices(struct xn_op *op, const struct xn_row *vm, const struct xn_row *copy)
{
	struct xn_db *db = xn_vm_op_of(op)->d->db;
	const struct xn_value *refs = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vbd =
			xn_db_get(db, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)));

		if (vbd)
			copy_vbd(op, vbd, copy);
	}
	refs = xn_row_get(vm, XN_VM_VIFs);
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vif =
			xn_db_get(db, XN_CLASS_VIF, xn_value_string(xn_set_at(refs, i)));

		if (vif)
			copy_vif(op, vif, copy);
	}
}

static void copy_guest_metrics(struct xn_domains *d, const struct xn_row *vm, struct xn_row *copy)
{
	struct xn_row *guest = xn_row_follow(d->db, vm, XN_VM_guest_metrics);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;

	if (!guest)
		return;
	fields = xn_row_to_map(guest);
	xn_map_remove(&fields, "uuid");
	xn_db_set_string(d->db, copy, XN_VM_guest_metrics,
			 xn_row_ref(xn_db_create(d->db, XN_CLASS_VM_guest_metrics, NULL, fields)));
}

static void make_rows(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;
	struct xn_error err = {0};
	struct xn_row *copy;

	if (!vm)
		return;
	fields = copied_fields(op, vm);
	copy = xn_vm_new_ref(op->core, xn_map_get_string(op->args, "new"), fields, &err);
	if (!copy) {
		xn_op_fail(op, &err);
		return;
	}
	if (is_snapshot(op)) {
		xn_db_set_string(vmo->d->db, vm, XN_VM_parent, xn_row_ref(copy));
		copy_guest_metrics(vmo->d, vm, copy);
	}
	copy_devices(op, vm, copy);
	xn_op_set_arg(op, "result", xn_string(xn_row_ref(copy)));
	xn_op_done(op, 0);
}

static void delete_rows(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *copy =
		xn_db_get(vmo->d->db, XN_CLASS_VM, xn_map_get_string(op->args, "new"));
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (copy && vm && strcmp(xn_row_string(vm, XN_VM_parent), xn_row_ref(copy)) == 0)
		xn_db_set_string(vmo->d->db, vm, XN_VM_parent, xn_row_string(copy, XN_VM_parent));
	if (copy)
		xn_vm_delete_rows(vmo->d, copy);
	xn_op_done(op, 0);
}

/* ---- the calls ---- */

static void ended(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (!err && vm && is_snapshot(op))
		xn_vm_message(vmo->d, vm, "VM_SNAPSHOTTED", "snapshotted");
}

/* Each disk is held for the same: nobody deletes or resizes it meanwhile. */
static void also_disks(struct xn_op *op, struct xn_run *run)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	const struct xn_value *vbds = vm ? xn_row_get(vm, XN_VM_VBDs) : NULL;
	const char *how = xn_map_get_string(op->args, "how");
	const char *operation = strcmp(how, "snapshot") == 0 ? "snapshot"
				: strcmp(how, "copy") == 0   ? "copy"
							     : "clone";

	for (size_t i = 0; vbds && i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(vmo->d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(vmo->d->db, vbd, XN_VBD_VDI) : NULL;

		if (vdi && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0 &&
		    !is_ignored(op, xn_row_ref(vdi)))
			xn_run_also_take(run, XN_CLASS_VDI, xn_row_ref(vdi), operation);
	}
}

static void run(struct xn_call *call, const char *how, struct xn_value *args)
{
	char fresh[48];

	xn_ref_new(call->core->loop, fresh);
	xn_map_put_string(&args, "how", how);
	xn_map_put_string(&args, "new", fresh);
	xn_map_put(&args, "name", xn_value_ref(call->args[1]));
	xn_vm_run(call, &xn_vm_clone_kind, args, also_disks, ended);
}

void xn_vm_clone(struct xn_call *call)
{
	run(call, "clone", xn_map_new());
}

void xn_vm_copy(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();
	const char *sr = xn_call_string(call, 2);

	if (*sr && strcmp(sr, XN_NULL_REF) != 0)
		xn_map_put_string(&args, "sr", sr);
	run(call, "copy", args);
}

int xn_vm_copy_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	const char *ref = xn_call_string(call, 2);
	struct xn_row *sr;

	if (*ref && strcmp(ref, XN_NULL_REF) != 0) {
		sr = xn_db_need(d->db, XN_CLASS_SR, ref, err);
		if (!sr)
			return -1;
		if (strcmp(xn_row_string(sr, XN_SR_content_type), "iso") == 0)
			return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
					    "An ISO library does not take disks.");
	}
	return xn_check_operation(call, err);
}

void xn_vm_snapshot(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "ignore", xn_value_ref(call->args[2]));
	run(call, "snapshot", args);
}
