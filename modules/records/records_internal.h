/* Shared by records.c and where.c. */
#ifndef XN_RECORDS_INTERNAL_H
#define XN_RECORDS_INTERNAL_H

#include "core/call.h"
#include "core/list.h"
#include "modules/db/db.h"

struct records {
	struct xn_db *db;
	struct xn_auth *auth;
	struct xn_list selections; /* struct selection of where.c, under way */
};

/* Answers with these rows: as references, or as a map to their records. */
typedef void records_reply(struct xn_call *call, struct xn_row *const *rows, size_t n);
records_reply records_reply_refs, records_reply_records;

void records_run_get_all_where(struct xn_call *call);
void records_run_get_all_records_where(struct xn_call *call);
void records_drop_selections(struct records *records); /* at stop; their calls stay unanswered */

#endif
