/*
 * A connection: takes requests from its link, has them carried out (requests.c), sends replies and
 * watch events. It buffers little: what a turn reads and answers lies in the server's own buffers,
 * and only what is left at its end, part of a request or what the peer does not read yet, is kept
 * and charged to the domain. Events wait in the store until there is room for them.
 *
 * A turn takes a bounded number of requests. Who has more, or brought many the last time, joins the
 * work of its domain's share (server.c), where domains take turns; other peers of the control domain
 * are served at once, so they never stand behind a busy one for more than one turn. Whose replies are not read is
 * not asked for more requests.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

static size_t unsent(const struct xn_xs_connection *connection)
{
	return connection->out.len - connection->out_from;
}

static bool is_stalled(const struct xn_xs_connection *connection)
{
	return unsent(connection) > connection->most_unsent ||
	       (unsent(connection) && xn_xs_domain_is_full(connection->domain));
}

static void flush_later(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;

	if (!xn_list_empty(&connection->dirty))
		return;
	xn_list_push(&server->dirty, &connection->dirty);
	/* Above that the loop would not look at its descriptors for as long as guests cause events. */
	xn_loop_defer(server->core->loop, &server->flush, XN_PRIO_REFRESH, xn_xs_server_flush);
}

static void on_events_wait(void *arg)
{
	flush_later(arg);
}

/* What the turn has left behind: who is asked for more, and what it costs the domain. */
static void settle(struct xn_xs_connection *connection)
{
	size_t bytes = connection->in.len + unsent(connection);
	bool input, output = unsent(connection) > 0 && xn_list_empty(&connection->dirty);

	if (bytes > connection->charged)
		xn_xs_domain_charge(connection->domain, bytes - connection->charged);
	else if (bytes < connection->charged)
		xn_xs_domain_discharge(connection->domain, connection->charged - bytes);
	connection->charged = bytes;
	/* All went out, and nobody will tell that there is room: the next ones' turn. */
	if (!output && xn_xs_conn_n_events(connection->conn))
		flush_later(connection);
	input = xn_list_empty(&connection->work) && !connection->is_held &&
		!connection->has_whole && !is_stalled(connection);
	if (connection->wants_input == input && connection->wants_output == output)
		return;
	connection->wants_input = input;
	connection->wants_output = output;
	connection->link->ops->want(connection->link, input, output);
}

/* ---- the end ---- */

static void free_connection(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;

	xn_timer_cancel(&connection->hold);
	xn_list_remove(&connection->all);
	xn_list_remove(&connection->work);
	xn_list_remove(&connection->dirty);
	server->n_connections--;
	xn_xs_share_leave(connection);
	connection->link->ops->close(connection->link);
	xn_xs_domain_discharge(connection->domain, connection->charged);
	xn_xs_conn_free(connection->conn);
	xn_buf_clear(&connection->in);
	xn_buf_clear(&connection->out);
	free(connection);
}

void xn_xs_server_drop(struct xn_xs_connection *connection)
{
	connection->is_over = true;
	if (!connection->is_busy)
		free_connection(connection);
}

/* What hangs on the connection goes; a kept one's peer may begin anew. */
static void strip(struct xn_xs_connection *connection)
{
	xn_xs_conn_reset(connection->conn);
	xn_buf_clear(&connection->in);
	xn_buf_clear(&connection->out);
	connection->out_from = 0;
	connection->has_whole = connection->has_more = false;
	xn_xs_kept_unwatch(connection, NULL, NULL);
}

/* Recorded before the peer can see it: a ring whose reset was not finished asks for it again. */
void xn_xs_connection_reset(struct xn_xs_connection *connection)
{
	struct xn_xs_link *link = connection->link;

	xn_xs_kept_begin(connection);
	strip(connection);
	connection->out_at = 0;
	xn_xs_kept_input(connection, 0, NULL, 0);
	xn_xs_kept_output(connection, NULL, 0, 0);
	xn_xs_kept_end(connection);
	if (link->ops->reset)
		link->ops->reset(link);
}

void xn_xs_server_reset_domain(struct xn_xs_server *server, struct xn_xs_domain *domain)
{
	xn_list_each(link, &server->connections)
	{
		struct xn_xs_connection *connection =
			xn_list_entry(link, struct xn_xs_connection, all);

		if (connection->domain != domain)
			continue;
		xn_xs_connection_reset(connection);
		settle(connection);
	}
}

/* The link says that it is over, or begins anew, or that what comes on it is nonsense. */
static void on_failure(struct xn_xs_connection *connection, int rc)
{
	if (!connection->link->ops->refuse)
		connection->is_over = true;
	else if (rc == -ECONNRESET)
		xn_xs_connection_reset(connection);
	else
		strip(connection);
}

/* ---- output ---- */

/* Sends what the turn has made; what does not go out now is kept behind what is kept already. */
static void send_turn(struct xn_xs_connection *connection)
{
	struct xn_buf *turn = &connection->server->out;
	ssize_t n = 0;

	if (!turn->len || connection->is_over)
		return;
	/*
	 * Other peers of the control domain have sent something, too: their replies go out one right
	 * behind the other. A process that has many connections then wakes up once for all of them.
	 */
	if (!connection->domain->domid && xn_loop_clients_wait(connection->server->core->loop)) {
		flush_later(connection);
	} else if (!unsent(connection)) {
		n = connection->link->ops->write(connection->link, turn->data, turn->len);
		if (n < 0) {
			on_failure(connection, (int)n);
			return;
		}
		xn_xs_kept_sent(connection);
	}
	if ((size_t)n < turn->len)
		xn_buf_add(&connection->out, turn->data + n, turn->len - (size_t)n);
}

static void send_kept(struct xn_xs_connection *connection)
{
	ssize_t n;

	if (!unsent(connection))
		return;
	n = connection->link->ops->write(connection->link,
					 connection->out.data + connection->out_from,
					 unsent(connection));
	if (n < 0) {
		on_failure(connection, (int)n);
		return;
	}
	xn_xs_kept_sent(connection);
	connection->out_from += (size_t)n;
	if (!unsent(connection)) {
		xn_buf_clear(&connection->out);
		connection->out_from = 0;
	} else if (connection->out_from > XN_XS_UNSENT_GUEST) {
		xn_buf_drop(&connection->out, connection->out_from);
		connection->out_from = 0;
	}
}

/* Events that wait, as far as there is room, behind what the turn has made. */
static void take_events(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;
	struct xn_buf *turn = &server->out;
	struct xn_xs_event event;

	while (unsent(connection) + turn->len <= connection->most_unsent &&
	       xn_xs_conn_first_event(connection->conn, &event)) {
		const struct xn_xs_part parts[] = {{event.path, event.path_len + 1},
						   {event.token, event.token_len + 1}};
		size_t at = turn->len;

		/* One that is too long for a frame cannot be told; the same rule as everywhere. */
		if (!xn_xs_frame_add(turn, XN_XS_WIRE_WATCH_EVENT, 0, 0, parts, 2))
			server->n_events++;
		xn_xs_kept_output(connection, turn->data + at, turn->len - at, 1);
		xn_xs_conn_pop_event(connection->conn);
	}
}

void xn_xs_connection_flush(struct xn_xs_connection *connection)
{
	connection->is_busy = true;
	connection->server->out.len = 0;
	send_kept(connection);
	if (!connection->is_over) {
		take_events(connection);
		send_turn(connection);
	}
	connection->is_busy = false;
	if (connection->is_over) {
		free_connection(connection);
		return;
	}
	/* What had to wait for room goes on: the peer was read empty here, nobody else will tell. */
	if ((connection->has_more || connection->has_whole) && !connection->is_held &&
	    !is_stalled(connection))
		xn_xs_share_work(connection);
	settle(connection);
}

/* ---- input ---- */

/* As the C xenstored does it: who causes an event to itself reads it before the reply. */
static void put_events_before(struct xn_xs_connection *connection, size_t at)
{
	struct xn_buf *turn = &connection->server->out;
	char reply[XN_XS_FRAME_HEADER + 32];
	size_t len = turn->len - at;

	if (len > sizeof(reply))
		return;
	memcpy(reply, turn->data + at, len);
	turn->len = at;
	take_events(connection);
	xn_buf_add(turn, reply, len);
}

static void serve_one(struct xn_xs_connection *connection, const struct xn_xs_frame *frame,
		      uint32_t in_at)
{
	struct xn_xs_server *server = connection->server;
	size_t at = server->out.len;

	connection->n_requests++;
	xn_xs_kept_begin(connection);
	xn_xs_serve(connection, frame, &server->out);
	if (xn_xs_conn_n_events(connection->conn) && xn_xs_wire_is_change(frame->type)) {
		size_t len = server->out.len - at;

		put_events_before(connection, at);
		at = server->out.len - len;
	}
	xn_xs_kept_output(connection, server->out.data + at, server->out.len - at, 0);
	if (xn_xs_conn_n_events(connection->conn))
		take_events(connection);
	xn_xs_kept_input(connection, in_at, NULL, 0);
	xn_xs_kept_end(connection);
}

/* Reads into the server's buffer, behind what is there already. How many bytes are there then. */
static size_t take_input(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;
	size_t len = connection->in.len;
	ssize_t n;

	if (len)
		memcpy(server->in, connection->in.data, len);
	if (connection->has_whole)
		return len;
	n = connection->link->ops->read(connection->link, 0, server->in + len, XN_XS_READ_SIZE);
	if (n < 0) {
		on_failure(connection, (int)n);
		return 0;
	}
	connection->has_more = n == XN_XS_READ_SIZE;
	return len + (size_t)n;
}

static void on_hold_over(struct xn_timer *timer)
{
	struct xn_xs_connection *connection = xn_container_of(timer, struct xn_xs_connection, hold);

	connection->is_held = false;
	xn_xs_connection_turn(connection);
}

static void on_free(void *arg)
{
	struct xn_xs_connection *connection = arg;

	if (connection->is_held) /* from the loop: another's request is under way */
		xn_timer_arm(connection->server->core->loop, &connection->hold, 0, on_hold_over);
}

static bool is_change(uint32_t type)
{
	return type == XN_XS_WIRE_WRITE || type == XN_XS_WIRE_MKDIR || type == XN_XS_WIRE_RM ||
	       type == XN_XS_WIRE_SET_PERMS;
}

/* Transactions that would only conflict wait for each other, and what comes behind one does, too. */
static bool must_wait(struct xn_xs_connection *connection, const struct xn_xs_frame *frame)
{
	struct xn_loop *loop = connection->server->core->loop;
	int64_t now = xn_now_us(loop);
	uint64_t until = 0;

	if (frame->transaction)
		return false;
	if (frame->type == XN_XS_WIRE_TRANSACTION_START)
		until = xn_xs_conn_hold_until(connection->conn, (uint64_t)now);
	else if (is_change(frame->type))
		until = xn_xs_conn_yield_until(connection->conn, (uint64_t)now);
	else
		return false;
	if (!until)
		return false;
	connection->is_held = true;
	connection->server->n_held++;
	xn_xs_conn_when_free(connection->conn, on_free, connection);
	xn_timer_arm(loop, &connection->hold, (int64_t)until - now, on_hold_over);
	return true;
}

/* What is left of the server's buffer is kept: the start of a request, or, when there were too many
 * for one turn, whole ones; those of a ring stay in it as far as they can. */
static void keep_input(struct xn_xs_connection *connection, size_t at, size_t len)
{
	struct xn_xs_server *server = connection->server;
	size_t had = connection->in.len, taken = len - had;
	struct xn_xs_frame frame;

	connection->has_whole = xn_xs_frame_parse(server->in + at, len - at, &frame) > 0;
	if (connection->link->ops->is_kept && connection->has_whole) {
		len = at > had ? at : had; /* a request, of which there was the start, may be held */
		taken = len - had;
		connection->has_whole = false; /* it is read again */
		connection->has_more = true;
	}
	if (had)
		xn_buf_clear(&connection->in);
	if (len > at) {
		xn_buf_add(&connection->in, server->in + at, len - at);
		xn_xs_kept_input(connection, connection->link->in_at + (uint32_t)taken,
				 server->in + at, len - at);
	}
	if (taken)
		connection->link->ops->taken(connection->link, taken);
}

static bool is_long_enough(const struct xn_xs_connection *connection)
{
	return connection->domain->domid &&
	       xn_callback_us(connection->server->core->loop) >= XN_XS_GUEST_TURN_US;
}

/* Carries out the requests in the server's buffer. False: what comes there is no request. */
static bool serve_input(struct xn_xs_connection *connection, size_t len)
{
	struct xn_xs_server *server = connection->server;
	uint32_t in_at = connection->link->in_at - (uint32_t)connection->in.len;
	struct xn_xs_frame frame;
	unsigned n;
	size_t at = 0;
	int rc = 0;

	for (n = 0; n < XN_XS_REQUESTS_A_TURN && !connection->is_over; n++) {
		if (unsent(connection) + server->out.len > connection->most_unsent)
			break;
		rc = xn_xs_frame_parse(server->in + at, len - at, &frame);
		if (rc <= 0 || must_wait(connection, &frame))
			break;
		at += XN_XS_FRAME_HEADER + frame.len;
		serve_one(connection, &frame, in_at + (uint32_t)at);
		if (is_long_enough(connection))
			break;
	}
	connection->is_greedy = n > XN_XS_MODEST_REQUESTS;
	if (rc < 0)
		return false;
	keep_input(connection, at, len);
	return true;
}

/* Never more than the limit beyond which it closes connections: a peer that breaks it. */
static void refuse_input(struct xn_xs_connection *connection)
{
	connection->server->n_broken++;
	on_failure(connection, -EPROTO);
	if (connection->link->ops->refuse)
		connection->link->ops->refuse(connection->link);
}

static void take_turn(struct xn_xs_connection *connection)
{
	size_t len;
	bool is_fine = true;

	connection->has_more = false;
	send_kept(connection);
	if (connection->is_over || is_stalled(connection))
		return;
	connection->server->out.len = 0;
	len = take_input(connection);
	if (connection->is_over)
		return;
	if (len > connection->in.len || connection->has_whole)
		is_fine = serve_input(connection, len);
	send_turn(connection);
	if (!is_fine)
		refuse_input(connection);
}

/* One long list must not keep its room for ever. */
static void trim(struct xn_buf *buf)
{
	if (buf->cap > (size_t)4 * XN_XS_UNSENT_SOCKET)
		xn_buf_clear(buf);
}

void xn_xs_connection_turn(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;

	connection->is_busy = true;
	if (!connection->is_held) {
		take_turn(connection);
		xn_histogram_observe(&server->turn_times, xn_callback_us(server->core->loop));
		trim(&server->out);
		trim(&server->scratch);
	}
	connection->is_busy = false;
	if (connection->is_over) {
		free_connection(connection);
		return;
	}
	if (is_stalled(connection))
		server->n_stalls++;
	else if (!connection->is_held && (connection->has_more || connection->has_whole))
		xn_xs_share_work(connection);
	settle(connection);
}

static void on_ready(struct xn_xs_link *link, void *arg)
{
	struct xn_xs_connection *connection = arg;

	if (!xn_list_empty(&connection->work) || connection->is_held)
		xn_xs_connection_flush(connection);
	else if (connection->domain->domid != 0 || connection->is_greedy)
		xn_xs_share_work(connection);
	else
		xn_xs_connection_turn(connection);
}

/* ---- the beginning ---- */

static void go_on(struct xn_xs_connection *connection, const struct xn_xs_kept_ring *kept)
{
	struct xn_xs_frame frame;

	if (kept->partial_len)
		xn_buf_add(&connection->in, kept->partial, kept->partial_len);
	if (kept->unsent_len)
		xn_buf_add(&connection->out, kept->unsent, kept->unsent_len);
	connection->out_at = kept->out_at + (uint32_t)kept->unsent_len;
	connection->has_whole =
		xn_xs_frame_parse(connection->in.data, connection->in.len, &frame) > 0;
	xn_xs_conn_lost_transactions(connection->conn, kept->highest_transaction);
}

struct xn_xs_connection *xn_xs_server_add_link(struct xn_xs_server *server,
					       struct xn_xs_domain *domain,
					       struct xn_xs_link *link,
					       const struct xn_xs_kept_ring *kept)
{
	struct xn_xs_connection *connection = xn_calloc(1, sizeof(*connection));

	connection->server = server;
	connection->domain = domain;
	connection->link = link;
	connection->is_kept = link->ops->is_kept && server->journal;
	connection->most_unsent = domain->domid || link->ops->is_kept ? XN_XS_UNSENT_GUEST
								      : XN_XS_UNSENT_SOCKET;
	connection->id = ++server->last_id;
	connection->out_at = link->out_at;
	connection->conn = kept ? kept->conn : xn_xs_conn_new(domain);
	xn_list_push(&server->connections, &connection->all);
	xn_list_init(&connection->work);
	xn_list_init(&connection->dirty);
	server->n_connections++;
	xn_xs_share_join(connection);
	xn_xs_conn_take_events(connection->conn, on_events_wait, connection);
	if (connection->is_kept)
		xn_xs_conn_keep(connection->conn);
	link->arg = connection;
	link->on_ready = on_ready;
	if (kept) {
		go_on(connection, kept);
		if (xn_xs_conn_n_events(connection->conn))
			on_events_wait(connection);
		if (connection->has_whole)
			xn_xs_share_work(connection);
	}
	settle(connection);
	return connection;
}
