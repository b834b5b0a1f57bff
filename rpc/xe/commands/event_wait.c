/*
 * event-wait: until some record of a class is as described. Rows are looked at in the order that they
 * last changed in, a slice at a time; where a condition looks at other rows, too, all are looked at
 * again when anything has changed.
 */
#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

xe_handler xe_cmd_event_wait;

enum { SLICE = 256 };

static const char *const classes[] = {"vm",   "vdi",  "sr",	"host",	   "network", "vif",	"pif",	"vbd",
				      "pbd",  "pool", "task",	"subject", "role",    "secret", "vmss", NULL};

struct waiting {
	bool may;	   /* it was asked whether this caller may look */
	bool has_distant;  /* a condition looks at other rows */
	uint64_t seen;	   /* rows up to this stamp were looked at */
};

struct condition {
	const struct xe_kind *kind;
	int field;
	const char *key; /* behind the colon; NULL: none */
	const char *value;
	bool differs; /* "/=" */
};

/* False: it is no condition, but the command's own or a general parameter. */
static bool read_condition(const struct xe_kind *kind, const struct xe_argument *argument,
			   struct condition *c)
{
	size_t len = strcspn(argument->name, ":");

	if (strcmp(argument->name, "class") == 0 || xe_argument_is_general(argument->name))
		return false;
	*c = (struct condition){.kind = kind,
				.field = xe_field_find(kind, argument->name, len),
				.value = argument->value};
	if (argument->name[len])
		c->key = argument->name + len + 1;
	c->differs = strncmp(c->value, "/=", 2) == 0;
	if (c->differs)
		c->value += 2;
	return true;
}

static bool holds(struct xn_db *db, const struct condition *c, const struct xe_item *item)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	bool equal;

	if (!c->key) {
		xe_field_print(db, c->kind, (unsigned)c->field, item, &text);
		equal = strcmp(xn_buf_cstr(&text), c->value) == 0;
	} else if ((xe_field_flags(c->kind, (unsigned)c->field) & XE_F_SHAPE) == XE_SET) {
		equal = xe_field_contains(db, c->kind, (unsigned)c->field, item, c->value);
	} else {
		equal = xe_field_print_key(db, c->kind, (unsigned)c->field, item, c->key, &text) &&
			strcmp(xn_buf_cstr(&text), c->value) == 0;
	}
	return equal != c->differs;
}

static bool matches(struct xe *x, const struct xe_kind *kind, struct xn_row *row)
{
	const struct xe_arguments *all = xe_arguments(x);
	struct xn_record *record = xn_row_take(row);
	struct xe_item item = xe_item_of(record);
	struct condition c;
	bool good = true;

	for (unsigned i = 0; good && i < all->n; i++)
		if (read_condition(kind, &all->items[i], &c))
			good = holds(xe_db(x), &c, &item);
	xn_record_unref(record);
	return good;
}

/* Before the first look. False: the command has failed. */
static bool check(struct xe *x, struct waiting *w, const struct xe_kind *kind)
{
	const struct xe_arguments *all = xe_arguments(x);
	struct condition c;

	for (unsigned i = 0; i < all->n; i++) {
		unsigned flags;

		if (!read_condition(kind, &all->items[i], &c))
			continue;
		flags = c.field == XE_NO_FIELD ? 0 : xe_field_flags(kind, (unsigned)c.field);
		if (c.field == XE_NO_FIELD || (c.key && (flags & XE_F_SHAPE) == XE_SCALAR)) {
			xe_guess_field(x->line, kind, all->items[i].name);
			xe_fail(x, "key missing: %s", all->items[i].name);
			return false;
		}
		if (flags & XE_F_CALL) {
			xe_fail(x, "The field %s cannot be waited for", xe_field_name(kind,
								(unsigned)c.field));
			return false;
		}
		w->has_distant |= !xe_field_is_own(kind, (unsigned)c.field);
	}
	return true;
}

/* The first row behind those that were looked at; NULL: none. */
static struct xn_row *first_new(struct xn_db *db, int class_id, uint64_t seen)
{
	struct xn_row *row = xn_db_newest(db, class_id), *found = NULL;

	if (!seen)
		return xn_db_first(db, class_id);
	for (; row && xn_row_modified(row) > seen; row = xn_db_older(db, row))
		found = row;
	return found;
}

void xe_cmd_event_wait(struct xe *x)
{
	struct waiting *w = xe_state(x, sizeof(*w), NULL);
	const char *name = xe_param(x, "class");
	const struct xe_kind *kind =
		xn_is_one_of(name, classes) ? xe_kind_find(name, strlen(name)) : NULL;
	struct xn_row *row;
	unsigned n = 0;

	if (!kind) {
		xe_fail(x, "Cli listening for class '%s' not currently implemented", name);
		return;
	}
	if (!w->may) {
		if (!check(x, w, kind) ||
		    !xe_call(x, NULL, xe_text(x, "%s.get_all", xn_classes[xe_kind_class(kind)].name),
			     ""))
			return;
		w->may = true;
	}
	if (!xe_is_logged_in(x))
		return;
	for (row = first_new(xe_db(x), xe_kind_class(kind), w->seen); row && n < SLICE;
	     row = xn_db_next(xe_db(x), row), n++) {
		if (matches(x, kind, row))
			return;
		w->seen = xn_row_modified(row);
	}
	if (row) {
		(void)!xe_yield(x);
		return;
	}
	if (w->has_distant)
		w->seen = 0;
	(void)!xe_wait_change(x);
}
