/*
 * A guest's ring as a link; see ring.h. An event, or what the connection wants, leads to a look at
 * the page; who finds there what is wanted calls the connection, and looks again afterwards: so the
 * connection may leave something over, as with a socket. A guest that signals without end costs one
 * look a turn, as its event channel stays masked until then.
 */
#include "modules/xenstore/server/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct ring {
	struct xn_xs_link link;
	struct xn_loop *loop;
	struct xn_xs_port *port;
	uint64_t caller;
	bool wants_input, wants_output;
	bool is_masked;
	bool is_broken;	  /* until the guest begins anew */
	bool must_notify;
	bool *is_gone; /* set when it is closed while a look is under way */
	struct xn_job look, notify;
};

/* ---- bytes ---- */

void xn_xs_ring_copy_out(const char ring[XN_XS_RING_SIZE], uint32_t at, char *out, uint32_t len)
{
	uint32_t from = at % XN_XS_RING_SIZE, n = XN_XS_RING_SIZE - from;

	if (n > len)
		n = len;
	memcpy(out, ring + from, n);
	memcpy(out + n, ring, len - n);
}

void xn_xs_ring_copy_in(char ring[XN_XS_RING_SIZE], uint32_t at, const char *bytes, uint32_t len)
{
	uint32_t from = at % XN_XS_RING_SIZE, n = XN_XS_RING_SIZE - from;

	if (n > len)
		n = len;
	memcpy(ring + from, bytes, n);
	memcpy(ring, bytes + n, len - n);
}

static struct ring *ring_of(struct xn_xs_link *link)
{
	return xn_container_of(link, struct ring, link);
}

static bool begins_anew(const struct ring *ring)
{
	return xn_xs_ring_load(&ring->port->page->connection) == XN_XS_RING_RECONNECT;
}

/* ---- signals ---- */

static void notify_now(struct ring *ring)
{
	ring->must_notify = false;
	ring->port->ops->notify(ring->port);
}

static void on_notify(struct xn_job *job)
{
	struct ring *ring = xn_container_of(job, struct ring, notify);

	if (ring->must_notify)
		notify_now(ring);
}

/* One signal for all that changes in one go. */
static void changed(struct ring *ring)
{
	ring->must_notify = true;
	/* Not more urgent than a look at who else has something to say: a guest may cause many. */
	xn_loop_defer_as(ring->loop, &ring->notify, XN_PRIO_REFRESH, on_notify, ring->caller);
}

static bool has_what_is_wanted(const struct ring *ring)
{
	const struct xn_xs_ring_page *page = ring->port->page;

	if (begins_anew(ring))
		return true;
	if (ring->is_broken)
		return false;
	return (ring->wants_input && xn_xs_ring_load(&page->req_prod) != ring->link.in_at) ||
	       (ring->wants_output &&
		ring->link.out_at - xn_xs_ring_load(&page->rsp_cons) != XN_XS_RING_SIZE);
}

static void on_look(struct xn_job *job);

static void look_later(struct ring *ring)
{
	xn_loop_defer_as(ring->loop, &ring->look, XN_PRIO_EVENT, on_look, ring->caller);
}

static void on_look(struct xn_job *job)
{
	struct ring *ring = xn_container_of(job, struct ring, look);
	bool is_gone = false;

	if (ring->is_masked) {
		ring->is_masked = false;
		ring->port->ops->unmask(ring->port); /* first: what comes after the look signals again */
	}
	if (!has_what_is_wanted(ring) || !ring->link.on_ready)
		return;
	ring->is_gone = &is_gone;
	ring->link.on_ready(&ring->link, ring->link.arg);
	if (is_gone)
		return;
	ring->is_gone = NULL;
	if (ring->must_notify)
		notify_now(ring);
	if (has_what_is_wanted(ring))
		look_later(ring);
}

static void on_event(struct xn_xs_port *port)
{
	struct ring *ring = port->arg;

	ring->is_masked = true;
	look_later(ring);
}

/* ---- the link's ops ---- */

static ssize_t broken(struct ring *ring, uint32_t error)
{
	if (!ring->is_broken) {
		ring->is_broken = true;
		xn_xs_ring_store(&ring->port->page->error, error);
		changed(ring);
	}
	return -EPROTO;
}

static ssize_t ring_read(struct xn_xs_link *link, size_t offset, void *room, size_t len)
{
	struct ring *ring = ring_of(link);
	uint32_t waiting;

	if (begins_anew(ring))
		return -ECONNRESET;
	if (ring->is_broken)
		return -EPROTO;
	waiting = xn_xs_ring_load(&ring->port->page->req_prod) - link->in_at;
	if (waiting > XN_XS_RING_SIZE)
		return broken(ring, XN_XS_RING_BAD_INDEX);
	if (offset >= waiting)
		return 0;
	if (len > waiting - offset)
		len = waiting - offset;
	xn_xs_ring_copy_out(ring->port->page->req, link->in_at + (uint32_t)offset, room,
			    (uint32_t)len);
	return (ssize_t)len;
}

static void ring_taken(struct xn_xs_link *link, size_t len)
{
	struct ring *ring = ring_of(link);

	assert(len <= XN_XS_RING_SIZE);
	link->in_at += (uint32_t)len;
	xn_xs_ring_store(&ring->port->page->req_cons, link->in_at);
	changed(ring);
}

static ssize_t ring_write(struct xn_xs_link *link, const void *bytes, size_t len)
{
	struct ring *ring = ring_of(link);
	struct xn_xs_ring_page *page = ring->port->page;
	uint32_t used;

	if (begins_anew(ring))
		return -ECONNRESET;
	if (ring->is_broken)
		return -EPROTO;
	used = link->out_at - xn_xs_ring_load(&page->rsp_cons);
	if (used > XN_XS_RING_SIZE)
		return broken(ring, XN_XS_RING_BAD_INDEX);
	if (len > XN_XS_RING_SIZE - used)
		len = XN_XS_RING_SIZE - used;
	if (!len)
		return 0;
	xn_xs_ring_copy_in(page->rsp, link->out_at, bytes, (uint32_t)len);
	link->out_at += (uint32_t)len;
	xn_xs_ring_store(&page->rsp_prod, link->out_at);
	changed(ring);
	return (ssize_t)len;
}

static void ring_want(struct xn_xs_link *link, bool input, bool output)
{
	struct ring *ring = ring_of(link);

	ring->wants_input = input;
	ring->wants_output = output;
	if (!ring->is_gone && has_what_is_wanted(ring))
		look_later(ring);
}

static void ring_reset(struct xn_xs_link *link)
{
	struct ring *ring = ring_of(link);
	struct xn_xs_ring_page *page = ring->port->page;

	link->in_at = 0;
	link->out_at = 0;
	ring->is_broken = false;
	xn_xs_ring_store(&page->req_cons, 0);
	xn_xs_ring_store(&page->req_prod, 0);
	xn_xs_ring_store(&page->rsp_cons, 0);
	xn_xs_ring_store(&page->rsp_prod, 0);
	xn_xs_ring_store(&page->error, XN_XS_RING_FINE);
	xn_xs_ring_store(&page->connection, XN_XS_RING_CONNECTED);
	changed(ring);
}

static void ring_refuse(struct xn_xs_link *link)
{
	(void)broken(ring_of(link), XN_XS_RING_BAD_REQUEST);
}

static void ring_close(struct xn_xs_link *link)
{
	struct ring *ring = ring_of(link);

	if (ring->is_gone)
		*ring->is_gone = true;
	xn_job_cancel(&ring->look);
	xn_job_cancel(&ring->notify);
	if (ring->must_notify)
		notify_now(ring);
	ring->port->ops->close(ring->port);
	free(ring);
}

static const struct xn_xs_link_ops ring_ops = {
	.name = "ring",
	.is_kept = true,
	.read = ring_read,
	.taken = ring_taken,
	.write = ring_write,
	.want = ring_want,
	.reset = ring_reset,
	.refuse = ring_refuse,
	.close = ring_close,
};

/* ---- rings ---- */

static void set_port(struct ring *ring, struct xn_xs_port *port)
{
	ring->port = port;
	port->arg = ring;
	port->on_event = on_event;
}

struct xn_xs_link *xn_xs_ring_new(struct xn_loop *loop, struct xn_xs_port *port, uint64_t caller)
{
	struct ring *ring = xn_calloc(1, sizeof(*ring));
	struct xn_xs_ring_page *page = port->page;

	ring->link.ops = &ring_ops;
	ring->loop = loop;
	ring->caller = caller;
	set_port(ring, port);
	ring->link.in_at = xn_xs_ring_load(&page->req_cons);
	ring->link.out_at = xn_xs_ring_load(&page->rsp_prod);
	xn_xs_ring_store(&page->features, XN_XS_RING_FEATURES);
	changed(ring);
	return &ring->link;
}

void xn_xs_ring_hide(struct xn_xs_link *link, uint32_t features)
{
	xn_xs_ring_store(&ring_of(link)->port->page->features, XN_XS_RING_FEATURES & ~features);
}

ssize_t xn_xs_ring_resume(struct xn_xs_link *link, uint32_t in_at, uint32_t out_at, size_t unsent)
{
	struct ring *ring = ring_of(link);
	uint32_t sent = xn_xs_ring_load(&ring->port->page->rsp_prod) - out_at;

	link->in_at = in_at;
	xn_xs_ring_store(&ring->port->page->req_cons, in_at);
	link->out_at = out_at;
	changed(ring); /* what was signalled before may have been lost, in both directions */
	ring->is_broken = xn_xs_ring_load(&ring->port->page->error) != XN_XS_RING_FINE;
	if (ring->is_broken)
		return -EPROTO;
	if (sent > unsent)
		return broken(ring, XN_XS_RING_BAD_INDEX);
	link->out_at += sent;
	return (ssize_t)sent;
}

void xn_xs_ring_rebind(struct xn_xs_link *link, struct xn_xs_port *port)
{
	struct ring *ring = ring_of(link);

	ring->port->ops->close(ring->port);
	set_port(ring, port);
	ring->is_masked = false;
	look_later(ring);
}
