/*
 * The simulation: the daemon's own modules in virtual time, with the storage engine's twin, the
 * simulated hypervisor, and clients that call through the RPC parsers. One seed decides the schedule,
 * the calls, the delays and the crashes; the same seed gives the same history.
 *
 *   world.c    lives and deaths of the daemon
 *   client.c   clients that change things, each remembering what was acknowledged to it
 *   follower.c clients that know the world from events alone
 *   check.c    what must hold at the end
 */
#ifndef XN_SIM_H
#define XN_SIM_H

#include "core/module.h"
#include "core/value.h"
#include "modules/db/store_sim.h"

enum { SIM_CLIENTS = 6, SIM_FOLLOWERS = 3 };

struct sim_world {
	uint64_t seed;
	uint64_t random; /* the test's own stream, apart from the daemon's */
	bool verbose;
	char dir[64]; /* scratch state folder */
	struct xn_sim_disk *disk;
	struct xn_core core;
	struct xn_loop *loop;
	struct xn_modules *modules;
	struct xn_config *config;
	struct xn_log *log;
	unsigned life;	      /* counts the starts */
	unsigned power_cuts;  /* of these, after a loss of power */
	int64_t past_us;      /* virtual time of earlier lives */
	uint64_t calls, acknowledged, events;
	char secret[48];   /* the clients' session */
	char template[48]; /* what they clone */
};

/* ---- world ---- */
void sim_world_init(struct sim_world *w, uint64_t seed, bool verbose);
void sim_world_clear(struct sim_world *w);
void sim_world_start(struct sim_world *w);
enum sim_death { SIM_KILL, SIM_POWER_CUT };
/* The daemon is gone at this instant; what its disk keeps depends on how. */
void sim_world_crash(struct sim_world *w, enum sim_death how);
void sim_world_run(struct sim_world *w, int64_t us); /* virtual time */
uint64_t sim_random(struct sim_world *w, uint64_t below);
void sim_say(struct sim_world *w, const char *fmt, ...) XN_PRINTF(2, 3);
/* A broken invariant: prints the seed that shows it again and ends the process. */
void sim_fail(struct sim_world *w, const char *fmt, ...) XN_PRINTF(2, 3) XN_NORETURN;

/*
 * One call. @params is taken (a set; the session is put in front). @done: result or error code, not
 * both; not called when the daemon dies first: then @lost is.
 */
struct sim_call;
struct sim_call *sim_call(struct sim_world *w, const char *method, struct xn_value *params,
			  void (*done)(const struct xn_value *result, const char *code, void *arg),
			  void *arg);
/* The same, waiting in virtual time; fails the run on an error. The caller owns the result. */
struct xn_value *sim_ask(struct sim_world *w, const char *method, struct xn_value *params);
struct xn_value *sim_params(const char *first, ...); /* strings, ends with NULL */

/* ---- clients ---- */
struct sim_client;
struct sim_client *sim_client_new(struct sim_world *w, unsigned index);
void sim_client_free(struct sim_client *c);
void sim_client_begin(struct sim_client *c);   /* in each life: goes on calling */
void sim_client_rest(struct sim_client *c);    /* no new calls */
bool sim_client_is_idle(const struct sim_client *c);
void sim_client_crashed(struct sim_client *c, enum sim_death how); /* what was in flight may or may
								       not have happened */
void sim_client_check(struct sim_client *c); /* what was acknowledged is there */

/* ---- followers ---- */
struct sim_follower;
struct sim_follower *sim_follower_new(struct sim_world *w, unsigned index);
void sim_follower_free(struct sim_follower *f);
void sim_follower_begin(struct sim_follower *f);
void sim_follower_crashed(struct sim_follower *f, enum sim_death how);
void sim_follower_check(struct sim_follower *f); /* its picture equals the database */

/* ---- check ---- */
void sim_check_rest(struct sim_world *w); /* nothing is running: is nothing left over? */
uint64_t sim_state_hash(struct sim_world *w);

#endif
