/*
 * Preloaded into the daemon: a disk that fails when the test says so. The file that XN_DISK_FAULT
 * names is mapped; its first byte is the errno of every write into a database's folder, its second
 * that of every sync there, its third that of every sync of a disk's raw image. Zero: the real call.
 * So many calls as XN_DISK_FAULT_AFTER says succeed before one fails.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, SYNC_IMAGE, FAULTS };

static const volatile unsigned char *control;
static atomic_int spared;

__attribute__((constructor)) static void map_control(void)
{
	const char *path = getenv("XN_DISK_FAULT");
	const char *after = getenv("XN_DISK_FAULT_AFTER");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	spared = after ? atoi(after) : 0;
	if (fd < 0)
		return;
	control = mmap(NULL, FAULTS, PROT_READ, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		control = NULL;
	close(fd);
}

static int ends_with(const char *path, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && strcmp(path + len - n, end) == 0;
}

/* Sets errno for files of a database, and for images. */
static int fails(int fd, int what)
{
	char link[32], path[512];
	ssize_t n;

	if (!control || (!control[what] && !(what == SYNC && control[SYNC_IMAGE])))
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	if (what == SYNC && ends_with(path, (size_t)n, ".raw"))
		what = SYNC_IMAGE;
	else if (!strstr(path, "/db/") && !ends_with(path, (size_t)n, "/db"))
		return 0;
	if (!control[what])
		return 0;
	if (atomic_fetch_sub(&spared, 1) > 0)
		return 0;
	errno = control[what];
	return 1;
}

#define STAND_BEFORE(type, name, what, params, args)                         \
	type name params;                                                    \
	type name params                                                     \
	{                                                                    \
		type (*real) params = (type(*) params)dlsym(RTLD_NEXT, #name); \
									     \
		return fails(fd, what) ? -1 : real args;                     \
	}

STAND_BEFORE(ssize_t, pwrite, WRITE, (int fd, const void *data, size_t len, off_t at),
	     (fd, data, len, at))
STAND_BEFORE(ssize_t, pwritev, WRITE, (int fd, const struct iovec *parts, int n, off_t at),
	     (fd, parts, n, at))
STAND_BEFORE(ssize_t, writev, WRITE, (int fd, const struct iovec *parts, int n), (fd, parts, n))
STAND_BEFORE(ssize_t, write, WRITE, (int fd, const void *data, size_t len), (fd, data, len))
STAND_BEFORE(int, fallocate, WRITE, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
STAND_BEFORE(int, ftruncate, WRITE, (int fd, off_t len), (fd, len))
STAND_BEFORE(int, fdatasync, SYNC, (int fd), (fd))
STAND_BEFORE(int, fsync, SYNC, (int fd), (fd))
#if defined(__GLIBC__)
STAND_BEFORE(ssize_t, pwrite64, WRITE, (int fd, const void *data, size_t len, off64_t at),
	     (fd, data, len, at))
STAND_BEFORE(ssize_t, pwritev64, WRITE, (int fd, const struct iovec *parts, int n, off64_t at),
	     (fd, parts, n, at))
STAND_BEFORE(int, fallocate64, WRITE, (int fd, int mode, off64_t at, off64_t len),
	     (fd, mode, at, len))
STAND_BEFORE(int, ftruncate64, WRITE, (int fd, off64_t len), (fd, len))
#endif
