/*
 * A domain's configuration for libxl, from the map that backend.h describes. What is left alone
 * here, libxl decides when it creates.
 */
#include "modules/domain/libxl/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	GRANT_FRAMES_MIN = 64,
	GRANT_FRAMES_MAX = 65536,
	NAME_MAX_BYTES = 100,
	VALUE_MAX_BYTES = 2048, /* in xenstore, with room for its path in one request */
	VCPUS_MAX = 4096,       /* the hypervisor's own limit is lower */
};

/* GRUB as the kernel of the guest's own domain: the guest's disks are read by nobody else. */
#define PVGRUB_PV "/usr/lib/grub-xen/grub-x86_64-xen.bin"
#define PVGRUB_PVH "/usr/lib/grub-xen/grub-i386-xen_pvh.bin"

char *xn_libxl_text(const struct xn_value *map, const char *key)
{
	const char *text = xn_map_get_string(map, key);

	return text && *text ? xn_strdup(text) : NULL;
}

/* ---- what it is ---- */

static const struct {
	const char *name;
	libxl_domain_type type;
} types[] = {
	{"pv", LIBXL_DOMAIN_TYPE_PV},
	{"pvh", LIBXL_DOMAIN_TYPE_PVH},
	{"hvm", LIBXL_DOMAIN_TYPE_HVM},
};

/*
 * A name_label may hold anything; a domain's name becomes part of log files' names (the console's,
 * the device model's), which root writes.
 */
static char *domain_name(const struct xn_value *map)
{
	const char *label = xn_map_get_string(map, "name");
	char *name = xn_strndup(label && *label ? label : xn_map_get_string(map, "uuid"),
				NAME_MAX_BYTES);

	for (char *c = name; *c; c++)
		if (!isascii(*c) || (!isalnum(*c) && !strchr("._-+", *c)))
			*c = '_';
	if (*name == '.' || *name == '-')
		*name = '_';
	return name;
}

/* ---- what its xenstore holds from the start ---- */

struct pairs {
	char **list; /* key, value, key, value ... NULL; libxl frees it */
	size_t n;
};

/* Names with which xenstore would refuse the path, or that end elsewhere: those are left out. */
static bool is_path(const char *path)
{
	static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_@.:/";
	size_t len = strlen(path);

	return len > 0 && len < 256 && strspn(path, may) == len && path[0] != '/' &&
	       path[len - 1] != '/' && !strstr(path, "//");
}

static void add_pairs(struct pairs *pairs, const char *prefix, const struct xn_value *map)
{
	for (size_t i = 0; map && i < xn_map_len(map); i++) {
		const char *key = xn_map_key_at(map, i);
		const char *value = xn_value_string(xn_map_at(map, i));

		if (!is_path(key) || strlen(value) > VALUE_MAX_BYTES)
			continue;
		pairs->list = xn_realloc(pairs->list, (pairs->n + 3) * sizeof(*pairs->list));
		pairs->list[pairs->n++] = xn_asprintf("%s%s", prefix, key);
		pairs->list[pairs->n++] = xn_strdup(value);
		pairs->list[pairs->n] = NULL;
	}
}

/* A VM's xenstore_data may only go where it cannot pass for something else. */
static void add_xenstore_data(struct pairs *pairs, const struct xn_value *map)
{
	struct xn_value *allowed XN_CLEANUP(xn_value_unref_p) = xn_map_new();

	for (size_t i = 0; map && i < xn_map_len(map); i++) {
		const char *key = xn_map_key_at(map, i);

		if (strncmp(key, "vm-data/", 8) == 0 || strncmp(key, "FIST/", 5) == 0)
			xn_map_put(&allowed, key, xn_value_ref(xn_map_at(map, i)));
	}
	add_pairs(pairs, "", allowed);
}

/* hvmloader makes the SMBIOS tables out of bios-strings. */
static void fill_xenstore(const struct xn_value *map, libxl_domain_create_info *c)
{
	struct pairs data = {0}, platform = {0};

	add_xenstore_data(&data, xn_map_get(map, "xenstore_data"));
	if (c->type == LIBXL_DOMAIN_TYPE_HVM)
		add_pairs(&data, "bios-strings/", xn_map_get(map, "bios_strings"));
	add_pairs(&platform, "", xn_map_get(map, "platform"));
	c->xsdata = data.list;
	c->platformdata = platform.list;
}

static int fill_create_info(struct xn_libxl_child *child, const struct xn_value *map,
			    libxl_domain_create_info *c)
{
	const char *type = xn_map_get_string(map, "type"), *uuid = xn_map_get_string(map, "uuid");

	for (size_t i = 0; type && i < XN_ARRAY_SIZE(types); i++)
		if (strcmp(types[i].name, type) == 0)
			c->type = types[i].type;
	if (c->type == LIBXL_DOMAIN_TYPE_INVALID || !uuid ||
	    libxl_uuid_from_string(&c->uuid, uuid) != 0)
		return xn_libxl_fail(child, -EINVAL, "no type, or no UUID");
	c->name = domain_name(map);
	c->ssid_label = xn_libxl_text(map, "security_label");
	return 0;
}

/* ---- processors ---- */

static int fill_vcpus(struct xn_libxl_child *child, const struct xn_value *map,
		      libxl_domain_build_info *b)
{
	int64_t max = xn_map_get_int(map, "max_vcpus", 1);
	int64_t online = xn_map_get_int(map, "vcpus", max);

	if (max < 1 || max > VCPUS_MAX || online < 1 || online > max)
		return xn_libxl_fail(child, -EINVAL, "such a number of VCPUs cannot be");
	b->max_vcpus = max;
	if (libxl_cpu_bitmap_alloc(child->ctx, &b->avail_vcpus, max) != 0)
		return -ENOMEM;
	for (int i = 0; i < online; i++)
		libxl_bitmap_set(&b->avail_vcpus, i);
	return 0;
}

/* "1,2,5-7": false when it is none such, or names none of this host's CPUs. */
static bool read_mask(const char *text, size_t len, libxl_bitmap *out)
{
	const char *end = text + len;

	while (text < end) {
		char *after;
		long first = strtol(text, &after, 10), last = first;

		if (after == text)
			return false;
		if (*after == '-')
			last = strtol(after + 1, &after, 10);
		for (long cpu = first < 0 ? 0 : first; cpu <= last && cpu < out->size * 8L; cpu++)
			libxl_bitmap_set(out, cpu);
		if (after < end && *after != ',')
			return false;
		text = after + 1;
	}
	return !libxl_bitmap_is_empty(out);
}

/*
 * VCPUs_params:mask has a mask for each VCPU, with semicolons between: "1,2;3,4". VCPUs beyond the
 * last one run where that one does, so a single mask is for all.
 */
int xn_libxl_affinity_fill(struct xn_libxl_child *child, const char *masks,
			   libxl_domain_build_info *b)
{
	libxl_bitmap *maps = xn_calloc(b->max_vcpus, sizeof(*maps));

	b->vcpu_hard_affinity = maps;
	b->num_vcpu_hard_affinity = b->max_vcpus;
	for (int i = 0; i < b->max_vcpus; i++) {
		size_t len = strcspn(masks, ";");

		libxl_bitmap_init(&maps[i]);
		if (libxl_cpu_bitmap_alloc(child->ctx, &maps[i], 0) != 0)
			return -ENOMEM;
		if (!read_mask(masks, len, &maps[i]))
			return xn_libxl_fail(child, -EINVAL, "VCPUs_params:mask names no CPU");
		if (masks[len] == ';' && masks[len + 1])
			masks += len + 1;
	}
	libxl_defbool_set(&b->numa_placement, false); /* it is placed already */
	return 0;
}

static int fill_scheduling(struct xn_libxl_child *child, const struct xn_value *map,
			   libxl_domain_build_info *b)
{
	const struct xn_value *params = xn_map_get(map, "vcpu_params");
	const char *weight, *cap, *mask;

	if (!params)
		return 0;
	weight = xn_map_get_string(params, "weight");
	cap = xn_map_get_string(params, "cap");
	mask = xn_map_get_string(params, "mask");
	if (weight && atoi(weight) > 0)
		b->sched_params.weight = atoi(weight);
	if (cap && atoi(cap) >= 0)
		b->sched_params.cap = atoi(cap);
	return mask && *mask ? xn_libxl_affinity_fill(child, mask, b) : 0;
}

/* ---- memory ---- */

static int fill_memory(struct xn_libxl_child *child, const struct xn_value *map,
		       libxl_domain_build_info *b)
{
	int64_t target = xn_map_get_int(map, "memory", 0);
	int64_t max = xn_map_get_int(map, "max_memory", target);
	int64_t shadow = xn_map_get_int(map, "shadow_memory", 0);

	if (target <= 0 || target > max)
		return xn_libxl_fail(child, -EINVAL, "more memory at boot than at most, or none");
	b->target_memkb = target / 1024;
	b->max_memkb = max / 1024;
	if (shadow > 0 && b->type != LIBXL_DOMAIN_TYPE_PV)
		b->shadow_memkb = shadow / 1024;
	/* The hypervisor sets the memory aside first: who comes too late fails at once, and not
	 * when half of it is filled. */
	libxl_defbool_set(&b->claim_mode, true);
	return 0;
}

/* Each frame is a page of grants, through which a guest shares its memory with back ends. */
static void fill_grants(const struct xn_value *map, libxl_domain_config *out)
{
	int64_t frames = 8 * (out->num_nics + 1) + out->num_disks + 1;

	if (frames < GRANT_FRAMES_MIN)
		frames = GRANT_FRAMES_MIN;
	frames = xn_libxl_platform_int(map, "max_grant_frames", frames);
	if (frames > 0 && frames <= GRANT_FRAMES_MAX)
		out->b_info.max_grant_frames = frames;
	frames = xn_libxl_platform_int(map, "max_maptrack_frames", 0);
	if (frames >= 0 && frames <= GRANT_FRAMES_MAX)
		out->b_info.max_maptrack_frames = frames;
}

/* ---- what boots ---- */

static char **words_of(const char *text)
{
	char *copy XN_CLEANUP(xn_free_p) = xn_strdup(text ? text : ""), *rest = copy, *word;
	char **list = xn_calloc(1, sizeof(*list));
	size_t n = 0;

	while ((word = strsep(&rest, " \t"))) {
		if (!*word)
			continue;
		list = xn_realloc(list, (n + 2) * sizeof(*list));
		list[n++] = xn_strdup(word);
		list[n] = NULL;
	}
	return list;
}

/*
 * A bootloader that runs in dom0 reads disks that a guest wrote. Only pygrub is let do it, where
 * the administrator allows it, and as an unprivileged user: worker.c tells libxl so.
 */
static int fill_bootloader(struct xn_libxl_child *child, const struct xn_value *map, bool pygrub,
			   libxl_domain_build_info *b)
{
	const char *name = xn_map_get_string(map, "bootloader");

	if (strcmp(name, "pvgrub") == 0) {
		b->kernel = xn_strdup(b->type == LIBXL_DOMAIN_TYPE_PV ? PVGRUB_PV : PVGRUB_PVH);
		return 0;
	}
	if (strcmp(name, "pygrub") != 0)
		return xn_libxl_fail(child, -ENOEXEC,
				     "there is no such bootloader: pvgrub, pygrub");
	if (!pygrub)
		return xn_libxl_fail(child, -ENOEXEC, "pygrub is not enabled on this host");
	b->bootloader = xn_strdup(name);
	b->bootloader_args = words_of(xn_map_get_string(map, "bootloader_args"));
	return 0;
}

static int fill_boot(struct xn_libxl_child *child, const struct xn_value *map, bool pygrub,
		     libxl_domain_build_info *b)
{
	b->cmdline = xn_libxl_text(map, "cmdline");
	if (xn_map_get_string(map, "bootloader") && b->type != LIBXL_DOMAIN_TYPE_HVM)
		return fill_bootloader(child, map, pygrub, b);
	b->kernel = xn_libxl_text(map, "kernel");
	b->ramdisk = xn_libxl_text(map, "ramdisk");
	if (!b->kernel && b->type != LIBXL_DOMAIN_TYPE_HVM)
		return xn_libxl_fail(child, -ENOEXEC, "neither a kernel nor a bootloader");
	return 0;
}

/* ---- devices ---- */

static size_t count_of(const struct xn_value *map, const char *key)
{
	const struct xn_value *set = xn_map_get(map, key);

	return set ? xn_set_len(set) : 0;
}

static int fill_disks(const struct xn_value *map, libxl_domain_config *out)
{
	size_t n = count_of(map, "disks");
	int rc = 0;

	out->disks = xn_calloc(n + 1, sizeof(*out->disks));
	while (rc == 0 && out->num_disks < (int)n) {
		const struct xn_value *disk = xn_set_at(xn_map_get(map, "disks"), out->num_disks);

		rc = xn_libxl_disk_fill(disk, &out->disks[out->num_disks++]);
	}
	return rc;
}

static int fill_nics(const struct xn_value *map, libxl_domain_config *out)
{
	const char *model = xn_map_get(map, "platform")
				    ? xn_map_get_string(xn_map_get(map, "platform"), "nic_type")
				    : NULL;
	size_t n = count_of(map, "nics");
	int rc = 0;

	out->nics = xn_calloc(n + 1, sizeof(*out->nics));
	while (rc == 0 && out->num_nics < (int)n) {
		libxl_device_nic *nic = &out->nics[out->num_nics++];

		rc = xn_libxl_nic_fill(xn_set_at(xn_map_get(map, "nics"), out->num_nics - 1), nic);
		if (out->c_info.type == LIBXL_DOMAIN_TYPE_HVM && model &&
		    (strcmp(model, "e1000") == 0 || strcmp(model, "rtl8139") == 0))
			nic->model = xn_strdup(model);
	}
	return rc;
}

static int fill_pci(const struct xn_value *map, libxl_domain_config *out)
{
	const struct xn_value *other = xn_map_get(map, "other_config");
	const char *translate = other ? xn_map_get_string(other, "msitranslate") : NULL;
	size_t n = count_of(map, "pci");
	int rc = 0;

	out->pcidevs = xn_calloc(n + 1, sizeof(*out->pcidevs));
	while (rc == 0 && out->num_pcidevs < (int)n) {
		libxl_device_pci *pci = &out->pcidevs[out->num_pcidevs++];
		const struct xn_value *at = xn_set_at(xn_map_get(map, "pci"), out->num_pcidevs - 1);

		rc = xn_libxl_pci_fill(xn_value_string(at), pci);
		pci->msitranslate = translate && strcmp(translate, "1") == 0;
	}
	/* A PV guest maps the device where the machine has it, so its memory map must leave room.
	 */
	if (n && out->c_info.type == LIBXL_DOMAIN_TYPE_PV)
		libxl_defbool_set(&out->b_info.u.pv.e820_host, true);
	return rc;
}

/* A screen for a PV guest is a device model more: only who asks for one gets it. */
static void fill_framebuffer(const struct xn_value *map, libxl_domain_config *out)
{
	if (out->c_info.type != LIBXL_DOMAIN_TYPE_PV || !xn_libxl_platform_bool(map, "pvfb", false))
		return;
	out->vfbs = xn_calloc(1, sizeof(*out->vfbs));
	out->vkbs = xn_calloc(1, sizeof(*out->vkbs));
	out->num_vfbs = out->num_vkbs = 1;
	libxl_device_vfb_init(out->vfbs);
	libxl_device_vkb_init(out->vkbs);
	libxl_defbool_set(&out->vfbs->vnc.enable, true);
	libxl_defbool_set(&out->vfbs->vnc.findunused, true);
	out->vfbs->vnc.listen = xn_strdup("127.0.0.1");
}

static int fill_devices(struct xn_libxl_child *child, const struct xn_value *map,
			libxl_domain_config *out)
{
	int rc = fill_disks(map, out);

	if (rc == 0)
		rc = fill_nics(map, out);
	if (rc == 0)
		rc = fill_pci(map, out);
	if (rc < 0)
		return xn_libxl_fail(child, rc, "a disk, interface or PCI device is none");
	fill_framebuffer(map, out);
	return 0;
}

/* ---- all ---- */

static int fill_build_info(struct xn_libxl_child *child, const struct xn_value *map, bool pygrub,
			   libxl_domain_build_info *b)
{
	int rc = fill_vcpus(child, map, b);

	b->rtc_timeoffset = xn_map_get_int(map, "rtc_offset", 0);
	if (rc == 0)
		rc = fill_scheduling(child, map, b);
	if (rc == 0)
		rc = fill_memory(child, map, b);
	if (rc == 0)
		rc = fill_boot(child, map, pygrub, b);
	return rc;
}

int xn_libxl_config_fill(struct xn_libxl_child *child, const struct xn_value *map, bool pygrub,
			 libxl_domain_config *out)
{
	int rc = fill_create_info(child, map, &out->c_info);

	if (rc < 0)
		return rc;
	fill_xenstore(map, &out->c_info);
	libxl_domain_build_info_init_type(&out->b_info, out->c_info.type);
	rc = fill_build_info(child, map, pygrub, &out->b_info);
	if (rc == 0)
		rc = fill_devices(child, map, out);
	if (rc == 0)
		rc = xn_libxl_platform_fill(child, map, out);
	fill_grants(map, out);
	/* The back end's caller reacts to a guest that stops: libxl has no process that would. */
	out->on_poweroff = out->on_reboot = out->on_crash = out->on_watchdog = out->on_soft_reset =
		LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
	return rc;
}
