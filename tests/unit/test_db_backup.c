/*
 * Backups: what was copied while changes went on is the state of one moment; restored it is the same
 * rows and deletions, and tokens of what came after are worth nothing; a file with any bit wrong is
 * refused before anything is touched.
 */
#include "tests/unit/db_workload.h"

#include "core/state_dir.h"
#include "modules/db/backup.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { PIECE = 4096 };

struct backup_fixture {
	struct fixture db;
	char file[64], restored[64];
};

static int set_up(void **state)
{
	struct backup_fixture *f = calloc(1, sizeof(*f));

	strcpy(f->db.dir, "/tmp/xn-test-db-XXXXXX");
	if (!mkdtemp(f->db.dir))
		return -1;
	snprintf(f->file, sizeof(f->file), "%s/backup", f->db.dir);
	snprintf(f->restored, sizeof(f->restored), "%s/restored", f->db.dir);
	start(&f->db);
	*state = f;
	return 0;
}

static void turns(struct backup_fixture *f, unsigned from, unsigned to)
{
	for (unsigned k = from; k <= to; k++) {
		workload_turn(f->db.db, 7, k);
		commit(&f->db);
	}
	assert_int_equal(sync_all(&f->db), 0);
}

/* Half of what is there in the checkpoint, the rest in the journal. */
static void given_rows(struct backup_fixture *f)
{
	turns(f, 1, 60);
	restart(&f->db);
	turns(f, 61, 100);
}

/* Between two pieces @meanwhile turns go on, which are no part of it. */
static void make_backup(struct backup_fixture *f, unsigned meanwhile)
{
	struct xn_backup *backup = xn_backup_begin(f->db.db);
	int fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC, 0600), rc;
	struct xn_buf piece = {0};
	unsigned k = 1000;

	assert_non_null(backup);
	do {
		piece.len = 0;
		rc = xn_backup_write(backup, &piece, PIECE);
		assert_true(rc >= 0);
		assert_int_equal(write(fd, piece.data, piece.len), piece.len);
		if (meanwhile) {
			turns(f, k, k + meanwhile - 1);
			f->db.db->store->ops->checkpoint(f->db.db->store);
			k += meanwhile;
		}
	} while (rc == 1);
	xn_backup_end(backup);
	xn_buf_clear(&piece);
	close(fd);
}

static int restore(struct backup_fixture *f, const char *dir, bool over, char **why)
{
	struct xn_config *config = xn_config_new();
	struct xn_buf said = {0};
	int rc;

	xn_config_decide(config, "state-dir", dir);
	rc = xn_backup_restore(f->file, config, over, &said, why);
	xn_config_free(config);
	assert_int_equal(rc == 0, said.len > 0);
	xn_buf_clear(&said);
	return rc;
}

/* The restored database instead of the first; the folder's name is too long for the fixture. */
static void open_restored(struct backup_fixture *f)
{
	char *command = xn_asprintf("rm -rf '%s/db' && mv '%s/db' '%s/db'", f->db.dir, f->restored,
				    f->db.dir);

	stop(&f->db);
	assert_int_equal(system(command), 0);
	free(command);
	start(&f->db);
}

static void a_restored_database_is_what_was_backed_up(void **state)
{
	struct backup_fixture *f = *state;
	uint64_t hash, old, late;
	char *why = NULL;

	given_rows(f);
	hash = xn_db_state_hash(f->db.db);
	old = xn_db_generation(f->db.db) - 1;
	make_backup(f, 3);
	late = xn_db_generation(f->db.db) - 1;
	assert_int_not_equal(xn_db_state_hash(f->db.db), hash);
	if (restore(f, f->restored, false, &why) < 0)
		fail_msg("%s", why);
	open_restored(f);
	assert_true(xn_db_state_hash(f->db.db) == hash);
	assert_clean(&f->db);
	assert_true(xn_db_token_is_valid(f->db.db, old));
	for (uint64_t token = old + 1; token <= late; token++)
		assert_false(xn_db_token_is_valid(f->db.db, token));
	/* Nor what the original gives out after boots that the backup does not know of. */
	assert_false(xn_db_token_is_valid(f->db.db, ((late >> 32) + 3) << 32));
	turns(f, 101, 110);
	assert_clean(&f->db);
}

static void logins_are_not_restored(void **state)
{
	struct backup_fixture *f = *state;
	struct xn_row *session = a_row(&f->db, XN_CLASS_session, "auth_user_name", "root");
	char ref[48], *why = NULL;

	snprintf(ref, sizeof(ref), "%s", xn_row_ref(session));
	a_row(&f->db, XN_CLASS_task, "session", ref);
	assert_int_equal(sync_all(&f->db), 0);
	make_backup(f, 0);
	assert_int_equal(restore(f, f->restored, false, &why), 0);
	open_restored(f);
	assert_int_equal(xn_db_count(f->db.db, XN_CLASS_session), 0);
	assert_int_equal(xn_db_count(f->db.db, XN_CLASS_task), 1);
	assert_clean(&f->db);
}

static void a_folder_with_a_database_is_left_alone(void **state)
{
	struct backup_fixture *f = *state;
	char *why = NULL;

	given_rows(f);
	make_backup(f, 0);
	stop(&f->db);
	assert_int_equal(restore(f, f->db.dir, false, &why), -1);
	assert_non_null(strstr(why, "holds a database already"));
	free(why);
	start(&f->db);
}

static void one_that_is_told_to_be_replaced_is_kept_beside(void **state)
{
	struct backup_fixture *f = *state;
	char *replaced = xn_asprintf("%s/db.replaced/format", f->db.dir), *why = NULL;
	uint64_t hash;

	given_rows(f);
	hash = xn_db_state_hash(f->db.db);
	make_backup(f, 0);
	turns(f, 101, 120);
	stop(&f->db);
	if (restore(f, f->db.dir, true, &why) < 0)
		fail_msg("%s", why);
	assert_int_equal(access(replaced, F_OK), 0);
	start(&f->db);
	assert_true(xn_db_state_hash(f->db.db) == hash);
	free(replaced);
}

static void a_folder_in_use_is_not_restored_into(void **state)
{
	struct backup_fixture *f = *state;
	char *why = NULL;
	int lock;

	make_backup(f, 0);
	lock = xn_state_dir_hold(f->restored, "auto", &why);
	assert_true(lock >= 0);
	assert_int_equal(restore(f, f->restored, false, &why), -1);
	assert_non_null(strstr(why, "is in use by process"));
	free(why);
	close(lock);
}

/* ---- files that are not whole ---- */

static void assert_refused(struct backup_fixture *f, size_t at, const char *how)
{
	char *why = NULL;

	if (restore(f, f->restored, false, &why) == 0)
		fail_msg("byte %zu %s, and it was restored", at, how);
	assert_non_null(why);
	assert_int_equal(access(f->restored, F_OK), -1);
	free(why);
}

static char *read_backup(struct backup_fixture *f, size_t *size)
{
	int fd = open(f->file, O_RDONLY);
	struct stat st;
	char *bytes;

	assert_int_equal(fstat(fd, &st), 0);
	*size = (size_t)st.st_size;
	bytes = malloc(*size);
	assert_int_equal(read(fd, bytes, *size), *size);
	close(fd);
	return bytes;
}

static void write_backup(struct backup_fixture *f, const char *bytes, size_t size)
{
	int fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static void a_file_with_a_wrong_bit_anywhere_is_refused(void **state)
{
	struct backup_fixture *f = *state;
	size_t size, step;
	char *bytes;

	given_rows(f);
	make_backup(f, 0);
	bytes = read_backup(f, &size);
	step = size / 300 + 1;
	for (size_t at = 0; at < size; at += at < 100 || at > size - 40 ? 1 : step) {
		bytes[at] = (char)(bytes[at] ^ 1 << at % 8);
		write_backup(f, bytes, size);
		assert_refused(f, at, "was changed");
		bytes[at] = (char)(bytes[at] ^ 1 << at % 8);
	}
	free(bytes);
}

static void a_file_that_ends_too_early_or_too_late_is_refused(void **state)
{
	struct backup_fixture *f = *state;
	size_t size, step;
	char *bytes;

	given_rows(f);
	make_backup(f, 0);
	bytes = read_backup(f, &size);
	step = size / 100 + 1;
	for (size_t at = 0; at < size; at += at < 100 || at > size - 40 ? 1 : step) {
		write_backup(f, bytes, at);
		assert_refused(f, at, "was the last");
	}
	bytes = realloc(bytes, size + 1);
	bytes[size] = 0;
	write_backup(f, bytes, size + 1);
	assert_refused(f, size, "is too many");
	free(bytes);
}

static int tear_down(void **state)
{
	struct backup_fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->db.dir);
	int rc;

	stop(&f->db);
	rc = system(command);
	free(command);
	free(f);
	return rc;
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_restored_database_is_what_was_backed_up),
		TEST(logins_are_not_restored),
		TEST(a_folder_with_a_database_is_left_alone),
		TEST(one_that_is_told_to_be_replaced_is_kept_beside),
		TEST(a_folder_in_use_is_not_restored_into),
		TEST(a_file_with_a_wrong_bit_anywhere_is_refused),
		TEST(a_file_that_ends_too_early_or_too_late_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
