/* See pack.h. zlib and libzstd differ in their names only; memory they have none of is our end. */
#include "modules/transfer/pack.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
	ROOM = 64 << 10,	 /* added to the output at a time */
	WINDOW_BITS_GZIP = 15 + 16, /* of zlib: with gzip's head and tail */
	LEVEL_GZIP = 3, LEVEL_ZSTD = 3, /* a disk's worth of bytes is to come through */
};

struct xn_pack {
	enum xn_pack_kind kind;
	z_stream gzip;
	ZSTD_CCtx *zstd;
};

struct xn_pack *xn_pack_new(enum xn_pack_kind kind)
{
	struct xn_pack *pack = xn_calloc(1, sizeof(*pack));

	pack->kind = kind;
	if (kind == XN_PACK_GZIP && deflateInit2(&pack->gzip, LEVEL_GZIP, Z_DEFLATED,
						 WINDOW_BITS_GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	if (kind == XN_PACK_ZSTD) {
		pack->zstd = ZSTD_createCCtx();
		if (!pack->zstd || ZSTD_isError(ZSTD_CCtx_setParameter(
					   pack->zstd, ZSTD_c_compressionLevel, LEVEL_ZSTD)))
			abort();
		ZSTD_CCtx_setParameter(pack->zstd, ZSTD_c_checksumFlag, 1);
	}
	return pack;
}

void xn_pack_free(struct xn_pack *pack)
{
	if (!pack)
		return;
	if (pack->kind == XN_PACK_GZIP)
		deflateEnd(&pack->gzip);
	ZSTD_freeCCtx(pack->zstd);
	free(pack);
}

static void add_gzip(z_stream *z, const void *data, size_t len, enum xn_pack_flush flush,
		     struct xn_buf *out)
{
	static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};

	z->next_in = (Bytef *)data;
	z->avail_in = (uInt)len;
	do {
		z->next_out = (Bytef *)xn_buf_reserve(out, ROOM);
		z->avail_out = ROOM;
		deflate(z, flushes[flush]);
		out->len += ROOM - z->avail_out;
	} while (!z->avail_out);
}

static void add_zstd(ZSTD_CCtx *zstd, const void *data, size_t len, enum xn_pack_flush flush,
		     struct xn_buf *out)
{
	static const ZSTD_EndDirective flushes[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;

	do {
		ZSTD_outBuffer to = {xn_buf_reserve(out, ROOM), ROOM, 0};

		left = ZSTD_compressStream2(zstd, &to, &in, flushes[flush]);
		if (ZSTD_isError(left))
			abort(); /* memory */
		out->len += to.pos;
	} while (in.pos < in.size || (flush != XN_PACK_MORE && left));
}

void xn_pack_add(struct xn_pack *pack, const void *data, size_t len, enum xn_pack_flush flush,
		 struct xn_buf *out)
{
	switch (pack->kind) {
	case XN_PACK_NONE:
		xn_buf_add(out, data, len);
		break;
	case XN_PACK_GZIP:
		add_gzip(&pack->gzip, data, len, flush, out);
		break;
	case XN_PACK_ZSTD:
		add_zstd(pack->zstd, data, len, flush, out);
		break;
	}
}
