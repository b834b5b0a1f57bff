/*
 * PCI devices that a VM gets from its host: other_config:pci names them (domain_config.c). They are
 * there from the boot on; which ones a domain has is read back from xenstore, where its back end
 * is.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* ---- before a boot ---- */

static size_t count_words(const char *text)
{
	size_t n = 0;

	for (text += strspn(text, ","); *text; text += strspn(text, ",")) {
		text += strcspn(text, ",");
		n++;
	}
	return n;
}

static bool names(const struct xn_row *vm, const char *address)
{
	const char *text = xn_row_map_string(vm, XN_VM_other_config, "pci");

	return text && strcasestr(text, address);
}

/* A VM that has the device, or is about to. */
static bool is_taken(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *pci)
{
	for (struct xn_row *other = xn_db_first(d->db, XN_CLASS_VM); other;
	     other = xn_db_next(d->db, other)) {
		if (other == vm)
			continue;
		if (xn_set_has_string(xn_row_get(other, XN_VM_attached_PCIs), xn_row_ref(pci)))
			return true;
		if (names(other, xn_row_string(pci, XN_PCI_pci_id)) &&
		    (xn_memory_is_wanted_for(d, xn_row_uuid(other)) ||
		     d->backend->ops->find(d->backend, xn_row_uuid(other))))
			return true;
	}
	return false;
}

static int check_iommu(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err)
{
	struct xn_host_info info = {0};

	if (strcmp(xn_vm_type(vm), "pv") == 0 ||
	    d->backend->ops->host_info(d->backend, &info) < 0 || info.iommu)
		return 0;
	return xn_error_set(err, XN_ERR_VM_REQUIRES_IOMMU, xn_host_ref(xn_host_of(d->core)));
}

static int check_devices(struct xn_domains *d, const struct xn_row *vm,
			 const struct xn_value *addresses, struct xn_error *err)
{
	for (size_t i = 0; i < xn_set_len(addresses); i++) {
		const char *address = xn_value_string(xn_set_at(addresses, i));
		const struct xn_row *pci = xn_host_pci(xn_host_of(d->core), address);

		if (!pci)
			return xn_error_set(err, XN_ERR_INVALID_DEVICE, address);
		if (is_taken(d, vm, pci))
			return xn_error_set(err, XN_ERR_DEVICE_ALREADY_ATTACHED, xn_row_ref(pci));
	}
	return 0;
}

int xn_vm_check_pci(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err)
{
	const char *text = xn_row_map_string(vm, XN_VM_other_config, "pci");
	XN_CLEANUP(xn_value_unref_p) struct xn_value *addresses = NULL;

	if (!text || !*text)
		return 0;
	addresses = xn_vm_pci_addresses(vm);
	if (xn_set_len(addresses) < count_words(text))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "other_config:pci", text);
	if (check_iommu(d, vm, err) < 0)
		return -1;
	return check_devices(d, vm, addresses, err);
}

/* ---- what a domain has ---- */

bool xn_vm_may_have_pcis(const struct xn_row *vm)
{
	return xn_row_map_string(vm, XN_VM_other_config, "pci") ||
	       xn_set_len(xn_row_get(vm, XN_VM_attached_PCIs)) > 0;
}

bool xn_vm_write_pcis(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
		      const struct xn_xs_snapshot *snap)
{
	struct xn_value *set = xn_set_new();

	for (int i = 0; i < XN_PCI_MAX; i++) {
		char path[XN_BACKEND_PATH_MAX], key[16];
		const char *address;
		const struct xn_row *pci;

		snprintf(key, sizeof(key), "dev-%d", i);
		xn_backend_path(path, "pci", domid, 0, key);
		address = xn_xs_get(snap, path);
		pci = address ? xn_host_pci(xn_host_of(d->core), address) : NULL;
		if (pci && !xn_set_has_string(set, xn_row_ref(pci)))
			xn_set_insert_sorted(&set, xn_string(xn_row_ref(pci)));
	}
	return xn_db_set(d->db, vm, XN_VM_attached_PCIs, set);
}
