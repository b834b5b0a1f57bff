/*
 * Disks and interfaces of simulated domains. The toolstack writes both ends' keys, the backend gets
 * ready (state 2), the guest connects (3, then 4 on both sides); to unplug, the backend says that
 * it closes (5) and waits until the guest has let go (6).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/sim/sim_internal.h"

static const char backend_qdisk[] = "qdisk";
static const char *const kind_names[XN_SIM_KINDS] = {[XN_SIM_VBD] = "vbd", [XN_SIM_VIF] = "vif"};

/* XenbusState of the protocol between frontends and backends. */
enum { INITIALISING = 1, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };

struct xn_sim_device *xn_sim_device_find(struct xn_sim_domain *domain, enum xn_sim_kind kind,
					 int devid)
{
	xn_list_each(link, &domain->devices)
	{
		struct xn_sim_device *device = xn_list_entry(link, struct xn_sim_device, link);

		if (device->kind == kind && device->devid == devid)
			return device;
	}
	return NULL;
}

struct xn_sim_device *xn_sim_device_new(struct xn_sim_domain *domain, enum xn_sim_kind kind,
					int devid)
{
	struct xn_sim_device *device = xn_calloc(1, sizeof(*device));

	device->domain = domain;
	device->kind = kind;
	device->devid = devid;
	device->backend = kind_names[kind];
	xn_list_init(&device->calls);
	xn_list_push(&domain->devices, &device->link);
	return device;
}

void xn_sim_device_free(struct xn_sim_device *device)
{
	xn_sim_guest_drop_plans(device->domain, device);
	xn_timer_cancel(&device->timer);
	xn_sim_answer_all(&device->calls, -ECANCELED);
	xn_list_remove(&device->link);
	free(device);
}

static void base_backend(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	xn_sim_keys_base(keys, "/local/domain/0/backend/%s/%u/%d", device->backend,
			 device->domain->info.domid, device->devid);
}

/* libxl's own notes, where no guest can write. */
static void base_notes(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	xn_sim_keys_base(keys, "/libxl/%u/device/%s/%d", device->domain->info.domid,
			 kind_names[device->kind], device->devid);
}

static void base_frontend(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	xn_sim_keys_base(keys, "/local/domain/%u/device/%s/%d", device->domain->info.domid,
			 kind_names[device->kind], device->devid);
}

static void set_backend(struct xn_sim_device *device, int state, const char *also_key,
			const char *also_value)
{
	struct xn_sim_keys keys;

	xn_sim_keys_begin(&keys, device->domain->sim->dom0);
	base_backend(&keys, device);
	if (also_key)
		xn_sim_put(&keys, also_key, also_value);
	xn_sim_putf(&keys, "state", "%d", state);
	(void)xn_sim_keys_end(&keys); /* domain 0 always may */
}

/* ---- plug ---- */

static void put_pointers(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	uint32_t domid = device->domain->info.domid;

	xn_sim_putf(keys, "frontend", "/local/domain/%u/device/%s/%d", domid,
		    kind_names[device->kind], device->devid);
	xn_sim_putf(keys, "backend", "/local/domain/0/backend/%s/%u/%d", device->backend, domid,
		    device->devid);
}

static void put_both_ends(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	const char *kind = kind_names[device->kind];
	uint32_t domid = device->domain->info.domid;

	base_notes(keys, device);
	put_pointers(keys, device);
	base_frontend(keys, device);
	xn_sim_allow(keys, "", "n%u r0", domid);
	xn_sim_putf(keys, "backend", "/local/domain/0/backend/%s/%u/%d", device->backend, domid,
		    device->devid);
	xn_sim_put(keys, "backend-id", "0");
	xn_sim_put(keys, "trusted", "1"); /* back ends are in the control domain */
	xn_sim_putf(keys, "state", "%d", INITIALISING);
	base_backend(keys, device);
	xn_sim_allow(keys, "", "n0 r%u", domid);
	xn_sim_putf(keys, "frontend", "/local/domain/%u/device/%s/%d", domid, kind, device->devid);
	xn_sim_putf(keys, "frontend-id", "%u", domid);
	xn_sim_put(keys, "online", "1");
	xn_sim_putf(keys, "state", "%d", INITIALISING);
}

/* The kernel serves what it can read itself; QEMU the rest, and drives that are empty. */
static bool is_raw(const struct xn_disk_config *disk)
{
	return disk->path && disk->format && !strcmp(disk->format, "raw");
}

static void put_medium(struct xn_sim_keys *keys, const struct xn_sim_device *device,
		       const struct xn_disk_config *disk)
{
	bool by_qemu = !strcmp(device->backend, backend_qdisk);

	if (by_qemu && disk->path)
		xn_sim_putf(keys, "params", "%s:%s", is_raw(disk) ? "aio" : disk->format,
			    disk->path);
	else
		xn_sim_put(keys, "params", disk->path ? disk->path : "");
	xn_sim_put(keys, "type", by_qemu ? "qdisk" : "phy");
}

static void put_disk(struct xn_sim_keys *keys, const struct xn_sim_device *device,
		     const struct xn_disk_config *disk)
{
	put_both_ends(keys, device);
	put_medium(keys, device, disk);
	xn_sim_put(keys, "dev", disk->vdev);
	xn_sim_put(keys, "mode", disk->read_only ? "r" : "w");
	xn_sim_put(keys, "removable", disk->is_cdrom ? "1" : "0");
	xn_sim_put(keys, "bootable", "1");
	xn_sim_put(keys, "device-type", disk->is_cdrom ? "cdrom" : "disk");
	base_frontend(keys, device);
	xn_sim_putf(keys, "virtual-device", "%d", device->devid);
	xn_sim_put(keys, "device-type", disk->is_cdrom ? "cdrom" : "disk");
}

static void put_nic(struct xn_sim_keys *keys, const struct xn_sim_device *device,
		    const struct xn_nic_config *nic)
{
	put_both_ends(keys, device);
	xn_sim_put(keys, "script", "/etc/xen/scripts/vif-bridge");
	xn_sim_put(keys, "mac", nic->mac ? nic->mac : "");
	xn_sim_put(keys, "bridge", nic->bridge ? nic->bridge : "");
	xn_sim_putf(keys, "handle", "%d", device->devid);
	xn_sim_put(keys, "type", "vif");
	if (nic->rate_kbps > 0) /* bytes in each slice of 50 ms */
		xn_sim_putf(keys, "rate", "%lld,50000", (long long)nic->rate_kbps * 1024 / 20);
	base_frontend(keys, device);
	xn_sim_putf(keys, "handle", "%d", device->devid);
	xn_sim_put(keys, "mac", nic->mac ? nic->mac : "");
	if (nic->mtu > 0)
		xn_sim_putf(keys, "mtu", "%d", nic->mtu);
}

static void remove_keys(struct xn_sim_device *device)
{
	static void (*const bases[])(struct xn_sim_keys * keys,
				     const struct xn_sim_device *device) = {
		base_frontend, base_backend, base_notes};
	struct xn_sim_keys keys;

	xn_sim_keys_begin(&keys, device->domain->sim->dom0);
	for (size_t i = 0; i < XN_ARRAY_SIZE(bases); i++) {
		bases[i](&keys, device);
		(void)xn_xs_conn_rm(keys.conn, keys.tx, keys.base);
	}
	(void)xn_sim_keys_end(&keys);
}

static void on_attached(struct xn_timer *timer)
{
	struct xn_sim_device *device = xn_container_of(timer, struct xn_sim_device, timer);
	struct xn_sim_domain *domain = device->domain;

	if (domain->options.plug == XN_SIM_FAIL) {
		xn_sim_answer_all(&device->calls, -EIO);
		remove_keys(device);
		xn_sim_device_free(device);
	} else {
		device->phase = XN_SIM_WAITING;
		set_backend(device, INIT_WAIT, "hotplug-status", "connected");
		xn_sim_answer_all(&device->calls, 0);
		xn_sim_guest_sees_device(device);
	}
	xn_sim_changed(domain);
}

static void start_attaching(struct xn_sim_device *device)
{
	const struct xn_sim_options *o = &device->domain->options;

	if (o->plug != XN_SIM_HANG)
		xn_timer_arm(xn_sim_loop(device->domain->sim), &device->timer,
			     xn_sim_delay_us(device->domain, o->plug_ms), on_attached);
}

/* Exactly one of @disk, @nic is given. */
static int plug(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
		const struct xn_nic_config *nic, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	enum xn_sim_kind kind = disk ? XN_SIM_VBD : XN_SIM_VIF;
	int devid = disk ? disk->devid : nic->devid, rc;
	struct xn_sim_device *device;
	struct xn_sim_keys keys;
	struct xn_sim_call *call;

	if (!domain || domain->info.dying)
		return -ENOENT;
	device = xn_sim_device_find(domain, kind, devid);
	if (device && device->phase == XN_SIM_CLOSING)
		return -EBUSY;
	call = xn_sim_call_new(sim, done, arg);
	if (device) { /* there, or on its way */
		if (device->phase == XN_SIM_ATTACHING)
			xn_list_push(&device->calls, &call->link);
		else
			xn_sim_answer(call, 0);
		return 0;
	}
	device = xn_sim_device_new(domain, kind, devid);
	if (disk && !is_raw(disk))
		device->backend = backend_qdisk;
	xn_sim_keys_begin(&keys, sim->dom0);
	if (disk)
		put_disk(&keys, device, disk);
	else
		put_nic(&keys, device, nic);
	rc = xn_sim_keys_end(&keys);
	if (rc < 0) {
		xn_sim_device_free(device);
		free(call);
		return rc;
	}
	xn_list_push(&device->calls, &call->link);
	start_attaching(device);
	xn_sim_changed(domain);
	return 0;
}

int xn_sim_plug_disk(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
		     xn_backend_done *done, void *arg)
{
	return plug(b, domid, disk, NULL, done, arg);
}

int xn_sim_plug_nic(struct xn_backend *b, uint32_t domid, const struct xn_nic_config *nic,
		    xn_backend_done *done, void *arg)
{
	return plug(b, domid, NULL, nic, done, arg);
}

/* ---- the guest connects ---- */

static void put_frontend(struct xn_sim_keys *keys, const struct xn_sim_device *device)
{
	unsigned nth = (unsigned)device->devid & 0xff;

	base_frontend(keys, device);
	xn_sim_put(keys, "protocol", "x86_64-abi");
	if (device->kind == XN_SIM_VBD) {
		xn_sim_putf(keys, "ring-ref", "%u", 8 + nth);
		xn_sim_putf(keys, "event-channel", "%u", 10 + nth);
	} else {
		xn_sim_putf(keys, "tx-ring-ref", "%u", 8 + nth);
		xn_sim_putf(keys, "rx-ring-ref", "%u", 9 + nth);
		xn_sim_putf(keys, "event-channel", "%u", 10 + nth);
		xn_sim_put(keys, "request-rx-copy", "1");
	}
	xn_sim_putf(keys, "state", "%d", INITIALISED);
}

static void set_frontend(struct xn_sim_device *device, int state)
{
	char path[96];

	snprintf(path, sizeof(path), "device/%s/%d/state", kind_names[device->kind], device->devid);
	(void)xn_xs_conn_writef(device->domain->conn, 0, path, "%d", state);
}

void xn_sim_device_connect(struct xn_sim_device *device)
{
	struct xn_sim_keys keys;

	if (device->phase != XN_SIM_WAITING)
		return;
	xn_sim_keys_begin(&keys, device->domain->conn);
	put_frontend(&keys, device);
	if (xn_sim_keys_end(&keys) < 0)
		return; /* beyond its quota: never connects, as on Xen */
	device->phase = XN_SIM_CONNECTED;
	if (device->kind == XN_SIM_VBD)
		set_backend(device, CONNECTED, "sector-size", "512");
	else
		set_backend(device, CONNECTED, NULL, NULL);
	set_frontend(device, CONNECTED);
	if (device->kind == XN_SIM_VIF)
		xn_sim_guest_report_nics(device->domain);
	xn_sim_changed(device->domain);
}

/* ---- unplug ---- */

/* Nothing of it is left, and those who asked are told. */
static void detach(struct xn_sim_device *device)
{
	struct xn_sim_domain *domain = device->domain;

	xn_sim_answer_all(&device->calls, 0);
	remove_keys(device);
	xn_sim_device_free(device);
	xn_sim_changed(domain);
}

void xn_sim_device_let_go(struct xn_sim_device *device)
{
	char path[96];

	if (device->phase != XN_SIM_CLOSING)
		return;
	if (device->domain->options.unplug != XN_SIM_REFUSE) {
		set_frontend(device, CLOSED);
		set_backend(device, CLOSED, NULL, NULL);
		detach(device);
		return;
	}
	snprintf(path, sizeof(path), "error/device/%s/%d/error", kind_names[device->kind],
		 device->devid);
	(void)xn_xs_conn_write_string(device->domain->conn, 0, path,
				      "16 Device in use; refusing to close");
	device->phase = XN_SIM_CONNECTED;
	set_backend(device, CONNECTED, "online", "1");
	xn_sim_answer_all(&device->calls, -EBUSY);
	xn_sim_changed(device->domain);
}

static void on_detached(struct xn_timer *timer)
{
	detach(xn_container_of(timer, struct xn_sim_device, timer));
}

/* Nobody at the other end: it closes by itself. */
static void close_alone(struct xn_sim_device *device)
{
	xn_timer_arm(xn_sim_loop(device->domain->sim), &device->timer,
		     xn_sim_delay_us(device->domain, device->domain->options.unplug_ms),
		     on_detached);
}

static int unplug(struct xn_backend *b, uint32_t domid, enum xn_sim_kind kind, int devid,
		  bool force, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct xn_sim_device *device = domain ? xn_sim_device_find(domain, kind, devid) : NULL;
	struct xn_sim_call *call = xn_sim_call_new(sim, done, arg);
	bool was_connected;

	if (!device) {
		xn_sim_answer(call, 0);
		return 0;
	}
	if (device->phase == XN_SIM_ATTACHING)
		xn_sim_answer_all(&device->calls, -ECANCELED);
	xn_list_push(&device->calls, &call->link);
	if (force) {
		detach(device);
		return 0;
	}
	if (device->phase == XN_SIM_CLOSING)
		return 0;
	was_connected = device->phase == XN_SIM_CONNECTED;
	xn_sim_guest_drop_plans(domain, device);
	device->phase = XN_SIM_CLOSING;
	set_backend(device, CLOSING, "online", "0");
	if (was_connected && !domain->info.shut_down)
		xn_sim_guest_sees_device(device);
	else
		close_alone(device);
	xn_sim_changed(domain);
	return 0;
}

int xn_sim_unplug_disk(struct xn_backend *b, uint32_t domid, int devid, bool force,
		       xn_backend_done *done, void *arg)
{
	return unplug(b, domid, XN_SIM_VBD, devid, force, done, arg);
}

int xn_sim_unplug_nic(struct xn_backend *b, uint32_t domid, int devid, bool force,
		      xn_backend_done *done, void *arg)
{
	return unplug(b, domid, XN_SIM_VIF, devid, force, done, arg);
}

void xn_sim_devices_abandoned(struct xn_sim_domain *domain)
{
	xn_list_each(link, &domain->devices)
	{
		struct xn_sim_device *device = xn_list_entry(link, struct xn_sim_device, link);

		if (device->phase == XN_SIM_CLOSING && !xn_timer_is_armed(&device->timer))
			close_alone(device);
	}
}

/* ---- media ---- */

int xn_sim_change_media(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
			xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct xn_sim_device *device =
		domain ? xn_sim_device_find(domain, XN_SIM_VBD, disk->devid) : NULL;
	struct xn_sim_keys keys;
	int rc;

	if (!device)
		return -ENOENT;
	xn_sim_keys_begin(&keys, sim->dom0);
	base_backend(&keys, device);
	put_medium(&keys, device, disk);
	rc = xn_sim_keys_end(&keys);
	if (rc < 0)
		return rc;
	xn_sim_answer(xn_sim_call_new(sim, done, arg), 0);
	return 0;
}

/* ---- after a restart of the daemon ---- */

/* Which backend serves it only xenstore tells. */
static void find_backend(struct xn_sim_device *device)
{
	char path[96];
	const char *value;
	size_t len;

	if (device->kind != XN_SIM_VBD)
		return;
	snprintf(path, sizeof(path), "/local/domain/0/backend/%s/%u/%d", backend_qdisk,
		 device->domain->info.domid, device->devid);
	if (xn_xs_conn_read(device->domain->sim->dom0, 0, path, &value, &len) == 0)
		device->backend = backend_qdisk;
}

static int backend_state(const struct xn_sim_device *device)
{
	char path[96], text[8] = "";
	const char *value;
	size_t len;

	snprintf(path, sizeof(path), "/local/domain/0/backend/%s/%u/%d/state", device->backend,
		 device->domain->info.domid, device->devid);
	if (!xn_xs_conn_read(device->domain->sim->dom0, 0, path, &value, &len) &&
	    len < sizeof(text))
		memcpy(text, value, len);
	return atoi(text);
}

static void match_one(struct xn_sim_domain *domain, enum xn_sim_kind kind, int devid)
{
	static const enum xn_sim_device_phase phases[] = {
		[INITIALISING] = XN_SIM_ATTACHING, [INIT_WAIT] = XN_SIM_WAITING,
		[INITIALISED] = XN_SIM_WAITING,    [CONNECTED] = XN_SIM_CONNECTED,
		[CLOSING] = XN_SIM_CLOSING,	   [CLOSED] = XN_SIM_CLOSING,
	};
	struct xn_sim_device *device = xn_sim_device_find(domain, kind, devid);
	int state;

	if (!device)
		device = xn_sim_device_new(domain, kind, devid);
	find_backend(device);
	state = backend_state(device);
	device->is_known = true;
	if (state >= INITIALISING && state <= CLOSED)
		device->phase = phases[state];
}

void xn_sim_devices_match(struct xn_sim_domain *domain)
{
	for (int kind = 0; kind < XN_SIM_KINDS; kind++) {
		struct xn_buf names = {0};
		char path[64];

		snprintf(path, sizeof(path), "/libxl/%u/device/%s", domain->info.domid,
			 kind_names[kind]);
		(void)xn_xs_conn_directory(domain->sim->dom0, 0, path, &names);
		for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1)
			match_one(domain, (enum xn_sim_kind)kind, atoi(names.data + at));
		xn_buf_clear(&names);
	}
	xn_list_each_safe(link, &domain->devices)
	{
		struct xn_sim_device *device = xn_list_entry(link, struct xn_sim_device, link);

		if (!device->is_known)
			xn_sim_device_free(device);
	}
}

void xn_sim_device_reopened(struct xn_sim_device *device)
{
	if (device->phase == XN_SIM_WAITING || device->phase == XN_SIM_CLOSING)
		xn_sim_guest_reminded(device);
	if (device->phase == XN_SIM_ATTACHING)
		start_attaching(device);
	else if (device->phase == XN_SIM_CLOSING && device->domain->guest.phase != XN_SIM_UP)
		close_alone(device);
}
