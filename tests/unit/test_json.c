/* core/json.c, core/xml.c, core/text.c: what is written is read back; odd input is refused. */
#include "cmocka_all.h"

#include "core/json.h"
#include "core/xml.h"

static void assert_json(const char *in, const char *out)
{
	struct xn_buf buf XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v;

	assert_int_equal(xn_json_parse(in, strlen(in), &v, NULL), 0);
	xn_json_write(v, &buf);
	assert_string_equal(xn_buf_cstr(&buf), out);
	xn_value_unref(v);
}

static void json_is_written_as_it_was_read(void **state)
{
	assert_json("{\"b\":[1,-2,true,false],\"a\":\"x\"}", "{\"a\":\"x\",\"b\":[1,-2,true,false]}");
	assert_json("1.0", "1.0");
	assert_json("0.1", "0.1");
	assert_json("1e300", "1e+300");
	assert_json("9223372036854775807", "9223372036854775807");
	assert_json("\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\"", "\"\xc3\xa9\xf0\x9f\x98\x80\\n\\\"\\\\\"");
	assert_json("\"\\u0001\"", "\"\\u0001\"");
}

static void an_escape_is_made_wherever_it_is_needed(void **state)
{
	static const char special[] = {'"', '\\', '\n', '\x01', '\x1f'};

	for (size_t len = 1; len < 40; len++) {
		for (size_t at = 0; at < len * sizeof(special); at++) {
			struct xn_buf out = {0};
			struct xn_value *back;
			char text[40];

			memset(text, at & 1 ? '\x7f' : ' ', len);
			text[at % len] = special[at / len];
			xn_json_write_string(text, len, &out);
			assert_null(memchr(out.data, special[at / len] < ' ' ? special[at / len] : '\n',
					   out.len));
			assert_int_equal(xn_json_parse(out.data, out.len, &back, NULL), 0);
			assert_int_equal(xn_value_string_len(back), len);
			assert_memory_equal(xn_value_string(back), text, len);
			xn_value_unref(back);
			xn_buf_clear(&out);
		}
	}
}

static void broken_json_is_refused(void **state)
{
	const char *const samples[] = {"", "{", "[1,]", "{\"a\":1}x", "\"\xff\"", "\"\\u0000\"",
				       "9223372036854775808", "nul", "\"\\ud800\""};

	for (size_t i = 0; i < XN_ARRAY_SIZE(samples); i++) {
		struct xn_value *v;

		assert_int_equal(xn_json_parse(samples[i], strlen(samples[i]), &v, NULL), -1);
	}
}

static void deep_nesting_is_refused(void **state)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	char text[400];
	struct xn_value *v;

	memset(text, '[', 200);
	memset(text + 200, ']', 200);
	assert_int_equal(xn_json_parse(text, sizeof(text), &v, &why), -1);
	assert_int_equal(xn_json_parse(text + 150, 100, &v, NULL), 0);
	xn_value_unref(v);
}

static void xml_text_is_escaped(void **state)
{
	struct xn_buf buf XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v = xn_string("<&>\"'\r\n\t]]>");

	xn_xml_write(v, &buf);
	assert_string_equal(xn_buf_cstr(&buf), "<value>&lt;&amp;&gt;&quot;'&#13;\n\t]]&gt;</value>");
	xn_value_unref(v);
}

static void dates_of_every_spelling_are_read(void **state)
{
	const char *const same[] = {"20260821T09:30:00Z", "2026-08-21T09:30:00Z", "20260821T093000",
				    "2026-08-21T11:30:00+02:00", "2026-08-21T09:30:00.123Z",
				    "20260821T04:30:00-0500"};
	char text[19];
	int64_t t;

	for (size_t i = 0; i < XN_ARRAY_SIZE(same); i++) {
		assert_int_equal(xn_date_parse(same[i], &t), 0);
		xn_date_print(t, text);
		assert_string_equal(text, same[0]);
	}
}

static void impossible_dates_are_refused(void **state)
{
	const char *const bad[] = {"", "2026", "20260230T00:00:00Z", "20261301T00:00:00Z",
				   "20260101T25:00:00Z", "20260101T00:00:00ZZ", "20260101T00:00:00+2"};
	int64_t t;

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_not_equal(xn_date_parse(bad[i], &t), 0);
}

static void text_that_xml_cannot_carry_is_invalid(void **state)
{
	assert_true(xn_text_is_valid("a\t\n\r\x7f\xc3\xa9\xf0\x9f\x98\x80", 11));
	assert_false(xn_text_is_valid("\x01", 1));
	assert_false(xn_text_is_valid("\0", 1));
	assert_false(xn_text_is_valid("\xc0\x80", 2));	      /* overlong */
	assert_false(xn_text_is_valid("\xed\xa0\x80", 3));     /* surrogate */
	assert_false(xn_text_is_valid("\xef\xbf\xbf", 3));     /* U+FFFF */
	assert_false(xn_text_is_valid("\xf4\x90\x80\x80", 4)); /* beyond U+10FFFF */
	assert_false(xn_text_is_valid("\xe2\x82", 2));	      /* cut */
}

static void text_is_cut_between_characters(void **state)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
	static const size_t fits[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
	char out[6];

	for (size_t max = 0; max < XN_ARRAY_SIZE(fits); max++)
		assert_int_equal(xn_text_fit(text, max), fits[max]);
	xn_text_copy(out, sizeof(out), text);
	assert_string_equal(out, "a\xc3\xa9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_is_written_as_it_was_read),
		cmocka_unit_test(an_escape_is_made_wherever_it_is_needed),
		cmocka_unit_test(broken_json_is_refused),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(xml_text_is_escaped),
		cmocka_unit_test(dates_of_every_spelling_are_read),
		cmocka_unit_test(impossible_dates_are_refused),
		cmocka_unit_test(text_that_xml_cannot_carry_is_invalid),
		cmocka_unit_test(text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
