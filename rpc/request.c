/* Reply envelopes of the two RPC protocols; see request.h. */
#include "rpc/request.h"

#include "core/json.h"
#include "core/xml.h"

void xn_request_clear(struct xn_request *request)
{
	xn_value_unref(request->method);
	xn_value_unref(request->params);
	xn_value_unref(request->id);
	*request = (struct xn_request){0};
}

const char *xn_protocol_content_type(enum xn_protocol protocol)
{
	/* To the letter: clients compare the whole header. */
	return protocol == XN_XML_RPC ? "text/xml" : "application/json";
}

static void print_id(const struct xn_request *request, struct xn_buf *out)
{
	xn_buf_add_string(out, ",\"id\":");
	if (request->id)
		xn_json_write(request->id, out);
	else
		xn_buf_add_string(out, "null");
	xn_buf_add_char(out, '}');
}

static void print_strings(const struct xn_error *err, struct xn_buf *out)
{
	for (unsigned i = 0; i < err->n_params; i++) {
		if (i)
			xn_buf_add_char(out, ',');
		xn_json_write_string(err->params[i], strlen(err->params[i]), out);
	}
}

#define XML_HEAD "<?xml version=\"1.0\"?><methodResponse>"
#define STATUS_HEAD \
	XML_HEAD "<params><param><value><struct><member><name>Status</name><value>"
#define STATUS_TAIL "</member></struct></value></param></params></methodResponse>"

#define RESULT_HEAD STATUS_HEAD "Success</value></member><member><name>Value</name>"

enum xn_format xn_protocol_format(enum xn_protocol protocol)
{
	return protocol == XN_XML_RPC ? XN_FORMAT_XML : XN_FORMAT_JSON;
}

void xn_request_begin_result(const struct xn_request *request, bool bare, struct xn_buf *out)
{
	static const char *const heads[] = {
		[XN_JSON_RPC_1] = "{\"result\":",
		[XN_JSON_RPC_2] = "{\"jsonrpc\":\"2.0\",\"result\":",
		[XN_XML_RPC] = RESULT_HEAD,
	};

	bare = bare && request->protocol == XN_XML_RPC;
	xn_buf_add_string(out, bare ? XML_HEAD "<params><param>" : heads[request->protocol]);
}

void xn_request_end_result(const struct xn_request *request, bool bare, struct xn_buf *out)
{
	if (request->protocol == XN_XML_RPC) {
		xn_buf_add_string(out, bare ? "</param></params></methodResponse>" : STATUS_TAIL);
		return;
	}
	if (request->protocol == XN_JSON_RPC_1)
		xn_buf_add_string(out, ",\"error\":null");
	print_id(request, out);
}

void xn_request_print_result(const struct xn_request *request, const struct xn_value *result,
			     bool bare, struct xn_buf *out)
{
	xn_request_begin_result(request, bare, out);
	if (request->protocol == XN_XML_RPC)
		xn_xml_write(result, out);
	else
		xn_json_write(result, out);
	xn_request_end_result(request, bare, out);
}

static void print_xml_error(const struct xn_error *err, struct xn_buf *out)
{
	xn_buf_add_string(out, STATUS_HEAD "Failure</value></member><member>"
					   "<name>ErrorDescription</name><value><array><data>"
					   "<value>");
	xn_buf_add_string(out, err->code);
	xn_buf_add_string(out, "</value>");
	for (unsigned i = 0; i < err->n_params; i++) {
		xn_buf_add_string(out, "<value>");
		xn_xml_write_text(err->params[i], strlen(err->params[i]), out);
		xn_buf_add_string(out, "</value>");
	}
	xn_buf_add_string(out, "</data></array></value>" STATUS_TAIL);
}

void xn_request_print_error(const struct xn_request *request, const struct xn_error *err,
			    struct xn_buf *out)
{
	switch (request->protocol) {
	case XN_XML_RPC:
		print_xml_error(err, out);
		return;
	case XN_JSON_RPC_2:
		xn_buf_add_string(out, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"");
		xn_buf_add_string(out, err->code);
		xn_buf_add_string(out, "\",\"data\":[");
		print_strings(err, out);
		xn_buf_add_string(out, "]}");
		break;
	case XN_JSON_RPC_1:
		xn_buf_add_string(out, "{\"result\":null,\"error\":[\"");
		xn_buf_add_string(out, err->code);
		xn_buf_add_string(out, err->n_params ? "\"," : "\"");
		print_strings(err, out);
		xn_buf_add_char(out, ']');
		break;
	}
	print_id(request, out);
}

void xn_request_print_malformed(const struct xn_request *request, const char *why,
				struct xn_buf *out)
{
	enum { PARSE_ERROR = -32700, INVALID_REQUEST = -32600 }; /* JSON-RPC 2.0 section 5.1; the
								    first also as the XML fault code */

	switch (request->protocol) {
	case XN_XML_RPC:
		xn_buf_printf(out,
			      XML_HEAD "<fault><value><struct><member><name>faultCode</name><value>"
				       "<int>%d</int></value></member><member>"
				       "<name>faultString</name><value>",
			      PARSE_ERROR);
		xn_xml_write_text(why, strlen(why), out);
		xn_buf_add_string(out, "</value></member></struct></value></fault>"
				       "</methodResponse>");
		return;
	case XN_JSON_RPC_2:
		xn_buf_printf(out, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":%d,\"message\":",
			      request->is_json ? INVALID_REQUEST : PARSE_ERROR);
		xn_json_write_string(why, strlen(why), out);
		xn_buf_add_string(out, ",\"data\":[]}");
		break;
	case XN_JSON_RPC_1:
		xn_buf_add_string(out, "{\"result\":null,\"error\":[\"" XN_ERR_INVALID_VALUE
				       "\",\"request\",");
		xn_json_write_string(why, strlen(why), out);
		xn_buf_add_char(out, ']');
		break;
	}
	print_id(request, out);
}
