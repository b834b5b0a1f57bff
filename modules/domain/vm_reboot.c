/*
 * VM.clean_reboot and VM.hard_reboot: the domain goes and a new one comes; the rows are held
 * meanwhile, so that clients see Running and then a new domid. Also what a guest that reboots
 * itself ends in.
 */
#include "modules/domain/domain_internal.h"

static void wait_before_boot(struct xn_op *op);

/* clang-format off */
#define BOOT_STEPS                                                                     \
	{"hold rows", xn_step_hold, xn_step_hold_undo, 60000},                         \
	{"keep its memory", xn_step_keep_memory, xn_step_reserve_undo, 1000},          \
	{"destroy old domain", xn_step_destroy, NULL, 120000, 3},                      \
	{"release disks", xn_step_deactivate, NULL, 60000},                            \
	{"wait before the next boot", wait_before_boot, NULL, 60000},                  \
	{"reserve memory", xn_step_reserve, xn_step_reserve_undo, XN_MEMORY_WAIT_MS},  \
	{"activate disks", xn_step_activate, xn_step_deactivate, 60000},               \
	{"create domain", xn_step_create, xn_step_destroy, 120000, 10},                \
	{"plug writable disks", xn_step_plug_writable, NULL, 60000},                   \
	{"plug read-only disks", xn_step_plug_read_only, NULL, 60000},                 \
	{"plug network interfaces", xn_step_plug_nics, NULL, 60000},                   \
	{"unpause", xn_step_unpause, NULL, 30000},                                     \
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},   \
	{NULL, NULL, NULL, 0},

static const struct xn_step reboot_steps[] = {
	{"ask the guest", xn_step_ask_guest, xn_step_sync, 90000},
	{"wait for the guest", xn_step_await_guest, NULL, 1260000, 5},
	BOOT_STEPS
};

static const struct xn_step hard_reboot_steps[] = {
	{"stop the VM's other operations", xn_step_stop_others, xn_step_sync, 180000},
	{"keep a core dump", xn_step_core_dump, NULL, XN_CORE_DUMP_MS},
	BOOT_STEPS
};
/* clang-format on */

XN_VM_OP_KIND(xn_vm_reboot_kind, "VM.clean_reboot", reboot_steps, XN_RESTART_RESUME)
XN_VM_OP_KIND(xn_vm_hard_reboot_kind, "VM.hard_reboot", hard_reboot_steps, XN_RESTART_RESUME)

static void on_waited(struct xn_timer *timer)
{
	struct xn_vm_op *vmo = xn_container_of(timer, struct xn_vm_op, timer);

	if (xn_op_find(vmo->d->core, &vmo->at))
		xn_op_done(&vmo->op, 0);
}

/* A guest that reboots again and again must not keep the host busy with it. */
static void wait_before_boot(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	int64_t delay_ms = xn_map_get_int(op->args, "delay_ms", 0);

	if (delay_ms <= 0) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "some seconds to pass: the guest restarts too often");
	vmo->at = xn_op_token(op);
	xn_timer_arm(vmo->d->core->loop, &vmo->timer, delay_ms * 1000, on_waited);
}

static void run(struct xn_call *call, const struct xn_op_kind *kind)
{
	xn_vm_run(call, kind, xn_vm_flag("reboot", true), xn_vm_also_devices);
}

void xn_vm_clean_reboot(struct xn_call *call)
{
	run(call, &xn_vm_reboot_kind);
}

void xn_vm_hard_reboot(struct xn_call *call)
{
	run(call, &xn_vm_hard_reboot_kind);
}
