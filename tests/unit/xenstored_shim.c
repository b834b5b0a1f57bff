/*
 * Preloaded into a real xenstored by the tests: answers what it asks the hypervisor, so that it runs
 * without one. Event channels never ring, a granted page is an empty one, every domain exists. The
 * socket is where XENSTORED_PATH says, also for the daemon that does not look there.
 */
#undef _FILE_OFFSET_BITS /* would make one name of the two that programs use for open() */

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static int handle; /* of everything */
static int next_port = 1;

void *xc_interface_open(void *logger, void *other, unsigned flags)
{
	return &handle;
}

int xc_interface_close(void *h)
{
	return 0;
}

/* The structure begins with the number, a label and flags, of which none is set. */
int xc_domain_getinfo(void *h, uint32_t first, unsigned max, void *info)
{
	memset(info, 0, 12);
	memcpy(info, &first, sizeof(first));
	return 1;
}

void *xenevtchn_open(void *logger, unsigned flags)
{
	return &handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
	return &handle;
}

int xenevtchn_fd(void *h)
{
	static int fd = -1;

	if (fd < 0)
		fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return fd;
}

int xenevtchn_close(void *h)
{
	return 0;
}

int xenevtchn_bind_virq(void *h, unsigned virq)
{
	return next_port++;
}

int xenevtchn_bind_interdomain(void *h, uint32_t domid, uint32_t port)
{
	return next_port++;
}

int xenevtchn_unbind(void *h, uint32_t port)
{
	return 0;
}

int xenevtchn_unmask(void *h, uint32_t port)
{
	return 0;
}

int xenevtchn_notify(void *h, uint32_t port)
{
	return 0;
}

int xenevtchn_pending(void *h)
{
	return -1;
}

void *xengnttab_open(void *logger, unsigned flags)
{
	return &handle;
}

int xengnttab_close(void *h)
{
	return 0;
}

int xengnttab_set_max_grants(void *h, uint32_t n)
{
	return 0;
}

void *xengnttab_map_grant_ref(void *h, uint32_t domid, uint32_t ref, int prot)
{
	return calloc(1, 4096);
}

int xengnttab_unmap(void *h, void *page, uint32_t count)
{
	free(page);
	return 0;
}

/* The kernel's files that tell where domain 0's ring is. */
static int open_fake(const char *path)
{
	int fd = memfd_create("xsd", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	if (strstr(path, "port") ? write(fd, "1\n", 2) < 0 : ftruncate(fd, 4096) < 0)
		return -1;
	lseek(fd, 0, SEEK_SET);
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (strstr(path, "/xsd_port") || strstr(path, "/xsd_kva"))
		return open_fake(path);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int setrlimit(int resource, const void *limit)
{
	return 0; /* more files than the tests' container may give */
}

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
	struct sockaddr_un other = {.sun_family = AF_UNIX};
	const char *path = getenv("XENSTORED_PATH");

	if (address->sa_family == AF_UNIX && path) {
		snprintf(other.sun_path, sizeof(other.sun_path), "%s", path);
		address = (const struct sockaddr *)&other;
		len = sizeof(other);
	}
	return (int)syscall(SYS_bind, fd, address, len);
}
