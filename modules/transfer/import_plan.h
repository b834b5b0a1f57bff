/*
 * What an archive's ova.xml asks for, held against this host: which disks are to be made, then the rows
 * of the machines, their devices, and of networks that are not here.
 */
#ifndef XN_IMPORT_PLAN_H
#define XN_IMPORT_PLAN_H

#include "modules/transfer/transfer_internal.h"

struct xn_import_object { /* that gets a row */
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
	struct xn_value *objects; /* by id: {class, snapshot} */
	struct xn_import_object *disks, *vms;
	size_t n_disks, n_vms;
};

/* @ova: the archive's value. -1 with @err. */
int xn_import_plan_read(struct xn_import_plan *plan, const struct xn_value *ova,
			struct xn_error *err);
void xn_import_plan_clear(struct xn_import_plan *plan);
/* Fields of a new VDI: for xn_vdi_plan.record. The caller owns it; NULL with @err. */
struct xn_value *xn_import_disk_record(const struct xn_import_plan *plan,
				       const struct xn_import_object *disk, struct xn_error *err);
/* When all disks are there: the machines, under the task that imports them. -1 with @err: some may be
 * there. */
int xn_import_make_rows(struct xn_import_plan *plan, const char *task, struct xn_error *err);
/* They are whole: everybody may use them. */
void xn_import_end_rows(struct xn_import_plan *plan, const char *task);

#endif
