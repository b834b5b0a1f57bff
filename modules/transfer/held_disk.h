/*
 * Disks that a transfer holds: nobody changes, removes or uses them otherwise meanwhile, and their
 * images are open. Taken one after the other, each by a claim of an operation, then activated, then
 * opened by a worker.
 */
#ifndef XN_HELD_DISK_H
#define XN_HELD_DISK_H

#include "core/hmap.h"
#include "modules/storage/disk_file.h"
#include "modules/transfer/transfer_internal.h"

struct xn_held_disk {
	struct xn_hnode node; /* by vdi */
	char vdi[48];
	char id[16]; /* the owner's */
	int64_t size; /* of the row: what a guest sees; 0: there was none */
	struct xn_disk_file *file;
	struct xn_claim claim;
	bool is_active;
};

struct xn_held_disks {
	struct xn_transfers *t;
	const char *operation; /* that is claimed: "copy" */
	bool to_write;
	/* Told once: all are open, or @err. Not after xn_held_disks_drop(). */
	void (*ready)(struct xn_held_disks *disks, struct xn_error *err);
	/* Told once after xn_held_disks_drop(): nothing is held any more. */
	void (*dropped)(struct xn_held_disks *disks);

	struct xn_held_disk **disks;
	size_t n, next;
	struct xn_hmap by_vdi;
	char task[48];
	char *path, *format; /* of the one that is being opened */
	struct xn_work work;
	struct xn_job later;
	bool is_waiting; /* for an answer that comes in any case */
	bool is_over;
};

/* @vdi once; again is nothing. */
struct xn_held_disk *xn_held_disks_add(struct xn_held_disks *disks, const struct xn_row *vdi,
				       const char *id);
/* One whose row does not exist yet, and shows from its beginning that @task holds it. */
void xn_held_disks_add_new(struct xn_held_disks *disks, const char *vdi, const char *id,
			   const char *task);
/* @task: who holds them. ready() comes later. */
void xn_held_disks_take(struct xn_held_disks *disks, const char *task);
void xn_held_disks_drop(struct xn_held_disks *disks);

#endif
