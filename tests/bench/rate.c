/*
 * rate ADDRESS CONNECTIONS SECONDS BODY-FILE [PAUSE-MS]: how many replies a second, one request at
 * a time on each connection, after a pause if one is given. Eight '#' in the body become a number
 * that is another one each time. Prints JSON.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "tests/bench/client.h"

enum { MAX_SAMPLES = 1 << 20 };

static struct {
	struct xn_buf request;
	char *counter_at; /* in request; NULL: the same request each time */
	unsigned counter;
	int pause_ms;
	int64_t *samples;
	size_t n_samples;
	uint64_t requests, errors, bytes;
} rate;

static void send_next(struct bench_conn *conn)
{
	if (rate.counter_at) {
		char digits[9];

		snprintf(digits, sizeof(digits), "%08u", ++rate.counter % 100000000);
		memcpy(rate.counter_at, digits, 8);
	}
	bench_send(conn, rate.request.data, rate.request.len);
}

static void on_reply(struct bench_conn *conn)
{
	int64_t took_us = bench_now_us() - conn->sent_us;

	if (rate.n_samples < MAX_SAMPLES)
		rate.samples[rate.n_samples++] = took_us;
	rate.requests++;
	rate.bytes += conn->in.len;
	/* The start tells: {"jsonrpc":"2.0","error":... */
	if (conn->body_len > 24 && memmem(conn->in.data + conn->head_len, 24, "\"error\"", 7))
		rate.errors++;
}

static void run(const char *address, int n_conns, int64_t until_us)
{
	struct epoll_event ready[256];
	struct bench_conn *conns = xn_calloc((size_t)n_conns, sizeof(*conns));
	int epoll = epoll_create1(EPOLL_CLOEXEC), under_way = n_conns;

	for (int i = 0; i < n_conns; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};

		bench_connect(&conns[i], address);
		epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &ev);
		send_next(&conns[i]);
	}
	while (under_way) {
		int n = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), -1);

		for (int i = 0; i < n; i++) {
			struct bench_conn *conn = ready[i].data.ptr;

			if (!bench_receive(conn))
				continue;
			on_reply(conn);
			if (rate.pause_ms)
				poll(NULL, 0, rate.pause_ms);
			if (conn->sent_us < until_us)
				send_next(conn);
			else
				under_way--;
		}
	}
	for (int i = 0; i < n_conns; i++)
		bench_close(&conns[i]);
	free(conns);
}

int bench_rate(int argc, char **argv)
{
	struct bench_quantiles q;
	int64_t began_us;
	double seconds;
	char *body;

	if (argc != 4 && argc != 5) {
		fputs("usage: rate ADDRESS CONNECTIONS SECONDS BODY-FILE [PAUSE-MS]\n", stderr);
		return 2;
	}
	rate.pause_ms = argc == 5 ? atoi(argv[4]) : 0;
	body = bench_read_file(argv[3]);
	bench_post(&rate.request, "/jsonrpc", body, strlen(body));
	free(body);
	rate.counter_at = memmem(rate.request.data, rate.request.len, "########", 8);
	rate.counter = (unsigned)(bench_now_us() % 50000000); /* other values than the last run's */
	rate.samples = xn_malloc(MAX_SAMPLES * sizeof(*rate.samples));
	began_us = bench_now_us();
	run(argv[0], atoi(argv[1]), began_us + (int64_t)(atof(argv[2]) * 1e6));
	seconds = (double)(bench_now_us() - began_us) / 1e6;
	q = bench_quantiles(rate.samples, rate.n_samples);
	printf("{\"per_second\": %.1f, \"requests\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64 ", \"max_us\": %" PRId64
	       ", \"reply_bytes\": %" PRIu64 "}\n",
	       (double)rate.requests / seconds, rate.requests, rate.errors, q.p50, q.p99, q.max,
	       rate.requests ? rate.bytes / rate.requests : 0);
	free(rate.samples);
	xn_buf_clear(&rate.request);
	return 0;
}
