/*
 * What is removed is out of the tree at once, and its memory goes in slices: a removed subtree of a
 * million nodes, and what a dead domain owned, must not stop the loop. The slices are taken by
 * xn_xs_store_deliver().
 */
#include "modules/xenstore/store/store_internal.h"

#include <stdlib.h>

enum {
	AT_ONCE = 10000,      /* nodes that leave the accounts when they are removed: any guest's */
	NODES_A_SLICE = 500,  /* at worst each gives a block of memory back to the system */
	OWNED_AT_ONCE = 8192, /* nodes of a domain that go together with it */
};

struct remains {
	struct xn_list link;
	struct xn_xs_node *top, *at; /* a detached tree, and how far it is taken down */
};

/* ---- accounts of removed trees ---- */

/* Visits up to @n nodes of a tree, parents before children; how many there were. */
static size_t each_node(struct xn_xs_node *top, size_t n, void (*visit)(struct xn_xs_node *node))
{
	struct xn_xs_kid_walk walks[XN_XS_PATH_MAX / 2 + 1]; /* a path has no more levels */
	size_t level = 0, visited = 1;

	visit(top);
	xn_xs_kid_walk_init(&walks[0], top);
	while (visited < n) {
		struct xn_xs_node *node = xn_xs_kid_walk_next(&walks[level]);

		if (!node && !level)
			break;
		if (!node) {
			level--;
			continue;
		}
		visit(node);
		visited++;
		if (node->kids)
			xn_xs_kid_walk_init(&walks[++level], node);
	}
	return visited;
}

static void discharge(struct xn_xs_node *node)
{
	xn_xs_discharge(node);
	node->flags |= XN_XS_UNCHARGED;
}

static void charge_again(struct xn_xs_node *node)
{
	node->flags &= ~XN_XS_UNCHARGED & 0xf;
	xn_xs_charge(node);
}

size_t xn_xs_reap_discharge(struct xn_xs_node *top)
{
	return each_node(top, AT_ONCE, discharge);
}

void xn_xs_reap_charge_again(struct xn_xs_node *top, size_t n)
{
	each_node(top, n, charge_again);
}

/* ---- removed trees ---- */

static void drop(struct xn_xs_node *node)
{
	if (!(node->flags & XN_XS_UNCHARGED))
		xn_xs_discharge(node);
	xn_xs_node_drop(node);
}

/* Frees up to *budget nodes; whether all of them are gone. */
static bool take_down(struct remains *remains, size_t *budget)
{
	struct xn_xs_node *node = remains->at;

	while (*budget) {
		struct xn_xs_node *kid = xn_xs_node_pop_kid(node), *parent = node->parent;
		bool is_top = node == remains->top;

		if (kid) {
			node = kid;
			continue;
		}
		drop(node);
		--*budget;
		if (is_top)
			return true;
		node = parent;
	}
	remains->at = node;
	return false;
}

void xn_xs_reap_tree(struct xn_xs_store *store, struct xn_xs_node *top)
{
	struct remains remains = {.top = top, .at = top}, *later;
	size_t budget = NODES_A_SLICE;

	if (take_down(&remains, &budget))
		return;
	later = xn_malloc(sizeof(*later));
	*later = remains;
	xn_list_push(&store->remains, &later->link);
	xn_xs_store_wake(store);
}

/* ---- what dead domains own ---- */

/* The highest of its nodes on the way from @node up: what is below goes with it. *in_tree: whether
 * that way ends at the root; else it was removed, and waits to be taken down. */
static struct xn_xs_node *topmost(struct xn_xs_store *store, struct xn_xs_node *node,
				  const struct xn_xs_domain *owner, bool *in_tree)
{
	struct xn_xs_node *top = node, *last = node;

	for (; node; node = node->parent) {
		if (node->perms->entries[0].domain == owner)
			top = node;
		last = node;
	}
	*in_tree = last == store->root;
	return top;
}

static void remove_one(struct xn_xs_store *store, struct xn_xs_domain *domain,
		       struct xn_xs_node *node)
{
	const struct xn_xs_perm_spec dom0_only = {0};
	char room[XN_XS_PATH_MAX + 1];
	const char *path;
	bool in_tree;

	node = topmost(store, node, domain, &in_tree);
	if (!in_tree) {
		discharge(domain->owned->at[domain->owned->n - 1]);
		return;
	}
	path = xn_xs_node_path(node, room);
	if (node->parent)
		xn_xs_remove(store, node, path, strlen(path));
	else /* the root stays */
		xn_xs_set_perms(store, node, path, strlen(path),
				xn_xs_perms_make(store, &dom0_only, 1));
	store->must = true;
	(void)xn_xs_commit(store, store->dom0, 0); /* which is never refused then */
	store->must = false;
}

/* Whether nothing is left. */
static bool remove_owned(struct xn_xs_store *store, struct xn_xs_domain *domain, size_t budget)
{
	while (domain->owned) {
		size_t had = domain->owned->n, now;

		if (!budget)
			return false;
		remove_one(store, domain, domain->owned->at[had - 1]);
		now = domain->owned ? domain->owned->n : 0;
		budget -= had - now < budget ? had - now : budget;
	}
	return true;
}

void xn_xs_reap_domain(struct xn_xs_store *store, struct xn_xs_domain *domain)
{
	if (remove_owned(store, domain, OWNED_AT_ONCE))
		return;
	xn_xs_reap_domain_later(store, domain);
}

void xn_xs_reap_domain_later(struct xn_xs_store *store, struct xn_xs_domain *domain)
{
	if (!xn_list_empty(&domain->dying))
		return;
	domain->refs++;
	xn_list_push(&store->dying, &domain->dying);
	xn_xs_store_wake(store);
}

/* ---- slices ---- */

bool xn_xs_reap_some(struct xn_xs_store *store)
{
	size_t budget = NODES_A_SLICE;

	if (!xn_list_empty(&store->dying) && !store->n_changes) {
		struct xn_xs_domain *domain =
			xn_list_entry(store->dying.next, struct xn_xs_domain, dying);

		if (remove_owned(store, domain, OWNED_AT_ONCE)) {
			xn_list_remove(&domain->dying);
			xn_xs_domain_unref(domain);
		}
		return true;
	}
	while (budget && !xn_list_empty(&store->remains)) {
		struct remains *remains = xn_list_entry(store->remains.next, struct remains, link);

		if (take_down(remains, &budget)) {
			xn_list_remove(&remains->link);
			free(remains);
		}
	}
	return !xn_list_empty(&store->remains);
}

void xn_xs_reap_all(struct xn_xs_store *store)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&store->dying)))
		xn_xs_domain_unref(xn_list_entry(link, struct xn_xs_domain, dying));
	while (xn_xs_reap_some(store))
		;
}
