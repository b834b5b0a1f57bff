/* Readings of the hypervisor's lists; see facts.h. */
#include "modules/domain/libxl/facts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/libxl/calls.h"

enum { READING_MS = 10000, REGULARLY_US = 10 * 1000 * 1000 };

struct waiter {
	struct xn_list link;
	xn_backend_done *done;
	void *arg;
};

static void start_reading(struct xn_libxl_facts *facts);

/* ---- what comes back ---- */

static uint64_t size_of(const struct xn_value *map, const char *key)
{
	int64_t n = xn_map_get_int(map, key, 0);

	return n > 0 ? (uint64_t)n : 0;
}

static void copy_text(char *out, size_t size, const struct xn_value *map, const char *key)
{
	const struct xn_value *v = xn_map_get(map, key);

	snprintf(out, size, "%s", v && v->kind == XN_STRING ? xn_value_string(v) : "");
}

static void read_host(struct xn_host_info *host, const struct xn_value *map)
{
	*host = (struct xn_host_info){
		.memory_total = size_of(map, "memory_total"),
		.memory_free = size_of(map, "memory_free"),
		.cpus = (unsigned)size_of(map, "cpus"),
		.sockets = (unsigned)size_of(map, "sockets"),
		.cores_per_socket = (unsigned)size_of(map, "cores_per_socket"),
		.threads_per_core = (unsigned)size_of(map, "threads_per_core"),
		.nodes = (unsigned)size_of(map, "nodes"),
		.cpu_mhz = (unsigned)(size_of(map, "cpu_khz") / 1000),
		.hvm = xn_map_get_bool(map, "hvm", false),
		.iommu = xn_map_get_bool(map, "iommu", false),
	};
	copy_text(host->xen_version, sizeof(host->xen_version), map, "xen_version");
	copy_text(host->capabilities, sizeof(host->capabilities), map, "capabilities");
}

static void tell_all(struct xn_list *waiters, int rc)
{
	while (!xn_list_empty(waiters)) {
		struct waiter *waiter = xn_list_entry(xn_list_pop(waiters), struct waiter, link);

		waiter->done(rc, waiter->arg);
		free(waiter);
	}
}

static void part_done(struct xn_libxl_facts *facts, int rc)
{
	struct xn_list told;

	if (rc < 0 && !facts->rc)
		facts->rc = rc;
	if (--facts->under_way)
		return;
	xn_list_init(&told);
	while (!xn_list_empty(&facts->asking))
		xn_list_push(&told, xn_list_pop(&facts->asking));
	rc = facts->rc;
	if (facts->again || !xn_list_empty(&facts->waiting))
		start_reading(facts);
	tell_all(&told, rc);
}

static void on_list(const struct xn_libxl_end *end, void *arg)
{
	struct xn_libxl_facts *facts = arg;
	int rc = end->rc;

	if (!rc && (!end->result || end->result->kind != XN_SET))
		rc = -EPROTO;
	if (!rc && xn_domain_table_read(&facts->domains, facts->stamp, end->result))
		facts->again = true;
	if (!rc && facts->listed)
		facts->listed(facts->arg);
	part_done(facts, rc);
}

static void on_host(const struct xn_libxl_end *end, void *arg)
{
	struct xn_libxl_facts *facts = arg;
	int rc = end->rc;

	if (!rc && (!end->result || end->result->kind != XN_MAP))
		rc = -EPROTO;
	if (!rc)
		read_host(&facts->host, end->result);
	part_done(facts, rc);
}

/* ---- asking ---- */

static void ask(struct xn_libxl_facts *facts, const char *call,
		void (*done)(const struct xn_libxl_end *end, void *arg))
{
	const struct xn_libxl_call *row = xn_libxl_call_find(call);
	struct xn_libxl_request request = {
		.call = call,
		.args = xn_map_new(),
		.fd = -1,
		.domain = "",
		.timeout_ms = row ? row->timeout_ms : READING_MS,
		.done = done,
		.arg = facts,
	};
	int rc = xn_libxl_pool_call(facts->pool, &request);

	assert(rc == 0); /* small, and never more than two */
	facts->under_way++;
}

static void start_reading(struct xn_libxl_facts *facts)
{
	facts->again = false;
	facts->rc = 0;
	while (!xn_list_empty(&facts->waiting))
		xn_list_push(&facts->asking, xn_list_pop(&facts->waiting));
	facts->stamp = xn_domain_table_ask(&facts->domains);
	ask(facts, "list", on_list);
	ask(facts, "host_info", on_host);
}

void xn_libxl_facts_refresh(struct xn_libxl_facts *facts, xn_backend_done *done, void *arg)
{
	if (done) {
		struct waiter *waiter = xn_calloc(1, sizeof(*waiter));

		waiter->done = done;
		waiter->arg = arg;
		xn_list_push(&facts->waiting, &waiter->link);
	}
	if (facts->under_way)
		facts->again = true;
	else
		start_reading(facts);
}

static void read_regularly(struct xn_timer *timer)
{
	struct xn_libxl_facts *facts = xn_container_of(timer, struct xn_libxl_facts, regularly);

	if (!facts->under_way)
		start_reading(facts);
	xn_timer_arm(facts->loop, timer, REGULARLY_US, read_regularly);
}

void xn_libxl_facts_keep_fresh(struct xn_libxl_facts *facts)
{
	xn_timer_arm(facts->loop, &facts->regularly, REGULARLY_US, read_regularly);
}

/* ---- the first reading ---- */

static void on_first(int rc, void *arg)
{
	*(int *)arg = rc;
}

/*
 * The daemon's own loop must not turn while its modules start, and the first reading shall be there
 * before anything is answered: so it is waited for on a loop that has nothing else.
 */
int xn_libxl_facts_read_first(struct xn_libxl_facts *facts, const struct xn_libxl_pool_spec *spec,
			      unsigned limit_ms)
{
	struct xn_libxl_pool_spec own = *spec;
	struct xn_libxl_pool *pool = facts->pool;
	int64_t deadline_us;
	int rc = 1;

	own.loop = xn_loop_new();
	facts->pool = xn_libxl_pool_new(&own);
	deadline_us = xn_now_us(own.loop) + limit_ms * INT64_C(1000);
	xn_libxl_facts_refresh(facts, on_first, &rc);
	while (rc > 0 && xn_now_us(own.loop) < deadline_us)
		xn_loop_turn(own.loop, deadline_us - xn_now_us(own.loop));
	xn_libxl_pool_free(facts->pool);
	xn_loop_free(own.loop);
	facts->pool = pool;
	facts->under_way = 0;
	facts->again = false;
	while (!xn_list_empty(&facts->asking))
		free(xn_list_entry(xn_list_pop(&facts->asking), struct waiter, link));
	return rc > 0 ? -ETIMEDOUT : rc;
}

void xn_libxl_facts_init(struct xn_libxl_facts *facts, struct xn_loop *loop,
			 struct xn_libxl_pool *pool)
{
	*facts = (struct xn_libxl_facts){.loop = loop, .pool = pool};
	xn_list_init(&facts->asking);
	xn_list_init(&facts->waiting);
}

void xn_libxl_facts_clear(struct xn_libxl_facts *facts)
{
	struct xn_list *lists[] = {&facts->asking, &facts->waiting};

	for (size_t i = 0; i < XN_ARRAY_SIZE(lists); i++)
		while (!xn_list_empty(lists[i]))
			free(xn_list_entry(xn_list_pop(lists[i]), struct waiter, link));
	xn_timer_cancel(&facts->regularly);
	xn_domain_table_clear(&facts->domains);
	facts->under_way = 0;
}
