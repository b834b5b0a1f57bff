/*
 * The host's memory between several VMs: ranges, balloons that go down for a VM that starts and up
 * again afterwards, guests that do not follow, starts at the same time. The simulated host has
 * 56 GiB for guests.
 */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define GIB (INT64_C(1) << 30)
#define MIB (INT64_C(1) << 20)

/* ---- given ---- */

static void given_range(struct api *api, struct vm *vm, int64_t min_gib, int64_t max_gib,
			const char *other_config)
{
	char *more = xn_asprintf(",16777216,%lld,%lld,%lld", (long long)(max_gib * GIB),
				 (long long)(min_gib * GIB), (long long)(max_gib * GIB));

	given_vm(api, vm, other_config);
	vm_do(vm, "VM.set_memory_limits", more);
	free(more);
}

static void start(struct vm *vm)
{
	vm_do(vm, "VM.start", ",false,false");
	assert_state(vm, "Running");
}

static void given_running(struct api *api, struct vm *vm, int64_t min_gib, int64_t max_gib,
			  const char *other_config)
{
	given_range(api, vm, min_gib, max_gib, other_config);
	start(vm);
	api_run(api, 1);
}

static int64_t target_of(const struct vm *vm)
{
	return xn_row_int(vm_row(vm), XN_VM_memory_target);
}

static int64_t memory_of(const struct vm *vm)
{
	return vm_domain(vm) ? (int64_t)vm_domain(vm)->memory_bytes : 0;
}

static int64_t overhead_of(const struct vm *vm)
{
	return xn_row_int(vm_row(vm), XN_VM_memory_overhead);
}

static int64_t host_free(struct api *api)
{
	struct xn_backend *b = backend_of(api);
	struct xn_host_info info;

	b->ops->host_info(b, &info);
	return (int64_t)info.memory_free;
}

static void assert_nothing_reserved(struct api *api)
{
	struct xn_domains *d = xn_domains_of(&api->core);

	assert_int_equal(d->reserved_memory, 0);
	assert_true(xn_list_empty(&d->memory.wants));
	assert_true(xn_list_empty(&d->memory.reservations));
}

static int64_t int_param(const struct xn_error *err, unsigned n)
{
	assert_true(n < err->n_params);
	return strtoll(err->params[n], NULL, 10);
}

/* ---- starts ---- */

static void a_vm_gets_its_dynamic_maximum_where_that_is_free(void **state)
{
	struct vm vm;

	given_running(*state, &vm, 10, 40, "");
	assert_int_equal(memory_of(&vm), 40 * GIB);
	assert_int_equal(target_of(&vm), 40 * GIB);
	assert_nothing_reserved(*state);
}

static void what_runs_shares_with_what_starts(void **state)
{
	struct api *api = *state;
	struct vm first, second;

	given_running(api, &first, 10, 40, "");
	given_range(api, &second, 10, 40, "");
	start(&second);
	assert_int_equal(memory_of(&first), target_of(&first));
	assert_in_range(target_of(&first), 27 * GIB, 29 * GIB);
	assert_in_range(target_of(&first) - target_of(&second) + 16 * MIB, 0, 32 * MIB);
	assert_int_equal(memory_of(&second), target_of(&second));
	assert_nothing_reserved(api);
	/* The rows say so, too. */
	api_run(api, 6);
	assert_int_equal(xn_row_int(xn_row_follow(api->db, vm_row(&first), XN_VM_metrics),
				    XN_VM_metrics_memory_actual),
			 memory_of(&first));
}

static void unequal_ranges_give_the_same_part_of_themselves(void **state)
{
	struct vm wide, narrow;
	double part[2];

	given_running(*state, &wide, 10, 50, "");
	given_range(*state, &narrow, 20, 30, "");
	start(&narrow);
	part[0] = (double)(target_of(&wide) - 10 * GIB) / (double)(40 * GIB);
	part[1] = (double)(target_of(&narrow) - 20 * GIB) / (double)(10 * GIB);
	assert_true(part[0] > 0.4 && part[0] < 0.6);
	assert_true(part[0] - part[1] < 0.01 && part[1] - part[0] < 0.01);
}

static void memory_that_comes_free_goes_back(void **state)
{
	struct api *api = *state;
	struct vm first, second;

	given_running(api, &first, 10, 40, "");
	given_running(api, &second, 10, 40, "");
	vm_do(&second, "VM.hard_shutdown", "");
	api_run(api, 2);
	assert_int_equal(target_of(&first), 40 * GIB);
	assert_int_equal(memory_of(&first), 40 * GIB);
}

static void what_cannot_fit_is_told_before_anybody_is_asked(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm first, second;

	given_running(api, &first, 30, 40, "");
	given_range(api, &second, 30, 40, "");
	vm_fail(&second, "VM.start", ",false,false", XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, &err);
	assert_int_equal(int_param(&err, 0), 30 * GIB + overhead_of(&second));
	assert_int_equal(int_param(&err, 1), host_free(api) + 10 * GIB);
	xn_error_clear(&err);
	assert_int_equal(target_of(&first), 40 * GIB);
	assert_null(vm_domain(&second));
	assert_state(&second, "Halted");
	assert_nothing_reserved(api);
	vm_do(&first, "VM.set_memory_dynamic_range", ",10737418240,42949672960");
	start(&second);
}

static void the_host_says_what_a_new_vm_could_have(void **state)
{
	struct api *api = *state;
	struct vm vm;
	char *args, *json;

	given_running(api, &vm, 10, 40, "");
	args = xn_asprintf("[\"%s\"]", xn_row_ref(xn_db_first(api->db, XN_CLASS_host)));
	json = api_do(api, "host.compute_free_memory", args);
	assert_int_equal(strtoll(json, NULL, 10), host_free(api) + 30 * GIB);
	free(json);
	free(args);
	api_run(api, 6);
	assert_int_equal(xn_row_int(xn_db_first(api->db, XN_CLASS_host_metrics),
				    XN_host_metrics_memory_free),
			 host_free(api));
}

static void two_starts_at_once_do_not_take_the_same_memory(void **state)
{
	struct api *api = *state;
	struct vm first, second;
	struct api_call one, two;

	given_range(api, &first, 30, 30, "\"sim-build-ms\":\"2000\"");
	given_range(api, &second, 30, 30, "\"sim-build-ms\":\"2000\"");
	vm_begin(&first, &one, "VM.start", ",false,false");
	vm_begin(&second, &two, "VM.start", ",false,false");
	api_wait(api, &one.done);
	api_wait(api, &two.done);
	assert_non_null(one.json);
	assert_string_equal(two.err.code, XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY);
	api_call_clear(&one);
	api_call_clear(&two);
	assert_state(&second, "Halted");
	assert_nothing_reserved(api);
}

static void two_starts_at_once_share_what_a_third_gives(void **state)
{
	struct api *api = *state;
	struct vm old, first, second;
	struct api_call one, two;

	given_running(api, &old, 10, 50, "\"sim-balloon-ms\":\"3000\"");
	given_range(api, &first, 10, 20, "");
	given_range(api, &second, 10, 20, "");
	vm_begin(&first, &one, "VM.start", ",false,false");
	vm_begin(&second, &two, "VM.start", ",false,false");
	api_wait(api, &one.done);
	api_wait(api, &two.done);
	assert_non_null(one.json);
	assert_non_null(two.json);
	api_call_clear(&one);
	api_call_clear(&two);
	assert_true(memory_of(&first) >= 10 * GIB && memory_of(&second) >= 10 * GIB);
	assert_true(host_free(api) >= 0);
	assert_nothing_reserved(api);
}

/* ---- waiting ---- */

static const struct xn_op *found;

static void find_waiting(const struct xn_op *op, void *arg)
{
	if (strstr(op->waiting_for, "to give back memory"))
		found = op;
}

static void a_start_that_waits_says_for_whom(void **state)
{
	struct api *api = *state;
	struct vm slow, second;
	struct api_call call;

	given_running(api, &slow, 10, 40, "\"sim-balloon-ms\":\"5000\"");
	given_range(api, &second, 10, 40, "");
	vm_begin(&second, &call, "VM.start", ",false,false");
	api_run(api, 2);
	assert_false(call.done);
	found = NULL;
	xn_op_each(&api->core, find_waiting, NULL);
	assert_non_null(found);
	assert_non_null(strstr(found->waiting_for, slow.uuid));
	assert_null(vm_domain(&second));
	api_wait(api, &call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
}

static void a_guest_that_does_not_follow_is_given_up(void **state)
{
	struct api *api = *state;
	struct vm stubborn, good, third;
	char *args, *json;

	given_running(api, &stubborn, 10, 25, "\"sim-balloon\":\"refuse\"");
	given_running(api, &good, 10, 25, "");
	given_range(api, &third, 10, 25, "");
	start(&third);
	assert_int_equal(memory_of(&stubborn), 25 * GIB);
	assert_true(memory_of(&good) < 21 * GIB);
	assert_true(memory_of(&third) >= 10 * GIB);
	args = xn_asprintf("[\"%s\"]", stubborn.ref);
	json = api_do(api, "VM.get_cooperative", args);
	assert_string_equal(json, "false");
	free(json);
	free(args);
}

static void a_start_fails_when_nobody_follows(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm stubborn, second;

	given_running(api, &stubborn, 10, 50, "\"sim-balloon\":\"refuse\"");
	given_range(api, &second, 10, 20, "");
	vm_fail(&second, "VM.start", ",false,false", XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, &err);
	assert_true(int_param(&err, 1) <= 6 * GIB);
	xn_error_clear(&err);
	assert_state(&second, "Halted");
	assert_nothing_reserved(api);
	api_run(api, 30);
	assert_int_equal(target_of(&stubborn), 50 * GIB);
}

static void a_cancelled_start_gives_back_what_was_asked_for_it(void **state)
{
	struct api *api = *state;
	struct vm slow, second;
	struct api_call call;

	given_running(api, &slow, 10, 40, "\"sim-balloon-ms\":\"5000\"");
	given_range(api, &second, 10, 40, "");
	vm_begin(&second, &call, "VM.start", ",false,false");
	api_run(api, 2);
	xn_operation_cancel_holders(xn_operations_of(&api->core), second.ref, NULL, NULL);
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, XN_ERR_TASK_CANCELLED);
	api_call_clear(&call);
	api_run(api, 20);
	assert_int_equal(target_of(&slow), 40 * GIB);
	assert_int_equal(memory_of(&slow), 40 * GIB);
	assert_nothing_reserved(api);
}

static void a_kill_while_waiting_loses_nothing(void **state)
{
	struct api *api = *state;
	struct vm slow, second;
	struct api_call call;

	given_running(api, &slow, 10, 40, "\"sim-balloon-ms\":\"5000\"");
	given_range(api, &second, 10, 40, "");
	vm_begin(&second, &call, "VM.start", ",false,false");
	api_run(api, 2);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 30);
	assert_state(&second, "Running");
	assert_in_range(target_of(&slow), 26 * GIB, 29 * GIB);
	assert_nothing_reserved(api);
}

/* ---- a running VM's own memory ---- */

static void a_reboot_keeps_its_memory_from_others(void **state)
{
	struct api *api = *state;
	struct vm vm, other;
	struct api_call call;
	char *args;

	given_running(api, &vm, 30, 30, "\"sim-destroy-ms\":\"1000\",\"sim-build-ms\":\"1000\"");
	given_range(api, &other, 30, 30, "");
	args = xn_asprintf("[\"%s\"]", vm.ref);
	api_begin(api, &call, "VM.hard_reboot", args);
	free(args);
	for (int i = 0; i < 10; i++) {
		vm_fail(&other, "VM.start", ",false,false", XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY,
			NULL);
		xn_loop_turn(api->core.loop, 200000);
	}
	api_wait(api, &call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
	assert_state(&vm, "Running");
	assert_nothing_reserved(api);
}

static void a_reboot_goes_before_those_who_wait(void **state)
{
	struct api *api = *state;
	struct vm vm, slow, other;
	struct api_call reboot, wait;
	char *args;

	given_running(api, &vm, 10, 20, "\"sim-destroy-ms\":\"500\"");
	given_running(api, &slow, 10, 35, "\"sim-balloon-ms\":\"6000\"");
	given_range(api, &other, 20, 20, "");
	vm_begin(&other, &wait, "VM.start", ",false,false");
	api_run(api, 1);
	args = xn_asprintf("[\"%s\"]", vm.ref);
	api_begin(api, &reboot, "VM.hard_reboot", args);
	free(args);
	api_wait(api, &reboot.done);
	assert_non_null(reboot.json);
	assert_false(wait.done);
	api_wait(api, &wait.done);
	assert_non_null(wait.json);
	api_call_clear(&reboot);
	api_call_clear(&wait);
	assert_state(&vm, "Running");
	assert_state(&other, "Running");
	assert_nothing_reserved(api);
}

static void a_new_range_moves_the_balloon_and_those_of_others(void **state)
{
	struct api *api = *state;
	struct vm first, second;

	given_running(api, &first, 10, 30, "");
	given_running(api, &second, 10, 30, "");
	assert_true(target_of(&first) < 29 * GIB);
	vm_do(&first, "VM.set_memory_dynamic_range", ",32212254720,32212254720");
	vm_do(&first, "VM.wait_memory_target_live", "");
	assert_int_equal(memory_of(&first), 30 * GIB);
	assert_true(memory_of(&second) < 26 * GIB);
	vm_do(&first, "VM.set_memory_dynamic_range", ",10737418240,10737418240");
	vm_do(&first, "VM.wait_memory_target_live", "");
	assert_int_equal(memory_of(&first), 10 * GIB);
	api_run(api, 2);
	assert_int_equal(memory_of(&second), 30 * GIB);
	assert_nothing_reserved(api);
}

static void a_range_that_others_cannot_give_is_refused(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm first, second;

	given_running(api, &first, 10, 50, "");
	given_running(api, &second, 30, 30, "");
	vm_fail(&first, "VM.set_memory_dynamic_min", ",42949672960",
		XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, &err);
	xn_error_clear(&err);
	assert_int_equal(xn_row_int(vm_row(&first), XN_VM_memory_dynamic_min), 10 * GIB);
	assert_nothing_reserved(api);
}

static void who_waits_for_a_balloon_that_does_not_move_is_told(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_running(api, &vm, 10, 40, "\"sim-balloon\":\"refuse\"");
	vm_do(&vm, "VM.set_memory_target_live", ",21474836480");
	vm_fail(&vm, "VM.wait_memory_target_live", "", XN_ERR_VM_MEMORY_TARGET_WAIT_TIMEOUT, NULL);
	assert_int_equal(xn_map_len(xn_row_get(vm_row(&vm), XN_VM_current_operations)), 0);
}

static void memory_that_cannot_move_is_pinned(void **state)
{
	struct vm vm;

	given_range(*state, &vm, 10, 10, "");
	vm_do(&vm, "VM.add_to_platform", ",\"nested-virt\",\"true\"");
	vm_fail(&vm, "VM.set_memory_dynamic_min", ",1073741824",
		XN_ERR_MEMORY_CONSTRAINT_VIOLATION_MAXPIN, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_vm_gets_its_dynamic_maximum_where_that_is_free),
		TEST(what_runs_shares_with_what_starts),
		TEST(unequal_ranges_give_the_same_part_of_themselves),
		TEST(memory_that_comes_free_goes_back),
		TEST(what_cannot_fit_is_told_before_anybody_is_asked),
		TEST(the_host_says_what_a_new_vm_could_have),
		TEST(two_starts_at_once_do_not_take_the_same_memory),
		TEST(two_starts_at_once_share_what_a_third_gives),
		TEST(a_start_that_waits_says_for_whom),
		TEST(a_guest_that_does_not_follow_is_given_up),
		TEST(a_start_fails_when_nobody_follows),
		TEST(a_cancelled_start_gives_back_what_was_asked_for_it),
		TEST(a_kill_while_waiting_loses_nothing),
		TEST(a_reboot_keeps_its_memory_from_others),
		TEST(a_reboot_goes_before_those_who_wait),
		TEST(a_new_range_moves_the_balloon_and_those_of_others),
		TEST(a_range_that_others_cannot_give_is_refused),
		TEST(who_waits_for_a_balloon_that_does_not_move_is_told),
		TEST(memory_that_cannot_move_is_pinned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
