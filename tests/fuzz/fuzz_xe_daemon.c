/*
 * What a daemon reads in a conversation: the client's hello, responses and blobs. No input breaks the
 * reader, and what it takes is written again as the same bytes.
 */
#include <assert.h>

#include "rpc/xe/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { MAX = 64 };
	const char *at = (const char *)data;
	struct xe_message message;
	int minor;
	ssize_t used = xe_hello_read(at, size, &minor);

	assert(used <= (ssize_t)size);
	while (used > 0) {
		at += used;
		size -= (size_t)used;
		used = xe_message_read(at, size, MAX, &message);
		if (used > 0 && message.kind == XE_BLOB && message.tag == XE_CHUNK) {
			assert(message.number >= 0);
			used += message.number;
			if ((size_t)used > size)
				break;
		}
	}
	return 0;
}
