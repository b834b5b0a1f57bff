/*
 * History's files as they are found on the disk. The first byte says what the rest is: a whole file
 * of changes or an image, or what is in a block whose checksums are right. Whatever it is, each question
 * is answered with valid JSON or an error.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"
#include "modules/db/history/file.h"
#include "modules/history/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bench {
	char dir[40];
	int dir_fd;
	struct xn_names names;
	struct xn_history_options options;
	struct history_defaults defaults;
};

static struct bench *bench(void);

static void put_away(void)
{
	struct bench *b = bench();
	char *db = xn_asprintf("%s/db", b->dir), *history = xn_asprintf("%s/history", b->dir);

	unlinkat(b->dir_fd, "changes-00000002", 0);
	unlinkat(b->dir_fd, "image-00000002", 0);
	rmdir(db);
	rmdir(history);
	rmdir(b->dir);
	free(db);
	free(history);
}

static struct bench *bench(void)
{
	static struct bench *b;
	char *path;

	if (b)
		return b;
	b = xn_calloc(1, sizeof(*b));
	strcpy(b->dir, "/tmp/xn-fuzz-history-XXXXXX");
	if (!mkdtemp(b->dir))
		abort();
	path = xn_asprintf("%s/db", b->dir);
	mkdir(path, 0700);
	free(path);
	path = xn_asprintf("%s/history", b->dir);
	mkdir(path, 0700);
	b->dir_fd = open(path, O_RDONLY | O_DIRECTORY);
	free(path);
	xn_names_init(&b->names);
	xn_names_complete(&b->names);
	b->options = (struct xn_history_options){.size = 1 << 20, .age_us = 1000000};
	history_defaults_init(&b->defaults);
	atexit(put_away);
	return b;
}

/* As a new file: to cut an old one makes some file systems wait for the disk at each close. */
static void put_file(struct bench *b, enum xn_history_kind kind, uint32_t number,
		     const struct xn_buf *bytes)
{
	char name[XN_HISTORY_NAME];
	int fd;

	xn_history_name(kind, number, name);
	unlinkat(b->dir_fd, name, 0);
	fd = openat(b->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, bytes->data, bytes->len) != (ssize_t)bytes->len)
		abort();
	close(fd);
}

/* Head and names, and the bytes in a block. */
static void put_blocks(struct bench *b, enum xn_history_kind kind, const uint8_t *data, size_t size)
{
	const struct xn_history_head head = {
		.kind = kind, .number = 2, .position = 800, .generation = 10, .wall_us = 1000};
	struct xn_history_block block = {.kind = XN_HISTORY_NAMES, .position = 800, .next = 10};
	struct xn_buf file = {0};

	xn_history_put_head(&file, &head);
	xn_history_put_block(&file, &block, b->names.bytes.data, b->names.bytes.len);
	block.kind = kind == XN_HISTORY_IMAGE ? XN_HISTORY_ROWS : XN_HISTORY_TXS;
	block.next = 1000;
	block.max_us = 2000;
	xn_history_put_block(&file, &block, data, size);
	if (kind == XN_HISTORY_IMAGE) {
		block.kind = XN_HISTORY_END;
		block.first = size ? data[0] % 4 : 0; /* rows that should be there */
		xn_history_put_block(&file, &block, NULL, 0);
	}
	put_file(b, kind, 2, &file);
	xn_buf_clear(&file);
}

static void ask(struct bench *b, const char *text, enum xn_format format)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_buf answer XN_CLEANUP(xn_buf_clear_p) = {0};
	struct history_query query;

	history_query_init(&query);
	if (history_query_parse(&query, text, &err) < 0)
		abort();
	if (history_answer(b->dir, &b->options, &b->defaults, &query, format, INT64_MAX / 2,
			   &answer, &err) < 0) {
		assert(err.code);
	} else if (format == XN_FORMAT_JSON) {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *v = NULL;

		if (xn_json_parse(answer.data, answer.len, &v, NULL) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bench *b = bench();
	struct xn_buf raw = {0};

	if (!size)
		return 0;
	unlinkat(b->dir_fd, "image-00000002", 0);
	switch (data[0] % 4) {
	case 0:
	case 1:
		raw.data = (char *)data + 1;
		raw.len = size - 1;
		put_blocks(b, XN_HISTORY_CHANGES, NULL, 0);
		put_file(b, data[0] % 4 ? XN_HISTORY_IMAGE : XN_HISTORY_CHANGES, 2, &raw);
		break;
	case 2:
		put_blocks(b, XN_HISTORY_IMAGE, NULL, 0);
		put_blocks(b, XN_HISTORY_CHANGES, data + 1, size - 1);
		break;
	case 3:
		put_blocks(b, XN_HISTORY_CHANGES, NULL, 0);
		put_blocks(b, XN_HISTORY_IMAGE, data + 1, size - 1);
		break;
	}
	ask(b, "newest limit=3", XN_FORMAT_JSON);
	ask(b, "class=VM field=name_label", XN_FORMAT_XML);
	ask(b, "uuid=00000000-0000-4000-8000-000000000001", XN_FORMAT_JSON);
	ask(b, "at=now class=VM", XN_FORMAT_JSON);
	ask(b, "from=9 to=now", XN_FORMAT_JSON);
	ask(b, "bounds", XN_FORMAT_JSON);
	return 0;
}
