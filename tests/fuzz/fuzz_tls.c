/*
 * Bytes to the server's side of a TLS connection, with a fixed key and seeded randomness: what it answers
 * is TLS, nothing is read that was never encrypted, and it ends when its peer does.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"
#include "rpc/tls.h"
#include "tests/fuzz/tls_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool woken;

static void on_wake(void *arg)
{
	woken = true;
}

static struct xn_core *core(void)
{
	static struct xn_core core;

	if (core.loop)
		return &core;
	/* Its workers run inline and its randomness is the seed's; sockets are read by calls. */
	core.loop = xn_loop_new_virtual(1);
	core.log = xn_log_new(XN_LOG_ERROR, false, 2);
	return &core;
}

static struct xn_tls *server(void)
{
	static const uint8_t seed[XN_TLS_SEED] = {1};
	struct xn_tls_pem pem = {fuzz_tls_key, fuzz_tls_key, NULL};
	struct xn_error err = {0};
	struct xn_tls_identity *identity = xn_tls_identity_parse(&pem, -1, seed, &err);
	struct xn_tls *tls = xn_tls_new(core());

	assert(identity);
	xn_tls_use(tls, identity);
	return tls;
}

/* Lets the connection read until it wants more. False: it has ended. */
static bool read_all(struct xn_tls_conn *conn)
{
	char got[4096];
	ssize_t n;

	do {
		woken = false;
		n = xn_tls_read(conn, got, sizeof(got));
		while (xn_loop_turn(core()->loop, 1000000))
			;
		if (n > 0 && !xn_tls_is_plain(conn))
			abort(); /* nobody knows the keys that this was encrypted with */
	} while (n > 0 || woken);
	return n < 0 && errno == EAGAIN;
}

/* A record of the handshake, or an alert. */
static void check_answer(int fd)
{
	uint8_t head[1];

	if (recv(fd, head, sizeof(head), MSG_DONTWAIT) == sizeof(head))
		assert(head[0] == 0x16 || head[0] == 0x15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct xn_tls *tls;
	struct xn_tls_conn *conn;
	size_t step, sent = 0;
	int fds[2];
	bool goes_on = true;

	if (!size || size > 8192)
		return 0;
	if (!tls)
		tls = server();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	conn = xn_tls_conn_new(tls, fds[1], 1, on_wake, NULL);
	step = data[0] % 2 ? size : 1 + size / 3;
	while (sent < size && goes_on) {
		size_t n = size - sent < step ? size - sent : step;

		if (send(fds[0], data + sent, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		sent += n;
		goes_on = read_all(conn);
	}
	shutdown(fds[0], SHUT_WR);
	if (goes_on)
		assert(!read_all(conn));
	xn_tls_end(conn);
	check_answer(fds[0]);
	xn_tls_conn_free(conn);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
