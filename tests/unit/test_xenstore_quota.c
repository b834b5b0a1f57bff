/* Quotas of the embedded store: what is refused, with which error, and that it then changed
 * nothing. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_domain *domain;
	struct xn_xs_conn *dom0, *guest; /* 0, 5 */
	char told[200];
};

static void note_told(const struct xn_xs_domain *domain, enum xn_xs_quota quota, uint64_t value,
		      bool is_hard, void *arg)
{
	struct fixture *f = arg;
	size_t at = strlen(f->told);

	snprintf(f->told + at, sizeof(f->told) - at, "%u:%s%s=%u ", domain->domid,
		 xn_xs_quotas[quota].name, is_hard ? "!" : "", (unsigned)value);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->dom0 = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->domain = xn_xs_domain_add(f->store, 5);
	f->guest = xn_xs_conn_new(f->domain);
	xn_xs_store_set_quota_told(f->store, note_told, f);
	assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, "/local/domain/5"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/local/domain/5", "n5", 2), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->dom0);
	xn_xs_conn_free(f->guest);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static void limit(struct fixture *f, enum xn_xs_quota quota, uint64_t soft, uint64_t hard)
{
	xn_xs_domain_set_limit(f->domain, quota, (struct xn_xs_limit){.soft = soft, .hard = hard});
}

static int put(struct fixture *f, uint32_t tx, const char *path)
{
	return xn_xs_conn_write_string(f->guest, tx, path, "v");
}

static void nodes_beyond_the_quota_are_refused_whole(void **state)
{
	struct fixture *f = *state;
	uint64_t generation;

	limit(f, XN_XS_QUOTA_NODES, 3, 4); /* its home is one */
	assert_int_equal(put(f, 0, "a/b"), 0);
	assert_string_equal(f->told, "");
	assert_int_equal(put(f, 0, "c"), 0);
	assert_string_equal(f->told, "5:nodes=4 ");
	generation = xn_xs_store_generation(f->store);
	assert_int_equal(put(f, 0, "d/e/f"), -ENOSPC);
	assert_string_equal(f->told, "5:nodes=4 5:nodes!=5 ");
	assert_int_equal(f->domain->account.nodes, 4);
	assert_int_equal(xn_xs_store_generation(f->store), generation);
	assert_int_equal(put(f, 0, "c"), 0); /* no new node */
	assert_int_equal(xn_xs_conn_rm(f->guest, 0, "a"), 0);
	assert_int_equal(put(f, 0, "d/e"), 0);
	assert_int_equal(f->domain->n_refused, 1);
}

static void the_control_domain_has_no_quotas(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_domain *dom0 = xn_xs_domain_find(f->store, 0);
	uint32_t tx;

	for (int i = 0; i < XN_XS_QUOTAS; i++)
		xn_xs_domain_set_limit(dom0, i, (struct xn_xs_limit){.hard = 1});
	for (int i = 0; i < 3; i++)
		assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/a/b/c", "value"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, tx, "/a", "n0 r5 r6", 8), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, true), 0);
	xn_xs_domain_charge(dom0, 100);
	assert_false(xn_xs_domain_is_full(dom0));
	xn_xs_domain_discharge(dom0, 100);
	/* Neither is what it does for a guest held against that one's. */
	limit(f, XN_XS_QUOTA_NODES, 1, 1);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/local/domain/5/x/y", "v"), 0);
	assert_int_equal(f->domain->account.nodes, 3);
}

static void each_quota_has_the_error_of_the_protocol(void **state)
{
	struct fixture *f = *state;
	char long_path[200] = "/local/domain/5/";
	uint32_t tx;

	limit(f, XN_XS_QUOTA_NODE_SIZE, 0, 20);
	assert_int_equal(xn_xs_conn_write(f->guest, 0, "n", "0123456789ab", 12), 0);
	assert_int_equal(xn_xs_conn_write(f->guest, 0, "n", "0123456789abc", 13), -ENOSPC);
	limit(f, XN_XS_QUOTA_PERMS, 0, 2);
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "n", "n5 r6", 5), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "n", "n5 r6 r7", 8), -ENOSPC);
	limit(f, XN_XS_QUOTA_PATH, 0, 100);
	memset(long_path + 16, 'x', 100);
	assert_int_equal(put(f, 0, long_path), 0);
	assert_int_equal(put(f, 0, long_path + 16), 0);
	long_path[116] = 'x';
	assert_int_equal(put(f, 0, long_path), -EINVAL);
	assert_int_equal(put(f, 0, long_path + 16), -EINVAL);
	limit(f, XN_XS_QUOTA_WATCHES, 0, 1);
	assert_int_equal(xn_xs_conn_watch(f->guest, "a", "1", -1, NULL, NULL, NULL), 0);
	assert_int_equal(xn_xs_conn_watch(f->guest, "a", "2", -1, NULL, NULL, NULL), -E2BIG);
	limit(f, XN_XS_QUOTA_TRANSACTIONS, 0, 1);
	assert_int_equal(xn_xs_conn_begin(f->guest, &tx), 0);
	assert_int_equal(xn_xs_conn_begin(f->guest, &tx), -ENOSPC);
	limit(f, XN_XS_QUOTA_MEMORY, 0, xn_xs_domain_used(f->domain, XN_XS_QUOTA_MEMORY) + 200);
	assert_int_equal(put(f, 0, "m1"), 0);
	for (int i = 0; i < 3; i++)
		(void)put(f, 0, i == 0 ? "m2" : i == 1 ? "m3" : "m4");
	assert_int_equal(put(f, 0, "m5"), -ENOSPC);
}

/* XSA-414, 415 */
static void a_refused_creation_in_a_transaction_leaves_no_orphans(void **state)
{
	struct fixture *f = *state;
	struct xn_buf names = {0};
	uint32_t tx;

	limit(f, XN_XS_QUOTA_NODES, 0, 3);
	assert_int_equal(xn_xs_conn_begin(f->guest, &tx), 0);
	assert_int_equal(put(f, tx, "a"), 0);
	assert_int_equal(put(f, tx, "b/c/d"), -ENOSPC);
	assert_int_equal(xn_xs_conn_directory(f->guest, tx, "/local/domain/5", &names), 0);
	assert_string_equal(xn_buf_cstr(&names), "a");
	assert_int_equal(put(f, tx, "b"), 0);
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	assert_int_equal(f->domain->account.nodes, 3);
	names.len = 0;
	assert_int_equal(xn_xs_conn_directory(f->dom0, 0, "/local/domain/5", &names), 0);
	assert_memory_equal(names.data, "a\0b", 4);
	xn_buf_clear(&names);
}

static void a_quota_that_others_filled_meanwhile_ends_the_commit_with_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t generation;
	uint32_t tx;

	limit(f, XN_XS_QUOTA_NODES, 0, 4);
	assert_int_equal(xn_xs_conn_begin(f->guest, &tx), 0);
	assert_int_equal(put(f, tx, "a"), 0);
	assert_int_equal(put(f, tx, "b"), 0);
	assert_int_equal(put(f, 0, "c"), 0);
	assert_int_equal(put(f, 0, "d"), 0);
	generation = xn_xs_store_generation(f->store);
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), -ENOSPC);
	assert_int_equal(f->domain->account.nodes, 3);
	assert_int_equal(f->domain->account.transactions, 0);
	assert_int_equal(f->domain->account.transaction_bytes, 0);
	assert_int_equal(xn_xs_store_generation(f->store), generation);
}

static void a_transaction_remembers_so_many_requests(void **state)
{
	struct fixture *f = *state;
	const char *value;
	size_t len;
	uint32_t tx;

	limit(f, XN_XS_QUOTA_TRANSACTION_NODES, 0, 3);
	assert_int_equal(xn_xs_conn_begin(f->guest, &tx), 0);
	assert_int_equal(xn_xs_conn_read(f->guest, tx, "a", &value, &len), -ENOENT);
	assert_int_equal(xn_xs_conn_read(f->guest, tx, "a", &value, &len), -ENOENT);
	assert_int_equal(put(f, tx, "a"), 0);
	assert_int_equal(put(f, tx, "b"), 0);
	assert_int_equal(put(f, tx, "c"), -ENOSPC);
	assert_int_equal(xn_xs_conn_read(f->guest, tx, "a", &value, &len), -ENOSPC);
	assert_int_equal(xn_xs_conn_end(f->guest, tx, true), 0);
	assert_int_equal(f->domain->account.nodes, 3);
}

static void buffers_fill_and_drain(void **state)
{
	struct fixture *f = *state;

	limit(f, XN_XS_QUOTA_BUFFERS, 0, 1000);
	xn_xs_domain_charge(f->domain, 1000);
	assert_false(xn_xs_domain_is_full(f->domain));
	xn_xs_domain_charge(f->domain, 1);
	assert_true(xn_xs_domain_is_full(f->domain));
	assert_int_equal(xn_xs_domain_used(f->domain, XN_XS_QUOTA_BUFFERS), 1001);
	xn_xs_domain_discharge(f->domain, 1001);
	assert_false(xn_xs_domain_is_full(f->domain));
}

/* XSA-483 */
static void a_reused_domid_starts_with_an_empty_account_and_the_common_limits(void **state)
{
	struct fixture *f = *state;

	limit(f, XN_XS_QUOTA_NODES, 0, 2);
	assert_int_equal(put(f, 0, "a"), 0);
	assert_int_equal(put(f, 0, "b"), -ENOSPC);
	xn_xs_conn_free(f->guest);
	xn_xs_domain_release(f->domain);
	f->domain = xn_xs_domain_add(f->store, 5);
	f->guest = xn_xs_conn_new(f->domain);
	assert_int_equal(f->domain->account.nodes, 0);
	assert_int_equal(xn_xs_domain_limit(f->domain, XN_XS_QUOTA_NODES).hard,
			 xn_xs_quotas[XN_XS_QUOTA_NODES].limit.hard);
	assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, "/local/domain/5"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/local/domain/5", "n5", 2), 0);
	for (unsigned i = 1; i < xn_xs_quotas[XN_XS_QUOTA_NODES].limit.hard; i++) {
		char name[16];

		sprintf(name, "n%u", i);
		assert_int_equal(put(f, 0, name), 0);
	}
	assert_int_equal(put(f, 0, "more"), -ENOSPC);
	assert_int_equal(f->domain->account.nodes, xn_xs_quotas[XN_XS_QUOTA_NODES].limit.hard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(nodes_beyond_the_quota_are_refused_whole),
		T(the_control_domain_has_no_quotas),
		T(each_quota_has_the_error_of_the_protocol),
		T(a_refused_creation_in_a_transaction_leaves_no_orphans),
		T(a_quota_that_others_filled_meanwhile_ends_the_commit_with_nothing),
		T(a_transaction_remembers_so_many_requests),
		T(buffers_fill_and_drain),
		T(a_reused_domid_starts_with_an_empty_account_and_the_common_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
