/*
 * db-log and xenstore-log: who changed what, and when, as lines, the newest last. What is asked for is
 * History's; where no order is named, the last changes are shown.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_db_log, xe_cmd_xenstore_log;

enum {
	LAST = 100,    /* changes, where neither limit= nor since= is given */
	AT_MOST = 1000, /* with since=, as History's own */
	PAGE = 500,    /* asked for at once */
};

/* What was answered so far. Without another order the newest come first, and are printed last. */
struct reading {
	struct xn_value *pages; /* a set of sets of changes */
	struct xn_value *next;	/* where the next page begins; NULL: at the beginning */
	int64_t left;		/* to be asked for */
	bool is_begun, is_all;
};

static void clear_reading(void *state)
{
	struct reading *r = state;

	xn_value_unref(r->pages);
	xn_value_unref(r->next);
}

/* ---- the question ---- */

static struct xn_value *question(struct xe *x, const struct reading *r)
{
	const struct xe_arguments *all = xe_arguments(x);
	struct xn_value *query = xn_map_new();

	for (unsigned i = 0; i < all->n; i++)
		if (!xe_argument_is_general(all->items[i].name) &&
		    !xn_map_get(query, all->items[i].name))
			xn_map_put_string(&query, all->items[i].name, all->items[i].value);
	if (!xn_map_get(query, "order"))
		xn_map_put_string(&query, "order", "newest");
	xn_map_put(&query, "limit", xn_stringf("%lld", (long long)(r->left < PAGE ? r->left : PAGE)));
	if (r->next)
		xn_map_put(&query, "after", xn_value_ref(r->next));
	return query;
}

/* ---- lines ---- */

static const char *text_of(const struct xn_value *change, const char *key)
{
	const char *text = xn_map_get_string(change, key);

	return text && *text ? text : "-";
}

static void add_value(const struct xn_value *v, struct xn_buf *out)
{
	if (!v || v->kind == XN_NIL)
		xn_buf_add_char(out, '-');
	else
		xn_json_write(v, out);
}

/* "old -> new"; of what was made only new, of what went only old. */
static void add_values(const struct xn_value *change, struct xn_buf *out)
{
	const char *op = text_of(change, "operation");

	if (strcmp(op, "create") != 0)
		add_value(xn_map_get(change, "old"), out);
	if (strcmp(op, "create") != 0 && strcmp(op, "delete") != 0)
		xn_buf_add_string(out, " -> ");
	if (strcmp(op, "delete") != 0)
		add_value(xn_map_get(change, "new"), out);
}

static void add_time(const struct xn_value *change, struct xn_buf *out)
{
	const char *when = text_of(change, "time");

	xn_buf_printf(out, "%.10s %.12s %s ", when, strlen(when) > 11 ? when + 11 : "",
		      text_of(change, "operation"));
}

/* An object as people know it: its name, where it still has one. */
static const char *object_of(struct xe *x, const char *ref)
{
	const struct xn_row *row = xn_db_get_any(xe_db(x), ref);
	int name = row ? xn_classes[xn_row_class(row)].name_label_field : -1;

	if (!row)
		return ref;
	return name >= 0 && *xn_row_string(row, name)
		       ? xe_text(x, "%s (%s)", xn_row_string(row, name), xn_row_uuid(row))
		       : xn_row_uuid(row);
}

static void add_db_change(struct xe *x, const struct xn_value *change, struct xn_buf *out)
{
	const char *field = xn_map_get_string(change, "field");

	add_time(change, out);
	xn_buf_printf(out, "%s %s ", text_of(change, "class"), object_of(x, text_of(change, "ref")));
	if (field && *field) {
		xn_buf_printf(out, "%s: ", field);
		add_values(change, out);
		xn_buf_add_char(out, ' ');
	}
	xn_buf_printf(out, "by %s from %s", text_of(change, "user"), text_of(change, "origin"));
	if (xn_map_get_string(change, "task") && *xn_map_get_string(change, "task"))
		xn_buf_printf(out, ", task %s", object_of(x, xn_map_get_string(change, "task")));
}

static void add_xenstore_change(struct xe *x, const struct xn_value *change, struct xn_buf *out)
{
	int64_t transaction = xn_map_get_int(change, "transaction", 0);
	const char *permissions = xn_map_get_string(change, "permissions");

	add_time(change, out);
	xn_buf_printf(out, "%s: ", text_of(change, "path"));
	if (strcmp(text_of(change, "operation"), "permissions") == 0 && permissions)
		xn_buf_printf(out, "(%s)", permissions);
	else
		add_values(change, out);
	xn_buf_printf(out, " by domain %lld", (long long)xn_map_get_int(change, "domain", 0));
	if (transaction)
		xn_buf_printf(out, ", transaction %lld", (long long)transaction);
}

/* ---- the answer ---- */

static void say(struct xe *x, const struct xn_value *change,
		void (*add)(struct xe *x, const struct xn_value *change, struct xn_buf *out))
{
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xe_is_json(x)) {
		xn_json_write(change, &line);
		xe_raw(x, line.data, line.len);
	} else if (xe_is_minimal(x)) {
		xn_buf_add_int(&line, xn_map_get_int(change, "generation", 0));
		xe_value(x, xn_buf_cstr(&line));
	} else {
		add(x, change, &line);
		xe_print(x, "%s", xn_buf_cstr(&line));
	}
}

static void tell_limits(struct xe *x, const struct xn_value *answer)
{
	const struct xn_value *gaps = xn_map_get(answer, "gaps");

	if (!xn_map_get_bool(answer, "complete", true))
		xe_warn(x, "History does not go back so far.");
	if (gaps && gaps->kind == XN_SET && xn_set_len(gaps))
		xe_warn(x, "Some changes in between are not known.");
}

/* One more page. False: not yet, or it failed. */
static bool read_page(struct xe *x, struct reading *r, const char *method)
{
	const struct xn_value *answer, *changes, *next;

	if (!xe_call(x, &answer, method, "v", question(x, r)))
		return false;
	changes = xn_map_get(answer, "changes");
	next = xn_map_get(answer, "next");
	if (changes && changes->kind == XN_SET && xn_set_len(changes)) {
		r->left -= (int64_t)xn_set_len(changes);
		xn_set_append(&r->pages, xn_value_ref(changes));
	} else {
		r->left = 0;
	}
	xn_value_unref(r->next);
	r->next = next && next->kind == XN_STRING && *xn_value_string(next) ? xn_value_ref(next) : NULL;
	r->is_all = !r->next || r->left <= 0;
	if (r->is_all)
		tell_limits(x, answer);
	return xe_yield(x);
}

static bool begin(struct xe *x, struct reading *r)
{
	if (!xe_param_int(x, "limit", xe_param(x, "since") ? AT_MOST : LAST, &r->left))
		return false;
	if (r->left <= 0) {
		xe_fail(x, "Parameter limit takes a number above 0, not '%s'", xe_param(x, "limit"));
		return false;
	}
	r->pages = xn_set_new();
	r->is_begun = true;
	return true;
}

static void drop_page(struct reading *r, bool last)
{
	struct xn_value *rest = xn_set_new();
	size_t n = xn_set_len(r->pages);

	for (size_t i = last ? 0 : 1; i < (last ? n - 1 : n); i++)
		xn_set_append(&rest, xn_value_ref(xn_set_at(r->pages, i)));
	xn_value_unref(r->pages);
	r->pages = rest;
}

static void log_of(struct xe *x, const char *method,
		   void (*add)(struct xe *x, const struct xn_value *change, struct xn_buf *out))
{
	struct reading *r = xe_state(x, sizeof(*r), clear_reading);
	const char *order = xe_param_or(x, "order", "newest");
	bool backwards = strcmp(order, "newest") == 0;
	const struct xn_value *page;
	size_t n;

	if (!r->is_begun && !begin(x, r))
		return;
	if (!r->is_all && !read_page(x, r, method))
		return;
	if (!xn_set_len(r->pages)) {
		if (r->next && xe_param(x, "limit"))
			xe_warn(x, "There are more: after=%s", xn_value_string(r->next));
		return;
	}
	if (!xe_room(x))
		return;
	page = xn_set_at(r->pages, backwards ? xn_set_len(r->pages) - 1 : 0);
	n = xn_set_len(page);
	for (size_t i = 0; i < n; i++)
		say(x, xn_set_at(page, backwards ? n - 1 - i : i), add);
	drop_page(r, backwards);
	(void)!xe_yield(x);
}

void xe_cmd_db_log(struct xe *x)
{
	log_of(x, "History.get_changes", add_db_change);
}

void xe_cmd_xenstore_log(struct xe *x)
{
	log_of(x, "History.get_xenstore_changes", add_xenstore_change);
}
