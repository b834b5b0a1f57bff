/*
 * One copy of values that many rows have alike: enum values, small numbers and texts, whole sets
 * and maps (allowed_operations, platform). The table holds a reference to each and lets go, now and
 * then, of those that nobody else holds.
 */
#ifndef XN_DB_INTERN_H
#define XN_DB_INTERN_H

#include "core/value.h"

struct xn_intern {
	struct xn_value **slots; /* open addressing; NULL: free */
	size_t n_slots, n;
	size_t sweep_at; /* entries */
};

/* The table's own equal value, or @v, now also the table's. Takes @v; the caller owns the result.
 */
struct xn_value *xn_intern(struct xn_intern *table, struct xn_value *v);
void xn_intern_clear(struct xn_intern *table);

#endif
