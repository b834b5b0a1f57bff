/* What the server of the xenstore protocol answers to guests, and to whom it says no. */
#include <errno.h>
#include <stdio.h>

#include "tests/unit/cmocka_all.h"
#include "tests/xenstore/peer.h"

struct fixture {
	struct peer_daemon daemon;
	struct peer *control, *guest;
	struct peer_frame frame;
};

static int set_up(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	peer_daemon_start(&f.daemon);
	f.control = peer_new(&f.daemon, xn_xs_domain_find(f.daemon.store, 0));
	f.guest = peer_new(&f.daemon, peer_daemon_guest(&f.daemon, 5));
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	peer_daemon_stop(&f->daemon);
	return 0;
}

/* ---- privileges ---- */

static const struct {
	uint32_t type;
	const char *body;
	size_t len;
} for_the_control_domain[] = {
	{XN_XS_WIRE_CONTROL, "check", 6},
	{XN_XS_WIRE_CONTROL, NULL, 0},
	{XN_XS_WIRE_INTRODUCE, "6\0001\0001", 6},
	{XN_XS_WIRE_RELEASE, "5", 2},
	{XN_XS_WIRE_IS_DOMAIN_INTRODUCED, "5", 2},
	{XN_XS_WIRE_RESUME, "5", 2},
	{XN_XS_WIRE_SET_TARGET, "5\0000", 4},
	{XN_XS_WIRE_SET_FEATURE, "5\0001", 4},
	{XN_XS_WIRE_GET_FEATURE, "5", 2},
	{XN_XS_WIRE_GET_QUOTA, NULL, 0},
	{XN_XS_WIRE_GET_QUOTA, "nodes", 6},
	{XN_XS_WIRE_SET_QUOTA, "nodes\0001", 8},
};

static void what_is_for_the_control_domain_is_refused_to_guests(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(for_the_control_domain); i++) {
		int rc = peer_call(f->guest, for_the_control_domain[i].type, 0,
				   for_the_control_domain[i].body, for_the_control_domain[i].len,
				   &f->frame);

		if (rc != -EACCES)
			fail_msg("request %zu was answered with %d", i, rc);
	}
}

static void privilege_comes_before_the_transaction_and_that_before_the_arguments(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RELEASE, 77, "", 0, NULL), -EACCES);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_READ, 77, "", 0, NULL), -ENOENT);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_READ, 0, "", 0, NULL), -EINVAL);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RESET_WATCHES, 77, "", 0, NULL), -ENOENT);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_WATCH, 77, PEER_BODY("x\0t"), NULL), 0);
}

static void a_guest_sees_its_own_features(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_GET_FEATURE, 0, "", 0, &f->frame), 0);
	assert_string_equal(f->frame.body, "7");
	xn_xs_domain_find(f->daemon.store, 5)->hidden_features = XN_XS_FEATURE_WATCHDEPTH;
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_GET_FEATURE, 0, "", 0, &f->frame), 0);
	assert_string_equal(f->frame.body, "3");
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_WATCH, 0, PEER_BODY("a\0t\0002"), NULL),
			 -EINVAL);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_WATCH, 0, PEER_BODY("a\0t"), NULL), 0);
}

/* ---- paths ---- */

static void a_guests_relative_path_is_below_its_directory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_write(f->guest, 0, "data/x", "1"), 0);
	assert_int_equal(peer_read(f->control, 0, "/local/domain/5/data/x", &f->frame), 0);
	assert_string_equal(f->frame.body, "1");
	assert_int_equal(peer_read(f->control, 0, "data/x", &f->frame), -ENOENT);
	assert_int_equal(peer_string(f->guest, XN_XS_WIRE_GET_DOMAIN_PATH, "5", &f->frame), 0);
	assert_string_equal(f->frame.body, "/local/domain/5");
}

static void a_relative_watch_tells_relative_paths(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_watch(f->guest, "data", "r"), 0);
	assert_int_equal(peer_watch(f->guest, "/local/domain/5/data", "a"), 0);
	peer_daemon_settle(&f->daemon);
	while (peer_take_event(f->guest, &f->frame))
		;
	assert_int_equal(peer_write(f->control, 0, "/local/domain/5/data/y", ""), 0);
	peer_daemon_settle(&f->daemon);
	assert_true(peer_take_event(f->guest, &f->frame));
	assert_memory_equal(f->frame.body, "data/y\0r", sizeof("data/y\0r"));
	assert_int_equal(f->frame.request, 0);
	assert_int_equal(f->frame.tx, 0);
	assert_true(peer_take_event(f->guest, &f->frame));
	assert_memory_equal(f->frame.body, "/local/domain/5/data/y\0a",
			    sizeof("/local/domain/5/data/y\0a"));
	assert_false(peer_take_event(f->guest, &f->frame));
}

static void events_that_a_request_causes_to_its_sender_come_before_its_reply(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_watch(f->guest, "x", "t"), 0);
	assert_true(peer_take_event(f->guest, &f->frame)); /* the first one, behind the reply */
	peer_send(f->guest, XN_XS_WIRE_WRITE, 0, "x\0v", 3);
	peer_daemon_settle(&f->daemon);
	assert_true(peer_take(f->guest, &f->frame));
	assert_int_equal(f->frame.type, XN_XS_WIRE_WATCH_EVENT);
	assert_true(peer_take(f->guest, &f->frame));
	assert_int_equal(f->frame.type, XN_XS_WIRE_WRITE);
}

/* ---- quotas ---- */

static void beyond_its_quotas_a_guest_is_refused_as_by_every_xenstored(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_store *store = f->daemon.store;
	uint32_t tx;

	xn_xs_store_set_limit(store, XN_XS_QUOTA_NODES, (struct xn_xs_limit){0, 3});
	xn_xs_store_set_limit(store, XN_XS_QUOTA_WATCHES, (struct xn_xs_limit){0, 1});
	xn_xs_store_set_limit(store, XN_XS_QUOTA_TRANSACTIONS, (struct xn_xs_limit){0, 1});
	assert_int_equal(peer_write(f->guest, 0, "a", ""), 0);
	assert_int_equal(peer_write(f->guest, 0, "b/c/d", ""), -ENOSPC);
	assert_int_equal(peer_read(f->guest, 0, "b", &f->frame), -ENOENT);
	assert_int_equal(peer_watch(f->guest, "a", "1"), 0);
	assert_int_equal(peer_watch(f->guest, "a", "2"), -E2BIG);
	tx = peer_begin(f->guest);
	assert_int_not_equal(tx, 0);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_TRANSACTION_START, 0, "", 1, &f->frame),
			 -ENOSPC);
	assert_int_equal(peer_write(f->control, 0, "/local/domain/5/e", ""), 0);
}

static void a_quota_of_its_own_replaces_the_stores(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_call(f->control, XN_XS_WIRE_SET_QUOTA, 0,
				   PEER_BODY("5\0watches\0001"), NULL), 0);
	assert_int_equal(peer_watch(f->guest, "a", "1"), 0);
	assert_int_equal(peer_watch(f->guest, "a", "2"), -E2BIG);
	assert_int_equal(peer_call(f->control, XN_XS_WIRE_GET_QUOTA, 0, PEER_BODY("5\0watches"),
				   &f->frame), 0);
	assert_string_equal(f->frame.body, "1");
	assert_int_equal(peer_string(f->control, XN_XS_WIRE_GET_QUOTA, "watches", &f->frame), 0);
	assert_string_equal(f->frame.body, "128");
}

static void configured_quotas_are_those_of_the_store(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < XN_XS_QUOTAS; i++) {
		struct xn_xs_limit limit = xn_xs_store_limit(f->daemon.store, i);

		assert_int_equal(limit.hard, xn_xs_quotas[i].limit.hard);
		assert_int_equal(limit.soft, xn_xs_quotas[i].limit.soft);
	}
}

/* ---- domains ---- */

static void a_released_domain_is_gone_with_its_connection_and_nodes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_write(f->guest, 0, "a", ""), 0);
	assert_int_equal(peer_string(f->control, XN_XS_WIRE_RELEASE, "5", NULL), 0);
	assert_null(f->guest->connection);
	assert_int_equal(peer_read(f->control, 0, "/local/domain/5", &f->frame), -ENOENT);
	assert_int_equal(
		peer_string(f->control, XN_XS_WIRE_IS_DOMAIN_INTRODUCED, "5", &f->frame), 0);
	assert_string_equal(f->frame.body, "F");
}

static void a_domain_that_is_introduced_again_begins_anew(void **state)
{
	struct fixture *f = *state;
	uint32_t tx = peer_begin(f->guest);

	assert_int_equal(peer_watch(f->guest, "a", "t"), 0);
	assert_int_equal(
		peer_call(f->control, XN_XS_WIRE_INTRODUCE, 0, PEER_BODY("5\0001\0001"), NULL), 0);
	assert_int_equal(peer_read(f->guest, tx, "a", &f->frame), -ENOENT);
	assert_int_equal(peer_watch(f->guest, "a", "t"), 0);
}

static void a_device_model_has_the_rights_of_its_target(void **state)
{
	struct fixture *f = *state;
	struct peer *model = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 6));

	assert_int_equal(peer_write(f->guest, 0, "secret", "s"), 0);
	assert_int_equal(peer_read(model, 0, "/local/domain/5/secret", &f->frame), -EACCES);
	assert_int_equal(
		peer_call(f->control, XN_XS_WIRE_SET_TARGET, 0, PEER_BODY("6\0005"), NULL), 0);
	assert_int_equal(peer_read(model, 0, "/local/domain/5/secret", &f->frame), 0);
}

/* ---- bounds ---- */

static void a_list_of_any_length_comes_in_parts(void **state)
{
	struct fixture *f = *state;
	char path[64], body[64];
	unsigned n = 0;
	size_t at = 0;

	for (int i = 0; i < 700; i++) {
		snprintf(path, sizeof(path), "/list/name-%05d", i);
		assert_int_equal(peer_write(f->control, 0, path, ""), 0);
	}
	assert_int_equal(peer_list(f->control, 0, "/list", &f->frame), -E2BIG);
	for (bool is_end = false; !is_end;) {
		int len = snprintf(body, sizeof(body), "/list%c%zu", 0, at) + 1;
		const char *name;

		assert_int_equal(peer_call(f->control, XN_XS_WIRE_DIRECTORY_PART, 0, body,
					   (size_t)len, &f->frame), 0);
		name = f->frame.body + strlen(f->frame.body) + 1; /* behind the generation */
		for (; name < f->frame.body + f->frame.len && *name; name += strlen(name) + 1) {
			snprintf(path, sizeof(path), "name-%05u", n++);
			assert_string_equal(name, path);
			at += strlen(name) + 1;
		}
		is_end = name < f->frame.body + f->frame.len; /* an empty name */
	}
	assert_int_equal(n, 700);
}

static void more_events_than_one_turn_takes_all_arrive(void **state)
{
	enum { EVENTS = 4000 };
	struct fixture *f = *state;
	struct peer *watcher = peer_new(&f->daemon, xn_xs_domain_find(f->daemon.store, 0));
	unsigned n = 0;

	assert_int_equal(peer_watch(watcher, "/flood", "token"), 0);
	peer_set_room(watcher, 0);
	for (int i = 0; i < EVENTS; i++) {
		char path[40];

		snprintf(path, sizeof(path), "/flood/a-longer-name-%05d", i);
		assert_int_equal(peer_write(f->control, 0, path, ""), 0);
	}
	peer_set_room(watcher, SIZE_MAX);
	peer_daemon_settle(&f->daemon);
	while (peer_take_event(watcher, &f->frame))
		n++;
	assert_int_equal(n, EVENTS + 1); /* and the first one */
}

static void the_check_finds_nothing_wrong(void **state)
{
	struct fixture *f = *state;
	struct xn_buf report = {0};

	for (int i = 0; i < 20; i++) {
		char path[32];

		snprintf(path, sizeof(path), "a%d/b", i);
		assert_int_equal(peer_write(f->guest, 0, path, "value"), 0);
	}
	assert_int_equal(peer_rm(f->guest, 0, "a7"), 0);
	assert_int_equal(peer_string(f->control, XN_XS_WIRE_CONTROL, "check", NULL), 0);
	assert_int_equal(xn_xs_store_check(f->daemon.store, &report), 0);
	xn_xs_domain_find(f->daemon.store, 5)->account.nodes++;
	assert_int_equal(xn_xs_store_check(f->daemon.store, &report), 1);
	assert_int_equal(peer_string(f->control, XN_XS_WIRE_CONTROL, "check", NULL), -EIO);
	xn_xs_domain_find(f->daemon.store, 5)->account.nodes--;
	xn_buf_clear(&report);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_for_the_control_domain_is_refused_to_guests),
		TEST(privilege_comes_before_the_transaction_and_that_before_the_arguments),
		TEST(a_guest_sees_its_own_features),
		TEST(a_guests_relative_path_is_below_its_directory),
		TEST(a_relative_watch_tells_relative_paths),
		TEST(events_that_a_request_causes_to_its_sender_come_before_its_reply),
		TEST(beyond_its_quotas_a_guest_is_refused_as_by_every_xenstored),
		TEST(a_quota_of_its_own_replaces_the_stores),
		TEST(configured_quotas_are_those_of_the_store),
		TEST(a_released_domain_is_gone_with_its_connection_and_nodes),
		TEST(a_domain_that_is_introduced_again_begins_anew),
		TEST(a_device_model_has_the_rights_of_its_target),
		TEST(a_list_of_any_length_comes_in_parts),
		TEST(more_events_than_one_turn_takes_all_arrive),
		TEST(the_check_finds_nothing_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
