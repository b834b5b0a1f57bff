/* The worker pool, with threads and in virtual time. */
#include "tests/unit/turn_until.h"

#include "core/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct fixture {
	struct xn_loop *loop;
	struct xn_pool *pool;
	unsigned done;
	pthread_t loop_thread;
};

struct job {
	struct xn_work work;
	struct fixture *f;
	int input, output, rc, position;
	bool ran_on_loop_thread;
	pthread_mutex_t *gate; /* run() waits for it */
};

static struct fixture *new_fixture(struct xn_loop *loop, unsigned width)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = loop;
	f->pool = xn_pool_new(loop, "test", width);
	f->loop_thread = pthread_self();
	return f;
}

static int set_up_real(void **state)
{
	*state = new_fixture(xn_loop_new(), 2);
	return 0;
}

static int set_up_virtual(void **state)
{
	*state = new_fixture(xn_loop_new_virtual(3), 2);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_pool_free(f->pool);
	xn_loop_free(f->loop);
	free(f);
	return 0;
}

static int run_job(struct xn_work *work)
{
	struct job *job = xn_container_of(work, struct job, work);

	if (job->gate) {
		pthread_mutex_lock(job->gate);
		pthread_mutex_unlock(job->gate);
	}
	job->ran_on_loop_thread = pthread_equal(pthread_self(), job->f->loop_thread);
	job->output = job->input * 2;
	return job->input < 0 ? -EINVAL : 0;
}

static void on_done(struct xn_work *work, int rc)
{
	struct job *job = xn_container_of(work, struct job, work);

	job->rc = rc;
	job->position = ++job->f->done;
}

static void submit(struct fixture *f, struct job *job, int input)
{
	job->work.run = run_job;
	job->work.done = on_done;
	job->f = f;
	job->input = input;
	job->rc = 1;
	xn_pool_submit(f->pool, &job->work);
}

static void turn_until_done(struct fixture *f, unsigned n)
{
	TURN_UNTIL(f->loop, f->done >= n);
	assert_int_equal(f->done, n);
}

static void every_job_runs_and_its_result_lands_on_the_loop(void **state)
{
	enum { N = 200 };
	struct fixture *f = *state;
	struct job *jobs = calloc(N, sizeof(*jobs));

	for (int i = 0; i < N; i++)
		submit(f, &jobs[i], i - 1);
	turn_until_done(f, N);
	for (int i = 0; i < N; i++) {
		assert_int_equal(jobs[i].output, 2 * (i - 1));
		assert_int_equal(jobs[i].rc, i ? 0 : -EINVAL);
		assert_int_equal(jobs[i].ran_on_loop_thread, xn_loop_is_virtual(f->loop));
	}
	assert_int_equal(xn_pool_queued(f->pool), 0);
	assert_int_equal(xn_pool_running(f->pool), 0);
	free(jobs);
}

static void no_more_than_width_run_at_once_and_a_queued_job_can_be_withdrawn(void **state)
{
	struct fixture *f = *state;
	struct job jobs[4] = {{{{0}}}};
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&gate);
	for (int i = 0; i < 4; i++) {
		jobs[i].gate = xn_loop_is_virtual(f->loop) ? NULL : &gate;
		submit(f, &jobs[i], 1);
	}
	while (xn_pool_running(f->pool) < 2)
		sched_yield();
	assert_int_equal(xn_pool_running(f->pool), 2);
	assert_int_equal(xn_pool_queued(f->pool), 2);
	assert_false(xn_pool_withdraw(f->pool, &jobs[0].work));
	assert_true(xn_pool_withdraw(f->pool, &jobs[2].work));
	assert_false(xn_pool_withdraw(f->pool, &jobs[2].work));
	pthread_mutex_unlock(&gate);
	turn_until_done(f, 3);
	assert_int_equal(jobs[2].position, 0);
}

static void callers_take_turns_in_the_queue(void **state)
{
	enum { MANY = 8 };
	struct fixture *f = new_fixture(xn_loop_new_virtual(1), 1);
	struct job many[MANY] = {{{{0}}}}, one = {{{0}}};

	xn_loop_set_caller(f->loop, 1);
	for (int i = 0; i < MANY; i++)
		submit(f, &many[i], 1);
	xn_loop_set_caller(f->loop, 2);
	submit(f, &one, 1);
	turn_until_done(f, MANY + 1);
	assert_in_range(one.position, 2, 3); /* behind what ran, and one of the other's */
	tear_down((void **)&f);
}

static void freeing_the_pool_finishes_what_runs_and_cancels_what_waits(void **state)
{
	struct fixture *f = *state;
	struct job jobs[6] = {{{{0}}}};
	int finished = 0, cancelled = 0;

	for (int i = 0; i < 6; i++)
		submit(f, &jobs[i], 1);
	xn_pool_free(f->pool);
	f->pool = NULL;
	for (int i = 0; i < 6; i++) {
		finished += jobs[i].rc == 0 && jobs[i].output == 2;
		cancelled += jobs[i].rc == -ECANCELED && jobs[i].output == 0;
	}
	assert_int_equal(finished + cancelled, 6);
	if (xn_loop_is_virtual(f->loop))
		assert_int_equal(finished, 2);
}

static void on_done_again(struct xn_work *work, int rc)
{
	struct job *job = xn_container_of(work, struct job, work);

	on_done(work, rc);
	if (job->position == 1)
		xn_pool_submit(job->f->pool, work);
}

static void what_is_submitted_to_a_stopped_pool_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct job again = {{{0}}}, late = {{{0}}};

	submit(f, &again, 1);
	again.work.done = on_done_again;
	xn_pool_stop(f->pool);
	assert_int_equal(again.position, 2);
	assert_int_equal(again.rc, -ECANCELED);
	submit(f, &late, 1);
	assert_int_equal(late.rc, 1);
	xn_pool_free(f->pool);
	f->pool = NULL;
	assert_int_equal(late.rc, -ECANCELED);
	assert_int_equal(late.output, 0);
}

static void the_seed_decides_the_order_of_completions(void **state)
{
	enum { N = 8, SEEDS = 20 };
	int orders[SEEDS][N];
	int different = 0;

	for (int seed = 0; seed < SEEDS; seed++) {
		struct fixture *f = new_fixture(xn_loop_new_virtual(seed / 2), N);
		struct job jobs[N] = {{{{0}}}};

		for (int i = 0; i < N; i++)
			submit(f, &jobs[i], i);
		turn_until_done(f, N);
		for (int i = 0; i < N; i++)
			orders[seed][i] = jobs[i].position;
		tear_down((void **)&f);
	}
	for (int seed = 0; seed < SEEDS; seed += 2) {
		assert_memory_equal(orders[seed], orders[seed + 1], sizeof(orders[0]));
		different += memcmp(orders[0], orders[seed], sizeof(orders[0])) != 0;
	}
	assert_true(different > SEEDS / 4);
}

int main(void)
{
#define VIRTUAL(test) cmocka_unit_test_setup_teardown(test, set_up_virtual, tear_down)
#define REAL(test)    cmocka_unit_test_setup_teardown(test, set_up_real, tear_down)
	const struct CMUnitTest tests[] = {
		REAL(every_job_runs_and_its_result_lands_on_the_loop),
		VIRTUAL(every_job_runs_and_its_result_lands_on_the_loop),
		REAL(no_more_than_width_run_at_once_and_a_queued_job_can_be_withdrawn),
		VIRTUAL(no_more_than_width_run_at_once_and_a_queued_job_can_be_withdrawn),
		cmocka_unit_test(callers_take_turns_in_the_queue),
		REAL(freeing_the_pool_finishes_what_runs_and_cancels_what_waits),
		VIRTUAL(freeing_the_pool_finishes_what_runs_and_cancels_what_waits),
		REAL(what_is_submitted_to_a_stopped_pool_is_dropped),
		VIRTUAL(what_is_submitted_to_a_stopped_pool_is_dropped),
		cmocka_unit_test(the_seed_decides_the_order_of_completions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
