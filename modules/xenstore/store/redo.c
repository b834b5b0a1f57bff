/* A journal's change sets made true again, when the daemon starts: same commit, no quotas, no
 * rights. */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>

static int perms_of(struct xn_xs_store *store, const struct xn_xs_redo *redo,
		    const struct xn_xs_node *parent, struct xn_xs_perms **perms_out)
{
	if (redo->perms)
		return xn_xs_perms_read(store, redo->perms, redo->perms_len, true, perms_out);
	if (!parent)
		return -EINVAL;
	*perms_out = xn_xs_perms_ref(parent->perms);
	return 0;
}

static int redo_create(struct xn_xs_store *store, const struct xn_xs_redo *redo)
{
	const char *name = memrchr(redo->path, '/', redo->path_len);
	size_t name_len = name ? (size_t)(redo->path + redo->path_len - ++name) : 0;
	struct xn_xs_node *parent, *node;
	struct xn_xs_perms *perms;

	if (!name || !xn_xs_name_is_valid(name, name_len) || redo->value_len > XN_XS_VALUE_MAX)
		return -EINVAL;
	parent = xn_xs_node_find(store->root, redo->path, redo->path_len - name_len);
	if (!parent)
		return 0; /* removed later, with what was below */
	if (perms_of(store, redo, parent, &perms) < 0)
		return -EINVAL;
	node = xn_xs_node_kid(parent, name, name_len);
	if (node) {
		xn_xs_set_value(store, node, redo->path, redo->path_len, redo->value,
				redo->value_len);
		xn_xs_set_perms(store, node, redo->path, redo->path_len, perms);
		return 0;
	}
	node = xn_xs_node_new(store, name, name_len, redo->value, redo->value_len, perms);
	xn_xs_create(store, parent, node, redo->path, redo->path_len, redo->implied);
	return 0;
}

static int redo_one(struct xn_xs_store *store, const struct xn_xs_redo *redo)
{
	struct xn_xs_node *node;
	struct xn_xs_perms *perms;

	if (!redo->path_len || redo->path_len > XN_XS_PATH_MAX || redo->path[0] != '/' ||
	    memmem(redo->path, redo->path_len, "//", 2))
		return -EINVAL;
	if (redo->kind == XN_XS_CREATED)
		return redo_create(store, redo);
	node = xn_xs_node_find(store->root, redo->path, redo->path_len);
	if (!node)
		return 0;
	switch (redo->kind) {
	case XN_XS_VALUE:
		if (redo->value_len > XN_XS_VALUE_MAX)
			return -EINVAL;
		xn_xs_set_value(store, node, redo->path, redo->path_len, redo->value,
				redo->value_len);
		return 0;
	case XN_XS_PERMS:
		if (perms_of(store, redo, node->parent, &perms) < 0)
			return -EINVAL;
		xn_xs_set_perms(store, node, redo->path, redo->path_len, perms);
		return 0;
	default:
		if (!node->parent)
			return -EINVAL;
		xn_xs_remove(store, node, redo->path, redo->path_len);
		return 0;
	}
}

int xn_xs_store_redo(struct xn_xs_store *store, const struct xn_xs_redo *redo)
{
	int rc = redo_one(store, redo);

	if (rc < 0)
		xn_xs_rollback(store);
	return rc;
}

void xn_xs_store_redo_end(struct xn_xs_store *store, uint64_t generation)
{
	for (size_t i = 0; i < store->n_changes; i++) {
		struct xn_xs_change *change = &store->changes[i];

		change->node->generation = generation;
		if (change->kind == XN_XS_CREATED || change->kind == XN_XS_REMOVED)
			change->parent->generation = generation;
	}
	/* An image may show already what the set does: then no number is used up for it again. */
	if (generation < store->generation)
		generation = store->generation;
	(void)xn_xs_commit(store, store->dom0, 0); /* no journal, no refusal */
	store->generation = generation;
}

int xn_xs_store_restore_special(struct xn_xs_store *store, const char *path, const char *perms,
				size_t perms_len)
{
	int special = xn_xs_special_index(path);
	struct xn_xs_perms *fresh;

	if (special < 0 || xn_xs_perms_read(store, perms, perms_len, true, &fresh) < 0)
		return -EINVAL;
	xn_xs_special_set(store, special, fresh);
	return 0;
}

void xn_xs_store_restore_counters(struct xn_xs_store *store, uint64_t generation,
				  uint64_t highest_birth)
{
	if (generation > store->generation)
		store->generation = generation;
	if (highest_birth > store->next_birth)
		store->next_birth = highest_birth;
}

uint64_t xn_xs_store_highest_birth(const struct xn_xs_store *store)
{
	return store->next_birth;
}
