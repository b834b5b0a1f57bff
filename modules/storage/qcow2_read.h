/*
 * The content of a QEMU image (qcow2, versions 2 and 3, with compressed, zero and extended clusters)
 * that stands for itself: reads what QEMU has written. Whatever the file holds, reading ends with its
 * content or an error. All functions block. 0 or -errno; -EIO: the image is damaged.
 */
#ifndef XN_QCOW2_READ_H
#define XN_QCOW2_READ_H

#include "core/base.h"

struct xn_qcow2;

/* @fd stays the caller's, and open. -EINVAL, -EOPNOTSUPP. */
int xn_qcow2_open(int fd, struct xn_qcow2 **image_out);
void xn_qcow2_close(struct xn_qcow2 *image); /* NULL is fine */
int64_t xn_qcow2_disk_size(const struct xn_qcow2 *image);
/* As xn_disk_next_data() and xn_disk_read() say; the latter within the disk. */
int xn_qcow2_next_data(struct xn_qcow2 *image, int64_t from, int64_t *at_out);
int xn_qcow2_read(struct xn_qcow2 *image, int64_t at, char *to, size_t len);

#endif
