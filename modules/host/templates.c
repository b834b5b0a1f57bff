/*
 * The templates that come with the product: a table, turned into VM rows at the first start. What
 * the user deletes or changes later stays so. They hold no disks: VM.provision makes those that
 * other_config:disks describes.
 */
#include "modules/host/host_internal.h"

#include <string.h>

enum template_flags {
	LINUX = 1 << 0,   /* installs from a network repository too */
	WINDOWS = 1 << 1, /* wants the interfaces of the other hypervisor */
	UEFI = 1 << 2,
	SECURE_BOOT = 1 << 3,
};

struct template
{
	const char *name, *description;
	const char *domain_type;
	unsigned memory_mib, least_mib, vcpus;
	unsigned disk_gib; /* 0: none */
	unsigned flags;
	const char *bootloader, *kernel_args; /* pv, pvh */
};

#define FOR_LINUX "Installs from its ISO image or from a network repository"
#define FOR_WINDOWS "Installs from its ISO image; add the guest tools afterwards"

static const struct template templates[] = {
	{"Debian Bookworm 12", FOR_LINUX, "hvm", 2048, 512, 1, 10, LINUX},
	{"Debian Trixie 13", FOR_LINUX, "hvm", 2048, 512, 1, 10, LINUX | UEFI},
	{"Ubuntu Jammy Jellyfish 22.04", FOR_LINUX, "hvm", 4096, 1024, 2, 10, LINUX},
	{"Ubuntu Noble Numbat 24.04", FOR_LINUX, "hvm", 4096, 1024, 2, 10, LINUX | UEFI},
	{"Rocky Linux 9", FOR_LINUX, "hvm", 4096, 2048, 2, 10, LINUX | UEFI},
	{"AlmaLinux 9", FOR_LINUX, "hvm", 4096, 2048, 2, 10, LINUX | UEFI},
	{"Generic Linux BIOS", "Any Linux that boots from a BIOS", "hvm", 2048, 256, 1, 10, LINUX},
	{"Generic Linux UEFI", "Any Linux that boots from UEFI", "hvm", 2048, 256, 1, 10,
	 LINUX | UEFI},
	{"Generic Linux PV", "A paravirtual guest; its kernel is on its disk or set in PV_kernel",
	 "pv", 1024, 128, 1, 8, LINUX, "pygrub", "console=hvc0"},
	{"Generic Linux PVH",
	 "A guest without emulated hardware; set PV_kernel, or boot from its disk", "pvh", 1024,
	 128, 1, 8, LINUX, "pygrub", "console=hvc0"},
	{"Windows 10", FOR_WINDOWS, "hvm", 4096, 2048, 2, 32, WINDOWS | UEFI},
	{"Windows 11", FOR_WINDOWS, "hvm", 4096, 4096, 2, 64, WINDOWS | UEFI | SECURE_BOOT},
	{"Windows Server 2019", FOR_WINDOWS, "hvm", 4096, 2048, 2, 32, WINDOWS | UEFI},
	{"Windows Server 2022", FOR_WINDOWS, "hvm", 4096, 2048, 2, 32, WINDOWS | UEFI},
	{"Windows Server 2025", FOR_WINDOWS, "hvm", 4096, 2048, 2, 32, WINDOWS | UEFI},
	{"Other install media", "Any system, from any bootable medium; brings no disk", "hvm", 1024,
	 32, 1, 0, 0},
};

static const int64_t MIB = 1 << 20;
enum { MAX_VCPUS = 64, MAX_VBDS = 255, MAX_VIFS = 7 };
static const int64_t MAX_MEMORY = 1536ll << 30;

/* Clients read limits from here. They want no restriction at all or at least two. */
static struct xn_value *recommendations(const struct template *t)
{
	return xn_stringf("<restrictions>"
			  "<restriction field=\"memory-static-min\" min=\"%lld\"/>"
			  "<restriction field=\"memory-static-max\" max=\"%lld\"/>"
			  "<restriction field=\"vcpus-min\" min=\"1\"/>"
			  "<restriction field=\"vcpus-max\" max=\"%d\"/>"
			  "<restriction field=\"has-vendor-device\" value=\"false\"/>"
			  "<restriction property=\"number-of-vbds\" max=\"%d\"/>"
			  "<restriction property=\"number-of-vifs\" max=\"%d\"/>"
			  "</restrictions>",
			  (long long)(t->least_mib * MIB), (long long)MAX_MEMORY, MAX_VCPUS,
			  MAX_VBDS, MAX_VIFS);
}

static struct xn_value *platform(const struct template *t)
{
	bool hvm = strcmp(t->domain_type, "hvm") == 0;
	struct xn_value *v = xn_map_new();

	/* Without this key one client writes it into every VM it sees. */
	xn_map_put_string(&v, "cores-per-socket", "1");
	xn_map_put_string(&v, "nx", "true");
	xn_map_put_string(&v, "acpi", "1");
	xn_map_put_string(&v, "apic", "true");
	xn_map_put_string(&v, "pae", "true");
	if (!hvm)
		return v;
	xn_map_put_string(&v, "viridian", t->flags & WINDOWS ? "true" : "false");
	xn_map_put_string(&v, "device_id", t->flags & WINDOWS ? "0002" : "0001");
	xn_map_put_string(&v, "vga", "std");
	xn_map_put_string(&v, "videoram", "8");
	if (t->flags & UEFI)
		xn_map_put_string(&v, "secureboot", t->flags & SECURE_BOOT ? "auto" : "false");
	return v;
}

static struct xn_value *boot_params(const struct template *t)
{
	struct xn_value *v = xn_map_new();

	if (strcmp(t->domain_type, "hvm") == 0) {
		xn_map_put_string(&v, "order", "cdn");
		xn_map_put_string(&v, "firmware", t->flags & UEFI ? "uefi" : "bios");
	}
	return v;
}

static struct xn_value *other_config(struct xn_loop *loop, const struct template *t)
{
	struct xn_value *v = xn_map_new();
	char seed[XN_UUID_LEN];

	xn_uuid_new(loop, seed);
	xn_map_put_string(&v, "mac_seed", seed);
	xn_map_put_string(&v, "default_template", "true");
	xn_map_put_string(&v, "install-methods", t->flags & LINUX ? "cdrom,nfs,http,ftp" : "cdrom");
	if (t->flags & LINUX)
		xn_map_put_string(&v, "linux_template", "true");
	if (t->disk_gib)
		xn_map_put(&v, "disks",
			   xn_stringf("<provision><disk device=\"0\" size=\"%llu\" sr=\"\" "
				      "bootable=\"true\" type=\"system\"/></provision>",
				      (unsigned long long)t->disk_gib << 30));
	return v;
}

static void put_memory(struct xn_value **v, const struct template *t)
{
	int64_t memory = t->memory_mib * MIB;

	xn_map_put(v, "memory_static_min", xn_int(t->least_mib * MIB));
	xn_map_put(v, "memory_dynamic_min", xn_int(memory));
	xn_map_put(v, "memory_dynamic_max", xn_int(memory));
	xn_map_put(v, "memory_static_max", xn_int(memory));
}

static struct xn_value *template_record(struct xn_loop *loop, const struct template *t)
{
	struct xn_value *v = xn_map_new();

	xn_map_put_string(&v, "name_label", t->name);
	xn_map_put_string(&v, "name_description", t->description);
	xn_map_put(&v, "is_a_template", xn_bool(true));
	xn_map_put(&v, "is_default_template", xn_bool(true));
	xn_map_put(&v, "user_version", xn_int(1));
	xn_map_put(&v, "domid", xn_int(-1));
	xn_map_put_string(&v, "domain_type", t->domain_type);
	put_memory(&v, t);
	xn_map_put(&v, "VCPUs_max", xn_int(t->vcpus));
	xn_map_put(&v, "VCPUs_at_startup", xn_int(t->vcpus));
	xn_map_put_string(&v, "actions_after_shutdown", "destroy");
	xn_map_put_string(&v, "actions_after_reboot", "restart");
	xn_map_put_string(&v, "actions_after_crash", "restart");
	xn_map_put_string(&v, "HVM_boot_policy",
			  strcmp(t->domain_type, "hvm") == 0 ? "BIOS order" : "");
	xn_map_put(&v, "HVM_boot_params", boot_params(t));
	xn_map_put(&v, "platform", platform(t));
	xn_map_put_string(&v, "PV_bootloader", t->bootloader ? t->bootloader : "");
	xn_map_put_string(&v, "PV_args", t->kernel_args ? t->kernel_args : "");
	xn_map_put(&v, "other_config", other_config(loop, t));
	xn_map_put(&v, "recommendations", recommendations(t));
	xn_map_put(&v, "has_vendor_device", xn_bool(false));
	xn_map_put(&v, "hardware_platform_version", xn_int(t->flags & WINDOWS ? 2 : 0));
	xn_map_put_string(&v, "reference_label", "");
	return v;
}

void xn_templates_make(struct xn_host *host)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(templates); i++) {
		XN_CLEANUP(xn_value_unref_p)
		struct xn_value *v = template_record(host->core->loop, &templates[i]);

		xn_db_create(host->db, XN_CLASS_VM, NULL, v);
	}
}
