/* The tree as it was at a moment; see answer.h. */
#include "modules/xenstore/history/answer.h"

#include <errno.h>

static int on_commit(void *arg, const struct past_commit *c)
{
	const uint64_t *until = arg;

	return c->generation > *until;
}

int past_tree_at(struct past *past, uint64_t generation, bool is_now, struct past_tree *tree)
{
	static const struct past_visitor visitor = {.commit = on_commit};
	uint64_t until = is_now ? UINT64_MAX : generation;
	int rc = past_walk(past, generation, tree, &visitor, &until);

	return rc > 0 ? 0 : rc;
}

static void put_node(struct past_answering *a, const struct past_node *node, const char *path,
		     size_t len)
{
	bool outer;

	xn_writer_map_begin(&a->w, &outer);
	xn_writer_key(&a->w, "path", strlen("path"));
	xn_writer_put_text(&a->w, path, len);
	xn_writer_key(&a->w, "value", strlen("value"));
	past_put_value(a, path, len, node->value, node->value_len);
	xn_writer_key(&a->w, "permissions", strlen("permissions"));
	past_put_perms(a, node->perms);
	xn_writer_map_end(&a->w, outer);
}

/* So many, from the first one on that was asked for. What comes next goes to @next. */
static void put_nodes(struct past_answering *a, char next[XN_XS_PATH_MAX + 1])
{
	unsigned limit = a->q->limit ? a->q->limit : PAST_LIMIT, n = 0;
	const char *after = a->q->path_after, *path = NULL;
	struct past_node *top = past_tree_top(&a->tree), *node = top;
	char room[XN_XS_PATH_MAX + 2];
	size_t len = 0;

	*next = '\0';
	if (top && *after)
		node = past_tree_after(&a->tree, top, after, strlen(after));
	for (; node; node = past_node_next(top, node)) {
		if (n == limit || a->w.out->len > PAST_PAGE) {
			memcpy(next, path, len + 1);
			return;
		}
		path = past_node_path(node, room, &len);
		put_node(a, node, path, len);
		n++;
	}
}

int past_answer_nodes(struct past_answering *a)
{
	char next[XN_XS_PATH_MAX + 1];
	uint64_t generation;
	bool outer, outer_set;
	int rc;

	if (past_find_generation(a->past, &a->q->at, "at", a->asking->now_us, &generation,
				 a->err) < 0)
		return -1;
	rc = past_tree_at(a->past, generation, a->q->at.is_now, &a->tree);
	if (rc < 0)
		return rc;
	xn_writer_map_begin(&a->w, &outer);
	xn_writer_member_int(&a->w, "generation", (int64_t)generation);
	xn_writer_key(&a->w, "nodes", strlen("nodes"));
	xn_writer_set_begin(&a->w, &outer_set);
	put_nodes(a, next);
	xn_writer_set_end(&a->w, outer_set);
	xn_writer_member(&a->w, "next", next);
	xn_writer_map_end(&a->w, outer);
	return 0;
}
