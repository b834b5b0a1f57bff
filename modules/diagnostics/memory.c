/*
 * Diagnostics.gc_compact and gc_stats. There is no garbage collector here; what they stand for is the
 * heap of the C library: giving back what is free, and how much there is of what. Both walk all of it,
 * so a worker does.
 */
#include <malloc.h>
#include <stdlib.h>

#include "core/call.h"
#include "core/module.h"
#include "modules/diagnostics/diagnostics.h"

struct asking {
	struct xn_work work;
	struct xn_call *call;
	struct xn_value *(*answer)(const struct asking *asking); /* NULL: void */
#if defined(__GLIBC__)
	struct mallinfo2 info;
#endif
};

static void on_done(struct xn_work *work, int rc)
{
	struct asking *asking = xn_container_of(work, struct asking, work);
	struct xn_error err = {0};

	if (rc < 0) {
		xn_error_from_errno(&err, rc, "looking at the heap");
		xn_call_fail(asking->call, &err);
	} else if (asking->answer) {
		xn_call_reply(asking->call, asking->answer(asking));
	} else {
		xn_call_reply_void(asking->call);
	}
	free(asking);
}

static void ask(struct xn_call *call, int (*run)(struct xn_work *work),
		struct xn_value *(*answer)(const struct asking *asking))
{
	struct asking *asking = xn_calloc(1, sizeof(*asking));

	asking->work.run = run;
	asking->work.done = on_done;
	asking->call = call;
	asking->answer = answer;
	xn_pool_submit(call->core->workers, &asking->work);
}

static int compact(struct xn_work *work)
{
#if defined(__GLIBC__)
	malloc_trim(0);
#endif
	return 0;
}

void xn_diagnostics_gc_compact(struct xn_call *call)
{
	ask(call, compact, NULL);
}

static int look(struct xn_work *work)
{
#if defined(__GLIBC__)
	xn_container_of(work, struct asking, work)->info = mallinfo2();
#endif
	return 0;
}

static void put_number(struct xn_value **map, const char *key, size_t n)
{
	xn_map_put(map, key, xn_stringf("%zu", n));
}

static struct xn_value *describe(const struct asking *asking)
{
	struct xn_value *map = xn_map_new();

#if defined(__GLIBC__)
	put_number(&map, "heap_bytes", asking->info.arena + asking->info.hblkhd);
	put_number(&map, "in_use_bytes", asking->info.uordblks + asking->info.hblkhd);
	put_number(&map, "free_bytes", asking->info.fordblks);
	put_number(&map, "free_chunks", asking->info.ordblks);
	put_number(&map, "mapped_blocks", asking->info.hblks);
	put_number(&map, "mapped_bytes", asking->info.hblkhd);
	put_number(&map, "could_be_given_back_bytes", asking->info.keepcost);
#else
	put_number(&map, "heap_bytes", 0);
#endif
	return map;
}

void xn_diagnostics_gc_stats(struct xn_call *call)
{
	ask(call, look, describe);
}
