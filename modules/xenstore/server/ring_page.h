/*
 * The page that a guest and the xenstore share, as Xen's public interface has it: two rings of bytes
 * with free-running indices, and who is at fault. Told here so that all but the real transport
 * (modules/xenstore/xen/, which checks it) is built without Xen's headers.
 *
 * The guest may write any byte of it at any time. So an index of its is loaded once, judged, and
 * used; our own two are kept in our memory and only ever stored.
 */
#ifndef XN_XENSTORE_RING_PAGE_H
#define XN_XENSTORE_RING_PAGE_H

#include <stdint.h>

enum {
	XN_XS_RING_SIZE = 1024,
	/* .features */
	XN_XS_RING_CAN_RECONNECT = 1,
	XN_XS_RING_TELLS_ERRORS = 2,
	XN_XS_RING_TAKES_DEPTHS = 4, /* of watches */
	XN_XS_RING_FEATURES = 7,
	/* .connection */
	XN_XS_RING_CONNECTED = 0,
	XN_XS_RING_RECONNECT = 1, /* the guest asks for a new beginning */
	/* .error */
	XN_XS_RING_FINE = 0,
	XN_XS_RING_BAD_EVENTS = 1,
	XN_XS_RING_BAD_INDEX = 2,
	XN_XS_RING_BAD_REQUEST = 3, /* too long */
};

struct xn_xs_ring_page {
	char req[XN_XS_RING_SIZE]; /* from the guest */
	char rsp[XN_XS_RING_SIZE]; /* to it */
	uint32_t req_cons, req_prod;
	uint32_t rsp_cons, rsp_prod;
	uint32_t features, connection, error;
};

static inline uint32_t xn_xs_ring_load(const uint32_t *index)
{
	return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

/* What was copied before is there (or out) when the other side sees the index. */
static inline void xn_xs_ring_store(uint32_t *index, uint32_t value)
{
	__atomic_store_n(index, value, __ATOMIC_SEQ_CST);
}

/* @len bytes from position @at on, around the end; at most the whole ring. */
void xn_xs_ring_copy_out(const char ring[XN_XS_RING_SIZE], uint32_t at, char *out, uint32_t len);
void xn_xs_ring_copy_in(char ring[XN_XS_RING_SIZE], uint32_t at, const char *bytes, uint32_t len);

#endif
