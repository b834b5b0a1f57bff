/* What a journal is told, done again on a fresh store: tree, identities, accounts, waiting events.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_xs_store *store, *copy;
	struct xn_xs_conn *conns[3], *copies[3]; /* domains 0, 1, 2 */
	uint64_t random;
};

static int redo_commit(const struct xn_xs_commit *commit, void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < commit->n; i++) {
		struct xn_buf perms = {0};
		struct xn_xs_delta d;

		xn_xs_commit_delta(commit, i, &d);
		if (d.perms && !d.inherited)
			xn_xs_perms_print_births(d.perms, &perms);
		assert_int_equal(
			xn_xs_store_redo(f->copy, &(struct xn_xs_redo){.kind = d.kind,
								       .implied = d.implied,
								       .path = d.path,
								       .path_len = d.path_len,
								       .value = d.value,
								       .value_len = d.value_len,
								       .perms = perms.data,
								       .perms_len = perms.len}),
			0);
		xn_buf_clear(&perms);
	}
	xn_xs_store_redo_end(f->copy, commit->generation);
	return 0;
}

static void redo_note(const struct xn_xs_note *note, void *arg)
{
	struct fixture *f = arg;
	struct xn_xs_domain *domain =
		note->domain ? xn_xs_domain_born(f->copy, note->domain->birth) : NULL;
	struct xn_buf perms = {0};

	assert_true(domain || note->kind == XN_XS_NOTE_ADDED || note->kind == XN_XS_NOTE_SPECIAL);
	switch (note->kind) {
	case XN_XS_NOTE_ADDED:
		assert_non_null(
			xn_xs_domain_restore(f->copy, note->domain->domid, note->domain->birth));
		break;
	case XN_XS_NOTE_INTRODUCED:
		xn_xs_domain_introduce(domain);
		break;
	case XN_XS_NOTE_STOPPED:
		xn_xs_domain_stopped(domain);
		break;
	case XN_XS_NOTE_RESUMED:
		xn_xs_domain_resume(domain);
		break;
	case XN_XS_NOTE_RELEASED:
		xn_xs_domain_release(domain);
		break;
	case XN_XS_NOTE_TARGET:
		xn_xs_domain_set_target(
			domain, note->domain->target
					? xn_xs_domain_born(f->copy, note->domain->target->birth)
					: NULL);
		break;
	case XN_XS_NOTE_FEATURES:
		xn_xs_domain_hide_features(domain, note->domain->hidden_features);
		break;
	case XN_XS_NOTE_LIMIT:
		xn_xs_domain_set_limit(domain, note->quota, note->limit);
		break;
	case XN_XS_NOTE_SPECIAL:
		xn_xs_perms_print_births(note->perms, &perms);
		assert_int_equal(
			xn_xs_store_restore_special(f->copy, note->path, perms.data, perms.len), 0);
		xn_buf_clear(&perms);
		break;
	}
}

static const struct xn_xs_journal_ops journal = {.commit = redo_commit, .note = redo_note};

static void nothing_waits(void *arg)
{
}

static void join(struct fixture *f, unsigned i)
{
	struct xn_xs_domain *domain = xn_xs_domain_find(f->store, i);

	if (!domain)
		domain = xn_xs_domain_add(f->store, i);
	f->conns[i] = xn_xs_conn_new(domain);
	f->copies[i] = xn_xs_conn_new(xn_xs_domain_born(f->copy, domain->birth));
	xn_xs_conn_take_events(f->conns[i], nothing_waits, f);
	xn_xs_conn_take_events(f->copies[i], nothing_waits, f);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(NULL, NULL);
	f->copy = xn_xs_store_new(NULL, NULL);
	f->random = 42;
	xn_xs_store_set_journal(f->store, &journal, f);
	for (unsigned i = 0; i < 3; i++)
		join(f, i);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		xn_xs_conn_free(f->conns[i]);
		xn_xs_conn_free(f->copies[i]);
	}
	xn_xs_store_free(f->store);
	xn_xs_store_free(f->copy);
	free(f);
	return 0;
}

static unsigned pick(struct fixture *f, unsigned n)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(f->random >> 33) % n;
}

/* The image has every node with its permissions, births included, and its generation. */
static void assert_same_stores(struct fixture *f)
{
	struct xn_buf a = {0}, b = {0};
	char at_a[XN_XS_PATH_MAX + 1] = "", at_b[XN_XS_PATH_MAX + 1] = "";
	uint64_t n = 0;

	xn_xs_slice_put(f->store, at_a, 100000, SIZE_MAX / 2, &a, &n);
	xn_xs_slice_put(f->copy, at_b, 100000, SIZE_MAX / 2, &b, &n);
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_memory_equal(a.data, b.data, a.len);
	xn_buf_clear(&a);
	xn_buf_clear(&b);
	for (unsigned i = 0; i < 3; i++) {
		struct xn_xs_domain *x = xn_xs_conn_domain(f->conns[i]);
		struct xn_xs_domain *y = xn_xs_conn_domain(f->copies[i]);

		assert_int_equal(x->birth, y->birth);
		assert_int_equal(x->stopped, y->stopped);
		assert_int_equal(x->introduced, y->introduced);
		assert_memory_equal(&x->account, &y->account, sizeof(x->account));
	}
	assert_int_equal(xn_xs_store_generation(f->store), xn_xs_store_generation(f->copy));
	assert_int_equal(xn_xs_store_highest_birth(f->store), xn_xs_store_highest_birth(f->copy));
}

static void assert_same_events(struct xn_xs_conn *a, struct xn_xs_conn *b)
{
	struct xn_xs_event x, y;

	assert_int_equal(xn_xs_conn_n_events(a), xn_xs_conn_n_events(b));
	while (xn_xs_conn_first_event(a, &x)) {
		assert_true(xn_xs_conn_first_event(b, &y));
		assert_string_equal(x.path, y.path);
		assert_string_equal(x.token, y.token);
		assert_int_equal(x.path_len, strlen(x.path));
		xn_xs_conn_pop_event(a);
		xn_xs_conn_pop_event(b);
	}
}

static void random_path(struct fixture *f, char *path)
{
	*path = '\0';
	for (unsigned depth = 1 + pick(f, 4); depth; depth--)
		sprintf(path + strlen(path), "/%c", (char)('a' + pick(f, 3)));
}

static void random_request(struct fixture *f, struct xn_xs_conn *conn, uint32_t tx)
{
	char path[64], text[64];

	random_path(f, path);
	switch (pick(f, 6)) {
	case 0:
		(void)xn_xs_conn_rm(conn, tx, path);
		break;
	case 1:
		sprintf(text, "%c%u r%u", "nrwb"[pick(f, 4)], pick(f, 4), pick(f, 4));
		(void)xn_xs_conn_set_perms(conn, tx, path, text, strlen(text));
		break;
	case 2:
		(void)xn_xs_conn_mkdir(conn, tx, path);
		break;
	default:
		(void)xn_xs_conn_writef(conn, tx, path, "%0*u", 1 + (int)pick(f, 40), 7);
	}
}

static void random_step(struct fixture *f)
{
	unsigned i = pick(f, 3);
	char path[64];
	uint32_t tx;

	switch (pick(f, 20)) {
	case 0:
		random_path(f, path);
		(void)xn_xs_conn_watch(f->conns[i], path, "t", -1, NULL, NULL, NULL);
		(void)xn_xs_conn_watch(f->copies[i], path, "t", -1, NULL, NULL, NULL);
		break;
	case 1:
		if (i) { /* it dies, and its domid is used again */
			xn_xs_conn_free(f->conns[i]);
			xn_xs_conn_free(f->copies[i]);
			xn_xs_domain_release(xn_xs_domain_find(f->store, i));
			join(f, i);
		}
		break;
	case 2:
		xn_xs_domain_introduce(xn_xs_conn_domain(f->conns[i]));
		break;
	case 3:
		if (i)
			xn_xs_domain_stopped(xn_xs_conn_domain(f->conns[i]));
		break;
	case 4:
		xn_xs_domain_resume(xn_xs_conn_domain(f->conns[i]));
		break;
	case 5:
		xn_xs_domain_set_target(xn_xs_conn_domain(f->conns[2]),
					i ? xn_xs_conn_domain(f->conns[1]) : NULL);
		break;
	case 6:
		(void)xn_xs_conn_set_perms(f->conns[0], 0, "@releaseDomain", i ? "n0 r1" : "b0 r2",
					   5);
		break;
	case 7:
		assert_int_equal(xn_xs_conn_begin(f->conns[i], &tx), 0);
		for (unsigned n = 1 + pick(f, 5); n; n--)
			random_request(f, f->conns[i], tx);
		assert_int_equal(xn_xs_conn_end(f->conns[i], tx, pick(f, 3)), 0);
		break;
	default:
		random_request(f, f->conns[i], 0);
	}
}

static void a_store_made_from_what_the_journal_heard_is_the_same(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 20000; i++) {
		random_step(f);
		if (i % 100)
			continue;
		assert_same_stores(f);
		for (unsigned j = 0; j < 3; j++)
			assert_same_events(f->conns[j], f->copies[j]);
	}
}

/* XSA-322, 417 */
static void rights_do_not_pass_to_a_reused_domid_over_a_restart(void **state)
{
	struct fixture *f = *state;
	char cursor[XN_XS_PATH_MAX + 1] = "";
	struct xn_xs_store *again = xn_xs_store_new(NULL, NULL);
	struct xn_xs_conn *old, *fresh;
	struct xn_buf image = {0};
	const char *value;
	uint64_t n = 0;
	size_t len;

	assert_int_equal(xn_xs_conn_write_string(f->conns[0], 0, "/secret", "s"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->conns[0], 0, "/secret", "n0 r1 r2", 8), 0);
	xn_xs_slice_put(f->store, cursor, 1000, SIZE_MAX / 2, &image, &n);
	old = xn_xs_conn_new(xn_xs_domain_restore(again, 1, xn_xs_conn_domain(f->conns[1])->birth));
	xn_xs_store_restore_counters(again, 0, xn_xs_store_highest_birth(f->store));
	fresh = xn_xs_conn_new(xn_xs_domain_add(again, 2)); /* another than that of the image */
	assert_int_equal(xn_xs_slice_load(again, (struct xn_xs_text){image.data, image.len}), 0);
	assert_int_equal(xn_xs_conn_read(old, 0, "/secret", &value, &len), 0);
	assert_int_equal(xn_xs_conn_read(fresh, 0, "/secret", &value, &len), -EACCES);
	xn_buf_clear(&image);
	xn_xs_conn_free(old);
	xn_xs_conn_free(fresh);
	xn_xs_store_free(again);
}

static void a_domain_is_restored_once_and_domain_0_is_itself(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_store *again = xn_xs_store_new(NULL, NULL);

	assert_ptr_equal(xn_xs_domain_restore(again, 0, xn_xs_domain_find(f->store, 0)->birth),
			 xn_xs_domain_find(again, 0));
	assert_non_null(xn_xs_domain_restore(again, 7, 100));
	assert_null(xn_xs_domain_restore(again, 7, 101));
	assert_null(xn_xs_domain_restore(again, 8, 100));
	assert_null(xn_xs_domain_restore(again, 8, 0));
	assert_int_equal(xn_xs_domain_add(again, 8)->birth, 101);
	xn_xs_store_free(again);
}

static void a_transaction_of_before_the_restart_ends_with_eagain(void **state)
{
	struct fixture *f = *state;
	const char *value;
	size_t len;
	uint32_t tx;

	assert_int_equal(xn_xs_conn_write_string(f->conns[0], 0, "/a", "1"), 0);
	xn_xs_conn_lost_transactions(f->copies[0], 7);
	assert_int_equal(xn_xs_conn_read(f->copies[0], 6, "/a", &value, &len), 0);
	assert_int_equal(xn_xs_conn_write_string(f->copies[0], 6, "/a", "2"), 0);
	assert_int_equal(xn_xs_conn_end(f->copies[0], 6, true), -EAGAIN);
	assert_int_equal(xn_xs_conn_end(f->copies[0], 7, false), 0);
	assert_int_equal(xn_xs_conn_end(f->copies[0], 8, true), -ENOENT);
	assert_int_equal(xn_xs_conn_begin(f->copies[0], &tx), 0);
	assert_int_equal(tx, 8);
	assert_int_equal(xn_xs_conn_highest_transaction(f->copies[0]), 8);
	assert_int_equal(xn_xs_conn_read(f->copies[0], 0, "/a", &value, &len), 0);
	assert_memory_equal(value, "1", 1);
}

static void nonsense_is_refused_and_leaves_the_store_as_it_was(void **state)
{
	struct fixture *f = *state;
	static const struct xn_xs_redo bad[] = {
		{.kind = XN_XS_CREATED, .path = "no/parent", .path_len = 9},
		{.kind = XN_XS_CREATED, .path = "/a//b", .path_len = 5},
		{.kind = XN_XS_CREATED, .path = "a", .path_len = 1},
		{.kind = XN_XS_CREATED, .path = "/b", .path_len = 2, .perms = "n0", .perms_len = 2},
		{.kind = XN_XS_PERMS, .path = "/a", .path_len = 2, .perms = "x0.1", .perms_len = 4},
		{.kind = XN_XS_VALUE, .path = "/a", .path_len = 2, .value = "", .value_len = 9999},
		{.kind = XN_XS_REMOVED, .path = "/", .path_len = 1},
	};

	assert_int_equal(xn_xs_conn_write_string(f->conns[0], 0, "/a", "1"), 0);
	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(xn_xs_store_redo(f->copy, &(struct xn_xs_redo){.kind = XN_XS_VALUE,
										.path = "/a",
										.path_len = 2,
										.value = "2",
										.value_len = 1}),
				 0);
		assert_int_equal(xn_xs_store_redo(f->copy, &bad[i]), -EINVAL);
	}
	assert_same_stores(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(a_store_made_from_what_the_journal_heard_is_the_same),
		T(rights_do_not_pass_to_a_reused_domid_over_a_restart),
		T(a_domain_is_restored_once_and_domain_0_is_itself),
		T(a_transaction_of_before_the_restart_ends_with_eagain),
		T(nonsense_is_refused_and_leaves_the_store_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
