/* Network interfaces: routes and name servers as the kernel's and the resolver's files tell them.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/network/interfaces.h"

#define HEAD "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

static void the_default_route_has_no_destination_and_a_gateway(void **state)
{
	char device[XN_IFNAME_MAX], gateway[XN_ADDRESS_MAX];

	assert_true(xn_interfaces_parse_route(
		HEAD "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
		     "eth1\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
		device, gateway));
	assert_string_equal(device, "eth1");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	assert_string_equal(gateway, "192.0.2.1");
#endif
}

static void of_two_default_routes_the_cheaper_wins(void **state)
{
	char device[XN_IFNAME_MAX], gateway[XN_ADDRESS_MAX];

	assert_true(xn_interfaces_parse_route(
		HEAD "wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
		     "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
		     "eth2\t00000000\t010200C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n",
		device, gateway));
	assert_string_equal(device, "eth0");
}

static void without_a_default_route_there_is_none(void **state)
{
	static const char *const texts[] = {
		"",
		HEAD,
		HEAD "eth0",
		HEAD "eth0\tzz\n",
		"eth0 00000000 010200C0 0003 0 0 100",
		HEAD "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
	};
	char device[XN_IFNAME_MAX], gateway[XN_ADDRESS_MAX];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(texts); i++)
		assert_false(xn_interfaces_parse_route(texts[i], device, gateway));
}

static void name_servers_are_joined_by_commas(void **state)
{
	char dns[64];

	xn_interfaces_parse_resolv(
		"# by hand\nsearch example.org\nnameserver 192.0.2.53\n"
		"nameserver fd00::53\n; nameserver 1.1.1.1\nnameserver rubbish\n",
		dns, sizeof(dns));
	assert_string_equal(dns, "192.0.2.53,fd00::53");
}

static void too_many_name_servers_are_cut_between_two(void **state)
{
	char dns[24];

	xn_interfaces_parse_resolv(
		"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n", dns,
		sizeof(dns));
	assert_string_equal(dns, "192.0.2.1,192.0.2.2");
}

static void this_machine_can_be_read(void **state)
{
	struct xn_interfaces list;

	assert_int_equal(xn_interfaces_read(&list), 0);
	for (size_t i = 0; i < list.n; i++) {
		assert_true(list.items[i].name[0]);
		assert_string_not_equal(list.items[i].name, "lo");
		assert_ptr_equal(xn_interfaces_find(&list, list.items[i].name), &list.items[i]);
	}
	assert_null(xn_interfaces_find(&list, "nosuchcard"));
	xn_interfaces_clear(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_route_has_no_destination_and_a_gateway),
		cmocka_unit_test(of_two_default_routes_the_cheaper_wins),
		cmocka_unit_test(without_a_default_route_there_is_none),
		cmocka_unit_test(name_servers_are_joined_by_commas),
		cmocka_unit_test(too_many_name_servers_are_cut_between_two),
		cmocka_unit_test(this_machine_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
