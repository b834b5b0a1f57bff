/*
 * Records in the forms that they are shown in: the field's plain lines, JSON, and for terminals a
 * table or aligned pairs. Only text: who asked and how it gets there is known to show.c and list.c.
 */
#ifndef XE_FORM_H
#define XE_FORM_H

#include "rpc/xe/record/record_internal.h"

/* What is shown of a record, and whose. */
struct xe_sight {
	struct xn_db *db;
	const struct xe_kind *kind;
	struct xe_columns columns;
	bool is_list; /* expensive fields are named, not read */
};

/* A field as this sight shows it. */
void xe_sight_print(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
		    struct xn_buf *out);
/* The first field that is shown; XE_NO_FIELD: none is. */
int xe_sight_first(const struct xe_sight *sight);

/* The lines that the field's client gets: "name-label ( RW): web". */
void xe_form_plain(const struct xe_sight *sight, const struct xe_item *item, struct xn_buf *out);
/* A JSON object, or the value of a field. */
void xe_form_json(const struct xe_sight *sight, const struct xe_item *item, const char *title,
		  struct xn_buf *out);
void xe_form_json_field(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
			struct xn_buf *out);
/* The value of a map's key; it is there. */
void xe_form_json_key(const struct xe_sight *sight, unsigned field, const struct xe_item *item,
		      const char *key, struct xn_buf *out);
/* Names and values in two columns, for a terminal. */
void xe_form_pairs(const struct xe_sight *sight, const struct xe_item *item,
		   struct xe_screen screen, struct xn_buf *out);

/* ---- a table that fits the terminal ---- */

struct xe_table {
	struct xe_columns columns; /* those that have room */
	uint16_t width[XE_FIELDS_MAX];
	uint16_t natural[XE_FIELDS_MAX]; /* what the widest value takes */
	struct xe_columns fixed;         /* uuids: never cut */
	bool is_narrow;                  /* no table fits: pairs */
	unsigned n_dropped;
};

void xe_table_begin(struct xe_table *table, const struct xe_sight *sight);
/* All records that will be in it are measured first, */
void xe_table_measure(struct xe_table *table, const struct xe_sight *sight,
		      const struct xe_item *item);
/* then the columns share what room there is. */
void xe_table_settle(struct xe_table *table, const struct xe_sight *sight, struct xe_screen screen);
void xe_table_head(const struct xe_table *table, const struct xe_sight *sight,
		   struct xe_screen screen, struct xn_buf *out);
void xe_table_row(const struct xe_table *table, const struct xe_sight *sight,
		  const struct xe_item *item, struct xe_screen screen, struct xn_buf *out);

/* ---- show.c, list.c ---- */

void xe_show_minimal(struct xe *x, const struct xe_sight *sight, const struct xe_item *item);
xe_handler xe_list;
void xe_show_text(struct xe *x, struct xn_buf *text); /* said as it is; empties the buffer */

#endif
