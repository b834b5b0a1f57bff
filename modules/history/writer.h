/*
 * An answer as JSON or XML text, written on a worker's thread from encoded bytes: no xn_value is
 * made. A map is begin, then key and value in turns, then end; a set is begin, values, end.
 */
#ifndef XN_HISTORY_WRITER_H
#define XN_HISTORY_WRITER_H

#include "core/value.h"
#include "modules/db/history.h"

struct history_writer {
	struct xn_buf *out;
	enum xn_format format;
	bool comma;  /* something stands before in the innermost map or set */
	bool in_map; /* that is a map: its members close their own */
};

void history_map_begin(struct history_writer *w, bool *was_in_map);
void history_map_end(struct history_writer *w, bool was_in_map);
void history_set_begin(struct history_writer *w, bool *was_in_map);
void history_set_end(struct history_writer *w, bool was_in_map);
void history_key(struct history_writer *w, const char *key, size_t len);

void history_put_text(struct history_writer *w, const char *s, size_t len);
void history_put_int(struct history_writer *w, int64_t i);
void history_put_bool(struct history_writer *w, bool b);
void history_put_null(struct history_writer *w);
void history_put_time(struct history_writer *w, int64_t us); /* 2026-11-21T10:00:00.123456Z */
/* An encoded value. -EBADMSG: what was written until then is no good. */
int history_put_bytes(struct history_writer *w, const struct xn_slice *value) XN_MUST_CHECK;

/* Key and value. */
void history_member(struct history_writer *w, const char *key, const char *text);
void history_member_int(struct history_writer *w, const char *key, int64_t i);

void history_time_print(int64_t us, char out[40]);

#endif
