/*
 * Numbers and bytes in files of our own: little-endian, put at the end of a buffer and read from the
 * front of a piece of memory. For modules that keep a format of theirs.
 */
#ifndef XN_BYTES_H
#define XN_BYTES_H

#include <endian.h>

#include "core/buf.h"

static inline void xn_put_u16(struct xn_buf *out, size_t n)
{
	uint16_t le = htole16((uint16_t)n);

	xn_buf_add(out, &le, sizeof(le));
}

static inline void xn_put_u32(struct xn_buf *out, size_t n)
{
	uint32_t le = htole32((uint32_t)n);

	xn_buf_add(out, &le, sizeof(le));
}

static inline void xn_put_u64(struct xn_buf *out, uint64_t n)
{
	uint64_t le = htole64(n);

	xn_buf_add(out, &le, sizeof(le));
}

/* Once something is missing everything reads as zero, and is_short says so. */
struct xn_reader {
	const char *at;
	size_t left;
	bool is_short;
};

/* NULL: there are not so many left. */
static inline const char *xn_take(struct xn_reader *in, size_t len)
{
	const char *at = in->at;

	if (in->is_short || in->left < len) {
		in->is_short = true;
		return NULL;
	}
	in->at += len;
	in->left -= len;
	return at;
}

static inline uint8_t xn_take_u8(struct xn_reader *in)
{
	const char *at = xn_take(in, 1);

	return at ? (uint8_t)*at : 0;
}

static inline uint16_t xn_take_u16(struct xn_reader *in)
{
	const char *at = xn_take(in, 2);
	uint16_t le = 0;

	if (at)
		memcpy(&le, at, sizeof(le));
	return le16toh(le);
}

static inline uint32_t xn_take_u32(struct xn_reader *in)
{
	const char *at = xn_take(in, 4);
	uint32_t le = 0;

	if (at)
		memcpy(&le, at, sizeof(le));
	return le32toh(le);
}

static inline uint64_t xn_take_u64(struct xn_reader *in)
{
	const char *at = xn_take(in, 8);
	uint64_t le = 0;

	if (at)
		memcpy(&le, at, sizeof(le));
	return le64toh(le);
}

#endif
