/*
 * A connection: takes requests from its link, has them carried out (requests.c), sends replies and
 * watch events. It buffers little: what a turn reads and answers lies in the server's own buffers,
 * and only what is left at its end, part of a request or what the peer does not read yet, is kept.
 *
 * A turn takes a bounded number of requests. Who has more joins the work of its domain's share
 * (server.c), where domains take turns; a control-domain peer that had nothing waiting is served at
 * once, so it never stands behind a busy one for more than one turn. Whose replies are not read is
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
	return unsent(connection) > connection->most_unsent;
}

static void update_wants(struct xn_xs_connection *connection)
{
	bool input = xn_list_empty(&connection->work) && !is_stalled(connection);
	bool output = unsent(connection) > 0;

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

	xn_list_remove(&connection->all);
	xn_list_remove(&connection->work);
	xn_list_remove(&connection->dirty);
	server->n_connections--;
	xn_xs_share_leave(connection);
	connection->link->ops->close(connection->link);
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
	connection->has_whole = false;
	xn_xs_kept_stripped(connection);
}

void xn_xs_connection_reset(struct xn_xs_connection *connection)
{
	struct xn_xs_link *link = connection->link;

	strip(connection);
	if (link->ops->reset)
		link->ops->reset(link);
	connection->out_at = link->out_at;
	xn_xs_kept_input(connection, link->in_at, NULL, 0);
	xn_xs_kept_output(connection, NULL, 0, 0);
}

/* The link said so, or what came on it is no request. */
static void on_failure(struct xn_xs_connection *connection, int rc)
{
	if (!connection->link->ops->refuse) {
		connection->is_over = true;
		return;
	}
	if (rc == -ECONNRESET)
		xn_xs_connection_reset(connection);
	else
		strip(connection);
}

/* ---- output ---- */

/* Sends what @bytes has; what does not go out now is kept behind what is kept already. */
static void send_or_keep(struct xn_xs_connection *connection, const char *bytes, size_t len)
{
	ssize_t n = 0;

	if (!unsent(connection)) {
		n = connection->link->ops->write(connection->link, bytes, len);
		if (n < 0) {
			on_failure(connection, (int)n);
			return;
		}
		xn_buf_clear(&connection->out);
		connection->out_from = 0;
	}
	xn_buf_add(&connection->out, bytes + n, len - (size_t)n);
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
	connection->out_from += (size_t)n;
	if (!unsent(connection)) {
		xn_buf_clear(&connection->out);
		connection->out_from = 0;
	} else if (connection->out_from > XN_XS_UNSENT_GUEST) {
		xn_buf_drop(&connection->out, connection->out_from);
		connection->out_from = 0;
	}
}

void xn_xs_connection_event(const char *path, const char *token, void *arg)
{
	struct xn_xs_connection *connection = arg;
	struct xn_xs_server *server = connection->server;
	struct xn_xs_part parts[] = {{path, strlen(path) + 1}, {token, strlen(token) + 1}};
	struct xn_buf *out = connection->is_busy ? &server->out : &connection->out;
	size_t at = out->len;

	/* One that is too long cannot be told; the same rule as everywhere. */
	if (xn_xs_frame_add(out, XN_XS_WIRE_WATCH_EVENT, 0, 0, parts, XN_ARRAY_SIZE(parts)) < 0)
		return;
	server->n_events++;
	xn_xs_kept_output(connection, out->data + at, out->len - at, 1);
	if (!connection->is_busy && xn_list_empty(&connection->dirty)) {
		xn_list_push(&server->dirty, &connection->dirty);
		xn_loop_defer(server->core->loop, &server->flush, XN_PRIO_REPLY,
			      xn_xs_server_flush);
	}
}

void xn_xs_connection_flush(struct xn_xs_connection *connection)
{
	connection->is_busy = true;
	send_kept(connection);
	connection->is_busy = false;
	if (connection->is_over)
		free_connection(connection);
	else
		update_wants(connection);
}

/* ---- input ---- */

static void serve_one(struct xn_xs_connection *connection, const struct xn_xs_frame *frame,
		      uint32_t in_at)
{
	struct xn_xs_server *server = connection->server;
	size_t at = server->out.len;

	connection->n_requests++;
	if (!connection->is_kept) {
		xn_xs_serve(connection, frame, &server->out);
		return;
	}
	xn_xs_kept_begin(connection);
	xn_xs_serve(connection, frame, &server->out);
	xn_xs_kept_input(connection, in_at, NULL, 0);
	xn_xs_kept_output(connection, server->out.data + at, server->out.len - at, 0);
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
	return len + (size_t)n;
}

/*
 * Carries out the requests in the server's buffer. What is left of it is kept: as the start of a
 * request, or, when there were too many for one turn, in the ring where there is one.
 */
static void serve_input(struct xn_xs_connection *connection, size_t len)
{
	struct xn_xs_server *server = connection->server;
	size_t had = connection->in.len, at = 0, taken;
	uint32_t in_at = connection->link->in_at - (uint32_t)had;
	struct xn_xs_frame frame;
	unsigned n = 0;
	int rc = 0;

	while (!connection->is_over && n < XN_XS_REQUESTS_A_TURN &&
	       server->out.len < XN_XS_UNSENT_SOCKET &&
	       (rc = xn_xs_frame_parse(server->in + at, len - at, &frame)) > 0) {
		at += XN_XS_FRAME_HEADER + frame.len;
		serve_one(connection, &frame, in_at + (uint32_t)at);
		n++;
	}
	if (rc < 0) {
		if (server->out.len)
			send_or_keep(connection, server->out.data, server->out.len);
		server->out.len = 0;
		connection->is_refused = true;
		return;
	}
	connection->has_whole = xn_xs_frame_parse(server->in + at, len - at, &frame) > 0;
	taken = len - had;
	if (connection->is_kept && connection->has_whole && at >= had) {
		taken = at - had;
		len = at;
		connection->has_whole = false; /* it is read again */
		connection->has_more = true;
	}
	xn_buf_clear(&connection->in);
	if (len > at)
		xn_buf_add(&connection->in, server->in + at, len - at);
	if (len > at)
		xn_xs_kept_input(connection, connection->link->in_at + (uint32_t)taken,
				 server->in + at, len - at);
	if (taken)
		connection->link->ops->taken(connection->link, taken);
}

void xn_xs_connection_turn(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;
	size_t len;

	connection->is_busy = true;
	connection->has_more = false;
	send_kept(connection);
	if (!connection->is_over && !is_stalled(connection)) {
		len = take_input(connection);
		server->out.len = 0;
		if (len > connection->in.len || connection->has_whole)
			serve_input(connection, len);
		if (server->out.len && !connection->is_over)
			send_or_keep(connection, server->out.data, server->out.len);
		server->out.len = 0;
		if (connection->is_refused)
			on_failure(connection, -EPROTO);
		if (connection->is_refused && connection->link->ops->refuse)
			connection->link->ops->refuse(connection->link);
		connection->is_refused = false;
		connection->has_more |= len >= XN_XS_READ_SIZE || connection->has_whole;
	}
	connection->is_busy = false;
	if (connection->is_over) {
		free_connection(connection);
		return;
	}
	if (is_stalled(connection))
		server->n_stalls++;
	else if (connection->has_more)
		xn_xs_share_work(connection);
	update_wants(connection);
}

static void on_ready(struct xn_xs_link *link, void *arg)
{
	struct xn_xs_connection *connection = arg;

	if (!xn_list_empty(&connection->work)) {
		xn_xs_connection_flush(connection);
	} else if (xn_xs_conn_domain(connection->conn)->domid != 0) {
		xn_xs_share_work(connection);
	} else {
		xn_xs_connection_turn(connection);
	}
}

/* ---- the beginning ---- */

static void go_on(struct xn_xs_connection *connection, const struct xn_xs_kept_ring *kept)
{
	if (kept->partial_len)
		xn_buf_add(&connection->in, kept->partial, kept->partial_len);
	if (kept->unsent_len)
		xn_buf_add(&connection->out, kept->unsent, kept->unsent_len);
	connection->out_at = kept->out_at + (uint32_t)kept->unsent_len;
}

struct xn_xs_connection *xn_xs_server_add_link(struct xn_xs_server *server,
					       struct xn_xs_domain *domain,
					       struct xn_xs_link *link,
					       const struct xn_xs_kept_ring *kept)
{
	struct xn_xs_connection *connection = xn_calloc(1, sizeof(*connection));

	connection->server = server;
	connection->link = link;
	connection->is_kept = link->ops->is_kept && server->journal;
	connection->most_unsent = domain->domid ? XN_XS_UNSENT_GUEST : XN_XS_UNSENT_SOCKET;
	connection->id = ++server->last_id;
	connection->out_at = link->out_at;
	connection->conn = kept ? kept->conn : xn_xs_conn_new(domain);
	xn_list_push(&server->connections, &connection->all);
	xn_list_init(&connection->work);
	xn_list_init(&connection->dirty);
	server->n_connections++;
	xn_xs_share_join(connection);
	if (kept)
		go_on(connection, kept);
	link->arg = connection;
	link->on_ready = on_ready;
	connection->wants_input = true;
	connection->wants_output = unsent(connection) > 0;
	link->ops->want(link, true, connection->wants_output);
	return connection;
}
