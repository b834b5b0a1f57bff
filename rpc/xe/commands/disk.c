/* Commands about disks and drives: vbd-*, vdi-*, that are more than one call. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_vbd_create, xe_cmd_vbd_unplug, xe_cmd_vdi_create, xe_cmd_vdi_introduce,
	xe_cmd_vdi_copy, xe_cmd_vdi_clone, xe_cmd_vdi_export, xe_cmd_vdi_import;

/* ---- VBDs ---- */

static const char *const modes[] = {"RO", "RW", NULL};
static const char *const types[] = {"CD", "Disk", "Floppy", NULL};

/* One of some words, whatever its case; @otherwise where it was not given. NULL: the run has failed. */
static const char *word_of(struct xe *x, const char *param, const char *const *words,
			   const char *otherwise, const char *choice)
{
	const char *given = xe_param_or(x, param, otherwise);

	for (; *words; words++)
		if (strcasecmp(*words, given) == 0)
			return *words;
	xe_fail(x, "Unknown %s: %s (should be %s)", param, given, choice);
	return NULL;
}

void xe_cmd_vbd_create(struct xe *x)
{
	const char *vm, *vdi = XN_NULL_REF, *mode, *type;
	const char *uuid = xe_param(x, "vdi-uuid");
	bool bootable, unpluggable;

	if (!xe_by_uuid(x, XN_CLASS_VM, xe_param(x, "vm-uuid"), &vm) ||
	    (uuid && !xe_by_uuid(x, XN_CLASS_VDI, uuid, &vdi)) ||
	    !xe_param_bool(x, "bootable", false, &bootable) ||
	    !(mode = word_of(x, "mode", modes, "RW", "\"ro\" or \"rw\"")) ||
	    !(type = word_of(x, "type", types, "Disk", "\"cd\", \"disk\" or \"floppy\"")) ||
	    !xe_param_bool(x, "unpluggable", true, &unpluggable))
		return;
	if (!uuid && strcmp(type, "Disk") == 0) {
		xe_hint(x, "Give the disk with vdi-uuid=, or make an empty drive with type=CD");
		xe_fail(x, "Empty VBDs can only be made for type=CD");
		return;
	}
	xe_make(x, XN_CLASS_VBD,
		xe_fields("VM", 's', vm, "VDI", 's', vdi, "userdevice", 's', xe_param(x, "device"),
			  "bootable", 'b', bootable, "mode", 's', mode, "type", 's', type,
			  "unpluggable", 'b', unpluggable, "empty", 'b', !uuid, "other_config", 'v',
			  xn_map_new(), "qos_algorithm_type", 's', "", "qos_algorithm_params", 'v',
			  xn_map_new(), NULL));
}

/* The guest did not let go: until it does, or the time is over. */
struct unplugging {
	char vbd[48];		  /* "": it was not asked yet */
	struct xn_error rejected; /* what it said */
	int64_t until_us;
	char token[80]; /* of event.from */
};

static void clear_unplugging(void *state)
{
	xn_error_clear(&((struct unplugging *)state)->rejected);
}

static void fail_as(struct xe *x, const struct xn_error *err)
{
	struct xn_error mine = {0};

	xn_error_copy(&mine, err);
	xe_fail_api(x, &mine);
}

/* Whether the VBD is detached now, as an answer of event.from has it. */
static bool is_detached(const struct xn_value *answer, const char *vbd)
{
	const struct xn_value *events = xn_map_get(answer, "events");
	bool detached = false;

	for (size_t i = 0; events && i < xn_set_len(events); i++) {
		const struct xn_value *event = xn_set_at(events, i);
		const struct xn_value *row = xn_map_get(event, "snapshot");
		const char *ref = xn_map_get_string(event, "ref");

		if (ref && strcmp(ref, vbd) == 0)
			detached = !row || !xn_map_get_bool(row, "currently_attached", true);
	}
	return detached;
}

/* A round of waiting: the first one's token is that of the beginning, and is answered at once. */
static void await_detached(struct xe *x, struct unplugging *u)
{
	int64_t now = xn_now_us(xe_core(x)->loop);
	struct xn_value *classes = xn_set_new();
	const struct xn_value *answer;

	xn_set_append(&classes, xn_stringf("VBD/%s", u->vbd));
	if (!xe_call(x, &answer, "event.from", "vsd", classes, u->token,
		     u->until_us > now ? (double)(u->until_us - now) / 1e6 : 0.0) ||
	    is_detached(answer, u->vbd))
		return;
	if (xn_now_us(xe_core(x)->loop) >= u->until_us) {
		fail_as(x, &u->rejected);
		return;
	}
	snprintf(u->token, sizeof(u->token), "%s", xn_map_get_string(answer, "token"));
	(void)!xe_yield(x);
}

static bool seconds_of(struct xe *x, const char *param, double *out)
{
	const char *given = xe_param_or(x, param, "0");
	char *end;

	*out = strtod(given, &end);
	if (end != given && !*end && *out >= 0 && *out < 1e9)
		return true;
	xe_fail(x, "Failed to parse parameter '%s': expecting a float", param);
	return false;
}

void xe_cmd_vbd_unplug(struct xe *x)
{
	struct unplugging *u = xe_state(x, sizeof(*u), clear_unplugging);
	const struct xn_error *err;
	const char *vbd;
	double timeout;
	bool force;

	if (*u->vbd) {
		await_detached(x, u);
		return;
	}
	if (!xe_by_uuid(x, XN_CLASS_VBD, xe_param(x, "uuid"), &vbd) ||
	    !seconds_of(x, "timeout", &timeout) || !xe_param_bool(x, "force", false, &force) ||
	    !xe_try(x, NULL, &err, force ? "VBD.unplug_force" : "VBD.unplug", "s", vbd) || !err)
		return;
	if (timeout == 0 || strcmp(err->code, XN_ERR_DEVICE_DETACH_REJECTED) != 0) {
		fail_as(x, err);
		return;
	}
	snprintf(u->vbd, sizeof(u->vbd), "%s", vbd);
	xn_error_copy(&u->rejected, err);
	u->until_us = xn_now_us(xe_core(x)->loop) + (int64_t)(timeout * 1e6);
	(void)!xe_yield(x);
}

/* ---- VDIs ---- */

static const char *vdi_type(struct xe *x, const char *otherwise)
{
	static const char *const known[] = {"system", "user", "suspend", "crashdump"};
	const char *given = xe_param_or(x, "type", otherwise);

	for (size_t i = 0; i < XN_ARRAY_SIZE(known); i++)
		if (strcmp(known[i], given) == 0)
			return known[i];
	xe_fail(x, "Unknown vdi type: %s", given);
	return NULL;
}

void xe_cmd_vdi_create(struct xe *x)
{
	const struct xn_value *given = xe_param_map(x, "tags");
	const char *sr, *type;
	struct xn_value *tags;
	int64_t size;
	bool sharable;

	if (!xe_by_uuid(x, XN_CLASS_SR, xe_param(x, "sr-uuid"), &sr) ||
	    !xe_param_size(x, "virtual-size", 0, &size) || !(type = vdi_type(x, "user")) ||
	    !xe_param_bool(x, "sharable", false, &sharable))
		return;
	tags = xn_set_new();
	for (size_t i = 0; i < xn_map_len(given); i++) /* tags:NAME= */
		xn_set_append_string(&tags, xn_map_key_at(given, i));
	xe_make(x, XN_CLASS_VDI,
		xe_fields("name_label", 's', xe_param(x, "name-label"), "name_description", 's', "",
			  "SR", 's', sr, "virtual_size", 'i', size, "type", 's', type, "sharable",
			  'b', sharable, "read_only", 'b', false, "other_config", 'v', xn_map_new(),
			  "xenstore_data", 'v', xn_map_new(), "sm_config", 'm',
			  xe_param_map(x, "sm-config"), "tags", 'v', tags, NULL));
}

void xe_cmd_vdi_introduce(struct xe *x)
{
	const struct xn_value *vdi;
	const char *sr, *type;
	bool sharable, read_only, managed;

	if (!xe_by_uuid(x, XN_CLASS_SR, xe_param(x, "sr-uuid"), &sr) || !(type = vdi_type(x, "")) ||
	    !xe_param_bool(x, "sharable", false, &sharable) ||
	    !xe_param_bool(x, "read-only", false, &read_only) ||
	    !xe_param_bool(x, "managed", false, &managed))
		return;
	if (xe_call(x, &vdi, "VDI.introduce", "sssssbbmsmmb", xe_param(x, "uuid"),
		    xe_param_or(x, "name-label", ""), xe_param_or(x, "name-description", ""), sr,
		    type, sharable, read_only, xe_param_map(x, "other-config"),
		    xe_param(x, "location"), xe_param_map(x, "xenstore-data"),
		    xe_param_map(x, "sm-config"), managed))
		xe_value_uuid(x, XN_CLASS_VDI, xn_value_string(vdi));
}

void xe_cmd_vdi_copy(struct xe *x)
{
	const char *sr_uuid = xe_param(x, "sr-uuid"), *into_uuid = xe_param(x, "into-vdi-uuid");
	const char *base_uuid = xe_param(x, "base-vdi-uuid");
	const char *vdi, *sr = XN_NULL_REF, *base = XN_NULL_REF, *into = XN_NULL_REF;
	const struct xn_value *copy;

	if (!xe_by_uuid(x, XN_CLASS_VDI, xe_param(x, "uuid"), &vdi) ||
	    (base_uuid && !xe_by_uuid(x, XN_CLASS_VDI, base_uuid, &base)))
		return;
	if (!sr_uuid == !into_uuid) {
		xe_fail(x, "Give either sr-uuid, for a new disk there, or into-vdi-uuid, for the disk "
			   "that is to be filled");
		return;
	}
	if ((sr_uuid && !xe_by_uuid(x, XN_CLASS_SR, sr_uuid, &sr)) ||
	    (into_uuid && !xe_by_uuid(x, XN_CLASS_VDI, into_uuid, &into)))
		return;
	if (xe_call(x, &copy, "VDI.copy", "ssss", vdi, sr, base, into))
		xe_value_uuid(x, XN_CLASS_VDI, xn_value_string(copy));
}

void xe_cmd_vdi_clone(struct xe *x)
{
	const char *name = xe_param(x, "new-name-label");
	const char *description = xe_param(x, "new-name-description");
	const struct xn_value *made;
	const char *vdi, *clone;

	if (!xe_by_uuid(x, XN_CLASS_VDI, xe_param(x, "uuid"), &vdi) ||
	    !xe_call(x, &made, "VDI.clone", "sm", vdi, xe_param_map(x, "driver-params")))
		return;
	clone = xn_value_string(made);
	if ((name && !xe_call(x, NULL, "VDI.set_name_label", "ss", clone, name)) ||
	    (description &&
	     !xe_call(x, NULL, "VDI.set_name_description", "ss", clone, description)))
		return;
	xe_value_uuid(x, XN_CLASS_VDI, clone);
}

void xe_cmd_vdi_export(struct xe *x)
{
	const char *vdi, *format = xe_param(x, "format"), *base = xe_param(x, "base");

	if (xe_by_uuid(x, XN_CLASS_VDI, xe_param(x, "uuid"), &vdi) &&
	    !xe_get(x, xe_param(x, "filename"),
		    xe_text(x, "/export_raw_vdi?vdi=%s%s%s%s%s", vdi, format ? "&format=" : "",
			    format ? xe_escaped(x, format) : "", base ? "&base=" : "",
			    base ? xe_escaped(x, base) : ""),
		    "VDI export", NULL))
		return;
}

void xe_cmd_vdi_import(struct xe *x)
{
	const char *vdi, *format = xe_param(x, "format");

	if (xe_by_uuid(x, XN_CLASS_VDI, xe_param(x, "uuid"), &vdi) &&
	    !xe_put(x, xe_param(x, "filename"),
		    xe_text(x, "/import_raw_vdi?vdi=%s%s%s", vdi, format ? "&format=" : "",
			    format ? xe_escaped(x, format) : ""),
		    "VDI import", NULL))
		return;
}
