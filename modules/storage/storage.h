/*
 * Storage: SRs, PBDs, VDIs, SM records. An SR type is an ops struct (sr_file.c, sr_iso.c); its calls
 * may be long and are answered later from the loop.
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

/*
 * For VM.clone, provision, copy: the new VDI's reference in the callback ("" on failure). @name may be
 * NULL: as the source's. Copy-on-write where the file system can, else a sparse copy in a worker.
 */
void xn_storage_clone_vdi(struct xn_storage *st, const char *vdi, const char *name, bool snapshot,
			  void (*done)(const struct xn_error *err, const char *new_vdi, void *arg),
			  void *arg);
void xn_storage_copy_vdi(struct xn_storage *st, const char *vdi, const char *sr,
			 void (*progress)(double fraction, void *arg),
			 void (*done)(const struct xn_error *err, const char *new_vdi, void *arg),
			 void *arg);
/* @record: map of VDI fields (SR, virtual_size, name_label, type ...), borrowed. */
void xn_storage_create_vdi(struct xn_storage *st, const struct xn_value *record,
			   void (*done)(const struct xn_error *err, const char *new_vdi, void *arg),
			   void *arg);
void xn_storage_destroy_vdi(struct xn_storage *st, const char *vdi, xn_storage_done *done, void *arg);
/*
 * Ready for a domain: path and format of the image, borrowed strings valid in the callback.
 * Reference counted by datapath (@dp: "vbd/<domid>/<device>"); deactivate forgets it.
 */
void xn_storage_activate(struct xn_storage *st, const char *vdi, const char *dp, bool writable,
			 void (*done)(const struct xn_error *err, const char *path,
				      const char *format, void *arg),
			 void *arg);
void xn_storage_deactivate(struct xn_storage *st, const char *vdi, const char *dp,
			   xn_storage_done *done, void *arg);
/* The pool's default SR as reference, or "OpaqueRef:NULL". */
const char *xn_storage_default_sr(struct xn_storage *st);

#endif
