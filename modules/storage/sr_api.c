/* API calls on SRs and PBDs. What a repository is made of is its type's business (sr_ops.h). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "modules/records/records.h"
#include "modules/storage/storage_internal.h"

enum { SECOND = 1000, DISKS_A_TURN = 50 };

static struct xn_storage *state_of(struct xn_call *call)
{
	return call->state;
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	int class_id = call->method->params[0].type->class_id;

	return xn_db_need(state_of(call)->db, class_id, xn_call_string(call, 0), err) ? 0 : -1;
}

static struct xn_row *self_row(struct xn_call *call)
{
	return xn_db_get(state_of(call)->db, call->method->params[0].type->class_id,
			 xn_call_string(call, 0));
}

static void answer_void(struct xn_call *call)
{
	xn_call_reply_void(call);
}

static void answer_empty_set(struct xn_call *call)
{
	xn_call_reply(call, xn_set_new());
}

/* An operation on SR @sr whose journaled arguments are @args (taken) and the SR. */
static struct xn_op *sr_op(struct xn_storage *st, const struct xn_op_kind *kind, const char *sr,
			   struct xn_value *args)
{
	struct xn_op *op;

	xn_map_put_string(&args, "sr", sr);
	op = kind->make(st->core, args);
	xn_value_unref(args);
	return op;
}

static struct xn_row *sr_of_op(struct xn_storage_op *o, struct xn_error *err)
{
	return xn_db_need(o->st->db, XN_CLASS_SR, xn_storage_op_arg(o, "sr"), err);
}

/* ---- device_config: what clients may put there, and passwords ---- */

static int check_device_config(const struct xn_value *config, struct xn_error *err)
{
	const char *master = xn_map_get_string(config, "SRmaster");

	return master ? xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "SRmaster", master,
				     "the server sets this key")
		      : 0;
}

/* Without regard to case: who writes "Password" means no less by it. */
static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcasecmp(text + len - end_len, end) == 0;
}

/* A copy in which each X.password became X.password_secret, the uuid of a new secret object. */
static struct xn_value *hide_passwords(struct xn_storage *st, const struct xn_value *config)
{
	struct xn_value *hidden = xn_map_new();

	for (size_t i = 0; i < xn_map_len(config); i++) {
		const char *key = xn_map_key_at(config, i);
		XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;
		XN_CLEANUP(xn_value_unref_p) struct xn_value *name = NULL;

		if (!ends_with(key, "password")) {
			xn_map_put(&hidden, key, xn_value_ref(xn_map_at(config, i)));
			continue;
		}
		fields = xn_map_new();
		name = xn_stringf("%s_secret", key);
		xn_map_put(&fields, "value", xn_value_ref(xn_map_at(config, i)));
		xn_map_put_string(&hidden, xn_value_string(name),
				  xn_row_uuid(xn_db_create(st->db, XN_CLASS_secret, NULL, fields)));
	}
	return hidden;
}

static void delete_pbd(struct xn_storage *st, struct xn_row *pbd)
{
	const struct xn_value *config = xn_row_get(pbd, XN_PBD_device_config);

	for (size_t i = 0; i < xn_map_len(config); i++) {
		struct xn_row *secret = NULL;

		if (ends_with(xn_map_key_at(config, i), "password_secret"))
			secret = xn_db_by_uuid(st->db, XN_CLASS_secret,
					       xn_value_string(xn_map_at(config, i)));
		if (secret)
			xn_db_delete(st->db, secret);
	}
	xn_db_delete(st->db, pbd);
}

static struct xn_row *make_pbd(struct xn_storage *st, const char *sr, const char *host,
			       const struct xn_value *device_config, bool attached)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

	xn_map_put_string(&v, "SR", sr);
	xn_map_put_string(&v, "host", host);
	xn_map_put(&v, "device_config", hide_passwords(st, device_config));
	xn_map_put(&v, "currently_attached", xn_bool(attached));
	return xn_db_create(st->db, XN_CLASS_PBD, NULL, v);
}

/* ---- SR.create ---- */

enum create_args {
	C_HOST,
	C_DEVICE_CONFIG,
	C_SIZE,
	C_NAME,
	C_DESCRIPTION,
	C_TYPE,
	C_CONTENT_TYPE,
	C_SHARED,
	C_SM_CONFIG
};

static struct xn_value *lower_case(const char *text)
{
	char *copy = xn_strdup(text);
	struct xn_value *v;

	for (char *c = copy; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	v = xn_string(copy);
	free(copy);
	return v;
}

static const struct xn_sr_ops *ops_of_type(const char *type, struct xn_error *err)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *lower = lower_case(type);
	const struct xn_sr_ops *ops = xn_sr_type_find(xn_value_string(lower));

	if (!ops)
		xn_error_set(err, XN_ERR_SR_UNKNOWN_DRIVER, type);
	return ops;
}

/* The folder of another SR is taken: two of them would adopt and destroy each other's disks. */
static int check_folder_is_free(struct xn_storage *st, const char *folder, struct xn_error *err)
{
	for (struct xn_row *pbd = xn_db_first(st->db, XN_CLASS_PBD); pbd;
	     pbd = xn_db_next(st->db, pbd)) {
		struct xn_error ignored = {0};
		char *other = NULL;
		bool same = xn_sr_folder(st, xn_row_get(pbd, XN_PBD_device_config), &other,
					 &ignored) == 0 &&
			    strcmp(folder, other) == 0;

		xn_error_clear(&ignored);
		free(other);
		if (same)
			return xn_error_set(err, XN_ERR_SR_DEVICE_IN_USE);
	}
	return 0;
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	struct xn_storage *st = state_of(call);
	char *folder = NULL;
	int rc;

	if (check_self(call, err) < 0 ||
	    check_device_config(call->args[C_DEVICE_CONFIG], err) < 0 ||
	    !ops_of_type(xn_call_string(call, C_TYPE), err) ||
	    xn_sr_folder(st, call->args[C_DEVICE_CONFIG], &folder, err) < 0)
		return -1;
	rc = check_folder_is_free(st, folder, err);
	free(folder);
	return rc;
}

/* Rows and attachment in one transaction, when the folder is there: an SR is seen whole or not. */
static void on_sr_made(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);
	const char *ref = o ? xn_storage_op_arg(o, "sr") : "";
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;
	struct xn_error err = {0};

	if (!o)
		return;
	if (rc < 0) {
		xn_sr_request_error(rq, rc, ref, "", &err);
		xn_op_fail(&o->op, &err);
		return;
	}
	fields = xn_value_ref(o->record);
	xn_map_remove(&fields, "device_config");
	xn_db_create(o->st->db, XN_CLASS_SR, ref, fields);
	make_pbd(o->st, ref, xn_host_ref(o->st->host), xn_map_get(o->record, "device_config"),
		 true);
	xn_sr_note(o->st, ref, &rq->space, 0);
	xn_op_done(&o->op, 0);
}

static void make_repository(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	const struct xn_sr_ops *ops = xn_sr_type_find(xn_map_get_string(o->record, "type"));
	struct xn_error err = {0};
	char *folder = NULL;

	if (xn_sr_folder(o->st, xn_map_get(o->record, "device_config"), &folder, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	xn_sr_request_submit(o->st, xn_sr_request_new(o->st, folder, NULL), ops->create, on_sr_made,
			     xn_storage_wait_new(o));
	free(folder);
}

/* Images that lay there are disks of the SR from the start. Its errors are no reason to fail. */
static void on_first_scan(const struct xn_error *err, void *arg)
{
	struct xn_storage_op *o = xn_storage_wait_take(arg);

	if (o)
		xn_op_done(&o->op, 0);
}

static void scan_new_repository(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	xn_sr_scan(o->st, xn_storage_op_arg(o, "sr"), true, on_first_scan, xn_storage_wait_new(o));
}

static const struct xn_step create_steps[] = {
	{"make the repository", make_repository, NULL, 60 * SECOND, 1, XN_STEP_NO_CANCEL},
	{"look what is there", scan_new_repository, NULL, 600 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_create_kind, "SR.create", create_steps, XN_RESTART_UNDO)

static struct xn_value *new_sr_record(struct xn_call *call, unsigned name, unsigned description,
				      unsigned type, unsigned content_type, unsigned shared,
				      unsigned sm_config)
{
	struct xn_value *v = xn_map_new();

	xn_map_put(&v, "name_label", xn_value_ref(call->args[name]));
	xn_map_put(&v, "name_description", xn_value_ref(call->args[description]));
	xn_map_put(&v, "type", lower_case(xn_call_string(call, type)));
	xn_map_put(&v, "content_type", xn_value_ref(call->args[content_type]));
	xn_map_put(&v, "shared", xn_value_ref(call->args[shared]));
	xn_map_put(&v, "sm_config", xn_value_ref(call->args[sm_config]));
	xn_map_put(&v, "physical_size", xn_int(-1));
	xn_map_put(&v, "physical_utilisation", xn_int(-1));
	xn_map_put(&v, "default_vdi_visibility", xn_bool(true));
	return v;
}

static void create(struct xn_call *call)
{
	struct xn_storage *st = state_of(call);
	const struct xn_run_spec spec = {0};
	struct xn_value *args = xn_map_new();
	struct xn_value *record = new_sr_record(call, C_NAME, C_DESCRIPTION, C_TYPE, C_CONTENT_TYPE,
						C_SHARED, C_SM_CONFIG);
	char ref[XN_REF_LEN];
	struct xn_op *op;

	/* Not a field of the row: rides along for the steps. */
	xn_map_put(&record, "device_config", xn_value_ref(call->args[C_DEVICE_CONFIG]));
	xn_ref_new(st->core->loop, ref);
	xn_map_put_string(&args, "result", ref); /* in the journal: also of a task that goes on */
	op = sr_op(st, &sr_create_kind, ref, args);
	xn_storage_op_of(op)->record = record;
	xn_operation_run_spec(call, op, &spec);
}

/* ---- SR.introduce ---- */

static int check_introduce(struct xn_call *call, struct xn_error *err)
{
	const char *uuid = xn_call_string(call, 0);

	if (uuid[0] && !xn_image_uuid_is_valid(uuid))
		return xn_error_set(err, XN_ERR_UUID_INVALID, "SR", uuid);
	if (uuid[0] && xn_db_by_uuid(state_of(call)->db, XN_CLASS_SR, uuid))
		return xn_error_set(err, XN_ERR_SR_UUID_EXISTS, uuid);
	return 0;
}

static void introduce(struct xn_call *call)
{
	struct xn_storage *st = state_of(call);
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *record = new_sr_record(call, 1, 2, 3, 4, 5, 6);
	struct xn_row *row;

	if (xn_call_string(call, 0)[0])
		xn_map_put(&record, "uuid", xn_value_ref(call->args[0]));
	row = xn_db_create(st->db, XN_CLASS_SR, NULL, record);
	xn_operation_refresh(st->operations, row);
	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

/* ---- SR.destroy, forget ---- */

static void clear_if_same(struct xn_db *db, struct xn_row *row, int field, const char *ref)
{
	if (row && strcmp(xn_row_string(row, field), ref) == 0)
		xn_db_set_string(db, row, field, XN_NULL_REF);
}

/* A default that names nothing would fail later, with a worse error. */
static void clear_defaults(struct xn_storage *st, const char *sr)
{
	struct xn_row *pool = xn_db_get(st->db, XN_CLASS_pool, xn_host_pool(st->host));
	struct xn_row *host = xn_db_get(st->db, XN_CLASS_host, xn_host_ref(st->host));

	clear_if_same(st->db, pool, XN_pool_default_SR, sr);
	clear_if_same(st->db, pool, XN_pool_suspend_image_SR, sr);
	clear_if_same(st->db, pool, XN_pool_crash_dump_SR, sr);
	clear_if_same(st->db, host, XN_host_suspend_image_sr, sr);
	clear_if_same(st->db, host, XN_host_crash_dump_sr, sr);
}

/* At most @max of them. Return: how many there were. */
static size_t delete_vdi_rows(struct xn_storage *st, const struct xn_row *sr, size_t max)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vdis = xn_value_ref(xn_row_get(sr, XN_SR_VDIs));

	for (size_t i = 0; i < xn_set_len(vdis) && i < max; i++) {
		struct xn_row *vdi =
			xn_db_get(st->db, XN_CLASS_VDI, xn_value_string(xn_set_at(vdis, i)));

		if (vdi)
			xn_vdi_delete_rows(st, vdi);
	}
	return xn_set_len(vdis);
}

static void delete_sr_rows(struct xn_storage *st, struct xn_row *sr)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *pbds = xn_value_ref(xn_row_get(sr, XN_SR_PBDs));

	delete_vdi_rows(st, sr, SIZE_MAX);
	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		struct xn_row *pbd =
			xn_db_get(st->db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));

		if (pbd)
			delete_pbd(st, pbd);
	}
	clear_defaults(st, xn_row_ref(sr));
	xn_db_delete(st->db, sr);
}

static void on_sr_destroyed(struct xn_sr_request *rq, int rc)
{
	struct xn_storage *st = xn_storage_wait_storage(rq->arg);
	struct xn_row *sr = xn_db_get(st->db, XN_CLASS_SR, xn_storage_wait_ref(rq->arg));
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);
	struct xn_error err = {0};

	if (rc == 0 && sr)
		delete_sr_rows(st, sr); /* also when the operation has given up: it is gone */
	if (o && rc < 0) {
		xn_sr_request_error(rq, rc, xn_storage_op_arg(o, "sr"), "", &err);
		xn_op_fail(&o->op, &err);
	} else if (o) {
		xn_op_done(&o->op, 0);
	}
}

static void destroy_repository(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_row *sr = xn_db_get(o->st->db, XN_CLASS_SR, xn_storage_op_arg(o, "sr"));
	const struct xn_value *pbds = sr ? xn_row_get(sr, XN_SR_PBDs) : NULL;
	const struct xn_row *pbd = NULL;
	const struct xn_sr_ops *ops;
	struct xn_error err = {0};
	char *folder = NULL;

	if (!sr) { /* resumed after it was done */
		xn_op_done(op, 0);
		return;
	}
	ops = ops_of_type(xn_row_string(sr, XN_SR_type), &err);
	if (xn_set_len(pbds))
		pbd = xn_db_get(o->st->db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, 0)));
	if (!ops || !pbd ||
	    xn_sr_folder(o->st, xn_row_get(pbd, XN_PBD_device_config), &folder, &err) < 0) {
		if (!xn_error_is_set(&err))
			xn_error_set(&err, XN_ERR_SR_HAS_NO_PBDS, xn_row_ref(sr));
		xn_op_fail(op, &err);
		return;
	}
	xn_sr_request_submit(o->st, xn_sr_request_new(o->st, folder, NULL), ops->destroy,
			     on_sr_destroyed, xn_storage_wait_new(o));
	free(folder);
}

static const struct xn_step destroy_steps[] = {
	{"destroy the repository", destroy_repository, NULL, 60 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_destroy_kind, "SR.destroy", destroy_steps, XN_RESTART_RESUME)

/* There may be thousands of disks: a slice a turn, and the SR with the last one. Nothing comes to
 * them meanwhile: its PBDs stay unplugged, and the SR is held. */
static void forget_some(struct xn_job *job)
{
	struct xn_storage_op *o = xn_container_of(job, struct xn_storage_op, turn);
	struct xn_row *sr = xn_db_get(o->st->db, XN_CLASS_SR, xn_storage_op_arg(o, "sr"));
	size_t n;

	if (!o->op.running || o->op.undoing)
		return; /* it has given up */
	n = sr ? delete_vdi_rows(o->st, sr, DISKS_A_TURN) : 0;
	if (n > DISKS_A_TURN) {
		xn_op_progress(&o->op, 1 - (double)n / (double)o->n_before);
		xn_loop_defer(o->st->core->loop, &o->turn, XN_PRIO_BULK, forget_some);
		return;
	}
	if (sr)
		delete_sr_rows(o->st, sr);
	xn_op_done(&o->op, 0);
}

static void forget_repository(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_row *sr = xn_db_get(o->st->db, XN_CLASS_SR, xn_storage_op_arg(o, "sr"));

	o->n_before = sr ? xn_set_len(xn_row_get(sr, XN_SR_VDIs)) : 0;
	xn_loop_defer(o->st->core->loop, &o->turn, XN_PRIO_BULK, forget_some);
}

static const struct xn_step forget_steps[] = {
	{"forget the repository", forget_repository, NULL, 10 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_forget_kind, "SR.forget", forget_steps, XN_RESTART_RESUME)

/* The rules, but for "busy": the call itself waits its turn. */
static int check_allowed(struct xn_call *call, const char *operation, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	if (xn_operation_check(state_of(call)->operations, XN_CLASS_SR, xn_call_string(call, 0),
			       operation, err) == 0)
		return 0;
	if (call->dry_run || strcmp(err->code, XN_ERR_OTHER_OPERATION_IN_PROGRESS) != 0)
		return -1;
	xn_error_clear(err);
	return 0;
}

static int check_forget(struct xn_call *call, struct xn_error *err)
{
	return check_allowed(call, "forget", err);
}

static int check_destroy(struct xn_call *call, struct xn_error *err)
{
	const struct xn_row *sr, *host;
	const char *kept;

	if (check_allowed(call, "destroy", err) < 0)
		return -1;
	sr = self_row(call);
	kept = xn_row_map_string(sr, XN_SR_other_config, "indestructible");
	if (kept && strcmp(kept, "true") == 0)
		return xn_error_set(err, XN_ERR_SR_INDESTRUCTIBLE, xn_row_ref(sr));
	host = xn_db_get(state_of(call)->db, XN_CLASS_host, xn_host_ref(state_of(call)->host));
	if (host && strcmp(xn_row_string(host, XN_host_local_cache_sr), xn_row_ref(sr)) == 0)
		return xn_error_set(err, XN_ERR_SR_IS_CACHE_SR, xn_row_ref(host));
	return 0;
}

static void destroy(struct xn_call *call)
{
	xn_operation_run(
		call,
		sr_op(state_of(call), &sr_destroy_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

static void forget(struct xn_call *call)
{
	xn_operation_run(
		call, sr_op(state_of(call), &sr_forget_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

/* ---- SR.scan, update, probe ---- */

static void scan_repository(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	xn_op_waiting(op, "storage to list the repository");
	xn_sr_scan(o->st, xn_storage_op_arg(o, "sr"), true, xn_storage_wait_done,
		   xn_storage_wait_new(o));
}

static const struct xn_step scan_steps[] = {
	{"scan", scan_repository, NULL, 600 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_scan_kind, "SR.scan", scan_steps, XN_RESTART_UNDO)

static void scan(struct xn_call *call)
{
	xn_operation_run(
		call, sr_op(state_of(call), &sr_scan_kind, xn_call_string(call, 0), xn_map_new()),
		NULL);
}

static void on_space(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);
	struct xn_error err = {0};

	if (!o)
		return;
	if (rc < 0) {
		xn_sr_request_error(rq, rc, xn_storage_op_arg(o, "sr"), "", &err);
		xn_op_fail(&o->op, &err);
		return;
	}
	xn_sr_note(o->st, xn_storage_op_arg(o, "sr"), &rq->space, 0);
	xn_op_done(&o->op, 0);
}

static void update_space(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_sr_binding binding = {0};
	struct xn_error err = {0};
	struct xn_row *sr = sr_of_op(o, &err);

	if (sr && xn_sr_bind(o->st, sr, &binding, &err) == 0)
		xn_sr_request_submit(o->st, xn_sr_request_new(o->st, binding.folder, NULL),
				     binding.ops->attach, on_space, xn_storage_wait_new(o));
	else
		xn_op_fail(op, &err);
	xn_sr_binding_clear(&binding);
}

static const struct xn_step update_steps[] = {
	{"read the space", update_space, NULL, 60 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_update_kind, "SR.update", update_steps, XN_RESTART_UNDO)

static void update(struct xn_call *call)
{
	const struct xn_run_spec spec = {0};

	xn_operation_run_spec(
		call, sr_op(state_of(call), &sr_update_kind, xn_call_string(call, 0), xn_map_new()),
		&spec);
}

enum probe_args { P_HOST, P_DEVICE_CONFIG, P_TYPE, P_SM_CONFIG };

static int check_probe(struct xn_call *call, struct xn_error *err)
{
	return check_self(call, err) == 0 &&
			       check_device_config(call->args[P_DEVICE_CONFIG], err) == 0 &&
			       ops_of_type(xn_call_string(call, P_TYPE), err)
		       ? 0
		       : -1;
}

static void on_probed(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);

	if (!o)
		return;
	if (rc < 0)
		xn_op_set_arg(&o->op, "result", xn_string("<?xml version=\"1.0\"?><SRlist/>"));
	else
		xn_op_set_arg(&o->op, "result",
			      xn_stringf("<?xml version=\"1.0\"?><SRlist><SR><size>%lld</size></SR>"
					 "</SRlist>",
					 (long long)rq->space.total));
	xn_op_done(&o->op, 0);
}

static void look_at_folder(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_error err = {0};
	const struct xn_sr_ops *ops = ops_of_type(xn_storage_op_arg(o, "type"), &err);
	char *folder = NULL;

	if (!ops || xn_sr_folder(o->st, o->record, &folder, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	xn_sr_request_submit(o->st, xn_sr_request_new(o->st, folder, NULL), ops->attach, on_probed,
			     xn_storage_wait_new(o));
	free(folder);
}

static const struct xn_step probe_steps[] = {
	{"look at the folder", look_at_folder, NULL, 60 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(sr_probe_kind, "SR.probe", probe_steps, XN_RESTART_UNDO)

static void probe(struct xn_call *call)
{
	const struct xn_run_spec spec = {0};
	struct xn_value *args = xn_map_new();
	struct xn_op *op;

	xn_map_put_string(&args, "type", xn_call_string(call, P_TYPE));
	op = sr_op(state_of(call), &sr_probe_kind, XN_NULL_REF, args);
	xn_storage_op_of(op)->record = xn_value_ref(call->args[P_DEVICE_CONFIG]);
	xn_operation_run_spec(call, op, &spec);
}

/* As drivers of the older kind do: they answer SR.probe with text only. */
static int check_probe_ext(struct xn_call *call, struct xn_error *err)
{
	if (check_probe(call, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED);
}

/* ---- SR: fields and questions ---- */

static void set_field(struct xn_call *call)
{
	int field = xn_field_find(&xn_classes[XN_CLASS_SR], call->method->message + strlen("set_"));

	xn_db_set(state_of(call)->db, self_row(call), field, xn_value_ref(call->args[1]));
	xn_call_reply_void(call);
}

static int check_set_shared(struct xn_call *call, struct xn_error *err)
{
	const struct xn_value *pbds;

	if (check_self(call, err) < 0)
		return -1;
	pbds = xn_row_get(self_row(call), XN_SR_PBDs);
	if (xn_value_bool(call->args[1]) || xn_set_len(pbds) < 2)
		return 0;
	xn_error_set(err, XN_ERR_SR_HAS_MULTIPLE_PBDS);
	for (size_t i = 0; i < xn_set_len(pbds) && i < XN_ERROR_MAX_PARAMS; i++)
		xn_error_add_param(err, xn_value_string(xn_set_at(pbds, i)));
	return -1;
}

static int refuse_internal(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_PERMISSION_DENIED, ""); /* for storage drivers only */
}

/* High availability and replication want shared block storage, which none of our drivers is. */
static int refuse_unsupported(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, xn_call_string(call, 0));
}

static void get_supported_types(struct xn_call *call)
{
	struct xn_value *types = xn_set_new();

	for (unsigned i = 0; xn_sr_types[i]; i++)
		xn_set_append_string(&types, xn_sr_types[i]->type);
	xn_call_reply(call, types);
}

static void get_live_hosts(struct xn_call *call)
{
	const struct xn_value *pbds = xn_row_get(self_row(call), XN_SR_PBDs);
	struct xn_value *hosts = xn_set_new();

	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		const struct xn_row *pbd = xn_db_get(state_of(call)->db, XN_CLASS_PBD,
						     xn_value_string(xn_set_at(pbds, i)));

		if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached))
			xn_set_append_string(&hosts, xn_row_string(pbd, XN_PBD_host));
	}
	xn_call_reply(call, hosts);
}

/* ---- PBD.create, destroy ---- */

/* The step of an operation that only holds the SR and changes rows. */
static void create_pbd_row(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	const char *sr = xn_storage_op_arg(o, "sr");
	const char *host = xn_map_get_string(o->record, "host");
	struct xn_error err = {0};
	struct xn_row *row = sr_of_op(o, &err);
	const struct xn_value *pbds = row ? xn_row_get(row, XN_SR_PBDs) : NULL;

	for (size_t i = 0; pbds && i < xn_set_len(pbds); i++) {
		const char *ref = xn_value_string(xn_set_at(pbds, i));
		const struct xn_row *pbd = xn_db_get(o->st->db, XN_CLASS_PBD, ref);

		if (pbd && strcmp(xn_row_string(pbd, XN_PBD_host), host) == 0)
			xn_error_set(&err, XN_ERR_PBD_EXISTS, sr, host, ref);
	}
	if (xn_error_is_set(&err)) {
		xn_op_fail(op, &err);
		return;
	}
	row = make_pbd(o->st, sr, host, xn_map_get(o->record, "device_config"), false);
	if (xn_map_get(o->record, "other_config"))
		xn_db_set(o->st->db, row, XN_PBD_other_config,
			  xn_value_ref(xn_map_get(o->record, "other_config")));
	xn_op_set_arg(op, "result", xn_string(xn_row_ref(row)));
	xn_op_done(op, 0);
}

static const struct xn_step pbd_create_steps[] = {
	{"write the record", create_pbd_row, NULL, 10 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(pbd_create_kind, "PBD.create", pbd_create_steps, XN_RESTART_UNDO)

static int check_pbd_create(struct xn_call *call, struct xn_error *err)
{
	if (xn_record_check(state_of(call)->db, &xn_classes[XN_CLASS_PBD], call->args[0], err) < 0)
		return -1;
	return check_device_config(xn_map_get(call->args[0], "device_config"), err);
}

static void pbd_create(struct xn_call *call)
{
	const char *sr = xn_map_get_string(call->args[0], "SR");
	const struct xn_run_spec spec = {
		.class_id = XN_CLASS_SR, .ref = sr, .operation = "pbd_create"};
	struct xn_op *op = sr_op(state_of(call), &pbd_create_kind, sr, xn_map_new());

	xn_storage_op_of(op)->record = xn_value_ref(call->args[0]);
	xn_operation_run_spec(call, op, &spec);
}

/* An operation on the PBD that is the call's first argument, holding its SR. */
static void run_on_pbd(struct xn_call *call, const struct xn_op_kind *kind, const char *operation)
{
	struct xn_row *pbd = self_row(call);
	const char *sr = xn_row_string(pbd, XN_PBD_SR);
	struct xn_run_spec spec = {.class_id = XN_CLASS_SR, .ref = sr, .operation = operation};
	struct xn_value *args = xn_map_new();

	xn_map_put_string(&args, "pbd", xn_row_ref(pbd));
	if (!xn_db_get(state_of(call)->db, XN_CLASS_SR, sr))
		spec.ref = NULL;
	xn_operation_run_spec(call, sr_op(state_of(call), kind, sr, args), &spec);
}

static struct xn_row *pbd_of_op(struct xn_storage_op *o, struct xn_error *err)
{
	return xn_db_need(o->st->db, XN_CLASS_PBD, xn_storage_op_arg(o, "pbd"), err);
}

static void destroy_pbd_row(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_row *pbd = xn_db_get(o->st->db, XN_CLASS_PBD, xn_storage_op_arg(o, "pbd"));
	struct xn_error err = {0};

	if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached)) {
		xn_error_set(&err, XN_ERR_OPERATION_NOT_ALLOWED, "the PBD is attached");
		xn_op_fail(op, &err);
		return;
	}
	if (pbd)
		delete_pbd(o->st, pbd);
	xn_op_done(op, 0);
}

static const struct xn_step pbd_destroy_steps[] = {
	{"delete the record", destroy_pbd_row, NULL, 10 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(pbd_destroy_kind, "PBD.destroy", pbd_destroy_steps, XN_RESTART_RESUME)

static void pbd_destroy(struct xn_call *call)
{
	run_on_pbd(call, &pbd_destroy_kind, "pbd_destroy");
}

/* ---- PBD.plug, unplug ---- */

static void on_attached(struct xn_sr_request *rq, int rc)
{
	struct xn_storage_op *o = xn_storage_wait_take(rq->arg);
	struct xn_error err = {0};
	struct xn_row *pbd = o ? pbd_of_op(o, &err) : NULL;

	if (!o)
		return;
	if (rc < 0)
		xn_sr_request_error(rq, rc, xn_storage_op_arg(o, "sr"), "", &err);
	if (xn_error_is_set(&err)) {
		xn_op_fail(&o->op, &err);
		return;
	}
	xn_db_set_bool(o->st->db, pbd, XN_PBD_currently_attached, true);
	xn_sr_note(o->st, xn_storage_op_arg(o, "sr"), &rq->space, 0);
	xn_op_done(&o->op, 0);
}

static void attach(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_error err = {0};
	struct xn_row *pbd = pbd_of_op(o, &err);
	struct xn_row *sr = pbd ? sr_of_op(o, &err) : NULL;
	const struct xn_sr_ops *ops = sr ? ops_of_type(xn_row_string(sr, XN_SR_type), &err) : NULL;
	char *folder = NULL;

	if (!ops || xn_sr_folder(o->st, xn_row_get(pbd, XN_PBD_device_config), &folder, &err) < 0) {
		xn_op_fail(op, &err);
		return;
	}
	xn_sr_request_submit(o->st, xn_sr_request_new(o->st, folder, NULL), ops->attach,
			     on_attached, xn_storage_wait_new(o));
	free(folder);
}

/* Leftovers of a crash, and disks whose image went: known before the first VM wants one. */
static void look_after_attach(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	xn_sr_scan(o->st, xn_storage_op_arg(o, "sr"), false, on_first_scan, xn_storage_wait_new(o));
}

static const struct xn_step plug_steps[] = {
	{"attach", attach, NULL, 60 * SECOND, 1, XN_STEP_NO_CANCEL},
	{"look what is there", look_after_attach, NULL, 600 * SECOND, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(pbd_plug_kind, "PBD.plug", plug_steps, XN_RESTART_RESUME)

static void plug(struct xn_call *call)
{
	run_on_pbd(call, &pbd_plug_kind, "plug");
}

static int refuse_unplug(struct xn_storage_op *o, struct xn_row *sr, struct xn_error *err)
{
	const struct xn_value *vdis = xn_row_get(sr, XN_SR_VDIs);
	struct xn_row *used = xn_sr_vdi_in_use(o->st, sr);

	for (size_t i = 0; i < xn_set_len(vdis); i++) {
		struct xn_row *vdi =
			xn_db_get(o->st->db, XN_CLASS_VDI, xn_value_string(xn_set_at(vdis, i)));
		const struct xn_value *current =
			vdi ? xn_row_get(vdi, XN_VDI_current_operations) : NULL;

		if (current && xn_map_len(current))
			return xn_operation_busy(err, "VDI", xn_row_ref(vdi), current, NULL, ",");
	}
	if (used)
		return xn_error_set(err, XN_ERR_VDI_IN_USE, xn_row_ref(used));
	if (xn_sr_is_making(o->st, xn_row_ref(sr)))
		return xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "SR", xn_row_ref(sr),
				    "VDI.create", XN_NULL_REF);
	return 0;
}

static void detach(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);
	struct xn_error err = {0};
	struct xn_row *pbd = pbd_of_op(o, &err);
	struct xn_row *sr = pbd ? xn_row_follow(o->st->db, pbd, XN_PBD_SR) : NULL;

	if (sr && xn_row_bool(pbd, XN_PBD_currently_attached))
		refuse_unplug(o, sr, &err);
	if (xn_error_is_set(&err)) {
		xn_op_fail(op, &err);
		return;
	}
	xn_db_set_bool(o->st->db, pbd, XN_PBD_currently_attached, false);
	if (sr)
		xn_operation_refresh(o->st->operations, sr);
	xn_op_done(op, 0);
}

static const struct xn_step unplug_steps[] = {
	{"detach", detach, NULL, 60 * SECOND, 1, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};
XN_STORAGE_OP_KIND(pbd_unplug_kind, "PBD.unplug", unplug_steps, XN_RESTART_RESUME)

static void unplug(struct xn_call *call)
{
	run_on_pbd(call, &pbd_unplug_kind, "unplug");
}

const struct xn_method_impl xn_sr_methods[] = {
	{"SR.create", create, check_create},
	{"SR.introduce", introduce, check_introduce},
	{"SR.destroy", destroy, check_destroy},
	{"SR.forget", forget, check_forget},
	{"SR.scan", scan, check_self},
	{"SR.update", update, check_self},
	{"SR.probe", probe, check_probe},
	{"SR.probe_ext", answer_void, check_probe_ext},
	{"SR.set_name_label", set_field, check_self},
	{"SR.set_name_description", set_field, check_self},
	{"SR.set_shared", set_field, check_set_shared},
	{"SR.set_physical_size", answer_void, refuse_internal},
	{"SR.set_virtual_allocation", answer_void, refuse_internal},
	{"SR.set_physical_utilisation", answer_void, refuse_internal},
	{"SR.assert_can_host_ha_statefile", answer_void, refuse_unsupported},
	{"SR.assert_supports_database_replication", answer_void, refuse_unsupported},
	{"SR.get_supported_types", get_supported_types},
	{"SR.get_data_sources", answer_empty_set, check_self},
	{"SR.get_live_hosts", get_live_hosts, check_self},
	{"PBD.create", pbd_create, check_pbd_create},
	{"PBD.destroy", pbd_destroy, check_self},
	{"PBD.plug", plug, check_self},
	{"PBD.unplug", unplug, check_self},
	{"PBD.set_device_config", answer_void, refuse_internal},
	{NULL, NULL, NULL, false},
};

const struct xn_op_kind *const xn_sr_op_kinds[] = {
	&sr_create_kind,
	&sr_destroy_kind,
	&sr_forget_kind,
	&sr_scan_kind,
	&sr_update_kind,
	&sr_probe_kind,
	&pbd_create_kind,
	&pbd_destroy_kind,
	&pbd_plug_kind,
	&pbd_unplug_kind,
	NULL,
};
