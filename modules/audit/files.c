/* See files.h. */
#include "modules/audit/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/write.h"

enum {
	PIECE = 65536,
	UNSYNCED_MAX = 4 << 20,	   /* bytes kept in memory; then a sync comes before its time */
	UNSYNCED_KEPT = 256 << 10, /* of memory, for the next ones */
	WRITEBACK_STEP = 256 << 10,
};
static const char anew[] = "anew"; /* a file that shall take the place of another */

void audit_file_name(uint64_t first, char out[48])
{
	snprintf(out, 48, "audit-%020" PRIu64 ".jsonl", first);
}

/* ---- the folder ---- */

static bool parse_name(const char *name, uint64_t *first_out)
{
	char again[48];

	if (strncmp(name, "audit-", 6) != 0)
		return false;
	*first_out = strtoull(name + 6, NULL, 10);
	audit_file_name(*first_out, again);
	return *first_out > 0 && strcmp(name, again) == 0;
}

static int by_first(const void *a, const void *b)
{
	const struct audit_file *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

int audit_files_list(int dir_fd, struct audit_file **files_out, size_t *n_out)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat st;
	uint64_t first;

	*files_out = NULL;
	*n_out = 0;
	if (!dir) {
		int rc = -errno;

		if (fd >= 0)
			close(fd);
		return rc;
	}
	while ((entry = readdir(dir))) {
		if (!parse_name(entry->d_name, &first) ||
		    fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		*files_out = xn_realloc(*files_out, (*n_out + 1) * sizeof(**files_out));
		(*files_out)[(*n_out)++] =
			(struct audit_file){first, (uint64_t)st.st_size, st.st_mtim.tv_sec};
	}
	closedir(dir);
	if (*n_out)
		qsort(*files_out, *n_out, sizeof(**files_out), by_first);
	return 0;
}

static int open_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_file(int dir_fd, uint64_t first, int flags)
{
	char name[48];
	int fd;

	audit_file_name(first, name);
	fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* ---- reading ---- */

int audit_reader_open(struct audit_reader *reader, const char *folder)
{
	int rc;

	*reader = (struct audit_reader){.fd = -1};
	reader->dir_fd = open_folder(folder);
	if (reader->dir_fd < 0)
		return reader->dir_fd;
	rc = audit_files_list(reader->dir_fd, &reader->files, &reader->n_files);
	if (rc < 0)
		audit_reader_close(reader);
	return rc;
}

void audit_reader_close(struct audit_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	if (reader->dir_fd >= 0)
		close(reader->dir_fd);
	free(reader->files);
	xn_buf_clear(&reader->buf);
	*reader = (struct audit_reader){.dir_fd = -1, .fd = -1};
}

static int next_file(struct audit_reader *reader)
{
	if (reader->fd >= 0) {
		close(reader->fd);
		reader->current++;
	}
	reader->fd = -1;
	reader->offset = reader->number = reader->used = 0;
	reader->buf.len = 0;
	if (reader->current >= reader->n_files)
		return 0;
	reader->fd = open_file(reader->dir_fd, reader->files[reader->current].first, O_RDONLY);
	return reader->fd < 0 ? reader->fd : 1;
}

/* More of the current file into buf: its length, 0 at the end, -errno. */
static ssize_t fill(struct audit_reader *reader)
{
	ssize_t n;

	xn_buf_drop(&reader->buf, reader->used);
	reader->used = 0;
	n = pread(reader->fd, xn_buf_reserve(&reader->buf, PIECE), PIECE, (off_t)reader->offset);
	if (n < 0)
		return -errno;
	reader->buf.len += (size_t)n;
	reader->offset += (size_t)n;
	return n;
}

static int tell(struct audit_reader *reader, size_t len, size_t skip, const char **line_out,
		size_t *len_out)
{
	*line_out = reader->buf.data + reader->used;
	*len_out = len;
	reader->line_offset = reader->offset - (reader->buf.len - reader->used);
	reader->number++;
	reader->used += len + skip;
	return skip ? AUDIT_READ_LINE : AUDIT_READ_REMAINS;
}

int audit_reader_next(struct audit_reader *reader, const char **line_out, size_t *len_out)
{
	for (;;) {
		size_t left = reader->buf.len - reader->used;
		const char *at = left ? reader->buf.data + reader->used : NULL;
		const char *end = left ? memchr(at, '\n', left) : NULL;
		ssize_t n;

		if (end)
			return tell(reader, (size_t)(end - at), 1, line_out, len_out);
		if (left >= AUDIT_LINE_MAX)
			return tell(reader, left, 0, line_out, len_out);
		n = reader->fd < 0 ? 0 : fill(reader);
		if (n < 0)
			return (int)n;
		if (n > 0)
			continue;
		if (left) {
			return tell(reader, reader->buf.len - reader->used, 0, line_out, len_out);
		}
		n = next_file(reader);
		if (n <= 0)
			return n < 0 ? (int)n : AUDIT_READ_END;
	}
}

/* ---- writing ---- */

/* Where the last line of @fd begins and ends in the file's last bytes. */
static int read_last_line(int fd, uint64_t size, struct xn_buf *out, uint64_t *end_out)
{
	uint64_t from = size > 2 * AUDIT_LINE_MAX ? size - 2 * AUDIT_LINE_MAX : 0;
	size_t len = (size_t)(size - from), begin, end;
	ssize_t n = pread(fd, xn_buf_reserve(out, len + 1), len, (off_t)from);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	out->len = len;
	for (end = len; end && out->data[end - 1] != '\n'; end--)
		;
	for (begin = end ? end - 1 : 0; begin && out->data[begin - 1] != '\n'; begin--)
		;
	*end_out = from + end;
	out->len = end ? end - 1 : 0;
	xn_buf_drop(out, begin < out->len ? begin : out->len);
	return 0;
}

/* Continues behind the last line of the newest file, which a crash may have cut off. */
static int continue_file(struct audit_writer *writer, uint64_t first, struct audit_tail *tail)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct audit_line line;
	struct stat st;
	uint64_t end = 0;
	int rc;

	writer->fd = open_file(writer->dir_fd, first, O_RDWR);
	if (writer->fd < 0)
		return writer->fd;
	writer->first = first;
	if (fstat(writer->fd, &st) < 0)
		return -errno;
	rc = read_last_line(writer->fd, (uint64_t)st.st_size, &text, &end);
	if (rc < 0)
		return rc;
	writer->size = end;
	tail->torn_bytes = (uint64_t)st.st_size - end;
	if (tail->torn_bytes && ftruncate(writer->fd, (off_t)end) < 0)
		return -errno;
	if (!end) /* nothing of the file's first line was left */
		return 1;
	if (audit_line_read(text.data, text.len, &line) < 0 || !line.is_whole) {
		tail->is_damaged = true;
		close(writer->fd);
		writer->fd = -1;
		return 0;
	}
	tail->head.seq = line.seq;
	memcpy(tail->head.hash, line.hash, sizeof(line.hash));
	return 0;
}

static int find_end(struct audit_writer *writer, struct audit_tail *tail)
{
	struct audit_file *files XN_CLEANUP(xn_free_p) = NULL;
	size_t n = 0;
	int rc = audit_files_list(writer->dir_fd, &files, &n);

	while (rc == 0 && n--) {
		char name[48];
		uint64_t torn = tail->torn_bytes;

		rc = continue_file(writer, files[n].first, tail);
		tail->torn_bytes += torn;
		if (rc <= 0)
			break;
		close(writer->fd); /* an empty one: the line before is in the file before */
		writer->fd = -1;
		audit_file_name(files[n].first, name);
		rc = unlinkat(writer->dir_fd, name, 0) < 0 ? -errno : 0;
	}
	return rc;
}

/*
 * The last line that is whole of the newest file, with the number of the last one at all: what follows
 * takes no number of a line that is there, and so no file's name either.
 */
static int find_damaged_end(const char *folder, struct audit_head *head)
{
	struct audit_reader reader;
	struct audit_line line;
	const char *text;
	size_t len;
	int rc = audit_reader_open(&reader, folder);

	if (rc < 0)
		return rc;
	reader.current = reader.n_files - 1;
	head->seq = reader.files[reader.current].first - 1;
	memcpy(head->hash, audit_no_hash, sizeof(audit_no_hash));
	while ((rc = audit_reader_next(&reader, &text, &len)) > 0) {
		if (rc != AUDIT_READ_LINE)
			continue;
		head->seq++;
		if (audit_line_read(text, len, &line) < 0 || !line.is_whole || line.seq < head->seq)
			continue;
		head->seq = line.seq;
		memcpy(head->hash, line.hash, sizeof(line.hash));
	}
	audit_reader_close(&reader);
	return rc;
}

int audit_writer_open(struct audit_writer *writer, const char *folder, uint64_t max_size,
		      uint64_t synced, struct audit_tail *tail)
{
	int rc;

	*writer = (struct audit_writer){.fd = -1, .max_size = max_size};
	*tail = (struct audit_tail){0};
	if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
		writer->dir_fd = -1;
		return -errno;
	}
	writer->dir_fd = open_folder(folder);
	if (writer->dir_fd < 0)
		return writer->dir_fd;
	(void)unlinkat(writer->dir_fd, anew, 0); /* of a daemon that was killed over it */
	rc = find_end(writer, tail);
	if (rc == 0 && tail->is_damaged)
		rc = find_damaged_end(folder, &tail->head);
	/* Of these lines the daemon before may have been told that they cannot be synced. */
	writer->is_doubtful = writer->fd >= 0 && tail->head.seq > synced;
	if (rc < 0)
		audit_writer_close(writer);
	return rc;
}

/* With the room behind its end. */
static void leave_file(struct audit_writer *writer)
{
	if (writer->fd < 0)
		return;
	if (writer->reserved)
		(void)!ftruncate(writer->fd, (off_t)writer->size);
	close(writer->fd);
	writer->fd = -1;
	writer->reserved = 0;
}

void audit_writer_close(struct audit_writer *writer)
{
	leave_file(writer);
	if (writer->dir_fd >= 0)
		close(writer->dir_fd);
	writer->dir_fd = -1;
	xn_buf_clear(&writer->unsynced);
}

/* ---- what is on the disk for good ---- */

/* The file's lines before those that are kept, and those, as the file @fd. */
static int write_again(const struct audit_writer *writer, int fd)
{
	struct xn_buf piece XN_CLEANUP(xn_buf_clear_p) = {0};
	uint64_t synced = writer->size - writer->unsynced.len, at = 0;
	int rc = 0;

	while (rc == 0 && at < synced) {
		size_t len = synced - at < PIECE ? (size_t)(synced - at) : PIECE;
		ssize_t n = pread(writer->fd, xn_buf_reserve(&piece, len), len, (off_t)at);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		rc = xn_write_all_at(fd, piece.data, (size_t)n, at);
		at += (uint64_t)n;
	}
	if (rc == 0 && writer->unsynced.len)
		rc = xn_write_all_at(fd, writer->unsynced.data, writer->unsynced.len, synced);
	return rc < 0 ? rc : fsync(fd) < 0 ? -errno : 0;
}

/* At no time are lines missing under the file's name: a kill leaves the old one or the new one. */
static int replace_file(struct audit_writer *writer)
{
	char name[48];
	int fd, rc;

	audit_file_name(writer->first, name);
	(void)unlinkat(writer->dir_fd, anew, 0);
	fd = openat(writer->dir_fd, anew, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_again(writer, fd);
	if (rc == 0 && renameat(writer->dir_fd, anew, writer->dir_fd, name) < 0)
		rc = -errno;
	if (rc < 0) {
		close(fd);
		(void)unlinkat(writer->dir_fd, anew, 0);
		return rc;
	}
	close(writer->fd);
	writer->fd = fd;
	writer->reserved = 0;
	return fsync(writer->dir_fd) < 0 ? -errno : 0;
}

int audit_writer_sync(struct audit_writer *writer)
{
	int rc;

	if (writer->fd < 0 || (!writer->unsynced.len && !writer->is_doubtful))
		return 0;
	if (writer->is_doubtful)
		rc = replace_file(writer);
	else
		rc = fdatasync(writer->fd) < 0 ? -errno : 0;
	writer->is_doubtful = rc < 0;
	if (rc < 0)
		return rc;
	writer->unsynced.len = 0;
	if (writer->unsynced.cap > UNSYNCED_KEPT)
		xn_buf_clear(&writer->unsynced);
	return 0;
}

static int begin_file(struct audit_writer *writer, uint64_t first)
{
	int fd, rc = audit_writer_sync(writer);

	if (rc < 0)
		return rc;
	fd = open_file(writer->dir_fd, first, O_RDWR | O_CREAT);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, 0) < 0 || fsync(writer->dir_fd) < 0) {
		char name[48];

		rc = -errno;
		close(fd);
		audit_file_name(first, name); /* so that the next try changes the folder again */
		(void)unlinkat(writer->dir_fd, name, 0);
		return rc;
	}
	leave_file(writer);
	writer->fd = fd;
	writer->first = first;
	writer->size = 0;
	return 1;
}

/* Lines that come during a sync wait for it: what is there is on its way to the disk before. */
static void begin_writeback(const struct audit_writer *writer, size_t added)
{
	size_t len = writer->unsynced.len;

	if (len / WRITEBACK_STEP > (len - added) / WRITEBACK_STEP)
		(void)sync_file_range(writer->fd, (off_t)(writer->size - len), (off_t)len,
				      SYNC_FILE_RANGE_WRITE); /* the sync tells what fails */
}

int audit_writer_append(struct audit_writer *writer, const void *bytes, size_t len, uint64_t first)
{
	bool is_full = writer->fd < 0 || (writer->size && writer->size + len > writer->max_size);
	int is_new = is_full ? begin_file(writer, first) : 0;
	int rc = 0;

	if (is_new < 0)
		return is_new;
	if (writer->unsynced.len + len > UNSYNCED_MAX)
		rc = audit_writer_sync(writer);
	if (rc < 0)
		return rc;
	rc = xn_write_all_at(writer->fd, bytes, len, writer->size);
	if (rc < 0) { /* the next try begins where this one did */
		(void)!ftruncate(writer->fd, (off_t)writer->size);
		writer->reserved = 0; /* went with it */
		return rc;
	}
	writer->size += len;
	xn_buf_add(&writer->unsynced, bytes, len);
	begin_writeback(writer, len);
	return is_new;
}

int audit_writer_reserve(struct audit_writer *writer)
{
	enum { ROOM = 512 << 10 }; /* half of it is left for what comes between two batches */

	if (writer->fd < 0 || writer->reserved >= writer->size + ROOM / 2)
		return 0;
	if (fallocate(writer->fd, FALLOC_FL_KEEP_SIZE, (off_t)writer->size, ROOM) == 0)
		writer->reserved = writer->size + ROOM;
	else if (errno == ENOSPC || errno == EDQUOT)
		return -errno;
	return 0; /* some file systems cannot: a write will tell */
}

/* ---- the bound ---- */

uint64_t audit_files_keep_from(int dir_fd, uint64_t max_bytes, int64_t oldest_s)
{
	struct audit_file *files XN_CLEANUP(xn_free_p) = NULL;
	uint64_t total = 0;
	size_t n = 0, drop = 0;

	if (audit_files_list(dir_fd, &files, &n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		total += files[i].size;
	while (drop + 1 < n && (total > max_bytes || files[drop].mtime_s < oldest_s))
		total -= files[drop++].size;
	return drop ? files[drop].first : 0;
}

void audit_files_remove_below(int dir_fd, uint64_t first)
{
	struct audit_file *files XN_CLEANUP(xn_free_p) = NULL;
	size_t n = 0;

	if (audit_files_list(dir_fd, &files, &n) < 0)
		return;
	for (size_t i = 0; i + 1 < n && files[i + 1].first <= first; i++) {
		char name[48];

		audit_file_name(files[i].first, name);
		(void)unlinkat(dir_fd, name, 0);
	}
}
