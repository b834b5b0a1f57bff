/*
 * What a VM's domain will have: its disks and interfaces as the rows say now, in the form that the
 * back end takes.
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

struct xn_disk_config xn_vm_disk_config(const struct xn_vm_disk *disk)
{
	return (struct xn_disk_config){
		.vdev = disk->name.vdev,
		.devid = disk->name.devid,
		.path = disk->path,
		.format = disk->format,
		.read_only = disk->read_only,
		.is_cdrom = disk->is_cdrom,
	};
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
