/*
 * The files of the audit log: STATE/audit/audit-<number of the first line>.jsonl, read and written as
 * one long log. Blocking; called on the worker thread, and at start and stop. Knows lines, not what
 * they mean.
 */
#ifndef XN_AUDIT_FILES_H
#define XN_AUDIT_FILES_H

#include "modules/audit/line.h"

struct audit_file {
	uint64_t first; /* number of its first line; its name */
	uint64_t size;
	int64_t mtime_s;
};

/* Sorted by .first; the caller frees. 0 or -errno. */
int audit_files_list(int dir_fd, struct audit_file **files_out, size_t *n_out) XN_MUST_CHECK;
void audit_file_name(uint64_t first, char out[48]);

/* ---- reading, line by line ---- */

struct audit_reader {
	int dir_fd, fd;
	struct audit_file *files;
	size_t n_files, current;
	uint64_t offset; /* of the current file: behind what is in buf */
	uint64_t line_offset; /* where the line told last begins */
	uint64_t number;      /* of that line in its file, from 1 */
	struct xn_buf buf;
	size_t used; /* of buf */
};

enum audit_read {
	AUDIT_READ_END,
	AUDIT_READ_LINE,
	AUDIT_READ_REMAINS, /* behind the last line's end of a file; or a line that is too long */
};

int audit_reader_open(struct audit_reader *reader, const char *folder) XN_MUST_CHECK;
void audit_reader_close(struct audit_reader *reader);
/* The next line without its end, borrowed until the next call. enum audit_read, or -errno. */
int audit_reader_next(struct audit_reader *reader, const char **line_out, size_t *len_out);

/* ---- writing ---- */

struct audit_writer {
	int dir_fd, fd; /* fd -1: no file yet */
	uint64_t first; /* number of the file's first line */
	uint64_t size;	/* of the file */
	uint64_t max_size; /* then comes the next one */
	uint64_t reserved; /* the file has room on the disk up to there */
	struct xn_buf unsynced; /* the file's last bytes, as they were written since it was synced */
	bool is_doubtful; /* a sync failed: the next one may succeed without having written anything */
};

struct audit_tail { /* what the end of the log is like */
	struct audit_head head; /* damaged: the hash is that of the last whole line */
	uint64_t torn_bytes; /* of a line that a crash cut off; removed */
	bool is_damaged;     /* the last line is none of ours; a new file will follow */
};

/* @synced: number of the last line that is known to be on the disk. */
int audit_writer_open(struct audit_writer *writer, const char *folder, uint64_t max_size,
		      uint64_t synced, struct audit_tail *tail) XN_MUST_CHECK;
void audit_writer_close(struct audit_writer *writer);
/* All of @bytes or nothing: lines from number @first on. 1: in a new file. -errno. */
int audit_writer_append(struct audit_writer *writer, const void *bytes, size_t len,
			uint64_t first) XN_MUST_CHECK;
/*
 * audit_writer_sync - all lines are on the disk for good
 * A sync that failed is told once: the kernel takes what it could not write for written. So the file
 * is then written anew, from what was kept, and takes the place of the one that is in doubt.
 * Return: 0 or -errno; to be called again.
 */
int audit_writer_sync(struct audit_writer *writer) XN_MUST_CHECK;
/* Room for lines to come, so that a full disk is met before what they tell of was done. 0, or -errno:
 * the disk has none; what was reserved before is still there. */
int audit_writer_reserve(struct audit_writer *writer) XN_MUST_CHECK;

/* The first line to keep if whole old files go until the others hold @max_bytes, and none was last
 * written before @oldest_s. The newest file stays. 0: nothing is to go. */
uint64_t audit_files_keep_from(int dir_fd, uint64_t max_bytes, int64_t oldest_s);
/* Removes the files of which all lines come before number @first. */
void audit_files_remove_below(int dir_fd, uint64_t first);

#endif
