/*
 * The configuration map of backend.h, from a VM's row and the plan of its devices: what both back
 * ends build a domain from.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static void put_field(struct xn_value **map, const char *key, const struct xn_row *vm, int field)
{
	xn_map_put(map, key, xn_value_ref(xn_row_get(vm, field)));
}

/* Empty strings are left out: none. */
static void put_text(struct xn_value **map, const char *key, const char *text)
{
	if (text && *text)
		xn_map_put_string(map, key, text);
}

static struct xn_value *disk_map(const struct xn_vm_disk *disk)
{
	struct xn_value *map = xn_map_new();

	xn_map_put_string(&map, "vdev", disk->name.vdev);
	xn_map_put(&map, "devid", xn_int(disk->name.devid));
	put_text(&map, "path", disk->path);
	put_text(&map, "format", disk->format);
	xn_map_put(&map, "read_only", xn_bool(disk->read_only));
	xn_map_put(&map, "is_cdrom", xn_bool(disk->is_cdrom));
	return map;
}

static struct xn_value *nic_map(const struct xn_vm_nic *nic)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "devid", xn_int(nic->devid));
	xn_map_put_string(&map, "mac", nic->mac);
	put_text(&map, "bridge", nic->bridge);
	xn_map_put(&map, "mtu", xn_int(nic->mtu));
	xn_map_put(&map, "rate_kbps", xn_int(nic->rate_kbps));
	return map;
}

static void put_boot(struct xn_value **map, const struct xn_row *vm)
{
	const char *order = xn_row_map_string(vm, XN_VM_HVM_boot_params, "order");
	const char *firmware = xn_row_map_string(vm, XN_VM_HVM_boot_params, "firmware");

	if (strcmp(xn_vm_type(vm), "hvm") == 0) {
		xn_map_put_string(map, "boot_order", order && *order ? order : "cd");
		xn_map_put_string(map, "firmware", firmware && *firmware ? firmware : "bios");
		return;
	}
	put_text(map, "cmdline", xn_row_string(vm, XN_VM_PV_args));
	if (*xn_row_string(vm, XN_VM_PV_bootloader)) {
		put_text(map, "bootloader", xn_row_string(vm, XN_VM_PV_bootloader));
		put_text(map, "bootloader_args", xn_row_string(vm, XN_VM_PV_bootloader_args));
		return;
	}
	put_text(map, "kernel", xn_row_string(vm, XN_VM_PV_kernel));
	put_text(map, "ramdisk", xn_row_string(vm, XN_VM_PV_ramdisk));
}

/* ---- PCI: other_config:pci is "0/0000:03:00.0,1/0000:04:00.0", by the numbers in front ---- */

struct assigned {
	long position;
	char address[XN_PCI_ADDRESS_SIZE];
};

static int assigned_by_position(const void *a, const void *b)
{
	const struct assigned *x = a, *y = b;

	return (x->position > y->position) - (x->position < y->position);
}

/* What is no address is left out: nobody could attach it. */
static bool read_assigned(char *word, struct assigned *out)
{
	char *slash = strchr(word, '/'), *end;

	if (!slash)
		return false;
	out->position = strtol(word, &end, 10);
	if (end != slash || end == word || !xn_pci_address_is_valid(slash + 1))
		return false;
	snprintf(out->address, sizeof(out->address), "%s", slash + 1);
	return true;
}

struct xn_value *xn_vm_pci_addresses(const struct xn_row *vm)
{
	const char *text = xn_row_map_string(vm, XN_VM_other_config, "pci");
	char *copy XN_CLEANUP(xn_free_p) = xn_strdup(text ? text : ""), *rest = copy, *word;
	struct assigned found[XN_PCI_MAX];
	struct xn_value *set = xn_set_new();
	size_t n = 0;

	while (n < XN_PCI_MAX && (word = strsep(&rest, ",")))
		n += read_assigned(word, &found[n]);
	qsort(found, n, sizeof(found[0]), assigned_by_position);
	for (size_t i = 0; i < n; i++)
		if (!xn_set_has_string(set, found[i].address))
			xn_set_append_string(&set, found[i].address);
	return set;
}

/* ---- the map ---- */

static void put_machine(struct xn_value **map, const struct xn_row *vm)
{
	const char *offset = xn_row_map_string(vm, XN_VM_platform, "timeoffset");

	if (strcmp(xn_vm_type(vm), "pv") != 0)
		xn_map_put(map, "shadow_memory", xn_int(xn_vm_shadow_memory(vm)));
	if (offset)
		xn_map_put(map, "rtc_offset", xn_int(strtol(offset, NULL, 10)));
	put_text(map, "security_label", xn_row_map_string(vm, XN_VM_platform, "security-label"));
	if (strcmp(xn_vm_type(vm), "hvm") == 0)
		put_field(map, "has_vendor_device", vm, XN_VM_has_vendor_device);
}

struct xn_value *xn_domain_config(const struct xn_row *vm, const struct xn_vm_plan *plan)
{
	struct xn_value *map = xn_map_new();
	struct xn_value *disks = xn_set_new(), *nics = xn_set_new();

	xn_map_put_string(&map, "uuid", xn_row_uuid(vm));
	put_field(&map, "name", vm, XN_VM_name_label);
	xn_map_put_string(&map, "type", xn_vm_type(vm));
	put_field(&map, "vcpus", vm, XN_VM_VCPUs_at_startup);
	put_field(&map, "max_vcpus", vm, XN_VM_VCPUs_max);
	put_field(&map, "memory", vm, XN_VM_memory_target);
	put_field(&map, "max_memory", vm, XN_VM_memory_static_max);
	if (strcmp(xn_vm_type(vm), "pv") != 0)
		xn_map_put(&map, "shadow_memory", xn_int(xn_vm_shadow_memory(vm)));
	put_boot(&map, vm);
	put_machine(&map, vm);
	xn_map_put(&map, "pci", xn_vm_pci_addresses(vm));
	xn_map_put_string(&map, "on_poweroff", "preserve");
	xn_map_put_string(&map, "on_reboot", "preserve");
	xn_map_put_string(&map, "on_crash", "preserve");
	put_field(&map, "platform", vm, XN_VM_platform);
	put_field(&map, "other_config", vm, XN_VM_other_config);
	put_field(&map, "xenstore_data", vm, XN_VM_xenstore_data);
	put_field(&map, "vcpu_params", vm, XN_VM_VCPUs_params);
	put_field(&map, "bios_strings", vm, XN_VM_bios_strings);
	for (unsigned i = 0; i < plan->n_disks; i++)
		xn_set_append(&disks, disk_map(&plan->disks[i]));
	for (unsigned i = 0; i < plan->n_nics; i++)
		xn_set_append(&nics, nic_map(&plan->nics[i]));
	xn_map_put(&map, "disks", disks);
	xn_map_put(&map, "nics", nics);
	return map;
}
