/* Parts of records put back into a store, at a start: nobody is told, nothing is recorded. */
#include "modules/xenstore/journal/journal_internal.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>

static int redo_commit(struct xn_xs_store *store, struct xn_xs_part *part)
{
	struct xn_xs_record_change change;
	int rc, wrong = 0;

	while ((rc = xn_xs_part_change(part, &change)) > 0) {
		const struct xn_xs_redo redo = {
			.kind = change.kind,
			.implied = change.implied,
			.path = change.path.bytes,
			.path_len = change.path.len,
			.value = change.value.bytes,
			.value_len = change.value.len,
			.perms = change.perms.len ? change.perms.bytes : NULL,
			.perms_len = change.perms.len,
		};

		if (xn_xs_store_redo(store, &redo) < 0)
			wrong = -EINVAL;
	}
	xn_xs_store_redo_end(store, part->commit.generation);
	return rc < 0 ? rc : wrong;
}

static struct xn_xs_domain *find_domain(struct xn_xs_store *store, struct xn_xs_who who)
{
	struct xn_xs_domain *domain = xn_xs_domain_find(store, who.domid);

	return domain && domain->birth == who.birth ? domain : NULL;
}

static int redo_limits(struct xn_xs_domain *domain, struct xn_xs_part *part)
{
	struct xn_xs_limit limit;
	unsigned quota;
	int rc;

	while ((rc = xn_xs_part_limit(part, &quota, &limit.soft, &limit.hard)) > 0)
		if (quota < XN_XS_QUOTAS)
			xn_xs_domain_set_limit(domain, (enum xn_xs_quota)quota, limit);
	return rc;
}

static int redo_domain(struct xn_xs_store *store, struct xn_xs_part *part)
{
	struct xn_xs_domain *domain = xn_xs_domain_find(store, part->domain.who.domid);

	/* An image knows of domains that came while it was made: births only rise. */
	if (domain && domain->birth > part->domain.who.birth)
		return 0;
	if (domain && domain->birth != part->domain.who.birth) {
		if (domain == store->dom0)
			return -EINVAL;
		xn_xs_domain_release(domain);
		domain = NULL;
	}
	if (!domain)
		domain = xn_xs_domain_restore(store, part->domain.who.domid,
					      part->domain.who.birth);
	if (!domain)
		return -EINVAL;
	domain->introduced = part->domain.introduced;
	domain->stopped = part->domain.stopped;
	domain->hidden_features = part->domain.hidden_features;
	xn_xs_domain_set_target(domain, part->domain.target.birth
						? find_domain(store, part->domain.target)
						: NULL);
	return redo_limits(domain, part);
}

static int redo_special(struct xn_xs_store *store, const struct xn_xs_part *part)
{
	char path[32];

	if (part->special.path.len >= sizeof(path))
		return -EINVAL;
	memcpy(path, part->special.path.bytes, part->special.path.len);
	path[part->special.path.len] = '\0';
	return xn_xs_store_restore_special(store, path, part->special.perms.bytes,
					   part->special.perms.len);
}

int xn_xs_redo_part(struct xn_xs_store *store, struct xn_xs_loading *loading,
		    struct xn_xs_part *part)
{
	struct xn_xs_domain *domain;

	switch (part->kind) {
	case XN_XS_PART_COMMIT:
		return redo_commit(store, part);
	case XN_XS_PART_DOMAIN:
		return redo_domain(store, part);
	case XN_XS_PART_GONE:
		domain = find_domain(store, part->domain.who);
		if (domain && domain != store->dom0)
			xn_xs_domain_release(domain);
		return 0;
	case XN_XS_PART_LIMIT:
		if (part->limit.quota < XN_XS_QUOTAS)
			xn_xs_store_keep_limit(store, part->limit.quota,
					       (struct xn_xs_limit){part->limit.soft,
								    part->limit.hard});
		return 0;
	case XN_XS_PART_SPECIAL:
		return redo_special(store, part);
	case XN_XS_PART_SLICE:
		return xn_xs_loading_add(loading, part->slice);
	case XN_XS_PART_IMAGE_END:
		xn_xs_store_restore_counters(store, part->image_end.generation,
					     part->image_end.next_birth);
		return 0;
	default:
		return 0;
	}
}
