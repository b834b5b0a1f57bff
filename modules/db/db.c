/*
 * The database's module: makes the tables from the schema, opens the store, starts a new range of
 * generations after a boot, and closes in order.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>

/* The JSON of a record is mostly keys and defaults: both are made once. */
static void make_json_fields(struct xn_table *table)
{
	const struct xn_class *cls = table->cls;

	table->json = xn_calloc(cls->n_public, sizeof(*table->json));
	for (unsigned f = 0; f < cls->n_public; f++) {
		struct xn_buf text = {0};

		xn_buf_printf(&text, "%c\"%s\":", f ? ',' : '{', cls->fields[f].name);
		table->json[f].key_len = (uint32_t)text.len;
		xn_json_write(table->defaults[f], &text);
		table->json[f].len = (uint32_t)text.len;
		table->json[f].text = xn_buf_steal(&text);
	}
}

static void list_fields(struct xn_table *table)
{
	const struct xn_class *cls = table->cls;

	table->refs = xn_calloc(cls->n_fields, sizeof(*table->refs));
	table->related = xn_calloc(cls->n_fields, sizeof(*table->related));
	for (unsigned f = 0; f < cls->n_fields; f++) {
		if (xn_type_is_refs(cls->fields[f].type) && !xn_field_is_derived(&cls->fields[f]))
			table->refs[table->n_refs++] = (uint16_t)f;
		if (xn_field_is_related(cls, &cls->fields[f]))
			table->related[table->n_related++] = (uint16_t)f;
	}
}

static void make_table(struct xn_db *db, int class_id)
{
	struct xn_table *table = &db->tables[class_id];
	const struct xn_class *cls = &xn_classes[class_id];

	table->db = db;
	table->cls = cls;
	xn_list_init(&table->rows);
	xn_list_init(&table->walks);
	table->defaults = xn_calloc(cls->n_fields, sizeof(*table->defaults));
	for (unsigned f = 0; f < cls->n_fields; f++)
		table->defaults[f] = xn_field_default(cls, f);
	list_fields(table);
	make_json_fields(table);
}

static void clear_table(struct xn_table *table)
{
	while (!xn_list_empty(&table->rows)) {
		struct xn_row *row = xn_list_entry(table->rows.next, struct xn_row, link);

		xn_row_leave(row);
		xn_row_free(row);
	}
	for (unsigned f = 0; f < table->cls->n_fields; f++)
		xn_value_unref(table->defaults[f]);
	for (unsigned f = 0; f < table->cls->n_public; f++)
		free(table->json[f].text);
	free(table->defaults);
	free(table->json);
	free(table->refs);
	free(table->related);
}

static int db_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_db *db = xn_calloc(1, sizeof(*db));

	db->core = core;
	db->generation = 1;
	db->next_later = 1;
	db->cache_limit = XN_RECORD_CACHE_BYTES;
	xn_list_init(&db->origins);
	xn_list_init(&db->cached);
	xn_list_init(&db->last_records);
	xn_list_init(&db->turn.deleted);
	xn_names_init(&db->names);
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		make_table(db, c);
	xn_commit_init(db);
	xn_db_metrics_init(db);
	*state_out = db;
	return 0;
}

/* What this start adds to what was found, as the first transaction. */
static void begin(struct xn_db *db)
{
	bool is_new = db->names.n == 1;

	db->turn.first = db->generation;
	xn_turn_end(db); /* an empty turn */
	if (xn_names_complete(&db->names))
		xn_turn_put_meta(db, XN_META_NAMES, db->names.bytes.data, db->names.bytes.len);
	xn_migrate_begin(db, is_new);
	/* A log that was cut may have held more than a write which a kill stopped: after a failed sync,
	 * transactions that clients were shown. Their stamps are not given out again either. */
	if (strcmp(db->last_boot, db->store->boot_id) == 0 && !db->store->was_cut)
		return;
	xn_turn_put_meta(db, XN_META_BOOT, db->store->boot_id, strlen(db->store->boot_id));
	if (!is_new) {
		xn_generation_skip(db);
		xn_turn_put_skipped(db);
	}
}

static int open_store(struct xn_db *db, struct xn_error *err)
{
	struct xn_core *core = db->core;

	if (core->store) {
		db->store = core->store;
	} else {
		const char *dir = xn_config_string(core->config, "state-dir");

		if (!dir)
			return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
					     "no state folder is named");
		db->store = xn_store_lmdb_new(core, dir);
	}
	return xn_db_load(db, err);
}

static int db_start(void *state, struct xn_error *err)
{
	struct xn_db *db = state;
	int rc;

	if (open_store(db, err) < 0)
		return -1;
	db->is_open = true;
	begin(db);
	xn_commit_turn(db);
	/* A new range must survive power loss before a client can be given a token of it. */
	rc = db->error ? db->error : db->store->ops->flush(db->store);
	if (rc < 0)
		return xn_error_from_errno(err, rc, "writing to the state folder");
	if (xn_migrate_end(db, err) < 0)
		return -1;
	db->durable = db->appended;
	db->durable_generation = db->generation;
	xn_laters_apply(db); /* that a crash left waiting */
	xn_commit_turn(db);
	xn_commit_plan_checkpoint(db); /* of what the last life left in the journal */
	return 0;
}

int xn_db_settle(struct xn_db *db, struct xn_error *err)
{
	xn_commit_turn(db);
	return xn_db_count(db, XN_CLASS_pool) ? 0 : xn_db_check_writable(db, err);
}

int xn_db_check_room(struct xn_db *db, size_t more, struct xn_error *err)
{
	size_t most = (size_t)xn_config_int(db->core->config, "all-rows"), rows = 0;

	for (int c = 0; c < XN_CLASS_COUNT; c++)
		rows += xn_db_count(db, c);
	if (rows + more <= most)
		return 0;
	db->n_refused_rows++;
	return xn_error_setf(err, XN_ERR_OUT_OF_SPACE,
			     "the database has %zu objects, and the limit all-rows is %zu", rows,
			     most);
}

uint64_t xn_db_refused_rows(const struct xn_db *db)
{
	return db->n_refused_rows;
}

void xn_db_on_history(struct xn_db *db, void (*run)(void *arg), void *arg)
{
	if (!db->store)
		return;
	db->store->on_history = run;
	db->store->on_history_arg = arg;
}

void xn_db_hold_history(struct xn_db *db, bool hold)
{
	if (db->store)
		db->store->history_waits = hold;
}

void xn_db_begin_history_anew(struct xn_db *db)
{
	db->store->history_anew = true;
}

void xn_db_close(struct xn_db *db)
{
	struct xn_store *store = db->store;
	bool clean = db->is_open;

	if (!store)
		return;
	if (db->is_open)
		xn_commit_turn(db);
	db->is_open = false;
	xn_commit_clear(db);
	clean = clean && !db->error && store->ops->flush(store) == 0;
	store->ops->close(store, clean);
	db->store = NULL;
}

static void db_stop(void *state)
{
	struct xn_db *db = state;

	if (!db)
		return;
	xn_metrics_remove(&db->metrics.source);
	xn_db_close(db);
	xn_commit_clear(db);
	xn_turn_end(db);
	xn_db_drop_deleted(db);
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		clear_table(&db->tables[c]);
	free(db->turn.undo);
	xn_buf_clear(&db->turn.bytes);
	xn_buf_clear(&db->scratch);
	xn_hmap_clear(&db->by_ref);
	xn_hmap_clear(&db->by_uuid);
	xn_intern_clear(&db->values);
	xn_origins_clear(db);
	xn_tombstones_clear(db);
	free(db->skipped);
	xn_names_clear(&db->names);
	free(db);
}

static const enum xn_event_id db_publishes[] = {XN_EVENT_db_committed, XN_EVENT_db_failed,
						XN_EVENT_COUNT};

const struct xn_module xn_db_module = {
	.name = "db",
	.publishes = db_publishes,
	.init = db_init,
	.start = db_start,
	.stop = db_stop,
};
