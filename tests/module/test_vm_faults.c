/*
 * Every step of every operation on VMs and their devices goes wrong in every way, one after the
 * other: it fails before or after its work, hangs beyond its deadline, is cancelled, or the daemon
 * is killed in it. Generated from the step tables. Afterwards the world is as it was or the
 * operation is whole, the rows say what is true, nothing is left over, and the VM can be used.
 */
#include "tests/module/vm_fixture.h"

#include "modules/domain/domain_internal.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

struct scenario {
	const char *method, *given;
	enum { OF_VM, OF_DISK, OF_CD, OF_VIF, OF_SNAPSHOT } object;
	const char *more;
	const struct xn_op_kind *kind;
	/* From this step on a failure cannot bring the old world back. NULL: it always can. */
	const char *no_return;
	void (*prepare)(struct vm *vm);
};

static void unplug_disk(struct vm *vm)
{
	char *args = xn_asprintf("[\"%s\"]", vm->disk);

	free(api_do(vm->api, "VBD.unplug", args));
	free(args);
}

static void unplug_vif(struct vm *vm)
{
	char *args = xn_asprintf("[\"%s\"]", vm->vif);

	free(api_do(vm->api, "VIF.unplug", args));
	free(args);
}

static void want_a_disk(struct vm *vm)
{
	vm_do(vm, "VM.set_is_a_template", ",true");
	vm_do(vm, "VM.add_to_other_config",
	      ",\"disks\",\"<provision><disk device='6' size='1048576' sr=''/></provision>\"");
}

static void snapshot(struct vm *vm)
{
	vm_do_ref(vm, "VM.snapshot", ",\"before\",[]", vm->snapshot);
}

static void checkpoint(struct vm *vm)
{
	vm_do_ref(vm, "VM.checkpoint", ",\"before\"", vm->snapshot);
}

static void allow_clones_of_suspended(struct vm *vm)
{
	xn_db_map_put(vm->api->db, xn_db_first(vm->api->db, XN_CLASS_pool), XN_pool_other_config,
		      "allow_clone_suspended_vm", "true");
	vm_do(vm, "VM.update_allowed_operations", "");
}

static const struct scenario scenarios[] = {
	{"VM.start", "Halted", OF_VM, ",false,false", &xn_vm_start_kind, NULL, NULL},
	{"VM.clean_shutdown", "Running", OF_VM, "", &xn_vm_shutdown_kind, "ask the guest", NULL},
	{"VM.hard_shutdown", "Running", OF_VM, "", &xn_vm_hard_shutdown_kind, "destroy domain",
	 NULL},
	{"VM.hard_shutdown", "Paused", OF_VM, "", &xn_vm_hard_shutdown_kind, "destroy domain",
	 NULL},
	{"VM.clean_reboot", "Running", OF_VM, "", &xn_vm_reboot_kind, "ask the guest", NULL},
	{"VM.hard_reboot", "Running", OF_VM, "", &xn_vm_hard_reboot_kind, "destroy old domain",
	 NULL},
	{"VM.pause", "Running", OF_VM, "", &xn_vm_pause_kind, NULL, NULL},
	{"VM.unpause", "Paused", OF_VM, "", &xn_vm_unpause_kind, "unpause", NULL},
	{"VM.suspend", "Running", OF_VM, "", &xn_vm_suspend_kind, "destroy domain", NULL},
	{"VM.resume", "Suspended", OF_VM, ",false,false", &xn_vm_resume_kind, "unpause", NULL},
	{"VM.hard_shutdown", "Suspended", OF_VM, "", &xn_vm_hard_shutdown_kind,
	 "delete suspend image", NULL},
	{"VM.clone", "Halted", OF_VM, ",\"copy\"", &xn_vm_clone_kind, NULL, NULL},
	{"VM.clone", "Suspended", OF_VM, ",\"copy\"", &xn_vm_clone_kind, NULL,
	 allow_clones_of_suspended},
	{"VM.csvm", "Suspended", OF_VM, "", &xn_vm_clone_kind, NULL, NULL},
	{"VM.checkpoint", "Running", OF_VM, ",\"point\"", &xn_vm_clone_kind, NULL, NULL},
	{"VM.checkpoint", "Paused", OF_VM, ",\"point\"", &xn_vm_clone_kind, NULL, NULL},
	{"VM.snapshot", "Suspended", OF_VM, ",\"snap\",[]", &xn_vm_clone_kind, NULL, NULL},
	{"VM.snapshot", "Running", OF_VM, ",\"snap\",[]", &xn_vm_clone_kind, NULL, NULL},
	{"VM.revert", "Halted", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain", snapshot},
	{"VM.revert", "Running", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain", snapshot},
	{"VM.revert", "Running", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain",
	 checkpoint},
	{"VM.revert", "Suspended", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain",
	 snapshot},
	{"VM.provision", "Halted", OF_VM, "", &xn_vm_provision_kind, "attach disks", want_a_disk},
	{"VM.destroy", "Halted", OF_VM, "", &xn_vm_destroy_kind, "delete rows", NULL},
	{"VM.set_memory_target_live", "Running", OF_VM, ",33554432", &xn_vm_live_kind,
	 "tell the domain", NULL},
	{"VM.wait_memory_target_live", "Running", OF_VM, "", &xn_vm_balloon_kind, NULL, NULL},
	{"VBD.plug", "Running", OF_DISK, "", &xn_vbd_plug_kind, NULL, unplug_disk},
	{"VBD.unplug", "Running", OF_DISK, "", &xn_vbd_unplug_kind, "unplug the disk", NULL},
	{"VBD.insert", "Running", OF_CD, NULL, &xn_vbd_media_kind, "change the medium", NULL},
	{"VIF.plug", "Running", OF_VIF, "", &xn_vif_plug_kind, NULL, unplug_vif},
	{"VIF.unplug", "Running", OF_VIF, "", &xn_vif_unplug_kind, "unplug the interface", NULL},
};

enum way { FAILS, FAILS_AFTER, HANGS, IS_CANCELLED, KILLED, FULL_DISK, FULL_DISK_KILLED };
static const char *const ways[] = {"fails", "fails after its work", "hangs", "is cancelled",
				   "is where the daemon is killed",
				   "is the last that the disk notes for a while",
				   "is the last that the disk notes, and the daemon is killed"};

static struct {
	const struct scenario *scenario;
	int step;
	enum way way;
	bool reached;
	size_t orphans; /* before */
	struct api *api;
} plan;

static void disk_refuses(struct api *api, bool yes)
{
	struct xn_sim_faults faults = {.append_failures = yes, .reopen_failures = yes};

	xn_sim_disk_set_faults(api->disk, &faults);
}

static enum xn_op_fault on_step(const struct xn_op *op, int member, void *arg)
{
	static const enum xn_op_fault faults[] = {XN_FAULT_FAIL, XN_FAULT_FAIL_AFTER, XN_FAULT_HANG,
						  XN_FAULT_CANCEL, XN_FAULT_HANG, XN_FAULT_NONE,
						  XN_FAULT_NONE};

	if (plan.reached || op->undoing || member >= 0 || op->kind != plan.scenario->kind ||
	    op->step != plan.step)
		return XN_FAULT_NONE;
	plan.reached = true;
	if (plan.way >= FULL_DISK)
		disk_refuses(plan.api, true);
	return faults[plan.way];
}

static void break_steps(struct api *api)
{
	api->core.op_fault = on_step;
}

/* ---- what must hold afterwards ---- */

static void say(const char *what)
{
	fail_msg("%s, when step \"%s\" %s: %s", plan.scenario->method,
		 plan.scenario->kind->steps[plan.step].name, ways[plan.way], what);
}

/* No operation on the row, and exactly those allowed that the rules allow now. */
static void check_row(struct api *api, int class_id, const char *ref)
{
	const struct xn_class *cls = &xn_classes[class_id];
	int current = xn_field_find(cls, "current_operations");
	int allowed = xn_field_find(cls, "allowed_operations");
	struct xn_row *row = row_of(api, class_id, ref);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *old = xn_value_ref(xn_row_get(row, allowed));

	if (xn_map_len(xn_row_get(row, current)) > 0)
		say(cls->name);
	xn_operation_refresh(xn_operations_of(&api->core), row);
	if (xn_value_equal(old, xn_row_get(row, allowed)))
		return;
	for (size_t i = 0; i < xn_set_len(old); i++)
		print_message("listed: %s\n", xn_value_string(xn_set_at(old, i)));
	for (size_t i = 0; i < xn_set_len(xn_row_get(row, allowed)); i++)
		print_message("right: %s\n",
			      xn_value_string(xn_set_at(xn_row_get(row, allowed), i)));
	print_message("%s: ", cls->name);
	say("allowed_operations are not right");
}

static void check_rest(struct vm *vm)
{
	struct api *api = vm->api;

	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_task); row;
	     row = xn_db_next(api->db, row))
		if (strcmp(xn_row_string(row, XN_task_status), "pending") == 0)
			say("a task goes on for ever");
	if (xn_db_count(api->db, XN_CLASS_xn_operation) > 0)
		say("the journal has an operation left");
	if (!xn_db_get(api->db, XN_CLASS_VM, vm->ref))
		return;
	if (plan.scenario->kind == &xn_vm_revert_kind)
		vm_find_devices(vm);
	check_row(api, XN_CLASS_VM, vm->ref);
	check_row(api, XN_CLASS_VBD, vm->disk);
	check_row(api, XN_CLASS_VBD, vm->cd);
	check_row(api, XN_CLASS_VIF, vm->vif);
	check_row(api, XN_CLASS_VDI, vm->vdi);
	if (xn_domains_of(&api->core)->reserved_memory != 0)
		say("memory stays reserved");
	if (xn_vm_is_held(xn_domains_of(&api->core), vm->uuid))
		say("rows stay held back");
}

static bool is_in_use(struct api *api, const struct xn_row *vdi)
{
	if (strcmp(xn_row_string(vdi, XN_VDI_type), "suspend") != 0)
		return xn_set_len(xn_row_get(vdi, XN_VDI_VBDs)) > 0;
	for (struct xn_row *vm = xn_db_first(api->db, XN_CLASS_VM); vm;
	     vm = xn_db_next(api->db, vm))
		if (strcmp(xn_row_string(vm, XN_VM_suspend_VDI), xn_row_ref(vdi)) == 0)
			return true;
	return false;
}

static size_t count_orphans(struct api *api)
{
	size_t n = 0;

	for (struct xn_row *vdi = xn_db_first(api->db, XN_CLASS_VDI); vdi;
	     vdi = xn_db_next(api->db, vdi))
		n += !is_in_use(api, vdi);
	return n;
}

/* Each image belongs to a disk, under its name, and each disk has one. */
static void check_files(struct api *api)
{
	char *pattern = xn_asprintf("%s/sr/*/*.raw*", api->dir);
	char uuid[37];
	glob_t found;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *name = strrchr(found.gl_pathv[i], '/') + 1;

		snprintf(uuid, sizeof(uuid), "%s", name);
		if (strcmp(name + 36, ".raw") != 0)
			say("an image without its name is left");
		if (!xn_db_by_uuid(api->db, XN_CLASS_VDI, uuid))
			say("an image without a row is left");
	}
	if (found.gl_pathc != xn_db_count(api->db, XN_CLASS_VDI))
		say("a disk has no image");
	globfree(&found);
	free(pattern);
}

static void check_leftovers(struct vm *vm)
{
	const struct xn_domain_info *domain = vm_domain(vm);
	bool may_be_paused = strcmp(plan.scenario->given, "Paused") == 0 ||
			     plan.scenario->kind == &xn_vm_pause_kind;

	if (domain && domain->paused && !may_be_paused)
		say("the guest stays paused");
	if (xn_db_get(vm->api->db, XN_CLASS_VM, vm->ref) &&
	    count_orphans(vm->api) > plan.orphans)
		say("a disk that nobody has is left");
	if (plan.way < FULL_DISK)
		check_files(vm->api);
}

static void check_truth(struct vm *vm)
{
	const struct xn_row *row = xn_db_get(vm->api->db, XN_CLASS_VM, vm->ref);
	const struct xn_domain_info *domain = vm_domain(vm);
	bool image = row && xn_db_get(vm->api->db, XN_CLASS_VDI,
				      xn_row_string(row, XN_VM_suspend_VDI));
	const char *wanted = !domain          ? image ? "Suspended" : "Halted"
			     : domain->paused ? "Paused"
					      : "Running";

	if (row && strcmp(xn_row_string(row, XN_VM_power_state), wanted) != 0)
		say("the power state is not true");
	if (domain && domain->shut_down)
		say("the guest does not go on");
	if (domain && image)
		say("a guest runs, and has an image that could be resumed");
	if (!row && domain)
		say("a domain without a VM is left");
	if (row && !domain &&
	    xn_row_bool(row_of(vm->api, XN_CLASS_VBD, vm->disk), XN_VBD_currently_attached))
		say("a disk is attached to nothing");
}

/* Whatever happened: it can be stopped, started, and taken away. */
static void check_use(struct vm *vm)
{
	if (getenv("SAY"))
		print_message("%s %s %s\n", plan.scenario->method,
			      plan.scenario->kind->steps[plan.step].name, ways[plan.way]);
	if (!xn_db_get(vm->api->db, XN_CLASS_VM, vm->ref))
		return;
	vm_do(vm, "VM.set_is_a_template", ",false");
	if (strcmp(xn_row_string(vm_row(vm), XN_VM_power_state), "Suspended") == 0)
		vm_do(vm, "VM.resume", ",false,false"); /* its image is whole */
	if (vm_domain(vm))
		vm_do(vm, "VM.hard_shutdown", "");
	vm_do(vm, "VM.start", ",false,false");
	assert_state(vm, "Running");
	vm_do(vm, "VM.hard_shutdown", "");
	vm_do(vm, "VM.destroy", "");
}

/* ---- one case ---- */

static bool is_past_return(const struct scenario *s, int step)
{
	for (int i = 0; s->no_return && i <= step; i++)
		if (strcmp(s->kind->steps[i].name, s->no_return) == 0)
			return true;
	return false;
}

static char *args_of(struct vm *vm, const struct scenario *s)
{
	const char *refs[] = {vm->ref, vm->disk, vm->cd, vm->vif, vm->snapshot};

	if (!s->more)
		return xn_asprintf("[\"%s\",\"%s\"]", vm->cd, vm->medium);
	return xn_asprintf("[\"%s\"%s]", refs[s->object], s->more);
}

static void kill_and_recover(struct vm *vm, struct api_call *call)
{
	for (int i = 0; i < 10000 && !plan.reached && !call->done; i++)
		xn_loop_turn(vm->api->core.loop, 1000000);
	if (!plan.reached)
		return;
	if (plan.way == FULL_DISK_KILLED) {
		api_run(vm->api, 1);
		disk_refuses(vm->api, false);
	}
	if (call->done)
		api_call_clear(call);
	for (unsigned i = 0; !call->done && i < call->call.n_args; i++)
		xn_value_unref(call->call.args[i]);
	api_crash(vm->api, XN_CRASH_KILL);
	api_run(vm->api, 400);
	check_rest(vm);
	check_truth(vm);
	check_leftovers(vm);
}

static void go_through(struct vm *vm, struct api_call *call, const char *before)
{
	const struct scenario *s = plan.scenario;
	char *after;
	bool failed;

	if (plan.way == FULL_DISK) {
		api_run(vm->api, 3);
		disk_refuses(vm->api, false);
	}
	api_wait(vm->api, &call->done);
	api_run(vm->api, 40); /* a guest that was asked to reboot may do so later, by itself */
	failed = call->err.code != NULL;
	api_call_clear(call);
	check_rest(vm);
	check_truth(vm);
	check_leftovers(vm);
	if (failed && !is_past_return(s, plan.step)) {
		after = world_of(vm);
		if (strcmp(before, after) != 0) {
			print_message("before:\n%safter:\n%s", before, after);
			say("the world is another one");
		}
		free(after);
	}
	if (!failed && plan.way != IS_CANCELLED && plan.way != FULL_DISK)
		say("the call succeeds");
}

static void run_case(struct api *api)
{
	const struct scenario *s = plan.scenario;
	struct api_call call;
	struct vm vm;
	char *before, *args;

	plan.reached = true;
	plan.api = api;
	given_vm_that_is(api, &vm, s->given, "");
	if (s->prepare)
		s->prepare(&vm);
	api_run(api, 1);
	before = world_of(&vm);
	plan.orphans = count_orphans(api);
	plan.reached = false;
	args = args_of(&vm, s);
	api_begin(api, &call, s->method, args);
	free(args);
	if (plan.way == KILLED || plan.way == FULL_DISK_KILLED)
		kill_and_recover(&vm, &call);
	else
		go_through(&vm, &call, before);
	free(before);
	if (!plan.reached)
		say("the step does not come");
	check_use(&vm);
}

static void every_step_of_every_operation(void **state, enum way way)
{
	struct api *api = *state;

	api->on_start = break_steps;
	break_steps(api);
	plan.way = way;
	for (size_t i = 0; i < XN_ARRAY_SIZE(scenarios); i++) {
		plan.scenario = &scenarios[i];
		for (plan.step = 0; scenarios[i].kind->steps[plan.step].name; plan.step++)
			run_case(api);
	}
}

#define EVERY_STEP(name, way)                                                                      \
	static void name(void **state)                                                             \
	{                                                                                          \
		every_step_of_every_operation(state, way);                                         \
	}
EVERY_STEP(every_step_fails_in_turn, FAILS)
EVERY_STEP(every_step_fails_after_its_work_in_turn, FAILS_AFTER)
EVERY_STEP(every_step_hangs_beyond_its_deadline_in_turn, HANGS)
EVERY_STEP(every_step_is_cancelled_in_turn, IS_CANCELLED)
EVERY_STEP(the_daemon_is_killed_in_every_step_in_turn, KILLED)
EVERY_STEP(after_every_step_in_turn_the_disk_refuses_for_a_while, FULL_DISK)
EVERY_STEP(after_every_step_in_turn_the_disk_refuses_until_a_kill, FULL_DISK_KILLED)

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(every_step_fails_in_turn),
		TEST(every_step_fails_after_its_work_in_turn),
		TEST(every_step_hangs_beyond_its_deadline_in_turn),
		TEST(every_step_is_cancelled_in_turn),
		TEST(the_daemon_is_killed_in_every_step_in_turn),
		TEST(after_every_step_in_turn_the_disk_refuses_for_a_while),
		TEST(after_every_step_in_turn_the_disk_refuses_until_a_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
