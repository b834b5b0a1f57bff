/*
 * A command line from its request to its exit code: the grammar's checks, the login, the objects it is
 * for, their runs, what is said at the end. The order of the checks decides which error wins, as with
 * the field's: syntax, help, unknown command, missing parameter, login, then the command itself.
 */
#include "rpc/xe/engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

enum { AT_ONCE = 8 }; /* runs of a line for many objects */

static void line_free(struct xe_line *line)
{
	xn_list_remove(&line->link);
	for (unsigned i = 0; i < line->n_runs; i++)
		xe_run_free(line->runs[i]);
	free(line->runs);
	free(line->objects);
	if (line->login)
		xn_rpc_invoke_forget(line->login);
	xn_value_unref(line->values);
	xe_arguments_clear(&line->arguments);
	free(line->local_host);
	free(line->hint);
	free(line);
}

static void log_out(struct xe_line *line)
{
	struct xn_value *params;

	if (!line->own_session)
		return;
	line->own_session = false;
	params = xn_set_new();
	xn_set_append_string(&params, line->session);
	xn_rpc_invoke(line->engine->rpc, "session.logout", params, &line->from, line->user_agent,
		      NULL, NULL);
}

/* The last word is said; the line lives until its client has heard it. */
void xe_line_exit(struct xe_line *line, int code)
{
	if (line->is_over)
		return;
	line->is_over = true;
	log_out(line);
	if (line->talk)
		xe_talk_exit(line->talk, code);
	else
		line_free(line);
}

/* ---- runs ---- */

static void start_runs(struct xe_line *line)
{
	while (line->n_started < line->n_runs && line->n_started - line->n_ended < AT_ONCE)
		xe_run_later(line->runs[line->n_started++]);
}

static void complain_of_one(struct xe_line *line, struct xe *x)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	const struct xn_row *row = xn_db_get_any(line->engine->rpc->db, x->object);

	xn_buf_printf(&text, "operation failed on %s: ", row ? xn_row_uuid(row) : x->object);
	if (x->error.code)
		xe_complaint_print(line, &x->error, &text);
	else
		xn_buf_printf(&text, "%s", x->sentence ? x->sentence : "");
	while (text.len && text.data[text.len - 1] == '\n')
		text.len--;
	if (!line->minimal) /* it is a message like others */
		xe_say_print(line, text.data, text.len);
	line->code = 1;
}

static void finish(struct xe_line *line)
{
	if (line->n_runs == 1 && line->runs[0]->failed) {
		xe_complain(line, line->runs[0]);
		line->code = 1;
	} else if ((line->minimal || line->json) && !xe_say_collected(line)) {
		line->code = 1;
	}
	xe_line_exit(line, line->code);
}

void xe_line_go_on(struct xe_line *line)
{
	line->n_ended++;
	while (line->speaker < line->n_runs) {
		struct xe *x = line->runs[line->speaker];

		xe_say_queued(x);
		if (x->state != XE_ENDED)
			break;
		if (x->failed && line->n_runs > 1)
			complain_of_one(line, x);
		line->speaker++;
		if (line->speaker < line->n_runs && line->runs[line->speaker]->wants_room)
			xe_run_later(line->runs[line->speaker]);
	}
	if (line->n_ended == line->n_runs)
		finish(line);
	else
		start_runs(line);
}

static void begin_runs(struct xe_line *line)
{
	unsigned selectors = XE_VM_SELECTORS | XE_HOST_SELECTORS | XE_SR_SELECTORS;

	if (line->row && (line->row->flags & selectors) && !(line->row->flags & XE_ITSELF)) {
		if (!xe_line_select(line))
			return;
	} else {
		line->runs = xn_calloc(1, sizeof(*line->runs));
		line->runs[line->n_runs++] = xe_run_new(line, "");
	}
	for (unsigned i = 0; i < line->n_runs; i++)
		line->runs[i]->index = i;
	start_runs(line);
}

/* ---- login ---- */

static void logged_in(struct xe_line *line)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	line->caller = line->from;
	if (xn_auth_session(line->engine->rpc->auth, line->session, &line->caller, &err) < 0) {
		line->own_session = false;
		xe_complain_error(line, &err);
		return;
	}
	line->turn = xn_hash_string(line->caller.session);
	xe_talk_set_authenticated(line->talk);
	begin_runs(line);
}

static void on_login(const struct xn_value *result, const struct xn_error *err, void *arg)
{
	struct xe_line *line = arg;

	line->login = NULL;
	if (!err && !line->talk) { /* its client did not wait for it */
		snprintf(line->session, sizeof(line->session), "%s", xn_value_string(result));
		line->own_session = true;
		log_out(line);
		line_free(line);
	} else if (!err) {
		snprintf(line->session, sizeof(line->session), "%s", xn_value_string(result));
		line->own_session = true;
		logged_in(line);
	} else if (strcmp(err->code, XN_ERR_SESSION_AUTHENTICATION_FAILED) == 0) {
		if (line->is_ours)
			line->hint = xn_strdup("Check the user name and password: -u and -pw, "
					       "XE_EXTRA_ARGS or ~/.xe");
		xe_complain_usage(line, "Authentication failed");
	} else {
		xe_complain_error(line, err);
	}
}

static void log_in_as(struct xe_line *line, const char *user, const char *password)
{
	struct xn_value *params = xn_set_new();
	struct xn_rpc_call *rc;

	xn_set_append_string(&params, user);
	xn_set_append_string(&params, password);
	xn_set_append_string(&params, "2.21");
	xn_set_append_string(&params, "cli");
	rc = xn_rpc_invoke(line->engine->rpc, "session.login_with_password", params, &line->from,
			   line->user_agent, on_login, line);
	if (!line->is_over && !line->own_session)
		line->login = rc;
}

static void log_in_by_password(struct xe_line *line)
{
	const char *user = xe_arguments_get(&line->arguments, "username");
	const char *password = xe_arguments_get(&line->arguments, "password");

	if (user && *user && password)
		log_in_as(line, user, password);
	else
		xe_complain_usage(line, "Username/password must be specified");
}

static void log_in(struct xe_line *line)
{
	if (line->row && (line->row->flags & XE_NO_LOGIN)) {
		begin_runs(line);
	} else if (line->arguments.session) {
		snprintf(line->session, sizeof(line->session), "%s", line->arguments.session);
		logged_in(line);
	} else if (line->from.is_trusted_socket) {
		log_in_as(line, "root", ""); /* which is not asked for there */
	} else {
		log_in_by_password(line);
	}
}

/* ---- checks before the login ---- */

static bool has_parameter(const struct xe_line *line, const char *name, size_t len)
{
	bool is_map = len && name[len - 1] == ':';

	for (unsigned i = 0; i < line->arguments.n; i++) {
		const char *given = line->arguments.items[i].name;

		if (strncmp(given, name, len - is_map) == 0 &&
		    (is_map ? given[len - 1] == ':' || given[len - 1] == '-' : !given[len]))
			return true;
	}
	return false;
}

/* The first parameter of a list that was not given; false: all were. */
static bool find_missing(const struct xe_line *line, const char *list, char out[80])
{
	while (*list) {
		size_t len = strcspn(list, " ,");

		if (len && !has_parameter(line, list, len)) {
			snprintf(out, 80, "%.*s", (int)len, list);
			return true;
		}
		list += len + (list[len] != '\0');
	}
	return false;
}

static bool find_command(struct xe_line *line, const char **required_out)
{
	enum xe_verb verb;

	line->name = line->arguments.command;
	line->row = xe_command_find(line->name);
	if (line->row) {
		line->run = line->row->run;
		*required_out = xe_command_text(line->row->required);
		return true;
	}
	line->kind = xe_generated_find(line->name, &verb);
	if (!line->kind)
		return false;
	line->run = xe_verb_handler(verb);
	*required_out = xe_verb_required(verb);
	return true;
}

static bool read_switch(struct xe_line *line, const char *name, bool *out)
{
	const char *text = xe_arguments_get(&line->arguments, name);

	*out = text && strcmp(text, "true") == 0;
	if (!text || *out || strcmp(text, "false") == 0)
		return true;
	xe_complain_sentence(line, "Error: Parameter %s takes true or false, not '%s'", name, text);
	return false;
}

/* Whether what was given of the switches that are looked at later is something one can be. */
static bool check_switches(struct xe_line *line)
{
	static const char *const names[] = {"multiple", "all", "trace"};
	bool is;

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++) {
		const char *text = xe_arguments_get(&line->arguments, names[i]);

		if (!text || xe_bool_parse(text, &is))
			continue;
		xe_complain_sentence(line, "Error: Parameter %s takes true or false, not '%s'",
				     names[i], text);
		return false;
	}
	line->trace = xe_arguments_have(&line->arguments, "trace");
	return true;
}

static void not_there(struct xe_line *line)
{
	xe_complain_sentence(line, "Error: The command %s is not implemented by this server",
			     line->name);
}

static void check_and_begin(struct xe_line *line)
{
	const char *required = "";
	char missing[80];

	if (!find_command(line, &required)) {
		xe_guess_command(line);
		xe_complain_usage(line, "Unknown command: %s", line->name);
	} else if (!read_switch(line, "minimal", &line->minimal) ||
		   !read_switch(line, "json", &line->json) || !check_switches(line)) {
		/* it is said */
	} else if (!line->run ||
		   (line->row && !xe_command_is_there(line->engine->core->methods, line->row))) {
		not_there(line);
	} else if (find_missing(line, required, missing)) {
		if (line->is_ours)
			line->hint = xn_asprintf("'xe help %s' tells what it takes", line->name);
		xe_complain_usage(line, "Required parameter not found: %s", missing);
	} else {
		log_in(line);
	}
}

/* ---- from the conversation ---- */

static void *on_begin(struct xe_talk *talk, const struct xe_request *request, void *arg)
{
	struct xe_line *line = xn_calloc(1, sizeof(*line));
	const char *why;

	line->engine = arg;
	line->talk = talk;
	line->from = request->caller;
	snprintf(line->user_agent, sizeof(line->user_agent), "%s", request->user_agent);
	line->is_ours = request->is_ours;
	line->stderr_is_terminal = request->stderr_is_terminal;
	line->screen = (struct xe_screen){request->columns, request->colour, request->is_ours};
	line->local_host = xn_strdup(request->local_host);
	line->turn = xn_hash_string(line->from.origin);
	xn_list_push(&line->engine->lines, &line->link);
	if (xe_arguments_parse(request->body, request->len, &line->arguments, &why) < 0) {
		if (line->is_ours)
			line->hint = xn_asprintf("What is wrong: %s", why);
		xe_complain_usage(line, "Syntax error: ");
	} else {
		check_and_begin(line);
	}
	return line;
}

static struct xe *speaker(struct xe_line *line)
{
	return line->speaker < line->n_runs ? line->runs[line->speaker] : NULL;
}

static void on_room(void *command)
{
	struct xe *x = speaker(command);

	if (x && x->wants_room)
		xe_run_later(x);
}

static void on_answer(void *command, enum xe_answer answer, const char *data, size_t len)
{
	struct xe_line *line = command;

	for (unsigned i = 0; i < line->n_runs; i++)
		if (line->runs[i]->asks) {
			xe_run_answered(line->runs[i], answer, data, len);
			return;
		}
}

static void on_interrupt(void *command)
{
	struct xe_line *line = command;

	while (line->n_runs > line->n_started) /* they do not begin */
		xe_run_free(line->runs[--line->n_runs]);
	for (unsigned i = 0; i < line->n_runs; i++)
		xe_run_interrupt(line->runs[i]);
}

/* Commands that were begun go on to their ends without the client. */
static void on_end(void *command)
{
	struct xe_line *line = command;

	line->talk = NULL;
	if (line->login)
		return; /* a session may come of it, which has to go again */
	if (line->is_over || !line->n_runs) {
		log_out(line);
		line_free(line);
		return;
	}
	for (unsigned i = 0; i < line->n_started; i++)
		xe_run_gone(line->runs[i]);
}

static const struct xe_talk_ops ops = {
	.begin = on_begin,
	.room = on_room,
	.answer = on_answer,
	.interrupt = on_interrupt,
	.end = on_end,
};

/* ---- waiting for the database ---- */

static void on_wake(struct xn_job *job)
{
	struct xe_engine *engine = xn_container_of(job, struct xe_engine, wake_job);

	while (!xn_list_empty(&engine->waiters)) {
		struct xe *x = xn_list_entry(engine->waiters.next, struct xe, wait);

		xn_list_remove(&x->wait);
		xe_run_later(x);
	}
}

static void on_committed(const struct xn_ev_db_committed *ev, void *arg)
{
	struct xe_engine *engine = arg;

	if (!xn_list_empty(&engine->waiters))
		xn_loop_defer_as(engine->core->loop, &engine->wake_job, XN_PRIO_EVENT, on_wake, 0);
}

/* ---- the engine ---- */

struct xe_engine *xe_engine_new(struct xn_rpc *rpc)
{
	struct xe_engine *engine = xn_calloc(1, sizeof(*engine));

	engine->core = rpc->core;
	engine->rpc = rpc;
	xn_list_init(&engine->lines);
	xn_list_init(&engine->waiters);
	engine->on_committed =
		xn_subscribe_db_committed(rpc->core->bus, "xe", on_committed, engine);
	engine->talks = xe_talk_open(rpc->core, rpc->http, &ops, engine);
	return engine;
}

void xe_engine_free(struct xe_engine *engine)
{
	if (!engine)
		return;
	xn_bus_unsubscribe(engine->on_committed);
	xe_talk_close(engine->talks); /* their lines end, or are left to themselves */
	while (!xn_list_empty(&engine->lines))
		line_free(xn_list_entry(engine->lines.next, struct xe_line, link));
	xn_job_cancel(&engine->wake_job);
	free(engine);
}
