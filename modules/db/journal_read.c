/* Reading the journal: segments in order, records checked; see journal.h. Any thread. */
#include "modules/db/journal_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 128 << 10 };

uint32_t xn_journal_crc(uint64_t salt, uint64_t position, uint64_t synced, const void *bytes,
			size_t len)
{
	struct xn_buf head = {0};
	uint32_t crc;

	xn_put_fixed(&head, salt);
	xn_put_fixed(&head, position);
	xn_put_fixed(&head, synced);
	xn_put_fixed(&head, len);
	crc = xn_crc32c(xn_crc32c(0, head.data, head.len), bytes, len);
	xn_buf_clear(&head);
	return crc;
}

void xn_journal_segment_name(uint32_t number, char out[XN_SEGMENT_NAME])
{
	snprintf(out, XN_SEGMENT_NAME, "journal-%08u", number);
}

/* ---- segments ---- */

static bool head_is_valid(const unsigned char *head, struct xn_segment *segment)
{
	struct xn_cursor in = xn_cursor(head, XN_SEGMENT_HEAD);
	uint64_t version, crc;

	if (memcmp(head, XN_SEGMENT_MAGIC, XN_SEGMENT_MAGIC_LEN) != 0)
		return false;
	in.at += XN_SEGMENT_MAGIC_LEN;
	if (xn_take_fixed(&in, &version) < 0 || xn_take_fixed(&in, &segment->start) < 0 ||
	    xn_take_fixed(&in, &segment->salt) < 0 || xn_take_fixed(&in, &crc) < 0)
		return false;
	return version == XN_SEGMENT_VERSION &&
	       crc == xn_crc32c(0, head, XN_SEGMENT_MAGIC_LEN + 3 * 8);
}

/* 1, 0: no valid head, -errno. */
static int read_head(int dir_fd, struct xn_segment *segment)
{
	unsigned char head[XN_SEGMENT_HEAD];
	char name[XN_SEGMENT_NAME];
	struct stat st;
	ssize_t n;
	int fd;

	xn_journal_segment_name(segment->number, name);
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	segment->size = (uint64_t)st.st_size;
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return (int)n;
	return n == sizeof(head) && head_is_valid(head, segment);
}

static int by_number(const void *a, const void *b)
{
	const struct xn_segment *left = a, *right = b;

	return left->number < right->number ? -1 : left->number > right->number;
}

static int list_numbers(int dir_fd, struct xn_segment **segments, size_t *n_out)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		unsigned number;
		char end;

		if (sscanf(entry->d_name, "journal-%8u%c", &number, &end) != 1)
			continue;
		*segments = xn_realloc(*segments, (*n_out + 1) * sizeof(**segments));
		(*segments)[(*n_out)++] = (struct xn_segment){.number = number};
	}
	closedir(dir);
	if (*n_out)
		qsort(*segments, *n_out, sizeof(**segments), by_number);
	return 0;
}

int xn_journal_reader_open(struct xn_journal_reader *reader, int dir_fd, uint64_t position)
{
	int rc;

	*reader = (struct xn_journal_reader){.dir_fd = dir_fd, .fd = -1, .position = position};
	rc = list_numbers(dir_fd, &reader->segments, &reader->n_segments);
	for (size_t i = 0; rc >= 0 && i < reader->n_segments; i++) {
		rc = read_head(dir_fd, &reader->segments[i]);
		if (rc != 0)
			continue;
		/* A crash may leave the newest one without its head: it never held anything. */
		if (i + 1 < reader->n_segments)
			rc = -EBADMSG;
		else
			reader->n_segments--;
	}
	reader->current = reader->n_segments;
	if (rc < 0)
		xn_journal_reader_close(reader);
	return rc < 0 ? rc : 0;
}

static void leave_segment(struct xn_journal_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
	reader->buf.len = 0;
}

void xn_journal_reader_close(struct xn_journal_reader *reader)
{
	leave_segment(reader);
	free(reader->segments);
	xn_buf_clear(&reader->buf);
	reader->segments = NULL;
	reader->n_segments = 0;
}

int xn_journal_reader_select(struct xn_journal_reader *reader, size_t index)
{
	char name[XN_SEGMENT_NAME];

	if (reader->fd >= 0 && reader->current == index)
		return 0;
	leave_segment(reader);
	reader->current = index;
	xn_journal_segment_name(reader->segments[index].number, name);
	reader->fd = openat(reader->dir_fd, name, O_RDONLY | O_CLOEXEC);
	return reader->fd < 0 ? -errno : 0;
}

/* The newest segment that starts at or before the position holds it. 1, 0: none, -errno. */
static int enter_segment(struct xn_journal_reader *reader)
{
	size_t i = reader->n_segments;
	int rc;

	while (i && reader->segments[i - 1].start > reader->position)
		i--;
	if (!i)
		return 0;
	rc = xn_journal_reader_select(reader, i - 1);
	return rc < 0 ? rc : 1;
}

/* ---- records ---- */

/* @len bytes of the segment from @offset on, in the buffer. 1, 0: the file ends before, -errno. */
static int fetch(struct xn_journal_reader *reader, uint64_t offset, size_t len,
		 const unsigned char **out)
{
	size_t want = len > PIECE ? len : PIECE;
	ssize_t n;

	if (reader->buf.len && offset >= reader->buf_offset &&
	    offset + len <= reader->buf_offset + reader->buf.len) {
		*out = (unsigned char *)reader->buf.data + (offset - reader->buf_offset);
		return 1;
	}
	reader->buf.len = 0;
	n = pread(reader->fd, xn_buf_reserve(&reader->buf, want), want, (off_t)offset);
	if (n < 0)
		return -errno;
	reader->buf.len = (size_t)n;
	reader->buf_offset = offset;
	*out = (unsigned char *)reader->buf.data;
	return (size_t)n >= len;
}

static uint32_t fixed32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int xn_journal_record_at(struct xn_journal_reader *reader, uint64_t offset,
			 struct xn_journal_record *record)
{
	const struct xn_segment *segment = &reader->segments[reader->current];
	const unsigned char *head = NULL, *bytes = NULL;
	struct xn_cursor in;
	uint32_t len, crc;
	int rc;

	rc = fetch(reader, offset, XN_RECORD_HEAD, &head);
	if (rc <= 0)
		return rc;
	len = fixed32(head + 4);
	crc = fixed32(head + 16);
	if (fixed32(head) != XN_RECORD_MAGIC || len > XN_TX_MAX ||
	    len > segment->size - offset - XN_RECORD_HEAD)
		return 0;
	in = xn_cursor(head + 8, 8);
	if (xn_take_fixed(&in, &record->synced) < 0)
		return 0;
	rc = fetch(reader, offset, XN_RECORD_HEAD + len, &bytes);
	if (rc <= 0)
		return rc;
	record->bytes = (struct xn_slice){bytes + XN_RECORD_HEAD, len};
	record->position = segment->start + (offset - XN_SEGMENT_HEAD);
	return crc == xn_journal_crc(segment->salt, record->position, record->synced,
				     record->bytes.data, len);
}

int xn_journal_next(struct xn_journal_reader *reader, struct xn_slice *bytes)
{
	struct xn_journal_record record;
	int rc = enter_segment(reader);

	if (rc <= 0)
		return rc;
	rc = xn_journal_record_at(reader,
				  reader->position - reader->segments[reader->current].start +
					  XN_SEGMENT_HEAD,
				  &record);
	if (rc <= 0)
		return rc;
	*bytes = record.bytes;
	reader->position += xn_journal_record_size(record.bytes.len);
	return 1;
}

/* ---- the end ---- */

/* Records are 8-aligned, so every 8th byte is tried; the magic sorts out nearly all of them. Space
 * that was reserved and never written is skipped. */
static int has_proof(struct xn_journal_reader *reader, uint64_t offset, uint64_t bad)
{
	uint64_t size = reader->segments[reader->current].size;
	off_t data = lseek(reader->fd, (off_t)offset, SEEK_DATA);
	struct xn_journal_record record;

	if (data < 0 && errno == ENXIO)
		return 0;
	if (data > (off_t)offset)
		offset = (uint64_t)data & ~(uint64_t)7;
	for (; offset + XN_RECORD_HEAD <= size; offset += 8) {
		int rc = xn_journal_record_at(reader, offset, &record);

		if (rc < 0 || (rc == 1 && record.synced > bad))
			return rc;
	}
	return 0;
}

int xn_journal_is_damaged(struct xn_journal_reader *reader)
{
	size_t last = reader->current;
	int rc = 0;

	for (size_t i = last; rc == 0 && i < reader->n_segments; i++) {
		uint64_t offset = XN_SEGMENT_HEAD;

		if (i == last)
			offset += reader->position - reader->segments[last].start;
		rc = xn_journal_reader_select(reader, i);
		if (rc == 0)
			rc = has_proof(reader, offset, reader->position);
	}
	leave_segment(reader); /* what next() reads now was written by now */
	reader->current = last;
	return rc;
}
