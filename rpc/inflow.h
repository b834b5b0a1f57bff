/*
 * A request's body that does not fit in memory: answered with 200 at once, then worked off in pieces
 * by a worker, while the connection is read only as far as there is room. A client that is waited
 * for and says nothing is gone after http-body-idle. The other way of outflow.h.
 */
#ifndef XN_INFLOW_H
#define XN_INFLOW_H

#include "core/worker.h"
#include "rpc/http.h"

struct xn_core;

enum xn_inflow_next {
	XN_INFLOW_DONE,	 /* that was the end, whatever the client still sends */
	XN_INFLOW_MORE,	 /* all bytes are used */
	XN_INFLOW_PAUSE, /* so many are used; the others wait for xn_inflow_resume() */
};

/* Embedded; all zero bytes but for the first group, until xn_inflow_begin(). */
struct xn_inflow {
	struct xn_core *core;
	struct xn_http_conn *conn;
	struct xn_pool *pool; /* that take() runs on */
	/* On a worker: enum xn_inflow_next, or -errno. At the end of the body @len is 0, once; more
	 * cannot come then (end_told), and was_cut tells whether it was the end that the client
	 * announced. After a pause it may be called without new bytes, too. */
	int (*take)(struct xn_inflow *flow, const char *bytes, size_t len, size_t *used);
	void (*taken)(struct xn_inflow *flow);	/* on the loop, after each piece; may be NULL */
	void (*paused)(struct xn_inflow *flow); /* on the loop; may be NULL when take() never says so */
	/* On the loop, once, last: 0 after DONE, -EPIPE when the client is gone, -ENODATA when the body
	 * ends too early, what take() said. The answer has ended. May free. */
	void (*over)(struct xn_inflow *flow, int rc);

	struct xn_work work;
	struct xn_buf waiting, piece;
	size_t used; /* of piece */
	bool working, is_paused, goes_on /* after that */, is_ended /* by the client */, end_told;
	bool was_cut; /* set with is_ended; see xn_http_stream_was_cut() */
};

/* Answers with @headers (each line ended by CRLF). From here on the connection is the flow's. */
void xn_inflow_begin(struct xn_inflow *flow, const char *headers);
void xn_inflow_resume(struct xn_inflow *flow);
/* It comes to nothing: the answer ends, and over(@rc) comes inside, or when the worker is done. */
void xn_inflow_cut(struct xn_inflow *flow, int rc);

#endif
