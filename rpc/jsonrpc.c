/* JSON-RPC 1.0 and 2.0 requests; see request.h. */
#include "core/json.h"
#include "rpc/request.h"

static int refuse(struct xn_buf *why, const char *sentence)
{
	xn_buf_add_string(why, sentence);
	return -1;
}

/* No `jsonrpc` member means 1.0; "2.0" means 2.0; anything else is nothing we know. */
static int read_version(const struct xn_value *call, struct xn_request *request, struct xn_buf *why)
{
	const struct xn_value *version = xn_map_get(call, "jsonrpc");

	if (!version) {
		request->protocol = XN_JSON_RPC_1;
		return 0;
	}
	if (version->kind != XN_STRING || strcmp(xn_value_string(version), "2.0") != 0)
		return refuse(why, "the member jsonrpc must be \"2.0\" or absent");
	return 0;
}

static int read_params(const struct xn_value *call, struct xn_request *request, struct xn_buf *why)
{
	const struct xn_value *params = xn_map_get(call, "params");

	if (!params || params->kind == XN_NIL) {
		request->params = xn_set_new();
	} else if (params->kind == XN_SET) {
		if (xn_set_len(params) > XN_PARAMS_MAX)
			return refuse(why, "too many parameters");
		request->params = xn_value_ref(params);
	} else if (params->kind == XN_MAP && request->protocol == XN_JSON_RPC_2) {
		request->params = xn_set_new(); /* an object counts as one struct parameter */
		xn_set_append(&request->params, xn_value_ref(params));
	} else {
		return refuse(why, "the member params must be an array");
	}
	return 0;
}

static int read_call(const struct xn_value *call, struct xn_request *request, struct xn_buf *why)
{
	const struct xn_value *id, *method;

	if (call->kind == XN_SET) /* no client of this API sends them, and no other server knows them */
		return refuse(why, "batches are not served");
	if (call->kind != XN_MAP)
		return refuse(why, "a call must be an object");
	if (read_version(call, request, why) < 0)
		return -1;
	id = xn_map_get(call, "id");
	if (!id || (id->kind != XN_INT && id->kind != XN_FLOAT && id->kind != XN_STRING))
		return refuse(why, "the member id must be a number or a string");
	request->id = xn_value_ref(id);
	method = xn_map_get(call, "method");
	if (!method || method->kind != XN_STRING)
		return refuse(why, "the member method must be a string");
	if (xn_value_string_len(method) > XN_METHOD_NAME_MAX)
		return refuse(why, "the method's name is too long");
	request->method = xn_value_ref(method);
	return read_params(call, request, why);
}

int xn_jsonrpc_parse(const char *body, size_t len, const struct xn_request_bounds *bounds,
		     struct xn_request *request, struct xn_buf *why)
{
	enum { ENVELOPE = 2 }; /* the call's object, the list of its parameters */
	struct xn_value *call;
	const char *excess;
	int rc;

	*request = (struct xn_request){.protocol = XN_JSON_RPC_2};
	excess = xn_json_exceeds(body, len, bounds->values, bounds->depth + ENVELOPE);
	if (excess)
		return refuse(why, excess);
	if (xn_json_parse(body, len, &call, why) < 0)
		return -1;
	request->is_json = true;
	rc = read_call(call, request, why);
	xn_value_unref(call);
	return rc;
}
