/* The state folder: one daemon at a time, one hypervisor for ever. */
#include "core/state_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char base[32], dir[64];
	char *why;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->base, "/tmp/xn-state-XXXXXX");
	assert_non_null(mkdtemp(f->base));
	snprintf(f->dir, sizeof(f->dir), "%s/state", f->base);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", f->base);
	assert_int_equal(system(command), 0);
	free(f->why);
	free(f);
	return 0;
}

static void the_folder_is_made_private_and_may_be_held_again_later(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	for (int i = 0; i < 2; i++) {
		int fd = xn_state_dir_hold(f->dir, "sim", &f->why);

		assert_true(fd >= 0);
		assert_int_equal(stat(f->dir, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0700);
		close(fd);
	}
}

static void a_second_holder_is_refused_with_the_process_that_holds_it(void **state)
{
	struct fixture *f = *state;
	int fd = xn_state_dir_hold(f->dir, "sim", &f->why);
	char pid[32];

	snprintf(pid, sizeof(pid), "in use by process %d", getpid());
	assert_int_equal(xn_state_dir_hold(f->dir, "sim", &f->why), -1);
	assert_non_null(strstr(f->why, pid));
	close(fd);
}

static void a_folder_of_another_hypervisor_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd = xn_state_dir_hold(f->dir, "sim", &f->why);

	close(fd);
	assert_int_equal(xn_state_dir_hold(f->dir, "xen", &f->why), -1);
	assert_non_null(strstr(f->why, "belongs to hypervisor \"sim\""));
	fd = xn_state_dir_hold(f->dir, "sim", &f->why); /* the refused one left no lock */
	assert_true(fd >= 0);
	close(fd);
}

static void a_path_that_cannot_be_a_folder_is_refused_in_words(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_state_dir_hold("/dev/null/x", "sim", &f->why), -1);
	assert_non_null(strstr(f->why, "cannot make the state folder /dev/null/x"));
	free(f->why);
	assert_int_equal(xn_state_dir_hold("/dev/null", "sim", &f->why), -1);
	assert_non_null(strstr(f->why, "cannot open the state folder /dev/null"));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_folder_is_made_private_and_may_be_held_again_later),
		TEST(a_second_holder_is_refused_with_the_process_that_holds_it),
		TEST(a_folder_of_another_hypervisor_is_refused),
		TEST(a_path_that_cannot_be_a_folder_is_refused_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
