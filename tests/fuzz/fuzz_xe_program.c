/*
 * A server's bytes to all of xe's client but its sockets and files: the conversation, and the replies to
 * its transfers. The input is sections, each behind its length (16 bits): the first is the conversation,
 * the others are what each connection for a file answers. Whatever comes, the client ends, and all that
 * it ever says is well-formed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rpc/xe/client/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct section {
	const uint8_t *data;
	size_t len;
};

struct world {
	const uint8_t *data; /* the sections that nobody has taken */
	size_t len;
	int64_t now_ms;
	int null, lines, file;
};

/* A connection in memory. */
struct memory {
	struct xe_stream stream;
	struct section in;
	unsigned turns;
	struct xn_buf *said;
};

static struct section next_section(struct world *world)
{
	size_t len = world->len >= 2 ? world->data[0] | (size_t)world->data[1] << 8 : 0;
	struct section section;

	if (world->len < 2)
		return (struct section){0};
	world->data += 2;
	world->len -= 2;
	section = (struct section){world->data, len < world->len ? len : world->len};
	world->data += section.len;
	world->len -= section.len;
	return section;
}

static ssize_t memory_read(struct xe_stream *stream, void *to, size_t len)
{
	struct memory *memory = xn_container_of(stream, struct memory, stream);
	size_t n = 1 + memory->turns * 7 % 61;

	if (memory->turns++ % 5 == 4)
		return -EAGAIN;
	n = n < len ? n : len;
	n = n < memory->in.len ? n : memory->in.len;
	if (!n)
		return 0;
	memcpy(to, memory->in.data, n);
	memory->in.data += n;
	memory->in.len -= n;
	return (ssize_t)n;
}

static ssize_t memory_write(struct xe_stream *stream, const void *data, size_t len)
{
	struct memory *memory = xn_container_of(stream, struct memory, stream);

	if (memory->turns++ % 3 == 2)
		return -EAGAIN;
	len = len > 9 ? (len + 1) / 2 : len;
	xn_buf_add(memory->said, data, len);
	return (ssize_t)len;
}

static void memory_end(struct xe_stream *stream)
{
}

static void memory_free(struct xe_stream *stream)
{
	struct memory *memory = xn_container_of(stream, struct memory, stream);

	xn_buf_clear(memory->said);
	free(memory->said);
	free(memory);
}

static const struct xe_stream_ops memory_ops = {memory_read, memory_write, memory_end, memory_free};

static struct memory *memory_new(struct world *world)
{
	struct memory *memory = xn_calloc(1, sizeof(*memory));

	memory->stream = (struct xe_stream){.ops = &memory_ops, .fd = -1};
	memory->in = next_section(world);
	memory->said = xn_calloc(1, sizeof(*memory->said));
	return memory;
}

static struct xe_stream *dial(void *arg, const char *host, struct xn_buf *complaint)
{
	struct world *world = arg;

	if (world->len < 2) {
		xn_buf_add_string(complaint, "nobody is there");
		return NULL;
	}
	return &memory_new(world)->stream;
}

static int open_file(void *arg, const char *path, int flags)
{
	struct world *world = arg;

	if (strstr(path, "missing"))
		return -ENOENT;
	if (flags & O_CREAT)
		return dup(world->null);
	lseek(world->file, 0, SEEK_SET);
	return dup(world->file);
}

static int64_t now_ms(void *arg)
{
	struct world *world = arg;

	return world->now_ms += 50;
}

static const char *no_variable(const char *name)
{
	return NULL;
}

static char *no_file(const char *path, size_t max)
{
	errno = ENOENT;
	return NULL;
}

static struct world *the_world(void)
{
	static struct world world;

	if (world.null)
		return &world;
	world.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	world.lines = memfd_create("lines", MFD_CLOEXEC);
	world.file = memfd_create("file", MFD_CLOEXEC);
	assert(world.null >= 0 && world.lines >= 0 && world.file >= 0);
	assert(write(world.lines, "yes\nno\n\nmaybe", 13) == 13);
	assert(write(world.file, "some bytes of a file", 20) == 20);
	return &world;
}

/* The request, then the hello, then responses and chunks with their bytes. */
static void check_said(const struct xn_buf *said)
{
	const char *body = memmem(said->data, said->len, "\r\n\r\n", 4);
	const char *at = memmem(said->data, said->len, XE_MAGIC, XE_MAGIC_LEN);
	const char *end = said->data + said->len;
	struct xe_message message;

	assert(body && strncmp(said->data, "POST /cli HTTP/1.0\r\n", 20) == 0);
	if (!at)
		return;
	at += XE_HELLO_LEN;
	assert(at <= end);
	while (at < end) {
		ssize_t n = xe_message_read(at, (size_t)(end - at), 1000, &message);

		assert(n > 0);
		assert(message.kind == XE_RESPONSE || message.kind == XE_BLOB);
		at += n;
		if (message.tag == XE_CHUNK) {
			assert(message.number >= 0 && message.number <= end - at);
			at += message.number;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char words[][32] = {"xe", "vm-import", "filename=/xe-fuzz/f", "other=/xe-fuzz/missing", "-pw",
			    "secret"};
	char *argv[XN_ARRAY_SIZE(words)];
	static const struct xe_sources sources = {no_variable, no_file};
	struct world *world = the_world();
	struct xe_outside outside = {dial, open_file, now_ms, world->lines, world->null, world->null, world};
	struct xe_settings settings;
	struct xn_buf complaint = {0};
	struct memory *control;

	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++)
		argv[i] = words[i];
	if (xe_settings_read(&settings, XN_ARRAY_SIZE(words), argv, &sources, &complaint) < 0)
		abort();
	settings.heartbeat_s = 1;
	settings.debug = size % 2;
	lseek(world->lines, 0, SEEK_SET);
	world->data = data;
	world->len = size;
	world->now_ms = 0;
	control = memory_new(world);
	struct xe_client client = {.settings = &settings, .outside = &outside, .server = "here",
				   .control = &control->stream, .progress.is_on = false};

	xe_client_run(&client);
	check_said(control->said);
	xe_client_clear(&client);
	xe_stream_free(client.control);
	xe_settings_clear(&settings);
	xn_buf_clear(&complaint);
	return 0;
}
