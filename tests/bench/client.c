/* The HTTP client of the benchmarks; see client.h. */
#include "tests/bench/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t bench_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

void bench_fail(const char *doing)
{
	perror(doing);
	exit(1);
}

void bench_connect(struct bench_conn *conn, const char *address)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	const char *colon = strchr(address, ':');
	char host[32] = "";
	int one = 1;

	if (!colon || colon - address >= (ptrdiff_t)sizeof(host)) {
		errno = EINVAL;
		bench_fail(address);
	}
	memcpy(host, address, (size_t)(colon - address));
	addr.sin_port = htons((uint16_t)atoi(colon + 1));
	*conn = (struct bench_conn){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (conn->fd < 0 || inet_pton(AF_INET, host, &addr.sin_addr) != 1 ||
	    connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bench_fail("connect");
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void bench_send(struct bench_conn *conn, const char *request, size_t len)
{
	conn->in.len = conn->head_len = conn->body_len = 0;
	conn->sent_us = bench_now_us();
	if (send(conn->fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		bench_fail("send");
}

/* Sets head_len and body_len once the head is there. */
static void look_at_head(struct bench_conn *conn)
{
	const char *end = memmem(conn->in.data, conn->in.len, "\r\n\r\n", 4);
	const char *length;

	if (!end)
		return;
	conn->head_len = (size_t)(end - conn->in.data) + 4;
	if (memcmp(conn->in.data, "HTTP/1.1 200", 12) != 0) {
		fprintf(stderr, "%.*s\n", (int)conn->in.len, conn->in.data);
		exit(1);
	}
	length = memmem(conn->in.data, conn->head_len, "Content-Length: ", 16);
	if (!length) {
		fputs("a reply without Content-Length\n", stderr);
		exit(1);
	}
	conn->body_len = strtoul(length + 16, NULL, 10);
}

bool bench_receive(struct bench_conn *conn)
{
	enum { ROOM = 65536 };
	size_t left = conn->head_len ? conn->head_len + conn->body_len - conn->in.len : 0;
	size_t room = left > ROOM ? left : ROOM;
	ssize_t n = recv(conn->fd, xn_buf_reserve(&conn->in, room), room, 0);

	if (n == 0) {
		fputs("the server closed the connection\n", stderr);
		exit(1);
	}
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return false;
		bench_fail("recv");
	}
	conn->in.len += (size_t)n;
	if (!conn->head_len)
		look_at_head(conn);
	return conn->head_len && conn->in.len >= conn->head_len + conn->body_len;
}

const char *bench_body(struct bench_conn *conn)
{
	return xn_buf_cstr(&conn->in) + conn->head_len;
}

void bench_close(struct bench_conn *conn)
{
	close(conn->fd);
	xn_buf_clear(&conn->in);
}

const char *bench_call(struct bench_conn *conn, const struct xn_buf *request)
{
	bench_send(conn, request->data, request->len);
	while (!bench_receive(conn))
		;
	return bench_body(conn);
}

void bench_post(struct xn_buf *request, const char *path, const char *body, size_t len)
{
	request->len = 0;
	xn_buf_printf(request,
		      "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
		      "Content-Length: %zu\r\n\r\n",
		      path, len);
	xn_buf_add(request, body, len);
}

char *bench_read_file(const char *path)
{
	struct xn_buf text = {0};
	FILE *file = fopen(path, "rb");
	size_t n;

	if (!file)
		bench_fail(path);
	while ((n = fread(xn_buf_reserve(&text, 4096), 1, 4096, file)) > 0)
		text.len += n;
	fclose(file);
	return xn_buf_steal(&text);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

struct bench_quantiles bench_quantiles(int64_t *samples, size_t n)
{
	if (!n)
		return (struct bench_quantiles){0};
	qsort(samples, n, sizeof(*samples), compare);
	return (struct bench_quantiles){samples[n / 2], samples[n * 99 / 100], samples[n - 1]};
}
