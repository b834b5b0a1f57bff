/*
 * VM.platform's keys for libxl, and what an HVM domain has beside a processor: firmware, a screen,
 * serial and parallel ports, a tablet. Keys that libxl has no word for reach the guest all the
 * same, as all do, in its xenstore (platform/).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "modules/domain/libxl/config.h"

/* The device model's screens have no less; records made for an older one ask for half of it. */
enum { CIRRUS_MIB = 8, STD_VGA_MIB = 16 };

/* ---- values ---- */

static const char *platform_text(const struct xn_value *map, const char *key)
{
	const struct xn_value *platform = xn_map_get(map, "platform");
	const char *text = platform ? xn_map_get_string(platform, key) : NULL;

	return text ? text : "";
}

bool xn_libxl_platform_bool(const struct xn_value *map, const char *key, bool otherwise)
{
	const char *text = platform_text(map, key);

	if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0)
		return true;
	if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0)
		return false;
	return otherwise;
}

int64_t xn_libxl_platform_int(const struct xn_value *map, const char *key, int64_t otherwise)
{
	const char *text = platform_text(map, key);
	char *end;
	long long n = strtoll(text, &end, 0);

	return *text && !*end ? n : otherwise;
}

/* ---- keys that are one setting of libxl's each ---- */

static const struct {
	const char *key;
	size_t offset; /* of a libxl_defbool in libxl_domain_build_info */
	bool hvm_only;
} bools[] = {
#define BUILD(field) offsetof(libxl_domain_build_info, field)
	{"acpi", BUILD(acpi)},
	{"apic", BUILD(apic)},
	{"nested-virt", BUILD(nested_hvm)},
	{"nomigrate", BUILD(disable_migrate)},
	{"nx", BUILD(u.hvm.nx), true},
	{"pae", BUILD(u.hvm.pae), true},
	{"viridian", BUILD(u.hvm.viridian), true},
	{"acpi_s3", BUILD(u.hvm.acpi_s3), true},
	{"acpi_s4", BUILD(u.hvm.acpi_s4), true},
	{"acpi_laptop_slate", BUILD(u.hvm.acpi_laptop_slate), true},
	{"hpet", BUILD(u.hvm.hpet), true},
	{"vpt", BUILD(u.hvm.vpt_align), true},
	{"vpt_align", BUILD(u.hvm.vpt_align), true},
#undef BUILD
};

static void fill_bools(const struct xn_value *map, libxl_domain_build_info *b)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(bools); i++) {
		bool yes = xn_libxl_platform_bool(map, bools[i].key, true);

		/* Not there, or no truth: libxl's own default stays. */
		if (yes != xn_libxl_platform_bool(map, bools[i].key, false) ||
		    (bools[i].hvm_only && b->type != LIBXL_DOMAIN_TYPE_HVM))
			continue;
		libxl_defbool_set((libxl_defbool *)((char *)b + bools[i].offset), yes);
	}
}

/* What the API and libxl both number alike. */
static void fill_clocks(const struct xn_value *map, libxl_domain_build_info *b)
{
	int64_t tsc = xn_libxl_platform_int(map, "tsc_mode", -1);
	int64_t timer = xn_libxl_platform_int(map, "timer_mode", -1);

	if (tsc >= LIBXL_TSC_MODE_DEFAULT && tsc <= LIBXL_TSC_MODE_NATIVE_PARAVIRT)
		b->tsc_mode = tsc;
	if (timer >= LIBXL_TIMER_MODE_DELAY_FOR_MISSED_TICKS &&
	    timer <= LIBXL_TIMER_MODE_ONE_MISSED_TICK_PENDING && b->type != LIBXL_DOMAIN_TYPE_PV)
		b->timer_mode = timer;
}

/*
 * Cores per socket are told by CPUID: logical processors in a package (leaf 1), and highest core
 * number in it (leaf 4). Twice the cores, for Xen numbers VCPUs as if each had a sibling.
 */
static int fill_cores(const struct xn_value *map, libxl_domain_build_info *b)
{
	int64_t cores = xn_libxl_platform_int(map, "cores-per-socket", 1);
	char proccount[24], procpkg[24];
	const char *const policies[] = {"htt=1", proccount, procpkg};

	if (cores < 1 || cores > 127)
		return -EINVAL;
	if (cores == 1 || b->type == LIBXL_DOMAIN_TYPE_PV)
		return 0; /* one core a socket is what API clients write when they mean nothing */
	snprintf(proccount, sizeof(proccount), "proccount=%d", (int)cores * 2);
	snprintf(procpkg, sizeof(procpkg), "procpkg=%d", (int)cores * 2 - 1);
	for (size_t i = 0; i < XN_ARRAY_SIZE(policies); i++)
		if (libxl_cpuid_parse_config(&b->cpuid, policies[i]) != 0)
			return -EINVAL;
	return 0;
}

/* ---- HVM ---- */

static int fill_firmware(const struct xn_value *map, libxl_domain_build_info *b)
{
	const char *firmware = xn_map_get_string(map, "firmware");
	const char *order = xn_map_get_string(map, "boot_order");

	if (!order)
		order = "cd";
	if (order[strspn(order, "acdn")])
		return -EINVAL;
	b->u.hvm.boot = xn_strdup(order);
	if (firmware && strcmp(firmware, "bios") != 0 && strcmp(firmware, "uefi") != 0)
		return -EINVAL;
	b->u.hvm.bios = firmware && strcmp(firmware, "uefi") == 0 ? LIBXL_BIOS_TYPE_OVMF
								  : LIBXL_BIOS_TYPE_SEABIOS;
	return 0;
}

/* VNC where only this host can reach it: clients come through the console proxy. */
static void fill_screen(const struct xn_value *map, libxl_domain_build_info *b)
{
	const char *vga = platform_text(map, "vga");
	int64_t mib = xn_libxl_platform_int(map, "videoram", 0);
	bool none = strcmp(vga, "none") == 0, cirrus = strcmp(vga, "cirrus") == 0;
	int least_mib = cirrus ? CIRRUS_MIB : STD_VGA_MIB;
	bool vnc = !none && xn_libxl_platform_bool(map, "vnc", true);

	b->u.hvm.vga.kind = none     ? LIBXL_VGA_INTERFACE_TYPE_NONE
			    : cirrus ? LIBXL_VGA_INTERFACE_TYPE_CIRRUS
				     : LIBXL_VGA_INTERFACE_TYPE_STD;
	if (mib > 0 && mib <= 256 && !none)
		b->video_memkb = (mib < least_mib ? least_mib : mib) * 1024;
	libxl_defbool_set(&b->u.hvm.sdl.enable, false);
	libxl_defbool_set(&b->u.hvm.nographic, none);
	libxl_defbool_set(&b->u.hvm.vnc.enable, vnc);
	if (!vnc)
		return;
	b->u.hvm.vnc.listen = xn_strdup("127.0.0.1");
	libxl_defbool_set(&b->u.hvm.vnc.findunused, true);
}

static char **list_of_two(const char *first, const char *second)
{
	char **list = xn_calloc(3, sizeof(*list));

	list[0] = xn_strdup(first);
	list[1] = xn_strdup(second);
	return list;
}

static bool is_device(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(path, prefix, len) == 0 && path[len] &&
	       !path[len + strspn(path + len, "0123456789")];
}

/*
 * Only this host's own ports: the device model opens what it is given as root, and a file's or a
 * socket's name is nothing that a VM's owner may choose.
 */
static int fill_ports(const struct xn_value *map, libxl_domain_build_info *b)
{
	const struct xn_value *other = xn_map_get(map, "other_config");
	const char *serial = platform_text(map, "hvm_serial");
	const char *parallel = platform_text(map, "parallel");

	if (!*serial && other && xn_map_get_string(other, "hvm_serial"))
		serial = xn_map_get_string(other, "hvm_serial");
	if (!*serial || strcmp(serial, "pty") == 0 || is_device(serial, "/dev/ttyS"))
		b->u.hvm.serial = xn_strdup(*serial ? serial : "pty");
	else if (strcmp(serial, "none") != 0)
		return -EINVAL;
	if (is_device(parallel, "/dev/parport"))
		b->extra_hvm = list_of_two("-parallel", parallel);
	else if (*parallel && strcmp(parallel, "none") != 0)
		return -EINVAL;
	return 0;
}

/* A tablet tells where the pointer is, not how far it went: a screen in a window needs one. */
static void fill_usb(const struct xn_value *map, libxl_domain_build_info *b)
{
	bool usb = xn_libxl_platform_bool(map, "usb", true);

	libxl_defbool_set(&b->u.hvm.usb, usb);
	if (usb && xn_libxl_platform_bool(map, "usb_tablet", true))
		b->u.hvm.usbdevice = xn_strdup("tablet");
}

static int fill_hvm(const struct xn_value *map, libxl_domain_build_info *b)
{
	int64_t hole_mib = xn_libxl_platform_int(map, "mmio_size_mib", 0);
	int rc = fill_firmware(map, b);

	if (rc == 0)
		rc = fill_ports(map, b);
	if (rc < 0)
		return rc;
	fill_screen(map, b);
	fill_usb(map, b);
	/* More than the 32 bit address space has below the devices that are always there: no. */
	if (hole_mib > 0 && hole_mib < 4096 - 256)
		b->u.hvm.mmio_hole_memkb = hole_mib * 1024;
	if (xn_map_get_bool(map, "has_vendor_device", false))
		b->u.hvm.vendor_device = LIBXL_VENDOR_DEVICE_XENSERVER;
	/* qemu-trad is gone, and the other names of the API are variants of the one that is left.
	 */
	b->device_model_version = LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
	return 0;
}

int xn_libxl_platform_fill(struct xn_libxl_child *child, const struct xn_value *map,
			   libxl_domain_config *out)
{
	libxl_domain_build_info *b = &out->b_info;
	int rc;

	fill_bools(map, b);
	fill_clocks(map, b);
	rc = fill_cores(map, b);
	if (rc < 0)
		return xn_libxl_fail(child, rc, "platform:cores-per-socket makes no processor");
	if (b->type != LIBXL_DOMAIN_TYPE_HVM)
		return 0;
	rc = fill_hvm(map, b);
	if (rc < 0)
		xn_libxl_fail(child, rc,
			      "boot order, firmware or a port of the VM is none that "
			      "there is");
	return rc;
}
