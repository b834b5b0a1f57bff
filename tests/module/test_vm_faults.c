/*
 * Every step of every operation on VMs and their devices goes wrong in every way, one after the
 * other: it fails before or after its work, hangs or works on beyond its deadline, is cancelled, or
 * the daemon is killed in it, and killed again while it recovers; so do undos, and the members of
 * groups. Generated from the step tables of all kinds that the daemon registers. Afterwards the
 * world is as it was or the operation is whole, its task says which, the rows say what is true,
 * nothing is left over, and the VM can be used.
 *
 * A new kind of operation needs a row in scenarios[] below; without one the first test fails.
 */
#include "tests/module/vm_fixture.h"
#include "tests/module/world.h"

#include "modules/domain/domain_internal.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct scenario {
	const char *method, *given;
	enum { OF_VM, OF_DISK, OF_CD, OF_VIF, OF_SNAPSHOT } object;
	const char *more;
	const struct xn_op_kind *kind;
	/* From this step on a failure cannot bring the old world back. NULL: it always can. */
	const char *no_return;
	void (*prepare)(struct vm *vm);
	/* In place of .object and .more: a JSON text with $vm, $vdi, $medium ... see words[]. */
	const char *args, *kind_name; /* .kind NULL: found by this name, or the method's */
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

/* What the words of .args mean for this case. */
enum { SR, PBD, HOST, COPY, DISKS, FOLDER, APPLIANCE, NETWORK, VIF, N_WORDS };
static const char *const words[N_WORDS] = {"$sr",     "$pbd",       "$host",    "$copy", "$disks",
					   "$folder", "$appliance", "$network", "$vif"};
static char refs[N_WORDS][48];

static void call_for_ref(struct vm *vm, int word, const char *method, const char *args)
{
	char *json = api_do(vm->api, method, args);

	snprintf(refs[word], sizeof(refs[word]), "%.46s", json + 1);
	free(json);
}

/* What a repository that nobody wants any more leaves behind. */
static void have_folder(struct vm *vm)
{
	char *path = xn_asprintf("%s/more", refs[FOLDER]);

	assert_int_equal(mkdir(refs[FOLDER], 0755), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	free(path);
}

static void have_sr(struct vm *vm)
{
	char *args = xn_asprintf(
		"[\"%s\",{\"location\":\"%s/more\"},0,\"more\",\"\",\"file\",\"user\",false]",
		refs[HOST], refs[FOLDER]);
	const struct xn_row *sr;

	call_for_ref(vm, SR, "SR.create", args);
	free(args);
	sr = row_of(vm->api, XN_CLASS_SR, refs[SR]);
	snprintf(refs[PBD], sizeof(refs[PBD]), "%s",
		 xn_value_string(xn_set_at(xn_row_get(sr, XN_SR_PBDs), 0)));
}

static void have_unplugged_sr(struct vm *vm)
{
	char *args;

	have_sr(vm);
	args = xn_asprintf("[\"%s\"]", refs[PBD]);
	free(api_do(vm->api, "PBD.unplug", args));
	free(args);
}

static void have_sr_without_pbd(struct vm *vm)
{
	char *args;

	have_unplugged_sr(vm);
	args = xn_asprintf("[\"%s\"]", refs[PBD]);
	free(api_do(vm->api, "PBD.destroy", args));
	free(args);
}

static void have_copy(struct vm *vm)
{
	char *args = xn_asprintf("[\"%s\"]", vm->medium);

	call_for_ref(vm, COPY, "VDI.clone", args);
	free(args);
}

static void have_disk_snapshot(struct vm *vm)
{
	char *args = xn_asprintf("[\"%s\"]", vm->medium);

	call_for_ref(vm, COPY, "VDI.snapshot", args);
	free(args);
}

/* A disk that was forgotten, whose file is still there: $copy becomes its UUID. */
static void have_forgotten_disk(struct vm *vm)
{
	char *args;
	char uuid[37];

	have_copy(vm);
	snprintf(uuid, sizeof(uuid), "%s", xn_row_uuid(row_of(vm->api, XN_CLASS_VDI, refs[COPY])));
	args = xn_asprintf("[\"%s\"]", refs[COPY]);
	free(api_do(vm->api, "VDI.forget", args));
	free(args);
	strcpy(refs[COPY], uuid);
}

static void have_appliance(struct vm *vm)
{
	char *args;

	call_for_ref(vm, APPLIANCE, "VM_appliance.create",
		     "[{\"name_label\":\"all\",\"name_description\":\"\"}]");
	args = xn_asprintf(",\"%s\"", refs[APPLIANCE]);
	vm_do(vm, "VM.set_appliance", args);
	free(args);
}

static void have_network(struct vm *vm)
{
	call_for_ref(vm, NETWORK, "network.create",
		     "[{\"name_label\":\"other\",\"name_description\":\"\",\"MTU\":1500,"
		     "\"other_config\":{},\"bridge\":\"\",\"managed\":true,\"tags\":[]}]");
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
	{"VM.revert", "Running", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain", checkpoint},
	{"VM.revert", "Suspended", OF_SNAPSHOT, "", &xn_vm_revert_kind, "destroy domain", snapshot},
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

	{"VIF.move", "Running", .args = "['$vif','$network']", .prepare = have_network},
	{"VM.power_state_reset", "Suspended", OF_VM, "", &xn_vm_reset_kind, "delete suspend image"},
	{"VM_appliance.start", "Halted", .args = "['$appliance',false]",
	 .kind_name = "VM_appliance.run", .prepare = have_appliance,
	 .no_return = "run the VMs' operations"},
	{"VM_appliance.hard_shutdown", "Running", .args = "['$appliance']",
	 .kind_name = "VM_appliance.run", .prepare = have_appliance,
	 .no_return = "run the VMs' operations"},

	/* Storage: kinds that are found by their name. */
	{"VDI.create", "Halted",
	 .args = "[{'name_label':'new','name_description':'','SR':'$sr',"
		 "'virtual_size':1048576,'type':'user','sharable':false,"
		 "'read_only':false,'other_config':{}}]",
	 .prepare = have_sr},
	{"VDI.clone", "Halted", .args = "['$medium']"},
	{"VDI.snapshot", "Halted", .args = "['$medium']"},
	{"VDI.copy", "Halted", .args = "['$medium','$sr']", .prepare = have_sr},
	{"VDI.copy", "Halted", .args = "['$medium','OpaqueRef:NULL','OpaqueRef:NULL','$copy']",
	 .kind_name = "VDI.copy_into", .no_return = "copy over the disk", .prepare = have_copy},
	{"VDI.destroy", "Halted", .args = "['$medium']", .no_return = "destroy the disk"},
	{"VDI.forget", "Halted", .args = "['$medium']", .no_return = "forget the disk"},
	{"VDI.resize", "Halted", .args = "['$medium',2097152]"},
	{"VDI.update", "Halted", .args = "['$medium']"},
	{"VDI.introduce", "Halted",
	 .args = "['$copy','back','','$disks','user',false,false,{},'$copy']",
	 .no_return = "look for the image", .prepare = have_forgotten_disk},
	{"VDI.revert", "Halted", .args = "['$copy']",
	 .no_return = "copy the snapshot over the disk", .prepare = have_disk_snapshot},
	{"SR.create", "Halted",
	 .args = "['$host',{'location':'$folder/more'},0,'more','','file','user',false]",
	 .prepare = have_folder, .no_return = "make the repository"},
	{"SR.destroy", "Halted", .args = "['$sr']", .prepare = have_unplugged_sr,
	 .no_return = "destroy the repository"},
	{"SR.forget", "Halted", .args = "['$sr']", .prepare = have_unplugged_sr,
	 .no_return = "forget the repository"},
	{"SR.scan", "Halted", .args = "['$sr']", .prepare = have_sr},
	{"SR.update", "Halted", .args = "['$sr']", .prepare = have_sr},
	{"SR.probe", "Halted", .args = "['$host',{'location':'$folder'},'file',{}]"},
	{"PBD.create", "Halted",
	 .args = "[{'host':'$host','SR':'$sr','device_config':{'location':'$folder/"
		 "more'},'other_config':{}}]",
	 .prepare = have_sr_without_pbd, .no_return = "write the record"},
	{"PBD.destroy", "Halted", .args = "['$pbd']", .prepare = have_unplugged_sr,
	 .no_return = "delete the record"},
	{"PBD.plug", "Halted", .args = "['$pbd']", .prepare = have_unplugged_sr,
	 .no_return = "attach"},
	{"PBD.unplug", "Halted", .args = "['$pbd']", .prepare = have_sr, .no_return = "detach"},
};

enum way {
	FAILS,
	FAILS_AFTER,
	HANGS,
	IS_LATE,
	IS_CANCELLED,
	KILLED,
	KILLED_AGAIN,
	UNDO_FAILS,
	UNDO_FAILS_AFTER,
	UNDO_HANGS,
	UNDO_KILLED,
	MEMBER_FAILS,
	MEMBER_FAILS_AFTER,
	MEMBER_HANGS,
	NEVER_NOTED,
	FULL_DISK,
	FULL_DISK_KILLED,
};

static const struct {
	const char *name;
	enum xn_op_fault fault;
	bool kills, in_undo, in_group;
} ways[] = {
	[FAILS] = {"fails", XN_FAULT_FAIL},
	[FAILS_AFTER] = {"fails after its work", XN_FAULT_FAIL_AFTER},
	[HANGS] = {"hangs", XN_FAULT_HANG},
	[IS_LATE] = {"works on beyond its deadline", XN_FAULT_LATE},
	[IS_CANCELLED] = {"is cancelled", XN_FAULT_CANCEL},
	[KILLED] = {"is where the daemon is killed", XN_FAULT_HANG, .kills = true},
	[KILLED_AGAIN] = {"is where the daemon is killed, and again later", XN_FAULT_HANG,
			  .kills = true},
	[UNDO_FAILS] = {"is undone, which fails", XN_FAULT_FAIL, .in_undo = true},
	[UNDO_FAILS_AFTER] = {"is undone, which fails after its work", XN_FAULT_FAIL_AFTER,
			      .in_undo = true},
	[UNDO_HANGS] = {"is undone, which hangs", XN_FAULT_HANG, .in_undo = true},
	[UNDO_KILLED] = {"is undone, and the daemon killed meanwhile", XN_FAULT_HANG, .kills = true,
			 .in_undo = true},
	[MEMBER_FAILS] = {"has a member that fails", XN_FAULT_FAIL, .in_group = true},
	[MEMBER_FAILS_AFTER] = {"has a member that fails after its work", XN_FAULT_FAIL_AFTER,
				.in_group = true},
	[MEMBER_HANGS] = {"has a member that hangs", XN_FAULT_HANG, .in_group = true},
	[NEVER_NOTED] = {"is never noted, because the disk refuses", XN_FAULT_NONE},
	[FULL_DISK] = {"is the last that the disk notes for a while", XN_FAULT_NONE},
	[FULL_DISK_KILLED] = {"is the last that the disk notes, and the daemon is killed",
			      XN_FAULT_NONE, .kills = true},
};

static struct {
	struct api *api;
	const struct scenario *scenario;
	const struct xn_op_kind *kind;
	int step;
	enum way way;
	int undo;   /* ways in an undo: of this step */
	int member; /* ways in a group: which one */
	int again;  /* KILLED_AGAIN: at the so-many-th step or undo after the first restart */
	bool armed, reached;
	size_t orphans; /* disks that nobody has, before */
	unsigned restarts;
	int since_restart; /* steps and undos begun */
	int64_t restarted_us, decided_us;
	unsigned cases, failures;
	unsigned turn, share; /* of the steps, every so-many-th is broken */
	char halted[1024];  /* what a halted VM looks like; "" unless that is fine, too */
	char outcome[1024]; /* of this scenario when nothing is in its way */
} plan;

static void disk_refuses(struct api *api, bool yes)
{
	struct xn_sim_faults faults = {.append_failures = yes, .reopen_failures = yes};

	xn_sim_disk_set_faults(api->disk, &faults);
}

/* Whether this is where it shall go wrong. */
static bool is_the_place(const struct xn_op *op, int member)
{
	if (plan.way == KILLED_AGAIN && plan.restarts > 0)
		return member < 0 && plan.since_restart == plan.again + 1;
	if (ways[plan.way].in_undo)
		return op->undoing && op->step == plan.undo && member < 0;
	return !op->undoing && op->step == plan.step &&
	       member == (ways[plan.way].in_group ? plan.member : -1);
}

static enum xn_op_fault on_step(const struct xn_op *op, int member, void *arg)
{
	if (!plan.armed || op->kind != plan.kind)
		return XN_FAULT_NONE;
	if (plan.restarts > 0 && member < 0 && plan.since_restart++ == 0)
		plan.decided_us = xn_now_us(op->core->loop);
	if (plan.reached)
		return XN_FAULT_NONE;
	if (is_the_place(op, member)) {
		plan.reached = true;
		if (plan.way == FULL_DISK || plan.way == FULL_DISK_KILLED)
			disk_refuses(plan.api, true);
		return ways[plan.way].fault;
	}
	if (ways[plan.way].in_undo && !op->undoing && member < 0 && op->step == plan.step)
		return XN_FAULT_FAIL_AFTER; /* so that there is something to undo */
	return XN_FAULT_NONE;
}

static void break_steps(struct api *api)
{
	api->core.op_fault = on_step;
}

/* ---- what must hold afterwards ---- */

static void describe(char *out, size_t size)
{
	int n = snprintf(out, size, "%s, when step \"%s\" %s", plan.scenario->method,
			 plan.kind->steps[plan.step].name, ways[plan.way].name);

	if (ways[plan.way].in_undo)
		snprintf(out + n, size - (size_t)n, " (undo of \"%s\")",
			 plan.kind->steps[plan.undo].name);
	if (ways[plan.way].in_group)
		snprintf(out + n, size - (size_t)n, " (member %d)", plan.member);
	if (plan.way == KILLED_AGAIN)
		snprintf(out + n, size - (size_t)n, " (after %d)", plan.again);
}

/* All that is wrong is told, not only the first. */
static void say(const char *what)
{
	char where[300];

	describe(where, sizeof(where));
	print_message("%s: %s\n", where, what);
	plan.failures++;
}

/* No operation on the row, and exactly those allowed that the rules allow now. */
static void check_row(struct api *api, struct xn_row *row)
{
	const struct xn_class *cls = &xn_classes[xn_row_class(row)];
	int current = xn_field_find(cls, "current_operations");
	int allowed = xn_field_find(cls, "allowed_operations");
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

static void check_rows(struct api *api)
{
	static const int classes[] = {XN_CLASS_VM,  XN_CLASS_VBD, XN_CLASS_VIF,
				      XN_CLASS_VDI, XN_CLASS_SR,  XN_CLASS_VM_appliance};

	for (size_t i = 0; i < XN_ARRAY_SIZE(classes); i++)
		for (struct xn_row *row = xn_db_first(api->db, classes[i]); row;
		     row = xn_db_next(api->db, row))
			check_row(api, row);
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
	if (plan.kind == &xn_vm_revert_kind && xn_db_get(api->db, XN_CLASS_VM, vm->ref))
		vm_find_devices(vm);
	check_rows(api);
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

/* What a guest would find is as long as clients are told. */
static void check_sizes(struct api *api)
{
	char *pattern = xn_asprintf("%s/sr/*/*.raw", api->dir);
	struct stat image;
	char uuid[37];
	glob_t found;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const struct xn_row *vdi;

		snprintf(uuid, sizeof(uuid), "%s", strrchr(found.gl_pathv[i], '/') + 1);
		vdi = xn_db_by_uuid(api->db, XN_CLASS_VDI, uuid);
		assert_int_equal(stat(found.gl_pathv[i], &image), 0);
		if (vdi && xn_row_int(vdi, XN_VDI_virtual_size) != image.st_size)
			say("an image is not as long as its row says");
	}
	globfree(&found);
	free(pattern);
}

static void check_leftovers(struct vm *vm)
{
	const struct xn_domain_info *domain = vm_domain(vm);
	bool may_be_paused =
		strcmp(plan.scenario->given, "Paused") == 0 || plan.kind == &xn_vm_pause_kind;

	if (domain && domain->paused && !may_be_paused)
		say("the guest stays paused");
	if (xn_db_get(vm->api->db, XN_CLASS_VM, vm->ref) && count_orphans(vm->api) > plan.orphans &&
	    !plan.scenario->args)
		say("a disk that nobody has is left");
	if (plan.way < FULL_DISK && !plan.scenario->args)
		check_files(vm->api);
	check_sizes(vm->api);
}

static void check_truth(struct vm *vm)
{
	const struct xn_row *row = xn_db_get(vm->api->db, XN_CLASS_VM, vm->ref);
	const struct xn_domain_info *domain = vm_domain(vm);
	bool image =
		row && xn_db_get(vm->api->db, XN_CLASS_VDI, xn_row_string(row, XN_VM_suspend_VDI));
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
	char where[300];

	if (getenv("SAY")) {
		describe(where, sizeof(where));
		print_message("%s\n", where);
	}
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

/* ---- outcomes ---- */

/* What was there before. */
struct start {
	struct world *world;
	size_t counts[XN_CLASS_COUNT];
	uint64_t free_memory;
};

static void take_start(struct start *start, struct api *api)
{
	struct xn_backend *b = backend_of(api);
	struct xn_host_info host;

	b->ops->host_info(b, &host);
	start->free_memory = host.memory_free;
	for (int i = 0; i < XN_CLASS_COUNT; i++)
		start->counts[i] = xn_db_count(api->db, i);
	start->world = world_take(api);
}

static const char *if_row(struct api *api, int class_id, const char *ref, int field)
{
	struct xn_row *row = xn_db_get(api->db, class_id, ref);

	return !row ? "gone" : xn_row_bool(row, field) ? "yes" : "no";
}

/* What has come of it all, in words that are the same for each VM that it happens to. */
static void outcome_of(struct vm *vm, const struct start *start, char out[1024])
{
	static const int counted[] = {XN_CLASS_VM,          XN_CLASS_VBD,
				      XN_CLASS_VIF,         XN_CLASS_VDI,
				      XN_CLASS_SR,          XN_CLASS_PBD,
				      XN_CLASS_VM_metrics,  XN_CLASS_VM_guest_metrics,
				      XN_CLASS_VBD_metrics, XN_CLASS_VIF_metrics,
				      XN_CLASS_console};
	struct api *api = vm->api;
	struct xn_backend *b = backend_of(api);
	const struct xn_row *row = xn_db_get(api->db, XN_CLASS_VM, vm->ref);
	const struct xn_domain_info *domain = vm_domain(vm);
	struct xn_host_info host;
	int n;

	b->ops->host_info(b, &host);
	n = snprintf(out, 1024,
		     "VM %s, domain %s; disk %s, drive %s, empty %s, interface %s; medium %lld;"
		     " memory %lld;",
		     row ? xn_row_string(row, XN_VM_power_state) : "gone",
		     !domain          ? "none"
		     : domain->paused ? "paused"
				      : "running",
		     if_row(api, XN_CLASS_VBD, vm->disk, XN_VBD_currently_attached),
		     if_row(api, XN_CLASS_VBD, vm->cd, XN_VBD_currently_attached),
		     if_row(api, XN_CLASS_VBD, vm->cd, XN_VBD_empty),
		     if_row(api, XN_CLASS_VIF, vm->vif, XN_VIF_currently_attached),
		     xn_db_get(api->db, XN_CLASS_VDI, vm->medium)
			     ? (long long)xn_row_int(row_of(api, XN_CLASS_VDI, vm->medium),
						     XN_VDI_virtual_size)
			     : -1,
		     (long long)(host.memory_free - start->free_memory));
	for (size_t i = 0; i < XN_ARRAY_SIZE(counted); i++) {
		int more = (int)(xn_db_count(api->db, counted[i]) - start->counts[counted[i]]);

		/* A halted VM keeps what its guest said last, unless it was seen to boot anew. */
		if (counted[i] == XN_CLASS_VM_guest_metrics && !domain && more < 0)
			more = 0;
		n += snprintf(out + n, (size_t)(1024 - n), " %s %+d", xn_classes[counted[i]].name,
			      more);
	}
	if (refs[PBD][0])
		snprintf(out + n, (size_t)(1024 - n), "; PBD attached: %s",
			 if_row(api, XN_CLASS_PBD, refs[PBD], XN_PBD_currently_attached));
}

static void check_whole(struct vm *vm, const struct start *start)
{
	char now[1024];

	outcome_of(vm, start, now);
	if (strcmp(now, plan.outcome) == 0)
		return;
	print_message("it should be: %s\nbut is: %s\n", plan.outcome, now);
	say("it is not done");
}

static bool is_same_world(struct vm *vm, const struct start *start, struct xn_buf *diff)
{
	struct world *after = world_take(vm->api);
	unsigned n = world_diff(start->world, after, diff);

	world_free(after);
	return n == 0;
}

static void check_as_before(struct vm *vm, const struct start *start)
{
	struct xn_buf diff XN_CLEANUP(xn_buf_clear_p) = {0};

	if (is_same_world(vm, start, &diff))
		return;
	print_message("%s\n", xn_buf_cstr(&diff));
	say("the world is another one");
}

/* As it was, or done, whatever was told. */
static void check_one_or_the_other(struct vm *vm, const struct start *start)
{
	struct xn_buf diff XN_CLEANUP(xn_buf_clear_p) = {0};
	char now[1024];

	outcome_of(vm, start, now);
	if (strcmp(now, plan.outcome) == 0 || strcmp(now, plan.halted) == 0 ||
	    is_same_world(vm, start, &diff))
		return;
	print_message("done would be: %s\nbut it is: %s\n%s", plan.outcome, now,
		      xn_buf_cstr(&diff));
	say("it is neither as before nor done");
}

/* ---- one case ---- */

static bool is_past_return(const struct scenario *s, int step)
{
	for (int i = 0; s->no_return && i <= step; i++)
		if (strcmp(plan.kind->steps[i].name, s->no_return) == 0)
			return true;
	return false;
}

/* Puts references in place of words, and " in place of '. */
static char *fill_in(struct vm *vm, const char *text)
{
	struct xn_buf out = {0};

	while (*text) {
		const char *ref = NULL;
		size_t len = 0;

		if (strncmp(text, "$medium", 7) == 0) {
			ref = vm->medium;
			len = 7;
		}
		for (int i = 0; i < N_WORDS && !ref; i++)
			if (strncmp(text, words[i], strlen(words[i])) == 0) {
				ref = refs[i];
				len = strlen(words[i]);
			}
		if (ref)
			xn_buf_add_string(&out, ref);
		else
			xn_buf_add_char(&out, *text == '\'' ? '"' : *text);
		text += ref ? len : 1;
	}
	return xn_buf_steal(&out);
}

static char *args_of(struct vm *vm, const struct scenario *s)
{
	const char *objects[] = {vm->ref, vm->disk, vm->cd, vm->vif, vm->snapshot};

	if (s->args)
		return fill_in(vm, s->args);
	if (!s->more)
		return xn_asprintf("[\"%s\",\"%s\"]", vm->cd, vm->medium);
	return xn_asprintf("[\"%s\"%s]", objects[s->object], s->more);
}

/* The VM, ready for the scenario's call. */
static void given_scenario(struct api *api, struct vm *vm, struct start *start)
{
	const struct scenario *s = plan.scenario;

	plan.armed = plan.reached = false;
	plan.restarts = 0;
	plan.api = api;
	memset(refs, 0, sizeof(refs));
	snprintf(refs[HOST], sizeof(refs[HOST]), "%s",
		 xn_row_ref(xn_db_first(api->db, XN_CLASS_host)));
	snprintf(refs[DISKS], sizeof(refs[DISKS]), "%s",
		 xn_row_string(xn_db_first(api->db, XN_CLASS_pool), XN_pool_default_SR));
	snprintf(refs[FOLDER], sizeof(refs[FOLDER]), "%.36s/%u", api->dir, plan.cases);
	given_vm_that_is(api, vm, s->given, "");
	snprintf(refs[VIF], sizeof(refs[VIF]), "%s", vm->vif);
	if (strcmp(s->given, "Halted") == 0) { /* it has run before: its devices have names */
		vm_do(vm, "VM.start", ",false,false");
		vm_do(vm, "VM.hard_shutdown", "");
	}
	if (s->prepare)
		s->prepare(vm);
	api_run(api, 1);
	plan.orphans = count_orphans(api);
	take_start(start, api);
}

static void begin_call(struct vm *vm, struct api_call *call)
{
	char *args = args_of(vm, plan.scenario);

	plan.armed = true;
	api_begin_task(vm->api, call, plan.scenario->method, args);
	free(args);
}

/* For what comes late. A guest that was asked to reboot may do so by itself, after a pause. */
static int64_t afterwards_s(void)
{
	return strcmp(plan.scenario->method, "VM.clean_reboot") == 0 ? 45 : 5;
}

static void crash(struct vm *vm, struct api_call *call)
{
	if (call->done)
		api_call_clear(call);
	plan.restarts++;
	plan.since_restart = 0;
	plan.decided_us = 0;
	api_crash(vm->api, XN_CRASH_KILL);
	call->done = true; /* nobody will tell */
	call->json = NULL;
	plan.restarted_us = xn_now_us(vm->api->core.loop);
}

/* Until the fault has come, or it is clear that it does not come. */
static void run_to_fault(struct vm *vm, struct api_call *call)
{
	for (int i = 0; i < 10000 && !plan.reached && !(call->done && plan.restarts == 0); i++)
		xn_loop_turn(vm->api->core.loop, 1000000);
}

/* After a restart: decided in a second, over within the deadline of the step it was in. */
static void recover(struct vm *vm)
{
	int64_t limit = plan.kind->steps[plan.step].timeout_ms * INT64_C(1000);
	struct xn_loop *loop = vm->api->core.loop;

	for (int i = 0; ways[plan.way].in_undo && i < plan.step; i++)
		if (plan.kind->steps[i].undo)
			limit += plan.kind->steps[i].timeout_ms * INT64_C(1000);
	while (xn_db_count(vm->api->db, XN_CLASS_xn_operation) > 0 &&
	       xn_now_us(loop) - plan.restarted_us < limit &&
	       !(plan.way == KILLED_AGAIN && plan.restarts == 1 && plan.reached))
		xn_loop_turn(loop, 10000);
	if (plan.decided_us && plan.decided_us - plan.restarted_us > 1000000)
		say("it takes the daemon more than a second to decide");
	if (xn_now_us(loop) - plan.restarted_us >= limit)
		say("it has not ended within the step's deadline");
}

static void kill_and_recover(struct vm *vm, struct api_call *call)
{
	run_to_fault(vm, call);
	if (!plan.reached)
		return;
	if (plan.way == FULL_DISK_KILLED) {
		api_run(vm->api, 1);
		disk_refuses(vm->api, false);
	}
	plan.reached = plan.way != KILLED_AGAIN;
	crash(vm, call);
	recover(vm);
	if (plan.way == KILLED_AGAIN && plan.reached) {
		crash(vm, call);
		recover(vm);
	}
	api_run(vm->api, afterwards_s());
}

static void go_through(struct vm *vm, struct api_call *call)
{
	if (plan.way == FULL_DISK) {
		api_run(vm->api, 3);
		disk_refuses(vm->api, false);
	}
	api_wait(vm->api, &call->done);
	if (plan.way == NEVER_NOTED) {
		if (plan.reached)
			say("a step begins of which the journal does not know");
		if (!call->err.code)
			say("it succeeds");
		disk_refuses(vm->api, false);
	}
	api_run(vm->api, afterwards_s());
	api_call_clear(call);
}

/* The task says what happened. */
static void check_task(struct vm *vm, const char *task, const struct start *start)
{
	struct xn_row *row = row_of(vm->api, XN_CLASS_task, task);
	const char *status = xn_row_string(row, XN_task_status);
	const struct xn_value *error = xn_row_get(row, XN_task_error_info);

	if (strcmp(status, "success") == 0) {
		if (plan.way == FAILS || plan.way == HANGS)
			say("it succeeds");
		check_whole(vm, start);
		return;
	}
	if (xn_set_len(error) == 0 || !xn_value_string(xn_set_at(error, 0))[0])
		say("the task does not tell why it failed");
	if (plan.way == IS_CANCELLED && strcmp(status, "cancelled") != 0)
		say("the task is not cancelled");
	if ((plan.way == FAILS || plan.way == HANGS || plan.way == IS_LATE) &&
	    strcmp(xn_value_string(xn_set_at(error, 0)), XN_ERR_INTERNAL_ERROR) == 0 &&
	    !strstr(xn_value_string(xn_set_at(error, 1)), plan.kind->steps[plan.step].name))
		say("the task does not tell which step");
	if (is_past_return(plan.scenario, plan.step))
		check_one_or_the_other(vm, start);
	else
		check_as_before(vm, start);
}

static bool run_case(struct api *api)
{
	struct api_call call;
	struct start start;
	struct vm vm;
	char task[48];

	plan.cases++;
	given_scenario(api, &vm, &start);
	if (plan.way == NEVER_NOTED)
		disk_refuses(api, true);
	begin_call(&vm, &call);
	memcpy(task, call.call.task, sizeof(task));
	if (ways[plan.way].kills)
		kill_and_recover(&vm, &call);
	else
		go_through(&vm, &call);
	if (!call.done)
		api_call_clear(&call);
	plan.armed = false;
	check_rest(&vm);
	check_truth(&vm);
	check_leftovers(&vm);
	if (plan.way == NEVER_NOTED)
		check_as_before(&vm, &start);
	else if (plan.way < NEVER_NOTED)
		check_task(&vm, task, &start);
	world_free(start.world);
	check_use(&vm);
	return plan.reached;
}

/* ---- all cases ---- */

struct find_kind {
	const char *name;
	const struct xn_op_kind *found;
};

static void find_kind(const struct xn_op_kind *kind, void *arg)
{
	struct find_kind *find = arg;

	if (strcmp(kind->name, find->name) == 0)
		find->found = kind;
}

static const struct xn_op_kind *kind_of(struct api *api, const struct scenario *s)
{
	struct find_kind find = {.name = s->kind_name ? s->kind_name : s->method};

	if (s->kind)
		return s->kind;
	xn_operation_each_kind(xn_operations_of(&api->core), find_kind, &find);
	if (!find.found)
		fail_msg("no kind %s", find.name);
	return find.found;
}

/* How it goes when nothing is in its way. */
static void run_undisturbed(struct api *api)
{
	struct api_call call;
	struct start start;
	struct vm vm;

	given_scenario(api, &vm, &start);
	begin_call(&vm, &call);
	plan.armed = false;
	api_wait(api, &call.done);
	if (call.err.code)
		fail_msg("%s: %s %s", plan.scenario->method, call.err.code,
			 call.err.n_params ? call.err.params[0] : "");
	api_run(api, afterwards_s());
	api_call_clear(&call);
	if (plan.kind == &xn_vm_revert_kind)
		vm_find_devices(&vm);
	outcome_of(&vm, &start, plan.outcome);
	plan.halted[0] = '\0';
	/* A reboot is a halt and a start, a revert of what runs a halt and more: what fails in
	 * between leaves a VM that is halted. */
	if (strstr(plan.scenario->method, "reboot") || plan.kind == &xn_vm_revert_kind) {
		if (strcmp(xn_row_string(vm_row(&vm), XN_VM_power_state), "Halted") != 0)
			vm_do(&vm, "VM.hard_shutdown", "");
		api_run(api, 1);
		outcome_of(&vm, &start, plan.halted);
	}
	world_free(start.world);
	check_use(&vm);
}

static void run_must_come(struct api *api)
{
	if (!run_case(api))
		say("the step does not come");
}

static void run_step(struct api *api)
{
	if (plan.way == NEVER_NOTED) {
		if (plan.step == 0)
			run_case(api);
	} else if (plan.way == KILLED_AGAIN) {
		for (plan.again = 0; plan.again < 40 && run_case(api); plan.again++)
			;
	} else if (ways[plan.way].in_undo) {
		for (plan.undo = 0; plan.undo <= plan.step; plan.undo++)
			if (plan.kind->steps[plan.undo].undo)
				run_must_come(api);
	} else if (ways[plan.way].in_group) {
		for (plan.member = 0; plan.member < 4 && run_case(api); plan.member++)
			;
	} else {
		run_must_come(api);
	}
}

/* In a daemon of its own: what others made would only be in the way. */
static void every_step_of(const struct scenario *s)
{
	struct api *api;
	void *state;

	assert_int_equal(vm_setup(&state), 0);
	api = state;
	api->on_start = break_steps;
	break_steps(api);
	plan.scenario = s;
	plan.kind = kind_of(api, s);
	plan.step = 0;
	run_undisturbed(api);
	for (; plan.kind->steps[plan.step].name; plan.step++)
		if (plan.turn++ % plan.share == 0)
			run_step(api);
	vm_teardown(&state);
}

static void every_step_of_every_operation(void **state, enum way way)
{
	const char *share = getenv("XN_FAULTS_SHARE"); /* "4": every fourth step only */

	plan.way = way;
	plan.cases = plan.failures = plan.turn = 0;
	plan.share = share && atoi(share) > 0 ? (unsigned)atoi(share) : 1;
	for (size_t i = 0; i < XN_ARRAY_SIZE(scenarios); i++)
		if (!getenv("ONLY") || strcmp(getenv("ONLY"), scenarios[i].method) == 0)
			every_step_of(&scenarios[i]);
	print_message("%u cases\n", plan.cases);
	assert_int_equal(plan.failures, 0);
}

/* What only the daemon itself begins, when it starts: see test_vm_watch.c. */
static const char *const inner[] = {"VM.leftover", NULL};

static void is_in_a_scenario(const struct xn_op_kind *kind, void *arg)
{
	for (size_t i = 0; inner[i]; i++)
		if (strcmp(inner[i], kind->name) == 0)
			return;
	for (size_t i = 0; i < XN_ARRAY_SIZE(scenarios); i++)
		if (kind_of(arg, &scenarios[i]) == kind)
			return;
	fail_msg("nothing here breaks the steps of %s", kind->name);
}

static void every_kind_of_operation_has_a_scenario(void **state)
{
	struct api *api = *state;

	xn_operation_each_kind(xn_operations_of(&api->core), is_in_a_scenario, api);
}

#define EVERY_STEP(name, way)                                                                      \
	static void name(void **state)                                                             \
	{                                                                                          \
		every_step_of_every_operation(state, way);                                         \
	}
EVERY_STEP(every_step_fails_in_turn, FAILS)
EVERY_STEP(every_step_fails_after_its_work_in_turn, FAILS_AFTER)
EVERY_STEP(every_step_hangs_beyond_its_deadline_in_turn, HANGS)
EVERY_STEP(every_step_works_on_beyond_its_deadline_in_turn, IS_LATE)
EVERY_STEP(every_step_is_cancelled_in_turn, IS_CANCELLED)
EVERY_STEP(the_daemon_is_killed_in_every_step_in_turn, KILLED)
EVERY_STEP(the_daemon_is_killed_again_while_it_recovers, KILLED_AGAIN)
EVERY_STEP(every_undo_fails_in_turn, UNDO_FAILS)
EVERY_STEP(every_undo_fails_after_its_work_in_turn, UNDO_FAILS_AFTER)
EVERY_STEP(every_undo_hangs_beyond_its_deadline_in_turn, UNDO_HANGS)
EVERY_STEP(the_daemon_is_killed_in_every_undo_in_turn, UNDO_KILLED)
EVERY_STEP(every_member_of_a_group_fails_in_turn, MEMBER_FAILS)
EVERY_STEP(every_member_of_a_group_fails_after_its_work_in_turn, MEMBER_FAILS_AFTER)
EVERY_STEP(every_member_of_a_group_hangs_in_turn, MEMBER_HANGS)
EVERY_STEP(an_operation_that_the_disk_does_not_note_does_nothing, NEVER_NOTED)
EVERY_STEP(after_every_step_in_turn_the_disk_refuses_for_a_while, FULL_DISK)
EVERY_STEP(after_every_step_in_turn_the_disk_refuses_until_a_kill, FULL_DISK_KILLED)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_kind_of_operation_has_a_scenario, vm_setup,
						vm_teardown),
#define TEST(name) cmocka_unit_test(name)
		TEST(every_step_fails_in_turn),
		TEST(every_step_fails_after_its_work_in_turn),
		TEST(every_step_hangs_beyond_its_deadline_in_turn),
		TEST(every_step_works_on_beyond_its_deadline_in_turn),
		TEST(every_step_is_cancelled_in_turn),
		TEST(the_daemon_is_killed_in_every_step_in_turn),
		TEST(the_daemon_is_killed_again_while_it_recovers),
		TEST(every_undo_fails_in_turn),
		TEST(every_undo_fails_after_its_work_in_turn),
		TEST(every_undo_hangs_beyond_its_deadline_in_turn),
		TEST(the_daemon_is_killed_in_every_undo_in_turn),
		TEST(every_member_of_a_group_fails_in_turn),
		TEST(every_member_of_a_group_fails_after_its_work_in_turn),
		TEST(every_member_of_a_group_hangs_in_turn),
		TEST(an_operation_that_the_disk_does_not_note_does_nothing),
		TEST(after_every_step_in_turn_the_disk_refuses_for_a_while),
		TEST(after_every_step_in_turn_the_disk_refuses_until_a_kill),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
