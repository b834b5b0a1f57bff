/*
 * The pool, this host, its processors, metrics and control domain, and the templates: rows made at
 * the first start and kept, with the machine's facts written anew at each start.
 */
#ifndef XN_HOST_H
#define XN_HOST_H

#include "core/module.h"

extern const struct xn_module xn_host_module;

struct xn_host;
struct xn_row;

static inline struct xn_host *xn_host_of(struct xn_core *core)
{
	return xn_module_state(core, "host");
}

/* References; valid from the module's start on, and the same for the life of the state folder. */
const char *xn_host_ref(const struct xn_host *host);
const char *xn_host_pool(const struct xn_host *host);
const char *xn_host_control_domain(const struct xn_host *host);

/* Whether this start made the pool: other modules then make their own first rows. */
bool xn_host_is_first_start(const struct xn_host *host);
/* Whether the machine was booted since the daemon last ran: what was attached is not any more. */
bool xn_host_has_rebooted(const struct xn_host *host);

/*
 * What the hypervisor knows better than the control domain's kernel: told by the domain module when
 * its back end has opened, and whenever memory changed. Absent (NULL, 0) members are left alone.
 */
struct xn_hypervisor_facts {
	const char *xen_version;  /* "4.17.5" */
	const char *capabilities; /* blank separated: "xen-3.0-x86_64 hvm-3.0-x86_64" */
	uint64_t memory_total;    /* bytes */
	/* Processors of the machine: the control domain's kernel sees only its own. Told together. */
	unsigned cpus, sockets, threads_per_core, nodes, cpu_mhz;
	bool virtualisation, iommu;
};
void xn_host_set_hypervisor(struct xn_host *host, const struct xn_hypervisor_facts *facts);

/* "0000:03:00.0" */
bool xn_pci_address_is_valid(const char *address);
/* The row of the host's PCI device at that address, or NULL. */
struct xn_row *xn_host_pci(struct xn_host *host, const char *address);

/*
 * Bytes that new domains may have: memory_total without the control domain and without what the
 * domains on this host hold (VM_metrics.memory_actual, else memory_dynamic_max, and the overhead).
 */
int64_t xn_host_free_memory(struct xn_host *host);
/*
 * Who knows better: what is free now (host_metrics.memory_free), and what new domains could have
 * once the others have given back what they can (host.compute_free_memory). NULL: nobody any more.
 */
void xn_host_set_memory_source(struct xn_host *host,
			       void (*ask)(void *arg, int64_t *free_out, int64_t *available_out),
			       void *arg);

#endif
