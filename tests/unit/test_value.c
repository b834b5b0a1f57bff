/* core/value.c: sharing, sets, maps. */
#include "cmocka_all.h"

#include "core/value.h"

static void a_shared_map_is_copied_before_it_changes(void **state)
{
	struct xn_value *mine = xn_map_new(), *yours;

	xn_map_put_string(&mine, "a", "1");
	yours = xn_value_ref(mine);
	xn_map_put_string(&mine, "b", "2");
	assert_int_equal(xn_map_len(mine), 2);
	assert_int_equal(xn_map_len(yours), 1);
	xn_value_unref(mine);
	xn_value_unref(yours);
}

static void the_immortal_empty_map_never_changes(void **state)
{
	struct xn_value *a = xn_map_new(), *b = xn_map_new();

	xn_map_put_string(&a, "k", "v");
	assert_int_equal(xn_map_len(b), 0);
	xn_value_unref(a);
}

static void map_keys_are_sorted_unique_and_replaceable(void **state)
{
	struct xn_value *m = xn_map_new();

	xn_map_put_string(&m, "b", "1");
	xn_map_put_string(&m, "a", "2");
	xn_map_put_string(&m, "c", "3");
	xn_map_put_string(&m, "b", "4");
	assert_int_equal(xn_map_len(m), 3);
	assert_string_equal(xn_map_key_at(m, 0), "a");
	assert_string_equal(xn_map_get_string(m, "b"), "4");
	assert_true(xn_map_remove(&m, "a"));
	assert_false(xn_map_remove(&m, "a"));
	assert_null(xn_map_get(m, "a"));
	xn_value_unref(m);
}

static void a_sorted_set_has_no_duplicates(void **state)
{
	struct xn_value *s = xn_set_new();

	assert_true(xn_set_insert_sorted(&s, xn_string("b")));
	assert_true(xn_set_insert_sorted(&s, xn_string("a")));
	assert_false(xn_set_insert_sorted(&s, xn_string("b")));
	assert_int_equal(xn_set_len(s), 2);
	assert_true(xn_set_remove_sorted(&s, "a"));
	assert_false(xn_set_remove_sorted(&s, "a"));
	assert_true(xn_set_has_string(s, "b"));
	xn_value_unref(s);
}

static void removing_a_string_takes_every_occurrence(void **state)
{
	struct xn_value *s = xn_set_new();

	xn_set_append_string(&s, "x");
	xn_set_append_string(&s, "y");
	xn_set_append_string(&s, "x");
	assert_true(xn_set_remove_string(&s, "x"));
	assert_int_equal(xn_set_len(s), 1);
	assert_string_equal(xn_value_string(xn_set_at(s, 0)), "y");
	xn_value_unref(s);
}

static void equality_is_deep_and_by_kind(void **state)
{
	struct xn_value *a = xn_set_new(), *b = xn_set_new(), *one = xn_int(1), *text = xn_string("1");

	xn_set_append(&a, xn_stringf("%d", 12345));
	xn_set_append(&b, xn_string("12345"));
	assert_true(xn_value_equal(a, b));
	assert_false(xn_value_equal(one, text));
	assert_int_equal(xn_value_int(one), 1);
	xn_value_unref(a);
	xn_value_unref(b);
	xn_value_unref(one);
	xn_value_unref(text);
}

static void integers_keep_all_64_bits(void **state)
{
	const int64_t samples[] = {INT64_MIN, -2, -1, 0, 1, 61, 62, 63, 64, 255, INT64_MAX};

	for (size_t i = 0; i < XN_ARRAY_SIZE(samples); i++) {
		struct xn_value *v = xn_int(samples[i]);

		assert_int_equal(xn_value_int(v), samples[i]);
		xn_value_unref(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_map_is_copied_before_it_changes),
		cmocka_unit_test(the_immortal_empty_map_never_changes),
		cmocka_unit_test(map_keys_are_sorted_unique_and_replaceable),
		cmocka_unit_test(a_sorted_set_has_no_duplicates),
		cmocka_unit_test(removing_a_string_takes_every_occurrence),
		cmocka_unit_test(equality_is_deep_and_by_kind),
		cmocka_unit_test(integers_keep_all_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
