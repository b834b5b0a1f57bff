/* One line on stderr that is drawn anew, while something takes long. Nothing when it is no terminal. */
#ifndef XE_PROGRESS_LINE_H
#define XE_PROGRESS_LINE_H

#include "core/buf.h"

struct xe_progress {
	bool is_on;	/* stderr is a terminal that can draw */
	bool is_shown;	/* the line is there now */
	int64_t began_ms, drawn_ms; /* of the transfer under way; when the line was drawn last */
};

/* What the daemon says: @text, and thousandths (below 0: it does not know). */
void xe_progress_show(struct xe_progress *progress, const char *text, size_t len, int thousandths);
/* A transfer of @name: begins, @done of @total bytes (below 0: nobody knows) at @now_ms. */
void xe_progress_begin(struct xe_progress *progress, int64_t now_ms);
void xe_progress_count(struct xe_progress *progress, const char *name, int64_t done, int64_t total,
		       int64_t now_ms);
void xe_progress_clear(struct xe_progress *progress); /* before anything else is printed */

/* The line itself, at most @columns wide; for tests as well. */
void xe_progress_format(struct xn_buf *out, const char *text, size_t len, int thousandths,
			const char *behind, unsigned columns);

#endif
