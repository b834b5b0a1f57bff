/* vm-import: an exported archive becomes VMs again, by PUT /import. */
#include <strings.h>

#include "rpc/xe/commands/vm.h"

/* The repository for the disks: the one that was named, or the pool's default. */
static bool find_sr(struct xe *x, const char **ref_out)
{
	const char *uuid = xe_param(x, "sr-uuid");
	const struct xn_value *given;

	if (uuid)
		return xe_by_uuid(x, XN_CLASS_SR, uuid, ref_out);
	if (!xe_call(x, &given, "pool.get_default_SR", "s", xe_pool(x)))
		return false;
	*ref_out = xn_value_string(given);
	if (xe_row(x, XN_CLASS_SR, *ref_out))
		return true;
	xe_hint(x, "Name a storage repository with sr-uuid=");
	xe_fail(x, "No SR specified and Pool default SR is null");
	return false;
}

/* People give the folder's ova.xml for the folder. */
static const char *file_of(struct xe *x)
{
	static const char ending[] = "ova.xml";
	const char *filename = xe_param(x, "filename");
	size_t len = strlen(filename), end = sizeof(ending) - 1;

	return len >= end && strcasecmp(filename + len - end, ending) == 0
		       ? xe_text(x, "%.*s", (int)(len - end), filename)
		       : filename;
}

/* vdi:OLD=NEW, as the url has them. */
static const char *disks_of(struct xe *x)
{
	const struct xn_value *map = xe_param_map(x, "vdi");
	const char *text = "";

	for (size_t i = 0; i < xn_map_len(map); i++)
		text = xe_text(x, "%s&vdi:%s=%s", text, xe_escaped(x, xn_map_key_at(map, i)),
			       xe_escaped(x, xn_value_string(xn_map_at(map, i))));
	return text;
}

/* The uuids of the references in the task's result, which is XML. */
static void print_uuids(struct xe *x, const char *result)
{
	const char *joined = "";
	const char *at = result;

	while (at && (at = strstr(at, "OpaqueRef:"))) {
		size_t len = strcspn(at, "<");
		const struct xn_row *row =
			xe_row(x, XN_CLASS_VM, xe_text(x, "%.*s", (int)len, at));

		if (row)
			joined = xe_text(x, "%s%s%s", joined, *joined ? "," : "", xn_row_uuid(row));
		at += len;
	}
	if (xe_is_json(x))
		xe_value(x, joined);
	else
		xe_raw(x, joined, strlen(joined));
}

/* Where the daemon would fetch the archive itself. */
static void import_url(struct xe *x, const char *sr, bool preserve, bool force)
{
	const struct xn_value *vms;

	if (xe_param(x, "filename")) {
		xe_fail(x, "Give either url or filename");
		return;
	}
	if (!xe_call(x, &vms, "VM.import", "ssbb", xe_param(x, "url"), sr, preserve, force))
		return;
	for (size_t i = 0; i < xn_set_len(vms); i++)
		xe_value_uuid(x, XN_CLASS_VM, xn_value_string(xn_set_at(vms, i)));
}

XE_COMMAND(vm_import)
{
	bool preserve, metadata, force, dry_run;
	const char *sr, *result = NULL;

	if (!xe_param_bool(x, "preserve", false, &preserve) ||
	    !xe_param_bool(x, "metadata", false, &metadata) ||
	    !xe_param_bool(x, "force", false, &force) ||
	    !xe_param_bool(x, "dry-run", false, &dry_run) || !find_sr(x, &sr))
		return;
	if (strcasecmp(xe_param_or(x, "type", "default"), "default") != 0) {
		if (!xe_call(x, NULL, "VM.import_convert", "ssssm", xe_param(x, "type"),
			     xe_param_or(x, "host-username", ""),
			     xe_param_or(x, "host-password", ""), sr,
			     xe_param_map(x, "remote-config")))
			return; /* it is said */
		return;
	}
	if (xe_param(x, "url")) {
		import_url(x, sr, preserve, force);
		return;
	}
	if (!xe_param(x, "filename")) {
		xe_fail(x, "Required parameter not found: filename");
		return;
	}
	if (dry_run && !metadata) {
		xe_fail(x, "Only metadata import function support dry-run");
		return;
	}
	if (xe_put(x, file_of(x),
		   xe_text(x, "/%s?restore=%s&force=%s&dry_run=%s&sr_id=%s%s",
			   metadata ? "import_metadata" : "import", preserve ? "true" : "false",
			   force ? "true" : "false", dry_run ? "true" : "false", sr, disks_of(x)),
		   "VM import", &result))
		print_uuids(x, result);
}
