/*
 * What runs a fuzz target where there is no libFuzzer: every corpus file as it is, then mutations
 * of them from a seeded generator, so that a failure comes back with the same arguments.
 *
 *   fuzz_TARGET [CORPUS-FOLDER-OR-FILE...] [-runs=N] [-seed=N]
 *
 * An input that ends the process is left in ./crash-TARGET.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX_BYTES = 65536 };

struct input {
	uint8_t *data;
	size_t size;
};

static struct {
	struct input *inputs;
	size_t n;
	uint64_t random;
	const uint8_t *current; /* for the crash file */
	size_t current_size;
	char crash_path[256];
} fuzz;

static uint64_t next_random(void)
{
	fuzz.random ^= fuzz.random << 13;
	fuzz.random ^= fuzz.random >> 7;
	fuzz.random ^= fuzz.random << 17;
	return fuzz.random;
}

static size_t below(size_t limit)
{
	return limit ? (size_t)(next_random() % limit) : 0;
}

static void add_file(const char *path)
{
	struct input input = {0};
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		exit(2);
	}
	input.data = xn_malloc(INPUT_MAX_BYTES);
	input.size = fread(input.data, 1, INPUT_MAX_BYTES, file);
	input.data = xn_realloc(input.data, input.size);
	fclose(file);
	fuzz.inputs = xn_realloc(fuzz.inputs, (fuzz.n + 1) * sizeof(*fuzz.inputs));
	fuzz.inputs[fuzz.n++] = input;
}

static void add_path(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		add_file(path);
		return;
	}
	n = scandir(path, &names, NULL, alphasort); /* in order: the seed must mean the same anywhere */
	if (n < 0) {
		perror(path);
		exit(2);
	}
	for (int i = 0; i < n; i++) {
		char *file = xn_asprintf("%s/%s", path, names[i]->d_name);

		if (names[i]->d_name[0] != '.')
			add_file(file);
		free(file);
		free(names[i]);
	}
	free(names);
}

static void on_crash(int signo)
{
	int fd = open(fuzz.crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0) {
		ssize_t unused XN_UNUSED = write(fd, fuzz.current, fuzz.current_size);

		close(fd);
	}
	signal(signo, SIG_DFL);
	raise(signo);
}

static void run_one(const uint8_t *data, size_t size)
{
	/* A copy of exactly this size, so that a sanitizer sees a read beyond it. */
	uint8_t *exact = xn_malloc(size);

	memcpy(exact, data, size);
	fuzz.current = exact;
	fuzz.current_size = size;
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void insert(uint8_t *data, size_t *size, size_t at, const uint8_t *bytes, size_t n)
{
	if (n > INPUT_MAX_BYTES - *size)
		n = INPUT_MAX_BYTES - *size;
	memmove(data + at + n, data + at, *size - at);
	memcpy(data + at, bytes, n);
	*size += n;
}

static void mutate(uint8_t *data, size_t *size)
{
	static const uint8_t odd[] = {0, 1, 9, 10, 13, ' ', '"', '%', '&', '<', '\\', 0x7f, 0x80, 0xc0,
				      0xed, 0xff};
	const struct input *other = &fuzz.inputs[below(fuzz.n)];
	size_t at = below(*size + 1), n = 1 + below(16), from;
	uint8_t piece[16];

	switch (below(6)) {
	case 0:
		if (at < *size)
			data[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		if (at < *size)
			data[at] = odd[below(sizeof(odd))];
		break;
	case 2:
		if (n > *size - at)
			n = *size - at;
		memmove(data + at, data + at + n, *size - at - n);
		*size -= n;
		break;
	case 3:
		insert(data, size, at, &odd[below(sizeof(odd))], 1);
		break;
	case 4: /* the same again, elsewhere */
		from = below(*size + 1);
		if (n > *size - from)
			n = *size - from;
		memcpy(piece, data + from, n);
		insert(data, size, at, piece, n);
		break;
	default: /* the end of another input */
		from = below(other->size + 1);
		n = other->size - from;
		*size = at;
		insert(data, size, at, other->data + from, n);
		break;
	}
}

static void run_mutations(uint64_t runs)
{
	uint8_t *data = xn_malloc(INPUT_MAX_BYTES);

	for (uint64_t i = 0; i < runs; i++) {
		const struct input *start = &fuzz.inputs[below(fuzz.n)];
		size_t size = start->size;

		memcpy(data, start->data, size);
		for (size_t n = 1 + below(6); n; n--)
			mutate(data, &size);
		run_one(data, size);
	}
	free(data);
}

int main(int argc, char **argv)
{
	static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
	uint64_t runs = 0, seed = 1;
	const char *name = strrchr(argv[0], '/');

	snprintf(fuzz.crash_path, sizeof(fuzz.crash_path), "crash-%s", name ? name + 1 : argv[0]);
	for (size_t i = 0; i < XN_ARRAY_SIZE(deadly); i++)
		signal(deadly[i], on_crash);
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "-runs=", 6) == 0)
			runs = strtoull(argv[i] + 6, NULL, 10);
		else if (strncmp(argv[i], "-seed=", 6) == 0)
			seed = strtoull(argv[i] + 6, NULL, 10);
		else if (argv[i][0] != '-')
			add_path(argv[i]);
	}
	fuzz.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (size_t i = 0; i < fuzz.n; i++)
		run_one(fuzz.inputs[i].data, fuzz.inputs[i].size);
	if (fuzz.n)
		run_mutations(runs);
	printf("%zu corpus files, %" PRIu64 " mutations, seed %" PRIu64 "\n", fuzz.n, runs, seed);
	for (size_t i = 0; i < fuzz.n; i++)
		free(fuzz.inputs[i].data);
	free(fuzz.inputs);
	return 0;
}
