/*
 * VM.destroy: the rows of a VM and its devices go, its disks stay. Also used to take back a
 * half-made copy.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static void delete_suspend_image(struct xn_op *op);
static void delete_rows(struct xn_op *op);

static const struct xn_step destroy_steps[] = {
	{"delete suspend image", delete_suspend_image, NULL, 120000},
	{"delete rows", delete_rows, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_destroy_kind, "VM.destroy", destroy_steps, XN_RESTART_RESUME)

static void delete_suspend_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	struct xn_row *vdi = vm ? xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI) : NULL;

	if (!vdi)
		xn_op_done(op, 0);
	else
		xn_vm_drop_image(vmo, vdi);
}

static void delete_set(struct xn_db *db, const struct xn_row *vm, int field, int class_id)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_value_ref(xn_row_get(vm, field));

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *row = xn_db_get(db, class_id, xn_value_string(xn_set_at(refs, i)));

		if (row)
			xn_db_delete(db, row);
	}
}

static void delete_one(struct xn_db *db, const struct xn_row *vm, int field)
{
	struct xn_row *row = xn_row_follow(db, vm, field);

	if (row)
		xn_db_delete(db, row);
}

/* Those whose parent goes become children of its parent: the chain of snapshots holds. */
static void pass_children_on(struct xn_db *db, const struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *children = xn_value_ref(xn_row_get(vm, XN_VM_children));

	for (size_t i = 0; i < xn_set_len(children); i++) {
		struct xn_row *child =
			xn_db_get(db, XN_CLASS_VM, xn_value_string(xn_set_at(children, i)));

		if (child)
			xn_db_set_string(db, child, XN_VM_parent, xn_row_string(vm, XN_VM_parent));
	}
}

static void delete_vbds(struct xn_domains *d, const struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *refs = xn_value_ref(xn_row_get(vm, XN_VM_VBDs));

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;

		if (vbd)
			xn_db_delete(d->db, vbd);
		if (vdi)
			xn_operation_refresh(d->ops, vdi);
	}
}

void xn_vm_delete_rows(struct xn_domains *d, struct xn_row *vm)
{
	static const struct {
		int field, class_id;
	} sets[] = {
		{XN_VM_VIFs, XN_CLASS_VIF},   {XN_VM_consoles, XN_CLASS_console},
		{XN_VM_VUSBs, XN_CLASS_VUSB}, {XN_VM_VTPMs, XN_CLASS_VTPM},
		{XN_VM_VGPUs, XN_CLASS_VGPU}, {XN_VM_crash_dumps, XN_CLASS_crashdump},
	};

	struct xn_row *appliance = xn_row_follow(d->db, vm, XN_VM_appliance);

	delete_vbds(d, vm);
	for (size_t i = 0; i < XN_ARRAY_SIZE(sets); i++)
		delete_set(d->db, vm, sets[i].field, sets[i].class_id);
	delete_one(d->db, vm, XN_VM_metrics);
	delete_one(d->db, vm, XN_VM_guest_metrics);
	pass_children_on(d->db, vm);
	xn_updates_drop(d->updates, "VM", xn_row_uuid(vm));
	xn_updates_drop(d->updates, "devices", xn_row_uuid(vm));
	xn_updates_drop(d->updates, "guest", xn_row_uuid(vm));
	xn_db_delete(d->db, vm);
	if (appliance)
		xn_operation_refresh(d->ops, appliance);
}

void xn_vm_remove(struct xn_core *core, struct xn_row *vm)
{
	xn_vm_delete_rows(xn_domains_of(core), vm);
}

static void delete_rows(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (vm)
		xn_vm_delete_rows(vmo->d, vm);
	xn_op_done(op, 0);
}

void xn_vm_destroy(struct xn_call *call)
{
	xn_vm_run(call, &xn_vm_destroy_kind, NULL, NULL);
}
