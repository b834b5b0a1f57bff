/*
 * The older way: event.register, then event.next until tired. Each registered session has a queue
 * of what its commits brought, bounded in bytes; who is too slow gets EVENTS_LOST once.
 */
#include "core/json.h"
#include "core/xml.h"
#include "modules/event/event_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_MAX_BYTES = 10000000, EVENT_OVERHEAD = 200, WISH_MAX = 128, WISHES_MAX = 1000 };

/* One event, shared by the queues of all sessions that want it. */
struct event {
	unsigned refs;
	int64_t id, time_s;
	enum operation operation;
	int class_id;
	char ref[XN_REF_LEN];
	struct xn_value *record; /* NULL for DEL */
	size_t size;
};

struct queued {
	struct xn_list link;
	struct event *event;
};

struct next_waiter {
	struct xn_list link;
	struct xn_events *events;
	struct client *client;
	struct xn_call *call;
};

static void event_unref(struct event *event)
{
	if (--event->refs)
		return;
	xn_value_unref(event->record);
	free(event);
}

/* ---- queues ---- */

static void drop_first(struct client *client)
{
	struct queued *queued = xn_list_entry(xn_list_pop(&client->queue), struct queued, link);

	client->queue_bytes -= queued->event->size;
	event_unref(queued->event);
	free(queued);
}

static void drop_queue(struct client *client)
{
	while (!xn_list_empty(&client->queue))
		drop_first(client);
}

static void push(struct client *client, struct event *event)
{
	struct queued *queued = xn_calloc(1, sizeof(*queued));

	event->refs++;
	queued->event = event;
	xn_list_push(&client->queue, &queued->link);
	client->queue_bytes += event->size;
	while (client->queue_bytes > QUEUE_MAX_BYTES) {
		drop_first(client);
		client->lost = true;
	}
}

static struct event *event_of(struct xn_events *events, const struct selection *sel,
			      const struct change *change)
{
	struct event *event = xn_calloc(1, sizeof(*event));
	size_t len = 0;

	event->refs = 1;
	event->id = ++events->current_id;
	event->time_s = sel->time_s;
	event->operation = change->operation;
	event->class_id = change->class_id;
	snprintf(event->ref, sizeof(event->ref), "%s",
		 change->row ? xn_row_ref(change->row) : change->ref);
	if (change->row) {
		event->record = xn_row_to_map(change->row);
		xn_row_json(change->row, &len);
	}
	event->size = len + EVENT_OVERHEAD;
	return event;
}

/* ---- answers: a set of maps; the generic encoders write them ---- */

static struct xn_value *event_map(const struct event *event)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "id", xn_stringf("%" PRId64, event->id));
	xn_map_put(&map, "timestamp", xn_stringf("%" PRId64 ".", event->time_s));
	xn_map_put_string(&map, "class", xn_classes[event->class_id].event_name);
	xn_map_put_string(&map, "operation", operation_names[event->operation]);
	xn_map_put_string(&map, "ref", event->ref);
	if (event->record)
		xn_map_put(&map, "snapshot", xn_value_ref(event->record));
	return map;
}

static struct xn_value *take_queue(struct client *client)
{
	struct xn_value *set = xn_set_new();

	while (!xn_list_empty(&client->queue)) {
		xn_set_append(
			&set,
			event_map(xn_list_entry(client->queue.next, struct queued, link)->event));
		drop_first(client);
	}
	return set;
}

static struct xn_call *next_waiter_release(struct next_waiter *w)
{
	struct xn_call *call = w->call;

	call->on_cancel = NULL;
	call->waiting = NULL;
	xn_list_remove(&w->link);
	free(w);
	return call;
}

static void fail_next(struct next_waiter *w, const char *code, const char *param)
{
	struct xn_error err = {0};

	xn_error_set(&err, code, param);
	xn_call_fail(next_waiter_release(w), &err);
}

static void on_call_cancelled(struct xn_call *call)
{
	fail_next(call->waiting, XN_ERR_TASK_CANCELLED, call->task);
}

static bool is_ready(const struct client *client)
{
	return client->lost || !xn_list_empty(&client->queue);
}

static void answer(struct client *client, struct xn_call *call)
{
	struct xn_error err = {0};

	if (client->lost) {
		client->lost = false;
		xn_error_set(&err, XN_ERR_EVENTS_LOST);
		xn_call_fail(call, &err);
		return;
	}
	xn_call_reply(call, take_queue(client));
}

static void queue_change(struct xn_events *events, const struct selection *sel,
			 const struct change *change)
{
	const char *ref = change->row ? xn_row_ref(change->row) : change->ref;
	struct event *event = NULL;

	for (struct xn_hnode *node = xn_hmap_first(&events->clients); node;
	     node = xn_hmap_next(&events->clients, node)) {
		struct client *client = xn_container_of(node, struct client, by_session);

		if (!client->sub || !subscription_wants(client->sub, change->class_id, ref))
			continue;
		if (!event)
			event = event_of(events, sel, change);
		push(client, event);
	}
	if (event)
		event_unref(event);
}

/* Answering may make clients come and go, so each round starts again from the table. */
static struct client *find_served(struct xn_events *events)
{
	for (struct xn_hnode *node = xn_hmap_first(&events->clients); node;
	     node = xn_hmap_next(&events->clients, node)) {
		struct client *client = xn_container_of(node, struct client, by_session);

		if (is_ready(client) && !xn_list_empty(&client->next_waiters))
			return client;
	}
	return NULL;
}

static void serve(struct xn_events *events)
{
	struct client *client;

	while ((client = find_served(events)))
		answer(client, next_waiter_release(xn_list_entry(client->next_waiters.next,
								 struct next_waiter, link)));
}

void next_queue_changes(struct xn_events *events)
{
	struct selection *sel;

	if (!events->n_registered) {
		events->queued = events->committed;
		return;
	}
	sel = selection_new(events->core, events->db, NULL, events->queued);
	events->queued = sel->upto;
	for (size_t i = 0; i < sel->n_changes; i++)
		queue_change(events, sel, &sel->changes[i]);
	selection_unref(sel);
	serve(events);
}

void next_take_back(struct xn_events *events)
{
	events->queued = events->committed;
	for (struct xn_hnode *node = xn_hmap_first(&events->clients); node;
	     node = xn_hmap_next(&events->clients, node)) {
		struct client *client = xn_container_of(node, struct client, by_session);

		if (!client->wishes)
			continue;
		drop_queue(client);
		client->lost = true;
	}
	serve(events);
}

/* ---- registration ---- */

static void set_wishes(struct xn_events *events, struct client *client, struct xn_value *wishes)
{
	struct subscription *old = client->sub;

	if (!client->wishes)
		events->n_registered++;
	else
		xn_value_unref(client->wishes);
	client->wishes = wishes;
	client->sub = subscription_get(&events->subscriptions, wishes);
	subscription_unref(&events->subscriptions, old);
}

/* Kept in the session's row, so that a restart can tell the client what it missed. */
static void store_wishes(struct xn_events *events, const struct client *client)
{
	struct xn_row *row = xn_db_get(events->db, XN_CLASS_session, client->session);

	if (row)
		xn_db_set(events->db, row, XN_session_xn_registered, xn_value_ref(client->wishes));
}

static bool is_too_long(const struct xn_value *wishes, size_t n_had)
{
	if (xn_set_len(wishes) + n_had > WISHES_MAX)
		return true;
	for (size_t i = 0; i < xn_set_len(wishes); i++)
		if (xn_value_string_len(xn_set_at(wishes, i)) > WISH_MAX)
			return true;
	return false;
}

void event_register(struct xn_call *call)
{
	struct xn_events *events = call->state;
	struct client *client = client_get(events, call->caller.session);
	struct xn_value *wishes;
	struct xn_error err = {0};

	if (is_too_long(call->args[0], client->wishes ? xn_set_len(client->wishes) : 0)) {
		xn_error_set(&err, XN_ERR_EVENT_SUBSCRIPTION_PARSE_FAILURE, "too long");
		client_release(events, client);
		xn_call_fail(call, &err);
		return;
	}
	wishes = client->wishes ? xn_value_ref(client->wishes) : xn_set_new();
	for (size_t i = 0; i < xn_set_len(call->args[0]); i++)
		xn_set_insert_sorted(&wishes, xn_value_ref(xn_set_at(call->args[0], i)));
	set_wishes(events, client, wishes);
	store_wishes(events, client);
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply_void(call);
}

void event_unregister(struct xn_call *call)
{
	struct xn_events *events = call->state;
	struct client *client = client_find(events, call->caller.session);
	struct xn_value *wishes;

	if (client && client->wishes) {
		wishes = xn_value_ref(client->wishes);
		for (size_t i = 0; i < xn_set_len(call->args[0]); i++)
			xn_set_remove_sorted(&wishes, xn_value_string(xn_set_at(call->args[0], i)));
		set_wishes(events, client, wishes);
		store_wishes(events, client);
	}
	call->durability = XN_REPLY_WHEN_VISIBLE;
	xn_call_reply_void(call);
}

void event_next(struct xn_call *call)
{
	struct xn_events *events = call->state;
	struct client *client = client_find(events, call->caller.session);
	struct xn_error err = {0};
	struct next_waiter *w;

	call->durability = XN_REPLY_AT_ONCE;
	if (!client || !client->wishes) {
		xn_error_set(&err, XN_ERR_SESSION_NOT_REGISTERED, call->caller.session);
		xn_call_fail(call, &err);
		return;
	}
	if (is_ready(client)) {
		answer(client, call);
		return;
	}
	w = xn_calloc(1, sizeof(*w));
	w->events = events;
	w->client = client;
	w->call = call;
	xn_list_push(&client->next_waiters, &w->link);
	call->waiting = w;
	call->on_cancel = on_call_cancelled;
}

void event_get_current_id(struct xn_call *call)
{
	struct xn_events *events = call->state;

	xn_call_reply(call, xn_int(events->current_id));
}

void next_restore(struct xn_events *events)
{
	for (struct xn_row *row = xn_db_first(events->db, XN_CLASS_session); row;
	     row = xn_db_next(events->db, row)) {
		const struct xn_value *wishes = xn_row_get(row, XN_session_xn_registered);
		struct client *client;

		if (!xn_set_len(wishes))
			continue;
		client = client_get(events, xn_row_ref(row));
		set_wishes(events, client, xn_value_ref(wishes));
		client->lost = true;
	}
}

void next_end_session(struct xn_events *events, struct client *client)
{
	while (!xn_list_empty(&client->next_waiters)) {
		struct next_waiter *w =
			xn_list_entry(client->next_waiters.next, struct next_waiter, link);
		const char *secret = w->call->secret;

		fail_next(w, XN_ERR_SESSION_INVALID, *secret ? secret : client->session);
	}
	drop_queue(client);
	if (!client->wishes)
		return;
	events->n_registered--;
	xn_value_unref(client->wishes);
	client->wishes = NULL;
	subscription_unref(&events->subscriptions, client->sub);
	client->sub = NULL;
}
