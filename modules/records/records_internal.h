/* Shared by records.c and where.c. */
#ifndef XN_RECORDS_INTERNAL_H
#define XN_RECORDS_INTERNAL_H

#include "core/call.h"
#include "modules/db/db.h"

struct records {
	struct xn_db *db;
	struct xn_auth *auth;
};

void records_run_get_all_where(struct xn_call *call);
void records_run_get_all_records_where(struct xn_call *call);

#endif
