/*
 * The watcher: sees that domains appear, change and die, and that their xenstore nodes change, and
 * says so on the bus and to modules/updates. Reads nothing itself: reconciling does.
 *
 * The hypervisor only says "some domain changed"; the list is then read anew, off the loop, and
 * compared with the one before. A domain that is no VM of ours is known by name, and left alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum {
	COMPLAIN_EVERY_US = 3600 * 1000000ll,
	RETRY_US = 1000 * 1000,  /* after a list that could not be read */
	SETTLE_US = 1000 * 1000, /* between looks at memory that may move */
	SETTLE_QUIET = 5,        /* so often unmoved: it has arrived, or never will */
	NAME_MAX_BYTES = 1024,
};

/*
 * What of a domain's xenstore may change a row, and which signal it makes. A guest announces changes
 * below data/ by data/ts.
 */
static const struct {
	const char *below, *signal;
} watched_paths[] = {
	{"attr", "guest"},
	{"control", "guest"},
	{"data/ts", "guest"},
	{"data/service", "guest"},
	{"drivers", "guest"},
	{"feature", "guest"},
	{"vm-data", "guest"},
	{"xenserver/attr", "guest"},
	{"console", "guest"},
	{"cpu", "guest"},
	{"device", "devices"},
	{"memory/target", "VM"},
};
static const char *const watched_backends[] = {"vbd", "qdisk", "vif", "pci"};

enum {
	N_BELOW = XN_ARRAY_SIZE(watched_paths),
	N_BACKENDS = XN_ARRAY_SIZE(watched_backends),
	N_WATCHES = N_BELOW + N_BACKENDS + 1 /* the clock */,
};

struct watched {
	struct xn_hnode node;
	struct xn_domains *d;
	uint32_t domid;
	char uuid[37];
	bool is_ours, paused, dying, shut_down, seen;
	enum xn_domain_shutdown shutdown_code;
	uint64_t memory_bytes;
	int64_t complained_us; /* 0: never */
	struct node_watch {
		struct watched *of;
		const char *signal;
		struct xn_xs_watch *watch;
	} watches[N_WATCHES];
	char *name; /* of one that is not ours, once read */
	struct xn_xs_request *naming;
};

static void refresh(struct xn_job *job);

static struct watched *find_watched(struct xn_domains *d, uint32_t domid)
{
	struct xn_hnode *node =
		xn_hmap_first_same(&d->watched, xn_hash_bytes(&domid, sizeof(domid)));

	for (; node; node = xn_hmap_next_same(node)) {
		struct watched *w = xn_container_of(node, struct watched, node);

		if (w->domid == domid)
			return w;
	}
	return NULL;
}

/* ---- one domain ---- */

static void on_settle(struct xn_timer *timer);

static void on_node_changed(const char *path, void *arg)
{
	struct node_watch *watch = arg;
	struct xn_domains *d = watch->of->d;

	xn_updates_touch(d->updates, watch->signal, watch->of->uuid);
	/* Nobody tells when a guest has reached a new target: it is looked at for a while. */
	if (strcmp(watch->signal, "VM") == 0) {
		d->quiet_looks = 0;
		if (!xn_timer_is_armed(&d->settle))
			xn_timer_arm(d->core->loop, &d->settle, SETTLE_US, on_settle);
	}
}

static void watch_nodes(struct watched *w)
{
	struct node_watch *next = w->watches;
	char path[80];

	for (size_t i = 0; i < N_WATCHES; i++)
		w->watches[i] = (struct node_watch){.of = w, .signal = "devices"};
	for (size_t i = 0; i < N_BELOW; i++, next++) {
		snprintf(path, sizeof(path), "/local/domain/%u/%s", w->domid,
			 watched_paths[i].below);
		next->signal = watched_paths[i].signal;
		next->watch = xn_xs_watch(w->d->xs, path, on_node_changed, next);
	}
	for (size_t i = 0; i < N_BACKENDS; i++, next++) {
		snprintf(path, sizeof(path), "/local/domain/0/backend/%s/%u", watched_backends[i],
			 w->domid);
		next->watch = xn_xs_watch(w->d->xs, path, on_node_changed, next);
	}
	snprintf(path, sizeof(path), "/vm/%s/rtc/timeoffset", w->uuid);
	next->signal = "guest";
	next->watch = xn_xs_watch(w->d->xs, path, on_node_changed, next);
}

static void on_named(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct watched *w = arg;
	char path[64];
	const char *name;

	w->naming = NULL;
	snprintf(path, sizeof(path), "/local/domain/%u/name", w->domid);
	name = rc < 0 ? NULL : xn_xs_get(snap, path);
	if (name)
		w->name = xn_strdup(name);
	xn_log_info(w->d->core->log, "domain", "domain %u (%s, uuid %s) is not ours: left alone",
		    w->domid, name ? name : "nameless", w->uuid);
}

static void ask_name(struct watched *w)
{
	char path[64];
	const char *const paths[] = {path};

	snprintf(path, sizeof(path), "/local/domain/%u/name", w->domid);
	w->naming = xn_xs_snapshot(w->d->xs, paths, 1, 0, NAME_MAX_BYTES, on_named, w);
}

static void publish(struct watched *w)
{
	struct xn_ev_domain_changed ev = {.domid = w->domid};

	memcpy(ev.vm_uuid, w->uuid, sizeof(ev.vm_uuid));
	xn_publish_domain_changed(w->d->core->bus, &ev);
}

static struct watched *add(struct xn_domains *d, const struct xn_domain_info *info)
{
	struct watched *w = xn_calloc(1, sizeof(*w));

	w->d = d;
	w->domid = info->domid;
	memcpy(w->uuid, info->uuid, sizeof(w->uuid));
	w->is_ours = xn_db_by_uuid(d->db, XN_CLASS_VM, w->uuid) != NULL;
	xn_hmap_insert(&d->watched, &w->node, xn_hash_bytes(&w->domid, sizeof(w->domid)));
	if (w->is_ours)
		watch_nodes(w);
	else
		ask_name(w);
	return w;
}

static void drop(struct watched *w)
{
	for (size_t i = 0; i < N_WATCHES; i++)
		xn_xs_unwatch(w->watches[i].watch);
	if (w->naming)
		xn_xs_cancel(w->naming);
	xn_hmap_remove(&w->d->watched, &w->node);
	free(w->name);
	free(w);
}

void xn_domain_watch_complain(struct xn_domains *d, uint32_t domid)
{
	struct watched *w = find_watched(d, domid);
	int64_t now_us = xn_now_us(d->core->loop);

	if (!w || (w->complained_us && now_us - w->complained_us < COMPLAIN_EVERY_US))
		return;
	w->complained_us = now_us ? now_us : 1;
	xn_log_warn(d->core->log, "domain",
		    "VM %s tells more of itself in xenstore than the %d KiB that are read", w->uuid,
		    XN_XENSTORE_MAX >> 10);
}

/* ---- the list ---- */

static void compare(struct xn_domains *d, const struct xn_domain_info *info)
{
	struct watched *w = find_watched(d, info->domid);

	/* A new one with the number of the old, or one that a VM has been made for. */
	if (w && (strcmp(w->uuid, info->uuid) != 0 ||
		  (!w->is_ours && xn_db_by_uuid(d->db, XN_CLASS_VM, w->uuid)))) {
		publish(w);
		drop(w);
		w = NULL;
	}
	if (w && w->paused == info->paused && w->dying == info->dying &&
	    w->shut_down == info->shut_down && w->shutdown_code == info->shutdown_code &&
	    w->memory_bytes == info->memory_bytes) {
		w->seen = true;
		return;
	}
	if (!w)
		w = add(d, info);
	w->seen = true;
	w->paused = info->paused;
	w->dying = info->dying;
	w->shut_down = info->shut_down;
	w->shutdown_code = info->shutdown_code;
	if (w->memory_bytes != info->memory_bytes)
		d->quiet_looks = 0;
	w->memory_bytes = info->memory_bytes;
	publish(w);
}

static void compare_all(struct xn_domains *d)
{
	struct xn_hnode *node, *next;
	size_t n;
	const struct xn_domain_info *infos = d->backend->ops->list(d->backend, &n);

	for (size_t i = 0; i < n; i++)
		if (infos[i].domid != 0)
			compare(d, &infos[i]);
	for (node = xn_hmap_first(&d->watched); node; node = next) {
		struct watched *w = xn_container_of(node, struct watched, node);

		next = xn_hmap_next(&d->watched, node);
		if (!w->seen) {
			publish(w);
			drop(w);
		} else {
			w->seen = false;
		}
	}
}

static void on_listed(struct xn_job *job)
{
	compare_all(xn_container_of(job, struct xn_domains, listed));
}

static void compare_later(struct xn_domains *d)
{
	xn_loop_defer(d->core->loop, &d->listed, XN_PRIO_REFRESH, on_listed);
}

/*
 * Each reading counts, not only those that the hypervisor's word gave rise to: a guest that stops,
 * is made to go on and stops again, must be seen to have run in between. And a word may be lost.
 */
void xn_domain_watch_listed(void *arg)
{
	struct xn_domains *d = arg;

	if (!d->stopped && d->introduced)
		compare_later(d);
}

static void refresh_later(struct xn_domains *d)
{
	if (!d->stopped)
		xn_loop_defer(d->core->loop, &d->refresh, XN_PRIO_REFRESH, refresh);
}

static void on_retry(struct xn_timer *timer)
{
	refresh_later(xn_container_of(timer, struct xn_domains, refresh_retry));
}

static void on_refreshed(int rc, void *arg)
{
	struct xn_domains *d = arg;

	d->refreshing = false;
	if (d->stopped)
		return;
	if (rc < 0) {
		xn_log_warn(d->core->log, "domain", "cannot list domains, trying again: %s",
			    strerror(-rc));
		xn_timer_arm(d->core->loop, &d->refresh_retry, RETRY_US, on_retry);
	} else {
		compare_later(d);
	}
	if (d->refresh_again)
		refresh_later(d);
	d->refresh_again = false;
}

static void refresh(struct xn_job *job)
{
	struct xn_domains *d = xn_container_of(job, struct xn_domains, refresh);
	int rc;

	if (d->refreshing) {
		d->refresh_again = true;
		return;
	}
	d->refreshing = true;
	rc = d->backend->ops->refresh(d->backend, on_refreshed, d);
	if (rc < 0)
		on_refreshed(rc, d);
}

static void on_domains_changed(const char *path, void *arg)
{
	refresh_later(arg);
}

static void on_settle(struct xn_timer *timer)
{
	struct xn_domains *d = xn_container_of(timer, struct xn_domains, settle);

	refresh_later(d);
	if (++d->quiet_looks < SETTLE_QUIET)
		xn_timer_arm(d->core->loop, timer, SETTLE_US, on_settle);
}

/* ---- for others ---- */

struct xn_value *xn_domains_foreign(struct xn_domains *d)
{
	struct xn_value *set = xn_set_new();
	size_t n;
	const struct xn_domain_info *infos = d->backend->ops->list(d->backend, &n);

	for (size_t i = 0; i < n; i++) {
		const struct watched *w = find_watched(d, infos[i].domid);
		struct xn_value *map;

		if (!w || w->is_ours)
			continue;
		map = xn_map_new();
		xn_map_put(&map, "domid", xn_int(w->domid));
		xn_map_put_string(&map, "uuid", w->uuid);
		xn_map_put_string(&map, "name", w->name ? w->name : "");
		xn_set_append(&set, map);
	}
	return set;
}

int xn_domain_watch_start(struct xn_domains *d)
{
	compare_all(d);
	d->introduced = xn_xs_watch(d->xs, "@introduceDomain", on_domains_changed, d);
	d->released = xn_xs_watch(d->xs, "@releaseDomain", on_domains_changed, d);
	return 0;
}

void xn_domain_watch_stop(struct xn_domains *d)
{
	struct xn_hnode *node, *next;

	xn_xs_unwatch(d->introduced);
	xn_xs_unwatch(d->released);
	xn_job_cancel(&d->refresh);
	xn_job_cancel(&d->listed);
	xn_timer_cancel(&d->refresh_retry);
	xn_timer_cancel(&d->settle);
	for (node = xn_hmap_first(&d->watched); node; node = next) {
		next = xn_hmap_next(&d->watched, node);
		drop(xn_container_of(node, struct watched, node));
	}
	xn_hmap_clear(&d->watched);
}
