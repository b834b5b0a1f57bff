/*
 * A guest that shut down, rebooted or crashed by itself: what its VM's actions_after_* say is done
 * by the same operations that a client would start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "modules/domain/domain_internal.h"

enum {
	QUICK_S = 120, /* a boot that lasted less was a bad one */
	QUICK_DELAY_MS = 15000,
};

enum effect { DESTROY, RESTART, PRESERVE };

struct action {
	const char *name;
	enum effect effect;
	bool core_dump; /* before */
};
static const struct action actions[] = {
	{"destroy", DESTROY, false},        {"coredump_and_destroy", DESTROY, true},
	{"restart", RESTART, false},        {"rename_restart", RESTART, false},
	{"coredump_and_restart", RESTART, true}, {"soft_reboot", RESTART, false},
	{"preserve", PRESERVE, false},
};

static const struct action *action_named(const char *name)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return &actions[0];
}

/* ---- the step that keeps what the memory held ---- */

/* core-dumps/UUID.core in the state folder, the latest of each VM; -1: there is nowhere to put it. */
static int open_dump(struct xn_domains *d, const char *uuid)
{
	struct xn_config *config = d->core->config;
	char *folder, *path;
	int fd = -1;

	if (!config || (xn_loop_is_virtual(d->core->loop) && !xn_config_is_set(config, "state-dir")))
		return -1;
	folder = xn_asprintf("%s/core-dumps", xn_config_string(config, "state-dir"));
	path = xn_asprintf("%s/%s.core", folder, uuid);
	if (mkdir(folder, 0700) == 0 || errno == EEXIST)
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		xn_log_warn(d->core->log, "domain", "cannot open %s: %s", path, strerror(errno));
	free(path);
	free(folder);
	return fd;
}

/* It is for whoever wants to know why; that it failed keeps no VM down. */
static void on_dumped(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);

	if (vmo && rc < 0)
		xn_log_warn(vmo->d->core->log, "domain", "no core dump of VM %s: %s", vmo->uuid,
			    strerror(-rc));
	xn_pending_done(0, pending);
}

void xn_step_core_dump(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_backend *backend = vmo->d->backend;
	struct xn_pending *pending;
	int fd, rc;

	if (!xn_map_get_bool(op->args, "core_dump", false) || !domain) {
		xn_op_done(op, 0);
		return;
	}
	fd = open_dump(vmo->d, vmo->uuid);
	if (fd < 0) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "the domain's memory to be written");
	pending = xn_pending_new(vmo, NULL, 0);
	rc = backend->ops->core_dump(backend, domain->domid, fd, on_dumped, pending);
	if (rc < 0)
		on_dumped(rc, pending);
}

/* ---- what is done ---- */

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

static struct xn_value *args_of(const struct action *action, bool quick)
{
	struct xn_value *args = xn_map_new();

	if (action->core_dump)
		xn_map_put(&args, "core_dump", xn_bool(true));
	if (quick)
		xn_map_put(&args, "delay_ms", xn_int(QUICK_DELAY_MS));
	return args;
}

static void restart(struct xn_domains *d, struct xn_row *vm, const struct action *action,
		    bool quick)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = "hard_reboot",
		.also = xn_vm_also_devices,
		.ended = xn_vm_ended,
	};

	xn_operation_run_internal(
		xn_vm_op_new(d, &xn_vm_hard_reboot_kind, vm, args_of(action, quick)), &spec);
}

static void shut_down(struct xn_domains *d, struct xn_row *vm, const struct action *action)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = "hard_shutdown",
		.ended = xn_vm_ended,
	};

	xn_operation_run_internal(
		xn_vm_op_new(d, &xn_vm_hard_shutdown_kind, vm, args_of(action, false)), &spec);
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
	const struct action *action =
		action_named(xn_row_string(vm, field_for(info->shutdown_code)));
	bool crashed = info->shutdown_code == XN_SHUTDOWN_CRASH;

	if (info->shutdown_code == XN_SHUTDOWN_SUSPEND) {
		let_go_on(d, info);
		return;
	}
	if (action->effect == PRESERVE && xn_vm_is(vm, "Paused"))
		return; /* it is kept already */
	xn_log_info(d->core->log, "domain", "domain %u of VM %s ended by itself, code %d",
		    info->domid, xn_row_uuid(vm), info->shutdown_code);
	if (crashed && xn_vm_is(vm, "Running"))
		xn_vm_crashed(d, vm);
	if (action->effect == PRESERVE) {
		/* It stays to be looked at, until somebody shuts it down. */
		if (xn_db_set_string(d->db, vm, XN_VM_power_state, "Paused"))
			xn_operation_refresh_all(d->ops, vm);
	} else if (action->effect == RESTART && !(crashed && was_quick(d, vm))) {
		restart(d, vm, action, was_quick(d, vm));
	} else {
		shut_down(d, vm, action);
	}
}
