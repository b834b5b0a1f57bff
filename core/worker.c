/*
 * The worker pool; see worker.h. Real: threads that take jobs from a list and ring an eventfd. On a
 * virtual loop there are no threads: a job occupies one of `width` slots for a time drawn from the
 * seed and then runs inline, so its effects and its result appear at that moment.
 */
#include "core/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	STACK_BYTES = 512 * 1024,
	MAX_VIRTUAL_RUN_US = 3000,
};

struct slot { /* of a virtual loop */
	struct xn_pool *pool;
	struct xn_work *work;
	struct xn_timer end;
};

struct xn_pool {
	struct xn_loop *loop;
	char name[12];
	unsigned width;
	/* A thread that takes a job moves it from queued to running. */
	unsigned n_queued, n_running;
	struct xn_list landed;	      /* finished jobs whose done() is due; loop thread only */
	struct xn_job land;
	struct slot *slots; /* virtual loop only */

	pthread_mutex_t mutex; /* guards what follows, and n_queued, n_running */
	pthread_cond_t more;
	struct xn_fair todo;
	struct xn_list finished;
	unsigned n_threads, n_idle;
	bool ending;
	int event_fd;
	struct xn_io *io;
	pthread_t threads[];
};

static void deliver_one(struct xn_job *job);

/* ---- threads ---- */

static struct xn_work *take_next(struct xn_pool *pool)
{
	struct xn_fair_item *turn = xn_fair_take(&pool->todo, NULL, NULL);

	return turn ? xn_container_of(turn, struct xn_work, turn) : NULL;
}

/* Called and left with the mutex held. */
static void run_one(struct xn_pool *pool)
{
	struct xn_work *work = take_next(pool);
	uint64_t one = 1;
	bool ring;

	work->queued = false;
	pool->n_queued--;
	pool->n_running++;
	pthread_mutex_unlock(&pool->mutex);
	work->rc = work->run(work);
	pthread_mutex_lock(&pool->mutex);
	pool->n_running--;
	ring = xn_list_empty(&pool->finished);
	xn_list_push(&pool->finished, &work->link);
	if (!ring)
		return;
	pthread_mutex_unlock(&pool->mutex); /* who is woken takes it at once */
	if (write(pool->event_fd, &one, sizeof(one)) < 0)
		abort(); /* cannot be: the counter is far from full */
	pthread_mutex_lock(&pool->mutex);
}

static void *worker_main(void *arg)
{
	struct xn_pool *pool = arg;

	pthread_mutex_lock(&pool->mutex);
	while (!pool->ending) {
		if (pool->todo.count > 0) {
			run_one(pool);
			continue;
		}
		pool->n_idle++;
		pthread_cond_wait(&pool->more, &pool->mutex);
		pool->n_idle--;
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* Signals are the loop thread's: a worker is born with all of them blocked. */
static void start_thread(struct xn_pool *pool)
{
	pthread_t *thread = &pool->threads[pool->n_threads];
	pthread_attr_t attr;
	sigset_t all, old;
	char name[16];

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_create(thread, &attr, worker_main, pool) == 0) {
		snprintf(name, sizeof(name), "xn-%s", pool->name);
		pthread_setname_np(*thread, name);
		pool->n_threads++;
	} else if (!pool->n_threads) {
		abort(); /* nobody would ever run the job */
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void submit_to_threads(struct xn_pool *pool, struct xn_work *work)
{
	bool wake;

	pthread_mutex_lock(&pool->mutex);
	xn_fair_put(&pool->todo, &work->turn, work->caller, 0);
	pool->n_queued++;
	if (pool->n_idle < pool->n_queued && pool->n_threads < pool->width)
		start_thread(pool);
	wake = pool->n_idle > 0;
	pthread_mutex_unlock(&pool->mutex);
	if (wake) /* not before: it would run into the mutex at once */
		pthread_cond_signal(&pool->more);
}

static void on_bell(int fd, int events, void *arg)
{
	struct xn_pool *pool = arg;
	struct xn_list *link;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		n = 0; /* rung and answered already */
	pthread_mutex_lock(&pool->mutex); /* behind it: who finishes now either rings or is found */
	while ((link = xn_list_pop(&pool->finished)))
		xn_list_push(&pool->landed, link);
	pthread_mutex_unlock(&pool->mutex);
	if (!xn_list_empty(&pool->landed))
		xn_loop_defer(pool->loop, &pool->land, XN_PRIO_REPLY, deliver_one);
}

/* One result a call, so that a burst of them is no stall. */
static void deliver_one(struct xn_job *job)
{
	struct xn_pool *pool = xn_container_of(job, struct xn_pool, land);
	struct xn_work *work = xn_list_entry(xn_list_pop(&pool->landed), struct xn_work, link);

	if (!xn_list_empty(&pool->landed))
		xn_loop_defer(pool->loop, job, XN_PRIO_REPLY, deliver_one);
	xn_loop_name_callback(pool->loop, "worker result");
	if (work->caller_is_own)
		xn_loop_set_own_caller(pool->loop, work->caller);
	else
		xn_loop_set_caller(pool->loop, work->caller);
	work->done(work, work->rc);
}

static void stop_threads(struct xn_pool *pool)
{
	struct xn_list *link;

	pthread_mutex_lock(&pool->mutex);
	pool->ending = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->mutex);
	for (unsigned i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	while ((link = xn_list_pop(&pool->finished)))
		xn_list_push(&pool->landed, link);
	pool->n_threads = 0;
}

/* ---- virtual loop ---- */

static void start_virtual(struct slot *slot);

static void end_virtual(struct slot *slot)
{
	struct xn_pool *pool = slot->pool;
	struct xn_work *work = slot->work;

	slot->work = NULL;
	pool->n_running--;
	work->rc = work->run(work);
	xn_list_push(&pool->landed, &work->link);
}

static void on_virtual_end(struct xn_timer *timer)
{
	struct slot *slot = xn_container_of(timer, struct slot, end);
	struct xn_pool *pool = slot->pool;

	end_virtual(slot);
	xn_loop_defer(pool->loop, &pool->land, XN_PRIO_REPLY, deliver_one);
	start_virtual(slot);
}

static void start_virtual(struct slot *slot)
{
	struct xn_pool *pool = slot->pool;

	slot->work = take_next(pool);
	if (!slot->work)
		return;
	slot->work->queued = false;
	pool->n_queued--;
	pool->n_running++;
	xn_timer_arm(pool->loop, &slot->end, 1 + xn_random_u64(pool->loop) % MAX_VIRTUAL_RUN_US,
		     on_virtual_end);
}

static void submit_virtual(struct xn_pool *pool, struct xn_work *work)
{
	xn_fair_put(&pool->todo, &work->turn, work->caller, 0);
	pool->n_queued++;
	for (unsigned i = 0; i < pool->width; i++) {
		if (!pool->slots[i].work) {
			start_virtual(&pool->slots[i]);
			return;
		}
	}
}

static void stop_virtual(struct xn_pool *pool)
{
	pool->ending = true;
	for (unsigned i = 0; i < pool->width; i++) {
		xn_timer_cancel(&pool->slots[i].end);
		if (pool->slots[i].work)
			end_virtual(&pool->slots[i]);
	}
}

/* ---- both ---- */

struct xn_pool *xn_pool_new(struct xn_loop *loop, const char *name, unsigned width)
{
	struct xn_pool *pool = xn_calloc(1, sizeof(*pool) + width * sizeof(pool->threads[0]));

	pool->loop = loop;
	pool->width = width;
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	xn_fair_init(&pool->todo);
	xn_list_init(&pool->finished);
	xn_list_init(&pool->landed);
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_cond_init(&pool->more, NULL);
	if (xn_loop_is_virtual(loop)) {
		pool->slots = xn_calloc(width, sizeof(*pool->slots));
		for (unsigned i = 0; i < width; i++)
			pool->slots[i].pool = pool;
		return pool;
	}
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0)
		abort();
	pool->io = xn_io_new(loop, pool->event_fd, XN_IO_READ, on_bell, pool);
	return pool;
}

void xn_pool_stop(struct xn_pool *pool)
{
	struct xn_work *dropped;
	struct xn_list *link;

	if (pool->slots)
		stop_virtual(pool);
	else
		stop_threads(pool);
	xn_job_cancel(&pool->land);
	while ((link = xn_list_pop(&pool->landed))) {
		struct xn_work *work = xn_list_entry(link, struct xn_work, link);

		work->done(work, work->rc);
	}
	while ((dropped = take_next(pool))) {
		dropped->queued = false;
		dropped->done(dropped, -ECANCELED);
	}
	pool->n_queued = 0;
}

void xn_pool_free(struct xn_pool *pool)
{
	if (!pool)
		return;
	xn_pool_stop(pool);
	if (!pool->slots) {
		xn_io_free(pool->io);
		close(pool->event_fd);
	}
	free(pool->slots);
	xn_fair_clear(&pool->todo);
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

void xn_pool_submit(struct xn_pool *pool, struct xn_work *work)
{
	work->queued = true;
	work->caller = xn_loop_caller(pool->loop);
	work->caller_is_own = xn_loop_own_caller(pool->loop) != 0;
	if (pool->ending) /* dropped like the others */
		xn_fair_put(&pool->todo, &work->turn, work->caller, 0);
	else if (pool->slots)
		submit_virtual(pool, work);
	else
		submit_to_threads(pool, work);
}

bool xn_pool_withdraw(struct xn_pool *pool, struct xn_work *work)
{
	bool was_queued;

	pthread_mutex_lock(&pool->mutex);
	was_queued = work->queued;
	if (was_queued) {
		xn_fair_remove(&pool->todo, &work->turn);
		work->queued = false;
		pool->n_queued--;
	}
	pthread_mutex_unlock(&pool->mutex);
	return was_queued;
}

unsigned xn_pool_queued(const struct xn_pool *pool)
{
	struct xn_pool *p = (struct xn_pool *)pool;
	unsigned n;

	pthread_mutex_lock(&p->mutex);
	n = pool->n_queued;
	pthread_mutex_unlock(&p->mutex);
	return n;
}

unsigned xn_pool_running(const struct xn_pool *pool)
{
	struct xn_pool *p = (struct xn_pool *)pool;
	unsigned n;

	pthread_mutex_lock(&p->mutex);
	n = pool->n_running;
	pthread_mutex_unlock(&p->mutex);
	return n;
}
