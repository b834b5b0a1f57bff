/*
 * The older way: event.register, then event.next until tired. Each registered session has a queue
 * of what its commits brought, bounded in bytes; who is too slow gets EVENTS_LOST once.
 */
#include "modules/event/event_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENT_OVERHEAD = 200, WISH_MAX = 128, ANSWERS_A_CALLBACK = 128 };

/* One event, shared by the queues of all sessions that want it. */
struct event {
	unsigned refs;
	int64_t id, time_s;
	enum operation operation;
	int class_id;
	char ref[XN_REF_LEN];
	struct xn_record *record; /* NULL: not known any more */
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
	xn_record_unref(event->record);
	free(event);
}

/* ---- queues ---- */

static struct event *take_first(struct client *client)
{
	struct queued *queued = xn_list_entry(xn_list_pop(&client->queue), struct queued, link);
	struct event *event = queued->event;

	client->queue_bytes -= event->size;
	client->n_queued--;
	free(queued);
	return event;
}

static void drop_queue(struct client *client)
{
	while (!xn_list_empty(&client->queue))
		event_unref(take_first(client));
}

static bool is_ready(const struct client *client)
{
	return client->lost || !xn_list_empty(&client->queue);
}

/* Its waiting event.next, if any, is to be answered. */
static void is_served(struct xn_events *events, struct client *client)
{
	if (is_ready(client) && !xn_list_empty(&client->next_waiters) &&
	    xn_list_empty(&client->served))
		xn_list_push(&events->served, &client->served);
}

static void push(struct xn_events *events, struct client *client, struct event *event)
{
	struct queued *queued = xn_calloc(1, sizeof(*queued));

	event->refs++;
	queued->event = event;
	xn_list_push(&client->queue, &queued->link);
	client->queue_bytes += event->size;
	client->n_queued++;
	while (client->queue_bytes > events->queue_limit && client->n_queued) {
		event_unref(take_first(client));
		client->lost = true;
		events->n_lost++;
	}
	is_served(events, client);
}

static struct event *event_of(struct xn_events *events, const struct selection *sel,
			      const struct change *change)
{
	struct event *event = xn_calloc(1, sizeof(*event));
	size_t encoded = 0;

	event->refs = 1;
	event->id = ++events->current_id;
	event->time_s = sel->time_s;
	event->operation = change->operation;
	event->class_id = change->class_id;
	snprintf(event->ref, sizeof(event->ref), "%s", change_ref(change));
	event->record = change->operation == OP_DEL
				? xn_db_take_deleted(events->db, change->stamp)
				: xn_record_share(change->record);
	event->size = EVENT_OVERHEAD;
	if (event->record)
		event->size += xn_record_length(event->record, XN_FORMAT_JSON, &encoded);
	return event;
}

/* ---- answers: what is queued becomes a batch ---- */

struct batch {
	size_t n;
	struct event_measure measured[2];
	struct event *events[];
};

static void get_event(const void *from, size_t i, struct event_text *out)
{
	const struct batch *batch = from;
	const struct event *event = batch->events[i];

	*out = (struct event_text){
		.id = event->id,
		.time_s = event->time_s,
		.time_suffix = ".",
		.operation = event->operation,
		.class_id = event->class_id,
		.ref = event->ref,
		.record = event->record,
	};
}

static struct event_texts texts_of(const struct batch *batch)
{
	return (struct event_texts){.n = batch->n, .get = get_event, .from = batch};
}

static const char *const batch_begin[] = {
	[XN_FORMAT_JSON] = "[", [XN_FORMAT_XML] = "<value><array><data>"};
static const char *const batch_end[] = {
	[XN_FORMAT_JSON] = "]", [XN_FORMAT_XML] = "</data></array></value>"};

static bool write_part(const void *object, enum xn_format format, size_t *at, struct xn_buf *out)
{
	struct event_texts texts = texts_of(object);

	if (!*at)
		xn_buf_add_string(out, batch_begin[format]);
	if (event_texts_write(&texts, format, at, out))
		return true;
	xn_buf_add_string(out, batch_end[format]);
	return false;
}

static int64_t measure(const void *object, enum xn_format format)
{
	struct batch *batch = (struct batch *)object;
	struct event_texts texts = texts_of(batch);

	if (!event_texts_measure(&texts, format, &batch->measured[format]))
		return -1;
	return batch->measured[format].bytes +
	       (int64_t)(strlen(batch_begin[format]) + strlen(batch_end[format]));
}

static size_t held(const void *object)
{
	const struct batch *batch = object;
	size_t sum = sizeof(*batch);

	for (size_t i = 0; i < batch->n; i++)
		sum += batch->events[i]->size;
	return sum;
}

static void release_batch(void *object)
{
	struct batch *batch = object;

	for (size_t i = 0; i < batch->n; i++)
		event_unref(batch->events[i]);
	free(batch);
}

static struct xn_value *take_queue(struct client *client)
{
	static const struct xn_embed_ops ops = {
		.part = write_part,
		.measure = measure,
		.held = held,
		.release = release_batch,
	};
	struct batch *batch = xn_calloc(1, sizeof(*batch) +
						   client->n_queued * sizeof(batch->events[0]));

	while (!xn_list_empty(&client->queue))
		batch->events[batch->n++] = take_first(client);
	return xn_embed(&ops, batch);
}

static struct xn_call *next_waiter_release(struct next_waiter *w)
{
	struct xn_call *call = w->call;

	call->on_cancel = NULL;
	call->waiting = NULL;
	xn_list_remove(&w->link);
	client_end_wait(w->events, w->client);
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

static void tell_listeners(struct xn_events *events, const struct selection *sel,
			   const struct change *change, const struct subscription *sub,
			   struct event **event)
{
	xn_list_each(link, &sub->listeners) {
		if (!*event)
			*event = event_of(events, sel, change);
		push(events, xn_list_entry(link, struct client, listening), *event);
	}
}

static void queue_change(struct xn_events *events, const struct selection *sel,
			 const struct change *change)
{
	const char *ref = change_ref(change);
	const struct watched *watched = watched_find(&events->subscriptions, change->class_id, ref);
	struct event *event = NULL;

	xn_list_each(link, &events->subscriptions.by_class[change->class_id]) {
		tell_listeners(events, sel, change,
			       xn_list_entry(link, struct class_watch, link)->sub, &event);
	}
	if (watched) {
		xn_list_each(link, &watched->watches) {
			tell_listeners(events, sel, change,
				       xn_list_entry(link, struct object_watch, link)->sub, &event);
		}
	}
	if (event)
		event_unref(event);
}

static void on_next(struct xn_job *job)
{
	struct xn_events *events = xn_container_of(job, struct xn_events, next_job);
	struct xn_list *link;
	unsigned budget = ANSWERS_A_CALLBACK;

	while (budget-- && (link = xn_list_pop(&events->served))) {
		struct client *client = xn_list_entry(link, struct client, served);

		if (!is_ready(client) || xn_list_empty(&client->next_waiters))
			continue;
		answer(client, next_waiter_release(xn_list_entry(client->next_waiters.next,
								 struct next_waiter, link)));
		is_served(events, client);
	}
	if (!xn_list_empty(&events->served))
		xn_loop_defer(events->core->loop, &events->next_job, XN_PRIO_EVENT, on_next);
}

static void serve(struct xn_events *events)
{
	on_next(&events->next_job);
}

void next_queue_changes(struct xn_events *events)
{
	struct selection *sel;

	if (!events->n_registered) {
		events->queued = events->committed;
		return;
	}
	sel = selection_new(events->core, events->db, NULL, events->queued);
	selection_gather(sel);
	events->queued = sel->upto;
	for (size_t i = 0; i < sel->n_changes; i++)
		queue_change(events, sel, &sel->changes[i]);
	xn_db_drop_deleted(events->db);
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
		is_served(events, client);
	}
	serve(events);
}

void next_clear(struct xn_events *events)
{
	xn_job_cancel(&events->next_job);
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
	xn_list_remove(&client->listening);
	xn_list_push(&client->sub->listeners, &client->listening);
	subscription_index(&events->subscriptions, client->sub);
	if (old)
		subscription_unindex_idle(&events->subscriptions, old);
	subscription_unref(&events->subscriptions, old);
	xn_db_keep_deleted(events->db, true);
}

/* Kept in the session's row, so that a restart can tell the client what it missed. */
static void store_wishes(struct xn_events *events, const struct client *client)
{
	struct xn_row *row = xn_db_get(events->db, XN_CLASS_session, client->session);

	if (row)
		xn_db_set(events->db, row, XN_session_xn_registered, xn_value_ref(client->wishes));
}

static bool is_too_long(const struct xn_events *events, const struct xn_value *wishes, size_t n_had)
{
	if (xn_set_len(wishes) + n_had > events->wishes_limit)
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

	if (is_too_long(events, call->args[0], client->wishes ? xn_set_len(client->wishes) : 0)) {
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
	if (client_begin_wait(events, client, &err) < 0) {
		xn_call_fail(call, &err);
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

unsigned next_end_one(struct client *client)
{
	struct next_waiter *w;
	const char *secret;

	if (xn_list_empty(&client->next_waiters))
		return 0;
	w = xn_list_entry(client->next_waiters.next, struct next_waiter, link);
	secret = w->call->secret;
	fail_next(w, XN_ERR_SESSION_INVALID, *secret ? secret : client->session);
	return 1;
}

void next_end_session(struct xn_events *events, struct client *client)
{
	drop_queue(client);
	xn_list_remove(&client->served);
	if (!client->wishes)
		return;
	events->n_registered--;
	xn_db_keep_deleted(events->db, events->n_registered > 0);
	xn_value_unref(client->wishes);
	client->wishes = NULL;
	xn_list_remove(&client->listening);
	subscription_unindex_idle(&events->subscriptions, client->sub);
	subscription_unref(&events->subscriptions, client->sub);
	client->sub = NULL;
}
