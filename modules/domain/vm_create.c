/*
 * New VM rows: VM.create, and what clone, import and templates share with it. Fills what the model
 * says nothing about: no domain yet (-1), a seed for MAC addresses, a metrics row.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"
#include "modules/records/records.h"

static int64_t int_of(const struct xn_value *fields, const char *key, int64_t otherwise)
{
	return xn_map_get_int(fields, key, otherwise);
}

int xn_vm_check_cores(const struct xn_value *platform, int64_t vcpus_max, struct xn_error *err)
{
	const char *text = platform ? xn_map_get_string(platform, "cores-per-socket") : NULL;
	long cores = text ? strtol(text, NULL, 10) : 1;
	char vcpus_text[24];

	if (!text || (cores > 0 && vcpus_max % cores == 0))
		return 0;
	if (cores <= 0)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "platform:cores-per-socket", text);
	snprintf(vcpus_text, sizeof(vcpus_text), "%lld", (long long)vcpus_max);
	return xn_error_set(err, XN_ERR_VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE, vcpus_text, text);
}

static int check_fields(const struct xn_value *fields, struct xn_error *err)
{
	int64_t max = int_of(fields, "VCPUs_max", 1),
		at_startup = int_of(fields, "VCPUs_at_startup", 1);
	char number[24];

	if (max < 1) {
		snprintf(number, sizeof(number), "%lld", (long long)max);
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "VCPUs_max", number);
	}
	if (at_startup < 1 || at_startup > max) {
		snprintf(number, sizeof(number), "%lld", (long long)at_startup);
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "VCPUs_at_startup", number);
	}
	if (int_of(fields, "memory_static_max", 0) < 0 ||
	    int_of(fields, "memory_static_min", 0) < 0)
		return xn_error_set(err, XN_ERR_MEMORY_CONSTRAINT_VIOLATION_ORDER);
	return xn_vm_check_cores(xn_map_get(fields, "platform"), max, err);
}

static void fill_other_config(struct xn_core *core, struct xn_value **fields)
{
	const struct xn_value *given = xn_map_get(*fields, "other_config");
	struct xn_value *config = given ? xn_value_ref(given) : xn_map_new();
	char seed[37];

	if (!xn_map_get(config, "mac_seed")) {
		xn_uuid_new(core->loop, seed);
		xn_map_put_string(&config, "mac_seed", seed);
	}
	xn_map_put(fields, "other_config", config);
}

static void fill_platform(struct xn_value **fields)
{
	const struct xn_value *given = xn_map_get(*fields, "platform");
	struct xn_value *platform = given ? xn_value_ref(given) : xn_map_new();

	/* One client writes this key into every VM that lacks it. */
	if (!xn_map_get(platform, "cores-per-socket"))
		xn_map_put_string(&platform, "cores-per-socket", "1");
	xn_map_put(fields, "platform", platform);
}

static void fill_default(struct xn_value **fields, const char *key, const char *value)
{
	if (!xn_map_get(*fields, key))
		xn_map_put_string(fields, key, value);
}

static void fill_domain_type(struct xn_value **fields)
{
	const char *type = xn_map_get_string(*fields, "domain_type");
	const char *policy = xn_map_get_string(*fields, "HVM_boot_policy");

	if (!type || strcmp(type, "unspecified") == 0)
		xn_map_put_string(fields, "domain_type", policy && *policy ? "hvm" : "pv");
}

static struct xn_row *new_metrics(struct xn_db *db, const struct xn_value *vm_fields)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();

	xn_map_put(&fields, "memory_actual", xn_int(int_of(vm_fields, "memory_static_max", 0)));
	xn_map_put(&fields, "VCPUs_number", xn_int(int_of(vm_fields, "VCPUs_max", 1)));
	xn_map_put_string(&fields, "current_domain_type", "unspecified");
	return xn_db_create(db, XN_CLASS_VM_metrics, NULL, fields);
}

void xn_vm_generation_new(struct xn_core *core, char out[XN_VM_GENERATION_LEN])
{
	long long high = (long long)xn_random_u64(core->loop); /* compilers differ in what they */
	long long low = (long long)xn_random_u64(core->loop);  /* do first in a list of arguments */

	snprintf(out, XN_VM_GENERATION_LEN, "%lld:%lld", high, low);
}

struct xn_row *xn_vm_new_ref(struct xn_core *core, const char *ref, const struct xn_value *given,
			     struct xn_error *err)
{
	struct xn_db *db = xn_db_of(core);
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_value_ref(given);
	struct xn_row *vm, *metrics;
	char generation[XN_VM_GENERATION_LEN];

	if (check_fields(fields, err) < 0)
		return NULL;
	fill_other_config(core, &fields);
	fill_platform(&fields);
	fill_domain_type(&fields);
	/* Absent enums would become their first value, which is not what an absent action means. */
	fill_default(&fields, "actions_after_reboot", "restart");
	fill_default(&fields, "actions_after_crash", "restart");
	xn_map_put(&fields, "domid", xn_int(-1));
	if (!xn_map_get(fields, "memory_target") || int_of(fields, "memory_target", 0) == 0)
		xn_map_put(&fields, "memory_target",
			   xn_int(int_of(fields, "memory_dynamic_max", 0)));
	if (!xn_map_get(fields, "generation_id")) {
		xn_vm_generation_new(core, generation);
		xn_map_put_string(&fields, "generation_id", generation);
	}
	metrics = new_metrics(db, fields);
	xn_map_put_string(&fields, "metrics", xn_row_ref(metrics));
	vm = xn_db_create(db, XN_CLASS_VM, ref, fields);
	xn_db_set_int(db, vm, XN_VM_memory_overhead, xn_vm_memory_overhead(vm));
	xn_operation_refresh(xn_operations_of(core), vm);
	return vm;
}

struct xn_row *xn_vm_new(struct xn_core *core, const struct xn_value *fields, struct xn_error *err)
{
	return xn_vm_new_ref(core, NULL, fields, err);
}

int xn_vm_create_check(struct xn_call *call, struct xn_error *err)
{
	struct xn_domains *d = call->state;

	if (xn_record_check(d->db, &xn_classes[XN_CLASS_VM], call->args[0], err) < 0)
		return -1;
	return check_fields(call->args[0], err);
}

void xn_vm_create(struct xn_call *call)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *fields = xn_record_fields(&xn_classes[XN_CLASS_VM], call->args[0]);
	struct xn_error err = {0};
	struct xn_row *vm;

	/* A record may say Running; it takes a suspend image or a domain to be more than Halted. */
	xn_map_put_string(&fields, "power_state", "Halted");
	vm = xn_vm_new(call->core, fields, &err);
	if (!vm)
		xn_call_fail(call, &err);
	else
		xn_call_reply(call, xn_string(xn_row_ref(vm)));
}
