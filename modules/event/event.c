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
	xn_hmap_insert(&events->clients, &client->by_session, xn_hash_string(client->session));
	return client;
}

void client_release(struct xn_events *events, struct client *client)
{
	if (client->wishes || !xn_list_empty(&client->waiters))
		return;
	xn_hmap_remove(&events->clients, &client->by_session);
	free(client);
}

static void on_session_ended(const struct xn_ev_session_ended *ev, void *arg)
{
	struct xn_events *events = arg;
	struct client *client = client_find(events, ev->session);

	if (!client)
		return;
	next_end_session(events, client);
	if (xn_list_empty(&client->waiters))
		client_release(events, client);
	else
		from_end_session(events, client);
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

/* ---- module ---- */

static int event_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_events *events = xn_calloc(1, sizeof(*events));

	events->core = core;
	subscriptions_init(&events->subscriptions);
	xn_list_init(&events->woken);
	xn_list_init(&events->served);
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
	events->queue_limit = (size_t)xn_config_int(events->core->config, "event-queue");
	events->committed = events->seen = events->queued = latest_stamp(events->db);
	next_restore(events);
	return 0;
}

static void event_stop(void *state)
{
	struct xn_events *events = state;
	struct xn_hnode *node;

	xn_bus_unsubscribe(events->on_committed);
	xn_bus_unsubscribe(events->on_db_failed);
	xn_bus_unsubscribe(events->on_session_ended);
	while ((node = xn_hmap_first(&events->clients))) {
		const struct client *client = xn_container_of(node, struct client, by_session);
		struct xn_ev_session_ended ended = {0};

		memcpy(ended.session, client->session, sizeof(ended.session));
		on_session_ended(&ended, events); /* calls still waiting fail */
	}
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
