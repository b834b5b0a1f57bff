/* rpc/xe/arguments.c: the request's body to a command's name and parameters. */
#include "cmocka_all.h"

#include "rpc/xe/arguments.h"

static struct xe_arguments read_line(const char *body)
{
	struct xe_arguments arguments;
	const char *why;

	assert_int_equal(xe_arguments_parse(body, strlen(body), &arguments, &why), 0);
	return arguments;
}

static void assert_argument(const struct xe_arguments *arguments, unsigned i, const char *name,
			    const char *value)
{
	assert_true(i < arguments->n);
	assert_string_equal(arguments->items[i].name, name);
	assert_string_equal(arguments->items[i].value, value);
}

static void words_become_parameters(void **state)
{
	struct xe_arguments a = read_line("vm-list\nparams=all\nname-label=a b\n--minimal\nuuid=\n"
					  "name-label=c=d\nbare\nusername=root\npassword=x");

	assert_string_equal(a.command, "vm-list");
	assert_null(a.session);
	assert_int_equal(a.n, 8);
	assert_argument(&a, 0, "params", "all");
	assert_argument(&a, 1, "name-label", "a b");
	assert_argument(&a, 2, "minimal", "true");
	assert_argument(&a, 3, "uuid", "");
	assert_argument(&a, 4, "name-label", "c=d");
	assert_argument(&a, 5, "bare", "");
	assert_string_equal(xe_arguments_get(&a, "name-label"), "a b");
	assert_null(xe_arguments_get(&a, "name"));
	xe_arguments_clear(&a);
	xe_arguments_clear(&a); /* harmless */
}

static void lines_may_end_in_crlf(void **state)
{
	struct xe_arguments a = read_line("session_id=OpaqueRef:1\r\nvm-start\r\nuuid=u\r\n");

	assert_string_equal(a.session, "OpaqueRef:1");
	assert_string_equal(a.command, "vm-start");
	assert_int_equal(a.n, 1);
	assert_argument(&a, 0, "uuid", "u");
	xe_arguments_clear(&a);
}

static void short_options_take_the_next_word(void **state)
{
	struct xe_arguments a = read_line("vm-list\n-u\nme\n-pw\nx=y\n-s\nh\n-p\n80");

	assert_argument(&a, 0, "username", "me");
	assert_argument(&a, 1, "password", "x=y");
	assert_argument(&a, 2, "server", "h");
	assert_argument(&a, 3, "port", "80");
	xe_arguments_clear(&a);
}

static void assert_refused(const char *body, size_t len)
{
	struct xe_arguments arguments;
	const char *why = NULL;

	assert_int_equal(xe_arguments_parse(body, len, &arguments, &why), -1);
	assert_non_null(why);
	xe_arguments_clear(&arguments);
}

static void what_is_no_command_line_is_refused(void **state)
{
	assert_refused("", 0);
	assert_refused("\n", 1);
	assert_refused("session_id=x", 12);
	assert_refused("vm-list\n-z\nx", 12);
	assert_refused("vm-list\n-u", 10);
	assert_refused("vm-list\nname=\xff", 14);
	assert_refused("vm-list\0x", 9);
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = {{"0", 0},	       {"512", 512},	   {"1KiB", 1024},
		    {"2k", 2048},      {"512MiB", 512 << 20}, {"3MB", 3 << 20},
		    {"10GiB", INT64_C(10) << 30}, {"1TiB", INT64_C(1) << 40}, {"-1", -1}};
	static const char *const bad[] = {"", "x", "1 GiB", " 1", "1PiB", "9999999999TiB", "1.5GiB",
					  "99999999999999999999"};
	int64_t bytes;

	for (size_t i = 0; i < XN_ARRAY_SIZE(good); i++) {
		assert_true(xe_size_parse(good[i].text, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_false(xe_size_parse(bad[i], &bytes));
}

static void booleans_have_many_words(void **state)
{
	bool b;

	assert_true(xe_bool_parse("Yes", &b) && b);
	assert_true(xe_bool_parse("T", &b) && b);
	assert_true(xe_bool_parse("0", &b) && !b);
	assert_true(xe_bool_parse("FALSE", &b) && !b);
	assert_false(xe_bool_parse("maybe", &b));
	assert_false(xe_bool_parse("", &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_become_parameters),
		cmocka_unit_test(lines_may_end_in_crlf),
		cmocka_unit_test(short_options_take_the_next_word),
		cmocka_unit_test(what_is_no_command_line_is_refused),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(booleans_have_many_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
