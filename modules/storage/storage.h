/*
 * Storage: SRs, PBDs, VDIs, SM records. An SR type is an ops struct (sr_ops.h); its calls may be
 * long and are answered later from the loop.
 *
 * The functions below take no operation on the VDI: whoever calls them holds the VDI already (the
 * step table of VM.clone takes `clone` on each disk). The API calls of the same names do take it.
 */
#ifndef XN_STORAGE_H
#define XN_STORAGE_H

#include "core/module.h"

extern const struct xn_module xn_storage_module;

struct xn_storage;

static inline struct xn_storage *xn_storage_of(struct xn_core *core)
{
	return xn_module_state(core, "storage");
}

typedef void xn_storage_done(const struct xn_error *err, void *arg); /* err NULL: success */
/* @new_vdi: the reference; "" on failure, and then nothing of the disk is left. */
typedef void xn_storage_made(const struct xn_error *err, const char *new_vdi, void *arg);

/*
 * A new VDI: blank, or with the content of another. All members are borrowed for the call. The
 * row appears when the image is complete, and done comes when both survive power loss.
 */
struct xn_vdi_plan {
	const char *ref;    /* the new VDI's reference, chosen beforehand by who must find it again
			     * after    a crash (to destroy it); NULL: any */
	const char *source; /* VDI whose content and fields it gets; NULL: blank */
	const char *sr;     /* NULL: the source's, else @record's */
	const struct xn_value
		*record; /* VDI fields (wire names) that win over the source's; NULL */
	bool snapshot;   /* a snapshot of @source, else a disk of its own */
	void (*progress)(double fraction, void *arg); /* may be NULL */
	/* Told once when the new VDI has its content: the source may change from then on. Not when
	 * it fails before. May be NULL. */
	void (*content)(void *arg);
};
/* Return: a handle for cancel, valid until @done. */
struct xn_vdi_make;
struct xn_vdi_make *xn_storage_make_vdi(struct xn_storage *st, const struct xn_vdi_plan *plan,
					xn_storage_made *done, void *arg);
/* Ends with TASK_CANCELLED soon, or with success when it is too late. done() still comes. */
void xn_storage_cancel_make(struct xn_vdi_make *make);

/*
 * For VM.clone, provision, copy: the new VDI's reference in the callback ("" on failure). @name may
 * be NULL: as the source's. Copy-on-write where the file system can, else a sparse copy in a
 * worker.
 */
void xn_storage_clone_vdi(struct xn_storage *st, const char *vdi, const char *name, bool snapshot,
			  xn_storage_made *done, void *arg);
void xn_storage_copy_vdi(struct xn_storage *st, const char *vdi, const char *sr,
			 void (*progress)(double fraction, void *arg), xn_storage_made *done,
			 void *arg);
/* @record: map of VDI fields (SR, virtual_size, name_label, type ...), borrowed. */
void xn_storage_create_vdi(struct xn_storage *st, const struct xn_value *record,
			   xn_storage_made *done, void *arg);
/* Row and image, and the rows of VBDs that are not attached. A VDI that is gone: success. */
void xn_storage_destroy_vdi(struct xn_storage *st, const char *vdi, xn_storage_done *done,
			    void *arg);
/*
 * Ready for a domain: path and format of the image, borrowed strings valid in the callback.
 * Reference counted by datapath (@dp: "vbd/<domid>/<device>"); deactivate forgets it.
 */
void xn_storage_activate(struct xn_storage *st, const char *vdi, const char *dp, bool writable,
			 void (*done)(const struct xn_error *err, const char *path,
				      const char *format, void *arg),
			 void *arg);
/* A domain that was there before the daemon has it already: no question is asked. */
void xn_storage_adopt(struct xn_storage *st, const char *vdi, const char *dp, bool writable);
void xn_storage_deactivate(struct xn_storage *st, const char *vdi, const char *dp,
			   xn_storage_done *done, void *arg);
/*
 * Guests that write to a disk stand still until its content was copied: all of it must be of one
 * moment. Told by whoever runs guests; storage knows none. Guests are named by their VMs' uuids.
 * Going on is success for what runs already, or is gone.
 */
struct xn_storage_writers {
	struct xn_value *(*running)(const char *vdi, void *arg); /* a new set, maybe empty */
	void (*stop)(const struct xn_value *vms, xn_storage_done *done, void *done_arg, void *arg);
	/* They are since before the daemon's start. */
	void (*were_stopped)(const struct xn_value *vms, void *arg);
	void (*go_on)(const struct xn_value *vms, xn_storage_done *done, void *done_arg, void *arg);
};
void xn_storage_set_writers(struct xn_storage *st, const struct xn_storage_writers *writers,
			    void *arg);
/* The pool's default SR as reference, or "OpaqueRef:NULL". */
const char *xn_storage_default_sr(struct xn_storage *st);

#endif
