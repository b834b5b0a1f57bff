/* What the step engine counts, by kind of operation; see op.h. */
#include "core/op_internal.h"

#include <stdlib.h>
#include <string.h>

struct xn_op_counts *xn_op_counts_(struct xn_op *op)
{
	struct xn_engine *engine = op->core->engine;

	for (size_t i = 0; i < engine->n_counts; i++)
		if (engine->counts[i]->kind == op->kind)
			return engine->counts[i];
	engine->counts = xn_realloc(engine->counts,
				    (engine->n_counts + 1) * sizeof(*engine->counts));
	engine->counts[engine->n_counts] = xn_calloc(1, sizeof(struct xn_op_counts));
	engine->counts[engine->n_counts]->kind = op->kind;
	return engine->counts[engine->n_counts++];
}

void xn_op_count_end_(struct xn_op *op)
{
	struct xn_op_counts *counts = xn_op_counts_(op);

	counts->running--;
	if (!op->error.code)
		counts->succeeded++;
	else if (strcmp(op->error.code, XN_ERR_TASK_CANCELLED) == 0)
		counts->cancelled++;
	else
		counts->failed++;
	xn_histogram_observe(&counts->times, xn_now_us(op->core->loop) - op->started_us);
}

static void write_ends(const struct xn_engine *engine, struct xn_metrics_page *page)
{
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_operations_ended", "",
			  "Operations by kind and how they ended.");
	for (size_t i = 0; i < engine->n_counts; i++) {
		const struct xn_op_counts *c = engine->counts[i];

		xn_metrics_int(page, (int64_t)c->succeeded, "kind", c->kind->name, "result",
			       "success");
		xn_metrics_int(page, (int64_t)c->failed, "kind", c->kind->name, "result", "failed");
		xn_metrics_int(page, (int64_t)c->cancelled, "kind", c->kind->name, "result",
			       "cancelled");
	}
}

static void write_counts(const struct xn_engine *engine, struct xn_metrics_page *page)
{
	uint64_t deadlines = 0, restarted = 0;

	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_operations_running", "",
			  "Operations under way, those that take back too, by kind.");
	for (size_t i = 0; i < engine->n_counts; i++) {
		const struct xn_op_counts *c = engine->counts[i];

		xn_metrics_int(page, c->running, "kind", c->kind->name);
		deadlines += c->deadlines;
		restarted += c->restarted;
	}
	xn_metrics_counter(page, "xenolith_operations_deadlines", "",
			   "Steps and undos that ended by their deadline.", deadlines);
	xn_metrics_counter(page, "xenolith_operations_restarted", "",
			   "Operations that went on, or back, after a restart of the daemon.",
			   restarted);
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_engine *engine = xn_container_of(source, struct xn_engine, metrics);

	write_ends(engine, page);
	write_counts(engine, page);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_operation_seconds", "seconds",
			  "Time from an operation's first step to its end, by kind.");
	for (size_t i = 0; i < engine->n_counts; i++)
		xn_metrics_histogram(page, &engine->counts[i]->times, "kind",
				     engine->counts[i]->kind->name);
	return 0;
}

void xn_op_metrics_init_(struct xn_core *core)
{
	core->engine->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &core->engine->metrics);
}

void xn_op_metrics_clear_(struct xn_engine *engine)
{
	xn_metrics_remove(&engine->metrics);
	for (size_t i = 0; i < engine->n_counts; i++)
		free(engine->counts[i]);
	free(engine->counts);
}
