/*
 * Virtual machines: their life cycle, devices and what the guest tells about itself, on a back end
 * that runs the domains (backend.h). Calls become operations (vm_start.c and its neighbours); what
 * became of them reaches the rows only through the watcher (domain_watch.c) and the
 * reconcilers (vm_reconcile.c).
 */
#ifndef XN_DOMAIN_H
#define XN_DOMAIN_H

#include "core/module.h"
#include "modules/db/db.h"
#include "modules/domain/backend.h"

extern const struct xn_module xn_domain_module;

struct xn_domains;

static inline struct xn_domains *xn_domains_of(struct xn_core *core)
{
	return xn_module_state(core, "domain");
}

struct xn_backend *xn_domains_backend(struct xn_domains *domains);

/* For diagnostics: the domains that others made, which are seen and left alone. A new set of maps
 * {domid, uuid, name}, in the back end's order; the name is "" until it was read. */
struct xn_value *xn_domains_foreign(struct xn_domains *domains);

const struct xn_gate *xn_domains_plugs(const struct xn_domains *domains); /* for diagnostics */

/* Bytes that a VM needs beside its own memory; its row's current values. */
int64_t xn_vm_memory_overhead(const struct xn_row *vm);

/*
 * A new VM row with everything but its devices, from a map of fields that may miss any: what
 * VM.create does. For templates, import. Fills the parts that the model says nothing about (domid
 * -1, other_config: mac_seed, a metrics row) and allowed_operations. -1 with @err when the fields
 * contradict each other.
 */
struct xn_row *xn_vm_new(struct xn_core *core, const struct xn_value *fields, struct xn_error *err);

/* The same with a reference that was chosen before. */
struct xn_row *xn_vm_new_ref(struct xn_core *core, const char *ref, const struct xn_value *fields,
			     struct xn_error *err);
/* What tells a guest that it is not the machine that it was: new for a VM made or reverted. */
enum { XN_VM_GENERATION_LEN = 48 };
void xn_vm_generation_new(struct xn_core *core, char out[XN_VM_GENERATION_LEN]);

/* Its devices, from fields that a creator may give; the VM is there. A MAC that is not given comes from
 * the VM's seed. NULL with @err. */
struct xn_row *xn_vbd_new(struct xn_core *core, const struct xn_value *fields,
			  struct xn_error *err);
struct xn_row *xn_vif_new(struct xn_core *core, const struct xn_value *fields,
			  struct xn_error *err);
/* The rows of a halted VM and of its devices go; its disks stay. */
void xn_vm_remove(struct xn_core *core, struct xn_row *vm);

/* The binary started with this one word is a worker child of the real back end (libxl/), not a
 * daemon: it talks to its parent over this descriptor. */
#define XN_LIBXL_WORKER_ARG "--libxl-worker"
enum { XN_LIBXL_WORKER_FD = 3 };
int xn_libxl_worker_main(int socket_fd);

#endif
