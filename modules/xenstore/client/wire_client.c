/*
 * The client of a foreign xenstored, on its Unix socket or, where there is none, on the kernel's
 * device. Never blocks: frames are written as the socket takes them, replies find their call by its
 * number, watch events their path by its token (wire_watch.c).
 *
 * Neither xenstored can be restarted under running guests, so a lost connection is a disaster on
 * the host, and said so. Requests fail until it is back; then every path is watched anew, and each
 * watch's first event makes its reader read everything again.
 */
#include "modules/xenstore/client/wire_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


enum {
	READS_A_RUN = 4, /* of a readable socket */
	RETRY_FIRST_MS = 100,
	RETRY_LAST_MS = 5000,
	OUT_KEPT = 64 << 10, /* a buffer that grew beyond this is given back */
};

static void lose(struct xn_xs_wire *wire, const char *why);
static void pump(struct xn_job *job);

/* ---- sending ---- */

static void pump_later(struct xn_xs_wire *wire)
{
	xn_loop_defer(wire->xs->core->loop, &wire->pump, XN_PRIO_OPERATION, pump);
}

void xn_xs_wire_want(struct xn_xs_wire *wire, struct xn_xs_sender *sender)
{
	if (!xn_list_empty(&sender->link))
		return;
	xn_list_push(sender->is_urgent ? &wire->urgent : &wire->senders, &sender->link);
	pump_later(wire);
}

int xn_xs_wire_call(struct xn_xs_wire *wire, enum xn_xs_wire_type type, uint32_t transaction,
		    const struct xn_xs_part *parts, size_t n, xn_xs_answered *answered, void *arg)
{
	struct xn_xs_call *call = xn_list_entry(wire->unused.next, struct xn_xs_call, link);
	int rc = xn_xs_frame_add(&wire->out, type, call->id + XN_XS_WIRE_CALLS, transaction, parts, n);

	if (rc < 0)
		return rc;
	call->id += XN_XS_WIRE_CALLS;
	call->type = type;
	call->answered = answered;
	call->arg = arg;
	xn_list_remove(&call->link);
	xn_list_push(&wire->calls, &call->link);
	return 0;
}

/* How much of what waits may go in one write. */
static size_t next_write(const struct xn_xs_wire *wire)
{
	size_t len = wire->out.len - wire->out_at;
	uint32_t body;

	if (!wire->is_device || len < XN_XS_FRAME_HEADER)
		return len;
	memcpy(&body, wire->out.data + wire->out_at + 12, sizeof(body));
	return XN_XS_FRAME_HEADER + body;
}

static ssize_t write_some(struct xn_xs_wire *wire)
{
	const char *from = wire->out.data + wire->out_at;

	return wire->is_device ? write(wire->fd, from, next_write(wire))
			       : send(wire->fd, from, next_write(wire), MSG_NOSIGNAL);
}

static void flush(struct xn_xs_wire *wire)
{
	ssize_t n = 0;

	if (wire->sent) {
		xn_buf_add(wire->sent, wire->out.data, wire->out.len);
		wire->out.len = 0;
		return;
	}
	while (wire->out_at < wire->out.len && n >= 0) {
		n = write_some(wire);
		if (n > 0)
			wire->out_at += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0 && errno != EAGAIN) {
			lose(wire, strerror(errno));
			return;
		}
	}
	if (wire->out_at == wire->out.len) {
		wire->out.len = wire->out_at = 0;
		if (wire->out.cap > OUT_KEPT)
			xn_buf_clear(&wire->out);
	}
	xn_io_set(wire->io, XN_IO_READ | (wire->out.len ? XN_IO_WRITE : 0));
}

static struct xn_list *next_sender(struct xn_xs_wire *wire)
{
	struct xn_list *link = xn_list_pop(&wire->urgent);

	return link ? link : xn_list_pop(&wire->senders);
}

/* Nothing can be sent, and nobody is told so from inside its own call: they fail here. */
static void fail_senders(struct xn_xs_wire *wire)
{
	struct xn_list *link;

	while ((link = next_sender(wire))) {
		struct xn_xs_sender *sender = xn_list_entry(link, struct xn_xs_sender, link);

		sender->fail(sender);
	}
}

static void pump(struct xn_job *job)
{
	struct xn_xs_wire *wire = xn_container_of(job, struct xn_xs_wire, pump);
	struct xn_list *link;

	if (!wire->is_up) {
		fail_senders(wire);
		return;
	}
	while (!xn_list_empty(&wire->unused) && (link = next_sender(wire))) {
		struct xn_xs_sender *sender = xn_list_entry(link, struct xn_xs_sender, link);

		if (sender->send(sender))
			xn_list_push(sender->is_urgent ? &wire->urgent : &wire->senders, link);
	}
	flush(wire);
}

/* ---- replies ---- */

static int result_of(const struct xn_xs_call *call, const struct xn_xs_frame *frame)
{
	const char *name;
	size_t at = 0, len;

	if (frame->type == XN_XS_WIRE_ERROR) {
		name = xn_xs_frame_string(frame, &at, &len);
		return name ? xn_xs_error_parse(name, len) : -EIO;
	}
	if (frame->type != call->type)
		return -EPROTO;
	return frame->body ? 0 : -E2BIG;
}

static void end_call(struct xn_xs_wire *wire, struct xn_xs_call *call, int rc,
		     const struct xn_xs_frame *reply)
{
	xn_xs_answered *answered = call->answered;

	call->answered = NULL;
	xn_list_remove(&call->link);
	xn_list_push(&wire->unused, &call->link);
	answered(wire, rc, reply, call->arg);
}

static int on_frame(struct xn_xs_wire *wire, const struct xn_xs_frame *frame)
{
	struct xn_xs_call *call = &wire->slots[frame->request % XN_XS_WIRE_CALLS];
	int rc;

	if (frame->type == XN_XS_WIRE_WATCH_EVENT)
		return xn_xs_wire_event(wire, frame);
	if (call->id != frame->request || !call->answered)
		return -EPROTO;
	rc = result_of(call, frame);
	if (rc == -EPROTO)
		return rc;
	end_call(wire, call, rc, frame);
	return 0;
}

/* False: the connection is lost. */
static bool take_frames(struct xn_xs_wire *wire)
{
	struct xn_xs_frame frame;
	int rc;

	while ((rc = xn_xs_reader_next(wire->in, &frame)) > 0) {
		rc = on_frame(wire, &frame);
		if (rc < 0)
			break;
	}
	if (rc < 0) {
		lose(wire, "it does not speak the protocol");
		return false;
	}
	return true;
}

static void on_ready(int fd, int events, void *arg)
{
	struct xn_xs_wire *wire = arg;
	size_t room;
	ssize_t n = 1;

	for (unsigned i = 0; i < READS_A_RUN && n > 0 && (events & XN_IO_READ); i++) {
		char *to = xn_xs_reader_room(wire->in, &room);

		n = read(fd, to, room);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			lose(wire, n ? strerror(errno) : "it was closed");
			return;
		}
		if (n < 0)
			break;
		xn_xs_reader_added(wire->in, (size_t)n);
		if (!take_frames(wire))
			return;
		if ((size_t)n < room)
			break;
	}
	pump(&wire->pump);
}

/* ---- the connection ---- */

static void disconnect(struct xn_xs_wire *wire)
{
	xn_io_free(wire->io);
	wire->io = NULL;
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
	wire->is_up = false;
	wire->out.len = wire->out_at = 0;
	if (wire->in)
		memset(wire->in, 0, sizeof(*wire->in));
}

static void fail_calls(struct xn_xs_wire *wire)
{
	while (!xn_list_empty(&wire->calls))
		end_call(wire, xn_list_entry(wire->calls.next, struct xn_xs_call, link), -EIO, NULL);
}

static int open_device(struct xn_xs_wire *wire)
{
	static const char *const devices[] = {"/dev/xen/xenbus", "/proc/xen/xenbus"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(devices); i++) {
		wire->fd = open(devices[i], O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (wire->fd < 0)
			continue;
		wire->is_device = true;
		snprintf(wire->address, sizeof(wire->address), "%s", devices[i]);
		return 0;
	}
	return -errno;
}

static int open_socket(struct xn_xs_wire *wire, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int rc;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	wire->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (wire->fd < 0)
		return -errno;
	if (connect(wire->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		rc = -errno;
		close(wire->fd);
		wire->fd = -1;
		return rc;
	}
	wire->is_device = false;
	snprintf(wire->address, sizeof(wire->address), "%s", path);
	return 0;
}

/* Where xenstored's own library looks, in its order. */
static int open_any(struct xn_xs_wire *wire)
{
	static const char *const sockets[] = {"/run/xenstored/socket",
					      "/var/run/xenstored/socket"};
	const char *named = getenv("XENSTORED_PATH");
	int rc;

	if (named && *named)
		return open_socket(wire, named);
	for (size_t i = 0; i < XN_ARRAY_SIZE(sockets); i++) {
		rc = open_socket(wire, sockets[i]);
		if (!rc)
			return 0;
	}
	return open_device(wire) < 0 ? rc : 0;
}

static int connect_now(struct xn_xs_wire *wire)
{
	int rc = open_any(wire);

	if (rc < 0)
		return rc;
	wire->is_up = true;
	wire->io = xn_io_new(wire->xs->core->loop, wire->fd, XN_IO_READ, on_ready, wire);
	return 0;
}

static void on_retry(struct xn_timer *timer)
{
	struct xn_xs_wire *wire = xn_container_of(timer, struct xn_xs_wire, retry);

	if (connect_now(wire) < 0) {
		wire->retry_ms = wire->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS
								    : wire->retry_ms * 2;
		xn_timer_arm(timer->loop, timer, wire->retry_ms * 1000, on_retry);
		return;
	}
	xn_log_info(wire->xs->core->log, "xenstore",
		    "connected to xenstored at %s again; reading everything anew", wire->address);
	xn_xs_wire_watch_all(wire);
}

static void lose(struct xn_xs_wire *wire, const char *why)
{
	xn_log_error(wire->xs->core->log, "xenstore",
		     "lost the connection to xenstored at %s: %s; nothing that domains do is seen "
		     "until it is back",
		     wire->address, why);
	disconnect(wire);
	xn_xs_wire_watches_lost(wire);
	fail_calls(wire);
	fail_senders(wire);
	if (wire->sent)
		return;
	wire->retry_ms = RETRY_FIRST_MS;
	xn_timer_arm(wire->xs->core->loop, &wire->retry, wire->retry_ms * 1000, on_retry);
}

/* ---- the client ---- */

static int wire_start(struct xn_xenstore *xs, struct xn_error *err)
{
	struct xn_xs_wire *wire = xs->client;
	int rc = connect_now(wire);

	if (rc < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "cannot connect to xenstored: %s (is it running? its socket "
				     "is /run/xenstored/socket, or named by XENSTORED_PATH)",
				     strerror(-rc));
	xn_log_info(xs->core->log, "xenstore", "connected to xenstored at %s", wire->address);
	xn_xs_wire_watch_all(wire);
	return 0;
}

static void wire_begin(struct xn_xs_request *request)
{
	if (request->is_snapshot)
		xn_xs_wire_snapshot(request->xs->client, request);
	else
		xn_xs_wire_write(request->xs->client, request);
}

static void wire_forget(struct xn_xs_request *request)
{
	if (request->is_snapshot)
		xn_xs_wire_snapshot_forget(request);
	else
		xn_xs_wire_write_forget(request);
}

static void wire_free(struct xn_xenstore *xs)
{
	struct xn_xs_wire *wire = xs->client;

	xn_timer_cancel(&wire->retry);
	disconnect(wire);
	fail_calls(wire); /* forgotten requests and watches end with their last call */
	fail_senders(wire);
	xn_job_cancel(&wire->pump);
	xn_job_cancel(&wire->deliver);
	xn_hmap_clear(&wire->spots);
	xn_buf_clear(&wire->out);
	free(wire->in);
	free(wire);
}

const struct xn_xs_client_ops xn_xs_wire_ops = {
	.name = "system",
	.start = wire_start,
	.free = wire_free,
	.begin = wire_begin,
	.forget = wire_forget,
	.watch = xn_xs_wire_watch,
	.unwatch = xn_xs_wire_unwatch,
};

void xn_xs_wire_new(struct xn_xenstore *xs)
{
	struct xn_xs_wire *wire = xn_calloc(1, sizeof(*wire));

	wire->xs = xs;
	wire->fd = -1;
	wire->in = xn_calloc(1, sizeof(*wire->in));
	xn_list_init(&wire->calls);
	xn_list_init(&wire->unused);
	xn_list_init(&wire->urgent);
	xn_list_init(&wire->senders);
	xn_list_init(&wire->writings);
	xn_list_init(&wire->ready);
	for (uint32_t i = 0; i < XN_XS_WIRE_CALLS; i++) {
		wire->slots[i].id = i;
		xn_list_push(&wire->unused, &wire->slots[i].link);
	}
	xs->client = wire;
	xs->ops = &xn_xs_wire_ops;
}

/* ---- without a connection ---- */

void xn_xs_wire_detach(struct xn_xenstore *xs, struct xn_buf *sent)
{
	struct xn_xs_wire *wire = xs->client;

	wire->sent = sent;
	wire->is_up = true;
}

void xn_xs_wire_input(struct xn_xenstore *xs, const void *bytes, size_t len)
{
	struct xn_xs_wire *wire = xs->client;
	const char *from = bytes;

	while (len && wire->is_up) {
		size_t room;
		char *to = xn_xs_reader_room(wire->in, &room);

		room = room < len ? room : len;
		memcpy(to, from, room);
		xn_xs_reader_added(wire->in, room);
		from += room;
		len -= room;
		if (take_frames(wire))
			pump(&wire->pump);
	}
}
