/*
 * The reactor: file descriptors, timers, deferred calls by priority, workers, children, time and
 * randomness. All timers, deferred calls and completions are ordered by this file's own rules,
 * so the two back ends (loop_event.c on libevent, loop_virtual.c in virtual time from a seed)
 * differ only in how they wait and in what the clock says. One thread owns the loop and all state.
 *
 * Deferred calls belong to a caller: whoever the callback that deferred them ran for (0: the daemon
 * itself). Within a priority the callers take turns, so one that queues much does not keep the
 * others waiting; one caller's are in order.
 *
 * A turn: ready descriptors and worker results, expired timers, then deferred calls by
 * priority until none is left (both bounded, see XN_TURN_BUDGET_US), then the turn-end hooks
 * (the database commits there), which may defer more; then it waits. The hooks also run in between,
 * when only calls below XN_PRIO_OPERATION are left: what follows from a commit overtakes those.
 */
#ifndef XN_LOOP_H
#define XN_LOOP_H

#include "core/base.h"
#include "core/histogram.h"
#include "core/list.h"

struct xn_loop;

struct xn_loop *xn_loop_new(void);		   /* real time, libevent */
struct xn_loop *xn_loop_new_virtual(uint64_t seed); /* virtual time; no real descriptors */
void xn_loop_free(struct xn_loop *loop);

/*
 * Ready descriptors run at most about this long in one turn, and so do deferred calls. Of these,
 * the lower priorities that are still waiting then move on by one call each, so none starves. As
 * long as calls above XN_PRIO_REFRESH or timers are due, descriptors are looked at no more often
 * than this.
 */
enum { XN_TURN_BUDGET_US = 1000 };

/* Until xn_loop_stop(); a virtual loop also ends when nothing is left that could ever run. */
void xn_loop_run(struct xn_loop *loop);
void xn_loop_stop(struct xn_loop *loop); /* ends run() after the current turn's hooks */
/*
 * One turn. @wait_us: longest wait, -1 for ever, 0 none. Return whether anything ran. For tests; a
 * virtual loop jumps its clock to the next timer instead of waiting, by @wait_us at most.
 */
bool xn_loop_turn(struct xn_loop *loop, int64_t wait_us);
bool xn_loop_is_virtual(const struct xn_loop *loop);

/* ---- a virtual loop only ---- */
/* @after runs at the end of every callback, and whenever the loop looks at its clock. It may leave by
 * longjmp: the daemon on this loop has died at that instant, and its memory is only left alone. */
void xn_loop_virtual_watch(struct xn_loop *loop, void (*after)(void *arg), void *arg);
/* Somebody sets the host's clock; xn_now_us() does not see it. */
void xn_loop_virtual_set_wall(struct xn_loop *loop, int64_t wall_us);

/* ---- time and randomness: nothing outside core reads a clock or /dev/urandom ---- */
int64_t xn_now_us(const struct xn_loop *loop);	 /* monotonic; cached per callback batch */
int64_t xn_wall_us(const struct xn_loop *loop);	 /* since the epoch */
int64_t xn_callback_us(const struct xn_loop *loop); /* how long the callback has run: reads the clock */
static inline int64_t xn_wall_s(const struct xn_loop *loop)
{
	return xn_wall_us(loop) / 1000000;
}
void xn_random_bytes(struct xn_loop *loop, void *out, size_t len); /* secure on the real loop */
uint64_t xn_random_u64(struct xn_loop *loop);
void xn_uuid_new(struct xn_loop *loop, char out[37]);  /* random (version 4), lower case */
void xn_ref_new(struct xn_loop *loop, char out[48]);   /* "OpaqueRef:" + uuid */

/* ---- deferred calls ---- */
enum xn_priority {
	XN_PRIO_REPLY,	   /* barriers, replies, operations' completions */
	XN_PRIO_OPERATION, /* steps of operations */
	XN_PRIO_EVENT,	   /* bus delivery, calls of clients */
	XN_PRIO_REFRESH,   /* refresh signals, reconciling */
	XN_PRIO_BULK,	   /* slices of long replies: one a turn, so that all else overtakes them */
	XN_PRIO_IDLE,	   /* garbage collection, checkpoints */
	XN_PRIO_COUNT,
};
struct xn_job { /* embedded in the caller's object; all zero bytes = not pending */
	struct xn_list link;
	void (*run)(struct xn_job *job);
	uint64_t caller;
	enum xn_priority priority;
};
/* Runs job->run once, later, from the loop. Deferring a pending job changes nothing. */
void xn_loop_defer(struct xn_loop *loop, struct xn_job *job, enum xn_priority priority,
		   void (*run)(struct xn_job *job));
/* The same on behalf of @caller, not of who runs now. */
void xn_loop_defer_as(struct xn_loop *loop, struct xn_job *job, enum xn_priority priority,
		      void (*run)(struct xn_job *job), uint64_t caller);
/* On whose behalf the callback under way runs: a number that stands for a session, or an address
 * without one. Deferred calls bring theirs; all else begins as the daemon's own. */
uint64_t xn_loop_caller(const struct xn_loop *loop);
void xn_loop_set_caller(struct xn_loop *loop, uint64_t caller);
/* The same, and what runs is that caller's own work: a call, a step of an operation, a result that one
 * of these has asked for. Jobs that many share run for whoever came first: they are nobody's own. */
void xn_loop_set_own_caller(struct xn_loop *loop, uint64_t caller);
uint64_t xn_loop_own_caller(const struct xn_loop *loop); /* 0: nobody's */
/* Another number in each callback. */
uint64_t xn_loop_callback(const struct xn_loop *loop);
void xn_job_cancel(struct xn_job *job); /* not pending: nothing */
static inline bool xn_job_is_pending(const struct xn_job *job)
{
	return job->link.next != NULL && !xn_list_empty(&job->link);
}

/* ---- timers ---- */
struct xn_timer { /* embedded; all zero bytes = not armed */
	int64_t due_us;
	uint64_t order; /* ties run in the order they were armed */
	size_t heap_index; /* 1-based; 0: not armed */
	void (*run)(struct xn_timer *timer);
	struct xn_loop *loop;
};
void xn_timer_arm(struct xn_loop *loop, struct xn_timer *timer, int64_t delay_us,
		  void (*run)(struct xn_timer *timer)); /* re-arms when armed */
void xn_timer_cancel(struct xn_timer *timer);
static inline bool xn_timer_is_armed(const struct xn_timer *timer)
{
	return timer->heap_index != 0;
}

/* ---- descriptors (not on a virtual loop) ---- */
enum {
	XN_IO_READ = 1,
	XN_IO_WRITE = 2,
	/* With xn_io_new(), for good: a client's socket. Those of the daemon itself (workers' results,
	 * the hypervisor's events) are looked at before, however many clients have something to say.
	 * Of the clients that a turn leaves over, those that hung up take turns with the others. The
	 * callback may come without cause, as poll()'s answer may be out of date: nothing may block. */
	XN_IO_CLIENT = 4,
};
struct xn_io;
/* @events may be 0 (watch nothing for now). The callback may free the io. */
struct xn_io *xn_io_new(struct xn_loop *loop, int fd, int events,
			void (*ready)(int fd, int events, void *arg), void *arg);
void xn_io_set(struct xn_io *io, int events);
/* Whether more clients' descriptors are known to be ready, and come next in this turn. */
bool xn_loop_clients_wait(const struct xn_loop *loop);
void xn_io_free(struct xn_io *io); /* does not close fd; NULL is fine */

/* ---- signals (real loop only) ---- */
int xn_loop_on_signal(struct xn_loop *loop, int signo, void (*run)(int signo, void *arg),
		      void *arg);

/* ---- hooks at the end of each turn that ran something, in the order of registration ---- */
struct xn_turn_hook {
	struct xn_list link;
	void (*run)(struct xn_turn_hook *hook);
};
void xn_loop_add_turn_hook(struct xn_loop *loop, struct xn_turn_hook *hook);
void xn_loop_remove_turn_hook(struct xn_turn_hook *hook);

/* ---- stall meter: CPU time of single callbacks ---- */
struct xn_stall_stats {
	uint64_t callbacks, over_10ms;
	int64_t longest_us;	 /* since the last reset */
	int64_t longest_ever_us;
	const char *longest_name; /* what ran, when known */
};
/* Says what the callback that runs now does, for the meter: an event's, a step's, a method's name.
 * @name lives for ever. */
void xn_loop_name_callback(struct xn_loop *loop, const char *name);
void xn_loop_stalls(struct xn_loop *loop, struct xn_stall_stats *out, bool reset);
/* By the wall. */
struct xn_loop_times {
	struct xn_histogram callbacks;	/* each one */
	struct xn_histogram turns;	/* from the end of a wait to the next one */
	struct xn_histogram timer_lags; /* from when a timer was due to its callback */
};
const struct xn_loop_times *xn_loop_times(const struct xn_loop *loop);

#endif
