/*
 * What the database's files share: the tables of rows, the open turn with its undo list, and the
 * calls between row.c (rows and reading), change.c (changes), relations.c (other ends),
 * generation.c (stamps, tombstones, tokens), record.c (records and their JSON), walk.c and listing.c (lists of them), load.c (bytes to rows) and
 * commit.c (turns to the store). See db.h for what they promise together.
 */
#ifndef XN_DB_INTERNAL_H
#define XN_DB_INTERNAL_H

#include "core/hmap.h"
#include "core/metrics.h"
#include "modules/db/db.h"
#include "modules/db/fold.h"
#include "modules/db/intern.h"
#include "modules/db/names.h"
#include "modules/db/store.h"

enum {
	XN_TOMBSTONES_MAX = 32768,
	XN_TOMBSTONE_BLOCK = 512, /* allocated together */
	XN_SKIPPED_MAX = 4096,	  /* boots; a range more than that joins the oldest two */
	XN_RECORD_CACHE_BYTES = 4 << 20,
	XN_LAZY_SYNC_US = 50000,	  /* for changes whose durability nobody waits for */
	XN_CHECKPOINT_BACKLOG = 2 << 20,  /* journal bytes that start a checkpoint */
	XN_CHECKPOINT_AFTER_US = 30000000, /* or the age of the first of them */
	XN_REOPEN_EVERY_US = 1000000,
	XN_TURN_LARGE = 8 << 20, /* journaled before the turn is over; far below XN_TX_MAX */
};

struct xn_table { /* one a class */
	struct xn_db *db;
	const struct xn_class *cls;
	struct xn_list rows; /* by modified stamp, oldest first */
	struct xn_list walks; /* struct xn_walk, under way */
	size_t n_rows;
	bool is_awaited; /* a relation's reference has named a row of it that was not there */
	struct xn_value **defaults;
	uint32_t newest_tombstone; /* number, 0: none */
	uint16_t *refs, *related; /* fields that are references or sets of them; that have an end */
	unsigned n_refs, n_related;
	struct xn_json_field *json; /* of the public fields */
};

struct xn_json_field { /* ,"name_label":"" */
	char *text;
	uint32_t key_len, len; /* up to the value; with the default value */
};

struct xn_row {
	struct xn_hnode by_ref, by_uuid;
	struct xn_list link; /* table->rows; a deleted row: turn.deleted */
	struct xn_table *table;
	struct xn_value *ref;
	uint64_t created, modified;
	struct xn_record *record; /* as it is now; NULL: nobody needs it */
	uint32_t lengths[2]; /* of the record, by enum xn_format; 0: not known */
	bool deleted; /* in this turn; freed when it ends */
	struct xn_value *fields[]; /* never NULL */
};

/* What takes a change back when the turn cannot be journaled. */
enum xn_undo_kind {
	XN_UNDO_FIELD,	  /* .value is the old value, owned */
	XN_UNDO_LINKED,	  /* .value was put into the row's set .field */
	XN_UNDO_UNLINKED, /* .value was taken out of it */
	XN_UNDO_STAMP,	  /* .stamp was the row's before this turn */
	XN_UNDO_CREATE,
	XN_UNDO_DELETE,
};

struct xn_undo {
	enum xn_undo_kind kind;
	int field;
	struct xn_row *row;
	union {
		struct xn_value *value;
		uint64_t stamp;
	};
};

struct xn_turn {
	struct xn_buf bytes; /* the transaction so far; empty when nothing changed */
	uint64_t first;	     /* generation when the turn began */
	uint32_t tombstones; /* db->n_graves then */
	uint64_t changes;
	struct xn_undo *undo;
	size_t n_undo, cap_undo;
	struct xn_list deleted;	   /* rows */
	struct xn_list new_laters, applied_laters; /* journaled with this turn; done in it */
	bool origin_written;
};

struct xn_later { /* a change that waits for its sync */
	char origin[3][XN_ORIGIN_TEXT];
	struct xn_list link;
	uint64_t id, transaction; /* 0: of an earlier life, durable */
	int class_id, rc;
	char ref[XN_REF_LEN];
	struct xn_value *fields;
	void (*done)(int rc, void *arg);
	void *arg;
};

struct xn_skipped { /* generations that no state ever had: [first, end) */
	uint64_t first, end;
};

struct xn_grave { /* a tombstone as kept; numbered from 1 in order of deletion */
	struct xn_tombstone told;
	uint32_t older; /* of the same class; 0: none */
	char ref[XN_REF_LEN];
};

struct xn_findings { /* of a check: a line each */
	struct xn_buf *report;
	unsigned n;
	bool is_partial; /* what is loaded is not all that should be: nothing is proven by it */
};

struct xn_db {
	struct xn_core *core;
	struct xn_findings *findings; /* loading tells what is wrong and goes on; NULL: refuses */
	struct xn_store *store; /* NULL before start */
	struct xn_table tables[XN_CLASS_COUNT];
	struct xn_hmap by_ref, by_uuid; /* of all classes */
	struct xn_intern values;
	struct xn_names names;

	uint64_t generation; /* next free stamp */
	uint64_t floor;	     /* highest stamp of a forgotten tombstone */
	struct xn_skipped *skipped;
	size_t n_skipped;
	struct xn_grave *graves[XN_TOMBSTONES_MAX / XN_TOMBSTONE_BLOCK];
	uint32_t n_graves; /* the newest one's number */
	uint32_t n_reused; /* numbers up to this one gave their place to newer ones, for good */

	uint64_t n_refused_rows;

	struct xn_list cached; /* JSON of records, least recently used first */
	size_t cached_bytes, cache_limit;
	size_t frozen_bytes; /* kept by records whose rows went on */
	bool keeps_deleted;
	struct xn_list last_records; /* of deleted rows, while somebody wants them */
	struct xn_buf scratch;

	struct xn_turn turn;
	char origin[3][XN_ORIGIN_TEXT]; /* session, task, caller: of this callback */
	uint64_t origin_callback;
	struct xn_hmap origins_by_caller; /* origin.c */
	struct xn_list origins;
	struct xn_turn_hook hook;

	/* Transactions are numbered from 1 as they are appended. */
	uint64_t appended, durable;
	uint64_t syncing; /* the running sync covers these; 0: none runs */
	uint64_t syncing_generation, durable_generation;
	struct xn_list visible_waits, durable_waits, laters; /* each in order */
	struct xn_list due_waits, ended_laters;		     /* to be called */
	uint64_t next_later;
	struct xn_job due;
	struct xn_job sync; /* starts one when the turn's visible part is out */
	struct xn_timer lazy_sync, checkpoint, reopen;
	int error; /* the store refuses: -errno; 0: fine */
	bool is_open; /* the store was read whole */
	uint64_t losses; /* turns that were refused with more in them than marks of operations */
	bool loading; /* rows come in no order */
	char last_boot[40];
	struct { /* metrics.c */
		struct xn_metrics_source source;
		uint64_t bytes, syncs, failures, refused;
		struct xn_histogram sync_times;
		int64_t sync_began_us;
	} metrics;
};

/* ---- row.c ---- */
struct xn_row *xn_row_new(struct xn_table *table, struct xn_value *ref_taken, uint64_t created,
			  uint64_t modified); /* all defaults; not yet findable */
void xn_row_free(struct xn_row *row);
void xn_row_enter(struct xn_row *row); /* into the indexes and, by stamp, the table */
void xn_row_leave(struct xn_row *row); /* out of them */
void xn_row_uuid_leave(struct xn_row *row);
void xn_row_uuid_enter(struct xn_row *row);
/* An equal value that others share: rows' own references, the table of common values. Takes @v. */
struct xn_value *xn_db_share(struct xn_db *db, const struct xn_type *type, struct xn_value *v);
struct xn_value *xn_db_share_refs(struct xn_db *db, struct xn_value *v); /* a text or a set */

static inline struct xn_table *xn_table_of(struct xn_db *db, int class_id)
{
	return &db->tables[class_id];
}

static inline const struct xn_field *xn_row_field(const struct xn_row *row, int field)
{
	return &row->table->cls->fields[field];
}

static inline bool xn_type_is_refs(const struct xn_type *type) /* a reference or a set of them */
{
	return type->kind == XN_T_REF ||
	       (type->kind == XN_T_SET && type->value->kind == XN_T_REF);
}

static inline bool xn_field_is_derived(const struct xn_field *f)
{
	return f->relation == XN_REL_ONE_TO_MANY;
}

/* ---- change.c: what this turn does goes into its transaction and undo list ---- */
void xn_turn_undo_add(struct xn_db *db, struct xn_undo undo);
/* Gives @row this stamp and tells the transaction, for rows that changed as somebody's other end.
 */
void xn_turn_stamp_other(struct xn_db *db, struct xn_row *row, uint64_t stamp);
void xn_turn_put_set(struct xn_db *db, const struct xn_row *row, int field, uint64_t stamp);
void xn_turn_put_meta(struct xn_db *db, const char *key, const void *value, size_t len);
void xn_turn_put_later(struct xn_db *db, const struct xn_later *later);
void xn_turn_put_later_done(struct xn_db *db, uint64_t id);
void xn_turn_roll_back(struct xn_db *db); /* memory is as before the turn */
void xn_turn_end(struct xn_db *db);	  /* forgets undo, frees deleted rows; an empty turn */

/* ---- clean.c ---- */
/* @v itself where a later start could read it, else what is left of it. Takes and returns a
 * reference. */
struct xn_value *xn_value_cleaned(struct xn_db *db, const struct xn_class *cls, int field,
				  struct xn_value *v);

/* ---- relations.c ---- */
/* Whether the field has another end to keep in step. */
bool xn_field_is_related(const struct xn_class *cls, const struct xn_field *f);
/* The row's field goes from @old to @new (both borrowed): other ends follow and get @stamp. */
void xn_relation_moved(struct xn_db *db, struct xn_row *row, int field, const struct xn_value *old,
		       const struct xn_value *new, uint64_t stamp);
void xn_relations_empty(struct xn_db *db, struct xn_row *row, uint64_t stamp); /* before delete */
/* After loading: every derived set from the stored ends. */
void xn_relations_derive(struct xn_db *db);
/* A new row under a reference that others may name already: its derived sets begin with those. */
void xn_relations_adopt(struct xn_db *db, struct xn_row *row);

/* ---- generation.c ---- */
void xn_row_stamp(struct xn_row *row, uint64_t stamp); /* and to the end of the table's list */
void xn_row_unstamp(struct xn_row *row, uint64_t stamp);
void xn_tombstone_add(struct xn_db *db, int class_id, const char *ref, uint64_t created,
		      uint64_t deleted);
void xn_tombstones_drop_newest(struct xn_db *db, uint32_t n); /* roll back */
void xn_tombstones_clear(struct xn_db *db);
/* The host booted since the last start: a new range. */
void xn_generation_skip(struct xn_db *db);
void xn_generation_skip_far(struct xn_db *db); /* after a restore: beyond all that the original did */
void xn_turn_put_skipped(struct xn_db *db); /* the ranges, into the turn's transaction */
int xn_skipped_load(struct xn_db *db, const void *bytes, size_t len) XN_MUST_CHECK;
void xn_skipped_put(const struct xn_db *db, struct xn_buf *out);

/* ---- origin.c ---- */
void xn_origin_settle(struct xn_db *db); /* before a change is written */
void xn_origins_clear(struct xn_db *db);

/* ---- record.c ---- */
void xn_record_leave(struct xn_row *row); /* it changes or goes: its record stays as it is */
void xn_record_is_last(struct xn_row *row, uint64_t deleted); /* before the row is deleted */
void xn_last_records_take_back(struct xn_db *db, uint64_t from); /* those deleted since */

/* ---- walk.c ---- */
/* Before a change of @row's fields or stamp, each time; and before it leaves its table. */
void xn_row_changes(struct xn_row *row);
void xn_walks_restart(struct xn_db *db); /* what they saw of this turn did not happen */

/* ---- metrics.c ---- */
void xn_db_metrics_init(struct xn_db *db);

/* ---- check.c ---- */
void xn_finding(struct xn_findings *findings, const char *fmt, ...) XN_PRINTF(2, 3);
bool xn_value_fits(const struct xn_type *type, const struct xn_value *v);

/* ---- migrate.c ---- */
void xn_migrate_begin(struct xn_db *db, bool is_new); /* in the start's first turn */
int xn_migrate_end(struct xn_db *db, struct xn_error *err) XN_MUST_CHECK; /* it is durable */
int xn_format_load(struct xn_cursor in) XN_MUST_CHECK; /* the content's format may be read here */

/* ---- load.c ---- */
int xn_db_load(struct xn_db *db, struct xn_error *err) XN_MUST_CHECK; /* opens the store */

/* ---- commit.c ---- */
void xn_commit_init(struct xn_db *db);
void xn_commit_clear(struct xn_db *db);
/* Ends the turn: journal, marks, waits. */
void xn_commit_turn(struct xn_db *db);
void xn_commit_sync(struct xn_db *db); /* now, unless one runs or nothing is new */
void xn_commit_plan_checkpoint(struct xn_db *db);

/* ---- wait.c ---- */
void xn_waits_init(struct xn_db *db);
void xn_waits_clear(struct xn_db *db);
void xn_waits_pass(struct xn_db *db); /* a mark moved */
bool xn_waits_are_due(const struct xn_db *db); /* some are not told yet */
void xn_waits_turn_accepted(struct xn_db *db);
void xn_waits_turn_refused(struct xn_db *db, int rc);
void xn_laters_apply(struct xn_db *db);	    /* those that are durable, as changes of this turn */
void xn_later_free(struct xn_later *later); /* out of its list */

#endif
