/* Commands about tracing, and about limits for kinds of clients. */
#include <stdlib.h>

#include "rpc/xe/commands/make.h"

xe_handler xe_cmd_observer_create, xe_cmd_caller_create, xe_cmd_rate_limit_create;

/* "a:b,c:d" as a map. */
static struct xn_value *pairs_of(struct xe *x, const char *param)
{
	const struct xn_value *list = xe_param_list(x, param);
	struct xn_value *map = xn_map_new();

	for (size_t i = 0; i < xn_set_len(list); i++) {
		const char *pair = xn_value_string(xn_set_at(list, i));
		const char *colon = strchr(pair, ':');

		if (colon && !strchr(colon + 1, ':'))
			xn_map_put_string(&map, xe_text(x, "%.*s", (int)(colon - pair), pair),
					  colon + 1);
	}
	return map;
}

void xe_cmd_observer_create(struct xe *x)
{
	const struct xn_value *uuids = xe_param_list(x, "host-uuids");
	struct xn_value *hosts, *endpoints;
	bool enabled;

	if (!xe_param_bool(x, "enabled", false, &enabled))
		return;
	hosts = xn_set_new();
	for (size_t i = 0; i < xn_set_len(uuids); i++) {
		const char *ref;

		if (!xe_by_uuid(x, XN_CLASS_host, xn_value_string(xn_set_at(uuids, i)), &ref)) {
			xn_value_unref(hosts);
			return;
		}
		xn_set_append_string(&hosts, ref);
	}
	endpoints = xn_value_ref(xe_param_list(x, "endpoints"));
	if (!xe_param(x, "endpoints"))
		xn_set_append_string(&endpoints, "bugtool");
	xe_make(x, XN_CLASS_Observer,
		xe_fields("name_label", 's', xe_param(x, "name-label"), "name_description", 's',
			  xe_param_or(x, "name-description", ""), "hosts", 'v', hosts, "attributes",
			  'v', pairs_of(x, "attributes"), "endpoints", 'v', endpoints, "components",
			  'm', xe_param_list(x, "components"), "enabled", 'b', enabled, NULL));
}

void xe_cmd_caller_create(struct xe *x)
{
	xe_make(x, XN_CLASS_Caller,
		xe_fields("name_label", 's', xe_param_or(x, "name-label", ""), "name_description",
			  's', xe_param_or(x, "name-description", ""), "user_agent", 's',
			  xe_param_or(x, "user-agent", ""), "client_ip", 's',
			  xe_param_or(x, "client-ip", ""), NULL));
}

static bool float_of(struct xe *x, const char *param, double *out)
{
	const char *text = xe_param(x, param);
	char *end;

	*out = strtod(text, &end);
	if (end != text && !*end)
		return true;
	xe_fail(x, "Parameter %s takes a number, not '%s'", param, text);
	return false;
}

void xe_cmd_rate_limit_create(struct xe *x)
{
	double burst, fill;

	if (!float_of(x, "burst-size", &burst) || !float_of(x, "fill-rate", &fill))
		return;
	if (xe_param(x, "caller-uuids")) {
		xe_fail(x, "Callers cannot be given to a limit on this server");
		return;
	}
	xe_make(x, XN_CLASS_Rate_limit,
		xe_fields("name_label", 's', xe_param_or(x, "name-label", ""), "name_description",
			  's', xe_param_or(x, "name-description", ""), "burst_size", 'd', burst,
			  "fill_rate", 'd', fill, NULL));
}
