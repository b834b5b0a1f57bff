/*
 * The internal bus: typed events between modules. Delivery comes from the loop in publishing order,
 * never inside publish; handlers note the work and return, and may (un)subscribe at will. A
 * subscriber gets what is published after it subscribed. Loop thread only.
 * From each row of XN_EVENTS come an enum value, xn_publish_NAME(bus, &ev) and
 * xn_subscribe_NAME(bus, module, handler, arg); a handler of the wrong type does not build.
 */
#ifndef XN_BUS_H
#define XN_BUS_H

#include "core/events.h"
#include "core/loop.h"

struct xn_bus;
struct xn_subscription;

enum xn_event_id {
#define XN_EVENT_ID(name, priority, coalesce) XN_EVENT_##name,
	XN_EVENTS(XN_EVENT_ID)
#undef XN_EVENT_ID
	XN_EVENT_COUNT
};
extern const char *const xn_event_names[XN_EVENT_COUNT];

struct xn_bus *xn_bus_new(struct xn_loop *loop);
void xn_bus_free(struct xn_bus *bus);
void xn_bus_unsubscribe(struct xn_subscription *sub); /* NULL is fine */

/* For --graph and the start-up check: who publishes and who reads what. A module says in its
 * table what it publishes (struct xn_module.publishes); readers are known from subscribing. */
void xn_bus_declare_publisher(struct xn_bus *bus, enum xn_event_id id, const char *module);
struct xn_buf;
void xn_bus_print_graph(const struct xn_bus *bus, struct xn_buf *out); /* Graphviz dot */
/* 0, or -1 with a line in @why for each event without publisher or without reader. */
int xn_bus_check(const struct xn_bus *bus, struct xn_buf *why);

/* Used by the generated functions below only. */
void xn_bus_publish_(struct xn_bus *bus, enum xn_event_id id, const void *ev, size_t size);
struct xn_subscription *xn_bus_subscribe_(struct xn_bus *bus, enum xn_event_id id,
					  const char *module, void (*handler)(void), void *arg);

#define XN_EVENT_FUNCTIONS(name, priority, coalesce)                                            \
	static inline XN_UNUSED void xn_publish_##name(struct xn_bus *bus,                      \
						       const struct xn_ev_##name *ev)           \
	{                                                                                       \
		xn_bus_publish_(bus, XN_EVENT_##name, ev, sizeof(*ev));                         \
	}                                                                                       \
	static inline XN_UNUSED struct xn_subscription *xn_subscribe_##name(                    \
		struct xn_bus *bus, const char *module,                                         \
		void (*handler)(const struct xn_ev_##name *ev, void *arg), void *arg)           \
	{                                                                                       \
		return xn_bus_subscribe_(bus, XN_EVENT_##name, module,                          \
					 (void (*)(void))handler, arg);                         \
	}
XN_EVENTS(XN_EVENT_FUNCTIONS)
#undef XN_EVENT_FUNCTIONS

#endif
