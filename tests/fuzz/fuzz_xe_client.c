/*
 * What a client reads: the daemon's hello and its commands. No input breaks the reader, what it takes
 * lies within its frame, and is written again as the same bytes.
 */
#include <assert.h>

#include "rpc/xe/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(struct xe_bytes bytes, const char *frame, size_t len)
{
	assert(!bytes.len || (bytes.data >= frame && bytes.data + bytes.len <= frame + len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { MAX = 4096 };
	const char *at = (const char *)data;
	struct xe_message message;
	int minor;
	ssize_t used = xe_hello_read(at, size, &minor);

	assert(used <= (ssize_t)size);
	if (used > 0) {
		at += used;
		size -= (size_t)used;
	}
	while ((used = xe_message_read(at, size, MAX, &message)) > 0) {
		XN_CLEANUP(xn_buf_clear_p) struct xn_buf again = {0};

		assert((size_t)used <= size && used <= MAX + 4);
		check_within(message.text, at, (size_t)used);
		check_within(message.url, at, (size_t)used);
		assert(message.n_params <= XE_MAX_PARAMS);
		for (unsigned i = 0; i < message.n_params; i++)
			check_within(message.params[i], at, (size_t)used);
		xe_message_write(&again, &message);
		assert(again.len == (size_t)used && memcmp(again.data, at, again.len) == 0);
		at += used;
		size -= (size_t)used;
	}
	return 0;
}
