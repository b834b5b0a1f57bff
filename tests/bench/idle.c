/*
 * idle ADDRESS CONNECTIONS BODY-FILE: opens them, sends one request on each, says "ready" when all
 * were answered, and holds them until its input ends. What they cost is read from outside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/bench/client.h"

int bench_idle(int argc, char **argv)
{
	struct xn_buf request = {0};
	struct rlimit limit;
	struct bench_conn *conns;
	char *body;
	int n;

	if (argc != 3) {
		fputs("usage: idle ADDRESS CONNECTIONS BODY-FILE\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	n = atoi(argv[1]);
	conns = xn_calloc((size_t)n, sizeof(*conns));
	body = bench_read_file(argv[2]);
	bench_post(&request, "/jsonrpc", body, strlen(body));
	for (int i = 0; i < n; i++) {
		bench_connect(&conns[i], argv[0]);
		bench_call(&conns[i], &request);
		xn_buf_clear(&conns[i].in);
	}
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	for (int i = 0; i < n; i++)
		bench_close(&conns[i]);
	free(conns);
	free(body);
	xn_buf_clear(&request);
	return 0;
}
