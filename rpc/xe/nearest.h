/*
 * "Did you mean": the candidate that is most like a word that fits none. Candidates are offered one
 * after the other, from wherever they live; the best so far is kept. Bounded: words over
 * XE_NEAREST_MAX bytes are like nothing, and a comparison stops once it is clear that it loses.
 */
#ifndef XE_NEAREST_H
#define XE_NEAREST_H

#include "core/base.h"

enum { XE_NEAREST_MAX = 64 };

struct xe_nearest {
	const char *word;
	unsigned limit;	   /* a candidate is worth showing up to this distance */
	unsigned distance; /* of .best; limit + 1 while there is none */
	char best[XE_NEAREST_MAX + 1];
};

void xe_nearest_begin(struct xe_nearest *nearest, const char *word);
void xe_nearest_offer(struct xe_nearest *nearest, const char *candidate);
/* The best candidate that was offered, the first of several equals; NULL: none is near. */
const char *xe_nearest_best(const struct xe_nearest *nearest);

/* Of an array. The string returned is the array's. */
const char *xe_nearest(const char *word, const char *const *candidates, unsigned n);

/*
 * How many letters were left out, added, changed or swapped with their neighbour (Damerau-Levenshtein, a
 * letter in one such change only); case does not count, nor does '_' for '-'. More than @limit: limit + 1.
 */
unsigned xe_distance(const char *a, const char *b, unsigned limit);

#endif
