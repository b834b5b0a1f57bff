/*
 * From a body to a call for dispatch: which protocol it is, and where it is parsed. Short ones at
 * once; what is longer on a thread of its own, since parsing megabytes would hold up everybody
 * else. Of these only so much is taken at a time (long-bodies): nobody has logged in yet. Addresses
 * take turns there, and where there is no room, what the one with the most sent last makes some.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/worker.h"
#include "rpc/rpc_internal.h"

enum {
	SHORT = 32 << 10,
	ENDS = 4096, /* of a body, where a member jsonrpc is looked for */
};

typedef int parse_fn(const char *body, size_t len, const struct xn_request_bounds *bounds,
		     struct xn_request *request, struct xn_buf *why);

/* An address with long bodies here. */
struct sender {
	struct xn_hnode node; /* rpc->senders, by address */
	struct xn_list readings;
	size_t bytes;
};

struct reading {
	struct xn_work work;
	struct xn_list link; /* sender->readings, the newest last */
	struct sender *sender;
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

/* ---- who has how much ---- */

static struct sender *find_sender(struct xn_rpc *rpc, uint64_t address)
{
	struct xn_hnode *node = xn_hmap_first_same(&rpc->senders, address);

	return node ? xn_container_of(node, struct sender, node) : NULL;
}

static void enter(struct reading *r)
{
	struct xn_rpc *rpc = r->rc->rpc;

	r->sender = find_sender(rpc, r->rc->address);
	if (!r->sender) {
		r->sender = xn_calloc(1, sizeof(*r->sender));
		xn_list_init(&r->sender->readings);
		xn_hmap_insert(&rpc->senders, &r->sender->node, r->rc->address);
	}
	r->sender->bytes += r->len;
	rpc->long_bytes += r->len;
	xn_list_push(&r->sender->readings, &r->link);
}

static void leave(struct reading *r)
{
	struct xn_rpc *rpc = r->rc->rpc;

	rpc->long_bytes -= r->len;
	r->sender->bytes -= r->len;
	xn_list_remove(&r->link);
	if (!xn_list_empty(&r->sender->readings))
		return;
	xn_hmap_remove(&rpc->senders, &r->sender->node);
	free(r->sender);
}

/* ---- no room ---- */

/* Before it is parsed. A client of JSON-RPC 1.0 does not know the other's errors. */
static enum xn_protocol guess_protocol(parse_fn *parse, const char *body, size_t len)
{
	static const char member[] = "\"jsonrpc\"";
	size_t end = len < ENDS ? len : ENDS;

	if (parse == xn_xmlrpc_parse)
		return XN_XML_RPC;
	return memmem(body, end, member, sizeof(member) - 1) ||
			       memmem(body + len - end, end, member, sizeof(member) - 1)
		       ? XN_JSON_RPC_2
		       : XN_JSON_RPC_1;
}

static void refuse(struct xn_rpc_call *rc, parse_fn *parse, const char *body, size_t len)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	rc->request.protocol = guess_protocol(parse, body, len);
	xn_rpc_over_quota(rc->rpc, XN_QUOTA_LONG_BODIES, &err);
	xn_rpc_count(rc->rpc, NULL, 0, &err);
	xn_rpc_answer_error(rc, &err);
}

/* The address with the most, if that is more than @bytes; NULL: none has. */
static struct sender *largest(const struct xn_rpc *rpc, size_t bytes)
{
	struct sender *most = NULL;

	for (struct xn_hnode *node = xn_hmap_first(&rpc->senders); node;
	     node = xn_hmap_next(&rpc->senders, node)) {
		struct sender *sender = xn_container_of(node, struct sender, node);

		if (sender->bytes > bytes && (!most || sender->bytes > most->bytes))
			most = sender;
	}
	return most;
}

/* What came last from whoever has the most is refused. False: nobody has more than @bytes that is not
 * being parsed yet. */
static bool refuse_another(struct xn_rpc *rpc, size_t bytes)
{
	struct sender *sender = largest(rpc, bytes);
	struct reading *r;

	if (!sender)
		return false;
	r = xn_list_entry(sender->readings.prev, struct reading, link);
	if (!xn_pool_withdraw(rpc->readers, &r->work))
		return false;
	leave(r);
	refuse(r->rc, r->parse, r->body, r->len);
	free(r);
	return true;
}

/* Who has little here never waits for who has much to have less. */
static bool make_room(struct xn_rpc_call *rc, size_t len)
{
	struct xn_rpc *rpc = rc->rpc;
	const struct sender *sender = find_sender(rpc, rc->address);
	size_t bytes = (sender ? sender->bytes : 0) + len;

	while (rpc->long_bytes && rpc->long_bytes + len > rpc->quotas.long_bodies)
		if (!refuse_another(rpc, bytes))
			return false;
	return true;
}

/* ---- the readers ---- */

static int read_on_thread(struct xn_work *work)
{
	struct reading *r = xn_container_of(work, struct reading, work);

	return r->parse(r->body, r->len, &r->bounds, &r->request, &r->why);
}

/* The daemon stops: on a lost connection a client comes back at once. */
static void give_up(struct xn_rpc_call *rc)
{
	if (rc->conn) {
		xn_http_on_close(rc->conn, NULL, NULL);
		xn_http_cut(rc->conn);
	}
	xn_rpc_call_drop(rc);
}

static void on_read(struct xn_work *work, int result)
{
	struct reading *r = xn_container_of(work, struct reading, work);

	leave(r);
	r->rc->request = r->request;
	if (result == -ECANCELED)
		give_up(r->rc);
	else
		parsed(r->rc, result, &r->why);
	xn_buf_clear(&r->why);
	free(r);
}

static void read_later(struct xn_rpc_call *rc, parse_fn *parse, const char *body, size_t len)
{
	struct xn_rpc *rpc = rc->rpc;
	struct xn_loop *loop = rpc->core->loop;
	uint64_t before = xn_loop_caller(loop);
	struct reading *r = xn_malloc(sizeof(*r) + len);

	*r = (struct reading){
		.work = {.run = read_on_thread, .done = on_read},
		.rc = rc,
		.parse = parse,
		.bounds = rpc->bounds,
		.len = len,
	};
	memcpy(r->body, body, len);
	enter(r);
	xn_loop_set_caller(loop, rc->address); /* whose turn it is there */
	xn_pool_submit(rpc->readers, &r->work);
	xn_loop_set_caller(loop, before);
}

void xn_rpc_read_body(struct xn_rpc_call *rc, const char *body, size_t len, bool is_json)
{
	struct xn_rpc *rpc = rc->rpc;
	parse_fn *parse = is_json ? xn_jsonrpc_parse : parser_for(body, len);
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_rpc_find_address(rc);
	if (len <= SHORT || !rpc->readers)
		parsed(rc, parse(body, len, &rpc->bounds, &rc->request, &why), &why);
	else if (make_room(rc, len))
		read_later(rc, parse, body, len);
	else
		refuse(rc, parse, body, len);
}
