/* Reading the machine's PCI devices, from a folder like the kernel's and a list of names. */
#include "tests/unit/cmocka_all.h"

#include "modules/host/host.h"
#include "modules/host/pci_devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[40];
	struct xn_pci_list list;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-pci-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc = system(command);

	free(command);
	xn_pci_clear(&f->list);
	free(f);
	return rc;
}

static void given_file(struct fixture *f, const char *address, const char *name, const char *text)
{
	char *folder = xn_asprintf("%s/%s", f->dir, address);
	char *path = xn_asprintf("%s/%s", folder, name);
	FILE *file;

	mkdir(folder, 0700);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	free(path);
	free(folder);
}

static void given_device(struct fixture *f, const char *address, const char *class,
			 const char *vendor, const char *device)
{
	given_file(f, address, "class", class);
	given_file(f, address, "vendor", vendor);
	given_file(f, address, "device", device);
	given_file(f, address, "subsystem_vendor", "0x1028\n");
	given_file(f, address, "subsystem_device", "0x0001\n");
}

static void read_with(struct fixture *f, const char *ids)
{
	char *path = xn_asprintf("%s/ids", f->dir);
	FILE *file = fopen(path, "w");

	fputs(ids, file);
	fclose(file);
	xn_pci_read(f->dir, path, &f->list);
	free(path);
}

static const char names[] = "# comment\n"
			    "1028  Dell\n"
			    "10de  NVIDIA Corporation\n"
			    "\t1eb8  TU104GL [Tesla T4]\n"
			    "\t\t1028 0001  T4 in a server\n"
			    "\t\t1028 0002  another\n"
			    "\t1eb9  other\n"
			    "8086  Intel Corporation\n"
			    "\t1eb8  not this one\n"
			    "C 03  Display controller\n"
			    "\t00  VGA compatible controller\n"
			    "\t02  3D controller\n";

static void devices_are_read_in_order_and_named(void **state)
{
	struct fixture *f = *state;
	const struct xn_pci_device *d;

	given_device(f, "0000:04:00.0", "0x020000\n", "0x8086\n", "0x1533\n");
	given_device(f, "0000:03:00.0", "0x030200\n", "0x10de\n", "0x1eb8\n");
	read_with(f, names);
	assert_int_equal(f->list.n, 2);
	d = &f->list.devices[0];
	assert_string_equal(d->address, "0000:03:00.0");
	assert_string_equal(d->class_id, "0302");
	assert_string_equal(d->class_name, "3D controller");
	assert_string_equal(d->vendor_name, "NVIDIA Corporation");
	assert_string_equal(d->device_name, "TU104GL [Tesla T4]");
	assert_string_equal(d->subsystem_vendor_name, "Dell");
	assert_string_equal(d->subsystem_device_name, "T4 in a server");
	assert_string_equal(f->list.devices[1].vendor_name, "Intel Corporation");
	assert_string_equal(f->list.devices[1].device_name, "Device 1533");
	assert_string_equal(f->list.devices[1].class_name, "Network controller");
}

static void bridges_and_broken_entries_are_left_out(void **state)
{
	struct fixture *f = *state;

	given_device(f, "0000:00:00.0", "0x060000\n", "0x8086\n", "0x0001\n");
	given_device(f, "0000:05:00.0", "nonsense", "0x8086\n", "0x0001\n");
	given_file(f, "not-an-address", "class", "0x020000\n");
	read_with(f, "");
	assert_int_equal(f->list.n, 0);
}

static void a_list_of_names_that_is_none_does_no_harm(void **state)
{
	struct fixture *f = *state;

	given_device(f, "0000:03:00.0", "0x030200\n", "0x10de\n", "0x1eb8\n");
	read_with(f, "10de\n\t\n\t\t\nC\nC 03\n\t0\n10de  \xff\xfe\n\n\t1eb8");
	assert_int_equal(f->list.n, 1);
	assert_string_equal(f->list.devices[0].vendor_name, "Vendor 10de");
}

static void addresses_have_one_shape(void **state)
{
	assert_true(xn_pci_address_is_valid("0000:03:00.0"));
	assert_true(xn_pci_address_is_valid("00Af:ff:1f.7"));
	assert_false(xn_pci_address_is_valid("0000:03:00.8"));
	assert_false(xn_pci_address_is_valid("03:00.0"));
	assert_false(xn_pci_address_is_valid("0000:03:00.0x"));
	assert_false(xn_pci_address_is_valid(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(devices_are_read_in_order_and_named),
		TEST(bridges_and_broken_entries_are_left_out),
		TEST(a_list_of_names_that_is_none_does_no_harm),
		TEST(addresses_have_one_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
