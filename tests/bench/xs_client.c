/* The raw xenstore client of the benchmarks; see xs_client.h. */
#include "tests/bench/xs_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void xs_connect(struct xs_conn *conn, const char *socket_path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	conn->in.from = conn->in.to = conn->in.skip = 0;
	conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bench_fail(socket_path);
}

struct xs_conn *xs_connect_many(const char *socket_path, unsigned n)
{
	struct xs_conn *conns = xn_calloc(n, sizeof(*conns));

	for (unsigned i = 0; i < n; i++)
		xs_connect(&conns[i], socket_path);
	return conns;
}

void xs_close_many(struct xs_conn *conns, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(conns[i].fd);
	free(conns);
}

void xs_send(struct xs_conn *conn, const void *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0)
			bench_fail("send");
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
}

void xs_receive(struct xs_conn *conn)
{
	size_t room;
	char *to = xn_xs_reader_room(&conn->in, &room);
	ssize_t n = recv(conn->fd, to, room, 0);

	if (n == 0)
		errno = ECONNRESET;
	if (n <= 0)
		bench_fail("recv");
	xn_xs_reader_added(&conn->in, (size_t)n);
}

bool xs_next(struct xs_conn *conn, struct xn_xs_frame *reply)
{
	int rc = xn_xs_reader_next(&conn->in, reply);

	if (rc < 0 || (rc && !reply->body)) {
		fputs("this is no reply of a xenstore\n", stderr);
		exit(1);
	}
	return rc;
}

bool xs_is_error(const struct xn_xs_frame *reply, const char *name)
{
	return reply->type == XN_XS_WIRE_ERROR &&
	       (!name ||
		(reply->len == strlen(name) + 1 && !memcmp(reply->body, name, reply->len)));
}

void xs_expect(const struct xn_xs_frame *reply, const char *doing)
{
	if (!xs_is_error(reply, NULL))
		return;
	fprintf(stderr, "%s: %.*s\n", doing, (int)reply->len, reply->body);
	exit(1);
}

void xs_add(struct xn_buf *out, uint32_t type, uint32_t transaction, const char *path,
	    const void *value, size_t len)
{
	struct xn_xs_part parts[] = {{path, strlen(path) + 1}, {value, len}};

	if (xn_xs_frame_add(out, type, 1, transaction, parts, 2) < 0)
		abort(); /* ours are all short */
}

struct xn_xs_frame xs_answer(struct xs_conn *conn)
{
	struct xn_xs_frame reply;

	do {
		while (!xs_next(conn, &reply))
			xs_receive(conn);
	} while (reply.type == XN_XS_WIRE_WATCH_EVENT);
	return reply;
}

struct xn_xs_frame xs_call(struct xs_conn *conn, uint32_t type, const char *path, const char *value,
			   int *rc_out)
{
	struct xn_buf request = {0};
	struct xn_xs_frame reply;

	xs_add(&request, type, 0, path, value, value ? strlen(value) : 0);
	xs_send(conn, request.data, request.len);
	xn_buf_clear(&request);
	reply = xs_answer(conn);
	*rc_out = 0;
	if (reply.type == XN_XS_WIRE_ERROR)
		*rc_out = xn_xs_error_parse(reply.body, strnlen(reply.body, reply.len));
	return reply;
}

int xs_poll_all(struct xs_conn *conns, unsigned n)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &ev) < 0)
			bench_fail("epoll");
	}
	return epoll;
}
