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

struct xn_fold; /* gathers transactions in memory, so that a row written often is put once */
struct xn_fold *xn_fold_new(struct xn_kv *kv);
void xn_fold_free(struct xn_fold *fold);
int xn_fold_transaction(struct xn_fold *fold, const void *bytes, size_t len) XN_MUST_CHECK;
int xn_fold_finish(struct xn_fold *fold) XN_MUST_CHECK; /* puts what was gathered, in key order */

#endif
