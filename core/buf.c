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

char *xn_buf_reserve(struct xn_buf *buf, size_t more)
{
	if (buf->cap - buf->len < more) {
		size_t cap = buf->cap ? buf->cap : 64;

		while (cap - buf->len < more)
			cap *= 2;
		buf->data = xn_realloc(buf->data, cap);
		buf->cap = cap;
	}
	return buf->data + buf->len;
}

void xn_buf_add(struct xn_buf *buf, const void *data, size_t len)
{
	if (!len)
		return;
	memcpy(xn_buf_reserve(buf, len), data, len);
	buf->len += len;
}

void xn_buf_add_string(struct xn_buf *buf, const char *s)
{
	xn_buf_add(buf, s, strlen(s));
}

void xn_buf_add_char(struct xn_buf *buf, char c)
{
	*xn_buf_reserve(buf, 1) = c;
	buf->len++;
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
