/* The embedded store's requests, permissions, identities and accounts. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_conn *dom0, *guest, *other; /* 0, 5, 6 */
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->dom0 = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->guest = xn_xs_conn_new(xn_xs_domain_add(f->store, 5));
	f->other = xn_xs_conn_new(xn_xs_domain_add(f->store, 6));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->dom0);
	xn_xs_conn_free(f->guest);
	xn_xs_conn_free(f->other);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static void given(struct fixture *f, const char *path, const char *value, const char *perms)
{
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, path, value), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, path, perms, strlen(perms)), 0);
}

static void assert_value(struct xn_xs_conn *conn, const char *path, const char *expected)
{
	const char *value;
	size_t len;

	assert_int_equal(xn_xs_conn_read(conn, 0, path, &value, &len), 0);
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(value, expected, len);
}

static int read_rc(struct xn_xs_conn *conn, const char *path)
{
	const char *value;
	size_t len;

	return xn_xs_conn_read(conn, 0, path, &value, &len);
}

/* NULs shown as commas. */
static void assert_list(struct xn_buf *names, const char *expected)
{
	for (size_t i = 0; i < names->len; i++)
		if (!names->data[i])
			names->data[i] = ',';
	assert_string_equal(xn_buf_cstr(names), expected);
	xn_buf_clear(names);
}

static void assert_directory(struct xn_xs_conn *conn, const char *path, const char *expected)
{
	struct xn_buf names = {0};

	assert_int_equal(xn_xs_conn_directory(conn, 0, path, &names), 0);
	assert_list(&names, expected);
}

static void assert_perms(struct xn_xs_conn *conn, const char *path, const char *expected)
{
	struct xn_buf text = {0};

	assert_int_equal(xn_xs_conn_get_perms(conn, 0, path, &text), 0);
	assert_list(&text, expected);
}

static void writing_a_deep_path_makes_its_parents(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/a/b/c", "v"), 0);
	assert_value(f->dom0, "/a/b/c", "v");
	assert_value(f->dom0, "/a/b", "");
	assert_directory(f->dom0, "/a", "b,");
}

static void children_are_listed_in_byte_order(void **state)
{
	struct fixture *f = *state;
	const char *const names[] = {"/d/b", "/d/a", "/d/10", "/d/9", "/d/B", "/d/ab", "/d/a/x"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, names[i]), 0);
	assert_directory(f->dom0, "/d", "10,9,B,a,ab,b,");
}

static void values_grow_and_shrink_and_may_hold_nuls(void **state)
{
	struct fixture *f = *state;
	char big[XN_XS_VALUE_MAX + 1];
	const char *value;
	size_t len;

	memset(big, 'x', sizeof(big));
	for (size_t n = 0; n <= XN_XS_VALUE_MAX; n = n * 2 + 1) {
		big[n / 2] = '\0';
		assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/v", big, n), 0);
		assert_int_equal(xn_xs_conn_read(f->dom0, 0, "/v", &value, &len), 0);
		assert_int_equal(len, n);
		assert_memory_equal(value, big, n);
	}
	assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/v", "ab", 2), 0);
	assert_value(f->dom0, "/v", "ab");
	assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/v", big, sizeof(big)), -E2BIG);
	assert_value(f->dom0, "/v", "ab");
}

static void bad_paths_are_refused(void **state)
{
	struct fixture *f = *state;
	char long_path[XN_XS_PATH_MAX + 2];
	const char *const bad[] = {"",     "/a/",  "//",         "/a//b", "a/",
				   "/a b", "/a.b", "/a\xc3\xa4", "/a\n",  "@introduceDomain",
				   "@x",   "/a:b"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, bad[i], "v"), -EINVAL);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[0] = '/';
	long_path[XN_XS_PATH_MAX + 1] = '\0';
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, long_path, "v"), -EINVAL);
	long_path[XN_XS_PATH_MAX] = '\0';
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, long_path, "v"), 0);
}

/* XSA-323: a path that one form of the limit allows must not make a node that the other hides. */
static void the_longest_relative_path_can_be_read_both_ways(void **state)
{
	struct fixture *f = *state;
	char relative[XN_XS_RELATIVE_PATH_MAX + 2], absolute[XN_XS_RELATIVE_PATH_MAX + 32];

	given(f, "/local/domain/5", "", "n5");
	memset(relative, 'y', sizeof(relative));
	relative[XN_XS_RELATIVE_PATH_MAX + 1] = '\0';
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, relative, "v"), -EINVAL);
	relative[XN_XS_RELATIVE_PATH_MAX] = '\0';
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, relative, "v"), 0);
	snprintf(absolute, sizeof(absolute), "/local/domain/5/%s", relative);
	assert_value(f->dom0, absolute, "v");
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, absolute), 0);
	assert_int_equal(read_rc(f->guest, relative), -ENOENT);
}

static void relative_paths_are_below_the_own_domain(void **state)
{
	struct fixture *f = *state;

	given(f, "/local/domain/5", "", "n5");
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "data/x", "1"), 0);
	assert_value(f->dom0, "/local/domain/5/data/x", "1");
	assert_value(f->guest, "data/x", "1");
}

static void removing_takes_what_is_below_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/a/b/c", "1"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/a/bb", "2"), 0);
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/a/b"), 0);
	assert_int_equal(read_rc(f->dom0, "/a/b/c"), -ENOENT);
	assert_value(f->dom0, "/a/bb", "2");
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/a/b"), 0);       /* parent is there */
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/x/y"), -ENOENT); /* parent is not */
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/"), -EINVAL);
}

/* XSA-418: the deepest possible tree, made, listed and removed on a small stack. */
static void the_deepest_tree_is_removed_without_recursion(void **state)
{
	struct fixture *f = *state;
	char path[XN_XS_PATH_MAX + 1];
	const struct xn_xs_account *account = &xn_xs_domain_find(f->store, 0)->account;
	uint64_t before = account->nodes;

	for (size_t i = 0; i < XN_XS_PATH_MAX; i += 2)
		memcpy(path + i, "/d", 2);
	path[XN_XS_PATH_MAX] = '\0';
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, path, "deep"), 0);
	assert_int_equal(account->nodes, before + XN_XS_PATH_MAX / 2);
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/d"), 0);
	assert_int_equal(account->nodes, before);
}

/* Names come and go at random; @there tells which should be there. */
static void assert_all_there(struct xn_xs_conn *conn, const bool *there, unsigned n)
{
	struct xn_buf names = {0}, expected = {0};

	assert_int_equal(xn_xs_conn_directory(conn, 0, "/big", &names), 0);
	for (unsigned i = 0; i < n; i++)
		if (there[i]) {
			xn_buf_printf(&expected, "k%05u", i);
			xn_buf_add_char(&expected, '\0');
		}
	assert_int_equal(names.len, expected.len);
	if (names.len)
		assert_memory_equal(names.data, expected.data, names.len);
	xn_buf_clear(&names);
	xn_buf_clear(&expected);
}

static void a_directory_of_many_children_stays_sorted(void **state)
{
	enum { N = 20000 };
	struct fixture *f = *state;
	bool *there = xn_calloc(N, sizeof(*there));
	uint64_t random = 3;
	char path[32];

	assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, "/big"), 0);
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 10000; i++) {
			unsigned k;

			random = random * 6364136223846793005u + 1442695040888963407u;
			k = round == 0 ? i : (unsigned)(random >> 33) % N;
			sprintf(path, "/big/k%05u", k);
			there[k] = round < 3 || round == 4 ? true : random >> 20 & 1;
			if (there[k])
				assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, path, "v"), 0);
			else
				assert_int_equal(xn_xs_conn_rm(f->dom0, 0, path), 0);
		}
		assert_all_there(f->dom0, there, N);
	}
	for (unsigned k = 0; k < N; k++) {
		sprintf(path, "/big/k%05u", k);
		assert_int_equal(read_rc(f->dom0, path), there[k] ? 0 : -ENOENT);
		if (k % 7)
			assert_int_equal(xn_xs_conn_rm(f->dom0, 0, path), 0);
		there[k] &= k % 7 == 0;
	}
	assert_all_there(f->dom0, there, N);
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/big"), 0);
	assert_int_equal(xn_xs_domain_find(f->store, 0)->account.nodes, 1);
	free(there);
}

static void long_lists_come_in_parts(void **state)
{
	struct fixture *f = *state;
	struct xn_buf whole = {0}, parts = {0}, cut = {0};
	uint64_t generation, later;
	bool is_end = false;
	char path[32];

	for (unsigned i = 0; i < 3000; i++) {
		sprintf(path, "/big/k%u", i);
		assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, path), 0);
	}
	assert_int_equal(xn_xs_conn_directory(f->dom0, 0, "/big", &whole), 0);
	for (unsigned n = 0; !is_end; n++) {
		size_t had = parts.len;

		assert_int_equal(xn_xs_conn_list(f->dom0, 0, "/big", parts.len, 100, &parts,
						 &is_end),
				 0);
		assert_in_range(parts.len - had, is_end ? 1 : 90, 100);
		if (n == 3) /* something else in between */
			assert_int_equal(
				xn_xs_conn_list(f->dom0, 0, "/", 0, 2, &cut, &is_end), 0);
	}
	assert_int_equal(parts.len, whole.len);
	assert_memory_equal(parts.data, whole.data, whole.len);
	assert_int_equal(xn_xs_conn_list(f->dom0, 0, "/big", whole.len, 100, &parts, &is_end), 0);
	assert_true(is_end && parts.len == whole.len);
	cut.len = 0;
	assert_int_equal(xn_xs_conn_list(f->dom0, 0, "/big", 4, 9, &cut, &is_end), 0);
	assert_memory_equal(cut.data, whole.data + 4, cut.len); /* wherever one likes to begin */
	assert_int_equal(xn_xs_conn_list(f->guest, 0, "/big", 0, 9, &cut, &is_end), -EACCES);
	assert_int_equal(xn_xs_conn_generation(f->dom0, 0, "/big", &generation), 0);
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/big/k0"), 0);
	assert_int_equal(xn_xs_conn_generation(f->dom0, 0, "/big", &later), 0);
	assert_int_not_equal(later, generation);
	xn_buf_clear(&whole);
	xn_buf_clear(&parts);
	xn_buf_clear(&cut);
}

static void guests_see_and_change_only_what_they_may(void **state)
{
	struct fixture *f = *state;

	given(f, "/secret", "s", "n0");
	given(f, "/public", "p", "r0");
	given(f, "/for5", "x", "n0 r5");
	given(f, "/wo", "x", "n0 w5");
	assert_int_equal(read_rc(f->guest, "/secret"), -EACCES);
	assert_int_equal(read_rc(f->guest, "/secret/below"), -EACCES);
	assert_value(f->guest, "/public", "p");
	assert_int_equal(read_rc(f->guest, "/public/below"), -ENOENT);
	assert_value(f->guest, "/for5", "x");
	assert_int_equal(read_rc(f->other, "/for5"), -EACCES);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/for5", "y"), -EACCES);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/wo", "y"), 0);
	assert_int_equal(read_rc(f->guest, "/wo"), -EACCES);
	assert_value(f->dom0, "/wo", "y");
}

/* XSA-353 */
static void guests_have_no_rights_at_the_root(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_xs_conn_rm(f->guest, 0, "/"), -EINVAL);
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "/", "b5", 2), -EACCES);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/new", ""), -EACCES);
	assert_int_equal(xn_xs_conn_mkdir(f->guest, 0, "/new"), -EACCES);
	assert_int_equal(read_rc(f->guest, "/"), -EACCES);
}

static void new_nodes_inherit_and_a_guests_are_its_own(void **state)
{
	struct fixture *f = *state;

	given(f, "/d", "", "n0 b5 r6");
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/d/of0", ""), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/d/of5/x", ""), 0);
	assert_perms(f->dom0, "/d/of0", "n0,b5,r6,");
	assert_perms(f->dom0, "/d/of5/x", "n5,b5,r6,");
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.nodes, 2);
}

/* XSA-352 */
static void only_domain_0_gives_nodes_away(void **state)
{
	struct fixture *f = *state;

	given(f, "/mine", "", "n5");
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "/mine", "n6", 2), -EPERM);
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "/mine", "r5 w6", 5), 0);
	assert_perms(f->dom0, "/mine", "r5,w6,");
	assert_int_equal(xn_xs_conn_set_perms(f->other, 0, "/mine", "r5", 2), -EACCES);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/mine", "n6", 2), 0);
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.nodes, 0);
	assert_int_equal(xn_xs_conn_domain(f->other)->account.nodes, 1);
}

static void bad_permissions_are_refused(void **state)
{
	struct fixture *f = *state;
	const char *const bad[] = {"",    " ", "n",    "x0",        "n0x",  "n32752",
				   "n-1", "0", "n0r5", "n99999999", "n0,r5"};
	struct xn_buf many = {0};

	assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, "/p"), 0);
	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/p", bad[i], strlen(bad[i])),
				 -EINVAL);
	for (unsigned i = 0; i <= XN_XS_PERMS_MAX; i++)
		xn_buf_printf(&many, "r%u ", i);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/p", many.data, many.len), -ENOSPC);
	xn_buf_clear(&many);
	assert_perms(f->dom0, "/p", "n0,");
}

/* XSA-322, 417, 483 */
static void a_reused_domid_inherits_nothing(void **state)
{
	struct fixture *f = *state;

	given(f, "/shared", "s", "n0 r5");
	given(f, "/home", "", "n5");
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/home/x", ""), 0);
	xn_xs_conn_free(f->guest);
	xn_xs_domain_release(xn_xs_domain_find(f->store, 5));
	f->guest = xn_xs_conn_new(xn_xs_domain_add(f->store, 5));

	assert_int_equal(read_rc(f->guest, "/shared"), -EACCES);
	assert_perms(f->dom0, "/shared", "n0,");
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.nodes, 0);
}

static void rights_of_a_domid_that_nobody_has_are_not_the_next_ones(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_conn *late;

	given(f, "/early", "s", "n0 r9");
	late = xn_xs_conn_new(xn_xs_domain_add(f->store, 9));
	assert_int_equal(read_rc(late, "/early"), -EACCES);
	xn_xs_conn_free(late);
}

/* XSA-419 */
static void nodes_of_a_dead_domain_go_wherever_they_are(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	given(f, "/common", "", "b0");
	given(f, "/common/of6", "", "n6");
	before = xn_xs_domain_find(f->store, 0)->account.nodes;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/common/a/b", "x"), 0);
		assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/common/z", "x"), 0);
		xn_xs_conn_free(f->guest);
		xn_xs_domain_release(xn_xs_domain_find(f->store, 5));
		f->guest = xn_xs_conn_new(xn_xs_domain_add(f->store, 5));
	}
	assert_directory(f->dom0, "/common", "of6,");
	assert_int_equal(xn_xs_domain_find(f->store, 0)->account.nodes, before);
}

static void a_device_model_has_its_targets_rights(void **state)
{
	struct fixture *f = *state;

	given(f, "/of5", "v", "n5");
	xn_xs_domain_set_target(xn_xs_conn_domain(f->other), xn_xs_conn_domain(f->guest));
	assert_value(f->other, "/of5", "v");
	xn_xs_domain_set_target(xn_xs_conn_domain(f->other), NULL);
	assert_int_equal(read_rc(f->other, "/of5"), -EACCES);
}

static int count_node(const char *name, size_t name_len, unsigned level, const char *value,
		      size_t value_len, void *arg)
{
	++*(unsigned *)arg;
	return level == 9;
}

static void a_walk_shows_only_what_may_be_read(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	given(f, "/w", "", "r0");
	given(f, "/w/a/x", "", "r0");
	given(f, "/w/b", "", "n0");
	given(f, "/w/b/c", "", "r0"); /* below what is hidden */
	given(f, "/w/c", "", "r0");
	assert_int_equal(xn_xs_conn_walk(f->guest, "/w", 9, count_node, &n), 0);
	assert_int_equal(n, 4);
	n = 0;
	assert_int_equal(xn_xs_conn_walk(f->dom0, "/w", 1, count_node, &n), 0);
	assert_int_equal(n, 4);
}

struct seen {
	char text[512];
};

static int note_commit(const struct xn_xs_commit *commit, void *arg)
{
	static const char *const kinds[] = {"+", "=", "p", "-"};
	struct seen *seen = arg;
	struct xn_xs_delta d;

	for (size_t i = 0; i < commit->n; i++) {
		size_t at = strlen(seen->text);

		xn_xs_commit_delta(commit, i, &d);
		snprintf(seen->text + at, sizeof(seen->text) - at, "%s%.*s%s ", kinds[d.kind],
			 (int)d.path_len, d.path, d.implied ? "*" : "");
	}
	strcat(seen->text, "| ");
	return 0;
}

static const struct xn_xs_journal_ops journal = {.commit = note_commit};

static void the_journal_sees_every_committed_set_and_no_other(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {""};
	uint32_t tx;

	xn_xs_store_set_journal(f->store, &journal, &seen);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/a/b", "1"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, "/a/b", "2"), 0);
	assert_int_equal(xn_xs_conn_mkdir(f->dom0, 0, "/a"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/b", "2"), -EACCES);
	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_rm(f->dom0, tx, "/a"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/c", "1"), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, false), 0);
	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_rm(f->dom0, tx, "/a"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/c", "1"), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, true), 0);
	assert_string_equal(seen.text, "+/a* +/a/b | =/a/b | -/a +/c | ");
	assert_int_equal(xn_xs_store_generation(f->store), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(writing_a_deep_path_makes_its_parents),
		T(children_are_listed_in_byte_order),
		T(values_grow_and_shrink_and_may_hold_nuls),
		T(bad_paths_are_refused),
		T(the_longest_relative_path_can_be_read_both_ways),
		T(relative_paths_are_below_the_own_domain),
		T(removing_takes_what_is_below_and_nothing_else),
		T(the_deepest_tree_is_removed_without_recursion),
		T(a_directory_of_many_children_stays_sorted),
		T(long_lists_come_in_parts),
		T(guests_see_and_change_only_what_they_may),
		T(guests_have_no_rights_at_the_root),
		T(new_nodes_inherit_and_a_guests_are_its_own),
		T(only_domain_0_gives_nodes_away),
		T(bad_permissions_are_refused),
		T(a_reused_domid_inherits_nothing),
		T(rights_of_a_domid_that_nobody_has_are_not_the_next_ones),
		T(nodes_of_a_dead_domain_go_wherever_they_are),
		T(a_device_model_has_its_targets_rights),
		T(a_walk_shows_only_what_may_be_read),
		T(the_journal_sees_every_committed_set_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
