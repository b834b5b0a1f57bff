/*
 * fill SOCKET NODES: makes so many nodes with names of 20 bytes and values of 8, a hundred in a
 * folder. count SOCKET NODES: how many of them are there with their values, as JSON.
 *
 * first SOCKET: tries to connect until somebody answers there, and prints when the first reply came
 * (the monotonic clock) and whether it was the value of the first node that fill makes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/bench/xs_client.h"

enum { IN_FLIGHT = 32, IN_FOLDER = 100 };

static void node_path(char path[96], unsigned node)
{
	snprintf(path, 96, "/local/domain/0/fill/folder-%013u/node-%015u", node / IN_FOLDER, node);
}

static void add_request(struct xn_buf *out, bool writes, unsigned node)
{
	char path[96], value[9];

	node_path(path, node);
	snprintf(value, sizeof(value), "%08u", node);
	xs_add(out, writes ? XN_XS_WIRE_WRITE : XN_XS_WIRE_READ, 0, path, value, writes ? 8 : 0);
}

/* Writes or reads them all in order; how many were right. */
static unsigned go_through(const char *socket_path, bool writes, unsigned nodes)
{
	unsigned sent = 0, answered = 0, right = 0;
	struct xn_buf requests = {0};
	struct xs_conn conn;

	xs_connect(&conn, socket_path);
	while (answered < nodes) {
		struct xn_xs_frame reply;
		char value[9];

		requests.len = 0;
		for (; sent < nodes && sent < answered + IN_FLIGHT; sent++)
			add_request(&requests, writes, sent);
		xs_send(&conn, requests.data, requests.len);
		xs_receive(&conn);
		for (; xs_next(&conn, &reply); answered++) {
			snprintf(value, sizeof(value), "%08u", answered);
			if (writes)
				xs_expect(&reply, "fill");
			right += reply.len == 8 && memcmp(reply.body, value, 8) == 0;
		}
	}
	close(conn.fd);
	xn_buf_clear(&requests);
	return writes ? nodes : right;
}

int xs_fill(int argc, char **argv)
{
	int64_t began_us = bench_now_us();

	if (argc != 2) {
		fputs("usage: fill SOCKET NODES\n", stderr);
		return 2;
	}
	go_through(argv[0], true, (unsigned)atoi(argv[1]));
	printf("{\"seconds\": %.3f}\n", (double)(bench_now_us() - began_us) / 1e6);
	return 0;
}

int xs_count(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: count SOCKET NODES\n", stderr);
		return 2;
	}
	printf("{\"nodes\": %u}\n", go_through(argv[0], false, (unsigned)atoi(argv[1])));
	return 0;
}

/* The first reply, or nothing: whoever was there has gone. */
static bool try_first(const char *socket_path, const struct xn_buf *request,
		      struct xn_xs_frame *reply)
{
	static struct xs_conn conn;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	bool is_there = false;
	ssize_t n;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	conn.in.from = conn.in.to = 0;
	conn.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(conn.fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    send(conn.fd, request->data, request->len, MSG_NOSIGNAL) > 0) {
		size_t room;
		char *to = xn_xs_reader_room(&conn.in, &room);

		n = recv(conn.fd, to, room, 0);
		if (n > 0) {
			xn_xs_reader_added(&conn.in, (size_t)n);
			is_there = xs_next(&conn, reply);
		}
	}
	close(conn.fd);
	return is_there;
}

int xs_first(int argc, char **argv)
{
	struct xn_buf request = {0};
	struct xn_xs_frame reply;
	int64_t at_us;

	if (argc != 1) {
		fputs("usage: first SOCKET\n", stderr);
		return 2;
	}
	add_request(&request, false, 0);
	while (!try_first(argv[0], &request, &reply))
		usleep(100); /* nothing tells when somebody listens */
	at_us = bench_now_us();
	printf("{\"at_us\": %" PRId64 ", \"found\": %s}\n", at_us,
	       xs_is_error(&reply, NULL) ? "false" : "true");
	xn_buf_clear(&request);
	return 0;
}
