/* PIFs and networks: what the rows become when the machine's interfaces change. */
#include "tests/unit/cmocka_all.h"

#include "modules/auth/auth.h"
#include "modules/event/event.h"
#include "modules/host/host.h"
#include "modules/message/message.h"
#include "modules/network/network_internal.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/task/task.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static const struct xn_module *const modules[] = {
	&xn_db_module,      &xn_auth_module,
	&xn_task_module,    &xn_event_module,
	&xn_message_module, &xn_records_module,
	&xn_host_module,    &xn_operation_module,
	&xn_network_module, NULL,
};

static int setup(void **state)
{
	return api_setup_with(state, modules);
}

static struct xn_interface a_card(const char *name)
{
	struct xn_interface card = {
		.mtu = 1500, .is_up = true, .carrier = true, .has_device = true};

	snprintf(card.name, sizeof(card.name), "%s", name);
	snprintf(card.mac, sizeof(card.mac), "00:16:3e:00:00:0%c", name[strlen(name) - 1]);
	return card;
}

static void give_address(struct xn_interface *card, const char *ip)
{
	snprintf(card->ip, sizeof(card->ip), "%s", ip);
	snprintf(card->netmask, sizeof(card->netmask), "255.255.255.0");
}

/* What the kernel would tell, applied. */
static void see(struct api *api, struct xn_interface *cards, size_t n, bool adopt)
{
	const struct xn_interfaces found = {.items = cards, .n = n, .dns = "192.0.2.53"};

	xn_pifs_apply(xn_network_of(&api->core), &found, adopt);
	api_turn(api);
}

static struct xn_row *pif(struct api *api, const char *device)
{
	return xn_pif_of_device(xn_network_of(&api->core), device);
}

static const char *bridge_of(struct api *api, const char *device)
{
	return xn_row_string(xn_row_follow(api->db, pif(api, device), XN_PIF_network),
			     XN_network_bridge);
}

static const char *host_address(struct api *api)
{
	return xn_row_string(xn_db_first(api->db, XN_CLASS_host), XN_host_address);
}

static void the_first_start_has_the_machines_cards(void **state)
{
	struct api *api = *state;

	assert_int_equal(xn_db_count(api->db, XN_CLASS_PIF), 1);
	assert_true(xn_row_bool(pif(api, "eth0"), XN_PIF_management));
	assert_string_equal(host_address(api), "192.0.2.10");
	assert_string_equal(bridge_of(api, "eth0"), "xenbr0");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_network), 2); /* the host's internal one */
}

static void a_restart_makes_nothing_twice(void **state)
{
	struct api *api = *state;

	api_restart(api);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_PIF), 1);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_PIF_metrics), 1);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_network), 2);
}

static void a_new_card_becomes_a_pif_only_by_a_scan(void **state)
{
	struct api *api = *state;
	struct xn_interface cards[] = {a_card("eth0"), a_card("enp3s0")};

	see(api, cards, 2, false);
	assert_null(pif(api, "enp3s0"));
	see(api, cards, 2, true);
	assert_non_null(pif(api, "enp3s0"));
	assert_string_equal(bridge_of(api, "enp3s0"), "brenp3s0");
	assert_string_equal(xn_row_string(pif(api, "enp3s0"), XN_PIF_ip_configuration_mode),
			    "None");
}

static void the_names_of_bridges_fit_the_kernel(void **state)
{
	static const char *const names[][2] = {
		{"eth12", "xenbr12"}, {"eth1x", "breth1x"}, {"abcdefghijklmno", "brabcdefghijklm"}};
	struct api *api = *state;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++) {
		struct xn_interface card = a_card(names[i][0]);

		see(api, &card, 1, true);
		assert_string_equal(bridge_of(api, names[i][0]), names[i][1]);
	}
}

static void a_card_in_a_real_bridge_is_on_that_bridges_network(void **state)
{
	struct api *api = *state;
	struct xn_interface cards[] = {a_card("eth1"), a_card("eth2")};

	for (unsigned i = 0; i < 2; i++)
		snprintf(cards[i].bridge, sizeof(cards[i].bridge), "lan");
	see(api, cards, 2, true);
	assert_string_equal(bridge_of(api, "eth1"), "lan");
	assert_string_equal(xn_row_string(pif(api, "eth1"), XN_PIF_network),
			    xn_row_string(pif(api, "eth2"), XN_PIF_network));
}

static void a_card_that_went_keeps_its_row_without_a_carrier(void **state)
{
	struct api *api = *state;
	struct xn_interface eth1 = a_card("eth1");
	struct xn_row *metrics;

	see(api, &eth1, 1, true);
	metrics = xn_row_follow(api->db, pif(api, "eth0"), XN_PIF_metrics);
	assert_false(xn_row_bool(metrics, XN_PIF_metrics_carrier));
	assert_false(xn_row_bool(pif(api, "eth0"), XN_PIF_currently_attached));
	metrics = xn_row_follow(api->db, pif(api, "eth1"), XN_PIF_metrics);
	assert_true(xn_row_bool(metrics, XN_PIF_metrics_carrier));
}

static void the_hosts_address_follows_its_management_interface(void **state)
{
	struct api *api = *state;
	struct xn_interface cards[] = {a_card("eth1"), a_card("eth0")};

	give_address(&cards[0], "198.51.100.1");
	give_address(&cards[1], "192.0.2.77");
	cards[0].is_default = true; /* no reason to move what was chosen before */
	see(api, cards, 2, true);
	assert_string_equal(host_address(api), "192.0.2.77");
	assert_true(xn_row_bool(pif(api, "eth0"), XN_PIF_management));
	assert_false(xn_row_bool(pif(api, "eth1"), XN_PIF_management));
}

static void an_address_that_is_lost_leaves_the_hosts_as_it_was(void **state)
{
	struct api *api = *state;
	struct xn_interface eth0 = a_card("eth0");

	see(api, &eth0, 1, false);
	assert_string_equal(xn_row_string(pif(api, "eth0"), XN_PIF_IP), "");
	assert_string_equal(host_address(api), "192.0.2.10");
}

static void nothing_new_is_no_event(void **state)
{
	struct api *api = *state;
	struct xn_interface eth0 = a_card("eth0");
	uint64_t before;

	see(api, &eth0, 1, false);
	before = xn_db_generation(api->db);
	see(api, &eth0, 1, false);
	assert_int_equal(xn_db_generation(api->db), before);
}

#define NETWORK(test) cmocka_unit_test_setup_teardown(test, setup, api_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NETWORK(the_first_start_has_the_machines_cards),
		NETWORK(a_restart_makes_nothing_twice),
		NETWORK(a_new_card_becomes_a_pif_only_by_a_scan),
		NETWORK(the_names_of_bridges_fit_the_kernel),
		NETWORK(a_card_in_a_real_bridge_is_on_that_bridges_network),
		NETWORK(a_card_that_went_keeps_its_row_without_a_carrier),
		NETWORK(the_hosts_address_follows_its_management_interface),
		NETWORK(an_address_that_is_lost_leaves_the_hosts_as_it_was),
		NETWORK(nothing_new_is_no_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
