/* Log lines: one call is one line, whatever is in the text; and logging never waits. */
#include "core/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

struct fixture {
	int pipe[2];
	struct xn_log *log;
	char out[70000];
};

static int64_t fixed_clock(void *arg)
{
	return INT64_C(1800000000123456);
}

static struct fixture *new_fixture(enum xn_log_level level, bool json)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(pipe2(f->pipe, O_CLOEXEC), 0);
	assert_int_equal(fcntl(f->pipe[0], F_SETFL, O_NONBLOCK), 0);
	f->log = xn_log_new(level, json, f->pipe[1]);
	xn_log_set_clock(f->log, fixed_clock, NULL);
	return f;
}

static void free_fixture(struct fixture *f)
{
	xn_log_free(f->log);
	close(f->pipe[0]);
	close(f->pipe[1]);
	free(f);
}

static const char *written(struct fixture *f)
{
	ssize_t n = read(f->pipe[0], f->out, sizeof(f->out) - 1);

	f->out[n > 0 ? n : 0] = '\0';
	return f->out;
}

static void a_text_line_has_time_level_module_task_and_trace(void **state)
{
	struct fixture *f = new_fixture(XN_LOG_INFO, false);

	xn_log_write(f->log, XN_LOG_WARN, "db", "OpaqueRef:1", "abc", "disk %d full", 3);
	assert_string_equal(written(f), "2027-01-15T08:00:00.123456Z warn db task=OpaqueRef:1 "
					"trace=abc: disk 3 full\n");
	xn_log_info(f->log, "rpc", "hello");
	assert_string_equal(written(f), "2027-01-15T08:00:00.123456Z info rpc: hello\n");
	free_fixture(f);
}

static void lines_below_the_level_are_not_written(void **state)
{
	struct fixture *f = new_fixture(XN_LOG_WARN, false);

	xn_log_info(f->log, "db", "no");
	xn_log_debug(f->log, "db", "no");
	assert_string_equal(written(f), "");
	assert_true(xn_log_wants(f->log, XN_LOG_ERROR));
	assert_false(xn_log_wants(f->log, XN_LOG_INFO));
	assert_false(xn_log_wants(NULL, XN_LOG_ERROR));
	xn_log_error(NULL, "db", "no log at all is fine");
	free_fixture(f);
}

static void control_characters_and_broken_text_are_escaped(void **state)
{
	struct fixture *f = new_fixture(XN_LOG_INFO, false);

	xn_log_info(f->log, "x", "%s", "a\nb\x1b[31m\x7f\\ \xc3\xa4 \xff\xc3 \xc2\x9b");
	assert_string_equal(strstr(written(f), ": ") + 2,
			    "a\\x0ab\\x1b[31m\\x7f\\\\ \xc3\xa4 \\xff\\xc3 \\x9b\n");
	free_fixture(f);
}

static void a_json_line_is_one_object_with_the_same_text(void **state)
{
	static const char text[] = "a\n\"b\"\\ \x01 \xc3\xa4 \xf0\x9f\x98\x80";
	struct fixture *f = new_fixture(XN_LOG_INFO, true);
	const char *line;
	json_t *object;

	xn_log_write(f->log, XN_LOG_ERROR, "rpc", "OpaqueRef:1", NULL, "%s", text);
	line = written(f);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	object = json_loads(line, 0, NULL);
	assert_non_null(object);
	assert_string_equal(json_string_value(json_object_get(object, "message")), text);
	assert_string_equal(json_string_value(json_object_get(object, "level")), "error");
	assert_string_equal(json_string_value(json_object_get(object, "module")), "rpc");
	assert_string_equal(json_string_value(json_object_get(object, "task")), "OpaqueRef:1");
	assert_string_equal(json_string_value(json_object_get(object, "time")),
			    "2027-01-15T08:00:00.123456Z");
	assert_null(json_object_get(object, "trace"));
	json_decref(object);
	free_fixture(f);
}

static void a_long_text_is_cut_and_still_one_whole_line(void **state)
{
	for (int json = 0; json < 2; json++) {
		for (int len = 3800; len < 4400; len += 7) {
			struct fixture *f = new_fixture(XN_LOG_INFO, json);
			char *text = malloc(len + 1);
			const char *line;

			memset(text, '\n', len); /* escaped: twice to six times as long */
			text[len] = '\0';
			xn_log_info(f->log, "x", "%s", text);
			line = written(f);
			assert_in_range(strlen(line), 3900, 4096);
			assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
			if (json) {
				json_t *object = json_loads(line, 0, NULL);

				assert_non_null(object);
				json_decref(object);
			}
			free(text);
			free_fixture(f);
		}
	}
}

static void a_full_pipe_drops_lines_and_says_so_later(void **state)
{
	struct fixture *f = new_fixture(XN_LOG_INFO, false);
	const char *out;

	for (int i = 0; i < 3000; i++) /* far more than a pipe holds; would hang if it waited */
		xn_log_info(f->log, "x", "line %d of many, many, many", i);
	written(f);
	while (*written(f))
		;
	xn_log_info(f->log, "x", "heard again");
	out = written(f);
	assert_non_null(strstr(out, " log lines were dropped"));
	assert_non_null(strstr(out, "heard again\n"));
	free_fixture(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_line_has_time_level_module_task_and_trace),
		cmocka_unit_test(lines_below_the_level_are_not_written),
		cmocka_unit_test(control_characters_and_broken_text_are_escaped),
		cmocka_unit_test(a_json_line_is_one_object_with_the_same_text),
		cmocka_unit_test(a_long_text_is_cut_and_still_one_whole_line),
		cmocka_unit_test(a_full_pipe_drops_lines_and_says_so_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
