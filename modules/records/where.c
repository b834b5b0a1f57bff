/*
 * get_all_where and get_all_records_where: a list of rows with an expression that each is held
 * against, as it was when the call came; the list takes its time over it.
 */
#include "modules/auth/auth.h"
#include "modules/records/query.h"
#include "modules/records/records_internal.h"

static const struct xn_value *read_field(const void *record, int field)
{
	return xn_record_get(record, field);
}

static bool passes(void *query, const struct xn_record *record)
{
	return xn_query_matches(query, read_field, record);
}

static void free_query(void *query)
{
	xn_query_free(query);
}

static void select_rows(struct xn_call *call, enum xn_list_kind kind)
{
	const struct xn_value *expr = call->args[0];
	struct records *records = call->state;
	struct xn_error err = {0};
	struct xn_list_test test = {.passes = passes, .free = free_query};

	test.arg = xn_query_parse(&xn_classes[call->method->class_id], xn_value_string(expr),
				  xn_value_string_len(expr), &err);
	if (!test.arg) {
		xn_call_fail(call, &err);
		return;
	}
	test.cost = xn_query_cost(test.arg);
	xn_call_reply(call, xn_db_list(records->db, call->method->class_id, kind, &test));
}

void records_run_get_all_where(struct xn_call *call)
{
	select_rows(call, XN_LIST_REFS);
}

void records_run_get_all_records_where(struct xn_call *call)
{
	struct records *records = call->state;
	struct xn_value *found = NULL;

	if (call->method->class_id == XN_CLASS_role)
		found = xn_auth_role_records(records->auth, xn_call_string(call, 0));
	if (found)
		xn_call_reply(call, found);
	else
		select_rows(call, XN_LIST_RECORDS);
}
