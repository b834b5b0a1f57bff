/*
 * task-explain: what each pending task does, what it waits for, since when and who holds that; and of one
 * that has ended, how. modules/task tells it in the row's other_config.
 */
#include <stdio.h>

#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_task_explain;

/* A row as people know it: "vm-start (uuid)"; what is no reference stays as it is. */
static void add_name(struct xn_db *db, const char *ref, struct xn_buf *out)
{
	const struct xn_row *row = xn_db_get_any(db, ref);
	int name = row ? xn_classes[xn_row_class(row)].name_label_field : -1;

	if (!row)
		xn_buf_add_string(out, ref);
	else if (name >= 0 && *xn_row_string(row, name))
		xn_buf_printf(out, "%s (%s)", xn_row_string(row, name), xn_row_uuid(row));
	else
		xn_buf_add_string(out, xn_row_uuid(row));
}

/* A text with references in it, each as people know the row. */
static const char *with_names(struct xe *x, const char *text)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *at;

	while ((at = strstr(text, "OpaqueRef:"))) {
		size_t len = 10 + strspn(at + 10, "0123456789abcdefABCDEF-NUL");

		xn_buf_add(&out, text, (size_t)(at - text));
		add_name(xe_db(x), xe_text(x, "%.*s", (int)len, at), &out);
		text = at + len;
	}
	xn_buf_add_string(&out, text);
	return xe_text(x, "%s", xn_buf_cstr(&out));
}

static const char *seconds(struct xe *x, int64_t n)
{
	return n < 120 ? xe_text(x, "%lld s", (long long)n)
	       : n < 7200 ? xe_text(x, "%lld min", (long long)n / 60)
			  : xe_text(x, "%lld h", (long long)n / 3600);
}

static const char *date(struct xe *x, int64_t when)
{
	char text[19];

	xn_date_print(when, text);
	return xe_text(x, "%s", text);
}

/* Parts of a table's row; what is empty is left out. */
static void put(struct xn_value **map, const char *key, const char *text)
{
	if (text && *text)
		xn_map_put_string(map, key, text);
}

static void put_work(struct xe *x, struct xn_value **map, const struct xn_row *task)
{
	int64_t now = xn_wall_s(xe_core(x)->loop), since;
	const char *waits = xn_row_map_string(task, XN_task_other_config, "xn:waiting_for");
	const char *begun = xn_row_map_string(task, XN_task_other_config, "xn:waiting_since");
	const char *holders = xn_row_map_string(task, XN_task_other_config, "xn:waiting_for_task");

	put(map, "progress",
	    xe_text(x, "%.0f %%", xn_value_float(xn_row_get(task, XN_task_progress)) * 100));
	put(map, "running-for", seconds(x, now - xn_row_int(task, XN_task_created)));
	put(map, "does", xn_row_map_string(task, XN_task_other_config, "xn:step"));
	if (xn_set_has_string(xn_row_get(task, XN_task_allowed_operations), "cancel"))
		put(map, "to-stop-it", xe_text(x, "xe task-cancel uuid=%s", xn_row_uuid(task)));
	if (!waits)
		return;
	put(map, "waits-for", with_names(x, waits));
	if (begun && xn_date_parse(begun, &since) == 0)
		put(map, "waits-since", xe_text(x, "%s (%s)", begun, seconds(x, now - since)));
	if (holders)
		put(map, "held-by", with_names(x, holders));
}

static const char *why(struct xe *x, const struct xn_row *task)
{
	const struct xn_value *info = xn_row_get(task, XN_task_error_info);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	const struct xn_error_info *known;

	if (!xn_set_len(info))
		return "";
	known = xn_error_find(xn_value_string(xn_set_at(info, 0)));
	if (known)
		xn_buf_printf(&text, "%s ", known->doc);
	xn_buf_printf(&text, "(%s", xn_value_string(xn_set_at(info, 0)));
	for (size_t i = 1; i < xn_set_len(info); i++)
		xn_buf_printf(&text, "%s%s", i == 1 ? ": " : ", ",
			      xn_value_string(xn_set_at(info, i)));
	xn_buf_add_char(&text, ')');
	return with_names(x, xn_buf_cstr(&text));
}

static void put_end(struct xe *x, struct xn_value **map, const struct xn_row *task)
{
	int64_t begun = xn_row_int(task, XN_task_created), end = xn_row_int(task, XN_task_finished);

	put(map, "ended", xe_text(x, "%s, after %s", date(x, end),
				  seconds(x, end > begun ? end - begun : 0)));
	put(map, "why", why(x, task));
	put(map, "at-a-restart", xn_row_map_string(task, XN_task_other_config, "xn:restart"));
	put(map, "result", with_names(x, xn_row_string(task, XN_task_result)));
}

/* What tasks are busy with: by their references, "VM web (uuid): start". */
static const struct xn_value *find_objects(struct xe *x)
{
	struct xn_value *objects = xn_map_new();

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		int field = xn_field_find(&xn_classes[c], "current_operations");
		const struct xn_row *row = field < 0 ? NULL : xn_db_first(xe_db(x), c);

		for (; row; row = xn_db_next(xe_db(x), row)) {
			const struct xn_value *busy = xn_row_get(row, field);

			for (size_t i = 0; i < xn_map_len(busy); i++) {
				const char *task = xn_map_key_at(busy, i);
				const char *before = xn_map_get_string(objects, task);
				struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

				if (before)
					xn_buf_printf(&text, "%s; ", before);
				xn_buf_printf(&text, "%s ", xn_classes[c].name);
				add_name(xe_db(x), xn_row_ref(row), &text);
				xn_buf_printf(&text, ": %s", xn_value_string(xn_map_at(busy, i)));
				xn_map_put_string(&objects, task, xn_buf_cstr(&text));
			}
		}
	}
	return xe_keep_value(x, objects);
}

static struct xn_value *explain(struct xe *x, const struct xn_row *task,
				const struct xn_value *objects)
{
	struct xn_value *map = xn_map_new();
	const char *status = xn_row_string(task, XN_task_status);
	const struct xn_row *session = xn_row_follow(xe_db(x), task, XN_task_session);

	put(&map, "uuid", xn_row_uuid(task));
	put(&map, "task", xn_row_string(task, XN_task_name_label));
	put(&map, "about", with_names(x, xn_row_string(task, XN_task_name_description)));
	put(&map, "on", xn_map_get_string(objects, xn_row_ref(task)));
	put(&map, "by", session ? xn_row_string(session, XN_session_auth_user_name) : "");
	put(&map, "status", status);
	put(&map, "began", date(x, xn_row_int(task, XN_task_created)));
	if (strcmp(status, "pending") == 0 || strcmp(status, "cancelling") == 0)
		put_work(x, &map, task);
	else
		put_end(x, &map, task);
	return map;
}

void xe_cmd_task_explain(struct xe *x)
{
	static const char *const order[] = {
		"uuid",	       "task",	      "about",	     "on",	"by",	      "status",
		"began",       "progress",    "running-for", "does",	"waits-for",  "waits-since",
		"held-by",     "to-stop-it",  "ended",	     "why",	"at-a-restart", "result",
		NULL};
	const char *uuid = xe_param(x, "uuid"), *one = NULL;
	const struct xn_value *refs, *objects;
	struct xn_value *rows;

	if (!xe_call(x, &refs, "task.get_all", "") ||
	    (uuid && !xe_by_uuid(x, XN_CLASS_task, uuid, &one)))
		return;
	objects = find_objects(x);
	rows = xn_set_new();
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const char *ref = xn_value_string(xn_set_at(refs, i));
		const struct xn_row *task = xe_row(x, XN_CLASS_task, ref);

		if (task && (one ? strcmp(one, ref) == 0
				 : strcmp(xn_row_string(task, XN_task_status), "pending") == 0 ||
					   strcmp(xn_row_string(task, XN_task_status),
						  "cancelling") == 0))
			xn_set_append(&rows, explain(x, task, objects));
	}
	if (!xn_set_len(rows))
		xe_print(x, "No task is under way.");
	xe_table(x, rows, order);
}
