/* Messages: made, found, bounded. */
#include "tests/unit/cmocka_all.h"

#include "modules/message/message.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static void leave(struct api *api, const char *name, const char *body, char ref[48])
{
	xn_message_create(xn_messages_of(&api->core), name, 3, "VM", "some-uuid", body, ref);
}

static void a_message_is_found_by_what_it_is_about(void **state)
{
	struct api *api = *state;
	char ref[48], *text;

	leave(api, "VM_STARTED", "body", ref);
	api_turn(api);
	text = api_do(api, "message.get", "[\"VM\", \"some-uuid\", \"19700101T00:00:00Z\"]");
	assert_non_null(strstr(text, ref));
	assert_non_null(strstr(text, "\"name\":\"VM_STARTED\""));
	free(text);
	text = api_do(api, "message.get", "[\"Host\", \"some-uuid\", \"19700101T00:00:00Z\"]");
	assert_string_equal(text, "{}");
	free(text);
	text = api_do(api, "message.get_all_records_where",
		      "[\"field \\\"name\\\" = \\\"VM_STARTED\\\"\"]");
	assert_non_null(strstr(text, ref));
	free(text);
}

static void only_later_ones_are_since(void **state)
{
	struct api *api = *state;
	char first[48], second[48], date[19], *args, *text;

	leave(api, "FIRST", "", first);
	xn_date_print(xn_wall_s(api->core.loop), date);
	api_run(api, 2);
	leave(api, "SECOND", "", second);
	api_turn(api);
	args = xn_asprintf("[\"%s\"]", date);
	text = api_do(api, "message.get_since", args);
	assert_null(strstr(text, first));
	assert_non_null(strstr(text, second));
	free(text);
	free(args);
}

static void the_oldest_of_too_many_go(void **state)
{
	struct api *api = *state;
	char first[48], ref[48];

	leave(api, "FIRST", "", first);
	for (int i = 0; i < 10010; i++)
		leave(api, "MORE", "", ref);
	api_turn(api);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_message), 10000);
	assert_null(xn_db_get(api->db, XN_CLASS_message, first));
	assert_non_null(xn_db_get(api->db, XN_CLASS_message, ref));
}

static void the_bytes_of_all_are_bounded_over_a_restart_too(void **state)
{
	struct api *api = *state;
	char *body = malloc(60001), ref[48];

	memset(body, 'x', 60000);
	body[60000] = '\0';
	for (int i = 0; i < 700; i++) {
		if (i == 400)
			api_restart(api);
		leave(api, "BIG", body, ref);
		api_turn(api);
	}
	assert_int_equal(xn_db_count(api->db, XN_CLASS_message), 32 * 1024 * 1024 / 60003);
	free(body);
}

static void a_client_must_name_an_object_that_is_there(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};

	api_fail(api, "message.create", "[\"X\", 1, \"VM\", \"no-such\", \"\"]", "UUID_INVALID",
		 &err);
	assert_string_equal(err.params[0], "VM");
	xn_error_clear(&err);
}

static void many_are_destroyed_or_none(void **state)
{
	struct api *api = *state;
	char one[48], two[48], *args;

	leave(api, "ONE", "", one);
	leave(api, "TWO", "", two);
	api_turn(api);
	args = xn_asprintf("[[\"%s\", \"OpaqueRef:NULL\"]]", one);
	api_fail(api, "message.destroy_many", args, "HANDLE_INVALID", NULL);
	free(args);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_message), 2);
	args = xn_asprintf("[[\"%s\", \"%s\", \"%s\"]]", one, two, one);
	free(api_do(api, "message.destroy_many", args));
	free(args);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_message), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
		TEST(a_message_is_found_by_what_it_is_about),
		TEST(only_later_ones_are_since),
		TEST(the_oldest_of_too_many_go),
		TEST(the_bytes_of_all_are_bounded_over_a_restart_too),
		TEST(a_client_must_name_an_object_that_is_there),
		TEST(many_are_destroyed_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
