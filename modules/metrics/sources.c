/* What belongs to no module: the loop, workers, the process, the configuration's numbers. */
#include <stdio.h>
#include <stdlib.h>

#include "modules/metrics/metrics_internal.h"

/* ---- the loop and the workers ---- */

static void write_loop(struct xn_core *core, struct xn_metrics_page *page)
{
	const struct xn_loop_times *times = xn_loop_times(core->loop);
	struct xn_stall_stats stalls;

	xn_loop_stalls(core->loop, &stalls, false);
	xn_metrics_counter(page, "xenolith_loop_stalls", "",
			   "Callbacks of the loop that took more than 10 ms of CPU time.",
			   stalls.over_10ms);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_loop_longest_callback_seconds",
			  "seconds", "CPU time of the longest callback since the start.");
	xn_metrics_us(page, stalls.longest_ever_us);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_loop_callback_seconds", "seconds",
			  "Time that callbacks of the loop took.");
	xn_metrics_histogram(page, &times->callbacks);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_loop_turn_seconds", "seconds",
			  "Time from the end of a wait of the loop to the next one.");
	xn_metrics_histogram(page, &times->turns);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_loop_lag_seconds", "seconds",
			  "Time from when a timer was due to its callback.");
	xn_metrics_histogram(page, &times->timer_lags);
}

static size_t write_core(struct xn_metrics_source *source, struct xn_metrics_page *page, size_t from)
{
	struct metrics *m = xn_container_of(source, struct metrics, loop_source);
	struct xn_core *core = m->core;

	write_loop(core, page);
	xn_metrics_gauge(page, "xenolith_workers_running", "", "Blocking jobs under way.",
			 xn_pool_running(core->workers));
	xn_metrics_gauge(page, "xenolith_workers_queued", "", "Blocking jobs that wait for a worker.",
			 xn_pool_queued(core->workers));
	xn_metrics_gauge(page, "xenolith_metrics_scrapes_under_way", "",
			 "Requests of this page that are being answered, this one too.", m->n_scrapes);
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_metrics_scrapes", "",
			  "Requests of this page by what became of them.");
	xn_metrics_int(page, (int64_t)m->served, "result", "served");
	xn_metrics_int(page, (int64_t)m->denied, "result", "wrong_token");
	xn_metrics_int(page, (int64_t)m->turned_away, "result", "turned_away");
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_metrics_scrape_seconds", "seconds",
			  "Time from a request of this page to its answer.");
	xn_metrics_histogram(page, &m->scrape_times);
	return 0;
}

/* ---- the process ---- */

static size_t write_process(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct metrics *m = xn_container_of(source, struct metrics, process_source);
	const struct process_numbers *p = &m->process;

	xn_metrics_family(page, XN_METRIC_INFO, "xenolith_build", "", "What runs here.");
	xn_metrics_int(page, 1, "version", XN_VERSION, "hypervisor",
		       xn_config_string(m->core->config, "hypervisor"), "compiler", __VERSION__);
	xn_metrics_family(page, XN_METRIC_GAUGE, "process_start_time_seconds", "seconds",
			  "When the daemon was started, since the epoch.");
	xn_metrics_us(page, m->started_wall_us);
	xn_metrics_family(page, XN_METRIC_COUNTER, "process_cpu_seconds", "seconds",
			  "CPU time of all threads, user and system.");
	xn_metrics_us(page, p->cpu_us);
	xn_metrics_gauge(page, "process_resident_memory_bytes", "bytes", "Memory in RAM.",
			 p->resident_bytes);
	xn_metrics_gauge(page, "process_virtual_memory_bytes", "bytes", "Address space in use.",
			 p->virtual_bytes);
	xn_metrics_gauge(page, "process_open_fds", "", "Open descriptors.", p->open_files);
	xn_metrics_gauge(page, "process_max_fds", "", "Descriptors that may be open; -1: any number.",
			 p->max_files);
	xn_metrics_gauge(page, "process_threads", "", "Threads.", p->threads);
	return 0;
}

/* ---- the configuration's numbers ---- */

static bool ends_in(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static void write_limit(struct xn_metrics_page *page, const struct xn_config *config,
			const struct xn_config_key *key)
{
	const char *unit = key->type == XN_CONFIG_SIZE ? "bytes" : key->unit ? key->unit : "";
	int64_t value = xn_config_int(config, key->name);
	char *name, *help;
	size_t len = strlen(key->doc), name_len = strlen(key->name);

	if (strcmp(unit, "days") == 0) { /* the page knows seconds only */
		name_len -= ends_in(key->name, "-days") ? strlen("-days") : 0;
		unit = "seconds";
		value *= 86400;
	}
	name = xn_asprintf("xenolith_limit_%.*s%s%s", (int)name_len, key->name,
			   *unit && !ends_in(key->name, unit) ? "_" : "",
			   *unit && !ends_in(key->name, unit) ? unit : "");
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	help = xn_asprintf("Configured: %s%s", key->doc, len && key->doc[len - 1] == '.' ? "" : ".");
	xn_metrics_gauge(page, name, unit, help, value);
	free(name);
	free(help);
}

static size_t write_limits(struct xn_metrics_source *source, struct xn_metrics_page *page,
			   size_t from)
{
	const struct metrics *m = xn_container_of(source, struct metrics, limits_source);

	for (const struct xn_config_key *key = xn_config_keys; key->name; key++) {
		bool is_number = key->type == XN_CONFIG_INT || key->type == XN_CONFIG_SIZE;

		if (is_number && (key->otherwise || xn_config_is_set(m->core->config, key->name)))
			write_limit(page, m->core->config, key);
	}
	return 0;
}

void metrics_add_sources(struct metrics *m)
{
	m->process_source.write = write_process;
	m->loop_source.write = write_core;
	m->limits_source.write = write_limits;
	m->rows_source.write = metrics_write_rows;
	xn_metrics_add(m->core->metrics, &m->process_source);
	xn_metrics_add(m->core->metrics, &m->loop_source);
	xn_metrics_add(m->core->metrics, &m->limits_source);
	xn_metrics_add(m->core->metrics, &m->rows_source);
}

void metrics_remove_sources(struct metrics *m)
{
	xn_metrics_remove(&m->process_source);
	xn_metrics_remove(&m->loop_source);
	xn_metrics_remove(&m->limits_source);
	xn_metrics_remove(&m->rows_source);
}
