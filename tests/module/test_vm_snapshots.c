/* Snapshots of VMs in every state, checkpoints, and going back to them. */
#include "tests/module/vm_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what is on a disk ---- */

static int open_image(struct api *api, const char *vdi, int flags)
{
	char *pattern = xn_asprintf("%s/sr/*/%s.raw", api->dir,
				    xn_row_uuid(row_of(api, XN_CLASS_VDI, vdi)));
	glob_t found;
	int fd;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	fd = open(found.gl_pathv[0], flags);
	assert_true(fd >= 0);
	globfree(&found);
	free(pattern);
	return fd;
}

static void write_disk(struct vm *vm, const char *text)
{
	int fd = open_image(vm->api, vm->vdi, O_WRONLY);

	assert_int_equal(pwrite(fd, text, strlen(text), 4096), (ssize_t)strlen(text));
	close(fd);
}

static void assert_disk(struct api *api, const char *vdi, const char *text)
{
	int fd = open_image(api, vdi, O_RDONLY);
	char read_back[32] = "";

	assert_int_equal(pread(fd, read_back, strlen(text), 4096), (ssize_t)strlen(text));
	assert_string_equal(read_back, text);
	close(fd);
}

/* The VDI of the disk of a snapshot or copy. */
static const char *vdi_of(struct api *api, const char *ref)
{
	struct vm vm = {.api = api};
	static char vdi[48];

	snprintf(vm.ref, sizeof(vm.ref), "%s", ref);
	vm_find_devices(&vm);
	snprintf(vdi, sizeof(vdi), "%s", vm.vdi);
	return vdi;
}

static struct xn_row *snapshot_row(const struct vm *vm)
{
	return row_of(vm->api, XN_CLASS_VM, vm->snapshot);
}

static void revert(struct vm *vm)
{
	char *args = xn_asprintf("[\"%s\"]", vm->snapshot);

	free(api_do(vm->api, "VM.revert", args));
	free(args);
	vm_find_devices(vm);
}

static void revert_fails(struct vm *vm, const char *code, struct xn_error *err)
{
	char *args = xn_asprintf("[\"%s\"]", vm->snapshot);

	api_fail(vm->api, "VM.revert", args, code, err);
	free(args);
}

/* ---- snapshots ---- */

static void a_snapshot_keeps_what_was_on_the_disk(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "");
	write_disk(&vm, "then");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	write_disk(&vm, "now!");
	assert_disk(api, vdi_of(api, vm.snapshot), "then");
	assert_disk(api, vm.vdi, "now!");
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->paused);
	assert_string_equal(
		xn_row_string(row_of(api, XN_CLASS_VDI, vdi_of(api, vm.snapshot)),
			      XN_VDI_snapshot_of),
		vm.vdi);
}

static void a_guest_that_was_paused_stays_paused(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Paused", "");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	assert_state(&vm, "Paused");
	assert_true(vm_domain(&vm)->paused);
	vm_do_ref(&vm, "VM.checkpoint", ",\"point\"", vm.snapshot);
	assert_state(&vm, "Paused");
	/* Its guest could not be asked to suspend: the disks are all there is. */
	assert_string_equal(xn_row_string(snapshot_row(&vm), XN_VM_power_state), "Halted");
}

static void a_snapshot_of_a_suspended_vm_can_be_gone_back_to(void **state)
{
	struct api *api = *state;
	struct vm vm;
	size_t disks;
	int64_t counter;

	given_vm_that_is(api, &vm, "Running", "");
	api_run(api, 30);
	vm_do(&vm, "VM.suspend", "");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	assert_string_equal(xn_row_string(snapshot_row(&vm), XN_VM_power_state), "Suspended");
	assert_string_not_equal(xn_row_string(snapshot_row(&vm), XN_VM_suspend_VDI),
				xn_row_string(vm_row(&vm), XN_VM_suspend_VDI));
	assert_string_equal(xn_row_map_string(snapshot_row(&vm), XN_VM_snapshot_info,
					      "power-state-at-snapshot"),
			    "Suspended");
	vm_do(&vm, "VM.resume", ",false,false");
	api_run(api, 1000);
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	revert(&vm);
	assert_state(&vm, "Suspended");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks + 1); /* the image */
	vm_do(&vm, "VM.resume", ",false,false");
	counter = vm_counter(&vm);
	assert_in_range(counter, 30000, 40000);
}

static void two_snapshots_at_a_time_let_the_guest_go_on(void **state)
{
	struct api *api = *state;
	struct api_call one, two;
	struct vm vm;
	char *args;

	given_vm_that_is(api, &vm, "Running", "");
	args = xn_asprintf("[\"%s\",\"a\",[]]", vm.ref);
	api_begin(api, &one, "VM.snapshot", args);
	api_begin(api, &two, "VM.snapshot", args);
	free(args);
	api_wait(api, &one.done);
	api_wait(api, &two.done);
	assert_null(one.err.code);
	assert_null(two.err.code);
	api_call_clear(&one);
	api_call_clear(&two);
	assert_false(vm_domain(&vm)->paused);
	assert_state(&vm, "Running");
}

static void clones_of_suspended_vms_need_the_pools_leave_and_go_on_from_there(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm, copy = {.api = api};

	given_vm_that_is(api, &vm, "Suspended", "");
	vm_fail(&vm, "VM.clone", ",\"two\"", "VM_BAD_POWER_STATE", &err);
	xn_error_clear(&err);
	xn_db_map_put(api->db, xn_db_first(api->db, XN_CLASS_pool), XN_pool_other_config,
		      "allow_clone_suspended_vm", "true");
	vm_do_ref(&vm, "VM.clone", ",\"two\"", copy.ref);
	snprintf(copy.uuid, sizeof(copy.uuid), "%s", xn_row_uuid(vm_row(&copy)));
	assert_state(&copy, "Suspended");
	vm_do(&copy, "VM.resume", ",false,false");
	assert_state(&copy, "Running");
	assert_state(&vm, "Suspended");
}

static void csvm_is_a_clone_of_a_suspended_vm(void **state)
{
	struct api *api = *state;
	struct vm vm, copy = {.api = api};

	given_vm_that_is(api, &vm, "Suspended", "");
	vm_do_ref(&vm, "VM.csvm", "", copy.ref);
	assert_state(&copy, "Suspended");
	assert_string_equal(xn_row_string(vm_row(&copy), XN_VM_name_label), "one-CSVM");
	assert_true(has_message(api, "VM_CLONED"));
}

/* ---- checkpoints ---- */

static void a_checkpoint_has_the_memory_and_the_guest_goes_on(void **state)
{
	struct api *api = *state;
	struct vm vm;
	size_t disks;
	int64_t counter;
	char *args;

	given_vm_that_is(api, &vm, "Running", "");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	counter = vm_counter(&vm);
	vm_do_ref(&vm, "VM.checkpoint", ",\"point\"", vm.snapshot);
	assert_state(&vm, "Running");
	assert_false(vm_domain(&vm)->shut_down);
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_suspend_VDI), XN_NULL_REF);
	assert_string_equal(xn_row_string(snapshot_row(&vm), XN_VM_power_state), "Suspended");
	assert_non_null(xn_db_get(api->db, XN_CLASS_VDI,
				  xn_row_string(snapshot_row(&vm), XN_VM_suspend_VDI)));
	assert_string_equal(xn_row_map_string(snapshot_row(&vm), XN_VM_snapshot_info,
					      "power-state-at-snapshot"),
			    "Running");
	assert_true(xn_row_bool(snapshot_row(&vm), XN_VM_is_a_snapshot));
	assert_true(has_message(api, "VM_CHECKPOINTED"));
	api_run(api, 10);
	assert_true(vm_counter(&vm) > counter + 9000);
	args = xn_asprintf("[\"%s\"]", vm.snapshot);
	free(api_do(api, "VM.destroy", args));
	free(args);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks + 1); /* the disk stays */
}

static void drop_vbd(struct vm *vm, const char *vbd)
{
	char *args = xn_asprintf("[\"%s\"]", vbd);

	free(api_do(vm->api, "VBD.destroy", args));
	free(args);
}

static struct {
	const struct vm *vm;
	bool asked, runs;
} at_rows;

/* The operation itself lets the guest go on, before the rows: what looks after lost guests later is
 * too late for a caller who acts as soon as the call succeeds. */
static enum xn_op_fault look_at_rows(const struct xn_op *op, int member, void *arg)
{
	if (!op->undoing && strcmp(op->kind->steps[op->step].name, "make the VM's rows") == 0) {
		at_rows.asked = true;
		at_rows.runs = !vm_domain(at_rows.vm)->shut_down && !vm_domain(at_rows.vm)->paused;
	}
	return XN_FAULT_NONE;
}

static void assert_goes_on_after_checkpoint(struct vm *vm)
{
	vm_do(vm, "VM.start", ",false,false");
	at_rows.vm = vm;
	at_rows.asked = false;
	vm->api->core.op_fault = look_at_rows;
	vm_do_ref(vm, "VM.checkpoint", ",\"point\"", vm->snapshot);
	vm->api->core.op_fault = NULL;
	assert_true(at_rows.asked);
	assert_true(at_rows.runs);
	assert_false(vm_domain(vm)->shut_down);
	assert_false(vm_domain(vm)->paused);
	assert_state(vm, "Running");
	vm_do(vm, "VM.pause", "");
	assert_state(vm, "Paused");
	assert_true(vm_domain(vm)->paused);
	vm_do(vm, "VM.unpause", "");
	assert_state(vm, "Running");
}

static void a_guest_goes_on_before_its_checkpoint_succeeds(void **state)
{
	struct vm vm;

	given_vm(*state, &vm, "");
	assert_goes_on_after_checkpoint(&vm);
	vm_do(&vm, "VM.hard_shutdown", "");
	drop_vbd(&vm, vm.disk); /* a CD is left */
	assert_goes_on_after_checkpoint(&vm);
	vm_do(&vm, "VM.hard_shutdown", "");
	drop_vbd(&vm, vm.cd);
	assert_goes_on_after_checkpoint(&vm);
}

static bool both_done(const struct api_call *one, const struct api_call *two)
{
	return one->done && two->done;
}

/* The second begins @turns turns of the loop after the first. */
static void assert_go_on_together(struct vm *vm, bool snapshot_first, unsigned turns)
{
	static const char *const methods[] = {"VM.checkpoint", "VM.snapshot"};
	static const char *const more[] = {",\"a\"", ",\"b\",[]"};
	struct api_call one, two;
	int64_t counter;

	vm_begin(vm, &one, methods[snapshot_first], more[snapshot_first]);
	for (unsigned i = 0; i < turns && !one.done; i++)
		xn_loop_turn(vm->api->core.loop, 1000000);
	vm_begin(vm, &two, methods[!snapshot_first], more[!snapshot_first]);
	for (unsigned i = 0; i < 10000 && !both_done(&one, &two); i++)
		xn_loop_turn(vm->api->core.loop, 1000000);
	assert_true(both_done(&one, &two));
	assert_null(one.err.code);
	assert_null(two.err.code);
	api_call_clear(&one);
	api_call_clear(&two);
	assert_false(vm_domain(vm)->shut_down);
	assert_false(vm_domain(vm)->paused);
	counter = vm_counter(vm);
	api_run(vm->api, 10);
	assert_state(vm, "Running");
	assert_true(vm_counter(vm) >= counter + 9000);
}

static void a_checkpoint_and_a_snapshot_at_a_time_let_the_guest_go_on(void **state)
{
	struct vm vm;

	given_vm_that_is(*state, &vm, "Running", "");
	for (unsigned turns = 0; turns < 8; turns++) {
		assert_go_on_together(&vm, false, turns);
		assert_go_on_together(&vm, true, turns);
	}
}

static void a_guest_that_does_not_suspend_gives_no_checkpoint(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	size_t disks;

	given_vm_that_is(api, &vm, "Running", "\"sim-shutdown\":\"refuse\"");
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	vm_fail(&vm, "VM.checkpoint", ",\"point\"", "VM_CHECKPOINT_SUSPEND_FAILED", &err);
	assert_string_equal(err.params[0], vm.ref);
	xn_error_clear(&err);
	assert_state(&vm, "Running");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
}

static void going_back_to_a_checkpoint_goes_on_from_its_moment(void **state)
{
	struct api *api = *state;
	struct vm vm;

	given_vm_that_is(api, &vm, "Running", "");
	api_run(api, 60);
	write_disk(&vm, "then");
	vm_do_ref(&vm, "VM.checkpoint", ",\"point\"", vm.snapshot);
	write_disk(&vm, "now!");
	api_run(api, 1000);
	revert(&vm);
	assert_state(&vm, "Suspended");
	assert_null(vm_domain(&vm));
	assert_disk(api, vm.vdi, "then");
	vm_do(&vm, "VM.resume", ",false,false");
	assert_state(&vm, "Running");
	assert_in_range(vm_counter(&vm), 60000, 70000);
	/* The checkpoint is as it was, and can be gone back to again. */
	revert(&vm);
	assert_state(&vm, "Suspended");
}

/* ---- revert ---- */

static void a_reverted_vm_is_what_it_was(void **state)
{
	struct api *api = *state;
	struct vm vm;
	char later[48], old_vdi[48], mac[18];
	size_t vdis, vbds;

	given_vm_that_is(api, &vm, "Running", "");
	snprintf(mac, sizeof(mac), "%s",
		 xn_row_string(row_of(api, XN_CLASS_VIF, vm.vif), XN_VIF_MAC));
	write_disk(&vm, "then");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	write_disk(&vm, "now!");
	vm_do_ref(&vm, "VM.snapshot", ",\"later\",[]", later);
	vm_do(&vm, "VM.set_name_label", ",\"renamed\"");
	vm_do(&vm, "VM.add_tags", ",\"mine\"");
	vm_do(&vm, "VM.add_to_other_config", ",\"since\",\"then\"");
	snprintf(old_vdi, sizeof(old_vdi), "%s", vm.vdi);
	vdis = xn_db_count(api->db, XN_CLASS_VDI);
	vbds = xn_db_count(api->db, XN_CLASS_VBD);
	revert(&vm);
	assert_state(&vm, "Halted");
	assert_null(vm_domain(&vm));
	assert_string_equal(xn_row_uuid(vm_row(&vm)), vm.uuid);
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_name_label), "one");
	assert_null(xn_row_map_string(vm_row(&vm), XN_VM_other_config, "since"));
	assert_true(xn_set_has_string(xn_row_get(vm_row(&vm), XN_VM_tags), "mine"));
	assert_false(xn_row_bool(vm_row(&vm), XN_VM_is_a_template));
	assert_string_equal(xn_row_string(vm_row(&vm), XN_VM_parent), vm.snapshot);
	assert_int_equal(xn_set_len(xn_row_get(vm_row(&vm), XN_VM_snapshots)), 2);
	assert_string_equal(xn_row_string(row_of(api, XN_CLASS_VIF, vm.vif), XN_VIF_MAC), mac);
	assert_disk(api, vm.vdi, "then");
	assert_null(xn_db_get(api->db, XN_CLASS_VDI, old_vdi));
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), vdis);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VBD), vbds);
	assert_string_equal(xn_row_string(row_of(api, XN_CLASS_VDI, vdi_of(api, vm.snapshot)),
					  XN_VDI_snapshot_of),
			    vm.vdi);
	assert_string_equal(xn_row_string(row_of(api, XN_CLASS_VDI, vdi_of(api, later)),
					  XN_VDI_snapshot_of),
			    vm.vdi);
	assert_true(has_message(api, "VM_SNAPSHOT_REVERTED"));
	assert_true(is_allowed(vm_row(&vm), XN_VM_allowed_operations, "start"));
	assert_true(is_allowed(snapshot_row(&vm), XN_VM_allowed_operations, "revert"));
	vm_do(&vm, "VM.start", ",false,false");
	assert_state(&vm, "Running");
}

static void a_revert_that_cannot_copy_the_disks_changes_nothing(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	char *pattern, *before, *after;
	glob_t found;

	given_vm_that_is(api, &vm, "Running", "");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	pattern = xn_asprintf("%s/sr/*/%s.raw", api->dir,
			      xn_row_uuid(row_of(api, XN_CLASS_VDI, vdi_of(api, vm.snapshot))));
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(unlink(found.gl_pathv[0]), 0);
	globfree(&found);
	free(pattern);
	before = world_of(&vm);
	revert_fails(&vm, "VM_REVERT_FAILED", &err);
	assert_string_equal(err.params[0], vm.snapshot);
	assert_string_equal(err.params[1], vm.ref);
	xn_error_clear(&err);
	api_run(api, 2);
	after = world_of(&vm);
	assert_string_equal(before, after);
	free(before);
	free(after);
	assert_state(&vm, "Running");
}

static void a_snapshot_that_loses_a_disk_while_it_is_gone_back_to_changes_nothing(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm, taken = {.api = api};
	char *args;
	size_t disks;

	given_vm(api, &vm, "");
	write_disk(&vm, "then");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	write_disk(&vm, "now!");
	snprintf(taken.ref, sizeof(taken.ref), "%s", vm.snapshot);
	vm_find_devices(&taken);
	disks = xn_db_count(api->db, XN_CLASS_VDI);
	args = xn_asprintf("[\"%s\"]", vm.snapshot);
	api_begin(api, &call, "VM.revert", args);
	free(args);
	while (!call.done && xn_db_count(api->db, XN_CLASS_VDI) == disks)
		xn_loop_turn(api->core.loop, -1);
	args = xn_asprintf("[\"%s\"]", taken.disk);
	free(api_do(api, "VBD.destroy", args));
	free(args);
	api_wait(api, &call.done);
	assert_non_null(call.err.code);
	api_call_clear(&call);
	api_run(api, 2);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), disks);
	assert_disk(api, vm.vdi, "now!");
	assert_non_null(row_of(api, XN_CLASS_VBD, vm.disk));
}

static void a_vm_that_is_gone_comes_back_from_its_snapshot(void **state)
{
	struct api *api = *state;
	struct xn_row *again;
	struct vm vm, back = {.api = api};
	char *args;

	given_vm(api, &vm, "\"mine\":\"yes\"");
	write_disk(&vm, "then");
	vm_do_ref(&vm, "VM.snapshot", ",\"snap\",[]", vm.snapshot);
	vm_do(&vm, "VM.destroy", "");
	args = xn_asprintf("[\"%s\"]", vm.vdi);
	free(api_do(api, "VDI.destroy", args));
	free(args);
	args = xn_asprintf("[\"%s\"]", vm.snapshot);
	free(api_do(api, "VM.revert", args));
	free(args);
	again = xn_db_by_uuid(api->db, XN_CLASS_VM, vm.uuid);
	assert_non_null(again);
	snprintf(back.ref, sizeof(back.ref), "%s", xn_row_ref(again));
	snprintf(back.uuid, sizeof(back.uuid), "%s", vm.uuid);
	vm_find_devices(&back);
	assert_string_equal(xn_row_string(again, XN_VM_name_label), "one");
	assert_string_equal(xn_row_map_string(again, XN_VM_other_config, "mine"), "yes");
	assert_string_equal(xn_row_string(snapshot_row(&vm), XN_VM_snapshot_of), back.ref);
	assert_disk(api, back.vdi, "then");
	vm_do(&back, "VM.start", ",false,false");
	assert_state(&back, "Running");
}

static void only_snapshots_can_be_gone_back_to(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;

	given_vm(api, &vm, "");
	vm_fail(&vm, "VM.revert", "", "REVERT_ONLY_ALLOWED_ON_SNAPSHOT", &err);
	xn_error_clear(&err);
}

static void a_disk_alone_can_be_set_back_to_its_snapshot(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct vm vm;
	char *args, *json, snapshot[48];

	given_vm(api, &vm, "");
	write_disk(&vm, "then");
	args = xn_asprintf("[\"%s\"]", vm.vdi);
	json = api_do(api, "VDI.snapshot", args);
	snprintf(snapshot, sizeof(snapshot), "%.46s", json + 1);
	free(json);
	write_disk(&vm, "now!");
	api_fail(api, "VDI.revert", args, "REVERT_ONLY_ALLOWED_ON_SNAPSHOT", &err);
	xn_error_clear(&err);
	free(args);
	args = xn_asprintf("[\"%s\"]", snapshot);
	vm_do(&vm, "VM.start", ",false,false");
	api_fail(api, "VDI.revert", args, "VDI_IN_USE", &err);
	xn_error_clear(&err);
	vm_do(&vm, "VM.hard_shutdown", "");
	free(api_do(api, "VDI.revert", args));
	free(args);
	assert_disk(api, vm.vdi, "then");
	assert_disk(api, snapshot, "then");
	assert_int_equal(xn_map_len(xn_row_get(row_of(api, XN_CLASS_VDI, vm.vdi),
					       XN_VDI_current_operations)),
			 0);
}

static enum xn_op_fault hang_while_it_copies(const struct xn_op *op, int member, void *arg)
{
	bool copies = !op->undoing && op->step == 1 &&
		      strncmp(op->kind->name, "VDI.", 4) == 0;

	return copies ? XN_FAULT_HANG : XN_FAULT_NONE;
}

static void a_disk_of_a_running_guest_is_copied_while_it_stands_still(void **state)
{
	static const char *const methods[] = {"VDI.snapshot", "VDI.clone"};
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	char *args;

	given_vm_that_is(api, &vm, "Running", "");
	args = xn_asprintf("[\"%s\"]", vm.vdi);
	for (size_t i = 0; i < XN_ARRAY_SIZE(methods); i++) {
		free(api_do(api, methods[i], args));
		assert_false(vm_domain(&vm)->paused);
		api->core.op_fault = hang_while_it_copies;
		api_begin(api, &call, methods[i], args);
		api_run(api, 5);
		assert_true(vm_domain(&vm)->paused);
		assert_state(&vm, "Running"); /* nobody has paused it */
		api_wait(api, &call.done);
		assert_non_null(call.err.code);
		api_call_clear(&call);
		assert_false(vm_domain(&vm)->paused);
		api->core.op_fault = NULL;
	}
	free(args);
	assert_state(&vm, "Running");
}

static void a_guest_that_stood_still_when_the_daemon_was_killed_goes_on(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	char *args;

	given_vm_that_is(api, &vm, "Running", "");
	args = xn_asprintf("[\"%s\"]", vm.vdi);
	api->core.op_fault = hang_while_it_copies;
	api_begin(api, &call, "VDI.snapshot", args);
	free(args);
	api_run(api, 5);
	assert_true(vm_domain(&vm)->paused);
	api_crash(api, XN_CRASH_KILL);
	api_run(api, 5);
	assert_false(vm_domain(&vm)->paused);
	assert_state(&vm, "Running");
	assert_int_equal(xn_map_len(xn_row_get(row_of(api, XN_CLASS_VDI, vm.vdi),
					       XN_VDI_current_operations)),
			 0);
}

/* Whatever the journal has of the copy then, nobody holds the VM's row for ever. */
static void a_vm_is_seen_as_it_is_after_a_kill_at_any_turn_of_a_copy(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct vm vm;
	char *args;

	given_vm_that_is(api, &vm, "Running", "");
	args = xn_asprintf("[\"%s\"]", vm.vdi);
	for (unsigned turns = 0; turns < 12; turns++) {
		api_begin(api, &call, "VDI.clone", args);
		for (unsigned i = 0; i < turns && !call.done; i++)
			xn_loop_turn(api->core.loop, 1000000);
		if (call.done)
			api_call_clear(&call);
		api_crash(api, XN_CRASH_KILL);
		api_run(api, 5);
		assert_state(&vm, "Running");
		vm_do(&vm, "VM.pause", "");
		assert_state(&vm, "Paused");
		vm_do(&vm, "VM.unpause", "");
		assert_state(&vm, "Running");
	}
	free(args);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(a_snapshot_keeps_what_was_on_the_disk),
		TEST(a_guest_that_was_paused_stays_paused),
		TEST(a_snapshot_of_a_suspended_vm_can_be_gone_back_to),
		TEST(two_snapshots_at_a_time_let_the_guest_go_on),
		TEST(clones_of_suspended_vms_need_the_pools_leave_and_go_on_from_there),
		TEST(csvm_is_a_clone_of_a_suspended_vm),
		TEST(a_checkpoint_has_the_memory_and_the_guest_goes_on),
		TEST(a_guest_goes_on_before_its_checkpoint_succeeds),
		TEST(a_checkpoint_and_a_snapshot_at_a_time_let_the_guest_go_on),
		TEST(a_guest_that_does_not_suspend_gives_no_checkpoint),
		TEST(going_back_to_a_checkpoint_goes_on_from_its_moment),
		TEST(a_reverted_vm_is_what_it_was),
		TEST(a_revert_that_cannot_copy_the_disks_changes_nothing),
		TEST(a_snapshot_that_loses_a_disk_while_it_is_gone_back_to_changes_nothing),
		TEST(a_vm_that_is_gone_comes_back_from_its_snapshot),
		TEST(only_snapshots_can_be_gone_back_to),
		TEST(a_disk_alone_can_be_set_back_to_its_snapshot),
		TEST(a_disk_of_a_running_guest_is_copied_while_it_stands_still),
		TEST(a_guest_that_stood_still_when_the_daemon_was_killed_goes_on),
		TEST(a_vm_is_seen_as_it_is_after_a_kill_at_any_turn_of_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
