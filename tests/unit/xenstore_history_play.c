/*
 * Writes a random history of the xenstore into a folder: `stream`, what the export gives, and
 * `trees`, the tree after each generation as the store itself had it. For tests that know git.
 *
 *     xenstore_history_play FOLDER SEED STEPS
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/history/answer.h"
#include "tests/unit/xenstore_recorder.h"

static FILE *open_in(const char *folder, const char *name)
{
	char *path XN_CLEANUP(xn_free_p) = xn_asprintf("%s/%s", folder, name);
	FILE *file = fopen(path, "w");

	if (!file) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	return file;
}

static int write_out(void *arg, const void *bytes, size_t len)
{
	return fwrite(bytes, 1, len, arg) == len ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct xenstore_recorder recorder;
	struct recorder_texts *texts;
	FILE *stream, *trees;
	int rc;

	if (argc != 4)
		return 2;
	stream = open_in(argv[1], "stream");
	trees = open_in(argv[1], "trees");
	recorder_init(&recorder);
	texts = recorder_play(&recorder, (unsigned)strtoul(argv[2], NULL, 10),
			      (unsigned)strtoul(argv[3], NULL, 10));
	for (size_t i = 0; i < texts->n; i++)
		fprintf(trees, "generation %llu\n%s",
			(unsigned long long)texts->at[i].generation, texts->at[i].text);
	rc = past_export(recorder.media, write_out, stream);
	recorder_texts_free(texts);
	recorder_clear(&recorder);
	if (fclose(stream) != 0 || fclose(trees) != 0 || rc < 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
