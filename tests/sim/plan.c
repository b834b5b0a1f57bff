/* What a seed decides about its world; see sim.h. Most worlds are small, so that many fit a minute. */
#include "sim.h"

struct dice {
	uint64_t state;
};

static unsigned roll(struct dice *d, unsigned below)
{
	uint64_t x = d->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (unsigned)((x ^ x >> 31) % below);
}

static unsigned between(struct dice *d, unsigned low, unsigned high)
{
	return low + roll(d, high - low + 1);
}

static void choose_size(struct sim_plan *p, struct dice *d)
{
	unsigned size = roll(d, 100);

	if (size < 80) {
		p->clients = between(d, 1, 3);
		p->followers = between(d, 1, 2);
		p->vms = between(d, 1, 2);
		p->lives = between(d, 1, 5);
		p->life_us = between(d, 100, 1500) * 1000;
		p->last_us = between(d, 200, 2000) * 1000;
	} else if (size < 97) {
		p->clients = between(d, 3, 5);
		p->followers = between(d, 1, 3);
		p->vms = between(d, 1, 3);
		p->lives = between(d, 1, 5);
		p->life_us = between(d, 300, 4000) * 1000;
		p->last_us = between(d, 1, 4) * SIM_SECOND;
	} else {
		p->clients = between(d, 6, 10);
		p->followers = between(d, 2, 4);
		p->vms = between(d, 2, 4);
		p->lives = between(d, 2, 8);
		p->life_us = between(d, 1, 10) * SIM_SECOND;
		p->last_us = between(d, 3, 10) * SIM_SECOND;
	}
	p->think_us = between(d, 5, 200) * 1000;
}

/* Half of the worlds are free of what only some hardware does, and are judged the more strictly. */
static void choose_faults(struct sim_plan *p, struct dice *d)
{
	p->disk = (struct xn_sim_faults){.sync_min_us = 50, .sync_max_us = between(d, 100, 8000)};
	if (roll(d, 4) == 0)
		p->disk.slow_syncs = between(d, 10, 100);
	if (roll(d, 4) == 0) {
		p->disk.append_failures = roll(d, 2) ? between(d, 50, 1000) : 0;
		p->disk.sync_failures = between(d, 20, 500);
		p->disk.reopen_failures = roll(d, 4);
	}
	if (roll(d, 4) == 0)
		p->step_faults = between(d, 5, 100);
	if (roll(d, 4) == 0)
		p->moody_guests = between(d, 10, 100);
	if (roll(d, 4) == 0)
		p->clock_jumps = between(d, 5, 50);
	if (roll(d, 4) == 0)
		p->disconnects = between(d, 5, 100);
	if (roll(d, 4) == 0)
		p->logouts = between(d, 5, 50);
}

struct sim_plan sim_plan_of(uint64_t seed)
{
	struct dice d = {seed * 0x9e3779b97f4a7c15u + 1};
	struct sim_plan p = {.power_cuts = between(&d, 0, 70), .mid_checks = 30,
			     .checkpoints = between(&d, 0, 80)};

	choose_size(&p, &d);
	choose_faults(&p, &d);
	/* Too little, at times, for what all clients' VMs may have: they share it. */
	p.memory = (int64_t)(2 + roll(&d, 15)) << 30;
	return p;
}

struct sim_plan sim_plan_hour(void)
{
	return (struct sim_plan){
		.clients = 20,
		.followers = 2,
		.lives = 1,
		.vms = 5,
		.think_us = 20 * SIM_SECOND,
		.life_us = 3600ll * SIM_SECOND,
		.last_us = 3600ll * SIM_SECOND,
		.disk = {.sync_min_us = 50, .sync_max_us = 2000},
		.memory = INT64_C(64) << 30,
	};
}
