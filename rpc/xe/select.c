/*
 * Which objects a command with selectors is for: all parameters that are not the command's own are
 * conditions on the record, as a list's; vm=, host=, sr= name an object by uuid or name.
 */
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

static const struct selector {
	unsigned flag;
	const char *prefix, *named, *plural, *several;
} selectors[] = {
	{XE_VM_SELECTORS, "vm", "vm", "VMs", "matches"}, /* words that scripts match */
	{XE_HOST_SELECTORS, "host", "host", "hosts", "matching"},
	{XE_SR_SELECTORS, "sr", "sr", "SRs", "matching"},
};

static const struct selector *selector_of(const struct xe_line *line)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(selectors); i++)
		if (line->row->flags & selectors[i].flag)
			return &selectors[i];
	return NULL;
}

static bool is_own(void *arg, const char *name)
{
	const struct xe_line *line = arg;

	return strcmp(name, selector_of(line)->named) == 0 ||
	       strcmp(name, "task-uuid") == 0 || /* of transfers */
	       strcmp(name, "progress") == 0 ||
	       ((line->row->flags & XE_EVERY) && strcmp(name, "params") == 0) ||
	       xe_command_list_has(xe_command_text(line->row->required), name) ||
	       xe_command_list_has(xe_command_text(line->row->optional), name);
}

/* Of a VM, what a command is not for unless it says so. */
static bool may_be(const struct xe_line *line, const struct xn_record *record)
{
	unsigned flags = line->row->flags;
	bool template, snapshot;

	if (!(flags & XE_VM_SELECTORS))
		return true;
	template = xn_value_bool(xn_record_get(record, XN_VM_is_a_template));
	snapshot = xn_value_bool(xn_record_get(record, XN_VM_is_a_snapshot));
	if (snapshot && (flags & XE_SNAPSHOTS))
		return true;
	return (!template || (flags & XE_TEMPLATES)) &&
	       (!xn_value_bool(xn_record_get(record, XN_VM_is_control_domain)) ||
		(flags & XE_DOM0));
}

static void add(struct xe_line *line, const char *ref)
{
	if ((line->n_runs & (line->n_runs - 1)) == 0)
		line->runs = xn_realloc(line->runs, sizeof(*line->runs) *
							    (line->n_runs ? line->n_runs * 2 : 1));
	line->runs[line->n_runs++] = xe_run_new(line, ref);
}

static void find_all(struct xe_line *line, int class_id, const struct xe_filter *filter)
{
	struct xn_db *db = line->engine->rpc->db;

	for (struct xn_row *row = xn_db_first(db, class_id); row; row = xn_db_next(db, row)) {
		struct xn_record *record = xn_row_take(row);

		struct xe_item item = xe_item_of(record);

		if (may_be(line, record) && xe_filter_passes(filter, db, &item))
			add(line, xn_row_ref(row));
		xn_record_unref(record);
	}
}

static int by_age(const void *a, const void *b)
{
	const struct xe *one = *(struct xe *const *)a, *two = *(struct xe *const *)b;
	struct xn_db *db = one->line->engine->rpc->db;
	uint64_t first = xn_row_created(xn_db_get_any(db, one->object));
	uint64_t second = xn_row_created(xn_db_get_any(db, two->object));

	return first < second ? -1 : first > second;
}

/* One run for all. */
static void put_together(struct xe_line *line)
{
	line->objects = xn_calloc(line->n_runs, sizeof(*line->objects));
	line->n_objects = line->n_runs;
	for (unsigned i = 0; i < line->n_objects; i++)
		memcpy(line->objects[i], line->runs[i]->object, sizeof(*line->objects));
	while (line->n_runs > 1)
		xe_run_free(line->runs[--line->n_runs]);
}

unsigned xe_object_index(const struct xe *x)
{
	return x->index;
}

unsigned xe_n_objects(const struct xe *x)
{
	return x->line->n_objects;
}

const char *xe_object_at(const struct xe *x, unsigned index)
{
	return x->line->objects[index];
}

static bool may_be_many(const struct xe_line *line)
{
	unsigned flags = line->row->flags;

	return (flags & XE_EVERY) ||
	       (!(flags & XE_SINGLE) && xe_arguments_have(&line->arguments, "multiple"));
}

static void complain_of_many(struct xe_line *line, const struct selector *s)
{
	bool is_single = line->row->flags & XE_SINGLE;

	if (line->is_ours)
		line->hint = xn_asprintf("%u %s match: add uuid=...%s", line->n_runs, s->plural,
					 is_single ? "" : ", or --multiple for all");
	if (is_single)
		xe_complain_sentence(line, "Error: Multiple %s %s found. Operation can only be "
					   "performed on one %.*s at a time",
				     s->several, s->plural, (int)strlen(s->plural) - 1, s->plural);
	else
		xe_complain_sentence(line, "Error: Multiple %s %s found. --multiple required to "
					   "complete the operation", s->several, s->plural);
}

bool xe_line_select(struct xe_line *line)
{
	const struct selector *s = selector_of(line);
	const struct xe_kind *kind = xe_kind_find(s->prefix, strlen(s->prefix));
	const char *named = xe_arguments_get(&line->arguments, s->named);
	struct xe_filter *filter XN_CLEANUP(xe_filter_free_p) =
		xe_filter_new(kind, &line->arguments, is_own, line);

	if (named)
		xe_filter_add_named(filter, named);
	if (xe_filter_unknown(filter)) {
		xe_guess_field(line, kind, xe_filter_unknown(filter));
		xe_complain_sentence(line, "Error: Unknown field '%s'", xe_filter_unknown(filter));
		return false;
	}
	find_all(line, xe_kind_class(kind), filter);
	if (line->n_runs) {
		/* the same order each time */
		qsort(line->runs, line->n_runs, sizeof(struct xe *), by_age);
	} else {
		if (named)
			xe_guess_object(line, kind, named);
		else if (line->is_ours)
			line->hint = xn_asprintf("'xe %s-list' tells which there are", s->prefix);
		xe_complain_sentence(line, "Error: No matching %s found", s->plural);
		return false;
	}
	if (line->n_runs > 1 && !may_be_many(line)) {
		complain_of_many(line, s);
		return false;
	}
	if (line->row->flags & XE_TOGETHER)
		put_together(line);
	return true;
}
