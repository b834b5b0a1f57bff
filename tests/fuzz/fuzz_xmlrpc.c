/* XML-RPC bodies: no input breaks the parser, and what was read and printed is read as the same. */
#include <assert.h>

#include "core/xml.h"
#include "rpc/request.h"

static const struct xn_request_bounds bounds = {.values = 1000, .depth = XN_REQUEST_MAX_DEPTH};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_call(const struct xn_value *params, struct xn_buf *out)
{
	xn_buf_add_string(out, "<methodCall><methodName>a.b</methodName><params>");
	for (size_t i = 0; i < xn_set_len(params); i++) {
		xn_buf_add_string(out, "<param>");
		xn_xml_write(xn_set_at(params, i), out);
		xn_buf_add_string(out, "</param>");
	}
	xn_buf_add_string(out, "</params></methodCall>");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf second XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_request request, again;

	if (xn_xmlrpc_parse((const char *)data, size, &bounds, &request, &why) == 0) {
		print_call(request.params, &text);
		assert(xn_xmlrpc_parse(text.data, text.len, &bounds, &again, &why) == 0);
		print_call(again.params, &second);
		assert(second.len == text.len && memcmp(second.data, text.data, text.len) == 0);
		xn_request_clear(&again);
	} else {
		assert(why.len > 0);
		xn_request_print_malformed(&request, xn_buf_cstr(&why), &text);
	}
	xn_request_clear(&request);
	return 0;
}
