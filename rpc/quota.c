/*
 * What callers may have: calls under way and their parameters, bytes of unread replies, sizes of what
 * they store. A caller is a session; who has none is an address. All limits are rows of the
 * configuration, and what is used stands beside them at /metrics.
 */
#include <stdlib.h>

#include "rpc/rpc_internal.h"

enum {
	STALLED_US = 1000000, /* a reader who took nothing for so long may be cut to make room */
	AGAIN_US = 100000,
	/* Who fills all-arguments keeps nobody from calls that bring no more than this:
	 * session-calls and session-arguments bound these. */
	SHORT_ARGUMENTS = 4096,
};

struct xn_rpc_account {
	struct xn_hnode node; /* rpc->accounts, by caller */
	unsigned calls;
	size_t argument_bytes, reply_bytes;
};

void xn_rpc_read_quotas(struct xn_rpc *rpc)
{
	const struct xn_config *config = rpc->core->config;

	rpc->quotas = (struct xn_rpc_quotas){
		.session_calls = (size_t)xn_config_int(config, "session-calls"),
		.session_arguments = (size_t)xn_config_int(config, "session-arguments"),
		.all_arguments = (size_t)xn_config_int(config, "all-arguments"),
		.login_arguments = (size_t)xn_config_int(config, "login-arguments"),
		.session_replies = (size_t)xn_config_int(config, "session-replies"),
		.all_replies = (size_t)xn_config_int(config, "all-replies"),
		.old_records = (size_t)xn_config_int(config, "old-records"),
		.string_bytes = (size_t)xn_config_int(config, "string-bytes"),
		.field_items = (size_t)xn_config_int(config, "field-items"),
		.row_bytes = (size_t)xn_config_int(config, "row-bytes"),
		.task_bytes = (size_t)xn_config_int(config, "task-bytes"),
		.long_bodies = (size_t)xn_config_int(config, "long-bodies"),
	};
}

int xn_rpc_over_quota(struct xn_rpc *rpc, enum xn_rpc_quota quota, struct xn_error *err)
{
	rpc->n_over_quota[quota]++;
	return xn_error_set(err, XN_ERR_TOO_MANY_PENDING_TASKS);
}

/* ---- accounts ---- */

static struct xn_rpc_account *account_of(struct xn_rpc *rpc, uint64_t caller)
{
	struct xn_hnode *node = xn_hmap_first_same(&rpc->accounts, caller);
	struct xn_rpc_account *account;

	if (node)
		return xn_container_of(node, struct xn_rpc_account, node);
	account = xn_calloc(1, sizeof(*account));
	xn_hmap_insert(&rpc->accounts, &account->node, caller);
	return account;
}

/* As xn_value_weight(), but of sets in which one text is not like the other, too. */
static size_t weigh(const struct xn_value *v)
{
	size_t sum = sizeof(*v);

	if (v->kind == XN_SET)
		for (size_t i = 0; i < xn_set_len(v); i++)
			sum += sizeof(v) + weigh(xn_set_at(v, i));
	else if (v->kind == XN_MAP)
		for (size_t i = 0; i < xn_map_len(v); i++)
			sum += sizeof(struct xn_map_entry) + sizeof(*v) +
			       strlen(xn_map_key_at(v, i)) + weigh(xn_map_at(v, i));
	else
		sum = xn_value_weight(v);
	return sum;
}

int xn_rpc_open_account(struct xn_rpc_call *rc, struct xn_error *err)
{
	struct xn_rpc *rpc = rc->rpc;
	const struct xn_rpc_quotas *quotas = &rpc->quotas;
	size_t bytes = rc->request.params ? weigh(rc->request.params) : 0;
	struct xn_rpc_account *account;

	if (bytes > SHORT_ARGUMENTS && rpc->argument_bytes &&
	    rpc->argument_bytes + bytes > quotas->all_arguments)
		return xn_rpc_over_quota(rpc, XN_QUOTA_ALL_ARGUMENTS, err);
	account = account_of(rpc, rc->caller);
	if (account->calls >= quotas->session_calls)
		return xn_rpc_over_quota(rpc, XN_QUOTA_SESSION_CALLS, err);
	if (account->argument_bytes && account->argument_bytes + bytes > quotas->session_arguments)
		return xn_rpc_over_quota(rpc, XN_QUOTA_SESSION_ARGUMENTS, err);
	rc->arguments = bytes;
	account->argument_bytes += bytes;
	rpc->argument_bytes += bytes;
	account->calls++;
	rpc->n_calls++;
	rc->account = account;
	return 0;
}

void xn_rpc_close_account(struct xn_rpc_call *rc)
{
	struct xn_rpc_account *account = rc->account;
	struct xn_rpc *rpc = rc->rpc;

	xn_rpc_reader_leaves(&rc->reader);
	if (!account)
		return;
	rc->account = NULL;
	account->argument_bytes -= rc->arguments;
	rpc->argument_bytes -= rc->arguments;
	rc->arguments = 0;
	account->reply_bytes -= rc->charged;
	rpc->reply_bytes -= rc->charged;
	rc->charged = 0;
	rpc->n_calls--;
	if (--account->calls)
		return;
	xn_hmap_remove(&rpc->accounts, &account->node);
	free(account);
}

/* ---- who reads ---- */

void xn_rpc_reader_moves(struct xn_core *core, struct xn_rpc_reader *reader)
{
	struct xn_rpc *rpc = xn_module_state(core, "rpc");

	xn_rpc_reader_leaves(reader);
	reader->moved_us = xn_now_us(core->loop);
	xn_list_push(&rpc->unread, &reader->link);
}

void xn_rpc_reader_leaves(struct xn_rpc_reader *reader)
{
	if (reader->link.next)
		xn_list_remove(&reader->link);
}

bool xn_rpc_cut_reply(struct xn_rpc_reader *reader)
{
	struct xn_rpc_call *rc = xn_container_of(reader, struct xn_rpc_call, reader);

	if (!rc->conn || rc->busy)
		return false;
	xn_http_cut(rc->conn); /* ends in xn_rpc_client_gone() */
	return true;
}

/* The one that has stood still for longest goes; false: all of them read. @charged: only those that
 * count against all-replies. */
static bool cut_stalled(struct xn_rpc *rpc, bool charged)
{
	int64_t since_us = xn_now_us(rpc->core->loop) - STALLED_US;

	xn_list_each_safe(link, &rpc->unread) {
		struct xn_rpc_reader *reader = xn_list_entry(link, struct xn_rpc_reader, link);

		if (reader->moved_us > since_us)
			return false;
		if ((!charged || reader->is_charged) && reader->cut(reader)) {
			rpc->n_cut++;
			return true;
		}
	}
	return false;
}

/* ---- unread replies ---- */

int xn_rpc_charge_reply(struct xn_rpc_call *rc, size_t bytes, struct xn_error *err)
{
	struct xn_rpc *rpc = rc->rpc;
	struct xn_rpc_account *account = rc->account;

	if (!account) /* of nobody, such as a refusal */
		return 0;
	if (account->reply_bytes && account->reply_bytes + bytes > rpc->quotas.session_replies)
		return xn_rpc_over_quota(rpc, XN_QUOTA_SESSION_REPLIES, err);
	while (rpc->reply_bytes && rpc->reply_bytes + bytes > rpc->quotas.all_replies)
		if (!cut_stalled(rpc, true))
			return xn_rpc_over_quota(rpc, XN_QUOTA_ALL_REPLIES, err);
	rc->charged += bytes;
	account->reply_bytes += bytes;
	rpc->reply_bytes += bytes;
	return 0;
}

static void on_look_again(struct xn_timer *timer)
{
	xn_rpc_bound_old_records(xn_container_of(timer, struct xn_rpc, look_again));
}

void xn_rpc_bound_old_records(struct xn_rpc *rpc)
{
	size_t held = xn_db_frozen_bytes(rpc->db), before = SIZE_MAX;

	/* Who lets go of them later is waited for before the next one is cut. */
	while (held > rpc->quotas.old_records && held < before && cut_stalled(rpc, false)) {
		before = held;
		held = xn_db_frozen_bytes(rpc->db);
	}
	if (held > rpc->quotas.old_records && !xn_list_empty(&rpc->unread) &&
	    !xn_timer_is_armed(&rpc->look_again))
		xn_timer_arm(rpc->core->loop, &rpc->look_again, AGAIN_US, on_look_again);
}

/* ---- what callers store ---- */

static int too_large(struct xn_rpc *rpc, enum xn_rpc_quota quota, const char *what,
		     const char *unit, size_t has, size_t limit, const char *key,
		     struct xn_error *err)
{
	char *why = xn_asprintf("%zu %s, and the limit %s is %zu", has, unit, key, limit);

	rpc->n_over_quota[quota]++;
	xn_error_set(err, XN_ERR_INVALID_VALUE, what, why);
	free(why);
	return -1;
}

static int check_items(struct xn_rpc *rpc, const char *what, size_t n, struct xn_error *err)
{
	if (n <= rpc->quotas.field_items)
		return 0;
	return too_large(rpc, XN_QUOTA_FIELD_ITEMS, what, "members", n, rpc->quotas.field_items,
			 "field-items", err);
}

/* Texts and counts, all the way down: the parser has bounded the depth. */
static int check_value(struct xn_rpc *rpc, const char *what, const struct xn_value *v,
		       struct xn_error *err)
{
	switch ((enum xn_kind)v->kind) {
	case XN_STRING:
		if (xn_value_string_len(v) <= rpc->quotas.string_bytes)
			return 0;
		return too_large(rpc, XN_QUOTA_STRING_BYTES, what, "bytes", xn_value_string_len(v),
				 rpc->quotas.string_bytes, "string-bytes", err);
	case XN_SET:
		for (size_t i = 0; i < xn_set_len(v); i++)
			if (check_value(rpc, what, xn_set_at(v, i), err) < 0)
				return -1;
		return check_items(rpc, what, xn_set_len(v), err);
	case XN_MAP:
		for (size_t i = 0; i < xn_map_len(v); i++)
			if (check_value(rpc, xn_map_key_at(v, i), xn_map_at(v, i), err) < 0)
				return -1;
		return check_items(rpc, what, xn_map_len(v), err);
	default:
		return 0;
	}
}

/* Less of a task: anybody makes hundreds of them, and the host keeps them for a day. */
static int check_bytes(struct xn_rpc *rpc, int class_id, const char *what, size_t bytes,
		       struct xn_error *err)
{
	const struct xn_rpc_quotas *most = &rpc->quotas;

	if (class_id == XN_CLASS_task && bytes > most->task_bytes)
		return too_large(rpc, XN_QUOTA_TASK_BYTES, what, "bytes", bytes, most->task_bytes,
				 "task-bytes", err);
	if (class_id != XN_CLASS_task && bytes > most->row_bytes)
		return too_large(rpc, XN_QUOTA_ROW_BYTES, what, "bytes", bytes, most->row_bytes,
				 "row-bytes", err);
	return 0;
}

/* What a call does to a field; automatic messages say it, others by their names. */
struct growth {
	int field; /* -1: to none */
	bool adds; /* otherwise it replaces what is there */
};

static struct growth growth_of(const struct xn_method *method)
{
	static const struct {
		const char *prefix;
		bool adds;
	} names[] = {{"add_to_", true}, {"add_", true}, {"set_", false}};

	if (method->kind == XN_M_SET || method->kind == XN_M_ADD)
		return (struct growth){method->field, method->kind == XN_M_ADD};
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++) {
		size_t len = strlen(names[i].prefix);
		int field;

		if (strncmp(method->message, names[i].prefix, len) != 0)
			continue;
		field = xn_field_find(&xn_classes[method->class_id], method->message + len);
		if (field >= 0)
			return (struct growth){field, names[i].adds};
	}
	return (struct growth){-1, false};
}

/* The object that a field's message is about; NULL: none, which the handler will say. */
static struct xn_row *row_of(const struct xn_rpc_call *rc, const struct growth *growth)
{
	const struct xn_method *method = rc->call.method;

	if (growth->field < 0 || method->params[0].type->kind != XN_T_REF)
		return NULL;
	return xn_db_get(rc->rpc->db, method->class_id, xn_call_string(&rc->call, 0));
}

static size_t members(const struct xn_value *v)
{
	return v->kind == XN_SET ? xn_set_len(v) : v->kind == XN_MAP ? xn_map_len(v) : 0;
}

/* What the row would take with the arguments in it. */
static int check_row(struct xn_rpc_call *rc, const struct xn_row *row, const struct growth *growth,
		     size_t given, struct xn_error *err)
{
	const struct xn_field *field = &xn_classes[rc->call.method->class_id].fields[growth->field];
	const struct xn_value *old = xn_row_get(row, growth->field);
	size_t bytes = xn_row_weight(row) + given;

	if (growth->adds && check_items(rc->rpc, field->name, members(old) + 1, err) < 0)
		return -1;
	if (!growth->adds)
		bytes -= xn_value_weight(old);
	return check_bytes(rc->rpc, rc->call.method->class_id, field->name, bytes, err);
}

static bool begins_with_any(const char *text, const char *const *prefixes)
{
	for (; *prefixes; prefixes++)
		if (strncmp(text, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

/* Methods whose names say that they make objects. */
static int check_room(struct xn_rpc_call *rc, struct xn_error *err)
{
	static const char *const makers[] = {"create", "clone", "copy", "snapshot", "checkpoint",
					     "introduce", "import", "provision", "revert", NULL};
	const struct xn_method *method = rc->call.method;
	struct xn_rpc *rpc = rc->rpc;

	if (!begins_with_any(method->message, makers))
		return 0;
	if (method->class_id == XN_CLASS_task &&
	    xn_task_check_clients_room(rpc->tasks, &rc->call.caller, err) < 0)
		return -1;
	return xn_db_check_room(rpc->db, 1, err);
}

/* However many tasks there are. */
static bool ends_something(const struct xn_rpc *rpc, const struct xn_method *method)
{
	return strcmp(method->name, "task.cancel") == 0 ||
	       xn_operation_is_urgent(rpc->operations, method);
}

int xn_rpc_check_quotas(struct xn_rpc_call *rc, bool async, struct xn_error *err)
{
	struct xn_rpc *rpc = rc->rpc;
	const struct xn_call *call = &rc->call;
	const struct xn_method *method = call->method;
	struct growth growth;
	const struct xn_row *row;
	size_t bytes = 0;

	/* Its password may be checked for long, and nobody knows yet whose memory that is. */
	if (method->flags & XN_MF_NO_SESSION && rc->arguments > rpc->quotas.login_arguments)
		return too_large(rpc, XN_QUOTA_LOGIN_ARGUMENTS, method->message, "bytes",
				 rc->arguments, rpc->quotas.login_arguments, "login-arguments",
				 err);
	if (async && !ends_something(rpc, method) && xn_task_check_room(rpc->tasks, err) < 0)
		return -1;
	if (!xn_rpc_changes_something(method))
		return 0;
	for (unsigned i = 0; i < call->n_args; i++) {
		if (check_value(rpc, method->params[i].name, call->args[i], err) < 0)
			return -1;
		bytes += weigh(call->args[i]);
	}
	growth = growth_of(method);
	row = row_of(rc, &growth);
	if (row ? check_row(rc, row, &growth, bytes, err) < 0
		: check_bytes(rpc, method->class_id, method->message, bytes, err) < 0)
		return -1;
	return check_room(rc, err);
}

int xn_rpc_check_record(struct xn_core *core, const char *what, const struct xn_value *record,
			struct xn_error *err)
{
	struct xn_rpc *rpc = xn_module_state(core, "rpc");
	size_t bytes = 0;

	for (size_t i = 0; i < xn_map_len(record); i++) {
		if (check_value(rpc, xn_map_key_at(record, i), xn_map_at(record, i), err) < 0)
			return -1;
		bytes += weigh(xn_map_at(record, i));
	}
	return check_bytes(rpc, -1, what, bytes, err);
}
