/*
 * vm-uninstall and its like: tells all that would be destroyed, asks once, and destroys it: the VMs
 * with their snapshots, the disks that are theirs alone to have (owner), suspended memory. What is
 * planned is kept in the run's own memory: rows go while it works.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/commands/vm.h"

static const char owner[] = "owner"; /* a key of VBD.other_config: the disk goes with the VM */

struct doomed {
	int class_id;
	bool may_fail; /* suspended memory: the VM's end may have taken it along */
	char ref[48];
};

struct plan {
	bool is_made, is_told, is_agreed;
	struct doomed *items; /* each VM, then its disks */
	size_t n, next;
};

static void clear_plan(void *state)
{
	free(((struct plan *)state)->items);
}

static bool is_planned(const struct plan *plan, const char *ref)
{
	for (size_t i = 0; i < plan->n; i++)
		if (strcmp(plan->items[i].ref, ref) == 0)
			return true;
	return false;
}

/* A disk that several VMs have; all else is met once, and is not looked for among thousands. */
static bool may_be_twice(const struct xn_row *row)
{
	return xn_row_class(row) == XN_CLASS_VDI && xn_set_len(xn_row_get(row, XN_VDI_VBDs)) > 1;
}

static void add(struct plan *plan, const struct xn_row *row, bool may_fail)
{
	struct doomed *d;

	if (!row || (may_be_twice(row) && is_planned(plan, xn_row_ref(row))))
		return;
	if ((plan->n & (plan->n - 1)) == 0)
		plan->items =
			xn_realloc(plan->items, sizeof(*plan->items) * (plan->n ? plan->n * 2 : 1));
	d = &plan->items[plan->n++];
	*d = (struct doomed){.class_id = xn_row_class(row), .may_fail = may_fail};
	snprintf(d->ref, sizeof(d->ref), "%s", xn_row_ref(row));
}

static void add_vm(struct xe *x, struct plan *plan, const struct xn_row *vm)
{
	struct xn_row **vbds;
	size_t n;

	if (!vm)
		return;
	add(plan, vm, false);
	vbds = xe_vbds(x, xn_row_ref(vm), &n);
	for (size_t i = 0; i < n; i++)
		if (xn_row_map_string(vbds[i], XN_VBD_other_config, owner))
			add(plan, xn_row_follow(xe_db(x), vbds[i], XN_VBD_VDI), false);
	free(vbds);
	add(plan, xn_row_follow(xe_db(x), vm, XN_VM_suspend_VDI), true);
}

static void add_snapshots(struct xe *x, struct plan *plan, const struct xn_row *vm)
{
	size_t n;
	struct xn_row **rows = xe_rows(x, XN_CLASS_VM, xn_row_get(vm, XN_VM_snapshots), &n);

	for (size_t i = 0; i < n; i++)
		add_vm(x, plan, rows[i]);
	free(rows);
}

static void tell(struct xe *x, const struct plan *plan)
{
	xe_say_line(x, "The following items are about to be destroyed");
	for (size_t i = 0; i < plan->n; i++) {
		const struct doomed *d = &plan->items[i];
		const struct xn_row *row = xe_row(x, d->class_id, d->ref);
		bool is_vm = d->class_id == XN_CLASS_VM;

		xe_say_line(
			x, xe_text(x, is_vm ? "VM : %s (%s)" : "VDI: %s (%s) %s", xn_row_uuid(row),
				   xn_row_string(row, is_vm ? XN_VM_name_label : XN_VDI_name_label),
				   !is_vm && xn_set_len(xn_row_get(row, XN_VDI_VBDs)) > 1
					   ? " ** WARNING: disk is shared by other VMs"
					   : ""));
	}
}

/* Who may not destroy a VM is told before one is shut down for it. */
static bool is_allowed(struct xe *x, const struct plan *plan)
{
	const struct xn_caller *caller = xe_caller(x);

	return caller->is_superuser || caller->role <= xn_method_find("VM.destroy")->min_role ||
	       xe_call(x, NULL, "VM.destroy", "s", plan->items[0].ref);
}

static bool agree(struct xe *x, struct plan *plan)
{
	bool force;

	if (plan->is_agreed)
		return true;
	if (!xe_param_bool(x, "force", false, &force) || !plan->n || !is_allowed(x, plan))
		return false;
	if (!plan->is_told) { /* once: the rows may be gone when the answer is there */
		plan->is_told = true;
		tell(x, plan);
		return xe_yield(x);
	}
	if (!force && !xe_confirm(x))
		return false;
	plan->is_agreed = true;
	return xe_yield(x);
}

static bool destroy_vm(struct xe *x, const char *ref)
{
	const struct xn_value *power_state;

	if (!xe_call(x, &power_state, "VM.get_power_state", "s", ref))
		return false;
	if (strcmp(xn_value_string(power_state), "Halted") != 0 &&
	    !xe_call(x, NULL, "VM.hard_shutdown", "s", ref))
		return false;
	return xe_call(x, NULL, "VM.destroy", "s", ref);
}

static bool destroy(struct xe *x, const struct doomed *d)
{
	const struct xn_error *err;

	if (d->class_id == XN_CLASS_VM)
		return destroy_vm(x, d->ref);
	if (d->may_fail)
		return xe_try(x, NULL, &err, "VDI.destroy", "s", d->ref);
	return xe_call(x, NULL, "VDI.destroy", "s", d->ref);
}

/* One after the other, a round each. */
static void carry_out(struct xe *x, struct plan *plan)
{
	if (!agree(x, plan))
		return;
	if (plan->next < plan->n) {
		if (!destroy(x, &plan->items[plan->next]))
			return;
		plan->next++;
		if (!xe_yield(x))
			return;
	}
	xe_say_line(x, "All objects destroyed");
}

XE_COMMAND(vm_uninstall)
{
	struct plan *plan = xe_state(x, sizeof(*plan), clear_plan);

	if (!plan->is_made) {
		for (unsigned i = 0; i < xe_n_objects(x); i++)
			add_vm(x, plan, xe_row(x, XN_CLASS_VM, xe_object_at(x, i)));
		for (size_t i = 0, n = plan->n; i < n; i++) /* after all of the VMs' own */
			if (plan->items[i].class_id == XN_CLASS_VM)
				add_snapshots(x, plan, xe_row(x, XN_CLASS_VM, plan->items[i].ref));
		plan->is_made = true;
	}
	carry_out(x, plan);
}

/* One that is named by its uuid, without its snapshots. */
static void uninstall_one(struct xe *x, bool (*find)(struct xe *x, const char **ref_out))
{
	struct plan *plan = xe_state(x, sizeof(*plan), clear_plan);
	const char *ref;

	if (!plan->is_made) {
		if (!find(x, &ref))
			return;
		add_vm(x, plan, xe_row(x, XN_CLASS_VM, ref));
		plan->is_made = true;
		if (!xe_yield(x)) /* begins a round behind what was found */
			return;
	}
	carry_out(x, plan);
}

XE_COMMAND(snapshot_uninstall)
{
	uninstall_one(x, xe_snapshot);
}

XE_COMMAND(template_uninstall)
{
	uninstall_one(x, xe_template);
}

/* ---- without the disks ---- */

XE_COMMAND(snapshot_destroy)
{
	const char *ref;

	if (!xe_snapshot(x, &ref) || !destroy_vm(x, ref))
		return;
}

XE_COMMAND(vm_destroy)
{
	const char *ref;
	const struct xn_row *vm;
	struct xn_error err = {0};

	if (!xe_by_uuid(x, XN_CLASS_VM, xe_param(x, "uuid"), &ref))
		return;
	vm = xe_row(x, XN_CLASS_VM, ref);
	if (vm && xn_row_bool(vm, XN_VM_is_control_domain)) {
		xn_error_set(&err, XN_ERR_OPERATION_NOT_ALLOWED,
			     "A control domain is not destroyed by the command line");
		xe_fail_api(x, &err);
	} else if (!xe_call(x, NULL, "VM.destroy", "s", ref)) {
		return;
	}
}
