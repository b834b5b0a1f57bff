/*
 * What Xenolith is measured against, in the same run: a server that answers every request with the
 * same bytes and does nothing else.
 *
 *   bench_evhttp evhttp|plain PORT BYTES
 *
 * evhttp: libevent's own HTTP server. plain: bare libevent events, own read and write, which looks
 * at a request only to find its end. Says "ready" when it listens.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"

static struct xn_buf body; /* of every reply */

/* ---- evhttp ---- */

static void on_evhttp_request(struct evhttp_request *req, void *arg)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(req);

	evbuffer_add(out, body.data, body.len);
	evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "application/json");
	evhttp_send_reply(req, 200, "OK", NULL);
}

static void serve_evhttp(struct event_base *base, uint16_t port)
{
	struct evhttp *http = evhttp_new(base);

	evhttp_set_gencb(http, on_evhttp_request, NULL);
	if (evhttp_bind_socket(http, "127.0.0.1", port) < 0) {
		perror("bind");
		exit(1);
	}
}

/* ---- plain ---- */

struct client {
	struct event *event;
	struct xn_buf in;
};

static struct xn_buf plain_reply;

/* Bytes of the whole request at the start of @in, or 0. */
static size_t request_size(struct xn_buf *in)
{
	const char *text = xn_buf_cstr(in);
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = end ? strcasestr(text, "content-length:") : NULL;
	size_t size;

	if (!end)
		return 0;
	size = (size_t)(end - text) + 4;
	if (length && length < end)
		size += strtoul(length + 15, NULL, 10);
	return size <= in->len ? size : 0;
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	ssize_t n = recv(fd, xn_buf_reserve(&client->in, 16384), 16384, 0);
	size_t size;

	if (n <= 0) {
		event_free(client->event);
		xn_buf_clear(&client->in);
		free(client);
		close(fd);
		return;
	}
	client->in.len += (size_t)n;
	while ((size = request_size(&client->in)) > 0) {
		xn_buf_drop(&client->in, size);
		/* Replies are small: the socket takes them whole. */
		if (send(fd, plain_reply.data, plain_reply.len, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void on_plain_accept(evutil_socket_t listening_fd, short what, void *arg)
{
	struct client *client;
	int one = 1, fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	client = xn_calloc(1, sizeof(*client));
	client->event = event_new(arg, fd, EV_READ | EV_PERSIST, on_client, client);
	event_add(client->event, NULL);
}

static void serve_plain(struct event_base *base, uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0) {
		perror("bind");
		exit(1);
	}
	xn_buf_printf(&plain_reply,
		      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		      "Content-Length: %zu\r\n\r\n",
		      body.len);
	xn_buf_add(&plain_reply, body.data, body.len);
	event_add(event_new(base, fd, EV_READ | EV_PERSIST, on_plain_accept, base), NULL);
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	long len;

	if (argc != 4) {
		fputs("usage: bench_evhttp evhttp|plain PORT BYTES\n", stderr);
		return 2;
	}
	for (len = atol(argv[3]); len > 0; len--)
		xn_buf_add_char(&body, 'x');
	if (strcmp(argv[1], "plain") == 0)
		serve_plain(base, (uint16_t)atoi(argv[2]));
	else
		serve_evhttp(base, (uint16_t)atoi(argv[2]));
	puts("ready");
	fflush(stdout);
	event_base_dispatch(base);
	return 0;
}
