/* Watches of the embedded store: who is told of what, when, and how often. */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct xn_xs_store *store;
	struct xn_xs_conn *dom0, *guest;
	unsigned wakes;
	struct xn_buf heard; /* "token:path " for each event */
	struct xn_xs_watcher *last;
};

static void wake(void *arg)
{
	struct fixture *f = arg;

	f->wakes++;
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->store = xn_xs_store_new(wake, f);
	f->dom0 = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	f->guest = xn_xs_conn_new(xn_xs_domain_add(f->store, 5));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_buf_clear(&f->heard);
	xn_xs_conn_free(f->dom0);
	xn_xs_conn_free(f->guest);
	xn_xs_store_free(f->store);
	free(f);
	return 0;
}

static void on_fired(const char *path, const char *token, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->heard, "%s:%s ", token, path);
}

static void on_fired_once(const char *path, const char *token, void *arg)
{
	struct fixture *f = arg;

	on_fired(path, token, arg);
	xn_xs_conn_unwatch(f->last);
}

static void assert_heard(struct fixture *f, const char *expected)
{
	while (xn_xs_store_deliver(f->store, 1))
		;
	assert_string_equal(xn_buf_cstr(&f->heard), expected);
	f->heard.len = 0;
}

static void watch(struct fixture *f, struct xn_xs_conn *conn, const char *path, const char *token,
		  int depth)
{
	struct xn_buf first = {0};

	assert_int_equal(xn_xs_conn_watch(conn, path, token, depth, on_fired, f, &f->last), 0);
	xn_buf_printf(&first, "%s:%s ", token, path);
	assert_heard(f, xn_buf_cstr(&first));
	xn_buf_clear(&first);
}

static void put(struct xn_xs_conn *conn, const char *path)
{
	assert_int_equal(xn_xs_conn_write_string(conn, 0, path, "v"), 0);
}

static void give(struct fixture *f, const char *path, const char *perms)
{
	put(f->dom0, path);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, path, perms, strlen(perms)), 0);
}

static void a_watch_hears_of_its_node_and_all_below(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "/a", "t", XN_XS_NO_DEPTH);
	put(f->dom0, "/a/b/c");
	assert_heard(f, "t:/a/b/c ");
	put(f->dom0, "/a");
	assert_heard(f, "t:/a ");
	put(f->dom0, "/ab");
	assert_heard(f, "");
}

static void depth_limits_what_is_heard(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "/a", "0", 0);
	watch(f, f->dom0, "/a", "1", 1);
	put(f->dom0, "/a/b/c");
	assert_heard(f, "");
	put(f->dom0, "/a/b");
	assert_heard(f, "1:/a/b ");
	put(f->dom0, "/a");
	assert_heard(f, "0:/a 1:/a ");
}

static void the_root_watch_hears_everything(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "/", "t", 1);
	put(f->dom0, "/x");
	put(f->dom0, "/x/y");
	assert_heard(f, "t:/x ");
}

static void pending_events_of_a_watch_and_path_are_one(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "/a", "t", XN_XS_NO_DEPTH);
	f->wakes = 0;
	for (int i = 0; i < 1000; i++) {
		put(f->dom0, "/a/x");
		put(f->dom0, "/a/y");
	}
	assert_int_equal(f->wakes, 1);
	assert_int_equal(xn_xs_conn_domain(f->dom0)->account.events, 2);
	assert_heard(f, "t:/a/x t:/a/y ");
	put(f->dom0, "/a/x");
	assert_heard(f, "t:/a/x ");
}

static void removing_a_tree_tells_watches_on_what_was_in_it(void **state)
{
	struct fixture *f = *state;

	put(f->dom0, "/a/b/c");
	watch(f, f->dom0, "/a/b/c", "in", XN_XS_NO_DEPTH);
	watch(f, f->dom0, "/a/b/absent", "absent", XN_XS_NO_DEPTH);
	watch(f, f->dom0, "/a", "top", XN_XS_NO_DEPTH);
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/a/b"), 0);
	assert_heard(f, "top:/a/b in:/a/b/c ");
}

static void a_transaction_fires_at_its_commit_only(void **state)
{
	struct fixture *f = *state;
	uint32_t tx;

	watch(f, f->dom0, "/a", "t", XN_XS_NO_DEPTH);
	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/a/x", "1"), 0);
	assert_heard(f, "");
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, true), 0);
	assert_heard(f, "t:/a/x ");
	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/a/x", "1"), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, false), 0);
	assert_heard(f, "");
}

/* XSA-115 */
static void a_guest_hears_only_of_what_it_may_read(void **state)
{
	struct fixture *f = *state;

	watch(f, f->guest, "/", "t", XN_XS_NO_DEPTH);
	put(f->dom0, "/secret");
	put(f->dom0, "/secret/x");
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/secret"), 0);
	assert_heard(f, "");
	give(f, "/open", "r0");
	assert_heard(f, "t:/open ");
	give(f, "/open", "n0"); /* what it could read so far, it may know to be closed */
	assert_heard(f, "t:/open ");
	put(f->dom0, "/open");
	assert_heard(f, "");
}

static void a_listable_parent_tells_of_names_but_not_of_hidden_values(void **state)
{
	struct fixture *f = *state;
	uint32_t tx;

	give(f, "/dir", "r0");
	watch(f, f->guest, "/dir", "t", XN_XS_NO_DEPTH);
	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/dir/x", "1"), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, tx, "/dir/x", "n0", 2), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, true), 0);
	assert_heard(f, "t:/dir/x ");
	put(f->dom0, "/dir/x");
	assert_heard(f, "");
}

static void relative_watches_hear_relative_paths(void **state)
{
	struct fixture *f = *state;

	give(f, "/local/domain/5", "n5");
	watch(f, f->guest, "control", "t", XN_XS_NO_DEPTH);
	put(f->guest, "control/shutdown");
	assert_heard(f, "t:control/shutdown ");
}

static void domains_coming_and_going_are_heard_by_the_privileged(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "@introduceDomain", "i", XN_XS_NO_DEPTH);
	watch(f, f->dom0, "@releaseDomain", "r", XN_XS_NO_DEPTH);
	watch(f, f->dom0, "@releaseDomain", "exact", 1);
	watch(f, f->dom0, "/@releaseDomain", "node", XN_XS_NO_DEPTH); /* another thing */
	assert_int_equal(xn_xs_conn_watch(f->guest, "@releaseDomain", "g", XN_XS_NO_DEPTH, on_fired,
					  f, NULL),
			 0);
	assert_heard(f, "g:@releaseDomain ");
	xn_xs_domain_introduce(xn_xs_domain_add(f->store, 9));
	assert_heard(f, "i:@introduceDomain ");
	xn_xs_domain_stopped(xn_xs_domain_find(f->store, 9));
	xn_xs_domain_release(xn_xs_domain_find(f->store, 9));
	assert_heard(f, "r:@releaseDomain exact:@releaseDomain/9 ");
	assert_int_equal(xn_xs_conn_set_perms(f->guest, 0, "@releaseDomain", "n0 r5", 5), -EACCES);
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "@releaseDomain", "n0 r5", 5), 0);
	xn_xs_domain_release(xn_xs_domain_add(f->store, 9));
	assert_heard(f, "r:@releaseDomain g:@releaseDomain exact:@releaseDomain/9 ");
}

static void unwatching_inside_the_callback_is_fine(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		xn_xs_conn_watch(f->dom0, "/a", "t", XN_XS_NO_DEPTH, on_fired_once, f, &f->last),
		0);
	put(f->dom0, "/a/x");
	assert_heard(f, "t:/a ");
	assert_int_equal(xn_xs_conn_domain(f->dom0)->account.events, 0);
	assert_int_equal(xn_xs_conn_domain(f->dom0)->account.watches, 0);
}

static void a_path_and_token_are_watched_once(void **state)
{
	struct fixture *f = *state;

	watch(f, f->dom0, "/a", "t", XN_XS_NO_DEPTH);
	assert_int_equal(xn_xs_conn_watch(f->dom0, "/a", "t", XN_XS_NO_DEPTH, on_fired, f, NULL),
			 -EEXIST);
	assert_ptr_equal(xn_xs_conn_find_watch(f->dom0, "/a", "t"), f->last);
	assert_null(xn_xs_conn_find_watch(f->dom0, "/a", "u"));
	assert_int_equal(
		xn_xs_conn_watch(f->dom0, "@nothing", "t", XN_XS_NO_DEPTH, on_fired, f, NULL),
		-EINVAL);
	assert_int_equal(xn_xs_conn_watch(f->dom0, "/a/", "t", XN_XS_NO_DEPTH, on_fired, f, NULL),
			 -EINVAL);
}

/* XSA-330 */
static void resetting_watches_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/local/domain/5/device/%d", i);
		assert_int_equal(
			xn_xs_conn_watch(f->guest, path, "t", XN_XS_NO_DEPTH, on_fired, f, NULL),
			0);
		xn_xs_conn_reset(f->guest);
	}
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.watch_bytes, 0);
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.event_bytes, 0);
	assert_heard(f, "");
	put(f->dom0, "/local/domain/5/device/7"); /* walks what is left of the tree of watches */
	assert_heard(f, "");
}

static void note_waiting(void *arg)
{
	++*(unsigned *)arg;
}

static void assert_first(struct xn_xs_conn *conn, const char *path, const char *token)
{
	struct xn_xs_event event;

	assert_true(xn_xs_conn_first_event(conn, &event));
	assert_string_equal(event.path, path);
	assert_string_equal(event.token, token);
	assert_int_equal(event.path_len, strlen(path));
	assert_int_equal(event.token_len, strlen(token));
}

static void one_who_does_not_read_holds_up_nobody(void **state)
{
	struct fixture *f = *state;
	unsigned waiting = 0;

	xn_xs_conn_take_events(f->guest, note_waiting, &waiting);
	give(f, "/a", "n0 r5");
	assert_int_equal(xn_xs_conn_watch(f->guest, "/a", "g", -1, NULL, NULL, NULL), 0);
	watch(f, f->dom0, "/a", "0", -1);
	for (int i = 0; i < 3; i++) {
		put(f->dom0, "/a");
		put(f->dom0, "/a/b");
		assert_heard(f, "0:/a 0:/a/b ");
	}
	assert_int_equal(waiting, 1);
	assert_int_equal(xn_xs_conn_n_events(f->guest), 2);
	assert_first(f->guest, "/a", "g");
	xn_xs_conn_pop_event(f->guest);
	assert_first(f->guest, "/a/b", "g");
	xn_xs_conn_pop_event(f->guest);
	assert_int_equal(xn_xs_conn_n_events(f->guest), 0);
	put(f->dom0, "/a");
	assert_int_equal(waiting, 2);
	assert_int_equal(xn_xs_conn_domain(f->guest)->account.events, 1);
}

static void a_flood_of_events_becomes_one_a_watch(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_domain *guest = xn_xs_conn_domain(f->guest);
	unsigned waiting = 0;
	char path[32];

	xn_xs_conn_take_events(f->guest, note_waiting, &waiting);
	xn_xs_domain_set_limit(guest, XN_XS_QUOTA_EVENTS, (struct xn_xs_limit){.hard = 10});
	give(f, "/a", "n0 r5");
	assert_int_equal(xn_xs_conn_watch(f->guest, "/a", "1", -1, NULL, NULL, NULL), 0);
	assert_int_equal(xn_xs_conn_watch(f->guest, "/a/k3", "2", -1, NULL, NULL, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		sprintf(path, "/a/k%d", i);
		put(f->dom0, path);
		assert_in_range(guest->account.events, 1, 11);
	}
	while (xn_xs_conn_n_events(f->guest) > 1)
		xn_xs_conn_pop_event(f->guest);
	assert_int_equal(guest->account.events, 1);
	xn_xs_conn_drop_events(f->guest);
	for (int i = 0; i < 11; i++) {
		sprintf(path, "/a/m%d", i);
		put(f->dom0, path);
	}
	assert_first(f->guest, "/a", "1"); /* look at all of it */
	assert_int_equal(xn_xs_conn_n_events(f->guest), 1);
	xn_xs_conn_reset(f->guest);
	assert_int_equal(guest->account.events, 0);
	assert_int_equal(guest->account.event_bytes, 0);
}

static void the_same_path_given_in_two_ways_is_one_watch(void **state)
{
	struct fixture *f = *state;
	unsigned waiting = 0;

	xn_xs_conn_take_events(f->guest, note_waiting, &waiting);
	assert_int_equal(xn_xs_conn_watch(f->guest, "a", "t", -1, NULL, NULL, NULL), 0);
	assert_int_equal(
		xn_xs_conn_watch(f->guest, "/local/domain/5/a", "t", -1, NULL, NULL, NULL),
		-EEXIST);
	assert_int_equal(xn_xs_conn_watch(f->guest, "a", "", -1, NULL, NULL, NULL), 0);
	assert_int_equal(xn_xs_conn_watch(f->guest, "a", "", -1, NULL, NULL, NULL), -EEXIST);
	assert_non_null(xn_xs_conn_find_watch(f->guest, "/local/domain/5/a", "t"));
	assert_first(f->guest, "a", "t");
}

static void a_domain_stops_once_until_it_is_resumed(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_domain *domain = xn_xs_domain_add(f->store, 9);

	watch(f, f->dom0, "@releaseDomain", "r", XN_XS_NO_DEPTH);
	watch(f, f->dom0, "@introduceDomain", "i", XN_XS_NO_DEPTH);
	xn_xs_domain_introduce(domain);
	assert_heard(f, "i:@introduceDomain ");
	xn_xs_domain_introduce(domain);
	xn_xs_domain_resume(domain);
	assert_heard(f, "");
	xn_xs_domain_stopped(domain);
	assert_heard(f, "r:@releaseDomain ");
	xn_xs_domain_stopped(domain);
	assert_heard(f, "");
	xn_xs_domain_resume(domain);
	xn_xs_domain_stopped(domain);
	assert_heard(f, "r:@releaseDomain ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(a_watch_hears_of_its_node_and_all_below),
		T(depth_limits_what_is_heard),
		T(the_root_watch_hears_everything),
		T(pending_events_of_a_watch_and_path_are_one),
		T(removing_a_tree_tells_watches_on_what_was_in_it),
		T(a_transaction_fires_at_its_commit_only),
		T(a_guest_hears_only_of_what_it_may_read),
		T(a_listable_parent_tells_of_names_but_not_of_hidden_values),
		T(relative_watches_hear_relative_paths),
		T(domains_coming_and_going_are_heard_by_the_privileged),
		T(unwatching_inside_the_callback_is_fine),
		T(a_path_and_token_are_watched_once),
		T(resetting_watches_leaves_nothing_behind),
		T(one_who_does_not_read_holds_up_nobody),
		T(a_flood_of_events_becomes_one_a_watch),
		T(the_same_path_given_in_two_ways_is_one_watch),
		T(a_domain_stops_once_until_it_is_resumed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
