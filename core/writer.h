/*
 * An answer as JSON or XML text, written piece by piece, on a worker's thread too: no xn_value is
 * made. A map is begin, then key and value in turns, then end; a set is begin, values, end.
 */
#ifndef XN_WRITER_H
#define XN_WRITER_H

#include "core/value.h"

struct xn_writer {
	struct xn_buf *out;
	enum xn_format format;
	bool comma;  /* something stands before in the innermost map or set */
	bool in_map; /* that is a map: its members close their own */
};

void xn_writer_map_begin(struct xn_writer *w, bool *was_in_map);
void xn_writer_map_end(struct xn_writer *w, bool was_in_map);
void xn_writer_set_begin(struct xn_writer *w, bool *was_in_map);
void xn_writer_set_end(struct xn_writer *w, bool was_in_map);
void xn_writer_key(struct xn_writer *w, const char *key, size_t len);

void xn_writer_put_text(struct xn_writer *w, const char *s, size_t len);
void xn_writer_put_int(struct xn_writer *w, int64_t i);
void xn_writer_put_bool(struct xn_writer *w, bool b);
void xn_writer_put_null(struct xn_writer *w);
void xn_writer_put_time(struct xn_writer *w, int64_t us); /* 2026-11-21T10:00:00.123456Z */
void xn_writer_put_scalar(struct xn_writer *w, const struct xn_value *v); /* no set, no map */

/* Key and value. */
void xn_writer_member(struct xn_writer *w, const char *key, const char *text);
void xn_writer_member_int(struct xn_writer *w, const char *key, int64_t i);
void xn_writer_member_bool(struct xn_writer *w, const char *key, bool b);

#endif
