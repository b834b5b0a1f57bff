/*
 * See xva_reader.h.
 *
 *	HEAD --a file--> BODY --> PADDING --> HEAD ... --two blocks of zeros--> END
 */
#include "modules/transfer/xva_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <mbedtls/sha1.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/transfer/pack.h"
#include "modules/transfer/tar.h"
#include "modules/transfer/xxh64.h"

enum {
	ROOM = 256 << 10,      /* unpacked at a time */
	OVA_MAX = 16 << 20,
	CHUNK_USUAL = 1 << 20,
	CHUNK_MAX = 16 << 20,
	CHECKSUM_MAX = 64,
	NUMBER_MAX = 10,       /* digits of a chunk's number */
	START = 4,	       /* bytes that tell the compression */
};

enum content { OVA, CHUNK, CHECKSUM, IGNORED };

struct xn_xva {
	bool ignores_checksums;
	char start[START];
	size_t start_len;
	struct xn_unpack *unpack; /* NULL: the start is not there yet */
	bool holds_more;	  /* unpack has bytes that had no room */
	struct xn_buf plain;	  /* unpacked */
	size_t plain_at;
	enum { HEAD, BODY, PADDING, END } state;
	unsigned zeros; /* blocks, in a row */
	struct xn_buf part; /* of the header or of the file */
	struct xn_tar_header file;
	enum content content;
	uint64_t left; /* of the file or its padding */
	struct xn_buf ova;
	bool has_ova;
	const struct xn_xva_disk *disks, *disk; /* that of the last chunk */
	size_t n_disks;
	int64_t number;		/* of it */
	int64_t chunk_size;	/* of its chunks but the last */
	char chunk_name[XN_TAR_NAME + 1]; /* whose checksum must follow; "": none */
	char sums[2][48];	/* it has: XXH64, SHA-1 */
	int64_t written;
};

struct xn_xva *xn_xva_new(bool ignores_checksums)
{
	struct xn_xva *xva = xn_calloc(1, sizeof(*xva));

	xva->ignores_checksums = ignores_checksums;
	return xva;
}

void xn_xva_free(struct xn_xva *xva)
{
	if (!xva)
		return;
	xn_unpack_free(xva->unpack);
	xn_buf_clear(&xva->plain);
	xn_buf_clear(&xva->part);
	xn_buf_clear(&xva->ova);
	free(xva);
}

struct xn_buf xn_xva_take_ova(struct xn_xva *xva)
{
	struct xn_buf ova = xva->ova;

	xva->ova = (struct xn_buf){0};
	return ova;
}

void xn_xva_set_disks(struct xn_xva *xva, const struct xn_xva_disk *disks, size_t n)
{
	xva->disks = disks;
	xva->n_disks = n;
}

const char *xn_xva_found(const struct xn_xva *xva)
{
	return xva->file.name;
}

const char *xn_xva_expected(const struct xn_xva *xva)
{
	if (!xva->has_ova)
		return "ova.xml";
	return xva->chunk_name[0] ? "a checksum" : "a piece of a disk";
}

int64_t xn_xva_written(const struct xn_xva *xva)
{
	return xva->written;
}

/* ---- chunks ---- */

static const char *checksum_suffix(const struct xn_xva *xva)
{
	size_t len = strlen(xva->chunk_name);

	return len && strncmp(xva->file.name, xva->chunk_name, len) == 0 ? xva->file.name + len
									  : "";
}

/* "Ref:7/00000012": the disk, and a number that grows. */
static int find_chunk(struct xn_xva *xva)
{
	const char *slash = strchr(xva->file.name, '/');
	size_t len = slash ? (size_t)(slash - xva->file.name) : 0;
	char *end;
	int64_t number;

	if (!slash || slash[1] < '0' || slash[1] > '9' || strlen(slash + 1) > NUMBER_MAX)
		return -ENOENT;
	number = strtoll(slash + 1, &end, 10);
	if (*end)
		return -ENOENT;
	for (size_t i = 0; i < xva->n_disks; i++) {
		const struct xn_xva_disk *disk = &xva->disks[i];

		if (strlen(disk->id) != len || strncmp(disk->id, xva->file.name, len) != 0)
			continue;
		if (disk == xva->disk && number <= xva->number)
			return -ENOENT;
		if (disk != xva->disk)
			xva->chunk_size = CHUNK_USUAL;
		xva->disk = disk;
		xva->number = number;
		return 0;
	}
	return -ENOENT;
}

static bool is_zero(const char *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void sum_up(struct xn_xva *xva)
{
	unsigned char sha1[20];

	snprintf(xva->sums[0], sizeof(xva->sums[0]), "%016" PRIX64,
		 xn_xxh64(xva->part.data ? xva->part.data : "", xva->part.len));
	mbedtls_sha1_ret((const unsigned char *)xva->part.data, xva->part.len, sha1);
	for (unsigned i = 0; i < sizeof(sha1); i++)
		snprintf(xva->sums[1] + 2 * i, 3, "%02x", sha1[i]);
	memcpy(xva->chunk_name, xva->file.name, sizeof(xva->chunk_name));
}

/* Some writers round disks up to whole chunks: zeros behind the end are nothing. */
static int end_chunk(struct xn_xva *xva)
{
	const struct xn_xva_disk *disk = xva->disk;
	int64_t at, room;
	size_t len = xva->part.len;

	if (!xva->ignores_checksums)
		sum_up(xva);
	else
		memcpy(xva->chunk_name, xva->file.name, sizeof(xva->chunk_name));
	if (!len)
		return 0; /* sent to break a silence */
	if (xva->number == 0)
		xva->chunk_size = (int64_t)len; /* where there are more, the first is as long */
	at = xva->number * xva->chunk_size;
	room = at < disk->size ? disk->size - at : 0;
	if ((int64_t)len > room) {
		if (!is_zero(xva->part.data + room, len - (size_t)room))
			return -ENOSPC;
		len = (size_t)room;
	}
	xva->written += (int64_t)len;
	return len ? disk->write(disk, at, xva->part.data, len) : 0;
}

static int end_checksum(struct xn_xva *xva)
{
	const char *found = xn_buf_cstr(&xva->part);
	const char *sum = xva->sums[strcmp(checksum_suffix(xva), ".xxhash") != 0];

	if (!xva->ignores_checksums && strcasecmp(found, sum) != 0)
		return -EILSEQ;
	xva->chunk_name[0] = '\0';
	return 0;
}

/* ---- files ---- */

static int begin_file(struct xn_xva *xva)
{
	const char *suffix = checksum_suffix(xva);
	uint64_t max = CHUNK_MAX;

	if (xva->file.kind != '0')
		return -ENOENT;
	if (!xva->has_ova) {
		if (strcmp(xva->file.name, "ova.xml") != 0)
			return -ENOENT;
		xva->content = OVA;
		max = OVA_MAX;
	} else if (xva->chunk_name[0]) {
		if (strcmp(suffix, ".xxhash") != 0 && strcmp(suffix, ".checksum") != 0)
			return -ENOENT;
		xva->content = CHECKSUM;
		max = CHECKSUM_MAX;
	} else if (strcmp(xva->file.name, "checksum.xml") == 0) {
		xva->content = IGNORED; /* the same again, by older writers */
		max = OVA_MAX;
	} else {
		int rc = find_chunk(xva);

		if (rc < 0)
			return rc;
		xva->content = CHUNK;
	}
	return xva->file.size > max ? -EFBIG : 0;
}

static int end_file(struct xn_xva *xva)
{
	int rc = XN_XVA_MORE;

	switch (xva->content) {
	case OVA:
		xva->ova = xva->part;
		xva->part = (struct xn_buf){0};
		xva->has_ova = true;
		return XN_XVA_OVA;
	case CHUNK:
		rc = end_chunk(xva);
		break;
	case CHECKSUM:
		rc = end_checksum(xva);
		break;
	case IGNORED:
		break;
	}
	return rc < 0 ? rc : XN_XVA_MORE;
}

/* ---- blocks ---- */

static int take_head(struct xn_xva *xva)
{
	int rc = xn_tar_read_header(xva->part.data, &xva->file);

	xva->part.len = 0;
	if (rc < 0)
		return rc;
	if (rc == 0) {
		if (!xva->has_ova)
			return -EBADMSG;
		if (++xva->zeros < 2)
			return XN_XVA_MORE;
		xva->state = END;
		return xva->chunk_name[0] ? -EBADMSG : XN_XVA_END;
	}
	xva->zeros = 0;
	rc = begin_file(xva);
	if (rc < 0)
		return rc;
	xva->left = xva->file.size;
	xva->state = BODY;
	return XN_XVA_MORE;
}

/* Some of what is unpacked goes where it belongs. */
static int take_part(struct xn_xva *xva)
{
	const char *bytes = xva->plain.data + xva->plain_at;
	size_t len = xva->plain.len - xva->plain_at, part;
	int rc = XN_XVA_MORE;

	switch (xva->state) {
	case HEAD:
		part = XN_TAR_BLOCK - xva->part.len;
		part = part < len ? part : len;
		xn_buf_add(&xva->part, bytes, part);
		xva->plain_at += part;
		return xva->part.len == XN_TAR_BLOCK ? take_head(xva) : XN_XVA_MORE;
	case BODY:
		part = xva->left < len ? (size_t)xva->left : len;
		xn_buf_add(&xva->part, bytes, part);
		xva->plain_at += part;
		xva->left -= part;
		if (xva->left)
			return XN_XVA_MORE;
		rc = end_file(xva);
		xva->part.len = 0;
		xva->left = xn_tar_padding(xva->file.size);
		xva->state = xva->left ? PADDING : HEAD;
		return rc;
	case PADDING:
		part = xva->left < len ? (size_t)xva->left : len;
		xva->plain_at += part;
		xva->left -= part;
		if (!xva->left)
			xva->state = HEAD;
		return XN_XVA_MORE;
	case END:
		break;
	}
	return XN_XVA_END;
}

static bool has_part(const struct xn_xva *xva)
{
	/* A file of no bytes ends where it begins. */
	return xva->plain_at < xva->plain.len || (xva->state == BODY && !xva->left);
}

static int take_plain(struct xn_xva *xva)
{
	int rc = XN_XVA_MORE;

	while (rc == XN_XVA_MORE && has_part(xva))
		rc = take_part(xva);
	if (xva->plain_at == xva->plain.len)
		xva->plain.len = xva->plain_at = 0;
	return rc;
}

/* ---- what comes ---- */

static int unpack_some(struct xn_xva *xva, const char *bytes, size_t len, size_t *used)
{
	size_t before = xva->plain.len;
	ssize_t n = xn_unpack_some(xva->unpack, bytes, len, ROOM, &xva->plain);

	if (n < 0)
		return (int)n;
	*used += (size_t)n;
	xva->holds_more = xva->plain.len - before == ROOM;
	return len && !n && xva->plain.len == before ? -EBADMSG : XN_XVA_MORE; /* it stands still */
}

/* The first bytes, which may come one by one. */
static int take_start(struct xn_xva *xva, const char *bytes, size_t len, size_t *used)
{
	size_t unpacked = 0;

	while (xva->start_len < START && *used < len)
		xva->start[xva->start_len++] = bytes[(*used)++];
	if (xva->start_len < START)
		return XN_XVA_MORE;
	xva->unpack = xn_unpack_new(xn_pack_kind_of(xva->start, START));
	while (unpacked < START) {
		size_t before = unpacked;
		ssize_t n = xn_unpack_some(xva->unpack, xva->start + unpacked, START - unpacked,
					   ROOM, &xva->plain);

		if (n < 0)
			return (int)n;
		unpacked += (size_t)n;
		if (unpacked == before)
			return -EBADMSG;
	}
	return XN_XVA_MORE;
}

int xn_xva_take(struct xn_xva *xva, const char *bytes, size_t len, size_t *used)
{
	int rc = XN_XVA_MORE;

	*used = 0;
	if (!xva->unpack)
		rc = take_start(xva, bytes, len, used);
	while (rc == XN_XVA_MORE && (*used < len || has_part(xva) || xva->holds_more)) {
		rc = take_plain(xva);
		if (rc == XN_XVA_MORE && (*used < len || xva->holds_more))
			rc = unpack_some(xva, bytes + *used, len - *used, used);
	}
	return rc;
}
