/*
 * Reads an archive of virtual machines (export.c tells its layout), plain or compressed, in pieces as
 * they come: first ova.xml, then the disks' chunks in any sizes, each proven by the checksum that
 * follows it. Knows no rows; runs on a worker. Whatever bytes come, it ends with the archive's own end
 * mark or an error.
 */
#ifndef XN_XVA_READER_H
#define XN_XVA_READER_H

#include <sys/types.h>

#include "core/buf.h"

/* Where chunks go. */
struct xn_xva_disk {
	const char *id; /* of its object in ova.xml */
	int64_t size;
	/* 0 or -errno. Within the disk. */
	int (*write)(const struct xn_xva_disk *disk, int64_t at, const void *bytes, size_t len);
	void *arg;
};

struct xn_xva;
struct xn_xva *xn_xva_new(bool ignores_checksums);
void xn_xva_free(struct xn_xva *xva); /* NULL is fine */

enum { XN_XVA_END, XN_XVA_MORE, XN_XVA_OVA };
/*
 * Of @len bytes it uses *used. XN_XVA_OVA: ova.xml is there, and disks are wanted before it goes on;
 * XN_XVA_END: two blocks of zeros. -EBADMSG: no archive; -ENOENT: a file that is not expected here;
 * -EILSEQ: a wrong checksum; -EFBIG: larger than anybody needs; and what write() said.
 */
int xn_xva_take(struct xn_xva *xva, const char *bytes, size_t len, size_t *used);
struct xn_buf xn_xva_take_ova(struct xn_xva *xva); /* the caller's */
/* Once, after XN_XVA_OVA; kept by reference. */
void xn_xva_set_disks(struct xn_xva *xva, const struct xn_xva_disk *disks, size_t n);
/* The name of the last file, for -ENOENT; what was expected. */
const char *xn_xva_found(const struct xn_xva *xva);
const char *xn_xva_expected(const struct xn_xva *xva);
int64_t xn_xva_written(const struct xn_xva *xva); /* bytes of disks so far, holes counted */

#endif
