/* Records on the command line: the generated tables against the facts, values, filters. */
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/record/record.h"

static const char *facts_folder;

/* A file of facts, a line at a time; comments are left out. */
static FILE *open_facts(const char *name)
{
	char *path = xn_asprintf("%s/%s", facts_folder, name);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	free(path);
	return file;
}

static bool next_fact(FILE *file, char *line, int size)
{
	while (fgets(line, size, file)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line != '#')
			return true;
	}
	fclose(file);
	return false;
}

static void all_fields_are_as_the_facts_say(void **state)
{
	static const struct {
		char letter;
		unsigned flag;
	} letters[] = {
		{'s', XE_F_SET},     {'a', XE_F_ADD},        {'r', XE_F_REMOVE},
		{'k', XE_F_SET_KEY}, {'c', XE_F_CLEAR},      {'e', XE_F_EXPENSIVE},
		{'h', XE_F_HIDDEN},  {'d', XE_F_DEPRECATED}, {'i', XE_F_ANY_CASE},
	};
	FILE *file = open_facts("xe_record_fields.txt");
	char line[256], prefix[64], cls[64], name[64], label[16], flags[16];
	const struct xe_kind *kind = NULL;
	unsigned n = 0, field = 0, n_kinds = 0;

	(void)state;
	while (next_fact(file, line, sizeof(line))) {
		struct xe_columns columns;
		unsigned has;

		assert_int_equal(
			sscanf(line, "%63s %63s %63s %15s %15s", prefix, cls, name, label, flags),
			5);
		if (!kind || strcmp(xe_kind_prefix(kind), prefix)) {
			assert_true(!kind || field == xe_field_count(kind));
			kind = xe_kind_find(prefix, strlen(prefix));
			assert_non_null(kind);
			field = 0;
			n_kinds++;
		}
		assert_string_equal(xn_classes[xe_kind_class(kind)].name, cls);
		assert_string_equal(xe_field_name(kind, field), name);
		assert_int_equal(xe_field_find(kind, name, strlen(name)), field);
		has = xe_field_flags(kind, field);
		for (unsigned i = 0; i < XN_ARRAY_SIZE(letters); i++)
			if (!!strchr(flags, letters[i].letter) != !!(has & letters[i].flag))
				fail_msg("%s: %c", line, letters[i].letter);
		assert_int_equal(has & XE_F_SHAPE, label[1] == 'S'   ? XE_SET
						   : label[1] == 'M' ? XE_MAP
								     : XE_SCALAR);
		xe_columns_parse(kind, NULL, &columns);
		if (xe_columns_has(&columns, field) != !!strchr(flags, '*'))
			fail_msg("%s: default column", line);
		field++;
		n++;
	}
	assert_int_equal(n, 989);
	assert_int_equal(n_kinds, 55);
	for (n = 0; xe_kind_at(n); n++)
		;
	assert_int_equal(n, 55);
}

static void all_generated_commands_are_as_the_facts_say(void **state)
{
	FILE *file = open_facts("xe_generated_commands.txt");
	char line[8192], name[64], required[64], optional[8000], standard[16];
	unsigned n = 0, n_all = 0;

	(void)state;
	while (next_fact(file, line, sizeof(line))) {
		XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
		const struct xe_kind *kind;
		enum xe_verb verb;

		assert_int_equal(
			sscanf(line, "%63s %63s %7999s %15s", name, required, optional, standard),
			4);
		kind = xe_generated_find(name, &verb);
		if (!kind)
			fail_msg("there is no %s", name);
		assert_string_equal(required,
				    *xe_verb_required(verb) ? xe_verb_required(verb) : "-");
		xe_generated_optional(kind, verb, &text);
		assert_string_equal(text.len ? xn_buf_cstr(&text) : "-", optional);
		assert_int_equal(xe_generated_is_standard(kind, verb), standard[0] == 's');
		n++;
	}
	assert_int_equal(n, 288);
	for (unsigned i = 0; xe_kind_at(i); i++)
		for (unsigned verb = 0; verb < XE_VERBS; verb++)
			n_all += xe_kind_has(xe_kind_at(i), (enum xe_verb)verb);
	assert_int_equal(n_all, 288);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields_are_as_the_facts_say),
		cmocka_unit_test(all_generated_commands_are_as_the_facts_say),
	};

	facts_folder = argc > 1 ? argv[1] : ".";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
