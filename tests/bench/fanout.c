/*
 * fanout CONNECTIONS BYTES ROUNDS: what it costs to send the same bytes to so many TCP clients in
 * another process, with nothing else done: from the first send to the last client having read. The
 * floor under "events". Prints JSON.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/client.h"

static void connect_pairs(int n, int *servers, int *clients)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&addr, len) < 0 || listen(listener, 64) < 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
		bench_fail("listen");
	for (int i = 0; i < n; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(clients[i], (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		    (servers[i] = accept(listener, NULL, NULL)) < 0)
			bench_fail("connect");
		setsockopt(servers[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	close(listener);
}

/* Reads @bytes on each, says when it was done, and again, until the other end closes. */
static XN_NORETURN void read_rounds(int n, const int *clients, size_t bytes, int report)
{
	struct epoll_event ready[256];
	char *buffer = xn_malloc(bytes);
	size_t left = (size_t)n * bytes;
	int epoll = epoll_create1(0);

	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = clients[i]};

		epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i], &ev);
	}
	for (;;) {
		int n_ready = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), -1);

		for (int i = 0; i < n_ready; i++) {
			ssize_t got = recv(ready[i].data.fd, buffer, bytes, 0);

			if (got <= 0)
				_exit(0);
			left -= (size_t)got;
		}
		if (!left) {
			int64_t now_us = bench_now_us();

			left = (size_t)n * bytes;
			if (write(report, &now_us, sizeof(now_us)) != sizeof(now_us))
				_exit(1);
		}
	}
}

static void send_rounds(int n, const int *servers, size_t bytes, int rounds, int report)
{
	int64_t *took_us = xn_malloc((size_t)rounds * sizeof(*took_us));
	char *data = xn_calloc(1, bytes);
	struct bench_quantiles q;

	for (int round = 0; round < rounds; round++) {
		int64_t began_us, last_us;

		poll(NULL, 0, 20);
		began_us = bench_now_us();
		for (int i = 0; i < n; i++)
			if (send(servers[i], data, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
				bench_fail("send");
		if (read(report, &last_us, sizeof(last_us)) != sizeof(last_us))
			bench_fail("reader");
		took_us[round] = last_us - began_us;
	}
	q = bench_quantiles(took_us, (size_t)rounds);
	printf("{\"last_p50_us\": %" PRId64 ", \"last_max_us\": %" PRId64 "}\n", q.p50, q.max);
	free(took_us);
	free(data);
}

int bench_fanout(int argc, char **argv)
{
	int n, report[2];
	int *servers, *clients;
	size_t bytes;

	if (argc != 3) {
		fputs("usage: fanout CONNECTIONS BYTES ROUNDS\n", stderr);
		return 2;
	}
	n = atoi(argv[0]);
	bytes = (size_t)atol(argv[1]);
	servers = xn_calloc((size_t)n, sizeof(*servers));
	clients = xn_calloc((size_t)n, sizeof(*clients));
	connect_pairs(n, servers, clients);
	if (pipe(report) < 0)
		bench_fail("pipe");
	if (fork() == 0) {
		for (int i = 0; i < n; i++)
			close(servers[i]);
		read_rounds(n, clients, bytes, report[1]);
	}
	send_rounds(n, servers, bytes, atoi(argv[2]), report[0]);
	for (int i = 0; i < n; i++)
		close(servers[i]);
	for (int i = 0; i < n; i++)
		close(clients[i]);
	wait(NULL);
	free(servers);
	free(clients);
	return 0;
}
