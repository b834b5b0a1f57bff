/*
 * PREFIX-list: the records that the arguments mean, as of one moment, in slices: looked for,
 * filtered, measured for a table, written while the client reads. Each is a stage; what is done in
 * a stage is counted, and a slice's worth of it is done in one turn of the loop.
 */
#include "rpc/xe/record/form.h"

#include <stdlib.h>

#include "rpc/xe/nearest.h"

enum {
	SLICE = 4000, /* steps of a turn: a field printed or a row taken, a few hundred nanoseconds
			 at most */
	ROWS = 2000,  /* rows taken at once */
	ASKED = 32,   /* records that calls are made about in a turn */
};

enum stage { TAKE, ASK, FILTER, MEASURE, WRITE };

struct listing {
	enum stage stage;
	bool is_asked; /* whether the caller may */
	struct xn_walk walk;
	struct xn_value *records; /* of a class without rows, as a call gave them */
	struct xe_item *items;
	struct xe_told *told; /* XE_TOLD_MAX of each item, where calls tell something */
	size_t n, n_all, n_passed, at;
	struct xe_filter *filter;
	struct xe_sight sight;
	struct xe_table *table; /* for a terminal */
};

static void clear_listing(void *state)
{
	struct listing *l = state;

	if (l->told)
		for (size_t i = 0; i < l->n_all * XE_TOLD_MAX; i++)
			xn_value_unref((struct xn_value *)l->told[i].value);
	if (l->walk.db)
		xn_walk_end(&l->walk);
	xn_value_unref(l->records);
	xe_filter_free(l->filter);
	free(l->told);
	free(l->items);
	free(l->table);
}

static bool is_own_parameter(void *arg, const char *name)
{
	(void)arg;
	return !strcmp(name, "params") || !strncmp(name, "database:", 9);
}

static void begin(struct xe *x, struct listing *l)
{
	static const struct xe_arguments none;
	const struct xe_kind *kind = xe_kind(x);
	bool all = xe_arguments_have(xe_arguments(x), "all");

	l->sight = (struct xe_sight){.db = xe_db(x), .kind = kind, .is_list = true};
	xe_columns_parse(kind, xe_param(x, "params"), &l->sight.columns);
	l->filter = xe_filter_new(kind, all ? &none : xe_arguments(x), is_own_parameter, NULL);
	if (!all)
		xe_filter_add_implied(l->filter);
	if (xe_screen(x).columns && !xe_is_minimal(x) && !xe_is_json(x)) {
		l->table = xn_malloc(sizeof(*l->table));
		xe_table_begin(l->table, &l->sight);
	}
}

/* A class that is not read like others: a call says no, or has the records. */
static bool ask_for_records(struct xe *x, struct listing *l)
{
	int class_id = l->sight.kind->class_id;
	const struct xn_value *records;
	const char *method;

	method = xe_text(x, "%s.get_all_records", xn_classes[class_id].name);
	if (!xe_call(x, &records, method, ""))
		return false;
	if (!xn_classes[class_id].in_database)
		l->records = xn_value_ref(records);
	return true;
}

/* ---- taking ---- */

static int by_age(const void *a, const void *b)
{
	const struct xe_item *x = a, *y = b;
	uint64_t created_x = xn_record_created(x->record), created_y = xn_record_created(y->record);

	return created_x < created_y ? -1 : created_x > created_y;
}

static int by_time(const void *a, const void *b)
{
	const struct xe_item *x = a, *y = b;
	const struct xn_value *time_x = xn_map_get(x->fields, "timestamp"),
			      *time_y = xn_map_get(y->fields, "timestamp");

	if (!time_x || !time_y || time_x->kind != XN_STRING || time_y->kind != XN_STRING)
		return 0;
	return strcmp(xn_value_string(time_x), xn_value_string(time_y));
}

static void take_from_call(struct listing *l)
{
	l->n = xn_map_len(l->records);
	l->items = xn_calloc(l->n + 1, sizeof(*l->items));
	for (size_t i = 0; i < l->n; i++)
		l->items[i] = (struct xe_item){.fields = xn_map_at(l->records, i),
					       .ref = xn_map_key_at(l->records, i)};
	qsort(l->items, l->n, sizeof(*l->items), by_time);
}

/* False: not yet all. */
static bool take(struct xe *x, struct listing *l)
{
	if (l->records) {
		take_from_call(l);
		return true;
	}
	if (!l->walk.db) {
		xe_holds_records(x);
		xn_walk_begin(&l->walk, l->sight.db, l->sight.kind->class_id, 0);
	}
	if (!xn_walk_step(&l->walk, ROWS))
		return false;
	l->n = l->walk.n;
	l->items = xn_calloc(l->n + 1, sizeof(*l->items));
	for (size_t i = 0; i < l->n; i++)
		l->items[i] = xe_item_of(l->walk.records[i]);
	return true;
}

/* ---- what only calls tell ---- */

/* Which of such fields are shown, or decide about what is shown. */
static struct xe_columns to_ask(const struct listing *l)
{
	const struct xe_kind *kind = l->sight.kind;
	struct xe_columns ask = {0};

	for (unsigned i = 0; i < kind->n; i++) {
		unsigned flags = xe_field_flags(kind, i);

		if ((flags & XE_F_CALL) &&
		    (xe_filter_looks_at(l->filter, i) ||
		     (xe_columns_has(&l->sight.columns, i) && !(flags & XE_F_EXPENSIVE))))
			ask.bits[i / 64] |= UINT64_C(1) << i % 64;
	}
	return ask;
}

static const struct xn_error refused = {.code = XN_ERR_INTERNAL_ERROR};

static bool ask_about(struct xe *x, struct listing *l, const struct xe_columns *columns, size_t i)
{
	struct xe_item *item = &l->items[i];
	struct xe_told told[XE_TOLD_MAX], *kept = &l->told[i * XE_TOLD_MAX];

	item->n_told = 0;
	if (!xe_item_tell(x, l->sight.kind, columns, item, told))
		return false;
	item->told = kept;
	for (unsigned k = 0; k < item->n_told; k++, kept++) {
		if (!kept->value && told[k].value)
			kept->value = xn_value_ref(told[k].value);
		kept->field = told[k].field;
		kept->error = told[k].error ? &refused : NULL;
	}
	return true;
}

/* Some in each round: what was told is met again until the round's last is. False: not yet all. */
static bool ask(struct xe *x, struct listing *l)
{
	struct xe_columns columns = to_ask(l);
	size_t end = l->at + ASKED < l->n ? l->at + ASKED : l->n;

	if (!(columns.bits[0] | columns.bits[1]) || !l->n)
		return true;
	l->n_all = l->n;
	if (!l->told)
		l->told = xn_calloc(l->n * XE_TOLD_MAX, sizeof(*l->told));
	for (size_t i = l->at; i < end; i++)
		if (!ask_about(x, l, &columns, i))
			return false;
	l->at = end;
	return end == l->n || xe_yield(x);
}

/* ---- which of them ---- */

/* Those that pass go to the front, in place; false: not yet all. */
static bool filter(struct listing *l)
{
	size_t steps = xe_filter_steps(l->filter) + 1;

	for (size_t done = 0; l->at < l->n; l->at++, done += steps) {
		if (done > SLICE)
			return false;
		if (xe_filter_passes(l->filter, l->sight.db, &l->items[l->at]))
			l->items[l->n_passed++] = l->items[l->at];
	}
	l->n = l->n_passed;
	if (!l->records)
		qsort(l->items, l->n, sizeof(*l->items), by_age);
	return true;
}

/* ---- showing them ---- */

static unsigned columns_of(const struct xe_sight *sight)
{
	return (unsigned)(__builtin_popcountll(sight->columns.bits[0]) +
			  __builtin_popcountll(sight->columns.bits[1]));
}

static bool measure(struct xe *x, struct listing *l)
{
	size_t steps = columns_of(&l->sight) + 1;

	if (!l->table)
		return true;
	for (size_t done = 0; l->at < l->n; l->at++, done += steps) {
		if (done > SLICE)
			return false;
		xe_table_measure(l->table, &l->sight, &l->items[l->at]);
	}
	xe_table_settle(l->table, &l->sight, xe_screen(x));
	return true;
}

static void write_in_table(struct xe *x, struct listing *l, const struct xe_item *item,
			   struct xn_buf *text)
{
	struct xe_screen screen = xe_screen(x);

	if (l->table->is_narrow) {
		xe_form_pairs(&l->sight, item, screen, text);
		xe_show_text(x, text);
		return;
	}
	if (!l->at) {
		xe_table_head(l->table, &l->sight, screen, text);
		xe_show_text(x, text);
	}
	xe_table_row(l->table, &l->sight, item, screen, text);
	xe_show_text(x, text);
}

static void write_one(struct xe *x, struct listing *l, struct xn_buf *text)
{
	const struct xe_item *item = &l->items[l->at];

	if (xe_is_minimal(x)) {
		xe_show_minimal(x, &l->sight, item);
	} else if (xe_is_json(x)) {
		xn_buf_add_string(text, l->at ? " " : "[");
		xe_form_json(&l->sight, item, NULL, text);
		xn_buf_add_string(text, l->at + 1 < l->n ? "," : "]");
		xe_show_text(x, text);
	} else if (l->table) {
		write_in_table(x, l, item, text);
	} else if (columns_of(&l->sight)) {
		xe_form_plain(&l->sight, item, text);
		xe_show_text(x, text);
	}
}

/* The field's client is told of no wrong name in params=; ours is, of the first. */
static void warn_of_unknown_column(struct xe *x, const struct xe_kind *kind)
{
	const char *at = xe_screen(x).is_ours ? xe_param_or(x, "params", "") : "";

	for (size_t len; *at; at += len + (at[len] == ',')) {
		struct xe_nearest nearest;
		const char *name, *best;

		len = strcspn(at, ",");
		name = xe_text(x, "%.*s", (int)len, at);
		if (!len || !strcmp(name, "all") || xe_field_find(kind, name, len) != XE_NO_FIELD)
			continue;
		xe_nearest_begin(&nearest, name);
		for (unsigned i = 0; i < kind->n; i++)
			xe_nearest_offer(&nearest, xe_field_name(kind, i));
		best = xe_nearest_best(&nearest);
		xe_warn(x, "There is no field '%s'%s%s%s", name, best ? ": did you mean '" : "",
			best ? best : "", best ? "'?" : "");
		return;
	}
}

/* While there is room. Both ways back the handler is run again, unless all is written. */
static void write_all(struct xe *x, struct listing *l)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	size_t steps = columns_of(&l->sight) + 4;

	if (!l->n && xe_is_json(x) && !xe_is_minimal(x))
		xe_raw(x, "[]", 2);
	for (size_t done = 0; l->at < l->n; l->at++, done += steps) {
		if (!xe_is_minimal(x) && !xe_room(x))
			return;
		if (done > SLICE) {
			if (!xe_yield(x))
				return;
		}
		write_one(x, l, &text);
	}
	if (l->table && l->table->n_dropped && l->n)
		xe_warn(x, "%u more column%s do%s not fit here: params=... chooses",
			l->table->n_dropped, l->table->n_dropped > 1 ? "s" : "",
			l->table->n_dropped > 1 ? "" : "es");
	warn_of_unknown_column(x, l->sight.kind);
}

void xe_list(struct xe *x)
{
	struct listing *l = xe_state(x, sizeof(*l), clear_listing);
	bool is_done = true; /* and there is time for more */

	if (!l->filter)
		begin(x, l);
	if (l->stage == TAKE && !l->is_asked) {
		bool is_open = xe_kind_is_open(x, l->sight.kind);

		if (!is_open && !ask_for_records(x, l))
			return;
		l->is_asked = true;
		if (!is_open && !xe_yield(x)) /* the call's round is over */
			return;
	}
	while (l->stage < WRITE && is_done) {
		switch (l->stage) {
		case TAKE:
			is_done = take(x, l);
			break;
		case ASK:
			if (!ask(x, l))
				return;
			break;
		case FILTER:
			if (l->n && xe_filter_unknown(l->filter)) {
				xe_hint_field(x, l->sight.kind, xe_filter_unknown(l->filter));
				xe_fail(x, "Unknown field '%s'", xe_filter_unknown(l->filter));
				return;
			}
			is_done = filter(l);
			break;
		default:
			is_done = measure(x, l);
		}
		if (is_done) {
			l->stage++;
			l->at = 0;
			is_done = l->n <= ROWS; /* of many, a stage's end was long enough */
		}
	}
	if (l->stage == WRITE && is_done)
		write_all(x, l);
	else
		(void)!xe_yield(x);
}
