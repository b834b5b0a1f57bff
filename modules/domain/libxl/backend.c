/*
 * The real hypervisor behind struct xn_backend_ops. Everything that libxl does happens in worker
 * children (pool.h); what is known of domains and host is read by other children (facts.h) and kept
 * here, so that find() costs nothing. Two exceptions, both in xenstore, through the daemon's own
 * client: asking a guest to shut down, and what a destroyed domain may have left (keys.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain.h"
#include "modules/domain/libxl/calls.h"
#include "modules/domain/libxl/facts.h"
#include "modules/domain/libxl/keys.h"
#include "modules/domain/libxl/libxl.h"

enum {
	READERS = 2, /* the lists of domains, and the host */
	DEFAULT_WORKERS = 4,
	DEFAULT_MS = 60000,
	FIRST_READING_MS = 30000, /* a control domain that has just booted is slow */
};

struct xn_libxl {
	struct xn_backend backend;
	const char *const *worker;
	struct xn_libxl_pool *calls, *readers;
	struct xn_libxl_facts facts;
	struct xn_list asked; /* calls that were not answered yet */
	/* Devices with which domains were built, until they are asked for: "DOMID/vbd/DEVID". Only
	 * saves asking a child; whoever does not know asks it. */
	struct xn_value *built_in;
	bool is_open;
};

/* One call of the back end's interface, until its answer. */
struct asked {
	struct xn_list link;
	struct xn_libxl *x;
	const struct kind *kind;
	uint32_t domid;
	char uuid[37];
	xn_backend_done *done;
	void (*created)(int rc, uint32_t domid, void *arg);
	void *arg;
	struct xn_value *config;       /* of a new domain */
	struct xn_xs_request *writing; /* under way */
	unsigned parts;		       /* what has to end before the answer */
	struct xn_job answer;
	int rc;
	bool again; /* it was asked for a second time */
};

/* What to do for an answer from a child, before the caller gets it. */
struct kind {
	const char *call;
	unsigned flags;
	void (*ended)(struct asked *a, const struct xn_libxl_end *end); /* NULL: answer at once */
};

static struct xn_libxl *libxl_of(struct xn_backend *b)
{
	return xn_container_of(b, struct xn_libxl, backend);
}

static struct xn_loop *loop_of(const struct xn_libxl *x)
{
	return x->backend.core->loop;
}

/* ---- one call ---- */

static struct asked *asked_new(struct xn_libxl *x, const struct kind *kind, uint32_t domid,
			       xn_backend_done *done, void *arg)
{
	const struct xn_domain_info *info = xn_domain_table_get(&x->facts.domains, domid);
	struct asked *a = xn_calloc(1, sizeof(*a));

	a->x = x;
	a->kind = kind;
	a->domid = domid;
	a->done = done;
	a->arg = arg;
	if (info)
		memcpy(a->uuid, info->uuid, sizeof(a->uuid));
	xn_list_push(&x->asked, &a->link);
	return a;
}

static void asked_free(struct asked *a)
{
	xn_job_cancel(&a->answer);
	if (a->writing)
		xn_xs_cancel(a->writing);
	xn_value_unref(a->config);
	xn_list_remove(&a->link);
	free(a);
}

static void answer(struct xn_job *job)
{
	struct asked *a = xn_container_of(job, struct asked, answer);

	if (a->created)
		a->created(a->rc, a->domid, a->arg);
	else if (a->done)
		a->done(a->rc, a->arg);
	asked_free(a);
}

static void answer_soon(struct asked *a, int rc)
{
	a->rc = rc;
	xn_loop_defer(loop_of(a->x), &a->answer, XN_PRIO_REPLY, answer);
}

static void part_done(struct asked *a)
{
	if (--a->parts == 0)
		answer_soon(a, a->rc);
}

/* The answer waits until the lists were read: who hears it may ask how much memory is free. */
static void on_read(int rc, void *arg)
{
	part_done(arg); /* that it could not be read is no fault of the call */
}

static void read_again(struct asked *a)
{
	a->parts++;
	xn_libxl_facts_refresh(&a->x->facts, on_read, a);
}

static void on_written(int rc, void *arg)
{
	struct asked *a = arg;

	a->writing = NULL;
	if (rc < 0)
		xn_log_warn(a->x->backend.core->log, "domain",
			    "cannot write the keys of domain %u (%s): %s", a->domid, a->uuid,
			    strerror(-rc));
	part_done(a);
}

static void on_end(const struct xn_libxl_end *end, void *arg)
{
	struct asked *a = arg;

	if (end->rc < 0)
		xn_log_warn(a->x->backend.core->log, "domain", "libxl %s of domain %u (%s): %s%s%s",
			    a->kind->call, a->domid, a->uuid, strerror(-end->rc),
			    *end->message ? ": " : "", end->message);
	if (a->kind->ended)
		a->kind->ended(a, end);
	else
		answer_soon(a, end->rc);
}

static void on_progress(const char *what, int percent, void *arg)
{
	struct asked *a = arg;
	struct xn_backend *b = &a->x->backend;

	if (b->progress && a->uuid[0])
		b->progress(a->uuid, what, percent < 0 ? -1 : percent / 100.0, b->listener);
}

/* Takes @args and @fd. What the pool refuses is answered by the return value. */
static int send_call(struct asked *a, const char *call, unsigned flags, struct xn_value *args, int fd,
		     void (*done)(const struct xn_libxl_end *end, void *arg))
{
	const struct xn_libxl_call *row = xn_libxl_call_find(call);
	char name[48];
	struct xn_libxl_request request = {
		.call = call,
		.args = args,
		.fd = fd,
		.domain = name,
		.flags = flags,
		.timeout_ms = row ? row->timeout_ms : DEFAULT_MS,
		.done = done,
		.progress = on_progress,
		.arg = a,
	};

	/* By VM and not by number: a domain that is still being made has none that we know. */
	if (a->uuid[0])
		snprintf(name, sizeof(name), "%s", a->uuid);
	else
		snprintf(name, sizeof(name), "domain %u", a->domid);
	return xn_libxl_pool_call(a->x->calls, &request);
}

static int ask(struct asked *a, struct xn_value *args, int fd)
{
	int rc = send_call(a, a->kind->call, a->kind->flags, args, fd, on_end);

	if (rc < 0)
		asked_free(a);
	return rc;
}

static struct xn_value *domid_args(uint32_t domid)
{
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "domid", xn_int(domid));
	return args;
}

/* ---- what calls that have ended tell of their domain ---- */

static void patch(struct asked *a, void (*change)(struct xn_domain_info *info))
{
	const struct xn_domain_info *known = xn_domain_table_get(&a->x->facts.domains, a->domid);
	struct xn_domain_info info;

	if (!known)
		return;
	info = *known;
	change(&info);
	xn_domain_table_put(&a->x->facts.domains, &info);
}

static void set_paused(struct xn_domain_info *info)
{
	info->paused = true;
}

static void set_running(struct xn_domain_info *info)
{
	info->paused = false;
}

static void paused(struct asked *a, const struct xn_libxl_end *end)
{
	if (end->rc == 0)
		patch(a, set_paused);
	answer_soon(a, end->rc);
}

static void unpaused(struct asked *a, const struct xn_libxl_end *end)
{
	if (end->rc == 0)
		patch(a, set_running);
	answer_soon(a, end->rc);
}

/* What it has become only the hypervisor can tell. */
static void wants_reading(struct asked *a, const struct xn_libxl_end *end)
{
	a->rc = end->rc;
	read_again(a);
}

/* ---- create, restore ---- */

/* libxl does this too, as far as it knew of the domain when its process was killed. */
static void remove_keys(struct asked *a)
{
	struct xn_libxl *x = a->x;
	bool was_last = a->uuid[0] && !xn_domain_table_find(&x->facts.domains, a->uuid);

	a->parts++;
	a->writing = xn_libxl_keys_remove(xn_xenstore_of(x->backend.core), a->domid,
					  was_last ? a->uuid : NULL, on_written, a);
}

static void on_leftover_destroyed(const struct xn_libxl_end *end, void *arg)
{
	struct asked *a = arg;

	if (end->rc == 0) {
		xn_domain_table_remove(&a->x->facts.domains, a->domid);
		remove_keys(a);
	}
	read_again(a);
}

/* A worker that was killed or crashed has left half a domain. */
static void on_read_for_leftover(int rc, void *arg)
{
	struct asked *a = arg;
	const struct xn_domain_info *left = xn_domain_table_find(&a->x->facts.domains, a->uuid);

	if (!left) {
		answer_soon(a, a->rc);
		return;
	}
	a->domid = left->domid;
	xn_log_info(a->x->backend.core->log, "domain",
		    "domain %u is what a failed %s of %s has left: it is destroyed", a->domid,
		    a->kind->call, a->uuid);
	if (send_call(a, "destroy", 0, domid_args(a->domid), -1, on_leftover_destroyed) < 0)
		answer_soon(a, a->rc);
}

static void put_new(struct asked *a)
{
	const struct xn_value *config = a->config;
	const char *type = xn_map_get_string(config, "type");
	struct xn_domain_info info = {
		.domid = a->domid,
		.paused = true,
		.shutdown_code = XN_SHUTDOWN_NONE,
		.memory_bytes = (uint64_t)xn_map_get_int(config, "memory", 0),
		.max_memory_bytes = (uint64_t)xn_map_get_int(config, "max_memory", 0),
		.vcpus = (unsigned)xn_map_get_int(config, "vcpus", 1),
	};

	memcpy(info.uuid, a->uuid, sizeof(info.uuid));
	snprintf(info.type, sizeof(info.type), "%s", type ? type : "pv");
	xn_domain_table_put(&a->x->facts.domains, &info);
}

static void note_devices(struct asked *a, const char *list, const char *kind)
{
	const struct xn_value *set = xn_map_get(a->config, list);
	char key[48];

	for (size_t i = 0; set && i < xn_set_len(set); i++) {
		snprintf(key, sizeof(key), "%u/%s/%lld", a->domid, kind,
			 (long long)xn_map_get_int(xn_set_at(set, i), "devid", -1));
		xn_map_put(&a->x->built_in, key, xn_bool(true));
	}
}

/* Whether the domain was built with it; only the first asker is told. */
static bool take_built_in(struct xn_libxl *x, uint32_t domid, const char *kind, int devid)
{
	char key[48];

	snprintf(key, sizeof(key), "%u/%s/%d", domid, kind, devid);
	return xn_map_remove(&x->built_in, key);
}

static void forget_built_in(struct xn_libxl *x, uint32_t domid)
{
	char prefix[16];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "%u/", domid);

	for (size_t i = xn_map_len(x->built_in); i-- > 0;) {
		char key[48];

		snprintf(key, sizeof(key), "%s", xn_map_key_at(x->built_in, i));
		if (strncmp(key, prefix, len) == 0)
			xn_map_remove(&x->built_in, key);
	}
}

static void created(struct asked *a, const struct xn_libxl_end *end)
{
	int64_t domid = end->result && end->result->kind == XN_INT ? xn_value_int(end->result) : -1;

	a->rc = end->rc == 0 && (domid <= 0 || domid > UINT16_MAX) ? -EPROTO : end->rc;
	if (a->rc == -ECANCELED) { /* by a destroy, which comes next */
		answer_soon(a, a->rc);
	} else if (a->rc < 0) {
		xn_libxl_facts_refresh(&a->x->facts, on_read_for_leftover, a);
	} else {
		a->domid = (uint32_t)domid;
		put_new(a);
		note_devices(a, "disks", "vbd");
		note_devices(a, "nics", "vif");
		read_again(a);
	}
}

static int make_domain(struct xn_backend *b, const struct kind *kind, const struct xn_value *config,
		       int fd, void (*done)(int rc, uint32_t domid, void *arg), void *arg)
{
	const char *uuid = xn_map_get_string(config, "uuid");
	const struct xn_core *core = b->core;
	struct xn_value *args = xn_map_new();
	struct asked *a = asked_new(libxl_of(b), kind, 0, NULL, arg);

	a->created = done;
	a->config = xn_value_ref(config);
	snprintf(a->uuid, sizeof(a->uuid), "%s", uuid ? uuid : "");
	xn_map_put(&args, "config", xn_value_ref(config));
	xn_map_put(&args, "pygrub", xn_bool(core->config && xn_config_bool(core->config, "pygrub")));
	xn_map_put_string(&args, "folders",
			  core->config ? xn_config_string(core->config, "boot-folders") : "");
	return ask(a, args, fd);
}

enum { LONG = XN_LIBXL_SLOW | XN_LIBXL_YIELDS };

static const struct kind create_kind = {"create", LONG, created};
static const struct kind restore_kind = {"restore", LONG, created};

static int libxl_create(struct xn_backend *b, const struct xn_value *config,
			void (*done)(int rc, uint32_t domid, void *arg), void *arg)
{
	return make_domain(b, &create_kind, config, -1, done, arg);
}

static int libxl_restore(struct xn_backend *b, const struct xn_value *config, int fd,
			 void (*done)(int rc, uint32_t domid, void *arg), void *arg)
{
	return make_domain(b, &restore_kind, config, fd, done, arg);
}

/* ---- destroy ---- */

static void destroyed(struct asked *a, const struct xn_libxl_end *end)
{
	/* Another process may do what one could not; a domain that stays costs its memory. */
	if ((end->rc == -ETIMEDOUT || end->rc == -EIO) && !a->again) {
		a->again = true;
		if (send_call(a, a->kind->call, a->kind->flags, domid_args(a->domid), -1, on_end) ==
		    0)
			return;
	}
	a->rc = end->rc;
	if (end->rc == 0) {
		xn_domain_table_remove(&a->x->facts.domains, a->domid);
		remove_keys(a);
	}
	read_again(a);
}

static int libxl_destroy(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"destroy", XN_LIBXL_OVERTAKES, destroyed};

	forget_built_in(libxl_of(b), domid);
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), domid_args(domid), -1);
}

/* ---- a running domain ---- */

static int libxl_pause(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"pause", XN_LIBXL_QUICK, paused};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), domid_args(domid), -1);
}

static int libxl_unpause(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"unpause", XN_LIBXL_QUICK, unpaused};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), domid_args(domid), -1);
}

static const char *const requests[] = {
	[XN_SHUTDOWN_POWEROFF] = "poweroff",
	[XN_SHUTDOWN_REBOOT] = "reboot",
	[XN_SHUTDOWN_SUSPEND] = "suspend",
	[XN_SHUTDOWN_CRASH] = "crash",
};

static void on_asked_guest(int rc, void *arg)
{
	struct asked *a = arg;

	a->writing = NULL;
	answer_soon(a, rc);
}

/* Whether an HVM guest has drivers that listen only libxl knows; the others always do. */
static int libxl_shutdown(struct xn_backend *b, uint32_t domid, enum xn_domain_shutdown reason,
			  xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"shutdown", XN_LIBXL_QUICK, NULL};
	struct xn_libxl *x = libxl_of(b);
	const struct xn_domain_info *info = xn_domain_table_get(&x->facts.domains, domid);
	struct xn_xs_change change = {0};
	struct asked *a;
	char path[64];

	if (!info || info->dying)
		return -ENOENT;
	if (reason < 0 || reason >= (int)XN_ARRAY_SIZE(requests))
		return -EOPNOTSUPP;
	a = asked_new(x, &kind, domid, done, arg);
	if (strcmp(info->type, "hvm") == 0) {
		struct xn_value *args = domid_args(domid);

		xn_map_put(&args, "reason", xn_int(reason));
		return ask(a, args, -1);
	}
	snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown", domid);
	change.path = path;
	change.value = requests[reason];
	a->writing = xn_xs_write(xn_xenstore_of(b->core), &change, 1, on_asked_guest, a);
	return 0;
}

static int libxl_trigger(struct xn_backend *b, uint32_t domid, const char *trigger,
			 xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"trigger", XN_LIBXL_QUICK, NULL};
	struct xn_value *args = domid_args(domid);

	xn_map_put_string(&args, "trigger", trigger);
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, -1);
}

static int libxl_set_memory(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			    xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"set_memory", XN_LIBXL_QUICK, wants_reading};
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "bytes", xn_int((int64_t)bytes));
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, -1);
}

static int libxl_set_shadow(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			    xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"set_shadow", XN_LIBXL_QUICK, wants_reading};
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "bytes", xn_int((int64_t)bytes));
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, -1);
}

static int libxl_set_vcpu_params(struct xn_backend *b, uint32_t domid,
				 const struct xn_value *params, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"set_vcpu_params", XN_LIBXL_QUICK, NULL};
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "params", xn_value_ref(params));
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, -1);
}

static int libxl_set_vcpus(struct xn_backend *b, uint32_t domid, unsigned vcpus,
			   xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"set_vcpus", XN_LIBXL_QUICK, NULL};
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "vcpus", xn_int(vcpus));
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, -1);
}

/* ---- devices ---- */

static void put_text(struct xn_value **map, const char *key, const char *text)
{
	if (text)
		xn_map_put_string(map, key, text);
}

static struct xn_value *disk_args(uint32_t domid, const struct xn_disk_config *disk)
{
	struct xn_value *args = domid_args(domid), *map = xn_map_new();

	put_text(&map, "vdev", disk->vdev);
	put_text(&map, "path", disk->path);
	put_text(&map, "format", disk->format);
	xn_map_put(&map, "devid", xn_int(disk->devid));
	xn_map_put(&map, "read_only", xn_bool(disk->read_only));
	xn_map_put(&map, "is_cdrom", xn_bool(disk->is_cdrom));
	xn_map_put(&args, "disk", map);
	return args;
}

static struct xn_value *nic_args(uint32_t domid, const struct xn_nic_config *nic)
{
	struct xn_value *args = domid_args(domid), *map = xn_map_new();

	put_text(&map, "mac", nic->mac);
	put_text(&map, "bridge", nic->bridge);
	xn_map_put(&map, "devid", xn_int(nic->devid));
	xn_map_put(&map, "mtu", xn_int(nic->mtu));
	xn_map_put(&map, "rate_kbps", xn_int(nic->rate_kbps));
	xn_map_put(&args, "nic", map);
	return args;
}

static struct xn_value *devid_args(uint32_t domid, int devid, bool force)
{
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "devid", xn_int(devid));
	xn_map_put(&args, "force", xn_bool(force));
	return args;
}

static struct xn_value *pci_args(uint32_t domid, const char *address, bool force)
{
	struct xn_value *args = domid_args(domid);

	xn_map_put_string(&args, "address", address);
	xn_map_put(&args, "force", xn_bool(force));
	return args;
}

/* @args is taken. */
static int plug(struct xn_backend *b, const struct kind *kind, const char *what, uint32_t domid,
		int devid, struct xn_value *args, xn_backend_done *done, void *arg)
{
	struct asked *a = asked_new(libxl_of(b), kind, domid, done, arg);

	if (!take_built_in(libxl_of(b), domid, what, devid))
		return ask(a, args, -1);
	xn_value_unref(args);
	answer_soon(a, 0);
	return 0;
}

static int unplug(struct xn_backend *b, const struct kind *kind, const char *what, uint32_t domid,
		  int devid, bool force, xn_backend_done *done, void *arg)
{
	(void)take_built_in(libxl_of(b), domid, what, devid);
	return ask(asked_new(libxl_of(b), kind, domid, done, arg), devid_args(domid, devid, force),
		   -1);
}

static int libxl_plug_disk(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
			   xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"plug_disk", LONG, NULL};

	return plug(b, &kind, "vbd", domid, disk->devid, disk_args(domid, disk), done, arg);
}

static int libxl_unplug_disk(struct xn_backend *b, uint32_t domid, int devid, bool force,
			     xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"unplug_disk", LONG, NULL};

	return unplug(b, &kind, "vbd", domid, devid, force, done, arg);
}

static int libxl_change_media(struct xn_backend *b, uint32_t domid,
			      const struct xn_disk_config *disk, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"change_media", LONG, NULL};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), disk_args(domid, disk), -1);
}

static int libxl_plug_nic(struct xn_backend *b, uint32_t domid, const struct xn_nic_config *nic,
			  xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"plug_nic", LONG, NULL};

	return plug(b, &kind, "vif", domid, nic->devid, nic_args(domid, nic), done, arg);
}

static int libxl_unplug_nic(struct xn_backend *b, uint32_t domid, int devid, bool force,
			    xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"unplug_nic", LONG, NULL};

	return unplug(b, &kind, "vif", domid, devid, force, done, arg);
}

static int libxl_plug_pci(struct xn_backend *b, uint32_t domid, const char *address,
			  xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"plug_pci", LONG, NULL};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), pci_args(domid, address, false),
		   -1);
}

static int libxl_unplug_pci(struct xn_backend *b, uint32_t domid, const char *address, bool force,
			    xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"unplug_pci", LONG, NULL};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), pci_args(domid, address, force),
		   -1);
}

/* ---- its memory in a file ---- */

static int libxl_save(struct xn_backend *b, uint32_t domid, int fd, bool checkpoint,
		      xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"save", LONG, wants_reading};
	struct xn_value *args = domid_args(domid);

	xn_map_put(&args, "checkpoint", xn_bool(checkpoint));
	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), args, fd);
}

/* A save that is still under way is given up by it. */
static int libxl_resume(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	static const struct kind kind = {"resume", XN_LIBXL_OVERTAKES, wants_reading};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), domid_args(domid), -1);
}

static int libxl_core_dump(struct xn_backend *b, uint32_t domid, int fd, xn_backend_done *done,
			   void *arg)
{
	static const struct kind kind = {"core_dump", LONG, wants_reading};

	return ask(asked_new(libxl_of(b), &kind, domid, done, arg), domid_args(domid), fd);
}

/* ---- what there is ---- */

static int libxl_host_info(struct xn_backend *b, struct xn_host_info *out)
{
	*out = libxl_of(b)->facts.host;
	return out->memory_total ? 0 : -EAGAIN;
}

static const struct xn_domain_info *libxl_list(struct xn_backend *b, size_t *n_out)
{
	return xn_domain_table_list(&libxl_of(b)->facts.domains, n_out);
}

static const struct xn_domain_info *libxl_find(struct xn_backend *b, const char *vm_uuid)
{
	return xn_domain_table_find(&libxl_of(b)->facts.domains, vm_uuid);
}

static int libxl_refresh(struct xn_backend *b, xn_backend_done *done, void *arg)
{
	xn_libxl_facts_refresh(&libxl_of(b)->facts, done, arg);
	return 0;
}

static void count_pool(struct xn_metrics_page *page, const struct xn_libxl_pool_counts *all,
		       const char *name, const char *help, size_t offset, bool is_total)
{
	static const char *const pools[] = {"workers", "readers"};

	xn_metrics_family(page, is_total ? XN_METRIC_COUNTER : XN_METRIC_GAUGE, name, "", help);
	for (size_t i = 0; i < XN_ARRAY_SIZE(pools); i++) {
		const char *at = (const char *)&all[i] + offset;

		xn_metrics_int(page, is_total ? (int64_t) * (const uint64_t *)at
					      : (int64_t) * (const unsigned *)at,
			       "pool", pools[i]);
	}
}

static void libxl_count(const struct xn_backend *b, struct xn_metrics_page *page)
{
	const struct xn_libxl *x = xn_container_of(b, struct xn_libxl, backend);
	struct xn_libxl_pool_counts all[2] = {0};

	if (x->is_open) {
		xn_libxl_pool_count(x->calls, &all[0]);
		xn_libxl_pool_count(x->readers, &all[1]);
	}
#define COUNT(name, help, member, is_total) \
	count_pool(page, all, name, help, offsetof(struct xn_libxl_pool_counts, member), is_total)
	COUNT("xenolith_libxl_children", "Processes that make libxl calls.", children, false);
	COUNT("xenolith_libxl_busy", "Those of them with a call.", busy, false);
	COUNT("xenolith_libxl_waiting", "Calls that wait for one.", waiting, false);
	COUNT("xenolith_libxl_started", "Processes started.", started, true);
	COUNT("xenolith_libxl_killed", "Processes killed, mostly for a call without an end.", killed,
	      true);
	COUNT("xenolith_libxl_died", "Processes that ended by themselves.", died, true);
#undef COUNT
}

static struct xn_value *libxl_describe(struct xn_backend *b)
{
	struct xn_libxl *x = libxl_of(b);
	struct xn_value *map = xn_map_new();
	size_t n;

	(void)xn_domain_table_list(&x->facts.domains, &n);
	xn_map_put_string(&map, "backend", b->ops->name);
	xn_map_put(&map, "domains", xn_int((int64_t)n));
	if (x->is_open) {
		xn_map_put(&map, "workers", xn_libxl_pool_describe(x->calls));
		xn_map_put(&map, "readers", xn_libxl_pool_describe(x->readers));
	}
	return map;
}

/* ---- open and close ---- */

static unsigned workers_wanted(const struct xn_core *core)
{
	return core->config ? (unsigned)xn_config_int(core->config, "libxl-workers")
			    : DEFAULT_WORKERS;
}

static void on_listed(void *arg)
{
	struct xn_backend *b = arg;

	if (b->listed)
		b->listed(b->listener);
}

static int libxl_open(struct xn_backend *b, struct xn_error *err)
{
	struct xn_libxl *x = libxl_of(b);
	struct xn_libxl_pool_spec spec = {
		.loop = b->core->loop,
		.log = b->core->log,
		.argv = x->worker,
		.width = READERS,
	};
	int rc;

	x->readers = xn_libxl_pool_new(&spec);
	xn_libxl_facts_init(&x->facts, b->core->loop, x->readers);
	rc = xn_libxl_facts_read_first(&x->facts, &spec, FIRST_READING_MS);
	spec.width = workers_wanted(b->core);
	x->calls = xn_libxl_pool_new(&spec);
	x->is_open = true;
	if (rc < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the hypervisor's list of domains cannot be read: %s (are "
				     "xenstored and the Xen modules there?)",
				     strerror(-rc));
	x->facts.listed = on_listed;
	x->facts.arg = b;
	xn_libxl_facts_keep_fresh(&x->facts);
	xn_libxl_pool_warm(x->readers);
	xn_libxl_pool_warm(x->calls);
	return 0;
}

static void libxl_close(struct xn_backend *b)
{
	struct xn_libxl *x = libxl_of(b);

	if (!x->is_open)
		return;
	x->is_open = false;
	xn_libxl_pool_free(x->calls);
	xn_libxl_pool_free(x->readers);
	while (!xn_list_empty(&x->asked))
		asked_free(xn_list_entry(x->asked.next, struct asked, link));
	xn_libxl_facts_clear(&x->facts);
}

static void libxl_free(struct xn_backend *b)
{
	libxl_close(b);
	xn_value_unref(libxl_of(b)->built_in);
	free(libxl_of(b));
}

static const struct xn_backend_ops libxl_ops = {
	.name = "libxl",
	.open = libxl_open,
	.close = libxl_close,
	.host_info = libxl_host_info,
	.list = libxl_list,
	.find = libxl_find,
	.refresh = libxl_refresh,
	.create = libxl_create,
	.destroy = libxl_destroy,
	.pause = libxl_pause,
	.unpause = libxl_unpause,
	.shutdown = libxl_shutdown,
	.plug_disk = libxl_plug_disk,
	.unplug_disk = libxl_unplug_disk,
	.change_media = libxl_change_media,
	.plug_nic = libxl_plug_nic,
	.unplug_nic = libxl_unplug_nic,
	.plug_pci = libxl_plug_pci,
	.unplug_pci = libxl_unplug_pci,
	.set_memory = libxl_set_memory,
	.set_shadow = libxl_set_shadow,
	.set_vcpus = libxl_set_vcpus,
	.set_vcpu_params = libxl_set_vcpu_params,
	.trigger = libxl_trigger,
	.save = libxl_save,
	.resume = libxl_resume,
	.restore = libxl_restore,
	.core_dump = libxl_core_dump,
	.describe = libxl_describe,
	.count = libxl_count,
	.free = libxl_free,
};

struct xn_backend *xn_libxl_backend_new(struct xn_core *core, const char *const *worker)
{
	struct xn_libxl *x = xn_calloc(1, sizeof(*x));

	x->backend = (struct xn_backend){.ops = &libxl_ops, .core = core};
	x->worker = worker;
	x->built_in = xn_map_new();
	xn_list_init(&x->asked);
	return &x->backend;
}

struct xn_backend *xn_backend_libxl_new(struct xn_core *core)
{
	static const char *const worker[] = {"/proc/self/exe", XN_LIBXL_WORKER_ARG, NULL};

	return xn_libxl_backend_new(core, worker);
}
