/*
 * Transactions that keep conflicting on the same paths take turns. Who lost a conflict, and who won
 * it, have fought for a path; when one of them begins the next transaction while another one's is
 * open, its start is held back until that one has ended. Who never fought is never held back, so
 * transactions on different paths run side by side.
 *
 * A guest's single changes to what a transaction of the control domain has lost to wait for it, too:
 * else a guest that writes all the time would let none of those commit that read what it writes.
 *
 * Bounds: nobody waits longer than MAX_WAIT_US. An open transaction holds others back for its lease
 * at most; who did not end in time holds nobody back any more until it has once been quick. One of
 * a guest never holds back the control domain. After some commits for which nobody waited the fight
 * is forgotten. Time is passed in.
 */
#include "modules/xenstore/store/store_internal.h"

enum {
	LEASE_US = 20000,
	LEASE_OF_DOM0_US = 100000,
	MAX_WAIT_US = 200000,
	CALM_COMMITS = 64, /* until peace */
};

static bool has_fought(const struct xn_xs_conn *conn)
{
	return conn->fought[0] != 0;
}

static bool have_fought(const struct xn_xs_conn *a, const struct xn_xs_conn *b)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(a->fought) && a->fought[i]; i++)
		for (size_t j = 0; j < XN_ARRAY_SIZE(b->fought) && b->fought[j]; j++)
			if (a->fought[i] == b->fought[j])
				return true;
	return false;
}

static void take_turn(struct xn_xs_conn *conn, uint64_t now)
{
	xn_list_remove(&conn->waiter);
	xn_list_remove(&conn->fighter);
	xn_list_push(&conn->store->fighters, &conn->fighter);
	conn->lease_until =
		now + (xn_xs_domain_is_privileged(conn->domain) ? LEASE_OF_DOM0_US : LEASE_US);
}

static void remember(struct xn_xs_conn *conn, uint64_t path_hash)
{
	size_t i, n = XN_ARRAY_SIZE(conn->fought);

	for (i = 0; i < n - 1 && conn->fought[i] && conn->fought[i] != path_hash; i++)
		;
	memmove(conn->fought + 1, conn->fought, i * sizeof(conn->fought[0]));
	conn->fought[0] = path_hash;
	conn->n_calm = 0;
	/* A winner may have begun again before anybody knew. */
	if (!xn_list_empty(&conn->transactions) && xn_list_empty(&conn->fighter))
		take_turn(conn, conn->store->now_us);
}

static struct xn_xs_writer *writer_of(struct xn_xs_store *store, uint64_t path_hash)
{
	return &store->writers[path_hash % XN_ARRAY_SIZE(store->writers)];
}

static uint64_t hash_of(const char *path, size_t len)
{
	return xn_hash_bytes(path, len) | 1; /* 0: none */
}

void xn_xs_contention_won(struct xn_xs_conn *conn, bool by_transaction)
{
	struct xn_xs_store *store = conn->store;

	if (store->n_open < (by_transaction ? 2u : 1u)) /* nobody can have lost */
		return;
	for (size_t i = 0; i < store->n_changes; i++) {
		const struct xn_xs_change *change = &store->changes[i];
		uint64_t hash = hash_of(change->path, change->path_len);

		*writer_of(store, hash) = (struct xn_xs_writer){hash, conn};
	}
	conn->is_writer = true;
}

void xn_xs_contention_lost(struct xn_xs_conn *conn, const char *path, size_t len)
{
	uint64_t hash = hash_of(path, len);
	struct xn_xs_writer *writer = writer_of(conn->store, hash);

	remember(conn, hash);
	if (writer->path_hash == hash && writer->conn && writer->conn != conn)
		remember(writer->conn, hash);
}

/* Whether @other's transaction, open or about to be, keeps @conn's from beginning. */
static bool holds_back(struct xn_xs_conn *other, const struct xn_xs_conn *conn, uint64_t now)
{
	if (other == conn || !have_fought(other, conn))
		return false;
	if (now >= other->lease_until)
		other->is_slow = true;
	return !other->is_slow && (xn_xs_domain_is_privileged(other->domain) ||
				   !xn_xs_domain_is_privileged(conn->domain));
}

static struct xn_xs_conn *who_holds_back(struct xn_xs_conn *conn, uint64_t now)
{
	xn_list_each(link, &conn->store->fighters) {
		struct xn_xs_conn *other = xn_list_entry(link, struct xn_xs_conn, fighter);

		if (holds_back(other, conn, now))
			return other;
	}
	return NULL;
}

/* The control domain's one that has fought with @conn. */
static struct xn_xs_conn *who_is_to_go_first(struct xn_xs_conn *conn, uint64_t now)
{
	xn_list_each(link, &conn->store->fighters) {
		struct xn_xs_conn *other = xn_list_entry(link, struct xn_xs_conn, fighter);

		if (xn_xs_domain_is_privileged(other->domain) && holds_back(other, conn, now))
			return other;
	}
	return NULL;
}

uint64_t xn_xs_conn_yield_until(struct xn_xs_conn *conn, uint64_t now_us)
{
	bool is_waiting = !xn_list_empty(&conn->waiter);
	struct xn_xs_conn *other;

	if (xn_xs_domain_is_privileged(conn->domain) || !has_fought(conn))
		return 0;
	conn->store->now_us = now_us;
	if (!is_waiting)
		conn->wait_until = now_us + MAX_WAIT_US;
	other = now_us < conn->wait_until ? who_is_to_go_first(conn, now_us) : NULL;
	conn->only_yields = other != NULL;
	if (!other) {
		xn_list_remove(&conn->waiter);
		return 0;
	}
	if (!is_waiting)
		xn_list_push(&conn->store->waiters, &conn->waiter);
	return conn->wait_until < other->lease_until ? conn->wait_until : other->lease_until;
}

uint64_t xn_xs_conn_hold_until(struct xn_xs_conn *conn, uint64_t now_us)
{
	struct xn_xs_store *store = conn->store;
	bool is_waiting = !xn_list_empty(&conn->waiter);
	struct xn_xs_conn *other;

	store->now_us = now_us;
	if (!has_fought(conn))
		return 0;
	if (!xn_list_empty(&conn->fighter) && now_us < conn->lease_until)
		return 0; /* its turn was given to it */
	if (!is_waiting)
		conn->wait_until = now_us + MAX_WAIT_US;
	other = now_us < conn->wait_until ? who_holds_back(conn, now_us) : NULL;
	if (!other) {
		take_turn(conn, now_us);
		return 0;
	}
	if (!is_waiting)
		xn_list_push(&store->waiters, &conn->waiter);
	conn->only_yields = false;
	return conn->wait_until < other->lease_until ? conn->wait_until : other->lease_until;
}

void xn_xs_conn_when_free(struct xn_xs_conn *conn, void (*go)(void *arg), void *arg)
{
	conn->go = go;
	conn->go_arg = arg;
}

static bool someone_waits_for(const struct xn_xs_conn *conn)
{
	xn_list_each(link, &conn->store->waiters)
		if (have_fought(xn_list_entry(link, struct xn_xs_conn, waiter), conn))
			return true;
	return false;
}

static void make_peace(struct xn_xs_conn *conn)
{
	memset(conn->fought, 0, sizeof(conn->fought));
}

/* Whoever waited longest first. */
static void let_others_go(struct xn_xs_store *store)
{
	xn_list_each_safe(link, &store->waiters) {
		struct xn_xs_conn *conn = xn_list_entry(link, struct xn_xs_conn, waiter);

		if (conn->only_yields ? who_is_to_go_first(conn, store->now_us)
				      : who_holds_back(conn, store->now_us))
			continue;
		if (conn->only_yields)
			xn_list_remove(&conn->waiter);
		else
			take_turn(conn, store->now_us);
		if (conn->go)
			conn->go(conn->go_arg);
	}
}

void xn_xs_contention_ended(struct xn_xs_conn *conn, bool is_committed)
{
	if (!has_fought(conn))
		return;
	if (conn->store->now_us < conn->lease_until)
		conn->is_slow = false;
	if (someone_waits_for(conn))
		conn->n_calm = 0;
	else if (is_committed && ++conn->n_calm >= CALM_COMMITS)
		make_peace(conn);
	xn_xs_contention_leave(conn);
}

void xn_xs_contention_leave(struct xn_xs_conn *conn)
{
	xn_list_remove(&conn->waiter);
	xn_list_remove(&conn->fighter);
	let_others_go(conn->store);
}

void xn_xs_contention_forget(struct xn_xs_conn *conn)
{
	struct xn_xs_store *store = conn->store;

	xn_xs_contention_leave(conn);
	for (size_t i = 0; conn->is_writer && i < XN_ARRAY_SIZE(store->writers); i++)
		if (store->writers[i].conn == conn)
			store->writers[i] = (struct xn_xs_writer){0};
}
