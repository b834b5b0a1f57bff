/*
 * sim [--seeds N] [--first SEED] [--jobs N] [--budget SECONDS] [--stop] [--verbose] - runs N seeds, each
 * in a process of its own, until the budget is used up, or with --stop until one fails
 * sim --hour [--seed SEED] - an hour of 100 VMs and 20 clients at a call a second each, timed
 *
 * A failing seed is printed, with what was done last; `sim --seed SEED --verbose` shows all of it.
 * --bend clients=2, lives=3 and the like change a seed's world: what still fails when that is smaller
 * is easier to read.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

struct options {
	uint64_t first, n;
	unsigned jobs;
	double budget_s;
	bool verbose, hour, stop;
	const char *bent[8]; /* "clients=2" */
	unsigned n_bent;
};

static double now_s(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void bend(struct sim_plan *plan, const char *how)
{
	const struct {
		const char *name;
		unsigned *field;
	} bendable[] = {
		{"clients", &plan->clients},	       {"followers", &plan->followers},
		{"lives", &plan->lives},	       {"vms", &plan->vms},
		{"power-cuts", &plan->power_cuts},     {"step-faults", &plan->step_faults},
		{"moody", &plan->moody_guests},	       {"jumps", &plan->clock_jumps},
		{"disconnects", &plan->disconnects},   {"logouts", &plan->logouts},
		{"append-failures", &plan->disk.append_failures},
		{"sync-failures", &plan->disk.sync_failures},
	};
	size_t len = strcspn(how, "=");

	for (size_t i = 0; i < XN_ARRAY_SIZE(bendable); i++) {
		if (strncmp(bendable[i].name, how, len) == 0 && !bendable[i].name[len] && how[len]) {
			*bendable[i].field = (unsigned)strtoul(how + len + 1, NULL, 10);
			return;
		}
	}
	fprintf(stderr, "--bend takes one of:");
	for (size_t i = 0; i < XN_ARRAY_SIZE(bendable); i++)
		fprintf(stderr, " %s=N", bendable[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static int run_seed(uint64_t seed, const struct options *o)
{
	struct sim_plan plan = o->hour ? sim_plan_hour() : sim_plan_of(seed);
	struct sim_world *w = xn_calloc(1, sizeof(*w)); /* not on a stack that longjmp leaves */
	double began_s = now_s(CLOCK_MONOTONIC), cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t hash;

	for (unsigned i = 0; i < o->n_bent; i++)
		bend(&plan, o->bent[i]);
	sim_world_init(w, seed, &plan, o->verbose);
	hash = sim_play(w);
	if (o->n == 1 || o->verbose || o->hour)
		printf("seed %llu: hash %016llx, %u lives, %llu calls, %llu events\n",
		       (unsigned long long)seed, (unsigned long long)hash, w->life - 1,
		       (unsigned long long)w->calls, (unsigned long long)w->events);
	if (o->hour)
		printf("%.2f s, %.2f s of CPU time\n", now_s(CLOCK_MONOTONIC) - began_s,
		       now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu_s);
	fflush(stdout);
	free(w);
	return EXIT_SUCCESS;
}

struct job {
	pid_t pid;
	uint64_t seed;
};

/* Lives that ended in a crash are left as they were, so each seed has its own process. */
static void begin_job(struct job *job, uint64_t seed, const struct options *o)
{
	fflush(stdout);
	job->seed = seed;
	job->pid = fork();
	if (job->pid == 0)
		_exit(run_seed(seed, o));
	if (job->pid < 0)
		exit(2);
}

/* Waits for one of them. Return whether it passed. */
static bool end_one(struct job *jobs, unsigned n)
{
	int status;
	pid_t pid = wait(&status);

	for (unsigned i = 0; i < n; i++) {
		if (jobs[i].pid != pid)
			continue;
		jobs[i].pid = 0;
		if (WIFSIGNALED(status))
			printf("seed %llu: signal %d\n", (unsigned long long)jobs[i].seed,
			       WTERMSIG(status));
		return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
	}
	return false;
}

static struct job *idle_job(struct job *jobs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!jobs[i].pid)
			return &jobs[i];
	return NULL;
}

static int run_all(const struct options *o)
{
	struct job *jobs = xn_calloc(o->jobs, sizeof(*jobs)), *job;
	double end_s = now_s(CLOCK_MONOTONIC) + o->budget_s;
	uint64_t begun = 0, ended = 0, failed = 0;

	while (ended < begun || begun < o->n) {
		bool more = begun < o->n && !(o->stop && failed) && (o->budget_s <= 0 || now_s(CLOCK_MONOTONIC) < end_s);

		if (!more && ended == begun)
			break;
		if (more && (job = idle_job(jobs, o->jobs))) {
			begin_job(job, o->first + begun++, o);
			continue;
		}
		failed += !end_one(jobs, o->jobs);
		ended++;
	}
	free(jobs);
	printf("%llu passed, %llu failed\n", (unsigned long long)(ended - failed),
	       (unsigned long long)failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seeds N] [--first SEED | --seed SEED] [--jobs N] "
			"[--budget SECONDS]\n           [--bend WHAT=N]... [--hour] [--stop] [--verbose]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'},  {"first", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},	  {"jobs", required_argument, NULL, 'j'},
		{"budget", required_argument, NULL, 'b'}, {"bend", required_argument, NULL, 'w'},
		{"verbose", no_argument, NULL, 'v'},	  {"hour", no_argument, NULL, 'h'},
		{"stop", no_argument, NULL, 'x'},
		{0},
	};
	struct options o = {.first = 1, .n = 100, .jobs = 1};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			o.n = strtoull(optarg, NULL, 10);
			break;
		case 's':
			o.n = 1;
			/* fall through */
		case 'f':
			o.first = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			o.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			o.budget_s = strtod(optarg, NULL);
			break;
		case 'w':
			if (o.n_bent < XN_ARRAY_SIZE(o.bent))
				o.bent[o.n_bent++] = optarg;
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'x':
			o.stop = true;
			break;
		case 'h':
			o.hour = true;
			o.n = 1;
			break;
		default:
			return usage();
		}
	}
	if (optind < argc || !o.jobs)
		return usage();
	return run_all(&o);
}
