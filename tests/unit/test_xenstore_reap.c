/* Large trees are removed at once and freed in slices; accounts are right at the beginning and end.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANY = 20000 };

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_domain *dom0, *domain;
	struct xn_xs_conn *conn, *guest; /* 0, 5 */
	unsigned n_wakes, n_commits, n_events;
};

static void wake(void *arg)
{
	struct fixture *f = arg;

	f->n_wakes++;
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(wake, f);
	f->dom0 = xn_xs_domain_find(f->store, 0);
	f->conn = xn_xs_conn_new(f->dom0);
	f->domain = xn_xs_domain_add(f->store, 5);
	f->guest = xn_xs_conn_new(f->domain);
	xn_xs_domain_set_limit(f->domain, XN_XS_QUOTA_NODES, (struct xn_xs_limit){0});
	xn_xs_domain_set_limit(f->domain, XN_XS_QUOTA_MEMORY, (struct xn_xs_limit){0});
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->conn);
	xn_xs_conn_free(f->guest);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static unsigned deliver_all(struct fixture *f)
{
	unsigned n = 1;

	while (xn_xs_store_deliver(f->store, 16))
		n++;
	return n;
}

static int read_rc(struct fixture *f, const char *path)
{
	const char *value;
	size_t len;

	return xn_xs_conn_read(f->conn, 0, path, &value, &len);
}

static void given_many(struct xn_xs_conn *conn, const char *top)
{
	char path[64];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "%s/%u/%u", top, i / 100, i);
		assert_int_equal(xn_xs_conn_write_string(conn, 0, path, "v"), 0);
	}
}

static void a_large_tree_is_gone_at_once_and_freed_in_slices(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_account before = f->dom0->account;

	given_many(f->conn, "/a");
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/a"), 0);
	assert_int_equal(read_rc(f, "/a"), -ENOENT);
	assert_int_equal(f->n_wakes, 1);
	assert_true(f->dom0->account.nodes > before.nodes);
	assert_int_equal(xn_xs_conn_write_string(f->conn, 0, "/a/5/500", "new"), 0);
	assert_in_range(deliver_all(f), 5, 1000);
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/a"), 0);
	assert_memory_equal(&f->dom0->account, &before, sizeof(before));
}

static void a_removal_that_is_undone_leaves_the_accounts_as_they_were(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_account before;
	const char *value;
	size_t len;
	uint32_t tx;

	given_many(f->conn, "/a");
	assert_int_equal(xn_xs_conn_write_string(f->conn, 0, "/b", "1"), 0);
	before = f->dom0->account;
	assert_int_equal(xn_xs_conn_begin(f->conn, &tx), 0);
	assert_int_equal(xn_xs_conn_rm(f->conn, tx, "/a"), 0);
	assert_int_equal(xn_xs_conn_read(f->conn, tx, "/b", &value, &len), 0);
	assert_int_equal(xn_xs_conn_write_string(f->conn, 0, "/b", "2"), 0);
	assert_int_equal(xn_xs_conn_end(f->conn, tx, true), -EAGAIN);
	assert_int_equal(read_rc(f, "/a/199/19999"), 0);
	assert_memory_equal(&f->dom0->account, &before, sizeof(before));
	assert_int_equal(deliver_all(f), 1);
}

static void a_domain_with_a_great_many_nodes_dies_in_slices(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_account before = f->dom0->account;

	assert_int_equal(xn_xs_conn_mkdir(f->conn, 0, "/common"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/common", "b0", 2), 0);
	for (unsigned i = 0; i < MANY; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/common/%u", i);
		assert_int_equal(xn_xs_conn_write_string(f->guest, 0, path, "v"), 0);
	}
	xn_xs_conn_free(f->guest);
	f->guest = NULL;
	xn_xs_domain_release(f->domain);
	assert_null(xn_xs_domain_find(f->store, 5));
	assert_non_null(xn_xs_domain_add(f->store, 5)); /* which has nothing to do with them */
	assert_int_equal(xn_xs_domain_find(f->store, 5)->account.nodes, 0);
	assert_in_range(deliver_all(f), 2, 1000);
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/common/1"), 0);
	for (unsigned i = 0; i < MANY; i += 1000) {
		char path[64];

		snprintf(path, sizeof(path), "/common/%u", i);
		assert_int_equal(read_rc(f, path), -ENOENT);
	}
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/common"), 0);
	deliver_all(f);
	assert_memory_equal(&f->dom0->account, &before, sizeof(before));
}

static void removed_trees_of_a_domain_that_dies_meanwhile_are_no_trouble(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_xs_conn_mkdir(f->conn, 0, "/home"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/home", "n5", 2), 0);
	given_many(f->guest, "/home");
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/home"), 0);
	assert_true(f->domain->account.nodes > 0);
	xn_xs_conn_free(f->guest);
	f->guest = NULL;
	xn_xs_domain_release(f->domain);
	deliver_all(f);
	assert_int_equal(f->dom0->account.nodes, 1);
}

/* The daemon was killed while a dead domain's nodes were being removed. */
static void what_a_dead_domain_left_goes_after_a_restart_too(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_store *again = xn_xs_store_new(NULL, NULL);
	char cursor[XN_XS_PATH_MAX + 1] = "";
	struct xn_buf image = {0};
	uint64_t n = 0;

	assert_int_equal(xn_xs_conn_mkdir(f->conn, 0, "/home"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/home", "n5", 2), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/home/x", "v"), 0);
	xn_xs_slice_put(f->store, cursor, 1000, SIZE_MAX / 2, &image, &n);
	assert_int_equal(xn_xs_slice_load(again, (struct xn_xs_text){image.data, image.len}), 0);
	while (xn_xs_store_deliver(again, 16))
		;
	assert_int_equal(xn_xs_domain_find(again, 0)->account.nodes, 1);
	xn_buf_clear(&image);
	xn_xs_store_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(a_large_tree_is_gone_at_once_and_freed_in_slices),
		T(a_removal_that_is_undone_leaves_the_accounts_as_they_were),
		T(a_domain_with_a_great_many_nodes_dies_in_slices),
		T(removed_trees_of_a_domain_that_dies_meanwhile_are_no_trouble),
		T(what_a_dead_domain_left_goes_after_a_restart_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
