/*
 * A moment as people name it when they ask what was, and the words that such a question has on a
 * command line. Total functions over any text.
 */
#ifndef XN_MOMENT_H
#define XN_MOMENT_H

#include "core/base.h"

struct xn_moment { /* a generation, or a time */
	bool is_given, is_time, is_now;
	uint64_t generation;
	int64_t us;
	char text[48]; /* as given */
};

/* A number is a generation; 2026-11-21, 2026-11-21T10:00:00.25Z, 20261121T10:00:00Z, @SECONDS.25
 * and `now` are times. 0 or -EINVAL. */
int xn_moment_parse(struct xn_moment *moment, const char *text) XN_MUST_CHECK;
void xn_moment_print(int64_t us, char out[40]); /* 2026-11-21T10:00:00.123456Z */

/*
 * The last change at a time, of changes that are told in their order. The clock may have been set
 * back: then it showed some times more than once. From where it was set back to until a change is at
 * or beyond the latest time before, no time is one moment.
 */
struct xn_time_search {
	int64_t us, latest_us; /* the time; of changes up to it, at first INT64_MIN */
	uint64_t last; /* generation when the clock first showed the time; 0: not known */
	bool is_beyond, is_again; /* is_again: it is not one moment */
};
void xn_time_search_note(struct xn_time_search *search, int64_t us, uint64_t generation);
/* What a question gets that names such a time: "the clock was set back ..."; the caller frees. */
char *xn_time_search_why_not(uint64_t first);

/* Decimal digits at the front of @text; *end: what is behind. 0 or -EINVAL. */
int xn_number_take(const char *text, const char **end, int64_t *out) XN_MUST_CHECK;

/* The next of the words at *at, which moves on; unquoted ('' and "") in place. NULL: none is left.
 * *at NULL: a quote that never ends. */
char *xn_words_next(char **at);

#endif
