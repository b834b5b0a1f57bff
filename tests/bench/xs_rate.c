/*
 * rate SOCKET read|write CONNECTIONS IN-FLIGHT SECONDS: how many replies a second; each connection
 * reads or writes a node of its own, of 8 bytes, and always has so many requests under way. Those
 * that were answered together are sent again together. Prints JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/xs_client.h"

struct rate {
	struct xs_conn *conns;
	struct xn_buf *requests; /* a connection's: as many as are in flight */
	unsigned n_conns, in_flight;
	uint32_t expected;
	uint64_t n_replies;
};

/* How many replies came with the bytes that are there. */
static unsigned take_replies(struct rate *rate, struct xs_conn *conn)
{
	struct xn_xs_frame reply;
	unsigned n = 0;

	xs_receive(conn);
	while (xs_next(conn, &reply)) {
		xs_expect(&reply, "request");
		if (reply.type != rate->expected)
			exit(1);
		n++;
	}
	rate->n_replies += n;
	return n;
}

static void send_again(struct rate *rate, unsigned conn, unsigned n)
{
	struct xn_buf *requests = &rate->requests[conn];

	xs_send(&rate->conns[conn], requests->data, requests->len / rate->in_flight * n);
}

/* One connection needs no poll, and the other side's cost is what is to be seen. */
static void run_one(struct rate *rate, int64_t until_us)
{
	unsigned left = rate->in_flight;

	send_again(rate, 0, rate->in_flight);
	while (bench_now_us() < until_us)
		send_again(rate, 0, take_replies(rate, &rate->conns[0]));
	while (left)
		left -= take_replies(rate, &rate->conns[0]);
}

static void run_many(struct rate *rate, int64_t until_us)
{
	unsigned under_way = rate->n_conns * rate->in_flight;
	int epoll = xs_poll_all(rate->conns, rate->n_conns);
	struct epoll_event ready[64];
	bool is_over = false;

	for (unsigned i = 0; i < rate->n_conns; i++)
		send_again(rate, i, rate->in_flight);
	while (under_way) {
		int n = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), -1);

		for (int i = 0; i < n; i++) {
			struct xs_conn *conn = ready[i].data.ptr;
			unsigned answered = take_replies(rate, conn);

			if (is_over)
				under_way -= answered;
			else
				send_again(rate, (unsigned)(conn - rate->conns), answered);
		}
		is_over = bench_now_us() >= until_us;
	}
	close(epoll);
}

static void prepare(struct rate *rate, bool writes)
{
	rate->expected = writes ? XN_XS_WIRE_WRITE : XN_XS_WIRE_READ;
	rate->requests = xn_calloc(rate->n_conns, sizeof(*rate->requests));
	for (unsigned i = 0; i < rate->n_conns; i++) {
		char path[64];
		int rc;

		snprintf(path, sizeof(path), "/local/domain/0/bench/rate-%03u", i);
		xs_call(&rate->conns[i], XN_XS_WIRE_WRITE, path, "01234567", &rc);
		if (rc < 0) {
			fprintf(stderr, "%s: %s\n", path, xn_xs_error_name(rc));
			exit(1);
		}
		for (unsigned k = 0; k < rate->in_flight; k++)
			xs_add(&rate->requests[i], rate->expected, 0, path, "76543210",
			       writes ? 8 : 0);
	}
}

int xs_rate(int argc, char **argv)
{
	struct rate rate = {0};
	int64_t began_us;
	double seconds;

	if (argc != 5) {
		fputs("usage: rate SOCKET read|write CONNECTIONS IN-FLIGHT SECONDS\n", stderr);
		return 2;
	}
	rate.n_conns = (unsigned)atoi(argv[2]);
	rate.in_flight = (unsigned)atoi(argv[3]);
	rate.conns = xs_connect_many(argv[0], rate.n_conns);
	prepare(&rate, strcmp(argv[1], "write") == 0);
	began_us = bench_now_us();
	if (rate.n_conns == 1)
		run_one(&rate, began_us + (int64_t)(atof(argv[4]) * 1e6));
	else
		run_many(&rate, began_us + (int64_t)(atof(argv[4]) * 1e6));
	seconds = (double)(bench_now_us() - began_us) / 1e6;
	printf("{\"per_second\": %.1f, \"requests\": %" PRIu64 "}\n",
	       (double)rate.n_replies / seconds, rate.n_replies);
	for (unsigned i = 0; i < rate.n_conns; i++)
		xn_buf_clear(&rate.requests[i]);
	free(rate.requests);
	xs_close_many(rate.conns, rate.n_conns);
	return 0;
}
