/*
 * The checkpoint: an LMDB file with one database a space (store.h). Before each value is its
 * CRC-32C, for LMDB has none; space "store" holds "position": what the journal held before it is in
 * here. The file is open only while it is read at the start and while a slice is written, so that
 * its map is no part of the daemon's memory. Any thread, one at a time.
 */
#ifndef XN_DB_CHECKPOINT_H
#define XN_DB_CHECKPOINT_H

#include "modules/db/fold.h"
#include "modules/db/store.h"

struct xn_checkpoint;

/* Tells every entry and the journal position; no file is an empty checkpoint at position 0. After
 * an error the position is known if it is not 0. */
int xn_checkpoint_read(const char *dir, const struct xn_store_reader *reader, void *arg,
		       uint64_t *position) XN_MUST_CHECK;

/*
 * The same, entry by entry, for who does not want all at once. Nobody may commit twice meanwhile: the
 * file has no table of readers. Any thread, one at a time.
 */
struct xn_checkpoint_walk;
int xn_checkpoint_walk_begin(const char *dir, struct xn_checkpoint_walk **out, uint64_t *position)
	XN_MUST_CHECK; /* no file: *out is NULL */
int xn_checkpoint_walk_next(struct xn_checkpoint_walk *walk, enum xn_space *space,
			    struct xn_slice *key, struct xn_slice *value) XN_MUST_CHECK; /* 1, 0 */
void xn_checkpoint_walk_end(struct xn_checkpoint_walk *walk); /* NULL is fine */

/*
 * xn_checkpoint_begin - a transaction on the checkpoint in @dir (@dir_fd: the same)
 * @afresh: in a new file with a copy of the old one's content, which takes its place at the commit
 */
int xn_checkpoint_begin(int dir_fd, const char *dir, bool afresh, struct xn_checkpoint **out)
	XN_MUST_CHECK;
struct xn_kv *xn_checkpoint_kv(struct xn_checkpoint *cp);
/* Survives power loss when it returns 0. */
int xn_checkpoint_commit(struct xn_checkpoint *cp, uint64_t position) XN_MUST_CHECK;
void xn_checkpoint_end(struct xn_checkpoint *cp); /* also without commit */

#endif
