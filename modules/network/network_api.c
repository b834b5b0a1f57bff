/* API calls on networks and PIFs. What would change the machine's network set-up is a later matter
 * and answers NOT_IMPLEMENTED; the checks before it are made all the same. */
#include "modules/network/network_internal.h"
#include "modules/records/records.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BRIDGE_NAME = XN_IFNAME_MAX - 1 };

static struct xn_network *state_of(struct xn_call *call)
{
	return call->state;
}

static struct xn_row *self_row(struct xn_call *call)
{
	return xn_db_get(state_of(call)->db, call->method->params[0].type->class_id,
			 xn_call_string(call, 0));
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	int class_id = call->method->params[0].type->class_id;

	return xn_db_need(state_of(call)->db, class_id, xn_call_string(call, 0), err) ? 0 : -1;
}

static void answer_void(struct xn_call *call)
{
	xn_call_reply_void(call);
}

/* Every refusal before; then this. */
static int refuse_as_later(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, call->method->name);
}

/* ---- network.create, destroy ---- */

static int check_bridge(struct xn_db *db, const char *bridge, struct xn_error *err)
{
	/* Names that the host itself gives to bridges and interfaces. */
	static const char *const taken[] = {"xen", "xapi", "vif", "tap", "eth"};

	if (bridge[0] == '\0')
		return 0;
	if (strlen(bridge) > MAX_BRIDGE_NAME || strpbrk(bridge, "/ \t\n"))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "bridge", bridge);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(taken); i++)
		if (strncmp(bridge, taken[i], strlen(taken[i])) == 0)
			return xn_error_set(err, XN_ERR_INVALID_VALUE, "bridge", bridge);
	if (xn_network_by_bridge(db, bridge))
		return xn_error_set(err, XN_ERR_BRIDGE_NAME_EXISTS, bridge);
	return 0;
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	const struct xn_value *record = call->args[0];
	const char *bridge = xn_map_get_string(record, "bridge");
	struct xn_db *db = state_of(call)->db;

	if (xn_record_check(db, &xn_classes[XN_CLASS_network], record, err) < 0)
		return -1;
	return check_bridge(db, bridge ? bridge : "", err);
}

static void first_free_bridge(struct xn_db *db, char out[XN_IFNAME_MAX])
{
	unsigned n = 0;

	do
		snprintf(out, XN_IFNAME_MAX, "xapi%u", n++);
	while (xn_network_by_bridge(db, out));
}

struct xn_row *xn_network_new(struct xn_network *network, const char *ref,
			      const struct xn_value *given)
{
	struct xn_db *db = network->db;
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *fields = xn_record_fields(&xn_classes[XN_CLASS_network], given);
	const char *bridge = xn_map_get_string(fields, "bridge");

	if (!bridge || !bridge[0]) {
		char name[XN_IFNAME_MAX];

		first_free_bridge(db, name);
		xn_map_put_string(&fields, "bridge", name);
	}
	if (xn_map_get_int(fields, "MTU", 0) <= 0)
		xn_map_put(&fields, "MTU", xn_int(1500));
	return xn_db_create(db, XN_CLASS_network, ref, fields);
}

static void create(struct xn_call *call)
{
	const struct xn_row *row = xn_network_new(state_of(call), NULL, call->args[0]);

	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

/* Names the members of a set as error parameters, as many as fit. */
static int refuse_with_refs(struct xn_error *err, const char *code, const struct xn_value *refs)
{
	xn_error_set(err, code);
	for (size_t i = 0; i < xn_set_len(refs) && i < XN_ERROR_MAX_PARAMS; i++)
		xn_error_add_param(err, xn_value_string(xn_set_at(refs, i)));
	return -1;
}

static int check_destroy(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = state_of(call)->db;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *connected = xn_set_new();
	const struct xn_value *vifs;
	struct xn_row *row;

	if (check_self(call, err) < 0)
		return -1;
	row = self_row(call);
	vifs = xn_row_get(row, XN_network_VIFs);
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		const char *ref = xn_value_string(xn_set_at(vifs, i));
		const struct xn_row *vif = xn_db_get(db, XN_CLASS_VIF, ref);

		if (vif && xn_row_bool(vif, XN_VIF_currently_attached))
			xn_set_append_string(&connected, ref);
	}
	if (xn_set_len(connected))
		return refuse_with_refs(err, XN_ERR_NETWORK_CONTAINS_VIF, connected);
	if (xn_set_len(xn_row_get(row, XN_network_PIFs)))
		return refuse_with_refs(err, XN_ERR_NETWORK_CONTAINS_PIF,
					xn_row_get(row, XN_network_PIFs));
	return 0;
}

/* VIFs that are left are unplugged ones: without a network they could only fail. */
static void destroy(struct xn_call *call)
{
	struct xn_db *db = state_of(call)->db;
	struct xn_row *row = self_row(call);
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *vifs = xn_value_ref(xn_row_get(row, XN_network_VIFs));

	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		struct xn_row *vif =
			xn_db_get(db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));

		if (vif)
			xn_db_delete(db, vif);
	}
	xn_db_delete(db, row);
	xn_call_reply_void(call);
}

/* ---- network setters ---- */

static int check_locking_mode(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = state_of(call)->db;
	const struct xn_value *vifs;

	if (check_self(call, err) < 0)
		return -1;
	vifs = xn_row_get(self_row(call), XN_network_VIFs);
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		const char *ref = xn_value_string(xn_set_at(vifs, i));
		const struct xn_row *vif = xn_db_get(db, XN_CLASS_VIF, ref);

		/* The rules of plugged VIFs were made from the mode as it is. */
		if (vif && xn_row_bool(vif, XN_VIF_currently_attached) &&
		    strcmp(xn_row_string(vif, XN_VIF_locking_mode), "network_default") == 0)
			return xn_error_set(err, XN_ERR_VIF_IN_USE, xn_call_string(call, 0), ref);
	}
	return 0;
}

static void set_default_locking_mode(struct xn_call *call)
{
	xn_db_set(state_of(call)->db, self_row(call), XN_network_default_locking_mode,
		  xn_value_ref(call->args[1]));
	xn_call_reply_void(call);
}

/* Encrypted and plain access to disks over the network exclude each other in a pool. */
static int check_purpose(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = state_of(call)->db;
	const char *purpose = xn_call_string(call, 1);
	const char *other = strcmp(purpose, "nbd") == 0 ? "insecure_nbd" : "nbd";

	if (check_self(call, err) < 0)
		return -1;
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_network); row; row = xn_db_next(db, row))
		if (xn_set_has_string(xn_row_get(row, XN_network_purpose), other))
			return xn_error_set(err, XN_ERR_NETWORK_INCOMPATIBLE_PURPOSES, purpose,
					    other);
	return 0;
}

static void add_purpose(struct xn_call *call)
{
	xn_db_set_add(state_of(call)->db, self_row(call), XN_network_purpose,
		      xn_call_string(call, 1));
	xn_call_reply_void(call);
}

static void remove_purpose(struct xn_call *call)
{
	xn_db_set_remove(state_of(call)->db, self_row(call), XN_network_purpose,
			 xn_call_string(call, 1));
	xn_call_reply_void(call);
}

/* ---- PIF.scan, introduce ---- */

static void on_scanned(struct xn_network *network, const struct xn_interfaces *found, void *arg)
{
	xn_pifs_apply(network, found, true);
	xn_call_reply_void(arg);
}

static void scan(struct xn_call *call)
{
	xn_network_read(state_of(call), on_scanned, call);
}

/* Lower case, or false when it is no MAC address. */
static bool normalise_mac(const char *text, char out[18])
{
	unsigned i;

	for (i = 0; i < 17 && text[i]; i++) {
		bool ok = i % 3 == 2 ? text[i] == ':' : isxdigit((unsigned char)text[i]) != 0;

		if (!ok)
			return false;
		out[i] = (char)tolower((unsigned char)text[i]);
	}
	out[i] = '\0';
	return i == 17 && text[i] == '\0';
}

static int check_introduce(struct xn_call *call, struct xn_error *err)
{
	const char *mac = xn_call_string(call, 1);
	char ignored[18];

	if (check_self(call, err) < 0)
		return -1;
	if (mac[0] && !normalise_mac(mac, ignored))
		return xn_error_set(err, XN_ERR_MAC_INVALID, mac);
	if (xn_pif_of_device(state_of(call), xn_call_string(call, 2)))
		return xn_error_set(err, XN_ERR_DUPLICATE_PIF_DEVICE_NAME, xn_call_string(call, 2));
	return 0;
}

static void on_introduced(struct xn_network *network, const struct xn_interfaces *found, void *arg)
{
	struct xn_call *call = arg;
	const char *device = xn_call_string(call, 2);
	const struct xn_interface *card = xn_interfaces_find(found, device);
	struct xn_error err = {0};
	char mac[18] = "";
	struct xn_row *pif;

	normalise_mac(xn_call_string(call, 1), mac);
	if (!card || (mac[0] && strcmp(mac, card->mac) != 0)) {
		xn_error_set(
			&err,
			XN_ERR_COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS,
			device, xn_call_string(call, 1));
		xn_call_fail(call, &err);
		return;
	}
	pif = xn_pif_of_device(network, device); /* another call may have been faster */
	if (!pif)
		pif = xn_pif_make(network, card, xn_value_bool(call->args[3]));
	xn_pifs_apply(network, found, false);
	xn_call_reply(call, xn_string(xn_row_ref(pif)));
}

static void introduce(struct xn_call *call)
{
	xn_network_read(state_of(call), on_introduced, call);
}

/* ---- PIF.forget, plug, unplug ---- */

static bool is_null(const struct xn_row *row, int field)
{
	const char *ref = xn_row_string(row, field);

	return ref[0] == '\0' || strcmp(ref, XN_NULL_REF) == 0;
}

static bool has_any(const struct xn_row *row, int field)
{
	return xn_set_len(xn_row_get(row, field)) > 0;
}

static int check_forget(struct xn_call *call, struct xn_error *err)
{
	const char *ref = xn_call_string(call, 0);
	const struct xn_row *pif;

	if (check_self(call, err) < 0)
		return -1;
	pif = self_row(call);
	if (xn_row_bool(pif, XN_PIF_management))
		return xn_error_set(err, XN_ERR_PIF_IS_MANAGEMENT_INTERFACE, ref);
	if (!is_null(pif, XN_PIF_bond_slave_of) || has_any(pif, XN_PIF_bond_master_of))
		return xn_error_set(err, XN_ERR_PIF_ALREADY_BONDED, ref);
	if (!is_null(pif, XN_PIF_VLAN_master_of) || has_any(pif, XN_PIF_VLAN_slave_of))
		return xn_error_set(err, XN_ERR_PIF_VLAN_STILL_EXISTS, ref);
	if (has_any(pif, XN_PIF_tunnel_access_PIF_of) ||
	    has_any(pif, XN_PIF_tunnel_transport_PIF_of))
		return xn_error_set(err, XN_ERR_PIF_TUNNEL_STILL_EXISTS, ref);
	if (has_any(pif, XN_PIF_sriov_logical_PIF_of))
		return xn_error_set(err, XN_ERR_CANNOT_FORGET_SRIOV_LOGICAL, ref);
	if (has_any(pif, XN_PIF_sriov_physical_PIF_of))
		return xn_error_set(err, XN_ERR_PIF_SRIOV_STILL_EXISTS, ref);
	return 0;
}

static void forget(struct xn_call *call)
{
	struct xn_db *db = state_of(call)->db;
	struct xn_row *pif = self_row(call);
	struct xn_row *metrics = xn_row_follow(db, pif, XN_PIF_metrics);

	if (metrics)
		xn_db_delete(db, metrics);
	xn_db_delete(db, pif);
	xn_call_reply_void(call);
}

static int check_plug(struct xn_call *call, struct xn_error *err)
{
	const struct xn_row *pif;

	if (check_self(call, err) < 0)
		return -1;
	pif = self_row(call);
	if (!xn_row_bool(pif, XN_PIF_managed))
		return xn_error_set(err, XN_ERR_PIF_UNMANAGED, xn_call_string(call, 0));
	if (!is_null(pif, XN_PIF_bond_slave_of))
		return xn_error_set(err, XN_ERR_CANNOT_PLUG_BOND_SLAVE, xn_call_string(call, 0));
	return xn_row_bool(pif, XN_PIF_currently_attached) ? 0 : refuse_as_later(call, err);
}

static int check_unplug(struct xn_call *call, struct xn_error *err)
{
	const char *ref = xn_call_string(call, 0);
	const struct xn_row *pif;

	if (check_self(call, err) < 0)
		return -1;
	pif = self_row(call);
	if (!xn_row_bool(pif, XN_PIF_managed))
		return xn_error_set(err, XN_ERR_PIF_UNMANAGED, ref);
	if (!xn_row_bool(pif, XN_PIF_currently_attached))
		return 0;
	if (xn_row_bool(pif, XN_PIF_management))
		return xn_error_set(err, XN_ERR_PIF_IS_MANAGEMENT_INTERFACE, ref);
	if (xn_row_bool(pif, XN_PIF_disallow_unplug))
		return xn_error_set(err, XN_ERR_PIF_DOES_NOT_ALLOW_UNPLUG, ref);
	return refuse_as_later(call, err);
}

static int check_pif_destroy(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	if (is_null(self_row(call), XN_PIF_VLAN_master_of))
		return xn_error_set(err, XN_ERR_PIF_IS_PHYSICAL, xn_call_string(call, 0));
	return refuse_as_later(call, err);
}

/* ---- PIF setters ---- */

static void set_disallow_unplug(struct xn_call *call)
{
	xn_db_set(state_of(call)->db, self_row(call), XN_PIF_disallow_unplug,
		  xn_value_ref(call->args[1]));
	xn_call_reply_void(call);
}

static int check_property(struct xn_call *call, struct xn_error *err)
{
	const char *name = xn_call_string(call, 1), *value = xn_call_string(call, 2);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *text = NULL;

	if (check_self(call, err) < 0)
		return -1;
	if (strcmp(name, "gro") == 0 && (strcmp(value, "on") == 0 || strcmp(value, "off") == 0))
		return refuse_as_later(call, err);
	text = xn_stringf("%s = %s", name, value);
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "properties", xn_value_string(text));
}

const struct xn_method_impl xn_network_methods[] = {
	{"network.create", create, check_create},
	{"network.destroy", destroy, check_destroy},
	{"network.set_default_locking_mode", set_default_locking_mode, check_locking_mode},
	{"network.add_purpose", add_purpose, check_purpose},
	{"network.remove_purpose", remove_purpose, check_self},
	{"PIF.scan", scan, check_self},
	{"PIF.introduce", introduce, check_introduce},
	{"PIF.forget", forget, check_forget},
	{"PIF.plug", answer_void, check_plug},
	{"PIF.unplug", answer_void, check_unplug},
	{"PIF.destroy", answer_void, check_pif_destroy},
	{"PIF.set_disallow_unplug", set_disallow_unplug, check_self},
	{"PIF.set_property", answer_void, check_property},
	{NULL, NULL, NULL, false},
};
