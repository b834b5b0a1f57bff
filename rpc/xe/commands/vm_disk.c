/* The disks and CD drives of VMs: what they are, new ones, other ones, none. */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/commands/vm.h"
#include "rpc/xe/record/record.h"

/* ---- looking ---- */

static bool is_cd(const struct xn_row *vbd)
{
	return strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0;
}

static int by_userdevice(const void *a, const void *b)
{
	const struct xn_row *one = *(struct xn_row *const *)a, *two = *(struct xn_row *const *)b;

	return atoi(xn_row_string(one, XN_VBD_userdevice)) -
	       atoi(xn_row_string(two, XN_VBD_userdevice));
}

struct xn_row **xe_vbds(struct xe *x, const char *vm, size_t *n_out)
{
	struct xn_row *row = xe_row(x, XN_CLASS_VM, vm);
	const struct xn_value *refs = row ? xn_row_get(row, XN_VM_VBDs) : NULL;
	size_t n = refs ? xn_set_len(refs) : 0;
	struct xn_row **vbds = xn_calloc(n + 1, sizeof(struct xn_row *));

	*n_out = 0;
	for (size_t i = 0; i < n; i++) {
		struct xn_row *vbd = xe_row(x, XN_CLASS_VBD, xn_value_string(xn_set_at(refs, i)));

		if (vbd)
			vbds[(*n_out)++] = vbd;
	}
	qsort(vbds, *n_out, sizeof(*vbds), by_userdevice);
	return vbds;
}

/* A reference that a handler found before its first effect: kept, since rows change while it waits.
 */
struct found {
	bool is_looked_for;
	char vbd[48], vdi[48];
};

static struct found *find_once(struct xe *x, bool *is_first)
{
	struct found *f = xe_state(x, sizeof(*f), NULL);

	*is_first = !f->is_looked_for;
	f->is_looked_for = true;
	return f;
}

static void note(char out[48], const struct xn_row *row)
{
	snprintf(out, 48, "%s", row ? xn_row_ref(row) : "");
}

static bool is_iso(struct xe *x, const struct xn_row *vdi)
{
	const struct xn_row *sr = xn_row_follow(xe_db(x), vdi, XN_VDI_SR);

	return sr && strcmp(xn_row_string(sr, XN_SR_content_type), "iso") == 0;
}

/* ---- lists ---- */

static void show(struct xe *x, const char *title, const char *prefix, const char *params,
		 const char *ref, struct xe_shown *out)
{
	*out = (struct xe_shown){
		.title = title,
		.kind = xe_kind_find(prefix, strlen(prefix)),
		.ref = xe_text(x, "%s", ref),
	};
	xe_columns_parse(out->kind, params, &out->columns);
}

void xe_show_disks(struct xe *x, const char *vm, bool cds)
{
	size_t n, at = 0;
	struct xn_row **vbds = xe_vbds(x, vm, &n);
	struct xe_shown *shown = xn_calloc(2 * n + 1, sizeof(*shown));
	const char *what = cds ? "CD" : "Disk";
	unsigned number = 0;

	for (size_t i = 0; i < n; i++) {
		const struct xn_row *vdi = xn_row_follow(xe_db(x), vbds[i], XN_VBD_VDI);

		if (is_cd(vbds[i]) != cds)
			continue;
		show(x, xe_text(x, "%s %u VBD:", what, number), "vbd",
		     xe_param_or(x, "vbd-params",
				 cds ? "uuid,vm-name-label,userdevice,empty"
				     : "uuid,vm-name-label,userdevice"),
		     xn_row_ref(vbds[i]), &shown[at++]);
		if (vdi)
			show(x, xe_text(x, "%s %u VDI:", what, number), "vdi",
			     xe_param_or(x, "vdi-params",
					 "uuid,name-label,virtual-size,sr-name-label"),
			     xn_row_ref(vdi), &shown[at++]);
		number++;
	}
	xe_show(x, shown, at);
	free(shown);
	free(vbds);
}

XE_COMMAND(vm_disk_list)
{
	xe_show_disks(x, xe_object(x), false);
}

XE_COMMAND(vm_cd_list)
{
	xe_show_disks(x, xe_object(x), true);
}

XE_COMMAND(snapshot_disk_list)
{
	const char *ref;

	if (xe_snapshot(x, &ref))
		xe_show_disks(x, ref, false);
}

static int by_age(const void *a, const void *b)
{
	uint64_t one = xn_row_created(*(struct xn_row *const *)a);
	uint64_t two = xn_row_created(*(struct xn_row *const *)b);

	return one < two ? -1 : one > two;
}

struct xn_row **xe_rows(struct xe *x, int class_id, const struct xn_value *refs, size_t *n_out)
{
	struct xn_row **rows = xn_calloc(xn_set_len(refs) + 1, sizeof(struct xn_row *));
	size_t n = 0;

	for (size_t i = 0; i < xn_set_len(refs); i++)
		if ((rows[n] = xe_row(x, class_id, xn_value_string(xn_set_at(refs, i)))))
			n++;
	qsort(rows, n, sizeof(*rows), by_age);
	*n_out = n;
	return rows;
}

/* Rows of a set of references, with the columns that params= names. */
static void show_set(struct xe *x, const char *prefix, const struct xn_value *refs,
		     const char *columns)
{
	const struct xe_kind *kind = xe_kind_find(prefix, strlen(prefix));
	size_t n;
	struct xn_row **rows = xe_rows(x, xe_kind_class(kind), refs, &n);
	struct xe_shown *shown = xn_calloc(n + 1, sizeof(*shown));

	for (size_t i = 0; i < n; i++)
		show(x, NULL, prefix, xe_param_or(x, "params", columns), xn_row_ref(rows[i]),
		     &shown[i]);
	xe_show(x, shown, n);
	free(shown);
	free(rows);
}

XE_COMMAND(vm_vif_list)
{
	const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xe_object(x));

	if (vm)
		show_set(x, "vif", xn_row_get(vm, XN_VM_VIFs),
			 "uuid,device,MAC,network-uuid,network-name-label,vm-name-label");
}

static const char *uuid_behind(struct xe *x, const struct xn_row *row, int field)
{
	const struct xn_row *to = xn_row_follow(xe_db(x), row, field);

	return to ? xn_row_uuid(to) : "<not in database>";
}

/* Crash dumps have no record of their own on the command line. */
XE_COMMAND(vm_crashdump_list)
{
	const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xe_object(x));
	struct xn_row **dumps;
	size_t n;

	if (!vm)
		return;
	dumps = xe_rows(x, XN_CLASS_crashdump, xn_row_get(vm, XN_VM_crash_dumps), &n);
	for (size_t i = 0; i < n; i++) {
		const struct xe_pair pairs[] = {
			{"uuid ( RO)", xn_row_uuid(dumps[i])},
			{"vm-uuid ( RO)", uuid_behind(x, dumps[i], XN_crashdump_VM)},
			{"vdi-uuid ( RO)", uuid_behind(x, dumps[i], XN_crashdump_VDI)},
		};

		xe_show_pairs(x, pairs, XN_ARRAY_SIZE(pairs));
	}
	free(dumps);
}

XE_COMMAND(cd_list)
{
	struct xn_value *vdis = xn_set_new();

	for (struct xn_row *vdi = xn_db_first(xe_db(x), XN_CLASS_VDI); vdi;
	     vdi = xn_db_next(xe_db(x), vdi))
		if (is_iso(x, vdi))
			xn_set_append_string(&vdis, xn_row_ref(vdi));
	show_set(x, "vdi", vdis, "name-label,uuid");
	xn_value_unref(vdis);
}

/* ---- a new one ---- */

/* VBD.create, then plugged if the VM takes it; false: not yet, or failed, *err tells. */
static bool attach(struct xe *x, const char *json, const char *vdi, bool is_owner,
		   const struct xn_error **err)
{
	struct xn_value *record = xe_record(json), *other_config = xn_map_new();
	const struct xn_value *vbd;
	const struct xn_error *unplugged;

	if (is_owner)
		xn_map_put_string(&other_config, "owner", "");
	xn_map_put_string(&record, "VM", xe_object(x));
	xn_map_put_string(&record, "VDI", vdi);
	xn_map_put_string(&record, "userdevice", xe_param(x, "device"));
	xn_map_put(&record, "other_config", other_config);
	if (!xe_try(x, &vbd, err, "VBD.create", "v", record))
		return false;
	return *err || xe_try(x, NULL, &unplugged, "VBD.plug", "s", xn_value_string(vbd));
}

static void fail_with(struct xe *x, const struct xn_error *err)
{
	struct xn_error copy = {0};

	xn_error_copy(&copy, err);
	xe_fail_api(x, &copy);
}

static const char new_disk[] = "{\"name_label\":\"Created by xe\",\"name_description\":\"Created "
			       "by xe\",\"type\":\"user\","
			       "\"sharable\":false,\"read_only\":false,\"other_config\":{},"
			       "\"xenstore_data\":{},\"tags\":[]}";
static const char new_disk_vbd[] = "{\"bootable\":false,\"mode\":\"RW\",\"type\":\"Disk\","
				   "\"unpluggable\":true,\"empty\":false,"
				   "\"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}";
static const char new_cd_vbd[] =
	"{\"bootable\":false,\"mode\":\"RO\",\"type\":\"CD\",\"unpluggable\":true,\"empty\":false,"
	"\"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}";

/* sr-uuid=, or the pool's default. */
static bool find_sr(struct xe *x, const char **sr)
{
	const char *uuid = xe_param(x, "sr-uuid");
	const struct xn_value *ref;

	if (uuid)
		return xe_by_uuid(x, XN_CLASS_SR, uuid, sr);
	if (!xe_call(x, &ref, "pool.get_default_SR", "s", xe_pool(x)))
		return false;
	*sr = xn_value_string(ref);
	if (strcmp(*sr, XN_NULL_REF) != 0 && **sr)
		return true;
	xe_fail(x, "No default Pool SR set; you must specify an SR on the commandline");
	return false;
}

XE_COMMAND(vm_disk_add)
{
	struct xn_value *record, *sm_config;
	const struct xn_value *vdi, *vm_uuid;
	const struct xn_error *err, *ignored;
	const char *sr;
	int64_t size;

	if (!xe_param_size(x, "disk-size", 0, &size) || !find_sr(x, &sr) ||
	    !xe_call(x, &vm_uuid, "VM.get_uuid", "s", xe_object(x)))
		return;
	record = xe_record(new_disk);
	sm_config = xn_map_new();
	xn_map_put_string(&sm_config, "vmhint", xn_value_string(vm_uuid));
	xn_map_put(&record, "sm_config", sm_config);
	xn_map_put_string(&record, "SR", sr);
	xn_map_put(&record, "virtual_size", xn_int(size));
	if (!xe_call(x, &vdi, "VDI.create", "v", record) ||
	    !attach(x, new_disk_vbd, xn_value_string(vdi), true, &err))
		return;
	if (err && xe_try(x, NULL, &ignored, "VDI.destroy", "s", xn_value_string(vdi)))
		fail_with(x, err);
}

XE_COMMAND(vm_disk_remove)
{
	bool is_first;
	struct found *f = find_once(x, &is_first);
	const struct xn_error *err;
	const char *device = xe_param(x, "device");

	if (is_first) {
		size_t n;
		struct xn_row **vbds = xe_vbds(x, xe_object(x), &n);

		for (size_t i = 0; i < n && !*f->vbd; i++)
			if (!is_cd(vbds[i]) &&
			    strcmp(xn_row_string(vbds[i], XN_VBD_userdevice), device) == 0) {
				note(f->vbd, vbds[i]);
				note(f->vdi, xn_row_follow(xe_db(x), vbds[i], XN_VBD_VDI));
			}
		free(vbds);
	}
	if (!*f->vbd) {
		xe_fail(x, "Disk not found");
		xe_hint(x,
			"'xe vm-disk-list' shows the VM's disks; device= is the userdevice of one");
		return;
	}
	if (!xe_try(x, NULL, &err, "VBD.destroy", "s", f->vbd))
		return;
	if (err) {
		xe_hint(x, "The disk of a running VM is unplugged first: 'xe vbd-list', 'xe "
			   "vbd-unplug'");
		fail_with(x, err);
	} else if (!xe_call(x, NULL, "VDI.destroy", "s", f->vdi)) {
		return;
	}
}

/* ---- CD drives ---- */

static const struct xn_row *next_disc(struct xe *x, const struct xn_row *row, const char *name)
{
	for (row = row ? xn_db_next(xe_db(x), row) : xn_db_first(xe_db(x), XN_CLASS_VDI); row;
	     row = xn_db_next(xe_db(x), row))
		if (strcmp(xn_row_string(row, XN_VDI_name_label), name) == 0 && is_iso(x, row))
			return row;
	return NULL;
}

static void no_such_disc(struct xe *x, const char *name, const char *mark)
{
	xe_fail(x, "CD %s not found%s", name, mark);
	xe_hint(x, "'xe cd-list' shows the discs that there are");
}

XE_COMMAND(vm_cd_add)
{
	bool is_first;
	struct found *f = find_once(x, &is_first);
	const char *name = xe_param(x, "cd-name");
	const struct xn_error *err;

	if (is_first)
		note(f->vdi, next_disc(x, NULL, name));
	if (!*f->vdi)
		no_such_disc(x, name, "!");
	else if (attach(x, new_cd_vbd, f->vdi, false, &err) && err)
		fail_with(x, err);
}

XE_COMMAND(vm_cd_remove)
{
	bool is_first;
	struct found *f = find_once(x, &is_first);
	const char *name = xe_param(x, "cd-name");

	if (is_first) {
		size_t n;
		struct xn_row **vbds = xe_vbds(x, xe_object(x), &n);

		for (size_t i = 0; i < n && !*f->vbd; i++) {
			const struct xn_row *vdi = xn_row_follow(xe_db(x), vbds[i], XN_VBD_VDI);

			if (is_cd(vbds[i]) &&
			    (vdi ? strcmp(xn_row_string(vdi, XN_VDI_name_label), name) == 0
				 : strcmp(name, "<EMPTY>") == 0))
				note(f->vbd, vbds[i]);
		}
		free(vbds);
	}
	if (!*f->vbd)
		xe_fail(x, "Disk not found");
	else if (!xe_call(x, NULL, "VBD.destroy", "s", f->vbd))
		return;
}

/* Notes the VM's only CD drive (that is empty); how many there are. */
static unsigned find_drives(struct xe *x, struct found *f, bool empty_only)
{
	size_t n;
	unsigned drives = 0;
	struct xn_row **vbds = xe_vbds(x, xe_object(x), &n);

	for (size_t i = 0; i < n; i++)
		if (is_cd(vbds[i]) && (!empty_only || xn_row_bool(vbds[i], XN_VBD_empty))) {
			note(f->vbd, vbds[i]);
			drives++;
		}
	free(vbds);
	return drives;
}

XE_COMMAND(vm_cd_eject)
{
	bool is_first;
	struct found *f = find_once(x, &is_first);
	unsigned drives = is_first ? find_drives(x, f, false) : 1;

	if (!drives)
		xe_fail(x, "No CDs found");
	else if (drives > 1)
		xe_fail(x, "Two or more CDs found. Please use vbd-eject");
	else if (!xe_call(x, NULL, "VBD.eject", "s", f->vbd))
		return;
}

static void no_empty_drive(struct xe *x)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_VM_NO_EMPTY_CD_VBD, xe_object(x));
	xe_hint(x, "Empty the drive first ('xe vm-cd-eject'), or add one ('xe vm-cd-add')");
	xe_fail_api(x, &err);
}

XE_COMMAND(vm_cd_insert)
{
	bool is_first;
	struct found *f = find_once(x, &is_first);
	const char *name = xe_param(x, "cd-name");
	const struct xn_row *disc = is_first ? next_disc(x, NULL, name) : NULL;
	unsigned drives = is_first ? find_drives(x, f, true) : 1;

	if (is_first)
		note(f->vdi, disc);
	if (is_first && !disc)
		no_such_disc(x, name, "");
	else if (is_first && next_disc(x, disc, name))
		xe_fail(x, "Multiple CDs named %s found. Please use vbd-insert and specify uuids",
			name);
	else if (!drives)
		no_empty_drive(x);
	else if (drives > 1)
		xe_fail(x, "Two or more empty CD devices found. Please use vbd-insert");
	else if (!xe_call(x, NULL, "VBD.insert", "ss", f->vbd, f->vdi))
		return;
}
