/* rpc/jsonrpc.c, rpc/xmlrpc.c, rpc/request.c: calls in every spelling, and the exact envelopes. */
#include "cmocka_all.h"

#include "core/json.h"
#include "rpc/request.h"

enum { MAX_VALUES = 100 };
static const struct xn_request_bounds bounds = {.values = MAX_VALUES, .depth = 10};

typedef int parse_fn(const char *body, size_t len, const struct xn_request_bounds *bounds,
		     struct xn_request *request, struct xn_buf *why);

/* Method and parameters, as JSON; "!" and the sentence when the body is refused. */
static void assert_parsed(parse_fn *parse, const char *body, const char *expected)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_request request;

	if (parse(body, strlen(body), &bounds, &request, &out) == 0) {
		assert_int_equal(out.len, 0);
		xn_buf_add_string(&out, xn_value_string(request.method));
		xn_json_write(request.params, &out);
	} else {
		assert_true(out.len > 0);
		out.len = 0;
		xn_buf_add_char(&out, '!');
	}
	assert_string_equal(xn_buf_cstr(&out), expected);
	xn_request_clear(&request);
}

#define XML(params) \
	"<?xml version=\"1.0\"?><methodCall><methodName>a.b</methodName>" params "</methodCall>"
#define ONE(value) XML("<params><param>" value "</param></params>")

static void xml_values_are_read_in_every_spelling(void **state)
{
	static const struct {
		const char *body, *expected;
	} cases[] = {
		{XML(""), "a.b[]"},
		{XML("<params/>"), "a.b[]"},
		{ONE("<value>plain </value>"), "a.b[\"plain \"]"},
		{ONE("<value/>"), "a.b[\"\"]"},
		{ONE("<value><string> &lt;&#233;</string></value>"), "a.b[\" <\xc3\xa9\"]"},
		{ONE("<value>\n <int>-42</int>\n</value>"), "a.b[-42]"},
		{ONE("<value><i4>1</i4></value>"), "a.b[1]"},
		{ONE("<value><int>\n 1 </int></value>"), "a.b[1]"},
		{ONE("<value><boolean> 0\n</boolean></value>"), "a.b[false]"},
		{ONE("<value><i8>9223372036854775807</i8></value>"), "a.b[9223372036854775807]"},
		{ONE("<value><boolean>1</boolean></value>"), "a.b[true]"},
		{ONE("<value><double>0.5</double></value>"), "a.b[0.5]"},
		{ONE("<value><dateTime.iso8601>20260821T09:30:00Z</dateTime.iso8601></value>"),
		 "a.b[\"20260821T09:30:00Z\"]"},
		{ONE("<value><base64>aGVs\nbG8=</base64></value>"), "a.b[\"hello\"]"},
		{ONE("<value><nil/></value>"), "a.b[\"\"]"},
		{ONE("<value><array><data><value>x</value><value><int>2</int></value></data>"
		     "</array></value>"),
		 "a.b[[\"x\",2]]"},
		{ONE("<value><struct><member><name>k</name><value><struct/></value></member>"
		     "</struct></value>"),
		 "a.b[{\"k\":{}}]"},
		{ONE("<value>x&#13;\r\ny</value>"), "a.b[\"x\\r\\ny\"]"},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++)
		assert_parsed(xn_xmlrpc_parse, cases[i].body, cases[i].expected);
}

static void xml_that_is_no_call_is_refused(void **state)
{
	static const char *const bodies[] = {
		"",
		"<methodCall>",
		"<methodCall/>",
		"<methodResponse/>",
		"<!DOCTYPE a [<!ENTITY b \"c\">]>" XML(""),
		ONE("<value><int>x</int></value>"),
		ONE("<value><int></int></value>"),
		ONE("<value><int>1 2</int></value>"),
		ONE("<value><boolean>2</boolean></value>"),
		ONE("<value><int>1</int><int>2</int></value>"),
		ONE("<value><array><value>x</value></array><int>1</int></value>"),
		ONE("<value><struct><member><name>k</name></member></struct></value>"),
		ONE("<value><struct><member><value>1</value></member></struct></value>"),
		ONE("<value><struct><value>1</value></struct></value>"),
		ONE("<value><struct><member><name>k</name><value/></member>"
		    "<member><name>k</name><value/></member></struct></value>"),
		ONE("<value><base64>////</base64></value>"),
		ONE("<value>\x01</value>"),
		ONE("<value>\xff</value>"),
		ONE("text <value><unknown/></value>"),
		XML("") "<more/>",
		/* Names and plain values hold text only. */
		"<methodCall><methodName>a<methodName>b</methodName></methodName></methodCall>",
		"<methodCall><methodName>a<methodName>b</methodName><params/></methodName></methodCall>",
		ONE("<value><struct><member><name>k<name>l</name></name><value/></member></struct></value>"),
		ONE("<value><int><string>x</string>1</int></value>"),
		ONE("<value><string><array><data/></array></string></value>"),
		ONE("<value><string><value>x</value></string></value>"),
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bodies); i++)
		assert_parsed(xn_xmlrpc_parse, bodies[i], "!");
}

static void no_text_that_is_one_stretch_takes_long(void **state)
{
	static const struct {
		const char *before, *again, *after, *expected;
	} cases[] = {
		{"<methodCall ", "a=\"\" ", "/>", "!"},
		{"<!--", "comment ", "-->" XML(""), "!"},
		{"<?", "instruct", "?>" XML(""), "!"},
		{"<!DOCTYPE a [<!ENTITY b \"", "entity", "\">]>" XML(""), "!"},
		{"", "<!-- many short ones -->",
		 "<methodCall><methodName>a.b</methodName></methodCall>", "a.b[]"},
		{"<methodCall>", "\n \t", "<methodName>a.b</methodName></methodCall>", "a.b[]"},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};

		xn_buf_add_string(&body, cases[i].before);
		while (body.len < 100 << 10)
			xn_buf_add_string(&body, cases[i].again);
		xn_buf_add_string(&body, cases[i].after);
		assert_parsed(xn_xmlrpc_parse, xn_buf_cstr(&body), cases[i].expected);
	}
}

static void long_text_is_read_whole(void **state)
{
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_request request;

	xn_buf_add_string(&body, "<methodCall><methodName>a.b</methodName><params><param><value>");
	for (int i = 0; i < 100000; i++)
		xn_buf_add_string(&body, "\xc3\xa9&lt;");
	xn_buf_add_string(&body, "</value></param></params></methodCall>");
	assert_int_equal(xn_xmlrpc_parse(body.data, body.len, &bounds, &request, &why), 0);
	assert_int_equal(xn_value_string_len(xn_set_at(request.params, 0)), 300000);
	xn_request_clear(&request);
}

static void values_are_counted(void **state)
{
	static const struct {
		parse_fn *parse;
		const char *before, *again, *last;
	} cases[] = {
		{xn_jsonrpc_parse, "{\"method\":\"a.b\",\"id\":0,\"params\":[[", "1,", "\"a,b\"]]}"},
		{xn_jsonrpc_parse, "{\"method\":\"a.b\",\"id\":0,\"params\":[", "[],", "0]}"},
		{xn_xmlrpc_parse,
		 "<methodCall><methodName>a.b</methodName><params><param><value><array><data>",
		 "<value/>", "</data></array></value></param></params></methodCall>"},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		for (int n = 10; n <= MAX_VALUES; n += MAX_VALUES - 10) {
			struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
			struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
			struct xn_request request;

			xn_buf_add_string(&body, cases[i].before);
			for (int k = 0; k < n; k++)
				xn_buf_add_string(&body, cases[i].again);
			xn_buf_add_string(&body, cases[i].last);
			assert_int_equal(cases[i].parse(body.data, body.len, &bounds, &request,
								 &why),
					 n == 10 ? 0 : -1);
			assert_string_equal(xn_buf_cstr(&why), n == 10 ? "" : "too many values");
			xn_request_clear(&request);
		}
	}
}

static void nest(struct xn_buf *body, unsigned depth, const char *before, const char *open,
		 const char *close, const char *after)
{
	xn_buf_add_string(body, before);
	for (unsigned i = 0; i < depth; i++)
		xn_buf_add_string(body, open);
	for (unsigned i = 0; i < depth; i++)
		xn_buf_add_string(body, close);
	xn_buf_add_string(body, after);
}

static void nesting_is_bounded(void **state)
{
	static const struct {
		parse_fn *parse;
		const char *before, *open, *close, *after;
	} cases[] = {
		{xn_jsonrpc_parse, "{\"method\":\"a.b\",\"id\":0,\"params\":[", "[", "]", "]}"},
		{xn_xmlrpc_parse, "<methodCall><methodName>a.b</methodName><params>" "<param>", "<value><array><data>",
		 "</data></array></value>", "</param>" "</params></methodCall>"},
		{xn_xmlrpc_parse, "<methodCall><methodName>a.b</methodName><params>" "<param><value>",
		 "<struct><member><name>a</name><value>", "</value></member></struct>",
		 "</value></param>" "</params></methodCall>"},
	};
	static const unsigned depths[] = {9, 10, 11, 10000};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases) * XN_ARRAY_SIZE(depths); i++) {
		unsigned depth = depths[i % XN_ARRAY_SIZE(depths)], at = i / XN_ARRAY_SIZE(depths);
		struct xn_request_bounds wide = {.values = 100000, .depth = bounds.depth};
		struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
		struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};
		struct xn_request request;

		nest(&body, depth, cases[at].before, cases[at].open, cases[at].close, cases[at].after);
		assert_int_equal(cases[at].parse(body.data, body.len, &wide, &request, &why),
				 depth <= bounds.depth ? 0 : -1);
		assert_string_equal(xn_buf_cstr(&why),
				    depth <= bounds.depth ? "" : "nested too deeply");
		xn_request_clear(&request);
	}
}

static void json_calls_of_both_versions_are_read(void **state)
{
	assert_parsed(xn_jsonrpc_parse, "{\"method\":\"a.b\",\"params\":[1,\"x\"],\"id\":0}", "a.b[1,\"x\"]");
	assert_parsed(xn_jsonrpc_parse, " {\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":\"q\"}", "a.b[]");
	assert_parsed(xn_jsonrpc_parse,
		      "{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":1,\"params\":{\"k\":1}}",
		      "a.b[{\"k\":1}]");
	assert_parsed(xn_jsonrpc_parse, "{\"method\":\"a.b\",\"params\":null,\"id\":0}", "a.b[]");
}

static void json_that_is_no_call_is_refused(void **state)
{
	static const char *const bodies[] = {
		"",
		"[]",
		"[{\"method\":\"a.b\",\"id\":0}]",
		"{\"method\":\"a.b\"}",
		"{\"method\":\"a.b\",\"id\":null}",
		"{\"method\":1,\"id\":0}",
		"{\"id\":0}",
		"{\"jsonrpc\":\"3.0\",\"method\":\"a.b\",\"id\":0}",
		"{\"method\":\"a.b\",\"id\":0,\"params\":1}",
		"{\"method\":\"a.b\",\"id\":0,\"params\":{}}",
		"{\"method\":\"a.b\",\"id\":0} x",
		"{\"method\":\"a.b\",\"method\":\"a.c\",\"id\":0}",
		"\xef\xbb\xbf{\"method\":\"a.b\",\"id\":0}",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bodies); i++)
		assert_parsed(xn_jsonrpc_parse, bodies[i], "!");
}

static void assert_envelope(const char *call, const char *success, const char *failure)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_value *result = xn_string("x");
	struct xn_request request;
	parse_fn *parse = *call == '<' ? xn_xmlrpc_parse : xn_jsonrpc_parse;

	assert_int_equal(parse(call, strlen(call), &bounds, &request, &out), 0);
	xn_request_print_result(&request, result, false, &out);
	assert_string_equal(xn_buf_cstr(&out), success);
	out.len = 0;
	xn_error_set(&err, "A_CODE", "p1", "\"2\"");
	xn_request_print_error(&request, &err, &out);
	assert_string_equal(xn_buf_cstr(&out), failure);
	xn_value_unref(result);
	xn_request_clear(&request);
}

static void each_protocol_has_its_envelope(void **state)
{
	assert_envelope("{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":7}",
			"{\"jsonrpc\":\"2.0\",\"result\":\"x\",\"id\":7}",
			"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"A_CODE\","
			"\"data\":[\"p1\",\"\\\"2\\\"\"]},\"id\":7}");
	assert_envelope("{\"method\":\"a.b\",\"id\":\"i\"}",
			"{\"result\":\"x\",\"error\":null,\"id\":\"i\"}",
			"{\"result\":null,\"error\":[\"A_CODE\",\"p1\",\"\\\"2\\\"\"],\"id\":\"i\"}");
	assert_envelope(XML(""),
			"<?xml version=\"1.0\"?><methodResponse><params><param><value><struct>"
			"<member><name>Status</name><value>Success</value></member>"
			"<member><name>Value</name><value>x</value></member>"
			"</struct></value></param></params></methodResponse>",
			"<?xml version=\"1.0\"?><methodResponse><params><param><value><struct>"
			"<member><name>Status</name><value>Failure</value></member>"
			"<member><name>ErrorDescription</name><value><array><data>"
			"<value>A_CODE</value><value>p1</value><value>&quot;2&quot;</value>"
			"</data></array></value></member>"
			"</struct></value></param></params></methodResponse>");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xml_values_are_read_in_every_spelling),
		cmocka_unit_test(xml_that_is_no_call_is_refused),
		cmocka_unit_test(no_text_that_is_one_stretch_takes_long),
		cmocka_unit_test(long_text_is_read_whole),
		cmocka_unit_test(values_are_counted),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(json_calls_of_both_versions_are_read),
		cmocka_unit_test(json_that_is_no_call_is_refused),
		cmocka_unit_test(each_protocol_has_its_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
