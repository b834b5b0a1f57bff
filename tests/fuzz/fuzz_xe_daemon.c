/*
 * What a daemon reads in a conversation: the client's hello, responses and blobs. No input breaks the
 * reader, it holds no more than it may, and the events are the same in whatever pieces the bytes come.
 */
#include <assert.h>

#include "rpc/xe/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BLOB = 48, MAX_HELD = 128, MAX_EVENTS = 256 };

struct seen {
	int events[MAX_EVENTS];
	unsigned n;
	struct xn_buf blobs;
};

/* A blob is asked for after the hello, and again after each OK. */
static bool note(struct seen *seen, struct xe_input *in, int event)
{
	if (seen->n < MAX_EVENTS)
		seen->events[seen->n++] = event;
	if (event == XE_INPUT_BLOB) {
		assert(in->blob.len <= MAX_BLOB);
		xn_buf_add(&seen->blobs, in->blob.data, in->blob.len);
		xn_buf_add_char(&seen->blobs, in->is_cut ? '!' : '.');
	}
	if (event == XE_INPUT_HELLO || event == XE_INPUT_OK)
		xe_input_expect_blob(in, MAX_BLOB);
	return event > XE_INPUT_MORE;
}

static void run(const char *data, size_t size, size_t piece, struct seen *seen)
{
	struct xe_input in = {0};
	bool goes_on = true;

	while (goes_on && size) {
		const char *at = data;
		size_t n = piece < size ? piece : size, left = n;
		int event;

		while ((event = xe_input_take(&in, &at, &left)) != XE_INPUT_MORE && goes_on) {
			assert(at + left == data + n && in.held.len <= MAX_HELD);
			goes_on = note(seen, &in, event);
		}
		assert(!goes_on || !left);
		data += n;
		size -= n;
	}
	xe_input_clear(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = {0}, pieces = {0};

	run((const char *)data, size, size, &whole);
	run((const char *)data, size, size ? 1 + data[size - 1] % 16 : 1, &pieces);
	assert(whole.n == pieces.n);
	assert(memcmp(whole.events, pieces.events, whole.n * sizeof(int)) == 0);
	assert(whole.blobs.len == pieces.blobs.len);
	assert(!whole.blobs.len || memcmp(whole.blobs.data, pieces.blobs.data, whole.blobs.len) == 0);
	xn_buf_clear(&whole.blobs);
	xn_buf_clear(&pieces.blobs);
	return 0;
}
