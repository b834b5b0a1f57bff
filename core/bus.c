/*
 * The internal bus; see bus.h. Each priority has a queue of pending events and one deferred call
 * that delivers one event to all its subscribers, so other work of that priority gets its turn.
 */
#include "core/bus.h"

#include <assert.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/hmap.h"

enum { MAX_IDLE_PENDING = 256 }; /* kept for reuse; a burst's memory goes back to the heap */

union payload {
#define EVENT_MEMBER(name, priority, coalesce) struct xn_ev_##name name;
	XN_EVENTS(EVENT_MEMBER)
#undef EVENT_MEMBER
};

const char *const xn_event_names[XN_EVENT_COUNT] = {
#define EVENT_NAME(name, priority, coalesce) #name,
	XN_EVENTS(EVENT_NAME)
#undef EVENT_NAME
};

static const struct event_type {
	enum xn_priority priority;
	enum xn_coalesce coalesce;
} types[XN_EVENT_COUNT] = {
#define EVENT_TYPE(name, priority, coalesce) {priority, coalesce},
	XN_EVENTS(EVENT_TYPE)
#undef EVENT_TYPE
};

struct pending {
	struct xn_list link;
	struct xn_hnode node; /* in bus->by_key */
	enum xn_event_id id;
	uint64_t sequence;
	union payload payload;
};

struct xn_subscription {
	struct xn_list link;
	struct xn_bus *bus;
	const char *module;
	void (*handler)(void); /* NULL: unsubscribed while its event was delivered */
	void *arg;
	uint64_t since; /* events with a higher sequence are for it */
};

struct publisher {
	struct publisher *next;
	const char *module;
};

struct queue {
	struct xn_job deliver;
	struct xn_list pending;
	struct xn_bus *bus;
};

struct xn_bus {
	struct xn_loop *loop;
	struct queue queues[XN_PRIO_COUNT];
	struct xn_hmap by_key;
	struct xn_list idle; /* pending structs for reuse */
	unsigned n_idle;
	uint64_t last_sequence;
	struct xn_list readers[XN_EVENT_COUNT];
	struct publisher *publishers[XN_EVENT_COUNT];
	bool delivering;
	bool has_dead; /* some subscription waits to be freed */
};

struct xn_bus *xn_bus_new(struct xn_loop *loop)
{
	struct xn_bus *bus = xn_calloc(1, sizeof(*bus));

	bus->loop = loop;
	xn_list_init(&bus->idle);
	for (int i = 0; i < XN_PRIO_COUNT; i++) {
		xn_list_init(&bus->queues[i].pending);
		bus->queues[i].bus = bus;
	}
	for (int i = 0; i < XN_EVENT_COUNT; i++)
		xn_list_init(&bus->readers[i]);
	return bus;
}

static void free_pending(struct xn_list *head)
{
	struct xn_list *link;

	while ((link = xn_list_pop(head)))
		free(xn_list_entry(link, struct pending, link));
}

static void free_event_ends(struct xn_bus *bus, int id)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&bus->readers[id])))
		free(xn_list_entry(link, struct xn_subscription, link));
	while (bus->publishers[id]) {
		struct publisher *p = bus->publishers[id];

		bus->publishers[id] = p->next;
		free(p);
	}
}

void xn_bus_free(struct xn_bus *bus)
{
	if (!bus)
		return;
	for (int i = 0; i < XN_PRIO_COUNT; i++) {
		xn_job_cancel(&bus->queues[i].deliver);
		free_pending(&bus->queues[i].pending);
	}
	free_pending(&bus->idle);
	for (int i = 0; i < XN_EVENT_COUNT; i++)
		free_event_ends(bus, i);
	xn_hmap_clear(&bus->by_key);
	free(bus);
}

/* ---- subscribing ---- */

struct xn_subscription *xn_bus_subscribe_(struct xn_bus *bus, enum xn_event_id id,
					  const char *module, void (*handler)(void), void *arg)
{
	struct xn_subscription *sub = xn_calloc(1, sizeof(*sub));

	sub->bus = bus;
	sub->module = module;
	sub->handler = handler;
	sub->arg = arg;
	sub->since = bus->last_sequence;
	xn_list_push(&bus->readers[id], &sub->link);
	return sub;
}

void xn_bus_unsubscribe(struct xn_subscription *sub)
{
	if (!sub)
		return;
	if (sub->bus->delivering) {
		sub->handler = NULL; /* the walk over the readers may stand on it */
		sub->bus->has_dead = true;
		return;
	}
	xn_list_remove(&sub->link);
	free(sub);
}

static void free_dead(struct xn_bus *bus)
{
	bus->has_dead = false;
	for (int i = 0; i < XN_EVENT_COUNT; i++) {
		xn_list_each_safe(node, &bus->readers[i]) {
			struct xn_subscription *sub =
				xn_list_entry(node, struct xn_subscription, link);

			if (!sub->handler) {
				xn_list_remove(&sub->link);
				free(sub);
			}
		}
	}
}

/* ---- publishing and delivery ---- */

static struct pending *find_same(struct xn_bus *bus, uint64_t hash, enum xn_event_id id,
				 const void *ev, size_t size)
{
	struct xn_hnode *node;

	for (node = xn_hmap_first_same(&bus->by_key, hash); node; node = xn_hmap_next_same(node)) {
		struct pending *p = xn_container_of(node, struct pending, node);

		if (p->id == id && (types[id].coalesce == XN_LATEST_ONLY ||
				    memcmp(&p->payload, ev, size) == 0))
			return p;
	}
	return NULL;
}

static struct pending *new_pending(struct xn_bus *bus)
{
	struct xn_list *link = xn_list_pop(&bus->idle);

	if (!link)
		return xn_calloc(1, sizeof(struct pending));
	bus->n_idle--;
	return xn_list_entry(link, struct pending, link);
}

static void drop_pending(struct xn_bus *bus, struct pending *p)
{
	if (bus->n_idle == MAX_IDLE_PENDING) {
		free(p);
		return;
	}
	bus->n_idle++;
	xn_list_push(&bus->idle, &p->link);
}

static void deliver_one(struct xn_job *job)
{
	struct queue *queue = xn_container_of(job, struct queue, deliver);
	struct xn_bus *bus = queue->bus;
	struct pending *p = xn_list_entry(xn_list_pop(&queue->pending), struct pending, link);
	struct xn_list *readers = &bus->readers[p->id];

	if (!xn_list_empty(&queue->pending))
		xn_loop_defer(bus->loop, job, job->priority, deliver_one);
	xn_hmap_remove(&bus->by_key, &p->node);
	xn_loop_name_callback(bus->loop, xn_event_names[p->id]);
	bus->delivering = true;
	xn_list_each(node, readers) {
		struct xn_subscription *sub = xn_list_entry(node, struct xn_subscription, link);
		void (*handler)(const void *ev, void *arg) =
			(void (*)(const void *, void *))sub->handler;

		if (handler && sub->since < p->sequence)
			handler(&p->payload, sub->arg);
	}
	bus->delivering = false;
	if (bus->has_dead)
		free_dead(bus);
	drop_pending(bus, p);
}

void xn_bus_publish_(struct xn_bus *bus, enum xn_event_id id, const void *ev, size_t size)
{
	const struct event_type *type = &types[id];
	struct queue *queue = &bus->queues[type->priority];
	uint64_t hash = id;
	struct pending *p;

	if (type->coalesce == XN_SAME_PAYLOAD)
		hash ^= xn_hash_bytes(ev, size);
	p = find_same(bus, hash, id, ev, size);
	if (!p) {
		p = new_pending(bus);
		p->id = id;
		xn_list_push(&queue->pending, &p->link);
		xn_hmap_insert(&bus->by_key, &p->node, hash);
	}
	memcpy(&p->payload, ev, size);
	p->sequence = ++bus->last_sequence;
	xn_loop_defer(bus->loop, &queue->deliver, type->priority, deliver_one);
}

/* ---- the graph ---- */

void xn_bus_declare_publisher(struct xn_bus *bus, enum xn_event_id id, const char *module)
{
	struct publisher *p = xn_calloc(1, sizeof(*p)), **end = &bus->publishers[id];

	assert(id < XN_EVENT_COUNT);
	p->module = module;
	while (*end)
		end = &(*end)->next;
	*end = p;
}

void xn_bus_print_graph(const struct xn_bus *bus, struct xn_buf *out)
{
	xn_buf_add_string(out, "digraph bus {\n\trankdir=LR;\n\tnode [shape=box];\n");
	for (int i = 0; i < XN_EVENT_COUNT; i++) {
		const char *name = xn_event_names[i];

		xn_buf_printf(out, "\t\"%s\" [shape=ellipse];\n", name);
		for (const struct publisher *p = bus->publishers[i]; p; p = p->next)
			xn_buf_printf(out, "\t\"%s\" -> \"%s\";\n", p->module, name);
		xn_list_each(node, &bus->readers[i]) {
			const struct xn_subscription *sub =
				xn_list_entry(node, struct xn_subscription, link);

			xn_buf_printf(out, "\t\"%s\" -> \"%s\";\n", name, sub->module);
		}
	}
	xn_buf_add_string(out, "}\n");
}

int xn_bus_check(const struct xn_bus *bus, struct xn_buf *why)
{
	int rc = 0;

	for (int i = 0; i < XN_EVENT_COUNT; i++) {
		if (!bus->publishers[i]) {
			xn_buf_printf(why, "event %s has no publisher\n", xn_event_names[i]);
			rc = -1;
		}
		if (xn_list_empty(&bus->readers[i])) {
			xn_buf_printf(why, "event %s has no reader\n", xn_event_names[i]);
			rc = -1;
		}
	}
	return rc;
}
