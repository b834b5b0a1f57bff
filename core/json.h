/*
 * JSON text of values (RFC 8259). Parsing is jansson's; writing is ours, since records are
 * written once and kept as bytes.
 */
#ifndef XN_JSON_H
#define XN_JSON_H

#include "core/value.h"

enum { XN_JSON_MAX_DEPTH = 66 }; /* an API call may have 64 in its two own */

/* Compact, in map order; dates as the XenAPI writes them; a float always has a point or exponent. */
void xn_json_write(const struct xn_value *v, struct xn_buf *out);
void xn_json_write_string(const char *s, size_t len, struct xn_buf *out); /* with the quotes */
void xn_json_write_float(double f, struct xn_buf *out);

/* For who bounds what he lets be parsed: whether @text may have more values, members counted, or
 * deeper nesting. Return: NULL, or what it has too much of, as a sentence. */
const char *xn_json_exceeds(const char *text, size_t len, size_t max_values, unsigned max_depth);

/*
 * Numbers without fraction become XN_INT (beyond 64 bits: error), others XN_FLOAT. Deeper nesting than
 * XN_JSON_MAX_DEPTH, invalid UTF-8, U+0000, a member twice in an object and bytes after the value are
 * errors.
 * Return 0, or -1 with a sentence in @why (may be NULL).
 */
int xn_json_parse(const char *text, size_t len, struct xn_value **v_out, struct xn_buf *why)
	XN_MUST_CHECK;

#endif
