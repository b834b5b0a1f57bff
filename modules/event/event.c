/* The module event: who has what open, and the bus events that it lives on. See event.h. */
#include "modules/event/event_internal.h"

#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- clients ---- */

struct client *client_find(struct xn_events *events, const char *session)
{
	struct xn_hnode *node = xn_hmap_first_same(&events->clients, xn_hash_string(session));

	for (; node; node = xn_hmap_next_same(node)) {
		struct client *client = xn_container_of(node, struct client, by_session);

		if (strcmp(client->session, session) == 0)
			return client;
	}
	return NULL;
}

struct client *client_get(struct xn_events *events, const char *session)
{
	struct client *client = client_find(events, session);

	if (client)
		return client;
	client = xn_calloc(1, sizeof(*client));
	snprintf(client->session, sizeof(client->session), "%s", session);
	xn_list_init(&client->waiters);
	xn_list_init(&client->queue);
	xn_list_init(&client->next_waiters);
	xn_list_init(&client->listening);
	xn_list_init(&client->served);
	xn_list_init(&client->ending);
	xn_hmap_insert(&events->clients, &client->by_session, xn_hash_string(client->session));
	return client;
}

void client_release(struct xn_events *events, struct client *client)
{
	if (client->wishes || !xn_list_empty(&client->waiters) || !xn_list_empty(&client->ending))
		return;
	xn_hmap_remove(&events->clients, &client->by_session);
	free(client);
}

static void on_end(struct xn_job *job)
{
	struct xn_events *events = xn_container_of(job, struct xn_events, end_job);
	unsigned spent = 0;

	while (spent < WAITS_A_CALLBACK && !xn_list_empty(&events->ending)) {
		struct client *client = xn_list_entry(events->ending.next, struct client, ending);
		unsigned cost = next_end_one(client);

		if (!cost)
			cost = from_end_one(client);
		if (!cost) {
			xn_list_remove(&client->ending);
			client_release(events, client);
		}
		spent += cost;
	}
	if (!xn_list_empty(&events->ending))
		xn_loop_defer(events->core->loop, &events->end_job, XN_PRIO_EVENT, on_end);
}

static void end_client(struct xn_events *events, struct client *client)
{
	next_end_session(events, client);
	if (xn_list_empty(&client->ending))
		xn_list_push(&events->ending, &client->ending);
	if (!xn_job_is_pending(&events->end_job))
		on_end(&events->end_job);
}

static void on_session_ended(const struct xn_ev_session_ended *ev, void *arg)
{
	struct client *client = client_find(arg, ev->session);

	if (client)
		end_client(arg, client);
}

/* ---- commits ---- */

static void on_committed(const struct xn_ev_db_committed *ev, void *arg)
{
	struct xn_events *events = arg;

	events->committed = ev->generation - 1;
	next_queue_changes(events);
	from_wake(events);
	events->seen = events->committed;
}

static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	next_take_back(arg);
}

/* ---- limits and numbers ---- */

int client_begin_wait(struct xn_events *events, struct client *client, struct xn_error *err)
{
	if (events->n_waits >= events->waits_limit ||
	    client->n_waits >= events->session_waits_limit) {
		events->n_refused++;
		return xn_error_set(err, XN_ERR_TOO_MANY_PENDING_TASKS);
	}
	events->n_waits++;
	client->n_waits++;
	return 0;
}

void client_end_wait(struct xn_events *events, struct client *client)
{
	events->n_waits--;
	client->n_waits--;
}

static void read_limits(struct xn_events *events)
{
	const struct xn_config *config = events->core->config;

	events->queue_limit = (size_t)xn_config_int(config, "event-queue");
	events->waits_limit = (size_t)xn_config_int(config, "all-waits");
	events->session_waits_limit = (size_t)xn_config_int(config, "session-waits");
	events->wishes_limit = (size_t)xn_config_int(config, "event-classes");
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_events *events = xn_container_of(source, struct xn_events, metrics);

	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_event_waits", "",
			  "Calls that wait for an event.");
	xn_metrics_int(page, events->n_waiters, "call", "event.from");
	xn_metrics_int(page, events->n_waits - events->n_waiters, "call", "event.next");
	xn_metrics_gauge(page, "xenolith_event_subscriptions", "",
			 "Different wishes of those who wait or are registered.",
			 (int64_t)events->subscriptions.all.count);
	xn_metrics_gauge(page, "xenolith_event_registered", "",
			 "Sessions registered for event.next.", events->n_registered);
	xn_metrics_counter(page, "xenolith_event_waits_refused", "",
			   "Calls that might not wait, at session-waits or all-waits.",
			   events->n_refused);
	xn_metrics_counter(page, "xenolith_event_queues_over", "",
			   "Events of event.next thrown away, at event-queue.", events->n_lost);
	return 0;
}

/* ---- module ---- */

static int event_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_events *events = xn_calloc(1, sizeof(*events));

	events->core = core;
	subscriptions_init(&events->subscriptions);
	xn_list_init(&events->expired);
	xn_list_init(&events->woken);
	xn_list_init(&events->ending);
	xn_list_init(&events->served);
	events->metrics.write = write_metrics;
	if (core->metrics)
		xn_metrics_add(core->metrics, &events->metrics);
	events->on_committed = xn_subscribe_db_committed(core->bus, "event", on_committed, events);
	events->on_db_failed = xn_subscribe_db_failed(core->bus, "event", on_db_failed, events);
	events->on_session_ended =
		xn_subscribe_session_ended(core->bus, "event", on_session_ended, events);
	*state_out = events;
	return 0;
}

static int event_start(void *state, struct xn_error *err)
{
	struct xn_events *events = state;

	events->db = xn_db_of(events->core);
	read_limits(events);
	events->committed = events->seen = events->queued = xn_db_committed_generation(events->db) - 1;
	next_restore(events);
	return 0;
}

static void event_stop(void *state)
{
	struct xn_events *events = state;
	struct xn_hnode *node;

	xn_metrics_remove(&events->metrics);
	xn_bus_unsubscribe(events->on_committed);
	xn_bus_unsubscribe(events->on_db_failed);
	xn_bus_unsubscribe(events->on_session_ended);
	while ((node = xn_hmap_first(&events->clients))) { /* calls still waiting fail */
		xn_job_cancel(&events->end_job);
		end_client(events, xn_container_of(node, struct client, by_session));
	}
	xn_job_cancel(&events->end_job);
	from_clear(events);
	next_clear(events);
	xn_hmap_clear(&events->clients);
	subscriptions_clear(&events->subscriptions);
	free(events);
}

static const struct xn_method_impl event_methods[] = {
	{"event.from", event_from},
	{"event.inject", event_inject},
	{"event.register", event_register},
	{"event.unregister", event_unregister},
	{"event.next", event_next},
	{"event.get_current_id", event_get_current_id},
	{NULL},
};

static const char *const event_needs[] = {"db", NULL};

const struct xn_module xn_event_module = {
	.name = "event",
	.needs = event_needs,
	.methods = event_methods,
	.init = event_init,
	.start = event_start,
	.stop = event_stop,
};
