/* Lookups and defaults of core/schema/schema.c, and what holds for all rows of the tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/schema/schema.h"

static void every_method_is_found_by_its_name(void **state)
{
	for (unsigned i = 0; i < xn_n_methods; i++)
		assert_ptr_equal(xn_method_find(xn_methods[i].name), &xn_methods[i]);
}

static void unknown_method_names_are_not_found(void **state)
{
	const char *const names[] = {"",         "VM",        "VM.",   "VM.starts",
				     "vm.start", "VM.start ", ".start"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		assert_null(xn_method_find(names[i]));
}

static void methods_are_sorted_by_name_and_name_their_class(void **state)
{
	char expected[128];

	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];

		if (i)
			assert_true(strcmp(xn_methods[i - 1].name, method->name) < 0);
		snprintf(expected, sizeof(expected), "%s.%s", xn_classes[method->class_id].name,
			 method->message);
		assert_string_equal(expected, method->name);
	}
}

static void methods_about_a_field_name_it(void **state)
{
	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];
		bool about_field = method->kind >= XN_M_GET && method->kind <= XN_M_REMOVE;

		assert_int_equal(about_field, method->field >= 0);
		if (method->kind == XN_M_GET)
			assert_ptr_equal(method->result,
					 xn_classes[method->class_id].fields[method->field].type);
	}
}

static void lock_and_forward_parameters_are_parameters(void **state)
{
	const struct xn_method *start = xn_method_find("VM.start");

	for (unsigned i = 0; i < xn_n_methods; i++) {
		assert_true(xn_methods[i].lock_param < (int)xn_methods[i].n_params);
		assert_true(xn_methods[i].forward_param < (int)xn_methods[i].n_params);
		assert_true(xn_methods[i].lock_param < 0 || xn_methods[i].operation);
	}
	assert_string_equal(start->operation, "start");
	assert_int_equal(start->lock_param, 0);
}

static void a_call_can_hold_the_longest_parameter_list(void **state)
{
	unsigned most = 0;

	for (unsigned i = 0; i < xn_n_methods; i++)
		most = xn_methods[i].n_params > most ? xn_methods[i].n_params : most;
	assert_int_equal(most, XN_SCHEMA_MAX_PARAMS);
}

static void classes_are_found_by_exact_name(void **state)
{
	for (int i = 0; i < XN_CLASS_COUNT; i++) {
		assert_int_equal(xn_classes[i].id, i);
		assert_ptr_equal(xn_class_find(xn_classes[i].name), &xn_classes[i]);
	}
	assert_null(xn_class_find("vm"));
	assert_null(xn_class_find(""));
}

static void event_names_are_found_in_any_case(void **state)
{
	assert_int_equal(xn_class_find_event("vm")->id, XN_CLASS_VM);
	assert_int_equal(xn_class_find_event("Vm_Metrics")->id, XN_CLASS_VM_metrics);
	assert_null(xn_class_find_event("*"));
}

static void internal_classes_have_no_messages_and_no_events(void **state)
{
	assert_null(xn_class_find_event("xn_operation"));
	assert_true(xn_classes[XN_CLASS_xn_operation].internal);
	for (unsigned i = 0; i < xn_n_methods; i++)
		assert_false(xn_classes[xn_methods[i].class_id].internal);
}

static void fields_are_found_by_wire_and_by_database_name(void **state)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_class *cls = &xn_classes[c];

		for (unsigned i = 0; i < cls->n_fields; i++) {
			assert_int_equal(xn_field_find(cls, cls->fields[i].name), (int)i);
			assert_int_equal(xn_field_find(cls, cls->fields[i].db_name), (int)i);
			assert_int_equal(cls->fields[i].internal, i >= cls->n_public);
		}
		assert_int_equal(xn_field_find(cls, "no_such_field"), -1);
	}
	assert_int_equal(xn_field_find(&xn_classes[XN_CLASS_VM], "name__label"), XN_VM_name_label);
	assert_int_equal(xn_field_find(&xn_classes[XN_CLASS_VBD], "power_state"), -1);
}

static void the_ends_of_a_relation_name_each_other(void **state)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		for (unsigned i = 0; i < xn_classes[c].n_fields; i++) {
			const struct xn_field *end = &xn_classes[c].fields[i], *other;

			if (end->relation == XN_REL_NONE)
				continue;
			other = &xn_classes[end->other_class].fields[end->other_field];
			assert_int_equal(other->other_class, c);
			assert_int_equal(other->other_field, (int)i);
			assert_int_equal(end->relation == XN_REL_ONE_TO_MANY,
					 other->relation == XN_REL_MANY_TO_ONE);
		}
	}
}

static enum xn_kind kind_of(const struct xn_type *type)
{
	switch (type->kind) {
	case XN_T_INT:
		return XN_INT;
	case XN_T_FLOAT:
		return XN_FLOAT;
	case XN_T_BOOL:
		return XN_BOOL;
	case XN_T_DATETIME:
		return XN_DATETIME;
	case XN_T_SET:
		return XN_SET;
	case XN_T_MAP:
		return XN_MAP;
	default:
		return XN_STRING;
	}
}

static void every_stored_field_has_a_default_of_its_type(void **state)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_class *cls = &xn_classes[c];

		for (unsigned i = 0; cls->in_database && i < cls->n_fields; i++) {
			struct xn_value *first = xn_field_default(cls, i);
			struct xn_value *second = xn_field_default(cls, i);

			assert_int_equal(first->kind, kind_of(cls->fields[i].type));
			assert_ptr_equal(first, second);
			if (cls->fields[i].type->kind == XN_T_REF)
				assert_memory_equal(xn_value_string(first), "OpaqueRef:", 10);
			xn_value_unref(first);
			xn_value_unref(second);
		}
	}
}

static void a_default_with_content_is_read(void **state)
{
	struct xn_value *v = xn_field_default(&xn_classes[XN_CLASS_VM], XN_VM_power_state);

	assert_string_equal(xn_value_string(v), "Halted");
	xn_value_unref(v);
	v = xn_field_default(&xn_classes[XN_CLASS_host], XN_host_license_server);
	assert_string_equal(xn_map_get_string(v, "port"), "27000");
	xn_value_unref(v);
}

static void only_optional_parameters_have_a_default(void **state)
{
	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];

		for (unsigned p = 0; p < method->n_params; p++) {
			struct xn_value *v = xn_param_default(&method->params[p]);

			assert_int_equal(v != NULL, p >= method->n_required);
			if (v)
				assert_int_equal(v->kind, kind_of(method->params[p].type));
			xn_value_unref(v);
		}
	}
}

static void enum_values_are_found_in_any_case(void **state)
{
	const struct xn_enum *e =
		xn_classes[XN_CLASS_VM].fields[XN_VM_power_state].type->enumeration;

	assert_string_equal(e->name, "vm_power_state");
	assert_int_equal(xn_enum_find(e, "Paused"), 1);
	assert_int_equal(xn_enum_find(e, "pAUSED"), 1);
	assert_int_equal(xn_enum_find(e, "Pause"), -1);
}

static void every_error_code_is_found(void **state)
{
	for (unsigned i = 0; i < xn_n_errors; i++)
		assert_ptr_equal(xn_error_code_find(xn_errors[i].code), xn_errors[i].code);
	assert_string_equal(xn_error_code_find("VM_BAD_POWER_STATE"), XN_ERR_VM_BAD_POWER_STATE);
	assert_null(xn_error_code_find("NO_SUCH_CODE"));
	assert_null(xn_error_code_find(""));
}

static void everything_published_says_what_it_is(void **state)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		assert_true(*xn_classes[c].doc);
		for (unsigned i = 0; i < xn_classes[c].n_fields; i++)
			assert_true(*xn_classes[c].fields[i].doc);
	}
	for (unsigned i = 0; i < xn_n_methods; i++)
		assert_true(*xn_methods[i].doc);
}

static void automatic_methods_say_what_their_class_and_field_say(void **state)
{
	assert_string_equal(xn_method_find("VM.get_name_label")->doc,
			    "Read name_label: its name, for people.");
	assert_string_equal(xn_method_find("VM.get_name_label")->message, "get_name_label");
	assert_string_equal(xn_method_find("host.get_all_records")->doc,
			    "References and records of every host.");
	assert_string_equal(xn_method_find("VM.remove_from_other_config")->message,
			    "remove_from_other_config");
}

static void every_error_is_a_sentence_for_people(void **state)
{
	for (unsigned i = 0; i < xn_n_errors; i++) {
		const char *doc = xn_errors[i].doc;

		assert_in_range(doc[0], 'A', 'Z');
		assert_int_equal(doc[strlen(doc) - 1], '.');
		assert_null(strchr(doc, '\n'));
	}
	/* Scripts match it. */
	assert_string_equal(xn_error_find("UUID_INVALID")->doc, "The uuid you supplied was invalid.");
	assert_null(xn_error_find("NO_SUCH_CODE"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method_is_found_by_its_name),
		cmocka_unit_test(unknown_method_names_are_not_found),
		cmocka_unit_test(methods_are_sorted_by_name_and_name_their_class),
		cmocka_unit_test(methods_about_a_field_name_it),
		cmocka_unit_test(lock_and_forward_parameters_are_parameters),
		cmocka_unit_test(a_call_can_hold_the_longest_parameter_list),
		cmocka_unit_test(classes_are_found_by_exact_name),
		cmocka_unit_test(event_names_are_found_in_any_case),
		cmocka_unit_test(internal_classes_have_no_messages_and_no_events),
		cmocka_unit_test(fields_are_found_by_wire_and_by_database_name),
		cmocka_unit_test(the_ends_of_a_relation_name_each_other),
		cmocka_unit_test(every_stored_field_has_a_default_of_its_type),
		cmocka_unit_test(a_default_with_content_is_read),
		cmocka_unit_test(only_optional_parameters_have_a_default),
		cmocka_unit_test(enum_values_are_found_in_any_case),
		cmocka_unit_test(every_error_code_is_found),
		cmocka_unit_test(everything_published_says_what_it_is),
		cmocka_unit_test(automatic_methods_say_what_their_class_and_field_say),
		cmocka_unit_test(every_error_is_a_sentence_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
