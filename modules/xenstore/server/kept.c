/* What the journal is told of connections that outlive a crash, so that their peers do not notice it. */
#include "modules/xenstore/server/server_internal.h"

static struct xn_xs_journal *journal_of(const struct xn_xs_connection *connection)
{
	return connection->server->journal;
}

static uint64_t birth_of(const struct xn_xs_connection *connection)
{
	return connection->domain->birth;
}

void xn_xs_kept_begin(struct xn_xs_connection *connection)
{
	if (connection->is_kept)
		xn_xs_journal_begin(journal_of(connection));
}

void xn_xs_kept_end(struct xn_xs_connection *connection)
{
	if (connection->is_kept)
		xn_xs_journal_end(journal_of(connection));
}

void xn_xs_kept_input(struct xn_xs_connection *connection, uint32_t at, const void *partial,
		      size_t len)
{
	if (connection->is_kept)
		xn_xs_journal_ring_input(journal_of(connection), birth_of(connection), at, partial,
					 len);
}

void xn_xs_kept_output(struct xn_xs_connection *connection, const void *bytes, size_t len,
		       unsigned events)
{
	if (connection->is_kept)
		xn_xs_journal_ring_output(journal_of(connection), birth_of(connection),
					  connection->out_at, bytes, len, events);
	connection->out_at += (uint32_t)len;
}

void xn_xs_kept_sent(struct xn_xs_connection *connection)
{
	if (connection->is_kept)
		xn_xs_journal_ring_sent(journal_of(connection), birth_of(connection),
					connection->link->out_at);
}

void xn_xs_kept_watch(struct xn_xs_connection *connection, const char *path, const char *token,
		      int depth)
{
	if (connection->is_kept)
		xn_xs_journal_ring_watch(journal_of(connection), birth_of(connection), path, token,
					 depth);
}

void xn_xs_kept_unwatch(struct xn_xs_connection *connection, const char *path, const char *token)
{
	if (connection->is_kept)
		xn_xs_journal_ring_unwatch(journal_of(connection), birth_of(connection), path,
					   token);
}

void xn_xs_kept_transaction(struct xn_xs_connection *connection, uint32_t id)
{
	if (connection->is_kept)
		xn_xs_journal_ring_transaction(journal_of(connection), birth_of(connection), id);
}
