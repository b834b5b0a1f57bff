/*
 * The machine's network interfaces as the kernel tells them: a list of facts, no rows. Reading
 * touches a few small files a card and may wait for a driver, so it runs in a worker but for the
 * first time.
 */
#ifndef XN_INTERFACES_H
#define XN_INTERFACES_H

#include "core/base.h"

enum { XN_IFNAME_MAX = 16, XN_ADDRESS_MAX = 64, XN_INTERFACE_IPV6 = 8 };

struct xn_interface {
	char name[XN_IFNAME_MAX];
	char bridge[XN_IFNAME_MAX]; /* the bridge it is a port of; "" */
	char mac[18];
	int mtu, speed; /* Mbit/s; 0 unknown */
	bool has_device, is_up, carrier, full_duplex;
	bool is_default; /* the default route leaves here (or by its bridge) */
	char ip[XN_ADDRESS_MAX], netmask[XN_ADDRESS_MAX], gateway[XN_ADDRESS_MAX];
	char ipv6[XN_INTERFACE_IPV6][XN_ADDRESS_MAX]; /* addr/prefix; global ones */
	unsigned n_ipv6;
	char vendor_id[8], device_id[8], pci_bus_path[32];
};

struct xn_interfaces {
	struct xn_interface *items; /* network cards only, in the kernel's order; owned */
	size_t n;
	char dns[256]; /* comma separated */
};

/* Return 0 or -errno; @out is filled in either case, at worst with nothing. */
int xn_interfaces_read(struct xn_interfaces *out);
void xn_interfaces_fixed(struct xn_interfaces *out); /* for the virtual loop */
void xn_interfaces_clear(struct xn_interfaces *list);
const struct xn_interface *xn_interfaces_find(const struct xn_interfaces *list, const char *name);

/* The parsers, for tests. */
void xn_interfaces_parse_resolv(const char *text, char *dns, size_t size);
/* @text: /proc/net/route. Device and gateway of the default route; false when there is none. */
bool xn_interfaces_parse_route(const char *text, char device[XN_IFNAME_MAX],
			       char gateway[XN_ADDRESS_MAX]);

#endif
