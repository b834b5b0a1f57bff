/*
 * The module: state, start, stop. At the start nothing runs, so whatever rows still say about
 * current operations is wiped; the operations that the journal brings back take their objects again
 * after all modules have started.
 */
#include <stdlib.h>

#include "modules/operation/operation_internal.h"

static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	if (!ev->error)
		xn_claims_restore(arg);
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_operations *ops = xn_container_of(source, struct xn_operations, metrics);
	int64_t held = 0;

	for (struct xn_hnode *node = xn_hmap_first(&ops->objects); node;
	     node = xn_hmap_next(&ops->objects, node))
		xn_list_each(link, &xn_container_of(node, struct xn_claimed, node)->held)
			held++;
	xn_metrics_gauge(page, "xenolith_claims_held", "", "Objects that operations hold.", held);
	xn_metrics_gauge(page, "xenolith_claims_waiting", "",
			 "Operations that wait for an object.", (int64_t)ops->waiting.count);
	return 0;
}

static int operation_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_operations *ops = xn_calloc(1, sizeof(*ops));

	ops->core = core;
	ops->db = xn_db_of(core);
	ops->tasks = xn_tasks_of(core);
	xn_list_init(&ops->runs);
	xn_list_init(&ops->shorts);
	xn_list_init(&ops->kinds);
	ops->on_db_failed = xn_subscribe_db_failed(core->bus, "operation", on_db_failed, ops);
	ops->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &ops->metrics);
	*state_out = ops;
	return 0;
}

static void wipe_class(struct xn_operations *ops, const struct xn_class *cls)
{
	int field = xn_field_find(cls, "current_operations");
	struct xn_row **rows;
	size_t n = 0;

	if (!cls->in_database || field < 0 || xn_db_count(ops->db, cls->id) == 0)
		return;
	rows = xn_calloc(xn_db_count(ops->db, cls->id), sizeof(*rows));
	for (struct xn_row *row = xn_db_first(ops->db, cls->id); row;
	     row = xn_db_next(ops->db, row))
		if (xn_map_len(xn_row_get(row, field)) > 0)
			rows[n++] = row;
	for (size_t i = 0; i < n; i++)
		xn_db_set(ops->db, rows[i], field, xn_map_new());
	free(rows);
}

static int operation_start(void *state, struct xn_error *err)
{
	struct xn_operations *ops = state;

	for (int id = 0; id < XN_CLASS_COUNT; id++)
		if (id != XN_CLASS_task)
			wipe_class(ops, &xn_classes[id]);
	return 0;
}

static void operation_stop(void *state)
{
	struct xn_operations *ops = state;

	xn_metrics_remove(&ops->metrics);
	xn_bus_unsubscribe(ops->on_db_failed);
	xn_runs_stop(ops);
	xn_shorts_stop(ops);
	xn_claims_stop(ops);
	for (int id = 0; id < XN_CLASS_COUNT; id++)
		xn_rules_free(ops->rules[id]);
	free(ops);
}

static const char *const operation_needs[] = {"db", "task", NULL};
static const enum xn_event_id operation_publishes[] = {XN_EVENT_operation_ended, XN_EVENT_COUNT};

const struct xn_module xn_operation_module = {
	.name = "operation",
	.needs = operation_needs,
	.publishes = operation_publishes,
	.init = operation_init,
	.start = operation_start,
	.stop = operation_stop,
};
