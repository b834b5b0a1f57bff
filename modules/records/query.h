/*
 * The expressions of get_all_where and get_all_records_where:
 *
 *	field "name__label" = "web" and not (field "is_a_template" = "true" or false)
 *
 * Both sides of `=` are a field or a text in "" or ''. `not` binds before `and` before `or`. A
 * field is compared by its text in the database: dates and numbers as on the wire, a set as
 * ('a' 'b'), a map as (('k' 'v')). Knows the schema, not the database.
 */
#ifndef XN_QUERY_H
#define XN_QUERY_H

#include "core/error.h"
#include "core/schema/schema.h"

struct xn_query;

/*
 * xn_query_parse - an expression made ready to run on many rows
 * @cls: whose public fields it may name, by wire or database name
 * Return: the caller's, or NULL with INVALID_VALUE ["expr", what is wrong].
 */
struct xn_query *xn_query_parse(const struct xn_class *cls, const char *text, size_t len,
				struct xn_error *err);
void xn_query_free(struct xn_query *query);
XN_DEFINE_CLEANUP(struct xn_query *, xn_query_free)

/* How many steps one row takes at most. */
unsigned xn_query_cost(const struct xn_query *query);

/* Whether it holds for @row; @read borrows one field's value of it. */
bool xn_query_matches(const struct xn_query *query,
		      const struct xn_value *(*read)(const void *row, int field), const void *row);

#endif
