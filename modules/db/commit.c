/*
 * The end of a turn. Its transaction goes to the journal with one write, then its changes are
 * visible; a sync by the store's worker makes them durable. What waits for either mark waits here, as
 * do the changes of xn_db_set_later().
 *
 * When the store fails, the turn that could not be journaled is rolled back, so that memory is never
 * ahead of the journal, and whoever waited for it or for durability is told. Changes are then refused
 * turn by turn until the store has proven that it works again.
 */
#include "modules/db/db_internal.h"

#include <errno.h>
#include <stdlib.h>

static void sync_now(struct xn_db *db);

/* ---- waits ---- */

static void add_wait(struct xn_db *db, struct xn_list *list, struct xn_db_wait *wait,
		     void (*run)(struct xn_db_wait *wait, int rc))
{
	wait->transaction = db->appended + (db->turn.bytes.len ? 1 : 0);
	wait->run = run;
	xn_list_push(list, &wait->link);
}

/* Runs those for transactions in (after, until]; the list is in that order. */
static void run_waits(struct xn_list *list, uint64_t until, int rc)
{
	while (!xn_list_empty(list)) {
		struct xn_db_wait *wait = xn_list_entry(list->next, struct xn_db_wait, link);

		if (wait->transaction > until)
			break;
		xn_list_remove(&wait->link);
		wait->run(wait, rc);
	}
}

void xn_later_free(struct xn_later *later)
{
	xn_list_remove(&later->link);
	xn_value_unref(later->fields);
	free(later);
}

static void end_later(struct xn_later *later, int rc)
{
	void (*done)(int rc, void *arg) = later->done;
	void *arg = later->arg;

	xn_later_free(later);
	if (done)
		done(rc, arg);
}

static void on_release(struct xn_job *job)
{
	struct xn_db *db = xn_container_of(job, struct xn_db, release);

	run_waits(&db->visible_waits, db->appended, 0);
	run_waits(&db->durable_waits, db->durable, 0);
	if (db->error)
		run_waits(&db->durable_waits, db->appended, db->error);
	run_waits(&db->refused_waits, UINT64_MAX, db->refused_rc);
	while (!xn_list_empty(&db->refused_laters))
		end_later(xn_list_entry(db->refused_laters.next, struct xn_later, link),
			  db->refused_rc);
}

static void release_later(struct xn_db *db)
{
	xn_loop_defer(db->core->loop, &db->release, XN_PRIO_REPLY, on_release);
}

void xn_db_when_visible(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc))
{
	add_wait(db, &db->visible_waits, wait, run);
	if (wait->transaction <= db->appended)
		release_later(db);
}

void xn_db_when_durable(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc))
{
	add_wait(db, &db->durable_waits, wait, run);
	if (wait->transaction > db->appended)
		return; /* the turn's end starts the sync */
	if (wait->transaction <= db->durable || db->error)
		release_later(db);
	else
		sync_now(db);
}

void xn_db_wait_cancel(struct xn_db_wait *wait)
{
	if (wait->link.next)
		xn_list_remove(&wait->link);
}

/* ---- changes that wait for their sync ---- */

void xn_db_set_later(struct xn_db *db, const char *ref, int class_id, struct xn_value *fields,
		     void (*done)(int rc, void *arg), void *arg)
{
	struct xn_later *later = xn_calloc(1, sizeof(*later));

	memcpy(later->ref, ref, strnlen(ref, sizeof(later->ref) - 1));
	later->class_id = class_id;
	later->fields = fields;
	later->done = done;
	later->arg = arg;
	later->id = db->next_later++;
	xn_turn_put_later(db, later);
	xn_list_push(&db->turn.new_laters, &later->link);
}

static void apply_later(struct xn_db *db, struct xn_later *later)
{
	struct xn_row *row = xn_db_get(db, later->class_id, later->ref);
	const struct xn_class *cls = &xn_classes[later->class_id];

	for (size_t i = 0; row && i < xn_map_len(later->fields); i++)
		xn_db_set(db, row, xn_field_find(cls, xn_map_key_at(later->fields, i)),
			  xn_value_ref(xn_map_at(later->fields, i)));
	/* In the same transaction: after a crash it is applied wholly or again. */
	xn_turn_put_later_done(db, later->id);
	end_later(later, row ? 0 : -ENOENT);
}

static void apply_laters(struct xn_db *db)
{
	while (!xn_list_empty(&db->laters)) {
		struct xn_later *later = xn_list_entry(db->laters.next, struct xn_later, link);

		if (later->transaction > db->durable)
			break;
		apply_later(db, later);
	}
}

void xn_commit_recover(struct xn_db *db)
{
	apply_laters(db); /* .transaction is 0 */
}

/* ---- the store failed ---- */

static void set_durable(struct xn_db *db, uint64_t transaction, uint64_t generation)
{
	db->durable = transaction;
	db->durable_generation = generation;
	apply_laters(db);
	run_waits(&db->durable_waits, db->durable, 0);
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
	xn_log_error(db->core->log, "db", "the store failed (%s): changes are refused",
		     strerror(-rc));
	xn_publish_db_failed(db->core->bus, &ev);
	xn_timer_cancel(&db->lazy_sync);
	xn_timer_arm(db->core->loop, &db->reopen, XN_REOPEN_EVERY_US, on_reopen_time);
	release_later(db);
}

int xn_db_writable(const struct xn_db *db)
{
	return db->error;
}

/* ---- sync ---- */

static void on_synced(int rc, void *arg);

static void sync_now(struct xn_db *db)
{
	if (db->syncing || db->error || db->durable == db->appended)
		return;
	xn_timer_cancel(&db->lazy_sync);
	db->syncing = db->appended;
	db->syncing_generation = db->turn.first;
	db->store->ops->sync(db->store, on_synced, db);
}

static void on_lazy_sync(struct xn_timer *timer)
{
	sync_now(xn_container_of(timer, struct xn_db, lazy_sync));
}

/* Somebody waits for durability: now; else soon. */
static void sync_as_wanted(struct xn_db *db)
{
	if (db->durable == db->appended || db->syncing || db->error)
		return;
	if (!xn_list_empty(&db->durable_waits) || !xn_list_empty(&db->laters))
		sync_now(db);
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
	if (rc < 0) {
		on_store_failure(db, rc);
		return;
	}
	if (db->error)
		return; /* a later append failed; the reopening reports what is durable */
	set_durable(db, transaction, db->syncing_generation);
	sync_as_wanted(db);
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
}

static void plan_checkpoint(struct xn_db *db)
{
	if (db->store->ops->backlog(db->store) >= XN_CHECKPOINT_BACKLOG)
		db->store->ops->checkpoint(db->store);
	else if (!xn_timer_is_armed(&db->checkpoint))
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
	while (!xn_list_empty(&db->turn.new_laters)) {
		struct xn_list *link = xn_list_pop(&db->turn.new_laters);

		xn_list_entry(link, struct xn_later, link)->transaction = db->appended;
		xn_list_push(&db->laters, link);
	}
	xn_turn_end(db);
	xn_publish_db_committed(db->core->bus, &ev);
	if (!xn_list_empty(&db->visible_waits))
		release_later(db);
	/* Behind the replies and events that only wait for visibility: waking the worker costs them a
	 * context switch, the sync loses a few microseconds of several hundred. */
	xn_loop_defer(db->core->loop, &db->sync, XN_PRIO_OPERATION, on_sync_job);
	plan_checkpoint(db);
}

static void move_all(struct xn_list *from, struct xn_list *to)
{
	struct xn_list *link;

	while ((link = xn_list_pop(from)))
		xn_list_push(to, link);
}

/* Waits for this turn are told so by on_release(). */
static void refuse_waits(struct xn_db *db, struct xn_list *waits)
{
	xn_list_each_safe(link, waits) {
		if (xn_list_entry(link, struct xn_db_wait, link)->transaction <= db->appended)
			continue;
		xn_list_remove(link);
		xn_list_push(&db->refused_waits, link);
	}
}

static void refuse_turn(struct xn_db *db, int rc)
{
	move_all(&db->turn.new_laters, &db->refused_laters);
	xn_turn_roll_back(db);
	refuse_waits(db, &db->visible_waits);
	refuse_waits(db, &db->durable_waits);
	db->refused_rc = rc;
	release_later(db);
	on_store_failure(db, rc);
}

void xn_commit_turn(struct xn_db *db)
{
	int rc = db->error;

	if (!db->turn.bytes.len)
		return;
	close_transaction(db);
	if (!rc)
		rc = db->store->ops->append(db->store, db->turn.bytes.data, db->turn.bytes.len);
	if (rc < 0)
		refuse_turn(db, rc);
	else
		accept_turn(db);
}

static void on_turn_end(struct xn_turn_hook *hook)
{
	struct xn_db *db = xn_container_of(hook, struct xn_db, hook);

	if (db->is_open)
		xn_commit_turn(db);
}

void xn_commit_init(struct xn_db *db)
{
	xn_list_init(&db->visible_waits);
	xn_list_init(&db->durable_waits);
	xn_list_init(&db->refused_waits);
	xn_list_init(&db->laters);
	xn_list_init(&db->refused_laters);
	xn_list_init(&db->turn.new_laters);
	db->hook.run = on_turn_end;
	xn_loop_add_turn_hook(db->core->loop, &db->hook);
}

void xn_commit_clear(struct xn_db *db)
{
	struct xn_list *link;

	xn_loop_remove_turn_hook(&db->hook);
	xn_job_cancel(&db->release);
	xn_job_cancel(&db->sync);
	xn_timer_cancel(&db->lazy_sync);
	xn_timer_cancel(&db->checkpoint);
	xn_timer_cancel(&db->reopen);
	/* Those who wait are stopped already and will not be called. */
	while ((link = xn_list_pop(&db->visible_waits)) ||
	       (link = xn_list_pop(&db->durable_waits)) ||
	       (link = xn_list_pop(&db->refused_waits)))
		;
	move_all(&db->turn.new_laters, &db->laters);
	move_all(&db->refused_laters, &db->laters);
	while (!xn_list_empty(&db->laters))
		xn_later_free(xn_list_entry(db->laters.next, struct xn_later, link));
}
