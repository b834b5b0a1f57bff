/*
 * VM.suspend: the guest's memory goes to a disk and its domain away. At every moment a crash leaves
 * a guest that runs on, or a whole image and rows that say so:
 *
 *	image on disk for good -> rows say Suspended for good -> domain destroyed
 *
 * Up to the last of these the undo lets the guest go on; behind it there is nothing to undo.
 */
#include "modules/domain/domain_internal.h"

static void choose_disk(struct xn_op *op);
static void unmake_image(struct xn_op *op);
static void note(struct xn_op *op);
static void forget(struct xn_op *op);
static void after_destroy(struct xn_op *op);

static const struct xn_step suspend_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"choose where memory goes", choose_disk, NULL, 1000},
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},
	{"make the image", xn_step_make_image, unmake_image, 60000, 1, XN_STEP_UNDO_ON_RESTART},
	{"save memory", xn_step_save, xn_step_save_undo, 150000, 20, XN_STEP_UNDO_ON_RESTART},
	{"sync the image", xn_step_sync_image, NULL, 300000, 5, XN_STEP_UNDO_ON_RESTART},
	{"note that it is suspended", note, forget, 30000, 1, XN_STEP_UNDO_ON_RESTART},
	{"destroy domain", xn_step_destroy, after_destroy, 120000, 3, XN_STEP_NO_CANCEL},
	{"release disks", xn_step_deactivate, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_suspend_kind, "VM.suspend", suspend_steps, XN_RESTART_RESUME)

static void choose_disk(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_value *disks, *disk = NULL;
	struct xn_error err = {0};

	if (xn_image_plan(vmo, &disk, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	disks = xn_set_new();
	xn_set_append(&disks, disk);
	xn_op_set_arg(op, "disks", disks);
	xn_op_done(op, 0);
}

/* Nothing is left that could go on: the image is all there is of the guest. */
static bool is_suspended(struct xn_vm_op *vmo)
{
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	const char *image = xn_image_ref(&vmo->op);

	return vm && image && !xn_vm_op_domain(vmo) &&
	       strcmp(xn_row_string(vm, XN_VM_suspend_VDI), image) == 0;
}

static void unmake_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_error full = {0};

	if (is_suspended(vmo)) {
		xn_op_done(op, 0);
		return;
	}
	if (op->error.code && strcmp(op->error.code, XN_ERR_SR_FULL) == 0) {
		xn_error_set(&full, XN_ERR_SR_SUSPEND_SPACE_INSUFFICIENT,
			     xn_map_get_string(xn_vm_disk_at(op, 0), "sr"));
		xn_error_move(&op->error, &full);
	}
	xn_step_delete_disks(op);
}

static void note(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	size_t len;
	const char *record;

	if (!vm)
		return;
	record = xn_row_json(vm, &len);
	xn_db_set(vmo->d->db, vm, XN_VM_last_booted_record, xn_string_len(record, len));
	xn_db_set_string(vmo->d->db, vm, XN_VM_suspend_VDI, xn_image_ref(op));
	xn_step_when_durable(op);
}

static void forget(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (is_suspended(vmo)) {
		xn_step_deactivate(op);
		return;
	}
	if (vm)
		xn_db_set_string(vmo->d->db, vm, XN_VM_suspend_VDI, XN_NULL_REF);
	xn_op_done(op, 0);
}

/* The image is whole, and the domain may go at any moment, for it was told to: there is no way back
 * that is safe. It is told again, and what follows depends on whether it has gone. */
static void after_destroy(struct xn_op *op)
{
	xn_step_destroy(op);
}

void xn_vm_suspend(struct xn_call *call)
{
	xn_vm_run(call, &xn_vm_suspend_kind, NULL, xn_vm_also_devices);
}
