/*
 * Files over HTTP under a command, and the console. A transfer goes over a connection of its own to a
 * handler that knows nothing of the command: a task ties the two. Its progress is -1 until the handler
 * has taken it. The client's word that it has ended says little (an upload's comes before the daemon has
 * read it all), so what came of it is what the task says.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"

/* What the command waits for: the client's word, then the task's end. */
static struct xn_row *task_row(struct xe *x, struct xe_effect *effect)
{
	return xn_db_get(xe_db(x), XN_CLASS_task, xn_buf_cstr(&effect->bytes));
}

static bool is_pending(const struct xn_row *task)
{
	const char *status = xn_row_string(task, XN_task_status);

	return strcmp(status, "pending") == 0 || strcmp(status, "cancelling") == 0;
}

static bool is_reached(const struct xn_row *task)
{
	return xn_value_float(xn_row_get(task, XN_task_progress)) >= 0;
}

/* ---- the end ---- */

static const char *decoded(const char *text, char *c_out)
{
	static const struct {
		const char *name;
		char c;
	} entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#13;", '\r'}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(entities); i++)
		if (strncmp(text, entities[i].name, strlen(entities[i].name)) == 0) {
			*c_out = entities[i].c;
			return text + strlen(entities[i].name);
		}
	*c_out = *text;
	return text + 1;
}

/* The texts in a task's result, which is XML of our own: "<value>text</value>"; a list's with commas. */
static struct xn_value *plain_result(const char *xml)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	bool is_tag = false, is_next = false;
	char c;

	while (*xml) {
		xml = decoded(xml, &c);
		if (c == '<' && xml[-1] == '<') {
			is_tag = true;
			is_next = text.len > 0;
		} else if (is_tag) {
			is_tag = c != '>';
		} else {
			if (is_next)
				xn_buf_add_char(&text, ',');
			is_next = false;
			xn_buf_add_char(&text, c);
		}
	}
	return xn_string(xn_buf_cstr(&text));
}

static void read_error(const struct xn_row *task, struct xn_error *err)
{
	const struct xn_value *info = xn_row_get(task, XN_task_error_info);

	if (!xn_set_len(info)) {
		xn_error_set(err, XN_ERR_INTERNAL_ERROR, "the transfer ended without a reason");
		return;
	}
	xn_error_clear(err);
	err->code = err->own_code = xn_strdup(xn_value_string(xn_set_at(info, 0)));
	for (size_t i = 1; i < xn_set_len(info); i++)
		xn_error_add_param(err, xn_value_string(xn_set_at(info, i)));
}

static void take_result(struct xe_effect *effect, const struct xn_row *task)
{
	const char *status = task ? xn_row_string(task, XN_task_status) : "";

	if (!task)
		xn_error_set(&effect->error, XN_ERR_HANDLE_INVALID, "task",
			     xn_buf_cstr(&effect->bytes));
	else if (strcmp(status, "cancelled") == 0)
		xn_error_set(&effect->error, XN_ERR_TASK_CANCELLED, xn_row_ref(task));
	else if (strcmp(status, "success") != 0)
		read_error(task, &effect->error);
	else if (effect->answer != XE_ANSWER_OK)
		xn_error_set(&effect->error, XN_ERR_CLIENT_ERROR,
			     "the client could not take or give the file");
	else
		effect->result = plain_result(xn_row_string(task, XN_task_result));
}

/* Nobody has met the task, so nobody else ends it. */
static void fail_unreached(struct xe *x, const char *ref)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_set(&err, XN_ERR_CLIENT_ERROR, "the file was not transferred");
	xn_task_fail(x->line->engine->rpc->tasks, ref, &err, NULL, NULL);
}

/* The client has given its word: whether the task has ended, too. */
static bool look(struct xe *x, struct xe_effect *effect)
{
	struct xn_row *task = task_row(x, effect);

	if (task && is_pending(task))
		return false;
	take_result(effect, task);
	if (task && !xe_param(x, "task-uuid"))
		xn_task_forget(x->line->engine->rpc->tasks, xn_row_ref(task));
	xe_progress_end(x);
	return true;
}

void xe_transfer_answered(struct xe *x, struct xe_effect *effect)
{
	struct xn_row *task = task_row(x, effect);

	x->asks = false;
	if (task && is_pending(task) && !is_reached(task))
		fail_unreached(x, xn_row_ref(task));
	xe_run_later(x); /* which looks, and then at each change until the task has ended */
}

void xe_transfer_interrupt(struct xe *x, struct xe_effect *effect)
{
	struct xn_value *params = xn_set_new();

	xn_set_append_string(&params, x->line->session);
	xn_set_append_string(&params, xn_buf_cstr(&effect->bytes));
	xn_rpc_invoke(x->line->engine->rpc, "task.cancel", params, &x->line->from,
		      x->line->user_agent, NULL, NULL);
}

/* ---- the beginning ---- */

/* A task of its own, as if the client had made it; one effect with the transfer, so that it never is
 * without one. */
static int make_task(struct xe *x, const char *label, char ref[48], struct xn_error *err)
{
	struct xn_tasks *tasks = x->line->engine->rpc->tasks;
	struct xn_db *db = xe_db(x);

	if (xn_task_check_room(tasks, err) < 0)
		return -1;
	xn_task_create(tasks, label, "", &x->line->caller, ref);
	xn_db_set(db, xn_db_get(db, XN_CLASS_task, ref), XN_task_xn_made_by_client, xn_bool(true));
	return 0;
}

static int take_task(struct xe *x, const char *ref, struct xn_error *err)
{
	struct xn_tasks *tasks = x->line->engine->rpc->tasks;

	if (xn_task_permit(tasks, &x->line->caller, ref, err) < 0)
		return -1;
	if (!xn_task_is_clients(tasks, ref))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "this task is not for a transfer to work under");
	xn_db_set(xe_db(x), xn_db_get(xe_db(x), XN_CLASS_task, ref), XN_task_progress,
		  xn_float(-1.0));
	return 0;
}

static char *url_with_session(const struct xe *x, const char *url)
{
	return xn_asprintf("%s%csession_id=%s", url, strchr(url, '?') ? '&' : '?',
			   x->line->session);
}

typedef void ask_client(struct xe_talk *talk, const char *filename, const char *url);

static void begin(struct xe *x, struct xe_effect *effect, ask_client *ask, const char *filename,
		  const char *path, const char *label, const char *task)
{
	char *begun XN_CLEANUP(xn_free_p) = url_with_session(x, path);
	char *url XN_CLEANUP(xn_free_p) = NULL;
	char own[48];

	if (!task && make_task(x, label, own, &effect->error) < 0) {
		effect->is_done = true;
		return;
	}
	task = task ? task : own;
	url = xn_asprintf("%s&task_id=%s", begun, task);
	if (take_task(x, task, &effect->error) < 0) {
		effect->is_done = true;
		return;
	}
	xn_buf_add_string(&effect->bytes, task);
	effect->answer = XE_ANSWER_FAILED;
	xe_effect_await(x, effect);
	x->asks = true;
	xe_talk_interruptible(x->line->talk, ""); /* what there is of the file can be had again */
	ask(x->line->talk, filename, url);
	xe_progress_begin(x);
}

/* Whether the client can be asked now. Where it has left, the task that it gave hears of that. */
static bool may_begin(struct xe *x, const char *task)
{
	struct xn_tasks *tasks = x->line->engine->rpc->tasks;

	if (xe_may_ask(x))
		return true;
	if (task && xe_is_alone(x) && xn_task_is_clients(tasks, task) &&
	    xn_task_permit(tasks, &x->line->caller, task, NULL) == 0)
		fail_unreached(x, task);
	return false;
}

static bool transfer(struct xe *x, ask_client *ask, const char *filename, const char *path,
		     const char *label, const char **result)
{
	bool is_new;
	const char *uuid = xe_param(x, "task-uuid"), *task = NULL;
	struct xe_effect *effect;

	if ((uuid && !xe_by_uuid(x, XN_CLASS_task, uuid, &task)) ||
	    (x->at == x->n_effects && !may_begin(x, task)))
		return false;
	effect = xe_effect_next(x, XE_DID_TRANSFER, &is_new);
	if (is_new) {
		begin(x, effect, ask, filename, path, label, task);
	} else if (!effect->is_done && !x->asks) {
		effect->is_done = look(x, effect);
		if (effect->is_done)
			x->awaited = NULL;
		else
			xe_wake_on_change(x);
	}
	if (result && effect->result)
		*result = xn_value_string(effect->result);
	return xe_effect_result(x, effect);
}

bool xe_get(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result)
{
	return transfer(x, xe_talk_get, filename, path, label, result);
}

bool xe_put(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result)
{
	return transfer(x, xe_talk_put, filename, path, label, result);
}

bool xe_connect(struct xe *x, const char *url)
{
	bool is_new;
	struct xe_effect *effect;
	XN_CLEANUP(xn_free_p) char *whole = NULL;

	if (!xe_may_ask(x))
		return false;
	effect = xe_effect_next(x, XE_DID_CONNECT, &is_new);
	if (is_new) {
		whole = url_with_session(x, url);
		xe_effect_await(x, effect);
		x->asks = true;
		xe_talk_connect(x->line->talk, whole);
	}
	if (effect->is_done && effect->answer != XE_ANSWER_OK) {
		xe_fail(x, "The console could not be reached");
		return false;
	}
	return effect->is_done;
}

/* ---- where files are ---- */

const char *xe_escaped(struct xe *x, const char *text)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		bool is_plain = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') ||
				(*c >= 'a' && *c <= 'z') || strchr("-_.~:", *c);

		xn_buf_printf(&out, is_plain ? "%c" : "%%%02X", *c);
	}
	return xe_text(x, "%s", xn_buf_cstr(&out));
}

/* The address the client already has reached is the one it can reach again; it knows the port. Whoever
 * came by the Unix socket is on this machine. */
const char *xe_own_address(struct xe *x)
{
	const char *local = x->line->local_host, *port = strrchr(local, ':');

	return port ? xe_text(x, "%.*s", (int)(port - local), local) : "127.0.0.1";
}
