/*
 * What the files of the client of a foreign xenstored share.
 *
 *   wire_client.c     the connection: calls in flight, loss and return
 *   wire_watch.c      watched paths, and events that wait
 *   wire_snapshot.c   a snapshot as many calls
 *   wire_write.c      a write as a transaction
 *
 * A call is one frame and its reply. Calls go out pipelined, a bounded number at a time; whoever has
 * more to send is a sender, and senders take turns frame by frame, so that a long snapshot holds up
 * nobody.
 */
#ifndef XN_XENSTORE_WIRE_CLIENT_H
#define XN_XENSTORE_WIRE_CLIENT_H

#include "modules/xenstore/client/client.h"
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
enum { XN_XS_WIRE_CALLS = 128 }; /* in flight: enough to hide the way there and back */

struct xn_xs_call {
	struct xn_list link; /* in wire->calls, or in wire->unused */
	uint32_t id;         /* number of use << 7 | index */
	enum xn_xs_wire_type type;
	xn_xs_answered *answered;
	void *arg;
};
_Static_assert(XN_XS_WIRE_CALLS == 1 << 7, "a call's id ends with its index");

struct xn_xs_wire {
	struct xn_xenstore *xs;
	int fd;
	bool is_device; /* takes one frame a write */
	bool is_up;
	struct xn_io *io;
	struct xn_xs_reader *in;
	struct xn_buf out;
	size_t out_at;
	struct xn_buf *sent; /* without a connection: where output goes */
	struct xn_xs_call slots[XN_XS_WIRE_CALLS];
	struct xn_list calls, unused;
	struct xn_list urgent, senders; /* who has something to send */
	struct xn_list writings;        /* transactions in order: the first one runs */
	struct xn_hmap spots; /* by token */
	uint32_t last_token;
	struct xn_list ready; /* spots with events that wait */
	struct xn_job pump, deliver;
	struct xn_timer retry;
	unsigned retry_ms;
	char address[128];
};

/* In the list already: nothing. */
void xn_xs_wire_want(struct xn_xs_wire *wire, struct xn_xs_sender *sender);

/* Only from a sender's send(). -E2BIG: too long for a frame; nothing is called then. */
int xn_xs_wire_call(struct xn_xs_wire *wire, enum xn_xs_wire_type type, uint32_t transaction,
		    const struct xn_xs_part *parts, size_t n, xn_xs_answered *answered, void *arg);

/* Each takes over request->work until it ends or is forgotten. */
void xn_xs_wire_snapshot(struct xn_xs_wire *wire, struct xn_xs_request *request);
void xn_xs_wire_snapshot_forget(struct xn_xs_request *request);
void xn_xs_wire_write(struct xn_xs_wire *wire, struct xn_xs_request *request);
void xn_xs_wire_write_forget(struct xn_xs_request *request);

/* ---- wire_watch.c ---- */
int xn_xs_wire_watch(struct xn_xs_watched *spot);
void xn_xs_wire_unwatch(struct xn_xs_watched *spot);
/* A watch event: 0, or -EPROTO. */
int xn_xs_wire_event(struct xn_xs_wire *wire, const struct xn_xs_frame *frame);
void xn_xs_wire_watch_all(struct xn_xs_wire *wire); /* connected: sets every watch */
void xn_xs_wire_watches_lost(struct xn_xs_wire *wire);

/* For tests and fuzzing: a client without a connection; what it sends is appended to @sent, and
 * what comes in is given by hand. */
void xn_xs_wire_detach(struct xn_xenstore *xs, struct xn_buf *sent);
void xn_xs_wire_input(struct xn_xenstore *xs, const void *bytes, size_t len);

#endif
