/*
 * rate ADDRESS CONNECTIONS SECONDS BODY-FILE [PAUSE-MS]: how many replies a second, one request at
 * a time on each connection, after a pause if one is given. Each line of the file is a body; the
 * connections take them in turns. Eight '#' in a body become a number that is another one each time.
 * Prints JSON.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "tests/bench/client.h"

enum { MAX_SAMPLES = 1 << 20 };

struct request {
	struct xn_buf text;
	char *counter_at; /* in text; NULL: the same each time */
};

static struct {
	struct request *requests;
	int n_lines;
	unsigned counter;
	int pause_ms;
	int64_t *samples;
	size_t n_samples;
	uint64_t n_requests, errors, bytes;
} rate;

static void send_next(struct bench_conn *conn, int number)
{
	struct request *request = &rate.requests[number % rate.n_lines];

	if (request->counter_at) {
		char digits[9];

		snprintf(digits, sizeof(digits), "%08u", ++rate.counter % 100000000);
		memcpy(request->counter_at, digits, 8);
	}
	bench_send(conn, request->text.data, request->text.len);
}

static void on_reply(struct bench_conn *conn)
{
	int64_t took_us = bench_now_us() - conn->sent_us;

	if (rate.n_samples < MAX_SAMPLES)
		rate.samples[rate.n_samples++] = took_us;
	rate.n_requests++;
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
		send_next(&conns[i], i);
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
				send_next(conn, (int)(conn - conns));
			else
				under_way--;
		}
	}
	for (int i = 0; i < n_conns; i++)
		bench_close(&conns[i]);
	free(conns);
}

static void read_requests(const char *path)
{
	char *text = bench_read_file(path), *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		struct request *request;

		if (!*line)
			continue;
		rate.requests = xn_realloc(rate.requests,
					   (size_t)(rate.n_lines + 1) * sizeof(*rate.requests));
		request = &rate.requests[rate.n_lines++];
		*request = (struct request){0};
		bench_post(&request->text, "/jsonrpc", line, strlen(line));
		request->counter_at = memmem(request->text.data, request->text.len, "########", 8);
	}
	free(text);
}

int bench_rate(int argc, char **argv)
{
	struct bench_quantiles q;
	int64_t began_us;
	double seconds;

	if (argc != 4 && argc != 5) {
		fputs("usage: rate ADDRESS CONNECTIONS SECONDS BODY-FILE [PAUSE-MS]\n", stderr);
		return 2;
	}
	rate.pause_ms = argc == 5 ? atoi(argv[4]) : 0;
	read_requests(argv[3]);
	rate.counter = (unsigned)(bench_now_us() % 50000000); /* other values than the last run's */
	rate.samples = xn_malloc(MAX_SAMPLES * sizeof(*rate.samples));
	began_us = bench_now_us();
	run(argv[0], atoi(argv[1]), began_us + (int64_t)(atof(argv[2]) * 1e6));
	seconds = (double)(bench_now_us() - began_us) / 1e6;
	q = bench_quantiles(rate.samples, rate.n_samples);
	printf("{\"per_second\": %.1f, \"requests\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64 ", \"max_us\": %" PRId64
	       ", \"reply_bytes\": %" PRIu64 "}\n",
	       (double)rate.n_requests / seconds, rate.n_requests, rate.errors, q.p50, q.p99, q.max,
	       rate.n_requests ? rate.bytes / rate.n_requests : 0);
	free(rate.samples);
	for (int i = 0; i < rate.n_lines; i++)
		xn_buf_clear(&rate.requests[i].text);
	free(rate.requests);
	return 0;
}
