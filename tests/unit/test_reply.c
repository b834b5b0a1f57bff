/*
 * Long replies and the turns of callers, through dispatch in virtual time: what a list shows, who
 * waits for whom (counted in turns of the loop, not in time), and what callers may have of it.
 */
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "modules/audit/audit_internal.h"
#include "modules/auth/auth.h"
#include "modules/event/event.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/task/task.h"
#include "rpc/rpc.h"
#include "tests/unit/api_fixture.h"

enum { ROWS = 3000, CALLERS = 80 };

static const struct xn_module *const modules[] = {
	&xn_audit_module, &xn_db_module,      &xn_auth_module, &xn_task_module,
	&xn_event_module, &xn_operation_module, &xn_records_module, &xn_rpc_module, NULL,
};

static int setup(void **state)
{
	return api_setup_with(state, modules);
}

struct asked {
	struct xn_job job; /* sends it from inside a turn, as a connection would */
	struct api *api;
	char *body;
	char origin[32];
	struct xn_buf reply;
	bool done;
};

static void on_reply(const char *body, size_t len, void *arg)
{
	struct asked *asked = arg;

	xn_buf_add(&asked->reply, body, len);
	asked->done = true;
}

static void send_now(struct xn_job *job)
{
	struct asked *asked = xn_container_of(job, struct asked, job);
	struct xn_caller from = {0};

	snprintf(from.origin, sizeof(from.origin), "%s", asked->origin);
	xn_rpc_call(xn_module_state(&asked->api->core, "rpc"), asked->body, strlen(asked->body),
		    &from, on_reply, asked);
}

/* @body is taken. */
static void send_body(struct api *api, struct asked *asked, char *body)
{
	*asked = (struct asked){.api = api, .body = body, .origin = "10.0.0.1:1"};
	xn_loop_defer(api->core.loop, &asked->job, XN_PRIO_REPLY, send_now);
}

/* @args: what follows the session, as JSON. */
static void ask(struct api *api, struct asked *asked, const char *secret, const char *method,
		const char *args)
{
	send_body(api, asked,
		  xn_asprintf("{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":[\"%s\"%s%s],"
			      "\"id\":1}",
			      method, secret, *args ? "," : "", args));
}

static const char *wait_for(struct asked *asked)
{
	api_wait(asked->api, &asked->done);
	return xn_buf_cstr(&asked->reply);
}

static void clear(struct asked *asked)
{
	free(asked->body);
	xn_buf_clear(&asked->reply);
}

static void turn(struct api *api)
{
	xn_loop_turn(api->core.loop, 0);
}

static struct xn_row *a_network(struct api *api, const char *name)
{
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, "name_label", name);
	row = xn_db_create(api->db, XN_CLASS_network, NULL, fields);
	xn_value_unref(fields);
	return row;
}

static void given_rows(struct api *api, struct xn_row **rows)
{
	for (int i = 0; i < ROWS; i++)
		rows[i] = a_network(api, "before");
	api_turn(api);
}

/* Not by strstr() or memmem(): under a sanitizer each call measures all of the rest. */
static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == *part && strncmp(text, part, strlen(part)) == 0;
	return n;
}

/* ---- what a list shows ---- */

/* Everything changes between the parts of the list: rows are renamed, deleted, made. */
static void disturb(struct api *api, struct xn_row **rows, struct asked *list)
{
	unsigned at = 0;

	for (turn(api); !list->done; turn(api)) {
		for (int n = 0; n < 100 && at < ROWS; n++, at++) {
			if (at % 3)
				xn_db_set_string(api->db, rows[at], XN_network_name_label, "after");
			else
				xn_db_delete(api->db, rows[at]);
		}
		a_network(api, "after");
	}
	assert_true(at >= 300); /* there were several turns */
}

static void a_list_shows_one_moment(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[ROWS];
	struct asked list;
	unsigned others;

	others = (unsigned)xn_db_count(api->db, XN_CLASS_network);
	given_rows(api, rows);
	ask(api, &list, api->secret, "network.get_all_records", "");
	disturb(api, rows, &list);
	assert_int_equal(count(wait_for(&list), "\"name_label\":\"before\""), ROWS);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "\"uuid\":"), ROWS + others);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "after"), 0);
	clear(&list);
	assert_int_equal(xn_db_frozen_bytes(api->db), 0);
}

static void a_list_in_xml_shows_one_moment(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[ROWS];
	struct asked list;

	given_rows(api, rows);
	send_body(api, &list,
		  xn_asprintf("<methodCall><methodName>network.get_all_records</methodName><params>"
			      "<param><value>%s</value></param></params></methodCall>",
			      api->secret));
	disturb(api, rows, &list);
	assert_int_equal(count(wait_for(&list), "<name>name_label</name><value>before</value>"),
			 ROWS);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "after"), 0);
	clear(&list);
}

static void a_selection_by_an_expression_shows_one_moment(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[ROWS];
	struct asked list;

	given_rows(api, rows);
	ask(api, &list, api->secret, "network.get_all_records_where",
	    "\"field 'name_label' = 'before' or field 'name_label' = 'after'\"");
	disturb(api, rows, &list);
	assert_int_equal(count(wait_for(&list), "\"name_label\":\"before\""), ROWS);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "after"), 0);
	clear(&list);
}

static void all_events_show_one_moment(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[ROWS];
	struct asked list;

	given_rows(api, rows);
	ask(api, &list, api->secret, "event.from", "[\"network\"],\"\",1.0");
	disturb(api, rows, &list);
	assert_int_equal(count(wait_for(&list), "\"name_label\":\"before\""), ROWS);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "after"), 0);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "\"operation\":\"add\""),
			 count(xn_buf_cstr(&list.reply), "\"snapshot\":"));
	clear(&list);
	assert_int_equal(xn_db_frozen_bytes(api->db), 0);
}

static void what_a_full_disk_took_back_is_in_no_list(void **state)
{
	struct api *api = *state;
	struct xn_sim_faults faults = {.append_failures = 1};
	struct xn_row *rows[ROWS];
	struct asked list;

	given_rows(api, rows);
	ask(api, &list, api->secret, "network.get_all_records", "");
	turn(api);
	assert_false(list.done);
	xn_sim_disk_set_faults(api->disk, &faults);
	for (int i = 0; i < ROWS; i++)
		xn_db_set_string(api->db, rows[i], XN_network_name_label, "after");
	api_turn(api);
	faults.append_failures = 0;
	xn_sim_disk_set_faults(api->disk, &faults);
	assert_int_equal(count(wait_for(&list), "\"name_label\":\"before\""), ROWS);
	assert_int_equal(count(xn_buf_cstr(&list.reply), "after"), 0);
	clear(&list);
}

static void the_parts_are_as_long_as_they_were_measured(void **state)
{
	struct api *api = *state;
	struct xn_row *rows[ROWS];

	given_rows(api, rows);
	for (int kind = XN_LIST_REFS; kind <= XN_LIST_RECORDS; kind++) {
		for (int format = XN_FORMAT_JSON; format <= XN_FORMAT_XML; format++) {
			struct xn_value *list = xn_db_list(api->db, XN_CLASS_network,
							   (enum xn_list_kind)kind, NULL);
			struct xn_buf text = {0};
			int64_t length;

			do
				length = list->embed.ops->measure(list->embed.object,
								  (enum xn_format)format);
			while (length < 0);
			xn_embed_write(list, (enum xn_format)format, &text);
			assert_int_equal(length, text.len);
			xn_buf_clear(&text);
			xn_value_unref(list);
		}
	}
}

/* ---- who waits for whom ---- */

static void given_callers(struct api *api, char secrets[CALLERS][48])
{
	struct xn_auth *auth = xn_module_state(&api->core, "auth");

	for (int i = 0; i < CALLERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "caller%d", i);
		xn_auth_login_as(auth, name, XN_ROLE_POOL_ADMIN, false, "", secrets[i]);
	}
	api_turn(api);
}

static unsigned n_done(const struct asked *lists, unsigned n)
{
	unsigned done = 0;

	for (unsigned i = 0; i < n; i++)
		done += lists[i].done;
	return done;
}

static void finish_all(struct asked *lists, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		wait_for(&lists[i]);
		assert_int_equal(count(xn_buf_cstr(&lists[i].reply), "before"), ROWS);
		clear(&lists[i]);
	}
}

/* Full lists and all events, of eighty callers at once. */
static void given_lists(struct api *api, char secrets[CALLERS][48], struct asked *lists)
{
	for (int i = 0; i < CALLERS; i++)
		ask(api, &lists[i], secrets[i],
		    i % 2 ? "event.from" : "network.get_all_records",
		    i % 2 ? "[\"network\"],\"\",1.0" : "");
	turn(api);
}

static void a_short_call_overtakes_eighty_lists(void **state)
{
	struct api *api = *state;
	char secrets[CALLERS][48];
	struct asked *lists = xn_calloc(CALLERS, sizeof(*lists)), call;
	struct xn_row *rows[ROWS];
	unsigned turns = 0;

	given_rows(api, rows);
	given_callers(api, secrets);
	given_lists(api, secrets, lists);
	for (int round = 0; round < 20; round++) {
		ask(api, &call, api->secret, "pool.get_all", "");
		for (; !call.done; turns++)
			turn(api);
		clear(&call);
	}
	assert_in_range(turns, 20, 60); /* three turns each; a slice of one list in each turn */
	assert_int_equal(n_done(lists, CALLERS), 0);
	finish_all(lists, CALLERS);
	free(lists);
}

/* An operation of many short steps, each after the commit of the one before. */
struct operation {
	struct xn_job job;
	struct api *api;
	struct xn_db_wait wait;
	struct xn_row *row;
	unsigned steps;
};

static void run_step(struct xn_job *job);

static void on_step_visible(struct xn_db_wait *wait, int rc)
{
	struct operation *op = xn_container_of(wait, struct operation, wait);

	assert_int_equal(rc, 0);
	xn_loop_defer(op->api->core.loop, &op->job, XN_PRIO_OPERATION, run_step);
}

static void run_step(struct xn_job *job)
{
	struct operation *op = xn_container_of(job, struct operation, job);
	char text[16];

	if (op->steps == 100)
		return;
	snprintf(text, sizeof(text), "step %u", ++op->steps);
	xn_db_set_string(op->api->db, op->row, XN_network_name_description, text);
	xn_db_when_visible(op->api->db, &op->wait, on_step_visible);
}

static void steps_of_operations_overtake_eighty_lists(void **state)
{
	struct api *api = *state;
	char secrets[CALLERS][48];
	struct asked *lists = xn_calloc(CALLERS, sizeof(*lists));
	struct operation op = {.api = api};
	struct xn_row *rows[ROWS];
	unsigned turns = 0;

	given_rows(api, rows);
	given_callers(api, secrets);
	op.row = a_network(api, "the one");
	api_turn(api);
	given_lists(api, secrets, lists);
	xn_loop_defer(api->core.loop, &op.job, XN_PRIO_OPERATION, run_step);
	for (; op.steps < 100; turns++)
		turn(api);
	assert_in_range(turns, 1, 100); /* at most one slice of one list a step */
	assert_int_equal(n_done(lists, CALLERS), 0);
	xn_job_cancel(&op.job);
	finish_all(lists, CALLERS);
	free(lists);
}

static void many_lists_of_one_caller_do_not_hold_up_another(void **state)
{
	struct api *api = *state;
	char secrets[CALLERS][48];
	struct asked *lists = xn_calloc(CALLERS, sizeof(*lists)), other;
	struct xn_row *rows[ROWS];

	given_rows(api, rows);
	given_callers(api, secrets);
	for (int i = 0; i < CALLERS; i++)
		ask(api, &lists[i], secrets[0], "network.get_all_records", "");
	turn(api);
	ask(api, &other, secrets[1], "network.get_all_records", "");
	wait_for(&other);
	assert_int_equal(n_done(lists, CALLERS), 0); /* it had every second turn */
	finish_all(lists, CALLERS);
	finish_all(&other, 1);
	free(lists);
}

static void many_sessions_of_one_address_do_not_hold_up_another_address(void **state)
{
	struct api *api = *state;
	char secrets[CALLERS][48];
	struct asked *lists = xn_calloc(CALLERS, sizeof(*lists)), other;
	struct xn_row *rows[ROWS];

	given_rows(api, rows);
	given_callers(api, secrets);
	for (int i = 0; i < CALLERS - 1; i++)
		ask(api, &lists[i], secrets[i], "network.get_all_records", "");
	turn(api);
	ask(api, &other, secrets[CALLERS - 1], "network.get_all_records", "");
	strcpy(other.origin, "10.0.0.2:1");
	wait_for(&other);
	assert_int_equal(n_done(lists, CALLERS - 1), 0);
	finish_all(lists, CALLERS - 1);
	finish_all(&other, 1);
	free(lists);
}

/* ---- what callers may have ---- */

static void assert_reply_has(struct asked *asked, const char *part)
{
	if (!strstr(wait_for(asked), part))
		fail_msg("%s is not in %s", part, xn_buf_cstr(&asked->reply));
	clear(asked);
}

static void too_many_waits_of_one_session_are_refused(void **state)
{
	enum { WAITS = 2000 }; /* session-waits */
	struct api *api = *state;
	struct asked *waits = xn_calloc(WAITS, sizeof(*waits)), more;
	char secret[48];
	struct xn_caller caller;

	for (int i = 0; i < WAITS; i++)
		ask(api, &waits[i], api->secret, "event.from", "[\"pool\"],\"\",60.0");
	api_run(api, 1);
	ask(api, &more, api->secret, "event.from", "[\"pool\"],\"\",60.0");
	assert_reply_has(&more, "\"TOO_MANY_PENDING_TASKS\"");
	api_log_in(api, "other", XN_ROLE_READ_ONLY, &caller, secret);
	ask(api, &more, secret, "event.from", "[\"pool\"],\"\",1.0");
	assert_reply_has(&more, "\"result\"");
	for (int i = 0; i < WAITS; i++)
		assert_reply_has(&waits[i], "\"result\"");
	ask(api, &more, api->secret, "event.from", "[\"pool\"],\"\",1.0");
	assert_reply_has(&more, "\"result\"");
	free(waits);
}

static void a_logout_denies_nothing_to_the_calls_that_wait(void **state)
{
	struct api *api = *state;
	const struct xn_audit *audit = xn_module_state(&api->core, "audit");
	struct asked from, next, other;
	struct xn_caller caller;
	char secret[48];

	api_log_in(api, "other", XN_ROLE_READ_ONLY, &caller, secret);
	ask(api, &other, secret, "event.register", "[\"pool\"]");
	assert_reply_has(&other, "\"result\"");
	ask(api, &from, secret, "event.from", "[\"pool\"],\"\",60.0");
	ask(api, &next, secret, "event.next", "");
	api_run(api, 1);
	ask(api, &other, secret, "session.logout", "");
	assert_reply_has(&other, "\"result\"");
	assert_reply_has(&from, "\"SESSION_INVALID\"");
	assert_reply_has(&next, "\"SESSION_INVALID\"");
	assert_int_equal(audit->lines[XN_AUDIT_DENIED], 0);
	ask(api, &other, secret, "event.next", "");
	assert_reply_has(&other, "\"SESSION_INVALID\"");
	assert_int_equal(audit->lines[XN_AUDIT_DENIED], 1);
}

static char *text_of(size_t len)
{
	char *text = xn_malloc(len + 3);

	memset(text, 'x', len + 2);
	text[0] = text[len + 1] = '"';
	text[len + 2] = '\0';
	return text;
}

static void ask_with_a_megabyte(struct api *api, struct asked *asked, const char *secret)
{
	char *text = text_of(1000000), *args = xn_asprintf("[\"pool\",%s],\"\",60.0", text);

	ask(api, asked, secret, "event.from", args);
	free(args);
	free(text);
}

static void waiting_calls_of_a_session_have_so_many_bytes_of_parameters(void **state)
{
	enum { WAITS = 16 }; /* session-arguments: 16 MiB */
	struct api *api = *state;
	struct asked waits[WAITS], more;
	char secret[48];
	struct xn_caller caller;

	api_log_in(api, "other", XN_ROLE_READ_ONLY, &caller, secret);
	for (int i = 0; i < WAITS; i++)
		ask_with_a_megabyte(api, &waits[i], api->secret);
	api_run(api, 1);
	assert_int_equal(n_done(waits, WAITS), 0);
	ask_with_a_megabyte(api, &more, api->secret);
	assert_reply_has(&more, "\"TOO_MANY_PENDING_TASKS\"");
	ask_with_a_megabyte(api, &more, secret);
	for (int i = 0; i < WAITS; i++)
		assert_reply_has(&waits[i], "\"result\"");
	assert_reply_has(&more, "\"result\"");
	ask(api, &more, api->secret, "pool.get_all", "");
	assert_reply_has(&more, "\"result\"");
	/* What has ended counts no more. */
	for (int i = 0; i < WAITS; i++)
		ask_with_a_megabyte(api, &waits[i], api->secret);
	for (int i = 0; i < WAITS; i++)
		assert_reply_has(&waits[i], "\"result\"");
}

static void send_login(struct api *api, struct asked *asked, size_t surplus)
{
	char *text = text_of(surplus);

	send_body(api, asked,
		  xn_asprintf("{\"jsonrpc\":\"2.0\",\"method\":\"session.login_with_password\","
			      "\"params\":[\"root\",\"secret\",\"1.0\",\"test\",%s],\"id\":1}",
			      text));
	free(text);
}

static void a_login_brings_so_many_bytes_whatever_is_ignored_of_them(void **state)
{
	enum { MOST = 16 << 10 }; /* login-arguments */
	struct api *api = *state;
	struct asked asked;

	send_login(api, &asked, MOST - 1000);
	assert_reply_has(&asked, "\"result\":\"OpaqueRef:");
	send_login(api, &asked, MOST);
	assert_reply_has(&asked, "\"INVALID_VALUE\",\"data\":[\"login_with_password\",");
}

static char *about(const struct xn_row *row, const char *more)
{
	return xn_asprintf("\"%s\",%s", xn_row_ref(row), more);
}

static void set_to_text(struct api *api, struct asked *asked, const struct xn_row *row,
			size_t len)
{
	char *text = text_of(len), *args = about(row, text);

	ask(api, asked, api->secret, "network.set_name_description", args);
	free(args);
	free(text);
}

static void a_text_may_be_so_long(void **state)
{
	enum { MOST = 256 << 10 }; /* string-bytes */
	struct api *api = *state;
	struct xn_row *row = a_network(api, "one");
	struct asked asked;

	set_to_text(api, &asked, row, MOST);
	assert_reply_has(&asked, "\"result\":\"\"");
	set_to_text(api, &asked, row, MOST + 1);
	assert_reply_has(&asked, "\"INVALID_VALUE\",\"data\":[\"value\",\"262145 bytes, and the "
				 "limit string-bytes is 262144\"]");
	assert_int_equal(strlen(xn_row_string(row, XN_network_name_description)), MOST);
}

static void a_map_may_have_so_many_members(void **state)
{
	enum { MOST = 10000 }; /* field-items */
	struct api *api = *state;
	struct xn_row *row = a_network(api, "one");
	struct xn_value *map = xn_map_new();
	struct asked asked;
	char *args = about(row, "\"one more\",\"x\"");

	for (int i = 1; i < MOST; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%08d", i);
		xn_map_put_string(&map, key, "v");
	}
	xn_db_set(api->db, row, XN_network_other_config, map);
	ask(api, &asked, api->secret, "network.add_to_other_config", args);
	assert_reply_has(&asked, "\"result\":\"\"");
	free(args);
	args = about(row, "\"too many\",\"x\"");
	ask(api, &asked, api->secret, "network.add_to_other_config", args);
	assert_reply_has(&asked, "\"INVALID_VALUE\",\"data\":[\"other_config\",\"10001 members");
	free(args);
	assert_int_equal(xn_map_len(xn_row_get(row, XN_network_other_config)), MOST);
}

static void an_object_may_take_so_many_bytes(void **state)
{
	struct api *api = *state;
	struct xn_row *row = a_network(api, "one");
	char *text = text_of(200 << 10);
	struct asked asked;

	for (int i = 0; i < 6; i++) { /* row-bytes: 1 MiB */
		char *member = xn_asprintf("\"key%d\",%s", i, text), *args = about(row, member);

		ask(api, &asked, api->secret, "network.add_to_other_config", args);
		assert_reply_has(&asked,
				 i < 5 ? "\"result\":\"\""
				       : "\"INVALID_VALUE\",\"data\":[\"other_config\",");
		free(args);
		free(member);
	}
	free(text);
	/* What takes away is always done. */
	text = about(row, "\"key0\"");
	ask(api, &asked, api->secret, "network.remove_from_other_config", text);
	assert_reply_has(&asked, "\"result\":\"\"");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, api_teardown)
		TEST(a_list_shows_one_moment),
		TEST(a_list_in_xml_shows_one_moment),
		TEST(a_selection_by_an_expression_shows_one_moment),
		TEST(all_events_show_one_moment),
		TEST(what_a_full_disk_took_back_is_in_no_list),
		TEST(the_parts_are_as_long_as_they_were_measured),
		TEST(a_short_call_overtakes_eighty_lists),
		TEST(steps_of_operations_overtake_eighty_lists),
		TEST(many_lists_of_one_caller_do_not_hold_up_another),
		TEST(many_sessions_of_one_address_do_not_hold_up_another_address),
		TEST(too_many_waits_of_one_session_are_refused),
		TEST(waiting_calls_of_a_session_have_so_many_bytes_of_parameters),
		TEST(a_login_brings_so_many_bytes_whatever_is_ignored_of_them),
		TEST(a_logout_denies_nothing_to_the_calls_that_wait),
		TEST(a_text_may_be_so_long),
		TEST(a_map_may_have_so_many_members),
		TEST(an_object_may_take_so_many_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
