/*
 * What a guest writes to xenstore, all that its permissions allow and in any amount, against what the
 * toolstack does with it: it believes nothing that the guest could have made up, and neither its
 * memory nor another VM's turn pays for a flood. The names say which advisory against other
 * toolstacks each test is about.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modules/xenstore/client/client.h"
#include "modules/xenstore/store/store.h"
#include "tests/module/vm_fixture.h"

#define PWNED "/tmp/xenolith-test-hostile-keys"

static struct xn_xs_conn *connect_as(struct vm *vm, uint32_t domid)
{
	return xn_xs_conn_new(xn_xs_domain_find(
		xn_xenstore_embedded(xn_xenstore_of(&vm->api->core)), domid));
}

static struct xn_xs_conn *connect_as_guest(struct vm *vm)
{
	return connect_as(vm, vm_domain(vm)->domid);
}

/* At the path below the domain's directory; NULL: there is none. The caller's. */
static char *value_of(struct vm *vm, uint32_t domid, const char *key)
{
	struct xn_xs_conn *dom0 = connect_as(vm, 0);
	const char *value;
	char path[160], *copy = NULL;
	size_t len;

	snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, key);
	if (xn_xs_conn_read(dom0, 0, path, &value, &len) == 0)
		copy = xn_strndup(value, len);
	xn_xs_conn_free(dom0);
	return copy;
}

/* ---- what it may not say ---- */

static void xsa_57_no_file_of_the_host_is_named_by_a_guest(void **state)
{
	static const char *const keys[] = {"console/tty", "console/output", "console/type",
					   "serial/0/tty", "store/port", "vm", "name"};
	struct xn_xs_conn *guest;
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	unlink(PWNED);
	guest = connect_as_guest(&vm);
	for (size_t i = 0; i < XN_ARRAY_SIZE(keys); i++) {
		char *before = value_of(&vm, vm_domain(&vm)->domid, keys[i]), *after;

		assert_true(xn_xs_conn_write_string(guest, 0, keys[i], "file:" PWNED) < 0);
		assert_true(xn_xs_conn_rm(guest, 0, keys[i]) < 0);
		after = value_of(&vm, vm_domain(&vm)->domid, keys[i]);
		assert_int_equal(before == NULL, after == NULL);
		if (before)
			assert_string_equal(before, after);
		free(before);
		free(after);
	}
	xn_xs_conn_free(guest);
	vm_do(&vm, "VM.clean_reboot", "");
	vm_do(&vm, "VM.hard_shutdown", "");
	assert_int_equal(access(PWNED, F_OK), -1);
}

/* All keys below the guest's own device are its to write: each one says the other VM's. */
static void lie_about_devices(struct vm *liar, struct vm *other)
{
	struct xn_xs_conn *guest = connect_as_guest(liar);
	uint32_t victim = vm_domain(other)->domid;
	static const char *const kinds[] = {"vbd/51712", "vif/0"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++) {
		char path[80];

		snprintf(path, sizeof(path), "device/%s/backend", kinds[i]);
		assert_int_equal(xn_xs_conn_writef(guest, 0, path,
						   "/local/domain/0/backend/%.3s/%u/%s", kinds[i],
						   victim, kinds[i] + 4),
				 0);
		snprintf(path, sizeof(path), "device/%s/backend-id", kinds[i]);
		assert_int_equal(xn_xs_conn_writef(guest, 0, path, "%u", victim), 0);
		snprintf(path, sizeof(path), "device/%s/params", kinds[i]);
		assert_int_equal(xn_xs_conn_write_string(guest, 0, path, "aio:" PWNED), 0);
		snprintf(path, sizeof(path), "device/%s/virtual-device", kinds[i]);
		assert_int_equal(xn_xs_conn_write_string(guest, 0, path, "-1"), 0);
	}
	xn_xs_conn_free(guest);
	api_run(liar->api, 2);
}

static char *backend_state(struct vm *vm, const char *kind, const char *id)
{
	char key[80];

	snprintf(key, sizeof(key), "backend/%s/%u/%s/state", kind, vm_domain(vm)->domid, id);
	return value_of(vm, 0, key);
}

static void assert_is_connected(struct vm *vm)
{
	char *vif = backend_state(vm, "vif", "0");

	assert_non_null(vif);
	assert_string_equal(vif, "4");
	free(vif);
	assert_state(vm, "Running");
	assert_true(xn_row_bool(row_of(vm->api, XN_CLASS_VBD, vm->disk),
				XN_VBD_currently_attached));
	assert_true(xn_row_bool(row_of(vm->api, XN_CLASS_VIF, vm->vif), XN_VIF_currently_attached));
}

static void xsa_175_what_a_guest_says_of_its_devices_configures_nothing(void **state)
{
	struct vm liar, other;
	char *config_before, *config_after;

	given_vm_that_is(*state, &liar, "Running", "");
	given_vm_that_is(*state, &other, "Running", "");
	unlink(PWNED);
	config_before = world_of(&other);
	lie_about_devices(&liar, &other);
	vm_do(&liar, "VM.clean_reboot", "");
	assert_state(&liar, "Running");
	assert_true(xn_row_bool(row_of(*state, XN_CLASS_VBD, liar.disk),
				XN_VBD_currently_attached));
	assert_is_connected(&other);
	config_after = world_of(&other);
	assert_string_equal(config_before, config_after);
	free(config_before);
	free(config_after);
	assert_int_equal(access(PWNED, F_OK), -1);
}

static void xsa_178_the_end_of_a_guest_takes_its_own_devices_whatever_it_says(void **state)
{
	struct vm liar, other;
	uint32_t domid;
	char key[80], *left;

	given_vm_that_is(*state, &liar, "Running", "");
	given_vm_that_is(*state, &other, "Running", "");
	lie_about_devices(&liar, &other);
	domid = vm_domain(&liar)->domid;
	vm_do(&liar, "VM.hard_shutdown", "");
	assert_state(&liar, "Halted");
	snprintf(key, sizeof(key), "backend/vif/%u", domid);
	left = value_of(&other, 0, key);
	assert_null(left);
	assert_is_connected(&other);
}

static void xsa_403_a_guest_is_told_whether_its_backends_are_trusted(void **state)
{
	static const char *const keys[] = {"device/vbd/51712/trusted", "device/vif/0/trusted"};
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	for (size_t i = 0; i < XN_ARRAY_SIZE(keys); i++) {
		char *trusted = value_of(&vm, vm_domain(&vm)->domid, keys[i]);

		assert_non_null(trusted);
		assert_string_equal(trusted, "1");
		free(trusted);
	}
}

/* ---- how much it may say ---- */

enum { KEYS = 8192, RATE = 20000 };

static size_t heap_bytes(void)
{
	malloc_trim(0);
	return mallinfo2().uordblks;
}

/* 8192 keys, and then each of them again and again: 100,000 writes. */
static void xsa_354_keys_of_a_guest_that_writes_them_on_and_on_cost_no_memory(void **state)
{
	struct xn_xenstore *xs;
	struct vm vm;
	uint64_t reads;
	size_t before;

	given_vm_that_is(*state, &vm, "Running",
			 "\"sim-write-rate\":\"20000\",\"sim-write-keys\":\"8192\"");
	xs = xn_xenstore_of(&vm.api->core);
	api_run(*state, 3);
	before = heap_bytes();
	reads = xs->n_reads;
	api_run(*state, 100000 / RATE);
	/* Nothing is kept of them, and the domain is not read anew for each. */
	assert_true(heap_bytes() < before + (1 << 20));
	assert_true(xs->n_reads - reads < 1000);
}

/* Callbacks of the loop until the row says what somebody wrote: the work that goes before. */
static uint64_t work_until_seen(struct vm *vm, const char *value)
{
	struct xn_loop *loop = vm->api->core.loop;
	const struct xn_row *row = xn_row_follow(vm->api->db, vm_row(vm), XN_VM_guest_metrics);
	struct xn_xs_conn *guest = connect_as_guest(vm);
	uint64_t began = xn_loop_callback(loop);
	const char *seen;

	assert_int_equal(xn_xs_conn_write_string(guest, 0, "control/feature-seen", value), 0);
	xn_xs_conn_free(guest);
	do {
		assert_true(xn_loop_callback(loop) - began < 1000000);
		xn_loop_turn(loop, 1000000);
		seen = xn_row_map_string(row, XN_VM_guest_metrics_other, "feature-seen");
	} while (!seen || strcmp(seen, value) != 0);
	return xn_loop_callback(loop) - began;
}

static void xsa_349_a_storm_on_a_watched_path_waits_in_one_event(void **state)
{
	struct xn_xs_account sum;
	struct vm storm, quiet;
	struct xn_xs_store *store;
	struct xn_xs_conn *guest;
	size_t before;

	given_vm_that_is(*state, &storm, "Running", "");
	given_vm_that_is(*state, &quiet, "Running", "");
	work_until_seen(&quiet, "first");
	store = xn_xenstore_embedded(xn_xenstore_of(&storm.api->core));
	guest = connect_as_guest(&storm);
	before = heap_bytes();
	/* No turn of the loop in between: nobody has a chance to empty the queue. */
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(xn_xs_conn_writef(guest, 0, "data/updated", "%u", i), 0);
	(void)xn_xs_store_account(store, &sum);
	assert_true(sum.events < 20);
	assert_true(heap_bytes() < before + (64 << 10));
	/* Many paths under it are still no more than a bounded number. */
	for (unsigned i = 0; i < 100000; i++)
		(void)xn_xs_conn_writef(guest, 0, i % 2 ? "data/volumes/0/name" : "attr/eth0/ip",
					"%u", i);
	(void)xn_xs_store_account(store, &sum);
	assert_true(sum.events < 40);
	xn_xs_conn_free(guest);
}

static void xsa_349_a_storm_does_not_keep_another_vms_event_waiting(void **state)
{
	struct vm storm, quiet;
	struct xn_xs_conn *guest;
	uint64_t alone, behind;

	given_vm_that_is(*state, &storm, "Running", "");
	given_vm_that_is(*state, &quiet, "Running", "");
	work_until_seen(&quiet, "first");
	alone = work_until_seen(&quiet, "second");
	guest = connect_as_guest(&storm);
	for (unsigned i = 0; i < 20000; i++) {
		char path[40];

		snprintf(path, sizeof(path), "data/k%u", i % KEYS);
		(void)xn_xs_conn_writef(guest, 0, path, "%u", i);
	}
	behind = work_until_seen(&quiet, "third");
	xn_xs_conn_free(guest);
	print_message("callbacks until an event is seen: %llu, behind a storm %llu\n",
		      (unsigned long long)alone, (unsigned long long)behind);
	assert_true(behind < 2 * alone + 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(xsa_57_no_file_of_the_host_is_named_by_a_guest),
		TEST(xsa_175_what_a_guest_says_of_its_devices_configures_nothing),
		TEST(xsa_178_the_end_of_a_guest_takes_its_own_devices_whatever_it_says),
		TEST(xsa_403_a_guest_is_told_whether_its_backends_are_trusted),
		TEST(xsa_354_keys_of_a_guest_that_writes_them_on_and_on_cost_no_memory),
		TEST(xsa_349_a_storm_on_a_watched_path_waits_in_one_event),
		TEST(xsa_349_a_storm_does_not_keep_another_vms_event_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
