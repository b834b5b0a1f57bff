/*
 * See outflow.h.
 *
 *	want --> making --(a piece)--> write --> want ...
 *	           | nothing this time: again
 *	           | that was all: written, and once it is out, over(0)
 *	the client goes: over(-EPIPE), after the worker
 */
#include "rpc/outflow.h"

#include <errno.h>

#include "core/module.h"

static void moves(struct xn_outflow *flow)
{
	if (flow->holds_records)
		xn_rpc_reader_moves(flow->core, &flow->reader);
}

static void finish(struct xn_outflow *flow, int rc)
{
	xn_rpc_reader_leaves(&flow->reader);
	xn_buf_clear(&flow->piece);
	flow->over(flow, rc);
}

static void end(struct xn_outflow *flow, int rc)
{
	struct xn_http_conn *conn = flow->conn;

	flow->conn = NULL;
	xn_http_on_close(conn, NULL, NULL);
	xn_http_stream_end(conn, rc == 0);
	finish(flow, rc);
}

static void on_closed(void *arg)
{
	struct xn_outflow *flow = arg;

	flow->conn = NULL;
	if (flow->pool ? flow->making && xn_pool_withdraw(flow->pool, &flow->work)
		       : xn_job_is_pending(&flow->slice))
		flow->making = false; /* nothing was begun */
	xn_job_cancel(&flow->slice);
	if (!flow->making)
		finish(flow, -EPIPE);
}

static void make_next(struct xn_outflow *flow);

static void on_piece(struct xn_outflow *flow, int rc)
{
	size_t len = flow->piece.len;

	if (flow->conn && flow->made)
		flow->made(flow, len);
	if (flow->conn && rc >= 0) /* which may find that it is gone */
		xn_http_stream_write(flow->conn, flow->piece.data, len);
	flow->piece.len = 0;
	flow->making = false;
	moves(flow);
	flow->ended = rc == 0;
	if (!flow->conn)
		finish(flow, -EPIPE);
	else if (rc < 0 || (rc == 0 && !len))
		end(flow, rc);
	else if (!len)
		make_next(flow);
}

/* ---- where pieces are made ---- */

static int make_on_worker(struct xn_work *work)
{
	struct xn_outflow *flow = xn_container_of(work, struct xn_outflow, work);

	return flow->make(flow, &flow->piece);
}

static void on_worker_done(struct xn_work *work, int rc)
{
	on_piece(xn_container_of(work, struct xn_outflow, work), rc);
}

static void make_slice(struct xn_job *job)
{
	struct xn_outflow *flow = xn_container_of(job, struct xn_outflow, slice);

	on_piece(flow, flow->make(flow, &flow->piece));
}

static void make_next(struct xn_outflow *flow)
{
	flow->making = true;
	if (!flow->pool) {
		xn_loop_defer(flow->core->loop, &flow->slice, XN_PRIO_BULK, make_slice);
		return;
	}
	flow->work.run = make_on_worker;
	flow->work.done = on_worker_done;
	xn_pool_submit(flow->pool, &flow->work);
}

static void on_want(struct xn_http_conn *conn, void *arg)
{
	struct xn_outflow *flow = arg;

	moves(flow);
	if (flow->making)
		return;
	if (flow->ended)
		end(flow, 0); /* the last piece is out */
	else
		make_next(flow);
}

static bool cut_reader(struct xn_rpc_reader *reader)
{
	struct xn_outflow *flow = xn_container_of(reader, struct xn_outflow, reader);

	if (!flow->conn || flow->making)
		return false;
	xn_outflow_cut(flow);
	return true;
}

void xn_outflow_begin(struct xn_outflow *flow, const char *headers, int64_t length)
{
	flow->reader.cut = cut_reader;
	moves(flow);
	xn_http_on_close(flow->conn, on_closed, flow);
	xn_http_stream_begin(flow->conn, 200, headers, length, on_want, flow);
}

void xn_outflow_cut(struct xn_outflow *flow)
{
	if (flow->conn)
		xn_http_cut(flow->conn); /* on_closed() */
}
