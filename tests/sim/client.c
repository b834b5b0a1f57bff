/*
 * Clients that change things. Each works on its own VMs, so it knows what must be true of them: what
 * was acknowledged, and what was asked for when the daemon died and so may or may not have happened.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client_internal.h"

static void think(struct sim_lane_state *lane);

/* ---- what it has ---- */

void sim_deed_changes(struct sim_deed *deed, struct sim_fact *fact, struct xn_value *value)
{
	if (!fact || deed->n_changes == MOST_CHANGES) {
		xn_value_unref(value);
		return;
	}
	deed->changes[deed->n_changes++] = (struct sim_change){fact, value};
}

struct sim_vm *sim_vm_add(struct sim_client *c, struct xn_list *list, const char *ref,
			  const char *name)
{
	struct sim_vm *vm = xn_calloc(1, sizeof(*vm));
	struct sim_world *w = c->world;

	snprintf(vm->ref, sizeof(vm->ref), "%s", ref);
	vm->exists = sim_fact_new(w, XN_CLASS_VM, ref, -1, "", xn_bool(true));
	vm->name = sim_fact_new(w, XN_CLASS_VM, ref, XN_VM_name_label, "", xn_string(name));
	vm->name->of = vm->exists;
	vm->is_snapshot = list == &c->snapshots;
	xn_list_push(list, &vm->link);
	return vm;
}

struct sim_thing *sim_thing_add(struct sim_client *c, int class_id, const char *ref)
{
	struct sim_thing *thing = xn_calloc(1, sizeof(*thing));

	thing->class_id = class_id;
	snprintf(thing->ref, sizeof(thing->ref), "%s", ref);
	thing->exists = sim_fact_new(c->world, class_id, ref, -1, "", xn_bool(true));
	xn_list_push(&c->things, &thing->link);
	return thing;
}

bool sim_is_used(const struct sim_client *c, const struct sim_thing *disk)
{
	xn_list_each(link, &c->things)
		if (xn_list_entry(link, struct sim_thing, link)->disk == disk)
			return true;
	return false;
}

static void forget(struct sim_fact *fact)
{
	if (fact)
		sim_fact_forget(fact);
}

/* The row's absence, where it was acknowledged, stays a fact. */
void sim_thing_drop(struct sim_thing *thing)
{
	forget(thing->detail);
	xn_list_remove(&thing->link);
	free(thing);
}

static void forget_details(struct sim_vm *vm)
{
	forget(vm->name);
	forget(vm->power);
	for (unsigned i = 0; i < vm->n_keys; i++)
		forget(vm->keys[i]);
	vm->n_keys = 0;
	vm->name = vm->power = NULL;
}

/* Those that nobody can tell anything about any more, once no device has them. */
static void drop_void(struct sim_client *c)
{
	xn_list_each_safe(link, &c->things) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (!thing->is_void)
			continue;
		forget(thing->exists);
		if (!sim_is_used(c, thing))
			sim_thing_drop(thing);
	}
}

static void drop_devices(struct sim_client *c, const struct sim_vm *vm, bool are_void)
{
	xn_list_each_safe(link, &c->things) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (thing->vm != vm)
			continue;
		if (are_void)
			forget(thing->exists);
		if (are_void && thing->disk)
			thing->disk->is_void = true;
		sim_thing_drop(thing);
	}
}

void sim_vm_drop(struct sim_client *c, struct sim_vm *vm)
{
	drop_devices(c, vm, false);
	xn_list_each(link, &c->snapshots) {
		struct sim_vm *snapshot = xn_list_entry(link, struct sim_vm, link);

		if (snapshot->snapshot_of == vm)
			snapshot->snapshot_of = NULL;
	}
	forget_details(vm);
	xn_list_remove(&vm->link);
	free(vm);
}

void sim_vm_has_power(struct sim_client *c, struct sim_vm *vm)
{
	struct xn_row *row = xn_db_get(sim_db(c->world), XN_CLASS_VM, vm->ref);

	if (!row || vm->is_moody)
		return;
	vm->power = sim_fact_new(c->world, XN_CLASS_VM, vm->ref, XN_VM_power_state, "",
				 xn_value_ref(xn_row_get(row, XN_VM_power_state)));
	vm->power->is_power = true;
	vm->power->of = vm->exists;
	vm->power->unproven = true;
}

void sim_vm_relearn(struct sim_client *c, struct sim_vm *vm)
{
	struct sim_world *w = c->world;
	struct xn_row *row = xn_db_get(sim_db(w), XN_CLASS_VM, vm->ref);
	bool had_power = vm->power != NULL;

	drop_devices(c, vm, true);
	drop_void(c);
	forget_details(vm);
	if (!row)
		return;
	vm->name = sim_fact_new(w, XN_CLASS_VM, vm->ref, XN_VM_name_label, "",
				xn_value_ref(xn_row_get(row, XN_VM_name_label)));
	vm->name->of = vm->exists;
	vm->name->unproven = true;
	if (had_power)
		sim_vm_has_power(c, vm);
}

/* ---- the ends of a deed ---- */

static void deed_free(struct sim_deed *deed)
{
	for (unsigned i = 0; i < deed->n_changes; i++)
		xn_value_unref(deed->changes[i].value);
	free(deed);
}

static struct sim_deed *take_deed(struct sim_lane_state *lane)
{
	struct sim_deed *deed = lane->deed;

	lane->deed = NULL;
	lane->call = NULL;
	lane->task[0] = '\0';
	return deed;
}

static void deed_succeeded(struct sim_deed *deed, const struct xn_value *result)
{
	deed->client->world->acknowledged++;
	if (deed->client->world->verbose)
		sim_say(deed->client->world, "client %u: %s %s: done", deed->client->index,
			deed->action->method, deed->text);
	for (unsigned i = 0; i < deed->n_changes; i++) {
		struct sim_change *change = &deed->changes[i];

		/* A task may have succeeded before the host lost its power, and all guests. */
		if (change->fact->is_power && deed->cuts != deed->client->world->cuts)
			deed->vm->unsure = true;
		else
			sim_fact_ack(change->fact, xn_value_ref(change->value));
	}
	if (deed->action->done)
		deed->action->done(deed, result);
	deed_free(deed);
}

static void deed_refused(struct sim_deed *deed)
{
	for (unsigned i = 0; i < deed->n_changes; i++)
		sim_fact_refused(deed->changes[i].fact);
	deed_free(deed);
}

/* Somebody must look what came of it. What was tried stays open until then. */
static void deed_is_unsure(struct sim_deed *deed)
{
	if (deed->action->lane == SIM_OPERATIONS && deed->vm)
		deed->vm->unsure = true;
	if (deed->action->lane == SIM_OPERATIONS && deed->thing)
		deed->thing->unsure = true;
	deed_free(deed);
}

static bool is_one_of(const char *codes, const char *code)
{
	const char *at = codes ? strstr(codes, code) : NULL;
	size_t len = strlen(code);

	for (; at; at = strstr(at + 1, code))
		if ((at == codes || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

static bool is_moody(const struct sim_deed *deed)
{
	const struct sim_vm *vm = deed->vm			   ? deed->vm
				  : deed->thing && deed->thing->vm ? deed->thing->vm
								   : NULL;

	return vm && vm->is_moody;
}

/* A session that was only shown may be lost with what the disk lost, or to a jump of the clock; one
 * that the disk did not take, to any death. */
static bool session_may_end(const struct sim_client *c)
{
	return c->is_away || c->is_unstored || c->login_cuts != c->world->cuts || c->world->plan.clock_jumps;
}

/* A guest that was asked to go may still do so when nobody waits for it any more. */
static bool guest_may_go(const struct sim_deed *deed)
{
	static const char *const asking[] = {"shutdown", "reboot", "suspend", "checkpoint"};

	if (!deed->vm || deed->action->lane != SIM_OPERATIONS)
		return false;
	for (size_t i = 0; i < XN_ARRAY_SIZE(asking); i++)
		if (strstr(deed->action->method, asking[i]))
			return true;
	return deed->client->world->plan.step_faults > 0;
}

static void is_moody_from_now_on(struct sim_vm *vm)
{
	vm->is_moody = true;
	if (vm->power)
		sim_fact_forget(vm->power);
	vm->power = NULL;
}

static const char *really(const struct sim_deed *deed)
{
	struct xn_row *row =
		deed->vm ? xn_db_get(sim_db(deed->client->world), XN_CLASS_VM, deed->vm->ref) : NULL;

	return row ? xn_row_string(row, XN_VM_power_state) : "";
}

static void deed_failed(struct sim_lane_state *lane, struct sim_deed *deed, const char *code)
{
	struct sim_client *c = deed->client;
	struct sim_world *w = c->world;

	sim_say(w, "client %u: %s of %s: %s", c->index, deed->action->method,
		deed->vm ? deed->vm->ref : deed->thing ? deed->thing->ref : "", code);
	if (strcmp(code, "SESSION_INVALID") == 0 && session_may_end(c)) {
		c->is_away = true;
		deed_is_unsure(deed);
	} else if (is_one_of(deed->action->refusals, code) && deed->action->lane == SIM_QUICK) {
		deed_refused(deed);
	} else if (is_one_of(deed->action->refusals, code) || sim_fault_explains(w, code) ||
		   (deed->action->may_be_async && strcmp(code, "TASK_CANCELLED") == 0) ||
		   is_moody(deed) ||
		   lane->life != w->life /* its task may have been interrupted */) {
		if (deed->thing && !deed->vm && w->plan.step_faults)
			deed->thing->is_void = true; /* what was late may still do its work */
		if (guest_may_go(deed) && !is_one_of(deed->action->refusals, code))
			is_moody_from_now_on(deed->vm);
		if (strstr(deed->action->method, "appliance.clean")) /* each was asked to go */
			xn_list_each(link, &c->vms)
				is_moody_from_now_on(xn_list_entry(link, struct sim_vm, link));
		deed_is_unsure(deed);
	} else {
		sim_fail(w, "client %u: %s of %s (%s, really %s): %s", c->index, deed->action->method,
			 deed->vm ? deed->vm->ref : "",
			 deed->vm && deed->vm->power ? sim_fact_string(deed->vm->power) : "",
			 really(deed), code);
	}
}

/* ---- tasks ---- */

/* "<value>OpaqueRef:...</value>", as the field's tasks have it. */
static struct xn_value *result_of_task(const struct xn_value *record)
{
	const char *text = xn_map_get_string(record, "result");

	if (strncmp(text, "<value>", 7) != 0)
		return xn_string(text);
	return xn_string_len(text + 7, strcspn(text + 7, "<"));
}

static void task_has_ended(struct sim_lane_state *lane, const struct xn_value *record)
{
	struct sim_world *w = lane->client->world;
	const char *finished = xn_map_get_string(record, "finished");
	struct sim_fact *fact =
		sim_fact_new(w, XN_CLASS_task, lane->task, XN_task_status, "",
			     xn_value_ref(xn_map_get(record, "status")));

	if (xn_date_parse(finished, &fact->finished_s) < 0)
		sim_fail(w, "task %s has ended at \"%s\"", lane->task, finished);
}

static void on_task(const struct xn_value *record, const char *code, void *arg)
{
	struct sim_lane_state *lane = arg;
	struct sim_world *w = lane->client->world;
	const char *status = record ? xn_map_get_string(record, "status") : "";
	const struct xn_value *info;

	lane->call = NULL;
	if (record && strcmp(status, "pending") == 0) {
		think(lane);
		return;
	}
	if (code && strcmp(code, "HANDLE_INVALID") == 0 && lane->cuts == w->cuts &&
	    !w->plan.clock_jumps && w->plan.think_us < 60 * SIM_SECOND)
		sim_fail(w, "task %s of client %u is lost", lane->task, lane->client->index);
	if (code && strcmp(code, "SESSION_INVALID") == 0 && session_may_end(lane->client)) {
		lane->client->is_away = true;
		think(lane);
		return;
	}
	if (code) {
		deed_is_unsure(take_deed(lane));
		think(lane);
		return;
	}
	if (!w->plan.clock_jumps) /* else the collector may find it old at once */
		task_has_ended(lane, record);
	info = xn_map_get(record, "error_info");
	if (strcmp(status, "success") == 0) {
		struct xn_value *result = result_of_task(record);

		deed_succeeded(take_deed(lane), result);
		xn_value_unref(result);
	} else {
		deed_failed(lane, take_deed(lane),
			    xn_set_len(info) ? xn_value_string(xn_set_at(info, 0))
					     : "TASK_CANCELLED");
	}
	think(lane);
}

static void look_at_task(struct sim_lane_state *lane)
{
	struct sim_client *c = lane->client;

	lane->call = sim_call(c->world, c->secret, "task.get_record",
			      sim_params(lane->task, NULL), on_task, lane);
}

static void on_done(const struct xn_value *result, const char *code, void *arg)
{
	struct sim_lane_state *lane = arg;

	lane->call = NULL;
	if (code)
		deed_failed(lane, take_deed(lane), code);
	else
		deed_succeeded(take_deed(lane), result);
	think(lane);
}

static void on_began(const struct xn_value *result, const char *code, void *arg)
{
	struct sim_lane_state *lane = arg;

	lane->call = NULL;
	if (code)
		deed_failed(lane, take_deed(lane), code);
	else
		snprintf(lane->task, sizeof(lane->task), "%s", xn_value_string(result));
	think(lane);
}

/* ---- looking again at what is not sure ---- */

/* Whether nothing is under way with it any more. */
static bool is_still(struct sim_world *w, int class_id, const char *ref)
{
	struct xn_row *row = xn_db_get(sim_db(w), class_id, ref);
	int field = xn_field_find(&xn_classes[class_id], "current_operations");

	return !row || field < 0 || !xn_map_len(xn_row_get(row, field));
}

/* Disks do not go while a device has them, so nothing points to what is dropped here. */
static void settle_thing(struct sim_client *c, struct sim_thing *thing)
{
	const struct xn_row *row = xn_db_get(sim_db(c->world), thing->class_id, thing->ref);

	thing->unsure = false;
	sim_fact_settle(thing->exists);
	if (thing->detail)
		sim_fact_settle(thing->detail);
	/* In a device of which nobody told: it may go when that does. */
	if (row && thing->class_id == XN_CLASS_VDI && !sim_is_used(c, thing) &&
	    xn_set_len(xn_row_get(row, XN_VDI_VBDs))) {
		forget(thing->exists);
		row = NULL;
	}
	if (!row)
		sim_thing_drop(thing);
}

/* A provision that was shown may be lost, and one that was not may have come about. */
static void learn_template(struct sim_client *c, struct sim_vm *vm)
{
	bool was = vm->is_template;

	if (vm->is_snapshot)
		return;
	vm->is_template = xn_row_bool(xn_db_get(sim_db(c->world), XN_CLASS_VM, vm->ref),
				      XN_VM_is_a_template);
	if (was && !vm->is_template) {
		sim_vm_has_power(c, vm);
	} else if (vm->is_template) {
		forget(vm->power);
		vm->power = NULL;
	}
}

static void settle_vm(struct sim_client *c, struct sim_vm *vm)
{
	struct sim_fact *const facts[] = {vm->exists, vm->name, vm->power};

	vm->unsure = false;
	for (size_t i = 0; i < XN_ARRAY_SIZE(facts); i++)
		if (facts[i])
			sim_fact_settle(facts[i]);
	for (unsigned i = 0; i < vm->n_keys; i++)
		sim_fact_settle(vm->keys[i]);
	xn_list_each_safe(link, &c->things) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (thing->vm == vm)
			settle_thing(c, thing);
	}
	if (vm->exists->seen->kind == XN_NIL) {
		sim_vm_drop(c, vm);
		return;
	}
	if (vm->name && vm->name->forgotten)
		sim_vm_relearn(c, vm);
	learn_template(c, vm);
}

static void on_record(const struct xn_value *record, const char *code, void *arg)
{
	struct sim_lane_state *lane = arg;

	lane->call = NULL;
	if (code && strcmp(code, "SESSION_INVALID") == 0 && session_may_end(lane->client))
		lane->client->is_away = true;
	think(lane);
}

static void look_at_things(struct sim_client *c)
{
	xn_list_each_safe(link, &c->things) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (thing->unsure && is_still(c->world, thing->class_id, thing->ref))
			settle_thing(c, thing);
	}
}

/* True: there was a VM to look at. */
static bool look_again(struct sim_lane_state *lane)
{
	struct sim_client *c = lane->client;
	struct xn_list *lists[] = {&c->vms, &c->snapshots};

	drop_void(c);
	look_at_things(c);

	for (size_t i = 0; i < XN_ARRAY_SIZE(lists); i++) {
		xn_list_each(link, lists[i]) {
			struct sim_vm *vm = xn_list_entry(link, struct sim_vm, link);

			if (!vm->unsure)
				continue;
			lane->cuts = c->world->cuts;
			lane->call = sim_call(c->world, c->secret, "VM.get_record",
					      sim_params(vm->ref, NULL), on_record, lane);
			if (!c->lanes[SIM_QUICK].deed &&
			    is_still(c->world, XN_CLASS_VM, vm->ref))
				settle_vm(c, vm);
			return true;
		}
	}
	return false;
}

void sim_client_settle(struct sim_client *c)
{
	xn_list_each_safe(link, &c->vms)
		settle_vm(c, xn_list_entry(link, struct sim_vm, link));
	xn_list_each_safe(link, &c->snapshots)
		settle_vm(c, xn_list_entry(link, struct sim_vm, link));
	drop_void(c);
	xn_list_each_safe(link, &c->things)
		settle_thing(c, xn_list_entry(link, struct sim_thing, link));
}

/* ---- doing ---- */

static const struct sim_action *choose(struct sim_client *c, enum sim_lane lane)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < sim_n_actions; i++)
		total += sim_actions[i].lane == lane ? sim_actions[i].weight : 0;
	at = (unsigned)sim_random(c->world, total);
	for (size_t i = 0; i < sim_n_actions; i++) {
		unsigned weight = sim_actions[i].lane == lane ? sim_actions[i].weight : 0;

		if (at < weight)
			return &sim_actions[i];
		at -= weight;
	}
	sim_fail(c->world, "client %u does not know what to do", c->index);
}

static struct sim_deed *think_of_something(struct sim_lane_state *lane, struct xn_value **params)
{
	struct sim_deed *deed = xn_calloc(1, sizeof(*deed));

	deed->client = lane->client;
	for (int i = 0; i < 12; i++) {
		deed->action = choose(lane->client, lane->lane);
		*params = xn_set_new();
		if (deed->action->prepare(deed, params))
			return deed;
		xn_value_unref(*params);
		deed->vm = NULL;
		deed->thing = NULL;
	}
	free(deed);
	return NULL;
}

static void begin(struct sim_lane_state *lane, struct sim_deed *deed, struct xn_value *params)
{
	struct sim_client *c = lane->client;
	struct sim_world *w = c->world;
	bool async = deed->action->may_be_async && sim_chance(w, 2, 5);
	char method[64];

	for (unsigned i = 0; i < deed->n_changes; i++) {
		sim_fact_try(deed->changes[i].fact, xn_value_ref(deed->changes[i].value));
		if (lane->lane == SIM_OPERATIONS)
			sim_fact_slow(deed->changes[i].fact);
	}
	lane->deed = deed;
	lane->cuts = deed->cuts = w->cuts;
	lane->life = w->life;
	snprintf(method, sizeof(method), "%s%s", async ? "Async." : "", deed->action->method);
	sim_say(w, "client %u: %s %s %s", c->index, method,
		deed->vm ? deed->vm->ref : deed->thing ? deed->thing->ref : "", deed->text);
	lane->call = sim_call(w, c->secret, method, params, async ? on_began : on_done, lane);
}

/* The connection breaks in the middle of a call: what it was for goes on, or does not. */
static void hang_up(struct sim_lane_state *lane)
{
	sim_say(lane->client->world, "client %u hangs up", lane->client->index);
	sim_hang_up(lane->call);
	if (lane->deed && !lane->task[0])
		deed_is_unsure(take_deed(lane));
	lane->call = NULL;
	think(lane);
}

static void on_logged_in(const struct xn_value *result, const char *code, void *arg)
{
	struct sim_client *c = arg;
	struct sim_world *w = c->world;

	c->logging_in = false;
	if (code && !sim_fault_explains(w, code))
		sim_fail(w, "client %u cannot log in: %s", c->index, code);
	if (code)
		return;
	snprintf(c->secret, sizeof(c->secret), "%s", xn_value_string(result));
	c->is_away = false;
	c->login_cuts = w->cuts;
	c->is_unstored = !sim_session_is_stored(w, c->secret);
}

static void log_in(struct sim_client *c)
{
	if (c->logging_in)
		return;
	c->logging_in = true;
	c->secret[0] = '\0';
	sim_call(c->world, "", "session.login_with_password", sim_params("root", "", NULL),
		 on_logged_in, c);
}

static void on_logged_out(const struct xn_value *result, const char *code, void *arg)
{
}

static void log_out(struct sim_client *c)
{
	sim_say(c->world, "client %u logs out", c->index);
	c->is_away = true;
	sim_call(c->world, c->secret, "session.logout", xn_set_new(), on_logged_out, c);
}

static void on_pause_over(struct xn_timer *timer)
{
	struct sim_lane_state *lane = xn_container_of(timer, struct sim_lane_state, pause);
	struct sim_client *c = lane->client;
	struct xn_value *params;
	struct sim_deed *deed;

	if (c->is_away || c->logging_in) {
		log_in(c);
		think(lane);
		return;
	}
	if (lane->call) { /* patience has an end */
		if (sim_chance(c->world, c->world->plan.disconnects, 1000))
			hang_up(lane);
		else
			think(lane);
		return;
	}
	if (lane->task[0]) {
		look_at_task(lane);
		return;
	}
	if (lane->lane == SIM_OPERATIONS && look_again(lane))
		return;
	if (c->resting)
		return;
	if (lane->lane == SIM_QUICK && sim_chance(c->world, c->world->plan.logouts, 1000)) {
		log_out(c);
		think(lane);
		return;
	}
	deed = think_of_something(lane, &params);
	if (deed)
		begin(lane, deed, params);
	if (!lane->call || c->world->plan.disconnects)
		think(lane);
}

/* Also while a call is under way. */
static void think(struct sim_lane_state *lane)
{
	struct sim_world *w = lane->client->world;

	if (w->modules)
		xn_timer_arm(w->loop, &lane->pause,
			     1 + (int64_t)sim_random(w, 2 * (uint64_t)w->plan.think_us),
			     on_pause_over);
}

/* ---- lives ---- */

struct sim_client *sim_client_new(struct sim_world *w, unsigned index)
{
	struct sim_client *c = xn_calloc(1, sizeof(*c));

	c->world = w;
	c->index = index;
	c->is_away = true;
	xn_list_init(&c->vms);
	xn_list_init(&c->snapshots);
	xn_list_init(&c->things);
	for (int i = 0; i < SIM_LANES; i++) {
		c->lanes[i].client = c;
		c->lanes[i].lane = (enum sim_lane)i;
	}
	return c;
}

void sim_client_free(struct sim_client *c)
{
	while (!xn_list_empty(&c->vms))
		sim_vm_drop(c, xn_list_entry(c->vms.next, struct sim_vm, link));
	while (!xn_list_empty(&c->snapshots))
		sim_vm_drop(c, xn_list_entry(c->snapshots.next, struct sim_vm, link));
	while (!xn_list_empty(&c->things))
		sim_thing_drop(xn_list_entry(c->things.next, struct sim_thing, link));
	free(c);
}

void sim_client_begin(struct sim_client *c)
{
	c->resting = false;
	for (int i = 0; i < SIM_LANES; i++)
		think(&c->lanes[i]);
}

void sim_client_rest(struct sim_client *c)
{
	c->resting = true;
}

bool sim_client_is_idle(const struct sim_client *c)
{
	xn_list_each(link, &c->vms)
		if (xn_list_entry(link, struct sim_vm, link)->unsure)
			return false;
	for (int i = 0; i < SIM_LANES; i++)
		if (c->lanes[i].deed || c->lanes[i].call)
			return false;
	return true;
}

/* Tasks go on in the next life, with their deeds. */
void sim_client_crashed(struct sim_client *c)
{
	for (int i = 0; i < SIM_LANES; i++) {
		struct sim_lane_state *lane = &c->lanes[i];

		lane->pause = (struct xn_timer){0};
		lane->call = NULL;
		if (lane->deed && !lane->task[0])
			deed_is_unsure(take_deed(lane));
	}
	xn_list_each(link, &c->vms)
		xn_list_entry(link, struct sim_vm, link)->unsure |= c->world->doubtful;
	xn_list_each(link, &c->things)
		xn_list_entry(link, struct sim_thing, link)->unsure |= c->world->doubtful;
	c->logging_in = false;
	if (!c->secret[0])
		c->is_away = true;
}
