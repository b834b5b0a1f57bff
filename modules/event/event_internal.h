/* What the files of modules/event share. */
#ifndef XN_EVENT_INTERNAL_H
#define XN_EVENT_INTERNAL_H

#include "core/events.h"
#include "core/hmap.h"
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
	/* The index, while anybody waits. */
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
	struct xn_hnode by_ref;
	struct subscription *sub;
};

struct subscriptions {
	struct xn_hmap all;
	struct xn_list by_class[XN_CLASS_COUNT]; /* class_watch */
	struct xn_hmap by_ref;                   /* object_watch */
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

/* ---- token.c ---- */
int event_token_parse(const char *token, uint64_t *stamp_out) XN_MUST_CHECK; /* 0 or -EINVAL */
void event_token_print(uint64_t stamp, struct xn_buf *out);

/* ---- selection.c: what happened since a token, and its encoding ---- */

enum operation { OP_ADD, OP_MOD, OP_DEL, OP_COUNT };
extern const char *const operation_names[OP_COUNT];

struct change {
	enum operation operation;
	int class_id;
	uint64_t stamp;
	struct xn_row *row;   /* ADD, MOD: valid until the database changes */
	char ref[XN_REF_LEN]; /* DEL */
};

struct selection {
	unsigned refs;
	struct xn_db *db;
	uint64_t since, upto;
	int64_t time_s;
	struct change
		*changes; /* all ADD, then MOD, then DEL; inside each in the order of stamps */
	size_t n_changes, cap;
	struct xn_buf bytes[2]; /* by enum xn_format; empty until asked for */
};

/* Everything @sub wants with a stamp in (@since, now]. @sub NULL: all classes. */
struct selection *selection_new(struct xn_core *core, struct xn_db *db,
				const struct subscription *sub, uint64_t since);
void selection_unref(struct selection *sel);
/* The result of event.from. Taken by xn_call_reply in the same turn. */
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
	/* event.register, event.next; see event_next.c */
	struct xn_value *wishes; /* sorted set; NULL: never registered */
	struct subscription *sub;
	struct xn_list queue; /* struct queued */
	size_t queue_bytes;
	bool lost;
	struct xn_list next_waiters; /* struct next_waiter */
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
	struct xn_list woken; /* subscriptions with waiters to answer */
	struct xn_job serve_job;
	unsigned n_waiters;
	unsigned n_registered;
	uint64_t queued;    /* changes up to this stamp are in the queues of event.next */
	int64_t current_id; /* event.next's counter */
	struct xn_subscription *on_committed, *on_db_failed, *on_session_ended;
};

struct client *client_find(struct xn_events *events, const char *session); /* or NULL */
struct client *client_get(struct xn_events *events, const char *session);
void client_release(struct xn_events *events,
		    struct client *client); /* freed when nothing is open */

/* ---- event_from.c ---- */
void event_from(struct xn_call *call);
void event_inject(struct xn_call *call);
void from_wake(struct xn_events *events); /* changes after .seen: who is told */
void from_end_session(struct xn_events *events,
		      struct client *client); /* SESSION_INVALID for all */
void from_clear(struct xn_events *events);

/* ---- event_next.c ---- */
void event_register(struct xn_call *call);
void event_unregister(struct xn_call *call);
void event_next(struct xn_call *call);
void event_get_current_id(struct xn_call *call);
void next_restore(struct xn_events *events); /* registrations made before a restart */
void next_queue_changes(struct xn_events *events);
void next_take_back(struct xn_events *events); /* what is queued may not have happened */
void next_end_session(struct xn_events *events, struct client *client);

#endif
