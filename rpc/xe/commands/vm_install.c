/*
 * vm-install: a VM from a template, by clone (or by copy, where the user says on which SR), then
 * VM.provision makes the disks that the template asks for. What is half made is taken away again.
 */
#include <stdio.h>

#include "rpc/xe/commands/vm.h"

/* ---- which template ---- */

/* A string in an expression of get_all_where. */
static const char *quoted(struct xe *x, const char *text)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			xn_buf_add_char(&out, '\\');
		xn_buf_add_char(&out, *text);
	}
	return xe_text(x, "%s", xn_buf_cstr(&out));
}

static bool template_by_name(struct xe *x, const char *name, const char **ref_out)
{
	const struct xn_value *found;

	if (!xe_call(x, &found, "VM.get_all_where", "s",
		     xe_text(x,
			     "field \"is_a_template\"=\"true\" and "
			     "field \"is_control_domain\"=\"false\" and field "
			     "\"name__label\"=\"%s\"",
			     quoted(x, name))))
		return false;
	if (xn_set_len(found) == 1) {
		*ref_out = xn_value_string(xn_set_at(found, 0));
		return true;
	}
	if (xn_set_len(found)) {
		xe_fail(x, "More than one matching template found");
		xe_hint(x, "Name it by its uuid: 'xe template-list name-label=\"%s\" params=uuid'",
			name);
	} else {
		xe_fail(x, "No templates matched");
		xe_hint_nearest(x, "template", name);
	}
	return false;
}

static bool template_by_uuid(struct xe *x, const char *uuid, const char **ref_out, bool *found_out)
{
	const struct xn_value *found;
	const struct xn_error *err;

	if (!xe_try(x, &found, &err, "VM.get_by_uuid", "s", uuid))
		return false;
	*found_out = !err;
	if (!err)
		*ref_out = xn_value_string(found);
	return true;
}

static bool find_template(struct xe *x, const char **ref_out)
{
	const char *uuid = xe_param(x, "template-uuid"), *either = xe_param(x, "template");
	const char *name = xe_param_or(x, "template-name-label", xe_param(x, "template-name"));
	bool found;

	if (uuid) {
		if (!template_by_uuid(x, uuid, ref_out, &found))
			return false;
		if (!found)
			xe_fail(x, "Cannot find template");
		return found;
	}
	if (name)
		return template_by_name(x, name, ref_out);
	if (!either) {
		xe_fail(x,
			"Template must be specified by parameter 'template-uuid', 'template-name', "
			"'template-name-label' or 'template'");
		xe_hint(x, "'xe template-list' shows what templates there are");
		return false;
	}
	if (!template_by_uuid(x, either, ref_out, &found))
		return false;
	return found || template_by_name(x, either, ref_out);
}

/* ---- on which SR ---- */

static bool sr_by_name(struct xe *x, const char *name, const char **sr)
{
	const struct xn_value *found;
	size_t n;

	if (!xe_call(x, &found, "SR.get_by_name_label", "s", name))
		return false;
	n = xn_set_len(found);
	if (!n) {
		xe_fail(x, "No SR with that name-label found");
		xe_hint_nearest(x, "sr", name);
	} else if (*sr && !xn_set_has_string(found, *sr)) {
		xe_fail(x, "SR specified via sr-uuid doesn't have the name specified via "
			   "sr-name-label");
	} else if (!*sr && n > 1) {
		xe_fail(x, "Multiple SRs with that name-label found");
	} else {
		*sr = *sr ? *sr : xn_value_string(xn_set_at(found, 0));
		return true;
	}
	return false;
}

/* What the user says; NULL: nothing. */
static bool find_sr(struct xe *x, const struct xn_value *template, const char **sr)
{
	const char *uuid = xe_param(x, "sr-uuid"), *name = xe_param(x, "sr-name-label");

	*sr = NULL;
	if ((uuid || name) && xn_map_get_bool(template, "is_a_snapshot", false)) {
		xe_fail(x,
			"Do not use the sr-name-label or sr-uuid argument when installing from a "
			"snapshot: each new disk goes where the snapshot's is");
		return false;
	}
	if (uuid && !xe_by_uuid(x, XN_CLASS_SR, uuid, sr))
		return false;
	return !name || sr_by_name(x, name, sr);
}

/* The uuid of the SR for disks that are to be made; "": none is needed. */
static bool find_sr_for_disks(struct xe *x, const struct xn_value *template, const char *sr,
			      const char **uuid_out)
{
	const struct xn_value *ref, *uuid;
	const struct xn_error *err = NULL;

	if (!sr) {
		if (!xe_call(x, &ref, "pool.get_default_SR", "s", xe_pool(x)))
			return false;
		sr = xn_value_string(ref);
	}
	if (!xe_try(x, &uuid, &err, "SR.get_uuid", "s", sr))
		return false;
	*uuid_out = err ? "" : xn_value_string(uuid);
	if (!err || !xn_map_get_string(xn_map_get(template, "other_config"), "disks"))
		return true;
	xe_fail(x, "Failed to find a valid default SR for the Pool. Please provide an "
		   "sr-name-label or "
		   "sr-uuid parameter.");
	xe_hint(x, "'xe sr-list' shows the SRs; 'xe pool-param-set default-SR=UUID uuid=POOL' "
		   "makes one "
		   "the default");
	return false;
}

/* ---- what the new VM needs ---- */

/* The text of other_config:disks with the value of each sr="..." replaced. */
static const char *with_sr(struct xe *x, const char *disks, const char *uuid)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *at = disks, *found, *end;

	while ((found = strstr(at, " sr=")) && (found[4] == '"' || found[4] == '\'') &&
	       (end = strchr(found + 5, found[4]))) {
		xn_buf_add(&out, at, (size_t)(found + 5 - at));
		xn_buf_add_string(&out, uuid);
		at = end;
	}
	xn_buf_add_string(&out, at);
	return xe_text(x, "%s", xn_buf_cstr(&out));
}

static bool is_recommended(const struct xn_value *template, const char *field)
{
	const char *text = xn_map_get_string(template, "recommendations"), *at, *end;
	char name[64];

	snprintf(name, sizeof(name), "field=\"%s\"", field);
	at = text ? strstr(text, name) : NULL;
	end = at ? strchr(at, '>') : NULL;
	return end && memmem(at, (size_t)(end - at), "value=\"true\"", 12);
}

/* Each returns false for "not yet", and leaves *err for what failed. */
static bool set_up(struct xe *x, const struct xn_value *template, const char *vm, const char *sr,
		   const char *sr_uuid, const struct xn_error **err)
{
	const char *suspend_sr = sr ? sr : xn_map_get_string(template, "suspend_SR");
	const char *disks = xn_map_get_string(xn_map_get(template, "other_config"), "disks");
	const struct xn_value *unwanted;
	bool vendor;

	if (!xe_try(x, NULL, err, "VM.set_name_description", "ss", vm, "Installed via xe CLI") ||
	    *err || !xe_try(x, NULL, err, "VM.set_suspend_SR", "ss", vm, suspend_sr) || *err)
		return *err != NULL;
	if (disks &&
	    (!xe_try(x, NULL, err, "VM.remove_from_other_config", "ss", vm, "disks") || *err ||
	     !xe_try(x, NULL, err, "VM.add_to_other_config", "sss", vm, "disks",
		     with_sr(x, disks, sr_uuid)) ||
	     *err))
		return *err != NULL;
	if (!xe_try(x, &unwanted, err, "pool.get_policy_no_vendor_device", "s", xe_pool(x)) || *err)
		return *err != NULL;
	vendor = !xn_value_bool(unwanted) && is_recommended(template, "has-vendor-device");
	if (!xe_try(x, NULL, err, "VM.set_has_vendor_device", "sb", vm, vendor) || *err)
		return *err != NULL;
	return xe_try(x, NULL, err, "VM.provision", "s", vm);
}

static bool copy_bios_strings(struct xe *x, const char *vm, const struct xn_error **err)
{
	const char *uuid = xe_param(x, "copy-bios-strings-from");
	const struct xn_value *host;

	if (!uuid)
		return true;
	if (!xe_try(x, &host, err, "host.get_by_uuid", "s", uuid))
		return false;
	return *err ||
	       xe_try(x, NULL, err, "VM.copy_bios_strings", "ss", vm, xn_value_string(host));
}

/* Takes the VM away with the disks that were made for it, then fails with what went wrong. */
static void take_back(struct xe *x, const char *vm, const struct xn_error *why)
{
	const struct xn_value *vbds, *record;
	const struct xn_error *err;
	struct xn_value *vdis = xn_set_new();
	struct xn_error copy = {0};

	if (!xe_try(x, &vbds, &err, "VM.get_VBDs", "s", vm))
		goto not_yet;
	for (size_t i = 0; !err && i < xn_set_len(vbds); i++) {
		const struct xn_error *gone;

		if (!xe_try(x, &record, &gone, "VBD.get_record", "s",
			    xn_value_string(xn_set_at(vbds, i))))
			goto not_yet;
		if (!gone && xn_map_get_string(xn_map_get(record, "other_config"), "owner"))
			xn_set_append_string(&vdis, xn_map_get_string(record, "VDI"));
	}
	if (!xe_try(x, NULL, &err, "VM.destroy", "s", vm))
		goto not_yet;
	for (size_t i = 0; i < xn_set_len(vdis); i++)
		if (!xe_try(x, NULL, &err, "VDI.destroy", "s", xn_value_string(xn_set_at(vdis, i))))
			goto not_yet;
	xn_error_copy(&copy, why);
	xe_fail_api(x, &copy);
not_yet:
	xn_value_unref(vdis);
}

/* ---- the command ---- */

XE_COMMAND(vm_install)
{
	const char *template, *sr, *sr_uuid, *name = xe_param(x, "new-name-label"), *vm;
	const struct xn_value *record, *made;
	const struct xn_error *err = NULL;

	if (!find_template(x, &template) || !xe_call(x, &record, "VM.get_record", "s", template))
		return;
	if (!xn_map_get_bool(record, "is_a_template", false)) {
		xe_fail(x, "Can only install from templates");
		return;
	}
	if (!find_sr(x, record, &sr) || !find_sr_for_disks(x, record, sr, &sr_uuid))
		return;
	if (!(sr ? xe_call(x, &made, "VM.copy", "sss", template, name, sr)
		 : xe_call(x, &made, "VM.clone", "ss", template, name)))
		return;
	vm = xn_value_string(made);
	if (!set_up(x, record, vm, sr, sr_uuid, &err) || (!err && !copy_bios_strings(x, vm, &err)))
		return;
	if (err)
		take_back(x, vm, err);
	else
		xe_value_uuid(x, XN_CLASS_VM, vm);
}
