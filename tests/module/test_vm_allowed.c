/*
 * Which VM operation is possible on which kind of VM in which power state: the whole table, asked
 * from the rules as a call would and compared with allowed_operations.
 */
#include "tests/module/vm_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* In each string: Halted, Paused, Suspended, Running. What the letters mean: see codes[]. */
enum kind { VM, VM_WITHOUT_FEATURES, TEMPLATE, DEFAULT_TEMPLATE, SNAPSHOT, CONTROL, DOM0, KINDS };

static const char *const power_states[] = {"Halted", "Paused", "Suspended", "Running"};

static const struct {
	char letter;
	const char *code;
} codes[] = {
	{'p', XN_ERR_VM_BAD_POWER_STATE},
	{'t', XN_ERR_VM_IS_TEMPLATE},
	{'s', XN_ERR_VM_IS_SNAPSHOT},
	{'n', XN_ERR_OPERATION_NOT_ALLOWED},
	{'r', XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT},
	{'v', XN_ERR_PROVISION_ONLY_ALLOWED_ON_TEMPLATE},
	{'f', XN_ERR_VM_LACKS_FEATURE},
	{'q', XN_ERR_VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED},
	{'d', XN_ERR_NOT_SYSTEM_DOMAIN},
};

static const struct {
	const char *operation, *name_in_errors;
	bool advertised;
	const char *results[KINDS];
} table[] = {
	{"snapshot", "", true, {"++++", "++++", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"clone", "", true, {"+ppp", "+ppp", "+ppp", "+ppp", "+p+p", "nppp", "nppp"}},
	{"copy", "", true, {"+ppp", "+ppp", "+ppp", "+ppp", "+p+p", "nppp", "nppp"}},
	{"create_template",
	 "(unknown operation)",
	 false,
	 {"+p+p", "+p+p", "tptp", "tptp", "spsp", "npnp", "npnp"}},
	{"revert", "", true, {"rrrr", "rrrr", "tttt", "tttt", "++++", "rrrr", "rrrr"}},
	{"checkpoint", "", true, {"p+++", "pf+f", "pttt", "pttt", "psss", "pnnn", "pnnn"}},
	{"snapshot_with_quiesce",
	 "",
	 true,
	 {"pppq", "pppq", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"provision", "", true, {"vppp", "vppp", "+ppp", "+ppp", "sppp", "vppp", "vppp"}},
	{"start", "", true, {"+ppp", "+ppp", "tppp", "tppp", "sppp", "+ppp", "+ppp"}},
	{"start_on", "", true, {"+ppp", "+ppp", "tppp", "tppp", "sppp", "+ppp", "+ppp"}},
	{"pause", "", true, {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"unpause", "", true, {"p+pp", "p+pp", "ptpp", "ptpp", "pspp", "pnpp", "pnpp"}},
	{"clean_shutdown", "", true, {"ppp+", "pppf", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"clean_reboot", "", true, {"ppp+", "pppf", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"hard_shutdown", "", true, {"p+++", "p+++", "pttt", "pttt", "p+++", "pnnn", "pnnn"}},
	{"power_state_reset", "", false, {"++++", "++++", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"hard_reboot", "", true, {"p+p+", "p+p+", "ptpt", "ptpt", "psps", "pnpn", "pnpn"}},
	{"suspend", "", true, {"ppp+", "pppf", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"csvm", "", false, {"pp+p", "pp+p", "pptp", "pptp", "ppsp", "ppnp", "ppnp"}},
	{"resume", "", true, {"pp+p", "pp+p", "pptp", "pptp", "ppsp", "ppnp", "ppnp"}},
	{"resume_on", "", true, {"pp+p", "pp+p", "pptp", "pptp", "ppsp", "ppnp", "ppnp"}},
	{"pool_migrate", "", true, {"ppp+", "pppf", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"migrate_send", "", true, {"+p++", "+p+f", "+p++", "tptt", "spss", "npnn", "npnn"}},
	{"get_boot_record", "", false, {"p+++", "p+++", "pttt", "pttt", "psss", "pnnn", "pnnn"}},
	{"send_sysrq", "", false, {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"send_trigger", "", false, {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"query_services",
	 "(unknown operation)",
	 false,
	 {"dddd", "dddd", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"shutdown", "", false, {"p+++", "p+++", "pttt", "pttt", "psss", "pnnn", "pnnn"}},
	{"call_plugin", "", false, {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"changing_memory_live",
	 "",
	 false,
	 {"ppp+", "ppp+", "pppt", "pppt", "ppps", "ppp+", "ppp+"}},
	{"awaiting_memory_live",
	 "",
	 false,
	 {"ppp+", "ppp+", "pppt", "pppt", "ppps", "ppp+", "ppp+"}},
	{"changing_dynamic_range",
	 "",
	 true,
	 {"+pp+", "+pp+", "+pp+", "+pp+", "spps", "+pp+", "+pp+"}},
	{"changing_static_range",
	 "",
	 true,
	 {"+ppp", "+ppp", "+ppp", "+ppp", "sppp", "+pp+", "+pp+"}},
	{"changing_memory_limits",
	 "(unknown operation)",
	 false,
	 {"+ppp", "+ppp", "+ppp", "+ppp", "sppp", "+pp+", "+pp+"}},
	{"changing_shadow_memory",
	 "",
	 true,
	 {"+ppp", "+ppp", "+ppp", "+ppp", "sppp", "nppp", "nppp"}},
	{"changing_shadow_memory_live",
	 "",
	 false,
	 {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"changing_VCPUs",
	 "(unknown operation)",
	 false,
	 {"+ppp", "+ppp", "+ppp", "+ppp", "sppp", "+pp+", "nppn"}},
	{"changing_VCPUs_live", "", true, {"ppp+", "pppf", "pppt", "pppt", "ppps", "pppn", "pppn"}},
	{"changing_NVRAM", "", true, {"+ppp", "+ppp", "+ppp", "+ppp", "sppp", "nppp", "nppp"}},
	{"assert_operation_valid",
	 "assertoperationvalid",
	 false,
	 {"++++", "++++", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"data_source_op",
	 "data_sources_op",
	 false,
	 {"ppp+", "ppp+", "pppt", "pppt", "ppps", "ppp+", "ppp+"}},
	{"update_allowed_operations",
	 "",
	 false,
	 {"++++", "++++", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"make_into_template", "", true, {"+ppp", "+ppp", "tppp", "tppp", "sppp", "nppp", "nppp"}},
	{"import", "", false, {"pppp", "pppp", "pppp", "pppp", "pppp", "pppp", "pppp"}},
	{"export", "", true, {"+p+p", "+p+p", "+p+p", "+p+p", "+p+p", "npnp", "npnp"}},
	{"metadata_export", "", true, {"++++", "++++", "++++", "++++", "++++", "++++", "++++"}},
	{"reverting", "", false, {"++++", "++++", "tttt", "tttt", "ssss", "nnnn", "nnnn"}},
	{"destroy", "", true, {"+p+p", "+p+p", "+p+p", "tptp", "+p+p", "+p+p", "npnp"}},
	{"create_vtpm", "", true, {"+ppp", "+ppp", "tppp", "tppp", "sppp", "nppp", "nppp"}},
	{"sysprep", "", true, {"ppp+", "ppp+", "pppt", "pppt", "ppps", "pppn", "pppn"}},
};

static const char *code_of(char letter)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(codes); i++)
		if (codes[i].letter == letter)
			return codes[i].code;
	return NULL;
}

/* A row of that kind, made for this: nothing of it exists but the row. */
static struct xn_row *given(struct api *api, enum kind kind)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *metrics_fields = xn_map_new();
	struct xn_row *metrics;

	xn_map_put_string(&metrics_fields, "current_domain_type",
			  kind == VM_WITHOUT_FEATURES ? "hvm" : "pv");
	metrics = xn_db_create(api->db, XN_CLASS_VM_metrics, NULL, metrics_fields);
	xn_map_put_string(&fields, "metrics", xn_row_ref(metrics));
	xn_map_put(&fields, "domid", xn_int(kind == DOM0 ? 0 : 7));
	xn_map_put(&fields, "is_control_domain", xn_bool(kind == CONTROL || kind == DOM0));
	xn_map_put(&fields, "is_a_template",
		   xn_bool(kind == TEMPLATE || kind == DEFAULT_TEMPLATE || kind == SNAPSHOT));
	xn_map_put(&fields, "is_default_template", xn_bool(kind == DEFAULT_TEMPLATE));
	xn_map_put(&fields, "is_a_snapshot", xn_bool(kind == SNAPSHOT));
	return xn_db_create(api->db, XN_CLASS_VM, NULL, fields);
}

static void check_one(struct api *api, struct xn_row *vm, size_t i, enum kind kind, int state)
{
	struct xn_operations *ops = xn_operations_of(&api->core);
	const char *wanted = code_of(table[i].results[kind][state]);
	const char *name = *table[i].name_in_errors ? table[i].name_in_errors : table[i].operation;
	struct xn_error err = {0};
	int rc = xn_operation_check(ops, XN_CLASS_VM, xn_row_ref(vm), table[i].operation, &err);
	bool listed = is_allowed(vm, XN_VM_allowed_operations, table[i].operation);

	if (rc == 0 ? wanted != NULL : !wanted || strcmp(err.code, wanted) != 0)
		fail_msg("%s on kind %d when %s: %s, not %s", table[i].operation, kind,
			 power_states[state], rc ? err.code : "fine", wanted ? wanted : "fine");
	if (listed != (table[i].advertised && rc == 0))
		fail_msg("%s on kind %d when %s is %slisted", table[i].operation, kind,
			 power_states[state], listed ? "" : "not ");
	if (rc < 0 && table[i].results[kind][state] == 't')
		assert_string_equal(err.params[1], name);
	xn_error_clear(&err);
}

static void every_operation_on_every_kind_in_every_state(void **state)
{
	struct api *api = *state;

	assert_int_equal(XN_ARRAY_SIZE(table), 50);
	for (enum kind kind = VM; kind < KINDS; kind++) {
		struct xn_row *vm = given(api, kind);

		for (int s = 0; s < 4; s++) {
			xn_db_set_string(api->db, vm, XN_VM_power_state, power_states[s]);
			xn_operation_refresh(xn_operations_of(&api->core), vm);
			for (size_t i = 0; i < XN_ARRAY_SIZE(table); i++)
				check_one(api, vm, i, kind, s);
		}
	}
}

/* ---- what may run beside what ---- */

static const struct {
	const char *running; /* operations now running, blank separated */
	const char *operation, *power_state;
	bool fine;
} beside[] = {
	{"clone", "copy", "Halted", true},
	{"clone copy export", "export", "Halted", true},
	{"clone", "start", "Halted", false},
	{"snapshot", "snapshot", "Running", true},
	{"snapshot checkpoint", "checkpoint", "Running", true},
	{"snapshot_with_quiesce", "snapshot", "Running", true},
	{"snapshot_with_quiesce", "checkpoint", "Running", false},
	{"get_boot_record get_boot_record", "get_boot_record", "Running", true},
	{"get_boot_record", "pause", "Running", false},
	{"clean_shutdown", "hard_shutdown", "Running", true},
	{"hard_shutdown", "hard_shutdown", "Running", false},
	{"clean_reboot", "hard_reboot", "Running", true},
	{"hard_reboot", "hard_reboot", "Running", false},
	{"hard_shutdown", "hard_reboot", "Running", false},
	{"hard_reboot", "hard_shutdown", "Running", true},
	{"migrate_send", "clean_shutdown", "Running", true},
	{"migrate_send", "clean_reboot", "Running", true},
	{"migrate_send", "metadata_export", "Running", true},
	{"migrate_send snapshot", "clean_shutdown", "Running", false},
	{"migrate_send", "pause", "Running", false},
};

static void set_running(struct api *api, struct xn_row *vm, const char *names)
{
	struct xn_value *current = xn_map_new();
	char copy[80], *rest = copy;
	char task = 'a';

	snprintf(copy, sizeof(copy), "%s", names);
	for (char *name = strsep(&rest, " "); name; name = strsep(&rest, " "))
		xn_map_put_string(&current, (const char[]){task++, '\0'}, name);
	xn_db_set(api->db, vm, XN_VM_current_operations, current);
}

static void only_what_goes_together_runs_together(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(api, VM);

	for (size_t i = 0; i < XN_ARRAY_SIZE(beside); i++) {
		struct xn_error err = {0};
		int rc;

		xn_db_set_string(api->db, vm, XN_VM_power_state, beside[i].power_state);
		set_running(api, vm, beside[i].running);
		rc = xn_operation_check(xn_operations_of(&api->core), XN_CLASS_VM, xn_row_ref(vm),
					beside[i].operation, &err);
		if ((rc == 0) != beside[i].fine)
			fail_msg("%s beside %s: %s", beside[i].operation, beside[i].running,
				 rc ? err.code : "fine");
		if (rc < 0)
			assert_string_equal(err.code, XN_ERR_OTHER_OPERATION_IN_PROGRESS);
		xn_error_clear(&err);
	}
}

static void a_refusal_names_all_that_runs(void **state)
{
	struct api *api = *state;
	struct xn_row *vm = given(api, VM);
	struct xn_error err = {0};

	set_running(api, vm, "clone copy");
	assert_int_equal(xn_operation_check(xn_operations_of(&api->core), XN_CLASS_VM,
					    xn_row_ref(vm), "start", &err),
			 -1);
	assert_string_equal(err.params[0], "VM");
	assert_string_equal(err.params[1], xn_row_ref(vm));
	assert_string_equal(err.params[2], "{clone,copy}");
	assert_string_equal(err.params[3], "{a,b}");
	xn_error_clear(&err);
}

/* ---- single checks ---- */

/* A change to a VM (or what hangs off it), and what it forbids. */
struct single {
	const char *what;
	void (*change)(struct api *api, struct xn_row *vm);
	const char *operation, *power_state, *code, *param;
};

static void block_start(struct api *api, struct xn_row *vm)
{
	xn_db_map_put(api->db, vm, XN_VM_blocked_operations, "start", "because");
}

static void forbid_moving(struct api *api, struct xn_row *vm)
{
	xn_db_set_bool(api->db, xn_row_follow(api->db, vm, XN_VM_metrics), XN_VM_metrics_nomigrate,
		       true);
}

static void nest(struct api *api, struct xn_row *vm)
{
	xn_db_set_bool(api->db, xn_row_follow(api->db, vm, XN_VM_metrics),
		       XN_VM_metrics_nested_virt, true);
}

static void say_no_to_suspend(struct api *api, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	struct xn_value *other = xn_map_new();

	xn_map_put_string(&other, "data-cant-suspend-reason", "busy");
	xn_map_put(&fields, "other", other);
	xn_db_set_string(
		api->db, vm, XN_VM_guest_metrics,
		xn_row_ref(xn_db_create(api->db, XN_CLASS_VM_guest_metrics, NULL, fields)));
}

static void join_appliance(struct api *api, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_db_set_string(api->db, vm, XN_VM_appliance,
			 xn_row_ref(xn_db_create(api->db, XN_CLASS_VM_appliance, NULL, fields)));
}

static void give_usb(struct api *api, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "VM", xn_row_ref(vm));
	xn_db_create(api->db, XN_CLASS_VUSB, NULL, fields);
}

static void give_vtpm(struct api *api, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "VM", xn_row_ref(vm));
	xn_db_create(api->db, XN_CLASS_VTPM, NULL, fields);
}

static void give_reset_disk(struct api *api, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *vdi_fields = xn_map_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	struct xn_value *config = xn_map_new();

	xn_map_put_string(&config, "on_boot", "reset");
	xn_map_put(&vdi_fields, "sm_config", config);
	xn_map_put_string(&fields, "VM", xn_row_ref(vm));
	xn_map_put_string(&fields, "VDI",
			  xn_row_ref(xn_db_create(api->db, XN_CLASS_VDI, NULL, vdi_fields)));
	xn_db_create(api->db, XN_CLASS_VBD, NULL, fields);
}

static const struct single singles[] = {
	{"blocked", block_start, "start", "Halted", XN_ERR_OPERATION_BLOCKED, "because"},
	{"blocked although running", block_start, "start", "Running", XN_ERR_OPERATION_BLOCKED,
	 "because"},
	{"immobile", forbid_moving, "suspend", "Running", XN_ERR_VM_IS_IMMOBILE, NULL},
	{"nested", nest, "changing_dynamic_range", "Running", XN_ERR_VM_IS_USING_NESTED_VIRT, NULL},
	{"guest's reason", say_no_to_suspend, "checkpoint", "Running", XN_ERR_VM_NON_SUSPENDABLE,
	 "busy"},
	{"appliance", join_appliance, "make_into_template", "Halted",
	 XN_ERR_VM_IS_PART_OF_AN_APPLIANCE, NULL},
	{"usb", give_usb, "snapshot", "Running", XN_ERR_VM_HAS_VUSBS, NULL},
	{"vtpm", give_vtpm, "create_vtpm", "Halted", XN_ERR_VTPM_MAX_AMOUNT_REACHED, NULL},
	{"reset disk", give_reset_disk, "snapshot", "Halted",
	 XN_ERR_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION, NULL},
};

static void what_hangs_off_a_vm_forbids_operations(void **state)
{
	struct api *api = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(singles); i++) {
		const struct single *s = &singles[i];
		struct xn_row *vm = given(api, VM);
		struct xn_error err = {0};

		xn_db_set_string(api->db, vm, XN_VM_power_state, s->power_state);
		s->change(api, vm);
		if (xn_operation_check(xn_operations_of(&api->core), XN_CLASS_VM, xn_row_ref(vm),
				       s->operation, &err) == 0 ||
		    strcmp(err.code, s->code) != 0)
			fail_msg("%s: %s", s->what, err.code ? err.code : "fine");
		if (s->param)
			assert_string_equal(err.params[1], s->param);
		xn_error_clear(&err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(every_operation_on_every_kind_in_every_state),
		TEST(only_what_goes_together_runs_together),
		TEST(a_refusal_names_all_that_runs),
		TEST(what_hangs_off_a_vm_forbids_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
