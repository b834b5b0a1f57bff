/*
 * Every event of the internal bus, declared once. An event is a fact in the past tense; it carries
 * ids and numbers by value, and whoever is interested reads the rest when it needs it.
 */
#ifndef XN_EVENTS_H
#define XN_EVENTS_H

#include <stdint.h>

enum { XN_UUID_LEN = 37, XN_REF_LEN = 48 };

struct xn_ev_domain_changed { uint32_t domid; char vm_uuid[XN_UUID_LEN]; };
struct xn_ev_db_committed { uint64_t generation; };
struct xn_ev_db_failed { int error; };
struct xn_ev_session_ended { char session[XN_REF_LEN]; };
struct xn_ev_logins_failed { uint32_t count; };
struct xn_ev_operation_ended { char object[XN_REF_LEN]; };
struct xn_ev_daemon_ready { int unused; };
struct xn_ev_reload_asked { int unused; };

/*
 * A fact that is published again before it was delivered is delivered once. What counts as the same
 * fact bounds the queue: all members equal, or any later event of this name.
 */
enum xn_coalesce { XN_SAME_PAYLOAD, XN_LATEST_ONLY };

/* X(name, priority, coalescing): one comment says who publishes and when. */
#define XN_EVENTS(X)                                                                               \
	/* watcher: a domain appeared, changed or died */                                          \
	X(domain_changed, XN_PRIO_REFRESH, XN_SAME_PAYLOAD)                                        \
	/* db: rows up to .generation are readable */                                              \
	X(db_committed, XN_PRIO_REPLY, XN_LATEST_ONLY)                                             \
	/* db: the store refuses writes (0: works again) */                                        \
	X(db_failed, XN_PRIO_REPLY, XN_LATEST_ONLY)                                                \
	/* auth: logout or garbage collection */                                                   \
	X(session_ended, XN_PRIO_EVENT, XN_SAME_PAYLOAD)                                           \
	/* auth: there were failed logins in the hour that is over */                             \
	X(logins_failed, XN_PRIO_IDLE, XN_LATEST_ONLY)                                             \
	/* operation: the object is free for the next */                                           \
	X(operation_ended, XN_PRIO_EVENT, XN_SAME_PAYLOAD)                                         \
	/* main: all modules started, listeners serve */                                           \
	X(daemon_ready, XN_PRIO_EVENT, XN_LATEST_ONLY)                                             \
	/* main: SIGHUP, files that the configuration names may have changed */                    \
	X(reload_asked, XN_PRIO_EVENT, XN_LATEST_ONLY)

#endif
