/* Opening and writing the journal; see journal.h. */
#include "modules/db/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/write.h"

enum { UNSYNCED_KEPT = 256 << 10 };

struct xn_journal {
	int dir_fd, fd;
	int old_fd; /* the segment before, while not all of it is synced; -1 */
	struct xn_segment segment;
	uint64_t end, synced;
	bool dir_dirty; /* a new name is not known to be durable */
	bool failed, was_cut;
	struct xn_buf unsynced; /* what is between synced and end: varint length, bytes */
};

/* ---- segments ---- */

static void put_head(struct xn_buf *out, const struct xn_segment *segment)
{
	static const char zeros[XN_SEGMENT_HEAD];
	size_t start = out->len;

	xn_buf_add(out, XN_SEGMENT_MAGIC, XN_SEGMENT_MAGIC_LEN);
	xn_put_fixed(out, XN_SEGMENT_VERSION);
	xn_put_fixed(out, segment->start);
	xn_put_fixed(out, segment->salt);
	xn_put_fixed(out, xn_crc32c(0, out->data + start, out->len - start));
	xn_buf_add(out, zeros, XN_SEGMENT_HEAD - (out->len - start));
}

/* Space first, so that a full disk is met here and not in the middle of a record; where the file
 * system cannot, files grow as they are written. */
static int reserve(int fd, uint64_t size)
{
	if (fallocate(fd, 0, 0, (off_t)size) == 0 || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

static int create_segment(int dir_fd, const struct xn_segment *segment, uint64_t size)
{
	char name[XN_SEGMENT_NAME];
	struct xn_buf head = {0};
	int fd, rc;

	xn_journal_segment_name(segment->number, name);
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	put_head(&head, segment);
	rc = reserve(fd, size);
	if (rc == 0)
		rc = xn_write_all_at(fd, head.data, head.len, 0);
	xn_buf_clear(&head);
	if (rc == 0)
		return fd;
	close(fd);
	unlinkat(dir_fd, name, 0);
	return rc;
}

static uint64_t offset_of(const struct xn_segment *segment, uint64_t position)
{
	return position - segment->start + XN_SEGMENT_HEAD;
}

/* ---- opening ---- */

struct opening {
	struct xn_journal_reader reader;
	uint64_t position; /* asked for */
	char **why;
};

static int fail(struct opening *opening, int rc, const char *doing)
{
	if (!*opening->why)
		*opening->why = xn_asprintf("%s: %s", doing, strerror(-rc));
	return rc;
}

static int damaged(struct opening *opening, const char *what)
{
	const struct xn_journal_reader *reader = &opening->reader;
	char name[XN_SEGMENT_NAME] = "journal";

	if (reader->current < reader->n_segments)
		xn_journal_segment_name(reader->segments[reader->current].number, name);
	if (!*opening->why)
		*opening->why = xn_asprintf("%s is damaged at position %llu: %s", name,
					    (unsigned long long)reader->position, what);
	return -EBADMSG;
}

static int replay(struct opening *opening,
		  int (*each)(void *arg, const void *bytes, size_t len), void *arg)
{
	struct xn_slice bytes;
	int rc;

	while ((rc = xn_journal_next(&opening->reader, &bytes)) == 1) {
		rc = each(arg, bytes.data, bytes.len);
		if (rc < 0)
			return damaged(opening, "a record cannot be read");
	}
	return rc < 0 ? fail(opening, rc, "reading the journal") : 0;
}

/* Nothing durable is lost at the place where valid records end? */
static int check_end(struct opening *opening)
{
	int rc = xn_journal_is_damaged(&opening->reader);

	if (rc < 0)
		return fail(opening, rc, "reading the journal");
	return rc ? damaged(opening, "a record that was durable is not valid") : 0;
}

/* Cuts off what a crash left behind the last valid record. The newest segments go first, so that a
 * crash in here leaves the same end. */
static int cut(struct opening *opening, size_t last)
{
	struct xn_journal_reader *reader = &opening->reader;
	char name[XN_SEGMENT_NAME];
	int fd, rc = 0;

	for (size_t i = reader->n_segments; i > last + 1; i--) {
		xn_journal_segment_name(reader->segments[i - 1].number, name);
		if (unlinkat(reader->dir_fd, name, 0) < 0 || fsync(reader->dir_fd) < 0)
			return -errno;
	}
	xn_journal_segment_name(reader->segments[last].number, name);
	fd = openat(reader->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)offset_of(&reader->segments[last], reader->position)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = reserve(fd, XN_SEGMENT_SIZE);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static bool all_zero(const char *bytes, size_t len)
{
	return !len || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* 1: only zeros from @offset on, 0, -errno. Space that was reserved and never written is skipped.
 */
static int is_blank(int fd, off_t offset)
{
	char piece[16384];
	ssize_t n;

	for (;;) {
		off_t data = lseek(fd, offset, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			return 1;
		if (data > offset)
			offset = data;
		n = pread(fd, piece, sizeof(piece), offset);
		if (n <= 0)
			return n < 0 ? -errno : 1;
		if (!all_zero(piece, (size_t)n))
			return 0;
		offset += n;
	}
}

static bool ends_with_file(const struct xn_journal_reader *reader, size_t last)
{
	return last + 1 == reader->n_segments &&
	       offset_of(&reader->segments[last], reader->position) >= reader->segments[last].size;
}

/* Whether nothing but zeros follows the last valid record, and something: a file that ends there has
 * lost the space that was reserved, and maybe records with it. */
static int ends_clean(struct opening *opening, size_t last)
{
	struct xn_journal_reader *reader = &opening->reader;
	char name[XN_SEGMENT_NAME];
	int fd, rc;

	if (last + 1 < reader->n_segments || ends_with_file(reader, last))
		return 0;
	xn_journal_segment_name(reader->segments[last].number, name);
	fd = openat(reader->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = is_blank(fd, (off_t)offset_of(&reader->segments[last], reader->position));
	close(fd);
	return rc;
}

static int repair(struct opening *opening, size_t last)
{
	int rc = check_end(opening);

	if (rc < 0)
		return rc;
	rc = cut(opening, last);
	return rc < 0 ? fail(opening, rc, "repairing the journal") : 0;
}

static int open_last(struct opening *opening, struct xn_journal *journal, size_t last)
{
	char name[XN_SEGMENT_NAME];
	int rc = ends_clean(opening, last);

	if (rc < 0)
		return fail(opening, rc, "reading the journal's end");
	if (rc == 0 && repair(opening, last) < 0)
		return -EBADMSG;
	journal->was_cut = rc == 0;
	journal->segment = opening->reader.segments[last];
	xn_journal_segment_name(journal->segment.number, name);
	journal->fd = openat(journal->dir_fd, name, O_RDWR | O_CLOEXEC);
	return journal->fd < 0 ? fail(opening, -errno, "opening the journal") : 0;
}

static int open_fresh(struct opening *opening, struct xn_journal *journal, uint64_t salt)
{
	const struct xn_journal_reader *reader = &opening->reader;
	uint32_t number = 1;

	if (reader->n_segments)
		number = reader->segments[reader->n_segments - 1].number + 1;
	journal->segment =
		(struct xn_segment){.number = number, .start = journal->end, .salt = salt};
	journal->fd = create_segment(journal->dir_fd, &journal->segment, XN_SEGMENT_SIZE);
	journal->dir_dirty = true;
	return journal->fd < 0 ? fail(opening, journal->fd, "making the journal") : 0;
}

static int sync_segment(int dir_fd, uint32_t number)
{
	char name[XN_SEGMENT_NAME];
	int fd, rc = 0;

	xn_journal_segment_name(number, name);
	fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fdatasync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/*
 * Whoever was killed left up to two segments and a new name that no sync has covered. What was
 * replayed is durable before anything is built on it, and before a record claims that it is.
 */
static int sync_found(struct opening *opening, size_t last)
{
	const struct xn_journal_reader *reader = &opening->reader;
	int rc = 0;

	for (size_t i = last ? last - 1 : 0; rc == 0 && i <= last; i++)
		rc = sync_segment(reader->dir_fd, reader->segments[i].number);
	if (rc == 0 && fsync(reader->dir_fd) < 0)
		rc = -errno;
	return rc < 0 ? fail(opening, rc, "syncing the journal") : 0;
}

static int open_journal(struct opening *opening, struct xn_journal *journal, uint64_t salt,
			int (*each)(void *arg, const void *bytes, size_t len), void *arg)
{
	struct xn_journal_reader *reader = &opening->reader;
	int rc;

	rc = xn_journal_reader_open(reader, journal->dir_fd, opening->position);
	if (rc < 0)
		return fail(opening, rc, "reading the journal's segments");
	if (reader->n_segments && reader->segments[0].start > opening->position)
		return damaged(opening, "a segment is missing");
	rc = replay(opening, each, arg);
	if (rc < 0)
		return rc;
	journal->end = journal->synced = reader->position;
	if (!reader->n_segments)
		return open_fresh(opening, journal, salt);
	rc = sync_found(opening, reader->current); /* replay() stopped in it */
	return rc < 0 ? rc : open_last(opening, journal, reader->current);
}

struct xn_journal *xn_journal_open(int dir_fd, uint64_t position, uint64_t salt,
				   int (*each)(void *arg, const void *bytes, size_t len), void *arg,
				   char **why)
{
	struct opening opening = {.position = position, .why = why};
	struct xn_journal *journal = xn_calloc(1, sizeof(*journal));
	int rc;

	journal->dir_fd = dir_fd;
	journal->fd = journal->old_fd = -1;
	rc = open_journal(&opening, journal, salt, each, arg);
	xn_journal_reader_close(&opening.reader);
	if (rc < 0) {
		xn_journal_close(journal);
		return NULL;
	}
	return journal;
}

/* ---- proving ---- */

/* The kept past: records that nothing replays any more, up to the one at opening->position. */
static int check_past(struct opening *opening, struct xn_journal_summary *summary)
{
	struct xn_journal_reader *reader = &opening->reader;
	struct xn_slice bytes;
	int rc = 1;

	if (opening->position == XN_JOURNAL_OLDEST)
		opening->position = reader->n_segments ? reader->segments[0].start : 0;
	if (!reader->n_segments)
		return opening->position ? damaged(opening, "no segment is there") : 0;
	if (reader->segments[0].start > opening->position)
		return damaged(opening, "a segment is missing");
	reader->position = reader->segments[0].start;
	while (reader->position < opening->position && (rc = xn_journal_next(reader, &bytes)) == 1)
		summary->records++;
	if (rc < 0)
		return fail(opening, rc, "reading the journal");
	if (reader->position != opening->position)
		return damaged(opening, "a record before the checkpoint's place is not valid");
	return 0;
}

struct counted {
	struct xn_journal_summary *summary;
	int (*each)(void *arg, const void *bytes, size_t len);
	void *arg;
};

static int count_record(void *arg, const void *bytes, size_t len)
{
	struct counted *counted = arg;

	counted->summary->records++;
	return counted->each(counted->arg, bytes, len);
}

static int check_all(struct opening *opening, struct counted *counted)
{
	struct xn_journal_reader *reader = &opening->reader;
	int rc = check_past(opening, counted->summary);

	if (rc == 0)
		rc = replay(opening, count_record, counted);
	if (rc < 0 || !reader->n_segments)
		return rc;
	rc = check_end(opening);
	if (rc < 0)
		return rc;
	rc = ends_clean(opening, reader->current);
	counted->summary->has_remains = rc == 0 && !ends_with_file(reader, reader->current);
	return rc < 0 ? fail(opening, rc, "reading the journal's end") : 0;
}

int xn_journal_check(int dir_fd, uint64_t position,
		     int (*each)(void *arg, const void *bytes, size_t len), void *arg,
		     struct xn_journal_summary *summary, char **why)
{
	struct opening opening = {.position = position, .why = why};
	struct counted counted = {summary, each, arg};
	int rc = xn_journal_reader_open(&opening.reader, dir_fd, position);

	*summary = (struct xn_journal_summary){.segments = opening.reader.n_segments};
	if (rc < 0)
		return fail(&opening, rc, "reading the journal's segments");
	rc = check_all(&opening, &counted);
	summary->end = opening.reader.position;
	xn_journal_reader_close(&opening.reader);
	return rc;
}

void xn_journal_close(struct xn_journal *journal)
{
	if (!journal)
		return;
	if (journal->fd >= 0)
		close(journal->fd);
	if (journal->old_fd >= 0)
		close(journal->old_fd);
	xn_buf_clear(&journal->unsynced);
	free(journal);
}

/* ---- appending ---- */

uint64_t xn_journal_end(const struct xn_journal *journal)
{
	return journal->end;
}

uint64_t xn_journal_synced(const struct xn_journal *journal)
{
	return journal->synced;
}

size_t xn_journal_memory(const struct xn_journal *journal)
{
	return journal->unsynced.cap;
}

bool xn_journal_was_cut(const struct xn_journal *journal)
{
	return journal->was_cut;
}

static void make_record_head(unsigned char head[XN_RECORD_HEAD], const struct xn_segment *segment,
			     uint64_t position, uint64_t synced, const void *bytes, size_t len)
{
	memset(head, 0, XN_RECORD_HEAD);
	xn_fixed32_at(head, XN_RECORD_MAGIC);
	xn_fixed32_at(head + 4, (uint32_t)len);
	xn_fixed32_at(head + 8, (uint32_t)synced);
	xn_fixed32_at(head + 12, (uint32_t)(synced >> 32));
	xn_fixed32_at(head + 16, xn_journal_crc(segment->salt, position, synced, bytes, len));
}

static int write_record(struct xn_journal *journal, const void *bytes, size_t len)
{
	static const char zeros[8];
	unsigned char head[XN_RECORD_HEAD];
	size_t size = xn_journal_record_size(len);
	struct iovec parts[3] = {{head, sizeof(head)},
				 {(void *)bytes, len},
				 {(void *)zeros, size - XN_RECORD_HEAD - len}};
	off_t offset = (off_t)offset_of(&journal->segment, journal->end);
	ssize_t n;

	make_record_head(head, &journal->segment, journal->end, journal->synced, bytes, len);
	do
		n = pwritev(journal->fd, parts, 3, offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -ENOSPC;
}

/* A segment that is full is left when all of it was handed to a sync once. */
static int next_segment(struct xn_journal *journal, size_t size)
{
	struct xn_segment segment = {.number = journal->segment.number + 1,
				     .start = journal->end,
				     .salt = journal->segment.salt};
	uint64_t room = XN_SEGMENT_HEAD + size;
	int fd = create_segment(journal->dir_fd, &segment,
				room > XN_SEGMENT_SIZE ? room : XN_SEGMENT_SIZE);

	if (fd < 0)
		return fd;
	journal->old_fd = journal->fd;
	journal->fd = fd;
	journal->segment = segment;
	journal->dir_dirty = true;
	return 0;
}

int xn_journal_append(struct xn_journal *journal, const void *bytes, size_t len)
{
	size_t size = xn_journal_record_size(len);
	int rc = 0;

	if (journal->failed || len > XN_TX_MAX)
		return journal->failed ? -EIO : -EMSGSIZE;
	if (journal->old_fd < 0 &&
	    offset_of(&journal->segment, journal->end) + size > XN_SEGMENT_SIZE)
		rc = next_segment(journal, size);
	if (rc == 0)
		rc = write_record(journal, bytes, len);
	if (rc < 0) {
		journal->failed = true; /* how much of the record is there is not known */
		return rc;
	}
	journal->end += size;
	xn_put_text(&journal->unsynced, bytes, len);
	return 0;
}

/* ---- syncing ---- */

void xn_journal_sync_begin(struct xn_journal *journal, struct xn_journal_sync *sync)
{
	*sync = (struct xn_journal_sync){.dir_fd = -1, .position = journal->end};
	if (journal->old_fd >= 0)
		sync->fds[sync->n_fds++] = journal->old_fd;
	sync->fds[sync->n_fds++] = journal->fd;
	if (journal->dir_dirty)
		sync->dir_fd = journal->dir_fd;
	journal->dir_dirty = false;
}

int xn_journal_sync_run(const struct xn_journal_sync *sync)
{
	for (unsigned i = 0; i < sync->n_fds; i++)
		if (fdatasync(sync->fds[i]) < 0)
			return -errno;
	if (sync->dir_fd >= 0 && fsync(sync->dir_fd) < 0)
		return -errno;
	return 0;
}

/* One large turn does not hold its memory for ever. */
static void shrink_unsynced(struct xn_journal *journal)
{
	struct xn_buf *old = &journal->unsynced, fit = {0};

	if (old->cap <= UNSYNCED_KEPT || old->cap / 4 < old->len)
		return;
	xn_buf_add(&fit, old->data, old->len);
	xn_buf_clear(old);
	*old = fit;
}

/* Forgets records up to the position. */
static void drop_unsynced(struct xn_journal *journal, uint64_t position)
{
	struct xn_cursor in = xn_cursor(journal->unsynced.data, journal->unsynced.len);
	uint64_t at = journal->synced;
	struct xn_slice bytes;

	while (at < position && xn_take_text(&in, &bytes) == 0)
		at += xn_journal_record_size(bytes.len);
	xn_buf_drop(&journal->unsynced, journal->unsynced.len - (size_t)(in.end - in.at));
	shrink_unsynced(journal);
	journal->synced = at;
}

void xn_journal_sync_end(struct xn_journal *journal, const struct xn_journal_sync *sync, int rc)
{
	if (rc < 0) {
		journal->failed = true;
		return;
	}
	drop_unsynced(journal, sync->position);
	if (sync->n_fds > 1) {
		close(journal->old_fd);
		journal->old_fd = -1;
	}
}

/* ---- after a failure ---- */

void xn_journal_replace_begin(struct xn_journal *journal, uint64_t salt,
			      struct xn_journal_replace *replace)
{
	struct xn_cursor in = xn_cursor(journal->unsynced.data, journal->unsynced.len);
	uint64_t at = journal->synced;
	struct xn_slice bytes;

	*replace = (struct xn_journal_replace){.dir_fd = journal->dir_fd, .fd = -1};
	replace->segment = (struct xn_segment){
		.number = journal->segment.number, .start = at, .salt = salt};
	/* Of a segment that holds nothing durable not even the head need be there: none may follow it. */
	if (journal->segment.start < at)
		replace->segment.number++;
	put_head(&replace->image, &replace->segment);
	while (xn_take_text(&in, &bytes) == 0) {
		unsigned char head[XN_RECORD_HEAD];
		size_t size = xn_journal_record_size(bytes.len);

		make_record_head(head, &replace->segment, at, journal->synced, bytes.data,
				 bytes.len);
		xn_buf_add(&replace->image, head, sizeof(head));
		xn_buf_add(&replace->image, bytes.data, bytes.len);
		memset(xn_buf_reserve(&replace->image, 8), 0, 8);
		replace->image.len += size - XN_RECORD_HEAD - bytes.len;
		at += size;
	}
}

static int read_back(int fd, const struct xn_buf *image)
{
	char piece[16384];

	for (size_t at = 0; at < image->len;) {
		size_t want = image->len - at < sizeof(piece) ? image->len - at : sizeof(piece);
		ssize_t n = pread(fd, piece, want, (off_t)at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		if (memcmp(piece, image->data + at, (size_t)n) != 0)
			return -EIO;
		at += (size_t)n;
	}
	return 0;
}

/* Under another name until it is whole: a segment that exists counts. */
static int write_replacement(const struct xn_journal_replace *replace, int fd)
{
	char name[XN_SEGMENT_NAME];
	uint64_t size = replace->image.len > XN_SEGMENT_SIZE ? replace->image.len : XN_SEGMENT_SIZE;
	int rc = reserve(fd, size);

	if (rc == 0)
		rc = xn_write_all_at(fd, replace->image.data, replace->image.len, 0);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0) {
		/* From the disk, not from memory, where the kernel lets us choose. */
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		rc = read_back(fd, &replace->image);
	}
	xn_journal_segment_name(replace->segment.number, name);
	if (rc == 0 && renameat(replace->dir_fd, "replacement", replace->dir_fd, name) < 0)
		rc = -errno;
	if (rc == 0 && fsync(replace->dir_fd) < 0)
		rc = -errno;
	return rc;
}

int xn_journal_replace_run(struct xn_journal_replace *replace)
{
	int fd = openat(replace->dir_fd, "replacement", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_replacement(replace, fd);
	if (rc == 0)
		replace->fd = fd;
	else
		close(fd);
	return rc;
}

void xn_journal_replace_end(struct xn_journal *journal, struct xn_journal_replace *replace, int rc)
{
	if (rc == 0) {
		close(journal->fd);
		if (journal->old_fd >= 0)
			close(journal->old_fd);
		journal->old_fd = -1;
		journal->fd = replace->fd;
		journal->segment = replace->segment;
		journal->unsynced.len = 0;
		shrink_unsynced(journal);
		journal->synced = journal->end;
		journal->dir_dirty = false;
		journal->failed = false;
	}
	xn_buf_clear(&replace->image);
}

/* ---- housekeeping ---- */

/* How many of the oldest segments nobody needs and have no room. */
static size_t count_old(const struct xn_journal_reader *reader, uint64_t position,
			uint64_t keep_bytes)
{
	uint64_t kept = 0;

	for (size_t i = reader->n_segments; i > 1; i--) {
		/* Segment i - 2 ends where i - 1 starts. */
		if (reader->segments[i - 1].start > position)
			continue;
		kept += reader->segments[i - 2].size;
		if (kept > keep_bytes)
			return i - 1;
	}
	return 0;
}

/* The oldest go first, so that a crash in here leaves no gap, which a check would call damage. */
int xn_journal_trim(int dir_fd, uint64_t position, uint64_t keep_bytes)
{
	struct xn_journal_reader reader;
	int rc = xn_journal_reader_open(&reader, dir_fd, position);
	size_t n;

	if (rc < 0)
		return rc;
	n = count_old(&reader, position, keep_bytes);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		char name[XN_SEGMENT_NAME];

		xn_journal_segment_name(reader.segments[i].number, name);
		if (unlinkat(dir_fd, name, 0) < 0)
			rc = -errno;
	}
	xn_journal_reader_close(&reader);
	return rc;
}
