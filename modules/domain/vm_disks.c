/*
 * Disks that an operation makes (clone, provision) and takes back when it fails. They are listed in
 * its argument "disks", a set of maps with the new reference as "new". A disk may still be under
 * way when the operation already takes back: it is stopped then, and whatever came of it deleted.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* Owned by the call to storage; the operation points to it while both live. */
struct xn_making {
	struct xn_domains *d;
	struct xn_vm_op *vmo; /* NULL: the operation is gone */
	unsigned index;
	char fresh[48];
	struct xn_vdi_make *make;
	struct xn_pending *run, *undo; /* undo: waits for this end */
};

unsigned xn_vm_count_disks(const struct xn_op *op)
{
	const struct xn_value *disks = xn_map_get(op->args, "disks");

	return disks ? (unsigned)xn_set_len(disks) : 0;
}

const struct xn_value *xn_vm_disk_at(const struct xn_op *op, unsigned index)
{
	return xn_set_at(xn_map_get(op->args, "disks"), index);
}

static void destroy(struct xn_domains *d, const char *ref, struct xn_pending *pending)
{
	xn_storage_destroy_vdi(d->storage, ref, xn_pending_storage_done, pending);
}

static void on_made(const struct xn_error *err, const char *new_vdi, void *arg)
{
	struct xn_making *making = arg;
	struct xn_domains *d = making->d;
	struct xn_pending *undo = making->undo;
	char fresh[48];

	memcpy(fresh, making->fresh, sizeof(fresh));
	if (making->vmo)
		making->vmo->makings[making->index] = NULL;
	xn_pending_storage_done(err, making->run);
	free(making);
	if (undo && err)
		xn_pending_storage_done(NULL, undo); /* nothing of it is left */
	else if (undo)
		destroy(d, fresh, undo);
}

static void on_progress(double fraction, void *arg)
{
	struct xn_making *making = arg;
	struct xn_vm_op *vmo = xn_pending_op(making->run);

	/* Keeps the step alive as long as data flows; a disk's share is told when it ends. */
	if (vmo)
		xn_op_progress(&vmo->op, vmo->op.step_progress);
}

void xn_vm_make_disk(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
		     struct xn_vdi_plan *plan)
{
	struct xn_making *making = xn_calloc(1, sizeof(*making));

	making->d = vmo->d;
	making->vmo = vmo;
	making->index = index;
	making->run = xn_pending_new(vmo, group, index);
	plan->ref = xn_map_get_string(xn_vm_disk_at(&vmo->op, index), "new");
	plan->progress = on_progress;
	memcpy(making->fresh, plan->ref, strnlen(plan->ref, sizeof(making->fresh) - 1));
	if (!vmo->makings) {
		vmo->n_makings = xn_vm_count_disks(&vmo->op);
		vmo->makings = xn_calloc(vmo->n_makings, sizeof(*vmo->makings));
	}
	vmo->makings[index] = making;
	making->make = xn_storage_make_vdi(vmo->d->storage, plan, on_made, making);
}

void xn_vm_forget_makings(struct xn_vm_op *vmo)
{
	for (unsigned i = 0; i < vmo->n_makings; i++)
		if (vmo->makings[i])
			vmo->makings[i]->vmo = NULL;
	free(vmo->makings);
	vmo->makings = NULL;
	vmo->n_makings = 0;
}

static void delete_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	struct xn_making *making = vmo->makings ? vmo->makings[index] : NULL;
	struct xn_pending *pending = xn_pending_new(vmo, group, index);

	if (making) {
		making->undo = pending;
		xn_storage_cancel_make(making->make);
	} else {
		destroy(vmo->d, xn_map_get_string(xn_vm_disk_at(&vmo->op, index), "new"), pending);
	}
}

void xn_step_delete_disks(struct xn_op *op)
{
	xn_group_start(op, xn_vm_count_disks(op), XN_DISK_WIDTH, delete_disk, xn_vm_op_of(op));
}
