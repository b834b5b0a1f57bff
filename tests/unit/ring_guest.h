/*
 * A guest of the simulated carrier for tests: speaks the xenstore protocol through its ring, as a
 * kernel does, in whatever pieces the ring gives.
 */
#ifndef XN_TEST_RING_GUEST_H
#define XN_TEST_RING_GUEST_H

#include "core/buf.h"
#include "modules/xenstore/server/ring_twin.h"
#include "modules/xenstore/wire.h"

struct ring_guest {
	struct xn_xs_twin_guest *end;
	struct xn_buf out; /* not in the ring yet */
	struct xn_buf in;  /* taken out of it */
	size_t piece;      /* at most so many bytes go in or out at once; 0: as many as fit */
	uint32_t last_request;
	bool is_slow; /* takes nothing out until told */
};

/* Its end of the ring; the xenstore's signals make it go on. */
void ring_guest_init(struct ring_guest *guest, struct xn_xs_twin_guest *end);
void ring_guest_clear(struct ring_guest *guest);
/* Moves what can be moved, in both directions. Return whether anything was. */
bool ring_guest_go_on(struct ring_guest *guest);
/* Queues a request: its number. */
uint32_t ring_guest_ask(struct ring_guest *guest, uint32_t type, uint32_t tx, const void *body,
			size_t len);
/* The first whole frame that has come; false: none yet. *frame is borrowed until the next call. */
bool ring_guest_take(struct ring_guest *guest, struct xn_xs_frame *frame);

#endif
