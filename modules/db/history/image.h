/* Writing an image: all rows at one position of the journal; see file.h. Any thread. */
#ifndef XN_DB_HISTORY_IMAGE_H
#define XN_DB_HISTORY_IMAGE_H

#include "modules/db/history/file.h"

struct xn_image_writer {
	int dir_fd, fd;
	struct xn_history_head head; /* written by the commit: may be changed until then */
	uint64_t size, rows;
	struct xn_buf payload;
};

int xn_image_begin(struct xn_image_writer *image, int dir_fd,
		   const struct xn_history_head *head) XN_MUST_CHECK;
/* Once, before the rows. */
int xn_image_names(struct xn_image_writer *image, const void *bytes, size_t len) XN_MUST_CHECK;
/* In the order of the keys. */
int xn_image_row(struct xn_image_writer *image, const struct xn_slice *key,
		 const struct xn_slice *row) XN_MUST_CHECK;
/* On the disk and under its name when it returns 0. */
int xn_image_commit(struct xn_image_writer *image) XN_MUST_CHECK;
void xn_image_end(struct xn_image_writer *image); /* also without commit */

#endif
