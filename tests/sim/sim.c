/*
 * sim [--seeds N] [--first SEED] [--verbose] - runs N seeds, each in a process of its own
 * A failing seed is printed; `sim --seeds 1 --first SEED --verbose` shows it again, step by step.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

enum { SECOND = 1000000, MOST_LIVES = 4 };

struct cast {
	struct sim_client *clients[SIM_CLIENTS];
	struct sim_follower *followers[SIM_FOLLOWERS];
};

static bool all_idle(const struct cast *cast)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		if (!sim_client_is_idle(cast->clients[i]))
			return false;
	return true;
}

static void begin(struct sim_world *w, struct cast *cast)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_check(cast->clients[i]);
	for (int i = 0; i < SIM_FOLLOWERS; i++)
		sim_follower_begin(cast->followers[i]);
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_begin(cast->clients[i]);
}

static void crash(struct sim_world *w, struct cast *cast)
{
	enum sim_death how = sim_random(w, 3) ? SIM_KILL : SIM_POWER_CUT;

	sim_say(w, "---- %s", how == SIM_KILL ? "SIGKILL" : "power cut");
	sim_world_crash(w, how);
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_crashed(cast->clients[i], how);
	for (int i = 0; i < SIM_FOLLOWERS; i++)
		sim_follower_crashed(cast->followers[i], how);
}

/* Everyone stops asking; then nothing may be left over, and all pictures must agree. */
static void come_to_rest(struct sim_world *w, struct cast *cast)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_rest(cast->clients[i]);
	for (int s = 0; s < 1500 && !all_idle(cast); s++)
		sim_world_run(w, SECOND);
	if (!all_idle(cast))
		sim_fail(w, "a call has no answer after 25 minutes");
	sim_world_run(w, 10 * SECOND);
	sim_check_rest(w);
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_check(cast->clients[i]);
	for (int i = 0; i < SIM_FOLLOWERS; i++)
		sim_follower_check(cast->followers[i]);
}

static int run_seed(uint64_t seed, bool verbose)
{
	struct sim_world w;
	struct cast cast;
	unsigned lives;

	sim_world_init(&w, seed, verbose);
	for (unsigned i = 0; i < SIM_CLIENTS; i++)
		cast.clients[i] = sim_client_new(&w, i);
	for (unsigned i = 0; i < SIM_FOLLOWERS; i++)
		cast.followers[i] = sim_follower_new(&w, i);
	lives = 1 + (unsigned)sim_random(&w, MOST_LIVES);
	sim_world_start(&w);
	begin(&w, &cast);
	while (--lives) {
		sim_world_run(&w, (int64_t)sim_random(&w, 20 * SECOND));
		crash(&w, &cast);
		sim_world_start(&w);
		begin(&w, &cast);
	}
	sim_world_run(&w, 20 * SECOND);
	come_to_rest(&w, &cast);
	printf("seed %llu: hash %016llx, %u lives, %llu calls, %llu events\n",
	       (unsigned long long)seed, (unsigned long long)sim_state_hash(&w), w.life,
	       (unsigned long long)w.calls, (unsigned long long)w.events);
	fflush(stdout);
	sim_world_clear(&w); /* answers who still waits */
	for (int i = 0; i < SIM_CLIENTS; i++)
		sim_client_free(cast.clients[i]);
	for (int i = 0; i < SIM_FOLLOWERS; i++)
		sim_follower_free(cast.followers[i]);
	return EXIT_SUCCESS;
}

/* Lives that ended in a crash are left as they were, so each seed has its own process. */
static bool seed_passes(uint64_t seed, bool verbose)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(run_seed(seed, verbose));
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return false;
	if (WIFSIGNALED(status))
		printf("seed %llu: signal %d\n", (unsigned long long)seed, WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"verbose", no_argument, NULL, 'v'},
		{0},
	};
	uint64_t first = 1, n = 100, failed = 0;
	bool verbose = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			n = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			first = strtoull(optarg, NULL, 10);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return 2;
		}
	}
	for (uint64_t seed = first; seed < first + n; seed++)
		failed += !seed_passes(seed, verbose);
	printf("%llu passed, %llu failed\n", (unsigned long long)(n - failed),
	       (unsigned long long)failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
