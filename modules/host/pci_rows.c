/*
 * Rows of class PCI: the host's devices, read at each start of the daemon and compared with what
 * the rows say; their names, which take longer, by a worker. A device keeps its row, and so its
 * reference, as long as it is in its slot. A simulated host has the devices of the machine, or a
 * few made-up ones where that has none.
 */
#include "modules/host/host_internal.h"
#include "modules/host/pci_devices.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/worker.h"

struct xn_pci_reading {
	struct xn_work work;
	struct xn_host *host;
	struct xn_pci_list list;
};

static const char devices_folder[] = "/sys/bus/pci/devices";

static int read_names(struct xn_work *work)
{
	struct xn_pci_reading *reading = xn_container_of(work, struct xn_pci_reading, work);
	static const char *const files[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};
	const char *ids = access(files[0], R_OK) == 0 ? files[0] : files[1];

	xn_pci_read(devices_folder, ids, &reading->list);
	return 0;
}

/* ---- rows ---- */

struct xn_row *xn_host_pci(struct xn_host *host, const char *address)
{
	for (struct xn_row *row = xn_db_first(host->db, XN_CLASS_PCI); row;
	     row = xn_db_next(host->db, row))
		if (strcasecmp(xn_row_string(row, XN_PCI_pci_id), address) == 0 &&
		    strcmp(xn_row_string(row, XN_PCI_host), host->ref) == 0)
			return row;
	return NULL;
}

static struct xn_row *make_row(struct xn_host *host, const char *address)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "host", host->ref);
	xn_map_put_string(&fields, "pci_id", address);
	return xn_db_create(host->db, XN_CLASS_PCI, NULL, fields);
}

static bool is_listed(const struct xn_pci_list *list, const char *address)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->devices[i].address, address) == 0)
			return true;
	return false;
}

/* One row of ours whose device is gone, or NULL. */
static struct xn_row *surplus_row(struct xn_host *host, const struct xn_pci_list *list)
{
	for (struct xn_row *row = xn_db_first(host->db, XN_CLASS_PCI); row;
	     row = xn_db_next(host->db, row))
		if (strcmp(xn_row_string(row, XN_PCI_host), host->ref) == 0 &&
		    !is_listed(list, xn_row_string(row, XN_PCI_pci_id)))
			return row;
	return NULL;
}

struct text {
	int field;
	const char *text;
};

static void write_texts(struct xn_host *host, struct xn_row *row, const struct text *texts,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		xn_db_set_string(host->db, row, texts[i].field, texts[i].text);
}

static bool is_same_device(const struct xn_row *row, const struct xn_pci_device *d)
{
	return strcmp(xn_row_string(row, XN_PCI_vendor_id), d->vendor_id) == 0 &&
	       strcmp(xn_row_string(row, XN_PCI_device_id), d->device_id) == 0 &&
	       strcmp(xn_row_string(row, XN_PCI_class_id), d->class_id) == 0;
}

/* @named: the names are those of the list and not made from the numbers. */
static void write_row(struct xn_host *host, struct xn_row *row, const struct xn_pci_device *d,
		      bool named)
{
	const struct text ids[] = {
		{XN_PCI_class_id, d->class_id},
		{XN_PCI_vendor_id, d->vendor_id},
		{XN_PCI_device_id, d->device_id},
		{XN_PCI_subsystem_vendor_id, d->subsystem_vendor_id},
		{XN_PCI_subsystem_device_id, d->subsystem_device_id},
		{XN_PCI_driver_name, d->driver},
	};
	const struct text names[] = {
		{XN_PCI_class_name, d->class_name},
		{XN_PCI_vendor_name, d->vendor_name},
		{XN_PCI_device_name, d->device_name},
		{XN_PCI_subsystem_vendor_name, d->subsystem_vendor_name},
		{XN_PCI_subsystem_device_name, d->subsystem_device_name},
	};

	if (named || !is_same_device(row, d))
		write_texts(host, row, names, XN_ARRAY_SIZE(names));
	write_texts(host, row, ids, XN_ARRAY_SIZE(ids));
}

/* Functions of one card go to the same VM. */
static void write_dependencies(struct xn_host *host, struct xn_row *row)
{
	const char *address = xn_row_string(row, XN_PCI_pci_id);
	struct xn_value *others = xn_set_new();

	for (struct xn_row *other = xn_db_first(host->db, XN_CLASS_PCI); other;
	     other = xn_db_next(host->db, other))
		if (other != row &&
		    strncmp(xn_row_string(other, XN_PCI_pci_id), address, strlen(address) - 1) == 0)
			xn_set_insert_sorted(&others, xn_string(xn_row_ref(other)));
	xn_db_set(host->db, row, XN_PCI_dependencies, others);
}

static void write_rows(struct xn_host *host, const struct xn_pci_list *list, bool named)
{
	struct xn_row *row;

	while ((row = surplus_row(host, list)))
		xn_db_delete(host->db, row);
	for (size_t i = 0; i < list->n; i++) {
		const char *address = list->devices[i].address;

		row = xn_host_pci(host, address);
		write_row(host, row ? row : make_row(host, address), &list->devices[i], named);
	}
	for (size_t i = 0; i < list->n; i++)
		write_dependencies(host, xn_host_pci(host, list->devices[i].address));
}

static void free_reading(struct xn_pci_reading *reading)
{
	xn_pci_clear(&reading->list);
	free(reading);
}

static bool is_simulated(const struct xn_host *host)
{
	const struct xn_config *config = host->core->config;

	return !config || strcmp(xn_config_string(config, "hypervisor"), "xen") != 0;
}

static void on_read(struct xn_work *work, int rc)
{
	struct xn_pci_reading *reading = xn_container_of(work, struct xn_pci_reading, work);

	if (rc == 0)
		write_rows(reading->host, &reading->list, true);
	free_reading(reading);
}

static void begin_reading_names(struct xn_host *host)
{
	struct xn_pci_reading *reading = xn_calloc(1, sizeof(*reading));

	reading->host = host;
	reading->work.run = read_names;
	reading->work.done = on_read;
	host->pci_worker = xn_pool_new(host->core->loop, "pci", 1);
	xn_pool_submit(host->pci_worker, &reading->work);
}

void xn_host_pci_start(struct xn_host *host)
{
	struct xn_pci_list list = {0};

	if (!xn_loop_is_virtual(host->core->loop)) /* there the same on every machine */
		xn_pci_read(devices_folder, NULL, &list);
	if (list.n == 0 && is_simulated(host)) {
		xn_pci_simulated(&list);
		write_rows(host, &list, true);
	} else {
		write_rows(host, &list, false);
		begin_reading_names(host);
	}
	xn_pci_clear(&list);
}

void xn_host_pci_stop(struct xn_host *host)
{
	xn_pool_free(host->pci_worker);
}
