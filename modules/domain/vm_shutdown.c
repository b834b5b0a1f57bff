/*
 * The ways down: VM.clean_shutdown (ask the guest and wait), VM.hard_shutdown (no questions),
 * VM.shutdown (ask, then force). A guest that shuts down by itself ends in the hard one, see
 * guest_shutdown.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static void drop_suspend_image(struct xn_op *op);
static void check_reset(struct xn_op *op);

static const struct xn_step shutdown_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"ask the guest", xn_step_ask_guest, xn_step_sync, 90000},
	{"wait for the guest", xn_step_await_guest, NULL, 1260000, 5},
	{"destroy domain", xn_step_destroy, NULL, 120000, 3, XN_STEP_NO_CANCEL},
	{"release disks", xn_step_deactivate, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"shutdown delay", xn_step_shutdown_delay, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

static const struct xn_step hard_shutdown_steps[] = {
	{"stop the VM's other operations", xn_step_stop_others, xn_step_sync, 180000},
	{"keep a core dump", xn_step_core_dump, NULL, XN_CORE_DUMP_MS},
	{"destroy domain", xn_step_destroy, NULL, 120000, 3, XN_STEP_NO_CANCEL},
	{"release disks", xn_step_deactivate, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"delete suspend image", drop_suspend_image, NULL, 120000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"shutdown delay", xn_step_shutdown_delay, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_shutdown_kind, "VM.clean_shutdown", shutdown_steps, XN_RESTART_RESUME)
static const struct xn_step reset_steps[] = {
	{"check that there is no domain", check_reset, NULL, 1000},
	{"delete suspend image", drop_suspend_image, NULL, 120000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_reset_kind, "VM.power_state_reset", reset_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vm_hard_shutdown_kind, "VM.hard_shutdown", hard_shutdown_steps, XN_RESTART_RESUME)

struct dropping {
	struct xn_domains *d;
	char vm[37]; /* UUID */
	struct xn_pending *pending;
};

/* May be late: then nobody else looks at the VM again. */
static void on_image_gone(const struct xn_error *err, void *arg)
{
	struct dropping *dropping = arg;

	xn_updates_touch(dropping->d->updates, "VM", dropping->vm);
	xn_pending_storage_done(err, dropping->pending);
	free(dropping);
}

void xn_vm_drop_image(struct xn_vm_op *vmo, const struct xn_row *vdi)
{
	struct dropping *dropping = xn_calloc(1, sizeof(*dropping));

	dropping->d = vmo->d;
	dropping->pending = xn_pending_new(vmo, NULL, 0);
	memcpy(dropping->vm, vmo->uuid, sizeof(dropping->vm));
	xn_storage_destroy_vdi(vmo->d->storage, xn_row_ref(vdi), on_image_gone, dropping);
}

/* A suspended VM is an image: without it there is nothing left to resume. The row forgets it with
 * the disk, so that what was interrupted finds it again. */
static void drop_suspend_image(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	struct xn_row *vdi = vm ? xn_row_follow(vmo->d->db, vm, XN_VM_suspend_VDI) : NULL;

	if (!vm)
		return;
	if (!vdi) {
		xn_db_set_string(vmo->d->db, vm, XN_VM_suspend_VDI, XN_NULL_REF);
		xn_op_done(op, 0);
		return;
	}
	xn_vm_drop_image(vmo, vdi);
}

/* ---- VM.power_state_reset: whatever the rows say, it is down ---- */

static void check_reset(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_error err = {0};
	char domid[16];

	if (!vm)
		return;
	if (xn_row_bool(vm, XN_VM_is_control_domain)) {
		xn_error_set(&err, XN_ERR_CANNOT_RESET_CONTROL_DOMAIN, vmo->vm);
		xn_op_fail(op, &err);
	} else if (domain) {
		snprintf(domid, sizeof(domid), "%u", domain->domid);
		xn_error_set(&err, XN_ERR_DOMAIN_EXISTS, vmo->vm, domid);
		xn_op_fail(op, &err);
	} else {
		xn_op_done(op, 0);
	}
}

/* Holds nothing: it is for VMs that cannot be reached in any other way. */
void xn_vm_power_state_reset(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_run_spec spec = {0};
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);

	if (vm)
		xn_operation_run_spec(call, xn_vm_op_new(d, &xn_vm_reset_kind, vm, NULL), &spec);
	else
		xn_call_fail(call, &err);
}

/* ---- the calls ---- */

/* A suspended or paused guest cannot be asked. */
static const struct xn_op_kind *kind_for(const struct xn_row *vm, const char *operation,
					 struct xn_value **args_out)
{
	int64_t delay_s = vm ? xn_row_int(vm, XN_VM_shutdown_delay) : 0;

	*args_out = NULL;
	if (strcmp(operation, "clean_shutdown") == 0)
		return &xn_vm_shutdown_kind;
	if (strcmp(operation, "hard_shutdown") == 0 || (vm && !xn_vm_is(vm, "Running")))
		return &xn_vm_hard_shutdown_kind;
	*args_out = xn_map_new();
	xn_map_put(args_out, "force_after", xn_bool(true));
	if (delay_s > 0)
		xn_map_put(args_out, "timeout_s", xn_int(delay_s));
	return &xn_vm_shutdown_kind;
}

static void run_no_more(struct xn_domains *d, struct xn_row *vm)
{
	if (vm && xn_row_bool(vm, XN_VM_ha_always_run))
		xn_db_set_bool(d->db, vm, XN_VM_ha_always_run, false);
}

struct xn_op *xn_vm_shutdown_op(struct xn_domains *d, struct xn_row *vm, struct xn_run_spec *spec)
{
	struct xn_value *args;
	const struct xn_op_kind *kind = kind_for(vm, spec->operation, &args);

	run_no_more(d, vm);
	spec->ended = xn_vm_ended;
	return xn_vm_op_new(d, kind, vm, args);
}

static void run(struct xn_call *call, const char *operation)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = xn_db_get(d->db, XN_CLASS_VM, xn_call_string(call, 0));
	struct xn_value *args;
	const struct xn_op_kind *kind = kind_for(vm, operation, &args);

	run_no_more(d, vm);
	xn_vm_run(call, kind, args, NULL);
}

void xn_vm_clean_shutdown(struct xn_call *call)
{
	run(call, "clean_shutdown");
}

void xn_vm_hard_shutdown(struct xn_call *call)
{
	run(call, "hard_shutdown");
}

void xn_vm_shutdown(struct xn_call *call)
{
	run(call, "shutdown");
}
