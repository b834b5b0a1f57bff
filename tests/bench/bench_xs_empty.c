/*
 * bench_xs_empty SOCKET: the ceiling of the xenstore benchmark: a server with nothing behind it, on
 * plain libevent events. Takes all that a socket has, answers each whole request with fixed bytes,
 * all in one write.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "modules/xenstore/wire.h"

struct client {
	struct event *event;
	struct xn_xs_reader in;
	struct xn_buf out;
};

static void answer(struct xn_buf *out, const struct xn_xs_frame *request)
{
	const char *body = "OK";
	uint32_t header[4] = {request->type, request->request, request->transaction, 3};

	if (request->type == XN_XS_WIRE_READ) {
		body = "01234567";
		header[3] = 8;
	} else if (request->type == XN_XS_WIRE_TRANSACTION_START) {
		body = "1";
		header[3] = 2;
	}
	xn_buf_add(out, header, sizeof(header));
	xn_buf_add(out, body, header[3]);
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	struct xn_xs_frame request;
	size_t room;
	char *to = xn_xs_reader_room(&client->in, &room);
	ssize_t n = recv(fd, to, room, 0);

	if (n <= 0) {
		event_free(client->event);
		xn_buf_clear(&client->out);
		free(client);
		close(fd);
		return;
	}
	xn_xs_reader_added(&client->in, (size_t)n);
	client->out.len = 0;
	while (xn_xs_reader_next(&client->in, &request) > 0)
		answer(&client->out, &request);
	if (client->out.len && send(fd, client->out.data, client->out.len, MSG_NOSIGNAL) < 0)
		perror("send");
}

static void on_accept(evutil_socket_t listening_fd, short what, void *arg)
{
	int fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;

	if (fd < 0)
		return;
	client = xn_calloc(1, sizeof(*client));
	client->event = event_new(arg, fd, EV_READ | EV_PERSIST, on_client, client);
	event_add(client->event, NULL);
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (argc != 2) {
		fputs("usage: bench_xs_empty SOCKET\n", stderr);
		return 2;
	}
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", argv[1]);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0) {
		perror("bind");
		return 1;
	}
	event_add(event_new(base, fd, EV_READ | EV_PERSIST, on_accept, base), NULL);
	event_base_dispatch(base);
	return 0;
}
