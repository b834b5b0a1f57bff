/*
 * The store's past as the journal's files tell it: images of the whole store, and between them each
 * change. An image gives the tree at a moment; from there it is moved on, change by change, so that
 * each is seen with what it replaced. Reads files only; any thread, beside a daemon that writes.
 */
#ifndef XN_XENSTORE_PAST_H
#define XN_XENSTORE_PAST_H

#include "modules/xenstore/history/tree.h"

struct xn_xs_media;
struct past;

struct past_gap { /* what is not known between two generations: from, up to but without */
	uint64_t first, next;
	int64_t from_us, to_us;
};

struct past_bounds {
	uint64_t first, last; /* generations: the oldest state that is known, the newest */
	int64_t first_us, last_us; /* 0: nothing is kept */
	uint64_t bytes;
	unsigned files;
	bool is_whole; /* since the first start of all */
	const struct past_gap *gaps;
	size_t n_gaps;
};

/* @media stays the caller's. 0 or -errno. */
int past_open(struct xn_xs_media *media, struct past **out) XN_MUST_CHECK;
void past_close(struct past *past); /* NULL is fine */
const struct past_bounds *past_bounds(const struct past *past);
/* The generation of the last change made at @us or before; 0: all that is known is younger.
 * -ENOTUNIQ: the clock was set back and may have shown this time more than once, first at about
 * *out. */
int past_generation_at(struct past *past, int64_t us, uint64_t *out) XN_MUST_CHECK;
/* All changes made at @us or later are behind the generation *out. */
int past_generation_before(struct past *past, int64_t us, uint64_t *out) XN_MUST_CHECK;

struct past_commit {
	uint64_t generation;
	int64_t us;
	struct xn_xs_who by;
	uint32_t transaction; /* 0: a single request */
	uint32_t n;
};

/* Each may end the walk with a return other than 0, which is the walk's. May be NULL. */
struct past_visitor {
	/* The tree is as it was after this generation. @is_anew: the host was started, the store
	 * began empty. */
	int (*at)(void *arg, uint64_t generation, int64_t us, bool is_anew);
	int (*commit)(void *arg, const struct past_commit *commit);
	/* About to be carried out on the tree, and done. */
	int (*change)(void *arg, const struct past_commit *commit,
		      const struct xn_xs_record_change *change);
	int (*changed)(void *arg, const struct past_commit *commit,
		       const struct xn_xs_record_change *change);
	int (*committed)(void *arg, const struct past_commit *commit);
	/* Nobody has the rights of this domain any more. */
	int (*gone)(void *arg, const struct xn_xs_who *who, uint64_t generation, int64_t us);
};

/*
 * past_walk - moves @tree from where it is known at or before @generation (or begins) to the end
 * Return: 0; the visitor's; -ENODATA: nothing is known; -ESTALE: a file was removed meanwhile, ask
 * again with a new past; -errno
 */
int past_walk(struct past *past, uint64_t generation, struct past_tree *tree,
	      const struct past_visitor *visitor, void *arg) XN_MUST_CHECK;

#endif
