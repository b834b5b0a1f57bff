/* Commands about storage repositories and how hosts reach them: sr-*, pbd-*. */
#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_sr_create, xe_cmd_sr_probe, xe_cmd_sr_probe_ext, xe_cmd_pbd_create,
	xe_cmd_sr_data_source_list, xe_cmd_host_data_source_list, xe_cmd_pvs_cache_storage_create;

/* device-config:KEY-filename=NAME is the content of the client's file NAME. */
static bool device_config(struct xe *x, const struct xn_value **out)
{
	static const char suffix[] = "-filename";
	const struct xn_value *given = xe_param_map(x, "device-config");
	struct xn_value *config = xn_map_new();

	for (size_t i = 0; i < xn_map_len(given); i++) {
		const char *key = xn_map_key_at(given, i);
		const char *value = xn_value_string(xn_map_at(given, i));
		size_t len = strlen(key), end = sizeof(suffix) - 1;
		bool is_file = len > end && strcmp(key + len - end, suffix) == 0;

		if (is_file && !xe_load_text(x, value, "file", &value)) {
			xn_value_unref(config);
			return false;
		}
		xn_map_put_string(&config,
				  xe_text(x, "%.*s", (int)(is_file ? len - end : len), key), value);
	}
	*out = xe_keep_value(x, config);
	return true;
}

void xe_cmd_sr_create(struct xe *x)
{
	const struct xn_value *config, *made;
	const struct xn_row *row;
	const char *host;
	int64_t size;
	bool shared;

	if (!xe_param_bool(x, "shared", false, &shared) || !xe_host_named(x, "host-uuid", &host) ||
	    !xe_param_size(x, "physical-size", 0, &size) || !device_config(x, &config) ||
	    !xe_call(x, &made, "SR.create", "smissssbm", host, config, size,
		     xe_param(x, "name-label"), xe_param_or(x, "name-description", ""),
		     xe_param(x, "type"), xe_param_or(x, "content-type", ""), shared,
		     xe_param_map(x, "sm-config")))
		return;
	row = xe_row(x, XN_CLASS_SR, xn_value_string(made));
	if (xe_is_json(x) || !row)
		xe_value_uuid(x, XN_CLASS_SR, xn_value_string(made));
	else /* also with --minimal, as it is: the field writes it past its printer */
		xe_raw(x, xn_row_uuid(row), strlen(xn_row_uuid(row)));
}

void xe_cmd_sr_probe(struct xe *x)
{
	const struct xn_value *found;
	const char *host;

	if (xe_host_named(x, "host-uuid", &host) &&
	    xe_call(x, &found, "SR.probe", "smsm", host, xe_param_map(x, "device-config"),
		    xe_param(x, "type"), xe_param_map(x, "sm-config")))
		xe_value(x, xn_value_string(found));
}

/* ---- sr-probe-ext ---- */

static void show_map(struct xe *x, const struct xn_value *map)
{
	struct xn_value *rows = xn_set_new();

	xn_set_append(&rows, xn_value_ref(map));
	xe_table(x, rows, NULL);
}

static void show_sr(struct xe *x, const struct xn_value *sr)
{
	static const char *const names[][2] = {
		{"uuid", "uuid"},	       {"name_label", "name-label"},
		{"name_description", "name-description"}, {"total_space", "total-space"},
		{"free_space", "free-space"},  {"clustered", "clustered"},
		{"health", "health"},
	};
	static const char *const order[] = {"uuid", "name-label", "name-description", "total-space",
					    "free-space", "clustered", "health", NULL};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *texts = xe_as_texts(sr);
	struct xn_value *row = xn_map_new(), *rows = xn_set_new();

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (xn_map_get_string(texts, names[i][0]))
			xn_map_put_string(&row, names[i][1], xn_map_get_string(texts, names[i][0]));
	xn_set_append(&rows, row);
	xe_table(x, rows, order);
}

enum found { FOUND_SR, FOUND_COMPLETE, FOUND_INCOMPLETE, FOUND_KINDS };

static enum found kind_of(const struct xn_value *found)
{
	const struct xn_value *sr = xn_map_get(found, "sr");

	return sr && sr->kind == XN_MAP		      ? FOUND_SR
	       : xn_map_get_bool(found, "complete", false) ? FOUND_COMPLETE
							   : FOUND_INCOMPLETE;
}

static void show_found(struct xe *x, const struct xn_value *found, enum found kind, unsigned n)
{
	const char *what = kind == FOUND_SR ? "SR" : "Configuration";

	if (kind == FOUND_SR) {
		xe_print(x, "SR %u:", n);
		show_sr(x, xn_map_get(found, "sr"));
	}
	xe_print(x, kind == FOUND_SR ? "%s %u configuration:" : "%s %u:", what, n);
	show_map(x, xn_map_get(found, "configuration"));
	xe_print(x, "%s %u extra information:", what, n);
	show_map(x, xn_map_get(found, "extra_info"));
}

void xe_cmd_sr_probe_ext(struct xe *x)
{
	static const char *const titles[FOUND_KINDS] = {
		"The following SRs were found:",
		"Found the following complete configurations that can be used to create SRs:",
		"Found the following incomplete configurations that may contain SRs:",
	};
	const struct xn_value *all;
	const char *host;

	if (!xe_host_named(x, "host-uuid", &host) ||
	    !xe_call(x, &all, "SR.probe_ext", "smsm", host, xe_param_map(x, "device-config"),
		     xe_param(x, "type"), xe_param_map(x, "sm-config")))
		return;
	for (int kind = 0; kind < FOUND_KINDS; kind++) {
		unsigned n = 0;

		for (size_t i = 0; i < xn_set_len(all); i++) {
			const struct xn_value *found = xn_set_at(all, i);

			if (kind_of(found) != (enum found)kind)
				continue;
			if (n == 0)
				xe_print(x, "%s", titles[kind]);
			show_found(x, found, (enum found)kind, n++);
		}
	}
}

/* ---- PBDs, and what is measured ---- */

void xe_cmd_pbd_create(struct xe *x)
{
	const char *host, *sr;

	if (xe_by_uuid(x, XN_CLASS_host, xe_param(x, "host-uuid"), &host) &&
	    xe_by_uuid(x, XN_CLASS_SR, xe_param(x, "sr-uuid"), &sr))
		xe_make(x, XN_CLASS_PBD,
			xe_fields("host", 's', host, "SR", 's', sr, "device_config", 'm',
				  xe_param_map(x, "device-config"), NULL));
}

static void list_sources(struct xe *x, const char *method)
{
	static const char *const order[] = {"name_label", "name_description", "enabled", "standard",
					    "min", "max", "units", NULL};
	struct xn_value *rows;
	const struct xn_value *all;

	if (!xe_call(x, &all, method, "s", xe_object(x)))
		return;
	rows = xn_set_new();
	for (size_t i = 0; i < xn_set_len(all); i++)
		xn_set_append(&rows, xe_as_texts(xn_set_at(all, i)));
	xe_table(x, rows, order);
}

void xe_cmd_sr_data_source_list(struct xe *x)
{
	list_sources(x, "SR.get_data_sources");
}

void xe_cmd_host_data_source_list(struct xe *x)
{
	list_sources(x, "host.get_data_sources");
}

void xe_cmd_pvs_cache_storage_create(struct xe *x)
{
	const char *sr, *site;
	int64_t size;

	if (xe_by_uuid(x, XN_CLASS_SR, xe_param(x, "sr-uuid"), &sr) &&
	    xe_by_uuid(x, XN_CLASS_PVS_site, xe_param(x, "pvs-site-uuid"), &site) &&
	    xe_param_size(x, "size", 0, &size))
		xe_make(x, XN_CLASS_PVS_cache_storage,
			xe_fields("host", 's', xe_object(x), "SR", 's', sr, "site", 's', site, "size",
				  'i', size, NULL));
}
