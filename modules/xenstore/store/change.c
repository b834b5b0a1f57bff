/*
 * The change set: every change of the tree goes through it, is undone with it or becomes true with
 * it, and only then are the journal and the watches told.
 */
#include "modules/xenstore/store/store_internal.h"

#include <stdlib.h>

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

struct xn_xs_node *xn_xs_create(struct xn_xs_store *store, struct xn_xs_node *parent,
				struct xn_xs_node *node, const char *path, size_t len, bool implied)
{
	struct xn_xs_change *change;

	xn_xs_node_attach(parent, node);
	change = add_change(store, XN_XS_CREATED, node, path, len);
	change->implied = implied;
	node->generation = parent->generation = store->generation + 1;
	xn_xs_charge(node);
	return node;
}

void xn_xs_set_value(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		     size_t len, const void *value, size_t value_len)
{
	struct xn_xs_change *change = add_change(store, XN_XS_VALUE, node, path, len);
	size_t bytes = xn_xs_node_bytes(node);

	change->old_value_at = store->old_values.len;
	change->old_value_len = node->value_len;
	xn_buf_add(&store->old_values, xn_xs_node_value(node), node->value_len);
	xn_xs_node_set_value(node, value, value_len);
	xn_xs_recharge(node, bytes);
	node->generation = store->generation + 1;
}

/* The caller's reference to @perms goes to the node, the node's old one to the change. */
void xn_xs_set_perms(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		     size_t len, struct xn_xs_perms *perms)
{
	struct xn_xs_change *change = add_change(store, XN_XS_PERMS, node, path, len);

	xn_xs_discharge(node);
	change->old_perms = node->perms;
	node->perms = perms;
	xn_xs_charge(node);
	node->generation = store->generation + 1;
}

void xn_xs_remove(struct xn_xs_store *store, struct xn_xs_node *node, const char *path, size_t len)
{
	struct xn_xs_change *change = add_change(store, XN_XS_REMOVED, node, path, len);

	node->parent->generation = store->generation + 1;
	change->n_discharged = xn_xs_reap_discharge(node);
	xn_xs_node_detach(node);
}

static void undo(struct xn_xs_store *store, struct xn_xs_change *change)
{
	struct xn_xs_node *node = change->node;
	size_t bytes;

	switch (change->kind) {
	case XN_XS_CREATED:
		xn_xs_discharge(node);
		xn_xs_node_detach(node);
		xn_xs_node_drop(node);
		node = NULL;
		break;
	case XN_XS_VALUE:
		bytes = xn_xs_node_bytes(node);
		xn_xs_node_set_value(node,
				     change->old_value_len
					     ? store->old_values.data + change->old_value_at
					     : NULL,
				     change->old_value_len);
		xn_xs_recharge(node, bytes);
		break;
	case XN_XS_PERMS:
		xn_xs_discharge(node);
		xn_xs_perms_unref(node->perms);
		node->perms = change->old_perms;
		xn_xs_charge(node);
		break;
	case XN_XS_REMOVED:
		xn_xs_node_attach(change->parent, node);
		xn_xs_reap_charge_again(node, change->n_discharged);
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
int xn_xs_commit(struct xn_xs_store *store, const struct xn_xs_domain *by, uint32_t transaction)
{
	struct xn_xs_commit commit = {.store = store,
				      .generation = store->generation + 1,
				      .by = by,
				      .transaction = transaction,
				      .n = store->n_changes,
				      .must = store->must};
	int rc;

	if (!store->n_changes)
		return 0;
	xn_xs_record_together(store);
	rc = store->journal && store->journal->commit
		     ? store->journal->commit(&commit, store->journal_arg)
		     : 0;
	if (rc < 0) {
		xn_xs_rollback(store);
		xn_xs_record_done(store);
		return rc;
	}
	store->generation++;
	for (size_t i = 0; i < store->n_changes; i++)
		if (!store->changes[i].implied)
			xn_xs_watch_fire(store, &store->changes[i]);
	xn_xs_record_done(store);
	for (size_t i = 0; i < store->n_changes; i++)
		xn_xs_perms_unref(store->changes[i].old_perms);
	/* Last, because a node may have been created or changed before it was removed. */
	for (size_t i = 0; i < store->n_changes; i++)
		if (store->changes[i].kind == XN_XS_REMOVED)
			xn_xs_reap_tree(store, store->changes[i].node);
	empty_changes(store);
	return 0;
}

void xn_xs_record_together(struct xn_xs_store *store)
{
	if (store->journal && store->journal->begin)
		store->journal->begin(store->journal_arg);
}

void xn_xs_record_done(struct xn_xs_store *store)
{
	if (store->journal && store->journal->end)
		store->journal->end(store->journal_arg);
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
		out->old_value = "";
		if (change->old_value_len) /* else there may be no buffer */
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

void xn_xs_store_set_journal(struct xn_xs_store *store, const struct xn_xs_journal_ops *ops,
			     void *arg)
{
	store->journal = ops;
	store->journal_arg = arg;
}
