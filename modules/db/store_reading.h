/*
 * A store that only reads: what lies in DIR/db goes to whoever opens it, every checksum proven on
 * the way, and not a byte is written, so that a folder can be looked at that must stay as it is.
 */
#ifndef XN_STORE_READING_H
#define XN_STORE_READING_H

#include "modules/db/journal.h"
#include "modules/db/store.h"

/* @dir: the state folder. Freed by close(). Its open() refuses a folder that a daemon holds. */
struct xn_store *xn_store_reading_new(struct xn_core *core, const char *dir);

struct xn_reading_summary {
	int format;
	uint64_t position; /* of the journal, that the checkpoint holds */
	struct xn_journal_summary journal;
};
/* After open(), also after one that failed. */
const struct xn_reading_summary *xn_store_reading_summary(const struct xn_store *store);

#endif
