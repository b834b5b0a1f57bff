/* Configuration values: what is taken, what is refused, and in which words. */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct xn_config *config;
	char *why;
	char path[32];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	f->config = xn_config_new();
	strcpy(f->path, "/tmp/xn-config-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	close(fd);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	xn_config_free(f->config);
	free(f->why);
	free(f);
	return 0;
}

static int set(struct fixture *f, const char *name, const char *value)
{
	free(f->why);
	f->why = NULL;
	return xn_config_set(f->config, name, value, true, "--flag", &f->why);
}

static int load(struct fixture *f, const char *text, size_t len)
{
	FILE *file = fopen(f->path, "w");

	fwrite(text, 1, len, file);
	fclose(file);
	free(f->why);
	return xn_config_load_file(f->config, f->path, &f->why);
}

static void assert_refused(struct fixture *f, int rc, const char *words)
{
	assert_int_equal(rc, -1);
	assert_non_null(f->why);
	if (!strstr(f->why, words))
		fail_msg("\"%s\" lacks \"%s\"", f->why, words);
}

static void defaults_hold_until_something_is_given(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(xn_config_string(f->config, "hypervisor"), "auto");
	assert_false(xn_config_is_set(f->config, "hypervisor"));
	assert_null(xn_config_string(f->config, "http"));
	assert_int_equal(set(f, "hypervisor", "sim"), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	assert_true(xn_config_is_set(f->config, "hypervisor"));
}

static void bad_values_are_refused_in_words(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, set(f, "colour", "red"), "--flag: there is no option \"colour\"");
	assert_refused(f, set(f, "hypervisor", "kvm"), "\"kvm\" is none of sim|xen|auto");
	assert_refused(f, set(f, "hypervisor", "si"), "is none of");
	assert_refused(f, set(f, "hypervisor", "sim|xen"), "is none of");
	assert_refused(f, set(f, "state-dir", ""), "empty");
}

static void addresses_are_numbers_with_a_port(void **state)
{
	static const char *const good[] = {"127.0.0.1:80", "0.0.0.0:0", "[::1]:8080", "[::]:65535"};
	static const char *const bad[] = {
		"80", ":80", "localhost:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
		"127.0.0.1:-1", "::1:80", "[::1]", "[::1]80", "1.2.3.4.5:80", "127.0.0.1:80x",
		"1111111111111111111111111111111111111111111111111111:80",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(good); i++) {
		struct xn_config *config = xn_config_new();
		char *why = NULL;

		assert_int_equal(xn_config_set(config, "http", good[i], true, "x", &why), 0);
		xn_config_free(config);
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_refused(*state, set(*state, "http", bad[i]), "is no address and port");
}

static void a_file_gives_what_the_command_line_does_not(void **state)
{
	static const char text[] = "# a comment\n\n  hypervisor = sim \r\nstate-dir=\"/a b\"\n"
				   "log-level = debug";
	struct fixture *f = *state;

	assert_int_equal(set(f, "log-level", "error"), 0);
	assert_int_equal(load(f, text, sizeof(text) - 1), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	assert_string_equal(xn_config_string(f->config, "state-dir"), "/a b");
	assert_string_equal(xn_config_string(f->config, "log-level"), "error");
}

static void a_bad_file_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *words;
	} files[] = {
		{"hypervisor = sim\n\nnonsense\n", ", line 3: \"nonsense\" is not of the form"},
		{"colour = red\n", ", line 1: there is no option \"colour\""},
		{"\nlog-level = loud\n", ", line 2: log-level: \"loud\" is none of"},
		{"http = 1.1.1.1:1\nhttp = 1.1.1.1:2\n", ", line 2: http is given twice"},
		{"= x\n", ", line 1: there is no option \"\""},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(files); i++) {
		struct fixture *f;

		set_up((void **)&f);
		assert_refused(f, load(f, files[i].text, strlen(files[i].text)), files[i].words);
		assert_non_null(strstr(f->why, f->path));
		tear_down((void **)&f);
	}
}

static void a_file_that_is_no_text_or_not_there_is_refused(void **state)
{
	struct fixture *f = *state;
	char *large = calloc(1, 2 << 20);

	memset(large, '\n', 2 << 20);
	assert_refused(f, load(f, "a\0b", 3), "not a text file");
	assert_refused(f, load(f, large, 2 << 20), "larger than");
	free(large);
	free(f->why);
	assert_refused(f, xn_config_load_file(f->config, "/nowhere/at/all", &f->why),
		       "No such file");
	free(f->why);
	assert_refused(f, xn_config_load_file(f->config, "/tmp", &f->why), "Is a directory");
}

static void a_flag_given_twice_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set(f, "http", "1.1.1.1:1"), 0);
	assert_refused(f, set(f, "http", "1.1.1.1:2"), "given twice");
}

static void what_the_daemon_decides_counts_as_given(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set(f, "hypervisor", "auto"), 0);
	xn_config_decide(f->config, "hypervisor", "sim");
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	xn_config_decide(f->config, "http", "127.0.0.1:80");
	assert_true(xn_config_is_set(f->config, "http"));
}

static void every_row_of_the_table_can_be_shown_in_help(void **state)
{
	for (const struct xn_config_key *key = xn_config_keys; key->name; key++) {
		assert_non_null(key->doc);
		assert_non_null(key->argument);
		if (key->type == XN_CONFIG_CHOICE)
			assert_non_null(key->choices);
		if (key->type == XN_CONFIG_INT || key->type == XN_CONFIG_SIZE)
			assert_true(key->min < key->max);
	}
}

/* ---- the README's table of numbers ---- */

static char *number_text(const struct xn_config_key *key, int64_t n)
{
	static const char units[] = " KMGT";
	size_t i = 0;

	while (key->type == XN_CONFIG_SIZE && n && n % 1024 == 0 && i < 4) {
		n /= 1024;
		i++;
	}
	return i ? xn_asprintf("%lld%c", (long long)n, units[i]) : xn_asprintf("%lld", (long long)n);
}

static void the_readme_lists_every_number_with_its_default_and_range(void **state)
{
	FILE *file = fopen(README, "r");
	static char readme[1 << 17];
	unsigned missing = 0;

	assert_non_null(file);
	readme[fread(readme, 1, sizeof(readme) - 1, file)] = '\0';
	fclose(file);
	for (const struct xn_config_key *key = xn_config_keys; key->name; key++) {
		char *min = number_text(key, key->min), *max = number_text(key, key->max), *row;

		row = xn_asprintf("| `%s` | %s | %s to %s | %s |", key->name,
				  key->otherwise ? key->otherwise : "", min, max, key->doc);
		if ((key->type == XN_CONFIG_INT || key->type == XN_CONFIG_SIZE) &&
		    !strstr(readme, row)) {
			print_error("the README lacks: %s\n", row);
			missing++;
		}
		free(min);
		free(max);
		free(row);
	}
	assert_int_equal(missing, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(defaults_hold_until_something_is_given),
		TEST(bad_values_are_refused_in_words),
		TEST(addresses_are_numbers_with_a_port),
		TEST(a_file_gives_what_the_command_line_does_not),
		cmocka_unit_test(a_bad_file_is_refused_with_its_line),
		TEST(a_file_that_is_no_text_or_not_there_is_refused),
		TEST(a_flag_given_twice_is_refused),
		TEST(what_the_daemon_decides_counts_as_given),
		TEST(every_row_of_the_table_can_be_shown_in_help),
		cmocka_unit_test(the_readme_lists_every_number_with_its_default_and_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
