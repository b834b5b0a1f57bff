/* Inside modules/storage only: the module's state, and what its files do for each other. */
#ifndef XN_STORAGE_INTERNAL_H
#define XN_STORAGE_INTERNAL_H

#include "core/hmap.h"
#include "modules/db/db.h"
#include "modules/host/host.h"
#include "modules/operation/operation.h"
#include "modules/storage/sr_ops.h"
#include "modules/storage/storage.h"

struct xn_storage {
	struct xn_metrics_source metrics;
	struct xn_core *core;
	struct xn_db *db;
	struct xn_host *host;
	struct xn_operations *operations;
	char *state_dir;            /* absolute */
	struct xn_pool *quick;      /* names, sizes, lists */
	struct xn_pool *copies;     /* minutes of it, so apart */
	struct xn_list requests;    /* struct xn_sr_request under way */
	struct xn_list makes;       /* struct xn_vdi_make: disks without a row yet */
	struct xn_list removals;    /* struct removal: disks that go */
	struct xn_hmap datapaths;   /* struct datapath */
	struct xn_list use_changes; /* struct use_change: (de)activations under way */
	uint64_t removed;     /* VDI rows that went, ever: a scan asks whether any did meanwhile */
	struct xn_list scans; /* struct scan */
	struct xn_list waits; /* struct xn_storage_wait */
	struct xn_list looks; /* struct look */
	unsigned looking_at_space; /* requests under way */
	struct xn_timer background; /* space, auto-scan */
	const struct xn_storage_writers *writers; /* NULL: nobody runs guests */
	void *writers_arg;
};

/* ---- an SR as this host has it attached ---- */

struct xn_sr_binding {
	const struct xn_sr_ops *ops;
	char *folder; /* owned by the binding */
	struct xn_row *pbd;
};
void xn_sr_binding_clear(struct xn_sr_binding *binding);
/* Through the attached PBD of this host. -1: SR_HAS_NO_PBDS, SR_UNKNOWN_DRIVER. */
int xn_sr_bind(struct xn_storage *st, const struct xn_row *sr, struct xn_sr_binding *out,
	       struct xn_error *err);
/* The folder that a device_config means. -1 with an error for the client. */
int xn_sr_folder(struct xn_storage *st, const struct xn_value *device_config, char **folder_out,
		 struct xn_error *err);

/* ---- one blocking call of an SR type ---- */

/* @folder, @location are copied; @location may be NULL. */
struct xn_sr_request *xn_sr_request_new(struct xn_storage *st, const char *folder,
					const char *location);
/* To the workers. @rq is freed after @done. */
void xn_sr_request_submit(struct xn_storage *st, struct xn_sr_request *rq,
			  int (*call)(struct xn_sr_request *rq),
			  void (*done)(struct xn_sr_request *rq, int rc), void *arg);
/* It ends soon with -ECANCELED, at once when it has not begun; or well, when it is too late. */
void xn_sr_request_stop(struct xn_storage *st, struct xn_sr_request *rq);
/* The module stops, and no worker has any: those that are left are forgotten. */
void xn_sr_requests_abandon(struct xn_storage *st);
/* What an errno of a request means to a client. @vdi may be "". Returns -1. */
int xn_sr_request_error(const struct xn_sr_request *rq, int rc, const char *sr, const char *vdi,
			struct xn_error *err);

/* ---- rows ---- */

/* Space of an SR as a request has just seen it; virtual_allocation changed by @delta bytes. */
void xn_sr_note(struct xn_storage *st, const char *sr, const struct xn_sr_space *space,
		int64_t delta);
int64_t xn_vdi_round_size(int64_t size);
/* Rows of the VDI go: it, its VBDs that are not attached; references to it are emptied. */
void xn_vdi_delete_rows(struct xn_storage *st, struct xn_row *vdi);
/* Whether an image of @sr is being made right now (it has no row yet). */
bool xn_sr_is_making(const struct xn_storage *st, const char *sr);
bool xn_vdi_is_being_made(const struct xn_storage *st, const char *uuid);
bool xn_vdi_is_being_removed(const struct xn_storage *st, const char *vdi);
/* The first VDI of @sr that an attached VBD uses, or NULL. */
struct xn_row *xn_sr_vdi_in_use(struct xn_storage *st, const struct xn_row *sr);

/* The module stops: what is under way is forgotten; the next start finds it by its file names. */
void xn_vdi_make_abandon(struct xn_storage *st);
void xn_vdi_remove_abandon(struct xn_storage *st);
void xn_datapath_abandon(struct xn_storage *st);

/* ---- scan ---- */

/*
 * Reads the SR and makes the rows say what is there; leftovers of a crash are finished or removed.
 * @adopt: images without a row get one. Takes no operation.
 */
void xn_sr_scan(struct xn_storage *st, const char *sr, bool adopt, xn_storage_done *done,
		void *arg);
void xn_sr_scan_abandon(struct xn_storage *st);

/* ---- parts ---- */

void xn_storage_register_rules(struct xn_operations *operations);
/* The local SR, the ISO library, their PBDs, the pool's defaults: at the first start only. */
void xn_storage_make_first_rows(struct xn_storage *st);
/* SM rows are what the drivers of this build can do. */
void xn_storage_refresh_sm(struct xn_storage *st);
struct xn_row *xn_sm_of_type(struct xn_db *db, const char *type); /* or NULL */

/* ---- operations: struct xn_op with what the steps of this module share ---- */

struct xn_storage_wait;
struct xn_storage_op {
	struct xn_op op;
	struct xn_storage *st;
	struct xn_value *record;  /* not journaled: a restart undoes and does not need it */
	struct xn_vdi_make *make; /* under way */
	bool writers_go;	  /* since the content was copied */
	struct xn_sr_request *overwriting; /* a disk that is there; under way, or NULL */
	struct xn_timer tick;              /* meanwhile */
	int64_t overwritten;               /* bytes, at the last tick */
	struct xn_job turn;                /* of what is done in slices */
	size_t n_before;                   /* that it had to do */
	struct xn_storage_wait *waiting;
};
static inline struct xn_storage_op *xn_storage_op_of(struct xn_op *op)
{
	return xn_container_of(op, struct xn_storage_op, op);
}
static inline const char *xn_storage_op_arg(const struct xn_storage_op *o, const char *key)
{
	const char *text = xn_map_get_string(o->op.args, key);

	return text ? text : "";
}
struct xn_op *xn_storage_op_make(struct xn_core *core, const struct xn_op_kind *kind,
				 const struct xn_value *args);
void xn_storage_op_free(struct xn_op *op);

/* A kind whose operations are struct xn_storage_op. */
#define XN_STORAGE_OP_KIND(id, kind_name, step_table, restart)                                     \
	XN_OP_KIND(static, id, kind_name, step_table, restart, xn_storage_op_make,                 \
		   xn_storage_op_free)

/*
 * A step's callback may come when the step has timed out (and its operation waits for the disk to
 * note that), or its operation is gone. What is passed as `arg` is this; taking it tells whether
 * the step still waits. One a time and operation: a newer one makes the older come too late.
 */
struct xn_storage_wait *xn_storage_wait_new(struct xn_storage_op *o);
struct xn_storage_op *
xn_storage_wait_take(struct xn_storage_wait *wait); /* frees it; NULL: nobody */
/* Only looks: the operation, whatever it does now, unless it is gone or waits for another. */
struct xn_storage_op *xn_storage_wait_op(const struct xn_storage_wait *wait);
struct xn_storage *xn_storage_wait_storage(const struct xn_storage_wait *wait);
/* What it is about, also when the operation has given up on it. */
const char *xn_storage_wait_ref(const struct xn_storage_wait *wait);
void xn_storage_waits_abandon(struct xn_storage *st);
/* An xn_storage_done that ends the step. */
void xn_storage_wait_done(const struct xn_error *err, void *wait);
/* Done, or failed with a copy of @err. */
void xn_storage_op_end_step(struct xn_storage_op *o, const struct xn_error *err);

extern const struct xn_op_kind *const xn_vdi_op_kinds[]; /* end with NULL */
extern const struct xn_op_kind *const xn_sr_op_kinds[];

/* The handlers of both files; storage.c registers them. */
extern const struct xn_method_impl xn_vdi_methods[], xn_sr_methods[];

#endif
