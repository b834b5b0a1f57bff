/* VM.pause and VM.unpause. */
#include <errno.h>

#include "modules/domain/domain_internal.h"

static void pause_domain(struct xn_op *op);

static const struct xn_step pause_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"pause", pause_domain, xn_step_unpause, 10000},
	{"see it in the database", xn_step_sync, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step unpause_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"unpause", xn_step_unpause, NULL, 10000},
	{"see it in the database", xn_step_sync, NULL, 10000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_MAKE(make_pause, xn_vm_pause_kind)
XN_VM_OP_MAKE(make_unpause, xn_vm_unpause_kind)

const struct xn_op_kind xn_vm_pause_kind = {
	.name = "VM.pause",
	.version = 1,
	.steps = pause_steps,
	.on_restart = XN_RESTART_RESUME,
	.make = make_pause,
	.free = xn_vm_op_free,
};
const struct xn_op_kind xn_vm_unpause_kind = {
	.name = "VM.unpause",
	.version = 1,
	.steps = unpause_steps,
	.on_restart = XN_RESTART_RESUME,
	.make = make_unpause,
	.free = xn_vm_op_free,
};

static void pause_domain(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending = xn_pending_new(vmo, NULL, 0);
	int rc = domain ? backend->ops->pause(backend, domain->domid, xn_pending_done, pending)
			: -ENOENT;

	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void paused(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	bool pauses = op->kind == &xn_vm_pause_kind;

	if (!err && vm)
		xn_vm_message(vmo->d, vm, pauses ? "VM_PAUSED" : "VM_UNPAUSED",
			      pauses ? "paused" : "unpaused");
}

static void run(struct xn_call *call, const struct xn_op_kind *kind)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_call_string(call, 0),
		.operation = call->method->operation,
		.ended = paused,
	};

	if (!vm)
		xn_call_fail(call, &err);
	else
		xn_operation_run_spec(call, xn_vm_op_new(d, kind, vm, NULL), &spec);
}

void xn_vm_pause(struct xn_call *call)
{
	run(call, &xn_vm_pause_kind);
}

void xn_vm_unpause(struct xn_call *call)
{
	run(call, &xn_vm_unpause_kind);
}
