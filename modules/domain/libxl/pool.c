/*
 * The pool of worker children; see pool.h.
 *
 *	call --> its domain's queue --> ready (by kind) --> a child --> ended --> done()
 *	              ^ in order, one at a time                |
 *	              +---- the next one of that domain <------+
 *
 * A domain is ready when it has calls and none of them runs. A killed child keeps its domain busy
 * until the process has really gone: what comes next must not meet it.
 */
#include "modules/domain/libxl/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/hmap.h"
#include "core/list.h"
#include "core/peer.h"
#include "modules/domain/libxl/calls.h"

enum {
	DOMAIN_MAX = 48,
	PROGRESS_TIMES = 20,   /* a call that tells of progress lives this many deadlines at most */
	KILLED_TIMES = 4,      /* killed children that do not go: so many times the width */
	DESCRIBED_WAITING = 100,
};

enum kind { QUICK, NORMAL, SLOW, KINDS }; /* in the order in which they are served */

/* What no two calls may touch at a time. Lives while it has calls or a child. */
struct domain {
	struct xn_hnode node;
	struct xn_list ready; /* in pool->ready[kind], or alone */
	enum kind kind;	      /* of the first call */
	struct xn_list calls; /* that wait, in order */
	struct child *child;  /* at work for it */
	char name[DOMAIN_MAX];
};

struct call {
	struct xn_list link; /* in domain->calls, or pool->ended */
	struct xn_libxl_pool *pool;
	struct xn_libxl_request request; /* .args is not kept, .domain neither */
	struct domain *domain;
	struct xn_buf frame;
	struct xn_timer deadline;
	int64_t since_us, last_us; /* when it began to wait or run; latest end, as a child */
	int rc;
	struct xn_value *result;
	char *message;
};

struct child {
	struct xn_list link;
	struct xn_libxl_pool *pool;
	struct xn_peer *peer;
	struct call *call;     /* NULL: idle, or killed */
	struct domain *domain; /* busy until this child is done with it, or gone */
	enum kind kind;	       /* of its call */
	bool killed;
	uint64_t served;
};

struct xn_libxl_pool {
	struct xn_libxl_pool_spec spec;
	struct xn_hmap domains;
	struct xn_list ready[KINDS];
	struct xn_list children, ended;
	struct xn_job answer;
	int64_t moved_us; /* when a call last ended */
	uint64_t sequence;
	uint64_t started, killed, died; /* children, since the start */
	unsigned n_children, n_killed; /* n_children: without killed ones */
	unsigned n_running[KINDS];
	unsigned n_waiting;
	size_t waiting_bytes;
};

static void schedule(struct xn_libxl_pool *pool);

static int64_t now_us(const struct xn_libxl_pool *pool)
{
	return xn_now_us(pool->spec.loop);
}

/* ---- domains ---- */

static struct domain *find_domain(struct xn_libxl_pool *pool, const char *name)
{
	struct xn_hnode *node = xn_hmap_first_same(&pool->domains, xn_hash_string(name));

	for (; node; node = xn_hmap_next_same(node)) {
		struct domain *domain = xn_container_of(node, struct domain, node);

		if (strcmp(domain->name, name) == 0)
			return domain;
	}
	return NULL;
}

/* @name "": one of its own. */
static struct domain *get_domain(struct xn_libxl_pool *pool, const char *name)
{
	struct domain *domain = *name ? find_domain(pool, name) : NULL;

	if (domain)
		return domain;
	domain = xn_calloc(1, sizeof(*domain));
	if (*name)
		snprintf(domain->name, sizeof(domain->name), "%s", name);
	else
		snprintf(domain->name, sizeof(domain->name), "#%" PRIu64, ++pool->sequence);
	xn_list_init(&domain->ready);
	xn_list_init(&domain->calls);
	xn_hmap_insert(&pool->domains, &domain->node, xn_hash_string(domain->name));
	return domain;
}

static struct call *first_call(const struct domain *domain)
{
	return xn_list_entry(domain->calls.next, struct call, link);
}

/* After its calls or its child changed: ready, busy, or not needed any more. */
static void settle_domain(struct xn_libxl_pool *pool, struct domain *domain)
{
	unsigned flags;
	enum kind kind;

	if (domain->child || xn_list_empty(&domain->calls)) {
		xn_list_remove(&domain->ready);
		if (!domain->child) {
			xn_hmap_remove(&pool->domains, &domain->node);
			free(domain);
		}
		return;
	}
	flags = first_call(domain)->request.flags;
	kind = flags & XN_LIBXL_SLOW ? SLOW : flags & XN_LIBXL_QUICK ? QUICK : NORMAL;
	if (!xn_list_empty(&domain->ready) && domain->kind == kind &&
	    !(flags & XN_LIBXL_OVERTAKES))
		return; /* keeps its place */
	xn_list_remove(&domain->ready);
	domain->kind = kind;
	xn_list_insert(flags & XN_LIBXL_OVERTAKES ? pool->ready[kind].next : &pool->ready[kind],
		       &domain->ready);
}

/* ---- the end of a call ---- */

static void free_call(struct call *call)
{
	xn_timer_cancel(&call->deadline);
	xn_list_remove(&call->link);
	xn_buf_clear(&call->frame);
	xn_value_unref(call->result);
	free(call->message);
	if (call->request.fd >= 0)
		close(call->request.fd);
	free(call);
}

static void answer(struct xn_job *job)
{
	struct xn_libxl_pool *pool = xn_container_of(job, struct xn_libxl_pool, answer);
	struct xn_list now;

	xn_list_init(&now);
	while (!xn_list_empty(&pool->ended))
		xn_list_push(&now, xn_list_pop(&pool->ended));
	while (!xn_list_empty(&now)) {
		struct call *call = xn_list_entry(now.next, struct call, link);
		struct xn_libxl_end end = {.rc = call->rc,
					   .result = call->result,
					   .message = call->message ? call->message : ""};

		call->request.done(&end, call->request.arg);
		free_call(call);
	}
}

/* @call neither waits nor runs any more. */
static void end_call(struct call *call, int rc, const struct xn_value *result, const char *message)
{
	struct xn_libxl_pool *pool = call->pool;

	xn_timer_cancel(&call->deadline);
	call->rc = rc;
	call->result = result ? xn_value_ref(result) : NULL;
	call->message = message ? xn_strdup(message) : NULL;
	pool->moved_us = now_us(pool);
	xn_list_push(&pool->ended, &call->link);
	xn_loop_defer(pool->spec.loop, &pool->answer, XN_PRIO_REPLY, answer);
}

static void stop_waiting(struct call *call)
{
	call->pool->n_waiting--;
	call->pool->waiting_bytes -= call->frame.len;
	xn_list_remove(&call->link);
}

/* ---- children ---- */

/* The call that it is at, or NULL: it is no more. */
static struct call *take_call(struct child *child)
{
	struct call *call = child->call;

	if (call)
		child->pool->n_running[child->kind]--;
	child->call = NULL;
	return call;
}

/* Its call ends now; its domain when the process has gone. */
static void kill_child(struct child *child, int rc, const char *message)
{
	struct xn_libxl_pool *pool = child->pool;
	struct call *call = child->call;

	if (child->killed)
		return;
	xn_log_warn(pool->spec.log, "domain", "libxl worker %d is killed in %s of %s: %s",
		    xn_peer_pid(child->peer), call ? call->request.call : "nothing",
		    child->domain ? child->domain->name : "nothing", message);
	child->killed = true;
	pool->killed++;
	pool->n_children--;
	pool->n_killed++;
	take_call(child);
	xn_peer_kill(child->peer);
	if (call)
		end_call(call, rc, NULL, message);
}

static void release_domain(struct child *child)
{
	struct domain *domain = child->domain;

	child->domain = NULL;
	if (!domain)
		return;
	domain->child = NULL;
	settle_domain(child->pool, domain);
}

static void on_gone(struct xn_peer *peer, int exit_status, int signal, void *arg)
{
	struct child *child = arg;
	struct xn_libxl_pool *pool = child->pool;
	char why[96];

	if (signal)
		snprintf(why, sizeof(why), "the libxl worker was ended by signal %d", signal);
	else
		snprintf(why, sizeof(why), "the libxl worker ended with status %d", exit_status);
	if (child->killed) {
		pool->n_killed--;
	} else {
		struct call *call = take_call(child);

		xn_log_warn(pool->spec.log, "domain", "pid %d: %s", xn_peer_pid(peer), why);
		pool->died++;
		pool->n_children--;
		if (call)
			end_call(call, -EIO, NULL, why);
	}
	release_domain(child);
	xn_list_remove(&child->link);
	free(child);
	schedule(pool);
}

static void on_said(struct xn_peer *peer, const char *line, void *arg)
{
	struct child *child = arg;

	xn_log_info(child->pool->spec.log, "domain", "libxl worker %d: %s", xn_peer_pid(peer), line);
}

/* ---- what a child tells ---- */

static void tell_progress(struct call *call, const char *what, int percent)
{
	if (call->request.progress)
		call->request.progress(what, percent, call->request.arg);
}

static void on_run_deadline(struct xn_timer *timer)
{
	struct call *call = xn_container_of(timer, struct call, deadline);
	struct xn_libxl_pool *pool = call->pool;

	kill_child(call->domain->child, -ETIMEDOUT, "no end by its deadline");
	schedule(pool);
}

static void arm_run_deadline(struct call *call)
{
	int64_t left_us = call->last_us - now_us(call->pool);
	int64_t us = (int64_t)call->request.timeout_ms * 1000;

	xn_timer_arm(call->pool->spec.loop, &call->deadline, us < left_us ? us : left_us,
		     on_run_deadline);
}

static void handle_says(struct child *child, const struct xn_value *frame)
{
	struct call *call = child->call;
	const char *text = xn_map_get_string(frame, "says");
	const char *level = xn_map_get_string(frame, "level");
	struct xn_log *log = child->pool->spec.log;

	if (!call) { /* while it gets ready for the first one */
		xn_log_warn(log, "domain", "libxl: %s", text);
	} else if (!level) {
		arm_run_deadline(call);
		tell_progress(call, text, (int)xn_map_get_int(frame, "percent", -1));
	} else if (strcmp(level, "error") == 0 || strcmp(level, "warn") == 0) {
		xn_log_warn(log, "domain", "libxl %s of %s: %s", call->request.call,
			    child->domain->name, text);
	} else {
		xn_log_debug(log, "domain", "libxl %s of %s: %s", call->request.call,
			     child->domain->name, text);
	}
}

static void handle_answer(struct child *child, const struct xn_value *frame)
{
	const struct xn_value *result = xn_map_get(frame, "result");
	const char *message = xn_map_get_string(frame, "message");
	struct call *call = take_call(child);

	xn_log_debug(child->pool->spec.log, "domain", "libxl %s of %s: %s, %" PRIi64 " ms",
		     call->request.call, child->domain->name,
		     strerror(-(int)xn_map_get_int(frame, "rc", -EIO)),
		     (now_us(child->pool) - call->since_us) / 1000);
	child->served++;
	end_call(call, (int)xn_map_get_int(frame, "rc", -EIO), result, message);
	release_domain(child);
}

static bool is_string(const struct xn_value *v)
{
	return v && v->kind == XN_STRING;
}

static bool is_int_or_none(const struct xn_value *v)
{
	return !v || v->kind == XN_INT;
}

static bool is_progress_frame(const struct xn_value *frame)
{
	const struct xn_value *level = xn_map_get(frame, "level");

	return is_string(xn_map_get(frame, "says")) && (!level || level->kind == XN_STRING) &&
	       is_int_or_none(xn_map_get(frame, "percent"));
}

static bool is_answer_frame(const struct xn_value *frame)
{
	const struct xn_value *rc = xn_map_get(frame, "rc");
	const struct xn_value *message = xn_map_get(frame, "message");

	return rc && rc->kind == XN_INT && xn_value_int(rc) <= 0 && xn_value_int(rc) > -4096 &&
	       (!message || message->kind == XN_STRING);
}

/* What a child says is believed no more than what a guest says: libxl may have scribbled over it. */
static int handle_frame(struct child *child, const struct xn_value *frame)
{
	if (frame->kind != XN_MAP)
		return -EPROTO;
	if (is_progress_frame(frame))
		handle_says(child, frame);
	else if (child->call && is_answer_frame(frame))
		handle_answer(child, frame);
	else
		return -EPROTO;
	return 0;
}

static void on_received(struct xn_peer *peer, struct xn_buf *in, void *arg)
{
	struct child *child = arg;
	struct xn_libxl_pool *pool = child->pool;
	struct xn_value *frame;
	int rc = 0;

	while (!child->killed && (rc = xn_libxl_frame_take(in, &frame)) > 0) {
		rc = handle_frame(child, frame);
		xn_value_unref(frame);
		if (rc < 0)
			break;
	}
	if (rc < 0)
		kill_child(child, -EIO, "it sent something that is no answer");
	if (child->killed)
		xn_buf_drop(in, in->len);
	schedule(pool);
}

static const struct xn_peer_ops peer_ops = {
	.received = on_received,
	.said = on_said,
	.gone = on_gone,
};

static int start_child(struct xn_libxl_pool *pool, struct child **child_out)
{
	struct child *child = xn_calloc(1, sizeof(*child));
	int rc = xn_peer_start(pool->spec.loop, pool->spec.argv, NULL, &peer_ops, child,
			       &child->peer);

	if (rc < 0) {
		xn_log_error(pool->spec.log, "domain", "cannot start a libxl worker: %s",
			     strerror(-rc));
		free(child);
		return rc;
	}
	child->pool = pool;
	pool->started++;
	pool->n_children++;
	xn_list_push(&pool->children, &child->link);
	*child_out = child;
	return 0;
}

static struct child *idle_child(const struct xn_libxl_pool *pool)
{
	xn_list_each(link, &pool->children)
	{
		struct child *child = xn_list_entry(link, struct child, link);

		if (!child->call && !child->killed)
			return child;
	}
	return NULL;
}

static bool has_room(const struct xn_libxl_pool *pool, unsigned width)
{
	return pool->n_children < width && pool->n_killed < width * KILLED_TIMES;
}

void xn_libxl_pool_warm(struct xn_libxl_pool *pool)
{
	struct child *child;

	if (!idle_child(pool) && has_room(pool, pool->spec.width))
		(void)!start_child(pool, &child); /* the call that needs it will tell */
}

/* ---- who runs next ---- */

static void begin(struct call *call, struct child *child)
{
	struct xn_libxl_pool *pool = call->pool;
	struct domain *domain = call->domain;
	char text[64];

	stop_waiting(call);
	child->call = call;
	child->domain = domain;
	domain->child = child;
	settle_domain(pool, domain);
	child->kind = domain->kind;
	pool->n_running[child->kind]++;
	call->since_us = now_us(pool);
	call->last_us = call->since_us +
			(int64_t)call->request.timeout_ms * 1000 * PROGRESS_TIMES;
	arm_run_deadline(call);
	xn_peer_send(child->peer, call->frame.data, call->frame.len, call->request.fd);
	call->request.fd = -1;
	xn_buf_clear(&call->frame);
	snprintf(text, sizeof(text), "libxl %s, in process %d", call->request.call,
		 xn_peer_pid(child->peer));
	tell_progress(call, text, -1);
}

static bool may_begin(const struct xn_libxl_pool *pool, enum kind kind)
{
	unsigned width = pool->spec.width, slow = pool->n_running[SLOW];
	unsigned others = slow + pool->n_running[NORMAL];

	if (xn_list_empty(&pool->ready[kind]))
		return false;
	switch (kind) {
	case SLOW:
		return others < width && (slow < width - 1 || width == 1);
	case NORMAL:
		return others < width;
	default:
		return true;
	}
}

/* False: nothing may begin now; an answer or an end comes back here. */
static bool begin_one(struct xn_libxl_pool *pool)
{
	struct child *child = idle_child(pool);
	enum kind kind = QUICK;
	struct call *call;
	int rc = 0;

	while (kind < KINDS && !may_begin(pool, kind))
		kind++;
	if (kind == KINDS || (!child && !has_room(pool, pool->spec.width + (kind == QUICK))))
		return false;
	call = first_call(xn_list_entry(pool->ready[kind].next, struct domain, ready));
	if (!child)
		rc = start_child(pool, &child);
	if (rc == 0) {
		begin(call, child);
	} else if (pool->n_children > 0) {
		return false;
	} else {
		stop_waiting(call);
		end_call(call, rc, NULL, "cannot start a worker");
		settle_domain(pool, call->domain);
	}
	return true;
}

static void schedule(struct xn_libxl_pool *pool)
{
	bool any = false;

	while (begin_one(pool))
		any = true;
	if (any)
		xn_libxl_pool_warm(pool); /* for the next one, while these work */
}

/* ---- waiting ---- */

static void on_wait_deadline(struct xn_timer *timer)
{
	struct call *call = xn_container_of(timer, struct call, deadline);
	struct xn_libxl_pool *pool = call->pool;
	struct domain *domain = call->domain;
	int64_t timeout_us = (int64_t)call->request.timeout_ms * 1000;
	int64_t left_us = pool->moved_us + timeout_us - now_us(pool);

	if (left_us > 0) {
		xn_timer_arm(pool->spec.loop, timer, left_us, on_wait_deadline);
		tell_progress(call, "a libxl worker, others come first", -1);
		return;
	}
	stop_waiting(call);
	end_call(call, -ETIMEDOUT, NULL, "no worker came free in time");
	settle_domain(pool, domain);
	schedule(pool);
}

/* What waits or runs for @domain and yields, ends. */
static void give_up_others(struct xn_libxl_pool *pool, struct domain *domain)
{
	struct child *child = domain->child;

	xn_list_each_safe(link, &domain->calls)
	{
		struct call *call = xn_list_entry(link, struct call, link);

		if (call->request.flags & XN_LIBXL_YIELDS) {
			stop_waiting(call);
			end_call(call, -ECANCELED, NULL, "given up");
		}
	}
	if (child && child->call && child->call->request.flags & XN_LIBXL_YIELDS)
		kill_child(child, -ECANCELED, "given up");
}

static int make_frame(const struct xn_libxl_request *request, struct xn_buf *out)
{
	struct xn_value *frame XN_CLEANUP(xn_value_unref_p) = xn_map_new();

	xn_map_put_string(&frame, "call", request->call);
	xn_map_put(&frame, "args", xn_value_ref(request->args));
	xn_libxl_frame_add(out, frame);
	return out->len > XN_LIBXL_FRAME_MAX ? -EMSGSIZE : 0;
}

static void wait_for_turn(struct xn_libxl_pool *pool, struct call *call)
{
	struct domain *domain = call->domain;

	if (call->request.flags & XN_LIBXL_OVERTAKES) {
		give_up_others(pool, domain);
		xn_list_insert(domain->calls.next, &call->link);
	} else {
		xn_list_push(&domain->calls, &call->link);
	}
	pool->n_waiting++;
	pool->waiting_bytes += call->frame.len;
	call->since_us = now_us(pool);
	xn_timer_arm(pool->spec.loop, &call->deadline, (int64_t)call->request.timeout_ms * 1000,
		     on_wait_deadline);
	settle_domain(pool, domain);
	schedule(pool);
}

int xn_libxl_pool_call(struct xn_libxl_pool *pool, const struct xn_libxl_request *request)
{
	struct call *call = xn_calloc(1, sizeof(*call));
	int rc = make_frame(request, &call->frame);

	call->pool = pool;
	call->request = *request;
	call->request.args = NULL;
	call->request.domain = NULL;
	xn_list_init(&call->link);
	xn_value_unref(request->args);
	if (!rc && (pool->n_waiting >= XN_LIBXL_QUEUE_MAX ||
		    pool->waiting_bytes + call->frame.len > XN_LIBXL_QUEUE_BYTES))
		rc = -ENOBUFS;
	if (rc < 0) {
		free_call(call);
		return rc;
	}
	call->domain = get_domain(pool, request->domain);
	wait_for_turn(pool, call);
	return 0;
}

/* ---- for diagnostics ---- */

static struct xn_value *describe_call(const struct call *call)
{
	const struct xn_libxl_pool *pool = call->pool;
	struct xn_value *map = xn_map_new();
	int64_t for_us = now_us(pool) - call->since_us;

	xn_map_put_string(&map, "call", call->request.call);
	xn_map_put_string(&map, "domain", call->domain->name);
	xn_map_put(&map, "since",
		   xn_datetime((xn_wall_us(pool->spec.loop) - for_us) / 1000000));
	xn_map_put(&map, "for_ms", xn_int(for_us / 1000));
	if (xn_timer_is_armed(&call->deadline))
		xn_map_put(&map, "left_ms",
			   xn_int((call->deadline.due_us - now_us(pool)) / 1000));
	return map;
}

static struct xn_value *describe_child(const struct child *child)
{
	struct xn_value *map = child->call ? describe_call(child->call) : xn_map_new();

	xn_map_put(&map, "pid", xn_int(xn_peer_pid(child->peer)));
	xn_map_put(&map, "served", xn_int((int64_t)child->served));
	xn_map_put(&map, "killed", xn_bool(child->killed));
	if (child->domain)
		xn_map_put_string(&map, "domain", child->domain->name);
	return map;
}

static void describe_waiting(const struct xn_libxl_pool *pool, struct xn_value **set)
{
	struct xn_hnode *node = xn_hmap_first(&pool->domains);

	for (; node; node = xn_hmap_next(&pool->domains, node)) {
		struct domain *domain = xn_container_of(node, struct domain, node);

		xn_list_each(link, &domain->calls)
		{
			if (xn_set_len(*set) == DESCRIBED_WAITING)
				return;
			xn_set_append(set, describe_call(xn_list_entry(link, struct call, link)));
		}
	}
}

struct xn_value *xn_libxl_pool_describe(const struct xn_libxl_pool *pool)
{
	struct xn_value *map = xn_map_new(), *children = xn_set_new(), *waiting = xn_set_new();

	xn_list_each(link, &pool->children)
		xn_set_append(&children, describe_child(xn_list_entry(link, struct child, link)));
	describe_waiting(pool, &waiting);
	xn_map_put(&map, "children", children);
	xn_map_put(&map, "waiting", waiting);
	xn_map_put(&map, "waiting_count", xn_int(pool->n_waiting));
	xn_map_put(&map, "width", xn_int(pool->spec.width));
	return map;
}

void xn_libxl_pool_count(const struct xn_libxl_pool *pool, struct xn_libxl_pool_counts *out)
{
	*out = (struct xn_libxl_pool_counts){
		.children = pool->n_children,
		.waiting = pool->n_waiting,
		.started = pool->started,
		.killed = pool->killed,
		.died = pool->died,
	};
	for (int i = 0; i < KINDS; i++)
		out->busy += pool->n_running[i];
}

/* ---- the pool ---- */

struct xn_libxl_pool *xn_libxl_pool_new(const struct xn_libxl_pool_spec *spec)
{
	struct xn_libxl_pool *pool = xn_calloc(1, sizeof(*pool));

	pool->spec = *spec;
	if (!pool->spec.width)
		pool->spec.width = 1;
	for (int kind = 0; kind < KINDS; kind++)
		xn_list_init(&pool->ready[kind]);
	xn_list_init(&pool->children);
	xn_list_init(&pool->ended);
	return pool;
}

static void drop_domain(struct domain *domain)
{
	while (!xn_list_empty(&domain->calls))
		free_call(first_call(domain));
	free(domain);
}

void xn_libxl_pool_free(struct xn_libxl_pool *pool)
{
	struct xn_hnode *node, *next;

	if (!pool)
		return;
	while (!xn_list_empty(&pool->children)) {
		struct child *child = xn_list_entry(pool->children.next, struct child, link);

		xn_peer_abandon(child->peer);
		if (child->call)
			free_call(child->call);
		xn_list_remove(&child->link);
		free(child);
	}
	for (node = xn_hmap_first(&pool->domains); node; node = next) {
		next = xn_hmap_next(&pool->domains, node);
		drop_domain(xn_container_of(node, struct domain, node));
	}
	while (!xn_list_empty(&pool->ended))
		free_call(xn_list_entry(pool->ended.next, struct call, link));
	xn_job_cancel(&pool->answer);
	xn_hmap_clear(&pool->domains);
	free(pool);
}
