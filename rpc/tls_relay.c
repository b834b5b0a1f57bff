/* Bytes between a TLS connection and a socket pair; see tls_relay.h. */
#include "rpc/tls_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PIECE = 16384,
	ROUNDS = 4,		  /* pieces each way in one go */
	/* For the peer, after the local side has finished: without progress, in looks. */
	LOOK_US = 1000000,
	FAREWELL_LOOKS = 60,
};

struct side {
	int fd;
	struct xn_io *io;
	int events;
	bool ended;	    /* read to its end */
	bool told;	    /* that nothing follows */
	struct xn_buf rest; /* read here, not yet taken by the other side */
};

struct xn_tls_relay {
	struct xn_list link;
	struct xn_loop *loop;
	struct xn_tls_conn *tls;
	struct side peer, local;
	struct xn_job job; /* input that the socket does not announce */
	struct xn_timer farewell;
	unsigned looks; /* since something moved */
	unsigned *count;
};

static void relay_free(struct xn_tls_relay *relay)
{
	xn_list_remove(&relay->link);
	xn_job_cancel(&relay->job);
	xn_timer_cancel(&relay->farewell);
	xn_io_free(relay->peer.io);
	xn_io_free(relay->local.io);
	xn_buf_clear(&relay->peer.rest);
	xn_buf_clear(&relay->local.rest);
	xn_tls_conn_free(relay->tls);
	close(relay->peer.fd);
	close(relay->local.fd);
	--*relay->count;
	free(relay);
}

void xn_tls_relays_end(struct xn_list *relays)
{
	while (!xn_list_empty(relays))
		relay_free(xn_list_entry(relays->next, struct xn_tls_relay, link));
}

static ssize_t read_side(struct xn_tls_relay *relay, bool from_peer, char *to)
{
	return from_peer ? xn_tls_read(relay->tls, to, PIECE)
			 : recv(relay->local.fd, to, PIECE, MSG_DONTWAIT);
}

static ssize_t write_side(struct xn_tls_relay *relay, bool to_peer, const char *data, size_t len)
{
	struct iovec iov = {(void *)data, len};

	return to_peer ? xn_tls_write(relay->tls, &iov, 1)
		       : send(relay->local.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool is_later(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* One piece from @from to the other side. 1: more may follow; 0: not now; -1: lost. */
static int move(struct xn_tls_relay *relay, struct side *from)
{
	bool from_peer = from == &relay->peer;
	char piece[PIECE];
	ssize_t n;

	if (!from->rest.len) {
		if (from->ended)
			return 0;
		n = read_side(relay, from_peer, piece);
		if (n < 0)
			return is_later() ? 0 : -1;
		from->ended = n == 0;
		xn_buf_add(&from->rest, piece, (size_t)n);
		if (n == 0)
			return 0;
	}
	n = write_side(relay, !from_peer, from->rest.data, from->rest.len);
	if (n < 0)
		return is_later() ? 0 : -1;
	relay->looks = 0;
	xn_buf_drop(&from->rest, (size_t)n);
	if (from->rest.len)
		return 0;
	xn_buf_clear(&from->rest);
	return 1;
}

/* Closed, not only shut down for writing: nobody is there for what the peer may still say. */
static bool is_gone(int fd)
{
	return send(fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE;
}

static void on_farewell(struct xn_timer *timer)
{
	struct xn_tls_relay *relay = xn_container_of(timer, struct xn_tls_relay, farewell);

	if (++relay->looks >= FAREWELL_LOOKS || (relay->local.told && is_gone(relay->local.fd)))
		relay_free(relay);
	else
		xn_timer_arm(relay->loop, timer, LOOK_US, on_farewell);
}

static void tell_ends(struct xn_tls_relay *relay)
{
	if (relay->local.ended && !relay->local.rest.len && !relay->local.told) {
		relay->local.told = true;
		xn_tls_end(relay->tls);
		shutdown(relay->peer.fd, SHUT_WR);
	}
	if (relay->local.ended && !xn_timer_is_armed(&relay->farewell)) {
		relay->looks = 0;
		xn_timer_arm(relay->loop, &relay->farewell, LOOK_US, on_farewell);
	}
	if (relay->peer.ended && !relay->peer.rest.len && !relay->peer.told) {
		relay->peer.told = true;
		shutdown(relay->local.fd, SHUT_WR);
	}
}

static int wants(const struct side *self, const struct side *other)
{
	return (self->ended || self->rest.len ? 0 : XN_IO_READ) |
	       (other->rest.len ? XN_IO_WRITE : 0);
}

static void watch(struct side *side, int events)
{
	if (side->events != events)
		xn_io_set(side->io, events);
	side->events = events;
}

static void on_job(struct xn_job *job);

static void pump(struct xn_tls_relay *relay)
{
	int down = 1, up = 1, events;

	if (xn_tls_flush(relay->tls) < 0)
		up = -1;
	for (int i = 0; i < ROUNDS && down >= 0 && up >= 0 && down + up > 0; i++) {
		down = move(relay, &relay->peer);
		up = down < 0 ? -1 : move(relay, &relay->local);
	}
	if (down < 0 || up < 0) {
		relay_free(relay);
		return;
	}
	tell_ends(relay);
	if (relay->local.told && relay->peer.told) {
		relay_free(relay);
		return;
	}
	events = wants(&relay->peer, &relay->local);
	if (events & XN_IO_READ && xn_tls_has_input(relay->tls))
		xn_loop_defer(relay->loop, &relay->job, XN_PRIO_EVENT, on_job);
	watch(&relay->peer, xn_tls_events(relay->tls, events));
	watch(&relay->local, wants(&relay->local, &relay->peer));
}

static void on_job(struct xn_job *job)
{
	pump(xn_container_of(job, struct xn_tls_relay, job));
}

static void on_ready(int fd, int events, void *arg)
{
	pump(arg);
}

static void on_wake(void *arg)
{
	/* Handshakes are over: nothing wakes a relay but its descriptors. */
}

int xn_tls_relay_begin(struct xn_loop *loop, struct xn_list *relays, struct xn_tls_conn *tls,
		       int fd, unsigned *count)
{
	struct xn_tls_relay *relay;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		int error = errno;

		xn_tls_conn_free(tls);
		close(fd);
		--*count;
		return -error;
	}
	relay = xn_calloc(1, sizeof(*relay));
	relay->loop = loop;
	relay->tls = tls;
	relay->count = count;
	relay->peer.fd = fd;
	relay->local.fd = pair[0];
	xn_tls_conn_set_wake(tls, on_wake, relay);
	relay->peer.io = xn_io_new(loop, fd, 0, on_ready, relay);
	relay->local.io = xn_io_new(loop, pair[0], 0, on_ready, relay);
	xn_list_push(relays, &relay->link);
	pump(relay);
	return pair[1];
}
