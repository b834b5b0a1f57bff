/*
 * Walks over the rows of a class as they were at one moment, in steps: between two of them rows may
 * change, and those that the walk has not come to yet leave it their record first.
 */
#include "modules/db/db_internal.h"

#include <stdlib.h>

static struct xn_row *or_end(const struct xn_walk *walk, struct xn_row *row)
{
	return row && row->modified > walk->since ? row : NULL;
}

void xn_walk_begin(struct xn_walk *walk, struct xn_db *db, int class_id, uint64_t since)
{
	struct xn_table *table = xn_table_of(db, class_id);

	*walk = (struct xn_walk){.db = db, .since = since};
	walk->next = or_end(walk, xn_db_newest(db, class_id));
	if (!since && table->n_rows) {
		walk->cap = table->n_rows;
		walk->records = xn_malloc(walk->cap * sizeof(*walk->records));
	}
	xn_list_push(&table->walks, &walk->link);
}

static void take(struct xn_walk *walk, struct xn_row *row)
{
	if (walk->n == walk->cap) {
		walk->cap = walk->cap ? walk->cap * 2 : 16;
		walk->records = xn_realloc(walk->records, walk->cap * sizeof(*walk->records));
	}
	walk->records[walk->n++] = xn_row_take(row);
	if (row == walk->next)
		walk->next = or_end(walk, xn_db_older(walk->db, row));
}

/* Rows of one stamp are taken together, so that stamps tell which ones were. */
bool xn_walk_step(struct xn_walk *walk, unsigned rows)
{
	uint64_t stamp = 0;

	while (walk->next && (rows || walk->next->modified == stamp)) {
		stamp = walk->next->modified;
		take(walk, walk->next);
		rows -= rows > 0;
	}
	if (walk->next)
		return false;
	if (walk->link.next)
		xn_list_remove(&walk->link);
	return true;
}

static void drop_records(struct xn_walk *walk)
{
	for (size_t i = 0; i < walk->n; i++)
		xn_record_unref(walk->records[i]);
	walk->n = 0;
}

void xn_walk_end(struct xn_walk *walk)
{
	if (walk->link.next)
		xn_list_remove(&walk->link);
	drop_records(walk);
	free(walk->records);
	*walk = (struct xn_walk){0};
}

void xn_row_changes(struct xn_row *row)
{
	xn_list_each(link, &row->table->walks) {
		struct xn_walk *walk = xn_list_entry(link, struct xn_walk, link);

		if (walk->next && row->modified <= walk->next->modified &&
		    row->modified > walk->since)
			take(walk, row);
	}
	xn_record_leave(row);
}

void xn_walks_restart(struct xn_db *db)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		xn_list_each(link, &db->tables[c].walks) {
			struct xn_walk *walk = xn_list_entry(link, struct xn_walk, link);

			drop_records(walk);
			walk->next = or_end(walk, xn_db_newest(db, c));
		}
	}
}
