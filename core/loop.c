/*
 * The part of the reactor that both back ends share: timers, deferred calls, the turn and its
 * hooks, the stall meter. See loop.h for the rules; nothing here makes a system call but for a
 * rare look at the thread's CPU time.
 */
#include "core/loop_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	/* A virtual clock stands still while jobs run, so there the budget is a number of them. */
	VIRTUAL_TURN_BUDGET = 1000,
	STALL_US = 10000,
	/* Wall time from which a callback is worth a system call that tells its CPU time. */
	SUSPICIOUS_US = 2000,
	CPU_SAMPLE_US = 1000,
};

static const char *const priority_names[XN_PRIO_COUNT] = {
	[XN_PRIO_REPLY] = "reply",     [XN_PRIO_OPERATION] = "operation", [XN_PRIO_EVENT] = "event",
	[XN_PRIO_REFRESH] = "refresh", [XN_PRIO_BULK] = "bulk",	   [XN_PRIO_IDLE] = "idle",
};

/* ---- queues of deferred calls ---- */

static void queue_init(struct xn_queue *queue)
{
	xn_list_init(&queue->ring);
	for (int i = 0; i < XN_LANES; i++) {
		xn_list_init(&queue->lanes[i].ring);
		xn_list_init(&queue->lanes[i].jobs);
	}
}

static void queue_push(struct xn_queue *queue, struct xn_job *job)
{
	struct xn_lane *lane = &queue->lanes[job->caller % XN_LANES];

	xn_list_push(&lane->jobs, &job->link);
	if (xn_list_empty(&lane->ring))
		xn_list_push(&queue->ring, &lane->ring);
}

/* The lane whose turn it is, or NULL. */
static struct xn_lane *queue_first(struct xn_queue *queue)
{
	while (!xn_list_empty(&queue->ring)) {
		struct xn_lane *lane = xn_list_entry(queue->ring.next, struct xn_lane, ring);

		if (!xn_list_empty(&lane->jobs))
			return lane;
		xn_list_remove(&lane->ring);
	}
	return NULL;
}

static struct xn_job *queue_pop(struct xn_queue *queue)
{
	struct xn_lane *lane = queue_first(queue);
	struct xn_list *link;

	if (!lane)
		return NULL;
	link = xn_list_pop(&lane->jobs);
	xn_list_remove(&lane->ring);
	if (!xn_list_empty(&lane->jobs))
		xn_list_push(&queue->ring, &lane->ring);
	return xn_list_entry(link, struct xn_job, link);
}

void xn_loop_init_(struct xn_loop *loop, const struct xn_loop_ops *ops)
{
	loop->ops = ops;
	loop->now_us = ops->now_us(loop);
	loop->cpu_read_at_us = INT64_MIN / 2; /* before anything runs */
	loop->woke_us = INT64_MIN / 2;
	xn_list_init(&loop->hooks);
	for (int i = 0; i < XN_PRIO_COUNT; i++)
		queue_init(&loop->queues[i]);
}

void xn_loop_free(struct xn_loop *loop)
{
	if (!loop)
		return;
	/* What is still queued must not point here: its owner may cancel it later. */
	for (int i = 0; i < XN_PRIO_COUNT; i++)
		while (queue_pop(&loop->queues[i]))
			;
	while (loop->n_timers)
		xn_timer_cancel(loop->heap[loop->n_timers]);
	while (xn_list_pop(&loop->hooks))
		;
	free(loop->heap);
	loop->ops->free(loop);
}

bool xn_loop_is_virtual(const struct xn_loop *loop)
{
	return loop->ops->is_virtual;
}

/* ---- stall meter ---- */

static int64_t thread_cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static void wake_up(struct xn_loop *loop)
{
	if (!loop->asleep)
		return;
	loop->asleep = false;
	loop->woke_us = loop->now_us = loop->ops->now_us(loop);
}

void xn_loop_enter_(struct xn_loop *loop, const char *name)
{
	wake_up(loop);
	loop->running = name;
	loop->caller = 0;
	loop->caller_is_own = false;
	loop->callback++;
	loop->ran = true;
	if (loop->now_us - loop->cpu_read_at_us > CPU_SAMPLE_US) {
		loop->cpu_read_at_us = loop->now_us;
		loop->cpu_us = thread_cpu_us();
	}
}

static void note_longest(struct xn_loop *loop, int64_t us)
{
	if (us <= loop->stalls.longest_us)
		return;
	loop->stalls.longest_us = us;
	loop->stalls.longest_name = loop->running;
	if (us > loop->stalls.longest_ever_us)
		loop->stalls.longest_ever_us = us;
}

/*
 * The callback took long by the wall; the machine may just have been busy. CPU time was last read
 * at most CPU_SAMPLE_US before the callback began, and what ran in between is taken off, so the
 * result may be that much too small, never too large.
 */
static void judge_callback(struct xn_loop *loop, int64_t began_us, int64_t now_us)
{
	int64_t cpu = thread_cpu_us();
	int64_t used = cpu - loop->cpu_us - (began_us - loop->cpu_read_at_us);

	loop->cpu_us = cpu;
	loop->cpu_read_at_us = now_us;
	if (used > now_us - began_us)
		used = now_us - began_us;
	if (used > STALL_US)
		loop->stalls.over_10ms++;
	note_longest(loop, used);
}

void xn_loop_leave_(struct xn_loop *loop)
{
	int64_t began_us = loop->now_us, now_us = loop->ops->now_us(loop);
	int64_t took_us = now_us - began_us;

	loop->now_us = now_us;
	loop->stalls.callbacks++;
	xn_histogram_observe(&loop->times.callbacks, took_us);
	if (took_us > SUSPICIOUS_US) {
		judge_callback(loop, began_us, now_us);
	} else {
		note_longest(loop, took_us);
	}
	loop->running = NULL;
}

void xn_loop_name_callback(struct xn_loop *loop, const char *name)
{
	loop->running = name;
}

void xn_loop_stalls(struct xn_loop *loop, struct xn_stall_stats *out, bool reset)
{
	*out = loop->stalls;
	if (reset) {
		loop->stalls.longest_us = 0;
		loop->stalls.longest_name = NULL;
	}
}

const struct xn_loop_times *xn_loop_times(const struct xn_loop *loop)
{
	return &loop->times;
}

/* ---- time and randomness ---- */

int64_t xn_now_us(const struct xn_loop *loop)
{
	return loop->now_us;
}

int64_t xn_callback_us(const struct xn_loop *loop)
{
	return loop->ops->now_us(loop) - loop->now_us;
}

int64_t xn_wall_us(const struct xn_loop *loop)
{
	return loop->ops->wall_us(loop);
}

void xn_random_bytes(struct xn_loop *loop, void *out, size_t len)
{
	loop->ops->random_bytes(loop, out, len);
}

uint64_t xn_random_u64(struct xn_loop *loop)
{
	uint64_t r;

	xn_random_bytes(loop, &r, sizeof(r));
	return r;
}

void xn_uuid_new(struct xn_loop *loop, char out[37])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t b[16];
	char *p = out;

	xn_random_bytes(loop, b, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[b[i] >> 4];
		*p++ = hex[b[i] & 15];
	}
	*p = '\0';
}

void xn_ref_new(struct xn_loop *loop, char out[48])
{
	memcpy(out, "OpaqueRef:", 10);
	xn_uuid_new(loop, out + 10);
}

/* ---- deferred calls ---- */

void xn_loop_defer_as(struct xn_loop *loop, struct xn_job *job, enum xn_priority priority,
		      void (*run)(struct xn_job *job), uint64_t caller)
{
	if (xn_job_is_pending(job))
		return;
	job->run = run;
	job->caller = caller;
	job->priority = priority;
	queue_push(&loop->queues[priority], job);
}

void xn_loop_defer(struct xn_loop *loop, struct xn_job *job, enum xn_priority priority,
		   void (*run)(struct xn_job *job))
{
	xn_loop_defer_as(loop, job, priority, run, loop->caller);
}

uint64_t xn_loop_caller(const struct xn_loop *loop)
{
	return loop->caller;
}

void xn_loop_set_caller(struct xn_loop *loop, uint64_t caller)
{
	loop->caller = caller;
	loop->caller_is_own = false;
}

void xn_loop_set_own_caller(struct xn_loop *loop, uint64_t caller)
{
	loop->caller = caller;
	loop->caller_is_own = true;
}

uint64_t xn_loop_own_caller(const struct xn_loop *loop)
{
	return loop->caller_is_own ? loop->caller : 0;
}

uint64_t xn_loop_callback(const struct xn_loop *loop)
{
	return loop->callback;
}

void xn_job_cancel(struct xn_job *job)
{
	if (xn_job_is_pending(job))
		xn_list_remove(&job->link);
}

static bool run_one_job(struct xn_loop *loop, int priority)
{
	struct xn_job *job = queue_pop(&loop->queues[priority]);

	if (!job)
		return false;
	xn_loop_enter_(loop, priority_names[priority]);
	loop->caller = job->caller;
	job->run(job); /* may free the job */
	xn_loop_leave_(loop);
	return true;
}

static int first_waiting_priority(struct xn_loop *loop)
{
	int i = 0;

	while (i < XN_PRIO_COUNT && !queue_first(&loop->queues[i]))
		i++;
	return i;
}

static void run_hooks(struct xn_loop *loop)
{
	xn_list_each_safe(node, &loop->hooks) {
		struct xn_turn_hook *hook = xn_list_entry(node, struct xn_turn_hook, link);

		xn_loop_enter_(loop, "turn hook");
		hook->run(hook);
		xn_loop_leave_(loop);
	}
}

/*
 * The hooks run also before calls below XN_PRIO_OPERATION, when there was something above: what that
 * did is committed, so the next step of an operation is due again before a long list is written for
 * somebody else.
 */
static void run_jobs(struct xn_loop *loop)
{
	int64_t end_us = loop->now_us + XN_TURN_BUDGET_US;
	int left = xn_loop_is_virtual(loop) ? VIRTUAL_TURN_BUDGET : -1;
	bool ran_above = false;
	int priority;

	while ((priority = first_waiting_priority(loop)) < XN_PRIO_COUNT) {
		bool is_above = priority <= XN_PRIO_OPERATION;

		if (!is_above && ran_above) {
			run_hooks(loop);
			ran_above = false;
			continue;
		}
		run_one_job(loop, priority);
		ran_above |= is_above;
		if (loop->now_us >= end_us || --left == 0 || priority == XN_PRIO_BULK)
			break;
	}
	/* Out of budget: nobody starves, each lower queue moves on by one. */
	while (++priority < XN_PRIO_COUNT)
		run_one_job(loop, priority);
}

/* ---- timers ---- */

static bool timer_is_before(const struct xn_timer *a, const struct xn_timer *b)
{
	return a->due_us < b->due_us || (a->due_us == b->due_us && a->order < b->order);
}

static void heap_put(struct xn_loop *loop, size_t at, struct xn_timer *timer)
{
	loop->heap[at] = timer;
	timer->heap_index = at;
}

static void heap_up(struct xn_loop *loop, size_t at, struct xn_timer *timer)
{
	for (; at > 1 && timer_is_before(timer, loop->heap[at / 2]); at /= 2)
		heap_put(loop, at, loop->heap[at / 2]);
	heap_put(loop, at, timer);
}

static void heap_down(struct xn_loop *loop, size_t at, struct xn_timer *timer)
{
	size_t child;

	while ((child = 2 * at) <= loop->n_timers) {
		if (child < loop->n_timers &&
		    timer_is_before(loop->heap[child + 1], loop->heap[child]))
			child++;
		if (!timer_is_before(loop->heap[child], timer))
			break;
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, timer);
}

static void heap_settle(struct xn_loop *loop, size_t at, struct xn_timer *timer)
{
	if (at > 1 && timer_is_before(timer, loop->heap[at / 2]))
		heap_up(loop, at, timer);
	else
		heap_down(loop, at, timer);
}

void xn_timer_arm(struct xn_loop *loop, struct xn_timer *timer, int64_t delay_us,
		  void (*run)(struct xn_timer *timer))
{
	size_t at = timer->heap_index;

	assert(!at || timer->loop == loop);
	timer->due_us = loop->now_us + (delay_us > 0 ? delay_us : 0);
	timer->order = ++loop->last_order;
	timer->run = run;
	timer->loop = loop;
	if (!at) {
		at = ++loop->n_timers;
		if (at >= loop->heap_cap) {
			loop->heap_cap = loop->heap_cap ? 2 * loop->heap_cap : 64;
			loop->heap = xn_realloc(loop->heap, loop->heap_cap * sizeof(*loop->heap));
		}
		heap_up(loop, at, timer);
	} else {
		heap_settle(loop, at, timer);
	}
}

void xn_timer_cancel(struct xn_timer *timer)
{
	struct xn_loop *loop = timer->loop;
	size_t at = timer->heap_index;
	struct xn_timer *last;

	if (!at)
		return;
	timer->heap_index = 0;
	last = loop->heap[loop->n_timers--];
	if (last != timer)
		heap_settle(loop, at, last);
}

/* Timers that are armed meanwhile wait for the next turn: one of no delay cannot spin here. */
static void run_timers(struct xn_loop *loop)
{
	uint64_t last_order = loop->last_order;
	int64_t now_us = loop->now_us;

	while (loop->n_timers) {
		struct xn_timer *timer = loop->heap[1];

		if (timer->due_us > now_us || timer->order > last_order)
			break;
		xn_timer_cancel(timer);
		xn_loop_enter_(loop, "timer");
		xn_histogram_observe(&loop->times.timer_lags, loop->now_us - timer->due_us);
		timer->run(timer); /* may free the timer */
		xn_loop_leave_(loop);
	}
}

/* ---- descriptors and signals: the back end's ---- */

struct xn_io *xn_io_new(struct xn_loop *loop, int fd, int events,
			void (*ready)(int fd, int events, void *arg), void *arg)
{
	return loop->ops->io_new(loop, fd, events, ready, arg);
}

void xn_io_set(struct xn_io *io, int events)
{
	io->loop->ops->io_set(io, events);
}

bool xn_loop_clients_wait(const struct xn_loop *loop)
{
	return loop->ops->clients_wait && loop->ops->clients_wait(loop);
}

void xn_io_free(struct xn_io *io)
{
	if (io)
		io->loop->ops->io_free(io);
}

int xn_loop_on_signal(struct xn_loop *loop, int signo, void (*run)(int signo, void *arg), void *arg)
{
	return loop->ops->on_signal(loop, signo, run, arg);
}

/* ---- the turn ---- */

void xn_loop_add_turn_hook(struct xn_loop *loop, struct xn_turn_hook *hook)
{
	xn_list_push(&loop->hooks, &hook->link);
}

void xn_loop_remove_turn_hook(struct xn_turn_hook *hook)
{
	if (hook->link.next)
		xn_list_remove(&hook->link);
}

static int64_t time_to_wait(struct xn_loop *loop, int64_t wait_us)
{
	int64_t until_timer_us;

	if (first_waiting_priority(loop) < XN_PRIO_COUNT)
		return 0;
	if (!loop->n_timers)
		return wait_us;
	until_timer_us = loop->heap[1]->due_us - loop->now_us;
	if (until_timer_us < 0)
		return 0;
	return wait_us < 0 || until_timer_us < wait_us ? until_timer_us : wait_us;
}

/*
 * Replies, steps and events that are due go on without a look at the descriptors, up to the budget:
 * an operation of many short steps does not queue behind every client's calls at each of them.
 */
static bool is_in_a_hurry(struct xn_loop *loop)
{
	bool has_work = first_waiting_priority(loop) < XN_PRIO_REFRESH ||
			(loop->n_timers && loop->heap[1]->due_us <= loop->now_us);

	return has_work && loop->now_us - loop->woke_us < XN_TURN_BUDGET_US;
}

/* Return false when nothing can ever happen again: an idle virtual loop. */
static bool turn(struct xn_loop *loop, int64_t wait_us)
{
	bool alive = true;

	loop->ran = false;
	if (!is_in_a_hurry(loop)) {
		if (loop->woke_us >= 0)
			xn_histogram_observe(&loop->times.turns, loop->now_us - loop->woke_us);
		loop->asleep = true;
		alive = loop->ops->wait(loop, time_to_wait(loop, wait_us));
		wake_up(loop);
	}
	run_timers(loop);
	run_jobs(loop);
	if (loop->ran)
		run_hooks(loop);
	return alive;
}

bool xn_loop_turn(struct xn_loop *loop, int64_t wait_us)
{
	turn(loop, wait_us);
	return loop->ran;
}

void xn_loop_run(struct xn_loop *loop)
{
	while (!loop->stopped && turn(loop, -1))
		;
	loop->stopped = false;
}

void xn_loop_stop(struct xn_loop *loop)
{
	loop->stopped = true;
}
