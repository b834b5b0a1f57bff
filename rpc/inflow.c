/* See inflow.h: one piece is with the worker while the next one is gathered. */
#include "rpc/inflow.h"

#include <errno.h>

#include "core/module.h"

enum { ROOM = 1 << 20 }; /* for each of the two */

static void finish(struct xn_inflow *flow, int rc)
{
	xn_buf_clear(&flow->waiting);
	xn_buf_clear(&flow->piece);
	flow->over(flow, rc);
}

/* Clients look for failures in their task: the answer itself is always well. */
static void end(struct xn_inflow *flow, int rc)
{
	struct xn_http_conn *conn = flow->conn;

	flow->conn = NULL;
	xn_http_on_close(conn, NULL, NULL);
	xn_http_stream_end(conn, true);
	finish(flow, rc);
}

static void on_closed(void *arg)
{
	struct xn_inflow *flow = arg;

	flow->conn = NULL;
	if (flow->working && xn_pool_withdraw(flow->pool, &flow->work))
		flow->working = false;
	if (!flow->working)
		finish(flow, -EPIPE);
}

/* ---- pieces ---- */

static int work_off(struct xn_work *work)
{
	struct xn_inflow *flow = xn_container_of(work, struct xn_inflow, work);
	size_t left = flow->piece.len - flow->used, used = 0;
	int rc = flow->take(flow, left ? flow->piece.data + flow->used : "", left, &used);

	flow->used += rc == XN_INFLOW_MORE ? left : used;
	return rc;
}

static void pump(struct xn_inflow *flow);

static void on_worked_off(struct xn_work *work, int rc)
{
	struct xn_inflow *flow = xn_container_of(work, struct xn_inflow, work);

	flow->working = false;
	if (!flow->conn) {
		finish(flow, -EPIPE);
		return;
	}
	if (flow->taken)
		flow->taken(flow);
	if (rc == XN_INFLOW_MORE && flow->end_told)
		rc = -ENODATA;
	if (rc < 0 || rc == XN_INFLOW_DONE) {
		end(flow, rc < 0 ? rc : 0);
	} else if (rc == XN_INFLOW_PAUSE) {
		flow->is_paused = true;
		flow->paused(flow);
	} else {
		pump(flow);
	}
}

/* The next piece to the worker, when there is one and it is free. */
static void pump(struct xn_inflow *flow)
{
	struct xn_buf worked_off = flow->piece;

	if (flow->working || flow->is_paused)
		return;
	if (flow->used == flow->piece.len && !flow->goes_on) {
		if (!flow->waiting.len && !flow->is_ended) {
			xn_http_stream_set_busy(flow->conn, false); /* may be the end of @flow */
			return;
		}
		flow->end_told = !flow->waiting.len;
		flow->piece = flow->waiting;
		flow->waiting = worked_off;
		flow->waiting.len = flow->used = 0;
	}
	flow->goes_on = false;
	flow->working = true; /* so that nothing below is the end of @flow */
	if (!flow->is_ended) {
		xn_http_stream_resume(flow->conn);
		if (flow->conn)
			xn_http_stream_set_busy(flow->conn, true);
	}
	flow->work.run = work_off;
	flow->work.done = on_worked_off;
	xn_pool_submit(flow->pool, &flow->work);
}

static size_t on_data(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg)
{
	struct xn_inflow *flow = arg;
	size_t room = ROOM - flow->waiting.len;

	if (!len) {
		flow->was_cut = xn_http_stream_was_cut(conn);
		flow->is_ended = true;
	}
	if (len > room)
		len = room;
	xn_buf_add(&flow->waiting, bytes, len);
	pump(flow);
	return len;
}

void xn_inflow_begin(struct xn_inflow *flow, const char *headers)
{
	flow->working = true; /* the client may be found to be gone */
	xn_http_on_close(flow->conn, on_closed, flow);
	xn_http_stream_begin(flow->conn, 200, headers, -1, NULL, NULL);
	if (flow->conn)
		xn_http_stream_read(flow->conn, on_data, flow);
	flow->working = false;
	if (!flow->conn)
		finish(flow, -EPIPE);
}

void xn_inflow_resume(struct xn_inflow *flow)
{
	flow->is_paused = false;
	flow->goes_on = true;
	if (flow->conn)
		pump(flow);
}

void xn_inflow_cut(struct xn_inflow *flow, int rc)
{
	if (!flow->conn)
		return;
	if (flow->working && xn_pool_withdraw(flow->pool, &flow->work))
		flow->working = false;
	if (flow->working)
		xn_http_cut(flow->conn);
	else
		end(flow, rc);
}
