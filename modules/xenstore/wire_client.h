/*
 * What the files of the client of a foreign xenstored share.
 *
 *   wire_client.c     the connection: calls in flight, watches, loss and return
 *   wire_snapshot.c   a snapshot as many calls
 *   wire_write.c      a write as a transaction
 *
 * A call is one frame and its reply. Calls go out pipelined, a bounded number at a time; whoever has
 * more to send is a sender, and senders take turns frame by frame, so that a long snapshot holds up
 * nobody.
 */
#ifndef XN_XENSTORE_WIRE_CLIENT_H
#define XN_XENSTORE_WIRE_CLIENT_H

#include "modules/xenstore/client.h"
#include "modules/xenstore/wire.h"

struct xn_xs_wire;

/* One frame's reply. rc < 0: -EIO when the connection is lost, else the error that the daemon gave,
 * or -E2BIG for a reply that is longer than replies may be. @reply is borrowed. */
typedef void xn_xs_answered(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply,
			    void *arg);

struct xn_xs_sender {
	struct xn_list link;
	/* Makes one call. Return whether there is more to send now; if not, xn_xs_wire_want()
	 * brings it back. */
	bool (*send)(struct xn_xs_sender *sender);
	/* The connection is lost: it is out of the list, and its calls have been answered. */
	void (*fail)(struct xn_xs_sender *sender);
	bool is_urgent; /* goes before the others */
};
/* In the list already: nothing. */
void xn_xs_wire_want(struct xn_xs_wire *wire, struct xn_xs_sender *sender);

/* Only from a sender's send(). -E2BIG: too long for a frame; nothing is called then. */
int xn_xs_wire_call(struct xn_xs_wire *wire, enum xn_xs_wire_type type, uint32_t transaction,
		    const struct xn_xs_part *parts, size_t n, xn_xs_answered *answered, void *arg);

struct xn_list *xn_xs_wire_writings(struct xn_xs_wire *wire); /* wire_write.c's queue */

/* Each takes over request->work until it ends or is forgotten. */
void xn_xs_wire_snapshot(struct xn_xs_wire *wire, struct xn_xs_request *request);
void xn_xs_wire_snapshot_forget(struct xn_xs_request *request);
void xn_xs_wire_write(struct xn_xs_wire *wire, struct xn_xs_request *request);
void xn_xs_wire_write_forget(struct xn_xs_request *request);

/* For tests and fuzzing: a client without a connection; what it sends is appended to @sent, and
 * what comes in is given by hand. */
void xn_xs_wire_detach(struct xn_xenstore *xs, struct xn_buf *sent);
void xn_xs_wire_input(struct xn_xenstore *xs, const void *bytes, size_t len);

#endif
