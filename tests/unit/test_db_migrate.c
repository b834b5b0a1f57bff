/*
 * Databases of older formats, as those versions left them when they were killed: each opens, is
 * brought up to date with all its rows and tokens, and is whole; a crash at any write or sync of that
 * leaves what the next start brings up to date just so.
 *
 *	test_db_migrate FOLDER-WITH-SAMPLES    format-N.tar.gz
 */
#undef _FILE_OFFSET_BITS
#include "tests/unit/db_fixture.h"

#include "modules/db/format.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

static const char *samples;

/* ---- killed at the n-th call that changes a file: this program stands in front of libc ---- */

static int calls_left = -1; /* -1: no end */

static void count_call(void)
{
	if (calls_left == 0)
		raise(SIGKILL);
	if (calls_left > 0)
		calls_left--;
}

#define REAL(type, name, params) ((type(*) params)dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	count_call();
	return REAL(ssize_t, pwrite, (int, const void *, size_t, off_t))(fd, data, len, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
	count_call();
	return REAL(ssize_t, pwritev, (int, const struct iovec *, int, off_t))(fd, parts, n, at);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	count_call();
	return REAL(int, renameat, (int, const char *, int, const char *))(from_dir, from, to_dir, to);
}

int fdatasync(int fd)
{
	count_call();
	return REAL(int, fdatasync, (int))(fd);
}

int fsync(int fd)
{
	count_call();
	return REAL(int, fsync, (int))(fd);
}

/* ---- samples ---- */

static void shell(const char *fmt, const char *a, const char *b)
{
	char *command = xn_asprintf(fmt, a, b);

	assert_int_equal(system(command), 0);
	free(command);
}

static void unpack(struct fixture *f, int format)
{
	char *file = xn_asprintf("%s/format-%d.tar.gz", samples, format);

	shell("rm -rf '%s/db' '%s/history'", f->dir, f->dir);
	shell("tar -xzf '%s' -C '%s'", file, f->dir);
	free(file);
}

static int format_of(const struct fixture *f)
{
	char *dir = xn_asprintf("%s/db", f->dir);
	int fd = open(dir, O_RDONLY | O_DIRECTORY), format = xn_format_read(fd, dir, NULL);

	close(fd);
	free(dir);
	return format;
}

static void assert_is_the_sample(struct fixture *f, uint64_t *hash)
{
	uint64_t found = xn_db_state_hash(f->db);

	assert_clean(f);
	assert_true(xn_db_count(f->db, XN_CLASS_VM) > 10);
	assert_true(xn_db_count(f->db, XN_CLASS_session) > 0);
	assert_non_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL)); /* one was destroyed */
	if (*hash)
		assert_true(found == *hash);
	*hash = found;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-db-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc = system(command);

	free(command);
	free(f);
	return rc;
}

/* ---- tests ---- */

static void each_older_format_is_brought_up_to_date(void **state)
{
	struct fixture *f = *state;

	for (int format = 1; format < XN_DB_FORMAT; format++) {
		uint64_t hash = 0, newest;

		unpack(f, format);
		assert_int_equal(format_of(f), format);
		start(f);
		assert_is_the_sample(f, &hash);
		assert_int_equal(format_of(f), XN_DB_FORMAT);
		newest = xn_row_modified(xn_db_newest(f->db, XN_CLASS_VM));
		assert_true(xn_db_token_is_valid(f->db, newest));
		a_vm(f, "new");
		assert_int_equal(sync_all(f), 0);
		stop(f);
		start(f); /* from the checkpoint that the stop made */
		assert_clean(f);
		assert_true(xn_db_token_is_valid(f->db, newest));
		stop(f);
	}
}

/* Whether the child came to its end. */
static bool migrates_within(struct fixture *f, int calls)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		calls_left = calls;
		start(f);
		stop(f);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : status == 0);
	return !WIFSIGNALED(status);
}

static void a_crash_at_any_write_of_it_loses_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t hash = 0;
	int calls = 0;
	bool ended;

	unpack(f, 1);
	start(f);
	assert_is_the_sample(f, &hash);
	stop(f);
	do {
		unpack(f, 1);
		ended = migrates_within(f, calls++);
		assert_in_range(format_of(f), 1, XN_DB_FORMAT);
		start(f);
		assert_is_the_sample(f, &hash);
		assert_int_equal(format_of(f), XN_DB_FORMAT);
		stop(f);
		assert_true(calls < 500);
	} while (!ended);
	assert_true(calls > 5);
}

static void a_newer_format_is_refused_in_words(void **state)
{
	struct fixture *f = *state;

	unpack(f, 1);
	shell("echo 'xenolith database 3' > '%s/db/format'%s", f->dir, "");
	assert_false(try_start(f));
	assert_non_null(strstr(f->why, "has format 3, written by a newer version; this one knows"));
	stop(f);
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(each_older_format_is_brought_up_to_date),
		TEST(a_crash_at_any_write_of_it_loses_nothing),
		TEST(a_newer_format_is_refused_in_words),
	};

	if (argc != 2) {
		fputs("usage: test_db_migrate FOLDER-WITH-SAMPLES\n", stderr);
		return 2;
	}
	samples = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
