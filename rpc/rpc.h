/*
 * The wire: HTTP server, JSON-RPC, XML-RPC, dispatch. A module like the others; reaches API methods
 * through core->methods only.
 */
#ifndef XN_RPC_H
#define XN_RPC_H

#include "core/call.h"
#include "core/module.h"

extern const struct xn_module xn_rpc_module;

struct xn_rpc;

/*
 * xn_rpc_call - one call without a socket: the same parsing, checks and answers as over HTTP
 * For the simulator and for tests. @body: a JSON-RPC or XML-RPC request by its first byte.
 * @reply gets the HTTP body, once, from the loop.
 */
void xn_rpc_call(struct xn_rpc *rpc, const char *body, size_t len, const struct xn_caller *from,
		 void (*reply)(const char *body, size_t len, void *arg), void *arg);

#endif
