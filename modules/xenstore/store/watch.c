/*
 * Watches and their events. Watches hang on a tree of their own, which holds only watched paths, so
 * that a change finds the watches above it, and a removal those below it, without looking at the
 * others. Events wait in one queue, at most one for a watch and path, until the owner delivers.
 */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

struct event_path { /* shared by the events of one change */
	unsigned refs;
	size_t len;
	char text[];
};

struct event {
	struct xn_list link; /* the store's queue */
	struct xn_list of_watch;
	struct xn_hnode pending;
	struct xn_xs_watcher *watcher;
	struct event_path *path;
};

struct xn_xs_watcher {
	struct xn_list link; /* the connection's */
	struct xn_list at_node;
	struct xn_list events;
	struct xn_xs_conn *conn;
	struct xn_xs_node *node; /* in the tree of watches */
	uint64_t id;
	int depth;
	unsigned cut; /* bytes to leave out of an event's path: the watch's was relative */
	void (*fired)(const char *path, const char *token, void *arg);
	void *arg;
	size_t bytes;
	char token[]; /* then the path as given */
};

/* ---- events ---- */

static struct event_path *path_new(const char *text, size_t len)
{
	struct event_path *path = xn_malloc(sizeof(*path) + len + 1);

	path->refs = 1;
	path->len = len;
	memcpy(path->text, text, len);
	path->text[len] = '\0';
	return path;
}

static void path_unref(struct event_path *path)
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
	struct xn_xs_account *account = &event->watcher->conn->domain->account;

	account->events--;
	account->event_bytes -= event_bytes(event);
	xn_list_remove(&event->link);
	xn_list_remove(&event->of_watch);
	xn_hmap_remove(&event->watcher->conn->store->pending, &event->pending);
	path_unref(event->path);
	free(event);
}

static bool is_pending(struct xn_xs_watcher *watcher, const struct event_path *path, uint64_t hash)
{
	struct xn_hnode *at = xn_hmap_first_same(&watcher->conn->store->pending, hash);

	for (; at; at = xn_hmap_next_same(at)) {
		struct event *event = xn_container_of(at, struct event, pending);

		if (event->watcher == watcher && event->path->len == path->len &&
		    !memcmp(event->path->text, path->text, path->len))
			return true;
	}
	return false;
}

/* @path_hash: of the path, once for all watchers. */
static void queue(struct xn_xs_watcher *watcher, struct event_path *path, uint64_t path_hash)
{
	struct xn_xs_store *store = watcher->conn->store;
	struct xn_xs_account *account = &watcher->conn->domain->account;
	uint64_t hash = path_hash ^ (watcher->id * 0x9e3779b97f4a7c15u);
	bool was_idle = xn_list_empty(&store->events);
	struct event *event;

	if (is_pending(watcher, path, hash))
		return;
	event = xn_malloc(sizeof(*event));
	event->watcher = watcher;
	event->path = path;
	path->refs++;
	xn_list_push(&store->events, &event->link);
	xn_list_push(&watcher->events, &event->of_watch);
	xn_hmap_insert(&store->pending, &event->pending, hash);
	account->events++;
	account->event_bytes += event_bytes(event);
	if (was_idle && !store->is_delivering && store->wake)
		store->wake(store->wake_arg);
}

bool xn_xs_store_deliver(struct xn_xs_store *store, unsigned at_most)
{
	store->is_delivering = true;
	while (at_most-- && !xn_list_empty(&store->events)) {
		struct event *event = xn_list_entry(store->events.next, struct event, link);
		struct xn_xs_watcher *watcher = event->watcher;
		struct event_path *path = event->path;

		path->refs++;
		drop_event(event);
		/* The callback may unwatch, and the token goes with the watch: nothing after it. */
		watcher->fired(path->text + (path->len >= watcher->cut ? watcher->cut : 0),
			       watcher->token, watcher->arg);
		path_unref(path);
	}
	store->is_delivering = false;
	return !xn_list_empty(&store->events);
}

/* ---- which watches a change concerns ---- */

/* One change on its way to its watchers. */
struct firing {
	struct xn_xs_store *store;
	const char *path;
	size_t len;
	const struct xn_xs_perms *perms, *old_perms; /* of the node */
	const struct xn_xs_perms *parent_perms;      /* its names changed; NULL: they did not */
	struct event_path *shared;
	uint64_t hash;
};

static bool may_know(const struct firing *firing, const struct xn_xs_domain *who)
{
	const struct xn_xs_perms *const lists[] = {firing->perms, firing->old_perms,
						   firing->parent_perms};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(lists); i++)
		if (lists[i] && xn_xs_perms_mode(lists[i], who) & XN_XS_MAY_READ)
			return true;
	return false;
}

static void tell(struct firing *firing, struct xn_xs_watcher *watcher)
{
	if (!may_know(firing, watcher->conn->domain))
		return;
	if (!firing->shared) {
		firing->shared = path_new(firing->path, firing->len);
		firing->hash = xn_hash_bytes(firing->path, firing->len);
	}
	queue(watcher, firing->shared, firing->hash);
}

/* Watches at @node, which is @levels above the changed path. */
static void tell_all(struct firing *firing, struct xn_xs_node *node, int levels)
{
	if (!node->watchers)
		return;
	xn_list_each(link, node->watchers)
	{
		struct xn_xs_watcher *watcher = xn_list_entry(link, struct xn_xs_watcher, at_node);

		if (watcher->depth == XN_XS_NO_DEPTH || levels <= watcher->depth)
			tell(firing, watcher);
	}
}

static int count_levels(const char *path, size_t len)
{
	int levels = 0;

	if (len > 1)
		for (size_t i = 0; i < len; i++)
			levels += path[i] == '/';
	return levels;
}

/* Watches on what went away together with a removed node: each is told of its own path. */
static void tell_below(struct xn_xs_store *store, struct xn_xs_node *watched,
		       struct xn_xs_node *removed)
{
	struct xn_xs_node *at = watched;
	char room[XN_XS_PATH_MAX + 1];
	unsigned level = 0;

	while ((at = xn_xs_node_next(watched, at, &level))) {
		const char *path = xn_xs_node_path(at, room);
		const char *below = path;
		struct xn_xs_node *gone;

		for (const struct xn_xs_node *up = watched; up->parent; up = up->parent)
			below += up->name_len + 1u;
		gone = xn_xs_node_find(removed, below, strlen(below));
		if (gone) {
			struct firing firing = {.store = store,
						.path = path,
						.len = strlen(path),
						.perms = gone->perms,
						.parent_perms = gone->parent->perms};

			tell_all(&firing, at, 0);
			path_unref(firing.shared);
		}
	}
}

void xn_xs_watch_fire(struct xn_xs_store *store, const struct xn_xs_change *change)
{
	struct firing firing = {.store = store,
				.path = change->path,
				.len = change->path_len,
				.perms = change->node->perms,
				.old_perms = change->old_perms};
	const char *at = change->path, *end = at + change->path_len, *name;
	int levels = count_levels(change->path, change->path_len);
	struct xn_xs_node *node = store->watch_root;
	size_t name_len;

	if (change->kind == XN_XS_CREATED || change->kind == XN_XS_REMOVED)
		firing.parent_perms = change->parent->perms;
	for (;;) {
		tell_all(&firing, node, levels);
		name = xn_xs_path_next(&at, end, &name_len);
		if (!name)
			break;
		node = xn_xs_node_kid(node, name, name_len);
		if (!node)
			break;
		levels--;
	}
	if (node && change->kind == XN_XS_REMOVED)
		tell_below(store, node, change->node);
	path_unref(firing.shared);
}

void xn_xs_watch_fire_special(struct xn_xs_store *store, int special, uint32_t domid)
{
	const char *name = xn_xs_special_names[special];
	struct xn_xs_node *node = xn_xs_node_kid(store->special_root, name, strlen(name));
	char *with_domid = xn_asprintf("%s/%u", name, domid);
	struct firing plain = {.store = store,
			       .path = name,
			       .len = strlen(name),
			       .perms = store->special_perms[special]};
	struct firing exact = plain;

	exact.path = with_domid;
	exact.len = strlen(with_domid);
	if (node && node->watchers)
		xn_list_each(link, node->watchers)
		{
			struct xn_xs_watcher *watcher =
				xn_list_entry(link, struct xn_xs_watcher, at_node);

			tell(watcher->depth == 1 ? &exact : &plain, watcher);
		}
	path_unref(plain.shared);
	path_unref(exact.shared);
	free(with_domid);
}

/* ---- watching ---- */

static struct xn_xs_node *watch_node(struct xn_xs_store *store, const char *path, size_t len)
{
	struct xn_xs_node *node =
		xn_xs_path_is_special(path) ? store->special_root : store->watch_root;
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		struct xn_xs_node *kid = xn_xs_node_kid(node, name, name_len);

		if (!kid) {
			kid = xn_xs_node_new(name, name_len, NULL, 0, NULL);
			xn_xs_node_attach(node, kid);
		}
		node = kid;
	}
	if (!node->watchers) {
		node->watchers = xn_malloc(sizeof(*node->watchers));
		xn_list_init(node->watchers);
	}
	return node;
}

/* The tree holds nothing that nobody watches. */
static void prune(struct xn_xs_node *node)
{
	if (xn_list_empty(node->watchers)) {
		free(node->watchers);
		node->watchers = NULL;
	}
	while (node->parent && !node->watchers && !node->kids) {
		struct xn_xs_node *parent = node->parent;

		xn_xs_node_detach(node);
		xn_xs_node_free(node);
		node = parent;
	}
}

static const char *given_path(const struct xn_xs_watcher *watcher)
{
	return watcher->token + strlen(watcher->token) + 1;
}

struct xn_xs_watcher *xn_xs_conn_find_watch(struct xn_xs_conn *conn, const char *path,
					    const char *token)
{
	xn_list_each(link, &conn->watchers)
	{
		struct xn_xs_watcher *watcher = xn_list_entry(link, struct xn_xs_watcher, link);

		if (!strcmp(watcher->token, token) && !strcmp(given_path(watcher), path))
			return watcher;
	}
	return NULL;
}

static struct xn_xs_watcher *watcher_new(struct xn_xs_conn *conn, const char *path,
					 const char *token, const struct xn_xs_path *resolved)
{
	size_t token_len = strlen(token), path_len = strlen(path);
	size_t size = sizeof(struct xn_xs_watcher) + token_len + path_len + 2;
	struct xn_xs_watcher *watcher = xn_calloc(1, size);

	watcher->conn = conn;
	watcher->id = ++conn->store->next_watcher;
	watcher->cut = (unsigned)(resolved->len - path_len);
	watcher->bytes = size;
	memcpy(watcher->token, token, token_len + 1);
	memcpy(watcher->token + token_len + 1, path, path_len + 1);
	watcher->node = watch_node(conn->store, resolved->text, resolved->len);
	xn_list_init(&watcher->events);
	xn_list_push(watcher->node->watchers, &watcher->at_node);
	xn_list_push(&conn->watchers, &watcher->link);
	conn->domain->account.watches++;
	conn->domain->account.watch_bytes += size;
	return watcher;
}

int xn_xs_conn_watch(struct xn_xs_conn *conn, const char *path, const char *token, int depth,
		     void (*fired)(const char *path, const char *token, void *arg), void *arg,
		     struct xn_xs_watcher **watcher_out)
{
	struct xn_xs_watcher *watcher;
	struct xn_xs_path resolved;
	struct event_path *first;

	if (xn_xs_path_is_special(path)) {
		if (xn_xs_special_index(path) < 0)
			return -EINVAL;
		resolved.text = path;
		resolved.len = strlen(path);
	} else if (xn_xs_path_resolve(&resolved, conn->domain->domid, path) < 0) {
		return -EINVAL;
	}
	if (depth < XN_XS_NO_DEPTH || strlen(token) > XN_XS_VALUE_MAX)
		return -EINVAL;
	/* Watches without a token are told apart by their handles. */
	if (*token && xn_xs_conn_find_watch(conn, path, token))
		return -EEXIST;
	watcher = watcher_new(conn, path, token, &resolved);
	watcher->depth = depth;
	watcher->fired = fired;
	watcher->arg = arg;
	first = path_new(resolved.text, resolved.len);
	queue(watcher, first, xn_hash_bytes(first->text, first->len));
	path_unref(first);
	if (watcher_out)
		*watcher_out = watcher;
	return 0;
}

void xn_xs_conn_unwatch(struct xn_xs_watcher *watcher)
{
	struct xn_xs_account *account = &watcher->conn->domain->account;

	while (!xn_list_empty(&watcher->events))
		drop_event(xn_list_entry(watcher->events.next, struct event, of_watch));
	account->watches--;
	account->watch_bytes -= watcher->bytes;
	xn_list_remove(&watcher->at_node);
	xn_list_remove(&watcher->link);
	prune(watcher->node);
	free(watcher);
}

void xn_xs_watch_drop_all(struct xn_xs_conn *conn)
{
	while (!xn_list_empty(&conn->watchers))
		xn_xs_conn_unwatch(xn_list_entry(conn->watchers.next, struct xn_xs_watcher, link));
}
