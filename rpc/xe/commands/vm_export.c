/* VMs, templates and snapshots as files: GET /export, an archive. */
#include "rpc/xe/commands/vm.h"

static bool read_compression(struct xe *x, const char **out)
{
	static const struct {
		const char *given, *wanted;
	} kinds[] = {
		{"", "false"},    {"false", "false"}, {"none", "false"},
		{"true", "gzip"}, {"gzip", "gzip"},   {"zstd", "zstd"},
	};
	const char *given = xe_param_or(x, "compress", "");

	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		if (strcmp(given, kinds[i].given) == 0) {
			*out = kinds[i].wanted;
			return true;
		}
	xe_fail(x, "Parameter compress takes gzip, zstd or false, not '%s'", given);
	return false;
}

/* The first of several VMs is in the file that was named, the next in FILE2, FILE3 ... */
static const char *file_of(struct xe *x)
{
	const char *filename = xe_param(x, "filename");
	unsigned index = xe_object_index(x);

	return index ? xe_text(x, "%s%u", filename, index + 1) : filename;
}

static void export(struct xe *x, const char *ref)
{
	const char *compression, *filename = file_of(x);
	bool keeps_state, snapshots, metadata;

	if (!read_compression(x, &compression) ||
	    !xe_param_bool(x, "preserve-power-state", false, &keeps_state) ||
	    !xe_param_bool(x, "include-snapshots", false, &snapshots) ||
	    !xe_param_bool(x, "metadata", false, &metadata))
		return;
	if (snapshots && !metadata) {
		xe_fail(x, "Snapshots are not exported with their disks yet: export each by "
			   "snapshot-export-to-template");
		return;
	}
	if (xe_get(x, filename,
		   xe_text(x,
			   "/%s?ref=%s&use_compression=%s&preserve_power_state=%s"
			   "&export_snapshots=%s%s%s",
			   metadata ? "export_metadata" : "export", ref, compression,
			   keeps_state ? "true" : "false", snapshots ? "true" : "false",
			   metadata ? "&excluded_device_types=" : "",
			   metadata ? xe_escaped(x, xe_param_or(x, "excluded-device-types", ""))
				    : ""),
		   "Export of VM", NULL) &&
	    *filename)
		xe_say_line(x, "Export succeeded");
}

XE_COMMAND(vm_export)
{
	export(x, xe_object(x));
}

XE_COMMAND(template_export)
{
	const char *ref;

	if (xe_template(x, &ref))
		export(x, ref);
}

XE_COMMAND(snapshot_export_to_template)
{
	const char *ref;

	if (xe_snapshot(x, &ref))
		export(x, ref);
}
