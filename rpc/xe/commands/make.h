/*
 * What several groups of commands share: making an object from what the command line tells of it, and
 * tables of names and values that are no records.
 */
#ifndef XE_COMMANDS_MAKE_H
#define XE_COMMANDS_MAKE_H

#include "rpc/xe/command.h"

/*
 * xe_fields - the fields of a new object
 * Triples end with NULL: a field's name, a letter for what comes, what comes. Letters as xe_call()'s.
 */
struct xn_value *xe_fields(const char *name, ...);
/* Calls CLASS.create with @fields (taken), and prints the new object's uuid. */
void xe_make(struct xe *x, int class_id, struct xn_value *fields);

/* The only pool, or the one with uuid=. */
bool xe_pool_named(struct xe *x, const char **ref_out) XN_MUST_CHECK;
/* The only host, or the one that the parameter names. */
bool xe_host_named(struct xe *x, const char *param, const char **ref_out) XN_MUST_CHECK;
/* For what goes on for long: the session was not ended in between. Else the command fails. */
bool xe_is_logged_in(struct xe *x) XN_MUST_CHECK;
/* A file of the client's as text; *out is the run's. What cannot be read: "Failed to read WHAT". */
bool xe_load_text(struct xe *x, const char *filename, const char *what, const char **out)
	XN_MUST_CHECK;
/* args:key=value and args:key:file=NAME, the latter with the file's content. */
bool xe_file_args(struct xe *x, const char *name, const struct xn_value **out) XN_MUST_CHECK;

/* A table: a set of maps of strings, each printed as a record without marks. Taken. The keys' order is
 * that of @order (NULL ends; keys that are not in it are left out), or of their bytes (NULL). With
 * --minimal the first value of each. */
void xe_table(struct xe *x, struct xn_value *rows, const char *const *order);
/* The map that a call about @ref (NULL: about nothing) returns, as a table of one row. */
void xe_table_of(struct xe *x, const char *method, const char *ref, const char *const *order,
		 const char *hidden_key);
/* Numbers and truths of a record as texts, for a table; the caller's. */
struct xn_value *xe_as_texts(const struct xn_value *record);

#endif
