/* Disks, CDs and network interfaces of VMs: made, plugged, changed, taken away. */
#include "tests/module/vm_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static char *device_args(const char *ref, const char *more)
{
	return xn_asprintf("[\"%s\"%s]", ref, more);
}

static void device_do(struct api *api, const char *ref, const char *method, const char *more)
{
	char *args = device_args(ref, more);

	free(api_do(api, method, args));
	free(args);
}

static void device_fail(struct api *api, const char *ref, const char *method, const char *more,
			const char *code, struct xn_error *err)
{
	char *args = device_args(ref, more);

	api_fail(api, method, args, code, err);
	free(args);
}

static bool vbd_is_attached(const struct vm *vm)
{
	return xn_row_bool(row_of(vm->api, XN_CLASS_VBD, vm->disk), XN_VBD_currently_attached);
}

static bool vif_is_attached(const struct vm *vm)
{
	return xn_row_bool(row_of(vm->api, XN_CLASS_VIF, vm->vif), XN_VIF_currently_attached);
}

/* ---- plug and unplug ---- */

static void a_disk_is_unplugged_and_plugged_again(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	device_do(vm.api, vm.disk, "VBD.unplug", "");
	assert_false(vbd_is_attached(&vm));
	assert_true(is_allowed(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_allowed_operations,
			       "plug"));
	assert_false(is_allowed(row_of(vm.api, XN_CLASS_VBD, vm.disk), XN_VBD_allowed_operations,
				"unplug"));
	device_do(vm.api, vm.disk, "VBD.plug", "");
	assert_true(vbd_is_attached(&vm));
}

static void plugging_twice_and_unplugging_twice_is_refused(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	device_fail(vm.api, vm.disk, "VBD.plug", "", XN_ERR_DEVICE_ALREADY_ATTACHED, NULL);
	device_do(vm.api, vm.disk, "VBD.unplug", "");
	device_fail(vm.api, vm.disk, "VBD.unplug", "", XN_ERR_DEVICE_ALREADY_DETACHED, NULL);
	device_fail(vm.api, vm.vif, "VIF.plug", "", XN_ERR_DEVICE_ALREADY_ATTACHED, NULL);
}

static void a_halted_vm_has_nothing_to_plug_into(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm(*state, &vm, "");
	device_fail(vm.api, vm.disk, "VBD.plug", "", XN_ERR_VM_BAD_POWER_STATE, &err);
	assert_string_equal(err.params[1], "running");
	assert_string_equal(err.params[2], "halted");
	xn_error_clear(&err);
}

static void a_guest_that_holds_its_disk_is_named_and_force_takes_it(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-unplug\":\"refuse\"");
	device_fail(vm.api, vm.disk, "VBD.unplug", "", XN_ERR_DEVICE_DETACH_REJECTED, &err);
	assert_string_equal(err.params[0], "VBD");
	assert_string_equal(err.params[1], vm.disk);
	xn_error_clear(&err);
	assert_true(vbd_is_attached(&vm));
	device_do(vm.api, vm.disk, "VBD.unplug_force", "");
	assert_false(vbd_is_attached(&vm));
}

static void a_disk_in_use_is_not_plugged_elsewhere(void **state)
{
	struct xn_error err = {0};
	struct vm one, two;

	given_vm_that_is(*state, &one, "Running", "");
	given_vm_that_is(*state, &two, "Running", "");
	device_do(two.api, two.disk, "VBD.unplug", "");
	xn_db_set_string(two.api->db, row_of(two.api, XN_CLASS_VBD, two.disk), XN_VBD_VDI, one.vdi);
	device_fail(two.api, two.disk, "VBD.plug", "", XN_ERR_VDI_IN_USE, &err);
	assert_string_equal(err.params[0], one.vdi);
	xn_error_clear(&err);
}

static void an_interface_is_unplugged_plugged_and_moved(void **state)
{
	struct vm vm;
	struct xn_row *network = NULL;
	char *more;

	given_vm_that_is(*state, &vm, "Running", "");
	device_do(vm.api, vm.vif, "VIF.unplug", "");
	assert_false(vif_is_attached(&vm));
	device_do(vm.api, vm.vif, "VIF.plug", "");
	assert_true(vif_is_attached(&vm));
	for (struct xn_row *row = xn_db_first(vm.api->db, XN_CLASS_network); row;
	     row = xn_db_next(vm.api->db, row))
		if (strcmp(xn_row_ref(row), xn_row_string(row_of(vm.api, XN_CLASS_VIF, vm.vif),
							  XN_VIF_network)) != 0)
			network = row;
	assert_non_null(network);
	more = xn_asprintf(",\"%s\"", xn_row_ref(network));
	device_do(vm.api, vm.vif, "VIF.move", more);
	free(more);
	assert_true(vif_is_attached(&vm));
	assert_string_equal(xn_row_string(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_network),
			    xn_row_ref(network));
}

/* ---- media ---- */

static void a_cd_is_inserted_and_ejected_whether_the_vm_runs_or_not(void **state)
{
	static const char *const states[] = {"Halted", "Running"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(states); i++) {
		struct vm vm, other;
		char *more;

		given_vm_that_is(*state, &vm, states[i], "");
		given_vm(*state, &other, "");
		more = xn_asprintf(",\"%s\"", other.vdi);
		device_do(vm.api, vm.cd, "VBD.insert", more);
		assert_false(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.cd), XN_VBD_empty));
		assert_string_equal(xn_row_string(row_of(vm.api, XN_CLASS_VBD, vm.cd), XN_VBD_VDI),
				    other.vdi);
		device_fail(vm.api, vm.cd, "VBD.insert", more, XN_ERR_VBD_NOT_EMPTY, NULL);
		api_run(vm.api, 1);
		assert_false(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.cd), XN_VBD_empty));
		device_do(vm.api, vm.cd, "VBD.eject", "");
		assert_true(xn_row_bool(row_of(vm.api, XN_CLASS_VBD, vm.cd), XN_VBD_empty));
		assert_string_equal(xn_row_string(row_of(vm.api, XN_CLASS_VBD, vm.cd), XN_VBD_VDI),
				    XN_NULL_REF);
		device_fail(vm.api, vm.cd, "VBD.eject", "", XN_ERR_VBD_IS_EMPTY, NULL);
		device_fail(vm.api, vm.disk, "VBD.eject", "", XN_ERR_VBD_NOT_REMOVABLE_MEDIA, NULL);
		free(more);
	}
}

/* ---- create and destroy ---- */

static void positions_are_given_out_once(void **state)
{
	struct xn_error err = {0};
	struct vm vm;
	char *free_ones, *args;

	given_vm(*state, &vm, "");
	args = device_args(vm.ref, "");
	free_ones = api_do(vm.api, "VM.get_allowed_VBD_devices", args);
	assert_memory_equal(free_ones, "[\"2\",\"3\"", 8);
	free(free_ones);
	free_ones = api_do(vm.api, "VM.get_allowed_VIF_devices", args);
	assert_memory_equal(free_ones, "[\"1\",\"2\"", 8);
	free(free_ones);
	free(args);
	args = xn_asprintf(
		"[{\"VM\":\"%s\",\"VDI\":\"%s\",\"userdevice\":\"xvda\",\"bootable\":true,"
		"\"mode\":\"RW\",\"type\":\"Disk\",\"empty\":false,\"other_config\":{},"
		"\"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}]",
		vm.ref, vm.vdi);
	api_fail(vm.api, "VBD.create", args, XN_ERR_DEVICE_ALREADY_EXISTS, &err);
	assert_string_equal(err.params[0], "xvda");
	xn_error_clear(&err);
	free(args);
}

static void what_is_attached_is_not_destroyed(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	device_fail(vm.api, vm.disk, "VBD.destroy", "", XN_ERR_OPERATION_NOT_ALLOWED, NULL);
	device_fail(vm.api, vm.vif, "VIF.destroy", "", XN_ERR_OPERATION_NOT_ALLOWED, NULL);
	vm_do(&vm, "VM.hard_shutdown", "");
	device_do(vm.api, vm.disk, "VBD.destroy", "");
	device_do(vm.api, vm.vif, "VIF.destroy", "");
	assert_int_equal(xn_set_len(xn_row_get(vm_row(&vm), XN_VM_VIFs)), 0);
}

static void an_empty_mac_is_derived_from_the_vms_seed(void **state)
{
	struct vm one, two;
	struct xn_row *vif;

	given_vm(*state, &one, "\"mac_seed\":\"4a8a1d2c-2f4e-4f0a-9c57-9a8f00000001\"");
	given_vm(*state, &two, "\"mac_seed\":\"4a8a1d2c-2f4e-4f0a-9c57-9a8f00000001\"");
	vif = row_of(one.api, XN_CLASS_VIF, one.vif);
	assert_true(xn_row_bool(vif, XN_VIF_MAC_autogenerated));
	assert_string_equal(xn_row_string(vif, XN_VIF_MAC),
			    xn_row_string(row_of(two.api, XN_CLASS_VIF, two.vif), XN_VIF_MAC));
	assert_int_equal(strtol((const char[]){xn_row_string(vif, XN_VIF_MAC)[1], 0}, NULL, 16) & 3,
			 2);
}

static void addresses_are_looked_at(void **state)
{
	struct vm vm;
	struct xn_row *vif;

	given_vm_that_is(*state, &vm, "Running", "");
	device_fail(vm.api, vm.vif, "VIF.set_ipv4_allowed", ",[\"10.0.0.256\"]",
		    XN_ERR_INVALID_VALUE, NULL);
	device_do(vm.api, vm.vif, "VIF.set_ipv4_allowed", ",[\"10.0.0.1\"]");
	device_do(vm.api, vm.vif, "VIF.add_ipv6_allowed", ",\"fe80::1\"");
	device_fail(vm.api, vm.vif, "VIF.configure_ipv4", ",\"Static\",\"10.0.0.9\",\"\"",
		    XN_ERR_INVALID_CIDR_ADDRESS_SPECIFIED, NULL);
	device_do(vm.api, vm.vif, "VIF.configure_ipv4", ",\"Static\",\"10.0.0.9/24\",\"10.0.0.1\"");
	vif = row_of(vm.api, XN_CLASS_VIF, vm.vif);
	assert_string_equal(xn_row_string(vif, XN_VIF_ipv4_configuration_mode), "Static");
	assert_string_equal(xn_row_string(vif, XN_VIF_ipv4_gateway), "10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_disk_is_unplugged_and_plugged_again),
		TEST(plugging_twice_and_unplugging_twice_is_refused),
		TEST(a_halted_vm_has_nothing_to_plug_into),
		TEST(a_guest_that_holds_its_disk_is_named_and_force_takes_it),
		TEST(a_disk_in_use_is_not_plugged_elsewhere),
		TEST(an_interface_is_unplugged_plugged_and_moved),
		TEST(a_cd_is_inserted_and_ejected_whether_the_vm_runs_or_not),
		TEST(positions_are_given_out_once),
		TEST(what_is_attached_is_not_destroyed),
		TEST(an_empty_mac_is_derived_from_the_vms_seed),
		TEST(addresses_are_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
