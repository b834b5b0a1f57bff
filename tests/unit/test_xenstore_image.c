/* Images of the store's tree: taken in slices while it changes, and what bad bytes do. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A store, and one that learns of it by images and journal alone. */
struct fixture {
	struct xn_xs_store *store, *copy;
	struct xn_xs_conn *conn, *copy_conn;
	uint64_t random;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->copy = xn_xs_store_new(NULL, NULL);
	f->conn = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->copy_conn = xn_xs_conn_new(xn_xs_domain_find(f->copy, 0));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->conn);
	xn_xs_conn_free(f->copy_conn);
	xn_xs_store_free(f->store);
	xn_xs_store_free(f->copy);
	free(f);
	return 0;
}

static void dump_all(struct xn_xs_store *store, struct xn_buf *out)
{
	char cursor[XN_XS_PATH_MAX + 1] = "";

	assert_false(xn_xs_store_dump(store, cursor, 1000000, XN_XS_BY_DOMID, out));
}

struct text {
	struct xn_xs_conn *conn;
	struct xn_buf out;
	char path[256];
	size_t len_at[64];
};

static int print_node(const char *name, size_t name_len, unsigned level, const char *value,
		      size_t value_len, void *arg)
{
	struct text *t = arg;
	size_t at = level ? t->len_at[level - 1] : 0;

	if (level)
		at += (size_t)sprintf(t->path + at, "/%.*s", (int)name_len, name);
	t->len_at[level] = at;
	xn_buf_printf(&t->out, "%s=%.*s ", t->path, (int)value_len, value);
	assert_int_equal(xn_xs_conn_get_perms(t->conn, 0, *t->path ? t->path : "/", &t->out), 0);
	return 0;
}

static void assert_same_trees(struct fixture *f)
{
	struct text a = {.conn = f->conn}, b = {.conn = f->copy_conn};

	assert_int_equal(xn_xs_conn_walk(f->conn, "/", 99, print_node, &a), 0);
	assert_int_equal(xn_xs_conn_walk(f->copy_conn, "/", 99, print_node, &b), 0);
	assert_int_equal(a.out.len, b.out.len);
	assert_memory_equal(a.out.data, b.out.data, a.out.len);
	for (uint32_t domid = 0; domid < 1; domid++)
		assert_int_equal(xn_xs_domain_find(f->store, domid)->account.nodes,
				 xn_xs_domain_find(f->copy, domid)->account.nodes);
	xn_buf_clear(&a.out);
	xn_buf_clear(&b.out);
}

static unsigned pick(struct fixture *f, unsigned n)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(f->random >> 33) % n;
}

static void random_change(struct fixture *f)
{
	char path[64] = "", value[100];

	for (unsigned depth = 1 + pick(f, 4); depth; depth--)
		sprintf(path + strlen(path), "/%c", (char)('a' + pick(f, 4)));
	switch (pick(f, 5)) {
	case 0:
		assert_int_equal(xn_xs_conn_rm(f->conn, 0, path) % 2, 0); /* absent is fine */
		break;
	case 1:
		sprintf(value, "n%u r%u", pick(f, 3), pick(f, 3));
		(void)xn_xs_conn_set_perms(f->conn, 0, path, value, strlen(value));
		break;
	default:
		sprintf(value, "%0*u", 1 + (int)pick(f, 90), pick(f, 1000));
		assert_int_equal(xn_xs_conn_write_string(f->conn, 0, path, value), 0);
	}
}

/* What a journal would do with a change, at once on the copy. */
static void apply(const struct xn_xs_commit *commit, void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < commit->n; i++) {
		struct xn_buf perms = {0};
		struct xn_xs_delta d;
		char path[64];

		xn_xs_commit_delta(commit, i, &d);
		snprintf(path, sizeof(path), "%.*s", (int)d.path_len, d.path);
		if (d.kind == XN_XS_REMOVED)
			(void)xn_xs_conn_rm(f->copy_conn, 0, path);
		else if (d.kind != XN_XS_PERMS)
			assert_int_equal(
				xn_xs_conn_write(f->copy_conn, 0, path, d.value, d.value_len), 0);
		if (d.perms && !d.inherited) {
			xn_xs_perms_print(d.perms, ' ', &perms);
			(void)xn_xs_conn_set_perms(f->copy_conn, 0, path, perms.data, perms.len);
		}
		xn_buf_clear(&perms);
	}
}

static void slices_and_the_changes_between_them_give_the_tree(void **state)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		char cursor[XN_XS_PATH_MAX + 1] = "";
		struct fixture *f;
		bool has_more = true;
		void *s;

		set_up(&s);
		f = s;
		f->random = seed;
		for (int i = 0; i < 100; i++)
			random_change(f);
		xn_xs_store_set_journal(f->store, apply, f);
		while (has_more) {
			struct xn_buf slice = {0};

			has_more = xn_xs_store_dump(f->store, cursor, 1 + pick(f, 9),
						    XN_XS_BY_DOMID, &slice);
			if (slice.len)
				assert_int_equal(xn_xs_store_load(f->copy, slice.data, slice.len),
						 0);
			xn_buf_clear(&slice);
			for (unsigned n = pick(f, 6); n; n--)
				random_change(f);
		}
		assert_same_trees(f);
		tear_down(&s);
	}
}

static void an_empty_store_has_no_image(void **state)
{
	struct fixture *f = *state;
	struct xn_buf image = {0};

	dump_all(f->store, &image);
	assert_int_equal(image.len, 0);
}

static void a_cut_or_changed_image_is_refused_or_harmless(void **state)
{
	struct fixture *f = *state;
	struct xn_buf image = {0};

	for (int i = 0; i < 30; i++)
		random_change(f);
	dump_all(f->store, &image);
	for (size_t i = 0; i < image.len; i++) {
		struct xn_xs_store *store = xn_xs_store_new(NULL, NULL);

		assert_int_equal(xn_xs_store_load(store, image.data, i), -EINVAL);
		image.data[i] ^= 0x55;
		(void)xn_xs_store_load(store, image.data, image.len);
		image.data[i] ^= 0x55;
		xn_xs_store_free(store);
	}
	assert_int_equal(xn_xs_store_load(f->copy, image.data, image.len), 0);
	assert_int_equal(xn_xs_store_generation(f->copy), xn_xs_store_generation(f->store));
	assert_same_trees(f);
	xn_buf_clear(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		cmocka_unit_test(slices_and_the_changes_between_them_give_the_tree),
		T(an_empty_store_has_no_image),
		T(a_cut_or_changed_image_is_refused_or_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
