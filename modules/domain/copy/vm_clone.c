/*
 * VM.clone, VM.copy, VM.csvm, VM.snapshot and VM.checkpoint: first the memory and the disks, then
 * the rows, all at once. The references of everything new are chosen and journaled before anything
 * is made, so that an operation that failed or died leaves nothing behind.
 *
 * What a running guest has on its disks is caught while it stands still, on all of them: it is
 * paused for a snapshot, and for a checkpoint it stays suspended after its memory was saved. It
 * goes on once each copy has its content; that the copies get rows and survive power loss comes
 * later.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/schema/schema.h"
#include "modules/domain/domain_internal.h"

/* Arguments: "how" is clone, copy, snapshot or checkpoint; "new" the new VM; "sr" for copy or "";
 * "disks" a set of maps {vbd, vdi, new}; without "vbd" it is a suspended VM's memory. */
static void list_disks(struct xn_op *op);
static void save_memory(struct xn_op *op);
static void undo_save(struct xn_op *op);
static void quiet_guest(struct xn_op *op);
static void wake_guest(struct xn_op *op);
static void wake_failed(struct xn_op *op);
static void copy_disks(struct xn_op *op);
static void make_rows(struct xn_op *op);
static void delete_rows(struct xn_op *op);

static const struct xn_step clone_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"list disks", list_disks, NULL, 1000},
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},
	{"make the memory image", xn_step_make_image, xn_step_delete_disks, 120000},
	{"save memory", save_memory, undo_save, 150000, 10},
	{"pause the guest", quiet_guest, wake_guest, 120000},
	{"copy disks", copy_disks, NULL, 300000, 20},
	{"let the guest go on", wake_guest, wake_failed, 120000},
	{"keep the copies", xn_step_keep_disks, NULL, 300000, 5},
	{"sync the memory image", xn_step_sync_image, NULL, 300000},
	{"make the VM's rows", make_rows, delete_rows, 30000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_clone_kind, "VM.clone", clone_steps, XN_RESTART_UNDO)

static bool is_how(const struct xn_op *op, const char *how)
{
	return strcmp(xn_map_get_string(op->args, "how"), how) == 0;
}

static bool is_snapshot(const struct xn_op *op)
{
	return is_how(op, "snapshot") || is_how(op, "checkpoint");
}

/* ---- disks ---- */

static bool is_ignored(const struct xn_op *op, const char *vdi)
{
	const struct xn_value *ignored = xn_map_get(op->args, "ignore");

	return ignored && xn_set_has_string(ignored, vdi);
}

static void list_disk(struct xn_op *op, struct xn_value **disks, const char *vbd, const char *vdi)
{
	struct xn_value *disk = xn_map_new();
	char fresh[48];

	xn_ref_new(op->core->loop, fresh);
	if (vbd)
		xn_map_put_string(&disk, "vbd", vbd);
	xn_map_put_string(&disk, "vdi", vdi);
	xn_map_put_string(&disk, "new", fresh);
	xn_set_append(disks, disk);
}

static void list_vbds(struct xn_op *op, const struct xn_row *vm, struct xn_value **disks)
{
	struct xn_db *db = xn_vm_op_of(op)->d->db;
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const char *ref = xn_value_string(xn_set_at(vbds, i));
		struct xn_row *vbd = xn_db_get(db, XN_CLASS_VBD, ref);
		struct xn_row *vdi = vbd ? xn_row_follow(db, vbd, XN_VBD_VDI) : NULL;

		if (vdi && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0 &&
		    !is_ignored(op, xn_row_ref(vdi)))
			list_disk(op, disks, ref, xn_row_ref(vdi));
	}
}

static void list_disks(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	struct xn_value *disks, *memory = NULL;
	const struct xn_row *image;
	struct xn_error err = {0};

	if (!vm)
		return;
	if (xn_copy_check_size(vmo->d, vm, &err) < 0 ||
	    (is_how(op, "checkpoint") && xn_vm_is(vm, "Running") &&
	     xn_image_plan(vmo, &memory, &err) < 0)) {
		xn_op_fail(op, &err);
		return;
	}
	disks = xn_set_new();
	if (memory)
		xn_set_append(&disks, memory);
	list_vbds(op, vm, &disks);
	image = xn_vm_is(vm, "Suspended") ? xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI) : NULL;
	if (image)
		list_disk(op, &disks, NULL, xn_row_ref(image));
	xn_op_set_arg(op, "disks", disks);
	xn_op_done(op, 0);
}

/* ---- the guest ---- */

static void save_memory(struct xn_op *op)
{
	if (xn_image_ref(op))
		xn_vm_stand_still(xn_vm_op_of(op));
	xn_step_save(op);
}

static bool is_cancel(const struct xn_error *err)
{
	return err->code && strcmp(err->code, XN_ERR_TASK_CANCELLED) == 0;
}

/* What clients know of a checkpoint that did not come to the disks. */
static void undo_save(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	bool space = op->error.code &&
		     strcmp(op->error.code, XN_ERR_SR_SUSPEND_SPACE_INSUFFICIENT) == 0;

	if (!xn_image_ref(op)) {
		xn_op_done(op, 0);
		return;
	}
	if (!xn_map_get_bool(op->args, "saved", false) && !is_cancel(&op->error) && !space)
		xn_error_set(&op->error, XN_ERR_VM_CHECKPOINT_SUSPEND_FAILED, vmo->vm);
	xn_vm_move_again(vmo);
	xn_step_save_undo(op);
}

/* All disks of a running guest are to show the same moment. Two operations may want it at the same
 * time: it goes on when the last of them lets it. Whose memory was saved is suspended by that. */
static void quiet_guest(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	bool stopped = xn_vm_stand_still(vmo) || xn_image_ref(op);

	if (xn_image_ref(op))
		xn_op_set_arg(op, "saved", xn_bool(true));
	if (!domain || xn_vm_count_disks(op) == 0 ||
	    (!stopped && (domain->paused || domain->shut_down))) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_set_arg(op, "stopped_by_us", xn_bool(true));
	if (domain->paused || domain->shut_down)
		xn_op_done(op, 0);
	else
		xn_op_save(op, xn_step_pause);
}

static void wake_guest(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);

	if (xn_vm_move_again(vmo) || !domain ||
	    !xn_map_get_bool(op->args, "stopped_by_us", false))
		xn_op_done(op, 0);
	else if (domain->shut_down)
		xn_step_resume_domain(op);
	else
		xn_step_unpause(op);
}

static void wake_failed(struct xn_op *op)
{
	const struct xn_domain_info *domain = xn_vm_op_domain(xn_vm_op_of(op));

	if (xn_image_ref(op) && domain && domain->shut_down && !is_cancel(&op->error))
		xn_error_set(&op->error, XN_ERR_VM_CHECKPOINT_RESUME_FAILED, xn_vm_op_of(op)->vm);
	xn_op_done(op, 0);
}

static void copy_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	unsigned at = index + (xn_image_ref(&vmo->op) ? 1 : 0);
	const struct xn_value *disk = xn_vm_disk_at(&vmo->op, at);
	const char *sr = xn_map_get_string(vmo->op.args, "sr");
	struct xn_vdi_plan plan = {
		.source = xn_map_get_string(disk, "vdi"),
		.sr = sr && *sr ? sr : NULL,
		/* The image goes when the VM is resumed: its copy is nobody's snapshot. */
		.snapshot = is_snapshot(&vmo->op) && xn_map_get(disk, "vbd"),
	};

	xn_vm_make_disk_at(vmo, group, index, at, &plan, true);
}

/* One after the other, unless a guest waits for it. */
static void copy_disks(struct xn_op *op)
{
	unsigned n = xn_vm_count_disks(op) - (xn_image_ref(op) ? 1 : 0);
	bool waits = xn_map_get_bool(op->args, "stopped_by_us", false);

	xn_op_waiting(op, "storage to copy the disks%s", waits ? ", while the guest stands still"
							       : "");
	xn_group_start(op, n, waits ? XN_DISK_WIDTH : 1, copy_disk, xn_vm_op_of(op));
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

/* The image of the memory that the new VM gets, or NULL. */
static const char *memory_of_copy(const struct xn_op *op)
{
	for (unsigned i = 0; i < xn_vm_count_disks(op); i++)
		if (!xn_map_get(xn_vm_disk_at(op, i), "vbd"))
			return xn_map_get_string(xn_vm_disk_at(op, i), "new");
	return NULL;
}

/* What it was when its memory was saved: the source's, unless that is running on. */
static void put_memory(struct xn_db *db, const struct xn_row *vm, const char *image,
		       struct xn_value **fields)
{
	size_t len;
	const char *record = xn_row_json(xn_db_get(db, XN_CLASS_VM, xn_row_ref(vm)), &len);

	xn_map_put_string(fields, "power_state", "Suspended");
	xn_map_put_string(fields, "suspend_VDI", image);
	xn_map_put(fields, "last_booted_record",
		   xn_vm_is(vm, "Suspended") ? xn_value_ref(xn_row_get(vm, XN_VM_last_booted_record))
					     : xn_string_len(record, len));
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
	if (*xn_row_string(vm, XN_VM_generation_id))
		xn_map_remove(&fields, "generation_id"); /* a new one: it is another machine */
	if (memory_of_copy(op))
		put_memory(xn_vm_op_of(op)->d->db, vm, memory_of_copy(op), &fields);
	return fields;
}

/* ---- devices' rows ---- */

static const char *copy_of_disk(const struct xn_op *op, const char *vbd)
{
	for (unsigned i = 0; i < xn_vm_count_disks(op); i++) {
		const char *of = xn_map_get_string(xn_vm_disk_at(op, i), "vbd");

		if (of && strcmp(of, vbd) == 0)
			return xn_map_get_string(xn_vm_disk_at(op, i), "new");
	}
	return NULL;
}

static void copy_devices(struct xn_op *op, const struct xn_row *vm, const struct xn_row *copy)
{
	struct xn_domains *d = xn_vm_op_of(op)->d;
	const char *seed = is_snapshot(op)
				   ? NULL
				   : xn_row_map_string(copy, XN_VM_other_config, "mac_seed");
	const struct xn_value *refs = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const char *ref = xn_value_string(xn_set_at(refs, i));
		struct xn_row *vbd = xn_db_get(d->db, XN_CLASS_VBD, ref);

		if (vbd)
			xn_copy_vbd(d, vbd, xn_row_ref(copy), copy_of_disk(op, ref));
	}
	refs = xn_row_get(vm, XN_VM_VIFs);
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(refs, i)));

		if (vif)
			xn_copy_vif(d, vif, xn_row_ref(copy), seed);
	}
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
	/* Again: devices can be changed while their disks are copied. */
	if (xn_vm_disks_are_wanted(vmo, &err) < 0 || xn_copy_check_size(vmo->d, vm, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	fields = copied_fields(op, vm);
	copy = xn_vm_new_ref(op->core, xn_map_get_string(op->args, "new"), fields, &err);
	if (!copy) {
		xn_op_fail(op, &err);
		return;
	}
	if (is_snapshot(op)) {
		xn_db_set_string(vmo->d->db, vm, XN_VM_parent, xn_row_ref(copy));
		xn_copy_metrics(vmo->d, vm, copy);
	}
	copy_devices(op, vm, copy);
	xn_op_set_arg(op, "result", xn_string(xn_row_ref(copy)));
	xn_step_when_durable(op); /* what the database refuses is gone again */
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

/* Each disk is held for the same: nobody deletes or resizes it meanwhile. */
static void also_disks(struct xn_op *op, struct xn_run *run)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *disks = xn_set_new();
	const char *operation = is_snapshot(op)      ? "snapshot"
				: is_how(op, "copy") ? "copy"
						     : "clone";
	const struct xn_row *image =
		vm ? xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI) : NULL;

	if (vm)
		list_vbds(op, vm, &disks);
	for (size_t i = 0; i < xn_set_len(disks); i++)
		xn_run_also_take(run, XN_CLASS_VDI,
				 xn_map_get_string(xn_set_at(disks, i), "vdi"), operation);
	if (image)
		xn_run_also_take(run, XN_CLASS_VDI, xn_row_ref(image), "copy");
}

static void run(struct xn_call *call, const char *how, struct xn_value *args)
{
	char fresh[48];

	xn_ref_new(call->core->loop, fresh);
	xn_map_put_string(&args, "how", how);
	xn_map_put_string(&args, "new", fresh);
	if (!xn_map_get(args, "name"))
		xn_map_put(&args, "name", xn_value_ref(call->args[1]));
	xn_vm_run(call, &xn_vm_clone_kind, args, also_disks);
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

void xn_vm_checkpoint(struct xn_call *call)
{
	run(call, "checkpoint", xn_map_new());
}

/* A clone of a suspended VM, which goes on from the same moment. */
void xn_vm_csvm(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	const struct xn_row *vm = xn_db_get(d->db, XN_CLASS_VM, xn_call_string(call, 0));
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "name",
		   xn_stringf("%s-CSVM", vm ? xn_row_string(vm, XN_VM_name_label) : ""));
	run(call, "csvm", args);
}
