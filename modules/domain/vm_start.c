/*
 * VM.start and VM.start_on: from the call to a domain that runs and rows that say so. The table
 * below is the plan; its steps are in vm_steps.c.
 */
#include "modules/domain/domain_internal.h"

static const struct xn_step start_steps[] = {
	/* name, run, undo, timeout in ms, weight, flags */
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},
	{"reserve memory", xn_step_reserve, xn_step_reserve_undo, XN_MEMORY_WAIT_MS},
	{"activate disks", xn_step_activate, xn_step_deactivate, 60000},
	{"create domain", xn_step_create, xn_step_destroy, 120000, 10},
	{"plug writable disks", xn_step_plug_writable, NULL, 60000},
	{"plug read-only disks", xn_step_plug_read_only, NULL, 60000},
	{"plug network interfaces", xn_step_plug_nics, NULL, 60000},
	{"unpause", xn_step_unpause, NULL, 30000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"start delay", xn_step_start_delay, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_start_kind, "VM.start", start_steps, XN_RESTART_RESUME)

/* The VM's devices are held with it: nobody plugs, moves or copies them while the domain is built.
 */
void xn_vm_also_devices(struct xn_op *op, struct xn_run *run)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	const struct xn_value *refs;

	if (!vm)
		return;
	refs = xn_row_get(vm, XN_VM_VBDs);
	for (size_t i = 0; i < xn_set_len(refs); i++)
		xn_run_also_take(run, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)), "attach");
	refs = xn_row_get(vm, XN_VM_VIFs);
	for (size_t i = 0; i < xn_set_len(refs); i++)
		xn_run_also_take(run, XN_CLASS_VIF, xn_value_string(xn_set_at(refs, i)), "attach");
}

struct xn_op *xn_vm_start_op(struct xn_domains *d, const struct xn_row *vm, bool paused,
			     struct xn_run_spec *spec)
{
	spec->also = xn_vm_also_devices;
	spec->ended = xn_vm_ended;
	return xn_vm_op_new(d, &xn_vm_start_kind, vm, xn_vm_flag("paused", paused));
}

static void start(struct xn_call *call, bool paused)
{
	xn_vm_run(call, &xn_vm_start_kind, xn_vm_flag("paused", paused), xn_vm_also_devices);
}

void xn_vm_start(struct xn_call *call)
{
	start(call, xn_value_bool(call->args[1]));
}

void xn_vm_start_on(struct xn_call *call)
{
	start(call, xn_value_bool(call->args[2]));
}

static int check_start(struct xn_call *call, const struct xn_row *host, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm;

	if (!call->dry_run)
		return 0;
	vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), err);
	if (!vm || xn_check_operation(call, err) < 0)
		return -1;
	return xn_vm_check_boot(d, vm, host, true, err);
}

int xn_vm_start_check(struct xn_call *call, struct xn_error *err)
{
	return check_start(call, xn_domains_host(call->state), err);
}

int xn_vm_start_on_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *host = xn_db_need(d->db, XN_CLASS_host, xn_call_string(call, 1), err);

	if (!host)
		return -1;
	return check_start(call, host, err);
}
