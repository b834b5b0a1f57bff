/*
 * HTTP/1.x request heads and chunked bodies, parsed from bytes: pure and total functions, no memory
 * of their own, fuzzed (tests/fuzz/fuzz_http.c). Strict where two readers of the same bytes could
 * disagree about where a request ends, because that is how requests are smuggled.
 */
#ifndef XN_HTTP_PARSE_H
#define XN_HTTP_PARSE_H

#include <sys/types.h>

#include "core/base.h"

enum {
	XN_HTTP_MAX_HEAD = 16384, /* request line and headers; spans are 16 bits wide */
	XN_HTTP_MAX_HEADERS = 96,
};

struct xn_http_span { /* bytes of the parsed buffer */
	uint16_t at, len;
};

struct xn_http_field {
	struct xn_http_span name, value;
};

struct xn_http_head {
	struct xn_http_span method;
	struct xn_http_span path;  /* as sent, percent-encoded; starts with '/', or is "*" */
	struct xn_http_span query; /* without '?'; len 0 when absent */
	int minor_version;	   /* HTTP/1.x */
	bool keep_alive, chunked, expects_continue;
	bool has_length;
	int64_t length; /* Content-Length, 0 when absent */
	unsigned n_fields;
	size_t size; /* of the head with the blank line, from the buffer's start */
	struct xn_http_field fields[XN_HTTP_MAX_HEADERS];
};

/*
 * xn_http_parse_head - the head at the start of @data
 * A prefix of a good head is never refused, and what is refused stays so however it goes on. Bytes
 * of a good head are valid UTF-8 without control characters (but TAB in header values).
 *
 * Return: the head's size; 0 when more bytes are needed; minus the HTTP status of the refusal.
 */
int xn_http_parse_head(const char *data, size_t len, struct xn_http_head *head) XN_MUST_CHECK;

/* The first header of that name (any case), or NULL. @data is what was parsed. */
const struct xn_http_field *xn_http_find_field(const struct xn_http_head *head, const char *data,
					       const char *name);

/* A chunked body on its way; all zero bytes is the start. */
struct xn_http_chunks {
	int state;
	uint32_t overhead; /* bytes of this size line or of the trailer so far */
	uint64_t left;	   /* of the current chunk */
};

/*
 * xn_http_next_chunk - step over framing to the next run of body bytes
 * @body_out, @body_len_out: that run, inside @data; length 0 when there is none
 *
 * Return: bytes of @data used, including the run; -EBADMSG when they are not a chunked body.
 * Short of @len only when a run was found or the body is over.
 */
ssize_t xn_http_next_chunk(struct xn_http_chunks *chunks, const char *data, size_t len,
			   const char **body_out, size_t *body_len_out) XN_MUST_CHECK;
/* Bytes that the current chunk has announced and that have not come. */
uint64_t xn_http_chunk_left(const struct xn_http_chunks *chunks);
/* The last @n bytes of the run were not wanted yet: the next call starts with them. */
void xn_http_put_back_chunk(struct xn_http_chunks *chunks, size_t n);
bool xn_http_chunks_done(const struct xn_http_chunks *chunks);

#endif
