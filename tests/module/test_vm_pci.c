/* PCI devices handed to VMs: what the rows say, and starts that cannot be. */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *pci_ref(struct api *api, const char *address)
{
	struct xn_row *row = xn_host_pci(xn_host_of(&api->core), address);

	assert_non_null(row);
	return xn_row_ref(row);
}

static bool has(const struct vm *vm, const char *address)
{
	return xn_set_has_string(xn_row_get(vm_row(vm), XN_VM_attached_PCIs),
				 pci_ref(vm->api, address));
}

static void given_vm_with(struct api *api, struct vm *vm, const char *pci)
{
	char *other = xn_asprintf("\"pci\":\"%s\"", pci);

	given_vm(api, vm, other);
	free(other);
}

static void the_host_has_its_devices(void **state)
{
	struct api *api = *state;
	struct xn_row *row = xn_host_pci(xn_host_of(&api->core), "0000:03:00.0");

	assert_non_null(row);
	assert_string_equal(xn_row_string(row, XN_PCI_class_id), "0300");
	assert_true(xn_set_has_string(xn_row_get(row, XN_PCI_dependencies),
				      pci_ref(api, "0000:03:00.1")));
	assert_true(xn_set_has_string(xn_row_get(xn_db_first(api->db, XN_CLASS_host), XN_host_PCIs),
				      xn_row_ref(row)));
}

static void rows_of_devices_outlive_a_restart(void **state)
{
	struct api *api = *state;
	char ref[48];

	snprintf(ref, sizeof(ref), "%s", pci_ref(api, "0000:04:00.0"));
	api_restart(api);
	assert_string_equal(pci_ref(api, "0000:04:00.0"), ref);
}

static void a_running_vm_has_its_devices(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_with(api, &vm, "0/0000:03:00.0,1/0000:03:00.1");
	assert_false(has(&vm, "0000:03:00.0"));
	vm_do(&vm, "VM.start", ",false,false");
	assert_true(has(&vm, "0000:03:00.0") && has(&vm, "0000:03:00.1"));
	assert_false(has(&vm, "0000:04:00.0"));
	assert_true(xn_set_has_string(
		xn_row_get(row_of(api, XN_CLASS_PCI, pci_ref(api, "0000:03:00.0")),
			   XN_PCI_attached_VMs),
		vm.ref));
	vm_fail(&vm, "VM.suspend", "", XN_ERR_VM_HAS_PCI_ATTACHED, NULL);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 2);
	assert_true(has(&vm, "0000:03:00.0"));
	vm_do(&vm, "VM.hard_shutdown", "");
	assert_false(has(&vm, "0000:03:00.0"));
}

static void a_device_that_is_missing_or_taken_is_told_before_anything_is_built(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm first, second;

	given_vm_with(api, &first, "0/0000:04:00.0");
	given_vm_with(api, &second, "0/0000:04:00.0");
	vm_do(&first, "VM.start", ",false,false");
	vm_fail(&second, "VM.start", ",false,false", XN_ERR_DEVICE_ALREADY_ATTACHED, &err);
	assert_string_equal(err.params[0], pci_ref(api, "0000:04:00.0"));
	xn_error_clear(&err);
	vm_do(&second, "VM.remove_from_other_config", ",\"pci\"");
	vm_do(&second, "VM.add_to_other_config", ",\"pci\",\"0/0000:77:00.0\"");
	vm_fail(&second, "VM.start", ",false,false", XN_ERR_INVALID_DEVICE, &err);
	assert_string_equal(err.params[0], "0000:77:00.0");
	xn_error_clear(&err);
	vm_do(&second, "VM.remove_from_other_config", ",\"pci\"");
	vm_do(&second, "VM.add_to_other_config", ",\"pci\",\"0/nonsense\"");
	vm_fail(&second, "VM.start", ",false,false", XN_ERR_INVALID_VALUE, NULL);
	assert_null(vm_domain(&second));
	vm_do(&first, "VM.hard_reboot", "");
	assert_true(has(&first, "0000:04:00.0"));
}

static void two_starts_at_once_do_not_share_a_device(void **state)
{
	struct api *api = *state;
	struct api_call calls[2];
	struct vm vms[2];
	unsigned good = 0;

	for (int i = 0; i < 2; i++)
		given_vm_with(api, &vms[i], "0/0000:04:00.0");
	for (int i = 0; i < 2; i++) {
		char *args = xn_asprintf("[\"%s\",false,false]", vms[i].ref);

		api_begin(api, &calls[i], "VM.start", args);
		free(args);
	}
	for (int i = 0; i < 2; i++) {
		api_wait(api, &calls[i].done);
		good += calls[i].json != NULL;
		api_call_clear(&calls[i]);
	}
	assert_int_equal(good, 1);
	api_run(api, 5);
	assert_int_equal(has(&vms[0], "0000:04:00.0") + has(&vms[1], "0000:04:00.0"), good);
}

/* ---- the back end's hot plug ---- */

static int rc_told;

static void on_done(int rc, void *arg)
{
	rc_told = rc;
}

static void a_back_end_plugs_and_unplugs_devices(void **state)
{
	struct api *api = *state;
	struct xn_backend *b;
	struct vm vm, other;
	uint32_t domid;

	given_vm_with(api, &vm, "0/0000:04:00.0");
	vm_do(&vm, "VM.start", ",false,false");
	given_vm_that_is(api, &other, "Running", "");
	b = backend_of(api);
	domid = vm_domain(&vm)->domid;
	rc_told = 1;
	assert_int_equal(b->ops->plug_pci(b, domid, "0000:03:00.0", on_done, NULL), 0);
	api_run(api, 1);
	assert_int_equal(rc_told, 0);
	assert_true(has(&vm, "0000:03:00.0"));
	assert_int_equal(
		b->ops->plug_pci(b, vm_domain(&other)->domid, "0000:03:00.0", on_done, NULL),
		-EBUSY);
	rc_told = 1;
	assert_int_equal(b->ops->unplug_pci(b, domid, "0000:04:00.0", false, on_done, NULL), 0);
	api_run(api, 1);
	assert_int_equal(rc_told, 0);
	assert_false(has(&vm, "0000:04:00.0"));
	assert_true(has(&vm, "0000:03:00.0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(the_host_has_its_devices),
		TEST(rows_of_devices_outlive_a_restart),
		TEST(a_running_vm_has_its_devices),
		TEST(a_device_that_is_missing_or_taken_is_told_before_anything_is_built),
		TEST(two_starts_at_once_do_not_share_a_device),
		TEST(a_back_end_plugs_and_unplugs_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
