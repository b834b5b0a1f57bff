/* What the journal is told of connections that outlive a crash, so that their peers do not notice it. */
#include "modules/xenstore/server/server_internal.h"

void xn_xs_kept_begin(struct xn_xs_connection *connection)
{
}

void xn_xs_kept_end(struct xn_xs_connection *connection)
{
}

void xn_xs_kept_input(struct xn_xs_connection *connection, uint32_t at, const void *partial,
		      size_t len)
{
}

void xn_xs_kept_output(struct xn_xs_connection *connection, const void *bytes, size_t len,
		       unsigned events)
{
	connection->out_at += (uint32_t)len;
}

void xn_xs_kept_sent(struct xn_xs_connection *connection)
{
}

void xn_xs_kept_watch(struct xn_xs_connection *connection, const char *path, const char *token,
		      int depth)
{
}

void xn_xs_kept_unwatch(struct xn_xs_connection *connection, const char *path, const char *token)
{
}

void xn_xs_kept_transaction(struct xn_xs_connection *connection, uint32_t id)
{
}
