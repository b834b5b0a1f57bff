/* From our configuration map (backend.h) to libxl's structures. */
#ifndef XN_LIBXL_CONFIG_H
#define XN_LIBXL_CONFIG_H

#include "modules/domain/libxl/child.h"

/*
 * xn_libxl_config_fill - a domain's configuration
 * @map: borrowed
 * @pygrub: whether dom0 may look into guests' disks, as an unprivileged user
 * @out: initialised by the caller, who also disposes of it, after a failure too
 * Return: 0, -EINVAL, -ENOEXEC (there is nothing that could boot); the answer says why
 */
int xn_libxl_config_fill(struct xn_libxl_child *child, const struct xn_value *map, bool pygrub,
			 libxl_domain_config *out) XN_MUST_CHECK;

/* VCPUs_params:mask for b->max_vcpus VCPUs into @b's hard affinities; the caller disposes. */
int xn_libxl_affinity_fill(struct xn_libxl_child *child, const char *masks,
			   libxl_domain_build_info *b) XN_MUST_CHECK;

/* One device each, initialised and filled; the caller disposes, after a failure (-EINVAL) too. */
int xn_libxl_disk_fill(const struct xn_value *map, libxl_device_disk *out) XN_MUST_CHECK;
int xn_libxl_nic_fill(const struct xn_value *map, libxl_device_nic *out) XN_MUST_CHECK;
int xn_libxl_pci_fill(const char *address, libxl_device_pci *out) XN_MUST_CHECK;

/* config_platform.c: VM.platform's keys, and what only HVM has. */
int xn_libxl_platform_fill(struct xn_libxl_child *child, const struct xn_value *map,
			   libxl_domain_config *out) XN_MUST_CHECK;
/* platform:@key as clients write truths; @otherwise when it is not there or not one. */
bool xn_libxl_platform_bool(const struct xn_value *map, const char *key, bool otherwise);
int64_t xn_libxl_platform_int(const struct xn_value *map, const char *key, int64_t otherwise);

/* Of a map's string, for libxl to free; NULL when it is not there or empty. */
char *xn_libxl_text(const struct xn_value *map, const char *key);

#endif
