/* The calls of the class History, and the worker behind them; see history.h. */
#include "modules/history/history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/worker.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/history/answer.h"

enum {
	TIDY_EVERY_US = 600 * 1000000, /* files also grow too old */
	TIDY_AT_ONCE_US = 1000000,     /* after the start, which they must not slow down */
};

struct history {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_auth *auth;
	char *dir; /* the state folder; NULL: no history is kept */
	struct xn_history_options options;
	struct history_defaults defaults;
	bool has_defaults;
	struct xn_pool *pool;
	unsigned n_pending;
	struct xn_work tidy;
	struct xn_timer tidy_timer;
	bool tidying, tidy_again;
	int64_t tidy_now_us;
	struct xn_metrics_source metrics;
	uint64_t n_questions, n_failed, n_tidied, n_anew;
	struct xn_histogram answer_time;
	struct xn_history_tidied found, last; /* the worker's, while it tidies; when last tidied */
};

/* ---- one question ---- */

struct asking {
	struct xn_work work;
	struct history *history;
	struct xn_call *call;
	struct history_query query;
	enum xn_format format;
	int64_t now_us, began_us;
	struct xn_buf text;
	struct xn_error err;
};

static int run_asking(struct xn_work *work)
{
	struct asking *asking = xn_container_of(work, struct asking, work);
	struct history *history = asking->history;

	return history_answer(history->dir, &history->options, &history->defaults, &asking->query,
			      asking->format, asking->now_us, &asking->text, &asking->err);
}

static void on_answered(struct xn_work *work, int rc)
{
	struct asking *asking = xn_container_of(work, struct asking, work);
	struct history *history = asking->history;

	history->n_pending--;
	xn_histogram_observe(&history->answer_time,
			 xn_now_us(history->core->loop) - asking->began_us);
	if (rc == 0) {
		xn_call_reply(asking->call, xn_embed_text(&asking->text));
	} else {
		history->n_failed++;
		if (!xn_error_is_set(&asking->err)) /* it never ran */
			xn_error_from_errno(&asking->err, rc, "reading the history");
		xn_call_fail(asking->call, &asking->err);
	}
	xn_buf_clear(&asking->text);
	xn_error_clear(&asking->err);
	free(asking);
}

static void refuse(struct xn_call *call, struct xn_error *err)
{
	xn_call_fail(call, err);
	xn_error_clear(err);
}

static int check(const struct history *history, struct xn_error *err)
{
	if (!history->dir)
		return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, "history-size", "0",
				    "no history is kept");
	if (history->n_pending >= xn_config_int(history->core->config, "history-questions-pending"))
		return xn_error_set(err, XN_ERR_TOO_MANY_PENDING_TASKS);
	return 0;
}

/* Takes what @err holds; @failed: the question is none. */
static void ask(struct xn_call *call, const struct history_query *query, struct xn_error *err,
		bool failed)
{
	struct history *history = call->state;
	struct asking *asking;

	history->n_questions++;
	if (failed || check(history, err) < 0) {
		history->n_failed++;
		refuse(call, err);
		return;
	}
	if (!history->has_defaults)
		history_defaults_init(&history->defaults);
	history->has_defaults = true;
	asking = xn_calloc(1, sizeof(*asking));
	asking->history = history;
	asking->call = call;
	asking->query = *query;
	asking->query.role = call->caller.is_superuser ? XN_ROLE_LOCAL_ROOT : call->caller.role;
	asking->format = call->format;
	asking->now_us = xn_wall_us(history->core->loop);
	asking->began_us = xn_now_us(history->core->loop);
	asking->work = (struct xn_work){.run = run_asking, .done = on_answered};
	history->n_pending++;
	xn_pool_submit(history->pool, &asking->work);
}

/* ---- calls ---- */

static void get_bounds(struct xn_call *call)
{
	struct xn_error err = {0};
	struct history_query query;

	history_query_init(&query);
	query.question = HISTORY_BOUNDS;
	ask(call, &query, &err, false);
}

/* Clients know their session by its secret. */
static void name_session(const struct history *history, struct history_query *query)
{
	const char *ref = *query->session ? xn_auth_session_ref(history->auth, query->session)
					  : NULL;

	if (ref)
		snprintf(query->session, sizeof(query->session), "%s", ref);
}

static int settle_as(struct history_query *query, enum history_question question,
		     const char *otherwise, struct xn_error *err)
{
	if (history_query_settle(query, err) < 0)
		return -1;
	return query->question == question
		       ? 0
		       : xn_error_set(err, XN_ERR_INVALID_VALUE, "query", otherwise);
}

static void get_changes(struct xn_call *call)
{
	struct xn_error err = {0};
	struct history_query query;
	bool failed;

	history_query_init(&query);
	failed = history_query_set_all(&query, call->args[0], &err) < 0 ||
		 settle_as(&query, HISTORY_CHANGES, "at, from and to are other calls", &err) < 0;
	if (!failed)
		name_session(call->state, &query);
	ask(call, &query, &err, failed);
}

static bool is_uuid(const char *text)
{
	return strlen(text) == 36 && strncmp(text, "OpaqueRef:", 10) != 0;
}

static void get_record(struct xn_call *call)
{
	const char *self = xn_call_string(call, 0);
	struct xn_error err = {0};
	struct history_query query;
	bool failed;

	history_query_init(&query);
	failed = history_query_set(&query, is_uuid(self) ? "uuid" : "ref", self, &err) < 0 ||
		 history_query_set(&query, "at", xn_call_string(call, 1), &err) < 0;
	if (!failed && !*self)
		failed = xn_error_set(&err, XN_ERR_HANDLE_INVALID, "any", self) < 0;
	query.question = HISTORY_RECORD;
	ask(call, &query, &err, failed);
}

static void get_all_records(struct xn_call *call)
{
	struct xn_error err = {0};
	struct history_query query;
	bool failed;

	history_query_init(&query);
	failed = history_query_set_all(&query, call->args[2], &err) < 0 ||
		 history_query_set(&query, "class", xn_call_string(call, 0), &err) < 0 ||
		 history_query_set(&query, "at", xn_call_string(call, 1), &err) < 0 ||
		 settle_as(&query, HISTORY_ALL_RECORDS, "only limit and after are for this call",
			   &err) < 0;
	ask(call, &query, &err, failed);
}

static void get_difference(struct xn_call *call)
{
	struct xn_error err = {0};
	struct history_query query;
	bool failed;

	history_query_init(&query);
	failed = history_query_set_all(&query, call->args[2], &err) < 0 ||
		 history_query_set(&query, "from", xn_call_string(call, 0), &err) < 0 ||
		 history_query_set(&query, "to", xn_call_string(call, 1), &err) < 0 ||
		 settle_as(&query, HISTORY_DIFFERENCE, "at is another call", &err) < 0;
	ask(call, &query, &err, failed);
}

static const struct xn_method_impl methods[] = {
	{"History.get_bounds", get_bounds},
	{"History.get_changes", get_changes},
	{"History.get_record", get_record},
	{"History.get_all_records", get_all_records},
	{"History.get_difference", get_difference},
	{NULL},
};

/* ---- within bounds ---- */

static int run_tidy(struct xn_work *work)
{
	struct history *history = xn_container_of(work, struct history, tidy);

	return xn_history_tidy(history->dir, &history->options, history->tidy_now_us,
			       &history->found);
}

static void begin_tidy(struct history *history);

static void on_tidied(struct xn_work *work, int rc)
{
	struct history *history = xn_container_of(work, struct history, tidy);

	history->tidying = false;
	xn_db_hold_history(history->db, false);
	history->n_tidied++;
	if (rc == -ECANCELED)
		return;
	history->last = history->found;
	if (rc == -EBADMSG) {
		history->n_anew++;
		xn_log_warn(history->core->log, "history",
			    "a part is damaged: history goes on from the next checkpoint");
		xn_db_begin_history_anew(history->db);
	} else if (rc < 0) {
		xn_log_error(history->core->log, "history", "tidying failed: %s", strerror(-rc));
	}
	if (history->tidy_again) {
		xn_db_hold_history(history->db, true);
		begin_tidy(history);
	}
}

static void begin_tidy(struct history *history)
{
	history->tidy_again = history->tidying;
	if (history->tidying)
		return;
	history->tidying = true;
	history->tidy_now_us = xn_wall_us(history->core->loop);
	history->tidy = (struct xn_work){.run = run_tidy, .done = on_tidied};
	xn_pool_submit(history->pool, &history->tidy);
}

/* No more of them before these fit: else a fast writer is ahead of the tidying for ever. */
static void on_more_files(void *arg)
{
	struct history *history = arg;

	xn_db_hold_history(history->db, true);
	begin_tidy(history);
}

static void on_tidy_time(struct xn_timer *timer)
{
	struct history *history = xn_container_of(timer, struct history, tidy_timer);

	begin_tidy(history);
	xn_timer_arm(history->core->loop, timer, TIDY_EVERY_US, on_tidy_time);
}

/* ---- numbers ---- */

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	struct history *h = xn_container_of(source, struct history, metrics);

	xn_metrics_counter(page, "xenolith_history_questions", "", "Questions to history.",
			   h->n_questions);
	xn_metrics_counter(page, "xenolith_history_questions_refused", "",
			   "Questions to history that got an error.", h->n_failed);
	xn_metrics_counter(page, "xenolith_history_compactions", "",
			   "Times that history was brought within its bounds.", h->n_tidied);
	xn_metrics_counter(page, "xenolith_history_begun_anew", "",
			   "Times that history could not go on from its files.", h->n_anew);
	xn_metrics_gauge(page, "xenolith_history_bytes", "bytes",
			 "Size of history's files when last compacted.", (int64_t)h->last.bytes);
	xn_metrics_gauge(page, "xenolith_history_room_bytes", "bytes",
			 "What history's files may take: the configured size, or more where one "
			 "image of the database needs it.",
			 (int64_t)(h->last.limit ? h->last.limit : h->options.size));
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_history_oldest_timestamp_seconds",
			  "seconds", "Time of the oldest change in history.");
	xn_metrics_us(page, h->last.oldest_us);
	xn_metrics_gauge(page, "xenolith_history_questions_pending", "",
			 "Questions to history that run or wait.", h->n_pending);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_history_answer_seconds", "seconds",
			  "Time to answer a question to history.");
	xn_metrics_histogram(page, &h->answer_time);
	return 0;
}

/* ---- life ---- */

static int history_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct history *history = xn_calloc(1, sizeof(*history));

	history->core = core;
	history->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &history->metrics);
	*state_out = history;
	return 0;
}

static int history_start(void *state, struct xn_error *err)
{
	struct history *history = state;
	struct xn_core *core = history->core;
	char *why XN_CLEANUP(xn_free_p) = NULL;

	history->db = xn_db_of(core);
	history->auth = xn_module_state(core, "auth");
	if (xn_history_options_read(&history->options, core->config, &why) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "history-skip: %s", why);
	if (core->store || !history->options.size)
		return 0; /* a simulated disk has no files */
	history->dir = xn_strdup(xn_config_string(core->config, "state-dir"));
	history->pool = xn_pool_new(core->loop, "history", 1);
	xn_db_on_history(history->db, on_more_files, history);
	xn_timer_arm(core->loop, &history->tidy_timer, TIDY_AT_ONCE_US, on_tidy_time);
	return 0;
}

static void history_stop(void *state)
{
	struct history *history = state;

	if (!history)
		return;
	xn_timer_cancel(&history->tidy_timer);
	if (history->dir) {
		xn_db_on_history(history->db, NULL, NULL);
		xn_db_hold_history(history->db, false);
	}
	xn_pool_free(history->pool);
	xn_metrics_remove(&history->metrics);
	xn_history_options_clear(&history->options);
	history_defaults_clear(&history->defaults);
	free(history->dir);
	free(history);
}

static const char *const needs[] = {"auth", "db", NULL};

const struct xn_module xn_history_module = {
	.name = "history",
	.needs = needs,
	.methods = methods,
	.init = history_init,
	.start = history_start,
	.stop = history_stop,
};
