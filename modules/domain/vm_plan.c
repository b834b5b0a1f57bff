/*
 * What a VM's domain will have: its disks and interfaces as the rows say now, in the form that the
 * back end takes, and the configuration map of backend.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

const char *xn_vm_type(const struct xn_row *vm)
{
	const char *type = xn_row_string(vm, XN_VM_domain_type);

	if (strcmp(type, "hvm") == 0 || strcmp(type, "pv") == 0)
		return type;
	if (strcmp(type, "pvh") == 0 || strcmp(type, "pv_in_pvh") == 0)
		return "pvh";
	return *xn_row_string(vm, XN_VM_HVM_boot_policy) ? "hvm" : "pv";
}

bool xn_vm_is(const struct xn_row *vm, const char *power_state)
{
	return strcmp(xn_row_string(vm, XN_VM_power_state), power_state) == 0;
}

struct xn_row *xn_domains_host(const struct xn_domains *d)
{
	return xn_db_first(d->db, XN_CLASS_host); /* one host a daemon so far */
}

/* ---- disks ---- */

int xn_vm_disk_of(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *vbd,
		  struct xn_vm_disk *out, struct xn_error *err)
{
	const struct xn_row *vdi = xn_row_follow(d->db, vbd, XN_VBD_VDI);
	int position = xn_disk_position(xn_row_string(vbd, XN_VBD_userdevice));

	*out = (struct xn_vm_disk){0};
	out->is_cdrom = strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0;
	out->read_only = strcmp(xn_row_string(vbd, XN_VBD_mode), "RW") != 0;
	snprintf(out->vbd, sizeof(out->vbd), "%s", xn_row_ref(vbd));
	if (position < 0)
		return xn_error_set(err, XN_ERR_ILLEGAL_VBD_DEVICE, out->vbd,
				    xn_row_string(vbd, XN_VBD_userdevice));
	xn_disk_name(position, strcmp(xn_vm_type(vm), "hvm") == 0, out->is_cdrom, &out->name);
	snprintf(out->dp, sizeof(out->dp), "vbd/%s/%s", xn_row_uuid(vm), out->name.vdev);
	if (xn_row_bool(vbd, XN_VBD_empty))
		return 0;
	if (!vdi && !out->is_cdrom)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VDI",
				    xn_row_string(vbd, XN_VBD_VDI));
	if (vdi)
		snprintf(out->vdi, sizeof(out->vdi), "%s", xn_row_ref(vdi));
	return 0;
}

/* Writable ones go first: storage cannot make a read-only attachment writable later. */
static int by_access(const void *a, const void *b)
{
	const struct xn_vm_disk *x = a, *y = b;

	if (x->read_only != y->read_only)
		return x->read_only - y->read_only;
	return (x->name.devid > y->name.devid) - (x->name.devid < y->name.devid);
}

static int plan_disks(struct xn_domains *d, const struct xn_row *vm, struct xn_vm_plan *plan,
		      struct xn_error *err)
{
	const struct xn_value *refs = xn_row_get(vm, XN_VM_VBDs);
	bool hvm = strcmp(xn_vm_type(vm), "hvm") == 0;

	plan->disks = xn_calloc(xn_set_len(refs) + 1, sizeof(*plan->disks));
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)));
		struct xn_vm_disk *disk = &plan->disks[plan->n_disks];

		if (!vbd)
			continue;
		if (xn_vm_disk_of(d, vm, vbd, disk, err) < 0)
			return -1;
		/* Only emulated drives can be there without a medium. */
		if (!disk->vdi[0] && !hvm)
			continue;
		plan->n_disks++;
		plan->n_writable += !disk->read_only;
	}
	qsort(plan->disks, plan->n_disks, sizeof(*plan->disks), by_access);
	return 0;
}

/* ---- interfaces ---- */

int xn_vm_nic_of(struct xn_domains *d, const struct xn_row *vif, struct xn_vm_nic *out,
		 struct xn_error *err)
{
	const struct xn_row *network = xn_row_follow(d->db, vif, XN_VIF_network);
	const char *kbps = xn_row_map_string(vif, XN_VIF_qos_algorithm_params, "kbps");

	*out = (struct xn_vm_nic){0};
	snprintf(out->vif, sizeof(out->vif), "%s", xn_row_ref(vif));
	if (!network)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "network",
				    xn_row_string(vif, XN_VIF_network));
	out->devid = xn_nic_position(xn_row_string(vif, XN_VIF_device));
	out->mtu = (int)xn_row_int(vif, XN_VIF_MTU);
	snprintf(out->mac, sizeof(out->mac), "%s", xn_row_string(vif, XN_VIF_MAC));
	snprintf(out->bridge, sizeof(out->bridge), "%s", xn_row_string(network, XN_network_bridge));
	if (strcmp(xn_row_string(vif, XN_VIF_qos_algorithm_type), "ratelimit") == 0 && kbps)
		out->rate_kbps = strtoll(kbps, NULL, 10);
	return 0;
}

static int nic_by_position(const void *a, const void *b)
{
	return ((const struct xn_vm_nic *)a)->devid - ((const struct xn_vm_nic *)b)->devid;
}

static int plan_nics(struct xn_domains *d, const struct xn_row *vm, struct xn_vm_plan *plan,
		     struct xn_error *err)
{
	const struct xn_value *refs = xn_row_get(vm, XN_VM_VIFs);

	plan->nics = xn_calloc(xn_set_len(refs) + 1, sizeof(*plan->nics));
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(refs, i)));

		if (!vif)
			continue;
		if (xn_vm_nic_of(d, vif, &plan->nics[plan->n_nics], err) < 0)
			return -1;
		plan->n_nics++;
	}
	qsort(plan->nics, plan->n_nics, sizeof(*plan->nics), nic_by_position);
	return 0;
}

int xn_vm_plan_make(struct xn_domains *d, const struct xn_row *vm, struct xn_vm_plan *plan,
		    struct xn_error *err)
{
	xn_vm_plan_clear(plan);
	if (plan_disks(d, vm, plan, err) < 0 || plan_nics(d, vm, plan, err) < 0) {
		xn_vm_plan_clear(plan);
		return -1;
	}
	return 0;
}

void xn_vm_plan_clear(struct xn_vm_plan *plan)
{
	for (unsigned i = 0; i < plan->n_disks; i++) {
		free(plan->disks[i].path);
		free(plan->disks[i].format);
	}
	free(plan->disks);
	free(plan->nics);
	*plan = (struct xn_vm_plan){0};
}

/* ---- the configuration map ---- */

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
