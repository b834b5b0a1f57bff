/*
 * TLS for the HTTP server, on mbedtls: version 1.2, forward secret AEAD suites, RSA certificates.
 * Handshakes are computed in a worker, because an elliptic curve and a signature take milliseconds;
 * records are read and written on the loop. See http_conn.c and tls_relay.c for who uses it.
 */
#ifndef XN_TLS_H
#define XN_TLS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "core/module.h"
#include "rpc/tls_identity.h"

struct xn_tls;	    /* the server's side of all connections: tickets, the handshakes' worker */
struct xn_tls_conn; /* one connection */

struct xn_tls *xn_tls_new(struct xn_core *core);
/* Connections are closed before. */
void xn_tls_free(struct xn_tls *tls);
/* What new connections are shown; taken. */
void xn_tls_use(struct xn_tls *tls, struct xn_tls_identity *identity);
/* Borrowed; NULL: none yet. */
struct xn_tls_identity *xn_tls_identity(const struct xn_tls *tls);

struct xn_tls_stats {
	uint64_t handshakes, handshakes_failed;
};
void xn_tls_stats(const struct xn_tls *tls, struct xn_tls_stats *out);

/*
 * xn_tls_conn_new - the server's side of a connection on @fd
 * Takes little memory until the peer has begun a handshake.
 * @wake: called from the loop when a handshake went on or failed, so that xn_tls_events() and
 * xn_tls_has_input() are to be asked again
 * @fd: stays the caller's
 * @peer: a number that stands for the peer's address: handshakes take turns between these
 */
struct xn_tls_conn *xn_tls_conn_new(struct xn_tls *tls, int fd, uint64_t peer,
				    void (*wake)(void *arg), void *arg);
void xn_tls_conn_set_wake(struct xn_tls_conn *conn, void (*wake)(void *arg), void *arg);
void xn_tls_conn_free(struct xn_tls_conn *conn); /* NULL is fine; the descriptor may be closed then */

/*
 * As recv(2), with errno EAGAIN while a handshake goes on. -1 with EPROTO when the peer breaks the
 * protocol; 0 when it said that it has finished, or closed, see xn_tls_was_cut(). The first bytes
 * of a peer that seems to speak plain HTTP are returned as they are; see xn_tls_is_plain().
 */
ssize_t xn_tls_read(struct xn_tls_conn *conn, void *to, size_t len);
/* As writev(2). After EAGAIN the same bytes must be offered first. */
ssize_t xn_tls_write(struct xn_tls_conn *conn, const struct iovec *iov, int n);
/* What waits for the socket; -1 when that is broken. */
int xn_tls_flush(struct xn_tls_conn *conn);
/* Tells the peer that nothing follows. */
void xn_tls_end(struct xn_tls_conn *conn);

bool xn_tls_is_open(const struct xn_tls_conn *conn); /* the handshake is over */
bool xn_tls_is_plain(const struct xn_tls_conn *conn);
bool xn_tls_was_cut(const struct xn_tls_conn *conn); /* end of file without the peer's farewell */
/* Whether a read would give something although the socket is silent. */
bool xn_tls_has_input(const struct xn_tls_conn *conn);
/* What the socket is to be watched for, when the user of the connection wants @events. */
int xn_tls_events(const struct xn_tls_conn *conn, int events);
size_t xn_tls_memory(const struct xn_tls_conn *conn); /* bytes held, about */

#endif
