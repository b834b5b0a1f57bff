/* The machine's network interfaces, from getifaddrs, /sys/class/net and /proc/net; see
 * interfaces.h. */
#include "modules/network/interfaces.h"

#include "core/buf.h"
#include "core/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_INTERFACES = 1024, FILE_MAX = 1 << 16 };

/* The terminated content of a small file; "" when it cannot be read. */
static void read_small(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 0;

	while (fd >= 0 && len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[n < 0 ? 0 : len] = '\0';
	if (fd >= 0)
		close(fd);
}

/* One attribute of an interface, without its newline. */
static void read_attribute(const char *name, const char *attribute, char *out, size_t size)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, attribute);
	read_small(path, out, size);
	out[strcspn(out, "\n")] = '\0';
	if (!xn_text_is_valid(out, strlen(out)))
		out[0] = '\0';
}

static int read_number(const char *name, const char *attribute)
{
	char text[32];

	read_attribute(name, attribute, text, sizeof(text));
	return atoi(text);
}

/* The last part of a symbolic link below the interface's folder; "" when there is none. */
static void read_link_name(const char *name, const char *link, char *out, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	ssize_t len;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, link);
	len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return;
	target[len] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) < size && xn_text_is_valid(last, strlen(last)))
		memcpy(out, last, strlen(last) + 1);
}

static bool exists(const char *name, const char *attribute)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, attribute);
	return access(path, F_OK) == 0;
}

/* A virtio or USB card hangs below its PCI function: the nearest name that looks like one. */
static void read_pci_path(struct xn_interface *i)
{
	char path[PATH_MAX], real[PATH_MAX];
	char *part, *save = NULL;

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", i->name);
	if (!realpath(path, real))
		return;
	for (part = strtok_r(real, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		unsigned domain, bus, slot, function;

		if (sscanf(part, "%4x:%2x:%2x.%1x", &domain, &bus, &slot, &function) == 4)
			snprintf(i->pci_bus_path, sizeof(i->pci_bus_path), "%.31s", part);
	}
}

static void read_hardware(struct xn_interface *i)
{
	char text[32];

	i->mtu = read_number(i->name, "mtu");
	i->carrier = read_number(i->name, "carrier") == 1; /* unreadable while the link is down */
	i->speed = read_number(i->name, "speed");
	if (i->speed < 0)
		i->speed = 0;
	read_attribute(i->name, "duplex", text, sizeof(text));
	i->full_duplex = strcmp(text, "full") == 0;
	read_attribute(i->name, "address", i->mac, sizeof(i->mac));
	read_attribute(i->name, "device/vendor", i->vendor_id, sizeof(i->vendor_id));
	read_attribute(i->name, "device/device", i->device_id, sizeof(i->device_id));
	if (exists(i->name, "master/bridge"))
		read_link_name(i->name, "master", i->bridge, sizeof(i->bridge));
	if (i->has_device)
		read_pci_path(i);
}

/* ---- addresses ---- */

static unsigned prefix_length(const struct in6_addr *mask)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < sizeof(mask->s6_addr); i++)
		bits += (unsigned)__builtin_popcount(mask->s6_addr[i]);
	return bits;
}

static void take_address(struct xn_interface *i, const struct ifaddrs *a)
{
	if (a->ifa_addr->sa_family == AF_INET && !i->ip[0] && a->ifa_netmask) {
		const struct sockaddr_in *ip = (const void *)a->ifa_addr;
		const struct sockaddr_in *mask = (const void *)a->ifa_netmask;

		inet_ntop(AF_INET, &ip->sin_addr, i->ip, sizeof(i->ip));
		inet_ntop(AF_INET, &mask->sin_addr, i->netmask, sizeof(i->netmask));
	} else if (a->ifa_addr->sa_family == AF_INET6 && a->ifa_netmask &&
		   i->n_ipv6 < XN_INTERFACE_IPV6) {
		const struct sockaddr_in6 *ip = (const void *)a->ifa_addr;
		const struct sockaddr_in6 *mask = (const void *)a->ifa_netmask;
		char text[INET6_ADDRSTRLEN];

		if (IN6_IS_ADDR_LINKLOCAL(&ip->sin6_addr))
			return;
		inet_ntop(AF_INET6, &ip->sin6_addr, text, sizeof(text));
		snprintf(i->ipv6[i->n_ipv6++], XN_ADDRESS_MAX, "%s/%u", text,
			 prefix_length(&mask->sin6_addr));
	}
}

/* The address sits on the bridge when the card is a port of one. */
static bool is_address_of(const struct xn_interface *i, const char *name)
{
	return strcmp(i->bridge[0] ? i->bridge : i->name, name) == 0;
}

bool xn_interfaces_parse_route(const char *text, char device[XN_IFNAME_MAX],
			       char gateway[XN_ADDRESS_MAX])
{
	unsigned best = UINT_MAX;

	for (const char *line = strchr(text, '\n'); line && line[1];
	     line = strchr(line + 1, '\n')) {
		char name[XN_IFNAME_MAX];
		unsigned destination, via, flags, refs, use, metric;
		struct in_addr address;

		if (sscanf(line + 1, "%15s %x %x %x %u %u %u", name, &destination, &via, &flags,
			   &refs, &use, &metric) != 7 ||
		    destination != 0 || !(flags & 2) || metric >= best)
			continue;
		best = metric;
		address.s_addr = via; /* printed as the machine holds it: network order in memory */
		inet_ntop(AF_INET, &address, gateway, XN_ADDRESS_MAX);
		memcpy(device, name, sizeof(name));
	}
	return best != UINT_MAX;
}

void xn_interfaces_parse_resolv(const char *text, char *dns, size_t size)
{
	size_t len = 0;

	dns[0] = '\0';
	for (const char *line = text; line; line = strchr(line, '\n')) {
		char server[XN_ADDRESS_MAX];
		struct in6_addr any;

		line += *line == '\n';
		if (sscanf(line, "nameserver %63s", server) != 1 ||
		    (inet_pton(AF_INET, server, &any) != 1 &&
		     inet_pton(AF_INET6, server, &any) != 1) ||
		    len + strlen(server) + 2 > size)
			continue;
		len += (size_t)snprintf(dns + len, size - len, "%s%s", len ? "," : "", server);
	}
}

static void read_routes(struct xn_interfaces *list)
{
	char text[FILE_MAX / 4], device[XN_IFNAME_MAX], gateway[XN_ADDRESS_MAX];

	read_small("/etc/resolv.conf", text, sizeof(text));
	xn_interfaces_parse_resolv(text, list->dns, sizeof(list->dns));
	read_small("/proc/net/route", text, sizeof(text));
	if (!xn_interfaces_parse_route(text, device, gateway))
		return;
	for (size_t k = 0; k < list->n; k++) {
		struct xn_interface *i = &list->items[k];

		if (!is_address_of(i, device))
			continue;
		i->is_default = true;
		memcpy(i->gateway, gateway, sizeof(gateway));
	}
}

/* ---- the list ---- */

/* Ethernet, and not what a hypervisor or a container engine makes for its guests. */
static bool may_be_a_card(const char *name)
{
	return read_number(name, "type") == ARPHRD_ETHER && !exists(name, "bridge") &&
	       !exists(name, "tun_flags") && strncmp(name, "vif", 3) != 0 &&
	       strncmp(name, "tap", 3) != 0;
}

static struct xn_interface *add(struct xn_interfaces *list, const char *name)
{
	struct xn_interface *i;

	list->items = xn_realloc(list->items, (list->n + 1) * sizeof(*list->items));
	i = &list->items[list->n++];
	*i = (struct xn_interface){.has_device = exists(name, "device")};
	snprintf(i->name, sizeof(i->name), "%s", name);
	read_hardware(i);
	return i;
}

/*
 * Cards with a device behind them. A container has none: there the interfaces that carry an
 * address count, so that a daemon in a container has a network too.
 */
static void drop_virtual(struct xn_interfaces *list)
{
	bool any = false;
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++)
		any |= list->items[i].has_device;
	for (size_t i = 0; i < list->n; i++)
		if (any ? list->items[i].has_device : list->items[i].ip[0] != '\0')
			list->items[kept++] = list->items[i];
	list->n = kept;
}

int xn_interfaces_read(struct xn_interfaces *list)
{
	struct if_nameindex *names = if_nameindex();
	struct ifaddrs *addresses = NULL;

	*list = (struct xn_interfaces){0};
	if (!names)
		return -errno;
	for (size_t k = 0; names[k].if_name && list->n < MAX_INTERFACES; k++)
		if (may_be_a_card(names[k].if_name))
			add(list, names[k].if_name);
	if_freenameindex(names);

	if (getifaddrs(&addresses) < 0)
		return -errno;
	for (const struct ifaddrs *a = addresses; a; a = a->ifa_next)
		for (size_t k = 0; k < list->n; k++) {
			if (strcmp(list->items[k].name, a->ifa_name) == 0)
				list->items[k].is_up = a->ifa_flags & IFF_UP;
			if (a->ifa_addr && is_address_of(&list->items[k], a->ifa_name))
				take_address(&list->items[k], a);
		}
	freeifaddrs(addresses);
	drop_virtual(list);
	read_routes(list);
	return 0;
}

void xn_interfaces_fixed(struct xn_interfaces *list)
{
	*list = (struct xn_interfaces){.n = 1, .dns = "192.0.2.1"};
	list->items = xn_calloc(1, sizeof(*list->items));
	list->items[0] = (struct xn_interface){
		.name = "eth0",
		.mac = "00:16:3e:00:00:01",
		.mtu = 1500,
		.speed = 1000,
		.has_device = true,
		.is_up = true,
		.carrier = true,
		.full_duplex = true,
		.is_default = true,
		.ip = "192.0.2.10",
		.netmask = "255.255.255.0",
		.gateway = "192.0.2.1",
	};
}

void xn_interfaces_clear(struct xn_interfaces *list)
{
	free(list->items);
	*list = (struct xn_interfaces){0};
}

const struct xn_interface *xn_interfaces_find(const struct xn_interfaces *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i].name, name) == 0)
			return &list->items[i];
	return NULL;
}
