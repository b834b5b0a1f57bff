/*
 * Commit or nothing: random requests of guests under tight quotas, alone and in transactions.
 * Whatever is refused has changed nothing, and the accounts are those of the tree.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNS = 4, DOMIDS = 3 }; /* the last two connections are of one guest */

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_conn *conns[CONNS];
	uint32_t tx[CONNS]; /* 0: none open */
	unsigned n_refused_commits, n_refused, n_commits, n_conflicts;
	uint64_t random;
};

static const struct {
	enum xn_xs_quota quota;
	uint64_t hard;
} limits[] = {
	{XN_XS_QUOTA_NODES, 12}, {XN_XS_QUOTA_NODE_SIZE, 60},        {XN_XS_QUOTA_PERMS, 2},
	{XN_XS_QUOTA_PATH, 8},   {XN_XS_QUOTA_TRANSACTION_NODES, 6}, {XN_XS_QUOTA_MEMORY, 6000},
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->random = 11;
	for (size_t i = 0; i < XN_ARRAY_SIZE(limits); i++)
		xn_xs_store_set_limit(f->store, limits[i].quota,
				      (struct xn_xs_limit){.hard = limits[i].hard});
	for (uint32_t i = 0; i < CONNS; i++) {
		uint32_t domid = i < DOMIDS ? i : DOMIDS - 1;
		struct xn_xs_domain *domain = xn_xs_domain_find(f->store, domid);

		f->conns[i] = xn_xs_conn_new(domain ? domain : xn_xs_domain_add(f->store, domid));
	}
	assert_int_equal(xn_xs_conn_set_perms(f->conns[0], 0, "/", "b0", 2), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < CONNS; i++)
		xn_xs_conn_free(f->conns[i]);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static unsigned pick(struct fixture *f, unsigned n)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(f->random >> 33) % n;
}

/* Every node with permissions and generation, and what the domains are charged for nodes. */
static void picture(struct fixture *f, struct xn_buf *out)
{
	char cursor[XN_XS_PATH_MAX + 1] = "";
	uint64_t n = 0;

	out->len = 0;
	xn_xs_slice_put(f->store, cursor, 100000, SIZE_MAX / 2, out, &n);
	for (uint32_t domid = 0; domid < DOMIDS; domid++) {
		const struct xn_xs_account *account = &xn_xs_domain_find(f->store, domid)->account;

		xn_buf_printf(out, "%ju %ju ", (uintmax_t)account->nodes,
			      (uintmax_t)account->node_bytes);
	}
	xn_buf_printf(out, "%ju", (uintmax_t)xn_xs_store_generation(f->store));
}

static void assert_accounts_are_the_trees(struct fixture *f)
{
	uint64_t nodes[DOMIDS] = {0}, bytes[DOMIDS] = {0};
	unsigned level = 0;

	for (struct xn_xs_node *node = f->store->root; node;
	     node = xn_xs_node_next(f->store->root, node, &level)) {
		struct xn_xs_domain *owner = node->perms->entries[0].domain;

		if (!owner->alive)
			continue;
		nodes[owner->domid]++;
		bytes[owner->domid] += xn_xs_node_bytes(node);
		if (owner->domid)
			assert_ptr_equal(owner->owned->at[node->owned_at], node);
	}
	for (uint32_t domid = 0; domid < DOMIDS; domid++) {
		struct xn_xs_domain *domain = xn_xs_domain_find(f->store, domid);

		assert_int_equal(domain->account.nodes, nodes[domid]);
		assert_int_equal(domain->account.node_bytes, bytes[domid]);
		if (domid)
			assert_int_equal(domain->owned ? domain->owned->n : 0, nodes[domid]);
	}
}

static int random_request(struct fixture *f, struct xn_xs_conn *conn, uint32_t tx)
{
	char path[64] = "", text[100];
	const char *value;
	size_t len;

	for (unsigned depth = 1 + pick(f, 5); depth; depth--)
		sprintf(path + strlen(path), "/%c", (char)('a' + pick(f, 3)));
	switch (pick(f, 8)) {
	case 0:
		return xn_xs_conn_rm(conn, tx, path);
	case 1:
		sprintf(text, "%c%u r%u b%u", "nrwb"[pick(f, 4)], pick(f, 4), pick(f, 4),
			pick(f, 4));
		return xn_xs_conn_set_perms(conn, tx, path, text, strlen(text) - 3 * pick(f, 3));
	case 2:
		return xn_xs_conn_mkdir(conn, tx, path);
	case 3:
		return xn_xs_conn_read(conn, tx, path, &value, &len);
	default:
		return xn_xs_conn_writef(conn, tx, path, "%0*u", 1 + (int)pick(f, 60), 1);
	}
}

static void end(struct fixture *f, unsigned i, const struct xn_buf *before)
{
	struct xn_buf after = {0};
	int rc = xn_xs_conn_end(f->conns[i], f->tx[i], true);

	f->tx[i] = 0;
	f->n_commits += !rc;
	f->n_conflicts += rc == -EAGAIN;
	f->n_refused_commits += rc == -ENOSPC;
	assert_true(!rc || rc == -EAGAIN || rc == -ENOSPC);
	picture(f, &after);
	if (rc) {
		assert_int_equal(after.len, before->len);
		assert_memory_equal(after.data, before->data, after.len);
	}
	xn_buf_clear(&after);
}

static void step(struct fixture *f)
{
	unsigned i = pick(f, CONNS);
	struct xn_buf before = {0}, after = {0};
	bool is_inside;
	int rc;

	if (!f->tx[i] && !pick(f, 3))
		assert_int_equal(xn_xs_conn_begin(f->conns[i], &f->tx[i]), 0);
	is_inside = f->tx[i] && pick(f, 4);
	picture(f, &before);
	if (f->tx[i] && !pick(f, 4)) {
		end(f, i, &before);
	} else {
		rc = random_request(f, f->conns[i], is_inside ? f->tx[i] : 0);
		f->n_refused += rc < 0;
		picture(f, &after);
		if (rc < 0 || is_inside) {
			assert_int_equal(after.len, before.len);
			assert_memory_equal(after.data, before.data, after.len);
		}
	}
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

static void what_is_refused_has_changed_nothing(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 60000; i++) {
		step(f);
		assert_accounts_are_the_trees(f);
	}
	/* All ways were gone. */
	assert_true(f->n_commits > 1000);
	assert_true(f->n_conflicts > 100);
	assert_true(f->n_refused_commits > 100);
	assert_true(f->n_refused > 1000);
	for (unsigned i = 0; i < CONNS; i++)
		xn_xs_conn_reset(f->conns[i]);
	for (uint32_t domid = 0; domid < DOMIDS; domid++) {
		assert_int_equal(xn_xs_domain_find(f->store, domid)->account.transactions, 0);
		assert_int_equal(xn_xs_domain_find(f->store, domid)->account.transaction_bytes, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_refused_has_changed_nothing, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
