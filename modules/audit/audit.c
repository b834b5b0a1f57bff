/* The module: what it finds at the start, what it tells of itself; see audit.h. */
#include "modules/audit/audit_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/json.h"

/* ---- who waits ---- */

bool xn_audit_is_written(const struct xn_audit *audit, uint64_t seq)
{
	return seq <= audit->written.seq;
}

void xn_audit_when_written(struct xn_audit *audit, struct xn_audit_wait *wait, uint64_t seq,
			   void (*run)(struct xn_audit_wait *wait, int rc))
{
	wait->seq = seq;
	wait->run = run;
	xn_list_push(&audit->waits, &wait->link);
	/* A line that is not written is in the queue or on its way, whose end comes by itself: a batch
	 * more would be empty, and in the way of the next line. */
	if (xn_audit_is_written(audit, seq))
		audit_submit(audit);
}

bool xn_audit_is_kept(const struct xn_audit *audit)
{
	return audit->is_open;
}

void xn_audit_wait_cancel(struct xn_audit_wait *wait)
{
	if (wait->link.next)
		xn_list_remove(&wait->link);
}

/* ---- what it tells of itself ---- */

struct xn_value *xn_audit_status(const struct xn_audit *audit)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "seq", xn_int((int64_t)audit->last));
	xn_map_put(&map, "written_seq", xn_int((int64_t)audit->written.seq));
	xn_map_put_string(&map, "hash", audit->written.seq ? audit->written.hash : audit_no_hash);
	xn_map_put(&map, "anchored_seq", xn_int((int64_t)audit->anchored.seq));
	xn_map_put(&map, "queued_bytes", xn_int((int64_t)audit->queue.len));
	xn_map_put(&map, "denied_without_a_line", xn_int((int64_t)audit->suppressed_all));
	xn_map_put_string(&map, "writable",
			  xn_audit_writable(audit) ? strerror(-xn_audit_writable(audit)) : "yes");
	return map;
}

int xn_audit_error(int neg_errno, struct xn_error *err)
{
	return xn_error_from_errno(err, neg_errno, "the audit log refuses lines");
}

/* So many bits of the head's hash as a number of the page holds exactly: a scraper elsewhere keeps
 * them, and a chain that was forged as a whole does not fit. */
static int64_t hash_prefix(const struct audit_head *head)
{
	char prefix[13] = "";

	if (head->seq)
		memcpy(prefix, head->hash, sizeof(prefix) - 1);
	return (int64_t)strtoull(prefix, NULL, 16);
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_audit *audit = xn_container_of(source, struct xn_audit, metrics);

	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_audit_lines", "",
			  "Lines made for the audit log.");
	xn_metrics_int(page, (int64_t)audit->lines[XN_AUDIT_CALL], "event", "call");
	xn_metrics_int(page, (int64_t)audit->lines[XN_AUDIT_BEGUN], "event", "begun");
	xn_metrics_int(page, (int64_t)audit->lines[XN_AUDIT_DENIED], "event", "denied");
	xn_metrics_int(page, (int64_t)audit->lines[XN_AUDIT_DAEMON], "event", "daemon");
	xn_metrics_counter(page, "xenolith_audit_suppressed", "",
			   "Denied calls that were only counted, not told line by line.",
			   audit->suppressed_all);
	xn_metrics_gauge(page, "xenolith_audit_head", "", "Number of the last line.",
			 (int64_t)audit->last);
	xn_metrics_gauge(page, "xenolith_audit_written", "", "Number of the last line in the file.",
			 (int64_t)audit->written.seq);
	xn_metrics_gauge(page, "xenolith_audit_anchored", "",
			 "Number of the last line that the database knows to be on the disk.",
			 (int64_t)audit->anchored.seq);
	xn_metrics_gauge(page, "xenolith_audit_head_hash", "",
			 "First 48 bits of the hash of the last line in the file.",
			 hash_prefix(&audit->written));
	xn_metrics_gauge(page, "xenolith_audit_queued_bytes", "bytes",
			 "Lines that wait for the disk.", (int64_t)audit->queue.len);
	xn_metrics_gauge(page, "xenolith_audit_writable", "",
			 "1: lines are written; 0: the disk refuses, and so are changes.",
			 xn_audit_writable(audit) == 0);
	xn_metrics_counter(page, "xenolith_audit_failures", "", "Writes that the disk refused.",
			   audit->failures);
	xn_metrics_counter(page, "xenolith_audit_written_bytes", "bytes", "Bytes of all lines written.",
			   audit->bytes);
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_audit_write_seconds", "seconds",
			  "Time from giving lines to the worker to their being in the file.");
	xn_metrics_histogram(page, &audit->write_times);
	return 0;
}

/* ---- the module ---- */

static int audit_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_audit *audit = xn_calloc(1, sizeof(*audit));

	audit->core = core;
	audit->writer.dir_fd = audit->writer.fd = -1;
	xn_list_init(&audit->waits);
	xn_list_init(&audit->due);
	audit->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &audit->metrics);
	*state_out = audit;
	return 0;
}

static void read_anchor(struct xn_audit *audit)
{
	const struct xn_row *row = audit_anchor_row(audit->db);
	const char *hash = row ? xn_row_string(row, XN_xn_audit_hash) : "";

	if (!row || strlen(hash) != XN_SHA256_HEX - 1)
		return;
	audit->anchored.seq = (uint64_t)xn_row_int(row, XN_xn_audit_seq);
	memcpy(audit->anchored.hash, hash, XN_SHA256_HEX);
}

/* What is wrong with the log that the last daemon left is in the chain for good, too. */
static void tell_findings(struct xn_audit *audit, const struct audit_tail *tail)
{
	struct xn_buf found XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add_string(&found, ",\"version\":\"" XN_VERSION "\"");
	if (tail->torn_bytes)
		xn_buf_printf(&found, ",\"removed_bytes\":%" PRIu64, tail->torn_bytes);
	if (tail->is_damaged) {
		xn_buf_add_string(&found, ",\"found\":\"the last line is damaged\"");
		xn_log_error(audit->core->log, "audit",
			     "the last line of the audit log is damaged; see --check-audit");
	} else if (tail->head.seq < audit->anchored.seq) {
		xn_buf_printf(&found, ",\"found\":\"lines %" PRIu64 " to %" PRIu64 " are missing\"",
			      tail->head.seq + 1, audit->anchored.seq);
		xn_log_error(audit->core->log, "audit",
			     "lines %" PRIu64 " to %" PRIu64 " of the audit log are missing",
			     tail->head.seq + 1, audit->anchored.seq);
	}
	audit_tell_daemon(audit, "start", xn_buf_cstr(&found));
}

static int open_log(struct xn_audit *audit, struct xn_error *err)
{
	struct xn_config *config = audit->core->config;
	char *folder XN_CLEANUP(xn_free_p) =
		xn_asprintf("%s/audit", xn_config_string(config, "state-dir"));
	struct audit_tail tail;
	/* Only whole files go, so that one must not take all there is room for. */
	int64_t half = xn_config_int(config, "audit-size") / 2;
	int64_t file_size = xn_config_int(config, "audit-file-size");
	int rc = audit_writer_open(&audit->writer, folder,
				   (uint64_t)(file_size < half ? file_size : half),
				   audit->anchored.seq, &tail);

	if (rc < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "cannot open the audit log %s: %s",
				     folder, strerror(-rc));
	/* The chain goes on behind what is known to have been there, though it be gone. */
	audit->written = tail.head.seq < audit->anchored.seq + tail.is_damaged ? audit->anchored
									       : tail.head;
	audit->last = audit->written.seq;
	audit->is_open = true;
	audit_writing_start(audit);
	tell_findings(audit, &tail);
	return 0;
}

static int audit_start(void *state, struct xn_error *err)
{
	struct xn_audit *audit = state;

	audit->db = xn_db_of(audit->core);
	audit->credited_us = xn_now_us(audit->core->loop);
	audit->credit = AUDIT_DENIED_BURST;
	read_anchor(audit);
	if (audit->core->store)
		return 0; /* a simulated disk, which has no place for it */
	return open_log(audit, err);
}

static void audit_stop(void *state)
{
	struct xn_audit *audit = state;

	if (audit->is_open)
		audit_tell_daemon(audit, "stop", "");
	audit_writing_stop(audit);
	audit_writer_close(&audit->writer);
	xn_metrics_remove(&audit->metrics);
	free(audit);
}

static const char *const needs[] = {"db", NULL};

const struct xn_module xn_audit_module = {
	.name = "audit",
	.needs = needs,
	.init = audit_init,
	.start = audit_start,
	.stop = audit_stop,
};
