/*
 * The files of history, in DIR/history; history.h tells what they are together.
 *
 *   changes-NNNNNNNN  what happened from a position of the journal on, appended to
 *   image-NNNNNNNN    all rows as they were where changes-NNNNNNNN begins; never changes
 *
 *   head   magic "XNHIST01", fixed number, fixed kind of file, fixed position, fixed generation,
 *          fixed time (us), zeros, fixed32 zero, fixed32 CRC-32C: 64 bytes
 *   block  head: fixed32 magic, fixed32 kind, fixed length, fixed position, fixed first and next
 *          generation, fixed first and last time (us), fixed32 CRC of the bytes, fixed32 CRC of
 *          this head; then the bytes
 *
 * A block's position is that of the journal behind what it holds. What is in a block:
 *
 *   names    the names dictionary (names.h), whole
 *   changes  texts, each a transaction (codec.h), with XN_TX_WAS before what replaces or removes
 *   rows     pairs of texts: encoded reference, row; ascending
 *   end      of an image: .first is the count of its rows
 *
 * Any bytes are told apart from valid ones; reading never takes more than a file holds. Any thread.
 */
#ifndef XN_DB_HISTORY_FILE_H
#define XN_DB_HISTORY_FILE_H

#include "modules/db/codec.h"

enum {
	XN_HISTORY_HEAD = 64,	     /* of files and of blocks */
	XN_HISTORY_BLOCK = 64 << 10, /* bytes that a block gathers before it is written */
	XN_HISTORY_BLOCK_MAX = 3 * XN_TX_MAX, /* a transaction with what it replaces */
	XN_HISTORY_NAME = 24,
	XN_HISTORY_FILES = 8, /* so many share size and age */
	XN_HISTORY_FILE_LEAST = 64 << 10,
};

/* Bytes of a changes file, before the next one is begun. */
static inline uint64_t xn_history_share(uint64_t size)
{
	uint64_t share = size / XN_HISTORY_FILES;

	return share > XN_HISTORY_FILE_LEAST ? share : XN_HISTORY_FILE_LEAST;
}

enum xn_history_kind { XN_HISTORY_CHANGES, XN_HISTORY_IMAGE };
enum xn_history_block_kind {
	XN_HISTORY_NAMES = 1,
	XN_HISTORY_TXS,
	XN_HISTORY_ROWS,
	XN_HISTORY_END,
};

struct xn_history_head {
	enum xn_history_kind kind;
	uint32_t number;
	uint64_t position, generation; /* next free stamp */
	int64_t wall_us;
};

struct xn_history_block {
	enum xn_history_block_kind kind;
	uint64_t offset, len; /* of the bytes in the file */
	uint64_t position, first, next;
	int64_t min_us, max_us;
	uint32_t crc;
};

void xn_history_name(enum xn_history_kind kind, uint32_t number, char out[XN_HISTORY_NAME]);

/* ---- reading ---- */
struct xn_history_file {
	int fd; /* -1: none */
	struct xn_history_head head;
	struct xn_history_block *blocks;
	size_t n_blocks;
	uint64_t size; /* bytes of the file */
	bool is_cut;   /* behind the last block is something that is none */
};

/* Reads the heads of the file and its blocks. 0; -ENOENT; -EBADMSG: not such a file; -errno. */
int xn_history_file_open(int dir_fd, enum xn_history_kind kind, uint32_t number,
			 struct xn_history_file *file) XN_MUST_CHECK;
void xn_history_file_close(struct xn_history_file *file); /* twice is fine */
/* The block's bytes into @out. -EBADMSG: they are not what was written. */
int xn_history_block_read(const struct xn_history_file *file, const struct xn_history_block *block,
			  struct xn_buf *out) XN_MUST_CHECK;
/* Forgets the blocks at the end whose bytes are not valid: what a crash leaves. 0 or -errno. */
int xn_history_file_settle(struct xn_history_file *file) XN_MUST_CHECK;
/* Behind the last block. */
uint64_t xn_history_file_end(const struct xn_history_file *file);	 /* in bytes */
uint64_t xn_history_file_position(const struct xn_history_file *file);	 /* of the journal */
uint64_t xn_history_file_generation(const struct xn_history_file *file); /* next free */

/* The numbers of the files of a kind, ascending; *numbers is the caller's. 0 or -errno. */
int xn_history_list(int dir_fd, enum xn_history_kind kind, uint32_t **numbers, size_t *n)
	XN_MUST_CHECK;

/* ---- writing ---- */
void xn_history_put_head(struct xn_buf *out, const struct xn_history_head *head);
/* Appends head and bytes; .offset, .len and .crc of @block are not looked at. */
void xn_history_put_block(struct xn_buf *out, const struct xn_history_block *block,
			  const void *bytes, size_t len);

#endif
