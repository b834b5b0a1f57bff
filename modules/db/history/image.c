/* Writing images; see image.h. A file has another name until it is whole. */
#include "modules/db/history/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "core/write.h"

static const char new_name[] = "image.new";

int xn_image_begin(struct xn_image_writer *image, int dir_fd, const struct xn_history_head *head)
{
	*image = (struct xn_image_writer){
		.dir_fd = dir_fd, .head = *head, .size = XN_HISTORY_HEAD};
	image->head.kind = XN_HISTORY_IMAGE;
	image->fd = openat(dir_fd, new_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return image->fd < 0 ? -errno : 0;
}

static int write_head(struct xn_image_writer *image)
{
	struct xn_buf bytes = {0};
	int rc;

	xn_history_put_head(&bytes, &image->head);
	rc = xn_write_all_at(image->fd, bytes.data, bytes.len, 0);
	xn_buf_clear(&bytes);
	return rc;
}

static int write_block(struct xn_image_writer *image, enum xn_history_block_kind kind,
		       const void *bytes, size_t len)
{
	struct xn_history_block block = {.kind = kind,
					 .position = image->head.position,
					 .first = image->rows,
					 .next = image->head.generation,
					 .min_us = image->head.wall_us,
					 .max_us = image->head.wall_us};
	struct xn_buf out = {0};
	int rc;

	xn_history_put_block(&out, &block, bytes, len);
	rc = xn_write_all_at(image->fd, out.data, out.len, image->size);
	image->size += out.len;
	xn_buf_clear(&out);
	return rc;
}

int xn_image_names(struct xn_image_writer *image, const void *bytes, size_t len)
{
	return write_block(image, XN_HISTORY_NAMES, bytes, len);
}

static int flush(struct xn_image_writer *image)
{
	int rc = 0;

	if (image->payload.len)
		rc = write_block(image, XN_HISTORY_ROWS, image->payload.data, image->payload.len);
	image->payload.len = 0;
	return rc;
}

int xn_image_row(struct xn_image_writer *image, const struct xn_slice *key,
		 const struct xn_slice *row)
{
	image->rows++;
	xn_put_text(&image->payload, (const char *)key->data, key->len);
	xn_put_text(&image->payload, (const char *)row->data, row->len);
	return image->payload.len < XN_HISTORY_BLOCK ? 0 : flush(image);
}

int xn_image_commit(struct xn_image_writer *image)
{
	char name[XN_HISTORY_NAME];
	int rc = flush(image);

	if (rc == 0)
		rc = write_block(image, XN_HISTORY_END, NULL, 0);
	if (rc == 0)
		rc = write_head(image);
	if (rc == 0 && fsync(image->fd) < 0)
		rc = -errno;
	xn_history_name(XN_HISTORY_IMAGE, image->head.number, name);
	if (rc == 0 && renameat(image->dir_fd, new_name, image->dir_fd, name) < 0)
		rc = -errno;
	if (rc == 0 && fsync(image->dir_fd) < 0)
		rc = -errno;
	return rc;
}

void xn_image_end(struct xn_image_writer *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
	xn_buf_clear(&image->payload);
}
