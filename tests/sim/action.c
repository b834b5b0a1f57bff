/*
 * What clients do: a table of calls, each with the parameters, what its acknowledgement proves, and
 * the codes that it may be refused with although nothing is wrong.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client_internal.h"

#define MIB (INT64_C(1) << 20)

/* ---- choosing among what a client has ---- */

static uint64_t draw(const struct sim_deed *deed, uint64_t below)
{
	return sim_random(deed->client->world, below);
}

static const char *state_of(const struct sim_vm *vm)
{
	return vm->power && !vm->power->open ? sim_fact_string(vm->power) : "";
}

/* @states: " Halted Running", or NULL for any VM. Moody ones pass for whatever is wanted. */
static bool is_in(const struct sim_vm *vm, const char *states)
{
	if (vm->unsure || vm->exists->open)
		return false;
	if (!states)
		return true;
	if (vm->is_template)
		return strstr(states, "template");
	if (vm->is_moody)
		return strcmp(states, "template") != 0;
	return (*state_of(vm) && strstr(states, state_of(vm)));
}

static bool pick_of(struct sim_deed *deed, struct xn_list *list, const char *states)
{
	size_t n = 0, at;

	xn_list_each(link, list) n += is_in(xn_list_entry(link, struct sim_vm, link), states);
	if (!n)
		return false;
	at = draw(deed, n);
	xn_list_each(link, list) {
		struct sim_vm *vm = xn_list_entry(link, struct sim_vm, link);

		if (is_in(vm, states) && at-- == 0)
			deed->vm = vm;
	}
	return true;
}

static bool pick(struct sim_deed *deed, const char *states)
{
	return pick_of(deed, &deed->client->vms, states);
}

static bool is_wanted(const struct sim_thing *thing, int class_id)
{
	return thing->class_id == class_id && !thing->unsure && !thing->is_void && !thing->exists->open &&
	       thing->exists->seen->kind == XN_BOOL &&
	       !(thing->vm && thing->vm->unsure);
}

static bool pick_thing(struct sim_deed *deed, int class_id)
{
	struct xn_list *list = &deed->client->things;
	size_t n = 0, at;

	xn_list_each(link, list)
		n += is_wanted(xn_list_entry(link, struct sim_thing, link), class_id);
	if (!n)
		return false;
	at = draw(deed, n);
	xn_list_each(link, list) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (is_wanted(thing, class_id) && at-- == 0)
			deed->thing = thing;
	}
	return true;
}

static size_t count(const struct xn_list *list)
{
	size_t n = 0;

	xn_list_each(link, list) n++;
	return n;
}

static size_t count_things(const struct sim_client *c, int class_id)
{
	size_t n = 0;

	xn_list_each(link, &c->things)
		n += xn_list_entry(link, struct sim_thing, link)->class_id == class_id;
	return n;
}

/* ---- building parameters ---- */

static void add_string(struct xn_value **params, const char *s)
{
	xn_set_append_string(params, s);
}

static void add_bool(struct xn_value **params, bool b)
{
	xn_set_append(params, xn_bool(b));
}

static void make_name(struct sim_deed *deed, const char *what)
{
	struct sim_client *c = deed->client;

	snprintf(deed->text, sizeof(deed->text), "%s-%u-%u", what, c->index, ++c->counter);
}

/* The power state will be @power; on the way, and where it fails, it may be any that is not saved. */
static void changes_power(struct sim_deed *deed, const char *power)
{
	static const char *const others[] = {"Halted", "Running", "Paused"};

	if (!deed->vm->power)
		return;
	sim_fact_slow(deed->vm->power);
	for (size_t i = 0; i < XN_ARRAY_SIZE(others); i++)
		sim_fact_try(deed->vm->power, xn_string(others[i]));
	sim_deed_changes(deed, deed->vm->power, xn_string(power));
}

static bool on_vm(struct sim_deed *deed, struct xn_value **params, const char *states,
		  const char *power)
{
	if (!pick(deed, states))
		return false;
	add_string(params, deed->vm->ref);
	if (power)
		changes_power(deed, power);
	return true;
}

/* ---- VMs come and go ---- */

static bool vm_clone(struct sim_deed *deed, struct xn_value **params)
{
	struct sim_client *c = deed->client;

	if (count(&c->vms) >= c->world->plan.vms)
		return false;
	make_name(deed, "vm");
	add_string(params, c->world->template);
	add_string(params, deed->text);
	return true;
}

static void vm_cloned(struct sim_deed *deed, const struct xn_value *result)
{
	struct sim_client *c = deed->client;
	struct sim_vm *vm = sim_vm_add(c, &c->vms, xn_value_string(result), deed->text);

	vm->is_template = true;
	vm->is_moody = sim_chance(c->world, c->world->plan.moody_guests, 100);
}

static bool vm_provision(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "template", NULL);
}

static void vm_provisioned(struct sim_deed *deed, const struct xn_value *result)
{
	deed->vm->is_template = false;
	sim_vm_has_power(deed->client, deed->vm);
}

/* Habits of a guest: sim/sim.h tells what there is. */
static bool vm_mood(struct sim_deed *deed, struct xn_value **params)
{
	static const char *const moods[][2] = {
		{"sim-build", "fail"},		{"sim-build", "hang"},
		{"sim-boot", "hang"},		{"sim-boot", "crash"},
		{"sim-plug", "fail"},		{"sim-plug", "hang"},
		{"sim-connect", "never"},	{"sim-unplug", "refuse"},
		{"sim-unplug", "hang"},		{"sim-shutdown", "refuse"},
		{"sim-shutdown", "hang"},	{"sim-shutdown", "crash"},
		{"sim-agent", "none"},		{"sim-balloon", "refuse"},
		{"sim-save", "fail"},		{"sim-save", "hang"},
		{"sim-crash-after-ms", "300"},	{"sim-reboot-after-ms", "400"},
		{"sim-poweroff-after-ms", "500"}, {"sim-build-ms", "2000"},
		{"sim-boot-ms", "3000"},	{"sim-connect-ms", "2000"},
		{"sim-destroy-ms", "1500"},	{"sim-shutdown-ms", "4000"},
		{"sim-jitter", "100"},		{"sim-save-ms", "1000"},
	};
	struct xn_value *map = xn_map_new();

	if (!pick(deed, NULL) || !deed->vm->is_moody || deed->vm->n_keys) {
		xn_value_unref(map);
		return false;
	}
	for (uint64_t n = draw(deed, 3); n != UINT64_MAX; n--) {
		const char *const *mood = moods[draw(deed, XN_ARRAY_SIZE(moods))];

		xn_map_put_string(&map, mood[0], mood[1]);
	}
	add_string(params, deed->vm->ref);
	xn_set_append(params, map);
	return true;
}

static bool vm_destroy(struct sim_deed *deed, struct xn_value **params)
{
	const struct sim_deed *beside = deed->client->lanes[SIM_QUICK].deed;

	if (!on_vm(deed, params, "Halted template", NULL) || (beside && beside->vm == deed->vm))
		return false;
	sim_deed_changes(deed, deed->vm->exists, xn_nil());
	xn_list_each(link, &deed->client->things) {
		struct sim_thing *thing = xn_list_entry(link, struct sim_thing, link);

		if (thing->vm == deed->vm)
			sim_deed_changes(deed, thing->exists, xn_nil());
	}
	return true;
}

static void vm_destroyed(struct sim_deed *deed, const struct xn_value *result)
{
	sim_vm_drop(deed->client, deed->vm);
}

/* ---- power ---- */

static bool vm_start(struct sim_deed *deed, struct xn_value **params)
{
	bool paused = sim_chance(deed->client->world, 1, 6);

	if (!on_vm(deed, params, "Halted", paused ? "Paused" : "Running"))
		return false;
	add_bool(params, paused);
	add_bool(params, false);
	return true;
}

static bool vm_shutdown(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running", "Halted");
}

static bool vm_hard_shutdown(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running Paused", "Halted");
}

static bool vm_reboot(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running", "Running");
}

static bool vm_pause(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running", "Paused");
}

static bool vm_unpause(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Paused", "Running");
}

static bool vm_suspend(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running", "Suspended");
}

static bool vm_resume(struct sim_deed *deed, struct xn_value **params)
{
	bool paused = sim_chance(deed->client->world, 1, 6);

	if (!on_vm(deed, params, "Suspended", paused ? "Paused" : "Running"))
		return false;
	add_bool(params, paused);
	add_bool(params, false);
	return true;
}

static bool vm_power_reset(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, "Running Paused", "Halted");
}

/* ---- snapshots ---- */

static bool make_snapshot(struct sim_deed *deed, struct xn_value **params, const char *states)
{
	if (count(&deed->client->snapshots) >= 3 || !on_vm(deed, params, states, NULL))
		return false;
	make_name(deed, "snapshot");
	add_string(params, deed->text);
	return true;
}

static bool vm_snapshot(struct sim_deed *deed, struct xn_value **params)
{
	if (!make_snapshot(deed, params, "Halted Running Paused Suspended"))
		return false;
	if (strcmp(state_of(deed->vm), "Running") == 0) /* stands still meanwhile */
		changes_power(deed, "Running");
	return true;
}

/* It stands still for a moment, and a failure may leave it there. */
static bool vm_checkpoint(struct sim_deed *deed, struct xn_value **params)
{
	if (!make_snapshot(deed, params, "Running"))
		return false;
	changes_power(deed, "Running");
	if (deed->vm->power)
		sim_fact_try(deed->vm->power, xn_string("Suspended"));
	return true;
}

static void snapshot_made(struct sim_deed *deed, const struct xn_value *result)
{
	struct sim_client *c = deed->client;

	sim_vm_add(c, &c->snapshots, xn_value_string(result), deed->text)->snapshot_of = deed->vm;
}

/* What the VM becomes is the snapshot's to say. */
static bool vm_revert(struct sim_deed *deed, struct xn_value **params)
{
	static const char *const all[] = {"Halted", "Running", "Paused", "Suspended"};
	struct sim_vm *snapshot;

	if (!pick_of(deed, &deed->client->snapshots, NULL) || !deed->vm->snapshot_of)
		return false;
	snapshot = deed->vm;
	deed->vm = snapshot->snapshot_of;
	if (!is_in(deed->vm, NULL) || deed->client->lanes[SIM_QUICK].deed)
		return false;
	add_string(params, snapshot->ref);
	for (size_t i = 0; deed->vm->power && i < XN_ARRAY_SIZE(all); i++)
		sim_fact_try(deed->vm->power, xn_string(all[i]));
	/* From now on nobody can tell what it has: so also where the call fails. */
	sim_vm_relearn(deed->client, deed->vm);
	sim_fact_forget(deed->vm->name);
	if (deed->vm->power)
		sim_fact_forget(deed->vm->power);
	return true;
}

static void vm_reverted(struct sim_deed *deed, const struct xn_value *result)
{
	sim_vm_relearn(deed->client, deed->vm);
}

static bool snapshot_destroy(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_of(deed, &deed->client->snapshots, NULL))
		return false;
	add_string(params, deed->vm->ref);
	sim_deed_changes(deed, deed->vm->exists, xn_nil());
	return true;
}

/* ---- memory, processors ---- */

/* Sums of the least always fit, sums of the most never do. */
static int64_t add_range(struct sim_deed *deed, struct xn_value **params)
{
	int64_t least = (int64_t)(16 + draw(deed, 300)) * MIB;
	int64_t most = least + (int64_t)draw(deed, 1000) * MIB;

	xn_set_append(params, xn_int(least));
	xn_set_append(params, xn_int(most));
	return most;
}

static bool vm_memory_limits(struct sim_deed *deed, struct xn_value **params)
{
	if (!on_vm(deed, params, "Halted", NULL))
		return false;
	xn_set_append(params, xn_int(16 * MIB));
	xn_set_append(params, xn_int(4096 * MIB));
	add_range(deed, params);
	return true;
}

static bool vm_memory_range(struct sim_deed *deed, struct xn_value **params)
{
	if (!on_vm(deed, params, "Running", NULL))
		return false;
	add_range(deed, params);
	return true;
}

static bool vm_vcpus(struct sim_deed *deed, struct xn_value **params)
{
	if (!on_vm(deed, params, "Running", NULL))
		return false;
	xn_set_append(params, xn_int(1));
	return true;
}

/* ---- fields ---- */

static bool vm_rename(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick(deed, NULL) || !deed->vm->name || deed->vm->name->forgotten)
		return false;
	make_name(deed, "name");
	add_string(params, deed->vm->ref);
	add_string(params, deed->text);
	sim_deed_changes(deed, deed->vm->name, xn_string(deed->text));
	return true;
}

static bool vm_add_key(struct sim_deed *deed, struct xn_value **params)
{
	struct sim_vm *vm;

	if (!pick(deed, NULL) || deed->vm->n_keys == MOST_KEYS)
		return false;
	vm = deed->vm;
	if (!vm->name || vm->name->forgotten) /* about to be reverted */
		return false;
	make_name(deed, "key");
	add_string(params, vm->ref);
	add_string(params, deed->text);
	add_string(params, "value");
	vm->keys[vm->n_keys] = sim_fact_new(deed->client->world, XN_CLASS_VM, vm->ref,
					    XN_VM_other_config, deed->text, xn_nil());
	vm->keys[vm->n_keys]->of = vm->exists;
	sim_deed_changes(deed, vm->keys[vm->n_keys++], xn_string("value"));
	return true;
}

static bool vm_remove_key(struct sim_deed *deed, struct xn_value **params)
{
	struct sim_fact *fact;

	if (!pick(deed, NULL) || !deed->vm->n_keys)
		return false;
	fact = deed->vm->keys[draw(deed, deed->vm->n_keys)];
	if (fact->open)
		return false;
	add_string(params, deed->vm->ref);
	add_string(params, fact->key);
	sim_deed_changes(deed, fact, xn_nil());
	return true;
}

static bool vm_get_record(struct sim_deed *deed, struct xn_value **params)
{
	return on_vm(deed, params, NULL, NULL);
}

static bool get_all(struct sim_deed *deed, struct xn_value **params)
{
	return true;
}

/* ---- disks ---- */

static bool vdi_create(struct sim_deed *deed, struct xn_value **params)
{
	struct xn_value *record = xn_map_new();

	if (count_things(deed->client, XN_CLASS_VDI) >= 4) {
		xn_value_unref(record);
		return false;
	}
	make_name(deed, "disk");
	deed->number = (int64_t)(1 + draw(deed, 8)) * MIB;
	xn_map_put_string(&record, "name_label", deed->text);
	xn_map_put_string(&record, "name_description", "");
	xn_map_put_string(&record, "SR", deed->client->world->sr);
	xn_map_put(&record, "virtual_size", xn_int(deed->number));
	xn_map_put_string(&record, "type", "user");
	xn_map_put(&record, "sharable", xn_bool(false));
	xn_map_put(&record, "read_only", xn_bool(false));
	xn_map_put(&record, "other_config", xn_map_new());
	xn_set_append(params, record);
	return true;
}

static void vdi_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	struct sim_thing *disk =
		sim_thing_add(deed->client, XN_CLASS_VDI, xn_value_string(result));

	disk->detail = sim_fact_new(deed->client->world, XN_CLASS_VDI, disk->ref,
				    XN_VDI_virtual_size, "", xn_int(deed->number));
	disk->detail->of = disk->exists;
}

static bool pick_free_disk(struct sim_deed *deed)
{
	return pick_thing(deed, XN_CLASS_VDI) && !sim_is_used(deed->client, deed->thing);
}

static bool vdi_destroy(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_free_disk(deed))
		return false;
	add_string(params, deed->thing->ref);
	sim_deed_changes(deed, deed->thing->exists, xn_nil());
	if (deed->thing->detail)
		sim_deed_changes(deed, deed->thing->detail, xn_nil());
	return true;
}

static void thing_is_gone(struct sim_deed *deed, const struct xn_value *result)
{
	sim_thing_drop(deed->thing);
}

static bool vdi_resize(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_free_disk(deed) || !deed->thing->detail ||
	    deed->thing->detail->seen->kind != XN_INT)
		return false;
	deed->number = xn_value_int(deed->thing->detail->seen) + (int64_t)draw(deed, 4) * MIB;
	add_string(params, deed->thing->ref);
	xn_set_append(params, xn_int(deed->number));
	sim_deed_changes(deed, deed->thing->detail, xn_int(deed->number));
	return true;
}

/* Also of one that a running VM uses. */
static bool vdi_copy(struct sim_deed *deed, struct xn_value **params)
{
	if (count_things(deed->client, XN_CLASS_VDI) >= 5 || !pick_thing(deed, XN_CLASS_VDI) ||
	    !deed->thing->detail || deed->thing->detail->seen->kind != XN_INT)
		return false;
	deed->number = xn_value_int(deed->thing->detail->seen);
	add_string(params, deed->thing->ref);
	return true;
}

/* ---- devices ---- */

static unsigned free_unit(const struct sim_client *c, const struct sim_vm *vm, int class_id)
{
	unsigned unit = 0;
	bool taken;

	do {
		taken = false;
		xn_list_each(link, &c->things) {
			const struct sim_thing *t = xn_list_entry(link, struct sim_thing, link);

			taken |= t->vm == vm && t->class_id == class_id && t->unit == unit;
		}
	} while (taken && ++unit);
	return unit;
}

static bool vbd_create(struct sim_deed *deed, struct xn_value **params)
{
	struct xn_value *record;
	char unit[12];

	if (!pick_free_disk(deed) || !pick(deed, "Halted Running"))
		return false;
	deed->number = free_unit(deed->client, deed->vm, XN_CLASS_VBD);
	snprintf(unit, sizeof(unit), "%lld", (long long)deed->number + 4);
	record = xn_map_new();
	xn_map_put_string(&record, "VM", deed->vm->ref);
	xn_map_put_string(&record, "VDI", deed->thing->ref);
	xn_map_put_string(&record, "userdevice", unit);
	xn_map_put(&record, "bootable", xn_bool(false));
	xn_map_put_string(&record, "mode", "RW");
	xn_map_put_string(&record, "type", "Disk");
	xn_map_put(&record, "empty", xn_bool(false));
	xn_map_put(&record, "unpluggable", xn_bool(true));
	xn_map_put(&record, "other_config", xn_map_new());
	xn_map_put_string(&record, "qos_algorithm_type", "");
	xn_map_put(&record, "qos_algorithm_params", xn_map_new());
	xn_set_append(params, record);
	return true;
}

static void device_is_there(struct sim_deed *deed, int class_id, const struct xn_value *result)
{
	struct sim_thing *device = sim_thing_add(deed->client, class_id, xn_value_string(result));

	device->vm = deed->vm;
	device->unit = (unsigned)deed->number;
	device->disk = class_id == XN_CLASS_VBD ? deed->thing : NULL;
}

static void vbd_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	device_is_there(deed, XN_CLASS_VBD, result);
}

static bool vif_create(struct sim_deed *deed, struct xn_value **params)
{
	struct xn_value *record;
	char unit[12];

	if (count_things(deed->client, XN_CLASS_VIF) >= 4 || !pick(deed, "Halted Running"))
		return false;
	deed->number = free_unit(deed->client, deed->vm, XN_CLASS_VIF);
	if (deed->number > 6)
		return false;
	snprintf(unit, sizeof(unit), "%lld", (long long)deed->number);
	record = xn_map_new();
	xn_map_put_string(&record, "VM", deed->vm->ref);
	xn_map_put_string(&record, "network", deed->client->world->network);
	xn_map_put_string(&record, "device", unit);
	xn_map_put_string(&record, "MAC", "");
	xn_map_put(&record, "MTU", xn_int(1500));
	xn_map_put(&record, "other_config", xn_map_new());
	xn_map_put_string(&record, "qos_algorithm_type", "");
	xn_map_put(&record, "qos_algorithm_params", xn_map_new());
	xn_set_append(params, record);
	return true;
}

static void vif_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	device_is_there(deed, XN_CLASS_VIF, result);
}

static bool on_device(struct sim_deed *deed, struct xn_value **params, int class_id,
		      const char *states)
{
	if (!pick_thing(deed, class_id) || !is_in(deed->thing->vm, states))
		return false;
	deed->vm = deed->thing->vm;
	add_string(params, deed->thing->ref);
	return true;
}

static bool vbd_plug(struct sim_deed *deed, struct xn_value **params)
{
	return on_device(deed, params, XN_CLASS_VBD, "Running");
}

static bool vif_plug(struct sim_deed *deed, struct xn_value **params)
{
	return on_device(deed, params, XN_CLASS_VIF, "Running");
}

static bool device_destroy(struct sim_deed *deed, struct xn_value **params, int class_id)
{
	if (!on_device(deed, params, class_id, "Halted"))
		return false;
	sim_deed_changes(deed, deed->thing->exists, xn_nil());
	return true;
}

static bool vbd_destroy(struct sim_deed *deed, struct xn_value **params)
{
	return device_destroy(deed, params, XN_CLASS_VBD);
}

static bool vif_destroy(struct sim_deed *deed, struct xn_value **params)
{
	return device_destroy(deed, params, XN_CLASS_VIF);
}

/* ---- appliances ---- */

static bool appliance_create(struct sim_deed *deed, struct xn_value **params)
{
	struct xn_value *record;

	if (count_things(deed->client, XN_CLASS_VM_appliance))
		return false;
	make_name(deed, "appliance");
	record = xn_map_new();
	xn_map_put_string(&record, "name_label", deed->text);
	xn_map_put_string(&record, "name_description", "");
	xn_set_append(params, record);
	return true;
}

static void appliance_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	sim_thing_add(deed->client, XN_CLASS_VM_appliance, xn_value_string(result));
}

static bool vm_set_appliance(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_thing(deed, XN_CLASS_VM_appliance) || !pick(deed, "Halted Running"))
		return false;
	add_string(params, deed->vm->ref);
	add_string(params, deed->thing->ref);
	return true;
}

/* Any of the client's VMs may be in it: all of them are looked at again. */
static bool on_appliance(struct sim_deed *deed, struct xn_value **params)
{
	static const char *const all[] = {"Halted", "Running", "Paused"};

	if (!pick_thing(deed, XN_CLASS_VM_appliance))
		return false;
	add_string(params, deed->thing->ref);
	xn_list_each(link, &deed->client->vms) {
		struct sim_vm *vm = xn_list_entry(link, struct sim_vm, link);

		for (size_t i = 0; vm->power && i < XN_ARRAY_SIZE(all); i++) {
			sim_fact_try(vm->power, xn_string(all[i]));
			sim_fact_slow(vm->power);
		}
		vm->unsure = true;
	}
	return true;
}

static bool appliance_start(struct sim_deed *deed, struct xn_value **params)
{
	if (!on_appliance(deed, params))
		return false;
	add_bool(params, false);
	return true;
}

static bool appliance_destroy(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_thing(deed, XN_CLASS_VM_appliance))
		return false;
	add_string(params, deed->thing->ref);
	sim_deed_changes(deed, deed->thing->exists, xn_nil());
	return true;
}

/* ---- messages, tasks ---- */

static bool message_create(struct sim_deed *deed, struct xn_value **params)
{
	struct xn_row *row;

	if (count_things(deed->client, XN_CLASS_message) >= 4 || !pick(deed, NULL))
		return false;
	row = xn_db_get(sim_db(deed->client->world), XN_CLASS_VM, deed->vm->ref);
	if (!row)
		return false;
	make_name(deed, "message");
	add_string(params, deed->text);
	xn_set_append(params, xn_int(3));
	add_string(params, "VM");
	add_string(params, xn_row_uuid(row));
	add_string(params, "text");
	return true;
}

static void message_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	sim_thing_add(deed->client, XN_CLASS_message, xn_value_string(result));
}

static bool message_destroy(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_thing(deed, XN_CLASS_message))
		return false;
	add_string(params, deed->thing->ref);
	sim_deed_changes(deed, deed->thing->exists, xn_nil());
	return true;
}

static bool task_create(struct sim_deed *deed, struct xn_value **params)
{
	if (count_things(deed->client, XN_CLASS_task) >= 2)
		return false;
	make_name(deed, "task");
	add_string(params, deed->text);
	add_string(params, "");
	return true;
}

static void task_is_there(struct sim_deed *deed, const struct xn_value *result)
{
	struct sim_world *w = deed->client->world;
	struct sim_thing *task = sim_thing_add(deed->client, XN_CLASS_task, xn_value_string(result));

	task->detail = sim_fact_new(w, XN_CLASS_task, task->ref, XN_task_other_config, "note",
				    xn_nil());
	task->detail->of = task->exists;
	if (w->plan.clock_jumps) /* by some clocks a day has passed */
		task->exists->gone_after_us = 1;
	xn_set_append_string(&w->own_tasks, task->ref);
}

static bool task_note(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_thing(deed, XN_CLASS_task) || deed->thing->detail->open ||
	    deed->thing->detail->seen->kind != XN_NIL)
		return false;
	add_string(params, deed->thing->ref);
	add_string(params, "note");
	add_string(params, "one");
	sim_deed_changes(deed, deed->thing->detail, xn_string("one"));
	return true;
}

static bool task_destroy(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick_thing(deed, XN_CLASS_task))
		return false;
	add_string(params, deed->thing->ref);
	sim_deed_changes(deed, deed->thing->exists, xn_nil());
	sim_deed_changes(deed, deed->thing->detail, xn_nil());
	return true;
}

/* Of what the other lane does. */
static bool task_cancel(struct sim_deed *deed, struct xn_value **params)
{
	const struct sim_lane_state *lane = &deed->client->lanes[SIM_OPERATIONS];

	if (!lane->task[0])
		return false;
	add_string(params, lane->task);
	return true;
}

static bool inject(struct sim_deed *deed, struct xn_value **params)
{
	if (!pick(deed, NULL))
		return false;
	add_string(params, "VM");
	add_string(params, deed->vm->ref);
	return true;
}

/* ---- the table ---- */

#define MEMORY "HOST_NOT_ENOUGH_FREE_MEMORY"
#define GUEST "VM_LACKS_FEATURE"
/* A task that was made, when the clock jumped by a day. */
#define COLLECTED "HANDLE_INVALID"
/* By a device of whose making the client was never told. */
#define USED "VDI_IN_USE"
#define PLUGGED GUEST " DEVICE_ALREADY_ATTACHED DEVICE_ALREADY_DETACHED"
/* Not one of its VMs is in the state for it. */
#define APPLIANCE "OPERATION_NOT_ALLOWED OPERATION_PARTIALLY_FAILED"

const struct sim_action sim_actions[] = {
	{"VM.clone", 20, SIM_OPERATIONS, vm_clone, vm_cloned, NULL, true},
	{"VM.provision", 40, SIM_OPERATIONS, vm_provision, vm_provisioned, NULL, true},
	{"VM.destroy", 2, SIM_OPERATIONS, vm_destroy, vm_destroyed, NULL, true},
	{"VM.start", 12, SIM_OPERATIONS, vm_start, NULL, MEMORY, true},
	{"VM.clean_shutdown", 4, SIM_OPERATIONS, vm_shutdown, NULL, GUEST, true},
	{"VM.shutdown", 1, SIM_OPERATIONS, vm_hard_shutdown, NULL, GUEST, true},
	{"VM.hard_shutdown", 4, SIM_OPERATIONS, vm_hard_shutdown, NULL, NULL, true},
	{"VM.clean_reboot", 3, SIM_OPERATIONS, vm_reboot, NULL, GUEST, true},
	{"VM.hard_reboot", 2, SIM_OPERATIONS, vm_reboot, NULL, NULL, true},
	{"VM.pause", 3, SIM_OPERATIONS, vm_pause, NULL, NULL, true},
	{"VM.unpause", 6, SIM_OPERATIONS, vm_unpause, NULL, NULL, true},
	{"VM.suspend", 3, SIM_OPERATIONS, vm_suspend, NULL, GUEST, true},
	{"VM.resume", 8, SIM_OPERATIONS, vm_resume, NULL, MEMORY, true},
	{"VM.power_state_reset", 1, SIM_OPERATIONS, vm_power_reset, NULL, "DOMAIN_EXISTS", false},
	{"VM.snapshot", 3, SIM_OPERATIONS, vm_snapshot, snapshot_made, NULL, true},
	{"VM.checkpoint", 2, SIM_OPERATIONS, vm_checkpoint, snapshot_made, GUEST, true},
	{"VM.revert", 2, SIM_OPERATIONS, vm_revert, vm_reverted, MEMORY, true},
	{"VM.destroy", 3, SIM_OPERATIONS, snapshot_destroy, vm_destroyed, NULL, true},
	{"VM.set_memory_limits", 2, SIM_OPERATIONS, vm_memory_limits, NULL, NULL, false},
	{"VM.set_memory_dynamic_range", 2, SIM_OPERATIONS, vm_memory_range, NULL,
	 "MEMORY_CONSTRAINT_VIOLATION_ORDER " MEMORY, false},
	{"VM.set_VCPUs_number_live", 1, SIM_OPERATIONS, vm_vcpus, NULL, GUEST, true},
	{"VM.set_appliance", 2, SIM_OPERATIONS, vm_set_appliance, NULL, NULL, false},
	{"VDI.create", 4, SIM_OPERATIONS, vdi_create, vdi_is_there, NULL, true},
	{"VDI.destroy", 2, SIM_OPERATIONS, vdi_destroy, thing_is_gone, USED, true},
	{"VDI.resize", 2, SIM_OPERATIONS, vdi_resize, NULL, USED, true},
	{"VDI.snapshot", 1, SIM_OPERATIONS, vdi_copy, vdi_is_there, NULL, true},
	{"VDI.clone", 1, SIM_OPERATIONS, vdi_copy, vdi_is_there, NULL, true},
	{"VBD.create", 4, SIM_OPERATIONS, vbd_create, vbd_is_there, "DEVICE_ALREADY_EXISTS", false},
	{"VBD.plug", 4, SIM_OPERATIONS, vbd_plug, NULL, PLUGGED, true},
	{"VBD.unplug", 2, SIM_OPERATIONS, vbd_plug, NULL, PLUGGED, true},
	{"VBD.destroy", 1, SIM_OPERATIONS, vbd_destroy, thing_is_gone, NULL, false},
	{"VIF.create", 3, SIM_OPERATIONS, vif_create, vif_is_there, "DEVICE_ALREADY_EXISTS", false},
	{"VIF.plug", 3, SIM_OPERATIONS, vif_plug, NULL, PLUGGED, true},
	{"VIF.unplug", 2, SIM_OPERATIONS, vif_plug, NULL, PLUGGED, true},
	{"VIF.destroy", 1, SIM_OPERATIONS, vif_destroy, thing_is_gone, NULL, false},
	{"VM_appliance.create", 1, SIM_OPERATIONS, appliance_create, appliance_is_there, NULL,
	 false},
	{"VM_appliance.start", 2, SIM_OPERATIONS, appliance_start, NULL,
	 APPLIANCE, true},
	{"VM_appliance.clean_shutdown", 1, SIM_OPERATIONS, on_appliance, NULL,
	 APPLIANCE, true},
	{"VM_appliance.hard_shutdown", 1, SIM_OPERATIONS, on_appliance, NULL,
	 APPLIANCE, true},
	{"VM_appliance.destroy", 1, SIM_OPERATIONS, appliance_destroy, thing_is_gone, NULL, false},

	{"VM.set_other_config", 6, SIM_QUICK, vm_mood, NULL, NULL, false},
	{"VM.set_name_label", 10, SIM_QUICK, vm_rename, NULL, NULL, false},
	{"VM.add_to_other_config", 8, SIM_QUICK, vm_add_key, NULL, NULL, false},
	{"VM.remove_from_other_config", 4, SIM_QUICK, vm_remove_key, NULL, NULL, false},
	{"VM.get_record", 10, SIM_QUICK, vm_get_record, NULL, NULL, false},
	{"VBD.get_all_records", 1, SIM_QUICK, get_all, NULL, NULL, false},
	{"message.create", 3, SIM_QUICK, message_create, message_is_there, NULL, false},
	{"message.destroy", 2, SIM_QUICK, message_destroy, thing_is_gone, NULL, false},
	{"task.create", 2, SIM_QUICK, task_create, task_is_there, NULL, false},
	{"task.add_to_other_config", 2, SIM_QUICK, task_note, NULL, COLLECTED, false},
	{"task.destroy", 1, SIM_QUICK, task_destroy, thing_is_gone, COLLECTED, false},
	{"task.cancel", 3, SIM_QUICK, task_cancel, NULL, COLLECTED " OPERATION_NOT_ALLOWED", false},
	{"event.inject", 2, SIM_QUICK, inject, NULL, NULL, false},
};
const size_t sim_n_actions = XN_ARRAY_SIZE(sim_actions);
