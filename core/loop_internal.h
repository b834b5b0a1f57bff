/*
 * What loop.c shares with its two back ends, loop_event.c and loop_virtual.c. Nobody else includes
 * this. A back end embeds struct xn_loop first and supplies the waiting, the clock, randomness.
 */
#ifndef XN_LOOP_INTERNAL_H
#define XN_LOOP_INTERNAL_H

#include "core/loop.h"

struct xn_loop_ops {
	/* Waits at most @wait_us (-1: for ever) and runs the callbacks of ready descriptors between
	 * xn_loop_enter_() and xn_loop_leave_(). False: nothing will ever wake this loop again. */
	bool (*wait)(struct xn_loop *loop, int64_t wait_us);
	int64_t (*now_us)(const struct xn_loop *loop);
	int64_t (*wall_us)(const struct xn_loop *loop);
	void (*random_bytes)(struct xn_loop *loop, void *out, size_t len);
	struct xn_io *(*io_new)(struct xn_loop *loop, int fd, int events,
				void (*ready)(int fd, int events, void *arg), void *arg);
	void (*io_set)(struct xn_io *io, int events);
	void (*io_free)(struct xn_io *io);
	bool (*clients_wait)(const struct xn_loop *loop); /* NULL: never */
	int (*on_signal)(struct xn_loop *loop, int signo, void (*run)(int signo, void *arg),
			 void *arg);
	void (*free)(struct xn_loop *loop);
	bool is_virtual;
};

/* Every xn_io begins with this, so that loop.c finds the back end. */
struct xn_io {
	struct xn_loop *loop;
};

/*
 * Deferred calls of one priority. Callers share XN_LANES lanes by their numbers; lanes with calls in
 * them stand in the ring and take turns. A lane that ran empty by cancels leaves it when seen.
 */
enum { XN_LANES = 64 };
struct xn_lane {
	struct xn_list ring;
	struct xn_list jobs;
};
struct xn_queue {
	struct xn_list ring;
	struct xn_lane lanes[XN_LANES];
};

struct xn_loop {
	const struct xn_loop_ops *ops;
	int64_t now_us; /* as of the last callback's end */
	int64_t woke_us; /* when the last wait ended */
	bool asleep;	/* waited since the clock was read */
	bool stopped, ran;
	struct xn_queue queues[XN_PRIO_COUNT];
	uint64_t caller; /* for whom the callback under way runs */
	bool caller_is_own;
	uint64_t callback; /* counts them */
	struct xn_timer **heap; /* binary, 1-based, by (due_us, order) */
	size_t n_timers, heap_cap;
	uint64_t last_order;
	struct xn_list hooks;
	const char *running; /* name of what runs now */
	int64_t cpu_us, cpu_read_at_us; /* thread CPU time, and when it was read */
	struct xn_stall_stats stalls;
	struct xn_loop_times times;
};

void xn_loop_init_(struct xn_loop *loop, const struct xn_loop_ops *ops);

/* Around every callback: keeps the clock and the stall meter. */
void xn_loop_enter_(struct xn_loop *loop, const char *name);
void xn_loop_leave_(struct xn_loop *loop);

/* Whether descriptors had their share of this turn: the other ready ones wait for the next. */
static inline bool xn_loop_io_is_over_(const struct xn_loop *loop)
{
	return loop->now_us - loop->woke_us >= XN_TURN_BUDGET_US;
}

#endif
