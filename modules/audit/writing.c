/*
 * From the queue to the disk. One batch is under way at a time: the worker appends it with one write,
 * then whoever waits for its lines goes on. A batch that the disk refuses is tried again until it is
 * taken; meanwhile changes are refused, and who waits is told.
 *
 * A second after lines were written the file is synced, and then the database is told how far it goes:
 * what the database knows is on the disk for good, so a log that ends before was cut.
 */
#include <inttypes.h>
#include <errno.h>
#include <stdlib.h>

#include "modules/audit/audit_internal.h"

/* ---- the worker ---- */

/* What the files may take together now, so that they still fit when the newest one is full. */
static uint64_t bound_now(const struct audit_batch *batch)
{
	const struct audit_writer *writer = batch->writer;
	uint64_t to_come = writer->size < writer->max_size ? writer->max_size - writer->size : 0;

	return to_come < batch->max_bytes ? batch->max_bytes - to_come : 0;
}

static int run_batch(struct xn_work *work)
{
	struct audit_batch *batch = xn_container_of(work, struct audit_batch, work);
	int rc = 0, is_new = 0;

	audit_chain_lines(&batch->entries, &batch->head, &batch->bytes);
	batch->entries.len = 0; /* a batch that fails is not chained again */
	if (batch->bytes.len && !batch->is_appended)
		is_new = audit_writer_append(batch->writer, batch->bytes.data, batch->bytes.len,
					     batch->first);
	if (is_new < 0)
		return is_new;
	batch->is_appended = true;
	if (batch->sync)
		rc = audit_writer_sync(batch->writer);
	batch->room = audit_writer_reserve(batch->writer);
	if (batch->remove_below)
		audit_files_remove_below(batch->writer->dir_fd, batch->remove_below);
	batch->keep_from = batch->wants_trim || is_new > 0
				   ? audit_files_keep_from(batch->writer->dir_fd,
							   bound_now(batch), batch->oldest_s)
				   : 0;
	return rc;
}

/* ---- marks ---- */

static bool run_one_due(struct xn_audit *audit)
{
	struct xn_list *node = xn_list_pop(&audit->due);
	struct xn_audit_wait *wait = node ? xn_list_entry(node, struct xn_audit_wait, link) : NULL;

	if (wait)
		wait->run(wait, wait->rc);
	return wait;
}

/* Each sends a reply: a thousand at once would be a stall. */
static void on_due(struct xn_job *job)
{
	enum { A_SLICE = 32 };
	struct xn_audit *audit = xn_container_of(job, struct xn_audit, run_due);

	for (int i = 0; i < A_SLICE; i++)
		if (!run_one_due(audit))
			return;
	xn_loop_defer(audit->core->loop, job, XN_PRIO_REPLY, on_due);
}

static void pass_waits(struct xn_audit *audit, int rc)
{
	xn_list_each_safe(node, &audit->waits) {
		struct xn_audit_wait *wait = xn_list_entry(node, struct xn_audit_wait, link);

		if (rc == 0 && wait->seq > audit->written.seq)
			continue;
		wait->rc = rc;
		xn_list_remove(&wait->link);
		xn_list_push(&audit->due, &wait->link);
	}
	if (!xn_list_empty(&audit->due))
		xn_loop_defer(audit->core->loop, &audit->run_due, XN_PRIO_REPLY, on_due);
}

struct xn_row *audit_anchor_row(struct xn_db *db)
{
	return xn_db_first(db, XN_CLASS_xn_audit);
}

static void anchor(struct xn_audit *audit, const struct audit_head *head)
{
	struct xn_row *row = audit_anchor_row(audit->db);

	audit->anchored = *head;
	if (!row)
		row = xn_db_create(audit->db, XN_CLASS_xn_audit, NULL, NULL);
	xn_db_set_int(audit->db, row, XN_xn_audit_seq, (int64_t)head->seq);
	xn_db_set_string(audit->db, row, XN_xn_audit_hash, head->hash);
}

static void on_anchor_time(struct xn_timer *timer)
{
	audit_submit(xn_container_of(timer, struct xn_audit, anchor));
}

/* ---- a batch's end ---- */

static void on_retry(struct xn_timer *timer)
{
	audit_submit(xn_container_of(timer, struct xn_audit, retry));
}

static void refuse(struct xn_audit *audit, int rc)
{
	if (!audit->error)
		xn_log_error(audit->core->log, "audit",
			     "the audit log cannot be written (%s): changes are refused",
			     strerror(-rc));
	audit->error = rc;
	xn_timer_arm(audit->core->loop, &audit->retry, AUDIT_RETRY_US, on_retry);
}

static void on_failure(struct xn_audit *audit, int rc)
{
	audit->failures++;
	audit->batch_pending = true;
	refuse(audit, rc);
	pass_waits(audit, rc);
}

static void accept(struct xn_audit *audit)
{
	if (audit->error)
		xn_log_warn(audit->core->log, "audit", "the audit log is written again");
	audit->error = 0;
}

/* Lines from @first on stay; the files before go once the chain says so. */
static void plan_removal(struct xn_audit *audit, uint64_t first)
{
	char *members XN_CLEANUP(xn_free_p) = xn_asprintf(",\"first\":%" PRIu64, first);

	if (first <= audit->remove_below)
		return;
	audit_tell_daemon(audit, "old lines are removed", members);
	audit->remove_below = first;
	audit->remove_after = audit->last;
}

static void on_success(struct xn_audit *audit)
{
	const struct audit_batch *batch = &audit->batch;

	if (batch->room < 0) /* these lines are there, the next ones would not fit */
		refuse(audit, batch->room);
	else
		accept(audit);
	audit->batch_pending = false;
	if (batch->bytes.len) {
		audit->written = batch->head;
		audit->bytes += batch->bytes.len;
		audit->batches++;
		xn_histogram_observe(&audit->write_times,
				     xn_now_us(audit->core->loop) - audit->batch_began_us);
	}
	if (batch->sync && audit->written.seq != audit->anchored.seq)
		anchor(audit, &audit->written);
	if (batch->keep_from)
		plan_removal(audit, batch->keep_from);
	pass_waits(audit, 0);
	if (audit->written.seq != audit->anchored.seq && !xn_timer_is_armed(&audit->anchor))
		xn_timer_arm(audit->core->loop, &audit->anchor, AUDIT_ANCHOR_US, on_anchor_time);
	if (audit->queue.len) /* behind a batch that had failed */
		audit_submit(audit);
}

static void on_batch_done(struct xn_work *work, int rc)
{
	struct xn_audit *audit = xn_container_of(work, struct xn_audit, batch.work);

	audit->batch.running = false;
	if (rc == -ECANCELED) /* we stop; see audit_writing_stop() */
		audit->batch_pending = true;
	else if (rc < 0)
		on_failure(audit, rc);
	else
		on_success(audit);
}

/* ---- a batch's beginning ---- */

static void reuse(struct xn_buf *buf)
{
	enum { KEPT = 256 << 10 };

	if (buf->cap > KEPT)
		xn_buf_clear(buf);
	buf->len = 0;
}

static void fill_batch(struct xn_audit *audit)
{
	struct audit_batch *batch = &audit->batch;
	const struct xn_config *config = audit->core->config;
	int64_t max_age_s = xn_config_int(config, "audit-keep-days") * 86400;

	if (!audit->batch_pending) { /* the queue against the memory of one that was written */
		struct xn_buf written = batch->entries;

		batch->entries = audit->queue;
		audit->queue = written;
		reuse(&audit->queue);
		reuse(&batch->bytes);
		batch->is_appended = false;
		batch->first = audit->written.seq + 1;
		batch->head = audit->written;
	}
	batch->sync = !xn_timer_is_armed(&audit->anchor) &&
		      audit->written.seq != audit->anchored.seq;
	batch->remove_below =
		audit->written.seq >= audit->remove_after ? audit->remove_below : 0;
	if (batch->remove_below)
		audit->remove_after = UINT64_MAX; /* once */
	batch->wants_trim = audit->trim_due;
	audit->trim_due = false;
	batch->max_bytes = (uint64_t)xn_config_int(config, "audit-size");
	batch->oldest_s = max_age_s ? xn_wall_s(audit->core->loop) - max_age_s : INT64_MIN;
}

static void submit(struct xn_audit *audit)
{
	struct audit_batch *batch = &audit->batch;

	fill_batch(audit);
	batch->running = true;
	batch->writer = &audit->writer;
	batch->work.run = run_batch;
	batch->work.done = on_batch_done;
	audit->batch_began_us = xn_now_us(audit->core->loop);
	xn_pool_submit(audit->pool, &batch->work);
}

static void on_submit(struct xn_job *job)
{
	struct xn_audit *audit = xn_container_of(job, struct xn_audit, submit);

	audit->wanted = false;
	submit(audit);
}

/*
 * The turn's lines go together, and behind the events and replies that only wait for visibility, as
 * the database's sync does. Not before the turn's end: a job above the calls ends their transaction.
 */
static void on_turn_end(struct xn_turn_hook *hook)
{
	struct xn_audit *audit = xn_container_of(hook, struct xn_audit, hook);

	/* Else the batch's end, or the timer, has a turn of its own. */
	if (audit->wanted && !audit->batch.running &&
	    !(audit->batch_pending && xn_timer_is_armed(&audit->retry)))
		xn_loop_defer_as(audit->core->loop, &audit->submit, XN_PRIO_OPERATION, on_submit, 0);
}

void audit_submit(struct xn_audit *audit)
{
	audit->wanted = true;
}

static void on_trim_time(struct xn_timer *timer)
{
	struct xn_audit *audit = xn_container_of(timer, struct xn_audit, trim);

	audit->trim_due = true;
	audit_submit(audit);
	xn_timer_arm(audit->core->loop, timer, AUDIT_TRIM_US, on_trim_time);
}

void audit_writing_start(struct xn_audit *audit)
{
	audit->pool = xn_pool_new(audit->core->loop, "audit", 1);
	audit->hook.run = on_turn_end;
	xn_loop_add_turn_hook(audit->core->loop, &audit->hook);
	xn_timer_arm(audit->core->loop, &audit->trim, 0, on_trim_time);
}

/* What is left is written here: nobody is served any more, and the database stops after us. */
void audit_writing_stop(struct xn_audit *audit)
{
	struct audit_batch *batch = &audit->batch;
	int rc = 0;

	xn_loop_remove_turn_hook(&audit->hook);
	xn_job_cancel(&audit->submit);
	xn_timer_cancel(&audit->retry);
	xn_timer_cancel(&audit->anchor);
	xn_timer_cancel(&audit->trim);
	if (audit->pool) {
		xn_pool_stop(audit->pool);
		xn_timer_cancel(&audit->retry);
		xn_timer_cancel(&audit->anchor);
		for (int i = 0; i < 2 && rc == 0; i++) { /* the failed batch, if any; the queue */
			fill_batch(audit);
			batch->sync = true;
			batch->writer = &audit->writer;
			rc = run_batch(&batch->work);
			if (rc == 0 && batch->bytes.len)
				audit->written = batch->head;
			audit->batch_pending = rc < 0;
		}
		if (rc < 0)
			xn_log_error(audit->core->log, "audit", "the last lines are lost: %s",
				     strerror(-rc));
		else if (audit->written.seq != audit->anchored.seq)
			anchor(audit, &audit->written);
		xn_pool_free(audit->pool);
		audit->pool = NULL;
	}
	pass_waits(audit, -ECANCELED);
	xn_job_cancel(&audit->run_due);
	while (run_one_due(audit))
		;
	xn_buf_clear(&batch->entries);
	xn_buf_clear(&batch->bytes);
	xn_buf_clear(&audit->queue);
}
