/*
 * Pending signals and barriers; see updates.h. Sits between the watchers, which signal, and the
 * reconcilers, which read and write. Knows neither domains nor rows.
 *
 * An object's signals are numbered. `asked` is the last one made, `begun` what it was when the
 * running reconcile started, `done` what it was when the last finished one had started: a barrier
 * placed at `asked` passes when `done` reaches it.
 */
#include "modules/updates/updates.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/fair.h"

enum {
	MAX_KINDS = 8,
	MAX_RUNNING = 64,      /* refreshes; barriers start theirs at once */
	BURST = 16,            /* refreshes of one object that need not wait */
	REFILL_US = 25 * 1000, /* then one each: the longest lag of a noisy guest's rows */
	OVERDUE_US = 10 * 1000, /* refreshes that others have kept waiting for so long ... */
	OVERDUE_AT_ONCE = 8,	/* ... get a share of the loop: some each millisecond */
};

struct kind {
	const char *name;
	void (*reconcile)(struct xn_reconcile *r, const char *object, void *arg);
	void *arg;
};

struct xn_reconcile {
	struct xn_hnode node;
	struct xn_updates *updates;
	const struct kind *kind;
	char object[XN_UPDATES_OBJECT_MAX];
	uint64_t asked, begun, done;
	bool running, dropped;
	int64_t since_us, begun_since_us; /* first told of what is not, or is being, reconciled */
	bool inside;         /* its reconcile function is on the stack */
	struct xn_list link;	  /* in refreshes; an empty list elsewhere */
	struct xn_fair_item turn; /* in urgent */
	struct xn_list barriers;
	unsigned credit; /* of BURST */
	int64_t credited_us;
	struct xn_timer slow; /* waits for credit */
};

struct xn_updates {
	struct xn_core *core;
	struct kind kinds[MAX_KINDS];
	unsigned n_kinds;
	struct xn_hmap objects;
	struct xn_list refreshes;
	struct xn_fair urgent; /* whose barriers wait take turns by caller */
	struct xn_job run_refreshes, run_urgent;
	struct xn_timer overdue; /* armed while a refresh waits */
	unsigned running;
	uint64_t signals, coalesced;
	struct xn_histogram lag; /* from a signal to its end */
	struct xn_metrics_source metrics;
	/* How far rows were behind: how often so many milliseconds; the last one: or more. */
	uint64_t behind_ms[1001], n_behind;
};

static void run_refreshes(struct xn_job *job);
static void run_urgent(struct xn_job *job);

static uint64_t hash_of(const struct kind *kind, const char *object)
{
	return xn_hash_string(object) + (uint64_t)kind->name[0];
}

static const struct kind *kind_named(const struct xn_updates *updates, const char *name)
{
	for (unsigned i = 0; i < updates->n_kinds; i++)
		if (strcmp(updates->kinds[i].name, name) == 0)
			return &updates->kinds[i];
	return NULL;
}

static struct xn_reconcile *find(struct xn_updates *updates, const struct kind *kind,
				 const char *object)
{
	struct xn_hnode *node = xn_hmap_first_same(&updates->objects, hash_of(kind, object));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_reconcile *r = xn_container_of(node, struct xn_reconcile, node);

		if (r->kind == kind && strcmp(r->object, object) == 0)
			return r;
	}
	return NULL;
}

static struct xn_reconcile *find_or_add(struct xn_updates *updates, const struct kind *kind,
					const char *object)
{
	struct xn_reconcile *r = find(updates, kind, object);
	size_t len = strlen(object);

	if (r || len >= sizeof(r->object))
		return r;
	r = xn_calloc(1, sizeof(*r));
	r->updates = updates;
	r->kind = kind;
	memcpy(r->object, object, len + 1);
	r->credit = BURST;
	r->credited_us = xn_now_us(updates->core->loop);
	xn_list_init(&r->link);
	xn_list_init(&r->barriers);
	xn_hmap_insert(&updates->objects, &r->node, hash_of(kind, object));
	return r;
}

static void forget(struct xn_reconcile *r)
{
	xn_timer_cancel(&r->slow);
	xn_list_remove(&r->link);
	xn_fair_remove(&r->updates->urgent, &r->turn);
	xn_hmap_remove(&r->updates->objects, &r->node);
	free(r);
}

/* ---- signals ---- */

static void on_credit(struct xn_timer *timer);
static void on_overdue(struct xn_timer *timer);

/* Takes one credit; without any, arms the timer that brings the next. */
static bool take_credit(struct xn_reconcile *r)
{
	struct xn_loop *loop = r->updates->core->loop;
	int64_t earned = (xn_now_us(loop) - r->credited_us) / REFILL_US;

	if (earned >= BURST - (int64_t)r->credit) {
		r->credit = BURST;
		r->credited_us = xn_now_us(loop);
	} else {
		r->credit += (unsigned)earned;
		r->credited_us += earned * REFILL_US;
	}
	if (r->credit > 0) {
		r->credit--;
		return true;
	}
	xn_timer_arm(loop, &r->slow, r->credited_us + REFILL_US - xn_now_us(loop), on_credit);
	return false;
}

static void queue_refresh(struct xn_reconcile *r)
{
	struct xn_updates *updates = r->updates;

	if (!xn_list_empty(&r->link) || xn_fair_is_queued(&r->turn) ||
	    xn_timer_is_armed(&r->slow) || r->running)
		return;
	if (!take_credit(r))
		return;
	xn_list_push(&updates->refreshes, &r->link);
	if (!xn_timer_is_armed(&updates->overdue))
		xn_timer_arm(updates->core->loop, &updates->overdue, OVERDUE_US, on_overdue);
	xn_loop_defer(updates->core->loop, &updates->run_refreshes, XN_PRIO_REFRESH, run_refreshes);
}

static void on_credit(struct xn_timer *timer)
{
	queue_refresh(xn_container_of(timer, struct xn_reconcile, slow));
}

static void queue_urgent(struct xn_reconcile *r)
{
	struct xn_updates *updates = r->updates;
	const struct xn_barrier *first =
		xn_list_entry(r->barriers.next, struct xn_barrier, link);

	if (r->running || xn_fair_is_queued(&r->turn))
		return; /* goes on when this one is over */
	xn_timer_cancel(&r->slow);
	xn_list_remove(&r->link);
	xn_fair_put(&updates->urgent, &r->turn, first->caller, 0);
	xn_loop_defer_as(updates->core->loop, &updates->run_urgent, XN_PRIO_REPLY, run_urgent, 0);
}

void xn_updates_touch(struct xn_updates *updates, const char *kind_name, const char *object)
{
	const struct kind *kind = kind_named(updates, kind_name);
	struct xn_reconcile *r = kind ? find_or_add(updates, kind, object) : NULL;

	if (!r)
		return;
	updates->signals++;
	updates->coalesced += r->asked > r->begun;
	r->asked++;
	if (!r->since_us)
		r->since_us = xn_now_us(updates->core->loop);
	r->dropped = false;
	queue_refresh(r);
}

/* ---- running ---- */

static void begin(struct xn_reconcile *r)
{
	r->running = true;
	r->begun = r->asked;
	r->begun_since_us = r->since_us;
	r->since_us = 0;
	r->updates->running++;
	r->inside = true;
	r->kind->reconcile(r, r->object, r->kind->arg);
	r->inside = false;
	if (r->dropped && !r->running)
		forget(r);
}

static void run_refreshes(struct xn_job *job)
{
	struct xn_updates *updates = xn_container_of(job, struct xn_updates, run_refreshes);
	struct xn_list *link;

	/* One a call: operations and replies come in between. */
	if (updates->running >= MAX_RUNNING)
		return;
	link = xn_list_pop(&updates->refreshes);
	if (!link)
		return;
	begin(xn_list_entry(link, struct xn_reconcile, link));
	if (!xn_list_empty(&updates->refreshes))
		xn_loop_defer(updates->core->loop, job, XN_PRIO_REFRESH, run_refreshes);
}

/* Operations overtake refreshes, but not for ever: in a storm of starts the rows of those that
 * already run would say so only at its end. */
static void on_overdue(struct xn_timer *timer)
{
	struct xn_updates *updates = xn_container_of(timer, struct xn_updates, overdue);

	for (unsigned i = 0; i < OVERDUE_AT_ONCE && updates->running < MAX_RUNNING; i++) {
		struct xn_list *link = xn_list_pop(&updates->refreshes);

		if (!link)
			return;
		begin(xn_list_entry(link, struct xn_reconcile, link));
	}
	if (!xn_list_empty(&updates->refreshes))
		xn_timer_arm(updates->core->loop, timer, 1000, on_overdue);
}

static void run_urgent(struct xn_job *job)
{
	struct xn_updates *updates = xn_container_of(job, struct xn_updates, run_urgent);
	struct xn_fair_item *turn = xn_fair_take(&updates->urgent, NULL, NULL);

	if (!turn)
		return;
	begin(xn_container_of(turn, struct xn_reconcile, turn));
	if (updates->urgent.count > 0)
		xn_loop_defer_as(updates->core->loop, job, XN_PRIO_REPLY, run_urgent, 0);
}

static void pass_job(struct xn_job *job)
{
	struct xn_barrier *barrier = xn_container_of(job, struct xn_barrier, job);

	barrier->passed(barrier);
}

static void pass(struct xn_updates *updates, struct xn_barrier *barrier)
{
	xn_list_remove(&barrier->link);
	xn_loop_defer_as(updates->core->loop, &barrier->job, XN_PRIO_REPLY, pass_job,
			 barrier->caller);
}

static void pass_barriers(struct xn_reconcile *r)
{
	xn_list_each_safe(node, &r->barriers) {
		struct xn_barrier *barrier = xn_list_entry(node, struct xn_barrier, link);

		if (barrier->needs <= r->done || r->dropped)
			pass(r->updates, barrier);
	}
}

static void note_behind(struct xn_updates *updates, int64_t since_us)
{
	size_t last = XN_ARRAY_SIZE(updates->behind_ms) - 1;
	int64_t ms = (xn_now_us(updates->core->loop) - since_us + 999) / 1000;

	xn_histogram_observe(&updates->lag, xn_now_us(updates->core->loop) - since_us);
	updates->behind_ms[ms < 0 ? 0 : (size_t)ms < last ? (size_t)ms : last]++;
	updates->n_behind++;
}

void xn_updates_done(struct xn_reconcile *r)
{
	struct xn_updates *updates = r->updates;

	if (r->begun_since_us)
		note_behind(updates, r->begun_since_us);
	r->running = false;
	r->done = r->begun;
	updates->running--;
	pass_barriers(r);
	if (!xn_list_empty(&updates->refreshes))
		xn_loop_defer(updates->core->loop, &updates->run_refreshes, XN_PRIO_REFRESH,
			      run_refreshes);
	if (r->dropped) {
		if (!r->inside)
			forget(r);
		return;
	}
	if (!xn_list_empty(&r->barriers))
		queue_urgent(r);
	else if (r->asked > r->done)
		queue_refresh(r);
}

/* ---- barriers, dropping ---- */

void xn_updates_barrier(struct xn_updates *updates, struct xn_barrier *barrier,
			const char *kind_name, const char *object,
			void (*passed)(struct xn_barrier *barrier), void *arg)
{
	const struct kind *kind = kind_named(updates, kind_name);
	struct xn_reconcile *r = kind ? find(updates, kind, object) : NULL;

	*barrier = (struct xn_barrier){.passed = passed, .arg = arg};
	xn_list_init(&barrier->link);
	if (!r || r->done >= r->asked) {
		pass(updates, barrier);
		return;
	}
	barrier->needs = r->asked;
	barrier->caller = xn_loop_caller(updates->core->loop);
	xn_list_push(&r->barriers, &barrier->link);
	queue_urgent(r);
}

void xn_updates_barrier_cancel(struct xn_barrier *barrier)
{
	if (!barrier->passed)
		return;
	xn_list_remove(&barrier->link);
	xn_job_cancel(&barrier->job);
}

void xn_updates_drop(struct xn_updates *updates, const char *kind_name, const char *object)
{
	const struct kind *kind = kind_named(updates, kind_name);
	struct xn_reconcile *r = kind ? find(updates, kind, object) : NULL;

	if (!r)
		return;
	r->dropped = true;
	pass_barriers(r);
	xn_timer_cancel(&r->slow);
	xn_list_remove(&r->link);
	xn_fair_remove(&updates->urgent, &r->turn);
	if (!r->running && !r->inside)
		forget(r);
}

unsigned xn_updates_pending(const struct xn_updates *updates)
{
	unsigned n = 0;
	struct xn_hnode *node = xn_hmap_first(&updates->objects);

	for (; node; node = xn_hmap_next(&updates->objects, node)) {
		struct xn_reconcile *r = xn_container_of(node, struct xn_reconcile, node);

		n += r->asked > r->done;
	}
	return n;
}

unsigned xn_updates_barriers(const struct xn_updates *updates)
{
	unsigned n = 0;
	struct xn_hnode *node = xn_hmap_first(&updates->objects);

	for (; node; node = xn_hmap_next(&updates->objects, node)) {
		struct xn_reconcile *r = xn_container_of(node, struct xn_reconcile, node);

		xn_list_each(link, &r->barriers)
			n++;
	}
	return n;
}

unsigned xn_updates_running(const struct xn_updates *updates)
{
	return updates->running;
}

/* ---- module ---- */

void xn_updates_register(struct xn_updates *updates, const char *kind,
			 void (*reconcile)(struct xn_reconcile *r, const char *object, void *arg),
			 void *arg)
{
	if (updates->n_kinds == MAX_KINDS)
		abort(); /* kinds are code, not data */
	updates->kinds[updates->n_kinds++] =
		(struct kind){.name = kind, .reconcile = reconcile, .arg = arg};
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_updates *u = xn_container_of(source, struct xn_updates, metrics);

	xn_metrics_counter(page, "xenolith_updates_signals", "",
			   "Signals that an object may have changed.", u->signals);
	xn_metrics_counter(page, "xenolith_updates_coalesced", "",
			   "Signals that came while one of the same object waited.", u->coalesced);
	xn_metrics_gauge(page, "xenolith_updates_pending", "",
			 "Objects with a signal that is not reconciled.", xn_updates_pending(u));
	xn_metrics_gauge(page, "xenolith_updates_running", "", "Objects being reconciled.",
			 u->running);
	xn_metrics_gauge(page, "xenolith_updates_barriers", "",
			 "Operations' ends that wait for the signals before them.",
			 xn_updates_barriers(u));
	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_updates_behind_seconds", "seconds",
			  "Time from a signal until the rows say so.");
	xn_metrics_histogram(page, &u->lag);
	return 0;
}

static int updates_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_updates *updates = xn_calloc(1, sizeof(*updates));

	updates->core = core;
	xn_list_init(&updates->refreshes);
	xn_fair_init(&updates->urgent);
	updates->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &updates->metrics);
	*state_out = updates;
	return 0;
}

/* The time within which so many of a thousand were done, in milliseconds. */
static size_t behind_at(const struct xn_updates *updates, unsigned of_1000)
{
	uint64_t seen = 0;
	size_t ms = 0;

	for (; ms < XN_ARRAY_SIZE(updates->behind_ms) - 1; ms++) {
		seen += updates->behind_ms[ms];
		if (seen * 1000 >= updates->n_behind * of_1000)
			break;
	}
	return ms;
}

static void tell_behind(const struct xn_updates *updates)
{
	if (updates->n_behind > 0)
		xn_log_info(updates->core->log, "updates",
			    "rows followed what changed %" PRIu64 " times: half of them within "
			    "%zu ms, 99 of 100 within %zu ms, all within %zu ms",
			    updates->n_behind, behind_at(updates, 500), behind_at(updates, 990),
			    behind_at(updates, 1000));
}

static void updates_stop(void *state)
{
	struct xn_updates *updates = state;
	struct xn_hnode *node, *next;

	tell_behind(updates);
	xn_metrics_remove(&updates->metrics);
	xn_job_cancel(&updates->run_refreshes);
	xn_job_cancel(&updates->run_urgent);
	xn_timer_cancel(&updates->overdue);
	for (node = xn_hmap_first(&updates->objects); node; node = next) {
		next = xn_hmap_next(&updates->objects, node);
		forget(xn_container_of(node, struct xn_reconcile, node));
	}
	xn_hmap_clear(&updates->objects);
	xn_fair_clear(&updates->urgent);
	free(updates);
}

const struct xn_module xn_updates_module = {
	.name = "updates",
	.init = updates_init,
	.stop = updates_stop,
};
