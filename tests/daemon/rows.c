/*
 * The module that only the test daemon has: creates a row of any class, also where the API has no
 * way to. It answers a message that the product does not implement, so that the wire, the checks and
 * the roles are the ordinary ones:
 *
 *	pool.test_archive_target(session, pool, {"class": "PCI", "fields": "{...JSON...}"}) -> ref
 *	pool.test_archive_target(session, pool, {"class": "PCI", "destroy": ref}) -> ""
 */
#include "tests/daemon/rows.h"

#include "core/json.h"
#include "modules/db/db.h"

static const struct xn_class *class_of(const struct xn_value *params)
{
	const char *name = xn_map_get_string(params, "class");

	return name ? xn_class_find(name) : NULL;
}

/* The fields as values of the schema's types, or NULL with @err. */
static struct xn_value *read_fields(const struct xn_class *cls, const char *text,
				    struct xn_error *err)
{
	const struct xn_type type = {.kind = XN_T_RECORD, .class_id = cls->id};
	struct xn_value *v;

	if (!text || xn_json_parse(text, strlen(text), &v, NULL) < 0) {
		xn_error_set(err, XN_ERR_INVALID_VALUE, "fields", "not JSON");
		return NULL;
	}
	return xn_type_check(&type, v, "fields", err);
}

static struct xn_value *create_row(struct xn_db *db, const struct xn_class *cls,
				   const struct xn_value *params, struct xn_error *err)
{
	struct xn_value *fields = read_fields(cls, xn_map_get_string(params, "fields"), err);
	struct xn_value *ref;

	if (!fields)
		return NULL;
	ref = xn_string(xn_row_ref(xn_db_create(db, cls->id, NULL, fields)));
	xn_value_unref(fields);
	return ref;
}

static struct xn_value *destroy_row(struct xn_db *db, const struct xn_class *cls, const char *ref,
				    struct xn_error *err)
{
	struct xn_row *row = xn_db_need(db, cls->id, ref, err);

	if (!row)
		return NULL;
	xn_db_delete(db, row);
	return xn_string("");
}

static void run(struct xn_call *call)
{
	struct xn_db *db = xn_db_of(call->core);
	const struct xn_value *params = call->args[1];
	const struct xn_class *cls = class_of(params);
	const char *doomed = xn_map_get_string(params, "destroy");
	struct xn_value *result = NULL;
	struct xn_error err = {0};

	if (!cls || !cls->in_database)
		xn_error_set(&err, XN_ERR_INVALID_VALUE, "class", "no class with rows");
	else if (doomed)
		result = destroy_row(db, cls, doomed, &err);
	else
		result = create_row(db, cls, params, &err);
	if (result)
		xn_call_reply(call, result);
	else
		xn_call_fail(call, &err);
}

static const struct xn_method_impl methods[] = {
	{.name = "pool.test_archive_target", .run = run},
	{0},
};

static int rows_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	*state_out = core;
	return 0;
}

static const char *const needs[] = {"db", NULL};

const struct xn_module xn_test_rows_module = {
	.name = "test_rows",
	.needs = needs,
	.methods = methods,
	.init = rows_init,
};
