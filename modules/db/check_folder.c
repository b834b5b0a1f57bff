/*
 * The check of a whole folder, for `xenolithd --check-db`: every byte's checksum, every row, what
 * check.c proves. Only reads.
 */
#include "modules/db/db_internal.h"
#include "modules/db/store_reading.h"

#include <inttypes.h>

static void tell_error(struct xn_findings *findings, const struct xn_error *err)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	for (unsigned i = 0; i < err->n_params; i++)
		xn_buf_printf(&text, "%s%s", i ? ": " : "", err->params[i]);
	xn_finding(findings, "%s", xn_buf_cstr(&text));
}

static void summarise(struct xn_db *db, struct xn_buf *out)
{
	const struct xn_reading_summary *s = xn_store_reading_summary(db->store);
	size_t rows = 0, tombstones = 0, laters = 0;

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_tombstone *tomb = xn_db_tombstone(db, c, NULL);

		rows += xn_db_count(db, c);
		for (; tomb; tomb = xn_db_tombstone(db, c, tomb))
			tombstones++;
	}
	xn_list_each(link, &db->laters)
		laters++;
	xn_buf_printf(out,
		      "format %d, %zu rows, %zu deletions, %zu operations under way, %zu changes "
		      "that wait, next generation %" PRIu64 "\n"
		      "journal: %zu records in %zu segments, checkpoint at %" PRIu64 " of %" PRIu64
		      "%s\n",
		      s->format, rows, tombstones, xn_db_count(db, XN_CLASS_xn_operation), laters,
		      db->generation, s->journal.records, s->journal.segments, s->position,
		      s->journal.end,
		      s->journal.has_remains ? "; behind it remains of a write that was cut off, "
					       "which the next start removes"
					     : "");
}

static unsigned check(struct xn_db *db, struct xn_buf *report, struct xn_buf *summary)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_findings findings = {.report = report};

	db->findings = &findings;
	if (xn_db_load(db, &err) < 0)
		tell_error(&findings, &err);
	else if (!findings.is_partial)
		findings.n += xn_db_check(db, report);
	if (xn_store_reading_summary(db->store)->format > 0)
		summarise(db, summary);
	return findings.n;
}

/* A database around the folder, which is not opened yet, for as long as @run takes. */
static int with_folder(const char *dir, struct xn_config *config,
		       void (*run)(struct xn_db *db, void *arg), void *arg, struct xn_error *err)
{
	struct xn_log *log = xn_log_new(XN_LOG_ERROR, false, -1);
	struct xn_loop *loop = xn_loop_new_virtual(0);
	struct xn_core core;
	void *state = NULL;
	int rc;

	xn_core_init(&core, loop, log, config);
	rc = xn_db_module.init(&core, &state, err);
	if (rc == 0) {
		struct xn_db *db = state;

		db->store = xn_store_reading_new(&core, dir);
		run(db, arg);
		xn_db_module.stop(db);
	}
	xn_core_clear(&core);
	xn_loop_free(loop);
	xn_log_free(log);
	return rc;
}

struct checking {
	struct xn_buf *report, *summary;
	unsigned n;
};

static void run_check(struct xn_db *db, void *arg)
{
	struct checking *checking = arg;

	checking->n = check(db, checking->report, checking->summary);
}

unsigned xn_db_check_folder(const char *dir, struct xn_config *config, struct xn_buf *report,
			    struct xn_buf *summary)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct checking checking = {.report = report, .summary = summary, .n = 1};

	(void)!with_folder(dir, config, run_check, &checking, &err);
	return checking.n;
}

struct looking {
	void (*look)(struct xn_db *db, void *arg);
	void *arg;
	struct xn_error *err;
	int rc;
};

static void run_look(struct xn_db *db, void *arg)
{
	struct looking *looking = arg;

	looking->rc = xn_db_load(db, looking->err);
	if (looking->rc == 0)
		looking->look(db, looking->arg);
}

int xn_db_look_into(const char *dir, struct xn_config *config,
		    void (*look)(struct xn_db *db, void *arg), void *arg, struct xn_error *err)
{
	struct looking looking = {.look = look, .arg = arg, .err = err, .rc = -1};

	if (with_folder(dir, config, run_look, &looking, err) < 0)
		return -1;
	return looking.rc;
}
