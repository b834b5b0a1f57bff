/* The words of --history: any text is a question or INVALID_VALUE; times print as they were read. */
#include <assert.h>

#include "modules/history/query.h"
#include "core/moment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_when(const struct xn_moment *when)
{
	struct xn_moment again;
	char text[40];

	if (!when->is_given || !when->is_time || when->is_now)
		return;
	xn_moment_print(when->us, text);
	if (when->us < INT64_C(253402300800) * 1000000) { /* the year 10000 has five digits */
		assert(xn_moment_parse(&again, text) == 0);
		assert(again.us == when->us);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	char *text XN_CLEANUP(xn_free_p) = xn_strndup((const char *)data, size);
	struct history_query query;

	history_query_init(&query);
	if (history_query_parse(&query, text, &err) < 0) {
		assert(err.n_params == 2 && strcmp(err.code, XN_ERR_INVALID_VALUE) == 0);
		return 0;
	}
	assert(query.class_id < XN_CLASS_COUNT);
	check_when(&query.since);
	check_when(&query.until);
	check_when(&query.at);
	check_when(&query.from);
	check_when(&query.to);
	return 0;
}
