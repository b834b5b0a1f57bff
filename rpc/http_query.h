/* Query strings, cookies and percent-encoding: pure functions over bytes, fuzzed. */
#ifndef XN_HTTP_QUERY_H
#define XN_HTTP_QUERY_H

#include <sys/types.h>

#include "core/base.h"

/*
 * xn_http_decode - undo percent-encoding
 * @to: at least @len bytes; may be @from itself. Not terminated.
 *
 * Return: bytes written, at most @len; -EINVAL for a '%' without two hex digits and for a result
 * that is not text (NUL, control characters, broken UTF-8).
 */
ssize_t xn_http_decode(char *to, const char *from, size_t len, bool plus_is_space) XN_MUST_CHECK;

struct xn_http_pair { /* as sent */
	const char *name, *value;
	size_t name_len, value_len;
};
/* The next "name=value" of @text ("&" between those of a query, ";" or "&" between cookies); @text
 * moves on behind it. False at the end. A name without '=' has an empty value. */
bool xn_http_next_pair(const char **text, const char *end, bool cookies,
		       struct xn_http_pair *pair_out);

/* Value of the first pair of that name, decoded; the caller's. NULL: absent or not text. */
char *xn_http_find_pair(const char *text, size_t len, bool cookies, const char *name);

#endif
