/*
 * A question to history, from the words of a call's map or of the flag --history; both are names and
 * texts. Parsing is a total function over bytes, with a fuzz target.
 */
#ifndef XN_HISTORY_QUERY_H
#define XN_HISTORY_QUERY_H

#include "core/question.h"
#include "core/schema/schema.h"
#include "core/value.h"

enum history_question {
	HISTORY_CHANGES,
	HISTORY_RECORD,
	HISTORY_ALL_RECORDS,
	HISTORY_DIFFERENCE,
	HISTORY_BOUNDS,
};

enum history_operation { HISTORY_ANY, HISTORY_CREATE, HISTORY_SET, HISTORY_DELETE };

enum {
	HISTORY_LIMIT = 1000, /* changes in an answer, where no limit is named */
	HISTORY_LIMIT_MAX = 100000,
};

struct history_place { /* of a change among all */
	uint64_t generation;
	unsigned index; /* among those of the generation */
};

struct history_query {
	enum history_question question;
	int class_id; /* -1: any */
	int field;    /* -1: any; of any class when only its name is given */
	char field_name[64];
	char ref[48], uuid[48];
	struct xn_moment since, until, at, from, to;
	char session[48], task[48], user[64], origin[64];
	unsigned operation; /* enum history_operation */
	unsigned limit;
	bool has_after, has_ref_after;
	struct history_place after;
	char ref_after[48]; /* for lists of records */
	unsigned newest; /* newest first */
	unsigned json;	 /* of the flag: an object a line */
	unsigned wants_bounds;
	enum xn_role role; /* of who asks */
};

void history_query_init(struct history_query *query);
/* One word. 0, or -1 with INVALID_VALUE [name, value]. */
int history_query_set(struct history_query *query, const char *name, const char *value,
		      struct xn_error *err);
/* All of a map of texts. */
int history_query_set_all(struct history_query *query, const struct xn_value *map,
			  struct xn_error *err);
/* What names depend on one another. */
int history_query_settle(struct history_query *query, struct xn_error *err);
/* The flag's text: NAME=VALUE ..., VALUE may stand in '' or ""; `bounds`, `json`, `newest`. */
int history_query_parse(struct history_query *query, const char *text, struct xn_error *err);

#endif
