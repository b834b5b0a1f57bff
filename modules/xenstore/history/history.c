/* The calls about the store's past, and the worker behind them; see history.h. */
#include "modules/xenstore/history/history.h"

#include <errno.h>
#include <stdlib.h>

#include "core/worker.h"
#include "modules/xenstore/history/answer.h"

struct past_service {
	struct xn_core *core;
	struct xn_pool *pool; /* NULL: nothing is kept */
	struct xn_xs_media *media; /* the journal's */
	unsigned n_pending;
	uint64_t n_questions, n_failed;
	struct xn_histogram answer_time;
	struct xn_metrics_source metrics;
};

/* ---- one question ---- */

struct asking {
	struct xn_work work;
	struct past_service *service;
	struct xn_call *call;
	struct past_query query;
	struct past_asking asking;
	int64_t began_us;
	struct xn_buf text;
	struct xn_error err;
};

static int run_asking(struct xn_work *work)
{
	struct asking *asking = xn_container_of(work, struct asking, work);

	return past_answer(&asking->asking, &asking->text, &asking->err);
}

static void on_answered(struct xn_work *work, int rc)
{
	struct asking *asking = xn_container_of(work, struct asking, work);
	struct past_service *service = asking->service;

	service->n_pending--;
	xn_histogram_observe(&service->answer_time,
			     xn_now_us(service->core->loop) - asking->began_us);
	if (rc == 0) {
		xn_call_reply(asking->call, xn_embed_text(&asking->text));
	} else {
		service->n_failed++;
		if (!xn_error_is_set(&asking->err)) /* it never ran */
			xn_error_from_errno(&asking->err, rc, "reading the xenstore's history");
		xn_call_fail(asking->call, &asking->err);
	}
	xn_buf_clear(&asking->text);
	xn_error_clear(&asking->err);
	free(asking);
}

static int check(const struct past_service *service, struct xn_error *err)
{
	if (!service->pool)
		return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "xenstore", "system",
				    "the host's own xenstored keeps no history");
	if (service->n_pending >=
	    xn_config_int(service->core->config, "xenstore-history-questions-pending"))
		return xn_error_set(err, XN_ERR_TOO_MANY_PENDING_TASKS);
	return 0;
}

/* Takes @asking and what @err holds; @failed: the question is none. */
static void ask(struct xn_call *call, struct asking *asking, struct xn_error *err, bool failed)
{
	struct past_service *service = past_service_of(call->state);
	struct xn_core *core = service->core;

	service->n_questions++;
	if (failed || check(service, err) < 0) {
		service->n_failed++;
		xn_call_fail(call, err);
		xn_error_clear(err);
		free(asking);
		return;
	}
	asking->service = service;
	asking->call = call;
	asking->query.hides_secrets =
		!call->caller.is_superuser && call->caller.role > XN_ROLE_POOL_ADMIN;
	asking->asking = (struct past_asking){.media = service->media,
					      .query = &asking->query,
					      .format = call->format,
					      .now_us = xn_wall_us(core->loop),
					      .size_limit = past_size_limit(core->config)};
	asking->began_us = xn_now_us(core->loop);
	asking->work = (struct xn_work){.run = run_asking, .done = on_answered};
	service->n_pending++;
	xn_pool_submit(service->pool, &asking->work);
}

static struct asking *asking_new(void)
{
	struct asking *asking = xn_calloc(1, sizeof(*asking));

	past_query_init(&asking->query);
	return asking;
}

/* ---- calls ---- */

static void get_bounds(struct xn_call *call)
{
	struct asking *asking = asking_new();
	struct xn_error err = {0};

	asking->query.question = PAST_BOUNDS;
	ask(call, asking, &err, false);
}

static void get_changes(struct xn_call *call)
{
	struct asking *asking = asking_new();
	struct past_query *query = &asking->query;
	struct xn_error err = {0};
	bool failed = past_query_set_all(query, call->args[0], &err) < 0 ||
		      past_query_settle(query, &err) < 0;

	if (!failed && query->question != PAST_CHANGES)
		failed = xn_error_set(&err, XN_ERR_INVALID_VALUE, "query", "at is another call") <
			 0;
	ask(call, asking, &err, failed);
}

static void get_tree(struct xn_call *call)
{
	struct asking *asking = asking_new();
	struct past_query *query = &asking->query;
	struct xn_error err = {0};
	bool failed = past_query_set_all(query, call->args[1], &err) < 0 ||
		      past_query_set(query, "at", xn_call_string(call, 0), &err) < 0 ||
		      past_query_settle(query, &err) < 0;

	ask(call, asking, &err, failed);
}

const struct xn_method_impl past_methods[] = {
	{"History.get_xenstore_bounds", get_bounds},
	{"History.get_xenstore_changes", get_changes},
	{"History.get_xenstore_tree", get_tree},
	{NULL},
};

/* ---- numbers ---- */

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	struct past_service *s = xn_container_of(source, struct past_service, metrics);

	xn_metrics_counter(page, "xenolith_xenstore_history_questions", "",
			   "Questions to the xenstore's history.", s->n_questions);
	xn_metrics_counter(page, "xenolith_xenstore_history_questions_refused", "",
			   "Questions to the xenstore's history that got an error.", s->n_failed);
	xn_metrics_gauge(page, "xenolith_xenstore_history_questions_pending", "",
			 "Questions to the xenstore's history that run or wait.", s->n_pending);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_xenstore_history_answer_seconds",
			  "seconds", "Time to answer a question to the xenstore's history.");
	xn_metrics_histogram(page, &s->answer_time);
	return 0;
}

/* ---- life ---- */

struct past_service *past_service_new(struct xn_core *core)
{
	struct past_service *service = xn_calloc(1, sizeof(*service));

	service->core = core;
	service->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &service->metrics);
	return service;
}

void past_service_start(struct past_service *service, struct xn_xs_media *media)
{
	service->media = media;
	service->pool = xn_pool_new(service->core->loop, "xenstore-history", 1);
}

void past_service_free(struct past_service *service)
{
	if (!service)
		return;
	xn_pool_free(service->pool);
	xn_metrics_remove(&service->metrics);
	free(service);
}

/* ---- configuration ---- */

char *past_folder(const struct xn_config *config)
{
	const char *folder = xn_config_string(config, "xenstore-dir");

	return folder ? xn_strdup(folder)
		      : xn_asprintf("%s/xenstore", xn_config_string(config, "state-dir"));
}

uint64_t past_size_limit(const struct xn_config *config)
{
	return (uint64_t)xn_config_int(config, "xenstore-history-size");
}
