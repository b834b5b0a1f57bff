/*
 * For tests of the HTTP server: a server on a real loop with a few handlers, and plain client
 * sockets on the same thread. Every wait turns the loop and has an end: see turn_until.h.
 */
#ifndef XN_TEST_HTTP_CLIENT_H
#define XN_TEST_HTTP_CLIENT_H

#include "core/buf.h"
#include "rpc/http_internal.h"

struct fixture {
	struct xn_core core;
	struct xn_http *http;
	struct xn_http_conn *waiting; /* a request that "/later" has not answered */
	unsigned n_later, n_closed;
	struct xn_buf got; /* what the last read returned */
	char *folder;
	int (*connect)(struct fixture *f); /* instead of a pair; NULL: a pair */
	struct xn_list tls_clients; /* tls_client.c */
};

int http_setup(void **state);
int http_teardown(void **state);

int connect_tcp(struct fixture *f);	     /* to the first listener */
int connect_pair(struct fixture *f);	     /* a socketpair, its other end served */
void send_text(int fd, const char *text);    /* all of it */
void send_bytes(struct fixture *f, int fd, const char *data, size_t len); /* turning the loop */
/* Reads until @end has been seen, or the peer closed when it is NULL. */
const char *read_until(struct fixture *f, int fd, const char *end);
const char *read_to_eof(struct fixture *f, int fd);
bool is_closed_by_peer(struct fixture *f, int fd); /* waits for it */
/* Turns until @done says so. */
void turn_until(struct fixture *f, bool (*done)(struct fixture *f));
/* Turns the loop until nothing has happened for a moment. */
void settle_loop(struct fixture *f);

#endif
