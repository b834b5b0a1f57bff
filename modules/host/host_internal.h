/* Inside modules/host only: the module's state, and what its files do for each other. */
#ifndef XN_HOST_INTERNAL_H
#define XN_HOST_INTERNAL_H

#include "modules/db/db.h"
#include "modules/host/host.h"
#include "modules/host/host_facts.h"
#include "modules/operation/operation.h"

struct xn_host {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_operations *operations;
	struct xn_host_facts facts;
	bool first_start, rebooted;
	bool renamed; /* the machine, since the last start */
	char ref[XN_REF_LEN], pool[XN_REF_LEN], control_domain[XN_REF_LEN];
	struct xn_timer refresh; /* host_metrics */
	void (*ask_memory)(void *arg, int64_t *free_out, int64_t *available_out);
	void *ask_memory_arg;
	struct xn_pool *pci_worker;
};

/* In host.other_config: disabled by hand, and to stay so when the daemon starts again. */
#define XN_HOST_STAY_DISABLED "xenolith:stay_disabled"

extern const struct xn_method_impl xn_host_methods[];

/* Rows of pool, host, host_metrics, host_cpu, control domain: found or made, and made true. Fills
 * the references and first_start of @host. */
void xn_host_rows_make(struct xn_host *host);
/* The rows that tell of the machine's processors. */
void xn_host_rows_tell_cpus(struct xn_host *host);
/* host_metrics and the control domain's memory; cheap, equal writes vanish. */
void xn_host_rows_refresh(struct xn_host *host);

/* Rows of class PCI; pci_rows.c. */
void xn_host_pci_start(struct xn_host *host);
void xn_host_pci_stop(struct xn_host *host);

/* The templates that come with the product; at the first start only. */
void xn_templates_make(struct xn_host *host);

/* Rules of allowed_operations for host and pool. */
void xn_host_register_rules(struct xn_operations *operations);
void xn_cluster_register_rules(struct xn_operations *operations);

#endif
