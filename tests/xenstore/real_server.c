/*
 * The server, by frames on links in memory; see real.h. Also with a journal, in memory, and kills: at
 * that instant the journal's files are copied, what the server still does is heard by nobody, and then
 * another daemon starts on the copy.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer.h"
#include "real.h"

struct real {
	struct peer_daemon daemon;
	struct peer *peers[M_CONNS];
	uint32_t domids[M_CONNS];
	struct xn_xs_media *media, *kept; /* kept: as it was at the kill */
	struct xn_xs_ring_page pages[M_CONNS]; /* likewise */
	unsigned countdown;
	bool was_killed;
};

static void *server_open(uint64_t seed)
{
	struct real *real = xn_calloc(1, sizeof(*real));

	peer_daemon_start(&real->daemon);
	real_set_limits(real->daemon.store);
	return real;
}

static void server_close(void *arg)
{
	struct real *real = arg;

	peer_daemon_stop(&real->daemon);
	if (real->media)
		xn_xs_media_memory_destroy(real->media);
	free(real);
}

/* ---- kills ---- */

struct copying {
	struct xn_xs_media *from, *to;
};

static void copy_file(const char *name, uint64_t size, void *arg)
{
	struct copying *c = arg;
	struct xn_xs_map from, to;
	int rc = c->from->ops->map(c->from, name, &from);

	if (!rc)
		rc = c->to->ops->create(c->to, name, from.len, &to);
	assert(!rc);
	if (from.len)
		memcpy(to.bytes, from.bytes, from.len);
	c->to->ops->unmap(c->to, &to);
	c->from->ops->unmap(c->from, &from);
}

static void at_point(void *arg)
{
	struct real *real = arg;
	struct copying c = {real->media, NULL};
	int rc;

	if (!real->countdown || --real->countdown)
		return;
	for (unsigned i = 0; i < M_CONNS; i++)
		if (real->peers[i] && real->peers[i]->guest)
			real->pages[i] = *real->peers[i]->guest->page;
	c.to = real->kept = xn_xs_media_memory_new();
	rc = c.from->ops->list(c.from, copy_file, &c);
	assert(!rc);
	real->daemon.is_dead = true;
}

static int at_call(const char *call, void *arg)
{
	at_point(arg);
	return 0;
}

/* Guests and their pages are where they were. */
static void take_rings_over(struct real *real)
{
	for (unsigned i = 0; i < M_CONNS; i++) {
		struct peer *peer = real->peers[i];

		if (!peer)
			continue;
		peer->guest = xn_xs_twin_guest(real->daemon.twin, real->domids[i]);
		*peer->guest->page = real->pages[i];
		xn_list_push(&real->daemon.peers, &peer->at);
	}
}

static void start_on(struct real *real)
{
	real->media->users = 1; /* the journal's */
	peer_daemon_start_on(&real->daemon, real->media);
	real_set_limits(real->daemon.store);
	take_rings_over(real);
	xn_xs_rings_start(real->daemon.rings);
	real->daemon.at = at_point;
	real->daemon.arg = real;
	xn_loop_virtual_watch(real->daemon.core.loop, at_point, real);
	xn_xs_media_memory_watch(real->media, at_call, real);
}

static void *journal_open(uint64_t seed)
{
	struct real *real = xn_calloc(1, sizeof(*real));

	real->media = xn_xs_media_memory_new();
	start_on(real);
	return real;
}

static void journal_arm(void *arg, unsigned n)
{
	((struct real *)arg)->countdown = n;
}

/* The dead one is taken apart as a living one would be, which nobody sees. */
static void start_again_if_dead(struct real *real)
{
	if (!real->daemon.is_dead)
		return;
	xn_xs_media_memory_watch(real->media, NULL, NULL);
	xn_loop_virtual_watch(real->daemon.core.loop, NULL, NULL);
	real->daemon.at = NULL;
	for (unsigned i = 0; i < M_CONNS; i++)
		if (real->peers[i] && real->peers[i]->guest)
			xn_list_remove(&real->peers[i]->at); /* it lives on */
		else
			real->peers[i] = NULL;
	peer_daemon_stop(&real->daemon);
	xn_xs_media_memory_destroy(real->media);
	real->media = real->kept;
	real->kept = NULL;
	start_on(real);
	real->was_killed = true;
}

static bool journal_was_killed(void *arg)
{
	struct real *real = arg;
	bool was_killed;

	start_again_if_dead(real);
	was_killed = real->was_killed;
	real->was_killed = false;
	return was_killed;
}

static void count_bytes(const char *name, uint64_t size, void *arg)
{
	*(uint64_t *)arg += size;
}

static void journal_set_full(void *arg, bool is_full)
{
	struct real *real = arg;
	uint64_t bytes = 0;

	if (is_full)
		(void)real->media->ops->list(real->media, count_bytes, &bytes);
	xn_xs_media_memory_limit(real->media, bytes);
}

static struct xn_xs_domain *domain(void *arg, uint32_t domid)
{
	return xn_xs_domain_find(((struct real *)arg)->daemon.store, domid);
}

/* As the control domain, over a connection of the moment. */
static void as_dom0(struct real *real, uint32_t type, const char *body, size_t len)
{
	struct peer *peer = peer_new(&real->daemon, domain(real, 0));
	int rc = peer_call(peer, type, 0, body, len, NULL);

	assert(rc == 0);
	peer_free(peer);
}

static void server_domain_add(void *arg, uint32_t domid)
{
	struct xn_xs_domain *fresh = xn_xs_domain_add(((struct real *)arg)->daemon.store, domid);

	assert(fresh);
}

static void server_domain_introduce(void *arg, uint32_t domid)
{
	char body[40];
	int len = snprintf(body, sizeof(body), "%u%c%u%c%u", domid, 0, 1000 + domid, 0, 1) + 1;

	as_dom0(arg, XN_XS_WIRE_INTRODUCE, body, (size_t)len);
	if (((struct real *)arg)->daemon.rings) {
		unsigned conn = REAL_RINGS + domid;
		struct real *real = arg;

		real->domids[conn] = domid;
		real->peers[conn] = peer_new_ring(&real->daemon, domid);
	}
}

static void server_domain_stopped(void *arg, uint32_t domid)
{
	xn_xs_domain_stopped(domain(arg, domid));
}

static void server_domain_resume(void *arg, uint32_t domid)
{
	char body[12];
	int len = snprintf(body, sizeof(body), "%u", domid) + 1;

	as_dom0(arg, XN_XS_WIRE_RESUME, body, (size_t)len);
}

static void server_domain_release(void *arg, uint32_t domid)
{
	char body[12];
	int len = snprintf(body, sizeof(body), "%u", domid) + 1;

	as_dom0(arg, XN_XS_WIRE_RELEASE, body, (size_t)len);
	assert(!domain(arg, domid));
}

static void server_domain_set_target(void *arg, uint32_t domid, uint32_t target)
{
	char body[24];
	int len = snprintf(body, sizeof(body), "%u%c%u", domid, 0, target) + 1;

	as_dom0(arg, XN_XS_WIRE_SET_TARGET, body, (size_t)len);
}

static void server_conn_open(void *arg, unsigned conn, uint32_t domid)
{
	struct real *real = arg;

	real->peers[conn] = peer_new(&real->daemon, domain(arg, domid));
	real->domids[conn] = domid;
	real->peers[conn]->gulp = conn % 3 == 1 ? 7 : 0;
	real->peers[conn]->trickle = conn % 4 == 2 ? 11 : 0;
}

static void server_conn_close(void *arg, unsigned conn)
{
	struct real *real = arg;

	peer_free(real->peers[conn]);
	real->peers[conn] = NULL;
}

/* ---- requests ---- */

static void put_string(struct xn_buf *body, const char *text)
{
	xn_buf_add(body, text, strlen(text) + 1);
}

static void put_body(const struct m_request *q, struct xn_buf *body)
{
	switch ((enum xn_xs_wire_type)q->type) {
	case XN_XS_WIRE_TRANSACTION_START:
	case XN_XS_WIRE_RESET_WATCHES:
		put_string(body, "");
		return;
	case XN_XS_WIRE_TRANSACTION_END:
		put_string(body, q->commit ? "T" : "F");
		return;
	default:
		put_string(body, q->path);
	}
	if (q->type == XN_XS_WIRE_WRITE)
		xn_buf_add_string(body, q->value);
	for (unsigned i = 0; i < q->perms.n; i++)
		xn_buf_printf(body, "%c%u%c", q->perms.aces[i].letter,
			      q->perms.aces[i].who.domid, 0);
	if (q->type == XN_XS_WIRE_WATCH || q->type == XN_XS_WIRE_UNWATCH)
		put_string(body, q->token);
	if (q->type == XN_XS_WIRE_WATCH && q->depth != M_NO_DEPTH)
		xn_buf_printf(body, "%d%c", q->depth, 0);
}

static bool has_strings(uint32_t type)
{
	return type == XN_XS_WIRE_DIRECTORY || type == XN_XS_WIRE_GET_PERMS;
}

/* A ring's answer comes, though from another daemon if need be. */
static int ask(struct real *real, unsigned conn, uint32_t type, uint32_t tx,
	       const struct xn_buf *body, struct peer_frame *frame)
{
	struct peer *peer = real->peers[conn];
	uint32_t request = peer_send(peer, type, tx, body->data, body->len);
	int rc = peer_wait(peer, request, type, tx, frame);

	while (rc == -ENOTCONN && peer->guest && real->daemon.is_dead) {
		start_again_if_dead(real);
		rc = peer_wait(peer, request, type, tx, frame);
	}
	return rc;
}

static void server_request(void *arg, unsigned conn, uint32_t tx, const struct m_request *q,
			   struct m_answer *out)
{
	struct real *real = arg;
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	struct peer_frame frame = {0};

	memset(out, 0, sizeof(*out));
	put_body(q, &body);
	out->rc = ask(real, conn, q->type, tx, &body, &frame);
	if (out->rc)
		return;
	if (q->type == XN_XS_WIRE_READ || q->type == XN_XS_WIRE_TRANSACTION_START ||
	    has_strings(q->type)) {
		assert(frame.len < sizeof(out->text));
		memcpy(out->text, frame.body, frame.len);
	} else if (strcmp(frame.body, "OK") != 0 || frame.len != 3) {
		out->rc = -EPROTO;
	}
	for (uint32_t i = 0; i < frame.len && has_strings(q->type); i++)
		if (!out->text[i])
			out->text[i] = ',';
}

/* ---- what is no request ---- */

#define BODY(text) text, sizeof(text) - 1
static const struct {
	uint32_t type;
	const char *body;
	size_t len;
	const char *error, *for_guests; /* NULL: the same */
} junk[] = {
	{99, BODY(""), "ENOSYS"},
	{0xffffffff, BODY("/\0"), "ENOSYS"},
	{XN_XS_WIRE_WATCH_EVENT, BODY("/\0t\0"), "ENOSYS"},
	{XN_XS_WIRE_ERROR, BODY("EIO\0"), "ENOSYS"},
	{XN_XS_WIRE_READ, BODY(""), "EINVAL"},
	{XN_XS_WIRE_READ, BODY("/"), "EINVAL"},
	{XN_XS_WIRE_READ, BODY("/\0/\0"), "EINVAL"},
	{XN_XS_WIRE_READ, BODY("/a//b\0"), "EINVAL"},
	{XN_XS_WIRE_READ, BODY("/local/domain/\0"), "EINVAL"},
	{XN_XS_WIRE_WRITE, BODY("/local/domain/\0v"), "EINVAL"},
	{XN_XS_WIRE_WRITE, BODY("/a b\0v"), "EINVAL"},
	{XN_XS_WIRE_WRITE, BODY("/a"), "EINVAL"},
	{XN_XS_WIRE_MKDIR, BODY("\0"), "EINVAL"},
	{XN_XS_WIRE_RM, BODY("/\0"), "EINVAL"},
	{XN_XS_WIRE_RM, BODY("/s/\0"), "EINVAL"},
	{XN_XS_WIRE_DIRECTORY, BODY("@releaseDomain\0"), "EINVAL"},
	{XN_XS_WIRE_DIRECTORY_PART, BODY("/\0"), "EINVAL"},
	{XN_XS_WIRE_SET_PERMS, BODY("/s\0"), "EINVAL"},
	{XN_XS_WIRE_SET_PERMS, BODY("/s\0x1\0"), "EINVAL"},
	{XN_XS_WIRE_WATCH, BODY("/s\0"), "EINVAL"},
	{XN_XS_WIRE_WATCH, BODY("/s/\0t\0"), "EINVAL"},
	{XN_XS_WIRE_WATCH, BODY("/s\0t\0-1\0"), "EINVAL"},
	{XN_XS_WIRE_UNWATCH, BODY("/s\0"), "EINVAL"},
	{XN_XS_WIRE_TRANSACTION_END, BODY("X\0"), "EINVAL"},
	{XN_XS_WIRE_INTRODUCE, BODY("1\0"), "EINVAL", "EACCES"},
	{XN_XS_WIRE_RELEASE, BODY("0\0"), "EINVAL", "EACCES"},
	{XN_XS_WIRE_RELEASE, BODY("31000\0"), "ENOENT", "EACCES"},
	{XN_XS_WIRE_SET_TARGET, BODY("31000\0000\0"), "ENOENT", "EACCES"},
	{XN_XS_WIRE_RESUME, BODY("31000\0"), "ENOENT", "EACCES"},
	{XN_XS_WIRE_CONTROL, BODY("no such command\0"), "EINVAL", "EACCES"},
};

/* A length that cannot be. */
static bool no_frame(struct real *real, unsigned conn, uint32_t len)
{
	const uint32_t header[4] = {XN_XS_WIRE_READ, 1, 0, len};

	peer_put(real->peers[conn], header, sizeof(header));
	peer_daemon_settle(&real->daemon);
	return !real->peers[conn]->connection;
}

static const char *server_junk(void *arg, unsigned conn, unsigned kind, bool *is_closed_out)
{
	static const uint32_t lengths[] = {4097, 0x7fffffff, 0x80000000, 0xffffffff};
	struct real *real = arg;
	struct peer_frame answer;
	const char *error;

	kind %= XN_ARRAY_SIZE(junk) + XN_ARRAY_SIZE(lengths);
	if (kind >= XN_ARRAY_SIZE(junk) && real->peers[conn]->guest)
		return NULL; /* it would be silent from then on */
	if (kind >= XN_ARRAY_SIZE(junk)) {
		*is_closed_out = no_frame(real, conn, lengths[kind - XN_ARRAY_SIZE(junk)]);
		return *is_closed_out ? NULL : "no frame was not refused";
	}
	error = junk[kind].error;
	if (junk[kind].for_guests &&
	    real->domids[conn])
		error = junk[kind].for_guests;
	(void)peer_call(real->peers[conn], junk[kind].type, 0, junk[kind].body, junk[kind].len,
			&answer);
	if (answer.type == XN_XS_WIRE_ERROR && strcmp(answer.body, error) == 0)
		return NULL;
	printf("type %u, body %s: ", junk[kind].type, junk[kind].body);
	return answer.type == XN_XS_WIRE_ERROR ? xn_xs_error_name(xn_xs_error_parse(
							 answer.body, strlen(answer.body)))
					       : "it was taken";
}

static bool server_deliver(void *arg, unsigned at_most, real_event *came, void *came_arg)
{
	struct real *real = arg;
	struct peer_frame event;

	for (bool is_moving = true; is_moving;) {
		peer_daemon_settle(&real->daemon);
		is_moving = false;
		for (unsigned i = 0; i < M_CONNS && !real->daemon.is_dead; i++)
			is_moving |= real->peers[i] && peer_pump(real->peers[i]);
	}
	for (unsigned i = 0; i < M_CONNS; i++)
		while (real->peers[i] && peer_take_event(real->peers[i], &event))
			came(i, event.body, event.body + strlen(event.body) + 1, came_arg);
	return false;
}

static int64_t server_nodes_of(void *arg, uint32_t domid)
{
	return (int64_t)domain(arg, domid)->account.nodes;
}

#define OPS \
	.close = server_close, .domain_add = server_domain_add, \
	.domain_introduce = server_domain_introduce, .domain_stopped = server_domain_stopped, \
	.domain_resume = server_domain_resume, .domain_release = server_domain_release, \
	.domain_set_target = server_domain_set_target, .conn_open = server_conn_open, \
	.conn_close = server_conn_close, .request = server_request, .junk = server_junk, \
	.deliver = server_deliver, .nodes_of = server_nodes_of

const struct real_ops real_server_ops = {.name = "server", .open = server_open, OPS};

const struct real_ops real_journal_ops = {
	.name = "journal",
	.has_rings = true,
	.open = journal_open,
	.arm = journal_arm,
	.was_killed = journal_was_killed,
	.set_full = journal_set_full,
	OPS,
};
