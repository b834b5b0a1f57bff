/*
 * Clients that change things. Each works on its own VM, so it knows what must be true of it: what
 * was acknowledged, and what was asked for when the daemon died and so may or may not have
 * happened.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

/* TEMPLATE: cloned, not yet provisioned. UNSURE: to be asked. */
enum power { HALTED, RUNNING, PAUSED, TEMPLATE, UNSURE };
static const char *const power_names[] = {"Halted", "Running", "Paused"};

struct sim_client {
	struct sim_world *world;
	unsigned index, counter;
	struct xn_timer pause;
	bool resting, busy;
	const struct action *doing;

	char vm[48]; /* "" none */
	enum power power;
	char name[48], tried_name[48]; /* acknowledged; asked for last */
	char key[48];                  /* last key of other_config that was acknowledged */
	char tried_key[48];
	char task[48];       /* of an Async. call that has not settled */
	unsigned power_cuts; /* when it was made: a later one stops what it started */
};

struct action {
	const char *method;
	bool (*possible)(const struct sim_client *c);
	struct xn_value *(*params)(struct sim_client *c);
	void (*done)(struct sim_client *c, const struct xn_value *result);
	void (*unsure)(struct sim_client *c); /* the daemon died in the middle */
	unsigned weight;
	const char *refusal; /* codes that may come and change nothing; NULL: none */
};

static bool has_no_vm(const struct sim_client *c)
{
	return !c->vm[0];
}

static bool has_vm(const struct sim_client *c)
{
	return c->vm[0] && !c->task[0];
}

static bool is_halted(const struct sim_client *c)
{
	return has_vm(c) && c->power == HALTED;
}

static bool is_running(const struct sim_client *c)
{
	return has_vm(c) && c->power == RUNNING;
}

static bool is_paused(const struct sim_client *c)
{
	return has_vm(c) && c->power == PAUSED;
}

static bool is_up(const struct sim_client *c)
{
	return is_running(c) || is_paused(c);
}

static bool has_task(const struct sim_client *c)
{
	return c->task[0];
}

static struct xn_value *vm_params(struct sim_client *c)
{
	return sim_params(c->vm, NULL);
}

static struct xn_value *start_params(struct sim_client *c)
{
	struct xn_value *params = sim_params(c->vm, NULL);

	xn_set_append(&params, xn_bool(false));
	xn_set_append(&params, xn_bool(false));
	return params;
}

static struct xn_value *clone_params(struct sim_client *c)
{
	snprintf(c->tried_name, sizeof(c->tried_name), "vm-%u-%u", c->index, ++c->counter);
	return sim_params(c->world->template, c->tried_name, NULL);
}

static void cloned(struct sim_client *c, const struct xn_value *result)
{
	snprintf(c->vm, sizeof(c->vm), "%s", xn_value_string(result));
	strcpy(c->name, c->tried_name);
	c->power = TEMPLATE;
	c->key[0] = '\0';
}

static void clone_unsure(struct sim_client *c)
{
	c->vm[0] = '\0'; /* nobody knows its reference */
}

static bool is_unprovisioned(const struct sim_client *c)
{
	return has_vm(c) && c->power == TEMPLATE;
}

static bool is_unsure(const struct sim_client *c)
{
	return has_vm(c) && c->power == UNSURE;
}

static void provisioned(struct sim_client *c, const struct xn_value *result)
{
	c->power = HALTED;
}

static struct xn_value *rename_params(struct sim_client *c)
{
	snprintf(c->tried_name, sizeof(c->tried_name), "name-%u-%u", c->index, ++c->counter);
	return sim_params(c->vm, c->tried_name, NULL);
}

static void renamed(struct sim_client *c, const struct xn_value *result)
{
	strcpy(c->name, c->tried_name);
}

static struct xn_value *key_params(struct sim_client *c)
{
	snprintf(c->tried_key, sizeof(c->tried_key), "key-%u", ++c->counter);
	return sim_params(c->vm, c->tried_key, "value", NULL);
}

static void key_added(struct sim_client *c, const struct xn_value *result)
{
	strcpy(c->key, c->tried_key);
}

static void now_running(struct sim_client *c, const struct xn_value *result)
{
	c->power = RUNNING;
}

static void now_halted(struct sim_client *c, const struct xn_value *result)
{
	c->power = HALTED;
}

static void now_paused(struct sim_client *c, const struct xn_value *result)
{
	c->power = PAUSED;
}

static void nothing_changed(struct sim_client *c, const struct xn_value *result)
{
}

/* Sums of the least always fit, sums of the most never do. */
static struct xn_value *limits_params(struct sim_client *c)
{
	static const int64_t mib = 1 << 20;
	struct xn_value *params = sim_params(c->vm, NULL);
	int64_t least = (int64_t)(16 + sim_random(c->world, 900)) * mib;
	int64_t most = least + (int64_t)sim_random(c->world, 3000) * mib;

	xn_set_append(&params, xn_int(16 * mib));
	xn_set_append(&params, xn_int(4096 * mib));
	xn_set_append(&params, xn_int(least));
	xn_set_append(&params, xn_int(most));
	return params;
}

static struct xn_value *memory_params(struct sim_client *c)
{
	struct xn_value *limits = limits_params(c), *params = sim_params(c->vm, NULL);

	for (size_t i = 3; i < 5; i++)
		xn_set_append(&params, xn_value_ref(xn_set_at(limits, i)));
	xn_value_unref(limits);
	return params;
}

static void power_unsure(struct sim_client *c)
{
	c->power = UNSURE;
}

/* An operation that a restart found is still being finished or undone: ask again. */
static void power_seen(struct sim_client *c, const struct xn_value *record)
{
	const char *state = xn_map_get_string(record, "power_state");

	if (xn_map_len(xn_map_get(record, "current_operations")))
		return;
	for (c->power = HALTED; c->power < TEMPLATE; c->power++)
		if (strcmp(power_names[c->power], state) == 0)
			return;
	sim_fail(c->world, "client %u's VM is %s", c->index, state);
}

static void task_begun(struct sim_client *c, const struct xn_value *result)
{
	snprintf(c->task, sizeof(c->task), "%s", xn_value_string(result));
	c->power_cuts = c->world->power_cuts;
}

static struct xn_value *task_params(struct sim_client *c)
{
	return sim_params(c->task, NULL);
}

static void task_seen(struct sim_client *c, const struct xn_value *status)
{
	if (strcmp(xn_value_string(status), "pending") == 0)
		return;
	c->task[0] = '\0';
	if (strcmp(xn_value_string(status), "success") == 0 &&
	    c->power_cuts == c->world->power_cuts)
		c->power = RUNNING;
	else
		power_unsure(c);
}

static void destroyed(struct sim_client *c, const struct xn_value *result)
{
	c->vm[0] = '\0';
}

static void nothing_unsure(struct sim_client *c)
{
}

static const struct action actions[] = {
	{"VM.clone", has_no_vm, clone_params, cloned, clone_unsure, 10},
	{"VM.provision", is_unprovisioned, vm_params, provisioned, nothing_unsure, 20},
	{"VM.get_record", is_unsure, vm_params, power_seen, nothing_unsure, 20},
	{"VM.set_name_label", has_vm, rename_params, renamed, nothing_unsure, 4},
	{"VM.add_to_other_config", has_vm, key_params, key_added, nothing_unsure, 4},
	{"VM.set_memory_limits", is_halted, limits_params, nothing_changed, nothing_unsure, 2},
	{"VM.set_memory_dynamic_range", is_running, memory_params, nothing_changed, nothing_unsure,
	 2,
	 "MEMORY_CONSTRAINT_VIOLATION_ORDER HOST_NOT_ENOUGH_FREE_MEMORY" /* the template's static
									    maximum; paused ones */},
	{"VM.start", is_halted, start_params, now_running, power_unsure, 6,
	 "HOST_NOT_ENOUGH_FREE_MEMORY" /* paused ones give nothing */},
	{"Async.VM.start", is_halted, start_params, task_begun, power_unsure, 6},
	{"task.get_status", has_task, task_params, task_seen, nothing_unsure, 20},
	{"VM.clean_shutdown", is_running, vm_params, now_halted, power_unsure, 2,
	 "VM_LACKS_FEATURE" /* the guest has not booted yet */},
	{"VM.hard_shutdown", is_up, vm_params, now_halted, power_unsure, 2},
	{"VM.clean_reboot", is_running, vm_params, now_running, power_unsure, 1, "VM_LACKS_FEATURE"},
	{"VM.hard_reboot", is_up, vm_params, now_running, power_unsure, 1},
	{"VM.pause", is_running, vm_params, now_paused, power_unsure, 2},
	{"VM.unpause", is_paused, vm_params, now_running, power_unsure, 4},
	{"VM.destroy", is_halted, vm_params, destroyed, nothing_unsure, 1},
};

static const struct action *choose(struct sim_client *c)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < XN_ARRAY_SIZE(actions); i++)
		total += actions[i].possible(c) ? actions[i].weight : 0;
	at = (unsigned)sim_random(c->world, total);
	for (size_t i = 0; i < XN_ARRAY_SIZE(actions); i++) {
		unsigned weight = actions[i].possible(c) ? actions[i].weight : 0;

		if (at < weight)
			return &actions[i];
		at -= weight;
	}
	sim_fail(c->world, "client %u does not know what to do", c->index);
}

static void on_pause_over(struct xn_timer *timer);

static void think(struct sim_client *c)
{
	xn_timer_arm(c->world->loop, &c->pause, (int64_t)sim_random(c->world, 400000),
		     on_pause_over);
}

static void on_done(const struct xn_value *result, const char *code, void *arg)
{
	struct sim_client *c = arg;
	const struct action *action = c->doing;

	c->doing = NULL;
	if (code && (!action->refusal || !strstr(action->refusal, code)))
		sim_fail(c->world, "client %u: %s of %s: %s", c->index, action->method, c->vm,
			 code);
	if (!code) {
		c->world->acknowledged++;
		action->done(c, result);
	}
	c->busy = false;
	think(c);
}

static void on_pause_over(struct xn_timer *timer)
{
	struct sim_client *c = xn_container_of(timer, struct sim_client, pause);
	const struct action *action;
	struct xn_value *params;

	if (c->busy || (c->resting && !c->task[0]))
		return;
	c->busy = true;
	action = choose(c);
	params = action->params(c);
	c->doing = action;
	sim_say(c->world, "client %u: %s %s", c->index, action->method, c->vm);
	sim_call(c->world, action->method, params, on_done, c);
}

struct sim_client *sim_client_new(struct sim_world *w, unsigned index)
{
	struct sim_client *c = xn_calloc(1, sizeof(*c));

	c->world = w;
	c->index = index;
	return c;
}

void sim_client_free(struct sim_client *c)
{
	free(c);
}

void sim_client_begin(struct sim_client *c)
{
	c->resting = false;
	think(c);
}

void sim_client_rest(struct sim_client *c)
{
	c->resting = true;
}

bool sim_client_is_idle(const struct sim_client *c)
{
	return !c->busy && !c->task[0];
}

void sim_client_crashed(struct sim_client *c, enum sim_death how)
{
	c->pause = (struct xn_timer){0};
	c->busy = false;
	if (how == SIM_POWER_CUT && c->power < TEMPLATE)
		c->power = HALTED; /* the host was off: so is every guest */
}

/* The first thing in a new life: what was acknowledged is there; what was under way is looked at.
 */
void sim_client_check(struct sim_client *c)
{
	const struct action *interrupted = c->doing;
	struct xn_value *all, *now;
	const char *name, *state;

	c->doing = NULL;
	if (interrupted && interrupted->done == cloned)
		clone_unsure(c);
	if (!c->vm[0])
		return;
	all = sim_ask(c->world, "VM.get_all_records", xn_set_new());
	now = xn_map_get(all, c->vm) ? xn_value_ref(xn_map_get(all, c->vm)) : NULL;
	xn_value_unref(all);
	if (!now) {
		if (!interrupted || interrupted->done != destroyed)
			sim_fail(c->world, "client %u's VM %s is lost", c->index, c->vm);
		c->vm[0] = c->task[0] = '\0';
		return;
	}
	name = xn_map_get_string(now, "name_label");
	if (strcmp(name, c->name) != 0 &&
	    !(interrupted && interrupted->done == renamed && strcmp(name, c->tried_name) == 0))
		sim_fail(c->world, "client %u named its VM %s, it is %s", c->index, c->name, name);
	snprintf(c->name, sizeof(c->name), "%s", name);
	if (c->key[0] && !xn_map_get(xn_map_get(now, "other_config"), c->key))
		sim_fail(c->world, "client %u's key %s is lost", c->index, c->key);
	state = xn_map_get_string(now, "power_state");
	if (interrupted && interrupted->unsure == power_unsure)
		power_unsure(c);
	else if (interrupted && interrupted->done == provisioned &&
		 !xn_map_get_bool(now, "is_a_template", true))
		c->power = HALTED;
	else if (c->power < TEMPLATE && !c->task[0] && strcmp(state, power_names[c->power]) != 0)
		sim_fail(c->world, "client %u's VM %s is %s, it was %s", c->index, c->vm, state,
			 power_names[c->power]);
	xn_value_unref(now);
}
