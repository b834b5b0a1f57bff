/* A client's bytes to events; see input.h. */
#include "rpc/xe/input.h"

#include <errno.h>

enum { MAX_PAYLOAD = 64 }; /* the longest that a client sends has 12 */

void xe_input_expect_blob(struct xe_input *in, size_t max)
{
	xn_buf_clear(&in->blob);
	in->expects_blob = true;
	in->is_cut = false;
	in->max_blob = max;
}

void xe_input_clear(struct xe_input *in)
{
	xn_buf_clear(&in->blob);
	xn_buf_clear(&in->held);
}

static void skip(const char **data, size_t *len, size_t n)
{
	*data += n;
	*len -= n;
}

static void take_raw(struct xe_input *in, const char **data, size_t *len)
{
	size_t n = *len < in->raw_left ? *len : in->raw_left;
	size_t room = in->max_blob > in->blob.len ? in->max_blob - in->blob.len : 0;

	in->is_cut = in->is_cut || n > room;
	xn_buf_add(&in->blob, *data, n < room ? n : room);
	in->raw_left -= n;
	skip(data, len, n);
}

static ssize_t read_one(struct xe_input *in, const char *data, size_t len,
			struct xe_message *message)
{
	if (in->is_greeted)
		return xe_message_read(data, len, MAX_PAYLOAD, message);
	return xe_hello_read(data, len, &in->minor);
}

/* The hello or the next message, its pieces put together. */
static ssize_t take_one(struct xe_input *in, const char **data, size_t *len,
			struct xe_message *message)
{
	ssize_t used = 0;

	if (!in->held.len) {
		used = read_one(in, *data, *len, message);
		if (used == 0)
			xn_buf_add(&in->held, *data, *len); /* less than one message */
		skip(data, len, used > 0 ? (size_t)used : *len);
		return used;
	}
	while (used == 0 && *len) {
		xn_buf_add_char(&in->held, **data);
		skip(data, len, 1);
		used = read_one(in, in->held.data, in->held.len, message);
	}
	if (used)
		xn_buf_clear(&in->held);
	return used;
}

/* XE_INPUT_MORE: it was a chunk's header. */
static int on_message(struct xe_input *in, const struct xe_message *message)
{
	if (message->kind == XE_BLOB && in->expects_blob) {
		in->raw_left = message->tag == XE_CHUNK ? (size_t)message->number : 0;
		in->expects_blob = message->tag == XE_CHUNK;
		return in->expects_blob ? XE_INPUT_MORE : XE_INPUT_BLOB;
	}
	if (message->kind != XE_RESPONSE)
		return -EPROTO;
	switch (message->tag) {
	case XE_OK:
		return XE_INPUT_OK;
	case XE_FAILED:
		return XE_INPUT_FAILED;
	case XE_WAIT:
		return XE_INPUT_WAIT;
	case XE_INTERRUPT:
		return XE_INPUT_INTERRUPT;
	default:
		return -EPROTO;
	}
}

int xe_input_take(struct xe_input *in, const char **data, size_t *len)
{
	struct xe_message message;
	ssize_t used;
	int event;

	while (*len) {
		if (in->raw_left) {
			take_raw(in, data, len);
			continue;
		}
		used = take_one(in, data, len, &message);
		if (used <= 0)
			return (int)used;
		if (!in->is_greeted) {
			in->is_greeted = true;
			return XE_INPUT_HELLO;
		}
		event = on_message(in, &message);
		if (event != XE_INPUT_MORE)
			return event;
	}
	return XE_INPUT_MORE;
}
