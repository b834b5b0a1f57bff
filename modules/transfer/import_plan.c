/* See import_plan.h. Every value of the archive is held against the schema before it becomes a field. */
#include "modules/transfer/import_plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "modules/auth/auth.h"
#include "modules/domain/domain.h"
#include "modules/network/network.h"
#include "modules/records/records.h"
#include "modules/transfer/import_made.h"

enum { NEWEST_VERSION = 2, MAX_OBJECTS = 4096 };
static const int64_t DISK_MAX = (int64_t)1 << 50;

/* ---- the archive's objects ---- */

static const struct xn_value *object_of(const struct xn_import_plan *plan, const char *id,
					const char *class_name)
{
	const struct xn_value *object = id ? xn_map_get(plan->objects, id) : NULL;

	if (!object || strcmp(xn_map_get_string(object, "class"), class_name) != 0)
		return NULL;
	return xn_map_get(object, "snapshot");
}

static const char *text_of(const struct xn_value *record, const char *key)
{
	const struct xn_value *v = xn_map_get(record, key);

	return v && v->kind == XN_STRING ? xn_value_string(v) : "";
}

static int refuse(struct xn_error *err, const char *sentence)
{
	return xn_error_set(err, XN_ERR_IMPORT_ERROR, sentence);
}

/* Numbers are texts in some archives. */
static int64_t number_of(const struct xn_value *record, const char *key)
{
	const struct xn_value *v = xn_map_get(record, key);

	if (v && v->kind == XN_INT)
		return xn_value_int(v);
	return v && v->kind == XN_STRING ? strtoll(xn_value_string(v), NULL, 10) : 0;
}

static bool flag_of(const struct xn_value *record, const char *key)
{
	const struct xn_value *v = xn_map_get(record, key);

	return v && v->kind == XN_BOOL && xn_value_bool(v);
}

static int check_version(const struct xn_value *ova, struct xn_error *err)
{
	const struct xn_value *version = xn_map_get(ova, "version");
	int64_t number = version && version->kind == XN_MAP ? number_of(version, "export_vsn") : 0;

	if (number < 1 || number > NEWEST_VERSION)
		return xn_error_set(err, XN_ERR_IMPORT_INCOMPATIBLE_VERSION);
	return 0;
}

/* Classes of which something is read; what else an archive has goes at once. */
static const struct xn_class *class_of(const char *name)
{
	static const int used[] = {XN_CLASS_VM, XN_CLASS_VBD, XN_CLASS_VIF,
				   XN_CLASS_VDI, XN_CLASS_SR, XN_CLASS_network};

	for (size_t i = 0; i < XN_ARRAY_SIZE(used); i++)
		if (strcmp(xn_classes[used[i]].name, name) == 0)
			return &xn_classes[used[i]];
	return NULL;
}

static struct xn_value *known_fields(const struct xn_class *cls, const struct xn_value *snapshot)
{
	struct xn_value *known = xn_map_new();

	for (size_t i = 0; i < xn_map_len(snapshot); i++) {
		const char *key = xn_map_key_at(snapshot, i);
		int f = xn_field_find(cls, key);

		if (f >= 0 && !cls->fields[f].internal)
			xn_map_put(&known, key, xn_value_ref(xn_map_at(snapshot, i)));
	}
	return known;
}

static int read_object(struct xn_import_plan *plan, const struct xn_value *object,
		       struct xn_error *err)
{
	const struct xn_value *snapshot;
	const struct xn_class *cls;
	struct xn_value *known, *kept;

	if (object->kind != XN_MAP || !*text_of(object, "id") || !*text_of(object, "class"))
		return refuse(err, "an object of ova.xml has no class or id");
	snapshot = xn_map_get(object, "snapshot");
	if (!snapshot || snapshot->kind != XN_MAP)
		return refuse(err, "an object of ova.xml has no record");
	cls = class_of(text_of(object, "class"));
	if (!cls)
		return 0;
	known = known_fields(cls, snapshot);
	kept = xn_map_new();
	xn_map_put_string(&kept, "class", cls->name);
	xn_map_put(&kept, "snapshot", known);
	xn_map_put(&plan->objects, text_of(object, "id"), kept);
	return xn_rpc_check_record(plan->t->core, cls->name, known, err);
}

static int read_objects(struct xn_import_plan *plan, const struct xn_value *ova,
			struct xn_error *err)
{
	const struct xn_value *list = xn_map_get(ova, "objects");

	if (!list || list->kind != XN_SET || xn_set_len(list) > MAX_OBJECTS)
		return refuse(err, "ova.xml has no objects, or too many");
	plan->objects = xn_map_new();
	for (size_t i = 0; i < xn_set_len(list); i++)
		if (read_object(plan, xn_set_at(list, i), err) < 0)
			return -1;
	return 0;
}

/* Nobody else has seen any of it yet, so what is not kept is freed here, however much it is. */
int xn_import_plan_parse(struct xn_import_plan *plan, struct xn_value *ova, struct xn_error *err)
{
	int rc;

	if (ova->kind != XN_MAP)
		rc = refuse(err, "ova.xml is no struct");
	else
		rc = check_version(ova, err) < 0 ? -1 : read_objects(plan, ova, err);
	xn_value_unref(ova);
	if (rc < 0)
		xn_import_plan_let_go(plan);
	return rc;
}

/* ---- what is made of them ---- */

static struct xn_import_object *find(const struct xn_hmap *by_id, const char *id)
{
	struct xn_hnode *node = xn_hmap_first_same(by_id, xn_hash_string(id));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_import_object *object =
			xn_container_of(node, struct xn_import_object, node);

		if (strcmp(object->id, id) == 0)
			return object;
	}
	return NULL;
}

/* @list has room for every object of the archive. */
static struct xn_import_object *add(struct xn_import_plan *plan, struct xn_import_object *list,
				    size_t *n, struct xn_hmap *by_id, const char *id,
				    const struct xn_value *snapshot)
{
	struct xn_import_object *object = find(by_id, id);

	if (object)
		return object;
	object = &list[(*n)++];
	*object = (struct xn_import_object){.id = xn_strdup(id), .snapshot = snapshot};
	xn_ref_new(plan->t->core->loop, object->ref);
	xn_hmap_insert(by_id, &object->node, xn_hash_string(id));
	plan->rows++;
	return object;
}

static const char *ref_of(const struct xn_hmap *by_id, const char *id)
{
	const struct xn_import_object *object = find(by_id, id);

	return object ? object->ref : NULL;
}

/* Disks of which the archive has the content. */
static int add_disk(struct xn_import_plan *plan, const char *vbd_id, const struct xn_value *vbd,
		    struct xn_error *err)
{
	const char *id = text_of(vbd, "VDI");
	const struct xn_value *vdi = object_of(plan, id, "VDI");
	const struct xn_value *sr = vdi ? object_of(plan, text_of(vdi, "SR"), "SR") : NULL;
	struct xn_import_object *disk;

	plan->rows++;
	if (strcmp(text_of(vbd, "type"), "CD") == 0 || !vdi ||
	    (sr && strcmp(text_of(sr, "content_type"), "iso") == 0))
		return 0;
	disk = add(plan, plan->disks, &plan->n_disks, &plan->disks_by_id, id, vdi);
	disk->size = number_of(vdi, "virtual_size");
	return disk->size > 0 && disk->size <= DISK_MAX ? 0
							: refuse(err, "a disk of ova.xml has no size");
}

static bool is_reference(const struct xn_type *type)
{
	return type->kind == XN_T_REF || (type->kind == XN_T_SET && type->value->kind == XN_T_REF) ||
	       (type->kind == XN_T_MAP && type->value->kind == XN_T_REF);
}

/* What a creator may give of @snapshot, without references: they are another host's. */
static struct xn_value *fields_of(int class_id, const struct xn_value *snapshot,
				  struct xn_error *err)
{
	const struct xn_class *cls = &xn_classes[class_id];
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = xn_map_new();

	for (size_t i = 0; i < xn_map_len(snapshot); i++) {
		const char *key = xn_map_key_at(snapshot, i);
		int f = xn_field_find(cls, key);
		struct xn_value *value;

		if (f < 0 || cls->fields[f].internal || is_reference(cls->fields[f].type) ||
		    cls->fields[f].qualifier == XN_FIELD_RO_RUNTIME)
			continue;
		value = xn_type_check(cls->fields[f].type,
				      xn_value_ref(xn_map_at(snapshot, i)), key, err);
		if (!value)
			return NULL;
		xn_map_put(&record, cls->fields[f].name, value);
	}
	return xn_record_fields(cls, record);
}

/* Like VM.create's: an archive brings no key that its caller may not add. */
static int permit_vm(const struct xn_import_plan *plan, const struct xn_value *vm,
		     struct xn_error *err)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = fields_of(XN_CLASS_VM, vm, err);

	return fields ? xn_auth_permit_record(plan->caller, XN_CLASS_VM, fields, err) : -1;
}

static int add_vm(struct xn_import_plan *plan, const char *id, const struct xn_value *vm,
		  struct xn_error *err)
{
	const struct xn_row *there;

	if (strcmp(text_of(vm, "power_state"), "Suspended") == 0)
		return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, "importing a suspended VM");
	there = xn_db_by_uuid(plan->t->db, XN_CLASS_VM, text_of(vm, "uuid"));
	if (plan->restores && there)
		return xn_error_set(err, XN_ERR_DUPLICATE_VM, xn_row_ref(there));
	if (permit_vm(plan, vm, err) < 0)
		return -1;
	add(plan, plan->vms, &plan->n_vms, &plan->vms_by_id, id, vm);
	plan->rows++; /* its metrics */
	return 0;
}

static int add_vif(struct xn_import_plan *plan, const char *id, const struct xn_value *vif,
		   struct xn_error *err)
{
	const char *network_id = text_of(vif, "network");
	const struct xn_value *network = object_of(plan, network_id, "network");

	plan->rows++;
	if (network) /* one that is here may be gone when it is wanted */
		add(plan, plan->networks, &plan->n_networks, &plan->networks_by_id, network_id,
		    network);
	return 0;
}

/* ---- slices ---- */

typedef int each_object(struct xn_import_plan *plan, const char *id,
			const struct xn_value *snapshot, struct xn_error *err);

struct phase {
	const char *class_name;
	each_object *run;
};

/* As many as fit into a turn. 1: there are more; 0; -1 with @err. */
static int run_slice(struct xn_import_plan *plan, const struct phase *phases, size_t n_phases,
		     struct xn_error *err)
{
	struct xn_slice slice = {0};

	for (; plan->phase < n_phases; plan->phase++, plan->at = 0) {
		const struct phase *phase = &phases[plan->phase];

		while (plan->at < xn_map_len(plan->objects)) {
			const struct xn_value *object = xn_map_at(plan->objects, plan->at);
			const char *id = xn_map_key_at(plan->objects, plan->at);

			if (strcmp(text_of(object, "class"), phase->class_name) == 0) {
				if (!xn_slice_has_room(&slice, plan->t))
					return 1;
				if (phase->run(plan, id, xn_map_get(object, "snapshot"), err) < 0)
					return -1;
			}
			plan->at++;
		}
	}
	plan->phase = 0;
	return 0;
}

int xn_import_plan_read(struct xn_import_plan *plan, struct xn_error *err)
{
	static const struct phase phases[] = {{"VM", add_vm}, {"VBD", add_disk}, {"VIF", add_vif}};
	int rc;

	if (!plan->vms) {
		plan->vms = xn_calloc(xn_map_len(plan->objects) + 1, sizeof(*plan->vms));
		plan->disks = xn_calloc(xn_map_len(plan->objects) + 1, sizeof(*plan->disks));
		plan->networks = xn_calloc(xn_map_len(plan->objects) + 1, sizeof(*plan->networks));
	}
	rc = run_slice(plan, phases, XN_ARRAY_SIZE(phases), err);
	if (rc != 0)
		return rc;
	if (!plan->n_vms)
		return refuse(err, "ova.xml has no VM");
	return xn_db_check_room(plan->t->db, plan->rows, err);
}

void xn_import_plan_let_go(struct xn_import_plan *plan)
{
	xn_value_unref(plan->objects);
	plan->objects = NULL;
}

static void clear_list(struct xn_import_object *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i].id);
	free(list);
}

void xn_import_plan_clear(struct xn_import_plan *plan)
{
	clear_list(plan->disks, plan->n_disks);
	clear_list(plan->vms, plan->n_vms);
	clear_list(plan->networks, plan->n_networks);
	xn_hmap_clear(&plan->disks_by_id);
	xn_hmap_clear(&plan->vms_by_id);
	xn_hmap_clear(&plan->networks_by_id);
	xn_import_plan_let_go(plan);
	plan->disks = plan->vms = plan->networks = NULL;
	plan->n_disks = plan->n_vms = plan->n_networks = 0;
}

/* ---- records ---- */

static struct xn_value *copy_of(const struct xn_value *v)
{
	struct xn_value *copy;

	switch ((enum xn_kind)v->kind) {
	case XN_STRING:
		return xn_string_len(xn_value_string(v), xn_value_string_len(v));
	case XN_INT:
		return xn_int(xn_value_int(v));
	case XN_DATETIME:
		return xn_datetime(xn_value_int(v));
	case XN_FLOAT:
		return xn_float(xn_value_float(v));
	case XN_BOOL:
		return xn_bool(xn_value_bool(v));
	case XN_SET:
		copy = xn_set_new();
		for (size_t i = 0; i < xn_set_len(v); i++)
			xn_set_append(&copy, copy_of(xn_set_at(v, i)));
		return copy;
	case XN_MAP:
		copy = xn_map_new();
		for (size_t i = 0; i < xn_map_len(v); i++)
			xn_map_put(&copy, xn_map_key_at(v, i), copy_of(xn_map_at(v, i)));
		return copy;
	default:
		return xn_nil();
	}
}

/* For a row, which stays on the loop when a worker frees the archive's values. */
static struct xn_value *row_fields(int class_id, const struct xn_value *snapshot,
				   struct xn_error *err)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *fields = fields_of(class_id, snapshot, err);

	return fields ? copy_of(fields) : NULL;
}

static void drop_key(struct xn_value **fields, const char *field, const char *key)
{
	const struct xn_value *map = xn_map_get(*fields, field);
	struct xn_value *copy;

	if (!map || !xn_map_get(map, key))
		return;
	copy = xn_value_ref(map);
	xn_map_remove(&copy, key);
	xn_map_put(fields, field, copy);
}

struct xn_value *xn_import_disk_record(const struct xn_import_plan *plan,
				       const struct xn_import_object *disk, const char *operation,
				       struct xn_error *err)
{
	struct xn_value *fields = row_fields(XN_CLASS_VDI, disk->snapshot, err);
	struct xn_value *current;

	if (!fields)
		return NULL;
	xn_map_remove(&fields, "sm_config"); /* of the storage it came from */
	xn_map_remove(&fields, "location");
	xn_map_put(&fields, "read_only", xn_bool(false)); /* it is written yet */
	xn_map_put_string(&fields, "SR", plan->sr);
	current = xn_map_new();
	xn_map_put_string(&current, plan->task, operation);
	xn_map_put(&fields, "current_operations", current);
	return fields;
}

static int make_vm(struct xn_import_plan *plan, const char *id, const struct xn_value *snapshot,
		   struct xn_error *err)
{
	struct xn_transfers *t = plan->t;
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *fields = row_fields(XN_CLASS_VM, snapshot, err);
	struct xn_row *vm;

	if (!fields || xn_db_check_room(t->db, 2, err) < 0)
		return -1;
	if (!plan->restores)
		drop_key(&fields, "other_config", "mac_seed");
	else if (*text_of(snapshot, "uuid"))
		xn_map_put_string(&fields, "uuid", text_of(snapshot, "uuid"));
	xn_map_remove(&fields, "generation_id");
	xn_map_put_string(&fields, "power_state", "Halted");
	vm = xn_vm_new_ref(t->core, ref_of(&plan->vms_by_id, id), fields, err);
	if (!vm)
		return -1;
	xn_import_hold_vm(t, xn_row_ref(vm), plan->task);
	return 0;
}

/* An image of the same name in a library here; else the drive stays empty. */
static const char *find_iso(struct xn_db *db, const char *location)
{
	for (struct xn_row *vdi = xn_db_first(db, XN_CLASS_VDI); vdi; vdi = xn_db_next(db, vdi)) {
		const struct xn_row *sr = xn_row_follow(db, vdi, XN_VDI_SR);

		if (sr && strcmp(xn_row_string(sr, XN_SR_content_type), "iso") == 0 &&
		    strcmp(xn_row_string(vdi, XN_VDI_location), location) == 0)
			return xn_row_ref(vdi);
	}
	return NULL;
}

static int make_vbd(struct xn_import_plan *plan, const char *id, const struct xn_value *snapshot,
		    struct xn_error *err)
{
	struct xn_transfers *t = plan->t;
	const char *vm = ref_of(&plan->vms_by_id, text_of(snapshot, "VM"));
	const char *vdi = ref_of(&plan->disks_by_id, text_of(snapshot, "VDI"));
	const struct xn_value *medium = object_of(plan, text_of(snapshot, "VDI"), "VDI");
	bool is_cd = strcmp(text_of(snapshot, "type"), "CD") == 0;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;

	if (!vm)
		return xn_error_set(err, XN_ERR_IMPORT_ERROR_FAILED_TO_FIND_OBJECT,
				    text_of(snapshot, "VM"));
	if (!vdi && is_cd && medium && !flag_of(snapshot, "empty"))
		vdi = find_iso(t->db, text_of(medium, "location"));
	if (!vdi && !is_cd)
		return 0; /* an image that was attached as a disk */
	fields = row_fields(XN_CLASS_VBD, snapshot, err);
	if (!fields || xn_db_check_room(t->db, 1, err) < 0)
		return -1;
	xn_map_put_string(&fields, "VM", vm);
	xn_map_put_string(&fields, "VDI", vdi ? vdi : XN_NULL_REF);
	xn_map_put(&fields, "empty", xn_bool(!vdi));
	return xn_vbd_new(t->core, fields, err) ? 0 : -1;
}

/* By its name, as whoever chose that meant it, or its bridge. */
static const struct xn_row *network_like(struct xn_db *db, const struct xn_value *network)
{
	const char *name = text_of(network, "name_label"), *bridge = text_of(network, "bridge");
	const struct xn_row *by_bridge = NULL;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_network); row; row = xn_db_next(db, row)) {
		if (strcmp(xn_row_string(row, XN_network_name_label), name) == 0)
			return row;
		if (*bridge && strcmp(xn_row_string(row, XN_network_bridge), bridge) == 0)
			by_bridge = row;
	}
	return by_bridge;
}

/* One that is here, or a new one. */
static const struct xn_row *get_network(struct xn_import_plan *plan, const char *id,
					const struct xn_value *network, struct xn_error *err)
{
	struct xn_db *db = plan->t->db;
	const char *ref = ref_of(&plan->networks_by_id, id);
	const struct xn_row *row = xn_db_get(db, XN_CLASS_network, ref); /* made before */
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;

	if (!row)
		row = network_like(db, network);
	if (row)
		return row;
	fields = row_fields(XN_CLASS_network, network, err);
	if (!fields || xn_db_check_room(db, 1, err) < 0)
		return NULL;
	xn_map_remove(&fields, "bridge");
	return xn_network_new(xn_network_of(plan->t->core), ref, fields);
}

static int make_vif(struct xn_import_plan *plan, const char *id, const struct xn_value *snapshot,
		    struct xn_error *err)
{
	const char *vm = ref_of(&plan->vms_by_id, text_of(snapshot, "VM"));
	const char *network_id = text_of(snapshot, "network");
	const struct xn_value *given = object_of(plan, network_id, "network");
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;
	const struct xn_row *network;

	if (!vm || !given)
		return xn_error_set(err, XN_ERR_IMPORT_ERROR_FAILED_TO_FIND_OBJECT,
				    text_of(snapshot, vm ? "network" : "VM"));
	network = get_network(plan, network_id, given, err);
	fields = network ? row_fields(XN_CLASS_VIF, snapshot, err) : NULL;
	if (!fields || xn_db_check_room(plan->t->db, 1, err) < 0)
		return -1;
	if (!plan->restores)
		xn_map_put_string(&fields, "MAC", "");
	xn_map_put_string(&fields, "VM", vm);
	xn_map_put_string(&fields, "network", xn_row_ref(network));
	return xn_vif_new(plan->t->core, fields, err) ? 0 : -1;
}

int xn_import_make_rows(struct xn_import_plan *plan, struct xn_error *err)
{
	static const struct phase phases[] = {{"VM", make_vm}, {"VBD", make_vbd}, {"VIF", make_vif}};
	int rc = run_slice(plan, phases, XN_ARRAY_SIZE(phases), err);
	struct xn_row *row = rc ? NULL : xn_db_get(plan->t->db, XN_CLASS_task, plan->task);

	if (row) /* programs that change networks wait for it */
		xn_db_map_put(plan->t->db, row, XN_task_other_config, "object_creation", "complete");
	return rc;
}
