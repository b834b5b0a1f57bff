/* Rings whose guests are other programs; see ring_folder.h. */
#include "modules/xenstore/server/ring_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/list.h"

enum {
	PAGE_BYTES = 4096,
	EVENTS_A_CALL = 64, /* then others have a turn */
};

struct folder {
	struct xn_xs_carrier carrier;
	struct xn_loop *loop;
	char *path;
	int socket;
	struct xn_io *io;
	struct xn_list ports;
};

struct folder_port {
	struct xn_xs_port port;
	struct xn_list link;
	struct folder *folder;
	uint32_t domid;
	struct sockaddr_un guest;
};

static struct folder *folder_of(struct xn_xs_carrier *carrier)
{
	return xn_container_of(carrier, struct folder, carrier);
}

static struct folder_port *port_of(struct xn_xs_port *port)
{
	return xn_container_of(port, struct folder_port, port);
}

/* The path of a guest's file; freed by the caller. */
static char *guest_file(const struct folder *folder, uint32_t domid, const char *kind)
{
	return xn_asprintf("%s/%u.%s", folder->path, domid, kind);
}

static int make_address(const char *path, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	return snprintf(out->sun_path, sizeof(out->sun_path), "%s", path) <
			       (int)sizeof(out->sun_path)
		       ? 0
		       : -ENAMETOOLONG;
}

/* ---- ports ---- */

/* A guest that is not there, or behind with its signals, looks by itself. */
static void port_notify(struct xn_xs_port *port)
{
	const struct folder_port *mine = port_of(port);

	(void)sendto(mine->folder->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)&mine->guest, sizeof(mine->guest));
}

static void port_unmask(struct xn_xs_port *port)
{
}

static void port_close(struct xn_xs_port *port)
{
	struct folder_port *mine = port_of(port);

	munmap(port->page, PAGE_BYTES);
	xn_list_remove(&mine->link);
	free(mine);
}

static const struct xn_xs_port_ops port_ops = {
	.notify = port_notify,
	.unmask = port_unmask,
	.close = port_close,
};

static int map_file(const char *path, void **page_out)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || (st.st_size < PAGE_BYTES && ftruncate(fd, PAGE_BYTES) < 0))
		rc = -errno;
	*page_out = rc ? MAP_FAILED
		       : mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!rc && *page_out == MAP_FAILED)
		rc = -errno;
	close(fd);
	return rc;
}

static int folder_open(struct xn_xs_carrier *carrier, uint32_t domid, uint64_t gfn,
		       uint32_t remote_port, struct xn_xs_port **port_out)
{
	struct folder *folder = folder_of(carrier);
	char *page_file XN_CLEANUP(xn_free_p) = guest_file(folder, domid, "page");
	char *events XN_CLEANUP(xn_free_p) = guest_file(folder, domid, "events");
	struct sockaddr_un guest;
	struct folder_port *port;
	void *page;
	int rc = make_address(events, &guest);

	if (rc == 0)
		rc = map_file(page_file, &page);
	if (rc < 0)
		return rc;
	port = xn_calloc(1, sizeof(*port));
	port->port.ops = &port_ops;
	port->port.page = page;
	port->folder = folder;
	port->domid = domid;
	port->guest = guest;
	xn_list_push(&folder->ports, &port->link);
	*port_out = &port->port;
	return 0;
}

/* ---- events ---- */

static void on_event(struct folder *folder, uint32_t domid)
{
	xn_list_each(link, &folder->ports)
	{
		struct folder_port *port = xn_list_entry(link, struct folder_port, link);

		if (port->domid == domid && port->port.on_event)
			port->port.on_event(&port->port);
	}
}

static bool exists(const struct folder *folder, uint32_t domid, const char *kind)
{
	char *path XN_CLEANUP(xn_free_p) = guest_file(folder, domid, kind);

	return access(path, F_OK) == 0;
}

static enum xn_xs_life folder_life(struct xn_xs_carrier *carrier, uint32_t domid)
{
	const struct folder *folder = folder_of(carrier);

	if (!exists(folder, domid, "page"))
		return XN_XS_GONE;
	return exists(folder, domid, "stopped") ? XN_XS_STOPPED : XN_XS_RUNS;
}

static void on_datagrams(int fd, int events, void *arg)
{
	struct folder *folder = arg;
	uint32_t domid;

	for (int i = 0; i < EVENTS_A_CALL; i++) {
		ssize_t n = recv(fd, &domid, sizeof(domid), MSG_DONTWAIT);

		if (n < 0)
			return;
		if (n != sizeof(domid))
			continue;
		if (folder_life(&folder->carrier, domid) == XN_XS_RUNS)
			on_event(folder, domid);
		else if (folder->carrier.on_life)
			folder->carrier.on_life(&folder->carrier, folder->carrier.arg);
	}
}

/* ---- the carrier ---- */

static int folder_own_port(struct xn_xs_carrier *carrier, uint32_t *port_out)
{
	return -ENODEV;
}

static void folder_free(struct xn_xs_carrier *carrier)
{
	struct folder *folder = folder_of(carrier);

	xn_io_free(folder->io);
	if (folder->socket >= 0)
		close(folder->socket);
	free(folder->path);
	free(folder);
}

static const struct xn_xs_carrier_ops folder_ops = {
	.name = "folder",
	.open = folder_open,
	.life = folder_life,
	.own_port = folder_own_port,
	.free = folder_free,
};

static int open_socket(struct folder *folder)
{
	char *path XN_CLEANUP(xn_free_p) = xn_asprintf("%s/events", folder->path);
	struct sockaddr_un address;
	int rc = make_address(path, &address);

	if (rc < 0)
		return rc;
	if (mkdir(folder->path, 0700) < 0 && errno != EEXIST)
		return -errno;
	folder->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path); /* an earlier life's */
	if (folder->socket < 0 ||
	    bind(folder->socket, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	folder->io = xn_io_new(folder->loop, folder->socket, XN_IO_READ, on_datagrams, folder);
	return 0;
}

struct xn_xs_carrier *xn_xs_folder_new(struct xn_loop *loop, const char *path, struct xn_error *err)
{
	struct folder *folder = xn_calloc(1, sizeof(*folder));
	int rc;

	folder->carrier.ops = &folder_ops;
	folder->loop = loop;
	folder->path = xn_strdup(path);
	folder->socket = -1;
	xn_list_init(&folder->ports);
	rc = open_socket(folder);
	if (rc == 0)
		return &folder->carrier;
	xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "cannot open the folder of rings %s: %s", path,
		      strerror(-rc));
	folder_free(&folder->carrier);
	return NULL;
}
