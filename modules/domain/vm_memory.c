/*
 * Memory and processors of a VM: the setters of its limits, and what changes in a running domain at
 * once (VM.live below: one call to the back end, then the rows follow).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

struct limits {
	int64_t static_min, dynamic_min, dynamic_max, static_max;
};

static struct limits limits_of(const struct xn_row *vm)
{
	return (struct limits){
		.static_min = xn_row_int(vm, XN_VM_memory_static_min),
		.dynamic_min = xn_row_int(vm, XN_VM_memory_dynamic_min),
		.dynamic_max = xn_row_int(vm, XN_VM_memory_dynamic_max),
		.static_max = xn_row_int(vm, XN_VM_memory_static_max),
	};
}

static bool is_nested(const struct xn_row *vm)
{
	const char *yes = xn_row_map_string(vm, XN_VM_platform, "nested-virt");

	return yes && (strcmp(yes, "1") == 0 || strcmp(yes, "true") == 0);
}

/* Whose memory cannot move has all of it. */
static int check_pinned(const struct xn_row *vm, const struct limits *l, struct xn_error *err)
{
	if (l->dynamic_min == l->static_max && l->dynamic_max == l->static_max)
		return 0;
	if (xn_row_bool(vm, XN_VM_is_control_domain))
		return xn_error_set(err, XN_ERR_MEMORY_CONSTRAINT_VIOLATION_MAXPIN,
				    "A control domain has a fixed amount of memory.");
	if (is_nested(vm))
		return xn_error_set(err, XN_ERR_MEMORY_CONSTRAINT_VIOLATION_MAXPIN,
				    "A VM with nested virtualisation has a fixed amount of memory.");
	return 0;
}

static int check_limits(const struct xn_row *vm, const struct limits *l, struct xn_error *err)
{
	if (0 <= l->static_min && l->static_min <= l->dynamic_min &&
	    l->dynamic_min <= l->dynamic_max && l->dynamic_max <= l->static_max)
		return check_pinned(vm, l, err);
	return xn_error_set(err, XN_ERR_MEMORY_CONSTRAINT_VIOLATION_ORDER);
}

static void write_limits(struct xn_domains *d, struct xn_row *vm, const struct limits *l)
{
	xn_db_set_int(d->db, vm, XN_VM_memory_static_min, l->static_min);
	xn_db_set_int(d->db, vm, XN_VM_memory_dynamic_min, l->dynamic_min);
	xn_db_set_int(d->db, vm, XN_VM_memory_dynamic_max, l->dynamic_max);
	xn_db_set_int(d->db, vm, XN_VM_memory_static_max, l->static_max);
	xn_db_set_int(d->db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
}

/* Which limits a message gives, by its parameters in order. */
enum which { STATIC_MIN = 1, STATIC_MAX, DYNAMIC_MIN, DYNAMIC_MAX, ALL };

static const struct {
	const char *message;
	enum which params[4];
} messages[] = {
	{"set_memory_static_min", {STATIC_MIN}},
	{"set_memory_static_max", {STATIC_MAX}},
	{"set_memory_static_range", {STATIC_MIN, STATIC_MAX}},
	{"set_memory_dynamic_min", {DYNAMIC_MIN}},
	{"set_memory_dynamic_max", {DYNAMIC_MAX}},
	{"set_memory_dynamic_range", {DYNAMIC_MIN, DYNAMIC_MAX}},
	{"set_memory_limits", {STATIC_MIN, STATIC_MAX, DYNAMIC_MIN, DYNAMIC_MAX}},
	{"set_memory", {ALL}},
};

static void put_limit(struct limits *l, enum which which, int64_t value)
{
	switch (which) {
	case STATIC_MIN:
		l->static_min = value;
		break;
	case STATIC_MAX:
		l->static_max = value;
		break;
	case DYNAMIC_MIN:
		l->dynamic_min = value;
		break;
	case DYNAMIC_MAX:
		l->dynamic_max = value;
		break;
	case ALL:
		l->dynamic_min = l->dynamic_max = l->static_max = value;
		break;
	}
}

static struct limits wanted_limits(const struct xn_call *call, const struct xn_row *vm)
{
	struct limits l = limits_of(vm);

	for (size_t i = 0; i < XN_ARRAY_SIZE(messages); i++)
		for (unsigned p = 0;
		     strcmp(messages[i].message, call->method->message) == 0 && p < 4; p++)
			if (messages[i].params[p])
				put_limit(&l, messages[i].params[p],
					  xn_value_int(call->args[p + 1]));
	return l;
}

static int set_limits(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), err);
	struct limits l;

	if (!vm)
		return -1;
	l = wanted_limits(call, vm);
	if (check_limits(vm, &l, err) < 0)
		return -1;
	write_limits(d, vm, &l);
	xn_db_set_int(d->db, vm, XN_VM_memory_target, l.dynamic_min);
	xn_operation_refresh_all(d->ops, vm);
	return 0;
}

void xn_vm_set_memory(struct xn_call *call)
{
	xn_operation_run_short(call, NULL, set_limits);
}

/* ---- in a running domain ---- */

static void get_memory(struct xn_op *op);
static void tell_domain(struct xn_op *op);
static void note_values(struct xn_op *op);

static const struct xn_step live_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"get the memory", get_memory, xn_step_reserve_undo, XN_MEMORY_WAIT_MS},
	{"tell the domain", tell_domain, NULL, 60000},
	{"note the values", note_values, NULL, 1000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_live_kind, "VM.live", live_steps, XN_RESTART_RESUME)

static void on_granted(struct xn_vm_op *vmo, int64_t bytes)
{
	if (!xn_map_get(vmo->op.args, "more_shadow"))
		xn_op_set_arg(&vmo->op, "memory",
			      xn_int(xn_map_get_int(vmo->op.args, "had", 0) + bytes));
	xn_op_done(&vmo->op, 0);
}

/* What the domain shall have more than now may have to come from others. */
static void get_memory(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	int64_t target = xn_map_get_int(op->args, "memory", 0);
	int64_t least = xn_map_get_int(op->args, "dynamic_min", 0);
	int64_t had = domain ? xn_memory_settled(vmo->d, domain) : 0, available;
	struct xn_error err = {0};

	if (xn_map_get(op->args, "more_shadow")) { /* beside what the guest has */
		target = had + xn_map_get_int(op->args, "more_shadow", 0);
		least = target;
	}
	if (!domain || target <= had) {
		xn_op_done(op, 0);
		return;
	}
	least = least > had ? least - had : 0;
	if (!xn_domains_has_memory(vmo->d, least, &available)) {
		xn_no_memory(&err, least, available);
		xn_op_fail(op, &err);
		return;
	}
	xn_op_set_arg(op, "had", xn_int(had));
	xn_memory_want(vmo, had, least, target - had, 0, on_granted);
}

static void tell_domain(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	int64_t memory = xn_map_get_int(op->args, "memory", 0);
	int64_t vcpus = xn_map_get_int(op->args, "vcpus", 0);
	int64_t shadow = xn_map_get_int(op->args, "shadow", 0);
	const struct xn_value *params = xn_map_get(op->args, "vcpu_params");
	const char *trigger = xn_map_get_string(op->args, "trigger");
	struct xn_pending *pending;
	int rc = -ENOENT;

	if (!domain) {
		xn_op_done(op, rc);
		return;
	}
	if (memory <= 0 && vcpus <= 0 && shadow <= 0 && !params && !trigger) { /* only rows */
		xn_op_done(op, 0);
		return;
	}
	pending = xn_pending_new(vmo, NULL, 0);
	if (memory > 0)
		rc = backend->ops->set_memory(backend, domain->domid, (uint64_t)memory,
					      xn_pending_done, pending);
	else if (vcpus > 0)
		rc = backend->ops->set_vcpus(backend, domain->domid, (unsigned)vcpus,
					     xn_pending_done, pending);
	else if (shadow > 0)
		rc = backend->ops->set_shadow ? backend->ops->set_shadow(backend, domain->domid,
									 (uint64_t)shadow,
									 xn_pending_done, pending)
					      : -EOPNOTSUPP;
	else if (params)
		rc = backend->ops->set_vcpu_params(backend, domain->domid, params, xn_pending_done,
						   pending);
	else if (trigger)
		rc = backend->ops->trigger(backend, domain->domid, trigger, xn_pending_done,
					   pending);
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void note_values(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);

	if (!vm)
		return;
	if (xn_map_get(op->args, "memory")) {
		xn_db_set_int(vmo->d->db, vm, XN_VM_memory_target,
			      xn_map_get_int(op->args, "memory", 0));
		xn_memory_told(vmo->d, vm, xn_map_get_int(op->args, "memory", 0));
		xn_memory_release(vmo);
	}
	if (xn_map_get(op->args, "multiplier")) {
		xn_db_set(vmo->d->db, vm, XN_VM_HVM_shadow_multiplier,
			  xn_value_ref(xn_map_get(op->args, "multiplier")));
		xn_db_set_int(vmo->d->db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
		xn_memory_release(vmo);
	}
	if (xn_map_get(op->args, "vcpu_params"))
		xn_db_map_put(vmo->d->db, vm, XN_VM_VCPUs_params,
			      xn_map_key_at(xn_map_get(op->args, "vcpu_params"), 0),
			      xn_value_string(xn_map_at(xn_map_get(op->args, "vcpu_params"), 0)));
	if (xn_map_get(op->args, "vcpus")) /* for the next boot, too */
		xn_db_set_int(vmo->d->db, vm, XN_VM_VCPUs_at_startup,
			      xn_map_get_int(op->args, "vcpus", 0));
	if (xn_map_get(op->args, "dynamic_min")) {
		xn_db_set_int(vmo->d->db, vm, XN_VM_memory_dynamic_min,
			      xn_map_get_int(op->args, "dynamic_min", 0));
		xn_db_set_int(vmo->d->db, vm, XN_VM_memory_dynamic_max,
			      xn_map_get_int(op->args, "dynamic_max", 0));
	}
	xn_op_done(op, 0);
}

static void run_live(struct xn_call *call, struct xn_row *vm, struct xn_value *args_taken)
{
	struct xn_domains *d = call->state;

	xn_operation_run(call, xn_vm_op_new(d, &xn_vm_live_kind, vm, args_taken), NULL);
}

static void run_live_int(struct xn_call *call, struct xn_row *vm, const char *key, int64_t value)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, key, xn_int(value));
	run_live(call, vm, args);
}

static void run_range(struct xn_call *call, struct xn_row *vm, int64_t target, int64_t min,
		      int64_t max)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "memory", xn_int(target));
	xn_map_put(&args, "dynamic_min", xn_int(min));
	xn_map_put(&args, "dynamic_max", xn_int(max));
	run_live(call, vm, args);
}

/* Halted: only rows. Running: the balloon moves to the nearest point of the new range. */
void xn_vm_set_memory_dynamic(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct limits l;
	int64_t target;

	if (!vm) {
		xn_call_fail(call, &err);
		return;
	}
	if (!xn_vm_is(vm, "Running")) {
		xn_vm_set_memory(call);
		return;
	}
	l = wanted_limits(call, vm);
	if (check_limits(vm, &l, &err) < 0) {
		xn_call_fail(call, &err);
		return;
	}
	target = xn_row_int(vm, XN_VM_memory_target);
	target = target < l.dynamic_min ? l.dynamic_min : target;
	target = target > l.dynamic_max ? l.dynamic_max : target;
	run_range(call, vm, target, l.dynamic_min, l.dynamic_max);
}

static bool begin(struct xn_call *call, struct xn_row **vm_out)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};

	*vm_out = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	if (!*vm_out)
		xn_call_fail(call, &err);
	return *vm_out != NULL;
}

static void fail_invalid(struct xn_call *call, const char *name, int64_t value)
{
	struct xn_error err = {0};
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	xn_error_set(&err, XN_ERR_INVALID_VALUE, name, text);
	xn_call_fail(call, &err);
}

/* The range becomes that point: else it would be left again as soon as memory comes or goes. */
void xn_vm_set_memory_target_live(struct xn_call *call)
{
	int64_t target = xn_value_int(call->args[1]);
	struct xn_row *vm;

	if (!begin(call, &vm))
		return;
	if (target < xn_row_int(vm, XN_VM_memory_static_min) ||
	    target > xn_row_int(vm, XN_VM_memory_static_max))
		fail_invalid(call, "target", target);
	else
		run_range(call, vm, target, target, target);
}

/* ---- waiting for a balloon ---- */

enum { BALLOON_LOOK_US = 100 * 1000, BALLOON_WAIT_MS = 256 * 1000 };

static void await_balloon(struct xn_op *op);

static const struct xn_step balloon_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"wait for the guest's balloon", await_balloon, NULL, BALLOON_WAIT_MS + 10000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_balloon_kind, "VM.wait_memory_target_live", balloon_steps, XN_RESTART_RESUME)

static void on_balloon_look(struct xn_timer *timer)
{
	struct xn_vm_op *vmo = xn_container_of(timer, struct xn_vm_op, timer);
	int64_t waited_us = xn_now_us(vmo->d->core->loop) - vmo->op.step_started_us;
	struct xn_error err = {0};
	bool gave_up;

	if (!xn_op_find(vmo->d->core, &vmo->at))
		return;
	if (!xn_vm_op_domain(vmo)) {
		xn_op_done(&vmo->op, -ENOENT);
	} else if (xn_memory_is_reached(vmo->d, vmo->uuid, &gave_up)) {
		xn_op_done(&vmo->op, 0);
	} else if (waited_us >= BALLOON_WAIT_MS * INT64_C(1000)) {
		xn_error_set(&err, XN_ERR_VM_MEMORY_TARGET_WAIT_TIMEOUT, vmo->op.task);
		xn_op_fail(&vmo->op, &err);
	} else {
		if (gave_up && !strstr(vmo->op.waiting_for, "does not"))
			xn_op_waiting(&vmo->op, "the guest, which does not move its balloon");
		xn_timer_arm(vmo->d->core->loop, timer, BALLOON_LOOK_US, on_balloon_look);
	}
}

static void await_balloon(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	vmo->at = xn_op_token(op);
	xn_op_waiting(op, "the guest to reach its memory target");
	on_balloon_look(&vmo->timer);
}

void xn_vm_wait_memory_target_live(struct xn_call *call)
{
	xn_vm_run(call, &xn_vm_balloon_kind, NULL, NULL);
}

/* A PV guest makes its own page tables: for it only the row changes. */
void xn_vm_set_shadow_multiplier_live(struct xn_call *call)
{
	double multiplier = xn_value_float(call->args[1]);
	int64_t now, wanted;
	struct xn_value *args;
	struct xn_row *vm;

	if (!begin(call, &vm))
		return;
	if (!(multiplier >= 1.0 && multiplier < 1000.0)) {
		fail_invalid(call, "multiplier", (int64_t)multiplier);
		return;
	}
	args = xn_map_new();
	xn_map_put(&args, "multiplier", xn_value_ref(call->args[1]));
	if (strcmp(xn_vm_type(vm), "pv") != 0) {
		now = xn_vm_shadow_memory(vm);
		wanted = xn_vm_shadow_memory_at(vm, multiplier);
		xn_map_put(&args, "shadow", xn_int(wanted));
		if (wanted > now)
			xn_map_put(&args, "more_shadow", xn_int(wanted - now));
	}
	run_live(call, vm, args);
}

void xn_vm_set_VCPUs_number_live(struct xn_call *call)
{
	int64_t n = xn_value_int(call->args[1]);
	struct xn_row *vm;

	if (!begin(call, &vm))
		return;
	if (n < 1 || n > xn_row_int(vm, XN_VM_VCPUs_max))
		fail_invalid(call, "nvcpu", n);
	else
		run_live_int(call, vm, "vcpus", n);
}

static bool is_number_within(const char *text, long least, long most)
{
	char *end;
	long n = strtol(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && n >= least && n <= most;
}

static bool is_vcpu_param(const struct xn_row *vm, const char *key, const char *value)
{
	if (strcmp(key, "weight") == 0)
		return is_number_within(value, 1, 65535);
	if (strcmp(key, "cap") == 0)
		return is_number_within(value, 0, 100 * (long)xn_row_int(vm, XN_VM_VCPUs_max));
	return strcmp(key, "mask") == 0 && *value &&
	       strspn(value, "0123456789,;-") == strlen(value);
}

/* Unlike the other add_to_ calls it takes the place of an old value: that is what it is for. */
void xn_vm_add_to_VCPUs_params_live(struct xn_call *call)
{
	const char *key = xn_call_string(call, 1), *value = xn_call_string(call, 2);
	struct xn_value *args, *params;
	struct xn_error err = {0};
	struct xn_row *vm;

	if (!begin(call, &vm))
		return;
	if (!is_vcpu_param(vm, key, value)) {
		xn_error_set(&err, XN_ERR_INVALID_VALUE, key, value);
		xn_call_fail(call, &err);
		return;
	}
	params = xn_map_new();
	xn_map_put_string(&params, key, value);
	args = xn_map_new();
	xn_map_put(&args, "vcpu_params", params);
	run_live(call, vm, args);
}

static void run_trigger(struct xn_call *call, struct xn_value *trigger_taken)
{
	struct xn_value *args;
	struct xn_row *vm;

	if (!begin(call, &vm)) {
		xn_value_unref(trigger_taken);
		return;
	}
	args = xn_map_new();
	xn_map_put(&args, "trigger", trigger_taken);
	run_live(call, vm, args);
}

static void fail_value(struct xn_call *call, const char *name)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_INVALID_VALUE, name, xn_call_string(call, 1));
	xn_call_fail(call, &err);
}

void xn_vm_send_trigger(struct xn_call *call)
{
	static const char *const known[] = {"nmi", "reset", "init", "power", "sleep", "s3resume"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(known); i++)
		if (strcmp(known[i], xn_call_string(call, 1)) == 0) {
			run_trigger(call, xn_value_ref(call->args[1]));
			return;
		}
	fail_value(call, "trigger");
}

void xn_vm_send_sysrq(struct xn_call *call)
{
	const char *key = xn_call_string(call, 1);

	if (strlen(key) == 1 && isalnum((unsigned char)*key))
		run_trigger(call, xn_stringf("sysrq:%s", key));
	else
		fail_value(call, "key");
}
