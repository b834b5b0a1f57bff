/*
 * Hot plug. What is there already, or gone already, is success: the daemon may ask again after it
 * died. Whether a device is there is read where libxl keeps its own list (/libxl/DOMID/device), for
 * asking libxl is either the list of all or an error in the log.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/libxl/child.h"
#include "modules/domain/libxl/config.h"

enum presence { ABSENT, PRESENT, CLOSING, CLOSED };

enum { STATE_INIT_WAIT = 2, STATE_CLOSING = 5, STATE_CLOSED = 6, TAKE_MS = 30000 };

static char *read_node(struct xn_libxl_child *child, const char *path)
{
	unsigned len;

	return xs_read(child->xs, XBT_NULL, path, &len);
}

/* Where the back end keeps its half of the device; NULL: there is no such device. */
static char *backend_of(struct xn_libxl_child *child, uint32_t domid, const char *kind, int devid)
{
	char path[96];

	snprintf(path, sizeof(path), "/libxl/%u/device/%s/%d/backend", domid, kind, devid);
	return read_node(child, path);
}

static int state_of(struct xn_libxl_child *child, const char *backend)
{
	char path[256], *state XN_CLEANUP(xn_free_p) = NULL;

	snprintf(path, sizeof(path), "%s/state", backend);
	state = read_node(child, path);
	return state ? atoi(state) : STATE_CLOSED;
}

static enum presence presence_of(struct xn_libxl_child *child, uint32_t domid, const char *kind,
				 int devid)
{
	char *backend XN_CLEANUP(xn_free_p) = backend_of(child, domid, kind, devid);
	int state = backend ? state_of(child, backend) : 0;

	if (!backend)
		return ABSENT;
	return state == STATE_CLOSED ? CLOSED : state == STATE_CLOSING ? CLOSING : PRESENT;
}

/* ---- what the device model makes of a disk ---- */

static bool next_change(struct xn_libxl_child *child, int64_t until_ms)
{
	struct pollfd fd = {.fd = xs_fileno(child->xs), .events = POLLIN};
	int64_t left = until_ms - xn_libxl_now_ms();
	unsigned n;

	if (left <= 0 || poll(&fd, 1, left) <= 0)
		return false;
	free(xs_read_watch(child->xs, &n));
	return true;
}

/*
 * libxl does not wait for a device model to open a disk's image, which may fail (another holds its
 * lock, it is no such image): only that the back end's state never moves tells.
 */
static int await_taken(struct xn_libxl_child *child, const char *backend)
{
	int64_t until_ms = xn_libxl_now_ms() + TAKE_MS;
	char path[256], *type XN_CLEANUP(xn_free_p) = NULL;
	bool goes_on = true;

	if (!strstr(backend, "/qdisk/"))
		return 0; /* the kernel's back end: libxl has waited for its script */
	snprintf(path, sizeof(path), "%s/device-type", backend);
	type = read_node(child, path);
	if (type && strcmp(type, "cdrom") == 0)
		return 0; /* an emulated drive, which may be empty */
	snprintf(path, sizeof(path), "%s/state", backend);
	if (!xs_watch(child->xs, path, "state"))
		return -errno;
	while (goes_on && state_of(child, backend) < STATE_INIT_WAIT)
		goes_on = next_change(child, until_ms);
	xs_unwatch(child->xs, path, "state");
	return goes_on ? 0 : xn_libxl_fail(child, -EIO, "the device model does not open the disk");
}

int xn_libxl_await_disks(struct xn_libxl_child *child, uint32_t domid)
{
	char path[64], **list;
	unsigned n = 0;
	int rc = 0;

	snprintf(path, sizeof(path), "/libxl/%u/device/vbd", domid);
	list = xs_directory(child->xs, XBT_NULL, path, &n);
	for (unsigned i = 0; rc == 0 && i < n; i++) {
		char *backend XN_CLEANUP(xn_free_p) =
			backend_of(child, domid, "vbd", atoi(list[i]));

		rc = backend ? await_taken(child, backend) : 0;
	}
	free(list);
	return rc;
}

/* ---- any device ---- */

/*
 * After libxl gave up on a back end that does not answer: by force means that it is gone for us and
 * for the guest.
 */
static void erase_device(struct xn_libxl_child *child, uint32_t domid, const char *kind, int devid)
{
	char *backend XN_CLEANUP(xn_free_p) = backend_of(child, domid, kind, devid);
	char path[96];

	if (!backend)
		return;
	xs_rm(child->xs, XBT_NULL, backend);
	snprintf(path, sizeof(path), "/local/domain/%u/device/%s/%d", domid, kind, devid);
	xs_rm(child->xs, XBT_NULL, path);
	snprintf(path, sizeof(path), "/libxl/%u/device/%s/%d", domid, kind, devid);
	xs_rm(child->xs, XBT_NULL, path); /* last: by this one it is found */
}

/* Where a device is plugged: args.domid, and whether the domain is there. */
static int find_domain(struct xn_libxl_child *child, const struct xn_value *args,
		       uint32_t *domid_out)
{
	int rc = xn_libxl_domid(args, domid_out);

	return rc < 0 ? rc : xn_libxl_exists(child, *domid_out) ? 0 : -ENOENT;
}

static const struct xn_value *map_of(const struct xn_value *args, const char *key)
{
	const struct xn_value *map = xn_map_get(args, key);

	return map && map->kind == XN_MAP ? map : NULL;
}

/* A guest that does not let go in libxl's time: that is all that its time-out says. */
static int unplug_rc(struct xn_libxl_child *child, int rc)
{
	rc = xn_libxl_rc(child, rc);
	return rc == -ETIMEDOUT ? -EBUSY : rc;
}

typedef int remove_device(struct xn_libxl_child *child, uint32_t domid, int devid, bool force);

static int unplug(struct xn_libxl_child *child, const struct xn_value *args, const char *kind,
		  remove_device *remove_it)
{
	int devid = xn_map_get_int(args, "devid", -1);
	bool force = xn_map_get_bool(args, "force", false);
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0 || presence_of(child, domid, kind, devid) == ABSENT)
		return rc;
	rc = unplug_rc(child, remove_it(child, domid, devid, force));
	if (rc < 0 && force) {
		erase_device(child, domid, kind, devid);
		rc = 0;
	}
	return rc;
}

/* ---- disks ---- */

/* By its number: libxl takes that for a name too. */
static int find_disk(struct xn_libxl_child *child, uint32_t domid, int devid,
		     libxl_device_disk *out)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", devid);
	libxl_device_disk_init(out);
	return libxl_vdev_to_device_disk(child->ctx, domid, name, out);
}

static int remove_disk(struct xn_libxl_child *child, uint32_t domid, int devid, bool force)
{
	libxl_device_disk disk;
	int rc = find_disk(child, domid, devid, &disk);

	if (rc == 0)
		rc = force ? libxl_device_disk_destroy(child->ctx, domid, &disk, NULL)
			   : libxl_device_disk_safe_remove(child->ctx, domid, &disk, NULL);
	libxl_device_disk_dispose(&disk);
	return rc;
}

static int add_disk(struct xn_libxl_child *child, uint32_t domid, const struct xn_value *map)
{
	libxl_device_disk disk;
	int rc = xn_libxl_disk_fill(map, &disk), devid = xn_map_get_int(map, "devid", -1);

	if (rc == 0 && disk.format != LIBXL_DISK_FORMAT_RAW &&
	    disk.format != LIBXL_DISK_FORMAT_EMPTY)
		rc = xn_libxl_disk_server(child, domid);
	if (rc == 0)
		rc = xn_libxl_rc(child, libxl_device_disk_add(child->ctx, domid, &disk, NULL));
	libxl_device_disk_dispose(&disk);
	if (rc == 0) {
		char *backend XN_CLEANUP(xn_free_p) = backend_of(child, domid, "vbd", devid);

		rc = backend ? await_taken(child, backend) : -EIO;
	}
	if (rc < 0 && presence_of(child, domid, "vbd", devid) != ABSENT) {
		(void)remove_disk(child, domid, devid, true);
		erase_device(child, domid, "vbd", devid);
	}
	return rc;
}

/* plug_disk {domid, disk}; -EBUSY: a guest has not let it go yet since an unplug. */
int xn_libxl_plug_disk(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		       struct xn_libxl_answer *answer)
{
	const struct xn_value *map = map_of(args, "disk");
	uint32_t domid;
	int rc = map ? find_domain(child, args, &domid) : -EINVAL, devid;

	if (rc < 0)
		return rc;
	devid = xn_map_get_int(map, "devid", -1);
	switch (presence_of(child, domid, "vbd", devid)) {
	case PRESENT:
		return 0;
	case CLOSING:
		return -EBUSY;
	case CLOSED:
		rc = unplug_rc(child, remove_disk(child, domid, devid, true));
		break;
	case ABSENT:
		break;
	}
	return rc < 0 ? rc : add_disk(child, domid, map);
}

/* unplug_disk {domid, devid, force} */
int xn_libxl_unplug_disk(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			 struct xn_libxl_answer *answer)
{
	return unplug(child, args, "vbd", remove_disk);
}

/* change_media {domid, disk}: without a path, what is in comes out. */
int xn_libxl_change_media(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			  struct xn_libxl_answer *answer)
{
	const struct xn_value *map = map_of(args, "disk");
	libxl_device_disk disk;
	uint32_t domid;
	int rc = map ? find_domain(child, args, &domid) : -EINVAL;

	if (rc < 0)
		return rc;
	rc = xn_libxl_disk_fill(map, &disk);
	if (rc == 0)
		rc = xn_libxl_rc(child, libxl_cdrom_insert(child->ctx, domid, &disk, NULL));
	libxl_device_disk_dispose(&disk);
	return rc;
}

/* ---- interfaces ---- */

static int remove_nic(struct xn_libxl_child *child, uint32_t domid, int devid, bool force)
{
	libxl_device_nic nic;
	int rc;

	libxl_device_nic_init(&nic);
	rc = libxl_devid_to_device_nic(child->ctx, domid, devid, &nic);
	if (rc == 0)
		rc = force ? libxl_device_nic_destroy(child->ctx, domid, &nic, NULL)
			   : libxl_device_nic_remove(child->ctx, domid, &nic, NULL);
	libxl_device_nic_dispose(&nic);
	return rc;
}

/* plug_nic {domid, nic} */
int xn_libxl_plug_nic(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		      struct xn_libxl_answer *answer)
{
	const struct xn_value *map = map_of(args, "nic");
	libxl_device_nic nic;
	uint32_t domid;
	int rc = map ? find_domain(child, args, &domid) : -EINVAL, devid;

	if (rc < 0)
		return rc;
	devid = xn_map_get_int(map, "devid", -1);
	switch (presence_of(child, domid, "vif", devid)) {
	case PRESENT:
		return 0;
	case CLOSING:
	case CLOSED: /* an interface is never kept by the guest against our will */
		rc = remove_nic(child, domid, devid, true);
		break;
	case ABSENT:
		break;
	}
	if (rc)
		return xn_libxl_rc(child, rc);
	rc = xn_libxl_nic_fill(map, &nic);
	if (rc == 0)
		rc = xn_libxl_rc(child, libxl_device_nic_add(child->ctx, domid, &nic, NULL));
	libxl_device_nic_dispose(&nic);
	return rc;
}

/* unplug_nic {domid, devid, force}: libxl forces it by itself when the guest takes too long. */
int xn_libxl_unplug_nic(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			struct xn_libxl_answer *answer)
{
	return unplug(child, args, "vif", remove_nic);
}

/* ---- PCI devices ---- */

static bool has_pci(struct xn_libxl_child *child, uint32_t domid, const libxl_device_pci *wanted)
{
	int n = 0;
	libxl_device_pci *list = libxl_device_pci_list(child->ctx, domid, &n);
	bool found = false;

	for (int i = 0; i < n && !found; i++)
		found = list[i].domain == wanted->domain && list[i].bus == wanted->bus &&
			list[i].dev == wanted->dev && list[i].func == wanted->func;
	if (list)
		libxl_device_pci_list_free(list, n);
	return found;
}

typedef int pci_change(struct xn_libxl_child *child, uint32_t domid, libxl_device_pci *pci,
		       bool force);

static int add_pci(struct xn_libxl_child *child, uint32_t domid, libxl_device_pci *pci, bool force)
{
	return libxl_device_pci_add(child->ctx, domid, pci, NULL);
}

static int remove_pci(struct xn_libxl_child *child, uint32_t domid, libxl_device_pci *pci,
		      bool force)
{
	return force ? libxl_device_pci_destroy(child->ctx, domid, pci, NULL)
		     : libxl_device_pci_remove(child->ctx, domid, pci, NULL);
}

static int change_pci(struct xn_libxl_child *child, const struct xn_value *args, bool there,
		      pci_change *change)
{
	libxl_device_pci pci;
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc == 0 && !xn_libxl_exists(child, domid))
		rc = there ? -ENOENT : 0; /* what is gone has no devices */
	else if (rc == 0) {
		rc = xn_libxl_pci_fill(xn_map_get_string(args, "address"), &pci);
		if (rc == 0 && has_pci(child, domid, &pci) != there)
			rc = unplug_rc(child, change(child, domid, &pci,
						     xn_map_get_bool(args, "force", false)));
		libxl_device_pci_dispose(&pci);
	}
	return rc;
}

/* plug_pci {domid, address}: taken from its driver in dom0 where that has it. */
int xn_libxl_plug_pci(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		      struct xn_libxl_answer *answer)
{
	return change_pci(child, args, true, add_pci);
}

/* unplug_pci {domid, address, force} */
int xn_libxl_unplug_pci(struct xn_libxl_child *child, const struct xn_value *args, int fd,
			struct xn_libxl_answer *answer)
{
	return change_pci(child, args, false, remove_pci);
}
