/* A connection without TLS; see stream.h. */
#include "rpc/xe/client/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t result(struct xe_stream *stream, ssize_t n, short wants)
{
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
		stream->wants = wants;
		return -EAGAIN;
	}
	return -errno;
}

static ssize_t socket_read(struct xe_stream *stream, void *to, size_t len)
{
	return result(stream, recv(stream->fd, to, len, 0), POLLIN);
}

static ssize_t socket_write(struct xe_stream *stream, const void *data, size_t len)
{
	return result(stream, send(stream->fd, data, len, MSG_NOSIGNAL), POLLOUT);
}

static void socket_end(struct xe_stream *stream)
{
	shutdown(stream->fd, SHUT_WR);
}

static void socket_free(struct xe_stream *stream)
{
	close(stream->fd);
	free(stream);
}

static const struct xe_stream_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.end = socket_end,
	.free = socket_free,
};

struct xe_stream *xe_stream_of_socket(int fd)
{
	struct xe_stream *stream = xn_calloc(1, sizeof(*stream));

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	*stream = (struct xe_stream){.ops = &socket_ops, .fd = fd, .wants = POLLIN};
	return stream;
}
