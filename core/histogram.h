/*
 * How long things took, in buckets that double: fixed memory, and an observation is a few
 * instructions, so it may sit in any path. Good to a factor of two at 8 us to 134 s. All zero bytes
 * is an empty histogram. Shown by core/metrics.h.
 */
#ifndef XN_HISTOGRAM_H
#define XN_HISTOGRAM_H

#include "core/base.h"

enum {
	XN_HISTOGRAM_FIRST_BIT = 3, /* the first bucket: up to 8 us */
	XN_HISTOGRAM_BOUNDS = 25,   /* the last one with a bound: up to 2^27 us */
};

struct xn_histogram {
	uint64_t buckets[XN_HISTOGRAM_BOUNDS + 1]; /* of their own, not cumulated; the last: beyond */
	uint64_t sum_us;
};

/* Inclusive upper bound of bucket @i < XN_HISTOGRAM_BOUNDS. */
static inline int64_t xn_histogram_bound_us(unsigned i)
{
	return INT64_C(1) << (XN_HISTOGRAM_FIRST_BIT + i);
}

static inline void xn_histogram_observe(struct xn_histogram *h, int64_t us)
{
	uint64_t n = us > 0 ? (uint64_t)us : 0;
	/* As many bits as n - 1 has: n <= 2^bits. */
	unsigned bits = 64 - (unsigned)__builtin_clzll((n - (n > 0)) | 7);
	unsigned i = bits - XN_HISTOGRAM_FIRST_BIT;

	h->buckets[i < XN_HISTOGRAM_BOUNDS ? i : XN_HISTOGRAM_BOUNDS]++;
	h->sum_us += n;
}

static inline uint64_t xn_histogram_count(const struct xn_histogram *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i <= XN_HISTOGRAM_BOUNDS; i++)
		n += h->buckets[i];
	return n;
}

#endif
