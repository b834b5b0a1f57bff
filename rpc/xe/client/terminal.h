/* The user's terminal: what it is like, and what is asked on it. */
#ifndef XE_TERMINAL_H
#define XE_TERMINAL_H

#include <termios.h>

#include "core/buf.h"
#include "rpc/xe/client/settings.h"

/* What the daemon should know, the value of the header "xe-terminal"; empty: nothing. */
void xe_terminal_describe(const struct xe_settings *settings, struct xn_buf *out);
/* Escape sequences work on stderr, so a line can be drawn anew. */
bool xe_terminal_can_draw(void);
/* @if_unknown: when it is none or does not say. */
unsigned xe_terminal_columns(int fd, unsigned if_unknown);

/* stdin and stderr are terminals, so a question is read and can be answered. */
bool xe_terminal_can_ask(void);
/* "y" or "yes". @drop_input: what was typed before it counts for nothing. */
bool xe_terminal_confirm(const char *question, bool drop_input);
/* Without echo. NULL: the input ended. The caller wipes and frees it. */
char *xe_terminal_ask_secret(const char *question);

/* One line from @fd without its newline, byte by byte: what follows is left for others. False: EOF. */
bool xe_read_line(int fd, struct xn_buf *line);

/* stdin byte by byte and without signals, until it is put back. -errno: no terminal. */
int xe_terminal_make_raw(struct termios *saved_out);
void xe_terminal_put_back(const struct termios *saved);

#endif
