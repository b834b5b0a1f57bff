/* The bus: delivery from the loop, in order, coalesced; subscribing and leaving at any moment. */
#include "core/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/buf.h"

struct fixture {
	struct xn_loop *loop;
	struct xn_bus *bus;
	struct xn_buf trace;
	struct xn_subscription *sub, *other;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new_virtual(1);
	f->bus = xn_bus_new(f->loop);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_bus_free(f->bus);
	xn_loop_free(f->loop);
	xn_buf_clear(&f->trace);
	free(f);
	return 0;
}

static void on_changed(const struct xn_ev_domain_changed *ev, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->trace, "d%u ", ev->domid);
}

static void on_committed(const struct xn_ev_db_committed *ev, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->trace, "c%d ", (int)ev->generation);
}

static void publish_changed(struct fixture *f, uint32_t domid)
{
	struct xn_ev_domain_changed ev = {.domid = domid};

	xn_publish_domain_changed(f->bus, &ev);
}

static void publish_committed(struct fixture *f, uint64_t generation)
{
	struct xn_ev_db_committed ev = {.generation = generation};

	xn_publish_db_committed(f->bus, &ev);
}

static void assert_trace(struct fixture *f, const char *expected)
{
	assert_string_equal(xn_buf_cstr(&f->trace), expected);
}

static void events_come_from_the_loop_in_publishing_order(void **state)
{
	struct fixture *f = *state;

	xn_subscribe_domain_changed(f->bus, "test", on_changed, f);
	publish_changed(f, 1);
	publish_changed(f, 2);
	publish_changed(f, 3);
	assert_trace(f, "");
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "d1 d2 d3 ");
}

static void a_higher_priority_event_is_delivered_first(void **state)
{
	struct fixture *f = *state;

	xn_subscribe_domain_changed(f->bus, "test", on_changed, f);
	xn_subscribe_db_committed(f->bus, "test", on_committed, f);
	publish_changed(f, 1);
	publish_committed(f, 7);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "c7 d1 ");
}

static void the_same_pending_fact_is_delivered_once(void **state)
{
	struct fixture *f = *state;

	xn_subscribe_domain_changed(f->bus, "test", on_changed, f);
	for (int i = 0; i < 1000; i++) {
		publish_changed(f, 1);
		publish_changed(f, 2);
	}
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "d1 d2 ");
	publish_changed(f, 1); /* delivered ones do not count */
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "d1 d2 d1 ");
}

static void of_latest_only_events_the_newest_counts(void **state)
{
	struct fixture *f = *state;

	xn_subscribe_db_committed(f->bus, "test", on_committed, f);
	for (int i = 1; i <= 1000; i++)
		publish_committed(f, i);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "c1000 ");
}

static void on_first_then_leave(const struct xn_ev_domain_changed *ev, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->trace, "leave%u ", ev->domid);
	xn_bus_unsubscribe(f->sub);
	xn_bus_unsubscribe(f->other);
	publish_changed(f, 9);
	xn_subscribe_domain_changed(f->bus, "late", on_changed, f);
}

static void handlers_may_leave_join_and_publish_while_delivering(void **state)
{
	struct fixture *f = *state;

	f->sub = xn_subscribe_domain_changed(f->bus, "a", on_first_then_leave, f);
	f->other = xn_subscribe_domain_changed(f->bus, "b", on_changed, f);
	publish_changed(f, 1);
	publish_changed(f, 2);
	xn_loop_turn(f->loop, 0);
	/* b left before its turn came; the newcomer joined after 1, 2 and 9 were published. */
	assert_trace(f, "leave1 ");
	publish_changed(f, 5);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "leave1 d5 ");
}

static void a_subscriber_gets_only_what_is_published_after_it_joined(void **state)
{
	struct fixture *f = *state;

	publish_changed(f, 1);
	xn_subscribe_domain_changed(f->bus, "test", on_changed, f);
	publish_changed(f, 2);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "d2 ");
}

static void the_check_names_events_without_publisher_or_reader(void **state)
{
	struct fixture *f = *state;
	struct xn_buf why = {0};

	xn_subscribe_domain_changed(f->bus, "reader", on_changed, f);
	assert_int_equal(xn_bus_check(f->bus, &why), -1);
	assert_non_null(strstr(xn_buf_cstr(&why), "event domain_changed has no publisher\n"));
	assert_null(strstr(xn_buf_cstr(&why), "event domain_changed has no reader\n"));
	xn_buf_clear(&why);
	for (int i = 0; i < XN_EVENT_COUNT; i++) {
		xn_bus_declare_publisher(f->bus, i, "writer");
		xn_bus_subscribe_(f->bus, i, "reader", NULL, NULL);
	}
	assert_int_equal(xn_bus_check(f->bus, &why), 0);
	assert_int_equal(why.len, 0);
}

static void the_graph_shows_who_publishes_and_who_reads(void **state)
{
	struct fixture *f = *state;
	struct xn_buf out = {0};

	xn_bus_declare_publisher(f->bus, XN_EVENT_domain_changed, "domain");
	xn_subscribe_domain_changed(f->bus, "updates", on_changed, f);
	xn_bus_print_graph(f->bus, &out);
	assert_non_null(strstr(xn_buf_cstr(&out), "\"domain\" -> \"domain_changed\";\n"));
	assert_non_null(strstr(xn_buf_cstr(&out), "\"domain_changed\" -> \"updates\";\n"));
	xn_buf_clear(&out);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(events_come_from_the_loop_in_publishing_order),
		TEST(a_higher_priority_event_is_delivered_first),
		TEST(the_same_pending_fact_is_delivered_once),
		TEST(of_latest_only_events_the_newest_counts),
		TEST(handlers_may_leave_join_and_publish_while_delivering),
		TEST(a_subscriber_gets_only_what_is_published_after_it_joined),
		TEST(the_check_names_events_without_publisher_or_reader),
		TEST(the_graph_shows_who_publishes_and_who_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
