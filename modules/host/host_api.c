/*
 * API calls on hosts and the pool that are more than a field: enable, disable, time, evacuation of
 * a one-host pool, and polite answers for what this host has none of (plugins, certificates, HA).
 */
#include "modules/host/host_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- checks shared by most ---- */

/* The first argument is a host or a pool that exists; the class follows from its type. */
static int check_self(struct xn_call *call, struct xn_error *err)
{
	const struct xn_host *host = call->state;
	int class_id = call->method->params[0].type->class_id;

	return xn_db_need(host->db, class_id, xn_call_string(call, 0), err) ? 0 : -1;
}

static struct xn_row *self_row(struct xn_call *call)
{
	const struct xn_host *host = call->state;

	return xn_db_get(host->db, call->method->params[0].type->class_id, xn_call_string(call, 0));
}

/* ---- answers that never differ ---- */

static void answer_void(struct xn_call *call)
{
	xn_call_reply_void(call);
}

static void answer_false(struct xn_call *call)
{
	xn_call_reply(call, xn_bool(false));
}

static void answer_true(struct xn_call *call)
{
	xn_call_reply(call, xn_bool(true));
}

static void answer_zero(struct xn_call *call)
{
	xn_call_reply(call, xn_int(0));
}

static void answer_empty_set(struct xn_call *call)
{
	xn_call_reply(call, xn_set_new());
}

static void answer_empty_map(struct xn_call *call)
{
	xn_call_reply(call, xn_map_new());
}

/* ---- setters that the model tells as explicit messages, but that only write a field ---- */

/* "set_iscsi_iqn": the field's name is in the message's. */
static int field_of_setter(const struct xn_method *method)
{
	return xn_field_find(&xn_classes[method->class_id], method->message + strlen("set_"));
}

static void set_field(struct xn_call *call)
{
	struct xn_host *host = call->state;

	xn_db_set(host->db, self_row(call), field_of_setter(call->method),
		  xn_value_ref(call->args[1]));
	xn_call_reply_void(call);
}

static int check_positive(struct xn_call *call, struct xn_error *err)
{
	char text[32];

	if (check_self(call, err) < 0)
		return -1;
	if (xn_value_int(call->args[1]) > 0)
		return 0;
	snprintf(text, sizeof(text), "%lld", (long long)xn_value_int(call->args[1]));
	return xn_error_set(err, XN_ERR_VALUE_NOT_SUPPORTED, call->method->params[1].name, text,
			    "must be greater than 0");
}

static void set_power_on_mode(struct xn_call *call)
{
	struct xn_host *host = call->state;
	struct xn_row *row = self_row(call);

	xn_db_set(host->db, row, XN_host_power_on_mode, xn_value_ref(call->args[1]));
	xn_db_set(host->db, row, XN_host_power_on_config, xn_value_ref(call->args[2]));
	xn_call_reply_void(call);
}

static int check_new_agent_key(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	if (!xn_row_map_string(self_row(call), XN_pool_guest_agent_config, xn_call_string(call, 1)))
		return 0;
	return xn_error_set(err, XN_ERR_MAP_DUPLICATE_KEY, "pool", "guest_agent_config",
			    xn_call_string(call, 0), xn_call_string(call, 1));
}

static void add_to_guest_agent_config(struct xn_call *call)
{
	struct xn_host *host = call->state;

	xn_db_map_put(host->db, self_row(call), XN_pool_guest_agent_config, xn_call_string(call, 1),
		      xn_call_string(call, 2));
	xn_call_reply_void(call);
}

static void remove_from_guest_agent_config(struct xn_call *call)
{
	struct xn_host *host = call->state;

	xn_db_map_remove(host->db, self_row(call), XN_pool_guest_agent_config,
			 xn_call_string(call, 1));
	xn_call_reply_void(call);
}

/* ---- enable, disable ---- */

static int check_enable(struct xn_call *call, struct xn_error *err)
{
	struct xn_host *host = call->state;

	if (check_self(call, err) < 0)
		return -1;
	return xn_operation_check(host->operations, XN_CLASS_host, xn_call_string(call, 0),
				  "enable", err);
}

static void enable(struct xn_call *call)
{
	struct xn_host *host = call->state;
	struct xn_row *row = self_row(call);

	xn_db_map_remove(host->db, row, XN_host_other_config, XN_HOST_STAY_DISABLED);
	xn_db_set_bool(host->db, row, XN_host_enabled, true);
	xn_operation_refresh(host->operations, row);
	xn_call_reply_void(call);
}

static void disable(struct xn_call *call)
{
	struct xn_host *host = call->state;
	struct xn_row *row = self_row(call);

	if (!xn_value_bool(call->args[1]))
		xn_db_map_put(host->db, row, XN_host_other_config, XN_HOST_STAY_DISABLED, "true");
	xn_db_set_bool(host->db, row, XN_host_enabled, false);
	xn_operation_refresh(host->operations, row);
	xn_call_reply_void(call);
}

/* ---- time ---- */

static void get_servertime(struct xn_call *call)
{
	xn_call_reply(call, xn_datetime(xn_wall_s(call->core->loop)));
}

static void get_server_localtime(struct xn_call *call)
{
	int64_t now = xn_wall_s(call->core->loop);
	time_t t = (time_t)now;
	struct tm local;

	/* The result type has no zone: local wall time, written as if it were UTC. */
	if (!xn_loop_is_virtual(call->core->loop) && localtime_r(&t, &local))
		now = (int64_t)timegm(&local);
	xn_call_reply(call, xn_datetime(now));
}

/* ---- memory ---- */

static void compute_free_memory(struct xn_call *call)
{
	xn_call_reply(call, xn_int(xn_host_free_memory(call->state)));
}

static void compute_memory_overhead(struct xn_call *call)
{
	xn_call_reply(call, xn_int(xn_row_int(self_row(call), XN_host_memory_overhead)));
}

/* ---- evacuation: one host has nowhere to evacuate to ---- */

static bool is_guest(const struct xn_row *vm)
{
	return vm && !xn_row_bool(vm, XN_VM_is_control_domain);
}

static void get_vms_which_prevent_evacuation(struct xn_call *call)
{
	const struct xn_host *host = call->state;
	const struct xn_value *vms = xn_row_get(self_row(call), XN_host_resident_VMs);
	struct xn_value *answer = xn_map_new();

	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const char *ref = xn_value_string(xn_set_at(vms, i));
		struct xn_value *why;

		if (!is_guest(xn_db_get(host->db, XN_CLASS_VM, ref)))
			continue;
		why = xn_set_new();
		xn_set_append_string(&why, XN_ERR_NO_HOSTS_AVAILABLE);
		xn_map_put(&answer, ref, why);
	}
	xn_call_reply(call, answer);
}

static int check_evacuate(struct xn_call *call, struct xn_error *err)
{
	const struct xn_host *host = call->state;
	const struct xn_value *vms;

	if (check_self(call, err) < 0)
		return -1;
	vms = xn_row_get(self_row(call), XN_host_resident_VMs);
	for (size_t i = 0; i < xn_set_len(vms); i++)
		if (is_guest(xn_db_get(host->db, XN_CLASS_VM, xn_value_string(xn_set_at(vms, i)))))
			return xn_error_set(err, XN_ERR_NO_HOSTS_AVAILABLE);
	return 0;
}

/* ---- methods, plugins, editions ---- */

static void list_methods(struct xn_call *call)
{
	struct xn_value *names = xn_set_new();

	for (unsigned i = 0; i < xn_n_methods; i++)
		if (!(xn_methods[i].flags & XN_MF_HIDDEN))
			xn_set_append_string(&names, xn_methods[i].name);
	xn_call_reply(call, names);
}

/* Plugins are scripts in the control domain; there are none, and clients ask before they rely on
 * one. */
static int refuse_plugin(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_XENAPI_MISSING_PLUGIN, xn_call_string(call, 1));
}

static int check_edition(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	if (strcmp(xn_call_string(call, 1), "free") == 0)
		return 0;
	return xn_error_set(err, XN_ERR_INVALID_EDITION, xn_call_string(call, 1));
}

static void get_license_state(struct xn_call *call)
{
	struct xn_value *state = xn_map_new();

	xn_map_put_string(&state, "edition", "free");
	xn_map_put_string(&state, "expiry", "never");
	xn_call_reply(call, state);
}

static void get_management_interface(struct xn_call *call)
{
	const struct xn_host *host = call->state;
	const struct xn_value *pifs = xn_row_get(self_row(call), XN_host_PIFs);

	for (size_t i = 0; i < xn_set_len(pifs); i++) {
		const char *ref = xn_value_string(xn_set_at(pifs, i));
		const struct xn_row *pif = xn_db_get(host->db, XN_CLASS_PIF, ref);

		if (pif && xn_row_bool(pif, XN_PIF_management)) {
			xn_call_reply(call, xn_string(ref));
			return;
		}
	}
	xn_call_reply(call, xn_string(XN_NULL_REF));
}

/* ---- what a live, only host refuses ---- */

static int refuse_live(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_HOST_IS_LIVE, xn_call_string(call, 0));
}

static int refuse_self_destruction(struct xn_call *call, struct xn_error *err)
{
	if (check_self(call, err) < 0)
		return -1;
	return xn_error_set(err, XN_ERR_HOST_CANNOT_DESTROY_SELF, xn_call_string(call, 0));
}

static int refuse_without_ha(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_HA_NOT_ENABLED);
}

static int refuse_without_wlb(struct xn_call *call, struct xn_error *err)
{
	return xn_error_set(err, XN_ERR_WLB_NOT_INITIALIZED);
}

const struct xn_method_impl xn_host_methods[] = {
	{"host.enable", enable, check_enable},
	{"host.disable", disable, check_self},
	{"host.get_servertime", get_servertime, check_self},
	{"host.get_server_localtime", get_server_localtime, check_self},
	{"host.compute_free_memory", compute_free_memory, check_self},
	{"host.compute_memory_overhead", compute_memory_overhead, check_self},
	{"host.get_vms_which_prevent_evacuation", get_vms_which_prevent_evacuation, check_self},
	{"host.assert_can_evacuate", answer_void, check_evacuate},
	{"host.evacuate", answer_void, check_evacuate},
	{"host.get_management_interface", get_management_interface, check_self},
	{"host.list_methods", list_methods},
	{"host.call_plugin", answer_void, refuse_plugin},
	{"host.call_extension", answer_void, refuse_plugin},
	{"host.has_extension", answer_false, check_self},
	{"host.is_in_emergency_mode", answer_false},
	{"host.local_assert_healthy", answer_void},
	{"host.ha_xapi_healthcheck", answer_true},
	{"host.tickle_heartbeat", answer_empty_map, check_self},
	{"host.get_data_sources", answer_empty_set, check_self},
	{"host.certificate_list", answer_empty_set, check_self},
	{"host.crl_list", answer_empty_set, check_self},
	{"host.sync_data", answer_void, check_self},
	{"host.refresh_pack_info", answer_void, check_self},
	{"host.apply_edition", answer_void, check_edition},
	{"host.set_power_on_mode", set_power_on_mode, check_self},
	{"host.set_iscsi_iqn", set_field, check_self},
	{"host.set_multipathing", set_field, check_self},
	{"host.set_ssl_legacy", set_field, check_self},
	{"host.set_license_params", set_field, check_self},
	{"host.set_numa_affinity_policy", set_field, check_self},
	{"host.declare_dead", answer_void, refuse_live},
	{"host.power_on", answer_void, refuse_live},
	{"host.destroy", answer_void, refuse_self_destruction},

	{"pool.sync_database", answer_void}, /* each change is durable before its reply */
	{"pool.is_slave", answer_false, check_self},
	{"pool.recover_slaves", answer_empty_set},
	{"pool.get_license_state", get_license_state, check_self},
	{"pool.apply_edition", answer_void, check_edition},
	{"pool.has_extension", answer_false, check_self},
	{"pool.certificate_list", answer_empty_set},
	{"pool.crl_list", answer_empty_set},
	{"pool.detect_nonhomogeneous_external_auth", answer_void, check_self},
	{"pool.disable_ha", answer_void, refuse_without_ha},
	{"pool.ha_compute_max_host_failures_to_tolerate", answer_zero},
	{"pool.ha_compute_hypothetical_max_host_failures_to_tolerate", answer_zero},
	{"pool.retrieve_wlb_configuration", answer_void, refuse_without_wlb},
	{"pool.retrieve_wlb_recommendations", answer_void, refuse_without_wlb},
	{"pool.add_to_guest_agent_config", add_to_guest_agent_config, check_new_agent_key},
	{"pool.remove_from_guest_agent_config", remove_from_guest_agent_config, check_self},
	{"pool.set_local_auth_max_threads", set_field, check_positive},
	{"pool.set_ext_auth_max_threads", set_field, check_positive},
	{"pool.set_ext_auth_cache_enabled", set_field, check_self},
	{"pool.set_ext_auth_cache_size", set_field, check_positive},
	{"pool.set_ext_auth_cache_expiry", set_field, check_positive},
	{"pool.set_telemetry_next_collection", set_field, check_self},
	{NULL, NULL, NULL, false},
};
