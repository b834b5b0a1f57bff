/*
 * Answers the automatic messages from the schema's tables and the database's rows; see records.h.
 * Dispatch has checked count, types, session and role before a handler here runs, and runs a
 * kind's `check` before its `run`.
 */
#include "modules/records/records.h"

#include <stdlib.h>

#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/records/records_internal.h"

static const struct xn_class *class_of(const struct xn_call *call)
{
	return &xn_classes[call->method->class_id];
}

static const struct xn_field *field_of(const struct xn_call *call)
{
	return &class_of(call)->fields[call->method->field];
}

/* The row that the first argument names. Clients name a session by its secret. */
static struct xn_row *self_row(const struct xn_call *call, struct xn_error *err)
{
	const struct records *records = call->state;
	const char *ref = xn_call_string(call, 0);

	if (call->method->class_id == XN_CLASS_session) {
		const char *row_ref = xn_auth_session_ref(records->auth, ref);

		ref = row_ref ? row_ref : ref;
	}
	return xn_db_need(records->db, call->method->class_id, ref, err);
}

/* NULL after answering the call with the error. */
static struct xn_row *self_row_or_fail(struct xn_call *call)
{
	struct xn_error err = {0};
	struct xn_row *row = self_row(call, &err);

	if (!row)
		xn_call_fail(call, &err);
	return row;
}

/* ---- read ---- */

static void run_get(struct xn_call *call)
{
	const struct records *records = call->state;
	struct xn_value *rowless =
		call->method->class_id == XN_CLASS_session
			? xn_auth_rowless_get(records->auth, xn_call_string(call, 0),
					      call->method->field)
			: NULL;
	struct xn_row *row = rowless ? NULL : self_row_or_fail(call);

	if (rowless)
		xn_call_reply(call, rowless);
	else if (row)
		xn_call_reply(call, xn_value_ref(xn_row_get(row, call->method->field)));
}

static void run_get_record(struct xn_call *call)
{
	struct xn_row *row = self_row_or_fail(call);

	if (row)
		xn_call_reply(call, xn_row_record(row));
}

static void run_get_by_uuid(struct xn_call *call)
{
	const struct records *records = call->state;
	int class_id = call->method->class_id;
	const char *uuid = xn_call_string(call, 0);
	const char *rowless = class_id == XN_CLASS_session
				      ? xn_auth_rowless_by_uuid(records->auth, uuid)
				      : NULL;
	struct xn_error err = {0};
	struct xn_row *row = rowless ? NULL : xn_db_need_uuid(records->db, class_id, uuid, &err);

	if (rowless)
		xn_call_reply(call, xn_string(rowless));
	else if (row)
		xn_call_reply(call, xn_string(xn_row_ref(row)));
	else
		xn_call_fail(call, &err);
}

static void run_get_by_name_label(struct xn_call *call)
{
	const struct records *records = call->state;
	const char *label = xn_call_string(call, 0);
	int field = class_of(call)->name_label_field;
	struct xn_value *refs = xn_set_new();

	for (struct xn_row *row = xn_db_first(records->db, call->method->class_id); row;
	     row = xn_db_next(records->db, row))
		if (!strcmp(xn_row_string(row, field), label))
			xn_set_append_string(&refs, xn_row_ref(row));
	xn_call_reply(call, refs);
}

/* ---- all ---- */

static void reply_all(struct xn_call *call, enum xn_list_kind kind)
{
	const struct records *records = call->state;

	xn_call_reply(call, xn_db_list(records->db, call->method->class_id, kind, NULL));
}

static void run_get_all(struct xn_call *call)
{
	reply_all(call, XN_LIST_REFS);
}

static void run_get_all_records(struct xn_call *call)
{
	reply_all(call, XN_LIST_RECORDS);
}

/* ---- change ---- */

static bool is_null_ref(const char *ref)
{
	return !*ref || !strcmp(ref, XN_NULL_REF);
}

/* A reference that a client stores names a row that is there, or nothing. */
static int check_refs(struct xn_db *db, const struct xn_type *type, const struct xn_value *value,
		      struct xn_error *err)
{
	const char *ref;

	if (type->kind == XN_T_SET) {
		for (size_t i = 0; i < xn_set_len(value); i++)
			if (check_refs(db, type->value, xn_set_at(value, i), err) < 0)
				return -1;
		return 0;
	}
	if (type->kind != XN_T_REF)
		return 0;
	ref = xn_value_string(value);
	return is_null_ref(ref) || xn_db_need(db, type->class_id, ref, err) ? 0 : -1;
}

/* What is stored for a client's value: "" as a reference is the null reference. */
static struct xn_value *to_store(const struct xn_type *type, const struct xn_value *value)
{
	if (type->kind == XN_T_REF && !*xn_value_string(value))
		return xn_string(XN_NULL_REF);
	return xn_value_ref(value);
}

static int check_set(struct xn_call *call, struct xn_error *err)
{
	const struct records *records = call->state;
	const struct xn_field *field = field_of(call);
	struct xn_row *row = self_row(call, err);

	return row ? check_refs(records->db, field->type, call->args[1], err) : -1;
}

static void run_set(struct xn_call *call)
{
	const struct records *records = call->state;
	struct xn_row *row = self_row_or_fail(call);

	if (!row)
		return;
	xn_db_set(records->db, row, call->method->field,
		  to_store(field_of(call)->type, call->args[1]));
	xn_call_reply_void(call);
}

static int check_add(struct xn_call *call, struct xn_error *err)
{
	const struct records *records = call->state;
	const struct xn_field *field = field_of(call);
	struct xn_row *row = self_row(call, err);
	const char *key;

	if (!row)
		return -1;
	if (field->type->kind == XN_T_SET)
		return check_refs(records->db, field->type->value, call->args[1], err);
	key = xn_call_string(call, 1);
	if (xn_map_get(xn_row_get(row, call->method->field), key))
		return xn_error_set(err, XN_ERR_MAP_DUPLICATE_KEY, class_of(call)->name,
				    field->db_name, xn_row_ref(row), key);
	return check_refs(records->db, field->type->value, call->args[2], err);
}

static void run_add(struct xn_call *call)
{
	const struct records *records = call->state;
	struct xn_row *row = self_row_or_fail(call);
	int field = call->method->field;
	struct xn_value *map;

	if (!row)
		return;
	if (field_of(call)->type->kind == XN_T_SET) {
		xn_db_set_add(records->db, row, field, xn_call_string(call, 1));
	} else {
		map = xn_value_ref(xn_row_get(row, field));
		xn_map_put(&map, xn_call_string(call, 1), xn_value_ref(call->args[2]));
		xn_db_set(records->db, row, field, map);
	}
	xn_call_reply_void(call);
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	return self_row(call, err) ? 0 : -1;
}

/* What is not there is removed already. */
static void run_remove(struct xn_call *call)
{
	const struct records *records = call->state;
	struct xn_row *row = self_row_or_fail(call);
	const char *item = xn_call_string(call, 1);

	if (!row)
		return;
	if (field_of(call)->type->kind == XN_T_SET)
		xn_db_set_remove(records->db, row, call->method->field, item);
	else
		xn_db_map_remove(records->db, row, call->method->field, item);
	xn_call_reply_void(call);
}

/* ---- create, destroy ---- */

static bool is_given_at_creation(const struct xn_field *field)
{
	return field->qualifier != XN_FIELD_RO_RUNTIME;
}

int xn_record_check(struct xn_db *db, const struct xn_class *cls, const struct xn_value *record,
		    struct xn_error *err)
{
	for (unsigned i = 0; i < cls->n_public; i++) {
		const struct xn_field *field = &cls->fields[i];
		const struct xn_value *value = xn_map_get(record, field->name);

		if (!is_given_at_creation(field))
			continue;
		if (!value && field->required)
			return xn_error_set(err, XN_ERR_FIELD_TYPE_ERROR, field->name);
		if (value && check_refs(db, field->type, value, err) < 0)
			return -1;
	}
	return 0;
}

struct xn_value *xn_record_fields(const struct xn_class *cls, const struct xn_value *record)
{
	struct xn_value *fields = xn_map_new();

	for (unsigned i = 0; i < cls->n_public; i++) {
		const struct xn_field *field = &cls->fields[i];
		const struct xn_value *value = xn_map_get(record, field->name);

		if (value && is_given_at_creation(field))
			xn_map_put(&fields, field->name, to_store(field->type, value));
	}
	return fields;
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	const struct records *records = call->state;

	return xn_record_check(records->db, class_of(call), call->args[0], err);
}

static void run_create(struct xn_call *call)
{
	const struct records *records = call->state;
	const struct xn_class *cls = class_of(call);
	struct xn_value *fields = xn_record_fields(cls, call->args[0]);
	struct xn_row *row = xn_db_create(records->db, cls->id, NULL, fields);

	xn_value_unref(fields);
	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

static void run_destroy(struct xn_call *call)
{
	const struct records *records = call->state;
	struct xn_row *row = self_row_or_fail(call);

	if (!row)
		return;
	xn_db_delete(records->db, row);
	xn_call_reply_void(call);
}

/* ---- module ---- */

static const struct {
	enum xn_method_kind kind;
	void (*run)(struct xn_call *call);
	int (*check)(struct xn_call *call, struct xn_error *err);
} kinds[] = {
	{XN_M_GET, run_get, NULL},
	{XN_M_SET, run_set, check_set},
	{XN_M_ADD, run_add, check_add},
	{XN_M_REMOVE, run_remove, check_self},
	{XN_M_CREATE, run_create, check_create},
	{XN_M_DESTROY, run_destroy, check_self},
	{XN_M_GET_RECORD, run_get_record, NULL},
	{XN_M_GET_BY_UUID, run_get_by_uuid, NULL},
	{XN_M_GET_BY_NAME_LABEL, run_get_by_name_label, NULL},
	{XN_M_GET_ALL, run_get_all, NULL},
	{XN_M_GET_ALL_RECORDS, run_get_all_records, NULL},
	{XN_M_GET_ALL_WHERE, records_run_get_all_where, NULL},
	{XN_M_GET_ALL_RECORDS_WHERE, records_run_get_all_records_where, NULL},
};

static int records_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct records *records = xn_calloc(1, sizeof(*records));

	records->db = xn_db_of(core);
	records->auth = xn_module_state(core, "auth");
	*state_out = records;
	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		if (xn_methods_add_kind(core->methods, kinds[i].kind, kinds[i].run, kinds[i].check,
					records, err) < 0)
			return -1;
	return 0;
}

static void records_stop(void *state)
{
	free(state);
}

static const char *const records_needs[] = {"auth", "db", NULL};

const struct xn_module xn_records_module = {
	.name = "records",
	.needs = records_needs,
	.init = records_init,
	.stop = records_stop,
};
