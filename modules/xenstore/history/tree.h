/*
 * The store's tree at a moment of the past: made from an image and moved on by the changes behind it.
 * A worker has its own, with as much of the tree as its question needs. Not the tree of store.h:
 * nobody has rights here, nobody watches, and domains are just the numbers that the journal has.
 */
#ifndef XN_XENSTORE_PAST_TREE_H
#define XN_XENSTORE_PAST_TREE_H

#include "core/hmap.h"
#include "modules/xenstore/journal/record.h"

struct past_perms { /* shared by all nodes that have the same */
	struct xn_hnode node;
	unsigned refs;
	size_t len;
	char text[]; /* as in the journal: "n0.1 r5.17 " */
};

struct past_node {
	struct past_node *parent, **kids; /* sorted by name */
	uint32_t n_kids, cap_kids;
	struct past_perms *perms;
	char *value; /* not terminated; NULL: empty */
	uint16_t value_len, name_len;
	bool has_perms_file; /* the export's */
	char name[];	     /* terminated; the root's is empty */
};

struct past_tree {
	struct past_node *root;
	struct xn_hmap perms, living; /* living: births of domains that are there, but domain 0's */
	/* Only this path, what is below and what is above is kept. len 1, "/": all. */
	const char *path;
	size_t path_len;
};

void past_tree_init(struct past_tree *tree, const char *path, size_t path_len);
void past_tree_clear(struct past_tree *tree); /* twice is fine */
void past_tree_empty(struct past_tree *tree); /* the store begins anew */

/* Whether @path is @tree's path or below it. */
bool past_tree_asks(const struct past_tree *tree, const char *path, size_t len);
struct past_node *past_tree_find(const struct past_tree *tree, const char *path, size_t len);
/* The topmost node that was asked for, or NULL: there is none. */
struct past_node *past_tree_top(const struct past_tree *tree);
/* All of these pass over what is not kept; missing parents are made. NULL: as it is, for a new node
 * nothing and the parent's. */
void past_tree_put(struct past_tree *tree, const char *path, size_t len,
		   const struct xn_xs_text *value, const struct xn_xs_text *perms);
void past_tree_remove(struct past_tree *tree, const char *path, size_t len);
void past_tree_domain(struct past_tree *tree, uint64_t birth, bool lives);

/* The node after @node below @top, parents before children; NULL after the last. */
struct past_node *past_node_next(const struct past_node *top, const struct past_node *node);
/* The first node below @top that comes after @path; NULL: none. */
struct past_node *past_tree_after(const struct past_tree *tree, const struct past_node *top,
				  const char *path, size_t len);
/* Written at the end of @room. */
const char *past_node_path(const struct past_node *node, char room[XN_XS_PATH_MAX + 2],
			   size_t *len_out);
/* "n0 r5", as they were for the domains that lived. */
void past_perms_print(const struct past_tree *tree, const struct xn_xs_text *perms, char separator,
		      struct xn_buf *out);
bool past_perms_name(const struct past_perms *perms, uint64_t birth);

#endif
