/* The tree of the past; see tree.h. Nothing here recurses: paths may be a thousand levels deep. */
#include "modules/xenstore/history/tree.h"

#include <stdlib.h>

#include "modules/xenstore/store/path.h"

/* ---- permissions ---- */

static struct past_perms *perms_of(struct past_tree *tree, const struct xn_xs_text *text)
{
	uint64_t hash = xn_hash_bytes(text->bytes, text->len);
	struct xn_hnode *at = xn_hmap_first_same(&tree->perms, hash);
	struct past_perms *fresh;

	for (; at; at = xn_hmap_next_same(at)) {
		struct past_perms *known = xn_container_of(at, struct past_perms, node);

		if (known->len != text->len || memcmp(known->text, text->bytes, text->len) != 0)
			continue;
		known->refs++;
		return known;
	}
	fresh = xn_malloc(sizeof(*fresh) + text->len);
	*fresh = (struct past_perms){.refs = 1, .len = text->len};
	memcpy(fresh->text, text->bytes, text->len);
	xn_hmap_insert(&tree->perms, &fresh->node, hash);
	return fresh;
}

static void perms_unref(struct past_tree *tree, struct past_perms *perms)
{
	if (!perms || --perms->refs)
		return;
	xn_hmap_remove(&tree->perms, &perms->node);
	free(perms);
}

struct living {
	struct xn_hnode node;
	uint64_t birth;
};

static struct living *find_living(const struct past_tree *tree, uint64_t birth)
{
	struct xn_hnode *at =
		xn_hmap_first_same(&tree->living, xn_hash_bytes(&birth, sizeof(birth)));

	for (; at; at = xn_hmap_next_same(at))
		if (xn_container_of(at, struct living, node)->birth == birth)
			return xn_container_of(at, struct living, node);
	return NULL;
}

void past_tree_domain(struct past_tree *tree, uint64_t birth, bool lives)
{
	struct living *living = find_living(tree, birth);

	if (lives && !living) {
		living = xn_malloc(sizeof(*living));
		living->birth = birth;
		xn_hmap_insert(&tree->living, &living->node, xn_hash_bytes(&birth, sizeof(birth)));
	} else if (!lives && living) {
		xn_hmap_remove(&tree->living, &living->node);
		free(living);
	}
}

/* Birth 0: whoever has that domid, and nobody does yet. */
static bool counts(const struct past_tree *tree, const struct xn_xs_who *who)
{
	return !who->domid || !who->birth || find_living(tree, who->birth);
}

void past_perms_print(const struct past_tree *tree, const struct xn_xs_text *perms, char separator,
		      struct xn_buf *out)
{
	struct xn_xs_text left = *perms;
	struct xn_xs_perm perm;

	for (bool is_owner = true; xn_xs_perm_next(&left, &perm) == 1; is_owner = false) {
		if (!is_owner && !counts(tree, &perm.who))
			continue; /* the rights of the dead are nobody's */
		if (!is_owner)
			xn_buf_add_char(out, separator);
		xn_buf_add_char(out, perm.mode);
		xn_buf_add_int(out, perm.who.domid);
	}
}

bool past_perms_name(const struct past_perms *perms, uint64_t birth)
{
	struct xn_xs_text left = {perms->text, perms->len};
	struct xn_xs_perm perm;

	while (xn_xs_perm_next(&left, &perm) == 1)
		if (perm.who.birth == birth)
			return true;
	return false;
}

/* ---- nodes ---- */

static int order(const char *a, size_t a_len, const struct past_node *b)
{
	int order = memcmp(a, b->name, a_len < b->name_len ? a_len : b->name_len);

	return order ? order : (int)a_len - (int)b->name_len;
}

/* Where @name is among the kids, or would be. */
static uint32_t kid_index(const struct past_node *node, const char *name, size_t len, bool *found)
{
	uint32_t low = 0, high = node->n_kids;

	*found = false;
	if (high && order(name, len, node->kids[high - 1]) > 0)
		return high; /* an image comes in order */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int which = order(name, len, node->kids[mid]);

		if (!which) {
			*found = true;
			return mid;
		}
		if (which < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static struct past_node *node_new(struct past_node *parent, const char *name, size_t len)
{
	struct past_node *node = xn_malloc(sizeof(*node) + len + 1);

	*node = (struct past_node){.parent = parent, .name_len = (uint16_t)len};
	memcpy(node->name, name, len);
	node->name[len] = '\0';
	if (parent && parent->perms) {
		node->perms = parent->perms;
		node->perms->refs++;
	}
	return node;
}

static struct past_node *add_kid(struct past_node *parent, uint32_t index, const char *name,
				 size_t len)
{
	struct past_node *kid = node_new(parent, name, len);

	if (parent->n_kids == parent->cap_kids) {
		parent->cap_kids = parent->cap_kids ? parent->cap_kids * 2 : 2;
		parent->kids =
			xn_realloc(parent->kids, parent->cap_kids * sizeof(parent->kids[0]));
	}
	memmove(&parent->kids[index + 1], &parent->kids[index],
		(parent->n_kids - index) * sizeof(parent->kids[0]));
	parent->kids[index] = kid;
	parent->n_kids++;
	return kid;
}

static void node_free(struct past_tree *tree, struct past_node *node)
{
	perms_unref(tree, node->perms);
	free(node->kids);
	free(node->value);
	free(node);
}

/* All below and the node itself, from the leaves. */
static void free_tree(struct past_tree *tree, struct past_node *top)
{
	struct past_node *node = top, *parent;

	for (;;) {
		while (node->n_kids)
			node = node->kids[node->n_kids - 1];
		parent = node == top ? NULL : node->parent;
		node_free(tree, node);
		if (!parent)
			return;
		parent->n_kids--;
		node = parent;
	}
}

struct past_node *past_node_next(const struct past_node *top, const struct past_node *node)
{
	if (node->n_kids)
		return node->kids[0];
	for (; node != top; node = node->parent) {
		const struct past_node *parent = node->parent;
		bool found;
		uint32_t index = kid_index(parent, node->name, node->name_len, &found);

		if (index + 1 < parent->n_kids)
			return parent->kids[index + 1];
	}
	return NULL;
}

const char *past_node_path(const struct past_node *node, char room[XN_XS_PATH_MAX + 2],
			   size_t *len_out)
{
	char *at = room + XN_XS_PATH_MAX + 1;
	const char *end = at;

	*at = '\0';
	if (!node->parent)
		*--at = '/';
	for (; node->parent; node = node->parent) {
		at -= node->name_len;
		memcpy(at, node->name, node->name_len);
		*--at = '/';
	}
	*len_out = (size_t)(end - at);
	return at;
}

/* ---- the tree ---- */

void past_tree_init(struct past_tree *tree, const char *path, size_t path_len)
{
	*tree = (struct past_tree){.path = path, .path_len = path_len};
	past_tree_empty(tree);
}

void past_tree_clear(struct past_tree *tree)
{
	struct xn_hnode *at, *next;

	if (tree->root)
		free_tree(tree, tree->root);
	for (at = xn_hmap_first(&tree->living); at; at = next) {
		next = xn_hmap_next(&tree->living, at);
		free(xn_container_of(at, struct living, node));
	}
	xn_hmap_clear(&tree->living);
	xn_hmap_clear(&tree->perms);
	tree->root = NULL;
}

void past_tree_empty(struct past_tree *tree)
{
	static const struct xn_xs_text dom0_only = {"n0.1 ", 5};

	past_tree_clear(tree);
	tree->root = node_new(NULL, "", 0);
	tree->root->perms = perms_of(tree, &dom0_only);
}

bool past_tree_asks(const struct past_tree *tree, const char *path, size_t len)
{
	if (tree->path_len == 1)
		return true;
	return len >= tree->path_len && memcmp(path, tree->path, tree->path_len) == 0 &&
	       (len == tree->path_len || path[tree->path_len] == '/');
}

static bool keeps(const struct past_tree *tree, const char *path, size_t len)
{
	if (past_tree_asks(tree, path, len) || len == 1)
		return true;
	return len < tree->path_len && memcmp(path, tree->path, len) == 0 &&
	       tree->path[len] == '/';
}

struct past_node *past_tree_find(const struct past_tree *tree, const char *path, size_t len)
{
	const char *at = path, *name;
	struct past_node *node = tree->root;
	size_t name_len;

	while ((name = xn_xs_path_next(&at, path + len, &name_len))) {
		bool found;
		uint32_t index = kid_index(node, name, name_len, &found);

		if (!found)
			return NULL;
		node = node->kids[index];
	}
	return node;
}

struct past_node *past_tree_top(const struct past_tree *tree)
{
	return past_tree_find(tree, tree->path, tree->path_len);
}

static void set_value(struct past_node *node, const struct xn_xs_text *value)
{
	if (value->len != node->value_len) {
		free(node->value);
		node->value = value->len ? xn_malloc(value->len) : NULL;
		node->value_len = (uint16_t)value->len;
	}
	if (value->len)
		memcpy(node->value, value->bytes, value->len);
}

void past_tree_put(struct past_tree *tree, const char *path, size_t len,
		   const struct xn_xs_text *value, const struct xn_xs_text *perms)
{
	const char *at = path, *name;
	struct past_node *node = tree->root;
	size_t name_len;

	if (!keeps(tree, path, len))
		return;
	while ((name = xn_xs_path_next(&at, path + len, &name_len))) {
		bool found;
		uint32_t index = kid_index(node, name, name_len, &found);

		node = found ? node->kids[index] : add_kid(node, index, name, name_len);
	}
	if (value)
		set_value(node, value);
	if (perms && perms->len) {
		struct past_perms *old = node->perms;

		node->perms = perms_of(tree, perms);
		perms_unref(tree, old);
	}
}

void past_tree_remove(struct past_tree *tree, const char *path, size_t len)
{
	struct past_node *node = past_tree_find(tree, path, len), *parent;
	bool found;
	uint32_t index;

	if (!node || !node->parent)
		return;
	parent = node->parent;
	index = kid_index(parent, node->name, node->name_len, &found);
	parent->n_kids--;
	memmove(&parent->kids[index], &parent->kids[index + 1],
		(parent->n_kids - index) * sizeof(parent->kids[0]));
	node->parent = NULL;
	free_tree(tree, node);
}

struct past_node *past_tree_after(const struct past_tree *tree, const struct past_node *top,
				  const char *path, size_t len)
{
	const char *at = path, *name;
	struct past_node *node = tree->root;
	size_t name_len;
	bool found = true;

	while ((name = xn_xs_path_next(&at, path + len, &name_len))) {
		uint32_t index = kid_index(node, name, name_len, &found);

		if (!found && index < node->n_kids)
			return node->kids[index];
		if (!found)
			break;
		node = node->kids[index];
	}
	if (found)
		return past_node_next(top, node);
	/* Behind the last kid: what follows the node and all below it. */
	while (node->n_kids)
		node = node->kids[node->n_kids - 1];
	return past_node_next(top, node);
}
