/*
 * event.from and event.inject. A call that finds nothing waits on its subscription. A commit wakes
 * the subscriptions that its changes match; their waiters get one shared selection, encoded once.
 */
#include "modules/event/event_internal.h"

#include <stdlib.h>

static const double LONGEST_S = 86400.0, TOO_LONG_S = 104 * 86400.0;

struct waiter {
	struct xn_list link;        /* subscription.waiters, or .asked; or xn_events.expired */
	struct xn_list client_link; /* client.waiters */
	struct xn_events *events;
	struct client *client;
	struct subscription *sub;
	struct xn_call *call;
	uint64_t since; /* nothing wanted has a stamp between the client's token and this one */
	struct xn_timer timer;
};

/* What came up to @stamp was held against the waiter and did not concern it. */
static void stand_at(struct waiter *w, uint64_t stamp)
{
	if (stamp > w->events->committed)
		stamp = w->events->committed;
	if (w->since < stamp)
		w->since = stamp;
}

/* ---- ends of waiting ---- */

static void waiter_free(struct waiter *w)
{
	struct xn_events *events = w->events;

	xn_timer_cancel(&w->timer);
	xn_list_remove(&w->link);
	xn_list_remove(&w->client_link);
	client_end_wait(events, w->client);
	client_release(events, w->client);
	subscription_unindex_idle(&events->subscriptions, w->sub);
	subscription_unref(&events->subscriptions, w->sub);
	events->n_waiters--;
	free(w);
}

static struct xn_call *waiter_release_call(struct waiter *w)
{
	struct xn_call *call = w->call;

	call->on_cancel = NULL;
	call->waiting = NULL;
	waiter_free(w);
	return call;
}

static void fail_waiter(struct waiter *w, const char *code, const char *param)
{
	struct xn_error err = {0};

	xn_error_set(&err, code, param);
	xn_call_fail(waiter_release_call(w), &err);
}

static void on_call_cancelled(struct xn_call *call)
{
	fail_waiter(call->waiting, XN_ERR_TASK_CANCELLED, call->task);
}

static void fail_ended(struct waiter *w)
{
	const char *secret = w->call->secret;
	char session[XN_REF_LEN];

	memcpy(session, w->client->session, sizeof(session)); /* the waiter may free the client */
	fail_waiter(w, XN_ERR_SESSION_INVALID, *secret ? secret : session);
}

unsigned from_end_one(struct client *client)
{
	struct waiter *w;
	unsigned cost;

	if (xn_list_empty(&client->waiters))
		return 0;
	w = xn_list_entry(client->waiters.next, struct waiter, client_link);
	cost = wait_cost(w->sub);
	fail_ended(w);
	return cost;
}

/* ---- answers ---- */

/* The subscription's waiters stand at the same stamp, as a rule: one selection serves all. */
static struct selection *shared_selection(struct xn_events *events, struct subscription *sub,
					  uint64_t since)
{
	struct selection *sel = sub->latest;

	if (sel && sel->since == since && sel->upto == latest_stamp(events->db))
		return sel;
	selection_unref(sel);
	sub->latest = selection_new(events->core, events->db, sub, since);
	return sub->latest;
}

static void answer(struct waiter *w, struct selection *sel)
{
	struct xn_value *result = selection_result(sel);

	xn_call_reply(waiter_release_call(w), result);
}

/* Its time is over: it is told what there is. */
static void answer_expired(struct waiter *w)
{
	struct selection *sel = selection_new(w->events->core, w->events->db, w->sub, w->since);

	answer(w, sel);
	selection_unref(sel);
}

static void on_serve(struct xn_job *job);

/* The loop runs all timers that are due in one turn, and thousands may be. */
static void on_timeout(struct xn_timer *timer)
{
	struct waiter *w = xn_container_of(timer, struct waiter, timer);

	if (xn_list_empty(&w->sub->asked)) /* what was seen need not be looked through again */
		stand_at(w, w->events->seen);
	xn_list_remove(&w->link);
	xn_list_push(&w->events->expired, &w->link);
	xn_loop_defer(w->events->core->loop, &w->events->serve_job, XN_PRIO_EVENT, on_serve);
}

/* ---- waking ---- */

/* Also for a subscription whose waiters are being answered: some may have come since. */
static void wake(struct xn_events *events, struct subscription *sub)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&sub->waiters))) {
		struct waiter *w = xn_list_entry(link, struct waiter, link);

		stand_at(w, events->seen);
		xn_list_push(&sub->asked, link);
	}
	if (xn_list_empty(&sub->woken) && !xn_list_empty(&sub->asked)) {
		xn_list_push(&events->woken, &sub->woken);
		subscription_ref(sub);
	}
}

static void wake_object(struct xn_events *events, int class_id, const char *ref)
{
	const struct watched *watched = watched_find(&events->subscriptions, class_id, ref);

	if (!watched)
		return;
	xn_list_each(link, &watched->watches)
		wake(events, xn_list_entry(link, struct object_watch, link)->sub);
}

static void wake_class(struct xn_events *events, int class_id)
{
	const struct xn_tombstone *t = xn_db_tombstone(events->db, class_id, NULL);
	struct xn_row *row = xn_db_newest(events->db, class_id);

	if (!(row && xn_row_modified(row) > events->seen) && !(t && t->deleted > events->seen))
		return;
	xn_list_each(link, &events->subscriptions.by_class[class_id])
		wake(events, xn_list_entry(link, struct class_watch, link)->sub);
	if (!events->subscriptions.n_watched)
		return;
	for (; row && xn_row_modified(row) > events->seen; row = xn_db_older(events->db, row))
		wake_object(events, class_id, xn_row_ref(row));
	for (; t && t->deleted > events->seen; t = xn_db_tombstone(events->db, class_id, t))
		wake_object(events, class_id, t->ref);
}

/* Those whose wishes are not met wait on, from here. */
static void serve(struct xn_events *events, struct subscription *sub, struct waiter *w)
{
	struct selection *sel;

	if (!xn_list_empty(&w->client->ending)) { /* what happened since is not for it any more */
		fail_ended(w);
		return;
	}
	sel = shared_selection(events, sub, w->since);
	if (!selection_is_empty(sel)) {
		answer(w, sel);
		return;
	}
	stand_at(w, sel->upto); /* such as made and deleted again */
	xn_list_push(&sub->waiters, &w->link);
}

static void settle(struct xn_events *events, struct subscription *sub)
{
	xn_list_remove(&sub->woken);
	selection_unref(sub->latest);
	sub->latest = NULL;
	subscription_unref(&events->subscriptions, sub);
}

static unsigned serve_woken(struct xn_events *events, struct subscription *sub)
{
	struct xn_list *link = xn_list_pop(&sub->asked);
	unsigned cost = wait_cost(sub);

	if (!link) {
		settle(events, sub);
		return 1;
	}
	serve(events, sub, xn_list_entry(link, struct waiter, link));
	return cost;
}

static unsigned serve_expired(struct waiter *w)
{
	unsigned cost = wait_cost(w->sub);

	if (xn_list_empty(&w->client->ending))
		answer_expired(w);
	else
		fail_ended(w);
	return cost;
}

static bool has_to_serve(const struct xn_events *events)
{
	return !xn_list_empty(&events->expired) || !xn_list_empty(&events->woken);
}

static void on_serve(struct xn_job *job)
{
	struct xn_events *events = xn_container_of(job, struct xn_events, serve_job);
	unsigned spent = 0;

	while (spent < WAITS_A_CALLBACK && has_to_serve(events)) {
		if (!xn_list_empty(&events->expired))
			spent += serve_expired(
				xn_list_entry(events->expired.next, struct waiter, link));
		else
			spent += serve_woken(events, xn_list_entry(events->woken.next,
								   struct subscription, woken));
	}
	if (has_to_serve(events))
		xn_loop_defer(events->core->loop, &events->serve_job, XN_PRIO_EVENT, on_serve);
}

void from_wake(struct xn_events *events)
{
	if (events->n_waiters) {
		for (int i = 0; i < XN_CLASS_COUNT; i++)
			if (xn_classes[i].has_events)
				wake_class(events, i);
	}
	if (!xn_list_empty(&events->woken))
		on_serve(&events->serve_job);
}

/* ---- event.from ---- */

static int64_t timeout_us(double seconds)
{
	if (!(seconds >= 0.0) || seconds > TOO_LONG_S) /* also what is not a number */
		seconds = LONGEST_S;
	return (int64_t)(seconds * 1e6);
}

static void refuse(struct xn_events *events, struct xn_call *call, struct subscription *sub,
		   struct client *client, struct xn_error *err)
{
	subscription_unref(&events->subscriptions, sub);
	client_release(events, client);
	xn_call_fail(call, err);
}

/* The call has nothing in (@since, @upto]. */
static void park(struct xn_events *events, struct xn_call *call, struct subscription *sub,
		 uint64_t since, uint64_t upto, int64_t wait_us)
{
	struct client *client = client_get(events, call->caller.session);
	struct xn_error err = {0};
	struct waiter *w;

	if (client_begin_wait(events, client, &err) < 0) {
		refuse(events, call, sub, client, &err);
		return;
	}
	w = xn_calloc(1, sizeof(*w));
	w->events = events;
	w->call = call;
	w->sub = sub;
	w->since = since;
	stand_at(w, upto);
	w->client = client;
	xn_list_push(&w->client->waiters, &w->client_link);
	xn_list_push(&sub->waiters, &w->link);
	subscription_index(&events->subscriptions, sub);
	events->n_waiters++;
	call->waiting = w;
	call->on_cancel = on_call_cancelled;
	xn_timer_arm(events->core->loop, &w->timer, wait_us, on_timeout);
}

void event_from(struct xn_call *call)
{
	struct xn_events *events = call->state;
	int64_t wait_us = timeout_us(xn_value_float(call->args[2]));
	struct xn_error err = {0};
	struct subscription *sub;
	struct xn_value *result;
	struct selection *sel;
	uint64_t since = 0;

	call->durability = XN_REPLY_AT_ONCE;
	if (event_token_parse(xn_call_string(call, 1), &since) < 0) {
		xn_error_set(&err, XN_ERR_EVENT_FROM_TOKEN_PARSE_FAILURE, xn_call_string(call, 1));
		xn_call_fail(call, &err);
		return;
	}
	if (since && !xn_db_token_is_valid(events->db, since)) {
		xn_error_set(&err, XN_ERR_EVENTS_LOST);
		xn_call_fail(call, &err);
		return;
	}
	if (xn_set_len(call->args[0]) > events->wishes_limit) {
		xn_error_set(&err, XN_ERR_EVENT_SUBSCRIPTION_PARSE_FAILURE, "too long");
		xn_call_fail(call, &err);
		return;
	}
	sub = subscription_get(&events->subscriptions, call->args[0]);
	sel = selection_new(events->core, events->db, sub, since);
	if (selection_is_empty(sel) && wait_us > 0) {
		park(events, call, sub, since, sel->upto, wait_us);
		selection_unref(sel);
		return;
	}
	subscription_unref(&events->subscriptions, sub);
	result = selection_result(sel);
	selection_unref(sel);
	xn_call_reply(call, result);
}

void from_clear(struct xn_events *events)
{
	xn_job_cancel(&events->serve_job);
	while (!xn_list_empty(&events->woken))
		settle(events, xn_list_entry(events->woken.next, struct subscription, woken));
}

/* ---- event.inject ---- */

void event_inject(struct xn_call *call)
{
	struct xn_events *events = call->state;
	const char *name = xn_call_string(call, 0), *ref = xn_call_string(call, 1);
	const struct xn_class *cls = xn_class_find(name);
	struct xn_row *row = cls && !cls->internal ? xn_db_get(events->db, cls->id, ref) : NULL;
	struct xn_buf token XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_error err = {0};

	if (!row) {
		xn_error_set(&err, XN_ERR_HANDLE_INVALID, name, ref);
		xn_call_fail(call, &err);
		return;
	}
	event_token_print(xn_db_touch(events->db, row), &token);
	call->durability = XN_REPLY_WHEN_VISIBLE; /* a token lost with the power gets EVENTS_LOST */
	xn_call_reply(call, xn_string_len(token.data, token.len));
}
