/*
 * VIF.configure_ipv4 and configure_ipv6: addresses that a guest's agent is told in xenstore, where
 * guest tools look: xenserver/device/vif/N/static-ip-setting below the domain. A guest that runs is
 * told at once, any other when the interface is plugged. The agent reports back in the same folder,
 * so that is the guest's.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum { PATH_SIZE = 128 };

bool xn_is_ip_address(int family, const char *text)
{
	unsigned char binary[16];

	return inet_pton(family, text, binary) == 1;
}

/* "address/prefix" */
static bool is_cidr(int family, const char *text)
{
	char address[64];
	const char *slash = strchr(text, '/');
	char *end;
	long prefix;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	prefix = strtol(slash + 1, &end, 10);
	return xn_is_ip_address(family, address) && slash[1] >= '0' && slash[1] <= '9' && !*end &&
	       prefix >= 0 && prefix <= (family == AF_INET6 ? 128 : 32);
}

/* ---- telling the guest ---- */

static const struct family {
	const char *suffix;
	int mode, addresses, gateway; /* fields */
} families[] = {
	{"", XN_VIF_ipv4_configuration_mode, XN_VIF_ipv4_addresses, XN_VIF_ipv4_gateway},
	{"6", XN_VIF_ipv6_configuration_mode, XN_VIF_ipv6_addresses, XN_VIF_ipv6_gateway},
};

static bool is_static(const struct xn_row *vif, const struct family *family)
{
	return strcmp(xn_row_string(vif, family->mode), "Static") == 0;
}

struct keys {
	char paths[16][PATH_SIZE];
	struct xn_xs_change changes[16];
	size_t n;
	char base[96];
};

static void put(struct keys *keys, const char *name, const char *suffix, const char *value)
{
	snprintf(keys->paths[keys->n], PATH_SIZE, "%s/%s%s", keys->base, name, suffix);
	keys->changes[keys->n] =
		(struct xn_xs_change){.path = keys->paths[keys->n], .value = value};
	keys->n++;
}

static void put_family(struct keys *keys, const struct xn_row *vif, const struct family *family)
{
	const struct xn_value *addresses = xn_row_get(vif, family->addresses);
	bool set = is_static(vif, family) && xn_set_len(addresses) > 0;

	put(keys, "enabled", family->suffix, set ? "1" : "0");
	put(keys, "address", family->suffix, set ? xn_value_string(xn_set_at(addresses, 0)) : "");
	put(keys, "gateway", family->suffix, set ? xn_row_string(vif, family->gateway) : "");
}

void xn_vif_tell_address(struct xn_domains *d, const struct xn_row *vif, uint32_t domid)
{
	struct keys keys = {.n = 1};
	char perms[16];

	snprintf(keys.base, sizeof(keys.base),
		 "/local/domain/%u/xenserver/device/vif/%d/static-ip-setting", domid,
		 xn_nic_position(xn_row_string(vif, XN_VIF_device)));
	snprintf(perms, sizeof(perms), "n%u", domid);
	keys.changes[0] = (struct xn_xs_change){.path = keys.base, .value = "", .perms = perms};
	put(&keys, "mac", "", xn_row_string(vif, XN_VIF_MAC));
	put(&keys, "error-code", "", "0");
	put(&keys, "error-msg", "", "");
	for (size_t i = 0; i < XN_ARRAY_SIZE(families); i++)
		put_family(&keys, vif, &families[i]);
	xn_xs_write(d->xs, keys.changes, keys.n, NULL, NULL);
}

void xn_vif_tell_address_if_set(struct xn_domains *d, const char *ref, uint32_t domid)
{
	const struct xn_row *vif = xn_db_get(d->db, XN_CLASS_VIF, ref);

	for (size_t i = 0; vif && i < XN_ARRAY_SIZE(families); i++)
		if (is_static(vif, &families[i])) {
			xn_vif_tell_address(d, vif, domid);
			return;
		}
}

/* ---- the calls ---- */

int xn_vif_configure(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vif = xn_db_need(d->db, XN_CLASS_VIF, xn_call_string(call, 0), err);
	bool v6 = strcmp(call->method->message, "configure_ipv6") == 0;
	const struct family *family = &families[v6];
	bool fixed = strcmp(xn_call_string(call, 1), "Static") == 0;
	const char *address = xn_call_string(call, 2), *gateway = xn_call_string(call, 3);
	const struct xn_row *vm = vif ? xn_row_follow(d->db, vif, XN_VIF_VM) : NULL;
	const struct xn_domain_info *domain =
		vm ? d->backend->ops->find(d->backend, xn_row_uuid(vm)) : NULL;
	struct xn_value *addresses;

	if (!vif)
		return -1;
	if (fixed && !is_cidr(v6 ? AF_INET6 : AF_INET, address))
		return xn_error_set(err, XN_ERR_INVALID_CIDR_ADDRESS_SPECIFIED, "address");
	if (fixed && *gateway && !xn_is_ip_address(v6 ? AF_INET6 : AF_INET, gateway))
		return xn_error_set(err, XN_ERR_INVALID_IP_ADDRESS_SPECIFIED, "gateway");
	addresses = xn_set_new();
	if (fixed)
		xn_set_append_string(&addresses, address);
	xn_db_set(d->db, vif, family->addresses, addresses);
	xn_db_set_string(d->db, vif, family->mode, xn_call_string(call, 1));
	xn_db_set_string(d->db, vif, family->gateway, fixed ? gateway : "");
	if (domain)
		xn_vif_tell_address(d, vif, domain->domid);
	return 0;
}
