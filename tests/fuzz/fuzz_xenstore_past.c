/*
 * The store's history from files with any records in them: pieces of the input, each behind a byte
 * that says where it goes and two of its length, become whole records. Nothing breaks; pages in both
 * orders tell the same changes; and the export's stream is well-formed.
 */
#include <assert.h>
#include <stdlib.h>

#include "modules/xenstore/history/answer.h"
#include "modules/xenstore/journal/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IN_SEGMENT, IN_IMAGE, NEXT_SEGMENT, PLACES };

struct files {
	struct xn_xs_media *media;
	uint64_t number;
	uint64_t generation;
	bool has_image;
};

static void append(struct files *f, enum xn_xs_file_kind kind, const struct xn_buf *bytes)
{
	char name[XN_XS_FILE_NAME];

	xn_xs_file_name(kind, f->number, name);
	assert(f->media->ops->append(f->media, name, bytes->data, bytes->len) == 0);
}

static void begin_file(struct files *f, enum xn_xs_file_kind kind)
{
	struct xn_xs_file_head head = {
		.kind = kind, .number = f->number, .generation = f->generation, .wall_us = 1000000};
	struct xn_buf bytes = {0};

	xn_xs_file_head_put(&head, &bytes);
	append(f, kind, &bytes);
	xn_buf_clear(&bytes);
}

static void put_record(struct files *f, enum xn_xs_file_kind kind, const void *payload, size_t len)
{
	struct xn_buf bytes = {0};
	size_t start = xn_xs_record_begin(&bytes, (int64_t)len * 1000000);

	xn_buf_add(&bytes, payload, len);
	xn_xs_record_end(&bytes, start);
	append(f, kind, &bytes);
	xn_buf_clear(&bytes);
}

static void place(struct files *f, unsigned where, const uint8_t *payload, size_t len)
{
	if (where == NEXT_SEGMENT) {
		f->number += len < 200 ? 1 : 2;
		f->generation += len % 3;
		f->has_image = false;
		begin_file(f, XN_XS_SEGMENT);
	} else if (where == IN_IMAGE) {
		if (!f->has_image)
			begin_file(f, XN_XS_IMAGE);
		f->has_image = true;
		put_record(f, XN_XS_IMAGE, payload, len);
	} else {
		put_record(f, XN_XS_SEGMENT, payload, len);
	}
}

static void make_files(struct files *f, const uint8_t *data, size_t size)
{
	*f = (struct files){.media = xn_xs_media_memory_new(), .number = 1};
	begin_file(f, XN_XS_SEGMENT);
	while (size >= 3) {
		size_t len = data[1] | (size_t)data[2] << 8;

		if (len > size - 3)
			len = size - 3;
		place(f, data[0] % PLACES, data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
}

static void ask(struct files *f, const char *text)
{
	struct past_query *q = xn_malloc(sizeof(*q));
	struct past_asking asking = {
		.media = f->media, .query = q, .now_us = INT64_C(1) << 50};
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	past_query_init(q);
	assert(past_query_parse(q, text, &err) == 0);
	if (past_answer(&asking, &out, &err) < 0)
		assert(xn_error_is_set(&err));
	else
		assert(xn_text_is_valid(out.data, out.len));
	free(q);
}

static int collect(void *arg, const void *bytes, size_t len)
{
	xn_buf_add(arg, bytes, len);
	return 0;
}

/* Each file has a name without empty, "." and ".." parts, and as many bytes as it says. */
static void check_stream(struct xn_buf *stream)
{
	char *at = stream->data, *end = at + stream->len, *line_end;

	for (; at < end; at = line_end + 1) {
		size_t n;

		line_end = memchr(at, '\n', (size_t)(end - at));
		assert(line_end);
		*line_end = '\0';
		if (strncmp(at, "M ", 2) == 0 || strncmp(at, "D ", 2) == 0) {
			const char *path = *at == 'D' ? at + 2 : at + strlen("M 100644 inline ");

			assert(*path && *path != '/' && *path != '"' && !strstr(path, "//"));
			assert(!strstr(path, "/../") && !strstr(path, "/./") &&
			       strcmp(path, "..") != 0 && strcmp(path, ".git") != 0);
		} else if (strncmp(at, "data ", 5) == 0) {
			n = strtoul(at + 5, NULL, 10);
			assert(n < (size_t)(end - line_end));
			line_end += n;
			if (line_end + 1 < end && line_end[1] == '\n')
				line_end++;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_buf stream XN_CLEANUP(xn_buf_clear_p) = {0};
	struct files files;

	make_files(&files, data, size);
	ask(&files, "");
	ask(&files, "newest limit=2 path=/a since=1");
	ask(&files, "at=now");
	ask(&files, "at=1 path=/a");
	ask(&files, "bounds");
	if (past_export(files.media, collect, &stream) == 0)
		check_stream(&stream);
	xn_xs_media_memory_destroy(files.media);
	return 0;
}
