/* The module message: rows, their bounds, and the API calls. See message.h. */
#include "modules/message/message.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/events.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/records/records.h"

enum {
	MAX_MESSAGES = 10000,
	MAX_BODY = 64 * 1024,         /* one body */
	MAX_BYTES = 32 * 1024 * 1024, /* all bodies and names together */
};

struct xn_messages {
	struct xn_core *core;
	struct xn_db *db;
	size_t bytes; /* of bodies and names */
	struct xn_subscription *on_logins_failed;
};

/* ---- rows ---- */

static size_t size_of(const struct xn_row *row)
{
	return xn_value_string_len(xn_row_get(row, XN_message_name)) +
	       xn_value_string_len(xn_row_get(row, XN_message_body));
}

static void destroy_row(struct xn_messages *messages, struct xn_row *row)
{
	messages->bytes -= size_of(row);
	xn_db_delete(messages->db, row);
}

/* A turn that the disk refused is taken back without us, so the sum may be a little off. */
static void recount(struct xn_messages *messages)
{
	messages->bytes = 0;
	for (struct xn_row *row = xn_db_first(messages->db, XN_CLASS_message); row;
	     row = xn_db_next(messages->db, row))
		messages->bytes += size_of(row);
}

static bool is_full(const struct xn_messages *messages)
{
	return xn_db_count(messages->db, XN_CLASS_message) > MAX_MESSAGES ||
	       messages->bytes > MAX_BYTES;
}

/* Messages never change, so the least recently changed is the oldest. */
static void make_room(struct xn_messages *messages)
{
	if (!is_full(messages))
		return;
	recount(messages);
	while (is_full(messages))
		destroy_row(messages, xn_db_first(messages->db, XN_CLASS_message));
}

void xn_message_create(struct xn_messages *messages, const char *name, int64_t priority,
		       const char *cls, const char *obj_uuid, const char *body, char ref[48])
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, "name", name);
	xn_map_put(&fields, "priority", xn_int(priority));
	xn_map_put_string(&fields, "cls", cls);
	xn_map_put_string(&fields, "obj_uuid", obj_uuid);
	xn_map_put(&fields, "timestamp", xn_datetime(xn_wall_s(messages->core->loop)));
	xn_map_put_string(&fields, "body", body);
	row = xn_db_create(messages->db, XN_CLASS_message, NULL, fields);
	snprintf(ref, XN_REF_LEN, "%s", xn_row_ref(row));
	messages->bytes += size_of(row);
	make_room(messages);
}

/* ---- create, destroy ---- */

/* Whether an object of the class that @cls names has this uuid. The names differ by case only. */
static int check_object(struct xn_messages *messages, const char *cls, const char *uuid,
			struct xn_error *err)
{
	const struct xn_class *named = xn_class_find_event(cls);

	if (!named || !xn_db_by_uuid(messages->db, named->id, uuid))
		return xn_error_set(err, XN_ERR_UUID_INVALID, named ? named->name : cls, uuid);
	return 0;
}

static int check_create(struct xn_call *call, struct xn_error *err)
{
	if (xn_value_string_len(call->args[0]) > MAX_BODY)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "name", "too long");
	if (xn_value_string_len(call->args[4]) > MAX_BODY)
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "body", "too long");
	return check_object(call->state, xn_call_string(call, 2), xn_call_string(call, 3), err);
}

static void message_create(struct xn_call *call)
{
	char ref[XN_REF_LEN];

	xn_message_create(call->state, xn_call_string(call, 0), xn_value_int(call->args[1]),
			  xn_call_string(call, 2), xn_call_string(call, 3), xn_call_string(call, 4),
			  ref);
	xn_call_reply(call, xn_string(ref));
}

static int check_self(struct xn_call *call, struct xn_error *err)
{
	struct xn_messages *messages = call->state;

	return xn_db_need(messages->db, XN_CLASS_message, xn_call_string(call, 0), err) ? 0 : -1;
}

/* After check_self. */
static struct xn_row *self_row(struct xn_call *call)
{
	struct xn_messages *messages = call->state;

	return xn_db_get(messages->db, XN_CLASS_message, xn_call_string(call, 0));
}

static void message_destroy(struct xn_call *call)
{
	destroy_row(call->state, self_row(call));
	xn_call_reply_void(call);
}

/* All or none: an unknown one is told before any is destroyed. */
static int check_destroy_many(struct xn_call *call, struct xn_error *err)
{
	struct xn_messages *messages = call->state;

	for (size_t i = 0; i < xn_set_len(call->args[0]); i++)
		if (!xn_db_need(messages->db, XN_CLASS_message,
				xn_value_string(xn_set_at(call->args[0], i)), err))
			return -1;
	return 0;
}

static void message_destroy_many(struct xn_call *call)
{
	struct xn_messages *messages = call->state;

	for (size_t i = 0; i < xn_set_len(call->args[0]); i++) {
		struct xn_row *row = xn_db_get(messages->db, XN_CLASS_message,
					       xn_value_string(xn_set_at(call->args[0], i)));

		if (row) /* the same one may be named twice */
			destroy_row(messages, row);
	}
	xn_call_reply_void(call);
}

/* ---- read ---- */

struct filter {
	const char *cls, *obj_uuid; /* NULL: any */
	int64_t since;              /* later than this */
	const struct xn_query *query;
};

static const struct xn_value *read_field(const void *row, int field)
{
	return xn_row_get(row, field);
}

static bool passes(const struct filter *filter, const struct xn_row *row)
{
	if (filter->cls && strcmp(xn_row_string(row, XN_message_cls), filter->cls) != 0)
		return false;
	if (filter->obj_uuid &&
	    strcmp(xn_row_string(row, XN_message_obj_uuid), filter->obj_uuid) != 0)
		return false;
	if (filter->query && !xn_query_matches(filter->query, read_field, row))
		return false;
	return xn_row_int(row, XN_message_timestamp) > filter->since;
}

static void reply_records(struct xn_call *call, const struct filter *filter)
{
	struct xn_messages *messages = call->state;
	size_t count = xn_db_count(messages->db, XN_CLASS_message), n = 0;
	struct xn_row **rows = xn_calloc(count, sizeof(struct xn_row *));

	for (struct xn_row *row = xn_db_first(messages->db, XN_CLASS_message); row;
	     row = xn_db_next(messages->db, row))
		if (passes(filter, row))
			rows[n++] = row;
	xn_call_reply(call, xn_rows_records(rows, n)); /* encoded in there */
	free(rows);
}

static void message_get(struct xn_call *call)
{
	const struct filter filter = {
		.cls = xn_call_string(call, 0),
		.obj_uuid = xn_call_string(call, 1),
		.since = xn_value_int(call->args[2]),
	};

	reply_records(call, &filter);
}

static void message_get_since(struct xn_call *call)
{
	const struct filter filter = {.since = xn_value_int(call->args[0])};

	reply_records(call, &filter);
}

static void message_get_all_records(struct xn_call *call)
{
	const struct filter filter = {.since = INT64_MIN};

	reply_records(call, &filter);
}

static void message_get_all_records_where(struct xn_call *call)
{
	struct xn_error err = {0};
	XN_CLEANUP(xn_query_free_p)
	struct xn_query *query =
		xn_query_parse(&xn_classes[XN_CLASS_message], xn_call_string(call, 0),
			       xn_value_string_len(call->args[0]), &err);
	const struct filter filter = {.since = INT64_MIN, .query = query};

	if (query)
		reply_records(call, &filter);
	else
		xn_call_fail(call, &err);
}

static void message_get_all(struct xn_call *call)
{
	struct xn_messages *messages = call->state;
	struct xn_value *refs = xn_set_new();

	for (struct xn_row *row = xn_db_first(messages->db, XN_CLASS_message); row;
	     row = xn_db_next(messages->db, row))
		xn_set_append_string(&refs, xn_row_ref(row));
	xn_call_reply(call, refs);
}

static void message_get_record(struct xn_call *call)
{
	xn_call_reply(call, xn_row_record(self_row(call)));
}

static int check_uuid(struct xn_call *call, struct xn_error *err)
{
	struct xn_messages *messages = call->state;

	return xn_db_need_uuid(messages->db, XN_CLASS_message, xn_call_string(call, 0), err) ? 0
											     : -1;
}

static void message_get_by_uuid(struct xn_call *call)
{
	struct xn_messages *messages = call->state;
	struct xn_row *row = xn_db_by_uuid(messages->db, XN_CLASS_message, xn_call_string(call, 0));

	xn_call_reply(call, xn_string(xn_row_ref(row)));
}

static const struct xn_method_impl message_methods[] = {
	{"message.create", message_create, check_create},
	{"message.destroy", message_destroy, check_self},
	{"message.destroy_many", message_destroy_many, check_destroy_many},
	{"message.get", message_get},
	{"message.get_since", message_get_since},
	{"message.get_all", message_get_all},
	{"message.get_all_records", message_get_all_records},
	{"message.get_all_records_where", message_get_all_records_where},
	{"message.get_record", message_get_record, check_self},
	{"message.get_by_uuid", message_get_by_uuid, check_uuid},
	{NULL},
};

/* ---- module ---- */

/* About the host that people log in to. */
static void on_logins_failed(const struct xn_ev_logins_failed *ev, void *arg)
{
	struct xn_messages *messages = arg;
	struct xn_row *pool = xn_db_first(messages->db, XN_CLASS_pool);
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	char ref[XN_REF_LEN];

	xn_auth_failed_logins(xn_module_state(messages->core, "auth"), &body);
	if (pool && xn_db_writable(messages->db) == 0)
		xn_message_create(messages, "FAILED_LOGIN_ATTEMPTS", 3, "Pool", xn_row_uuid(pool),
				  xn_buf_cstr(&body), ref);
}

static int message_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_messages *messages = xn_calloc(1, sizeof(*messages));

	messages->core = core;
	messages->on_logins_failed =
		xn_subscribe_logins_failed(core->bus, "message", on_logins_failed, messages);
	*state_out = messages;
	return 0;
}

static int message_start(void *state, struct xn_error *err)
{
	struct xn_messages *messages = state;

	messages->db = xn_db_of(messages->core);
	recount(messages);
	return 0;
}

static void message_stop(void *state)
{
	struct xn_messages *messages = state;

	xn_bus_unsubscribe(messages->on_logins_failed);
	free(messages);
}

static const char *const message_needs[] = {"auth", "db", "records", NULL};

const struct xn_module xn_message_module = {
	.name = "message",
	.needs = message_needs,
	.methods = message_methods,
	.init = message_init,
	.start = message_start,
	.stop = message_stop,
};
