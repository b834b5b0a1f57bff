/*
 * A carrier (ring.h) in the daemon's own memory: pages from the heap, event channels that are jobs on
 * the loop. For tests, fuzzing and the simulated hypervisor, where whole sessions of guests go
 * through the very ring that Xen's guests use. The guest's end is here, too, with a driver.
 *
 * A page belongs to its guest: it stays as it is when the xenstore's end goes, in whatever way.
 */
#ifndef XN_XENSTORE_RING_TWIN_H
#define XN_XENSTORE_RING_TWIN_H

#include "modules/xenstore/server/ring.h"

/* Guests that nobody has made are there once they are introduced. */
struct xn_xs_carrier *xn_xs_twin_new(struct xn_loop *loop);

struct xn_xs_twin_guest {
	struct xn_list link;
	struct xn_xs_ring_page *page; /* the guest does with it what it likes */
	uint32_t domid, remote_port;
	/* From the loop: the xenstore has signalled. Or NULL. */
	void (*on_notified)(struct xn_xs_twin_guest *guest, void *arg);
	void *arg;
	/* ring_twin.c's */
	struct xn_loop *loop;
	struct xn_xs_carrier *carrier;
	struct xn_xs_port *port; /* the xenstore's end; NULL: not bound */
	bool is_masked, has_event;
	enum xn_xs_life life;
	struct xn_job to_xenstore, to_guest;
};

struct xn_xs_twin_guest *xn_xs_twin_guest(struct xn_xs_carrier *twin, uint32_t domid); /* makes it */
void xn_xs_twin_notify(struct xn_xs_twin_guest *guest); /* the guest signals */
void xn_xs_twin_live(struct xn_xs_twin_guest *guest, enum xn_xs_life life); /* and on_life */
/* All of the xenstore's ends are gone, as when its process is: nothing is called for it any more. */
void xn_xs_twin_cut(struct xn_xs_carrier *twin);

/* The guest's driver. How many bytes it put into the ring, or took out of it; it has signalled. */
size_t xn_xs_twin_send(struct xn_xs_twin_guest *guest, const void *bytes, size_t len);
size_t xn_xs_twin_receive(struct xn_xs_twin_guest *guest, void *room, size_t len);

#endif
