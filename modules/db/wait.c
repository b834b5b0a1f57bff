/*
 * Those who wait for a mark, and changes that wait for their sync. What is due runs from one
 * deferred call, a few at a time, so that a thousand replies are no stall.
 */
#include "modules/db/db_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { BATCH = 32 };

static void move_all(struct xn_list *from, struct xn_list *to)
{
	struct xn_list *link;

	while ((link = xn_list_pop(from)))
		xn_list_push(to, link);
}

/* ---- what is due ---- */

void xn_later_free(struct xn_later *later)
{
	xn_list_remove(&later->link);
	xn_value_unref(later->fields);
	free(later);
}

static void end_later(struct xn_later *later)
{
	void (*done)(int rc, void *arg) = later->done;
	void *arg = later->arg;
	int rc = later->rc;

	xn_later_free(later);
	if (done)
		done(rc, arg);
}

static bool run_one_due(struct xn_db *db)
{
	struct xn_list *link;

	if (!xn_list_empty(&db->ended_laters)) {
		end_later(xn_list_entry(db->ended_laters.next, struct xn_later, link));
		return true;
	}
	link = xn_list_pop(&db->due_waits);
	if (link) {
		struct xn_db_wait *wait = xn_list_entry(link, struct xn_db_wait, link);

		wait->run(wait, wait->rc);
	}
	return link != NULL;
}

static void on_due(struct xn_job *job)
{
	struct xn_db *db = xn_container_of(job, struct xn_db, due);

	for (int i = 0; i < BATCH; i++)
		if (!run_one_due(db))
			return;
	xn_loop_defer(db->core->loop, job, XN_PRIO_REPLY, on_due);
}

bool xn_waits_are_due(const struct xn_db *db)
{
	return !xn_list_empty(&db->due_waits) || !xn_list_empty(&db->ended_laters);
}

static void run_due(struct xn_db *db)
{
	if (xn_waits_are_due(db))
		xn_loop_defer(db->core->loop, &db->due, XN_PRIO_REPLY, on_due);
}

/* ---- waits ---- */

static void pass_one(struct xn_db *db, struct xn_db_wait *wait, int rc)
{
	wait->rc = rc;
	xn_list_remove(&wait->link);
	xn_list_push(&db->due_waits, &wait->link);
}

/* Those for transactions up to @until are due with @rc; a list is in the order of transactions. */
static void pass(struct xn_db *db, struct xn_list *waits, uint64_t until, int rc)
{
	while (!xn_list_empty(waits)) {
		struct xn_db_wait *wait = xn_list_entry(waits->next, struct xn_db_wait, link);

		if (wait->transaction > until)
			break;
		pass_one(db, wait, rc);
	}
}

/* Those for a transaction that will not be. The ones before may be in the journal of a store that
 * works, with their sync under way. */
static void pass_behind(struct xn_db *db, struct xn_list *waits, uint64_t appended, int rc)
{
	xn_list_each_safe(link, waits) {
		struct xn_db_wait *wait = xn_list_entry(link, struct xn_db_wait, link);

		if (wait->transaction > appended)
			pass_one(db, wait, rc);
	}
}

void xn_waits_pass(struct xn_db *db)
{
	pass(db, &db->visible_waits, db->appended, 0);
	pass(db, &db->durable_waits, db->durable, 0);
	if (db->error) /* what was appended since may not survive */
		pass(db, &db->durable_waits, db->appended, db->error);
	run_due(db);
}

static void add_wait(struct xn_db *db, struct xn_list *list, struct xn_db_wait *wait,
		     void (*run)(struct xn_db_wait *wait, int rc))
{
	wait->transaction = db->appended + (db->turn.bytes.len ? 1 : 0);
	wait->run = run;
	xn_list_push(list, &wait->link);
	xn_waits_pass(db);
}

void xn_db_when_visible(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc))
{
	add_wait(db, &db->visible_waits, wait, run);
}

void xn_db_when_durable(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc))
{
	add_wait(db, &db->durable_waits, wait, run);
	if (wait->transaction <= db->appended) /* else the turn's end asks for the sync */
		xn_commit_sync(db);
}

void xn_db_wait_cancel(struct xn_db_wait *wait)
{
	if (wait->link.next)
		xn_list_remove(&wait->link);
}

/* ---- changes that wait ---- */

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
	memcpy(later->origin, db->origin, sizeof(later->origin)); /* that was written with it */
	xn_list_push(&db->turn.new_laters, &later->link);
}

static void apply(struct xn_db *db, struct xn_later *later)
{
	struct xn_row *row = xn_db_get(db, later->class_id, later->ref);
	const struct xn_class *cls = &xn_classes[later->class_id];
	const struct xn_db_origin origin = {later->origin[0], later->origin[1], later->origin[2]};

	xn_db_set_origin(db, &origin);
	for (size_t i = 0; row && i < xn_map_len(later->fields); i++)
		xn_db_set(db, row, xn_field_find(cls, xn_map_key_at(later->fields, i)),
			  xn_value_ref(xn_map_at(later->fields, i)));
	/* In the same transaction: after a crash it is applied wholly or again. */
	xn_turn_put_later_done(db, later->id);
	later->rc = row ? 0 : -ENOENT;
	xn_list_remove(&later->link);
	xn_list_push(&db->turn.applied_laters, &later->link);
}

void xn_laters_apply(struct xn_db *db)
{
	while (!xn_list_empty(&db->laters)) {
		struct xn_later *later = xn_list_entry(db->laters.next, struct xn_later, link);

		if (later->transaction > db->durable)
			break;
		apply(db, later);
	}
	xn_db_set_origin(db, NULL);
}

/* ---- the end of a turn ---- */

void xn_waits_turn_accepted(struct xn_db *db)
{
	xn_list_each(link, &db->turn.new_laters)
		xn_list_entry(link, struct xn_later, link)->transaction = db->appended;
	move_all(&db->turn.new_laters, &db->laters);
	move_all(&db->turn.applied_laters, &db->ended_laters);
	xn_waits_pass(db);
}

void xn_waits_turn_refused(struct xn_db *db, int rc)
{
	xn_list_each(link, &db->turn.new_laters)
		xn_list_entry(link, struct xn_later, link)->rc = rc;
	move_all(&db->turn.new_laters, &db->ended_laters);
	/* These are in the journal: applied again when the store works, before those behind them.
	 */
	move_all(&db->laters, &db->turn.applied_laters);
	move_all(&db->turn.applied_laters, &db->laters);
	xn_waits_pass(db);
	pass_behind(db, &db->visible_waits, db->appended, rc);
	pass_behind(db, &db->durable_waits, db->appended, rc);
	run_due(db);
}

/* ---- life ---- */

void xn_waits_init(struct xn_db *db)
{
	xn_list_init(&db->visible_waits);
	xn_list_init(&db->durable_waits);
	xn_list_init(&db->due_waits);
	xn_list_init(&db->laters);
	xn_list_init(&db->ended_laters);
	xn_list_init(&db->turn.new_laters);
	xn_list_init(&db->turn.applied_laters);
}

void xn_waits_clear(struct xn_db *db)
{
	struct xn_list *link;

	xn_job_cancel(&db->due);
	/* Those who wait are stopped already and will not be called. */
	while ((link = xn_list_pop(&db->visible_waits)) ||
	       (link = xn_list_pop(&db->durable_waits)) || (link = xn_list_pop(&db->due_waits)))
		;
	move_all(&db->turn.new_laters, &db->laters);
	move_all(&db->turn.applied_laters, &db->laters);
	move_all(&db->ended_laters, &db->laters);
	while (!xn_list_empty(&db->laters))
		xn_later_free(xn_list_entry(db->laters.next, struct xn_later, link));
}
