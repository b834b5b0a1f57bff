/*
 * A child changes a database on real files as fast as it can and says through a pipe what is
 * visible and what is durable; it is killed at a random moment. The next start must hold everything
 * that was said, and be exactly the state that the same changes give on a disk that never fails.
 *
 *   test_db_kill [SEED [KILLS]]
 */
#include "tests/unit/db_workload.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t seed = 1; /* the command line's */
static unsigned n_kills = 60;

enum { LONGEST_LIFE_MS = 40 };

/* ---- the child ---- */

struct told {
	struct xn_db_wait visible, durable;
	unsigned k;
	int pipe;
	unsigned waiting;
};

struct word { /* on the pipe */
	unsigned k, is_durable;
};

static void say(const struct told *told, bool is_durable)
{
	struct word word = {told->k, is_durable};

	if (write(told->pipe, &word, sizeof(word)) != sizeof(word))
		_exit(1);
}

static void end_told(struct told *told)
{
	if (!--told->waiting)
		free(told);
}

static void on_visible(struct xn_db_wait *wait, int rc)
{
	struct told *told = xn_container_of(wait, struct told, visible);

	if (rc < 0)
		_exit(1);
	say(told, false);
	end_told(told);
}

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct told *told = xn_container_of(wait, struct told, durable);

	if (rc < 0)
		_exit(1);
	say(told, true);
	end_told(told);
}

static void live(const char *dir, int pipe)
{
	struct fixture f = {0};

	strcpy(f.dir, dir);
	start(&f);
	for (unsigned k = workload_at(f.db) + 1;; k++) {
		struct told *told = calloc(1, sizeof(*told));

		*told = (struct told){.k = k, .pipe = pipe, .waiting = 2};
		workload_turn(f.db, seed, k);
		xn_db_when_visible(f.db, &told->visible, on_visible);
		xn_db_when_durable(f.db, &told->durable, on_durable);
		commit(&f);
		if (k % 64 == 0)
			f.db->store->ops->checkpoint(f.db->store);
	}
}

/* ---- the parent ---- */

/* What the child said until it was killed, @life_ms after its birth or after its first word: on a
 * machine that is slow to start one, too, some must have got to work. */
static void listen_and_kill(pid_t child, int pipe, int life_ms, bool may_start, unsigned *visible,
			    unsigned *durable)
{
	struct timespec now, end;
	struct word word;
	bool killed = false;

	if (may_start)
		poll(&(struct pollfd){pipe, POLLIN, 0}, 1, -1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += life_ms * 1000000l;
	for (;;) {
		struct pollfd ready = {pipe, POLLIN, 0};
		long left;

		clock_gettime(CLOCK_MONOTONIC, &now);
		left = (end.tv_sec - now.tv_sec) * 1000 + (end.tv_nsec - now.tv_nsec) / 1000000;
		if (!killed && left <= 0) {
			kill(child, SIGKILL);
			killed = true;
		}
		if (poll(&ready, 1, killed ? -1 : (int)left) <= 0)
			continue;
		if (read(pipe, &word, sizeof(word)) != sizeof(word))
			break;
		if (word.is_durable)
			*durable = word.k;
		else
			*visible = word.k;
	}
}

static void one_life(struct fixture *f, int life_ms, bool may_start, unsigned *visible,
		     unsigned *durable)
{
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		close(ends[0]);
		live(f->dir, ends[1]);
	}
	close(ends[1]);
	listen_and_kill(child, ends[0], life_ms, may_start, visible, durable);
	close(ends[0]);
	waitpid(child, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The same turns where nothing fails. */
static void advance(struct fixture *reference, unsigned to)
{
	for (unsigned k = workload_at(reference->db) + 1; k <= to; k++) {
		workload_turn(reference->db, seed, k);
		commit(reference);
	}
}

static void every_kill_leaves_what_was_told(void **state)
{
	struct fixture *f = *state;
	struct fixture reference = {.seed = 1, .disk = xn_sim_disk_new(1)};
	struct dice dice = {seed};

	start(&reference);
	stop(f);
	for (unsigned n = 0; n < n_kills; n++) {
		unsigned visible = 0, durable = 0, at;

		one_life(f, 1 + (int)roll(&dice, LONGEST_LIFE_MS), n % 2, &visible, &durable);
		start(f);
		at = workload_at(f->db);
		if (at < visible || at < durable)
			fail_msg("seed %llu, kill %u: turn %u was told, %u is left",
				 (unsigned long long)seed, n, visible, at);
		advance(&reference, at);
		if (xn_db_state_hash(f->db) != xn_db_state_hash(reference.db))
			fail_msg("seed %llu, kill %u: not the state of turn %u",
				 (unsigned long long)seed, n, at);
		assert_clean(f);
		/* A kill in the middle of a write makes the next start skip a range. */
		reference.db->generation = reference.db->turn.first = f->db->generation;
		if (roll(&dice, 2))
			f->db->error = -1; /* leaves the journal as it is */
		stop(f);
	}
	assert_true(workload_at(reference.db) >= n_kills / 2);
	start(f);
	stop(&reference);
	xn_sim_disk_free(reference.disk);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_kill_leaves_what_was_told, setup_files,
						teardown),
	};

	if (argc > 1)
		seed = (uint64_t)atoll(argv[1]);
	if (argc > 2)
		n_kills = (unsigned)atoi(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
