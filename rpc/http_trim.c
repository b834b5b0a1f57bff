/*
 * After a crowd has left: what it took goes back to the system. The allocator keeps freed memory for
 * itself, and one that kept the top of a siege for ever would be one that strangers can fill.
 */
#include <malloc.h>
#include <stdlib.h>

#include "rpc/http_internal.h"

enum {
	WORTH_IT = 2 << 20, /* bytes */
	DELAY_US = 1000000, /* the rest of the crowd leaves, too */
};

/* In a worker: it takes milliseconds when much was freed. */
static int trim(struct xn_work *work)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
	return 0;
}

static void on_trimmed(struct xn_work *work, int rc)
{
	free(work);
}

static void on_time(struct xn_timer *timer)
{
	struct xn_http *http = xn_container_of(timer, struct xn_http, trim);
	struct xn_work *work = xn_calloc(1, sizeof(*work));

	http->freed = 0;
	work->run = trim;
	work->done = on_trimmed;
	xn_pool_submit(http->core->workers, work);
}

void xn_http_count_freed(struct xn_http *http, size_t bytes)
{
	http->freed += bytes;
	if (http->freed > WORTH_IT && http->core->workers && !xn_timer_is_armed(&http->trim))
		xn_timer_arm(http->core->loop, &http->trim, DELAY_US, on_time);
}
