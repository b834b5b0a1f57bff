/* One seed from its first life to the last check; see sim.h. */
#include <stdlib.h>

#include "sim.h"

static void make_cast(struct sim_world *w)
{
	w->clients = xn_calloc(w->plan.clients, sizeof(struct sim_client *));
	w->followers = xn_calloc(w->plan.followers, sizeof(struct sim_follower *));
	for (unsigned i = 0; i < w->plan.clients; i++)
		w->clients[i] = sim_client_new(w, i);
	for (unsigned i = 0; i < w->plan.followers; i++)
		w->followers[i] = sim_follower_new(w, i);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		w->tenants[i] = sim_tenant_new(w, i);
}

static void free_cast(struct sim_world *w)
{
	for (unsigned i = 0; i < w->plan.clients; i++)
		sim_client_free(w->clients[i]);
	for (unsigned i = 0; i < w->plan.followers; i++)
		sim_follower_free(w->followers[i]);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_free(w->tenants[i]);
	free(w->clients);
	free(w->followers);
}

static bool all_idle(const struct sim_world *w)
{
	for (unsigned i = 0; i < w->plan.clients; i++)
		if (!sim_client_is_idle(w->clients[i]))
			return false;
	return true;
}

static void begin(struct sim_world *w)
{
	sim_check_any_time(w, true); /* the first thing in a new life: what was acknowledged is there */
	sim_faults_begin(w);
	for (unsigned i = 0; i < w->plan.followers; i++)
		sim_follower_begin(w->followers[i]);
	for (unsigned i = 0; i < w->plan.clients; i++)
		sim_client_begin(w->clients[i]);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_begin(w->tenants[i]);
}

static void run(struct sim_world *w, int64_t us)
{
	for (; us > SIM_SECOND; us -= SIM_SECOND) {
		sim_world_run(w, SIM_SECOND);
		sim_faults_second(w);
	}
	sim_world_run(w, us);
	sim_faults_second(w);
}

/* Everyone stops asking; then nothing may be left over, and all pictures must agree. */
static void come_to_rest(struct sim_world *w)
{
	struct xn_value *all;

	sim_faults_end(w);
	for (unsigned i = 0; i < w->plan.clients; i++)
		sim_client_rest(w->clients[i]);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_rest(w->tenants[i]);
	for (int s = 0; s < 3000 && !all_idle(w); s++)
		sim_world_run(w, SIM_SECOND);
	if (!all_idle(w))
		sim_fail(w, "a call has no answer after 50 minutes");
	sim_world_run(w, 30 * SIM_SECOND);
	/* Also what nobody waits for any more: its client has hung up. */
	for (int i = 0; i < 5000 && sim_is_busy(w); i++)
		sim_world_run(w, i < 2000 ? SIM_SECOND / 27 : SIM_SECOND);
	sim_world_run(w, SIM_SECOND / 27); /* the last one's end becomes durable */
	for (unsigned i = 0; i < w->plan.clients; i++)
		sim_client_settle(w->clients[i]);
	sim_check_rest(w);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_check(w->tenants[i]);
	all = sim_fresh_picture(w);
	for (unsigned i = 0; i < w->plan.followers; i++)
		sim_follower_check(w->followers[i], all);
	sim_kept_check(w, all);
	xn_value_unref(all);
}

static void die(struct sim_world *w, enum sim_death how)
{
	sim_world_crash(w, how);
	for (unsigned i = 0; i < w->plan.clients; i++)
		sim_client_crashed(w->clients[i]);
	for (unsigned i = 0; i < w->plan.followers; i++)
		sim_follower_crashed(w->followers[i]);
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_crashed(w->tenants[i], how);
}

/* A life that does not see its end. The armed death comes by longjmp out of whatever runs. */
static void live_and_die(struct sim_world *w)
{
	enum sim_death how = sim_chance(w, w->plan.power_cuts, 100) ? SIM_POWER_CUT : SIM_KILL;
	bool early = sim_chance(w, 1, 10);

	if (setjmp(w->death) == 0) {
		if (early) /* while it starts, or just after */
			sim_death_arm(w);
		sim_world_start(w);
		begin(w);
		run(w, (int64_t)sim_random(w, 2 * (uint64_t)w->plan.life_us));
		sim_death_arm(w);
		if (w->armed != SIM_NOT_ARMED)
			sim_world_run(w, SIM_SECOND); /* if nothing comes of it: now */
	}
	die(w, how);
}

uint64_t sim_play(struct sim_world *w)
{
	uint64_t hash;

	make_cast(w);
	for (unsigned i = 1; i < w->plan.lives; i++)
		live_and_die(w);
	sim_world_start(w);
	begin(w);
	run(w, w->plan.last_us);
	come_to_rest(w);
	hash = sim_state_hash(w) * 0x9e3779b97f4a7c15u ^ w->trace;
	for (unsigned i = 0; i < SIM_TENANTS; i++)
		sim_tenant_end(w->tenants[i]);
	sim_world_clear(w); /* answers who still waits */
	free_cast(w);
	sim_facts_free(w);
	return hash;
}
