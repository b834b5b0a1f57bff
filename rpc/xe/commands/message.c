/* Commands that make and delete messages. */
#include <errno.h>
#include <stdlib.h>

#include "rpc/xe/commands/make.h"

xe_handler xe_cmd_message_create, xe_cmd_message_destroy, xe_cmd_message_destroy_all;

void xe_cmd_message_create(struct xe *x)
{
	static const char *const about[][2] = {
		{"vm-uuid", "VM"}, {"pool-uuid", "Pool"}, {"sr-uuid", "SR"}, {"host-uuid", "Host"},
	};
	const char *uuid = NULL, *cls = NULL, *text = xe_param(x, "priority");
	int64_t priority;
	char *end;

	errno = 0;
	priority = strtoll(text, &end, 10);
	if (errno || end == text || *end) {
		xe_fail(x, "Priority field should be an integer");
		return;
	}
	for (size_t i = 0; !uuid && i < XN_ARRAY_SIZE(about); i++) {
		uuid = xe_param(x, about[i][0]);
		cls = about[i][1];
	}
	if (!uuid) {
		xe_fail(x, "Need one of: vm-uuid, host-uuid, sr-uuid or pool-uuid");
		return;
	}
	if (!xe_call(x, NULL, "message.create", "sisss", xe_param(x, "name"), priority, cls, uuid,
		     xe_param(x, "body")))
		return;
}

void xe_cmd_message_destroy(struct xe *x)
{
	const char *uuid = xe_param(x, "uuid"), *uuids = xe_param(x, "uuids");
	const struct xn_value *list, *ref;
	struct xn_value *refs;

	if (!uuid == !uuids) {
		xe_fail(x, uuid ? "Ambiguous arguments; need one of uuid, uuids"
				: "Need one of uuid, uuids");
		return;
	}
	list = xe_param_list(x, uuid ? "uuid" : "uuids");
	refs = xn_set_new();
	for (size_t i = 0; i < xn_set_len(list); i++) {
		if (!xe_call(x, &ref, "message.get_by_uuid", "s",
			     xn_value_string(xn_set_at(list, i)))) {
			xn_value_unref(refs);
			return;
		}
		xn_set_append(&refs, xn_value_ref(ref));
	}
	if (!xe_call(x, NULL, "message.destroy_many", "v", refs))
		return;
}

/* ---- message-destroy-all ---- */

struct bounds {
	int64_t before, after, priority;
	bool has_before, has_after, has_priority;
};

static bool time_of(struct xe *x, const char *param, bool *has_out, int64_t *out)
{
	const char *text = xe_param(x, param);

	*has_out = text != NULL;
	if (!text || xn_date_parse(text, out) == 0)
		return true;
	xe_fail(x, "Invalid timestamp format for '%s' (expected RFC3339, for example, "
		   "2025-01-01T00:00:00Z)", param);
	return false;
}

static bool is_within(const struct xn_value *message, const struct bounds *b)
{
	const struct xn_value *when = xn_map_get(message, "timestamp");
	int64_t at = 0;

	if (when && when->kind == XN_DATETIME)
		at = xn_value_int(when);
	else if (when && xn_date_parse(xn_value_string(when), &at) < 0)
		return false;
	return (!b->has_before || at < b->before) && (!b->has_after || at > b->after) &&
	       (!b->has_priority || xn_map_get_int(message, "priority", -1) == b->priority);
}

void xe_cmd_message_destroy_all(struct xe *x)
{
	const struct xn_value *all;
	struct xn_value *refs;
	struct bounds b;

	b.has_priority = xe_param(x, "priority") != NULL;
	if (!time_of(x, "before", &b.has_before, &b.before) ||
	    !time_of(x, "after", &b.has_after, &b.after) ||
	    !xe_param_int(x, "priority", 0, &b.priority))
		return;
	if (!b.has_before && !b.has_after && !b.has_priority) {
		if (!xe_call(x, &all, "message.get_all", "") ||
		    !xe_call(x, NULL, "message.destroy_many", "m", all))
			return;
		return;
	}
	if (!xe_call(x, &all, "message.get_all_records", ""))
		return;
	refs = xn_set_new();
	for (size_t i = 0; i < xn_map_len(all); i++)
		if (is_within(xn_map_at(all, i), &b))
			xn_set_append_string(&refs, xn_map_key_at(all, i));
	if (!xe_call(x, NULL, "message.destroy_many", "v", refs))
		return;
}
