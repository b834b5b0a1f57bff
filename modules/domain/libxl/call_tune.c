/* A running domain gets more or less: memory, VCPUs; and what one may press on a machine's front. */
#include <errno.h>

#include "modules/domain/libxl/child.h"

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
