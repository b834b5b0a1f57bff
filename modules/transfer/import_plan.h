/*
 * What an archive's ova.xml asks for, held against what callers may have and against this host: which
 * disks are to be made, then the rows of the machines, their devices, and of networks that are not here.
 * An archive may ask for thousands: but for xn_import_plan_parse() each call is a slice of the work.
 */
#ifndef XN_IMPORT_PLAN_H
#define XN_IMPORT_PLAN_H

#include "core/hmap.h"
#include "modules/transfer/transfer_internal.h"

struct xn_import_object { /* that gets a row */
	struct xn_hnode node; /* by id */
	char ref[48]; /* chosen beforehand, so that it is found again after a crash */
	char *id;     /* in the archive */
	const struct xn_value *snapshot; /* its record there; borrowed from the plan's objects */
	int64_t size; /* of a disk */
};

struct xn_import_plan {
	struct xn_transfers *t;
	const struct xn_caller *caller; /* the visit's: what may it make? */
	char sr[48];
	bool restores; /* UUIDs and MACs are kept */
	const char *task; /* that imports them */
	struct xn_value *objects; /* by id: {class, snapshot} */
	struct xn_import_object *disks, *vms, *networks; /* of these, those that are not here are made */
	size_t n_disks, n_vms, n_networks;
	struct xn_hmap disks_by_id, vms_by_id, networks_by_id;
	size_t phase, at; /* of the slices */
	size_t rows; /* that it will make, at most */
};

/* On a worker. @ova: the archive's value, taken. -1 with @err: it is no such, or has an object that no
 * caller may store. */
int xn_import_plan_parse(struct xn_import_plan *plan, struct xn_value *ova, struct xn_error *err);
/* What this host says to it. 1: it goes on; 0: done; -1 with @err. */
int xn_import_plan_read(struct xn_import_plan *plan, struct xn_error *err);
/* Lets go of the archive's records; what was to be made is still known. On a worker, or the loop: the
 * rows that were made share none of it. */
void xn_import_plan_let_go(struct xn_import_plan *plan);
void xn_import_plan_clear(struct xn_import_plan *plan);
/* Fields of a new VDI: for xn_vdi_plan.record; the task holds it for @operation. The caller owns it; NULL
 * with @err. */
struct xn_value *xn_import_disk_record(const struct xn_import_plan *plan,
				       const struct xn_import_object *disk, const char *operation,
				       struct xn_error *err);
/* When all disks are there: the machines, held by the task. 1: it goes on; 0: done; -1 with @err. Some
 * may be there then. */
int xn_import_make_rows(struct xn_import_plan *plan, struct xn_error *err);

#endif
