/*
 * The journal: one endless log of records, cut into segment files. Knows records as bytes.
 *
 *   journal-00000042    a 64-byte head, then records from byte 64 on, then zeros (space reserved)
 *   head    magic "XNJRNL01", fixed version, fixed start, fixed salt, fixed CRC-32C of these, zeros
 *   record  fixed32 magic, fixed32 length, fixed synced, fixed32 CRC-32C, fixed32 zero, bytes,
 *           zeros to a multiple of 8
 *
 * A position is the count of bytes before it in the whole log, heads left out; a segment's records
 * begin at its start, and end where the next segment starts, even if it holds more: that is how a
 * segment written after a failed sync replaces what may have been lost. The CRC covers salt,
 * position, synced and the bytes, so that nothing left over from before is taken for a record.
 * `synced` is the position up to which the log was known to be durable when the record was written:
 * a bad record before it is damage and refuses the start; after it, it is what a crash may leave,
 * and the log is cut there.
 */
#ifndef XN_DB_JOURNAL_H
#define XN_DB_JOURNAL_H

#include "modules/db/codec.h"

struct xn_segment {
	uint32_t number;
	uint64_t start, salt;
	uint64_t size; /* of the file */
};

/* ---- reading: any thread ---- */
struct xn_journal_reader {
	int dir_fd, fd; /* -1: none open */
	struct xn_segment *segments;
	size_t n_segments, current;
	uint64_t position; /* of the next record */
	struct xn_buf buf; /* a piece of the current segment ... */
	uint64_t buf_offset; /* ... from this byte of the file on */
};

/* Lists the segments. 0 or -errno; -EBADMSG: one that has followers has no valid head. */
int xn_journal_reader_open(struct xn_journal_reader *reader, int dir_fd, uint64_t position)
	XN_MUST_CHECK;
void xn_journal_reader_close(struct xn_journal_reader *reader);
/* 1: a record, borrowed until the next call; 0: no valid record here; -errno. */
int xn_journal_next(struct xn_journal_reader *reader, struct xn_slice *record) XN_MUST_CHECK;
/* Where next() returned 0: 1: a record behind was written when this place was known to be durable;
 * 0: as a crash may leave it; -errno. Beside one who writes, next() may have a record now. */
int xn_journal_is_damaged(struct xn_journal_reader *reader) XN_MUST_CHECK;

#define XN_JOURNAL_OLDEST UINT64_MAX
struct xn_journal_summary {
	size_t segments, records;
	uint64_t end;	  /* position behind the last valid record */
	bool has_remains; /* of a write that a crash cut off; the next opening removes them */
};
/*
 * xn_journal_check - reads every record that is kept, and changes nothing
 * @each gets those from @position on; XN_JOURNAL_OLDEST: of the first one that is there.
 * Return 0; or -errno with a sentence in @why.
 */
int xn_journal_check(int dir_fd, uint64_t position,
		     int (*each)(void *arg, const void *bytes, size_t len), void *arg,
		     struct xn_journal_summary *summary, char **why) XN_MUST_CHECK;

/* ---- writing: the loop thread, but for what says otherwise ---- */
struct xn_journal;

/*
 * xn_journal_open - replays the records from @position on and goes on writing behind them
 * Return 0; or -errno with a sentence in @why (the caller frees).
 */
struct xn_journal *xn_journal_open(int dir_fd, uint64_t position, uint64_t salt,
				   int (*each)(void *arg, const void *bytes, size_t len), void *arg,
				   char **why);
void xn_journal_close(struct xn_journal *journal);
/* One write. 0 or -errno: then nothing was appended, and the journal takes nothing until
 * xn_journal_replace_use(). */
int xn_journal_append(struct xn_journal *journal, const void *bytes, size_t len) XN_MUST_CHECK;
uint64_t xn_journal_end(const struct xn_journal *journal);
uint64_t xn_journal_synced(const struct xn_journal *journal);
/* Whether the opening met more than zeros behind the last valid record. */
bool xn_journal_was_cut(const struct xn_journal *journal);

/* A sync: begin on the loop, run on the worker, end on the loop. */
struct xn_journal_sync {
	int fds[4]; /* the journal's, in the order in which they must reach the disk */
	unsigned n_fds;
	int dir_fd; /* -1: no new name in it */
	uint64_t position;
};
void xn_journal_sync_begin(struct xn_journal *journal, struct xn_journal_sync *sync);
int xn_journal_sync_run(const struct xn_journal_sync *sync); /* worker */
void xn_journal_sync_end(struct xn_journal *journal, const struct xn_journal_sync *sync, int rc);

/* After a failure: a fresh segment with everything that is not known to be durable. */
struct xn_journal_replace {
	int dir_fd, fd; /* fd: made by run */
	struct xn_segment segment;
	struct xn_buf image;
};
void xn_journal_replace_begin(struct xn_journal *journal, uint64_t salt,
			      struct xn_journal_replace *replace);
int xn_journal_replace_run(
	struct xn_journal_replace *replace); /* worker: written, synced, read back */
/* Goes on in it when @rc is 0. */
void xn_journal_replace_end(struct xn_journal *journal, struct xn_journal_replace *replace, int rc);

/* Removes segments that end before @position, but for the newest @keep_bytes of them. Worker. */
int xn_journal_trim(int dir_fd, uint64_t position, uint64_t keep_bytes);

#endif
