/*
 * History: what the database was and how it changed, kept when the journal's segments go.
 *
 * While transactions are folded into the checkpoint, the recorder notes each with the values that it
 * replaces, in files of its own (history/file.h); the checkpoint moves on only when that is on the
 * disk, and segments of the journal go only behind the checkpoint. So history ends where the
 * checkpoint is or later, and the journal tells the rest: the reader gives both as one, whatever
 * was recorded already. It needs no daemon and no lock, and may run beside one that writes.
 *
 * Fields that change all the time and say little are left out (`skip`), internal ones and classes,
 * too; secrets are replaced by XN_HISTORY_HIDDEN. That happens on the way in, for the journal's part
 * when it is read: an answer is the same before and after.
 */
#ifndef XN_DB_HISTORY_H
#define XN_DB_HISTORY_H

#include "core/schema/schema.h"
#include "modules/db/codec.h"
#include "modules/db/names.h"

#define XN_HISTORY_HIDDEN "(hidden)"

/* ---- what is kept ---- */
struct xn_history_skip {
	bool *fields[XN_CLASS_COUNT]; /* NULL: none of the class */
	bool all[XN_CLASS_COUNT]; /* no row of the class is kept */
};
/* @text: "session.last_active,VBD_metrics.*"; 0, or -1 with a sentence in *why. */
int xn_history_skip_parse(struct xn_history_skip *skip, const char *text, char **why);
void xn_history_skip_clear(struct xn_history_skip *skip);
bool xn_history_keeps_class(const struct xn_history_skip *skip, int class_id);
bool xn_history_keeps_field(const struct xn_history_skip *skip, int class_id, int field);

struct xn_history_options {
	struct xn_history_skip skip;
	uint64_t size;	/* bytes of all files together */
	int64_t age_us; /* of what is kept */
};
struct xn_config;
/* From the configuration. 0, or -1 with a sentence in *why. Cleared by the caller. */
int xn_history_options_read(struct xn_history_options *options, const struct xn_config *config,
			    char **why);
void xn_history_options_clear(struct xn_history_options *options);

/* ---- reading: any thread ---- */
struct xn_history;

struct xn_history_gap { /* what is not known between two times */
	uint64_t first, next; /* generations: from, up to but without; next 0: up to now */
	int64_t from_us, to_us;
	char why[80];
};

struct xn_history_bounds {
	uint64_t first, next; /* generations: the oldest one known; the next free one */
	int64_t from_us, to_us; /* from: 0 when it holds all since the database was made */
	uint64_t bytes, limit; /* of all files: now; most, see xn_history_tidied */
	unsigned files;
	bool is_whole; /* since the database was made */
	bool ends_in_gap; /* what came after .to_us is not known */
	const struct xn_history_gap *gaps;
	size_t n_gaps;
};

/* @dir: the state folder. 0, or -errno with a sentence in *why. */
int xn_history_open(const char *dir, const struct xn_history_options *options,
		    struct xn_history **out, char **why) XN_MUST_CHECK;
void xn_history_close(struct xn_history *history);
const struct xn_history_bounds *xn_history_bounds(const struct xn_history *history);
const struct xn_names *xn_history_names(const struct xn_history *history);

/*
 * xn_history_walk - transactions, oldest first, that may have stamps in (@after, @until] and times
 * in [@from_us, @to_us]: some others come, too
 * @visit: gets what is behind the head; a return other than 0 ends the walk with it
 * Damaged parts are left out; they are among the gaps.
 */
int xn_history_walk(struct xn_history *history, uint64_t after, uint64_t until, int64_t from_us,
		    int64_t to_us,
		    int (*visit)(void *arg, const struct xn_tx_head *head, struct xn_cursor in),
		    void *arg) XN_MUST_CHECK;
/*
 * xn_history_generation_at - the generation of the last change made at @us or before
 * 0; -ENODATA: all are younger, *out is 0, or in a gap; -ENOTUNIQ: the clock was set back and may have shown this
 * time more than once, first at about *out; -errno
 */
int xn_history_generation_at(struct xn_history *history, int64_t us, uint64_t *out) XN_MUST_CHECK;

/* ---- rows at a time ---- */
struct xn_history_rows;

/*
 * xn_history_rows_at - the rows after the change of this generation
 * @wants: NULL takes all that is kept; else asked with the encoded reference and the class
 * 0; -ENODATA: not known (too old, or a gap); -errno
 */
int xn_history_rows_at(struct xn_history *history, uint64_t generation,
		       bool (*wants)(void *arg, const struct xn_slice *ref, int class_id), void *arg,
		       struct xn_history_rows **out) XN_MUST_CHECK;
void xn_history_rows_free(struct xn_history_rows *rows);
struct xn_history_row {
	struct xn_slice ref; /* encoded */
	int class_id;
	uint64_t created;
	struct xn_slice pairs;
};
size_t xn_history_rows_count(const struct xn_history_rows *rows);
/* In the order of their encoded references. */
const struct xn_history_row *xn_history_row(const struct xn_history_rows *rows, size_t index);
/* NULL: there was none. */
const struct xn_history_row *xn_history_row_find(const struct xn_history_rows *rows,
						 const struct xn_slice *ref);

/* ---- keeping within bounds: a worker ---- */
struct xn_history_tidied {
	uint64_t bytes; /* of all files */
	/* What they may take: the configured size; or, where the database itself comes to more, what
	 * its image takes with the changes since, twice while the next one is made. */
	uint64_t limit;
	int64_t oldest_us;
};
/* Makes the images that are missing and removes the oldest files beyond size and age; the newest
 * one and its image stay. 0 or -errno; -EBADMSG: an image cannot be made, the recorder must begin
 * anew. */
int xn_history_tidy(const char *dir, const struct xn_history_options *options, int64_t now_us,
		    struct xn_history_tidied *out) XN_MUST_CHECK;

#endif
