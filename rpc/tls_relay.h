/*
 * A taken-over connection behind TLS: whoever took it gets one end of a socket pair, and bytes go
 * through between its other end and the peer's records.
 */
#ifndef XN_TLS_RELAY_H
#define XN_TLS_RELAY_H

#include "core/list.h"
#include "rpc/tls.h"

/*
 * xn_tls_relay_begin - take a connection from HTTP
 * @relays: list that it is in until it ends
 * @tls: open, with nothing unsent; taken, also on failure
 * @fd: its socket; taken, also on failure
 * @count: one less when it ends
 *
 * Return: the plain descriptor, non-blocking, the caller's; or -errno.
 */
int xn_tls_relay_begin(struct xn_loop *loop, struct xn_list *relays, struct xn_tls_conn *tls,
		       int fd, unsigned *count) XN_MUST_CHECK;
/* Ends all of them. */
void xn_tls_relays_end(struct xn_list *relays);

#endif
