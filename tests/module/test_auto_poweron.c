/* VMs that start with the host: once a boot, and only those that shall. */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void set_pool(struct api *api, const char *value)
{
	char *args = xn_asprintf("[\"%s\",\"auto_poweron\",\"%s\"]",
				 xn_row_ref(xn_db_first(api->db, XN_CLASS_pool)), value);

	free(api_do(api, "pool.add_to_other_config", args));
	free(args);
}

/* The simulated host boots: what ran on it is gone. */
static void boot_host(struct api *api)
{
	char *path = xn_asprintf("%s/sim.world", api->dir);

	api_run(api, 1);
	assert_int_equal(unlink(path), 0);
	free(path);
	api_restart(api);
	api_run(api, 5);
}

static void vms_start_with_the_host(void **state)
{
	struct api *api = *state;
	struct vm running, halted, other;

	set_pool(api, "true");
	given_vm_that_is(api, &running, "Running", "\"auto_poweron\":\"true\"");
	given_vm(api, &halted, "\"auto_poweron\":\"true\"");
	given_vm_that_is(api, &other, "Running", "\"auto_poweron\":\"false\"");
	boot_host(api);
	assert_state(&running, "Running");
	assert_state(&halted, "Running");
	assert_state(&other, "Halted");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
}

static void not_where_the_pool_does_not_say_so(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm(api, &vm, "\"auto_poweron\":\"true\"");
	boot_host(api);
	assert_state(&vm, "Halted");
	set_pool(api, "true");
	api_restart(api); /* this boot has been looked at */
	api_run(api, 5);
	assert_state(&vm, "Halted");
	boot_host(api);
	assert_state(&vm, "Running");
}

static void a_restart_of_the_daemon_starts_nothing(void **state)
{
	struct api *api = *state;
	struct vm vm;

	set_pool(api, "true");
	given_vm(api, &vm, "\"auto_poweron\":\"true\"");
	boot_host(api);
	vm_do(&vm, "VM.hard_shutdown", "");
	api_restart(api);
	api_run(api, 5);
	assert_state(&vm, "Halted");
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 5);
	assert_state(&vm, "Halted");
}

static void templates_stay_as_they_are(void **state)
{
	struct api *api = *state;
	struct vm vm;

	set_pool(api, "true");
	given_vm(api, &vm, "\"auto_poweron\":\"true\"");
	vm_do(&vm, "VM.set_is_a_template", ",true");
	boot_host(api);
	assert_state(&vm, "Halted");
}

static void a_kill_while_they_start_loses_none(void **state)
{
	struct api *api = *state;

	set_pool(api, "true");
	for (int turns = 1; turns < 30; turns += 2) {
		struct vm vm;
		char *path = xn_asprintf("%s/sim.world", api->dir);

		given_vm(api, &vm, "\"auto_poweron\":\"true\",\"sim-build-ms\":\"50\"");
		api_run(api, 1);
		assert_int_equal(unlink(path), 0);
		free(path);
		api_restart(api);
		for (int i = 0; i < turns; i++)
			xn_loop_turn(api->core.loop, 5000);
		api_crash(api, XN_CRASH_KILL);
		api_run(api, 30);
		assert_state(&vm, "Running");
		assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
		vm_do(&vm, "VM.hard_shutdown", "");
		vm_do(&vm, "VM.destroy", "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(vms_start_with_the_host),
		TEST(not_where_the_pool_does_not_say_so),
		TEST(a_restart_of_the_daemon_starts_nothing),
		TEST(templates_stay_as_they_are),
		TEST(a_kill_while_they_start_loses_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
