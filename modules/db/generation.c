/*
 * Stamps, tombstones and tokens. A generation is spent on each change; rows lie in their table by
 * stamp, so that what changed since a token is found in the time of the changes. Tombstones are a
 * bounded ring; a token from before the oldest deletion still known is not valid.
 *
 * A power loss may take the newest generations with it although clients hold tokens of them. So
 * the first start after a boot of the host goes on at the next multiple of 2^32 and keeps the gap:
 * a token in it is of a state that no longer exists. A restored backup goes much farther.
 */
#include "modules/db/db_internal.h"

#include <errno.h>
#include <stdlib.h>

#define BOOT_STEP ((uint64_t)1 << 32)
enum { FAR_SHIFT = 36 };

uint64_t xn_db_generation(const struct xn_db *db)
{
	return db->generation;
}

void xn_row_stamp(struct xn_row *row, uint64_t stamp)
{
	struct xn_table *table = row->table;

	row->modified = stamp;
	xn_list_remove(&row->link);
	xn_list_push(&table->rows, &row->link);
}

void xn_row_unstamp(struct xn_row *row, uint64_t stamp)
{
	struct xn_list *head = &row->table->rows, *at = head;

	row->modified = stamp;
	xn_list_remove(&row->link);
	while (at->prev != head && xn_list_entry(at->prev, struct xn_row, link)->modified > stamp)
		at = at->prev;
	xn_list_insert(at, &row->link);
}

/* ---- tombstones ---- */

static struct xn_grave *grave(struct xn_db *db, uint32_t number)
{
	uint32_t slot = (number - 1) % XN_TOMBSTONES_MAX;

	return &db->graves[slot / XN_TOMBSTONE_BLOCK][slot % XN_TOMBSTONE_BLOCK];
}

static bool is_kept(const struct xn_db *db, uint32_t number)
{
	return number > db->n_reused && number <= db->n_graves;
}

void xn_tombstone_add(struct xn_db *db, int class_id, const char *ref, uint64_t created,
		      uint64_t deleted)
{
	struct xn_table *table = xn_table_of(db, class_id);
	uint32_t number = db->n_graves + 1;
	uint32_t block = (number - 1) % XN_TOMBSTONES_MAX / XN_TOMBSTONE_BLOCK;
	struct xn_grave *g;

	if (!db->graves[block])
		db->graves[block] = xn_calloc(XN_TOMBSTONE_BLOCK, sizeof(**db->graves));
	g = grave(db, number);
	if (number > XN_TOMBSTONES_MAX && number - XN_TOMBSTONES_MAX > db->n_reused) {
		db->floor = g->told.deleted; /* the oldest one makes room */
		db->n_reused = number - XN_TOMBSTONES_MAX;
	}
	*g = (struct xn_grave){.older = table->newest_tombstone};
	memcpy(g->ref, ref, strnlen(ref, sizeof(g->ref) - 1));
	g->told = (struct xn_tombstone){created, deleted, class_id, g->ref};
	table->newest_tombstone = number;
	db->n_graves = number;
}

void xn_tombstones_drop_newest(struct xn_db *db, uint32_t n)
{
	while (n--) {
		struct xn_grave *g = grave(db, db->n_graves);

		db->tables[g->told.class_id].newest_tombstone = g->older;
		db->n_graves--;
	}
}

void xn_tombstones_clear(struct xn_db *db)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(db->graves); i++)
		free(db->graves[i]);
}

const struct xn_tombstone *xn_db_tombstone(struct xn_db *db, int class_id,
					   const struct xn_tombstone *at)
{
	uint32_t number = at ? xn_container_of(at, struct xn_grave, told)->older :
			       xn_table_of(db, class_id)->newest_tombstone;

	return is_kept(db, number) ? &grave(db, number)->told : NULL;
}

/* ---- tokens ---- */

bool xn_db_token_is_valid(const struct xn_db *db, uint64_t token)
{
	if (!token)
		return true; /* from the beginning: no deletion is of interest */
	if (token >= db->generation || token < db->floor)
		return false;
	for (size_t i = 0; i < db->n_skipped; i++)
		if (token >= db->skipped[i].first && token < db->skipped[i].end)
			return false;
	return true;
}

static void add_skipped(struct xn_db *db, uint64_t first, uint64_t end)
{
	if (db->n_skipped == XN_SKIPPED_MAX) { /* refuses more old tokens than it must */
		db->skipped[0].end = db->skipped[1].end;
		db->n_skipped--;
		memmove(db->skipped + 1, db->skipped + 2,
			(db->n_skipped - 1) * sizeof(*db->skipped));
	}
	db->skipped = xn_realloc(db->skipped, (db->n_skipped + 1) * sizeof(*db->skipped));
	db->skipped[db->n_skipped++] = (struct xn_skipped){first, end};
}

void xn_generation_skip(struct xn_db *db)
{
	uint64_t next = (db->generation / BOOT_STEP + 1) * BOOT_STEP;

	/* Tokens below the old next stamp are of states that are here; next - 1 is what a client is
	 * given before the first change after this start. */
	add_skipped(db, db->generation, next - 1);
	db->generation = next;
}

/* Boots of the original may have gone far beyond what the backup knows, and another restoring of
 * the same backup may have, too: a random one of 2^16 places, each with room for 16 boots. */
void xn_generation_skip_far(struct xn_db *db)
{
	uint64_t random = xn_random_u64(db->core->loop) >> 48;
	uint64_t next = ((db->generation >> FAR_SHIFT) + 1 + random) << FAR_SHIFT;

	add_skipped(db, db->generation, next - 1);
	db->generation = next;
}

int xn_skipped_load(struct xn_db *db, const void *bytes, size_t len)
{
	struct xn_cursor in = xn_cursor(bytes, len);

	db->n_skipped = 0;
	while (in.at != in.end) {
		uint64_t first, end;

		if (xn_take_fixed(&in, &first) < 0 || xn_take_fixed(&in, &end) < 0 ||
		    db->n_skipped >= XN_SKIPPED_MAX)
			return -EBADMSG;
		add_skipped(db, first, end);
	}
	return 0;
}

void xn_skipped_put(const struct xn_db *db, struct xn_buf *out)
{
	for (size_t i = 0; i < db->n_skipped; i++) {
		xn_put_fixed(out, db->skipped[i].first);
		xn_put_fixed(out, db->skipped[i].end);
	}
}
