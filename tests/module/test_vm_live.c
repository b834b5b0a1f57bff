/*
 * What can be changed in a VM that runs: processors, shadow memory, triggers, its keys in xenstore,
 * the addresses of its interfaces; and what is refused when it boots.
 */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"
#include "modules/xenstore/store/store.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- xenstore, as domain 0 or the guest ---- */

static struct xn_xs_conn *connect_as(const struct vm *vm, uint32_t domid)
{
	struct xn_xs_store *store = xn_xenstore_embedded(xn_xenstore_of(&vm->api->core));

	return xn_xs_conn_new(xn_xs_domain_find(store, domid));
}

static char *path_of(const struct vm *vm, const char *key)
{
	return xn_asprintf("/local/domain/%u/%s", vm_domain(vm)->domid, key);
}

/* @expected NULL: absent. */
static void assert_key(const struct vm *vm, const char *key, const char *expected)
{
	struct xn_xs_conn *conn = connect_as(vm, 0);
	char *path = path_of(vm, key), text[256] = "";
	const char *value;
	size_t len;
	int rc = xn_xs_conn_read(conn, 0, path, &value, &len);

	if (expected) {
		assert_int_equal(rc, 0);
		snprintf(text, sizeof(text), "%.*s", (int)len, value);
		assert_string_equal(text, expected);
	} else {
		assert_true(rc < 0);
	}
	xn_xs_conn_free(conn);
	free(path);
}

static void guest_writes(const struct vm *vm, const char *key, const char *value)
{
	struct xn_xs_conn *conn = connect_as(vm, vm_domain(vm)->domid);

	assert_int_equal(xn_xs_conn_write_string(conn, 0, key, value), 0);
	xn_xs_conn_free(conn);
	api_run(vm->api, 2);
}

static const char *data_of(const struct vm *vm, const char *key)
{
	return xn_row_map_string(vm_row(vm), XN_VM_xenstore_data, key);
}

/* ---- keys of the VM ---- */

static void keys_set_before_the_start_are_there(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_xenstore_data", ",{\"vm-data/a/b\":\"1\",\"other\":\"2\"}");
	vm_do(&vm, "VM.start", ",false,false");
	assert_key(&vm, "vm-data/a/b", "1");
	assert_key(&vm, "other", NULL);
	api_run(vm.api, 2);
	assert_string_equal(data_of(&vm, "vm-data/a/b"), "1");
	assert_string_equal(data_of(&vm, "other"), "2");
}

static void keys_change_while_it_runs(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.add_to_xenstore_data", ",\"vm-data/x\",\"1\"");
	assert_key(&vm, "vm-data/x", "1");
	vm_fail(&vm, "VM.add_to_xenstore_data", ",\"vm-data/x\",\"2\"", XN_ERR_MAP_DUPLICATE_KEY,
		NULL);
	vm_do(&vm, "VM.set_xenstore_data", ",{\"vm-data/x\":\"3\",\"vm-data/y\":\"4\"}");
	api_run(vm.api, 2);
	assert_key(&vm, "vm-data/x", "3");
	assert_string_equal(data_of(&vm, "vm-data/y"), "4");
	vm_do(&vm, "VM.remove_from_xenstore_data", ",\"vm-data/x\"");
	assert_key(&vm, "vm-data/x", NULL);
	api_run(vm.api, 2);
	assert_null(data_of(&vm, "vm-data/x"));
	assert_string_equal(data_of(&vm, "vm-data/y"), "4");
}

static void what_the_guest_writes_comes_back(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	guest_writes(&vm, "vm-data/answer", "42");
	assert_string_equal(data_of(&vm, "vm-data/answer"), "42");
	vm_do(&vm, "VM.hard_reboot", "");
	api_run(vm.api, 2);
	assert_key(&vm, "vm-data/answer", "42");
}

static void only_the_vms_own_part_is_written(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.set_xenstore_data",
	      ",{\"control/shutdown\":\"poweroff\",\"vm-data/../../0/x\":\"1\",\"vm-data//"
	      "y\":\"1\"}");
	api_run(vm.api, 3);
	assert_state(&vm, "Running");
	assert_key(&vm, "vm-data/y", NULL);
}

/* ---- addresses ---- */

static void configure(struct vm *vm, const char *method, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->vif, more);

	free(api_do(vm->api, method, args));
	free(args);
}

#define SETTING "xenserver/device/vif/0/static-ip-setting/"

static void a_running_guest_is_told_its_addresses(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	configure(&vm, "VIF.configure_ipv4", ",\"Static\",\"10.0.0.5/24\",\"10.0.0.1\"");
	configure(&vm, "VIF.configure_ipv6", ",\"Static\",\"fd00::5/64\",\"\"");
	assert_key(&vm, SETTING "enabled", "1");
	assert_key(&vm, SETTING "address", "10.0.0.5/24");
	assert_key(&vm, SETTING "gateway", "10.0.0.1");
	assert_key(&vm, SETTING "enabled6", "1");
	assert_key(&vm, SETTING "address6", "fd00::5/64");
	assert_key(&vm, SETTING "error-code", "0");
	guest_writes(&vm, SETTING "error-code", "7"); /* it may report */
	configure(&vm, "VIF.configure_ipv4", ",\"None\"");
	assert_key(&vm, SETTING "enabled", "0");
	assert_key(&vm, SETTING "address", "");
	assert_key(&vm, SETTING "address6", "fd00::5/64");
}

static void a_guest_that_starts_is_told_too(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	configure(&vm, "VIF.configure_ipv4", ",\"Static\",\"10.0.0.5/24\",\"10.0.0.1\"");
	vm_do(&vm, "VM.start", ",true,false");
	assert_key(&vm, SETTING "address", "10.0.0.5/24");
	assert_key(&vm, SETTING "mac",
		   xn_row_string(row_of(vm.api, XN_CLASS_VIF, vm.vif), XN_VIF_MAC));
}

static void addresses_are_checked(void **state)
{
	struct xn_error err = {0};
	struct vm vm;
	char *args;

	given_vm(*state, &vm, "");
	args = xn_asprintf("[\"%s\",\"Static\",\"10.0.0.5\",\"\"]", vm.vif);
	api_fail(vm.api, "VIF.configure_ipv4", args, XN_ERR_INVALID_CIDR_ADDRESS_SPECIFIED, &err);
	assert_string_equal(err.params[0], "address");
	xn_error_clear(&err);
	free(args);
	args = xn_asprintf("[\"%s\",\"Static\",\"10.0.0.5/24\",\"nowhere\"]", vm.vif);
	api_fail(vm.api, "VIF.configure_ipv4", args, XN_ERR_INVALID_IP_ADDRESS_SPECIFIED, &err);
	assert_string_equal(err.params[0], "gateway");
	xn_error_clear(&err);
	free(args);
}

/* ---- processors, memory of the hypervisor's, triggers ---- */

static void processors_change_while_it_runs(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.set_VCPUs_max", ",4");
	vm_do(&vm, "VM.start", ",false,false");
	api_run(vm.api, 2);
	vm_do(&vm, "VM.set_VCPUs_number_live", ",3");
	assert_int_equal(xn_row_int(xn_row_follow(vm.api->db, vm_row(&vm), XN_VM_metrics),
				    XN_VM_metrics_VCPUs_number),
			 3);
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_VCPUs_at_startup), 3);
	api_run(vm.api, 2);
	assert_int_equal(vm_domain(&vm)->vcpus, 3);
	vm_fail(&vm, "VM.set_VCPUs_number_live", ",5", XN_ERR_INVALID_VALUE, NULL);
}

static void shadow_memory_changes_while_it_runs(void **state)
{
	struct xn_host_info before, after;
	struct xn_backend *b;
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	b = backend_of(vm.api);
	b->ops->host_info(b, &before);
	vm_do(&vm, "VM.set_shadow_multiplier_live", ",4.0");
	b->ops->host_info(b, &after);
	assert_true(after.memory_free < before.memory_free);
	assert_true(xn_value_float(xn_row_get(vm_row(&vm), XN_VM_HVM_shadow_multiplier)) == 4.0);
	assert_int_equal(xn_row_int(vm_row(&vm), XN_VM_memory_overhead),
			 xn_vm_memory_overhead(vm_row(&vm)));
	vm_fail(&vm, "VM.set_shadow_multiplier_live", ",0.5", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.hard_shutdown", "");
	vm_fail(&vm, "VM.set_shadow_multiplier_live", ",2.0", XN_ERR_VM_BAD_POWER_STATE, NULL);
}

static void the_scheduler_is_told_while_it_runs(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.add_to_VCPUs_params_live", ",\"weight\",\"512\"");
	vm_do(&vm, "VM.add_to_VCPUs_params_live", ",\"weight\",\"300\"");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_VCPUs_params, "weight"), "300");
	vm_fail(&vm, "VM.add_to_VCPUs_params_live", ",\"weight\",\"0\"", XN_ERR_INVALID_VALUE,
		NULL);
	vm_fail(&vm, "VM.add_to_VCPUs_params_live", ",\"colour\",\"1\"", XN_ERR_INVALID_VALUE,
		NULL);
}

static void triggers_and_keys_are_known_ones(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.send_trigger", ",\"nmi\"");
	vm_do(&vm, "VM.send_sysrq", ",\"h\"");
	vm_fail(&vm, "VM.send_trigger", ",\"bang\"", XN_ERR_INVALID_VALUE, NULL);
	vm_fail(&vm, "VM.send_sysrq", ",\"bb\"", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.send_sysrq", ",\"o\"");
	api_run(vm.api, 5);
	assert_state(&vm, "Halted");
	vm_fail(&vm, "VM.send_trigger", ",\"nmi\"", XN_ERR_VM_BAD_POWER_STATE, NULL);
}

/* ---- small ones ---- */

static void there_are_no_plugins(void **state)
{
	struct xn_error err = {0};
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_fail(&vm, "VM.call_plugin", ",\"guest-tool\",\"run\",{}", XN_ERR_XENAPI_MISSING_PLUGIN,
		&err);
	assert_string_equal(err.params[0], "guest-tool");
	xn_error_clear(&err);
	vm_do(&vm, "VM.hard_shutdown", "");
	vm_fail(&vm, "VM.call_plugin", ",\"guest-tool\",\"run\",{}", XN_ERR_VM_BAD_POWER_STATE,
		NULL);
}

static void a_platform_that_no_domain_can_have_is_refused_at_the_start(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	vm_do(&vm, "VM.add_to_platform", ",\"parallel\",\"/etc/shadow\"");
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.remove_from_platform", ",\"parallel\"");
	vm_do(&vm, "VM.add_to_platform", ",\"usb\",\"false\"");
	vm_do(&vm, "VM.add_to_platform", ",\"usb_tablet\",\"true\"");
	vm_fail(&vm, "VM.start", ",false,false", XN_ERR_INVALID_VALUE, NULL);
	vm_do(&vm, "VM.remove_from_platform", ",\"usb\"");
	vm_do(&vm, "VM.start", ",false,false");
}

static void uefi_variables_are_kept_while_it_runs(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	vm_do(&vm, "VM.set_NVRAM_EFI_variables", ",\"VkFSUw==\"");
	assert_string_equal(xn_row_map_string(vm_row(&vm), XN_VM_NVRAM, "EFI-variables"),
			    "VkFSUw==");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(keys_set_before_the_start_are_there),
		TEST(keys_change_while_it_runs),
		TEST(what_the_guest_writes_comes_back),
		TEST(only_the_vms_own_part_is_written),
		TEST(a_running_guest_is_told_its_addresses),
		TEST(a_guest_that_starts_is_told_too),
		TEST(addresses_are_checked),
		TEST(processors_change_while_it_runs),
		TEST(shadow_memory_changes_while_it_runs),
		TEST(the_scheduler_is_told_while_it_runs),
		TEST(triggers_and_keys_are_known_ones),
		TEST(there_are_no_plugins),
		TEST(a_platform_that_no_domain_can_have_is_refused_at_the_start),
		TEST(uefi_variables_are_kept_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
