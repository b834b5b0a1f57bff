/*
 * Bytes of values, rows and transactions on disk, for the database and for the stores' checkpoints.
 * Knows no schema: classes and fields are numbers of the names dictionary (names.h). Reading is a
 * total function: any bytes give a result or -EBADMSG, and nothing is allocated that the input does
 * not pay for. Except for xn_take_value() any thread may call these.
 *
 *   varint   7 bits a byte, low bits first, the top bit says that more follow; at most 10 bytes
 *   fixed    64 bits, little-endian
 *   text     varint length, bytes
 *   value    a tag byte (enum in codec.c) and what it needs; references and UUIDs take 17 bytes
 *   pair     varint name number, value
 *   row      version, varint class, fixed created, fixed modified, pairs to the end
 *   tombstone  version, varint class, value ref, fixed created, fixed deleted
 *   transaction  version, fixed time (us since the epoch), fixed first and next generation, entries
 *                to the end; an entry is an op byte and what the op needs (struct xn_tx_entry)
 */
#ifndef XN_DB_CODEC_H
#define XN_DB_CODEC_H

#include "core/value.h"

enum {
	XN_ROW_VERSION = 1,
	XN_TX_VERSION = 1,
	XN_TX_HEAD_SIZE = 1 + 3 * 8,
	XN_TX_MAX = 64 << 20,	/* bytes of one transaction */
	XN_VALUE_MAX_DEPTH = 8, /* the schema's types nest three deep */
};

/* What is left to read. */
struct xn_cursor {
	const unsigned char *at, *end;
};

struct xn_slice {
	const unsigned char *data;
	size_t len;
};

static inline struct xn_cursor xn_cursor(const void *data, size_t len)
{
	const unsigned char *at = data;

	return (struct xn_cursor){at, len ? at + len : at}; /* nothing may be NULL */
}

/* ---- writing ---- */
void xn_put_varint(struct xn_buf *out, uint64_t n);
void xn_put_fixed(struct xn_buf *out, uint64_t n);
/* 32 bits, little-endian, into what stands around them. */
static inline void xn_fixed32_at(unsigned char *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(n >> (8 * i));
}
void xn_put_text(struct xn_buf *out, const char *s, size_t len);
void xn_put_string(struct xn_buf *out,
		   const char *s); /* a value: the short form where there is one */
void xn_put_value(struct xn_buf *out, const struct xn_value *v);
void xn_put_set_head(struct xn_buf *out, uint64_t n); /* n values follow */

/* ---- reading: 0 or -EBADMSG ---- */
int xn_take_byte(struct xn_cursor *in, unsigned *out) XN_MUST_CHECK;
int xn_take_varint(struct xn_cursor *in, uint64_t *out) XN_MUST_CHECK;
int xn_take_fixed(struct xn_cursor *in, uint64_t *out) XN_MUST_CHECK;
int xn_take_text(struct xn_cursor *in, struct xn_slice *out) XN_MUST_CHECK;
int xn_skip_value(struct xn_cursor *in) XN_MUST_CHECK;
struct xn_value *xn_take_value(struct xn_cursor *in); /* NULL: bad; loop thread */
/* A value, piece by piece, for those who make no xn_value of it. Behind a set follow .n values, behind
 * a map .n times a text (the key) and a value. */
struct xn_token {
	enum xn_kind kind;
	int64_t i; /* XN_INT, XN_DATETIME, XN_BOOL */
	double f;
	uint64_t n;
	struct xn_slice text; /* XN_STRING; valid UTF-8; in .packed or in what is read */
	char packed[48];
};
int xn_take_token(struct xn_cursor *in, struct xn_token *token) XN_MUST_CHECK;
/* A value that is a string of fewer than @size bytes. */
int xn_take_string(struct xn_cursor *in, char *out, size_t size) XN_MUST_CHECK;

/* ---- rows ---- */
struct xn_row_head {
	uint32_t class_no;
	uint64_t created, modified;
};
void xn_put_row_head(struct xn_buf *out, const struct xn_row_head *head);
int xn_take_row_head(struct xn_cursor *in, struct xn_row_head *head) XN_MUST_CHECK;

/* ---- tombstones ---- */
struct xn_tombstone_bytes {
	uint32_t class_no;
	uint64_t created, deleted;
	char ref[48];
};
void xn_put_tombstone(struct xn_buf *out, const struct xn_tombstone_bytes *tomb);
int xn_take_tombstone(struct xn_cursor *in, struct xn_tombstone_bytes *tomb) XN_MUST_CHECK;

/* ---- transactions ---- */
struct xn_tx_head {
	int64_t wall_us;
	uint64_t first,
		next; /* generations: before the transaction's first change, after its last */
};

enum xn_tx_op {
	XN_TX_ORIGIN = 1, /* who makes the changes that follow: text session, task, caller */
	XN_TX_CREATE,	  /* varint class, value ref, varint stamp - first, varint n, n pairs */
	XN_TX_SET,	  /* the same */
	XN_TX_STAMP,	  /* varint class, value ref, varint stamp - first */
	XN_TX_DELETE,	  /* varint class, value ref, varint stamp - first, fixed created */
	XN_TX_LATER,	  /* varint id, varint class, value ref, varint n, n pairs */
	XN_TX_LATER_DONE, /* varint id */
	XN_TX_META,	  /* text key, text value */
	XN_TX_WAS,	  /* in history only: what the next entry replaces or removes; varint class,
			   * value ref, varint n, n pairs */
};

struct xn_tx_entry {
	enum xn_tx_op op;
	uint32_t class_no;
	struct xn_slice ref; /* the encoded value: also the row's key in a checkpoint */
	uint64_t stamp, created, id;
	struct xn_slice pairs;
	struct xn_slice texts[3]; /* ORIGIN: session, task, caller; META: key, value */
};

void xn_put_tx_head(struct xn_buf *out, const struct xn_tx_head *head);
int xn_take_tx_head(struct xn_cursor *in, struct xn_tx_head *head) XN_MUST_CHECK;
/* 1: an entry, checked to its end; 0: no more; -EBADMSG. */
int xn_take_tx_entry(struct xn_cursor *in, const struct xn_tx_head *head,
		     struct xn_tx_entry *entry) XN_MUST_CHECK;
/* The next pair of .pairs: 1, 0, -EBADMSG. @value points at the encoded value. */
int xn_take_pair(struct xn_cursor *in, uint32_t *name_no, struct xn_slice *value) XN_MUST_CHECK;

#endif
