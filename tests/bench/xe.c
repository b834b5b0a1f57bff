/*
 * xe ADDRESS TIMES BODY-FILE: command lines of xe one after the other, each on a connection of its
 * own as the field's client makes them: POST /cli, the handshake, messages until Exit. Prints JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/xe/protocol.h"
#include "tests/bench/client.h"

static const char hello[] = "XenSource thin CLI protocol\0\0\0\0\2\0\0";
enum { HELLO = 35, KIND_COMMAND = 9, EXIT = 4 };

static void read_all(int fd, void *to, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, (char *)to + got, len - got, 0);

		if (n <= 0)
			bench_fail("recv");
		got += (size_t)n;
	}
}

/* One message; its payload's end is forgotten. */
static size_t read_message(int fd, int32_t head[3])
{
	static char rest[1 << 16];
	int32_t len;

	read_all(fd, &len, 4);
	read_all(fd, head, 12);
	for (size_t left = (size_t)len - 12, n; left; left -= n) {
		n = left < sizeof(rest) ? left : sizeof(rest);
		read_all(fd, rest, n);
	}
	return (size_t)len + 4;
}

static size_t one_line(const char *address, const struct xn_buf *request)
{
	struct bench_conn conn;
	char theirs[HELLO];
	int32_t head[3];
	size_t bytes = 0;

	bench_connect(&conn, address);
	bench_send(&conn, request->data, request->len);
	read_all(conn.fd, theirs, HELLO);
	if (memcmp(theirs, hello, 27) || send(conn.fd, hello, HELLO, MSG_NOSIGNAL) != HELLO)
		bench_fail("handshake");
	do
		bytes += read_message(conn.fd, head);
	while (head[0] != KIND_COMMAND || head[1] != EXIT);
	if (head[2])
		fprintf(stderr, "exit code %" PRId32 "\n", head[2]);
	bench_close(&conn);
	return bytes;
}

int bench_xe(int argc, char **argv)
{
	int times = argc == 3 ? atoi(argv[1]) : 0;
	char *body = times > 0 ? bench_read_file(argv[2]) : NULL;
	struct xn_buf request = {0};
	struct bench_quantiles q;
	int64_t *samples;
	size_t bytes = 0;

	if (!body) {
		fputs("usage: xe ADDRESS TIMES BODY-FILE\n", stderr);
		return 2;
	}
	xn_buf_printf(&request,
		      "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\n"
		      "content-length: %zu\r\n\r\n%s",
		      strlen(body), body);
	samples = xn_calloc((size_t)times, sizeof(*samples));
	for (int i = 0; i < times; i++) {
		int64_t began = bench_now_us();

		bytes = one_line(argv[0], &request);
		samples[i] = bench_now_us() - began;
	}
	q = bench_quantiles(samples, (size_t)times);
	printf("{\"requests\": %d, \"bytes\": %zu, \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64
	       ", \"max_us\": %" PRId64 "}\n",
	       times, bytes, q.p50, q.p99, q.max);
	free(samples);
	free(body);
	xn_buf_clear(&request);
	return 0;
}
