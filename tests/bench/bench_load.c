/* The load generator of tests/bench/run: one program, a few kinds of load by name. */
#include <stdio.h>

#include "tests/bench/client.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} loads[] = {
	{"rate", bench_rate},
	{"events", bench_events},
	{"disk", bench_disk},
	{"fanout", bench_fanout},
	{"idle", bench_idle},
	{"xe", bench_xe},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(loads); i++) {
		if (argc > 1 && strcmp(argv[1], loads[i].name) == 0)
			return loads[i].run(argc - 2, argv + 2);
	}
	fputs("usage: bench_load rate|events|disk|fanout|idle|xe ...\n", stderr);
	return 2;
}
