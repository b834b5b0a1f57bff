/* The format's mark in a database's folder; see format.h. */
#include "modules/db/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FORMAT_LINE "xenolith database "

static int refuse(int rc, const char *doing, const char *dir, char **why)
{
	*why = xn_asprintf("%s in %s: %s", doing, dir, strerror(-rc));
	return rc;
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

int xn_format_write(int dir_fd, const char *dir, int format, char **why)
{
	int rc = write_mark(dir_fd, format);

	return rc < 0 ? refuse(rc, "writing the format mark", dir, why) : 0;
}

int xn_format_read(int dir_fd, const char *dir, char **why)
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
		return refuse(rc, "reading the format mark", dir, why);
	if (sscanf(line, FORMAT_LINE "%d", &format) != 1 || format < 1) {
		*why = xn_asprintf("%s/format does not say what this database is", dir);
		return -EBADMSG;
	}
	if (format > XN_DB_FORMAT) {
		*why = xn_asprintf("the database in %s has format %d, written by a newer version; "
				   "this one knows up to %d",
				   dir, format, XN_DB_FORMAT);
		return -ENOTSUP;
	}
	return format;
}
