/*
 * Questions of people and programs as words: NAME=VALUE on a command line, or a call's map of texts.
 * A table of words fills a struct. Parsing is a total function over bytes; each table's owner has a
 * fuzz target for it.
 */
#ifndef XN_QUESTION_H
#define XN_QUESTION_H

#include "core/error.h"
#include "core/moment.h"
#include "core/value.h"

enum { XN_QUESTION_MAX = 8192 }; /* bytes on a command line */

struct xn_word {
	const char *name;
	int (*set)(void *question, const char *value); /* 0 or -EINVAL; NULL: by what it is */
	enum {
		XN_WORD_TEXT,	/* char[] of .size */
		XN_WORD_MOMENT, /* struct xn_moment */
		XN_WORD_COUNT,	/* unsigned, 1 to .size */
		XN_WORD_CHOICE, /* unsigned: which of .choices, "oldest|newest" */
		XN_WORD_FLAG,	/* unsigned, 1: on a command line only, without a value */
	} kind;
	size_t offset, size;
	const char *choices;
};

#define XN_WORD_OF(struct_, member)                                                                \
	.offset = offsetof(struct_, member), .size = sizeof(((struct_ *)NULL)->member)

/* Tables end with .name == NULL. 0, or -1 with INVALID_VALUE [name, value]; ["query", word] for a word
 * that is none. */
int xn_question_set(const struct xn_word *words, void *question, const char *name,
		    const char *value, struct xn_error *err);
int xn_question_set_all(const struct xn_word *words, void *question, const struct xn_value *map,
			struct xn_error *err);
/* A command line's; a value may stand in '' or "". */
int xn_question_parse(const struct xn_word *words, void *question, const char *text,
		      struct xn_error *err);

#endif
