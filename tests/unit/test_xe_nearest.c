/* "Did you mean": distances between words, and the nearest of several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rpc/xe/nearest.h"

static void a_change_costs_one(void **state)
{
	assert_int_equal(xe_distance("vm-list", "vm-list", 3), 0);
	assert_int_equal(xe_distance("vm-lst", "vm-list", 3), 1);  /* left out */
	assert_int_equal(xe_distance("vm-llist", "vm-list", 3), 1); /* too many */
	assert_int_equal(xe_distance("vm-lisp", "vm-list", 3), 1);  /* another */
	assert_int_equal(xe_distance("vm-lsit", "vm-list", 3), 1);  /* swapped */
	assert_int_equal(xe_distance("mv-lsit", "vm-list", 3), 2);
	assert_int_equal(xe_distance("", "abc", 3), 3);
	assert_int_equal(xe_distance("abc", "", 3), 3);
	assert_int_equal(xe_distance("", "", 0), 0);
}

static void case_and_underscores_cost_nothing(void **state)
{
	assert_int_equal(xe_distance("VM_List", "vm-list", 0), 0);
	assert_int_equal(xe_distance("name_label", "name-label", 0), 0);
}

static void beyond_the_limit_it_is_just_more(void **state)
{
	char word[XE_NEAREST_MAX + 2];

	assert_int_equal(xe_distance("abcdef", "uvwxyz", 2), 3);
	assert_int_equal(xe_distance("abc", "abcdefgh", 2), 3);
	assert_int_equal(xe_distance("ab", "ba", 0), 1);
	assert_int_equal(xe_distance("ab", "ba", 1), 1);
	memset(word, 'a', sizeof(word));
	word[XE_NEAREST_MAX] = 0;
	assert_int_equal(xe_distance(word, word, 1), 0);
	word[XE_NEAREST_MAX] = 'a';
	word[XE_NEAREST_MAX + 1] = 0;
	assert_int_equal(xe_distance(word, word, 1), 2);
}

/* The same by the definition, without bounds. */
static unsigned plain_distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned best, other;

	if (!n || !m)
		return (unsigned)(n + m);
	best = plain_distance(a, n - 1, b, m - 1) + (a[n - 1] != b[m - 1]);
	other = plain_distance(a, n - 1, b, m) + 1;
	best = other < best ? other : best;
	other = plain_distance(a, n, b, m - 1) + 1;
	best = other < best ? other : best;
	if (n > 1 && m > 1 && a[n - 1] == b[m - 2] && a[n - 2] == b[m - 1]) {
		other = plain_distance(a, n - 2, b, m - 2) + 1;
		best = other < best ? other : best;
	}
	return best;
}

static void distances_are_those_of_the_definition(void **state)
{
	char a[7], b[7];

	srand(1);
	for (int i = 0; i < 3000; i++) {
		size_t n = (size_t)rand() % sizeof(a), m = (size_t)rand() % sizeof(b);
		unsigned expected, limit = (unsigned)rand() % 4;

		for (size_t k = 0; k < n; k++)
			a[k] = (char)('a' + rand() % 3);
		for (size_t k = 0; k < m; k++)
			b[k] = (char)('a' + rand() % 3);
		a[n] = b[m] = 0;
		expected = plain_distance(a, n, b, m);
		assert_int_equal(xe_distance(a, b, limit), expected > limit ? limit + 1 : expected);
	}
}

static void the_nearest_is_found_and_nothing_where_none_is_near(void **state)
{
	static const char *const words[] = {"vm-start", "vm-stop", "vm-list", "vif-list", "vm-liszt"};

	assert_string_equal(xe_nearest("vm-lits", words, XN_ARRAY_SIZE(words)), "vm-list");
	assert_string_equal(xe_nearest("vmstart", words, XN_ARRAY_SIZE(words)), "vm-start");
	assert_string_equal(xe_nearest("VM-START", words, XN_ARRAY_SIZE(words)), "vm-start");
	assert_null(xe_nearest("pool-join", words, XN_ARRAY_SIZE(words)));
	assert_null(xe_nearest("", words, XN_ARRAY_SIZE(words)));
	assert_null(xe_nearest("vm-list", NULL, 0));
}

static void the_first_of_equals_stays(void **state)
{
	static const char *const words[] = {"web1", "web2"};

	assert_ptr_equal(xe_nearest("web3", words, 2), words[0]);
}

static void short_words_are_not_like_everything(void **state)
{
	static const char *const words[] = {"abc", "xyz", "db"};

	assert_null(xe_nearest("qqq", words, 3));
	assert_string_equal(xe_nearest("da", words, 3), "db");
}

static void candidates_may_come_one_by_one_and_go(void **state)
{
	struct xe_nearest nearest;
	char word[] = "databse";

	xe_nearest_begin(&nearest, "database");
	assert_null(xe_nearest_best(&nearest));
	xe_nearest_offer(&nearest, "");
	xe_nearest_offer(&nearest, word);
	memset(word, 'x', sizeof(word) - 1);
	assert_string_equal(xe_nearest_best(&nearest), "databse");
	xe_nearest_offer(&nearest, "database");
	xe_nearest_offer(&nearest, "databases");
	assert_string_equal(xe_nearest_best(&nearest), "database");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_costs_one),
		cmocka_unit_test(case_and_underscores_cost_nothing),
		cmocka_unit_test(beyond_the_limit_it_is_just_more),
		cmocka_unit_test(distances_are_those_of_the_definition),
		cmocka_unit_test(the_nearest_is_found_and_nothing_where_none_is_near),
		cmocka_unit_test(the_first_of_equals_stays),
		cmocka_unit_test(short_words_are_not_like_everything),
		cmocka_unit_test(candidates_may_come_one_by_one_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
