/* A child process with a socket; see peer.h. */
#include "core/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/list.h"
#include "core/process.h"

enum { READ_BYTES = 65536, LAST_READS = 128 };

/* A descriptor that waits until the byte at `at` of the output is sent. */
struct passenger {
	struct xn_list link;
	size_t at;
	int fd;
};

struct xn_peer {
	struct xn_loop *loop;
	struct xn_process process;
	int socket, err_fd;
	struct xn_io *exit_io, *socket_io, *err_io;
	struct xn_buf in, out, err;
	struct xn_list passengers; /* in the order of `at` */
	const struct xn_peer_ops *ops;
	void *arg;
};

/* ---- end ---- */

static void close_fd(int *fd, struct xn_io **io)
{
	xn_io_free(*io);
	*io = NULL;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void free_passenger(struct passenger *p)
{
	xn_list_remove(&p->link);
	close(p->fd);
	free(p);
}

static void stop_sending(struct xn_peer *peer)
{
	xn_buf_clear(&peer->out);
	while (!xn_list_empty(&peer->passengers))
		free_passenger(xn_list_entry(peer->passengers.next, struct passenger, link));
}

static void free_peer(struct xn_peer *peer)
{
	stop_sending(peer);
	close_fd(&peer->socket, &peer->socket_io);
	close_fd(&peer->err_fd, &peer->err_io);
	close_fd(&peer->process.pid_fd, &peer->exit_io);
	xn_buf_clear(&peer->in);
	xn_buf_clear(&peer->err);
	free(peer);
}

void xn_peer_kill(struct xn_peer *peer)
{
	xn_process_kill(&peer->process);
}

void xn_peer_abandon(struct xn_peer *peer)
{
	if (!peer)
		return;
	xn_io_free(peer->exit_io);
	peer->exit_io = NULL;
	xn_process_abandon(&peer->process);
	free_peer(peer);
}

int xn_peer_pid(const struct xn_peer *peer)
{
	return peer->process.pid;
}

/* ---- standard error ---- */

static void say(struct xn_peer *peer, size_t len, size_t drop)
{
	char line[XN_PEER_LINE_MAX + 1];

	memcpy(line, peer->err.data, len);
	line[len] = '\0';
	xn_buf_drop(&peer->err, drop);
	if (peer->ops->said && line[0])
		peer->ops->said(peer, line, peer->arg);
}

static void say_lines(struct xn_peer *peer, bool is_end)
{
	while (peer->err.len) {
		size_t most = peer->err.len < XN_PEER_LINE_MAX ? peer->err.len : XN_PEER_LINE_MAX;
		char *end = memchr(peer->err.data, '\n', most);

		if (end)
			say(peer, (size_t)(end - peer->err.data),
			    (size_t)(end - peer->err.data) + 1);
		else if (most == XN_PEER_LINE_MAX || is_end)
			say(peer, most, most);
		else
			return;
	}
}

static void read_err(struct xn_peer *peer, unsigned reads)
{
	while (peer->err_fd >= 0 && reads--) {
		ssize_t n = read(peer->err_fd, xn_buf_reserve(&peer->err, READ_BYTES), READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_fd(&peer->err_fd, &peer->err_io);
			return;
		}
		peer->err.len += (size_t)n;
		say_lines(peer, false);
	}
}

static void on_err(int fd, int events, void *arg)
{
	read_err(arg, 1);
}

/* ---- the socket ---- */

static void read_socket(struct xn_peer *peer, unsigned reads)
{
	while (peer->socket >= 0 && reads--) {
		ssize_t n = recv(peer->socket, xn_buf_reserve(&peer->in, READ_BYTES), READ_BYTES, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) { /* it closed its end: that it ends will be seen */
			stop_sending(peer);
			close_fd(&peer->socket, &peer->socket_io);
			return;
		}
		peer->in.len += (size_t)n;
		peer->ops->received(peer, &peer->in, peer->arg);
	}
}

/* As many bytes as may go at once: a passenger goes with the first byte of his own call, and takes
 * none of the next one's along. */
static size_t sendable(const struct xn_peer *peer)
{
	xn_list_each(link, &peer->passengers)
	{
		const struct passenger *p = xn_list_entry(link, struct passenger, link);

		if (p->at > 0)
			return p->at;
	}
	return peer->out.len;
}

static struct passenger *first_to_go(const struct xn_peer *peer)
{
	struct passenger *p;

	if (xn_list_empty(&peer->passengers))
		return NULL;
	p = xn_list_entry(peer->passengers.next, struct passenger, link);
	return p->at == 0 ? p : NULL;
}

static ssize_t send_some(struct xn_peer *peer)
{
	struct passenger *p = first_to_go(peer);
	struct iovec bytes = {.iov_base = peer->out.data, .iov_len = sendable(peer)};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control = {0};
	ssize_t n;

	if (p) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &p->fd, sizeof(int));
	}
	n = sendmsg(peer->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0 && p)
		free_passenger(p);
	return n;
}

static void flush(struct xn_peer *peer)
{
	while (peer->socket >= 0 && peer->out.len) {
		ssize_t n = send_some(peer);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) { /* it does not listen any more */
			stop_sending(peer);
			break;
		}
		xn_buf_drop(&peer->out, (size_t)n);
		xn_list_each(link, &peer->passengers)
			xn_list_entry(link, struct passenger, link)->at -= (size_t)n;
	}
	if (peer->socket_io)
		xn_io_set(peer->socket_io, XN_IO_READ | (peer->out.len ? XN_IO_WRITE : 0));
}

void xn_peer_send(struct xn_peer *peer, const void *data, size_t len, int fd)
{
	if (peer->socket < 0 || !len) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0) {
		struct passenger *p = xn_calloc(1, sizeof(*p));

		p->at = peer->out.len;
		p->fd = fd;
		xn_list_push(&peer->passengers, &p->link);
	}
	xn_buf_add(&peer->out, data, len);
	flush(peer);
}

static void on_socket(int fd, int events, void *arg)
{
	struct xn_peer *peer = arg;

	if (events & XN_IO_WRITE)
		flush(peer);
	if (events & XN_IO_READ)
		read_socket(peer, 1);
}

static void on_exit_seen(int fd, int events, void *arg)
{
	struct xn_peer *peer = arg;
	struct xn_process_end end;

	if (!xn_process_reap(&peer->process, &end))
		return;
	/* Bounded: what it left behind may still hold the other ends and write. */
	read_err(peer, LAST_READS);
	say_lines(peer, true);
	read_socket(peer, LAST_READS);
	peer->ops->gone(peer, end.exit_status, end.signal, peer->arg);
	free_peer(peer);
}

/* ---- start ---- */

static void close_pair(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int start(const char *const *argv, const char *const *env, int pair[2], int err[2],
		 struct xn_process *process)
{
	int nothing, rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    pipe2(err, O_CLOEXEC) < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(err[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nothing < 0)
		return -errno;
	rc = xn_process_start(argv, env, (int[]){nothing, err[1], err[1], pair[1]}, 4, process);
	close(nothing);
	return rc;
}

int xn_peer_start(struct xn_loop *loop, const char *const *argv, const char *const *env,
		  const struct xn_peer_ops *ops, void *arg, struct xn_peer **peer_out)
{
	int pair[2] = {-1, -1}, err[2] = {-1, -1}, rc;
	struct xn_process process;
	struct xn_peer *peer;

	if (xn_loop_is_virtual(loop))
		return -ENOTSUP;
	rc = start(argv, env, pair, err, &process);
	if (rc < 0) {
		close_pair(pair);
		close_pair(err);
		return rc;
	}
	close(pair[1]);
	close(err[1]);
	peer = xn_calloc(1, sizeof(*peer));
	peer->loop = loop;
	peer->process = process;
	peer->ops = ops;
	peer->arg = arg;
	xn_list_init(&peer->passengers);
	peer->socket = pair[0];
	peer->err_fd = err[0];
	peer->socket_io = xn_io_new(loop, pair[0], XN_IO_READ, on_socket, peer);
	peer->err_io = xn_io_new(loop, err[0], XN_IO_READ, on_err, peer);
	peer->exit_io = xn_io_new(loop, process.pid_fd, XN_IO_READ, on_exit_seen, peer);
	*peer_out = peer;
	return 0;
}
