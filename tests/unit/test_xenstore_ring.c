/* A guest's ring as a link, on the twin: bytes, signals, and what a guest may do to its page. */
#include "tests/unit/cmocka_all.h"

#include "core/buf.h"
#include "modules/xenstore/server/ring_twin.h"

#include <errno.h>
#include <stdlib.h>

struct fixture {
	struct xn_loop *loop;
	struct xn_xs_carrier *twin;
	struct xn_xs_twin_guest *guest;
	struct xn_xs_port *port;
	struct xn_xs_link *link;
	unsigned readies, signals;
	struct xn_buf heard; /* by the link's user, who takes all of it */
	bool closes, listens;
	ssize_t rc; /* of the last read */
};

static void on_ready(struct xn_xs_link *link, void *arg)
{
	struct fixture *f = arg;

	f->readies++;
	if (f->closes) {
		link->ops->close(link);
		f->link = NULL;
		return;
	}
	while (f->listens) {
		char *room = xn_buf_reserve(&f->heard, 300);

		f->rc = link->ops->read(link, 0, room, 300);
		if (f->rc <= 0)
			break;
		f->heard.len += (size_t)f->rc;
		link->ops->taken(link, (size_t)f->rc);
	}
	link->ops->want(link, f->rc != -EPROTO, false);
}

static void on_notified(struct xn_xs_twin_guest *guest, void *arg)
{
	struct fixture *f = arg;

	f->signals++;
}

static void open_ring(struct fixture *f)
{
	assert_int_equal(f->twin->ops->open(f->twin, 7, 0, 5, &f->port), 0);
	f->link = xn_xs_ring_new(f->loop, f->port, 7);
	f->link->on_ready = on_ready;
	f->link->arg = f;
}

static void settle(struct fixture *f)
{
	while (xn_loop_turn(f->loop, 0))
		;
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->loop = xn_loop_new_virtual(1);
	f->twin = xn_xs_twin_new(f->loop);
	f->guest = xn_xs_twin_guest(f->twin, 7);
	f->guest->on_notified = on_notified;
	f->guest->arg = f;
	f->listens = true;
	open_ring(f);
	settle(f);
	f->signals = 0;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->link)
		f->link->ops->close(f->link);
	f->twin->ops->free(f->twin);
	xn_loop_free(f->loop);
	xn_buf_clear(&f->heard);
	free(f);
	return 0;
}

static char pattern(size_t i)
{
	return (char)(i * 7 + i / 251);
}

/* ---- bytes ---- */

static void a_stream_longer_than_the_ring_arrives_in_order(void **state)
{
	struct fixture *f = *state;
	char bytes[10000];
	size_t sent = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern(i);
	f->link->ops->want(f->link, true, false);
	while (sent < sizeof(bytes)) {
		size_t n = xn_xs_twin_send(f->guest, bytes + sent, sizeof(bytes) - sent);

		assert_true(n > 0 && n <= XN_XS_RING_SIZE);
		sent += n;
		settle(f);
	}
	assert_int_equal(f->heard.len, sizeof(bytes));
	assert_memory_equal(f->heard.data, bytes, sizeof(bytes));
	assert_int_equal(f->link->in_at, sizeof(bytes));
	assert_int_equal(f->guest->page->req_cons, sizeof(bytes));
}

static void bytes_are_read_again_until_they_are_taken(void **state)
{
	struct fixture *f = *state;
	char room[8];

	xn_xs_twin_send(f->guest, "abcdef", 6);
	assert_int_equal(f->link->ops->read(f->link, 0, room, 4), 4);
	assert_memory_equal(room, "abcd", 4);
	assert_int_equal(f->link->ops->read(f->link, 4, room, 8), 2);
	assert_memory_equal(room, "ef", 2);
	assert_int_equal(f->link->ops->read(f->link, 6, room, 8), 0);
	assert_int_equal(f->guest->page->req_cons, 0);
	f->link->ops->taken(f->link, 3);
	assert_int_equal(f->link->ops->read(f->link, 0, room, 8), 3);
	assert_memory_equal(room, "def", 3);
	assert_int_equal(f->guest->page->req_cons, 3);
}

static void a_slow_guest_gets_the_rest_when_it_has_read(void **state)
{
	struct fixture *f = *state;
	char bytes[3000], got[3000];
	size_t written, received = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern(i);
	written = (size_t)f->link->ops->write(f->link, bytes, sizeof(bytes));
	assert_int_equal(written, XN_XS_RING_SIZE);
	assert_int_equal(f->link->ops->write(f->link, bytes + written, 1), 0);
	f->link->ops->want(f->link, false, true);
	settle(f);
	assert_int_equal(f->readies, 0);
	while (received < sizeof(bytes)) {
		size_t n = xn_xs_twin_receive(f->guest, got + received, 100);

		assert_true(n > 0);
		received += n;
		settle(f);
		if (written == sizeof(bytes))
			continue;
		assert_int_equal(f->readies, 1);
		f->readies = 0;
		written += (size_t)f->link->ops->write(f->link, bytes + written,
						       sizeof(bytes) - written);
		f->link->ops->want(f->link, false, written < sizeof(bytes));
	}
	assert_memory_equal(got, bytes, sizeof(bytes));
}

static void indices_may_pass_the_end_of_their_range(void **state)
{
	struct fixture *f = *state;
	char got[8];

	f->link->ops->close(f->link);
	f->guest->page->req_cons = f->guest->page->req_prod = UINT32_MAX - 2;
	f->guest->page->rsp_cons = f->guest->page->rsp_prod = UINT32_MAX - 1;
	open_ring(f);
	f->link->ops->want(f->link, true, false);
	assert_int_equal(xn_xs_twin_send(f->guest, "abcdef", 6), 6);
	settle(f);
	assert_int_equal(f->heard.len, 6);
	assert_memory_equal(f->heard.data, "abcdef", 6);
	assert_int_equal(f->link->in_at, 3);
	assert_int_equal(f->link->ops->write(f->link, "uvwxyz", 6), 6);
	assert_int_equal(xn_xs_twin_receive(f->guest, got, 8), 6);
	assert_memory_equal(got, "uvwxyz", 6);
	assert_int_equal(f->guest->page->rsp_prod, 4);
}

/* ---- signals ---- */

static void what_changes_in_one_go_is_one_signal(void **state)
{
	struct fixture *f = *state;

	f->link->ops->write(f->link, "a", 1);
	f->link->ops->write(f->link, "b", 1);
	assert_int_equal(f->signals, 0);
	settle(f);
	assert_int_equal(f->signals, 1);
	f->link->ops->want(f->link, true, false);
	xn_xs_twin_send(f->guest, "a", 1);
	settle(f);
	assert_int_equal(f->signals, 2);
}

static void nothing_changes_and_nothing_is_signalled(void **state)
{
	struct fixture *f = *state;

	f->link->ops->want(f->link, true, true);
	f->link->ops->want(f->link, true, false);
	xn_xs_twin_notify(f->guest);
	settle(f);
	assert_int_equal(f->signals, 0);
}

static void what_is_left_over_is_offered_again(void **state)
{
	struct fixture *f = *state;

	f->listens = false;
	f->rc = 0;
	f->link->ops->want(f->link, true, false);
	xn_xs_twin_send(f->guest, "abc", 3);
	for (int i = 0; i < 5; i++)
		xn_loop_turn(f->loop, 0);
	assert_true(f->readies > 3);
	f->listens = true;
	settle(f);
	assert_int_equal(f->heard.len, 3);
}

static void what_is_not_wanted_waits_without_a_call(void **state)
{
	struct fixture *f = *state;

	xn_xs_twin_send(f->guest, "abc", 3);
	settle(f);
	assert_int_equal(f->readies, 0);
	f->link->ops->want(f->link, true, false);
	settle(f);
	assert_int_equal(f->heard.len, 3);
}

static void an_event_during_a_look_is_not_lost(void **state)
{
	struct fixture *f = *state;

	f->link->ops->want(f->link, true, false);
	for (int i = 0; i < 50; i++) {
		xn_xs_twin_send(f->guest, "a", 1);
		xn_loop_turn(f->loop, 0);
		xn_xs_twin_send(f->guest, "b", 1);
		xn_xs_twin_notify(f->guest);
	}
	settle(f);
	assert_int_equal(f->heard.len, 100);
}

static void the_link_may_be_closed_while_it_calls(void **state)
{
	struct fixture *f = *state;

	f->closes = true;
	f->link->ops->want(f->link, true, false);
	xn_xs_twin_send(f->guest, "a", 1);
	settle(f);
	assert_null(f->link);
	xn_xs_twin_notify(f->guest);
	settle(f);
	assert_int_equal(f->readies, 1);
}

/* ---- what a guest may do ---- */

/* Until XSA-38 a full ring, or worse ones, were taken for something else. */
static void xsa_38_a_full_ring_is_fine(void **state)
{
	struct fixture *f = *state;
	char room[2000];

	f->guest->page->req_prod = XN_XS_RING_SIZE;
	assert_int_equal(f->link->ops->read(f->link, 0, room, sizeof(room)), XN_XS_RING_SIZE);
	f->guest->page->rsp_cons = (uint32_t)-XN_XS_RING_SIZE;
	assert_int_equal(f->link->ops->write(f->link, room, 1), 0);
	assert_int_equal(f->guest->page->error, XN_XS_RING_FINE);
}

static void xsa_38_indices_that_cannot_be_are_a_clean_error(void **state)
{
	static const uint32_t prods[] = {XN_XS_RING_SIZE + 1, 2 * XN_XS_RING_SIZE, INT32_MAX,
					 0x80000000u,	      UINT32_MAX,	   UINT32_MAX - 1023};
	struct fixture *f = *state;
	char room[2000] = "";

	for (size_t i = 0; i < XN_ARRAY_SIZE(prods); i++) {
		f->guest->page->req_prod = prods[i];
		assert_int_equal(f->link->ops->read(f->link, 0, room, sizeof(room)), -EPROTO);
		assert_int_equal(f->guest->page->error, XN_XS_RING_BAD_INDEX);
		f->link->ops->reset(f->link);
		assert_int_equal(f->guest->page->error, XN_XS_RING_FINE);
		f->guest->page->rsp_cons = (uint32_t)-prods[i];
		assert_int_equal(f->link->ops->write(f->link, room, 1), -EPROTO);
		assert_int_equal(f->guest->page->error, XN_XS_RING_BAD_INDEX);
		f->link->ops->reset(f->link);
	}
}

static void a_broken_ring_is_silent_until_the_guest_begins_anew(void **state)
{
	struct fixture *f = *state;

	f->link->ops->want(f->link, true, false);
	f->guest->page->req_prod = 5000;
	xn_xs_twin_notify(f->guest);
	settle(f);
	assert_int_equal(f->rc, -EPROTO);
	assert_int_equal(f->readies, 1);
	assert_int_equal(f->guest->page->error, XN_XS_RING_BAD_INDEX);
	assert_int_equal(f->signals, 1);

	f->guest->page->req_prod = 0;
	f->link->ops->want(f->link, true, true);
	xn_xs_twin_notify(f->guest);
	settle(f);
	assert_int_equal(f->readies, 1);
	assert_int_equal(f->link->ops->write(f->link, "a", 1), -EPROTO);
	assert_int_equal(f->guest->page->rsp_prod, 0);

	f->listens = false; /* the fixture would read for ever */
	f->guest->page->connection = XN_XS_RING_RECONNECT;
	xn_xs_twin_notify(f->guest);
	xn_loop_turn(f->loop, 0);
	assert_true(f->readies > 1);
	assert_int_equal(f->link->ops->read(f->link, 0, &(char){0}, 1), -ECONNRESET);
	f->link->ops->reset(f->link);
	f->listens = true;
	assert_int_equal(f->guest->page->connection, XN_XS_RING_CONNECTED);
	assert_int_equal(f->guest->page->error, XN_XS_RING_FINE);
	assert_int_equal(xn_xs_twin_send(f->guest, "abc", 3), 3);
	f->link->ops->want(f->link, true, false);
	settle(f);
	assert_int_equal(f->heard.len, 3);
}

static void a_new_beginning_empties_both_directions(void **state)
{
	struct fixture *f = *state;
	char got[8];

	xn_xs_twin_send(f->guest, "half a requ", 11);
	f->link->ops->write(f->link, "half a reply", 12);
	f->guest->page->connection = XN_XS_RING_RECONNECT;
	assert_int_equal(f->link->ops->write(f->link, "more", 4), -ECONNRESET);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), -ECONNRESET);
	f->link->ops->reset(f->link);
	assert_int_equal(f->link->in_at, 0);
	assert_int_equal(f->link->out_at, 0);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), 0);
	assert_int_equal(xn_xs_twin_receive(f->guest, got, 8), 0);
	assert_int_equal(f->link->ops->write(f->link, "new", 3), 3);
	assert_int_equal(xn_xs_twin_receive(f->guest, got, 8), 3);
}

/* Its own positions are all that the xenstore goes by. */
static void what_the_guest_writes_over_our_indices_means_nothing(void **state)
{
	struct fixture *f = *state;
	char got[8];

	xn_xs_twin_send(f->guest, "abcdef", 6);
	f->link->ops->taken(f->link, 2);
	f->guest->page->req_cons = 77777;
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), 4);
	assert_memory_equal(got, "cdef", 4);
	f->link->ops->taken(f->link, 4);
	assert_int_equal(f->guest->page->req_cons, 6);
	f->guest->page->rsp_prod = 99999;
	assert_int_equal(f->link->ops->write(f->link, "xyz", 3), 3);
	assert_int_equal(f->guest->page->rsp_prod, 3);
	assert_int_equal(xn_xs_twin_receive(f->guest, got, 8), 3);
	assert_memory_equal(got, "xyz", 3);
}

static void a_producer_that_goes_back_is_an_error(void **state)
{
	struct fixture *f = *state;
	char got[8];

	xn_xs_twin_send(f->guest, "abcdef", 6);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), 6);
	f->guest->page->req_prod = 1; /* between the read and taken() */
	f->link->ops->taken(f->link, 6);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), -EPROTO);
}

static void a_request_that_is_refused_is_told_in_the_page(void **state)
{
	struct fixture *f = *state;
	char got[8];

	f->link->ops->refuse(f->link);
	assert_int_equal(f->guest->page->error, XN_XS_RING_BAD_REQUEST);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 8), -EPROTO);
	settle(f);
	assert_int_equal(f->signals, 1);
}

static void what_the_server_can_do_is_told_in_the_page(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->guest->page->features, XN_XS_RING_CAN_RECONNECT |
							   XN_XS_RING_TELLS_ERRORS |
							   XN_XS_RING_TAKES_DEPTHS);
}

/* ---- after a crash ---- */

static void cut_and_open(struct fixture *f)
{
	struct xn_xs_link *dead = f->link;

	xn_xs_twin_cut(f->twin);
	open_ring(f);
	dead->ops->close(dead); /* its memory only: the other end is cut off */
	f->signals = 0;
}

static void after_a_crash_input_that_was_recorded_is_not_read_again(void **state)
{
	struct fixture *f = *state;
	char got[16];

	xn_xs_twin_send(f->guest, "abcdef", 6);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 4), 4); /* recorded, then killed */
	cut_and_open(f);
	assert_int_equal(xn_xs_ring_resume(f->link, 4, 0, 0), 0);
	assert_int_equal(f->guest->page->req_cons, 4);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 16), 2);
	assert_memory_equal(got, "ef", 2);
	settle(f);
	assert_int_equal(f->signals, 1); /* the guest may wait for a signal that was never sent */
}

static void after_a_crash_output_goes_on_where_the_ring_ends(void **state)
{
	struct fixture *f = *state;
	const char *reply = "a reply";
	char got[16];

	for (size_t written = 0; written <= strlen(reply); written++) {
		uint32_t at = f->link->out_at;
		ssize_t sent;

		if (written)
			f->link->ops->write(f->link, reply, written);
		cut_and_open(f);
		sent = xn_xs_ring_resume(f->link, 0, at, strlen(reply));
		assert_int_equal(sent, written);
		f->link->ops->write(f->link, reply + sent, strlen(reply) - (size_t)sent);
		assert_int_equal(xn_xs_twin_receive(f->guest, got, 16), strlen(reply));
		assert_memory_equal(got, reply, strlen(reply));
	}
}

static void a_guest_that_meddled_meanwhile_gets_an_error(void **state)
{
	struct fixture *f = *state;
	char got[16];

	f->link->ops->write(f->link, "abc", 3);
	f->guest->page->rsp_prod = 500;
	cut_and_open(f);
	assert_int_equal(xn_xs_ring_resume(f->link, 0, 0, 3), -EPROTO);
	assert_int_equal(f->link->ops->read(f->link, 0, got, 16), -EPROTO);
	assert_int_equal(f->guest->page->error, XN_XS_RING_BAD_INDEX);
}

static void a_new_event_channel_serves_the_same_ring(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_port *port;

	f->link->ops->want(f->link, true, false);
	assert_int_equal(f->twin->ops->open(f->twin, 7, 0, 6, &port), 0);
	xn_xs_ring_rebind(f->link, port);
	settle(f);
	xn_xs_twin_send(f->guest, "abc", 3);
	settle(f);
	assert_int_equal(f->heard.len, 3);
	assert_int_equal(f->guest->remote_port, 6);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_stream_longer_than_the_ring_arrives_in_order),
		TEST(bytes_are_read_again_until_they_are_taken),
		TEST(a_slow_guest_gets_the_rest_when_it_has_read),
		TEST(indices_may_pass_the_end_of_their_range),
		TEST(what_changes_in_one_go_is_one_signal),
		TEST(nothing_changes_and_nothing_is_signalled),
		TEST(what_is_left_over_is_offered_again),
		TEST(what_is_not_wanted_waits_without_a_call),
		TEST(an_event_during_a_look_is_not_lost),
		TEST(the_link_may_be_closed_while_it_calls),
		TEST(xsa_38_a_full_ring_is_fine),
		TEST(xsa_38_indices_that_cannot_be_are_a_clean_error),
		TEST(a_broken_ring_is_silent_until_the_guest_begins_anew),
		TEST(a_new_beginning_empties_both_directions),
		TEST(what_the_guest_writes_over_our_indices_means_nothing),
		TEST(a_producer_that_goes_back_is_an_error),
		TEST(a_request_that_is_refused_is_told_in_the_page),
		TEST(what_the_server_can_do_is_told_in_the_page),
		TEST(after_a_crash_input_that_was_recorded_is_not_read_again),
		TEST(after_a_crash_output_goes_on_where_the_ring_ends),
		TEST(a_guest_that_meddled_meanwhile_gets_an_error),
		TEST(a_new_event_channel_serves_the_same_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
