/*
 * The daemon dies at every step between a guest's ring and the journal, and an instant later another
 * one goes on: the guest gets each reply once, and all of them. A life of the daemon is a process;
 * the guest's page and what the guest has read are in memory that outlives it.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/server/ring_table.h"
#include "modules/xenstore/server/ring_twin.h"
#include "modules/xenstore/server/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DOMID = 5, RECEIVED_MAX = 1 << 16, DIED = 42, DONE = 43 };

/* What is not the daemon's. */
struct outside {
	char page[4096];
	size_t received_len; /* the guest moves its consumer after this */
	char received[RECEIVED_MAX];
	bool began_anew;
};

struct life {
	struct xn_core core;
	struct xn_config *config;
	struct xn_xs_store *store;
	struct xn_xs_journal *journal;
	struct xn_xs_server *server;
	struct xn_xs_rings *rings;
	struct xn_xs_carrier *twin;
	struct xn_xs_twin_guest *guest;
	struct outside *outside;
	const struct xn_buf *script;
	unsigned steps_left; /* until it dies; 0: it does not */
};

static struct life *living; /* a process has one; the hooks below are given none */
static const struct xn_xs_link_ops *ring_ops;

/* ---- steps at which it may die ---- */

static void step(void)
{
	if (living->steps_left && --living->steps_left == 0)
		_exit(DIED);
}

static ssize_t stepping_read(struct xn_xs_link *link, size_t offset, void *room, size_t len)
{
	ssize_t n = ring_ops->read(link, offset, room, len);

	step();
	return n;
}

static void stepping_taken(struct xn_xs_link *link, size_t len)
{
	step();
	ring_ops->taken(link, len);
	step();
}

static ssize_t stepping_write(struct xn_xs_link *link, const void *bytes, size_t len)
{
	ssize_t n;

	step();
	n = ring_ops->write(link, bytes, len);
	step();
	return n;
}

static void stepping_reset(struct xn_xs_link *link)
{
	step();
	ring_ops->reset(link);
	step();
}

static struct xn_xs_link_ops stepping_ops;

static void make_it_step(struct xn_xs_server *server)
{
	struct xn_xs_connection *connection =
		xn_list_entry(server->connections.next, struct xn_xs_connection, all);

	ring_ops = connection->link->ops;
	stepping_ops = *ring_ops;
	stepping_ops.read = stepping_read;
	stepping_ops.taken = stepping_taken;
	stepping_ops.write = stepping_write;
	stepping_ops.reset = stepping_reset;
	connection->link->ops = &stepping_ops;
}

/* ---- the guest ---- */

/* The producer is its place in the script. Bytes are noted before the ring is told that they are
 * read: the guest itself never dies. */
static bool guest_goes_on(struct life *life)
{
	struct outside *outside = life->outside;
	uint32_t at = life->guest->page->req_prod;
	size_t sent = 0, got;

	if (at < life->script->len)
		sent = xn_xs_twin_send(life->guest, life->script->data + at,
				       life->script->len - at < 333 ? life->script->len - at : 333);
	got = xn_xs_twin_receive(life->guest, outside->received + outside->received_len, 500);
	outside->received_len += got;
	assert_true(outside->received_len < RECEIVED_MAX - 500);
	return sent || got;
}

/* ---- a life of the daemon ---- */

static void no_wake(void *arg)
{
}

static void introduce(struct life *life)
{
	struct xn_xs_conn *dom0 = xn_xs_conn_new(xn_xs_domain_find(life->store, 0));
	struct xn_xs_domain *domain = xn_xs_domain_add(life->store, DOMID);

	assert_int_equal(life->server->host->introduce(life->server->host, domain, 1, 1), 0);
	xn_xs_domain_introduce(domain);
	assert_int_equal(xn_xs_conn_write(dom0, 0, "/local/domain/5", "", 0), 0);
	assert_int_equal(xn_xs_conn_set_perms(dom0, 0, "/local/domain/5", "n5", 2), 0);
	xn_xs_conn_free(dom0);
}

static void begin(struct life *life, const char *folder, bool is_first)
{
	struct xn_xs_journal_options options = {
		.folder = folder, .outlives_boots = true, .segment_bytes = 65536};
	struct xn_loop *loop = xn_loop_new_virtual(1);
	struct xn_error err = {0};

	life->config = xn_config_new();
	xn_core_init(&life->core, loop, xn_log_new(XN_LOG_ERROR, false, -1), life->config);
	life->store = xn_xs_store_new(no_wake, life);
	life->journal = xn_xs_journal_open(&life->core, life->store, &options, &err);
	assert_non_null(life->journal);
	life->server = xn_xs_server_new(&life->core, life->store, life->journal);
	life->twin = xn_xs_twin_new(loop);
	life->guest = xn_xs_twin_guest(life->twin, DOMID);
	free(life->guest->page);
	life->guest->page = (struct xn_xs_ring_page *)life->outside->page;
	life->rings = xn_xs_rings_new(&life->core, life->store, life->server, life->journal,
				      life->twin);
	xn_xs_rings_start(life->rings);
	if (is_first)
		introduce(life);
	make_it_step(life->server);
}

/* All that can happen does; then the process ends without another word. */
static void live(struct outside *outside, const struct xn_buf *script, const char *folder,
		 bool is_first, unsigned steps)
{
	struct life life = {.outside = outside, .script = script, .steps_left = steps};

	living = &life;
	begin(&life, folder, is_first);
	do
		while (xn_loop_turn(life.core.loop, 0))
			;
	while (guest_goes_on(&life));
	assert_int_equal(life.guest->page->req_prod, script->len);
	assert_int_equal(life.guest->page->req_cons, script->len);
	assert_int_equal(life.guest->page->error, XN_XS_RING_FINE);
	_exit(DONE);
}

static int run_life(struct outside *outside, const struct xn_buf *script, const char *folder,
		    bool is_first, unsigned steps)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		live(outside, script, folder, is_first, steps);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- what the guest asks, and what it must be told ---- */

static void ask(struct xn_buf *script, uint32_t type, const char *body, size_t len)
{
	const struct xn_xs_part part = {body, len};

	assert_int_equal(xn_xs_frame_add(script, type, (uint32_t)script->len + 1, 0, &part, 1), 0);
}

/* Requests that would be answered otherwise a second time, long ones, and many in a row. */
static void write_script(struct xn_buf *script)
{
	char large[4 + 1900] = "big";

	memset(large + 4, 'x', sizeof(large) - 4);
	ask(script, XN_XS_WIRE_WRITE, "k\0one", 5);
	ask(script, XN_XS_WIRE_WATCH, "k\0token", 8);
	ask(script, XN_XS_WIRE_READ, "k", 2);
	ask(script, XN_XS_WIRE_WRITE, "k\0two", 5);
	ask(script, XN_XS_WIRE_UNWATCH, "k\0token", 8);
	ask(script, XN_XS_WIRE_WRITE, large, sizeof(large));
	ask(script, XN_XS_WIRE_READ, "big", 4);
	for (int i = 0; i < 8; i++)
		ask(script, XN_XS_WIRE_READ, "k", 2);
	ask(script, XN_XS_WIRE_WATCH, "big\0t", 6);
	ask(script, XN_XS_WIRE_READ, "big", 4);
	ask(script, XN_XS_WIRE_RESET_WATCHES, "", 1);
	ask(script, XN_XS_WIRE_WATCH, "big\0t", 6);
	ask(script, XN_XS_WIRE_UNWATCH, "/local/domain/5/big\0t", 22); /* the same one */
	ask(script, XN_XS_WIRE_DIRECTORY, ".", 2);
	ask(script, XN_XS_WIRE_WATCH, "big\0t", 6); /* and not there any more */
	ask(script, XN_XS_WIRE_READ, "k", 2);
}

/* The replies in @received as they came, without watch events, which are counted: they may come
 * twice. */
static unsigned replies_of(const struct outside *outside, struct xn_buf *replies)
{
	struct xn_xs_frame frame;
	unsigned events = 0;
	size_t at = 0;

	while (xn_xs_frame_parse(outside->received + at, outside->received_len - at, &frame) > 0) {
		if (frame.type == XN_XS_WIRE_WATCH_EVENT)
			events++;
		else
			xn_buf_add(replies, outside->received + at, XN_XS_FRAME_HEADER + frame.len);
		at += XN_XS_FRAME_HEADER + frame.len;
	}
	assert_int_equal(at, outside->received_len); /* no half of one is left */
	return events;
}

/* The steps at which each life dies, one for each but the last, which lives to the end. How many
 * lives there were. */
static unsigned play(const struct xn_buf *script, const unsigned *steps, unsigned n_deaths,
		     struct xn_buf *replies, unsigned *events_out)
{
	struct outside *outside = mmap(NULL, sizeof(*outside), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char folder[] = "/tmp/xn-ring-crash-XXXXXX", command[64];
	unsigned life = 0;
	int end;

	assert_ptr_not_equal(outside, MAP_FAILED);
	assert_non_null(mkdtemp(folder));
	do
		end = run_life(outside, script, folder, life == 0, life < n_deaths ? steps[life] : 0);
	while (++life <= n_deaths && end == DIED);
	assert_int_equal(end, DONE);
	*events_out = replies_of(outside, replies);
	munmap(outside, sizeof(*outside));
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
	return life;
}

struct undisturbed {
	struct xn_buf script, replies;
	unsigned events;
};

static int set_up(void **state)
{
	struct undisturbed *u = xn_calloc(1, sizeof(*u));

	write_script(&u->script);
	assert_int_equal(play(&u->script, NULL, 0, &u->replies, &u->events), 1);
	assert_true(u->replies.len > 4000);
	assert_true(u->events >= 3);
	*state = u;
	return 0;
}

static int tear_down(void **state)
{
	struct undisturbed *u = *state;

	xn_buf_clear(&u->script);
	xn_buf_clear(&u->replies);
	free(u);
	return 0;
}

static bool dies_and_goes_on(const struct undisturbed *u, const unsigned *steps, unsigned n)
{
	struct xn_buf replies = {0};
	unsigned events, lives = play(&u->script, steps, n, &replies, &events);
	bool is_same = replies.len == u->replies.len &&
		       !memcmp(replies.data, u->replies.data, replies.len);

	if (!is_same || events < u->events)
		fail_msg("after a death at step %u, %u: %zu bytes instead of %zu, %u events", steps[0],
			 n > 1 ? steps[1] : 0, replies.len, u->replies.len, events);
	xn_buf_clear(&replies);
	return lives > n;
}

static void a_death_at_any_step_is_not_noticed(void **state)
{
	unsigned step = 1;

	while (dies_and_goes_on(*state, &step, 1))
		step++;
	assert_true(step > 50);
}

static void a_second_death_while_it_goes_on_is_not_noticed_either(void **state)
{
	for (unsigned first = 3; first < 40; first += 9)
		for (unsigned second = 1; second < 10; second++)
			(void)dies_and_goes_on(*state, (unsigned[]){first, second, second}, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_death_at_any_step_is_not_noticed),
		cmocka_unit_test(a_second_death_while_it_goes_on_is_not_noticed_either),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
