/*
 * What may be done with a VDI and with an SR, and why not: for each operation a list of checks in
 * the order in which clients expect the errors. allowed_operations and refusals come from the same
 * lists.
 */
#include <string.h>

#include "modules/storage/storage_internal.h"

struct asked {
	struct xn_db *db;
	struct xn_row *row, *sr, *pool;
	const char *operation, *self;
	const char *feature; /* that the SR's driver must have */
	struct xn_error *err;
};

typedef int check(const struct asked *a);

static const char *ref_of(const struct asked *a)
{
	return xn_row_ref(a->row);
}

/* ---- shared by both classes ---- */

static int not_upgrading(const struct asked *a)
{
	return xn_pool_is_upgrading(a->db)
		       ? xn_error_set(a->err, XN_ERR_NOT_SUPPORTED_DURING_UPGRADE)
		       : 0;
}

/* The record of the SR's driver, or NULL. */
static const struct xn_row *driver_of(const struct asked *a)
{
	return a->sr ? xn_sm_of_type(a->db, xn_row_string(a->sr, XN_SR_type)) : NULL;
}

static int has_feature(const struct asked *a)
{
	const struct xn_row *driver = driver_of(a);
	bool tools = /* the SR of the guest tools stays as it is */
		a->sr == a->row && xn_row_bool(a->sr, XN_SR_is_tools_sr) &&
		(strcmp(a->feature, "VDI_CREATE") == 0 || strcmp(a->feature, "VDI_DELETE") == 0);

	if (!tools && driver && xn_map_get(xn_row_get(driver, XN_SM_features), a->feature))
		return 0;
	return xn_error_set(a->err, XN_ERR_SR_OPERATION_NOT_SUPPORTED,
			    a->sr ? xn_row_ref(a->sr) : XN_NULL_REF);
}

static bool ha_is_enabled(const struct asked *a)
{
	return a->pool && xn_row_bool(a->pool, XN_pool_ha_enabled);
}

static bool pool_is_doing(const struct asked *a, const char *operation)
{
	const struct xn_value *current =
		a->pool ? xn_row_get(a->pool, XN_pool_current_operations) : NULL;

	for (size_t i = 0; current && i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), operation) == 0)
			return true;
	return false;
}

/* ---- VDI ---- */

static int refuse_busy(const struct asked *a, const char *operation, const char *task)
{
	return xn_error_set(a->err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "VDI", ref_of(a), operation,
			    task);
}

/* Copies go on beside anything that does not change the disk. */
static int idle(const struct asked *a)
{
	const struct xn_value *current = xn_row_get(a->row, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *task = xn_map_key_at(current, i);
		const char *operation = xn_value_string(xn_map_at(current, i));

		if (strcmp(operation, "copy") != 0 && !(a->self && strcmp(task, a->self) == 0))
			return refuse_busy(a, operation, task);
	}
	return 0;
}

/* What changes or removes the disk waits for who copies it: the copy would be torn. */
static int idle_and_not_copied(const struct asked *a)
{
	const struct xn_value *current = xn_row_get(a->row, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *task = xn_map_key_at(current, i);

		if (!(a->self && strcmp(task, a->self) == 0))
			return refuse_busy(a, xn_value_string(xn_map_at(current, i)), task);
	}
	return 0;
}

/* A disk that is being mirrored away may be destroyed. */
static int idle_or_mirrored(const struct asked *a)
{
	const struct xn_value *current = xn_row_get(a->row, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), "mirror") == 0)
			return 0;
	return idle_and_not_copied(a);
}

static int sr_is_attached(const struct asked *a)
{
	const struct xn_value *pbds = a->sr ? xn_row_get(a->sr, XN_SR_PBDs) : NULL;

	for (size_t i = 0; pbds && i < xn_set_len(pbds); i++) {
		const struct xn_row *pbd =
			xn_db_get(a->db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));

		if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached))
			return 0;
	}
	return xn_error_set(a->err, XN_ERR_SR_HAS_NO_PBDS, a->sr ? xn_row_ref(a->sr) : XN_NULL_REF);
}

static const struct xn_row *vbd_at(const struct asked *a, size_t i)
{
	const struct xn_value *vbds = xn_row_get(a->row, XN_VDI_VBDs);

	return xn_db_get(a->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
}

static size_t n_vbds(const struct asked *a)
{
	return xn_set_len(xn_row_get(a->row, XN_VDI_VBDs));
}

static bool is_active(const struct xn_row *vbd)
{
	return vbd &&
	       (xn_row_bool(vbd, XN_VBD_currently_attached) || xn_row_bool(vbd, XN_VBD_reserved));
}

static int refuse_in_use(const struct asked *a)
{
	return xn_error_set(a->err, XN_ERR_VDI_IN_USE, ref_of(a), a->operation);
}

static int unused(const struct asked *a)
{
	for (size_t i = 0; i < n_vbds(a); i++)
		if (is_active(vbd_at(a, i)))
			return refuse_in_use(a);
	return 0;
}

static int not_written(const struct asked *a)
{
	for (size_t i = 0; i < n_vbds(a); i++) {
		const struct xn_row *vbd = vbd_at(a, i);

		if (is_active(vbd) && strcmp(xn_row_string(vbd, XN_VBD_mode), "RW") == 0)
			return refuse_in_use(a);
	}
	return 0;
}

static int unused_but_by_snapshots(const struct asked *a)
{
	for (size_t i = 0; i < n_vbds(a); i++) {
		const struct xn_row *vbd = vbd_at(a, i);
		const struct xn_row *vm = vbd ? xn_row_follow(a->db, vbd, XN_VBD_VM) : NULL;

		if (is_active(vbd) && !(vm && xn_row_bool(vm, XN_VM_is_a_snapshot)))
			return refuse_in_use(a);
	}
	return 0;
}

static int vbds_idle(const struct asked *a)
{
	for (size_t i = 0; i < n_vbds(a); i++) {
		const struct xn_row *vbd = vbd_at(a, i);
		const struct xn_value *current =
			vbd ? xn_row_get(vbd, XN_VBD_current_operations) : NULL;

		for (size_t k = 0; current && k < xn_map_len(current); k++)
			if (!a->self || strcmp(xn_map_key_at(current, k), a->self) != 0)
				return refuse_busy(a, xn_value_string(xn_map_at(current, k)),
						   xn_map_key_at(current, k));
	}
	return 0;
}

/* How the error names a type. */
static const struct {
	const char *type, *label;
} type_labels[] = {
	{"system", "System"},
	{"user", "User"},
	{"ephemeral", "Ephemeral"},
	{"suspend", "Suspend"},
	{"crashdump", "Crashdump"},
	{"ha_statefile", "HA statefile"},
	{"metadata", "Metadata"},
	{"redo_log", "Redo log"},
	{"rrd", "rrd"},
	{"pvs_cache", "PVS cache"},
	{"cbt_metadata", "CBT metadata"},
};

static int refuse_type(const struct asked *a)
{
	const char *type = xn_row_string(a->row, XN_VDI_type);

	for (unsigned i = 0; i < XN_ARRAY_SIZE(type_labels); i++)
		if (strcmp(type, type_labels[i].type) == 0)
			return xn_error_set(a->err, XN_ERR_VDI_INCOMPATIBLE_TYPE, ref_of(a),
					    type_labels[i].label);
	return xn_error_set(a->err, XN_ERR_VDI_INCOMPATIBLE_TYPE, ref_of(a), type);
}

static bool is_type(const struct asked *a, const char *type)
{
	return strcmp(xn_row_string(a->row, XN_VDI_type), type) == 0;
}

static bool is_ha_type(const struct asked *a)
{
	return is_type(a, "ha_statefile") || is_type(a, "redo_log");
}

static int has_data(const struct asked *a)
{
	return is_type(a, "cbt_metadata") ? refuse_type(a) : 0;
}

static int is_a_disk_type(const struct asked *a)
{
	return is_type(a, "user") || is_type(a, "system") ? 0 : refuse_type(a);
}

static int without_cbt(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_cbt_enabled)
		       ? xn_error_set(a->err, XN_ERR_VDI_CBT_ENABLED, ref_of(a))
		       : 0;
}

static int with_cbt(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_cbt_enabled)
		       ? 0
		       : xn_error_set(a->err, XN_ERR_VDI_NO_CBT_METADATA, ref_of(a));
}

static int not_a_snapshot(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_is_a_snapshot)
		       ? xn_error_set(a->err, XN_ERR_OPERATION_NOT_ALLOWED, "the VDI is a snapshot")
		       : 0;
}

static int a_snapshot(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_is_a_snapshot)
		       ? 0
		       : xn_error_set(a->err, XN_ERR_OPERATION_NOT_ALLOWED,
				      "the VDI is not a snapshot");
}

static int a_snapshot_to_revert_to(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_is_a_snapshot)
		       ? 0
		       : xn_error_set(a->err, XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT);
}

static int not_sharable(const struct asked *a)
{
	return xn_row_bool(a->row, XN_VDI_sharable)
		       ? xn_error_set(a->err, XN_ERR_VDI_IS_SHARABLE, ref_of(a))
		       : 0;
}

static int persists(const struct asked *a)
{
	return strcmp(xn_row_string(a->row, XN_VDI_on_boot), "reset") == 0
		       ? xn_error_set(a->err, XN_ERR_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION)
		       : 0;
}

static int not_being_copied(const struct asked *a)
{
	const struct xn_value *current = xn_row_get(a->row, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), "copy") == 0)
			return xn_error_set(a->err, XN_ERR_OPERATION_NOT_ALLOWED,
					    "the VDI is being copied");
	return 0;
}

static int not_of_ha(const struct asked *a)
{
	return is_ha_type(a) ? xn_error_set(a->err, XN_ERR_OPERATION_NOT_ALLOWED,
					    "the VDI belongs to high availability")
			     : 0;
}

static int not_needed_by_ha(const struct asked *a)
{
	return is_ha_type(a) && ha_is_enabled(a) ? xn_error_set(a->err, XN_ERR_HA_IS_ENABLED) : 0;
}

static int not_wanted_by_ha(const struct asked *a)
{
	if (!is_ha_type(a))
		return 0;
	if (ha_is_enabled(a))
		return xn_error_set(a->err, XN_ERR_HA_IS_ENABLED);
	if (pool_is_doing(a, "ha_enable"))
		return xn_error_set(a->err, XN_ERR_HA_ENABLE_IN_PROGRESS);
	if (pool_is_doing(a, "ha_disable"))
		return xn_error_set(a->err, XN_ERR_HA_DISABLE_IN_PROGRESS);
	return 0;
}

static int not_physical(const struct asked *a)
{
	return a->sr && strcmp(xn_row_string(a->sr, XN_SR_type), "udev") == 0
		       ? xn_error_set(a->err, XN_ERR_VDI_IS_A_PHYSICAL_DEVICE, ref_of(a))
		       : 0;
}

static int not_of_the_tools(const struct asked *a)
{
	return a->sr && xn_row_bool(a->sr, XN_SR_is_tools_sr)
		       ? xn_error_set(a->err, XN_ERR_SR_OPERATION_NOT_SUPPORTED, xn_row_ref(a->sr))
		       : 0;
}

static int without_statistics(const struct asked *a)
{
	return is_type(a, "rrd") ? xn_error_set(a->err, XN_ERR_VDI_HAS_RRDS, ref_of(a)) : 0;
}

enum { MAX_CHECKS = 12 };

static const struct rule {
	const char *operation, *feature;
	check *checks[MAX_CHECKS];
} vdi_rules[] = {
	{"blocked", NULL, {idle, vbds_idle}},
	{"clone", "VDI_CLONE", {idle, vbds_idle, has_feature, has_data}},
	{"copy", NULL, {idle, not_written, vbds_idle, has_data, persists, not_of_ha}},
	{"data_destroy",
	 "VDI_CONFIG_CBT",
	 {not_upgrading, idle_and_not_copied, has_feature, a_snapshot, with_cbt, not_physical,
	  not_of_the_tools, without_statistics, not_wanted_by_ha}},
	{"destroy",
	 "VDI_DELETE",
	 {idle_or_mirrored, unused, vbds_idle, has_feature, not_physical, not_of_the_tools,
	  without_statistics, not_wanted_by_ha}},
	{"disable_cbt",
	 "VDI_CONFIG_CBT",
	 {not_upgrading, idle, vbds_idle, has_feature, has_data, not_a_snapshot, is_a_disk_type,
	  persists}},
	{"enable_cbt",
	 "VDI_CONFIG_CBT",
	 {not_upgrading, idle, vbds_idle, has_feature, has_data, not_a_snapshot, is_a_disk_type,
	  persists}},
	{"force_unlock", NULL, {idle, unused, vbds_idle}},
	{"forget",
	 NULL,
	 {idle_and_not_copied, unused, vbds_idle, not_needed_by_ha, without_statistics}},
	{"generate_config", "VDI_GENERATE_CONFIG", {idle, unused, vbds_idle, has_feature}},
	{"list_changed_blocks",
	 "VDI_CONFIG_CBT",
	 {not_upgrading, idle, unused_but_by_snapshots, vbds_idle, has_feature}},
	{"mirror",
	 "VDI_MIRROR",
	 {not_upgrading, idle, vbds_idle, has_feature, has_data, without_cbt}},
	{"resize",
	 "VDI_RESIZE",
	 {idle_and_not_copied, sr_is_attached, unused, vbds_idle, has_feature, has_data,
	  not_needed_by_ha}},
	{"resize_online",
	 "VDI_RESIZE_ONLINE",
	 {idle_and_not_copied, vbds_idle, has_feature, has_data, not_needed_by_ha}},
	{"revert_from",
	 "VDI_CLONE",
	 {not_upgrading, idle_and_not_copied, unused, vbds_idle, has_feature, has_data,
	  not_physical, not_of_the_tools, without_statistics, not_wanted_by_ha}},
	{"revert_to",
	 "VDI_CLONE",
	 {not_upgrading, idle, vbds_idle, has_feature, has_data, a_snapshot_to_revert_to}},
	{"set_on_boot",
	 "VDI_RESET_ON_BOOT",
	 {not_upgrading, idle, unused, vbds_idle, has_feature, has_data, without_cbt}},
	{"snapshot",
	 "VDI_SNAPSHOT",
	 {idle, vbds_idle, has_feature, has_data, not_sharable, persists, not_being_copied}},
	{"update", "VDI_UPDATE", {idle_and_not_copied, unused, vbds_idle, has_feature}},
};

static int run_checks(struct asked *a, const struct rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rules[i].operation, a->operation) != 0)
			continue;
		a->feature = rules[i].feature;
		for (unsigned k = 0; k < MAX_CHECKS && rules[i].checks[k]; k++)
			if (rules[i].checks[k](a) < 0)
				return -1;
	}
	return 0;
}

static int refuse_on_vdi(struct xn_db *db, struct xn_row *row, const char *operation,
			 const char *self, struct xn_error *err)
{
	struct asked a = {
		.db = db,
		.row = row,
		.sr = xn_row_follow(db, row, XN_VDI_SR),
		.pool = xn_db_first(db, XN_CLASS_pool),
		.operation = operation,
		.self = self,
		.err = err,
	};

	return run_checks(&a, vdi_rules, XN_ARRAY_SIZE(vdi_rules));
}

static const char *const vdi_advertised[] = {
	"clone",   "copy",   "resize", "resize_online",   "snapshot",
	"destroy", "forget", "update", "generate_config", NULL};

/* ---- SR ---- */

static int nothing_attached(const struct asked *a)
{
	return sr_is_attached(&(struct asked){.db = a->db, .sr = a->row}) < 0
		       ? 0
		       : xn_error_set(a->err, XN_ERR_SR_HAS_PBD, ref_of(a));
}

static int has_pbds(const struct asked *a)
{
	return xn_set_len(xn_row_get(a->row, XN_SR_PBDs))
		       ? 0
		       : xn_error_set(a->err, XN_ERR_SR_HAS_NO_PBDS, ref_of(a));
}

static int is_empty(const struct asked *a)
{
	const struct xn_value *vdis = xn_row_get(a->row, XN_SR_VDIs);

	for (size_t i = 0; i < xn_set_len(vdis); i++) {
		const struct xn_row *vdi =
			xn_db_get(a->db, XN_CLASS_VDI, xn_value_string(xn_set_at(vdis, i)));

		if (vdi && xn_row_bool(vdi, XN_VDI_managed) &&
		    strcmp(xn_row_string(vdi, XN_VDI_type), "rrd") != 0)
			return xn_error_set(a->err, XN_ERR_SR_NOT_EMPTY);
	}
	return 0;
}

/* vdi_create is called VDI.create in errors, pbd_destroy PBD.destroy; others as they are. */
static int refuse_sr_busy(const struct asked *a, const char *operation, const char *task)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *name = NULL;

	if (strncmp(operation, "vdi_", 4) == 0)
		name = xn_stringf("VDI.%s", operation + 4);
	else if (strncmp(operation, "pbd_", 4) == 0)
		name = xn_stringf("PBD.%s", operation + 4);
	else
		name = xn_string(operation);
	return xn_error_set(a->err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "SR", ref_of(a),
			    xn_value_string(name), task);
}

static int sr_idle_but_for(const struct asked *a, const char *allowed)
{
	const struct xn_value *current = xn_row_get(a->row, XN_SR_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *task = xn_map_key_at(current, i);
		const char *operation = xn_value_string(xn_map_at(current, i));

		if (!(a->self && strcmp(task, a->self) == 0) &&
		    !(allowed && strcmp(operation, allowed) == 0))
			return refuse_sr_busy(a, operation, task);
	}
	return 0;
}

static int sr_idle(const struct asked *a)
{
	return sr_idle_but_for(a, NULL);
}

static int sr_idle_or_plugging(const struct asked *a)
{
	return sr_idle_but_for(a, "plug");
}

/* While HA watches the hosts, a driver that needs cluster software needs that which HA runs on. */
static int fits_ha_stack(const struct asked *a)
{
	const struct xn_row *driver = driver_of(a);
	const struct xn_value *wanted =
		driver ? xn_row_get(driver, XN_SM_required_cluster_stack) : NULL;
	struct xn_buf names XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!ha_is_enabled(a))
		return 0;
	if (!driver)
		return xn_error_set(a->err, XN_ERR_INTERNAL_ERROR, "no driver for this SR");
	if (xn_set_len(wanted) == 0 ||
	    xn_set_has_string(wanted, xn_row_string(a->pool, XN_pool_ha_cluster_stack)))
		return 0;
	for (size_t i = 0; i < xn_set_len(wanted); i++) {
		xn_buf_add_string(&names, i ? "," : "");
		xn_buf_add_string(&names, xn_value_string(xn_set_at(wanted, i)));
	}
	return xn_error_set(a->err, XN_ERR_INCOMPATIBLE_CLUSTER_STACK_ACTIVE, xn_buf_cstr(&names));
}

static const struct rule sr_rules[] = {
	{"destroy", NULL, {nothing_attached, has_pbds, is_empty, sr_idle}},
	{"forget", NULL, {nothing_attached, sr_idle}},
	{"pbd_create", NULL, {sr_idle}},
	{"pbd_destroy", NULL, {sr_idle}},
	{"plug", NULL, {sr_idle_or_plugging, fits_ha_stack}},
	{"scan", NULL, {sr_idle}},
	{"unplug", NULL, {sr_idle}},
	{"update", "SR_UPDATE", {has_feature, sr_idle}},
	{"vdi_clone", NULL, {sr_idle}},
	{"vdi_create", "VDI_CREATE", {has_feature, sr_idle}},
	{"vdi_data_destroy", "VDI_CONFIG_CBT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_destroy", "VDI_DELETE", {has_feature, sr_idle}},
	{"vdi_disable_cbt", "VDI_CONFIG_CBT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_enable_cbt", "VDI_CONFIG_CBT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_introduce", "VDI_INTRODUCE", {has_feature, sr_idle}},
	{"vdi_list_changed_blocks", "VDI_CONFIG_CBT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_mirror", "VDI_MIRROR", {not_upgrading, has_feature, sr_idle}},
	{"vdi_resize", "VDI_RESIZE", {has_feature, sr_idle}},
	{"vdi_revert", "VDI_REVERT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_set_on_boot", "VDI_RESET_ON_BOOT", {not_upgrading, has_feature, sr_idle}},
	{"vdi_snapshot", "VDI_SNAPSHOT", {has_feature, sr_idle}},
};

static int refuse_on_sr(struct xn_db *db, struct xn_row *row, const char *operation,
			const char *self, struct xn_error *err)
{
	struct asked a = {
		.db = db,
		.row = row,
		.sr = row,
		.pool = xn_db_first(db, XN_CLASS_pool),
		.operation = operation,
		.self = self,
		.err = err,
	};

	return run_checks(&a, sr_rules, XN_ARRAY_SIZE(sr_rules));
}

static const char *const sr_advertised[] = {
	"scan",
	"destroy",
	"forget",
	"plug",
	"unplug",
	"update",
	"vdi_create",
	"vdi_introduce",
	"vdi_destroy",
	"vdi_resize",
	"vdi_clone",
	"vdi_snapshot",
	"vdi_mirror",
	"vdi_enable_cbt",
	"vdi_disable_cbt",
	"vdi_data_destroy",
	"vdi_list_changed_blocks",
	"vdi_set_on_boot",
	"vdi_revert",
	"pbd_create",
	"pbd_destroy",
	NULL,
};

/* ---- both ---- */

static const struct xn_operation_rules rules[] = {
	{
		.class_id = XN_CLASS_VDI,
		.current_field = XN_VDI_current_operations,
		.allowed_field = XN_VDI_allowed_operations,
		.advertised = vdi_advertised,
		.refuse = refuse_on_vdi,
	},
	{
		.class_id = XN_CLASS_SR,
		.current_field = XN_SR_current_operations,
		.allowed_field = XN_SR_allowed_operations,
		.advertised = sr_advertised,
		.refuse = refuse_on_sr,
	},
};

void xn_storage_register_rules(struct xn_operations *operations)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++)
		xn_operation_register_rules(operations, &rules[i]);
}

struct xn_row *xn_sr_vdi_in_use(struct xn_storage *st, const struct xn_row *sr)
{
	static const char *const ignored[] = {"metadata", NULL};
	const struct xn_value *vdis = xn_row_get(sr, XN_SR_VDIs);

	for (size_t i = 0; i < xn_set_len(vdis); i++) {
		struct xn_row *vdi =
			xn_db_get(st->db, XN_CLASS_VDI, xn_value_string(xn_set_at(vdis, i)));
		struct asked a = {.db = st->db, .row = vdi, .operation = ""};
		struct xn_error in_use = {0};
		int rc;

		if (!vdi || xn_is_one_of(xn_row_string(vdi, XN_VDI_type), ignored))
			continue;
		a.err = &in_use;
		rc = unused(&a);
		xn_error_clear(&in_use);
		if (rc < 0)
			return vdi;
	}
	return NULL;
}
