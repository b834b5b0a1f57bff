/* Percent-encoding, query strings and cookies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rpc/http_query.h"

static void assert_decodes(const char *from, bool plus_is_space, const char *expected)
{
	char text[64];
	ssize_t n = xn_http_decode(text, from, strlen(from), plus_is_space);

	assert_int_equal(n, strlen(expected));
	assert_memory_equal(text, expected, (size_t)n);
}

static void percent_encoding_is_undone_once(void **state)
{
	assert_decodes("a%20b%2Fc%2f", false, "a b/c/");
	assert_decodes("%2541", false, "%41");
	assert_decodes("%e2%82%ac", false, "\xe2\x82\xac");
	assert_decodes("a+b", false, "a+b");
	assert_decodes("a+b%2B", true, "a b+");
	assert_decodes("", true, "");
}

static void what_is_no_text_is_refused(void **state)
{
	static const char *const bad[] = {"%", "%4", "%zz", "a%0", "%00", "%01", "%ff", "%c0%80",
					  "%ed%a0%80", "\xff", "%-1", "% 1"};
	char text[64];

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_equal(xn_http_decode(text, bad[i], strlen(bad[i]), false), -EINVAL);
}

static void decoding_in_place_is_allowed(void **state)
{
	char text[] = "%41%42c";

	assert_int_equal(xn_http_decode(text, text, strlen(text), false), 3);
	assert_memory_equal(text, "ABc", 3);
}

static void assert_pair(const char *text, bool cookies, const char *name, const char *expected)
{
	char *value = xn_http_find_pair(text, strlen(text), cookies, name);

	if (expected)
		assert_string_equal(value, expected);
	else
		assert_null(value);
	free(value);
}

static void query_values_are_found_by_decoded_name(void **state)
{
	const char *query = "a=1&&b&c=x%26y&vdi%3Aold=new+one&a=2&bad=%zz&e=";

	assert_pair(query, false, "a", "1");
	assert_pair(query, false, "b", "");
	assert_pair(query, false, "c", "x&y");
	assert_pair(query, false, "vdi:old", "new one");
	assert_pair(query, false, "bad", NULL);
	assert_pair(query, false, "e", "");
	assert_pair(query, false, "d", NULL);
	assert_pair(query, false, "", NULL);
	assert_pair("", false, "a", NULL);
}

static void cookies_are_separated_in_both_ways_in_use(void **state)
{
	const char *cookies = "x=1; session_id=OpaqueRef%3Aab ;pool=p+q&task_id=t";

	assert_pair(cookies, true, "session_id", "OpaqueRef:ab");
	assert_pair(cookies, true, "pool", "p+q");
	assert_pair(cookies, true, "task_id", "t");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percent_encoding_is_undone_once),
		cmocka_unit_test(what_is_no_text_is_refused),
		cmocka_unit_test(decoding_in_place_is_allowed),
		cmocka_unit_test(query_values_are_found_by_decoded_name),
		cmocka_unit_test(cookies_are_separated_in_both_ways_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
