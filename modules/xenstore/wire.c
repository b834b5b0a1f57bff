/* Frames of the xenstore protocol; see wire.h. */
#include "modules/xenstore/wire.h"

#include <errno.h>

char *xn_xs_reader_room(struct xn_xs_reader *reader, size_t *len_out)
{
	if (reader->from) {
		memmove(reader->bytes, reader->bytes + reader->from, reader->to - reader->from);
		reader->to -= reader->from;
		reader->from = 0;
	}
	*len_out = sizeof(reader->bytes) - reader->to;
	return reader->bytes + reader->to;
}

void xn_xs_reader_added(struct xn_xs_reader *reader, size_t len)
{
	reader->to += len;
}

/* Drops what comes after a frame that was too long. */
static void skip(struct xn_xs_reader *reader)
{
	size_t len = reader->to - reader->from;

	if (len > reader->skip)
		len = reader->skip;
	reader->from += len;
	reader->skip -= len;
}

static void parse_header(const char *bytes, struct xn_xs_frame *out)
{
	uint32_t header[4];

	memcpy(header, bytes, sizeof(header));
	*out = (struct xn_xs_frame){.type = header[0],
				    .request = header[1],
				    .transaction = header[2],
				    .len = header[3]};
}

int xn_xs_frame_parse(const char *bytes, size_t len, struct xn_xs_frame *out)
{
	if (len < XN_XS_FRAME_HEADER)
		return 0;
	parse_header(bytes, out);
	if (out->len > XN_XS_BODY_MAX)
		return -EPROTO;
	out->body = bytes + XN_XS_FRAME_HEADER;
	return len - XN_XS_FRAME_HEADER >= out->len;
}

int xn_xs_reader_next(struct xn_xs_reader *reader, struct xn_xs_frame *out)
{
	skip(reader);
	if (reader->skip || reader->to - reader->from < XN_XS_FRAME_HEADER)
		return 0;
	parse_header(reader->bytes + reader->from, out);
	if (out->len > XN_XS_BODY_SKIP_MAX)
		return -EPROTO;
	if (out->len > XN_XS_BODY_MAX) {
		reader->from += XN_XS_FRAME_HEADER;
		reader->skip = out->len;
		return 1;
	}
	if (reader->to - reader->from < XN_XS_FRAME_HEADER + out->len)
		return 0;
	out->body = reader->bytes + reader->from + XN_XS_FRAME_HEADER;
	reader->from += XN_XS_FRAME_HEADER + out->len;
	return 1;
}

const char *xn_xs_frame_string(const struct xn_xs_frame *frame, size_t *at, size_t *len_out)
{
	const char *start, *end;

	*len_out = 0;
	if (!frame->body || *at >= frame->len)
		return NULL;
	start = frame->body + *at;
	end = memchr(start, '\0', frame->len - *at);
	*len_out = end ? (size_t)(end - start) : frame->len - *at;
	*at += *len_out + (end != NULL);
	return start;
}

int xn_xs_frame_add(struct xn_buf *out, uint32_t type, uint32_t request, uint32_t transaction,
		    const struct xn_xs_part *parts, size_t n)
{
	uint32_t header[4] = {type, request, transaction, 0};
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (parts[i].len > XN_XS_BODY_MAX - len)
			return -E2BIG;
		len += parts[i].len;
	}
	header[3] = (uint32_t)len;
	xn_buf_add(out, header, sizeof(header));
	for (size_t i = 0; i < n; i++)
		xn_buf_add(out, parts[i].bytes, parts[i].len);
	return 0;
}

static const struct {
	int number;
	const char *name;
} errors[] = {
	{EIO, "EIO"},       {EINVAL, "EINVAL"}, {EACCES, "EACCES"},       {EEXIST, "EEXIST"},
	{EISDIR, "EISDIR"}, {ENOENT, "ENOENT"}, {ENOMEM, "ENOMEM"},       {ENOSPC, "ENOSPC"},
	{ENOSYS, "ENOSYS"}, {EROFS, "EROFS"},   {ENOTEMPTY, "ENOTEMPTY"}, {EBUSY, "EBUSY"},
	{EAGAIN, "EAGAIN"}, {EPERM, "EPERM"},   {EISCONN, "EISCONN"},     {E2BIG, "E2BIG"},
};

int xn_xs_error_parse(const char *name, size_t len)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(errors); i++)
		if (strlen(errors[i].name) == len && !memcmp(errors[i].name, name, len))
			return -errors[i].number;
	return -EIO;
}

_Static_assert(XN_ARRAY_SIZE(errors) == XN_XS_ERRORS, "as many as the header says");

unsigned xn_xs_error_index(int rc)
{
	for (unsigned i = 0; i < XN_XS_ERRORS; i++)
		if (errors[i].number == -rc)
			return i;
	return 0;
}

const char *xn_xs_error_at(unsigned index)
{
	return errors[index].name;
}

const char *xn_xs_error_name(int rc)
{
	return errors[xn_xs_error_index(rc)].name;
}
