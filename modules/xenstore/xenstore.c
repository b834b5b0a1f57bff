/*
 * The module, and the front of both clients: what xenstore.h shows. Copies requests, shares watches
 * of the same path, and leaves the rest to the client (client.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/xenstore/client/client.h"
#include "modules/xenstore/history/history.h"
#include "modules/xenstore/server/ring_folder.h"
#include "modules/xenstore/server/ring_table.h"
#include "modules/xenstore/server/ring_twin.h"
#include "modules/xenstore/xen/xen.h"

struct xn_xs_watch {
	struct xn_list link; /* in spot->watches */
	struct xn_xs_watched *spot;
	struct xn_job first; /* its own first call, when the path was watched before */
	void (*fired)(const char *path, void *arg);
	void *arg;
};

/* ---- requests ---- */

static void request_free(struct xn_xs_request *request)
{
	xn_list_remove(&request->link);
	for (size_t i = 0; i < request->n; i++) {
		if (request->is_snapshot) {
			free(request->paths[i]);
			continue;
		}
		free(request->writes[i].path);
		free(request->writes[i].value);
		free(request->writes[i].perms);
	}
	free(request->paths);
	free(request->writes);
	free(request);
}

void xn_xs_request_end(struct xn_xs_request *request, int rc, struct xn_xs_snapshot *snap)
{
	struct xn_xenstore *xs = request->xs;

	xn_list_remove(&request->link);
	xs->n_reads += request->is_snapshot;
	xs->n_writes += !request->is_snapshot;
	xs->n_failed += rc < 0;
	if (request->snapped)
		request->snapped(rc, rc < 0 ? NULL : snap, request->arg);
	else if (request->written)
		request->written(rc, request->arg);
	xn_xs_snapshot_free(snap);
	request_free(request);
}

static struct xn_xs_request *request_new(struct xn_xenstore *xs, size_t n, void *arg)
{
	struct xn_xs_request *request = xn_calloc(1, sizeof(*request));

	request->xs = xs;
	request->n = n;
	request->arg = arg;
	xn_list_push(&xs->requests, &request->link);
	return request;
}

struct xn_xs_request *
xn_xs_snapshot(struct xn_xenstore *xs, const char *const *paths, size_t n, unsigned depth,
	       size_t max_bytes, void (*done)(int rc, const struct xn_xs_snapshot *snap, void *arg),
	       void *arg)
{
	struct xn_xs_request *request = request_new(xs, n, arg);

	request->is_snapshot = true;
	request->depth = depth;
	request->max_bytes = max_bytes;
	request->snapped = done;
	request->paths = xn_calloc(n, sizeof(request->paths[0]));
	for (size_t i = 0; i < n; i++)
		request->paths[i] = xn_strdup(paths[i]);
	xs->ops->begin(request);
	return request;
}

static char *copy_or_null(const char *s)
{
	return s ? xn_strdup(s) : NULL;
}

struct xn_xs_request *xn_xs_write(struct xn_xenstore *xs, const struct xn_xs_change *changes,
				  size_t n, void (*done)(int rc, void *arg), void *arg)
{
	struct xn_xs_request *request = request_new(xs, n, arg);

	request->written = done;
	request->writes = xn_calloc(n, sizeof(request->writes[0]));
	for (size_t i = 0; i < n; i++)
		request->writes[i] = (struct xn_xs_write){.path = xn_strdup(changes[i].path),
							  .value = copy_or_null(changes[i].value),
							  .perms = copy_or_null(changes[i].perms)};
	xs->ops->begin(request);
	return request;
}

void xn_xs_cancel(struct xn_xs_request *request)
{
	request->xs->ops->forget(request);
	request_free(request);
}

/* ---- watches ---- */

static struct xn_xs_watched *spot_find(struct xn_xenstore *xs, const char *path)
{
	struct xn_hnode *node = xn_hmap_first_same(&xs->spots, xn_hash_string(path));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_xs_watched *spot = xn_container_of(node, struct xn_xs_watched, node);

		if (!strcmp(spot->path, path))
			return spot;
	}
	return NULL;
}

static struct xn_xs_watched *spot_new(struct xn_xenstore *xs, const char *path)
{
	size_t len = strlen(path);
	struct xn_xs_watched *spot = xn_calloc(1, sizeof(*spot) + len + 1);

	memcpy(spot->path, path, len + 1);
	spot->xs = xs;
	xn_list_init(&spot->watches);
	if (xs->ops->watch(spot) < 0) {
		free(spot);
		return NULL;
	}
	xn_hmap_insert(&xs->spots, &spot->node, xn_hash_string(path));
	return spot;
}

static void spot_free(struct xn_xs_watched *spot)
{
	spot->xs->ops->unwatch(spot);
	xn_hmap_remove(&spot->xs->spots, &spot->node);
	free(spot);
}

void xn_xs_watched_fire(struct xn_xs_watched *spot, const char *path)
{
	spot->is_told = true;
	spot->next = spot->watches.next;
	while (spot->next != &spot->watches) {
		struct xn_xs_watch *watch = xn_list_entry(spot->next, struct xn_xs_watch, link);

		spot->next = spot->next->next;
		xn_job_cancel(&watch->first);
		watch->fired(path, watch->arg);
	}
	spot->next = NULL;
	if (xn_list_empty(&spot->watches))
		spot_free(spot);
}

static void on_first(struct xn_job *job)
{
	struct xn_xs_watch *watch = xn_container_of(job, struct xn_xs_watch, first);

	watch->fired(watch->spot->path, watch->arg);
}

struct xn_xs_watch *xn_xs_watch(struct xn_xenstore *xs, const char *path,
				void (*fired)(const char *path, void *arg), void *arg)
{
	struct xn_xs_watched *spot = spot_find(xs, path);
	struct xn_xs_watch *watch;

	if (!spot)
		spot = spot_new(xs, path);
	if (!spot)
		return NULL;
	watch = xn_calloc(1, sizeof(*watch));
	watch->spot = spot;
	watch->fired = fired;
	watch->arg = arg;
	xn_list_push(&spot->watches, &watch->link);
	if (spot->is_told)
		xn_loop_defer(xs->core->loop, &watch->first, XN_PRIO_EVENT, on_first);
	return watch;
}

void xn_xs_unwatch(struct xn_xs_watch *watch)
{
	struct xn_xs_watched *spot;

	if (!watch)
		return;
	spot = watch->spot;
	if (spot->next == &watch->link)
		spot->next = watch->link.next;
	xn_list_remove(&watch->link);
	xn_job_cancel(&watch->first);
	free(watch);
	if (xn_list_empty(&spot->watches) && !spot->next)
		spot_free(spot);
}

/* ---- the module ---- */

struct xn_xs_store *xn_xenstore_embedded(struct xn_xenstore *xs)
{
	return xn_xs_local_store(xs);
}

/* Guests on Xen talk to the xenstored that the host runs; simulated ones live in ours. */
static bool is_foreign(const struct xn_config *config)
{
	const char *kind = config ? xn_config_string(config, "xenstore") : "embedded";

	if (strcmp(kind, "auto") == 0)
		return strcmp(xn_config_string(config, "hypervisor"), "xen") == 0;
	return strcmp(kind, "system") == 0;
}

static void write_store(const struct xn_xs_store *store, struct xn_metrics_page *page)
{
	struct xn_xs_account sum;
	unsigned domains = xn_xs_store_account(store, &sum);

	xn_metrics_gauge(page, "xenolith_xenstore_domains", "", "Domains that the store knows.",
			 domains);
	xn_metrics_gauge(page, "xenolith_xenstore_nodes", "", "Nodes in the store.",
			 (int64_t)sum.nodes);
	xn_metrics_gauge(page, "xenolith_xenstore_node_bytes", "bytes", "Memory of its nodes.",
			 (int64_t)sum.node_bytes);
	xn_metrics_gauge(page, "xenolith_xenstore_watches", "", "Watches on the store.",
			 (int64_t)sum.watches);
	xn_metrics_gauge(page, "xenolith_xenstore_transactions", "", "Transactions that are open.",
			 (int64_t)sum.transactions);
	xn_metrics_gauge(page, "xenolith_xenstore_events", "", "Watch events not yet delivered.",
			 (int64_t)sum.events);
	xn_metrics_counter(page, "xenolith_xenstore_commits", "", "Sets of changes to the store.",
			   xn_xs_store_generation(store));
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	struct xn_xenstore *xs = xn_container_of(source, struct xn_xenstore, metrics);
	int64_t waiting = 0;

	xn_list_each(link, &xs->requests)
		waiting++;
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_xenstore_requests", "",
			  "Requests of the daemon itself that have ended.");
	xn_metrics_int(page, (int64_t)xs->n_reads, "kind", "read");
	xn_metrics_int(page, (int64_t)xs->n_writes, "kind", "write");
	xn_metrics_counter(page, "xenolith_xenstore_failed_requests", "",
			   "Those of them that failed.", xs->n_failed);
	xn_metrics_gauge(page, "xenolith_xenstore_waiting_requests", "",
			 "Requests of the daemon itself without an answer yet.", waiting);
	xn_metrics_gauge(page, "xenolith_xenstore_watched_paths", "",
			 "Paths that the daemon itself watches.", (int64_t)xs->spots.count);
	if (xs->ops == &xn_xs_local_ops)
		write_store(xn_xs_local_store(xs), page);
	if (xs->journal)
		xn_xs_journal_write_metrics(xs->journal, page);
	if (xs->server)
		xn_xs_server_write_metrics(xs->server, page);
	return 0;
}

struct past_service *past_service_of(void *module_state)
{
	return ((struct xn_xenstore *)module_state)->past;
}

static int xenstore_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_xenstore *xs = xn_calloc(1, sizeof(*xs));

	xs->core = core;
	xn_list_init(&xs->requests);
	xs->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &xs->metrics);
	xs->past = past_service_new(core);
	if (is_foreign(core->config))
		xn_xs_wire_new(xs);
	else
		xn_xs_local_new(xs);
	*state_out = xs;
	return 0;
}

/* ---- the journal of the embedded store, and its server ---- */

/* A simulated daemon keeps its store in memory, unless it was given a folder. */
static bool has_folder(const struct xn_core *core)
{
	return core->config &&
	       (xn_config_is_set(core->config, "state-dir") ||
		xn_config_is_set(core->config, "xenstore-dir") || !xn_loop_is_virtual(core->loop));
}

/* Simulated guests outlive their host's boots, as their hypervisor's own file does. */
static int open_journal(struct xn_xenstore *xs, struct xn_error *err)
{
	const struct xn_config *config = xs->core->config;
	struct xn_xs_journal_options options = {0};
	char *folder;

	if (!has_folder(xs->core))
		return 0;
	folder = past_folder(config);
	options.folder = folder;
	options.outlives_boots = strcmp(xn_config_string(config, "hypervisor"), "sim") == 0;
	options.history_bytes = past_size_limit(config);
	xs->journal = xn_xs_journal_open(xs->core, xn_xs_local_store(xs), &options, err);
	free(folder);
	if (!xs->journal)
		return -1;
	past_service_start(xs->past, xn_xs_journal_media(xs->journal));
	return 0;
}

static bool is_on_xen(const struct xn_config *config)
{
	return config && strcmp(xn_config_string(config, "hypervisor"), "xen") == 0;
}

/* Guests of the simulated hypervisor are played in process; whom a client introduces there, too, has
 * a ring like theirs on Xen. */
static struct xn_xs_carrier *make_carrier(struct xn_core *core, struct xn_error *err)
{
	if (is_on_xen(core->config))
		return xn_xs_xen_new(core->loop, core->log, err);
	if (core->config && xn_config_is_set(core->config, "xenstore-rings"))
		return xn_xs_folder_new(core->loop,
					xn_config_string(core->config, "xenstore-rings"), err);
	return xn_xs_twin_new(core->loop);
}

static int open_rings(struct xn_xenstore *xs, struct xn_error *err)
{
	struct xn_core *core = xs->core;
	struct xn_xs_carrier *carrier = make_carrier(core, err);

	if (!carrier)
		return -1;
	xs->rings = xn_xs_rings_new(core, xn_xs_local_store(xs), xs->server, xs->journal, carrier);
	xn_xs_rings_start(xs->rings);
	return 0;
}

/* Programs of this host that outlive the daemon (device models, scripts) reach it through their
 * kernel, whose ring goes on where it was; a socket would be closed. */
static const char *socket_path(const struct xn_config *config)
{
	if (is_on_xen(config))
		setenv("XENSTORED_PATH", "/dev/xen/xenbus", 1);
	return config ? xn_config_string(config, "xenstore-socket") : NULL;
}

static int serve(struct xn_xenstore *xs, struct xn_error *err)
{
	const char *path = socket_path(xs->core->config);

	if (open_rings(xs, err) < 0)
		return -1;
	if (!path)
		return 0;
	if (xn_xs_server_listen(xs->server, path, err) < 0)
		return -1;
	xn_core_add_address(xs->core, path);
	return 0;
}

static int xenstore_start(void *state, struct xn_error *err)
{
	struct xn_xenstore *xs = state;

	if (xs->ops->start(xs, err) < 0)
		return -1;
	if (xs->ops != &xn_xs_local_ops)
		return 0;
	if (open_journal(xs, err) < 0)
		return -1;
	xs->server = xn_xs_server_new(xs->core, xn_xs_local_store(xs), xs->journal);
	return serve(xs, err);
}

static void xenstore_stop(void *state)
{
	struct xn_xenstore *xs = state;
	struct xn_hnode *node, *next;

	past_service_free(xs->past);
	xn_metrics_remove(&xs->metrics);
	while (!xn_list_empty(&xs->requests))
		xn_xs_cancel(xn_list_entry(xs->requests.next, struct xn_xs_request, link));
	for (node = xn_hmap_first(&xs->spots); node; node = next) {
		struct xn_xs_watched *spot = xn_container_of(node, struct xn_xs_watched, node);

		next = xn_hmap_next(&xs->spots, node);
		spot->next = &spot->watches; /* it is freed below, not by its last watch */
		while (!xn_list_empty(&spot->watches))
			xn_xs_unwatch(
				xn_list_entry(spot->watches.next, struct xn_xs_watch, link));
		spot_free(spot);
	}
	xn_hmap_clear(&xs->spots);
	xn_xs_server_close(xs->server);
	xn_xs_rings_free(xs->rings);
	xn_xs_server_free(xs->server);
	xn_xs_journal_close(xs->journal);
	xs->ops->free(xs);
	free(xs);
}

const struct xn_module xn_xenstore_module = {
	.name = "xenstore",
	.methods = past_methods,
	.init = xenstore_init,
	.start = xenstore_start,
	.stop = xenstore_stop,
};
