/* Messages of the thin CLI protocol; see protocol.h. One table says what each of them holds. */
#include "rpc/xe/protocol.h"

#include <assert.h>
#include <errno.h>

#include "core/bytes.h"

/* What a message's payload holds, in order, behind its kind and tag. */
enum field {
	F_NONE,
	F_NUMBER,
	F_LENGTH, /* a number not below 0 */
	F_TEXT,
	F_URL,
	F_PARAMS, /* a list of strings */
};
enum { MAX_FIELDS = 2 };

static const struct layout {
	uint16_t tag;
	uint8_t kind;
	uint8_t fields[MAX_FIELDS];
} layouts[] = {
	{XE_PRINT, XE_COMMAND, {F_TEXT}},
	{XE_LOAD, XE_COMMAND, {F_TEXT}},
	{XE_PROMPT, XE_COMMAND, {F_NONE}},
	{XE_EXIT, XE_COMMAND, {F_NUMBER}},
	{XE_HTTP_GET, XE_COMMAND, {F_TEXT, F_URL}},
	{XE_HTTP_PUT, XE_COMMAND, {F_TEXT, F_URL}},
	{XE_ERROR, XE_COMMAND, {F_TEXT, F_PARAMS}},
	{XE_DEBUG, XE_COMMAND, {F_TEXT}},
	{XE_PRINT_STDERR, XE_COMMAND, {F_TEXT}},
	{XE_HTTP_CONNECT, XE_COMMAND, {F_URL}},
	{XE_PROGRESS, XE_COMMAND, {F_NUMBER, F_TEXT}},
	{XE_INTERRUPTIBLE, XE_COMMAND, {F_TEXT}},
	{XE_OK, XE_RESPONSE, {F_NONE}},
	{XE_FAILED, XE_RESPONSE, {F_NONE}},
	{XE_WAIT, XE_RESPONSE, {F_NONE}},
	{XE_INTERRUPT, XE_RESPONSE, {F_NONE}},
	{XE_CHUNK, XE_BLOB, {F_LENGTH}},
	{XE_END, XE_BLOB, {F_NONE}},
};

static const struct layout *find_layout(uint32_t kind, uint32_t tag)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(layouts); i++)
		if (layouts[i].kind == kind && layouts[i].tag == tag)
			return &layouts[i];
	return NULL;
}

/* ---- reading ---- */

/* A length or count below 0 is, unsigned, more than any frame holds. */
static struct xe_bytes take_string(struct xn_reader *in)
{
	size_t len = xn_take_u32(in);
	const char *data = xn_take(in, len);

	return (struct xe_bytes){data ? data : "", data ? len : 0};
}

static void take_params(struct xn_reader *in, struct xe_message *message)
{
	uint32_t n = xn_take_u32(in);

	if (n > XE_MAX_PARAMS) {
		in->is_short = true;
		return;
	}
	for (uint32_t i = 0; i < n && !in->is_short; i++)
		message->params[message->n_params++] = take_string(in);
}

static void take_field(struct xn_reader *in, enum field field, struct xe_message *message)
{
	switch (field) {
	case F_NONE:
		break;
	case F_NUMBER:
		message->number = (int32_t)xn_take_u32(in);
		break;
	case F_LENGTH:
		message->number = (int32_t)xn_take_u32(in);
		in->is_short = in->is_short || message->number < 0;
		break;
	case F_TEXT:
		message->text = take_string(in);
		break;
	case F_URL:
		message->url = take_string(in);
		break;
	case F_PARAMS:
		take_params(in, message);
		break;
	}
}

ssize_t xe_message_read(const void *data, size_t len, size_t max, struct xe_message *message_out)
{
	struct xn_reader in = {data, len, false};
	uint32_t size = xn_take_u32(&in), kind, tag;
	const struct layout *layout;

	if (in.is_short)
		return 0;
	if (size > max || size > INT32_MAX || size < 8)
		return -EPROTO;
	if (in.left < size)
		return 0;
	in.left = size;
	kind = xn_take_u32(&in);
	tag = xn_take_u32(&in);
	layout = find_layout(kind, tag);
	if (!layout)
		return -EPROTO;
	message_out->kind = (enum xe_message_kind)kind;
	message_out->tag = (enum xe_tag)tag;
	message_out->number = 0;
	message_out->text = message_out->url = (struct xe_bytes){"", 0};
	message_out->n_params = 0;
	for (int i = 0; i < MAX_FIELDS; i++)
		take_field(&in, layout->fields[i], message_out);
	if (in.is_short || in.left)
		return -EPROTO;
	return (ssize_t)size + 4;
}

/* ---- writing ---- */

static void put_string(struct xn_buf *out, struct xe_bytes bytes)
{
	xn_put_u32(out, bytes.len);
	xn_buf_add(out, bytes.data, bytes.len);
}

static void put_field(struct xn_buf *out, enum field field, const struct xe_message *message)
{
	switch (field) {
	case F_NONE:
		break;
	case F_NUMBER:
	case F_LENGTH:
		xn_put_u32(out, (uint32_t)message->number);
		break;
	case F_TEXT:
		put_string(out, message->text);
		break;
	case F_URL:
		put_string(out, message->url);
		break;
	case F_PARAMS:
		assert(message->n_params <= XE_MAX_PARAMS);
		xn_put_u32(out, message->n_params);
		for (unsigned i = 0; i < message->n_params; i++)
			put_string(out, message->params[i]);
		break;
	}
}

void xe_message_write(struct xn_buf *out, const struct xe_message *message)
{
	const struct layout *layout = find_layout(message->kind, message->tag);
	size_t start = out->len;
	uint32_t size;

	assert(layout);
	xn_put_u32(out, 0);
	xn_put_u32(out, message->kind);
	xn_put_u32(out, message->tag);
	for (int i = 0; i < MAX_FIELDS; i++)
		put_field(out, layout->fields[i], message);
	assert(out->len - start <= INT32_MAX);
	size = htole32((uint32_t)(out->len - start - 4));
	memcpy(out->data + start, &size, sizeof(size));
}

/* ---- hello ---- */

void xe_hello_write(struct xn_buf *out)
{
	xn_buf_add(out, XE_MAGIC, XE_MAGIC_LEN);
	xn_put_u32(out, XE_MAJOR);
	xn_put_u32(out, XE_MINOR);
}

ssize_t xe_hello_read(const void *data, size_t len, int *minor_out)
{
	struct xn_reader in = {data, len, false};
	uint32_t major;

	if (len && memcmp(data, XE_MAGIC, len < XE_MAGIC_LEN ? len : XE_MAGIC_LEN) != 0)
		return -EPROTO;
	if (len < XE_HELLO_LEN)
		return 0;
	xn_take(&in, XE_MAGIC_LEN);
	major = xn_take_u32(&in);
	*minor_out = (int32_t)xn_take_u32(&in);
	return major == XE_MAJOR ? XE_HELLO_LEN : -EPROTONOSUPPORT;
}
