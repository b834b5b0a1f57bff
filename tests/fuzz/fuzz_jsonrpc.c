/* JSON-RPC bodies: no input breaks the parser, and what was read and printed is read as the same. */
#include <assert.h>

#include "core/json.h"
#include "rpc/request.h"

static const struct xn_request_bounds bounds = {.values = 1000, .depth = XN_REQUEST_MAX_DEPTH};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_request request;

	if (xn_jsonrpc_parse((const char *)data, size, &bounds, &request, &why) == 0) {
		struct xn_value *again;

		xn_json_write(request.params, &text);
		/* A void value prints as an empty string, so compare what is printed the second time. */
		assert(xn_json_parse(text.data, text.len, &again, NULL) == 0);
		why.len = 0;
		xn_json_write(again, &why);
		assert(why.len == text.len && memcmp(why.data, text.data, text.len) == 0);
		xn_value_unref(again);
	} else {
		assert(why.len > 0);
		xn_request_print_malformed(&request, xn_buf_cstr(&why), &text);
	}
	xn_request_clear(&request);
	return 0;
}
