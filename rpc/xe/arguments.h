/*
 * A command line as it arrives: the request's body, one argument a line, to a command's name and its
 * parameters. Total over bytes, with a fuzz target. Grammar: a word with `--` is a parameter that is
 * true, `-u VALUE` and alike take the next word, all else splits at its first `=`.
 */
#ifndef XE_ARGUMENTS_H
#define XE_ARGUMENTS_H

#include "core/base.h"

struct xe_argument {
	const char *name, *value;
};

struct xe_arguments {
	char *text;	     /* what all below points into */
	const char *session; /* of a first line session_id=...; or NULL */
	const char *command; /* NULL: none was given */
	struct xe_argument *items;
	unsigned n;
};

/* -1: what the line says is no command line; @why tells (static). @arguments must be cleared. */
int xe_arguments_parse(const char *body, size_t len, struct xe_arguments *arguments,
		       const char **why) XN_MUST_CHECK;
void xe_arguments_clear(struct xe_arguments *arguments);
/* The first value of that name, or NULL. */
const char *xe_arguments_get(const struct xe_arguments *arguments, const char *name);

/* Names that never filter: server, port, username, minimal, force, multiple ... */
bool xe_argument_is_general(const char *name);
/* "10GiB", "512M", "1024"; bytes. False: no size. */
bool xe_size_parse(const char *text, int64_t *bytes_out);
/* true t yes y 1, false f no n 0, any case. */
bool xe_bool_parse(const char *text, bool *out);
/* Whether the switch was given, and is on. */
bool xe_arguments_have(const struct xe_arguments *arguments, const char *name);

#endif
