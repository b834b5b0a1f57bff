/*
 * Disks that an operation makes (clone, provision) and takes back when it fails. They are listed in
 * its argument "disks", a set of maps with the new reference as "new". A disk may still be under
 * way when the operation already takes back: it is stopped then, and whatever came of it deleted.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum { AGAIN_US = 500 * 1000 };

/* Owned by the call to storage; the operation points to it while both live. */
struct xn_making {
	struct xn_list link; /* d->makings */
	struct xn_domains *d;
	struct xn_vm_op *vmo; /* NULL: the operation is gone */
	unsigned index; /* in the argument "disks" */
	char fresh[48];
	struct xn_vdi_make *make;
	struct xn_pending *run, *undo; /* each NULL or waiting for this end */
	double fraction;
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

int xn_vm_disks_are_wanted(struct xn_vm_op *vmo, struct xn_error *err)
{
	for (unsigned i = 0; i < xn_vm_count_disks(&vmo->op); i++) {
		const char *vbd = xn_map_get_string(xn_vm_disk_at(&vmo->op, i), "vbd");

		if (vbd && !xn_db_need(vmo->d->db, XN_CLASS_VBD, vbd, err))
			return -1;
	}
	return 0;
}

/* ---- taking back ---- */

/* While the database refuses changes no disk can be deleted: it is tried again until it can, or its
 * step is over. */
struct xn_taking_back {
	struct xn_list link; /* d->taking_back */
	struct xn_domains *d;
	char vdi[48];
	struct xn_pending *pending;
	bool anyway; /* the operation does not fail for it */
	struct xn_timer again;
};

static void on_deleted(const struct xn_error *err, void *arg);

static void delete_again(struct xn_timer *timer)
{
	struct xn_taking_back *back = xn_container_of(timer, struct xn_taking_back, again);

	xn_storage_destroy_vdi(back->d->storage, back->vdi, on_deleted, back);
}

static void free_taking_back(struct xn_taking_back *back)
{
	xn_timer_cancel(&back->again);
	xn_list_remove(&back->link);
	free(back);
}

static void on_deleted(const struct xn_error *err, void *arg)
{
	struct xn_taking_back *back = arg;

	if (err && xn_db_writable(back->d->db) < 0 && xn_pending_op(back->pending)) {
		xn_timer_arm(back->d->core->loop, &back->again, AGAIN_US, delete_again);
		return;
	}
	if (err && back->anyway)
		xn_log_warn(back->d->core->log, "domain", "disk %s stays: %s", back->vdi,
			    err->code);
	xn_pending_storage_done(back->anyway ? NULL : err, back->pending);
	free_taking_back(back);
}

static void destroy(struct xn_domains *d, const char *ref, struct xn_pending *pending, bool anyway)
{
	struct xn_taking_back *back = xn_calloc(1, sizeof(*back));

	back->d = d;
	back->pending = pending;
	back->anyway = anyway;
	memcpy(back->vdi, ref, strnlen(ref, sizeof(back->vdi) - 1));
	xn_list_push(&d->taking_back, &back->link);
	xn_storage_destroy_vdi(d->storage, ref, on_deleted, back);
}

void xn_vm_drop_disk(struct xn_vm_op *vmo, struct xn_group *group, unsigned index, const char *vdi)
{
	destroy(vmo->d, vdi, xn_pending_new(vmo, group, index), true);
}

void xn_vm_disks_stop(struct xn_domains *d)
{
	xn_list_each_safe(node, &d->taking_back) {
		struct xn_taking_back *back = xn_list_entry(node, struct xn_taking_back, link);

		xn_pending_free(back->pending);
		free_taking_back(back);
	}
	xn_list_each_safe(node, &d->makings) {
		struct xn_making *making = xn_list_entry(node, struct xn_making, link);

		if (making->run)
			xn_pending_free(making->run);
		if (making->undo)
			xn_pending_free(making->undo);
		xn_list_remove(&making->link);
		free(making);
	}
}

/* ---- making ---- */

static void end_run(struct xn_making *making, const struct xn_error *err)
{
	struct xn_pending *run = making->run;

	making->run = NULL;
	if (run)
		xn_pending_storage_done(err, run);
}

static void on_made(const struct xn_error *err, const char *new_vdi, void *arg)
{
	struct xn_making *making = arg;
	struct xn_domains *d = making->d;
	struct xn_pending *undo = making->undo;
	char fresh[48];

	memcpy(fresh, making->fresh, sizeof(fresh));
	if (making->vmo) {
		making->vmo->makings[making->index] = NULL;
		making->vmo->n_made++;
	}
	/* The step that waited for the content is over; the one that keeps the disks is to come. */
	if (making->vmo && !making->run && err && !xn_error_is_set(&making->vmo->soft))
		xn_error_copy(&making->vmo->soft, err);
	end_run(making, err);
	xn_list_remove(&making->link);
	free(making);
	if (undo) /* also one that failed: a row that could not be made durable stays */
		destroy(d, fresh, undo, false);
}

static void on_content(void *arg)
{
	struct xn_making *making = arg;

	making->fraction = 1;
	end_run(making, NULL);
}

/* Keeps the step alive as long as data flows. */
static void on_progress(double fraction, void *arg)
{
	struct xn_making *making = arg;
	struct xn_vm_op *vmo = making->run ? xn_pending_op(making->run) : NULL;
	double done;

	making->fraction = fraction;
	if (!vmo || !vmo->n_makings)
		return;
	done = vmo->n_made;
	for (unsigned i = 0; i < vmo->n_makings; i++)
		done += vmo->makings[i] ? vmo->makings[i]->fraction : 0;
	xn_op_progress(&vmo->op, done / vmo->n_makings);
}

void xn_vm_make_disk_at(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
			unsigned disk, struct xn_vdi_plan *plan, bool only_content)
{
	struct xn_making *making = xn_calloc(1, sizeof(*making));

	xn_list_push(&vmo->d->makings, &making->link);
	making->d = vmo->d;
	making->vmo = vmo;
	making->index = disk;
	making->run = xn_pending_new(vmo, group, index);
	plan->ref = xn_map_get_string(xn_vm_disk_at(&vmo->op, disk), "new");
	plan->progress = on_progress;
	plan->content = only_content ? on_content : NULL;
	memcpy(making->fresh, plan->ref, strnlen(plan->ref, sizeof(making->fresh) - 1));
	if (!vmo->makings) {
		vmo->n_makings = xn_vm_count_disks(&vmo->op);
		vmo->makings = xn_calloc(vmo->n_makings, sizeof(*vmo->makings));
	}
	vmo->makings[disk] = making;
	making->make = xn_storage_make_vdi(vmo->d->storage, plan, on_made, making);
}

void xn_vm_make_disk(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
		     struct xn_vdi_plan *plan)
{
	xn_vm_make_disk_at(vmo, group, index, index, plan, false);
}

static void keep_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	struct xn_making *making = vmo->makings ? vmo->makings[index] : NULL;
	struct xn_pending *pending = xn_pending_new(vmo, group, index);

	if (making)
		making->run = pending;
	else
		xn_pending_storage_done(xn_error_is_set(&vmo->soft) ? &vmo->soft : NULL, pending);
}

void xn_step_keep_disks(struct xn_op *op)
{
	unsigned n = xn_vm_count_disks(op);

	xn_op_waiting(op, "the disk to take the copies");
	xn_group_start(op, n, n ? n : 1, keep_disk, xn_vm_op_of(op));
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
		destroy(vmo->d, xn_map_get_string(xn_vm_disk_at(&vmo->op, index), "new"), pending,
			false);
	}
}

void xn_step_delete_disks(struct xn_op *op)
{
	xn_group_start(op, xn_vm_count_disks(op), XN_DISK_WIDTH, delete_disk, xn_vm_op_of(op));
}
