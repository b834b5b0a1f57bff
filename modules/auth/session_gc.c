/*
 * Garbage collection of sessions: by age, then by number in each group. A session whose tasks
 * still run is kept. Every 30 seconds, and sooner when there were many logins.
 */
#include "modules/auth/auth_internal.h"

#include <stdlib.h>

void auth_gc_read_limits(struct xn_auth *auth)
{
	struct xn_config *config = auth->core->config;
	int64_t idle_s = xn_config_int(config, "session-idle");

	auth->started_us = xn_wall_us(auth->core->loop);
	auth->limits = (struct session_limits){
		.idle_s = idle_s,
		.step_s = idle_s / LAST_ACTIVE_PART < LAST_ACTIVE_STEP_S ? idle_s / LAST_ACTIVE_PART
									 : LAST_ACTIVE_STEP_S,
		.anonymous = (unsigned)xn_config_int(config, "sessions-anonymous"),
		.originator = (unsigned)xn_config_int(config, "sessions-per-originator"),
		.user = (unsigned)xn_config_int(config, "sessions-per-user"),
		.pool = (unsigned)xn_config_int(config, "sessions-pool"),
		.local = (unsigned)xn_config_int(config, "sessions-local"),
	};
}

struct candidate {
	const struct xn_row *row;
	char *group;
	unsigned limit;
	int64_t active_us; /* since the epoch */
};

static bool is_busy(struct xn_auth *auth, const struct xn_row *row)
{
	const struct xn_value *tasks = xn_row_get(row, XN_session_tasks);

	for (size_t i = 0; i < xn_set_len(tasks); i++) {
		struct xn_row *task =
			xn_db_get(auth->db, XN_CLASS_task, xn_value_string(xn_set_at(tasks, i)));

		if (task && xn_row_int(task, XN_task_finished) == 0)
			return true;
	}
	return false;
}

/* Exact for sessions seen since the start; of others the last moment that it can have been, because
 * their rows may lag. */
static int64_t last_active_us(struct xn_auth *auth, const struct xn_row *row)
{
	const struct session *s = auth_session_by_ref(auth, xn_row_ref(row));
	struct xn_loop *loop = auth->core->loop;
	int64_t written = xn_row_int(row, XN_session_last_active) * 1000000;
	int64_t used = written + auth->limits.step_s * 1000000;

	if (s)
		used = xn_wall_us(loop) - (xn_now_us(loop) - s->used_us);
	else if (used > auth->started_us)
		used = auth->started_us;
	return used > written ? used : written;
}

static void classify(const struct session_limits *limits, struct candidate *c)
{
	const char *user = xn_row_string(c->row, XN_session_auth_user_name);
	const char *originator = xn_row_string(c->row, XN_session_originator);
	bool is_root = !*user || strcmp(user, "root") == 0;

	if (xn_row_bool(c->row, XN_session_pool)) {
		c->group = xn_strdup("pool");
		c->limit = limits->pool;
	} else if (is_root && !*originator) {
		c->group = xn_strdup("anonymous");
		c->limit = limits->anonymous;
	} else if (is_root) {
		c->group = xn_asprintf("originator %s", originator);
		c->limit = limits->originator;
	} else {
		c->group = xn_asprintf("user %s", user);
		c->limit = limits->user;
	}
}

/* By group; inside it the most recently active first, so that what is beyond the limit goes. */
static int by_group(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;
	int order = strcmp(a->group, b->group);

	if (order)
		return order;
	if (a->active_us != b->active_us)
		return a->active_us < b->active_us ? 1 : -1;
	return xn_row_created(a->row) < xn_row_created(b->row) ? 1 : -1;
}

static size_t collect(struct xn_auth *auth, struct candidate **out)
{
	struct candidate *list = xn_calloc(xn_db_count(auth->db, XN_CLASS_session), sizeof(*list));
	size_t n = 0;

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row)) {
		if (is_busy(auth, row))
			continue;
		list[n].row = row;
		list[n].active_us = last_active_us(auth, row);
		classify(&auth->limits, &list[n]);
		n++;
	}
	qsort(list, n, sizeof(*list), by_group);
	*out = list;
	return n;
}

/* Entries whose row's creation was refused by the disk: nobody was told their secrets. */
static void drop_rowless(struct xn_auth *auth)
{
	struct xn_hnode *node = xn_hmap_first(&auth->by_ref);

	while (node) {
		struct session *s = xn_container_of(node, struct session, by_ref);

		node = xn_hmap_next(&auth->by_ref, node);
		if (!s->local && !xn_db_get(auth->db, XN_CLASS_session, s->ref))
			auth_session_end(auth, s->ref);
	}
}

void auth_gc_run(struct xn_auth *auth)
{
	int64_t oldest = xn_wall_us(auth->core->loop) - auth->limits.idle_s * 1000000;
	struct candidate *list;
	size_t n, rank = 0;

	auth->logins_since_gc = 0;
	if (xn_db_writable(auth->db) < 0)
		return;
	xn_db_set_origin(auth->db, &(struct xn_db_origin){.caller = "session expiry"});
	drop_rowless(auth);
	n = collect(auth, &list);
	for (size_t i = 0; i < n; i++) {
		rank = i > 0 && strcmp(list[i].group, list[i - 1].group) == 0 ? rank + 1 : 0;
		if (list[i].active_us < oldest || rank >= list[i].limit)
			auth->counters.collected +=
				auth_session_end(auth, xn_row_ref(list[i].row));
	}
	xn_db_set_origin(auth->db, NULL);
	for (size_t i = 0; i < n; i++)
		free(list[i].group);
	free(list);
}

static void on_gc_timer(struct xn_timer *timer)
{
	struct xn_auth *auth = xn_container_of(timer, struct xn_auth, gc_timer);

	auth_gc_run(auth);
	auth_gc_start(auth);
}

void auth_gc_start(struct xn_auth *auth)
{
	xn_timer_arm(auth->core->loop, &auth->gc_timer, SESSION_GC_PERIOD_S * INT64_C(1000000),
		     on_gc_timer);
}

static void on_gc_job(struct xn_job *job)
{
	auth_gc_run(xn_container_of(job, struct xn_auth, gc_job));
}

void auth_gc_soon(struct xn_auth *auth)
{
	xn_loop_defer(auth->core->loop, &auth->gc_job, XN_PRIO_IDLE, on_gc_job);
}
