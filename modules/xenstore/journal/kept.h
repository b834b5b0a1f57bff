/*
 * What the journal keeps of the connections that outlive a crash: a small model that follows the
 * parts of records, in the running daemon and at a start alike, and can be told again as parts.
 */
#ifndef XN_XENSTORE_KEPT_H
#define XN_XENSTORE_KEPT_H

#include "core/hmap.h"
#include "core/list.h"
#include "modules/xenstore/journal/record.h"

struct xn_xs_kept_watch {
	struct xn_list link;
	int depth;
	size_t path_len, token_len;
	char text[]; /* path, NUL, token, NUL */
};
struct xn_xs_kept_event { /* by its watch's path and token: it may be told before the watch is */
	struct xn_list link;
	size_t path_len, token_len, len;
	char text[]; /* path, NUL, token, NUL, the event's path, NUL */
};
struct xn_xs_kept {
	struct xn_hnode hash; /* by birth */
	struct xn_list link;
	uint64_t birth;
	uint32_t domid;
	uint64_t gfn;
	uint32_t port;
	uint32_t in_at;	 /* behind what was taken */
	uint32_t out_at; /* of the first byte of unsent */
	uint32_t highest_transaction;
	struct xn_buf partial, unsent;
	struct xn_list watches, events;
	size_t n_events;
	struct xn_xs_conn *conn; /* at a start: not handed on yet */
};
struct xn_xs_kept_table {
	struct xn_hmap by_birth;
	struct xn_list all; /* in the order in which they came */
};

void xn_xs_model_init(struct xn_xs_kept_table *table);
void xn_xs_model_clear(struct xn_xs_kept_table *table);
struct xn_xs_kept *xn_xs_model_find(const struct xn_xs_kept_table *table, uint64_t birth);
void xn_xs_model_drop(struct xn_xs_kept_table *table, struct xn_xs_kept *ring);
/* Follows a part; those that say nothing of rings change nothing. */
void xn_xs_model_apply(struct xn_xs_kept_table *table, const struct xn_xs_part *part);
/* What was written before position @sent need not be remembered. */
void xn_xs_model_sent(struct xn_xs_kept *ring, uint32_t sent);
/* Appends parts that tell all of it to an empty table. */
void xn_xs_model_tell(const struct xn_xs_kept_table *table, struct xn_buf *out);

#endif
