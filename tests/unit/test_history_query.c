/* Questions to history: words, times, what is refused. */
#include "tests/unit/cmocka_all.h"

#include "modules/history/query.h"
#include "core/moment.h"

static int64_t us_of(const char *text)
{
	struct xn_moment when;

	assert_int_equal(xn_moment_parse(&when, text), 0);
	assert_true(when.is_time);
	return when.us;
}

static void times_are_read_to_the_microsecond(void **state)
{
	assert_int_equal(us_of("1970-01-01T00:00:01Z"), 1000000);
	assert_int_equal(us_of("19700101T00:00:01Z"), 1000000);
	assert_int_equal(us_of("1970-01-01T00:00:01.25Z"), 1250000);
	assert_int_equal(us_of("1970-01-01T02:00:01.000001+02:00"), 1000001);
	assert_int_equal(us_of("1970-01-02"), INT64_C(86400000000));
	assert_int_equal(us_of("@17.5"), 17500000);
}

static void a_number_is_a_generation(void **state)
{
	struct xn_moment when;

	assert_int_equal(xn_moment_parse(&when, "4294967301"), 0);
	assert_false(when.is_time);
	assert_true(when.generation == UINT64_C(4294967301));
	assert_int_equal(xn_moment_parse(&when, "now"), 0);
	assert_true(when.is_now);
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const texts[] = {"",	   "yesterday", "@",	 "@x", "@1.", "12x",
					    "2026-13-01", "2026-11-21T10:00:00.Z", "-5",
					    "99999999999999999999"};
	struct xn_moment when;

	for (size_t i = 0; i < XN_ARRAY_SIZE(texts); i++)
		assert_true(xn_moment_parse(&when, texts[i]) < 0);
}

static void a_printed_time_is_read_as_the_same(void **state)
{
	char text[40];

	xn_moment_print(INT64_C(1795260948123456), text);
	assert_string_equal(text, "2026-11-21T11:35:48.123456Z");
	assert_true(us_of(text) == INT64_C(1795260948123456));
}

static void words_make_a_question(void **state)
{
	struct history_query q;
	struct xn_error err = {0};

	history_query_init(&q);
	assert_int_equal(history_query_parse(&q,
					     " class=vm field=name_label user='a b' origin=\"x\" "
					     "operation=set limit=7 after=12.3 newest json ",
					     &err),
			 0);
	assert_int_equal(q.question, HISTORY_CHANGES);
	assert_int_equal(q.class_id, XN_CLASS_VM);
	assert_int_equal(q.field, XN_VM_name_label);
	assert_string_equal(q.user, "a b");
	assert_string_equal(q.origin, "x");
	assert_int_equal(q.operation, HISTORY_SET);
	assert_int_equal(q.limit, 7);
	assert_true(q.has_after && q.after.generation == 12 && q.after.index == 3);
	assert_true(q.newest && q.json);
}

static void the_question_follows_from_the_times(void **state)
{
	static const struct {
		const char *text;
		enum history_question question;
	} rows[] = {{"", HISTORY_CHANGES},
		    {"at=now class=VM", HISTORY_ALL_RECORDS},
		    {"at=now ref=OpaqueRef:x", HISTORY_RECORD},
		    {"from=1", HISTORY_DIFFERENCE},
		    {"bounds", HISTORY_BOUNDS}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++) {
		struct xn_error err = {0};
		struct history_query q;

		history_query_init(&q);
		assert_int_equal(history_query_parse(&q, rows[i].text, &err), 0);
		assert_int_equal(q.question, rows[i].question);
	}
}

static void what_is_no_question_is_named(void **state)
{
	static const struct {
		const char *text, *name;
	} rows[] = {{"colour=red", "query"}, {"class=xn_operation", "class"}, {"class=VM field=x", "field"},
		    {"limit=0", "limit"},    {"at=now", "class"},	      {"to=now", "from"},
		    {"user='a", "query"},    {"everything", "query"},	      {"after=x", "after"},
		    {"operation=made", "operation"}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++) {
		struct xn_error err = {0};
		struct history_query q;

		history_query_init(&q);
		assert_int_equal(history_query_parse(&q, rows[i].text, &err), -1);
		assert_string_equal(err.code, XN_ERR_INVALID_VALUE);
		assert_string_equal(err.params[0], rows[i].name);
		xn_error_clear(&err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_read_to_the_microsecond),
		cmocka_unit_test(a_number_is_a_generation),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(a_printed_time_is_read_as_the_same),
		cmocka_unit_test(words_make_a_question),
		cmocka_unit_test(the_question_follows_from_the_times),
		cmocka_unit_test(what_is_no_question_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
