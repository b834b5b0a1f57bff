/* The words of --xenstore-history: any text is a question or INVALID_VALUE. */
#include <assert.h>
#include <stdlib.h>

#include "modules/xenstore/history/query.h"
#include "modules/xenstore/store/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	char *text XN_CLEANUP(xn_free_p) = xn_strndup((const char *)data, size);
	struct past_query *q = xn_malloc(sizeof(*q));
	size_t len;

	past_query_init(q);
	if (past_query_parse(q, text, &err) < 0) {
		assert(err.n_params == 2 && strcmp(err.code, XN_ERR_INVALID_VALUE) == 0);
	} else {
		assert(xn_xs_path_is_valid(q->path, &len) && len == q->path_len);
		assert(q->operation <= PAST_DELETE && q->limit <= PAST_LIMIT_MAX);
		assert(q->question != PAST_NODES || !*q->path_after ||
		       strncmp(q->path_after, q->path, q->path_len) == 0);
	}
	free(q);
	return 0;
}
