/* The loop: order, time, turns, hooks on the virtual back end; descriptors, signals on the real. */
#include "tests/unit/turn_until.h"

#include "core/buf.h"
#include "core/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct fixture {
	struct xn_loop *loop;
	struct xn_buf trace; /* a letter for each thing that ran */
};

struct thing {
	struct xn_job job;
	struct xn_timer timer;
	struct fixture *f;
	char letter;
	struct thing *then; /* deferred or armed when this one runs */
};

static int set_up_virtual(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new_virtual(7);
	*state = f;
	return 0;
}

static int set_up_real(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_loop_free(f->loop);
	xn_buf_clear(&f->trace);
	free(f);
	return 0;
}

static void note(struct thing *t)
{
	xn_buf_add_char(&t->f->trace, t->letter);
}

static void on_job(struct xn_job *job)
{
	struct thing *t = xn_container_of(job, struct thing, job);

	note(t);
	if (t->then)
		xn_loop_defer(t->f->loop, &t->then->job, XN_PRIO_REPLY, on_job);
}

static void on_timer(struct xn_timer *timer)
{
	struct thing *t = xn_container_of(timer, struct thing, timer);

	note(t);
	if (t->then)
		xn_timer_arm(t->f->loop, &t->then->timer, 0, on_timer);
}

static struct thing make(struct fixture *f, char letter)
{
	return (struct thing){.f = f, .letter = letter};
}

static void assert_trace(struct fixture *f, const char *expected)
{
	assert_string_equal(xn_buf_cstr(&f->trace), expected);
}

/* ---- deferred calls ---- */

static void deferred_calls_run_by_priority_then_in_order(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b'), c = make(f, 'c'), d = make(f, 'd');

	xn_loop_defer(f->loop, &a.job, XN_PRIO_IDLE, on_job);
	xn_loop_defer(f->loop, &b.job, XN_PRIO_EVENT, on_job);
	xn_loop_defer(f->loop, &c.job, XN_PRIO_REPLY, on_job);
	xn_loop_defer(f->loop, &d.job, XN_PRIO_EVENT, on_job);
	assert_true(xn_loop_turn(f->loop, 0));
	assert_trace(f, "cbda");
}

static void a_higher_priority_call_overtakes_in_the_same_turn(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b'), c = make(f, 'c');

	a.then = &c;
	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_loop_defer(f->loop, &b.job, XN_PRIO_EVENT, on_job);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "acb");
}

static void callers_take_turns_within_a_priority(void **state)
{
	struct fixture *f = *state;
	struct thing a[4], b, d, own;

	for (int i = 0; i < 4; i++) {
		a[i] = make(f, 'a');
		xn_loop_defer_as(f->loop, &a[i].job, XN_PRIO_EVENT, on_job, 1);
	}
	b = make(f, 'b');
	d = make(f, 'd');
	own = make(f, '-');
	xn_loop_defer_as(f->loop, &b.job, XN_PRIO_EVENT, on_job, 2);
	xn_loop_defer_as(f->loop, &d.job, XN_PRIO_EVENT, on_job, 3);
	xn_loop_defer(f->loop, &own.job, XN_PRIO_EVENT, on_job);
	xn_job_cancel(&d.job);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "ab-aaa");
}

static void on_job_for_somebody(struct xn_job *job)
{
	struct thing *t = xn_container_of(job, struct thing, job);

	note(t);
	assert_int_equal(xn_loop_caller(t->f->loop), t->letter);
	if (t->then)
		xn_loop_defer(t->f->loop, &t->then->job, XN_PRIO_EVENT, on_job_for_somebody);
}

static void what_a_call_defers_is_for_the_same_caller(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b'), more = make(f, 'a');

	a.then = &more;
	xn_loop_defer_as(f->loop, &a.job, XN_PRIO_EVENT, on_job_for_somebody, 'a');
	xn_loop_defer_as(f->loop, &b.job, XN_PRIO_EVENT, on_job_for_somebody, 'b');
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "aba");
	assert_int_equal(xn_loop_caller(f->loop), 'a'); /* of the last callback */
}

struct step_hook {
	struct xn_turn_hook hook;
	struct thing *next; /* deferred once, as a commit lets a step begin */
};

static void on_step_hook(struct xn_turn_hook *hook)
{
	struct step_hook *h = xn_container_of(hook, struct step_hook, hook);

	if (h->next)
		xn_loop_defer(h->next->f->loop, &h->next->job, XN_PRIO_OPERATION, on_job);
	h->next = NULL;
}

static void what_follows_from_a_commit_overtakes_lower_calls(void **state)
{
	struct fixture *f = *state;
	struct thing step = make(f, '1'), next = make(f, '2'), call = make(f, 'c');
	struct step_hook h = {.hook = {.run = on_step_hook}, .next = &next};

	xn_loop_add_turn_hook(f->loop, &h.hook);
	xn_loop_defer(f->loop, &call.job, XN_PRIO_EVENT, on_job);
	xn_loop_defer(f->loop, &step.job, XN_PRIO_OPERATION, on_job);
	xn_loop_turn(f->loop, 0);
	xn_loop_remove_turn_hook(&h.hook);
	assert_trace(f, "12c");
}

static void deferring_a_pending_call_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a');

	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_loop_defer(f->loop, &a.job, XN_PRIO_REPLY, on_job);
	assert_true(xn_job_is_pending(&a.job));
	xn_loop_turn(f->loop, 0);
	assert_false(xn_job_is_pending(&a.job));
	assert_trace(f, "a");
}

static void a_cancelled_call_does_not_run(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a');

	xn_job_cancel(&a.job); /* never deferred: harmless */
	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_job_cancel(&a.job);
	xn_job_cancel(&a.job);
	assert_false(xn_loop_turn(f->loop, 0));
	assert_trace(f, "");
}

static void on_endless(struct xn_job *job)
{
	struct thing *t = xn_container_of(job, struct thing, job);

	xn_loop_defer(t->f->loop, job, XN_PRIO_REPLY, on_endless);
}

static void an_endless_high_priority_does_not_starve_the_others(void **state)
{
	struct fixture *f = *state;
	struct thing endless = make(f, 'x'), a = make(f, 'a'), b = make(f, 'b'), c = make(f, 'c');

	xn_loop_defer(f->loop, &endless.job, XN_PRIO_REPLY, on_endless);
	xn_loop_defer(f->loop, &a.job, XN_PRIO_REFRESH, on_job);
	xn_loop_defer(f->loop, &b.job, XN_PRIO_IDLE, on_job);
	xn_loop_defer(f->loop, &c.job, XN_PRIO_IDLE, on_job);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "ab");
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "abc");
	xn_job_cancel(&endless.job);
}

/* ---- timers ---- */

static void timers_run_in_order_of_time_and_the_clock_jumps(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b'), c = make(f, 'c');
	int64_t began = xn_now_us(f->loop), wall = xn_wall_us(f->loop);

	xn_timer_arm(f->loop, &a.timer, 3000000, on_timer);
	xn_timer_arm(f->loop, &b.timer, 1000000, on_timer);
	xn_timer_arm(f->loop, &c.timer, 2000000, on_timer);
	xn_loop_run(f->loop); /* ends when nothing is left */
	assert_trace(f, "bca");
	assert_int_equal(xn_now_us(f->loop) - began, 3000000);
	assert_int_equal(xn_wall_us(f->loop) - wall, 3000000);
}

static void timers_of_one_moment_run_in_the_order_they_were_armed(void **state)
{
	struct fixture *f = *state;
	struct thing things[20];
	char expected[21] = "";

	for (int i = 0; i < 20; i++) {
		things[i] = make(f, 'a' + i);
		expected[i] = 'a' + i;
		xn_timer_arm(f->loop, &things[i].timer, 500, on_timer);
	}
	xn_loop_run(f->loop);
	assert_trace(f, expected);
}

static void a_turn_waits_no_longer_than_asked(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a');
	int64_t began = xn_now_us(f->loop);

	xn_timer_arm(f->loop, &a.timer, 1000, on_timer);
	assert_false(xn_loop_turn(f->loop, 400));
	assert_int_equal(xn_now_us(f->loop) - began, 400);
	assert_true(xn_loop_turn(f->loop, -1));
	assert_int_equal(xn_now_us(f->loop) - began, 1000);
}

static void a_timer_armed_again_runs_once_at_its_new_time(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b');

	xn_timer_arm(f->loop, &a.timer, 1000, on_timer);
	xn_timer_arm(f->loop, &b.timer, 2000, on_timer);
	xn_timer_arm(f->loop, &a.timer, 3000, on_timer);
	assert_true(xn_timer_is_armed(&a.timer));
	xn_loop_run(f->loop);
	assert_false(xn_timer_is_armed(&a.timer));
	assert_trace(f, "ba");
}

static void a_timer_of_no_delay_waits_for_the_next_turn(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b');

	a.then = &b;
	b.then = &a; /* for ever */
	xn_timer_arm(f->loop, &a.timer, 0, on_timer);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "a");
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "ab");
	xn_timer_cancel(&a.timer);
	xn_timer_cancel(&b.timer);
}

static void the_heap_keeps_order_through_random_arming_and_cancelling(void **state)
{
	enum { N = 400 };
	struct fixture *f = *state;
	struct thing *things = calloc(N, sizeof(*things));
	int64_t last = 0;
	size_t ran = 0, armed = 0;

	for (int round = 0; round < 4000; round++) {
		struct thing *t = &things[xn_random_u64(f->loop) % N];

		t->f = f;
		t->letter = '.';
		if (xn_random_u64(f->loop) % 3 == 0)
			xn_timer_cancel(&t->timer);
		else
			xn_timer_arm(f->loop, &t->timer, xn_random_u64(f->loop) % 1000000,
				     on_timer);
	}
	for (int i = 0; i < N; i++)
		armed += xn_timer_is_armed(&things[i].timer);
	while (xn_loop_turn(f->loop, -1)) {
		assert_true(xn_now_us(f->loop) >= last);
		last = xn_now_us(f->loop);
		for (int i = 0; i < N; i++)
			assert_true(!xn_timer_is_armed(&things[i].timer) ||
				    things[i].timer.due_us > last);
	}
	ran = f->trace.len;
	assert_int_equal(ran, armed);
	free(things);
}

static void freeing_a_loop_leaves_its_timers_and_calls_unarmed(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a');

	xn_timer_arm(f->loop, &a.timer, 10, on_timer);
	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_loop_free(f->loop);
	f->loop = NULL;
	assert_false(xn_timer_is_armed(&a.timer));
	assert_false(xn_job_is_pending(&a.job));
	xn_timer_cancel(&a.timer);
	xn_job_cancel(&a.job);
}

/* ---- turns ---- */

struct hook {
	struct xn_turn_hook hook;
	struct fixture *f;
	char letter;
	struct thing *defers;
};

static void on_hook(struct xn_turn_hook *base)
{
	struct hook *h = xn_container_of(base, struct hook, hook);

	xn_buf_add_char(&h->f->trace, h->letter);
	if (h->defers)
		xn_loop_defer(h->f->loop, &h->defers->job, XN_PRIO_REPLY, on_job);
	h->defers = NULL;
}

static void hooks_run_in_order_after_each_turn_that_ran_something(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b');
	struct hook first = {{.run = on_hook}, f, '1', &b},
		    second = {{.run = on_hook}, f, '2', NULL};

	xn_loop_add_turn_hook(f->loop, &first.hook);
	xn_loop_add_turn_hook(f->loop, &second.hook);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, ""); /* nothing ran */
	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "a12"); /* what the hook deferred waits for the next turn */
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "a12b12");
	xn_loop_remove_turn_hook(&first.hook);
	xn_loop_defer(f->loop, &a.job, XN_PRIO_EVENT, on_job);
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "a12b12a2");
	xn_loop_remove_turn_hook(&second.hook); /* the loop outlives this function */
}

static void on_stop(struct xn_job *job)
{
	xn_loop_stop(xn_container_of(job, struct thing, job)->f->loop);
}

static void stop_ends_run_after_the_hooks(void **state)
{
	struct fixture *f = *state;
	struct thing stop = make(f, 's'), later = make(f, 'l');
	struct hook hook = {{.run = on_hook}, f, 'h', NULL};

	xn_loop_add_turn_hook(f->loop, &hook.hook);
	xn_timer_arm(f->loop, &later.timer, 1000, on_timer);
	xn_loop_defer(f->loop, &stop.job, XN_PRIO_EVENT, on_stop);
	xn_loop_run(f->loop);
	assert_trace(f, "h");
	xn_loop_run(f->loop); /* may be run again */
	assert_trace(f, "hlh");
	xn_loop_remove_turn_hook(&hook.hook);
}

/* ---- randomness ---- */

static void the_same_seed_gives_the_same_randomness(void **state)
{
	struct xn_loop *a = xn_loop_new_virtual(1), *b = xn_loop_new_virtual(1),
		       *c = xn_loop_new_virtual(2);
	char ua[37], ub[37], uc[37];

	xn_uuid_new(a, ua);
	xn_uuid_new(b, ub);
	xn_uuid_new(c, uc);
	assert_string_equal(ua, ub);
	assert_string_not_equal(ua, uc);
	xn_loop_free(a);
	xn_loop_free(b);
	xn_loop_free(c);
}

static void uuids_have_version_4_and_references_their_prefix(void **state)
{
	struct fixture *f = *state;
	char uuid[37], ref[48], again[37];

	xn_uuid_new(f->loop, uuid);
	assert_int_equal(strlen(uuid), 36);
	assert_int_equal(strspn(uuid, "0123456789abcdef-"), 36);
	assert_int_equal(uuid[14], '4');
	assert_non_null(strchr("89ab", uuid[19]));
	xn_uuid_new(f->loop, again);
	assert_string_not_equal(uuid, again);
	xn_ref_new(f->loop, ref);
	assert_memory_equal(ref, "OpaqueRef:", 10);
	assert_int_equal(strlen(ref), 46);
}

/* ---- the real loop ---- */

struct reader {
	struct fixture *f;
	struct xn_io *io;
	bool frees_itself;
	int events;
};

static void on_readable(int fd, int events, void *arg)
{
	struct reader *r = arg;
	char bytes[16];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	r->events |= events;
	if (n > 0)
		xn_buf_add(&r->f->trace, bytes, n);
	if (r->frees_itself) {
		xn_io_free(r->io);
		r->io = NULL;
	}
}

static void turn_until(struct fixture *f, const char *trace)
{
	int64_t give_up_us = 0;

	while (f->trace.len < strlen(trace) && turn_with_patience(f->loop, &give_up_us))
		;
	assert_trace(f, trace);
}

static void a_ready_descriptor_is_told_in_the_same_turn(void **state)
{
	struct fixture *f = *state;
	struct reader r = {.f = f};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	r.io = xn_io_new(f->loop, fds[0], XN_IO_READ, on_readable, &r);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(xn_loop_turn(f->loop, -1));
	assert_trace(f, "x");
	assert_int_equal(r.events, XN_IO_READ);
	xn_io_free(r.io);
	close(fds[0]);
	close(fds[1]);
}

static void a_descriptor_may_be_paused_resumed_and_freed_in_its_callback(void **state)
{
	struct fixture *f = *state;
	struct reader r = {.f = f, .frees_itself = true};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	r.io = xn_io_new(f->loop, fds[0], 0, on_readable, &r);
	assert_int_equal(write(fds[1], "y", 1), 1);
	assert_false(xn_loop_turn(f->loop, 1000));
	xn_io_set(r.io, XN_IO_READ | XN_IO_WRITE);
	turn_until(f, "y");
	assert_int_equal(r.events, XN_IO_READ | XN_IO_WRITE);
	assert_null(r.io);
	assert_int_equal(write(fds[1], "z", 1), 1);
	assert_false(xn_loop_turn(f->loop, 1000)); /* nobody listens any more */
	close(fds[0]);
	close(fds[1]);
}

static void real_timers_wait_their_time_and_not_longer(void **state)
{
	struct fixture *f = *state;
	struct thing a = make(f, 'a'), b = make(f, 'b'), never = make(f, 'n');
	int64_t began = xn_now_us(f->loop);

	xn_timer_arm(f->loop, &never.timer, 3600 * INT64_C(1000000), on_timer);
	xn_timer_arm(f->loop, &b.timer, 20000, on_timer);
	xn_timer_arm(f->loop, &a.timer, 5000, on_timer); /* earlier than what the alarm is set to */
	turn_until(f, "ab");
	assert_true(xn_now_us(f->loop) - began >= 20000);
	assert_true(xn_now_us(f->loop) - began < 2000000);
	xn_timer_cancel(&never.timer);
}

static void burn(int64_t us)
{
	clock_t end = clock() + us * CLOCKS_PER_SEC / 1000000;

	while (clock() < end)
		;
}

static void on_busy(int fd, int events, void *arg)
{
	struct thing *t = arg;
	struct thing *then = t->then;

	burn(2 * XN_TURN_BUDGET_US);
	note(t);
	if (then)
		xn_loop_defer(t->f->loop, &then->job, XN_PRIO_OPERATION, on_job);
}

/* Clients whose calls each take long, and an operation that goes on. */
static void busy_descriptors_leave_room_for_deferred_calls_and_take_turns(void **state)
{
	enum { N = 5 };
	struct fixture *f = *state;
	struct thing things[N], job = make(f, '!');
	struct xn_io *ios[N];
	int fds[N][2];

	for (int i = 0; i < N; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1); /* stays ready */
		things[i] = make(f, 'a' + i);
		things[i].then = i ? NULL : &job;
		ios[i] = xn_io_new(f->loop, fds[i][0], XN_IO_READ, on_busy, &things[i]);
	}
	for (int turn = 0; turn < 2 * N; turn++)
		assert_true(xn_loop_turn(f->loop, 0));
	assert_int_equal(f->trace.len, 2 * N + 2);
	/* One in each turn, in order, round and round; what the first defers comes at once. */
	assert_memory_equal(strchr(f->trace.data, 'a'), "a!", 2);
	for (int i = 0; i < N; i++)
		assert_ptr_not_equal(strchr(xn_buf_cstr(&f->trace), 'a' + i),
				     strrchr(xn_buf_cstr(&f->trace), 'a' + i));
	for (int i = 0; i < N; i++) {
		xn_io_free(ios[i]);
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

struct client {
	struct thing thing;
	struct xn_io *io;
	int fds[2];
};

static void on_client(int fd, int events, void *arg)
{
	struct client *c = arg;

	on_busy(fd, events, &c->thing);
	xn_io_free(c->io);
	c->io = NULL;
}

/* Each takes a whole turn. */
static void who_speaks_does_not_stand_behind_a_crowd_that_has_hung_up(void **state)
{
	enum { N = 6, PAUSED = N - 2, SPEAKER = N - 1 };
	struct fixture *f = *state;
	struct client clients[N];

	for (int i = 0; i < N; i++) {
		struct client *c = &clients[i];

		c->thing = make(f, 'a' + i);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, c->fds), 0);
		if (i == SPEAKER)
			assert_int_equal(write(c->fds[1], "x", 1), 1);
		else
			close(c->fds[1]);
		c->io = xn_io_new(f->loop, c->fds[0], XN_IO_READ | XN_IO_CLIENT, on_client, c);
	}
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "a");
	xn_loop_turn(f->loop, 0);
	assert_trace(f, "afb");
	xn_io_set(clients[PAUSED].io, 0); /* while it waits for its turn */
	for (int turn = 0; turn < N; turn++)
		xn_loop_turn(f->loop, 0);
	assert_trace(f, "afbcd");
	xn_io_set(clients[PAUSED].io, XN_IO_READ);
	turn_until(f, "afbcde");
	for (int i = 0; i < N; i++)
		close(clients[i].fds[0]);
	close(clients[SPEAKER].fds[1]);
}

/* A gone one that its callback keeps is watched as before. */
static void a_descriptor_that_waited_as_gone_is_told_again(void **state)
{
	enum { N = 3 };
	struct fixture *f = *state;
	struct thing things[N];
	struct xn_io *ios[N];
	int fds[N][2];

	for (int i = 0; i < N; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]), 0);
		close(fds[i][1]);
		things[i] = make(f, 'a' + i);
		ios[i] = xn_io_new(f->loop, fds[i][0], XN_IO_READ | XN_IO_CLIENT, on_busy, &things[i]);
	}
	for (int turn = 0; turn < 4 * N; turn++)
		assert_true(xn_loop_turn(f->loop, 0));
	for (int i = 0; i < N; i++) {
		assert_ptr_not_equal(strchr(xn_buf_cstr(&f->trace), 'a' + i),
				     strrchr(xn_buf_cstr(&f->trace), 'a' + i));
		xn_io_free(ios[i]);
		close(fds[i][0]);
	}
}

/* Whether two steps, the second deferred by a hook of the first's turn, came before it. */
static bool steps_came_first(struct fixture *f, int fd)
{
	struct thing io = make(f, 'i'), a = make(f, 'a'), b = make(f, 'b');
	struct hook hook = {{.run = on_hook}, f, 'h', &b};
	struct xn_io *watch;

	f->trace.len = 0;
	xn_loop_turn(f->loop, 0);
	xn_loop_add_turn_hook(f->loop, &hook.hook);
	watch = xn_io_new(f->loop, fd, XN_IO_READ, on_busy, &io);
	xn_loop_defer(f->loop, &a.job, XN_PRIO_OPERATION, on_job);
	while (!strchr(xn_buf_cstr(&f->trace), 'i') || !strchr(f->trace.data, 'b'))
		xn_loop_turn(f->loop, 0);
	xn_io_free(watch);
	xn_loop_remove_turn_hook(&hook.hook);
	return strchr(f->trace.data, 'b') < strchr(f->trace.data, 'i');
}

static void steps_that_follow_each_other_do_not_wait_for_descriptors(void **state)
{
	int fds[2], tries = 0;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	/* The machine may take the processor away for longer than the budget, but not each time. */
	while (!steps_came_first(*state, fds[0]))
		assert_true(++tries < 100);
	close(fds[0]);
	close(fds[1]);
}

static void on_usr1(int signo, void *arg)
{
	struct fixture *f = arg;

	xn_buf_add_char(&f->trace, signo == SIGUSR1 ? 'u' : '?');
}

static void a_signal_is_told_on_the_loop(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(xn_loop_on_signal(f->loop, SIGUSR1, on_usr1, f), 0);
	raise(SIGUSR1);
	assert_trace(f, "");
	turn_until(f, "u");
}

static void on_burn(struct xn_job *job)
{
	burn(20000);
	note(xn_container_of(job, struct thing, job));
}

static void on_sleep(struct xn_job *job)
{
	struct timespec ts = {0, 30000000};

	nanosleep(&ts, NULL); /* what is measured here is that waiting is not counted */
	note(xn_container_of(job, struct thing, job));
}

static void the_stall_meter_counts_cpu_time_and_not_waiting(void **state)
{
	struct fixture *f = *state;
	struct thing sleeps = make(f, 's'), burns = make(f, 'b');
	struct xn_stall_stats stats;

	xn_loop_defer(f->loop, &sleeps.job, XN_PRIO_EVENT, on_sleep);
	turn_until(f, "s");
	xn_loop_stalls(f->loop, &stats, true);
	assert_int_equal(stats.over_10ms, 0);
	assert_true(stats.longest_us < 10000);
	xn_loop_defer(f->loop, &burns.job, XN_PRIO_EVENT, on_burn);
	turn_until(f, "sb");
	xn_loop_stalls(f->loop, &stats, true);
	assert_int_equal(stats.over_10ms, 1);
	assert_in_range(stats.longest_us, 15000, 200000);
	assert_string_equal(stats.longest_name, "event");
	xn_loop_stalls(f->loop, &stats, false);
	assert_int_equal(stats.longest_us, 0);
}

int main(void)
{
#define VIRTUAL(test) cmocka_unit_test_setup_teardown(test, set_up_virtual, tear_down)
#define REAL(test)    cmocka_unit_test_setup_teardown(test, set_up_real, tear_down)
	const struct CMUnitTest tests[] = {
		VIRTUAL(deferred_calls_run_by_priority_then_in_order),
		VIRTUAL(a_higher_priority_call_overtakes_in_the_same_turn),
		VIRTUAL(callers_take_turns_within_a_priority),
		VIRTUAL(what_a_call_defers_is_for_the_same_caller),
		VIRTUAL(what_follows_from_a_commit_overtakes_lower_calls),
		VIRTUAL(deferring_a_pending_call_changes_nothing),
		VIRTUAL(a_cancelled_call_does_not_run),
		VIRTUAL(an_endless_high_priority_does_not_starve_the_others),
		VIRTUAL(timers_run_in_order_of_time_and_the_clock_jumps),
		VIRTUAL(timers_of_one_moment_run_in_the_order_they_were_armed),
		VIRTUAL(a_turn_waits_no_longer_than_asked),
		VIRTUAL(a_timer_armed_again_runs_once_at_its_new_time),
		VIRTUAL(a_timer_of_no_delay_waits_for_the_next_turn),
		VIRTUAL(the_heap_keeps_order_through_random_arming_and_cancelling),
		VIRTUAL(freeing_a_loop_leaves_its_timers_and_calls_unarmed),
		VIRTUAL(hooks_run_in_order_after_each_turn_that_ran_something),
		VIRTUAL(stop_ends_run_after_the_hooks),
		VIRTUAL(the_same_seed_gives_the_same_randomness),
		VIRTUAL(uuids_have_version_4_and_references_their_prefix),
		REAL(uuids_have_version_4_and_references_their_prefix),
		REAL(a_ready_descriptor_is_told_in_the_same_turn),
		REAL(a_descriptor_may_be_paused_resumed_and_freed_in_its_callback),
		REAL(real_timers_wait_their_time_and_not_longer),
		REAL(busy_descriptors_leave_room_for_deferred_calls_and_take_turns),
		REAL(who_speaks_does_not_stand_behind_a_crowd_that_has_hung_up),
		REAL(a_descriptor_that_waited_as_gone_is_told_again),
		REAL(steps_that_follow_each_other_do_not_wait_for_descriptors),
		REAL(a_signal_is_told_on_the_loop),
		REAL(the_stall_meter_counts_cpu_time_and_not_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
