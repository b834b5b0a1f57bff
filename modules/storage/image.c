/* Disk images and their names; see image.h. */
#include "modules/storage/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/write.h"
#include "modules/storage/qcow2.h"

static const char *const formats[] = {
	[XN_IMAGE_RAW] = "raw",
	[XN_IMAGE_QCOW2] = "qcow2",
};
enum { N_FORMATS = XN_ARRAY_SIZE(formats) };

static const char *const state_suffix[] = {
	[XN_IMAGE_READY] = "",
	[XN_IMAGE_NEW] = ".new",
	[XN_IMAGE_GONE] = ".gone",
};

enum { NAME_SIZE = 64 };
static const size_t COPY_CHUNK = 4 << 20; /* between two looks at progress->stop */

bool xn_image_uuid_is_valid(const char *uuid)
{
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? uuid[i] != '-'
			 : !((uuid[i] >= '0' && uuid[i] <= '9') ||
			     (uuid[i] >= 'a' && uuid[i] <= 'f')))
			return false;
	}
	return uuid[36] == '\0';
}

const char *xn_image_format_name(enum xn_image_format format)
{
	return formats[format];
}

bool xn_image_format_find(const char *name, enum xn_image_format *out)
{
	for (unsigned i = 0; i < N_FORMATS; i++)
		if (strcmp(formats[i], name) == 0) {
			*out = (enum xn_image_format)i;
			return true;
		}
	return false;
}

/* Behind the uuid: ".raw", ".raw.new" ... */
static bool parse_rest(const char *rest, enum xn_image_format *format, enum xn_image_state *state)
{
	for (unsigned f = 0; f < N_FORMATS; f++) {
		size_t len = strlen(formats[f]);

		if (rest[0] != '.' || strncmp(rest + 1, formats[f], len) != 0)
			continue;
		for (unsigned i = 0; i < XN_ARRAY_SIZE(state_suffix); i++)
			if (strcmp(rest + 1 + len, state_suffix[i]) == 0) {
				*format = (enum xn_image_format)f;
				*state = (enum xn_image_state)i;
				return true;
			}
	}
	return false;
}

bool xn_image_parse_name(const char *name, char uuid[37], enum xn_image_state *state)
{
	enum xn_image_format format;

	if (strlen(name) < 36)
		return false;
	memcpy(uuid, name, 36);
	uuid[36] = '\0';
	return xn_image_uuid_is_valid(uuid) && parse_rest(name + 36, &format, state);
}

enum xn_image_format xn_image_format_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	enum xn_image_format format = XN_IMAGE_RAW;
	enum xn_image_state state;

	if (strlen(name) >= 36)
		parse_rest(name + 36, &format, &state);
	return format;
}

static char *path_in_state(const char *folder, const char *uuid, enum xn_image_state state)
{
	for (unsigned f = N_FORMATS - 1; f > 0; f--) {
		char *path = xn_asprintf("%s/%s.%s%s", folder, uuid, formats[f],
					 state_suffix[state]);

		if (access(path, F_OK) == 0)
			return path;
		free(path);
	}
	return xn_asprintf("%s/%s.%s%s", folder, uuid, formats[0], state_suffix[state]);
}

char *xn_image_path(const char *folder, const char *uuid)
{
	return path_in_state(folder, uuid, XN_IMAGE_READY);
}

char *xn_image_new_path(const char *folder, const char *uuid)
{
	return path_in_state(folder, uuid, XN_IMAGE_NEW);
}

/* ---- the folder ---- */

static void file_name(char out[NAME_SIZE], const char *uuid, unsigned format,
		      enum xn_image_state state)
{
	snprintf(out, NAME_SIZE, "%s.%s%s", uuid, formats[format], state_suffix[state]);
}

/* Whether it has this name, in whichever format. */
static bool is_there(int dir, const char *uuid, enum xn_image_state state)
{
	char name[NAME_SIZE];

	for (unsigned f = 0; f < N_FORMATS; f++) {
		file_name(name, uuid, f, state);
		if (faccessat(dir, name, F_OK, 0) == 0)
			return true;
	}
	return false;
}

static int open_folder(const char *folder, const char *uuid)
{
	int fd;

	if (!xn_image_uuid_is_valid(uuid))
		return -EINVAL;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Ends work on a folder: what its entries say survives power loss. */
static int sync_and_close(int dir, int rc)
{
	if (fsync(dir) < 0 && rc == 0)
		rc = -errno;
	close(dir);
	return rc;
}

static int rename_one(int dir, const char *uuid, unsigned format, enum xn_image_state from,
		      enum xn_image_state to)
{
	char old_name[NAME_SIZE], new_name[NAME_SIZE];

	file_name(old_name, uuid, format, from);
	file_name(new_name, uuid, format, to);
	/* Never over another file: that would be somebody's disk. */
	if (renameat2(dir, old_name, dir, new_name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EINVAL || errno == ENOSYS) /* a file system without that flag */
		return faccessat(dir, new_name, F_OK, 0) == 0        ? -EEXIST
		       : renameat(dir, old_name, dir, new_name) == 0 ? 0
								     : -errno;
	return -errno;
}

/* 0, or -ENOENT when the image does not have this name. */
static int rename_state(int dir, const char *uuid, enum xn_image_state from, enum xn_image_state to)
{
	int rc = -ENOENT;

	for (unsigned f = 0; rc == -ENOENT && f < N_FORMATS; f++)
		rc = rename_one(dir, uuid, f, from, to);
	return rc;
}

/* ---- making ---- */

static int open_new(int dir, const char *uuid, enum xn_image_format format)
{
	char name[NAME_SIZE];
	int fd;

	file_name(name, uuid, format, XN_IMAGE_NEW);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static void unlink_new(int dir, const char *uuid, enum xn_image_format format)
{
	char name[NAME_SIZE];

	file_name(name, uuid, format, XN_IMAGE_NEW);
	unlinkat(dir, name, 0);
}

static int set_size(int fd, enum xn_image_format format, int64_t size)
{
	if (format == XN_IMAGE_QCOW2)
		return xn_qcow2_grow(fd, size);
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

/* Data of @fd, which holds a disk of @size, survive power loss from here on. Closes it. */
static int finish_file(int fd, enum xn_image_format format, int64_t size, int rc)
{
	if (rc == 0)
		rc = set_size(fd, format, size);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

int xn_image_make(const char *folder, const char *uuid, enum xn_image_format format, int64_t size)
{
	int dir = open_folder(folder, uuid);
	int fd, rc;

	if (dir < 0)
		return dir;
	fd = open_new(dir, uuid, format);
	rc = fd < 0 ? fd : 0;
	if (rc == 0 && format == XN_IMAGE_QCOW2)
		rc = xn_qcow2_make(fd, size);
	if (fd >= 0)
		rc = finish_file(fd, format, size, rc);
	if (rc < 0)
		unlink_new(dir, uuid, format);
	return sync_and_close(dir, rc);
}

/* ---- copying ---- */

static bool is_zero(const char *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Bytes moved or -errno, through memory; blocks of zeros are not written. */
static ssize_t copy_by_hand(int from, int to, off_t at, size_t len)
{
	enum { BUFFER = 256 << 10 };
	char *buffer = xn_malloc(BUFFER);
	ssize_t n = pread(from, buffer, len < BUFFER ? len : BUFFER, at);
	int rc = n < 0 ? -errno : 0;

	for (ssize_t i = 0; rc == 0 && i < n; i += XN_IMAGE_BLOCK) {
		size_t part = (size_t)(n - i) < XN_IMAGE_BLOCK ? (size_t)(n - i) : XN_IMAGE_BLOCK;

		if (!is_zero(buffer + i, part))
			rc = xn_write_all_at(to, buffer + i, part, (uint64_t)(at + i));
	}
	free(buffer);
	return rc < 0 ? rc : n;
}

static ssize_t copy_some(int from, int to, off_t at, size_t len, bool *by_hand)
{
	off_t in = at, out = at;
	ssize_t n;

	if (len > COPY_CHUNK)
		len = COPY_CHUNK;
	if (*by_hand)
		return copy_by_hand(from, to, at, len);
	do
		n = copy_file_range(from, &in, to, &out, len, 0);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return -errno;
	*by_hand = true;
	return copy_by_hand(from, to, at, len);
}

/* The next stretch of data at or behind @at: its start and end; false when only a hole is left. */
static bool next_data(int fd, off_t at, off_t size, off_t *start, off_t *end)
{
	*start = lseek(fd, at, SEEK_DATA);
	if (*start < 0) {
		if (errno == ENXIO)
			return false;
		*start = at; /* no such notion here: everything is data */
		*end = size;
		return at < size;
	}
	*end = lseek(fd, *start, SEEK_HOLE);
	if (*end < 0 || *end > size)
		*end = size;
	return *start < size;
}

static int clear_range(int fd, off_t at, off_t len)
{
	if (len <= 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len) == 0)
		return 0;
	return -errno;
}

/* Data of @from to the same place in @to. @fresh: what is not written there reads as zeros. */
static int copy_data(int from, int to, off_t size, bool fresh, struct xn_copy_progress *progress)
{
	bool by_hand = false;
	off_t at = 0, start, end;
	int rc = 0;

	while (rc == 0 && next_data(from, at, size, &start, &end)) {
		if (!fresh)
			rc = clear_range(to, at, end - at);
		for (at = start; rc == 0 && at < end;) {
			ssize_t n = copy_some(from, to, at, (size_t)(end - at), &by_hand);

			if (n < 0)
				rc = (int)n;
			else if (atomic_load(&progress->stop))
				rc = -ECANCELED;
			else if (n == 0)
				rc = -EIO; /* the source became shorter */
			else
				at += n;
			atomic_store(&progress->done, at);
		}
		at = end;
	}
	if (rc == 0 && !fresh)
		rc = clear_range(to, at, size - at);
	return rc;
}

static int open_source(const char *path, off_t *size_out)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	*size_out = st.st_size;
	return fd;
}

static int fill_from(int to, const char *source, bool fresh, struct xn_copy_progress *progress)
{
	off_t size = 0;
	int from = open_source(source, &size);
	int rc = 0;

	if (from < 0)
		return from;
	atomic_store(&progress->total, size);
	if (!fresh || ioctl(to, FICLONE, from) < 0)
		rc = copy_data(from, to, size, fresh, progress);
	/* Also where it ends in a hole; what was longer before has nothing behind that. */
	if (rc == 0 && ftruncate(to, size) < 0)
		rc = -errno;
	if (rc == 0)
		atomic_store(&progress->done, size);
	close(from);
	return rc;
}

int xn_image_copy(const char *folder, const char *uuid, const char *source, int64_t size,
		  struct xn_copy_progress *progress)
{
	enum xn_image_format format = xn_image_format_of(source);
	int dir = open_folder(folder, uuid);
	int fd, rc;

	if (dir < 0)
		return dir;
	fd = open_new(dir, uuid, format);
	rc = fd < 0 ? fd : finish_file(fd, format, size, fill_from(fd, source, true, progress));
	if (rc < 0)
		unlink_new(dir, uuid, format);
	return sync_and_close(dir, rc);
}

int xn_image_overwrite(const char *path, const char *source, struct xn_copy_progress *progress)
{
	enum xn_image_format format = xn_image_format_of(path);
	struct xn_image_info info;
	int rc = xn_image_stat(path, &info);
	int fd;

	if (rc < 0)
		return rc;
	if (xn_image_format_of(source) != format)
		return -EOPNOTSUPP;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	return finish_file(fd, format, info.virtual_size, fill_from(fd, source, false, progress));
}

/* ---- names ---- */

/* Not synced: after power loss the row says what the file is, and the next start renames it again. */
int xn_image_settle(const char *folder, const char *uuid)
{
	int dir = open_folder(folder, uuid);
	int rc;

	if (dir < 0)
		return dir;
	rc = is_there(dir, uuid, XN_IMAGE_READY) ? 0 : -ENOENT;
	if (rc < 0)
		rc = rename_state(dir, uuid, XN_IMAGE_NEW, XN_IMAGE_READY);
	if (rc == -ENOENT)
		rc = rename_state(dir, uuid, XN_IMAGE_GONE, XN_IMAGE_READY);
	if (rc < 0 && is_there(dir, uuid, XN_IMAGE_READY))
		rc = 0; /* another worker was faster */
	close(dir);
	return rc;
}

/* Synced: were the row gone and the old name back, a scan would take it for a disk. */
int xn_image_retire(const char *folder, const char *uuid)
{
	int dir = open_folder(folder, uuid);
	int rc;

	if (dir < 0)
		return dir;
	rc = rename_state(dir, uuid, XN_IMAGE_READY, XN_IMAGE_GONE);
	if (rc == -ENOENT)
		rc = rename_state(dir, uuid, XN_IMAGE_NEW, XN_IMAGE_GONE);
	if (rc == -ENOENT && is_there(dir, uuid, XN_IMAGE_GONE))
		rc = 0;
	return sync_and_close(dir, rc);
}

/* Not synced: what comes back is .gone or .new, which goes at the next start. */
int xn_image_remove(const char *folder, const char *uuid)
{
	int dir = open_folder(folder, uuid);
	int rc = 0;

	if (dir < 0)
		return dir;
	for (unsigned i = 0; i < N_FORMATS * XN_ARRAY_SIZE(state_suffix); i++) {
		char name[NAME_SIZE];

		file_name(name, uuid, i % N_FORMATS, (enum xn_image_state)(i / N_FORMATS));
		if (unlinkat(dir, name, 0) < 0 && errno != ENOENT && rc == 0)
			rc = -errno;
	}
	close(dir);
	return rc;
}

/* The image of a disk, for writing. */
static int open_ready(const char *folder, const char *uuid, struct xn_image_info *info)
{
	int fd, rc = xn_image_settle(folder, uuid);
	char *path;

	if (rc < 0)
		return rc;
	path = xn_image_path(folder, uuid);
	rc = xn_image_stat(path, info);
	fd = rc < 0 ? rc : open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && rc == 0)
		fd = -errno;
	free(path);
	return fd;
}

int xn_image_grow(const char *folder, const char *uuid, int64_t size)
{
	struct xn_image_info info;
	int fd = open_ready(folder, uuid, &info);

	if (fd < 0)
		return fd;
	return finish_file(fd, info.format, size, info.virtual_size > size ? -EINVAL : 0);
}

/* What lies beyond the end of a QEMU image stays in its file; a raw one's would be lost. */
static int cut(int fd, enum xn_image_format format, int64_t size)
{
	if (format == XN_IMAGE_QCOW2)
		return xn_qcow2_shrink(fd, size);
	if (lseek(fd, size, SEEK_DATA) >= 0)
		return -ENOTEMPTY;
	if (errno != ENXIO) /* that is: there is none */
		return -errno;
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

int xn_image_shrink(const char *folder, const char *uuid, int64_t size)
{
	struct xn_image_info info;
	int fd = open_ready(folder, uuid, &info);
	int rc = 0;

	if (fd < 0)
		return fd;
	if (info.virtual_size > size)
		rc = cut(fd, info.format, size);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int read_size(const char *path, int64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc;

	if (fd < 0)
		return -errno;
	rc = xn_qcow2_size(fd, size);
	close(fd);
	return rc;
}

int xn_image_stat(const char *path, struct xn_image_info *out)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	out->format = xn_image_format_of(path);
	out->virtual_size = st.st_size;
	out->physical_size = (int64_t)st.st_blocks * 512;
	return out->format == XN_IMAGE_QCOW2 ? read_size(path, &out->virtual_size) : 0;
}
