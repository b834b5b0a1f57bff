/*
 * The calls of class VM: the table of handlers, and those handlers that only look. What starts an
 * operation is in the file of that operation; setters are in vm_setters.c and vm_memory.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum { MAX_VBD_POSITION = 254, MAX_VIF_POSITION = 15 };

static struct xn_row *vm_or_fail(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);

	if (!vm)
		xn_call_fail(call, &err);
	return vm;
}

static void answer(struct xn_call *call, int rc, struct xn_error *err)
{
	if (rc < 0)
		xn_call_fail(call, err);
	else
		xn_call_reply_void(call);
}

/* ---- devices ---- */

static struct xn_value *free_positions(struct xn_db *db, const struct xn_value *refs, int class_id,
				       int field, int (*position_of)(const char *name), int max)
{
	struct xn_value *free_ones = xn_set_new();
	bool *used = xn_calloc((size_t)max + 1, sizeof(*used));

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *row = xn_db_get(db, class_id, xn_value_string(xn_set_at(refs, i)));
		int position = row ? position_of(xn_row_string(row, field)) : -1;

		if (position >= 0 && position <= max)
			used[position] = true;
	}
	for (int i = 0; i <= max; i++)
		if (!used[i])
			xn_set_append(&free_ones, xn_stringf("%d", i));
	free(used);
	return free_ones;
}

static void get_allowed_VBD_devices(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);

	if (vm)
		xn_call_reply(call, free_positions(d->db, xn_row_get(vm, XN_VM_VBDs), XN_CLASS_VBD,
						   XN_VBD_userdevice, xn_disk_position,
						   MAX_VBD_POSITION));
}

static void get_allowed_VIF_devices(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);

	if (vm)
		xn_call_reply(call,
			      free_positions(d->db, xn_row_get(vm, XN_VM_VIFs), XN_CLASS_VIF,
					     XN_VIF_device, xn_nic_position, MAX_VIF_POSITION));
}

/* ---- where it can run ---- */

static void get_possible_hosts(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);
	struct xn_value *hosts;

	if (!vm)
		return;
	hosts = xn_set_new();
	for (struct xn_row *host = xn_db_first(d->db, XN_CLASS_host); host;
	     host = xn_db_next(d->db, host))
		if (xn_vm_check_boot(d, vm, host, true, NULL) == 0)
			xn_set_append_string(&hosts, xn_row_ref(host));
	xn_call_reply(call, hosts);
}

static void assert_can_boot_here(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_row *host =
		vm ? xn_db_need(d->db, XN_CLASS_host, xn_call_string(call, 1), &err) : NULL;

	answer(call, host ? xn_vm_check_boot(d, vm, host, true, &err) : -1, &err);
}

/* Agile: nothing that only this host has. */
static int check_agile(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;
		struct xn_row *sr = vdi ? xn_row_follow(d->db, vdi, XN_VDI_SR) : NULL;

		if (sr && !xn_row_bool(sr, XN_SR_shared))
			return xn_error_set(err, XN_ERR_HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED,
					    xn_row_ref(sr));
	}
	return 0;
}

static void assert_agile(struct xn_call *call)
{
	struct xn_error err = {0};
	struct xn_row *vm = vm_or_fail(call);

	if (vm)
		answer(call, check_agile(call->state, vm, &err), &err);
}

/* ---- operations ---- */

static void assert_operation_valid(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};

	answer(call,
	       xn_operation_check(d->ops, XN_CLASS_VM, xn_call_string(call, 0),
				  xn_call_string(call, 1), &err),
	       &err);
}

static void update_allowed_operations(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);

	if (!vm)
		return;
	xn_operation_refresh_all(d->ops, vm);
	xn_call_reply_void(call);
}

static void get_boot_record(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = vm_or_fail(call);

	if (!vm)
		return;
	if (xn_operation_check(d->ops, XN_CLASS_VM, xn_row_ref(vm), "get_boot_record", &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply(call, xn_row_record(vm));
}

static void query_services(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};

	if (xn_operation_check(d->ops, XN_CLASS_VM, xn_call_string(call, 0), "query_services",
			       &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply(call, xn_map_new());
}

/* ---- memory ---- */

static void compute_memory_overhead(struct xn_call *call)
{
	struct xn_row *vm = vm_or_fail(call);

	if (vm)
		xn_call_reply(call, xn_int(xn_vm_memory_overhead(vm)));
}

/* The most memory that fits into @total together with what it costs beside. */
static int64_t most_memory(const struct xn_row *vm, int64_t total)
{
	int64_t least = 0, most = total > 0 ? total : 0;

	while (least < most) {
		int64_t middle = most - (most - least) / 2;

		if (xn_vm_memory_overhead_at(vm, middle) <= total - middle)
			least = middle;
		else
			most = middle - 1;
	}
	return least;
}

static void maximise_memory(struct xn_call *call)
{
	struct xn_row *vm = vm_or_fail(call);

	if (vm)
		xn_call_reply(call, xn_int(most_memory(vm, xn_value_int(call->args[1]))));
}

static void retrieve_wlb_recommendations(struct xn_call *call)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_WLB_NOT_INITIALIZED);
	xn_call_fail(call, &err);
}

/* Plugins are programs in the guest's or the control domain that this server has none of. */
static int refuse_plugin(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_XENAPI_MISSING_PLUGIN, xn_call_string(call, 1));
}

static void call_plugin(struct xn_call *call)
{
	xn_operation_run_short(call, NULL, refuse_plugin);
}

/* From the program that keeps a guest's UEFI variables: allowed whatever the VM does. */
static void set_NVRAM_EFI_variables(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);

	if (!vm)
		return;
	xn_db_map_put(d->db, vm, XN_VM_NVRAM, "EFI-variables", xn_call_string(call, 1));
	xn_call_reply_void(call);
}

static void update_snapshot_metadata(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = vm_or_fail(call);
	const char *of = xn_call_string(call, 1);
	struct xn_error err = {0};

	if (!vm)
		return;
	if (*of && strcmp(of, XN_NULL_REF) != 0 && !xn_db_need(d->db, XN_CLASS_VM, of, &err)) {
		xn_call_fail(call, &err);
		return;
	}
	xn_db_set_bool(d->db, vm, XN_VM_is_a_snapshot, true);
	xn_db_set_string(d->db, vm, XN_VM_snapshot_of, *of ? of : XN_NULL_REF);
	xn_db_set(d->db, vm, XN_VM_snapshot_time, xn_value_ref(call->args[2]));
	xn_db_set(d->db, vm, XN_VM_transportable_snapshot_id, xn_value_ref(call->args[3]));
	xn_operation_refresh_all(d->ops, vm);
	xn_call_reply_void(call);
}

const struct xn_method_impl xn_vm_methods[] = {
	{"VM.call_plugin", call_plugin, xn_check_operation, false},
	{"VM.call_host_plugin", call_plugin, xn_check_operation, false},
	{"VM.set_NVRAM_EFI_variables", set_NVRAM_EFI_variables, NULL, false},
	{"VM.update_snapshot_metadata", update_snapshot_metadata, NULL, false},
	{"VM.create", xn_vm_create, xn_vm_create_check, true},
	{"VM.destroy", xn_vm_destroy, xn_check_operation, false},
	{"VM.clone", xn_vm_clone, xn_check_operation, true},
	{"VM.copy", xn_vm_copy, xn_vm_copy_check, true},
	{"VM.snapshot", xn_vm_snapshot, xn_check_operation, true},
	{"VM.checkpoint", xn_vm_checkpoint, xn_check_operation, true},
	{"VM.revert", xn_vm_revert, xn_check_operation, false},
	{"VM.csvm", xn_vm_csvm, xn_check_operation, true},
	{"VM.provision", xn_vm_provision, xn_vm_provision_check, false},
	{"VM.start", xn_vm_start, xn_vm_start_check, false},
	{"VM.start_on", xn_vm_start_on, xn_vm_start_on_check, false},
	{"VM.pause", xn_vm_pause, xn_check_operation, false},
	{"VM.unpause", xn_vm_unpause, xn_check_operation, false},
	{"VM.suspend", xn_vm_suspend, xn_check_operation, false},
	{"VM.resume", xn_vm_resume, xn_vm_start_check, false},
	{"VM.resume_on", xn_vm_resume_on, xn_vm_start_on_check, false},
	{"VM.clean_shutdown", xn_vm_clean_shutdown, xn_check_operation, false},
	{"VM.hard_shutdown", xn_vm_hard_shutdown, xn_check_operation, false},
	{"VM.shutdown", xn_vm_shutdown, xn_check_operation, false},
	{"VM.clean_reboot", xn_vm_clean_reboot, xn_check_operation, false},
	{"VM.hard_reboot", xn_vm_hard_reboot, xn_check_operation, false},
	{"VM.power_state_reset", xn_vm_power_state_reset, xn_check_operation, false},
	{"VM.set_memory", xn_vm_set_memory, xn_check_operation, false},
	{"VM.set_memory_limits", xn_vm_set_memory, xn_check_operation, false},
	{"VM.set_memory_static_min", xn_vm_set_memory, xn_check_operation, false},
	{"VM.set_memory_static_max", xn_vm_set_memory, xn_check_operation, false},
	{"VM.set_memory_static_range", xn_vm_set_memory, xn_check_operation, false},
	{"VM.set_memory_dynamic_min", xn_vm_set_memory_dynamic, xn_check_operation, false},
	{"VM.set_memory_dynamic_max", xn_vm_set_memory_dynamic, xn_check_operation, false},
	{"VM.set_memory_dynamic_range", xn_vm_set_memory_dynamic, xn_check_operation, false},
	{"VM.set_memory_target_live", xn_vm_set_memory_target_live, xn_check_operation, false},
	{"VM.wait_memory_target_live", xn_vm_wait_memory_target_live, xn_check_operation, false},
	{"VM.set_shadow_multiplier_live", xn_vm_set_shadow_multiplier_live, xn_check_operation,
	 false},
	{"VM.add_to_VCPUs_params_live", xn_vm_add_to_VCPUs_params_live, xn_check_operation, false},
	{"VM.set_VCPUs_number_live", xn_vm_set_VCPUs_number_live, xn_check_operation, false},
	{"VM.send_trigger", xn_vm_send_trigger, xn_check_operation, false},
	{"VM.send_sysrq", xn_vm_send_sysrq, xn_check_operation, false},
	{"VM.compute_memory_overhead", compute_memory_overhead, NULL, false},
	{"VM.maximise_memory", maximise_memory, NULL, false},
	{"VM.get_allowed_VBD_devices", get_allowed_VBD_devices, NULL, false},
	{"VM.get_allowed_VIF_devices", get_allowed_VIF_devices, NULL, false},
	{"VM.get_possible_hosts", get_possible_hosts, NULL, false},
	{"VM.assert_can_boot_here", assert_can_boot_here, NULL, false},
	{"VM.assert_agile", assert_agile, NULL, false},
	{"VM.assert_operation_valid", assert_operation_valid, NULL, false},
	{"VM.update_allowed_operations", update_allowed_operations, NULL, false},
	{"VM.get_boot_record", get_boot_record, NULL, false},
	{"VM.query_services", query_services, NULL, false},
	{"VM.retrieve_wlb_recommendations", retrieve_wlb_recommendations, NULL, false},
	{NULL, NULL, NULL, false},
};
