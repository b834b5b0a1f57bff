/* The checkpoint's file: what was committed is read, what was not is not, damage is seen. */
#include "tests/unit/cmocka_all.h"

#include "modules/db/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[40];
	int dir_fd;
	struct xn_buf read; /* key=value; of the last reading */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-checkpoint-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc = system(command);

	free(command);
	close(f->dir_fd);
	xn_buf_clear(&f->read);
	free(f);
	return rc;
}

static int on_entry(void *arg, enum xn_space space, const void *key, size_t key_len,
		    const void *value, size_t len)
{
	struct fixture *f = arg;

	xn_buf_add(&f->read, key, key_len);
	xn_buf_add_char(&f->read, '=');
	xn_buf_add(&f->read, value, len);
	xn_buf_add_char(&f->read, ';');
	return 0;
}

static int read_all(struct fixture *f, uint64_t *position)
{
	static const struct xn_store_reader reader = {.entry = on_entry};

	f->read.len = 0;
	return xn_checkpoint_read(f->dir, &reader, f, position);
}

static void assert_holds(struct fixture *f, const char *text, uint64_t position)
{
	uint64_t found;

	assert_int_equal(read_all(f, &found), 0);
	assert_int_equal(found, position);
	assert_string_equal(xn_buf_cstr(&f->read), text);
}

static struct xn_checkpoint *begin(struct fixture *f, bool afresh)
{
	struct xn_checkpoint *cp;

	assert_int_equal(xn_checkpoint_begin(f->dir_fd, f->dir, afresh, &cp), 0);
	return cp;
}

static void put(struct xn_checkpoint *cp, const char *key, const char *value)
{
	struct xn_kv *kv = xn_checkpoint_kv(cp);

	assert_int_equal(kv->put(kv, XN_SPACE_ROWS, key, strlen(key), value, strlen(value)), 0);
}

static void put_and_commit(struct fixture *f, bool afresh, const char *key, const char *value,
			   uint64_t position)
{
	struct xn_checkpoint *cp = begin(f, afresh);

	put(cp, key, value);
	assert_int_equal(xn_checkpoint_commit(cp, position), 0);
	xn_checkpoint_end(cp);
}

static void none_is_an_empty_one(void **state)
{
	assert_holds(*state, "", 0);
}

static void what_is_committed_is_read_with_its_position(void **state)
{
	struct fixture *f = *state;

	put_and_commit(f, false, "b", "two", 100);
	put_and_commit(f, false, "a", "one", 200);
	assert_holds(f, "a=one;b=two;", 200);
}

static void what_is_not_committed_is_not_read(void **state)
{
	struct fixture *f = *state;
	struct xn_checkpoint *cp;

	cp = begin(f, false);
	put(cp, "a", "never");
	xn_checkpoint_end(cp);
	assert_holds(f, "", 0);
	put_and_commit(f, false, "a", "one", 100);
	cp = begin(f, false);
	put(cp, "a", "two");
	xn_checkpoint_end(cp);
	assert_holds(f, "a=one;", 100);
}

static void a_new_file_has_the_old_ones_content(void **state)
{
	struct fixture *f = *state;

	put_and_commit(f, false, "a", "one", 100);
	put_and_commit(f, true, "b", "two", 200);
	assert_holds(f, "a=one;b=two;", 200);
	put_and_commit(f, false, "c", "three", 300);
	assert_holds(f, "a=one;b=two;c=three;", 300);
}

static void a_new_file_that_was_not_committed_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct xn_checkpoint *cp;

	put_and_commit(f, false, "a", "one", 100);
	cp = begin(f, true);
	put(cp, "b", "never");
	xn_checkpoint_end(cp);
	assert_holds(f, "a=one;", 100);
	put_and_commit(f, true, "c", "three", 300);
	assert_holds(f, "a=one;c=three;", 300);
}

static void what_is_in_the_way_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct xn_checkpoint *cp;

	assert_int_equal(mkdirat(f->dir_fd, "checkpoint.mdb", 0700), 0);
	assert_true(xn_checkpoint_begin(f->dir_fd, f->dir, false, &cp) < 0);
}

static void entries_are_counted_found_first_and_removed(void **state)
{
	struct fixture *f = *state;
	struct xn_checkpoint *cp = begin(f, false);
	struct xn_kv *kv = xn_checkpoint_kv(cp);
	struct xn_slice key, value;
	size_t n;

	assert_int_equal(kv->first(kv, XN_SPACE_ROWS, &key, &value), -ENOENT);
	put(cp, "b", "two");
	put(cp, "a", "one");
	assert_int_equal(kv->count(kv, XN_SPACE_ROWS, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(kv->first(kv, XN_SPACE_ROWS, &key, &value), 0);
	assert_memory_equal(value.data, "one", 3);
	assert_int_equal(kv->del(kv, XN_SPACE_ROWS, "a", 1), 0);
	assert_int_equal(kv->del(kv, XN_SPACE_ROWS, "a", 1), 0);
	assert_int_equal(kv->get(kv, XN_SPACE_ROWS, "a", 1, &value), -ENOENT);
	xn_checkpoint_end(cp);
}

static void a_damaged_value_is_seen(void **state)
{
	static const char text[] = "a text that is easily found";
	struct fixture *f = *state;
	char file[200000], *at;
	uint64_t position;
	ssize_t n;
	int fd;

	put_and_commit(f, false, "a", text, 100);
	fd = openat(f->dir_fd, "checkpoint.mdb", O_RDWR);
	n = read(fd, file, sizeof(file));
	assert_true(n > 0);
	at = memmem(file, (size_t)n, text, strlen(text));
	assert_non_null(at);
	assert_int_equal(pwrite(fd, "A", 1, at - file), 1);
	close(fd);
	assert_int_equal(read_all(f, &position), -EBADMSG);
}

#define CHECKPOINT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CHECKPOINT(none_is_an_empty_one),
		CHECKPOINT(what_is_committed_is_read_with_its_position),
		CHECKPOINT(what_is_not_committed_is_not_read),
		CHECKPOINT(a_new_file_has_the_old_ones_content),
		CHECKPOINT(a_new_file_that_was_not_committed_changes_nothing),
		CHECKPOINT(what_is_in_the_way_is_an_error),
		CHECKPOINT(entries_are_counted_found_first_and_removed),
		CHECKPOINT(a_damaged_value_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
