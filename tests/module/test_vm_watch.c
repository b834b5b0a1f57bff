/*
 * What the watcher and the reconcilers make of what they see: who is whose, what a guest says and how
 * much of it, what a dead daemon left, what is done when a guest ends by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "modules/xenstore/store/store.h"
#include "modules/xenstore/xenstore.h"
#include "tests/module/vm_fixture.h"

/* Somebody in the control domain writes. */
static void put(struct vm *vm, const char *path, const char *value)
{
	struct xn_xs_store *store = xn_xenstore_embedded(xn_xenstore_of(&vm->api->core));
	struct xn_xs_conn *conn = xn_xs_conn_new(xn_xs_domain_find(store, 0));

	assert_int_equal(xn_xs_conn_write_string(conn, 0, path, value), 0);
	xn_xs_conn_free(conn);
	api_run(vm->api, 2);
}

static void put_below(struct vm *vm, const char *key, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/local/domain/%u/%s", vm_domain(vm)->domid, key);
	put(vm, path, value);
}

static const struct xn_row *guest_row(const struct vm *vm)
{
	const struct xn_row *row = xn_row_follow(vm->api->db, vm_row(vm), XN_VM_guest_metrics);

	assert_non_null(row);
	return row;
}

static struct xn_value *config_of(const char *uuid, const char *name)
{
	struct xn_value *config = xn_map_new();

	xn_map_put_string(&config, "uuid", uuid);
	xn_map_put_string(&config, "name", name);
	xn_map_put_string(&config, "type", "pv");
	xn_map_put(&config, "memory", xn_int(1 << 24));
	return config;
}

static void on_made(int rc, uint32_t domid, void *arg)
{
	*(uint32_t *)arg = domid;
}

/* ---- whose ---- */

static void domains_of_others_are_known_by_name_until_they_go(void **state)
{
	struct api *api = *state;
	struct xn_domains *d = xn_domains_of(&api->core);
	struct xn_backend *b = backend_of(api);
	struct xn_value *config = config_of("12345678-0000-0000-0000-000000000000", "made outside");
	struct xn_value *foreign;
	struct vm vm;
	uint32_t domid = 0;

	given_vm_that_is(api, &vm, "Running", "");
	assert_int_equal(b->ops->create(b, config, on_made, &domid), 0);
	xn_value_unref(config);
	api_run(api, 2);
	foreign = xn_domains_foreign(d);
	assert_int_equal(xn_set_len(foreign), 1);
	assert_string_equal(xn_map_get_string(xn_set_at(foreign, 0), "name"), "made outside");
	assert_string_equal(xn_map_get_string(xn_set_at(foreign, 0), "uuid"),
			    "12345678-0000-0000-0000-000000000000");
	assert_int_equal(xn_map_get_int(xn_set_at(foreign, 0), "domid", -1), domid);
	xn_value_unref(foreign);
	assert_int_equal(b->ops->destroy(b, domid, NULL, NULL), 0);
	api_run(api, 2);
	foreign = xn_domains_foreign(d);
	assert_int_equal(xn_set_len(foreign), 0);
	xn_value_unref(foreign);
}

static unsigned failures_left;

static int refresh_that_fails_at_first(struct xn_backend *b, xn_backend_done *done, void *arg)
{
	if (failures_left) {
		failures_left--;
		return -ETIMEDOUT;
	}
	done(0, arg);
	return 0;
}

static void a_list_that_could_not_be_read_is_read_again(void **state)
{
	struct api *api = *state;
	struct xn_backend *b = backend_of(api);
	const struct xn_backend_ops *ops = b->ops;
	struct xn_backend_ops failing = *ops;
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "");
	failing.refresh = refresh_that_fails_at_first;
	failures_left = 3;
	b->ops = &failing;
	assert_int_equal(xn_sim_guest_stops(b, vm_domain(&vm)->domid, XN_SHUTDOWN_POWEROFF), 0);
	api_run(api, 10);
	b->ops = ops;
	assert_int_equal(failures_left, 0);
	assert_state(&vm, "Halted");
}

/* ---- what a dead daemon left ---- */

static void a_domain_that_was_never_finished_is_destroyed_after_a_restart(void **state)
{
	struct api *api = *state;
	struct xn_backend *b = backend_of(api);
	struct xn_value *config;
	struct vm vm;
	uint32_t domid;

	given_vm(api, &vm, "");
	config = config_of(vm.uuid, "half made");
	assert_int_equal(b->ops->create(b, config, on_made, &domid), 0);
	xn_value_unref(config);
	api_crash(api, XN_CRASH_KILL);
	assert_non_null(vm_domain(&vm));
	assert_state(&vm, "Halted");
	api_run(api, 2);
	assert_null(vm_domain(&vm));
	assert_state(&vm, "Halted");
	vm_do(&vm, "VM.start", ",false,false");
	assert_state(&vm, "Running");
}

static void a_domain_that_was_made_to_wait_paused_still_waits_after_a_restart(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Paused", "");
	api_crash(*state, XN_CRASH_KILL);
	api_run(*state, 2);
	assert_state(&vm, "Paused");
	assert_non_null(vm_domain(&vm));
}

static void a_vm_whose_domain_went_meanwhile_is_halted_from_the_first_moment(void **state)
{
	struct api *api = *state;
	struct xn_backend *b = backend_of(api);
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "\"sim-destroy-ms\":\"0\"");
	assert_int_equal(b->ops->destroy(b, vm_domain(&vm)->domid, NULL, NULL), 0);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 1);
	assert_state(&vm, "Halted");
	assert_false(
		xn_row_bool(row_of(api, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
}

/* ---- what the guest says ---- */

static void drivers_are_detected_where_a_backend_is_connected(void **state)
{
	struct vm with, without;

	given_vm_that_is(*state, &with, "Running", "");
	given_vm_that_is(*state, &without, "Running", "\"sim-connect\":\"never\"");
	assert_true(xn_row_bool(guest_row(&with), XN_VM_guest_metrics_PV_drivers_detected));
	assert_false(xn_row_bool(guest_row(&without), XN_VM_guest_metrics_PV_drivers_detected));
	/* It cannot make itself believed. */
	put_below(&without, "device/vbd/51712/state", "4");
	assert_false(xn_row_bool(guest_row(&without), XN_VM_guest_metrics_PV_drivers_detected));
}

static void a_guest_cannot_hide_or_invent_its_devices(void **state)
{
	struct vm vm;
	const struct xn_row *vbd;
	struct xn_xs_conn *guest;

	given_vm_that_is(*state, &vm, "Running", "");
	vbd = row_of(*state, XN_CLASS_VBD, vm.disk);
	assert_true(xn_row_bool(vbd, XN_VBD_currently_attached));
	guest = xn_xs_conn_new(
		xn_xs_domain_find(xn_xenstore_embedded(xn_xenstore_of(&vm.api->core)),
				  vm_domain(&vm)->domid));
	assert_int_equal(xn_xs_conn_rm(guest, 0, "device"), 0);
	xn_xs_conn_free(guest);
	api_run(*state, 2);
	assert_true(xn_row_bool(vbd, XN_VBD_currently_attached));
}

static void beyond_its_quota_nothing_of_a_guest_is_read_and_that_shows(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running",
			 "\"sim-write-rate\":\"20000\",\"sim-write-keys\":\"12000\"");
	api_run(*state, 3);
	assert_string_equal(xn_row_map_string(guest_row(&vm), XN_VM_guest_metrics_other,
					      "guest_agent_quota_reached"),
			    "t");
	/* What it said before, and its devices, stand. */
	assert_string_equal(xn_row_map_string(guest_row(&vm), XN_VM_guest_metrics_other,
					      "feature-shutdown"),
			    "1");
	assert_true(
		xn_row_bool(row_of(*state, XN_CLASS_VBD, vm.disk), XN_VBD_currently_attached));
	assert_true(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "clean_shutdown"));
}

static void nodes_that_wait_for_a_guest_to_fill_them_are_no_features(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-agent\":\"none\"");
	put_below(&vm, "control/feature-s3", "");
	put_below(&vm, "control/feature-s4", "1");
	assert_null(xn_row_map_string(guest_row(&vm), XN_VM_guest_metrics_other, "feature-s3"));
	assert_string_equal(
		xn_row_map_string(guest_row(&vm), XN_VM_guest_metrics_other, "feature-s4"), "1");
}

static void the_clock_that_a_guest_sets_is_kept_for_its_next_boot(void **state)
{
	struct vm vm;
	char path[80];

	given_vm_that_is(*state, &vm, "Running", "");
	snprintf(path, sizeof(path), "/vm/%s/rtc/timeoffset", vm.uuid);
	put(&vm, path, "0");
	assert_null(xn_row_map_string(vm_row(&vm), XN_VM_platform, "timeoffset"));
	put(&vm, path, "-3600");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_platform, "timeoffset"), "-3600");
	put(&vm, path, "; rm");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_platform, "timeoffset"), "-3600");
}

static void windows_drivers_set_what_the_next_boot_needs(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-agent\":\"none\"");
	put_below(&vm, "data/device_id", "0002");
	put_below(&vm, "data/os_name", "Microsoft Windows Server 2022|C:\\Windows");
	put_below(&vm, "attr/PVAddons/BuildVersion", "1");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_platform, "device_id"), "0002");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_platform, "viridian"), "true");
}

/* ---- how it ends ---- */

static void stop_guest(struct vm *vm, enum xn_domain_shutdown reason)
{
	assert_int_equal(
		xn_sim_guest_stops(backend_of(vm->api), vm_domain(vm)->domid, reason), 0);
	api_run(vm->api, 30);
}

static void each_ending_follows_its_own_action(void **state)
{
	static const struct {
		enum xn_domain_shutdown reason;
		const char *setter, *action, *end;
	} cases[] = {
		{XN_SHUTDOWN_POWEROFF, "VM.set_actions_after_shutdown", "restart", "Running"},
		{XN_SHUTDOWN_POWEROFF, "VM.set_actions_after_shutdown", "destroy", "Halted"},
		{XN_SHUTDOWN_REBOOT, "VM.set_actions_after_reboot", "destroy", "Halted"},
		{XN_SHUTDOWN_WATCHDOG, "VM.set_actions_after_reboot", "restart", "Running"},
		{XN_SHUTDOWN_SOFT_RESET, "VM.set_actions_after_softreboot", "destroy", "Halted"},
		{XN_SHUTDOWN_SOFT_RESET, "VM.set_actions_after_softreboot", "soft_reboot",
		 "Running"},
		{XN_SHUTDOWN_CRASH, "VM.set_actions_after_crash", "restart", "Running"},
		{XN_SHUTDOWN_CRASH, "VM.set_actions_after_crash", "coredump_and_restart",
		 "Running"},
		{XN_SHUTDOWN_CRASH, "VM.set_actions_after_crash", "rename_restart", "Running"},
		{XN_SHUTDOWN_CRASH, "VM.set_actions_after_crash", "coredump_and_destroy",
		 "Halted"},
		{XN_SHUTDOWN_CRASH, "VM.set_actions_after_crash", "preserve", "Paused"},
	};
	char args[64];

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct vm vm;
		int64_t domid;

		given_vm(*state, &vm, "");
		snprintf(args, sizeof(args), ",\"%s\"", cases[i].action);
		vm_do(&vm, cases[i].setter, args);
		vm_do(&vm, "VM.start", ",false,false");
		api_run(*state, 130); /* it ran long enough to be started again after a crash */
		domid = xn_row_int(vm_row(&vm), XN_VM_domid);
		stop_guest(&vm, cases[i].reason);
		assert_state(&vm, cases[i].end);
		if (!strcmp(cases[i].end, "Running"))
			assert_true(xn_row_int(vm_row(&vm), XN_VM_domid) > domid);
		if (strcmp(cases[i].end, "Halted"))
			vm_do(&vm, "VM.hard_shutdown", "");
	}
}

static void a_guest_that_went_on_after_a_suspend_is_seen_to_end(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.checkpoint", ",\"before\"");
	api_run(*state, 60); /* whoever looks once more after a change has looked */
	stop_guest(&vm, XN_SHUTDOWN_POWEROFF);
	assert_state(&vm, "Halted");
}

static void a_crash_soon_after_the_start_is_not_started_again(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_actions_after_crash", ",\"restart\"");
	vm_do(&vm, "VM.start", ",false,false");
	stop_guest(&vm, XN_SHUTDOWN_CRASH);
	assert_state(&vm, "Halted");
}

static void what_is_kept_after_a_crash_is_kept_over_a_restart(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_actions_after_crash", ",\"preserve\"");
	vm_do(&vm, "VM.start", ",false,false");
	stop_guest(&vm, XN_SHUTDOWN_CRASH);
	assert_state(&vm, "Paused");
	api_crash(*state, XN_CRASH_KILL);
	assert_state(&vm, "Paused");
	api_run(*state, 2);
	assert_state(&vm, "Paused");
	assert_non_null(vm_domain(&vm));
}

static void a_core_dump_is_where_it_is_looked_for(void **state)
{
	struct api *api = *state;
	char path[128];
	struct stat st;
	struct vm vm;

	given_vm(api, &vm, "");
	vm_do(&vm, "VM.set_actions_after_crash", ",\"coredump_and_destroy\"");
	vm_do(&vm, "VM.start", ",false,false");
	stop_guest(&vm, XN_SHUTDOWN_CRASH);
	assert_state(&vm, "Halted");
	snprintf(path, sizeof(path), "%s/core-dumps/%s.core", api->dir, vm.uuid);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(domains_of_others_are_known_by_name_until_they_go),
		TEST(a_list_that_could_not_be_read_is_read_again),
		TEST(a_domain_that_was_never_finished_is_destroyed_after_a_restart),
		TEST(a_domain_that_was_made_to_wait_paused_still_waits_after_a_restart),
		TEST(a_vm_whose_domain_went_meanwhile_is_halted_from_the_first_moment),
		TEST(drivers_are_detected_where_a_backend_is_connected),
		TEST(a_guest_cannot_hide_or_invent_its_devices),
		TEST(beyond_its_quota_nothing_of_a_guest_is_read_and_that_shows),
		TEST(nodes_that_wait_for_a_guest_to_fill_them_are_no_features),
		TEST(the_clock_that_a_guest_sets_is_kept_for_its_next_boot),
		TEST(windows_drivers_set_what_the_next_boot_needs),
		TEST(each_ending_follows_its_own_action),
		TEST(a_guest_that_went_on_after_a_suspend_is_seen_to_end),
		TEST(a_crash_soon_after_the_start_is_not_started_again),
		TEST(what_is_kept_after_a_crash_is_kept_over_a_restart),
		TEST(a_core_dump_is_where_it_is_looked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
