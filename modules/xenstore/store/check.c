/* Whether the store is what it should be: for the control command "check" and for tests. */
#include "modules/xenstore/store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MOST_TOLD = 20 };

/* What a domain owns, counted anew. */
struct tally {
	struct xn_hnode node; /* by the domain's address */
	const struct xn_xs_domain *domain;
	uint64_t nodes, bytes;
};

struct check {
	const struct xn_xs_store *store;
	struct xn_hmap tallies;
	struct xn_buf *report;
	unsigned n_wrong;
};

static void wrong(struct check *check, const char *what, const struct xn_xs_node *node)
{
	char room[XN_XS_PATH_MAX + 1];

	if (check->n_wrong++ < MOST_TOLD)
		xn_buf_printf(check->report, "%s: %s\n", xn_xs_node_path(node, room), what);
}

static struct tally *tally_of(struct check *check, const struct xn_xs_domain *domain)
{
	uint64_t hash = (uint64_t)(uintptr_t)domain * 0x9e3779b97f4a7c15u;
	struct xn_hnode *at = xn_hmap_first_same(&check->tallies, hash);
	struct tally *tally;

	for (; at; at = xn_hmap_next_same(at)) {
		tally = xn_container_of(at, struct tally, node);
		if (tally->domain == domain)
			return tally;
	}
	tally = xn_calloc(1, sizeof(*tally));
	tally->domain = domain;
	xn_hmap_insert(&check->tallies, &tally->node, hash);
	return tally;
}

static void check_node(struct check *check, const struct xn_xs_node *node)
{
	const struct xn_xs_domain *owner = node->perms->entries[0].domain;
	struct tally *tally = tally_of(check, owner);
	const struct xn_xs_node *kid, *last = NULL;
	struct xn_xs_kid_walk walk;

	tally->nodes++;
	tally->bytes += xn_xs_node_bytes(node);
	if (node->parent && !xn_xs_name_is_valid(node->name, node->name_len))
		wrong(check, "has no valid name", node);
	if (node->flags)
		wrong(check, "is a transaction's", node);
	if (node->generation > check->store->generation)
		wrong(check, "was changed in the future", node);
	if (xn_xs_domain_is_dead(owner))
		wrong(check, "belongs to a domain that is gone", node);
	if (owner->domid && (!owner->owned || node->owned_at >= owner->owned->n ||
			     owner->owned->at[node->owned_at] != node))
		wrong(check, "is not among its owner's", node);
	xn_xs_kid_walk_init(&walk, node);
	while ((kid = xn_xs_kid_walk_next(&walk))) {
		if (kid->parent != node)
			wrong(check, "hangs on two nodes", kid);
		if (last && strcmp(last->name, kid->name) >= 0)
			wrong(check, "is not in order", kid);
		last = kid;
	}
}

static void check_accounts(struct check *check)
{
	const struct xn_xs_store *store = check->store;

	for (struct xn_hnode *at = xn_hmap_first(&store->domains); at;
	     at = xn_hmap_next(&store->domains, at)) {
		const struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, hash);
		const struct tally *tally = tally_of(check, domain);

		if (domain->account.nodes == tally->nodes &&
		    domain->account.node_bytes == tally->bytes)
			continue;
		check->n_wrong++;
		xn_buf_printf(check->report,
			      "domain %u: its account has %" PRIu64 " nodes of %" PRIu64
			      " bytes, the tree %" PRIu64 " of %" PRIu64 "\n",
			      domain->domid, domain->account.nodes, domain->account.node_bytes,
			      tally->nodes, tally->bytes);
	}
}

unsigned xn_xs_store_check(struct xn_xs_store *store, struct xn_buf *report)
{
	struct check check = {.store = store, .report = report};
	unsigned level = 0;

	xn_xs_reap_all(store); /* what is removed may be in the accounts until then */
	for (const struct xn_xs_node *at = store->root; at;
	     at = xn_xs_node_next(store->root, at, &level))
		check_node(&check, at);
	check_accounts(&check);
	for (struct xn_hnode *at = xn_hmap_first(&check.tallies), *next; at; at = next) {
		next = xn_hmap_next(&check.tallies, at);
		xn_hmap_remove(&check.tallies, at);
		free(xn_container_of(at, struct tally, node));
	}
	xn_hmap_clear(&check.tallies);
	return check.n_wrong;
}
