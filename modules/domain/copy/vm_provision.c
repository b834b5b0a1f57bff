/*
 * VM.provision: makes the disks that a template's copy asks for, attaches them, and turns the
 * template into a VM.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"
#include "modules/domain/copy/provision_disks.h"

static void make_disks(struct xn_op *op);
static void make_rows(struct xn_op *op);
static void be_template_again(struct xn_op *op);

static const struct xn_step provision_steps[] = {
	{"make disks", make_disks, xn_step_delete_disks, 300000, 10},
	{"attach disks", make_rows, be_template_again, 30000, 1, XN_STEP_NO_CANCEL},
	{NULL, NULL, NULL, 0},
};

XN_VM_OP_KIND(xn_vm_provision_kind, "VM.provision", provision_steps, XN_RESTART_UNDO)

/* ---- what to make; before the operation starts ---- */

/* By uuid or name; empty: the pool's default. */
static const char *find_sr(struct xn_domains *d, const char *name)
{
	struct xn_row *row = xn_db_by_uuid(d->db, XN_CLASS_SR, name);

	if (!*name)
		return xn_storage_default_sr(d->storage);
	for (struct xn_row *sr = row ? NULL : xn_db_first(d->db, XN_CLASS_SR); sr && !row;
	     sr = xn_db_next(d->db, sr))
		if (strcmp(xn_row_string(sr, XN_SR_name_label), name) == 0)
			row = sr;
	return row ? xn_row_ref(row) : NULL;
}

/* The set of maps that the steps work on: the parsed one with SR and new references. */
static int plan_disks(struct xn_domains *d, const struct xn_row *vm, struct xn_value **out,
		      struct xn_error *err)
{
	const char *text = xn_row_map_string(vm, XN_VM_other_config, "disks");
	XN_CLEANUP(xn_value_unref_p) struct xn_value *parsed = NULL;
	const char *why = "";

	*out = NULL;
	if (text && xn_provision_disks_parse(text, strlen(text), &parsed, &why) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "other_config:disks: %s", why);
	*out = xn_set_new();
	for (size_t i = 0; parsed && i < xn_set_len(parsed); i++) {
		struct xn_value *disk = xn_value_ref(xn_set_at(parsed, i));
		const char *name = xn_map_get_string(disk, "sr");
		const char *sr = find_sr(d, name);
		char fresh[48];

		if (!sr || strcmp(sr, XN_NULL_REF) == 0) {
			xn_value_unref(disk);
			if (!*name)
				return xn_error_set(err, XN_ERR_DEFAULT_SR_NOT_FOUND, XN_NULL_REF);
			return xn_error_set(err, XN_ERR_UUID_INVALID, "SR", name);
		}
		xn_ref_new(d->core->loop, fresh);
		xn_map_put_string(&disk, "sr", sr);
		xn_map_put_string(&disk, "new", fresh);
		xn_set_append(out, disk);
	}
	return 0;
}

/* ---- steps ---- */

static void make_disk(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	const struct xn_value *disk = xn_vm_disk_at(&vmo->op, index);
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = xn_map_new();
	struct xn_vdi_plan plan = {.sr = xn_map_get_string(disk, "sr")};
	struct xn_value *hint = xn_map_new();
	bool system = strcmp(xn_map_get_string(disk, "type"), "system") == 0;

	xn_map_put_string(&record, "name_label", xn_map_get_string(disk, "device"));
	xn_map_put(&record, "name_description",
		   xn_stringf("Disk of %s, made from its template",
			      vm ? xn_row_string(vm, XN_VM_name_label) : vmo->uuid));
	xn_map_put_string(&record, "SR", plan.sr);
	xn_map_put(&record, "virtual_size", xn_int(xn_map_get_int(disk, "size", 0)));
	xn_map_put_string(&record, "type", system ? "system" : "user");
	xn_map_put_string(&hint, "vmhint", vmo->vm);
	xn_map_put(&record, "sm_config", hint);
	plan.record = record;
	xn_vm_make_disk(vmo, group, index, &plan);
}

static void make_disks(struct xn_op *op)
{
	xn_group_start(op, xn_vm_count_disks(op), 4, make_disk, xn_vm_op_of(op));
}

static void make_vbd(struct xn_vm_op *vmo, const struct xn_value *disk)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	struct xn_value *config = xn_map_new();
	bool system = strcmp(xn_map_get_string(disk, "type"), "system") == 0;

	xn_map_put_string(&fields, "VM", vmo->vm);
	xn_map_put_string(&fields, "VDI", xn_map_get_string(disk, "new"));
	xn_map_put_string(&fields, "userdevice", xn_map_get_string(disk, "device"));
	xn_map_put(&fields, "bootable", xn_bool(xn_map_get_bool(disk, "bootable", false)));
	xn_map_put_string(&fields, "mode", "RW");
	xn_map_put_string(&fields, "type", "Disk");
	xn_map_put(&fields, "unpluggable", xn_bool(!system));
	xn_map_put_string(&config, "owner", "");
	xn_map_put(&fields, "other_config", config);
	xn_operation_refresh_all(vmo->d->ops, xn_db_create(vmo->d->db, XN_CLASS_VBD, NULL, fields));
}

/* In one turn, so in one transaction: the template becomes a VM with all its disks. */
static void make_rows(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);

	if (!vm)
		return;
	for (unsigned i = 0; i < xn_vm_count_disks(op); i++)
		make_vbd(vmo, xn_vm_disk_at(op, i));
	xn_db_map_remove(vmo->d->db, vm, XN_VM_other_config, "disks");
	xn_db_map_remove(vmo->d->db, vm, XN_VM_other_config, "postinstall");
	xn_vm_set_template(vmo->d, vm, false);
	xn_step_when_durable(op); /* what the database refuses is gone again */
}

static void put_back(struct xn_vm_op *vmo, struct xn_row *vm, const char *arg, const char *key)
{
	const char *value = xn_map_get_string(vmo->op.args, arg);

	if (value)
		xn_db_map_put(vmo->d->db, vm, XN_VM_other_config, key, value);
}

/* The rows of its disks go with these. */
static void be_template_again(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (vm) {
		put_back(vmo, vm, "wanted", "disks");
		put_back(vmo, vm, "postinstall", "postinstall");
		xn_vm_set_template(vmo->d, vm, true);
	}
	xn_op_done(op, 0);
}

/* ---- the call ---- */

int xn_vm_provision_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), err);
	struct xn_value *disks = NULL;
	int rc;

	if (!vm || xn_check_operation(call, err) < 0)
		return -1;
	rc = plan_disks(d, vm, &disks, err);
	xn_value_unref(disks);
	return rc;
}

/* For the way back. */
static void keep(struct xn_value **args, const char *arg, const struct xn_row *vm, const char *key)
{
	const char *value = xn_row_map_string(vm, XN_VM_other_config, key);

	if (value)
		xn_map_put_string(args, arg, value);
}

void xn_vm_provision(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);
	struct xn_value *args, *disks = NULL;

	if (!vm || plan_disks(d, vm, &disks, &err) < 0) {
		xn_value_unref(disks);
		xn_call_fail(call, &err);
		return;
	}
	args = xn_map_new();
	xn_map_put(&args, "disks", disks);
	keep(&args, "wanted", vm, "disks");
	keep(&args, "postinstall", vm, "postinstall");
	xn_vm_run(call, &xn_vm_provision_kind, args, NULL);
}
