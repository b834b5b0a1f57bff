/*
 * The store's requests on the tree and on a transaction's overlay, the change set that every change
 * of the tree goes through, domains and connections. See store.h for what the requests mean.
 */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *const xn_xs_special_names[XN_XS_SPECIALS] = {
	[XN_XS_INTRODUCE] = "@introduceDomain",
	[XN_XS_RELEASE] = "@releaseDomain",
};

/* ---- finding ---- */

static struct xn_xs_node *shown(struct xn_xs_node *own, struct xn_xs_node *base)
{
	if (!own || own->flags & XN_XS_THROUGH)
		return base;
	return own->flags & XN_XS_GONE ? NULL : own;
}

void xn_xs_find(struct xn_xs_store *store, struct xn_xs_node *overlay, const char *path, size_t len,
		struct xn_xs_spot *out)
{
	struct xn_xs_node *own = overlay, *base = store->root, *node = shown(own, base);
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	*out = (struct xn_xs_spot){.nearest = node, .has_parent = true};
	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		own = own ? xn_xs_node_kid(own, name, name_len) : NULL;
		base = base ? xn_xs_node_kid(base, name, name_len) : NULL;
		if (own && own->flags & XN_XS_HIDES)
			base = NULL;
		node = shown(own, base);
		if (!node) {
			out->has_parent = at == end;
			break;
		}
		out->nearest = node;
		out->nearest_len = (size_t)(at - path);
	}
	out->node = node;
}

/* The node if @who has @need there; else the right refusal: one who may not see the place where the
 * path ends must not learn whether it goes on. */
static int find_for(const struct xn_xs_view *view, const char *path, size_t len, unsigned need,
		    struct xn_xs_spot *spot)
{
	xn_xs_find(view->store, view->overlay, path, len, spot);
	if ((xn_xs_perms_mode(spot->nearest->perms, view->who) & need) != need)
		return -EACCES;
	return spot->node ? 0 : -ENOENT;
}

/* ---- the change set ---- */

static struct xn_xs_change *add_change(struct xn_xs_store *store, enum xn_xs_delta_kind kind,
				       struct xn_xs_node *node, const char *path, size_t len)
{
	struct xn_xs_change *change;

	if (store->n_changes == store->cap_changes) {
		store->cap_changes = store->cap_changes ? store->cap_changes * 2 : 16;
		store->changes =
			xn_realloc(store->changes, store->cap_changes * sizeof(store->changes[0]));
	}
	change = &store->changes[store->n_changes++];
	*change = (struct xn_xs_change){.kind = kind,
					.node = node,
					.parent = node->parent,
					.path = path,
					.path_len = len,
					.old_generation = node->generation};
	if (node->parent)
		change->old_parent_generation = node->parent->generation;
	return change;
}

static struct xn_xs_account *account_of(const struct xn_xs_node *node)
{
	return &node->perms->entries[0].domain->account;
}

unsigned xn_xs_store_account(const struct xn_xs_store *store, struct xn_xs_account *sum)
{
	unsigned n = 0;

	*sum = (struct xn_xs_account){0};
	for (struct xn_hnode *node = xn_hmap_first(&store->domains); node;
	     node = xn_hmap_next(&store->domains, node)) {
		const struct xn_xs_account *one =
			&xn_container_of(node, struct xn_xs_domain, hash)->account;

		n++;
		sum->nodes += one->nodes;
		sum->node_bytes += one->node_bytes;
		sum->watches += one->watches;
		sum->watch_bytes += one->watch_bytes;
		sum->transactions += one->transactions;
		sum->transaction_bytes += one->transaction_bytes;
		sum->events += one->events;
		sum->event_bytes += one->event_bytes;
	}
	return n;
}

void xn_xs_charge(const struct xn_xs_node *node)
{
	account_of(node)->nodes++;
	account_of(node)->node_bytes += xn_xs_node_bytes(node);
}

void xn_xs_discharge(const struct xn_xs_node *node)
{
	account_of(node)->nodes--;
	account_of(node)->node_bytes -= xn_xs_node_bytes(node);
}

static void each_in_tree(struct xn_xs_node *top, void (*visit)(const struct xn_xs_node *node))
{
	unsigned level = 0;

	for (struct xn_xs_node *at = top; at; at = xn_xs_node_next(top, at, &level))
		visit(at);
}

static struct xn_xs_node *create(struct xn_xs_store *store, struct xn_xs_node *parent,
				 struct xn_xs_node *node, const char *path, size_t len,
				 bool implied)
{
	struct xn_xs_change *change;

	xn_xs_node_attach(parent, node);
	change = add_change(store, XN_XS_CREATED, node, path, len);
	change->implied = implied;
	node->generation = parent->generation = store->generation + 1;
	xn_xs_charge(node);
	return node;
}

static void set_value(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		      size_t len, const void *value, size_t value_len)
{
	struct xn_xs_change *change = add_change(store, XN_XS_VALUE, node, path, len);

	change->old_value_at = store->old_values.len;
	change->old_value_len = node->value_len;
	xn_buf_add(&store->old_values, xn_xs_node_value(node), node->value_len);
	xn_xs_discharge(node);
	xn_xs_node_set_value(node, value, value_len);
	xn_xs_charge(node);
	node->generation = store->generation + 1;
}

/* The caller's reference to @perms goes to the node, the node's old one to the change. */
static void set_perms(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		      size_t len, struct xn_xs_perms *perms)
{
	struct xn_xs_change *change = add_change(store, XN_XS_PERMS, node, path, len);

	xn_xs_discharge(node);
	change->old_perms = node->perms;
	node->perms = perms;
	xn_xs_charge(node);
	node->generation = store->generation + 1;
}

static void remove_tree(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
			size_t len)
{
	add_change(store, XN_XS_REMOVED, node, path, len);
	node->parent->generation = store->generation + 1;
	each_in_tree(node, xn_xs_discharge);
	xn_xs_node_detach(node);
}

static void undo(struct xn_xs_store *store, struct xn_xs_change *change)
{
	struct xn_xs_node *node = change->node;

	switch (change->kind) {
	case XN_XS_CREATED:
		xn_xs_discharge(node);
		xn_xs_node_detach(node);
		xn_xs_node_drop(node);
		node = NULL;
		break;
	case XN_XS_VALUE:
		xn_xs_discharge(node);
		xn_xs_node_set_value(node, store->old_values.data + change->old_value_at,
				     change->old_value_len);
		xn_xs_charge(node);
		break;
	case XN_XS_PERMS:
		xn_xs_discharge(node);
		xn_xs_perms_unref(node->perms);
		node->perms = change->old_perms;
		xn_xs_charge(node);
		break;
	case XN_XS_REMOVED:
		xn_xs_node_attach(change->parent, node);
		each_in_tree(node, xn_xs_charge);
		break;
	}
	if (node)
		node->generation = change->old_generation;
	if (change->parent)
		change->parent->generation = change->old_parent_generation;
}

static void empty_changes(struct xn_xs_store *store)
{
	store->n_changes = 0;
	store->old_values.len = 0;
	if (store->cap_changes > 1024) { /* one large transaction must not keep its room for ever */
		free(store->changes);
		store->changes = NULL;
		store->cap_changes = 0;
		xn_buf_clear(&store->old_values);
	}
}

void xn_xs_rollback(struct xn_xs_store *store)
{
	for (size_t i = store->n_changes; i > 0; i--)
		undo(store, &store->changes[i - 1]);
	empty_changes(store);
}

/* The one way by which changes become true: journal, then events, then the old state is let go. */
void xn_xs_commit(struct xn_xs_store *store, const struct xn_xs_domain *by, uint32_t transaction)
{
	struct xn_xs_commit commit = {
		.store = store, .by = by, .transaction = transaction, .n = store->n_changes};

	if (!store->n_changes)
		return;
	commit.generation = ++store->generation;
	if (store->journal)
		store->journal(&commit, store->journal_arg);
	for (size_t i = 0; i < store->n_changes; i++)
		if (!store->changes[i].implied)
			xn_xs_watch_fire(store, &store->changes[i]);
	for (size_t i = 0; i < store->n_changes; i++)
		xn_xs_perms_unref(store->changes[i].old_perms);
	/* Last, because a node may have been created or changed before it was removed. */
	for (size_t i = 0; i < store->n_changes; i++)
		if (store->changes[i].kind == XN_XS_REMOVED)
			xn_xs_node_free_tree(store->changes[i].node, xn_xs_node_drop);
	empty_changes(store);
}

void xn_xs_commit_delta(const struct xn_xs_commit *commit, size_t index, struct xn_xs_delta *out)
{
	const struct xn_xs_change *change = &commit->store->changes[index];
	const struct xn_xs_node *node = change->node;

	*out = (struct xn_xs_delta){.kind = change->kind,
				    .implied = change->implied,
				    .path = change->path,
				    .path_len = change->path_len,
				    .value = xn_xs_node_value(node),
				    .value_len = node->value_len,
				    .perms = node->perms,
				    .old_perms = change->old_perms};
	if (change->kind == XN_XS_CREATED)
		out->inherited = node->parent && node->perms == node->parent->perms;
	if (change->kind == XN_XS_VALUE) {
		out->old_value = commit->store->old_values.data + change->old_value_at;
		out->old_value_len = change->old_value_len;
	} else if (change->kind == XN_XS_REMOVED) {
		out->old_value = xn_xs_node_value(node);
		out->old_value_len = node->value_len;
		out->old_perms = node->perms;
		out->value = NULL;
		out->value_len = 0;
		out->perms = NULL;
	}
}

void xn_xs_store_set_journal(struct xn_xs_store *store,
			     void (*journal)(const struct xn_xs_commit *commit, void *arg),
			     void *arg)
{
	store->journal = journal;
	store->journal_arg = arg;
}

/* ---- changes of an overlay ---- */

static struct xn_xs_node *overlay_step(struct xn_xs_node *at, const char *name, size_t len)
{
	struct xn_xs_node *kid = xn_xs_node_kid(at, name, len);

	if (kid)
		return kid;
	kid = xn_xs_node_new(name, len, NULL, 0, NULL);
	kid->flags = XN_XS_THROUGH;
	xn_xs_node_attach(at, kid);
	return kid;
}

/* The overlay's own node at @path. What it is, the caller sets. */
static struct xn_xs_node *overlay_touch(struct xn_xs_node *overlay, const char *path, size_t len)
{
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	while ((name = xn_xs_path_next(&at, end, &name_len)))
		overlay = overlay_step(overlay, name, name_len);
	return overlay;
}

/* From now on the node is what the overlay says, not what the store says. @perms is taken. */
static void overlay_own(struct xn_xs_node *node, struct xn_xs_perms *perms)
{
	xn_xs_perms_unref(node->perms);
	node->perms = perms;
	node->flags &= XN_XS_HIDES;
}

static void overlay_remove(struct xn_xs_node *node)
{
	while (node->kids) {
		struct xn_xs_node *kid = node->kids->at[node->kids->n - 1];

		xn_xs_node_detach(kid);
		xn_xs_node_free_tree(kid, xn_xs_node_drop);
	}
	overlay_own(node, NULL);
	node->flags = XN_XS_GONE | XN_XS_HIDES;
}

/* ---- requests ---- */

int xn_xs_do_read(const struct xn_xs_view *view, const char *path, size_t len,
		  struct xn_xs_node **node_out)
{
	struct xn_xs_spot spot;
	int rc = find_for(view, path, len, XN_XS_MAY_READ, &spot);

	*node_out = spot.node;
	return rc;
}

int xn_xs_do_perms(const struct xn_xs_view *view, const char *path, size_t len,
		   struct xn_xs_perms **perms_out)
{
	struct xn_xs_spot spot;
	int rc = find_for(view, path, len, XN_XS_MAY_READ, &spot);

	*perms_out = rc < 0 ? NULL : spot.node->perms;
	return rc;
}

static void add_name(const struct xn_xs_node *node, struct xn_buf *names)
{
	xn_buf_add(names, node->name, node->name_len + 1u);
}

static int order_of_names(const struct xn_xs_node *a, const struct xn_xs_node *b)
{
	int order = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);

	return order ? order : (int)a->name_len - (int)b->name_len;
}

/* Both layers' children in order, each judged as shown() does. */
static void add_merged_names(struct xn_xs_node *own, struct xn_xs_node *base, struct xn_buf *names)
{
	uint32_t i = 0, j = 0, n_own = own ? xn_xs_node_n_kids(own) : 0;
	uint32_t n_base = base ? xn_xs_node_n_kids(base) : 0;

	while (i < n_own || j < n_base) {
		struct xn_xs_node *a = i < n_own ? own->kids->at[i] : NULL;
		struct xn_xs_node *b = j < n_base ? base->kids->at[j] : NULL;
		int order = !a ? 1 : !b ? -1 : order_of_names(a, b);
		struct xn_xs_node *node;

		if (order <= 0)
			i++;
		if (order >= 0)
			j++;
		node = shown(order <= 0 ? a : NULL, order >= 0 ? b : NULL);
		if (node)
			add_name(node, names);
	}
}

int xn_xs_do_directory(const struct xn_xs_view *view, const char *path, size_t len,
		       struct xn_buf *names)
{
	struct xn_xs_node *own = view->overlay, *base = view->store->root;
	const char *at = path, *end = path + len, *name;
	struct xn_xs_spot spot;
	size_t name_len;
	int rc = find_for(view, path, len, XN_XS_MAY_READ, &spot);

	if (rc < 0)
		return rc;
	if (!own) {
		for (uint32_t i = 0; i < xn_xs_node_n_kids(spot.node); i++)
			add_name(spot.node->kids->at[i], names);
		return 0;
	}
	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		own = own ? xn_xs_node_kid(own, name, name_len) : NULL;
		base = base ? xn_xs_node_kid(base, name, name_len) : NULL;
		if (own && own->flags & XN_XS_HIDES)
			base = NULL;
	}
	add_merged_names(own, base, names);
	return 0;
}

/* Makes what is missing of @path below spot->nearest; the last node gets the value. */
static void make_path(const struct xn_xs_view *view, const char *path, size_t len,
		      const struct xn_xs_spot *spot, const void *value, size_t value_len)
{
	const char *at = path + spot->nearest_len, *end = path + len, *name;
	struct xn_xs_node *node = spot->nearest;
	struct xn_xs_perms *perms = node->perms;
	size_t name_len;

	if (view->overlay)
		node = overlay_touch(view->overlay, path, spot->nearest_len);
	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		bool is_last = at == end;

		perms = xn_xs_perms_inherit(perms, view->who);
		if (view->overlay) {
			node = overlay_step(node, name, name_len);
			overlay_own(node, perms);
			xn_xs_node_set_value(node, value, is_last ? value_len : 0);
		} else {
			struct xn_xs_node *kid = xn_xs_node_new(name, name_len, value,
								is_last ? value_len : 0, perms);

			node = create(view->store, node, kid, path, (size_t)(at - path), !is_last);
		}
	}
}

int xn_xs_do_write(const struct xn_xs_view *view, const char *path, size_t len, const void *value,
		   size_t value_len, bool only_make)
{
	struct xn_xs_spot spot;
	struct xn_xs_node *node;
	int rc = find_for(view, path, len, XN_XS_MAY_WRITE, &spot);

	if (rc == -ENOENT) {
		make_path(view, path, len, &spot, value, value_len);
		return 0;
	}
	if (rc < 0 || only_make)
		return rc;
	if (!view->overlay) {
		set_value(view->store, spot.node, path, len, value, value_len);
		return 0;
	}
	node = overlay_touch(view->overlay, path, len);
	if (node->flags & XN_XS_THROUGH)
		overlay_own(node, xn_xs_perms_ref(spot.node->perms));
	xn_xs_node_set_value(node, value, value_len);
	return 0;
}

int xn_xs_do_rm(const struct xn_xs_view *view, const char *path, size_t len)
{
	struct xn_xs_spot spot;
	int rc;

	if (len == 1)
		return -EINVAL; /* the root stays */
	rc = find_for(view, path, len, XN_XS_MAY_WRITE, &spot);
	if (rc == -ENOENT && spot.has_parent)
		return 0;
	if (rc < 0)
		return rc;
	if (view->overlay)
		overlay_remove(overlay_touch(view->overlay, path, len));
	else
		remove_tree(view->store, spot.node, path, len);
	return 0;
}

static bool may_hand_over(const struct xn_xs_view *view, const struct xn_xs_perms *old,
			  const struct xn_xs_perms *fresh)
{
	return xn_xs_domain_is_privileged(view->who) ||
	       old->entries[0].domain == fresh->entries[0].domain;
}

int xn_xs_do_set_perms(const struct xn_xs_view *view, const char *path, size_t len,
		       struct xn_xs_perms *perms)
{
	struct xn_xs_spot spot;
	struct xn_xs_node *node;
	int rc = find_for(view, path, len, XN_XS_MAY_WRITE | XN_XS_OWNS, &spot);

	if (rc < 0)
		return rc;
	if (!may_hand_over(view, spot.node->perms, perms))
		return -EPERM;
	xn_xs_perms_ref(perms);
	if (!view->overlay) {
		set_perms(view->store, spot.node, path, len, perms);
		return 0;
	}
	node = overlay_touch(view->overlay, path, len);
	if (node->flags & XN_XS_THROUGH)
		xn_xs_node_set_value(node, xn_xs_node_value(spot.node), spot.node->value_len);
	overlay_own(node, perms);
	return 0;
}

/* ---- requests of a connection ---- */

/* Resolves the path and finds the transaction; *tx_out NULL: none named. */
static int open_request(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			struct xn_xs_path *path_out, struct xn_xs_tx **tx_out)
{
	*tx_out = NULL;
	if (tx) {
		*tx_out = xn_xs_tx_find(conn, tx);
		if (!*tx_out)
			return -ENOENT;
	}
	return xn_xs_path_resolve(path_out, conn->domain->domid, path);
}

static struct xn_xs_view view_of(const struct xn_xs_conn *conn)
{
	return (struct xn_xs_view){.store = conn->store, .who = conn->domain};
}

/* A single request is a change set of its own. */
static int finish_single(struct xn_xs_conn *conn, int rc)
{
	if (rc < 0)
		xn_xs_rollback(conn->store);
	else
		xn_xs_commit(conn->store, conn->domain, 0);
	return rc;
}

int xn_xs_conn_read(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char **value_out,
		    size_t *len_out)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_node *node;
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc = open_request(conn, tx, path, &p, &t);

	if (rc < 0)
		return rc;
	rc = t ? xn_xs_tx_read(t, &p, &node) : xn_xs_do_read(&view, p.text, p.len, &node);
	if (rc < 0)
		return rc;
	*value_out = xn_xs_node_value(node);
	*len_out = node->value_len;
	return 0;
}

static int write_or_make(struct xn_xs_conn *conn, uint32_t tx, const char *path, const void *value,
			 size_t len, bool only_make)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc = open_request(conn, tx, path, &p, &t);

	if (rc < 0)
		return rc;
	if (len > XN_XS_VALUE_MAX)
		return -E2BIG;
	if (t)
		return xn_xs_tx_write(t, &p, value, len, only_make);
	return finish_single(conn, xn_xs_do_write(&view, p.text, p.len, value, len, only_make));
}

int xn_xs_conn_write(struct xn_xs_conn *conn, uint32_t tx, const char *path, const void *value,
		     size_t len)
{
	return write_or_make(conn, tx, path, value, len, false);
}

int xn_xs_conn_write_string(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *s)
{
	return write_or_make(conn, tx, path, s, strlen(s), false);
}

int xn_xs_conn_writef(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *fmt, ...)
{
	char text[XN_XS_VALUE_MAX + 1];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return len < 0 ? -EINVAL : write_or_make(conn, tx, path, text, (size_t)len, false);
}

int xn_xs_conn_mkdir(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	return write_or_make(conn, tx, path, "", 0, true);
}

int xn_xs_conn_rm(struct xn_xs_conn *conn, uint32_t tx, const char *path)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc = open_request(conn, tx, path, &p, &t);

	if (rc < 0)
		return rc;
	if (t)
		return xn_xs_tx_rm(t, &p);
	return finish_single(conn, xn_xs_do_rm(&view, p.text, p.len));
}

int xn_xs_conn_directory(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *names)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc = open_request(conn, tx, path, &p, &t);

	if (rc < 0)
		return rc;
	return t ? xn_xs_tx_directory(t, &p, names)
		 : xn_xs_do_directory(&view, p.text, p.len, names);
}

int xn_xs_special_index(const char *path)
{
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		if (!strcmp(path, xn_xs_special_names[i]))
			return i;
	return -1;
}

static int special_perms(struct xn_xs_conn *conn, const char *path, struct xn_xs_perms **perms_out)
{
	int special = xn_xs_special_index(path);

	if (special < 0)
		return -EINVAL;
	*perms_out = conn->store->special_perms[special];
	return xn_xs_perms_mode(*perms_out, conn->domain) & XN_XS_MAY_READ ? 0 : -EACCES;
}

int xn_xs_conn_get_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *text)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_perms *perms;
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc;

	if (xn_xs_path_is_special(path)) {
		rc = special_perms(conn, path, &perms);
	} else {
		rc = open_request(conn, tx, path, &p, &t);
		if (rc < 0)
			return rc;
		rc = t ? xn_xs_tx_perms(t, &p, &perms)
		       : xn_xs_do_perms(&view, p.text, p.len, &perms);
	}
	if (rc < 0)
		return rc;
	xn_xs_perms_print(perms, '\0', text);
	return 0;
}

static int set_special_perms(struct xn_xs_conn *conn, const char *path, struct xn_xs_perms *perms)
{
	int special = xn_xs_special_index(path);

	if (special < 0)
		return -EINVAL;
	if (!xn_xs_domain_is_privileged(conn->domain))
		return -EACCES;
	xn_xs_perms_unref(conn->store->special_perms[special]);
	conn->store->special_perms[special] = xn_xs_perms_ref(perms);
	return 0;
}

static int set_node_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			  struct xn_xs_perms *perms)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_path p;
	struct xn_xs_tx *t;
	int rc = open_request(conn, tx, path, &p, &t);

	if (rc < 0)
		return rc;
	if (t)
		return xn_xs_tx_set_perms(t, &p, perms);
	return finish_single(conn, xn_xs_do_set_perms(&view, p.text, p.len, perms));
}

int xn_xs_conn_set_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *text,
			 size_t len)
{
	struct xn_xs_perm_spec specs[XN_XS_PERMS_MAX];
	struct xn_xs_perms *perms;
	int n = xn_xs_perms_parse(text, len, specs), rc;

	if (n < 0)
		return n;
	perms = xn_xs_perms_make(conn->store, specs, (unsigned)n);
	rc = xn_xs_path_is_special(path) ? set_special_perms(conn, path, perms)
					 : set_node_perms(conn, tx, path, perms);
	xn_xs_perms_unref(perms);
	return rc;
}

int xn_xs_conn_walk(struct xn_xs_conn *conn, const char *path, unsigned depth,
		    int (*visit)(const char *name, size_t name_len, unsigned level,
				 const char *value, size_t value_len, void *arg),
		    void *arg)
{
	struct xn_xs_view view = view_of(conn);
	struct xn_xs_node *top, *node;
	struct xn_xs_path p;
	unsigned level = 0;
	int rc = xn_xs_path_resolve(&p, conn->domain->domid, path);

	if (!rc)
		rc = xn_xs_do_read(&view, p.text, p.len, &top);
	if (rc < 0)
		return rc;
	for (node = top; node;) {
		bool may = xn_xs_perms_mode(node->perms, conn->domain) & XN_XS_MAY_READ;

		if (may) {
			rc = visit(node->name, node->name_len, level, xn_xs_node_value(node),
				   node->value_len, arg);
			if (rc)
				return rc;
		}
		node = may && level < depth ? xn_xs_node_next(top, node, &level)
					    : xn_xs_node_skip(top, node, &level);
	}
	return 0;
}

/* ---- domains ---- */

static struct xn_xs_domain *find_domain(struct xn_xs_store *store, uint32_t domid, bool alive)
{
	struct xn_hnode *at =
		xn_hmap_first_same(&store->domains, xn_hash_bytes(&domid, sizeof(domid)));

	for (; at; at = xn_hmap_next_same(at)) {
		struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, hash);

		if (domain->domid == domid && domain->alive == alive)
			return domain;
	}
	return NULL;
}

static struct xn_xs_domain *new_domain(struct xn_xs_store *store, uint32_t domid, bool alive)
{
	struct xn_xs_domain *domain = xn_calloc(1, sizeof(*domain));

	domain->store = store;
	domain->refs = 1;
	domain->domid = domid;
	domain->alive = alive;
	if (alive)
		domain->birth = ++store->next_birth;
	xn_hmap_insert(&store->domains, &domain->hash, xn_hash_bytes(&domid, sizeof(domid)));
	return domain;
}

void xn_xs_domain_unref(struct xn_xs_domain *domain)
{
	if (!domain || --domain->refs)
		return;
	if (!domain->birth)
		xn_hmap_remove(&domain->store->domains, &domain->hash);
	xn_xs_domain_unref(domain->target);
	free(domain);
}

struct xn_xs_domain *xn_xs_domain_named(struct xn_xs_store *store, uint32_t domid)
{
	struct xn_xs_domain *domain = find_domain(store, domid, true);

	if (!domain)
		domain = find_domain(store, domid, false);
	if (!domain)
		return new_domain(store, domid, false);
	domain->refs++;
	return domain;
}

struct xn_xs_domain *xn_xs_domain_add(struct xn_xs_store *store, uint32_t domid)
{
	if (domid >= XN_XS_DOMID_END || find_domain(store, domid, true))
		return NULL;
	return new_domain(store, domid, true);
}

struct xn_xs_domain *xn_xs_domain_find(struct xn_xs_store *store, uint32_t domid)
{
	return find_domain(store, domid, true);
}

void xn_xs_domain_introduce(struct xn_xs_domain *domain)
{
	domain->introduced = true;
	xn_xs_watch_fire_special(domain->store, XN_XS_INTRODUCE, domain->domid);
}

void xn_xs_domain_stopped(struct xn_xs_domain *domain)
{
	xn_xs_watch_fire_special(domain->store, XN_XS_RELEASE, domain->domid);
}

void xn_xs_domain_set_target(struct xn_xs_domain *domain, struct xn_xs_domain *target_or_null)
{
	if (target_or_null)
		target_or_null->refs++;
	xn_xs_domain_unref(domain->target);
	domain->target = target_or_null;
}

/* Whatever it left outside the directories that its toolstack removed. */
static void remove_owned(struct xn_xs_store *store, struct xn_xs_domain *domain)
{
	struct xn_xs_node *node = store->root, *next;
	char room[XN_XS_PATH_MAX + 1];
	unsigned level = 0;

	for (; node && domain->account.nodes; node = next) {
		const char *path;

		if (node->perms->entries[0].domain != domain || !node->parent) {
			next = xn_xs_node_next(store->root, node, &level);
			continue;
		}
		next = xn_xs_node_skip(store->root, node, &level);
		path = xn_xs_node_path(node, room);
		remove_tree(store, node, path, strlen(path));
		xn_xs_commit(store, store->dom0, 0);
	}
}

void xn_xs_domain_release(struct xn_xs_domain *domain)
{
	struct xn_xs_store *store = domain->store;
	uint32_t domid = domain->domid;

	assert(domain->alive && domain != store->dom0);
	xn_list_each(link, &store->conns)
		assert(xn_list_entry(link, struct xn_xs_conn, link)->domain != domain);
	remove_owned(store, domain);
	domain->alive = false;
	domain->introduced = false;
	xn_hmap_remove(&store->domains, &domain->hash);
	xn_xs_domain_unref(domain);
	xn_xs_watch_fire_special(store, XN_XS_RELEASE, domid);
}

/* ---- connections ---- */

struct xn_xs_conn *xn_xs_conn_new(struct xn_xs_domain *domain)
{
	struct xn_xs_conn *conn = xn_calloc(1, sizeof(*conn));

	assert(domain->alive);
	conn->store = domain->store;
	conn->domain = domain;
	domain->refs++;
	xn_list_init(&conn->watchers);
	xn_list_init(&conn->transactions);
	xn_list_push(&conn->store->conns, &conn->link);
	return conn;
}

void xn_xs_conn_reset(struct xn_xs_conn *conn)
{
	struct xn_list *link;

	xn_xs_watch_drop_all(conn);
	while ((link = conn->transactions.next) != &conn->transactions)
		xn_xs_tx_free((struct xn_xs_tx *)link); /* its link is its first member */
}

void xn_xs_conn_free(struct xn_xs_conn *conn)
{
	if (!conn)
		return;
	xn_xs_conn_reset(conn);
	xn_list_remove(&conn->link);
	xn_xs_domain_unref(conn->domain);
	free(conn);
}

struct xn_xs_domain *xn_xs_conn_domain(const struct xn_xs_conn *conn)
{
	return conn->domain;
}

/* ---- the store ---- */

struct xn_xs_store *xn_xs_store_new(void (*wake)(void *arg), void *arg)
{
	const struct xn_xs_perm_spec dom0_only = {0};
	struct xn_xs_store *store = xn_calloc(1, sizeof(*store));

	store->wake = wake;
	store->wake_arg = arg;
	xn_list_init(&store->conns);
	xn_list_init(&store->events);
	store->dom0 = new_domain(store, 0, true);
	store->dom0->introduced = true;
	store->root = xn_xs_node_new("", 0, "", 0, xn_xs_perms_make(store, &dom0_only, 1));
	store->watch_root = xn_xs_node_new("", 0, NULL, 0, NULL);
	store->special_root = xn_xs_node_new("", 0, NULL, 0, NULL);
	xn_xs_charge(store->root);
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		store->special_perms[i] = xn_xs_perms_ref(store->root->perms);
	return store;
}

void xn_xs_store_free(struct xn_xs_store *store)
{
	struct xn_hnode *at;

	if (!store)
		return;
	assert(xn_list_empty(&store->conns) && xn_list_empty(&store->events));
	xn_xs_node_free_tree(store->root, xn_xs_node_drop);
	xn_xs_node_free_tree(store->watch_root, xn_xs_node_free);
	xn_xs_node_free_tree(store->special_root, xn_xs_node_free);
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		xn_xs_perms_unref(store->special_perms[i]);
	for (at = xn_hmap_first(&store->domains); at; at = xn_hmap_first(&store->domains)) {
		struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, hash);

		xn_hmap_remove(&store->domains, at);
		xn_xs_domain_unref(domain->target);
		free(domain);
	}
	assert(!store->perms.count && !store->pending.count);
	xn_hmap_clear(&store->domains);
	xn_hmap_clear(&store->perms);
	xn_hmap_clear(&store->pending);
	free(store->changes);
	xn_buf_clear(&store->old_values);
	free(store);
}

uint64_t xn_xs_store_generation(const struct xn_xs_store *store)
{
	return store->generation;
}
