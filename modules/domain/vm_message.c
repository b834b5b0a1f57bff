/*
 * Messages about what became of a VM (VM_STARTED ...): which ends of operations are told, and how
 * it is said.
 */
#include <string.h>

#include "modules/domain/domain_internal.h"
#include "modules/message/message.h"

enum { PRIORITY = 5, PRIORITY_CRASH = 2 };

static const struct {
	const struct xn_op_kind *kind;
	const char *how; /* the operation's argument of that name; NULL: any */
	const char *name, *did;
} told[] = {
	{&xn_vm_start_kind, NULL, "VM_STARTED", "started"},
	{&xn_vm_shutdown_kind, NULL, "VM_SHUTDOWN", "shut down"},
	{&xn_vm_hard_shutdown_kind, NULL, "VM_SHUTDOWN", "shut down"},
	{&xn_vm_reboot_kind, NULL, "VM_REBOOTED", "rebooted"},
	{&xn_vm_hard_reboot_kind, NULL, "VM_REBOOTED", "rebooted"},
	{&xn_vm_pause_kind, NULL, "VM_PAUSED", "paused"},
	{&xn_vm_unpause_kind, NULL, "VM_UNPAUSED", "unpaused"},
	{&xn_vm_suspend_kind, NULL, "VM_SUSPENDED", "suspended"},
	{&xn_vm_resume_kind, NULL, "VM_RESUMED", "resumed"},
	{&xn_vm_revert_kind, NULL, "VM_SNAPSHOT_REVERTED", "reverted to a snapshot"},
	{&xn_vm_clone_kind, "snapshot", "VM_SNAPSHOTTED", "snapshotted"},
	{&xn_vm_clone_kind, "checkpoint", "VM_CHECKPOINTED", "checkpointed"},
	{&xn_vm_clone_kind, "csvm", "VM_CLONED", "cloned"},
};

static void tell(struct xn_domains *d, const struct xn_row *vm, const char *name, const char *did,
		 int priority)
{
	const struct xn_row *host = xn_domains_host(d);
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	char ref[48];

	xn_buf_printf(&body, "VM '%s' (uuid: %s) %s on host: %s (uuid: %s)",
		      xn_row_string(vm, XN_VM_name_label), xn_row_uuid(vm), did,
		      host ? xn_row_string(host, XN_host_name_label) : "",
		      host ? xn_row_uuid(host) : "");
	xn_message_create(xn_messages_of(d->core), name, priority, "VM", xn_row_uuid(vm),
			  xn_buf_cstr(&body), ref);
}

void xn_vm_ended(struct xn_op *op, const struct xn_error *err, void *arg)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	const char *how = xn_map_get_string(op->args, "how");

	for (size_t i = 0; !err && vm && i < XN_ARRAY_SIZE(told); i++)
		if (told[i].kind == op->kind &&
		    (!told[i].how || (how && strcmp(told[i].how, how) == 0)))
			tell(vmo->d, vm, told[i].name, told[i].did, PRIORITY);
}

void xn_vm_crashed(struct xn_domains *d, const struct xn_row *vm)
{
	tell(d, vm, "VM_CRASHED", "crashed", PRIORITY_CRASH);
}
