/* Domains: who is who, who came and went, and what happens to what they leave. */
#include "modules/xenstore/store/store_internal.h"

#include <assert.h>
#include <stdlib.h>

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

struct xn_xs_domain *xn_xs_domain_new(struct xn_xs_store *store, uint32_t domid, uint64_t birth)
{
	struct xn_xs_domain *domain = xn_calloc(1, sizeof(*domain));

	domain->store = store;
	domain->refs = 1;
	domain->domid = domid;
	domain->birth = birth;
	domain->alive = birth != 0;
	xn_list_init(&domain->dying);
	if (birth)
		xn_hmap_insert(&store->births, &domain->by_birth,
			       xn_hash_bytes(&birth, sizeof(birth)));
	if (birth > store->next_birth)
		store->next_birth = birth;
	xn_hmap_insert(&store->domains, &domain->hash, xn_hash_bytes(&domid, sizeof(domid)));
	return domain;
}

void xn_xs_domain_drop_target(struct xn_xs_domain *domain)
{
	struct xn_xs_domain *target = domain->target;

	domain->target = NULL;
	xn_xs_domain_unref(target);
}

static void bury(struct xn_xs_domain *domain)
{
	domain->alive = domain->introduced = false;
	xn_hmap_remove(&domain->store->domains, &domain->hash);
}

void xn_xs_domain_unref(struct xn_xs_domain *domain)
{
	if (!domain || --domain->refs)
		return;
	if (domain->birth)
		xn_hmap_remove(&domain->store->births, &domain->by_birth);
	else
		xn_hmap_remove(&domain->store->domains, &domain->hash);
	xn_xs_domain_unref(domain->target);
	free(domain->own_limits);
	free(domain->owned); /* not empty when the whole store goes */
	free(domain);
}

static struct xn_xs_domain *ref(struct xn_xs_domain *domain)
{
	domain->refs++;
	return domain;
}

struct xn_xs_domain *xn_xs_domain_named(struct xn_xs_store *store, uint32_t domid)
{
	struct xn_xs_domain *domain = find_domain(store, domid, true);

	if (!domain && store->exists && store->exists(domid, store->exists_arg))
		domain = xn_xs_domain_add(store, domid);
	if (!domain)
		domain = find_domain(store, domid, false);
	return domain ? ref(domain) : xn_xs_domain_new(store, domid, 0);
}

/* Dead or alive. */
static struct xn_xs_domain *find_birth(struct xn_xs_store *store, uint64_t birth)
{
	struct xn_hnode *at =
		xn_hmap_first_same(&store->births, xn_hash_bytes(&birth, sizeof(birth)));

	for (; at; at = xn_hmap_next_same(at)) {
		struct xn_xs_domain *domain = xn_container_of(at, struct xn_xs_domain, by_birth);

		if (domain->birth == birth)
			return domain;
	}
	return NULL;
}

struct xn_xs_domain *xn_xs_domain_meant(struct xn_xs_store *store, uint32_t domid, uint64_t birth)
{
	struct xn_xs_domain *domain =
		birth ? find_birth(store, birth) : find_domain(store, domid, false);

	if (domain && domain->domid == domid)
		return ref(domain);
	domain = xn_xs_domain_new(store, domid, birth);
	if (birth) /* only those who refer to it know it */
		bury(domain);
	return domain;
}

void xn_xs_domain_note(struct xn_xs_store *store, const struct xn_xs_note *note)
{
	if (store->journal && store->journal->note)
		store->journal->note(note, store->journal_arg);
}

static void note(struct xn_xs_domain *domain, enum xn_xs_note_kind kind)
{
	xn_xs_domain_note(domain->store, &(struct xn_xs_note){.kind = kind, .domain = domain});
}

struct xn_xs_domain *xn_xs_domain_add(struct xn_xs_store *store, uint32_t domid)
{
	struct xn_xs_domain *domain;

	if (domid >= XN_XS_DOMID_END || find_domain(store, domid, true))
		return NULL;
	domain = xn_xs_domain_new(store, domid, store->next_birth + 1);
	note(domain, XN_XS_NOTE_ADDED);
	return domain;
}

/* Permissions named it before it was restored itself. */
static struct xn_xs_domain *dig_up(struct xn_xs_domain *domain)
{
	struct xn_xs_store *store = domain->store;

	xn_hmap_insert(&store->domains, &domain->hash,
		       xn_hash_bytes(&domain->domid, sizeof(domain->domid)));
	ref(domain);
	domain->alive = true;
	if (!xn_list_empty(&domain->dying)) {
		xn_list_remove(&domain->dying);
		xn_xs_domain_unref(domain);
	}
	return domain;
}

struct xn_xs_domain *xn_xs_domain_restore(struct xn_xs_store *store, uint32_t domid, uint64_t birth)
{
	struct xn_xs_domain *domain = find_domain(store, domid, true), *dead;

	if (domain && domain == store->dom0 && domain->birth == birth)
		return domain;
	if (domid >= XN_XS_DOMID_END || domain || !birth)
		return NULL;
	dead = find_birth(store, birth);
	if (!dead)
		return xn_xs_domain_new(store, domid, birth);
	return dead->alive || dead->domid != domid ? NULL : dig_up(dead);
}

struct xn_xs_domain *xn_xs_domain_born(struct xn_xs_store *store, uint64_t birth)
{
	struct xn_xs_domain *domain = find_birth(store, birth);

	return domain && domain->alive ? domain : NULL;
}

void xn_xs_store_set_lookup(struct xn_xs_store *store, bool (*exists)(uint32_t domid, void *arg),
			    void *arg)
{
	store->exists = exists;
	store->exists_arg = arg;
}

struct xn_xs_domain *xn_xs_domain_find(struct xn_xs_store *store, uint32_t domid)
{
	return find_domain(store, domid, true);
}

void xn_xs_store_each_domain(const struct xn_xs_store *store,
			     void (*visit)(const struct xn_xs_domain *domain, void *arg), void *arg)
{
	for (struct xn_hnode *node = xn_hmap_first(&store->domains); node;
	     node = xn_hmap_next(&store->domains, node)) {
		const struct xn_xs_domain *domain =
			xn_container_of(node, struct xn_xs_domain, hash);

		if (domain->alive)
			visit(domain, arg);
	}
}

void xn_xs_domain_introduce(struct xn_xs_domain *domain)
{
	if (domain->introduced)
		return;
	domain->introduced = true;
	xn_xs_record_together(domain->store);
	note(domain, XN_XS_NOTE_INTRODUCED);
	xn_xs_watch_fire_special(domain->store, XN_XS_INTRODUCE, domain->domid);
	xn_xs_record_done(domain->store);
}

void xn_xs_domain_stopped(struct xn_xs_domain *domain)
{
	if (domain->stopped)
		return;
	domain->stopped = true;
	xn_xs_record_together(domain->store);
	note(domain, XN_XS_NOTE_STOPPED);
	xn_xs_watch_fire_special(domain->store, XN_XS_RELEASE, domain->domid);
	xn_xs_record_done(domain->store);
}

void xn_xs_domain_resume(struct xn_xs_domain *domain)
{
	if (!domain->stopped)
		return;
	domain->stopped = false;
	note(domain, XN_XS_NOTE_RESUMED);
}

void xn_xs_domain_hide_features(struct xn_xs_domain *domain, uint32_t bits)
{
	domain->hidden_features = bits;
	note(domain, XN_XS_NOTE_FEATURES);
}

void xn_xs_domain_set_target(struct xn_xs_domain *domain, struct xn_xs_domain *target_or_null)
{
	if (target_or_null)
		ref(target_or_null);
	xn_xs_domain_unref(domain->target);
	domain->target = target_or_null;
	note(domain, XN_XS_NOTE_TARGET);
}

/* Nobody else may own what the domain had of the special paths. */
static void remove_special(struct xn_xs_store *store, struct xn_xs_domain *domain)
{
	for (int i = 0; i < XN_XS_SPECIALS; i++)
		if (store->special_perms[i]->entries[0].domain == domain) {
			const struct xn_xs_perm_spec dom0_only = {0};

			xn_xs_special_set(store, i, xn_xs_perms_make(store, &dom0_only, 1));
		}
}

void xn_xs_store_set_releasing(struct xn_xs_store *store,
			       void (*releasing)(struct xn_xs_domain *domain, void *arg), void *arg)
{
	store->releasing = releasing;
	store->releasing_arg = arg;
}

void xn_xs_domain_release(struct xn_xs_domain *domain)
{
	struct xn_xs_store *store = domain->store;
	uint32_t domid = domain->domid;

	assert(domain->alive && domain != store->dom0);
	if (store->releasing)
		store->releasing(domain, store->releasing_arg);
	xn_list_each(link, &store->conns)
		assert(xn_list_entry(link, struct xn_xs_conn, link)->domain != domain);
	xn_xs_record_together(store);
	store->must = true;
	xn_xs_reap_domain(store, domain);
	remove_special(store, domain);
	store->must = false;
	note(domain, XN_XS_NOTE_RELEASED);
	xn_xs_domain_drop_target(
		domain); /* two may be each other's: the dead must not hold on to each other */
	bury(domain);
	xn_xs_domain_unref(domain);
	xn_xs_watch_fire_special(store, XN_XS_RELEASE, domid);
	xn_xs_record_done(store);
}
