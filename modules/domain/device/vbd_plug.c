/*
 * Hot plug and unplug of disks: VBD.plug, VBD.unplug, VBD.unplug_force; and VBD.insert and
 * VBD.eject, which change what is in a CD drive.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static void activate(struct xn_op *op);
static void deactivate(struct xn_op *op);
static void plug(struct xn_op *op);
static void unplug(struct xn_op *op);
static void unplug_undo(struct xn_op *op);
static void look_at_drive(struct xn_op *op);
static void change_medium(struct xn_op *op);
static void change_back(struct xn_op *op);
static void release_medium(struct xn_op *op);
static void activate_medium(struct xn_op *op);
static void note_medium(struct xn_op *op);

static const struct xn_step plug_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"activate the disk", activate, deactivate, 60000},
	{"plug the disk", plug, unplug_undo, 60000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step unplug_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"unplug the disk", unplug, NULL, 120000},
	{"release the disk", deactivate, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step media_steps[] = {
	{"look at the drive", look_at_drive, xn_step_sync, 10000},
	{"activate the medium", activate_medium, release_medium, 60000},
	{"change the medium", change_medium, change_back, 60000},
	{"note the medium", note_medium, note_medium, 1000, 1, XN_STEP_NO_CANCEL},
	{"release the old medium", release_medium, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vbd_plug_kind, "VBD.plug", plug_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vbd_unplug_kind, "VBD.unplug", unplug_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vbd_media_kind, "VBD.insert", media_steps, XN_RESTART_RESUME)

/* ---- the disk that the operation is about: the only one in its plan ---- */

static struct xn_vm_disk *the_disk(struct xn_vm_op *vmo)
{
	struct xn_error err = {0};
	struct xn_row *vm, *vbd;

	if (vmo->plan.disks)
		return vmo->plan.disks;
	vm = xn_db_need(vmo->d->db, XN_CLASS_VM, vmo->vm, &err);
	vbd = vm ? xn_db_need(vmo->d->db, XN_CLASS_VBD, vmo->device, &err) : NULL;
	if (vbd) {
		vmo->plan.disks = xn_calloc(1, sizeof(*vmo->plan.disks));
		if (xn_vm_disk_of(vmo->d, vm, vbd, vmo->plan.disks, &err) == 0) {
			vmo->plan.n_disks = 1;
			return vmo->plan.disks;
		}
		xn_vm_plan_clear(&vmo->plan);
	}
	xn_op_fail(&vmo->op, &err);
	return NULL;
}

static void on_active(const struct xn_error *err, const char *path, const char *format, void *arg)
{
	struct xn_vm_op *vmo = xn_pending_op(arg);

	if (vmo && vmo->plan.disks && !err) {
		free(vmo->plan.disks->path);
		free(vmo->plan.disks->format);
		vmo->plan.disks->path = xn_strdup(path);
		vmo->plan.disks->format = xn_strdup(format);
	}
	xn_pending_storage_done(err, arg);
}

/* NULL: there is none, or no medium in the drive, and the step has ended. */
static struct xn_vm_disk *disk_with_image(struct xn_op *op)
{
	struct xn_vm_disk *disk = the_disk(xn_vm_op_of(op));

	if (disk && disk->vdi[0])
		return disk;
	if (disk)
		xn_op_done(op, 0);
	return NULL;
}

static void activate(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_vm_disk *disk = disk_with_image(op);

	if (disk)
		xn_storage_activate(vmo->d->storage, disk->vdi, disk->dp, !disk->read_only,
				    on_active, xn_pending_new(vmo, NULL, 0));
}

static void deactivate(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_vm_disk *disk = disk_with_image(op);

	if (disk)
		xn_storage_deactivate(vmo->d->storage, disk->vdi, disk->dp, xn_pending_storage_done,
				      xn_pending_new(vmo, NULL, 0));
}

/* A step that calls the back end with the disk. */
static void with_backend(struct xn_vm_op *vmo, struct xn_pending *pending,
			 int (*call)(struct xn_vm_op *vmo, uint32_t domid,
				     const struct xn_vm_disk *disk, struct xn_pending *pending))
{
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	int rc = domain ? call(vmo, domain->domid, vmo->plan.disks, pending) : -ENOENT;

	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static int plug_call(struct xn_vm_op *vmo, uint32_t domid, const struct xn_vm_disk *disk,
		     struct xn_pending *pending)
{
	struct xn_disk_config config = xn_vm_disk_config(disk);

	return vmo->d->backend->ops->plug_disk(vmo->d->backend, domid, &config, xn_pending_done,
					       pending);
}

/* Goes on with the back end when the image is active: after a restart the path that an earlier step
 * learned is gone. */
static void on_active_then(struct xn_pending *pending, const struct xn_error *err, const char *path,
			   const char *format,
			   int (*call)(struct xn_vm_op *vmo, uint32_t domid,
				       const struct xn_vm_disk *disk, struct xn_pending *pending))
{
	struct xn_vm_op *vmo = xn_pending_op(pending);

	if (!vmo || err) {
		xn_pending_storage_done(err, pending);
		return;
	}
	vmo->plan.disks->path = xn_strdup(path);
	vmo->plan.disks->format = xn_strdup(format);
	with_backend(vmo, pending, call);
}

static void on_active_then_plug(const struct xn_error *err, const char *path, const char *format,
				void *arg)
{
	on_active_then(arg, err, path, format, plug_call);
}

static void plug_in_turn(struct xn_vm_op *vmo, struct xn_pending *pending)
{
	struct xn_vm_disk *disk = vmo->plan.disks;

	if (disk->vdi[0] && !disk->path)
		xn_storage_activate(vmo->d->storage, disk->vdi, disk->dp, !disk->read_only,
				    on_active_then_plug, pending);
	else
		with_backend(vmo, pending, plug_call);
}

static void plug(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (the_disk(vmo))
		xn_pending_plug(xn_pending_new(vmo, NULL, 0), plug_in_turn);
}

static int unplug_call(struct xn_vm_op *vmo, uint32_t domid, const struct xn_vm_disk *disk,
		       struct xn_pending *pending)
{
	bool force = vmo->op.undoing || xn_map_get_bool(vmo->op.args, "force", false);

	return vmo->d->backend->ops->unplug_disk(vmo->d->backend, domid, disk->name.devid, force,
						 xn_pending_done, pending);
}

static void unplug(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (!the_disk(vmo))
		return;
	xn_op_waiting(op, "the guest to let the disk go");
	with_backend(vmo, xn_pending_new(vmo, NULL, 0), unplug_call);
}

static void unplug_undo(struct xn_op *op)
{
	if (xn_vm_op_domain(xn_vm_op_of(op)))
		unplug(op);
	else
		xn_op_done(op, 0);
}

/* ---- media; args "new": VDI to insert, absent: eject; "old": what was in ---- */

/* A drive of a halted VM takes a medium, too. */
static void look_at_drive(struct xn_op *op)
{
	if (the_disk(xn_vm_op_of(op)))
		xn_op_done(op, 0);
}

static void activate_medium(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *fresh = xn_map_get_string(op->args, "new");
	struct xn_vm_disk *disk = the_disk(vmo);

	if (!disk)
		return;
	if (!fresh || !xn_vm_op_domain(vmo))
		xn_op_done(op, 0);
	else
		xn_storage_activate(vmo->d->storage, fresh, disk->dp, false, on_active,
				    xn_pending_new(vmo, NULL, 0));
}

/* What shall be in it: the new medium, or on the way back the old one. NULL: nothing. */
static const char *wanted_medium(const struct xn_op *op)
{
	return xn_map_get_string(op->args, op->undoing ? "old" : "new");
}

static int media_call(struct xn_vm_op *vmo, uint32_t domid, const struct xn_vm_disk *disk,
		      struct xn_pending *pending)
{
	struct xn_disk_config config = xn_vm_disk_config(disk);

	if (!wanted_medium(&vmo->op))
		config.path = config.format = NULL;
	return vmo->d->backend->ops->change_media(vmo->d->backend, domid, &config, xn_pending_done,
						  pending);
}

static void on_active_then_media(const struct xn_error *err, const char *path, const char *format,
				 void *arg)
{
	on_active_then(arg, err, path, format, media_call);
}

/* Only emulated drives can be empty: to other guests a medium is a disk that comes and goes. */
static void plug_medium(struct xn_vm_op *vmo, const struct xn_vm_disk *disk, const char *wanted)
{
	if (wanted && !disk->path)
		xn_storage_activate(vmo->d->storage, wanted, disk->dp, false, on_active_then_plug,
				    xn_pending_new(vmo, NULL, 0));
	else
		with_backend(vmo, xn_pending_new(vmo, NULL, 0), wanted ? plug_call : unplug_call);
}

static void put_medium(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vbd = xn_db_get(vmo->d->db, XN_CLASS_VBD, vmo->device);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	const char *wanted = wanted_medium(op);
	struct xn_vm_disk *disk = the_disk(vmo);

	if (!disk)
		return;
	if (domain && vbd && strcmp(domain->type, "hvm") != 0)
		plug_medium(vmo, disk, wanted);
	else if (!domain || !vbd || !xn_row_bool(vbd, XN_VBD_currently_attached))
		xn_op_done(op, 0); /* only the row, then */
	else if (wanted && !disk->path)
		xn_storage_activate(vmo->d->storage, wanted, disk->dp, false, on_active_then_media,
				    xn_pending_new(vmo, NULL, 0));
	else
		with_backend(vmo, xn_pending_new(vmo, NULL, 0), media_call);
}

static void change_medium(struct xn_op *op)
{
	put_medium(op);
}

static void change_back(struct xn_op *op)
{
	struct xn_vm_disk *disk = xn_vm_op_of(op)->plan.disks;

	if (disk) { /* the path is that of the new medium */
		free(disk->path);
		free(disk->format);
		disk->path = disk->format = NULL;
	}
	put_medium(op);
}

static void note_medium(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *fresh = wanted_medium(op);
	struct xn_row *vbd = xn_db_get(vmo->d->db, XN_CLASS_VBD, vmo->device);
	struct xn_row *old = vbd ? xn_row_follow(vmo->d->db, vbd, XN_VBD_VDI) : NULL;

	if (vbd) {
		xn_db_set_string(vmo->d->db, vbd, XN_VBD_VDI, fresh ? fresh : XN_NULL_REF);
		xn_db_set_bool(vmo->d->db, vbd, XN_VBD_empty, !fresh);
		xn_operation_refresh_all(vmo->d->ops, vbd);
	}
	if (old)
		xn_operation_refresh(vmo->d->ops, old);
	xn_op_done(op, 0);
}

static void release_medium(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const char *vdi = xn_map_get_string(op->args, op->undoing ? "new" : "old");
	struct xn_vm_disk *disk = the_disk(vmo);

	if (!disk)
		return;
	if (!vdi)
		xn_op_done(op, 0);
	else
		xn_storage_deactivate(vmo->d->storage, vdi, disk->dp, xn_pending_storage_done,
				      xn_pending_new(vmo, NULL, 0));
}

/* ---- the calls ---- */

static void run(struct xn_call *call, const struct xn_op_kind *kind, struct xn_value *args)
{
	xn_device_run(call, kind, call->method->operation, args);
}

void xn_vbd_plug(struct xn_call *call)
{
	run(call, &xn_vbd_plug_kind, xn_map_new());
}

void xn_vbd_unplug(struct xn_call *call)
{
	run(call, &xn_vbd_unplug_kind, xn_map_new());
}

void xn_vbd_unplug_force(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "force", xn_bool(true));
	run(call, &xn_vbd_unplug_kind, args);
}

int xn_vbd_insert_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vdi = xn_db_need(d->db, XN_CLASS_VDI, xn_call_string(call, 1), err);

	if (!vdi)
		return -1;
	if (!xn_row_bool(vdi, XN_VDI_managed))
		return xn_error_set(err, XN_ERR_VDI_NOT_MANAGED, xn_row_ref(vdi));
	return xn_check_operation(call, err);
}

void xn_vbd_insert(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "new", xn_value_ref(call->args[1]));
	run(call, &xn_vbd_media_kind, args);
}

void xn_vbd_eject(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	const struct xn_row *vbd = xn_db_get(d->db, XN_CLASS_VBD, xn_call_string(call, 0));
	struct xn_value *args = xn_map_new();

	if (vbd && xn_row_follow(d->db, vbd, XN_VBD_VDI))
		xn_map_put_string(&args, "old", xn_row_string(vbd, XN_VBD_VDI));
	run(call, &xn_vbd_media_kind, args);
}
