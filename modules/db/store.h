/*
 * The storage engine below the database: an append-only log of transactions with two marks
 * (visible, durable) and checkpoints. store_lmdb.c is the real one (journal files + LMDB), store_sim.c
 * its simulated twin with torn, reordered and lost unsynced writes. Knows bytes, not rows' meaning.
 */
#ifndef XN_STORE_H
#define XN_STORE_H

#include "core/module.h"

struct xn_store;

/* What open() tells, in this order: meta, rows, tombstones of the checkpoint, then the tail of
 * transactions after it, oldest first. Bytes are borrowed. A non-zero return ends the opening. */
struct xn_store_reader {
	int (*meta)(void *arg, const char *key, const void *value, size_t len);
	int (*row)(void *arg, const void *bytes, size_t len);
	int (*tombstone)(void *arg, const void *bytes, size_t len);
	int (*transaction)(void *arg, uint64_t position, const void *bytes, size_t len);
};

struct xn_store_ops {
	int (*open)(struct xn_store *store, const struct xn_store_reader *reader, void *arg);
	/* Appends one transaction; returns when it survives SIGKILL (visible). 0 or -errno: then nothing
	 * was appended, and the store refuses until reopen() returns 0. */
	int (*append)(struct xn_store *store, const void *bytes, size_t len);
	/* Makes all that was appended so far survive power loss; done() from the loop, once a call.
	 * Calls made while a sync runs share the next one. */
	void (*sync)(struct xn_store *store, void (*done)(int rc, void *arg), void *arg);
	int (*reopen)(struct xn_store *store); /* after an error: is the disk usable again? */
	/* Folds appended transactions into the checkpoint in the background. */
	void (*checkpoint)(struct xn_store *store);
	void (*close)(struct xn_store *store); /* syncs what is left */
};

struct xn_store {
	const struct xn_store_ops *ops;
	struct xn_core *core;
};

/* @dir: the state folder; created 0700. -1 with @err when it is in use or of a newer format. */
struct xn_store *xn_store_lmdb_new(struct xn_core *core, const char *dir, struct xn_error *err);

#endif
