/* What diagnostics.h promises, gathered from the modules' own functions; and the API calls. */
#include "modules/diagnostics/diagnostics.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "modules/audit/audit.h"
#include "modules/db/db.h"
#include "modules/domain/domain.h"
#include "modules/operation/operation.h"
#include "modules/updates/updates.h"

enum { MAX_LISTED = 1000 }; /* operations: bounds the answer */

struct gathering {
	struct xn_core *core;
	struct xn_value *set;
	unsigned n;
};

/* ---- operations ---- */

static void put_seconds(struct xn_value **map, const char *key, int64_t us)
{
	xn_map_put(map, key, xn_float((double)us / 1000000));
}

static void add_operation(const struct xn_op *op, void *arg)
{
	struct gathering *g = arg;
	int64_t now = xn_now_us(g->core->loop);
	struct xn_value *map;

	if (g->n++ >= MAX_LISTED)
		return;
	map = xn_map_new();
	xn_map_put_string(&map, "kind", op->kind->name);
	xn_map_put_string(&map, "id", op->id);
	xn_map_put_string(&map, "task", op->task);
	xn_map_put_string(&map, "step", xn_op_step_name(op));
	xn_map_put(&map, "undo", xn_bool(op->undoing));
	xn_map_put(&map, "progress_of_step", xn_float(op->step_progress));
	xn_map_put_string(&map, "waiting_for",
			  op->waiting_for[0] ? op->waiting_for
			  : op->running      ? "the step's work"
					     : "its turn");
	if (op->waiting_since_us)
		put_seconds(&map, "waiting_s", now - op->waiting_since_us);
	if (op->step_started_us)
		put_seconds(&map, "step_s", now - op->step_started_us);
	if (xn_timer_is_armed(&op->deadline))
		put_seconds(&map, "deadline_in_s", op->deadline.due_us - now);
	xn_set_append(&g->set, map);
}

static struct xn_value *operations(struct xn_core *core)
{
	struct gathering g = {.core = core, .set = xn_set_new()};

	xn_op_each(core, add_operation, &g);
	return g.set;
}

/* ---- the loop, workers, updates ---- */

static struct xn_value *loop(struct xn_core *core)
{
	struct xn_value *map = xn_map_new();
	struct xn_stall_stats stalls;

	xn_loop_stalls(core->loop, &stalls, false);
	xn_map_put(&map, "callbacks", xn_int((int64_t)stalls.callbacks));
	xn_map_put(&map, "over_10ms", xn_int((int64_t)stalls.over_10ms));
	xn_map_put(&map, "longest_us", xn_int(stalls.longest_us));
	xn_map_put_string(&map, "longest", stalls.longest_name ? stalls.longest_name : "");
	return map;
}

static struct xn_value *workers(struct xn_core *core)
{
	struct xn_backend *backend = xn_domains_backend(xn_domains_of(core));
	const struct xn_gate *plugs = xn_domains_plugs(xn_domains_of(core));
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "running", xn_int(xn_pool_running(core->workers)));
	xn_map_put(&map, "queued", xn_int(xn_pool_queued(core->workers)));
	xn_map_put(&map, "plugs_running", xn_int(xn_gate_inside(plugs)));
	xn_map_put(&map, "plugs_queued", xn_int(xn_gate_waiting(plugs)));
	xn_map_put_string(&map, "hypervisor", backend->ops->name);
	if (backend->ops->describe)
		xn_map_put(&map, "hypervisor_calls", backend->ops->describe(backend));
	return map;
}

static struct xn_value *updates(struct xn_core *core)
{
	const struct xn_updates *updates = xn_updates_of(core);
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "pending", xn_int(xn_updates_pending(updates)));
	xn_map_put(&map, "running", xn_int(xn_updates_running(updates)));
	xn_map_put(&map, "barriers", xn_int(xn_updates_barriers(updates)));
	return map;
}

/* ---- rows ---- */

static struct xn_value *tasks(struct xn_db *db)
{
	struct xn_value *map = xn_map_new();
	int64_t pending = 0;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_task); row; row = xn_db_next(db, row))
		pending += strcmp(xn_row_string(row, XN_task_status), "pending") == 0;
	xn_map_put(&map, "pending", xn_int(pending));
	xn_map_put(&map, "all", xn_int((int64_t)xn_db_count(db, XN_CLASS_task)));
	return map;
}

static struct xn_value *database(struct xn_db *db)
{
	struct xn_value *map = xn_map_new();
	int64_t rows = 0;

	for (int id = 0; id < XN_CLASS_COUNT; id++)
		rows += (int64_t)xn_db_count(db, id);
	xn_map_put(&map, "rows", xn_int(rows));
	xn_map_put(&map, "generation", xn_int((int64_t)xn_db_generation(db)));
	xn_map_put(&map, "durable_generation", xn_int((int64_t)xn_db_durable_generation(db)));
	xn_map_put_string(&map, "writable",
			  xn_db_writable(db) ? strerror(-xn_db_writable(db)) : "yes");
	return map;
}

/* ---- what was configured ---- */

static struct xn_value *limits(const struct xn_config *config)
{
	struct xn_value *map = xn_map_new();

	for (const struct xn_config_key *key = xn_config_keys; key->name; key++)
		if ((key->type == XN_CONFIG_INT || key->type == XN_CONFIG_SIZE) &&
		    (key->otherwise || xn_config_is_set(config, key->name)))
			xn_map_put(&map, key->name, xn_int(xn_config_int(config, key->name)));
	return map;
}

struct xn_value *xn_diagnostics(struct xn_core *core)
{
	struct xn_db *db = xn_db_of(core);
	struct xn_value *all = xn_map_new();

	xn_map_put(&all, "operations", operations(core));
	xn_map_put(&all, "queues", xn_operations_describe(xn_operations_of(core)));
	xn_map_put(&all, "workers", workers(core));
	xn_map_put(&all, "updates", updates(core));
	xn_map_put(&all, "tasks", tasks(db));
	xn_map_put(&all, "sessions", xn_int((int64_t)xn_db_count(db, XN_CLASS_session)));
	xn_map_put(&all, "loop", loop(core));
	xn_map_put(&all, "database", database(db));
	xn_map_put(&all, "audit", xn_audit_status(xn_audit_of(core)));
	xn_map_put(&all, "limits", limits(core->config));
	xn_map_put(&all, "foreign_domains", xn_domains_foreign(xn_domains_of(core)));
	return all;
}

/* ---- calls ---- */

static void diagnostics_get(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *all = xn_diagnostics(call->core);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_json_write(all, &text);
	xn_call_reply(call, xn_string_len(text.data, text.len));
}

static void diagnostics_get_text(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *all = xn_diagnostics(call->core);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_diagnostics_page(all, &text);
	xn_call_reply(call, xn_string_len(text.data, text.len));
}

static void diagnostics_db_stats(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *numbers = database(xn_db_of(call->core));
	struct xn_value *texts = xn_map_new();

	for (size_t i = 0; i < xn_map_len(numbers); i++) {
		const struct xn_value *v = xn_map_at(numbers, i);

		xn_map_put(&texts, xn_map_key_at(numbers, i),
			   v->kind == XN_INT ? xn_stringf("%lld", (long long)xn_value_int(v))
					     : xn_string(xn_value_string(v)));
	}
	xn_call_reply(call, texts);
}

/* What the page of metrics has about the wire: a pair of texts a sample. Buckets are left out. */
static void diagnostics_network_stats(struct xn_call *call)
{
	static const char *const prefixes[] = {"xenolith_http_", "xenolith_tls_", "xenolith_call",
					       "xenolith_repl"};
	struct xn_metrics_page *page =
		xn_metrics_page_new(call->core->metrics, XN_METRICS_PROMETHEUS);
	struct xn_value *pairs = xn_set_new();
	char *text, *rest, *line;

	while (xn_metrics_page_step(page))
		;
	text = rest = xn_buf_steal(xn_metrics_page_text(page));
	xn_metrics_page_free(page);
	while ((line = strsep(&rest, "\n"))) {
		char *value = strrchr(line, ' ');
		struct xn_value *pair;
		bool wanted = false;

		for (size_t i = 0; i < XN_ARRAY_SIZE(prefixes); i++)
			wanted |= strncmp(line, prefixes[i], strlen(prefixes[i])) == 0;
		if (!wanted || !value || strstr(line, "_bucket{"))
			continue;
		*value = '\0';
		pair = xn_set_new();
		xn_set_append_string(&pair, line);
		xn_set_append_string(&pair, value + 1);
		xn_set_append(&pairs, pair);
	}
	free(text);
	xn_call_reply(call, pairs);
}

static const struct xn_method_impl methods[] = {
	{"Diagnostics.gc_compact", xn_diagnostics_gc_compact},
	{"Diagnostics.gc_stats", xn_diagnostics_gc_stats},
	{"Diagnostics.network_stats", diagnostics_network_stats},
	{"Diagnostics.get", diagnostics_get},
	{"Diagnostics.get_text", diagnostics_get_text},
	{"Diagnostics.db_stats", diagnostics_db_stats},
	{NULL},
};

static int diagnostics_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	*state_out = core;
	return 0;
}

static void diagnostics_stop(void *state)
{
}

static const char *const needs[] = {"audit", "db", "domain", "operation", "updates", NULL};

const struct xn_module xn_diagnostics_module = {
	.name = "diagnostics",
	.needs = needs,
	.methods = methods,
	.init = diagnostics_init,
	.stop = diagnostics_stop,
};
