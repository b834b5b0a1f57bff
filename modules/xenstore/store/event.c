/*
 * Events that wait: at most one for a watch and path, in a queue of each connection, so that one
 * who does not read holds up nobody else. A connection takes its events itself, or they are
 * delivered to its watches' callbacks, connections taking turns.
 */
#include "modules/xenstore/store/store_internal.h"

#include <stdlib.h>

enum { EVENTS_OF_DOM0 = 65536 }; /* of a connection: it has no quotas, but there must be an end */

struct xn_xs_event_path {
	unsigned refs;
	size_t len;
	uint64_t hash;
	char text[];
};

struct event {
	struct xn_list of_conn, of_watch;
	struct xn_hnode pending;
	struct xn_xs_watcher *watcher;
	struct xn_xs_event_path *path;
};

struct xn_xs_event_path *xn_xs_event_path_new(const char *text, size_t len)
{
	struct xn_xs_event_path *path = xn_malloc(sizeof(*path) + len + 1);

	path->refs = 1;
	path->len = len;
	path->hash = xn_hash_bytes(text, len);
	memcpy(path->text, text, len);
	path->text[len] = '\0';
	return path;
}

void xn_xs_event_path_unref(struct xn_xs_event_path *path)
{
	if (path && !--path->refs)
		free(path);
}

static size_t event_bytes(const struct event *event)
{
	return sizeof(*event) + event->path->len;
}

static void drop_event(struct event *event)
{
	struct xn_xs_conn *conn = event->watcher->conn;
	struct xn_xs_account *account = &conn->domain->account;
	size_t bytes = event_bytes(event);

	account->events--;
	account->event_bytes -= bytes;
	conn->n_events--;
	conn->event_bytes -= bytes;
	if (!conn->n_events)
		xn_list_remove(&conn->ready);
	xn_list_remove(&event->of_conn);
	xn_list_remove(&event->of_watch);
	xn_hmap_remove(&conn->store->pending, &event->pending);
	xn_xs_event_path_unref(event->path);
	free(event);
}

void xn_xs_event_drop_all(struct xn_xs_watcher *watcher)
{
	while (!xn_list_empty(&watcher->events))
		drop_event(xn_list_entry(watcher->events.next, struct event, of_watch));
}

static uint64_t hash_of(const struct xn_xs_watcher *watcher, const struct xn_xs_event_path *path)
{
	return path->hash ^ watcher->id * 0x9e3779b97f4a7c15u;
}

static bool is_pending(const struct xn_xs_watcher *watcher, const struct xn_xs_event_path *path)
{
	struct xn_hnode *at =
		xn_hmap_first_same(&watcher->conn->store->pending, hash_of(watcher, path));

	for (; at; at = xn_hmap_next_same(at)) {
		struct event *event = xn_container_of(at, struct event, pending);

		if (event->watcher == watcher && event->path->len == path->len &&
		    !memcmp(event->path->text, path->text, path->len))
			return true;
	}
	return false;
}

void xn_xs_store_wake(struct xn_xs_store *store)
{
	if (store->is_awake)
		return;
	store->is_awake = true;
	if (store->wake)
		store->wake(store->wake_arg);
}

static void say_waiting(struct xn_xs_conn *conn)
{
	if (conn->waiting) {
		conn->waiting(conn->waiting_arg);
		return;
	}
	xn_list_push(&conn->store->ready, &conn->ready);
	xn_xs_store_wake(conn->store);
}

static void add_event(struct xn_xs_watcher *watcher, struct xn_xs_event_path *path)
{
	struct xn_xs_conn *conn = watcher->conn;
	struct xn_xs_account *account = &conn->domain->account;
	struct event *event = xn_malloc(sizeof(*event));

	event->watcher = watcher;
	event->path = path;
	path->refs++;
	xn_list_push(&conn->events, &event->of_conn);
	xn_list_push(&watcher->events, &event->of_watch);
	xn_hmap_insert(&conn->store->pending, &event->pending, hash_of(watcher, path));
	account->events++;
	account->event_bytes += event_bytes(event);
	conn->event_bytes += event_bytes(event);
	if (!conn->n_events++)
		say_waiting(conn);
}

static bool is_too_much(struct xn_xs_conn *conn, size_t bytes)
{
	struct xn_xs_domain *domain = conn->domain;
	struct xn_xs_account *account = &domain->account;

	if (xn_xs_domain_is_privileged(domain))
		return conn->n_events >= EVENTS_OF_DOM0;
	return xn_xs_quota_is_passed(domain, XN_XS_QUOTA_EVENTS, account->events + 1) ||
	       xn_xs_quota_is_passed(domain, XN_XS_QUOTA_EVENT_BYTES, account->event_bytes + bytes);
}

static void note_event(const struct xn_xs_watcher *watcher, const struct xn_xs_event_path *path,
		       bool instead)
{
	const struct xn_xs_conn *conn = watcher->conn;
	const struct xn_xs_journal_ops *journal = conn->store->journal;

	if (conn->is_kept && journal && journal->event)
		journal->event(conn->domain, xn_xs_watcher_given(watcher), watcher->token,
			       path->text, instead, conn->store->journal_arg);
}

void xn_xs_conn_keep(struct xn_xs_conn *conn)
{
	conn->is_kept = true;
}

/* All that this watch would tell becomes one event: something at or below its path has changed. */
static void collapse(struct xn_xs_watcher *watcher)
{
	char room[XN_XS_PATH_MAX + 1];
	const char *text = xn_xs_watcher_path(watcher, room);
	struct xn_xs_event_path *path = xn_xs_event_path_new(text, strlen(text));

	xn_xs_event_drop_all(watcher);
	add_event(watcher, path);
	note_event(watcher, path, true);
	xn_xs_event_path_unref(path);
}

void xn_xs_event_queue(struct xn_xs_watcher *watcher, struct xn_xs_event_path *path)
{
	if (is_pending(watcher, path))
		return;
	if (is_too_much(watcher->conn, sizeof(struct event) + path->len)) {
		collapse(watcher);
		return;
	}
	add_event(watcher, path);
	note_event(watcher, path, false);
}

/* ---- whoever delivers ---- */

static const char *as_seen(const struct xn_xs_watcher *watcher, const struct xn_xs_event_path *path)
{
	return path->text + (path->len >= watcher->cut ? watcher->cut : 0);
}

static struct event *first_event(const struct xn_xs_conn *conn)
{
	return conn->n_events ? xn_list_entry(conn->events.next, struct event, of_conn) : NULL;
}

static void deliver_one(struct xn_xs_conn *conn)
{
	struct event *event = first_event(conn);
	struct xn_xs_watcher *watcher = event->watcher;
	struct xn_xs_event_path *path = event->path;

	if (conn->n_events > 1) { /* the others' turn */
		xn_list_remove(&conn->ready);
		xn_list_push(&conn->store->ready, &conn->ready);
	}
	path->refs++;
	drop_event(event);
	/* The callback may unwatch, and the token goes with the watch: nothing after it. */
	watcher->fired(as_seen(watcher, path), watcher->token, watcher->arg);
	xn_xs_event_path_unref(path);
}

bool xn_xs_store_deliver(struct xn_xs_store *store, unsigned at_most)
{
	bool has_more;

	while (at_most-- && !xn_list_empty(&store->ready))
		deliver_one(xn_list_entry(store->ready.next, struct xn_xs_conn, ready));
	has_more = xn_xs_reap_some(store);
	store->is_awake = has_more || !xn_list_empty(&store->ready);
	return store->is_awake;
}

void xn_xs_conn_take_events(struct xn_xs_conn *conn, void (*waiting)(void *arg), void *arg)
{
	conn->waiting = waiting;
	conn->waiting_arg = arg;
}

bool xn_xs_conn_first_event(struct xn_xs_conn *conn, struct xn_xs_event *out)
{
	struct event *event = first_event(conn);

	if (!event)
		return false;
	out->path = as_seen(event->watcher, event->path);
	out->path_len = event->path->len - (size_t)(out->path - event->path->text);
	out->token = event->watcher->token;
	out->token_len = event->watcher->token_len;
	return true;
}

void xn_xs_conn_pop_event(struct xn_xs_conn *conn)
{
	struct event *event = first_event(conn);

	if (event)
		drop_event(event);
}

size_t xn_xs_conn_n_events(const struct xn_xs_conn *conn)
{
	return conn->n_events;
}

void xn_xs_conn_each_event(struct xn_xs_conn *conn,
			   void (*visit)(struct xn_xs_watcher *watcher, const char *path,
					 void *arg),
			   void *arg)
{
	xn_list_each(link, &conn->events) {
		struct event *event = xn_list_entry(link, struct event, of_conn);

		visit(event->watcher, event->path->text, arg);
	}
}

void xn_xs_watcher_put_event(struct xn_xs_watcher *watcher, const char *text)
{
	struct xn_xs_event_path *path = xn_xs_event_path_new(text, strlen(text));

	xn_xs_event_queue(watcher, path);
	xn_xs_event_path_unref(path);
}

void xn_xs_conn_drop_events(struct xn_xs_conn *conn)
{
	while (conn->n_events)
		drop_event(first_event(conn));
}
