/* Lives and deaths of the simulated daemon, and calls to it; see sim.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"
#include "modules/auth/auth.h"
#include "modules/modules.h"
#include "rpc/rpc_internal.h"
#include "sim.h"

#define ANSWER_LIMIT_US (1500 * (int64_t)SIM_SECOND)

struct sim_call {
	struct sim_world *world;
	struct xn_rpc_call *rpc;
	unsigned life;
	bool hung_up;
	sim_done *done;
	sim_raw_done *raw_done; /* instead */
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

bool sim_chance(struct sim_world *w, unsigned n, unsigned of)
{
	return n && sim_random(w, of) < n;
}

/* ---- what is told ---- */

int64_t sim_now_us(const struct sim_world *w)
{
	return w->past_us + (w->loop ? xn_now_us(w->loop) : 0);
}

static double now_s(const struct sim_world *w)
{
	return (double)sim_now_us(w) / 1e6;
}

void sim_say(struct sim_world *w, const char *fmt, ...)
{
	char *line = w->lines[w->n_lines++ % SIM_LINES];
	va_list ap;
	int n = snprintf(line, sizeof(w->lines[0]), "%12.6f ", now_s(w));

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(w->lines[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	if (w->verbose)
		printf("%s\n", line);
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

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	for (unsigned i = w->verbose ? SIM_LINES : 0; i < SIM_LINES; i++)
		if (w->n_lines + i >= SIM_LINES)
			printf("  %s\n", w->lines[(w->n_lines + i) % SIM_LINES]);
	printf("seed %llu: life %u, at %.6f s: ", (unsigned long long)w->seed, w->life, now_s(w));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	remove_below(w->dir);
	_exit(EXIT_FAILURE);
}

/* ---- the scratch folder. Its place must not show in the state. ---- */

static void make_folder(struct sim_world *w)
{
	/* In memory where that is possible: images are synced, and a real disk takes its time. */
	const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	snprintf(w->dir, sizeof(w->dir), "%s/xenolith-sim-XXXXXX", parent);
	if (!mkdtemp(w->dir))
		sim_fail(w, "no scratch folder");
}

/* ---- the end of a life ---- */

static void come_to_the_end(struct sim_world *w)
{
	if (--w->countdown)
		return;
	w->armed = SIM_NOT_ARMED;
	longjmp(w->death, 1);
}

static void after_callback(void *arg)
{
	struct sim_world *w = arg;

	w->callbacks++;
	if (w->modules && xn_db_count(sim_db(w), XN_CLASS_task) > w->most_tasks)
		w->most_tasks = xn_db_count(sim_db(w), XN_CLASS_task);
	if (w->armed == SIM_AT_CALLBACK)
		come_to_the_end(w);
}

static void at_point(enum xn_sim_point point, void *arg)
{
	struct sim_world *w = arg;

	if (w->armed == SIM_AT_POINT && point == w->point)
		come_to_the_end(w);
}

bool sim_session_is_stored(struct sim_world *w, const char *secret)
{
	struct xn_auth *auth = xn_module_state(&w->core, "auth");
	const char *ref = xn_auth_session_ref(auth, secret);

	return ref && xn_db_get(sim_db(w), XN_CLASS_session, ref);
}

void sim_world_crash(struct sim_world *w, enum sim_death how)
{
	bool doubtful = how == SIM_POWER_CUT || xn_sim_disk_is_doubtful(w->disk);

	sim_say(w, "---- %s%s", how == SIM_KILL ? "SIGKILL" : "power cut",
		doubtful && how == SIM_KILL ? " after a sync failed" : "");
	w->past_us += xn_now_us(w->loop);
	w->wall_us = xn_wall_us(w->loop);
	w->armed = SIM_NOT_ARMED;
	sim_faults_end(w);
	if (w->worst < how)
		w->worst = how;
	if (w->modules && xn_db_durable_generation(sim_db(w)) > w->durable)
		w->durable = xn_db_durable_generation(sim_db(w));
	if (w->modules && w->secret[0] && !sim_session_is_stored(w, w->secret))
		w->secret[0] = '\0';
	if (doubtful) {
		w->doubtful = true;
		w->lost[w->cuts % SIM_CUTS].first = w->durable;
		w->lost[w->cuts++ % SIM_CUTS].end = UINT64_MAX;
		w->secret[0] = '\0';   /* a session need not survive this, */
		w->template[0] = '\0'; /* nor what nobody was ever promised */
	}
	/* Nothing is stopped or freed: an instant later the process would not exist. */
	w->loop = NULL;
	w->modules = NULL;
	xn_sim_disk_crash(w->disk, how == SIM_KILL ? XN_CRASH_KILL : XN_CRASH_POWER);
	if (how == SIM_POWER_CUT) {
		char *world XN_CLEANUP(xn_free_p) = xn_asprintf("%s/sim.world", w->dir);
		char *xenstore XN_CLEANUP(xn_free_p) = xn_asprintf("%s/xenstore", w->dir);

		unlink(world); /* the guests were on that host */
		remove_below(xenstore);
	}
}

/* ---- lives ---- */

void sim_world_init(struct sim_world *w, uint64_t seed, const struct sim_plan *plan, bool verbose)
{
	char memory[24];

	*w = (struct sim_world){
		.seed = seed, .random = mix(seed), .plan = *plan, .verbose = verbose};
	xn_list_init(&w->facts);
	make_folder(w);
	w->own_tasks = xn_set_new();
	w->config = xn_config_new();
	xn_config_decide(w->config, "state-dir", w->dir);
	xn_config_decide(w->config, "hypervisor", "sim");
	snprintf(memory, sizeof(memory), "%lld", (long long)plan->memory);
	xn_config_decide(w->config, "sim-memory", memory);
	w->log = verbose ? xn_log_new(XN_LOG_INFO, false, STDERR_FILENO)
			 : xn_log_new(XN_LOG_ERROR, false, open("/dev/null", O_WRONLY | O_CLOEXEC));
	w->disk = xn_sim_disk_new(mix(seed + 1));
	xn_sim_disk_watch(w->disk, at_point, w);
}

void sim_world_clear(struct sim_world *w)
{
	w->life++; /* nobody listens any more */
	xn_sim_disk_watch(w->disk, NULL, NULL);
	xn_loop_virtual_watch(w->loop, NULL, NULL);
	xn_modules_stop(w->modules);
	xn_core_clear(&w->core);
	xn_loop_free(w->loop);
	xn_log_free(w->log);
	xn_config_free(w->config);
	xn_sim_disk_free(w->disk);
	xn_value_unref(w->own_tasks);
	for (int i = 0; i < SIM_TOKENS_KEPT; i++) {
		xn_value_unref(w->kept[i].classes);
		xn_value_unref(w->kept[i].picture);
	}
	remove_below(w->dir);
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

static void find_places(struct sim_world *w)
{
	const struct xn_row *pool = xn_db_first(sim_db(w), XN_CLASS_pool);
	const struct xn_row *network = xn_db_first(sim_db(w), XN_CLASS_network);

	snprintf(w->sr, sizeof(w->sr), "%s", xn_row_string(pool, XN_pool_default_SR));
	snprintf(w->network, sizeof(w->network), "%s", network ? xn_row_ref(network) : "");
}

static void log_in(struct sim_world *w)
{
	struct xn_value *secret =
		sim_ask(w, "session.login_with_password", sim_params("root", "", NULL));

	snprintf(w->secret, sizeof(w->secret), "%s", xn_value_string(secret));
	xn_value_unref(secret);
}

static void check_generation(struct sim_world *w)
{
	uint64_t now = xn_db_generation(sim_db(w));

	if (now < w->durable)
		sim_fail(w, "the database is at %llu, %llu was durable", (unsigned long long)now,
			 (unsigned long long)w->durable);
	for (unsigned i = 0; i < w->cuts && i < SIM_CUTS; i++)
		if (w->lost[i].end == UINT64_MAX)
			w->lost[i].end = now;
}

bool sim_may_be_lost(const struct sim_world *w, const char *token)
{
	uint64_t stamp = strtoull(token, NULL, 10);

	for (unsigned i = 0; i < w->cuts && i < SIM_CUTS; i++)
		if (stamp >= w->lost[i].first && stamp < w->lost[i].end)
			return true;
	return false;
}

void sim_world_start(struct sim_world *w)
{
	struct xn_error err = {0};
	struct xn_ev_daemon_ready ready = {0};

	w->life++;
	w->loop = xn_loop_new_virtual(mix(w->seed * 64 + w->life));
	if (w->wall_us)
		xn_loop_virtual_set_wall(w->loop, w->wall_us + SIM_SECOND);
	w->core = (struct xn_core){0};
	xn_core_init(&w->core, w->loop, w->log, w->config);
	w->core.store = xn_store_sim_new(&w->core, w->disk);
	xn_loop_virtual_watch(w->loop, after_callback, w);
	w->modules = xn_modules_start(&w->core, xn_module_list, &err);
	if (!w->modules)
		sim_fail(w, "cannot start: %s %s", err.code, err.n_params ? err.params[0] : "");
	xn_publish_daemon_ready(w->core.bus, &ready);
	check_generation(w);
	if (!w->secret[0])
		log_in(w);
	if (!w->template[0]) {
		find_template(w);
		find_places(w);
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

void sim_trace(struct sim_world *w, const char *bytes, size_t len)
{
	uint64_t h = w->trace ^ len, word;

	for (; len >= 8; bytes += 8, len -= 8) {
		memcpy(&word, bytes, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	while (len--)
		h = (h ^ (unsigned char)*bytes++) * 0x100000001b3u;
	w->trace = h;
}

static void on_reply(const char *body, size_t len, void *arg)
{
	struct sim_call *call = arg;
	struct sim_world *w = call->world;
	struct xn_value *reply;

	w->answered = call;
	if (call->life != w->life || call->hung_up) { /* the daemon is stopping; nobody is there */
		free(call);
		return;
	}
	sim_trace(w, body, len);
	if (call->raw_done) {
		call->raw_done(body, len, call->arg);
	} else {
		if (xn_json_parse(body, len, &reply, NULL) < 0)
			sim_fail(w, "a reply that is no JSON: %.*s", (int)len, body);
		call->done(xn_map_get(reply, "result"), error_code(reply), call->arg);
		xn_value_unref(reply);
	}
	free(call);
	if (w->armed == SIM_AT_REPLY)
		w->armed = SIM_AT_CALLBACK;
}

static void print_call(const char *secret, const char *method, const struct xn_value *params,
		       struct xn_buf *body)
{
	xn_buf_printf(body, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"%s\",\"params\":[", method);
	if (secret[0])
		xn_buf_printf(body, "\"%s\"", secret);
	for (size_t i = 0; i < xn_set_len(params); i++) {
		if (i || secret[0])
			xn_buf_add_char(body, ',');
		xn_json_write(xn_set_at(params, i), body);
	}
	xn_buf_add_string(body, "]}");
}

static struct sim_call *begin_call(struct sim_world *w, const char *secret, const char *method,
				   struct xn_value *params, const struct sim_call *what)
{
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_caller from = {.is_trusted_socket = true, .origin = "unix"};
	struct sim_call *call = xn_calloc(1, sizeof(*call));
	struct xn_rpc *rpc = xn_module_state(&w->core, "rpc");

	*call = *what;
	call->world = w;
	call->life = w->life;
	print_call(secret ? secret : w->secret, method, params, &body);
	xn_value_unref(params);
	w->calls++;
	w->answered = NULL;
	if (w->armed == SIM_AT_CALL)
		w->armed = SIM_AT_CALLBACK;
	xn_rpc_call(rpc, body.data, body.len, &from, on_reply, call);
	if (w->answered == call)
		return NULL; /* at once, and freed */
	call->rpc = xn_list_entry(rpc->calls.prev, struct xn_rpc_call, link);
	return call;
}

struct sim_call *sim_call(struct sim_world *w, const char *secret, const char *method,
			  struct xn_value *params, sim_done *done, void *arg)
{
	struct sim_call what = {.done = done, .arg = arg};

	return begin_call(w, secret, method, params, &what);
}

void sim_call_raw(struct sim_world *w, const char *method, struct xn_value *params,
		  sim_raw_done *done, void *arg)
{
	struct sim_call what = {.raw_done = done, .arg = arg};

	begin_call(w, NULL, method, params, &what);
}

void sim_hang_up(struct sim_call *call)
{
	call->hung_up = true;
	xn_rpc_client_gone(call->rpc);
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

struct xn_value *sim_try(struct sim_world *w, const char *method, struct xn_value *params,
			 char code[64])
{
	int64_t limit_us = xn_now_us(w->loop) + ANSWER_LIMIT_US;
	struct answer *answer = xn_calloc(1, sizeof(*answer)); /* outlives this call's frame */
	struct xn_value *result;

	sim_call(w, NULL, method, params, on_answer, answer);
	while (!answer->here && xn_now_us(w->loop) < limit_us)
		xn_loop_turn(w->loop, limit_us - xn_now_us(w->loop));
	if (!answer->here)
		sim_fail(w, "%s: no answer", method);
	result = answer->result;
	memcpy(code, answer->code, sizeof(answer->code));
	free(answer);
	return result;
}

struct xn_value *sim_ask(struct sim_world *w, const char *method, struct xn_value *params)
{
	char code[64];
	struct xn_value *result = sim_try(w, method, params, code);

	if (!result)
		sim_fail(w, "%s: %s", method, code);
	return result;
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
