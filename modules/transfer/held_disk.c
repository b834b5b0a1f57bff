/*
 * See held_disk.h.
 *
 *	each disk: claim --granted--> activate --path--> open (worker) --> the next, or ready
 *	drop: at any time; dropped once no answer is awaited any more
 */
#include "modules/transfer/held_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { WAIT_MS = 120 * 1000 }; /* for others to let go of a disk */

static struct xn_held_disk *add(struct xn_held_disks *disks, const char *vdi, const char *id)
{
	uint64_t hash = xn_hash_string(vdi);
	struct xn_hnode *node = xn_hmap_first_same(&disks->by_vdi, hash);
	struct xn_held_disk *disk;

	for (; node; node = xn_hmap_next_same(node)) {
		disk = xn_container_of(node, struct xn_held_disk, node);
		if (strcmp(disk->vdi, vdi) == 0)
			return disk;
	}
	disk = xn_calloc(1, sizeof(*disk));
	xn_hmap_insert(&disks->by_vdi, &disk->node, hash);
	snprintf(disk->vdi, sizeof(disk->vdi), "%s", vdi);
	snprintf(disk->id, sizeof(disk->id), "%s", id);
	disks->disks = xn_realloc(disks->disks, (disks->n + 1) * sizeof(*disks->disks));
	disks->disks[disks->n++] = disk;
	return disk;
}

struct xn_held_disk *xn_held_disks_add(struct xn_held_disks *disks, const struct xn_row *vdi,
				       const char *id)
{
	struct xn_held_disk *disk = add(disks, xn_row_ref(vdi), id);

	disk->size = xn_row_int(vdi, XN_VDI_virtual_size);
	return disk;
}

void xn_held_disks_add_new(struct xn_held_disks *disks, const char *vdi, const char *id,
			   const char *task)
{
	xn_claim_force(disks->t->operations, &add(disks, vdi, id)->claim, XN_CLASS_VDI, vdi,
		       disks->operation, task);
}

/* ---- the end ---- */

static void on_deactivated(const struct xn_error *err, void *arg)
{
}

static void name_datapath(const struct xn_held_disks *disks, char out[96])
{
	snprintf(out, 96, "transfer/%s", disks->task);
}

static void let_go(struct xn_held_disks *disks, struct xn_held_disk *disk)
{
	char dp[96];

	xn_disk_close(disk->file);
	name_datapath(disks, dp);
	if (disk->is_active)
		xn_storage_deactivate(disks->t->storage, disk->vdi, dp, on_deactivated, NULL);
	xn_operation_release(&disk->claim);
	free(disk);
}

/* In slices: there may be thousands. */
static void clear(struct xn_held_disks *disks);

static void on_clear_turn(struct xn_job *job)
{
	clear(xn_container_of(job, struct xn_held_disks, later));
}

static void clear(struct xn_held_disks *disks)
{
	struct xn_slice slice = {0};

	xn_job_cancel(&disks->later);
	while (disks->n) {
		if (!xn_slice_has_room(&slice, disks->t)) {
			xn_loop_defer(disks->t->core->loop, &disks->later, XN_PRIO_OPERATION,
				      on_clear_turn);
			return;
		}
		let_go(disks, disks->disks[--disks->n]);
	}
	xn_hmap_clear(&disks->by_vdi);
	free(disks->disks);
	free(disks->path);
	free(disks->format);
	disks->disks = NULL;
	disks->path = disks->format = NULL;
	disks->dropped(disks);
}

void xn_held_disks_drop(struct xn_held_disks *disks)
{
	disks->is_over = true;
	if (!disks->is_waiting)
		clear(disks);
}

/* An answer has come. Whether somebody still wants it; if not, @disks may be gone. */
static bool take_answer(struct xn_held_disks *disks)
{
	disks->is_waiting = false;
	if (!disks->is_over)
		return true;
	clear(disks);
	return false;
}

static void fail(struct xn_held_disks *disks, struct xn_error *err)
{
	disks->ready(disks, err);
}

/* ---- one after the other ---- */

static void take_next(struct xn_held_disks *disks);

static int open_file(struct xn_work *work)
{
	struct xn_held_disks *disks = xn_container_of(work, struct xn_held_disks, work);

	return (disks->to_write ? xn_disk_open_to_write : xn_disk_open)(
		disks->path, disks->format, &disks->disks[disks->next]->file);
}

static void on_opened(struct xn_work *work, int rc)
{
	struct xn_held_disks *disks = xn_container_of(work, struct xn_held_disks, work);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (!take_answer(disks))
		return;
	free(disks->path);
	free(disks->format);
	disks->path = disks->format = NULL;
	if (rc < 0) {
		if (rc == -EOPNOTSUPP)
			xn_error_set(&err, XN_ERR_NOT_IMPLEMENTED,
				     disks->to_write ? "writing an image that is not raw"
						     : "reading an image of this kind");
		else
			xn_error_from_errno(&err, rc, "the disk's image cannot be used");
		fail(disks, &err);
		return;
	}
	disks->next++;
	take_next(disks);
}

static void on_active(const struct xn_error *failure, const char *path, const char *format,
		      void *arg)
{
	struct xn_held_disks *disks = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	disks->disks[disks->next]->is_active = !failure;
	if (!take_answer(disks))
		return;
	if (failure) {
		xn_error_copy(&err, failure);
		fail(disks, &err);
		return;
	}
	disks->path = xn_strdup(path);
	disks->format = xn_strdup(format);
	disks->work = (struct xn_work){.run = open_file, .done = on_opened};
	disks->is_waiting = true;
	xn_pool_submit(disks->t->pool, &disks->work);
}

static void activate(struct xn_held_disks *disks)
{
	char dp[96];

	name_datapath(disks, dp);
	disks->is_waiting = true;
	xn_storage_activate(disks->t->storage, disks->disks[disks->next]->vdi, dp,
			    disks->to_write, on_active, disks);
}

static void on_granted(struct xn_claim *claim, struct xn_error *err)
{
	if (err)
		fail(claim->arg, err);
	else
		activate(claim->arg);
}

static void on_none_left(struct xn_job *job)
{
	struct xn_held_disks *disks = xn_container_of(job, struct xn_held_disks, later);

	disks->ready(disks, NULL);
}

static void take_next(struct xn_held_disks *disks)
{
	struct xn_held_disk *disk;

	if (disks->next == disks->n) {
		xn_loop_defer(disks->t->core->loop, &disks->later, XN_PRIO_OPERATION, on_none_left);
		return;
	}
	disk = disks->disks[disks->next];
	if (disk->claim.held)
		activate(disks);
	else
		xn_operation_take(disks->t->operations, &disk->claim, XN_CLASS_VDI, disk->vdi,
				  disks->operation, disks->task, WAIT_MS, on_granted, disks);
}

void xn_held_disks_take(struct xn_held_disks *disks, const char *task)
{
	snprintf(disks->task, sizeof(disks->task), "%s", task);
	take_next(disks);
}
