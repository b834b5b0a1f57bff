/*
 * Destroying a disk, in an order in which a crash never leaves a row without its image or brings a
 * destroyed disk back:
 *
 *	image renamed to .gone -> row deleted -> that survives power loss -> image unlinked
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/storage/storage_internal.h"

struct removal {
	struct xn_list link; /* st->removals */
	struct xn_storage *st;
	char vdi[XN_REF_LEN], sr[XN_REF_LEN], location[64];
	int64_t size;
	struct xn_sr_binding binding;
	struct xn_db_wait durable;
	struct xn_kept_origin origin;
	struct xn_job fail_later;
	struct xn_error error;
	xn_storage_done *done;
	void *arg;
};

/* ---- rows ---- */

/* A CD drive stays, empty; a disk's VBD is nothing without the disk. */
static void drop_vbd(struct xn_db *db, struct xn_row *vbd)
{
	if (strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0) {
		xn_db_set_string(db, vbd, XN_VBD_VDI, XN_NULL_REF);
		xn_db_set_bool(db, vbd, XN_VBD_empty, true);
	} else {
		xn_db_delete(db, vbd);
	}
}

static void forget_suspend_image(struct xn_db *db, const char *vdi)
{
	struct xn_row *row = xn_db_first(db, XN_CLASS_VM);

	while (row && strcmp(xn_row_string(row, XN_VM_suspend_VDI), vdi) != 0)
		row = xn_db_next(db, row);
	if (row)
		xn_db_set_string(db, row, XN_VM_suspend_VDI, XN_NULL_REF);
}

void xn_vdi_delete_rows(struct xn_storage *st, struct xn_row *vdi)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vbds = xn_value_ref(xn_row_get(vdi, XN_VDI_VBDs));

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(st->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd && !xn_row_bool(vbd, XN_VBD_currently_attached))
			drop_vbd(st->db, vbd);
	}
	if (strcmp(xn_row_string(vdi, XN_VDI_type), "suspend") == 0)
		forget_suspend_image(st->db, xn_row_ref(vdi));
	xn_db_delete(st->db, vdi);
	st->removed++;
}

bool xn_vdi_is_being_removed(const struct xn_storage *st, const char *vdi)
{
	xn_list_each(node, &st->removals)
		if (strcmp(xn_list_entry(node, struct removal, link)->vdi, vdi) == 0)
			return true;
	return false;
}

/* ---- the chain ---- */

static void free_removal(struct removal *r)
{
	xn_list_remove(&r->link);
	xn_job_cancel(&r->fail_later);
	xn_sr_binding_clear(&r->binding);
	xn_error_clear(&r->error);
	free(r);
}

static void finish(struct removal *r)
{
	r->done(xn_error_is_set(&r->error) ? &r->error : NULL, r->arg);
	free_removal(r);
}

static void finish_later(struct xn_job *job)
{
	finish(xn_container_of(job, struct removal, fail_later));
}

static void on_removed(struct xn_sr_request *rq, int rc)
{
	struct removal *r = rq->arg;

	/* The disk is gone in any case; what is left of it goes at the next start. */
	if (rc == 0)
		xn_sr_note(r->st, r->sr, &rq->space, 0);
	finish(r);
}

static void on_brought_back(struct xn_sr_request *rq, int rc)
{
	finish(rq->arg); /* else whoever needs the image next brings it back */
}

/* The row is there, and stays: so must the image. */
static void bring_back(struct removal *r)
{
	xn_sr_request_submit(r->st, xn_sr_request_new(r->st, r->binding.folder, r->location),
			     r->binding.ops->settle, on_brought_back, r);
}

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct removal *r = xn_container_of(wait, struct removal, durable);

	xn_db_say_origin(r->st->db, &r->origin);
	if (rc < 0) {
		xn_db_error(rc, &r->error);
		/* Taken back, or else only not known to be durable: the next start decides. */
		if (xn_db_get(r->st->db, XN_CLASS_VDI, r->vdi))
			bring_back(r);
		else
			finish(r);
		return;
	}
	xn_sr_request_submit(r->st, xn_sr_request_new(r->st, r->binding.folder, r->location),
			     r->binding.ops->remove, on_removed, r);
}

static void on_retired(struct xn_sr_request *rq, int rc)
{
	struct removal *r = rq->arg;
	struct xn_row *row = xn_db_get(r->st->db, XN_CLASS_VDI, r->vdi);

	if (rc < 0) {
		xn_sr_request_error(rq, rc, r->sr, r->vdi, &r->error);
		finish(r);
		return;
	}
	if (xn_db_check_writable(r->st->db, &r->error) < 0) {
		bring_back(r);
		return;
	}
	if (row) {
		xn_vdi_delete_rows(r->st, row);
		xn_sr_note(r->st, r->sr, NULL, -r->size);
	}
	xn_db_keep_origin(r->st->db, &r->origin);
	xn_db_when_durable(r->st->db, &r->durable, on_durable);
}

static int begin(struct removal *r, const char *vdi)
{
	struct xn_row *row = xn_db_get(r->st->db, XN_CLASS_VDI, vdi);
	struct xn_row *sr;

	if (!row)
		return 0;
	/* Nor is the image touched: the name that it has may be what a power cut goes by. */
	if (xn_db_check_writable(r->st->db, &r->error) < 0)
		return -1;
	snprintf(r->vdi, sizeof(r->vdi), "%s", vdi);
	snprintf(r->sr, sizeof(r->sr), "%s", xn_row_string(row, XN_VDI_SR));
	snprintf(r->location, sizeof(r->location), "%s", xn_row_string(row, XN_VDI_location));
	r->size = xn_row_int(row, XN_VDI_virtual_size);
	sr = xn_db_get(r->st->db, XN_CLASS_SR, r->sr);
	if (!sr) { /* nowhere an image could be */
		xn_vdi_delete_rows(r->st, row);
		return 0;
	}
	if (xn_sr_bind(r->st, sr, &r->binding, &r->error) < 0)
		return -1;
	if (!r->binding.ops->retire)
		return xn_error_set(&r->error, XN_ERR_SR_OPERATION_NOT_SUPPORTED, r->sr);
	xn_sr_request_submit(r->st, xn_sr_request_new(r->st, r->binding.folder, r->location),
			     r->binding.ops->retire, on_retired, r);
	return 1;
}

void xn_storage_destroy_vdi(struct xn_storage *st, const char *vdi, xn_storage_done *done,
			    void *arg)
{
	struct removal *r = xn_calloc(1, sizeof(*r));

	r->st = st;
	r->done = done;
	r->arg = arg;
	xn_list_push(&st->removals, &r->link);
	if (begin(r, vdi) <= 0)
		xn_loop_defer(st->core->loop, &r->fail_later, XN_PRIO_OPERATION, finish_later);
}

void xn_vdi_remove_abandon(struct xn_storage *st)
{
	xn_list_each_safe(node, &st->removals) {
		struct removal *r = xn_list_entry(node, struct removal, link);

		xn_db_wait_cancel(&r->durable);
		free_removal(r);
	}
}
