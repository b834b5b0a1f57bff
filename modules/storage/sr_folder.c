/*
 * The two kinds of SR that are folders: `file`, sparse images of our own (image.c), and `iso`,
 * the .iso files that somebody put there, read-only.
 */
#include "modules/storage/sr_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/value.h"

enum { MAX_FOUND = 1 << 20 };

/* ---- both ---- */

static int read_space(struct xn_sr_request *rq)
{
	struct statvfs fs;

	if (rq->fixed_facts) {
		rq->space = (struct xn_sr_space){.total = 1ll << 40, .free = 1ll << 39};
		return 0;
	}
	if (statvfs(rq->folder, &fs) < 0)
		return -errno;
	rq->space.total = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
	rq->space.free = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
	return 0;
}

static int stat_image(const struct xn_sr_request *rq, const char *path, struct xn_image_info *info)
{
	int rc = xn_image_stat(path, info);

	if (rc == 0 && rq->fixed_facts)
		info->physical_size = 0;
	return rc;
}

/* One folder, which survives power loss; that it is there already is fine. */
static int make_one(const char *path, mode_t mode)
{
	char *parent, *slash;
	int rc = 0, fd;

	if (mkdir(path, mode) < 0)
		return errno == EEXIST ? 0 : -errno;
	parent = xn_strdup(path);
	slash = strrchr(parent, '/');
	slash[slash == parent] = '\0';
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	free(parent);
	return rc;
}

int xn_sr_make_folders(const char *path)
{
	char *copy = xn_strdup(path);
	int rc = 0;

	for (char *slash = strchr(copy + 1, '/'); slash && rc == 0;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		rc = make_one(copy, 0755);
		*slash = '/';
	}
	if (rc == 0)
		rc = make_one(copy, 0700);
	free(copy);
	return rc;
}

/* Never made here: an empty folder where a file system is not mounted would look like lost disks.
 */
static int attach_folder(struct xn_sr_request *rq)
{
	struct stat st;

	if (stat(rq->folder, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? read_space(rq) : -ENOTDIR;
}

static int create_folder(struct xn_sr_request *rq)
{
	int rc = xn_sr_make_folders(rq->folder);

	return rc < 0 ? rc : attach_folder(rq);
}

/* Goes only when nothing is in it: other people's files are not ours to remove. */
static int destroy_folder(struct xn_sr_request *rq)
{
	if (rmdir(rq->folder) == 0 || errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT)
		return 0;
	return -errno;
}

static struct xn_sr_found *add_found(struct xn_sr_request *rq, const char *location)
{
	struct xn_sr_found *found;

	if ((rq->n_found & (rq->n_found - 1)) == 0)
		rq->found = xn_realloc(rq->found,
				       (rq->n_found ? rq->n_found * 2 : 1) * sizeof(*rq->found));
	found = &rq->found[rq->n_found++];
	*found = (struct xn_sr_found){.state = XN_IMAGE_READY, .location = xn_strdup(location)};
	return found;
}

/* Calls @take for each entry; it adds what is an image. */
static int list_folder(struct xn_sr_request *rq,
		       void (*take)(struct xn_sr_request *rq, const char *name))
{
	DIR *dir = opendir(rq->folder);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while (rq->n_found < MAX_FOUND && (entry = readdir(dir)))
		take(rq, entry->d_name);
	closedir(dir);
	return read_space(rq);
}

static int stat_file(struct xn_sr_request *rq)
{
	int rc = stat_image(rq, rq->path, &rq->info);

	return rc < 0 ? rc : read_space(rq);
}

/* ---- file ---- */

static void take_image(struct xn_sr_request *rq, const char *name)
{
	enum xn_image_state state;
	struct xn_image_info info = {0};
	char uuid[37];
	char *path;
	struct xn_sr_found *found;

	if (!xn_image_parse_name(name, uuid, &state))
		return;
	path = xn_asprintf("%s/%s", rq->folder, name);
	if (stat_image(rq, path, &info) == 0) {
		found = add_found(rq, uuid);
		found->state = state;
		found->info = info;
	}
	free(path);
}

static int file_list(struct xn_sr_request *rq)
{
	return list_folder(rq, take_image);
}

static int file_stat(struct xn_sr_request *rq)
{
	/* A crash may have left it under another name: whoever has a row is a disk. */
	int rc = rq->only_look ? 0 : xn_image_settle(rq->folder, rq->location);

	if (rc < 0)
		return rc;
	rq->path = xn_image_path(rq->folder, rq->location);
	return stat_file(rq);
}

/* A new image is not under its name yet; what it takes is known all the same. */
static int stat_new(struct xn_sr_request *rq)
{
	char *path = xn_image_new_path(rq->folder, rq->location);
	int rc = stat_image(rq, path, &rq->info);

	free(path);
	return rc < 0 ? rc : read_space(rq);
}

static int file_make(struct xn_sr_request *rq)
{
	int rc = xn_image_make(rq->folder, rq->location, rq->format, rq->size);

	return rc < 0 ? rc : stat_new(rq);
}

static int file_copy(struct xn_sr_request *rq)
{
	int rc = xn_image_copy(rq->folder, rq->location, rq->source, rq->size, &rq->progress);

	return rc < 0 ? rc : stat_new(rq);
}

static int file_overwrite(struct xn_sr_request *rq)
{
	int rc = file_stat(rq);

	if (rc == 0)
		rc = xn_image_overwrite(rq->path, rq->source, &rq->progress);
	return rc < 0 ? rc : stat_file(rq);
}

static int file_settle(struct xn_sr_request *rq)
{
	return xn_image_settle(rq->folder, rq->location);
}

static int file_retire(struct xn_sr_request *rq)
{
	int rc = xn_image_retire(rq->folder, rq->location);

	return rc == -ENOENT ? 0 : rc; /* a disk whose image is missing can be destroyed too */
}

static int file_remove(struct xn_sr_request *rq)
{
	int rc = xn_image_remove(rq->folder, rq->location);

	return rc < 0 ? rc : read_space(rq);
}

static int file_grow(struct xn_sr_request *rq)
{
	int rc = xn_image_grow(rq->folder, rq->location, rq->size);

	return rc < 0 ? rc : file_stat(rq);
}

static int file_shrink(struct xn_sr_request *rq)
{
	int rc = xn_image_shrink(rq->folder, rq->location, rq->size);

	return rc < 0 ? rc : file_stat(rq);
}

static const struct xn_sr_feature file_features[] = {
	{"SR_ATTACH", 1},  {"SR_DETACH", 1},     {"SR_SCAN", 1},    {"SR_PROBE", 1},
	{"SR_UPDATE", 1},  {"VDI_CREATE", 1},    {"VDI_DELETE", 1}, {"VDI_ATTACH", 1},
	{"VDI_DETACH", 1}, {"VDI_UPDATE", 1},    {"VDI_CLONE", 1},  {"VDI_SNAPSHOT", 1},
	{"VDI_RESIZE", 1}, {"VDI_INTRODUCE", 1}, {"LARGE_VDI", 1},  {"THIN_PROVISIONING", 1},
	{NULL, 0},
};

static const struct xn_sr_key folder_keys[] = {
	{"location", "the folder: absolute, or below the daemon's state folder"},
	{NULL, NULL},
};

const struct xn_sr_ops xn_sr_file_ops = {
	.type = "file",
	.name = "Local folder",
	.description = "Disks as sparse files in a folder, raw or qcow2 (sm_config:image-format); "
		       "copies share blocks where the file system can",
	.features = file_features,
	.configuration = folder_keys,
	.create = create_folder,
	.attach = attach_folder,
	.destroy = destroy_folder,
	.list = file_list,
	.stat = file_stat,
	.make = file_make,
	.copy = file_copy,
	.overwrite = file_overwrite,
	.settle = file_settle,
	.retire = file_retire,
	.remove = file_remove,
	.grow = file_grow,
	.shrink = file_shrink,
};

/* ---- iso ---- */

static bool is_iso_name(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && len < 256 && name[0] != '.' && !strchr(name, '/') &&
	       strcasecmp(name + len - 4, ".iso") == 0 && xn_text_is_valid(name, len);
}

static void take_iso(struct xn_sr_request *rq, const char *name)
{
	struct xn_image_info info = {0};
	char *path;

	if (!is_iso_name(name))
		return;
	path = xn_asprintf("%s/%s", rq->folder, name);
	if (stat_image(rq, path, &info) == 0)
		add_found(rq, name)->info = info;
	free(path);
}

static int iso_list(struct xn_sr_request *rq)
{
	return list_folder(rq, take_iso);
}

static int iso_stat(struct xn_sr_request *rq)
{
	if (!is_iso_name(rq->location))
		return -EINVAL;
	rq->path = xn_asprintf("%s/%s", rq->folder, rq->location);
	return stat_file(rq);
}

static const struct xn_sr_feature iso_features[] = {
	{"SR_ATTACH", 1},     {"SR_DETACH", 1},  {"SR_SCAN", 1},    {"SR_PROBE", 1},
	{"SR_UPDATE", 1},     {"VDI_ATTACH", 1}, {"VDI_DETACH", 1}, {"VDI_UPDATE", 1},
	{"VDI_INTRODUCE", 1}, {NULL, 0},
};

const struct xn_sr_ops xn_sr_iso_ops = {
	.type = "iso",
	.name = "ISO library",
	.description = "CD images: the .iso files of a folder",
	.features = iso_features,
	.configuration = folder_keys,
	.read_only = true,
	.create = create_folder,
	.attach = attach_folder,
	.destroy = destroy_folder,
	.list = iso_list,
	.stat = iso_stat,
};

/* ---- all kinds ---- */

const struct xn_sr_ops *const xn_sr_types[] = {&xn_sr_file_ops, &xn_sr_iso_ops, NULL};

const struct xn_sr_ops *xn_sr_type_find(const char *type)
{
	for (unsigned i = 0; xn_sr_types[i]; i++)
		if (strcmp(xn_sr_types[i]->type, type) == 0)
			return xn_sr_types[i];
	return NULL;
}

bool xn_sr_has_feature(const struct xn_sr_ops *ops, const char *name)
{
	for (const struct xn_sr_feature *f = ops ? ops->features : NULL; f && f->name; f++)
		if (strcmp(f->name, name) == 0)
			return true;
	return false;
}
