/*
 * A journal's segment as it is found on the disk: any bytes behind a valid head. Opening refuses
 * them or takes what is valid; then what is appended is found behind it at the next opening.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modules/db/journal_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SALT = 42 };

static int on_record(void *arg, const void *bytes, size_t len)
{
	struct xn_buf *read = arg;

	xn_put_text(read, bytes, len);
	return 0;
}

/* A segment with a head: made by the journal itself. */
static void make_segment(int dir_fd, const uint8_t *data, size_t size)
{
	struct xn_buf read = {0};
	char *why = NULL;
	struct xn_journal *journal = xn_journal_open(dir_fd, 0, SALT, on_record, &read, &why);
	int fd = openat(dir_fd, "journal-00000001", O_WRONLY);

	if (!journal || fd < 0 || pwrite(fd, data, size, XN_SEGMENT_HEAD) != (ssize_t)size)
		abort();
	close(fd);
	xn_journal_close(journal);
}

static struct xn_journal *open_it(int dir_fd, struct xn_buf *read)
{
	struct xn_journal *journal;
	char *why = NULL;

	read->len = 0;
	journal = xn_journal_open(dir_fd, 0, SALT, on_record, read, &why);
	if (!journal && !why)
		abort(); /* a refusal has its reason */
	free(why);
	return journal;
}

static void try_segment(int dir_fd)
{
	struct xn_buf first = {0}, second = {0};
	struct xn_journal *journal = open_it(dir_fd, &first);

	if (journal) {
		if (xn_journal_append(journal, "more", 4) < 0)
			abort();
		xn_journal_close(journal);
		xn_put_text(&first, "more", 4);
		journal = open_it(dir_fd, &second);
		if (!journal || first.len != second.len ||
		    memcmp(first.data, second.data, first.len) != 0)
			abort();
		xn_journal_close(journal);
	}
	xn_buf_clear(&first);
	xn_buf_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char shm[] = "/dev/shm/xn-fuzz-journal-XXXXXX", tmp[] = "/tmp/xn-fuzz-journal-XXXXXX";
	char *dir = mkdtemp(shm);
	int dir_fd;

	if (!dir && !(dir = mkdtemp(tmp)))
		abort();
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	make_segment(dir_fd, data, size);
	try_segment(dir_fd);
	unlinkat(dir_fd, "journal-00000001", 0);
	close(dir_fd);
	if (rmdir(dir) < 0)
		abort(); /* something was left in it */
	return 0;
}
