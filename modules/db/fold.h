/*
 * What transactions do to a checkpoint, as bytes: for the stores, on any thread. A checkpoint never
 * looks at live rows, so it can only hold what the journal held.
 */
#ifndef XN_DB_FOLD_H
#define XN_DB_FOLD_H

#include "modules/db/codec.h"
#include "modules/db/store.h"

/* Names in XN_SPACE_META; entries XN_TX_META set them too. */
#define XN_META_NAMES	   "names"	/* the names dictionary */
#define XN_META_GENERATION "generation" /* fixed: next free stamp */
#define XN_META_SKIPPED	   "skipped"	/* pairs of fixed: [first, end) */
#define XN_META_FLOOR	   "floor"	/* fixed: highest stamp of a forgotten tombstone */
#define XN_META_NEXT_LATER "next later" /* fixed: no id from here on was used */
#define XN_META_FORMAT	   "format"	/* fixed: format.h; absent: 1 */
#define XN_META_BOOT	   "boot"	/* the host's boot id at the last start */

/* A checkpoint being written. All return 0 or -errno; get: -ENOENT. */
struct xn_kv {
	int (*get)(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		   struct xn_slice *value); /* borrowed until the next call */
	int (*put)(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		   const void *value, size_t len);
	int (*del)(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len);
	/* How many entries; the first in key order. */
	int (*count)(struct xn_kv *kv, enum xn_space space, size_t *n_out);
	int (*first)(struct xn_kv *kv, enum xn_space space, struct xn_slice *key,
		     struct xn_slice *value);
};

/* Who is told of transactions on their way: history, which notes what they replace. */
struct xn_fold_watch {
	void (*begin)(struct xn_fold_watch *watch, const struct xn_tx_head *head);
	/* Before the entry is applied. @row: the bytes of the row that it is about; NULL: none. */
	int (*entry)(struct xn_fold_watch *watch, const struct xn_tx_entry *entry,
		     const struct xn_slice *row);
	int (*end)(struct xn_fold_watch *watch);
};

/* Puts the pairs into a row's bytes, in place of those of the same fields. */
int xn_row_merge(struct xn_buf *row, const struct xn_slice *pairs) XN_MUST_CHECK;

struct xn_fold; /* gathers transactions in memory, so that a row written often is put once */
struct xn_fold *xn_fold_new(struct xn_kv *kv, struct xn_fold_watch *watch); /* watch: or NULL */
void xn_fold_free(struct xn_fold *fold);
int xn_fold_transaction(struct xn_fold *fold, const void *bytes, size_t len) XN_MUST_CHECK;
int xn_fold_finish(struct xn_fold *fold) XN_MUST_CHECK; /* puts what was gathered, in key order */

#endif
