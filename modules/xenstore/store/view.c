/*
 * The requests proper, as one sees the store: the tree itself, or a transaction's overlay above it.
 * Changes of the tree go through change.c.
 */
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>

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

/* ---- changes of an overlay ---- */

static struct xn_xs_node *overlay_step(struct xn_xs_store *store, struct xn_xs_node *at,
				       const char *name, size_t len)
{
	struct xn_xs_node *kid = xn_xs_node_kid(at, name, len);

	if (kid)
		return kid;
	kid = xn_xs_node_new(store, name, len, NULL, 0, NULL);
	kid->flags = XN_XS_THROUGH;
	xn_xs_node_attach(at, kid);
	return kid;
}

/* The overlay's own node at @path. What it is, the caller sets. */
static struct xn_xs_node *overlay_touch(const struct xn_xs_view *view, const char *path, size_t len)
{
	struct xn_xs_node *overlay = view->overlay;
	const char *at = path, *end = path + len, *name;
	size_t name_len;

	while ((name = xn_xs_path_next(&at, end, &name_len)))
		overlay = overlay_step(view->store, overlay, name, name_len);
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
	struct xn_xs_node *kid;

	while ((kid = xn_xs_node_pop_kid(node)))
		xn_xs_node_free_tree(kid, xn_xs_node_drop);
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
	struct xn_xs_kid_walk own_walk, base_walk;
	struct xn_xs_node *a, *b;

	xn_xs_kid_walk_init(&own_walk, own);
	xn_xs_kid_walk_init(&base_walk, base);
	a = xn_xs_kid_walk_next(&own_walk);
	b = xn_xs_kid_walk_next(&base_walk);
	while (a || b) {
		int order = !a ? 1 : !b ? -1 : order_of_names(a, b);
		struct xn_xs_node *node = shown(order <= 0 ? a : NULL, order >= 0 ? b : NULL);

		if (node)
			add_name(node, names);
		if (order <= 0)
			a = xn_xs_kid_walk_next(&own_walk);
		if (order >= 0)
			b = xn_xs_kid_walk_next(&base_walk);
	}
}

int xn_xs_do_directory(const struct xn_xs_view *view, const char *path, size_t len,
		       struct xn_buf *names)
{
	struct xn_xs_node *own = view->overlay, *base = view->store->root;
	const char *at = path, *end = path + len, *name;
	struct xn_xs_kid_walk walk;
	struct xn_xs_spot spot;
	struct xn_xs_node *node;
	size_t name_len;
	int rc = find_for(view, path, len, XN_XS_MAY_READ, &spot);

	if (rc < 0)
		return rc;
	if (!own) {
		xn_xs_kid_walk_init(&walk, spot.node);
		while ((node = xn_xs_kid_walk_next(&walk)))
			add_name(node, names);
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

/* Whether @view's domain may have @perms on a node with such a value. */
static int check_size(const struct xn_xs_view *view, size_t value_len,
		      const struct xn_xs_perms *perms)
{
	return xn_xs_quota_check(view->who, view->who, XN_XS_QUOTA_NODE_SIZE,
				 value_len + 8 * perms->n);
}

static int check_new(const struct xn_xs_view *view, const struct xn_xs_node *node)
{
	struct xn_xs_domain *owner = node->perms->entries[0].domain;
	int rc = check_size(view, node->value_len, node->perms);

	if (!rc)
		rc = xn_xs_quota_check(view->who, owner, XN_XS_QUOTA_NODES,
				       owner->account.nodes + 1);
	return rc ? rc : xn_xs_quota_check_memory(view->who, owner, xn_xs_node_bytes(node));
}

/* On an overlay only what is sure to fail at the commit is refused, and before anything is made. */
static int check_in_overlay(const struct xn_xs_view *view, const char *at, const char *end,
			    size_t value_len, const struct xn_xs_perms *perms)
{
	int rc = check_size(view, value_len, perms);
	uint64_t n = 0;
	size_t name_len;

	while (xn_xs_path_next(&at, end, &name_len))
		n++;
	if (rc < 0 || !view->n_made || *view->n_made == XN_XS_MADE_UNKNOWN)
		return rc;
	rc = xn_xs_quota_check(view->who, view->who, XN_XS_QUOTA_NODES,
			       view->who->account.nodes + *view->n_made + n);
	if (!rc)
		*view->n_made += n;
	return rc;
}

static struct xn_xs_node *make_in_overlay(struct xn_xs_store *store, struct xn_xs_node *at,
					  const char *name, size_t name_len, const void *value,
					  size_t value_len, struct xn_xs_perms *perms)
{
	at = overlay_step(store, at, name, name_len);
	overlay_own(at, perms);
	xn_xs_node_set_value(at, value, value_len);
	return at;
}

static int make_in_tree(const struct xn_xs_view *view, struct xn_xs_node **at, const char *path,
			size_t len, size_t name_len, const void *value, size_t value_len,
			struct xn_xs_perms *perms, bool implied)
{
	struct xn_xs_node *node = xn_xs_node_new(view->store, path + len - name_len, name_len,
						 value, value_len, perms);
	int rc = check_new(view, node);

	if (rc < 0)
		xn_xs_node_drop(node);
	else
		*at = xn_xs_create(view->store, *at, node, path, len, implied);
	return rc;
}

/* Makes what is missing of @path below spot->nearest; the last node gets the value. */
static int make_path(const struct xn_xs_view *view, const char *path, size_t len,
		     const struct xn_xs_spot *spot, const void *value, size_t value_len)
{
	const char *at = path + spot->nearest_len, *end = path + len, *name;
	struct xn_xs_node *node = spot->nearest;
	struct xn_xs_perms *perms = node->perms;
	size_t name_len;
	int rc;

	if (view->overlay) {
		rc = check_in_overlay(view, at, end, value_len, perms);
		if (rc < 0)
			return rc;
		node = overlay_touch(view, path, spot->nearest_len);
	}
	while ((name = xn_xs_path_next(&at, end, &name_len))) {
		bool is_last = at == end;
		size_t size = is_last ? value_len : 0;

		perms = xn_xs_perms_inherit(perms, view->who);
		if (view->overlay) {
			node = make_in_overlay(view->store, node, name, name_len, value, size,
					       perms);
			continue;
		}
		rc = make_in_tree(view, &node, path, (size_t)(at - path), name_len, value, size,
				  perms, !is_last);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Whether a value may grow: what it needs is its owner's. */
static int check_growth(const struct xn_xs_view *view, const struct xn_xs_node *node,
			size_t value_len)
{
	int rc = check_size(view, value_len, node->perms);

	if (rc < 0 || value_len <= node->value_len)
		return rc;
	return xn_xs_quota_check_memory(view->who, node->perms->entries[0].domain,
					value_len - node->value_len);
}

int xn_xs_do_write(const struct xn_xs_view *view, const char *path, size_t len, const void *value,
		   size_t value_len, bool only_make)
{
	struct xn_xs_spot spot;
	struct xn_xs_node *node;
	int rc = find_for(view, path, len, XN_XS_MAY_WRITE, &spot);

	if (rc == -ENOENT)
		return make_path(view, path, len, &spot, value, value_len);
	if (rc < 0 || only_make)
		return rc;
	rc = check_growth(view, spot.node, value_len);
	if (rc < 0)
		return rc;
	if (!view->overlay) {
		xn_xs_set_value(view->store, spot.node, path, len, value, value_len);
		return 0;
	}
	node = overlay_touch(view, path, len);
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
	if (view->overlay) {
		overlay_remove(overlay_touch(view, path, len));
		if (view->n_made)
			*view->n_made = XN_XS_MADE_UNKNOWN;
	} else {
		xn_xs_remove(view->store, spot.node, path, len);
	}
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
	rc = xn_xs_quota_check(view->who, view->who, XN_XS_QUOTA_PERMS, perms->n);
	if (rc < 0)
		return rc;
	xn_xs_perms_ref(perms);
	if (!view->overlay) {
		xn_xs_set_perms(view->store, spot.node, path, len, perms);
		return 0;
	}
	node = overlay_touch(view, path, len);
	if (node->flags & XN_XS_THROUGH)
		xn_xs_node_set_value(node, xn_xs_node_value(spot.node), spot.node->value_len);
	overlay_own(node, perms);
	return 0;
}
