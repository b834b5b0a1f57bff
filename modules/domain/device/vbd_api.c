/* The calls of class VBD: create, destroy, and what only looks; hot plug is in vbd_plug.c. */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"
#include "modules/records/records.h"

enum { MAX_POSITION = 254, MAX_CONTROL_POSITION = 255 };

static const char *text_of(const struct xn_value *record, const char *key)
{
	const char *text = xn_map_get_string(record, key);

	return text ? text : "";
}

/* ---- create ---- */

static int check_medium(struct xn_domains *d, const struct xn_value *record, struct xn_error *err)
{
	static const char *const forbidden[] = {"cbt_metadata", "ha_statefile", "redo_log"};
	bool is_cd = strcmp(text_of(record, "type"), "CD") == 0;
	bool writes = strcmp(text_of(record, "mode"), "RW") == 0;
	bool empty = xn_map_get_bool(record, "empty", false);
	const struct xn_row *vdi = xn_db_get(d->db, XN_CLASS_VDI, text_of(record, "VDI"));

	for (size_t i = 0; vdi && i < XN_ARRAY_SIZE(forbidden); i++)
		if (strcmp(xn_row_string(vdi, XN_VDI_type), forbidden[i]) == 0)
			return xn_error_set(err, XN_ERR_VDI_INCOMPATIBLE_TYPE, xn_row_ref(vdi),
					    forbidden[i]);
	if (is_cd && writes)
		return xn_error_set(err, XN_ERR_VBD_CDS_MUST_BE_READONLY);
	if (!is_cd && empty)
		return xn_error_set(err, XN_ERR_VBD_NOT_REMOVABLE_MEDIA,
				    "only CD drives can be empty");
	if (!empty && !vdi)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VDI", text_of(record, "VDI"));
	if (vdi && writes && !empty && xn_row_bool(vdi, XN_VDI_read_only))
		return xn_error_set(err, XN_ERR_VDI_READONLY, xn_row_ref(vdi));
	return 0;
}

static int check_vm_stays_here(const struct xn_row *vm, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(vm, XN_VM_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *name = xn_value_string(xn_map_at(current, i));

		if (strcmp(name, "migrate_send") == 0 || strcmp(name, "pool_migrate") == 0)
			return xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "VM",
					    xn_row_ref(vm), name, xn_map_key_at(current, i));
	}
	return 0;
}

static bool position_is_used(struct xn_domains *d, const struct xn_row *vm, int position)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (vbd && xn_disk_position(xn_row_string(vbd, XN_VBD_userdevice)) == position)
			return true;
	}
	return false;
}

/* What userdevice the new row gets; "autodetect": the lowest that is free. -1 with @err. */
static int choose_device(struct xn_domains *d, const struct xn_row *vm, const char *wanted,
			 char out[16], struct xn_error *err)
{
	int max = xn_row_bool(vm, XN_VM_is_control_domain) ? MAX_CONTROL_POSITION : MAX_POSITION;
	int position;

	if (strcmp(wanted, "autodetect") == 0) {
		for (position = 0; position <= max; position++)
			if (!position_is_used(d, vm, position))
				break;
		snprintf(out, 16, "%d", position);
		wanted = out;
	} else {
		snprintf(out, 16, "%s", wanted);
		position = xn_disk_position(wanted);
	}
	if (position < 0 || position > max || strlen(wanted) > 15)
		return xn_error_set(err, XN_ERR_INVALID_DEVICE, wanted);
	if (position_is_used(d, vm, position))
		return xn_error_set(err, XN_ERR_DEVICE_ALREADY_EXISTS, wanted);
	return 0;
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	const struct xn_value *record = call->args[0];
	const struct xn_row *vm;
	char device[16];

	if (xn_record_check(d->db, &xn_classes[XN_CLASS_VBD], record, err) < 0)
		return -1;
	vm = xn_db_need(d->db, XN_CLASS_VM, text_of(record, "VM"), err);
	if (!vm || check_medium(d, record, err) < 0 || check_vm_stays_here(vm, err) < 0)
		return -1;
	return choose_device(d, vm, text_of(record, "userdevice"), device, err);
}

struct xn_row *xn_vbd_new(struct xn_core *core, const struct xn_value *given, struct xn_error *err)
{
	struct xn_domains *d = xn_domains_of(core);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_value_ref(given);
	const struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, text_of(fields, "VM"), err);
	struct xn_row *vbd;
	char device[16];

	if (!vm || choose_device(d, vm, text_of(fields, "userdevice"), device, err) < 0)
		return NULL;
	xn_map_put_string(&fields, "userdevice", device);
	xn_map_remove(&fields, "currently_attached"); /* the watcher will say */
	if (xn_map_get_bool(fields, "empty", false))
		xn_map_put_string(&fields, "VDI", XN_NULL_REF);
	vbd = xn_db_create(d->db, XN_CLASS_VBD, NULL, fields);
	xn_operation_refresh_all(d->ops, vbd);
	return vbd;
}

static void create(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *fields = xn_record_fields(&xn_classes[XN_CLASS_VBD], call->args[0]);
	struct xn_error err = {0};
	const struct xn_row *vbd = xn_vbd_new(call->core, fields, &err);

	if (vbd)
		xn_call_reply(call, xn_string(xn_row_ref(vbd)));
	else
		xn_call_fail(call, &err);
}

/* ---- destroy, mode ---- */

static int destroy_now(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vbd = xn_db_need(d->db, XN_CLASS_VBD, xn_call_string(call, 0), err);
	struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;
	const struct xn_value *current = vbd ? xn_row_get(vbd, XN_VBD_current_operations) : NULL;

	if (!vbd)
		return -1;
	if (xn_row_bool(vbd, XN_VBD_currently_attached))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "The disk is attached to a running VM.");
	if (xn_map_len(current) > 0)
		return xn_operation_busy(err, "VBD", xn_row_ref(vbd), current, NULL, ",");
	xn_db_delete(d->db, vbd);
	if (vdi)
		xn_operation_refresh(d->ops, vdi);
	return 0;
}

static void destroy(struct xn_call *call)
{
	struct xn_error err = {0};

	if (destroy_now(call, &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply_void(call);
}

static int set_mode_now(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vbd = xn_db_need(d->db, XN_CLASS_VBD, xn_call_string(call, 0), err);
	const struct xn_row *vm = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VM) : NULL;

	if (!vbd)
		return -1;
	if (vm && !xn_vm_is(vm, "Halted"))
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(vm), "halted",
				    xn_power_state_lower(xn_row_string(vm, XN_VM_power_state)));
	if (strcmp(xn_call_string(call, 1), "RW") == 0 &&
	    strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0)
		return xn_error_set(err, XN_ERR_VBD_CDS_MUST_BE_READONLY);
	xn_db_set(d->db, vbd, XN_VBD_mode, xn_value_ref(call->args[1]));
	xn_operation_refresh_all(d->ops, vbd);
	return 0;
}

/* Plain fields, but what may be done with the device depends on them. */
static void set_field(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vbd = xn_db_need(d->db, XN_CLASS_VBD, xn_call_string(call, 0), &err);

	if (!vbd) {
		xn_call_fail(call, &err);
		return;
	}
	xn_db_set(d->db, vbd, call->method->field, xn_value_ref(call->args[1]));
	xn_operation_refresh_all(d->ops, vbd);
	xn_call_reply_void(call);
}

static void set_mode(struct xn_call *call)
{
	struct xn_error err = {0};

	if (set_mode_now(call, &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply_void(call);
}

/* ---- looking ---- */

static void assert_attachable(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};

	if (xn_operation_check(d->ops, XN_CLASS_VBD, xn_call_string(call, 0), "attach", &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply_void(call);
}

/* Storage cannot be changed below a running disk any more; the calls are still listed. */
static int check_pause(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vbd = xn_db_need(d->db, XN_CLASS_VBD, xn_call_string(call, 0), err);
	struct xn_row *vdi = vbd ? xn_row_follow(d->db, vbd, XN_VBD_VDI) : NULL;

	if (!vbd || xn_operation_check(d->ops, XN_CLASS_VBD, xn_row_ref(vbd), call->method->message,
				       err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_SR_OPERATION_NOT_SUPPORTED,
			    vdi ? xn_row_string(vdi, XN_VDI_SR) : XN_NULL_REF);
}

static void pause_or_unpause(struct xn_call *call)
{
	struct xn_error err = {0};

	check_pause(call, &err);
	xn_call_fail(call, &err);
}

const struct xn_method_impl xn_vbd_methods[] = {
	{"VBD.create", create, check_create, true},
	{"VBD.destroy", destroy, NULL, false},
	{"VBD.set_mode", set_mode, NULL, false},
	{"VBD.set_type", set_field, NULL, false},
	{"VBD.set_unpluggable", set_field, NULL, false},
	{"VBD.plug", xn_vbd_plug, xn_check_operation, false},
	{"VBD.unplug", xn_vbd_unplug, xn_check_operation, false},
	{"VBD.unplug_force", xn_vbd_unplug_force, xn_check_operation, false},
	{"VBD.unplug_force_no_safety_check", xn_vbd_unplug_force, xn_check_operation, false},
	{"VBD.insert", xn_vbd_insert, xn_vbd_insert_check, false},
	{"VBD.eject", xn_vbd_eject, xn_check_operation, false},
	{"VBD.assert_attachable", assert_attachable, NULL, false},
	{"VBD.pause", pause_or_unpause, NULL, false},
	{"VBD.unpause", pause_or_unpause, NULL, false},
	{NULL, NULL, NULL, false},
};
