/* Commands about hosts, that are more than one call. */
#include <stdlib.h>

#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_host_forget, xe_cmd_host_declare_dead, xe_cmd_host_enable,
	xe_cmd_host_evacuate, xe_cmd_host_get_vms_which_prevent_evacuation, xe_cmd_host_call_plugin,
	xe_cmd_host_cpu_info, xe_cmd_host_get_cpu_features, xe_cmd_pool_get_cpu_features,
	xe_cmd_host_license_view, xe_cmd_host_apply_edition, xe_cmd_pool_apply_edition,
	xe_cmd_host_all_editions, xe_cmd_host_server_certificate_install,
	xe_cmd_host_enable_external_auth, xe_cmd_host_disable_external_auth,
	xe_cmd_host_ha_xapi_healthcheck;

/* ---- hosts that are gone ---- */

/* What cannot be undone is asked about, unless --force is there. */
static void do_carefully(struct xe *x, const char *method, const char *const *warnings)
{
	const char *host;
	bool force;

	if (!xe_by_uuid(x, XN_CLASS_host, xe_param(x, "uuid"), &host) ||
	    !xe_param_bool(x, "force", false, &force))
		return;
	for (; !force && *warnings; warnings++)
		xe_print(x, "WARNING: %s", *warnings);
	if ((!force && !xe_confirm(x)) || !xe_call(x, NULL, method, "s", host))
		return;
}

void xe_cmd_host_forget(struct xe *x)
{
	static const char *const warnings[] = {
		"Forget a host only when it cannot be repaired.",
		"A host that still works should be ejected from its pool instead.",
		"A forgotten host has to be installed anew. This cannot be undone.",
		NULL,
	};

	do_carefully(x, "host.destroy", warnings);
}

void xe_cmd_host_declare_dead(struct xe *x)
{
	static const char *const warnings[] = {
		"Declare a host dead only when it is certain that it is off.",
		"If VMs still run on it, their disks may be damaged by a second start elsewhere.",
		NULL,
	};

	do_carefully(x, "host.declare_dead", warnings);
}

/* ---- work on hosts ---- */

void xe_cmd_host_enable(struct xe *x)
{
	/* A key of graphical clients, which would disable the host again. */
	if (xe_call(x, NULL, "host.remove_from_other_config", "ss", xe_object(x),
		    "MAINTENANCE_MODE") &&
	    !xe_call(x, NULL, "host.enable", "s", xe_object(x)))
		return;
}

void xe_cmd_host_evacuate(struct xe *x)
{
	const char *uuid = xe_param(x, "network-uuid"), *network = XN_NULL_REF;
	int64_t batch;

	if ((uuid && !xe_by_uuid(x, XN_CLASS_network, uuid, &network)) ||
	    !xe_param_int(x, "batch-size", 0, &batch) ||
	    !xe_call(x, NULL, "host.evacuate", "ssi", xe_object(x), network, batch))
		return;
}

static const char *joined(struct xe *x, const struct xn_value *set)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	for (size_t i = 0; i < xn_set_len(set); i++)
		xn_buf_printf(&text, "%s%s", i ? "," : "", xn_value_string(xn_set_at(set, i)));
	return xe_text(x, "%s", xn_buf_cstr(&text));
}

void xe_cmd_host_get_vms_which_prevent_evacuation(struct xe *x)
{
	static const char *const plain[] = {"uuid", "name-label", "reason", NULL};
	static const char *const marked[] = {"uuid ( RO)", "name-label ( RW)", "reason ( RO)", NULL};
	const char *const *keys = xe_is_json(x) ? plain : marked;
	const struct xn_value *vms;
	struct xn_value *by_name, *rows;
	const char *host;

	if (!xe_by_uuid(x, XN_CLASS_host, xe_param(x, "uuid"), &host) ||
	    !xe_call(x, &vms, "host.get_vms_which_prevent_evacuation", "s", host))
		return;
	by_name = xn_map_new(); /* references' order says nothing */
	for (size_t i = 0; i < xn_map_len(vms); i++) {
		const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xn_map_key_at(vms, i));
		const char *name = vm ? xn_row_string(vm, XN_VM_name_label) : "";

		if (vm)
			xn_map_put(&by_name, xe_text(x, "%s %s", name, xn_row_uuid(vm)),
				   xe_fields(keys[0], 's', xn_row_uuid(vm), keys[1], 's', name, keys[2],
					     's', joined(x, xn_map_at(vms, i)), NULL));
	}
	rows = xn_set_new();
	for (size_t i = 0; i < xn_map_len(by_name); i++)
		xn_set_append(&rows, xn_value_ref(xn_map_at(by_name, i)));
	xn_value_unref(by_name);
	xe_table(x, rows, keys);
}

void xe_cmd_host_call_plugin(struct xe *x)
{
	const struct xn_value *args, *result;
	const char *host;

	if (xe_by_uuid(x, XN_CLASS_host, xe_param(x, "host-uuid"), &host) &&
	    xe_file_args(x, "args", &args) &&
	    xe_call(x, &result, "host.call_plugin", "sssm", host, xe_param(x, "plugin"),
		    xe_param(x, "fn"), args))
		xe_value(x, xn_value_string(result));
}

/* ---- what a host is ---- */

void xe_cmd_host_cpu_info(struct xe *x)
{
	const char *host;

	if (xe_host_named(x, "uuid", &host))
		xe_table_of(x, "host.get_cpu_info", host, NULL, NULL);
}

void xe_cmd_host_get_cpu_features(struct xe *x)
{
	static const char *const keys[] = {"features_pv", "features_hvm", "features_pv_host",
					   "features_hvm_host", NULL};
	const char *host;

	if (xe_host_named(x, "uuid", &host))
		xe_table_of(x, "host.get_cpu_info", host, keys, NULL);
}

void xe_cmd_pool_get_cpu_features(struct xe *x)
{
	static const char *const keys[] = {"features_pv_host", "features_hvm_host", NULL};
	const char *pool;

	if (xe_pool_named(x, &pool))
		xe_table_of(x, "pool.get_cpu_info", pool, keys, NULL);
}

void xe_cmd_host_license_view(struct xe *x)
{
	const char *host;

	if (xe_host_named(x, "host-uuid", &host))
		xe_table_of(x, "host.get_license_params", host, NULL, "sku_type");
}

/* ---- editions ---- */

static bool set_server(struct xe *x, const char *host, const char *key, const char *value)
{
	return !value ||
	       (xe_call(x, NULL, "host.remove_from_license_server", "ss", host, key) &&
		xe_call(x, NULL, "host.add_to_license_server", "sss", host, key, value));
}

static void apply_edition(struct xe *x, const char *method, const char *ref)
{
	const char *host = xe_host(x), *port = xe_param(x, "license-server-port");
	const struct xn_value *editions;
	const struct xn_error *err;
	struct xn_error mine = {0};
	char *end;

	if (port) {
		long n = strtol(port, &end, 10);

		if (end == port || *end || n < 0 || n > 65535) {
			xe_warn(x, "NOTE: %s is no port number; the server's port stays as it is.",
				port);
			port = NULL;
		}
	}
	if (!set_server(x, host, "address", xe_param(x, "license-server-address")) ||
	    !set_server(x, host, "port", port) ||
	    !xe_try(x, NULL, &err, method, "ss", ref, xe_param(x, "edition")) || !err)
		return;
	if (strcmp(err->code, XN_ERR_INVALID_EDITION) == 0) {
		if (!xe_call(x, &editions, "host.get_editions", "s", host))
			return;
		xe_warn(x, "Valid editions are: %s", joined(x, editions));
	}
	xn_error_copy(&mine, err);
	xe_fail_api(x, &mine);
}

void xe_cmd_host_apply_edition(struct xe *x)
{
	const char *host;

	if (xe_host_named(x, "host-uuid", &host))
		apply_edition(x, "host.apply_edition", host);
}

void xe_cmd_pool_apply_edition(struct xe *x)
{
	const char *pool;

	if (xe_pool_named(x, &pool))
		apply_edition(x, "pool.apply_edition", pool);
}

void xe_cmd_host_all_editions(struct xe *x)
{
	const struct xn_value *editions;

	if (!xe_call(x, &editions, "host.get_editions", "s", xe_host(x)))
		return;
	for (size_t i = 0; i < xn_set_len(editions); i++)
		xe_value(x, xn_value_string(xn_set_at(editions, i)));
}

/* ---- certificates ---- */

void xe_cmd_host_server_certificate_install(struct xe *x)
{
	const char *chain_file = xe_param(x, "certificate-chain");
	const char *certificate, *key, *chain = "";

	if (!xe_load_text(x, xe_param(x, "certificate"), "certificate", &certificate) ||
	    !xe_load_text(x, xe_param(x, "private-key"), "private key", &key) ||
	    (chain_file && !xe_load_text(x, chain_file, "certificate chain", &chain)) ||
	    !xe_call(x, NULL, "host.install_server_certificate", "ssss", xe_object(x), certificate,
		     key, chain))
		return;
}

/* ---- logins by a directory, of one host ---- */

static bool is_for_rescue(struct xe *x)
{
	if (xe_param(x, "force"))
		return true;
	xe_fail(x, "This is only for one host that no longer reaches the directory of its pool. This "
		   "operation must be forced (use --force).");
	return false;
}

void xe_cmd_host_enable_external_auth(struct xe *x)
{
	const char *host;

	if (!is_for_rescue(x) ||
	    !xe_by_uuid(x, XN_CLASS_host, xe_param(x, "host-uuid"), &host) ||
	    !xe_call(x, NULL, "host.enable_external_auth", "smss", host, xe_param_map(x, "config"),
		     xe_param(x, "service-name"), xe_param(x, "auth-type")))
		return;
}

void xe_cmd_host_disable_external_auth(struct xe *x)
{
	const char *host;

	if (!is_for_rescue(x) ||
	    !xe_by_uuid(x, XN_CLASS_host, xe_param(x, "host-uuid"), &host) ||
	    !xe_call(x, NULL, "host.disable_external_auth", "smb", host, xe_param_map(x, "config"),
		     true))
		return;
}

/* ---- is the daemon well? ---- */

void xe_cmd_host_ha_xapi_healthcheck(struct xe *x)
{
	const struct xn_value *well;

	if (!xe_call(x, &well, "host.ha_xapi_healthcheck", ""))
		return;
	if (xn_value_bool(well)) {
		xe_print(x, "xapi is healthy.");
		return;
	}
	xe_warn(x, "Host.ha_xapi_healthcheck reports false");
	xe_exit(x, 2);
}
