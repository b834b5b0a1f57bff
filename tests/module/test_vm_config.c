/*
 * What a back end is told about a VM: the files of tests/unit/libxl_config that have a "record"
 * hold a VM's fields and the configuration map that they must become. (That the map becomes the
 * right libxl JSON is tested there, where the Xen headers are.)
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "modules/domain/domain_internal.h"
#include "tests/module/vm_fixture.h"

static struct xn_value *read_file(const char *path)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0}, why XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v = NULL;
	FILE *file = fopen(path, "r");
	size_t n;

	assert_non_null(file);
	while ((n = fread(xn_buf_reserve(&text, 4096), 1, 4096, file)) > 0)
		text.len += n;
	fclose(file);
	if (xn_json_parse(text.data, text.len, &v, &why) < 0)
		fail_msg("%s: %s", path, xn_buf_cstr(&why));
	return v;
}

static bool is_empty(const struct xn_value *v)
{
	return (v->kind == XN_MAP && !xn_map_len(v)) || (v->kind == XN_SET && !xn_set_len(v)) ||
	       (v->kind == XN_STRING && !*xn_value_string(v));
}

/* VM.create adds to these two. */
static bool may_have_more(const char *key)
{
	return strcmp(key, "platform") == 0 || strcmp(key, "other_config") == 0;
}

static void check_holds(const char *path, const struct xn_value *map, const struct xn_value *part)
{
	for (size_t i = 0; i < xn_map_len(part); i++) {
		const struct xn_value *v = xn_map_get(map, xn_map_key_at(part, i));

		if (!v || !xn_value_equal(v, xn_map_at(part, i)))
			fail_msg("%s: %s is not as told", path, xn_map_key_at(part, i));
	}
}

static void check_member(const char *path, const char *key, const struct xn_value *is,
			 const struct xn_value *told)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (strcmp(key, "uuid") == 0)
		return;
	if (told && may_have_more(key)) {
		check_holds(path, is, told);
		return;
	}
	if (told ? xn_value_equal(is, told) : is_empty(is) || may_have_more(key))
		return;
	xn_json_write(is, &text);
	fail_msg("%s: %s became %s", path, key, xn_buf_cstr(&text));
}

static void check_file(struct api *api, const char *path)
{
	struct xn_value *file XN_CLEANUP(xn_value_unref_p) = read_file(path);
	struct xn_value *map XN_CLEANUP(xn_value_unref_p) = NULL;
	const struct xn_value *told = xn_map_get(file, "map"), *record = xn_map_get(file, "record");
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_vm_plan plan = {0};
	struct xn_row *vm;

	if (!record)
		return;
	vm = xn_vm_new(&api->core, record, &err);
	if (!vm)
		fail_msg("%s: %s", path, err.code);
	map = xn_domain_config(vm, &plan);
	for (size_t i = 0; i < xn_map_len(map); i++)
		check_member(path, xn_map_key_at(map, i), xn_map_at(map, i),
			     xn_map_get(told, xn_map_key_at(map, i)));
	for (size_t i = 0; i < xn_map_len(told); i++)
		if (!xn_map_get(map, xn_map_key_at(told, i)))
			fail_msg("%s: nothing became of %s", path, xn_map_key_at(told, i));
}

static void each_record_becomes_the_map_of_its_file(void **state)
{
	DIR *folder = opendir(LIBXL_CONFIG_FOLDER);
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char path[512];

		if (!strstr(entry->d_name, ".json"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", LIBXL_CONFIG_FOLDER, entry->d_name);
		check_file(*state, path);
		n++;
	}
	closedir(folder);
	assert_true(n >= 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_record_becomes_the_map_of_its_file, vm_setup,
						vm_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
