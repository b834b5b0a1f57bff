/*
 * A TLS client for tests of the HTTP server, on the server's own loop: the test has one end of a socket
 * pair, and what it writes there goes to the server as records. A test written for plain sockets so
 * runs over TLS unchanged.
 */
#ifndef XN_TEST_TLS_CLIENT_H
#define XN_TEST_TLS_CLIENT_H

#include "tests/unit/http_client.h"

struct tls_client;

/* One of two certificates, the same in all tests of the program; the caller's. */
struct xn_tls_identity *tls_test_identity(int number);
void tls_test_identities_free(void);

/* Listens with TLS and makes connect_pair() of this fixture a client of that. */
void tls_serve(struct fixture *f);
void tls_clients_free(struct fixture *f);

struct tls_client *tls_connect(struct fixture *f, int *fd_out);
bool tls_is_open(const struct tls_client *client); /* the handshake is over */
bool tls_is_shown(const struct tls_client *client, int number);
int tls_raw(const struct tls_client *client); /* the socket itself */

#endif
