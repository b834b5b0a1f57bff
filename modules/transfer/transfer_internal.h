/* Inside modules/transfer only: the module's state, and what each transfer has in common. */
#ifndef XN_TRANSFER_INTERNAL_H
#define XN_TRANSFER_INTERNAL_H

#include "core/hmap.h"
#include "modules/db/db.h"
#include "modules/operation/operation.h"
#include "modules/storage/storage.h"
#include "modules/task/task.h"
#include "modules/transfer/transfer.h"
#include "rpc/outflow.h"
#include "rpc/rpc.h"

struct xn_transfers {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_tasks *tasks;
	struct xn_storage *storage;
	struct xn_operations *operations;
	struct xn_pool *pool; /* reads, compresses, writes */
	struct xn_list list;  /* struct xn_transfer under way */
	struct xn_list passes; /* import_made.c */
	struct xn_hmap imported; /* the same: machines that imports hold */
	unsigned n;
	struct xn_metrics_source metrics;
};

/* How much of a long work one callback does; all zero bytes at first. */
struct xn_slice {
	unsigned n;
};
bool xn_slice_has_room(struct xn_slice *slice, const struct xn_transfers *t); /* for one more */

/* One transfer under way; embedded in what each kind knows about its own. */
struct xn_transfer {
	struct xn_list link;
	struct xn_transfers *t;
	struct xn_rpc_visit *visit;
	/* The module stops, or the task was cancelled: it ends soon, with @err. */
	void (*stop)(struct xn_transfer *transfer, const struct xn_error *err);
};

/*
 * A request was admitted: @transfer is one more of them, and its task belongs to it from here on
 * (progress 0; task.cancel calls stop). Beyond the limit: 503 and false, and the visit is over.
 */
bool xn_transfer_begin(struct xn_transfers *t, struct xn_transfer *transfer,
		       const struct xn_http_request *req, struct xn_rpc_visit *visit,
		       void (*stop)(struct xn_transfer *transfer, const struct xn_error *err));
/* The last thing: the task ends, with @err or well. */
void xn_transfer_end(struct xn_transfer *transfer, const struct xn_error *err);
/* Answers a request that comes to nothing, before any byte of a body: the status that @err means. */
void xn_transfer_refuse(struct xn_http_conn *conn, const struct xn_error *err);
/* What the end of a flow means to a client. False: success. */
bool xn_transfer_error(struct xn_error *err, int rc, const char *doing);
void xn_transfer_progress(struct xn_transfer *transfer, double fraction);
/* "Content-Type: ...", "Content-Disposition: ..." and the task; @type NULL: any bytes. */
void xn_transfer_headers(const struct xn_transfer *transfer, const char *type, const char *file,
			 struct xn_buf *out);

/* Parameters: of the query or a cookie; NULL when absent. */
const char *xn_transfer_param(const struct xn_http_request *req, const char *name);
/* "true" or "false"; -1 with INVALID_VALUE for anything else. */
int xn_transfer_flag(const struct xn_http_request *req, const char *name, bool otherwise,
		     bool *out, struct xn_error *err);
/* The row that @ref names: a reference or a UUID. NULL with @err. */
struct xn_row *xn_transfer_row(struct xn_transfers *t, int class_id, const char *name,
			       struct xn_error *err);

/* The VM that the request names by ref= or uuid=; NULL with @err. */
struct xn_row *xn_transfer_vm(struct xn_transfers *t, const struct xn_http_request *req,
			      struct xn_error *err);

/* Some clients send an upload without its body first, to see whether it is sent on elsewhere: 200, and
 * the visit is over. */
bool xn_transfer_is_probe(const struct xn_http_request *req, struct xn_rpc_visit *visit);

extern const struct xn_op_kind xn_transfer_import_kind;
extern const struct xn_http_route xn_transfer_import_route;
extern const struct xn_http_route xn_transfer_not_there[]; /* ends with .method == NULL */
extern const struct xn_http_route xn_transfer_export_route, xn_transfer_export_raw_route,
	xn_transfer_import_raw_route, xn_transfer_metadata_route, xn_transfer_xml_dump_route;

#endif
