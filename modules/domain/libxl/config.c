/* A domain's configuration for libxl. What is left alone here, libxl decides when it creates. */
#include "modules/domain/libxl/config.h"

#include <errno.h>

static const struct {
	const char *name;
	libxl_domain_type type;
} types[] = {
	{"pv", LIBXL_DOMAIN_TYPE_PV},
	{"pvh", LIBXL_DOMAIN_TYPE_PVH},
	{"hvm", LIBXL_DOMAIN_TYPE_HVM},
};

static char *text_of(const struct xn_value *map, const char *key)
{
	const char *text = xn_map_get_string(map, key);

	return text && *text ? xn_strdup(text) : NULL;
}

static int fill_create_info(const struct xn_value *map, libxl_domain_create_info *c)
{
	const char *type = xn_map_get_string(map, "type"), *uuid = xn_map_get_string(map, "uuid");

	for (size_t i = 0; type && i < XN_ARRAY_SIZE(types); i++)
		if (strcmp(types[i].name, type) == 0)
			c->type = types[i].type;
	if (c->type == LIBXL_DOMAIN_TYPE_INVALID || !uuid ||
	    libxl_uuid_from_string(&c->uuid, uuid) != 0)
		return -EINVAL;
	c->name = text_of(map, "name");
	return 0;
}

static int fill_vcpus(libxl_ctx *ctx, const struct xn_value *map, libxl_domain_build_info *b)
{
	int64_t max = xn_map_get_int(map, "max_vcpus", 1);
	int64_t online = xn_map_get_int(map, "vcpus", max);

	if (max < 1 || max > INT32_MAX || online < 1 || online > max)
		return -EINVAL;
	b->max_vcpus = max;
	if (libxl_cpu_bitmap_alloc(ctx, &b->avail_vcpus, max) != 0)
		return -ENOMEM;
	for (int i = 0; i < online; i++)
		libxl_bitmap_set(&b->avail_vcpus, i);
	return 0;
}

static void fill_memory(const struct xn_value *map, libxl_domain_build_info *b)
{
	int64_t target = xn_map_get_int(map, "memory", 0);

	b->target_memkb = target / 1024;
	b->max_memkb = xn_map_get_int(map, "max_memory", target) / 1024;
}

static void fill_boot(const struct xn_value *map, libxl_domain_build_info *b)
{
	b->kernel = text_of(map, "kernel");
	b->ramdisk = text_of(map, "ramdisk");
	b->cmdline = text_of(map, "cmdline");
}

int xn_libxl_config_fill(libxl_ctx *ctx, const struct xn_value *map, libxl_domain_config *out)
{
	libxl_domain_build_info *b = &out->b_info;
	int rc = map && map->kind == XN_MAP ? fill_create_info(map, &out->c_info) : -EINVAL;

	if (rc < 0)
		return rc;
	libxl_domain_build_info_init_type(b, out->c_info.type);
	rc = fill_vcpus(ctx, map, b);
	if (rc < 0)
		return rc;
	fill_memory(map, b);
	fill_boot(map, b);
	/* The back end's caller reacts to a guest that stops: libxl has no process that would. */
	out->on_poweroff = out->on_reboot = out->on_crash = out->on_watchdog =
		out->on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
	libxl_defbool_set(&b->claim_mode, true);
	return 0;
}
