/* Life of VMs as a client sees it: start, pause, the ways down, reboot, and what guests do by
 * themselves. */
#include "tests/module/vm_fixture.h"

#include "modules/xenstore/xenstore.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- helpers ---- */

/* Runs until @call is done, and counts the turns in which the VM was seen in @power_state. */
static unsigned turns_in_state(struct vm *vm, const struct api_call *call, const char *power_state)
{
	unsigned seen = 0;

	for (int i = 0; i < 10000 && !call->done; i++) {
		xn_loop_turn(vm->api->core.loop, 1000000);
		seen += strcmp(xn_row_string(vm_row(vm), XN_VM_power_state), power_state) == 0;
	}
	assert_true(call->done);
	return seen;
}

static unsigned count_messages(struct api *api, const char *name)
{
	unsigned n = 0;

	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_message); row;
	     row = xn_db_next(api->db, row))
		n += strcmp(xn_row_string(row, XN_message_name), name) == 0;
	return n;
}

static void assert_param(struct xn_error *err, unsigned i, const char *text)
{
	assert_true(err->n_params > i);
	assert_string_equal(err->params[i], text);
}

static void assert_at_rest(struct vm *vm)
{
	assert_int_equal(xn_map_len(xn_row_get(vm_row(vm), XN_VM_current_operations)), 0);
	assert_int_equal(xn_db_count(vm->api->db, XN_CLASS_task), 0);
	assert_int_equal(xn_db_count(vm->api->db, XN_CLASS_xn_operation), 0);
}

/* ---- start ---- */

static void a_started_vm_runs_with_its_devices_attached(void **state)
{
	struct vm vm;
	struct xn_row *row, *metrics;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.start", ",false,false");
	row = vm_row(&vm);
	assert_state(&vm, "Running");
	assert_int_equal(xn_row_int(row, XN_VM_domid), vm_domain(&vm)->domid);
	assert_string_equal(xn_row_string(row, XN_VM_resident_on),
			    xn_row_ref(xn_db_first(vm.api->db, XN_CLASS_host)));
	assert_true(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	assert_string_equal(xn_row_string(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_device),
			    "xvda");
	assert_true(xn_row_bool(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_currently_attached));
	metrics = xn_row_follow(vm.api->db, row, XN_VM_metrics);
	assert_string_equal(xn_row_string(metrics, XN_VM_metrics_current_domain_type), "hvm");
	assert_true(xn_value_int(xn_row_get(metrics, XN_VM_metrics_start_time)) > 0);
	assert_int_equal(xn_set_len(xn_row_get(row, XN_VM_consoles)), 1);
	assert_int_equal(count_messages(vm.api, "VM_STARTED"), 1);
	assert_at_rest(&vm);
}

static void the_agents_report_comes_with_time(void **state)
{
	struct vm vm;
	struct xn_row *guest;

	given_vm_that_is(*state, &vm, "Running", "");
	guest = xn_row_follow(vm.api->db, vm_row(&vm), XN_VM_guest_metrics);
	assert_non_null(guest);
	assert_true(xn_row_bool(guest, XN_VM_guest_metrics_PV_drivers_detected));
	assert_true(xn_map_len(xn_row_get(guest, XN_VM_guest_metrics_os_version)) > 0);
	assert_true(xn_map_len(xn_row_get(guest, XN_VM_guest_metrics_networks)) > 0);
	assert_true(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "clean_shutdown"));
}

static void nobody_sees_a_vm_paused_while_it_is_built(void **state)
{
	struct api_call call;
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_begin(&vm, &call, "VM.start", ",false,false");
	assert_int_equal(turns_in_state(&vm, &call, "Paused"), 0);
	assert_null(call.err.code);
	api_call_clear(&call);
}

static void what_holds_a_vm_shows_while_it_starts(void **state)
{
	struct api_call call;
	struct vm vm;

	given_vm(*state, &vm, "\"sim-build-ms\":\"1000\"");
	vm_begin(&vm, &call, "VM.start", ",false,false");
	api_turn(vm.api);
	xn_loop_turn(vm.api->core.loop, 100000);
	assert_int_equal(xn_map_len(xn_row_get(vm_row(&vm), XN_VM_current_operations)), 1);
	assert_string_equal(
		xn_value_string(xn_map_at(xn_row_get(vm_row(&vm), XN_VM_current_operations), 0)),
		"start");
	assert_int_equal(xn_map_len(xn_row_get(row_of(vm.api, XN_CLASS_VBD, vm.disk),
					       XN_VBD_current_operations)),
			 1);
	assert_false(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "start"));
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_task), 1);
	api_wait(vm.api, &call.done);
	api_call_clear(&call);
	api_turn(vm.api);
	assert_at_rest(&vm);
}

static void a_vm_can_start_paused(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.start", ",true,false");
	assert_state(&vm, "Paused");
	vm_do(&vm, "VM.unpause", "");
	assert_state(&vm, "Running");
}

static void starting_what_runs_names_both_states(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_VM_BAD_POWER_STATE, &err);
	assert_param(&err, 0, vm.ref);
	assert_param(&err, 1, "halted");
	assert_param(&err, 2, "running");
	xn_error_clear(&err);
}

static void the_second_of_two_starts_waits_and_finds_it_running(void **state)
{
	struct api_call first, second;
	struct vm vm;

	given_vm(*state, &vm, "\"sim-build-ms\":\"100\"");
	vm_begin(&vm, &first, "VM.start", ",false,false");
	vm_begin(&vm, &second, "VM.start", ",false,false");
	api_turn(vm.api);
	assert_false(second.done);
	api_wait(vm.api, &first.done);
	assert_null(first.err.code);
	api_wait(vm.api, &second.done);
	assert_string_equal(second.err.code, XN_ERR_VM_BAD_POWER_STATE);
	api_call_clear(&first);
	api_call_clear(&second);
}

static void too_little_memory_is_told_before_anything_is_built(void **state)
{
	struct xn_error err = {0};
	struct vm vm;
	size_t n;
	struct xn_backend *b;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_memory", ",1125899906842624");
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, &err);
	assert_int_equal(err.n_params, 2);
	assert_true(strtoll(err.params[0], NULL, 10) > 1125899906842624);
	assert_true(strtoll(err.params[1], NULL, 10) > 0);
	xn_error_clear(&err);
	b = backend_of(vm.api);
	b->ops->list(b, &n);
	assert_int_equal(n, 0);
	assert_state(&vm, "Halted");
	api_turn(vm.api);
	assert_at_rest(&vm);
}

static void memory_beyond_all_numbers_is_too_much(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_memory_limits",
	      ",0,9223372036854775807,9223372036854775807,9223372036854775807");
	assert_true(xn_row_int(vm_row(&vm), XN_VM_memory_overhead) > 0);
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, NULL);
	vm_do(&vm, "VM.maximise_memory", ",9223372036854775807,true");
}

static void a_template_does_not_start(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_is_a_template", ",true");
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_VM_IS_TEMPLATE, &err);
	assert_param(&err, 1, "start");
	xn_error_clear(&err);
}

static void a_disk_that_another_vm_writes_cannot_be_used(void **state)
{
	struct xn_error err = {0};
	struct vm one, two;
	char *args;

	given_vm_that_is(*state, &one, "Running", "");
	given_vm(*state, &two, "");
	args = xn_asprintf("[{\"VM\":\"%s\",\"VDI\":\"%s\",\"userdevice\":\"7\",\"bootable\":false,"
			   "\"mode\":\"RW\",\"type\":\"Disk\",\"empty\":false,\"other_config\":{},"
			   "\"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}]",
			   two.ref, one.vdi);
	free(api_do(*state, "VBD.create", args));
	free(args);
	vm_fail(&two, "VM.start", ",false,false", XN_ERR_VDI_IN_USE, &err);
	assert_param(&err, 0, one.vdi);
	xn_error_clear(&err);
	assert_state(&two, "Halted");
}

/* ---- down ---- */

static void a_clean_shutdown_ends_halted_and_detached(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.clean_shutdown", "");
	assert_state(&vm, "Halted");
	assert_null(vm_domain(&vm));
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_domid), -1);
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_resident_on), XN_NULL_REF);
	assert_false(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	assert_false(xn_row_bool(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_currently_attached));
	assert_int_equal(xn_set_len(xn_row_get(vm_row(&vm), XN_VM_consoles)), 0);
	assert_int_equal(count_messages(vm.api, "VM_SHUTDOWN"), 1);
	assert_at_rest(&vm);
}

static void a_guest_that_does_not_acknowledge_is_told_and_runs_on(void **state)
{
	struct xn_error err = {0};
	struct vm vm;
	int64_t before;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"refuse\"");
	before = xn_now_us(vm.api->core.loop);
	vm_fail(&vm, "VM.clean_shutdown", "", XN_ERR_VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, &err);
	assert_param(&err, 0, vm.ref);
	assert_in_range((xn_now_us(vm.api->core.loop) - before) / 1000000, 60, 62);
	xn_error_clear(&err);
	assert_state(&vm, "Running");
	vm_do(&vm, "VM.hard_shutdown", "");
	assert_state(&vm, "Halted");
}

static void a_guest_that_hangs_in_its_shutdown_is_given_up(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	vm_fail(&vm, "VM.clean_shutdown", "", XN_ERR_VM_SHUTDOWN_TIMEOUT, &err);
	assert_param(&err, 0, vm.ref);
	assert_param(&err, 1, "1200.");
	xn_error_clear(&err);
	assert_state(&vm, "Running");
}

static void shutdown_uses_force_where_the_guest_refuses(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"refuse\"");
	vm_do(&vm, "VM.shutdown", "");
	assert_state(&vm, "Halted");
}

static void a_hard_shutdown_ends_a_clean_one_that_waits(void **state)
{
	struct api_call clean;
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	vm_begin(&vm, &clean, "VM.clean_shutdown", "");
	api_run(vm.api, 5);
	assert_false(clean.done);
	vm_do(&vm, "VM.hard_shutdown", "");
	assert_true(clean.done);
	assert_string_equal(clean.err.code, XN_ERR_TASK_CANCELLED);
	api_call_clear(&clean);
	assert_state(&vm, "Halted");
	assert_at_rest(&vm);
}

static void a_start_that_hangs_can_be_cancelled(void **state)
{
	struct api_call start;
	struct vm vm;

	given_vm(*state, &vm, "\"sim-plug\":\"hang\"");
	vm_begin(&vm, &start, "VM.start", ",true,false");
	api_run(vm.api, 5);
	assert_false(start.done);
	xn_operation_cancel_holders(xn_operations_of(&vm.api->core), vm.ref, NULL, NULL);
	api_wait(vm.api, &start.done);
	assert_string_equal(start.err.code, XN_ERR_TASK_CANCELLED);
	api_call_clear(&start);
	api_run(vm.api, 1);
	assert_null(vm_domain(&vm));
	assert_state(&vm, "Halted");
	assert_at_rest(&vm);
}

/* ---- reboot ---- */

static void reboot(void **state, const char *method)
{
	struct api_call call;
	struct vm vm;
	int64_t domid;

	given_vm_that_is(*state, &vm, "Running", "");
	domid = xn_row_int(vm_row(&vm), XN_VM_domid);
	vm_begin(&vm, &call, method, "");
	assert_int_equal(turns_in_state(&vm, &call, "Halted"), 0);
	assert_null(call.err.code);
	api_call_clear(&call);
	assert_state(&vm, "Running");
	assert_true(xn_row_int(vm_row(&vm), XN_VM_domid) > domid);
	assert_true(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	assert_int_equal(count_messages(vm.api, "VM_REBOOTED"), 1);
	api_turn(vm.api);
	assert_at_rest(&vm);
}

static void a_clean_reboot_has_a_new_domain_and_is_never_halted(void **state)
{
	reboot(state, "VM.clean_reboot");
}

static void a_hard_reboot_has_a_new_domain_and_is_never_halted(void **state)
{
	reboot(state, "VM.hard_reboot");
}

/* ---- guests by themselves ---- */

static void stop_guest(struct vm *vm, enum xn_domain_shutdown reason)
{
	struct xn_backend *b = backend_of(vm->api);

	assert_int_equal(xn_sim_guest_stops(b, vm_domain(vm)->domid, reason), 0);
	api_run(vm->api, 2);
}

static void a_guest_that_powers_off_is_halted(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	stop_guest(&vm, XN_SHUTDOWN_POWEROFF);
	assert_state(&vm, "Halted");
	assert_null(vm_domain(&vm));
	assert_at_rest(&vm);
	vm_do(&vm, "VM.start", ",false,false");
}

static void a_guest_that_reboots_gets_a_new_domain(void **state)
{
	struct vm vm;
	int64_t domid;

	given_vm_that_is(*state, &vm, "Running", "");
	api_run(vm.api, 200); /* not a loop of reboots */
	domid = xn_row_int(vm_row(&vm), XN_VM_domid);
	stop_guest(&vm, XN_SHUTDOWN_REBOOT);
	assert_state(&vm, "Running");
	assert_true(xn_row_int(vm_row(&vm), XN_VM_domid) > domid);
	assert_at_rest(&vm);
}

static void a_guest_that_reboots_again_and_again_is_slowed_down(void **state)
{
	struct vm vm;
	int64_t domid;

	given_vm_that_is(*state, &vm, "Running", "");
	domid = xn_row_int(vm_row(&vm), XN_VM_domid);
	stop_guest(&vm, XN_SHUTDOWN_REBOOT);
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_domid), domid);
	api_run(vm.api, 20);
	assert_true(xn_row_int(vm_row(&vm), XN_VM_domid) > domid);
	assert_state(&vm, "Running");
}

static void a_crash_follows_its_action_and_leaves_a_message(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	stop_guest(&vm, XN_SHUTDOWN_CRASH);
	assert_state(&vm, "Halted");
	assert_int_equal(count_messages(vm.api, "VM_CRASHED"), 1);
}

static void a_crashed_domain_can_be_kept_to_be_looked_at(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_actions_after_crash", ",\"preserve\"");
	vm_do(&vm, "VM.start", ",false,false");
	stop_guest(&vm, XN_SHUTDOWN_CRASH);
	assert_state(&vm, "Paused");
	assert_non_null(vm_domain(&vm));
	assert_int_equal(count_messages(vm.api, "VM_CRASHED"), 1);
	vm_do(&vm, "VM.hard_shutdown", "");
	assert_state(&vm, "Halted");
}

static void a_guest_that_stops_in_the_middle_of_an_operation_is_seen_after_it(void **state)
{
	struct vm vm;
	struct xn_claim claim = {0};
	struct xn_error err = {0};

	given_vm_that_is(*state, &vm, "Running", "");
	assert_int_equal(xn_operation_take_now(xn_operations_of(&vm.api->core), &claim, XN_CLASS_VM,
					       vm.ref, "snapshot", "OpaqueRef:x", &err),
			 0);
	stop_guest(&vm, XN_SHUTDOWN_POWEROFF);
	assert_state(&vm, "Running");
	xn_operation_release(&claim);
	api_run(vm.api, 2);
	assert_state(&vm, "Halted");
}

static void on_made_outside(int rc, uint32_t domid, void *arg)
{
	assert_int_equal(rc, 0);
}

static void a_domain_that_is_nobodys_is_left_alone(void **state)
{
	struct api *api = *state;
	struct vm vm;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *config = xn_map_new();
	struct xn_backend *b = backend_of(api);
	size_t rows = xn_db_count(api->db, XN_CLASS_VM), n;

	xn_map_put_string(&config, "uuid", "12345678-0000-0000-0000-000000000000");
	xn_map_put_string(&config, "name", "made outside");
	xn_map_put_string(&config, "type", "pv");
	xn_map_put(&config, "vcpus", xn_int(1));
	xn_map_put(&config, "max_vcpus", xn_int(1));
	xn_map_put(&config, "memory", xn_int(1 << 24));
	xn_map_put(&config, "max_memory", xn_int(1 << 24));
	assert_int_equal(b->ops->create(b, config, on_made_outside, NULL), 0);
	api_run(api, 2);
	b->ops->list(b, &n);
	assert_int_equal(n, 1);
	given_vm_that_is(api, &vm, "Running", "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VM), rows + 1);
	b->ops->list(b, &n);
	assert_int_equal(n, 2);
}

/* ---- over restarts ---- */

static void running_vms_are_found_again_true_from_the_first_moment(void **state)
{
	struct vm runs, paused, stops;
	int64_t domid;

	given_vm_that_is(*state, &runs, "Running", "");
	given_vm_that_is(*state, &paused, "Paused", "");
	given_vm_that_is(*state, &stops, "Running", "");
	domid = xn_row_int(vm_row(&runs), XN_VM_domid);
	api_crash(*state, XN_CRASH_KILL);
	assert_state(&runs, "Running");
	assert_state(&paused, "Paused");
	assert_int_equal(xn_row_int(vm_row(&runs), XN_VM_domid), domid);
	api_run(*state, 2);
	assert_state(&runs, "Running");
	assert_true(
		xn_row_bool(row_of(*state, XN_CLASS_VBD, runs.disk), XN_VBD_currently_attached));
	assert_true(is_allowed(vm_row(&runs), XN_VM_allowed_operations, "clean_shutdown"));
	vm_do(&runs, "VM.clean_shutdown", "");
	vm_do(&paused, "VM.unpause", "");
	stop_guest(&stops, XN_SHUTDOWN_POWEROFF);
	assert_state(&stops, "Halted");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_started_vm_runs_with_its_devices_attached),
		TEST(the_agents_report_comes_with_time),
		TEST(nobody_sees_a_vm_paused_while_it_is_built),
		TEST(what_holds_a_vm_shows_while_it_starts),
		TEST(a_vm_can_start_paused),
		TEST(starting_what_runs_names_both_states),
		TEST(the_second_of_two_starts_waits_and_finds_it_running),
		TEST(too_little_memory_is_told_before_anything_is_built),
		TEST(a_template_does_not_start),
		TEST(memory_beyond_all_numbers_is_too_much),
		TEST(a_disk_that_another_vm_writes_cannot_be_used),
		TEST(a_clean_shutdown_ends_halted_and_detached),
		TEST(a_guest_that_does_not_acknowledge_is_told_and_runs_on),
		TEST(a_guest_that_hangs_in_its_shutdown_is_given_up),
		TEST(shutdown_uses_force_where_the_guest_refuses),
		TEST(a_hard_shutdown_ends_a_clean_one_that_waits),
		TEST(a_start_that_hangs_can_be_cancelled),
		TEST(a_clean_reboot_has_a_new_domain_and_is_never_halted),
		TEST(a_hard_reboot_has_a_new_domain_and_is_never_halted),
		TEST(a_guest_that_powers_off_is_halted),
		TEST(a_guest_that_reboots_gets_a_new_domain),
		TEST(a_guest_that_reboots_again_and_again_is_slowed_down),
		TEST(a_crash_follows_its_action_and_leaves_a_message),
		TEST(a_crashed_domain_can_be_kept_to_be_looked_at),
		TEST(a_guest_that_stops_in_the_middle_of_an_operation_is_seen_after_it),
		TEST(a_domain_that_is_nobodys_is_left_alone),
		TEST(running_vms_are_found_again_true_from_the_first_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
