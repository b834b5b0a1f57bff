/*
 * Replies: encoded, held until what they promise is visible or durable, and sent. One that may be
 * long is not encoded here but kept as a value that writes itself in parts: it is measured and written
 * in slices, each a turn between those of other callers, and no faster than its reader reads.
 */
#include <stdlib.h>

#include "rpc/rpc_internal.h"

enum {
	SLICE_BYTES = 128 << 10, /* what a turn writes: some 0.1 ms */
	KEPT_BYTES = 256 << 10,	 /* of the buffer for slices */
	SHORT_BYTES = 16 << 10,	 /* of a body that is left to its connection, read or not */
};

#define CORS_HEADERS                           \
	"Access-Control-Allow-Origin: *\r\n"   \
	"Access-Control-Allow-Headers: X-Requested-With\r\n"

static void to_slices(struct xn_rpc_call *rc);
static void slice_long_body(struct xn_rpc_call *rc);
static void run_http_slice(struct xn_rpc_call *rc);

/* ---- short ones ---- */

static void forget_declaration(struct xn_rpc_call *rc)
{
	static const char declaration[] = "<?xml version=\"1.0\"?>";

	/* White space went before, and behind that XML allows no declaration. */
	if (rc->waited && rc->body.len >= sizeof(declaration) &&
	    memcmp(rc->body.data, declaration, sizeof(declaration) - 1) == 0)
		xn_buf_drop(&rc->body, sizeof(declaration) - 1);
}

static void send_body(struct xn_rpc_call *rc)
{
	struct xn_http_conn *conn = rc->conn;

	slice_long_body(rc);
	if (rc->rest_is_whole) { /* which would only take memory while it waits for a turn */
		run_http_slice(rc);
		return;
	}
	if (rc->rest && (conn || rc->reply)) {
		to_slices(rc);
		return;
	}
	xn_timer_cancel(&rc->patience);
	rc->conn = NULL;
	forget_declaration(rc);
	if (conn) {
		xn_http_on_close(conn, NULL, NULL);
		xn_http_reply(conn, 200, xn_protocol_content_type(rc->request.protocol),
			      CORS_HEADERS, rc->body.data, rc->body.len);
	} else if (rc->reply) {
		rc->reply(rc->body.data, rc->body.len, rc->reply_arg);
	} else if (rc->told) {
		rc->told(rc->failure.code ? NULL : rc->result,
			 rc->failure.code ? &rc->failure : NULL, rc->reply_arg);
	}
	xn_rpc_call_drop(rc);
}

static void print_error(struct xn_rpc_call *rc, const struct xn_error *err)
{
	xn_value_unref(rc->rest);
	rc->rest = NULL;
	if (rc->invoked) {
		xn_error_clear(&rc->failure);
		xn_error_copy(&rc->failure, err);
		return;
	}
	rc->body.len = 0;
	xn_request_print_error(&rc->request, err, &rc->body);
}

static void on_audited(struct xn_audit_wait *wait, int rc_audit)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_rpc_call *rc = xn_container_of(wait, struct xn_rpc_call, audit_wait);

	if (rc_audit < 0 && rc->audited && !rc->is_emergency) {
		xn_error_from_errno(&err, rc_audit,
				    "the call is done, but the audit log could not take it");
		print_error(rc, &err);
	}
	send_body(rc);
}

/* What is safe must be known to the audit log, too, before its client hears of it. */
static void send_when_audited(struct xn_rpc_call *rc)
{
	struct xn_audit *audit = rc->rpc->audit;

	if (xn_audit_is_written(audit, rc->audit_line) ||
	    (rc->is_emergency && xn_audit_writable(audit) < 0)) /* its queue has the line */
		send_body(rc);
	else
		xn_audit_when_written(audit, &rc->audit_wait, rc->audit_line, on_audited);
}

bool xn_rpc_answer_waits(const struct xn_rpc_call *rc)
{
	return (rc->wait.link.next && !xn_list_empty(&rc->wait.link)) ||
	       (rc->audit_wait.link.next && !xn_list_empty(&rc->audit_wait.link));
}

static void on_safe(struct xn_db_wait *wait, int rc_store)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_rpc_call *rc = xn_container_of(wait, struct xn_rpc_call, wait);

	if (rc_store < 0 && xn_rpc_ask_again(rc))
		return;
	if (rc_store < 0) { /* what the reply promised may not survive */
		xn_error_not_stored(&err, rc_store);
		print_error(rc, &err);
	}
	send_when_audited(rc);
}

/* The body is encoded; it goes out once what it shows is at least as safe as it claims. */
static void send_when(struct xn_rpc_call *rc, enum xn_durability durability)
{
	struct xn_db *db = rc->rpc->db;

	rc->answered = true;
	if (durability == XN_REPLY_WHEN_DURABLE)
		xn_db_when_durable(db, &rc->wait, on_safe);
	else if (durability == XN_REPLY_WHEN_VISIBLE || xn_db_turn_changes(db))
		xn_db_when_visible(db, &rc->wait, on_safe); /* a read sees this turn's changes */
	else
		send_when_audited(rc);
}

void xn_rpc_answer_error(struct xn_rpc_call *rc, const struct xn_error *err)
{
	print_error(rc, err);
	send_when(rc, XN_REPLY_AT_ONCE);
}

void xn_rpc_answer_malformed(struct xn_rpc_call *rc, const char *why)
{
	xn_request_print_malformed(&rc->request, why, &rc->body);
	send_when(rc, XN_REPLY_AT_ONCE);
}

/* ---- long ones ---- */

/* The next part behind what @out has; whether more is to come. */
static bool add_part(struct xn_rpc_call *rc, const struct xn_value *result, struct xn_buf *out)
{
	if (result->embed.ops->part(result->embed.object,
				    xn_protocol_format(rc->request.protocol), &rc->rest_at, out))
		return true;
	if (!rc->rest_is_whole)
		xn_request_end_result(&rc->request, rc->bare, out);
	return false;
}

/* False: there is no room for it; the answer says so instead. */
static bool keep_rest(struct xn_rpc_call *rc, const struct xn_value *result)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (xn_rpc_charge_reply(rc, result->embed.ops->held(result->embed.object), &err) < 0) {
		print_error(rc, &err);
		return false;
	}
	rc->rest = xn_value_ref(result);
	xn_rpc_reader_moves(rc->rpc->core, &rc->reader);
	return true;
}

/* A body that is long all the same counts and goes the same way. What strangers do not read counts with
 * their connections (http-strangers-memory). */
static void slice_long_body(struct xn_rpc_call *rc)
{
	struct xn_value *whole;

	if (!rc->conn || rc->rest || rc->body.len <= SHORT_BYTES ||
	    !xn_http_is_authenticated(rc->conn))
		return;
	forget_declaration(rc);
	whole = xn_embed_text(&rc->body);
	rc->rest_at = 0;
	rc->rest_is_whole = keep_rest(rc, whole);
	xn_value_unref(whole);
}

void xn_rpc_answer(struct xn_rpc_call *rc, const struct xn_value *result, bool bare,
		   enum xn_durability durability)
{
	if (rc->invoked) {
		xn_value_unref(rc->result);
		rc->result = xn_value_ref(result);
	} else if (!xn_value_has_parts(result)) {
		xn_request_print_result(&rc->request, result, bare, &rc->body);
	} else {
		rc->bare = bare;
		xn_request_begin_result(&rc->request, bare, &rc->body);
		if (add_part(rc, result, &rc->body) && !keep_rest(rc, result))
			durability = XN_REPLY_AT_ONCE;
	}
	send_when(rc, durability);
}

static void end_reply(struct xn_rpc_call *rc)
{
	xn_value_unref(rc->rest);
	rc->rest = NULL;
	xn_rpc_call_drop(rc);
}

void xn_rpc_answer_unread(struct xn_rpc_call *rc)
{
	if (!rc->rest || rc->busy || xn_rpc_answer_waits(rc))
		return; /* who comes back to it finds nobody and frees it */
	xn_fair_remove(&rc->rpc->slices, &rc->turn);
	end_reply(rc);
}

static int64_t measure(struct xn_rpc_call *rc)
{
	struct xn_buf around XN_CLEANUP(xn_buf_clear_p) = {0};
	int64_t bytes = rc->rest->embed.ops->measure(rc->rest->embed.object,
						     xn_protocol_format(rc->request.protocol));

	if (bytes < 0 || rc->rest_is_whole)
		return bytes;
	xn_request_begin_result(&rc->request, rc->bare, &around);
	xn_request_end_result(&rc->request, rc->bare, &around);
	return bytes + (int64_t)around.len;
}

/* All of it is written. */
static void end_sending(struct xn_rpc_call *rc)
{
	xn_http_on_close(rc->conn, NULL, NULL);
	xn_http_stream_end(rc->conn, true);
	rc->conn = NULL;
}

/* From the connection: what was written is out. */
static void on_want(struct xn_http_conn *conn, void *arg)
{
	struct xn_rpc_call *rc = arg;

	if (rc->is_written) {
		end_sending(rc);
		end_reply(rc);
		return;
	}
	xn_rpc_reader_moves(rc->rpc->core, &rc->reader);
	if (!xn_fair_is_queued(&rc->turn) && !rc->busy)
		to_slices(rc);
}

static void begin_sending(struct xn_rpc_call *rc, int64_t length)
{
	static const char *const headers[] = {
		[XN_FORMAT_JSON] = "Content-Type: application/json\r\n" CORS_HEADERS,
		[XN_FORMAT_XML] = "Content-Type: text/xml\r\n" CORS_HEADERS,
	};

	xn_timer_cancel(&rc->patience);
	forget_declaration(rc);
	rc->sending = true;
	xn_http_stream_begin(rc->conn, 200, headers[xn_protocol_format(rc->request.protocol)],
			     length, on_want, rc);
}

/* Whether more is to come. */
static bool make_piece(struct xn_rpc_call *rc, struct xn_buf *piece)
{
	bool more = true;

	xn_buf_add(piece, rc->body.data, rc->body.len);
	xn_buf_clear(&rc->body);
	while (more && piece->len < SLICE_BYTES) {
		size_t had = piece->len;

		more = add_part(rc, rc->rest, piece);
		if (piece->len == had)
			break; /* it prepares itself */
	}
	return more;
}

/* The connection may end under it; then rc->conn is NULL afterwards. The last piece, too, counts until
 * its reader has it. */
static void send_slice(struct xn_rpc_call *rc)
{
	struct xn_buf *piece = &rc->rpc->piece;

	piece->len = 0;
	rc->is_written = !make_piece(rc, piece);
	xn_http_stream_write(rc->conn, piece->data, piece->len);
	if (rc->conn && rc->is_written && !xn_http_stream_is_waiting(rc->conn))
		end_sending(rc);
	if (piece->cap > KEPT_BYTES)
		xn_buf_clear(piece);
}

static void run_http_slice(struct xn_rpc_call *rc)
{
	int64_t length;

	rc->busy = true;
	if (rc->sending) {
		send_slice(rc);
	} else if ((length = measure(rc)) >= 0) {
		begin_sending(rc, length);
		if (rc->conn)
			send_slice(rc);
	} else {
		to_slices(rc);
	}
	rc->busy = false;
	if (!rc->conn)
		end_reply(rc);
}

/* For xn_rpc_call(): nobody reads slowly there. */
static void run_local_slice(struct xn_rpc_call *rc)
{
	if (add_part(rc, rc->rest, &rc->body)) {
		to_slices(rc);
		return;
	}
	rc->reply(rc->body.data, rc->body.len, rc->reply_arg);
	end_reply(rc);
}

static void on_slice(struct xn_job *job)
{
	struct xn_rpc *rpc = xn_container_of(job, struct xn_rpc, slice_job);
	struct xn_fair_item *item = xn_fair_take(&rpc->slices, NULL, NULL);
	struct xn_rpc_call *rc;

	if (rpc->slices.count)
		xn_loop_defer_as(rpc->core->loop, job, XN_PRIO_BULK, on_slice, 0);
	if (!item)
		return;
	rc = xn_container_of(item, struct xn_rpc_call, turn);
	xn_loop_set_caller(rpc->core->loop, rc->caller);
	if (rc->conn)
		run_http_slice(rc);
	else
		run_local_slice(rc);
}

static void to_slices(struct xn_rpc_call *rc)
{
	struct xn_rpc *rpc = rc->rpc;

	xn_fair_put(&rpc->slices, &rc->turn, rc->address, rc->caller);
	xn_loop_defer_as(rpc->core->loop, &rpc->slice_job, XN_PRIO_BULK, on_slice, 0);
}
