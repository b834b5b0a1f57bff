/* core/schema/typed.c: client data against the schema's types. */
#include "cmocka_all.h"

#include "core/json.h"
#include "core/schema/schema.h"

static const struct xn_type *field_type(int class_id, int field)
{
	return xn_classes[class_id].fields[field].type;
}

/* The converted value as JSON, or the error's code. */
static void assert_checked(const struct xn_type *type, const char *json, const char *expected)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_value *v;

	assert_int_equal(xn_json_parse(json, strlen(json), &v, NULL), 0);
	v = xn_type_check(type, v, "arg", &err);
	if (v) {
		assert_false(xn_error_is_set(&err));
		xn_json_write(v, &out);
		xn_value_unref(v);
	} else {
		assert_string_equal(err.params[0], "arg");
		xn_buf_add_string(&out, err.code);
	}
	assert_string_equal(xn_buf_cstr(&out), expected);
}

static void integers_are_taken_as_numbers_or_digits(void **state)
{
	const struct xn_type *type = field_type(XN_CLASS_VM, XN_VM_VCPUs_max);

	assert_checked(type, "42", "42");
	assert_checked(type, "\"42\"", "42");
	assert_checked(type, "\"-9223372036854775808\"", "-9223372036854775808");
	assert_checked(type, "\"9223372036854775808\"", "INVALID_VALUE");
	assert_checked(type, "\"4x\"", "INVALID_VALUE");
	assert_checked(type, "\" 4\"", "INVALID_VALUE");
	assert_checked(type, "\"\"", "INVALID_VALUE");
	assert_checked(type, "1.5", "FIELD_TYPE_ERROR");
	assert_checked(type, "true", "FIELD_TYPE_ERROR");
	assert_checked(type, "null", "FIELD_TYPE_ERROR");
	assert_checked(type, "[]", "FIELD_TYPE_ERROR");
}

static void floats_are_taken_as_numbers_or_text_but_finite(void **state)
{
	const struct xn_type *type = field_type(XN_CLASS_VM, XN_VM_HVM_shadow_multiplier);

	assert_checked(type, "1", "1.0");
	assert_checked(type, "0.25", "0.25");
	assert_checked(type, "\"0.25\"", "0.25");
	assert_checked(type, "\"nan\"", "INVALID_VALUE");
	assert_checked(type, "\"inf\"", "INVALID_VALUE");
	assert_checked(type, "false", "FIELD_TYPE_ERROR");
}

static void booleans_are_only_booleans(void **state)
{
	const struct xn_type *type = field_type(XN_CLASS_VM, XN_VM_is_a_template);

	assert_checked(type, "true", "true");
	assert_checked(type, "\"true\"", "FIELD_TYPE_ERROR");
	assert_checked(type, "1", "FIELD_TYPE_ERROR");
}

static void enums_are_matched_without_case_and_spelled_right(void **state)
{
	const struct xn_type *type = field_type(XN_CLASS_VM, XN_VM_power_state);

	assert_checked(type, "\"halted\"", "\"Halted\"");
	assert_checked(type, "\"Sleeping\"", "INVALID_VALUE");
}

static void containers_are_checked_all_the_way_down(void **state)
{
	assert_checked(field_type(XN_CLASS_VM, XN_VM_tags), "[\"a\",\"b\"]", "[\"a\",\"b\"]");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_tags), "[\"a\",1]", "FIELD_TYPE_ERROR");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_tags), "{}", "FIELD_TYPE_ERROR");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_platform), "{\"k\":\"v\"}", "{\"k\":\"v\"}");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_platform), "{\"k\":1}", "FIELD_TYPE_ERROR");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_platform), "{\"\\u0001\":\"v\"}", "INVALID_VALUE");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_platform), "[]", "FIELD_TYPE_ERROR");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_blocked_operations), "{\"START\":\"no\"}",
		       "{\"start\":\"no\"}");
}

static void text_that_the_api_cannot_carry_is_refused_without_echo(void **state)
{
	assert_checked(field_type(XN_CLASS_VM, XN_VM_name_label), "\"\\u0001\"", "INVALID_VALUE");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_name_label), "\"\\uffff\"", "INVALID_VALUE");
	assert_checked(field_type(XN_CLASS_VM, XN_VM_name_label), "\"\\t\\r\\n\"", "\"\\t\\r\\n\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_taken_as_numbers_or_digits),
		cmocka_unit_test(floats_are_taken_as_numbers_or_text_but_finite),
		cmocka_unit_test(booleans_are_only_booleans),
		cmocka_unit_test(enums_are_matched_without_case_and_spelled_right),
		cmocka_unit_test(containers_are_checked_all_the_way_down),
		cmocka_unit_test(text_that_the_api_cannot_carry_is_refused_without_echo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
