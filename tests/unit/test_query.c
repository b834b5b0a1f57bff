/* Expressions of get_all_where: modules/records/query.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "modules/records/query.h"

/* A VM as a map of fields; what is absent has its default. */
static const struct xn_value *read_field(const void *row, int field)
{
	const struct xn_class *vm = &xn_classes[XN_CLASS_VM];
	const struct xn_value *v = xn_map_get(row, vm->fields[field].name);
	struct xn_value *otherwise;

	if (v)
		return v;
	otherwise = xn_field_default(vm, (unsigned)field);
	xn_value_unref(otherwise); /* immortal */
	return otherwise;
}

static struct xn_value *given_vm(void)
{
	struct xn_value *vm = xn_map_new();
	struct xn_value *tags = xn_set_new();
	struct xn_value *other_config = xn_map_new();

	xn_set_append_string(&tags, "a b");
	xn_set_append_string(&tags, "it's \\");
	xn_map_put_string(&other_config, "k", "v");
	xn_map_put_string(&vm, "name_label", "say \"hi\"");
	xn_map_put(&vm, "is_a_template", xn_bool(true));
	xn_map_put(&vm, "memory_static_max", xn_int(-42));
	xn_map_put(&vm, "start_delay", xn_int(7));
	xn_map_put(&vm, "snapshot_time", xn_datetime(86400));
	xn_map_put(&vm, "HVM_shadow_multiplier", xn_float(2.5));
	xn_map_put(&vm, "tags", tags);
	xn_map_put(&vm, "other_config", other_config);
	return vm;
}

static bool holds(const char *text)
{
	struct xn_value *vm = given_vm();
	struct xn_error err = {0};
	struct xn_query *query = xn_query_parse(&xn_classes[XN_CLASS_VM], text, strlen(text), &err);
	bool truth;

	if (!query)
		fail_msg("%s: %s", text, err.params[1]);
	truth = xn_query_matches(query, read_field, vm);
	xn_query_free(query);
	xn_value_unref(vm);
	return truth;
}

static void assert_refused(const char *text)
{
	struct xn_error err = {0};

	assert_null(xn_query_parse(&xn_classes[XN_CLASS_VM], text, strlen(text), &err));
	assert_string_equal(err.code, "INVALID_VALUE");
	assert_string_equal(err.params[0], "expr");
	xn_error_clear(&err);
}

static void constants_and_their_combinations(void **state)
{
	static const struct {
		const char *text;
		bool truth;
	} rows[] = {
		{"true", true},
		{"false", false},
		{"not false", true},
		{"not not true", true},
		{"(true)", true},
		{"true and false", false},
		{"true or false", true},
		{"false and false or true", true},
		{"true or false and false", true},
		{"(true or true) and false", false},
		{"not true or true", true},
		{"not (true or true)", false},
		{"false or false or true", true},
		{"true and true and false", false},
		{"(false or true) and (true and not false)", true},
		{"not (false and true) and not (false or false)", true},
		{" \t\r\nTRUE AND Not FALSE\n", true},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++)
		if (holds(rows[i].text) != rows[i].truth)
			fail_msg("%s", rows[i].text);
}

static void a_field_is_compared_by_its_text(void **state)
{
	assert_true(holds("field \"is_a_template\" = \"true\""));
	assert_false(holds("field \"is_a_template\"=\"false\""));
	assert_true(holds("field 'memory_static_max' = '-42'"));
	assert_true(holds("field 'snapshot_time' = '19700102T00:00:00Z'"));
	assert_true(holds("field 'HVM_shadow_multiplier' = '2.5'"));
	assert_true(holds("field 'power_state' = 'Halted'"));
	assert_true(holds("field 'affinity' = 'OpaqueRef:NULL'"));
}

static void wire_and_database_names_both_name_a_field(void **state)
{
	assert_true(holds("field 'name_label' = field 'name__label'"));
	assert_true(holds("field 'memory__static_max' = '-42'"));
}

static void either_side_may_be_the_text(void **state)
{
	assert_true(holds("'7' = field 'start_delay'"));
	assert_true(holds("'x' = \"x\""));
	assert_false(holds("'x' = 'X'"));
}

static void quotes_are_escaped_with_a_backslash(void **state)
{
	assert_true(holds("field 'name_label' = \"say \\\"hi\\\"\""));
	assert_true(holds("field 'name_label' = 'say \"hi\"'"));
	assert_true(holds("'\\\\' = \"\\\\\""));
	assert_false(holds("'\\n' = '\n'"));
}

static void sets_and_maps_are_compared_in_database_form(void **state)
{
	assert_true(holds("field 'tags' = \"('a b' 'it\\\\'s \\\\\\\\')\""));
	assert_true(holds("field 'other_config' = \"(('k' 'v'))\""));
	assert_true(holds("field 'VCPUs_params' = '()'"));
}

static void what_is_no_expression_is_refused(void **state)
{
	const char *const texts[] = {
		"",
		" ",
		"field",
		"field 'name_label'",
		"field 'name_label' =",
		"= 'x'",
		"field name_label = 'x'",
		"'a' = 'b",
		"'a' == 'b'",
		"true true",
		"(true",
		"true)",
		"()",
		"not",
		"and",
		"true and",
		"or true",
		"'a'",
		"'a' < 'b'",
		"\xc3\xa9",
		"field 'no_such_field' = 'x'",
		"field '' = 'x'",
		"truefalse",
		"true;",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(texts); i++)
		assert_refused(texts[i]);
}

static void internal_fields_cannot_be_guessed_at(void **state)
{
	struct xn_error err = {0};
	const char *text = "field 'wlb_password' = 'secret'";

	assert_null(xn_query_parse(&xn_classes[XN_CLASS_pool], text, strlen(text), &err));
	xn_error_clear(&err);
}

static void depth_and_length_are_bounded(void **state)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	for (int i = 0; i < 100000; i++)
		xn_buf_add_string(&text, "(");
	assert_refused(xn_buf_cstr(&text));
	text.len = 0;
	for (int i = 0; i < 100000; i++)
		xn_buf_add_string(&text, "not ");
	assert_refused(xn_buf_cstr(&text));
	text.len = 0;
	for (int i = 0; i < 100000; i++)
		xn_buf_add_string(&text, "true or ");
	xn_buf_add_string(&text, "true");
	assert_refused(xn_buf_cstr(&text));
}

static void a_chain_of_hundreds_works(void **state)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	for (int i = 0; i < 400; i++)
		xn_buf_printf(&text, "field 'start_delay' = '%d' or ", i + 8);
	xn_buf_add_string(&text, "field 'start_delay' = '7'");
	assert_true(holds(xn_buf_cstr(&text)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constants_and_their_combinations),
		cmocka_unit_test(a_field_is_compared_by_its_text),
		cmocka_unit_test(wire_and_database_names_both_name_a_field),
		cmocka_unit_test(either_side_may_be_the_text),
		cmocka_unit_test(quotes_are_escaped_with_a_backslash),
		cmocka_unit_test(sets_and_maps_are_compared_in_database_form),
		cmocka_unit_test(what_is_no_expression_is_refused),
		cmocka_unit_test(internal_fields_cannot_be_guessed_at),
		cmocka_unit_test(depth_and_length_are_bounded),
		cmocka_unit_test(a_chain_of_hundreds_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
