/* Where handlers get the records from: rows, or calls where a row does not tell. */
#include "rpc/xe/record/record_internal.h"

#include <stdlib.h>

#include "rpc/xe/nearest.h"

static const struct xn_method *method_of(int class_id, const char *message)
{
	char *name = xn_asprintf("%s.%s", xn_classes[class_id].name, message);
	const struct xn_method *method = xn_method_find(name);

	free(name);
	return method;
}

bool xe_kind_is_open(struct xe *x, const struct xe_kind *kind)
{
	const struct xn_caller *caller = xe_caller(x);
	const struct xn_method *method = method_of(kind->class_id, "get_all_records");

	return xn_classes[kind->class_id].in_database &&
	       (!method || caller->is_superuser || caller->role <= method->min_role);
}

static bool has_been_asked(struct xe *x, const struct xe_kind *kind, const char *uuid,
			   struct xe_item *out)
{
	const char *cls = xn_classes[kind->class_id].name;
	const struct xn_value *ref;

	if (!xe_call(x, &ref, xe_text(x, "%s.get_by_uuid", cls), "s", uuid) ||
	    !xe_call(x, &out->fields, xe_text(x, "%s.get_record", cls), "s", xn_value_string(ref)))
		return false;
	out->ref = xn_value_string(ref);
	return true;
}

void xe_item_clear(struct xe_item *item)
{
	xn_record_unref(item->record);
	item->record = NULL;
}

bool xe_item_by_uuid(struct xe *x, const struct xe_kind *kind, const char *uuid,
		     struct xe_item *out)
{
	struct xn_row *row;

	*out = (struct xe_item){0};
	if (!xe_kind_is_open(x, kind))
		return has_been_asked(x, kind, uuid, out);
	if (!xe_by_uuid(x, kind->class_id, uuid, &out->ref))
		return false;
	row = xe_row(x, kind->class_id, out->ref);
	if (!row) {
		struct xn_error err = {0};

		xn_error_set(&err, XN_ERR_HANDLE_INVALID, xn_classes[kind->class_id].name,
			     out->ref);
		xe_fail_api(x, &err);
		return false;
	}
	out->record = xn_row_take(row);
	return true;
}

bool xe_item_tell(struct xe *x, const struct xe_kind *kind, const struct xe_columns *columns,
		  struct xe_item *item, struct xe_told *told)
{
	item->told = told;
	for (unsigned i = 0; i < kind->n; i++) {
		const struct xe_field *f = xe_field_row(kind, i);
		struct xe_told *t = &told[item->n_told];
		const struct xe_call_row *call;

		if (!xe_columns_has(columns, i) || !(f->flags & XE_F_CALL))
			continue;
		call = xe_call_of(f);
		if (!xe_try(x, &t->value, &t->error, xe_string(call->method),
			    call->has_self ? "s" : "", item->ref))
			return false;
		t->field = i;
		item->n_told++;
	}
	return true;
}

void xe_hint_field(struct xe *x, const struct xe_kind *kind, const char *name)
{
	struct xe_nearest nearest;

	xe_nearest_begin(&nearest, name);
	for (unsigned i = 0; i < kind->n; i++)
		xe_nearest_offer(&nearest, xe_field_name(kind, i));
	if (xe_nearest_best(&nearest))
		xe_hint(x, "Did you mean '%s'?", xe_nearest_best(&nearest));
	else
		xe_hint(x, "'xe %s-list params=all' shows all fields there are",
			xe_kind_prefix(kind));
}
