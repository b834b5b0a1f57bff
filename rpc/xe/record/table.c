/*
 * A table that fits a terminal: a line a record. Columns are as wide as their widest value while
 * there is room; then the longest are cut with an ellipsis, and where that leaves too little the
 * last columns go. Uuids are for copying, numbers for reading: whole, or not there.
 */
#include "rpc/xe/record/form.h"

#include "rpc/xe/record/colour.h"
#include "rpc/xe/record/width.h"

enum { GAP = 2, UUID_WIDTH = 36, LEAST = 10, MOST = 2000 };

enum xe_colour xe_colour_of(const char *text)
{
	static const struct {
		const char *text;
		enum xe_colour colour;
	} colours[] = {
		{"running", XE_GREEN},    {"paused", XE_YELLOW}, {"suspended", XE_YELLOW},
		{"pending", XE_YELLOW},   {"failure", XE_RED},   {"cancelling", XE_YELLOW},
		{"cancelled", XE_YELLOW},
	};

	if (*text == '<')
		return XE_DIM;
	for (size_t i = 0; i < XN_ARRAY_SIZE(colours); i++)
		if (!strcmp(text, colours[i].text))
			return colours[i].colour;
	return XE_NO_COLOUR;
}

static void set_bit(struct xe_columns *columns, unsigned field, bool on)
{
	uint64_t bit = UINT64_C(1) << field % 64;

	columns->bits[field / 64] =
		on ? columns->bits[field / 64] | bit : columns->bits[field / 64] & ~bit;
}

/* Uuids and numbers: half of one is worse than none. */
static bool is_whole(const char *text)
{
	size_t len = strlen(text), digits = strspn(text, "0123456789.-");

	return len == UUID_WIDTH ? strspn(text, "0123456789abcdefABCDEF-") == len
				 : digits && digits == len && len < UUID_WIDTH;
}

void xe_table_begin(struct xe_table *table, const struct xe_sight *sight)
{
	*table = (struct xe_table){.columns = sight->columns};
	for (unsigned i = 0; i < sight->kind->n; i++)
		table->natural[i] = (uint16_t)strlen(xe_field_name(sight->kind, i));
}

void xe_table_measure(struct xe_table *table, const struct xe_sight *sight,
		      const struct xe_item *item)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	for (unsigned i = 0; i < sight->kind->n; i++) {
		size_t width;

		if (!xe_columns_has(&sight->columns, i))
			continue;
		text.len = 0;
		xe_sight_print(sight, i, item, &text);
		width = xe_width(xn_buf_cstr(&text));
		if (width > table->natural[i])
			table->natural[i] = (uint16_t)(width < MOST ? width : MOST);
		if (is_whole(text.data))
			set_bit(&table->fixed, i, true);
	}
}

static size_t total(const struct xe_table *table, const struct xe_kind *kind)
{
	size_t sum = 0;

	for (unsigned i = 0; i < kind->n; i++)
		if (xe_columns_has(&table->columns, i))
			sum += table->width[i] + (sum ? GAP : 0);
	return sum;
}

/* The widest column that may be cut; XE_NO_FIELD: none is wider than the least. */
static int widest(const struct xe_table *table, const struct xe_kind *kind)
{
	int found = XE_NO_FIELD;
	unsigned most = LEAST;

	for (unsigned i = 0; i < kind->n; i++)
		if (xe_columns_has(&table->columns, i) && !xe_columns_has(&table->fixed, i) &&
		    table->width[i] > most) {
			found = (int)i;
			most = table->width[i];
		}
	return found;
}

/* The last column that is not what the record is known by; XE_NO_FIELD: none is left. */
static int least_needed(const struct xe_table *table, const struct xe_kind *kind)
{
	static const char *const known_by[] = {"uuid", "name-label", "name", NULL};

	for (unsigned i = kind->n; i-- > 0;)
		if (xe_columns_has(&table->columns, i) &&
		    !xn_is_one_of(xe_field_name(kind, i), known_by))
			return (int)i;
	return XE_NO_FIELD;
}

void xe_table_settle(struct xe_table *table, const struct xe_sight *sight, struct xe_screen screen)
{
	const struct xe_kind *kind = sight->kind;

	memcpy(table->width, table->natural, sizeof(table->width));
	while (total(table, kind) > screen.columns) {
		int field = widest(table, kind);
		size_t over = total(table, kind) - screen.columns;

		if (field != XE_NO_FIELD) {
			size_t spare = (size_t)table->width[field] - LEAST;

			/* The widest gives at most down to half, then the next is the widest. */
			if (spare > over)
				spare = over;
			if (spare > table->width[field] / 2u)
				spare = table->width[field] / 2u;
			table->width[field] = (uint16_t)(table->width[field] - (spare ? spare : 1));
			continue;
		}
		field = least_needed(table, kind);
		if (field == XE_NO_FIELD) {
			table->is_narrow = true;
			table->n_dropped = 0;
			table->columns = sight->columns;
			return;
		}
		set_bit(&table->columns, (unsigned)field, false);
		table->n_dropped++;
		memcpy(table->width, table->natural, sizeof(table->width));
	}
}

static void add_cell(const struct xe_table *table, unsigned field, const char *text,
		     enum xe_colour colour, struct xe_screen screen, bool is_last,
		     struct xn_buf *out)
{
	size_t width;

	xe_colour_begin(screen, colour, out);
	width = xe_width_add(text, table->width[field], out);
	xe_colour_end(screen, colour, out);
	if (!is_last)
		xe_width_pad(width, table->width[field] + GAP, out);
}

static int last_column(const struct xe_table *table, const struct xe_kind *kind)
{
	int last = XE_NO_FIELD;

	for (unsigned i = 0; i < kind->n; i++)
		if (xe_columns_has(&table->columns, i))
			last = (int)i;
	return last;
}

void xe_table_head(const struct xe_table *table, const struct xe_sight *sight,
		   struct xe_screen screen, struct xn_buf *out)
{
	int last = last_column(table, sight->kind);

	for (unsigned i = 0; i < sight->kind->n; i++)
		if (xe_columns_has(&table->columns, i))
			add_cell(table, i, xe_field_name(sight->kind, i), XE_BOLD, screen,
				 (int)i == last, out);
}

void xe_table_row(const struct xe_table *table, const struct xe_sight *sight,
		  const struct xe_item *item, struct xe_screen screen, struct xn_buf *out)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	int last = last_column(table, sight->kind);

	for (unsigned i = 0; i < sight->kind->n; i++) {
		if (!xe_columns_has(&table->columns, i))
			continue;
		text.len = 0;
		xe_sight_print(sight, i, item, &text);
		add_cell(table, i, xn_buf_cstr(&text), xe_colour_of(xn_buf_cstr(&text)), screen,
			 (int)i == last, out);
	}
}
