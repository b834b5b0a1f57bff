/* Blocks of tar archives, as far as exports of virtual machines need them. */
#ifndef XN_TAR_H
#define XN_TAR_H

#include "core/buf.h"

enum { XN_TAR_BLOCK = 512, XN_TAR_NAME = 100 };

/* Of a file of @size bytes; @name is shorter than 100 bytes. */
void xn_tar_add_header(struct xn_buf *out, const char *name, uint64_t size);
/* Behind @size bytes of a file, up to the next block. */
void xn_tar_add_padding(struct xn_buf *out, uint64_t size);
void xn_tar_add_end(struct xn_buf *out); /* two blocks of zeros */

static inline unsigned xn_tar_padding(uint64_t size)
{
	return (unsigned)(-size % XN_TAR_BLOCK);
}

#endif
