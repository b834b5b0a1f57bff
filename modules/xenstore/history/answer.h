/*
 * Answers about the store's past: the same for a call, on a worker, and for the flags. Only reads
 * files; takes nothing from the daemon but what is in the arguments.
 */
#ifndef XN_XENSTORE_PAST_ANSWER_H
#define XN_XENSTORE_PAST_ANSWER_H

#include "core/writer.h"
#include "modules/xenstore/history/past.h"
#include "modules/xenstore/history/query.h"

enum { PAST_ANSWER_MAX = 64 << 20, PAST_PAGE = 16 << 20 };

struct past_asking {
	struct xn_xs_media *media;
	const struct past_query *query;
	enum xn_format format;
	int64_t now_us;	    /* what is later is the future */
	uint64_t size_limit; /* of the files together; 0: none */
};

/*
 * past_answer - appends the answer to @out
 * Return: 0, or -1 with @err and nothing of use in @out.
 */
int past_answer(const struct past_asking *asking, struct xn_buf *out, struct xn_error *err);

/* ---- between the files of this folder ---- */
struct past_answering {
	const struct past_asking *asking;
	const struct past_query *q;
	struct past *past;
	struct past_tree tree;
	struct xn_writer w;
	struct xn_error *err;
};

int past_answer_changes(struct past_answering *a);
int past_answer_nodes(struct past_answering *a);

/* The generation that @when means, for questions about a state. -1 with an error: not known. */
int past_find_generation(struct past *past, const struct xn_moment *when, const char *name,
			 int64_t now_us, uint64_t *out, struct xn_error *err);
/* -1 with an error. @rc: of past_open() or past_walk(). */
int past_failed(struct xn_error *err, int rc);
/* Members "complete", "oldest", "gaps". */
void past_put_limits(struct past_answering *a, bool is_complete);
void past_put_moment(struct past_answering *a, const char *key, uint64_t generation, int64_t us);
/* A node's value as text; what is no text is made one. */
void past_put_value(struct past_answering *a, const char *path, size_t path_len, const char *value,
		    size_t len);
void past_put_perms(struct past_answering *a, const struct past_perms *perms);
void past_put_perms_text(struct past_answering *a, const struct xn_xs_text *text);
/* The tree as it was after this generation; now: with all that has happened. 0 or -errno. */
int past_tree_at(struct past *past, uint64_t generation, bool is_now, struct past_tree *tree);

/* ---- export.c ---- */
/* What `git fast-import` reads; @write is called with the next bytes, and ends it all with a return
 * other than 0. 0 or that, or -errno. */
int past_export(struct xn_xs_media *media, int (*write)(void *arg, const void *bytes, size_t len),
		void *arg);

#endif
