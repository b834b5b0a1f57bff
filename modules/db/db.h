/*
 * The database: rows in memory under the schema, both ends of relations kept, generations and
 * tombstones, a journal that survives SIGKILL when a turn ends and power loss when synced.
 * Loop thread only. Changes of one loop turn are one transaction: journaled with one write before
 * anything of that turn is shown (db_committed), synced by the commit worker (xn_db_when_durable).
 */
#ifndef XN_DB_H
#define XN_DB_H

#include "core/list.h"
#include "core/module.h"
#include "core/schema/schema.h"

extern const struct xn_module xn_db_module;

struct xn_db;
struct xn_row;

/* From a module that names "db" in its .needs. */
static inline struct xn_db *xn_db_of(struct xn_core *core)
{
	return xn_module_state(core, "db");
}

/* ---- find ---- */
struct xn_row *xn_db_get(struct xn_db *db, int class_id, const char *ref); /* or NULL */
struct xn_row *xn_db_get_any(struct xn_db *db, const char *ref);	   /* any class */
struct xn_row *xn_db_by_uuid(struct xn_db *db, int class_id, const char *uuid);
/* The row, or NULL with HANDLE_INVALID [class, ref] / UUID_INVALID [class, uuid]. */
struct xn_row *xn_db_need(struct xn_db *db, int class_id, const char *ref, struct xn_error *err);
struct xn_row *xn_db_need_uuid(struct xn_db *db, int class_id, const char *uuid,
			       struct xn_error *err);
size_t xn_db_count(const struct xn_db *db, int class_id);
/* Before a caller's @more rows are made: 0, or -1 with OUT_OF_SPACE where they are more than all-rows. */
int xn_db_check_room(struct xn_db *db, size_t more, struct xn_error *err);
uint64_t xn_db_refused_rows(const struct xn_db *db); /* how often that was so */
/* Rows of a class, least recently changed first. Do not change rows inside the walk; collect first.
 */
struct xn_row *xn_db_first(struct xn_db *db, int class_id);
struct xn_row *xn_db_next(struct xn_db *db, const struct xn_row *row);

/* ---- read ---- */
int xn_row_class(const struct xn_row *row);
const char *xn_row_ref(const struct xn_row *row);
const char *xn_row_uuid(const struct xn_row *row); /* "" when the class has none */
uint64_t xn_row_created(const struct xn_row *row);
uint64_t xn_row_modified(const struct xn_row *row);
/* Borrowed until the row's next change. @field: XN_VM_power_state and alike, of the row's class. */
const struct xn_value *xn_row_get(const struct xn_row *row, int field);
const char *xn_row_string(const struct xn_row *row, int field); /* strings, refs, enums */
int64_t xn_row_int(const struct xn_row *row, int field);
bool xn_row_bool(const struct xn_row *row, int field);
/* The row that a reference field names, or NULL (null reference, or the row is gone). */
struct xn_row *xn_row_follow(struct xn_db *db, const struct xn_row *row, int field);
const char *xn_row_map_string(const struct xn_row *row, int field, const char *key); /* or NULL */

/* The public record as a result value, as it is now. */
struct xn_value *xn_row_record(struct xn_row *row);
/* Map ref -> record of all @n rows, as they are now. Takes nothing. */
struct xn_value *xn_rows_records(struct xn_row *const *rows, size_t n);
/* The record's JSON bytes, borrowed until the row changes or the cache needs room. */
const char *xn_row_json(struct xn_row *row, size_t *len_out);

/*
 * A row's public fields as they are now: shared by all who take it, the same for ever. Costs nothing
 * until the row changes; from then on it keeps the values that it had.
 */
struct xn_record;
struct xn_record *xn_row_take(struct xn_row *row); /* a reference of the caller's */
struct xn_record *xn_record_share(struct xn_record *record); /* one more reference */
void xn_record_unref(struct xn_record *record);	   /* NULL is fine */
const char *xn_record_ref(const struct xn_record *record);
int xn_record_class(const struct xn_record *record);
uint64_t xn_record_created(const struct xn_record *record);
uint64_t xn_record_modified(const struct xn_record *record);
const struct xn_value *xn_record_get(const struct xn_record *record, int field); /* a public one */
void xn_record_write(struct xn_record *record, enum xn_format format, struct xn_buf *out);
/* How many bytes that writes; *encoded grows by those that had to be made to know it. */
size_t xn_record_length(struct xn_record *record, enum xn_format format, size_t *encoded);
size_t xn_value_weight(const struct xn_value *v);   /* bytes that it takes in memory, about */
size_t xn_row_weight(const struct xn_row *row); /* the same of its fields that are not at their default */
/* What records keep whose rows have gone on. */
size_t xn_db_frozen_bytes(const struct xn_db *db);

/* The rows of a class that changed after a stamp, as they are at the beginning, gathered in steps of
 * some @rows; the newest first. Loop thread only, like all here. */
struct xn_walk { /* embedded */
	struct xn_list link;
	struct xn_db *db;
	uint64_t since;
	struct xn_row *next;
	struct xn_record **records; /* found so far */
	size_t n, cap;
};
void xn_walk_begin(struct xn_walk *walk, struct xn_db *db, int class_id, uint64_t since);
bool xn_walk_step(struct xn_walk *walk, unsigned rows); /* true: that was the last */
void xn_walk_end(struct xn_walk *walk);		       /* lets go of the records; any time */

/* All rows of a class as a result, as they are now: a set of references, or a map to records. */
enum xn_list_kind { XN_LIST_REFS, XN_LIST_RECORDS };
struct xn_list_test { /* leaves rows out */
	bool (*passes)(void *arg, const struct xn_record *record);
	void (*free)(void *arg); /* called once, when the test is over */
	void *arg;
	unsigned cost; /* steps a row takes, of some 20 ns */
};
struct xn_value *xn_db_list(struct xn_db *db, int class_id, enum xn_list_kind kind,
			    const struct xn_list_test *test); /* NULL: all */

/* A plain map with the public fields, for code that looks into records (clone, snapshot). */
struct xn_value *xn_row_to_map(const struct xn_row *row);

/* ---- change: visible to readers in this turn at once, to clients after the turn's commit ---- */
/*
 * xn_db_create - a new row
 * @ref: NULL makes one. @uuid field is filled when absent. @fields: map of wire names to values,
 * borrowed; what is absent gets its default. Fields must have the schema's types (xn_type_check).
 * Derived relation ends in @fields are ignored. Never fails: the caller has checked.
 */
struct xn_row *xn_db_create(struct xn_db *db, int class_id, const char *ref,
			    const struct xn_value *fields);
/* Other ends of relations are emptied. The row stays readable until the turn ends. */
void xn_db_delete(struct xn_db *db, struct xn_row *row);
/* Equal writes vanish: no stamp, no event. @value is taken. Return whether it changed. */
bool xn_db_set(struct xn_db *db, struct xn_row *row, int field, struct xn_value *value);
bool xn_db_set_string(struct xn_db *db, struct xn_row *row, int field, const char *s);
bool xn_db_set_int(struct xn_db *db, struct xn_row *row, int field, int64_t i);
bool xn_db_set_bool(struct xn_db *db, struct xn_row *row, int field, bool b);
bool xn_db_map_put(struct xn_db *db, struct xn_row *row, int field, const char *key, const char *s);
bool xn_db_map_remove(struct xn_db *db, struct xn_row *row, int field, const char *key);
bool xn_db_set_add(struct xn_db *db, struct xn_row *row, int field, const char *item);
bool xn_db_set_remove(struct xn_db *db, struct xn_row *row, int field, const char *item);
/* event.inject: stamps the row without changing it. Returns the generation before the stamp. */
uint64_t xn_db_touch(struct xn_db *db, struct xn_row *row);

/*
 * xn_db_set_later - a change that nobody sees before it survives power loss (a task's end)
 * @fields: map, taken. Journaled now, synced, then applied as an ordinary change from the loop; a
 * crash in between applies it at the next start. @done may be NULL; it comes from the loop when the
 * change is visible; rc < 0: the store refused, or -ENOENT: the row is gone.
 */
void xn_db_set_later(struct xn_db *db, const char *ref, int class_id, struct xn_value *fields,
		     void (*done)(int rc, void *arg), void *arg);

/* Who makes the changes from now on in this callback; for history. Borrowed strings are copied. */
struct xn_db_origin { const char *session, *task, *caller; };
enum { XN_ORIGIN_TEXT = 136 };
/* @caller as history tells it: "root@10.0.0.5:41234"; a part of the daemon has no @. */
void xn_origin_print(const struct xn_caller *caller, char out[XN_ORIGIN_TEXT]);
void xn_db_set_origin_of(struct xn_db *db, const struct xn_caller *caller, const char *task);
/* Between two calls of one turn: what was changed is journaled now when it is many bytes. Rows that
 * were deleted are gone after it. */
void xn_db_bound_turn(struct xn_db *db);
void xn_db_set_origin(struct xn_db *db, const struct xn_db_origin *origin); /* NULL: the daemon */
/* The one of this callback, to be said again in a later one of the same work: a caller may have
 * several tasks, so that what is known of a worker's caller (origin.c) tells none. */
struct xn_kept_origin { char texts[3][XN_ORIGIN_TEXT]; };
void xn_db_keep_origin(struct xn_db *db, struct xn_kept_origin *kept);
void xn_db_say_origin(struct xn_db *db, const struct xn_kept_origin *kept);

/* ---- generations ---- */
uint64_t xn_db_generation(const struct xn_db *db); /* next free stamp */
/* Everything below is visible: no failure of the store takes it back. */
uint64_t xn_db_committed_generation(const struct xn_db *db);
uint64_t
xn_db_durable_generation(const struct xn_db *db); /* everything below survives power loss */
/* Whether a client's token can still be answered without a gap; false: EVENTS_LOST. */
bool xn_db_token_is_valid(const struct xn_db *db, uint64_t token);
/* Rows of @class_id with modified > @since, most recently changed first. NULL ends. */
struct xn_row *xn_db_newest(struct xn_db *db, int class_id);
struct xn_row *xn_db_older(struct xn_db *db, const struct xn_row *row);
struct xn_tombstone { uint64_t created, deleted; int class_id; const char *ref; };
/* Tombstones of a class, newest first; @at NULL starts. Borrowed until the next change. */
const struct xn_tombstone *xn_db_tombstone(struct xn_db *db, int class_id,
					   const struct xn_tombstone *at);

/* From now on the last records of rows that are deleted are kept, until they are taken; or no more. */
void xn_db_keep_deleted(struct xn_db *db, bool keep);
/* The record of the row that was deleted under this stamp, the caller's; or NULL. Older ones go: ask
 * in the order of stamps. */
struct xn_record *xn_db_take_deleted(struct xn_db *db, uint64_t deleted);
void xn_db_drop_deleted(struct xn_db *db); /* those that nobody took */

/* ---- durability ---- */
struct xn_db_wait { /* embedded; all zero bytes at first; one pending use at a time */
	struct xn_list link;
	uint64_t transaction;
	int rc;
	void (*run)(struct xn_db_wait *wait, int rc); /* rc < 0: the changes may not survive */
};
/* Calls back from the loop when all changes made so far (this turn's too) are visible / durable;
 * at once-later when they are already. */
void xn_db_when_visible(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc));
void xn_db_when_durable(struct xn_db *db, struct xn_db_wait *wait,
			void (*run)(struct xn_db_wait *wait, int rc));
void xn_db_wait_cancel(struct xn_db_wait *wait);
/* How many turns were taken back with more in them than operations' and tasks' own rows and what
 * objects are held for. Where it has grown, an effect may be gone that was to be told. */
uint64_t xn_db_losses(const struct xn_db *db);
/* 0, or -errno while the store refuses writes (disk full ...): changes must then be refused with
 * an error before they are made. */
int xn_db_writable(const struct xn_db *db);
/* The same, and -1 with the error that a caller gets. */
int xn_db_check_writable(const struct xn_db *db, struct xn_error *err);
/* That error, of a change which the store did not take. -1. */
int xn_db_error(int neg_errno, struct xn_error *err);
/* Whether this turn has changed anything yet (dispatch: does this reply need to wait?). */
uint64_t xn_db_turn_changes(const struct xn_db *db);
/* Bytes of the journal that no checkpoint holds. */
uint64_t xn_db_backlog(const struct xn_db *db);
/* When all modules have started: commits what that changed. -1 with @err when a new folder did not
 * take it, and nothing would be there to serve. */
int xn_db_settle(struct xn_db *db, struct xn_error *err);
/* Ordinary stop: commit, sync, checkpoint. Blocks; at most a second. */
void xn_db_close(struct xn_db *db);

/* ---- history (modules/db/history.h, for the module of that name) ---- */
/* @run: from the loop, when xn_history_tidy() has work. NULL: nobody. */
void xn_db_on_history(struct xn_db *db, void (*run)(void *arg), void *arg);
/* Until the files fit again nothing is folded, so that there are no more of them; but the journal
 * does not grow for ever. */
void xn_db_hold_history(struct xn_db *db, bool hold);
/* It cannot go on from what is there: the next checkpoint begins it with an image. */
void xn_db_begin_history_anew(struct xn_db *db);

/* ---- housekeeping ---- */
/* Proves types, uniqueness, references, relations, stamps, tombstones; one line in @report for each
 * thing wrong: class, reference, field and what. Returns how many. */
unsigned xn_db_check(struct xn_db *db, struct xn_buf *report);
/* The same of the folder of a daemon that does not run, with all checksums, for --check-db. Writes
 * nothing there. @summary: what was found, in words. */
unsigned xn_db_check_folder(const char *dir, struct xn_config *config, struct xn_buf *report,
			    struct xn_buf *summary);
/* The database of a state folder that no daemon holds, for a command that reads a row of it; @look is
 * called unless it cannot be read. Nothing is written. 0, or -1 with @err. */
int xn_db_look_into(const char *dir, struct xn_config *config,
		    void (*look)(struct xn_db *db, void *arg), void *arg, struct xn_error *err);
/* Order-independent hash of all rows, stamps and tombstones, for simulation. */
uint64_t xn_db_state_hash(struct xn_db *db);

#endif
