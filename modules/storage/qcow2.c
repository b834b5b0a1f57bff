/*
 * Headers of QEMU images; see qcow2.h. Layout of a new one, in clusters of 64 KiB:
 *
 *	0  header		  1  table of reference count blocks
 *	2  one such block	  3  first-level table, with room to grow (an entry is 512 MiB of disk)
 */
#include "modules/storage/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAGIC = 0x514649fb,
	CLUSTER_BITS = 16,
	CLUSTER = 1 << CLUSTER_BITS,
	FIRST_TABLE = 3,		    /* cluster */
	ENTRIES_PER_CLUSTER = CLUSTER / 8,  /* of a table of 64-bit offsets */
	HEADER_V2 = 72,
	MIN_CLUSTER_BITS = 9,
	MAX_CLUSTER_BITS = 21,
	MIN_EXTENDED_BITS = 14,
	MAX_TABLE = 4 << 20, /* entries: what QEMU takes */
	REFCOUNTS_OF_16_BITS = 4,
};
/* Features that only QEMU must know. Not taken: what is corrupt (2), or needs another file (4). */
static const uint64_t dirty = 1, compression_type = 8, extended_entries = 16;

struct header { /* big-endian */
	uint32_t magic, version;
	uint64_t backing_file_at;
	uint32_t backing_file_len, cluster_bits;
	uint64_t size;
	uint32_t encryption, table_entries;
	uint64_t table_at, refcounts_at;
	uint32_t refcounts_clusters, snapshots;
	uint64_t snapshots_at;
	/* version 3 */
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_len;
	uint64_t no_extensions;
} __attribute__((packed));

_Static_assert(offsetof(struct header, incompatible) == HEADER_V2, "as the format has it");

/* What one entry of the first-level table stands for: a cluster of entries, of a cluster each. */
static int64_t entry_covers(unsigned cluster_bits, bool extended)
{
	return (int64_t)1 << (cluster_bits + cluster_bits - (extended ? 4 : 3));
}

static int write_at(int fd, const void *data, size_t len, off_t at)
{
	ssize_t n = pwrite(fd, data, len, at);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int xn_qcow2_make(int fd, int64_t size)
{
	int64_t covers = entry_covers(CLUSTER_BITS, false);
	int64_t entries = size / covers + (size % covers > 0);
	int64_t tables = (entries + ENTRIES_PER_CLUSTER - 1) / ENTRIES_PER_CLUSTER;
	struct header header = {0};
	uint64_t block_at = htobe64(2 * (uint64_t)CLUSTER);
	uint16_t *counts;
	int rc;

	if (size < 0 || entries > MAX_TABLE)
		return -EFBIG;
	if (tables == 0)
		tables = 1;
	header.magic = htobe32(MAGIC);
	header.version = htobe32(3);
	header.cluster_bits = htobe32(CLUSTER_BITS);
	header.size = htobe64((uint64_t)size);
	header.table_entries = htobe32((uint32_t)tables * ENTRIES_PER_CLUSTER);
	header.table_at = htobe64((uint64_t)FIRST_TABLE * CLUSTER);
	header.refcounts_at = htobe64(CLUSTER);
	header.refcounts_clusters = htobe32(1);
	header.refcount_order = htobe32(REFCOUNTS_OF_16_BITS);
	header.header_len = htobe32(offsetof(struct header, no_extensions));

	counts = xn_calloc(FIRST_TABLE + (size_t)tables, sizeof(*counts));
	for (int64_t i = 0; i < FIRST_TABLE + tables; i++)
		counts[i] = htobe16(1);
	rc = write_at(fd, &header, sizeof(header), 0);
	if (rc == 0)
		rc = write_at(fd, &block_at, sizeof(block_at), CLUSTER);
	if (rc == 0)
		rc = write_at(fd, counts, (FIRST_TABLE + (size_t)tables) * sizeof(*counts),
			      (off_t)2 * CLUSTER);
	free(counts);
	if (rc == 0 && ftruncate(fd, (FIRST_TABLE + tables) * CLUSTER) < 0)
		rc = -errno;
	return rc;
}

/* Fills the whole of @out, in this machine's byte order only for what is asked below. */
static int read_header(int fd, struct header *out)
{
	ssize_t n = pread(fd, out, sizeof(*out), 0);
	uint32_t version, bits;

	if (n < 0)
		return -errno;
	if (n < HEADER_V2 || be32toh(out->magic) != MAGIC)
		return -EINVAL;
	version = be32toh(out->version);
	if (version != 2 && (version != 3 || n < (ssize_t)offsetof(struct header, no_extensions)))
		return -EINVAL;
	if (version == 2)
		out->incompatible = 0;
	bits = be32toh(out->cluster_bits);
	if (out->backing_file_at || out->backing_file_len || out->encryption ||
	    (be64toh(out->incompatible) & ~(dirty | compression_type | extended_entries)) ||
	    bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS ||
	    be32toh(out->table_entries) > MAX_TABLE || be64toh(out->size) > INT64_MAX / 2)
		return -EINVAL; /* also what says itself that it is corrupt */
	return 0;
}

int xn_qcow2_size(int fd, int64_t *size_out)
{
	struct header header = {0};
	int rc = read_header(fd, &header);

	if (rc == 0)
		*size_out = (int64_t)be64toh(header.size);
	return rc;
}

int xn_qcow2_layout(int fd, struct xn_qcow2_layout *out)
{
	struct header header = {0};
	int rc = read_header(fd, &header);
	uint64_t incompatible = be64toh(header.incompatible);
	uint8_t compression = XN_QCOW2_DEFLATE;

	if (rc < 0)
		return rc;
	if (incompatible & compression_type &&
	    pread(fd, &compression, 1, offsetof(struct header, no_extensions)) != 1)
		return -EINVAL;
	*out = (struct xn_qcow2_layout){
		.size = (int64_t)be64toh(header.size),
		.cluster_bits = be32toh(header.cluster_bits),
		.compression = compression,
		.is_extended = incompatible & extended_entries,
		.table_entries = be32toh(header.table_entries),
		.table_at = be64toh(header.table_at),
	};
	return out->is_extended && out->cluster_bits < MIN_EXTENDED_BITS ? -EINVAL : 0;
}

static int write_size(int fd, int64_t size)
{
	uint64_t big_endian = htobe64((uint64_t)size);

	return write_at(fd, &big_endian, sizeof(big_endian), offsetof(struct header, size));
}

int xn_qcow2_grow(int fd, int64_t size)
{
	struct header header = {0};
	int rc = read_header(fd, &header);
	int64_t covers, entries;

	if (rc < 0)
		return rc;
	if (size < (int64_t)be64toh(header.size))
		return -EINVAL;
	covers = entry_covers(be32toh(header.cluster_bits),
			      be64toh(header.incompatible) & extended_entries);
	entries = size / covers + (size % covers > 0);
	if (entries > be32toh(header.table_entries))
		return -EFBIG;
	return write_size(fd, size);
}

int xn_qcow2_shrink(int fd, int64_t size)
{
	struct header header = {0};
	int rc = read_header(fd, &header);

	if (rc < 0)
		return rc;
	return size < 0 || size > (int64_t)be64toh(header.size) ? -EINVAL : write_size(fd, size);
}
