/* Sessions, their collection, roles. */
#include "tests/unit/cmocka_all.h"

#include "modules/auth/auth_internal.h"
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
	assert_string_equal(xn_auth_session_of_secret(auth_of(api), api->secret), api->root.session);
	assert_null(xn_auth_session_of_secret(auth_of(api), api->root.session));
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

static void who_comes_after_a_restart_with_another_clock_is_known(void **state)
{
	struct api *api = *state;
	char secret[48];

	log_in(api, "alice", "", secret);
	api_restart(api);
	xn_loop_virtual_set_wall(api->core.loop, xn_wall_us(api->core.loop) + 100000000000);
	assert_true(is_valid(api, secret));
	api_run(api, 120);
	assert_true(is_valid(api, secret));
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

/* As a client makes it; @step: what works on it, or NULL. */
static void give_task(struct api *api, const char *secret, const char *step)
{
	struct xn_value *fields = xn_map_new(), *config = xn_map_new();

	if (step)
		xn_map_put_string(&config, "xn:step", step);
	xn_map_put(&fields, "other_config", config);
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
	give_task(api, secret, "transfer");
	api_run(api, 25 * 3600);
	assert_true(is_valid(api, secret));
}

static void a_task_that_nothing_works_on_keeps_no_session(void **state)
{
	struct api *api = *state;
	char secret[48];

	log_in(api, "alice", "", secret);
	give_task(api, secret, NULL);
	api_run(api, 25 * 3600);
	assert_null(row_of(api, secret));
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
	give_task(api, busy, "transfer");
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

static void busy_sessions_take_the_places_of_their_own_account(void **state)
{
	struct api *api = *state;
	char other[48], busy[48], idle[48];

	log_in(api, "bob", "", other);
	for (int i = 0; i < 500; i++) {
		log_in(api, "alice", "", busy);
		give_task(api, busy, "transfer");
	}
	log_in(api, "alice", "", idle);
	api_run(api, 31);
	assert_true(is_valid(api, other));
	assert_true(is_valid(api, busy));
	assert_false(is_valid(api, idle));
}

/* ---- while the disk refuses changes ---- */

static void disk_refuses(struct api *api, bool yes)
{
	const struct xn_sim_faults faults = {.append_failures = yes, .reopen_failures = yes};
	char secret[48];

	xn_sim_disk_set_faults(api->disk, &faults);
	if (yes)
		log_in(api, "mallory", "", secret); /* is refused, and so the refusal is found */
	api_run(api, yes ? 1 : 3);
	assert_int_equal(xn_db_writable(api->db) < 0, yes);
}

static void unused_sessions_end_while_the_disk_refuses_too(void **state)
{
	struct api *api = *state;
	char row[48], memory[48], used_row[48], used_memory[48];

	log_in(api, "alice", "", row);
	log_in(api, "alice", "", used_row);
	disk_refuses(api, true);
	log_in(api, "alice", "", memory);
	log_in(api, "alice", "", used_memory);
	for (int i = 0; i < 25; i++) {
		api_run(api, 3600);
		assert_true(is_valid(api, used_row));
		assert_true(is_valid(api, used_memory));
	}
	assert_false(is_valid(api, row));
	assert_false(is_valid(api, memory));
	disk_refuses(api, false);
	assert_false(is_valid(api, row));
	assert_null(row_of(api, row));
	assert_true(is_valid(api, used_row));
	assert_true(is_valid(api, used_memory));
}

/* Not when the next collection comes, but when the time is over. */
static void an_unused_session_ends_on_time(void **state)
{
	struct api *api = *state;
	char early[48], late[48];

	log_in(api, "alice", "", early);
	log_in(api, "alice", "", late);
	api_run(api, 86395);
	assert_true(is_valid(api, early));
	api_run(api, 10);
	assert_true(is_valid(api, early));
	assert_false(is_valid(api, late));
}

static void a_session_used_while_the_disk_refused_is_known_to_have_been(void **state)
{
	struct api *api = *state;
	char row[48], memory[48];

	log_in(api, "alice", "", row);
	api_run(api, 3600);
	assert_true(is_valid(api, row)); /* its time is in the turn that the disk refuses */
	disk_refuses(api, true);
	log_in(api, "alice", "", memory);
	for (int i = 0; i < 20; i++) {
		api_run(api, 3600);
		assert_true(is_valid(api, row));
		assert_true(is_valid(api, memory));
	}
	disk_refuses(api, false);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 85000);
	assert_true(is_valid(api, row));
	assert_true(is_valid(api, memory));
}

static void a_use_that_the_failing_disk_took_back_is_written_again(void **state)
{
	struct api *api = *state;
	char row[48];

	log_in(api, "alice", "", row);
	api_run(api, 50000);
	xn_sim_disk_set_faults(api->disk, &(struct xn_sim_faults){.append_failures = 1});
	assert_true(is_valid(api, row));
	api_run(api, 1);
	disk_refuses(api, false);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 80000);
	assert_true(is_valid(api, row));
}

static unsigned count_valid(struct api *api, char (*secrets)[48], unsigned n)
{
	unsigned valid = 0;

	for (unsigned i = 0; i < n; i++)
		valid += is_valid(api, secrets[i]);
	return valid;
}

static void the_least_recently_used_ends_first_while_the_disk_refuses(void **state)
{
	enum { ROWS = 300, ALL = 900, LIMIT = 500 };
	struct api *api = *state;
	char bob[ALL][48], first[48], row[48];

	log_in(api, "root", "", row);
	for (int i = 0; i < ROWS; i++)
		log_in(api, "bob", "", bob[i]);
	disk_refuses(api, true);
	log_in(api, "root", "", first);
	for (int i = ROWS; i < ALL; i++) {
		api_run(api, 1);
		log_in(api, "bob", "", bob[i]);
		assert_true(is_valid(api, bob[0]));
		assert_true(is_valid(api, first));
	}
	api_run(api, 31);
	assert_int_equal(count_valid(api, bob, ALL), LIMIT);
	assert_true(is_valid(api, bob[0]));
	assert_int_equal(count_valid(api, bob + ALL - LIMIT + 1, LIMIT - 1), LIMIT - 1);
	disk_refuses(api, false);
	api_crash(api, XN_CRASH_KILL);
	assert_int_equal(count_valid(api, bob, ALL), LIMIT);
	assert_true(is_valid(api, first));
	assert_true(is_valid(api, row));
	assert_int_equal(xn_db_count(api->db, XN_CLASS_session), LIMIT + 3); /* and the fixture's */
}

static void a_session_in_memory_is_found_by_its_uuid_and_account(void **state)
{
	static const char *const sid = "u:1000";
	struct api *api = *state;
	const struct login login = {
		.user = "bob", .originator = "", .role = XN_ROLE_VM_ADMIN, .sid = sid};
	char secret[48], args[80], *uuid, *json, ref[60];

	disk_refuses(api, true);
	auth_session_begin(auth_of(api), &login, secret);
	snprintf(args, sizeof(args), "[\"%s\"]", secret);
	uuid = api_do(api, "session.get_uuid", args);
	snprintf(args, sizeof(args), "[%s]", uuid);
	json = api_do(api, "session.get_by_uuid", args);
	snprintf(ref, sizeof(ref), "\"%s\"", xn_auth_session_ref(auth_of(api), secret));
	assert_string_equal(json, ref);
	free(json);
	json = api_do(api, "session.get_all_subject_identifiers", "[]");
	assert_string_equal(json, "[\"u:1000\"]");
	free(json);
	free(uuid);
	auth_sessions_end_of(auth_of(api), sid, "");
	assert_false(is_valid(api, secret));
}

/* ---- the rows that are made when it takes them again ---- */

struct most_rows {
	struct xn_db *db;
	size_t before, most;
};

static void note_rows(void *arg)
{
	struct most_rows *rows = arg;
	size_t now = xn_db_count(rows->db, XN_CLASS_session);

	if (now > rows->before && now - rows->before > rows->most)
		rows->most = now - rows->before;
	rows->before = now;
}

static void rows_are_made_up_for_in_slices(void **state)
{
	enum { USERS = 8, EACH = 300 };
	struct api *api = *state;
	struct most_rows rows = {.db = api->db};
	char secret[48], user[8];

	disk_refuses(api, true);
	for (int i = 0; i < USERS * EACH; i++) {
		snprintf(user, sizeof(user), "user%d", i % USERS);
		log_in(api, user, "", secret);
	}
	rows.before = xn_db_count(api->db, XN_CLASS_session);
	xn_loop_virtual_watch(api->core.loop, note_rows, &rows);
	disk_refuses(api, false);
	xn_loop_virtual_watch(api->core.loop, NULL, NULL);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_session), USERS * EACH + 1);
	assert_in_range(rows.most, 1, 500);
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
		TEST(who_comes_after_a_restart_with_another_clock_is_known),
		TEST(last_active_is_written_every_ten_minutes_only),
		TEST(a_session_with_a_running_task_stays),
		TEST(a_task_that_nothing_works_on_keeps_no_session),
		TEST(each_group_has_its_own_limit),
		TEST(logins_without_a_pause_are_bounded_too),
		TEST(logins_that_all_name_another_originator_are_bounded_together),
		TEST(busy_sessions_take_the_places_of_their_own_account),
		TEST(unused_sessions_end_while_the_disk_refuses_too),
		TEST(an_unused_session_ends_on_time),
		TEST(a_session_used_while_the_disk_refused_is_known_to_have_been),
		TEST(a_use_that_the_failing_disk_took_back_is_written_again),
		TEST(the_least_recently_used_ends_first_while_the_disk_refuses),
		TEST(a_session_in_memory_is_found_by_its_uuid_and_account),
		TEST(rows_are_made_up_for_in_slices),
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
