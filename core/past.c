/* See past.h. For modules/history/print.c and modules/xenstore/history/print.c. */
#include "core/past.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "core/json.h"

int64_t xn_past_now_us(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void xn_past_print_value(const struct xn_value *v)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (!v || v->kind == XN_NIL)
		xn_buf_add_char(&text, '-');
	else
		xn_json_write(v, &text);
	fputs(xn_buf_cstr(&text), stdout);
}

void xn_past_tell_limits(const struct xn_value *answer)
{
	const struct xn_value *oldest = xn_map_get(answer, "oldest");
	const char *time = oldest ? xn_map_get_string(oldest, "time") : NULL;

	fflush(stdout);
	if (oldest && !xn_map_get_bool(answer, "complete", true))
		fprintf(stderr,
			"xenolithd: history is not complete: it begins at %s, generation %" PRId64
			", with %zu gaps\n",
			time && *time ? time : "-", xn_map_get_int(oldest, "generation", 0),
			xn_set_len(xn_map_get(answer, "gaps")));
}
