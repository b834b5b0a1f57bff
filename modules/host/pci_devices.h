/* The PCI devices of a machine, as its kernel lists them; for rows of class PCI (pci_rows.c). */
#ifndef XN_PCI_DEVICES_H
#define XN_PCI_DEVICES_H

#include "core/base.h"

struct xn_pci_device {
	char address[16]; /* "0000:03:00.0" */
	char class_id[8], vendor_id[8], device_id[8], subsystem_vendor_id[8], subsystem_device_id[8];
	char class_name[96], vendor_name[96], device_name[96];
	char subsystem_vendor_name[96], subsystem_device_name[96];
	char driver[32];
};

struct xn_pci_list {
	struct xn_pci_device *devices; /* by address */
	size_t n;
};

/*
 * Reads @root ("/sys/bus/pci/devices") and, where it is there, the list of names @ids ("pci.ids";
 * NULL: no names).
 * Bridges are left out: nobody gives them to a VM. Blocks; may be called on any thread.
 */
void xn_pci_read(const char *root, const char *ids, struct xn_pci_list *out);
/* A graphics card with its sound, and a network card: for a simulated host without devices. */
void xn_pci_simulated(struct xn_pci_list *out);
void xn_pci_clear(struct xn_pci_list *list);

#endif
