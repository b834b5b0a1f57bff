/*
 * What may be done with disks, repositories, hosts and the pool: for each rule a state in which it
 * refuses, told by the operation's error, and gone from allowed_operations.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/auth/auth.h"
#include "modules/event/event.h"
#include "modules/host/host.h"
#include "modules/message/message.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/storage/storage.h"
#include "modules/task/task.h"
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static const struct xn_module *const modules[] = {
	&xn_db_module,      &xn_auth_module,
	&xn_task_module,    &xn_event_module,
	&xn_message_module, &xn_records_module,
	&xn_host_module,    &xn_operation_module,
	&xn_storage_module, NULL,
};

#define TASK "OpaqueRef:00000000-0000-4000-8000-00000000abcd"

/* The objects that a state is made of. */
struct scene {
	struct xn_db *db;
	struct xn_row *vdi, *sr, *pbd, *host, *pool, *vm, *vbd;
};

static int setup(void **state)
{
	return api_setup_with(state, modules);
}

static struct xn_row *make_row(struct scene *s, int class_id, const char *const *fields)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

	for (; fields && *fields; fields += 2)
		xn_map_put_string(&v, fields[0], fields[1]);
	return xn_db_create(s->db, class_id, NULL, v);
}

/* A disk on a repository of its own, which is attached; a VM with a VBD that is not. */
static void set_scene(struct api *api, struct scene *s)
{
	const char *host = xn_host_ref(xn_host_of(&api->core));

	*s = (struct scene){.db = api->db};
	s->host = xn_db_get(api->db, XN_CLASS_host, host);
	s->pool = xn_db_first(api->db, XN_CLASS_pool);
	s->sr = make_row(s, XN_CLASS_SR, (const char *[]){"type", "file", NULL});
	s->pbd = make_row(s, XN_CLASS_PBD,
			  (const char *[]){"SR", xn_row_ref(s->sr), "host", host, NULL});
	xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, true);
	s->vdi = make_row(s, XN_CLASS_VDI,
			  (const char *[]){"SR", xn_row_ref(s->sr), "type", "user", NULL});
	xn_db_set_bool(s->db, s->vdi, XN_VDI_managed, true);
	s->vm = make_row(s, XN_CLASS_VM, NULL);
	s->vbd = make_row(s, XN_CLASS_VBD,
			  (const char *[]){"VDI", xn_row_ref(s->vdi), "VM", xn_row_ref(s->vm),
					   "mode", "RW", "type", "Disk", NULL});
}

/* ---- states ---- */

static void as_it_is(struct scene *s)
{
}

static void vdi_is(struct scene *s, const char *operation)
{
	xn_db_map_put(s->db, s->vdi, XN_VDI_current_operations, TASK, operation);
}

static void vdi_busy(struct scene *s)
{
	vdi_is(s, "resize");
}

static void vdi_copied(struct scene *s)
{
	vdi_is(s, "copy");
}

static void vdi_mirrored(struct scene *s)
{
	vdi_is(s, "mirror");
}

static void attached_for_writing(struct scene *s)
{
	xn_db_set_bool(s->db, s->vbd, XN_VBD_currently_attached, true);
}

static void attached_for_reading(struct scene *s)
{
	attached_for_writing(s);
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, "RO");
}

static void attached_to_a_snapshot(struct scene *s)
{
	attached_for_writing(s);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, true);
}

static void reserved(struct scene *s)
{
	xn_db_set_bool(s->db, s->vbd, XN_VBD_reserved, true);
}

static void vbd_busy(struct scene *s)
{
	xn_db_map_put(s->db, s->vbd, XN_VBD_current_operations, TASK, "plug");
}

static void in_a_library(struct scene *s)
{
	xn_db_set_string(s->db, s->sr, XN_SR_type, "iso");
}

static void unknown_driver(struct scene *s)
{
	xn_db_set_string(s->db, s->sr, XN_SR_type, "nosuch");
}

static void physical(struct scene *s)
{
	xn_db_set_string(s->db, s->sr, XN_SR_type, "udev");
}

static void of_the_tools(struct scene *s)
{
	xn_db_set_bool(s->db, s->sr, XN_SR_is_tools_sr, true);
}

static void change_metadata(struct scene *s)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "cbt_metadata");
}

static void statistics(struct scene *s)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "rrd");
}

static void sharable(struct scene *s)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_sharable, true);
}

static void reset_on_boot(struct scene *s)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_on_boot, "reset");
}

static void of_ha(struct scene *s)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "ha_statefile");
}

static void needed_by_ha(struct scene *s)
{
	of_ha(s);
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, true);
}

static void pool_does(struct scene *s, const char *operation)
{
	xn_db_map_put(s->db, s->pool, XN_pool_current_operations, TASK, operation);
}

static void wanted_by_ha(struct scene *s)
{
	of_ha(s);
	pool_does(s, "ha_enable");
}

static void left_by_ha(struct scene *s)
{
	of_ha(s);
	pool_does(s, "ha_disable");
}

static void detached(struct scene *s)
{
	xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, false);
}

static void without_pbd(struct scene *s)
{
	xn_db_delete(s->db, s->pbd);
}

static void detached_and_empty(struct scene *s)
{
	detached(s);
	xn_db_delete(s->db, s->vbd);
	xn_db_delete(s->db, s->vdi);
	s->vdi = NULL;
}

static void detached_with_statistics_only(struct scene *s)
{
	detached(s);
	statistics(s);
}

static void sr_does(struct scene *s, const char *operation)
{
	xn_db_map_put(s->db, s->sr, XN_SR_current_operations, TASK, operation);
}

static void sr_scanned(struct scene *s)
{
	sr_does(s, "scan");
}

static void sr_plugged(struct scene *s)
{
	sr_does(s, "plug");
}

static void detached_empty_scanned(struct scene *s)
{
	detached_and_empty(s);
	sr_scanned(s);
}

static void host_does(struct scene *s, const char *operation)
{
	xn_db_map_put(s->db, s->host, XN_host_current_operations, TASK, operation);
}

static void host_evacuated(struct scene *s)
{
	host_does(s, "evacuate");
}

static void host_provisioned(struct scene *s)
{
	host_does(s, "provision");
}

static void host_updated(struct scene *s)
{
	host_does(s, "apply_updates");
}

static void host_disabled(struct scene *s)
{
	xn_db_set_bool(s->db, s->host, XN_host_enabled, false);
}

static void host_disabled_and_rebooting(struct scene *s)
{
	host_disabled(s);
	host_does(s, "reboot");
}

static void host_dead(struct scene *s)
{
	xn_db_set_bool(s->db, xn_row_follow(s->db, s->host, XN_host_metrics), XN_host_metrics_live,
		       false);
}

static void host_dead_with_power_on(struct scene *s)
{
	host_dead(s);
	xn_db_set_string(s->db, s->host, XN_host_power_on_mode, "wake-on-lan");
}

static void ha_on(struct scene *s)
{
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, true);
}

static void ha_starting(struct scene *s)
{
	pool_does(s, "ha_enable");
}

static void pool_ejecting(struct scene *s)
{
	pool_does(s, "eject");
}

static void clustered(struct scene *s)
{
	make_row(s, XN_CLASS_Cluster, NULL);
}

/* ---- the rules ---- */

#define OK NULL

static const struct rule {
	void (*state)(struct scene *s);
	const char *state_name;
	int class_id;
	const char *operation;
	const char *code;
} rules[] = {
#define RULE(state, cls, operation, code)                                                          \
	{                                                                                          \
		state, #state, XN_CLASS_##cls, operation, code                                     \
	}
	RULE(as_it_is, VDI, "clone", OK),
	RULE(vdi_busy, VDI, "clone", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(vdi_copied, VDI, "clone", OK),
	RULE(vbd_busy, VDI, "clone", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(attached_for_writing, VDI, "clone", OK),
	RULE(in_a_library, VDI, "clone", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(unknown_driver, VDI, "clone", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(change_metadata, VDI, "clone", "VDI_INCOMPATIBLE_TYPE"),

	RULE(as_it_is, VDI, "copy", OK),
	RULE(vdi_busy, VDI, "copy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(vdi_copied, VDI, "copy", OK),
	RULE(attached_for_writing, VDI, "copy", "VDI_IN_USE"),
	RULE(attached_for_reading, VDI, "copy", OK),
	RULE(reserved, VDI, "copy", "VDI_IN_USE"),
	RULE(in_a_library, VDI, "copy", OK),
	RULE(reset_on_boot, VDI, "copy", "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"),
	RULE(of_ha, VDI, "copy", "OPERATION_NOT_ALLOWED"),
	RULE(change_metadata, VDI, "copy", "VDI_INCOMPATIBLE_TYPE"),

	RULE(as_it_is, VDI, "destroy", OK),
	RULE(vdi_busy, VDI, "destroy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(vdi_mirrored, VDI, "destroy", OK),
	RULE(vdi_copied, VDI, "destroy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(attached_for_reading, VDI, "destroy", "VDI_IN_USE"),
	RULE(reserved, VDI, "destroy", "VDI_IN_USE"),
	RULE(vbd_busy, VDI, "destroy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(in_a_library, VDI, "destroy", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(of_the_tools, VDI, "destroy", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(statistics, VDI, "destroy", "VDI_HAS_RRDS"),
	RULE(needed_by_ha, VDI, "destroy", "HA_IS_ENABLED"),
	RULE(wanted_by_ha, VDI, "destroy", "HA_ENABLE_IN_PROGRESS"),
	RULE(left_by_ha, VDI, "destroy", "HA_DISABLE_IN_PROGRESS"),
	RULE(of_ha, VDI, "destroy", OK),

	RULE(as_it_is, VDI, "resize", OK),
	RULE(vdi_copied, VDI, "resize", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(detached, VDI, "resize", "SR_HAS_NO_PBDS"),
	RULE(attached_for_reading, VDI, "resize", "VDI_IN_USE"),
	RULE(needed_by_ha, VDI, "resize", "HA_IS_ENABLED"),
	RULE(as_it_is, VDI, "resize_online", "SR_OPERATION_NOT_SUPPORTED"),

	RULE(as_it_is, VDI, "snapshot", OK),
	RULE(attached_for_writing, VDI, "snapshot", OK),
	RULE(sharable, VDI, "snapshot", "VDI_IS_SHARABLE"),
	RULE(reset_on_boot, VDI, "snapshot", "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"),
	RULE(vdi_copied, VDI, "snapshot", "OPERATION_NOT_ALLOWED"),

	RULE(as_it_is, VDI, "forget", OK),
	RULE(vdi_copied, VDI, "forget", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(attached_for_reading, VDI, "forget", "VDI_IN_USE"),
	RULE(needed_by_ha, VDI, "forget", "HA_IS_ENABLED"),
	RULE(statistics, VDI, "forget", "VDI_HAS_RRDS"),
	RULE(in_a_library, VDI, "forget", OK),

	RULE(as_it_is, VDI, "update", OK),
	RULE(vdi_copied, VDI, "update", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(attached_for_reading, VDI, "update", "VDI_IN_USE"),
	RULE(as_it_is, VDI, "generate_config", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(attached_for_reading, VDI, "generate_config", "VDI_IN_USE"),
	RULE(attached_to_a_snapshot, VDI, "list_changed_blocks", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(attached_for_writing, VDI, "list_changed_blocks", "VDI_IN_USE"),
	RULE(as_it_is, VDI, "enable_cbt", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, VDI, "data_destroy", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, VDI, "mirror", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, VDI, "set_on_boot", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, VDI, "revert_to", "REVERT_ONLY_ALLOWED_ON_SNAPSHOT"),
	RULE(as_it_is, VDI, "revert_from", OK),
	RULE(vdi_copied, VDI, "revert_from", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(physical, VDI, "destroy", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, VDI, "blocked", OK),
	RULE(vdi_busy, VDI, "blocked", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(reserved, VDI, "force_unlock", "VDI_IN_USE"),

	RULE(as_it_is, SR, "destroy", "SR_HAS_PBD"),
	RULE(without_pbd, SR, "destroy", "SR_HAS_NO_PBDS"),
	RULE(detached, SR, "destroy", "SR_NOT_EMPTY"),
	RULE(detached_and_empty, SR, "destroy", OK),
	RULE(detached_with_statistics_only, SR, "destroy", OK),
	RULE(detached_empty_scanned, SR, "destroy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(as_it_is, SR, "forget", "SR_HAS_PBD"),
	RULE(detached, SR, "forget", OK),
	RULE(without_pbd, SR, "forget", OK),
	RULE(as_it_is, SR, "scan", OK),
	RULE(sr_plugged, SR, "scan", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(sr_plugged, SR, "plug", OK),
	RULE(sr_scanned, SR, "plug", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(sr_plugged, SR, "unplug", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(sr_scanned, SR, "pbd_create", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(sr_scanned, SR, "pbd_destroy", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(as_it_is, SR, "vdi_create", OK),
	RULE(in_a_library, SR, "vdi_create", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(of_the_tools, SR, "vdi_create", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(of_the_tools, SR, "vdi_snapshot", OK),
	RULE(in_a_library, SR, "vdi_introduce", OK),
	RULE(as_it_is, SR, "vdi_mirror", "SR_OPERATION_NOT_SUPPORTED"),
	RULE(as_it_is, SR, "vdi_clone", OK),
	RULE(sr_scanned, SR, "vdi_clone", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(sr_scanned, SR, "vdi_copy", OK),

	RULE(as_it_is, host, "enable", OK),
	RULE(host_updated, host, "enable", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(as_it_is, host, "reboot", "HOST_NOT_DISABLED"),
	RULE(host_disabled, host, "reboot", OK),
	RULE(host_disabled_and_rebooting, host, "shutdown", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_disabled_and_rebooting, host, "reboot", OK),
	RULE(host_provisioned, host, "evacuate", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_provisioned, host, "provision", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_evacuated, host, "provision", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_evacuated, host, "vm_migrate", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_evacuated, host, "vm_resume", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(host_evacuated, host, "vm_start", OK),
	RULE(as_it_is, host, "apply_updates", "HOST_NOT_DISABLED"),
	RULE(as_it_is, host, "power_on", "HOST_IS_LIVE"),
	RULE(host_dead, host, "power_on", "HOST_POWER_ON_MODE_DISABLED"),
	RULE(host_dead_with_power_on, host, "power_on", "XENAPI_MISSING_PLUGIN"),

	RULE(as_it_is, pool, "ha_enable", OK),
	RULE(ha_on, pool, "ha_enable", "HA_IS_ENABLED"),
	RULE(as_it_is, pool, "ha_disable", "HA_NOT_ENABLED"),
	RULE(ha_on, pool, "ha_disable", OK),
	RULE(ha_starting, pool, "sync_updates", "HA_ENABLE_IN_PROGRESS"),
	RULE(ha_starting, pool, "eject", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(pool_ejecting, pool, "sync_updates", "OTHER_OPERATION_IN_PROGRESS"),
	RULE(clustered, pool, "cluster_create", "CLUSTER_ALREADY_EXISTS"),
	RULE(ha_on, pool, "cluster_create", "INCOMPATIBLE_CLUSTER_STACK_ACTIVE"),
	RULE(ha_on, pool, "tls_verification_enable", "HA_IS_ENABLED"),
#undef RULE
};

static struct xn_row *asked_row(const struct scene *s, int class_id)
{
	switch (class_id) {
	case XN_CLASS_VDI:
		return s->vdi;
	case XN_CLASS_SR:
		return s->sr;
	case XN_CLASS_host:
		return s->host;
	default:
		return s->pool;
	}
}

static const int allowed_fields[XN_CLASS_COUNT] = {
	[XN_CLASS_VDI] = XN_VDI_allowed_operations,
	[XN_CLASS_SR] = XN_SR_allowed_operations,
	[XN_CLASS_host] = XN_host_allowed_operations,
	[XN_CLASS_pool] = XN_pool_allowed_operations,
};

/* Never told in allowed_operations, whatever the rules say. */
static bool is_advertised(const struct rule *rule)
{
	static const char *const hidden[] = {"blocked",    "data_destroy", "disable_cbt",
					     "enable_cbt", "force_unlock", "list_changed_blocks",
					     "mirror",     "revert_from",  "revert_to",
					     "set_on_boot"};

	if (rule->class_id == XN_CLASS_SR)
		return strcmp(rule->operation, "vdi_copy") != 0;
	for (unsigned i = 0; rule->class_id == XN_CLASS_VDI && i < XN_ARRAY_SIZE(hidden); i++)
		if (strcmp(rule->operation, hidden[i]) == 0)
			return false;
	return true;
}

static void try_rule(struct api *api, const struct rule *rule)
{
	struct xn_operations *ops = xn_operations_of(&api->core);
	struct xn_error err = {0};
	struct scene scene;
	struct xn_row *row;
	bool refused, listed;

	set_scene(api, &scene);
	rule->state(&scene);
	row = asked_row(&scene, rule->class_id);
	refused =
		xn_operation_check(ops, rule->class_id, xn_row_ref(row), rule->operation, &err) < 0;
	if (refused != (rule->code != OK) || (refused && strcmp(err.code, rule->code) != 0))
		fail_msg("%s, %s: %s", rule->state_name, rule->operation,
			 refused ? err.code : "allowed");
	xn_error_clear(&err);

	xn_operation_refresh(ops, row);
	listed =
		xn_set_has_string(xn_row_get(row, allowed_fields[rule->class_id]), rule->operation);
	if (listed != (!refused && is_advertised(rule)))
		fail_msg("%s, %s: %s in allowed_operations", rule->state_name, rule->operation,
			 listed ? "still" : "not");
}

static void operations_are_refused_as_clients_expect(void **state)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++) {
		void *fresh;

		assert_int_equal(setup(&fresh), 0);
		try_rule(fresh, &rules[i]);
		assert_int_equal(api_teardown(&fresh), 0);
	}
}

static void the_parameters_of_busy_name_class_object_operation_and_task(void **state)
{
	struct api *api = *state;
	struct xn_operations *ops = xn_operations_of(&api->core);
	struct xn_error err = {0};
	struct scene scene;

	set_scene(api, &scene);
	vdi_busy(&scene);
	assert_int_equal(
		xn_operation_check(ops, XN_CLASS_VDI, xn_row_ref(scene.vdi), "clone", &err), -1);
	assert_int_equal(err.n_params, 4);
	assert_string_equal(err.params[0], "VDI");
	assert_string_equal(err.params[1], xn_row_ref(scene.vdi));
	assert_string_equal(err.params[2], "resize");
	assert_string_equal(err.params[3], TASK);
	xn_error_clear(&err);
}

static void a_busy_repository_names_its_operation_like_a_call(void **state)
{
	static const char *const names[][2] = {
		{"vdi_create", "VDI.create"}, {"pbd_destroy", "PBD.destroy"}, {"scan", "scan"}};
	struct api *api = *state;
	struct xn_operations *ops = xn_operations_of(&api->core);

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++) {
		struct xn_error err = {0};
		struct scene scene;

		set_scene(api, &scene);
		sr_does(&scene, names[i][0]);
		assert_int_equal(
			xn_operation_check(ops, XN_CLASS_SR, xn_row_ref(scene.sr), "scan", &err),
			-1);
		assert_string_equal(err.params[0], "SR");
		assert_string_equal(err.params[2], names[i][1]);
		xn_error_clear(&err);
	}
}

static void an_incompatible_type_is_named_for_people(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	struct scene scene;

	set_scene(api, &scene);
	change_metadata(&scene);
	assert_int_equal(xn_operation_check(xn_operations_of(&api->core), XN_CLASS_VDI,
					    xn_row_ref(scene.vdi), "snapshot", &err),
			 -1);
	assert_string_equal(err.params[1], "CBT metadata");
	xn_error_clear(&err);
}

#define RULES(test) cmocka_unit_test_setup_teardown(test, setup, api_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations_are_refused_as_clients_expect),
		RULES(the_parameters_of_busy_name_class_object_operation_and_task),
		RULES(a_busy_repository_names_its_operation_like_a_call),
		RULES(an_incompatible_type_is_named_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
