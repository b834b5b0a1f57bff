/*
 * Serving the page. A scrape first lets a worker read what the kernel knows of the process; then each
 * source writes in a turn of its own, so that other work goes on in between; then all of it is sent.
 *
 * No login for root and the daemon's own user on the Unix socket; everybody else shows the token, or
 * what opens the other HTTP handlers: a session, or name and password.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/metrics/metrics_internal.h"

static const char *const content_types[] = {
	[XN_METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	[XN_METRICS_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
};

struct scrape {
	struct xn_list link;
	struct metrics *m;
	struct xn_http_conn *conn;
	enum xn_metrics_format format;
	struct xn_metrics_page *page;
	struct process_numbers process;
	struct xn_work work;
	struct xn_job step;
	bool reading; /* the worker has it */
	bool dropped;
	int64_t began_us;
};

static void scrape_free(struct scrape *scrape)
{
	xn_list_remove(&scrape->link);
	scrape->m->n_scrapes--;
	xn_job_cancel(&scrape->step);
	xn_metrics_page_free(scrape->page);
	free(scrape);
}

/* The client is gone, or the module stops. */
static void scrape_drop(struct scrape *scrape)
{
	scrape->dropped = true;
	scrape->conn = NULL;
	if (!scrape->reading)
		scrape_free(scrape);
}

static void on_closed(void *arg)
{
	scrape_drop(arg);
}

static void reply_text(struct xn_http_conn *conn, int status, const char *headers, const char *text)
{
	xn_http_reply(conn, status, "text/plain", headers, text, strlen(text));
}

static void send_page(struct scrape *scrape)
{
	struct metrics *m = scrape->m;
	const struct xn_buf *text = xn_metrics_page_text(scrape->page);
	struct xn_http_conn *conn = scrape->conn;

	m->served++;
	xn_histogram_observe(&m->scrape_times, xn_now_us(m->core->loop) - scrape->began_us);
	xn_http_on_close(conn, NULL, NULL);
	xn_http_reply(conn, 200, content_types[scrape->format], NULL, text->data, text->len);
	scrape_free(scrape);
}

static void on_step(struct xn_job *job)
{
	struct scrape *scrape = xn_container_of(job, struct scrape, step);

	xn_loop_name_callback(scrape->m->core->loop, "metrics");
	if (xn_metrics_page_step(scrape->page))
		xn_loop_defer(scrape->m->core->loop, job, XN_PRIO_REFRESH, on_step);
	else
		send_page(scrape);
}

static int read_process(struct xn_work *work)
{
	process_numbers_read(&xn_container_of(work, struct scrape, work)->process);
	return 0;
}

static void on_process_read(struct xn_work *work, int rc)
{
	struct scrape *scrape = xn_container_of(work, struct scrape, work);
	struct metrics *m = scrape->m;

	scrape->reading = false;
	if (scrape->dropped) {
		scrape_free(scrape);
		return;
	}
	if (rc == 0)
		m->process = scrape->process;
	scrape->page = xn_metrics_page_new(m->core->metrics, scrape->format);
	xn_loop_defer(m->core->loop, &scrape->step, XN_PRIO_REFRESH, on_step);
}

/* The older format for those who ask for plain text and do not know the newer one. */
static enum xn_metrics_format format_for(const struct xn_http_request *req)
{
	const char *accept = xn_http_header(req, "accept");

	return accept && strstr(accept, "text/plain") &&
			       !strstr(accept, "application/openmetrics-text")
		       ? XN_METRICS_PROMETHEUS
		       : XN_METRICS_OPENMETRICS;
}

static void begin_scrape(struct metrics *m, const struct xn_http_request *req)
{
	struct scrape *scrape = xn_calloc(1, sizeof(*scrape));

	scrape->m = m;
	scrape->conn = req->conn;
	scrape->format = format_for(req);
	scrape->began_us = xn_now_us(m->core->loop);
	scrape->reading = true;
	scrape->work.run = read_process;
	scrape->work.done = on_process_read;
	m->n_scrapes++;
	xn_list_push(&m->scrapes, &scrape->link);
	xn_http_on_close(req->conn, on_closed, scrape);
	xn_pool_submit(m->pool, &scrape->work);
}

static void serve(struct metrics *m, const struct xn_http_request *req)
{
	if (m->n_scrapes >= xn_config_int(m->core->config, "metrics-scrapes")) {
		m->turned_away++;
		reply_text(req->conn, 503, "Retry-After: 1\r\n", "503 Service Unavailable\n");
	} else {
		begin_scrape(m, req);
	}
}

/* ---- who may ---- */

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	xn_rpc_leave(visit, NULL); /* nothing here works under a task */
	serve(arg, req);
}

static const struct xn_rpc_door door = {
	.name = "get_metrics",
	.role = XN_ROLE_READ_ONLY,
	.run = on_admitted,
};

/* The token, or NULL where something else is shown. */
static const char *bearer_of(const struct xn_http_request *req)
{
	const char *authorization = xn_http_header(req, "authorization");

	if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
		return NULL;
	return authorization + 7 + strspn(authorization + 7, " ");
}

static void on_request(const struct xn_http_request *req, void *arg)
{
	struct metrics *m = arg;
	const char *token = bearer_of(req);

	if (req->peer_is_trusted || (token && metrics_token_is(m, token))) {
		serve(m, req);
	} else if (token) {
		m->denied++;
		reply_text(req->conn, 401, "WWW-Authenticate: Bearer realm=\"metrics\"\r\n",
			   "401 Unauthorized\n");
	} else {
		xn_rpc_admit(m->core, req, &door, m);
	}
}

static const struct xn_http_route route = {.method = "GET", .path = "/metrics", .run = on_request};

/* ---- the module ---- */

static int metrics_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct metrics *m = xn_calloc(1, sizeof(*m));

	m->core = core;
	m->started_wall_us = xn_wall_us(core->loop);
	xn_list_init(&m->scrapes);
	metrics_add_sources(m);
	*state_out = m;
	return 0;
}

static int metrics_start(void *state, struct xn_error *err)
{
	struct metrics *m = state;

	if (xn_loop_is_virtual(m->core->loop))
		return 0; /* a simulation has no sockets */
	m->pool = xn_pool_new(m->core->loop, "metrics", 1);
	metrics_token_prepare(m);
	xn_rpc_add_route(m->core, &route, m);
	return 0;
}

static void metrics_stop(void *state)
{
	struct metrics *m = state;

	xn_rpc_remove_routes(m->core, m);
	xn_list_each_safe(node, &m->scrapes) {
		struct scrape *scrape = xn_list_entry(node, struct scrape, link);

		if (scrape->conn)
			xn_http_cut(scrape->conn); /* drops it */
	}
	xn_pool_free(m->pool); /* frees those that the worker had */
	metrics_remove_sources(m);
	free(m->token_path);
	free(m);
}

static const char *const needs[] = {"db", "rpc", NULL};

const struct xn_module xn_metrics_module = {
	.name = "metrics",
	.needs = needs,
	.init = metrics_init,
	.start = metrics_start,
	.stop = metrics_stop,
};
