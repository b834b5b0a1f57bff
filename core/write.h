/* Bytes into a file or socket, all of them: on through interruptions and short writes. Blocks. */
#ifndef XN_WRITE_H
#define XN_WRITE_H

#include "core/base.h"

/* 0 or -errno; then some of the bytes may be written. */
int xn_write_all(int fd, const void *bytes, size_t len) XN_MUST_CHECK;
int xn_write_all_at(int fd, const void *bytes, size_t len, uint64_t offset) XN_MUST_CHECK;
int xn_write_synced(int fd, const void *bytes, size_t len) XN_MUST_CHECK; /* and fsync() */

#endif
