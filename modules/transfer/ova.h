/*
 * ova.xml of an archive: virtual machines and what belongs to them (devices, disks, networks, storage)
 * as records, in which every reference is the number of another object in the same file, or null.
 * Objects are as they were when they were added.
 */
#ifndef XN_OVA_H
#define XN_OVA_H

#include "modules/db/db.h"

struct xn_ova_options {
	bool snapshots;	  /* with them, and what says that VMs are some */
	bool keeps_state; /* power state, suspended memory, what is attached */
	const char *without; /* device types, separated by commas: "vif,vgpu"; may be NULL */
};

struct xn_ova;
struct xn_ova *xn_ova_new(struct xn_core *core, struct xn_db *db,
			  const struct xn_ova_options *options);
void xn_ova_free(struct xn_ova *ova); /* NULL is fine */
void xn_ova_add_vm(struct xn_ova *ova, struct xn_row *vm);
const char *xn_ova_id(const struct xn_ova *ova, const char *ref); /* "Ref:3"; NULL: not in it */

/* When all is added: the text's length has to be known before its first byte is written. Each call is
 * a slice of work, of some 64 KiB; true: that was the last. */
bool xn_ova_measure(struct xn_ova *ova);
uint64_t xn_ova_length(const struct xn_ova *ova);
bool xn_ova_write(struct xn_ova *ova, struct xn_buf *out);

#endif
