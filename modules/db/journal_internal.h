/* Format of the journal's files, shared by journal_read.c and journal.c; see journal.h. */
#ifndef XN_DB_JOURNAL_INTERNAL_H
#define XN_DB_JOURNAL_INTERNAL_H

#include "core/crc32c.h"
#include "modules/db/journal.h"

#define XN_SEGMENT_MAGIC "XNJRNL01"
enum {
	XN_SEGMENT_MAGIC_LEN = 8,
	XN_SEGMENT_VERSION = 1,
	XN_SEGMENT_HEAD = 64,
	XN_SEGMENT_SIZE = 4 << 20,
	XN_SEGMENT_NAME = 24,
	XN_RECORD_HEAD = 24,
	XN_RECORD_MAGIC = 0x4a4e5872, /* "rXNJ" */
};

struct xn_journal_record {
	uint64_t position, synced;
	struct xn_slice bytes;
};

static inline uint64_t xn_journal_record_size(uint64_t len)
{
	return (XN_RECORD_HEAD + len + 7) & ~(uint64_t)7;
}

uint32_t xn_journal_crc(uint64_t salt, uint64_t position, uint64_t synced, const void *bytes,
			size_t len);
void xn_journal_segment_name(uint32_t number, char out[XN_SEGMENT_NAME]);
int xn_journal_reader_select(struct xn_journal_reader *reader, size_t index);
/* A record at this byte of the reader's current segment? 1, 0, -errno. */
int xn_journal_record_at(struct xn_journal_reader *reader, uint64_t offset,
			 struct xn_journal_record *record);

/* Bytes that it holds for records whose sync is not over. */
size_t xn_journal_memory(const struct xn_journal *journal);

#endif
