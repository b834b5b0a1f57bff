/*
 * The client on the embedded store. It speaks as domain 0. Requests queue and are answered in order
 * from one deferred call, watch events from another of lower priority; each takes a bounded number
 * at a time.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/xenstore/client/client.h"

enum { REQUESTS_A_RUN = 16, EVENTS_A_RUN = 16 };

struct local {
	struct xn_xenstore *xs;
	struct xn_xs_store *store;
	struct xn_xs_conn *conn;
	struct xn_job answer, deliver;
};

/* ---- requests ---- */

static void answer_snapshot(struct local *local, struct xn_xs_request *request)
{
	struct xn_xs_snapshot *snap = xn_xs_snapshot_new(request->max_bytes);
	int rc = 0;

	for (size_t i = 0; i < request->n && !rc; i++)
		rc = xn_xs_snapshot_add(snap, local->conn, request->paths[i], request->depth);
	xn_xs_request_end(request, rc, snap);
}

static int apply(struct xn_xs_conn *conn, uint32_t tx, const struct xn_xs_write *write)
{
	int rc;

	if (!write->value) {
		rc = xn_xs_conn_rm(conn, tx, write->path);
		return rc == -ENOENT ? 0 : rc;
	}
	rc = xn_xs_conn_write_string(conn, tx, write->path, write->value);
	if (!rc && write->perms)
		rc = xn_xs_conn_set_perms(conn, tx, write->path, write->perms,
					  strlen(write->perms));
	return rc;
}

static void answer_write(struct local *local, struct xn_xs_request *request)
{
	struct xn_xs_conn *conn = local->conn;
	uint32_t tx;
	int rc = xn_xs_conn_begin(conn, &tx);

	for (size_t i = 0; i < request->n && !rc; i++)
		rc = apply(conn, tx, &request->writes[i]);
	if (rc < 0)
		(void)xn_xs_conn_end(conn, tx, false);
	else
		rc = xn_xs_conn_end(conn, tx, true);
	xn_xs_request_end(request, rc, NULL);
}

static void answer(struct xn_job *job)
{
	struct local *local = xn_container_of(job, struct local, answer);
	struct xn_list *requests = &local->xs->requests;

	for (unsigned i = 0; i < REQUESTS_A_RUN && !xn_list_empty(requests); i++) {
		struct xn_xs_request *request =
			xn_list_entry(requests->next, struct xn_xs_request, link);

		if (request->is_snapshot)
			answer_snapshot(local, request);
		else
			answer_write(local, request);
	}
	if (!xn_list_empty(requests))
		xn_loop_defer(local->xs->core->loop, &local->answer, XN_PRIO_OPERATION, answer);
}

static void local_begin(struct xn_xs_request *request)
{
	struct local *local = request->xs->client;

	xn_loop_defer(request->xs->core->loop, &local->answer, XN_PRIO_OPERATION, answer);
}

static void local_forget(struct xn_xs_request *request)
{
	/* Nothing of it is anywhere but in the front's list. */
}

/* ---- watches ---- */

static void deliver(struct xn_job *job)
{
	struct local *local = xn_container_of(job, struct local, deliver);

	if (xn_xs_store_deliver(local->store, EVENTS_A_RUN))
		xn_loop_defer(local->xs->core->loop, &local->deliver, XN_PRIO_EVENT, deliver);
}

static void on_events_wait(void *arg)
{
	struct local *local = arg;

	xn_loop_defer(local->xs->core->loop, &local->deliver, XN_PRIO_EVENT, deliver);
}

static void on_fired(const char *path, const char *token, void *arg)
{
	xn_xs_watched_fire(arg, path);
}

static int local_watch(struct xn_xs_watched *spot)
{
	struct local *local = spot->xs->client;
	struct xn_xs_watcher *watcher;
	int rc = xn_xs_conn_watch(local->conn, spot->path, "", XN_XS_NO_DEPTH, on_fired, spot,
				  &watcher);

	spot->work = watcher;
	return rc;
}

static void local_unwatch(struct xn_xs_watched *spot)
{
	xn_xs_conn_unwatch(spot->work);
}

/* ---- the client ---- */

static int local_start(struct xn_xenstore *xs, struct xn_error *err)
{
	return 0;
}

static void local_free(struct xn_xenstore *xs)
{
	struct local *local = xs->client;

	xn_job_cancel(&local->answer);
	xn_job_cancel(&local->deliver);
	xn_xs_conn_free(local->conn);
	xn_xs_store_free(local->store);
	free(local);
}

const struct xn_xs_client_ops xn_xs_local_ops = {
	.name = "embedded",
	.start = local_start,
	.free = local_free,
	.begin = local_begin,
	.forget = local_forget,
	.watch = local_watch,
	.unwatch = local_unwatch,
};

void xn_xs_local_new(struct xn_xenstore *xs)
{
	struct local *local = xn_calloc(1, sizeof(*local));

	local->xs = xs;
	local->store = xn_xs_store_new(on_events_wait, local);
	local->conn = xn_xs_conn_new(xn_xs_domain_find(local->store, 0));
	xs->client = local;
	xs->ops = &xn_xs_local_ops;
}

struct xn_xs_store *xn_xs_local_store(struct xn_xenstore *xs)
{
	struct local *local = xs->client;

	return xs->ops == &xn_xs_local_ops ? local->store : NULL;
}
