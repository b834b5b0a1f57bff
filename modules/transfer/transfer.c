/* The module, its routes, and what transfers have in common: a place, a task, refusals. */
#include "modules/transfer/import_made.h"
#include "modules/transfer/transfer_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	WORKERS = 4,
	PATIENCE_US = 500 * 1000,
	A_SLICE = 50,
	A_SLICE_US = 2000,
};

bool xn_slice_has_room(struct xn_slice *slice, const struct xn_transfers *t)
{
	if (slice->n++ == 0)
		return true;
	return slice->n <= A_SLICE && xn_callback_us(t->core->loop) < A_SLICE_US;
}

/* ---- one transfer ---- */

static void on_cancel(void *arg)
{
	struct xn_transfer *transfer = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_TASK_CANCELLED, transfer->visit->task);
	transfer->stop(transfer, &err);
}

/* Clients set -1 to see whether anybody has taken the task on. */
static void take_task(struct xn_transfer *transfer)
{
	struct xn_transfers *t = transfer->t;
	const char *task = transfer->visit->task;
	struct xn_row *row = xn_db_get(t->db, XN_CLASS_task, task);

	if (!row)
		return;
	xn_db_set(t->db, row, XN_task_progress, xn_float(0.0));
	xn_task_step(t->tasks, task, "transfer");
	xn_task_on_cancel(t->tasks, task, on_cancel, transfer);
}

bool xn_transfer_begin(struct xn_transfers *t, struct xn_transfer *transfer,
		       const struct xn_http_request *req, struct xn_rpc_visit *visit,
		       void (*stop)(struct xn_transfer *transfer, const struct xn_error *err))
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (t->n >= xn_config_int(t->core->config, "transfers")) { /* a few MiB each */
		xn_error_set(&err, XN_ERR_TOO_MANY_PENDING_TASKS);
		xn_transfer_refuse(req->conn, &err);
		xn_rpc_leave(visit, &err);
		return false;
	}
	transfer->t = t;
	transfer->visit = visit;
	transfer->stop = stop;
	xn_list_push(&t->list, &transfer->link);
	t->n++;
	take_task(transfer);
	return true;
}

void xn_transfer_end(struct xn_transfer *transfer, const struct xn_error *err)
{
	xn_task_on_cancel(transfer->t->tasks, transfer->visit->task, NULL, NULL);
	xn_list_remove(&transfer->link);
	transfer->t->n--;
	xn_rpc_leave(transfer->visit, err);
}

void xn_transfer_progress(struct xn_transfer *transfer, double fraction)
{
	xn_task_progress(transfer->t->tasks, transfer->visit->task, fraction);
}

bool xn_transfer_error(struct xn_error *err, int rc, const char *doing)
{
	if (rc == 0 || xn_error_is_set(err))
		return rc != 0;
	if (rc == -EPIPE)
		xn_error_set(err, XN_ERR_CLIENT_ERROR,
			     "the client has hung up, or was silent for too long");
	else if (rc == -EIO)
		xn_error_set(err, XN_ERR_VDI_IO_ERROR, "Device I/O error");
	else
		xn_error_from_errno(err, rc, doing);
	return true;
}

/* ---- answers ---- */

static int status_of(const char *code)
{
	static const struct {
		const char *code;
		int status;
	} table[] = {
		{XN_ERR_HANDLE_INVALID, 404},	 {XN_ERR_UUID_INVALID, 404},
		{XN_ERR_INVALID_VALUE, 400},	 {XN_ERR_TOO_MANY_PENDING_TASKS, 503},
		{XN_ERR_INTERNAL_ERROR, 500},	 {XN_ERR_VDI_IO_ERROR, 500},
		{XN_ERR_NOT_IMPLEMENTED, 501},	 {XN_ERR_SR_OPERATION_NOT_SUPPORTED, 400},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(table); i++)
		if (strcmp(table[i].code, code) == 0)
			return table[i].status;
	return 409; /* the object is not in the state for it */
}

void xn_transfer_refuse(struct xn_http_conn *conn, const struct xn_error *err)
{
	char *sentence XN_CLEANUP(xn_free_p) = xn_error_sentence(err);
	char *text XN_CLEANUP(xn_free_p) = xn_asprintf("%s\n", sentence);

	xn_http_on_close(conn, NULL, NULL);
	xn_http_reply(conn, status_of(err->code), "text/plain", NULL, text, strlen(text));
}

void xn_transfer_headers(const struct xn_transfer *transfer, const char *type, const char *file,
			 struct xn_buf *out)
{
	xn_buf_printf(out, "Content-Type: %s\r\n", type ? type : "application/octet-stream");
	if (transfer->visit->task[0])
		xn_buf_printf(out, "task-id: %s\r\n", transfer->visit->task);
	if (file)
		xn_buf_printf(out, "Content-Disposition: attachment; filename=\"%s\"\r\n", file);
}

/* ---- parameters ---- */

const char *xn_transfer_param(const struct xn_http_request *req, const char *name)
{
	const char *value = xn_http_query(req, name);

	return value ? value : xn_http_cookie(req, name);
}

int xn_transfer_flag(const struct xn_http_request *req, const char *name, bool otherwise,
		     bool *out, struct xn_error *err)
{
	const char *text = xn_transfer_param(req, name);

	*out = text ? strcmp(text, "true") == 0 : otherwise;
	if (!text || *out || strcmp(text, "false") == 0)
		return 0;
	return xn_error_set(err, XN_ERR_INVALID_VALUE, name, text);
}

struct xn_row *xn_transfer_row(struct xn_transfers *t, int class_id, const char *name,
			       struct xn_error *err)
{
	struct xn_row *row = xn_db_get(t->db, class_id, name);

	if (!row)
		row = xn_db_by_uuid(t->db, class_id, name);
	if (!row)
		xn_error_set(err, XN_ERR_HANDLE_INVALID, xn_classes[class_id].name, name);
	return row;
}

bool xn_transfer_is_probe(const struct xn_http_request *req, struct xn_rpc_visit *visit)
{
	if (req->body_length != 0 || xn_transfer_param(req, "task_id"))
		return false;
	xn_http_reply(req->conn, 200, NULL, NULL, "", 0);
	xn_rpc_leave(visit, NULL);
	return true;
}

/* ---- the module ---- */

static const struct xn_http_route *const routes[] = {
	&xn_transfer_export_route,
	&xn_transfer_export_raw_route,
	&xn_transfer_import_route,
	&xn_transfer_import_raw_route,
	&xn_transfer_metadata_route,
	&xn_transfer_xml_dump_route,
};

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_transfers *t = xn_container_of(source, struct xn_transfers, metrics);

	xn_metrics_gauge(page, "xenolith_transfers", "",
			 "Disks, archives and dumps under way over HTTP.", t->n);
	return 0;
}

static int transfer_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_transfers *t = xn_calloc(1, sizeof(*t));

	t->core = core;
	xn_list_init(&t->list);
	xn_list_init(&t->passes);
	t->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &t->metrics);
	*state_out = t;
	return 0;
}

static int transfer_start(void *state, struct xn_error *err)
{
	struct xn_transfers *t = state;

	t->db = xn_db_of(t->core);
	t->tasks = xn_tasks_of(t->core);
	t->storage = xn_storage_of(t->core);
	t->operations = xn_operations_of(t->core);
	xn_operation_register_kind(t->operations, &xn_transfer_import_kind, NULL, NULL, NULL, t);
	t->pool = xn_pool_new(t->core->loop, "transfer", WORKERS);
	for (size_t i = 0; i < XN_ARRAY_SIZE(routes); i++)
		xn_rpc_add_route(t->core, routes[i], t);
	for (const struct xn_http_route *route = xn_transfer_not_there; route->method; route++)
		xn_rpc_add_route(t->core, route, t);
	return 0;
}

/* What waits for an answer from storage is over when that has come. */
static void wait_for_all(struct xn_transfers *t)
{
	struct xn_loop *loop = t->core->loop;
	int64_t now = xn_now_us(loop), until = now + PATIENCE_US;

	while (t->n && now < until) {
		xn_loop_turn(loop, until - now);
		now = xn_now_us(loop);
	}
}

static void transfer_stop(void *state)
{
	struct xn_transfers *t = state;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_INTERNAL_ERROR, "interrupted by a stop of the server");
	if (t->pool) {
		xn_rpc_remove_routes(t->core, t);
		xn_list_each_safe(link, &t->list) {
			struct xn_transfer *transfer =
				xn_list_entry(link, struct xn_transfer, link);

			transfer->stop(transfer, &err);
		}
		wait_for_all(t);
		xn_import_drop_made(t);
		xn_pool_free(t->pool);
	}
	xn_metrics_remove(&t->metrics);
	free(t);
}

static const char *const needs[] = {"auth",    "db",  "domain",	 "network", "operation",
				    "records", "rpc", "storage", "task",    NULL};

const struct xn_module xn_transfer_module = {
	.name = "transfer",
	.needs = needs,
	.init = transfer_init,
	.start = transfer_start,
	.stop = transfer_stop,
};
