/*
 * The ring of a guest as a link (link.h), and what carries it: a page that is mapped and an event
 * channel that is bound. Carriers: Xen (modules/xenstore/xen/), and a twin in the daemon's own
 * memory (ring_twin.h) for tests, fuzzing and the simulated hypervisor. Which rings there are:
 * ring_table.h.
 *
 * Positions of the link are the ring's own indices. Whatever is in the page, reading and writing end
 * in bytes, in "none now", or in a clean error; nothing but the guest's own connection suffers.
 */
#ifndef XN_XENSTORE_RING_H
#define XN_XENSTORE_RING_H

#include "core/loop.h"
#include "modules/xenstore/server/link.h"
#include "modules/xenstore/server/ring_page.h"

struct xn_xs_port;
struct xn_xs_carrier;

struct xn_xs_port_ops {
	void (*notify)(struct xn_xs_port *port);
	/* on_event has been called: no more of them until this. */
	void (*unmask)(struct xn_xs_port *port);
	void (*close)(struct xn_xs_port *port); /* unmaps, unbinds, frees */
};

/* A page and its event channel. */
struct xn_xs_port {
	const struct xn_xs_port_ops *ops;
	struct xn_xs_ring_page *page;
	/* From the loop: the guest has signalled. NULL: it is forgotten, and unmasked. */
	void (*on_event)(struct xn_xs_port *port);
	void *arg;
};

enum xn_xs_life {
	XN_XS_RUNS,
	XN_XS_STOPPED, /* shut down or crashed: it is still there */
	XN_XS_GONE,    /* or going: what it shares must be let go */
};

struct xn_xs_carrier_ops {
	const char *name;
	bool knows_all; /* life() is the truth of every domain, not only of those that have rings */
	/* 0: *port_out is the caller's. @gfn: where its page is, for those that need it told. */
	int (*open)(struct xn_xs_carrier *carrier, uint32_t domid, uint64_t gfn,
		    uint32_t remote_port, struct xn_xs_port **port_out);
	enum xn_xs_life (*life)(struct xn_xs_carrier *carrier, uint32_t domid);
	/* The ring of this domain's own kernel, which nobody introduces: its remote port; -ENODEV:
	 * there is none. */
	int (*own_port)(struct xn_xs_carrier *carrier, uint32_t *port_out);
	void (*free)(struct xn_xs_carrier *carrier); /* after its ports */
};

/* What carries rings on this host. */
struct xn_xs_carrier {
	const struct xn_xs_carrier_ops *ops;
	/* From the loop: some domain stopped, or is going; nobody says which. Or NULL. */
	void (*on_life)(struct xn_xs_carrier *carrier, void *arg);
	void *arg;
};

/* Takes @port. The page's own indices are where the link begins. @caller: xn_loop_defer_as(). */
struct xn_xs_link *xn_xs_ring_new(struct xn_loop *loop, struct xn_xs_port *port, uint64_t caller);
/*
 * Goes on where an earlier life of the daemon was: @in_at bytes had been taken, and all output up to
 * @out_at had been written, maybe some of the @unsent bytes that follow, too. Return how many of
 * these the ring has; -EPROTO: the guest has meddled with it.
 */
ssize_t xn_xs_ring_resume(struct xn_xs_link *link, uint32_t in_at, uint32_t out_at, size_t unsent);
/* Features of the server that the page does not show to this guest. */
void xn_xs_ring_hide(struct xn_xs_link *link, uint32_t features);
/* Another event channel under the same ring. Takes @port. */
void xn_xs_ring_rebind(struct xn_xs_link *link, struct xn_xs_port *port);

#endif
