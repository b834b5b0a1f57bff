/*
 * GET /export_raw_vdi and PUT /import_raw_vdi: a disk's bytes as a guest sees them. Both hold the disk
 * from before the first byte to the last: the one as `copy`, the other so that nobody else uses it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/transfer/held_disk.h"
#include "rpc/inflow.h"

enum { CHUNK = 1 << 20 };
/* What clients declare who do not know how much comes. */
static const int64_t unknown_length = (int64_t)1 << 50;

struct raw {
	struct xn_transfer transfer;
	struct xn_outflow out;
	struct xn_inflow in;
	struct xn_http_conn *conn; /* until a flow has it; NULL: gone */
	struct xn_error err;
	struct xn_held_disks disks;
	char uuid[40];
	bool is_import, flows;
	int64_t at, size; /* the worker's while it works */
	int64_t length;	  /* of the body; -1: unknown */
	bool ends_by_hanging_up; /* the client, who knows no other way */
};

/* ---- the end ---- */

static void on_dropped(struct xn_held_disks *disks)
{
	struct raw *raw = xn_container_of(disks, struct raw, disks);

	xn_transfer_end(&raw->transfer, xn_error_is_set(&raw->err) ? &raw->err : NULL);
	xn_error_clear(&raw->err);
	free(raw);
}

static void end(struct raw *raw)
{
	if (raw->conn)
		xn_http_on_close(raw->conn, NULL, NULL);
	raw->conn = NULL;
	xn_held_disks_drop(&raw->disks);
}

static void refuse(struct raw *raw, struct xn_error *err)
{
	if (!xn_error_is_set(&raw->err))
		xn_error_move(&raw->err, err);
	if (raw->conn)
		xn_transfer_refuse(raw->conn, &raw->err);
	end(raw);
}

static void on_closed(void *arg)
{
	struct raw *raw = arg;

	raw->conn = NULL;
	xn_transfer_error(&raw->err, -EPIPE, "");
	end(raw);
}

static void stop(struct xn_transfer *transfer, const struct xn_error *err)
{
	struct raw *raw = xn_container_of(transfer, struct raw, transfer);

	if (xn_error_is_set(&raw->err))
		return; /* on its way out */
	xn_error_copy(&raw->err, err);
	if (!raw->flows)
		refuse(raw, NULL);
	else if (raw->is_import)
		xn_inflow_cut(&raw->in, -ECANCELED);
	else
		xn_outflow_cut(&raw->out);
}

/* ---- out ---- */

static int make_piece(struct xn_outflow *flow, struct xn_buf *piece)
{
	struct raw *raw = xn_container_of(flow, struct raw, out);
	int64_t left = raw->size - raw->at;
	size_t len = (size_t)(left < CHUNK ? left : CHUNK);
	int rc = xn_disk_read(raw->disks.disks[0]->file, raw->at, xn_buf_reserve(piece, len), len);

	if (rc < 0)
		return rc;
	piece->len += len;
	raw->at += (int64_t)len;
	return raw->at < raw->size;
}

static void show_progress(struct raw *raw)
{
	if (raw->size)
		xn_transfer_progress(&raw->transfer, (double)raw->at / (double)raw->size);
}

static void on_made(struct xn_outflow *flow, size_t bytes)
{
	show_progress(xn_container_of(flow, struct raw, out));
}

static void on_sent(struct xn_outflow *flow, int rc)
{
	struct raw *raw = xn_container_of(flow, struct raw, out);

	xn_transfer_error(&raw->err, rc, "the disk could not be read");
	end(raw);
}

static void begin_export(struct raw *raw)
{
	struct xn_transfers *t = raw->transfer.t;
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};
	char name[48];

	snprintf(name, sizeof(name), "%s.raw", raw->uuid);
	xn_transfer_headers(&raw->transfer, NULL, name, &headers);
	raw->out = (struct xn_outflow){.core = t->core,
				       .conn = raw->conn,
				       .pool = t->pool,
				       .make = make_piece,
				       .made = on_made,
				       .over = on_sent};
	raw->conn = NULL;
	raw->flows = true;
	xn_outflow_begin(&raw->out, xn_buf_cstr(&headers), raw->size);
}

/* ---- in ---- */

/* As many bytes as were declared; where nobody knows, up to the end or until the disk is full. */
static int take_piece(struct xn_inflow *flow, const char *bytes, size_t len, size_t *used)
{
	struct raw *raw = xn_container_of(flow, struct raw, in);
	struct xn_disk_file *file = raw->disks.disks[0]->file;
	bool is_known = raw->length >= 0;
	int rc = 0;

	if (!len)
		return flow->was_cut && !raw->ends_by_hanging_up ? -ENODATA : xn_disk_sync(file);
	if ((int64_t)len > raw->size - raw->at)
		rc = is_known || raw->at == raw->size ? -ENOSPC : 0;
	if (rc == 0) {
		*used = (int64_t)len > raw->size - raw->at ? (size_t)(raw->size - raw->at) : len;
		rc = xn_disk_write(file, raw->at, bytes, *used);
	}
	if (rc < 0)
		return rc;
	raw->at += (int64_t)*used;
	if (raw->at < (is_known ? raw->length : raw->size))
		return XN_INFLOW_MORE;
	rc = xn_disk_sync(file);
	return rc < 0 ? rc : XN_INFLOW_DONE;
}

static void on_taken(struct xn_inflow *flow)
{
	show_progress(xn_container_of(flow, struct raw, in));
}

static void on_received(struct xn_inflow *flow, int rc)
{
	struct raw *raw = xn_container_of(flow, struct raw, in);

	if (rc == -ENODATA && !xn_error_is_set(&raw->err))
		xn_error_set(&raw->err, XN_ERR_IMPORT_ERROR_PREMATURE_EOF);
	xn_transfer_error(&raw->err, rc, "the disk could not be written");
	end(raw);
}

static void begin_import(struct raw *raw)
{
	struct xn_transfers *t = raw->transfer.t;
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_transfer_headers(&raw->transfer, NULL, NULL, &headers);
	raw->in = (struct xn_inflow){.core = t->core,
				     .conn = raw->conn,
				     .pool = t->pool,
				     .take = take_piece,
				     .taken = on_taken,
				     .over = on_received};
	raw->conn = NULL;
	raw->flows = true;
	xn_inflow_begin(&raw->in, xn_buf_cstr(&headers));
}

/* ---- the request ---- */

static void on_disk(struct xn_held_disks *disks, struct xn_error *err)
{
	struct raw *raw = xn_container_of(disks, struct raw, disks);

	if (err)
		refuse(raw, err);
	else if (raw->is_import)
		begin_import(raw);
	else
		begin_export(raw);
}

static int check_format(const struct xn_http_request *req, struct xn_error *err)
{
	static const char *const others[] = {"vhd", "qcow2", "tar"};
	const char *format = xn_transfer_param(req, "format");

	if (!format || strcasecmp(format, "raw") == 0) {
		if (!xn_transfer_param(req, "base"))
			return 0;
		return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, "the difference to a base");
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(others); i++)
		if (strcasecmp(format, others[i]) == 0)
			return xn_error_setf(err, XN_ERR_NOT_IMPLEMENTED, "disks as %s", others[i]);
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "format", format);
}

/* `update` lets copies go on beside it, which would get a mixture. */
static int check_alone(const struct xn_row *vdi, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(vdi, XN_VDI_current_operations);

	if (xn_row_bool(vdi, XN_VDI_read_only))
		return xn_error_set(err, XN_ERR_VDI_READONLY, xn_row_ref(vdi));
	return xn_map_len(current) ? xn_operation_busy(err, "VDI", xn_row_ref(vdi), current, NULL, ",")
				   : 0;
}

static int check_length(const struct raw *raw, const struct xn_row *vdi, struct xn_error *err)
{
	char size[24];

	if (raw->length <= raw->size)
		return 0;
	snprintf(size, sizeof(size), "%" PRId64, raw->length);
	return xn_error_set(err, XN_ERR_VDI_TOO_SMALL, xn_row_ref(vdi), size);
}

static int read_request(struct raw *raw, const struct xn_http_request *req, struct xn_error *err)
{
	const char *name = xn_transfer_param(req, "vdi");
	const struct xn_row *vdi;

	if (!name)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "vdi", "");
	vdi = xn_transfer_row(raw->transfer.t, XN_CLASS_VDI, name, err);
	if (!vdi || check_format(req, err) < 0)
		return -1;
	raw->size = xn_row_int(vdi, XN_VDI_virtual_size);
	raw->ends_by_hanging_up = req->body_length >= unknown_length;
	raw->length = raw->ends_by_hanging_up ? -1 : req->body_length;
	if (raw->is_import && (check_alone(vdi, err) < 0 || check_length(raw, vdi, err) < 0))
		return -1;
	snprintf(raw->uuid, sizeof(raw->uuid), "%s", xn_row_uuid(vdi));
	xn_held_disks_add(&raw->disks, vdi, "");
	return 0;
}

static void begin(const struct xn_http_request *req, struct xn_rpc_visit *visit,
		  struct xn_transfers *t, bool is_import)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct raw *raw = xn_calloc(1, sizeof(*raw));

	if (!xn_transfer_begin(t, &raw->transfer, req, visit, stop)) {
		free(raw);
		return;
	}
	raw->conn = req->conn;
	raw->is_import = is_import;
	raw->disks = (struct xn_held_disks){.t = t,
					    .operation = is_import ? "update" : "copy",
					    .to_write = is_import,
					    .ready = on_disk,
					    .dropped = on_dropped};
	if (read_request(raw, req, &err) < 0) {
		refuse(raw, &err);
		return;
	}
	xn_http_on_close(req->conn, on_closed, raw);
	xn_held_disks_take(&raw->disks, visit->task);
}

static void on_export(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	begin(req, visit, arg, false);
}

static void on_import(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	if (xn_transfer_is_probe(req, visit))
		return;
	begin(req, visit, arg, true);
}

static const struct xn_rpc_door export_door = {
	.name = "get_export_raw_vdi",
	.role = XN_ROLE_VM_ADMIN,
	.task_label = "Export raw VDI",
	.objects = {{"vdi", XN_CLASS_VDI}},
	.run = on_export,
};
static const struct xn_rpc_door import_door = {
	.name = "put_import_raw_vdi",
	.role = XN_ROLE_VM_ADMIN,
	.task_label = "Import raw VDI",
	.changes = true,
	.objects = {{"vdi", XN_CLASS_VDI}},
	.run = on_import,
};

static void on_get(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &export_door, arg);
}

static void on_put(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &import_door, arg);
}

const struct xn_http_route xn_transfer_export_raw_route = {
	.method = "GET",
	.path = "/export_raw_vdi",
	.prefix = true,
	.kind = XN_HTTP_STREAM_OUT,
	.run = on_get,
};
const struct xn_http_route xn_transfer_import_raw_route = {
	.method = "PUT",
	.path = "/import_raw_vdi",
	.prefix = true,
	.kind = XN_HTTP_STREAM_IN,
	.run = on_put,
};
