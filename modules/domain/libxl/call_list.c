/*
 * The domains of this host, straight from the hypervisor: one hypercall for all, where libxl reads
 * several xenstore nodes and a label for each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xenctrl.h>

#include "modules/domain/backend.h"
#include "modules/domain/libxl/child.h"

enum { BATCH = 256, PAGE_BYTES = 4096 };

static libxl_domain_type type_of(const xc_domaininfo_t *info)
{
#if defined(__i386__) || defined(__x86_64__)
	if (!(info->flags & XEN_DOMINF_hvm_guest))
		return LIBXL_DOMAIN_TYPE_PV;
	/* A PVH domain has a local APIC emulated and no more. */
	return info->arch_config.emulation_flags & XEN_X86_EMU_PIT ? LIBXL_DOMAIN_TYPE_HVM
								   : LIBXL_DOMAIN_TYPE_PVH;
#else
	return LIBXL_DOMAIN_TYPE_PVH;
#endif
}

libxl_domain_type xn_libxl_domain_type(struct xn_libxl_child *child, uint32_t domid)
{
	xc_domaininfo_t info;

	if (xc_domain_getinfolist(child->xc, domid, 1, &info) != 1 || info.domain != domid)
		return LIBXL_DOMAIN_TYPE_INVALID;
	return type_of(&info);
}

uint64_t xn_libxl_memory_of(struct xn_libxl_child *child, uint32_t domid)
{
	xc_domaininfo_t info;

	if (xc_domain_getinfolist(child->xc, domid, 1, &info) != 1 || info.domain != domid)
		return 0;
	return info.tot_pages * PAGE_BYTES;
}

static int shutdown_code(const xc_domaininfo_t *info)
{
	if (!(info->flags & XEN_DOMINF_shutdown))
		return XN_SHUTDOWN_NONE;
	return info->flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;
}

static struct xn_value *uuid_of(const xc_domaininfo_t *info)
{
	const uint8_t *b = info->handle;

	return xn_stringf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			  b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
			  b[12], b[13], b[14], b[15]);
}

static struct xn_value *domain_map(const xc_domaininfo_t *info)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "domid", xn_int(info->domain));
	xn_map_put(&map, "uuid", uuid_of(info));
	xn_map_put_string(&map, "type", libxl_domain_type_to_string(type_of(info)));
	xn_map_put(&map, "paused", xn_bool(info->flags & XEN_DOMINF_paused));
	xn_map_put(&map, "dying", xn_bool(info->flags & XEN_DOMINF_dying));
	xn_map_put(&map, "shut_down", xn_bool(info->flags & XEN_DOMINF_shutdown));
	xn_map_put(&map, "shutdown_code", xn_int(shutdown_code(info)));
	xn_map_put(&map, "memory_bytes", xn_int((int64_t)info->tot_pages * PAGE_BYTES));
	xn_map_put(&map, "max_memory_bytes", xn_int((int64_t)info->max_pages * PAGE_BYTES));
	xn_map_put(&map, "vcpus", xn_int(info->nr_online_vcpus));
	xn_map_put(&map, "cpu_ns", xn_int(info->cpu_time));
	return map;
}

/* list {}: all but the control domain. */
int xn_libxl_list(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		  struct xn_libxl_answer *answer)
{
	xc_domaininfo_t *batch XN_CLEANUP(xn_free_p) = xn_calloc(BATCH, sizeof(*batch));
	uint32_t first = 1;
	int n;

	answer->result = xn_set_new();
	do {
		n = xc_domain_getinfolist(child->xc, first, BATCH, batch);
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			xn_set_append(&answer->result, domain_map(&batch[i]));
		if (n)
			first = batch[n - 1].domain + 1u;
	} while (n == BATCH);
	return 0;
}
