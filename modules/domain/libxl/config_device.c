/* Disks, interfaces and PCI devices for libxl: of a new domain, and for hot plug. */
#include <errno.h>
#include <stdio.h>

#include "modules/domain/libxl/config.h"

/* An interface may send this long at once before its rate limit holds it back. */
enum { RATE_SLICE_US = 50000 };

static const struct {
	const char *name;
	libxl_disk_format format;
} formats[] = {
	{"raw", LIBXL_DISK_FORMAT_RAW},
	{"qcow2", LIBXL_DISK_FORMAT_QCOW2},
	{"vhd", LIBXL_DISK_FORMAT_VHD},
	{"qed", LIBXL_DISK_FORMAT_QED},
};

/* No back end is named: libxl takes the kernel's for what it can read (raw), else qemu's. */
int xn_libxl_disk_fill(const struct xn_value *map, libxl_device_disk *out)
{
	const char *format = xn_map_get_string(map, "format");

	libxl_device_disk_init(out);
	out->vdev = xn_libxl_text(map, "vdev");
	out->pdev_path = xn_libxl_text(map, "path");
	out->is_cdrom = xn_map_get_bool(map, "is_cdrom", false);
	out->removable = out->is_cdrom;
	out->readwrite = !out->is_cdrom && !xn_map_get_bool(map, "read_only", false);
	if (!out->pdev_path) {
		out->format = LIBXL_DISK_FORMAT_EMPTY;
		return out->vdev && out->is_cdrom ? 0 : -EINVAL;
	}
	out->format = LIBXL_DISK_FORMAT_UNKNOWN;
	for (size_t i = 0; i < XN_ARRAY_SIZE(formats); i++)
		if (strcmp(formats[i].name, format ? format : "raw") == 0)
			out->format = formats[i].format;
	return out->vdev && out->format != LIBXL_DISK_FORMAT_UNKNOWN ? 0 : -EINVAL;
}

static int read_mac(const char *text, libxl_mac mac)
{
	char end;

	return text && sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1],
			      &mac[2], &mac[3], &mac[4], &mac[5], &end) == 6
		       ? 0
		       : -EINVAL;
}

int xn_libxl_nic_fill(const struct xn_value *map, libxl_device_nic *out)
{
	int64_t mtu = xn_map_get_int(map, "mtu", 0), rate = xn_map_get_int(map, "rate_kbps", 0);

	libxl_device_nic_init(out);
	out->devid = xn_map_get_int(map, "devid", -1);
	out->bridge = xn_libxl_text(map, "bridge");
	if (mtu > 0)
		out->mtu = mtu;
	if (rate > 0) {
		out->rate_interval_usecs = RATE_SLICE_US;
		out->rate_bytes_per_interval = (uint64_t)rate * 1024 * RATE_SLICE_US / 1000000;
	}
	return out->devid >= 0 && mtu <= UINT16_MAX
		       ? read_mac(xn_map_get_string(map, "mac"), out->mac)
		       : -EINVAL;
}

/* libxl takes the device from its driver in dom0 when it is not free yet. */
int xn_libxl_pci_fill(const char *address, libxl_device_pci *out)
{
	unsigned domain, bus, dev, func;
	char end;

	libxl_device_pci_init(out);
	if (!address ||
	    sscanf(address, "%4x:%2x:%2x.%1x%c", &domain, &bus, &dev, &func, &end) != 4 ||
	    dev > 31 || func > 7)
		return -EINVAL;
	out->domain = domain;
	out->bus = bus;
	out->dev = dev;
	out->func = func;
	out->seize = true;
	return 0;
}
