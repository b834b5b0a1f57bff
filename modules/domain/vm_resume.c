/*
 * VM.resume and VM.resume_on: a domain from the memory image, its devices, and then the guest goes
 * on. From that moment its disks change and the image is worth nothing, so the rows forget it for
 * good before: a crash never leaves an image that could be resumed a second time. Until the guest
 * runs, the undo leaves the VM Suspended as it was; afterwards it only cleans up.
 */
#include <errno.h>

#include "modules/domain/domain_internal.h"

static void find_image(struct xn_op *op);
static void release_disks(struct xn_op *op);
static void destroy_domain(struct xn_op *op);
static void use_up_image(struct xn_op *op);
static void keep_image(struct xn_op *op);
static void after_unpause(struct xn_op *op);
static void delete_image(struct xn_op *op);

static const struct xn_step resume_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"find the image", find_image, xn_step_sync, 10000},
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},
	{"reserve memory", xn_step_reserve, xn_step_reserve_undo, XN_MEMORY_WAIT_MS},
	{"activate disks", xn_step_activate, release_disks, 60000},
	{"restore domain", xn_step_restore, destroy_domain, 150000, 20},
	{"plug writable disks", xn_step_plug_writable, NULL, 60000},
	{"plug read-only disks", xn_step_plug_read_only, NULL, 60000},
	{"plug network interfaces", xn_step_plug_nics, NULL, 60000},
	{"use up the image", use_up_image, keep_image, 30000},
	{"unpause", xn_step_unpause, after_unpause, 120000},
	{"delete the image", delete_image, delete_image, 120000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_resume_kind, "VM.resume", resume_steps, XN_RESTART_RESUME)

static void find_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	const struct xn_row *vdi;
	struct xn_error err = {0};

	if (!vm)
		return;
	vdi = xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI);
	if (vdi) {
		xn_op_set_arg(op, "image", xn_string(xn_row_ref(vdi)));
		xn_op_done(op, 0);
		return;
	}
	xn_db_set_string(vmo->d->db, vm, XN_VM_suspend_VDI, XN_NULL_REF);
	xn_error_set(&err, XN_ERR_VM_HAS_NO_SUSPEND_VDI, "VM", vmo->vm);
	xn_op_fail(op, &err);
}

/* The guest runs, or its image is gone: there is no way back. */
static bool is_awake(const struct xn_op *op)
{
	return xn_map_get_bool(op->args, "awake", false);
}

static void release_disks(struct xn_op *op)
{
	if (is_awake(op) && xn_vm_op_domain(xn_vm_op_of(op)))
		xn_op_done(op, 0);
	else
		xn_step_deactivate(op);
}

static void destroy_domain(struct xn_op *op)
{
	xn_image_close(xn_vm_op_of(op));
	if (is_awake(op))
		xn_op_done(op, 0);
	else
		xn_step_destroy(op);
}

static void set_image(struct xn_op *op, const char *image)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (vm)
		xn_db_set_string(vmo->d->db, vm, XN_VM_suspend_VDI, image);
}

static void use_up_image(struct xn_op *op)
{
	xn_image_close(xn_vm_op_of(op));
	if (!xn_vm_op_domain(xn_vm_op_of(op))) { /* lost since it was built: the image stays */
		xn_op_done(op, -ENOENT);
		return;
	}
	set_image(op, XN_NULL_REF);
	xn_step_when_durable(op);
}

static void keep_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *image = xn_map_get_string(op->args, "image");

	if (!is_awake(op) && image && xn_db_get(vmo->d->db, XN_CLASS_VDI, image))
		set_image(op, image);
	xn_op_done(op, 0);
}

/* A domain that is gone may have run before, on disks that are not those of the image any more. */
static void after_unpause(struct xn_op *op)
{
	const struct xn_domain_info *domain = xn_vm_op_domain(xn_vm_op_of(op));

	if ((!domain || !domain->paused) && !is_awake(op))
		delete_image(op);
	else
		xn_op_done(op, 0);
}

static void delete_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *image = xn_map_get_string(op->args, "image");

	xn_op_set_arg(op, "awake", xn_bool(true));
	xn_storage_destroy_vdi(vmo->d->storage, image ? image : XN_NULL_REF,
			       xn_pending_storage_done, xn_pending_new(vmo, NULL, 0));
}

/* Nobody attaches its disks or takes its image away meanwhile. */
static void also_image(struct xn_op *op, struct xn_run *run)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	const struct xn_row *vdi =
		vm ? xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI) : NULL;

	xn_vm_also_devices(op, run);
	if (vdi)
		xn_run_also_take(run, XN_CLASS_VDI, xn_row_ref(vdi), "blocked");
}

static void resume(struct xn_call *call, bool paused)
{
	xn_vm_run(call, &xn_vm_resume_kind, xn_vm_flag("paused", paused), also_image);
}

void xn_vm_resume(struct xn_call *call)
{
	resume(call, xn_value_bool(call->args[1]));
}

void xn_vm_resume_on(struct xn_call *call)
{
	resume(call, xn_value_bool(call->args[2]));
}
