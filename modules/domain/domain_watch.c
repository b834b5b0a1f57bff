/*
 * The watcher: sees that domains appear, change and die, and that their xenstore nodes change, and
 * says so on the bus and to modules/updates. Reads nothing itself: reconciling does.
 *
 * The hypervisor only says "some domain changed"; the list is then compared with the one before.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* What of a domain's xenstore may change a row. A guest announces changes below data/ by data/ts.
 */
static const char *const watched_paths[] = {
	"/local/domain/%u/attr",
	"/local/domain/%u/control",
	"/local/domain/%u/data/ts",
	"/local/domain/%u/data/service",
	"/local/domain/%u/device",
	"/local/domain/%u/drivers",
	"/local/domain/%u/feature",
	"/local/domain/%u/memory/target",
	"/local/domain/%u/console/vnc-port",
	"/local/domain/%u/cpu",
	"/local/domain/%u/vm-data",
	"/local/domain/%u/xenserver/attr",
	"/local/domain/0/backend/vbd/%u",
	"/local/domain/0/backend/qdisk/%u",
	"/local/domain/0/backend/vif/%u",
};

struct watched {
	struct xn_hnode node;
	struct xn_domains *d;
	uint32_t domid;
	char uuid[37];
	bool paused, dying, shut_down, seen;
	struct xn_xs_watch *watches[XN_ARRAY_SIZE(watched_paths)];
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

static void on_node_changed(const char *path, void *arg)
{
	struct watched *w = arg;

	xn_updates_touch(w->d->updates, "VM", w->uuid);
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
	char path[64];

	w->d = d;
	w->domid = info->domid;
	memcpy(w->uuid, info->uuid, sizeof(w->uuid));
	xn_hmap_insert(&d->watched, &w->node, xn_hash_bytes(&w->domid, sizeof(w->domid)));
	/* A domain that is nobody's is seen and left alone. */
	if (!xn_db_by_uuid(d->db, XN_CLASS_VM, w->uuid))
		return w;
	for (size_t i = 0; i < XN_ARRAY_SIZE(watched_paths); i++) {
		snprintf(path, sizeof(path), watched_paths[i], w->domid);
		w->watches[i] = xn_xs_watch(d->xs, path, on_node_changed, w);
	}
	return w;
}

static void drop(struct watched *w)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(watched_paths); i++)
		xn_xs_unwatch(w->watches[i]);
	xn_hmap_remove(&w->d->watched, &w->node);
	free(w);
}

static void compare(struct xn_domains *d, const struct xn_domain_info *info)
{
	struct watched *w = find_watched(d, info->domid);
	bool is_new = !w;

	if (is_new)
		w = add(d, info);
	w->seen = true;
	if (!is_new && w->paused == info->paused && w->dying == info->dying &&
	    w->shut_down == info->shut_down)
		return;
	w->paused = info->paused;
	w->dying = info->dying;
	w->shut_down = info->shut_down;
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

static void refresh_later(struct xn_domains *d)
{
	if (!d->stopped)
		xn_loop_defer(d->core->loop, &d->refresh, XN_PRIO_REFRESH, refresh);
}

static void on_refreshed(int rc, void *arg)
{
	struct xn_domains *d = arg;

	d->refreshing = false;
	if (d->stopped)
		return;
	if (rc < 0)
		xn_log_warn(d->core->log, "domain", "cannot list domains: %s", strerror(-rc));
	else
		compare_all(d);
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
	for (node = xn_hmap_first(&d->watched); node; node = next) {
		next = xn_hmap_next(&d->watched, node);
		drop(xn_container_of(node, struct watched, node));
	}
	xn_hmap_clear(&d->watched);
}
