/* The format's mark in a database's folder; see format.h. */
#include "modules/db/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FORMAT_LINE "xenolith database "

int xn_folder_refuse(const char *dir, struct xn_error *err, int neg_errno, const char *doing)
{
	return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s in %s: %s", doing, dir,
			     neg_errno == -EBADMSG ? "it is damaged" : strerror(-neg_errno));
}

/* Under another name first, so that a crash leaves no empty mark. */
static int write_mark(int dir_fd, int format)
{
	int fd = openat(dir_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char line[64];
	int rc = -1, len = snprintf(line, sizeof(line), FORMAT_LINE "%d\n", format);

	if (fd < 0)
		return -errno;
	if (write(fd, line, (size_t)len) == len && fsync(fd) == 0 &&
	    renameat(dir_fd, "format.new", dir_fd, "format") == 0)
		rc = fsync(dir_fd);
	if (rc < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int xn_format_write(int dir_fd, const char *dir, int format, struct xn_error *err)
{
	int rc = write_mark(dir_fd, format);

	return rc < 0 ? xn_folder_refuse(dir, err, rc, "writing the format mark") : 0;
}

int xn_format_read(int dir_fd, const char *dir, struct xn_error *err)
{
	int fd = openat(dir_fd, "format", O_RDONLY | O_CLOEXEC), format = 0, rc = 0;
	char line[64] = "";

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return xn_folder_refuse(dir, err, rc, "reading the format mark");
	if (sscanf(line, FORMAT_LINE "%d", &format) != 1 || format < 1)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "%s/format does not say what this database is", dir);
	if (format > XN_DB_FORMAT)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the database in %s has format %d, written by a newer version; "
				     "this one knows up to %d",
				     dir, format, XN_DB_FORMAT);
	return format;
}
