/*
 * Records as the command line shows them: which fields a class has there ("vm": name-label,
 * power-state ...), how a field's value reads, which rows a command line's arguments pick, and how
 * records are printed. The tables are made from records.txt and the schema at build time (gen.py).
 */
#ifndef XE_RECORD_H
#define XE_RECORD_H

#include "modules/db/db.h"
#include "rpc/xe/command.h"

/* ---- kinds and their fields ---- */

struct xe_kind;                                 /* "vm", "template", "vif" */
enum { XE_FIELDS_MAX = 128, XE_NO_FIELD = -1 }; /* fields are numbered in the order they print in */

const struct xe_kind *xe_kind_find(const char *prefix, size_t len); /* or NULL */
const struct xe_kind *xe_kind_at(unsigned index);                   /* NULL ends */
const char *xe_kind_prefix(const struct xe_kind *kind);
int xe_kind_class(const struct xe_kind *kind);
/* The records of a class can be read by the caller, and are found in the database: else a call has to be
 * asked, which says no or has them. */
bool xe_kind_is_open(struct xe *x, const struct xe_kind *kind);

enum xe_shape { XE_SCALAR, XE_SET, XE_MAP };
/* What a field is and what may be done with it. */
enum xe_field_flags {
	XE_F_SHAPE = 3,        /* enum xe_shape */
	XE_F_SET = 1 << 2,     /* param-set field=value */
	XE_F_ADD = 1 << 3,     /* param-add; and param-set field:key=value of a map */
	XE_F_REMOVE = 1 << 4,  /* param-remove */
	XE_F_SET_KEY = 1 << 5, /* param-set field:key=value, though not added to or removed from */
	XE_F_CLEAR = 1 << 6,   /* a map emptied at once, not key by key */
	XE_F_EXPENSIVE = 1 << 7, /* lists do not look */
	XE_F_HIDDEN = 1 << 8,    /* param-get only */
	XE_F_DEPRECATED = 1 << 9,
	XE_F_ANY_CASE = 1 << 10, /* filters compare without case */
	XE_F_COMMAS = 1 << 11,   /* a set whose members are joined with ", " */
	XE_F_CALL = 1 << 12,     /* only an API call tells its value */
};

unsigned xe_field_count(const struct xe_kind *kind);
int xe_field_find(const struct xe_kind *kind, const char *name, size_t len); /* or XE_NO_FIELD */
const char *xe_field_name(const struct xe_kind *kind, unsigned field);
unsigned xe_field_flags(const struct xe_kind *kind, unsigned field);
/* What it prints changes only when its own row does: it looks at no other. */
bool xe_field_is_own(const struct xe_kind *kind, unsigned field);

/* ---- generated commands: PREFIX-list, PREFIX-param-get ... ---- */

enum xe_verb {
	XE_LIST,
	XE_PARAM_LIST,
	XE_PARAM_GET,
	XE_PARAM_SET,
	XE_PARAM_ADD,
	XE_PARAM_REMOVE,
	XE_PARAM_CLEAR,
	XE_VERBS,
};

/* Whether the kind has such a command: what it has no field for does not exist. */
bool xe_kind_has(const struct xe_kind *kind, enum xe_verb verb);
/* "vif-param-set" to its kind and verb; NULL: no generated command. */
const struct xe_kind *xe_generated_find(const char *command, enum xe_verb *verb_out);
const char *xe_verb_suffix(enum xe_verb verb);   /* "-param-set" */
const char *xe_verb_required(enum xe_verb verb); /* "uuid,param-name"; "" */
/* Appends the optional parameters, comma separated, as help shows them. */
void xe_generated_optional(const struct xe_kind *kind, enum xe_verb verb, struct xn_buf *out);
bool xe_generated_is_standard(const struct xe_kind *kind,
			      enum xe_verb verb); /* in the short help */
xe_handler *xe_verb_handler(enum xe_verb verb);

/* ---- values ---- */

/* What a call told about a field with XE_F_CALL. */
struct xe_told {
	unsigned field;
	const struct xn_value *value; /* NULL: the call failed with: */
	const struct xn_error *error;
};
enum { XE_TOLD_MAX = 8 }; /* fields of a kind that only a call tells */
/* A record to look at: a row's as of some moment, or fields that a call gave (messages are no
 * rows). */
struct xe_item {
	struct xn_record *record;      /* NULL: */
	const struct xn_value *fields; /* a map */
	const char *ref;
	const struct xe_told *told; /* without one such a field is "<unknown>" */
	unsigned n_told;
};
struct xe_item xe_item_of(struct xn_record *record); /* borrows it */

/* What param-get prints for a field; a list shows expensive ones without looking at them. */
void xe_field_print(struct xn_db *db, const struct xe_kind *kind, unsigned field,
		    const struct xe_item *item, struct xn_buf *out);
/* Whether a set's printed members have this one. */
bool xe_field_contains(struct xn_db *db, const struct xe_kind *kind, unsigned field,
		       const struct xe_item *item, const char *member);
/* Appends the printed value of a map's key; false: there is no such key. */
bool xe_field_print_key(struct xn_db *db, const struct xe_kind *kind, unsigned field,
			const struct xe_item *item, const char *key, struct xn_buf *out);

/* ---- filters ---- */

/*
 * Conditions that a record has to meet, all of them. Made of arguments "field=value",
 * "map:key=value", "set:contains=value"; what is compared is the printed value.
 */
struct xe_filter;

/*
 * xe_filter_new - from the command line's arguments that are neither general nor the command's own
 * @is_own: tells the command's own parameters; may be NULL
 * Borrows the arguments' text. Never fails: what names no field is told by xe_filter_unknown().
 */
struct xe_filter *xe_filter_new(const struct xe_kind *kind, const struct xe_arguments *arguments,
				bool (*is_own)(void *arg, const char *name), void *arg);
void xe_filter_free(struct xe_filter *filter); /* NULL is fine */
XN_DEFINE_CLEANUP(struct xe_filter *, xe_filter_free)
/* One more condition, as an argument's. The strings are borrowed. */
void xe_filter_add(struct xe_filter *filter, const char *name, const char *value);
/* vm=, host=, sr=: uuid, name-label or, of hosts, hostname are @value. */
void xe_filter_add_named(struct xe_filter *filter, const char *value);
/* The kind's own: vm-list shows no templates. */
void xe_filter_add_implied(struct xe_filter *filter);
/* The first argument that names no field; NULL: none. Lists complain only if there is a record. */
const char *xe_filter_unknown(const struct xe_filter *filter);
bool xe_filter_is_empty(const struct xe_filter *filter);
/* Whether a condition is on this field; how many there are. */
bool xe_filter_looks_at(const struct xe_filter *filter, unsigned field);
unsigned xe_filter_steps(const struct xe_filter *filter);
bool xe_filter_passes(const struct xe_filter *filter, struct xn_db *db, const struct xe_item *item);

/* ---- output ---- */

/* Some of a kind's fields. */
struct xe_columns {
	uint64_t bits[XE_FIELDS_MAX / 64];
};
bool xe_columns_has(const struct xe_columns *columns, unsigned field);
/* @text: "uuid,name-label" or "all"; unknown names are nobody's. NULL: the kind's default columns.
 */
void xe_columns_parse(const struct xe_kind *kind, const char *text, struct xe_columns *columns);

/* A record to show, with a line above it ("Disk 0 VBD:") or none (NULL). */
struct xe_shown {
	const char *title;
	const struct xe_kind *kind;
	struct xe_columns columns;
	const char *ref;
	/* Or of a record that was taken, with what xe_ask() was told about it. */
	struct xn_record *record;
	const struct xe_told *told;
	unsigned n_told;
};
/*
 * xe_show - prints records as the run's form wants them: plain, --minimal, --json or a table
 * For few records, at the end of a handler: nothing that waits may follow. Records that are gone
 * are left out.
 */
void xe_show(struct xe *x, const struct xe_shown *shown, size_t n);
/* The values that only calls tell, of a record that was taken: xe_show() then prints them. False:
 * not yet. @told: the caller's, as long as @shown. */
bool xe_ask(struct xe *x, struct xe_shown *shown, struct xe_told told[XE_TOLD_MAX]) XN_MUST_CHECK;

#endif
