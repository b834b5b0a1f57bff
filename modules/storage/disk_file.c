/* See disk_file.h. */
#include "modules/storage/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/write.h"
#include "modules/storage/image.h"
#include "modules/storage/qcow2_read.h"

struct xn_disk_file {
	int fd;
	int64_t size;
	struct xn_qcow2 *qcow2; /* NULL: raw */
};

static int open_image(struct xn_disk_file *disk, enum xn_image_format format)
{
	struct stat st;
	int rc;

	if (disk->fd < 0)
		return -errno;
	if (format == XN_IMAGE_QCOW2) {
		rc = xn_qcow2_open(disk->fd, &disk->qcow2);
		if (rc == 0)
			disk->size = xn_qcow2_disk_size(disk->qcow2);
		return rc;
	}
	if (fstat(disk->fd, &st) < 0)
		return -errno;
	disk->size = st.st_size;
	return S_ISREG(st.st_mode) ? 0 : -EOPNOTSUPP;
}

static int open_disk(const char *path, const char *format_name, int flags,
		     struct xn_disk_file **disk_out)
{
	enum xn_image_format format;
	struct xn_disk_file *disk;
	int rc;

	if (!xn_image_format_find(format_name, &format) ||
	    (flags != O_RDONLY && format != XN_IMAGE_RAW))
		return -EOPNOTSUPP;
	disk = xn_calloc(1, sizeof(*disk));
	disk->fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	rc = open_image(disk, format);
	if (rc < 0)
		xn_disk_close(disk);
	else
		*disk_out = disk;
	return rc;
}

int xn_disk_open(const char *path, const char *format, struct xn_disk_file **disk_out)
{
	return open_disk(path, format, O_RDONLY, disk_out);
}

int xn_disk_open_to_write(const char *path, const char *format, struct xn_disk_file **disk_out)
{
	return open_disk(path, format, O_RDWR, disk_out);
}

void xn_disk_close(struct xn_disk_file *disk)
{
	if (!disk)
		return;
	xn_qcow2_close(disk->qcow2);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk);
}

int64_t xn_disk_size(const struct xn_disk_file *disk)
{
	return disk->size;
}

/* ---- reading ---- */

int xn_disk_next_data(struct xn_disk_file *disk, int64_t from, int64_t *at_out)
{
	off_t at;

	if (from >= disk->size) {
		*at_out = disk->size;
		return 0;
	}
	if (disk->qcow2)
		return xn_qcow2_next_data(disk->qcow2, from, at_out);
	at = lseek(disk->fd, from, SEEK_DATA);
	if (at < 0 && errno == EINVAL)
		at = from; /* the file system knows no holes */
	if (at < 0 && errno != ENXIO)
		return -errno;
	*at_out = at < 0 || at > disk->size ? disk->size : at;
	return 0;
}

static int read_raw(int fd, int64_t at, char *to, size_t len)
{
	while (len) {
		ssize_t n = pread(fd, to, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) { /* the file was made shorter */
			memset(to, 0, len);
			return 0;
		}
		to += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int xn_disk_read(struct xn_disk_file *disk, int64_t at, void *to, size_t len)
{
	int64_t left = at < disk->size ? disk->size - at : 0;

	if ((int64_t)len > left) {
		memset((char *)to + left, 0, len - (size_t)left);
		len = (size_t)left;
	}
	if (!len)
		return 0;
	return disk->qcow2 ? xn_qcow2_read(disk->qcow2, at, to, len)
			   : read_raw(disk->fd, at, to, len);
}

/* ---- writing ---- */

static bool is_zero(const char *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Zeros make a hole, or stay one; where the file system makes none they are written. */
static int write_zeros(int fd, int64_t at, const char *zeros, size_t len)
{
	if (lseek(fd, at, SEEK_DATA) >= at + (off_t)len)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)len) == 0)
		return 0;
	return xn_write_all_at(fd, zeros, len, (uint64_t)at);
}

int xn_disk_write(struct xn_disk_file *disk, int64_t at, const void *from, size_t len)
{
	const char *data = from;

	if (at < 0 || at > disk->size || (int64_t)len > disk->size - at)
		return -ENOSPC;
	while (len) {
		size_t part = XN_IMAGE_BLOCK - (size_t)(at % XN_IMAGE_BLOCK);
		bool zero;
		int rc;

		if (part > len)
			part = len;
		zero = is_zero(data, part);
		while (part < len) { /* as much as goes the same way */
			size_t more = len - part < XN_IMAGE_BLOCK ? len - part : XN_IMAGE_BLOCK;

			if (is_zero(data + part, more) != zero)
				break;
			part += more;
		}
		rc = zero ? write_zeros(disk->fd, at, data, part)
			  : xn_write_all_at(disk->fd, data, part, (uint64_t)at);
		if (rc < 0)
			return rc;
		at += (int64_t)part;
		data += part;
		len -= part;
	}
	return 0;
}

int xn_disk_sync(struct xn_disk_file *disk)
{
	return fsync(disk->fd) < 0 ? -errno : 0;
}
