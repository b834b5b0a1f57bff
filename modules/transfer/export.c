/*
 * GET /export: a virtual machine as an archive (XVA), a tar file of
 *
 *	ova.xml			what it is; see ova.h
 *	Ref:7/00000000		the first MiB of a disk, whose object in ova.xml has that number
 *	Ref:7/00000000.xxhash	its checksum: XXH64, 16 upper-case digits
 *	Ref:7/00000003 ...	further ones; what is not there is zeros, but the first and last always are
 *
 * The machine holds `export` and its disks `copy` from before the first byte to the last. Pieces are
 * made by a worker, a MiB at most each time that the client has taken the one before.
 *
 *	VM held --> disks held and open --> ova.xml made in slices --> 200 --> pieces --> end
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/transfer/held_disk.h"
#include "modules/transfer/ova.h"
#include "modules/transfer/pack.h"
#include "modules/transfer/tar.h"
#include "modules/transfer/xxh64.h"

enum {
	CHUNK = 1 << 20,
	WAIT_MS = 120 * 1000,	  /* for others to let go of the VM */
	ZEROS_A_PIECE = 64,	  /* chunks looked at before the loop hears of it */
	SILENCE_US = 5000 * 1000, /* firewalls cut connections that say nothing for long */
	OVA_MAX = 64 << 20,
};

struct export {
	struct xn_transfer transfer;
	struct xn_outflow flow;
	struct xn_http_conn *conn; /* until the flow has it; NULL: gone */
	struct xn_error err;
	char vm[48];
	struct xn_claim claim;
	struct xn_held_disks disks;
	struct xn_ova_options options;
	struct xn_ova *ova;
	struct xn_job slice;
	bool is_measured, flows;
	/* The worker's while it makes a piece. */
	struct xn_buf head; /* ova.xml as it stands in the archive */
	struct xn_buf plain;
	enum xn_pack_kind kind;
	struct xn_pack *pack;
	size_t disk;	    /* that comes next */
	int64_t chunk;	    /* of it */
	int64_t done;	    /* bytes of the disks before */
	char *bytes;	    /* of a chunk */
	bool breaks_silence; /* the next chunk is sent even if it is zeros */
	bool is_dense;	     /* so is every one */
	int64_t total, sent_us;
};

/* ---- the end ---- */

static void on_dropped(struct xn_held_disks *disks)
{
	struct export *e = xn_container_of(disks, struct export, disks);

	xn_operation_release(&e->claim);
	xn_job_cancel(&e->slice);
	xn_transfer_end(&e->transfer, xn_error_is_set(&e->err) ? &e->err : NULL);
	xn_ova_free(e->ova);
	xn_pack_free(e->pack);
	xn_buf_clear(&e->head);
	xn_buf_clear(&e->plain);
	xn_error_clear(&e->err);
	free(e->bytes);
	free(e);
}

static void end(struct export *e)
{
	if (e->conn)
		xn_http_on_close(e->conn, NULL, NULL);
	e->conn = NULL;
	xn_held_disks_drop(&e->disks);
}

/* Before the answer has begun. */
static void refuse(struct export *e, struct xn_error *err)
{
	if (!xn_error_is_set(&e->err))
		xn_error_move(&e->err, err);
	if (e->conn)
		xn_transfer_refuse(e->conn, &e->err);
	end(e);
}

static void on_closed(void *arg)
{
	struct export *e = arg;

	e->conn = NULL;
	xn_transfer_error(&e->err, -EPIPE, "");
	end(e);
}

static void on_over(struct xn_outflow *flow, int rc)
{
	struct export *e = xn_container_of(flow, struct export, flow);

	xn_transfer_error(&e->err, rc, "the archive was not made");
	end(e);
}

static void stop(struct xn_transfer *transfer, const struct xn_error *err)
{
	struct export *e = xn_container_of(transfer, struct export, transfer);

	if (xn_error_is_set(&e->err))
		return; /* on its way out */
	xn_error_copy(&e->err, err);
	if (e->flows)
		xn_outflow_cut(&e->flow);
	else
		refuse(e, NULL);
}

/* ---- pieces: on a worker ---- */

static bool is_zero(const char *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static size_t chunk_len(const struct xn_held_disk *disk, int64_t chunk)
{
	int64_t left = disk->size - chunk * CHUNK;

	return (size_t)(left < CHUNK ? left : CHUNK);
}

static void add_chunk(struct export *e, const struct xn_held_disk *disk, size_t len,
		      struct xn_buf *out)
{
	char name[XN_TAR_NAME], sum[24];
	int n = snprintf(sum, sizeof(sum), "%016" PRIX64, xn_xxh64(e->bytes, len));

	snprintf(name, sizeof(name), "%s/%08" PRId64, disk->id, e->chunk);
	xn_tar_add_header(out, name, len);
	xn_buf_add(out, e->bytes, len);
	xn_tar_add_padding(out, len);
	strcat(name, ".xxhash");
	xn_tar_add_header(out, name, (uint64_t)n);
	xn_buf_add(out, sum, (size_t)n);
	xn_tar_add_padding(out, (uint64_t)n);
}

/* To the next chunk from e->chunk on that has to be looked at. */
static int skip_holes(struct export *e, const struct xn_held_disk *disk, int64_t last)
{
	int64_t at;
	int rc;

	if (e->chunk == 0 || e->chunk == last || e->breaks_silence || e->is_dense)
		return 0;
	rc = xn_disk_next_data(disk->file, e->chunk * CHUNK, &at);
	if (rc < 0)
		return rc;
	e->chunk = at / CHUNK < last ? at / CHUNK : last;
	return 0;
}

/* A chunk, or nothing when there were zeros for a while. 1; 0: the disks are through; -errno. */
static int add_some(struct export *e, struct xn_buf *out)
{
	const struct xn_held_disk *disk = e->disks.disks[e->disk];
	int64_t last = (disk->size - 1) / CHUNK;

	for (unsigned n = 0; n < ZEROS_A_PIECE && !out->len && e->chunk <= last; n++) {
		int rc = skip_holes(e, disk, last);
		size_t len = chunk_len(disk, e->chunk);

		if (rc == 0)
			rc = xn_disk_read(disk->file, e->chunk * CHUNK, e->bytes, len);
		if (rc < 0)
			return rc;
		if (e->chunk == 0 || e->chunk == last || e->breaks_silence || e->is_dense ||
		    !is_zero(e->bytes, len))
			add_chunk(e, disk, len, out);
		e->chunk++;
	}
	if (e->chunk > last) {
		e->done += disk->size;
		e->chunk = 0;
		e->disk++;
	}
	return 1;
}

static int add_part(struct export *e, struct xn_buf *out)
{
	if (e->head.len) {
		xn_buf_add(out, e->head.data, e->head.len);
		xn_buf_clear(&e->head);
		return 1;
	}
	while (e->disk < e->disks.n && e->disks.disks[e->disk]->size <= 0)
		e->disk++;
	if (e->disk < e->disks.n)
		return add_some(e, out);
	xn_tar_add_end(out);
	return 0;
}

static int make_piece(struct xn_outflow *flow, struct xn_buf *piece)
{
	struct export *e = xn_container_of(flow, struct export, flow);
	int rc;

	if (e->kind == XN_PACK_NONE)
		return add_part(e, piece);
	e->plain.len = 0;
	rc = add_part(e, &e->plain);
	if (rc >= 0)
		xn_pack_add(e->pack, e->plain.data, e->plain.len,
			    rc == 0		? XN_PACK_END
			    : e->breaks_silence ? XN_PACK_FLUSH
						: XN_PACK_MORE,
			    piece);
	return rc;
}

static void on_made(struct xn_outflow *flow, size_t bytes)
{
	struct export *e = xn_container_of(flow, struct export, flow);
	int64_t now = xn_now_us(e->transfer.t->core->loop);

	if (bytes)
		e->sent_us = now;
	e->breaks_silence = now - e->sent_us >= SILENCE_US;
	if (e->total)
		xn_transfer_progress(&e->transfer,
				     (double)(e->done + e->chunk * CHUNK) / (double)e->total);
}

/* ---- the answer begins ---- */

static void begin(struct export *e)
{
	struct xn_transfers *t = e->transfer.t;
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_ova_free(e->ova);
	e->ova = NULL;
	for (size_t i = 0; i < e->disks.n; i++)
		e->total += e->disks.disks[i]->size;
	/* The field's readers take the archive's first piece for the unit in which zeros are left out. */
	e->is_dense = e->disks.n > 1 && e->disks.disks[0]->size < CHUNK;
	e->bytes = xn_malloc(CHUNK);
	e->pack = e->kind == XN_PACK_NONE ? NULL : xn_pack_new(e->kind);
	e->sent_us = xn_now_us(t->core->loop);
	e->flow = (struct xn_outflow){.core = t->core,
				      .conn = e->conn,
				      .pool = t->pool,
				      .make = make_piece,
				      .made = on_made,
				      .over = on_over};
	e->conn = NULL;
	e->flows = true;
	xn_transfer_headers(&e->transfer, NULL, "export.xva", &headers);
	xn_outflow_begin(&e->flow, xn_buf_cstr(&headers), -1);
}

static void make_head(struct xn_job *job)
{
	struct export *e = xn_container_of(job, struct export, slice);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	bool is_over = false;

	if (!e->is_measured) {
		e->is_measured = xn_ova_measure(e->ova);
		if (e->is_measured)
			xn_tar_add_header(&e->head, "ova.xml", xn_ova_length(e->ova));
	} else {
		is_over = xn_ova_write(e->ova, &e->head);
	}
	if (e->head.len > OVA_MAX) {
		xn_error_set(&err, XN_ERR_INTERNAL_ERROR, "the VM has too much of everything");
		refuse(e, &err);
	} else if (is_over) {
		xn_tar_add_padding(&e->head, xn_ova_length(e->ova));
		begin(e);
	} else {
		xn_loop_defer(e->transfer.t->core->loop, &e->slice, XN_PRIO_BULK, make_head);
	}
}

static void on_disks(struct xn_held_disks *disks, struct xn_error *err)
{
	struct export *e = xn_container_of(disks, struct export, disks);

	if (err)
		refuse(e, err);
	else
		xn_loop_defer(e->transfer.t->core->loop, &e->slice, XN_PRIO_BULK, make_head);
}

/* ---- what is exported ---- */

static void add_disk(struct export *e, const char *ref)
{
	struct xn_db *db = e->transfer.t->db;
	struct xn_row *vdi = xn_db_get(db, XN_CLASS_VDI, ref);
	const struct xn_row *sr = vdi ? xn_row_follow(db, vdi, XN_VDI_SR) : NULL;
	const char *id = xn_ova_id(e->ova, ref);

	if (id && sr && strcmp(xn_row_string(sr, XN_SR_content_type), "iso") != 0)
		xn_held_disks_add(&e->disks, vdi, id);
}

/* As texts: that is the order in which readers expect them. */
static int by_id(const void *a, const void *b)
{
	return strcmp((*(struct xn_held_disk *const *)a)->id,
		      (*(struct xn_held_disk *const *)b)->id);
}

static void add_disks(struct export *e, const struct xn_row *vm)
{
	struct xn_db *db = e->transfer.t->db;
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd && strcmp(xn_row_string(vbd, XN_VBD_type), "CD") != 0)
			add_disk(e, xn_row_string(vbd, XN_VBD_VDI));
	}
	if (e->options.keeps_state && strcmp(xn_row_string(vm, XN_VM_power_state), "Suspended") == 0)
		add_disk(e, xn_row_string(vm, XN_VM_suspend_VDI));
	if (e->disks.n)
		qsort(e->disks.disks, e->disks.n, sizeof(e->disks.disks[0]), by_id);
}

static void on_vm_held(struct xn_claim *claim, struct xn_error *err)
{
	struct export *e = claim->arg;
	struct xn_transfers *t = e->transfer.t;
	struct xn_row *vm = xn_db_get(t->db, XN_CLASS_VM, e->vm);

	if (err) {
		refuse(e, err);
		return;
	}
	e->ova = xn_ova_new(t->core, t->db, &e->options);
	xn_ova_add_vm(e->ova, vm);
	add_disks(e, vm);
	xn_held_disks_take(&e->disks, e->transfer.visit->task);
}

static void on_holder_cancelled(struct xn_claim *claim)
{
	struct export *e = claim->arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_TASK_CANCELLED, e->transfer.visit->task);
	stop(&e->transfer, &err);
}

/* ---- the request ---- */

static int read_compression(const struct xn_http_request *req, enum xn_pack_kind *kind,
			    struct xn_error *err)
{
	static const struct {
		const char *text;
		enum xn_pack_kind kind;
	} kinds[] = {
		{"false", XN_PACK_NONE},
		{"true", XN_PACK_GZIP},
		{"gzip", XN_PACK_GZIP},
		{"zstd", XN_PACK_ZSTD},
	};
	const char *text = xn_transfer_param(req, "use_compression");

	*kind = XN_PACK_NONE;
	for (size_t i = 0; text && i < XN_ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].text, text) == 0) {
			*kind = kinds[i].kind;
			return 0;
		}
	return text ? xn_error_set(err, XN_ERR_INVALID_VALUE, "use_compression", text) : 0;
}

struct xn_row *xn_transfer_vm(struct xn_transfers *t, const struct xn_http_request *req,
			      struct xn_error *err)
{
	const char *ref = xn_transfer_param(req, "ref");
	const char *uuid = xn_transfer_param(req, "uuid");

	if (ref)
		return xn_transfer_row(t, XN_CLASS_VM, ref, err);
	if (uuid)
		return xn_db_need_uuid(t->db, XN_CLASS_VM, uuid, err);
	xn_error_set(err, XN_ERR_INVALID_VALUE, "ref", "");
	return NULL;
}

static int read_request(struct export *e, const struct xn_http_request *req, struct xn_error *err)
{
	const struct xn_row *vm = xn_transfer_vm(e->transfer.t, req, err);

	if (!vm || read_compression(req, &e->kind, err) < 0 ||
	    xn_transfer_flag(req, "preserve_power_state", false, &e->options.keeps_state, err) < 0)
		return -1;
	snprintf(e->vm, sizeof(e->vm), "%s", xn_row_ref(vm));
	return 0;
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_transfers *t = arg;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct export *e = xn_calloc(1, sizeof(*e));

	if (!xn_transfer_begin(t, &e->transfer, req, visit, stop)) {
		free(e);
		return;
	}
	e->conn = req->conn;
	e->disks = (struct xn_held_disks){
		.t = t, .operation = "copy", .ready = on_disks, .dropped = on_dropped};
	if (read_request(e, req, &err) < 0) {
		refuse(e, &err);
		return;
	}
	xn_http_on_close(req->conn, on_closed, e);
	xn_operation_take(t->operations, &e->claim, XN_CLASS_VM, e->vm, "export", visit->task,
			  WAIT_MS, on_vm_held, e);
	e->claim.cancel = on_holder_cancelled;
}

static const struct xn_rpc_door door = {
	.name = "get_export",
	.role = XN_ROLE_VM_ADMIN,
	.task_label = "VM.export",
	.objects = {{"ref", XN_CLASS_VM}, {"uuid", XN_CLASS_VM}},
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &door, arg);
}

const struct xn_http_route xn_transfer_export_route = {
	.method = "GET",
	.path = "/export",
	.prefix = true, /* some clients write /export/ */
	.kind = XN_HTTP_STREAM_OUT,
	.run = on_request,
};
