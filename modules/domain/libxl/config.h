/* From our configuration map (backend.h) to libxl's structures. */
#ifndef XN_LIBXL_CONFIG_H
#define XN_LIBXL_CONFIG_H

#include "modules/domain/libxl/child.h"

/*
 * xn_libxl_config_fill - a domain's configuration
 * @map: borrowed
 * @out: initialised by the caller, who also disposes of it, after a failure too
 * Return: 0, -EINVAL, -ENOEXEC (there is nothing that could boot)
 */
int xn_libxl_config_fill(libxl_ctx *ctx, const struct xn_value *map, libxl_domain_config *out)
	XN_MUST_CHECK;

#endif
