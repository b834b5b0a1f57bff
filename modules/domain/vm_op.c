/*
 * The operation object that all life cycle and device operations share, and calls to the back end
 * on its behalf: their completions may come when the step that asked is long over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* ---- the object ---- */

static void copy_ref(char *out, size_t size, const struct xn_value *args, const char *key)
{
	const char *text = xn_map_get_string(args, key);

	snprintf(out, size, "%s", text ? text : "");
}

struct xn_op *xn_vm_op_make(struct xn_core *core, const struct xn_op_kind *kind,
			    const struct xn_value *args)
{
	struct xn_vm_op *vmo = xn_calloc(1, sizeof(*vmo));

	xn_op_init(&vmo->op, kind, core, args);
	vmo->d = xn_domains_of(core);
	copy_ref(vmo->vm, sizeof(vmo->vm), args, "vm");
	copy_ref(vmo->uuid, sizeof(vmo->uuid), args, "uuid");
	copy_ref(vmo->device, sizeof(vmo->device), args, "device");
	xn_list_init(&vmo->solo);
	xn_list_init(&vmo->still);
	xn_list_init(&vmo->memory.reserving);
	xn_list_init(&vmo->memory.wanting);
	return &vmo->op;
}

struct xn_op *xn_vm_op_new(struct xn_domains *d, const struct xn_op_kind *kind,
			   const struct xn_row *vm, struct xn_value *extra)
{
	struct xn_value *args = extra ? extra : xn_map_new();
	struct xn_op *op;

	xn_map_put_string(&args, "vm", xn_row_ref(vm));
	xn_map_put_string(&args, "uuid", xn_row_uuid(vm));
	op = kind->make(d->core, args);
	xn_value_unref(args);
	return op;
}

struct xn_value *xn_vm_flag(const char *name, bool value)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, name, xn_bool(value));
	return args;
}

void xn_vm_run(struct xn_call *call, const struct xn_op_kind *kind, struct xn_value *args,
	       void (*also)(struct xn_op *op, struct xn_run *run))
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_call_string(call, 0),
		.operation = call->method->operation,
		.also = also,
		.ended = xn_vm_ended,
	};

	if (vm) {
		xn_operation_run_spec(call, xn_vm_op_new(d, kind, vm, args), &spec);
	} else {
		xn_value_unref(args);
		xn_call_fail(call, &err);
	}
}

void xn_device_run(struct xn_call *call, const struct xn_op_kind *kind, const char *operation,
		   struct xn_value *args)
{
	struct xn_domains *d = call->state;
	int class_id = call->method->params[0].type->class_id;
	int vm_field = class_id == XN_CLASS_VBD ? XN_VBD_VM : XN_VIF_VM;
	struct xn_error err = {0};
	struct xn_row *device = xn_db_need(d->db, class_id, xn_call_string(call, 0), &err);
	struct xn_row *vm =
		device ? xn_db_need(d->db, XN_CLASS_VM, xn_row_string(device, vm_field), &err)
		       : NULL;
	struct xn_run_spec spec = {
		.class_id = class_id,
		.ref = xn_call_string(call, 0),
		.operation = operation,
	};

	if (vm) {
		xn_map_put_string(&args, "device", xn_row_ref(device));
		xn_operation_run_spec(call, xn_vm_op_new(d, kind, vm, args), &spec);
	} else {
		xn_value_unref(args);
		xn_call_fail(call, &err);
	}
}

void xn_vm_op_free(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	xn_updates_barrier_cancel(&vmo->barrier);
	if (vmo->creating)
		xn_creating_forget(vmo);
	xn_vm_forget_makings(vmo);
	xn_image_close(vmo);
	xn_db_wait_cancel(&vmo->durable);
	xn_vm_wait_end(vmo);
	xn_list_remove(&vmo->solo);
	xn_list_remove(&vmo->still);
	if (!vmo->d->stopped && vmo->holds)
		xn_vm_unhold(vmo->d, vmo->uuid);
	if (!vmo->d->stopped && op->error.code) /* whatever could not be undone shows */
		xn_updates_touch(vmo->d->updates, "VM", vmo->uuid);
	xn_memory_release(vmo);
	xn_vm_plan_clear(&vmo->plan);
	xn_error_clear(&vmo->soft);
	free(vmo);
}

struct xn_row *xn_vm_op_row(struct xn_vm_op *vmo)
{
	struct xn_error err = {0};
	struct xn_row *row = xn_db_need(vmo->d->db, XN_CLASS_VM, vmo->vm, &err);

	if (!row)
		xn_op_fail(&vmo->op, &err);
	return row;
}

const struct xn_domain_info *xn_vm_op_domain(struct xn_vm_op *vmo)
{
	return vmo->d->backend->ops->find(vmo->d->backend, vmo->uuid);
}

/* ---- calls to the back end ---- */

struct xn_pending {
	struct xn_list link; /* in the domains' list */
	struct xn_core *core;
	void *owned;
	struct xn_op_token token;
	struct xn_group *group; /* NULL: the whole step */
	unsigned index;
	struct xn_pass pass; /* of the gate for plugs */
	void (*begin)(struct xn_vm_op *vmo, struct xn_pending *pending);
};

struct xn_pending *xn_pending_new(struct xn_vm_op *vmo, struct xn_group *group, unsigned index)
{
	struct xn_pending *pending = xn_calloc(1, sizeof(*pending));

	*pending = (struct xn_pending){.core = vmo->op.core,
				       .token = xn_op_token(&vmo->op),
				       .group = group,
				       .index = index};
	xn_list_push(&vmo->d->pendings, &pending->link);
	return pending;
}

void xn_pending_own(struct xn_pending *pending, void *taken)
{
	free(pending->owned);
	pending->owned = taken;
}

void xn_pending_free(struct xn_pending *pending)
{
	xn_list_remove(&pending->link);
	xn_gate_leave(&pending->pass);
	free(pending->owned);
	free(pending);
}

void xn_pendings_stop(struct xn_domains *d)
{
	xn_list_each_safe(node, &d->pendings)
		xn_pending_free(xn_list_entry(node, struct xn_pending, link));
}

unsigned xn_pending_index(const struct xn_pending *pending)
{
	return pending->index;
}

struct xn_vm_op *xn_pending_op(const struct xn_pending *pending)
{
	struct xn_op *op = xn_op_find(pending->core, &pending->token);

	return op ? xn_vm_op_of(op) : NULL;
}

/* Somebody else took it since it was looked for or reserved. */
static void no_memory(struct xn_vm_op *vmo, struct xn_error *err)
{
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	int64_t all = vm ? xn_row_int(vm, XN_VM_memory_target) + xn_vm_memory_overhead(vm) : 0;

	xn_no_memory(err, xn_map_get_int(vmo->op.args, "memory", all),
		     xn_domains_available_memory(vmo->d));
}

static void no_boot_file(struct xn_vm_op *vmo, const char *name, int field, struct xn_error *err)
{
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	xn_error_set(err, XN_ERR_INVALID_VALUE, name, vm ? xn_row_string(vm, field) : "");
}

/* What a back end's -errno means to a client who asked for this operation. */
static void backend_error(struct xn_vm_op *vmo, int rc, struct xn_error *err)
{
	const char *doing = vmo->op.kind->steps[vmo->op.step].name;
	bool vif = vmo->device[0] && xn_db_get(vmo->d->db, XN_CLASS_VIF, vmo->device);

	if (rc == -EBUSY && vmo->device[0])
		xn_error_set(err, XN_ERR_DEVICE_DETACH_REJECTED, vif ? "VIF" : "VBD", vmo->device,
			     "the guest does not let it go");
	else if (rc == -ETIMEDOUT && vmo->device[0])
		xn_error_set(err, XN_ERR_DEVICE_DETACH_TIMEOUT, vif ? "VIF" : "VBD", vmo->device);
	else if (rc == -ENOEXEC)
		xn_error_set(err, XN_ERR_BOOTLOADER_FAILED, vmo->vm,
			     "what should boot is no kernel");
	else if (rc == -ENOMEM)
		no_memory(vmo, err);
	else if (rc == -EPERM)
		no_boot_file(vmo, "PV_kernel", XN_VM_PV_kernel, err);
	else if (rc == -EACCES)
		no_boot_file(vmo, "PV_ramdisk", XN_VM_PV_ramdisk, err);
	else
		xn_error_from_errno(err, rc, doing);
}

/* Takes what @err holds. */
static void finish(struct xn_pending *pending, struct xn_error *err)
{
	struct xn_vm_op *vmo = xn_pending_op(pending);

	/* A group waits for all its members, also when its step is over. */
	if (pending->group)
		xn_group_done(pending->group, pending->index, xn_error_is_set(err) ? err : NULL);
	else if (vmo && xn_error_is_set(err))
		xn_op_fail(&vmo->op, err);
	else if (vmo)
		xn_op_done(&vmo->op, 0);
	xn_error_clear(err);
	xn_pending_free(pending);
}

static void on_turn(struct xn_pass *pass)
{
	struct xn_pending *pending = xn_container_of(pass, struct xn_pending, pass);
	struct xn_vm_op *vmo = xn_pending_op(pending);
	struct xn_error none = {0};

	if (!vmo) {
		finish(pending, &none);
		return;
	}
	xn_op_has_turn(&vmo->op);
	pending->begin(vmo, pending);
}

void xn_pending_plug(struct xn_pending *pending,
		     void (*begin)(struct xn_vm_op *vmo, struct xn_pending *pending))
{
	struct xn_vm_op *vmo = xn_pending_op(pending);
	struct xn_gate *gate = vmo->d->plugs;

	pending->begin = begin;
	if (!xn_gate_ask(gate, &pending->pass, vmo->op.caller, xn_hash_string(vmo->uuid), on_turn))
		xn_op_waits_turn(&vmo->op, gate, "plugs");
}

void xn_pending_done(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);
	struct xn_error err = {0};

	if (vmo && rc < 0)
		backend_error(vmo, rc, &err);
	finish(pending, &err);
}

void xn_pending_failed(struct xn_pending *pending, int rc)
{
	xn_pending_done(rc, pending);
}

void xn_pending_storage_done(const struct xn_error *err, void *arg)
{
	struct xn_error copy = {0};

	if (err)
		xn_error_copy(&copy, err);
	finish(arg, &copy);
}
