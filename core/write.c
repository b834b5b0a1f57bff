/* The loop around write(2) and pwrite(2); see write.h. */
#include "core/write.h"

#include <errno.h>
#include <unistd.h>

enum { AT_END = -1 }; /* where the descriptor stands */

static int write_on(int fd, const char *at, size_t len, off_t offset)
{
	while (len) {
		ssize_t n = offset == AT_END ? write(fd, at, len) : pwrite(fd, at, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
		offset += offset == AT_END ? 0 : n;
	}
	return 0;
}

int xn_write_all(int fd, const void *bytes, size_t len)
{
	return write_on(fd, bytes, len, AT_END);
}

int xn_write_all_at(int fd, const void *bytes, size_t len, uint64_t offset)
{
	return write_on(fd, bytes, len, (off_t)offset);
}

int xn_write_synced(int fd, const void *bytes, size_t len)
{
	int rc = write_on(fd, bytes, len, AT_END);

	return rc == 0 && fsync(fd) < 0 ? -errno : rc;
}
