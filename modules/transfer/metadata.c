/*
 * GET /export_metadata: ova.xml (ova.h) of one virtual machine or of all, in an archive without disks.
 * Made on the loop in slices: first what is in it, then how long it is, then the text as the client
 * reads it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/transfer/ova.h"
#include "modules/transfer/tar.h"
#include "modules/transfer/transfer_internal.h"

enum { VMS_A_SLICE = 50 };

struct metadata {
	struct xn_transfer transfer;
	struct xn_outflow flow;
	struct xn_http_conn *conn; /* until the flow has it */
	struct xn_error err;
	struct xn_job slice;
	struct xn_ova *ova;
	struct xn_value *vms; /* references */
	size_t added;
	bool head_is_out;
};

static void end(struct metadata *m)
{
	if (m->conn)
		xn_http_on_close(m->conn, NULL, NULL);
	xn_job_cancel(&m->slice);
	xn_transfer_end(&m->transfer, xn_error_is_set(&m->err) ? &m->err : NULL);
	xn_ova_free(m->ova);
	xn_value_unref(m->vms);
	xn_error_clear(&m->err);
	free(m);
}

static void refuse(struct metadata *m, struct xn_error *err)
{
	if (!xn_error_is_set(&m->err))
		xn_error_move(&m->err, err);
	xn_transfer_refuse(m->conn, &m->err);
	end(m);
}

static void on_closed(void *arg)
{
	struct metadata *m = arg;

	m->conn = NULL;
	xn_transfer_error(&m->err, -EPIPE, "");
	end(m);
}

static void on_over(struct xn_outflow *flow, int rc)
{
	struct metadata *m = xn_container_of(flow, struct metadata, flow);

	xn_transfer_error(&m->err, rc, "the archive was not made");
	end(m);
}

static void stop(struct xn_transfer *transfer, const struct xn_error *err)
{
	struct metadata *m = xn_container_of(transfer, struct metadata, transfer);

	xn_error_copy(&m->err, err);
	if (m->conn)
		refuse(m, NULL);
	else
		xn_outflow_cut(&m->flow);
}

/* ---- the text ---- */

static int make_slice(struct xn_outflow *flow, struct xn_buf *out)
{
	struct metadata *m = xn_container_of(flow, struct metadata, flow);

	if (!m->head_is_out)
		xn_tar_add_header(out, "ova.xml", xn_ova_length(m->ova));
	m->head_is_out = true;
	if (!xn_ova_write(m->ova, out))
		return 1;
	xn_tar_add_padding(out, xn_ova_length(m->ova));
	xn_tar_add_end(out);
	return 0;
}

static void begin(struct metadata *m)
{
	uint64_t length = xn_ova_length(m->ova);
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_transfer_headers(&m->transfer, NULL, "export.xva", &headers);
	m->flow = (struct xn_outflow){.core = m->transfer.t->core,
				      .conn = m->conn,
				      .make = make_slice,
				      .holds_records = true,
				      .over = on_over};
	m->conn = NULL;
	xn_outflow_begin(&m->flow, xn_buf_cstr(&headers),
			 (int64_t)(3 * XN_TAR_BLOCK + length + xn_tar_padding(length)));
}

static void gather(struct xn_job *job)
{
	struct metadata *m = xn_container_of(job, struct metadata, slice);
	struct xn_transfers *t = m->transfer.t;
	size_t n = xn_set_len(m->vms), until = m->added + VMS_A_SLICE;

	if (m->added == n && xn_ova_measure(m->ova)) {
		begin(m);
		return;
	}
	for (; m->added < n && m->added < until; m->added++) {
		const char *ref = xn_value_string(xn_set_at(m->vms, m->added));
		struct xn_row *vm = xn_db_get(t->db, XN_CLASS_VM, ref);

		if (vm)
			xn_ova_add_vm(m->ova, vm);
	}
	xn_loop_defer(t->core->loop, &m->slice, XN_PRIO_BULK, gather);
}

/* ---- the request ---- */

static void add_all(struct metadata *m, bool with_dom0)
{
	struct xn_db *db = m->transfer.t->db;

	for (struct xn_row *vm = xn_db_first(db, XN_CLASS_VM); vm; vm = xn_db_next(db, vm))
		if (!xn_row_bool(vm, XN_VM_is_default_template) &&
		    (with_dom0 || !xn_row_bool(vm, XN_VM_is_control_domain)))
			xn_set_append_string(&m->vms, xn_row_ref(vm));
}

static int add_one(struct metadata *m, const struct xn_http_request *req, struct xn_error *err)
{
	struct xn_transfers *t = m->transfer.t;
	const struct xn_row *vm = xn_transfer_vm(t, req, err);

	if (!vm)
		return -1;
	if (xn_row_bool(vm, XN_VM_is_a_snapshot))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "a snapshot's metadata go with those of its VM");
	if (xn_operation_check(t->operations, XN_CLASS_VM, xn_row_ref(vm), "metadata_export", err) < 0)
		return -1;
	xn_set_append_string(&m->vms, xn_row_ref(vm));
	return 0;
}

static int read_request(struct metadata *m, const struct xn_http_request *req, struct xn_error *err)
{
	struct xn_ova_options options = {.keeps_state = true};
	bool all, with_dom0;

	if (xn_transfer_flag(req, "all", false, &all, err) < 0 ||
	    xn_transfer_flag(req, "include_dom0", true, &with_dom0, err) < 0 ||
	    xn_transfer_flag(req, "export_snapshots", true, &options.snapshots, err) < 0)
		return -1;
	options.without = xn_transfer_param(req, "excluded_device_types");
	m->ova = xn_ova_new(m->transfer.t->core, m->transfer.t->db, &options);
	if (!all)
		return add_one(m, req, err);
	add_all(m, with_dom0);
	return 0;
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_transfers *t = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct metadata *m = xn_calloc(1, sizeof(*m));

	if (!xn_transfer_begin(t, &m->transfer, req, visit, stop)) {
		free(m);
		return;
	}
	m->conn = req->conn;
	m->vms = xn_set_new();
	if (read_request(m, req, &err) < 0) {
		refuse(m, &err);
		return;
	}
	xn_http_on_close(req->conn, on_closed, m);
	xn_loop_defer(t->core->loop, &m->slice, XN_PRIO_BULK, gather);
}

static const struct xn_rpc_door door = {
	.name = "get_export_metadata",
	.role = XN_ROLE_VM_ADMIN,
	.task_label = "VM.export_metadata",
	.objects = {{"ref", XN_CLASS_VM}, {"uuid", XN_CLASS_VM}},
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &door, arg);
}

const struct xn_http_route xn_transfer_metadata_route = {
	.method = "GET",
	.path = "/export_metadata",
	.prefix = true,
	.kind = XN_HTTP_STREAM_OUT,
	.run = on_request,
};
