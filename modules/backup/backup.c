/*
 * GET /backup: first all that was changed so far is made durable, then pieces are made by the worker
 * each time that the client has taken the one before (rpc/outflow.h).
 */
#include "modules/backup/backup.h"

#include <errno.h>
#include <stdlib.h>

#include "modules/db/backup.h"
#include "rpc/outflow.h"
#include "rpc/rpc.h"

enum { PIECE = 64 << 10 };

struct state {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_pool *pool;
	struct xn_list streams;
	unsigned n_streams;
	struct xn_metrics_source metrics;
};

struct stream {
	struct xn_list link;
	struct state *s;
	struct xn_outflow flow;
	struct xn_rpc_visit *visit;
	struct xn_db_wait wait;
	struct xn_backup *backup;
};

static void leave(struct stream *stream, int rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (rc < 0)
		xn_error_from_errno(&err, rc, "the backup was not made");
	xn_rpc_leave(stream->visit, rc < 0 ? &err : NULL);
	xn_list_remove(&stream->link);
	stream->s->n_streams--;
	xn_db_wait_cancel(&stream->wait);
	xn_backup_end(stream->backup);
	free(stream);
}

/* Before it began. */
static void on_closed(void *arg)
{
	leave(arg, -EPIPE);
}

/* ---- pieces ---- */

static int make_piece(struct xn_outflow *flow, struct xn_buf *piece)
{
	return xn_backup_write(xn_container_of(flow, struct stream, flow)->backup, piece, PIECE);
}

static void on_made(struct xn_outflow *flow, size_t bytes)
{
	struct stream *stream = xn_container_of(flow, struct stream, flow);

	if (xn_db_backlog(stream->s->db) <=
	    (size_t)xn_config_int(stream->s->core->config, "backup-backlog"))
		return;
	xn_log_error(stream->s->core->log, "backup", "the client of a backup reads too slowly");
	xn_outflow_cut(flow);
}

static void on_over(struct xn_outflow *flow, int rc)
{
	struct stream *stream = xn_container_of(flow, struct stream, flow);

	if (rc < 0 && rc != -EPIPE)
		xn_log_error(stream->s->core->log, "backup", "a backup was not made: %s",
			     strerror(-rc));
	leave(stream, rc);
}

/* ---- requests ---- */

static void refuse(struct stream *stream, const char *text)
{
	xn_http_on_close(stream->flow.conn, NULL, NULL);
	xn_http_reply(stream->flow.conn, 503, "text/plain", "Retry-After: 1\r\n", text,
		      strlen(text));
	leave(stream, -EAGAIN);
}

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct stream *stream = xn_container_of(wait, struct stream, wait);

	if (rc == 0)
		stream->backup = xn_backup_begin(stream->s->db);
	if (!stream->backup) {
		refuse(stream, "the database takes no changes now: no backup can be made\n");
		return;
	}
	xn_outflow_begin(&stream->flow,
			 "Content-Type: application/octet-stream\r\n"
			 "Content-Disposition: attachment; filename=\"xenolith.backup\"\r\n",
			 -1);
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct state *s = arg;
	struct stream *stream = xn_calloc(1, sizeof(*stream));

	stream->s = s;
	stream->flow = (struct xn_outflow){.core = s->core,
					   .conn = req->conn,
					   .pool = s->pool,
					   .make = make_piece,
					   .made = on_made,
					   .over = on_over};
	stream->visit = visit;
	xn_list_push(&s->streams, &stream->link);
	s->n_streams++;
	if (s->n_streams > xn_config_int(s->core->config, "backups")) {
		refuse(stream, "other backups are being made\n");
		return;
	}
	xn_http_on_close(req->conn, on_closed, stream);
	xn_db_when_durable(s->db, &stream->wait, on_durable);
}

static const struct xn_rpc_door door = {
	.name = "get_backup",
	.role = XN_ROLE_POOL_ADMIN,
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct state *)arg)->core, req, &door, arg);
}

static const struct xn_http_route route = {
	.method = "GET", .path = "/backup", .kind = XN_HTTP_STREAM_OUT, .run = on_request};

/* ---- the module ---- */

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct state *s = xn_container_of(source, struct state, metrics);

	xn_metrics_gauge(page, "xenolith_backups", "", "Backups of the database under way.",
			 s->n_streams);
	return 0;
}

static int backup_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct state *s = xn_calloc(1, sizeof(*s));

	s->core = core;
	xn_list_init(&s->streams);
	s->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &s->metrics);
	*state_out = s;
	return 0;
}

static int backup_start(void *state, struct xn_error *err)
{
	struct state *s = state;

	s->db = xn_db_of(s->core);
	s->pool = xn_pool_new(s->core->loop, "backup", 1);
	xn_rpc_add_route(s->core, &route, s);
	return 0;
}

static void backup_stop(void *state)
{
	struct state *s = state;

	xn_rpc_remove_routes(s->core, s);
	xn_list_each_safe(link, &s->streams) {
		struct stream *stream = xn_list_entry(link, struct stream, link);

		xn_outflow_cut(&stream->flow);
	}
	xn_pool_free(s->pool);
	xn_metrics_remove(&s->metrics);
	free(s);
}

static const char *const needs[] = {"db", "rpc", NULL};

const struct xn_module xn_backup_module = {
	.name = "backup",
	.needs = needs,
	.init = backup_init,
	.start = backup_start,
	.stop = backup_stop,
};
