/*
 * siege SOCKET CONNECTIONS SECONDS: a hostile client. Takes all that its quotas give (nodes of the
 * largest size, watches on its own directory, transactions full of writes), says "full", and then
 * asks for what costs most, as fast as it can; every other connection never reads an answer.
 * Prints JSON: how many requests were answered.
 *
 * latency SOCKET SECONDS: one read at a time, and how long each took. Prints JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/xs_client.h"

enum { MOST = 100000, VALUE = 1900, DEAF_ROOM = 1 << 16 };

struct siege {
	struct xs_conn *conns;
	unsigned n;
	struct xn_buf flood; /* what a connection sends again and again */
	size_t *sent;        /* of it, a connection's */
	uint64_t n_answers;
};

/* ---- up to the quotas ---- */

static void take_nodes(struct xs_conn *conn)
{
	char path[32], value[VALUE + 1];
	int rc = 0;

	memset(value, 'v', VALUE);
	value[VALUE] = '\0';
	for (unsigned i = 0; i < MOST && !rc; i++) {
		snprintf(path, sizeof(path), "siege/node-%06u", i);
		xs_call(conn, XN_XS_WIRE_WRITE, path, value, &rc);
	}
}

static void take_watches(struct xs_conn *conn, unsigned number)
{
	char token[64];
	int rc = 0;

	for (unsigned i = 0; i < MOST && !rc; i++) {
		int len = snprintf(token, sizeof(token), "%u-%u", number, i);
		struct xn_buf request = {0};

		xs_add(&request, XN_XS_WIRE_WATCH, 0, "siege", token, (size_t)len + 1);
		xs_send(conn, request.data, request.len);
		xn_buf_clear(&request);
		rc = xs_answer(conn).type == XN_XS_WIRE_ERROR;
	}
}

/* Opens them and writes in each until it is refused; none is ended. */
static void take_transactions(struct xs_conn *conn)
{
	char path[32], value[VALUE];
	struct xn_xs_frame reply;
	struct xn_buf request = {0};
	int rc = 0;

	memset(value, 'v', VALUE);
	for (unsigned i = 0; i < MOST; i++) {
		uint32_t id;

		reply = xs_call(conn, XN_XS_WIRE_TRANSACTION_START, "", NULL, &rc);
		if (rc < 0)
			break;
		id = (uint32_t)strtoul(reply.body, NULL, 10);
		for (unsigned k = 0; k < MOST; k++) {
			request.len = 0;
			snprintf(path, sizeof(path), "siege/node-%06u", k);
			xs_add(&request, XN_XS_WIRE_WRITE, id, path, value, VALUE);
			xs_send(conn, request.data, request.len);
			if (xs_answer(conn).type == XN_XS_WIRE_ERROR)
				break;
		}
	}
	xn_buf_clear(&request);
}

/* ---- the flood ---- */

static void make_flood(struct siege *siege)
{
	char path[32], value[VALUE];

	memset(value, 'w', VALUE);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "siege/node-%06u", i);
		xs_add(&siege->flood, XN_XS_WIRE_DIRECTORY, 0, "siege", NULL, 0);
		xs_add(&siege->flood, XN_XS_WIRE_WRITE, 0, path, value, VALUE);
		xs_add(&siege->flood, XN_XS_WIRE_TRANSACTION_START, 0, "", NULL, 0);
		xs_add(&siege->flood, XN_XS_WIRE_READ, 0, path, NULL, 0);
	}
}

static bool is_deaf(const struct siege *siege, const struct xs_conn *conn)
{
	return (conn - siege->conns) % 2 && siege->n > 1;
}

static void flood_one(struct siege *siege, struct xs_conn *conn)
{
	size_t *sent = &siege->sent[conn - siege->conns];
	ssize_t n = send(conn->fd, siege->flood.data + *sent, siege->flood.len - *sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		*sent = (*sent + (size_t)n) % siege->flood.len;
}

static void hear(struct siege *siege, struct xs_conn *conn)
{
	struct xn_xs_frame reply;

	xs_receive(conn);
	while (xs_next(conn, &reply))
		siege->n_answers += reply.type != XN_XS_WIRE_WATCH_EVENT;
}

static void flood(struct siege *siege, int64_t until_us)
{
	struct epoll_event ready[64];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < siege->n; i++) {
		struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = &siege->conns[i]};

		if (!is_deaf(siege, &siege->conns[i]))
			ev.events |= EPOLLIN;
		epoll_ctl(epoll, EPOLL_CTL_ADD, siege->conns[i].fd, &ev);
	}
	while (bench_now_us() < until_us) {
		int n = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), 100);

		for (int i = 0; i < n; i++) {
			struct xs_conn *conn = ready[i].data.ptr;

			if (ready[i].events & EPOLLIN)
				hear(siege, conn);
			if (ready[i].events & EPOLLOUT)
				flood_one(siege, conn);
		}
	}
	close(epoll);
}

int xs_siege(int argc, char **argv)
{
	struct siege siege = {0};
	int64_t began_us;
	double seconds;

	if (argc != 3) {
		fputs("usage: siege SOCKET CONNECTIONS SECONDS\n", stderr);
		return 2;
	}
	siege.n = (unsigned)atoi(argv[1]);
	siege.conns = xs_connect_many(argv[0], siege.n);
	siege.sent = xn_calloc(siege.n, sizeof(*siege.sent));
	take_nodes(&siege.conns[0]);
	for (unsigned i = 0; i < siege.n; i++)
		take_watches(&siege.conns[i], i);
	for (unsigned i = 0; i < siege.n; i++)
		take_transactions(&siege.conns[i]);
	make_flood(&siege);
	puts("full");
	fflush(stdout);
	began_us = bench_now_us();
	flood(&siege, began_us + (int64_t)(atof(argv[2]) * 1e6));
	seconds = (double)(bench_now_us() - began_us) / 1e6;
	printf("{\"per_second\": %.1f}\n", (double)siege.n_answers / seconds);
	xs_close_many(siege.conns, siege.n);
	xn_buf_clear(&siege.flood);
	free(siege.sent);
	return 0;
}

int xs_latency(int argc, char **argv)
{
	enum { MAX_SAMPLES = 1 << 20 };
	static const char path[] = "/local/domain/0/bench/latency";
	struct bench_quantiles q;
	struct xs_conn conn = {0};
	int64_t *samples, until_us;
	size_t n = 0;
	int rc;

	if (argc != 2) {
		fputs("usage: latency SOCKET SECONDS\n", stderr);
		return 2;
	}
	samples = xn_malloc(MAX_SAMPLES * sizeof(*samples));
	xs_connect(&conn, argv[0]);
	xs_call(&conn, XN_XS_WIRE_WRITE, path, "01234567", &rc);
	until_us = bench_now_us() + (int64_t)(atof(argv[1]) * 1e6);
	while (n < MAX_SAMPLES) {
		int64_t began_us = bench_now_us();

		if (began_us >= until_us)
			break;
		xs_call(&conn, XN_XS_WIRE_READ, path, NULL, &rc);
		samples[n++] = bench_now_us() - began_us;
	}
	q = bench_quantiles(samples, n);
	printf("{\"requests\": %zu, \"p50_us\": %" PRId64 ", \"p90_us\": %" PRId64 ", \"p99_us\": %" PRId64
	       ", \"max_us\": %" PRId64 "}\n",
	       n, q.p50, n ? samples[n * 9 / 10] : 0, q.p99, q.max);
	close(conn.fd);
	free(samples);
	return rc < 0;
}
