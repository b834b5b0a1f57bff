/*
 * Ctrl-C and the signals that end a program. They end this one at once, with what it changed on the
 * terminal and half of a download put right, unless the daemon offered to cancel what is under way:
 * then the first Ctrl-C can be read from a pipe, and only a second one ends the client.
 */
#ifndef XE_INTERRUPT_H
#define XE_INTERRUPT_H

#include <termios.h>

#include "core/base.h"

enum { XE_INTERRUPTED = 130 }; /* the exit code */

void xe_interrupt_init(void);
int xe_interrupt_fd(void); /* readable when a Ctrl-C waits; -1: none of that */

void xe_interrupt_offer(bool can_cancel);
bool xe_interrupt_take(void);	/* whether there was one; the next one ends the client */
void xe_interrupt_forget(void); /* the next one can be taken again */

/* What a signal has to put right. The data stays the caller's, until it says NULL. */
void xe_interrupt_restores(const struct termios *terminal);
void xe_interrupt_removes(const char *half_a_file);
void xe_interrupt_wipes_line(bool progress_is_shown);

#endif
