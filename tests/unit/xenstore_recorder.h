/*
 * A store whose changes are kept as the journal keeps them, in memory, and random histories of it
 * with the tree as the store itself had it after each change: for tests of what reads the history.
 */
#ifndef XN_TEST_XENSTORE_RECORDER_H
#define XN_TEST_XENSTORE_RECORDER_H

#include "core/module.h"
#include "modules/xenstore/history/tree.h"
#include "modules/xenstore/store/store.h"

struct xenstore_recorder {
	struct xn_core core;
	struct xn_xs_store *store;
	struct xn_xs_media *media;
	struct xn_xs_journal *journal;
	int64_t wall_us;
	unsigned char boot_id[16];
	uint64_t history_bytes; /* for the journal that is opened next */
};
void recorder_init(struct xenstore_recorder *recorder);
void recorder_clear(struct xenstore_recorder *recorder);
/* Time goes by, and what has to be done is done: all, or so many turns of the loop. */
void recorder_wait(struct xenstore_recorder *recorder, int64_t us, unsigned at_most_turns);
/* Connections are closed before. */
void recorder_restart(struct xenstore_recorder *recorder, bool is_of_host);
struct xn_xs_domain *recorder_add_domain(struct xenstore_recorder *recorder, uint32_t domid);

/* Another one each time, or that of the environment: XN_TEST_SEED. */
unsigned recorder_seed(void);

/* The tree after each generation: a line a node, `PATH = "VALUE"   (n0,r5)` with values in hexadecimal. */
struct recorder_texts {
	size_t n, cap;
	struct {
		uint64_t generation;
		int64_t us;
		char *text;
	} *at;
};
/* Requests and transactions of domains that come and go, also while images are made and over restarts
 * of the daemon. */
struct recorder_texts *recorder_play(struct xenstore_recorder *recorder, unsigned seed,
				     unsigned n_steps);
void recorder_texts_free(struct recorder_texts *texts);
void recorder_print_past(const struct past_tree *tree, struct xn_buf *out);

#endif
