/*
 * The store behind a client under test, and somebody else who uses it: the embedded one, or a real
 * xenstored of the distribution, started for the test with a shim in place of the hypervisor.
 */
#ifndef XN_XENSTORE_PEER_H
#define XN_XENSTORE_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/buf.h"
#include "modules/xenstore/store/store.h"

struct peer {
	const char *kind; /* "embedded", "xenstored", "oxenstored" */
	struct xn_xs_conn *conn; /* embedded */
	pid_t pid;
	int fd;
	char folder[64], socket[96];
};

/* Whether there is such a daemon on this machine; "embedded": always. */
int peer_exists(const char *kind);
/* Daemons: started, and XENSTORED_PATH set. The embedded one: peer->conn is the caller's to set. */
void peer_start(struct peer *peer, const char *kind);
void peer_connect(struct peer *peer); /* the other user */
void peer_kill(struct peer *peer);    /* SIGKILL, and waits */
void peer_stop(struct peer *peer);

/* One request of the other user, waited for: 0 or -errno. */
int peer_request(struct peer *peer, uint32_t type, const void *body, size_t len);
int peer_write(struct peer *peer, const char *path, const void *value, size_t len);
int peer_put(struct peer *peer, const char *path, const char *value);

#endif
