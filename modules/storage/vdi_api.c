/* API calls on VDIs: checks, step tables, answers. What the steps do to disks is in vdi_make.c and
 * vdi_remove.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/records/records.h"
#include "modules/storage/storage_internal.h"

enum { SECOND = 1000, PROGRESS_US = 250 * 1000 };

static struct xn_storage *state_of(struct xn_call *call)
{
	return call->state;
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	return xn_db_need(state_of(call)->db, XN_CLASS_VDI, xn_call_string(call, 0), err) ? 0 : -1;
}

static struct xn_row *self_row(struct xn_call *call)
{
	return xn_db_get(state_of(call)->db, XN_CLASS_VDI, xn_call_string(call, 0));
}

static void answer_void(struct xn_call *call)
{
	xn_call_reply_void(call);
}

/* ---- steps: a new disk (create, clone, snapshot, copy) ---- */

static void ignore(const struct xn_error *err, void *arg)
{
}

static void destroy_made(struct xn_storage_op *o)
{
	xn_storage_destroy_vdi(o->st, xn_storage_op_arg(o, "ref"), xn_storage_wait_done,
			       xn_storage_wait_new(o));
}

static void unmake_disk(struct xn_op *op);

static bool is_unmaking(const struct xn_op *op)
{
	return op->running && op->undoing && op->kind->steps[op->step].undo == unmake_disk;
}

static void on_disk_made(const struct xn_error *err, const char *new_vdi, void *arg)
{
	struct xn_storage *st = xn_storage_wait_storage(arg);
	struct xn_storage_op *o = xn_storage_wait_op(arg);
	bool wanted = xn_storage_wait_take(arg) != NULL;

	if (o)
		o->make = NULL;
	else if (!err)
		xn_storage_destroy_vdi(st, new_vdi, ignore, NULL); /* nobody wants it any more */
	if (wanted)
		xn_storage_op_end_step(o, err);
	else if (o && is_unmaking(&o->op)) /* who waited for this, also for one that failed: */
		destroy_made(o); /* a row that could not be made durable stays */
	/* Else the undo has yet to begin, and looks for itself. */
}

static void on_copy_progress(double fraction, void *arg)
{
	struct xn_storage_op *o = xn_storage_wait_op(arg);

	if (o && o->op.running && !o->op.undoing)
		xn_op_progress(&o->op, fraction);
}

static const char *arg_or_null(const struct xn_storage_op *o, const char *key)
{
	const char *text = xn_storage_op_arg(o, key);

	return text[0] ? text : NULL;
}

/* ---- steps: who writes to the source ---- */

static void stop_now(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	xn_op_waiting(op, "guests to stand still");
	o->st->writers->stop(xn_map_get(op->args, "stopped"), xn_storage_wait_done,
			     xn_storage_wait_new(o), o->st->writers_arg);
}

static void stop_writers(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_storage *st = o->st;
	struct xn_value *vms =
		st->writers ? st->writers->running(xn_storage_op_arg(o, "source"), st->writers_arg)
			    : NULL;

	if (!vms || xn_set_len(vms) == 0) {
		xn_value_unref(vms);
		xn_op_done(op, 0);
		return;
	}
	xn_op_set_arg(op, "stopped", vms);
	xn_op_save(op, stop_now); /* a restart must know whom to let go */
}

static void let_writers_go(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	const struct xn_value *vms = xn_map_get(op->args, "stopped");

	if (!vms || o->writers_go || !o->st->writers) {
		xn_op_done(op, 0);
		return;
	}
	o->writers_go = true;
	o->st->writers->go_on(vms, xn_storage_wait_done, xn_storage_wait_new(o), o->st->writers_arg);
}

/* The rest, until the copy survives power loss, is not their business. */
static void on_content(void *arg)
{
	struct xn_storage_op *o = xn_storage_wait_op(arg);
	const struct xn_value *vms = o ? xn_map_get(o->op.args, "stopped") : NULL;

	if (!vms || !o->st->writers || o->op.undoing)
		return;
	o->writers_go = true;
	o->st->writers->go_on(vms, ignore, NULL, o->st->writers_arg);
}

static void make_disk(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	const struct xn_vdi_plan plan = {
		.ref = xn_storage_op_arg(o, "ref"),
		.source = arg_or_null(o, "source"),
		.sr = arg_or_null(o, "sr"),
		.record = o->record,
		.snapshot = strcmp(op->kind->name, "VDI.snapshot") == 0,
		.progress = on_copy_progress,
		.content = on_content,
	};

	xn_op_waiting(op, "storage to make the disk");
	o->make = xn_storage_make_vdi(o->st, &plan, on_disk_made, xn_storage_wait_new(o));
}

static void unmake_disk(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	if (o->make)
		xn_storage_cancel_make(o->make); /* on_disk_made goes on */
	else
		destroy_made(o);
}

static const struct xn_step make_steps[] = {
	{"make the disk", make_disk, unmake_disk, 600 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(create_kind, "VDI.create", make_steps, XN_RESTART_UNDO)
static const struct xn_step catch_steps[] = {
	{"stop who writes to the disk", stop_writers, let_writers_go, 60 * SECOND, 1, 0},
	{"copy the disk", make_disk, unmake_disk, 600 * SECOND, 20, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(clone_kind, "VDI.clone", catch_steps, XN_RESTART_UNDO)
XN_STORAGE_OP_KIND(snapshot_kind, "VDI.snapshot", catch_steps, XN_RESTART_UNDO)
XN_STORAGE_OP_KIND(copy_kind, "VDI.copy", make_steps, XN_RESTART_UNDO)

/* ---- VDI.create ---- */

/* The SR takes new disks; attached it must be too, and vdi_make.c says so. */
static int check_sr_makes_disks(struct xn_storage *st, const char *ref, struct xn_error *err)
{
	const struct xn_row *sr = xn_db_need(st->db, XN_CLASS_SR, ref, err);

	if (!sr)
		return -1;
	if (!xn_row_bool(sr, XN_SR_is_tools_sr) &&
	    xn_sr_has_feature(xn_sr_type_find(xn_row_string(sr, XN_SR_type)), "VDI_CREATE"))
		return 0;
	return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, ref);
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	struct xn_storage *st = state_of(call);
	const struct xn_value *record = call->args[0], *sm_config = xn_map_get(record, "sm_config");
	const char *format = sm_config ? xn_map_get_string(sm_config, "image-format") : NULL;
	enum xn_image_format ignored;
	int64_t size;
	char text[32];

	if (xn_record_check(st->db, &xn_classes[XN_CLASS_VDI], record, err) < 0)
		return -1;
	size = xn_map_get_int(record, "virtual_size", 0);
	snprintf(text, sizeof(text), "%lld", (long long)size);
	if (size < 0)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "virtual_size", text);
	if (format && !xn_image_format_find(format, &ignored))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "sm_config:image-format", format);
	return check_sr_makes_disks(st, xn_map_get_string(record, "SR"), err);
}

static struct xn_op *new_disk_op(struct xn_storage *st, const struct xn_op_kind *kind,
				 struct xn_value *args, struct xn_value *record)
{
	char ref[XN_REF_LEN];
	struct xn_op *op;

	xn_ref_new(st->core->loop, ref);
	xn_map_put_string(&args, "ref", ref);
	xn_map_put_string(&args, "result", ref); /* in the journal: also of a task that goes on */
	op = kind->make(st->core, args);
	xn_value_unref(args);
	xn_storage_op_of(op)->record = record;
	return op;
}

static void create(struct xn_call *call)
{
	const struct xn_run_spec spec = {0};
	struct xn_value *record = xn_record_fields(&xn_classes[XN_CLASS_VDI], call->args[0]);

	/* No operation on the SR: disks of one SR are made side by side. */
	xn_operation_run_spec(call, new_disk_op(state_of(call), &create_kind, xn_map_new(), record),
			      &spec);
}

/* ---- VDI.clone, snapshot, copy ---- */

static int check_operation(struct xn_call *call, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	const char *ref = xn_call_string(call, (unsigned)method->lock_param);

	if (!xn_db_need(state_of(call)->db, XN_CLASS_VDI, ref, err))
		return -1;
	/* Only asked in a dry run: the call itself waits its turn when the disk is busy. */
	return call->dry_run ? xn_operation_check(state_of(call)->operations, XN_CLASS_VDI, ref,
						  method->operation, err)
			     : 0;
}

static void run_with_source(struct xn_call *call, const struct xn_op_kind *kind)
{
	struct xn_value *args = xn_map_new();

	xn_map_put_string(&args, "source", xn_call_string(call, 0));
	xn_operation_run(call, new_disk_op(state_of(call), kind, args, NULL), NULL);
}

static void clone(struct xn_call *call)
{
	run_with_source(call, &clone_kind);
}

static void snapshot(struct xn_call *call)
{
	run_with_source(call, &snapshot_kind);
}

static bool is_null_ref(const char *ref)
{
	return ref[0] == '\0' || strcmp(ref, XN_NULL_REF) == 0;
}

static int check_copy_into(struct xn_call *call, const struct xn_row *source, struct xn_error *err)
{
	const char *ref = xn_call_string(call, 3);
	const struct xn_row *into = xn_db_need(state_of(call)->db, XN_CLASS_VDI, ref, err);
	int64_t size = xn_row_int(source, XN_VDI_virtual_size);
	char text[32];

	if (!into)
		return -1;
	if (into == source) /* it would wait for itself */
		return xn_error_set(err, XN_ERR_VDI_IN_USE, ref, "copy");
	if (xn_row_bool(into, XN_VDI_read_only))
		return xn_error_set(err, XN_ERR_VDI_READONLY, ref);
	snprintf(text, sizeof(text), "%lld", (long long)size);
	if (xn_row_int(into, XN_VDI_virtual_size) < size)
		return xn_error_set(err, XN_ERR_VDI_TOO_SMALL, ref, text);
	return 0;
}

static int check_copy(struct xn_call *call, struct xn_error *err)
{
	const char *base = xn_call_string(call, 2);

	if (check_operation(call, err) < 0)
		return -1;
	if (!is_null_ref(base) && !xn_db_need(state_of(call)->db, XN_CLASS_VDI, base, err))
		return -1;
	if (!is_null_ref(xn_call_string(call, 3)))
		return check_copy_into(call, self_row(call), err);
	return check_sr_makes_disks(state_of(call), xn_call_string(call, 1), err);
}

/* Over an existing disk. What differs from base_vdi only would do; all of it is right too. */

static void end_with_errno(struct xn_storage_op *o, const struct xn_sr_request *rq, int rc,
			   const char *vdi)
{
	struct xn_error err = {0};
	const struct xn_row *row = xn_db_get(o->st->db, XN_CLASS_VDI, vdi);

	xn_sr_request_error(rq, rc, row ? xn_row_string(row, XN_VDI_SR) : XN_NULL_REF, vdi, &err);
	xn_op_fail(&o->op, &err);
}

static void note_sizes(struct xn_storage *st, const char *vdi, const struct xn_sr_request *rq)
{
	struct xn_row *row = xn_db_get(st->db, XN_CLASS_VDI, vdi);
	int64_t before = row ? xn_row_int(row, XN_VDI_virtual_size) : 0;

	if (!row)
		return;
	xn_db_set_int(st->db, row, XN_VDI_virtual_size, rq->info.virtual_size);
	xn_db_set_int(st->db, row, XN_VDI_physical_utilisation, rq->info.physical_size);
	xn_db_set_bool(st->db, row, XN_VDI_missing, false);
	xn_sr_note(st, xn_row_string(row, XN_VDI_SR), &rq->space, rq->info.virtual_size - before);
}

/* The usual end of a request about the VDI that argument `vdi` names. */
static void on_vdi_request(struct xn_sr_request *rq, int rc)
{
	struct xn_storage *st = xn_storage_wait_storage(rq->arg);
	struct xn_storage_op *o;
	char vdi[XN_REF_LEN];

	snprintf(vdi, sizeof(vdi), "%s", xn_storage_wait_ref(rq->arg));
	o = xn_storage_wait_take(rq->arg);
	if (rc == 0)
		note_sizes(st, vdi, rq); /* also when the operation has given up: it is so */
	if (o && rc < 0)
		end_with_errno(o, rq, rc, vdi);
	else if (o)
		xn_op_done(&o->op, 0);
}

/* A request about VDI @vdi, or NULL after failing the step. Submits nothing. */
static struct xn_sr_request *request_for(struct xn_storage_op *o, const char *vdi,
					 struct xn_sr_binding *binding)
{
	struct xn_error err = {0};
	struct xn_row *row = xn_db_need(o->st->db, XN_CLASS_VDI, vdi, &err);
	struct xn_row *sr =
		row ? xn_db_need(o->st->db, XN_CLASS_SR, xn_row_string(row, XN_VDI_SR), &err)
		    : NULL;

	if (sr && xn_sr_bind(o->st, sr, binding, &err) == 0)
		return xn_sr_request_new(o->st, binding->folder,
					 xn_row_string(row, XN_VDI_location));
	xn_op_fail(&o->op, &err);
	return NULL;
}

/* A worker that writes to a disk is its user until it returns: the operation, and with it its
 * claims, stay that long, also one that has given up. */
static void on_overwrite_tick(struct xn_timer *timer)
{
	struct xn_storage_op *o = xn_container_of(timer, struct xn_storage_op, tick);
	const struct xn_copy_progress *progress = &o->overwriting->progress;
	int64_t total = atomic_load(&progress->total), done = atomic_load(&progress->done);

	if (o->op.undoing) {
		xn_op_progress(&o->op, 0);
	} else if (total > 0 && done != o->overwritten) {
		o->overwritten = done;
		xn_op_progress(&o->op, (double)done / (double)total);
	}
	xn_timer_arm(o->st->core->loop, &o->tick, PROGRESS_US, on_overwrite_tick);
}

/* What the undo of an overwriting waited for has returned. */
static void end_undo(struct xn_storage_op *o)
{
	if (o->op.running)
		xn_op_done(&o->op, 0); /* else it has yet to begin, and looks for itself */
}

static void on_overwritten(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_op(rq->arg);
	bool undoing = o && o->op.undoing;

	if (o) {
		xn_timer_cancel(&o->tick);
		o->overwriting = NULL;
	}
	on_vdi_request(rq, rc);
	if (undoing)
		end_undo(o);
}

static void overwrite_from(struct xn_storage_op *o, struct xn_sr_request *source)
{
	struct xn_sr_binding into = {0};
	struct xn_sr_request *rq = request_for(o, xn_storage_op_arg(o, "vdi"), &into);

	if (rq) {
		rq->source = source->path;
		source->path = NULL;
		o->overwriting = rq;
		o->overwritten = 0;
		xn_timer_arm(o->st->core->loop, &o->tick, PROGRESS_US, on_overwrite_tick);
		xn_sr_request_submit(o->st, rq, into.ops->overwrite, on_overwritten,
				     xn_storage_wait_new(o));
	}
	xn_sr_binding_clear(&into);
}

static void on_source_path(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *undone = xn_storage_wait_op(rq->arg);
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);

	if (o && rc < 0)
		end_with_errno(o, rq, rc, xn_storage_op_arg(o, "source"));
	else if (o)
		overwrite_from(o, rq);
	else if (undone && undone->op.undoing)
		end_undo(undone);
}

/* A step's look at the image of the disk that its argument @arg names. */
static void ask_image(struct xn_op *op, const char *arg,
		      void (*then)(struct xn_sr_request *rq, int rc))
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_sr_binding binding = {0};
	struct xn_sr_request *rq = request_for(o, xn_storage_op_arg(o, arg), &binding);

	if (rq)
		xn_sr_request_submit(o->st, rq, binding.ops->stat, then, xn_storage_wait_new(o));
	xn_sr_binding_clear(&binding);
}

static void overwrite_disk(struct xn_op *op)
{
	ask_image(op, "source", on_source_path);
}

/* What was there before is lost already. */
static void stop_overwriting(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	if (!o->waiting) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "storage to stop writing to the disk");
	if (o->overwriting)
		xn_sr_request_stop(o->st, o->overwriting);
}

/* The source stays as it is, so that what a restart interrupted begins anew. */
static const struct xn_step overwrite_steps[] = {
	{"copy over the disk", overwrite_disk, stop_overwriting, 3600 * SECOND, 1,
	 XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(overwrite_kind, "VDI.copy_into", overwrite_steps, XN_RESTART_RESUME)

/* Nobody else may change the target meanwhile. */
static void also_take_target(struct xn_op *op, struct xn_run *run)
{
	xn_run_also_take(run, XN_CLASS_VDI, xn_storage_op_arg(xn_storage_op_of(op), "vdi"),
			 "update");
}

static struct xn_op *vdi_op(struct xn_storage *st, const struct xn_op_kind *kind, const char *vdi,
			    struct xn_value *args)
{
	struct xn_op *op;

	xn_map_put_string(&args, "vdi", vdi);
	op = kind->make(st->core, args);
	xn_value_unref(args);
	return op;
}

static void copy(struct xn_call *call)
{
	const char *source = xn_call_string(call, 0), *sr = xn_call_string(call, 1);
	const char *into = xn_call_string(call, 3);
	struct xn_value *args = xn_map_new();
	struct xn_run_spec spec = {.class_id = XN_CLASS_VDI, .ref = source, .operation = "copy"};
	struct xn_op *op;

	xn_map_put_string(&args, "source", source);
	if (is_null_ref(into)) {
		xn_map_put_string(&args, "sr", sr);
		op = new_disk_op(state_of(call), &copy_kind, args, NULL);
	} else {
		xn_map_put_string(&args, "result", into);
		op = vdi_op(state_of(call), &overwrite_kind, into, args);
		spec.also = also_take_target;
	}
	xn_operation_run_spec(call, op, &spec);
}

/* ---- VDI.revert ---- */

/* The snapshot stays as it is, so that what a restart interrupted begins anew. */
static const struct xn_step revert_steps[] = {
	{"copy the snapshot over the disk", overwrite_disk, stop_overwriting, 3600 * SECOND, 1,
	 XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(revert_kind, "VDI.revert", revert_steps, XN_RESTART_RESUME)

static void also_take_reverted(struct xn_op *op, struct xn_run *run)
{
	xn_run_also_take(run, XN_CLASS_VDI, xn_storage_op_arg(xn_storage_op_of(op), "vdi"),
			 "revert_from");
}

static int check_revert(struct xn_call *call, struct xn_error *err)
{
	struct xn_storage *st = state_of(call);
	const char *ref = xn_call_string(call, 0);
	const struct xn_row *snapshot = xn_db_need(st->db, XN_CLASS_VDI, ref, err);

	if (!snapshot)
		return -1;
	if (!xn_row_bool(snapshot, XN_VDI_is_a_snapshot))
		return xn_error_set(err, XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT);
	if (!xn_db_need(st->db, XN_CLASS_VDI, xn_row_string(snapshot, XN_VDI_snapshot_of), err))
		return -1;
	return call->dry_run ? xn_operation_check(st->operations, XN_CLASS_VDI, ref, "revert_to",
						  err)
			     : 0;
}

static void revert(struct xn_call *call)
{
	const char *snapshot = xn_call_string(call, 0);
	struct xn_value *args = xn_map_new();
	const struct xn_run_spec spec = {.class_id = XN_CLASS_VDI,
					 .ref = snapshot,
					 .operation = "revert_to",
					 .also = also_take_reverted};

	xn_map_put_string(&args, "source", snapshot);
	xn_operation_run_spec(call,
			      vdi_op(state_of(call), &revert_kind,
				     xn_row_string(self_row(call), XN_VDI_snapshot_of), args),
			      &spec);
}

/* ---- VDI.destroy, forget ---- */

static void destroy_disk(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	xn_op_waiting(op, "storage to destroy the disk");
	xn_storage_destroy_vdi(o->st, xn_storage_op_arg(o, "vdi"), xn_storage_wait_done,
			       xn_storage_wait_new(o));
}

static const struct xn_step destroy_steps[] = {
	{"destroy the disk", destroy_disk, NULL, 600 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(destroy_kind, "VDI.destroy", destroy_steps, XN_RESTART_RESUME)

static void forget_disk(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_row *row = xn_db_get(o->st->db, XN_CLASS_VDI, xn_storage_op_arg(o, "vdi"));

	if (row) {
		XN_CLEANUP(xn_value_unref_p)
		struct xn_value *sr = xn_value_ref(xn_row_get(row, XN_VDI_SR));
		int64_t size = xn_row_int(row, XN_VDI_virtual_size);

		xn_vdi_delete_rows(o->st, row);
		xn_sr_note(o->st, xn_value_string(sr), NULL, -size);
	}
	xn_op_done(op, 0);
}

static const struct xn_step forget_steps[] = {
	{"forget the disk", forget_disk, NULL, 10 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(forget_kind, "VDI.forget", forget_steps, XN_RESTART_RESUME)

static void destroy(struct xn_call *call)
{
	xn_operation_run(
		call, vdi_op(state_of(call), &destroy_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

static void forget(struct xn_call *call)
{
	xn_operation_run(
		call, vdi_op(state_of(call), &forget_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

/* ---- VDI.resize, update ---- */

/* The image's own size, not the row's: an undo must not cut off what somebody put there. */
static void on_size_found(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);

	if (!o)
		return;
	if (rc < 0) {
		end_with_errno(o, rq, rc, xn_storage_op_arg(o, "vdi"));
		return;
	}
	xn_op_set_arg(&o->op, "size_before", xn_int(rq->info.virtual_size));
	xn_op_done(&o->op, 0);
}

static void find_size(struct xn_op *op)
{
	ask_image(op, "vdi", on_size_found);
}

static void shrink_image(struct xn_op *op);

static void on_grown(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_op(rq->arg);

	if (!o || !o->op.undoing) {
		on_vdi_request(rq, rc);
		return;
	}
	xn_storage_wait_take(rq->arg);
	if (o->op.running) /* the undo waited for this */
		shrink_image(&o->op);
}

static void grow_image(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_sr_binding binding = {0};
	struct xn_sr_request *rq = request_for(o, xn_storage_op_arg(o, "vdi"), &binding);

	if (rq) {
		rq->size = xn_map_get_int(op->args, "size", 0);
		xn_sr_request_submit(o->st, rq, binding.ops->grow, on_grown,
				     xn_storage_wait_new(o));
	}
	xn_sr_binding_clear(&binding);
}

/* While the database refuses changes, the row stays as it is; the image is what it says again. */
static void on_shrunk(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o;

	if (rc < 0 || xn_db_writable(xn_storage_wait_storage(rq->arg)->db) == 0) {
		on_vdi_request(rq, rc);
		return;
	}
	o = xn_storage_wait_take(rq->arg);
	if (o)
		xn_op_done(&o->op, 0);
}

static void shrink_image(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_sr_binding binding = {0};
	struct xn_sr_request *rq;

	if (o->waiting)
		return; /* what is under way ends this */
	if (!xn_map_get(op->args, "size_before")) { /* an older release's: nobody knows */
		xn_op_done(op, 0);
		return;
	}
	rq = request_for(o, xn_storage_op_arg(o, "vdi"), &binding);
	if (rq) {
		rq->size = xn_map_get_int(op->args, "size_before", 0);
		xn_sr_request_submit(o->st, rq, binding.ops->shrink, on_shrunk,
				     xn_storage_wait_new(o));
	}
	xn_sr_binding_clear(&binding);
}

/* A resize that fails has done nothing: also when the database cannot keep the new size. */
static const struct xn_step resize_steps[] = {
	{"look at the image", find_size, NULL, 60 * SECOND, 1, 0},
	{"grow the image", grow_image, shrink_image, 60 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(resize_kind, "VDI.resize", resize_steps, XN_RESTART_RESUME)

static int check_resize(struct xn_call *call, struct xn_error *err)
{
	int64_t now;
	char text[32];

	if (check_operation(call, err) < 0)
		return -1;
	now = xn_row_int(self_row(call), XN_VDI_virtual_size);
	snprintf(text, sizeof(text), "%lld", (long long)now);
	if (xn_value_int(call->args[1]) < now) /* the end of a disk is data too */
		return xn_error_set(err, XN_ERR_VDI_TOO_SMALL, xn_call_string(call, 0), text);
	return 0;
}

static void resize(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "size", xn_int(xn_vdi_round_size(xn_value_int(call->args[1]))));
	xn_operation_run(call, vdi_op(state_of(call), &resize_kind, xn_call_string(call, 0), args),
			 NULL);
}

static void look_at_image(struct xn_op *op)
{
	ask_image(op, "vdi", on_vdi_request);
}

static const struct xn_step update_steps[] = {
	{"look at the image", look_at_image, NULL, 60 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(update_kind, "VDI.update", update_steps, XN_RESTART_UNDO)

static void update(struct xn_call *call)
{
	xn_operation_run(
		call, vdi_op(state_of(call), &update_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

/* ---- VDI.introduce: a row for an image that is there ---- */

enum introduce_args {
	I_UUID,
	I_NAME,
	I_DESCRIPTION,
	I_SR,
	I_TYPE,
	I_SHARABLE,
	I_READ_ONLY,
	I_OTHER_CONFIG,
	I_LOCATION,
	I_XENSTORE_DATA,
	I_SM_CONFIG,
	I_MANAGED,
	I_SIZE,
	I_UTILISATION,
	I_POOL,
	I_IS_SNAPSHOT,
	I_SNAPSHOT_TIME,
	I_SNAPSHOT_OF
};

static int check_introduce(struct xn_call *call, struct xn_error *err)
{
	struct xn_storage *st = state_of(call);
	const char *uuid = xn_call_string(call, I_UUID);
	const char *location = xn_call_string(call, I_LOCATION);
	const struct xn_row *sr = xn_db_need(st->db, XN_CLASS_SR, xn_call_string(call, I_SR), err);
	const struct xn_sr_ops *ops = sr ? xn_sr_type_find(xn_row_string(sr, XN_SR_type)) : NULL;

	if (!sr)
		return -1;
	if (!xn_sr_has_feature(ops, "VDI_INTRODUCE"))
		return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, xn_row_ref(sr));
	if (uuid[0] && (!xn_image_uuid_is_valid(uuid) || xn_db_by_uuid(st->db, XN_CLASS_VDI, uuid)))
		return xn_error_set(err, XN_ERR_UUID_INVALID, "VDI", uuid);
	/* Our own images are named by their uuid. */
	if (!ops->read_only &&
	    (!xn_image_uuid_is_valid(location) || (uuid[0] && strcmp(uuid, location) != 0) ||
	     xn_db_by_uuid(st->db, XN_CLASS_VDI, location)))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "location", location);
	return 0;
}

static void take_arg(struct xn_value **record, const struct xn_call *call, unsigned arg,
		     const char *field)
{
	xn_map_put(record, field, xn_value_ref(call->args[arg]));
}

static struct xn_value *introduced_record(struct xn_call *call)
{
	struct xn_value *v = xn_map_new();
	const struct xn_row *sr =
		xn_db_get(state_of(call)->db, XN_CLASS_SR, xn_call_string(call, I_SR));
	bool read_only = xn_sr_type_find(xn_row_string(sr, XN_SR_type))->read_only;

	take_arg(&v, call, I_NAME, "name_label");
	take_arg(&v, call, I_DESCRIPTION, "name_description");
	take_arg(&v, call, I_SR, "SR");
	take_arg(&v, call, I_TYPE, "type");
	take_arg(&v, call, I_SHARABLE, "sharable");
	take_arg(&v, call, I_OTHER_CONFIG, "other_config");
	take_arg(&v, call, I_LOCATION, "location");
	take_arg(&v, call, I_XENSTORE_DATA, "xenstore_data");
	take_arg(&v, call, I_SM_CONFIG, "sm_config");
	take_arg(&v, call, I_MANAGED, "managed");
	take_arg(&v, call, I_IS_SNAPSHOT, "is_a_snapshot");
	take_arg(&v, call, I_SNAPSHOT_TIME, "snapshot_time");
	if (!is_null_ref(xn_call_string(call, I_SNAPSHOT_OF)))
		take_arg(&v, call, I_SNAPSHOT_OF, "snapshot_of");
	xn_map_put(&v, "read_only", xn_bool(read_only || xn_value_bool(call->args[I_READ_ONLY])));
	xn_map_put_string(&v, "parent", XN_NULL_REF);
	if (!read_only)
		take_arg(&v, call, I_LOCATION, "uuid");
	else if (xn_call_string(call, I_UUID)[0])
		take_arg(&v, call, I_UUID, "uuid");
	return v;
}

static void on_introduced(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);
	struct xn_error err = {0};
	const char *sr, *uuid;

	if (!o)
		return;
	sr = xn_map_get_string(o->record, "SR");
	uuid = xn_map_get_string(o->record, "uuid");
	if (rc < 0)
		xn_error_set(&err, XN_ERR_VDI_LOCATION_MISSING, sr, rq->location);
	else if (uuid && xn_db_by_uuid(o->st->db, XN_CLASS_VDI, uuid)) /* a scan was faster */
		xn_error_set(&err, XN_ERR_UUID_INVALID, "VDI", uuid);
	else
		xn_db_need(o->st->db, XN_CLASS_SR, sr, &err);
	if (xn_error_is_set(&err)) {
		xn_op_fail(&o->op, &err);
		return;
	}
	xn_map_put(&o->record, "virtual_size", xn_int(rq->info.virtual_size));
	xn_map_put(&o->record, "physical_utilisation", xn_int(rq->info.physical_size));
	xn_operation_refresh(
		o->st->operations,
		xn_db_create(o->st->db, XN_CLASS_VDI, xn_storage_op_arg(o, "ref"), o->record));
	xn_sr_note(o->st, sr, &rq->space, rq->info.virtual_size);
	xn_op_done(&o->op, 0);
}

static void introduce_disk(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_sr_binding binding = {0};
	struct xn_error err = {0};
	struct xn_row *sr =
		xn_db_need(o->st->db, XN_CLASS_SR, xn_map_get_string(o->record, "SR"), &err);

	if (sr && xn_sr_bind(o->st, sr, &binding, &err) == 0)
		xn_sr_request_submit(o->st,
				     xn_sr_request_new(o->st, binding.folder,
						       xn_map_get_string(o->record, "location")),
				     binding.ops->stat, on_introduced, xn_storage_wait_new(o));
	else
		xn_op_fail(op, &err);
	xn_sr_binding_clear(&binding);
}

static const struct xn_step introduce_steps[] = {
	{"look for the image", introduce_disk, NULL, 60 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(introduce_kind, "VDI.introduce", introduce_steps, XN_RESTART_UNDO)

static void introduce(struct xn_call *call)
{
	const struct xn_run_spec spec = {0};

	xn_operation_run_spec(
		call,
		new_disk_op(state_of(call), &introduce_kind, xn_map_new(), introduced_record(call)),
		&spec);
}

/* ---- setters ---- */

static void set_field(struct xn_call *call)
{
	int field =
		xn_field_find(&xn_classes[XN_CLASS_VDI], call->method->message + strlen("set_"));

	xn_db_set(state_of(call)->db, self_row(call), field, xn_value_ref(call->args[1]));
	xn_operation_refresh(state_of(call)->operations, self_row(call));
	xn_call_reply_void(call);
}

static int check_set_sharable(struct xn_call *call, struct xn_error *err)
{
	const struct xn_value *vbds;

	if (check_self(call, err) < 0)
		return -1;
	vbds = xn_row_get(self_row(call), XN_VDI_VBDs);
	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd = xn_db_get(state_of(call)->db, XN_CLASS_VBD,
						     xn_value_string(xn_set_at(vbds, i)));

		if (vbd && xn_row_bool(vbd, XN_VBD_currently_attached))
			return xn_error_set(err, XN_ERR_VDI_IN_USE, xn_call_string(call, 0),
					    "set_sharable");
	}
	return 0;
}

/* The image of a library stays read-only, whatever its row says. */
static int check_set_read_only(struct xn_call *call, struct xn_error *err)
{
	const struct xn_row *sr;
	const struct xn_sr_ops *ops;

	if (check_self(call, err) < 0)
		return -1;
	sr = xn_row_follow(state_of(call)->db, self_row(call), XN_VDI_SR);
	ops = sr ? xn_sr_type_find(xn_row_string(sr, XN_SR_type)) : NULL;
	if (ops && ops->read_only && !xn_value_bool(call->args[1]))
		return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, xn_row_ref(sr));
	return 0;
}

/* What our drivers have no feature for: the rules say so, with the right error. */
static int check_unsupported(struct xn_call *call, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	const char *ref =
		xn_call_string(call, method->lock_param < 0 ? 0 : (unsigned)method->lock_param);
	const char *operation = method->operation ? method->operation : "mirror";

	if (!xn_db_need(state_of(call)->db, XN_CLASS_VDI, ref, err) ||
	    xn_operation_check(state_of(call)->operations, XN_CLASS_VDI, ref, operation, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, method->name);
}

static int refuse_internal(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_PERMISSION_DENIED, ""); /* for storage drivers only */
}

/* No disk is served over NBD yet; clients take this as "use another way". */
static void get_nbd_info(struct xn_call *call)
{
	xn_call_reply(call, xn_set_new());
}

const struct xn_method_impl xn_vdi_methods[] = {
	{"VDI.create", create, check_create},
	{"VDI.destroy", destroy, check_operation},
	{"VDI.clone", clone, check_operation},
	{"VDI.snapshot", snapshot, check_operation},
	{"VDI.copy", copy, check_copy},
	{"VDI.revert", revert, check_revert},
	{"VDI.resize", resize, check_resize},
	{"VDI.update", update, check_operation},
	{"VDI.forget", forget, check_operation},
	{"VDI.introduce", introduce, check_introduce},
	{"VDI.set_name_label", set_field, check_self},
	{"VDI.set_name_description", set_field, check_self},
	{"VDI.set_sharable", set_field, check_set_sharable},
	{"VDI.set_read_only", set_field, check_set_read_only},
	{"VDI.set_allow_caching", set_field, check_self},
	{"VDI.get_nbd_info", get_nbd_info, check_self},
	{"VDI.set_on_boot", answer_void, check_unsupported},
	{"VDI.enable_cbt", answer_void, check_unsupported},
	{"VDI.disable_cbt", answer_void, check_unsupported},
	{"VDI.data_destroy", answer_void, check_unsupported},
	{"VDI.list_changed_blocks", answer_void, check_unsupported},
	{"VDI.generate_config", answer_void, check_unsupported},
	{"VDI.pool_migrate", answer_void, check_unsupported},
	{"VDI.set_managed", answer_void, refuse_internal},
	{"VDI.set_missing", answer_void, refuse_internal},
	{"VDI.set_virtual_size", answer_void, refuse_internal},
	{"VDI.set_physical_utilisation", answer_void, refuse_internal},
	{"VDI.set_is_a_snapshot", answer_void, refuse_internal},
	{"VDI.set_snapshot_of", answer_void, refuse_internal},
	{"VDI.set_snapshot_time", answer_void, refuse_internal},
	{"VDI.set_metadata_of_pool", answer_void, refuse_internal},
	{"VDI.set_cbt_enabled", answer_void, refuse_internal},
	{NULL, NULL, NULL, false},
};

const struct xn_op_kind *const xn_vdi_op_kinds[] = {
	&create_kind,    &clone_kind,     &snapshot_kind, &copy_kind,
	&overwrite_kind, &destroy_kind,   &forget_kind,   &resize_kind,
	&update_kind,    &introduce_kind, &revert_kind,   NULL,
};
