/* The host module: start, the metrics timer, the hypervisor's facts; see host.h. */
#include "modules/host/host_internal.h"

#include <stdlib.h>
#include <string.h>

enum { REFRESH_US = 5 * 1000 * 1000 };

const char *xn_host_ref(const struct xn_host *host)
{
	return host->ref;
}

const char *xn_host_pool(const struct xn_host *host)
{
	return host->pool;
}

const char *xn_host_control_domain(const struct xn_host *host)
{
	return host->control_domain;
}

bool xn_host_is_first_start(const struct xn_host *host)
{
	return host->first_start;
}

bool xn_host_has_rebooted(const struct xn_host *host)
{
	return host->rebooted;
}

static struct xn_value *words(const char *text)
{
	struct xn_value *set = xn_set_new();

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " ");

		xn_set_append(&set, xn_string_len(text, len));
		text += len;
	}
	return set;
}

static void set_cpus(struct xn_host_facts *f, const struct xn_hypervisor_facts *facts)
{
	int mhz = facts->cpu_mhz ? (int)facts->cpu_mhz : f->cpus[0].mhz;

	f->cpus = xn_realloc(f->cpus, facts->cpus * sizeof(*f->cpus));
	for (unsigned i = 0; i < facts->cpus; i++)
		if (i >= f->n_cpus || facts->cpu_mhz)
			f->cpus[i] = (struct xn_cpu_facts){.number = (int)i, .mhz = mhz};
	f->n_cpus = facts->cpus;
	f->sockets = facts->sockets ? facts->sockets : 1;
	f->threads_per_core = facts->threads_per_core ? facts->threads_per_core : 1;
	f->nodes = facts->nodes ? facts->nodes : 1;
	f->virtualisation = facts->virtualisation;
	f->iommu = facts->iommu;
}

void xn_host_set_hypervisor(struct xn_host *host, const struct xn_hypervisor_facts *facts)
{
	struct xn_row *row = xn_db_get(host->db, XN_CLASS_host, host->ref);

	if (facts->xen_version)
		xn_db_map_put(host->db, row, XN_host_software_version, "xen", facts->xen_version);
	if (facts->capabilities)
		xn_db_set(host->db, row, XN_host_capabilities, words(facts->capabilities));
	if (facts->memory_total)
		host->facts.memory_total = facts->memory_total;
	if (facts->cpus) {
		set_cpus(&host->facts, facts);
		xn_host_rows_tell_cpus(host);
	}
	xn_host_rows_refresh(host);
}

void xn_host_set_memory_source(struct xn_host *host,
			       void (*ask)(void *arg, int64_t *free_out, int64_t *available_out),
			       void *arg)
{
	host->ask_memory = ask;
	host->ask_memory_arg = arg;
}

static void on_refresh(struct xn_timer *timer)
{
	struct xn_host *host = xn_container_of(timer, struct xn_host, refresh);

	if (xn_db_writable(host->db) == 0)
		xn_host_rows_refresh(host);
	xn_timer_arm(host->core->loop, &host->refresh, REFRESH_US, on_refresh);
}

static int host_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_host *host = xn_calloc(1, sizeof(*host));

	host->core = core;
	*state_out = host;
	return 0;
}

static int host_start(void *state, struct xn_error *err)
{
	struct xn_host *host = state;

	host->db = xn_db_of(host->core);
	host->operations = xn_operations_of(host->core);
	if (xn_loop_is_virtual(host->core->loop))
		xn_host_facts_fixed(&host->facts);
	else
		xn_host_facts_read(&host->facts);
	xn_host_rows_make(host);
	if (host->first_start)
		xn_templates_make(host);
	xn_host_register_rules(host->operations);
	xn_cluster_register_rules(host->operations);
	xn_operation_refresh(host->operations, xn_db_get(host->db, XN_CLASS_host, host->ref));
	xn_operation_refresh(host->operations, xn_db_get(host->db, XN_CLASS_pool, host->pool));
	xn_timer_arm(host->core->loop, &host->refresh, REFRESH_US, on_refresh);
	xn_host_pci_start(host);
	return 0;
}

static void host_stop(void *state)
{
	struct xn_host *host = state;

	xn_timer_cancel(&host->refresh);
	xn_host_pci_stop(host);
	xn_host_facts_clear(&host->facts);
	free(host);
}

static const char *const host_needs[] = {"db", "operation", NULL};

const struct xn_module xn_host_module = {
	.name = "host",
	.needs = host_needs,
	.methods = xn_host_methods,
	.init = host_init,
	.start = host_start,
	.stop = host_stop,
};
