/* Values, filters and forms of records, on rows of a database. */
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "rpc/xe/record/form.h"
#include "rpc/xe/record/width.h"
#include "tests/unit/api_fixture.h"

#define WEB "3d2f1f7e-0000-4000-8000-000000000001"

static struct xn_value *parse(const char *json)
{
	struct xn_value *v;

	if (xn_json_parse(json, strlen(json), &v, NULL) < 0)
		fail_msg("no JSON: %s", json);
	return v;
}

static struct xn_row *given(struct api *api, int class_id, const char *fields)
{
	const struct xn_class *cls = &xn_classes[class_id];
	struct xn_value *typed = xn_map_new(), *v = parse(fields);
	struct xn_row *row;

	for (size_t i = 0; i < xn_map_len(v); i++) {
		struct xn_error err = {0};
		int field = xn_field_find(cls, xn_map_key_at(v, i));

		assert_true(field >= 0);
		xn_map_put(&typed, xn_map_key_at(v, i),
			   xn_type_check(cls->fields[field].type, xn_value_ref(xn_map_at(v, i)), "",
					 &err));
	}
	row = xn_db_create(api->db, class_id, NULL, typed);
	xn_value_unref(typed);
	xn_value_unref(v);
	return row;
}

static const struct xe_kind *kind_of(const char *prefix)
{
	return xe_kind_find(prefix, strlen(prefix));
}

/* A field as param-get prints it; the caller's. */
static char *printed(struct api *api, struct xn_row *row, const char *prefix, const char *name)
{
	const struct xe_kind *kind = kind_of(prefix);
	int field = xe_field_find(kind, name, strlen(name));
	struct xn_record *record = xn_row_take(row);
	struct xe_item item = xe_item_of(record);
	struct xn_buf text = {0};

	assert_true(field >= 0);
	xe_field_print(api->db, kind, (unsigned)field, &item, &text);
	xn_record_unref(record);
	return xn_buf_steal(&text);
}

static void expect(struct api *api, struct xn_row *row, const char *prefix, const char *name,
		   const char *expected)
{
	char *text = printed(api, row, prefix, name);

	if (strcmp(text ? text : "", expected))
		fail_msg("%s %s: '%s', not '%s'", prefix, name, text ? text : "", expected);
	free(text);
}

/* ---- values ---- */

static void values_read_as_their_types_say(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(
		api, XN_CLASS_VM,
		"{\"name_label\": \"web\", \"power_state\": \"Running\", \"VCPUs_max\": 4,"
		" \"other_config\": {\"b\": \"2\", \"a\": \"x; y\"}, \"tags\": [\"one\", \"two\"],"
		" \"actions_after_crash\": \"coredump_and_restart\", \"HVM_shadow_multiplier\": "
		"1.5,"
		" \"actions_after_softreboot\": \"soft_reboot\", \"domain_type\": \"pv_in_pvh\","
		" \"allowed_operations\": [\"start\", \"clone\"], \"is_a_template\": true,"
		" \"current_operations\": {\"OpaqueRef:1\": \"start\"},"
		" \"snapshot_time\": \"20260821T02:00:23Z\", \"last_booted_record\": \"r\"}");

	expect(api, vm, "vm", "name-label", "web");
	expect(api, vm, "vm", "power-state", "running");
	expect(api, vm, "vm", "VCPUs-max", "4");
	expect(api, vm, "vm", "other-config", "a: x; y; b: 2");
	expect(api, vm, "vm", "tags", "one, two");
	expect(api, vm, "vm", "actions-after-crash", "Core dump and restart");
	expect(api, vm, "vm", "actions-after-softreboot", "Soft reboot");
	expect(api, vm, "vm", "actions-after-reboot", "Destroy");
	expect(api, vm, "vm", "HVM-shadow-multiplier", "1.500");
	expect(api, vm, "vm", "domain-type", "pv-in-pvh");
	expect(api, vm, "vm", "allowed-operations", "start; clone");
	expect(api, vm, "vm", "current-operations", "start");
	expect(api, vm, "vm", "is-a-template", "true");
	expect(api, vm, "vm", "snapshot-time", "20260821T02:00:23Z");
	expect(api, vm, "vm", "last-boot-record", "'r'");
}

static void what_is_behind_no_reference_is_not_in_the_database(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(api, XN_CLASS_VM, "{\"affinity\": \"OpaqueRef:gone\"}");

	expect(api, vm, "vm", "affinity", "<not in database>");
	expect(api, vm, "vm", "resident-on", "<not in database>");
	expect(api, vm, "vm", "memory-actual", "<not in database>");
	expect(api, vm, "vm", "os-version", "<not in database>");
	expect(api, vm, "vm", "start-time", "<unknown time>");
	expect(api, vm, "vm", "hvm", "false");
	expect(api, vm, "vm", "VBDs", "");
	expect(api, vm, "vm", "memory-target", "0");
	expect(api, vm, "vm", "VCPUs-utilisation", "");
	expect(api, vm, "vm", "possible-hosts", "<unknown>");
}

static void references_lead_on(void **state)
{
	struct api *api = *state;
	struct xn_row *metrics =
		given(api, XN_CLASS_VM_metrics, "{\"memory_actual\": 1024, \"hvm\": true}");
	char *fields =
		xn_asprintf("{\"uuid\": \"" WEB "\", \"name_label\": \"web\", \"metrics\": \"%s\"}",
			    xn_row_ref(metrics));
	struct xn_row *vm = given(api, XN_CLASS_VM, fields), *vbd, *sr, *host, *pbd, *patch;

	expect(api, vm, "vm", "memory-actual", "1024");
	expect(api, vm, "vm", "hvm", "true");
	free(fields);
	fields = xn_asprintf("{\"VM\": \"%s\", \"mode\": \"RO\", \"empty\": true}", xn_row_ref(vm));
	vbd = given(api, XN_CLASS_VBD, fields);
	expect(api, vbd, "vbd", "vm-uuid", WEB);
	expect(api, vbd, "vbd", "vm-name-label", "web");
	expect(api, vbd, "vbd", "vdi-name-label", "<EMPTY>");
	expect(api, vbd, "vbd", "mode", "ro");
	expect(api, vbd, "vbd", "io_read_kbs", "<unknown>");
	expect(api, vm, "vm", "VBDs", xn_row_uuid(vbd));
	free(fields);
	host = given(api, XN_CLASS_host, "{\"name_label\": \"first\", \"https_only\": true}");
	sr = given(api, XN_CLASS_SR,
		   "{\"allowed_operations\": [\"vdi_create\", \"scan\", \"pbd_destroy\"]}");
	expect(api, sr, "sr", "allowed-operations", "VDI.create; scan; PBD.destroy");
	expect(api, sr, "sr", "host", "<not in database>");
	fields =
		xn_asprintf("{\"SR\": \"%s\", \"host\": \"%s\"}", xn_row_ref(sr), xn_row_ref(host));
	pbd = given(api, XN_CLASS_PBD, fields);
	expect(api, pbd, "pbd", "host-name-label", "first");
	expect(api, sr, "sr", "host", "first");
	given(api, XN_CLASS_PBD, fields);
	expect(api, sr, "sr", "host", "<shared>");
	free(fields);
	patch = given(api, XN_CLASS_pool_patch,
		      "{\"after_apply_guidance\": [\"restartHVM\", \"restartPV\"]}");
	expect(api, patch, "patch", "after-apply-guidance", "restartHVM, restartPV");
}

static void what_hosts_differ_in_is_inconsistent(void **state)
{
	struct api *api = *state;
	struct xn_row *pool = given(api, XN_CLASS_pool, "{}");

	given(api, XN_CLASS_host, "{\"https_only\": true, \"console_idle_timeout\": 5}");
	expect(api, pool, "pool", "console-idle-timeout", "5");
	expect(api, pool, "pool", "https-only", "true");
	given(api, XN_CLASS_host, "{\"https_only\": false, \"console_idle_timeout\": 6}");
	expect(api, pool, "pool", "console-idle-timeout", "<inconsistent>");
	expect(api, pool, "pool", "https-only", "false");
}

/* ---- every field of every class ---- */

static void each_field_of_a_new_row_has_a_text_and_a_json_value(void **state)
{
	struct api *api = *state;

	for (unsigned k = 0; xe_kind_at(k); k++) {
		const struct xe_kind *kind = xe_kind_at(k);
		struct xe_sight sight = {.db = api->db, .kind = kind};
		struct xn_buf text = {0};
		struct xn_record *record;
		struct xn_value *object;
		struct xe_item item;

		if (!xn_classes[xe_kind_class(kind)].in_database)
			continue;
		record = xn_row_take(given(api, xe_kind_class(kind), "{}"));
		item = xe_item_of(record);
		for (unsigned i = 0; i < xe_field_count(kind); i++)
			sight.columns.bits[i / 64] |= UINT64_C(1) << i % 64;
		xe_form_plain(&sight, &item, &text);
		assert_true(text.len > 2);
		text.len = 0;
		xe_form_json(&sight, &item, NULL, &text);
		object = parse(xn_buf_cstr(&text));
		assert_int_equal(xn_map_len(object), xe_field_count(kind));
		xn_value_unref(object);
		xn_buf_clear(&text);
		xn_record_unref(record);
	}
}

static void json_has_native_types(void **state)
{
	struct api *api = *state;
	struct xn_row *vm =
		given(api, XN_CLASS_VM,
		      "{\"uuid\": \"" WEB "\", \"VCPUs_max\": 4,"
		      " \"tags\": [\"a\", \"b\"], \"other_config\": {\"k\\n\": \"v\\\"\"},"
		      " \"children\": [], \"is_a_template\": true}");
	struct xe_sight sight = {.db = api->db, .kind = kind_of("vm"), .is_list = true};
	struct xn_record *record = xn_row_take(vm);
	struct xe_item item = xe_item_of(record);
	struct xn_buf text = {0};

	xe_columns_parse(sight.kind,
			 "uuid,VCPUs-max,tags,other-config,children,is-a-template,affinity,"
			 "possible-hosts,os-version,HVM-shadow-multiplier,nobody",
			 &sight.columns);
	xe_form_json(&sight, &item, "It", &text);
	assert_string_equal(
		xn_buf_cstr(&text),
		"{\"title\":\"It\",\"uuid\":\"" WEB "\",\"is-a-template\":true,\"children\":[],"
		"\"VCPUs-max\":4,\"possible-hosts\":null,\"HVM-shadow-multiplier\":1.0,"
		"\"affinity\":null,\"other-config\":{\"k\\n\":\"v\\\"\"},\"os-version\":{},"
		"\"tags\":[\"a\",\"b\"]}");
	xn_buf_clear(&text);
	xn_record_unref(record);
}

/* ---- plain ---- */

static char *plain(struct api *api, struct xn_row *row, const char *prefix, const char *params)
{
	struct xe_sight sight = {.db = api->db, .kind = kind_of(prefix), .is_list = true};
	struct xn_record *record = xn_row_take(row);
	struct xe_item item = xe_item_of(record);
	struct xn_buf text = {0};

	xe_columns_parse(sight.kind, params, &sight.columns);
	xe_form_plain(&sight, &item, &text);
	xn_record_unref(record);
	return xn_buf_steal(&text);
}

static void plain_records_are_the_fields_clients_bytes(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(api, XN_CLASS_VM,
				  "{\"uuid\": \"" WEB "\", \"name_label\": \"web\","
				  " \"power_state\": \"Halted\", \"tags\": [\"x\"]}");
	char *text = plain(api, vm, "vm", NULL);

	assert_string_equal(text, "uuid ( RO)           : " WEB "\n"
				  "     name-label ( RW): web\n"
				  "    power-state ( RO): halted\n\n");
	free(text);
	/* In the record's order, whatever was asked for; as wide as this record needs. */
	text = plain(api, vm, "vm",
		     "tags,ha-always-run,nobody,memory-target,transportable-snapshot-id");
	assert_string_equal(text, "memory-target ( RO)                 : <expensive field>\n"
				  "    ha-always-run ( RW) [DEPRECATED]: false\n"
				  "                          tags (SRW): x\n\n");
	free(text);
}

/* ---- filters ---- */

static bool passes(struct api *api, struct xn_row *row, const char *prefix, const char *name,
		   const char *value)
{
	static const struct xe_arguments none;
	struct xe_filter *filter = xe_filter_new(kind_of(prefix), &none, NULL, NULL);
	struct xn_record *record = xn_row_take(row);
	struct xe_item item = xe_item_of(record);
	bool passed;

	xe_filter_add(filter, name, value);
	passed = !xe_filter_unknown(filter) && xe_filter_passes(filter, api->db, &item);
	xe_filter_free(filter);
	xn_record_unref(record);
	return passed;
}

static void filters_compare_what_is_printed(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(
		api, XN_CLASS_VM,
		"{\"name_label\": \"web\", \"power_state\": \"Running\", \"tags\": [\"a\", \"bc\"],"
		" \"other_config\": {\"owner\": \"anna\", \"k:v\": \"1\"}}");
	struct xn_row *vif = given(api, XN_CLASS_VIF, "{\"MAC\": \"aa:BB:cc:00:11:22\"}");

	assert_true(passes(api, vm, "vm", "name-label", "web"));
	assert_false(passes(api, vm, "vm", "name-label", "Web"));
	assert_false(passes(api, vm, "vm", "name-label", "we"));
	assert_true(passes(api, vm, "vm", "power-state", "running"));
	assert_false(passes(api, vm, "vm", "power-state", "Running"));
	assert_true(passes(api, vm, "vm", "affinity", "<not in database>"));
	assert_true(passes(api, vm, "vm", "tags", "a, bc"));
	assert_true(passes(api, vm, "vm", "tags:contains", "bc"));
	assert_false(passes(api, vm, "vm", "tags:contains", "b"));
	assert_false(passes(api, vm, "vm", "tags:has", "a"));
	assert_true(passes(api, vm, "vm", "other-config:owner", "anna"));
	assert_true(passes(api, vm, "vm", "other-config:k:v", "1"));
	assert_false(passes(api, vm, "vm", "other-config:owner", "berta"));
	assert_false(passes(api, vm, "vm", "other-config:nobody", ""));
	assert_false(passes(api, vm, "vm", "name-label:contains", "web"));
	assert_true(passes(api, vif, "vif", "MAC", "AA:bb:CC:00:11:22"));
}

static void all_conditions_hold_together(void **state)
{
	struct api *api = *state;
	struct xn_row *vm =
		given(api, XN_CLASS_VM, "{\"uuid\": \"" WEB "\", \"name_label\": \"web\"}");
	struct xn_row *template =
		given(api, XN_CLASS_VM, "{\"name_label\": \"web\", \"is_a_template\": true}");
	char body[] = "vm-list\nname-label=web\nparams=all\nusername=root\n--multiple\nnobody=1\n";
	struct xe_arguments arguments = {0};
	struct xe_filter *filter;
	struct xe_item item = {.record = xn_row_take(vm)},
		       other = {.record = xn_row_take(template)};
	const char *why;

	assert_int_equal(xe_arguments_parse(body, strlen(body), &arguments, &why), 0);
	filter = xe_filter_new(kind_of("vm"), &arguments, NULL, NULL);
	assert_string_equal(xe_filter_unknown(filter), "params");
	assert_true(xe_filter_passes(filter, api->db, &item));
	assert_true(xe_filter_passes(filter, api->db, &other));
	xe_filter_add_implied(filter);
	assert_true(xe_filter_passes(filter, api->db, &item));
	assert_false(xe_filter_passes(filter, api->db, &other));
	xe_filter_add_named(filter, WEB);
	assert_true(xe_filter_passes(filter, api->db, &item));
	xe_filter_add_named(filter, "web");
	assert_true(xe_filter_passes(filter, api->db, &item));
	xe_filter_add_named(filter, "db");
	assert_false(xe_filter_passes(filter, api->db, &item));
	xe_filter_free(filter);
	xe_arguments_clear(&arguments);
	xn_record_unref(item.record);
	xn_record_unref(other.record);
}

/* ---- terminals ---- */

static void text_on_a_terminal_is_cut_by_width_and_harmless(void **state)
{
	static const struct {
		const char *text;
		size_t most;
		const char *expected;
		size_t width;
	} cases[] = {
		{"web", 10, "web", 3},
		{"webserver", 4, "web\xe2\x80\xa6", 4},
		{"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 6, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		 6},
		{"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 5, "\xe6\x97\xa5\xe6\x9c\xac\xe2\x80\xa6",
		 5},
		{"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 4, "\xe6\x97\xa5\xe2\x80\xa6", 3},
		{"a\033[31mb", 20, "a\xef\xbf\xbd[31mb", 7},
		{"a\nb\tc\r", 20, "a b c\xef\xbf\xbd", 6},
		{"\xe2\x80\xaeoff", 20, "\xef\xbf\xbdoff", 4},
		{"\xc2\x9b"
		 "31m",
		 20,
		 "\xef\xbf\xbd"
		 "31m",
		 4},
		{"e\xcc\x81", 1, "e\xcc\x81", 1},
		{"\xff\xfe", 5, "\xef\xbf\xbd\xef\xbf\xbd", 2},
	};

	(void)state;
	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct xn_buf out = {0};
		size_t width = xe_width_add(cases[i].text, cases[i].most, &out);

		assert_string_equal(xn_buf_cstr(&out), cases[i].expected);
		assert_int_equal(width, cases[i].width);
		xn_buf_clear(&out);
	}
}

static void a_table_fits_every_terminal_and_keeps_uuids_whole(void **state)
{
	struct api *api = *state;
	struct xe_sight sight = {.db = api->db, .kind = kind_of("vm"), .is_list = true};
	struct xn_record *record = xn_row_take(given(api, XN_CLASS_VM,
						     "{\"uuid\": \"" WEB "\","
						     " \"name_label\": \"a rather long name of a "
						     "machine that has a long name \\u009b2J\","
						     " \"name_description\": \"and what it is for, "
						     "in some words more\", \"VCPUs_max\": 16}"));
	struct xe_item item = xe_item_of(record);

	xe_columns_parse(sight.kind,
			 "uuid,name-label,name-description,power-state,VCPUs-max,"
			 "memory-static-max,allowed-operations",
			 &sight.columns);
	for (unsigned columns = 20; columns < 250; columns++) {
		struct xe_screen screen = {.columns = columns, .colour = columns % 2};
		struct xn_buf head = {0}, row = {0};
		struct xe_table table;

		xe_table_begin(&table, &sight);
		xe_table_measure(&table, &sight, &item);
		xe_table_settle(&table, &sight, screen);
		screen.colour = false;
		if (table.is_narrow) {
			assert_true(columns < 36 + 2 + 10);
			continue;
		}
		xe_table_head(&table, &sight, screen, &head);
		xe_table_row(&table, &sight, &item, screen, &row);
		assert_true(xe_width(xn_buf_cstr(&head)) <= columns);
		assert_true(xe_width(xn_buf_cstr(&row)) <= columns);
		assert_non_null(strstr(row.data, WEB));
		assert_null(strstr(row.data, "\xc2\x9b"));
		xn_buf_clear(&head);
		xn_buf_clear(&row);
	}
	xn_record_unref(record);
}

static void colour_is_for_heads_states_and_what_is_not_there(void **state)
{
	struct api *api = *state;
	struct xe_sight sight = {.db = api->db, .kind = kind_of("vm"), .is_list = true};
	struct xn_record *record = xn_row_take(given(api, XN_CLASS_VM,
						     "{\"name_label\": \"web\","
						     " \"power_state\": \"Running\"}"));
	struct xe_item item = xe_item_of(record);
	struct xe_screen screen = {.columns = 80, .colour = true};
	struct xn_buf text = {0};
	struct xe_table table;

	xe_columns_parse(sight.kind, "name-label,power-state,affinity", &sight.columns);
	xe_table_begin(&table, &sight);
	xe_table_measure(&table, &sight, &item);
	xe_table_settle(&table, &sight, screen);
	xe_table_head(&table, &sight, screen, &text);
	xn_buf_add_char(&text, '\n');
	xe_table_row(&table, &sight, &item, screen, &text);
	assert_string_equal(
		xn_buf_cstr(&text),
		"\033[1mname-label\033[0m  \033[1mpower-state\033[0m  \033[1maffinity\033[0m\n"
		"web         \033[32mrunning\033[0m      \033[2m<not in database>\033[0m");
	xn_buf_clear(&text);
	xn_record_unref(record);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define ROW(test) cmocka_unit_test_setup_teardown(test, api_setup, api_teardown)
		ROW(values_read_as_their_types_say),
		ROW(what_is_behind_no_reference_is_not_in_the_database),
		ROW(references_lead_on),
		ROW(what_hosts_differ_in_is_inconsistent),
		ROW(each_field_of_a_new_row_has_a_text_and_a_json_value),
		ROW(json_has_native_types),
		ROW(plain_records_are_the_fields_clients_bytes),
		ROW(filters_compare_what_is_printed),
		ROW(all_conditions_hold_together),
		cmocka_unit_test(text_on_a_terminal_is_cut_by_width_and_harmless),
		ROW(a_table_fits_every_terminal_and_keeps_uuids_whole),
		ROW(colour_is_for_heads_states_and_what_is_not_there),
#undef ROW
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
