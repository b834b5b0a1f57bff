/* The store as a whole: its beginning, its end, what all have in it together. */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <stdlib.h>

const char *const xn_xs_special_names[XN_XS_SPECIALS] = {
	[XN_XS_INTRODUCE] = "@introduceDomain",
	[XN_XS_RELEASE] = "@releaseDomain",
};

/* ---- the store ---- */

struct xn_xs_store *xn_xs_store_new(void (*wake)(void *arg), void *arg)
{
	const struct xn_xs_perm_spec dom0_only = {0};
	struct xn_xs_store *store = xn_calloc(1, sizeof(*store));

	xn_xs_node_sizes_init(store);
	store->wake = wake;
	store->wake_arg = arg;
	xn_list_init(&store->conns);
	xn_list_init(&store->ready);
	xn_list_init(&store->remains);
	xn_list_init(&store->dying);
	xn_list_init(&store->fighters);
	xn_list_init(&store->waiters);
	for (int i = 0; i < XN_XS_QUOTAS; i++)
		store->limits[i] = xn_xs_quotas[i].limit;
	store->dom0 = xn_xs_domain_new(store, 0, 1);
	store->dom0->introduced = true;
	store->root = xn_xs_node_new(store, "", 0, "", 0, xn_xs_perms_make(store, &dom0_only, 1));
	store->watch_root = xn_xs_node_new(store, "", 0, NULL, 0, NULL);
	store->special_root = xn_xs_node_new(store, "", 0, NULL, 0, NULL);
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
	assert(xn_list_empty(&store->conns) && xn_list_empty(&store->ready));
	xn_xs_reap_all(store);
	xn_xs_node_free_tree(store->root, xn_xs_node_drop);
	xn_xs_node_free_tree(store->watch_root, xn_xs_node_free);
	xn_xs_node_free_tree(store->special_root, xn_xs_node_free);
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		xn_xs_perms_unref(store->special_perms[i]);
	/* First, as one may be another's that is freed before it. */
	for (at = xn_hmap_first(&store->domains); at; at = xn_hmap_next(&store->domains, at))
		xn_xs_domain_drop_target(xn_container_of(at, struct xn_xs_domain, hash));
	for (at = xn_hmap_first(&store->domains); at; at = xn_hmap_first(&store->domains)) {
		struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, hash);

		xn_hmap_remove(&store->domains, at);
		free(domain->own_limits);
		free(domain->owned);
		free(domain);
	}
	assert(!store->perms.count && !store->pending.count);
	xn_hmap_clear(&store->domains);
	xn_hmap_clear(&store->births);
	xn_hmap_clear(&store->perms);
	xn_hmap_clear(&store->watchers);
	xn_hmap_clear(&store->pending);
	xn_xs_node_sizes_clear(store);
	free(store->changes);
	xn_buf_clear(&store->old_values);
	free(store);
}

uint64_t xn_xs_store_generation(const struct xn_xs_store *store)
{
	return store->generation;
}
