/*
 * The storage engine below the database: an append-only log of transactions with two marks
 * (visible, durable) and a checkpoint that holds what the older part of the log came to.
 * store_lmdb.c is the real one (journal files + LMDB), store_sim.c its simulated twin with torn,
 * reordered and lost unsynced writes. Knows bytes, not rows' meaning: what a transaction does to a
 * checkpoint is told by fold.h.
 */
#ifndef XN_STORE_H
#define XN_STORE_H

#include "core/histogram.h"
#include "core/module.h"

struct xn_store;

/* A checkpoint is a sorted map of bytes to bytes, in parts. */
enum xn_space {
	XN_SPACE_META,	/* name -> what fold.h and db.c keep there */
	XN_SPACE_ROWS,	/* encoded reference -> row */
	XN_SPACE_TOMBS, /* stamp of the deletion, big-endian -> tombstone */
	XN_SPACE_LATER, /* id, big-endian -> change that waits for its sync (xn_db_set_later) */
	XN_SPACE_STORE, /* the store's own: journal position */
	XN_SPACE_COUNT,
};

/* What open() tells: the checkpoint, space by space in the order above, then the transactions that
 * came after it, oldest first. Bytes are borrowed: of entries until the last one was told, of
 * a transaction for the call. A return < 0 ends the opening with it.
 *
 * Damage refuses, unless the two below are there: then they are told of it, and of the rest all
 * that can be read. Only a store that reads looks for them. */
struct xn_store_reader {
	int (*entry)(void *arg, enum xn_space space, const void *key, size_t key_len,
		     const void *value, size_t len);
	int (*transaction)(void *arg, const void *bytes, size_t len);
	/* The value is not what was written; the key may be. */
	void (*damaged_entry)(void *arg, enum xn_space space, const void *key, size_t key_len,
			      const void *value, size_t len);
	/* Nobody knows what of the checkpoint was not told. */
	void (*damaged_checkpoint)(void *arg, const char *what);
};

struct xn_store_copy;
struct xn_store_item {
	bool is_transaction; /* the bytes are .value */
	enum xn_space space; /* else: of a checkpoint's entry */
	struct xn_store_slice { const unsigned char *data; size_t len; } key, value;
};

struct xn_store_ops {
	/* Reads everything; the store is then ready for append(). -1 with @err: in use, a newer
	 * format, or bytes that were durable are damaged. What a crash may leave is repaired, not
	 * refused. */
	int (*open)(struct xn_store *store, const struct xn_store_reader *reader, void *arg,
		    struct xn_error *err);
	/* What was found in an older format is durable in this one: the mark follows. NULL: there is none. */
	int (*set_format)(struct xn_store *store, struct xn_error *err);
	/* Appends one transaction; returns when it survives SIGKILL (visible). -errno: nothing was
	 * appended, and the store refuses until reopen() returns 0. */
	int (*append)(struct xn_store *store, const void *bytes, size_t len);
	/* Makes all that was appended so far survive power loss; done() from the loop, once a call.
	 * Calls made while a sync runs share the next one. After rc < 0 the store refuses until
	 * reopen(). */
	void (*sync)(struct xn_store *store, void (*done)(int rc, void *arg), void *arg);
	int (*flush)(struct xn_store *store); /* the same, blocking: at start and stop */
	/*
	 * After an error: writes what was appended but never reported durable to a fresh place,
	 * syncs it and reads it back. done() from the loop; rc 0: usable again, all that was
	 * appended is durable.
	 */
	void (*reopen)(struct xn_store *store, void (*done)(int rc, void *arg), void *arg);
	/* Folds durable transactions into the checkpoint in the background; db.c says when. */
	void (*checkpoint)(struct xn_store *store);
	uint64_t (*backlog)(const struct xn_store *store); /* bytes that a start would replay */
	/*
	 * A copy of all that is durable at this moment, for a backup, as what open() would tell. Until
	 * copy_end() nothing is folded, so it is to end soon. copy_next(): any thread, one at a time; 1:
	 * something, borrowed until the next call; 0: no more; -errno. NULL where there is none.
	 */
	struct xn_store_copy *(*copy_begin)(struct xn_store *store);
	int (*copy_next)(struct xn_store_copy *copy, struct xn_store_item *item);
	void (*copy_end)(struct xn_store_copy *copy);
	/* Waits for what runs, checkpoints when @clean, frees. The caller has flushed. */
	void (*close)(struct xn_store *store, bool clean);
};

struct xn_store {
	const struct xn_store_ops *ops;
	struct xn_core *core;
	struct xn_histogram checkpoint_times; /* of slices */
	uint64_t checkpoint_failures;
	char boot_id[40]; /* of the host's boot; set by open() */
	int format; /* set by open(): of what was found, see format.h; 0: it has none */
	bool was_cut;	  /* set by open(): the log ended in something that is not a transaction */
	void (*on_history)(void *arg); /* history has one more file; from the loop; or NULL */
	void *on_history_arg;
	bool history_waits; /* who was told tidies: nothing more is folded, but for a long journal */
	bool history_anew; /* history is to begin again from the next checkpoint */
};

/* @dir: the state folder; the store makes DIR/db, mode 0700. */
struct xn_store *xn_store_lmdb_new(struct xn_core *core, const char *dir);

#endif
