/* See peer.h. */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/metrics.h"

/* ---- the link ---- */

static void point(struct peer *peer)
{
	if (peer->daemon->at)
		peer->daemon->at(peer->daemon->arg);
}

static struct peer *peer_of(struct xn_xs_link *link)
{
	return xn_container_of(link, struct peer, link);
}

static size_t waiting(const struct peer *peer)
{
	return peer->to_server.len - peer->n_sent;
}

static size_t room_left(const struct peer *peer)
{
	size_t unread = peer->from_server.len - peer->n_taken;

	return peer->room > unread ? peer->room - unread : 0;
}

static void on_ready(struct xn_job *job)
{
	struct peer *peer = xn_container_of(job, struct peer, ready);

	if (peer->daemon->is_dead)
		return;
	if (peer->connection && ((peer->wants_input && waiting(peer)) ||
				 (peer->wants_output && room_left(peer))))
		peer->link.on_ready(&peer->link, peer->link.arg);
	/* As a poll would say it again. */
	if (peer->connection && ((peer->wants_input && waiting(peer)) ||
				 (peer->wants_output && room_left(peer))))
		xn_loop_defer(peer->daemon->core.loop, &peer->ready, XN_PRIO_EVENT, on_ready);
}

static void look(struct peer *peer)
{
	if (peer->connection)
		xn_loop_defer(peer->daemon->core.loop, &peer->ready, XN_PRIO_EVENT, on_ready);
}

static ssize_t memory_read(struct xn_xs_link *link, size_t offset, void *room, size_t len)
{
	struct peer *peer = peer_of(link);

	if (peer->daemon->is_dead || offset >= waiting(peer))
		return 0;
	if (len > waiting(peer) - offset)
		len = waiting(peer) - offset;
	if (peer->gulp && len > peer->gulp)
		len = peer->gulp;
	memcpy(room, peer->to_server.data + peer->n_sent + offset, len);
	return (ssize_t)len;
}

static void memory_taken(struct xn_xs_link *link, size_t len)
{
	struct peer *peer = peer_of(link);

	point(peer);
	assert(len <= waiting(peer));
	peer->n_sent += len;
	if (!waiting(peer))
		peer->to_server.len = peer->n_sent = 0;
	link->in_at += (uint32_t)len;
}

static ssize_t memory_write(struct xn_xs_link *link, const void *bytes, size_t len)
{
	struct peer *peer = peer_of(link);

	point(peer);
	if (peer->daemon->is_dead)
		return (ssize_t)len;
	if (len > room_left(peer))
		len = room_left(peer);
	if (peer->trickle && len > peer->trickle)
		len = peer->trickle;
	xn_buf_add(&peer->from_server, bytes, len);
	link->out_at += (uint32_t)len;
	return (ssize_t)len;
}

static void memory_want(struct xn_xs_link *link, bool input, bool output)
{
	struct peer *peer = peer_of(link);

	peer->wants_input = input;
	peer->wants_output = output;
	xn_loop_defer(peer->daemon->core.loop, &peer->ready, XN_PRIO_EVENT, on_ready);
}

static void memory_close(struct xn_xs_link *link)
{
	struct peer *peer = peer_of(link);

	peer->connection = NULL;
	xn_job_cancel(&peer->ready);
}

static const struct xn_xs_link_ops memory_ops = {
	.name = "memory",
	.read = memory_read,
	.taken = memory_taken,
	.write = memory_write,
	.want = memory_want,
	.close = memory_close,
};

/* ---- the daemon ---- */

static void deliver(struct xn_job *job)
{
	struct peer_daemon *d = xn_container_of(job, struct peer_daemon, deliver);

	if (xn_xs_store_deliver(d->store, 16))
		xn_loop_defer(d->core.loop, &d->deliver, XN_PRIO_EVENT, deliver);
}

static void on_events_wait(void *arg)
{
	struct peer_daemon *d = arg;

	xn_loop_defer(d->core.loop, &d->deliver, XN_PRIO_EVENT, deliver);
}

static struct xn_xs_journal *open_journal(struct peer_daemon *d, struct xn_xs_media *media)
{
	/* Small, so that there are many of each. */
	const struct xn_xs_journal_options options = {.folder = "memory",
						      .media = media,
						      .history_bytes = 1 << 18,
						      .segment_bytes = 1 << 16,
						      .image_after = 1 << 17};
	struct xn_error err = {0};
	struct xn_xs_journal *journal = xn_xs_journal_open(&d->core, d->store, &options, &err);

	if (!journal)
		fprintf(stderr, "the journal: %s\n", err.n_params ? err.params[0] : err.code);
	assert(journal);
	return journal;
}

void peer_daemon_start_on(struct peer_daemon *d, struct xn_xs_media *media)
{
	*d = (struct peer_daemon){0};
	xn_core_init(&d->core, xn_loop_new_virtual(1), xn_log_new(XN_LOG_ERROR, false, -1),
		     xn_config_new());
	xn_list_init(&d->peers);
	d->store = xn_xs_store_new(on_events_wait, d);
	if (media)
		d->journal = open_journal(d, media);
	d->server = xn_xs_server_new(&d->core, d->store, d->journal);
	if (media) {
		d->twin = xn_xs_twin_new(d->core.loop);
		d->rings = xn_xs_rings_new(&d->core, d->store, d->server, d->journal, d->twin);
	}
}

void peer_daemon_start(struct peer_daemon *d)
{
	peer_daemon_start_on(d, NULL);
}

void peer_daemon_stop(struct peer_daemon *d)
{
	struct xn_core core;

	while (!xn_list_empty(&d->peers))
		peer_free(xn_list_entry(d->peers.next, struct peer, at));
	xn_xs_server_free(d->server);
	xn_xs_rings_free(d->rings);
	xn_xs_journal_close(d->journal);
	xn_job_cancel(&d->deliver);
	xn_xs_store_free(d->store);
	core = d->core;
	xn_core_clear(&d->core);
	xn_config_free(core.config);
	xn_log_free(core.log);
	xn_loop_free(core.loop);
}

void peer_daemon_settle(struct peer_daemon *d)
{
	while (xn_loop_turn(d->core.loop, 0))
		;
}

struct xn_xs_domain *peer_daemon_guest(struct peer_daemon *d, uint32_t domid)
{
	struct xn_xs_domain *domain = xn_xs_domain_add(d->store, domid);
	struct xn_xs_conn *dom0 = xn_xs_conn_new(xn_xs_domain_find(d->store, 0));
	char path[40], perms[12];
	int rc;

	assert(domain);
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	snprintf(perms, sizeof(perms), "n%u", domid);
	rc = xn_xs_conn_mkdir(dom0, 0, path);
	if (!rc)
		rc = xn_xs_conn_set_perms(dom0, 0, path, perms, strlen(perms));
	assert(!rc);
	xn_xs_conn_free(dom0);
	xn_xs_domain_introduce(domain);
	return domain;
}

struct peer *peer_new(struct peer_daemon *d, struct xn_xs_domain *domain)
{
	struct peer *peer = xn_calloc(1, sizeof(*peer));

	peer->daemon = d;
	peer->link.ops = &memory_ops;
	peer->room = SIZE_MAX;
	xn_list_push(&d->peers, &peer->at);
	peer->connection = xn_xs_server_add_link(d->server, domain, &peer->link, NULL);
	return peer;
}

struct peer *peer_new_ring(struct peer_daemon *d, uint32_t domid)
{
	struct peer *peer = xn_calloc(1, sizeof(*peer));

	peer->daemon = d;
	peer->room = SIZE_MAX;
	peer->guest = xn_xs_twin_guest(d->twin, domid);
	xn_list_push(&d->peers, &peer->at);
	return peer;
}

bool peer_pump(struct peer *peer)
{
	size_t sent = 0, came;

	if (!peer->guest)
		return false;
	if (waiting(peer))
		sent = xn_xs_twin_send(peer->guest, peer->to_server.data + peer->n_sent,
				       waiting(peer));
	peer->n_sent += sent;
	if (!waiting(peer))
		peer->to_server.len = peer->n_sent = 0;
	came = xn_xs_twin_receive(peer->guest, xn_buf_reserve(&peer->from_server, 1024), 1024);
	peer->from_server.len += came;
	return sent || came;
}

void peer_free(struct peer *peer)
{
	if (!peer)
		return;
	if (peer->connection)
		xn_xs_server_drop(peer->connection);
	xn_job_cancel(&peer->ready);
	xn_list_remove(&peer->at);
	xn_buf_clear(&peer->to_server);
	xn_buf_clear(&peer->from_server);
	free(peer);
}

void peer_set_room(struct peer *peer, size_t room)
{
	peer->room = room;
	look(peer);
}

/* ---- frames ---- */

void peer_put(struct peer *peer, const void *bytes, size_t len)
{
	xn_buf_add(&peer->to_server, bytes, len);
	look(peer);
}

uint32_t peer_send(struct peer *peer, uint32_t type, uint32_t tx, const void *body, size_t len)
{
	const uint32_t header[4] = {type, ++peer->last_request, tx, (uint32_t)len};

	peer_put(peer, header, sizeof(header));
	if (len)
		peer_put(peer, body, len);
	return peer->last_request;
}

/* The frame at @at of what has come. */
static bool frame_at(const struct peer *peer, size_t at, struct peer_frame *out)
{
	const struct xn_buf *in = &peer->from_server;
	uint32_t header[4];

	if (in->len < at + sizeof(header))
		return false;
	memcpy(header, in->data + at, sizeof(header));
	assert(header[3] <= XN_XS_BODY_MAX);
	if (in->len < at + sizeof(header) + header[3])
		return false;
	*out = (struct peer_frame){
		.type = header[0], .request = header[1], .tx = header[2], .len = header[3]};
	memcpy(out->body, in->data + at + sizeof(header), header[3]);
	return true;
}

static void cut_out(struct peer *peer, size_t at, size_t len)
{
	struct xn_buf *in = &peer->from_server;

	if (at == peer->n_taken) {
		peer->n_taken += len;
	} else {
		memmove(in->data + at, in->data + at + len, in->len - at - len);
		in->len -= len;
	}
	if (peer->n_taken == in->len)
		in->len = peer->n_taken = 0;
	if (peer->wants_output)
		look(peer);
}

static bool take(struct peer *peer, bool (*is_it)(const struct peer_frame *frame, uint32_t number),
		 uint32_t number, struct peer_frame *out)
{
	for (size_t at = peer->n_taken; frame_at(peer, at, out); at += XN_XS_FRAME_HEADER + out->len)
		if (is_it(out, number)) {
			cut_out(peer, at, XN_XS_FRAME_HEADER + out->len);
			return true;
		}
	return false;
}

static bool is_any(const struct peer_frame *frame, uint32_t number)
{
	return true;
}

static bool is_event(const struct peer_frame *frame, uint32_t number)
{
	return frame->type == XN_XS_WIRE_WATCH_EVENT;
}

static bool is_answer(const struct peer_frame *frame, uint32_t number)
{
	return frame->type != XN_XS_WIRE_WATCH_EVENT && frame->request == number;
}

bool peer_take(struct peer *peer, struct peer_frame *out)
{
	return take(peer, is_any, 0, out);
}

bool peer_take_event(struct peer *peer, struct peer_frame *out)
{
	return take(peer, is_event, 0, out);
}

int peer_call(struct peer *peer, uint32_t type, uint32_t tx, const void *body, size_t len,
	      struct peer_frame *out)
{
	return peer_wait(peer, peer_send(peer, type, tx, body, len), type, tx, out);
}

int peer_wait(struct peer *peer, uint32_t request, uint32_t type, uint32_t tx,
	      struct peer_frame *out)
{
	struct peer_frame own, *frame = out ? out : &own;

	while (!take(peer, is_answer, request, frame)) {
		bool is_moving = !peer->daemon->is_dead && peer_pump(peer);

		if (peer->daemon->is_dead ||
		    (!is_moving && !xn_loop_turn(peer->daemon->core.loop, 1000000)))
			return -ENOTCONN;
	}
	if (frame->type == XN_XS_WIRE_ERROR)
		return xn_xs_error_parse(frame->body, strlen(frame->body));
	assert(frame->type == type && frame->tx == tx);
	return 0;
}

/* ---- requests ---- */

/* @first, NUL, @second without one. */
static int two(struct peer *peer, uint32_t type, uint32_t tx, const char *first, const char *second,
	       size_t second_len, struct peer_frame *out)
{
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add(&body, first, strlen(first) + 1);
	xn_buf_add(&body, second, second_len);
	return peer_call(peer, type, tx, body.data, body.len, out);
}

int peer_write(struct peer *peer, uint32_t tx, const char *path, const char *value)
{
	return two(peer, XN_XS_WIRE_WRITE, tx, path, value, strlen(value), NULL);
}

int peer_read(struct peer *peer, uint32_t tx, const char *path, struct peer_frame *out)
{
	return peer_call(peer, XN_XS_WIRE_READ, tx, path, strlen(path) + 1, out);
}

int peer_rm(struct peer *peer, uint32_t tx, const char *path)
{
	return peer_call(peer, XN_XS_WIRE_RM, tx, path, strlen(path) + 1, NULL);
}

int peer_list(struct peer *peer, uint32_t tx, const char *path, struct peer_frame *out)
{
	return peer_call(peer, XN_XS_WIRE_DIRECTORY, tx, path, strlen(path) + 1, out);
}

int peer_set_perms(struct peer *peer, uint32_t tx, const char *path, const char *perms)
{
	char strings[XN_XS_BODY_MAX];
	size_t len = strlen(perms) + 1;

	assert(len <= sizeof(strings));
	for (size_t i = 0; i < len; i++)
		strings[i] = perms[i] == ' ' ? '\0' : perms[i];
	return two(peer, XN_XS_WIRE_SET_PERMS, tx, path, strings, len, NULL);
}

int peer_watch(struct peer *peer, const char *path, const char *token)
{
	return two(peer, XN_XS_WIRE_WATCH, 0, path, token, strlen(token) + 1, NULL);
}

uint32_t peer_begin(struct peer *peer)
{
	struct peer_frame answer;

	if (peer_call(peer, XN_XS_WIRE_TRANSACTION_START, 0, PEER_BODY(""), &answer))
		return 0;
	return (uint32_t)strtoul(answer.body, NULL, 10);
}

int peer_end(struct peer *peer, uint32_t tx, bool commit)
{
	return peer_call(peer, XN_XS_WIRE_TRANSACTION_END, tx, commit ? "T" : "F", 2, NULL);
}

int peer_string(struct peer *peer, uint32_t type, const char *text, struct peer_frame *out)
{
	return peer_call(peer, type, 0, text, strlen(text) + 1, out);
}
