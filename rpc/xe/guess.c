/* Did you mean: what people probably meant, told to our own client behind the error. */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"
#include "rpc/xe/nearest.h"
#include "rpc/xe/record/record.h"

static void hint(struct xe_line *line, const char *best, const char *otherwise)
{
	if (!line->is_ours || (!best && !otherwise))
		return;
	free(line->hint);
	line->hint = best ? xn_asprintf("Did you mean '%s'?", best) : xn_strdup(otherwise);
}

static void offer_generated(struct xe_nearest *nearest)
{
	const struct xe_kind *kind;

	for (unsigned i = 0; (kind = xe_kind_at(i)); i++)
		for (int verb = 0; verb < XE_VERBS; verb++) {
			char name[80];

			if (!xe_kind_has(kind, verb))
				continue;
			snprintf(name, sizeof(name), "%s%s", xe_kind_prefix(kind),
				 xe_verb_suffix(verb));
			xe_nearest_offer(nearest, name);
		}
}

void xe_guess_command(struct xe_line *line)
{
	struct xe_nearest nearest;

	xe_nearest_begin(&nearest, line->name);
	for (unsigned i = 0; i < xe_n_command_rows; i++)
		if (!(xe_command_rows[i].flags & XE_HIDDEN) &&
		    xe_command_is_there(line->engine->core->methods, &xe_command_rows[i]))
			xe_nearest_offer(&nearest, xe_command_text(xe_command_rows[i].name));
	offer_generated(&nearest);
	hint(line, xe_nearest_best(&nearest), "'xe help' tells what commands there are");
}

/* The rows that a list of the kind would show. */
static void offer_rows(struct xe_nearest *nearest, struct xn_db *db, const struct xe_kind *kind)
{
	int class_id = xe_kind_class(kind), field = xn_classes[class_id].name_label_field;
	struct xe_arguments none = {0};
	struct xe_filter *filter XN_CLEANUP(xe_filter_free_p) = xe_filter_new(kind, &none, NULL, NULL);
	unsigned left = 4000; /* of very many the loop does not wait for all */

	xe_filter_add_implied(filter);
	for (struct xn_row *row = xn_db_first(db, class_id); row && field >= 0 && left--;
	     row = xn_db_next(db, row)) {
		struct xn_record *record = xn_row_take(row);
		struct xe_item item = xe_item_of(record);

		if (xe_filter_passes(filter, db, &item))
			xe_nearest_offer(nearest, xn_row_string(row, field));
		xn_record_unref(record);
	}
}

void xe_guess_object(struct xe_line *line, const struct xe_kind *kind, const char *name)
{
	struct xe_nearest nearest;
	char *otherwise = xn_asprintf("'xe %s-list' tells which there are", xe_kind_prefix(kind));

	xe_nearest_begin(&nearest, name);
	offer_rows(&nearest, line->engine->rpc->db, kind);
	hint(line, xe_nearest_best(&nearest), otherwise);
	free(otherwise);
}

void xe_hint_nearest(struct xe *x, const char *prefix, const char *name)
{
	xe_guess_object(x->line, xe_kind_find(prefix, strlen(prefix)), name);
}

void xe_guess_field(struct xe_line *line, const struct xe_kind *kind, const char *name)
{
	struct xe_nearest nearest;

	xe_nearest_begin(&nearest, name);
	for (unsigned i = 0; i < xe_field_count(kind); i++)
		xe_nearest_offer(&nearest, xe_field_name(kind, i));
	hint(line, xe_nearest_best(&nearest), NULL);
}
