/*
 * VMs from VMs: clones, copies, snapshots, checkpoints, and what is done with a snapshot by its
 * uuid. Each prints the uuid of what it made.
 */
#include "rpc/xe/commands/vm.h"

/* What was made gets its description, and is told. */
static void describe_and_tell(struct xe *x, const struct xn_value *made)
{
	const char *ref = xn_value_string(made), *description = xe_param(x, "new-name-description");

	if (description && !xe_call(x, NULL, "VM.set_name_description", "ss", ref, description))
		return;
	xe_value_uuid(x, XN_CLASS_VM, ref);
}

/* A message that takes a VM and a name. */
static void make(struct xe *x, const char *method, const char *ref)
{
	const struct xn_value *made;

	if (xe_call(x, &made, method, "ss", ref, xe_param(x, "new-name-label")))
		describe_and_tell(x, made);
}

/* VM.copy, to sr-uuid= or to where the disks are. */
static void make_copy(struct xe *x, const char *ref)
{
	const char *uuid = xe_param(x, "sr-uuid"), *sr = XN_NULL_REF;
	const struct xn_value *made;

	if (uuid && !xe_by_uuid(x, XN_CLASS_SR, uuid, &sr))
		return;
	if (xe_call(x, &made, "VM.copy", "sss", ref, xe_param(x, "new-name-label"), sr))
		describe_and_tell(x, made);
}

XE_COMMAND(vm_clone)
{
	make(x, "VM.clone", xe_object(x));
}

XE_COMMAND(vm_copy)
{
	make_copy(x, xe_object(x));
}

XE_COMMAND(vm_snapshot)
{
	const struct xn_value *uuids = xe_param_list(x, "ignore-vdi-uuids"), *made;
	struct xn_value *vdis = xn_set_new();
	const char *vdi;

	for (size_t i = 0; i < xn_set_len(uuids); i++) {
		if (!xe_by_uuid(x, XN_CLASS_VDI, xn_value_string(xn_set_at(uuids, i)), &vdi)) {
			xn_value_unref(vdis);
			return;
		}
		xn_set_append_string(&vdis, vdi);
	}
	if (xe_call(x, &made, "VM.snapshot", "ssv", xe_object(x), xe_param(x, "new-name-label"),
		    vdis))
		describe_and_tell(x, made);
}

XE_COMMAND(vm_checkpoint)
{
	make(x, "VM.checkpoint", xe_object(x));
}

/* ---- by the uuid of a snapshot or template ---- */

static bool of_kind(struct xe *x, const char *uuid, int field, const char *kind,
		    const char **ref_out)
{
	struct xn_row *row;

	if (!xe_by_uuid(x, XN_CLASS_VM, uuid, ref_out))
		return false;
	row = xe_row(x, XN_CLASS_VM, *ref_out);
	/* What a VM is of these does not change by itself; one that is gone fails later. */
	if (!row || xn_row_bool(row, field))
		return true;
	xe_fail(x, "This operation can only be performed on a VM %s. %s is not a VM %s.", kind,
		uuid, kind);
	return false;
}

bool xe_snapshot(struct xe *x, const char **ref_out)
{
	const char *uuid = xe_param_or(x, "snapshot-uuid", xe_param(x, "uuid"));

	if (uuid)
		return of_kind(x, uuid, XN_VM_is_a_snapshot, "snapshot", ref_out);
	xe_fail(x, "Required parameter not found: snapshot-uuid or uuid.");
	return false;
}

bool xe_template(struct xe *x, const char **ref_out)
{
	return of_kind(x, xe_param(x, "template-uuid"), XN_VM_is_a_template, "template", ref_out);
}

XE_COMMAND(snapshot_clone)
{
	const char *ref;

	if (xe_snapshot(x, &ref))
		make(x, "VM.clone", ref);
}

XE_COMMAND(snapshot_copy)
{
	const char *ref;

	if (xe_snapshot(x, &ref))
		make_copy(x, ref);
}

XE_COMMAND(snapshot_revert)
{
	const char *ref;

	if (!xe_snapshot(x, &ref) || !xe_call(x, NULL, "VM.revert", "s", ref))
		return;
}

XE_COMMAND(snapshot_reset_powerstate)
{
	const char *ref;

	if (!xe_need_force(x) || !xe_snapshot(x, &ref) ||
	    !xe_call(x, NULL, "VM.power_state_reset", "s", ref))
		return;
}

/* ---- made of nothing ---- */

/* As the field's: a halted VM of 256 MiB without devices. */
static const char bare_vm[] =
	"{\"user_version\":0,\"is_a_template\":false,\"affinity\":\"\",\"memory_target\":268435456,"
	"\"memory_static_max\":268435456,\"memory_dynamic_max\":268435456,"
	"\"memory_dynamic_min\":134217728,\"memory_static_min\":134217728,\"VCPUs_params\":{},"
	"\"VCPUs_max\":1,\"VCPUs_at_startup\":1,\"actions_after_shutdown\":\"destroy\","
	"\"actions_after_reboot\":\"restart\",\"actions_after_crash\":\"destroy\","
	"\"PV_bootloader\":\"\",\"PV_kernel\":\"\",\"PV_ramdisk\":\"\",\"PV_args\":\"\","
	"\"PV_bootloader_args\":\"\",\"PV_legacy_args\":\"\",\"HVM_boot_policy\":\"\","
	"\"HVM_boot_params\":{},\"HVM_shadow_multiplier\":1.0,\"platform\":{},\"PCI_bus\":\"\","
	"\"other_config\":{},\"recommendations\":\"\",\"has_vendor_device\":false}";

/* A message that takes a record; its name and description are parameters of all such commands. */
static void create(struct xe *x, const char *method, int class_id, struct xn_value *record)
{
	const struct xn_value *made;

	xn_map_put_string(&record, "name_label", xe_param(x, "name-label"));
	xn_map_put_string(&record, "name_description", xe_param_or(x, "name-description", ""));
	if (xe_call(x, &made, method, "v", record))
		xe_value_uuid(x, class_id, xn_value_string(made));
}

XE_COMMAND(vm_create)
{
	create(x, "VM.create", XN_CLASS_VM, xe_record(bare_vm));
}

XE_COMMAND(appliance_create)
{
	create(x, "VM_appliance.create", XN_CLASS_VM_appliance, xn_map_new());
}

XE_COMMAND(vm_group_create)
{
	struct xn_value *record = xn_map_new();

	xn_map_put_string(&record, "placement", xe_param(x, "placement"));
	create(x, "VM_group.create", XN_CLASS_VM_group, record);
}

XE_COMMAND(vmss_create)
{
	struct xn_value *record;
	bool enabled;
	int64_t kept;

	if (!xe_param_bool(x, "enabled", true, &enabled) ||
	    !xe_param_int(x, "retained-snapshots", 7, &kept))
		return;
	record = xn_map_new();
	xn_map_put_string(&record, "type", xe_param(x, "type"));
	xn_map_put_string(&record, "frequency", xe_param(x, "frequency"));
	xn_map_put(&record, "enabled", xn_bool(enabled));
	xn_map_put(&record, "retained_snapshots", xn_int(kept));
	xn_map_put(&record, "schedule", xn_value_ref(xe_param_map(x, "schedule")));
	create(x, "VMSS.create", XN_CLASS_VMSS, record);
}
