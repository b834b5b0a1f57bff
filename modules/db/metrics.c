/* Numbers about the database, for core/metrics.h. */
#include "modules/db/db_internal.h"

static int64_t count_list(const struct xn_list *list)
{
	int64_t n = 0;

	xn_list_each(link, list)
		n++;
	return n;
}

static void write_marks(const struct xn_db *db, struct xn_metrics_page *page)
{
	xn_metrics_gauge(page, "xenolith_db_generation", "", "The next stamp that a change gets.",
			 (int64_t)db->generation);
	xn_metrics_gauge(page, "xenolith_db_durable_generation", "",
			 "Stamps below this one survive a power loss.",
			 (int64_t)db->durable_generation);
	xn_metrics_gauge(page, "xenolith_db_tombstones", "", "Deletions that are remembered.",
			 db->n_graves - db->n_reused);
	xn_metrics_gauge(page, "xenolith_db_writable", "",
			 "1: changes are taken; 0: the disk refuses them.", !db->error);
}

static void write_commits(const struct xn_db *db, struct xn_metrics_page *page)
{
	xn_metrics_counter(page, "xenolith_db_commits", "",
			   "Turns of the loop whose changes were journaled.", db->appended);
	xn_metrics_counter(page, "xenolith_db_journal_bytes", "bytes",
			   "Bytes of these changes in the journal.", db->metrics.bytes);
	xn_metrics_counter(page, "xenolith_db_refused_turns", "",
			   "Turns that were taken back, since the journal did not take them.",
			   db->metrics.refused);
	xn_metrics_counter(page, "xenolith_db_lost_turns", "",
			   "Of these: those with more in them than marks of operations.",
			   db->losses);
	xn_metrics_counter(page, "xenolith_db_failures", "", "Times that the disk began to refuse.",
			   db->metrics.failures);
	xn_metrics_counter(page, "xenolith_db_syncs", "", "Syncs of the journal.",
			   db->metrics.syncs);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_db_sync_seconds", "seconds",
			  "Time that syncs of the journal took.");
	xn_metrics_histogram(page, &db->metrics.sync_times);
	xn_metrics_gauge(page, "xenolith_db_backlog_bytes", "bytes",
			 "Journal that a start would replay.",
			 db->store ? (int64_t)db->store->ops->backlog(db->store) : 0);
}

static void write_checkpoints(const struct xn_store *store, struct xn_metrics_page *page)
{
	xn_metrics_counter(page, "xenolith_db_checkpoint_failures", "",
			   "Slices of checkpoints that could not be written.",
			   store->checkpoint_failures);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_db_checkpoint_seconds", "seconds",
			  "Time to write a slice of a checkpoint.");
	xn_metrics_histogram(page, &store->checkpoint_times);
}

static void write_waits(const struct xn_db *db, struct xn_metrics_page *page)
{
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_db_waits", "",
			  "Replies and others that wait for their changes, by what for.");
	xn_metrics_int(page, count_list(&db->visible_waits), "mark", "visible");
	xn_metrics_int(page, count_list(&db->durable_waits), "mark", "durable");
	xn_metrics_gauge(page, "xenolith_db_cache_bytes", "bytes",
			 "Encoded records that are kept.", (int64_t)db->cached_bytes);
	xn_metrics_gauge(page, "xenolith_db_cache_most_bytes", "bytes", "The most of these.",
			 (int64_t)db->cache_limit);
	xn_metrics_gauge(page, "xenolith_db_frozen_bytes", "bytes",
			 "Encoded records that only replies under way still need.",
			 (int64_t)db->frozen_bytes);
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_db *db = xn_container_of(source, struct xn_db, metrics.source);

	write_marks(db, page);
	write_commits(db, page);
	write_waits(db, page);
	if (db->store)
		write_checkpoints(db->store, page);
	return 0;
}

void xn_db_metrics_init(struct xn_db *db)
{
	db->metrics.source.write = write_metrics;
	xn_metrics_add(db->core->metrics, &db->metrics.source);
}
