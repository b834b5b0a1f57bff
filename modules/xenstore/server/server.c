/*
 * The server: its connections, and whose turn it is. Domains with requests left take turns, and
 * within one its connections, one bounded turn in each pass of the loop: in between the loop looks
 * who else has something to say.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

/* ---- shares ---- */

static struct xn_xs_share *find_share(const struct xn_xs_server *server, uint64_t birth)
{
	struct xn_hnode *at =
		xn_hmap_first_same(&server->shares, xn_hash_bytes(&birth, sizeof(birth)));

	for (; at; at = xn_hmap_next_same(at)) {
		struct xn_xs_share *share = xn_container_of(at, struct xn_xs_share, node);

		if (share->birth == birth)
			return share;
	}
	return NULL;
}

void xn_xs_share_join(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;
	uint64_t birth = xn_xs_conn_domain(connection->conn)->birth;
	struct xn_xs_share *share = find_share(server, birth);

	if (!share) {
		share = xn_calloc(1, sizeof(*share));
		share->birth = birth;
		xn_list_init(&share->turn);
		xn_list_init(&share->work);
		xn_hmap_insert(&server->shares, &share->node,
			       xn_hash_bytes(&birth, sizeof(birth)));
	}
	share->n_connections++;
	connection->share = share;
}

void xn_xs_share_leave(struct xn_xs_connection *connection)
{
	struct xn_xs_share *share = connection->share;

	if (--share->n_connections)
		return;
	xn_list_remove(&share->turn);
	xn_hmap_remove(&connection->server->shares, &share->node);
	free(share);
}

static void work(struct xn_job *job)
{
	struct xn_xs_server *server = xn_container_of(job, struct xn_xs_server, work);
	struct xn_list *turn = xn_list_pop(&server->turns), *next;
	struct xn_xs_share *share;

	if (!turn)
		return;
	share = xn_list_entry(turn, struct xn_xs_share, turn);
	next = xn_list_pop(&share->work);
	if (!xn_list_empty(&share->work))
		xn_list_push(&server->turns, &share->turn);
	if (next) { /* may free the share */
		struct xn_xs_connection *connection =
			xn_list_entry(next, struct xn_xs_connection, work);

		xn_histogram_observe(&server->wait_times, xn_now_us(server->core->loop) -
							     connection->waits_since_us);
		xn_xs_connection_turn(connection);
	}
	if (!xn_list_empty(&server->turns))
		xn_loop_defer(server->core->loop, &server->work, XN_PRIO_BULK, work);
}

void xn_xs_share_work(struct xn_xs_connection *connection)
{
	struct xn_xs_server *server = connection->server;
	struct xn_xs_share *share = connection->share;

	if (xn_list_empty(&connection->work)) {
		connection->waits_since_us = xn_now_us(server->core->loop);
		xn_list_push(&share->work, &connection->work);
	}
	if (xn_list_empty(&share->turn))
		xn_list_push(&server->turns, &share->turn);
	xn_loop_defer(server->core->loop, &server->work, XN_PRIO_BULK, work);
}

/* ---- events ---- */

void xn_xs_server_flush(struct xn_job *job)
{
	enum { AT_ONCE = 1024 };
	struct xn_xs_server *server = xn_container_of(job, struct xn_xs_server, flush);
	struct xn_list *link;

	for (int i = 0; i < AT_ONCE && (link = xn_list_pop(&server->dirty)); i++)
		xn_xs_connection_flush(xn_list_entry(link, struct xn_xs_connection, dirty));
	if (!xn_list_empty(&server->dirty))
		xn_loop_defer(server->core->loop, &server->flush, XN_PRIO_REFRESH,
			      xn_xs_server_flush);
}

/* ---- the server ---- */

static void on_releasing(struct xn_xs_domain *domain, void *arg)
{
	struct xn_xs_server *server = arg;

	xn_xs_server_drop_domain(server, domain);
	if (server->host && server->host->release)
		server->host->release(server->host, domain);
}

struct xn_xs_server *xn_xs_server_new(struct xn_core *core, struct xn_xs_store *store,
				      struct xn_xs_journal *journal)
{
	struct xn_xs_server *server = xn_calloc(1, sizeof(*server));

	server->core = core;
	server->store = store;
	server->journal = journal;
	xn_list_init(&server->connections);
	xn_list_init(&server->turns);
	xn_list_init(&server->dirty);
	server->most_sockets = core->config
				       ? (unsigned)xn_config_int(core->config, "xenstore-connections")
				       : 4096;
	xn_xs_quota_configure(server);
	xn_xs_store_set_releasing(store, on_releasing, server);
	return server;
}

void xn_xs_server_close(struct xn_xs_server *server)
{
	if (!server)
		return;
	xn_xs_listener_free(server->listener);
	server->listener = NULL;
	while (!xn_list_empty(&server->connections))
		xn_xs_server_drop(xn_list_entry(server->connections.next, struct xn_xs_connection,
						all));
	xn_job_cancel(&server->work);
	xn_job_cancel(&server->flush);
}

void xn_xs_server_free(struct xn_xs_server *server)
{
	if (!server)
		return;
	xn_xs_server_close(server);
	xn_xs_store_set_quota_told(server->store, NULL, NULL);
	xn_xs_store_set_releasing(server->store, NULL, NULL);
	xn_hmap_clear(&server->shares);
	xn_buf_clear(&server->out);
	xn_buf_clear(&server->scratch);
	free(server);
}

void xn_xs_server_drop_domain(struct xn_xs_server *server, struct xn_xs_domain *domain)
{
	xn_list_each_safe(link, &server->connections)
	{
		struct xn_xs_connection *connection =
			xn_list_entry(link, struct xn_xs_connection, all);

		if (xn_xs_conn_domain(connection->conn) == domain)
			xn_xs_server_drop(connection);
	}
}

void xn_xs_server_set_host(struct xn_xs_server *server, struct xn_xs_host *host)
{
	server->host = host;
}

/* ---- metrics ---- */

enum { TOP = 3 };

struct top {
	const struct xn_xs_domain *domains[TOP];
	uint64_t bytes[TOP];
};

static void rank(const struct xn_xs_domain *domain, void *arg)
{
	const struct xn_xs_account *a = &domain->account;
	uint64_t bytes = a->node_bytes + a->watch_bytes + a->transaction_bytes + a->event_bytes +
			 a->buffer_bytes;
	struct top *top = arg;
	int i;

	if (!domain->domid)
		return;
	for (i = TOP; i > 0 && bytes > top->bytes[i - 1]; i--)
		if (i < TOP) {
			top->bytes[i] = top->bytes[i - 1];
			top->domains[i] = top->domains[i - 1];
		}
	if (i < TOP) {
		top->bytes[i] = bytes;
		top->domains[i] = domain;
	}
}

/* Which guests have most of the store: by rank, as a series for each would be without end. */
static void write_top(const struct xn_xs_server *server, struct xn_metrics_page *page)
{
	static const char *const ranks[TOP] = {"1", "2", "3"};
	struct top top = {.domains = {NULL}};

	xn_xs_store_each_domain(server->store, rank, &top);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_xenstore_top_domain", "",
			  "Number of the guest that holds most of the store, the next ones.");
	for (int i = 0; i < TOP && top.domains[i]; i++)
		xn_metrics_int(page, top.domains[i]->domid, "rank", ranks[i]);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_xenstore_top_bytes", "bytes",
			  "What these guests hold, events and buffers too.");
	for (int i = 0; i < TOP && top.domains[i]; i++)
		xn_metrics_int(page, (int64_t)top.bytes[i], "rank", ranks[i]);
}

void xn_xs_server_write_metrics(const struct xn_xs_server *server, struct xn_metrics_page *page)
{
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_xenstore_served", "",
			  "Requests of clients of the xenstore protocol, by operation.");
	for (uint32_t i = 0; i < XN_XS_WIRE_TYPES; i++)
		if (xn_xs_wire_name(i))
			xn_metrics_int(page, (int64_t)server->n_requests[i], "operation",
				       xn_xs_wire_name(i));
	xn_metrics_int(page, (int64_t)server->n_unknown, "operation", "unknown");
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_xenstore_refused", "",
			  "Those of them that were answered with an error.");
	for (unsigned i = 0; i < XN_XS_ERRORS; i++)
		xn_metrics_int(page, (int64_t)server->n_errors[i], "error", xn_xs_error_at(i));
	xn_metrics_gauge(page, "xenolith_xenstore_connections", "",
			 "Clients of the xenstore protocol that are connected.",
			 server->n_connections);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_xenstore_turn_seconds", "seconds",
			  "From when requests were found to their replies: of a connection's turn.");
	xn_metrics_histogram(page, &server->turn_times);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_xenstore_wait_seconds", "seconds",
			  "How long requests of guests and busy connections waited for a turn.");
	xn_metrics_histogram(page, &server->wait_times);
	write_top(server, page);
	xn_metrics_counter(page, "xenolith_xenstore_sent_events", "",
			   "Watch events sent to them.", server->n_events);
	xn_metrics_counter(page, "xenolith_xenstore_stalls", "",
			   "Times that requests were left waiting because replies were not read.",
			   server->n_stalls);
	xn_metrics_counter(page, "xenolith_xenstore_held_starts", "",
			   "Transactions that had to wait for others that they conflicted with.",
			   server->n_held);
	xn_metrics_counter(page, "xenolith_xenstore_broken", "",
			   "Connections that sent what is no request.", server->n_broken);
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_xenstore_quota_passed", "",
			  "Times that a domain passed a soft quota, or was refused for a hard one.");
	xn_metrics_int(page, (int64_t)server->n_soft, "quota", "soft");
	xn_metrics_int(page, (int64_t)server->n_hard, "quota", "hard");
	xn_metrics_counter(page, "xenolith_xenstore_refused_connections", "",
			   "Connections that were refused.", server->n_refused);
}
