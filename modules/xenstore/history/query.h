/*
 * A question to the store's history, from the words of a call's map or of a flag; the same words as
 * the database's history has, where they mean the same.
 */
#ifndef XN_XENSTORE_PAST_QUERY_H
#define XN_XENSTORE_PAST_QUERY_H

#include "core/question.h"
#include "modules/xenstore/store/store.h"

enum past_question { PAST_CHANGES, PAST_NODES, PAST_BOUNDS };
enum past_operation { PAST_ANY, PAST_CREATE, PAST_SET, PAST_PERMISSIONS, PAST_DELETE };

enum {
	PAST_LIMIT = 1000, /* changes or nodes in an answer, where no limit is named */
	PAST_LIMIT_MAX = 100000,
};

struct past_place { /* of a change among all */
	uint64_t generation;
	unsigned index; /* among those of the generation that the question is about */
};

struct past_query {
	enum past_question question;
	char path[XN_XS_PATH_MAX + 1]; /* it and all below; "/": all */
	size_t path_len;
	struct xn_moment since, until, at;
	bool has_domain, has_birth, has_transaction;
	uint32_t domain, transaction;
	uint64_t birth;
	unsigned operation; /* enum past_operation */
	unsigned limit;
	bool has_after;
	struct past_place after;
	char path_after[XN_XS_PATH_MAX + 1]; /* for lists of nodes; "": from the first on */
	unsigned newest, json, wants_bounds;
	bool hides_secrets; /* from who asks */
};

void past_query_init(struct past_query *query);
/* One word, or all of a map of texts. 0, or -1 with INVALID_VALUE [name, value]. */
int past_query_set(struct past_query *query, const char *name, const char *value,
		   struct xn_error *err);
int past_query_set_all(struct past_query *query, const struct xn_value *map, struct xn_error *err);
/* What words depend on one another. */
int past_query_settle(struct past_query *query, struct xn_error *err);
/* A flag's text: all of these. */
int past_query_parse(struct past_query *query, const char *text, struct xn_error *err);

#endif
