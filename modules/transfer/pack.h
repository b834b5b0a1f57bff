/* Compression of what is streamed out; on workers. XN_PACK_NONE: bytes stay as they are. */
#ifndef XN_PACK_H
#define XN_PACK_H

#include "core/buf.h"

enum xn_pack_kind { XN_PACK_NONE, XN_PACK_GZIP, XN_PACK_ZSTD };
enum xn_pack_flush { XN_PACK_MORE, XN_PACK_FLUSH, XN_PACK_END };

struct xn_pack;
struct xn_pack *xn_pack_new(enum xn_pack_kind kind);
void xn_pack_free(struct xn_pack *pack); /* NULL is fine */
/* Packs @len bytes onto @out; what waits inside comes out with FLUSH, all of it with END. */
void xn_pack_add(struct xn_pack *pack, const void *data, size_t len, enum xn_pack_flush flush,
		 struct xn_buf *out);

#endif
