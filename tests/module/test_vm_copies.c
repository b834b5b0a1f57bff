/* Copies of VMs: clone, copy, snapshot, provision of a template, and destroy. */
#include "tests/module/vm_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static struct xn_row *copy_of(struct vm *vm, const char *method, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->ref, more);
	char *json = api_do(vm->api, method, args);
	char ref[48];

	snprintf(ref, sizeof(ref), "%.46s", json + 1);
	free(json);
	free(args);
	return row_of(vm->api, XN_CLASS_VM, ref);
}

static struct xn_row *disk_of(struct vm *vm, struct xn_row *copy)
{
	const struct xn_value *vbds = xn_row_get(copy, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			row_of(vm->api, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (strcmp(xn_row_string(vbd, XN_VBD_type), "Disk") == 0)
			return vbd;
	}
	fail_msg("no disk");
	return NULL;
}

static struct xn_row *vif_of(struct vm *vm, struct xn_row *copy)
{
	return row_of(vm->api, XN_CLASS_VIF,
		      xn_value_string(xn_set_at(xn_row_get(copy, XN_VM_VIFs), 0)));
}

static void a_clone_has_its_own_disks_addresses_and_identity(void **state)
{
	struct vm vm;
	struct xn_row *copy, *vbd, *source;

	given_vm(*state, &vm, "\"mine\":\"yes\"");
	copy = copy_of(&vm, "VM.clone", ",\"two\"");
	source = vm_row(&vm);
	assert_string_equal(xn_row_string(copy, XN_VM_name_label), "two");
	assert_string_equal(xn_row_string(copy, XN_VM_power_state), "Halted");
	assert_string_not_equal(xn_row_uuid(copy), vm.uuid);
	assert_string_equal(xn_row_map_string(copy, XN_VM_other_config, "mine"), "yes");
	assert_string_not_equal(xn_row_map_string(copy, XN_VM_other_config, "mac_seed"),
				xn_row_map_string(source, XN_VM_other_config, "mac_seed"));
	assert_int_equal(xn_set_len(xn_row_get(copy, XN_VM_VBDs)), 2);
	vbd = disk_of(&vm, copy);
	assert_string_not_equal(xn_row_string(vbd, XN_VBD_VDI), vm.vdi);
	assert_non_null(xn_row_follow(vm.api->db, vbd, XN_VBD_VDI));
	assert_non_null(xn_row_map_string(vbd, XN_VBD_other_config, "owner"));
	assert_string_not_equal(xn_row_string(vif_of(&vm, copy), XN_VIF_MAC),
				xn_row_string(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_MAC));
	assert_true(is_allowed(copy, XN_VM_allowed_operations, "start"));
	assert_non_null(xn_row_follow(vm.api->db, copy, XN_VM_metrics));
	assert_string_equal(xn_row_string(copy, XN_VM_snapshot_of), XN_NULL_REF);
}

static void a_copy_goes_to_the_sr_that_is_named(void **state)
{
	struct vm vm;
	struct xn_row *copy, *vdi;
	char *more;

	given_vm(*state, &vm, "");
	vdi = row_of(vm.api, XN_CLASS_VDI, vm.vdi);
	more = xn_asprintf(",\"two\",\"%s\"", xn_row_string(vdi, XN_VDI_SR));
	copy = copy_of(&vm, "VM.copy", more);
	free(more);
	assert_non_null(xn_row_follow(vm.api->db, disk_of(&vm, copy), XN_VBD_VDI));
	copy = copy_of(&vm, "VM.copy", ",\"three\",\"OpaqueRef:NULL\"");
	assert_string_equal(xn_row_string(copy, XN_VM_name_label), "three");
}

static void a_snapshot_of_a_running_vm_is_a_template_with_its_addresses(void **state)
{
	struct vm vm;
	struct xn_row *snapshot, *source;

	given_vm_that_is(*state, &vm, "Running", "");
	snapshot = copy_of(&vm, "VM.snapshot", ",\"before\",[]");
	source = vm_row(&vm);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->paused);
	assert_true(xn_row_bool(snapshot, XN_VM_is_a_snapshot));
	assert_true(xn_row_bool(snapshot, XN_VM_is_a_template));
	assert_string_equal(xn_row_string(snapshot, XN_VM_snapshot_of), vm.ref);
	assert_true(xn_set_has_string(xn_row_get(source, XN_VM_snapshots), xn_row_ref(snapshot)));
	assert_string_equal(xn_row_string(source, XN_VM_parent), xn_row_ref(snapshot));
	assert_string_equal(
		xn_row_map_string(snapshot, XN_VM_snapshot_info, "power-state-at-snapshot"),
		"Running");
	assert_string_equal(xn_row_string(snapshot, XN_VM_power_state), "Halted");
	assert_int_equal(xn_row_int(snapshot, XN_VM_domid), -1);
	assert_string_equal(xn_row_string(vif_of(&vm, snapshot), XN_VIF_MAC),
			    xn_row_string(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_MAC));
	assert_false(xn_row_bool(disk_of(&vm, snapshot), XN_VBD_currently_attached));
	assert_true(is_allowed(snapshot, XN_VM_allowed_operations, "revert"));
	assert_true(is_allowed(source, XN_VM_allowed_operations, "snapshot"));
}

static void a_second_snapshot_is_a_child_of_the_first_and_takes_its_place(void **state)
{
	struct vm vm;
	struct xn_row *first, *second;
	char *args;

	given_vm(*state, &vm, "");
	first = copy_of(&vm, "VM.snapshot", ",\"a\",[]");
	second = copy_of(&vm, "VM.snapshot", ",\"b\",[]");
	assert_string_equal(xn_row_string(second, XN_VM_parent), xn_row_ref(first));
	args = xn_asprintf("[\"%s\"]", xn_row_ref(second));
	free(api_do(vm.api, "VM.destroy", args));
	free(args);
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_parent), xn_row_ref(first));
}

static void a_disk_can_be_left_out_of_a_snapshot(void **state)
{
	struct vm vm;
	struct xn_row *snapshot;
	char *more;

	given_vm(*state, &vm, "");
	more = xn_asprintf(",\"without\",[\"%s\"]", vm.vdi);
	snapshot = copy_of(&vm, "VM.snapshot", more);
	free(more);
	assert_int_equal(xn_set_len(xn_row_get(snapshot, XN_VM_VBDs)), 1);
}

/* Its copy would be a disk that no VM has, and the copied VM one without a disk. */
static void a_device_that_goes_while_its_disk_is_copied_ends_that_and_leaves_nothing(void **state)
{
	static const char *const calls[][2] = {{"VM.clone", ",\"two\""},
					       {"VM.copy", ",\"two\",\"OpaqueRef:NULL\""},
					       {"VM.snapshot", ",\"two\",[]"}};
	struct api *api = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(calls); i++) {
		XN_CLEANUP(xn_free_p) char *vbd = NULL;
		struct api_call call;
		struct vm vm;
		size_t vms, disks;

		given_vm(api, &vm, "");
		given_disks(&vm, 8);
		vms = xn_db_count(api->db, XN_CLASS_VM);
		disks = xn_db_count(api->db, XN_CLASS_VDI);
		vbd = xn_asprintf("[\"%s\"]", vm.disk);
		vm_begin(&vm, &call, calls[i][0], calls[i][1]);
		while (!call.done && xn_db_count(api->db, XN_CLASS_VDI) == disks)
			xn_loop_turn(api->core.loop, -1);
		free(api_do(api, "VBD.destroy", vbd));
		api_wait(api, &call.done);
		assert_non_null(call.err.code);
		assert_string_equal(call.err.code, "HANDLE_INVALID");
		api_call_clear(&call);
		assert_int_equal(xn_db_count(api->db, XN_CLASS_VM), vms);
		assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
	}
}

/* It would be one transaction. */
static void a_vm_whose_rows_are_too_much_at_once_is_not_copied(void **state)
{
	enum { LEN = 3 << 20 };
	static const char *const calls[][2] = {{"VM.clone", ",\"two\""},
					       {"VM.copy", ",\"two\",\"OpaqueRef:NULL\""},
					       {"VM.snapshot", ",\"two\",[]"}};
	char *text = xn_malloc(LEN + 1);
	const struct xn_value *vbds;
	size_t vms, disks;
	struct vm vm;

	given_vm(*state, &vm, "");
	given_disks(&vm, 2);
	memset(text, 'x', LEN);
	text[LEN] = '\0';
	vbds = xn_row_get(vm_row(&vm), XN_VM_VBDs);
	for (size_t i = 0; i < xn_set_len(vbds); i++)
		xn_db_map_put(vm.api->db,
			      row_of(vm.api, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i))),
			      XN_VBD_other_config, "big", text);
	free(text);
	vms = xn_db_count(vm.api->db, XN_CLASS_VM);
	disks = xn_db_count(vm.api->db, XN_CLASS_VDI);
	for (size_t i = 0; i < XN_ARRAY_SIZE(calls); i++)
		vm_fail(&vm, calls[i][0], calls[i][1], "OPERATION_NOT_ALLOWED", NULL);
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_VM), vms);
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_VDI), disks);
}

static void a_provisioned_template_is_a_vm_with_the_disks_it_asks_for(void **state)
{
	struct vm vm;
	struct xn_row *copy, *vbd, *vdi;
	char *args;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_is_a_template", ",true");
	copy = copy_of(&vm, "VM.clone", ",\"two\"");
	assert_true(xn_row_bool(copy, XN_VM_is_a_template));
	assert_string_equal(xn_row_map_string(copy, XN_VM_other_config, "base_template_name"),
			    "one");
	xn_db_map_put(vm.api->db, copy, XN_VM_other_config, "disks",
		      "<provision><disk device=\"5\" size=\"2097152\" sr=\"\" bootable=\"true\" "
		      "type=\"system\"/></provision>");
	args = xn_asprintf("[\"%s\"]", xn_row_ref(copy));
	free(api_do(vm.api, "VM.provision", args));
	free(args);
	assert_false(xn_row_bool(copy, XN_VM_is_a_template));
	assert_null(xn_row_map_string(copy, XN_VM_other_config, "disks"));
	assert_int_equal(xn_set_len(xn_row_get(copy, XN_VM_VBDs)), 3);
	for (size_t i = 0; i < 3; i++) {
		vbd = row_of(vm.api, XN_CLASS_VBD,
			     xn_value_string(xn_set_at(xn_row_get(copy, XN_VM_VBDs), i)));
		if (strcmp(xn_row_string(vbd, XN_VBD_userdevice), "5") != 0)
			continue;
		vdi = xn_row_follow(vm.api->db, vbd, XN_VBD_VDI);
		assert_int_equal(xn_row_int(vdi, XN_VDI_virtual_size), 2097152);
		assert_false(xn_row_bool(vbd, XN_VBD_unpluggable));
		assert_true(xn_row_bool(vbd, XN_VBD_bootable));
	}
	assert_true(is_allowed(copy, XN_VM_allowed_operations, "start"));
}

static void disks_that_cannot_be_understood_are_refused_before_anything_is_made(void **state)
{
	static const char *const texts[] = {
		"nonsense",
		"<provision><disk device=\"0\" size=\"-5\" sr=\"\"/></provision>",
		"<provision><disk size=\"5\" sr=\"\"/></provision>",
		"<!DOCTYPE p [<!ENTITY a \"b\">]><provision/>",
		"<provision><disk device=\"0\" size=\"5\"><x><y/></x></disk></provision>",
	};
	struct vm vm;
	size_t vdis;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_is_a_template", ",true");
	vdis = xn_db_count(vm.api->db, XN_CLASS_VDI);
	for (size_t i = 0; i < XN_ARRAY_SIZE(texts); i++) {
		xn_db_map_put(vm.api->db, vm_row(&vm), XN_VM_other_config, "disks", texts[i]);
		vm_fail(&vm, "VM.provision", "", XN_ERR_INTERNAL_ERROR, NULL);
	}
	xn_db_map_put(vm.api->db, vm_row(&vm), XN_VM_other_config, "disks",
		      "<provision><disk device=\"0\" size=\"5\" sr=\"no such\"/></provision>");
	vm_fail(&vm, "VM.provision", "", XN_ERR_UUID_INVALID, NULL);
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_VDI), vdis);
	assert_true(xn_row_bool(vm_row(&vm), XN_VM_is_a_template));
}

static void a_destroyed_vm_leaves_its_disks(void **state)
{
	struct vm vm;
	size_t vdis, metrics;

	given_vm(*state, &vm, "");
	vdis = xn_db_count(vm.api->db, XN_CLASS_VDI);
	metrics = xn_db_count(vm.api->db, XN_CLASS_VM_metrics);
	vm_do(&vm, "VM.destroy", "");
	assert_null(xn_db_get(vm.api->db, XN_CLASS_VM, vm.ref));
	assert_null(xn_db_get(vm.api->db, XN_CLASS_VBD, vm.disk));
	assert_null(xn_db_get(vm.api->db, XN_CLASS_VIF, vm.vif));
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_VDI), vdis);
	assert_int_equal(xn_db_count(vm.api->db, XN_CLASS_VM_metrics), metrics - 1);
	assert_int_equal(xn_set_len(xn_row_get(row_of(vm.api, XN_CLASS_VDI, vm.vdi), XN_VDI_VBDs)),
			 0);
}

/* ---- setters that look at more than their field ---- */

static void limits_of_memory_keep_their_order(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_fail(&vm, "VM.set_memory_limits", ",16777216,33554432,67108864,33554432",
		XN_ERR_MEMORY_CONSTRAINT_VIOLATION_ORDER, NULL);
	vm_do(&vm, "VM.set_memory_limits", ",16777216,134217728,33554432,67108864");
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_memory_static_max), 134217728);
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_memory_target), 33554432);
	vm_do(&vm, "VM.start", ",false,false");
	vm_fail(&vm, "VM.set_memory_static_max", ",268435456", XN_ERR_VM_BAD_POWER_STATE, NULL);
	vm_do(&vm, "VM.set_memory_dynamic_range", ",67108864,134217728");
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_memory_dynamic_max), 134217728);
	api_run(vm.api, 2);
	assert_int_equal(vm_domain(&vm)->memory_bytes, 134217728); /* there is enough */
}

static void processors_stay_within_their_bounds(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_fail(&vm, "VM.set_VCPUs_at_startup", ",2", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.set_VCPUs_max", ",4");
	vm_do(&vm, "VM.set_VCPUs_at_startup", ",2");
	vm_fail(&vm, "VM.set_VCPUs_max", ",1", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.set_platform", ",{\"cores-per-socket\":\"2\"}");
	vm_fail(&vm, "VM.set_VCPUs_max", ",3", XN_ERR_VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE, NULL);
}

static void blocking_an_operation_takes_it_off_the_list(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.add_to_blocked_operations", ",\"start\",\"not now\"");
	assert_false(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "start"));
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_OPERATION_BLOCKED, NULL);
	vm_fail(&vm, "VM.add_to_blocked_operations", ",\"start\",\"again\"",
		XN_ERR_MAP_DUPLICATE_KEY, NULL);
	vm_do(&vm, "VM.remove_from_blocked_operations", ",\"start\"");
	assert_true(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "start"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_clone_has_its_own_disks_addresses_and_identity),
		TEST(a_copy_goes_to_the_sr_that_is_named),
		TEST(a_snapshot_of_a_running_vm_is_a_template_with_its_addresses),
		TEST(a_second_snapshot_is_a_child_of_the_first_and_takes_its_place),
		TEST(a_disk_can_be_left_out_of_a_snapshot),
		TEST(a_device_that_goes_while_its_disk_is_copied_ends_that_and_leaves_nothing),
		TEST(a_vm_whose_rows_are_too_much_at_once_is_not_copied),
		TEST(a_provisioned_template_is_a_vm_with_the_disks_it_asks_for),
		TEST(disks_that_cannot_be_understood_are_refused_before_anything_is_made),
		TEST(a_destroyed_vm_leaves_its_disks),
		TEST(limits_of_memory_keep_their_order),
		TEST(processors_stay_within_their_bounds),
		TEST(blocking_an_operation_takes_it_off_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
