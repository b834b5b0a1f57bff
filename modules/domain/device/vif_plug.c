/* Hot plug and unplug of network interfaces: VIF.plug, VIF.unplug, VIF.unplug_force, VIF.move. */
#include <errno.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static void plug(struct xn_op *op);
static void unplug(struct xn_op *op);
static void unplug_undo(struct xn_op *op);
static void look_at_vif(struct xn_op *op);
static void unplug_for_move(struct xn_op *op);
static void plug_after_move(struct xn_op *op);
static void change_network(struct xn_op *op);
static void change_network_back(struct xn_op *op);

static const struct xn_step plug_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"plug the interface", plug, unplug_undo, 60000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step unplug_steps[] = {
	{"find the domain", xn_step_find_domain, xn_step_sync, 10000},
	{"unplug the interface", unplug, NULL, 120000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
static const struct xn_step move_steps[] = {
	{"look at the interface", look_at_vif, xn_step_sync, 10000},
	{"unplug from the old network", unplug_for_move, plug_after_move, 120000},
	{"change the network", change_network, change_network_back, 1000},
	{"plug into the new network", plug_after_move, unplug_undo, 60000},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vif_plug_kind, "VIF.plug", plug_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vif_unplug_kind, "VIF.unplug", unplug_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vif_move_kind, "VIF.move", move_steps, XN_RESTART_RESUME)

static bool nic_of(struct xn_vm_op *vmo, struct xn_vm_nic *nic)
{
	struct xn_error err = {0};
	struct xn_row *vif = xn_db_need(vmo->d->db, XN_CLASS_VIF, vmo->device, &err);

	if (vif && xn_vm_nic_of(vmo->d, vif, nic, &err) == 0)
		return true;
	xn_op_fail(&vmo->op, &err);
	return false;
}

static void plug_in_turn(struct xn_vm_op *vmo, struct xn_pending *pending)
{
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_nic_config config;
	struct xn_vm_nic nic;
	int rc;

	if (!nic_of(vmo, &nic)) {
		xn_pending_free(pending);
		return;
	}
	config = (struct xn_nic_config){.devid = nic.devid,
					.mac = nic.mac,
					.bridge = nic.bridge,
					.mtu = nic.mtu,
					.rate_kbps = nic.rate_kbps};
	if (domain)
		xn_vif_tell_address_if_set(vmo->d, nic.vif, domain->domid);
	rc = domain ? backend->ops->plug_nic(backend, domain->domid, &config, xn_pending_done,
					     pending)
		    : -ENOENT;
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void plug(struct xn_op *op)
{
	xn_pending_plug(xn_pending_new(xn_vm_op_of(op), NULL, 0), plug_in_turn);
}

static void unplug_with(struct xn_vm_op *vmo, bool force)
{
	struct xn_backend *backend = vmo->d->backend;
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	struct xn_vm_nic nic;
	int rc;

	if (!domain) {
		xn_op_done(&vmo->op, 0);
		return;
	}
	if (!nic_of(vmo, &nic))
		return;
	xn_op_waiting(&vmo->op, "the guest to let the interface go");
	pending = xn_pending_new(vmo, NULL, 0);
	rc = backend->ops->unplug_nic(backend, domain->domid, nic.devid, force, xn_pending_done,
				      pending);
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void unplug(struct xn_op *op)
{
	unplug_with(xn_vm_op_of(op), xn_map_get_bool(op->args, "force", false));
}

static void unplug_undo(struct xn_op *op)
{
	unplug_with(xn_vm_op_of(op), true);
}

/* ---- move; args "attached", "network", "old" ---- */

static void look_at_vif(struct xn_op *op)
{
	struct xn_vm_nic nic;

	if (nic_of(xn_vm_op_of(op), &nic))
		xn_op_done(op, 0);
}

static void unplug_for_move(struct xn_op *op)
{
	if (xn_map_get_bool(op->args, "attached", false))
		unplug_with(xn_vm_op_of(op), true);
	else
		xn_op_done(op, 0);
}

static void plug_after_move(struct xn_op *op)
{
	if (xn_map_get_bool(op->args, "attached", false) && xn_vm_op_domain(xn_vm_op_of(op)))
		plug(op);
	else
		xn_op_done(op, 0);
}

static void set_network(struct xn_op *op, const char *key)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vif = xn_db_get(vmo->d->db, XN_CLASS_VIF, vmo->device);

	if (vif)
		xn_db_set_string(vmo->d->db, vif, XN_VIF_network, xn_map_get_string(op->args, key));
	xn_op_done(op, 0);
}

static void change_network(struct xn_op *op)
{
	set_network(op, "network");
}

static void change_network_back(struct xn_op *op)
{
	set_network(op, "old");
}

/* ---- the calls ---- */

void xn_vif_plug(struct xn_call *call)
{
	xn_device_run(call, &xn_vif_plug_kind, "plug", xn_map_new());
}

void xn_vif_unplug(struct xn_call *call)
{
	xn_device_run(call, &xn_vif_unplug_kind, "unplug", xn_map_new());
}

void xn_vif_unplug_force(struct xn_call *call)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "force", xn_bool(true));
	xn_device_run(call, &xn_vif_unplug_kind, "unplug", args);
}

int xn_vif_move_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;

	if (!xn_db_need(d->db, XN_CLASS_VIF, xn_call_string(call, 0), err) ||
	    !xn_db_need(d->db, XN_CLASS_network, xn_call_string(call, 1), err))
		return -1;
	return 0;
}

/* `attach` is what a VIF always allows when nothing else runs on it. */
void xn_vif_move(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	const struct xn_row *vif = xn_db_get(d->db, XN_CLASS_VIF, xn_call_string(call, 0));
	struct xn_value *args = xn_map_new();

	if (vif) {
		xn_map_put(&args, "attached", xn_bool(xn_row_bool(vif, XN_VIF_currently_attached)));
		xn_map_put_string(&args, "old", xn_row_string(vif, XN_VIF_network));
	}
	xn_map_put(&args, "network", xn_value_ref(call->args[1]));
	xn_device_run(call, &xn_vif_move_kind, "attach", args);
}
