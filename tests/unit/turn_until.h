/*
 * Waiting on a loop in real time. How long something takes there is the machine's affair: it may be
 * slow, instrumented and not alone. So a test waits for what must come and never for a number of
 * turns; that it gives up at all is only so that a hang is seen as one.
 */
#ifndef XN_TEST_TURN_UNTIL_H
#define XN_TEST_TURN_UNTIL_H

#include "tests/unit/cmocka_all.h"

#include "core/loop.h"

#define TURN_PATIENCE_US (120 * INT64_C(1000000))

/* A turn; false, and none, when there is no patience left. *@give_up_us: 0 at first. */
static inline bool turn_with_patience(struct xn_loop *loop, int64_t *give_up_us)
{
	if (*give_up_us && xn_now_us(loop) >= *give_up_us)
		return false;
	xn_loop_turn(loop, 10000); /* what is waited for need not be an event of the loop */
	if (!*give_up_us) /* before its turn a loop may not have looked at the clock for long */
		*give_up_us = xn_now_us(loop) + TURN_PATIENCE_US;
	return true;
}

/* Turns @loop until @condition holds; fails when it never does. */
#define TURN_UNTIL(loop, condition)                                                                \
	do {                                                                                       \
		int64_t give_up_us_ = 0;                                                           \
                                                                                                   \
		while (!(condition))                                                               \
			if (!turn_with_patience((loop), &give_up_us_))                             \
				fail_msg("waited in vain for: %s", #condition);                    \
	} while (0)

#endif
