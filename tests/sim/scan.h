/*
 * A look at JSON that somebody of our own printed, without making values of it: followers keep the
 * bytes of thousands of records and compare them. What is not as expected ends the walk.
 */
#ifndef XN_SIM_SCAN_H
#define XN_SIM_SCAN_H

#include "core/base.h"

struct scan_text { /* of one value, strings with their quotes */
	const char *at;
	size_t len;
};

/* Members of an object, items of an array (@key NULL), one a call; *@pos is 0 at first. */
bool scan_next(struct scan_text whole, size_t *pos, struct scan_text *key, struct scan_text *value);
/* Members of an object, in one walk: it may be long. len 0: there is none. */
void scan_members(struct scan_text object, const char *const *names, struct scan_text *values,
		  size_t n);
/* A string without its quotes (and without escapes); cut to @size. */
void scan_string(struct scan_text value, char *out, size_t size);
bool scan_is(struct scan_text value, const char *string);

#endif
