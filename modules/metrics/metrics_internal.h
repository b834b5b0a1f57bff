/* What the files of this folder share; see metrics.h. */
#ifndef XN_METRICS_INTERNAL_H
#define XN_METRICS_INTERNAL_H

#include "modules/metrics/metrics.h"
#include "rpc/rpc.h"

/* Of this process, as /proc and the kernel's accounts tell. */
struct process_numbers {
	int64_t resident_bytes, virtual_bytes, cpu_us, open_files, max_files, threads;
};

struct metrics {
	struct xn_core *core;
	struct xn_metrics_source process_source, loop_source, limits_source, rows_source;
	struct process_numbers process; /* as of the scrape under way */
	int64_t started_wall_us;
	struct xn_pool *pool; /* reads /proc, also while the others' workers hang */
	struct xn_list scrapes;
	unsigned n_scrapes;
	uint64_t served, denied, turned_away;
	struct xn_histogram scrape_times;
	char *token_path;
};

/* token.c */
/* Makes the file unless it is there or the configuration names one. */
void metrics_token_prepare(struct metrics *m);
/* Whether this is what the file holds; false when there is none. */
bool metrics_token_is(const struct metrics *m, const char *token);

/* process.c */
void process_numbers_read(struct process_numbers *out); /* on a worker thread */

/* rows.c */
size_t metrics_write_rows(struct xn_metrics_source *source, struct xn_metrics_page *page, size_t from);

/* sources.c */
void metrics_add_sources(struct metrics *m);
void metrics_remove_sources(struct metrics *m);

#endif
