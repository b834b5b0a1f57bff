/*
 * Whether a VM could boot here now: everything that can be refused before anything is built, in the
 * order that clients know. Also the arithmetic of memory.
 */
#include <stdio.h>

#include "modules/domain/domain_internal.h"

enum { PAGES_PER_MIB = 256, MIB = 1 << 20 };

/* Beyond any machine, and so small that the arithmetic below cannot overflow. */
static const int64_t memory_max = (int64_t)1 << 56, vcpus_max = 1 << 20;
static const double multiplier_max = 1000;

static int64_t clamp(int64_t value, int64_t max)
{
	return value < 0 ? 0 : value > max ? max : value;
}

static int64_t mib_of(int64_t bytes)
{
	return (bytes + MIB - 1) / MIB;
}

static int64_t pages_to_mib(int64_t pages)
{
	return (pages + PAGES_PER_MIB - 1) / PAGES_PER_MIB;
}

/* The page tables that the hypervisor keeps for it. */
static int64_t shadow_mib(const struct xn_row *vm, int64_t static_mib, double multiplier)
{
	int64_t vcpus = clamp(xn_row_int(vm, XN_VM_VCPUs_max), vcpus_max);
	double shadow;

	if (!(multiplier <= multiplier_max)) /* what is not a number too */
		multiplier = multiplier_max;
	shadow = (double)pages_to_mib(256 * vcpus + 2 * static_mib) * multiplier;
	return shadow < 1 ? 1 : (int64_t)shadow;
}

static double multiplier_of(const struct xn_row *vm)
{
	return xn_value_float(xn_row_get(vm, XN_VM_HVM_shadow_multiplier));
}

int64_t xn_vm_shadow_memory_at(const struct xn_row *vm, double multiplier)
{
	int64_t static_max = clamp(xn_row_int(vm, XN_VM_memory_static_max), memory_max);

	return shadow_mib(vm, mib_of(static_max), multiplier) * MIB;
}

int64_t xn_vm_shadow_memory(const struct xn_row *vm)
{
	return xn_vm_shadow_memory_at(vm, multiplier_of(vm));
}

int64_t xn_vm_memory_overhead_at(const struct xn_row *vm, int64_t static_max)
{
	int64_t vcpus = clamp(xn_row_int(vm, XN_VM_VCPUs_max), vcpus_max);
	int64_t static_mib = mib_of(clamp(static_max, memory_max));
	bool shim = strcmp(xn_row_string(vm, XN_VM_domain_type), "pv_in_pvh") == 0;
	int64_t total = strcmp(xn_vm_type(vm), "pv") == 0 ? 1 : 2; /* the hypervisor's own parts */

	total += shadow_mib(vm, static_mib, multiplier_of(vm)) + pages_to_mib(38 * vcpus);
	if (shim)
		total += 23 + static_mib / 90;
	return total * MIB;
}

int64_t xn_vm_memory_overhead(const struct xn_row *vm)
{
	return xn_vm_memory_overhead_at(vm, xn_row_int(vm, XN_VM_memory_static_max));
}

/* ---- the VM itself ---- */

static int check_vcpus(const struct xn_row *vm, struct xn_error *err)
{
	int64_t at_startup = xn_row_int(vm, XN_VM_VCPUs_at_startup);
	int64_t max = xn_row_int(vm, XN_VM_VCPUs_max);
	char number[24];

	snprintf(number, sizeof(number), "%lld", (long long)at_startup);
	if (at_startup < 1)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "VCPUs_at_startup", number);
	if (at_startup > max)
		return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "VCPUs_at_startup", number,
				    "more than VCPUs_max");
	return 0;
}

static int check_memory_values(const struct xn_row *vm, struct xn_error *err)
{
	int64_t smin = xn_row_int(vm, XN_VM_memory_static_min);
	int64_t smax = xn_row_int(vm, XN_VM_memory_static_max);

	if (smin < 0 || smin > smax || smax <= 0)
		return xn_error_set(err, XN_ERR_MEMORY_CONSTRAINT_VIOLATION,
				    "static_min <= static_max");
	if (xn_value_float(xn_row_get(vm, XN_VM_HVM_shadow_multiplier)) < 1.0)
		return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "HVM_shadow_multiplier",
				    "below 1.0", "at least 1.0 is needed");
	return 0;
}

static bool platform_is(const struct xn_row *vm, const char *key, const char *a, const char *b)
{
	const char *value = xn_row_map_string(vm, XN_VM_platform, key);

	return value && (strcmp(value, a) == 0 || strcmp(value, b) == 0);
}

/* What a device model would refuse, or take for something it must not. */
static int check_platform(const struct xn_row *vm, struct xn_error *err)
{
	const char *parallel = xn_row_map_string(vm, XN_VM_platform, "parallel");

	if (parallel && strcmp(parallel, "none") != 0 && strncmp(parallel, "/dev/parport", 12) != 0)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "platform:parallel", parallel);
	if (platform_is(vm, "usb", "false", "0") && platform_is(vm, "usb_tablet", "true", "1"))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "platform:usb_tablet", "true");
	return xn_vm_check_cores(xn_row_get(vm, XN_VM_platform), xn_row_int(vm, XN_VM_VCPUs_max),
				 err);
}

/* ---- the host ---- */

static int check_host(struct xn_domains *d, const struct xn_row *host, struct xn_error *err)
{
	const struct xn_row *metrics = host ? xn_row_follow(d->db, host, XN_host_metrics) : NULL;

	if (!host)
		return xn_error_set(err, XN_ERR_NO_HOSTS_AVAILABLE);
	if (!metrics || !xn_row_bool(metrics, XN_host_metrics_live))
		return xn_error_set(err, XN_ERR_HOST_NOT_LIVE);
	if (!xn_row_bool(host, XN_host_enabled))
		return xn_error_set(err, XN_ERR_HOST_DISABLED, xn_row_ref(host));
	return 0;
}

bool xn_sr_is_attached(struct xn_domains *d, const struct xn_row *sr, const struct xn_row *host)
{
	const struct xn_value *pbds = xn_row_get(sr, XN_SR_PBDs);

	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		struct xn_row *pbd =
			xn_db_get(d->db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));

		if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached) &&
		    strcmp(xn_row_string(pbd, XN_PBD_host), xn_row_ref(host)) == 0)
			return true;
	}
	return false;
}

static int check_disks(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *host,
		       struct xn_error *err)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;
		struct xn_row *sr = vdi ? xn_row_follow(d->db, vdi, XN_VDI_SR) : NULL;

		if (sr && !xn_row_bool(vbd, XN_VBD_empty) && !xn_sr_is_attached(d, sr, host))
			return xn_error_set(err, XN_ERR_VM_REQUIRES_SR, xn_row_ref(vm),
					    xn_row_ref(sr));
	}
	return 0;
}

static int check_networks(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err)
{
	const struct xn_value *vifs = xn_row_get(vm, XN_VM_VIFs);

	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		struct xn_row *vif =
			xn_db_get(d->db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));

		if (vif && !xn_row_follow(d->db, vif, XN_VIF_network))
			return xn_error_set(err, XN_ERR_VM_REQUIRES_NETWORK, xn_row_ref(vm),
					    xn_row_string(vif, XN_VIF_network));
	}
	return 0;
}

static int check_room(struct xn_domains *d, const struct xn_row *vm, bool memory_too,
		      struct xn_error *err)
{
	int64_t needed, most, available = 0;
	int64_t vcpus = xn_row_int(vm, XN_VM_VCPUs_max);
	const char *unrestricted = xn_row_map_string(vm, XN_VM_platform, "vcpu-unrestricted");
	struct xn_host_info info = {0};
	char a[24], b[24];

	if (d->backend->ops->host_info(d->backend, &info) < 0)
		return xn_error_set(err, XN_ERR_HOST_NOT_LIVE);
	if (strcmp(xn_vm_type(vm), "hvm") == 0 && info.capabilities[0] &&
	    !strstr(info.capabilities, "hvm"))
		return xn_error_set(err, XN_ERR_VM_HVM_REQUIRED, xn_row_ref(vm));
	xn_vm_memory_range(vm, &needed, &most);
	needed += xn_vm_memory_overhead(vm);
	if (memory_too && !xn_domains_has_memory(d, needed, &available))
		return xn_no_memory(err, needed, available);
	if (vcpus > info.cpus && info.cpus > 0 && !unrestricted) {
		snprintf(a, sizeof(a), "%lld", (long long)vcpus);
		snprintf(b, sizeof(b), "%u", info.cpus);
		return xn_error_set(err, XN_ERR_HOST_NOT_ENOUGH_PCPUS, a, b);
	}
	return 0;
}

int xn_vm_check_boot(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *host,
		     bool memory_too, struct xn_error *err)
{
	if (check_vcpus(vm, err) < 0 || check_memory_values(vm, err) < 0 ||
	    check_platform(vm, err) < 0 || check_host(d, host, err) < 0 ||
	    check_disks(d, vm, host, err) < 0 || check_networks(d, vm, err) < 0 ||
	    xn_vm_check_pci(d, vm, err) < 0)
		return -1;
	return check_room(d, vm, memory_too, err);
}
