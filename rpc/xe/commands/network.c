/* Commands about networks and VMs' interfaces: network-*, vif-*. */
#include <strings.h>

#include "rpc/xe/commands/make.h"

xe_handler xe_cmd_network_create, xe_cmd_vif_create, xe_cmd_vif_unplug,
	xe_cmd_vif_configure_ipv4, xe_cmd_vif_configure_ipv6;

void xe_cmd_network_create(struct xe *x)
{
	int64_t mtu;
	bool managed;

	if (xe_param_int(x, "MTU", 1500, &mtu) && xe_param_bool(x, "managed", true, &managed))
		xe_make(x, XN_CLASS_network,
			xe_fields("name_label", 's', xe_param(x, "name-label"), "name_description",
				  's', xe_param_or(x, "name-description", ""), "MTU", 'i', mtu,
				  "bridge", 's', xe_param_or(x, "bridge", ""), "managed", 'b',
				  managed, "other_config", 'v', xn_map_new(), NULL));
}

void xe_cmd_vif_create(struct xe *x)
{
	const char *mac = xe_param_or(x, "mac", "");
	const char *vm, *network;
	const struct xn_value *mtu;

	if (strcasecmp(mac, "random") == 0)
		mac = ""; /* the daemon makes one */
	if (xe_by_uuid(x, XN_CLASS_VM, xe_param(x, "vm-uuid"), &vm) &&
	    xe_by_uuid(x, XN_CLASS_network, xe_param(x, "network-uuid"), &network) &&
	    xe_call(x, &mtu, "network.get_MTU", "s", network))
		xe_make(x, XN_CLASS_VIF,
			xe_fields("device", 's', xe_param(x, "device"), "network", 's', network,
				  "VM", 's', vm, "MAC", 's', mac, "MTU", 'm', mtu, "other_config",
				  'v', xn_map_new(), "qos_algorithm_type", 's', "",
				  "qos_algorithm_params", 'v', xn_map_new(), NULL));
}

void xe_cmd_vif_unplug(struct xe *x)
{
	const char *vif;
	bool force;

	if (xe_by_uuid(x, XN_CLASS_VIF, xe_param(x, "uuid"), &vif) &&
	    xe_param_bool(x, "force", false, &force) &&
	    !xe_call(x, NULL, force ? "VIF.unplug_force" : "VIF.unplug", "s", vif))
		return;
}

static void configure(struct xe *x, const char *method)
{
	const char *mode = xe_param(x, "mode"), *address = xe_param_or(x, "address", "");
	const char *vif;

	if (!xe_by_uuid(x, XN_CLASS_VIF, xe_param(x, "uuid"), &vif))
		return;
	if (strcasecmp(mode, "none") != 0 && strcasecmp(mode, "static") != 0) {
		xe_fail(x, "Parameter mode takes None or Static, not '%s'", mode);
		return;
	}
	if (strcasecmp(mode, "static") == 0 && !*address) {
		xe_fail(x, "Required parameter not found: address");
		return;
	}
	if (!xe_call(x, NULL, method, "ssss", vif, mode, address, xe_param_or(x, "gateway", "")))
		return;
}

void xe_cmd_vif_configure_ipv4(struct xe *x)
{
	configure(x, "VIF.configure_ipv4");
}

void xe_cmd_vif_configure_ipv6(struct xe *x)
{
	configure(x, "VIF.configure_ipv6");
}
