/*
 * Watches. They hang on a tree of their own, which holds only watched paths, so that a change finds
 * the watches above it, and a removal those below it, without looking at the others. What they are
 * told waits in event.c.
 */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- which watches a change concerns ---- */

/* One change on its way to its watchers. */
struct firing {
	struct xn_xs_store *store;
	const char *path;
	size_t len;
	const struct xn_xs_perms *perms, *old_perms; /* of the node */
	const struct xn_xs_perms *parent_perms;      /* its names changed; NULL: they did not */
	struct xn_xs_event_path *shared;
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
	if (!firing->shared)
		firing->shared = xn_xs_event_path_new(firing->path, firing->len);
	xn_xs_event_queue(watcher, firing->shared);
}

/* Watches at @node, which is @levels above the changed path. */
static void tell_all(struct firing *firing, struct xn_xs_node *node, int levels)
{
	if (!node->watchers)
		return;
	xn_list_each(link, node->watchers) {
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

/* @at watches what went away as @gone. */
static void tell_of_gone(struct xn_xs_store *store, struct xn_xs_node *at,
			 const struct xn_xs_node *gone)
{
	char room[XN_XS_PATH_MAX + 1];
	const char *path = xn_xs_node_path(at, room);
	struct firing firing = {.store = store,
				.path = path,
				.len = strlen(path),
				.perms = gone->perms,
				.parent_perms = gone->parent->perms};

	tell_all(&firing, at, 0);
	xn_xs_event_path_unref(firing.shared);
}

/* Watches on what went away together with a removed node: each is told of its own path. Both trees
 * are walked side by side, only where both go on. */
static void tell_below(struct xn_xs_store *store, struct xn_xs_node *watched,
		       struct xn_xs_node *removed)
{
	struct xn_xs_node *gone[XN_XS_PATH_MAX / 2 + 2] = {removed}; /* by level */
	unsigned level = 0;
	struct xn_xs_node *at = xn_xs_node_next(watched, watched, &level);

	while (at) {
		gone[level] = xn_xs_node_kid(gone[level - 1], at->name, at->name_len);
		if (gone[level] && at->watchers)
			tell_of_gone(store, at, gone[level]);
		at = gone[level] ? xn_xs_node_next(watched, at, &level)
				 : xn_xs_node_skip(watched, at, &level);
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
	xn_xs_event_path_unref(firing.shared);
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
		xn_list_each(link, node->watchers) {
			struct xn_xs_watcher *watcher =
				xn_list_entry(link, struct xn_xs_watcher, at_node);

			tell(watcher->depth == 1 ? &exact : &plain, watcher);
		}
	xn_xs_event_path_unref(plain.shared);
	xn_xs_event_path_unref(exact.shared);
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
			kid = xn_xs_node_new(store, name, name_len, NULL, 0, NULL);
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

const char *xn_xs_watcher_given(const struct xn_xs_watcher *watcher)
{
	return watcher->token + watcher->token_len + 1;
}

const char *xn_xs_watcher_path(const struct xn_xs_watcher *watcher, char room[XN_XS_PATH_MAX + 1])
{
	const char *path = xn_xs_node_path(watcher->node, room);

	return watcher->is_special ? path + 1 : path;
}

/* The absolute path, or the special name, that @path means. */
static int resolve(const struct xn_xs_conn *conn, const char *path, struct xn_xs_path *out)
{
	if (!xn_xs_path_is_special(path))
		return xn_xs_path_for(out, conn->domain, path);
	out->text = path;
	out->len = strlen(path);
	return xn_xs_special_index(path) < 0 ? -EINVAL : 0;
}

static uint64_t known_hash(const struct xn_xs_conn *conn, const struct xn_xs_path *path,
			   const char *token, size_t token_len)
{
	return xn_hash_bytes(path->text, path->len) * 31 + xn_hash_bytes(token, token_len) +
	       (uint64_t)(uintptr_t)conn;
}

static struct xn_xs_watcher *find_watch(struct xn_xs_conn *conn, const struct xn_xs_path *path,
					const char *token, size_t token_len)
{
	struct xn_hnode *at = xn_hmap_first_same(&conn->store->watchers,
						 known_hash(conn, path, token, token_len));
	char room[XN_XS_PATH_MAX + 1];

	for (; at; at = xn_hmap_next_same(at)) {
		struct xn_xs_watcher *watcher = xn_container_of(at, struct xn_xs_watcher, known);

		if (watcher->conn == conn && watcher->token_len == token_len &&
		    !memcmp(watcher->token, token, token_len) &&
		    !strcmp(xn_xs_watcher_path(watcher, room), path->text))
			return watcher;
	}
	return NULL;
}

struct xn_xs_watcher *xn_xs_conn_find_watch(struct xn_xs_conn *conn, const char *path,
					    const char *token)
{
	struct xn_xs_path resolved;

	if (resolve(conn, path, &resolved) < 0)
		return NULL;
	return find_watch(conn, &resolved, token, strlen(token));
}

/* What a watch may add to the tree of watches: as if nobody else watched there. */
static size_t tree_bytes(const struct xn_xs_path *path)
{
	size_t bytes = path->len;

	for (size_t i = 0; i < path->len; i++)
		if (path->text[i] == '/')
			bytes += sizeof(struct xn_xs_node) + 5 * sizeof(void *);
	return bytes;
}

static struct xn_xs_watcher *watcher_new(struct xn_xs_conn *conn, const char *path,
					 const char *token, const struct xn_xs_path *resolved)
{
	size_t token_len = strlen(token), path_len = strlen(path);
	size_t size = sizeof(struct xn_xs_watcher) + token_len + path_len + 2;
	size_t bytes = size + tree_bytes(resolved);
	struct xn_xs_watcher *watcher;

	if (xn_xs_quota_check_memory(conn->domain, conn->domain, bytes) < 0)
		return NULL;
	watcher = xn_calloc(1, size);
	watcher->conn = conn;
	watcher->id = ++conn->store->next_watcher;
	watcher->cut = (unsigned)(resolved->len - path_len);
	watcher->bytes = bytes;
	watcher->token_len = token_len;
	watcher->is_special = xn_xs_path_is_special(path);
	memcpy(watcher->token, token, token_len + 1);
	memcpy(watcher->token + token_len + 1, path, path_len + 1);
	watcher->node = watch_node(conn->store, resolved->text, resolved->len);
	xn_list_init(&watcher->events);
	xn_list_push(watcher->node->watchers, &watcher->at_node);
	xn_list_push(&conn->watchers, &watcher->link);
	xn_hmap_insert(&conn->store->watchers, &watcher->known,
		       known_hash(conn, resolved, token, token_len));
	conn->domain->account.watches++;
	conn->domain->account.watch_bytes += bytes;
	return watcher;
}

int xn_xs_conn_watch(struct xn_xs_conn *conn, const char *path, const char *token, int depth,
		     void (*fired)(const char *path, const char *token, void *arg), void *arg,
		     struct xn_xs_watcher **watcher_out)
{
	size_t token_len = strlen(token);
	struct xn_xs_watcher *watcher;
	struct xn_xs_path resolved;
	int rc = resolve(conn, path, &resolved);

	if (rc < 0 || depth < XN_XS_NO_DEPTH || token_len > XN_XS_VALUE_MAX)
		return -EINVAL;
	/* Watches that have callbacks and no token are told apart by their handles. */
	if ((*token || !fired) && find_watch(conn, &resolved, token, token_len))
		return -EEXIST;
	rc = xn_xs_quota_check(conn->domain, conn->domain, XN_XS_QUOTA_WATCHES,
			       conn->domain->account.watches + 1);
	if (rc < 0)
		return rc;
	watcher = watcher_new(conn, path, token, &resolved);
	if (!watcher)
		return -ENOSPC;
	watcher->depth = depth;
	watcher->fired = fired;
	watcher->arg = arg;
	xn_xs_watcher_put_event(watcher, resolved.text);
	if (watcher_out)
		*watcher_out = watcher;
	return 0;
}

void xn_xs_conn_unwatch(struct xn_xs_watcher *watcher)
{
	struct xn_xs_account *account = &watcher->conn->domain->account;

	xn_xs_event_drop_all(watcher);
	account->watches--;
	account->watch_bytes -= watcher->bytes;
	xn_list_remove(&watcher->at_node);
	xn_list_remove(&watcher->link);
	xn_hmap_remove(&watcher->conn->store->watchers, &watcher->known);
	prune(watcher->node);
	free(watcher);
}

void xn_xs_watch_drop_all(struct xn_xs_conn *conn)
{
	while (!xn_list_empty(&conn->watchers))
		xn_xs_conn_unwatch(xn_list_entry(conn->watchers.next, struct xn_xs_watcher, link));
}

void xn_xs_conn_each_watch(struct xn_xs_conn *conn,
			   void (*visit)(struct xn_xs_watcher *watcher, const char *path,
					 const char *token, int depth, void *arg),
			   void *arg)
{
	xn_list_each(link, &conn->watchers) {
		struct xn_xs_watcher *watcher = xn_list_entry(link, struct xn_xs_watcher, link);

		visit(watcher, xn_xs_watcher_given(watcher), watcher->token, watcher->depth, arg);
	}
}
