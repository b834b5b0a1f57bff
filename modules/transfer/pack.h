/*
 * Compression of what is streamed out, and the way back of what comes in; on workers. With
 * XN_PACK_NONE bytes stay as they are.
 */
#ifndef XN_PACK_H
#define XN_PACK_H

#include <sys/types.h>

#include "core/buf.h"

enum xn_pack_kind { XN_PACK_NONE, XN_PACK_GZIP, XN_PACK_ZSTD };
enum xn_pack_flush { XN_PACK_MORE, XN_PACK_FLUSH, XN_PACK_END };

struct xn_pack;
struct xn_pack *xn_pack_new(enum xn_pack_kind kind);
void xn_pack_free(struct xn_pack *pack); /* NULL is fine */
/* Packs @len bytes onto @out; what waits inside comes out with FLUSH, all of it with END. */
void xn_pack_add(struct xn_pack *pack, const void *data, size_t len, enum xn_pack_flush flush,
		 struct xn_buf *out);

/* What a stream is that begins with these bytes (at least 4). */
enum xn_pack_kind xn_pack_kind_of(const void *data, size_t len);
struct xn_unpack;
struct xn_unpack *xn_unpack_new(enum xn_pack_kind kind);
void xn_unpack_free(struct xn_unpack *unpack); /* NULL is fine */
/*
 * Unpacks from @data, onto @out, about @room bytes at most. Return: how many bytes of @data were used
 * (none while more than @room come out of those before); -EBADMSG: they are damaged.
 */
ssize_t xn_unpack_some(struct xn_unpack *unpack, const void *data, size_t len, size_t room,
		       struct xn_buf *out);

#endif
