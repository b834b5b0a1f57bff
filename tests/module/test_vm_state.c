/* Suspend and resume: what clients see of them, and what is left behind. */
#include "tests/module/vm_fixture.h"

#include "modules/storage/storage.h"

#include <stdio.h>
#include <stdlib.h>

static struct xn_row *image_of(const struct vm *vm)
{
	return xn_db_get(vm->api->db, XN_CLASS_VDI,
			 xn_row_string(vm_row(vm), XN_VM_suspend_VDI));
}

/* ---- suspend ---- */

static void a_suspended_vm_is_an_image_and_no_domain(void **state)
{
	struct api *api = *state;
	struct vm vm;
	struct xn_row *image;

	given_vm_that_is(api, &vm, "Running", "");
	vm_do(&vm, "VM.suspend", "");
	assert_state(&vm, "Suspended");
	assert_null(vm_domain(&vm));
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_domid), -1);
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_resident_on), XN_NULL_REF);
	image = image_of(&vm);
	assert_non_null(image);
	assert_string_equal(xn_row_string(image, XN_VDI_type), "suspend");
	assert_string_equal(xn_row_string(image, XN_VDI_name_label), "Suspend image");
	/* 64 MiB of memory * 1.2 * 1.05 + 100 MiB, in whole blocks */
	assert_in_range(xn_row_int(image, XN_VDI_virtual_size), 189415424, 189415424 + 4096);
	assert_true(strlen(xn_row_string(vm_row(&vm), XN_VM_last_booted_record)) > 0);
	assert_false(xn_row_bool(row_of(api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	assert_true(has_message(api, "VM_SUSPENDED"));
	assert_true(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "resume"));
	assert_false(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "start"));
}

static void a_resumed_guest_goes_on_where_it_stopped(void **state)
{
	struct api *api = *state;
	struct vm vm;
	int64_t counter;

	given_vm_that_is(api, &vm, "Running", "");
	api_run(api, 60);
	vm_do(&vm, "VM.suspend", "");
	api_run(api, 3600);
	vm_do(&vm, "VM.resume", ",false,false");
	assert_state(&vm, "Running");
	counter = vm_counter(&vm);
	assert_in_range(counter, 60000, 70000);
	assert_null(image_of(&vm));
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_suspend_VDI), XN_NULL_REF);
	assert_true(has_message(api, "VM_RESUMED"));
	assert_true(xn_row_bool(row_of(api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	api_run(api, 10);
	assert_in_range(vm_counter(&vm), counter + 9000, counter + 11000);
}

static void a_vm_can_be_resumed_paused(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Suspended", "");
	vm_do(&vm, "VM.resume", ",true,false");
	assert_state(&vm, "Paused");
	assert_null(image_of(&vm));
	vm_do(&vm, "VM.unpause", "");
	assert_state(&vm, "Running");
}

static void a_vm_can_be_resumed_on_its_host(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	char *more;

	given_vm_that_is(api, &vm, "Suspended", "");
	vm_fail(&vm, "VM.resume_on", ",\"OpaqueRef:nobody\",false,false", "HANDLE_INVALID", &err);
	xn_error_clear(&err);
	more = xn_asprintf(",\"%s\",false,false", xn_row_ref(xn_db_first(api->db, XN_CLASS_host)));
	vm_do(&vm, "VM.resume_on", more);
	free(more);
	assert_state(&vm, "Running");
}

static void a_suspended_vm_survives_a_restart(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Suspended", "");
	api_restart(api);
	assert_state(&vm, "Suspended");
	vm_do(&vm, "VM.resume", ",false,false");
	assert_state(&vm, "Running");
}

/* ---- where memory goes ---- */

static const char *set_sr(struct api *api, int class_id, int field, const char *sr)
{
	struct xn_row *row = xn_db_first(api->db, class_id);
	static char old[48];

	snprintf(old, sizeof(old), "%s", xn_row_string(row, field));
	xn_db_set_string(api->db, row, field, sr);
	return old;
}

static void without_a_suspend_sr_it_runs_on(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "");
	set_sr(api, XN_CLASS_pool, XN_pool_suspend_image_SR, XN_NULL_REF);
	set_sr(api, XN_CLASS_host, XN_host_suspend_image_sr, XN_NULL_REF);
	vm_fail(&vm, "VM.suspend", "", "VM_NO_SUSPEND_SR", &err);
	assert_string_equal(err.params[0], vm.ref);
	xn_error_clear(&err);
	assert_state(&vm, "Running");
}

static void the_hosts_suspend_sr_does_when_the_pool_names_none(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "");
	set_sr(api, XN_CLASS_pool, XN_pool_suspend_image_SR, XN_NULL_REF);
	vm_do(&vm, "VM.suspend", "");
	assert_state(&vm, "Suspended");
}

/* ---- what goes wrong ---- */

static void a_guest_that_does_not_suspend_runs_on(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	size_t disks;

	given_vm_that_is(api, &vm, "Running", "\"sim-shutdown\":\"refuse\"");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_fail(&vm, "VM.suspend", "", "VM_FAILED_SUSPEND_ACKNOWLEDGMENT", &err);
	xn_error_clear(&err);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->shut_down);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
}

static void a_guest_whose_memory_cannot_be_saved_goes_on(const char *how, struct api *api)
{
	struct xn_error err = {0};
	struct vm vm;
	size_t disks;
	int64_t counter;

	given_vm_that_is(api, &vm, "Running", how);
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_fail(&vm, "VM.suspend", "", "INTERNAL_ERROR", &err);
	xn_error_clear(&err);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->shut_down);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
	counter = vm_counter(&vm);
	api_run(api, 5);
	assert_true(vm_counter(&vm) > counter + 4000);
}

static void a_guest_goes_on_when_saving_fails(void **state)
{
	a_guest_whose_memory_cannot_be_saved_goes_on("\"sim-save\":\"fail\"", *state);
}

static void a_guest_goes_on_when_saving_hangs(void **state)
{
	a_guest_whose_memory_cannot_be_saved_goes_on("\"sim-save\":\"hang\"", *state);
}

/* A call under way, and its task: the only one there is. */
static void begin_call(struct vm *vm, struct api_call *call, const char *method, char task[48])
{
	char *args = xn_asprintf("[\"%s\"]", vm->ref);

	api_begin(vm->api, call, method, args);
	free(args);
	api_run(vm->api, 1);
	snprintf(task, 48, "%s", xn_row_ref(xn_db_first(vm->api->db, XN_CLASS_task)));
}

static void a_slow_save_tells_its_progress_and_is_not_cut_short(void **state)
{
	struct api *api = *state;
	struct api_call call;
	double half = 0;
	struct vm vm;
	char task[48];

	/* Half an hour: longer than the deadline of the step, which bytes put off. */
	given_vm_that_is(api, &vm, "Running", "\"sim-save-ms\":\"1400000\"");
	begin_call(&vm, &call, "VM.suspend", task);
	for (int i = 0; i < 1500 && !call.done; i++) {
		const struct xn_row *row = xn_db_get(api->db, XN_CLASS_task, task);
		double progress = xn_value_float(xn_row_get(row, XN_task_progress));

		if (progress > 0.3 && progress < 0.6)
			half = progress;
		api_run(api, 1);
	}
	assert_true(call.done);
	assert_null(call.err.code);
	api_call_clear(&call);
	assert_true(half > 0.3);
	assert_state(&vm, "Suspended");
	vm_do(&vm, "VM.resume", ",false,false");
}

static void a_cancelled_suspend_leaves_the_guest_running(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	char task[48], *args;

	given_vm_that_is(api, &vm, "Running", "\"sim-save-ms\":\"60000\"");
	begin_call(&vm, &call, "VM.suspend", task);
	api_run(api, 20);
	assert_true(vm_domain(&vm)->shut_down);
	args = xn_asprintf("[\"%s\"]", task);
	free(api_do(api, "task.cancel", args));
	free(args);
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	api_call_clear(&call);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->shut_down);
	assert_int_equal(xn_map_len(xn_row_get(vm_row(&vm), XN_VM_current_operations)), 0);
}

static void a_vm_without_its_image_ends_halted(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	char *args;

	given_vm_that_is(api, &vm, "Suspended", "");
	args = xn_asprintf("[\"%s\"]", xn_row_string(vm_row(&vm), XN_VM_suspend_VDI));
	free(api_do(api, "VDI.destroy", args));
	free(args);
	vm_fail(&vm, "VM.resume", ",false,false", "VM_HAS_NO_SUSPEND_VDI", &err);
	assert_string_equal(err.params[0], "VM");
	assert_string_equal(err.params[1], vm.ref);
	xn_error_clear(&err);
	assert_state(&vm, "Halted");
}

static void a_resume_that_fails_leaves_it_suspended(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(api, &vm, "Suspended", "");
	vm_do(&vm, "VM.add_to_other_config", ",\"sim-build\",\"fail\"");
	vm_fail(&vm, "VM.resume", ",false,false", "INTERNAL_ERROR", &err);
	xn_error_clear(&err);
	assert_state(&vm, "Suspended");
	assert_non_null(image_of(&vm));
	assert_null(vm_domain(&vm));
	vm_do(&vm, "VM.remove_from_other_config", ",\"sim-build\"");
	vm_do(&vm, "VM.resume", ",false,false");
	assert_state(&vm, "Running");
}

/* ---- the ways out ---- */

static void down_from_suspended(struct api *api, const char *method)
{
	struct vm vm;
	size_t disks;

	given_vm_that_is(api, &vm, "Running", "");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_do(&vm, "VM.suspend", "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks + 1);
	vm_do(&vm, method, "");
	assert_state(&vm, "Halted");
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_suspend_VDI), XN_NULL_REF);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
	vm_do(&vm, "VM.start", ",false,false");
}

static void a_suspended_vm_that_is_shut_down_loses_its_image(void **state)
{
	down_from_suspended(*state, "VM.hard_shutdown");
	down_from_suspended(*state, "VM.shutdown");
	down_from_suspended(*state, "VM.power_state_reset");
}

static void destroying_a_suspended_vm_takes_its_image_along(void **state)
{
	struct api *api = *state;
	struct vm vm;
	size_t disks;

	given_vm_that_is(api, &vm, "Running", "");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_do(&vm, "VM.suspend", "");
	vm_do(&vm, "VM.destroy", "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
}

static void hard_shutdown_does_not_wait_for_a_save(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	size_t disks;
	char task[48];

	given_vm_that_is(api, &vm, "Running", "\"sim-save\":\"hang\"");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	begin_call(&vm, &call, "VM.suspend", task);
	api_run(api, 10);
	vm_do(&vm, "VM.hard_shutdown", "");
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	api_call_clear(&call);
	assert_state(&vm, "Halted");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
}

static void hard_shutdown_does_not_wait_for_a_resume(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	size_t disks;
	char *args;

	given_vm_that_is(api, &vm, "Suspended", "");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_do(&vm, "VM.add_to_other_config", ",\"sim-build\",\"hang\"");
	args = xn_asprintf("[\"%s\",false,false]", vm.ref);
	api_begin(api, &call, "VM.resume", args);
	free(args);
	api_run(api, 10);
	vm_do(&vm, "VM.hard_shutdown", "");
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	api_call_clear(&call);
	assert_state(&vm, "Halted");
	assert_null(vm_domain(&vm));
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks - 1);
}

/* A daemon that was killed after it had asked the guest, and did not hear the answer. */
static void a_guest_that_suspends_for_nobody_goes_on(void **state)
{
	struct api *api = *state;
	struct vm vm;
	int64_t counter;

	given_vm_that_is(api, &vm, "Running", "");
	xn_sim_guest_stops(backend_of(vm.api), vm_domain(&vm)->domid, XN_SHUTDOWN_SUSPEND);
	api_run(api, 2);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->shut_down);
	counter = vm_counter(&vm);
	api_run(api, 5);
	assert_true(vm_counter(&vm) > counter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_suspended_vm_is_an_image_and_no_domain),
		TEST(a_resumed_guest_goes_on_where_it_stopped),
		TEST(a_vm_can_be_resumed_paused),
		TEST(a_vm_can_be_resumed_on_its_host),
		TEST(a_suspended_vm_survives_a_restart),
		TEST(without_a_suspend_sr_it_runs_on),
		TEST(the_hosts_suspend_sr_does_when_the_pool_names_none),
		TEST(a_guest_that_does_not_suspend_runs_on),
		TEST(a_guest_goes_on_when_saving_fails),
		TEST(a_guest_goes_on_when_saving_hangs),
		TEST(a_slow_save_tells_its_progress_and_is_not_cut_short),
		TEST(a_cancelled_suspend_leaves_the_guest_running),
		TEST(a_vm_without_its_image_ends_halted),
		TEST(a_resume_that_fails_leaves_it_suspended),
		TEST(a_suspended_vm_that_is_shut_down_loses_its_image),
		TEST(destroying_a_suspended_vm_takes_its_image_along),
		TEST(hard_shutdown_does_not_wait_for_a_save),
		TEST(hard_shutdown_does_not_wait_for_a_resume),
		TEST(a_guest_that_suspends_for_nobody_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
