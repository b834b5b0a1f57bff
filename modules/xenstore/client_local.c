/*
 * The asynchronous client on the embedded store: the module's own implementation of xenstore.h.
 * It speaks as domain 0. Requests queue and are answered in order from one deferred call, watch
 * events from another of lower priority; each takes a bounded number at a time.
 */
#include "modules/xenstore/snapshot.h"
#include "modules/xenstore/store.h"
#include "modules/xenstore/xenstore.h"

#include <errno.h>
#include <stdlib.h>

enum { REQUESTS_A_RUN = 16, EVENTS_A_RUN = 64 };

struct xn_xenstore {
	struct xn_core *core;
	struct xn_xs_store *store;
	struct xn_xs_conn *conn;
	struct xn_list requests, watches;
	struct xn_job answer, deliver;
};

struct change {
	char *path, *value, *perms;
};

struct xn_xs_request {
	struct xn_list link;
	struct xn_xenstore *xs;
	bool is_snapshot;
	char **paths; /* snapshot */
	struct change *changes;
	size_t n;
	unsigned depth;
	size_t max_bytes;
	void (*snapped)(int rc, const struct xn_xs_snapshot *snap, void *arg);
	void (*written)(int rc, void *arg);
	void *arg;
};

struct xn_xs_watch {
	struct xn_list link;
	struct xn_xs_watcher *watcher;
	void (*fired)(const char *path, void *arg);
	void *arg;
};

/* ---- requests ---- */

static char *copy_or_null(const char *s)
{
	return s ? xn_strdup(s) : NULL;
}

static void request_free(struct xn_xs_request *request)
{
	xn_list_remove(&request->link);
	for (size_t i = 0; i < request->n; i++) {
		if (request->is_snapshot) {
			free(request->paths[i]);
			continue;
		}
		free(request->changes[i].path);
		free(request->changes[i].value);
		free(request->changes[i].perms);
	}
	free(request->paths);
	free(request->changes);
	free(request);
}

static void answer_snapshot(struct xn_xs_request *request)
{
	struct xn_xs_snapshot *snap = xn_xs_snapshot_new(request->max_bytes);
	int rc = 0;

	for (size_t i = 0; i < request->n && !rc; i++)
		rc = xn_xs_snapshot_add(snap, request->xs->conn, request->paths[i], request->depth);
	xn_list_remove(
		&request->link); /* cancelling it in the callback is a mistake, not a crash */
	request->snapped(rc, rc < 0 ? NULL : snap, request->arg);
	xn_xs_snapshot_free(snap);
}

static int apply(struct xn_xs_conn *conn, uint32_t tx, const struct change *change)
{
	int rc;

	if (!change->value) {
		rc = xn_xs_conn_rm(conn, tx, change->path);
		return rc == -ENOENT ? 0 : rc;
	}
	rc = xn_xs_conn_write_string(conn, tx, change->path, change->value);
	if (!rc && change->perms)
		rc = xn_xs_conn_set_perms(conn, tx, change->path, change->perms,
					  strlen(change->perms));
	return rc;
}

static void answer_write(struct xn_xs_request *request)
{
	struct xn_xs_conn *conn = request->xs->conn;
	uint32_t tx;
	int rc = xn_xs_conn_begin(conn, &tx);

	for (size_t i = 0; i < request->n && !rc; i++)
		rc = apply(conn, tx, &request->changes[i]);
	if (rc < 0)
		(void)xn_xs_conn_end(conn, tx, false);
	else
		rc = xn_xs_conn_end(conn, tx, true);
	xn_list_remove(&request->link);
	if (request->written)
		request->written(rc, request->arg);
}

static void answer(struct xn_job *job)
{
	struct xn_xenstore *xs = xn_container_of(job, struct xn_xenstore, answer);

	for (unsigned i = 0; i < REQUESTS_A_RUN && !xn_list_empty(&xs->requests); i++) {
		struct xn_xs_request *request =
			xn_list_entry(xs->requests.next, struct xn_xs_request, link);

		if (request->is_snapshot)
			answer_snapshot(request);
		else
			answer_write(request);
		request_free(request);
	}
	if (!xn_list_empty(&xs->requests))
		xn_loop_defer(xs->core->loop, &xs->answer, XN_PRIO_OPERATION, answer);
}

static struct xn_xs_request *request_new(struct xn_xenstore *xs, size_t n, void *arg)
{
	struct xn_xs_request *request = xn_calloc(1, sizeof(*request));

	request->xs = xs;
	request->n = n;
	request->arg = arg;
	xn_list_push(&xs->requests, &request->link);
	xn_loop_defer(xs->core->loop, &xs->answer, XN_PRIO_OPERATION, answer);
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
	return request;
}

struct xn_xs_request *xn_xs_write(struct xn_xenstore *xs, const struct xn_xs_change *changes,
				  size_t n, void (*done)(int rc, void *arg), void *arg)
{
	struct xn_xs_request *request = request_new(xs, n, arg);

	request->written = done;
	request->changes = xn_calloc(n, sizeof(request->changes[0]));
	for (size_t i = 0; i < n; i++)
		request->changes[i] = (struct change){.path = xn_strdup(changes[i].path),
						      .value = copy_or_null(changes[i].value),
						      .perms = copy_or_null(changes[i].perms)};
	return request;
}

void xn_xs_cancel(struct xn_xs_request *request)
{
	request_free(request);
}

/* ---- watches ---- */

static void deliver(struct xn_job *job)
{
	struct xn_xenstore *xs = xn_container_of(job, struct xn_xenstore, deliver);

	if (xn_xs_store_deliver(xs->store, EVENTS_A_RUN))
		xn_loop_defer(xs->core->loop, &xs->deliver, XN_PRIO_EVENT, deliver);
}

static void on_events_wait(void *arg)
{
	struct xn_xenstore *xs = arg;

	xn_loop_defer(xs->core->loop, &xs->deliver, XN_PRIO_EVENT, deliver);
}

static void on_fired(const char *path, const char *token, void *arg)
{
	struct xn_xs_watch *watch = arg;

	watch->fired(path, watch->arg);
}

struct xn_xs_watch *xn_xs_watch(struct xn_xenstore *xs, const char *path,
				void (*fired)(const char *path, void *arg), void *arg)
{
	struct xn_xs_watch *watch = xn_calloc(1, sizeof(*watch));

	watch->fired = fired;
	watch->arg = arg;
	if (xn_xs_conn_watch(xs->conn, path, "", XN_XS_NO_DEPTH, on_fired, watch, &watch->watcher) <
	    0) {
		free(watch); /* not a path */
		return NULL;
	}
	xn_list_push(&xs->watches, &watch->link);
	return watch;
}

void xn_xs_unwatch(struct xn_xs_watch *watch)
{
	if (!watch)
		return;
	xn_xs_conn_unwatch(watch->watcher);
	xn_list_remove(&watch->link);
	free(watch);
}

/* ---- the module ---- */

struct xn_xs_store *xn_xenstore_embedded(struct xn_xenstore *xs)
{
	return xs->store;
}

static int xenstore_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_xenstore *xs = xn_calloc(1, sizeof(*xs));

	xs->core = core;
	xn_list_init(&xs->requests);
	xn_list_init(&xs->watches);
	xs->store = xn_xs_store_new(on_events_wait, xs);
	xs->conn = xn_xs_conn_new(xn_xs_domain_find(xs->store, 0));
	*state_out = xs;
	return 0;
}

static int xenstore_start(void *state, struct xn_error *err)
{
	return 0;
}

static void xenstore_stop(void *state)
{
	struct xn_xenstore *xs = state;

	while (!xn_list_empty(&xs->requests))
		request_free(xn_list_entry(xs->requests.next, struct xn_xs_request, link));
	while (!xn_list_empty(&xs->watches))
		xn_xs_unwatch(xn_list_entry(xs->watches.next, struct xn_xs_watch, link));
	xn_job_cancel(&xs->answer);
	xn_job_cancel(&xs->deliver);
	xn_xs_conn_free(xs->conn);
	xn_xs_store_free(xs->store);
	free(xs);
}

const struct xn_module xn_xenstore_module = {
	.name = "xenstore",
	.init = xenstore_init,
	.start = xenstore_start,
	.stop = xenstore_stop,
};
