/*
 * The few things that a storage repository must do with a QEMU image (qcow2) itself: make an empty
 * one, read how large the disk in it is, make that larger. Content is QEMU's affair. An image that
 * needs another file (a backing file, external data) is refused: whoever put it there could make a
 * guest read any file of the host. All functions block. 0 or -errno.
 */
#ifndef XN_QCOW2_H
#define XN_QCOW2_H

#include "core/base.h"

/* Into the empty file @fd. */
int xn_qcow2_make(int fd, int64_t size);
/* -EINVAL: no such image, or one that is damaged or stands not for itself. */
int xn_qcow2_size(int fd, int64_t *size_out);
/* The same with where its content is found (qcow2_read.h). */
enum { XN_QCOW2_DEFLATE, XN_QCOW2_ZSTD }; /* compression */
struct xn_qcow2_layout {
	int64_t size;
	unsigned cluster_bits, compression;
	bool is_extended; /* entries of the second level have two words */
	uint32_t table_entries;
	uint64_t table_at; /* the first-level table, in the file */
};
int xn_qcow2_layout(int fd, struct xn_qcow2_layout *out);
/* Not below its size (-EINVAL). -EFBIG: beyond what its tables have room for. */
int xn_qcow2_grow(int fd, int64_t size);
/* Takes back a growth. Not beyond its size (-EINVAL). */
int xn_qcow2_shrink(int fd, int64_t size);

#endif
