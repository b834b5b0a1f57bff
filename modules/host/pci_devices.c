/* See pci_devices.h. */
#include "modules/host/pci_devices.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/value.h"
#include "modules/host/host.h"

enum { MAX_DEVICES = 4096, MAX_IDS = 8 << 20, BRIDGES = 0x06 };

bool xn_pci_address_is_valid(const char *address)
{
	static const char shape[] = "xxxx:xx:xx.7";

	for (size_t i = 0; i < sizeof(shape); i++) {
		char c = address[i];
		bool fits = shape[i] == 'x'   ? c && strchr("0123456789abcdefABCDEF", c)
			    : shape[i] == '7' ? c >= '0' && c <= '7'
					      : c == shape[i];

		if (!fits)
			return false;
	}
	return true;
}

/* ---- sysfs ---- */

/* The first line; "" when there is none. */
static void read_line(const char *folder, const char *name, char *out, size_t size)
{
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	out[0] = '\0';
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	len = read(fd, out, size - 1);
	close(fd);
	out[len > 0 ? len : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

/* "0x10de" -> "10de" */
static void read_id(const char *folder, const char *name, char out[8])
{
	char text[16];
	unsigned id;

	read_line(folder, name, text, sizeof(text));
	out[0] = '\0';
	if (sscanf(text, "0x%4x", &id) == 1)
		snprintf(out, 8, "%04x", id & 0xffff);
}

static void read_driver(const char *folder, char *out, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;
	const char *name;

	out[0] = '\0';
	if ((size_t)snprintf(path, sizeof(path), "%s/driver", folder) >= sizeof(path))
		return;
	len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return;
	target[len] = '\0';
	name = strrchr(target, '/');
	snprintf(out, size, "%.*s", (int)size - 1, name ? name + 1 : target);
}

/* False: nothing that a VM could have. */
static bool read_device(const char *root, const char *address, struct xn_pci_device *out)
{
	char folder[PATH_MAX], text[16];
	unsigned class;

	*out = (struct xn_pci_device){0};
	if ((size_t)snprintf(folder, sizeof(folder), "%s/%s", root, address) >= sizeof(folder))
		return false;
	read_line(folder, "class", text, sizeof(text));
	if (sscanf(text, "0x%6x", &class) != 1 || class >> 16 == BRIDGES)
		return false;
	memcpy(out->address, address, strlen(address) + 1); /* of that shape: it fits */
	snprintf(out->class_id, sizeof(out->class_id), "%04x", class >> 8 & 0xffff);
	read_id(folder, "vendor", out->vendor_id);
	read_id(folder, "device", out->device_id);
	read_id(folder, "subsystem_vendor", out->subsystem_vendor_id);
	read_id(folder, "subsystem_device", out->subsystem_device_id);
	read_driver(folder, out->driver, sizeof(out->driver));
	return true;
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct xn_pci_device *)a)->address,
		      ((const struct xn_pci_device *)b)->address);
}

static void add(struct xn_pci_list *list, const struct xn_pci_device *device)
{
	list->devices = xn_realloc(list->devices, (list->n + 1) * sizeof(*list->devices));
	list->devices[list->n++] = *device;
}

static void read_devices(const char *root, struct xn_pci_list *out)
{
	struct xn_pci_device device;
	DIR *dir = opendir(root);
	struct dirent *entry;

	while (dir && out->n < MAX_DEVICES && (entry = readdir(dir)))
		if (xn_pci_address_is_valid(entry->d_name) &&
		    read_device(root, entry->d_name, &device))
			add(out, &device);
	if (dir)
		closedir(dir);
	if (out->n > 0)
		qsort(out->devices, out->n, sizeof(*out->devices), by_address);
}

/* ---- names ---- */

/* What a class is called when no list of names is installed. */
static const struct {
	const char *base, *name;
} classes[] = {
	{"00", "Unclassified device"},      {"01", "Mass storage controller"},
	{"02", "Network controller"},       {"03", "Display controller"},
	{"04", "Multimedia controller"},    {"05", "Memory controller"},
	{"07", "Communication controller"}, {"08", "System peripheral"},
	{"09", "Input device controller"},  {"0b", "Processor"},
	{"0c", "Serial bus controller"},    {"0d", "Wireless controller"},
	{"10", "Encryption controller"},    {"12", "Processing accelerator"},
	{"ff", "Unassigned class"},
};

static void copy_name(char out[96], const char *line, size_t len)
{
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' '))
		len--;
	snprintf(out, 96, "%.*s", (int)(len < 95 ? len : 95), line);
	if (!xn_text_is_valid(out, strlen(out)))
		out[0] = '\0';
}

/*
 * The file: "vvvv  vendor", below it "\tdddd  device", below that "\t\tvvvv dddd  subsystem"; at
 * the end "C cc  class" and below it "\tss  subclass". Where a line stands decides what it says.
 */
struct place {
	char vendor[8], device[8], class[8];
};

static void apply(struct xn_pci_device *d, const struct place *at, unsigned depth, const char *line,
		  size_t len)
{
	bool ours = strcmp(at->vendor, d->vendor_id) == 0;

	if (at->class[0]) {
		if (depth == 0 && strncmp(at->class, d->class_id, 2) == 0)
			copy_name(d->class_name, line + 6, len - 6);
		else if (depth == 1 && strncmp(at->class, d->class_id, 2) == 0 &&
			 strncmp(line + 1, d->class_id + 2, 2) == 0)
			copy_name(d->class_name, line + 5, len - 5);
		return;
	}
	if (depth == 0 && ours)
		copy_name(d->vendor_name, line + 6, len - 6);
	if (depth == 0 && strcmp(at->vendor, d->subsystem_vendor_id) == 0)
		copy_name(d->subsystem_vendor_name, line + 6, len - 6);
	if (depth == 1 && ours && strcmp(at->device, d->device_id) == 0)
		copy_name(d->device_name, line + 7, len - 7);
	if (depth == 2 && len > 13 && ours && strcmp(at->device, d->device_id) == 0 &&
	    strncmp(line + 2, d->subsystem_vendor_id, 4) == 0 &&
	    strncmp(line + 7, d->subsystem_device_id, 4) == 0)
		copy_name(d->subsystem_device_name, line + 13, len - 13);
}

static void read_name(struct xn_pci_list *list, struct place *at, const char *line, size_t len)
{
	unsigned depth = 0;

	while (depth < 2 && depth < len && line[depth] == '\t')
		depth++;
	if (len < 8 || line[0] == '#')
		return;
	if (depth == 0) {
		*at = (struct place){0};
		if (line[0] == 'C')
			snprintf(at->class, sizeof(at->class), "%.2s", line + 2);
		else
			snprintf(at->vendor, sizeof(at->vendor), "%.4s", line);
	} else if (depth == 1) {
		snprintf(at->device, sizeof(at->device), "%.4s", line + 1);
	}
	for (size_t i = 0; i < list->n; i++)
		apply(&list->devices[i], at, depth, line, len);
}

static void read_names(struct xn_pci_list *list, const char *ids)
{
	struct place at = {0};
	char *line = NULL;
	size_t size = 0, total = 0;
	FILE *file = ids && list->n > 0 ? fopen(ids, "re") : NULL;
	ssize_t len;

	while (file && total < MAX_IDS && (len = getline(&line, &size, file)) > 0) {
		total += (size_t)len;
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		read_name(list, &at, line, (size_t)len);
	}
	free(line);
	if (file)
		fclose(file);
}

static void name_the_rest(struct xn_pci_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		struct xn_pci_device *d = &list->devices[i];

		for (size_t c = 0; !d->class_name[0] && c < XN_ARRAY_SIZE(classes); c++)
			if (strncmp(d->class_id, classes[c].base, 2) == 0)
				snprintf(d->class_name, sizeof(d->class_name), "%s",
					 classes[c].name);
		if (!d->vendor_name[0])
			snprintf(d->vendor_name, sizeof(d->vendor_name), "Vendor %s", d->vendor_id);
		if (!d->device_name[0])
			snprintf(d->device_name, sizeof(d->device_name), "Device %s", d->device_id);
	}
}

void xn_pci_read(const char *root, const char *ids, struct xn_pci_list *out)
{
	*out = (struct xn_pci_list){0};
	read_devices(root, out);
	read_names(out, ids);
	name_the_rest(out);
}

void xn_pci_simulated(struct xn_pci_list *out)
{
	static const struct xn_pci_device devices[] = {
		{"0000:03:00.0", "0300", "1b36", "0100", "1af4", "1100",
		 "VGA compatible controller", "Simulated", "Graphics card", "Simulated", "",
		 "simvga"},
		{"0000:03:00.1", "0403", "1b36", "0101", "1af4", "1101", "Audio device",
		 "Simulated", "Graphics card's sound", "Simulated", "", "simsound"},
		{"0000:04:00.0", "0200", "1b36", "0200", "1af4", "1200", "Ethernet controller",
		 "Simulated", "Network card", "Simulated", "", "simnet"},
	};

	*out = (struct xn_pci_list){0};
	for (size_t i = 0; i < XN_ARRAY_SIZE(devices); i++)
		add(out, &devices[i]);
}

void xn_pci_clear(struct xn_pci_list *list)
{
	free(list->devices);
	*list = (struct xn_pci_list){0};
}
