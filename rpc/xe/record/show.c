/* Records as a run's client wants them: the run's form is decided here and in list.c, nowhere else.
 */
#include "rpc/xe/record/form.h"

#include <stdlib.h>

/* --minimal: the first field of each. */
void xe_show_minimal(struct xe *x, const struct xe_sight *sight, const struct xe_item *item)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	int first = xe_sight_first(sight);

	if (first == XE_NO_FIELD)
		return;
	xe_sight_print(sight, (unsigned)first, item, &text);
	xe_value(x, xn_buf_cstr(&text));
}

void xe_show_text(struct xe *x, struct xn_buf *text)
{
	xe_raw(x, text->len ? text->data : "", text->len);
	text->len = 0;
}

static void show_one(struct xe *x, const struct xe_shown *shown, const struct xe_sight *sight,
		     const struct xe_item *item)
{
	struct xe_screen screen = xe_screen(x);
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	if (xe_is_minimal(x)) {
		xe_show_minimal(x, sight, item);
		return;
	}
	if (shown->title)
		xe_print(x, "%s", shown->title);
	if (screen.columns)
		xe_form_pairs(sight, item, screen, &text);
	else
		xe_form_plain(sight, item, &text);
	xe_show_text(x, &text);
}

static void show_json(const struct xe_shown *shown, const struct xe_sight *sight,
		      const struct xe_item *item, unsigned n, struct xn_buf *out)
{
	xn_buf_add_string(out, n ? ",\n " : "");
	xe_form_json(sight, item, shown->title, out);
}

void xe_show(struct xe *x, const struct xe_shown *shown, size_t n)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf json = {0};
	unsigned n_there = 0;

	xn_buf_add_char(&json, '[');
	for (size_t i = 0; i < n; i++) {
		/* With --minimal what comes later is told first. */
		const struct xe_shown *s = &shown[xe_is_minimal(x) ? n - 1 - i : i];
		struct xe_sight sight = {xe_db(x), s->kind, s->columns, !s->told};
		struct xn_row *row = s->record ? NULL : xe_row(x, s->kind->class_id, s->ref);
		XN_CLEANUP(xe_item_clear_p) struct xe_item item = {0};

		if (!row && !s->record)
			continue;
		item = xe_item_of(row ? xn_row_take(row) : xn_record_share(s->record));
		item.told = s->told;
		item.n_told = s->n_told;
		if (xe_is_json(x))
			show_json(s, &sight, &item, n_there++, &json);
		else
			show_one(x, s, &sight, &item);
	}
	xn_buf_add_char(&json, ']');
	if (xe_is_json(x))
		xe_show_text(x, &json);
}

bool xe_ask(struct xe *x, struct xe_shown *shown, struct xe_told told[XE_TOLD_MAX])
{
	struct xe_item item = xe_item_of(shown->record);

	if (!xe_item_tell(x, shown->kind, &shown->columns, &item, told))
		return false;
	shown->told = told;
	shown->n_told = item.n_told;
	return true;
}
