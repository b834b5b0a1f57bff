/* Domains come, stop, go on and go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/backend.h"
#include "modules/domain/libxl/boot_file.h"
#include "modules/domain/libxl/child.h"
#include "modules/domain/libxl/config.h"

int xn_libxl_domid(const struct xn_value *args, uint32_t *domid_out)
{
	int64_t domid = xn_map_get_int(args, "domid", -1);

	/* Never the control domain, whatever the caller got wrong. */
	if (domid <= 0 || domid >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	*domid_out = domid;
	return 0;
}

bool xn_libxl_exists(struct xn_libxl_child *child, uint32_t domid)
{
	xc_domaininfo_t info;

	return xc_domain_getinfolist(child->xc, domid, 1, &info) == 1 && info.domain == domid;
}

int xn_libxl_is_paused(struct xn_libxl_child *child, uint32_t domid, bool *paused_out)
{
	xc_domaininfo_t info;

	if (xc_domain_getinfolist(child->xc, domid, 1, &info) != 1 || info.domain != domid)
		return -ENOENT;
	*paused_out = info.flags & XEN_DOMINF_paused;
	return 0;
}

/* ---- create and restore ---- */

/* xc answers a lack of memory halfway through, and with many words: asked before. */
static int check_memory(struct xn_libxl_child *child, libxl_domain_config *config)
{
	uint64_t need_kib, free_kib;
	int rc = libxl_domain_need_memory(child->ctx, config, INVALID_DOMID, &need_kib);

	if (rc == 0)
		rc = libxl_get_free_memory(child->ctx, &free_kib);
	if (rc)
		return xn_libxl_rc(child, rc);
	if (need_kib <= free_kib)
		return 0;
	return xn_libxl_fail(child, -ENOMEM, "the host has not enough free memory");
}

/* libxl has one domain of a name at most; VMs may share a name_label. */
static void make_name_unique(struct xn_libxl_child *child, libxl_domain_config *config,
			     const char *uuid)
{
	char *name;
	uint32_t other;

	if (libxl_name_to_domid(child->ctx, config->c_info.name, &other) != 0)
		return;
	name = xn_asprintf("%s-%.8s", config->c_info.name, uuid);
	free(config->c_info.name);
	config->c_info.name = name;
}

/*
 * Folders of its own xenstore that a guest may write to beside those that libxl makes: guest agents
 * of XenServer tell there what they can do and what they see.
 */
static int make_guest_folders(struct xn_libxl_child *child, uint32_t domid)
{
	static const char *const folders[] = {
		"control", "hvmloader", "messages", "rrd", "vm-data", "xenserver/attr",
	};
	struct xs_permissions owner = {.id = domid, .perms = XS_PERM_NONE};
	char path[64];

	for (size_t i = 0; i < XN_ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, folders[i]);
		if (!xs_mkdir(child->xs, XBT_NULL, path) ||
		    !xs_set_permissions(child->xs, XBT_NULL, path, &owner, 1))
			return -errno;
	}
	return 0;
}

static int build(struct xn_libxl_child *child, libxl_domain_config *config, int fd,
		 uint32_t *domid_out)
{
	libxl_domain_restore_params params;
	int rc;

	if (fd < 0)
		return libxl_domain_create_new(child->ctx, config, domid_out, NULL, NULL);
	libxl_domain_restore_params_init(&params);
	params.stream_version = 2;
	rc = libxl_domain_create_restore(child->ctx, config, domid_out, fd, -1, &params, NULL,
					 NULL);
	libxl_domain_restore_params_dispose(&params);
	return rc;
}

/* libxl destroys what it could not finish; what it could not destroy either, goes here. */
static int build_whole(struct xn_libxl_child *child, libxl_domain_config *config, int fd,
		       uint32_t *domid_out)
{
	int rc = xn_libxl_rc(child, build(child, config, fd, domid_out));

	if (rc == 0)
		rc = xn_libxl_await_disks(child, *domid_out);
	if (rc == 0)
		rc = make_guest_folders(child, *domid_out);
	if (rc < 0 && *domid_out != (uint32_t)INVALID_DOMID && xn_libxl_exists(child, *domid_out))
		(void)libxl_domain_destroy(child->ctx, *domid_out, NULL);
	return rc;
}

static int resolve(char **path, const char *folders)
{
	char *real = xn_boot_file_resolve(*path, folders);

	if (!real)
		return -1;
	free(*path);
	*path = real;
	return 0;
}

/* What a VM's record names; the kernels of bootloaders are the host's own choice. */
static int check_boot_files(struct xn_libxl_child *child, const struct xn_value *map,
			    const char *folders, libxl_domain_build_info *b)
{
	if (b->kernel && !xn_map_get_string(map, "bootloader") &&
	    resolve(&b->kernel, folders) < 0)
		return xn_libxl_fail(child, -EPERM, "the kernel is no file in its folders");
	if (b->ramdisk && resolve(&b->ramdisk, folders) < 0)
		return xn_libxl_fail(child, -EACCES, "the ramdisk is no file in its folders");
	return 0;
}

static int make_domain(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		       struct xn_libxl_answer *answer)
{
	const struct xn_value *map = xn_map_get(args, "config");
	const char *folders = xn_map_get_string(args, "folders");
	libxl_domain_config config;
	uint32_t domid = INVALID_DOMID;
	int rc;

	if (!map || map->kind != XN_MAP || !folders)
		return -EINVAL;
	libxl_domain_config_init(&config);
	rc = xn_libxl_config_fill(child, map, xn_map_get_bool(args, "pygrub", false), &config);
	if (rc == 0)
		rc = check_boot_files(child, map, folders, &config.b_info);
	if (rc == 0)
		rc = check_memory(child, &config);
	if (rc == 0) {
		make_name_unique(child, &config, xn_map_get_string(map, "uuid"));
		rc = build_whole(child, &config, fd, &domid);
	}
	if (rc == 0)
		answer->result = xn_int(domid);
	libxl_domain_config_dispose(&config);
	return rc;
}

/* create {config, pygrub, folders}: built and paused. */
int xn_libxl_create(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		    struct xn_libxl_answer *answer)
{
	return make_domain(child, args, -1, answer);
}

/* restore {config} + fd: built from what save wrote, and paused. */
int xn_libxl_restore(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	return fd < 0 ? -EINVAL : make_domain(child, args, fd, answer);
}

/* ---- the calls with nothing but a domain ---- */

/* destroy {domid} */
int xn_libxl_destroy(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || !xn_libxl_exists(child, domid))
		return rc;
	rc = libxl_domain_destroy(child->ctx, domid, NULL);
	return rc && xn_libxl_exists(child, domid) ? xn_libxl_rc(child, rc) : 0;
}

/* pause {domid}: Xen counts pauses, so that only who is not paused is. */
int xn_libxl_pause(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		   struct xn_libxl_answer *answer)
{
	uint32_t domid;
	bool paused;
	int rc = xn_libxl_domid(args, &domid);

	if (rc == 0)
		rc = xn_libxl_is_paused(child, domid, &paused);
	if (rc < 0 || paused)
		return rc;
	return xn_libxl_rc(child, libxl_domain_pause(child->ctx, domid, NULL));
}

/* unpause {domid}: as often as it was paused; a call that was killed may have left one too many. */
int xn_libxl_unpause(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	uint32_t domid;
	bool paused;
	int rc = xn_libxl_domid(args, &domid);

	if (rc == 0)
		rc = xn_libxl_is_paused(child, domid, &paused);
	while (rc == 0 && paused) {
		rc = xn_libxl_rc(child, libxl_domain_unpause(child->ctx, domid, NULL));
		if (rc == 0)
			rc = xn_libxl_is_paused(child, domid, &paused);
	}
	return rc;
}

/* ---- shutdown ---- */

/* Whether someone in there listens to control/shutdown. */
static bool has_drivers(struct xn_libxl_child *child, uint32_t domid)
{
	uint64_t callback = 0;

	if (xn_libxl_domain_type(child, domid) != LIBXL_DOMAIN_TYPE_HVM)
		return true;
	return xc_hvm_param_get(child->xc, domid, HVM_PARAM_CALLBACK_IRQ, &callback) == 0 &&
	       callback;
}

/*
 * shutdown {domid, reason}: asks, and does not wait: libxl's own call holds on until the guest
 * obeys, for a minute.
 */
int xn_libxl_shutdown(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		      struct xn_libxl_answer *answer)
{
	static const char *const words[] = {
		[XN_SHUTDOWN_POWEROFF] = "poweroff",
		[XN_SHUTDOWN_REBOOT] = "reboot",
		[XN_SHUTDOWN_SUSPEND] = "suspend",
	};
	int64_t reason = xn_map_get_int(args, "reason", XN_SHUTDOWN_POWEROFF);
	char path[64];
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || reason < 0 || reason > XN_SHUTDOWN_SOFT_RESET)
		return -EINVAL;
	if (!xn_libxl_exists(child, domid))
		return -ENOENT;
	if (reason >= (int)XN_ARRAY_SIZE(words) || !has_drivers(child, domid))
		return xc_domain_shutdown(child->xc, domid, reason) == 0 ? 0 : -errno;
	snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown", domid);
	return xs_write(child->xs, XBT_NULL, path, words[reason], strlen(words[reason])) ? 0
											 : -errno;
}
