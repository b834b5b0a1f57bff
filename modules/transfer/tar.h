/* Blocks of tar archives, as far as exports and imports of virtual machines need them. */
#ifndef XN_TAR_H
#define XN_TAR_H

#include "core/buf.h"

enum { XN_TAR_BLOCK = 512, XN_TAR_NAME = 100 };

/* ---- writing ---- */
/* Of a file of @size bytes; @name is shorter than 100 bytes. */
void xn_tar_add_header(struct xn_buf *out, const char *name, uint64_t size);
/* Behind @size bytes of a file, up to the next block. */
void xn_tar_add_padding(struct xn_buf *out, uint64_t size);
void xn_tar_add_end(struct xn_buf *out); /* two blocks of zeros */

/* ---- reading ---- */
struct xn_tar_header {
	char name[XN_TAR_NAME + 1];
	uint64_t size;
	char kind; /* '0': a file */
};
/* 1: a file begins; 0: a block of zeros; -EBADMSG: this is no header. */
int xn_tar_read_header(const char block[XN_TAR_BLOCK], struct xn_tar_header *out);
static inline unsigned xn_tar_padding(uint64_t size)
{
	return (unsigned)(-size % XN_TAR_BLOCK);
}

#endif
