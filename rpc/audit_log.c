/*
 * GET /audit_log: the audit log's lines as they are, since a time. A worker reads a piece when the
 * connection takes more, so a slow reader of a long log costs one piece of memory.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/outflow.h"
#include "rpc/rpc_internal.h"

enum { PIECE = 65536 };

struct download {
	struct xn_list link;
	struct xn_rpc *rpc;
	struct xn_outflow flow;
	struct xn_rpc_visit *visit;
	char since[20];
	char *state_dir;
	struct xn_audit_reader *reader;
};

static int read_piece(struct xn_outflow *flow, struct xn_buf *piece)
{
	struct download *d = xn_container_of(flow, struct download, flow);
	int rc = 0;

	if (!d->reader)
		d->reader = xn_audit_read(d->state_dir, d->since, &rc);
	return d->reader ? xn_audit_read_next(d->reader, PIECE, piece) : rc;
}

static void on_over(struct xn_outflow *flow, int rc)
{
	struct download *d = xn_container_of(flow, struct download, flow);

	xn_list_remove(&d->link);
	d->rpc->n_downloads--;
	xn_rpc_leave(d->visit, NULL);
	xn_audit_read_end(d->reader);
	free(d->state_dir);
	free(d);
}

/* ---- the request ---- */

/* As lines begin: 2026-01-31T23:59:59. */
static int read_since(const struct xn_http_request *req, char out[20])
{
	const char *text = xn_http_query(req, "since");
	int64_t epoch_s;
	char date[19];

	out[0] = '\0';
	if (!text || !*text)
		return 0;
	if (xn_date_parse(text, &epoch_s) < 0)
		return -1;
	xn_date_print(epoch_s, date); /* 20260131T23:59:59Z */
	snprintf(out, 20, "%.4s-%.2s-%.2s%.9s", date, date + 4, date + 6, date + 8);
	return 0;
}

static void refuse(const struct xn_http_request *req, struct xn_rpc_visit *visit, int status,
		   const char *text)
{
	xn_http_reply(req->conn, status, "text/plain", NULL, text, strlen(text));
	xn_rpc_leave(visit, NULL);
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_rpc *rpc = arg;
	struct download *d;
	char since[20];

	if (read_since(req, since) < 0) {
		refuse(req, visit, 400, "400 since is no date\n");
		return;
	}
	if (rpc->n_downloads >= xn_config_int(rpc->core->config, "audit-downloads")) {
		refuse(req, visit, 503, "503 Service Unavailable\n");
		return;
	}
	d = xn_calloc(1, sizeof(*d));
	d->rpc = rpc;
	d->flow = (struct xn_outflow){.core = rpc->core,
				      .conn = req->conn,
				      .pool = rpc->core->workers,
				      .make = read_piece,
				      .over = on_over};
	d->visit = visit;
	memcpy(d->since, since, sizeof(since));
	d->state_dir = xn_strdup(xn_config_string(rpc->core->config, "state-dir"));
	rpc->n_downloads++;
	xn_list_push(&rpc->downloads, &d->link);
	xn_outflow_begin(&d->flow, "Content-Type: application/x-ndjson\r\n", -1);
}

static const struct xn_rpc_door door = {
	.name = "get_audit_log",
	.role = XN_ROLE_READ_ONLY,
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	struct xn_rpc *rpc = arg;

	xn_rpc_admit(rpc->core, req, &door, rpc);
}

const struct xn_http_route xn_rpc_audit_log_route = {
	.method = "GET",
	.path = "/audit_log",
	.kind = XN_HTTP_STREAM_OUT,
	.run = on_request,
};

void xn_rpc_drop_downloads(struct xn_rpc *rpc)
{
	xn_list_each_safe(node, &rpc->downloads) {
		struct download *d = xn_list_entry(node, struct download, link);

		xn_outflow_cut(&d->flow);
	}
}
