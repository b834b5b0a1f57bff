/*
 * PCI devices of simulated domains: they are nothing but their keys in xenstore, laid out as a real
 * PCI back end has them. A device can be in one domain only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/sim/sim_internal.h"
#include "modules/host/host.h"

enum { MAX_DEVICES = 32, PATH_SIZE = 128 };

static const char *read_text(struct xn_sim *sim, const char *path, char out[32])
{
	const char *value;
	size_t len;

	if (xn_xs_conn_read(sim->dom0, 0, path, &value, &len) < 0 || len >= 32)
		return NULL;
	memcpy(out, value, len);
	out[len] = '\0';
	return out;
}

static void path_of(char path[PATH_SIZE], uint32_t domid, const char *key, unsigned slot)
{
	snprintf(path, PATH_SIZE, "/local/domain/0/backend/pci/%u/0/%s%u", domid, key, slot);
}

/* Which slot of the domain has it; @free_out: the first that has none. -1: it has not. */
static int slot_of(struct xn_sim *sim, uint32_t domid, const char *address, int *free_out)
{
	char path[PATH_SIZE], text[32];

	*free_out = -1;
	for (unsigned slot = 0; slot < MAX_DEVICES; slot++) {
		const char *there;

		path_of(path, domid, "dev-", slot);
		there = read_text(sim, path, text);
		if (there && strcmp(there, address) == 0)
			return (int)slot;
		if (!there && *free_out < 0)
			*free_out = (int)slot;
	}
	return -1;
}

static void put_back_end(struct xn_sim *sim, uint32_t domid)
{
	struct xn_sim_keys keys;

	xn_sim_keys_begin(&keys, sim->dom0);
	xn_sim_keys_base(&keys, "/local/domain/0/backend/pci/%u/0", domid);
	xn_sim_allow(&keys, "", "n0 r%u", domid);
	xn_sim_putf(&keys, "frontend", "/local/domain/%u/device/pci/0", domid);
	xn_sim_putf(&keys, "frontend-id", "%u", domid);
	xn_sim_put(&keys, "online", "1");
	xn_sim_put(&keys, "state", "4");
	xn_sim_keys_base(&keys, "/local/domain/%u/device/pci/0", domid);
	xn_sim_putf(&keys, "backend", "/local/domain/0/backend/pci/%u/0", domid);
	xn_sim_put(&keys, "backend-id", "0");
	xn_sim_put(&keys, "state", "4");
	(void)xn_sim_keys_end(&keys);
}

static int add(struct xn_sim_domain *domain, const char *address)
{
	struct xn_sim *sim = domain->sim;
	uint32_t domid = domain->info.domid;
	char path[PATH_SIZE];
	int slot, rc;

	if (!xn_pci_address_is_valid(address))
		return -EINVAL;
	xn_list_each(link, &sim->domains) {
		struct xn_sim_domain *other = xn_list_entry(link, struct xn_sim_domain, link);

		if (slot_of(sim, other->info.domid, address, &slot) >= 0)
			return other == domain ? 0 : -EBUSY;
	}
	if (slot_of(sim, domid, address, &slot) < 0 && slot < 0)
		return -ENOSPC;
	put_back_end(sim, domid);
	path_of(path, domid, "dev-", (unsigned)slot);
	rc = xn_xs_conn_write_string(sim->dom0, 0, path, address);
	return rc;
}

int xn_sim_pci_create(struct xn_sim_domain *domain, const struct xn_value *set)
{
	int rc = 0;

	for (size_t i = 0; set && rc == 0 && i < xn_set_len(set); i++)
		rc = add(domain, xn_value_string(xn_set_at(set, i)));
	return rc;
}

int xn_sim_plug_pci(struct xn_backend *b, uint32_t domid, const char *address,
		    xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	int rc = domain && !domain->info.dying ? add(domain, address) : -ENOENT;

	if (rc == 0)
		xn_sim_answer(xn_sim_call_new(sim, done, arg), 0);
	return rc;
}

int xn_sim_unplug_pci(struct xn_backend *b, uint32_t domid, const char *address, bool force,
		      xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	char path[PATH_SIZE];
	int slot = -1, unused, rc = 0;

	if (domain)
		slot = slot_of(sim, domid, address, &unused);
	if (slot >= 0 && !force && domain->options.unplug == XN_SIM_REFUSE)
		rc = -EBUSY;
	if (slot >= 0 && rc == 0) {
		path_of(path, domid, "dev-", (unsigned)slot);
		rc = xn_xs_conn_rm(sim->dom0, 0, path);
	}
	xn_sim_answer(xn_sim_call_new(sim, done, arg), rc);
	return 0;
}
