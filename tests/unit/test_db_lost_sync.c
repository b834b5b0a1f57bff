/*
 * What clients were shown is gone without anything that looks torn, in one boot of the host. A sync
 * fails, and the kernel has dropped what it should have written: read again it is what was on
 * the disk before, without anything that looks torn. What clients were shown meanwhile is gone with
 * the next kill, and a token of it must be told so.
 */
#undef _FILE_OFFSET_BITS
#include "tests/unit/db_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static bool syncs_fail; /* this program stands in front of libc's call */

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

	if (!syncs_fail)
		return real(fd);
	errno = EIO;
	return -1;
}

struct told { /* by the child */
	uint64_t before, shown;
};

static void shell(const char *fmt, const char *a, const char *b)
{
	char *command = xn_asprintf(fmt, a, b);

	assert_int_equal(system(command), 0);
	free(command);
}

/* Shows something that no sync ever covers, and is killed. */
static void live(struct fixture *f, int pipe, bool reopens)
{
	int64_t give_up_us = 0;
	struct told told;

	start(f);
	a_vm(f, "kept");
	if (sync_all(f) < 0)
		_exit(2);
	told.before = xn_db_generation(f->db);
	shell("cp '%s/db/journal-00000001' '%s/journal.before'", f->dir, f->dir);
	syncs_fail = true;
	a_vm(f, "shown");
	if (sync_all(f) != -EIO)
		_exit(3);
	told.shown = xn_db_generation(f->db);
	if (reopens) {
		syncs_fail = false;
		while (xn_db_writable(f->db) < 0 && turn_with_patience(f->core.loop, &give_up_us))
			;
		if (xn_db_writable(f->db) < 0)
			_exit(4);
	}
	if (write(pipe, &told, sizeof(told)) != sizeof(told))
		_exit(5);
	raise(SIGKILL);
}

static struct told run_child(struct fixture *f, bool reopens)
{
	int ends[2], status;
	struct told told;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0)
		live(f, ends[1], reopens);
	close(ends[1]);
	assert_int_equal(read(ends[0], &told, sizeof(told)), sizeof(told));
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_true(told.shown > told.before);
	return told;
}

static void stamps_that_a_failed_sync_lost_are_not_given_out_again(void **state)
{
	struct fixture f = {.dir = "/tmp/xn-test-db-XXXXXX"};
	struct told told;

	assert_non_null(mkdtemp(f.dir));
	told = run_child(&f, false);
	shell("cp '%s/journal.before' '%s/db/journal-00000001'", f.dir, f.dir);
	start(&f);
	assert_int_equal(xn_db_count(f.db, XN_CLASS_VM), 1);
	assert_true(xn_db_token_is_valid(f.db, told.before - 1));
	assert_false(xn_db_token_is_valid(f.db, told.shown - 1));
	a_vm(&f, "another");
	assert_int_equal(sync_all(&f), 0);
	assert_false(xn_db_token_is_valid(f.db, told.shown - 1));
	stop(&f);
	shell("rm -rf '%s%s'", f.dir, "");
}

static void after_the_store_has_proven_itself_a_kill_loses_no_token(void **state)
{
	struct fixture f = {.dir = "/tmp/xn-test-db-XXXXXX"};
	struct told told;

	assert_non_null(mkdtemp(f.dir));
	told = run_child(&f, true);
	start(&f);
	assert_int_equal(xn_db_count(f.db, XN_CLASS_VM), 2);
	assert_true(xn_db_token_is_valid(f.db, told.shown - 1));
	stop(&f);
	shell("rm -rf '%s%s'", f.dir, "");
}

/* Where the journal's records end. */
static off_t end_of_records(const char *path)
{
	FILE *file = fopen(path, "r");
	off_t at = 0, end = 0;
	int byte;

	assert_non_null(file);
	while ((byte = getc(file)) != EOF) {
		at++;
		if (byte)
			end = at;
	}
	fclose(file);
	return (end + 7) & ~(off_t)7;
}

/* Nothing is left of what was cut off, so nobody is told that something is. */
static void assert_nothing_remains(const struct fixture *f)
{
	struct xn_config *config = xn_config_new();
	struct xn_buf report = {0}, summary = {0};

	assert_int_equal(xn_db_check_folder(f->dir, config, &report, &summary), 0);
	assert_non_null(strstr(xn_buf_cstr(&summary), "journal: "));
	assert_null(strstr(xn_buf_cstr(&summary), "remains"));
	xn_buf_clear(&report);
	xn_buf_clear(&summary);
	xn_config_free(config);
}

static void a_journal_cut_between_two_records_gives_no_stamp_out_again(void **state)
{
	struct fixture f = {.dir = "/tmp/xn-test-db-XXXXXX"};
	uint64_t before, shown;
	char *path;
	off_t end;

	assert_non_null(mkdtemp(f.dir));
	path = xn_asprintf("%s/db/journal-00000001", f.dir);
	start(&f);
	a_vm(&f, "kept");
	assert_int_equal(sync_all(&f), 0);
	before = xn_db_generation(f.db);
	end = end_of_records(path);
	a_vm(&f, "shown");
	assert_int_equal(sync_all(&f), 0);
	shown = xn_db_generation(f.db);
	f.db->error = -1; /* leaves the journal as it is */
	stop(&f);
	assert_int_equal(truncate(path, end), 0);
	assert_nothing_remains(&f);
	start(&f);
	assert_int_equal(xn_db_count(f.db, XN_CLASS_VM), 1);
	for (int i = 0; i < 10; i++)
		a_vm(&f, "another");
	assert_true(xn_db_token_is_valid(f.db, before - 1));
	assert_false(xn_db_token_is_valid(f.db, shown - 1));
	stop(&f);
	shell("rm -rf '%s%s'", f.dir, "");
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stamps_that_a_failed_sync_lost_are_not_given_out_again),
		cmocka_unit_test(after_the_store_has_proven_itself_a_kill_loses_no_token),
		cmocka_unit_test(a_journal_cut_between_two_records_gives_no_stamp_out_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
