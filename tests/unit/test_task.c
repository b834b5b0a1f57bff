/* Task rows, their end, cancel and collection; journaled operations over a restart. */
#include "tests/unit/cmocka_all.h"

#include "modules/db/codec.h"
#include "modules/task/task.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static struct xn_tasks *tasks_of(struct api *api)
{
	return xn_tasks_of(&api->core);
}

static struct xn_row *row_of(struct api *api, const char *ref)
{
	return xn_db_get(api->db, XN_CLASS_task, ref);
}

static const char *status_of(struct api *api, const char *ref)
{
	struct xn_row *row = row_of(api, ref);

	return row ? xn_row_string(row, XN_task_status) : "gone";
}

static void a_task(struct api *api, char ref[48])
{
	xn_task_create(tasks_of(api), "Async.VM.start", "", &api->root, ref);
	api_turn(api);
}

static void mark_done(void *arg)
{
	*(bool *)arg = true;
}

static void succeed(struct api *api, const char *ref, const struct xn_value *result)
{
	bool done = false;

	xn_task_succeed(tasks_of(api), ref, NULL, result, mark_done, &done);
	api_wait(api, &done);
	api_turn(api);
}

static void a_task_made_by_a_client(struct api *api, char ref[48])
{
	char *text = api_do(api, "task.create", "[\"label\", \"\"]");

	text[strlen(text) - 1] = '\0';
	snprintf(ref, 48, "%s", text + 1);
	free(text);
}

/* A call with the task as its first argument. */
static void call_task(struct api *api, const char *method, const char *ref, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", ref, more);

	free(api_do(api, method, args));
	free(args);
}

static bool is_cancellable(struct api *api, const char *ref)
{
	return xn_set_has_string(xn_row_get(row_of(api, ref), XN_task_allowed_operations),
				 "cancel");
}

/* ---- the end ---- */

static void the_end_is_not_seen_before_it_is_durable(void **state)
{
	struct api *api = *state;
	bool done = false;
	char ref[48];

	a_task(api, ref);
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, mark_done, &done);
	assert_string_equal(status_of(api, ref), "pending");
	api_wait(api, &done);
	assert_string_equal(status_of(api, ref), "success");
	assert_true(xn_row_modified(row_of(api, ref)) + 1 >= xn_db_durable_generation(api->db));
}

static void a_success_carries_its_result_as_xml(void **state)
{
	struct api *api = *state;
	struct xn_value *result = xn_string("OpaqueRef:1 <&>");
	struct xn_row *row;
	char ref[48];

	a_task(api, ref);
	succeed(api, ref, result);
	row = row_of(api, ref);
	assert_string_equal(xn_row_string(row, XN_task_result),
			    "<value>OpaqueRef:1 &lt;&amp;&gt;</value>");
	assert_true(xn_value_float(xn_row_get(row, XN_task_progress)) == 1.0);
	assert_int_equal(xn_row_int(row, XN_task_finished), xn_wall_s(api->core.loop));
	xn_value_unref(result);
	a_task(api, ref);
	succeed(api, ref, NULL);
	assert_string_equal(xn_row_string(row_of(api, ref), XN_task_result), "<value></value>");
}

static void a_failure_carries_code_and_parameters(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	bool done = false;
	const struct xn_value *info;
	char ref[48];

	a_task(api, ref);
	xn_error_set(&err, XN_ERR_VM_BAD_POWER_STATE, "vm", "halted", "running");
	xn_task_fail(tasks_of(api), ref, &err, mark_done, &done);
	xn_error_clear(&err);
	api_wait(api, &done);
	assert_string_equal(status_of(api, ref), "failure");
	info = xn_row_get(row_of(api, ref), XN_task_error_info);
	assert_int_equal(xn_set_len(info), 4);
	assert_string_equal(xn_value_string(xn_set_at(info, 0)), "VM_BAD_POWER_STATE");
	assert_string_equal(xn_value_string(xn_set_at(info, 3)), "running");
	assert_string_equal(xn_row_string(row_of(api, ref), XN_task_result), "");
}

static void the_first_end_wins_and_all_are_told(void **state)
{
	struct api *api = *state;
	bool first = false, second = false, third = false;
	struct xn_error err = {0};
	char ref[48];

	a_task(api, ref);
	xn_error_set(&err, XN_ERR_INTERNAL_ERROR, "x");
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, mark_done, &first);
	xn_task_fail(tasks_of(api), ref, &err, mark_done, &second);
	api_wait(api, &first);
	api_wait(api, &second);
	assert_string_equal(status_of(api, ref), "success");
	xn_task_fail(tasks_of(api), ref, &err, mark_done, &third);
	api_wait(api, &third);
	assert_string_equal(status_of(api, ref), "success");
	xn_error_clear(&err);
}

static void a_restart_in_between_records_the_end(void **state)
{
	struct api *api = *state;
	char ref[48];

	a_task(api, ref);
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, NULL, NULL);
	xn_loop_turn(api->core.loop, 0); /* journaled; nobody was told yet */
	api_restart(api);
	api_run(api, 1);
	assert_string_equal(status_of(api, ref), "success");
}

static void let_pass(struct api *api, int64_t us)
{
	int64_t end = xn_now_us(api->core.loop) + us;

	do
		xn_loop_turn(api->core.loop, end - xn_now_us(api->core.loop));
	while (xn_now_us(api->core.loop) < end);
}

/* Of many tasks at any moment of their end: what was seen as success is so after the power is back. */
static void an_end_that_was_seen_survives_power_loss(void **state)
{
	enum { N = 60, ROUNDS = 20 };
	struct api *api = *state;
	char refs[N][48];
	bool seen[N];
	unsigned n_seen = 0;

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < N; i++) {
			xn_task_create(tasks_of(api), "x", "", NULL, refs[i]);
			xn_task_succeed(tasks_of(api), refs[i], NULL, NULL, NULL, NULL);
			api_turn(api); /* committed */
			let_pass(api, 37 * (round + i) % 1000);
		}
		for (int i = 0; i < N; i++)
			n_seen += seen[i] = strcmp(status_of(api, refs[i]), "success") == 0;
		api_crash(api, XN_CRASH_POWER);
		for (int i = 0; i < N; i++)
			if (seen[i])
				assert_string_equal(status_of(api, refs[i]), "success");
	}
	assert_in_range(n_seen, 1, N * ROUNDS - 1);
}

static void an_end_that_the_disk_refuses_is_recorded_later(void **state)
{
	struct api *api = *state;
	struct xn_sim_faults faults = {.append_failures = 1, .reopen_failures = 1};
	bool done = false;
	char ref[48];

	a_task(api, ref);
	xn_sim_disk_set_faults(api->disk, &faults);
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, mark_done, &done);
	api_wait(api, &done); /* who waits is not held up */
	api_run(api, 5);
	assert_string_equal(status_of(api, ref), "pending");
	faults = (struct xn_sim_faults){0};
	xn_sim_disk_set_faults(api->disk, &faults);
	api_run(api, 5);
	assert_string_equal(status_of(api, ref), "success");
}

static struct xn_value *too_long(void)
{
	char *text = malloc(XN_TX_MAX);
	struct xn_value *v;

	memset(text, 'x', XN_TX_MAX);
	v = xn_string_len(text, XN_TX_MAX);
	free(text);
	return v;
}

/* The store works all the time: nothing else makes them look again. */
static void an_end_in_a_turn_too_large_is_recorded_in_another(void **state)
{
	struct api *api = *state;
	bool done = false;
	char ref[48], other[48];

	a_task(api, ref);
	a_task(api, other);
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, mark_done, &done);
	xn_db_set(api->db, row_of(api, other), XN_task_name_description, too_long());
	api_wait(api, &done);
	api_run(api, 5);
	assert_string_equal(status_of(api, ref), "success");
}

static void an_end_too_large_itself_becomes_a_failure(void **state)
{
	struct api *api = *state;
	struct xn_value *result = too_long();
	char ref[48];

	a_task(api, ref);
	xn_task_succeed(tasks_of(api), ref, NULL, result, NULL, NULL);
	xn_value_unref(result);
	api_run(api, 10);
	assert_string_equal(status_of(api, ref), "failure");
}

static void a_status_that_the_disk_refuses_is_no_success(void **state)
{
	struct api *api = *state;
	struct xn_sim_faults faults = {.append_failures = 1, .reopen_failures = 1};
	struct xn_error err = {0};
	char ref[48], args[80];

	a_task_made_by_a_client(api, ref);
	xn_sim_disk_set_faults(api->disk, &faults);
	snprintf(args, sizeof(args), "[\"%s\", \"success\"]", ref);
	api_fail(api, "task.set_status", args, XN_ERR_INTERNAL_ERROR, &err);
	xn_error_clear(&err);
}

static void a_forgotten_task_is_gone_at_any_moment(void **state)
{
	struct api *api = *state;
	char ref[48];

	a_task(api, ref);
	xn_task_forget(tasks_of(api), ref);
	assert_string_equal(status_of(api, ref), "gone");
	a_task(api, ref);
	xn_task_succeed(tasks_of(api), ref, NULL, NULL, NULL, NULL);
	xn_task_forget(tasks_of(api), ref);
	api_run(api, 1);
	assert_string_equal(status_of(api, ref), "gone");
}

/* ---- progress ---- */

static void progress_is_written_now_and_then_and_never_lost(void **state)
{
	struct api *api = *state;
	uint64_t before;
	char ref[48];

	a_task(api, ref);
	api_run(api, 1);
	before = xn_db_generation(api->db);
	for (int i = 0; i < 1000; i++)
		xn_task_progress(tasks_of(api), ref, i / 2000.0);
	api_run(api, 1);
	assert_true(xn_db_generation(api->db) - before <= 3);
	assert_true(xn_value_float(xn_row_get(row_of(api, ref), XN_task_progress)) == 0.4995);
	xn_task_progress(tasks_of(api), ref, 0.1);
	api_run(api, 1);
	assert_true(xn_value_float(xn_row_get(row_of(api, ref), XN_task_progress)) == 0.4995);
}

/* ---- cancel ---- */

static void a_task_is_cancellable_while_somebody_can_stop_it(void **state)
{
	struct api *api = *state;
	bool asked = false;
	char ref[48];

	a_task(api, ref);
	assert_false(is_cancellable(api, ref));
	xn_task_on_cancel(tasks_of(api), ref, mark_done, &asked);
	assert_true(is_cancellable(api, ref));
	call_task(api, "task.cancel", ref, "");
	api_wait(api, &asked);
	assert_string_equal(status_of(api, ref), "pending"); /* ends when the work has stopped */
	xn_task_on_cancel(tasks_of(api), ref, NULL, NULL);
	assert_false(is_cancellable(api, ref));
}

static void a_cancel_that_came_too_early_is_remembered(void **state)
{
	struct api *api = *state;
	bool asked = false;
	char ref[48];

	a_task(api, ref);
	call_task(api, "task.cancel", ref, "");
	api_run(api, 1);
	assert_string_equal(status_of(api, ref), "pending");
	xn_task_on_cancel(tasks_of(api), ref, mark_done, &asked);
	assert_false(asked);
	api_wait(api, &asked);
}

/* CVE-2017-5573: who may was asked only after the call had been handed on. */
static void a_stranger_may_not_touch_a_task(void **state)
{
	static const char *const methods[] = {"task.cancel", "task.destroy"};
	struct api *api = *state;
	struct xn_caller alice, bob, operator;
	char secret[48], ref[48], *args;
	struct api_call call;

	api_log_in(api, "alice", XN_ROLE_VM_ADMIN, &alice, secret);
	api_log_in(api, "bob", XN_ROLE_VM_ADMIN, &bob, secret);
	api_log_in(api, "carol", XN_ROLE_POOL_OPERATOR, &operator, secret);
	xn_task_create(tasks_of(api), "Async.VM.start", "", &alice, ref);
	args = xn_asprintf("[\"%s\"]", ref);
	for (size_t i = 0; i < XN_ARRAY_SIZE(methods); i++) {
		api_begin_as(api, &call, &bob, methods[i], args);
		assert_string_equal(call.err.code, "RBAC_PERMISSION_DENIED");
		assert_string_equal(call.err.params[0], "task.destroy/any");
		api_call_clear(&call);
		api_begin_as(api, &call, &alice, methods[i], args);
		assert_non_null(call.json);
		api_call_clear(&call);
		api_begin_as(api, &call, &operator, methods[i], args);
		assert_non_null(call.json);
		api_call_clear(&call);
	}
	free(args);
}

static void a_client_does_not_end_what_the_server_works_on(void **state)
{
	struct api *api = *state;
	char ref[48], *args;

	a_task(api, ref);
	args = xn_asprintf("[\"%s\", \"success\"]", ref);
	api_fail(api, "task.set_status", args, "OPERATION_NOT_ALLOWED", NULL);
	assert_string_equal(status_of(api, ref), "pending");
	free(args);
}

static void protected_keys_stay_when_a_map_is_set(void **state)
{
	struct api *api = *state;
	struct xn_caller reader;
	struct api_call call;
	char secret[48], ref[48], *args;

	api_log_in(api, "bob", XN_ROLE_READ_ONLY, &reader, secret);
	xn_task_create(tasks_of(api), "x", "", &reader, ref);
	call_task(api, "task.add_to_other_config", ref, ", \"applies_to\", \"vm\"");
	args = xn_asprintf("[\"%s\", {\"a\": \"b\", \"XenCenterUUID\": \"c\"}]", ref);
	api_begin_as(api, &call, &reader, "task.set_other_config", args);
	assert_non_null(call.json);
	api_call_clear(&call);
	assert_int_equal(xn_map_len(xn_row_get(row_of(api, ref), XN_task_other_config)), 2);
	assert_string_equal(xn_row_map_string(row_of(api, ref), XN_task_other_config, "applies_to"),
			    "vm");
	assert_string_equal(xn_row_map_string(row_of(api, ref), XN_task_other_config, "a"), "b");
	free(args);
}

/* ---- how many ---- */

static void make_tasks(struct api *api, const struct xn_caller *maker, unsigned n)
{
	while (n--) {
		struct api_call call = {0};

		api_begin_as(api, &call, maker, "task.create", "[\"stays\", \"\"]");
		api_wait(api, &call.done);
		api_call_clear(&call);
	}
}

static bool may_make(struct api *api, const struct xn_caller *maker)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	if (xn_task_check_clients_room(tasks_of(api), maker, &err) == 0)
		return true;
	assert_string_equal(err.code, "TOO_MANY_PENDING_TASKS");
	return false;
}

static void an_account_makes_so_many_tasks_whichever_sessions_it_has(void **state)
{
	struct api *api = *state;
	struct xn_caller first, second, bob;
	char secret[48];

	api_log_in(api, "alice", XN_ROLE_READ_ONLY, &first, secret);
	api_log_in(api, "bob", XN_ROLE_READ_ONLY, &bob, secret);
	make_tasks(api, &first, 400);
	api_log_in(api, "alice", XN_ROLE_READ_ONLY, &second, secret);
	xn_db_delete(api->db, xn_db_get(api->db, XN_CLASS_session, first.session));
	make_tasks(api, &second, 99);
	assert_true(may_make(api, &second));
	make_tasks(api, &second, 1);
	assert_false(may_make(api, &second));
	assert_true(may_make(api, &bob));
	xn_task_succeed(tasks_of(api), xn_row_ref(xn_db_first(api->db, XN_CLASS_task)), NULL, NULL,
			NULL, NULL);
	api_run(api, 1);
	assert_true(may_make(api, &second));
	assert_int_equal(xn_tasks_refused(tasks_of(api), XN_TASKS_OF_ACCOUNT), 1);
}

static void no_number_of_accounts_takes_the_places_of_operations(void **state)
{
	struct api *api = *state;
	struct xn_caller maker;
	char user[20], secret[48];

	for (int i = 0; i < 10; i++) {
		snprintf(user, sizeof(user), "user %d", i);
		api_log_in(api, user, XN_ROLE_READ_ONLY, &maker, secret);
		assert_true(may_make(api, &maker));
		make_tasks(api, &maker, 500);
	}
	api_log_in(api, "alice", XN_ROLE_READ_ONLY, &maker, secret);
	assert_false(may_make(api, &maker));
	assert_int_equal(xn_tasks_refused(tasks_of(api), XN_TASKS_OF_CLIENTS), 1);
	assert_int_equal(xn_task_check_room(tasks_of(api), NULL), 0);
}

/* ---- collection ---- */

static void finished_tasks_go_after_65_minutes(void **state)
{
	struct api *api = *state;
	char ref[48], pending[48];

	a_task(api, ref);
	a_task(api, pending);
	succeed(api, ref, NULL);
	api_run(api, 3890);
	assert_string_equal(status_of(api, ref), "success");
	api_run(api, 60);
	assert_string_equal(status_of(api, ref), "gone");
	assert_string_equal(status_of(api, pending), "pending");
}

static void the_oldest_finished_go_when_there_are_too_many(void **state)
{
	struct api *api = *state;
	char first[48], pending[48], ref[48];
	size_t n;

	a_task(api, pending);
	a_task(api, first);
	succeed(api, first, NULL);
	api_run(api, 2);
	for (int i = 0; i < 300; i++) {
		a_task(api, ref);
		succeed(api, ref, NULL);
	}
	api_run(api, 10);
	assert_string_equal(status_of(api, ref), "success"); /* its watchers may be slow */
	api_run(api, 100);
	n = xn_db_count(api->db, XN_CLASS_task);
	assert_int_equal(n, 200);
	assert_string_equal(status_of(api, first), "gone");
	assert_string_equal(status_of(api, pending), "pending");
	assert_string_equal(status_of(api, ref), "success");
}

static void tasks_without_a_pause_are_bounded_too(void **state)
{
	struct api *api = *state;
	char ref[48];

	for (int i = 0; i < 2500; i++) {
		xn_task_create(tasks_of(api), "x", "", &api->root, ref);
		succeed(api, ref, NULL);
		assert_true(xn_db_count(api->db, XN_CLASS_task) <= 1200);
	}
}

/* How many tasks go in one callback; the first time one of those that are left ends. */
struct collection {
	struct api *api;
	size_t count, most;
	bool ends_one;
	char ended[48];
	struct xn_job end;
};

static void end_one(struct xn_job *job)
{
	struct collection *c = xn_container_of(job, struct collection, end);
	struct xn_row *row = xn_db_first(c->api->db, XN_CLASS_task);

	assert_non_null(row);
	snprintf(c->ended, sizeof(c->ended), "%s", xn_row_ref(row));
	xn_db_set_string(c->api->db, row, XN_task_status, "success");
	xn_db_set(c->api->db, row, XN_task_finished, xn_datetime(xn_wall_s(c->api->core.loop)));
}

static void after_callback(void *arg)
{
	struct collection *c = arg;
	size_t count = xn_db_count(c->api->db, XN_CLASS_task);
	size_t gone = c->count > count ? c->count - count : 0;

	if (gone && !c->most && c->ends_one)
		xn_loop_defer(c->api->core.loop, &c->end, XN_PRIO_REPLY, end_one);
	c->most = gone > c->most ? gone : c->most;
	c->count = count;
}

static void run_and_watch(struct api *api, int64_t seconds, struct collection *c)
{
	c->api = api;
	xn_loop_virtual_watch(api->core.loop, after_callback, c);
	api_run(api, seconds);
	xn_loop_virtual_watch(api->core.loop, NULL, NULL);
}

static void many_tasks_go_a_few_at_a_time(void **state)
{
	enum { N = 1600, LEFT = 1000 };
	struct api *api = *state;
	char(*refs)[48] = xn_calloc(N, sizeof(*refs));
	struct collection c = {0};

	for (int i = 0; i < N; i++)
		xn_task_create(tasks_of(api), "x", "", &api->root, refs[i]);
	api_turn(api);
	for (int i = 0; i < N; i++)
		xn_task_succeed(tasks_of(api), refs[i], NULL, NULL, NULL, NULL);
	run_and_watch(api, 30, &c);
	assert_in_range(c.most, 100, 200);
	assert_string_equal(status_of(api, refs[N - LEFT - 1]), "gone");
	assert_string_equal(status_of(api, refs[N - LEFT]), "success");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_task), LEFT);
	free(refs);
}

static void an_abandoned_task_that_ends_among_many_that_go_is_to_be_seen(void **state)
{
	enum { N = 300 };
	struct api *api = *state;
	struct collection c = {.ends_one = true};
	char ref[48];

	for (int i = 0; i < N; i++)
		a_task_made_by_a_client(api, ref);
	run_and_watch(api, 86500, &c);
	assert_in_range(c.most, 100, 200);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_task), 1);
	assert_string_equal(status_of(api, c.ended), "success");
}

static void a_running_task_is_never_collected(void **state)
{
	struct api *api = *state;
	char ref[48];

	a_task(api, ref);
	api_run(api, 3 * 86400);
	assert_string_equal(status_of(api, ref), "pending");
}

static void an_abandoned_task_of_a_client_goes_after_a_day(void **state)
{
	struct api *api = *state;
	char moving[48], still[48];

	a_task_made_by_a_client(api, moving);
	a_task_made_by_a_client(api, still);
	api_run(api, 86380);
	assert_string_equal(status_of(api, still), "pending");
	for (int i = 1; i <= 9; i++) {
		xn_db_set(api->db, row_of(api, moving), XN_task_progress, xn_float(i / 10.0));
		api_run(api, 20);
	}
	assert_string_equal(status_of(api, still), "gone");
	assert_string_equal(status_of(api, moving), "pending");
	api_run(api, 70);
	assert_string_equal(status_of(api, moving), "gone");
}

static void a_task_marked_for_destruction_goes_once_it_ended(void **state)
{
	struct api *api = *state;
	char ref[48];

	a_task(api, ref);
	call_task(api, "task.destroy", ref, "");
	api_run(api, 60);
	assert_string_equal(status_of(api, ref), "pending");
	succeed(api, ref, NULL);
	assert_string_equal(status_of(api, ref), "success");
	api_run(api, 31);
	assert_string_equal(status_of(api, ref), "gone");
}

/* ---- operations over a restart ---- */

struct story { /* what the steps did, in this process */
	char text[256];
	bool stop_at_two, stop_at_three;
};
static struct story story;

static void note(const char *what)
{
	snprintf(story.text + strlen(story.text), sizeof(story.text) - strlen(story.text), "%s ",
		 what);
}

static void run_one(struct xn_op *op)
{
	note("one");
	xn_op_set_arg(op, "result", xn_string("OpaqueRef:made"));
	xn_op_done(op, 0);
}

static void undo_one(struct xn_op *op)
{
	note("undo-one");
	xn_op_done(op, 0);
}

static void run_two(struct xn_op *op)
{
	note("two");
	if (story.stop_at_two)
		xn_op_waiting(op, "the test");
	else
		xn_op_done(op, 0);
}

static void undo_two(struct xn_op *op)
{
	note("undo-two");
	xn_op_done(op, 0);
}

static void run_three(struct xn_op *op)
{
	note("three");
	if (!story.stop_at_three)
		xn_op_done(op, 0);
}

static const struct xn_step steps[] = {
	{"one", run_one, undo_one, 1000, 0, 0},
	{"two", run_two, undo_two, 3600000, 0, 0},
	{"three", run_three, NULL, 5000, 0, 0},
	{NULL, NULL, NULL, 0, 0, 0},
};

static struct xn_op *make_resumed(struct xn_core *core, const struct xn_value *args);
static struct xn_op *make_undone(struct xn_core *core, const struct xn_value *args);

static void op_free(struct xn_op *op)
{
	free(op);
}

static struct xn_op_kind resumed = {
	.name = "VM.clone",
	.version = 1,
	.steps = steps,
	.on_restart = XN_RESTART_RESUME,
	.make = make_resumed,
	.free = op_free,
};
static const struct xn_op_kind undone = {
	.name = "VM.start",
	.version = 1,
	.steps = steps,
	.on_restart = XN_RESTART_UNDO,
	.make = make_undone,
	.free = op_free,
};

static struct xn_op *make(struct xn_core *core, const struct xn_op_kind *kind,
			  const struct xn_value *args)
{
	struct xn_op *op = xn_calloc(1, sizeof(*op));

	xn_op_init(op, kind, core, args);
	return op;
}

static struct xn_op *make_resumed(struct xn_core *core, const struct xn_value *args)
{
	return make(core, &resumed, args);
}

static struct xn_op *make_undone(struct xn_core *core, const struct xn_value *args)
{
	return make(core, &undone, args);
}

static void note_restarted(struct xn_op *op, void *arg)
{
	assert_string_equal(xn_map_get_string(op->args, "vm"), "the one");
	assert_int_equal(op->step, 1); /* how far it was: one step is behind it */
	note(op->undoing ? "restarted-to-undo" : "restarted");
}

static void note_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	note(err ? "failed" : "ended");
}

static void register_kinds(struct api *api)
{
	xn_task_register_on_end(tasks_of(api), &resumed, note_restarted, note_end, NULL);
	xn_task_register_on_end(tasks_of(api), &undone, note_restarted, note_end, NULL);
}

static void on_op_end(struct xn_op *op, const struct xn_error *err, void *arg)
{
	note(err ? "failed" : "ended");
}

/* Starts one that stops in its second step. */
static void start_op(struct api *api, const struct xn_op_kind *kind, char task[48])
{
	struct xn_value *args = xn_map_new();

	story = (struct story){.stop_at_two = true};
	api->on_start = register_kinds;
	a_task(api, task);
	xn_map_put_string(&args, "vm", "the one");
	xn_op_start(kind->make(&api->core, args), task, on_op_end, NULL);
	xn_value_unref(args);
	api_run(api, 2);
	assert_string_equal(story.text, "one two ");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 1);
}

static void note_token(const struct xn_op *op, void *arg)
{
	*(struct xn_op_token *)arg = xn_op_token(op);
}

static void end_step(struct api *api)
{
	struct xn_op_token token;

	xn_op_each(&api->core, note_token, &token);
	xn_op_done_late(&api->core, &token, 0);
}

static void restart_and_finish(struct api *api)
{
	story = (struct story){0};
	api_restart(api);
	api_run(api, 2);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
}

static void a_waiting_operation_says_what_for(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &undone, task);
	assert_string_equal(
		xn_row_map_string(row_of(api, task), XN_task_other_config, "xn:waiting_for"),
		"the test");
}

static void an_interrupted_operation_is_resumed(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &resumed, task);
	restart_and_finish(api);
	assert_string_equal(story.text, "restarted two three ended ");
	assert_string_equal(status_of(api, task), "success");
	assert_string_equal(xn_row_string(row_of(api, task), XN_task_result),
			    "<value>OpaqueRef:made</value>");
	assert_null(xn_row_map_string(row_of(api, task), XN_task_other_config, "xn:waiting_for"));
}

static void an_interrupted_operation_is_undone(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &undone, task);
	restart_and_finish(api);
	assert_string_equal(story.text, "restarted-to-undo undo-two undo-one failed ");
	assert_string_equal(status_of(api, task), "failure");
	assert_string_equal(
		xn_value_string(xn_set_at(xn_row_get(row_of(api, task), XN_task_error_info), 0)),
		"INTERNAL_ERROR");
}

static void an_operation_of_another_version_is_undone(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &resumed, task);
	resumed.version = 2;
	restart_and_finish(api);
	resumed.version = 1;
	assert_string_equal(story.text, "restarted-to-undo undo-two undo-one failed ");
	assert_string_equal(status_of(api, task), "failure");
}

static void an_unknown_operation_is_let_go(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &resumed, task);
	api->on_start = NULL;
	restart_and_finish(api);
	assert_string_equal(story.text, "");
	assert_string_equal(status_of(api, task), "failure");
}

static void a_cancelled_operation_stays_cancelled_over_a_restart(void **state)
{
	struct api *api = *state;
	char task[48];

	start_op(api, &resumed, task);
	api_restart(api); /* stops in its second step again */
	api_run(api, 2);
	call_task(api, "task.cancel", task, "");
	api_run(api, 2);
	assert_string_equal(status_of(api, task), "cancelled");
	assert_non_null(strstr(story.text, "undo-two undo-one failed"));
}

static void an_operation_whose_end_the_disk_refused_does_not_come_back(void **state)
{
	struct api *api = *state;
	struct xn_sim_faults faults = {.append_failures = 1, .reopen_failures = 1};
	char task[48];

	api_restart(api); /* what an earlier life left is dealt with */
	start_op(api, &undone, task);
	story.stop_at_three = true;
	end_step(api);
	api_run(api, 1);
	xn_sim_disk_set_faults(api->disk, &faults);
	end_step(api);
	api_run(api, 2);
	assert_string_equal(story.text, "one two three ended ");
	faults = (struct xn_sim_faults){0};
	xn_sim_disk_set_faults(api->disk, &faults);
	api_run(api, 5);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
	restart_and_finish(api);
	assert_string_equal(story.text, ""); /* nothing is undone */
}

static void disk_refuses(struct api *api, bool yes)
{
	struct xn_sim_faults faults = {.append_failures = yes, .reopen_failures = yes};

	xn_sim_disk_set_faults(api->disk, &faults);
}

static void an_operation_that_the_disk_never_noted_does_not_begin(void **state)
{
	struct api *api = *state;

	story = (struct story){.stop_at_two = true};
	api_restart(api);
	disk_refuses(api, true);
	xn_op_start(undone.make(&api->core, NULL), "", on_op_end, NULL);
	api_run(api, 2);
	assert_string_equal(story.text, "failed ");
	disk_refuses(api, false);
	api_run(api, 5);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
}

/* In step two, whose end comes while the disk refuses changes: step three is not in the journal. */
static void stop_before_three(struct api *api, char task[48])
{
	api_restart(api);
	start_op(api, &resumed, task);
	disk_refuses(api, true);
	story.text[0] = '\0';
	end_step(api);
	api_run(api, 0);
	assert_string_equal(story.text, "");
}

static void a_step_that_the_disk_refused_to_note_waits_until_it_did(void **state)
{
	struct api *api = *state;
	char task[48];

	stop_before_three(api, task);
	disk_refuses(api, false);
	api_run(api, 3);
	assert_string_equal(story.text, "three ended ");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
}

static void a_kill_while_the_disk_refuses_finds_the_step_before(void **state)
{
	struct api *api = *state;
	char task[48];

	stop_before_three(api, task);
	disk_refuses(api, false);
	story = (struct story){0};
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 2);
	assert_string_equal(story.text, "restarted two three ended ");
	assert_string_equal(status_of(api, task), "success");
}

static void a_call_without_an_operation_fails_its_task(void **state)
{
	struct api *api = *state;
	char task[48], own[48];

	a_task(api, task);
	a_task_made_by_a_client(api, own);
	api_restart(api);
	api_run(api, 1);
	assert_string_equal(status_of(api, task), "failure");
	assert_string_equal(status_of(api, own), "pending");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
		TEST(the_end_is_not_seen_before_it_is_durable),
		TEST(a_success_carries_its_result_as_xml),
		TEST(a_failure_carries_code_and_parameters),
		TEST(the_first_end_wins_and_all_are_told),
		TEST(a_restart_in_between_records_the_end),
		TEST(an_end_that_was_seen_survives_power_loss),
		TEST(an_end_that_the_disk_refuses_is_recorded_later),
		TEST(an_end_in_a_turn_too_large_is_recorded_in_another),
		TEST(an_end_too_large_itself_becomes_a_failure),
		TEST(a_status_that_the_disk_refuses_is_no_success),
		TEST(a_forgotten_task_is_gone_at_any_moment),
		TEST(progress_is_written_now_and_then_and_never_lost),
		TEST(a_task_is_cancellable_while_somebody_can_stop_it),
		TEST(a_cancel_that_came_too_early_is_remembered),
		TEST(a_stranger_may_not_touch_a_task),
		TEST(an_account_makes_so_many_tasks_whichever_sessions_it_has),
		TEST(no_number_of_accounts_takes_the_places_of_operations),
		TEST(a_client_does_not_end_what_the_server_works_on),
		TEST(protected_keys_stay_when_a_map_is_set),
		TEST(finished_tasks_go_after_65_minutes),
		TEST(the_oldest_finished_go_when_there_are_too_many),
		TEST(tasks_without_a_pause_are_bounded_too),
		TEST(many_tasks_go_a_few_at_a_time),
		TEST(an_abandoned_task_that_ends_among_many_that_go_is_to_be_seen),
		TEST(a_running_task_is_never_collected),
		TEST(an_abandoned_task_of_a_client_goes_after_a_day),
		TEST(a_task_marked_for_destruction_goes_once_it_ended),
		TEST(a_waiting_operation_says_what_for),
		TEST(an_interrupted_operation_is_resumed),
		TEST(an_interrupted_operation_is_undone),
		TEST(an_operation_of_another_version_is_undone),
		TEST(an_unknown_operation_is_let_go),
		TEST(a_cancelled_operation_stays_cancelled_over_a_restart),
		TEST(an_operation_whose_end_the_disk_refused_does_not_come_back),
		TEST(an_operation_that_the_disk_never_noted_does_not_begin),
		TEST(a_step_that_the_disk_refused_to_note_waits_until_it_did),
		TEST(a_kill_while_the_disk_refuses_finds_the_step_before),
		TEST(a_call_without_an_operation_fails_its_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
