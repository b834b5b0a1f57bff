/* Growable byte buffer, for encoders and for what waits to be written to a socket or file. */
#ifndef XN_BUF_H
#define XN_BUF_H

#include "core/base.h"

/* All zero bytes is an empty buffer. data[len] is not terminated; see xn_buf_cstr. */
struct xn_buf {
	char *data;
	size_t len, cap;
};

void xn_buf_clear(struct xn_buf *buf);		       /* frees; may be used again */
void xn_buf_grow(struct xn_buf *buf, size_t more);     /* used by xn_buf_reserve() only */
void xn_buf_printf(struct xn_buf *buf, const char *fmt, ...) XN_PRINTF(2, 3);
void xn_buf_add_int(struct xn_buf *buf, int64_t n); /* decimal */
void xn_buf_drop(struct xn_buf *buf, size_t len);   /* removes from the front */
const char *xn_buf_cstr(struct xn_buf *buf);	    /* terminates; valid until the next change */
char *xn_buf_steal(struct xn_buf *buf);		    /* terminated string, the caller's; empties buf */

/* Room at the end, never NULL; len unchanged. */
static inline char *xn_buf_reserve(struct xn_buf *buf, size_t more)
{
	if (!buf->data || buf->cap - buf->len < more)
		xn_buf_grow(buf, more);
	return buf->data + buf->len;
}

static inline void xn_buf_add(struct xn_buf *buf, const void *data, size_t len)
{
	if (!len)
		return;
	memcpy(xn_buf_reserve(buf, len), data, len);
	buf->len += len;
}

static inline void xn_buf_add_string(struct xn_buf *buf, const char *s)
{
	xn_buf_add(buf, s, strlen(s));
}

static inline void xn_buf_add_char(struct xn_buf *buf, char c)
{
	*xn_buf_reserve(buf, 1) = c;
	buf->len++;
}

static inline void xn_buf_clear_p(struct xn_buf *buf)
{
	xn_buf_clear(buf);
}

#endif
