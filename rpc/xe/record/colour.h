/* The few colours of output on terminals. */
#ifndef XE_COLOUR_H
#define XE_COLOUR_H

#include "rpc/xe/command.h"

enum xe_colour { XE_NO_COLOUR, XE_BOLD, XE_DIM, XE_GREEN, XE_YELLOW, XE_RED };

static inline void xe_colour_begin(struct xe_screen screen, enum xe_colour colour,
				   struct xn_buf *out)
{
	static const char *const codes[] = {"", "1", "2", "32", "33", "31"};

	if (screen.colour && colour)
		xn_buf_printf(out, "\033[%sm", codes[colour]);
}

static inline void xe_colour_end(struct xe_screen screen, enum xe_colour colour, struct xn_buf *out)
{
	if (screen.colour && colour)
		xn_buf_add_string(out, "\033[0m");
}

/* Of a value that is worth one: states, and what stands for nothing. */
enum xe_colour xe_colour_of(const char *text);

#endif
