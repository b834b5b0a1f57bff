/* Sessions, their collection, roles. */
#include "tests/unit/cmocka_all.h"

#include "modules/auth/auth.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static struct xn_auth *auth_of(struct api *api)
{
	return xn_module_state(&api->core, "auth");
}

static bool is_valid(struct api *api, const char *secret)
{
	struct xn_caller caller = {0};
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (xn_auth_session(auth_of(api), secret, &caller, &err) == 0)
		return true;
	assert_string_equal(err.code, "SESSION_INVALID");
	assert_string_equal(err.params[0], secret);
	return false;
}

static void log_in(struct api *api, const char *user, const char *originator, char secret[48])
{
	xn_auth_login_as(auth_of(api), user, XN_ROLE_VM_ADMIN, false, originator, secret);
	api_turn(api);
}

static struct xn_row *row_of(struct api *api, const char *secret)
{
	const char *ref = xn_auth_session_ref(auth_of(api), secret);

	return ref ? xn_db_get(api->db, XN_CLASS_session, ref) : NULL;
}

static void a_row_is_not_named_by_the_secret(void **state)
{
	struct api *api = *state;

	assert_string_not_equal(api->secret, api->root.session);
	assert_non_null(xn_db_get(api->db, XN_CLASS_session, api->root.session));
	assert_null(xn_db_get(api->db, XN_CLASS_session, api->secret));
	assert_false(is_valid(api, api->root.session));
}

static void secret_and_row_reference_both_find_the_row(void **state)
{
	struct api *api = *state;

	assert_string_equal(xn_auth_session_ref(auth_of(api), api->secret), api->root.session);
	assert_string_equal(xn_auth_session_ref(auth_of(api), api->root.session),
			    api->root.session);
	assert_null(xn_auth_session_ref(auth_of(api), "OpaqueRef:NULL"));
}

static void a_session_keeps_its_role_over_a_restart(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct xn_caller caller = {0};
	char secret[48];

	log_in(api, "alice", "", secret);
	api_restart(api);
	assert_int_equal(xn_auth_session(auth_of(api), secret, &caller, &err), 0);
	assert_int_equal(caller.role, XN_ROLE_VM_ADMIN);
	assert_false(caller.is_superuser);
	assert_string_equal(caller.user, "alice");
	assert_int_equal(xn_auth_session(auth_of(api), api->secret, &caller, &err), 0);
	assert_true(caller.is_superuser);
}

static void a_session_shown_survives_a_crash(void **state)
{
	struct api *api = *state;
	char secret[48], gone[48], ref[48];

	log_in(api, "alice", "", secret);
	log_in(api, "alice", "", gone);
	snprintf(ref, sizeof(ref), "%s", xn_row_ref(row_of(api, gone)));
	api_crash(api, XN_CRASH_KILL);
	assert_true(is_valid(api, secret));
	xn_db_delete(api->db, xn_db_get(api->db, XN_CLASS_session, ref));
	api_turn(api);
	api_crash(api, XN_CRASH_KILL);
	assert_false(is_valid(api, gone));
}

static void a_session_unused_for_a_day_goes(void **state)
{
	struct api *api = *state;
	char idle[48], busy[48];

	log_in(api, "alice", "", idle);
	log_in(api, "alice", "", busy);
	for (int hour = 0; hour < 25; hour++) {
		assert_true(is_valid(api, busy));
		api_run(api, 3600);
	}
	assert_false(is_valid(api, idle));
	assert_null(row_of(api, idle));
	assert_true(is_valid(api, busy));
}

static void a_day_counts_over_a_restart_too(void **state)
{
	struct api *api = *state;
	char idle[48], ref[48];

	log_in(api, "alice", "", idle);
	snprintf(ref, sizeof(ref), "%s", xn_row_ref(row_of(api, idle)));
	api_run(api, 20 * 3600);
	api_restart(api);
	api_run(api, 3 * 3600);
	assert_non_null(xn_db_get(api->db, XN_CLASS_session, ref));
	api_run(api, 2 * 3600);
	assert_null(xn_db_get(api->db, XN_CLASS_session, ref));
}

/* Its row does not know of the last use yet. */
static void a_restart_takes_nothing_from_the_day_after_the_last_use(void **state)
{
	struct api *api = *state;
	char secret[48], ref[48];

	log_in(api, "alice", "", secret);
	snprintf(ref, sizeof(ref), "%s", xn_row_ref(row_of(api, secret)));
	api_run(api, 590);
	assert_true(is_valid(api, secret));
	api_restart(api);
	api_run(api, 86400 - 60);
	assert_non_null(xn_db_get(api->db, XN_CLASS_session, ref));
	api_run(api, 120);
	assert_null(xn_db_get(api->db, XN_CLASS_session, ref));
}

static void last_active_is_written_every_ten_minutes_only(void **state)
{
	struct api *api = *state;
	char secret[48];
	uint64_t stamp;

	log_in(api, "alice", "", secret);
	stamp = xn_row_modified(row_of(api, secret));
	api_run(api, 590);
	assert_true(is_valid(api, secret));
	api_turn(api);
	assert_int_equal(xn_row_modified(row_of(api, secret)), stamp);
	api_run(api, 20);
	assert_true(is_valid(api, secret));
	api_turn(api);
	assert_true(xn_row_modified(row_of(api, secret)) > stamp);
}

static void give_pending_task(struct api *api, const char *secret)
{
	struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "session", xn_auth_session_ref(auth_of(api), secret));
	xn_map_put_string(&fields, "status", "pending");
	xn_map_put(&fields, "xn_made_by_client", xn_bool(true));
	xn_map_put(&fields, "created", xn_datetime(xn_wall_s(api->core.loop) + 86400));
	xn_db_create(api->db, XN_CLASS_task, NULL, fields);
	xn_value_unref(fields);
	api_turn(api);
}

static void a_session_with_a_running_task_stays(void **state)
{
	struct api *api = *state;
	char secret[48];

	log_in(api, "alice", "", secret);
	give_pending_task(api, secret);
	api_run(api, 25 * 3600);
	assert_true(is_valid(api, secret));
}

static unsigned count_of(struct api *api, const char *originator)
{
	unsigned n = 0;

	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_session); row;
	     row = xn_db_next(api->db, row))
		n += strcmp(xn_row_string(row, XN_session_originator), originator) == 0;
	return n;
}

static void each_group_has_its_own_limit(void **state)
{
	struct api *api = *state;
	char first[48], other[48], secret[48];

	log_in(api, "root", "", first);
	log_in(api, "root", "another program", other);
	for (int i = 0; i < 650; i++) {
		log_in(api, "root", "", secret);
		log_in(api, "root", "one program", secret);
	}
	api_run(api, 31);
	assert_int_equal(count_of(api, ""), 400);
	assert_int_equal(count_of(api, "one program"), 500);
	assert_int_equal(count_of(api, "another program"), 1);
	assert_false(is_valid(api, first));
	assert_true(is_valid(api, other));
	assert_true(is_valid(api, secret));
}

static void logins_without_a_pause_are_bounded_too(void **state)
{
	struct api *api = *state;
	char secret[48];

	for (int i = 0; i < 2000; i++)
		log_in(api, "root", "a loop", secret);
	assert_true(count_of(api, "a loop") <= 600);
}

static void logins_that_all_name_another_originator_are_bounded_together(void **state)
{
	struct api *api = *state;
	char busy[48], used[48], first[48], secret[48], originator[20];

	log_in(api, "alice", "", busy);
	give_pending_task(api, busy);
	log_in(api, "alice", "", used);
	log_in(api, "root", "the first", first);
	for (int i = 0; i < 5500; i++) {
		snprintf(originator, sizeof(originator), "program %d", i);
		log_in(api, "root", originator, secret);
		if (i % 50)
			continue;
		assert_true(is_valid(api, used));
		api_run(api, 1);
	}
	api_run(api, 31);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_session), 5000);
	assert_false(is_valid(api, first));
	assert_true(is_valid(api, busy));
	assert_true(is_valid(api, used));
	assert_true(is_valid(api, secret));
}

static void long_texts_are_cut_between_characters(void **state)
{
	struct api *api = *state;
	char text[601], secret[48];
	const char *kept;

	for (int i = 0; i < 300; i++)
		memcpy(text + 2 * i, "\xc3\xa9", 3);
	text[0] = 'x'; /* so that a cut at 256 would split a character */
	memmove(text + 1, text + 2, 599);
	log_in(api, "alice", text, secret);
	kept = xn_row_string(row_of(api, secret), XN_session_originator);
	assert_int_equal(strlen(kept), 255);
	assert_true(xn_text_is_valid(kept, strlen(kept)));
}

/* ---- passwords ---- */

static void the_right_password_logs_in(void **state)
{
	struct api *api = *state;
	char *reply = api_do(api, "session.login_with_password", "[\"root\", \"secret\"]");

	reply[strlen(reply) - 1] = '\0';
	assert_true(is_valid(api, reply + 1));
	free(reply);
}

static void a_wrong_password_does_not(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};

	api_fail(api, "session.login_with_password", "[\"root\", \"Secret\"]",
		 "SESSION_AUTHENTICATION_FAILED", &err);
	assert_string_equal(err.params[0], "root");
	xn_error_clear(&err);
	api_fail(api, "session.login_with_password", "[\"\", \"secret\"]",
		 "SESSION_AUTHENTICATION_FAILED", NULL);
}

static void a_trusted_socket_needs_none(void **state)
{
	struct api *api = *state;
	struct xn_caller caller = {.is_trusted_socket = true};
	struct api_call call;

	api_begin_as(api, &call, &caller, "session.login_with_password", "[\"\", \"\"]");
	api_wait(api, &call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
}

static void a_changed_password_counts_at_once(void **state)
{
	struct api *api = *state;

	free(api_do(api, "session.change_password", "[\"secret\", \"other\"]"));
	api_fail(api, "session.login_with_password", "[\"root\", \"secret\"]",
		 "SESSION_AUTHENTICATION_FAILED", NULL);
	free(api_do(api, "session.login_with_password", "[\"root\", \"other\"]"));
}

/* ---- failed logins ---- */

static bool try_from(struct api *api, const char *origin, const char *user, const char *password)
{
	struct xn_caller caller = {0};
	struct api_call call;
	char *args = xn_asprintf("[\"%s\", \"%s\"]", user, password);
	bool is_in;

	snprintf(caller.origin, sizeof(caller.origin), "%s", origin);
	api_begin_as(api, &call, &caller, "session.login_with_password", args);
	api_wait(api, &call.done);
	is_in = call.json != NULL;
	if (!is_in)
		assert_string_equal(call.err.code, "SESSION_AUTHENTICATION_FAILED");
	api_call_clear(&call);
	free(args);
	return is_in;
}

static void guess(struct api *api, const char *origin, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		assert_false(try_from(api, origin, "root", "a guess"));
}

static void a_few_failed_logins_are_free(void **state)
{
	struct api *api = *state;

	guess(api, "10.0.0.1:1", 5);
	assert_true(try_from(api, "10.0.0.1:2", "root", "secret"));
	guess(api, "10.0.0.1:1", 5); /* forgiven, so five more are free */
	assert_true(try_from(api, "10.0.0.1:2", "root", "secret"));
}

static void who_fails_often_waits_longer_each_time(void **state)
{
	struct api *api = *state;

	guess(api, "10.0.0.1:1", 6);
	assert_false(try_from(api, "10.0.0.1:2", "root", "secret"));
	api_run(api, 2);
	guess(api, "10.0.0.1:1", 1); /* the seventh: two seconds */
	api_run(api, 1);
	assert_false(try_from(api, "10.0.0.1:2", "root", "secret"));
	api_run(api, 2);
	assert_true(try_from(api, "10.0.0.1:2", "root", "secret"));
}

static void no_wait_is_longer_than_configured(void **state)
{
	struct api *api = *state;

	for (int i = 0; i < 40; i++) {
		guess(api, "10.0.0.1:1", 1);
		api_run(api, 61);
	}
	assert_true(try_from(api, "10.0.0.1:1", "root", "secret"));
}

static void trying_while_one_has_to_wait_changes_nothing(void **state)
{
	struct api *api = *state;

	guess(api, "10.0.0.1:1", 200);
	api_run(api, 2);
	assert_true(try_from(api, "10.0.0.1:1", "root", "secret"));
}

static void nobody_else_waits_for_a_guesser(void **state)
{
	struct api *api = *state;
	struct xn_caller local = {.is_trusted_socket = true};
	struct api_call call;

	guess(api, "10.0.0.1:1", 50);
	assert_true(try_from(api, "10.0.0.2:1", "root", "secret"));
	assert_true(try_from(api, "[fe80::1]:1", "root", "secret"));
	api_begin_as(api, &call, &local, "session.login_with_password", "[\"root\", \"\"]");
	api_wait(api, &call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
}

static void all_addresses_of_one_network_of_ipv6_are_one(void **state)
{
	struct api *api = *state;

	for (int i = 0; i < 6; i++) {
		char origin[64];

		snprintf(origin, sizeof(origin), "[2001:db8::%x]:80", i + 1);
		guess(api, origin, 1);
	}
	assert_false(try_from(api, "[2001:db8::99]:1", "root", "secret"));
	assert_true(try_from(api, "[2001:db8:0:1::99]:1", "root", "secret"));
}

/* Many names from one address: what was done wrong before is not forgotten. */
static void many_names_push_nothing_out(void **state)
{
	struct api *api = *state;
	char name[32];

	guess(api, "10.0.0.1:1", 6);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "name%d", i);
		assert_false(try_from(api, "10.0.0.1:1", name, "x"));
	}
	api_run(api, 61);
	guess(api, "10.0.0.1:1", 1); /* it would be free if it were the first */
	assert_false(try_from(api, "10.0.0.1:1", "root", "secret"));
}

static void many_addresses_keep_nobody_out(void **state)
{
	struct api *api = *state;
	char origin[32];

	for (int i = 0; i < 3000; i++) {
		snprintf(origin, sizeof(origin), "10.%d.%d.%d:1", i >> 16, i >> 8 & 255, i & 255);
		assert_false(try_from(api, origin, "root", "x"));
	}
	assert_true(try_from(api, "10.9.9.9:1", "root", "secret"));
}

static void an_hour_with_failed_logins_leaves_one_alert(void **state)
{
	struct api *api = *state;
	struct xn_value *fields = xn_map_new();
	struct xn_row *alert;
	const char *body;

	xn_db_create(api->db, XN_CLASS_pool, NULL, fields);
	xn_value_unref(fields);
	guess(api, "10.0.0.1:1", 3);
	guess(api, "10.0.0.2:1", 1);
	assert_false(try_from(api, "10.0.0.3:1", "my pass<word", "x"));
	api_run(api, 3601);
	api_run(api, 3600);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_message), 1);
	alert = xn_db_first(api->db, XN_CLASS_message);
	assert_string_equal(xn_row_string(alert, XN_message_name), "FAILED_LOGIN_ATTEMPTS");
	assert_int_equal(xn_row_int(alert, XN_message_priority), 3);
	body = xn_row_string(alert, XN_message_body);
	assert_non_null(strstr(body, "<total>5</total><known><username>root</username>"
				     "<ip>10.0.0.1</ip><number>3</number>"));
	assert_non_null(strstr(body, "<ip>10.0.0.2</ip>"));
	assert_non_null(strstr(body, "<unknown>1</unknown>"));
	assert_null(strstr(body, "my pass"));
}

/* ---- roles ---- */

static void a_role_may_what_lesser_roles_may(void **state)
{
	struct api *api = *state;
	const struct xn_method *start = xn_method_find("VM.start"); /* vm-operator */
	struct xn_caller caller;
	char secret[48];

	for (int role = XN_ROLE_POOL_ADMIN; role < XN_ROLE_COUNT; role++) {
		struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
		int expected = role <= XN_ROLE_VM_OPERATOR ? 0 : -1;

		api_log_in(api, "alice", (enum xn_role)role, &caller, secret);
		assert_int_equal(xn_auth_permit(&caller, start, NULL, &err), expected);
		if (expected == 0)
			continue;
		assert_string_equal(err.code, "RBAC_PERMISSION_DENIED");
		assert_string_equal(err.params[0], "vm.start");
		assert_non_null(strstr(err.params[1], "pool-admin, pool-operator, vm-power-admin, "
						      "vm-admin, vm-operator)"));
	}
}

static void local_root_calls_are_for_superusers(void **state)
{
	struct api *api = *state;
	const struct xn_method *change = xn_method_find("session.change_password");
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_caller caller;
	char secret[48];

	api_log_in(api, "alice", XN_ROLE_POOL_ADMIN, &caller, secret);
	assert_int_equal(xn_auth_permit(&caller, change, NULL, &err), -1);
	assert_int_equal(xn_auth_permit(&api->root, change, NULL, &err), 0);
}

static void some_keys_of_a_map_need_another_role(void **state)
{
	struct api *api = *state;
	const struct xn_method *add = xn_method_find("task.add_to_other_config");
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_caller reader;
	char secret[48];

	api_log_in(api, "bob", XN_ROLE_READ_ONLY, &reader, secret);
	assert_int_equal(xn_auth_permit(&reader, add, "anything", &err), 0);
	assert_int_equal(xn_auth_permit(&reader, add, "applies_to", &err), -1);
	assert_string_equal(err.params[0], "task.add_to_other_config/key:applies_to");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
		TEST(a_row_is_not_named_by_the_secret),
		TEST(secret_and_row_reference_both_find_the_row),
		TEST(a_session_keeps_its_role_over_a_restart),
		TEST(a_session_shown_survives_a_crash),
		TEST(a_session_unused_for_a_day_goes),
		TEST(a_day_counts_over_a_restart_too),
		TEST(a_restart_takes_nothing_from_the_day_after_the_last_use),
		TEST(last_active_is_written_every_ten_minutes_only),
		TEST(a_session_with_a_running_task_stays),
		TEST(each_group_has_its_own_limit),
		TEST(logins_without_a_pause_are_bounded_too),
		TEST(logins_that_all_name_another_originator_are_bounded_together),
		TEST(long_texts_are_cut_between_characters),
		TEST(the_right_password_logs_in),
		TEST(a_wrong_password_does_not),
		TEST(a_trusted_socket_needs_none),
		TEST(a_changed_password_counts_at_once),
		TEST(a_few_failed_logins_are_free),
		TEST(who_fails_often_waits_longer_each_time),
		TEST(no_wait_is_longer_than_configured),
		TEST(trying_while_one_has_to_wait_changes_nothing),
		TEST(nobody_else_waits_for_a_guesser),
		TEST(all_addresses_of_one_network_of_ipv6_are_one),
		TEST(many_names_push_nothing_out),
		TEST(many_addresses_keep_nobody_out),
		TEST(an_hour_with_failed_logins_leaves_one_alert),
		TEST(a_role_may_what_lesser_roles_may),
		TEST(local_root_calls_are_for_superusers),
		TEST(some_keys_of_a_map_need_another_role),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
