/*
 * watchers SOCKET CONNECTIONS ROUNDS: so many connections watch one path; it is written to, and the
 * time is taken until the last of them has its event. Prints JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/xs_client.h"

static const char watched[] = "/local/domain/0/bench/watched";

static void watch_all(struct xs_conn *conns, unsigned n)
{
	struct xn_xs_frame reply;
	struct xn_buf request = {0};

	xs_add(&request, XN_XS_WIRE_WATCH, 0, watched, "token", 6);
	for (unsigned i = 0; i < n; i++) {
		unsigned left = 2; /* the reply and the first event, in whatever order */

		xs_send(&conns[i], request.data, request.len);
		while (left) {
			xs_receive(&conns[i]);
			while (xs_next(&conns[i], &reply)) {
				xs_expect(&reply, "watch");
				left--;
			}
		}
	}
	xn_buf_clear(&request);
}

/* Until @n connections have had an event. */
static int64_t read_events(int epoll, unsigned n)
{
	struct epoll_event ready[256];
	struct xn_xs_frame reply;

	while (n) {
		int n_ready = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), -1);

		for (int i = 0; i < n_ready; i++) {
			struct xs_conn *conn = ready[i].data.ptr;

			xs_receive(conn);
			while (xs_next(conn, &reply))
				n -= reply.type == XN_XS_WIRE_WATCH_EVENT;
		}
	}
	return bench_now_us();
}

int xs_watchers(int argc, char **argv)
{
	struct bench_quantiles q;
	struct xs_conn *conns, writer;
	struct xn_buf request = {0};
	int64_t *took_us;
	unsigned n, rounds;
	int epoll;

	if (argc != 3) {
		fputs("usage: watchers SOCKET CONNECTIONS ROUNDS\n", stderr);
		return 2;
	}
	n = (unsigned)atoi(argv[1]);
	rounds = (unsigned)atoi(argv[2]);
	took_us = xn_calloc(rounds, sizeof(*took_us));
	conns = xs_connect_many(argv[0], n);
	xs_connect(&writer, argv[0]);
	watch_all(conns, n);
	epoll = xs_poll_all(conns, n);
	xs_add(&request, XN_XS_WIRE_WRITE, 0, watched, "76543210", 8);
	for (unsigned i = 0; i < rounds; i++) {
		struct xn_xs_frame reply;
		int64_t began_us;

		usleep(5000); /* what the last round left to do is done */
		began_us = bench_now_us();
		xs_send(&writer, request.data, request.len);
		took_us[i] = read_events(epoll, n) - began_us;
		do {
			xs_receive(&writer);
		} while (!xs_next(&writer, &reply));
		xs_expect(&reply, "write");
	}
	q = bench_quantiles(took_us, rounds);
	printf("{\"last_us\": %" PRId64 ", \"best_us\": %" PRId64 ", \"max_us\": %" PRId64 "}\n", q.p50,
	       took_us[0], q.max); /* sorted by now */
	close(epoll);
	close(writer.fd);
	xs_close_many(conns, n);
	xn_buf_clear(&request);
	free(took_us);
	return 0;
}
