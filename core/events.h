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
struct xn_ev_db_durable { uint64_t generation; };
struct xn_ev_db_failed { int error; };
struct xn_ev_session_ended { char session[XN_REF_LEN]; };
struct xn_ev_task_finished { char task[XN_REF_LEN]; };
struct xn_ev_operation_ended { char object[XN_REF_LEN]; };
struct xn_ev_daemon_ready { int unused; };

/* X(name, priority): one comment says who publishes and when. */
#define XN_EVENTS(X)                                                                        \
	X(domain_changed, XN_PRIO_REFRESH)   /* watcher: a domain appeared, changed or died */  \
	X(db_committed, XN_PRIO_REPLY)       /* db: rows up to .generation are readable */      \
	X(db_durable, XN_PRIO_REPLY)         /* db: changes up to .generation survive power loss */ \
	X(db_failed, XN_PRIO_REPLY)          /* db: the store refuses writes (0: works again) */ \
	X(session_ended, XN_PRIO_EVENT)      /* auth: logout or garbage collection */           \
	X(task_finished, XN_PRIO_EVENT)      /* task: final status is readable */               \
	X(operation_ended, XN_PRIO_EVENT)    /* operation: the object is free for the next */   \
	X(daemon_ready, XN_PRIO_EVENT)       /* main: all modules started, listeners serve */

#endif
