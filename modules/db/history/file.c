/* Files of history: heads, blocks, checksums; see file.h. */
#include "modules/db/history/file.h"

#include "core/bytes.h"
#include "core/crc32c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "XNHIST01"
enum {
	MAGIC_LEN = 8,
	BLOCK_MAGIC = 0x4b4c4258, /* "XBLK" */
	CRC_AT = XN_HISTORY_HEAD - 4,
	PIECE = 4096, /* many blocks of an idle daemon are small */
};

static const char *const prefixes[] = {[XN_HISTORY_CHANGES] = "changes",
				       [XN_HISTORY_IMAGE] = "image"};

void xn_history_name(enum xn_history_kind kind, uint32_t number, char out[XN_HISTORY_NAME])
{
	snprintf(out, XN_HISTORY_NAME, "%s-%08u", prefixes[kind], number);
}

static uint32_t take_fixed32(struct xn_cursor *in)
{
	uint32_t n = 0;

	for (int i = 0; i < 4; i++)
		n |= (uint32_t)*in->at++ << (8 * i);
	return n;
}

static uint64_t take_fixed(struct xn_cursor *in)
{
	uint64_t n = 0;

	return xn_take_fixed(in, &n) < 0 ? 0 : n; /* the caller has counted */
}

/* ---- writing ---- */

/* Zeros up to the checksum, and that. */
static void close_head(struct xn_buf *out, size_t start)
{
	while (out->len - start < CRC_AT)
		xn_buf_add_char(out, 0);
	xn_put_u32(out, xn_crc32c(0, out->data + start, CRC_AT));
}

void xn_history_put_head(struct xn_buf *out, const struct xn_history_head *head)
{
	size_t start = out->len;

	xn_buf_add(out, MAGIC, MAGIC_LEN);
	xn_put_fixed(out, head->number);
	xn_put_fixed(out, head->kind);
	xn_put_fixed(out, head->position);
	xn_put_fixed(out, head->generation);
	xn_put_fixed(out, (uint64_t)head->wall_us);
	close_head(out, start);
}

void xn_history_put_block(struct xn_buf *out, const struct xn_history_block *block,
			  const void *bytes, size_t len)
{
	size_t start = out->len;

	xn_put_u32(out, BLOCK_MAGIC);
	xn_put_u32(out, block->kind);
	xn_put_fixed(out, len);
	xn_put_fixed(out, block->position);
	xn_put_fixed(out, block->first);
	xn_put_fixed(out, block->next);
	xn_put_fixed(out, (uint64_t)block->min_us);
	xn_put_fixed(out, (uint64_t)block->max_us);
	xn_put_u32(out, xn_crc32c(0, bytes, len));
	close_head(out, start);
	xn_buf_add(out, bytes, len);
}

/* ---- reading ---- */

static bool crc_is_right(const unsigned char *head)
{
	struct xn_cursor in = xn_cursor(head + CRC_AT, 4);

	return take_fixed32(&in) == xn_crc32c(0, head, CRC_AT);
}

static bool take_file_head(const unsigned char *bytes, struct xn_history_head *head)
{
	struct xn_cursor in = xn_cursor(bytes + MAGIC_LEN, XN_HISTORY_HEAD - MAGIC_LEN);
	uint64_t number, kind;

	if (memcmp(bytes, MAGIC, MAGIC_LEN) != 0 || !crc_is_right(bytes))
		return false;
	number = take_fixed(&in);
	kind = take_fixed(&in);
	if (number > UINT32_MAX || kind > XN_HISTORY_IMAGE)
		return false;
	head->number = (uint32_t)number;
	head->kind = (enum xn_history_kind)kind;
	head->position = take_fixed(&in);
	head->generation = take_fixed(&in);
	head->wall_us = (int64_t)take_fixed(&in);
	return true;
}

static bool take_block_head(const unsigned char *bytes, struct xn_history_block *block)
{
	struct xn_cursor in = xn_cursor(bytes, XN_HISTORY_HEAD);
	uint32_t kind;

	if (take_fixed32(&in) != BLOCK_MAGIC || !crc_is_right(bytes))
		return false;
	kind = take_fixed32(&in);
	block->kind = (enum xn_history_block_kind)kind;
	block->len = take_fixed(&in);
	block->position = take_fixed(&in);
	block->first = take_fixed(&in);
	block->next = take_fixed(&in);
	block->min_us = (int64_t)take_fixed(&in);
	block->max_us = (int64_t)take_fixed(&in);
	block->crc = take_fixed32(&in);
	return kind >= XN_HISTORY_NAMES && kind <= XN_HISTORY_END &&
	       block->len <= XN_HISTORY_BLOCK_MAX;
}

struct window { /* a piece of the file that is in memory */
	unsigned char bytes[PIECE];
	uint64_t offset;
	size_t len;
};

/* @len bytes from @offset on: 1, 0: the file ends before, -errno. */
static int look(int fd, struct window *w, uint64_t offset, size_t len, const unsigned char **out)
{
	ssize_t n;

	*out = NULL;
	if (offset < w->offset || offset + len > w->offset + w->len) {
		n = pread(fd, w->bytes, sizeof(w->bytes), (off_t)offset);
		if (n < 0)
			return -errno;
		w->offset = offset;
		w->len = (size_t)n;
	}
	*out = w->bytes + (offset - w->offset);
	return w->len - (offset - w->offset) >= len;
}

static int scan_blocks(struct xn_history_file *file, struct window *w)
{
	uint64_t offset = XN_HISTORY_HEAD;
	size_t cap = 0;
	int rc;

	for (;;) {
		struct xn_history_block block;
		const unsigned char *head;

		rc = look(file->fd, w, offset, XN_HISTORY_HEAD, &head);
		if (rc <= 0 || !take_block_head(head, &block) ||
		    block.len > file->size - offset - XN_HISTORY_HEAD)
			break;
		block.offset = offset + XN_HISTORY_HEAD;
		offset = block.offset + block.len;
		if (file->n_blocks == cap) {
			cap = cap ? cap * 2 : 64;
			file->blocks = xn_realloc(file->blocks, cap * sizeof(block));
		}
		file->blocks[file->n_blocks++] = block;
	}
	file->is_cut = offset < file->size;
	return rc < 0 ? rc : 0;
}

int xn_history_file_open(int dir_fd, enum xn_history_kind kind, uint32_t number,
			 struct xn_history_file *file)
{
	struct window window = {.len = 0};
	char name[XN_HISTORY_NAME];
	const unsigned char *head;
	struct stat st;
	int rc;

	*file = (struct xn_history_file){.fd = -1};
	xn_history_name(kind, number, name);
	file->fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0 || fstat(file->fd, &st) < 0) {
		rc = -errno;
		xn_history_file_close(file);
		return rc;
	}
	file->size = (uint64_t)st.st_size;
	rc = look(file->fd, &window, 0, XN_HISTORY_HEAD, &head);
	if (rc == 1 && (!take_file_head(head, &file->head) || file->head.kind != kind ||
			file->head.number != number))
		rc = 0;
	if (rc == 0)
		rc = -EBADMSG;
	if (rc > 0)
		rc = scan_blocks(file, &window);
	if (rc < 0)
		xn_history_file_close(file);
	return rc;
}

void xn_history_file_close(struct xn_history_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->blocks);
	*file = (struct xn_history_file){.fd = -1};
}

int xn_history_block_read(const struct xn_history_file *file, const struct xn_history_block *block,
			  struct xn_buf *out)
{
	size_t got = 0;

	out->len = 0;
	xn_buf_reserve(out, block->len);
	while (got < block->len) {
		ssize_t n = pread(file->fd, out->data + got, block->len - got,
				  (off_t)(block->offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	out->len = got;
	return xn_crc32c(0, out->data, out->len) == block->crc ? 0 : -EBADMSG;
}

int xn_history_file_settle(struct xn_history_file *file)
{
	struct xn_buf bytes = {0};
	int rc = -EBADMSG;

	while (file->n_blocks && rc == -EBADMSG) {
		rc = xn_history_block_read(file, &file->blocks[file->n_blocks - 1], &bytes);
		if (rc == -EBADMSG) {
			file->n_blocks--;
			file->is_cut = true;
		}
	}
	xn_buf_clear(&bytes);
	return rc == -EBADMSG ? 0 : rc;
}

uint64_t xn_history_file_end(const struct xn_history_file *file)
{
	const struct xn_history_block *last;

	if (!file->n_blocks)
		return XN_HISTORY_HEAD;
	last = &file->blocks[file->n_blocks - 1];
	return last->offset + last->len;
}

uint64_t xn_history_file_position(const struct xn_history_file *file)
{
	return file->n_blocks ? file->blocks[file->n_blocks - 1].position : file->head.position;
}

uint64_t xn_history_file_generation(const struct xn_history_file *file)
{
	return file->n_blocks ? file->blocks[file->n_blocks - 1].next : file->head.generation;
}

/* ---- the folder ---- */

static int by_number(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

int xn_history_list(int dir_fd, enum xn_history_kind kind, uint32_t **numbers, size_t *n)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t prefix = strlen(prefixes[kind]);
	struct dirent *entry;

	*numbers = NULL;
	*n = 0;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;
		unsigned number;
		char end;

		if (strncmp(name, prefixes[kind], prefix) != 0 ||
		    sscanf(name + prefix, "-%8u%c", &number, &end) != 1)
			continue;
		*numbers = xn_realloc(*numbers, (*n + 1) * sizeof(**numbers));
		(*numbers)[(*n)++] = number;
	}
	closedir(dir);
	if (*n)
		qsort(*numbers, *n, sizeof(**numbers), by_number);
	return 0;
}
