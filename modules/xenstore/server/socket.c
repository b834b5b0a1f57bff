/*
 * The Unix socket of the server: the listener, and the link of each connection. Its peers speak for
 * the control domain, so only root and the daemon's own user may.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/unix_listener.h"
#include "modules/xenstore/server/server_internal.h"

struct xn_xs_listener {
	struct xn_xs_server *server;
	struct xn_unix_listener socket;
	struct xn_io *io;
	int reserve_fd; /* with it one more is accepted when descriptors are used up: to refuse it */
};

struct socket_link {
	struct xn_xs_link link;
	struct xn_xs_server *server;
	struct xn_io *io;
	int fd;
};

static ssize_t socket_read(struct xn_xs_link *link, size_t offset, void *room, size_t len)
{
	const struct socket_link *s = xn_container_of(link, struct socket_link, link);
	ssize_t n = recv(s->fd, room, len, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n ? n : -ECONNRESET;
}

static void socket_taken(struct xn_xs_link *link, size_t len)
{
	link->in_at += (uint32_t)len;
}

static ssize_t socket_write(struct xn_xs_link *link, const void *bytes, size_t len)
{
	const struct socket_link *s = xn_container_of(link, struct socket_link, link);
	ssize_t n = send(s->fd, bytes, len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	link->out_at += (uint32_t)n;
	return n;
}

static void socket_want(struct xn_xs_link *link, bool input, bool output)
{
	struct socket_link *s = xn_container_of(link, struct socket_link, link);

	xn_io_set(s->io, (input ? XN_IO_READ : 0) | (output ? XN_IO_WRITE : 0));
}

static void socket_close(struct xn_xs_link *link)
{
	struct socket_link *s = xn_container_of(link, struct socket_link, link);

	s->server->n_sockets--;
	xn_io_free(s->io);
	close(s->fd);
	free(s);
}

static const struct xn_xs_link_ops socket_ops = {
	.name = "socket",
	.read = socket_read,
	.taken = socket_taken,
	.write = socket_write,
	.want = socket_want,
	.close = socket_close,
};

static void on_socket(int fd, int events, void *arg)
{
	struct socket_link *s = arg;

	s->link.on_ready(&s->link, s->link.arg);
}

void xn_xs_server_add_socket(struct xn_xs_server *server, struct xn_xs_domain *domain, int fd)
{
	struct socket_link *s = xn_calloc(1, sizeof(*s));

	s->link.ops = &socket_ops;
	s->server = server;
	s->fd = fd;
	server->n_sockets++;
	s->io = xn_io_new(server->core->loop, fd, XN_IO_CLIENT, on_socket, s);
	xn_xs_server_add_link(server, domain, &s->link, NULL);
}

static bool may_speak(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || len != sizeof(peer))
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

/* Nobody is left waiting for want of descriptors, which would wake the loop for ever. */
static int refuse_one(struct xn_xs_listener *listener)
{
	int fd;

	close(listener->reserve_fd);
	fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		listener->server->n_refused++;
	}
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd;
}

static void on_connection(int listening_fd, int events, void *arg)
{
	enum { AT_ONCE = 64 };
	struct xn_xs_listener *listener = arg;
	struct xn_xs_server *server = listener->server;

	for (int i = 0; i < AT_ONCE; i++) {
		int fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
			if (refuse_one(listener) < 0)
				return;
		} else if (fd < 0 && errno != EINTR && errno != ECONNABORTED) {
			return;
		} else if (fd >= 0 && server->n_sockets < server->most_sockets && may_speak(fd)) {
			xn_xs_server_add_socket(server, xn_xs_domain_find(server->store, 0), fd);
		} else if (fd >= 0) {
			server->n_refused++;
			close(fd);
		}
	}
}

int xn_xs_server_listen(struct xn_xs_server *server, const char *path, struct xn_error *err)
{
	struct xn_xs_listener *listener = xn_calloc(1, sizeof(*listener));

	listener->server = server;
	if (xn_unix_listen(&listener->socket, path, err) < 0) {
		free(listener);
		return -1;
	}
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	listener->io = xn_io_new(server->core->loop, listener->socket.fd,
				 XN_IO_READ | XN_IO_CLIENT, on_connection, listener);
	server->listener = listener;
	return 0;
}

void xn_xs_listener_free(struct xn_xs_listener *listener)
{
	if (!listener)
		return;
	xn_io_free(listener->io);
	xn_unix_listener_close(&listener->socket);
	if (listener->reserve_fd >= 0)
		close(listener->reserve_fd);
	free(listener);
}
