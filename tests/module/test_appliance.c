/*
 * VM appliances and the delays of their VMs: the order of starts and shutdowns, what goes on at the
 * same time, members that fail, cancel, and a daemon that is killed in the middle.
 */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { MEMBERS = 3 };

struct group {
	struct api *api;
	struct vm vms[MEMBERS];
	char ref[48];
};

/* ---- given ---- */

static void set_int(struct vm *vm, const char *message, int64_t value)
{
	char *more = xn_asprintf(",%lld", (long long)value);

	vm_do(vm, message, more);
	free(more);
}

static void make_appliance(struct api *api, char out[48])
{
	char *json = api_do(api, "VM_appliance.create",
			    "[{\"name_label\":\"shop\",\"name_description\":\"\"}]");

	snprintf(out, 48, "%.46s", json + 1);
	free(json);
}

static void join(struct group *g, struct vm *vm)
{
	char *more = xn_asprintf(",\"%s\"", g->ref);

	vm_do(vm, "VM.set_appliance", more);
	free(more);
}

/* Three VMs with these orders. */
static void given_group(struct api *api, struct group *g, const int orders[MEMBERS],
			const char *other_config)
{
	g->api = api;
	make_appliance(api, g->ref);
	for (int i = 0; i < MEMBERS; i++) {
		given_vm(api, &g->vms[i], other_config);
		set_int(&g->vms[i], "VM.set_order", orders[i]);
		join(g, &g->vms[i]);
	}
}

static void begin(struct group *g, struct api_call *call, const char *method)
{
	bool starts = strcmp(method, "VM_appliance.start") == 0;
	char *args = xn_asprintf("[\"%s\"%s]", g->ref, starts ? ",false" : "");

	api_begin(g->api, call, method, args);
	free(args);
}

static void run(struct group *g, const char *method)
{
	struct api_call call;

	begin(g, &call, method);
	api_wait(g->api, &call.done);
	if (!call.json)
		fail_msg("%s: %s", method, call.err.code);
	api_call_clear(&call);
	api_turn(g->api);
}

static struct xn_row *appliance_row(const struct group *g)
{
	return row_of(g->api, XN_CLASS_VM_appliance, g->ref);
}

static bool may(const struct group *g, const char *operation)
{
	return is_allowed(appliance_row(g), XN_VM_appliance_allowed_operations, operation);
}

static void assert_states(const struct group *g, const char *state)
{
	for (int i = 0; i < MEMBERS; i++)
		assert_state(&g->vms[i], state);
}

static void assert_idle(const struct group *g)
{
	assert_int_equal(
		xn_map_len(xn_row_get(appliance_row(g), XN_VM_appliance_current_operations)), 0);
	for (int i = 0; i < MEMBERS; i++)
		assert_int_equal(
			xn_map_len(xn_row_get(vm_row(&g->vms[i]), XN_VM_current_operations)), 0);
	assert_int_equal(xn_db_count(g->api->db, XN_CLASS_xn_operation), 0);
}

static uint32_t domid_of(const struct group *g, int i)
{
	assert_non_null(vm_domain(&g->vms[i]));
	return vm_domain(&g->vms[i])->domid;
}

/* Runs until the call is done; how many of the members were ever seen being built at a time. */
static unsigned most_at_once(struct group *g, const struct api_call *call)
{
	unsigned most = 0;

	for (int turn = 0; turn < 10000 && !call->done; turn++) {
		unsigned n = 0;

		xn_loop_turn(g->api->core.loop, 1000000);
		for (int i = 0; i < MEMBERS; i++)
			n += xn_map_len(xn_row_get(vm_row(&g->vms[i]), XN_VM_current_operations)) >
			     0;
		most = n > most ? n : most;
	}
	assert_true(call->done);
	return most;
}

/* ---- order ---- */

static void vms_start_in_their_order(void **state)
{
	struct group g;

	given_group(*state, &g, (const int[]){2, 0, 1}, "");
	run(&g, "VM_appliance.start");
	assert_states(&g, "Running");
	assert_true(domid_of(&g, 1) < domid_of(&g, 2));
	assert_true(domid_of(&g, 2) < domid_of(&g, 0));
	assert_idle(&g);
}

static void the_same_order_goes_at_the_same_time(void **state)
{
	struct api_call call;
	struct group g;

	given_group(*state, &g, (const int[]){5, 5, 5}, "\"sim-build-ms\":\"1000\"");
	begin(&g, &call, "VM_appliance.start");
	assert_int_equal(most_at_once(&g, &call), 3);
	assert_non_null(call.json);
	api_call_clear(&call);
}

static void another_order_waits(void **state)
{
	struct api_call call;
	struct group g;

	given_group(*state, &g, (const int[]){1, 2, 3}, "\"sim-build-ms\":\"1000\"");
	begin(&g, &call, "VM_appliance.start");
	assert_int_equal(most_at_once(&g, &call), 1);
	assert_non_null(call.json);
	api_call_clear(&call);
}

static void the_next_order_waits_for_the_delay(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct group g;

	given_group(api, &g, (const int[]){0, 1, 1}, "");
	set_int(&g.vms[0], "VM.set_start_delay", 100);
	begin(&g, &call, "VM_appliance.start");
	api_run(api, 90);
	assert_state(&g.vms[0], "Running");
	assert_state(&g.vms[1], "Halted");
	assert_false(call.done);
	api_run(api, 20);
	assert_true(call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
	assert_states(&g, "Running");
	assert_idle(&g);
}

static void down_goes_the_other_way(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct group g;

	given_group(api, &g, (const int[]){0, 1, 2}, "");
	run(&g, "VM_appliance.start");
	api_run(api, 2);
	set_int(&g.vms[2], "VM.set_shutdown_delay", 50);
	begin(&g, &call, "VM_appliance.clean_shutdown");
	api_run(api, 40);
	assert_state(&g.vms[2], "Halted");
	assert_state(&g.vms[1], "Running");
	assert_state(&g.vms[0], "Running");
	api_wait(api, &call.done);
	assert_non_null(call.json);
	api_call_clear(&call);
	assert_states(&g, "Halted");
	assert_idle(&g);
}

static void hard_and_polite_ways_down_end_the_same(void **state)
{
	static const char *const ways[] = {"VM_appliance.hard_shutdown", "VM_appliance.shutdown"};
	struct api *api = *state;
	struct group g;

	given_group(api, &g, (const int[]){0, 0, 2}, "");
	for (size_t i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		run(&g, "VM_appliance.start");
		api_run(api, 2);
		vm_do(&g.vms[1], "VM.pause", "");
		run(&g, ways[i]);
		assert_states(&g, "Halted");
	}
	assert_idle(&g);
}

static void it_starts_paused_when_asked(void **state)
{
	struct api *api = *state;
	struct group g;
	char *args;

	given_group(api, &g, (const int[]){0, 0, 2}, "");
	args = xn_asprintf("[\"%s\",true]", g.ref);
	free(api_do(api, "VM_appliance.start", args));
	free(args);
	assert_states(&g, "Paused");
}

/* ---- rules ---- */

static void allowed_operations_follow_the_vms(void **state)
{
	struct api *api = *state;
	struct group g;

	given_group(api, &g, (const int[]){0, 0, 0}, "");
	assert_true(may(&g, "start"));
	assert_false(may(&g, "clean_shutdown") || may(&g, "hard_shutdown"));
	vm_do(&g.vms[0], "VM.start", ",false,false");
	assert_true(may(&g, "start") && may(&g, "clean_shutdown") && may(&g, "shutdown"));
	run(&g, "VM_appliance.start");
	assert_false(may(&g, "start"));
	for (int i = 0; i < MEMBERS; i++)
		vm_do(&g.vms[i], "VM.set_appliance", ",\"OpaqueRef:NULL\"");
	assert_int_equal(
		xn_set_len(xn_row_get(appliance_row(&g), XN_VM_appliance_allowed_operations)), 0);
}

static void without_vms_nothing_is_allowed(void **state)
{
	struct api *api = *state;
	char ref[48], *args;

	make_appliance(api, ref);
	args = xn_asprintf("[\"%s\",false]", ref);
	api_fail(api, "VM_appliance.start", args, XN_ERR_OPERATION_NOT_ALLOWED, NULL);
	free(args);
	args = xn_asprintf("[\"%s\"]", ref);
	free(api_do(api, "VM_appliance.destroy", args));
	assert_null(xn_db_get(api->db, XN_CLASS_VM_appliance, ref));
	free(args);
}

/* ---- what goes wrong ---- */

static void who_fails_is_told_and_the_others_go_on(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct group g;

	given_group(api, &g, (const int[]){0, 1, 2}, "");
	vm_do(&g.vms[1], "VM.add_to_other_config", ",\"sim-build\",\"fail\"");
	begin(&g, &call, "VM_appliance.start");
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, XN_ERR_OPERATION_PARTIALLY_FAILED);
	assert_string_equal(call.err.params[0], "VM.start");
	assert_string_equal(call.err.params[1], g.vms[1].ref);
	assert_int_equal(call.err.n_params, 2);
	api_call_clear(&call);
	assert_state(&g.vms[0], "Running");
	assert_state(&g.vms[1], "Halted");
	assert_state(&g.vms[2], "Running");
	assert_idle(&g);
}

static void a_cancel_ends_what_is_at_work_and_begins_nothing_more(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct group g;

	given_group(api, &g, (const int[]){0, 1, 2}, "\"sim-build-ms\":\"2000\"");
	begin(&g, &call, "VM_appliance.start");
	api_run(api, 3);
	assert_state(&g.vms[0], "Running");
	xn_operation_cancel_holders(xn_operations_of(&api->core), g.ref, NULL, NULL);
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, XN_ERR_TASK_CANCELLED);
	api_call_clear(&call);
	api_run(api, 10);
	assert_state(&g.vms[0], "Running");
	assert_state(&g.vms[1], "Halted");
	assert_state(&g.vms[2], "Halted");
	assert_idle(&g);
}

static void kill(struct api *api, struct api_call *call)
{
	assert_false(call->done);
	api_crash(api, XN_CRASH_KILL);
}

static void a_killed_daemon_goes_on_where_it_was(void **state)
{
	struct api *api = *state;

	for (int ms = 0; ms < 4000; ms += 500) {
		struct api_call call;
		struct group g;

		given_group(api, &g, (const int[]){0, 1, 1}, "\"sim-build-ms\":\"2000\"");
		begin(&g, &call, "VM_appliance.start");
		for (int64_t end = xn_now_us(api->core.loop) + ms * 1000;
		     xn_now_us(api->core.loop) < end;)
			xn_loop_turn(api->core.loop, end - xn_now_us(api->core.loop));
		kill(api, &call);
		api_run(api, 30);
		if (ms == 0 && xn_vm_is(vm_row(&g.vms[0]), "Halted"))
			continue; /* before anything was journaled */
		assert_states(&g, "Running");
		assert_idle(&g);
	}
}

static void a_kill_in_a_delay_does_not_begin_it_anew(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct group g;

	given_group(api, &g, (const int[]){0, 1, 1}, "");
	set_int(&g.vms[0], "VM.set_start_delay", 100);
	begin(&g, &call, "VM_appliance.start");
	api_run(api, 90);
	kill(api, &call);
	api_run(api, 30);
	assert_states(&g, "Running");
	assert_idle(&g);
}

/* ---- every step goes wrong in every way ---- */

enum way { FAILS, FAILS_AFTER, HANGS, IS_LATE, IS_CANCELLED, KILLED, WAYS };

static struct {
	int step;
	enum way way;
	bool reached;
} plan;

static enum xn_op_fault on_step(const struct xn_op *op, int member, void *arg)
{
	static const enum xn_op_fault faults[WAYS] = {
		[FAILS] = XN_FAULT_FAIL,          [FAILS_AFTER] = XN_FAULT_FAIL_AFTER,
		[HANGS] = XN_FAULT_HANG,          [IS_LATE] = XN_FAULT_LATE,
		[IS_CANCELLED] = XN_FAULT_CANCEL, [KILLED] = XN_FAULT_HANG,
	};

	if (plan.reached || member >= 0 || op->undoing || op->kind != &xn_appliance_kind ||
	    op->step != plan.step)
		return XN_FAULT_NONE;
	plan.reached = true;
	return faults[plan.way];
}

static void run_broken(struct group *g, const char *method)
{
	struct api_call call;

	plan.reached = false;
	begin(g, &call, method);
	for (int i = 0; i < 1000 && !plan.reached && !call.done; i++)
		xn_loop_turn(g->api->core.loop, 100000);
	assert_true(plan.reached);
	if (plan.way == KILLED) {
		kill(g->api, &call);
	} else {
		api_wait(g->api, &call.done);
		assert_true(plan.way >= IS_LATE || call.err.code); /* or it was over before */
		api_call_clear(&call);
	}
	api_run(g->api, 60);
}

static void assert_true_states(const struct group *g)
{
	for (int i = 0; i < MEMBERS; i++)
		assert_state(&g->vms[i], vm_domain(&g->vms[i]) ? "Running" : "Halted");
	for (struct xn_row *row = xn_db_first(g->api->db, XN_CLASS_task); row;
	     row = xn_db_next(g->api->db, row))
		assert_string_not_equal(xn_row_string(row, XN_task_status), "pending");
}

static void break_steps(struct api *api)
{
	api->core.op_fault = on_step;
}

static void break_one(struct api *api, const char *method)
{
	bool starts = strcmp(method, "VM_appliance.start") == 0;
	struct group g;

	plan.reached = true;
	given_group(api, &g, (const int[]){0, 1, 1}, "");
	if (!starts)
		run(&g, "VM_appliance.start");
	api_run(api, 1);
	run_broken(&g, method);
	assert_idle(&g);
	assert_true_states(&g);
	if (plan.way == KILLED && plan.step > 0)
		assert_states(&g, starts ? "Running" : "Halted");
	if (may(&g, "hard_shutdown"))
		run(&g, "VM_appliance.hard_shutdown");
	for (int i = 0; i < MEMBERS; i++)
		vm_do(&g.vms[i], "VM.destroy", "");
	assert_false(may(&g, "start"));
}

static void every_step_goes_wrong_in_every_way(void **state)
{
	struct api *api = *state;

	api->on_start = break_steps;
	break_steps(api);
	for (plan.way = FAILS; plan.way < WAYS; plan.way++)
		for (plan.step = 0; xn_appliance_kind.steps[plan.step].name; plan.step++) {
			break_one(api, "VM_appliance.start");
			break_one(api, "VM_appliance.hard_shutdown");
		}
}

/* ---- delays ---- */

static void a_vm_is_free_for_others_while_its_start_delay_passes(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	char *args;

	given_vm(api, &vm, "");
	set_int(&vm, "VM.set_start_delay", 60);
	args = xn_asprintf("[\"%s\",false,false]", vm.ref);
	api_begin(api, &call, "VM.start", args);
	free(args);
	api_run(api, 5);
	assert_false(call.done);
	assert_state(&vm, "Running");
	assert_int_equal(xn_map_len(xn_row_get(vm_row(&vm), XN_VM_current_operations)), 0);
	vm_do(&vm, "VM.pause", "");
	vm_do(&vm, "VM.unpause", "");
	vm_do(&vm, "VM.hard_shutdown", "");
	api_wait(api, &call.done); /* what it waits for is gone */
	assert_non_null(call.json);
	assert_true(xn_now_us(api->core.loop) < 60 * INT64_C(1000000));
	api_call_clear(&call);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_xn_operation), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(vms_start_in_their_order),
		TEST(the_same_order_goes_at_the_same_time),
		TEST(another_order_waits),
		TEST(the_next_order_waits_for_the_delay),
		TEST(down_goes_the_other_way),
		TEST(hard_and_polite_ways_down_end_the_same),
		TEST(it_starts_paused_when_asked),
		TEST(allowed_operations_follow_the_vms),
		TEST(without_vms_nothing_is_allowed),
		TEST(who_fails_is_told_and_the_others_go_on),
		TEST(a_cancel_ends_what_is_at_work_and_begins_nothing_more),
		TEST(a_killed_daemon_goes_on_where_it_was),
		TEST(a_kill_in_a_delay_does_not_begin_it_anew),
		TEST(every_step_goes_wrong_in_every_way),
		TEST(a_vm_is_free_for_others_while_its_start_delay_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
