/* The journal's files: records come back, torn ends are cut, damage is refused, replacement works.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/db/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fixture {
	char dir[40];
	int dir_fd;
	struct xn_journal *journal;
	char *why;
	struct xn_buf read; /* what the last opening replayed, each record and a line end */
};

/* What was synced: this program stands in front of libc. */
static struct {
	ino_t inodes[64];
	unsigned n;
} synced;

static void note_synced(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		synced.inodes[synced.n++ % XN_ARRAY_SIZE(synced.inodes)] = st.st_ino;
}

int fdatasync(int fd)
{
	note_synced(fd);
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	note_synced(fd);
	return (int)syscall(SYS_fsync, fd);
}

/* Until it is killed; -1: it is not. */
static int removals_left = -1;

int unlinkat(int dir_fd, const char *name, int flags)
{
	if (removals_left == 0)
		return 0;
	if (removals_left > 0)
		removals_left--;
	return (int)syscall(SYS_unlinkat, dir_fd, name, flags);
}

static bool was_synced(int dir_fd, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
	for (unsigned i = 0; i < synced.n && i < XN_ARRAY_SIZE(synced.inodes); i++)
		if (synced.inodes[i] == st.st_ino)
			return true;
	return false;
}

static int on_record(void *arg, const void *bytes, size_t len)
{
	struct fixture *f = arg;

	xn_buf_add(&f->read, bytes, len);
	xn_buf_add_char(&f->read, '\n');
	return 0;
}

static void open_at(struct fixture *f, uint64_t position)
{
	f->read.len = 0;
	free(f->why);
	f->why = NULL;
	f->journal = xn_journal_open(f->dir_fd, position, 42, on_record, f, &f->why);
}

static void close_it(struct fixture *f)
{
	xn_journal_close(f->journal);
	f->journal = NULL;
}

static void reopen(struct fixture *f)
{
	close_it(f);
	open_at(f, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-journal-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY);
	open_at(f, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc;

	close_it(f);
	close(f->dir_fd);
	rc = system(command);
	free(command);
	free(f->why);
	xn_buf_clear(&f->read);
	free(f);
	return rc;
}

static void append(struct fixture *f, const char *text)
{
	assert_int_equal(xn_journal_append(f->journal, text, strlen(text)), 0);
}

static int sync_with(struct fixture *f, int rc)
{
	struct xn_journal_sync sync;

	xn_journal_sync_begin(f->journal, &sync);
	if (rc == 0)
		rc = xn_journal_sync_run(&sync);
	xn_journal_sync_end(f->journal, &sync, rc);
	return rc;
}

static void assert_read(struct fixture *f, const char *text)
{
	if (!f->journal)
		fail_msg("%s", f->why);
	assert_string_equal(xn_buf_cstr(&f->read), text);
}

static uint64_t file_offset(uint64_t position)
{
	return XN_SEGMENT_HEAD + position;
}

static void damage(struct fixture *f, const char *name, uint64_t offset, const char *text)
{
	int fd = openat(f->dir_fd, name, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), strlen(text));
	close(fd);
}

static void records_come_back_in_order(void **state)
{
	struct fixture *f = *state;

	append(f, "one");
	append(f, "two");
	reopen(f);
	assert_read(f, "one\ntwo\n");
	append(f, "three");
	reopen(f);
	assert_read(f, "one\ntwo\nthree\n");
}

static void a_start_reads_from_its_position_only(void **state)
{
	struct fixture *f = *state;
	uint64_t position;

	append(f, "one");
	position = xn_journal_end(f->journal);
	append(f, "two");
	close_it(f);
	open_at(f, position);
	assert_read(f, "two\n");
}

static void a_torn_record_at_the_end_is_cut_off(void **state)
{
	struct fixture *f = *state;
	uint64_t end;

	append(f, "one");
	end = xn_journal_end(f->journal);
	append(f, "a longer record that is written in part only");
	close_it(f);
	damage(f, "journal-00000001", file_offset(end) + XN_RECORD_HEAD + 20, "????");
	open_at(f, 0);
	assert_read(f, "one\n");
	assert_int_equal(xn_journal_end(f->journal), end);
	append(f, "two");
	reopen(f);
	assert_read(f, "one\ntwo\n");
}

static void what_lies_behind_a_torn_record_does_not_come_back(void **state)
{
	struct fixture *f = *state;
	uint64_t end;

	append(f, "one");
	end = xn_journal_end(f->journal);
	append(f, "xxx");
	append(f, "three");
	close_it(f);
	damage(f, "journal-00000001", file_offset(end) + XN_RECORD_HEAD, "?");
	open_at(f, 0);
	assert_read(f, "one\n");
	append(f, "two"); /* as long as the one that was cut off */
	reopen(f);
	assert_read(f, "one\ntwo\n");
}

static void damage_in_what_was_durable_is_refused(void **state)
{
	struct fixture *f = *state;

	append(f, "one");
	assert_int_equal(sync_with(f, 0), 0);
	append(f, "two"); /* tells that "one" was durable */
	close_it(f);
	damage(f, "journal-00000001", file_offset(0) + XN_RECORD_HEAD, "?");
	open_at(f, 0);
	assert_null(f->journal);
	assert_non_null(strstr(f->why, "damaged"));
}

static void append_many(struct fixture *f, unsigned n)
{
	static char big[100000];

	memset(big, 'x', sizeof(big));
	while (n--) {
		assert_int_equal(xn_journal_append(f->journal, big, sizeof(big)), 0);
		assert_int_equal(sync_with(f, 0), 0);
	}
}

static size_t count_read(const struct fixture *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->read.len; i++)
		n += f->read.data[i] == '\n';
	return n;
}

static void a_full_segment_is_followed_by_the_next(void **state)
{
	struct fixture *f = *state;

	append_many(f, 130); /* 13 MB */
	reopen(f);
	assert_int_equal(count_read(f), 130);
	assert_int_equal(faccessat(f->dir_fd, "journal-00000004", F_OK, 0), 0);
}

static void what_a_killed_writer_left_is_synced_when_it_is_opened(void **state)
{
	struct fixture *f = *state;
	static char big[100000];

	for (int i = 0; i < 60; i++) /* 6 MB: two segments, and not one sync */
		assert_int_equal(xn_journal_append(f->journal, big, sizeof(big)), 0);
	close_it(f);
	synced.n = 0;
	open_at(f, 0);
	assert_int_equal(count_read(f), 60);
	assert_true(was_synced(f->dir_fd, "journal-00000001"));
	assert_true(was_synced(f->dir_fd, "journal-00000002"));
	assert_true(was_synced(f->dir_fd, "."));
}

static void a_missing_segment_is_refused(void **state)
{
	struct fixture *f = *state;

	append_many(f, 130);
	close_it(f);
	assert_int_equal(unlinkat(f->dir_fd, "journal-00000001", 0), 0);
	open_at(f, 0);
	assert_null(f->journal);
	assert_non_null(strstr(f->why, "missing"));
}

static void a_segment_missing_in_the_middle_is_refused(void **state)
{
	struct fixture *f = *state;

	append_many(f, 130);
	close_it(f);
	assert_int_equal(unlinkat(f->dir_fd, "journal-00000002", 0), 0);
	open_at(f, 0);
	assert_null(f->journal);
}

static void a_segment_without_its_head_is_as_none(void **state)
{
	struct fixture *f = *state;

	append(f, "one");
	close_it(f);
	close(openat(f->dir_fd, "journal-00000002", O_WRONLY | O_CREAT, 0600));
	open_at(f, 0);
	assert_read(f, "one\n");
	append_many(f, 60);
	reopen(f);
	assert_int_equal(count_read(f), 61);
}

static void a_record_larger_than_a_segment_is_taken(void **state)
{
	struct fixture *f = *state;
	size_t size = 9 << 20;
	char *big = malloc(size);

	memset(big, 'y', size);
	append(f, "one");
	assert_int_equal(xn_journal_append(f->journal, big, size), 0);
	append(f, "two");
	assert_int_equal(sync_with(f, 0), 0);
	append(f, "three");
	free(big);
	reopen(f);
	assert_int_equal(count_read(f), 4);
}

static void history_beyond_the_limit_is_removed(void **state)
{
	struct fixture *f = *state;
	uint64_t end;

	append_many(f, 130);
	end = xn_journal_end(f->journal);
	assert_int_equal(xn_journal_trim(f->dir_fd, end, 5 << 20), 0);
	assert_int_equal(faccessat(f->dir_fd, "journal-00000003", F_OK, 0), 0);
	assert_int_not_equal(faccessat(f->dir_fd, "journal-00000002", F_OK, 0), 0);
	close_it(f);
	open_at(f, end);
	assert_read(f, "");
}

static int ignore(void *arg, const void *bytes, size_t len)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return 0;
}

static void a_kill_while_history_is_removed_leaves_no_gap(void **state)
{
	struct fixture *f = *state;
	struct xn_journal_summary summary;
	uint64_t end;

	append_many(f, 170); /* five segments */
	end = xn_journal_end(f->journal);
	close_it(f);
	removals_left = 2;
	assert_int_equal(xn_journal_trim(f->dir_fd, end, 0), 0);
	removals_left = -1;
	if (xn_journal_check(f->dir_fd, end, ignore, NULL, &summary, &f->why) < 0)
		fail_msg("%s", f->why);
	assert_int_equal(summary.segments, 3);
	assert_int_equal(xn_journal_trim(f->dir_fd, end, 0), 0);
	assert_int_equal(xn_journal_check(f->dir_fd, end, ignore, NULL, &summary, &f->why), 0);
	assert_int_equal(summary.segments, 1);
}

/* ---- failures ---- */

static void replace(struct fixture *f)
{
	struct xn_journal_replace replacement;
	int rc;

	xn_journal_replace_begin(f->journal, 43, &replacement);
	rc = xn_journal_replace_run(&replacement);
	xn_journal_replace_end(f->journal, &replacement, rc);
	assert_int_equal(rc, 0);
}

static void a_large_record_does_not_hold_its_memory_for_ever(void **state)
{
	enum { LARGE = 2 << 20 };
	struct fixture *f = *state;
	struct xn_journal_sync sync;
	char *large = calloc(1, LARGE);

	assert_int_equal(xn_journal_append(f->journal, large, LARGE), 0);
	xn_journal_sync_begin(f->journal, &sync);
	append(f, "while it is synced");
	assert_true(xn_journal_memory(f->journal) >= LARGE);
	assert_int_equal(xn_journal_sync_run(&sync), 0);
	xn_journal_sync_end(f->journal, &sync, 0);
	assert_true(xn_journal_memory(f->journal) < LARGE / 8);
	append(f, "behind it");
	assert_int_equal(xn_journal_append(f->journal, large, LARGE), 0);
	free(large);
	assert_int_equal(sync_with(f, -EIO), -EIO);
	replace(f);
	assert_true(xn_journal_memory(f->journal) < LARGE / 8);
	reopen(f);
	assert_int_equal(count_read(f), 4);
}

static void after_a_failed_sync_nothing_is_taken_until_it_is_replaced(void **state)
{
	struct fixture *f = *state;

	append(f, "one");
	assert_int_equal(sync_with(f, 0), 0);
	append(f, "two");
	sync_with(f, -EIO);
	assert_int_equal(xn_journal_append(f->journal, "no", 2), -EIO);
	replace(f);
	append(f, "three");
	reopen(f);
	assert_read(f, "one\ntwo\nthree\n");
}

static void a_replacement_does_not_need_what_a_failed_sync_left(void **state)
{
	struct fixture *f = *state;
	uint64_t durable;

	append(f, "one");
	assert_int_equal(sync_with(f, 0), 0);
	durable = xn_journal_end(f->journal);
	append(f, "two");
	append(f, "three");
	sync_with(f, -EIO);
	replace(f);
	close_it(f);
	damage(f, "journal-00000001", file_offset(durable), "????????????????????????????????");
	open_at(f, 0);
	assert_read(f, "one\ntwo\nthree\n");
}

static void a_second_failure_is_replaced_too(void **state)
{
	struct fixture *f = *state;

	append(f, "one");
	sync_with(f, -EIO);
	replace(f);
	append(f, "two");
	sync_with(f, -EIO);
	replace(f);
	append(f, "three");
	assert_int_equal(sync_with(f, 0), 0);
	reopen(f);
	assert_read(f, "one\ntwo\nthree\n");
}

static void a_failed_sync_of_a_new_segment_leaves_none_without_its_head_behind(void **state)
{
	struct fixture *f = *state;

	append_many(f, 41);
	assert_int_equal(faccessat(f->dir_fd, "journal-00000002", F_OK, 0), -1);
	while (faccessat(f->dir_fd, "journal-00000002", F_OK, 0) < 0)
		append(f, "of the first segment, and one of the second");
	assert_int_equal(sync_with(f, -EIO), -EIO);
	damage(f, "journal-00000002", 0, "never reached the disk");
	replace(f);
	append(f, "behind it");
	assert_int_equal(sync_with(f, 0), 0);
	append(f, "the last");
	reopen(f);
	assert_non_null(f->journal);
	assert_non_null(strstr(xn_buf_cstr(&f->read), "one of the second\nbehind it\nthe last\n"));
}

#define JOURNAL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		JOURNAL(records_come_back_in_order),
		JOURNAL(a_start_reads_from_its_position_only),
		JOURNAL(a_torn_record_at_the_end_is_cut_off),
		JOURNAL(what_lies_behind_a_torn_record_does_not_come_back),
		JOURNAL(damage_in_what_was_durable_is_refused),
		JOURNAL(a_full_segment_is_followed_by_the_next),
		JOURNAL(what_a_killed_writer_left_is_synced_when_it_is_opened),
		JOURNAL(a_missing_segment_is_refused),
		JOURNAL(a_segment_missing_in_the_middle_is_refused),
		JOURNAL(a_segment_without_its_head_is_as_none),
		JOURNAL(a_record_larger_than_a_segment_is_taken),
		JOURNAL(history_beyond_the_limit_is_removed),
		JOURNAL(a_kill_while_history_is_removed_leaves_no_gap),
		JOURNAL(a_large_record_does_not_hold_its_memory_for_ever),
		JOURNAL(after_a_failed_sync_nothing_is_taken_until_it_is_replaced),
		JOURNAL(a_replacement_does_not_need_what_a_failed_sync_left),
		JOURNAL(a_second_failure_is_replaced_too),
		JOURNAL(a_failed_sync_of_a_new_segment_leaves_none_without_its_head_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
