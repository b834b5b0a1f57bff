/*
 * Blocking work off the loop: a bounded pool of threads, copied inputs in, one result back on the
 * loop. Jobs queue in turns between the callers they were submitted for (xn_loop_caller), so that
 * one with many does not keep the others waiting. On a virtual loop the job runs inline at a completion time drawn from the seed.
 */
#ifndef XN_WORKER_H
#define XN_WORKER_H

#include "core/fair.h"
#include "core/loop.h"

struct xn_pool; /* threads started when first needed, at most `width`; more jobs queue */
struct xn_work {
	struct xn_list link; /* finished */
	struct xn_fair_item turn;
	uint64_t caller; /* the pool's */
	bool caller_is_own; /* the pool's */
	/* On a worker thread: touches only what hangs off this work. Returns 0 or -errno. */
	int (*run)(struct xn_work *work);
	/* On the loop, once. May free the work. */
	void (*done)(struct xn_work *work, int rc);
	int rc;
	bool queued; /* not begun yet; the pool's */
};

struct xn_pool *xn_pool_new(struct xn_loop *loop, const char *name, unsigned width);
/* Waits for running jobs and calls their done(); queued ones are dropped with done(-ECANCELED). What
 * is submitted later waits for xn_pool_free(), to be dropped too. */
void xn_pool_stop(struct xn_pool *pool);
void xn_pool_free(struct xn_pool *pool); /* stops it first; NULL is fine */
void xn_pool_submit(struct xn_pool *pool, struct xn_work *work);
/* True when the job was still queued: it is removed and done() is not called. */
bool xn_pool_withdraw(struct xn_pool *pool, struct xn_work *work);
unsigned xn_pool_queued(const struct xn_pool *pool);
unsigned xn_pool_running(const struct xn_pool *pool);

#endif
