/*
 * GET /backup: first all that was changed so far is made durable, then pieces are made by the worker
 * each time that the client has taken the one before.
 *
 *	syncing --durable--> streaming: (want --> making --> write) ... --> end
 */
#include "modules/backup/backup.h"

#include <errno.h>
#include <stdlib.h>

#include "modules/db/backup.h"
#include "rpc/rpc.h"

enum {
	PIECE = 64 << 10,
	MAX_STREAMS = 2,
	BACKLOG_MAX = 256 << 20, /* of journal that waits for a slow client */
};

struct state {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_pool *pool;
	struct xn_list streams;
	unsigned n_streams;
};

struct stream {
	struct xn_list link;
	struct state *s;
	struct xn_http_conn *conn; /* NULL: the client is gone */
	struct xn_rpc_visit *visit;
	struct xn_db_wait wait;
	struct xn_backup *backup;
	struct xn_work work;
	struct xn_buf piece;
	bool making;
};

static void stream_free(struct stream *stream)
{
	xn_list_remove(&stream->link);
	stream->s->n_streams--;
	xn_db_wait_cancel(&stream->wait);
	xn_backup_end(stream->backup);
	xn_buf_clear(&stream->piece);
	free(stream);
}

static void leave(struct stream *stream, int rc)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (rc < 0)
		xn_error_from_errno(&err, rc, "the backup was not made");
	if (stream->visit)
		xn_rpc_leave(stream->visit, rc < 0 ? &err : NULL);
	stream->visit = NULL;
}

static void on_closed(void *arg)
{
	struct stream *stream = arg;

	stream->conn = NULL;
	leave(stream, -EPIPE);
	if (!stream->making)
		stream_free(stream);
}

static void end(struct stream *stream, int rc)
{
	xn_http_on_close(stream->conn, NULL, NULL);
	xn_http_stream_end(stream->conn, rc == 0);
	leave(stream, rc);
	stream_free(stream);
}

/* ---- pieces ---- */

static int make_piece(struct xn_work *work)
{
	struct stream *stream = xn_container_of(work, struct stream, work);

	return xn_backup_write(stream->backup, &stream->piece, PIECE);
}

static void on_made(struct xn_work *work, int rc)
{
	struct stream *stream = xn_container_of(work, struct stream, work);

	stream->making = false;
	if (!stream->conn) {
		stream_free(stream);
		return;
	}
	if (rc >= 0 && xn_db_backlog(stream->s->db) > BACKLOG_MAX)
		rc = -ETIMEDOUT;
	if (rc < 0) {
		xn_log_error(stream->s->core->log, "backup", "a backup was not made: %s",
			     strerror(-rc));
		end(stream, rc);
		return;
	}
	xn_http_stream_write(stream->conn, stream->piece.data, stream->piece.len);
	stream->piece.len = 0;
	if (rc == 0)
		end(stream, 0);
}

static void on_want(struct xn_http_conn *conn, void *arg)
{
	struct stream *stream = arg;

	if (stream->making)
		return;
	stream->making = true;
	stream->work = (struct xn_work){.run = make_piece, .done = on_made};
	xn_pool_submit(stream->s->pool, &stream->work);
}

/* ---- requests ---- */

static void refuse(struct stream *stream, const char *text)
{
	xn_http_on_close(stream->conn, NULL, NULL);
	xn_http_reply(stream->conn, 503, "text/plain", "Retry-After: 1\r\n", text, strlen(text));
	leave(stream, -EAGAIN);
	stream_free(stream);
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
	xn_http_stream_begin(stream->conn, 200,
			     "Content-Type: application/octet-stream\r\n"
			     "Content-Disposition: attachment; filename=\"xenolith.backup\"\r\n",
			     -1, on_want, stream);
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct state *s = arg;
	struct stream *stream = xn_calloc(1, sizeof(*stream));

	stream->s = s;
	stream->conn = req->conn;
	stream->visit = visit;
	xn_list_push(&s->streams, &stream->link);
	s->n_streams++;
	if (s->n_streams > MAX_STREAMS) {
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

static int backup_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct state *s = xn_calloc(1, sizeof(*s));

	s->core = core;
	xn_list_init(&s->streams);
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

		if (stream->conn)
			xn_http_cut(stream->conn); /* drops it */
	}
	xn_pool_free(s->pool);
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
