/*
 * From an older format to this one, when a database is opened: what each step adds goes into the
 * start's first transaction, and when that is durable the folder's mark follows. Whatever moment a
 * crash comes at, the next start finds the old format, wholly or with additions that it ignores.
 */
#include "modules/db/db_internal.h"
#include "modules/db/format.h"

#include <errno.h>

static void note_format(struct xn_db *db)
{
	struct xn_buf value = {0};

	xn_put_fixed(&value, XN_DB_FORMAT);
	xn_turn_put_meta(db, XN_META_FORMAT, value.data, value.len);
	xn_buf_clear(&value);
}

static const struct migration {
	int from;
	void (*run)(struct xn_db *db); /* in the first turn, when all is loaded */
} migrations[] = {
	{1, note_format},
};

void xn_migrate_begin(struct xn_db *db, bool is_new)
{
	int found = db->store->format;

	if (is_new && found)
		note_format(db);
	for (size_t i = 0; !is_new && found && i < XN_ARRAY_SIZE(migrations); i++)
		if (migrations[i].from >= found)
			migrations[i].run(db);
}

int xn_migrate_end(struct xn_db *db, struct xn_error *err)
{
	int found = db->store->format;

	if (!found || found == XN_DB_FORMAT)
		return 0;
	if (db->store->ops->set_format(db->store, err) < 0)
		return -1;
	xn_log_info(db->core->log, "db", "the database was brought from format %d to %d", found,
		    XN_DB_FORMAT);
	return 0;
}

int xn_format_load(struct xn_cursor in)
{
	uint64_t format;

	if (xn_take_fixed(&in, &format) < 0)
		return -EBADMSG;
	return format > XN_DB_FORMAT ? -ENOTSUP : 0;
}
