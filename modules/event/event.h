/*
 * Events for API clients: event.from (exact, from a token), and the older register/next. Reads the
 * rows' generations in modules/db; woken by db_committed. Other modules never call it.
 */
#ifndef XN_EVENT_H
#define XN_EVENT_H

#include "core/module.h"

extern const struct xn_module xn_event_module;

#endif
