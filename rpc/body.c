/*
 * From a body to a call for dispatch: which protocol it is, and where it is parsed. Short ones at
 * once; what is longer on a thread of its own, since parsing megabytes would hold up everybody
 * else. Of these only so much is taken at a time: nobody has logged in yet.
 */
#include <stdlib.h>

#include "core/worker.h"
#include "rpc/rpc_internal.h"

enum {
	SHORT = 32 << 10,
	MAX_READING = 64 << 20, /* bytes, of all callers */
};

typedef int parse_fn(const char *body, size_t len, const struct xn_request_bounds *bounds,
		     struct xn_request *request, struct xn_buf *why);

struct reading {
	struct xn_work work;
	struct xn_rpc_call *rc;
	parse_fn *parse;
	struct xn_request_bounds bounds;
	size_t len;
	struct xn_request request;
	struct xn_buf why;
	char body[];
};

/* JSON or XML by the first byte that is no white space. */
static parse_fn *parser_for(const char *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", body[i]))
			return body[i] == '{' || body[i] == '[' ? xn_jsonrpc_parse
								: xn_xmlrpc_parse;
	return xn_xmlrpc_parse;
}

static void parsed(struct xn_rpc_call *rc, int result, struct xn_buf *why)
{
	if (result < 0)
		xn_rpc_malformed(rc, xn_buf_cstr(why));
	else
		xn_rpc_dispatch(rc);
}

static int read_on_thread(struct xn_work *work)
{
	struct reading *r = xn_container_of(work, struct reading, work);

	return r->parse(r->body, r->len, &r->bounds, &r->request, &r->why);
}

static void on_read(struct xn_work *work, int result)
{
	struct reading *r = xn_container_of(work, struct reading, work);

	r->rc->rpc->bytes_read -= r->len;
	r->rc->request = r->request;
	if (result < 0 && !r->why.len) /* never begun */
		xn_buf_add_string(&r->why, "the daemon stops");
	parsed(r->rc, result, &r->why);
	xn_buf_clear(&r->why);
	free(r);
}

static void read_later(struct xn_rpc_call *rc, parse_fn *parse, const char *body, size_t len)
{
	struct xn_rpc *rpc = rc->rpc;
	struct reading *r = xn_malloc(sizeof(*r) + len);

	*r = (struct reading){
		.work = {.run = read_on_thread, .done = on_read},
		.rc = rc,
		.parse = parse,
		.bounds = rpc->bounds,
		.len = len,
	};
	/* So that the answer is in the caller's protocol even when it is never begun. */
	r->request.protocol = parse == xn_xmlrpc_parse ? XN_XML_RPC : XN_JSON_RPC_2;
	memcpy(r->body, body, len);
	rpc->bytes_read += len;
	xn_pool_submit(rpc->readers, &r->work);
}

void xn_rpc_read_body(struct xn_rpc_call *rc, const char *body, size_t len, bool is_json)
{
	struct xn_rpc *rpc = rc->rpc;
	parse_fn *parse = is_json ? xn_jsonrpc_parse : parser_for(body, len);
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	if (len <= SHORT || !rpc->readers) {
		parsed(rc, parse(body, len, &rpc->bounds, &rc->request, &why), &why);
	} else if (rpc->bytes_read + len > MAX_READING) {
		rc->request.protocol = parse == xn_xmlrpc_parse ? XN_XML_RPC : XN_JSON_RPC_2;
		xn_rpc_malformed(rc, "too many long calls at once");
	} else {
		read_later(rc, parse, body, len);
	}
}
