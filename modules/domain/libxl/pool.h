/*
 * Worker children, seen from the loop: a few processes that make one libxl call at a time each
 * (calls.h). Calls for one domain run one after the other, in order; those of different domains
 * side by side. A call that outlives its deadline costs its child, and so does a crash: the child
 * is killed, the call fails alone, and another child takes its place. What libxl had started runs
 * on: device models, and hotplug scripts, which finish what they do. Knows nothing of libxl.
 *
 * Slow calls (building a domain, hot plug) never take the last child: destroying one domain does not
 * wait for other domains to be built. And quick ones (pausing) may have a child more than there are
 * else: they wait for each other only.
 */
#ifndef XN_LIBXL_POOL_H
#define XN_LIBXL_POOL_H

#include "core/log.h"
#include "core/loop.h"
#include "core/value.h"

enum { XN_LIBXL_QUEUE_MAX = 1000, XN_LIBXL_QUEUE_BYTES = 64 << 20 };

struct xn_libxl_pool;

struct xn_libxl_pool_spec {
	struct xn_loop *loop;
	struct xn_log *log;
	const char *const *argv; /* of a child; ends with NULL; lives as long as the pool */
	unsigned width;		 /* children, at least 1; quick calls may have one more */
};

struct xn_libxl_pool *xn_libxl_pool_new(const struct xn_libxl_pool_spec *spec);
/* Kills the children; what was asked is not answered any more. NULL is fine. */
void xn_libxl_pool_free(struct xn_libxl_pool *pool);
/* Starts a child ahead of the first call, if none waits for one. */
void xn_libxl_pool_warm(struct xn_libxl_pool *pool);

enum xn_libxl_flag {
	XN_LIBXL_SLOW = 1,	/* leaves a child for others */
	XN_LIBXL_YIELDS = 2,	/* ends with -ECANCELED when an overtaking call for its domain comes */
	XN_LIBXL_OVERTAKES = 4, /* goes before what waits for its domain; see YIELDS */
	XN_LIBXL_QUICK = 8,	/* no more than a few hypercalls */
};

struct xn_libxl_end {
	int rc;			       /* 0 or -errno; the pool's own: -ETIMEDOUT, -EIO, -ECANCELED */
	const struct xn_value *result; /* or NULL; borrowed for the call */
	const char *message;	       /* a sentence for the log, or "" */
};

struct xn_libxl_request {
	const char *call;      /* static */
	struct xn_value *args; /* a map; taken */
	int fd;		       /* taken; -1: none */
	const char *domain;    /* what no two calls may touch at a time, at most 47 bytes; "": nothing */
	unsigned flags;
	unsigned timeout_ms; /* since it began, or last told of progress; waiting does not count as
			      * long as calls before it end */
	/* Once, later, from the loop. */
	void (*done)(const struct xn_libxl_end *end, void *arg);
	/* It begins, or goes on, or still waits for its turn: its deadline starts anew. @percent:
	 * -1 when unknown. May be NULL. Also from inside xn_libxl_pool_call(). */
	void (*progress)(const char *what, int percent, void *arg);
	void *arg;
};

/* 0, or < 0 and no callback: -ENOBUFS (too much waits), -EMSGSIZE. @request's args and fd are taken
 * all the same. */
int xn_libxl_pool_call(struct xn_libxl_pool *pool, const struct xn_libxl_request *request)
	XN_MUST_CHECK;

/* {children: [{pid, call, domain, since, for_ms, left_ms, served, killed}], waiting: [{call, domain,
 * since, for_ms}]}; a new map. At most 100 of those that wait, and "waiting_count". */
struct xn_value *xn_libxl_pool_describe(const struct xn_libxl_pool *pool);

struct xn_libxl_pool_counts {
	unsigned children, busy, waiting;
	uint64_t started, killed, died; /* children, since the start */
};
void xn_libxl_pool_count(const struct xn_libxl_pool *pool, struct xn_libxl_pool_counts *out);

#endif
