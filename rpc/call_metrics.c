/*
 * Calls in numbers: how long each method took, which errors were given, who waits, and what callers
 * use of their quotas. Methods and codes that are seen first get a series each; so many that a page
 * stays short, and the rest share one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/rpc_internal.h"

enum { METHODS_A_STEP = 8 };

static const char *const quota_names[XN_QUOTA_COUNT] = {
	[XN_QUOTA_SESSION_CALLS] = "session-calls",
	[XN_QUOTA_SESSION_ARGUMENTS] = "session-arguments",
	[XN_QUOTA_ALL_ARGUMENTS] = "all-arguments",
	[XN_QUOTA_LOGIN_ARGUMENTS] = "login-arguments",
	[XN_QUOTA_SESSION_REPLIES] = "session-replies",
	[XN_QUOTA_ALL_REPLIES] = "all-replies",
	[XN_QUOTA_STRING_BYTES] = "string-bytes",
	[XN_QUOTA_FIELD_ITEMS] = "field-items",
	[XN_QUOTA_ROW_BYTES] = "row-bytes",
	[XN_QUOTA_TASK_BYTES] = "task-bytes",
	[XN_QUOTA_LONG_BODIES] = "long-bodies",
};

/* ---- counting ---- */

static struct xn_method_times *times_of(struct xn_rpc_counts *counts,
					const struct xn_method *method)
{
	size_t i = (size_t)(method - xn_methods);

	if (!counts->slot_of) /* by position in xn_methods; 0: not seen */
		counts->slot_of = xn_calloc(xn_n_methods, sizeof(*counts->slot_of));
	if (!counts->slot_of[i]) {
		if (counts->n_methods == XN_RPC_METHODS_SEEN)
			return &counts->methods[XN_RPC_METHODS_SEEN];
		counts->methods[counts->n_methods].method = method;
		counts->slot_of[i] = (uint16_t)++counts->n_methods;
	}
	return &counts->methods[counts->slot_of[i] - 1];
}

static void count_error(struct xn_rpc_counts *counts, const char *code)
{
	unsigned i = 0;

	while (i < counts->n_codes && strcmp(counts->codes[i].code, code) != 0)
		i++;
	if (i == counts->n_codes && i < XN_RPC_CODES_SEEN) {
		counts->n_codes++;
		snprintf(counts->codes[i].code, sizeof(counts->codes[i].code), "%s", code);
	}
	counts->codes[i].n++; /* the last one is for all others */
}

void xn_rpc_count(struct xn_rpc *rpc, const struct xn_method *method, int64_t took_us,
		  const struct xn_error *err)
{
	if (method)
		xn_histogram_observe(&times_of(&rpc->counts, method)->took, took_us);
	if (err)
		count_error(&rpc->counts, err->code);
}

/* ---- the page ---- */

static void write_calls(struct xn_metrics_page *page, const struct xn_rpc *rpc)
{
	xn_metrics_gauge(page, "xenolith_calls_under_way", "",
			 "Calls from their parsing to the end of their reply or task.",
			 (int64_t)rpc->n_calls);
	xn_metrics_gauge(page, "xenolith_calls_waiting", "", "Calls that wait for their caller's turn.",
			 rpc->begins.count);
	xn_metrics_gauge(page, "xenolith_call_sessions", "", "Callers with a call under way.",
			 (int64_t)rpc->accounts.count);
	xn_metrics_gauge(page, "xenolith_reply_slices_waiting", "",
			 "Long replies that wait for their caller's turn.", rpc->slices.count);
	xn_metrics_gauge(page, "xenolith_call_arguments_bytes", "bytes",
			 "Memory of the parameters of calls under way.",
			 (int64_t)rpc->argument_bytes);
	xn_metrics_gauge(page, "xenolith_unread_replies_bytes", "bytes",
			 "Memory of replies that are not read yet.", (int64_t)rpc->reply_bytes);
	xn_metrics_gauge(page, "xenolith_old_records_used_bytes", "bytes",
			 "Memory of records that changed while somebody still reads them.",
			 (int64_t)xn_db_frozen_bytes(rpc->db));
	xn_metrics_gauge(page, "xenolith_long_bodies_used_bytes", "bytes",
			 "Bodies of calls that are being parsed or wait for that.",
			 (int64_t)rpc->long_bytes);
	xn_metrics_gauge(page, "xenolith_audit_downloads", "",
			 "Downloads of the audit log under way.", rpc->n_downloads);
	xn_metrics_counter(page, "xenolith_replies_cut", "",
			   "Connections closed to make room, since their reader stood still.",
			   rpc->n_cut);
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_calls_over_quota", "",
			  "Calls refused, by the limit that they met.");
	for (int i = 0; i < XN_QUOTA_COUNT; i++)
		xn_metrics_int(page, (int64_t)rpc->n_over_quota[i], "limit", quota_names[i]);
	for (int i = 0; i < XN_TASK_LIMITS; i++)
		xn_metrics_int(page, (int64_t)xn_tasks_refused(rpc->tasks, (enum xn_task_limit)i),
			       "limit", xn_task_limits[i]);
	xn_metrics_int(page, (int64_t)xn_db_refused_rows(rpc->db), "limit", "all-rows");
}

static void write_errors(struct xn_metrics_page *page, const struct xn_rpc_counts *counts)
{
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_call_errors", "",
			  "Calls that failed, by their error.");
	for (unsigned i = 0; i < counts->n_codes; i++)
		xn_metrics_int(page, (int64_t)counts->codes[i].n, "code", counts->codes[i].code);
	xn_metrics_int(page, (int64_t)counts->codes[XN_RPC_CODES_SEEN].n, "code", "other");
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_rpc *rpc = xn_container_of(source, struct xn_rpc, metrics);
	const struct xn_rpc_counts *counts = &rpc->counts;
	size_t end = from + METHODS_A_STEP;

	if (!from) {
		write_calls(page, rpc);
		write_errors(page, counts);
		xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_call_seconds", "seconds",
				  "Time from a call's turn in the queue to its handler's end.");
	}
	for (; from < end && from < counts->n_methods; from++)
		xn_metrics_histogram(page, &counts->methods[from].took, "method",
				     counts->methods[from].method->name);
	if (from < counts->n_methods)
		return from;
	xn_metrics_histogram(page, &counts->methods[XN_RPC_METHODS_SEEN].took, "method", "other");
	return 0;
}

void xn_rpc_add_metrics(struct xn_rpc *rpc)
{
	rpc->metrics.write = write_metrics;
	if (rpc->core->metrics)
		xn_metrics_add(rpc->core->metrics, &rpc->metrics);
}

void xn_rpc_remove_metrics(struct xn_rpc *rpc)
{
	xn_metrics_remove(&rpc->metrics);
	free(rpc->counts.slot_of);
}
