/*
 * The end of a turn. Its transaction goes to the journal with one write, then its changes are
 * visible; a sync by the store's worker makes them durable. What waits for either mark waits in
 * wait.c.
 *
 * When the store fails, the turn that could not be journaled is rolled back, so that memory is
 * never ahead of the journal, and whoever waited for it or for durability is told. Changes are then
 * refused turn by turn until the store has proven that it works again.
 */
#include "modules/db/db_internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- the store failed ---- */

static void set_durable(struct xn_db *db, uint64_t transaction, uint64_t generation)
{
	db->durable = transaction;
	db->durable_generation = generation;
	xn_laters_apply(db);
	xn_waits_pass(db);
}

static void on_reopened(int rc, void *arg);

static void on_reopen_time(struct xn_timer *timer)
{
	struct xn_db *db = xn_container_of(timer, struct xn_db, reopen);

	db->store->ops->reopen(db->store, on_reopened, db);
}

static void on_reopened(int rc, void *arg)
{
	struct xn_db *db = arg;
	struct xn_ev_db_failed works = {0};

	if (rc < 0) {
		xn_timer_arm(db->core->loop, &db->reopen, XN_REOPEN_EVERY_US, on_reopen_time);
		return;
	}
	xn_log_warn(db->core->log, "db", "the store works again: changes are accepted");
	db->error = 0;
	xn_publish_db_failed(db->core->bus, &works);
	set_durable(db, db->appended, db->turn.first);
}

static void on_store_failure(struct xn_db *db, int rc)
{
	struct xn_ev_db_failed ev = {rc};

	if (db->error)
		return;
	db->error = rc;
	db->metrics.failures++;
	xn_log_error(db->core->log, "db", "the store failed (%s): changes are refused",
		     strerror(-rc));
	xn_publish_db_failed(db->core->bus, &ev);
	xn_timer_cancel(&db->lazy_sync);
	xn_timer_arm(db->core->loop, &db->reopen, XN_REOPEN_EVERY_US, on_reopen_time);
	xn_waits_pass(db);
}

int xn_db_writable(const struct xn_db *db)
{
	return db->error;
}

int xn_db_check_writable(const struct xn_db *db, struct xn_error *err)
{
	return db->error ? xn_db_error(db->error, err) : 0;
}

int xn_db_error(int neg_errno, struct xn_error *err)
{
	return xn_error_from_errno(err, neg_errno, "the database refuses changes");
}

/* ---- sync ---- */

static void on_synced(int rc, void *arg);

void xn_commit_sync(struct xn_db *db)
{
	if (db->syncing || db->error || db->durable == db->appended)
		return;
	xn_timer_cancel(&db->lazy_sync);
	db->syncing = db->appended;
	db->syncing_generation = db->turn.first;
	db->metrics.sync_began_us = xn_now_us(db->core->loop);
	db->store->ops->sync(db->store, on_synced, db);
}

static void on_lazy_sync(struct xn_timer *timer)
{
	xn_commit_sync(xn_container_of(timer, struct xn_db, lazy_sync));
}

/* Somebody waits for durability: now; else soon. */
static void sync_as_wanted(struct xn_db *db)
{
	if (db->durable == db->appended || db->syncing || db->error)
		return;
	if (!xn_list_empty(&db->durable_waits) || !xn_list_empty(&db->laters))
		xn_commit_sync(db);
	else if (!xn_timer_is_armed(&db->lazy_sync))
		xn_timer_arm(db->core->loop, &db->lazy_sync, XN_LAZY_SYNC_US, on_lazy_sync);
}

static void on_sync_job(struct xn_job *job)
{
	sync_as_wanted(xn_container_of(job, struct xn_db, sync));
}

static void on_synced(int rc, void *arg)
{
	struct xn_db *db = arg;
	uint64_t transaction = db->syncing;

	db->syncing = 0;
	db->metrics.syncs++;
	xn_histogram_observe(&db->metrics.sync_times,
			     xn_now_us(db->core->loop) - db->metrics.sync_began_us);
	if (rc < 0) {
		on_store_failure(db, rc);
		return;
	}
	if (db->error)
		return; /* a later append failed; the reopening reports what is durable */
	set_durable(db, transaction, db->syncing_generation);
	sync_as_wanted(db);
}

uint64_t xn_db_committed_generation(const struct xn_db *db)
{
	return db->turn.first;
}

uint64_t xn_db_durable_generation(const struct xn_db *db)
{
	return db->durable_generation;
}

/* ---- checkpoints ---- */

static void on_checkpoint_time(struct xn_timer *timer)
{
	struct xn_db *db = xn_container_of(timer, struct xn_db, checkpoint);

	db->store->ops->checkpoint(db->store);
	/* One that runs may end before what came since, and there may be no turn that asks again. */
	if (db->store->ops->backlog(db->store))
		xn_timer_arm(db->core->loop, timer, XN_CHECKPOINT_AFTER_US, on_checkpoint_time);
}

uint64_t xn_db_backlog(const struct xn_db *db)
{
	return db->store->ops->backlog(db->store);
}

void xn_commit_plan_checkpoint(struct xn_db *db)
{
	if (db->store->ops->backlog(db->store) >= XN_CHECKPOINT_BACKLOG)
		db->store->ops->checkpoint(db->store);
	if (!xn_timer_is_armed(&db->checkpoint))
		xn_timer_arm(db->core->loop, &db->checkpoint, XN_CHECKPOINT_AFTER_US,
			     on_checkpoint_time);
}

/* ---- the end of a turn ---- */

static void close_transaction(struct xn_db *db)
{
	struct xn_tx_head head = {.wall_us = xn_wall_us(db->core->loop),
				  .first = db->turn.first,
				  .next = db->generation};
	struct xn_buf bytes = {0};

	xn_put_tx_head(&bytes, &head);
	memcpy(db->turn.bytes.data, bytes.data, bytes.len);
	xn_buf_clear(&bytes);
}

static void accept_turn(struct xn_db *db)
{
	struct xn_ev_db_committed ev = {db->generation};

	db->appended++;
	db->metrics.bytes += db->turn.bytes.len;
	xn_turn_end(db);
	xn_publish_db_committed(db->core->bus, &ev);
	xn_waits_turn_accepted(db);
	/* Behind the replies and events that only wait for visibility: waking the worker costs them
	 * a context switch, the sync loses a few microseconds of several hundred. */
	xn_loop_defer(db->core->loop, &db->sync, XN_PRIO_OPERATION, on_sync_job);
	xn_commit_plan_checkpoint(db);
}

/* Who was told of a turn too large for the journal may wait for a store that works again, and it
 * has never failed. Not at once: what is too large itself is tried again, too. */
static void on_look_again_time(struct xn_timer *timer)
{
	struct xn_db *db = xn_container_of(timer, struct xn_db, reopen);
	struct xn_ev_db_failed works = {0};

	if (xn_waits_are_due(db)) {
		xn_timer_arm(db->core->loop, timer, XN_REOPEN_EVERY_US, on_look_again_time);
		return;
	}
	xn_publish_db_failed(db->core->bus, &works);
	xn_laters_apply(db);
}

static void refuse_alone(struct xn_db *db)
{
	struct xn_ev_db_failed works = {0};

	xn_publish_db_failed(db->core->bus, &works);
	xn_timer_arm(db->core->loop, &db->reopen, XN_REOPEN_EVERY_US, on_look_again_time);
}

static void refuse_turn(struct xn_db *db, int rc)
{
	db->metrics.refused++;
	xn_turn_roll_back(db);
	if (rc == -EMSGSIZE)
		refuse_alone(db);
	else
		on_store_failure(db, rc);
	xn_waits_turn_refused(db, rc);
}

void xn_commit_turn(struct xn_db *db)
{
	int rc = db->error;

	if (!db->turn.bytes.len)
		return;
	close_transaction(db);
	if (!rc && db->turn.bytes.len > XN_TX_MAX)
		rc = -EMSGSIZE;
	if (!rc)
		rc = db->store->ops->append(db->store, db->turn.bytes.data, db->turn.bytes.len);
	if (rc < 0)
		refuse_turn(db, rc);
	else
		accept_turn(db);
}

void xn_db_bound_turn(struct xn_db *db)
{
	if (db->is_open && db->turn.bytes.len > XN_TURN_LARGE)
		xn_commit_turn(db);
}

static void on_turn_end(struct xn_turn_hook *hook)
{
	struct xn_db *db = xn_container_of(hook, struct xn_db, hook);

	if (db->is_open)
		xn_commit_turn(db);
}

void xn_commit_init(struct xn_db *db)
{
	xn_waits_init(db);
	db->hook.run = on_turn_end;
	xn_loop_add_turn_hook(db->core->loop, &db->hook);
}

void xn_commit_clear(struct xn_db *db)
{
	xn_loop_remove_turn_hook(&db->hook);
	xn_job_cancel(&db->sync);
	xn_timer_cancel(&db->lazy_sync);
	xn_timer_cancel(&db->checkpoint);
	xn_timer_cancel(&db->reopen);
	xn_waits_clear(db);
}
