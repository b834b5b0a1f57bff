/*
 * One connection: reads what the socket has, cuts it into requests, runs their handlers, and
 * decides after each step what to wait for next, until when, and whether the connection goes on.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/hmap.h"
#include "rpc/http_internal.h"
#include "rpc/http_query.h"
#include "rpc/tls_relay.h"

/* What a handler sees, and what lookups in it need; lives while the handler runs. */
struct request {
	struct xn_http_request req;
	const struct xn_http_head *head;
	char *data; /* the head's bytes; values are terminated in place */
	struct decoded *decoded;
};

struct decoded { /* a value handed out */
	struct decoded *next;
	char *text;
};

/* ---- life ---- */

void xn_http_conn_set_state(struct xn_http_conn *conn, enum xn_http_state state)
{
	static const uint8_t allowed[XN_CONN_STATES] = {
		[XN_CONN_HEAD] = 1 << XN_CONN_BODY | 1 << XN_CONN_RUNNING | 1 << XN_CONN_LINGER |
				 1 << XN_CONN_CLOSED,
		[XN_CONN_BODY] = 1 << XN_CONN_BODY | 1 << XN_CONN_RUNNING | 1 << XN_CONN_CLOSED,
		[XN_CONN_RUNNING] = 1 << XN_CONN_HEAD | 1 << XN_CONN_CLOSED,
		[XN_CONN_LINGER] = 1 << XN_CONN_CLOSED,
	};

	assert(allowed[conn->state] & 1 << state);
	conn->state = state;
}

static void count(struct xn_http_conn *conn, int by)
{
	conn->http->n_open += (unsigned)by;
	conn->http->n_door[conn->door] += (unsigned)by;
}

static void count_stranger(struct xn_http_conn *conn, int by)
{
	conn->http->n_strangers[conn->door] += (unsigned)by;
}

static void on_ready(int fd, int events, void *arg);
static void start_tls(struct xn_http_conn *conn);
static int64_t next_deadline(struct xn_http_conn *conn);
static void file_stranger(struct xn_http_conn *conn);

struct xn_http_conn *xn_http_conn_new(struct xn_http *http, int fd, enum xn_http_door door,
				      bool is_trusted, const char *peer)
{
	struct xn_http_conn *conn = xn_slab_alloc(&http->conns);
	size_t len = strlen(peer);

	conn->http = http;
	conn->fd = fd;
	conn->door = door;
	conn->is_trusted = is_trusted;
	conn->is_new = true;
	conn->transport = &xn_http_plain;
	memcpy(conn->peer, peer, len < sizeof(conn->peer) ? len : sizeof(conn->peer) - 1);
	conn->request_since_us = xn_now_us(http->core->loop);
	conn->events = XN_IO_READ;
	conn->io = xn_io_new(http->core->loop, fd, conn->events | XN_IO_CLIENT, on_ready, conn);
	xn_list_push(&http->timed, &conn->link);
	xn_list_init(&conn->stranger);
	file_stranger(conn);
	count(conn, 1);
	count_stranger(conn, 1);
	if (door == XN_DOOR_TLS)
		start_tls(conn);
	conn->deadline_us = next_deadline(conn);
	http->stats.accepted++;
	xn_http_plan_sweep(http);
	return conn;
}

/* A handshake went on: what to wait for has changed. */
static void on_tls_wake(void *arg)
{
	struct xn_http_conn *conn = arg;

	xn_http_conn_enter(conn);
	if (conn->is_shaking && xn_tls_is_open(conn->tls)) {
		conn->is_shaking = false;
		conn->request_since_us = xn_now_us(conn->http->core->loop);
	}
	xn_http_conn_leave(conn);
}

static void start_tls(struct xn_http_conn *conn)
{
	const char *port = strrchr(conn->peer, ':');
	uint64_t peer = xn_hash_bytes(conn->peer, port ? (size_t)(port - conn->peer) : 0);

	conn->tls = xn_tls_conn_new(conn->http->tls, conn->fd, peer, on_tls_wake, conn);
	conn->transport = &xn_http_over_tls;
	conn->is_shaking = true;
}

void xn_http_set_authenticated(struct xn_http_conn *conn)
{
	if (conn->is_authenticated || conn->state == XN_CONN_CLOSED)
		return;
	conn->is_authenticated = true;
	count_stranger(conn, -1);
	conn->http->strangers_bytes -= conn->charged;
	xn_list_remove(&conn->stranger);
}

bool xn_http_is_authenticated(const struct xn_http_conn *conn)
{
	return conn->is_authenticated;
}

/* Books what the connection's own buffers take. */
static void charge(struct xn_http_conn *conn)
{
	size_t now = conn->in.cap + conn->out.cap + (conn->tls ? xn_tls_memory(conn->tls) : 0);

	if (now < conn->charged)
		xn_http_count_freed(conn->http, conn->charged - now);
	conn->http->stats.buffered += now - conn->charged;
	if (!conn->is_authenticated)
		conn->http->strangers_bytes += now - conn->charged;
	conn->charged = now;
}

static void unlink_conn(struct xn_http_conn *conn)
{
	xn_list_remove(&conn->link);
	xn_list_remove(&conn->stranger);
	conn->http->n_kept -= conn->in_kept;
	conn->in_kept = false;
}

static void free_conn(struct xn_http_conn *conn)
{
	xn_list_remove(&conn->link);
	xn_slab_free(&conn->http->conns, conn);
}

/* Everything but the struct, and the descriptor when it was taken over (then it is -1). */
static void release(struct xn_http_conn *conn)
{
	struct xn_http *http = conn->http;

	xn_io_free(conn->io);
	conn->io = NULL;
	xn_tls_conn_free(conn->tls);
	conn->tls = NULL;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	xn_job_cancel(&conn->job);
	xn_http_stream_close(conn);
	xn_buf_clear(&conn->in);
	xn_buf_clear(&conn->out);
	conn->out_done = 0;
	charge(conn);
	if (!conn->is_authenticated)
		count_stranger(conn, -1);
	unlink_conn(conn);
	xn_list_push(&http->gone, &conn->link);
	count(conn, -1);
}

void xn_http_conn_close(struct xn_http_conn *conn)
{
	bool was_running = conn->state == XN_CONN_RUNNING;
	void (*closed)(void *arg) = conn->closed;

	if (conn->state == XN_CONN_CLOSED)
		return;
	xn_http_conn_set_state(conn, XN_CONN_CLOSED);
	release(conn);
	conn->depth++;
	conn->held = was_running && !closed;
	conn->closed = NULL;
	if (was_running && closed)
		closed(conn->closed_arg);
	if (--conn->depth == 0 && !conn->held)
		free_conn(conn);
}

void xn_http_cut(struct xn_http_conn *conn)
{
	xn_http_conn_close(conn);
}

void xn_http_on_close(struct xn_http_conn *conn, void (*closed)(void *arg), void *arg)
{
	conn->closed = closed;
	conn->closed_arg = arg;
}

/* The plain socket, or one that stands for it. */
static int give_away_socket(struct xn_http_conn *conn)
{
	struct xn_http *http = conn->http;
	struct xn_tls_conn *tls = conn->tls;
	int fd = conn->fd;

	conn->fd = -1;
	if (!tls)
		return fd;
	xn_io_free(conn->io); /* before another watches the same descriptor */
	conn->io = NULL;
	conn->tls = NULL;
	http->n_door[conn->door]++; /* the relay's, until that ends */
	return xn_tls_relay_begin(http->core->loop, &http->relays, tls, fd,
				  &http->n_door[conn->door]);
}

int xn_http_take_over(struct xn_http_conn *conn, int status, const char *headers,
		      struct xn_buf *read_ahead)
{
	int fd = -1;
	bool begun;

	xn_http_conn_enter(conn);
	if (status && conn->state != XN_CONN_CLOSED) {
		begun = xn_http_output_begin(conn);
		conn->keep_alive = true; /* no "Connection: close": what follows is not HTTP */
		xn_http_add_head(conn, status, NULL, headers, XN_HTTP_LENGTH_NONE);
		/* Nothing else is on its way, so a socket that takes no head is a lost one. */
		xn_http_output_flush_now(conn);
		xn_http_output_end(conn, begun);
	}
	conn->closed = NULL;
	conn->held = false;
	if (conn->state != XN_CONN_CLOSED && !conn->broken && !conn->out.len) {
		fd = give_away_socket(conn);
		xn_buf_add(read_ahead, conn->in.data, conn->in.len);
		xn_http_conn_set_state(conn, XN_CONN_CLOSED);
		release(conn);
	} else {
		conn->broken = true;
	}
	xn_http_conn_leave(conn);
	return fd >= 0 ? fd : -ECONNRESET;
}

/* ---- after each step: what next? ---- */

static int64_t min_us(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool is_between_requests(const struct xn_http_conn *conn)
{
	return conn->state == XN_CONN_HEAD && !conn->in.len && !conn->out.len && !conn->is_new;
}

/* 0: none, the handler's time. */
static int64_t next_deadline(struct xn_http_conn *conn)
{
	const struct xn_http_limits *limits = &conn->http->limits;
	int64_t now = xn_now_us(conn->http->core->loop), awaited_us;

	if (conn->state == XN_CONN_LINGER)
		return conn->deadline_us; /* set once: bytes thrown away are no progress */
	if (conn->out.len) /* what the peer says meanwhile is no progress */
		return conn->awaits_reader && !conn->wrote ? conn->deadline_us : now + limits->write_us;
	switch ((enum xn_http_state)conn->state) {
	case XN_CONN_HEAD:
		if (conn->is_shaking)
			return conn->request_since_us + limits->handshake_us;
		if (is_between_requests(conn))
			return now + limits->kept_us;
		if (!conn->request_since_us)
			conn->request_since_us = now;
		return min_us(now + limits->head_idle_us,
			      conn->request_since_us + limits->head_total_us);
	case XN_CONN_BODY:
		return min_us(now + limits->body_idle_us,
			      conn->request_since_us + limits->body_total_us);
	case XN_CONN_RUNNING:
		if (xn_http_stream_book_waiting(conn, now, &awaited_us))
			return now + limits->body_idle_us - awaited_us;
		/* The end of an upload is no sign that nobody waits for the answer. */
		return conn->end_of_input && !xn_http_stream_is_in(conn) ? now + limits->grace_us : 0;
	default:
		return 0;
	}
}

static void file_under_deadline(struct xn_http_conn *conn)
{
	struct xn_http *http = conn->http;
	int64_t deadline_us = next_deadline(conn);
	bool kept = is_between_requests(conn);

	unlink_conn(conn);
	file_stranger(conn);
	conn->deadline_us = deadline_us;
	conn->awaits_reader = conn->state != XN_CONN_LINGER && conn->out.len;
	conn->wrote = false;
	if (!deadline_us) {
		xn_list_push(&http->untimed, &conn->link);
		return;
	}
	xn_list_push(kept ? &http->kept : &http->timed, &conn->link);
	conn->in_kept = kept;
	http->n_kept += kept;
	xn_http_plan_sweep(http);
}

static void file_stranger(struct xn_http_conn *conn)
{
	enum xn_http_stranger kind = XN_STRANGER_SENDS;

	if (conn->is_authenticated || conn->state == XN_CONN_RUNNING)
		return;
	if (is_between_requests(conn))
		kind = XN_STRANGER_KEPT;
	else if (conn->out.len || conn->state == XN_CONN_LINGER)
		kind = XN_STRANGER_READS;
	conn->filed_us = xn_now_us(conn->http->core->loop);
	xn_list_push(&conn->http->strangers[conn->door][kind], &conn->stranger);
}

static int wanted_events(const struct xn_http_conn *conn)
{
	int write = conn->out.len ? XN_IO_WRITE : 0;

	if (conn->end_of_input)
		return write;
	switch ((enum xn_http_state)conn->state) {
	case XN_CONN_HEAD:
	case XN_CONN_BODY:
		/* A peer that does not read its answers is not heard until it does. */
		return (write || conn->stalled || conn->closing) ? write : XN_IO_READ;
	case XN_CONN_RUNNING:
		if (conn->stream && !xn_http_stream_reads(conn))
			return write;
		return write | (conn->in.len < XN_HTTP_AHEAD_MAX ? XN_IO_READ : 0);
	case XN_CONN_LINGER:
		return XN_IO_READ;
	default:
		return 0;
	}
}

/* All is written. Closing with unread input would reset the connection and may destroy the answer
 * before the peer has read it, so say that we are done and wait for the same. */
static void begin_linger(struct xn_http_conn *conn)
{
	if (conn->tls && !conn->broken)
		xn_tls_end(conn->tls);
	if (conn->end_of_input || conn->broken) {
		xn_http_conn_close(conn);
		return;
	}
	shutdown(conn->fd, SHUT_WR);
	xn_buf_clear(&conn->in);
	xn_http_conn_set_state(conn, XN_CONN_LINGER);
	conn->deadline_us = xn_now_us(conn->http->core->loop) + conn->http->limits.linger_us;
}

static void on_job(struct xn_job *job);

/* Bytes that came with earlier ones and that the socket will not announce. */
static bool has_hidden_input(const struct xn_http_conn *conn)
{
	return conn->tls && xn_tls_has_input(conn->tls);
}

/* Strangers together hold too much: this one, which would hold more, gives back what it has. */
static void refuse_for_memory(struct xn_http_conn *conn)
{
	static const char text[] = "503 Service Unavailable: too much is buffered\n";

	conn->http->stats.refused++;
	if (conn->state > XN_CONN_BODY || conn->out.len || conn->is_shaking) {
		xn_http_conn_close(conn);
		return;
	}
	xn_buf_clear(&conn->in);
	conn->keep_alive = false;
	xn_http_conn_set_state(conn, XN_CONN_RUNNING);
	xn_http_reply(conn, 503, "text/plain", "Retry-After: 1\r\n", text, sizeof(text) - 1);
	charge(conn);
}

static void settle(struct xn_http_conn *conn)
{
	struct xn_http *http = conn->http;
	int events;

	charge(conn);
	if (!conn->broken && !conn->is_authenticated && conn->charged &&
	    http->strangers_bytes > http->limits.max_strangers_bytes)
		refuse_for_memory(conn);
	if (conn->state == XN_CONN_CLOSED)
		return;
	if (conn->broken) {
		xn_http_conn_close(conn);
		return;
	}
	if (conn->state == XN_CONN_HEAD && conn->end_of_input && !conn->stalled)
		conn->closing = true;
	if (conn->closing && conn->state == XN_CONN_HEAD && !conn->out.len) {
		begin_linger(conn);
		if (conn->state == XN_CONN_CLOSED)
			return;
	}
	events = wanted_events(conn);
	if ((conn->state == XN_CONN_HEAD ? conn->stalled && !conn->out.len
					 : xn_http_stream_has_work(conn)) ||
	    (events & XN_IO_READ && has_hidden_input(conn)))
		xn_loop_defer(http->core->loop, &conn->job, XN_PRIO_OPERATION, on_job);
	file_under_deadline(conn);
	if (conn->tls)
		events = xn_tls_events(conn->tls, events);
	if (events != conn->events)
		xn_io_set(conn->io, events);
	conn->events = (uint8_t)events;
}

void xn_http_conn_enter(struct xn_http_conn *conn)
{
	conn->depth++;
}

void xn_http_conn_leave(struct xn_http_conn *conn)
{
	if (conn->depth == 1 && conn->state != XN_CONN_CLOSED) {
		conn->depth = 2; /* closing frees nothing that is looked at below */
		settle(conn);
		conn->depth = 1;
	}
	if (--conn->depth == 0 && conn->state == XN_CONN_CLOSED && !conn->held)
		free_conn(conn);
}

void xn_http_conn_answered(struct xn_http_conn *conn)
{
	if (conn->state == XN_CONN_CLOSED) {
		conn->held = false;
		return;
	}
	if (!conn->keep_alive || !xn_http_stream_input_is_over(conn))
		conn->closing = true;
	xn_http_stream_close(conn);
	conn->closed = NULL;
	conn->waiting_sent = conn->is_head = conn->continue_sent = false;
	conn->request_since_us = 0;
	conn->stalled = conn->in.len > 0;
	xn_http_conn_set_state(conn, XN_CONN_HEAD);
}

/* What the peer did not read in time is not kept for it by the kernel either. */
static void close_hard(struct xn_http_conn *conn)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	xn_http_conn_close(conn);
}

void xn_http_conn_on_deadline(struct xn_http_conn *conn)
{
	bool is_upload = conn->state == XN_CONN_RUNNING && xn_http_stream_awaits_peer(conn);
	bool is_late = conn->out.len || conn->state == XN_CONN_BODY || is_upload ||
		       (conn->state == XN_CONN_HEAD && !conn->in_kept);

	conn->http->stats.timed_out += is_late;
	if (is_late && !is_upload && !conn->out.len &&
	    (conn->in.len || conn->state == XN_CONN_BODY)) {
		xn_http_conn_enter(conn);
		conn->keep_alive = false;
		xn_http_conn_set_state(conn, XN_CONN_RUNNING);
		xn_http_reply_error(conn, 408);
		xn_http_conn_leave(conn);
		return;
	}
	if (conn->out.len)
		close_hard(conn);
	else
		xn_http_conn_close(conn);
}

/* ---- requests ---- */

static const char *keep_decoded(struct request *request, char *text)
{
	struct decoded *decoded;

	if (!text)
		return NULL;
	decoded = xn_malloc(sizeof(*decoded));
	*decoded = (struct decoded){request->decoded, text};
	request->decoded = decoded;
	return text;
}

const char *xn_http_header(const struct xn_http_request *req, const char *name)
{
	const struct request *request = xn_container_of(req, struct request, req);
	const struct xn_http_field *field = xn_http_find_field(request->head, request->data, name);

	if (!field)
		return NULL;
	request->data[field->value.at + field->value.len] = '\0'; /* over its CR or a blank */
	return request->data + field->value.at;
}

const char *xn_http_query(const struct xn_http_request *req, const char *name)
{
	struct request *request = xn_container_of(req, struct request, req);

	return keep_decoded(request, xn_http_find_pair(req->query, strlen(req->query), false, name));
}

const char *xn_http_cookie(const struct xn_http_request *req, const char *name)
{
	struct request *request = xn_container_of(req, struct request, req);
	const char *cookies = xn_http_header(req, "cookie");

	if (!cookies)
		return NULL;
	return keep_decoded(request, xn_http_find_pair(cookies, strlen(cookies), true, name));
}

static void free_decoded(struct request *request)
{
	while (request->decoded) {
		struct decoded *next = request->decoded->next;

		free(request->decoded->text);
		free(request->decoded);
		request->decoded = next;
	}
}

/* A request with its head, its path and its bytes, in one allocation. */
struct kept_request {
	struct request request;
	struct xn_http_head head;
	char bytes[];
};

struct xn_http_request *xn_http_keep_request(const struct xn_http_request *req)
{
	const struct request *from = xn_container_of(req, struct request, req);
	size_t len = from->head->size + req->body_len, path_size = strlen(req->path) + 1;
	struct kept_request *kept = xn_malloc(sizeof(*kept) + len + path_size);
	struct request *to = &kept->request;

	*to = (struct request){.req = *req, .head = &kept->head, .data = kept->bytes};
	kept->head = *from->head;
	memcpy(kept->bytes, from->data, len);
	to->req.method = kept->bytes + (req->method - from->data);
	to->req.query = *req->query ? kept->bytes + (req->query - from->data) : "";
	to->req.body = kept->bytes + from->head->size;
	to->req.path = memcpy(kept->bytes + len, req->path, path_size);
	return &to->req;
}

void xn_http_drop_request(struct xn_http_request *kept)
{
	struct request *request;

	if (!kept)
		return;
	request = xn_container_of(kept, struct request, req);
	free_decoded(request);
	free(xn_container_of(request, struct kept_request, request));
}

static size_t refuse(struct xn_http_conn *conn, int status, size_t len)
{
	conn->http->stats.bad_requests++;
	conn->keep_alive = false;
	xn_http_conn_set_state(conn, XN_CONN_RUNNING);
	xn_http_reply_error(conn, status);
	return len; /* nothing behind it can be trusted to be a request */
}

/* The path decoded and terminated in @text; false when it, or the query, is not text. */
static bool decode_target(const char *data, const struct xn_http_head *head, char *text)
{
	ssize_t len = xn_http_decode(text, data + head->path.at, head->path.len, false);
	char *rest;

	if (len < 0)
		return false;
	for (ssize_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	text[len] = '\0';
	rest = text + len + 1;
	return !head->query.len ||
	       xn_http_decode(rest, data + head->query.at, head->query.len, true) >= 0;
}

static void send_continue(struct xn_http_conn *conn)
{
	if (!conn->continue_sent)
		xn_buf_add_string(xn_http_output(conn), "HTTP/1.1 100 Continue\r\n\r\n");
	conn->continue_sent = true;
}

/* Reads on in a chunked body. 1: whole, its bytes moved together behind the head. */
static int gather_chunks(struct xn_http_conn *conn, const struct xn_http_head *head, char *data,
			 size_t len, size_t max_body)
{
	enum { FRAMING = 65536 };
	char *body = data + head->size, *out = body;
	const char *run;
	size_t run_len, at = 0;
	ssize_t used;

	do {
		used = xn_http_next_chunk(&conn->chunks, body + conn->body_seen,
					  len - head->size - conn->body_seen, &run, &run_len);
		if (used < 0)
			return -400;
		conn->body_seen += (size_t)used;
		conn->need += run_len;
		if (conn->need + xn_http_chunk_left(&conn->chunks) > max_body ||
		    conn->body_seen > max_body + FRAMING)
			return -413;
	} while (used > 0);
	if (!xn_http_chunks_done(&conn->chunks))
		return 0;
	conn->chunks = (struct xn_http_chunks){0};
	while (at < conn->body_seen) {
		used = xn_http_next_chunk(&conn->chunks, body + at, conn->body_seen - at, &run,
					  &run_len);
		assert(used > 0);
		memmove(out, run, run_len);
		out += run_len;
		at += (size_t)used;
	}
	return 1;
}

/* Size of the whole request once it is there, with the body's; 0: not yet; minus a status. */
static ssize_t whole_request(struct xn_http_conn *conn, const struct xn_http_head *head, char *data,
			     size_t len, size_t max_body, size_t *body_len_out)
{
	int rc;

	if (head->chunked) {
		rc = gather_chunks(conn, head, data, len, max_body);
		if (rc < 0)
			return rc;
		if (rc > 0) {
			*body_len_out = conn->need;
			return (ssize_t)(head->size + conn->body_seen);
		}
	} else {
		if (head->length > (int64_t)max_body)
			return -413;
		*body_len_out = (size_t)head->length;
		if (len - head->size >= *body_len_out)
			return (ssize_t)(head->size + *body_len_out);
		conn->need = head->size + *body_len_out;
	}
	if (head->expects_continue && len == head->size)
		send_continue(conn);
	if (!conn->request_since_us)
		conn->request_since_us = xn_now_us(conn->http->core->loop);
	xn_http_conn_set_state(conn, XN_CONN_BODY);
	return 0;
}

static int64_t declared_length(const struct xn_http_head *head)
{
	return head->chunked || (!head->has_length && head->minor_version == 0) ? -1 : head->length;
}

/* How much of a path the log may show: a query whose mark was encoded too, or is another one, may hold
 * a session's secret. */
static int loggable(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
	enum { MOST = 64 };
	size_t len = strspn(path, plain);

	return (int)(len < MOST ? len : MOST);
}

static void run_request(struct xn_http_conn *conn, const struct xn_http_head *head, char *data,
			size_t body_len, const struct xn_http_target *target, const char *path)
{
	struct request request = {
		.req = {
			.method = data + head->method.at,
			.path = path,
			.query = head->query.len ? data + head->query.at : "",
			.body = data + head->size,
			.body_len = body_len,
			.body_length = declared_length(head),
			.minor_version = head->minor_version,
			.keep_alive = head->keep_alive,
			.peer = conn->peer,
			.peer_is_trusted = conn->is_trusted,
			.is_over_tls = conn->tls != NULL,
			.conn = conn,
		},
		.head = head,
		.data = data,
	};

	data[head->method.at + head->method.len] = '\0';
	if (head->query.len)
		data[head->query.at + head->query.len] = '\0';
	conn->http->stats.requests++;
	conn->is_new = false;
	xn_http_conn_set_state(conn, XN_CONN_RUNNING);
	xn_log_debug(conn->http->core->log, "rpc", "%s: %s %.*s, body %zu", conn->peer,
		     request.req.method, loggable(path), path, body_len);
	target->route->run(&request.req, target->arg);
	free_decoded(&request);
}

/* A handler that does not want the body whole, or wants the socket: it starts with a clear output,
 * and finds what follows the head in conn->in. */
static size_t run_stream(struct xn_http_conn *conn, const struct xn_http_head *head, char *data,
			 size_t len, const struct xn_http_target *target, const char *path)
{
	bool has_body = head->chunked || head->length;

	if (has_body && target->route->kind != XN_HTTP_STREAM_IN)
		return refuse(conn, 413, len);
	xn_http_output_flush_now(conn);
	if (conn->out.len) {
		conn->stalled = true;
		return 0;
	}
	xn_buf_add(&conn->in, data + head->size, len - head->size);
	xn_http_stream_open(conn, target->route->kind, head);
	run_request(conn, head, data, 0, target, path);
	return len;
}

/* One request at the start of @data. Returns the bytes used up; 0: it is not whole yet. */
static size_t take_request(struct xn_http_conn *conn, char *data, size_t len)
{
	struct xn_http_head head;
	char method[32], path[XN_HTTP_MAX_HEAD + 2];
	struct xn_http_target target;
	size_t body_len = 0;
	ssize_t whole;
	int rc;

	if (conn->state == XN_CONN_BODY && !conn->body_seen && len < conn->need)
		return 0;
	rc = xn_http_parse_head(data, len, &head);
	if (rc >= 0 && (rc ? (size_t)rc : len) > conn->http->limits.max_head)
		rc = -431;
	if (rc == 0)
		return 0;
	if (rc < 0)
		return refuse(conn, -rc, len);
	conn->minor_version = (uint8_t)head.minor_version;
	conn->keep_alive = head.keep_alive;
	memcpy(method, data + head.method.at, head.method.len);
	method[head.method.len] = '\0';
	conn->is_head = strcmp(method, "HEAD") == 0;
	if (!decode_target(data, &head, path))
		return refuse(conn, 400, len);
	target = xn_http_route(conn->http, method, path);
	if (target.route->kind == XN_HTTP_STREAM_IN || target.route->kind == XN_HTTP_STREAM_OUT ||
	    (target.route->kind == XN_HTTP_TAKE_OVER && !target.route->max_body))
		return run_stream(conn, &head, data, len, &target, path);

	whole = whole_request(conn, &head, data, len, target.route->max_body, &body_len);
	if (whole < 0)
		return refuse(conn, (int)-whole, len);
	if (whole == 0)
		return 0;
	conn->need = conn->body_seen = 0;
	conn->chunks = (struct xn_http_chunks){0};
	if (target.route->kind == XN_HTTP_TAKE_OVER) {
		xn_http_output_flush_now(conn);
		xn_buf_add(&conn->in, data + whole, len - (size_t)whole);
		whole = (ssize_t)len;
	}
	run_request(conn, &head, data, body_len, &target, path);
	return (size_t)whole;
}

/*
 * Requests out of @data, one after the other, until one is not whole, has to wait for its answer,
 * or has had its share of the loop. conn->in is empty meanwhile. Returns the bytes used up.
 */
static size_t take_requests(struct xn_http_conn *conn, char *data, size_t len)
{
	size_t used = 0, n;
	unsigned count = 0;

	conn->stalled = false;
	while (used < len && (conn->state == XN_CONN_HEAD || conn->state == XN_CONN_BODY)) {
		/* Who stops begins nothing: what a request is for has stopped before. */
		if (conn->closing || conn->broken || conn->http->draining)
			return len;
		if (conn->out.len || count++ == XN_HTTP_BATCH ||
		    conn->http->out.len > XN_HTTP_BATCH_BYTES) {
			conn->stalled = true;
			break;
		}
		n = take_request(conn, data + used, len - used);
		if (n == 0)
			break;
		used += n;
	}
	return used;
}

/* Requests in a buffer that is not the connection's; what is left is kept. */
static void take_fresh_requests(struct xn_http_conn *conn, char *data, size_t len)
{
	size_t used = take_requests(conn, data, len);

	if (used < len && conn->state != XN_CONN_CLOSED)
		xn_buf_add(&conn->in, data + used, len - used);
}

static void take_kept_requests(struct xn_http_conn *conn)
{
	struct xn_buf held = conn->in;
	size_t used;

	/* The rest of a long body that is not whole yet is not worth a look. */
	if (conn->state == XN_CONN_BODY && !conn->body_seen && held.len < conn->need)
		return;
	conn->in = (struct xn_buf){0};
	used = take_requests(conn, held.data, held.len);
	if (used < held.len && conn->state != XN_CONN_CLOSED) {
		xn_buf_drop(&held, used);
		conn->in = held;
	} else {
		xn_buf_clear(&held);
	}
}

/* ---- the socket ---- */

/* Where the next bytes go: the shared buffer while nothing is kept, so that whole requests cost an
 * idle connection no memory. */
static size_t read_room(struct xn_http_conn *conn, char **to_out)
{
	enum { MORE_HEAD = 4096 };
	size_t room = conn->state == XN_CONN_HEAD ? MORE_HEAD : XN_HTTP_SCRATCH;

	if (conn->state == XN_CONN_LINGER || (conn->state == XN_CONN_HEAD && !conn->in.len)) {
		*to_out = conn->http->scratch;
		return XN_HTTP_SCRATCH;
	}
	if (conn->state == XN_CONN_BODY && !conn->body_seen && conn->need - conn->in.len < room)
		room = conn->need - conn->in.len;
	if (conn->state == XN_CONN_RUNNING && !conn->stream)
		room = MORE_HEAD;
	*to_out = xn_buf_reserve(&conn->in, room);
	return room;
}

static void on_bytes(struct xn_http_conn *conn, char *bytes, size_t len)
{
	conn->http->stats.bytes_in += len;
	if (conn->state == XN_CONN_LINGER) {
		conn->lingered += len;
		if (conn->lingered > XN_HTTP_LINGER_MAX)
			xn_http_conn_close(conn);
		return;
	}
	if (bytes == conn->http->scratch) {
		take_fresh_requests(conn, bytes, len);
		return;
	}
	conn->in.len += len;
	if (conn->state != XN_CONN_RUNNING)
		take_kept_requests(conn);
	else
		xn_http_stream_work(conn);
}

/* Somebody spoke HTTP where TLS is spoken. */
static void refuse_plain(struct xn_http_conn *conn)
{
	static const char text[] = "400 Bad Request: HTTPS is spoken on this port\n";

	conn->http->stats.bad_requests++;
	conn->is_shaking = conn->keep_alive = false;
	xn_http_conn_set_state(conn, XN_CONN_RUNNING);
	xn_http_reply(conn, 400, "text/plain", NULL, text, sizeof(text) - 1);
}

static void read_input(struct xn_http_conn *conn)
{
	char *to;
	size_t room = read_room(conn, &to);
	ssize_t n = conn->transport->read(conn, to, room);

	if (n > 0 && conn->is_shaking && conn->state == XN_CONN_HEAD) {
		refuse_plain(conn);
		return;
	}
	if (n > 0) {
		on_bytes(conn, to, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	conn->end_of_input = true;
	/* Half-closed peers still read; a reset one, or one in the middle of a request, is lost. */
	if (n < 0 || conn->state == XN_CONN_BODY || conn->state == XN_CONN_LINGER)
		xn_http_conn_close(conn);
	else
		xn_http_stream_work(conn);
}

static void on_ready(int fd, int events, void *arg)
{
	struct xn_http_conn *conn = arg;
	bool begun;

	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	if (events & XN_IO_WRITE && conn->tls && xn_tls_flush(conn->tls) < 0)
		conn->broken = true;
	if (events & XN_IO_WRITE && conn->out.len)
		xn_http_output_flush(conn);
	if (events & XN_IO_READ && conn->events & XN_IO_READ && !conn->broken)
		read_input(conn);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

static void on_job(struct xn_job *job)
{
	struct xn_http_conn *conn = xn_container_of(job, struct xn_http_conn, job);
	bool begun;

	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	if (conn->state == XN_CONN_RUNNING)
		xn_http_stream_work(conn);
	else if (conn->state == XN_CONN_HEAD && conn->stalled)
		take_kept_requests(conn);
	if (conn->events & XN_IO_READ && !conn->broken && has_hidden_input(conn))
		read_input(conn);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}
