/*
 * What may be done with an appliance when: it follows from the power states of its VMs. Registered
 * with modules/operation.
 */
#include "modules/domain/domain_internal.h"

static const struct rule {
	const char *operation;
	const char *some;    /* a VM must be in this power state ... */
	const char *not_all; /* ... or one must not be in this one */
	const char *refusal;
} rules[] = {
	{"start", "Halted", NULL, "No VM of the appliance is halted."},
	{"clean_shutdown", "Running", NULL, "No VM of the appliance is running."},
	{"hard_shutdown", NULL, "Halted", "All VMs of the appliance are halted."},
	{"shutdown", NULL, "Halted", "All VMs of the appliance are halted."},
};

static bool fits(struct xn_db *db, const struct xn_value *vms, const struct rule *rule)
{
	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const struct xn_row *vm =
			xn_db_get(db, XN_CLASS_VM, xn_value_string(xn_set_at(vms, i)));
		const char *state = vm ? xn_row_string(vm, XN_VM_power_state) : "";

		if (vm && (rule->some ? strcmp(state, rule->some) == 0
				      : strcmp(state, rule->not_all) != 0))
			return true;
	}
	return false;
}

static int refuse(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		  struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, XN_VM_appliance_current_operations);
	const struct xn_value *vms = xn_row_get(row, XN_VM_appliance_VMs);

	if (xn_map_len(current) > (self && xn_map_get(current, self)))
		return xn_operation_busy(err, "VM_appliance", xn_row_ref(row), current, self, ",");
	if (xn_set_len(vms) == 0)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED, "The appliance has no VMs.");
	for (size_t i = 0; i < XN_ARRAY_SIZE(rules); i++)
		if (strcmp(rules[i].operation, operation) == 0 && !fits(db, vms, &rules[i]))
			return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED, rules[i].refusal);
	return 0;
}

static const char *const advertised[] = {"start", "clean_shutdown", "hard_shutdown", "shutdown",
					 NULL};

const struct xn_operation_rules xn_appliance_rules = {
	.class_id = XN_CLASS_VM_appliance,
	.current_field = XN_VM_appliance_current_operations,
	.allowed_field = XN_VM_appliance_allowed_operations,
	.advertised = advertised,
	.refuse = refuse,
};
