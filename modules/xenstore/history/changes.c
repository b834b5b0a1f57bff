/*
 * What changed: a walk over commits, each change held against the question. A change is named by its
 * generation and its number among those of the generation under the path, so that an answer in pages
 * goes on where it ended, whatever was written or removed meanwhile. The removal of a tree is told
 * node by node, with what each of them held.
 */
#include "modules/xenstore/history/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct told { /* a change that is written already */
	struct past_place place;
	char *text;
	size_t len;
};

struct looking {
	struct past_answering *a;
	unsigned limit;
	struct past_place place; /* of the change that is looked at */
	/* Oldest first they are written as they come, newest first the last ones are kept. */
	unsigned n;
	struct past_place last;
	bool has_more;
	struct told *ring; /* of .limit; NULL: oldest first */
	size_t ring_at, ring_n, ring_bytes;
};

/* What is told of a change. */
struct item {
	enum past_operation operation;
	const char *path;
	size_t path_len;
	const struct past_node *old; /* NULL: it was not there */
	const struct xn_xs_record_change *change;
};

/* ---- which ---- */

static bool is_after(const struct past_place *p, const struct past_place *q)
{
	return p->generation != q->generation ? p->generation > q->generation
					      : p->index > q->index;
}

static bool when_matches(const struct looking *l, const struct past_commit *c)
{
	const struct past_query *q = l->a->q;
	int64_t now_us = l->a->asking->now_us;

	if (q->since.is_given && (q->since.is_time ? c->us < (q->since.is_now ? now_us : q->since.us)
						   : c->generation <= q->since.generation))
		return false;
	return !q->until.is_given ||
	       (q->until.is_time ? c->us <= (q->until.is_now ? now_us : q->until.us)
				 : c->generation <= q->until.generation);
}

static bool who_matches(const struct past_query *q, const struct past_commit *c)
{
	return (!q->has_domain || q->domain == c->by.domid) &&
	       (!q->has_birth || q->birth == c->by.birth) &&
	       (!q->has_transaction || q->transaction == c->transaction);
}

static bool item_matches(const struct looking *l, const struct past_commit *c,
			 enum past_operation operation)
{
	const struct past_query *q = l->a->q;

	if (q->has_after && !(q->newest ? is_after(&q->after, &l->place)
					: is_after(&l->place, &q->after)))
		return false;
	return (q->operation == PAST_ANY || q->operation == operation) && who_matches(q, c) &&
	       when_matches(l, c);
}

/* ---- written ---- */

static void put_old(struct past_answering *a, const struct item *item)
{
	if (!item->old)
		xn_writer_put_null(&a->w);
	else if (item->operation == PAST_PERMISSIONS)
		past_put_perms(a, item->old->perms);
	else
		past_put_value(a, item->path, item->path_len, item->old->value,
			       item->old->value_len);
}

static void put_new(struct past_answering *a, const struct item *item)
{
	if (item->operation == PAST_DELETE)
		xn_writer_put_null(&a->w);
	else if (item->operation == PAST_PERMISSIONS)
		past_put_perms_text(a, &item->change->perms);
	else
		past_put_value(a, item->path, item->path_len, item->change->value.bytes,
			       item->change->value.len);
}

static void put_item(struct past_answering *a, const struct past_commit *c, const struct item *item)
{
	static const char *const names[] = {[PAST_CREATE] = "create",
					    [PAST_SET] = "set",
					    [PAST_PERMISSIONS] = "permissions",
					    [PAST_DELETE] = "delete"};
	struct xn_writer *w = &a->w;
	bool outer;

	xn_writer_map_begin(w, &outer);
	xn_writer_member_int(w, "generation", (int64_t)c->generation);
	xn_writer_key(w, "time", strlen("time"));
	xn_writer_put_time(w, c->us);
	xn_writer_member_int(w, "domain", c->by.domid);
	xn_writer_member_int(w, "birth", (int64_t)c->by.birth);
	xn_writer_member_int(w, "transaction", c->transaction);
	xn_writer_member(w, "operation", names[item->operation]);
	xn_writer_key(w, "path", strlen("path"));
	xn_writer_put_text(w, item->path, item->path_len);
	xn_writer_key(w, "old", strlen("old"));
	put_old(a, item);
	xn_writer_key(w, "new", strlen("new"));
	put_new(a, item);
	xn_writer_key(w, "permissions", strlen("permissions"));
	if (item->change && item->change->perms.len)
		past_put_perms_text(a, &item->change->perms);
	else if (item->old)
		past_put_perms(a, item->old->perms);
	else
		xn_writer_put_null(w);
	xn_writer_map_end(w, outer);
}

static void drop_oldest(struct looking *l)
{
	struct told *told = &l->ring[l->ring_at];

	free(told->text);
	l->ring_bytes -= told->len;
	l->ring_at = (l->ring_at + 1) % l->limit;
	l->ring_n--;
	l->has_more = true;
}

/* What was just written, from @begin on, into the ring. */
static void keep(struct looking *l, size_t begin)
{
	struct xn_buf *out = l->a->w.out;
	struct told *told;

	if (l->ring_n == l->limit)
		drop_oldest(l);
	told = &l->ring[(l->ring_at + l->ring_n++) % l->limit];
	*told = (struct told){l->place, NULL, out->len - begin};
	told->text = xn_malloc(told->len);
	memcpy(told->text, out->data + begin, told->len);
	out->len = begin;
	l->ring_bytes += told->len;
	while (l->ring_bytes > PAST_PAGE && l->ring_n > 1)
		drop_oldest(l);
}

static int look_at(struct looking *l, const struct past_commit *c, const struct item *item)
{
	struct past_answering *a = l->a;
	size_t begin = a->w.out->len;

	if (l->place.generation == c->generation)
		l->place.index++;
	else
		l->place = (struct past_place){c->generation, 0};
	if (!item_matches(l, c, item->operation))
		return 0;
	if (!l->ring && (l->n == l->limit || (l->n && begin > PAST_PAGE))) {
		l->has_more = true;
		return 1; /* enough */
	}
	if (l->ring)
		a->w.comma = false; /* put together later */
	put_item(a, c, item);
	l->n++;
	l->last = l->place;
	if (l->ring)
		keep(l, begin);
	return 0;
}

/* Each node that goes and that was asked for. */
static int look_at_removal(struct looking *l, const struct past_commit *c,
			   const struct xn_xs_record_change *change)
{
	const struct past_tree *tree = &l->a->tree;
	struct past_node *top = past_tree_find(tree, change->path.bytes, change->path.len), *node;
	char room[XN_XS_PATH_MAX + 2];
	int rc = 0;

	if (top && !past_tree_asks(tree, change->path.bytes, change->path.len))
		top = past_tree_top(tree);
	for (node = top; node && rc == 0; node = past_node_next(top, node)) {
		struct item item = {.operation = PAST_DELETE, .old = node};

		item.path = past_node_path(node, room, &item.path_len);
		rc = look_at(l, c, &item);
	}
	return rc;
}

static int on_change(void *arg, const struct past_commit *c,
		     const struct xn_xs_record_change *change)
{
	static const enum past_operation operations[] = {[XN_XS_CREATED] = PAST_CREATE,
							 [XN_XS_VALUE] = PAST_SET,
							 [XN_XS_PERMS] = PAST_PERMISSIONS};
	struct looking *l = arg;
	const struct past_tree *tree = &l->a->tree;
	struct item item = {
		.path = change->path.bytes, .path_len = change->path.len, .change = change};

	if (change->kind == XN_XS_REMOVED)
		return look_at_removal(l, c, change);
	if (!past_tree_asks(tree, change->path.bytes, change->path.len))
		return 0;
	item.operation = operations[change->kind];
	if (item.operation != PAST_CREATE)
		item.old = past_tree_find(tree, change->path.bytes, change->path.len);
	return look_at(l, c, &item);
}

/* What is younger than all that is asked for need not be read. */
static int on_commit(void *arg, const struct past_commit *c)
{
	const struct looking *l = arg;
	const struct past_query *q = l->a->q;

	if (q->until.is_given && !q->until.is_time && c->generation > q->until.generation)
		return 1;
	return q->newest && q->has_after && c->generation > q->after.generation;
}

/* ---- the answer ---- */

static int find_start(struct looking *l, uint64_t *out)
{
	const struct past_query *q = l->a->q;
	int rc = 0;

	*out = 0;
	if (q->since.is_given && !q->since.is_time)
		*out = q->since.generation;
	else if (q->since.is_given)
		rc = past_generation_before(
			l->a->past, q->since.is_now ? l->a->asking->now_us : q->since.us, out);
	if (q->has_after && !q->newest && q->after.generation > *out)
		*out = q->after.generation - 1;
	return rc;
}

static int walk(struct looking *l)
{
	static const struct past_visitor visitor = {.commit = on_commit, .change = on_change};
	uint64_t start;
	int rc = find_start(l, &start);

	if (rc == 0)
		rc = past_walk(l->a->past, start, &l->a->tree, &visitor, l);
	return rc == -ENODATA || rc > 0 ? 0 : rc;
}

static void put_ring(struct looking *l)
{
	struct xn_writer *w = &l->a->w;

	for (size_t i = l->ring_n; i-- > 0;) {
		const struct told *told = &l->ring[(l->ring_at + i) % l->limit];

		if (i + 1 < l->ring_n && w->format == XN_FORMAT_JSON)
			xn_buf_add_char(w->out, ',');
		xn_buf_add(w->out, told->text, told->len);
		l->last = told->place;
	}
	w->comma = true;
}

static bool is_complete(const struct past_answering *a)
{
	const struct past_bounds *b = past_bounds(a->past);
	const struct xn_moment *since = &a->q->since;

	if (b->n_gaps)
		return false;
	if (b->is_whole)
		return true;
	return since->is_given &&
	       (since->is_time ? since->us >= b->first_us : since->generation >= b->first);
}

static int answer_with(struct looking *l)
{
	struct past_answering *a = l->a;
	char *next XN_CLEANUP(xn_free_p) = NULL;
	bool outer, outer_set;
	int rc;

	xn_writer_map_begin(&a->w, &outer);
	xn_writer_key(&a->w, "changes", strlen("changes"));
	xn_writer_set_begin(&a->w, &outer_set);
	rc = walk(l);
	if (rc < 0)
		return rc;
	if (l->ring)
		put_ring(l);
	xn_writer_set_end(&a->w, outer_set);
	if (l->has_more)
		next = xn_asprintf("%" PRIu64 ".%u", l->last.generation, l->last.index);
	xn_writer_member(&a->w, "next", next ? next : "");
	past_put_limits(a, is_complete(a));
	xn_writer_map_end(&a->w, outer);
	return 0;
}

int past_answer_changes(struct past_answering *a)
{
	struct looking l = {.a = a, .limit = a->q->limit ? a->q->limit : PAST_LIMIT};
	int rc;

	if (a->q->newest)
		l.ring = xn_calloc(l.limit, sizeof(l.ring[0]));
	rc = answer_with(&l);
	while (l.ring && l.ring_n)
		drop_oldest(&l);
	free(l.ring);
	return rc;
}
