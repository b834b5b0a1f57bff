/*
 * The audit log's lines, files and the proof of its chain: whatever is done to the files, the check
 * names it; what a crash leaves is told and goes on.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/audit/audit_internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[32], folder[48];
	struct xn_config *config;
	struct audit_writer writer;
	struct audit_tail tail;
	struct audit_head head;
	struct xn_buf report, summary;
};

/* This program stands in front of libc: a disk that has room, or not. */
static int no_room;
static uint64_t room_end; /* of the last that was asked for */

int fallocate(int fd, int mode, off_t at, off_t len)
{
	room_end = (uint64_t)(at + len);
	errno = no_room;
	return no_room ? -1 : 0;
}

/*
 * And a disk that takes syncs or not. What the kernel could not write it calls written from then
 * on: of a file whose sync failed nothing more comes to the disk, though the next sync succeeds.
 */
enum { MAX_FILES = 16 };
static struct on_disk {
	ino_t ino;
	off_t durable;
	bool is_lost;
} on_disk[MAX_FILES];
static int spared_syncs, failing_syncs; /* first those, then these */

static struct on_disk *find_on_disk(ino_t ino)
{
	for (int i = 0; i < MAX_FILES; i++)
		if (on_disk[i].ino == ino)
			return &on_disk[i];
	return NULL;
}

static int sync_file(int fd)
{
	struct on_disk *file;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	file = find_on_disk(st.st_ino);
	file = file ? file : find_on_disk(0);
	assert_non_null(file);
	file->ino = st.st_ino;
	if (spared_syncs-- <= 0 && failing_syncs-- > 0) {
		file->is_lost = true;
		errno = EIO;
		return -1;
	}
	if (!file->is_lost)
		file->durable = st.st_size;
	return 0;
}

int fdatasync(int fd)
{
	return sync_file(fd);
}

int fsync(int fd)
{
	return sync_file(fd);
}

/* A file that is made later may be given the number of one that is gone. */
static void forget(int dir_fd, const char *name)
{
	struct on_disk *file;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	file = find_on_disk(st.st_ino);
	if (file)
		*file = (struct on_disk){0};
}

int unlinkat(int dir_fd, const char *name, int flags)
{
	int (*real)(int, const char *, int) = (typeof(real))dlsym(RTLD_NEXT, "unlinkat");

	forget(dir_fd, name);
	return real(dir_fd, name, flags);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *) =
		(typeof(real))dlsym(RTLD_NEXT, "renameat");

	forget(to_fd, to);
	return real(from_fd, from, to_fd, to);
}

static void syncs_fail(int spared, int failing)
{
	spared_syncs = spared;
	failing_syncs = failing;
}

/* Of the file @name stays what a sync brought to the disk. */
static void lose_power_over(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDWR);
	const struct on_disk *file;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	file = find_on_disk(st.st_ino);
	assert_int_equal(ftruncate(fd, file ? file->durable : 0), 0);
	close(fd);
}

static void lose_power(struct fixture *f)
{
	struct audit_file *files;
	char name[48];
	size_t n;

	assert_int_equal(audit_files_list(f->writer.dir_fd, &files, &n), 0);
	for (size_t i = 0; i < n; i++) {
		audit_file_name(files[i].first, name);
		lose_power_over(f->writer.dir_fd, name);
	}
	free(files);
}

static void open_writer_synced_to(struct fixture *f, uint64_t max_size, uint64_t synced)
{
	assert_int_equal(audit_writer_open(&f->writer, f->folder, max_size, synced, &f->tail), 0);
	f->head = f->tail.head;
}

static void open_writer(struct fixture *f, uint64_t max_size)
{
	open_writer_synced_to(f, max_size, UINT64_MAX);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-audit-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->folder, sizeof(f->folder), "%s/audit", f->dir);
	f->config = xn_config_new();
	memset(on_disk, 0, sizeof(on_disk));
	syncs_fail(0, 0);
	open_writer(f, 1 << 20);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc = system(command);

	audit_writer_close(&f->writer);
	xn_config_free(f->config);
	xn_buf_clear(&f->report);
	xn_buf_clear(&f->summary);
	free(command);
	free(f);
	return rc;
}

/* ---- given ---- */

static void add_line(struct fixture *f, const char *event, const char *members)
{
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};
	uint64_t seq = f->head.seq + 1;

	audit_line_begin(&line, &f->head, (int64_t)seq * 1000000, event);
	xn_buf_add_string(&line, members);
	audit_line_end(&line, &f->head);
	assert_true(audit_writer_append(&f->writer, line.data, line.len, seq) >= 0);
}

static void given_lines(struct fixture *f, int n)
{
	while (n--)
		add_line(f, "call", ",\"method\":\"VM.start\"");
}

static char *path_of(const struct fixture *f, uint64_t first)
{
	char name[48];

	audit_file_name(first, name);
	return xn_asprintf("%s/%s", f->folder, name);
}

/* The lines of the file that begins with line @first; the caller frees. */
static char *read_file(const struct fixture *f, uint64_t first)
{
	char *path XN_CLEANUP(xn_free_p) = path_of(f, first);
	FILE *file = fopen(path, "r");
	char *text = xn_calloc(1, 1 << 20);

	assert_non_null(file);
	(void)!fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	return text;
}

static void write_file(const struct fixture *f, uint64_t first, const char *text, size_t len)
{
	char *path XN_CLEANUP(xn_free_p) = path_of(f, first);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
}

static char *nth_line(char *text, int n)
{
	while (--n)
		text = strchr(text, '\n') + 1;
	return text;
}

/* ---- then ---- */

static unsigned check(struct fixture *f)
{
	f->report.len = f->summary.len = 0;
	return xn_audit_check(f->dir, f->config, &f->report, &f->summary);
}

static void assert_clean(struct fixture *f)
{
	if (check(f))
		fail_msg("%s", xn_buf_cstr(&f->report));
}

static void assert_finding(struct fixture *f, const char *part)
{
	assert_true(check(f) > 0);
	if (!strstr(xn_buf_cstr(&f->report), part))
		fail_msg("no \"%s\" in: %s", part, xn_buf_cstr(&f->report));
}

/* ---- lines ---- */

static void a_line_is_read_back_as_it_was_written(void **state)
{
	struct audit_head head = {0}, before;
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct audit_line line;

	for (int i = 1; i <= 3; i++) {
		before = head;
		audit_line_begin(&text, &head, INT64_C(1700000000123456), "denied");
		xn_buf_add_string(&text, ",\"user\":\"a\\\"b\"");
		audit_line_end(&text, &head);
		assert_int_equal(audit_line_read(text.data, text.len - 1, &line), 0);
		assert_true(line.is_whole);
		assert_int_equal(line.seq, i);
		assert_string_equal(line.time, "2023-11-14T22:13:20.123456Z");
		assert_string_equal(line.event, "denied");
		assert_string_equal(line.prev, before.seq ? before.hash : audit_no_hash);
		assert_string_equal(line.hash, head.hash);
	}
}

/* Only what a writer can have written, and go on from. */
static void a_number_without_a_next_one_is_no_lines(void **state)
{
	static const uint64_t last[] = {INT64_MAX - 2, INT64_MAX - 1};

	for (size_t i = 0; i < XN_ARRAY_SIZE(last); i++) {
		struct audit_head head = {.seq = last[i]};
		struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
		struct audit_line line;

		memset(head.hash, 'a', sizeof(head.hash) - 1);
		audit_line_begin(&text, &head, 1, "call");
		audit_line_end(&text, &head);
		assert_int_equal(audit_line_read(text.data, text.len - 1, &line),
				 i ? -EBADMSG : 0);
	}
}

static void every_changed_byte_of_a_line_shows(void **state)
{
	struct audit_head head = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct audit_line line;

	audit_line_begin(&text, &head, 5, "call");
	audit_line_end(&text, &head);
	for (size_t i = 0; i + 1 < text.len; i++) {
		text.data[i] ^= 1;
		if (audit_line_read(text.data, text.len - 1, &line) == 0)
			assert_false(line.is_whole);
		text.data[i] ^= 1;
	}
}

static void what_is_no_line_is_refused_at_any_length(void **state)
{
	struct audit_head head = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct audit_line line;

	audit_line_begin(&text, &head, 5, "call");
	audit_line_end(&text, &head);
	for (size_t len = 0; len + 1 < text.len; len++)
		assert_int_equal(audit_line_read(text.data, len, &line), -EBADMSG);
}

/* ---- the chain ---- */

static void an_untouched_log_is_clean(void **state)
{
	struct fixture *f = *state;

	given_lines(f, 10);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "10 lines, number 1 of"));
	assert_non_null(strstr(xn_buf_cstr(&f->summary), f->head.hash));
}

static void a_changed_line_is_named(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;

	given_lines(f, 10);
	text = read_file(f, 1);
	memcpy(strstr(nth_line(text, 4), "VM.start"), "VM.stork", 8);
	write_file(f, 1, text, strlen(text));
	assert_finding(f, "line 4: number 4 was changed");
	assert_int_equal(check(f), 1);
}

static void a_changed_line_with_a_new_hash_of_its_own_does_not_fit_the_next(void **state)
{
	struct fixture *f = *state;
	struct audit_head forged;
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf whole XN_CLEANUP(xn_buf_clear_p) = {0};
	char *text XN_CLEANUP(xn_free_p) = NULL;
	struct audit_line third;

	given_lines(f, 10);
	text = read_file(f, 1);
	assert_int_equal(audit_line_read(nth_line(text, 3),
					 (size_t)(nth_line(text, 4) - nth_line(text, 3) - 1),
					 &third), 0);
	forged.seq = 3;
	memcpy(forged.hash, third.hash, sizeof(third.hash));
	audit_line_begin(&line, &forged, 4000000, "call");
	xn_buf_add_string(&line, ",\"method\":\"VM.stop\"");
	audit_line_end(&line, &forged);
	xn_buf_add(&whole, text, (size_t)(nth_line(text, 4) - text));
	xn_buf_add(&whole, line.data, line.len);
	xn_buf_add_string(&whole, nth_line(text, 5));
	write_file(f, 1, whole.data, whole.len);
	assert_finding(f, "line 5: does not follow the line before it");
}

static void a_line_that_was_taken_out_is_missed(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;

	given_lines(f, 10);
	text = read_file(f, 1);
	memmove(nth_line(text, 4), nth_line(text, 6), strlen(nth_line(text, 6)) + 1);
	write_file(f, 1, text, strlen(text));
	assert_finding(f, "line 4: lines 4 to 5 are missing");
}

static void lines_that_changed_places_are_named(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;
	size_t len;
	char *copy;

	given_lines(f, 9); /* of the same length */
	text = read_file(f, 1);
	len = (size_t)(nth_line(text, 5) - nth_line(text, 4));
	copy = xn_strndup(nth_line(text, 4), len);
	memmove(nth_line(text, 4), nth_line(text, 5), len);
	memcpy(nth_line(text, 5), copy, len);
	free(copy);
	write_file(f, 1, text, strlen(text));
	assert_finding(f, "line 5: number 4 stands behind number 5");
}

static void a_beginning_that_was_cut_off_is_named(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;

	given_lines(f, 10);
	text = read_file(f, 1);
	write_file(f, 1, nth_line(text, 3), strlen(nth_line(text, 3)));
	assert_finding(f, "lines 1 to 2 are missing: the log itself knows of none");
}

static void a_line_of_something_else_is_named(void **state)
{
	struct fixture *f = *state;

	given_lines(f, 2);
	assert_int_equal(audit_writer_append(&f->writer, "hello\n", 6, 3), 0);
	assert_finding(f, "line 3: no line of an audit log");
}

static void no_folder_is_a_finding(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rmdir(f->folder), 0);
	assert_finding(f, "No such file or directory");
}

/* ---- files ---- */

static void reopen(struct fixture *f, uint64_t max_size)
{
	audit_writer_close(&f->writer);
	open_writer(f, max_size);
}

static void the_chain_goes_on_in_further_files(void **state)
{
	struct fixture *f = *state;
	struct audit_file *files;
	size_t n;

	f->writer.max_size = 1000;
	given_lines(f, 30);
	assert_int_equal(audit_files_list(f->writer.dir_fd, &files, &n), 0);
	assert_true(n > 5);
	for (size_t i = 0; i < n; i++)
		assert_true(files[i].size <= 1000);
	free(files);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "30 lines"));
}

static void a_file_that_is_gone_from_the_middle_is_missed(void **state)
{
	struct fixture *f = *state;
	struct audit_file *files;
	char *path, *missing;
	size_t n;

	f->writer.max_size = 1000;
	given_lines(f, 30);
	assert_int_equal(audit_files_list(f->writer.dir_fd, &files, &n), 0);
	path = path_of(f, files[2].first);
	missing = xn_asprintf("lines %" PRIu64 " to %" PRIu64 " are missing", files[2].first,
			      files[3].first - 1);
	assert_int_equal(unlink(path), 0);
	assert_finding(f, missing);
	free(files);
	free(path);
	free(missing);
}

static void old_files_go_once_the_log_says_so_and_only_those(void **state)
{
	struct fixture *f = *state;
	struct audit_file *files;
	char *told, *path;
	uint64_t keep;
	size_t n;

	f->writer.max_size = 1000;
	given_lines(f, 30);
	keep = audit_files_keep_from(f->writer.dir_fd, 3000, INT64_MIN);
	assert_true(keep > 1);
	told = xn_asprintf(",\"method\":\"old lines are removed\",\"first\":%" PRIu64, keep);
	add_line(f, "daemon", told);
	audit_files_remove_below(f->writer.dir_fd, keep);
	assert_clean(f);
	assert_int_equal(audit_files_list(f->writer.dir_fd, &files, &n), 0);
	assert_int_equal(files[0].first, keep);
	assert_int_equal(audit_files_keep_from(f->writer.dir_fd, 1 << 20, INT64_MIN), 0);

	path = path_of(f, keep); /* one more than was told */
	assert_int_equal(unlink(path), 0);
	assert_finding(f, "the log itself knows of fewer that were removed");
	free(files);
	free(told);
	free(path);
}

static void files_go_by_age_but_never_the_newest(void **state)
{
	struct fixture *f = *state;

	f->writer.max_size = 1000;
	given_lines(f, 30);
	assert_int_equal(audit_files_keep_from(f->writer.dir_fd, UINT64_MAX, 0), 0);
	audit_files_remove_below(f->writer.dir_fd,
				 audit_files_keep_from(f->writer.dir_fd, UINT64_MAX, INT64_MAX));
	assert_int_equal(audit_files_keep_from(f->writer.dir_fd, 0, INT64_MAX), 0);
	reopen(f, 1000);
	assert_int_equal(f->head.seq, 30);
}

/* ---- after a crash ---- */

static void a_line_that_a_crash_cut_off_is_removed_and_told_at_any_length(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;
	size_t whole, len;

	given_lines(f, 3);
	text = read_file(f, 1);
	whole = (size_t)(nth_line(text, 3) - text);
	len = strlen(text);
	for (size_t cut = whole; cut < len; cut++) {
		write_file(f, 1, text, cut);
		if (cut > whole) {
			assert_clean(f);
			assert_non_null(strstr(xn_buf_cstr(&f->summary), "is not whole"));
		}
		reopen(f, 1 << 20);
		assert_int_equal(f->tail.torn_bytes, cut - whole);
		assert_int_equal(f->head.seq, 2);
		given_lines(f, 2);
		assert_clean(f);
	}
}

static void a_file_without_a_whole_line_is_begun_again(void **state)
{
	struct fixture *f = *state;

	given_lines(f, 3);
	write_file(f, 4, "{\"seq\":4,\"ti", 12);
	reopen(f, 1 << 20);
	assert_int_equal(f->tail.torn_bytes, 12);
	assert_int_equal(f->head.seq, 3);
	given_lines(f, 1);
	assert_clean(f);
}

static void a_damaged_last_line_is_left_as_it_is(void **state)
{
	struct fixture *f = *state;
	char *text XN_CLEANUP(xn_free_p) = NULL;

	given_lines(f, 3);
	text = read_file(f, 1);
	memcpy(strstr(nth_line(text, 3), "VM.start"), "VM.stork", 8);
	write_file(f, 1, text, strlen(text));
	reopen(f, 1 << 20);
	assert_true(f->tail.is_damaged);
	assert_finding(f, "line 3: number 3 was changed");
}

static void no_number_of_a_damaged_end_is_given_again(void **state)
{
	struct fixture *f = *state;
	char *before XN_CLEANUP(xn_free_p) = NULL, *after XN_CLEANUP(xn_free_p) = NULL;

	given_lines(f, 2);
	before = read_file(f, 1);
	write_file(f, 3, "no line\nno line\n", 16);
	reopen(f, 1 << 20);
	assert_true(f->tail.is_damaged);
	assert_int_equal(f->head.seq, 4);
	assert_string_equal(f->head.hash, audit_no_hash);
	given_lines(f, 1);
	assert_finding(f, "line 2: no line of an audit log");
	after = read_file(f, 1);
	assert_string_equal(after, before);
}

/* ---- syncs that fail ---- */

/* Until it succeeds; so often it failed. Whenever the daemon is killed the log is whole. */
static int sync_until_it_succeeds(struct fixture *f)
{
	int failed = 0;

	while (audit_writer_sync(&f->writer) < 0) {
		assert_clean(f);
		assert_in_range(++failed, 1, 10);
	}
	return failed;
}

/* After a good one @failing syncs fail, each of another file or of the folder. */
static void syncs_fail_between_lines(struct fixture *f, int failing)
{
	given_lines(f, 10);
	assert_int_equal(audit_writer_sync(&f->writer), 0);
	given_lines(f, 10);
	syncs_fail(0, failing);
	assert_int_equal(sync_until_it_succeeds(f), failing);
	given_lines(f, 5);
	assert_int_equal(audit_writer_sync(&f->writer), 0);
	lose_power(f);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "25 lines, number 1 of"));
}

static void lines_of_a_sync_that_failed_are_on_the_disk_when_the_next_succeeds(void **state)
{
	syncs_fail_between_lines(*state, 1);
}

static void so_are_they_when_the_syncs_of_the_file_in_its_place_fail_as_well(void **state)
{
	syncs_fail_between_lines(*state, 4);
}

static void what_none_but_the_folders_sync_kept_off_the_disk_is_written_anew(void **state)
{
	struct fixture *f = *state;

	given_lines(f, 10);
	syncs_fail(0, 1);
	assert_int_equal(audit_writer_sync(&f->writer), -EIO);
	syncs_fail(1, 1);
	assert_int_equal(sync_until_it_succeeds(f), 1);
	assert_true(f->writer.unsynced.len == 0);
	lose_power(f);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "10 lines, number 1 of"));
}

static void a_sync_that_fails_at_the_end_of_a_file_is_mended_before_the_next_one(void **state)
{
	struct fixture *f = *state;
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};

	given_lines(f, 10);
	f->writer.max_size = f->writer.size;
	syncs_fail(0, 1);
	audit_line_begin(&line, &f->head, 11000000, "call");
	audit_line_end(&line, &f->head);
	assert_int_equal(audit_writer_append(&f->writer, line.data, line.len, 11), -EIO);
	assert_int_equal(audit_writer_append(&f->writer, line.data, line.len, 11), 1);
	assert_int_equal(audit_writer_sync(&f->writer), 0);
	lose_power(f);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "11 lines, number 1 of"));
}

static void lines_that_a_daemon_could_not_sync_are_written_anew_by_the_next(void **state)
{
	struct fixture *f = *state;

	given_lines(f, 10);
	syncs_fail(0, 1);
	assert_int_equal(audit_writer_sync(&f->writer), -EIO);
	audit_writer_close(&f->writer);
	open_writer_synced_to(f, 1 << 20, 9);
	given_lines(f, 1);
	assert_int_equal(audit_writer_sync(&f->writer), 0);
	lose_power(f);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "11 lines, number 1 of"));
}

static void what_is_kept_of_unsynced_lines_is_bounded(void **state)
{
	struct fixture *f = *state;
	char *text = xn_calloc(1, 1 << 20);

	f->writer.max_size = 64 << 20;
	for (int i = 0; i < 20; i++) {
		assert_true(audit_writer_append(&f->writer, text, 1 << 20, 1) >= 0);
		assert_in_range(f->writer.unsynced.len, 1 << 20, 4 << 20);
	}
	free(text);
}

/* ---- lines since a time ---- */

static void lines_since_a_time_are_those_and_no_others(void **state)
{
	struct fixture *f = *state;
	struct xn_audit_reader *reader;
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	int rc;

	f->writer.max_size = 1000;
	given_lines(f, 30);
	reader = xn_audit_read(f->dir, "1970-01-01T00:00:28", &rc);
	assert_non_null(reader);
	while ((rc = xn_audit_read_next(reader, 100, &out)) > 0)
		;
	xn_audit_read_end(reader);
	assert_int_equal(rc, 0);
	assert_memory_equal(out.data, "{\"seq\":28,", 10);
	assert_non_null(strstr(xn_buf_cstr(&out), "{\"seq\":30,"));
}

/* ---- from calls to the files ---- */

static int wait_rc;

static void on_written(struct xn_audit_wait *wait, int rc)
{
	wait_rc = rc;
}

/* As from a callback: a turn is due. */
static uint64_t add(struct xn_audit *audit)
{
	const struct xn_audit_entry entry = {.event = XN_AUDIT_CALL, .method = "VM.start"};

	xn_timer_arm(audit->core->loop, &audit->trim, 0, audit->trim.run);
	return xn_audit_add(audit, &entry);
}

static void turn_until(struct xn_audit *audit, uint64_t written)
{
	for (int i = 0; i < 100 && audit->written.seq < written; i++)
		xn_loop_turn(audit->core->loop, 100000);
	assert_int_equal(audit->written.seq, written);
	audit->anchored = audit->written; /* so that no database is asked for */
}

static void given_running(struct fixture *f, struct xn_core *core, struct xn_audit *audit)
{
	xn_core_init(core, xn_loop_new_virtual(1), xn_log_new(XN_LOG_ERROR, false, -1), f->config);
	*audit = (struct xn_audit){.core = core, .is_open = true, .writer = f->writer};
	f->writer = (struct audit_writer){.dir_fd = -1, .fd = -1};
	xn_list_init(&audit->waits);
	xn_list_init(&audit->due);
	audit_writing_start(audit);
}

static void stop(struct xn_audit *audit)
{
	struct xn_core *core = audit->core;
	struct xn_loop *loop = core->loop;
	struct xn_log *log = core->log;

	audit->anchored = audit->written; /* there is no database here to be told */
	audit_writing_stop(audit);
	audit_writer_close(&audit->writer);
	xn_core_clear(core);
	xn_log_free(log);
	xn_loop_free(loop);
}

static void entries_of_a_turn_are_one_batch_in_the_order_in_which_they_came(void **state)
{
	struct fixture *f = *state;
	struct xn_audit audit;
	struct xn_core core;

	given_running(f, &core, &audit);
	for (uint64_t n = 1; n <= 100; n++)
		assert_int_equal(add(&audit), n);
	turn_until(&audit, 100);
	assert_int_equal(audit.batches, 1);
	stop(&audit);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "100 lines, number 1 of"));
}

static void what_the_disk_refuses_is_told_and_written_once_when_it_takes_it(void **state)
{
	struct xn_audit_wait wait = {0};
	struct fixture *f = *state;
	struct xn_audit audit;
	struct xn_core core;
	int file;

	given_running(f, &core, &audit);
	add(&audit);
	turn_until(&audit, 1);
	file = audit.writer.fd;
	audit.writer.fd = open("/dev/null", O_RDONLY);
	wait_rc = 1;
	xn_audit_when_written(&audit, &wait, add(&audit), on_written);
	while (wait_rc > 0)
		xn_loop_turn(core.loop, 100000);
	assert_int_equal(wait_rc, -EBADF);
	assert_int_equal(xn_audit_writable(&audit), -EBADF);
	add(&audit);
	close(audit.writer.fd);
	audit.writer.fd = file;
	room_end = 0;
	turn_until(&audit, 3);
	assert_int_equal(xn_audit_writable(&audit), 0);
	assert_true(room_end > audit.writer.size); /* what was kept went with what was half written */
	stop(&audit);
	assert_clean(f);
	assert_non_null(strstr(xn_buf_cstr(&f->summary), "3 lines, number 1 of"));
}

/* One of many who wait for lines of one batch. */
struct waiter {
	struct xn_audit_wait wait;
	struct waiter *cancels; /* when it is told, or NULL */
	struct xn_loop *loop;
};

static int n_told, n_told_before_others; /* before a job that was asked for at the first one */
static struct xn_job others;

static void on_others(struct xn_job *job)
{
	n_told_before_others = n_told;
}

static void on_told(struct xn_audit_wait *wait, int rc)
{
	struct waiter *waiter = xn_container_of(wait, struct waiter, wait);

	if (n_told++ == 0 && rc == 0)
		xn_loop_defer(waiter->loop, &others, XN_PRIO_REPLY, on_others);
	if (waiter->cancels)
		xn_audit_wait_cancel(&waiter->cancels->wait);
}

enum { MANY = 200 };

static void given_many_who_wait(struct xn_audit *audit, struct waiter *waiters, uint64_t seq)
{
	n_told = n_told_before_others = 0;
	for (int i = 0; i < MANY; i++) {
		waiters[i] = (struct waiter){.loop = audit->core->loop};
		xn_audit_when_written(audit, &waiters[i].wait, seq, on_told);
	}
}

static void many_who_wait_are_told_a_few_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct waiter waiters[MANY];
	struct xn_audit audit;
	struct xn_core core;

	given_running(f, &core, &audit);
	given_many_who_wait(&audit, waiters, add(&audit));
	waiters[0].cancels = &waiters[1];	 /* of the same slice, ... */
	waiters[2].cancels = &waiters[MANY - 1]; /* ... and of the last one */
	while (n_told < MANY - 2)
		xn_loop_turn(core.loop, 100000);
	xn_loop_turn(core.loop, 100000);
	assert_int_equal(n_told, MANY - 2);
	assert_in_range(n_told_before_others, 1, 32);
	assert_true(xn_list_empty(&audit.due));
	stop(&audit);
}

static void who_waits_at_the_stop_is_told_all_the_same(void **state)
{
	struct fixture *f = *state;
	struct waiter waiters[MANY];
	struct xn_audit audit;
	struct xn_core core;

	given_running(f, &core, &audit);
	turn_until(&audit, add(&audit));
	given_many_who_wait(&audit, waiters, 1);
	stop(&audit);
	assert_int_equal(n_told, MANY);
}

static const struct xn_audit_entry denied_entry = {.event = XN_AUDIT_DENIED, .method = "VM.start"};

static void denied_calls_do_not_take_the_room_of_others_nor_work_that_of_logins(void **state)
{
	struct fixture *f = *state;
	struct xn_audit audit;
	struct xn_core core;
	size_t len;

	given_running(f, &core, &audit);
	do {
		len = audit.queue.len;
		audit.credit = AUDIT_DENIED_BURST; /* however slowly they come */
	} while (xn_audit_add(&audit, &denied_entry));
	assert_int_equal(xn_audit_add(&audit, &denied_entry), 0);
	assert_int_equal(audit.queue.len, len);
	assert_int_equal(xn_audit_has_room(&audit, XN_AUDIT_DENIALS), -EBUSY);
	assert_int_equal(xn_audit_has_room(&audit, XN_AUDIT_WORK), 0);
	while (xn_audit_has_room(&audit, XN_AUDIT_WORK) == 0)
		add(&audit);
	assert_int_equal(xn_audit_writable(&audit), -EBUSY);
	while (xn_audit_has_room(&audit, XN_AUDIT_LOGINS) == 0)
		add(&audit);
	assert_int_equal(xn_audit_has_room(&audit, XN_AUDIT_LOCAL), 0);
	assert_true(AUDIT_QUEUE_MAX - audit.queue.len > 500 << 10);
	audit.queue.len = 0; /* no turn has written them */
	stop(&audit);
}

/* What runs when the disk gets full still has its lines: nothing is done and then called refused. */
static void a_full_disk_refuses_changes_before_lines_have_no_room(void **state)
{
	struct xn_audit_wait wait = {0};
	struct fixture *f = *state;
	struct xn_audit audit;
	struct xn_core core;
	uint64_t written = 0;

	given_running(f, &core, &audit);
	turn_until(&audit, add(&audit));
	assert_int_equal(xn_audit_writable(&audit), 0);
	no_room = ENOSPC;
	while (xn_audit_writable(&audit) == 0) {
		wait_rc = 1;
		xn_audit_when_written(&audit, &wait, add(&audit), on_written);
		turn_until(&audit, ++written + 1);
		assert_int_equal(wait_rc, 0);
	}
	assert_int_equal(xn_audit_writable(&audit), -ENOSPC);
	assert_true(audit.writer.size + (100 << 10) < audit.writer.reserved);
	for (int i = 0; i < 10; i++) /* of calls that were let in before */
		turn_until(&audit, add(&audit));
	assert_int_equal(xn_audit_writable(&audit), -ENOSPC);
	no_room = 0;
	while (xn_audit_writable(&audit) < 0)
		xn_loop_turn(core.loop, 100000);
	assert_int_equal(room_end, audit.writer.reserved);
	stop(&audit);
	assert_clean(f);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_read_back_as_it_was_written),
		cmocka_unit_test(every_changed_byte_of_a_line_shows),
		cmocka_unit_test(a_number_without_a_next_one_is_no_lines),
		cmocka_unit_test(what_is_no_line_is_refused_at_any_length),
		TEST(an_untouched_log_is_clean),
		TEST(a_changed_line_is_named),
		TEST(a_changed_line_with_a_new_hash_of_its_own_does_not_fit_the_next),
		TEST(a_line_that_was_taken_out_is_missed),
		TEST(lines_that_changed_places_are_named),
		TEST(a_beginning_that_was_cut_off_is_named),
		TEST(a_line_of_something_else_is_named),
		TEST(no_folder_is_a_finding),
		TEST(the_chain_goes_on_in_further_files),
		TEST(a_file_that_is_gone_from_the_middle_is_missed),
		TEST(old_files_go_once_the_log_says_so_and_only_those),
		TEST(files_go_by_age_but_never_the_newest),
		TEST(a_line_that_a_crash_cut_off_is_removed_and_told_at_any_length),
		TEST(a_file_without_a_whole_line_is_begun_again),
		TEST(a_damaged_last_line_is_left_as_it_is),
		TEST(no_number_of_a_damaged_end_is_given_again),
		TEST(lines_of_a_sync_that_failed_are_on_the_disk_when_the_next_succeeds),
		TEST(so_are_they_when_the_syncs_of_the_file_in_its_place_fail_as_well),
		TEST(what_none_but_the_folders_sync_kept_off_the_disk_is_written_anew),
		TEST(a_sync_that_fails_at_the_end_of_a_file_is_mended_before_the_next_one),
		TEST(lines_that_a_daemon_could_not_sync_are_written_anew_by_the_next),
		TEST(what_is_kept_of_unsynced_lines_is_bounded),
		TEST(lines_since_a_time_are_those_and_no_others),
		TEST(entries_of_a_turn_are_one_batch_in_the_order_in_which_they_came),
		TEST(what_the_disk_refuses_is_told_and_written_once_when_it_takes_it),
		TEST(many_who_wait_are_told_a_few_at_a_time),
		TEST(who_waits_at_the_stop_is_told_all_the_same),
		TEST(denied_calls_do_not_take_the_room_of_others_nor_work_that_of_logins),
		TEST(a_full_disk_refuses_changes_before_lines_have_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
