/* What the files of modules/event share. */
#ifndef XN_EVENT_INTERNAL_H
#define XN_EVENT_INTERNAL_H

#include <inttypes.h>

#include "core/events.h"
#include "core/hmap.h"
#include "core/metrics.h"
#include "core/module.h"
#include "modules/db/db.h"
#include "modules/event/event.h"

/* ---- subscription.c: what a client wants to hear about ---- */

struct object { /* "vm/OpaqueRef:..." */
	int class_id;
	char ref[XN_REF_LEN];
};

/* Equal wishes of many clients are one subscription, so that a change is looked up once for all. */
struct subscription {
	struct xn_hnode by_wish; /* subscriptions.all */
	unsigned refs;
	bool classes[XN_CLASS_COUNT];
	struct object *objects; /* sorted; none of a class that is wanted as a whole */
	size_t n_objects;
	struct xn_list waiters;   /* struct waiter */
	struct xn_list asked;     /* the same, woken by a change and not yet looked after */
	struct xn_list woken;     /* xn_events.woken, while .asked may hold some */
	struct selection *latest; /* shared by the waiters answered in one go */
	struct xn_list listeners; /* struct client: registered for event.next with these wishes */
	/* The index, while anybody waits or listens. */
	bool is_indexed;
	struct class_watch *class_watches;
	size_t n_class_watches;
	struct object_watch *object_watches;
};

struct class_watch {
	struct xn_list link;
	struct subscription *sub;
};
struct object_watch {
	struct xn_list link; /* watched.watches */
	struct subscription *sub;
	struct watched *watched;
};

/* An object that somebody waits for. One of many watchers leaves without a look at the others. */
struct watched {
	struct xn_hnode by_ref;
	struct object object;
	struct xn_list watches; /* never empty */
};

/* Those who wait may name millions of objects, and a table grows in one go: these stay small. */
enum { REF_TABLES = 256 };

struct subscriptions {
	struct xn_hmap all;
	struct xn_list by_class[XN_CLASS_COUNT]; /* class_watch */
	struct xn_hmap by_ref[REF_TABLES];       /* watched; by the highest bits of the hash */
	size_t n_watched;
};

void subscriptions_init(struct subscriptions *set);
void subscriptions_clear(struct subscriptions *set);
/* @wishes: a set of strings. Unknown classes match nothing. The caller owns one reference. */
struct subscription *subscription_get(struct subscriptions *set, const struct xn_value *wishes);
struct subscription *subscription_ref(struct subscription *sub);
void subscription_unref(struct subscriptions *set, struct subscription *sub);
bool subscription_wants(const struct subscription *sub, int class_id, const char *ref);
void subscription_index(struct subscriptions *set, struct subscription *sub);
void subscription_unindex(struct subscriptions *set, struct subscription *sub);
void subscription_unindex_idle(struct subscriptions *set, struct subscription *sub); /* unless used */
/* Who waits for this object, or NULL. */
struct watched *watched_find(const struct subscriptions *set, int class_id, const char *ref);

/* ---- token.c ---- */
int event_token_parse(const char *token, uint64_t *stamp_out) XN_MUST_CHECK; /* 0 or -EINVAL */
void event_token_print(uint64_t stamp, struct xn_buf *out);

/* ---- event_text.c: events in the two formats ---- */

enum operation { OP_ADD, OP_MOD, OP_DEL, OP_COUNT };
extern const char *const operation_names[OP_COUNT];

enum { EVENT_BYTES_A_STEP = 64 << 10 };

struct event_text { /* all borrowed */
	int64_t id, time_s;
	const char *time_suffix;
	enum operation operation;
	int class_id;
	const char *ref;
	struct xn_record *record; /* NULL: no snapshot */
};
void event_xml_name(struct xn_buf *out, const char *name); /* "<member><name>NAME</name>" */

/* A list of them, written and measured in steps of a fraction of a millisecond. */
struct event_texts {
	size_t n;
	void (*get)(const void *from, size_t i, struct event_text *out);
	const void *from;
};
struct event_measure {
	size_t events;
	int64_t bytes;
};
bool event_texts_write(const struct event_texts *texts, enum xn_format format, size_t *at,
		       struct xn_buf *out); /* false: that was the last one */
bool event_texts_measure(const struct event_texts *texts, enum xn_format format,
			 struct event_measure *so_far); /* true: that was the last one */

/* ---- selection.c: what happened since a token, and its encoding ---- */

struct change {
	uint64_t stamp;
	int class_id;
	enum operation operation;
	union {
		struct xn_record *record; /* ADD, MOD */
		char *ref;		  /* DEL */
	};
};

/*
 * The rows are those of the moment it was made. A large one is gathered in steps, the first of them
 * at once; until the last its changes are not all known.
 */
struct selection {
	unsigned refs;
	struct xn_db *db;
	uint64_t since, upto;
	int64_t time_s;
	struct xn_walk *walks; /* of classes, still to be gathered; NULL: all are */
	unsigned n_walks;
	struct change
		*changes; /* all ADD, then MOD, then DEL; inside each in the order of stamps */
	size_t n_changes, cap;
	uint32_t *counts;	/* rows of each class; with the result */
	struct xn_buf bytes[2]; /* by enum xn_format; empty until asked for */
	struct event_measure measured[2];
};

/* Everything @sub wants with a stamp in (@since, now]. @sub NULL: all classes. */
struct selection *selection_new(struct xn_core *core, struct xn_db *db,
				const struct subscription *sub, uint64_t since);
bool selection_is_empty(const struct selection *sel);
void selection_gather(struct selection *sel); /* all of it, now */
const char *change_ref(const struct change *change);
struct selection *selection_ref(struct selection *sel);
void selection_unref(struct selection *sel);
/* The result of event.from. In the turn that the selection was made in. */
struct xn_value *selection_result(struct selection *sel);

/* The stamp of the newest change. */
static inline uint64_t latest_stamp(const struct xn_db *db)
{
	uint64_t next = xn_db_generation(db);

	return next ? next - 1 : 0;
}

/* ---- event.c ---- */

/* What a session has open. Found by the public session reference. */
struct client {
	struct xn_hnode by_session;
	char session[XN_REF_LEN];
	struct xn_list waiters; /* event.from: struct waiter, client_link */
	unsigned n_waits;	/* of both kinds */
	/* event.register, event.next; see event_next.c */
	struct xn_value *wishes; /* sorted set; NULL: never registered */
	struct subscription *sub;
	struct xn_list listening; /* sub->listeners */
	struct xn_list queue;	  /* struct queued */
	size_t queue_bytes, n_queued;
	bool lost;
	struct xn_list next_waiters; /* struct next_waiter */
	struct xn_list served;	     /* xn_events.served, while one of these can be answered */
	struct xn_list ending; /* xn_events.ending, while calls of the ended session are to fail */
};

struct xn_events {
	struct xn_core *core;
	struct xn_db *db;
	struct subscriptions subscriptions;
	struct xn_hmap clients;
	/*
	 * The newest committed stamp that we were told of, and the one that all who wait were held
	 * against. Reads see the turn under way too, but what waits must not stand on its stamps: when
	 * the disk refuses the turn, they are given out again.
	 */
	uint64_t committed, seen;
	struct xn_list expired; /* struct waiter: their time is over */
	struct xn_list woken; /* subscriptions with waiters to answer */
	struct xn_job serve_job;
	struct xn_list ending; /* clients whose session ended */
	struct xn_job end_job;
	unsigned n_waiters; /* of event.from */
	unsigned n_waits;   /* and of event.next */
	unsigned n_registered;
	struct xn_list served; /* clients with something to tell to a waiting event.next */
	struct xn_job next_job;
	/* As configured: bytes of one client's queue, calls that wait, wishes of one call or client. */
	size_t queue_limit, waits_limit, session_waits_limit, wishes_limit;
	uint64_t n_refused, n_lost; /* at the limits of waits; queues that ran over */
	struct xn_metrics_source metrics;
	uint64_t queued;    /* changes up to this stamp are in the queues of event.next */
	int64_t current_id; /* event.next's counter */
	struct xn_subscription *on_committed, *on_db_failed, *on_session_ended;
};

/*
 * Waits are answered, failed and forgotten in slices: a crowd's end must not hold the loop. One
 * callback may spend this; a call that waits costs what wait_cost() says.
 */
enum { WAITS_A_CALLBACK = 128 };

/* So many objects count as one more: they are looked up, and taken from the index. */
static inline unsigned wait_cost(const struct subscription *sub)
{
	enum { OBJECTS_A_WAIT = 64 };

	return 1 + (unsigned)(sub->n_objects / OBJECTS_A_WAIT);
}

/* One more call is to wait. -1: too many do. */
int client_begin_wait(struct xn_events *events, struct client *client, struct xn_error *err);
void client_end_wait(struct xn_events *events, struct client *client);
struct client *client_find(struct xn_events *events, const char *session); /* or NULL */
struct client *client_get(struct xn_events *events, const char *session);
void client_release(struct xn_events *events,
		    struct client *client); /* freed when nothing is open */

/* ---- event_from.c ---- */
void event_from(struct xn_call *call);
void event_inject(struct xn_call *call);
void from_wake(struct xn_events *events); /* changes after .seen: who is told */
unsigned from_end_one(struct client *client); /* SESSION_INVALID; its cost, 0: none waits */
void from_clear(struct xn_events *events);

/* ---- event_next.c ---- */
void event_register(struct xn_call *call);
void event_unregister(struct xn_call *call);
void event_next(struct xn_call *call);
void event_get_current_id(struct xn_call *call);
void next_restore(struct xn_events *events); /* registrations made before a restart */
void next_queue_changes(struct xn_events *events);
void next_take_back(struct xn_events *events); /* what is queued may not have happened */
void next_end_session(struct xn_events *events, struct client *client); /* all but the waits */
unsigned next_end_one(struct client *client); /* as from_end_one() */
void next_clear(struct xn_events *events);

#endif
