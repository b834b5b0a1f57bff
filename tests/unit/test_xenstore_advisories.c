/*
 * What went wrong in other xenstoreds, a test for each advisory, by its number: through the server, by
 * frames on links in memory, with a control domain (0) and guests 5 and 6. Those that concern what a
 * guest writes for the toolstack are in tests/module/test_hostile_keys.c; tests/lint/advisories.py
 * has the list of all and sees that none is forgotten.
 */
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/xenstore/peer.h"

struct fixture {
	struct peer_daemon daemon;
	struct peer *dom0, *guest, *other; /* 0, 5, 6 */
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	peer_daemon_start(&f->daemon);
	f->dom0 = peer_new(&f->daemon, xn_xs_domain_find(f->daemon.store, 0));
	f->guest = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 5));
	f->other = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 6));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	peer_daemon_stop(&f->daemon);
	free(f);
	return 0;
}

static struct xn_xs_domain *domain(struct fixture *f, uint32_t domid)
{
	return xn_xs_domain_find(f->daemon.store, domid);
}

static void put(struct fixture *f, const char *path, const char *value, const char *perms)
{
	assert_int_equal(peer_write(f->dom0, 0, path, value), 0);
	assert_int_equal(peer_set_perms(f->dom0, 0, path, perms), 0);
}

static void assert_value(struct peer *peer, const char *path, const char *value)
{
	struct peer_frame answer;

	assert_int_equal(peer_read(peer, 0, path, &answer), 0);
	assert_string_equal(answer.body, value);
}

static int read_rc(struct peer *peer, const char *path)
{
	return peer_read(peer, 0, path, NULL);
}

/* Everybody else is served as ever. */
static void assert_others_are_served(struct fixture *f)
{
	assert_int_equal(peer_write(f->dom0, 0, "/still", "here"), 0);
	assert_value(f->dom0, "/still", "here");
	assert_int_equal(peer_write(f->other, 0, "data", "mine"), 0);
	assert_value(f->other, "data", "mine");
}

static int count_one(const char *name, size_t name_len, unsigned level, const char *value,
		     size_t value_len, void *arg)
{
	++*(unsigned *)arg;
	return 0;
}

/* Nodes that can be reached from the root, and what all domains are charged for. */
static void assert_tree_is_whole(struct fixture *f)
{
	struct xn_xs_account sum;

	struct xn_xs_conn *dom0 = xn_xs_conn_new(domain(f, 0));
	unsigned n = 0;

	assert_int_equal(xn_xs_conn_walk(dom0, "/", UINT_MAX, count_one, &n), 0);
	xn_xs_conn_free(dom0);
	(void)xn_xs_store_account(f->daemon.store, &sum);
	assert_int_equal(sum.nodes, n);
}

static void release(struct fixture *f, uint32_t domid)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", domid);
	assert_int_equal(peer_string(f->dom0, XN_XS_WIRE_RELEASE, text, NULL), 0);
	assert_null(domain(f, domid));
}

static size_t heap_bytes(void)
{
	malloc_trim(0);
	return mallinfo2().uordblks;
}

/* ---- sizes ---- */

static void send_length(struct fixture *f, uint32_t len)
{
	const uint32_t header[4] = {XN_XS_WIRE_READ, 1, 0, len};
	char body[5000];

	memset(body, 'x', sizeof(body));
	peer_put(f->guest, header, sizeof(header));
	peer_put(f->guest, body, sizeof(body));
	peer_daemon_settle(&f->daemon);
}

static void xs_ed759d27_a_message_beyond_the_maximum_is_not_taken(void **state)
{
	static const uint32_t lengths[] = {4097, 5000, 65536, 0x7fffffff, 0xffffffff};
	struct fixture *f = *state;
	char body[XN_XS_BODY_MAX];

	memset(body, 'x', sizeof(body));
	memcpy(body, "/big", 5);
	assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_WRITE, 0, body, sizeof(body), NULL), 0);
	for (size_t i = 0; i < XN_ARRAY_SIZE(lengths); i++) {
		struct peer_frame answer;

		send_length(f, lengths[i]);
		assert_null(f->guest->connection);
		assert_false(peer_take(f->guest, &answer));
		peer_free(f->guest);
		f->guest = peer_new(&f->daemon, domain(f, 5));
		assert_others_are_served(f);
	}
}

/* Where a size is signed, these are negative; the packet must not stay and be looked at for ever. */
static void xsa_420_a_size_with_its_high_bit_set_ends_the_connection_at_once(void **state)
{
	static const uint32_t lengths[] = {0x80000000, 0xfffffff0, 0xfffffffe};
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(lengths); i++) {
		uint64_t began = xn_loop_callback(f->daemon.core.loop);

		send_length(f, lengths[i]);
		assert_null(f->guest->connection);
		assert_true(xn_loop_callback(f->daemon.core.loop) - began < 50);
		peer_free(f->guest);
		f->guest = peer_new(&f->daemon, domain(f, 5));
	}
	assert_others_are_served(f);
}

enum { MANY = 1500 };

static void many_children(struct fixture *f, const char *dir)
{
	char path[64];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), "%s/child-%04u", dir, i);
		assert_int_equal(peer_write(f->dom0, 0, path, ""), 0);
	}
}

static void xsa_72_a_list_beyond_the_maximum_is_refused_and_comes_in_parts(void **state)
{
	struct fixture *f = *state;
	struct peer_frame part;
	unsigned n = 0, offset = 0;
	char body[64], generation[24] = "", name[16];

	many_children(f, "/many");
	assert_int_equal(peer_list(f->dom0, 0, "/many", NULL), -E2BIG);
	for (bool is_end = false; !is_end;) {
		int len = snprintf(body, sizeof(body), "/many%c%u", 0, offset) + 1;
		uint32_t at;

		assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_DIRECTORY_PART, 0, body,
					   (size_t)len, &part),
				 0);
		if (!*generation)
			snprintf(generation, sizeof(generation), "%.20s", part.body);
		assert_string_equal(part.body, generation);
		for (at = (uint32_t)strlen(part.body) + 1; at < part.len && part.body[at];
		     at += (uint32_t)strlen(part.body + at) + 1) {
			snprintf(name, sizeof(name), "child-%04u", n++);
			assert_string_equal(part.body + at, name);
			offset += (unsigned)strlen(name) + 1;
		}
		is_end = at < part.len; /* an empty name */
	}
	assert_int_equal(n, MANY);
	assert_others_are_served(f);
}

static void xsa_323_the_longest_paths_are_nodes_that_everybody_can_name(void **state)
{
	struct fixture *f = *state;
	char relative[XN_XS_RELATIVE_PATH_MAX + 2], absolute[XN_XS_PATH_MAX + 2];

	memset(relative, 'r', sizeof(relative) - 1);
	relative[XN_XS_RELATIVE_PATH_MAX + 1] = '\0';
	assert_int_equal(peer_write(f->guest, 0, relative, "v"), -EINVAL);
	relative[XN_XS_RELATIVE_PATH_MAX] = '\0';
	if (peer_write(f->guest, 0, relative, "v") == 0) { /* else its own quota is shorter */
		snprintf(absolute, sizeof(absolute), "/local/domain/5/%s", relative);
		assert_value(f->dom0, absolute, "v");
		assert_int_equal(peer_rm(f->dom0, 0, absolute), 0);
	}
	memset(absolute, 'a', sizeof(absolute) - 1);
	absolute[0] = '/';
	absolute[XN_XS_PATH_MAX + 1] = '\0';
	assert_int_equal(peer_write(f->dom0, 0, absolute, "v"), -EINVAL);
	absolute[XN_XS_PATH_MAX] = '\0';
	assert_int_equal(peer_write(f->dom0, 0, absolute, "v"), 0);
	assert_value(f->dom0, absolute, "v");
	assert_int_equal(peer_rm(f->dom0, 0, absolute), 0);
	assert_tree_is_whole(f);
}

/* Its event would be longer than any frame may be. */
static void xsa_324_a_token_at_the_limit_never_makes_an_event_beyond_it(void **state)
{
	struct fixture *f = *state;
	char token[XN_XS_BODY_MAX], path[1024];
	struct peer_frame event;

	memset(token, 't', sizeof(token));
	token[XN_XS_BODY_MAX - 6] = '\0'; /* with "data" the largest body */
	(void)peer_watch(f->guest, "data", token);
	assert_int_equal(peer_watch(f->guest, "data", "small"), 0);
	memset(path, 'p', sizeof(path));
	memcpy(path, "data/", 5);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(peer_write(f->guest, 0, path, "v"), 0);
	peer_daemon_settle(&f->daemon);
	for (bool is_small = false; !is_small;) { /* the other watch is told all the same */
		assert_true(peer_take_event(f->guest, &event));
		assert_true(event.len <= XN_XS_BODY_MAX);
		is_small = strcmp(event.body, path) == 0 &&
			   strcmp(event.body + strlen(path) + 1, "small") == 0;
	}
	assert_others_are_served(f);
}

static void xsa_418_the_deepest_tree_is_made_listed_and_removed(void **state)
{
	struct fixture *f = *state;
	char path[XN_XS_PATH_MAX + 1];
	uint64_t nodes = domain(f, 0)->account.nodes;

	for (size_t i = 0; i < XN_XS_PATH_MAX; i += 2)
		memcpy(path + i, "/d", 2);
	path[XN_XS_PATH_MAX] = '\0';
	for (int i = 0; i < 3; i++) {
		uint32_t tx = peer_begin(f->dom0);

		assert_int_equal(peer_write(f->dom0, tx, path, "deep"), 0);
		assert_int_equal(peer_end(f->dom0, tx, true), 0);
		assert_value(f->dom0, path, "deep");
		assert_int_equal(domain(f, 0)->account.nodes, nodes + XN_XS_PATH_MAX / 2);
		assert_int_equal(peer_rm(f->dom0, 0, "/d"), 0);
	}
	assert_int_equal(domain(f, 0)->account.nodes, nodes);
	assert_tree_is_whole(f);
}

static void xsa_481_a_path_that_ends_with_a_slash_is_an_error_like_any_other(void **state)
{
	static const char *const paths[] = {"/local/domain/", "/local/domain//", "//", "", "/a/",
					    "local/domain/", "/local/domain/5/", "@", "@x/"};
	static const uint32_t types[] = {
		XN_XS_WIRE_READ, XN_XS_WIRE_DIRECTORY, XN_XS_WIRE_GET_PERMS, XN_XS_WIRE_WRITE,
		XN_XS_WIRE_MKDIR, XN_XS_WIRE_RM, XN_XS_WIRE_SET_PERMS, XN_XS_WIRE_WATCH,
		XN_XS_WIRE_UNWATCH, XN_XS_WIRE_DIRECTORY_PART};
	struct fixture *f = *state;
	struct peer *const peers[] = {f->dom0, f->guest};

	for (size_t i = 0; i < XN_ARRAY_SIZE(paths); i++)
		for (size_t t = 0; t < XN_ARRAY_SIZE(types); t++)
			for (size_t p = 0; p < XN_ARRAY_SIZE(peers); p++) {
				char body[64];
				size_t len = strlen(paths[i]) + 1;

				memcpy(body, paths[i], len);
				if (types[t] == XN_XS_WIRE_SET_PERMS)
					len += (size_t)sprintf(body + len, "n0") + 1;
				if (types[t] == XN_XS_WIRE_WATCH || types[t] == XN_XS_WIRE_UNWATCH ||
				    types[t] == XN_XS_WIRE_DIRECTORY_PART)
					len += (size_t)sprintf(body + len, "0") + 1;
				assert_int_equal(peer_call(peers[p], types[t], 0, body, len, NULL),
						 -EINVAL);
			}
	assert_others_are_served(f);
}

/* ---- rights ---- */

static void xsa_115_an_observer_learns_nothing_of_what_it_may_not_read(void **state)
{
	static const char *const seen[] = {"/", "/local", "/local/domain", "/local/domain/6",
					   "/local/domain/6/secret", "/vm"};
	struct fixture *f = *state;
	struct peer_frame event;
	char token[12];

	put(f, "/local", "", "n0");
	put(f, "/vm", "", "n0");
	for (size_t i = 0; i < XN_ARRAY_SIZE(seen); i++) {
		snprintf(token, sizeof(token), "%zu", i);
		assert_int_equal(peer_watch(f->guest, seen[i], token), 0);
	}
	assert_int_equal(peer_watch(f->guest, "@introduceDomain", "i"), 0);
	assert_int_equal(peer_watch(f->guest, "@releaseDomain", "r"), 0);
	peer_daemon_settle(&f->daemon);
	while (peer_take_event(f->guest, &event))
		; /* each watch fires once at once, whatever is there */
	assert_int_equal(peer_write(f->dom0, 0, "/vm/x/name", "a"), 0);
	assert_int_equal(peer_write(f->other, 0, "secret", "s"), 0);
	assert_int_equal(peer_rm(f->other, 0, "secret"), 0);
	peer_daemon_guest(&f->daemon, 7);
	release(f, 7);
	assert_int_equal(peer_rm(f->dom0, 0, "/vm"), 0);
	peer_daemon_settle(&f->daemon);
	if (peer_take_event(f->guest, &event))
		fail_msg("the observer was told of %s", event.body);
	/* What it may read it is told of, where it watches above that, too. */
	put(f, "/local/domain/6/shown", "1", "n6 r5");
	peer_daemon_settle(&f->daemon);
	assert_true(peer_take_event(f->guest, &event));
	assert_string_equal(event.body, "/local/domain/6/shown");
}

static void xsa_115_who_else_is_there_is_not_a_guests_to_ask(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_string(f->guest, XN_XS_WIRE_IS_DOMAIN_INTRODUCED, "6", NULL), -EACCES);
	assert_int_equal(read_rc(f->guest, "/local/domain/6/name"), -EACCES);
	assert_int_equal(peer_list(f->guest, 0, "/local/domain/6", NULL), -EACCES);
	/* Whether a path goes on below what it may not see stays hidden, too. */
	assert_int_equal(peer_write(f->other, 0, "there", "1"), 0);
	assert_int_equal(read_rc(f->guest, "/local/domain/6/there"), -EACCES);
	assert_int_equal(read_rc(f->guest, "/local/domain/6/not-there"), -EACCES);
}

/* Requests that are no part of a transaction do not look at one. */
static void xsa_115_a_watch_that_names_a_transaction_is_none_of_it(void **state)
{
	struct fixture *f = *state;
	uint32_t tx = peer_begin(f->guest);
	struct peer_frame answer;
	int rc = peer_call(f->guest, XN_XS_WIRE_WATCH, tx + 7, "data\0t", 7, &answer);

	assert_true(rc == 0 || rc == -ENOENT);
	assert_int_equal(peer_end(f->guest, tx, true), 0);
}

static void xsa_322_a_domid_that_is_used_again_inherits_nothing(void **state)
{
	struct fixture *f = *state;
	struct peer *heir;
	struct peer_frame perms;

	put(f, "/shared", "s", "n0 b5");
	assert_int_equal(peer_write(f->guest, 0, "/shared/own", "mine"), 0);
	put(f, "/local/domain/6/for5", "x", "n6 r5");
	assert_value(f->guest, "/shared", "s");
	release(f, 5);
	heir = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 5));
	assert_int_equal(read_rc(heir, "/shared"), -EACCES);
	assert_int_equal(peer_write(heir, 0, "/shared", "x"), -EACCES);
	assert_int_equal(read_rc(heir, "/local/domain/6/for5"), -EACCES);
	assert_int_equal(read_rc(f->dom0, "/shared/own"), -ENOENT);
	assert_int_equal(peer_string(f->dom0, XN_XS_WIRE_GET_PERMS, "/shared", &perms), 0);
	assert_int_equal(perms.len, 3); /* "n0": its entry is not shown either */
	assert_tree_is_whole(f);
}

/* Named before it came into being. */
static void xsa_417_rights_for_a_domid_that_nobody_had_are_not_those_of_who_gets_it(void **state)
{
	struct fixture *f = *state;
	struct peer *late;

	put(f, "/early", "e", "n0 b7");
	release(f, 6);
	put(f, "/stale", "s", "n0 r6");
	late = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 7));
	f->other = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 6));
	assert_int_equal(read_rc(late, "/early"), -EACCES);
	assert_int_equal(peer_write(late, 0, "/early", "x"), -EACCES);
	assert_int_equal(read_rc(f->other, "/stale"), -EACCES);
	put(f, "/early", "e", "n0 r7");
	assert_value(late, "/early", "e");
}

static void xsa_352_only_the_control_domain_gives_a_node_away(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_write(f->guest, 0, "mine", "1"), 0);
	assert_int_equal(peer_set_perms(f->guest, 0, "mine", "n6"), -EPERM);
	assert_int_equal(peer_set_perms(f->guest, 0, "mine", "n0 b5"), -EPERM);
	assert_int_equal(peer_set_perms(f->guest, 0, "mine", "n5 b6"), 0);
	assert_int_equal(peer_set_perms(f->other, 0, "/local/domain/5/mine", "n6"), -EACCES);
	assert_int_equal(domain(f, 6)->account.nodes, 1);
	assert_int_equal(peer_set_perms(f->dom0, 0, "/local/domain/5/mine", "n6"), 0);
	assert_int_equal(domain(f, 6)->account.nodes, 2);
	assert_int_equal(domain(f, 5)->account.nodes, 1);
}

static void xsa_353_the_root_is_not_a_guests_to_remove_or_change(void **state)
{
	struct fixture *f = *state;

	assert_true(peer_rm(f->guest, 0, "/") < 0);
	assert_true(peer_rm(f->dom0, 0, "/") < 0);
	assert_int_equal(peer_set_perms(f->guest, 0, "/", "n5"), -EACCES);
	assert_int_equal(peer_set_perms(f->guest, 0, "/", "n0 b5"), -EACCES);
	assert_int_equal(peer_write(f->guest, 0, "/", "x"), -EACCES);
	assert_int_equal(peer_write(f->guest, 0, "/new", "x"), -EACCES);
	assert_int_equal(peer_rm(f->guest, 0, "/local"), -EACCES);
	assert_others_are_served(f);
}

/* ---- lives ---- */

static void xsa_233_a_domain_and_its_device_model_may_die_in_one_breath(void **state)
{
	struct fixture *f = *state;
	const uint64_t nodes = domain(f, 0)->account.nodes;

	for (int i = 0; i < 20; i++) {
		struct peer *stub = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 8));
		struct peer *guest = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 9));

		assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_SET_TARGET, 0, PEER_BODY("8\0009"),
					   NULL),
				 0);
		assert_int_equal(peer_write(stub, 0, "/local/domain/9/by-stub", "1"), 0);
		assert_int_equal(peer_watch(guest, "by-stub", "g"), 0);
		assert_int_equal(peer_watch(stub, "/local/domain/9", "s"), 0);
		(void)peer_begin(stub);
		/* Both with requests under way, in one write and in either order. */
		peer_send(stub, XN_XS_WIRE_WRITE, 0, PEER_BODY("x\0y"));
		peer_send(guest, XN_XS_WIRE_WRITE, 0, PEER_BODY("by-stub\0z"));
		peer_send(f->dom0, XN_XS_WIRE_RELEASE, 0, i % 2 ? "8" : "9", 2);
		peer_send(f->dom0, XN_XS_WIRE_RELEASE, 0, i % 2 ? "9" : "8", 2);
		peer_daemon_settle(&f->daemon);
		assert_null(domain(f, 8));
		assert_null(domain(f, 9));
		assert_null(stub->connection);
		assert_null(guest->connection);
		peer_free(stub);
		peer_free(guest);
	}
	assert_int_equal(domain(f, 0)->account.nodes, nodes);
	assert_tree_is_whole(f);
}

/* Each the other's device model, or its own: nothing may hold on to the dead. */
static void xsa_233_domains_that_are_each_others_target_are_let_go(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_SET_TARGET, 0, PEER_BODY("5\0006"), NULL), 0);
	assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_SET_TARGET, 0, PEER_BODY("6\0005"), NULL), 0);
	peer_daemon_guest(&f->daemon, 7);
	assert_int_equal(peer_call(f->dom0, XN_XS_WIRE_SET_TARGET, 0, PEER_BODY("7\0007"), NULL), 0);
	release(f, 5);
	assert_int_equal(peer_write(f->other, 0, "data", "goes on"), 0);
	assert_int_equal(read_rc(f->other, "/local/domain/5"), -EACCES);
	release(f, 7);
	/* 6 stays, with a dead target, until the end. */
}

static void xsa_325_a_guest_that_misbehaved_dies_like_any_other(void **state)
{
	struct fixture *f = *state;
	struct peer_frame event;
	unsigned told = 0;

	assert_int_equal(peer_watch(f->dom0, "@releaseDomain", "r"), 0);
	peer_daemon_settle(&f->daemon);
	while (peer_take_event(f->dom0, &event))
		;
	send_length(f, 0xffffffff);
	assert_null(f->guest->connection);
	release(f, 5);
	peer_daemon_settle(&f->daemon);
	while (peer_take_event(f->dom0, &event))
		told += strcmp(event.body, "@releaseDomain") == 0;
	assert_int_equal(told, 1);
	assert_int_equal(read_rc(f->dom0, "/local/domain/5"), -ENOENT);
	assert_tree_is_whole(f);
}

static void xsa_419_guests_that_come_and_go_leave_no_nodes(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_account before, after;
	unsigned domains;

	put(f, "/common", "", "b0");
	domains = xn_xs_store_account(f->daemon.store, &before);
	for (uint32_t i = 0; i < 500; i++) {
		struct peer *guest = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 10 + i % 7));
		char path[40];

		snprintf(path, sizeof(path), "/common/%u/a/b", i);
		assert_int_equal(peer_write(guest, 0, path, "left behind"), 0);
		assert_int_equal(peer_write(guest, 0, "own/deep", "1"), 0);
		assert_int_equal(peer_watch(guest, "own", "t"), 0);
		release(f, 10 + i % 7);
		peer_free(guest);
	}
	assert_int_equal(xn_xs_store_account(f->daemon.store, &after), domains);
	assert_int_equal(after.nodes, before.nodes);
	assert_int_equal(after.node_bytes, before.node_bytes);
	assert_int_equal(after.watches, before.watches);
	assert_tree_is_whole(f);
}

/* As many times as there is an environment variable for; a kexec does it in all innocence. */
static void xsa_330_watches_set_and_reset_for_ever_cost_no_memory(void **state)
{
	struct fixture *f = *state;
	const char *most = getenv("XN_RESETS");
	unsigned n = most ? (unsigned)strtoul(most, NULL, 10) : 20000;
	struct peer_frame event;
	size_t before = 0;

	for (unsigned i = 0; i < n; i++) {
		char path[24];

		snprintf(path, sizeof(path), "data/%u", i % 1000);
		assert_int_equal(peer_watch(f->guest, path, "a"), 0);
		assert_int_equal(peer_watch(f->guest, "data", "b"), 0);
		assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RESET_WATCHES, 0, PEER_BODY(""),
					   NULL),
				 0);
		while (peer_take_event(f->guest, &event))
			;
		assert_int_equal(domain(f, 5)->account.watches, 0);
		if (i == 1000)
			before = heap_bytes();
	}
	assert_true(heap_bytes() < before + (64 << 10));
	assert_int_equal(peer_write(f->guest, 0, "data", "1"), 0);
	peer_daemon_settle(&f->daemon);
	assert_false(peer_take_event(f->guest, &event));
}

/* A kernel that starts another one: it has unread replies, half a request, watches, transactions. */
static void xsa_425_a_guest_that_starts_its_kernel_anew_goes_on(void **state)
{
	struct fixture *f = *state;
	struct peer_frame frame;

	for (int i = 0; i < 50; i++) {
		uint32_t tx = peer_begin(f->guest);

		assert_true(tx);
		assert_int_equal(peer_write(f->guest, tx, "data/half", "1"), 0);
		assert_int_equal(peer_watch(f->guest, "data", "old"), 0);
		f->guest->room = 10; /* it reads no more */
		for (int k = 0; k < 30; k++)
			peer_send(f->guest, XN_XS_WIRE_GET_PERMS, 0, PEER_BODY("data"));
		peer_daemon_settle(&f->daemon);
		peer_set_room(f->guest, SIZE_MAX);
		assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RESET_WATCHES, 0, PEER_BODY(""),
					   NULL),
				 0);
		assert_int_equal(peer_end(f->guest, tx, true), -ENOENT);
		while (peer_take(f->guest, &frame))
			;
	}
	assert_int_equal(read_rc(f->guest, "data/half"), -ENOENT);
	assert_int_equal(domain(f, 5)->account.transactions, 0);
	assert_int_equal(domain(f, 5)->account.watches, 0);
	release(f, 5);
	assert_tree_is_whole(f);
}

/* ---- transactions ---- */

static void xsa_421_what_a_transaction_makes_and_removes_again_was_never_there(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes = domain(f, 5)->account.nodes, bytes = domain(f, 5)->account.node_bytes;

	for (int i = 0; i < 50; i++) {
		uint32_t tx = peer_begin(f->guest);

		assert_int_equal(peer_write(f->guest, tx, "t/a/b", "1"), 0);
		assert_int_equal(peer_rm(f->guest, tx, "t"), 0);
		assert_int_equal(peer_write(f->guest, tx, "t/c", "1"), 0);
		assert_int_equal(peer_rm(f->guest, tx, "t/c"), 0);
		assert_int_equal(peer_rm(f->guest, tx, "t"), 0);
		assert_int_equal(peer_end(f->guest, tx, i % 3 != 0), 0);
	}
	assert_int_equal(domain(f, 5)->account.nodes, nodes);
	assert_int_equal(domain(f, 5)->account.node_bytes, bytes);
	assert_tree_is_whole(f);
}

/* The last of its requests tells something else now: the first ones must not have happened. */
static void xsa_421_a_transaction_that_fails_late_has_done_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t tx = peer_begin(f->guest);
	uint64_t nodes = domain(f, 5)->account.nodes;

	assert_int_equal(peer_write(f->guest, tx, "new/a", "1"), 0);
	assert_int_equal(peer_write(f->guest, tx, "new/b", "1"), 0);
	assert_int_equal(peer_read(f->guest, tx, "key", NULL), -ENOENT);
	assert_int_equal(peer_write(f->dom0, 0, "/local/domain/5/key", "now"), 0);
	nodes++;
	assert_int_equal(peer_end(f->guest, tx, true), -EAGAIN);
	assert_int_equal(read_rc(f->guest, "new"), -ENOENT);
	assert_int_equal(domain(f, 5)->account.nodes, nodes);
	assert_tree_is_whole(f);
}

/* A guest that does nothing but transactions, with all its might, against one of the toolstack. */
static void xsa_206_transactions_of_a_guest_do_not_starve_the_toolstacks(void **state)
{
	struct fixture *f = *state;
	unsigned commits = 0;

	assert_int_equal(peer_write(f->dom0, 0, "/local/domain/5/name", "guest"), 0);
	for (int i = 0; i < 200; i++) {
		uint32_t tx = peer_begin(f->dom0), hostile = peer_begin(f->guest);
		char path[40];

		snprintf(path, sizeof(path), "/local/domain/5/device/%d", i);
		assert_int_equal(peer_read(f->dom0, tx, "/local/domain/5/name", NULL), 0);
		assert_int_equal(peer_write(f->guest, hostile, "data/x", "1"), 0);
		assert_int_equal(peer_end(f->guest, hostile, true), 0);
		assert_int_equal(peer_write(f->dom0, tx, path, "1"), 0);
		assert_int_equal(peer_write(f->guest, 0, "data/x", "2"), 0);
		commits += peer_end(f->dom0, tx, true) == 0;
	}
	/* They have nothing in common but a directory that neither has listed. */
	assert_int_equal(commits, 200);
}

/* It changes what the toolstack's transaction reads, as often as it can. */
static void xsa_206_a_guest_that_changes_what_is_read_does_not_starve_a_transaction(void **state)
{
	struct fixture *f = *state;
	unsigned tries = 0, changes = 0;
	int rc = -EAGAIN;

	assert_int_equal(peer_write(f->guest, 0, "state", "0"), 0);
	for (; rc == -EAGAIN && tries < 100; tries++) {
		uint32_t tx = peer_begin(f->dom0);
		char body[24];

		for (unsigned step = 0; step < 4; step++) {
			int len = snprintf(body, sizeof(body), "state%c%u", 0, changes++);

			(void)peer_send(f->guest, XN_XS_WIRE_WRITE, 0, body, (size_t)len);
			if (step == 0)
				(void)peer_read(f->dom0, tx, "/local/domain/5/state", NULL);
			else
				(void)peer_write(f->dom0, tx, "/local/domain/0/seen", "1");
		}
		rc = peer_end(f->dom0, tx, true);
		peer_daemon_settle(&f->daemon);
	}
	assert_int_equal(rc, 0);
	assert_true(tries < 10);
}

static void xsa_484_every_request_in_every_state_of_a_transaction_has_an_answer(void **state)
{
	static const char *const bodies[] = {"", "data", "5", "T", "F", "/", "data\0t", "5\0006",
					     "5\0001\0002", "@releaseDomain\0t", "data\0n5"};
	static const size_t lengths[] = {1, 5, 2, 2, 2, 2, 7, 4, 6, 17, 8};
	struct fixture *f = *state;

	for (uint32_t type = 0; type < 30; type++)
		for (size_t b = 0; b < XN_ARRAY_SIZE(bodies); b++)
			for (unsigned p = 0; p < 2; p++)
				for (unsigned how = 0; how < 4; how++) {
					struct peer *peer = p ? f->dom0 : f->guest;
					uint32_t tx = how ? peer_begin(peer) : 0;
					int rc;

					if (how == 2)
						(void)peer_end(peer, tx, false);
					rc = peer_call(peer, type, how == 3 ? tx + 99 : tx, bodies[b],
						       lengths[b], NULL);
					assert_int_not_equal(rc, -ENOTCONN);
					(void)peer_end(peer, tx, false);
					if (!domain(f, 5)) { /* it was released */
						peer_free(f->guest);
						f->guest = peer_new(&f->daemon,
								    peer_daemon_guest(&f->daemon, 5));
					}
				}
}

/* ---- accounts and quotas ---- */

/* Until it is refused. */
static unsigned fill_with_nodes(struct peer *peer, const char *dir)
{
	unsigned n = 0;
	char path[64];
	int rc;

	do
		snprintf(path, sizeof(path), "%s/%u", dir, n++);
	while ((rc = peer_write(peer, 0, path, "")) == 0);
	assert_int_equal(rc, -ENOSPC);
	return n - 1;
}

static uint64_t most(struct fixture *f, uint32_t domid, enum xn_xs_quota quota)
{
	return xn_xs_domain_limit(domain(f, domid), quota).hard;
}

/* By every way in which a node can come and go, the number in the account is that in the tree. */
static void xsa_272_the_count_of_a_domains_nodes_is_never_lost(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	(void)fill_with_nodes(f->guest, "data");
	before = domain(f, 5)->account.nodes;
	assert_int_equal(before, most(f, 5, XN_XS_QUOTA_NODES));
	for (int i = 0; i < 100; i++) {
		uint32_t tx = peer_begin(f->guest);

		assert_int_equal(peer_write(f->guest, 0, "one/more/node", "1"), -ENOSPC);
		(void)peer_write(f->guest, tx, "one/more/node", "1");
		(void)peer_end(f->guest, tx, true);
		assert_int_equal(peer_write(f->guest, 0, "data/0", "in place"), 0);
		assert_int_equal(peer_rm(f->guest, 0, "data/1"), 0);
		assert_int_equal(peer_write(f->guest, 0, "data/1", ""), 0);
	}
	assert_int_equal(domain(f, 5)->account.nodes, before);
	assert_int_equal(peer_rm(f->guest, 0, "data"), 0);
	peer_daemon_settle(&f->daemon); /* a large tree goes in slices */
	assert_int_equal(domain(f, 5)->account.nodes, 1);
	assert_others_are_served(f);
}

/* The quota ends in the middle of a path whose first nodes would be new, too. */
static void xsa_414_a_creation_that_fails_half_way_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes;
	uint32_t tx;

	(void)fill_with_nodes(f->guest, "data");
	assert_int_equal(peer_rm(f->guest, 0, "data/0"), 0);
	assert_int_equal(peer_rm(f->guest, 0, "data/1"), 0);
	nodes = domain(f, 5)->account.nodes;
	assert_int_equal(peer_write(f->guest, 0, "a/b/c/d", "1"), -ENOSPC);
	assert_int_equal(read_rc(f->guest, "a"), -ENOENT);
	tx = peer_begin(f->guest);
	assert_int_equal(peer_write(f->guest, tx, "x", "1"), 0);
	assert_true(peer_write(f->guest, tx, "a/b/c/d", "1") < 0 ||
		    peer_end(f->guest, tx, true) < 0);
	(void)peer_end(f->guest, tx, false);
	assert_int_equal(read_rc(f->guest, "a"), -ENOENT);
	assert_int_equal(domain(f, 5)->account.nodes, nodes);
	assert_tree_is_whole(f);
}

static void xsa_415_a_commit_after_a_failed_creation_leaves_no_orphans(void **state)
{
	struct fixture *f = *state;
	uint64_t nodes;
	uint32_t tx;
	int rc;

	(void)fill_with_nodes(f->guest, "data");
	assert_int_equal(peer_rm(f->guest, 0, "data/0"), 0);
	nodes = domain(f, 5)->account.nodes;
	tx = peer_begin(f->guest);
	(void)peer_write(f->guest, tx, "a/b/c/d", "1");
	rc = peer_end(f->guest, tx, true); /* the failed one is in it, or as if never asked */
	assert_true(rc == 0 || rc == -ENOSPC);
	assert_int_equal(read_rc(f->guest, "a"), -ENOENT);
	assert_int_equal(domain(f, 5)->account.nodes, nodes);
	assert_tree_is_whole(f);
	release(f, 5);
	assert_tree_is_whole(f);
}

static void xsa_483_who_gets_a_dead_domains_number_gets_all_of_its_quota(void **state)
{
	struct fixture *f = *state;
	unsigned n = fill_with_nodes(f->guest, "data");

	for (int i = 0; i < 3; i++) {
		release(f, 5);
		peer_free(f->guest);
		f->guest = peer_new(&f->daemon, peer_daemon_guest(&f->daemon, 5));
		assert_int_equal(domain(f, 5)->account.nodes, 1);
		assert_int_equal(fill_with_nodes(f->guest, "data"), n);
	}
	assert_tree_is_whole(f);
}

/* All that the server holds for a domain beside its nodes. */
static uint64_t memory_of(struct fixture *f, uint32_t domid)
{
	const struct xn_xs_account *a = &domain(f, domid)->account;

	return a->node_bytes + a->watch_bytes + a->transaction_bytes + a->event_bytes +
	       a->buffer_bytes;
}

static uint64_t memory_allowed(struct fixture *f, uint32_t domid)
{
	return most(f, domid, XN_XS_QUOTA_MEMORY) + most(f, domid, XN_XS_QUOTA_EVENT_BYTES) +
	       most(f, domid, XN_XS_QUOTA_BUFFERS);
}

static void assert_is_within(struct fixture *f, uint32_t domid, size_t heap_before)
{
	/* Frames that were begun or queued when a limit was reached end. */
	assert_true(memory_of(f, domid) <= memory_allowed(f, domid) + 4 * XN_XS_BODY_MAX);
	assert_true(heap_bytes() < heap_before + memory_allowed(f, domid) + (256 << 10));
}

static void xsa_416_replies_that_are_not_read_stay_in_bounds(void **state)
{
	struct fixture *f = *state;
	size_t before;
	char value[2000];
	size_t unread;

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_int_equal(peer_write(f->guest, 0, "large", value), 0);
	before = heap_bytes();
	f->guest->room = 100;
	for (unsigned i = 0; i < 20000; i++)
		peer_send(f->guest, XN_XS_WIRE_READ, 0, PEER_BODY("large"));
	before += f->guest->to_server.cap; /* its own memory, or its socket's */
	peer_daemon_settle(&f->daemon);
	assert_is_within(f, 5, before);
	assert_true(f->guest->to_server.len > f->guest->n_sent); /* what is not served waits on its side */
	assert_others_are_served(f);
	peer_set_room(f->guest, SIZE_MAX); /* it reads after all: everything comes */
	unread = 0;
	for (struct peer_frame frame; unread < 20000;) {
		peer_daemon_settle(&f->daemon);
		if (!peer_take(f->guest, &frame))
			break;
		assert_int_equal(frame.len, sizeof(value) - 1);
		unread++;
	}
	assert_int_equal(unread, 20000);
}

static void xsa_326_watches_and_floods_of_events_stay_in_bounds(void **state)
{
	struct fixture *f = *state;
	size_t before = heap_bytes();
	unsigned n = 0;
	char path[40];
	int rc;

	do {
		snprintf(path, sizeof(path), "data/%u", n);
	} while ((rc = peer_watch(f->guest, n++ % 2 ? "data" : "other", path)) == 0);
	assert_int_equal(rc, -E2BIG);
	assert_int_equal(domain(f, 5)->account.watches, most(f, 5, XN_XS_QUOTA_WATCHES));
	f->guest->room = 0; /* from now on it reads nothing */
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "/local/domain/5/data/%u", i % 5000);
		assert_int_equal(peer_write(f->dom0, 0, path, "1"), 0);
	}
	peer_daemon_settle(&f->daemon);
	assert_true(domain(f, 5)->account.events <=
		    most(f, 5, XN_XS_QUOTA_EVENTS) + most(f, 5, XN_XS_QUOTA_WATCHES));
	assert_int_equal(peer_rm(f->dom0, 0, "/local/domain/5/data"), 0);
	assert_is_within(f, 5, before);
	assert_others_are_served(f);
}

static void xsa_326_many_and_large_transactions_stay_in_bounds(void **state)
{
	struct fixture *f = *state;
	size_t before = heap_bytes();
	unsigned open = 0;
	uint32_t tx, last = 0;
	char value[1900];

	while ((tx = peer_begin(f->guest))) {
		last = tx;
		open++;
	}
	assert_int_equal(open, most(f, 5, XN_XS_QUOTA_TRANSACTIONS));
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (uint32_t one = last - open + 1; one <= last; one++)
		for (unsigned i = 0; i < 3000; i++) {
			char path[40];
			int rc;

			snprintf(path, sizeof(path), "data/%u", i);
			rc = peer_write(f->guest, one, path, value);
			assert_true(rc == 0 || rc == -ENOSPC);
			(void)peer_read(f->guest, one, path, NULL);
		}
	assert_is_within(f, 5, before);
	assert_others_are_served(f);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RESET_WATCHES, 0, PEER_BODY(""), NULL), 0);
	assert_int_equal(domain(f, 5)->account.transaction_bytes, 0);
}

/* Each one's path is a thousand nodes of the watches' own tree. */
static void xsa_326_watches_on_the_deepest_paths_stay_in_bounds(void **state)
{
	struct fixture *f = *state;
	size_t before = heap_bytes(), len;
	char path[1900];
	unsigned n = 0;

	for (int rc = 0; !rc; n++) {
		len = (size_t)snprintf(path, sizeof(path), "data/%u", n);
		for (; len + 3 < sizeof(path); len += 2)
			memcpy(path + len, "/d", 3);
		rc = peer_watch(f->guest, path, "t");
	}
	assert_is_within(f, 5, before);
	assert_int_equal(peer_call(f->guest, XN_XS_WIRE_RESET_WATCHES, 0, PEER_BODY(""), NULL), 0);
	assert_int_equal(domain(f, 5)->account.watch_bytes, 0);
	assert_true(heap_bytes() < before + (256 << 10));
	assert_others_are_served(f);
}

/* A commit runs them again, all in one go. */
static void xsa_206_large_lists_count_more_in_a_transaction_than_small_ones(void **state)
{
	struct fixture *f = *state;
	unsigned lists = 0;
	uint32_t tx;

	(void)fill_with_nodes(f->guest, "data");
	tx = peer_begin(f->guest);
	for (unsigned i = 0; i < 1000; i++) {
		if (peer_write(f->guest, tx, "data/0", "between") != 0)
			break;
		lists += peer_call(f->guest, XN_XS_WIRE_DIRECTORY_PART, tx, "data\0000", 7, NULL) == 0;
	}
	assert_true(lists > 0 && lists < 100);
	(void)peer_end(f->guest, tx, true);
	assert_others_are_served(f);
}

/* Untrusted driver domains: another domain's changes are told to one that does not read, and the
 * memory for that is the reader's own, in bounds; who changes is not held up by it. */
static void support_md_a_driver_domain_pays_for_the_events_it_is_told(void **state)
{
	struct fixture *f = *state;
	size_t before = heap_bytes();
	uint64_t buffers = domain(f, 6)->account.buffer_bytes;
	char path[40];

	put(f, "/local/domain/6/device", "", "n6 r5");
	assert_int_equal(peer_watch(f->guest, "/local/domain/6/device", "backend"), 0);
	f->guest->room = 0;
	for (unsigned i = 0; i < 50000; i++) {
		snprintf(path, sizeof(path), "device/%u", i % 500);
		assert_int_equal(peer_write(f->other, 0, path, "1"), 0);
	}
	peer_daemon_settle(&f->daemon);
	assert_true(domain(f, 5)->account.events + domain(f, 5)->account.buffer_bytes > 0);
	assert_int_equal(domain(f, 6)->account.events, 0);
	assert_int_equal(domain(f, 6)->account.buffer_bytes, buffers);
	assert_is_within(f, 5, before + 500 * 200);
	assert_others_are_served(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(xs_ed759d27_a_message_beyond_the_maximum_is_not_taken),
		T(xsa_420_a_size_with_its_high_bit_set_ends_the_connection_at_once),
		T(xsa_72_a_list_beyond_the_maximum_is_refused_and_comes_in_parts),
		T(xsa_323_the_longest_paths_are_nodes_that_everybody_can_name),
		T(xsa_324_a_token_at_the_limit_never_makes_an_event_beyond_it),
		T(xsa_418_the_deepest_tree_is_made_listed_and_removed),
		T(xsa_481_a_path_that_ends_with_a_slash_is_an_error_like_any_other),
		T(xsa_115_an_observer_learns_nothing_of_what_it_may_not_read),
		T(xsa_115_who_else_is_there_is_not_a_guests_to_ask),
		T(xsa_115_a_watch_that_names_a_transaction_is_none_of_it),
		T(xsa_322_a_domid_that_is_used_again_inherits_nothing),
		T(xsa_417_rights_for_a_domid_that_nobody_had_are_not_those_of_who_gets_it),
		T(xsa_352_only_the_control_domain_gives_a_node_away),
		T(xsa_353_the_root_is_not_a_guests_to_remove_or_change),
		T(xsa_233_a_domain_and_its_device_model_may_die_in_one_breath),
		T(xsa_233_domains_that_are_each_others_target_are_let_go),
		T(xsa_325_a_guest_that_misbehaved_dies_like_any_other),
		T(xsa_419_guests_that_come_and_go_leave_no_nodes),
		T(xsa_330_watches_set_and_reset_for_ever_cost_no_memory),
		T(xsa_425_a_guest_that_starts_its_kernel_anew_goes_on),
		T(xsa_421_what_a_transaction_makes_and_removes_again_was_never_there),
		T(xsa_421_a_transaction_that_fails_late_has_done_nothing),
		T(xsa_206_transactions_of_a_guest_do_not_starve_the_toolstacks),
		T(xsa_206_a_guest_that_changes_what_is_read_does_not_starve_a_transaction),
		T(xsa_484_every_request_in_every_state_of_a_transaction_has_an_answer),
		T(xsa_272_the_count_of_a_domains_nodes_is_never_lost),
		T(xsa_414_a_creation_that_fails_half_way_leaves_nothing),
		T(xsa_415_a_commit_after_a_failed_creation_leaves_no_orphans),
		T(xsa_483_who_gets_a_dead_domains_number_gets_all_of_its_quota),
		T(xsa_416_replies_that_are_not_read_stay_in_bounds),
		T(xsa_326_watches_and_floods_of_events_stay_in_bounds),
		T(xsa_326_many_and_large_transactions_stay_in_bounds),
		T(xsa_326_watches_on_the_deepest_paths_stay_in_bounds),
		T(xsa_206_large_lists_count_more_in_a_transaction_than_small_ones),
		T(support_md_a_driver_domain_pays_for_the_events_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
