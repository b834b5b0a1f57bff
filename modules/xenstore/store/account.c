/*
 * Accounts: what each domain has in the store, which nodes are its own, and the quotas that bound
 * it. Every byte that a domain can make the store hold is in its account.
 */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { KIB = 1024 };

const struct xn_xs_quota_row xn_xs_quotas[XN_XS_QUOTAS] = {
	/* As many as the toolstacks that set it give a guest: Windows drivers write a lot. */
	[XN_XS_QUOTA_NODES] = {"nodes", "nodes that it owns", {6553, 8192}, -ENOSPC},
	[XN_XS_QUOTA_NODE_SIZE] = {"node-size",
				   "bytes of a node: value, 8 for each permission",
				   {0, 2048},
				   -ENOSPC},
	[XN_XS_QUOTA_PERMS] = {"node-permissions", "permissions of a node", {0, 5}, -ENOSPC},
	[XN_XS_QUOTA_PATH] = {"path-max",
			      "bytes of a path, without /local/domain/<domid>/",
			      {0, 2048},
			      -EINVAL},
	[XN_XS_QUOTA_WATCHES] = {"watches", "watches", {100, 128}, -E2BIG},
	[XN_XS_QUOTA_TRANSACTIONS] = {"transactions", "open transactions", {0, 10}, -ENOSPC},
	[XN_XS_QUOTA_TRANSACTION_NODES] = {"transaction-nodes",
					   "requests that a transaction remembers",
					   {0, 1024},
					   -ENOSPC},
	[XN_XS_QUOTA_MEMORY] = {"memory",
				"bytes of nodes, watches and transactions",
				{2048 * KIB, 2560 * KIB},
				-ENOSPC},
	[XN_XS_QUOTA_EVENTS] = {"events", "watch events that it has not read", {512, 1024}, 0},
	[XN_XS_QUOTA_EVENT_BYTES] = {"event-bytes", "bytes of them", {128 * KIB, 256 * KIB}, 0},
	[XN_XS_QUOTA_BUFFERS] = {"buffers",
				 "bytes of requests and replies on their way",
				 {0, 64 * KIB},
				 0},
};

/* ---- accounts ---- */

static void own(struct xn_xs_domain *owner, struct xn_xs_node *node)
{
	struct xn_xs_owned *owned = owner->owned;

	if (!owned || owned->n == owned->cap) {
		size_t cap = owned ? owned->cap * 2 : 16;

		owned = xn_realloc(owned, sizeof(*owned) + cap * sizeof(owned->at[0]));
		if (!owner->owned)
			owned->n = 0;
		owned->cap = cap;
		owner->owned = owned;
	}
	node->owned_at = (uint32_t)owned->n;
	owned->at[owned->n++] = node;
	if (!owner->alive && owner->birth) /* a journal puts back what it left */
		xn_xs_reap_domain_later(owner->store, owner);
}

static void disown(struct xn_xs_domain *owner, struct xn_xs_node *node)
{
	struct xn_xs_owned *owned = owner->owned;
	struct xn_xs_node *last = owned->at[--owned->n];

	assert(owned->at[node->owned_at] == node || last == node);
	owned->at[node->owned_at] = last;
	last->owned_at = node->owned_at;
	if (!owned->n) {
		free(owned);
		owner->owned = NULL;
	}
}

void xn_xs_charge(struct xn_xs_node *node)
{
	struct xn_xs_domain *owner = node->perms->entries[0].domain;

	owner->account.nodes++;
	owner->account.node_bytes += xn_xs_node_bytes(node);
	if (!xn_xs_domain_is_privileged(owner))
		own(owner, node);
}

void xn_xs_discharge(struct xn_xs_node *node)
{
	struct xn_xs_domain *owner = node->perms->entries[0].domain;

	owner->account.nodes--;
	owner->account.node_bytes -= xn_xs_node_bytes(node);
	if (!xn_xs_domain_is_privileged(owner))
		disown(owner, node);
}

void xn_xs_recharge(struct xn_xs_node *node, size_t old_bytes)
{
	struct xn_xs_account *account = &node->perms->entries[0].domain->account;

	account->node_bytes += xn_xs_node_bytes(node) - old_bytes;
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
		sum->buffer_bytes += one->buffer_bytes;
	}
	return n;
}

void xn_xs_domain_charge(struct xn_xs_domain *domain, size_t bytes)
{
	domain->account.buffer_bytes += bytes;
}

void xn_xs_domain_discharge(struct xn_xs_domain *domain, size_t bytes)
{
	assert(domain->account.buffer_bytes >= bytes);
	domain->account.buffer_bytes -= bytes;
}

bool xn_xs_domain_is_full(struct xn_xs_domain *domain)
{
	return !xn_xs_domain_is_privileged(domain) &&
	       xn_xs_quota_is_passed(domain, XN_XS_QUOTA_BUFFERS, domain->account.buffer_bytes);
}

/* ---- limits ---- */

static uint64_t memory_of(const struct xn_xs_account *account)
{
	return account->node_bytes + account->watch_bytes + account->transaction_bytes;
}

uint64_t xn_xs_domain_used(const struct xn_xs_domain *domain, enum xn_xs_quota quota)
{
	const struct xn_xs_account *account = &domain->account;

	switch (quota) {
	case XN_XS_QUOTA_NODES:
		return account->nodes;
	case XN_XS_QUOTA_WATCHES:
		return account->watches;
	case XN_XS_QUOTA_TRANSACTIONS:
		return account->transactions;
	case XN_XS_QUOTA_MEMORY:
		return memory_of(account);
	case XN_XS_QUOTA_EVENTS:
		return account->events;
	case XN_XS_QUOTA_EVENT_BYTES:
		return account->event_bytes;
	case XN_XS_QUOTA_BUFFERS:
		return account->buffer_bytes;
	default:
		return 0;
	}
}

static const struct xn_xs_limit *limit_of(const struct xn_xs_domain *domain, enum xn_xs_quota quota)
{
	return domain->has_own & 1u << quota ? &domain->own_limits[quota]
					     : &domain->store->limits[quota];
}

struct xn_xs_limit xn_xs_domain_limit(const struct xn_xs_domain *domain, enum xn_xs_quota quota)
{
	return *limit_of(domain, quota);
}

struct xn_xs_limit xn_xs_store_limit(const struct xn_xs_store *store, enum xn_xs_quota quota)
{
	return store->limits[quota];
}

void xn_xs_store_set_limit(struct xn_xs_store *store, enum xn_xs_quota quota,
			   struct xn_xs_limit limit)
{
	if (!(store->kept_limits & 1u << quota))
		store->limits[quota] = limit;
}

void xn_xs_store_keep_limit(struct xn_xs_store *store, enum xn_xs_quota quota,
			    struct xn_xs_limit limit)
{
	const struct xn_xs_note note = {.kind = XN_XS_NOTE_LIMIT, .quota = quota, .limit = limit};

	store->limits[quota] = limit;
	store->kept_limits |= 1u << quota;
	xn_xs_domain_note(store, &note);
}

void xn_xs_domain_set_limit(struct xn_xs_domain *domain, enum xn_xs_quota quota,
			    struct xn_xs_limit limit)
{
	const struct xn_xs_note note = {
		.kind = XN_XS_NOTE_LIMIT, .domain = domain, .quota = quota, .limit = limit};

	if (!domain->own_limits)
		domain->own_limits = xn_calloc(XN_XS_QUOTAS, sizeof(domain->own_limits[0]));
	domain->own_limits[quota] = limit;
	domain->has_own |= 1u << quota;
	domain->soft_told &= ~(1u << quota);
	xn_xs_domain_note(domain->store, &note);
}

void xn_xs_store_set_quota_told(struct xn_xs_store *store,
				void (*told)(const struct xn_xs_domain *domain,
					     enum xn_xs_quota quota, uint64_t value, bool is_hard,
					     void *arg),
				void *arg)
{
	store->quota_told = told;
	store->quota_told_arg = arg;
}

static void tell(struct xn_xs_domain *domain, enum xn_xs_quota quota, uint64_t value, bool is_hard)
{
	struct xn_xs_store *store = domain->store;

	if (store->quota_told)
		store->quota_told(domain, quota, value, is_hard, store->quota_told_arg);
}

bool xn_xs_quota_is_passed(struct xn_xs_domain *domain, enum xn_xs_quota quota, uint64_t value)
{
	const struct xn_xs_limit *limit = limit_of(domain, quota);

	if (limit->soft && value > limit->soft && !(domain->soft_told & 1u << quota)) {
		domain->soft_told |= 1u << quota;
		tell(domain, quota, value, false);
	}
	return limit->hard && value > limit->hard;
}

int xn_xs_quota_check(const struct xn_xs_domain *who, struct xn_xs_domain *owner,
		      enum xn_xs_quota quota, uint64_t value)
{
	if (xn_xs_domain_is_privileged(who) || xn_xs_domain_is_privileged(owner) ||
	    !xn_xs_quota_is_passed(owner, quota, value))
		return 0;
	owner->n_refused++;
	tell(owner, quota, value, true);
	return xn_xs_quotas[quota].rc;
}

int xn_xs_quota_check_memory(const struct xn_xs_domain *who, struct xn_xs_domain *owner,
			     uint64_t more)
{
	return xn_xs_quota_check(who, owner, XN_XS_QUOTA_MEMORY, memory_of(&owner->account) + more);
}
