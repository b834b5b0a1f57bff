/*
 * The simulation: the daemon's own modules in virtual time, with the storage engine's twin, the
 * simulated hypervisor, and clients that call through the RPC parsers. One seed decides the size of
 * the world, the schedule, the calls, the faults and the instants at which the daemon dies; the same
 * seed gives the same history, on any machine.
 *
 *   sim.c      the command: seeds, processes, the hour
 *   plan.c     what a seed decides about its world
 *   play.c     one seed from its first life to the last check
 *   world.c    lives and deaths of the daemon, calls
 *   fault.c    what goes wrong in a life
 *   fact.c     the model: what was acknowledged, and what may be
 *   client.c   clients that change things; action.c what they do
 *   follower.c clients that know the world from events alone, and tokens kept from long ago
 *   tenant.c   programs that keep something in xenstore
 *   scan.c     a quick look at JSON
 *   check.c    what must hold, in between and at the end
 */
#ifndef XN_SIM_TEST_H
#define XN_SIM_TEST_H

#include <setjmp.h>

#include "core/list.h"
#include "core/module.h"
#include "core/value.h"
#include "modules/db/db.h"
#include "modules/db/store_sim.h"

enum { SIM_SECOND = 1000000, SIM_TOKENS_KEPT = 12, SIM_LINES = 24, SIM_CUTS = 64, SIM_TENANTS = 2 };

/* ---- what a seed decides about its world; options may bend it ---- */
struct sim_plan {
	unsigned clients, followers, lives;
	unsigned vms;		     /* that a client wants to have */
	int64_t think_us;	     /* between two calls of a client, on average */
	int64_t life_us, last_us;    /* of one life on average; of the last one */
	unsigned power_cuts;	     /* of a hundred deaths */
	struct xn_sim_faults disk;   /* while clients are at work */
	unsigned step_faults;	     /* one step of operations in so many goes wrong; 0: none */
	unsigned moody_guests;	     /* of a hundred VMs */
	unsigned clock_jumps;	     /* of a hundred seconds */
	unsigned disconnects;	     /* of a thousand calls */
	unsigned logouts;	     /* of a thousand calls */
	unsigned checkpoints;	     /* of a hundred seconds and starts */
	unsigned mid_checks;	     /* of a hundred seconds */
	int64_t memory;		     /* of the host */
};
struct sim_plan sim_plan_of(uint64_t seed);
struct sim_plan sim_plan_hour(void); /* 100 VMs and 20 clients, nothing goes wrong */

enum sim_death { SIM_ALIVE, SIM_KILL, SIM_POWER_CUT };

struct sim_client;
struct sim_follower;
struct sim_tenant;

struct sim_kept { /* a token, and what its holder knew then */
	struct xn_value *classes, *picture;
	char token[64];
};

struct sim_world {
	uint64_t seed;
	uint64_t random; /* the test's own stream, apart from the daemon's */
	bool verbose;
	struct sim_plan plan;
	char dir[64]; /* scratch state folder */
	struct xn_sim_disk *disk;
	struct xn_core core;
	struct xn_loop *loop;
	struct xn_modules *modules;
	struct xn_config *config;
	struct xn_log *log;

	unsigned life;	   /* counts the starts */
	int64_t past_us;   /* virtual time of earlier lives */
	int64_t wall_us;   /* the host's clock when the last life ended */
	enum sim_death worst; /* since the facts were last looked at; of the last deaths */
	bool doubtful;	   /* one of these may have taken what was only shown */
	uint64_t durable;  /* a generation: what is below it must be there after the next start */
	unsigned cuts;	   /* doubtful deaths */
	struct {
		uint64_t first, end;
	} lost[SIM_CUTS]; /* stamps that each of these may have taken */
	const struct sim_call *answered; /* the last one */
	jmp_buf death;
	/* The end of this life: so many callbacks (points, replies) after it was armed. */
	enum { SIM_NOT_ARMED, SIM_AT_CALLBACK, SIM_AT_POINT, SIM_AT_REPLY, SIM_AT_CALL } armed;
	unsigned countdown;
	enum xn_sim_point point;
	bool faults_on;

	uint64_t calls, acknowledged, events, callbacks;
	uint64_t trace; /* hash of every reply */
	char secret[48];   /* of the checks' own session */
	char template[48], sr[48], network[48];
	struct xn_list facts;
	size_t most_tasks;	    /* that there ever were at once */
	struct xn_value *own_tasks; /* made by clients: pending until these say otherwise */
	struct sim_client **clients;
	struct sim_follower **followers;
	struct sim_tenant *tenants[SIM_TENANTS];
	struct sim_kept kept[SIM_TOKENS_KEPT];
	char lines[SIM_LINES][160]; /* what was done last */
	unsigned n_lines;
};

/* ---- play.c ---- */
/* In a world that was just made. Ends the process where an invariant is broken. Return the hash of
 * the state at the end and of all replies; the world is cleared then. */
uint64_t sim_play(struct sim_world *w);

/* ---- world.c ---- */
void sim_world_init(struct sim_world *w, uint64_t seed, const struct sim_plan *plan, bool verbose);
void sim_world_clear(struct sim_world *w);
void sim_world_start(struct sim_world *w);
/* The daemon is gone at this instant; what its disk keeps depends on how. */
void sim_world_crash(struct sim_world *w, enum sim_death how);
void sim_world_run(struct sim_world *w, int64_t us); /* virtual time */
uint64_t sim_random(struct sim_world *w, uint64_t below);
/* Whether it happens, with a chance of @n of @of. */
bool sim_chance(struct sim_world *w, unsigned n, unsigned of);
void sim_say(struct sim_world *w, const char *fmt, ...) XN_PRINTF(2, 3);
/* A broken invariant: prints the seed that shows it again and ends the process. */
void sim_fail(struct sim_world *w, const char *fmt, ...) XN_PRINTF(2, 3) XN_NORETURN;
/* Whether a token that was handed out may be answered EVENTS_LOST. */
bool sim_may_be_lost(const struct sim_world *w, const char *token);
/* False: it was made while the disk refused, and lives in memory. */
bool sim_session_is_stored(struct sim_world *w, const char *secret);
/* What somebody was told is part of a seed's hash. */
void sim_trace(struct sim_world *w, const char *bytes, size_t len);
int64_t sim_now_us(const struct sim_world *w); /* since the first start; no clock shows it */
static inline struct xn_db *sim_db(struct sim_world *w)
{
	return xn_db_of(&w->core);
}

/*
 * One call with @secret's session (NULL: the checks' own). @params is taken (a set; the session is
 * put in front). @done: result or error code, not both; not called when the daemon dies first, or
 * when the client has hung up.
 */
struct sim_call;
typedef void sim_done(const struct xn_value *result, const char *code, void *arg);
struct sim_call *sim_call(struct sim_world *w, const char *secret, const char *method,
			  struct xn_value *params, sim_done *done, void *arg);
/* The same with the reply's bytes. */
typedef void sim_raw_done(const char *body, size_t len, void *arg);
void sim_call_raw(struct sim_world *w, const char *method, struct xn_value *params,
		  sim_raw_done *done, void *arg);
void sim_hang_up(struct sim_call *call);
/* The same, waiting in virtual time; fails the run on an error. The caller owns the result. */
struct xn_value *sim_ask(struct sim_world *w, const char *method, struct xn_value *params);
/* The same; NULL and the code in @code[64] on an error. */
struct xn_value *sim_try(struct sim_world *w, const char *method, struct xn_value *params,
			 char code[64]);
struct xn_value *sim_params(const char *first, ...); /* strings, ends with NULL */

/* ---- fault.c ---- */
void sim_faults_begin(struct sim_world *w); /* of a life that has just started */
void sim_faults_end(struct sim_world *w);
void sim_faults_second(struct sim_world *w); /* a second has passed */
/* Whether a call may fail with this code because of what goes wrong in this world. */
bool sim_fault_explains(const struct sim_world *w, const char *code);
/* Decides where this life ends from now on; not armed: between two turns. */
void sim_death_arm(struct sim_world *w);

/* ---- fact.c ---- */
/*
 * Something that a client knows about a row. `durable` was acknowledged, or read after the host had
 * booted; `seen` was shown last; `maybe` holds what else was shown or asked for since. Absent: nil.
 */
struct sim_fact {
	struct xn_list link;
	struct sim_world *world;
	int class_id, field; /* field -1: that the row exists */
	char ref[48], key[48];
	struct xn_value *durable, *seen;
	struct xn_value *maybe; /* set */
	struct sim_fact *of;	/* that the row exists: no row, no field */
	bool open;		/* something was asked for and its end is not known */
	bool is_slow;		/* by an operation, which goes on in the next life */
	bool was_slow;		/* the same, not acknowledged since: its end may be lost */
	bool is_power;		/* a power state: the host's end is its end, too */
	int64_t gone_after_us;	/* then, by the host's clock, the row may be collected; 0: never */
	int64_t finished_s;	/* of a task that a client saw end, by the host's clock; else 0 */
	bool unproven;		/* it began with what was only shown */
	bool forgotten;		/* nobody can tell any more */
};
/* @value is taken: it was acknowledged. */
struct sim_fact *sim_fact_new(struct sim_world *w, int class_id, const char *ref, int field,
			      const char *key, struct xn_value *value);
void sim_fact_try(struct sim_fact *f, struct xn_value *value);	 /* is asked for; taken */
void sim_fact_slow(struct sim_fact *f);				 /* by an operation */
void sim_fact_ack(struct sim_fact *f, struct xn_value *value);	 /* was acknowledged; taken */
void sim_fact_refused(struct sim_fact *f); /* nothing of what was tried has happened */
void sim_fact_settle(struct sim_fact *f);  /* nothing is under way: looks, and knows again */
void sim_fact_forget(struct sim_fact *f);
/* All of them against the database, after what happened since the last look. */
void sim_facts_check(struct sim_world *w, bool after_start);
void sim_facts_free(struct sim_world *w);
const char *sim_fact_string(const struct sim_fact *f); /* as seen; "" when absent */

/* ---- clients ---- */
struct sim_client *sim_client_new(struct sim_world *w, unsigned index);
void sim_client_free(struct sim_client *c);
void sim_client_begin(struct sim_client *c); /* in each life: goes on calling */
void sim_client_rest(struct sim_client *c);  /* no new calls */
bool sim_client_is_idle(const struct sim_client *c);
void sim_client_crashed(struct sim_client *c); /* what was in flight may or may not have happened */
void sim_client_settle(struct sim_client *c);  /* nothing runs: everything is known again */

/* ---- followers ---- */
struct sim_follower *sim_follower_new(struct sim_world *w, unsigned index);
void sim_follower_free(struct sim_follower *f);
void sim_follower_begin(struct sim_follower *f);
void sim_follower_crashed(struct sim_follower *f);
/* Everything that a fresh follower is told: "class/ref" -> the record's bytes. The caller owns it. */
struct xn_value *sim_fresh_picture(struct sim_world *w);
/* Nothing changes any more: its picture is @all, as far as it wished to know. */
void sim_follower_check(struct sim_follower *f, const struct xn_value *all);
/* The events since a token that was kept lead from the picture of then to @all. */
void sim_kept_check(struct sim_world *w, const struct xn_value *all);

/* ---- tenants ---- */
struct sim_tenant *sim_tenant_new(struct sim_world *w, unsigned index);
void sim_tenant_free(struct sim_tenant *t);
void sim_tenant_begin(struct sim_tenant *t); /* in each life: looks, and goes on */
void sim_tenant_crashed(struct sim_tenant *t, enum sim_death how);
void sim_tenant_rest(struct sim_tenant *t);
void sim_tenant_check(struct sim_tenant *t); /* nothing is under way */
void sim_tenant_end(struct sim_tenant *t);   /* before the daemon stops */

/* ---- check ---- */
void sim_check_any_time(struct sim_world *w, bool after_start);
bool sim_is_busy(struct sim_world *w);
void sim_check_rest(struct sim_world *w); /* nothing is running: is nothing left over? */
uint64_t sim_state_hash(struct sim_world *w);

#endif
