/* API calls by code in rpc/ itself (the command line): dispatched and answered as those of clients on
 * sockets, but with values in place of bytes. */
#include <stdio.h>

#include "rpc/rpc_internal.h"

struct xn_rpc_call *xn_rpc_invoke(struct xn_rpc *rpc, const char *method, struct xn_value *params,
				  const struct xn_caller *from, const char *user_agent,
				  xn_rpc_told *told, void *arg)
{
	struct xn_rpc_call *rc = xn_rpc_call_new(rpc);

	rc->invoked = true;
	rc->told = told;
	rc->reply_arg = arg;
	rc->call.caller = *from;
	snprintf(rc->call.user_agent, sizeof(rc->call.user_agent), "%s", user_agent);
	rc->request.method = xn_string(method);
	rc->request.params = params;
	xn_rpc_dispatch(rc);
	return rc;
}

void xn_rpc_invoke_forget(struct xn_rpc_call *rc)
{
	rc->told = NULL;
	xn_rpc_client_gone(rc);
}
