/*
 * get_all_where and get_all_records_where: holds an expression against every row of a class. Long
 * expressions over many rows take several turns of the loop, so that nobody else waits for them;
 * a row then counts as it is when its turn comes, and one that goes away meanwhile is left out.
 */
#include <stdlib.h>

#include "modules/records/query.h"
#include "modules/records/records_internal.h"

enum { TESTS_A_TURN = 100000 }; /* about 2 ms */

struct selection {
	struct xn_list link; /* records->selections */
	struct xn_job job;
	struct records *records;
	struct xn_call *call;
	records_reply *reply;
	struct xn_query *query;
	char (*refs)[XN_REF_LEN]; /* of the class; those found move to the front */
	size_t n, n_tested, n_found;
};

static void selection_free(struct selection *s)
{
	xn_list_remove(&s->link);
	xn_job_cancel(&s->job);
	xn_query_free(s->query);
	free(s->refs);
	free(s);
}

void records_drop_selections(struct records *records)
{
	while (!xn_list_empty(&records->selections))
		selection_free(xn_list_entry(records->selections.next, struct selection, link));
}

static const struct xn_value *read_field(const void *row, int field)
{
	return xn_row_get(row, field);
}

static void reply_with_found(struct selection *s)
{
	struct xn_row **rows = xn_calloc(s->n_found, sizeof(struct xn_row *));
	size_t n = 0;

	for (size_t i = 0; i < s->n_found; i++) {
		rows[n] = xn_db_get(s->records->db, s->call->method->class_id, s->refs[i]);
		n += rows[n] != NULL;
	}
	s->call->on_cancel = NULL;
	s->reply(s->call, rows, n);
	free(rows);
}

static void test_some(struct xn_job *job)
{
	struct selection *s = xn_container_of(job, struct selection, job);
	size_t end = s->n_tested + TESTS_A_TURN / xn_query_cost(s->query) + 1;

	for (; s->n_tested < s->n && s->n_tested < end; s->n_tested++) {
		struct xn_row *row =
			xn_db_get(s->records->db, s->call->method->class_id, s->refs[s->n_tested]);

		if (row && xn_query_matches(s->query, read_field, row))
			memmove(s->refs[s->n_found++], s->refs[s->n_tested], XN_REF_LEN);
	}
	if (s->n_tested < s->n) {
		xn_loop_defer(s->call->core->loop, &s->job, XN_PRIO_REFRESH, test_some);
		return;
	}
	reply_with_found(s);
	selection_free(s);
}

/* The client has gone, or its task is cancelled. */
static void on_cancel(struct xn_call *call)
{
	struct xn_error err = {0};

	selection_free(call->waiting);
	call->on_cancel = NULL;
	xn_error_set(&err, XN_ERR_TASK_CANCELLED, call->task);
	xn_call_fail(call, &err);
}

static void collect_refs(struct selection *s)
{
	int class_id = s->call->method->class_id;

	s->refs = xn_calloc(xn_db_count(s->records->db, class_id), XN_REF_LEN);
	for (struct xn_row *row = xn_db_first(s->records->db, class_id); row;
	     row = xn_db_next(s->records->db, row))
		strcpy(s->refs[s->n++], xn_row_ref(row));
}

static void select_rows(struct xn_call *call, records_reply *reply)
{
	const struct xn_value *expr = call->args[0];
	struct records *records = call->state;
	struct xn_error err = {0};
	struct xn_query *query =
		xn_query_parse(&xn_classes[call->method->class_id], xn_value_string(expr),
			       xn_value_string_len(expr), &err);
	struct selection *s;

	if (!query) {
		xn_call_fail(call, &err);
		return;
	}
	s = xn_calloc(1, sizeof(*s));
	s->records = records;
	s->call = call;
	s->reply = reply;
	s->query = query;
	xn_list_push(&records->selections, &s->link);
	collect_refs(s);
	call->waiting = s;
	call->on_cancel = on_cancel;
	test_some(&s->job);
}

void records_run_get_all_where(struct xn_call *call)
{
	select_rows(call, records_reply_refs);
}

void records_run_get_all_records_where(struct xn_call *call)
{
	select_rows(call, records_reply_records);
}
