/* A running domain gets more or less: memory, VCPUs; and what one may press on a machine's front.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/domain/libxl/config.h"

/*
 * set_memory {domid, bytes}: what the guest's balloon driver shall go to; the hypervisor lets it
 * have no more. When it is there shows in the domain's list entry.
 */
int xn_libxl_set_memory(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			struct xn_libxl_answer *answer)
{
	int64_t bytes = xn_map_get_int(args, "bytes", 0);
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || bytes <= 0)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	return xn_libxl_rc(child, libxl_set_memory_target(child->ctx, domid, bytes / 1024, 0, 1));
}

/* set_vcpus {domid, vcpus}: the first so many are online. */
int xn_libxl_set_vcpus(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		       struct xn_libxl_answer *answer)
{
	int64_t n = xn_map_get_int(args, "vcpus", 0);
	libxl_bitmap online;
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || n < 1 || n > UINT16_MAX)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	libxl_bitmap_init(&online);
	if (libxl_cpu_bitmap_alloc(child->ctx, &online, n) != 0)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		libxl_bitmap_set(&online, i);
	rc = xn_libxl_rc(child, libxl_set_vcpuonline(child->ctx, domid, &online, NULL));
	libxl_bitmap_dispose(&online);
	return rc;
}

/* set_shadow {domid, bytes}: for the page tables that the hypervisor keeps; libxl has no word for
 * it. */
int xn_libxl_set_shadow(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			struct xn_libxl_answer *answer)
{
	int64_t bytes = xn_map_get_int(args, "bytes", 0);
	unsigned mib = (unsigned)(bytes >> 20);
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || bytes <= 0 || bytes >> 20 > INT32_MAX)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	if (xc_shadow_control(child->xc, domid, XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, &mib, 0) < 0)
		return xn_libxl_fail(child, -errno,
				     "the hypervisor does not change its page tables");
	return 0;
}

static int set_affinity(struct xn_libxl_child *child, uint32_t domid, const char *masks)
{
	libxl_domain_build_info b;
	libxl_vcpuinfo *vcpus;
	int n = 0, host_cpus, rc;

	vcpus = libxl_list_vcpu(child->ctx, domid, &n, &host_cpus);
	if (!vcpus)
		return -EIO;
	libxl_vcpuinfo_list_free(vcpus, n);
	libxl_domain_build_info_init(&b);
	b.max_vcpus = n;
	rc = xn_libxl_affinity_fill(child, masks, &b);
	for (int i = 0; rc == 0 && i < n; i++)
		rc = xn_libxl_rc(child, libxl_set_vcpuaffinity(child->ctx, domid, (uint32_t)i,
							       &b.vcpu_hard_affinity[i], NULL));
	libxl_domain_build_info_dispose(&b);
	return rc;
}

/* set_vcpu_params {domid, params}: weight and cap of the scheduler, mask: on which CPUs it runs */
int xn_libxl_set_vcpu_params(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			     struct xn_libxl_answer *answer)
{
	const struct xn_value *params = xn_map_get(args, "params");
	const char *weight = params ? xn_map_get_string(params, "weight") : NULL;
	const char *cap = params ? xn_map_get_string(params, "cap") : NULL;
	const char *mask = params ? xn_map_get_string(params, "mask") : NULL;
	libxl_domain_sched_params sched;
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0)
		return rc;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	libxl_domain_sched_params_init(&sched); /* what is not set stays as it is */
	if (weight && atoi(weight) > 0)
		sched.weight = atoi(weight);
	if (cap && atoi(cap) >= 0)
		sched.cap = atoi(cap);
	if (weight || cap)
		rc = xn_libxl_rc(child, libxl_domain_sched_params_set(child->ctx, domid, &sched));
	libxl_domain_sched_params_dispose(&sched);
	return rc == 0 && mask && *mask ? set_affinity(child, domid, mask) : rc;
}

/* trigger {domid, trigger}: power, sleep, nmi, init, reset, s3resume, or sysrq:KEY */
int xn_libxl_trigger(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	const char *name = xn_map_get_string(args, "trigger");
	libxl_trigger trigger;
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || !name)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	if (strncmp(name, "sysrq:", 6) == 0)
		return name[6] && !name[7]
			       ? xn_libxl_rc(child, libxl_send_sysrq(child->ctx, domid, name[6]))
			       : -EINVAL;
	if (libxl_trigger_from_string(name, &trigger) != 0)
		return -EINVAL;
	return xn_libxl_rc(child, libxl_send_trigger(child->ctx, domid, trigger, 0, NULL));
}
