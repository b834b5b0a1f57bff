/*
 * What the engine promises about many operations at once: devices are plugged a few at a time, a
 * task says what it waits for, since when and who is in the way, and what a restart decided.
 */
#include "tests/module/vm_fixture.h"

#include "modules/diagnostics/diagnostics.h"
#include "modules/domain/domain_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- plugs ---- */

enum { PLUG_MS = 1000 };
#define SLOW_PLUGS "\"sim-plug-ms\":\"1000\""

static struct xn_gate *plugs(struct api *api)
{
	return xn_domains_of(&api->core)->plugs;
}

static int64_t now_ms(struct api *api)
{
	return xn_now_us(api->core.loop) / 1000;
}

/* Until @call is done; the most devices that were plugged at a time. */
static unsigned most_plugged_until(struct api *api, const struct api_call *call)
{
	unsigned most = 0;

	for (int i = 0; i < 200000 && !call->done; i++) {
		xn_loop_turn(api->core.loop, 100000);
		if (xn_gate_inside(plugs(api)) > most)
			most = xn_gate_inside(plugs(api));
	}
	assert_true(call->done);
	assert_null(call->err.code);
	return most;
}

static void a_vm_plugs_ten_devices_at_a_time(void **state)
{
	struct api_call call;
	struct vm vm;
	int64_t began;

	given_vm(*state, &vm, SLOW_PLUGS);
	given_disks(&vm, 24); /* and the one that it has */
	began = now_ms(vm.api);
	vm_begin(&vm, &call, "VM.start", ",false,false");
	assert_int_equal(most_plugged_until(vm.api, &call), 10);
	/* 25 disks are three rounds; the drive and the interface one each. */
	assert_in_range(now_ms(vm.api) - began, 5 * PLUG_MS, 5 * PLUG_MS + 900);
	api_call_clear(&call);
}

static void the_host_plugs_forty_at_a_time_and_nobody_is_left_behind(void **state)
{
	enum { VMS = 12, DISKS = 20 };
	struct api_call calls[VMS];
	struct vm vms[VMS];
	int64_t ended[VMS];

	for (int i = 0; i < VMS; i++) {
		given_vm(*state, &vms[i], SLOW_PLUGS);
		given_disks(&vms[i], DISKS - 1);
	}
	for (int i = 0; i < VMS; i++)
		vm_begin(&vms[i], &calls[i], "VM.start", ",false,false");
	assert_true(most_plugged_until(vms[0].api, &calls[0]) <= 40);
	ended[0] = now_ms(vms[0].api);
	for (int i = 1; i < VMS; i++) {
		assert_true(most_plugged_until(vms[i].api, &calls[i]) <= 40);
		ended[i] = now_ms(vms[i].api);
	}
	/* 240 disks at 40 a second: the first VM is no earlier than the others by much. */
	assert_true(ended[VMS - 1] - ended[0] <= 3 * PLUG_MS);
	for (int i = 0; i < VMS; i++)
		api_call_clear(&calls[i]);
}

/* A queue of minutes in front of a step whose deadline is one minute. */
static void a_long_queue_is_no_hang(void **state)
{
	enum { VMS = 12 };
	struct api_call calls[VMS];
	struct vm vms[VMS];
	struct xn_domains *d;

	for (int i = 0; i < VMS; i++)
		given_vm(*state, &vms[i], "\"sim-plug-ms\":\"50000\"");
	d = xn_domains_of(&vms[0].api->core);
	xn_gate_free(d->plugs);
	d->plugs = xn_gate_new(d->core->loop, 4, 10);
	for (int i = 0; i < VMS; i++)
		vm_begin(&vms[i], &calls[i], "VM.start", ",false,false");
	for (int i = 0; i < VMS; i++) {
		most_plugged_until(vms[i].api, &calls[i]);
		api_call_clear(&calls[i]);
	}
}

/* ---- what a task says ---- */

static struct xn_row *task_of(struct vm *vm, const char *label)
{
	for (struct xn_row *row = xn_db_first(vm->api->db, XN_CLASS_task); row;
	     row = xn_db_next(vm->api->db, row))
		if (strcmp(xn_row_string(row, XN_task_name_label), label) == 0)
			return row;
	fail_msg("no task of %s", label);
	return NULL;
}

static const char *said(const struct xn_row *task, const char *key)
{
	return xn_row_map_string(task, XN_task_other_config, key);
}

static void a_task_says_what_it_waits_for_since_when_and_who_holds_it(void **state)
{
	struct api_call down, pause;
	struct xn_row *task;
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	vm_begin(&vm, &down, "VM.clean_shutdown", "");
	api_run(vm.api, 5);
	task = task_of(&vm, "VM.clean_shutdown");
	assert_string_equal(said(task, "xn:step"), "wait for the guest");
	assert_string_equal(said(task, "xn:waiting_for"), "the guest to shut down");
	assert_int_equal(strlen(said(task, "xn:waiting_since")), strlen("20261121T15:06:31Z"));
	vm_begin(&vm, &pause, "VM.pause", "");
	api_run(vm.api, 1);
	assert_string_equal(said(task_of(&vm, "VM.pause"), "xn:waiting_for_task"),
			    xn_row_ref(task));
	assert_non_null(strstr(said(task_of(&vm, "VM.pause"), "xn:waiting_for"),
			       "clean_shutdown is under way"));
	vm_do(&vm, "VM.hard_shutdown", ""); /* cancels the one; the other finds no domain */
	api_wait(vm.api, &down.done);
	api_wait(vm.api, &pause.done);
	api_call_clear(&down);
	api_call_clear(&pause);
}

static void a_cancel_ends_a_long_wait_and_a_queue_at_once(void **state)
{
	static const char *const labels[] = {"VM.pause", "VM.clean_shutdown"};
	struct api_call calls[2];
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	vm_begin(&vm, &calls[1], "VM.clean_shutdown", "");
	vm_begin(&vm, &calls[0], "VM.pause", "");
	api_run(vm.api, 5);
	for (int i = 0; i < 2; i++) {
		char *args = xn_asprintf("[\"%s\"]", xn_row_ref(task_of(&vm, labels[i])));
		int64_t began = now_ms(vm.api);

		free(api_do(vm.api, "task.cancel", args));
		free(args);
		api_wait(vm.api, &calls[i].done);
		assert_string_equal(calls[i].err.code, "TASK_CANCELLED");
		assert_true(now_ms(vm.api) - began < 1000);
		api_call_clear(&calls[i]);
	}
	assert_state(&vm, "Running");
}

static void a_restart_decides_at_once_and_says_what(void **state)
{
	struct api_call call;
	struct xn_row *task;
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	vm_begin(&vm, &call, "VM.clean_shutdown", "");
	api_run(vm.api, 5);
	api_crash(vm.api, XN_CRASH_KILL);
	api_run(vm.api, 1);
	task = task_of(&vm, "VM.clean_shutdown");
	assert_string_equal(said(task, "xn:restart"), "resumed at step \"wait for the guest\"");
	vm_do(&vm, "VM.hard_shutdown", "");
	api_run(vm.api, 1);
	assert_string_equal(xn_row_string(task_of(&vm, "VM.clean_shutdown"), XN_task_status),
			    "cancelled");
	assert_non_null(said(task_of(&vm, "VM.clean_shutdown"), "xn:restart"));
	assert_null(said(task_of(&vm, "VM.clean_shutdown"), "xn:step"));
}

struct end { /* of a daemon, after so many callbacks */
	jmp_buf here;
	unsigned callbacks;
};

static void after_callback(void *arg)
{
	struct end *end = arg;

	if (--end->callbacks == 0)
		longjmp(end->here, 1);
}

/* Begins it as a task, kills the daemon soon after, and starts the next one. */
static void kill_in(struct api *api, const char *method, const char *args, unsigned callbacks,
		    char task[48])
{
	struct end *end = xn_calloc(1, sizeof(*end));
	static struct api_call call; /* outlives the jump */

	api_begin_task(api, &call, method, args);
	memcpy(task, call.call.task, 48);
	end->callbacks = callbacks;
	xn_loop_virtual_watch(api->core.loop, after_callback, end);
	if (setjmp(end->here) == 0)
		for (;;)
			xn_loop_turn(api->core.loop, 1000);
	xn_loop_virtual_watch(api->core.loop, NULL, NULL);
	free(end);
	api_call_clear(&call);
	api_crash(api, XN_CRASH_KILL);
}

static void a_vm_started_paused_stays_paused_whenever_the_daemon_is_killed(void **state)
{
	struct api *api = *state;
	char *args, task[48];
	struct vm vm;

	for (unsigned n = 1; n < 180; n += 2) {
		struct xn_row *row;

		given_vm(api, &vm, "");
		args = xn_asprintf("[\"%s\",true,false]", vm.ref);
		kill_in(api, "VM.start", args, n, task);
		api_run(api, 5);
		free(args);
		row = xn_db_get(api->db, XN_CLASS_task, task);
		if (row && strcmp(xn_row_string(row, XN_task_status), "success") == 0)
			assert_state(&vm, "Paused");
		api_run(api, 5);
		if (vm_domain(&vm))
			vm_do(&vm, "VM.hard_shutdown", "");
		assert_state(&vm, "Halted");
	}
}

static void a_guest_that_stands_still_for_a_copy_is_never_seen_paused(void **state)
{
	struct api *api = *state;
	char *args, task[48];
	struct vm vm;

	given_vm_that_is(api, &vm, "Halted", "");
	given_disks(&vm, 1);
	vm_do(&vm, "VM.start", ",false,false");
	args = xn_asprintf("[\"%s\",{}]", xn_row_ref(xn_db_newest(api->db, XN_CLASS_VDI)));
	for (unsigned n = 1; n < 30; n++) {
		kill_in(api, "VDI.clone", args, n, task);
		for (unsigned turns = 0; turns < 50; turns++) {
			assert_state(&vm, "Running");
			api_turn(api);
		}
		api_run(api, 5);
		assert_false(vm_domain(&vm)->paused);
	}
	free(args);
}

/* ---- diagnostics ---- */

static const struct xn_value *entry_with(const struct xn_value *set, const char *key,
					 const char *value)
{
	for (size_t i = 0; i < xn_set_len(set); i++) {
		const char *text = xn_map_get_string(xn_set_at(set, i), key);

		if (text && strcmp(text, value) == 0)
			return xn_set_at(set, i);
	}
	fail_msg("nothing with %s %s", key, value);
	return NULL;
}

static void diagnostics_tell_who_waits_for_what_and_no_secret(void **state)
{
	struct xn_buf text = {0};
	const struct xn_value *op, *queue;
	struct api_call down, pause, build;
	struct xn_value *all;
	struct vm vm, other;
	char *args;

	given_vm_that_is(*state, &vm, "Running", "\"sim-shutdown\":\"hang\"");
	given_vm(*state, &other, "\"sim-build\":\"hang\"");
	vm_begin(&vm, &down, "VM.clean_shutdown", "");
	vm_begin(&vm, &pause, "VM.pause", "");
	vm_begin(&other, &build, "VM.start", ",false,false");
	api_run(vm.api, 5);
	all = xn_diagnostics(&vm.api->core);
	op = entry_with(xn_map_get(all, "operations"), "kind", "VM.clean_shutdown");
	assert_string_equal(xn_map_get_string(op, "waiting_for"), "the guest to shut down");
	assert_true(xn_value_float(xn_map_get(op, "deadline_in_s")) > 1000);
	queue = entry_with(xn_map_get(all, "queues"), "object", vm.ref);
	entry_with(xn_map_get(queue, "held"), "operation", "clean_shutdown");
	entry_with(xn_map_get(queue, "waiting"), "operation", "pause");
	entry_with(xn_map_get(xn_map_get(xn_map_get(all, "workers"), "hypervisor_calls"), "busy"),
		   "vm", other.uuid);
	xn_diagnostics_page(all, &text);
	assert_non_null(strstr(xn_buf_cstr(&text), "waiting_for: the guest to shut down"));
	assert_null(strstr(xn_buf_cstr(&text), vm.api->secret));
	xn_buf_clear(&text);
	xn_value_unref(all);
	vm_do(&vm, "VM.hard_shutdown", "");
	args = xn_asprintf("[\"%s\"]", xn_row_ref(task_of(&other, "VM.start")));
	free(api_do(vm.api, "task.cancel", args));
	free(args);
	api_wait(vm.api, &down.done);
	api_wait(vm.api, &pause.done);
	api_wait(vm.api, &build.done);
	api_call_clear(&down);
	api_call_clear(&pause);
	api_call_clear(&build);
}

static void the_calls_of_diagnostics_answer(void **state)
{
	struct api *api = *state;
	char *json = api_do(api, "Diagnostics.get", "[]");

	assert_non_null(strstr(json, "foreign_domains"));
	free(json);
	json = api_do(api, "Diagnostics.get_text", "[]");
	assert_non_null(strstr(json, "writable: yes"));
	free(json);
	json = api_do(api, "Diagnostics.db_stats", "[]");
	assert_non_null(strstr(json, "\"generation\":\""));
	free(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_vm_plugs_ten_devices_at_a_time),
		TEST(the_host_plugs_forty_at_a_time_and_nobody_is_left_behind),
		TEST(a_long_queue_is_no_hang),
		TEST(a_task_says_what_it_waits_for_since_when_and_who_holds_it),
		TEST(a_cancel_ends_a_long_wait_and_a_queue_at_once),
		TEST(a_restart_decides_at_once_and_says_what),
		TEST(a_vm_started_paused_stays_paused_whenever_the_daemon_is_killed),
		TEST(a_guest_that_stands_still_for_a_copy_is_never_seen_paused),
		TEST(diagnostics_tell_who_waits_for_what_and_no_secret),
		TEST(the_calls_of_diagnostics_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
