/* Growable byte buffer; see buf.h. */
#include "core/buf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void xn_buf_clear(struct xn_buf *buf)
{
	free(buf->data);
	*buf = (struct xn_buf){0};
}

void xn_buf_grow(struct xn_buf *buf, size_t more)
{
	size_t cap = buf->cap ? buf->cap : 64;

	while (cap - buf->len < more)
		cap *= 2;
	buf->data = xn_realloc(buf->data, cap);
	buf->cap = cap;
}

void xn_buf_printf(struct xn_buf *buf, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		abort();
	va_start(ap, fmt);
	vsnprintf(xn_buf_reserve(buf, (size_t)len + 1), (size_t)len + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)len;
}

void xn_buf_add_int(struct xn_buf *buf, int64_t n)
{
	char digits[24];
	char *p = digits + sizeof(digits);
	uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

	do
		*--p = (char)('0' + u % 10);
	while (u /= 10);
	if (n < 0)
		*--p = '-';
	xn_buf_add(buf, p, (size_t)(digits + sizeof(digits) - p));
}

void xn_buf_drop(struct xn_buf *buf, size_t len)
{
	if (!len)
		return;
	buf->len -= len;
	memmove(buf->data, buf->data + len, buf->len);
}

const char *xn_buf_cstr(struct xn_buf *buf)
{
	*xn_buf_reserve(buf, 1) = '\0';
	return buf->data;
}

char *xn_buf_steal(struct xn_buf *buf)
{
	char *s;

	xn_buf_cstr(buf);
	s = buf->data;
	*buf = (struct xn_buf){0};
	return s;
}
