/* Whole sessions of guests through their rings: the server's connections on the twin of Xen's. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/ring_guest.h"

#include "modules/xenstore/server/ring_table.h"
#include "modules/xenstore/server/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { DOMID = 5 };

struct fixture {
	struct xn_core core;
	struct xn_xs_store *store;
	struct xn_xs_server *server;
	struct xn_xs_rings *rings;
	struct xn_xs_carrier *twin;
	struct xn_xs_conn *dom0;
	struct ring_guest guest;
	struct xn_job deliver;
};

static void settle(struct fixture *f)
{
	do
		while (xn_loop_turn(f->core.loop, 0))
			;
	while (ring_guest_go_on(&f->guest));
}

static void on_deliver(struct xn_job *job)
{
	struct fixture *f = xn_container_of(job, struct fixture, deliver);

	while (xn_xs_store_deliver(f->store, 100))
		;
}

static void on_wake(void *arg)
{
	struct fixture *f = arg;

	xn_loop_defer(f->core.loop, &f->deliver, XN_PRIO_EVENT, on_deliver);
}

static void introduce(struct fixture *f, uint32_t domid)
{
	struct xn_xs_domain *domain = xn_xs_domain_find(f->store, domid);

	if (!domain)
		domain = xn_xs_domain_add(f->store, domid);
	assert_int_equal(f->server->host->introduce(f->server->host, domain, 1, 1), 0);
	xn_xs_domain_introduce(domain);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->core.loop = xn_loop_new_virtual(1);
	f->core.log = xn_log_new(XN_LOG_ERROR, false, -1);
	f->store = xn_xs_store_new(on_wake, f);
	f->dom0 = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->server = xn_xs_server_new(&f->core, f->store, NULL);
	f->twin = xn_xs_twin_new(f->core.loop);
	f->rings = xn_xs_rings_new(&f->core, f->store, f->server, NULL, f->twin);
	xn_xs_rings_start(f->rings);
	ring_guest_init(&f->guest, xn_xs_twin_guest(f->twin, DOMID));
	introduce(f, DOMID);
	assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/local/domain/5", "", 0), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/local/domain/5", "n5", 2), 0);
	settle(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ring_guest_clear(&f->guest);
	xn_xs_server_free(f->server);
	xn_xs_rings_free(f->rings);
	xn_xs_conn_free(f->dom0);
	xn_job_cancel(&f->deliver);
	xn_xs_store_free(f->store);
	xn_log_free(f->core.log);
	xn_loop_free(f->core.loop);
	free(f);
	return 0;
}

/* The reply to a request, which must come next but for watch events. */
static struct xn_xs_frame reply_to(struct fixture *f, uint32_t request)
{
	struct xn_xs_frame frame;

	settle(f);
	do
		assert_true(ring_guest_take(&f->guest, &frame));
	while (frame.type == XN_XS_WIRE_WATCH_EVENT);
	assert_int_equal(frame.request, request);
	return frame;
}

static struct xn_xs_frame ask(struct fixture *f, uint32_t type, const void *body, size_t len)
{
	return reply_to(f, ring_guest_ask(&f->guest, type, 0, body, len));
}

static void assert_error(const struct xn_xs_frame *frame, const char *name)
{
	assert_int_equal(frame->type, XN_XS_WIRE_ERROR);
	assert_string_equal(frame->body, name);
}

static void assert_serves(struct fixture *f)
{
	struct xn_xs_frame frame = ask(f, XN_XS_WIRE_WRITE, "k\0v", 3);

	assert_int_equal(frame.type, XN_XS_WIRE_WRITE);
	frame = ask(f, XN_XS_WIRE_READ, "k", 2);
	assert_int_equal(frame.type, XN_XS_WIRE_READ);
	assert_int_equal(frame.len, 1);
	assert_memory_equal(frame.body, "v", 1);
}

/* ---- sessions ---- */

static void a_guest_writes_reads_and_watches(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;

	assert_serves(f);
	frame = ask(f, XN_XS_WIRE_WATCH, "k\0token", 8);
	assert_int_equal(frame.type, XN_XS_WIRE_WATCH);
	assert_true(ring_guest_take(&f->guest, &frame));
	assert_int_equal(frame.type, XN_XS_WIRE_WATCH_EVENT);
	assert_memory_equal(frame.body, "k\0token", 8);
	assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/local/domain/5/k", "w", 1), 0);
	settle(f);
	assert_true(ring_guest_take(&f->guest, &frame));
	assert_memory_equal(frame.body, "k\0token", 8);
	frame = ask(f, XN_XS_WIRE_READ, "/local/domain/5/none", 21);
	assert_error(&frame, "ENOENT");
}

static void messages_longer_than_the_ring_pass_in_pieces(void **state)
{
	struct fixture *f = *state;
	char body[2 + 2000];

	memcpy(body, "l", 2);
	for (size_t i = 2; i < sizeof(body); i++)
		body[i] = (char)(i % 250);
	for (size_t piece = 1; piece <= 1024; piece = piece * 5 / 2 + 1) {
		struct xn_xs_frame frame;

		f->guest.piece = piece;
		frame = ask(f, XN_XS_WIRE_WRITE, body, sizeof(body));
		assert_int_equal(frame.type, XN_XS_WIRE_WRITE);
		frame = ask(f, XN_XS_WIRE_READ, "l", 2);
		assert_int_equal(frame.len, sizeof(body) - 2);
		assert_memory_equal(frame.body, body + 2, frame.len);
	}
}

static void many_requests_at_once_are_answered_in_order(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;

	for (int i = 0; i < 500; i++)
		(void)ring_guest_ask(&f->guest, XN_XS_WIRE_WRITE, 0, "k\0v", 3);
	settle(f);
	for (uint32_t i = 1; i <= 500; i++) {
		assert_true(ring_guest_take(&f->guest, &frame));
		assert_int_equal(frame.request, i);
		assert_int_equal(frame.type, XN_XS_WIRE_WRITE);
	}
	assert_false(ring_guest_take(&f->guest, &frame));
}

/* What it does not take stays in its ring, with its requests; nothing grows here. */
static void a_guest_that_does_not_read_is_not_read_from(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;
	char body[2 + 1900] = "l";

	assert_int_equal(ask(f, XN_XS_WIRE_WRITE, body, sizeof(body)).type, XN_XS_WIRE_WRITE);
	f->guest.is_slow = true;
	for (int i = 0; i < 1000; i++)
		(void)ring_guest_ask(&f->guest, XN_XS_WIRE_READ, 0, "l", 2);
	settle(f);
	assert_true(f->guest.out.len > 10000); /* of 18 bytes a request */
	f->guest.is_slow = false;
	settle(f);
	for (uint32_t i = 2; i <= 1001; i++) {
		assert_true(ring_guest_take(&f->guest, &frame));
		assert_int_equal(frame.request, i);
		assert_int_equal(frame.len, 1900);
	}
}

/* ---- hostile ones ---- */

static void assert_broken(struct fixture *f, uint32_t error)
{
	settle(f);
	assert_int_equal(f->guest.end->page->error, error);
	assert_non_null(xn_xs_domain_find(f->store, DOMID)); /* released when it dies, not before */
}

static void begin_anew(struct fixture *f)
{
	f->guest.end->page->connection = XN_XS_RING_RECONNECT;
	xn_xs_twin_notify(f->guest.end);
	f->guest.out.len = f->guest.in.len = 0;
	settle(f);
	assert_int_equal(f->guest.end->page->connection, XN_XS_RING_CONNECTED);
	assert_int_equal(f->guest.end->page->error, XN_XS_RING_FINE);
}

static void bad_indices_stop_a_guest_until_it_begins_anew(void **state)
{
	struct fixture *f = *state;

	assert_serves(f);
	f->guest.end->page->req_prod += XN_XS_RING_SIZE + 1;
	xn_xs_twin_notify(f->guest.end);
	assert_broken(f, XN_XS_RING_BAD_INDEX);
	begin_anew(f);
	assert_serves(f);
	f->guest.end->page->rsp_cons += 5; /* it has read what was never there */
	(void)ring_guest_ask(&f->guest, XN_XS_WIRE_READ, 0, "k", 2);
	assert_broken(f, XN_XS_RING_BAD_INDEX);
	begin_anew(f);
	assert_serves(f);
}

static void a_request_that_is_too_long_stops_a_guest(void **state)
{
	static const uint32_t lens[] = {XN_XS_BODY_MAX + 1, 1 << 20, INT32_MAX, UINT32_MAX};
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		uint32_t header[4] = {XN_XS_WIRE_WRITE, 1, 0, lens[i]};

		xn_buf_add(&f->guest.out, header, sizeof(header));
		xn_buf_add(&f->guest.out, "bytes", 5);
		assert_broken(f, XN_XS_RING_BAD_REQUEST);
		begin_anew(f);
		assert_serves(f);
	}
}

static void a_new_beginning_drops_watches_and_transactions(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;
	uint32_t tx, request;

	assert_int_equal(ask(f, XN_XS_WIRE_WATCH, "k\0token", 8).type, XN_XS_WIRE_WATCH);
	frame = ask(f, XN_XS_WIRE_TRANSACTION_START, "", 1);
	tx = (uint32_t)strtoul(frame.body, NULL, 10);
	assert_true(tx > 0);
	begin_anew(f);
	assert_serves(f);
	while (ring_guest_take(&f->guest, &frame))
		assert_int_not_equal(frame.type, XN_XS_WIRE_WATCH_EVENT);
	request = ring_guest_ask(&f->guest, XN_XS_WIRE_READ, tx, "k", 2);
	frame = reply_to(f, request);
	assert_error(&frame, "ENOENT");
	assert_int_equal(ask(f, XN_XS_WIRE_WATCH, "k\0token", 8).type, XN_XS_WIRE_WATCH);
}

/* XSA-325: a guest that misbehaves and then dies is let go of all the same. */
static void a_guest_that_misbehaved_is_released_when_it_dies(void **state)
{
	struct fixture *f = *state;

	f->guest.end->page->req_prod += 5000;
	xn_xs_twin_notify(f->guest.end);
	assert_broken(f, XN_XS_RING_BAD_INDEX);
	xn_xs_twin_live(f->guest.end, XN_XS_GONE);
	settle(f);
	assert_null(xn_xs_domain_find(f->store, DOMID));
	assert_null(f->guest.end->port); /* and nothing of its is mapped */
}

static void a_guest_that_dies_in_the_middle_of_a_request_is_released(void **state)
{
	struct fixture *f = *state;

	f->guest.piece = 7;
	(void)ring_guest_ask(&f->guest, XN_XS_WIRE_WRITE, 0, "k\0v", 3);
	xn_xs_twin_live(f->guest.end, XN_XS_GONE);
	settle(f);
	assert_null(xn_xs_domain_find(f->store, DOMID));
}

/* ---- introductions ---- */

static void a_domain_that_is_introduced_again_begins_anew(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_frame frame;

	assert_int_equal(ask(f, XN_XS_WIRE_WATCH, "k\0token", 8).type, XN_XS_WIRE_WATCH);
	(void)ring_guest_ask(&f->guest, XN_XS_WIRE_READ, 0, "k", 2);
	introduce(f, DOMID);
	f->guest.out.len = f->guest.in.len = 0;
	assert_serves(f);
	assert_false(ring_guest_take(&f->guest, &frame));
	assert_non_null(xn_xs_domain_find(f->store, DOMID));
}

static void a_domain_that_stops_is_told_of_once(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_domain *domain = xn_xs_domain_find(f->store, DOMID);

	xn_xs_twin_live(f->guest.end, XN_XS_STOPPED);
	settle(f);
	assert_true(domain->stopped);
	assert_serves(f); /* its page is still there */
	xn_xs_twin_live(f->guest.end, XN_XS_GONE);
	settle(f);
	assert_null(xn_xs_domain_find(f->store, DOMID));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_guest_writes_reads_and_watches),
		TEST(messages_longer_than_the_ring_pass_in_pieces),
		TEST(many_requests_at_once_are_answered_in_order),
		TEST(a_guest_that_does_not_read_is_not_read_from),
		TEST(bad_indices_stop_a_guest_until_it_begins_anew),
		TEST(a_request_that_is_too_long_stops_a_guest),
		TEST(a_new_beginning_drops_watches_and_transactions),
		TEST(a_guest_that_misbehaved_is_released_when_it_dies),
		TEST(a_guest_that_dies_in_the_middle_of_a_request_is_released),
		TEST(a_domain_that_is_introduced_again_begins_anew),
		TEST(a_domain_that_stops_is_told_of_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
