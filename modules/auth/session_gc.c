/*
 * Garbage collection of sessions: by age, by number in each group, by number in all; also while the
 * database refuses changes. A session whose tasks still run is kept; a task that a client made runs
 * only while something works on it. Every 30 seconds, and sooner after many logins, for what the
 * limits are.
 */
#include "core/op.h"
#include "modules/auth/auth_internal.h"

#include <stdlib.h>

enum { ENDED_AT_ONCE = 500 };

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
		.all = (unsigned)xn_config_int(config, "sessions"),
		.local = (unsigned)xn_config_int(config, "sessions-local"),
	};
}

struct candidate {
	const char *ref;
	enum { POOL, ANONYMOUS, ORIGINATOR, USER } kind;
	const char *name;  /* of the originator or user */
	unsigned limit;    /* of the group: kind and name */
	int64_t active_us; /* since the epoch */
	uint64_t made;     /* in this order */
	bool is_busy;      /* it does not end */
	bool ends;
};

/* Anybody makes tasks that nobody ends: they keep no session. */
static bool is_running(const struct xn_row *task)
{
	return xn_row_int(task, XN_task_finished) == 0 &&
	       (!xn_row_bool(task, XN_task_xn_made_by_client) ||
		xn_row_map_string(task, XN_task_other_config, XN_OP_STEP_KEY));
}

bool auth_session_is_busy(struct xn_auth *auth, const struct xn_row *row)
{
	const struct xn_value *tasks = xn_row_get(row, XN_session_tasks);

	for (size_t i = 0; i < xn_set_len(tasks); i++) {
		struct xn_row *task =
			xn_db_get(auth->db, XN_CLASS_task, xn_value_string(xn_set_at(tasks, i)));

		if (task && is_running(task))
			return true;
	}
	return false;
}

static void classify(const struct session_limits *limits, const struct session_facts *facts,
		     struct candidate *c)
{
	bool is_root = !*facts->user || strcmp(facts->user, "root") == 0;

	c->name = "";
	if (facts->pool) {
		c->kind = POOL;
		c->limit = limits->pool;
	} else if (is_root && !*facts->originator) {
		c->kind = ANONYMOUS;
		c->limit = limits->anonymous;
	} else if (is_root) {
		c->kind = ORIGINATOR;
		c->name = facts->originator;
		c->limit = limits->originator;
	} else {
		c->kind = USER;
		c->name = facts->user;
		c->limit = limits->user;
	}
}

/* Those that stay anyway, then the most recently active. */
static int by_use(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;

	if (a->is_busy != b->is_busy)
		return a->is_busy ? -1 : 1;
	if (a->active_us != b->active_us)
		return a->active_us < b->active_us ? 1 : -1;
	return a->made < b->made ? 1 : -1;
}

static int compare_groups(const struct candidate *a, const struct candidate *b)
{
	return a->kind != b->kind ? (a->kind > b->kind) - (a->kind < b->kind)
				  : strcmp(a->name, b->name);
}

/* By group; inside it by use, so that what is beyond the limit goes. */
static int by_group(const void *pa, const void *pb)
{
	int order = compare_groups(pa, pb);

	return order ? order : by_use(pa, pb);
}

struct collection {
	struct xn_auth *auth;
	struct candidate *list;
	size_t n;
};

static void collect(const struct session_facts *facts, void *arg)
{
	struct collection *all = arg;
	struct candidate *c = &all->list[all->n];

	*c = (struct candidate){.ref = facts->ref};
	if (facts->row) {
		c->is_busy = auth_session_is_busy(all->auth, facts->row);
		c->active_us = auth_last_use_of_row_us(all->auth, facts->session, facts->row);
		c->made = xn_row_created(facts->row);
	} else { /* after all that have rows; these come in the order in which they were made */
		c->active_us = auth_last_use_us(all->auth, facts->session);
		c->made = UINT64_MAX / 2 + all->n;
	}
	classify(&all->auth->limits, facts, c);
	all->n++;
}

static void mark_beyond_group(struct candidate *list, size_t n)
{
	size_t rank = 0;

	qsort(list, n, sizeof(*list), by_group);
	for (size_t i = 0; i < n; i++) {
		rank = i > 0 && compare_groups(&list[i], &list[i - 1]) == 0 ? rank + 1 : 0;
		list[i].ends |= rank >= list[i].limit && !list[i].is_busy;
	}
}

static void mark_beyond_all(struct candidate *list, size_t n, size_t limit)
{
	size_t kept = 0;

	if (n <= limit)
		return;
	qsort(list, n, sizeof(*list), by_use);
	for (size_t i = 0; i < n; i++) {
		list[i].ends |= kept >= limit && !list[i].is_busy;
		kept += !list[i].ends;
	}
}

/* Entries whose row's creation was refused by the disk: nobody was told their secrets. */
static void drop_rowless(struct xn_auth *auth)
{
	struct xn_hnode *node = xn_hmap_first(&auth->by_ref);

	if (auth->losses_seen == xn_db_losses(auth->db))
		return;
	auth->losses_seen = xn_db_losses(auth->db);
	while (node) {
		struct session *s = xn_container_of(node, struct session, by_ref);

		node = xn_hmap_next(&auth->by_ref, node);
		if (!s->local && !s->row && !s->ended &&
		    !xn_db_get(auth->db, XN_CLASS_session, s->ref))
			auth_session_end(auth, s->ref);
	}
}

void auth_gc_run(struct xn_auth *auth)
{
	int64_t oldest = xn_wall_us(auth->core->loop) - auth->limits.idle_s * 1000000;
	struct candidate *list XN_CLEANUP(xn_free_p) = NULL;
	struct collection all = {.auth = auth};
	unsigned ended = 0;

	auth->logins_since_gc = 0;
	xn_db_set_origin(auth->db, &(struct xn_db_origin){.caller = "session expiry"});
	drop_rowless(auth);
	list = all.list =
		xn_calloc(xn_db_count(auth->db, XN_CLASS_session) + auth->n_rowless, sizeof(*list));
	auth_sessions_each(auth, collect, &all);
	for (size_t i = 0; i < all.n; i++)
		list[i].ends = list[i].active_us < oldest && !list[i].is_busy;
	mark_beyond_group(list, all.n);
	mark_beyond_all(list, all.n, auth->limits.all);
	/* Only now: their names are the rows'. Not all at once, when a host's sessions all get too
	 * old. */
	for (size_t i = 0; i < all.n && ended < ENDED_AT_ONCE; i++)
		if (list[i].ends)
			ended += auth_session_end(auth, list[i].ref);
	auth->counters.collected += ended;
	if (ended == ENDED_AT_ONCE)
		auth_gc_soon(auth);
	xn_db_set_origin(auth->db, NULL);
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

/* Few logins where a limit is low, so that it is passed by a quarter only; but never so few that
 * looking through all sessions, divided among them, costs each login much. */
void auth_gc_note_login(struct xn_auth *auth)
{
	enum { LOOKS_A_LOGIN = 50 };
	const struct session_limits *limits = &auth->limits;
	const unsigned numbers[] = {limits->anonymous, limits->originator, limits->user,
				    limits->pool, limits->all};
	size_t enough = SESSION_GC_LOGINS;
	size_t least = auth_sessions_count(auth) / LOOKS_A_LOGIN;

	for (size_t i = 0; i < XN_ARRAY_SIZE(numbers); i++)
		if (enough > numbers[i] / 4)
			enough = numbers[i] / 4;
	if (enough < least)
		enough = least < (size_t)SESSION_GC_LOGINS ? least : (size_t)SESSION_GC_LOGINS;
	if (++auth->logins_since_gc >= enough)
		auth_gc_soon(auth);
}
