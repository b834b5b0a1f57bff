/*
 * The rpc module: opens the listeners that the configuration names, and routes what comes to body.c,
 * which parses it for dispatch.
 */
#include "rpc/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/worker.h"
#include "rpc/rpc_internal.h"
#include "rpc/tls_certificate.h"
#include "rpc/xe/engine.h"

enum { READERS = 2 };

struct xn_rpc_call *xn_rpc_call_new(struct xn_rpc *rpc)
{
	struct xn_rpc_call *rc = xn_calloc(1, sizeof(*rc));

	rc->rpc = rpc;
	rc->holders = 1;
	xn_list_push(&rpc->calls, &rc->link);
	rc->reader = (struct xn_rpc_reader){.cut = xn_rpc_cut_reply, .is_charged = true};
	return rc;
}

static void on_closed(void *arg)
{
	xn_rpc_client_gone(arg);
}

void xn_rpc_read_trace(const struct xn_http_request *req, char trace[33])
{
	const char *parent = xn_http_header(req, "traceparent");

	if (parent && strlen(parent) >= 55 && parent[2] == '-' && parent[35] == '-' &&
	    strspn(parent + 3, "0123456789abcdef") == 32)
		snprintf(trace, 33, "%.32s", parent + 3);
}

static void serve(struct xn_rpc *rpc, const struct xn_http_request *req, bool is_json)
{
	struct xn_rpc_call *rc = xn_rpc_call_new(rpc);
	const char *agent = xn_http_header(req, "user-agent");

	rc->conn = req->conn;
	rc->call.caller.is_trusted_socket = req->peer_is_trusted;
	snprintf(rc->call.caller.origin, sizeof(rc->call.caller.origin), "%s", req->peer);
	if (agent)
		xn_text_copy(rc->call.user_agent, sizeof(rc->call.user_agent), agent);
	xn_rpc_read_trace(req, rc->call.trace);
	xn_http_on_close(req->conn, on_closed, rc);
	xn_rpc_read_body(rc, req->body, req->body_len, is_json);
}

static void on_jsonrpc(const struct xn_http_request *req, void *arg)
{
	serve(arg, req, true);
}

static void on_any_rpc(const struct xn_http_request *req, void *arg)
{
	serve(arg, req, false);
}

void xn_rpc_call(struct xn_rpc *rpc, const char *body, size_t len, const struct xn_caller *from,
		 void (*reply)(const char *body, size_t len, void *arg), void *arg)
{
	struct xn_rpc_call *rc = xn_rpc_call_new(rpc);

	rc->reply = reply;
	rc->reply_arg = arg;
	rc->call.caller = *from;
	xn_rpc_read_body(rc, body, len, false);
}

/* Of every API call; max_body comes from the configuration. */
static const struct xn_http_route routes[XN_RPC_ROUTES] = {
	{.method = "POST", .path = "/jsonrpc", .run = on_jsonrpc},
	{.method = "POST", .path = "/json", .run = on_any_rpc},
	/* xapi's router takes the longest matching prefix, so any unknown path is XML-RPC. */
	{.method = "POST", .path = "", .prefix = true, .run = on_any_rpc},
};

static void on_reload_asked(const struct xn_ev_reload_asked *ev, void *arg)
{
	struct xn_rpc *rpc = arg;

	if (rpc->certificate)
		xn_certificate_reload(rpc->certificate);
}

static void on_ready(const struct xn_ev_daemon_ready *ev, void *arg)
{
	struct xn_rpc *rpc = arg;

	if (rpc->certificate)
		xn_certificate_tell(rpc->certificate);
}

static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	struct xn_rpc *rpc = arg;

	if (!ev->error && rpc->certificate) /* it works again */
		xn_certificate_tell(rpc->certificate);
}

static void on_committed(const struct xn_ev_db_committed *ev, void *arg)
{
	xn_rpc_bound_old_records(arg);
}

static int rpc_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_rpc *rpc = xn_calloc(1, sizeof(*rpc));

	rpc->core = core;
	xn_list_init(&rpc->calls);
	xn_fair_init(&rpc->begins);
	xn_fair_init(&rpc->slices);
	xn_list_init(&rpc->downloads);
	xn_list_init(&rpc->unread);
	xn_rpc_add_metrics(rpc);
	rpc->on_committed = xn_subscribe_db_committed(core->bus, "rpc", on_committed, rpc);
	xn_list_init(&rpc->visits);
	xn_list_init(&rpc->entered);
	rpc->on_ready = xn_subscribe_daemon_ready(core->bus, "rpc", on_ready, rpc);
	rpc->on_db_failed = xn_subscribe_db_failed(core->bus, "rpc", on_db_failed, rpc);
	rpc->on_reload = xn_subscribe_reload_asked(core->bus, "rpc", on_reload_asked, rpc);
	*state_out = rpc;
	return 0;
}

static int listen_as_configured(struct xn_rpc *rpc, struct xn_error *err)
{
	struct xn_config *config = rpc->core->config;
	const char *http = xn_config_string(config, "http");
	const char *https = xn_config_string(config, "https");
	const char *socket = xn_config_string(config, "socket");

	if (http && xn_http_listen_tcp(rpc->http, http, err) < 0)
		return -1;
	if (https && xn_http_listen_tls(rpc->http, https, err) < 0)
		return -1;
	if (socket && xn_http_listen_unix(rpc->http, socket, err) < 0)
		return -1;
	for (const char *const *a = xn_http_addresses(rpc->http); *a; a++)
		xn_core_add_address(rpc->core, *a);
	return xn_certificate_start(rpc->certificate, https != NULL, err);
}

static int rpc_start(void *state, struct xn_error *err)
{
	struct xn_rpc *rpc = state;

	rpc->db = xn_db_of(rpc->core);
	rpc->auth = xn_module_state(rpc->core, "auth");
	rpc->tasks = xn_tasks_of(rpc->core);
	rpc->operations = xn_operations_of(rpc->core);
	xn_rpc_read_quotas(rpc);
	rpc->audit = xn_audit_of(rpc->core);
	rpc->bounds.values = (size_t)xn_config_int(rpc->core->config, "call-values");
	rpc->bounds.depth = (unsigned)xn_config_int(rpc->core->config, "call-depth");
	if (xn_loop_is_virtual(rpc->core->loop))
		return 0; /* a simulation calls through xn_rpc_call() */
	rpc->readers = xn_pool_new(rpc->core->loop, "rpc", READERS);
	rpc->http = xn_http_new(rpc->core);
	for (size_t i = 0; i < XN_RPC_ROUTES; i++) {
		rpc->routes[i] = routes[i];
		rpc->routes[i].max_body =
			(size_t)xn_config_int(rpc->core->config, "rpc-body");
		xn_http_add_route(rpc->http, &rpc->routes[i], rpc);
	}
	xn_http_add_route(rpc->http, &xn_rpc_audit_log_route, rpc);
	rpc->xe = xe_engine_new(rpc);
	rpc->certificate = xn_certificate_new(rpc);
	return listen_as_configured(rpc, err);
}

/* Calls that only wait (event.from) would use up the time that answers under way are given. An error
 * would make a client pause; on a lost connection it comes back at once. Those that have not begun
 * never do: the modules that they are for have stopped before this one. */
static void cut_waiting_clients(struct xn_rpc *rpc)
{
	struct xn_list *node = rpc->calls.next;

	while (node != &rpc->calls) {
		struct xn_rpc_call *rc = xn_list_entry(node, struct xn_rpc_call, link);

		node = node->next;
		if (rc->conn && !rc->answered &&
		    (xn_fair_is_queued(&rc->turn) ||
		     (rc->call.on_cancel && !rc->call.task[0]))) {
			xn_http_cut(rc->conn);
			node = rpc->calls.next; /* whatever ended with it is out of the list */
		}
	}
}

static void rpc_stop(void *state)
{
	struct xn_rpc *rpc = state;

	rpc->stopping = true;
	xn_bus_unsubscribe(rpc->on_reload);
	xn_bus_unsubscribe(rpc->on_ready);
	xn_bus_unsubscribe(rpc->on_db_failed);
	xn_bus_unsubscribe(rpc->on_committed);
	xn_pool_free(rpc->readers);
	rpc->readers = NULL;
	xn_rpc_drop_downloads(rpc);
	xn_rpc_drop_visits(rpc, NULL);
	xn_timer_cancel(&rpc->look_again);
	if (rpc->http) {
		xe_engine_free(rpc->xe);
		xn_certificate_free(rpc->certificate);
		xn_job_cancel(&rpc->begin_job);
		cut_waiting_clients(rpc);
		xn_http_drain(rpc->http);
		xn_http_free(rpc->http);
	}
	while (!xn_list_empty(&rpc->calls))
		xn_rpc_abandon(xn_list_entry(rpc->calls.next, struct xn_rpc_call, link));
	xn_job_cancel(&rpc->begin_job);
	xn_job_cancel(&rpc->slice_job);
	xn_fair_clear(&rpc->begins);
	xn_fair_clear(&rpc->slices);
	xn_buf_clear(&rpc->piece);
	xn_rpc_remove_metrics(rpc);
	xn_hmap_clear(&rpc->accounts);
	xn_hmap_clear(&rpc->senders);
	free(rpc);
}

static const char *const rpc_needs[] = {"audit", "db", "auth", "operation", "task", NULL};

const struct xn_module xn_rpc_module = {
	.name = "rpc",
	.needs = rpc_needs,
	.methods = xn_certificate_methods,
	.init = rpc_init,
	.start = rpc_start,
	.stop = rpc_stop,
};
