/* diagnostic-vdi-status: who has a disk. */
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

xe_handler xe_cmd_diagnostic_vdi_status;

static struct xe_shown *add_shown(struct xe_shown *at, const char *prefix, const char *columns,
				  const char *ref)
{
	*at = (struct xe_shown){.kind = xe_kind_find(prefix, strlen(prefix)), .ref = ref};
	xe_columns_parse(at->kind, columns, &at->columns);
	return at + 1;
}

/* Those of a disk's VBDs that are attached, or are not; the first one has the title. */
static struct xe_shown *add_vbds(struct xe *x, struct xe_shown *at, const struct xn_value *vbds,
				 bool attached, const char *title)
{
	struct xe_shown *first = at;

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const char *ref = xn_value_string(xn_set_at(vbds, i));
		const struct xn_row *row = xe_row(x, XN_CLASS_VBD, ref);

		if (!row || xn_row_bool(row, XN_VBD_currently_attached) != attached)
			continue;
		at = add_shown(at, "vbd", "uuid,userdevice,device,empty,mode,type,storage-lock", ref);
		if (at - 1 == first)
			first->title = title;
	}
	return at;
}

void xe_cmd_diagnostic_vdi_status(struct xe *x)
{
	struct xe_shown *shown, *end, *inactive;
	const struct xn_value *vbds;
	const char *vdi;

	if (!xe_by_uuid(x, XN_CLASS_VDI, xe_param(x, "uuid"), &vdi) ||
	    !xe_call(x, &vbds, "VDI.get_VBDs", "s", vdi))
		return;
	shown = xn_calloc(xn_set_len(vbds) + 1, sizeof(*shown));
	end = add_shown(shown, "vdi",
			"uuid,name-label,sr-uuid,mode,read-only,sharable,storage-lock", vdi);
	inactive = add_vbds(x, end, vbds, true, "active VBDs:");
	end = add_vbds(x, inactive, vbds, false,
		       inactive == end ? "no active VBDs.\ninactive VBDs:" : "inactive VBDs:");
	xe_show(x, shown, (size_t)(end - shown));
	if (end == shown + 1)
		xe_print(x, "no active VBDs.");
	free(shown);
}
