/*
 * disk FOLDER SECONDS BYTES [written]: appends of that size, each followed by fdatasync, a second:
 * what the disk itself can do of what a durable change needs. "written": the same in a file that has
 * its blocks already, which spares the file system's own journal. The file is removed. Prints JSON.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/client.h"

enum { WRITTEN_BYTES = 64 << 20 };

static void fill(int fd)
{
	char *zeros = xn_calloc(1, 1 << 20);

	for (int i = 0; i < WRITTEN_BYTES >> 20; i++)
		if (write(fd, zeros, 1 << 20) != 1 << 20)
			bench_fail("fill");
	if (fsync(fd) < 0)
		bench_fail("fsync");
	free(zeros);
}

int bench_disk(int argc, char **argv)
{
	int64_t began_us, until_us, now_us;
	uint64_t n = 0;
	size_t size;
	char *path, *record;
	int fd;

	off_t at = 0;
	bool written = argc == 4;

	if (argc != 3 && !written) {
		fputs("usage: disk FOLDER SECONDS BYTES [written]\n", stderr);
		return 2;
	}
	size = (size_t)atoi(argv[2]);
	record = xn_calloc(1, size);
	path = xn_asprintf("%s/bench-disk", argv[0]);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		bench_fail(path);
	if (written)
		fill(fd);
	now_us = began_us = bench_now_us();
	until_us = began_us + (int64_t)(atof(argv[1]) * 1e6);
	while (now_us < until_us) {
		if (pwrite(fd, record, size, at) != (ssize_t)size || fdatasync(fd) < 0)
			bench_fail("append");
		at += (off_t)size;
		if (written && at + (off_t)size > WRITTEN_BYTES)
			at = 0;
		n++;
		now_us = bench_now_us();
	}
	printf("{\"per_second\": %.1f}\n", (double)n * 1e6 / (double)(now_us - began_us));
	close(fd);
	unlink(path);
	free(path);
	free(record);
	return 0;
}
