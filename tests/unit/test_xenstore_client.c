/* The asynchronous client on the embedded store: order, snapshots, cancel, valid text. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store.h"
#include "modules/xenstore/xenstore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_core core;
	void *xs;
	struct xn_xs_conn *guest; /* writes behind the client's back */
	struct xn_buf heard;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));
	struct xn_error err = {0};

	f->core.loop = xn_loop_new_virtual(1);
	assert_int_equal(xn_xenstore_module.init(&f->core, &f->xs, &err), 0);
	f->guest = xn_xs_conn_new(xn_xs_domain_find(xn_xenstore_embedded(f->xs), 0));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->guest);
	xn_xenstore_module.stop(f->xs);
	xn_loop_free(f->core.loop);
	xn_buf_clear(&f->heard);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	while (xn_loop_turn(f->core.loop, 0))
		;
}

static void assert_heard(struct fixture *f, const char *expected)
{
	settle(f);
	assert_string_equal(xn_buf_cstr(&f->heard), expected);
	f->heard.len = 0;
}

static void on_written(int rc, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->heard, "written:%d ", rc);
}

static void on_snapshot(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct fixture *f = arg;
	const char *value;
	const char *const *names;
	size_t n;

	if (rc < 0) {
		xn_buf_printf(&f->heard, "failed:%d ", rc);
		return;
	}
	value = xn_xs_get(snap, "/a/b");
	names = xn_xs_list(snap, "/a", &n);
	xn_buf_printf(&f->heard, "%s[", value ? value : "-");
	for (size_t i = 0; i < n; i++)
		xn_buf_printf(&f->heard, "%s,", names[i]);
	xn_buf_printf(&f->heard, "]%s ", xn_xs_is_cut(snap) ? "cut" : "");
}

static void on_fired(const char *path, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->heard, "fired:%s ", path);
}

static const char *const a_root[] = {"/a"};

static void requests_are_answered_in_order_and_later(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_change change[] = {{.path = "/a/b", .value = "1"}};

	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	xn_xs_write(f->xs, change, 1, on_written, f);
	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	assert_int_equal(f->heard.len, 0);
	assert_heard(f, "-[] written:0 1[b,] ");
}

static void a_batch_of_changes_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_change bad[] = {{.path = "/a/b", .value = "1"},
					   {.path = "/bad//path", .value = "1"}};
	const struct xn_xs_change good[] = {{.path = "/a/b", .value = "1", .perms = "n0 r5"},
					    {.path = "/a/gone/far", .value = NULL},
					    {.path = "/a/c", .value = ""}};

	xn_xs_write(f->xs, bad, 2, on_written, f);
	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	xn_xs_write(f->xs, good, 3, on_written, f);
	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	assert_heard(f, "written:-22 -[] written:0 1[b,c,] ");
}

static void a_cancelled_request_does_not_answer(void **state)
{
	struct fixture *f = *state;
	const struct xn_xs_change change[] = {{.path = "/a/b", .value = "1"}};

	xn_xs_cancel(xn_xs_write(f->xs, change, 1, on_written, f));
	xn_xs_cancel(xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f));
	assert_heard(f, "");
	assert_int_equal(xn_xs_conn_mkdir(f->guest, 0, "/a"), 0);
	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	assert_heard(f, "-[] ");
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_xs_conn_write(f->guest, 0, "/a/b", "x\xff\0y\xc3\xa4\xed\xa0\x80", 9),
			 0);
	xn_xs_snapshot(f->xs, a_root, 1, 9, 10000, on_snapshot, f);
	assert_heard(f,
		     "x\xef\xbf\xbd\xef\xbf\xbdy\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd[b,] ");
}

static void depth_and_bytes_bound_a_snapshot(void **state)
{
	struct fixture *f = *state;
	char path[32];

	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/a/%03d/below", i);
		assert_int_equal(xn_xs_conn_write_string(f->guest, 0, path, "value"), 0);
	}
	xn_xs_snapshot(f->xs, a_root, 1, 0, 10000, on_snapshot, f);
	assert_heard(f, "-[] ");
	xn_xs_snapshot(f->xs, a_root, 1, 2, 60, on_snapshot, f);
	assert_heard(f, "-[000,001,]cut ");
}

static void overlapping_roots_list_each_child_once(void **state)
{
	struct fixture *f = *state;
	const char *const roots[] = {"/a/b", "/a", "/a/c", "/none"};

	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/c/d", ""), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/b", "v"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/a", ""), 0);
	xn_xs_snapshot(f->xs, roots, 4, 9, 10000, on_snapshot, f);
	assert_heard(f, "v[a,b,c,] ");
}

static void a_bad_path_fails_the_snapshot(void **state)
{
	struct fixture *f = *state;
	const char *const roots[] = {"/a", "/b//c"};

	xn_xs_snapshot(f->xs, roots, 2, 9, 10000, on_snapshot, f);
	assert_heard(f, "failed:-22 ");
}

static void watches_fire_at_first_and_for_changes_until_unwatched(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_watch *watch = xn_xs_watch(f->xs, "/a", on_fired, f);

	assert_heard(f, "fired:/a ");
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/b", "1"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/b", "2"), 0);
	assert_heard(f, "fired:/a/b ");
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "/a/b", "3"), 0);
	xn_xs_unwatch(watch);
	assert_heard(f, "");
	assert_null(xn_xs_watch(f->xs, "no path ", on_fired, f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(requests_are_answered_in_order_and_later),
		T(a_batch_of_changes_is_all_or_nothing),
		T(a_cancelled_request_does_not_answer),
		T(bytes_that_are_no_text_are_replaced),
		T(depth_and_bytes_bound_a_snapshot),
		T(overlapping_roots_list_each_child_once),
		T(a_bad_path_fails_the_snapshot),
		T(watches_fire_at_first_and_for_changes_until_unwatched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
