/* PIF rows from the machine's interfaces, and the network that each belongs to. */
#include "modules/network/network_internal.h"

#include <stdio.h>
#include <string.h>

struct xn_row *xn_network_by_bridge(struct xn_db *db, const char *bridge)
{
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_network); row; row = xn_db_next(db, row))
		if (strcmp(xn_row_string(row, XN_network_bridge), bridge) == 0)
			return row;
	return NULL;
}

static bool is_ours(const struct xn_network *network, const struct xn_row *pif)
{
	return strcmp(xn_row_string(pif, XN_PIF_host), xn_host_ref(network->host)) == 0;
}

struct xn_row *xn_pif_of_device(struct xn_network *network, const char *device)
{
	struct xn_db *db = network->db;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_PIF); row; row = xn_db_next(db, row))
		if (is_ours(network, row) && xn_row_bool(row, XN_PIF_physical) &&
		    strcmp(xn_row_string(row, XN_PIF_device), device) == 0)
			return row;
	return NULL;
}

/* xenbr0 for eth0, else br<device>: the names that people and scripts know; a real bridge's own. */
static void bridge_name(const struct xn_interface *card, char out[XN_IFNAME_MAX])
{
	unsigned number;
	char rest;

	if (card->bridge[0])
		snprintf(out, XN_IFNAME_MAX, "%s", card->bridge);
	else if (sscanf(card->name, "eth%u%c", &number, &rest) == 1 && number < 1000000000)
		snprintf(out, XN_IFNAME_MAX, "xenbr%u", number);
	else
		snprintf(out, XN_IFNAME_MAX, "br%.13s", card->name);
}

static struct xn_row *network_of(struct xn_network *network, const struct xn_interface *card)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = NULL;
	char bridge[XN_IFNAME_MAX];
	struct xn_row *row;

	bridge_name(card, bridge);
	row = xn_network_by_bridge(network->db, bridge);
	if (row)
		return row;
	v = xn_map_new();
	xn_map_put(&v, "name_label",
		   xn_stringf("Pool-wide network associated with %s", card->name));
	xn_map_put_string(&v, "bridge", bridge);
	xn_map_put(&v, "MTU", xn_int(card->mtu > 0 ? card->mtu : 1500));
	return xn_db_create(network->db, XN_CLASS_network, NULL, v);
}

struct xn_row *xn_pif_make(struct xn_network *network, const struct xn_interface *card,
			   bool managed)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *nothing = xn_map_new();
	struct xn_value *properties = xn_map_new();
	struct xn_row *metrics = xn_db_create(network->db, XN_CLASS_PIF_metrics, NULL, nothing);

	xn_map_put_string(&v, "metrics", xn_row_ref(metrics));
	xn_map_put_string(&v, "device", card->name);
	xn_map_put_string(&v, "device_name", card->name);
	xn_map_put_string(&v, "MAC", card->mac);
	xn_map_put(&v, "MTU", xn_int(card->mtu));
	xn_map_put(&v, "VLAN", xn_int(-1));
	xn_map_put(&v, "physical", xn_bool(true));
	xn_map_put(&v, "managed", xn_bool(managed));
	xn_map_put_string(&v, "host", xn_host_ref(network->host));
	xn_map_put_string(&v, "network", xn_row_ref(network_of(network, card)));
	/* Kept by an operator's hand from here on; how the machine got its address is not ours to
	 * know. */
	xn_map_put_string(&v, "ip_configuration_mode", card->ip[0] ? "Static" : "None");
	xn_map_put_string(&v, "ipv6_configuration_mode", card->n_ipv6 ? "Static" : "None");
	xn_map_put_string(&v, "bond_slave_of", XN_NULL_REF);
	xn_map_put_string(&v, "VLAN_master_of", XN_NULL_REF);
	xn_map_put_string(&properties, "gro", "on");
	xn_map_put(&v, "properties", properties);
	return xn_db_create(network->db, XN_CLASS_PIF, NULL, v);
}

static struct xn_value *ipv6_set(const struct xn_interface *card)
{
	struct xn_value *set = xn_set_new();

	for (unsigned i = 0; card && i < card->n_ipv6; i++)
		xn_set_append_string(&set, card->ipv6[i]);
	return set;
}

static void refresh_metrics(struct xn_network *network, struct xn_row *pif,
			    const struct xn_interface *card)
{
	struct xn_db *db = network->db;
	struct xn_row *m = xn_row_follow(db, pif, XN_PIF_metrics);
	bool changed;

	if (!m)
		return;
	changed = xn_db_set_bool(db, m, XN_PIF_metrics_carrier, card && card->carrier);
	changed |= xn_db_set_int(db, m, XN_PIF_metrics_speed, card ? card->speed : 0);
	changed |= xn_db_set_bool(db, m, XN_PIF_metrics_duplex, card && card->full_duplex);
	if (card) {
		changed |= xn_db_set_string(db, m, XN_PIF_metrics_vendor_id, card->vendor_id);
		changed |= xn_db_set_string(db, m, XN_PIF_metrics_device_id, card->device_id);
		changed |= xn_db_set_string(db, m, XN_PIF_metrics_pci_bus_path, card->pci_bus_path);
	}
	if (changed)
		xn_db_set(db, m, XN_PIF_metrics_last_updated,
			  xn_datetime(xn_wall_s(network->core->loop)));
}

/* Only when the management interface or its address is another: a client may have set the host's. */
static void set_host_address(struct xn_network *network, const struct xn_interface *card)
{
	struct xn_row *host = xn_db_get(network->db, XN_CLASS_host, xn_host_ref(network->host));

	if (card->ip[0])
		xn_db_set_string(network->db, host, XN_host_address, card->ip);
}

static void refresh_pif(struct xn_network *network, struct xn_row *pif,
			const struct xn_interface *card, const char *dns)
{
	struct xn_db *db = network->db;

	refresh_metrics(network, pif, card);
	xn_db_set_bool(db, pif, XN_PIF_currently_attached, card && card->is_up);
	if (!card)
		return;
	xn_db_set_string(db, pif, XN_PIF_MAC, card->mac);
	xn_db_set_int(db, pif, XN_PIF_MTU, card->mtu);
	if (xn_db_set_string(db, pif, XN_PIF_IP, card->ip) && xn_row_bool(pif, XN_PIF_management))
		set_host_address(network, card);
	xn_db_set_string(db, pif, XN_PIF_netmask, card->netmask);
	xn_db_set_string(db, pif, XN_PIF_gateway, card->gateway);
	xn_db_set_string(db, pif, XN_PIF_DNS, card->is_default ? dns : "");
	xn_db_set(db, pif, XN_PIF_IPv6, ipv6_set(card));
	if (card->ip[0] && strcmp(xn_row_string(pif, XN_PIF_ip_configuration_mode), "None") == 0)
		xn_db_set_string(db, pif, XN_PIF_ip_configuration_mode, "Static");
}

/* The management interface: the one chosen before, else where the default route is, else any with
 * an address. Its address is the host's. */
static void choose_management(struct xn_network *network, const struct xn_interfaces *found)
{
	struct xn_db *db = network->db;
	const struct xn_interface *best = NULL;
	struct xn_row *pif = NULL;

	for (size_t i = 0; i < found->n; i++) {
		const struct xn_interface *card = &found->items[i];
		struct xn_row *row = xn_pif_of_device(network, card->name);

		if (row && xn_row_bool(row, XN_PIF_management)) {
			pif = row;
			best = card;
			break;
		}
		if (row && card->ip[0] && (!best || (card->is_default && !best->is_default))) {
			pif = row;
			best = card;
		}
	}
	if (pif && xn_db_set_bool(db, pif, XN_PIF_management, true))
		set_host_address(network, best);
}

static bool next_absent(struct xn_network *network, const struct xn_interfaces *found,
			struct xn_row **row)
{
	struct xn_db *db = network->db;

	for (; *row; *row = xn_db_next(db, *row))
		if (is_ours(network, *row) && xn_row_bool(*row, XN_PIF_physical) &&
		    !xn_interfaces_find(found, xn_row_string(*row, XN_PIF_device)))
			return true;
	return false;
}

/* Rows move to the end of the walk when they change, so the absent ones are collected first. */
static void refresh_absent(struct xn_network *network, const struct xn_interfaces *found)
{
	struct xn_row *row = xn_db_first(network->db, XN_CLASS_PIF);
	struct xn_row **absent = NULL;
	size_t n = 0;

	while (next_absent(network, found, &row)) {
		absent = xn_realloc(absent, (n + 1) * sizeof(*absent));
		absent[n++] = row;
		row = xn_db_next(network->db, row);
	}
	for (size_t i = 0; i < n; i++)
		refresh_pif(network, absent[i], NULL, "");
	xn_free_p(&absent);
}

void xn_pifs_apply(struct xn_network *network, const struct xn_interfaces *found, bool adopt)
{
	for (size_t i = 0; i < found->n; i++) {
		const struct xn_interface *card = &found->items[i];
		struct xn_row *pif = xn_pif_of_device(network, card->name);

		if (!pif && adopt)
			pif = xn_pif_make(network, card, true);
		if (pif)
			refresh_pif(network, pif, card, found->dns);
	}
	refresh_absent(network, found);
	choose_management(network, found);
}
