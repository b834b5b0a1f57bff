/* Names, numbers and addresses of devices. */
#include "tests/unit/cmocka_all.h"

#include "modules/domain/domain_internal.h"

static void positions_are_numbers_or_names(void **state)
{
	static const struct {
		const char *userdevice;
		int position;
	} cases[] = {
		{"0", 0},
		{"15", 15},
		{"254", 254},
		{"xvda", 0},
		{"xvdp", 15},
		{"xvdz", 25},
		{"xvdaa", 26},
		{"hdd", 3},
		{"sdc", 2},
		{"", -1},
		{"xvd", -1},
		{"-1", -1},
		{"1x", -1},
		{"xvdA", -1},
		{"fd0", -1},
		{"99999999999999999999", -1},
		{"xvdaaaaaaaaaaaaaaaaaaaaaaaaa", -1},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++)
		if (xn_disk_position(cases[i].userdevice) != cases[i].position)
			fail_msg("%s is %d", cases[i].userdevice,
				 xn_disk_position(cases[i].userdevice));
}

static void names_and_numbers_are_those_of_xen(void **state)
{
	static const struct {
		int position;
		bool hvm, is_cdrom;
		const char *vdev;
		int devid;
	} cases[] = {
		{0, false, false, "xvda", 51712},      {15, false, false, "xvdp", 51952},
		{16, false, false, "xvdq", 268439552}, {26, true, false, "xvdaa", 268442112},
		{0, true, true, "hda", 768},           {1, true, true, "hdb", 832},
		{2, true, true, "hdc", 5632},          {3, true, true, "hdd", 5696},
		{4, true, true, "xvde", 51776},        {3, false, true, "xvdd", 51760},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct xn_disk_name name;

		xn_disk_name(cases[i].position, cases[i].hvm, cases[i].is_cdrom, &name);
		assert_string_equal(name.vdev, cases[i].vdev);
		assert_int_equal(name.devid, cases[i].devid);
	}
}

static void every_position_has_a_number_of_its_own(void **state)
{
	for (int i = 0; i < 255; i++)
		for (int j = 0; j < i; j++) {
			struct xn_disk_name a, b;

			xn_disk_name(i, false, false, &a);
			xn_disk_name(j, false, false, &b);
			assert_int_not_equal(a.devid, b.devid);
			assert_string_not_equal(a.vdev, b.vdev);
		}
}

static void addresses_follow_from_the_seed_and_are_local_and_single(void **state)
{
	char one[18], again[18], other[18];

	for (int device = 0; device < 16; device++) {
		xn_mac_from_seed("seed", device, one);
		xn_mac_from_seed("seed", device, again);
		xn_mac_from_seed("seed", device + 1, other);
		assert_string_equal(one, again);
		assert_string_not_equal(one, other);
		assert_true(xn_mac_is_valid(one));
		assert_non_null(strchr("26ae", one[1]));
	}
}

static void addresses_of_groups_and_wrong_shapes_are_refused(void **state)
{
	static const char *const bad[] = {"",
					  "01:00:00:00:00:00",
					  "ff:ff:ff:ff:ff:ff",
					  "00:00:00:00:00",
					  "00-00-00-00-00-00",
					  "0g:00:00:00:00:00",
					  "00:00:00:00:00:00:00"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_false(xn_mac_is_valid(bad[i]));
	assert_true(xn_mac_is_valid("00:16:3E:00:00:01"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(positions_are_numbers_or_names),
		cmocka_unit_test(names_and_numbers_are_those_of_xen),
		cmocka_unit_test(every_position_has_a_number_of_its_own),
		cmocka_unit_test(addresses_follow_from_the_seed_and_are_local_and_single),
		cmocka_unit_test(addresses_of_groups_and_wrong_shapes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
