/*
 * events ADDRESS WAITERS ROUNDS WAIT-BODY-FILE CHANGE-BODY-FILE: how long from asking for a change
 * to each waiting client having read its event. In the first body "@TOKEN@" is where the token goes
 * ("" at first); in the second, eight '#' become a number. Prints JSON.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "tests/bench/client.h"

static struct {
	const char *before, *after; /* the token, in the wait's body */
	struct bench_conn *waiters;
	int n_waiters, epoll;
	struct xn_buf request;
	uint64_t bytes;
} events;

/* The token that the reply in @conn ends with becomes that of the next request. */
static void wait_again(struct bench_conn *conn)
{
	static const char key[] = "\"token\":\"";
	const char *at = conn->in.len ? strstr(bench_body(conn), key) : NULL;
	const char *end = at ? strchr(at + sizeof(key) - 1, '"') : NULL;
	char *body;

	if (conn->in.len && !end) {
		fprintf(stderr, "no token in %s\n", bench_body(conn));
		exit(1);
	}
	at = end ? at + sizeof(key) - 1 : "";
	body = xn_asprintf("%s%.*s%s", events.before, end ? (int)(end - at) : 0, at, events.after);
	bench_post(&events.request, "/jsonrpc", body, strlen(body));
	bench_send(conn, events.request.data, events.request.len);
	free(body);
}

/* Every waiter's reply; @took_us, when not NULL, gets how long after @began_us each was read. */
static void read_all(int64_t began_us, int64_t *took_us)
{
	struct epoll_event ready[256];
	int left = events.n_waiters;

	while (left) {
		int n = epoll_wait(events.epoll, ready, XN_ARRAY_SIZE(ready), 10000);

		if (n <= 0) {
			fprintf(stderr, "%d waiting clients were told nothing in 10 s\n", left);
			exit(1);
		}
		for (int i = 0; i < n; i++) {
			struct bench_conn *conn = ready[i].data.ptr;

			if (!bench_receive(conn))
				continue;
			events.bytes += conn->in.len;
			left--;
			if (took_us)
				*took_us++ = bench_now_us() - began_us;
		}
	}
}

static void all_wait_again(void)
{
	for (int i = 0; i < events.n_waiters; i++)
		wait_again(&events.waiters[i]);
}

static void connect_all(const char *address)
{
	events.waiters = xn_calloc((size_t)events.n_waiters, sizeof(*events.waiters));
	events.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < events.n_waiters; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &events.waiters[i]};

		bench_connect(&events.waiters[i], address);
		epoll_ctl(events.epoll, EPOLL_CTL_ADD, events.waiters[i].fd, &ev);
		/* One by one: the first answer is everything, and is none of what is measured. */
		wait_again(&events.waiters[i]);
		while (!bench_receive(&events.waiters[i]))
			;
	}
}

static void report(int64_t *all, size_t n_all, int64_t *last, int rounds)
{
	struct bench_quantiles each = bench_quantiles(all, n_all);
	struct bench_quantiles slowest = bench_quantiles(last, (size_t)rounds);

	printf("{\"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64 ", \"last_p50_us\": %" PRId64
	       ", \"last_max_us\": %" PRId64 ", \"reply_bytes\": %" PRIu64 "}\n",
	       each.p50, each.p99, slowest.p50, slowest.max, events.bytes / n_all);
}

/* Long enough for the server to have read all requests, so that each client waits. */
static void let_them_wait(void)
{
	poll(NULL, 0, 1 + events.n_waiters / 20);
}

static void run(struct bench_conn *writer, struct xn_buf *change, int rounds)
{
	char *counter = memmem(change->data, change->len, "########", 8);
	size_t n = (size_t)events.n_waiters;
	int64_t *all = xn_malloc((size_t)rounds * n * sizeof(*all));
	int64_t *last = xn_malloc((size_t)rounds * sizeof(*last));

	for (int i = 0; i < rounds; i++) {
		char digits[9];

		all_wait_again();
		let_them_wait();
		snprintf(digits, sizeof(digits), "%08u", (unsigned)(bench_now_us() % 100000000));
		if (counter)
			memcpy(counter, digits, 8);
		bench_send(writer, change->data, change->len);
		read_all(writer->sent_us, all + (size_t)i * n);
		last[i] = all[(size_t)(i + 1) * n - 1];
		while (!bench_receive(writer))
			;
	}
	report(all, (size_t)rounds * n, last, rounds);
	free(all);
	free(last);
}

int bench_events(int argc, char **argv)
{
	struct xn_buf change = {0};
	struct bench_conn writer;
	char *wait, *token, *body;

	if (argc != 5) {
		fputs("usage: events ADDRESS WAITERS ROUNDS WAIT-BODY-FILE CHANGE-BODY-FILE\n",
		      stderr);
		return 2;
	}
	events.n_waiters = atoi(argv[1]);
	wait = bench_read_file(argv[3]);
	body = bench_read_file(argv[4]);
	token = strstr(wait, "@TOKEN@");
	if (!token) {
		fputs("no @TOKEN@ in the wait's body\n", stderr);
		return 2;
	}
	*token = '\0';
	events.before = wait;
	events.after = token + 7;
	bench_post(&change, "/jsonrpc", body, strlen(body));
	bench_connect(&writer, argv[0]);
	connect_all(argv[0]);
	events.bytes = 0;
	run(&writer, &change, atoi(argv[2]));
	for (int i = 0; i < events.n_waiters; i++)
		bench_close(&events.waiters[i]);
	bench_close(&writer);
	free(events.waiters);
	xn_buf_clear(&events.request);
	xn_buf_clear(&change);
	free(wait);
	free(body);
	return 0;
}
