/* VM.pause and VM.unpause. */
#include <errno.h>

#include "modules/domain/domain_internal.h"

static const struct xn_step pause_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"pause", xn_step_pause, xn_step_unpause, 30000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step unpause_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"unpause", xn_step_unpause, NULL, 30000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_pause_kind, "VM.pause", pause_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vm_unpause_kind, "VM.unpause", unpause_steps, XN_RESTART_RESUME)

void xn_step_pause(struct xn_op *op)
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

void xn_vm_pause(struct xn_call *call)
{
	xn_vm_run(call, &xn_vm_pause_kind, NULL, NULL);
}

void xn_vm_unpause(struct xn_call *call)
{
	xn_vm_run(call, &xn_vm_unpause_kind, NULL, NULL);
}
