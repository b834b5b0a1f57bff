/*
 * A child process that one talks with for as long as it lives: a stream socket as its descriptor 3,
 * descriptors along with the bytes, its standard error in lines. What the bytes mean is the owner's
 * business, and so are deadlines. (child.h is for a helper that runs once.)
 */
#ifndef XN_PEER_H
#define XN_PEER_H

#include "core/buf.h"
#include "core/loop.h"

struct xn_peer;

enum { XN_PEER_LINE_MAX = 2048, XN_PEER_FD = 3 };

/* All from the loop; none of them may abandon the peer (killing it is fine). */
struct xn_peer_ops {
	/* Bytes have come: @in is all that was not taken yet; take with xn_buf_drop(). */
	void (*received)(struct xn_peer *peer, struct xn_buf *in, void *arg);
	/* A line of its standard error, of at most XN_PEER_LINE_MAX bytes (longer ones come in
	 * parts); any bytes but NUL. May be NULL. */
	void (*said)(struct xn_peer *peer, const char *line, void *arg);
	/* The process has ended, everything it sent was received before; then @peer is freed. */
	void (*gone)(struct xn_peer *peer, int exit_status, int signal, void *arg);
};

/*
 * xn_peer_start - run @argv (argv[0]: a path) and talk with it
 * @env: ends with NULL; NULL: PATH and LANG=C only
 * Return: 0; -errno and no call; -ENOTSUP on a virtual loop. No callback comes from inside any
 * function of this file.
 */
int xn_peer_start(struct xn_loop *loop, const char *const *argv, const char *const *env,
		  const struct xn_peer_ops *ops, void *arg, struct xn_peer **peer_out) XN_MUST_CHECK;
/* @fd: -1, or taken, and goes along with the first of these bytes. Never waits: what the socket
 * does not take now is kept, so the owner bounds what it sends. */
void xn_peer_send(struct xn_peer *peer, const void *data, size_t len, int fd);
int xn_peer_pid(const struct xn_peer *peer);
void xn_peer_kill(struct xn_peer *peer); /* its process group; gone() still comes */
/* Kills and forgets at once, gone() does not come. NULL is fine. */
void xn_peer_abandon(struct xn_peer *peer);

#endif
