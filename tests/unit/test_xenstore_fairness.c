/*
 * The xenstore's server under guests that ask without end: how much of others' work is done before
 * the control domain is answered, counted in requests and turns of a virtual loop. What that is in
 * time the benchmark says.
 */
#include "tests/unit/cmocka_all.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"
#include "tests/xenstore/peer.h"

enum { GUESTS = 6, LINKS = 3, WAITING = 2000 };

struct fixture {
	struct peer_daemon daemon;
	struct peer *dom0;
	struct peer *hostile[GUESTS][LINKS];
	unsigned n_guests;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	peer_daemon_start(&f->daemon);
	f->dom0 = peer_new(&f->daemon, xn_xs_domain_find(f->daemon.store, 0));
	assert_int_equal(peer_write(f->dom0, 0, "/control", "c"), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	peer_daemon_stop(&f->daemon);
	free(f);
	return 0;
}

/* More than is ever served in a test. */
static void ask_without_end(struct peer *peer)
{
	for (unsigned i = 0; i < WAITING; i++) {
		peer_send(peer, XN_XS_WIRE_WRITE, 0, PEER_BODY("data/x\0some value"));
		peer_send(peer, XN_XS_WIRE_READ, 0, PEER_BODY("data/x"));
		peer_send(peer, XN_XS_WIRE_DIRECTORY, 0, PEER_BODY("data"));
		peer_send(peer, XN_XS_WIRE_TRANSACTION_START, 0, PEER_BODY(""));
		peer_send(peer, 99, 0, NULL, 0);
	}
}

static void given_hostile_guests(struct fixture *f, unsigned n)
{
	f->n_guests = n;
	for (unsigned g = 0; g < n; g++) {
		struct xn_xs_domain *domain = peer_daemon_guest(&f->daemon, 10 + g);

		for (unsigned i = 0; i < LINKS; i++) {
			f->hostile[g][i] = peer_new(&f->daemon, domain);
			ask_without_end(f->hostile[g][i]);
		}
	}
	xn_loop_turn(f->daemon.core.loop, 0); /* they are at it */
}

static uint64_t served(const struct fixture *f)
{
	const struct xn_xs_server *server = f->daemon.server;
	uint64_t sum = server->n_unknown;

	for (unsigned i = 0; i < XN_XS_WIRE_TYPES; i++)
		sum += server->n_requests[i];
	return sum;
}

/* One after the other, each once the one before is answered. */
static void a_request_of_the_control_domain_waits_for_a_turn_of_each_guest_at_most(void **state)
{
	struct fixture *f = *state;
	uint64_t most = 0;

	for (unsigned guests = 1; guests <= GUESTS; guests += GUESTS - 1) {
		if (guests > 1) {
			tear_down(state);
			set_up(state);
			f = *state;
		}
		given_hostile_guests(f, guests);
		for (unsigned i = 0; i < 50; i++) {
			uint64_t before = served(f), during;
			struct peer_frame answer;

			assert_int_equal(peer_read(f->dom0, 0, "/control", &answer), 0);
			assert_string_equal(answer.body, "c");
			during = served(f) - before - 1;
			most = during > most ? during : most;
			assert_true(during <= (uint64_t)guests * XN_XS_REQUESTS_A_TURN);
		}
	}
	assert_true(most > 0); /* they were at work */
}

/* As many of its own at once as the hostile guest has: it gets its half. */
static void a_busy_control_domain_gets_its_half_beside_a_hostile_guest(void **state)
{
	struct fixture *f = *state;
	uint64_t before, all;
	struct peer_frame answer;
	unsigned answered = 0;

	given_hostile_guests(f, 1);
	before = served(f);
	for (unsigned i = 0; i < WAITING; i++)
		peer_send(f->dom0, XN_XS_WIRE_READ, 0, PEER_BODY("/control"));
	while (answered < WAITING) {
		assert_true(xn_loop_turn(f->daemon.core.loop, 0));
		while (peer_take(f->dom0, &answer))
			answered++;
	}
	all = served(f) - before;
	assert_true(all > WAITING); /* and the guest got some, too */
	assert_true(all <= 2 * WAITING + 4 * XN_XS_REQUESTS_A_TURN);
}

/* How many links a guest has, and how many guests there are, does not make a domain's share larger. */
static void links_do_not_multiply_a_domains_share(void **state)
{
	struct fixture *f = *state;
	struct peer *single;
	unsigned answered = 0;
	uint64_t before, all;
	struct peer_frame answer;

	given_hostile_guests(f, 1); /* with three links */
	single = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 50));
	assert_int_equal(peer_write(single, 0, "own", "1"), 0);
	before = served(f);
	for (unsigned i = 0; i < WAITING; i++)
		peer_send(single, XN_XS_WIRE_READ, 0, PEER_BODY("own"));
	while (answered < WAITING) {
		assert_true(xn_loop_turn(f->daemon.core.loop, 0));
		while (peer_take(single, &answer))
			answered++;
	}
	all = served(f) - before;
	assert_true(all <= 2 * WAITING + 4 * XN_XS_REQUESTS_A_TURN);
}

/* The one of its links that does read. */
static void drop_all(struct peer *peer)
{
	struct peer_frame frame;

	while (peer_take(peer, &frame))
		;
}

/* All of it at once: nodes, watches, transactions, events and replies that it does not read. */
static void a_guest_at_all_its_quotas_holds_no_more_memory_than_their_sum(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_domain *domain = peer_daemon_guest(&f->daemon, 5);
	struct peer *guest = peer_new(&f->daemon, domain), *mute = peer_new(&f->daemon, domain);
	const struct xn_xs_account *account = &domain->account;
	uint64_t allowed = 0;
	size_t before, own;
	char path[64], value[1500];

	malloc_trim(0);
	before = mallinfo2().uordblks;
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (unsigned i = 0; i < 150; i++) {
		snprintf(path, sizeof(path), "data/%u", i);
		(void)peer_watch(i % 2 ? guest : mute, i % 3 ? "data" : path, path);
		drop_all(guest);
	}
	mute->room = 0;
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(path, sizeof(path), "data/%u", i);
		(void)peer_write(guest, 0, path, value);
		drop_all(guest);
	}
	for (unsigned k = 0; k < 12; k++) {
		uint32_t tx = peer_begin(guest);

		for (unsigned i = 0; tx && i < 2000; i++) {
			snprintf(path, sizeof(path), "data/%u", i);
			(void)peer_write(guest, tx, path, value);
		}
	}
	for (unsigned i = 0; i < 1000; i++)
		peer_send(mute, XN_XS_WIRE_READ, 0, PEER_BODY("data/0"));
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(path, sizeof(path), "/local/domain/5/data/%u", i % 3000);
		(void)peer_write(f->dom0, 0, path, "");
		drop_all(guest);
	}
	peer_daemon_settle(&f->daemon);
	own = guest->to_server.cap + guest->from_server.cap + mute->to_server.cap +
	      mute->from_server.cap + f->dom0->from_server.cap + f->dom0->to_server.cap;
	allowed = xn_xs_domain_limit(domain, XN_XS_QUOTA_MEMORY).hard +
		  xn_xs_domain_limit(domain, XN_XS_QUOTA_EVENT_BYTES).hard +
		  xn_xs_domain_limit(domain, XN_XS_QUOTA_BUFFERS).hard;
	assert_true(account->node_bytes + account->watch_bytes + account->transaction_bytes <=
		    xn_xs_domain_limit(domain, XN_XS_QUOTA_MEMORY).hard);
	malloc_trim(0);
	print_message("heap grew by %zu of %llu\n", mallinfo2().uordblks - before - own,
		      (unsigned long long)allowed);
	/* A tenth for what malloc and the tables add. */
	assert_true(mallinfo2().uordblks < before + own + allowed + allowed / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(a_request_of_the_control_domain_waits_for_a_turn_of_each_guest_at_most),
		T(a_busy_control_domain_gets_its_half_beside_a_hostile_guest),
		T(links_do_not_multiply_a_domains_share),
		T(a_guest_at_all_its_quotas_holds_no_more_memory_than_their_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
