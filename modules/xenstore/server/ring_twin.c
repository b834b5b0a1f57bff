/* The twin of Xen's rings; see ring_twin.h. */
#include "modules/xenstore/server/ring_twin.h"

#include <errno.h>
#include <stdlib.h>

struct twin {
	struct xn_xs_carrier carrier;
	struct xn_loop *loop;
	struct xn_list guests;
	struct xn_job told;
};

struct twin_port {
	struct xn_xs_port port;
	struct xn_xs_twin_guest *guest; /* NULL: it is gone */
};

static struct twin *twin_of(struct xn_xs_carrier *carrier)
{
	return xn_container_of(carrier, struct twin, carrier);
}

/* ---- event channels ---- */

/* As Xen: an event that comes while the channel is masked is there once it is not. */
static void on_to_xenstore(struct xn_job *job)
{
	struct xn_xs_twin_guest *guest =
		xn_container_of(job, struct xn_xs_twin_guest, to_xenstore);

	if (!guest->port || !guest->port->on_event)
		return;
	guest->is_masked = true;
	guest->port->on_event(guest->port);
}

void xn_xs_twin_notify(struct xn_xs_twin_guest *guest)
{
	if (!guest->port)
		return; /* nobody is at the other end: it is lost */
	if (!guest->is_masked)
		xn_loop_defer(guest->loop, &guest->to_xenstore, XN_PRIO_EVENT, on_to_xenstore);
	else
		guest->has_event = true;
}

static void on_to_guest(struct xn_job *job)
{
	struct xn_xs_twin_guest *guest = xn_container_of(job, struct xn_xs_twin_guest, to_guest);

	if (guest->on_notified)
		guest->on_notified(guest, guest->arg);
}

static void port_notify(struct xn_xs_port *port)
{
	struct xn_xs_twin_guest *guest = xn_container_of(port, struct twin_port, port)->guest;

	if (guest)
		xn_loop_defer(guest->loop, &guest->to_guest, XN_PRIO_EVENT, on_to_guest);
}

static void port_unmask(struct xn_xs_port *port)
{
	struct xn_xs_twin_guest *guest = xn_container_of(port, struct twin_port, port)->guest;

	if (!guest)
		return;
	guest->is_masked = false;
	if (guest->has_event) {
		guest->has_event = false;
		xn_xs_twin_notify(guest);
	}
}

static void unbind(struct xn_xs_twin_guest *guest)
{
	guest->port = NULL;
	guest->is_masked = false;
	guest->has_event = false;
	xn_job_cancel(&guest->to_xenstore);
}

static void port_close(struct xn_xs_port *port)
{
	struct twin_port *mine = xn_container_of(port, struct twin_port, port);

	if (mine->guest && mine->guest->port == port)
		unbind(mine->guest);
	free(mine);
}

static const struct xn_xs_port_ops port_ops = {
	.notify = port_notify,
	.unmask = port_unmask,
	.close = port_close,
};

/* ---- guests ---- */

static struct xn_xs_twin_guest *find(const struct twin *twin, uint32_t domid)
{
	xn_list_each(link, &twin->guests)
	{
		struct xn_xs_twin_guest *guest = xn_list_entry(link, struct xn_xs_twin_guest, link);

		if (guest->domid == domid && guest->life != XN_XS_GONE)
			return guest;
	}
	return NULL;
}

struct xn_xs_twin_guest *xn_xs_twin_guest(struct xn_xs_carrier *carrier, uint32_t domid)
{
	struct twin *twin = twin_of(carrier);
	struct xn_xs_twin_guest *guest = find(twin, domid);

	if (guest)
		return guest;
	guest = xn_calloc(1, sizeof(*guest));
	guest->page = xn_calloc(1, sizeof(*guest->page));
	guest->domid = domid;
	guest->loop = twin->loop;
	guest->carrier = carrier;
	xn_list_push(&twin->guests, &guest->link);
	return guest;
}

static void guest_free(struct xn_xs_twin_guest *guest)
{
	if (guest->port)
		xn_container_of(guest->port, struct twin_port, port)->guest = NULL;
	xn_job_cancel(&guest->to_xenstore);
	xn_job_cancel(&guest->to_guest);
	xn_list_remove(&guest->link);
	free(guest->page);
	free(guest);
}

static void on_told(struct xn_job *job)
{
	struct twin *twin = xn_container_of(job, struct twin, told);

	if (twin->carrier.on_life)
		twin->carrier.on_life(&twin->carrier, twin->carrier.arg);
}

void xn_xs_twin_live(struct xn_xs_twin_guest *guest, enum xn_xs_life life)
{
	struct twin *twin = twin_of(guest->carrier);

	guest->life = life;
	xn_loop_defer(twin->loop, &twin->told, XN_PRIO_EVENT, on_told);
}

void xn_xs_twin_cut(struct xn_xs_carrier *carrier)
{
	struct twin *twin = twin_of(carrier);

	carrier->on_life = NULL;
	xn_list_each(link, &twin->guests)
	{
		struct xn_xs_twin_guest *guest = xn_list_entry(link, struct xn_xs_twin_guest, link);

		if (guest->port)
			xn_container_of(guest->port, struct twin_port, port)->guest = NULL;
		unbind(guest);
	}
}

/* ---- the guest's driver ---- */

/* It trusts its xenstore no more than that one trusts it. */
size_t xn_xs_twin_send(struct xn_xs_twin_guest *guest, const void *bytes, size_t len)
{
	uint32_t prod = xn_xs_ring_load(&guest->page->req_prod);
	uint32_t used = prod - xn_xs_ring_load(&guest->page->req_cons);

	if (used > XN_XS_RING_SIZE)
		return 0;
	if (len > XN_XS_RING_SIZE - used)
		len = XN_XS_RING_SIZE - used;
	if (!len)
		return 0;
	xn_xs_ring_copy_in(guest->page->req, prod, bytes, (uint32_t)len);
	xn_xs_ring_store(&guest->page->req_prod, prod + (uint32_t)len);
	xn_xs_twin_notify(guest);
	return len;
}

size_t xn_xs_twin_receive(struct xn_xs_twin_guest *guest, void *room, size_t len)
{
	uint32_t cons = xn_xs_ring_load(&guest->page->rsp_cons);
	uint32_t waiting = xn_xs_ring_load(&guest->page->rsp_prod) - cons;

	if (waiting > XN_XS_RING_SIZE)
		return 0;
	if (len > waiting)
		len = waiting;
	if (!len)
		return 0;
	xn_xs_ring_copy_out(guest->page->rsp, cons, room, (uint32_t)len);
	xn_xs_ring_store(&guest->page->rsp_cons, cons + (uint32_t)len);
	xn_xs_twin_notify(guest);
	return len;
}

/* ---- the carrier ---- */

/* It takes over a binding that another port of the same guest has, as INTRODUCE again does. */
static int twin_open(struct xn_xs_carrier *carrier, uint32_t domid, uint64_t gfn,
		     uint32_t remote_port, struct xn_xs_port **port_out)
{
	struct xn_xs_twin_guest *guest = xn_xs_twin_guest(carrier, domid);
	struct twin_port *port = xn_calloc(1, sizeof(*port));

	if (guest->port)
		unbind(guest);
	port->port.ops = &port_ops;
	port->port.page = guest->page;
	port->guest = guest;
	guest->port = &port->port;
	guest->remote_port = remote_port;
	*port_out = &port->port;
	return 0;
}

/* Whom nobody has made or ended yet may be introduced. */
static enum xn_xs_life twin_life(struct xn_xs_carrier *carrier, uint32_t domid)
{
	enum xn_xs_life life = XN_XS_RUNS;

	xn_list_each(link, &twin_of(carrier)->guests)
	{
		const struct xn_xs_twin_guest *guest =
			xn_list_entry(link, struct xn_xs_twin_guest, link);

		if (guest->domid == domid)
			life = guest->life; /* the last one's: a domid may be used again */
	}
	return life;
}

static int twin_own_port(struct xn_xs_carrier *carrier, uint32_t *port_out)
{
	return -ENODEV;
}

static void twin_free(struct xn_xs_carrier *carrier)
{
	struct twin *twin = twin_of(carrier);

	while (!xn_list_empty(&twin->guests))
		guest_free(xn_list_entry(twin->guests.next, struct xn_xs_twin_guest, link));
	xn_job_cancel(&twin->told);
	free(twin);
}

static const struct xn_xs_carrier_ops twin_ops = {
	.name = "twin",
	.open = twin_open,
	.life = twin_life,
	.own_port = twin_own_port,
	.free = twin_free,
};

struct xn_xs_carrier *xn_xs_twin_new(struct xn_loop *loop)
{
	struct twin *twin = xn_calloc(1, sizeof(*twin));

	twin->carrier.ops = &twin_ops;
	twin->loop = loop;
	xn_list_init(&twin->guests);
	return &twin->carrier;
}
