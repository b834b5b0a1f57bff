/* Child processes: output, status, deadline, kill, refusal. */
#include "tests/unit/turn_until.h"

#include "core/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LONG_MS = 600000 }; /* longer than anybody waits here */

struct fixture {
	struct xn_loop *loop;
	struct xn_child *child;
	bool ended;
	struct xn_child_result result;
	char *out, *err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new();
	signal(SIGPIPE, SIG_IGN);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_loop_free(f->loop);
	free(f->out);
	free(f->err);
	free(f);
	return 0;
}

static void on_done(const struct xn_child_result *result, void *arg)
{
	struct fixture *f = arg;

	assert_false(f->ended);
	f->ended = true;
	f->child = NULL;
	f->result = *result;
	free(f->out);
	free(f->err);
	f->out = strdup(result->out);
	f->err = strdup(result->err);
}

/* @input may be NULL. */
static void start(struct fixture *f, const char *script, const char *input, unsigned timeout_ms)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	struct xn_child_spec spec = {
		.argv = argv, .input = input, .input_len = input ? strlen(input) : 0,
		.max_output = 100000, .timeout_ms = timeout_ms,
	};

	f->ended = false;
	assert_int_equal(xn_child_start(f->loop, &spec, on_done, f, &f->child), 0);
}

static void run_to_end(struct fixture *f)
{
	TURN_UNTIL(f->loop, f->ended);
}

static void output_and_status_come_back(void **state)
{
	struct fixture *f = *state;

	start(f, "echo out; echo err >&2; exit 3", NULL, LONG_MS);
	assert_false(f->ended);
	run_to_end(f);
	assert_string_equal(f->out, "out\n");
	assert_string_equal(f->err, "err\n");
	assert_int_equal(f->result.exit_status, 3);
	assert_int_equal(f->result.signal, 0);
	assert_int_equal(f->result.rc, -EIO);
}

static void input_is_given_and_ends(void **state)
{
	struct fixture *f = *state;

	start(f, "tr a-z A-Z", "hello", LONG_MS);
	run_to_end(f);
	assert_int_equal(f->result.rc, 0);
	assert_string_equal(f->out, "HELLO");
}

static void without_input_it_reads_an_end_at_once(void **state)
{
	struct fixture *f = *state;

	start(f, "cat; echo done", NULL, LONG_MS);
	run_to_end(f);
	assert_string_equal(f->out, "done\n");
}

static void input_larger_than_a_pipe_passes_through(void **state)
{
	struct fixture *f = *state;
	char *large = malloc(90001);

	memset(large, 'x', 90000);
	large[90000] = '\0';
	start(f, "cat", large, LONG_MS);
	run_to_end(f);
	assert_int_equal(f->result.rc, 0);
	assert_string_equal(f->out, large);
	free(large);
}

static void one_that_does_not_read_its_input_may_still_succeed(void **state)
{
	struct fixture *f = *state;
	char *large = malloc(90001);

	memset(large, 'x', 90000);
	large[90000] = '\0';
	start(f, "exec 0<&-; echo fine", large, LONG_MS);
	run_to_end(f);
	assert_int_equal(f->result.rc, 0);
	free(large);
}

/* A zombie that nobody has buried yet is not. */
static bool is_alive(pid_t pid)
{
	char path[32], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (fscanf(file, "%*d %*s %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state != 'Z';
}

static void past_its_deadline_the_whole_group_is_killed(void **state)
{
	struct fixture *f = *state;
	pid_t left = 0;

	for (unsigned ms = 300; left <= 1; ms *= 4) { /* it may take that long to say something */
		assert_true(ms < LONG_MS);
		start(f, "sleep 1000 & echo $!; wait", NULL, ms);
		run_to_end(f);
		assert_int_equal(f->result.rc, -ETIMEDOUT);
		assert_int_equal(f->result.signal, SIGKILL);
		assert_int_equal(f->result.exit_status, -1);
		left = atoi(f->out);
	}
	TURN_UNTIL(f->loop, !is_alive(left)); /* a signal takes its time */
}

static void a_kill_ends_it_and_is_told_as_such(void **state)
{
	struct fixture *f = *state;

	start(f, "sleep 1000", NULL, LONG_MS);
	xn_child_kill(f->child);
	xn_child_kill(f->child);
	run_to_end(f);
	assert_int_equal(f->result.rc, -ECANCELED);
}

static void too_much_output_kills_it_and_is_bounded(void **state)
{
	struct fixture *f = *state;

	start(f, "yes", NULL, LONG_MS);
	run_to_end(f);
	assert_int_equal(f->result.rc, -EFBIG);
	assert_int_equal(strlen(f->out), 100000);
}

static void what_it_leaves_behind_with_open_pipes_does_not_delay_its_end(void **state)
{
	struct fixture *f = *state;
	pid_t left;

	start(f, "sleep 1000 & echo $!", NULL, LONG_MS);
	run_to_end(f);
	assert_int_equal(f->result.rc, 0);
	left = atoi(f->out);
	assert_true(left > 1);
	assert_true(is_alive(left));
	kill(left, SIGKILL);
}

static void it_gets_none_of_our_descriptors_nor_our_environment(void **state)
{
	struct fixture *f = *state;
	int leak = dup(2);

	setenv("XN_SECRET", "x", 1);
	start(f, "ls /proc/self/fd | wc -l; echo \"$XN_SECRET\"", NULL, LONG_MS);
	run_to_end(f);
	assert_string_equal(f->out, "4\n\n"); /* the three, and the folder that ls reads */
	close(leak);
}

static void a_program_that_is_not_there_is_an_errno(void **state)
{
	struct fixture *f = *state;
	const char *const argv[] = {"/nowhere/at/all", NULL};
	struct xn_child_spec spec = {.argv = argv, .timeout_ms = 1000};
	struct xn_loop *virtual = xn_loop_new_virtual(1);

	assert_int_equal(xn_child_start(f->loop, &spec, on_done, f, NULL), -ENOENT);
	assert_int_equal(xn_child_start(virtual, &spec, on_done, f, NULL), -ENOTSUP);
	xn_loop_free(virtual);
	assert_false(f->ended);
}

static void an_abandoned_one_is_gone_and_silent(void **state)
{
	struct fixture *f = *state;

	start(f, "sleep 1000", NULL, LONG_MS);
	xn_child_abandon(f->child);
	xn_child_abandon(NULL);
	xn_loop_turn(f->loop, 1000);
	assert_false(f->ended);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(output_and_status_come_back),
		TEST(input_is_given_and_ends),
		TEST(without_input_it_reads_an_end_at_once),
		TEST(input_larger_than_a_pipe_passes_through),
		TEST(one_that_does_not_read_its_input_may_still_succeed),
		TEST(past_its_deadline_the_whole_group_is_killed),
		TEST(a_kill_ends_it_and_is_told_as_such),
		TEST(too_much_output_kills_it_and_is_bounded),
		TEST(what_it_leaves_behind_with_open_pipes_does_not_delay_its_end),
		TEST(it_gets_none_of_our_descriptors_nor_our_environment),
		TEST(a_program_that_is_not_there_is_an_errno),
		TEST(an_abandoned_one_is_gone_and_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
