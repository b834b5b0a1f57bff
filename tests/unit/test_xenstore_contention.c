/* Transactions that conflict again and again take turns: who is held back, for how long, who never.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CLIENTS = 8, KEYS = 4, GUEST = 5 };

struct client {
	struct xn_xs_conn *conn;
	unsigned step; /* 0: about to begin */
	uint32_t tx;
	uint64_t wait_until;
	unsigned committed, aborted;
	unsigned longest_wait_us;
	uint64_t asked_at;
};

struct fixture {
	struct xn_xs_store *store;
	struct client clients[CLIENTS];
	struct xn_xs_conn *guest, *other_guest;
	uint64_t now_us, random;
};

static void on_free(void *arg)
{
	struct client *client = arg;

	client->wait_until = 0;
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->random = 7;
	f->now_us = 1000;
	for (unsigned i = 0; i < CLIENTS; i++) {
		f->clients[i].conn = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
		xn_xs_conn_when_free(f->clients[i].conn, on_free, &f->clients[i]);
	}
	f->guest = xn_xs_conn_new(xn_xs_domain_add(f->store, GUEST));
	f->other_guest = xn_xs_conn_new(xn_xs_domain_add(f->store, GUEST + 1));
	assert_int_equal(xn_xs_conn_write_string(f->clients[0].conn, 0, "/common", ""), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->clients[0].conn, 0, "/common", "b0", 2), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < CLIENTS; i++)
		xn_xs_conn_free(f->clients[i].conn);
	xn_xs_conn_free(f->guest);
	xn_xs_conn_free(f->other_guest);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static unsigned pick(struct fixture *f, unsigned n)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(f->random >> 33) % n;
}

static void begin(struct fixture *f, struct client *client)
{
	if (!client->asked_at)
		client->asked_at = f->now_us;
	client->wait_until = xn_xs_conn_hold_until(client->conn, f->now_us);
	if (client->wait_until)
		return;
	if (f->now_us - client->asked_at > client->longest_wait_us)
		client->longest_wait_us = (unsigned)(f->now_us - client->asked_at);
	client->asked_at = 0;
	assert_int_equal(xn_xs_conn_begin(client->conn, &client->tx), 0);
	client->step = 1;
}

/* One request of a transaction that reads and writes each key. */
static void step(struct fixture *f, struct client *client, const char *folder)
{
	const char *value;
	char path[64];
	size_t len;
	int rc;

	if (!client->step) {
		begin(f, client);
		return;
	}
	sprintf(path, "%s/k%u", folder, (client->step - 1) % KEYS);
	if (client->step <= KEYS) {
		(void)xn_xs_conn_read(client->conn, client->tx, path, &value, &len);
	} else if (client->step <= 2 * KEYS) {
		(void)xn_xs_conn_writef(client->conn, client->tx, path, "%u", pick(f, 1000000));
	} else {
		rc = xn_xs_conn_end(client->conn, client->tx, true);
		assert_true(!rc || rc == -EAGAIN);
		client->committed += !rc;
		client->aborted += rc != 0;
		client->step = 0;
		return;
	}
	client->step++;
}

static void each_gets_its_turn_and_hardly_any_aborts(void **state)
{
	struct fixture *f = *state;
	unsigned committed = 0, aborted = 0;

	for (unsigned i = 0; i < 1000000; i++) {
		struct client *client = &f->clients[pick(f, CLIENTS)];

		f->now_us += 2;
		if (!client->wait_until || f->now_us >= client->wait_until)
			step(f, client, "/keys");
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		committed += f->clients[i].committed;
		aborted += f->clients[i].aborted;
		assert_in_range(f->clients[i].committed, 1000, 4000); /* fair */
		assert_in_range(f->clients[i].longest_wait_us, 1, 20000);
	}
	assert_true(committed > 10000);
	assert_in_range(aborted, 1, CLIENTS); /* each must find out that it has a fight */
}

static void those_on_different_paths_are_never_held_back(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 100000; i++) {
		unsigned which = pick(f, CLIENTS);
		char folder[32];

		f->now_us += 2;
		sprintf(folder, "/shared/parent/c%u", which);
		step(f, &f->clients[which], folder);
		assert_int_equal(f->clients[which].wait_until, 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_int_equal(f->clients[i].aborted, 0);
		assert_true(f->clients[i].committed > 100);
	}
}

static void touch(struct xn_xs_conn *conn, uint32_t tx)
{
	const char *value;
	size_t len;

	(void)xn_xs_conn_read(conn, tx, "/common/k", &value, &len);
	assert_int_equal(xn_xs_conn_writef(conn, tx, "/common/k", "%p%u", (void *)conn, tx), 0);
}

/* @loser and @winner have fought once. */
static void given_a_fight(struct xn_xs_conn *loser, struct xn_xs_conn *winner)
{
	uint32_t a, b;

	assert_int_equal(xn_xs_conn_begin(loser, &a), 0);
	assert_int_equal(xn_xs_conn_begin(winner, &b), 0);
	touch(loser, a);
	touch(winner, b);
	assert_int_equal(xn_xs_conn_end(winner, b, true), 0);
	assert_int_equal(xn_xs_conn_end(loser, a, true), -EAGAIN);
}

static void hold(struct fixture *f, struct xn_xs_conn *conn, uint32_t *tx)
{
	assert_int_equal(xn_xs_conn_hold_until(conn, f->now_us), 0);
	assert_int_equal(xn_xs_conn_begin(conn, tx), 0);
}

static void a_guest_never_holds_up_the_control_domain(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_conn *dom0 = f->clients[0].conn;
	uint32_t tx;

	given_a_fight(f->guest, dom0);
	given_a_fight(dom0, f->guest);
	hold(f, f->guest, &tx);
	assert_int_equal(xn_xs_conn_hold_until(dom0, f->now_us), 0);
}

static void winner_and_loser_wait_for_each_other(void **state)
{
	struct fixture *f = *state;
	uint32_t tx;

	given_a_fight(f->guest, f->other_guest);
	hold(f, f->guest, &tx);
	assert_int_not_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	assert_int_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
	/* It has its turn now, though it has not begun. */
	assert_int_not_equal(xn_xs_conn_hold_until(f->guest, f->now_us), 0);
}

static void a_winner_that_has_begun_again_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_conn *a = f->clients[0].conn, *b = f->clients[1].conn;
	uint32_t tx_a, tx_b;

	hold(f, a, &tx_a);
	hold(f, b, &tx_b);
	touch(a, tx_a);
	touch(b, tx_b);
	assert_int_equal(xn_xs_conn_end(a, tx_a, true), 0);
	hold(f, a, &tx_a); /* nobody has lost yet */
	assert_int_equal(xn_xs_conn_end(b, tx_b, true), -EAGAIN);
	assert_int_not_equal(xn_xs_conn_hold_until(b, f->now_us), 0);
	assert_int_equal(xn_xs_conn_end(a, tx_a, true), 0);
	assert_int_equal(xn_xs_conn_hold_until(b, f->now_us), 0);
}

static void one_that_does_not_end_holds_the_others_for_its_lease_only(void **state)
{
	struct fixture *f = *state;
	uint64_t until;
	uint32_t tx, other;

	given_a_fight(f->guest, f->other_guest);
	hold(f, f->guest, &tx);
	until = xn_xs_conn_hold_until(f->other_guest, f->now_us);
	assert_in_range(until - f->now_us, 1, 20000);
	f->now_us = until;
	assert_int_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
	assert_int_equal(xn_xs_conn_begin(f->other_guest, &other), 0);
	assert_int_equal(xn_xs_conn_end(f->other_guest, other, false), 0);
	/* And then nobody until it has been quick once. */
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	hold(f, f->guest, &tx);
	assert_int_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
	assert_int_equal(xn_xs_conn_begin(f->other_guest, &other), 0);
	assert_int_equal(xn_xs_conn_end(f->other_guest, other, false), 0);
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	hold(f, f->guest, &tx);
	assert_int_not_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
}

static void whoever_waits_longest_is_next(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_conn *a = f->clients[0].conn, *b = f->clients[1].conn;
	struct xn_xs_conn *c = f->clients[2].conn;
	uint32_t tx;

	given_a_fight(a, b);
	given_a_fight(c, b);
	hold(f, a, &tx);
	assert_int_not_equal(xn_xs_conn_hold_until(c, f->now_us), 0);
	assert_int_not_equal(xn_xs_conn_hold_until(b, f->now_us), 0);
	assert_int_equal(xn_xs_conn_end(a, tx, true), 0);
	assert_int_not_equal(xn_xs_conn_hold_until(a, f->now_us), 0);
	assert_int_not_equal(xn_xs_conn_hold_until(b, f->now_us), 0);
	hold(f, c, &tx);
	assert_int_equal(xn_xs_conn_end(c, tx, true), 0);
	hold(f, b, &tx);
	/* However it goes, nobody waits longer than this. */
	assert_in_range(xn_xs_conn_hold_until(a, f->now_us) - f->now_us, 1, 200000);
}

static void one_that_goes_away_lets_the_others_go(void **state)
{
	struct fixture *f = *state;
	struct client *waiting = &f->clients[0];
	uint32_t tx;

	xn_xs_conn_when_free(f->other_guest, on_free, waiting);
	given_a_fight(f->guest, f->other_guest);
	hold(f, f->guest, &tx);
	waiting->wait_until = xn_xs_conn_hold_until(f->other_guest, f->now_us);
	assert_int_not_equal(waiting->wait_until, 0);
	xn_xs_conn_free(f->guest);
	f->guest = NULL;
	assert_int_equal(waiting->wait_until, 0); /* told */
}

static void a_fight_is_forgotten_when_nobody_waits_any_more(void **state)
{
	struct fixture *f = *state;
	uint32_t tx;

	given_a_fight(f->guest, f->other_guest);
	for (int i = 0; i < 64; i++) {
		hold(f, f->guest, &tx);
		touch(f->guest, tx);
		assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	}
	hold(f, f->guest, &tx);
	assert_int_equal(xn_xs_conn_hold_until(f->other_guest, f->now_us), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(each_gets_its_turn_and_hardly_any_aborts),
		T(those_on_different_paths_are_never_held_back),
		T(a_guest_never_holds_up_the_control_domain),
		T(winner_and_loser_wait_for_each_other),
		T(a_winner_that_has_begun_again_is_waited_for),
		T(one_that_does_not_end_holds_the_others_for_its_lease_only),
		T(whoever_waits_longest_is_next),
		T(one_that_goes_away_lets_the_others_go),
		T(a_fight_is_forgotten_when_nobody_waits_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
