/* Event selection and waiting, below the wire. */
#include "tests/unit/cmocka_all.h"

#include "core/json.h"
#include "modules/auth/auth.h"
#include "modules/event/event_internal.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct xn_row *a_network(struct api *api, const char *name)
{
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, "name_label", name);
	row = xn_db_create(api->db, XN_CLASS_network, NULL, fields);
	xn_value_unref(fields);
	return row;
}

static void rename_network(struct api *api, struct xn_row *row, const char *name)
{
	xn_db_set_string(api->db, row, XN_network_name_label, name);
}

/* event.from's answer, parsed. @wishes: inside of a JSON array. */
static struct xn_value *ask(struct api *api, const char *wishes, const char *token,
			    const char *timeout)
{
	char *args = xn_asprintf("[[%s], \"%s\", %s]", wishes, token, timeout);
	char *text = api_do(api, "event.from", args);
	struct xn_value *reply;

	assert_int_equal(xn_json_parse(text, strlen(text), &reply, NULL), 0);
	free(text);
	free(args);
	return reply;
}

static void now(struct api *api, char token[48])
{
	struct xn_value *reply = ask(api, "", "", "0.0");

	snprintf(token, 48, "%s", xn_map_get_string(reply, "token"));
	xn_value_unref(reply);
}

/* "add:one mod:two" of an answer; the caller frees. */
static char *told(const struct xn_value *reply)
{
	const struct xn_value *events = xn_map_get(reply, "events");
	struct xn_buf out = {0};

	for (size_t i = 0; i < xn_set_len(events); i++) {
		const struct xn_value *event = xn_set_at(events, i);
		const struct xn_value *snapshot = xn_map_get(event, "snapshot");

		xn_buf_printf(&out, "%s%s:%s", i ? " " : "", xn_map_get_string(event, "operation"),
			      snapshot ? xn_map_get_string(snapshot, "name_label") : "");
	}
	return xn_buf_steal(&out);
}

#define assert_told(api, wishes, token, expected)                                                  \
	do {                                                                                       \
		struct xn_value *reply_ = ask(api, wishes, token, "0.0");                          \
		char *told_ = told(reply_);                                                        \
                                                                                                   \
		assert_string_equal(told_, expected);                                              \
		free(told_);                                                                       \
		xn_value_unref(reply_);                                                            \
	} while (0)

static void from_the_beginning_all_is_added(void **state)
{
	struct api *api = *state;
	struct xn_row *gone = a_network(api, "gone");

	a_network(api, "one");
	a_network(api, "two");
	api_turn(api);
	xn_db_delete(api->db, gone);
	api_turn(api);
	assert_told(api, "\"network\"", "", "add:one add:two");
}

static void what_changed_since_the_token_is_told(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "one"), *two = a_network(api, "two");
	char token[48];

	a_network(api, "untouched");
	api_turn(api);
	now(api, token);
	rename_network(api, one, "other");
	xn_db_delete(api->db, two);
	a_network(api, "three");
	api_turn(api);
	assert_told(api, "\"*\"", token, "add:three mod:other del:");
	assert_told(api, "\"network\"", token, "add:three mod:other del:");
	assert_told(api, "\"vm\"", token, "");
	now(api, token);
	assert_told(api, "\"*\"", token, "");
}

static void rows_of_one_turn_are_all_told(void **state)
{
	struct api *api = *state;
	char token[48];
	struct xn_value *reply;

	now(api, token);
	for (int i = 0; i < 3000; i++)
		a_network(api, "many");
	api_turn(api);
	reply = ask(api, "\"network\"", token, "0.0");
	assert_int_equal(xn_set_len(xn_map_get(reply, "events")), 3000);
	xn_value_unref(reply);
}

static void a_call_without_news_waits_for_a_commit(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "one"), *other = a_network(api, "other");
	struct api_call call;
	char token[48], *args;

	api_turn(api);
	now(api, token);
	args = xn_asprintf("[[\"network/%s\"], \"%s\", 60.0]", xn_row_ref(one), token);
	api_begin(api, &call, "event.from", args);
	rename_network(api, other, "not asked for");
	api_turn(api);
	assert_false(call.done);
	rename_network(api, one, "renamed");
	assert_false(call.done);
	api_turn(api);
	assert_true(call.done);
	assert_non_null(strstr(call.json, "renamed"));
	assert_null(strstr(call.json, "not asked for"));
	api_call_clear(&call);
	free(args);
}

static void a_waiting_call_ends_at_its_time(void **state)
{
	struct api *api = *state;
	struct api_call call;
	char token[48], *args;

	now(api, token);
	args = xn_asprintf("[[\"*\"], \"%s\", 60.1]", token);
	api_begin(api, &call, "event.from", args);
	api_run(api, 60);
	assert_false(call.done);
	api_run(api, 1);
	assert_true(call.done);
	assert_non_null(strstr(call.json, "\"events\":[]"));
	api_call_clear(&call);
	free(args);
}

static void an_absurd_timeout_is_a_day(void **state)
{
	struct api *api = *state;
	static const char *const absurd[] = {"-1", "1e300", "9999999999"};
	struct api_call calls[3];
	char token[48];

	now(api, token);
	for (int i = 0; i < 3; i++) {
		char *args = xn_asprintf("[[\"network\"], \"%s\", %s]", token, absurd[i]);

		api_begin(api, &calls[i], "event.from", args);
		free(args);
	}
	for (int hour = 0; hour < 23; hour++) { /* in use, so that the session stays */
		struct xn_caller caller;
		struct xn_error err = {0};

		api_run(api, 3600);
		assert_int_equal(xn_auth_session(xn_module_state(&api->core, "auth"), api->secret,
						 &caller, &err),
				 0);
	}
	for (int i = 0; i < 3; i++)
		assert_false(calls[i].done);
	api_run(api, 3610);
	for (int i = 0; i < 3; i++) {
		assert_true(calls[i].done);
		api_call_clear(&calls[i]);
	}
}

static void made_and_gone_does_not_end_a_wait(void **state)
{
	struct api *api = *state;
	struct api_call call;
	char token[48], *args;

	now(api, token);
	args = xn_asprintf("[[\"network\"], \"%s\", 60.0]", token);
	api_begin(api, &call, "event.from", args);
	xn_db_delete(api->db, a_network(api, "short-lived"));
	api_turn(api);
	assert_false(call.done);
	a_network(api, "stays");
	api_turn(api);
	assert_true(call.done);
	assert_non_null(strstr(call.json, "stays"));
	api_call_clear(&call);
	free(args);
}

static void a_client_that_leaves_is_let_go(void **state)
{
	struct api *api = *state;
	struct api_call call;
	char token[48], *args;

	now(api, token);
	args = xn_asprintf("[[\"network\"], \"%s\", 60.0]", token);
	api_begin(api, &call, "event.from", args);
	call.call.on_cancel(&call.call);
	assert_true(call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	a_network(api, "nobody listens");
	api_run(api, 100);
	api_call_clear(&call);
	free(args);
}

static void the_end_of_a_session_ends_its_waits(void **state)
{
	struct api *api = *state;
	struct xn_caller caller;
	struct api_call from, next, done;
	char secret[48], token[48], *args;

	now(api, token);
	api_log_in(api, "alice", XN_ROLE_READ_ONLY, &caller, secret);
	args = xn_asprintf("[[\"network\"], \"%s\", 60.0]", token);
	api_begin_as(api, &from, &caller, "event.from", args);
	api_begin_as(api, &done, &caller, "event.register", "[[\"network\"]]");
	api_call_clear(&done);
	api_begin_as(api, &next, &caller, "event.next", "[]");
	api_begin_as(api, &done, &caller, "session.logout", "[]");
	api_call_clear(&done);
	api_turn(api);
	assert_true(from.done && next.done);
	assert_string_equal(from.err.code, "SESSION_INVALID");
	assert_string_equal(next.err.code, "SESSION_INVALID");
	api_call_clear(&from);
	api_call_clear(&next);
	free(args);
}

static void the_session_is_named_as_the_client_sent_it(void **state)
{
	struct api *api = *state;
	struct api_call call;
	char token[48], *args;

	now(api, token);
	args = xn_asprintf("[[\"network\"], \"%s\", 60.0]", token);
	api_begin(api, &call, "event.from", args);
	snprintf(call.call.secret, sizeof(call.call.secret), "%s", api->secret);
	free(api_do(api, "session.logout", "[]"));
	assert_true(call.done);
	assert_string_equal(call.err.params[0], api->secret);
	api_call_clear(&call);
	free(args);
}

/* ---- many ---- */

enum { CROWD = 1000 };

static double cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void a_thousand_waiters_hear_of_one_change(void **state)
{
	struct api *api = *state;
	struct api_call *calls = calloc(CROWD, sizeof(*calls));
	struct xn_row *one = a_network(api, "one");
	char token[48], *args;
	double spent;

	api_turn(api);
	now(api, token);
	args = xn_asprintf("[[\"*\"], \"%s\", 60.0]", token);
	for (int i = 0; i < CROWD; i++)
		api_begin(api, &calls[i], "event.from", args);
	rename_network(api, one, "all ears");
	spent = cpu_ms();
	api_turn(api);
	api_turn(api);
	spent = cpu_ms() - spent;
	for (int i = CROWD - 1; i >= 0; i--) {
		assert_true(calls[i].done);
		assert_string_equal(calls[i].json, calls[0].json);
		api_call_clear(&calls[i]);
	}
	print_message("1,000 waiters answered in %.2f ms\n", spent);
	free(calls);
	free(args);
}

static struct xn_events *events_of(struct api *api)
{
	return xn_module_state(&api->core, "event");
}

/* "network/A","network/B" and one that only @i names: event.from's arguments; the caller frees. */
static char *shared_wishes(struct xn_row *const *rows, size_t n, int i, const char *token,
			   double timeout)
{
	struct xn_buf out = {0};

	xn_buf_printf(&out, "[[\"network/of-%d\"", i);
	for (size_t k = 0; k < n; k++)
		xn_buf_printf(&out, ",\"network/%s\"", xn_row_ref(rows[k]));
	xn_buf_printf(&out, "],\"%s\",%f]", token, timeout);
	return xn_buf_steal(&out);
}

/* Were it one for each watch, equal keys would make chains as long as there are waiters. */
static void an_object_has_one_place_in_the_index_for_all_who_watch_it(void **state)
{
	enum { WATCHERS = 50, SHARED = 3 };
	struct api *api = *state;
	const struct subscriptions *set = &events_of(api)->subscriptions;
	struct xn_row *rows[SHARED];
	struct api_call calls[WATCHERS];
	char token[48];

	for (int i = 0; i < SHARED; i++)
		rows[i] = a_network(api, "shared");
	api_turn(api);
	now(api, token);
	for (int i = 0; i < WATCHERS; i++) {
		char *args = shared_wishes(rows, SHARED, i, token, 60.0);

		api_begin(api, &calls[i], "event.from", args);
		free(args);
	}
	assert_int_equal(set->n_watched, SHARED + WATCHERS);
	calls[7].call.on_cancel(&calls[7].call);
	assert_int_equal(set->n_watched, SHARED + WATCHERS - 1);
	rename_network(api, rows[1], "for all");
	api_turn(api);
	for (int i = 0; i < WATCHERS; i++) {
		assert_true(calls[i].done);
		if (i != 7)
			assert_non_null(strstr(calls[i].json, "for all"));
		api_call_clear(&calls[i]);
	}
	assert_int_equal(set->n_watched, 0);
}

/* A table grows in one go. */
static void the_index_of_many_objects_is_many_small_tables(void **state)
{
	enum { WATCHERS = 20, OBJECTS = 1000 };
	struct api *api = *state;
	const struct subscriptions *set = &events_of(api)->subscriptions;
	struct api_call calls[WATCHERS];
	char token[48];

	now(api, token);
	for (int i = 0; i < WATCHERS; i++) {
		struct xn_buf args XN_CLEANUP(xn_buf_clear_p) = {0};

		for (int k = 0; k < OBJECTS; k++)
			xn_buf_printf(&args, "%s\"network/%d-%d\"", k ? "," : "[[", i, k);
		xn_buf_printf(&args, "],\"%s\",60.0]", token);
		api_begin(api, &calls[i], "event.from", xn_buf_cstr(&args));
	}
	assert_int_equal(set->n_watched, WATCHERS * OBJECTS);
	for (unsigned i = 0; i < REF_TABLES; i++)
		assert_in_range(set->by_ref[i].count, 1, 4 * WATCHERS * OBJECTS / REF_TABLES);
	api_run(api, 61);
	assert_int_equal(set->n_watched, 0);
	for (int i = 0; i < WATCHERS; i++)
		api_call_clear(&calls[i]);
}

/* Looks in as soon as the first call is done: what has priority over the others runs now. And
 * something changes, which those whose session is over are not told. */
struct look {
	struct api *api;
	const struct api_call *calls;
	struct xn_job job;
	int n_done;
};

static int count_done(const struct api_call *calls)
{
	int n = 0;

	for (int i = 0; i < CROWD; i++)
		n += calls[i].done;
	return n;
}

static void look_in(struct xn_job *job)
{
	struct look *look = xn_container_of(job, struct look, job);

	look->n_done = count_done(look->calls);
	a_network(look->api, "meanwhile");
}

static void after_callback(void *arg)
{
	struct look *look = arg;

	if (!look->n_done && count_done(look->calls))
		xn_loop_defer(look->api->core.loop, &look->job, XN_PRIO_REPLY, look_in);
}

/* @call waits a thousand times, until all end together by @end. */
static void a_crowd_ends(struct api *api, const char *call, const char *args,
			 void (*end)(struct api *api, const struct xn_caller *caller),
			 const char *code, int most_at_once)
{
	struct api_call *calls = calloc(CROWD, sizeof(*calls)), registers;
	struct look look = {.api = api, .calls = calls};
	struct xn_caller caller;
	char secret[48];

	api_log_in(api, "alice", XN_ROLE_READ_ONLY, &caller, secret);
	api_begin_as(api, &registers, &caller, "event.register", "[[\"network\"]]");
	api_call_clear(&registers);
	for (int i = 0; i < CROWD; i++)
		api_begin_as(api, &calls[i], &caller, call, args);
	xn_loop_virtual_watch(api->core.loop, after_callback, &look);
	end(api, &caller);
	xn_loop_virtual_watch(api->core.loop, NULL, NULL);
	assert_in_range(look.n_done, 1, most_at_once);
	for (int i = 0; i < CROWD; i++) {
		assert_true(calls[i].done);
		assert_true(!code == !calls[i].err.code);
		if (code)
			assert_string_equal(calls[i].err.code, code);
		else
			assert_non_null(calls[i].json);
		api_call_clear(&calls[i]);
	}
	free(calls);
}

static void by_logout(struct api *api, const struct xn_caller *caller)
{
	struct api_call done;

	api_begin_as(api, &done, caller, "session.logout", "[]");
	api_call_clear(&done);
	api_turn(api);
}

static void by_time(struct api *api, const struct xn_caller *caller)
{
	api_run(api, 61);
}

static void a_crowd_ends_in_slices(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[640];
	char token[48], *args;

	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++)
		rows[i] = a_network(api, "one of many");
	api_turn(api);
	for (int i = 0; i < 4; i++) {
		bool is_long = i >= 2; /* what a call names counts too */

		now(api, token);
		args = is_long ? shared_wishes(rows, XN_ARRAY_SIZE(rows), 0, token, 60.0)
			       : xn_asprintf("[[\"network\"], \"%s\", 60.0]", token);
		a_crowd_ends(api, "event.from", args, i % 2 ? by_time : by_logout,
			     i % 2 ? NULL : "SESSION_INVALID", is_long ? 20 : 200);
		free(args);
	}
	a_crowd_ends(api, "event.next", "[]", by_logout, "SESSION_INVALID", 200);
	assert_int_equal(events_of(api)->n_waits, 0);
}

/* Waiters that came at different stamps, on different wishes, must each hear what is theirs. */
static void a_mixed_crowd_hears_exactly_its_own(void **state)
{
	struct api *api = *state;
	struct api_call *calls = calloc(CROWD, sizeof(*calls));
	struct xn_row *rows[10], *noise = a_network(api, "noise");
	char token[48];

	for (int i = 0; i < 10; i++)
		rows[i] = a_network(api, "quiet");
	for (int i = 0; i < CROWD; i++) {
		char *args;

		if (i % 7 == 0)
			rename_network(api, noise, i % 2 ? "a" : "b");
		if (i % 5 == 0)
			api_turn(api);
		now(api, token);
		args = xn_asprintf("[[\"network/%s\", \"vm\"], \"%s\", 60.0]",
				   xn_row_ref(rows[i % 10]), token);
		api_begin(api, &calls[i], "event.from", args);
		free(args);
	}
	rename_network(api, rows[3], "loud");
	xn_db_delete(api->db, rows[4]);
	api_turn(api);
	api_turn(api);
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(calls[i].done, i % 10 == 3 || i % 10 == 4);
		if (i % 10 == 3)
			assert_non_null(strstr(calls[i].json, "loud"));
		if (i % 10 == 4)
			assert_non_null(strstr(calls[i].json, "\"operation\":\"del\""));
	}
	api_run(api, 61);
	for (int i = 0; i < CROWD; i++) {
		assert_true(calls[i].done);
		api_call_clear(&calls[i]);
	}
	free(calls);
}

/* The promise behind tokens: following them tells the same as looking at everything. */
static void following_the_tokens_gives_the_true_picture(void **state)
{
	enum { N = 20, ROUNDS = 400 };
	struct api *api = *state;
	struct xn_row *rows[N] = {0};
	char known[N][8] = {{0}};
	char token[48];
	uint32_t dice = 12345;

	now(api, token);
	for (int round = 0; round < ROUNDS; round++) {
		struct xn_value *reply;
		const struct xn_value *events;

		for (int k = 0; k < 3; k++) {
			int i = (int)((dice = dice * 1664525 + 1013904223) >> 8) % N;
			int what = (int)(dice >> 28) % 4;

			if (!rows[i]) {
				char name[8];

				snprintf(name, sizeof(name), "%d", i);
				rows[i] = a_network(api, name);
				xn_db_set_string(api->db, rows[i], XN_network_name_description,
						 "0");
			} else if (what == 0) {
				xn_db_delete(api->db, rows[i]);
				rows[i] = NULL;
			} else {
				char text[8];

				snprintf(text, sizeof(text), "%d", round % 100);
				xn_db_set_string(api->db, rows[i], XN_network_name_description,
						 text);
			}
			if (what == 3)
				api_turn(api);
		}
		api_turn(api);
		if (round % 50 == 49) {
			api_restart(api);
			for (int i = 0; i < N; i++)
				rows[i] = NULL;
			for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_network); row;
			     row = xn_db_next(api->db, row))
				rows[atoi(xn_row_string(row, XN_network_name_label))] = row;
			api_log_in(api, "root", XN_ROLE_POOL_ADMIN, &api->root, api->secret);
			api_turn(api);
		}
		reply = ask(api, "\"network\"", token, "0.0");
		events = xn_map_get(reply, "events");
		for (size_t e = 0; e < xn_set_len(events); e++) {
			const struct xn_value *event = xn_set_at(events, e);
			const struct xn_value *snapshot = xn_map_get(event, "snapshot");

			if (snapshot)
				snprintf(known[atoi(xn_map_get_string(snapshot, "name_label"))], 8,
					 "%s", xn_map_get_string(snapshot, "name_description"));
		}
		for (int i = 0; i < N; i++)
			if (rows[i])
				assert_string_equal(
					known[i],
					xn_row_string(rows[i], XN_network_name_description));
		snprintf(token, sizeof(token), "%s", xn_map_get_string(reply, "token"));
		xn_value_unref(reply);
	}
}

/* ---- tokens ---- */

static void tokens_that_cannot_be_answered_are_lost(void **state)
{
	struct api *api = *state;
	struct xn_row *seed = a_network(api, "seed");
	char token[48], *args;

	api_turn(api);
	now(api, token);
	xn_db_delete(api->db, seed);
	api_turn(api);
	assert_told(api, "\"network\"", token, "del:");
	for (int i = 0; i < 40; i++) {
		struct xn_row *batch[1000];

		for (int k = 0; k < 1000; k++)
			batch[k] = a_network(api, "x");
		api_turn(api);
		for (int k = 0; k < 1000; k++)
			xn_db_delete(api->db, batch[k]);
		api_turn(api);
	}
	args = xn_asprintf("[[\"network\"], \"%s\", 0.0]", token);
	api_fail(api, "event.from", args, "EVENTS_LOST", NULL);
	free(args);
	args = xn_asprintf("[[\"network\"], \"%020llu,0\", 0.0]",
			   (unsigned long long)xn_db_generation(api->db) + 5);
	api_fail(api, "event.from", args, "EVENTS_LOST", NULL);
	free(args);
}

/* Whoever holds a token is told EVENTS_LOST, or hears all that changed: never a silent gap. */
static void a_token_of_a_lost_state_is_lost(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "0");
	unsigned n_lost = 0, n_kept = 0;
	char ref[48];

	snprintf(ref, sizeof(ref), "%s", xn_row_ref(one));
	api_run(api, 1);
	for (int round = 1; round <= 60; round++) {
		struct api_call call;
		char token[48], name[8], *args;

		snprintf(name, sizeof(name), "%d", round);
		rename_network(api, xn_db_get(api->db, XN_CLASS_network, ref), name);
		api_turn(api);
		now(api, token);
		if (round % 3 == 0)
			api_run(api, 1); /* long enough to be synced */
		api_crash(api, XN_CRASH_POWER);
		args = xn_asprintf("[[\"network\"], \"%s\", 0.0]", token);
		api_begin(api, &call, "event.from", args);
		one = xn_db_get(api->db, XN_CLASS_network, ref);
		if (call.json) {
			n_kept++;
			assert_string_equal(xn_row_string(one, XN_network_name_label), name);
		} else {
			n_lost++;
			assert_string_equal(call.err.code, "EVENTS_LOST");
		}
		api_call_clear(&call);
		free(args);
		api_log_in(api, "root", XN_ROLE_POOL_ADMIN, &api->root, api->secret);
	}
	assert_true(n_kept >= 20 && n_lost > 0);
}

/* Stamps of a turn that the disk refused are used again; who began to wait in it must not miss them. */
static void a_refused_turn_hides_nothing(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "one"), *other = a_network(api, "other");
	struct xn_sim_faults faults = {.append_failures = 1};
	struct api_call call;
	char token[48], *args, *text;

	free(api_do(api, "event.register", "[[\"network\"]]"));
	api_turn(api);
	free(api_do(api, "event.next", "[]"));
	now(api, token);
	args = xn_asprintf("[[\"network/%s\"], \"%s\", 60.0]", xn_row_ref(one), token);
	xn_sim_disk_set_faults(api->disk, &faults);
	rename_network(api, other, "refused");
	api_begin(api, &call, "event.from", args);
	api_turn(api);
	assert_string_equal(xn_row_string(other, XN_network_name_label), "other");
	faults = (struct xn_sim_faults){0};
	xn_sim_disk_set_faults(api->disk, &faults);
	api_run(api, 5);
	assert_int_equal(xn_db_writable(api->db), 0);
	assert_false(call.done);
	rename_network(api, one, "accepted");
	api_turn(api);
	assert_true(call.done);
	assert_non_null(strstr(call.json, "accepted"));
	api_call_clear(&call);
	api_fail(api, "event.next", "[]", "EVENTS_LOST", NULL);
	text = api_do(api, "event.next", "[]");
	assert_non_null(strstr(text, "accepted"));
	free(text);
	free(args);
}

static void bad_tokens_are_told_apart_from_lost_ones(void **state)
{
	static const char *const bad[] = {"1",     ",",    "1,",   "x,0",
					  "1,2,3", " 1,0", "+1,0", "99999999999999999999,0"};
	struct api *api = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		char *args = xn_asprintf("[[], \"%s\", 0.0]", bad[i]);
		struct xn_error err = {0};

		api_fail(api, "event.from", args, "EVENT_FROM_TOKEN_PARSE_FAILURE", &err);
		assert_string_equal(err.params[0], bad[i]);
		xn_error_clear(&err);
		free(args);
	}
}

static void inject_gives_a_token_below_its_own_event(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "one");
	char *args, *injected;
	struct xn_value *reply;

	api_turn(api);
	args = xn_asprintf("[\"network\", \"%s\"]", xn_row_ref(one));
	injected = api_do(api, "event.inject", args);
	injected[strlen(injected) - 1] = '\0';
	assert_told(api, "\"network\"", injected + 1, "mod:one");
	reply = ask(api, "\"network\"", injected + 1, "0.0");
	assert_true(strcmp(xn_map_get_string(reply, "token"), injected + 1) > 0);
	xn_value_unref(reply);
	free(injected);
	free(args);
}

/* ---- register, next ---- */

static void next_tells_each_commit_once(void **state)
{
	struct api *api = *state;
	struct xn_row *one;
	char *text;

	free(api_do(api, "event.register", "[[\"network\"]]"));
	one = a_network(api, "one");
	api_turn(api);
	rename_network(api, one, "two");
	api_turn(api);
	xn_db_delete(api->db, one);
	api_turn(api);
	text = api_do(api, "event.next", "[]");
	assert_non_null(strstr(text, "\"operation\":\"add\""));
	assert_non_null(strstr(text, "\"operation\":\"mod\""));
	assert_non_null(strstr(text, "\"operation\":\"del\""));
	assert_non_null(strstr(text, "\"name_label\":\"one\""));
	/* What is deleted is told as it was last. */
	assert_non_null(strstr(strstr(text, "\"operation\":\"del\""), "\"name_label\":\"two\""));
	free(text);
	text = api_do(api, "event.get_current_id", "[]");
	assert_string_equal(text, "3");
	free(text);
}

static void next_without_register_is_refused(void **state)
{
	api_fail(*state, "event.next", "[]", "SESSION_NOT_REGISTERED", NULL);
}

static void a_restart_loses_events_once(void **state)
{
	struct api *api = *state;
	struct api_call call;

	free(api_do(api, "event.register", "[[\"network\"]]"));
	api_restart(api);
	api_fail(api, "event.next", "[]", "EVENTS_LOST", NULL);
	api_begin(api, &call, "event.next", "[]");
	assert_false(call.done);
	a_network(api, "after");
	api_turn(api);
	assert_true(call.done);
	assert_non_null(strstr(call.json, "after"));
	api_call_clear(&call);
}

static void a_queue_is_bounded(void **state)
{
	struct api *api = *state;
	struct xn_row *one = a_network(api, "one");
	char *text = malloc(100001);

	memset(text, 'x', 100000);
	text[100000] = '\0';
	free(api_do(api, "event.register", "[[\"network\"]]"));
	for (int i = 0; i < 150; i++) {
		text[0] = (char)('a' + i % 20);
		xn_db_set_string(api->db, one, XN_network_name_description, text);
		api_turn(api);
	}
	api_fail(api, "event.next", "[]", "EVENTS_LOST", NULL);
	free(text);
	text = api_do(api, "event.next", "[]");
	assert_in_range(strlen(text), 9000000, 10100000);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
		TEST(from_the_beginning_all_is_added),
		TEST(what_changed_since_the_token_is_told),
		TEST(rows_of_one_turn_are_all_told),
		TEST(a_call_without_news_waits_for_a_commit),
		TEST(a_waiting_call_ends_at_its_time),
		TEST(an_absurd_timeout_is_a_day),
		TEST(made_and_gone_does_not_end_a_wait),
		TEST(a_client_that_leaves_is_let_go),
		TEST(the_end_of_a_session_ends_its_waits),
		TEST(the_session_is_named_as_the_client_sent_it),
		TEST(a_thousand_waiters_hear_of_one_change),
		TEST(an_object_has_one_place_in_the_index_for_all_who_watch_it),
		TEST(the_index_of_many_objects_is_many_small_tables),
		TEST(a_crowd_ends_in_slices),
		TEST(a_mixed_crowd_hears_exactly_its_own),
		TEST(following_the_tokens_gives_the_true_picture),
		TEST(tokens_that_cannot_be_answered_are_lost),
		TEST(a_token_of_a_lost_state_is_lost),
		TEST(a_refused_turn_hides_nothing),
		TEST(bad_tokens_are_told_apart_from_lost_ones),
		TEST(inject_gives_a_token_below_its_own_event),
		TEST(next_tells_each_commit_once),
		TEST(next_without_register_is_refused),
		TEST(a_restart_loses_events_once),
		TEST(a_queue_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
