/* See pack.h. zlib and libzstd differ in their names only; memory they have none of is our end. */
#include "modules/transfer/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
	ROOM = 64 << 10,	 /* added to the output at a time */
	WINDOW_BITS_GZIP = 15 + 16, /* of zlib: with gzip's head and tail */
	LEVEL_GZIP = 3, LEVEL_ZSTD = 3, /* a disk's worth of bytes is to come through */
	WINDOW_LOG_MAX = 27,	 /* 128 MiB: what any reader of zstd takes */
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

/* ---- the way back ---- */

struct xn_unpack {
	enum xn_pack_kind kind;
	z_stream gzip;
	ZSTD_DCtx *zstd;
	bool gzip_ended;
};

enum xn_pack_kind xn_pack_kind_of(const void *data, size_t len)
{
	if (len >= 2 && memcmp(data, "\x1f\x8b", 2) == 0)
		return XN_PACK_GZIP;
	if (len >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0)
		return XN_PACK_ZSTD;
	return XN_PACK_NONE;
}

struct xn_unpack *xn_unpack_new(enum xn_pack_kind kind)
{
	struct xn_unpack *unpack = xn_calloc(1, sizeof(*unpack));

	unpack->kind = kind;
	if (kind == XN_PACK_GZIP && inflateInit2(&unpack->gzip, WINDOW_BITS_GZIP) != Z_OK)
		abort();
	if (kind == XN_PACK_ZSTD) {
		unpack->zstd = ZSTD_createDCtx();
		if (!unpack->zstd)
			abort();
		ZSTD_DCtx_setParameter(unpack->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	}
	return unpack;
}

void xn_unpack_free(struct xn_unpack *unpack)
{
	if (!unpack)
		return;
	if (unpack->kind == XN_PACK_GZIP)
		inflateEnd(&unpack->gzip);
	ZSTD_freeDCtx(unpack->zstd);
	free(unpack);
}

static ssize_t unpack_gzip(struct xn_unpack *unpack, const void *data, size_t len, size_t room,
			   struct xn_buf *out)
{
	z_stream *z = &unpack->gzip;
	int rc;

	if (unpack->gzip_ended && len) { /* another member follows */
		inflateReset(z);
		unpack->gzip_ended = false;
	}
	z->next_in = (Bytef *)data;
	z->avail_in = (uInt)len;
	z->next_out = (Bytef *)xn_buf_reserve(out, room);
	z->avail_out = (uInt)room;
	rc = inflate(z, Z_NO_FLUSH);
	out->len += room - z->avail_out;
	unpack->gzip_ended = rc == Z_STREAM_END;
	if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
		return -EBADMSG;
	return (ssize_t)(len - z->avail_in);
}

static ssize_t unpack_zstd(struct xn_unpack *unpack, const void *data, size_t len, size_t room,
			   struct xn_buf *out)
{
	ZSTD_inBuffer in = {data, len, 0};
	ZSTD_outBuffer to = {xn_buf_reserve(out, room), room, 0};

	if (ZSTD_isError(ZSTD_decompressStream(unpack->zstd, &to, &in)))
		return -EBADMSG;
	out->len += to.pos;
	return (ssize_t)in.pos;
}

ssize_t xn_unpack_some(struct xn_unpack *unpack, const void *data, size_t len, size_t room,
		       struct xn_buf *out)
{
	if (unpack->kind == XN_PACK_GZIP)
		return unpack_gzip(unpack, data, len, room, out);
	if (unpack->kind == XN_PACK_ZSTD)
		return unpack_zstd(unpack, data, len, room, out);
	if (len > room)
		len = room;
	xn_buf_add(out, data, len);
	return (ssize_t)len;
}
