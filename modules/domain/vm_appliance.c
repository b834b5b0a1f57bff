/*
 * VM appliances: VMs that are started and stopped together, in the order of VM.order. Those with
 * the same number go at the same time; the next ones begin when these are through, their
 * start_delay or shutdown_delay with it. Down goes the reverse way.
 *
 * The operation runs the VMs' own operations, each of which is journaled for itself. After a
 * restart it goes on with the order it was at: a VM that is there already is done. What fails does
 * not stop the others; who failed is told at the end.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum { TICK_US = 5 * 1000 * 1000, STEP_MS = 30000 };

static bool is_member(const struct xn_row *vm)
{
	return vm && !xn_row_bool(vm, XN_VM_is_a_template);
}

/* ---- the operation ---- */

struct appliance_op {
	struct xn_op op;
	struct xn_domains *d;
	struct xn_list members; /* at work */
	unsigned total, ended;
	struct xn_op_token at;
	struct xn_timer timer;
};

/* A VM's operation; in d->members for the end of the daemon. */
struct xn_member {
	struct xn_list link, all;
	struct appliance_op *owner; /* NULL: it has ended without us */
	char vm[48];
	struct xn_run *run;
};

static struct appliance_op *appliance_of(struct xn_op *op)
{
	return xn_container_of(op, struct appliance_op, op);
}

static struct xn_op *make(struct xn_core *core, const struct xn_op_kind *kind,
			  const struct xn_value *args)
{
	struct appliance_op *a = xn_calloc(1, sizeof(*a));

	xn_op_init(&a->op, kind, core, args);
	a->d = xn_domains_of(core);
	xn_list_init(&a->members);
	return &a->op;
}

static void free_op(struct xn_op *op)
{
	struct appliance_op *a = appliance_of(op);

	while (!xn_list_empty(&a->members)) {
		struct xn_member *member =
			xn_list_entry(xn_list_pop(&a->members), struct xn_member, link);

		member->owner = NULL;
	}
	xn_timer_cancel(&a->timer);
	free(a);
}

static void order_vms(struct xn_op *op);
static void run_stages(struct xn_op *op);
static void stop_members(struct xn_op *op);
static void tell_failures(struct xn_op *op);

static const struct xn_step steps[] = {
	/* name, run, undo, timeout in ms, weight */
	{"order the VMs", order_vms, NULL, 10000},
	{"run the VMs' operations", run_stages, stop_members, STEP_MS, 50},
	{"see who failed", tell_failures, NULL, 1000},
	{NULL, NULL, NULL, 0},
};

XN_OP_KIND(, xn_appliance_kind, "VM_appliance.run", steps, XN_RESTART_RESUME, make, free_op)

static const char *operation_of(const struct xn_op *op)
{
	return xn_map_get_string(op->args, "operation");
}

static bool starts(const struct xn_op *op)
{
	return strcmp(operation_of(op), "start") == 0;
}

/* ---- the order ---- */

struct placed {
	int64_t order;
	const char *ref;
};

static int by_order(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return strcmp(x->ref, y->ref);
}

/* A set of sets: VMs that go together. */
static struct xn_value *stages_of(const struct placed *vms, size_t n, bool reverse)
{
	struct xn_value *stages = xn_set_new(), *stage = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct placed *at = &vms[reverse ? n - 1 - i : i];
		const struct placed *before = &vms[reverse ? n - i : i - 1];

		if (i > 0 && at->order != before->order) {
			xn_set_append(&stages, stage);
			stage = NULL;
		}
		if (!stage)
			stage = xn_set_new();
		xn_set_append_string(&stage, at->ref);
	}
	if (stage)
		xn_set_append(&stages, stage);
	return stages;
}

static void order_vms(struct xn_op *op)
{
	struct appliance_op *a = appliance_of(op);
	struct xn_error err = {0};
	const struct xn_row *row = xn_db_need(a->d->db, XN_CLASS_VM_appliance,
					      xn_map_get_string(op->args, "appliance"), &err);
	const struct xn_value *refs;
	struct placed *vms;
	size_t n = 0;

	if (!row) {
		xn_op_fail(op, &err);
		return;
	}
	refs = xn_row_get(row, XN_VM_appliance_VMs);
	vms = xn_calloc(xn_set_len(refs) + 1, sizeof(*vms));
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const struct xn_row *vm =
			xn_db_get(a->d->db, XN_CLASS_VM, xn_value_string(xn_set_at(refs, i)));

		if (is_member(vm))
			vms[n++] = (struct placed){xn_row_int(vm, XN_VM_order), xn_row_ref(vm)};
	}
	qsort(vms, n, sizeof(*vms), by_order);
	xn_op_set_arg(op, "stages", stages_of(vms, n, !starts(op)));
	xn_op_set_arg(op, "stage", xn_int(0));
	free(vms);
	xn_op_done(op, 0);
}

/* ---- the VMs' operations ---- */

/* Whether the VM is already as it should become. */
static bool is_there(const struct xn_op *op, const struct xn_row *vm)
{
	if (starts(op))
		return xn_vm_is(vm, "Running") || xn_vm_is(vm, "Paused");
	return xn_vm_is(vm, "Halted");
}

static void note_failure(struct appliance_op *a, const char *vm)
{
	const struct xn_value *old = xn_map_get(a->op.args, "failed");
	struct xn_value *failed = old ? xn_value_ref(old) : xn_set_new();

	if (!xn_set_has_string(failed, vm))
		xn_set_append_string(&failed, vm);
	xn_op_set_arg(&a->op, "failed", failed);
}

static void next_stage(struct appliance_op *a);

static void describe(struct appliance_op *a)
{
	const struct xn_member *first;
	const struct xn_row *vm;
	const char *name;

	if (xn_list_empty(&a->members))
		return;
	first = xn_list_entry(a->members.next, struct xn_member, link);
	vm = xn_db_get(a->d->db, XN_CLASS_VM, first->vm);
	name = vm ? xn_row_string(vm, XN_VM_name_label) : "";
	xn_op_waiting(&a->op, "%s of VM \"%.*s\" (order %lld), %u of %u through",
		      operation_of(&a->op), (int)xn_text_fit(name, 60), name,
		      vm ? (long long)xn_row_int(vm, XN_VM_order) : 0, a->ended, a->total);
}

static void on_over(const struct xn_error *err, void *arg)
{
	struct xn_member *member = arg;
	struct appliance_op *a = member->owner;
	const struct xn_row *vm;

	xn_list_remove(&member->link);
	xn_list_remove(&member->all);
	if (a) {
		vm = xn_db_get(a->d->db, XN_CLASS_VM, member->vm);
		/* Somebody else may have brought it there meanwhile. */
		if (err && vm && !is_there(&a->op, vm))
			note_failure(a, member->vm);
		a->ended++;
		if (xn_op_find(a->d->core, &a->at)) {
			xn_op_progress(&a->op, (double)a->ended / (double)(a->total + 1));
			describe(a);
			if (xn_list_empty(&a->members) && a->op.undoing)
				xn_op_done(&a->op, 0);
			else if (xn_list_empty(&a->members))
				next_stage(a);
		}
	}
	free(member);
}

static void run_member(struct appliance_op *a, struct xn_row *vm)
{
	struct xn_member *member = xn_calloc(1, sizeof(*member));
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = operation_of(&a->op),
		.over = on_over,
		.arg = member,
	};
	struct xn_op *op;

	if (starts(&a->op))
		op = xn_vm_start_op(a->d, vm, xn_map_get_bool(a->op.args, "paused", false), &spec);
	else
		op = xn_vm_shutdown_op(a->d, vm, &spec);
	member->owner = a;
	snprintf(member->vm, sizeof(member->vm), "%s", xn_row_ref(vm));
	xn_list_push(&a->members, &member->link);
	xn_list_push(&a->d->members, &member->all);
	member->run = xn_operation_run_internal(op, &spec);
}

static void run_stage(struct appliance_op *a, const struct xn_value *stage)
{
	for (size_t i = 0; i < xn_set_len(stage); i++) {
		struct xn_row *vm =
			xn_db_get(a->d->db, XN_CLASS_VM, xn_value_string(xn_set_at(stage, i)));

		if (vm && !is_there(&a->op, vm))
			run_member(a, vm);
		else
			a->ended++;
	}
}

static void begin_stage(struct xn_op *op)
{
	struct appliance_op *a = appliance_of(op);
	const struct xn_value *stages = xn_map_get(op->args, "stages");
	int64_t at = xn_map_get_int(op->args, "stage", 0);

	if (at >= (int64_t)xn_set_len(stages)) {
		xn_op_done(op, 0);
		return;
	}
	run_stage(a, xn_set_at(stages, (size_t)at));
	if (xn_list_empty(&a->members))
		next_stage(a);
	else
		describe(a);
}

/* Where a restart goes on. */
static void next_stage(struct appliance_op *a)
{
	xn_op_set_arg(&a->op, "stage", xn_int(xn_map_get_int(a->op.args, "stage", 0) + 1));
	xn_op_save(&a->op, begin_stage);
}

/* The VMs' operations have deadlines of their own; this one lives as long as they do. */
static void on_tick(struct xn_timer *timer)
{
	struct appliance_op *a = xn_container_of(timer, struct appliance_op, timer);

	if (!xn_op_find(a->d->core, &a->at))
		return;
	xn_op_progress(&a->op, (double)a->ended / (double)(a->total + 1));
	xn_timer_arm(a->d->core->loop, timer, TICK_US, on_tick);
}

static void run_stages(struct xn_op *op)
{
	struct appliance_op *a = appliance_of(op);
	const struct xn_value *stages = xn_map_get(op->args, "stages");

	a->at = xn_op_token(op);
	a->total = a->ended = 0;
	for (size_t i = 0; i < xn_set_len(stages); i++) {
		unsigned n = (unsigned)xn_set_len(xn_set_at(stages, i));

		a->total += n;
		if ((int64_t)i < xn_map_get_int(op->args, "stage", 0))
			a->ended += n;
	}
	xn_timer_arm(a->d->core->loop, &a->timer, TICK_US, on_tick);
	begin_stage(op);
}

/* Those that are through stay as they are. */
static void stop_members(struct xn_op *op)
{
	struct appliance_op *a = appliance_of(op);

	a->at = xn_op_token(op);
	if (xn_list_empty(&a->members)) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "the VMs' operations to be cancelled");
	xn_list_each(node, &a->members)
		xn_run_cancel(xn_list_entry(node, struct xn_member, link)->run);
	xn_timer_arm(a->d->core->loop, &a->timer, TICK_US, on_tick);
}

static void tell_failures(struct xn_op *op)
{
	const struct xn_value *failed = xn_map_get(op->args, "failed");
	struct xn_error err = {0};

	if (!failed || xn_set_len(failed) == 0) {
		xn_op_done(op, 0);
		return;
	}
	xn_error_setf(&err, XN_ERR_OPERATION_PARTIALLY_FAILED, "VM.%s", operation_of(op));
	for (size_t i = 0; i < xn_set_len(failed) && err.n_params < XN_ERROR_MAX_PARAMS; i++)
		xn_error_add_param(&err, xn_value_string(xn_set_at(failed, i)));
	xn_op_fail(op, &err);
}

void xn_appliances_init(struct xn_domains *d)
{
	xn_list_init(&d->members);
}

void xn_appliances_stop(struct xn_domains *d)
{
	xn_list_each_safe(node, &d->members) {
		struct xn_member *member = xn_list_entry(node, struct xn_member, all);

		xn_list_remove(&member->all);
		xn_list_remove(&member->link);
		free(member);
	}
}

/* ---- calls ---- */

static struct xn_row *appliance_or_fail(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *row =
		xn_db_need(d->db, XN_CLASS_VM_appliance, xn_call_string(call, 0), &err);

	if (!row)
		xn_call_fail(call, &err);
	return row;
}

static void run(struct xn_call *call)
{
	const struct xn_row *row = appliance_or_fail(call);
	struct xn_value *args;
	struct xn_op *op;

	if (!row)
		return;
	args = xn_map_new();
	xn_map_put_string(&args, "appliance", xn_row_ref(row));
	xn_map_put_string(&args, "operation", call->method->message);
	if (call->n_args > 1)
		xn_map_put(&args, "paused", xn_bool(xn_value_bool(call->args[1])));
	op = make(call->core, &xn_appliance_kind, args);
	xn_value_unref(args);
	xn_operation_run(call, op, NULL);
}

static void refresh_members(struct xn_domains *d, const struct xn_value *refs)
{
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vm =
			xn_db_get(d->db, XN_CLASS_VM, xn_value_string(xn_set_at(refs, i)));

		if (vm)
			xn_operation_refresh(d->ops, vm);
	}
}

static void destroy(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *row = appliance_or_fail(call);
	const struct xn_value *current;
	struct xn_error err = {0};
	struct xn_value *refs;

	if (!row)
		return;
	current = xn_row_get(row, XN_VM_appliance_current_operations);
	if (xn_map_len(current) > 0) {
		xn_operation_busy(&err, "VM_appliance", xn_row_ref(row), current, NULL, ",");
		xn_call_fail(call, &err);
		return;
	}
	refs = xn_value_ref(xn_row_get(row, XN_VM_appliance_VMs));
	xn_db_delete(d->db, row);
	refresh_members(d, refs); /* only a VM without an appliance can become a template */
	xn_value_unref(refs);
	xn_call_reply_void(call);
}

/* ---- recovery at another site ---- */

static void add_srs(struct xn_domains *d, const struct xn_row *vm, struct xn_value **srs)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		const struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;
		const char *sr = vdi ? xn_row_string(vdi, XN_VDI_SR) : NULL;

		if (sr && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0 &&
		    xn_db_get(d->db, XN_CLASS_SR, sr) && !xn_set_has_string(*srs, sr))
			xn_set_append_string(srs, sr);
	}
}

static struct xn_value *srs_of_members(struct xn_domains *d, const struct xn_row *appliance)
{
	const struct xn_value *refs = xn_row_get(appliance, XN_VM_appliance_VMs);
	struct xn_value *srs = xn_set_new();

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const struct xn_row *vm =
			xn_db_get(d->db, XN_CLASS_VM, xn_value_string(xn_set_at(refs, i)));

		if (vm)
			add_srs(d, vm, &srs);
	}
	return srs;
}

static bool is_attached(struct xn_db *db, const char *sr)
{
	const struct xn_row *row = xn_db_get(db, XN_CLASS_SR, sr);
	const struct xn_value *pbds = row ? xn_row_get(row, XN_SR_PBDs) : NULL;

	for (size_t i = 0; pbds && i < xn_set_len(pbds); i++) {
		const struct xn_row *pbd =
			xn_db_get(db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));

		if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached))
			return true;
	}
	return false;
}

static int check_srs(struct xn_domains *d, const char *vm, const struct xn_value *srs,
		     struct xn_error *err)
{
	for (size_t i = 0; i < xn_set_len(srs); i++)
		if (!is_attached(d->db, xn_value_string(xn_set_at(srs, i))))
			return xn_error_set(err, XN_ERR_VM_REQUIRES_SR, vm,
					    xn_value_string(xn_set_at(srs, i)));
	return 0;
}

static int check_vm_recovery(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err)
{
	struct xn_value *srs XN_CLEANUP(xn_value_unref_p) = xn_set_new();

	add_srs(d, vm, &srs);
	return check_srs(d, xn_row_ref(vm), srs, err);
}

static int check_appliance_recovery(struct xn_domains *d, const struct xn_row *row,
				    struct xn_error *err)
{
	const struct xn_value *refs = xn_row_get(row, XN_VM_appliance_VMs);

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const struct xn_row *vm =
			xn_db_get(d->db, XN_CLASS_VM, xn_value_string(xn_set_at(refs, i)));

		if (vm && check_vm_recovery(d, vm, err) < 0)
			return -1;
	}
	return 0;
}

static void answer(struct xn_call *call, int rc, struct xn_error *err)
{
	if (rc < 0)
		xn_call_fail(call, err);
	else
		xn_call_reply_void(call);
}

static void assert_can_be_recovered(struct xn_call *call)
{
	const struct xn_row *row = appliance_or_fail(call);
	struct xn_error err = {0};

	if (row)
		answer(call, check_appliance_recovery(call->state, row, &err), &err);
}

static void get_SRs_required_for_recovery(struct xn_call *call)
{
	const struct xn_row *row = appliance_or_fail(call);

	if (row)
		xn_call_reply(call, srs_of_members(call->state, row));
}

static void vm_assert_can_be_recovered(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	const struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);

	if (!vm)
		xn_call_fail(call, &err);
	else if (xn_row_follow(d->db, vm, XN_VM_appliance))
		answer(call,
		       xn_error_set(&err, XN_ERR_VM_IS_PART_OF_AN_APPLIANCE, xn_row_ref(vm),
				    xn_row_string(vm, XN_VM_appliance)),
		       &err);
	else
		answer(call, check_vm_recovery(d, vm, &err), &err);
}

static void vm_get_SRs_required_for_recovery(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	const struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_value *srs;

	if (!vm) {
		xn_call_fail(call, &err);
		return;
	}
	srs = xn_set_new();
	add_srs(d, vm, &srs);
	xn_call_reply(call, srs);
}

const struct xn_method_impl xn_appliance_methods[] = {
	{"VM_appliance.destroy", destroy, NULL, false},
	{"VM_appliance.start", run, xn_check_operation, false},
	{"VM_appliance.clean_shutdown", run, xn_check_operation, false},
	{"VM_appliance.hard_shutdown", run, xn_check_operation, false},
	{"VM_appliance.shutdown", run, xn_check_operation, false},
	{"VM_appliance.assert_can_be_recovered", assert_can_be_recovered, NULL, false},
	{"VM_appliance.get_SRs_required_for_recovery", get_SRs_required_for_recovery, NULL, false},
	{"VM.assert_can_be_recovered", vm_assert_can_be_recovered, NULL, false},
	{"VM.get_SRs_required_for_recovery", vm_get_SRs_required_for_recovery, NULL, false},
	{NULL, NULL, NULL, false},
};
