/*
 * Domains that a dead daemon left half made: paused, never run, and their VM's row has never heard of
 * them, because rows are held back while a domain is built. Usually the operation that built one comes
 * back from the journal and goes on, or undoes it. If none does, nobody will ever unpause it, and there
 * is nothing in it to lose: it is destroyed. Meanwhile the row stays as it was.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static const struct xn_step leftover_steps[] = {
	{"destroy domain", xn_step_destroy, NULL, 120000, 3, XN_STEP_NO_CANCEL},
	{"release disks", xn_step_deactivate, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{"see it in the database", xn_step_sync, NULL, 60000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};
XN_VM_OP_KIND(xn_vm_leftover_kind, "VM.leftover", leftover_steps, XN_RESTART_RESUME)

struct leftover {
	struct xn_list link;
	char uuid[37];
};

static bool is_half_made(const struct xn_row *vm, const struct xn_domain_info *info)
{
	return info->paused && !info->shut_down && !info->dying && info->cpu_ns == 0 &&
	       xn_row_int(vm, XN_VM_domid) != info->domid;
}

void xn_leftovers_look(struct xn_domains *d, const struct xn_row *vm)
{
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, xn_row_uuid(vm));
	struct leftover *leftover;

	if (!info || !is_half_made(vm, info))
		return;
	leftover = xn_calloc(1, sizeof(*leftover));
	memcpy(leftover->uuid, info->uuid, sizeof(leftover->uuid));
	xn_list_push(&d->leftovers, &leftover->link);
	xn_vm_hold(d, leftover->uuid);
}

static void clean_up(struct xn_domains *d, struct leftover *leftover)
{
	struct xn_run_spec spec = {0}; /* it takes no operation: the row knows of nothing */
	struct xn_row *vm = xn_db_by_uuid(d->db, XN_CLASS_VM, leftover->uuid);
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, leftover->uuid);

	if (vm && info && is_half_made(vm, info) &&
	    xn_operation_is_alone(d->ops, xn_row_ref(vm), NULL)) {
		xn_log_warn(d->core->log, "domain",
			    "domain %u of VM %s was never finished, and nobody goes on with it: "
			    "destroyed",
			    info->domid, leftover->uuid);
		xn_operation_run_internal(xn_vm_op_new(d, &xn_vm_leftover_kind, vm, NULL), &spec);
	}
	xn_vm_unhold(d, leftover->uuid);
}

/* The journal's operations are back. */
static void on_clean_up(struct xn_job *job)
{
	struct xn_domains *d = xn_container_of(job, struct xn_domains, leftovers_job);

	while (!xn_list_empty(&d->leftovers)) {
		struct leftover *leftover =
			xn_list_entry(xn_list_pop(&d->leftovers), struct leftover, link);

		clean_up(d, leftover);
		free(leftover);
	}
}

static void on_daemon_ready(const struct xn_ev_daemon_ready *ev, void *arg)
{
	struct xn_domains *d = arg;

	/* Who goes on may be done before the clean-up has its turn, and the row not brought up to
	 * date: a VM that was started paused. */
	xn_list_each_safe(link, &d->leftovers) {
		struct leftover *leftover = xn_list_entry(link, struct leftover, link);
		struct xn_row *vm = xn_db_by_uuid(d->db, XN_CLASS_VM, leftover->uuid);

		if (!vm || xn_operation_is_alone(d->ops, xn_row_ref(vm), NULL))
			continue;
		xn_list_remove(link);
		xn_vm_unhold(d, leftover->uuid);
		free(leftover);
	}
	xn_loop_defer(d->core->loop, &d->leftovers_job, XN_PRIO_EVENT, on_clean_up);
}

void xn_leftovers_init(struct xn_domains *d)
{
	xn_list_init(&d->leftovers);
	d->leftovers_on_ready =
		xn_subscribe_daemon_ready(d->core->bus, "domain", on_daemon_ready, d);
}

void xn_leftovers_stop(struct xn_domains *d)
{
	xn_bus_unsubscribe(d->leftovers_on_ready);
	xn_job_cancel(&d->leftovers_job);
	while (!xn_list_empty(&d->leftovers))
		free(xn_list_entry(xn_list_pop(&d->leftovers), struct leftover, link));
}
