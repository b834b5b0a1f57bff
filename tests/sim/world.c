/* Lives and deaths of the simulated daemon; see sim.h. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"
#include "modules/db/store_sim.h"
#include "modules/modules.h"
#include "rpc/rpc.h"
#include "sim.h"

enum { ANSWER_LIMIT_US = 1500 * 1000000LL };

struct sim_call {
	struct sim_world *world;
	unsigned life;
	void (*done)(const struct xn_value *result, const char *code, void *arg);
	void *arg;
};

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t sim_random(struct sim_world *w, uint64_t below)
{
	w->random = mix(w->random);
	return below ? w->random % below : 0;
}

void sim_say(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->verbose)
		return;
	printf("%12.6f ", (double)(w->past_us + xn_now_us(w->loop)) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu: life %u: ", (unsigned long long)w->seed, w->life);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_FAILURE);
}

void sim_world_init(struct sim_world *w, uint64_t seed, bool verbose)
{
	*w = (struct sim_world){.seed = seed, .random = mix(seed), .verbose = verbose};
	strcpy(w->dir, "/tmp/xenolith-sim-XXXXXX");
	if (!mkdtemp(w->dir))
		sim_fail(w, "no scratch folder");
	w->config = xn_config_new();
	xn_config_decide(w->config, "state-dir", w->dir);
	xn_config_decide(w->config, "hypervisor", "sim");
	/* Too little for what all clients' VMs may have: they share it. */
	xn_config_decide(w->config, "sim-memory", "8589934592");
	w->log = xn_log_new(verbose ? XN_LOG_DEBUG : XN_LOG_ERROR, false, STDERR_FILENO);
	w->disk = xn_sim_disk_new(mix(seed + 1));
}

static void remove_below(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *child XN_CLEANUP(xn_free_p) = xn_asprintf("%s/%s", path, entry->d_name);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlink(child) < 0)
			remove_below(child);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void sim_world_clear(struct sim_world *w)
{
	w->life++; /* nobody listens any more */
	xn_modules_stop(w->modules);
	xn_core_clear(&w->core);
	xn_loop_free(w->loop);
	xn_log_free(w->log);
	xn_config_free(w->config);
	xn_sim_disk_free(w->disk);
	remove_below(w->dir);
}

static struct xn_caller root_on_the_socket(void)
{
	struct xn_caller caller = {.is_trusted_socket = true};

	strcpy(caller.origin, "unix");
	return caller;
}

static void find_template(struct sim_world *w)
{
	struct xn_value *all = sim_ask(w, "VM.get_all_records", xn_set_new());

	for (size_t i = 0; i < xn_map_len(all) && !w->template[0]; i++)
		if (xn_map_get_bool(xn_map_at(all, i), "is_default_template", false))
			snprintf(w->template, sizeof(w->template), "%s", xn_map_key_at(all, i));
	if (!w->template[0])
		sim_fail(w, "there is no template");
	xn_value_unref(all);
}

static void log_in(struct sim_world *w)
{
	struct xn_value *secret =
		sim_ask(w, "session.login_with_password", sim_params("root", "", NULL));

	snprintf(w->secret, sizeof(w->secret), "%s", xn_value_string(secret));
	xn_value_unref(secret);
}

void sim_world_start(struct sim_world *w)
{
	struct xn_error err = {0};
	struct xn_ev_daemon_ready ready = {0};
	bool first = w->life++ == 0;

	w->loop = xn_loop_new_virtual(mix(w->seed + w->life));
	w->core = (struct xn_core){0};
	xn_core_init(&w->core, w->loop, w->log, w->config);
	w->core.store = xn_store_sim_new(&w->core, w->disk);
	w->modules = xn_modules_start(&w->core, xn_module_list, &err);
	if (!w->modules)
		sim_fail(w, "cannot start: %s %s", err.code, err.n_params ? err.params[0] : "");
	xn_publish_daemon_ready(w->core.bus, &ready);
	if (!w->secret[0])
		log_in(w);
	if (first)
		find_template(w);
}

void sim_world_crash(struct sim_world *w, enum sim_death how)
{
	w->past_us += xn_now_us(w->loop);
	/* Nothing is stopped or freed: an instant later the process would not exist. */
	w->loop = NULL;
	w->modules = NULL;
	xn_sim_disk_crash(w->disk, how == SIM_KILL ? XN_CRASH_KILL : XN_CRASH_POWER);
	if (how == SIM_POWER_CUT) {
		char *world XN_CLEANUP(xn_free_p) = xn_asprintf("%s/sim.world", w->dir);

		w->power_cuts++;
		w->secret[0] = '\0'; /* a session need not survive this */
		unlink(world); /* the guests were on that host */
	}
}

void sim_world_run(struct sim_world *w, int64_t us)
{
	int64_t end_us = xn_now_us(w->loop) + us;

	while (xn_now_us(w->loop) < end_us)
		xn_loop_turn(w->loop, end_us - xn_now_us(w->loop));
}

/* ---- calls ---- */

static const char *error_code(const struct xn_value *reply)
{
	const struct xn_value *error = xn_map_get(reply, "error");

	return error ? xn_map_get_string(error, "message") : NULL;
}

static void on_reply(const char *body, size_t len, void *arg)
{
	struct sim_call *call = arg;
	struct sim_world *w = call->world;
	struct xn_value *reply;

	if (call->life != w->life) { /* the last daemon is stopping */
		free(call);
		return;
	}
	if (xn_json_parse(body, len, &reply, NULL) < 0)
		sim_fail(w, "a reply that is no JSON: %.*s", (int)len, body);
	call->done(xn_map_get(reply, "result"), error_code(reply), call->arg);
	xn_value_unref(reply);
	free(call);
}

static void print_call(struct sim_world *w, const char *method, const struct xn_value *params,
		       struct xn_buf *body)
{
	struct xn_value *call = xn_map_new(), *all = xn_set_new();

	if (w->secret[0])
		xn_set_append_string(&all, w->secret);
	for (size_t i = 0; i < xn_set_len(params); i++)
		xn_set_append(&all, xn_value_ref(xn_set_at(params, i)));
	xn_map_put_string(&call, "jsonrpc", "2.0");
	xn_map_put_string(&call, "method", method);
	xn_map_put(&call, "params", all);
	xn_map_put(&call, "id", xn_int(0));
	xn_json_write(call, body);
	xn_value_unref(call);
}

struct sim_call *sim_call(struct sim_world *w, const char *method, struct xn_value *params,
			  void (*done)(const struct xn_value *result, const char *code, void *arg),
			  void *arg)
{
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_caller from = root_on_the_socket();
	struct sim_call *call = xn_calloc(1, sizeof(*call));

	*call = (struct sim_call){.world = w, .life = w->life, .done = done, .arg = arg};
	print_call(w, method, params, &body);
	xn_value_unref(params);
	w->calls++;
	xn_rpc_call(xn_module_state(&w->core, "rpc"), body.data, body.len, &from, on_reply, call);
	return call;
}

struct answer {
	struct xn_value *result;
	char code[64];
	bool here;
};

static void on_answer(const struct xn_value *result, const char *code, void *arg)
{
	struct answer *answer = arg;

	answer->here = true;
	if (result)
		answer->result = xn_value_ref(result);
	else
		snprintf(answer->code, sizeof(answer->code), "%s", code);
}

struct xn_value *sim_ask(struct sim_world *w, const char *method, struct xn_value *params)
{
	int64_t limit_us = xn_now_us(w->loop) + ANSWER_LIMIT_US;
	struct answer answer = {0};

	sim_call(w, method, params, on_answer, &answer);
	while (!answer.here && xn_now_us(w->loop) < limit_us)
		xn_loop_turn(w->loop, limit_us - xn_now_us(w->loop));
	if (!answer.result)
		sim_fail(w, "%s: %s", method, answer.here ? answer.code : "no answer");
	return answer.result;
}

struct xn_value *sim_params(const char *first, ...)
{
	struct xn_value *params = xn_set_new();
	const char *s;
	va_list ap;

	va_start(ap, first);
	for (s = first; s; s = va_arg(ap, const char *))
		xn_set_append_string(&params, s);
	va_end(ap);
	return params;
}
