/* The load generator of the xenstore benchmark: one program, a few kinds of load by name. */
#include <stdio.h>

#include "tests/bench/xs_client.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} loads[] = {
	{"rate", xs_rate},       {"transactions", xs_transactions},
	{"storm", xs_storm},     {"watchers", xs_watchers},
	{"fill", xs_fill},       {"count", xs_count},
	{"first", xs_first},     {"siege", xs_siege},
	{"latency", xs_latency},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(loads); i++) {
		if (argc > 1 && strcmp(argv[1], loads[i].name) == 0)
			return loads[i].run(argc - 2, argv + 2);
	}
	fputs("usage: bench_xenstore "
	      "rate|transactions|storm|watchers|fill|count|first|siege|latency ...\n",
	      stderr);
	return 2;
}
