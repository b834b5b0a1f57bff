/*
 * Transactions on their way into history: what is left out is left out, secrets are hidden, and
 * before each change goes what it replaces. Used by the recorder as the checkpoint is written, and
 * by the reader for what is only in the journal yet: both make the same bytes of it.
 */
#ifndef XN_DB_HISTORY_RECORD_H
#define XN_DB_HISTORY_RECORD_H

#include "modules/db/fold.h"
#include "modules/db/history.h"

struct xn_recording {
	struct xn_fold_watch watch; /* for xn_fold_new() */
	const struct xn_history_skip *skip;
	struct xn_names *names;
	bool names_changed; /* the dictionary grew; the owner resets it */
	struct xn_tx_head head;
	struct xn_slice origin[3];
	bool has_origin, origin_written;
	bool is_blind; /* rows are not known: changes go in without what they replace */
	struct xn_buf tx, scratch;
	/* A transaction in which something is left. */
	int (*take)(struct xn_recording *recording, const void *bytes, size_t len);
};

void xn_recording_init(struct xn_recording *recording, const struct xn_history_skip *skip,
		       struct xn_names *names,
		       int (*take)(struct xn_recording *recording, const void *bytes, size_t len));
void xn_recording_clear(struct xn_recording *recording);

/* A row's pairs as history has them. -EBADMSG. */
int xn_recording_put_pairs(const struct xn_recording *recording, int class_id,
			   struct xn_cursor pairs, struct xn_buf *out, unsigned *n) XN_MUST_CHECK;

/* ---- the recorder: owned by the store, used by one thread at a time ---- */
struct xn_recorder;

struct xn_recorder *xn_recorder_new(const char *dir, struct xn_history_options *options_taken);
void xn_recorder_free(struct xn_recorder *recorder);
/*
 * xn_recorder_begin - before the checkpoint is opened for what follows @position of the journal
 * @db_dir: where the checkpoint is, read when history has to begin anew
 * @journal_end: of what is durable; history that goes beyond belongs to another life
 */
int xn_recorder_begin(struct xn_recorder *recorder, const char *db_dir, uint64_t position,
		      uint64_t journal_end, int64_t now_us) XN_MUST_CHECK;
struct xn_fold_watch *xn_recorder_watch(struct xn_recorder *recorder);
/* The transaction that is folded next ends there in the journal. */
int xn_recorder_reach(struct xn_recorder *recorder, uint64_t position) XN_MUST_CHECK;
/* All that was told is on the disk when it returns 0; before the checkpoint's commit. */
int xn_recorder_commit(struct xn_recorder *recorder) XN_MUST_CHECK;
/* Forgets what begin() found: after a failure. */
void xn_recorder_forget(struct xn_recorder *recorder);
/* Files begun so far in this life: when it grows, xn_history_tidy() has work. */
unsigned xn_recorder_files(const struct xn_recorder *recorder);
/* xn_history_tidy() with its own options. */
int xn_recorder_tidy(const struct xn_recorder *recorder, int64_t now_us) XN_MUST_CHECK;
/* The next begin() starts a new file with an image from the checkpoint. */
void xn_recorder_begin_anew(struct xn_recorder *recorder);

#endif
