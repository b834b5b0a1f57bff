/*
 * See qcow2_read.h. A disk's offset is looked up in two tables: an entry of the first names a table of
 * the second level (one is kept in memory), an entry of that a cluster:
 *
 *	bit 62		compressed: offset and length of a deflate or zstd stream
 *	bits 9 to 55	offset of the cluster in the file; 0: none
 *	bit 0		(version 3) all zeros
 *
 * With extended entries each has a bitmap of 32 parts behind it: low half, the part is there; high
 * half, it is zeros.
 */
#include "modules/storage/qcow2_read.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "modules/storage/qcow2.h"

enum {
	PARTS = 32,		  /* of an extended cluster */
	TABLES_A_LOOK = 256,	  /* that next_data() reads: some megabytes at most */
	COMPRESSED_MAX = 4 << 20, /* two clusters of the largest */
};
static const uint64_t offset_mask = 0x00fffffffffffe00, compressed_bit = (uint64_t)1 << 62;

struct xn_qcow2 {
	int fd;
	struct xn_qcow2_layout layout;
	uint64_t *first; /* the first-level table, in this machine's byte order */
	uint64_t *table; /* of the second level: that of table_at; 0: none yet */
	uint64_t table_at;
	char *packed, *unpacked; /* the last compressed cluster */
	uint64_t unpacked_entry; /* which that is; 0: none */
};

/* What stands at an offset of the disk, up to where it may be something else. */
struct place {
	enum { HOLE, PLAIN, PACKED } kind;
	uint64_t at;   /* PLAIN: in the file */
	uint64_t entry; /* PACKED */
	size_t len;
};

static int read_at(int fd, void *to, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = at > INT64_MAX - len ? 0 : pread(fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		to = (char *)to + n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static size_t cluster_size(const struct xn_qcow2 *image)
{
	return (size_t)1 << image->layout.cluster_bits;
}

static size_t entry_words(const struct xn_qcow2 *image)
{
	return image->layout.is_extended ? 2 : 1;
}

/* Entries of one table of the second level. */
static uint64_t entries(const struct xn_qcow2 *image)
{
	return cluster_size(image) / 8 / entry_words(image);
}

/* ---- open ---- */

static int read_first_table(struct xn_qcow2 *image)
{
	uint64_t covers = entries(image) << image->layout.cluster_bits;
	uint64_t size = (uint64_t)image->layout.size;
	uint64_t needed = size / covers + (size % covers > 0);
	int rc;

	if (needed > image->layout.table_entries)
		return -EINVAL;
	image->first = malloc((needed ? needed : 1) * sizeof(*image->first));
	if (!image->first)
		return -ENOMEM;
	rc = read_at(image->fd, image->first, needed * sizeof(*image->first),
		     image->layout.table_at);
	for (uint64_t i = 0; rc == 0 && i < needed; i++)
		image->first[i] = be64toh(image->first[i]) & offset_mask;
	return rc;
}

int xn_qcow2_open(int fd, struct xn_qcow2 **image_out)
{
	struct xn_qcow2 *image = xn_calloc(1, sizeof(*image));
	int rc = xn_qcow2_layout(fd, &image->layout);

	image->fd = fd;
	if (rc == 0 && image->layout.compression > XN_QCOW2_ZSTD)
		rc = -EOPNOTSUPP;
	if (rc == 0)
		rc = read_first_table(image);
	if (rc < 0) {
		xn_qcow2_close(image);
		return rc;
	}
	image->table = xn_malloc(cluster_size(image));
	*image_out = image;
	return 0;
}

void xn_qcow2_close(struct xn_qcow2 *image)
{
	if (!image)
		return;
	free(image->first);
	free(image->table);
	free(image->packed);
	free(image->unpacked);
	free(image);
}

int64_t xn_qcow2_disk_size(const struct xn_qcow2 *image)
{
	return image->layout.size;
}

/* ---- lookup ---- */

static int load_table(struct xn_qcow2 *image, uint64_t at)
{
	int rc;

	if (image->table_at == at)
		return 0;
	image->table_at = 0;
	rc = read_at(image->fd, image->table, cluster_size(image), at);
	for (size_t i = 0; rc == 0 && i < cluster_size(image) / 8; i++)
		image->table[i] = be64toh(image->table[i]);
	if (rc == 0)
		image->table_at = at;
	return rc;
}

/* One of the parts of an extended cluster. */
static void place_part(uint64_t bitmap, unsigned part, struct place *out)
{
	bool zero = bitmap >> (PARTS + part) & 1, there = bitmap >> part & 1;

	if (zero || !there)
		out->kind = HOLE;
}

static int find(struct xn_qcow2 *image, uint64_t at, struct place *out)
{
	size_t cluster = cluster_size(image), inside = at & (cluster - 1), part = cluster;
	uint64_t index = at >> image->layout.cluster_bits;
	uint64_t table_at = image->first[index / entries(image)], entry;
	int rc;

	*out = (struct place){.kind = HOLE, .len = cluster - inside};
	if (!table_at)
		return 0;
	rc = load_table(image, table_at);
	if (rc < 0)
		return rc;
	entry = image->table[index % entries(image) * entry_words(image)];
	if (entry & compressed_bit) {
		out->kind = PACKED;
		out->entry = entry;
		return 0;
	}
	if (image->layout.is_extended) {
		part = cluster / PARTS;
		out->len = part - inside % part;
	}
	if (!(entry & offset_mask) || (!image->layout.is_extended && (entry & 1)))
		return 0;
	out->kind = PLAIN;
	out->at = (entry & offset_mask) + inside;
	if (image->layout.is_extended)
		place_part(image->table[index % entries(image) * 2 + 1], (unsigned)(inside / part),
			   out);
	return 0;
}

int xn_qcow2_next_data(struct xn_qcow2 *image, int64_t from, int64_t *at_out)
{
	uint64_t at = (uint64_t)from, size = (uint64_t)image->layout.size;
	uint64_t covers = entries(image) << image->layout.cluster_bits;
	unsigned tables = TABLES_A_LOOK;
	struct place place;
	int rc;

	while (at < size) {
		if (!image->first[at / covers]) {
			at = (at / covers + 1) * covers;
			continue;
		}
		if (image->first[at / covers] != image->table_at && !tables--)
			break;
		rc = find(image, at, &place);
		if (rc < 0)
			return rc;
		if (place.kind != HOLE)
			break;
		at += place.len;
	}
	*at_out = at < size ? (int64_t)at : (int64_t)size;
	return 0;
}

/* ---- compressed clusters ---- */

static int inflate_raw(const char *from, size_t from_len, char *to, size_t len)
{
	z_stream z = {.next_in = (Bytef *)from,
		      .avail_in = (uInt)from_len,
		      .next_out = (Bytef *)to,
		      .avail_out = (uInt)len};
	int rc;

	if (inflateInit2(&z, -12) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* Behind the stream there may be the next one: the length is told in sectors. */
	return (rc == Z_STREAM_END || rc == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
}

static int unzstd(const char *from, size_t from_len, char *to, size_t len)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer in = {from, from_len, 0};
	ZSTD_outBuffer out = {to, len, 0};
	size_t rc = 0;

	if (!stream)
		return -ENOMEM;
	while (out.pos < out.size && in.pos < in.size && !ZSTD_isError(rc)) {
		size_t in_before = in.pos, out_before = out.pos;

		rc = ZSTD_decompressStream(stream, &out, &in);
		if (in.pos == in_before && out.pos == out_before)
			break;
	}
	ZSTD_freeDStream(stream);
	return !ZSTD_isError(rc) && out.pos == out.size ? 0 : -EIO;
}

/* The file may end within the last sector. */
static int read_packed(struct xn_qcow2 *image, uint64_t at, size_t *len)
{
	size_t got = 0;

	while (got < *len) {
		ssize_t n = pread(image->fd, image->packed + got, *len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*len = got;
	return 0;
}

static int unpack(struct xn_qcow2 *image, uint64_t entry)
{
	unsigned offset_bits = 62 - (image->layout.cluster_bits - 8);
	uint64_t at = entry & (((uint64_t)1 << offset_bits) - 1);
	uint64_t sectors = ((entry & (compressed_bit - 1)) >> offset_bits) + 1;
	size_t len = sectors * 512 - at % 512;
	int rc;

	if (image->unpacked_entry == entry)
		return 0;
	if (at > INT64_MAX / 2 || len > COMPRESSED_MAX)
		return -EIO;
	if (!image->packed) {
		image->packed = xn_malloc(COMPRESSED_MAX);
		image->unpacked = xn_malloc(cluster_size(image));
	}
	image->unpacked_entry = 0;
	rc = read_packed(image, at, &len);
	if (rc < 0)
		return rc;
	rc = (image->layout.compression == XN_QCOW2_ZSTD ? unzstd : inflate_raw)(
		image->packed, len, image->unpacked, cluster_size(image));
	if (rc == 0)
		image->unpacked_entry = entry;
	return rc;
}

/* ---- read ---- */

static int read_place(struct xn_qcow2 *image, const struct place *place, uint64_t at, char *to,
		      size_t len)
{
	int rc = 0;

	switch (place->kind) {
	case HOLE:
		memset(to, 0, len);
		break;
	case PLAIN:
		rc = read_at(image->fd, to, len, place->at);
		break;
	case PACKED:
		rc = unpack(image, place->entry);
		if (rc == 0)
			memcpy(to, image->unpacked + (at & (cluster_size(image) - 1)), len);
		break;
	}
	return rc;
}

int xn_qcow2_read(struct xn_qcow2 *image, int64_t from, char *to, size_t len)
{
	uint64_t at = (uint64_t)from;
	struct place place;
	int rc = 0;

	while (rc == 0 && len) {
		rc = find(image, at, &place);
		if (rc < 0)
			break;
		if (place.len > len)
			place.len = len;
		rc = read_place(image, &place, at, to, place.len);
		at += place.len;
		to += place.len;
		len -= place.len;
	}
	return rc;
}
