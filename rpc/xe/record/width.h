/* Text in the columns of a terminal. */
#ifndef XE_WIDTH_H
#define XE_WIDTH_H

#include "core/buf.h"

/* Columns that the text takes as xe_width_add() prints it. */
size_t xe_width(const char *s);
/* Appends what fits into @most columns, an ellipsis at the end of what does not; line ends and tabs
 * as spaces, other controls as U+FFFD. Returns the columns it takes. */
size_t xe_width_add(const char *s, size_t most, struct xn_buf *out);
/* Spaces up to a width. */
void xe_width_pad(size_t width, size_t wanted, struct xn_buf *out);

#endif
