/*
 * Preloaded under a xenstored that is to run without a hypervisor: answers what it asks its event
 * channels, grants and domains, as a host would on which no guest ever says anything and every
 * domain that is asked for exists. Paths below /var/run/xenstored go to XENSTORED_RUNDIR, also in a
 * server that knows no such variable. Only for benchmarks.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int handle; /* what all the handles point to */

/* ---- event channels: none ever fires ---- */

void *xenevtchn_open(void *logger, unsigned flags)
{
	return &handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
	return &handle;
}

int xenevtchn_close(void *evtchn)
{
	return 0;
}

int xenevtchn_fd(void *evtchn)
{
	static int silent = -1;

	if (silent < 0)
		silent = eventfd(0, EFD_CLOEXEC);
	return silent;
}

int xenevtchn_notify(void *evtchn, unsigned port)
{
	return 0;
}

int xenevtchn_bind_interdomain(void *evtchn, uint32_t domid, unsigned port)
{
	return (int)port;
}

int xenevtchn_bind_virq(void *evtchn, unsigned virq)
{
	return 1;
}

int xenevtchn_unbind(void *evtchn, unsigned port)
{
	return 0;
}

int xenevtchn_pending(void *evtchn)
{
	errno = EAGAIN;
	return -1;
}

int xenevtchn_unmask(void *evtchn, unsigned port)
{
	return 0;
}

/* ---- grants: nothing to map ---- */

void *xengnttab_open(void *logger, unsigned flags)
{
	return &handle;
}

int xengnttab_close(void *gnttab)
{
	return 0;
}

int xengnttab_set_max_grants(void *gnttab, uint32_t count)
{
	return 0;
}

void *xengnttab_map_grant_ref(void *gnttab, uint32_t domid, uint32_t ref, int prot)
{
	errno = EINVAL;
	return NULL;
}

int xengnttab_unmap(void *gnttab, void *start, uint32_t count)
{
	return 0;
}

/* ---- domains: whoever is asked for is there ---- */

void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags)
{
	return &handle;
}

int xc_interface_close(void *xc)
{
	return 0;
}

/* Of the description only the domid is filled in, and that it neither dies nor has shut down. */
int xc_domain_getinfo(void *xc, uint32_t first, unsigned max, void *info)
{
	uint32_t description[3] = {first};

	memcpy(info, description, sizeof(description));
	return 1;
}

int xc_domain_getinfolist(void *xc, uint32_t first, unsigned max, void *info)
{
	return 0;
}

/* ---- the host ---- */

/* Limits that only root may raise are left as they are. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limits)
{
	return 0;
}

static const char *moved(const char *path, char *room, size_t size)
{
	static const char usual[] = "/var/run/xenstored";
	const char *folder = getenv("XENSTORED_RUNDIR");

	if (!folder || strncmp(path, usual, sizeof(usual) - 1) != 0)
		return path;
	snprintf(room, size, "%s%s", folder, path + sizeof(usual) - 1);
	return room;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (addr->sa_family != AF_UNIX)
		return next(fd, addr, len);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s",
		 moved(((const struct sockaddr_un *)addr)->sun_path, (char[108]){0}, 108));
	return next(fd, (struct sockaddr *)&to, sizeof(to));
}

/* The control domain's own ring: a page that nobody writes to, and its port. */
static int open_control_ring(const char *path)
{
	int fd = memfd_create("ring", 0);

	if (strcmp(path, "/proc/xen/xsd_port") == 0) {
		if (write(fd, "1", 1) != 1 || lseek(fd, 0, SEEK_SET) < 0)
			return -1;
	} else if (ftruncate(fd, 4096) < 0) {
		return -1;
	}
	return fd;
}

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
	va_list args;
	mode_t mode;

	if (strncmp(path, "/proc/xen/", 10) == 0 || strncmp(path, "/dev/xen/", 9) == 0)
		return open_control_ring(path);
	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	return next(path, flags, mode);
}

int unlink(const char *path)
{
	int (*next)(const char *) = dlsym(RTLD_NEXT, "unlink");

	return next(moved(path, (char[4096]){0}, 4096));
}
