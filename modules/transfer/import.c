/*
 * PUT /import: an archive as export.c makes them becomes virtual machines here. 200 comes before the
 * body; the result and every failure are told in the task.
 *
 *	ova.xml read --> disks made, held --> rows made --> disks open --> chunks written --> let go
 *
 * All of it is one journaled operation, which knows the references of what it makes before it makes
 * them: when anything fails, and after a crash, its undo removes them. Only when all is there do
 * others get at any of it, in a step that a restart runs to its end. What an archive may have thousands
 * of is worked off in slices, a turn of the loop each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/transfer/held_disk.h"
#include "modules/transfer/import_made.h"
#include "modules/transfer/import_plan.h"
#include "modules/transfer/xva_reader.h"
#include "rpc/inflow.h"

/* For the disks. A silent client is ended by http-body-idle, which is an hour at most. */
enum { PATIENCE_MS = 2 * 3600 * 1000 };

struct import {
	struct xn_transfer transfer;
	struct xn_op *op; /* NULL: over, or dropped by a stop */
	struct xn_http_conn *conn; /* until the flow has it; NULL: gone */
	struct xn_inflow flow;
	struct xn_error err; /* why it fails */
	bool ignores_checksums;
	struct xn_import_plan plan;
	struct xn_buf why_not; /* of the worker, as the next */
	struct xn_error unfit; /* ova.xml for this host */
	struct xn_job turn;    /* the next slice */
	struct xn_work work;   /* the sweeping */
	struct xn_xva *xva;
	struct xn_xva_disk *sinks;
	struct xn_held_disks disks;
	struct xn_vdi_make *make;
	size_t made; /* disks */
	int64_t total;
	bool flows, holds, drops; /* what goes on */
	bool is_undone;		  /* the undo waits until nothing goes on */
	struct xn_op_token undo;
	bool is_over; /* the operation has ended with */
	struct xn_error end;
};

/* The operation may outlive the import, and the other way round. */
struct import_op {
	struct xn_op op;
	struct import *import; /* NULL: after a restart */
};

static struct import *import_of(struct xn_op *op)
{
	return xn_container_of(op, struct import_op, op)->import;
}

static void settle(struct import *i);

static void go_on_later(struct import *i, void (*slice)(struct xn_job *turn))
{
	xn_loop_defer(i->transfer.t->core->loop, &i->turn, XN_PRIO_BULK, slice);
}

/* ---- the end ---- */

static void import_free(struct import *i)
{
	xn_xva_free(i->xva);
	free(i->sinks);
	xn_import_plan_clear(&i->plan);
	xn_error_clear(&i->unfit);
	xn_buf_clear(&i->why_not);
	xn_error_clear(&i->err);
	xn_error_clear(&i->end);
	free(i);
}

static void tell_result(struct import *i)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_set_new();
	const struct xn_type *type = xn_classes[XN_CLASS_VM].fields[XN_VM_snapshots].type;

	for (size_t k = 0; k < i->plan.n_vms; k++)
		xn_set_append_string(&refs, i->plan.vms[k].ref);
	if (i->plan.n_vms)
		snprintf(i->transfer.visit->created, sizeof(i->transfer.visit->created), "%s",
			 i->plan.vms[0].ref);
	xn_task_succeed(i->transfer.t->tasks, i->transfer.visit->task, type, refs, NULL, NULL);
}

/* What a worker has allocated is much to free. */
static int sweep(struct xn_work *work)
{
	struct import *i = xn_container_of(work, struct import, work);

	xn_xva_free(i->xva);
	i->xva = NULL;
	xn_import_plan_let_go(&i->plan);
	return 0;
}

static void on_swept(struct xn_work *work, int rc)
{
	import_free(xn_container_of(work, struct import, work));
}

/* In the turn that the operation ends in, so that a restart finds both ended or none. */
static void finish(struct import *i)
{
	struct xn_pool *pool = i->transfer.t->pool;
	bool failed = xn_error_is_set(&i->end);

	if (i->conn) { /* it never began */
		xn_http_on_close(i->conn, NULL, NULL);
		xn_transfer_refuse(i->conn, &i->end);
	}
	if (!failed)
		tell_result(i);
	xn_transfer_end(&i->transfer, failed ? &i->end : NULL);
	i->work = (struct xn_work){.run = sweep, .done = on_swept};
	xn_pool_submit(pool, &i->work);
}

static void on_op_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct import *i = arg;

	xn_container_of(op, struct import_op, op)->import = NULL;
	i->op = NULL;
	if (err)
		xn_error_copy(&i->end, err);
	i->is_over = true;
	settle(i);
}

/* ---- undo ---- */

/* settle() comes once: inside, or when what goes on has ended. */
static void stop_work(struct import *i)
{
	if (i->make)
		xn_storage_cancel_make(i->make);
	if (i->flows)
		xn_inflow_cut(&i->flow, -ECANCELED); /* on_over() */
	else
		settle(i);
}

static void undo(struct xn_op *op)
{
	struct import *i = import_of(op);

	if (!i) {
		xn_import_remove_all(op);
		return;
	}
	i->is_undone = true;
	i->undo = xn_op_token(op);
	stop_work(i);
}

/* ---- when something has ended: what comes then ---- */

/* The operation waits for it: it is not on its way to its undo, nor in the midst of that. */
static bool is_receiving(const struct import *i)
{
	return i->op && i->op->running && !i->op->undoing;
}

static void on_quiet(struct import *i)
{
	struct xn_op *op;

	if (i->is_over) {
		finish(i);
	} else if (i->is_undone) {
		op = xn_op_find(i->transfer.t->core, &i->undo);
		i->is_undone = false;
		if (op)
			xn_import_remove_all(op);
	} else if (!is_receiving(i)) {
		return; /* the operation comes to its undo, or its end, by itself */
	} else if (xn_error_is_set(&i->err)) {
		struct xn_error err = {0};

		xn_error_copy(&err, &i->err);
		xn_op_fail(i->op, &err);
	} else {
		/* Where a restart ends it, it ends the task with this, too. */
		xn_op_set_arg(i->op, "result", xn_value_ref(xn_map_get(i->op->args, "vms")));
		xn_op_done(i->op, 0);
	}
}

static void on_dropped(struct xn_held_disks *disks)
{
	struct import *i = xn_container_of(disks, struct import, disks);

	i->holds = i->drops = false;
	settle(i);
}

/* The worker uses the disks, so they are let go after it. */
static void settle(struct import *i)
{
	xn_job_cancel(&i->turn); /* whatever was being made: it comes to nothing */
	if (i->flows || i->make || i->drops)
		return;
	if (i->holds) {
		i->drops = true;
		xn_held_disks_drop(&i->disks);
		return;
	}
	on_quiet(i);
}

static void fail(struct import *i, const struct xn_error *err)
{
	if (!xn_error_is_set(&i->err))
		xn_error_copy(&i->err, err);
	if (i->flows)
		xn_inflow_cut(&i->flow, -ECANCELED); /* on_over() */
}

/* ---- the body ---- */

/* Success means that a power failure takes nothing of it away. */
static int sync_disks(const struct import *i)
{
	for (size_t k = 0; k < i->plan.n_disks; k++) {
		int rc = xn_disk_sync(i->sinks[k].arg);

		if (rc < 0)
			return rc;
	}
	return XN_INFLOW_DONE;
}

/* On a worker. */
static int take(struct xn_inflow *flow, const char *bytes, size_t len, size_t *used)
{
	struct import *i = xn_container_of(flow, struct import, flow);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *ova;
	int rc;

	rc = xn_xva_take(i->xva, bytes, len, used);
	if (rc != XN_XVA_OVA)
		return rc == XN_XVA_END ? sync_disks(i) : rc < 0 ? rc : XN_INFLOW_MORE;
	text = xn_xva_take_ova(i->xva);
	ova = xn_rpc_read_value(text.data ? text.data : "", text.len, &i->why_not);
	return ova && xn_import_plan_parse(&i->plan, ova, &i->unfit) == 0 ? XN_INFLOW_PAUSE : -EINVAL;
}

static void on_taken(struct xn_inflow *flow)
{
	struct import *i = xn_container_of(flow, struct import, flow);

	if (i->op && !i->op->undoing && i->total)
		xn_op_progress(i->op, (double)xn_xva_written(i->xva) / (double)i->total);
	else if (i->op && !i->op->undoing)
		xn_op_progress(i->op, 0.0);
}

/* The reader's complaints, as the field's clients know them. */
static void explain(struct import *i, int rc)
{
	struct xn_error *err = &i->err;

	switch (rc) {
	case -ENODATA:
		xn_error_set(err, XN_ERR_IMPORT_ERROR_PREMATURE_EOF);
		break;
	case -ENOENT:
		xn_error_set(err, XN_ERR_IMPORT_ERROR_UNEXPECTED_FILE, xn_xva_expected(i->xva),
			     xn_xva_found(i->xva));
		break;
	case -EILSEQ:
		xn_error_set(err, XN_ERR_IMPORT_ERROR_SOME_CHECKSUMS_FAILED);
		break;
	case -EBADMSG:
		xn_error_set(err, XN_ERR_IMPORT_ERROR, "this is no archive of a VM");
		break;
	case -EFBIG:
		xn_error_set(err, XN_ERR_IMPORT_ERROR, "a file in the archive is too large");
		break;
	case -EINVAL:
		if (xn_error_is_set(&i->unfit))
			xn_error_move(err, &i->unfit);
		else
			xn_error_setf(err, XN_ERR_IMPORT_ERROR, "ova.xml: %s",
				      xn_buf_cstr(&i->why_not));
		break;
	default:
		xn_transfer_error(err, rc, "a disk could not be written");
		break;
	}
}

static void on_over(struct xn_inflow *flow, int rc)
{
	struct import *i = xn_container_of(flow, struct import, flow);

	i->flows = false;
	if (rc < 0 && !xn_error_is_set(&i->err))
		explain(i, rc);
	settle(i);
}

/* ---- between ova.xml and the disks ---- */

static int write_chunk(const struct xn_xva_disk *sink, int64_t at, const void *bytes, size_t len)
{
	return xn_disk_write(sink->arg, at, bytes, len);
}

static void on_disks_held(struct xn_held_disks *disks, struct xn_error *err)
{
	struct import *i = xn_container_of(disks, struct import, disks);

	if (err) {
		fail(i, err);
		return;
	}
	i->sinks = xn_calloc(i->plan.n_disks + 1, sizeof(*i->sinks));
	for (size_t k = 0; k < i->plan.n_disks; k++)
		i->sinks[k] = (struct xn_xva_disk){.id = i->plan.disks[k].id,
						   .size = i->plan.disks[k].size,
						   .write = write_chunk,
						   .arg = disks->disks[k]->file};
	xn_xva_set_disks(i->xva, i->sinks, i->plan.n_disks);
	xn_inflow_resume(&i->flow);
}

/* Whether a slice has still something to do; then changes are the visit's. */
static bool takes_turn(struct import *i)
{
	if (!i->op || i->op->undoing)
		return false; /* it is on its way out */
	xn_db_set_origin_of(i->transfer.t->db, &i->transfer.visit->caller, i->transfer.visit->task);
	return true;
}

static void open_disks(struct xn_job *turn)
{
	struct import *i = xn_container_of(turn, struct import, turn);

	if (!takes_turn(i))
		return;
	i->holds = true;
	xn_held_disks_take(&i->disks, i->transfer.visit->task);
}

static void make_rows(struct xn_job *turn)
{
	struct import *i = xn_container_of(turn, struct import, turn);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	int rc;

	if (!takes_turn(i))
		return;
	rc = xn_import_make_rows(&i->plan, &err);
	if (rc < 0)
		fail(i, &err);
	else
		go_on_later(i, rc > 0 ? make_rows : open_disks);
}

static void make_next_disk(struct import *i);

static void on_disk_made(const struct xn_error *err, const char *vdi, void *arg)
{
	struct import *i = arg;

	i->make = NULL;
	if (err && !xn_error_is_set(&i->err))
		xn_error_copy(&i->err, err);
	if (is_receiving(i) && !xn_error_is_set(&i->err)) {
		i->made++;
		make_next_disk(i);
	} else if (i->flows) {
		xn_inflow_cut(&i->flow, -ECANCELED); /* on_over() */
	} else {
		settle(i);
	}
}

/* It gets its row now, which nobody else is to have. */
static void on_disk_filled(void *arg)
{
	struct import *i = arg;
	const struct xn_import_object *disk = &i->plan.disks[i->made];

	i->holds = true;
	i->total += disk->size;
	xn_held_disks_add_new(&i->disks, disk->ref, disk->id, i->transfer.visit->task);
}

static void make_next_disk(struct import *i)
{
	struct xn_transfers *t = i->transfer.t;
	const struct xn_import_object *disk;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = NULL;
	struct xn_vdi_plan plan = {.sr = i->plan.sr, .content = on_disk_filled};

	if (i->made == i->plan.n_disks) {
		make_rows(&i->turn);
		return;
	}
	disk = &i->plan.disks[i->made];
	plan.ref = disk->ref;
	record = xn_import_disk_record(&i->plan, disk, i->disks.operation, &err);
	if (!record) {
		fail(i, &err);
		return;
	}
	plan.record = record;
	i->make = xn_storage_make_vdi(t->storage, &plan, on_disk_made, i);
}

/* The journal knows what will be made. */
static void on_noted(struct xn_op *op)
{
	struct import *i = import_of(op);

	if (i && i->flows && !i->is_undone)
		make_next_disk(i);
}

static struct xn_value *refs_of(const struct xn_import_object *list, size_t n)
{
	struct xn_value *refs = xn_set_new();

	for (size_t k = 0; k < n; k++)
		xn_set_append_string(&refs, list[k].ref);
	return refs;
}

/* Those that are to be read only when they have been written. */
static struct xn_value *protected_disks(const struct xn_import_plan *plan)
{
	struct xn_value *refs = xn_set_new();

	for (size_t k = 0; k < plan->n_disks; k++)
		if (xn_map_get_bool(plan->disks[k].snapshot, "read_only", false))
			xn_set_append_string(&refs, plan->disks[k].ref);
	return refs;
}

static void read_plan(struct xn_job *turn)
{
	struct import *i = xn_container_of(turn, struct import, turn);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	int rc;

	if (!takes_turn(i))
		return;
	rc = xn_import_plan_read(&i->plan, &err);
	if (rc < 0) {
		fail(i, &err);
	} else if (rc > 0) {
		go_on_later(i, read_plan);
	} else {
		xn_op_set_arg(i->op, "vms", refs_of(i->plan.vms, i->plan.n_vms));
		xn_op_set_arg(i->op, "vdis", refs_of(i->plan.disks, i->plan.n_disks));
		xn_op_set_arg(i->op, "networks", refs_of(i->plan.networks, i->plan.n_networks));
		xn_op_set_arg(i->op, "read_only", protected_disks(&i->plan));
		xn_op_save(i->op, on_noted);
	}
}

static void on_ova(struct xn_inflow *flow)
{
	read_plan(&xn_container_of(flow, struct import, flow)->turn);
}

/* ---- the operation ---- */

static void receive(struct xn_op *op)
{
	struct import *i = import_of(op);
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_error err = {0};

	if (!i->conn) {
		xn_error_copy(&err, &i->err);
		xn_op_fail(op, &err);
		return;
	}
	xn_transfer_headers(&i->transfer, NULL, NULL, &headers);
	i->flow = (struct xn_inflow){.core = op->core,
				     .conn = i->conn,
				     .pool = i->transfer.t->pool,
				     .take = take,
				     .taken = on_taken,
				     .paused = on_ova,
				     .over = on_over};
	i->conn = NULL;
	i->flows = true;
	xn_inflow_begin(&i->flow, xn_buf_cstr(&headers));
}

static const struct xn_step steps[] = {
	{"receive the archive", receive, undo, PATIENCE_MS, 99, XN_STEP_UNDO_ON_RESTART},
	{"let go of the machines", xn_import_let_go, NULL, PATIENCE_MS, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

static struct xn_op *make_op(struct xn_core *core, const struct xn_op_kind *kind,
			     const struct xn_value *args)
{
	struct import_op *io = xn_calloc(1, sizeof(*io));

	xn_op_init(&io->op, kind, core, args);
	return &io->op;
}

static void free_op(struct xn_op *op)
{
	struct import_op *io = xn_container_of(op, struct import_op, op);

	if (io->import)
		io->import->op = NULL; /* the daemon stops: the next start undoes it */
	free(io);
}

XN_OP_KIND(, xn_transfer_import_kind, "VM.import", steps, XN_RESTART_RESUME, make_op, free_op)

static void stop(struct xn_transfer *transfer, const struct xn_error *err)
{
	struct import *i = xn_container_of(transfer, struct import, transfer);

	if (i->op && strcmp(err->code, XN_ERR_TASK_CANCELLED) == 0) {
		xn_op_cancel(i->op);
		return;
	}
	if (i->op || i->is_over)
		return; /* ends by itself */
	/* The daemon stops. The next start undoes it, and then ends the task. */
	i->transfer.visit->task[0] = '\0';
	xn_error_copy(&i->end, err);
	i->is_over = true;
	stop_work(i);
}

/* ---- the request ---- */

static void on_closed(void *arg)
{
	struct import *i = arg;

	i->conn = NULL;
	xn_transfer_error(&i->err, -EPIPE, "");
}

static struct xn_row *find_sr(struct xn_transfers *t, const struct xn_http_request *req,
			      struct xn_error *err)
{
	const char *ref = xn_transfer_param(req, "sr_id"), *uuid = xn_transfer_param(req, "sr_uuid");
	const char *standard = xn_storage_default_sr(t->storage);
	struct xn_row *row;

	if (ref)
		return xn_transfer_row(t, XN_CLASS_SR, ref, err);
	if (uuid)
		return xn_db_need_uuid(t->db, XN_CLASS_SR, uuid, err);
	row = xn_db_get(t->db, XN_CLASS_SR, standard);
	if (!row)
		xn_error_set(err, XN_ERR_DEFAULT_SR_NOT_FOUND, standard);
	return row;
}

static int read_request(struct import *i, const struct xn_http_request *req, struct xn_error *err)
{
	const struct xn_row *sr = find_sr(i->transfer.t, req, err);

	if (!sr)
		return -1;
	if (strcmp(xn_row_string(sr, XN_SR_content_type), "iso") == 0)
		return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, xn_row_ref(sr));
	snprintf(i->plan.sr, sizeof(i->plan.sr), "%s", xn_row_ref(sr));
	if (xn_transfer_flag(req, "restore", false, &i->plan.restores, err) < 0)
		return -1;
	return xn_transfer_flag(req, "force", false, &i->ignores_checksums, err);
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_transfers *t = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct import *i;

	if (xn_transfer_is_probe(req, visit))
		return;
	i = xn_calloc(1, sizeof(*i));
	if (!xn_transfer_begin(t, &i->transfer, req, visit, stop)) {
		free(i);
		return;
	}
	i->conn = req->conn;
	i->plan.t = t;
	i->plan.caller = &visit->caller;
	i->plan.task = visit->task;
	i->disks = (struct xn_held_disks){.t = t,
					  .operation = "update",
					  .to_write = true,
					  .ready = on_disks_held,
					  .dropped = on_dropped};
	if (read_request(i, req, &err) < 0) {
		xn_error_copy(&i->end, &err);
		finish(i);
		return;
	}
	i->xva = xn_xva_new(i->ignores_checksums);
	i->op = xn_transfer_import_kind.make(t->core, NULL);
	xn_container_of(i->op, struct import_op, op)->import = i;
	xn_http_on_close(req->conn, on_closed, i);
	xn_op_start(i->op, visit->task, on_op_end, i);
}

static const struct xn_rpc_door door = {
	.name = "put_import",
	.role = XN_ROLE_VM_ADMIN,
	.task_label = "VM.import",
	.changes = true,
	.objects = {{"sr_id", XN_CLASS_SR}, {"sr_uuid", XN_CLASS_SR}},
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &door, arg);
}

const struct xn_http_route xn_transfer_import_route = {
	.method = "PUT",
	.path = "/import",
	.prefix = true,
	.kind = XN_HTTP_STREAM_IN,
	.run = on_request,
};
