/* Signals, reconciles and barriers, on the virtual loop. */
#include "tests/unit/cmocka_all.h"

#include "modules/updates/updates.h"

#include <stdlib.h>

struct fixture {
	struct xn_core core;
	struct xn_updates *updates;
	char order[64]; /* first letters of the objects, as they were reconciled */
	unsigned reconciled;
	bool slow; /* reconciles end when the test says */
	struct xn_reconcile *open[8];
	unsigned n_open, passed;
};

static void reconcile(struct xn_reconcile *r, const char *object, void *arg)
{
	struct fixture *f = arg;

	if (f->reconciled < sizeof(f->order) - 1)
		f->order[f->reconciled] = object[0];
	f->reconciled++;
	if (f->slow)
		f->open[f->n_open++] = r;
	else
		xn_updates_done(r);
}

static int setup(void **state)
{
	static const struct xn_module *const modules[] = {&xn_updates_module, NULL};
	struct fixture *f = calloc(1, sizeof(*f));
	struct xn_error err = {0};

	xn_core_init(&f->core, xn_loop_new_virtual(1), xn_log_new(XN_LOG_ERROR, false, 2), NULL);
	if (!xn_modules_start(&f->core, modules, &err))
		return -1;
	f->updates = xn_updates_of(&f->core);
	xn_updates_register(f->updates, "VM", reconcile, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct xn_loop *loop = f->core.loop;
	struct xn_log *log = f->core.log;

	xn_modules_stop(f->core.modules);
	xn_core_clear(&f->core);
	xn_log_free(log);
	xn_loop_free(loop);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	while (xn_loop_turn(f->core.loop, 0))
		;
}

static void on_passed(struct xn_barrier *barrier)
{
	struct fixture *f = barrier->arg;

	f->passed++;
}

static void many_signals_of_an_object_are_one_reconcile(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 100; i++)
		xn_updates_touch(f->updates, "VM", "a");
	settle(f);
	assert_int_equal(f->reconciled, 1);
}

static void objects_are_reconciled_in_the_order_of_their_signals(void **state)
{
	struct fixture *f = *state;

	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_touch(f->updates, "VM", "b");
	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_touch(f->updates, "VM", "c");
	settle(f);
	assert_string_equal(f->order, "abc");
}

static void barriers_overtake_refreshes_and_their_callers_take_turns(void **state)
{
	static const char *const objects[] = {"a", "b", "c", "d"};
	static const uint64_t callers[] = {1, 1, 1, 2};
	struct fixture *f = *state;
	struct xn_barrier barriers[4] = {{{0}}};

	xn_updates_touch(f->updates, "VM", "refresh");
	for (int i = 0; i < 4; i++) {
		xn_updates_touch(f->updates, "VM", objects[i]);
		xn_loop_set_caller(f->core.loop, callers[i]);
		xn_updates_barrier(f->updates, &barriers[i], "VM", objects[i], on_passed, f);
	}
	settle(f);
	assert_string_equal(f->order, "adbcr");
	assert_int_equal(f->passed, 4);
}

static void a_signal_during_a_reconcile_brings_another_one_after_it(void **state)
{
	struct fixture *f = *state;

	f->slow = true;
	xn_updates_touch(f->updates, "VM", "a");
	settle(f);
	xn_updates_touch(f->updates, "VM", "a");
	settle(f);
	assert_int_equal(f->reconciled, 1);
	f->slow = false;
	xn_updates_done(f->open[0]);
	settle(f);
	assert_int_equal(f->reconciled, 2);
}

static void a_barrier_on_a_quiet_object_passes_from_the_loop(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;

	xn_updates_barrier(f->updates, &barrier, "VM", "a", on_passed, f);
	assert_int_equal(f->passed, 0);
	settle(f);
	assert_int_equal(f->passed, 1);
}

static void a_barrier_waits_for_a_signal_made_during_the_reconcile(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;

	f->slow = true;
	xn_updates_touch(f->updates, "VM", "a");
	settle(f);
	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_barrier(f->updates, &barrier, "VM", "a", on_passed, f);
	xn_updates_done(f->open[0]);
	settle(f);
	assert_int_equal(f->reconciled, 2);
	assert_int_equal(f->passed, 0);
	xn_updates_done(f->open[1]);
	settle(f);
	assert_int_equal(f->passed, 1);
}

static void a_barrier_does_not_wait_for_signals_made_after_it(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;

	f->slow = true;
	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_barrier(f->updates, &barrier, "VM", "a", on_passed, f);
	settle(f);
	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_done(f->open[0]);
	settle(f);
	assert_int_equal(f->passed, 1);
	xn_updates_done(f->open[1]);
}

static void a_barriers_object_overtakes_the_others(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;

	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_touch(f->updates, "VM", "b");
	xn_updates_touch(f->updates, "VM", "z");
	xn_updates_barrier(f->updates, &barrier, "VM", "z", on_passed, f);
	settle(f);
	assert_string_equal(f->order, "zab");
}

static void a_cancelled_barrier_does_not_pass(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier, quiet;

	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_barrier(f->updates, &barrier, "VM", "a", on_passed, f);
	xn_updates_barrier(f->updates, &quiet, "VM", "b", on_passed, f);
	xn_updates_barrier_cancel(&barrier);
	xn_updates_barrier_cancel(&quiet);
	settle(f);
	assert_int_equal(f->passed, 0);
}

static void an_object_signalled_without_end_is_slowed_down_alone(void **state)
{
	struct fixture *f = *state;
	int64_t start = xn_now_us(f->core.loop);
	unsigned noisy;

	while (xn_now_us(f->core.loop) - start < 1000000) {
		xn_updates_touch(f->updates, "VM", "noisy");
		xn_loop_turn(f->core.loop, 1000);
	}
	noisy = f->reconciled;
	assert_in_range(noisy, 20, 70);
	xn_updates_touch(f->updates, "VM", "quiet");
	xn_loop_turn(f->core.loop, 0);
	assert_int_equal(f->reconciled, noisy + 1);
}

static void a_barrier_does_not_wait_for_a_slowed_object(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;
	int64_t start;

	for (int i = 0; i < 20; i++) {
		xn_updates_touch(f->updates, "VM", "noisy");
		settle(f);
	}
	start = xn_now_us(f->core.loop);
	xn_updates_touch(f->updates, "VM", "noisy");
	xn_updates_barrier(f->updates, &barrier, "VM", "noisy", on_passed, f);
	while (!f->passed)
		assert_true(xn_loop_turn(f->core.loop, 0));
	assert_int_equal(xn_now_us(f->core.loop), start);
}

static void dropping_an_object_forgets_its_signal_and_passes_its_barriers(void **state)
{
	struct fixture *f = *state;
	struct xn_barrier barrier;

	xn_updates_touch(f->updates, "VM", "a");
	xn_updates_barrier(f->updates, &barrier, "VM", "a", on_passed, f);
	xn_updates_drop(f->updates, "VM", "a");
	settle(f);
	assert_int_equal(f->reconciled, 0);
	assert_int_equal(f->passed, 1);
	assert_int_equal(xn_updates_pending(f->updates), 0);
}

static void an_object_dropped_while_it_is_reconciled_ends_quietly(void **state)
{
	struct fixture *f = *state;

	f->slow = true;
	xn_updates_touch(f->updates, "VM", "a");
	settle(f);
	xn_updates_drop(f->updates, "VM", "a");
	assert_int_equal(xn_updates_running(f->updates), 1);
	xn_updates_done(f->open[0]);
	settle(f);
	assert_int_equal(xn_updates_running(f->updates), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(many_signals_of_an_object_are_one_reconcile),
		TEST(objects_are_reconciled_in_the_order_of_their_signals),
		TEST(barriers_overtake_refreshes_and_their_callers_take_turns),
		TEST(a_signal_during_a_reconcile_brings_another_one_after_it),
		TEST(a_barrier_on_a_quiet_object_passes_from_the_loop),
		TEST(a_barrier_waits_for_a_signal_made_during_the_reconcile),
		TEST(a_barrier_does_not_wait_for_signals_made_after_it),
		TEST(a_barriers_object_overtakes_the_others),
		TEST(a_cancelled_barrier_does_not_pass),
		TEST(an_object_signalled_without_end_is_slowed_down_alone),
		TEST(a_barrier_does_not_wait_for_a_slowed_object),
		TEST(dropping_an_object_forgets_its_signal_and_passes_its_barriers),
		TEST(an_object_dropped_while_it_is_reconciled_ends_quietly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
