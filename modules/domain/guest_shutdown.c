/*
 * A guest that shut down, rebooted or crashed by itself: what its VM's actions_after_* say is done
 * by the same operations that a client would start.
 */
#include "modules/domain/domain_internal.h"

enum {
	QUICK_S = 120, /* a boot that lasted less was a bad one */
	QUICK_DELAY_MS = 15000,
};

enum action { DESTROY, RESTART, PRESERVE };

/* Core dumps need a back end that can make them; until then only the second half is done. */
static const struct {
	const char *name;
	enum action action;
} actions[] = {
	{"destroy", DESTROY},        {"coredump_and_destroy", DESTROY}, {"restart", RESTART},
	{"rename_restart", RESTART}, {"coredump_and_restart", RESTART}, {"soft_reboot", RESTART},
	{"preserve", PRESERVE},
};

static enum action action_named(const char *name)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].action;
	return DESTROY;
}

static int field_for(enum xn_domain_shutdown code)
{
	switch (code) {
	case XN_SHUTDOWN_REBOOT:
	case XN_SHUTDOWN_WATCHDOG:
		return XN_VM_actions_after_reboot;
	case XN_SHUTDOWN_CRASH:
		return XN_VM_actions_after_crash;
	case XN_SHUTDOWN_SOFT_RESET:
		return XN_VM_actions_after_softreboot;
	default:
		return XN_VM_actions_after_shutdown;
	}
}

static bool was_quick(struct xn_domains *d, const struct xn_row *vm)
{
	const struct xn_row *metrics = xn_row_follow(d->db, vm, XN_VM_metrics);
	int64_t started = metrics ? xn_value_int(xn_row_get(metrics, XN_VM_metrics_start_time)) : 0;

	return xn_wall_s(d->core->loop) - started < QUICK_S;
}

static void restart(struct xn_domains *d, struct xn_row *vm, bool quick)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = "hard_reboot",
		.also = xn_vm_also_devices,
		.ended = xn_vm_rebooted,
	};
	struct xn_value *args = xn_map_new();

	if (quick)
		xn_map_put(&args, "delay_ms", xn_int(QUICK_DELAY_MS));
	xn_operation_run_internal(xn_vm_op_new(d, &xn_vm_hard_reboot_kind, vm, args), &spec);
}

static void shut_down(struct xn_domains *d, struct xn_row *vm)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = "hard_shutdown",
		.ended = xn_vm_shut_down,
	};

	xn_operation_run_internal(xn_vm_op_new(d, &xn_vm_hard_shutdown_kind, vm, NULL), &spec);
}

static void on_went_on(int rc, void *arg)
{
}

/* It obeyed a save that was given up meanwhile, maybe by a daemon that died: nobody waits for its
 * memory. Until it goes on it is looked at again with each reconcile. */
static void let_go_on(struct xn_domains *d, const struct xn_domain_info *info)
{
	int rc = d->backend->ops->resume(d->backend, info->domid, on_went_on, NULL);

	if (rc < 0)
		xn_log_warn(d->core->log, "domain", "domain %u is suspended and cannot go on: %s",
			    info->domid, strerror(-rc));
}

void xn_guest_shutdown(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info)
{
	enum action action = action_named(xn_row_string(vm, field_for(info->shutdown_code)));
	bool crashed = info->shutdown_code == XN_SHUTDOWN_CRASH;

	if (info->shutdown_code == XN_SHUTDOWN_SUSPEND) {
		let_go_on(d, info);
		return;
	}
	xn_log_info(d->core->log, "domain", "domain %u of VM %s ended by itself, code %d",
		    info->domid, xn_row_uuid(vm), info->shutdown_code);
	if (crashed && xn_vm_is(vm, "Running"))
		xn_vm_message(d, vm, "VM_CRASHED", "crashed");
	if (action == PRESERVE) {
		/* It stays to be looked at, until somebody shuts it down. */
		if (xn_db_set_string(d->db, vm, XN_VM_power_state, "Paused"))
			xn_operation_refresh_all(d->ops, vm);
	} else if (action == RESTART && !(crashed && was_quick(d, vm))) {
		restart(d, vm, was_quick(d, vm));
	} else {
		shut_down(d, vm);
	}
}
