/*
 * VM.revert: the VM becomes what it was when the snapshot was taken. The snapshot's disks are
 * copied before anything of the VM is touched: what fails until then (a full SR) costs nothing.
 * Then its domain goes, the rows change in one transaction, and last the disks that nobody has any
 * more.
 *
 *	"disks": maps {vbd, vdi, new} of the snapshot; without "vbd" its memory
 *	"old":   what the VM had and nobody else has; known from the transaction on
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/schema/schema.h"
#include "modules/domain/domain_internal.h"

static void list_disks(struct xn_op *op);
static void explain(struct xn_op *op);
static void copy_disks(struct xn_op *op);
static void drop_copies(struct xn_op *op);
static void release_disks(struct xn_op *op);
static void put_rows_back(struct xn_op *op);
static void delete_old_disks(struct xn_op *op);

static const struct xn_step revert_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"list disks", list_disks, explain, 1000},
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},
	{"copy the snapshot's disks", copy_disks, drop_copies, 300000, 20,
	 XN_STEP_UNDO_ON_RESTART},
	{"destroy domain", xn_step_destroy, NULL, 120000, 3, XN_STEP_NO_CANCEL},
	{"release disks", release_disks, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"put the rows back", put_rows_back, delete_old_disks, 60000, 1, XN_STEP_NO_CANCEL},
	{"delete the old disks", delete_old_disks, NULL, 300000, 3, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_revert_kind, "VM.revert", revert_steps, XN_RESTART_RESUME)

static const char *snapshot_ref(const struct xn_op *op)
{
	return xn_map_get_string(op->args, "snapshot");
}

/* NULL: gone, and the step has failed. */
static struct xn_row *snapshot_of_op(struct xn_op *op)
{
	struct xn_error err = {0};
	struct xn_row *row =
		xn_db_need(xn_vm_op_of(op)->d->db, XN_CLASS_VM, snapshot_ref(op), &err);

	if (!row)
		xn_op_fail(op, &err);
	return row;
}

/* ---- disks ---- */

static void list_disk(struct xn_op *op, struct xn_value **disks, const char *vbd,
		      const struct xn_row *vdi)
{
	struct xn_value *disk = xn_map_new();
	char fresh[48];

	xn_ref_new(op->core->loop, fresh);
	if (vbd)
		xn_map_put_string(&disk, "vbd", vbd);
	xn_map_put_string(&disk, "vdi", xn_row_ref(vdi));
	xn_map_put_string(&disk, "new", fresh);
	xn_set_append(disks, disk);
}

static struct xn_value *list_of(struct xn_op *op, const struct xn_row *snapshot)
{
	struct xn_db *db = xn_vm_op_of(op)->d->db;
	const struct xn_value *vbds = xn_row_get(snapshot, XN_VM_VBDs);
	const struct xn_row *image = xn_row_follow(db, snapshot, XN_VM_suspend_VDI);
	struct xn_value *disks = xn_set_new();

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const char *ref = xn_value_string(xn_set_at(vbds, i));
		struct xn_row *vbd = xn_db_get(db, XN_CLASS_VBD, ref);
		struct xn_row *vdi = vbd ? xn_row_follow(db, vbd, XN_VBD_VDI) : NULL;

		if (vdi && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0)
			list_disk(op, &disks, ref, vdi);
	}
	if (image && xn_vm_is(snapshot, "Suspended"))
		list_disk(op, &disks, NULL, image);
	return disks;
}

static void list_disks(struct xn_op *op)
{
	struct xn_row *snapshot = snapshot_of_op(op);
	struct xn_error err = {0};

	if (!snapshot)
		return;
	if (xn_copy_check_size(xn_vm_op_of(op)->d, snapshot, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	xn_op_set_arg(op, "disks", list_of(op, snapshot));
	xn_op_done(op, 0);
}

/* Whatever it was, clients know one name for it; the reason was logged. */
static void explain(struct xn_op *op)
{
	if (!op->error.code || strcmp(op->error.code, XN_ERR_TASK_CANCELLED) != 0)
		xn_error_set(&op->error, XN_ERR_VM_REVERT_FAILED, snapshot_ref(op),
			     xn_vm_op_of(op)->vm);
	xn_op_done(op, 0);
}

static void copy_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	struct xn_vdi_plan plan = {
		.source = xn_map_get_string(xn_vm_disk_at(&vmo->op, index), "vdi"),
	};

	xn_vm_make_disk(vmo, group, index, &plan);
}

static void copy_disks(struct xn_op *op)
{
	xn_op_waiting(op, "storage to copy the snapshot's disks");
	xn_group_start(op, xn_vm_count_disks(op), 1, copy_disk, xn_vm_op_of(op));
}

static bool has_disk(struct xn_domains *d, const struct xn_row *vm, const char *vdi)
{
	const struct xn_row *row = xn_db_get(d->db, XN_CLASS_VDI, vdi);
	const struct xn_value *vbds = row ? xn_row_get(row, XN_VDI_VBDs) : NULL;

	if (strcmp(xn_row_string(vm, XN_VM_suspend_VDI), vdi) == 0)
		return true;
	for (size_t i = 0; vbds && i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd && strcmp(xn_row_string(vbd, XN_VBD_VM), xn_row_ref(vm)) == 0)
			return true;
	}
	return false;
}

/* The transaction that puts the rows back was made, and the database kept it. */
static bool is_reverted(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (!vm || !xn_map_get(op->args, "old"))
		return false;
	return xn_vm_count_disks(op) == 0 ||
	       has_disk(vmo->d, vm, xn_map_get_string(xn_vm_disk_at(op, 0), "new"));
}

static void drop_copies(struct xn_op *op)
{
	if (is_reverted(op))
		xn_op_done(op, 0);
	else
		xn_step_delete_disks(op);
}

static void release_disks(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm))
		xn_step_deactivate(op);
	else
		xn_op_done(op, 0); /* only the snapshot is left of it */
}

/* ---- the VM's row ---- */

/* What stays as it is now: identity, state, relations, and what the daemon keeps itself. */
static const char *const kept_fields[] = {
	"uuid",
	"allowed_operations",
	"current_operations",
	"power_state",
	"is_default_template",
	"suspend_VDI",
	"resident_on",
	"scheduled_to_be_resident_on",
	"affinity",
	"memory_overhead",
	"domid",
	"is_control_domain",
	"metrics",
	"guest_metrics",
	"last_booted_record",
	"ha_always_run",
	"ha_restart_priority",
	"is_a_snapshot",
	"snapshot_of",
	"snapshot_time",
	"snapshot_info",
	"snapshot_metadata",
	"transportable_snapshot_id",
	"is_vmss_snapshot",
	"is_snapshot_from_vmpp",
	"tags",
	"parent",
	"blobs",
	"generation_id",
	"requires_reboot",
	"pending_guidances",
	"pending_guidances_recommended",
	"pending_guidances_full",
};

static bool is_kept(const struct xn_field *field)
{
	if (field->internal ||
	    (field->type->kind == XN_T_SET && field->type->value->kind == XN_T_REF))
		return true;
	for (size_t i = 0; i < XN_ARRAY_SIZE(kept_fields); i++)
		if (strcmp(kept_fields[i], field->name) == 0)
			return true;
	return false;
}

/* The record that the snapshot keeps; one that lost it (or had it changed) stands for itself. */
static struct xn_value *record_of(const struct xn_row *snapshot)
{
	const char *text = xn_row_string(snapshot, XN_VM_snapshot_metadata);
	struct xn_value *record = NULL;

	if (xn_json_parse(text, strlen(text), &record, NULL) == 0 &&
	    record->kind == XN_MAP && xn_map_get(record, "name_label"))
		return record;
	xn_value_unref(record);
	record = xn_row_to_map(snapshot);
	xn_map_remove(&record, "name_label"); /* the snapshot's, not the VM's */
	xn_map_put(&record, "is_a_template", xn_bool(false));
	return record;
}

/* A value for @field that can be put into a row now, or NULL. */
static struct xn_value *value_for(struct xn_db *db, const struct xn_field *field,
				  const struct xn_value *given)
{
	struct xn_error err = {0};
	struct xn_value *value =
		given ? xn_type_check(field->type, xn_value_ref(given), field->name, &err) : NULL;

	xn_error_clear(&err);
	if (value && field->type->kind == XN_T_REF &&
	    strcmp(xn_value_string(value), XN_NULL_REF) != 0 &&
	    !xn_db_get(db, field->type->class_id, xn_value_string(value))) {
		xn_value_unref(value);
		return NULL;
	}
	return value;
}

static void restore_fields(struct xn_db *db, struct xn_row *vm, const struct xn_row *snapshot)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = record_of(snapshot);
	const struct xn_class *cls = &xn_classes[XN_CLASS_VM];

	for (int i = 0; i < (int)cls->n_public; i++) {
		const struct xn_field *field = &cls->fields[i];
		struct xn_value *value = is_kept(field)
						 ? NULL
						 : value_for(db, field,
							     xn_map_get(record, field->name));

		if (value)
			xn_db_set(db, vm, i, value);
	}
}

/* It is not the machine that went on from there. */
static void renew_generation(struct xn_domains *d, struct xn_row *vm)
{
	char id[XN_VM_GENERATION_LEN];

	if (!*xn_row_string(vm, XN_VM_generation_id))
		return;
	xn_vm_generation_new(d->core, id);
	xn_db_set_string(d->db, vm, XN_VM_generation_id, id);
}

/* The VM is gone: it comes back under its uuid, unless somebody has that now. */
static struct xn_row *make_vm_again(struct xn_op *op, const struct xn_row *snapshot,
				    struct xn_error *err)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_row_to_map(snapshot);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = record_of(snapshot);

	for (size_t i = 0; i < XN_ARRAY_SIZE(kept_fields); i++)
		xn_map_remove(&fields, kept_fields[i]);
	if (!xn_db_by_uuid(vmo->d->db, XN_CLASS_VM, vmo->uuid))
		xn_map_put_string(&fields, "uuid", vmo->uuid);
	if (xn_map_get_string(record, "name_label"))
		xn_map_put_string(&fields, "name_label", xn_map_get_string(record, "name_label"));
	xn_map_put(&fields, "is_a_template", xn_bool(false));
	return xn_vm_new_ref(op->core, vmo->vm, fields, err);
}

/* ---- its devices ---- */

/* Whether only @vm has it: others' disks are not ours to delete. */
static bool is_its_own(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *vdi)
{
	const struct xn_value *vbds = xn_row_get(vdi, XN_VDI_VBDs);

	if (xn_row_bool(vdi, XN_VDI_read_only))
		return false;
	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd && strcmp(xn_row_string(vbd, XN_VBD_VM), xn_row_ref(vm)) != 0)
			return false;
	}
	return true;
}

static struct xn_value *drop_devices(struct xn_domains *d, const struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vbds = xn_value_ref(xn_row_get(vm, XN_VM_VBDs));
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vifs = xn_value_ref(xn_row_get(vm, XN_VM_VIFs));
	const struct xn_row *image = xn_row_follow(d->db, vm, XN_VM_suspend_VDI);
	struct xn_value *old = xn_set_new();

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;

		if (vdi && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0 &&
		    is_its_own(d, vm, vdi))
			xn_set_append_string(&old, xn_row_ref(vdi));
		if (vbd)
			xn_db_delete(d->db, vbd);
		if (vdi)
			xn_operation_refresh(d->ops, vdi);
	}
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));

		if (vif)
			xn_db_delete(d->db, vif);
	}
	if (image)
		xn_set_append_string(&old, xn_row_ref(image));
	return old;
}

/* All snapshots of the disk that goes are now of the one that takes its place. */
static void pass_snapshots_on(struct xn_domains *d, const char *old, const char *fresh)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_set_new();

	if (strcmp(old, XN_NULL_REF) == 0 || strcmp(old, fresh) == 0)
		return;
	for (struct xn_row *vdi = xn_db_first(d->db, XN_CLASS_VDI); vdi;
	     vdi = xn_db_next(d->db, vdi))
		if (strcmp(xn_row_string(vdi, XN_VDI_snapshot_of), old) == 0)
			xn_set_append_string(&refs, xn_row_ref(vdi));
	for (size_t i = 0; i < xn_set_len(refs); i++)
		xn_db_set_string(d->db,
				 xn_db_get(d->db, XN_CLASS_VDI,
					   xn_value_string(xn_set_at(refs, i))),
				 XN_VDI_snapshot_of, fresh);
}

static void put_disk(struct xn_op *op, const struct xn_value *disk)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_db *db = vmo->d->db;
	const struct xn_row *of = xn_db_get(db, XN_CLASS_VDI, xn_map_get_string(disk, "vdi"));
	const struct xn_row *vbd = xn_db_get(db, XN_CLASS_VBD, xn_map_get_string(disk, "vbd"));
	const char *fresh = xn_map_get_string(disk, "new");
	char old[48];

	if (!vbd)
		return;
	xn_copy_vbd(vmo->d, vbd, vmo->vm, fresh);
	if (!of)
		return;
	snprintf(old, sizeof(old), "%s", xn_row_string(of, XN_VDI_snapshot_of));
	pass_snapshots_on(vmo->d, old, fresh);
}

static void put_devices_back(struct xn_op *op, const struct xn_row *snapshot)
{
	struct xn_domains *d = xn_vm_op_of(op)->d;
	const char *vm = xn_vm_op_of(op)->vm;
	const struct xn_value *refs = xn_row_get(snapshot, XN_VM_VBDs);

	for (unsigned i = 0; i < xn_vm_count_disks(op); i++)
		if (xn_map_get(xn_vm_disk_at(op, i), "vbd"))
			put_disk(op, xn_vm_disk_at(op, i));
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)));

		if (vbd && (strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0 ||
			    xn_row_bool(vbd, XN_VBD_empty)))
			xn_copy_vbd(d, vbd, vm, NULL);
	}
	refs = xn_row_get(snapshot, XN_VM_VIFs);
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(refs, i)));

		if (vif)
			xn_copy_vif(d, vif, vm, NULL);
	}
}

/* ---- all of it in one transaction ---- */

static void put_state(struct xn_op *op, struct xn_row *vm, const struct xn_row *snapshot)
{
	struct xn_db *db = xn_vm_op_of(op)->d->db;
	struct xn_row *metrics = xn_row_follow(db, vm, XN_VM_metrics);
	const char *image = XN_NULL_REF;

	for (unsigned i = 0; i < xn_vm_count_disks(op); i++)
		if (!xn_map_get(xn_vm_disk_at(op, i), "vbd"))
			image = xn_map_get_string(xn_vm_disk_at(op, i), "new");
	xn_db_set_string(db, vm, XN_VM_suspend_VDI, image);
	xn_db_set(db, vm, XN_VM_last_booted_record,
		  xn_value_ref(xn_row_get(snapshot, XN_VM_last_booted_record)));
	xn_db_set_string(db, vm, XN_VM_parent, xn_row_ref(snapshot));
	if (metrics && strcmp(image, XN_NULL_REF) == 0)
		xn_db_set_string(db, metrics, XN_VM_metrics_current_domain_type, "unspecified");
}

/* Of a VM that had to be made again. */
static void adopt_snapshots(struct xn_op *op, const struct xn_row *snapshot)
{
	struct xn_db *db = xn_vm_op_of(op)->d->db;
	const struct xn_row *row = snapshot;

	/* The chain of parents is what is left to tell them by. */
	for (unsigned i = 0; row && i < 1000; i++) {
		struct xn_row *next = xn_row_follow(db, row, XN_VM_parent);

		xn_db_set_string(db, xn_db_get(db, XN_CLASS_VM, xn_row_ref(row)),
				 XN_VM_snapshot_of, xn_vm_op_of(op)->vm);
		row = next && xn_row_bool(next, XN_VM_is_a_snapshot) ? next : NULL;
	}
}

static void put_rows_back(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *snapshot = snapshot_of_op(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	struct xn_error err = {0};

	if (!snapshot)
		return;
	if (is_reverted(op)) { /* before a restart */
		xn_op_done(op, 0);
		return;
	}
	if (xn_vm_disks_are_wanted(vmo, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	if (!vm) {
		vm = make_vm_again(op, snapshot, &err);
		if (!vm) {
			xn_op_fail(op, &err);
			return;
		}
		adopt_snapshots(op, snapshot);
	}
	xn_op_set_arg(op, "old", drop_devices(vmo->d, vm));
	restore_fields(vmo->d->db, vm, snapshot);
	xn_db_set_int(vmo->d->db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	renew_generation(vmo->d, vm);
	put_devices_back(op, snapshot);
	xn_copy_metrics(vmo->d, snapshot, vm);
	put_state(op, vm, snapshot);
	xn_op_save(op, NULL); /* in the same turn: with the rows, or not at all */
	xn_step_when_durable(op);
}

/* ---- the end ---- */

static void delete_old_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	const struct xn_value *old = xn_map_get(vmo->op.args, "old");

	xn_vm_drop_disk(vmo, group, index, xn_value_string(xn_set_at(old, index)));
}

static void delete_old_disks(struct xn_op *op)
{
	const struct xn_value *old = is_reverted(op) ? xn_map_get(op->args, "old") : NULL;

	xn_group_start(op, old ? (unsigned)xn_set_len(old) : 0, XN_DISK_WIDTH, delete_old_disk,
		       xn_vm_op_of(op));
}

/* ---- the call ---- */

static void also(struct xn_op *op, struct xn_run *run)
{
	struct xn_domains *d = xn_vm_op_of(op)->d;
	const struct xn_row *snapshot = xn_db_get(d->db, XN_CLASS_VM, snapshot_ref(op));
	const struct xn_row *vm = xn_db_get(d->db, XN_CLASS_VM, xn_vm_op_of(op)->vm);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *disks = NULL;

	if (vm) {
		xn_run_also_take(run, XN_CLASS_VM, xn_row_ref(vm), "reverting");
		xn_vm_also_devices(op, run);
	}
	if (!snapshot)
		return;
	disks = list_of(op, snapshot);
	for (size_t i = 0; i < xn_set_len(disks); i++)
		xn_run_also_take(run, XN_CLASS_VDI,
				 xn_map_get_string(xn_set_at(disks, i), "vdi"), "clone");
}

static void put_lost_vm(struct xn_core *core, const struct xn_row *snapshot,
			struct xn_value **args)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = record_of(snapshot);
	const char *uuid = xn_map_get_string(record, "uuid");
	char ref[48], fresh[37];

	xn_ref_new(core->loop, ref);
	xn_uuid_new(core->loop, fresh);
	xn_map_put_string(args, "vm", ref);
	xn_map_put_string(args, "uuid",
			  uuid && strlen(uuid) == 36 &&
					  strcmp(uuid, xn_row_uuid(snapshot)) != 0
				  ? uuid
				  : fresh);
}

void xn_vm_revert(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *snapshot =
		xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	const struct xn_row *vm = snapshot ? xn_row_follow(d->db, snapshot, XN_VM_snapshot_of)
					   : NULL;
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_call_string(call, 0),
		.operation = call->method->operation,
		.also = also,
		.ended = xn_vm_ended,
	};
	struct xn_value *args;
	struct xn_op *op;

	if (!snapshot) {
		xn_call_fail(call, &err);
		return;
	}
	args = xn_map_new();
	xn_map_put_string(&args, "snapshot", xn_row_ref(snapshot));
	if (vm) {
		op = xn_vm_op_new(d, &xn_vm_revert_kind, vm, args);
	} else {
		put_lost_vm(d->core, snapshot, &args);
		op = xn_vm_revert_kind.make(d->core, args);
		xn_value_unref(args);
	}
	xn_operation_run_spec(call, op, &spec);
}
