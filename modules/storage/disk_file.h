/*
 * The content of a disk's image, whatever its format, for who copies it out of the daemon or into it.
 * xn_storage_activate() tells path and format. All functions block and belong in a worker; a disk is
 * used by one thread at a time. 0 or -errno.
 */
#ifndef XN_DISK_FILE_H
#define XN_DISK_FILE_H

#include "core/base.h"

struct xn_disk_file;

/* @format: "raw", "qcow2". -EOPNOTSUPP: this format cannot be used so. Stays usable when the image
 * is removed meanwhile. */
int xn_disk_open(const char *path, const char *format, struct xn_disk_file **disk_out);
/* For writing: raw images only. */
int xn_disk_open_to_write(const char *path, const char *format, struct xn_disk_file **disk_out);
void xn_disk_close(struct xn_disk_file *disk); /* NULL is fine */
int64_t xn_disk_size(const struct xn_disk_file *disk); /* of the disk, bytes */

/*
 * xn_disk_next_data - the next place at or behind @from where something else than zeros may be
 * Looks only so far that it takes no long time: what it gives may be a hole, too. The disk's size:
 * nothing more comes.
 */
int xn_disk_next_data(struct xn_disk_file *disk, int64_t from, int64_t *at_out);
/* Beyond the end there are zeros. */
int xn_disk_read(struct xn_disk_file *disk, int64_t at, void *to, size_t len);

/* Zeros where zeros are already cost nothing and take no space. -ENOSPC beyond the end. */
int xn_disk_write(struct xn_disk_file *disk, int64_t at, const void *from, size_t len);
int xn_disk_sync(struct xn_disk_file *disk);

#endif
