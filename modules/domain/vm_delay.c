/*
 * VM.start_delay and VM.shutdown_delay: the last step of a start and of each kind of shutdown waits
 * that long, so that whoever starts one VM after the other (an appliance, a script) gives the first
 * one time. What is waited for is over, so the VM is not held meanwhile: others may use it.
 */
#include "modules/domain/domain_internal.h"

enum { TICK_US = 1000 * 1000 };

/* Wall clock, kept in the journal: a restart of the daemon does not begin anew. */
#define ARG_UNTIL "delay_until"

static void on_tick(struct xn_timer *timer);

static void wait_on(struct xn_vm_op *vmo, int64_t left_us)
{
	xn_timer_arm(vmo->d->core->loop, &vmo->timer, left_us < TICK_US ? left_us : TICK_US,
		     on_tick);
}

static void on_tick(struct xn_timer *timer)
{
	struct xn_vm_op *vmo = xn_container_of(timer, struct xn_vm_op, timer);
	int64_t left_us = xn_map_get_int(vmo->op.args, ARG_UNTIL, 0) * 1000000 -
			  xn_wall_us(vmo->d->core->loop);
	bool starts = vmo->op.kind == &xn_vm_start_kind;

	if (!xn_op_find(vmo->d->core, &vmo->at))
		return;
	/* A cancel ends the wait: what it would undo is over. So does the end of what was started.
	 */
	if (left_us <= 0 || vmo->op.cancelled || (starts && !xn_vm_op_domain(vmo))) {
		xn_op_done(&vmo->op, 0);
		return;
	}
	xn_op_progress(&vmo->op, 0);
	wait_on(vmo, left_us);
}

static void begin_wait(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	xn_operation_let_go(op);
	vmo->at = xn_op_token(op);
	on_tick(&vmo->timer);
}

static void wait_for(struct xn_op *op, const char *field_name, int64_t seconds)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (seconds <= 0) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "the VM's %s of %lld s to pass", field_name, (long long)seconds);
	if (xn_map_get(op->args, ARG_UNTIL)) {
		begin_wait(op);
		return;
	}
	xn_op_set_arg(op, ARG_UNTIL, xn_int(xn_wall_s(vmo->d->core->loop) + seconds));
	xn_op_save(op, begin_wait);
}

static int64_t delay_of(struct xn_op *op, int field)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	return vm ? xn_row_int(vm, field) : 0;
}

void xn_step_start_delay(struct xn_op *op)
{
	wait_for(op, "start_delay", delay_of(op, XN_VM_start_delay));
}

void xn_step_shutdown_delay(struct xn_op *op)
{
	wait_for(op, "shutdown_delay", delay_of(op, XN_VM_shutdown_delay));
}
