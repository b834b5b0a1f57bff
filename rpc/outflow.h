/*
 * An answer's body that does not fit in memory: made piece by piece, by a worker or on the loop, each
 * piece when the client has taken the one before. For handlers of files; see rpc/audit_log.c.
 */
#ifndef XN_OUTFLOW_H
#define XN_OUTFLOW_H

#include "core/loop.h"
#include "core/worker.h"
#include "rpc/rpc.h"

struct xn_core;

/* Embedded; all zero bytes but for the first group, until xn_outflow_begin(). */
struct xn_outflow {
	struct xn_core *core;
	struct xn_http_conn *conn;
	struct xn_pool *pool; /* that make() runs on; NULL: on the loop, in slices */
	/* More of the body is added to @piece: 1, and more follows (this time it may be nothing); 0:
	 * that was all; -errno: the connection is cut. On a worker it touches only what hangs off @flow. */
	int (*make)(struct xn_outflow *flow, struct xn_buf *piece);
	/* On the loop, after each piece, of so many bytes. May be NULL. */
	void (*made)(struct xn_outflow *flow, size_t bytes);
	bool holds_records; /* until over(), as they were: it counts against old-records */
	/* On the loop, once, last: 0 when the client has all, -EPIPE when it is gone. May free. */
	void (*over)(struct xn_outflow *flow, int rc);

	struct xn_rpc_reader reader;
	struct xn_work work;
	struct xn_job slice;
	struct xn_buf piece;
	bool making, ended;
};

/* Answers with @headers (each line ended by CRLF), then the body. @length: -1 unknown. From here on
 * the connection is the flow's. */
void xn_outflow_begin(struct xn_outflow *flow, const char *headers, int64_t length);
/* Cuts the connection; over() comes inside, or when the worker is done with its piece. A module that
 * stops cuts its flows and then frees or has stopped their pool: all are over then. */
void xn_outflow_cut(struct xn_outflow *flow);

#endif
