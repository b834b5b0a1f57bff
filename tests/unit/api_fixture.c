/* See api_fixture.h. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/api_fixture.h"

#include "core/json.h"
#include "modules/auth/auth.h"
#include "modules/event/event.h"
#include "modules/message/message.h"
#include "modules/records/records.h"
#include "modules/task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct xn_module *const usual_modules[] = {
	&xn_db_module,
	&xn_auth_module,
	&xn_task_module,
	&xn_event_module,
	&xn_message_module,
	&xn_records_module,
	NULL,
};

static void start(struct api *api, uint64_t seed)
{
	struct xn_config *config = xn_config_new();
	struct xn_loop *loop = xn_loop_new_virtual(seed);
	struct xn_error err = {0};

	xn_config_decide(config, "state-dir", api->dir);
	xn_config_decide(config, "password-file", api->password_file);
	if (api->wall_us > xn_wall_us(loop)) /* on from where the last one stopped */
		xn_loop_turn(loop, api->wall_us - xn_wall_us(loop));
	xn_core_init(&api->core, loop, xn_log_new(XN_LOG_ERROR, false, 2), config);
	api->core.store = xn_store_sim_new(&api->core, api->disk);
	if (!xn_modules_start(&api->core, api->modules, &err))
		fail_msg("%s %s", err.code, err.n_params ? err.params[0] : "");
	api->db = xn_db_of(&api->core);
}

static void stop(struct api *api)
{
	struct xn_loop *loop = api->core.loop;
	struct xn_log *log = api->core.log;
	struct xn_config *config = api->core.config;

	api->wall_us = xn_wall_us(loop);
	xn_modules_stop(api->core.modules);
	api->core.modules = NULL;
	xn_core_clear(&api->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
}

static void begin(struct api *api)
{
	struct xn_ev_daemon_ready ready = {0};

	start(api, ++api->starts); /* another seed: references must not repeat */
	if (api->on_start)
		api->on_start(api);
	xn_publish_daemon_ready(api->core.bus, &ready);
}

int api_setup(void **state)
{
	return api_setup_with(state, usual_modules);
}

int api_setup_with(void **state, const struct xn_module *const *modules)
{
	struct api *api = calloc(1, sizeof(*api));
	FILE *file;

	api->modules = modules;
	api->disk = xn_sim_disk_new(1);
	strcpy(api->dir, "/tmp/xn-test-api-XXXXXX");
	if (!mkdtemp(api->dir))
		return -1;
	snprintf(api->password_file, sizeof(api->password_file), "%s/password", api->dir);
	file = fopen(api->password_file, "w");
	if (!file)
		return -1;
	fputs("secret\n", file);
	fclose(file);
	begin(api);
	api_log_in(api, "root", XN_ROLE_POOL_ADMIN, &api->root, api->secret);
	api_turn(api);
	*state = api;
	return 0;
}

int api_teardown(void **state)
{
	struct api *api = *state;
	char *command = xn_asprintf("rm -rf '%s'", api->dir);
	int rc;

	stop(api);
	xn_sim_disk_free(api->disk);
	rc = system(command);
	free(command);
	free(api);
	return rc;
}

void api_restart(struct api *api)
{
	stop(api);
	begin(api);
}

void api_crash(struct api *api, enum xn_sim_crash kind)
{
	xn_sim_disk_crash(api->disk, kind);
	stop(api); /* frees; the disk takes no more from it */
	begin(api);
}

void api_log_in(struct api *api, const char *user, enum xn_role role, struct xn_caller *caller,
		char secret[48])
{
	struct xn_auth *auth = xn_module_state(&api->core, "auth");
	struct xn_error err = {0};

	memset(caller, 0, sizeof(*caller));
	xn_auth_login_as(auth, user, role, strcmp(user, "root") == 0, "", secret);
	assert_int_equal(xn_auth_session(auth, secret, caller, &err), 0);
}

/* ---- time ---- */

static void do_nothing(struct xn_job *job)
{
}

void api_turn(struct api *api)
{
	struct xn_job job = {0};

	for (int i = 0; i < 3; i++) {
		xn_loop_defer(api->core.loop, &job, XN_PRIO_REPLY, do_nothing);
		xn_loop_turn(api->core.loop, 0);
	}
}

void api_run(struct api *api, int64_t seconds)
{
	int64_t end = xn_now_us(api->core.loop) + seconds * 1000000;

	api_turn(api);
	while (xn_now_us(api->core.loop) < end)
		xn_loop_turn(api->core.loop, end - xn_now_us(api->core.loop));
	api_turn(api);
}

void api_wait(struct api *api, const bool *done)
{
	for (int i = 0; i < 10000 && !*done; i++)
		xn_loop_turn(api->core.loop, 1000000);
	assert_true(*done);
}

/* ---- calls ---- */

static void on_finish(struct xn_call *call, const struct xn_value *result,
		      const struct xn_error *err)
{
	struct api_call *ours = call->sink_data;
	struct xn_buf text = {0};

	assert_false(ours->done);
	ours->done = true;
	if (ours->is_task && err)
		xn_task_fail(xn_tasks_of(call->core), call->task, err, NULL, NULL);
	else if (ours->is_task)
		xn_task_succeed(xn_tasks_of(call->core), call->task, call->method->result, result,
				NULL, NULL);
	if (err) {
		xn_error_copy(&ours->err, err);
		return;
	}
	xn_json_write(result, &text);
	ours->json = xn_buf_steal(&text);
}

static const struct xn_call_sink sink = {.finish = on_finish};

static void take_args(struct xn_call *call, const char *args)
{
	struct xn_error err = {0};
	struct xn_value *list;

	assert_int_equal(xn_json_parse(args, strlen(args), &list, NULL), 0);
	for (unsigned i = 0; i < call->method->n_params; i++) {
		const struct xn_param *param = &call->method->params[i];

		call->args[i] =
			i < xn_set_len(list)
				? xn_type_check(param->type, xn_value_ref(xn_set_at(list, i)),
						param->name, &err)
				: xn_param_default(param);
		assert_non_null(call->args[i]);
	}
	call->n_args = call->method->n_params;
	xn_value_unref(list);
}

static void begin_call(struct api *api, struct api_call *ours, const struct xn_caller *caller,
		  const char *method, const char *args, bool is_task)
{
	struct xn_call *call = &ours->call;
	const struct xn_method_impl *impl;
	struct xn_error err = {0};

	memset(ours, 0, sizeof(*ours));
	ours->is_task = is_task;
	if (is_task)
		xn_task_create(xn_tasks_of(&api->core), method, "", caller, call->task);
	call->core = &api->core;
	call->method = xn_method_find(method);
	assert_non_null(call->method);
	call->caller = *caller;
	call->sink = &sink;
	call->sink_data = ours;
	take_args(call, args);
	impl = xn_methods_find(api->core.methods, call->method, &call->state);
	assert_non_null(impl);
	if (impl->check && impl->check(call, &err) < 0)
		xn_call_fail(call, &err);
	else
		impl->run(call);
}

void api_begin_as(struct api *api, struct api_call *ours, const struct xn_caller *caller,
		  const char *method, const char *args)
{
	begin_call(api, ours, caller, method, args, false);
}

void api_begin_task(struct api *api, struct api_call *ours, const char *method, const char *args)
{
	begin_call(api, ours, &api->root, method, args, true);
}

void api_begin(struct api *api, struct api_call *ours, const char *method, const char *args)
{
	api_begin_as(api, ours, &api->root, method, args);
}

void api_call_clear(struct api_call *ours)
{
	free(ours->json);
	xn_error_clear(&ours->err);
}

char *api_do(struct api *api, const char *method, const char *args)
{
	struct api_call ours;

	api_begin(api, &ours, method, args);
	api_wait(api, &ours.done);
	api_turn(api); /* committed, as before a reply goes out */
	if (!ours.json)
		fail_msg("%s: %s %s", method, ours.err.code,
			 ours.err.n_params ? ours.err.params[0] : "");
	return ours.json;
}

void api_fail(struct api *api, const char *method, const char *args, const char *code,
	      struct xn_error *err)
{
	struct api_call ours;

	api_begin(api, &ours, method, args);
	api_wait(api, &ours.done);
	assert_null(ours.json);
	assert_string_equal(ours.err.code, code);
	if (err)
		xn_error_move(err, &ours.err);
	api_call_clear(&ours);
}
