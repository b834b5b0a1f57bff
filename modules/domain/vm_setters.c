/*
 * Setters of a VM that are more than a field: they check values against each other, need an
 * operation to be allowed, or change something beside the field. One function each in the table at
 * the end; memory is in vm_memory.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/auth/auth.h"
#include "modules/domain/domain_internal.h"

static struct xn_domains *domains_of(const struct xn_call *call)
{
	return call->state;
}

static struct xn_row *vm_of(const struct xn_call *call, struct xn_error *err)
{
	return xn_db_need(domains_of(call)->db, XN_CLASS_VM, xn_call_string(call, 0), err);
}

static int invalid_int(struct xn_error *err, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	return xn_error_set(err, XN_ERR_INVALID_VALUE, name, text);
}

static int set_counted(const struct xn_call *call, int field, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	int64_t value = xn_value_int(call->args[1]);

	if (!vm)
		return -1;
	if (value < 0)
		return invalid_int(err, xn_classes[XN_CLASS_VM].fields[field].name, value);
	xn_db_set_int(domains_of(call)->db, vm, field, value);
	return 0;
}

static int set_value(const struct xn_call *call, int field, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);

	if (!vm)
		return -1;
	xn_db_set(domains_of(call)->db, vm, field, xn_value_ref(call->args[1]));
	return 0;
}

/* A reference that may be null, but not dangle. */
static int set_link(const struct xn_call *call, int field, int class_id, struct xn_error *err)
{
	const char *ref = xn_call_string(call, 1);
	struct xn_row *vm;

	if (*ref && strcmp(ref, XN_NULL_REF) != 0 &&
	    !xn_db_need(domains_of(call)->db, class_id, ref, err))
		return -1;
	vm = vm_of(call, err);
	if (!vm)
		return -1;
	xn_db_set_string(domains_of(call)->db, vm, field, *ref ? ref : XN_NULL_REF);
	return 0;
}

static int require_halted(const struct xn_row *vm, struct xn_error *err)
{
	if (xn_vm_is(vm, "Halted"))
		return 0;
	return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(vm), "halted",
			    xn_power_state_lower(xn_row_string(vm, XN_VM_power_state)));
}

/* ---- processors ---- */

static int set_VCPUs_max(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err), *metrics;
	int64_t value = xn_value_int(call->args[1]);

	if (!vm)
		return -1;
	if (value < 1 || value < xn_row_int(vm, XN_VM_VCPUs_at_startup) || value > 1024)
		return invalid_int(err, "VCPUs_max", value);
	if (xn_vm_check_cores(xn_row_get(vm, XN_VM_platform), value, err) < 0)
		return -1;
	xn_db_set_int(db, vm, XN_VM_VCPUs_max, value);
	xn_db_set_int(db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	metrics = xn_row_follow(db, vm, XN_VM_metrics);
	if (metrics && xn_vm_is(vm, "Halted"))
		xn_db_set_int(db, metrics, XN_VM_metrics_VCPUs_number, value);
	return 0;
}

static int set_VCPUs_at_startup(struct xn_call *call, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	int64_t value = xn_value_int(call->args[1]);

	if (!vm)
		return -1;
	if (value < 1 || value > xn_row_int(vm, XN_VM_VCPUs_max))
		return invalid_int(err, "VCPUs_at_startup", value);
	xn_db_set_int(domains_of(call)->db, vm, XN_VM_VCPUs_at_startup, value);
	return 0;
}

static int set_HVM_shadow_multiplier(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err);
	double value = xn_value_float(call->args[1]);
	char text[32];

	if (!vm)
		return -1;
	if (!(value >= 1.0 && value < 1000.0)) {
		snprintf(text, sizeof(text), "%g", value);
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "HVM_shadow_multiplier", text);
	}
	xn_db_set(db, vm, XN_VM_HVM_shadow_multiplier, xn_value_ref(call->args[1]));
	xn_db_set_int(db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	return 0;
}

/* ---- templates ---- */

void xn_vm_set_template(struct xn_domains *d, struct xn_row *vm, bool yes)
{
	struct xn_row *metrics = xn_row_follow(d->db, vm, XN_VM_metrics);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *none = xn_map_new();

	xn_db_set_bool(d->db, vm, XN_VM_is_a_template, yes);
	if (yes) {
		xn_db_set_bool(d->db, vm, XN_VM_ha_always_run, false);
		xn_db_set(d->db, vm, XN_VM_groups, xn_set_new());
	} else {
		xn_db_set_bool(d->db, vm, XN_VM_is_default_template, false);
		if (!metrics) {
			metrics = xn_db_create(d->db, XN_CLASS_VM_metrics, NULL, none);
			xn_db_set_string(d->db, metrics, XN_VM_metrics_current_domain_type,
					 "unspecified");
			xn_db_set_string(d->db, vm, XN_VM_metrics, xn_row_ref(metrics));
		}
		xn_db_set(d->db, metrics, XN_VM_metrics_install_time,
			  xn_datetime(xn_wall_s(d->core->loop)));
	}
	xn_operation_refresh_all(d->ops, vm);
}

/* Becoming a template is an operation; ceasing to be one needs no leave. */
static int set_is_a_template(struct xn_call *call, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	bool value = xn_value_bool(call->args[1]);

	if (!vm)
		return -1;
	if (value != xn_row_bool(vm, XN_VM_is_a_template))
		xn_vm_set_template(domains_of(call), vm, value);
	return 0;
}

static int set_is_default_template(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = domains_of(call);
	struct xn_row *vm = vm_of(call, err);
	bool value = xn_value_bool(call->args[1]);

	if (!vm)
		return -1;
	if (value && !xn_row_bool(vm, XN_VM_is_a_template))
		xn_vm_set_template(d, vm, true);
	xn_db_set_bool(d->db, vm, XN_VM_is_default_template, value);
	return 0;
}

/* ---- availability ---- */

static int set_ha_always_run(struct xn_call *call, struct xn_error *err)
{
	return set_value(call, XN_VM_ha_always_run, err);
}

static int set_ha_restart_priority(struct xn_call *call, struct xn_error *err)
{
	static const char *const priorities[] = {"", "best-effort", "restart"};
	const char *value = xn_call_string(call, 1);

	for (size_t i = 0; i < XN_ARRAY_SIZE(priorities); i++)
		if (strcmp(priorities[i], value) == 0)
			return set_value(call, XN_VM_ha_restart_priority, err);
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "ha_restart_priority", value);
}

static int set_start_delay(struct xn_call *call, struct xn_error *err)
{
	return set_counted(call, XN_VM_start_delay, err);
}

static int set_shutdown_delay(struct xn_call *call, struct xn_error *err)
{
	return set_counted(call, XN_VM_shutdown_delay, err);
}

static int set_order(struct xn_call *call, struct xn_error *err)
{
	return set_counted(call, XN_VM_order, err);
}

static int set_appliance(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = domains_of(call);
	struct xn_row *vm = vm_of(call, err), *old, *now;

	if (!vm)
		return -1;
	if (xn_row_bool(vm, XN_VM_is_control_domain))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "A control domain cannot belong to an appliance.");
	old = xn_row_follow(d->db, vm, XN_VM_appliance);
	if (set_link(call, XN_VM_appliance, XN_CLASS_VM_appliance, err) < 0)
		return -1;
	now = xn_row_follow(d->db, vm, XN_VM_appliance);
	if (old)
		xn_operation_refresh(d->ops, old);
	if (now)
		xn_operation_refresh(d->ops, now);
	return 0;
}

static int set_snapshot_schedule(struct xn_call *call, struct xn_error *err)
{
	return set_link(call, XN_VM_snapshot_schedule, XN_CLASS_VMSS, err);
}

static int set_groups(struct xn_call *call, struct xn_error *err)
{
	for (size_t i = 0; i < xn_set_len(call->args[1]); i++)
		if (!xn_db_need(domains_of(call)->db, XN_CLASS_VM_group,
				xn_value_string(xn_set_at(call->args[1], i)), err))
			return -1;
	return set_value(call, XN_VM_groups, err);
}

static int set_actions_after_crash(struct xn_call *call, struct xn_error *err)
{
	return set_value(call, XN_VM_actions_after_crash, err);
}

static int set_suspend_VDI(struct xn_call *call, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);

	if (!vm)
		return -1;
	if (!xn_vm_is(vm, "Suspended"))
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(vm), "suspended",
				    xn_power_state_lower(xn_row_string(vm, XN_VM_power_state)));
	return set_link(call, XN_VM_suspend_VDI, XN_CLASS_VDI, err);
}

/* ---- firmware, boot ---- */

static int set_domain_type(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err);
	const char *type = xn_call_string(call, 1);

	if (!vm || require_halted(vm, err) < 0)
		return -1;
	xn_db_set_string(db, vm, XN_VM_domain_type, type);
	/* Old clients tell the kinds apart by the policy. */
	xn_db_set_string(db, vm, XN_VM_HVM_boot_policy,
			 strcmp(type, "hvm") == 0 ? "BIOS order" : "");
	xn_db_set_int(db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	return 0;
}

static int set_HVM_boot_policy(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err);
	const char *policy = xn_call_string(call, 1);

	if (!vm || require_halted(vm, err) < 0)
		return -1;
	xn_db_set_string(db, vm, XN_VM_HVM_boot_policy, policy);
	xn_db_set_string(db, vm, XN_VM_domain_type, *policy ? "hvm" : "pv");
	xn_db_set_int(db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	return 0;
}

static int set_has_vendor_device(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err);
	bool value = xn_value_bool(call->args[1]);

	if (!vm || require_halted(vm, err) < 0)
		return -1;
	xn_db_set_bool(db, vm, XN_VM_has_vendor_device, value);
	if (value && xn_row_int(vm, XN_VM_hardware_platform_version) < 2)
		xn_db_set_int(db, vm, XN_VM_hardware_platform_version, 2);
	return 0;
}

static int set_bios_strings(struct xn_call *call, struct xn_error *err)
{
	static const char *const keys[] = {
		"bios-vendor",
		"bios-version",
		"system-manufacturer",
		"system-product-name",
		"system-version",
		"system-serial-number",
		"enclosure-asset-tag",
		"hp-rombios",
		"baseboard-manufacturer",
		"baseboard-product-name",
		"baseboard-version",
		"baseboard-serial-number",
		"baseboard-asset-tag",
		"baseboard-location-in-chassis",
	};
	struct xn_row *vm = vm_of(call, err);

	if (!vm)
		return -1;
	if (xn_map_len(xn_row_get(vm, XN_VM_bios_strings)) > 0)
		return xn_error_set(err, XN_ERR_VM_BIOS_STRINGS_ALREADY_SET);
	for (size_t i = 0; i < xn_map_len(call->args[1]); i++) {
		const char *key = xn_map_key_at(call->args[1], i);
		const char *value = xn_value_string(xn_map_at(call->args[1], i));
		bool known = false;

		for (size_t k = 0; k < XN_ARRAY_SIZE(keys); k++)
			known |= strcmp(keys[k], key) == 0;
		if (!known || strlen(value) > 512)
			return xn_error_set(err, XN_ERR_INVALID_VALUE, key, value);
	}
	return set_value(call, XN_VM_bios_strings, err);
}

static int copy_bios_strings(struct xn_call *call, struct xn_error *err)
{
	struct xn_db *db = domains_of(call)->db;
	struct xn_row *vm = vm_of(call, err);
	struct xn_row *host =
		vm ? xn_db_need(db, XN_CLASS_host, xn_call_string(call, 1), err) : NULL;

	if (!host)
		return -1;
	if (xn_map_len(xn_row_get(vm, XN_VM_bios_strings)) > 0)
		return xn_error_set(err, XN_ERR_VM_BIOS_STRINGS_ALREADY_SET);
	xn_db_set(db, vm, XN_VM_bios_strings, xn_value_ref(xn_row_get(host, XN_host_bios_strings)));
	return 0;
}

/* ---- maps with explicit messages ---- */

static int duplicate_key(struct xn_error *err, const struct xn_row *vm, int field, const char *key)
{
	return xn_error_set(err, XN_ERR_MAP_DUPLICATE_KEY, "VM",
			    xn_classes[XN_CLASS_VM].fields[field].db_name, xn_row_ref(vm), key);
}

static int set_map(struct xn_call *call, int field, struct xn_value *taken, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	int rc = -1;

	/* Asked again: the map may have changed since the call came. */
	if (vm)
		rc = xn_auth_permit_map(&call->caller, XN_CLASS_VM, field, xn_row_get(vm, field),
					taken, err);
	if (rc == 0 && field == XN_VM_platform)
		rc = xn_vm_check_cores(taken, xn_row_int(vm, XN_VM_VCPUs_max), err);
	if (rc < 0) {
		xn_value_unref(taken);
		return -1;
	}
	xn_db_set(domains_of(call)->db, vm, field, taken);
	return 0;
}

static int add_key(struct xn_call *call, int field, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	const char *key = xn_call_string(call, 1);
	struct xn_value *map;

	if (!vm)
		return -1;
	if (xn_map_get(xn_row_get(vm, field), key))
		return duplicate_key(err, vm, field, key);
	map = xn_value_ref(xn_row_get(vm, field));
	xn_map_put(&map, key, xn_value_ref(call->args[2]));
	return set_map(call, field, map, err);
}

static int remove_key(struct xn_call *call, int field, struct xn_error *err)
{
	struct xn_row *vm = vm_of(call, err);
	struct xn_value *map;

	if (!vm)
		return -1;
	map = xn_value_ref(xn_row_get(vm, field));
	xn_map_remove(&map, xn_call_string(call, 1));
	return set_map(call, field, map, err);
}

#define MAP_SETTERS(name)                                                                          \
	static int set_##name(struct xn_call *call, struct xn_error *err)                          \
	{                                                                                          \
		return set_map(call, XN_VM_##name, xn_value_ref(call->args[1]), err);              \
	}                                                                                          \
	static int add_to_##name(struct xn_call *call, struct xn_error *err)                       \
	{                                                                                          \
		return add_key(call, XN_VM_##name, err);                                           \
	}                                                                                          \
	static int remove_from_##name(struct xn_call *call, struct xn_error *err)                  \
	{                                                                                          \
		return remove_key(call, XN_VM_##name, err);                                        \
	}
MAP_SETTERS(other_config)
MAP_SETTERS(platform)
MAP_SETTERS(NVRAM)
MAP_SETTERS(blocked_operations)
#undef MAP_SETTERS

/* ---- the table ---- */

/* clang-format off */
#define SETTERS(X)                                                                     \
	X(set_VCPUs_max) X(set_VCPUs_at_startup) X(set_HVM_shadow_multiplier)          \
	X(set_ha_always_run) X(set_ha_restart_priority) X(set_start_delay)             \
	X(set_shutdown_delay) X(set_order) X(set_appliance) X(set_snapshot_schedule)   \
	X(set_groups) X(set_actions_after_crash) X(set_suspend_VDI) X(set_domain_type) \
	X(set_HVM_boot_policy) X(set_has_vendor_device) X(set_bios_strings)            \
	X(copy_bios_strings) X(set_other_config) X(add_to_other_config)                \
	X(remove_from_other_config) X(set_platform) X(add_to_platform)                 \
	X(remove_from_platform) X(set_NVRAM) X(add_to_NVRAM) X(remove_from_NVRAM)      \
	X(set_blocked_operations) X(add_to_blocked_operations)                         \
	X(remove_from_blocked_operations)
/* clang-format on */

static const struct {
	const char *message;
	int (*body)(struct xn_call *call, struct xn_error *err);
} bodies[] = {
#define BODY(name) {#name, name},
	SETTERS(BODY)
#undef BODY
		{"set_is_a_template", set_is_a_template},
	{"set_is_default_template", set_is_default_template},
};

static int run_body(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = domains_of(call);

	for (size_t i = 0; i < XN_ARRAY_SIZE(bodies); i++) {
		struct xn_row *vm;

		if (strcmp(bodies[i].message, call->method->message) != 0)
			continue;
		if (bodies[i].body(call, err) < 0)
			return -1;
		/* Any of them may decide what is allowed from now on. */
		vm = xn_db_get(d->db, XN_CLASS_VM, xn_call_string(call, 0));
		if (vm)
			xn_operation_refresh_all(d->ops, vm);
		return 0;
	}
	return xn_error_set(err, XN_ERR_NOT_IMPLEMENTED, call->method->name);
}

static void run(struct xn_call *call)
{
	xn_operation_run_short(call, NULL, run_body);
}

static void run_template(struct xn_call *call)
{
	int field = strcmp(call->method->message, "set_is_a_template") == 0
			    ? XN_VM_is_a_template
			    : XN_VM_is_default_template;
	struct xn_error err = {0};
	const struct xn_row *vm = vm_of(call, &err);

	if (!vm)
		xn_call_fail(call, &err);
	else if (xn_row_bool(vm, field) == xn_value_bool(call->args[1]))
		xn_call_reply_void(call); /* nothing to refuse */
	else if (xn_value_bool(call->args[1]))
		xn_operation_run_short(call, NULL, run_body);
	else if (run_body(call, &err) < 0)
		xn_call_fail(call, &err);
	else
		xn_call_reply_void(call);
}

const struct xn_method_impl xn_vm_setters[] = {
#define ROW(name) {"VM." #name, run, xn_check_operation, false},
	SETTERS(ROW)
#undef ROW
		{"VM.set_is_a_template", run_template, NULL, false},
	{"VM.set_is_default_template", run_template, NULL, false},
	{NULL, NULL, NULL, false},
};
