/* The queue that takes turns (fair.h), and the limit that many share (gate.h). */
#include "tests/unit/cmocka_all.h"

#include "core/gate.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- turns ---- */

struct item {
	struct xn_fair_item item;
	const char *name;
};

static void put(struct xn_fair *fair, struct item *item, const char *name, uint64_t caller,
		uint64_t object)
{
	*item = (struct item){.name = name};
	xn_fair_put(fair, &item->item, caller, object);
}

static void assert_order(struct xn_fair *fair, const char *expected)
{
	char got[200] = "";
	struct xn_fair_item *next;

	while ((next = xn_fair_take(fair, NULL, NULL))) {
		strcat(got, xn_container_of(next, struct item, item)->name);
		strcat(got, " ");
	}
	assert_string_equal(got, expected);
	assert_int_equal(fair->count, 0);
}

static void callers_take_turns_and_so_do_their_objects(void **state)
{
	struct xn_fair fair;
	struct item items[8];

	xn_fair_init(&fair);
	put(&fair, &items[0], "a1", 1, 10);
	put(&fair, &items[1], "a2", 1, 10);
	put(&fair, &items[2], "a3", 1, 10);
	put(&fair, &items[3], "a:other", 1, 11);
	put(&fair, &items[4], "b1", 2, 10);
	put(&fair, &items[5], "b2", 2, 10);
	assert_order(&fair, "a1 b1 a:other b2 a2 a3 ");
	xn_fair_clear(&fair);
}

static void what_was_removed_does_not_come_out(void **state)
{
	struct xn_fair fair;
	struct item items[3];

	xn_fair_init(&fair);
	put(&fair, &items[0], "a", 1, 0);
	put(&fair, &items[1], "b", 2, 0);
	put(&fair, &items[2], "c", 3, 0);
	xn_fair_remove(&fair, &items[1].item);
	xn_fair_remove(&fair, &items[1].item);
	assert_false(xn_fair_is_queued(&items[1].item));
	assert_order(&fair, "a c ");
	xn_fair_clear(&fair);
}

static bool is_even(uint64_t object, void *arg)
{
	return object % 2 == 0;
}

static void objects_that_may_not_are_passed_by(void **state)
{
	struct xn_fair fair;
	struct item items[3];

	xn_fair_init(&fair);
	put(&fair, &items[0], "odd", 1, 1);
	put(&fair, &items[1], "even", 1, 2);
	put(&fair, &items[2], "odd too", 2, 3);
	assert_ptr_equal(xn_fair_take(&fair, is_even, NULL), &items[1].item);
	assert_null(xn_fair_take(&fair, is_even, NULL));
	assert_int_equal(fair.count, 2);
	xn_fair_clear(&fair);
	assert_int_equal(fair.count, 0);
}

/* ---- the gate ---- */

struct visitor {
	struct xn_pass pass;
	bool entered;
};

struct fixture {
	struct xn_loop *loop;
	struct xn_gate *gate;
	struct visitor v[16];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new_virtual(1);
	f->gate = xn_gate_new(f->loop, 4, 2);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_gate_close(f->gate);
	xn_gate_free(f->gate);
	xn_loop_free(f->loop);
	free(f);
	return 0;
}

static void on_enter(struct xn_pass *pass)
{
	xn_container_of(pass, struct visitor, pass)->entered = true;
}

static bool ask(struct fixture *f, int i, uint64_t caller, uint64_t object)
{
	return xn_gate_ask(f->gate, &f->v[i].pass, caller, object, on_enter);
}

static void leave(struct fixture *f, int i)
{
	xn_gate_leave(&f->v[i].pass);
	xn_loop_turn(f->loop, 0);
}

static void no_more_than_the_limit_are_inside_and_a_free_place_is_taken(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 6; i++)
		assert_int_equal(ask(f, i, 1, (uint64_t)i), i < 4);
	assert_int_equal(xn_gate_inside(f->gate), 4);
	assert_int_equal(xn_gate_waiting(f->gate), 2);
	leave(f, 2);
	assert_true(f->v[4].entered);
	assert_false(f->v[5].entered);
	assert_int_equal(xn_gate_moves(f->gate), 1);
	leave(f, 5); /* withdrawn */
	leave(f, 0);
	assert_false(f->v[5].entered);
	assert_int_equal(xn_gate_inside(f->gate), 3);
}

static void an_object_has_its_own_limit_and_stops_nobody_else(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(ask(f, i, 1, 7), i < 2);
	assert_true(ask(f, 3, 1, 8));
	leave(f, 0);
	assert_true(f->v[2].entered);
}

static void who_asks_for_much_takes_turns_with_who_asks_for_little(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 12; i++)
		ask(f, i, 1, (uint64_t)i);
	ask(f, 12, 2, 50);
	leave(f, 0);
	leave(f, 1);
	assert_true(f->v[12].entered);
	assert_false(f->v[6].entered);
}

static void nobody_overtakes_between_a_leave_and_the_next_turn(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 5; i++)
		ask(f, i, 1, (uint64_t)i);
	xn_gate_leave(&f->v[0].pass);
	assert_false(ask(f, 5, 1, 5));
	xn_loop_turn(f->loop, 0);
	assert_true(f->v[4].entered);
	assert_false(f->v[5].entered);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callers_take_turns_and_so_do_their_objects),
		cmocka_unit_test(what_was_removed_does_not_come_out),
		cmocka_unit_test(objects_that_may_not_are_passed_by),
		TEST(no_more_than_the_limit_are_inside_and_a_free_place_is_taken),
		TEST(an_object_has_its_own_limit_and_stops_nobody_else),
		TEST(who_asks_for_much_takes_turns_with_who_asks_for_little),
		TEST(nobody_overtakes_between_a_leave_and_the_next_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
