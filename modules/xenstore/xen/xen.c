/*
 * Xen as a carrier of rings; see xen.h. A guest's page is the grant that its builder reserved for
 * it, or, where a builder did not, the frame that INTRODUCE names. Every call here is one short
 * hypercall through a device file, so they run on the loop.
 *
 * A process that is killed gives all of it back by itself: Xen then keeps each remote port open for
 * this domain, and whoever opens the ring again binds the same one.
 */
#include "modules/xenstore/xen/xen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenctrl.h> /* first: it says that this is no guest */

#include <xen/grant_table.h>
#include <xen/io/xs_wire.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>

#include "core/hmap.h"

#define SAME(ours, theirs)                                                     \
	_Static_assert(offsetof(struct xn_xs_ring_page, ours) ==               \
			       offsetof(struct xenstore_domain_interface, theirs), \
		       "the page is not as Xen has it: " #theirs)
_Static_assert(XN_XS_RING_SIZE == XENSTORE_RING_SIZE, "the size of a ring");
SAME(req, req);
SAME(rsp, rsp);
SAME(req_cons, req_cons);
SAME(req_prod, req_prod);
SAME(rsp_cons, rsp_cons);
SAME(rsp_prod, rsp_prod);
SAME(features, server_features);
SAME(connection, connection);
#undef SAME

enum {
	PAGE_BYTES = 4096,
	EVENTS_A_CALL = 64, /* then others have a turn */
	OWN_DOMID = 0,
};

struct xen {
	struct xn_xs_carrier carrier;
	struct xn_loop *loop;
	struct xn_log *log;
	xenevtchn_handle *events;
	xengnttab_handle *grants;
	xenforeignmemory_handle *memory;
	xc_interface *control;
	struct xn_io *io;
	struct xn_hmap ports; /* by local port */
	evtchn_port_t life_port;
};

enum mapping { GRANTED, FOREIGN, OWN };

struct xen_port {
	struct xn_xs_port port;
	struct xn_hnode node;
	struct xen *xen;
	evtchn_port_t local;
	enum mapping mapping;
};

static struct xen *xen_of(struct xn_xs_carrier *carrier)
{
	return xn_container_of(carrier, struct xen, carrier);
}

static struct xen_port *port_of(struct xn_xs_port *port)
{
	return xn_container_of(port, struct xen_port, port);
}

/* ---- the ring of this domain's own kernel ---- */

/* The kernel tells of its page and port in xenfs, and by a device where that is not mounted. */
static const char own_page_file[] = "/proc/xen/xsd_kva";
static const char own_port_file[] = "/proc/xen/xsd_port";
static const char own_device[] = "/dev/xen/xenbus_backend";

static int open_first(const char *path, const char *otherwise, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? open(otherwise, flags | O_CLOEXEC) : fd;
}

static void *map_own(void)
{
	int fd = open_first(own_page_file, own_device, O_RDWR);
	void *page;

	if (fd < 0)
		return NULL;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

static int xen_own_port(struct xn_xs_carrier *carrier, uint32_t *port_out)
{
	enum { GET_PORT = _IOC(_IOC_NONE, 'B', 0, 0) }; /* of xenbus_backend */
	int fd = open(own_port_file, O_RDONLY | O_CLOEXEC), rc;
	char text[16] = "";
	long port = 0;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			port = strtol(text, NULL, 10);
		close(fd);
	} else {
		fd = open(own_device, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		rc = ioctl(fd, GET_PORT);
		port = rc;
		close(fd);
	}
	if (port <= 0)
		return -ENODEV;
	*port_out = (uint32_t)port;
	return 0;
}

/* ---- pages ---- */

static void *map_page(struct xen *xen, uint32_t domid, uint64_t gfn, enum mapping *mapping_out)
{
	const xen_pfn_t frame = gfn;
	void *page;

	*mapping_out = OWN;
	if (domid == OWN_DOMID)
		return map_own();
	*mapping_out = GRANTED;
	page = xengnttab_map_grant_ref(xen->grants, domid, GNTTAB_RESERVED_XENSTORE,
				       PROT_READ | PROT_WRITE);
	if (page || !gfn)
		return page;
	*mapping_out = FOREIGN;
	return xenforeignmemory_map(xen->memory, domid, PROT_READ | PROT_WRITE, 1, &frame, NULL);
}

static void unmap_page(struct xen *xen, void *page, enum mapping mapping)
{
	switch (mapping) {
	case OWN:
		munmap(page, PAGE_BYTES);
		break;
	case GRANTED:
		xengnttab_unmap(xen->grants, page, 1);
		break;
	case FOREIGN:
		xenforeignmemory_unmap(xen->memory, page, 1);
		break;
	}
}

/* ---- ports ---- */

static void port_notify(struct xn_xs_port *port)
{
	const struct xen_port *mine = port_of(port);

	(void)xenevtchn_notify(mine->xen->events, mine->local); /* the domain may be gone */
}

static void port_unmask(struct xn_xs_port *port)
{
	const struct xen_port *mine = port_of(port);

	(void)xenevtchn_unmask(mine->xen->events, mine->local);
}

static void port_close(struct xn_xs_port *port)
{
	struct xen_port *mine = port_of(port);

	xn_hmap_remove(&mine->xen->ports, &mine->node);
	(void)xenevtchn_unbind(mine->xen->events, mine->local);
	unmap_page(mine->xen, port->page, mine->mapping);
	free(mine);
}

static const struct xn_xs_port_ops port_ops = {
	.notify = port_notify,
	.unmask = port_unmask,
	.close = port_close,
};

static struct xen_port *find_port(const struct xen *xen, evtchn_port_t local)
{
	struct xn_hnode *node = xn_hmap_first_same(&xen->ports, local);

	return node ? xn_container_of(node, struct xen_port, node) : NULL;
}

static int xen_open(struct xn_xs_carrier *carrier, uint32_t domid, uint64_t gfn,
		    uint32_t remote_port, struct xn_xs_port **port_out)
{
	struct xen *xen = xen_of(carrier);
	enum mapping mapping;
	void *page;
	struct xen_port *port;
	int local;

	errno = EINVAL;
	page = map_page(xen, domid, gfn, &mapping);
	if (!page)
		return errno ? -errno : -EINVAL;
	local = xenevtchn_bind_interdomain(xen->events, domid, remote_port);
	if (local < 0) {
		int rc = -errno;

		unmap_page(xen, page, mapping);
		return rc;
	}
	port = xn_calloc(1, sizeof(*port));
	port->port.ops = &port_ops;
	port->port.page = page;
	port->xen = xen;
	port->local = (evtchn_port_t)local;
	port->mapping = mapping;
	xn_hmap_insert(&xen->ports, &port->node, port->local);
	*port_out = &port->port;
	return 0;
}

/* ---- events ---- */

static void on_event(struct xen *xen, evtchn_port_t local)
{
	struct xen_port *port = find_port(xen, local);

	if (local == xen->life_port) {
		(void)xenevtchn_unmask(xen->events, local);
		if (xen->carrier.on_life)
			xen->carrier.on_life(&xen->carrier, xen->carrier.arg);
	} else if (port && port->port.on_event) {
		port->port.on_event(&port->port);
	} else {
		(void)xenevtchn_unmask(xen->events, local);
	}
}

/* The descriptor does not block, so the last try only finds that there are no more. */
static void on_events(int fd, int events, void *arg)
{
	struct xen *xen = arg;

	for (int i = 0; i < EVENTS_A_CALL; i++) {
		xenevtchn_port_or_error_t local = xenevtchn_pending(xen->events);

		if (local < 0)
			return;
		on_event(xen, (evtchn_port_t)local);
	}
}

/* ---- domains ---- */

static enum xn_xs_life xen_life(struct xn_xs_carrier *carrier, uint32_t domid)
{
	struct xen *xen = xen_of(carrier);
	xc_domaininfo_t info;

	if (xc_domain_getinfolist(xen->control, domid, 1, &info) != 1 || info.domain != domid ||
	    info.flags & XEN_DOMINF_dying)
		return XN_XS_GONE;
	return info.flags & XEN_DOMINF_shutdown ? XN_XS_STOPPED : XN_XS_RUNS;
}

/* ---- the carrier ---- */

static void xen_free(struct xn_xs_carrier *carrier)
{
	struct xen *xen = xen_of(carrier);

	xn_io_free(xen->io);
	if (xen->events)
		xenevtchn_close(xen->events);
	if (xen->grants)
		xengnttab_close(xen->grants);
	if (xen->memory)
		xenforeignmemory_close(xen->memory);
	if (xen->control)
		xc_interface_close(xen->control);
	xn_hmap_clear(&xen->ports);
	free(xen);
}

static const struct xn_xs_carrier_ops xen_ops = {
	.name = "xen",
	.knows_all = true,
	.open = xen_open,
	.life = xen_life,
	.own_port = xen_own_port,
	.free = xen_free,
};

/* What could not be had; NULL: nothing. */
static const char *open_devices(struct xen *xen)
{
	int port;

	xen->control = xc_interface_open(NULL, NULL, 0);
	if (!xen->control)
		return "the hypervisor (privcmd)";
	xen->grants = xengnttab_open(NULL, 0);
	if (!xen->grants)
		return "grants (gntdev)";
	xen->memory = xenforeignmemory_open(NULL, 0);
	if (!xen->memory)
		return "guests' memory (privcmd)";
	xen->events = xenevtchn_open(NULL, 0);
	if (!xen->events)
		return "event channels (evtchn)";
	port = xenevtchn_bind_virq(xen->events, VIRQ_DOM_EXC);
	if (port < 0)
		return "news of domains: another xenstored has them";
	xen->life_port = (evtchn_port_t)port;
	return NULL;
}

struct xn_xs_carrier *xn_xs_xen_new(struct xn_loop *loop, struct xn_log *log, struct xn_error *err)
{
	struct xen *xen = xn_calloc(1, sizeof(*xen));
	const char *missing;
	int fd;

	xen->carrier.ops = &xen_ops;
	xen->loop = loop;
	xen->log = log;
	missing = open_devices(xen);
	if (missing) {
		xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "cannot open %s: %s", missing,
			      strerror(errno));
		xen_free(&xen->carrier);
		return NULL;
	}
	fd = xenevtchn_fd(xen->events);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	xen->io = xn_io_new(loop, fd, XN_IO_READ, on_events, xen);
	return &xen->carrier;
}
